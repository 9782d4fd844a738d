//! Networks from checkpoints compute what transformers' do: on the reference, and on the engine.

use super::*;
use crate::engine::Engine;
use crate::model::{Batch, ImageGpt, Network, Reference, View};
use candle_core::{DType, Device, Tensor};
use std::collections::HashMap;

/// What is allowed: the largest difference over the largest value of a tensor.
const TOLERANCE: f64 = 1e-5;

struct Case {
    parameters: Parameters,
    expected: HashMap<String, Tensor>,
    tokens: Vec<u16>,
}

fn cases() -> impl Iterator<Item = Case> {
    NETWORKS.into_iter().map(|network| {
        let parameters = Checkpoint::read(&fixture(network)).unwrap().parameters;
        let path = fixture(network).join("expected.safetensors");
        let expected = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        let tokens = tokens(&expected["tokens"]);
        assert_eq!(tokens.len(), 2 * parameters.config().context);
        Case { parameters, expected, tokens }
    })
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

fn tokens(tensor: &Tensor) -> Vec<u16> {
    values(tensor).into_iter().map(|token| token as u16).collect()
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

#[track_caller]
fn close(what: &str, ours: &[f64], theirs: &[f64]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let largest = theirs.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    let off = ours.iter().zip(theirs).fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
    assert!(largest > 0.0 && off <= TOLERANCE * largest, "{what}: {:e}", off / largest);
}

#[test]
fn the_reference_computes_what_transformers_computes() {
    for Case { parameters, expected, tokens } in cases() {
        let config = parameters.config();
        let model = ImageGpt::new(&parameters, DType::F32, &Device::Cpu).unwrap();
        let ids: Vec<u32> = tokens.iter().copied().map(u32::from).collect();
        let ids = Tensor::from_vec(ids, (2, config.context), &Device::Cpu).unwrap();
        close("logits", &values(&model.logits(&ids).unwrap()), &values(&expected["logits"]));
        let states = model.hidden_states(&ids).unwrap();
        assert_eq!(states.len(), config.layers + 1);
        for (i, state) in states.iter().enumerate() {
            let name = format!("hidden.{i}");
            close(&name, &values(state), &values(&expected[&name]));
        }
    }
}

/// Loss, gradients, logits at all positions, features by hand from the hidden states, and the greedy image.
fn agrees(network: &mut dyn Network, case: &Case) {
    let Case { parameters, expected, tokens } = case;
    let Config { layers, width: c, context: t, vocabulary: v, .. } = parameters.config();
    let batch = Batch::autoregressive(tokens);
    let mut gradients = Parameters::zeros(parameters.config()).unwrap();
    let loss = network.gradients(parameters, &batch, 1.0, &mut gradients).unwrap();
    close("loss", &[loss], &values(&expected["loss"]));
    close("loss alone", &[network.loss(parameters, &batch).unwrap()], &values(&expected["loss"]));
    for entry in gradients.layout().entries() {
        let name = format!("gradient.{}", entry.name);
        close(&name, &widen(gradients.get(&entry.name).unwrap()), &values(&expected[&name]));
    }

    let logits = values(&expected["logits"]); // (2, T, V)
    for position in 0..t {
        let before: Vec<u16> = tokens.chunks(t).flat_map(|image| &image[..position]).copied().collect();
        let found = widen(&network.next_logits(parameters, &before, 2).unwrap());
        let theirs: Vec<f64> =
            logits.chunks(t * v).flat_map(|image| &image[position * v..][..v]).copied().collect();
        close("next logits", &found, &theirs);
    }

    // Block l's first norm of the l-th state, and the last state, averaged over the tokens.
    let features = network.features(parameters, tokens, View::Causal).unwrap(); // (2, L + 1, C)
    for l in 0..=layers {
        let state = values(&expected[&format!("hidden.{l}")]);
        let weight = parameters.get(&format!("h.{l}.ln_1")).map(widen).ok();
        let mut mean = vec![0.0; 2 * c];
        for (position, h) in state.chunks(c).enumerate() {
            let deviation = (h.iter().map(|x| x * x).sum::<f64>() / c as f64 + 1e-5).sqrt();
            for (i, x) in h.iter().enumerate() {
                let normed = weight.as_ref().map_or(*x, |weight| x / deviation * weight[i]);
                mean[position / t * c + i] += normed / t as f64;
            }
        }
        let found = features.chunks((layers + 1) * c).flat_map(|image| &image[l * c..][..c]);
        close(&format!("features {l}"), &found.copied().map(f64::from).collect::<Vec<_>>(), &mean);
    }

    let greedy = |logits: &[f32], _: usize, _: usize| {
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
        Ok(best.unwrap() as u16)
    };
    let drawn = network.complete(parameters, &[], 1, &greedy).unwrap();
    assert_eq!(drawn, self::tokens(&expected["greedy"]));
}

#[test]
fn both_networks_learn_and_draw_as_transformers_does() {
    for case in cases() {
        let config = case.parameters.config();
        agrees(&mut Reference::new(config, DType::F32).unwrap(), &case);
        agrees(&mut Engine::new(config).unwrap(), &case);
        agrees(&mut Engine::new(config).unwrap().with_activation_checkpointing(true), &case);
    }
}
