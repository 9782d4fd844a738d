//! Which activations there are, and where in the workspace each lies.

use super::backend::{Arena, Embedding, Span};
use crate::model::{Config, Layout};

/// Pictures are computed in shards of about so many tokens, one shard after the other. It bounds the memory of
/// activations and keeps them in the caches. Fixed, for it is part of a gradient's bits.
const SHARD_TOKENS: usize = 2048;
/// Logits are computed for so many tokens at once…
const LOGIT_ROWS: usize = 1024;
/// …or fewer, so that they are not more than this many numbers: 16 MiB.
const LOGITS: usize = 1 << 22;

/// How many pictures each shard of a batch has; the last may have fewer.
pub(super) fn shard(config: &Config, batch: usize) -> usize {
    let most = (SHARD_TOKENS / config.context).max(1);
    batch.div_ceil(batch.div_ceil(most).max(1)).max(1)
}

/// How many tokens' logits are computed at once.
pub(super) fn logit_rows(config: &Config) -> usize {
    (LOGITS / config.vocabulary).clamp(16, LOGIT_ROWS)
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
        Self { embedding: Embedding { wte, sos, wpe }, blocks: blocks.collect(), ln_f, head }
    }
}

/// What of a block is kept for the backward pass, for N = B·T tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    /// (N): reciprocal roots of the first norm.
    pub(super) r_1: Span,
    /// (N, 3C): queries, keys, values.
    pub(super) qkv: Span,
    /// (B, H, T): logarithms of attention's denominators.
    pub(super) lse: Span,
    /// (N, C): attention's output.
    pub(super) o: Span,
    /// (N, C): the residual stream between attention and MLP.
    pub(super) mid: Span,
    /// (N): reciprocal roots of the second norm.
    pub(super) r_2: Span,
    /// (N, F): the MLP before its activation; F is 4C, or what the configuration says.
    pub(super) fc: Span,
}

/// What is computed, which decides what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// One block's activations, overwritten by the next: inference.
    Nothing,
    /// The residual stream at each block's start; a block is computed again when its turn comes to go backward.
    Starts,
    /// All that the backward pass needs.
    All,
}

/// The workspace for one shard.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) pictures: usize,
    pub(super) keep: Keep,
    /// The residual stream before each block and after the last, L + 1 of (N, C). Without gradients, two that take
    /// turns.
    pub(super) x: Vec<Span>,
    /// L blocks; without [`Keep::All`], L times the same one.
    pub(super) blocks: Vec<Block>,
    /// (N, C): a norm's output, for a moment.
    pub(super) n: Span,
    /// (N, F): the MLP's activation, for a moment; or (N, 3C): gradients of queries, keys and values.
    pub(super) g: Span,
    /// (N, C): the residual stream's gradient.
    pub(super) dx: Span,
    /// (N, C): a norm's output's gradient, or attention's output's.
    pub(super) dn: Span,
    /// (R, C): rows whose logits are wanted.
    pub(super) picked: Span,
    /// (R): reciprocal roots of the last norm.
    pub(super) r: Span,
    /// (R, C): the last norm's output, and the gradient of it and of the rows.
    pub(super) last: Span,
    pub(super) dlast: Span,
    pub(super) dpicked: Span,
    /// (R, V): their logits.
    pub(super) logits: Span,
    /// (B, C): features of one layer.
    pub(super) mean: Span,
    /// How many numbers all that takes.
    pub(super) len: usize,
}

impl Plan {
    pub(super) fn new(config: &Config, pictures: usize, keep: Keep) -> Self {
        let Config { layers, width: c, heads, context: t, vocabulary: v, .. } = *config;
        let inner = config.inner_width();
        let (n, rows) = (pictures * t, logit_rows(config).min(pictures * t));
        let mut len = 0;
        let mut add = |numbers: usize| {
            let span = Span { arena: Arena::Workspace, start: len, len: numbers };
            // Each begins at a cache line.
            len += numbers.next_multiple_of(16);
            span
        };
        let backward = keep != Keep::Nothing;
        let streams: Vec<Span> = (0..if backward { layers + 1 } else { 2 }).map(|_| add(n * c)).collect();
        let x = (0..=layers).map(|l| streams[l % streams.len()]).collect();
        let own: Vec<Block> = (0..if keep == Keep::All { layers } else { 1 })
            .map(|_| Block {
                r_1: add(n),
                qkv: add(n * 3 * c),
                lse: add(n * heads),
                o: add(n * c),
                mid: add(n * c),
                r_2: add(n),
                fc: add(n * inner),
            })
            .collect();
        let blocks = (0..layers).map(|l| own[l % own.len()]).collect();
        let mut if_backward = |numbers| add(if backward { numbers } else { 0 });
        let (dx, dn) = (if_backward(n * c), if_backward(n * c));
        let (dlast, dpicked) = (if_backward(rows * c), if_backward(rows * c));
        Self {
            pictures,
            keep,
            x,
            blocks,
            n: add(n * c),
            g: add(n * inner.max(3 * c)),
            dx,
            dn,
            picked: add(rows * c),
            r: add(rows),
            last: add(rows * c),
            dlast,
            dpicked,
            logits: add(rows * v),
            mean: add(pictures * c),
            len,
        }
    }
}
