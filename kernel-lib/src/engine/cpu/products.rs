//! What multiplies matrices, in either precision: products, and attention.

use super::super::backend::{Form, Heads, Product, Span};
use super::factors::{Exact, Factors};
use super::tile::{self, Matrix, Target};
use super::{Cpu, apart, attention, grown, matmul};
use crate::parallel::{Shared, with_scratch};
use crate::simd::Scalar;
use std::marker::PhantomData;

impl<S: Scalar> Cpu<'_, S> {
    /// A matrix product, whose factors are rounded to bf16 or not.
    pub(super) fn product<F: Factors>(&mut self, product: Product) {
        let Product { form, a, b, c, plus, shape: [m, n, k] } = product;
        let b_len = if form == Form::Packed { tile::packed_len(k, n) } else { k * n };
        assert!(a.len == m * k && b.len == b_len && c.len == m * n, "{product:?}");
        apart(&[c], &[a, b]);
        let to = self.pointer(c);
        let mut target = Target::set(to, n);
        if let Some(plus) = plus {
            assert_eq!(plus.len, c.len);
            (target.plus, target.plus_row) = (self.pointer(plus), n);
        }
        let matrix = |span, row| Matrix { at: self.pointer(span).cast_const(), row, column: 1 };
        let (isa, a_at, b_at) =
            (self.isa, matrix(a, if form == Form::LeftTransposed { m } else { k }), matrix(b, n));
        let (team, shape) = (self.team, [m, n, k]);
        // SAFETY: the sizes were checked, and c is apart from a and b; it may be plus, number by number.
        unsafe {
            match form {
                Form::LeftTransposed => {
                    matmul::multiply_transposed::<S, F>(isa, team, shape, a_at, b_at, target);
                }
                Form::Packed => matmul::multiply::<S, Exact>(isa, team, shape, a_at, self.get(b), target),
                Form::Plain | Form::RightTransposed => {
                    let b = if form == Form::Plain { b_at } else { Matrix { row: 1, column: k, ..b_at } };
                    let packed = grown(&mut self.extra.packed, tile::packed_len(F::items(k), n));
                    matmul::pack::<S, F>(isa, team, b, k, n, packed);
                    matmul::multiply::<S, F>(isa, team, shape, a_at, packed, target);
                }
            }
        }
    }

    /// Attention forward, its factors rounded to bf16 or not.
    pub(super) fn attend<F: Factors>(&mut self, heads: Heads, qkv: Span, o: Span, lse: Span) {
        apart(&[o, lse], &[qkv]);
        let Heads { images, tokens, heads: count, width, .. } = heads;
        let c = count * width;
        assert!(qkv.len == images * tokens * 3 * c && o.len == images * tokens * c);
        assert_eq!(lse.len, images * count * tokens);
        let all = Shared((self.pointer(qkv), self.pointer(o), self.pointer(lse)));
        let isa = self.isa;
        self.team.share(images * count, |task| {
            let (image, head) = (task / count, task % count);
            let (qkv, o, lse) = all.get();
            let o = o.wrapping_add(image * tokens * c + head * width);
            let lse = lse.wrapping_add(task * tokens);
            let head = head_at(heads, qkv, image, head);
            with_scratch(attention::forward_scratch(tokens, width), |scratch| {
                let scratch = scratch.as_mut_ptr();
                let factors = PhantomData::<F>;
                S::run(isa, attention::Forward { head, o, o_row: c, lse, scratch, factors });
            });
        });
    }

    /// Attention backward, the same.
    pub(super) fn attend_backward<F: Factors>(
        &mut self,
        heads: Heads,
        qkv: Span,
        o: Span,
        lse: Span,
        d_o: Span,
        dqkv: Span,
    ) {
        apart(&[dqkv], &[qkv, o, lse, d_o]);
        let Heads { images, tokens, heads: count, width, .. } = heads;
        let c = count * width;
        assert!(qkv.len == images * tokens * 3 * c && o.len == images * tokens * c);
        assert!(lse.len == images * count * tokens && d_o.len == o.len && dqkv.len == qkv.len);
        let all = Shared([qkv, o, lse, d_o, dqkv].map(|span| self.pointer(span)));
        let isa = self.isa;
        self.team.share(images * count, |task| {
            let (image, head) = (task / count, task % count);
            let [qkv, o, lse, d_o, dqkv] = all.get();
            let at = image * tokens * c + head * width;
            let dq = dqkv.wrapping_add(3 * image * tokens * c + head * width);
            let head = head_at(heads, qkv, image, head);
            with_scratch(attention::backward_scratch(tokens, width), |scratch| {
                let kernel = attention::Backward {
                    head,
                    o: o.wrapping_add(at),
                    d_o: d_o.wrapping_add(at),
                    o_row: c,
                    lse: lse.wrapping_add(task * tokens),
                    dq,
                    dk: dq.wrapping_add(c),
                    dv: dq.wrapping_add(2 * c),
                    scratch: scratch.as_mut_ptr(),
                    factors: PhantomData::<F>,
                };
                S::run(isa, kernel);
            });
        });
    }
}

/// One head of one image.
fn head_at<S>(heads: Heads, qkv: *mut S, image: usize, head: usize) -> attention::Head<S> {
    let Heads { tokens, heads, width, causal, .. } = heads;
    let c = heads * width;
    let q = qkv.wrapping_add(3 * image * tokens * c + head * width).cast_const();
    attention::Head { q, k: q.wrapping_add(c), v: q.wrapping_add(2 * c), row: 3 * c, tokens, width, causal }
}
