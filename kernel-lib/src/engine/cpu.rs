//! The CPU: rayon's threads, and kernels in AVX-512, AVX2 or plain Rust (`cpu/`), chosen when the program runs.

mod attention;
mod cross_entropy;
mod embedding;
mod gelu;
mod gemm;
mod mean;
mod microkernel;
mod pack;
mod rms_norm;

use super::backend::{Arena, Backend, Embedding, Heads, Input, Product, Span};
use super::inputs::{Sorted, Source, source};
use crate::model::Precision;
use crate::parallel::{Shared, Team, with_scratch};
use crate::simd::{Isa, Scalar};
use pack::{Bf16, Exact, Matrix};
use std::marker::PhantomData;

/// Rows of one task of a kernel that works row by row; also rows whose weight gradients are added before they are added
/// to the others', so it is part of the result's bits.
const ROWS: usize = 64;

/// Memory that the CPU's kernels need for themselves. It grows to what is needed and stays.
#[derive(Debug, Default)]
pub(super) struct Extra<S> {
    /// The right factor of a product, packed.
    packed: Vec<S>,
    /// Gradients of RMSNorm's weight of each [`ROWS`] rows.
    partial: Vec<S>,
    /// Losses of rows.
    losses: Vec<f64>,
    /// Rows by token.
    sorted: Sorted,
}

/// How many numbers [`Extra`] has for products with matrices of this many numbers, and this many rows of width c.
pub(super) fn extra_len(largest_matrix: usize, rows: usize, c: usize) -> usize {
    largest_matrix + (rows.div_ceil(ROWS) + 1) * c
}

/// The CPU with the memory of one call.
pub(super) struct Cpu<'a, S> {
    isa: Isa,
    precision: Precision,
    team: Team,
    parameters: &'a [S],
    packed: &'a [S],
    gradients: (*mut S, usize),
    workspace: (*mut S, usize),
    extra: &'a mut Extra<S>,
    loss: f64,
    own: PhantomData<&'a mut [S]>,
}

impl<'a, S: Scalar> Cpu<'a, S> {
    /// The CPU, with this memory in its arenas.
    pub(super) fn new(
        isa: Isa,
        parameters: &'a [S],
        gradients: &'a mut [S],
        workspace: &'a mut [S],
        extra: &'a mut Extra<S>,
    ) -> Self {
        Self {
            isa,
            precision: Precision::F32,
            team: Team::all(),
            parameters,
            packed: &[],
            gradients: (gradients.as_mut_ptr(), gradients.len()),
            workspace: (workspace.as_mut_ptr(), workspace.len()),
            extra,
            loss: 0.0,
            own: PhantomData,
        }
    }

    /// The same with factors of products in this precision, but for those that were packed before.
    pub(super) fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The same with packed matrices ([`pack`]), for sampling; `alone` if other threads do the like.
    pub(super) fn with_packed(self, packed: &'a [S], alone: bool) -> Self {
        Self { packed, team: if alone { Team::alone() } else { self.team }, ..self }
    }

    fn pointer(&self, span: Span) -> *mut S {
        let (at, len) = match span.arena {
            Arena::Parameters => (self.parameters.as_ptr().cast_mut(), self.parameters.len()),
            Arena::Packed => (self.packed.as_ptr().cast_mut(), self.packed.len()),
            Arena::Gradients => self.gradients,
            Arena::Workspace => self.workspace,
        };
        assert!(span.start <= len && span.len <= len - span.start, "{span:?} of {len}");
        at.wrapping_add(span.start)
    }

    /// The numbers of a span.
    ///
    /// # Safety
    /// Nobody writes to it meanwhile: see [`apart`].
    unsafe fn get<'b>(&self, span: Span) -> &'b [S] {
        // SAFETY: `pointer` checks that it lies in its arena, which lives as long as a kernel call at least.
        unsafe { std::slice::from_raw_parts(self.pointer(span), span.len) }
    }

    /// The numbers of a span, to be written.
    ///
    /// # Safety
    /// Nobody else uses it meanwhile: see [`apart`].
    unsafe fn get_mut<'b>(&self, span: Span) -> &'b mut [S] {
        assert!(!matches!(span.arena, Arena::Parameters | Arena::Packed), "parameters are only read");
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(span), span.len) }
    }
}

/// Checks that what is written overlaps nothing else that is used. All kernels do, before they make slices.
fn apart(written: &[Span], read: &[Span]) {
    for (i, a) in written.iter().enumerate() {
        for b in written[i + 1..].iter().chain(read) {
            let overlap = a.arena == b.arena && a.start < b.start + b.len && b.start < a.start + a.len;
            assert!(!overlap || a.len == 0 || b.len == 0, "{a:?} overlaps {b:?}");
        }
    }
}

impl<S: Scalar> Backend for Cpu<'_, S> {
    fn embed(&mut self, input: Input<'_>, from: Embedding, x: Span) {
        apart(&[x], &[]);
        // SAFETY: apart.
        let (wte, sos, wpe) = unsafe { (self.get(from.wte), self.get(from.sos), self.get(from.wpe)) };
        let (c, rows) = (sos.len(), x.len / sos.len());
        let t = wpe.len() / c;
        let x = Shared(self.pointer(x));
        self.team.share(rows.div_ceil(ROWS), |task| {
            for i in task * ROWS..((task + 1) * ROWS).min(rows) {
                // SAFETY: each row is written once.
                let x = unsafe { x.part(i * c, c) };
                x.copy_from_slice(&wpe[i % t * c..][..c]);
                let vector = match source(input, t, i) {
                    Source::Sos => sos,
                    Source::Token(token) => &wte[usize::from(token) * c..][..c],
                    Source::Nothing => continue,
                };
                x.iter_mut().zip(vector).for_each(|(x, vector)| *x += *vector);
            }
        });
    }

    fn embed_backward(&mut self, input: Input<'_>, dx: Span, gradients: Embedding) {
        apart(&[gradients.wte, gradients.sos, gradients.wpe], &[dx]);
        let (c, t) = (gradients.sos.len, gradients.wpe.len / gradients.sos.len);
        let (rows, tokens) = (dx.len / c, gradients.wte.len / c);
        // SAFETY: apart.
        let dx = unsafe { self.get(dx) };
        let [wte, sos, wpe] =
            [gradients.wte, gradients.sos, gradients.wpe].map(|span| Shared(self.pointer(span)));
        let sorted = &mut self.extra.sorted;
        sorted.sort(input, t, rows, tokens);
        let sorted = &*sorted;
        let isa = self.isa;
        self.team.share(c.div_ceil(embedding::CHANNELS), |task| {
            let channel = task * embedding::CHANNELS;
            let width = embedding::CHANNELS.min(c - channel);
            let sum = |rows: &[u32], to: *mut S| {
                let to = to.wrapping_add(channel);
                S::run(isa, embedding::SumRows { dx, c, rows, channel, width, to });
            };
            for token in 0..=tokens {
                let of_token = &sorted.rows[sorted.of(token)];
                if !of_token.is_empty() {
                    sum(of_token, if token < tokens { wte.get().wrapping_add(token * c) } else { sos.get() });
                }
            }
            for position in 0..t {
                let to = wpe.get().wrapping_add(position * c);
                let mut at = [0; 64];
                for first in (position..rows).step_by(at.len() * t) {
                    let count = (rows - first).div_ceil(t).min(at.len());
                    at.iter_mut().enumerate().for_each(|(i, row)| *row = (first + i * t) as u32);
                    sum(&at[..count], to);
                }
            }
        });
    }

    fn rms_norm(&mut self, x: Span, weight: Span, y: Span, rstd: Span) {
        apart(&[y, rstd], &[x, weight]);
        // SAFETY: apart.
        let (x, weight) = unsafe { (self.get(x), self.get(weight)) };
        let (c, rows) = (weight.len(), rstd.len);
        assert!(x.len() == rows * c && y.len == rows * c);
        let (y, rstd) = (Shared(self.pointer(y)), Shared(self.pointer(rstd)));
        let isa = self.isa;
        self.team.share(rows.div_ceil(ROWS), |task| {
            let (i, n) = (task * ROWS, ROWS.min(rows - task * ROWS));
            // SAFETY: each row is written once.
            let (y, rstd) = unsafe { (y.part(i * c, n * c), rstd.part(i, n)) };
            S::run(isa, rms_norm::Forward { x: &x[i * c..][..n * c], weight, y, rstd });
        });
    }

    fn rms_norm_backward(&mut self, dy: Span, x: Span, weight: Span, rstd: Span, dx: Span, dweight: Span) {
        apart(&[dx, dweight], &[dy, x, weight, rstd]);
        // SAFETY: apart.
        let ([dy, x, weight, rstd], dweight) =
            unsafe { ([dy, x, weight, rstd].map(|span| self.get(span)), self.get_mut(dweight)) };
        let (c, rows) = (weight.len(), rstd.len());
        assert!(dy.len() == rows * c && x.len() == rows * c && dx.len == rows * c && dweight.len() == c);
        let (isa, dx) = (self.isa, Shared(self.pointer(dx)));
        let parts = rows.div_ceil(ROWS);
        let (sum, partial) = grown(&mut self.extra.partial, (parts + 1) * c).split_at_mut(c);
        let sums = Shared(partial.as_mut_ptr());
        self.team.share(parts, |task| {
            let (i, n) = (task * ROWS, ROWS.min(rows - task * ROWS));
            // SAFETY: each row is written once, and each task has its own sums.
            let (dx, dweight) = unsafe { (dx.part(i * c, n * c), sums.part(task * c, c)) };
            let (dy, x) = (&dy[i * c..][..n * c], &x[i * c..][..n * c]);
            S::run(isa, rms_norm::Backward { dy, x, weight, rstd: &rstd[i..][..n], dx, dweight });
        });
        sum.fill(S::ZERO);
        for part in partial.chunks_exact(c) {
            sum.iter_mut().zip(part).for_each(|(sum, x)| *sum += *x);
        }
        dweight.iter_mut().zip(sum).for_each(|(to, sum)| *to += *sum);
    }

    fn matmul(&mut self, product: Product) {
        match self.precision {
            Precision::F32 | Precision::Tf32 => self.product::<Exact>(product),
            Precision::Bf16 => self.product::<Bf16>(product),
        }
    }

    fn gelu(&mut self, x: Span, y: Span) {
        apart(&[y], &[x]);
        assert_eq!(x.len, y.len);
        // SAFETY: apart.
        let x = unsafe { self.get(x) };
        let (isa, y) = (self.isa, Shared(self.pointer(y)));
        self.team.share(x.len().div_ceil(NUMBERS), |task| {
            let (i, n) = (task * NUMBERS, NUMBERS.min(x.len() - task * NUMBERS));
            // SAFETY: each number is written once.
            S::run(isa, gelu::Forward { x: &x[i..][..n], y: unsafe { y.part(i, n) } });
        });
    }

    fn gelu_backward(&mut self, x: Span, dy: Span) {
        apart(&[x, dy], &[]);
        assert_eq!(x.len, dy.len);
        let (isa, len) = (self.isa, x.len);
        let (x, dy) = (Shared(self.pointer(x)), Shared(self.pointer(dy)));
        self.team.share(len.div_ceil(NUMBERS), |task| {
            let (i, n) = (task * NUMBERS, NUMBERS.min(len - task * NUMBERS));
            // SAFETY: each number is written once.
            let (x, dy) = unsafe { (x.part(i, n), dy.part(i, n)) };
            S::run(isa, gelu::Backward { x, dy });
        });
    }

    fn attention(&mut self, heads: Heads, qkv: Span, o: Span, lse: Span) {
        match self.precision {
            Precision::F32 | Precision::Tf32 => self.attend::<Exact>(heads, qkv, o, lse),
            Precision::Bf16 => self.attend::<Bf16>(heads, qkv, o, lse),
        }
    }

    fn attention_backward(&mut self, heads: Heads, qkv: Span, o: Span, lse: Span, d_o: Span, dqkv: Span) {
        match self.precision {
            Precision::F32 | Precision::Tf32 => self.attend_backward::<Exact>(heads, qkv, o, lse, d_o, dqkv),
            Precision::Bf16 => self.attend_backward::<Bf16>(heads, qkv, o, lse, d_o, dqkv),
        }
    }

    fn cross_entropy(&mut self, logits: Span, targets: &[u16], weights: &[f64], gradient: Option<f32>) {
        let rows = targets.len();
        assert!(weights.len() == rows && logits.len.is_multiple_of(rows));
        apart(&[logits], &[]);
        let (v, isa, logits) = (logits.len / rows, self.isa, Shared(self.pointer(logits)));
        let losses = grown(&mut self.extra.losses, rows);
        let each = (NUMBERS / v).max(1);
        let to = Shared(losses.as_mut_ptr());
        self.team.share(rows.div_ceil(each), |task| {
            let (i, n) = (task * each, each.min(rows - task * each));
            // SAFETY: each row is written once.
            let (logits, losses) = unsafe { (logits.part(i * v, n * v), to.part(i, n)) };
            let (targets, weights) = (&targets[i..][..n], &weights[i..][..n]);
            S::run(isa, cross_entropy::Rows { logits, targets, weights, gradient, losses });
        });
        self.loss += losses.iter().zip(weights).map(|(loss, weight)| loss * weight).sum::<f64>();
    }

    fn clear_loss(&mut self) {
        self.loss = 0.0;
    }

    fn take_loss(&mut self) -> f64 {
        std::mem::take(&mut self.loss)
    }

    fn mean_of_rms_norm(&mut self, x: Span, weight: Span, images: usize, y: Span) {
        apart(&[y], &[x, weight]);
        // SAFETY: apart.
        let (x, weight) = unsafe { (self.get(x), self.get(weight)) };
        let (c, isa) = (weight.len(), self.isa);
        let each = x.len() / images;
        assert!(y.len == images * c && each.is_multiple_of(c));
        let y = Shared(self.pointer(y));
        self.team.share(images, |image| {
            // SAFETY: each image's is written once.
            let (x, y) = (&x[image * each..][..each], unsafe { y.part(image * c, c) });
            with_scratch(c, |sum| S::run(isa, rms_norm::Mean { x, weight, y, sum }));
        });
    }

    fn mean(&mut self, x: Span, images: usize, y: Span) {
        apart(&[y], &[x]);
        // SAFETY: apart.
        let x = unsafe { self.get(x) };
        let (each, c, isa) = (x.len() / images, y.len / images, self.isa);
        assert!(each * images == x.len() && c * images == y.len && each.is_multiple_of(c));
        let y = Shared(self.pointer(y));
        self.team.share(images, |image| {
            // SAFETY: each image's is written once.
            S::run(isa, mean::Forward { x: &x[image * each..][..each], y: unsafe { y.part(image * c, c) } });
        });
    }

    fn mean_backward(&mut self, dy: Span, images: usize, dx: Span) {
        apart(&[dx], &[dy]);
        // SAFETY: apart.
        let dy = unsafe { self.get(dy) };
        let (each, c, isa) = (dx.len / images, dy.len() / images, self.isa);
        assert!(each * images == dx.len && c * images == dy.len() && each.is_multiple_of(c));
        let dx = Shared(self.pointer(dx));
        self.team.share(images, |image| {
            // SAFETY: each image's is written once.
            S::run(
                isa,
                mean::Backward { dy: &dy[image * c..][..c], dx: unsafe { dx.part(image * each, each) } },
            );
        });
    }

    fn embed_one(&mut self, tokens: Option<&[u16]>, position: usize, from: Embedding, x: Span) {
        apart(&[x], &[]);
        // SAFETY: apart.
        let (wte, sos, wpe) = unsafe { (self.get(from.wte), self.get(from.sos), self.get(from.wpe)) };
        // SAFETY: the same.
        let x = unsafe { self.get_mut(x) };
        let c = sos.len();
        for (i, x) in x.chunks_exact_mut(c).enumerate() {
            let vector = tokens.map_or(sos, |tokens| &wte[usize::from(tokens[i]) * c..][..c]);
            let sum = wpe[position * c..][..c].iter().zip(vector);
            x.iter_mut().zip(sum).for_each(|(x, (position, vector))| *x = *position + *vector);
        }
    }

    fn attention_one(&mut self, heads: Heads, position: usize, qkv: Span, keys: Span, values: Span, o: Span) {
        apart(&[keys, values, o], &[qkv]);
        let Heads { images, tokens, heads: count, width, .. } = heads;
        let (c, [k_len, v_len]) = (count * width, cache_len(tokens, width));
        assert!(qkv.len == images * 3 * c && o.len == images * c && position < tokens);
        assert!(keys.len == images * count * k_len && values.len == images * count * v_len);
        let all = Shared([qkv, keys, values, o].map(|span| self.pointer(span)));
        let isa = self.isa;
        self.team.share(images * count, |task| {
            let (image, head) = (task / count, task % count);
            let [qkv, k, v, o] = all.get();
            let q = qkv.wrapping_add(3 * image * c + head * width).cast_const();
            with_scratch(attention::STEP_SCRATCH, |scratch| {
                let kernel = attention::Step {
                    q,
                    new_k: q.wrapping_add(c),
                    new_v: q.wrapping_add(2 * c),
                    k: k.wrapping_add(task * k_len),
                    v: v.wrapping_add(task * v_len),
                    tokens,
                    width,
                    position,
                    o: o.wrapping_add(image * c + head * width),
                    scratch: scratch.as_mut_ptr(),
                };
                S::run(isa, kernel);
            });
        });
    }

    fn gather(&mut self, from: Span, rows: &[u32], to: Span) {
        apart(&[to], &[from]);
        // SAFETY: apart.
        let (from, to) = unsafe { (self.get(from), self.get_mut(to)) };
        let c = to.len() / rows.len();
        to.chunks_exact_mut(c).zip(rows).for_each(|(to, row)| {
            to.copy_from_slice(&from[*row as usize * c..][..c]);
        });
    }

    fn scatter(&mut self, from: Span, rows: &[u32], to: Span) {
        apart(&[to], &[from]);
        // SAFETY: apart.
        let (from, to) = unsafe { (self.get(from), self.get_mut(to)) };
        let c = from.len() / rows.len();
        from.chunks_exact(c).zip(rows).for_each(|(from, row)| {
            to[*row as usize * c..][..c].copy_from_slice(from);
        });
    }

    fn clear(&mut self, span: Span) {
        apart(&[span], &[]);
        // SAFETY: apart.
        unsafe { self.get_mut(span) }.fill(S::ZERO);
    }

    fn read(&mut self, span: Span, to: &mut [f32]) {
        // SAFETY: nothing writes meanwhile.
        let from = unsafe { self.get(span) };
        to.iter_mut().zip(from).for_each(|(to, from)| *to = from.to_f64() as f32);
    }
}

/// How many numbers the cached keys, and values, of one head of one image take.
pub(super) fn cache_len(tokens: usize, width: usize) -> [usize; 2] {
    [pack::packed_len(width, tokens), pack::packed_len(tokens, width)]
}

/// The results of tasks 0..n, which all threads share, in order.
pub(super) fn share<T: Send>(n: usize, task: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
    use rayon::prelude::*;
    if n == 1 { vec![task(0)] } else { (0..n).into_par_iter().with_max_len(1).map(task).collect() }
}

/// How many numbers a packed (k, n) matrix takes.
pub(super) fn packed_len(k: usize, n: usize) -> usize {
    pack::packed_len(k, n)
}

/// Packs a (k, n) matrix, or the transpose of an (n, k) one, for [`Form::Packed`].
pub(super) fn pack<S: Scalar>(isa: Isa, from: &[S], [k, n]: [usize; 2], transposed: bool, to: &mut [S]) {
    assert_eq!(from.len(), k * n);
    let at = from.as_ptr();
    let matrix = if transposed { Matrix { at, row: 1, column: k } } else { Matrix { at, row: n, column: 1 } };
    // SAFETY: the sizes were checked.
    unsafe { gemm::pack::<S, Exact>(isa, Team::all(), matrix, k, n, to) };
}

/// Numbers of one task of a kernel that works number by number.
const NUMBERS: usize = 1 << 14;

/// The first `len` numbers of a buffer, which grows if it is too short.
fn grown<T: Copy + Default>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::default());
    }
    &mut buffer[..len]
}
