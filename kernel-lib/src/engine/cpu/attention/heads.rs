//! Attention of all heads of all images, shared among threads.

use super::super::super::backend::{Heads, Span};
use super::super::pack::Factors;
use super::super::{Cpu, apart};
use super::{Backward, Forward, Head, backward_scratch, forward_scratch};
use crate::parallel::{Shared, with_scratch};
use crate::simd::Scalar;
use std::marker::PhantomData;

impl<S: Scalar> Cpu<'_, S> {
    /// Attention forward, its factors rounded to bf16 or not.
    pub(in super::super) fn attend<F: Factors>(&mut self, heads: Heads, qkv: Span, o: Span, lse: Span) {
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
            with_scratch(forward_scratch(tokens, width), |scratch| {
                let scratch = scratch.as_mut_ptr();
                let factors = PhantomData::<F>;
                S::run(isa, Forward { head, o, o_row: c, lse, scratch, factors });
            });
        });
    }

    /// Attention backward, the same.
    pub(in super::super) fn attend_backward<F: Factors>(
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
            with_scratch(backward_scratch(tokens, width), |scratch| {
                let kernel = Backward {
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
fn head_at<S>(heads: Heads, qkv: *mut S, image: usize, head: usize) -> Head<S> {
    let Heads { tokens, heads, width, causal, .. } = heads;
    let c = heads * width;
    let q = qkv.wrapping_add(3 * image * tokens * c + head * width).cast_const();
    Head { q, k: q.wrapping_add(c), v: q.wrapping_add(2 * c), row: 3 * c, tokens, width, causal }
}
