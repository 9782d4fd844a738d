//! Loops of plain Rust, which a compiler turns into vectors.

/// A computation in plain Rust, whose loops a compiler turns into vectors of the instructions that it may use. `run` must be
/// `#[inline(always)]`, and so must all that it calls, for only then is it compiled with them.
pub(crate) trait Loops {
    /// What it gives.
    type Output;
    /// Computes it, on a processor that has 32 registers for vectors (AVX-512), or fewer.
    fn run(self, many_registers: bool) -> Self::Output;
}
