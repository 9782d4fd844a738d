//! Attention of one head of one picture, without ever holding its T × T matrix (Dao et al., "FlashAttention").
//!
//! Forward, for each query i over the keys j that it sees (j ≤ i if causal):
//!
//! ```text
//! sᵢⱼ = qᵢ · kⱼ / √width        pᵢⱼ = e^(sᵢⱼ - lseᵢ)        lseᵢ = ln Σⱼ e^sᵢⱼ        oᵢ = Σⱼ pᵢⱼ vⱼ
//! ```
//!
//! A tile of queries goes through the keys in blocks of [`KEYS`]; maximum, sum and output are corrected when a later
//! block has a larger maximum. Only lse is kept. Backward computes p again from it, and then
//!
//! ```text
//! dvⱼ = Σᵢ pᵢⱼ doᵢ     dpᵢⱼ = doᵢ · vⱼ     dsᵢⱼ = pᵢⱼ (dpᵢⱼ - doᵢ · oᵢ) / √width     dqᵢ = Σⱼ dsᵢⱼ kⱼ     dkⱼ = Σᵢ dsᵢⱼ qᵢ
//! ```
//!
//! for blocks of [`QUERIES`] queries and [`KEYS`] keys, always in the same order. Probabilities of keys that are not
//! seen are exact zeros, and adding zero products changes no bit: so a query's bits do not depend on the queries and
//! keys beside it, and one query against cached keys gives the same bits as that row of a whole picture.

use super::factors::Exact;
use super::lanes::{Kernel, LANES, Lanes, Scalar};
use super::tile::{Matrix, PANEL, Panels, Target, few_rows, pack_panel, packed_len, packed_place, tile_rows};

/// Keys that a tile of queries meets at once: whole blocks of queries, whole panels, whole tiles. Fixed: it is part of
/// the result's bits.
const KEYS: usize = 288;
/// Queries that go backward at once. Fixed: it is part of the result's bits.
const QUERIES: usize = 96;
/// A row of probabilities in scratch: not a power of two, lest rows meet in one set of the cache.
const ROW: usize = KEYS + LANES;

/// One head of one picture: queries, keys, values, which lie `row` numbers apart.
#[derive(Clone, Copy)]
pub(super) struct Head<S> {
    pub(super) q: *const S,
    pub(super) k: *const S,
    pub(super) v: *const S,
    pub(super) row: usize,
    pub(super) tokens: usize,
    pub(super) width: usize,
    pub(super) causal: bool,
}

impl<S: Scalar> Head<S> {
    fn scale(width: usize) -> S {
        S::ONE / S::from_f64(width as f64).sqrt()
    }

    /// (width, tokens): the keys, or values, transposed.
    fn transposed(&self, of: *const S) -> Matrix<S> {
        Matrix { at: of, row: 1, column: self.row }
    }

    /// (tokens, width).
    fn plain(&self, of: *const S) -> Matrix<S> {
        Matrix { at: of, row: self.row, column: 1 }
    }
}

#[inline(always)]
unsafe fn pack<V: Lanes>(b: Matrix<V::Scalar>, k: usize, n: usize, to: *mut V::Scalar) {
    for column in (0..n).step_by(PANEL) {
        unsafe { pack_panel::<V, Exact>(b, k, n, column, to.add(column * k)) };
    }
}

/// How many numbers of scratch [`Forward`] needs.
pub(super) fn forward_scratch(tokens: usize, width: usize) -> usize {
    packed_len(width, tokens) + packed_len(tokens, width) + 12 * ROW
}

/// The forward pass of one head.
pub(super) struct Forward<S> {
    pub(super) head: Head<S>,
    /// (tokens, width), rows `o_row` apart.
    pub(super) o: *mut S,
    pub(super) o_row: usize,
    /// (tokens).
    pub(super) lse: *mut S,
    pub(super) scratch: *mut S,
}

impl<S: Scalar> Kernel<S> for Forward<S> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes<Scalar = S>>(self) {
        let Self { head, o, o_row, lse, scratch } = self;
        let Head { tokens, width, causal, .. } = head;
        // SAFETY: the caller gives memory of these sizes, and `forward_scratch`.
        unsafe {
            let k = scratch;
            let v = k.add(packed_len(width, tokens));
            let scratch = v.add(packed_len(tokens, width));
            pack::<V>(head.transposed(head.k), width, tokens, k);
            pack::<V>(head.plain(head.v), tokens, width, v);
            let keys = Keys { k, v, capacity: tokens, width };
            let mut i = 0;
            while i < tokens {
                let m = tile_rows::<V>(tokens - i);
                let q = Matrix { at: head.q.add(i * head.row), row: head.row, column: 1 };
                let sees = if causal { i + 1 } else { tokens };
                let o = Target::set(o.add(i * o_row), o_row);
                queries::<V>(m, q, keys, sees, causal, o, lse.add(i), scratch);
                i += m;
            }
        }
    }
}

/// Keys and values as the products want them: keys transposed, (width, capacity), and values (capacity, width), both
/// packed.
#[derive(Clone, Copy)]
pub(super) struct Keys<S> {
    pub(super) k: *const S,
    pub(super) v: *const S,
    pub(super) capacity: usize,
    pub(super) width: usize,
}

impl<S: Scalar> Keys<S> {
    #[inline(always)]
    fn k_panels(&self, from: usize, to: usize) -> Panels<S> {
        Panels { at: self.k, depth: self.width, n: self.capacity, skip: 0, from, to }
    }

    #[inline(always)]
    fn v_panels(&self, skip: usize) -> Panels<S> {
        Panels { at: self.v, depth: self.capacity, n: self.width, skip, from: 0, to: self.width }
    }
}

/// Attention of a tile of `m` ≤ 12 queries: the first sees `sees` keys, each next one more if causal.
///
/// # Safety
/// All memory can be used; scratch has 12 [`ROW`]s.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn queries<V: Lanes>(
    m: usize,
    q: Matrix<V::Scalar>,
    keys: Keys<V::Scalar>,
    sees: usize,
    causal: bool,
    o: Target<V::Scalar>,
    lse: *mut V::Scalar,
    scratch: *mut V::Scalar,
) {
    let scale = Head::<V::Scalar>::scale(keys.width);
    let all = if causal { sees + m - 1 } else { sees };
    let mut highest = [V::Scalar::LOWEST; 12];
    let mut total = [V::Scalar::ZERO; 12];
    unsafe {
        for start in (0..all).step_by(KEYS) {
            let end = (start + KEYS).min(all);
            let to = end.next_multiple_of(PANEL).min(keys.capacity);
            // s = q kᵀ, not yet scaled: (m, end - start)
            let s = Target::set(scratch.wrapping_sub(start), ROW);
            few_rows::<V, Exact>(m, keys.width, q, keys.k_panels(start, to), s);
            for i in 0..m {
                let row = scratch.add(i * ROW);
                let seen = (if causal { sees + i } else { sees }).clamp(start, end) - start;
                let correction =
                    softmax_row::<V>(row, seen, end - start, scale, &mut highest[i], &mut total[i]);
                if start > 0 {
                    scale_row::<V>(o.c.add(i * o.c_row), keys.width, correction);
                }
            }
            // o = p v: (m, width)
            let p = Matrix { at: scratch.cast_const(), row: ROW, column: 1 };
            let to = if start > 0 { Target::add(o.c, o.c_row) } else { o };
            few_rows::<V, Exact>(m, end - start, p, keys.v_panels(start), to);
        }
        for i in 0..m {
            scale_row::<V>(o.c.add(i * o.c_row), keys.width, V::Scalar::ONE / total[i]);
            let (highest, total) = (highest[i].to_f64() * scale.to_f64(), total[i].to_f64());
            *lse.add(i) = V::Scalar::from_f64(highest + libm::log(total));
        }
    }
}

/// s → e^(scale (s - highest)) for the first `seen` numbers of a row, zeros up to `all`; highest and total are brought
/// up to date. Returns by how much what was made with the former highest is to be multiplied.
#[inline(always)]
unsafe fn softmax_row<V: Lanes>(
    row: *mut V::Scalar,
    seen: usize,
    all: usize,
    scale: V::Scalar,
    highest: &mut V::Scalar,
    total: &mut V::Scalar,
) -> V::Scalar {
    unsafe {
        let before = *highest;
        let mut most = V::splat(before);
        let mut at = 0;
        while at < seen {
            most = V::load(row.add(at)).first(seen - at, most).max(most);
            at += LANES;
        }
        *highest = most.largest();
        let (factor, shift) = (V::splat(scale), V::splat(V::Scalar::ZERO - *highest * scale));
        let mut sum = V::zero();
        at = 0;
        while at < seen {
            let p = V::load(row.add(at)).fma(factor, shift).exp().first(seen - at, V::zero());
            p.store(row.add(at));
            sum = sum.add(p);
            at += LANES;
        }
        while at < all {
            V::zero().store(row.add(at));
            at += LANES;
        }
        // The first block has no former highest: e^(lowest) is 0 but for rounding, and multiplies zeros.
        let correction = if before == V::Scalar::LOWEST || before == *highest {
            V::Scalar::ONE
        } else {
            one_exp::<V>((before - *highest) * scale)
        };
        *total = *total * correction + sum.sum();
        correction
    }
}

#[inline(always)]
fn one_exp<V: Lanes>(x: V::Scalar) -> V::Scalar {
    let mut lanes = [V::Scalar::ZERO; LANES];
    // SAFETY: the array has 16 numbers.
    unsafe { V::splat(x).exp().store(lanes.as_mut_ptr()) };
    lanes[0]
}

#[inline(always)]
unsafe fn scale_row<V: Lanes>(row: *mut V::Scalar, n: usize, factor: V::Scalar) {
    for at in (0..n).step_by(LANES) {
        unsafe { V::read(row.add(at), n - at).mul(V::splat(factor)).write(row.add(at), n - at) };
    }
}

/// Attention of one query, that of the last token so far, against cached keys and values, which its own join: a step
/// of sampling.
pub(super) struct Step<S> {
    /// (width), of the token at `position`.
    pub(super) q: *const S,
    pub(super) new_k: *const S,
    pub(super) new_v: *const S,
    /// (width, tokens), packed.
    pub(super) k: *mut S,
    /// (tokens, width), packed.
    pub(super) v: *mut S,
    pub(super) tokens: usize,
    pub(super) width: usize,
    pub(super) position: usize,
    /// (width).
    pub(super) o: *mut S,
    /// [`STEP_SCRATCH`] numbers.
    pub(super) scratch: *mut S,
}

pub(super) const STEP_SCRATCH: usize = ROW + LANES;

impl<S: Scalar> Kernel<S> for Step<S> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes<Scalar = S>>(self) {
        let Self { q, new_k, new_v, k, v, tokens, width, position, o, scratch } = self;
        // SAFETY: the caller gives memory of these sizes.
        unsafe {
            for i in 0..width {
                *k.add(packed_place(width, tokens, i, position)) = *new_k.add(i);
                *v.add(packed_place(tokens, width, position, i)) = *new_v.add(i);
            }
            let keys = Keys { k: k.cast_const(), v: v.cast_const(), capacity: tokens, width };
            let q = Matrix { at: q, row: 0, column: 1 };
            queries::<V>(1, q, keys, position + 1, false, Target::set(o, 0), scratch.add(ROW), scratch);
        }
    }
}

/// How many numbers of scratch [`Backward`] needs.
pub(super) fn backward_scratch(tokens: usize, width: usize) -> usize {
    2 * packed_len(width, tokens)
        + packed_len(tokens, width)
        + 2 * packed_len(QUERIES, width)
        + (2 * ROW + 2) * QUERIES
}

/// The backward pass of one head.
pub(super) struct Backward<S> {
    pub(super) head: Head<S>,
    /// (tokens, width), rows `o_row` apart.
    pub(super) o: *const S,
    pub(super) d_o: *const S,
    pub(super) o_row: usize,
    pub(super) lse: *const S,
    /// Like the head's q, k, v.
    pub(super) dq: *mut S,
    pub(super) dk: *mut S,
    pub(super) dv: *mut S,
    pub(super) scratch: *mut S,
}

impl<S: Scalar> Kernel<S> for Backward<S> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes<Scalar = S>>(self) {
        let Self { head, o, d_o, o_row, lse, dq, dk, dv, scratch } = self;
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
            pack::<V>(head.transposed(head.k), width, tokens, k_transposed);
            pack::<V>(head.transposed(head.v), width, tokens, v_transposed);
            pack::<V>(head.plain(head.k), tokens, width, k_plain);

            for first in (0..tokens).step_by(QUERIES) {
                let count = QUERIES.min(tokens - first);
                let q = Matrix { at: head.q.add(first * head.row), row: head.row, column: 1 };
                let d_o = Matrix { at: d_o.add(first * o_row), row: o_row, column: 1 };
                pack::<V>(q, count, width, q_block);
                pack::<V>(d_o, count, width, do_block);
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
                            let columns =
                                |at| Panels { at, depth: width, n: tokens, skip: 0, from: start, to };
                            let tile = |at: *mut S| Target::set(at.add(i * ROW).wrapping_sub(start), ROW);
                            let q = Matrix { at: q.at.add(i * q.row), ..q };
                            let d_o = Matrix { at: d_o.at.add(i * d_o.row), ..d_o };
                            few_rows::<V, Exact>(m, width, q, columns(k_transposed.cast_const()), tile(p));
                            few_rows::<V, Exact>(m, width, d_o, columns(v_transposed.cast_const()), tile(ds));
                        }
                        for i in i..i + m {
                            let seen = if causal { (first + i + 1).clamp(start, end) } else { end } - start;
                            let (p, ds) = (p.add(i * ROW), ds.add(i * ROW));
                            ds_row::<V>(p, ds, seen, end - start, scale, *lse.add(first + i), *inner.add(i));
                        }
                        if all > start {
                            // dq += ds k: (m, width)
                            let ds = Matrix { at: ds.add(i * ROW).cast_const(), row: ROW, column: 1 };
                            let (at, row) = (dq.add((first + i) * head.row), head.row);
                            let to = if start > 0 { Target::add(at, row) } else { Target::set(at, row) };
                            let k = Panels {
                                at: k_plain.cast_const(),
                                depth: tokens,
                                n: width,
                                skip: start,
                                from: 0,
                                to: width,
                            };
                            few_rows::<V, Exact>(m, all - start, ds, k, to);
                        }
                        i += m;
                    }
                    // dk += dsᵀ q, dv += pᵀ do: tiles of keys, over the queries that see them.
                    let mut j = start;
                    while j < end {
                        let m = tile_rows::<V>(end - j);
                        let skip = if causal { j.saturating_sub(first) } else { 0 };
                        // The first block of queries that sees these keys.
                        let new = if causal { j / QUERIES * QUERIES == first } else { first == 0 };
                        for (of, panels, to) in [(ds, q_block, dk), (p, do_block, dv)] {
                            let of = of.add(skip * ROW + j - start).cast_const();
                            let of = Matrix { at: of, row: 1, column: ROW };
                            let panels = Panels {
                                at: panels.cast_const(),
                                depth: count,
                                n: width,
                                skip,
                                from: 0,
                                to: width,
                            };
                            let to = to.add(j * head.row);
                            let to = if new { Target::set(to, head.row) } else { Target::add(to, head.row) };
                            few_rows::<V, Exact>(m, count - skip, of, panels, to);
                        }
                        j += m;
                    }
                }
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
pub(super) unsafe fn dot<V: Lanes>(a: *const V::Scalar, b: *const V::Scalar, n: usize) -> V::Scalar {
    let mut sum = V::zero();
    for at in (0..n).step_by(LANES) {
        unsafe { sum = V::read(a.add(at), n - at).fma(V::read(b.add(at), n - at), sum) };
    }
    sum.sum()
}
