//! Which instructions a processor has, and kernels compiled for each set of them.

use super::lanes::{Kernel, LANES, Number};
use super::loops::Loops;

/// Which instructions the kernels use. The result is the same to the bit; the speed is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust, for any processor. On x86-64 it is slow, because it must compute fused multiply-adds in software.
    Portable,
    /// NEON: every 64-bit ARM processor (AArch64), as those of Macs since 2020.
    Neon,
    /// AVX2 and FMA: x86-64 since 2013.
    Avx2,
    /// AVX-512 (F, VL, DQ, BW): servers since 2017, AMD since Zen 4.
    Avx512,
    /// AVX-512 with dot products of bf16 pairs: AMD since Zen 4, Intel since Cooper Lake. Only training in bf16 is faster
    /// with it; the others compute such products in many steps, about five times more slowly than those of `f32`.
    Avx512Bf16,
}

impl Isa {
    /// All of them; of those that a processor has, the fastest comes last.
    pub const ALL: [Self; 5] = [Self::Portable, Self::Neon, Self::Avx2, Self::Avx512, Self::Avx512Bf16];

    /// The fastest set that this processor has.
    pub fn best() -> Self {
        Self::ALL.into_iter().rfind(|isa| isa.is_available()).unwrap_or(Self::Portable)
    }

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            Self::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bw")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => Self::Avx512.is_available() && is_x86_feature_detected!("avx512bf16"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 | Self::Avx512Bf16 => false,
        }
    }
}

impl Isa {
    /// Computes with these instructions, which the processor must have.
    pub(crate) fn vectorise<L: Loops>(self, loops: L) -> L::Output {
        debug_assert!(self.is_available());
        match self {
            // SAFETY: whoever has such a value asked the processor (`Isa::best`, `Isa::is_available`).
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Avx512Bf16 => unsafe { super::x86::loops_avx512(loops) },
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { super::x86::loops_avx2(loops) },
            // Those of AArch64 have NEON in any case.
            _ => loops.run(false),
        }
    }
}

/// Numbers for which kernels are compiled.
pub(crate) trait Scalar: Number {
    /// Runs a kernel with these instructions.
    fn run<K: Kernel<Self>>(isa: Isa, kernel: K) -> K::Output;
}

impl Scalar for f32 {
    #[inline]
    fn run<K: Kernel<Self>>(isa: Isa, kernel: K) -> K::Output {
        match isa {
            // SAFETY: an engine only takes a set that the processor has (`Isa::is_available`).
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => unsafe { super::x86::run_avx512_bf16(kernel) },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { super::x86::run_avx512(kernel) },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { super::x86::run_avx2(kernel) },
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => kernel.run::<super::neon::Neon>(),
            _ => kernel.run::<[f32; LANES]>(),
        }
    }
}

/// The portable kernels are tested in it.
impl Scalar for f64 {
    #[inline]
    fn run<K: Kernel<Self>>(_isa: Isa, kernel: K) -> K::Output {
        kernel.run::<[f64; LANES]>()
    }
}
