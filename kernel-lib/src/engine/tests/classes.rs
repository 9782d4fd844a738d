//! The classification head, masked inputs and the loss by layer: the engine against the reference in f64, and both against
//! PyTorch, by the fixture that `tests/fixtures/finetuning/make.py` made.

use super::{random, random_mask, random_tokens};
use crate::engine::Engine;
use crate::model::{Batch, Classes, Config, Network, Parameters, Reference, Target, View};
use crate::rng::Rng;
use candle_core::{DType, Device, Tensor};
use std::collections::HashMap;
use std::path::Path;

/// The largest difference over the largest true value.
#[track_caller]
fn close(what: &str, found: &[f32], truth: &[f32]) {
    assert_eq!(found.len(), truth.len(), "{what}");
    let largest = truth.iter().fold(1e-30f32, |most, x| most.max(x.abs()));
    let error = found.iter().zip(truth).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / largest;
    assert!(error < 1e-5, "{what}: {error:e}");
}

pub(in crate::engine) fn random_labels(images: usize, classes: usize, seed: u64) -> Vec<u16> {
    let mut rng = Rng::keyed(seed, "test labels", [0, 0]);
    (0..images).map(|_| rng.below(classes) as u16).collect()
}

/// Several micro-batches; heads and widths that are no multiples of anything.
const CONFIGS: [Config; 3] = [
    Config { layers: 3, width: 24, heads: 2, context: 30, vocabulary: 11, inner: None, classes: Some(5) },
    Config { layers: 1, width: 35, heads: 5, context: 17, vocabulary: 3, inner: Some(20), classes: Some(1) },
    Config { layers: 1, width: 16, heads: 1, context: 700, vocabulary: 7, inner: None, classes: Some(300) },
];

#[test]
fn classes_are_learnt_as_the_reference_does() {
    for (seed, config) in CONFIGS.into_iter().enumerate() {
        let (images, seed) = (5, seed as u64);
        let parameters = random(config, seed);
        let (tokens, mask) = (random_tokens(&config, images, seed), random_mask(&config, images, seed));
        let labels = random_labels(images, config.classes.unwrap(), seed);
        let mut reference = Reference::new(config, DType::F64).unwrap();
        for target in [Target::Autoregressive, Target::Bert(&mask)] {
            for layer in 0..=config.layers {
                for (generative, classification) in [(1.0, 1.0), (0.0, 0.5), (0.25, 0.0)] {
                    let classes = Classes { labels: &labels, layer, generative, classification };
                    let batch = Batch::new(&tokens, target).with_classes(classes);
                    let mut truth = Parameters::zeros(config).unwrap();
                    let expected = reference.gradients(&parameters, &batch, 0.5, &mut truth).unwrap();
                    for checkpointing in [false, true] {
                        let mut engine =
                            Engine::new(config).unwrap().with_activation_checkpointing(checkpointing);
                        let mut found = Parameters::zeros(config).unwrap();
                        let loss = engine.gradients(&parameters, &batch, 0.5, &mut found).unwrap();
                        assert!((loss - expected).abs() <= 1e-6 * expected, "{loss} {expected}");
                        assert_eq!(engine.loss(&parameters, &batch).unwrap(), loss);
                        for entry in parameters.layout().entries() {
                            let name = &entry.name;
                            close(
                                &format!("{name}, {config:?}, layer {layer}, {generative} {classification}"),
                                found.get(name).unwrap(),
                                truth.get(name).unwrap(),
                            );
                        }
                    }
                }
            }
            let batch = Batch::new(&tokens, target);
            let mut engine = Engine::new(config).unwrap();
            let found = engine.losses_by_layer(&parameters, &batch).unwrap();
            let truth = reference.losses_by_layer(&parameters, &batch).unwrap();
            assert_eq!(found.len(), config.layers + 1);
            assert!(found.iter().zip(&truth).all(|(a, b)| (a / b - 1.0).abs() < 1e-6), "{found:?} {truth:?}");
            let whole = engine.loss(&parameters, &batch).unwrap();
            assert!((found[config.layers] / whole - 1.0).abs() < 1e-12, "{found:?} {whole}");
            for (layer, loss) in found.iter().enumerate() {
                let gradients = |network: &mut dyn Network| {
                    let mut gradients = Parameters::zeros(config).unwrap();
                    let loss =
                        network.head_gradients(&parameters, &batch, layer, 0.5, &mut gradients).unwrap();
                    (loss, gradients)
                };
                let (fast, slow) = (gradients(&mut engine), gradients(&mut reference));
                assert!((fast.0 / loss - 1.0).abs() < 1e-12, "{} {loss}", fast.0);
                for entry in parameters.layout().entries() {
                    let (name, of_head) =
                        (entry.name.as_str(), ["ln_f", "head"].contains(&entry.name.as_str()));
                    let (fast, slow) = (fast.1.get(name).unwrap(), slow.1.get(name).unwrap());
                    close(&format!("{name} of the head at layer {layer}"), fast, slow);
                    assert_eq!(fast.iter().any(|x| *x != 0.0), of_head, "{name}");
                }
            }
            let mut all = Parameters::zeros(config).unwrap();
            assert!(engine.head_gradients(&parameters, &batch, config.layers + 1, 1.0, &mut all).is_err());
            // At the last layer they are those of the network.
            engine.head_gradients(&parameters, &batch, config.layers, 1.0, &mut all).unwrap();
            let mut whole = Parameters::zeros(config).unwrap();
            engine.gradients(&parameters, &batch, 1.0, &mut whole).unwrap();
            for name in ["ln_f", "head"] {
                assert_eq!(all.get(name).unwrap(), whole.get(name).unwrap());
            }
        }
        let masked = View::Bidirectional(Some(&mask));
        let mut engine = Engine::new(config).unwrap();
        let features =
            |network: &mut dyn Network, view| network.features(&parameters, &tokens, view).unwrap();
        close("features", &features(&mut engine, masked), &features(&mut reference, masked));
        assert!(features(&mut engine, masked) != features(&mut engine, View::Bidirectional(None)));
        let logits = engine.masked_logits(&parameters, &tokens, &mask).unwrap();
        close("logits", &logits, &reference.masked_logits(&parameters, &tokens, &mask).unwrap());
        let count = mask.iter().filter(|masked| **masked).count();
        assert_eq!(logits.len(), count * config.vocabulary);
    }
}

#[test]
fn a_head_that_is_not_learnt_changes_no_bit() {
    let with = CONFIGS[0];
    let (plain, tokens) = (with.with_classes(None), random_tokens(&with, 4, 2));
    let parameters = random(plain, 2);
    let batch = Batch::autoregressive(&tokens);
    let all = |config: Config, parameters: &Parameters| {
        let mut gradients = Parameters::zeros(config).unwrap();
        let loss = Engine::new(config).unwrap().gradients(parameters, &batch, 1.0, &mut gradients).unwrap();
        (loss, gradients.with_classes(None).unwrap())
    };
    let headed = parameters.with_classes(with.classes).unwrap();
    assert!(headed.get("score").unwrap().iter().all(|x| *x == 0.0));
    assert_eq!(headed.with_classes(None).unwrap(), parameters);
    assert!(all(with, &headed) == all(plain, &parameters));
}

#[test]
fn what_cannot_be_classified_is_refused() {
    let config = CONFIGS[0];
    let (parameters, tokens) = (random(config, 1), random_tokens(&config, 2, 1));
    let good = Classes { labels: &[0, 4], layer: 3, generative: 1.0, classification: 1.0 };
    let said = |config: Config, classes: Classes<'_>| {
        let parameters = parameters.with_classes(config.classes).unwrap();
        let batch = Batch::autoregressive(&tokens).with_classes(classes);
        Engine::new(config).unwrap().loss(&parameters, &batch).map_err(|error| error.to_string())
    };
    said(config, good).unwrap();
    for (config, classes, expected) in [
        (config.with_classes(None), good, "without a classification head"),
        (config, Classes { labels: &[0], ..good }, "1 labels for 2 images"),
        (config, Classes { labels: &[0, 5], ..good }, "label 5 is none of 5 classes"),
        (config, Classes { layer: 4, ..good }, "no layer 4"),
        (config, Classes { generative: f64::NAN, ..good }, "cannot weigh tokens by NaN"),
        (config, Classes { generative: 0.0, classification: 0.0, ..good }, "cannot weigh"),
        (config, Classes { classification: -1.0, ..good }, "classes by -1"),
    ] {
        let error = said(config, classes).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let error = Engine::new(config)
        .unwrap()
        .features(&parameters, &tokens, View::Bidirectional(Some(&[true])))
        .unwrap_err();
    assert!(error.to_string().contains("a mask of 1"), "{error}");
    let unmasked = vec![false; tokens.len()];
    assert!(Engine::new(config).unwrap().masked_logits(&parameters, &tokens, &unmasked).is_err());
}

/// What the fixture has.
struct Fixture(HashMap<String, Tensor>);

impl Fixture {
    fn read() -> Self {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/finetuning/finetuning.safetensors");
        Self(candle_core::safetensors::load(file, &Device::Cpu).unwrap())
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.0[name].flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
    }

    fn whole(&self, name: &str) -> Vec<u16> {
        self.floats(name).into_iter().map(|x| x as u16).collect()
    }
}

#[test]
fn losses_gradients_and_logits_are_pytorchs() {
    let fixture = Fixture::read();
    let config =
        Config { layers: 2, width: 12, heads: 2, context: 9, vocabulary: 5, inner: None, classes: Some(3) };
    let mut parameters = Parameters::zeros(config).unwrap();
    for entry in parameters.layout().entries().to_vec() {
        parameters.get_mut(&entry.name).unwrap().copy_from_slice(&fixture.floats(&entry.name));
    }
    let [tokens, labels, masked] = ["tokens", "labels", "masked"].map(|name| fixture.whole(name));
    let masked: Vec<bool> = masked.into_iter().map(|masked| masked == 1).collect();
    let networks: [Box<dyn Network>; 2] =
        [Box::new(Engine::new(config).unwrap()), Box::new(Reference::new(config, DType::F64).unwrap())];
    for mut network in networks {
        for (case, bert, layer, generative, classification) in [
            ("ar joint", false, 2, 1.0, 1.0),
            ("ar classes", false, 2, 0.0, 1.0),
            ("ar middle", false, 1, 0.5, 2.0),
            ("bert joint", true, 2, 1.0, 1.0),
            ("bert classes", true, 1, 0.0, 1.0),
        ] {
            let target = if bert { Target::Bert(&masked) } else { Target::Autoregressive };
            let classes = Classes { labels: &labels, layer, generative, classification };
            let batch = Batch::new(&tokens, target).with_classes(classes);
            let mut gradients = Parameters::zeros(config).unwrap();
            let loss = network.gradients(&parameters, &batch, 1.0, &mut gradients).unwrap();
            let truth = f64::from(fixture.floats(&format!("{case}/loss"))[0]);
            assert!((loss / truth - 1.0).abs() < 1e-6, "{case}: {loss} {truth}");
            for entry in parameters.layout().entries() {
                let truth = fixture.floats(&format!("{case}/{}", entry.name));
                close(&format!("{case}, {}", entry.name), gradients.get(&entry.name).unwrap(), &truth);
            }
        }
        for (case, target) in [("ar", Target::Autoregressive), ("bert", Target::Bert(&masked))] {
            let batch = Batch::new(&tokens, target);
            let losses = network.losses_by_layer(&parameters, &batch).unwrap();
            let losses: Vec<f32> = losses.into_iter().map(|loss| loss as f32).collect();
            close("losses by layer", &losses, &fixture.floats(&format!("{case}/by layer")));
            let features = network.features(&parameters, &tokens, batch.view()).unwrap();
            close("features", &features, &fixture.floats(&format!("{case}/features")));
        }
        let logits = network.masked_logits(&parameters, &tokens, &masked).unwrap();
        close("masked logits", &logits, &fixture.floats("bert/masked logits"));
    }
}
