//! Tiles: rows of the left factor through panels of the right one, sums in registers.
//!
//! The right factor is packed into panels of 32 columns, through which the kernel runs with consecutive reads; a tile
//! of c, 12 × 32 with AVX-512, stays in registers meanwhile. Depths are counted in items of [`Factors`].

use super::factors::Factors;
use crate::simd::{LANES, Lanes, Number};

/// Columns of a panel; the last one of a matrix has 16 if those suffice.
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

/// Where element (i, j) of a packed (k, n) matrix is.
#[inline(always)]
pub(super) fn packed_place(k: usize, n: usize, i: usize, j: usize) -> usize {
    let column = j / PANEL * PANEL;
    column * k + i * panel_width(n, column) + (j - column)
}

/// The width of the panel that begins at this column.
#[inline(always)]
fn panel_width(n: usize, column: usize) -> usize {
    if n - column > LANES { PANEL } else { LANES }
}

/// Packs the panel of columns `column..` of a (k, n) matrix: (items, 32) or (items, 16), zeros beside the matrix.
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
    let (width, valid) = (panel_width(n, column), (n - column).min(PANEL));
    let items = F::items(k);
    unsafe {
        let from = b.at.add(column * b.column);
        if b.column == 1 {
            for i in 0..items {
                let (from, to, left) = (from.add(i * F::EACH * b.row), to.add(i * width), k - i * F::EACH);
                F::across::<V>(from, b.row, left, valid).store(to);
                if width == PANEL {
                    F::across::<V>(from.add(LANES), b.row, left, valid - LANES).store(to.add(LANES));
                }
            }
        } else {
            // A transposition, in blocks that stay in the first-level cache.
            const BLOCK: usize = 64;
            let mut block = [V::Scalar::ZERO; BLOCK];
            for start in (0..items).step_by(BLOCK) {
                let end = (start + BLOCK).min(items);
                for j in 0..width {
                    for at in (start..end).step_by(LANES) {
                        let from = from.wrapping_add(j * b.column + at * F::EACH);
                        let left = if j < valid { k - at * F::EACH } else { 0 };
                        F::along::<V>(from, left).store(block.as_mut_ptr().add(at - start));
                    }
                    for i in start..end {
                        *to.add(i * width + j) = block[i - start];
                    }
                }
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

/// Where the sums of a tile go: c = plus + sum, or c = sum.
#[derive(Clone, Copy)]
pub(super) struct Target<S> {
    pub(super) c: *mut S,
    pub(super) c_row: usize,
    pub(super) plus: *const S,
    pub(super) plus_row: usize,
}

impl<S> Target<S> {
    /// c = sum.
    pub(super) fn set(c: *mut S, row: usize) -> Self {
        Self { c, c_row: row, plus: std::ptr::null(), plus_row: 0 }
    }

    /// c += sum.
    pub(super) fn add(c: *mut S, row: usize) -> Self {
        Self { c, c_row: row, plus: c, plus_row: row }
    }

    #[inline(always)]
    pub(super) fn at(self, i: usize, j: usize) -> Self {
        let plus =
            if self.plus.is_null() { self.plus } else { self.plus.wrapping_add(i * self.plus_row + j) };
        Self { c: self.c.wrapping_add(i * self.c_row + j), plus, ..self }
    }
}

/// A tile of M rows and N sixteens of columns: sums in registers over all k items.
///
/// # Safety
/// a (M, k), b (k, 16 N) with rows `b_row` apart, and `columns` of M rows of the target can be used.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "rows, columns and sums have common counters")]
unsafe fn tile<V: Lanes, F: Factors, const M: usize, const N: usize>(
    k: usize,
    a: Matrix<V::Scalar>,
    b: *const V::Scalar,
    b_row: usize,
    target: Target<V::Scalar>,
    columns: usize,
) {
    unsafe {
        let mut sums = [[V::zero(); N]; M];
        let (mut a_at, mut b_at) = (a.at, b);
        for _ in 0..k {
            let mut right = [V::zero(); N];
            for j in 0..N {
                right[j] = V::load(b_at.add(j * LANES));
            }
            for i in 0..M {
                let left = V::splat(*a_at.add(i * a.row));
                for j in 0..N {
                    sums[i][j] = F::fma(left, right[j], sums[i][j]);
                }
            }
            a_at = a_at.wrapping_add(a.column);
            b_at = b_at.wrapping_add(b_row);
        }
        // Loops of constant bounds with constant places, so that sums stay in registers: a whole tile, with or without
        // something to add, and otherwise a copy in memory.
        if columns == N * LANES && target.plus.is_null() {
            for i in 0..M {
                for j in 0..N {
                    sums[i][j].store(target.c.add(i * target.c_row + j * LANES));
                }
            }
        } else if columns == N * LANES {
            for i in 0..M {
                for j in 0..N {
                    let plus = V::load(target.plus.add(i * target.plus_row + j * LANES));
                    plus.add(sums[i][j]).store(target.c.add(i * target.c_row + j * LANES));
                }
            }
        } else {
            let mut copy = [[V::Scalar::ZERO; LANES]; 32];
            for i in 0..M {
                for j in 0..N {
                    sums[i][j].store(copy[i * N + j].as_mut_ptr());
                }
            }
            for i in 0..M {
                for start in (0..columns).step_by(LANES) {
                    let (left, to) = (columns - start, target.at(i, start));
                    let sum = V::load(copy[i * N + start / LANES].as_ptr());
                    let sum = if to.plus.is_null() { sum } else { V::read(to.plus, left).add(sum) };
                    sum.write(to.c, left);
                }
            }
        }
    }
}

/// Columns `from..to` of a packed matrix of n columns, from row `skip` of its `depth` rows on. `from` is a multiple
/// of 32.
#[derive(Clone, Copy)]
pub(super) struct Panels<S> {
    pub(super) at: *const S,
    pub(super) depth: usize,
    pub(super) n: usize,
    pub(super) skip: usize,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// M rows of a through panels of b.
#[inline(always)]
unsafe fn rows<V: Lanes, F: Factors, const M: usize>(
    k: usize,
    a: Matrix<V::Scalar>,
    panels: Panels<V::Scalar>,
    target: Target<V::Scalar>,
) {
    let Panels { at, depth, n, skip, from, to } = panels;
    let mut column = from;
    while column < to {
        let (width, columns) = (panel_width(n, column), (n - column).min(PANEL));
        let b = at.wrapping_add(column * depth + skip * width);
        unsafe {
            if V::TILE_COLUMNS == 2 && width == PANEL {
                tile::<V, F, M, 2>(k, a, b, width, target.at(0, column), columns);
            } else {
                tile::<V, F, M, 1>(k, a, b, width, target.at(0, column), columns.min(LANES));
                if width == PANEL {
                    let b = b.wrapping_add(LANES);
                    tile::<V, F, M, 1>(k, a, b, width, target.at(0, column + LANES), columns - LANES);
                }
            }
        }
        column += PANEL;
    }
}

/// How many rows the next tile has, if so many are left.
#[inline(always)]
pub(super) fn tile_rows<V: Lanes>(left: usize) -> usize {
    for rows in [12, 6, 4, 2] {
        if rows <= V::TILE_ROWS && rows <= left {
            return rows;
        }
    }
    1
}

/// One tile's rows, `m` of [`tile_rows`], through panels of b.
///
/// # Safety
/// a (m, k), the panels, and the target can be used.
#[inline(always)]
pub(super) unsafe fn few_rows<V: Lanes, F: Factors>(
    m: usize,
    k: usize,
    a: Matrix<V::Scalar>,
    panels: Panels<V::Scalar>,
    target: Target<V::Scalar>,
) {
    unsafe {
        match m {
            12 if V::TILE_ROWS >= 12 => rows::<V, F, 12>(k, a, panels, target),
            6 if V::TILE_ROWS >= 6 => rows::<V, F, 6>(k, a, panels, target),
            4 => rows::<V, F, 4>(k, a, panels, target),
            2 => rows::<V, F, 2>(k, a, panels, target),
            _ => rows::<V, F, 1>(k, a, panels, target),
        }
    }
}
