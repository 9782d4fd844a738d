//! Drawing pictures token by token (section 3.6 of the paper shows some). A step computes one token of each sequence;
//! keys and values of those before it are cached, as the kernels want them, and so are the packed matrices.
//!
//! A step is `forward.rs` for one position. Because a row's bits depend on nothing but the row, its logits have the bits
//! that a forward pass over the whole picture gives, whatever the batch.

use super::backend::{Arena, Backend, Form, Heads, Product, Span};
use super::cpu::{Cpu, Extra, Isa, cache_len, pack, packed_len, share};
use super::plan::Weights;
use crate::model::Config;

/// Most sequences that go through a step together: two tiles of the matmul's 12 rows.
const GROUP: usize = 24;
/// From this width on, a single group's kernels are worth sharing among threads.
const WIDE: usize = 512;

/// The network's matrices, packed.
struct Packed {
    values: Vec<f32>,
    /// c_attn, attn.c_proj, c_fc, mlp.c_proj of each block.
    blocks: Vec<[Span; 4]>,
    /// headᵀ.
    head: Span,
}

impl Packed {
    fn new(config: &Config, isa: Isa, weights: &Weights, parameters: &[f32]) -> Self {
        let (c, v, inner) = (config.width, config.vocabulary, config.inner_width());
        let mut values = Vec::new();
        let mut add = |from: Span, [k, n]: [usize; 2], transposed| {
            let start = values.len();
            values.resize(start + packed_len(k, n), 0.0);
            let from = &parameters[from.start..from.start + from.len];
            pack(isa, from, [k, n], transposed, &mut values[start..]);
            Span { arena: Arena::Packed, start, len: packed_len(k, n) }
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
        Self { values, blocks, head }
    }
}

/// Where a group's activations lie, for R sequences.
struct Places {
    /// (R, C): the residual stream, before and after a half of a block; a norm's output; attention's output.
    x: Span,
    mid: Span,
    n: Span,
    o: Span,
    /// (R)
    r: Span,
    /// (R, 3C), (R, F), (R, F), (R, V)
    qkv: Span,
    fc: Span,
    g: Span,
    logits: Span,
    /// Keys and values of each block: (R, H, packed).
    caches: Vec<[Span; 2]>,
    len: usize,
}

impl Places {
    fn new(config: &Config, rows: usize) -> Self {
        let Config { layers, width: c, heads, context, vocabulary: v, .. } = *config;
        let inner = config.inner_width();
        let mut len = 0;
        let mut add = |numbers: usize| {
            let span = Span { arena: Arena::Workspace, start: len, len: rows * numbers };
            len += (rows * numbers).next_multiple_of(16);
            span
        };
        let cache = cache_len(context, config.head_width());
        let [x, mid, n, o] = [(); 4].map(|()| add(c));
        let [r, qkv, fc, g, logits] = [1, 3 * c, inner, inner, v].map(&mut add);
        let caches = (0..layers).map(|_| cache.map(|len| add(heads * len))).collect();
        Self { x, mid, n, o, r, qkv, fc, g, logits, caches, len }
    }
}

/// Completes sequences, (count, t) → (count, T): see `Network::complete`. None if someone asked to stop.
pub(super) fn complete(
    config: &Config,
    isa: Isa,
    weights: &Weights,
    parameters: &[f32],
    beginnings: &[u16],
    count: usize,
    draw: &(dyn Fn(&[f32], usize, usize) -> u16 + Sync),
) -> Option<Vec<u16>> {
    let (t, given) = (config.context, beginnings.len() / count);
    let packed = Packed::new(config, isa, weights, parameters);
    let each = count.div_ceil(rayon::current_num_threads()).min(GROUP);
    let groups = count.div_ceil(each);
    let alone = groups > 1 || config.width < WIDE;
    let groups = share(groups, |group| {
        let sequences = group * each..((group + 1) * each).min(count);
        let places = Places::new(config, sequences.len());
        let (mut workspace, mut extra) = (vec![0.0; places.len], Extra::default());
        let mut machine =
            Cpu::new(isa, parameters, &mut [], &mut workspace, &mut extra).with_packed(&packed.values, alone);
        let mut step = Step { machine: &mut machine, config, weights, packed: &packed, places: &places };
        let mut tokens = vec![0; sequences.len() * t];
        let mut before: Option<Vec<u16>> = None;
        let mut logits = vec![0.0; config.vocabulary];
        for place in 0..t {
            if crate::stop::requested() {
                return None;
            }
            step.forward(before.as_deref(), place);
            if place >= given {
                step.logits();
            }
            let now = sequences.clone().enumerate().map(|(row, sequence)| {
                if place < given {
                    beginnings[sequence * given + place]
                } else {
                    step.read_logits(row, &mut logits);
                    draw(&logits, sequence, place)
                }
            });
            let now: Vec<u16> = now.collect();
            now.iter().enumerate().for_each(|(row, token)| tokens[row * t + place] = *token);
            before = Some(now);
        }
        Some(tokens)
    });
    groups.into_iter().collect::<Option<Vec<_>>>().map(|groups| groups.concat())
}

/// One token of each of a group's sequences.
struct Step<'a> {
    machine: &'a mut dyn Backend,
    config: &'a Config,
    weights: &'a Weights,
    packed: &'a Packed,
    places: &'a Places,
}

impl Step<'_> {
    /// y = plus + x W, (R, k) → (R, n).
    fn linear(&mut self, x: Span, packed: Span, y: Span, plus: Option<Span>) {
        let rows = self.places.r.len;
        let shape = [rows, y.len / rows, x.len / rows];
        self.machine.matmul(Product { form: Form::Packed, a: x, b: packed, c: y, plus, shape });
    }

    /// The residual stream at `place` after all blocks, for the tokens before it.
    fn forward(&mut self, before: Option<&[u16]>, place: usize) {
        let Config { layers, heads, context: tokens, .. } = *self.config;
        let Places { x, mid, n, o, r, qkv, fc, g, .. } = *self.places;
        let heads = Heads { pictures: r.len, tokens, heads, width: self.config.head_width(), causal: true };
        self.machine.embed_one(before, place, self.weights.embedding, x);
        for l in 0..layers {
            let (w, [c_attn, attn_c_proj, c_fc, mlp_c_proj]) =
                (self.weights.blocks[l], self.packed.blocks[l]);
            let [keys, values] = self.places.caches[l];
            self.machine.norm(x, w.ln_1, n, r);
            self.linear(n, c_attn, qkv, None);
            self.machine.attention_one(heads, place, qkv, keys, values, o);
            self.linear(o, attn_c_proj, mid, Some(x));
            self.machine.norm(mid, w.ln_2, n, r);
            self.linear(n, c_fc, fc, None);
            self.machine.gelu(fc, g);
            self.linear(g, mlp_c_proj, x, Some(mid));
        }
    }

    /// Logits of what comes at this place.
    fn logits(&mut self) {
        let Places { x, n, r, logits, .. } = *self.places;
        self.machine.norm(x, self.weights.ln_f, n, r);
        self.linear(n, self.packed.head, logits, None);
    }

    fn read_logits(&self, row: usize, to: &mut [f32]) {
        let v = to.len();
        self.machine.read(self.places.logits.part(row * v..(row + 1) * v), to);
    }
}
