//! The GPU's engine against the CPU's: on the emulator, which runs the same kernels, and, where there is one, on a GPU
//! (`cargo test -p igpt --lib on_a_gpu -- --ignored`).

mod operations;

use super::device::Device;
use super::emulator::Emulator;
use super::gpu::Gpu;
use super::network::GpuEngine;
use crate::engine::Engine;
use crate::engine::tests::classes::random_labels;
use crate::engine::tests::finite::overflows_backward;
use crate::engine::tests::{random, random_mask, random_tokens};
use crate::model::{Batch, Classes, Config, Network, Parameters, Precision, Resident as _, Target, View};
use crate::rng::Rng;
use crate::sample::{Sampling, sample};
use crate::train::{Adam, AdamState, Outcome, Tokens, Trainer, Training, WarmUp};
use crate::{Error, Result};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const CONFIGS: [Config; 3] = [
    Config { layers: 2, width: 32, heads: 2, context: 20, vocabulary: 17, inner: None, classes: None },
    // Nothing is a multiple of anything; heads wider than 32.
    Config { layers: 1, width: 74, heads: 2, context: 37, vocabulary: 13, inner: Some(51), classes: None },
    // More than a tile of attention.
    Config { layers: 1, width: 48, heads: 3, context: 70, vocabulary: 9, inner: None, classes: None },
];

/// A device; threads go on in the order of the seed where that can be chosen.
type New = fn(u64) -> Box<dyn Device>;

fn emulated(seed: u64) -> Box<dyn Device> {
    Box::new(Emulator::new(seed))
}

fn real(_: u64) -> Box<dyn Device> {
    Box::new(Gpu::new(0).unwrap())
}

fn engine(new: New, config: Config, seed: u64) -> GpuEngine {
    GpuEngine::on(config, new(seed)).unwrap()
}

/// Each check is a test on the emulator, and one on a GPU.
macro_rules! on_both {
    ($($check:ident: $of:path),* $(,)?) => {
        mod on_the_emulator {
            $(#[test]
            fn $check() {
                $of(super::emulated);
            })*
        }
        mod on_a_gpu {
            $(#[test]
            #[ignore = "needs an NVIDIA GPU"]
            fn $check() {
                $of(super::real);
            })*
        }
    };
}

on_both! {
    norms: super::operations::norms,
    products: super::operations::products,
    activations_and_rows: super::operations::activations,
    attention: super::operations::attention,
    losses: super::operations::losses,
    embeddings: super::operations::embeddings,
    cached_attention: super::operations::cached_attention,
    every_gradient_is_the_cpus: super::every_gradient_is_the_cpus,
    the_order_of_threads_and_activation_checkpointing_change_no_bit:
        super::the_order_of_threads_and_activation_checkpointing_change_no_bit,
    classes_are_learnt_as_on_the_cpu: super::classes_are_learnt_as_on_the_cpu,
    loss_features_logits_and_samples_are_the_cpus:
        super::loss_features_logits_and_samples_are_the_cpus,
    steps_of_adam_are_the_cpus: super::steps_of_adam_are_the_cpus,
    a_gradient_that_is_not_finite_is_not_applied: super::a_gradient_that_is_not_finite_is_not_applied,
    results_that_are_not_finite_are_refused: super::results_that_are_not_finite_are_refused,
    a_training_goes_on_on_the_other_device: super::a_training_goes_on_on_the_other_device,
}

/// The largest difference over the largest value.
fn distance(found: &[f32], truth: &[f32]) -> f64 {
    assert_eq!(found.len(), truth.len());
    let largest = truth.iter().fold(0.0f64, |largest, x| largest.max(f64::from(x.abs())));
    let difference = found.iter().zip(truth).map(|(a, b)| f64::from((a - b).abs()));
    difference.fold(0.0f64, |largest, x| if x.is_nan() { f64::NAN } else { largest.max(x) })
        / largest.max(1e-30)
}

fn batch<'a>(tokens: &'a [u16], mask: &'a [bool], bert: bool) -> Batch<'a> {
    Batch::new(tokens, if bert { Target::Bert(mask) } else { Target::Autoregressive })
}

/// Loss and gradients.
fn gradients(engine: &mut dyn Network, parameters: &Parameters, batch: &Batch<'_>) -> (f64, Parameters) {
    let mut gradients = Parameters::zeros(engine.config()).unwrap();
    let loss = engine.gradients(parameters, batch, 1.0, &mut gradients).unwrap();
    (loss, gradients)
}

fn every_gradient_is_the_cpus(new: New) {
    for (seed, config) in CONFIGS.into_iter().enumerate() {
        let parameters = random(config, seed as u64);
        let (tokens, mask) = (random_tokens(&config, 3, 1), random_mask(&config, 3, 1));
        for (bert, precision, loss_bound, bound) in [
            (false, Precision::F32, 1e-6, 1e-5),
            (true, Precision::F32, 1e-6, 1e-5),
            (false, Precision::Bf16, 5e-3, 3e-2),
            (true, Precision::Bf16, 5e-3, 3e-2),
        ] {
            let batch = batch(&tokens, &mask, bert);
            let truth = gradients(&mut Engine::new(config).unwrap(), &parameters, &batch);
            let mut engine = engine(new, config, 0);
            engine.set_precision(precision).unwrap();
            let found = gradients(&mut engine, &parameters, &batch);
            assert!((found.0 / truth.0 - 1.0).abs() < loss_bound, "{config:?}: {} {}", found.0, truth.0);
            for entry in parameters.layout().entries() {
                let name = &entry.name;
                let error = distance(found.1.get(name).unwrap(), truth.1.get(name).unwrap());
                assert!(error < bound, "{name}, {config:?}, {precision:?}, bert {bert}: {error:e}");
            }
        }
    }
}

/// The classification head, masked inputs, the loss by layer.
fn classes_are_learnt_as_on_the_cpu(new: New) {
    for (seed, config) in CONFIGS.into_iter().enumerate() {
        let config = config.with_classes(Some([5, 1, 40][seed]));
        let parameters = random(config, seed as u64);
        let (tokens, mask) = (random_tokens(&config, 3, 1), random_mask(&config, 3, 1));
        let labels = random_labels(3, config.classes.unwrap(), 1);
        for (bert, layer, generative, precision, loss_bound, bound) in [
            (false, config.layers, 1.0, Precision::F32, 1e-6, 1e-5),
            (true, 0, 1.0, Precision::F32, 1e-6, 1e-5),
            (false, config.layers, 0.0, Precision::F32, 1e-6, 1e-5),
            (false, config.layers, 1.0, Precision::Bf16, 5e-3, 3e-2),
            (true, 1, 0.5, Precision::Bf16, 5e-3, 3e-2),
        ] {
            let classes = Classes { labels: &labels, layer, generative, classification: 1.0 };
            let batch = batch(&tokens, &mask, bert).with_classes(classes);
            let truth = gradients(&mut Engine::new(config).unwrap(), &parameters, &batch);
            for checkpointing in [false, true] {
                let mut engine =
                    engine(new, config, seed as u64).with_activation_checkpointing(checkpointing);
                engine.set_precision(precision).unwrap();
                let found = gradients(&mut engine, &parameters, &batch);
                let (loss, expected) = (found.0, truth.0);
                assert!((loss - expected).abs() <= loss_bound * expected, "{config:?}: {loss} {expected}");
                for entry in parameters.layout().entries() {
                    let name = &entry.name;
                    let error = distance(found.1.get(name).unwrap(), truth.1.get(name).unwrap());
                    assert!(error < bound, "{name}, {config:?}, {precision:?}, bert {bert}: {error:e}");
                }
            }
        }
        let (mut cpu, mut gpu) = (Engine::new(config).unwrap(), engine(new, config, 0));
        for bert in [false, true] {
            let batch = batch(&tokens, &mask, bert);
            let [a, b] = [&mut gpu as &mut dyn Network, &mut cpu]
                .map(|network| network.losses_by_layer(&parameters, &batch).unwrap());
            assert!(a.iter().zip(&b).all(|(a, b)| (a / b - 1.0).abs() < 1e-6), "{a:?} {b:?}");
            let [a, b] = [&mut gpu as &mut dyn Network, &mut cpu].map(|network| {
                let mut gradients = Parameters::zeros(config).unwrap();
                network.head_gradients(&parameters, &batch, 1, 0.5, &mut gradients).unwrap();
                gradients
            });
            for name in ["ln_f", "head"] {
                assert!(distance(a.get(name).unwrap(), b.get(name).unwrap()) < 1e-5, "{name}");
            }
            assert!(a.get("wte").unwrap().iter().all(|x| *x == 0.0));
            let [a, b] = [&mut gpu as &mut dyn Network, &mut cpu]
                .map(|network| network.features(&parameters, &tokens, batch.view()).unwrap());
            assert!(distance(&a, &b) < 1e-5);
        }
        let [a, b] = [&mut gpu as &mut dyn Network, &mut cpu]
            .map(|network| network.masked_logits(&parameters, &tokens, &mask).unwrap());
        assert!(distance(&a, &b) < 1e-5);
    }
}

fn the_order_of_threads_and_activation_checkpointing_change_no_bit(new: New) {
    let config = CONFIGS[2];
    let parameters = random(config, 3);
    let tokens = random_tokens(&config, 2, 3);
    let batch = Batch::autoregressive(&tokens);
    for precision in [Precision::F32, Precision::Bf16] {
        let all = |mut engine: GpuEngine| {
            engine.set_precision(precision).unwrap();
            gradients(&mut engine, &parameters, &batch)
        };
        let first = all(engine(new, config, 0));
        assert!(all(engine(new, config, 1)) == first);
        assert!(all(engine(new, config, 2).with_activation_checkpointing(true)) == first);
    }
}

fn loss_features_logits_and_samples_are_the_cpus(new: New) {
    for (seed, config) in CONFIGS.into_iter().enumerate() {
        let parameters = random(config, seed as u64);
        let (tokens, mask) = (random_tokens(&config, 3, 2), random_mask(&config, 3, 2));
        let (mut cpu, mut gpu) = (Engine::new(config).unwrap(), engine(new, config, 0));
        for bert in [false, true] {
            let batch = batch(&tokens, &mask, bert);
            let [a, b] = [gpu.loss(&parameters, &batch).unwrap(), cpu.loss(&parameters, &batch).unwrap()];
            assert!((a / b - 1.0).abs() < 1e-6, "{a} {b}");
            let [a, b] = [
                gpu.features(&parameters, &tokens, View::of(!bert)).unwrap(),
                cpu.features(&parameters, &tokens, View::of(!bert)).unwrap(),
            ];
            assert!(distance(&a, &b) < 1e-5);
        }
        for given in [0, config.context / 2] {
            let prefix: Vec<u16> =
                tokens.chunks(config.context).flat_map(|image| &image[..given]).copied().collect();
            let [a, b] = [
                gpu.next_logits(&parameters, &prefix, 3).unwrap(),
                cpu.next_logits(&parameters, &prefix, 3).unwrap(),
            ];
            assert!(distance(&a, &b) < 1e-5);
            let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
            let [a, b] = [
                sample(&mut gpu, &parameters, &prefix, 3, 0, &greedy).unwrap(),
                sample(&mut cpu, &parameters, &prefix, 3, 0, &greedy).unwrap(),
            ];
            assert_eq!(a, b);
        }
    }
}

fn steps_of_adam_are_the_cpus(new: New) {
    let config = CONFIGS[0];
    let tokens = random_tokens(&config, 2, 4);
    let batch = Batch::autoregressive(&tokens);
    for settings in [
        Adam::default(),
        Adam { weight_decay: 0.1, clip: Some(0.3), ..Adam::default() },
        Adam { clip: Some(1e6), ..Adam::default() },
    ] {
        let start = random(config, 4);
        let (mut on_cpu, mut moments) = (start.clone(), AdamState::new(config.parameters()));
        let mut cpu = Engine::new(config).unwrap();
        let mut losses = Vec::new();
        for step in 0..4 {
            let (loss, gradients) = gradients(&mut cpu, &on_cpu, &batch);
            losses.push(loss);
            let layout = on_cpu.layout().clone();
            moments
                .step(&settings, &layout.decays(), step, 0.003, on_cpu.values_mut(), gradients.values())
                .unwrap();
        }
        let mut gpu = engine(new, config, 0);
        let (mut on_gpu, mut there) = (start.clone(), AdamState::new(config.parameters()));
        for step in 0..4 {
            let loss = gpu.step(&on_gpu, &there, &batch, &settings, step, 0.003).unwrap();
            assert!((loss / losses[step as usize] - 1.0).abs() < 1e-5, "{loss} {losses:?}");
            // With a look between and without.
            if step == 1 {
                gpu.download(&mut on_gpu, &mut there).unwrap();
                gpu.loss(&on_gpu, &batch).unwrap();
            }
        }
        let error = gpu.loss(&on_gpu, &batch).unwrap_err().to_string();
        assert!(error.contains("download it"), "{error}");
        assert!(gpu.download(&mut start.clone(), &mut there).is_err());
        gpu.download(&mut on_gpu, &mut there).unwrap();
        // Adam divides by the gradient's size: where that is rounding, a step may go the other way.
        let moved = distance(start.values(), on_cpu.values());
        assert!(distance(on_gpu.values(), on_cpu.values()) < 0.02 * moved);
        assert!(
            distance(&there.mean, &moments.mean) < 1e-4 && distance(&there.square, &moments.square) < 1e-4
        );
    }
}

/// Half of a training on the CPU and half on the GPU, and the other way round, by checkpoints.
fn a_training_goes_on_on_the_other_device(new: New) {
    let config = CONFIGS[0];
    let tokens = random_tokens(&config, 24, 8);
    let images = |range: std::ops::Range<usize>| {
        let t = config.context;
        Arc::new(Tokens::new(t, tokens[range.start * t..range.end * t].to_vec()).unwrap())
    };
    let settings = Training {
        batch: 4,
        warm_up: WarmUp::Steps(2),
        evaluate_every: 4,
        checkpoint_every: 4,
        ..Training::paper(8)
    };
    let train = |folder: &Path, device: &str, end: u64| {
        let network: Box<dyn Network> = match device {
            "cpu" => Box::new(Engine::new(config).unwrap()),
            _ => Box::new(engine(new, config, 0)),
        };
        let mut trainer = Trainer::new(settings, network, images(0..20), images(20..24))
            .unwrap()
            .keep_checkpoints(folder)
            .unwrap();
        assert_eq!(trainer.run_until(end, &mut |_| ()).unwrap(), Outcome::Finished);
        (trainer.parameters().clone(), trainer.curve().clone(), trainer.step())
    };
    let whole = |first: &str, second: &str| {
        let folder = tempfile::tempdir().unwrap();
        let half = train(folder.path(), first, 4);
        assert_eq!(half.2, 4);
        train(folder.path(), second, 8)
    };
    let (on_cpu, curve, _) = whole("cpu", "cpu");
    let start = Parameters::init(config, settings.seed).unwrap();
    let moved = distance(start.values(), on_cpu.values());
    for (first, second) in [("cpu", "gpu"), ("gpu", "cpu"), ("gpu", "gpu")] {
        let (parameters, found, _) = whole(first, second);
        assert!(distance(parameters.values(), on_cpu.values()) < 0.02 * moved, "{first}, {second}");
        for (a, b) in found.validation.iter().zip(&curve.validation) {
            assert!(
                a.step == b.step && (a.loss / b.loss - 1.0).abs() < 1e-4,
                "{first}, {second}: {a:?} {b:?}"
            );
        }
        assert_eq!(found.validation.len(), curve.validation.len());
    }
}

/// What is said of memory: iGPT-S, M and L (section 3.3) train on 80 GB, L with activation checkpointing, in batches of 128.
#[test]
fn the_papers_networks_fit_a_card_of_80_gb() {
    for (layers, width, heads, checkpointing) in
        [(24, 512, 8, false), (36, 1024, 8, false), (48, 1536, 16, true)]
    {
        let config =
            Config { layers, width, heads, context: 1024, vocabulary: 512, inner: None, classes: None };
        let device = Emulator::new(0).with_memory(80 << 30);
        let mut engine =
            GpuEngine::on(config, Box::new(device)).unwrap().with_activation_checkpointing(checkpointing);
        engine.set_precision(Precision::Bf16).unwrap();
        let memory = engine.memory(128);
        let all = memory.parameters + memory.kept + memory.temporary;
        assert!(all < 68 << 30, "{config:?}: {memory:?}");
        assert_eq!(memory.parameters, 18 * config.parameters());
    }
}

#[test]
fn small_memory_means_more_micro_batches_and_the_same_gradients() {
    let config = CONFIGS[0];
    let parameters = random(config, 5);
    let tokens = random_tokens(&config, 7, 5);
    let batch = Batch::autoregressive(&tokens);
    let mut large = engine(emulated, config, 0);
    let all = gradients(&mut large, &parameters, &batch);
    let mut small = GpuEngine::on(config, Box::new(Emulator::new(0).with_memory(1_300_000))).unwrap();
    let parts = gradients(&mut small, &parameters, &batch);
    assert!(small.allocated() < large.allocated(), "{} {}", small.allocated(), large.allocated());
    assert!(distance(parts.1.values(), all.1.values()) < 1e-5);
    assert!((parts.0 / all.0 - 1.0).abs() < 1e-6);
}

/// The limit that a profile sets: less memory, and the same gradients but for rounding.
#[test]
fn a_limit_of_memory_is_kept() {
    let config = CONFIGS[0];
    let parameters = random(config, 5);
    let tokens = random_tokens(&config, 7, 5);
    let batch = Batch::autoregressive(&tokens);
    let mut large = engine(emulated, config, 0);
    let all = gradients(&mut large, &parameters, &batch);
    let mut small = engine(emulated, config, 0);
    let limit = 900_000;
    small.set_memory_limit(Some(limit), 7).unwrap();
    assert!((small.memory(7).total() as u64) < limit && large.memory(7).total() as u64 > limit);
    let parts = gradients(&mut small, &parameters, &batch);
    assert!(small.allocated() < large.allocated(), "{} {}", small.allocated(), large.allocated());
    assert!(distance(parts.1.values(), all.1.values()) < 1e-5);
    let error = small.set_memory_limit(Some(100_000), 7).unwrap_err().to_string();
    assert!(error.contains("device_memory_gb"), "{error}");
}

/// A gradient that is not finite, of a loss that is: nothing is changed on the device, and the training can go on.
fn a_gradient_that_is_not_finite_is_not_applied(new: New) {
    let config = CONFIGS[0];
    let tokens = random_tokens(&config, 2, 4);
    let batch = Batch::autoregressive(&tokens);
    for clip in [None, Some(0.5)] {
        let settings = Adam { clip, ..Adam::default() };
        let start = random(config, 4);
        let bad = overflows_backward(config);
        let mut gpu = engine(new, config, 0);
        assert!(gpu.loss(&bad, &batch).unwrap().is_finite());
        let (mut parameters, mut moments) = (bad.clone(), AdamState::new(config.parameters()));
        let error = gpu.step(&parameters, &moments, &batch, &settings, 0, 0.003).unwrap_err();
        assert!(matches!(error, Error::NotFinite { .. }), "{error}");
        gpu.download(&mut parameters, &mut moments).unwrap();
        assert!(parameters == bad && moments == AdamState::new(config.parameters()));
        // The good twin.
        let mut parameters = start.clone();
        gpu.step(&parameters, &moments, &batch, &settings, 0, 0.003).unwrap();
        gpu.download(&mut parameters, &mut moments).unwrap();
        assert!(parameters != start);
    }
}

/// What the CPU refuses as not finite, the GPU refuses.
fn results_that_are_not_finite_are_refused(new: New) {
    let config = CONFIGS[0];
    let good = random(config, 6);
    let tokens = random_tokens(&config, 2, 6);
    let batch = Batch::autoregressive(&tokens);
    let not_finite = |gpu: &mut GpuEngine, parameters: &Parameters| -> [bool; 5] {
        let mut to = Parameters::zeros(config).unwrap();
        let usual = Sampling::default();
        [
            gpu.loss(parameters, &batch).map(|_| ()),
            gpu.gradients(parameters, &batch, 1.0, &mut to).map(|_| ()),
            gpu.features(parameters, &tokens, View::Causal).map(|_| ()),
            gpu.next_logits(parameters, &tokens[..6], 2).map(|_| ()),
            sample(gpu, parameters, &tokens[..6], 2, 0, &usual).map(|_| ()),
        ]
        .map(|result| matches!(result, Err(Error::NotFinite { .. })))
    };
    let mut gpu = engine(new, config, 0);
    for precision in [Precision::F32, Precision::Bf16] {
        gpu.set_precision(precision).unwrap();
        assert_eq!(not_finite(&mut gpu, &good), [false; 5]);
        for column in [0, 31, 32, 63] {
            for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut bad = good.clone();
                let weights = bad.get_mut("h.1.attn.c_attn").unwrap();
                weights.chunks_mut(3 * config.width).for_each(|row| row[column] = value);
                assert_eq!(
                    not_finite(&mut gpu, &bad),
                    [true; 5],
                    "{value} in column {column}, {precision:?}"
                );
            }
        }
    }
}

#[test]
fn memory_is_what_was_predicted() {
    for config in CONFIGS {
        for (precision, checkpointing) in
            [(Precision::F32, false), (Precision::Bf16, false), (Precision::Bf16, true)]
        {
            let mut engine = engine(emulated, config, 0).with_activation_checkpointing(checkpointing);
            engine.set_precision(precision).unwrap();
            let tokens = random_tokens(&config, 4, 6);
            let (parameters, moments) = (random(config, 6), AdamState::new(config.parameters()));
            let said = engine.memory(4);
            engine
                .step(&parameters, &moments, &Batch::autoregressive(&tokens), &Adam::default(), 0, 0.001)
                .unwrap();
            let said = said.parameters + said.kept + said.temporary;
            let took = engine.allocated();
            // What a call brings with it (tokens, sums of norms) is small, and not counted.
            assert!(
                took >= said && took < said + said / 4,
                "{said} {took}, {config:?} {precision:?} {checkpointing}"
            );
        }
    }
}

#[test]
fn a_device_that_fails_says_so_and_the_network_goes_on() {
    let config = CONFIGS[0];
    let parameters = random(config, 7);
    let tokens = random_tokens(&config, 2, 7);
    let batch = Batch::autoregressive(&tokens);
    for left in [0, 1, 7] {
        let emulator = Emulator::new(0);
        emulator.left.store(left, Ordering::Relaxed);
        let mut engine = GpuEngine::on(config, Box::new(emulator)).unwrap();
        let error = engine.loss(&parameters, &batch).unwrap_err().to_string();
        assert!(error.contains("told to fail"), "{error}");
    }
    let mut poor = GpuEngine::on(config, Box::new(Emulator::new(0).with_memory(10_000))).unwrap();
    let error = poor.loss(&parameters, &batch).unwrap_err().to_string();
    assert!(error.contains("more than it has left"), "{error}");
    let wide =
        Config { layers: 1, width: 400, heads: 2, context: 4, vocabulary: 5, inner: None, classes: None };
    let error = GpuEngine::on(wide, emulated(0)).unwrap_err().to_string();
    assert!(error.contains("192 at most"), "{error}");
}

/// Whichever call of a training in bf16 fails, it can go on afterwards, from what was downloaded last.
#[test]
fn a_failed_call_leaves_nothing_half_done() {
    let config = CONFIGS[0];
    let tokens = random_tokens(&config, 1, 9);
    let batch = Batch::autoregressive(&tokens);
    let (start, settings) = (random(config, 9), Adam { clip: Some(0.5), ..Adam::default() });
    let new = |left: usize| {
        let emulator = Emulator::new(0);
        let calls = Arc::clone(&emulator.left);
        calls.store(left, Ordering::Relaxed);
        let mut engine = GpuEngine::on(config, Box::new(emulator)).unwrap();
        engine.set_precision(Precision::Bf16).unwrap();
        (engine, calls)
    };
    let moments = || AdamState::new(config.parameters());
    let train = |engine: &mut GpuEngine| -> Result<(Parameters, AdamState)> {
        let (mut parameters, mut moments) = (start.clone(), moments());
        engine.step(&parameters, &moments, &batch, &settings, 0, 0.01)?;
        engine.download(&mut parameters, &mut moments)?;
        Ok((parameters, moments))
    };
    let (mut engine, calls) = new(usize::MAX);
    let whole = train(&mut engine).unwrap();
    let count = usize::MAX - calls.load(Ordering::Relaxed);
    // The first one (the copies in bf16), some between, and the last ones: Adam, and the three downloads.
    for left in [0, 1, 10, count - 6, count - 5, count - 4] {
        let (mut engine, calls) = new(left);
        assert!(train(&mut engine).is_err(), "{left} of {count}");
        calls.store(usize::MAX, Ordering::Relaxed);
        assert!(train(&mut engine).unwrap() == whole, "{left} of {count}");
    }
    for left in count - 3..count {
        let (mut engine, calls) = new(left);
        let (mut parameters, mut there) = (start.clone(), moments());
        engine.step(&parameters, &there, &batch, &settings, 0, 0.01).unwrap();
        assert!(engine.download(&mut parameters, &mut there).is_err());
        assert!(parameters == start && there == moments());
        calls.store(usize::MAX, Ordering::Relaxed);
        engine.download(&mut parameters, &mut there).unwrap();
        assert!((parameters, there) == whole);
    }
}

/// Three trainings of the same small network: by the CPU in f32, and by the GPU's kernels in f32 and bf16. Prints the
/// losses, for `docs/log`.
#[test]
#[ignore = "takes minutes"]
fn loss_curves_lie_over_one_another() {
    let config =
        Config { layers: 2, width: 32, heads: 2, context: 64, vocabulary: 16, inner: None, classes: None };
    let images = crate::data::fashion_mnist().unwrap();
    let mut rng = Rng::keyed(1, "pictures", [0, 0]);
    let mut batch = || -> Vec<u16> {
        let of_one = |image: crate::Image| -> Vec<u16> {
            let small = image.resize(8, 8).unwrap();
            small.pixels().iter().map(|grey| u16::from(grey / 16)).collect()
        };
        (0..4).flat_map(|_| of_one(images.train().images.get(rng.below(1000)).unwrap())).collect()
    };
    let batches: Vec<Vec<u16>> = (0..60).map(|_| batch()).collect();
    let (start, settings) = (Parameters::init(config, 1).unwrap(), Adam::default());
    let losses = |mut network: Box<dyn Network>| -> Vec<f64> {
        let (mut parameters, mut moments) = (start.clone(), AdamState::new(config.parameters()));
        let mut gradients = Parameters::zeros(config).unwrap();
        let steps = batches.iter().enumerate().map(|(step, tokens)| {
            let (step, batch) = (step as u64, Batch::autoregressive(tokens));
            match network.resident() {
                Some(resident) => {
                    resident.step(&parameters, &moments, &batch, &settings, step, 0.003).unwrap()
                }
                None => {
                    gradients.values_mut().fill(0.0);
                    let loss = network.gradients(&parameters, &batch, 1.0, &mut gradients).unwrap();
                    let layout = gradients.layout();
                    moments
                        .step(
                            &settings,
                            &layout.decays(),
                            step,
                            0.003,
                            parameters.values_mut(),
                            gradients.values(),
                        )
                        .unwrap();
                    loss
                }
            }
        });
        steps.collect()
    };
    let gpu = |precision| {
        let mut engine = engine(emulated, config, 0);
        engine.set_precision(precision).unwrap();
        losses(Box::new(engine))
    };
    let cpu = losses(Box::new(Engine::new(config).unwrap()));
    let (exact, rounded) = (gpu(Precision::F32), gpu(Precision::Bf16));
    println!("steps  CPU f32  GPU f32  GPU bf16");
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    for first in (0..60).step_by(10) {
        let [a, b, c] = [&cpu, &exact, &rounded].map(|losses| mean(&losses[first..first + 10]));
        println!("{:2}-{:2}  {a:.5}  {b:.5}  {c:.5}", first + 1, first + 10);
        assert!((b / a - 1.0).abs() < 2e-3 && (c / a - 1.0).abs() < 2e-2);
    }
}
