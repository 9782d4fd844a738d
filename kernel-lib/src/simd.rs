//! Vectors of sixteen numbers, and the instructions that compute with them: what all kernels on the CPU are written in.

mod bf16;
mod isa;
mod lanes;
mod loops;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use isa::Isa;
pub(crate) use isa::Scalar;
pub(crate) use lanes::{Kernel, LANES, Lanes, Number};
pub(crate) use loops::Loops;
