//! Packing, as BLAS libraries do it (Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication"): the
//! right factor of a product in panels of 32 columns, which the microkernel reads from end to end, and rows of the left
//! one; of numbers as they are, or of pairs of bf16.
//!
//! Along k, a packed factor is a row of *items*, each in the place of one number. An item is a number, or a pair of
//! numbers that follow each other along k, rounded to bf16 ([`crate::simd::bf16`]); where k is odd, the last is paired
//! with zero. Sums are never rounded to bf16. So both kinds go through the same microkernel; only packing makes them
//! differ.

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

/// Columns that are packed at a time.
pub(super) const PANEL: usize = 2 * LANES;

/// A matrix in memory, whose element (i, j) lies `i * row + j * column` after the start.
#[derive(Clone, Copy)]
pub(super) struct Matrix<S> {
    pub(super) at: *const S,
    pub(super) row: usize,
    pub(super) column: usize,
}

/// How many numbers a packed matrix of k items and n columns takes.
pub(super) fn packed_len(k: usize, n: usize) -> usize {
    k * n.next_multiple_of(LANES)
}

/// Columns of a panel: those of a tile, so that a tile reads its panel from end to end.
#[inline(always)]
pub(super) fn panel<V: Lanes>() -> usize {
    V::TILE_COLUMNS * LANES
}

/// The width of the panel that begins at this column: the last one of a matrix has 16 if those suffice.
#[inline(always)]
pub(super) fn panel_width<V: Lanes>(n: usize, column: usize) -> usize {
    if n - column > LANES { panel::<V>() } else { LANES }
}

/// Where element (i, j) of a packed (k, n) matrix is.
#[inline(always)]
pub(super) fn packed_place<V: Lanes>(k: usize, n: usize, i: usize, j: usize) -> usize {
    let column = j / panel::<V>() * panel::<V>();
    column * k + i * panel_width::<V>(n, column) + (j - column)
}

/// Packs [`PANEL`] columns, from `column` on, of a (k, n) matrix: (items, 32) or twice (items, 16), by the width of
/// [`panel`]s, zeros beside the matrix.
///
/// # Safety
/// The matrix can be read, the panel written; its rows or its columns have consecutive numbers.
#[inline(always)]
pub(super) unsafe fn pack_panel<V: Lanes, F: Factors>(
    b: Matrix<V::Scalar>,
    k: usize,
    n: usize,
    column: usize,
    to: *mut V::Scalar,
) {
    let items = F::items(k);
    for first in (column..n.min(column + PANEL)).step_by(panel::<V>()) {
        let (width, valid) = (panel_width::<V>(n, first), (n - first).min(panel::<V>()));
        // SAFETY: the caller's promise.
        unsafe {
            let (from, to) = (b.at.add(first * b.column), to.add((first - column) * items));
            if b.column == 1 {
                pack_rows::<V, F>(from, b.row, k, width, valid, to);
            } else {
                pack_transposed::<V, F>(from, b.column, k, width, valid, to);
            }
        }
    }
}

/// One panel of a matrix whose rows have consecutive numbers.
#[inline(always)]
unsafe fn pack_rows<V: Lanes, F: Factors>(
    from: *const V::Scalar,
    row: usize,
    k: usize,
    width: usize,
    valid: usize,
    to: *mut V::Scalar,
) {
    for i in 0..F::items(k) {
        unsafe {
            let (from, to, left) = (from.add(i * F::EACH * row), to.add(i * width), k - i * F::EACH);
            F::across::<V>(from, row, left, valid).store(to);
            if width > LANES {
                F::across::<V>(from.add(LANES), row, left, valid - LANES).store(to.add(LANES));
            }
        }
    }
}

/// One panel of a matrix whose columns have consecutive numbers: a transposition, by blocks of 16 × 16.
#[inline(always)]
unsafe fn pack_transposed<V: Lanes, F: Factors>(
    from: *const V::Scalar,
    column: usize,
    k: usize,
    width: usize,
    valid: usize,
    to: *mut V::Scalar,
) {
    let items = F::items(k);
    for first in (0..width).step_by(LANES) {
        for at in (0..items).step_by(LANES) {
            let number = at * F::EACH;
            let mut columns = [V::zero(); LANES];
            for (j, items) in columns.iter_mut().enumerate().take(valid - first) {
                // SAFETY: the caller's promise.
                *items = unsafe { F::along(from.add((first + j) * column + number), k - number) };
            }
            for (i, items) in V::transpose(columns).into_iter().enumerate().take(items - at) {
                // SAFETY: the same.
                unsafe { items.store(to.add((at + i) * width + first)) };
            }
        }
    }
}

/// Rows of a left factor, (m, k), as items in scratch: (m, items), rows `to_row` apart. May be done in place. The last
/// store of a row goes over its end.
///
/// # Safety
/// The rows can be read, and scratch written.
#[inline(always)]
pub(super) unsafe fn copy_rows<V: Lanes, F: Factors>(
    a: Matrix<V::Scalar>,
    m: usize,
    k: usize,
    to: *mut V::Scalar,
    to_row: usize,
) -> Matrix<V::Scalar> {
    for i in 0..m {
        for at in (0..F::items(k)).step_by(LANES) {
            let number = at * F::EACH;
            // SAFETY: the caller's promise. What is written was read before.
            unsafe {
                F::along::<V>(a.at.add(i * a.row + number), k - number).store(to.add(i * to_row + at));
            }
        }
    }
    Matrix { at: to.cast_const(), row: to_row, column: 1 }
}

/// Rows of a left factor as items: where they are if they are items as they are, or else as [`copy_rows`].
///
/// # Safety
/// As there.
#[inline(always)]
pub(super) unsafe fn item_rows<V: Lanes, F: Factors>(
    a: Matrix<V::Scalar>,
    m: usize,
    k: usize,
    scratch: *mut V::Scalar,
    row: usize,
) -> Matrix<V::Scalar> {
    if F::EACH == 1 { a } else { unsafe { copy_rows::<V, F>(a, m, k, scratch, row) } }
}
