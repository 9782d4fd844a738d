//! What a machine must be able to do to run the network: kernels over spans of its memory.
//!
//! The forward and backward passes speak only of [`Span`]s, so they are written once, compiled once, and the same for
//! a CPU in `f32`, for the `f64` that tests use, and for a GPU. A kernel call is one dynamic call; what it does takes
//! micro- to milliseconds.

use std::ops::Range;

/// Which memory a span lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arena {
    /// The network's parameters, in their layout. Only read.
    Parameters,
    /// Some of them, packed for [`Form::Packed`]. Only read.
    Packed,
    /// Their gradients, in the same layout. Only added to.
    Gradients,
    /// Activations and what is needed for a moment.
    Workspace,
}

/// How precisely a machine keeps numbers. A CPU keeps all of them alike; a GPU may keep most activations in bf16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Parameters, their gradients, the residual stream, and numbers of which there are few.
    Exact,
    /// What goes into matrix products, and comes out of most.
    Rounded,
}

/// Numbers that lie together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) arena: Arena,
    pub(crate) kind: Kind,
    /// Counted in numbers of this kind.
    pub(crate) start: usize,
    pub(crate) len: usize,
}

impl Span {
    pub(crate) fn parameter(range: &Range<usize>) -> Self {
        Self { arena: Arena::Parameters, kind: Kind::Exact, start: range.start, len: range.len() }
    }

    /// The gradient of a parameter.
    pub(crate) fn gradient(self) -> Self {
        debug_assert_eq!(self.arena, Arena::Parameters);
        Self { arena: Arena::Gradients, ..self }
    }

    /// A part of it.
    ///
    /// # Panics
    /// If it is not within.
    pub(crate) fn part(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {self:?}");
        Self { start: self.start + range.start, len: range.len(), ..self }
    }

    /// Its first numbers.
    pub(crate) fn first(self, len: usize) -> Self {
        self.part(0..len)
    }
}

/// Which of a product's factors are transposed: N is as it is, T transposed, as BLAS has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// (M, K) · (K, N): activations by a weight.
    NN,
    /// (M, K) · (N, K)ᵀ: gradients by a weight, going back; and logits.
    NT,
    /// (M, K) · (K, N), where the right factor was packed before: sampling multiplies by it a thousand times.
    Packed,
    /// (K, M)ᵀ · (K, N): activations by gradients, the gradient of a weight. K counts tokens.
    TN,
}

/// A matrix product: `c = plus + a · b`, of shape (M, N).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product {
    pub(crate) form: Form,
    pub(crate) a: Span,
    pub(crate) b: Span,
    pub(crate) c: Span,
    /// What is added, of c's shape; may be `c` itself.
    pub(crate) plus: Option<Span>,
    /// M, N, K.
    pub(crate) shape: [usize; 3],
}

/// What attention works on: `images` sequences of `tokens`, `heads` heads of `width` channels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads {
    pub(crate) images: usize,
    pub(crate) tokens: usize,
    pub(crate) heads: usize,
    pub(crate) width: usize,
    /// Whether a token sees only itself and those before it.
    pub(crate) causal: bool,
}

/// What goes into the first block.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Input<'a> {
    /// The SOS token, then all tokens but the last, (B, T).
    Shifted(&'a [u16]),
    /// All tokens, (B, T), nothing (zeros) in the place of those that are masked.
    Masked(&'a [u16], Option<&'a [bool]>),
}

/// The embedding's parameters, or their gradients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Embedding {
    pub(crate) wte: Span,
    pub(crate) sos: Span,
    pub(crate) wpe: Span,
}

impl Embedding {
    pub(crate) fn gradient(self) -> Self {
        Self { wte: self.wte.gradient(), sos: self.sos.gradient(), wpe: self.wpe.gradient() }
    }
}

/// A machine that runs the network's kernels. Rows are tokens: all spans of activations are (rows, width), row after
/// row. A kernel gives the same bits however many threads work on it, and a row's bits do not depend on how many
/// other rows there are.
pub(crate) trait Backend {
    /// x = token's vector + position's vector. `x`: (B·T, C).
    fn embed(&mut self, input: Input<'_>, from: Embedding, x: Span);
    /// Adds `dx` to the gradients of the vectors it was made of.
    fn embed_backward(&mut self, input: Input<'_>, dx: Span, gradients: Embedding);

    /// y = x · rstd · weight with rstd = 1 / √(mean(x²) + 10⁻⁵), row by row; keeps rstd. `x`, `y`: (rows, C), `weight`: (C), `rstd`: (rows).
    fn rms_norm(&mut self, x: Span, weight: Span, y: Span, rstd: Span);
    /// dx += ∂y/∂x dy, dweight += Σ rows.
    fn rms_norm_backward(&mut self, dy: Span, x: Span, weight: Span, rstd: Span, dx: Span, dweight: Span);

    /// A matrix product.
    fn matmul(&mut self, product: Product);

    /// y = x σ(1.702 x): quick-GELU.
    fn gelu(&mut self, x: Span, y: Span);
    /// dy → dx, and x → y: both in place, for the next product needs y.
    fn gelu_backward(&mut self, x: Span, dy: Span);

    /// o = softmax(q kᵀ / √width) v per head. `qkv`: (B·T, 3C), `o`: (B·T, C), `lse`: (B, H, T), the logarithm of the
    /// softmax's denominator.
    fn attention(&mut self, heads: Heads, qkv: Span, o: Span, lse: Span);
    /// do → dqkv; recomputes the softmax from lse.
    fn attention_backward(&mut self, heads: Heads, qkv: Span, o: Span, lse: Span, d_o: Span, dqkv: Span);

    /// Adds Σ rows weight (ln Σ e^logits - logit of the target) to the loss. `logits`: (rows, V), become the loss's
    /// gradients, times `gradient`, if there is one; else they are used up.
    fn cross_entropy(&mut self, logits: Span, targets: &[u16], weights: &[f64], gradient: Option<f32>);
    /// From here on losses are added up.
    fn clear_loss(&mut self);
    /// The loss since it was last cleared or taken.
    fn take_loss(&mut self) -> f64;

    /// y = mean over tokens of the RMSNorm of x: (B, T, C) → (B, C).
    fn mean_of_rms_norm(&mut self, x: Span, weight: Span, images: usize, y: Span);

    /// y = mean over tokens of x: (B, T, C) → (B, C).
    fn mean(&mut self, x: Span, images: usize, y: Span);
    /// dx = dy / T for each token: (B, C) → (B, T, C).
    fn mean_backward(&mut self, dy: Span, images: usize, dx: Span);

    /// Like `embed` for one position of each sequence: `tokens` (B) are those before it, none at the start.
    fn embed_one(&mut self, tokens: Option<&[u16]>, position: usize, from: Embedding, x: Span);
    /// Like `attention` for the token at `position` of each sequence: its keys and values join the cached ones. `qkv`:
    /// (B, 3C), `o`: (B, C).
    fn attention_one(&mut self, heads: Heads, position: usize, qkv: Span, keys: Span, values: Span, o: Span);

    /// Copies rows: `to` row i = `from` row `rows[i]`.
    fn gather(&mut self, from: Span, rows: &[u32], to: Span);
    /// Copies rows: `to` row `rows[i]` = `from` row i.
    fn scatter(&mut self, from: Span, rows: &[u32], to: Span);
    /// Makes all of it zero.
    fn clear(&mut self, span: Span);

    /// Brings numbers to the caller.
    fn read(&mut self, span: Span, to: &mut [f32]);
}
