//! The engine against an independent network in f64 (candle, differentiated by candle), against itself on other
//! threads and instruction sets, and against finite differences.

mod bf16;
pub(super) mod classes;
pub(super) mod finite;

use super::*;
use crate::model::{Reference, Target, View};
use crate::rng::Rng;
use crate::sample::{Sampling, sample};
use candle_core::{D, DType, Device, Tensor, Var};
use std::collections::HashMap;

/// Parameters with random weights and a random output matrix: zeros there would make all other gradients zero.
pub(super) fn random(config: Config, seed: u64) -> Parameters {
    let mut parameters = Parameters::init(config, seed).unwrap();
    let entries = parameters.layout().entries().to_vec();
    for (index, entry) in entries.iter().enumerate() {
        let mut rng = Rng::keyed(seed, "test parameters", [index as u64, 0]);
        let values = parameters.get_mut(&entry.name).unwrap();
        let weight = entry.name.contains("ln_");
        let (mean, deviation) = if weight { (1.0, 0.2) } else { (0.0, 0.15) };
        values.iter_mut().for_each(|x| *x = (mean + deviation * rng.normal()) as f32);
    }
    parameters
}

pub(super) fn random_tokens(config: &Config, images: usize, seed: u64) -> Vec<u16> {
    let mut rng = Rng::keyed(seed, "test tokens", [0, 0]);
    (0..images * config.context).map(|_| rng.below(config.vocabulary) as u16).collect()
}

/// About a sixth, and at least one in each image.
pub(super) fn random_mask(config: &Config, images: usize, seed: u64) -> Vec<bool> {
    let mut rng = Rng::keyed(seed, "test mask", [0, 0]);
    let mut mask: Vec<bool> = (0..images * config.context).map(|_| rng.below(6) == 0).collect();
    mask.chunks_mut(config.context).for_each(|image| image[rng.below(config.context)] = true);
    mask
}

/// What the plain network in f64 says.
struct Truth {
    loss: f64,
    gradients: HashMap<String, Vec<f64>>,
    features: Vec<f64>,
}

/// Section 2.2 in f64, as plainly as candle can say it.
fn truth(parameters: &Parameters, batch: &Batch<'_>) -> candle_core::Result<Truth> {
    let Config { layers, width: c, heads: h, context: t, vocabulary: v, .. } = parameters.config();
    let b = batch.tokens.len() / t;
    let mut vars = HashMap::new();
    for entry in parameters.layout().entries() {
        let tensor = parameters.tensor(&entry.name).unwrap().to_dtype(DType::F64)?;
        vars.insert(entry.name.clone(), Var::from_tensor(&tensor)?);
    }
    let p = |name: &str| vars[name].as_tensor().clone();
    let norm = |x: &Tensor, weight: Tensor| -> candle_core::Result<Tensor> {
        let r = (x.sqr()?.mean_keepdim(D::Minus1)? + 1e-5)?.sqrt()?;
        x.broadcast_div(&r)?.broadcast_mul(&weight)
    };
    let linear = |x: &Tensor, weight: Tensor| -> candle_core::Result<Tensor> {
        let (b, t, k) = x.dims3()?;
        x.reshape((b * t, k))?.matmul(&weight)?.reshape((b, t, weight.dim(1)?))
    };
    let softmax = |x: &Tensor| -> candle_core::Result<Tensor> {
        let e = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?.exp()?;
        e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
    };
    let ids: Vec<u32> = batch.tokens.iter().map(|token| u32::from(*token)).collect();
    let ids = Tensor::from_vec(ids, b * t, &Device::Cpu)?;
    let vectors = p("wte").index_select(&ids, 0)?.reshape((b, t, c))?;
    let (vectors, hidden, causal) = match batch.target {
        Target::Autoregressive => {
            let sos = p("sos").reshape((1, 1, c))?.broadcast_as((b, 1, c))?;
            (Tensor::cat(&[&sos, &vectors.narrow(1, 0, t - 1)?], 1)?, vec![true; b * t], true)
        }
        Target::Bert(masked) => {
            let seen: Vec<f64> = masked.iter().map(|masked| f64::from(u8::from(!masked))).collect();
            let seen = Tensor::from_vec(seen, (b, t, 1), &Device::Cpu)?;
            (vectors.broadcast_mul(&seen)?, masked.to_vec(), false)
        }
    };
    let unseen: Vec<f64> = (0..t * t).map(|at| if causal && at % t > at / t { -1e30 } else { 0.0 }).collect();
    let unseen = Tensor::from_vec(unseen, (t, t), &Device::Cpu)?;
    let mut x = vectors.broadcast_add(&p("wpe"))?;
    let mut features = Vec::new();
    for l in 0..layers {
        let n = norm(&x, p(&format!("h.{l}.ln_1")))?;
        features.push(n.mean(1)?);
        let qkv = linear(&n, p(&format!("h.{l}.attn.c_attn")))?;
        let part =
            |i: usize| qkv.narrow(2, i * c, c)?.reshape((b, t, h, c / h))?.transpose(1, 2)?.contiguous();
        let (q, k, value) = (part(0)?, part(1)?, part(2)?);
        let scores = (q.matmul(&k.transpose(2, 3)?.contiguous()?)? / ((c / h) as f64).sqrt())?;
        let o = softmax(&scores.broadcast_add(&unseen)?)?.matmul(&value)?;
        let o = o.transpose(1, 2)?.contiguous()?.reshape((b, t, c))?;
        x = (x + linear(&o, p(&format!("h.{l}.attn.c_proj")))?)?;
        let n = norm(&x, p(&format!("h.{l}.ln_2")))?;
        let f = linear(&n, p(&format!("h.{l}.mlp.c_fc")))?;
        let g = (&f / ((&f * -1.702)?.exp()? + 1.0)?)?;
        x = (x + linear(&g, p(&format!("h.{l}.mlp.c_proj")))?)?;
    }
    let n = norm(&x, p("ln_f"))?;
    features.push(n.mean(1)?);
    let probabilities = softmax(&linear(&n, p("head").t()?)?)?.reshape((b * t, v))?;
    let chosen = probabilities.gather(&ids.unsqueeze(1)?, 1)?.reshape((b, t))?.log()?;
    let hidden: Vec<f64> = hidden
        .chunks(t)
        .flat_map(|image| {
            let count = image.iter().filter(|hidden| **hidden).count() as f64;
            image.iter().map(move |hidden| if *hidden { -1.0 / count / b as f64 } else { 0.0 })
        })
        .collect();
    let loss = (chosen * Tensor::from_vec(hidden, (b, t), &Device::Cpu)?)?.sum_all()?;
    let store = loss.backward()?;
    let mut gradients = HashMap::new();
    for (name, var) in &vars {
        let gradient = match store.get(var) {
            Some(gradient) => gradient.flatten_all()?.to_vec1()?,
            None => vec![0.0; var.elem_count()],
        };
        gradients.insert(name.clone(), gradient);
    }
    let features = Tensor::stack(&features, 1)?.flatten_all()?.to_vec1()?;
    Ok(Truth { loss: loss.to_scalar()?, gradients, features })
}

/// The largest difference over the largest true value.
fn error(found: &[f32], truth: &[f64]) -> f64 {
    assert_eq!(found.len(), truth.len());
    let largest = truth.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    let difference = found.iter().zip(truth).fold(0.0f64, |most, (a, b)| most.max((f64::from(*a) - b).abs()));
    if difference == 0.0 { 0.0 } else { difference / largest }
}

#[track_caller]
fn agrees(config: Config, images: usize, seed: u64, checkpointing: bool) -> f64 {
    let parameters = random(config, seed);
    let tokens = random_tokens(&config, images, seed);
    let mask = random_mask(&config, images, seed);
    let mut engine = Engine::new(config).unwrap().with_activation_checkpointing(checkpointing);
    let mut worst: f64 = 0.0;
    for target in [Target::Autoregressive, Target::Bert(&mask)] {
        let batch = Batch::new(&tokens, target);
        let causal = matches!(target, Target::Autoregressive);
        let truth = truth(&parameters, &batch).unwrap();
        let mut gradients = Parameters::zeros(config).unwrap();
        let loss = engine.gradients(&parameters, &batch, 1.0, &mut gradients).unwrap();
        let alone = engine.loss(&parameters, &batch).unwrap();
        assert_eq!(loss, alone, "{config:?}");
        let mut found = vec![("loss".to_owned(), (loss - truth.loss).abs() / truth.loss)];
        for entry in parameters.layout().entries() {
            let gradient = gradients.get(&entry.name).unwrap();
            found.push((entry.name.clone(), error(gradient, &truth.gradients[&entry.name])));
        }
        if causal {
            let features = engine.features(&parameters, &tokens, View::of(causal)).unwrap();
            found.push(("features".to_owned(), error(&features, &truth.features)));
        }
        for (name, error) in found {
            assert!(error < 1e-5, "{name}: {error:e} for {config:?}, {images} images, causal {causal}");
            worst = worst.max(error);
        }
    }
    worst
}

#[test]
fn it_computes_the_network() {
    let config =
        Config { layers: 2, width: 32, heads: 2, context: 20, vocabulary: 7, inner: None, classes: None };
    agrees(config, 3, 1, false);
    agrees(config, 3, 1, true);
}

#[test]
fn it_computes_networks_of_any_shape() {
    for seed in 0..24 {
        let mut rng = Rng::keyed(seed, "shapes", [0, 0]);
        let heads = [1, 2, 3, 5][rng.below(4)];
        let config = Config {
            layers: 1 + rng.below(3),
            width: heads * (1 + rng.below(40)),
            heads,
            context: 1 + rng.below(130),
            vocabulary: 2 + rng.below(70),
            inner: [None, Some(1 + rng.below(90))][seed as usize % 3 % 2],
            classes: None,
        };
        agrees(config, 1 + rng.below(3), seed, seed % 2 == 0);
    }
}

#[test]
fn it_computes_long_images_ragged_micro_batches_and_wide_heads() {
    // More keys than one block; more queries than one.
    agrees(
        Config { layers: 1, width: 32, heads: 1, context: 700, vocabulary: 5, inner: None, classes: None },
        1,
        1,
        false,
    );
    // Heads of 192, as in iGPT-XL.
    agrees(
        Config { layers: 1, width: 192, heads: 1, context: 40, vocabulary: 5, inner: None, classes: None },
        1,
        2,
        false,
    );
    // Micro-batches of 3 and 2 images, in which an image has 600 tokens.
    agrees(
        Config { layers: 2, width: 16, heads: 1, context: 600, vocabulary: 33, inner: None, classes: None },
        5,
        3,
        true,
    );
}

#[test]
fn it_equals_the_reference() {
    let config =
        Config { layers: 2, width: 24, heads: 3, context: 30, vocabulary: 11, inner: None, classes: None };
    let parameters = random(config, 5);
    let (tokens, mask) = (random_tokens(&config, 3, 5), random_mask(&config, 3, 5));
    let mut engine = Engine::new(config).unwrap();
    let mut reference = Reference::new(config, DType::F64).unwrap();
    let close = |what: &str, found: &[f32], truth: &[f32]| {
        let truth: Vec<f64> = truth.iter().map(|x| f64::from(*x)).collect();
        let error = error(found, &truth);
        assert!(error < 1e-5, "{what}: {error:e}");
    };
    for target in [Target::Autoregressive, Target::Bert(&mask)] {
        let batch = Batch::new(&tokens, target);
        let [mut found, mut truth] = [(); 2].map(|()| Parameters::zeros(config).unwrap());
        // Twice, with a scale: gradients are added.
        for _ in 0..2 {
            let loss = engine.gradients(&parameters, &batch, 0.25, &mut found).unwrap();
            let expected = reference.gradients(&parameters, &batch, 0.25, &mut truth).unwrap();
            assert!((loss / expected - 1.0).abs() < 1e-6, "{loss} {expected}");
        }
        for entry in parameters.layout().entries() {
            close(&entry.name, found.get(&entry.name).unwrap(), truth.get(&entry.name).unwrap());
        }
    }
    for causal in [true, false] {
        let truth = reference.features(&parameters, &tokens, View::of(causal)).unwrap();
        close("features", &engine.features(&parameters, &tokens, View::of(causal)).unwrap(), &truth);
    }
    for t in [0, 1, 29] {
        let prefix: Vec<u16> = tokens.chunks(30).flat_map(|image| &image[..t]).copied().collect();
        let truth = reference.next_logits(&parameters, &prefix, 3).unwrap();
        close("logits", &engine.next_logits(&parameters, &prefix, 3).unwrap(), &truth);
    }
}

/// All that an engine computes, in bits.
fn everything(engine: &mut Engine, seed: u64) -> Vec<u32> {
    let config = engine.config();
    let (parameters, images) = (random(config, seed), 5);
    let tokens = random_tokens(&config, images, seed);
    let mask = random_mask(&config, images, seed);
    let mut all = Vec::new();
    for target in [Target::Autoregressive, Target::Bert(&mask)] {
        let mut gradients = Parameters::zeros(config).unwrap();
        let batch = Batch::new(&tokens, target);
        let loss = engine.gradients(&parameters, &batch, 0.7, &mut gradients).unwrap();
        all.extend([loss.to_bits() as u32, (loss.to_bits() >> 32) as u32]);
        all.extend(gradients.values().iter().map(|x| x.to_bits()));
    }
    let features = engine.features(&parameters, &tokens, View::Causal).unwrap();
    all.extend(features.iter().map(|x| x.to_bits()));
    let settings = Sampling { seed, ..Sampling::default() };
    let sampled = sample(engine, &parameters, &[], 7, 0, &settings).unwrap();
    all.extend(sampled.iter().map(|token| u32::from(*token)));
    all
}

/// Shapes that do not divide evenly: several micro-batches, several depths of a matmul, narrow panels, more than one block of
/// queries and keys, an MLP narrower than queries, keys and values together.
const UNEVEN: [Config; 2] = [
    Config { layers: 2, width: 72, heads: 3, context: 45, vocabulary: 37, inner: None, classes: None },
    Config { layers: 1, width: 20, heads: 1, context: 610, vocabulary: 300, inner: Some(50), classes: None },
];

/// Those in each precision.
fn cases() -> impl Iterator<Item = (Config, Precision)> {
    UNEVEN
        .into_iter()
        .flat_map(|config| [Precision::F32, Precision::Bf16].map(|precision| (config, precision)))
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for (config, precision) in cases() {
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| everything(&mut Engine::new(config).unwrap().with_precision(precision), 1))
        };
        let one = with(1);
        for threads in [2, 3, 8] {
            assert!(with(threads) == one, "{threads} threads, {config:?}, {precision:?}");
        }
    }
}

#[test]
fn the_instructions_and_activation_checkpointing_change_no_bit() {
    for (config, precision) in cases() {
        let engine = || Engine::new(config).unwrap().with_precision(precision);
        let best = everything(&mut engine(), 2);
        for isa in Isa::ALL {
            match engine().with_isa(isa) {
                Ok(mut engine) => {
                    assert!(everything(&mut engine, 2) == best, "{isa:?}, {config:?}, {precision:?}")
                }
                Err(error) => {
                    assert!(!isa.is_available() && error.to_string().contains("its best is"), "{error}");
                }
            }
        }
        let mut engine = engine().with_activation_checkpointing(true);
        assert!(everything(&mut engine, 2) == best, "activation checkpointing, {config:?}, {precision:?}");
    }
}

#[test]
fn the_workspace_leaves_no_trace() {
    // Batches of other sizes and targets between two of the same.
    let config = UNEVEN[0];
    let mut engine = Engine::new(config).unwrap();
    let first = everything(&mut engine, 3);
    let parameters = random(config, 4);
    for images in [1, 60, 2] {
        let tokens = random_tokens(&config, images, 4);
        engine.loss(&parameters, &Batch::autoregressive(&tokens)).unwrap();
        engine.features(&parameters, &tokens, View::Bidirectional(None)).unwrap();
    }
    assert!(everything(&mut engine, 3) == first);
}

/// The portable kernels in f64: the slope of the loss along a random direction in each tensor is what the gradient
/// says, up to the third order of the step.
#[test]
fn gradients_are_finite_differences() {
    for (seed, config) in [
        (
            1,
            Config { layers: 2, width: 12, heads: 2, context: 11, vocabulary: 6, inner: None, classes: None },
        ),
        (
            2,
            Config {
                layers: 1,
                width: 19,
                heads: 1,
                context: 310,
                vocabulary: 18,
                inner: Some(45),
                classes: None,
            },
        ),
    ] {
        let parameters = random(config, seed);
        let values: Vec<f64> = parameters.values().iter().map(|x| f64::from(*x)).collect();
        let (tokens, mask) = (random_tokens(&config, 2, seed), random_mask(&config, 2, seed));
        let mut core = Core::<f64>::new(config).unwrap();
        for target in [Target::Autoregressive, Target::Bert(&mask)] {
            let batch = Batch::new(&tokens, target);
            let mut gradients = vec![0.0; values.len()];
            let (to, precision) = (&mut gradients[..], Precision::F32);
            let wanted = Wanted { to, scale: 1.0, checkpointing: false, precision };
            core.loss(Isa::Portable, &values, &batch, Some(wanted)).unwrap().unwrap();
            for entry in parameters.layout().entries() {
                let mut rng = Rng::keyed(seed, &entry.name, [0, 0]);
                let direction: Vec<f64> = entry.range.clone().map(|_| rng.normal()).collect();
                let slope: f64 =
                    gradients[entry.range.clone()].iter().zip(&direction).map(|(g, d)| g * d).sum();
                let mut at = |step: f64| {
                    let mut values = values.clone();
                    let moved = values[entry.range.clone()].iter_mut().zip(&direction);
                    moved.for_each(|(x, d)| *x += step * d);
                    core.loss(Isa::Portable, &values, &batch, None).unwrap().unwrap()
                };
                // Richardson: the error of the difference is of the fourth order.
                let mut difference = |h: f64| (at(h) - at(-h)) / (2.0 * h);
                let h = 1e-3;
                let found = (4.0 * difference(h / 2.0) - difference(h)) / 3.0;
                assert!(
                    (found - slope).abs() < 1e-7 * slope.abs().max(0.01),
                    "{}: {found} {slope}, {config:?}, {target:?}",
                    entry.name
                );
            }
        }
    }
}

#[test]
fn a_sample_does_not_depend_on_its_batch() {
    let config =
        Config { layers: 2, width: 30, heads: 3, context: 50, vocabulary: 21, inner: None, classes: None };
    let (mut engine, parameters) = (Engine::new(config).unwrap(), random(config, 1));
    let settings = Sampling { seed: 5, ..Sampling::default() };
    let mut sample_token = |prompts: &[u16], count, first| {
        sample(&mut engine, &parameters, prompts, count, first, &settings).unwrap()
    };
    let all = sample_token(&[], 30, 100);
    for (count, first) in [(1, 100), (3, 117), (13, 110)] {
        let start = (first as usize - 100) * config.context;
        assert_eq!(sample_token(&[], count, first), all[start..start + count * config.context]);
    }
    let halves: Vec<u16> = all.chunks(50).flat_map(|image| &image[..25]).copied().collect();
    assert_eq!(sample_token(&halves, 30, 100), all);
}

#[test]
fn cached_keys_and_values_give_the_bits_of_a_forward_pass() {
    for config in UNEVEN {
        let (mut engine, parameters) = (Engine::new(config).unwrap(), random(config, 6));
        let (t, v, count) = (config.context, config.vocabulary, 3);
        let tokens = random_tokens(&config, count, 6);
        let seen = std::sync::Mutex::new(HashMap::new());
        // Draws what is in `tokens`, and keeps the logits.
        let sample_token = |logits: &[f32], i: usize, position: usize| {
            seen.lock().unwrap().insert((i, position), logits.to_vec());
            Ok(tokens[i * t + position])
        };
        assert_eq!(engine.complete(&parameters, &[], count, &sample_token).unwrap(), tokens);
        let seen = seen.into_inner().unwrap();
        for position in [0, 1, t / 2, t - 1] {
            let prefix: Vec<u16> = tokens.chunks(t).flat_map(|image| &image[..position]).copied().collect();
            let logits = engine.next_logits(&parameters, &prefix, count).unwrap();
            for (i, logits) in logits.chunks(v).enumerate() {
                assert_eq!(seen[&(i, position)], logits, "sequence {i}, position {position}");
            }
        }
    }
}

#[test]
fn greedy_samples_are_the_likeliest() {
    let config = UNEVEN[0];
    let (mut engine, parameters) = (Engine::new(config).unwrap(), random(config, 8));
    let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
    let image = sample(&mut engine, &parameters, &[], 1, 0, &greedy).unwrap();
    for position in 0..config.context {
        let logits = engine.next_logits(&parameters, &image[..position], 1).unwrap();
        assert!(logits.iter().all(|x| *x <= logits[usize::from(image[position])]), "{position}");
    }
}

#[test]
fn memory_is_what_the_plan_takes() {
    // Section 4 of the engine's text: 10 C + H + 2 numbers a token and layer, or C.
    let config = Config {
        layers: 12,
        width: 256,
        heads: 8,
        context: 1024,
        vocabulary: 512,
        inner: None,
        classes: None,
    };
    let all = memory(&config, 2, false);
    assert_eq!(all.per_token_and_layer, 4 * (2560 + 10));
    assert_eq!(all.kept, 2048 * 12 * all.per_token_and_layer);
    assert!(memory(&config, 2, true).kept * 10 < all.kept);
    // Batches beyond a micro-batch take no more.
    assert_eq!(memory(&config, 64, false), all);
    // What an engine allocates is what is said.
    let (mut engine, parameters) = (Engine::new(UNEVEN[0]).unwrap(), random(UNEVEN[0], 1));
    let tokens = random_tokens(&UNEVEN[0], 2, 1);
    let mut gradients = Parameters::zeros(UNEVEN[0]).unwrap();
    engine.gradients(&parameters, &Batch::autoregressive(&tokens), 1.0, &mut gradients).unwrap();
    let said = memory(&UNEVEN[0], 2, false);
    assert!(4 * engine.core.workspace.len() <= said.kept + said.temporary + 64);
}

#[test]
fn what_does_not_fit_is_refused() {
    let config = UNEVEN[0];
    let other = Parameters::zeros(Config { vocabulary: 38, ..config }).unwrap();
    let own = Parameters::zeros(config).unwrap();
    let mut engine = Engine::new(config).unwrap();
    let tokens = random_tokens(&config, 1, 1);
    let said = |result: Result<Vec<f32>>, said: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    };
    said(engine.features(&other, &tokens, View::Causal), "for an engine of");
    said(engine.features(&own, &tokens[1..], View::Causal), "no whole images");
    said(engine.next_logits(&own, &tokens, 1), "complete");
    said(engine.next_logits(&own, &tokens[..3], 2), "3 tokens are not the prompts");
    said(engine.next_logits(&own, &[37], 1), "token 37 is no colour");
    said(engine.loss(&own, &Batch::new(&tokens, Target::Bert(&[]))).map(|_| vec![]), "mask");
    assert!(Engine::new(Config { heads: 5, ..config }).is_err());
}
