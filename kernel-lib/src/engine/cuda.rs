//! The GPU: kernels in CUDA C++ (`cuda/kernels/`) and cuBLASLt's matrix products, called in the order of the passes.
//!
//! Read it in this order: this file, the [`Backend`] over a device; `cuda/device.rs`, what a device can do;
//! `cuda/kernels/*.cu`, the mathematics; `cuda/gpu.rs`, a device by NVIDIA's libraries, found when the program runs;
//! `cuda/network.rs`, the network that keeps its parameters there.
//!
//! **Precision.** In `F32` everything is. In `Bf16` what goes into products is kept in bf16, copies of the matrices
//! among it; the residual stream, sums, parameters, their gradients and the optimiser stay in `f32`.
//!
//! The residual stream's gradient is bf16, for it is a factor, too.
//!
//! **The same bits always**, on the same kind of GPU with the same libraries: no kernel adds with atomics, and sums have
//! one order. They are not the CPU's bits, and, as cuBLASLt computes products of few rows in another order than those of
//! many, a sample's rounding may depend on how many are drawn together.

mod attention;
mod device;
#[cfg(test)]
mod emulator;
pub(crate) mod gpu;
mod kernels;
mod libraries;
mod network;
mod source;
#[cfg(test)]
mod tests;

pub use device::Time;
pub use network::GpuEngine;

use super::backend::{Arena, Backend, Embedding, Form, Heads, Input, Kind, Product, Span};
use super::inputs::Sorted;
use super::plan::Storage;
use crate::adam::AdamStep;
use crate::{Error, Result};
use attention::{Attention, Pass};
use device::{Address, Argument, Device, Element, Launch, Matmul, Matrix};

/// Rows of which a block adds up an RMSNorm's weight gradients; as `rms_norm.cu` has it.
const NORM_ROWS: usize = 64;
/// Most rows of an embedding's gradient that one block adds up: a colour that is everywhere has thousands.
const SEGMENT: usize = 256;
/// Blocks that add up the squares of all gradients; as `optimizer.cu` has it.
const SQUARE_BLOCKS: usize = 512;

/// A piece of the device's memory that grows to what is needed and stays.
#[derive(Debug, Default, Clone, Copy)]
struct Memory {
    at: Address,
    bytes: usize,
}

/// What pieces there are.
#[derive(Debug, Clone, Copy)]
enum Piece {
    /// θ, its gradient, and Adam's m and v, each `f32` in the layout's order.
    Parameters,
    Gradients,
    Mean,
    Square,
    /// θ in bf16.
    Copies,
    Workspace,
    /// (B·T) tokens going in, and whether each is masked.
    Tokens,
    Masked,
    /// Rows by token, where segments of them begin, which segments are a token's, and the segments' sums.
    Order,
    Segments,
    First,
    Parts,
    /// (R) tokens to be predicted, their weights, their losses.
    Targets,
    Weights,
    Losses,
    /// Rows that are copied.
    Rows,
    /// (B, H, T): Σ o do.
    Delta,
    /// The sum of losses, `f64`.
    Loss,
    /// What changes from step to step: see `adam` in `optimizer.cu`; and the gradients' norm.
    Step,
    Norm,
    Count,
}

/// A device with a network's memory.
struct Cuda {
    device: Box<dyn Device>,
    /// The first error. Nothing happens after it, until someone asks ([`Cuda::check`]).
    failed: Option<Error>,
    rounded: Element,
    tf32: bool,
    pieces: [Memory; Piece::Count as usize],
    sorted: Sorted,
}

/// A slice's bytes.
fn bytes<T: Copy>(numbers: &[T]) -> &[u8] {
    const { assert!(size_of::<T>() == align_of::<T>(), "numbers, without gaps") };
    // SAFETY: primitive numbers have no gaps, and any byte may be read.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

fn bytes_mut(numbers: &mut [f32]) -> &mut [u8] {
    // SAFETY: any four bytes are an f32.
    unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), size_of_val(numbers)) }
}

/// A count of rows, channels or images: a micro-batch has 131,072 rows at most.
fn int(number: usize) -> Argument {
    Argument::Int(i32::try_from(number).unwrap_or(i32::MAX))
}

fn blocks(n: usize, each: usize) -> u32 {
    u32::try_from(n.div_ceil(each)).unwrap_or(u32::MAX)
}

impl Cuda {
    fn new(device: Box<dyn Device>) -> Self {
        Self {
            device,
            failed: None,
            rounded: Element::F32,
            tf32: false,
            pieces: [Memory::default(); Piece::Count as usize],
            sorted: Sorted::default(),
        }
    }

    /// How a workspace is laid out, for micro-batches of about so many tokens.
    fn storage(rounded: Element, micro_batch_tokens: usize) -> Storage {
        Storage {
            exact: 4,
            rounded: rounded.bytes(),
            alignment: 256,
            micro_batch_tokens,
            logit_rows: 1 << 14,
            logits: 1 << 24,
        }
    }

    /// The first error since this was asked last.
    fn check(&mut self) -> Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Does something, unless something failed before.
    fn attempt(&mut self, what: impl FnOnce(&mut dyn Device) -> Result<()>) {
        if self.failed.is_none()
            && let Err(error) = what(self.device.as_mut())
        {
            self.failed = Some(error);
        }
    }

    /// A piece of so many bytes at least, with whatever is in it. What was in a smaller one is gone.
    fn piece(&mut self, piece: Piece, bytes: usize) -> Address {
        let memory = self.pieces[piece as usize];
        if memory.bytes < bytes && self.failed.is_none() {
            if memory.bytes > 0 {
                self.device.free(memory.at);
            }
            self.pieces[piece as usize] = Memory::default();
            match self.device.allocate(bytes) {
                Ok(at) => self.pieces[piece as usize] = Memory { at, bytes },
                Err(error) => self.failed = Some(error),
            }
        }
        self.pieces[piece as usize].at
    }

    /// A piece that holds these numbers.
    fn put<T: Copy>(&mut self, piece: Piece, numbers: &[T]) -> Address {
        let at = self.piece(piece, size_of_val(numbers).max(1));
        self.attempt(|device| device.upload(bytes(numbers), at));
        at
    }

    /// How many bytes of the device's memory it has.
    fn allocated(&self) -> usize {
        self.pieces.iter().map(|memory| memory.bytes).sum()
    }

    fn element(&self, span: Span) -> Element {
        match (span.arena, span.kind) {
            (Arena::Workspace, Kind::Rounded) => self.rounded,
            _ => Element::F32,
        }
    }

    /// Where a span lies.
    fn at(&self, span: Span) -> Argument {
        Argument::At(self.address(span))
    }

    fn address(&self, span: Span) -> Address {
        let piece = match span.arena {
            Arena::Parameters => Piece::Parameters,
            Arena::Gradients => Piece::Gradients,
            Arena::Workspace => Piece::Workspace,
            Arena::Packed => unreachable!("a GPU packs nothing"),
        };
        let (memory, size) = (self.pieces[piece as usize], self.element(span).bytes());
        assert!(
            self.failed.is_some() || (span.start + span.len) * size <= memory.bytes,
            "{span:?} of {} bytes",
            memory.bytes
        );
        memory.at + (span.start * size) as Address
    }

    /// A matrix that is a product's factor: parameters are read from their copies in bf16.
    fn factor(&self, span: Span, transposed: bool) -> Matrix {
        match (span.arena, self.rounded) {
            (Arena::Parameters, Element::Bf16) => {
                let at = self.pieces[Piece::Copies as usize].at + 2 * span.start as Address;
                Matrix { at, element: Element::Bf16, transposed }
            }
            _ => Matrix { at: self.address(span), element: self.element(span), transposed },
        }
    }

    fn launch(&mut self, kernel: &str, grid: [u32; 3], block: [u32; 3], arguments: &[Argument]) {
        self.launch_with(kernel, grid, block, 0, arguments);
    }

    fn launch_with(
        &mut self,
        kernel: &str,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        arguments: &[Argument],
    ) {
        let rounded = self.rounded;
        if grid.contains(&0) {
            return;
        }
        self.attempt(|device| device.launch(&Launch { kernel, rounded, grid, block, shared, arguments }));
    }

    /// A kernel that gives each row to a warp.
    fn rows(&mut self, kernel: &str, rows: usize, arguments: &[Argument]) {
        self.launch(kernel, [blocks(rows, 4), 1, 1], [32, 4, 1], arguments);
    }

    /// A kernel that gives 8 numbers to each thread.
    fn numbers(&mut self, kernel: &str, n: usize, arguments: &[Argument]) {
        self.launch(kernel, [blocks(n, 2048), 1, 1], [256, 1, 1], arguments);
    }

    /// One of attention's kernels: a block for each tile of tokens of each head of each image.
    fn attend(&mut self, pass: Pass, heads: Heads, spans: &[Argument]) {
        let kernel = match Attention::new(pass, heads.width, self.rounded) {
            Ok(kernel) => kernel,
            Err(error) => return self.attempt(|_| Err(error)),
        };
        let grid = [blocks(heads.tokens, kernel.rows), heads.heads as u32, heads.images as u32];
        let shape = [heads.tokens, heads.heads, heads.width, usize::from(heads.causal)].map(int);
        let arguments: Vec<_> = spans.iter().copied().chain(shape).collect();
        self.launch_with(&kernel.name, grid, [128, 1, 1], kernel.shared, &arguments);
    }

    /// Makes copies of n parameters in bf16.
    fn copy_parameters(&mut self, n: usize) {
        let to = self.piece(Piece::Copies, 2 * n);
        let from = self.piece(Piece::Parameters, 4 * n);
        self.numbers("round_to_bf16", n, &[Argument::At(from), Argument::At(to), Argument::Size(n as u64)]);
    }

    /// Prepares a step of Adam: puts what changes from step to step on the device, and with it what gradients are scaled
    /// by so that their norm is `most` at most. Returns the norm that they had.
    fn gradient_norm(&mut self, n: usize, step: &AdamStep, most: Option<f64>) -> Result<f64> {
        let AdamStep { beta_1, beta_2, .. } = *step;
        let correction = |beta: f32| (1.0 / (1.0 - f64::from(beta).powf(step.step as f64))) as f32;
        let changing =
            self.put(Piece::Step, &[step.rate, correction(beta_1), correction(beta_2), step.scale]);
        let gradients = self.piece(Piece::Gradients, 4 * n);
        let parts = self.piece(Piece::Parts, 8 * SQUARE_BLOCKS);
        let norm = self.piece(Piece::Norm, 4);
        let squares = [Argument::At(gradients), Argument::At(parts), Argument::Size(n as u64)];
        self.launch("square_sum", [SQUARE_BLOCKS as u32, 1, 1], [256, 1, 1], &squares);
        let (parts, changing) = (Argument::At(parts), Argument::At(changing));
        // 0 is any norm.
        let most = Argument::Float(most.unwrap_or(0.0) as f32);
        let clip = [parts, int(SQUARE_BLOCKS), changing, Argument::At(norm), most];
        self.launch("clip_scale", [1; 3], [256, 1, 1], &clip);
        let mut found = [0.0];
        self.attempt(|device| device.download(norm, bytes_mut(&mut found)));
        self.check()?;
        Ok(f64::from(found[0]))
    }

    /// Moves parameters by the step of Adam that [`Cuda::gradient_norm`] prepared; `groups` are those that decay and those
    /// that do not. All of it stays on the device.
    fn adam(&mut self, n: usize, groups: &[(std::ops::Range<usize>, bool)], step: &AdamStep) {
        let AdamStep { beta_1, beta_2, epsilon, decay, .. } = *step;
        let changing = self.pieces[Piece::Step as usize].at;
        let [parameters, gradients, mean, square] =
            [Piece::Parameters, Piece::Gradients, Piece::Mean, Piece::Square]
                .map(|piece| self.piece(piece, 4 * n));
        let copies = match self.rounded {
            Element::Bf16 => self.piece(Piece::Copies, 2 * n),
            Element::F32 => 0,
        };
        let whole = [(0..n, false)];
        // Without decay there is but one group.
        let groups = if decay == 0.0 { &whole[..] } else { groups };
        for (range, decays) in groups {
            let at = |from: Address, size: u64| match from {
                0 => Argument::At(0),
                from => Argument::At(from + size * range.start as u64),
            };
            let arguments = [
                at(parameters, 4),
                at(gradients, 4),
                at(mean, 4),
                at(square, 4),
                at(copies, 2),
                Argument::At(changing),
                Argument::Float(beta_1),
                Argument::Float(beta_2),
                Argument::Float(epsilon),
                Argument::Float(if *decays { decay } else { 0.0 }),
                Argument::Size(range.len() as u64),
            ];
            self.launch("adam", [blocks(range.len(), 1024), 1, 1], [256, 1, 1], &arguments);
        }
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        for memory in self.pieces.iter().filter(|memory| memory.bytes > 0) {
            self.device.free(memory.at);
        }
    }
}

impl Backend for Cuda {
    fn embed(&mut self, input: Input<'_>, from: Embedding, x: Span) {
        let c = from.sos.len;
        let (tokens, masked, shifted) = match input {
            Input::Shifted(tokens) => (tokens, None, 1),
            Input::Masked(tokens, masked) => (tokens, masked, 0),
        };
        let tokens = self.put(Piece::Tokens, tokens);
        let masked = masked.map_or(0, |masked| self.put(Piece::Masked, masked));
        let [wte, sos, wpe, x_at] = [from.wte, from.sos, from.wpe, x].map(|span| self.at(span));
        let [rows, t] = [x.len / c, from.wpe.len / c].map(int);
        let (tokens, masked) = (Argument::At(tokens), Argument::At(masked));
        let arguments = [tokens, masked, wte, sos, wpe, x_at, rows, t, int(c), int(shifted)];
        self.rows("embed", x.len / c, &arguments);
    }

    fn embed_backward(&mut self, input: Input<'_>, dx: Span, gradients: Embedding) {
        let c = gradients.sos.len;
        let (t, v, rows) = (gradients.wpe.len / c, gradients.wte.len / c, dx.len / c);
        self.sorted.sort(input, t, rows, v);
        // Where segments begin, and which are the first of each vector.
        let (mut segments, mut first) = (Vec::new(), Vec::with_capacity(v + 2));
        for vector in 0..=v {
            first.push(segments.len() as u32);
            segments.extend(self.sorted.of(vector).step_by(SEGMENT).map(|begin| begin as u32));
        }
        first.push(segments.len() as u32);
        segments.push(self.sorted.rows.len() as u32);
        let count = segments.len() - 1;
        let order = std::mem::take(&mut self.sorted.rows);
        let order_at = Argument::At(self.put(Piece::Order, &order));
        self.sorted.rows = order;
        let segments = Argument::At(self.put(Piece::Segments, &segments));
        let first = Argument::At(self.put(Piece::First, &first));
        let parts = Argument::At(self.piece(Piece::Parts, 4 * (count * c).max(1)));
        let [dx, wte, sos, wpe] = [dx, gradients.wte, gradients.sos, gradients.wpe].map(|span| self.at(span));
        let (strips, block) = (blocks(c, 128), [128, 1, 1]);
        let sum = [dx, order_at, segments, parts, int(c)];
        self.launch("embed_backward_parts", [count as u32, strips, 1], block, &sum);
        let add = [parts, first, wte, sos, int(v), int(c)];
        self.launch("embed_backward_tokens", [v as u32 + 1, strips, 1], block, &add);
        let positions = [dx, wpe, int(rows / t), int(t), int(c)];
        self.launch("embed_backward_positions", [t as u32, strips, 1], block, &positions);
    }

    fn rms_norm(&mut self, x: Span, weight: Span, y: Span, rstd: Span) {
        let [x, weight_at, y, rstd_at] = [x, weight, y, rstd].map(|span| self.at(span));
        self.rows("rms_norm", rstd.len, &[x, weight_at, y, rstd_at, int(rstd.len), int(weight.len)]);
    }

    fn rms_norm_backward(&mut self, dy: Span, x: Span, weight: Span, rstd: Span, dx: Span, dweight: Span) {
        let (rows, c) = (rstd.len, weight.len);
        let count = rows.div_ceil(NORM_ROWS);
        let parts = Argument::At(self.piece(Piece::Parts, 4 * count * c));
        let [dy, x, weight, rstd, dx, dweight] = [dy, x, weight, rstd, dx, dweight].map(|span| self.at(span));
        let arguments = [dy, x, weight, rstd, dx, parts, int(rows), int(c)];
        self.launch("rms_norm_backward", [count as u32, 1, 1], [256, 1, 1], &arguments);
        let sum = [parts, dweight, int(count), int(c)];
        self.launch("sum_parts", [blocks(c, 32), 1, 1], [32, 8, 1], &sum);
    }

    fn matmul(&mut self, product: Product) {
        let Product { form, a, b, c, plus, shape } = product;
        let (left, right) = match form {
            Form::NN => (false, false),
            Form::NT => (false, true),
            Form::TN => (true, false),
            Form::Packed => unreachable!("a GPU packs nothing"),
        };
        let matmul = Matmul {
            a: self.factor(a, left),
            b: self.factor(b, right),
            c: Matrix { at: self.address(c), element: self.element(c), transposed: false },
            plus: plus.map(|plus| self.address(plus)),
            shape,
            tf32: self.tf32,
        };
        self.attempt(|device| device.matmul(&matmul));
    }

    fn gelu(&mut self, x: Span, y: Span) {
        let arguments = [self.at(x), self.at(y), Argument::Size(x.len as u64)];
        self.numbers("gelu", x.len, &arguments);
    }

    fn gelu_backward(&mut self, x: Span, dy: Span) {
        let arguments = [self.at(x), self.at(dy), Argument::Size(x.len as u64)];
        self.numbers("gelu_backward", x.len, &arguments);
    }

    fn attention(&mut self, heads: Heads, qkv: Span, o: Span, lse: Span) {
        let spans = [qkv, o, lse].map(|span| self.at(span));
        self.attend(Pass::Forward, heads, &spans);
    }

    fn attention_backward(&mut self, heads: Heads, qkv: Span, o: Span, lse: Span, d_o: Span, dqkv: Span) {
        let rows = heads.images * heads.heads * heads.tokens;
        let delta = Argument::At(self.piece(Piece::Delta, 4 * rows));
        let [qkv, o, lse, d_o, dqkv] = [qkv, o, lse, d_o, dqkv].map(|span| self.at(span));
        let shape = [heads.images, heads.tokens, heads.heads, heads.width].map(int);
        let [images, t, h, width] = shape;
        // Σ o do, which is Σ p dp                                 (B, H, T)
        let grid = [blocks(rows, 16), 1, 1];
        self.launch("attention_delta", grid, [128, 1, 1], &[o, d_o, delta, images, t, h, width]);
        let spans = [qkv, d_o, lse, delta, dqkv];
        self.attend(Pass::BackwardKv, heads, &spans);
        self.attend(Pass::BackwardQ, heads, &spans);
    }

    fn cross_entropy(&mut self, logits: Span, targets: &[u16], weights: &[f64], gradient: Option<f32>) {
        let rows = targets.len();
        let weights: Vec<f32> = weights.iter().map(|weight| *weight as f32).collect();
        let targets = Argument::At(self.put(Piece::Targets, targets));
        let weights = Argument::At(self.put(Piece::Weights, &weights));
        let losses = Argument::At(self.piece(Piece::Losses, 4 * rows));
        let wanted = [int(usize::from(gradient.is_some())), Argument::Float(gradient.unwrap_or(0.0))];
        let (at, v) = (self.at(logits), int(logits.len / rows));
        let arguments = [at, targets, weights, losses, int(rows), v, wanted[0], wanted[1]];
        self.rows("cross_entropy", rows, &arguments);
        let total = Argument::At(self.piece(Piece::Loss, 8));
        self.launch("sum_losses", [1; 3], [256, 1, 1], &[losses, total, int(rows)]);
    }

    fn clear_loss(&mut self) {
        let total = self.piece(Piece::Loss, 8);
        self.attempt(|device| device.clear(total, 8));
    }

    fn take_loss(&mut self) -> f64 {
        let total = self.piece(Piece::Loss, 8);
        let mut loss = [0; 8];
        self.attempt(|device| {
            device.download(total, &mut loss)?;
            device.clear(total, 8)
        });
        f64::from_le_bytes(loss)
    }

    fn mean_of_rms_norm(&mut self, x: Span, weight: Span, images: usize, y: Span) {
        let (c, t) = (weight.len, x.len / weight.len / images);
        let arguments = [self.at(x), self.at(weight), self.at(y), int(t), int(c)];
        self.launch("mean_of_rms_norm", [images as u32, 1, 1], [256, 1, 1], &arguments);
    }

    fn mean(&mut self, x: Span, images: usize, y: Span) {
        let (c, t) = (y.len / images, x.len / y.len);
        let arguments = [self.at(x), self.at(y), int(t), int(c)];
        self.launch("mean", [images as u32, blocks(c, 32), 1], [32, 8, 1], &arguments);
    }

    fn mean_backward(&mut self, dy: Span, images: usize, dx: Span) {
        let (c, t) = (dy.len / images, dx.len / dy.len);
        let arguments = [self.at(dy), self.at(dx), int(images * t), int(t), int(c)];
        self.rows("mean_backward", images * t, &arguments);
    }

    fn embed_one(&mut self, tokens: Option<&[u16]>, position: usize, from: Embedding, x: Span) {
        let c = from.sos.len;
        let tokens = tokens.map_or(0, |tokens| self.put(Piece::Tokens, tokens));
        let [wte, sos, wpe, x_at] = [from.wte, from.sos, from.wpe, x].map(|span| self.at(span));
        let rows = x.len / c;
        let arguments = [Argument::At(tokens), int(position), wte, sos, wpe, x_at, int(rows), int(c)];
        self.rows("embed_one", rows, &arguments);
    }

    fn attention_one(&mut self, heads: Heads, position: usize, qkv: Span, keys: Span, values: Span, o: Span) {
        let Heads { images, tokens, heads, width, .. } = heads;
        let [qkv, keys, values, o] = [qkv, keys, values, o].map(|span| self.at(span));
        let arguments = [qkv, keys, values, o, int(position), int(tokens), int(heads), int(width)];
        let grid = [heads as u32, images as u32, 1];
        self.launch_with("attention_one", grid, [128, 1, 1], 4 * (tokens as u32 + 256), &arguments);
    }

    fn gather(&mut self, from: Span, rows: &[u32], to: Span) {
        let at = Argument::At(self.put(Piece::Rows, rows));
        let arguments = [self.at(from), at, self.at(to), int(rows.len()), int(to.len / rows.len())];
        self.rows("gather", rows.len(), &arguments);
    }

    fn scatter(&mut self, from: Span, rows: &[u32], to: Span) {
        let at = Argument::At(self.put(Piece::Rows, rows));
        let arguments = [self.at(from), at, self.at(to), int(rows.len()), int(from.len / rows.len())];
        self.rows("scatter", rows.len(), &arguments);
    }

    fn clear(&mut self, span: Span) {
        let (at, bytes) = (self.address(span), span.len * self.element(span).bytes());
        self.attempt(|device| device.clear(at, bytes));
    }

    fn read(&mut self, span: Span, to: &mut [f32]) {
        assert_eq!(span.len, to.len());
        let at = self.address(span);
        match self.element(span) {
            Element::F32 => self.attempt(|device| device.download(at, bytes_mut(to))),
            Element::Bf16 => {
                let mut halves = vec![0; 2 * to.len()];
                self.attempt(|device| device.download(at, &mut halves));
                for (to, half) in to.iter_mut().zip(halves.chunks_exact(2)) {
                    *to = f32::from_bits(u32::from(u16::from_le_bytes([half[0], half[1]])) << 16);
                }
            }
        }
    }
}
