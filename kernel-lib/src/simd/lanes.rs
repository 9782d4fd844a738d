//! Sixteen numbers treated alike: the one form in which all kernels are written.
//!
//! A kernel is generic over [`Lanes`] and compiled for each [`Isa`]: with AVX-512 (one register), AVX2 (two) or NEON (four),
//! and as plain Rust (an array; `f32` or `f64`). Each computes the same sixteen virtual lanes with the same fused
//! multiply-adds, the same exponential and the same order of summation, so all give the same bits.

use super::bf16;
use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, Sub};

/// How many numbers are treated alike.
pub(crate) const LANES: usize = 16;

/// A kernel: something computed with lanes, of whatever kind they are. `run` must be `#[inline(always)]`, and so must
/// all that it calls, for only then is it compiled with the instructions of its caller.
pub(crate) trait Kernel<S: Number> {
    /// What it gives.
    type Output;
    /// Computes it.
    fn run<V: Lanes<Scalar = S>>(self) -> Self::Output;
}

/// `f32`, in which the engine computes, or `f64`, in which its portable kernels are tested.
pub(crate) trait Number:
    Copy
    + Send
    + Sync
    + Debug
    + Default
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + AddAssign
    + 'static
{
    const ZERO: Self;
    const ONE: Self;
    /// No number is below it.
    const LOWEST: Self;
    /// Where the exponential and its reciprocal are still normal numbers: |x| below it.
    const EXP_LIMIT: Self;
    /// ln 2 in two parts; the first has few bits, so that its product with a small whole number is exact.
    const LN_2: [Self; 2];
    /// How many terms of the exponential's series are above the rounding error for |x| ≤ ln 2 / 2.
    const EXP_TERMS: usize;
    fn from_f64(x: f64) -> Self;
    fn to_f64(self) -> f64;
    fn sqrt(self) -> Self;
    fn fma(self, b: Self, c: Self) -> Self;
    fn round(self) -> Self;
    /// self · 2ⁿ for a whole number n and a result that is a normal number.
    fn times_power_of_two(self, n: Self) -> Self;
    /// A pair of bf16 in the place of a number, which is then only moved.
    fn from_pair(even: Self, odd: Self) -> Self;
    /// The even and the odd number of such a pair.
    fn numbers(self) -> [f32; 2];
    /// a b + c as the instruction for bf16 pairs computes it.
    fn fma_bf16(a: [f32; LANES], b: [f32; LANES], c: [Self; LANES]) -> [Self; LANES];
}

macro_rules! scalar {
    ($type:ty, $bits:ty, $int:ty, $mantissa:expr, $limit:expr, $ln2:expr, $terms:expr, $fma:expr) => {
        impl Number for $type {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const LOWEST: Self = <$type>::NEG_INFINITY;
            const EXP_LIMIT: Self = $limit;
            const LN_2: [Self; 2] = $ln2;
            const EXP_TERMS: usize = $terms;
            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as $type
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                <$type>::sqrt(self)
            }
            #[inline(always)]
            fn fma(self, b: Self, c: Self) -> Self {
                <$type>::mul_add(self, b, c)
            }
            #[inline(always)]
            fn round(self) -> Self {
                <$type>::round_ties_even(self)
            }
            #[inline(always)]
            fn times_power_of_two(self, n: Self) -> Self {
                <$type>::from_bits(self.to_bits().wrapping_add(((n as $int) << $mantissa) as $bits))
            }
            #[inline(always)]
            fn from_pair(even: Self, odd: Self) -> Self {
                <$type>::from_bits(bf16::pair(even as f32, odd as f32) as $bits)
            }
            #[inline(always)]
            fn numbers(self) -> [f32; 2] {
                bf16::numbers(self.to_bits() as u32)
            }
            #[inline(always)]
            fn fma_bf16(a: [f32; LANES], b: [f32; LANES], c: [Self; LANES]) -> [Self; LANES] {
                $fma(a, b, c)
            }
        }
    };
}

scalar!(f32, u32, i32, 23, 86.0, [0.693_359_4, -2.121_944_4e-4], 8, bf16::fma);
scalar!(f64, u64, i64, 52, 700.0, [0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10], 15, fma_in_f64);

/// In `f64` there is nothing to take care of.
#[inline(always)]
fn fma_in_f64(a: [f32; LANES], b: [f32; LANES], c: [f64; LANES]) -> [f64; LANES] {
    let mut sums = c;
    for i in 0..LANES {
        sums[i] = f64::from(a[i]).mul_add(f64::from(b[i]), c[i]);
    }
    sums
}

/// 1/n!, by Taylor.
const EXP_SERIES: [f64; 16] = {
    let (mut terms, mut n) = ([1.0; 16], 1);
    while n < 16 {
        terms[n] = terms[n - 1] / n as f64;
        n += 1;
    }
    terms
};

/// Sixteen numbers.
pub(crate) trait Lanes: Copy {
    type Scalar: Number;
    /// A matmul's tile has so many rows…
    const TILE_ROWS: usize;
    /// …and so many sixteens of columns: its sums fill the registers.
    const TILE_COLUMNS: usize;

    fn splat(x: Self::Scalar) -> Self;
    /// # Safety
    /// 16 numbers can be read there.
    unsafe fn load(from: *const Self::Scalar) -> Self;
    /// # Safety
    /// 16 numbers can be written there.
    unsafe fn store(self, to: *mut Self::Scalar);
    /// The first `n` < 16 from memory, and zeros.
    /// # Safety
    /// n numbers can be read there.
    unsafe fn load_first(from: *const Self::Scalar, n: usize) -> Self;
    /// The first `n` < 16 to memory.
    /// # Safety
    /// n numbers can be written there.
    unsafe fn store_first(self, to: *mut Self::Scalar, n: usize);
    /// The transpose of a 16 × 16 matrix, given by its rows.
    #[inline(always)]
    fn transpose(rows: [Self; LANES]) -> [Self; LANES] {
        let mut columns = [[Self::Scalar::ZERO; LANES]; LANES];
        let mut row = [Self::Scalar::ZERO; LANES];
        for i in 0..LANES {
            // SAFETY: arrays of 16 numbers.
            unsafe { rows[i].store(row.as_mut_ptr()) };
            for j in 0..LANES {
                columns[j][i] = row[j];
            }
        }
        let mut found = rows;
        for j in 0..LANES {
            // SAFETY: the same.
            found[j] = unsafe { Self::load(columns[j].as_ptr()) };
        }
        found
    }
    /// Its first `n` lanes, and the others of `rest`.
    fn first(self, n: usize, rest: Self) -> Self;
    fn add(self, b: Self) -> Self;
    fn sub(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    fn div(self, b: Self) -> Self;
    /// The larger of both; `b` where one of them is NaN.
    fn max(self, b: Self) -> Self;
    /// The smaller of both; `b` where one of them is NaN.
    fn min(self, b: Self) -> Self;
    fn sqrt(self) -> Self;
    /// self · b + c, rounded once.
    fn fma(self, b: Self, c: Self) -> Self;
    /// To the nearest whole number, halves to the even one.
    fn round(self) -> Self;
    /// self · 2ⁿ for whole numbers n and results that are normal numbers.
    fn times_power_of_two(self, n: Self) -> Self;
    /// Pairs of bf16: evenᵢ and oddᵢ in lane i.
    fn pairs(even: Self, odd: Self) -> Self;
    /// Pairs of bf16 of 32 numbers that lie together: number 2i and number 2i + 1 in lane i.
    fn neighbours(first: Self, last: Self) -> Self;
    /// self · b + c for pairs in self and b: the product of the odd numbers is added first, then that of the even ones.
    fn fma_pairs(self, b: Self, c: Self) -> Self;

    #[inline(always)]
    fn zero() -> Self {
        Self::splat(Self::Scalar::ZERO)
    }

    #[inline(always)]
    fn constant(x: f64) -> Self {
        Self::splat(Self::Scalar::from_f64(x))
    }

    /// Up to 16 numbers from memory, and zeros.
    /// # Safety
    /// min(n, 16) numbers can be read there.
    #[inline(always)]
    unsafe fn read(from: *const Self::Scalar, n: usize) -> Self {
        unsafe { if n >= LANES { Self::load(from) } else { Self::load_first(from, n) } }
    }

    /// Up to 16 numbers to memory.
    /// # Safety
    /// min(n, 16) numbers can be written there.
    #[inline(always)]
    unsafe fn write(self, to: *mut Self::Scalar, n: usize) {
        unsafe { if n >= LANES { self.store(to) } else { self.store_first(to, n) } }
    }

    /// Their sum, by halves: lane i and lane i + 8, then i + 4, i + 2, i + 1.
    #[inline(always)]
    fn sum(self) -> Self::Scalar {
        let mut lanes = [Self::Scalar::ZERO; LANES];
        // SAFETY: the array has 16 numbers.
        unsafe { self.store(lanes.as_mut_ptr()) };
        let mut half = LANES / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] += lanes[i + half];
            }
            half /= 2;
        }
        lanes[0]
    }

    /// The largest.
    #[inline(always)]
    fn largest(self) -> Self::Scalar {
        let mut lanes = [Self::Scalar::ZERO; LANES];
        // SAFETY: the array has 16 numbers.
        unsafe { self.store(lanes.as_mut_ptr()) };
        let mut half = LANES / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] = if lanes[i] > lanes[i + half] { lanes[i] } else { lanes[i + half] };
            }
            half /= 2;
        }
        lanes[0]
    }

    /// eˣ: 2ⁿ eʳ with x = n ln 2 + r and |r| ≤ ln 2 / 2, by Taylor. Arguments outside ±[`Scalar::EXP_LIMIT`] count as
    /// that limit; NaN stays NaN.
    #[inline(always)]
    fn exp(self) -> Self {
        let limit = Self::Scalar::EXP_LIMIT;
        // x comes second, so that NaN is not replaced by the limit.
        let x = Self::splat(limit).min(Self::splat(Self::Scalar::ZERO - limit).max(self));
        let n = x.mul(Self::constant(std::f64::consts::LOG2_E)).round();
        let [high, low] = Self::Scalar::LN_2;
        let r = n.fma(Self::splat(Self::Scalar::ZERO - high), x);
        let r = n.fma(Self::splat(Self::Scalar::ZERO - low), r);
        let mut sum = Self::constant(EXP_SERIES[Self::Scalar::EXP_TERMS - 1]);
        let mut term = Self::Scalar::EXP_TERMS - 1;
        while term > 0 {
            term -= 1;
            sum = sum.fma(r, Self::constant(EXP_SERIES[term]));
        }
        sum.times_power_of_two(n)
    }

    /// σ(x) = 1 / (1 + e⁻ˣ).
    #[inline(always)]
    fn sigmoid(self) -> Self {
        let one = Self::splat(Self::Scalar::ONE);
        one.div(one.add(Self::zero().sub(self).exp()))
    }
}

/// Sixteen numbers as an array, for what there is no instruction for.
#[inline(always)]
pub(super) fn array<V: Lanes<Scalar = f32>>(lanes: V) -> [f32; LANES] {
    let mut array = [0.0; LANES];
    // SAFETY: it has 16 numbers.
    unsafe { lanes.store(array.as_mut_ptr()) };
    array
}

/// Such an array in registers again.
#[inline(always)]
pub(super) fn of_array<V: Lanes<Scalar = f32>>(array: [f32; LANES]) -> V {
    // SAFETY: it has 16 numbers.
    unsafe { V::load(array.as_ptr()) }
}

macro_rules! each {
    ($i:ident => $e:expr) => {{
        let mut out = [S::ZERO; LANES];
        for $i in 0..LANES {
            out[$i] = $e;
        }
        out
    }};
}

impl<S: Number> Lanes for [S; LANES] {
    type Scalar = S;
    const TILE_ROWS: usize = 4;
    const TILE_COLUMNS: usize = 1;

    #[inline(always)]
    fn splat(x: S) -> Self {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn load(from: *const S) -> Self {
        unsafe { from.cast::<Self>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut S) {
        unsafe { to.cast::<Self>().write_unaligned(self) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const S, n: usize) -> Self {
        each!(i => if i < n { unsafe { *from.add(i) } } else { S::ZERO })
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut S, n: usize) {
        for (i, x) in self.into_iter().enumerate().take(n) {
            unsafe { *to.add(i) = x }
        }
    }
    #[inline(always)]
    fn first(self, n: usize, rest: Self) -> Self {
        each!(i => if i < n { self[i] } else { rest[i] })
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        each!(i => self[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        each!(i => self[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        each!(i => self[i] * b[i])
    }
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        each!(i => self[i] / b[i])
    }
    #[inline(always)]
    fn max(self, b: Self) -> Self {
        each!(i => if self[i] > b[i] { self[i] } else { b[i] })
    }
    #[inline(always)]
    fn min(self, b: Self) -> Self {
        each!(i => if self[i] < b[i] { self[i] } else { b[i] })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        each!(i => self[i].sqrt())
    }
    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        each!(i => self[i].fma(b[i], c[i]))
    }
    #[inline(always)]
    fn round(self) -> Self {
        each!(i => self[i].round())
    }
    #[inline(always)]
    fn times_power_of_two(self, n: Self) -> Self {
        each!(i => self[i].times_power_of_two(n[i]))
    }
    #[inline(always)]
    fn pairs(even: Self, odd: Self) -> Self {
        each!(i => S::from_pair(even[i], odd[i]))
    }
    #[inline(always)]
    fn neighbours(first: Self, last: Self) -> Self {
        each!(i => {
            let (half, at) = (if i < LANES / 2 { first } else { last }, 2 * i % LANES);
            S::from_pair(half[at], half[at + 1])
        })
    }
    #[inline(always)]
    fn fma_pairs(self, b: Self, c: Self) -> Self {
        let mut numbers = [[[0.0; LANES]; 2]; 2];
        for i in 0..LANES {
            [numbers[0][0][i], numbers[1][0][i]] = self[i].numbers();
            [numbers[0][1][i], numbers[1][1][i]] = b[i].numbers();
        }
        let [[a_even, b_even], [a_odd, b_odd]] = numbers;
        S::fma_bf16(a_even, b_even, S::fma_bf16(a_odd, b_odd, c))
    }
}

#[cfg(test)]
mod tests;
