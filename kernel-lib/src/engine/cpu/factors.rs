//! What the two factors of a product are made of: numbers, or pairs of bf16.
//!
//! Along k, a factor is a row of *items*, each in the place of one number. An item is a number, or a pair of numbers
//! that follow each other along k, rounded to bf16 ([`super::bf16`]); where k is odd, the last is paired with zero. Sums
//! are never rounded to bf16. So both kinds go through the same tiles; only packing makes them differ.

use crate::simd::{LANES, Lanes};

/// One kind of factors.
pub(super) trait Factors: Copy + Send + Sync + 'static {
    /// How many numbers along k an item has.
    const EACH: usize;

    /// Items of numbers that lie side by side along k, of which `left` are left (zeros after them).
    ///
    /// # Safety
    /// The numbers that are left, up to 16 items' worth, can be read.
    unsafe fn along<V: Lanes>(from: *const V::Scalar, left: usize) -> V;

    /// Items of up to 16 columns, of numbers that lie `row` apart along k, of which `left` > 0 are left.
    ///
    /// # Safety
    /// The columns can be read in the rows that are left, up to [`Factors::EACH`].
    unsafe fn across<V: Lanes>(from: *const V::Scalar, row: usize, left: usize, columns: usize) -> V;

    /// a · b + sum.
    fn fma<V: Lanes>(a: V, b: V, sum: V) -> V;

    /// How many items k numbers are.
    #[inline(always)]
    fn items(k: usize) -> usize {
        k.div_ceil(Self::EACH)
    }
}

/// Numbers as they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exact;

impl Factors for Exact {
    const EACH: usize = 1;

    #[inline(always)]
    unsafe fn along<V: Lanes>(from: *const V::Scalar, left: usize) -> V {
        unsafe { V::read(from, left) }
    }
    #[inline(always)]
    unsafe fn across<V: Lanes>(from: *const V::Scalar, _row: usize, _left: usize, columns: usize) -> V {
        unsafe { V::read(from, columns) }
    }
    #[inline(always)]
    fn fma<V: Lanes>(a: V, b: V, sum: V) -> V {
        a.fma(b, sum)
    }
}

/// Pairs of bf16.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bf16;

impl Factors for Bf16 {
    const EACH: usize = 2;

    #[inline(always)]
    unsafe fn along<V: Lanes>(from: *const V::Scalar, left: usize) -> V {
        // SAFETY: nothing is read where nothing is left.
        unsafe {
            let last = V::read(from.wrapping_add(LANES), left.saturating_sub(LANES));
            V::neighbours(V::read(from, left), last)
        }
    }
    #[inline(always)]
    unsafe fn across<V: Lanes>(from: *const V::Scalar, row: usize, left: usize, columns: usize) -> V {
        unsafe {
            let odd = if left > 1 { V::read(from.add(row), columns) } else { V::zero() };
            V::pairs(V::read(from, columns), odd)
        }
    }
    #[inline(always)]
    fn fma<V: Lanes>(a: V, b: V, sum: V) -> V {
        a.fma_pairs(b, sum)
    }
}
