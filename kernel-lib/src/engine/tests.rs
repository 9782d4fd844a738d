//! The engine against an independent network in f64 (candle, differentiated by candle), against itself on other
//! threads and instruction sets, and against finite differences.

use super::*;
use crate::rng::Rng;
use candle_core::{D, DType, Device, Tensor, Var};
use std::collections::HashMap;

/// Parameters with random gains and a random output matrix: zeros there would make all other gradients zero.
fn random(config: Config, seed: u64) -> Parameters {
    let mut parameters = Parameters::init(config, seed).unwrap();
    let entries = parameters.layout().entries().to_vec();
    for (place, entry) in entries.iter().enumerate() {
        let mut rng = Rng::keyed(seed, "test parameters", [place as u64, 0]);
        let values = parameters.get_mut(&entry.name).unwrap();
        let gain = entry.name.contains("ln_");
        let (mean, deviation) = if gain { (1.0, 0.2) } else { (0.0, 0.15) };
        values.iter_mut().for_each(|x| *x = (mean + deviation * rng.normal()) as f32);
    }
    parameters
}

fn random_tokens(config: &Config, pictures: usize, seed: u64) -> Vec<u16> {
    let mut rng = Rng::keyed(seed, "test tokens", [0, 0]);
    (0..pictures * config.context).map(|_| rng.below(config.vocabulary) as u16).collect()
}

/// About a sixth, and at least one in each picture.
fn random_mask(config: &Config, pictures: usize, seed: u64) -> Vec<bool> {
    let mut rng = Rng::keyed(seed, "test mask", [0, 0]);
    let mut mask: Vec<bool> = (0..pictures * config.context).map(|_| rng.below(6) == 0).collect();
    mask.chunks_mut(config.context).for_each(|picture| picture[rng.below(config.context)] = true);
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
    let Config { layers, width: c, heads: h, context: t, vocabulary: v } = parameters.config();
    let b = batch.tokens.len() / t;
    let mut vars = HashMap::new();
    for entry in parameters.layout().entries() {
        let tensor = parameters.tensor(&entry.name).unwrap().to_dtype(DType::F64)?;
        vars.insert(entry.name.clone(), Var::from_tensor(&tensor)?);
    }
    let p = |name: &str| vars[name].as_tensor().clone();
    let norm = |x: &Tensor, gain: Tensor| -> candle_core::Result<Tensor> {
        let r = (x.sqr()?.mean_keepdim(D::Minus1)? + 1e-5)?.sqrt()?;
        x.broadcast_div(&r)?.broadcast_mul(&gain)
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
    let (vectors, hidden, causal) = match batch.objective {
        Objective::Autoregressive => {
            let start = p("sos").reshape((1, 1, c))?.broadcast_as((b, 1, c))?;
            (Tensor::cat(&[&start, &vectors.narrow(1, 0, t - 1)?], 1)?, vec![true; b * t], true)
        }
        Objective::Bert(masked) => {
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
        .flat_map(|picture| {
            let count = picture.iter().filter(|hidden| **hidden).count() as f64;
            picture.iter().map(move |hidden| if *hidden { -1.0 / count / b as f64 } else { 0.0 })
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
fn agrees(config: Config, pictures: usize, seed: u64, recompute: bool) -> f64 {
    let parameters = random(config, seed);
    let tokens = random_tokens(&config, pictures, seed);
    let mask = random_mask(&config, pictures, seed);
    let mut engine = Engine::new(config).unwrap().with_recomputation(recompute);
    let mut worst: f64 = 0.0;
    for objective in [Objective::Autoregressive, Objective::Bert(&mask)] {
        let batch = Batch { tokens: &tokens, objective };
        let causal = matches!(objective, Objective::Autoregressive);
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
            let features = engine.features(&parameters, &tokens, causal).unwrap();
            found.push(("features".to_owned(), error(&features, &truth.features)));
        }
        for (name, error) in found {
            assert!(error < 1e-5, "{name}: {error:e} for {config:?}, {pictures} pictures, causal {causal}");
            worst = worst.max(error);
        }
    }
    worst
}

#[test]
fn it_computes_the_network() {
    let config = Config { layers: 2, width: 32, heads: 2, context: 20, vocabulary: 7 };
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
        };
        agrees(config, 1 + rng.below(3), seed, seed % 2 == 0);
    }
}

#[test]
fn it_computes_long_pictures_ragged_shards_and_wide_heads() {
    // More keys than one block; more queries than one.
    agrees(Config { layers: 1, width: 32, heads: 1, context: 700, vocabulary: 5 }, 1, 1, false);
    // Heads of 192, as in iGPT-XL.
    agrees(Config { layers: 1, width: 192, heads: 1, context: 40, vocabulary: 5 }, 1, 2, false);
    // Shards of 3 and 2 pictures, in which a picture has 600 tokens.
    agrees(Config { layers: 2, width: 16, heads: 1, context: 600, vocabulary: 33 }, 5, 3, true);
}
