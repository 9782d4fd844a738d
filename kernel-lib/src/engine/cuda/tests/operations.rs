//! Each operation of the backend against the CPU's, on random numbers of random shapes.

use super::super::device::{Device, Element};
use super::super::{Cuda, Piece, bytes};
use super::distance;
use crate::engine::backend::{Backend, Embedding, Form, Heads, Input, Kind, Product, Span};
use crate::engine::cpu::{Cpu, Extra, cache_len};
use crate::engine::plan::{Room, Storage};
use crate::rng::Rng;
use crate::simd::Isa;
use Kind::{Exact, Rounded};

/// Both machines with the same random parameters and workspaces of the same spans.
struct Both {
    gpu: Cuda,
    rounded: Element,
    rng: Rng,
    parameters: Vec<f32>,
}

/// What an operation left in each span, and in the gradients, by the CPU and by the GPU.
type Left = [Vec<Vec<f32>>; 2];

impl Both {
    fn new(device: Box<dyn Device>, rounded: Element, seed: u64, parameters: usize) -> Self {
        let mut rng = Rng::keyed(seed, "operations", [0, 0]);
        let mut gpu = Cuda::new(device);
        gpu.rounded = rounded;
        // The copies in bf16 have the same values.
        let parameters: Vec<f32> = (0..parameters).map(|_| round(rng.normal() as f32, rounded)).collect();
        gpu.put(Piece::Parameters, &parameters);
        if rounded == Element::Bf16 {
            gpu.copy_parameters(parameters.len());
        }
        Self { gpu, rounded, rng, parameters }
    }

    /// Does something with spans of these sizes, full of random numbers, on both.
    fn left(&mut self, spans: &[(Kind, usize)], mut work: impl FnMut(&mut dyn Backend, &[Span])) -> Left {
        let lay = |storage| {
            let mut room = Room::new(storage);
            let laid: Vec<Span> = spans.iter().map(|(kind, len)| room.add(*kind, *len)).collect();
            (laid, room.len)
        };
        let (on_cpu, cpu_len) = lay(Storage::CPU);
        let (on_gpu, gpu_len) = lay(Cuda::storage(self.rounded, 1));
        let mut workspace = vec![0.0; cpu_len];
        let base = self.gpu.piece(Piece::Workspace, gpu_len);
        for (cpu, gpu) in on_cpu.iter().zip(&on_gpu) {
            let rounded = if gpu.kind == Rounded { self.rounded } else { Element::F32 };
            let values: Vec<f32> = (0..cpu.len).map(|_| round(self.rng.normal() as f32, rounded)).collect();
            workspace[cpu.start..cpu.start + cpu.len].copy_from_slice(&values);
            let halves: Vec<u16> = values.iter().map(|x| (x.to_bits() >> 16) as u16).collect();
            let at = base + (gpu.start * rounded.bytes()) as u64;
            let bytes = if rounded == Element::Bf16 { bytes(&halves) } else { bytes(&values) };
            self.gpu.attempt(|device| device.upload(bytes, at));
        }
        let n = self.parameters.len();
        let start: Vec<f32> = (0..n).map(|_| self.rng.normal() as f32).collect();
        let gradients_at = self.gpu.put(Piece::Gradients, &start);
        let mut gradients = start;
        let mut extra = Extra::default();
        let mut cpu = Cpu::new(Isa::best(), &self.parameters, &mut gradients, &mut workspace, &mut extra);
        work(&mut cpu, &on_cpu);
        let read = |machine: &mut dyn Backend, spans: &[Span]| -> Vec<Vec<f32>> {
            let of = spans.iter().map(|span| {
                let mut values = vec![0.0; span.len];
                machine.read(*span, &mut values);
                values
            });
            of.collect()
        };
        let mut by_cpu = read(&mut cpu, &on_cpu);
        by_cpu.push(gradients);
        work(&mut self.gpu, &on_gpu);
        let mut by_gpu = read(&mut self.gpu, &on_gpu);
        let mut gradients = vec![0.0; n];
        self.gpu.attempt(|device| device.download(gradients_at, super::super::bytes_mut(&mut gradients)));
        by_gpu.push(gradients);
        self.gpu.check().unwrap();
        [by_cpu, by_gpu]
    }

    /// Does it, and checks that both left the same, but for rounding.
    fn check(&mut self, name: &str, spans: &[(Kind, usize)], work: impl FnMut(&mut dyn Backend, &[Span])) {
        let [by_cpu, by_gpu] = self.left(spans, work);
        let bound = self.bound();
        for (i, (cpu, gpu)) in by_cpu.iter().zip(&by_gpu).enumerate() {
            let error = distance(gpu, cpu);
            assert!(error < bound, "{name}, span {i} of {spans:?}: {error:e}");
        }
    }

    /// In bf16 numbers are rounded to 8 bits as they are kept, and probabilities before they are multiplied by values.
    fn bound(&self) -> f64 {
        match self.rounded {
            Element::F32 => 1e-5,
            Element::Bf16 => 1.2e-2,
        }
    }
}

fn round(x: f32, rounded: Element) -> f32 {
    match rounded {
        Element::F32 => x,
        Element::Bf16 => half::bf16::from_f32(x).to_f32(),
    }
}

fn parameter(start: usize, len: usize) -> Span {
    Span::parameter(&(start..start + len))
}

/// A device for each test, by seed.
type New = fn(u64) -> Box<dyn Device>;

/// Random shapes for each of both ways to keep numbers.
fn shapes(new: New, seed: u64, parameters: usize, mut each: impl FnMut(&mut Both, &mut Rng)) {
    for rounded in [Element::F32, Element::Bf16] {
        for case in 0..3 {
            let mut both = Both::new(new(case), rounded, seed + case, parameters);
            let mut rng = Rng::keyed(seed, "shapes", [case, 0]);
            each(&mut both, &mut rng);
        }
    }
}

/// A number from 1 to `most`, often a multiple of 8.
fn size(rng: &mut Rng, most: usize) -> usize {
    match rng.below(2) {
        0 => 8 * (1 + rng.below(most.div_ceil(8))),
        _ => 1 + rng.below(most),
    }
}

pub(super) fn norms(new: New) {
    shapes(new, 10, 300, |both, rng| {
        let (rows, c) = (size(rng, 150), size(rng, 300).min(300));
        let weight = parameter(0, c);
        let spans = [(Exact, rows * c), (Rounded, rows * c), (Exact, rows)];
        both.check("RMSNorm", &spans, |machine, s| machine.rms_norm(s[0], weight, s[1], s[2]));
        let spans =
            [(Exact, rows * c), (Rounded, rows * c), (Exact, rows), (Rounded, rows * c), (Rounded, rows * c)];
        both.check("RMSNorm backward", &spans, |machine, s| {
            machine.rms_norm(s[0], weight, s[1], s[2]);
            machine.rms_norm_backward(s[3], s[0], weight, s[2], s[4], weight.gradient());
        });
        let images = 1 + rng.below(3);
        let spans = [(Exact, images * rows * c), (Exact, images * c)];
        both.check("mean of RMSNorm", &spans, |machine, s| {
            machine.mean_of_rms_norm(s[0], weight, images, s[1]);
        });
    });
}

pub(super) fn products(new: New) {
    for form in [Form::NN, Form::NT, Form::TN] {
        shapes(new, 20, 64 * 64, |both, rng| {
            let [m, n, k] = [0; 3].map(|_| size(rng, 64));
            let spans =
                [(Rounded, m * k), (Rounded, k * n), (Rounded, m * n), (Exact, m * n), (Exact, m * n)];
            both.check("product", &spans, |machine, s| {
                let shape = [m, n, k];
                let weight = parameter(0, k * n);
                let product = Product { form, a: s[0], b: s[1], c: s[2], plus: None, shape };
                machine.matmul(product);
                // What a residual connection adds, by a parameter; and a gradient that is added to.
                machine.matmul(Product { b: weight, c: s[3], plus: Some(s[4]), ..product });
                let gradient = parameter(0, m * n).gradient();
                machine.matmul(Product { c: gradient, plus: Some(gradient), ..product });
            });
        });
    }
}

pub(super) fn activations(new: New) {
    shapes(new, 30, 8, |both, rng| {
        let n = size(rng, 5000);
        both.check("gelu", &[(Rounded, n), (Rounded, n)], |machine, s| machine.gelu(s[0], s[1]));
        both.check("gelu backward", &[(Rounded, n), (Rounded, n)], |machine, s| {
            machine.gelu_backward(s[0], s[1]);
        });
        let (rows, c) = (2 + rng.below(40), size(rng, 40));
        let some: Vec<u32> = (0..rows as u32).filter(|row| row % 3 != 1).collect();
        let count = some.len();
        let spans = [(Exact, rows * c), (Exact, count * c), (Rounded, count * c), (Rounded, rows * c)];
        both.check("rows", &spans, |machine, s| {
            machine.gather(s[0], &some, s[1]);
            machine.scatter(s[2], &some, s[3]);
            machine.clear(s[2].first(c));
        });
    });
}

pub(super) fn attention(new: New) {
    for (seed, width) in [5, 16, 32, 40, 64, 96, 128, 160].into_iter().enumerate() {
        shapes(new, 40 + 7 * seed as u64, 1, |both, rng| {
            let (images, heads, causal) = (1 + rng.below(2), 1 + rng.below(2), rng.below(2) == 0);
            // Up to more than a tile, one below and one above.
            let tokens = [1 + rng.below(40), 63 + rng.below(4), 120 + rng.below(20)][rng.below(3)];
            let shape = Heads { images, tokens, heads, width, causal };
            let (n, c) = (images * tokens, heads * width);
            let spans = [
                (Rounded, n * 3 * c),
                (Rounded, n * c),
                (Exact, n * heads),
                (Rounded, n * c),
                (Rounded, n * 3 * c),
            ];
            both.check(&format!("attention {shape:?}"), &spans, |machine, s| {
                machine.attention(shape, s[0], s[1], s[2]);
                machine.attention_backward(shape, s[0], s[1], s[2], s[3], s[4]);
            });
        });
    }
}

pub(super) fn losses(new: New) {
    shapes(new, 100, 1, |both, rng| {
        let (rows, v) = (size(rng, 100), 1 + size(rng, 600));
        let targets: Vec<u16> = (0..rows).map(|_| rng.below(v) as u16).collect();
        let weights: Vec<f64> = (0..rows).map(|_| rng.uniform() / rows as f64).collect();
        let (logits, mut sums) = ((Rounded, rows * v), Vec::new());
        let [by_cpu, by_gpu] = both.left(&[logits, logits], |machine, s| {
            machine.clear_loss();
            machine.cross_entropy(s[0], &targets, &weights, Some(0.5));
            // Losses are added up, and without gradients whatever becomes of logits.
            machine.cross_entropy(s[1], &targets, &weights, None);
            sums.push(machine.take_loss());
            assert_eq!(machine.take_loss(), 0.0);
        });
        let error = distance(&by_gpu[0], &by_cpu[0]);
        assert!(error < both.bound(), "{rows} rows, {v} colours: {error:e}");
        assert!((sums[0] - sums[1]).abs() < 1e-5 * sums[0].abs(), "{sums:?}");
    });
}

pub(super) fn embeddings(new: New) {
    shapes(new, 200, 70 * 40 + 40 + 70 * 40, |both, rng| {
        let (v, t, c) = (1 + rng.below(70), 1 + rng.below(70), size(rng, 40).min(40));
        // So many that one colour has several segments.
        let images = 1 + rng.below(9);
        let n = images * t;
        let embedding = Embedding {
            wte: parameter(0, v * c),
            sos: parameter(v * c, c),
            wpe: parameter((v + 1) * c, t * c),
        };
        let tokens: Vec<u16> = (0..n).map(|_| (rng.below(v) * rng.below(2)) as u16).collect();
        let mask: Vec<bool> = (0..n).map(|_| rng.below(4) == 0).collect();
        for input in
            [Input::Shifted(&tokens), Input::Masked(&tokens, Some(&mask)), Input::Masked(&tokens, None)]
        {
            both.check("embedding", &[(Exact, n * c), (Rounded, n * c)], |machine, s| {
                machine.embed(input, embedding, s[0]);
                machine.embed_backward(input, s[1], embedding.gradient());
            });
        }
        for before in [None, Some(&tokens[..images])] {
            both.check("embedding of one", &[(Exact, images * c)], |machine, s| {
                machine.embed_one(before, t - 1, embedding, s[0]);
            });
        }
    });
}

/// Attention for one token after the other.
pub(super) fn cached_attention(new: New) {
    shapes(new, 300, 1, |both, rng| {
        let (images, heads, width) = (1 + rng.below(3), 1 + rng.below(3), size(rng, 64));
        let tokens = 1 + rng.below(20);
        let shape = Heads { images, tokens, heads, width, causal: true };
        let c = heads * width;
        let [keys, values] = cache_len(tokens, width);
        let mut spans = vec![(Rounded, images * heads * keys), (Rounded, images * heads * values)];
        spans.extend((0..tokens).flat_map(|_| [(Rounded, images * 3 * c), (Rounded, images * c)]));
        // The caches lie differently, and a GPU's take less: only what attention gives can be compared.
        let [by_cpu, by_gpu] = both.left(&spans, |machine, s| {
            for position in 0..tokens {
                let (qkv, o) = (s[2 + 2 * position], s[3 + 2 * position]);
                machine.attention_one(shape, position, qkv, s[0], s[1], o);
            }
        });
        for (i, (cpu, gpu)) in by_cpu.iter().zip(&by_gpu).enumerate().skip(2) {
            let error = distance(gpu, cpu);
            assert!(error < both.bound(), "span {i} of {shape:?}: {error:e}");
        }
    });
}
