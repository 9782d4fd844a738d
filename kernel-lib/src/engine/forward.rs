//! The forward pass (section 2.2). With N = B·T tokens, x (N, C), and the MLP's width F, 4C in the paper:
//!
//! ```text
//! x₀ = token vectors + position vectors
//! x′ = x + attention(rms_norm(x; weight₁))
//! x″ = x′ + mlp(rms_norm(x′; weight₂))                                                    L times
//! logits = rms_norm(x; weight) headᵀ
//! ```

use super::backend::{Backend, Form, Heads, Input, Product, Span};
use super::plan::{Block, BlockWeights, Plan, Weights};
use crate::model::Config;

/// A network with its workspace on some machine: what the two passes are written with.
pub(super) struct Pass<'a> {
    pub(super) machine: &'a mut dyn Backend,
    pub(super) config: Config,
    pub(super) weights: &'a Weights,
    pub(super) plan: &'a Plan,
    /// Images of this micro-batch; at most the plan's.
    pub(super) images: usize,
    /// Whether a token sees only those before it.
    pub(super) causal: bool,
}

/// What of a micro-batch is to be predicted.
pub(super) struct Targets<'a> {
    /// (N): all tokens.
    pub(super) tokens: &'a [u16],
    /// Which rows' tokens are predicted, rising; `None` if all.
    pub(super) rows: Option<&'a [u32]>,
    /// How much each of them counts.
    pub(super) weights: &'a [f64],
}

impl Pass<'_> {
    /// N, how many tokens the micro-batch has.
    pub(super) fn tokens(&self) -> usize {
        self.images * self.config.context
    }

    /// The first N rows, of `width` each, of a span that is made for a full micro-batch.
    pub(super) fn rows(&self, span: Span, width: usize) -> Span {
        span.first(self.tokens() * width)
    }

    /// The residual stream before block l, (N, C).
    pub(super) fn x(&self, l: usize) -> Span {
        self.rows(self.plan.x[l], self.config.width)
    }

    /// Block l's parameters and activations.
    pub(super) fn block(&self, l: usize) -> (BlockWeights, Block) {
        let (c, h) = (self.config.width, self.config.heads);
        let Block { rstd_1, qkv, lse, o, mid, rstd_2, fc } = self.plan.blocks[l];
        let block = Block {
            rstd_1: self.rows(rstd_1, 1),
            qkv: self.rows(qkv, 3 * c),
            lse: self.rows(lse, h),
            o: self.rows(o, c),
            mid: self.rows(mid, c),
            rstd_2: self.rows(rstd_2, 1),
            fc: self.rows(fc, self.config.inner_width()),
        };
        (self.weights.blocks[l], block)
    }

    pub(super) fn heads(&self) -> Heads {
        let Config { heads, context: tokens, .. } = self.config;
        let (images, width) = (self.images, self.config.head_width());
        Heads { images, tokens, heads, width, causal: self.causal }
    }

    /// y = plus + x W, where x is (rows, k) and W (k, n).
    fn linear(&mut self, x: Span, weight: Span, k: usize, y: Span, plus: Option<Span>) {
        let shape = [x.len / k, weight.len / k, k];
        self.machine.matmul(Product { form: Form::NN, a: x, b: weight, c: y, plus, shape });
    }

    /// x₀: (N, C).
    pub(super) fn embed(&mut self, input: Input<'_>) {
        let x = self.x(0);
        self.machine.embed(input, self.weights.embedding, x);
    }

    /// x → x″: block l, from the residual stream before it to that after it.
    pub(super) fn forward_block(&mut self, l: usize) {
        self.forward_attention(l);
        let mid = self.block(l).1.mid;
        self.forward_mlp(l, mid, self.x(l + 1));
    }

    /// The last block where only P of the N rows are predicted (BERT's masked tokens, 15 % of all): attention needs all of
    /// them, the MLP no others. Returns the P rows of the residual stream after it, (P, C). Beside them x′ of these rows stands
    /// where the residual stream after the block would, for the backward pass.
    pub(super) fn forward_last_block(&mut self, rows: &[u32]) -> Span {
        let last = self.config.layers - 1;
        self.forward_attention(last);
        let (mid, count) = (self.block(last).1.mid, rows.len() * self.config.width);
        let (x, next) = (self.x(last + 1).first(count), mid.first(count));
        self.machine.gather(mid, rows, x);
        self.forward_mlp(last, x, next);
        next
    }

    /// x → x′: the first half of block l, for all rows.
    fn forward_attention(&mut self, l: usize) {
        let c = self.config.width;
        let (w, a) = self.block(l);
        let (x, n) = (self.x(l), self.rows(self.plan.n, c));
        // n = rms_norm(x; weight₁)                                         (N, C)
        self.machine.rms_norm(x, w.ln_1, n, a.rstd_1);
        // [q k v] = n W_qkv                                       (N, 3C)
        self.linear(n, w.c_attn, c, a.qkv, None);
        // o = softmax(q kᵀ / √width) v, head by head              (N, C)
        self.machine.attention(self.heads(), a.qkv, a.o, a.lse);
        // x′ = x + o W_proj                                       (N, C)
        self.linear(a.o, w.attn_c_proj, c, a.mid, Some(x));
    }

    /// x′ → x″: the second half of block l, for P rows `mid` of the residual stream: all N, except in BERT's last
    /// block.
    fn forward_mlp(&mut self, l: usize, mid: Span, next: Span) {
        let (c, inner) = (self.config.width, self.config.inner_width());
        let (w, a) = self.block(l);
        let rows = mid.len / c;
        let (n, fc, g) =
            (self.plan.n.first(rows * c), a.fc.first(rows * inner), self.plan.g.first(rows * inner));
        // n = rms_norm(x′; weight₂)                                        (P, C)
        self.machine.rms_norm(mid, w.ln_2, n, a.rstd_2.first(rows));
        // f = n W_fc                                              (P, F)
        self.linear(n, w.c_fc, c, fc, None);
        // g = f σ(1.702 f)                                        (P, F)
        self.machine.gelu(fc, g);
        // x″ = x′ + g W_proj                                      (P, C)
        self.linear(g, w.mlp_c_proj, inner, next, Some(mid));
    }

    /// Logits of `rows` rows of the residual stream, (rows, V), in the workspace; the last RMSNorm's output and
    /// reciprocal roots are left beside them.
    pub(super) fn logits(&mut self, x: Span) -> Span {
        let Config { width: c, vocabulary: v, .. } = self.config;
        let rows = x.len / c;
        let (n, rstd) = (self.plan.last.first(rows * c), self.plan.rstd.first(rows));
        let logits = self.plan.logits.first(rows * v);
        // n = rms_norm(x; weight), logits = n headᵀ                        (rows, V)
        self.machine.rms_norm(x, self.weights.ln_f, n, rstd);
        let head = Product {
            form: Form::NT,
            a: n,
            b: self.weights.head,
            c: logits,
            plus: None,
            shape: [rows, v, c],
        };
        self.machine.matmul(head);
        logits
    }

    /// Adds the micro-batch to the machine's loss, part by part, for the residual stream `x` before some block or after the last;
    /// `each` is shown each part's position among the rows that count, and does what else is to be done with its logits.
    pub(super) fn loss(
        &mut self,
        x: Stream,
        targets: &Targets<'_>,
        gradient: Option<f32>,
        mut each: impl FnMut(&mut Self, Part<'_>),
    ) {
        let c = self.config.width;
        let (mut start, mut picked) = (0, Vec::new());
        while start < targets.weights.len() {
            let count = self.plan.logit_rows.min(targets.weights.len() - start);
            let rows = targets.rows.map(|rows| &rows[start..start + count]);
            let (x, of_stream) = match (x, rows) {
                (Stream::All(x), Some(rows)) => {
                    let to = self.plan.picked.first(count * c);
                    self.machine.gather(x, rows, to);
                    (to, Some(rows))
                }
                (Stream::All(x) | Stream::Predicted(x), _) => (x.part(start * c..(start + count) * c), None),
            };
            let tokens = match rows {
                None => &targets.tokens[start..start + count],
                Some(rows) => {
                    picked.clear();
                    picked.extend(rows.iter().map(|row| targets.tokens[*row as usize]));
                    &picked
                }
            };
            let logits = self.logits(x);
            let weights = &targets.weights[start..start + count];
            self.machine.cross_entropy(logits, tokens, weights, gradient);
            each(self, Part { x, logits, start, rows: of_stream });
            start += count;
        }
    }
}

/// The residual stream from which tokens are predicted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    /// All N rows.
    All(Span),
    /// Only those that are predicted, one after the other.
    Predicted(Span),
}

/// What of a micro-batch's images is to be predicted by the classification head.
pub(super) struct ClassTargets<'a> {
    /// (B): the class of each image.
    pub(super) labels: &'a [u16],
    /// Which layer's features are classified.
    pub(super) layer: usize,
    /// How much each image counts.
    pub(super) weights: &'a [f64],
}

impl Pass<'_> {
    /// The RMSNorm's weight of a layer's features: block l's first, or the last.
    pub(super) fn feature_weight(&self, layer: usize) -> Span {
        self.weights.blocks.get(layer).map_or(self.weights.ln_f, |block| block.ln_1)
    }

    /// How many blocks are needed: all, if tokens are predicted, else those below the layer that is classified.
    pub(super) fn top(&self, targets: Option<&Targets<'_>>, classes: Option<&ClassTargets<'_>>) -> usize {
        match (targets, classes) {
            (None, Some(classes)) => classes.layer,
            _ => self.config.layers,
        }
    }

    /// The rows whose MLP the last block needs, if not all: only their tokens are predicted, and nobody classifies the mean of
    /// all rows.
    pub(super) fn rows_of_last_block<'a>(
        &self,
        targets: Option<&Targets<'a>>,
        classes: Option<&ClassTargets<'_>>,
    ) -> Option<&'a [u32]> {
        let all = classes.is_some_and(|classes| classes.layer == self.config.layers);
        targets.and_then(|targets| targets.rows).filter(|_| !all)
    }

    /// Adds the loss of the images' classes to the machine's, for the residual stream before block `targets.layer`, or after
    /// the last. With `gradient` also what goes backward through the head: its weights' gradient, and that of the mean.
    pub(super) fn class_loss(&mut self, targets: &ClassTargets<'_>, gradient: Option<f32>) {
        let (c, images) = (self.config.width, self.images);
        let (Some(score), Some(k)) = (self.weights.score, self.config.classes) else {
            unreachable!("a batch with classes was checked against the network")
        };
        let (x, weight) = (self.x(targets.layer), self.feature_weight(targets.layer));
        let n = self.rows(self.plan.n, c);
        let rstd = self.rows(self.plan.classes.rstd, 1);
        let [mean, dmean] =
            [self.plan.classes.mean, self.plan.classes.dmean].map(|span| span.first(images * c));
        let logits = self.plan.classes.logits.first(images * k);
        // n = rms_norm(x; weight), f = mean over tokens of n       (N, C), (B, C)
        self.machine.rms_norm(x, weight, n, rstd);
        self.machine.mean(n, images, mean);
        // logits = f scoreᵀ                                       (B, K)
        let (form, shape) = (Form::NT, [images, k, c]);
        self.machine.matmul(Product { form, a: mean, b: score, c: logits, plus: None, shape });
        self.machine.cross_entropy(logits, targets.labels, targets.weights, gradient);
        if gradient.is_some() {
            // dscore += dlogitsᵀ f                                (K, C)
            let dscore = score.gradient();
            let (form, shape) = (Form::TN, [k, c, images]);
            self.machine.matmul(Product { form, a: logits, b: mean, c: dscore, plus: Some(dscore), shape });
            // df = dlogits score                                  (B, C)
            let (form, shape) = (Form::NN, [images, c, k]);
            self.machine.matmul(Product { form, a: logits, b: score, c: dmean, plus: None, shape });
        }
    }
}

/// Some of the rows that are predicted.
pub(super) struct Part<'a> {
    /// Their residual stream after the last block, (rows, C).
    pub(super) x: Span,
    /// Their logits' gradients, (rows, V).
    pub(super) logits: Span,
    /// How many come before them.
    pub(super) start: usize,
    /// Which rows of the stream they are; `None` if consecutive.
    pub(super) rows: Option<&'a [u32]>,
}
