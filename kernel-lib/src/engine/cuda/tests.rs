//! The GPU's engine without a GPU: its kernels run by the emulator, against the CPU's engine.

use super::emulator::Emulator;
use super::network::GpuEngine;
use crate::engine::Engine;
use crate::engine::tests::{random, random_mask, random_tokens};
use crate::model::{Batch, Config, Network, Objective, Parameters, Precision, Resident as _};
use crate::sample::{Sampling, sample};
use crate::train::{Adam, AdamState};

const CONFIGS: [Config; 3] = [
    Config { layers: 2, width: 32, heads: 2, context: 20, vocabulary: 17, inner: None },
    // Nothing is a multiple of anything; heads wider than 32.
    Config { layers: 1, width: 74, heads: 2, context: 37, vocabulary: 13, inner: Some(51) },
    // More than a tile of attention.
    Config { layers: 1, width: 48, heads: 3, context: 70, vocabulary: 9, inner: None },
];

fn engine(config: Config, seed: u64) -> GpuEngine {
    GpuEngine::on(config, Box::new(Emulator::new(seed))).unwrap()
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
    Batch { tokens, objective: if bert { Objective::Bert(mask) } else { Objective::Autoregressive } }
}

/// Loss and gradients.
fn gradients(engine: &mut dyn Network, parameters: &Parameters, batch: &Batch<'_>) -> (f64, Parameters) {
    let mut gradients = Parameters::zeros(engine.config()).unwrap();
    let loss = engine.gradients(parameters, batch, 1.0, &mut gradients).unwrap();
    (loss, gradients)
}

#[test]
fn every_gradient_is_the_cpus() {
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
            let mut engine = engine(config, 0);
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

#[test]
fn the_order_of_threads_and_recomputation_change_no_bit() {
    let config = CONFIGS[2];
    let parameters = random(config, 3);
    let tokens = random_tokens(&config, 2, 3);
    let batch = Batch::autoregressive(&tokens);
    for precision in [Precision::F32, Precision::Bf16] {
        let all = |mut engine: GpuEngine| {
            engine.set_precision(precision).unwrap();
            gradients(&mut engine, &parameters, &batch)
        };
        let first = all(engine(config, 0));
        assert!(all(engine(config, 1)) == first);
        assert!(all(engine(config, 2).with_recomputation(true)) == first);
    }
}

#[test]
fn loss_features_logits_and_samples_are_the_cpus() {
    for (seed, config) in CONFIGS.into_iter().enumerate() {
        let parameters = random(config, seed as u64);
        let (tokens, mask) = (random_tokens(&config, 3, 2), random_mask(&config, 3, 2));
        let (mut cpu, mut gpu) = (Engine::new(config).unwrap(), engine(config, 0));
        for bert in [false, true] {
            let batch = batch(&tokens, &mask, bert);
            let [a, b] = [gpu.loss(&parameters, &batch).unwrap(), cpu.loss(&parameters, &batch).unwrap()];
            assert!((a / b - 1.0).abs() < 1e-6, "{a} {b}");
            let [a, b] = [
                gpu.features(&parameters, &tokens, !bert).unwrap(),
                cpu.features(&parameters, &tokens, !bert).unwrap(),
            ];
            assert!(distance(&a, &b) < 1e-5);
        }
        for given in [0, config.context / 2] {
            let prefix: Vec<u16> =
                tokens.chunks(config.context).flat_map(|picture| &picture[..given]).copied().collect();
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

#[test]
fn steps_of_adam_are_the_cpus() {
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
            moments.step(&settings, &layout, step, 0.003, on_cpu.values_mut(), gradients.values()).unwrap();
        }
        let mut gpu = engine(config, 0);
        let (mut on_gpu, mut there) = (start.clone(), AdamState::new(config.parameters()));
        for step in 0..4 {
            let loss = gpu.step(&on_gpu, &there, &batch, &settings, step, 0.003).unwrap();
            assert!((loss / losses[step as usize] - 1.0).abs() < 1e-5, "{loss} {losses:?}");
            // With a look between and without.
            if step == 1 {
                gpu.settle(&mut on_gpu, &mut there).unwrap();
                gpu.loss(&on_gpu, &batch).unwrap();
            }
        }
        let error = gpu.loss(&on_gpu, &batch).unwrap_err().to_string();
        assert!(error.contains("settle it"), "{error}");
        assert!(gpu.settle(&mut start.clone(), &mut there).is_err());
        gpu.settle(&mut on_gpu, &mut there).unwrap();
        // Adam divides by the gradient's size: where that is rounding, a step may go the other way.
        let moved = distance(start.values(), on_cpu.values());
        assert!(distance(on_gpu.values(), on_cpu.values()) < 0.02 * moved);
        assert!(
            distance(&there.mean, &moments.mean) < 1e-4 && distance(&there.square, &moments.square) < 1e-4
        );
    }
}

#[test]
fn small_memory_means_more_shards_and_the_same_gradients() {
    let config = CONFIGS[0];
    let parameters = random(config, 5);
    let tokens = random_tokens(&config, 7, 5);
    let batch = Batch::autoregressive(&tokens);
    let mut large = engine(config, 0);
    let all = gradients(&mut large, &parameters, &batch);
    let mut small = GpuEngine::on(config, Box::new(Emulator::new(0).with_memory(1_300_000))).unwrap();
    let parts = gradients(&mut small, &parameters, &batch);
    assert!(small.allocated() < large.allocated(), "{} {}", small.allocated(), large.allocated());
    assert!(distance(parts.1.values(), all.1.values()) < 1e-5);
    assert!((parts.0 / all.0 - 1.0).abs() < 1e-6);
}

#[test]
fn memory_is_what_was_predicted() {
    for config in CONFIGS {
        for (precision, recompute) in
            [(Precision::F32, false), (Precision::Bf16, false), (Precision::Bf16, true)]
        {
            let mut engine = engine(config, 0).with_recomputation(recompute);
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
                "{said} {took}, {config:?} {precision:?} {recompute}"
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
        let mut emulator = Emulator::new(0);
        emulator.left = left;
        let mut engine = GpuEngine::on(config, Box::new(emulator)).unwrap();
        let error = engine.loss(&parameters, &batch).unwrap_err().to_string();
        assert!(error.contains("told to fail"), "{error}");
    }
    let mut poor = GpuEngine::on(config, Box::new(Emulator::new(0).with_memory(10_000))).unwrap();
    let error = poor.loss(&parameters, &batch).unwrap_err().to_string();
    assert!(error.contains("more than it has left"), "{error}");
    let wide = Config { layers: 1, width: 400, heads: 2, context: 4, vocabulary: 5, inner: None };
    let error = engine(wide, 0).features(&random(wide, 1), &[0, 1, 2, 3], true).unwrap_err().to_string();
    assert!(error.contains("192 at most"), "{error}");
}
