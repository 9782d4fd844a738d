//! Attention of one head of one image, without ever holding its T × T matrix (Dao et al., "FlashAttention").
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
//! for blocks of 96 queries and [`KEYS`] keys, always in the same order. Probabilities of keys that are not
//! seen are exact zeros, and adding zero products changes no bit: so a query's bits do not depend on the queries and
//! keys beside it, and one query against cached keys gives the same bits as that row of a whole image.

mod backward;
mod heads;
#[cfg(test)]
mod plain;

pub(super) use backward::{Backward, backward_scratch, dot};

use super::microkernel::{Panels, Target, few_rows, tile_rows};
use super::pack::{Exact, Factors, Matrix, PANEL, item_rows, pack_panel, packed_len, packed_place};
use crate::simd::{Kernel, LANES, Lanes, Number};
use std::marker::PhantomData;

/// Keys that a tile of queries meets at once: whole blocks of queries, whole panels, whole tiles. Fixed: it is part of
/// the result's bits.
const KEYS: usize = 288;
/// From this scaled score on, e^(score - lse) means nothing in `f32`: its exponent is rounded to a multiple of 64 and more.
/// Forward there is another way; backward, which has only lse, there is none: lse is NaN, so that gradients are too, and no
/// one takes them for such.
const FAR: f64 = (1u64 << 30) as f64;
/// A row of probabilities in scratch: not a power of two, lest rows meet in one set of the cache.
const ROW: usize = KEYS + LANES;

/// One head of one image: queries, keys, values, which lie `row` numbers apart.
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

impl<S: Number> Head<S> {
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
unsafe fn pack<V: Lanes, F: Factors>(b: Matrix<V::Scalar>, k: usize, n: usize, to: *mut V::Scalar) {
    for column in (0..n).step_by(PANEL) {
        unsafe { pack_panel::<V, F>(b, k, n, column, to.add(column * F::items(k))) };
    }
}

/// How far rows of a head's channels lie apart in scratch.
fn row_of(width: usize) -> usize {
    width.next_multiple_of(LANES)
}

/// How many numbers of scratch [`Forward`] needs.
pub(super) fn forward_scratch(tokens: usize, width: usize) -> usize {
    packed_len(width, tokens) + packed_len(tokens, width) + 12 * (ROW + row_of(width))
}

/// The forward pass of one head.
pub(super) struct Forward<S, F> {
    pub(super) head: Head<S>,
    /// (tokens, width), rows `o_row` apart.
    pub(super) o: *mut S,
    pub(super) o_row: usize,
    /// (tokens).
    pub(super) lse: *mut S,
    pub(super) scratch: *mut S,
    pub(super) factors: PhantomData<F>,
}

impl<S: Number, F: Factors> Kernel<S> for Forward<S, F> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes<Scalar = S>>(self) {
        let Self { head, o, o_row, lse, scratch, .. } = self;
        let Head { tokens, width, causal, .. } = head;
        // SAFETY: the caller gives memory of these sizes, and `forward_scratch`.
        unsafe {
            let k = scratch;
            let v = k.add(packed_len(width, tokens));
            let q_rows = v.add(packed_len(tokens, width));
            let scratch = q_rows.add(12 * row_of(width));
            pack::<V, F>(head.transposed(head.k), width, tokens, k);
            pack::<V, F>(head.plain(head.v), tokens, width, v);
            let keys = Keys { k, v, capacity: tokens, width };
            let mut i = 0;
            while i < tokens {
                let m = tile_rows::<V>(tokens - i);
                let q = Matrix { at: head.q.add(i * head.row), row: head.row, column: 1 };
                let q = item_rows::<V, F>(q, m, width, q_rows, row_of(width));
                let sees = if causal { i + 1 } else { tokens };
                let o = Target::set(o.add(i * o_row), o_row);
                queries::<V, F>(m, q, keys, sees, causal, o, lse.add(i), scratch);
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

impl<S: Number> Keys<S> {
    #[inline(always)]
    fn k_panels<F: Factors>(&self, from: usize, to: usize) -> Panels<S> {
        Panels { at: self.k, depth: F::items(self.width), n: self.capacity, skip: 0, from, to }
    }

    #[inline(always)]
    fn v_panels<F: Factors>(&self, skip: usize) -> Panels<S> {
        let (depth, skip) = (F::items(self.capacity), skip / F::EACH);
        Panels { at: self.v, depth, n: self.width, skip, from: 0, to: self.width }
    }
}

/// Attention of a tile of `m` ≤ 12 queries, whose rows are items: the first sees `sees` keys, each next one more if causal.
///
/// # Safety
/// All memory can be used; scratch has 12 [`ROW`]s.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn queries<V: Lanes, F: Factors>(
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
            few_rows::<V, F>(m, F::items(keys.width), q, keys.k_panels::<F>(start, to), s);
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
            let p = item_rows::<V, F>(p, m, end - start, scratch, ROW);
            let to = if start > 0 { Target::add(o.c, o.c_row) } else { o };
            few_rows::<V, F>(m, F::items(end - start), p, keys.v_panels::<F>(start), to);
        }
        for i in 0..m {
            scale_row::<V>(o.c.add(i * o.c_row), keys.width, V::Scalar::ONE / total[i]);
            let (highest, total) = (highest[i].to_f64() * scale.to_f64(), total[i].to_f64());
            let exact = if highest.abs() < FAR { highest + libm::log(total) } else { f64::NAN };
            *lse.add(i) = V::Scalar::from_f64(exact);
        }
    }
}

/// s → e^(scale (s - highest)) for the first `seen` numbers of a row, zeros up to `all`; highest and total are brought
/// up to date. Returns by how much what was made with the former highest is to be multiplied. If a number is NaN or
/// positively infinite, or all are negatively infinite, total is NaN, as in the reference.
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
        let shift = V::Scalar::ZERO - *highest * scale;
        // Whether the shift's own rounding is small; false for NaN.
        let near = shift.to_f64().abs() < FAR;
        let (factor, shift, most) = (V::splat(scale), V::splat(shift), V::splat(*highest));
        let mut sum = V::zero();
        at = 0;
        while at < seen {
            let s = V::load(row.add(at));
            let exponent = if near { s.fma(factor, shift) } else { s.sub(most).mul(factor) };
            let p = exponent.exp().first(seen - at, V::zero());
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

impl<S: Number> Kernel<S> for Step<S> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes<Scalar = S>>(self) {
        let Self { q, new_k, new_v, k, v, tokens, width, position, o, scratch } = self;
        // SAFETY: the caller gives memory of these sizes.
        unsafe {
            for i in 0..width {
                *k.add(packed_place::<V>(width, tokens, i, position)) = *new_k.add(i);
                *v.add(packed_place::<V>(tokens, width, position, i)) = *new_v.add(i);
            }
            let keys = Keys { k: k.cast_const(), v: v.cast_const(), capacity: tokens, width };
            let q = Matrix { at: q, row: 0, column: 1 };
            queries::<V, Exact>(
                1,
                q,
                keys,
                position + 1,
                false,
                Target::set(o, 0),
                scratch.add(ROW),
                scratch,
            );
        }
    }
}
