//! Drawing images token by token (section 3.6 of the paper shows some). A step computes one token of each sequence;
//! keys and values of those before it are cached, as the kernels want them, and so are the packed matrices.
//!
//! A step is `forward.rs` for one position. Because a row's bits depend on nothing but the row, its logits have the bits
//! that a forward pass over the whole image gives, whatever the batch.

use super::backend::{Arena, Backend, Form, Heads, Kind, Product, Span};
use super::cpu::{Cpu, Extra, cache_len, pack, packed_len, share};
use super::plan::{Room, Storage, Weights};
use crate::model::{Config, Parameters, finite};
use crate::simd::Isa;
use crate::{Result, memory};

/// Most sequences that go through a step together: two tiles of the matmul's 12 rows.
const GROUP: usize = 24;
/// From this width on, a single group's kernels are worth sharing among threads.
const WIDE: usize = 512;

/// The network's matrices, as a machine wants them for products of few rows.
pub(super) struct Matrices {
    /// c_attn, attn.c_proj, c_fc, mlp.c_proj of each block.
    blocks: Vec<[Span; 4]>,
    head: Span,
    /// The form of products with a block's matrices, and with the head.
    forms: [Form; 2],
}

impl Matrices {
    /// As they are.
    pub(super) fn plain(weights: &Weights) -> Self {
        let blocks = weights.blocks.iter().map(|w| [w.c_attn, w.attn_c_proj, w.c_fc, w.mlp_c_proj]);
        Self { blocks: blocks.collect(), head: weights.head, forms: [Form::NN, Form::NT] }
    }

    /// Packed into an arena of their own, whose numbers come second.
    fn packed(config: &Config, isa: Isa, weights: &Weights, parameters: &[f32]) -> (Self, Vec<f32>) {
        let (c, v, inner) = (config.width, config.vocabulary, config.inner_width());
        let mut values = Vec::new();
        let mut add = |from: Span, [k, n]: [usize; 2], transposed| {
            let (start, len) = (values.len(), packed_len(k, n));
            values.resize(start + len, 0.0);
            let from = &parameters[from.start..from.start + from.len];
            pack(isa, from, [k, n], transposed, &mut values[start..]);
            Span { arena: Arena::Packed, kind: Kind::Exact, start, len }
        };
        let blocks = weights.blocks.iter().map(|w| {
            [
                add(w.c_attn, [c, 3 * c], false),
                add(w.attn_c_proj, [c, c], false),
                add(w.c_fc, [c, inner], false),
                add(w.mlp_c_proj, [inner, c], false),
            ]
        });
        let blocks = blocks.collect();
        let head = add(weights.head, [c, v], true);
        (Self { blocks, head, forms: [Form::Packed; 2] }, values)
    }
}

/// Where a group's activations lie, for R sequences.
pub(super) struct Buffers {
    /// (R, C): the residual stream, before and after a half of a block; an RMSNorm's output; attention's output.
    x: Span,
    mid: Span,
    n: Span,
    o: Span,
    /// (R)
    rstd: Span,
    /// (R, 3C), (R, F), (R, F), (R, V)
    qkv: Span,
    fc: Span,
    g: Span,
    logits: Span,
    /// Keys and values of each block: (R, H, what a head's take).
    caches: Vec<[Span; 2]>,
    /// What all that takes, in the storage's units.
    pub(super) len: usize,
}

impl Buffers {
    /// For `rows` sequences; a head's cached keys, and values, are `cache` numbers.
    pub(super) fn new(config: &Config, rows: usize, cache: [usize; 2], storage: Storage) -> Self {
        use Kind::{Exact, Rounded};
        let Config { layers, width: c, heads, vocabulary: v, .. } = *config;
        let inner = config.inner_width();
        let mut room = Room::new(storage);
        let mut add = |kind, numbers| room.add(kind, rows * numbers);
        let [x, mid] = [(); 2].map(|()| add(Exact, c));
        let [n, o] = [(); 2].map(|()| add(Rounded, c));
        let rstd = add(Exact, 1);
        let [qkv, fc, g, logits] = [3 * c, inner, inner, v].map(|numbers| add(Rounded, numbers));
        let caches = (0..layers).map(|_| cache.map(|len| add(Rounded, heads * len))).collect();
        Self { x, mid, n, o, rstd, qkv, fc, g, logits, caches, len: room.len }
    }
}

/// Completes sequences, (count, t) → (count, T): see `Network::complete`. None if someone asked to stop.
pub(super) fn complete(
    config: &Config,
    isa: Isa,
    weights: &Weights,
    parameters: &Parameters,
    prompts: &[u16],
    count: usize,
    sample_token: &crate::model::Sampler<'_>,
) -> Result<Option<Vec<u16>>> {
    let (t, given) = (config.context, prompts.len() / count);
    let (matrices, packed) = Matrices::packed(config, isa, weights, parameters.values());
    let each = count.div_ceil(rayon::current_num_threads()).min(GROUP);
    let groups = count.div_ceil(each);
    let alone = groups > 1 || config.width < WIDE;
    let cache = cache_len(t, config.head_width());
    let together = groups.min(rayon::current_num_threads());
    let each_takes = Buffers::new(config, each, cache, Storage::CPU).len;
    memory::check(
        &format!("drawing {count} images of {t} tokens"),
        &[together, each_takes, size_of::<f32>()],
    )?;
    memory::check(&format!("{count} images of {t} tokens"), &[count, t, size_of::<u16>()])?;
    let groups = share(groups, |group| {
        let sequences = group * each..((group + 1) * each).min(count);
        let buffers = Buffers::new(config, sequences.len(), cache, Storage::CPU);
        let mut workspace: Vec<f32> = memory::zeros("sampling images", buffers.len)?;
        let mut extra = Extra::default();
        let mut machine = Cpu::new(isa, parameters.values(), &mut [], &mut workspace, &mut extra)
            .with_packed(&packed, alone);
        let (machine, matrices, buffers) = (&mut machine, &matrices, &buffers);
        let mut step = Step { machine, config, weights, matrices, buffers, parameters };
        let rows = sequences.len();
        step.complete(&prompts[sequences.start * given..sequences.end * given], |logits, position| {
            let v = config.vocabulary;
            (0..rows)
                .map(|row| sample_token(&logits[row * v..][..v], sequences.start + row, position))
                .collect()
        })
    });
    let groups = groups.into_iter().collect::<Result<Option<Vec<_>>>>()?;
    Ok(groups.map(|groups| groups.concat()))
}

/// One token of each of a group's R sequences.
pub(super) struct Step<'a> {
    pub(super) machine: &'a mut dyn Backend,
    pub(super) config: &'a Config,
    pub(super) weights: &'a Weights,
    pub(super) matrices: &'a Matrices,
    pub(super) buffers: &'a Buffers,
    /// Where the reason is looked for if logits are not finite.
    pub(super) parameters: &'a Parameters,
}

impl Step<'_> {
    /// Completes the group's sequences, (R, t) → (R, T); `sample_token` chooses a token for each by their logits (R, V), which are
    /// finite, and is told the position. None if someone asked to stop.
    pub(super) fn complete(
        &mut self,
        prompts: &[u16],
        mut sample_token: impl FnMut(&[f32], usize) -> Result<Vec<u16>>,
    ) -> Result<Option<Vec<u16>>> {
        let (t, rows) = (self.config.context, self.buffers.rstd.len);
        let given = prompts.len() / rows;
        let mut tokens = vec![0; rows * t];
        let mut logits = vec![0.0; rows * self.config.vocabulary];
        let mut before: Option<Vec<u16>> = None;
        for position in 0..t {
            if crate::stop::requested() {
                return Ok(None);
            }
            self.forward(before.as_deref(), position);
            let now = if position < given {
                (0..rows).map(|row| prompts[row * given + position]).collect()
            } else {
                self.logits();
                self.machine.read(self.buffers.logits, &mut logits);
                finite::values("a logit", &logits, self.parameters)?;
                sample_token(&logits, position)?
            };
            now.iter().enumerate().for_each(|(row, token)| tokens[row * t + position] = *token);
            before = Some(now);
        }
        Ok(Some(tokens))
    }

    /// y = plus + x W, (R, k) → (R, n).
    fn linear(&mut self, form: Form, x: Span, matrix: Span, y: Span, plus: Option<Span>) {
        let rows = self.buffers.rstd.len;
        let shape = [rows, y.len / rows, x.len / rows];
        self.machine.matmul(Product { form, a: x, b: matrix, c: y, plus, shape });
    }

    /// The residual stream at `position` after all blocks, for the tokens before it.
    fn forward(&mut self, before: Option<&[u16]>, position: usize) {
        let Config { layers, heads, context: tokens, .. } = *self.config;
        let Buffers { x, mid, n, o, rstd, qkv, fc, g, .. } = *self.buffers;
        let heads = Heads { images: rstd.len, tokens, heads, width: self.config.head_width(), causal: true };
        self.machine.embed_one(before, position, self.weights.embedding, x);
        for l in 0..layers {
            let (w, form) = (self.weights.blocks[l], self.matrices.forms[0]);
            let [c_attn, attn_c_proj, c_fc, mlp_c_proj] = self.matrices.blocks[l];
            let [keys, values] = self.buffers.caches[l];
            self.machine.rms_norm(x, w.ln_1, n, rstd);
            self.linear(form, n, c_attn, qkv, None);
            self.machine.attention_one(heads, position, qkv, keys, values, o);
            self.linear(form, o, attn_c_proj, mid, Some(x));
            self.machine.rms_norm(mid, w.ln_2, n, rstd);
            self.linear(form, n, c_fc, fc, None);
            self.machine.gelu(fc, g);
            self.linear(form, g, mlp_c_proj, x, Some(mid));
        }
    }

    /// Logits of what comes at this position.
    fn logits(&mut self) {
        let Buffers { x, n, rstd, logits, .. } = *self.buffers;
        self.machine.rms_norm(x, self.weights.ln_f, n, rstd);
        self.linear(self.matrices.forms[1], n, self.matrices.head, logits, None);
    }
}
