//! The microkernel of matrix products: rows of the left factor through panels of the right one, sums in registers.
//!
//! A tile of c, 12 × 32 with AVX-512, stays in registers while it runs through k. Depths are counted in items of
//! [`Factors`].

use super::pack::{Factors, Matrix, panel, panel_width};
use crate::simd::{LANES, Lanes, Number};

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
        let width = panel_width::<V>(n, column);
        let columns = (n - column).min(width);
        let b = at.wrapping_add(column * depth + skip * width);
        unsafe {
            if V::TILE_COLUMNS == 2 && width > LANES {
                tile::<V, F, M, 2>(k, a, b, width, target.at(0, column), columns);
            } else {
                tile::<V, F, M, 1>(k, a, b, width, target.at(0, column), columns);
            }
        }
        column += panel::<V>();
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
