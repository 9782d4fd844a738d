//! The backward pass: the chain rule through `forward.rs`, line by line from its end. `dx` is the loss's gradient by
//! the residual stream, (N, C). For y = x W: dx = dy Wᵀ and dW = xᵀ dy. What a residual connection adds to is already
//! there, so only what the branch adds is added.

use super::backend::{Form, Input, Product, Span};
use super::forward::{ClassTargets, Part, Pass, Stream, Targets};
use super::plan::Keep;
use crate::model::Config;
use crate::stop;

impl Pass<'_> {
    /// dx = dy Wᵀ, for x of `k` channels.
    fn linear_backward(&mut self, dy: Span, weight: Span, k: usize, dx: Span) {
        let n = weight.len / k;
        let shape = [dy.len / n, k, n];
        let form = Form::NT;
        self.machine.matmul(Product { form, a: dy, b: weight, c: dx, plus: None, shape });
    }

    /// dW += xᵀ dy, for x of `k` channels: a sum over all tokens.
    fn weight_gradient(&mut self, x: Span, dy: Span, k: usize, weight: Span) {
        let (rows, c) = (x.len / k, weight.gradient());
        let shape = [k, weight.len / k, rows];
        self.machine.matmul(Product { form: Form::TN, a: x, b: dy, c, plus: Some(c), shape });
    }

    /// Adds the micro-batch's loss to the machine's, and its gradients, times `scale`. False if someone asked to stop: nobody
    /// will use what there is.
    pub(super) fn forward_backward(
        &mut self,
        input: Input<'_>,
        targets: Option<&Targets<'_>>,
        classes: Option<&ClassTargets<'_>>,
        scale: f32,
    ) -> bool {
        let top = self.top(targets, classes);
        let rows = self.rows_of_last_block(targets, classes);
        let mut stream = Stream::All(self.x(top));
        self.embed(input);
        for l in 0..top {
            if stop::requested() {
                return false;
            }
            match rows.filter(|_| l + 1 == top) {
                Some(rows) => stream = Stream::Predicted(self.forward_last_block(rows)),
                None => self.forward_block(l),
            }
        }
        let dx = self.rows(self.plan.dx, self.config.width);
        if rows.is_none() && targets.is_none_or(|targets| targets.rows.is_some()) {
            // Rows that are not predicted have no gradient here.
            self.machine.clear(dx);
        }
        if let Some(classes) = classes {
            self.class_loss(classes, Some(scale));
        }
        if let Some(targets) = targets {
            let dx = rows.map_or(dx, |rows| self.gradient_of(rows));
            self.loss(stream, targets, Some(scale), |pass, part| pass.backward_logits(part, dx));
        }
        let classified = classes.map(|classes| classes.layer);
        if classified == Some(top) {
            self.backward_mean(top, dx);
        }
        for l in (0..top).rev() {
            if stop::requested() {
                return false;
            }
            if self.plan.keep == Keep::BlockInputs && l + 1 < top {
                // The same bits as before, its output included.
                self.forward_block(l);
            }
            match rows.filter(|_| l + 1 == top) {
                Some(rows) => self.backward_last_block(rows, dx),
                None => self.backward_block(l, dx),
            }
            if classified == Some(l) {
                self.backward_mean(l, dx);
            }
        }
        self.machine.embed_backward(input, dx, self.weights.embedding.gradient());
        true
    }

    /// dlogits → dx, for some rows.
    pub(super) fn backward_logits(&mut self, part: Part<'_>, dx: Span) {
        let Config { width: c, vocabulary: v, .. } = self.config;
        let rows = part.x.len / c;
        let (n, rstd) = (self.plan.last.first(rows * c), self.plan.rstd.first(rows));
        let (dn, head) = (self.plan.dlast.first(rows * c), self.weights.head);
        // dhead += dlogitsᵀ n                                     (V, C)
        self.weight_gradient(part.logits, n, v, head);
        // dn = dlogits head                                       (rows, C)
        let (form, shape) = (Form::NN, [rows, c, v]);
        self.machine.matmul(Product { form, a: part.logits, b: head, c: dn, plus: None, shape });
        // dx = through the RMSNorm                                   (rows, C)
        let to = match part.rows {
            None => dx.part(part.start * c..part.start * c + rows * c),
            Some(_) => self.plan.dpicked.first(rows * c),
        };
        self.machine.clear(to);
        let ln_f = self.weights.ln_f;
        self.machine.rms_norm_backward(dn, part.x, ln_f, rstd, to, ln_f.gradient());
        if let Some(rows) = part.rows {
            self.machine.scatter(to, rows, dx);
        }
    }

    /// dx += what the classification head says of layer `layer`, through the mean and the RMSNorm.
    fn backward_mean(&mut self, layer: usize, dx: Span) {
        let (c, images) = (self.config.width, self.images);
        let (x, weight, dn) = (self.x(layer), self.feature_weight(layer), self.rows(self.plan.dn, c));
        let (rstd, dmean) = (self.rows(self.plan.classes.rstd, 1), self.plan.classes.dmean.first(images * c));
        // dn = df / T for each token                              (N, C)
        self.machine.mean_backward(dmean, images, dn);
        // dx += through the RMSNorm
        self.machine.rms_norm_backward(dn, x, weight, rstd, dx, weight.gradient());
    }

    /// dx after block l → dx before it.
    fn backward_block(&mut self, l: usize, dx: Span) {
        let (mid, dn) = (self.block(l).1.mid, self.rows(self.plan.dn, self.config.width));
        self.backward_mlp(l, mid, dx, dn);
        self.backward_attention(l, dx);
    }

    /// Where the gradient of the P rows stands that `forward_last_block` returned, (P, C).
    fn gradient_of(&self, rows: &[u32]) -> Span {
        self.plan.dn.first(rows.len() * self.config.width)
    }

    /// The gradient of the predicted rows after the last block → dx before it, for all rows.
    fn backward_last_block(&mut self, rows: &[u32], dx: Span) {
        let (last, count) = (self.config.layers - 1, rows.len() * self.config.width);
        let (mid, of_rows) = (self.x(last + 1).first(count), self.gradient_of(rows));
        self.backward_mlp(last, mid, of_rows, dx.first(count));
        // The other rows' MLP had no part in the loss.
        self.machine.clear(dx);
        self.machine.scatter(of_rows, rows, dx);
        self.backward_attention(last, dx);
    }

    /// dx after the second half of block l → dx before it, for the P rows `mid`; in `dn` is room for as many.
    fn backward_mlp(&mut self, l: usize, mid: Span, dx: Span, dn: Span) {
        let (c, inner) = (self.config.width, self.config.inner_width());
        let (w, a) = self.block(l);
        let rows = mid.len / c;
        let (fc, rstd) = (a.fc.first(rows * inner), a.rstd_2.first(rows));
        let (n, wide) = (self.plan.n.first(rows * c), self.plan.g.first(rows * inner));
        // dg = dx W_projᵀ                                         (P, F)
        self.linear_backward(dx, w.mlp_c_proj, inner, wide);
        // df = dg ∂(f σ(1.702 f))/∂f, and g again in f's place    (P, F)
        self.machine.gelu_backward(fc, wide);
        // dW_proj += gᵀ dx                                        (F, C)
        self.weight_gradient(fc, dx, inner, w.mlp_c_proj);
        // n = rms_norm(x′; weight₂) again, dW_fc += nᵀ df                  (C, F)
        self.machine.rms_norm(mid, w.ln_2, n, rstd);
        self.weight_gradient(n, wide, c, w.c_fc);
        // dn = df W_fcᵀ                                           (P, C)
        self.linear_backward(wide, w.c_fc, c, dn);
        // dx += through the RMSNorm
        self.machine.rms_norm_backward(dn, mid, w.ln_2, rstd, dx, w.ln_2.gradient());
    }

    /// dx after the first half of block l → dx before it.
    fn backward_attention(&mut self, l: usize, dx: Span) {
        let c = self.config.width;
        let (w, a) = self.block(l);
        let (n, dn) = (self.rows(self.plan.n, c), self.rows(self.plan.dn, c));
        let (x, dqkv) = (self.x(l), self.rows(self.plan.g, 3 * c));
        // dW_proj += oᵀ dx, do = dx W_projᵀ                       (C, C), (N, C)
        self.weight_gradient(a.o, dx, c, w.attn_c_proj);
        self.linear_backward(dx, w.attn_c_proj, c, dn);
        // [dq dk dv] through attention                            (N, 3C)
        self.machine.attention_backward(self.heads(), a.qkv, a.o, a.lse, dn, dqkv);
        // n = rms_norm(x; weight₁) again, dW_qkv += nᵀ [dq dk dv]          (C, 3C)
        self.machine.rms_norm(x, w.ln_1, n, a.rstd_1);
        self.weight_gradient(n, dqkv, c, w.c_attn);
        // dn = [dq dk dv] W_qkvᵀ                                  (N, C)
        self.linear_backward(dqkv, w.c_attn, c, dn);
        // dx += through the RMSNorm
        self.machine.rms_norm_backward(dn, x, w.ln_1, a.rstd_1, dx, w.ln_1.gradient());
    }
}
