//! Matrix products: c = plus + a · b.
//!
//! A number of c is made in one way only: sums of [`DEPTH`] products, each sum by fused multiply-adds in the order of
//! k, added to c one after the other. Tiles, threads, instruction sets and the number of rows only decide who does it
//! when. So a product of one row has the bits of that row in a product of a thousand, on every machine.
//!
//! The right factor is packed into panels of 32 columns, through which the kernel runs with consecutive reads; a tile
//! of c, 12 × 32 with AVX-512, stays in registers meanwhile.

use super::lanes::{Isa, Kernel, LANES, Lanes, Scalar};
use super::parallel::{Shared, Team, with_scratch};
use std::ops::Range;

/// So many products are added up in registers before the sum goes to memory. Fixed: it is part of the result's bits.
pub(super) const DEPTH: usize = 256;
/// Columns of a panel; the last one of a matrix has 16 if those suffice.
pub(super) const PANEL: usize = 2 * LANES;
/// Columns whose panels of one depth stay in the second-level cache: 256 KiB of f32.
const NEAR: usize = 256;

/// A matrix in memory, whose element (i, j) lies `i * row + j * column` after the start.
#[derive(Clone, Copy)]
pub(super) struct Matrix<S> {
    pub(super) at: *const S,
    pub(super) row: usize,
    pub(super) column: usize,
}

/// How many numbers a packed (k, n) matrix takes.
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

/// Packs the panel of columns `column..` of a (k, n) matrix: (k, 32) or (k, 16), zeros beside the matrix.
///
/// # Safety
/// The matrix can be read, the panel written.
#[inline(always)]
pub(super) unsafe fn pack_panel<V: Lanes>(
    b: Matrix<V::Scalar>,
    k: usize,
    n: usize,
    column: usize,
    to: *mut V::Scalar,
) {
    let (width, valid) = (panel_width(n, column), (n - column).min(PANEL));
    unsafe {
        let from = b.at.add(column * b.column);
        if b.column == 1 {
            for i in 0..k {
                let (from, to) = (from.add(i * b.row), to.add(i * width));
                V::read(from, valid).store(to);
                if width == PANEL {
                    V::read(from.add(LANES), valid - LANES).store(to.add(LANES));
                }
            }
        } else {
            // A transposition, in blocks that stay in the first-level cache.
            const BLOCK: usize = 64;
            for start in (0..k).step_by(BLOCK) {
                let end = (start + BLOCK).min(k);
                for j in 0..width {
                    for i in start..end {
                        *to.add(i * width + j) =
                            if j < valid { *from.add(i * b.row + j * b.column) } else { V::Scalar::ZERO };
                    }
                }
            }
        }
    }
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
    fn at(self, i: usize, j: usize) -> Self {
        let plus =
            if self.plus.is_null() { self.plus } else { self.plus.wrapping_add(i * self.plus_row + j) };
        Self { c: self.c.wrapping_add(i * self.c_row + j), plus, ..self }
    }
}

/// A tile of M rows and N sixteens of columns: sums in registers over all k.
///
/// # Safety
/// a (M, k), b (k, 16 N) with rows `b_row` apart, and `columns` of M rows of the target can be used.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "rows, columns and sums have common counters")]
unsafe fn tile<V: Lanes, const M: usize, const N: usize>(
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
                    sums[i][j] = left.fma(right[j], sums[i][j]);
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
unsafe fn rows<V: Lanes, const M: usize>(
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
                tile::<V, M, 2>(k, a, b, width, target.at(0, column), columns);
            } else {
                tile::<V, M, 1>(k, a, b, width, target.at(0, column), columns.min(LANES));
                if width == PANEL {
                    let b = b.wrapping_add(LANES);
                    tile::<V, M, 1>(k, a, b, width, target.at(0, column + LANES), columns - LANES);
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
pub(super) unsafe fn few_rows<V: Lanes>(
    m: usize,
    k: usize,
    a: Matrix<V::Scalar>,
    panels: Panels<V::Scalar>,
    target: Target<V::Scalar>,
) {
    unsafe {
        match m {
            12 if V::TILE_ROWS >= 12 => rows::<V, 12>(k, a, panels, target),
            6 if V::TILE_ROWS >= 6 => rows::<V, 6>(k, a, panels, target),
            4 => rows::<V, 4>(k, a, panels, target),
            2 => rows::<V, 2>(k, a, panels, target),
            _ => rows::<V, 1>(k, a, panels, target),
        }
    }
}

/// Rows and columns of c = plus + a b, with b packed.
struct Block<S> {
    rows: Range<usize>,
    k: usize,
    a: Matrix<S>,
    panels: Panels<S>,
    target: Target<S>,
    scratch: *mut S,
}

/// A row of a in scratch: not a power of two, lest all rows of a tile meet in one set of the cache.
const ROW: usize = DEPTH + LANES;

impl<S: Scalar> Kernel<S> for Block<S> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes<Scalar = S>>(self) {
        let Self { rows, k, a, panels, target, scratch } = self;
        for near in (panels.from..panels.to).step_by(NEAR) {
            for deep in (0..k).step_by(DEPTH) {
                let depth = DEPTH.min(k - deep);
                let panels = Panels { from: near, to: (near + NEAR).min(panels.to), skip: deep, ..panels };
                let mut i = rows.start;
                while i < rows.end {
                    let m = tile_rows::<V>(rows.end - i);
                    let to = target.at(i, 0);
                    let to = if deep > 0 { Target::add(to.c, to.c_row) } else { to };
                    // SAFETY: `multiply` checked the sizes; scratch has 12 rows.
                    unsafe {
                        for row in 0..m {
                            let from = a.at.add((i + row) * a.row + deep);
                            for at in (0..depth).step_by(LANES) {
                                V::read(from.add(at), depth - at).store(scratch.add(row * ROW + at));
                            }
                        }
                        let a = Matrix { at: scratch.cast_const(), row: ROW, column: 1 };
                        few_rows::<V>(m, depth, a, panels, to);
                    }
                    i += m;
                }
            }
        }
    }
}

/// Rows and columns of c = plus + aᵀ b, for long k: packs both factors, one depth after the other.
struct LongBlock<S> {
    rows: Range<usize>,
    columns: Range<usize>,
    k: usize,
    /// (k, m), rows of consecutive numbers.
    a: Matrix<S>,
    /// (k, n), rows of consecutive numbers.
    b: Matrix<S>,
    target: Target<S>,
    /// [`long_scratch`] numbers.
    scratch: *mut S,
}

fn long_scratch(columns: usize) -> usize {
    DEPTH * (LANES + columns.next_multiple_of(LANES))
}

impl<S: Scalar> Kernel<S> for LongBlock<S> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes<Scalar = S>>(self) {
        let Self { rows, columns, k, a, b, target, scratch } = self;
        let n = columns.len();
        let b_packed = scratch.wrapping_add(DEPTH * LANES);
        for deep in (0..k).step_by(DEPTH) {
            let depth = DEPTH.min(k - deep);
            // SAFETY: `multiply` checked the sizes and made the scratch.
            unsafe {
                let b = Matrix { at: b.at.add(deep * b.row + columns.start), ..b };
                for column in (0..n).step_by(PANEL) {
                    pack_panel::<V>(b, depth, n, column, b_packed.add(column * depth));
                }
                let panels = Panels { at: b_packed.cast_const(), depth, n, skip: 0, from: 0, to: n };
                let mut i = rows.start;
                while i < rows.end {
                    let m = tile_rows::<V>(rows.end - i);
                    // The tile's columns of a, one after the other: (depth, m). The last store goes over the end.
                    let from = a.at.add(deep * a.row + i);
                    for row in 0..depth {
                        V::read(from.add(row * a.row), m).store(scratch.add(row * m));
                    }
                    let to = target.at(i, columns.start);
                    let to = if deep > 0 { Target::add(to.c, to.c_row) } else { to };
                    let a = Matrix { at: scratch.cast_const(), row: 1, column: m };
                    few_rows::<V>(m, depth, a, panels, to);
                    i += m;
                }
            }
        }
    }
}

/// Packs columns of a (k, n) matrix.
struct Pack<S> {
    b: Matrix<S>,
    k: usize,
    n: usize,
    columns: Range<usize>,
    to: *mut S,
}

impl<S: Scalar> Kernel<S> for Pack<S> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes<Scalar = S>>(self) {
        let Self { b, k, n, columns, to } = self;
        for column in columns.step_by(PANEL) {
            // SAFETY: `pack` checked the sizes.
            unsafe { pack_panel::<V>(b, k, n, column, to.add(column * k)) };
        }
    }
}

/// Packs a (k, n) matrix into `to`, which has [`packed_len`] numbers.
///
/// # Safety
/// The matrix can be read.
pub(super) unsafe fn pack<S: Scalar>(isa: Isa, team: Team, b: Matrix<S>, k: usize, n: usize, to: &mut [S]) {
    assert!(to.len() >= packed_len(k, n));
    let (b, to) = (Shared(b), Shared(to.as_mut_ptr()));
    let panels = n.div_ceil(PANEL);
    let each = panels.div_ceil(team.threads);
    team.share(panels.div_ceil(each), |task| {
        let columns = task * each * PANEL..((task + 1) * each * PANEL).min(n);
        S::run(isa, Pack { b: b.get(), k, n, columns, to: to.get() });
    });
}

/// c = plus + a · b for a (m, k) of consecutive rows and a packed b (k, n).
///
/// # Safety
/// All matrices can be used, and c is nowhere read otherwise.
pub(super) unsafe fn multiply<S: Scalar>(
    isa: Isa,
    team: Team,
    [m, n, k]: [usize; 3],
    a: Matrix<S>,
    packed: &[S],
    target: Target<S>,
) {
    assert!(a.column == 1 && packed.len() >= packed_len(k, n));
    let [each_rows, each_columns] = divide(team, m, n, 96);
    let panels = Panels { at: packed.as_ptr(), depth: k, n, skip: 0, from: 0, to: n };
    let shared = Shared((a, panels, target));
    let across = n.div_ceil(each_columns);
    team.share(m.div_ceil(each_rows) * across, |task| {
        let (i, j) = (task / across * each_rows, task % across * each_columns);
        let (a, panels, target) = shared.get();
        with_scratch(12 * ROW, |scratch: &mut [S]| {
            let panels = Panels { from: j, to: (j + each_columns).min(n), ..panels };
            let rows = i..(i + each_rows).min(m);
            S::run(isa, Block { rows, k, a, panels, target, scratch: scratch.as_mut_ptr() });
        });
    });
}

/// c = plus + aᵀ · b for a (k, m) and b (k, n) of consecutive rows.
///
/// # Safety
/// All matrices can be used, and c is nowhere read otherwise.
pub(super) unsafe fn multiply_transposed<S: Scalar>(
    isa: Isa,
    team: Team,
    [m, n, k]: [usize; 3],
    a: Matrix<S>,
    b: Matrix<S>,
    target: Target<S>,
) {
    assert!(a.column == 1 && b.column == 1);
    let [each_rows, each_columns] = divide_long(team, m, n);
    let shared = Shared((a, b, target));
    let across = n.div_ceil(each_columns);
    team.share(m.div_ceil(each_rows) * across, |task| {
        let (i, j) = (task / across * each_rows, task % across * each_columns);
        let (a, b, target) = shared.get();
        let (rows, columns) = (i..(i + each_rows).min(m), j..(j + each_columns).min(n));
        with_scratch(long_scratch(columns.len()), |scratch: &mut [S]| {
            let scratch = scratch.as_mut_ptr();
            S::run(isa, LongBlock { rows, columns, k, a, b, target, scratch });
        });
    });
}

/// Rows and columns of one task: about `most` rows, and enough tasks for all threads.
fn divide(team: Team, m: usize, n: usize, most: usize) -> [usize; 2] {
    let wanted = if team.threads == 1 { 1 } else { 2 * team.threads };
    let down = m.div_ceil(most).max(wanted.min(m / 48)).max(1);
    // A multiple of the threads, so that they end together.
    let down = if down > team.threads { down.next_multiple_of(team.threads) } else { down };
    let rows = m.div_ceil(down).next_multiple_of(12);
    let across = wanted.div_ceil(m.div_ceil(rows)).min(n.div_ceil(PANEL));
    [rows, n.div_ceil(across).next_multiple_of(PANEL)]
}

/// Rows and columns of one task that packs both its factors: as square as may be, for what is packed grows with the
/// sides and is used as often as the area says.
fn divide_long(team: Team, m: usize, n: usize) -> [usize; 2] {
    let wanted = if team.threads == 1 { 1 } else { 2 * team.threads };
    let sizes = (1..=wanted).map(|down| {
        let across = wanted.div_ceil(down).max(n.div_ceil(NEAR));
        [m.div_ceil(down).next_multiple_of(12), n.div_ceil(across).next_multiple_of(PANEL)]
    });
    sizes.min_by_key(|[rows, columns]| (1 << 20) / rows + (1 << 20) / columns).unwrap_or([m, NEAR])
}
