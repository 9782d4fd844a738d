//! The sixteen lanes in registers of AArch64: four of NEON.
//!
//! Every such processor has it, and a compiler uses it without being asked: no function here needs `target_feature`.

use super::lanes::{LANES, Lanes, array, of_array};
use std::arch::aarch64::*;

/// Four registers of four numbers.
#[derive(Clone, Copy)]
pub(super) struct Neon(float32x4_t, float32x4_t, float32x4_t, float32x4_t);

macro_rules! four {
    ($f:ident, $($x:expr),+) => {
        // SAFETY: the processor has NEON.
        unsafe { Self($f($($x.0),+), $f($($x.1),+), $f($($x.2),+), $f($($x.3),+)) }
    };
}

/// All bits in the lanes before `n`, of four lanes counted from `start`.
#[inline(always)]
fn lanes_before(n: usize, start: u32) -> uint32x4_t {
    let lanes = [start, start + 1, start + 2, start + 3];
    // SAFETY: the processor has NEON, and the array four numbers.
    unsafe { vcltq_u32(vld1q_u32(lanes.as_ptr()), vdupq_n_u32(n.min(LANES) as u32)) }
}

/// The larger of both; b where one of them is NaN, for then no comparison holds. (`FMAX` would give NaN in both cases, and
/// `FMAXNM` the number.)
#[inline(always)]
unsafe fn larger(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
}

/// As [`larger`].
#[inline(always)]
unsafe fn smaller(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    unsafe { vbslq_f32(vcltq_f32(a, b), a, b) }
}

/// x · 2ⁿ.
#[inline(always)]
unsafe fn scaled(x: float32x4_t, n: float32x4_t) -> float32x4_t {
    unsafe {
        let exponent = vshlq_n_s32::<23>(vcvtq_s32_f32(n));
        vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(x), exponent))
    }
}

// SAFETY of all that follows: the processor has NEON; memory is the caller's promise.
impl Lanes for Neon {
    type Scalar = f32;
    // 24 of 32 registers for sums, 4 for columns, and the rest for rows.
    const TILE_ROWS: usize = 6;
    const TILE_COLUMNS: usize = 1;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        let x = unsafe { vdupq_n_f32(x) };
        Self(x, x, x, x)
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe {
            Self(vld1q_f32(from), vld1q_f32(from.add(4)), vld1q_f32(from.add(8)), vld1q_f32(from.add(12)))
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe {
            vst1q_f32(to, self.0);
            vst1q_f32(to.add(4), self.1);
            vst1q_f32(to.add(8), self.2);
            vst1q_f32(to.add(12), self.3);
        }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self {
        let mut numbers = [0.0; LANES];
        unsafe { from.copy_to_nonoverlapping(numbers.as_mut_ptr(), n.min(LANES)) };
        of_array(numbers)
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        unsafe { to.copy_from_nonoverlapping(array(self).as_ptr(), n.min(LANES)) }
    }
    #[inline(always)]
    fn first(self, n: usize, rest: Self) -> Self {
        unsafe {
            Self(
                vbslq_f32(lanes_before(n, 0), self.0, rest.0),
                vbslq_f32(lanes_before(n, 4), self.1, rest.1),
                vbslq_f32(lanes_before(n, 8), self.2, rest.2),
                vbslq_f32(lanes_before(n, 12), self.3, rest.3),
            )
        }
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        four!(vaddq_f32, self, b)
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        four!(vsubq_f32, self, b)
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        four!(vmulq_f32, self, b)
    }
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        four!(vdivq_f32, self, b)
    }
    #[inline(always)]
    fn max(self, b: Self) -> Self {
        four!(larger, self, b)
    }
    #[inline(always)]
    fn min(self, b: Self) -> Self {
        four!(smaller, self, b)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        four!(vsqrtq_f32, self)
    }
    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        // What is added comes first here.
        four!(vfmaq_f32, c, self, b)
    }
    #[inline(always)]
    fn round(self) -> Self {
        four!(vrndnq_f32, self)
    }
    #[inline(always)]
    fn times_power_of_two(self, n: Self) -> Self {
        four!(scaled, self, n)
    }
    // The instructions for bf16 that some of these processors have round differently.
    #[inline(always)]
    fn pairs(even: Self, odd: Self) -> Self {
        of_array(<[f32; LANES]>::pairs(array(even), array(odd)))
    }
    #[inline(always)]
    fn neighbours(first: Self, last: Self) -> Self {
        of_array(<[f32; LANES]>::neighbours(array(first), array(last)))
    }
    #[inline(always)]
    fn fma_pairs(self, b: Self, c: Self) -> Self {
        of_array(array(self).fma_pairs(array(b), array(c)))
    }
}
