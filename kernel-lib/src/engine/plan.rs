//! Which activations there are, and where in the workspace each lies.

use super::backend::{Arena, Embedding, Kind, Span};
use crate::model::{Config, Layout};
use std::sync::Arc;

/// How a machine's workspace is laid out, in units of its own: a CPU counts numbers, a GPU bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Storage {
    /// What a number takes that is kept exactly,
    pub(super) exact: usize,
    /// and one that may be rounded.
    pub(super) rounded: usize,
    /// Each span begins at a multiple of this: a cache line.
    pub(super) alignment: usize,
    /// Images are computed in micro-batches of about so many tokens, one micro-batch after the other, which bounds the memory of
    /// activations. It is part of a gradient's bits.
    pub(super) micro_batch_tokens: usize,
    /// Logits are computed for so many tokens at once…
    pub(super) logit_rows: usize,
    /// …or fewer, so that they are not more than this many numbers.
    pub(super) logits: usize,
}

impl Storage {
    /// The CPU's: a micro-batch is to stay in the caches; logits take 16 MiB at most.
    pub(super) const CPU: Self = Self {
        exact: 1,
        rounded: 1,
        alignment: 16,
        micro_batch_tokens: 2048,
        logit_rows: 1024,
        logits: 1 << 22,
    };

    /// How many images each micro-batch of a batch has; the last may have fewer.
    pub(super) fn micro_batch(&self, config: &Config, batch: usize) -> usize {
        let most = (self.micro_batch_tokens / config.context).max(1);
        batch.div_ceil(batch.div_ceil(most).max(1)).max(1)
    }

    /// How many tokens' logits are computed at once.
    pub(super) fn logit_rows(&self, config: &Config) -> usize {
        (self.logits / config.vocabulary).clamp(16, self.logit_rows)
    }

    /// What `numbers` of a kind take.
    pub(super) fn size(&self, kind: Kind, numbers: usize) -> usize {
        numbers * self.of(kind)
    }

    fn of(&self, kind: Kind) -> usize {
        match kind {
            Kind::Exact => self.exact,
            Kind::Rounded => self.rounded,
        }
    }
}

/// Lays spans one after the other into a workspace.
#[derive(Debug)]
pub(super) struct Room {
    storage: Storage,
    /// What all of them take so far.
    pub(super) len: usize,
}

impl Room {
    pub(super) fn new(storage: Storage) -> Self {
        Self { storage, len: 0 }
    }

    pub(super) fn add(&mut self, kind: Kind, numbers: usize) -> Span {
        let span =
            Span { arena: Arena::Workspace, kind, start: self.len / self.storage.of(kind), len: numbers };
        self.len += self.storage.size(kind, numbers).next_multiple_of(self.storage.alignment);
        span
    }
}

/// Where a block's parameters are.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockWeights {
    pub(super) ln_1: Span,
    pub(super) c_attn: Span,
    pub(super) attn_c_proj: Span,
    pub(super) ln_2: Span,
    pub(super) c_fc: Span,
    pub(super) mlp_c_proj: Span,
}

/// Where the network's parameters are.
#[derive(Debug, Clone)]
pub(super) struct Weights {
    pub(super) embedding: Embedding,
    pub(super) blocks: Vec<BlockWeights>,
    pub(super) ln_f: Span,
    pub(super) head: Span,
    /// The classification head's, if there is one.
    pub(super) score: Option<Span>,
}

impl Weights {
    pub(super) fn new(layout: &Layout) -> Self {
        let [wte, sos, wpe, ln_f, head] = layout.outer().map(|range| Span::parameter(&range));
        let blocks = (0..layout.config().layers).map(|l| {
            let at = layout.block(l);
            BlockWeights {
                ln_1: Span::parameter(&at.ln_1),
                c_attn: Span::parameter(&at.c_attn),
                attn_c_proj: Span::parameter(&at.attn_c_proj),
                ln_2: Span::parameter(&at.ln_2),
                c_fc: Span::parameter(&at.c_fc),
                mlp_c_proj: Span::parameter(&at.mlp_c_proj),
            }
        });
        let score = layout.score().map(|range| Span::parameter(&range));
        Self { embedding: Embedding { wte, sos, wpe }, blocks: blocks.collect(), ln_f, head, score }
    }
}

/// What of a block is kept for the backward pass, for N = B·T tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    /// (N): reciprocal roots of the first RMSNorm.
    pub(super) rstd_1: Span,
    /// (N, 3C): queries, keys, values.
    pub(super) qkv: Span,
    /// (B, H, T): logarithms of attention's denominators.
    pub(super) lse: Span,
    /// (N, C): attention's output.
    pub(super) o: Span,
    /// (N, C): the residual stream between attention and MLP.
    pub(super) mid: Span,
    /// (N): reciprocal roots of the second RMSNorm.
    pub(super) rstd_2: Span,
    /// (N, F): the MLP before its activation; F is 4C, or what the configuration says.
    pub(super) fc: Span,
}

/// What is computed, which decides what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// One block's activations, overwritten by the next: inference.
    Nothing,
    /// The residual stream at each block's input; a block is computed again when its turn comes to go backward.
    BlockInputs,
    /// All that the backward pass needs.
    All,
}

/// What a classification head of K classes needs, for B images of T tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClassSpans {
    /// (N): reciprocal roots of the RMSNorm whose output is classified.
    pub(super) rstd: Span,
    /// (B, C): its mean over the sequence, and the gradient of that.
    pub(super) mean: Span,
    pub(super) dmean: Span,
    /// (B, K): logits of the classes.
    pub(super) logits: Span,
}

/// The workspace for one micro-batch.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) images: usize,
    pub(super) keep: Keep,
    pub(super) storage: Storage,
    /// R, how many tokens' logits are computed at once.
    pub(super) logit_rows: usize,
    /// The residual stream before each block and after the last, L + 1 of (N, C). Without gradients, two that take
    /// turns. In BERT's last block (`forward_last_block`) the last has x′ of the predicted rows, and `mid` the stream after it.
    pub(super) x: Vec<Span>,
    /// L blocks; without [`Keep::All`], L times the same one.
    pub(super) blocks: Vec<Block>,
    /// (N, C): an RMSNorm's output, for a moment.
    pub(super) n: Span,
    /// (N, F): the MLP's activation, for a moment; or (N, 3C): gradients of queries, keys and values.
    pub(super) g: Span,
    /// (N, C): the residual stream's gradient.
    pub(super) dx: Span,
    /// (N, C): an RMSNorm's output's gradient, or attention's output's; or that of the rows which BERT predicts.
    pub(super) dn: Span,
    /// (R, C): rows whose logits are wanted.
    pub(super) picked: Span,
    /// (R): reciprocal roots of the last RMSNorm.
    pub(super) rstd: Span,
    /// (R, C): the last RMSNorm's output, and the gradient of it and of the rows.
    pub(super) last: Span,
    pub(super) dlast: Span,
    pub(super) dpicked: Span,
    /// (R, V): their logits.
    pub(super) logits: Span,
    /// (B, C): features of one layer.
    pub(super) mean: Span,
    /// What a classification head needs; nothing without one.
    pub(super) classes: ClassSpans,
    /// What all that takes, in the storage's units.
    pub(super) len: usize,
}

impl Plan {
    /// The plan for a batch of so many images: the last one, if it still fits.
    pub(super) fn kept(
        last: &mut Option<Arc<Self>>,
        config: &Config,
        batch: usize,
        keep: Keep,
        storage: Storage,
    ) -> Arc<Self> {
        let images = storage.micro_batch(config, batch);
        let fits = |plan: &Arc<Self>| plan.images == images && plan.keep == keep && plan.storage == storage;
        let plan = last.take().filter(fits);
        let plan = plan.unwrap_or_else(|| Arc::new(Self::new(config, images, keep, storage)));
        Arc::clone(last.insert(plan))
    }

    pub(super) fn new(config: &Config, images: usize, keep: Keep, storage: Storage) -> Self {
        use Kind::{Exact, Rounded};
        let Config { layers, width: c, heads, context: t, vocabulary: v, .. } = *config;
        let inner = config.inner_width();
        let logit_rows = storage.logit_rows(config);
        let (n, rows) = (images * t, logit_rows.min(images * t));
        let mut room = Room::new(storage);
        let mut add = |kind, numbers| room.add(kind, numbers);
        let backward = keep != Keep::Nothing;
        let streams: Vec<Span> =
            (0..if backward { layers + 1 } else { 2 }).map(|_| add(Exact, n * c)).collect();
        let x = (0..=layers).map(|l| streams[l % streams.len()]).collect();
        let own: Vec<Block> = (0..if keep == Keep::All { layers } else { 1 })
            .map(|_| Block {
                rstd_1: add(Exact, n),
                qkv: add(Rounded, n * 3 * c),
                lse: add(Exact, n * heads),
                o: add(Rounded, n * c),
                mid: add(Exact, n * c),
                rstd_2: add(Exact, n),
                fc: add(Rounded, n * inner),
            })
            .collect();
        let blocks = (0..layers).map(|l| own[l % own.len()]).collect();
        let k = config.classes.unwrap_or(0);
        let of_head = |numbers| if k > 0 { numbers } else { 0 };
        let classes = ClassSpans {
            rstd: add(Exact, of_head(n)),
            mean: add(Rounded, of_head(images * c)),
            dmean: add(Rounded, of_head(images * c)),
            logits: add(Rounded, images * k),
        };
        let mut if_backward = |numbers| add(Rounded, if backward { numbers } else { 0 });
        let (dx, dn) = (if_backward(n * c), if_backward(n * c));
        let (dlast, dpicked) = (if_backward(rows * c), if_backward(rows * c));
        Self {
            images,
            keep,
            storage,
            logit_rows,
            x,
            blocks,
            n: add(Rounded, n * c),
            g: add(Rounded, n * inner.max(3 * c)),
            dx,
            dn,
            picked: add(Exact, rows * c),
            rstd: add(Exact, rows),
            last: add(Rounded, rows * c),
            dlast,
            dpicked,
            logits: add(Rounded, rows * v),
            mean: add(Exact, images * c),
            classes,
            len: room.len,
        }
    }
}
