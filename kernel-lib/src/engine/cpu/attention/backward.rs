//! Attention's backward pass: see the formulas above.

use super::super::microkernel::{Panels, Target, few_rows, tile_rows};
use super::super::pack::{Factors, Matrix, PANEL, item_rows, packed_len};
use super::{Head, KEYS, ROW, pack, row_of};
use crate::simd::{Kernel, LANES, Lanes, Number};
use std::marker::PhantomData;

/// Queries that go backward at once. Fixed: it is part of the result's bits.
const QUERIES: usize = 96;

/// How many numbers of scratch [`Backward`] needs.
pub(in super::super) fn backward_scratch(tokens: usize, width: usize) -> usize {
    2 * packed_len(width, tokens)
        + packed_len(tokens, width)
        + 2 * packed_len(QUERIES, width)
        + (2 * ROW + 1) * QUERIES
        + 12 * (2 * row_of(width) + ROW)
}

/// The backward pass of one head.
pub(in super::super) struct Backward<S, F> {
    pub(in super::super) head: Head<S>,
    /// (tokens, width), rows `o_row` apart.
    pub(in super::super) o: *const S,
    pub(in super::super) d_o: *const S,
    pub(in super::super) o_row: usize,
    pub(in super::super) lse: *const S,
    /// Like the head's q, k, v.
    pub(in super::super) dq: *mut S,
    pub(in super::super) dk: *mut S,
    pub(in super::super) dv: *mut S,
    pub(in super::super) scratch: *mut S,
    pub(in super::super) factors: PhantomData<F>,
}

impl<S: Number, F: Factors> Kernel<S> for Backward<S, F> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes<Scalar = S>>(self) {
        let Self { head, o, d_o, o_row, lse, dq, dk, dv, scratch, .. } = self;
        let Head { tokens, width, causal, .. } = head;
        let scale = Head::<S>::scale(width);
        // SAFETY: the caller gives memory of these sizes, and `backward_scratch`.
        unsafe {
            // Packed: kᵀ and vᵀ (width, T), k (T, width); and of a block of queries: q, do (QUERIES, width).
            let k_transposed = scratch;
            let v_transposed = k_transposed.add(packed_len(width, tokens));
            let k_plain = v_transposed.add(packed_len(width, tokens));
            let q_block = k_plain.add(packed_len(tokens, width));
            let do_block = q_block.add(packed_len(QUERIES, width));
            let p = do_block.add(packed_len(QUERIES, width)); // (QUERIES, ROW)
            let ds = p.add(QUERIES * ROW); // (QUERIES, ROW)
            let inner = ds.add(QUERIES * ROW); // (QUERIES): doᵢ · oᵢ
            // A tile's rows of q, do and ds, where they must be made items first.
            let q_rows = inner.add(QUERIES);
            let do_rows = q_rows.add(12 * row_of(width));
            let ds_rows = do_rows.add(12 * row_of(width));
            pack::<V, F>(head.transposed(head.k), width, tokens, k_transposed);
            pack::<V, F>(head.transposed(head.v), width, tokens, v_transposed);
            pack::<V, F>(head.plain(head.k), tokens, width, k_plain);

            for first in (0..tokens).step_by(QUERIES) {
                let count = QUERIES.min(tokens - first);
                let q = Matrix { at: head.q.add(first * head.row), row: head.row, column: 1 };
                let d_o = Matrix { at: d_o.add(first * o_row), row: o_row, column: 1 };
                pack::<V, F>(q, count, width, q_block);
                pack::<V, F>(d_o, count, width, do_block);
                for i in 0..count {
                    *inner.add(i) = dot::<V>(o.add((first + i) * o_row), d_o.at.add(i * o_row), width);
                }
                let last = if causal { first + count } else { tokens };
                for start in (0..last).step_by(KEYS) {
                    let end = (start + KEYS).min(last);
                    // p and ds of this block, tile of queries by tile of queries.
                    let mut i = 0;
                    while i < count {
                        let m = tile_rows::<V>(count - i);
                        let all = if causal { (first + i + m).clamp(start, end) } else { end };
                        if all > start {
                            let to = all.next_multiple_of(PANEL).min(tokens);
                            let columns = |at| Panels {
                                at,
                                depth: F::items(width),
                                n: tokens,
                                skip: 0,
                                from: start,
                                to,
                            };
                            let tile = |at: *mut S| Target::set(at.add(i * ROW).wrapping_sub(start), ROW);
                            let q = Matrix { at: q.at.add(i * q.row), ..q };
                            let d_o = Matrix { at: d_o.at.add(i * d_o.row), ..d_o };
                            let q = item_rows::<V, F>(q, m, width, q_rows, row_of(width));
                            let d_o = item_rows::<V, F>(d_o, m, width, do_rows, row_of(width));
                            let items = F::items(width);
                            few_rows::<V, F>(m, items, q, columns(k_transposed.cast_const()), tile(p));
                            few_rows::<V, F>(m, items, d_o, columns(v_transposed.cast_const()), tile(ds));
                        }
                        for i in i..i + m {
                            let seen = if causal { (first + i + 1).clamp(start, end) } else { end } - start;
                            let (p, ds) = (p.add(i * ROW), ds.add(i * ROW));
                            ds_row::<V>(p, ds, seen, end - start, scale, *lse.add(first + i), *inner.add(i));
                        }
                        if all > start {
                            // dq += ds k: (m, width)
                            let ds = Matrix { at: ds.add(i * ROW).cast_const(), row: ROW, column: 1 };
                            let ds = item_rows::<V, F>(ds, m, all - start, ds_rows, ROW);
                            let (at, row) = (dq.add((first + i) * head.row), head.row);
                            let to = if start > 0 { Target::add(at, row) } else { Target::set(at, row) };
                            let k = Panels {
                                at: k_plain.cast_const(),
                                depth: F::items(tokens),
                                n: width,
                                skip: start / F::EACH,
                                from: 0,
                                to: width,
                            };
                            few_rows::<V, F>(m, F::items(all - start), ds, k, to);
                        }
                        i += m;
                    }
                    item_columns::<V, F>(p, count, end - start);
                    item_columns::<V, F>(ds, count, end - start);
                    // dk += dsᵀ q, dv += pᵀ do: tiles of keys, over the queries that see them.
                    let mut j = start;
                    while j < end {
                        let m = tile_rows::<V>(end - j);
                        let skip = if causal { j.saturating_sub(first) / F::EACH } else { 0 };
                        // The first block of queries that sees these keys.
                        let new = if causal { j / QUERIES * QUERIES == first } else { first == 0 };
                        for (of, panels, to) in [(ds, q_block, dk), (p, do_block, dv)] {
                            let of = of.add(skip * ROW + j - start).cast_const();
                            let of = Matrix { at: of, row: 1, column: ROW };
                            let panels = Panels {
                                at: panels.cast_const(),
                                depth: F::items(count),
                                n: width,
                                skip,
                                from: 0,
                                to: width,
                            };
                            let to = to.add(j * head.row);
                            let to = if new { Target::set(to, head.row) } else { Target::add(to, head.row) };
                            few_rows::<V, F>(m, F::items(count) - skip, of, panels, to);
                        }
                        j += m;
                    }
                }
            }
        }
    }
}

/// Makes items of numbers that lie below each other, (rows, columns) → (items, columns), in place: the left factor
/// of a product over rows.
#[inline(always)]
unsafe fn item_columns<V: Lanes, F: Factors>(of: *mut V::Scalar, rows: usize, columns: usize) {
    if F::EACH == 1 {
        return;
    }
    for item in 0..F::items(rows) {
        let row = item * F::EACH;
        for at in (0..columns).step_by(LANES) {
            // SAFETY: rows have a multiple of 16 numbers; an item's place is not below its numbers.
            unsafe {
                let numbers = of.add(row * ROW + at).cast_const();
                F::across::<V>(numbers, ROW, rows - row, LANES).store(of.add(item * ROW + at));
            }
        }
    }
}

/// s, dp → p = e^(scale s - lse), ds = p (dp - inner) scale, and zeros from `seen` to `all` and a little over.
#[inline(always)]
unsafe fn ds_row<V: Lanes>(
    p: *mut V::Scalar,
    ds: *mut V::Scalar,
    seen: usize,
    all: usize,
    scale: V::Scalar,
    lse: V::Scalar,
    inner: V::Scalar,
) {
    let (scale, shift, inner) = (V::splat(scale), V::splat(V::Scalar::ZERO - lse), V::splat(inner));
    let mut at = 0;
    unsafe {
        while at < seen {
            let s = V::load(p.add(at)).fma(scale, shift).exp().first(seen - at, V::zero());
            let slope = V::load(ds.add(at)).sub(inner).mul(scale);
            s.store(p.add(at));
            s.mul(slope).first(seen - at, V::zero()).store(ds.add(at));
            at += LANES;
        }
        while at < all {
            V::zero().store(p.add(at));
            V::zero().store(ds.add(at));
            at += LANES;
        }
    }
}

/// a · b.
#[inline(always)]
pub(in super::super) unsafe fn dot<V: Lanes>(
    a: *const V::Scalar,
    b: *const V::Scalar,
    n: usize,
) -> V::Scalar {
    let mut sum = V::zero();
    for at in (0..n).step_by(LANES) {
        unsafe { sum = V::read(a.add(at), n - at).fma(V::read(b.add(at), n - at), sum) };
    }
    sum.sum()
}
