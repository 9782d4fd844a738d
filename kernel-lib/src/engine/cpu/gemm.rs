//! Matrix products: c = plus + a · b.
//!
//! A number of c is made in one way only: sums of [`DEPTH`] products, each sum by fused multiply-adds in the order of
//! k, added to c one after the other. Tiles (`microkernel.rs`), threads, instruction sets and the number of rows only decide
//! who does it when. So a product of one row has the bits of that row in a product of a thousand, on every machine.
//! With pairs of bf16 it is the same, only that each of the [`DEPTH`] items adds two products.

use super::super::backend::{Form, Product};
use super::microkernel::{Panels, Target, few_rows, tile_rows};
use super::pack::{Exact, Factors, Matrix, PANEL, copy_rows, pack_panel, packed_len, panel};
use super::{Cpu, apart, grown};
use crate::parallel::{Shared, Team, with_scratch};
use crate::simd::{Isa, Kernel, LANES, Lanes, Scalar};
use std::marker::PhantomData;
use std::ops::Range;

/// So many items are added up in registers before the sum goes to memory. Fixed: it is part of the result's bits.
const DEPTH: usize = 256;
/// Columns whose panels of one depth stay in the second-level cache: 256 KiB of f32.
const NEAR: usize = 256;

impl<S: Scalar> Cpu<'_, S> {
    /// A matrix product, whose factors are rounded to bf16 or not.
    pub(super) fn product<F: Factors>(&mut self, product: Product) {
        let Product { form, a, b, c, plus, shape: [m, n, k] } = product;
        let b_len = if form == Form::Packed { packed_len(k, n) } else { k * n };
        assert!(a.len == m * k && b.len == b_len && c.len == m * n, "{product:?}");
        apart(&[c], &[a, b]);
        let to = self.pointer(c);
        let mut target = Target::set(to, n);
        if let Some(plus) = plus {
            assert_eq!(plus.len, c.len);
            (target.plus, target.plus_row) = (self.pointer(plus), n);
        }
        let matrix = |span, row| Matrix { at: self.pointer(span).cast_const(), row, column: 1 };
        let (isa, a_at, b_at) = (self.isa, matrix(a, if form == Form::TN { m } else { k }), matrix(b, n));
        let (team, shape) = (self.team, [m, n, k]);
        // SAFETY: the sizes were checked, and c is apart from a and b; it may be plus, number by number.
        unsafe {
            match form {
                Form::TN => {
                    multiply_transposed::<S, F>(isa, team, shape, a_at, b_at, target);
                }
                Form::Packed => multiply::<S, Exact>(isa, team, shape, a_at, self.get(b), target),
                Form::NN | Form::NT => {
                    let b = if form == Form::NN { b_at } else { Matrix { row: 1, column: k, ..b_at } };
                    let packed = grown(&mut self.extra.packed, packed_len(F::items(k), n));
                    pack::<S, F>(isa, team, b, k, n, packed);
                    multiply::<S, F>(isa, team, shape, a_at, packed, target);
                }
            }
        }
    }
}

/// Rows and columns of c = plus + a b, with b packed.
struct Block<S, F> {
    rows: Range<usize>,
    /// In numbers, as everywhere here but in panels.
    k: usize,
    a: Matrix<S>,
    panels: Panels<S>,
    target: Target<S>,
    scratch: *mut S,
    factors: PhantomData<F>,
}

/// Rows of one task: what stays in the second-level cache of one depth, 104 kB of f32, while one panel after the other, in the
/// first-level cache, meets them. A multiple of all tiles' rows.
const ROWS: usize = 96;
/// A row of a in scratch: not a power of two, lest all rows of a tile meet in one set of the cache.
const ROW: usize = DEPTH + LANES;

impl<S: Scalar, F: Factors> Kernel<S> for Block<S, F> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes<Scalar = S>>(self) {
        let Self { rows, k, a, panels, target, scratch, .. } = self;
        let items = F::items(k);
        for deep in (0..items).step_by(DEPTH) {
            let (depth, first) = (DEPTH.min(items - deep), deep * F::EACH);
            // SAFETY: `multiply` checked the sizes; scratch has as many rows.
            unsafe {
                let from = Matrix { at: a.at.add(rows.start * a.row + first), ..a };
                let numbers = (k - first).min(depth * F::EACH);
                let a = copy_rows::<V, F>(from, rows.len(), numbers, scratch, ROW);
                for column in (panels.from..panels.to).step_by(panel::<V>()) {
                    let to = (column + panel::<V>()).min(panels.to);
                    let panels = Panels { from: column, to, skip: deep, ..panels };
                    let mut i = 0;
                    while i < rows.len() {
                        let m = tile_rows::<V>(rows.len() - i);
                        let to = target.at(rows.start + i, 0);
                        let to = if deep > 0 { Target::add(to.c, to.c_row) } else { to };
                        let a = Matrix { at: a.at.add(i * ROW), ..a };
                        few_rows::<V, F>(m, depth, a, panels, to);
                        i += m;
                    }
                }
            }
        }
    }
}

/// Rows and columns of c = plus + aᵀ b, for long k: packs both factors, one depth after the other.
struct LongBlock<S, F> {
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
    factors: PhantomData<F>,
}

/// Numbers of [`ROWS`] packed columns of a; the last store goes over the end.
const LONG_A: usize = DEPTH * ROWS + LANES;

fn long_scratch(columns: usize) -> usize {
    LONG_A + DEPTH * columns.next_multiple_of(LANES)
}

impl<S: Scalar, F: Factors> Kernel<S> for LongBlock<S, F> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes<Scalar = S>>(self) {
        let Self { rows, columns, k, a, b, target, scratch, .. } = self;
        let (n, items) = (columns.len(), F::items(k));
        let b_packed = scratch.wrapping_add(LONG_A);
        for deep in (0..items).step_by(DEPTH) {
            let depth = DEPTH.min(items - deep);
            let (first, left) = (deep * F::EACH, k - deep * F::EACH);
            // SAFETY: `multiply` checked the sizes and made the scratch.
            unsafe {
                let b = Matrix { at: b.at.add(first * b.row + columns.start), ..b };
                for column in (0..n).step_by(PANEL) {
                    let to = b_packed.add(column * depth);
                    pack_panel::<V, F>(b, left.min(depth * F::EACH), n, column, to);
                }
                let panels = Panels { at: b_packed.cast_const(), depth, n, skip: 0, from: 0, to: n };
                let mut start = rows.start;
                while start < rows.end {
                    let end = (start + ROWS).min(rows.end);
                    // Each tile's columns of a, one after the other: (depth, m). The last store goes over the end.
                    let mut i = start;
                    while i < end {
                        let m = tile_rows::<V>(end - i);
                        let tile = scratch.add((i - start) * depth);
                        for item in 0..depth {
                            let row = item * F::EACH;
                            let from = a.at.add((first + row) * a.row + i);
                            F::across::<V>(from, a.row, left - row, m).store(tile.add(item * m));
                        }
                        i += m;
                    }
                    for column in (0..n).step_by(panel::<V>()) {
                        let panels = Panels { from: column, to: (column + panel::<V>()).min(n), ..panels };
                        let mut i = start;
                        while i < end {
                            let m = tile_rows::<V>(end - i);
                            let to = target.at(i, columns.start);
                            let to = if deep > 0 { Target::add(to.c, to.c_row) } else { to };
                            let tile = scratch.add((i - start) * depth).cast_const();
                            few_rows::<V, F>(m, depth, Matrix { at: tile, row: 1, column: m }, panels, to);
                            i += m;
                        }
                    }
                    start = end;
                }
            }
        }
    }
}

/// Packs columns of a (k, n) matrix.
struct Pack<S, F> {
    b: Matrix<S>,
    k: usize,
    n: usize,
    columns: Range<usize>,
    to: *mut S,
    factors: PhantomData<F>,
}

impl<S: Scalar, F: Factors> Kernel<S> for Pack<S, F> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes<Scalar = S>>(self) {
        let Self { b, k, n, columns, to, .. } = self;
        for column in columns.step_by(PANEL) {
            // SAFETY: `pack` checked the sizes.
            unsafe { pack_panel::<V, F>(b, k, n, column, to.add(column * F::items(k))) };
        }
    }
}

/// Packs a (k, n) matrix into `to`, which has [`packed_len`] numbers, of items.
///
/// # Safety
/// The matrix can be read.
pub(super) unsafe fn pack<S: Scalar, F: Factors>(
    isa: Isa,
    team: Team,
    b: Matrix<S>,
    k: usize,
    n: usize,
    to: &mut [S],
) {
    assert!(to.len() >= packed_len(F::items(k), n) && (b.row == 1 || b.column == 1));
    let (b, to) = (Shared(b), Shared(to.as_mut_ptr()));
    let panels = n.div_ceil(PANEL);
    let each = panels.div_ceil(team.threads);
    team.share(panels.div_ceil(each), |task| {
        let columns = task * each * PANEL..((task + 1) * each * PANEL).min(n);
        S::run(isa, Pack::<S, F> { b: b.get(), k, n, columns, to: to.get(), factors: PhantomData });
    });
}

/// c = plus + a · b for a (m, k) of consecutive rows and a packed b (k, n).
///
/// # Safety
/// All matrices can be used, and c is nowhere read otherwise.
pub(super) unsafe fn multiply<S: Scalar, F: Factors>(
    isa: Isa,
    team: Team,
    [m, n, k]: [usize; 3],
    a: Matrix<S>,
    packed: &[S],
    target: Target<S>,
) {
    assert!(a.column == 1 && packed.len() >= packed_len(F::items(k), n));
    let [each_rows, each_columns] = divide(team, m, n);
    let panels = Panels { at: packed.as_ptr(), depth: F::items(k), n, skip: 0, from: 0, to: n };
    let shared = Shared((a, panels, target));
    let across = n.div_ceil(each_columns);
    team.share(m.div_ceil(each_rows) * across, |task| {
        let (i, j) = (task / across * each_rows, task % across * each_columns);
        let (a, panels, target) = shared.get();
        with_scratch(ROWS * ROW, |scratch: &mut [S]| {
            let panels = Panels { from: j, to: (j + each_columns).min(n), ..panels };
            let (rows, scratch) = (i..(i + each_rows).min(m), scratch.as_mut_ptr());
            S::run(isa, Block::<S, F> { rows, k, a, panels, target, scratch, factors: PhantomData });
        });
    });
}

/// c = plus + aᵀ · b for a (k, m) and b (k, n) of consecutive rows.
///
/// # Safety
/// All matrices can be used, and c is nowhere read otherwise.
pub(super) unsafe fn multiply_transposed<S: Scalar, F: Factors>(
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
            let factors = PhantomData::<F>;
            S::run(isa, LongBlock { rows, columns, k, a, b, target, scratch, factors });
        });
    });
}

/// Rows and columns of one task: at most [`ROWS`] rows, and enough tasks for all threads.
fn divide(team: Team, m: usize, n: usize) -> [usize; 2] {
    let wanted = if team.threads == 1 { 1 } else { 2 * team.threads };
    let down = m.div_ceil(ROWS).max(wanted.min(m / 48)).max(1);
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
