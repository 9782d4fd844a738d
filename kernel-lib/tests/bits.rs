//! The bits of what the CPU's engine and the linear probe compute. They are the same for any processor, any number of
//! threads and any set of instructions, and stored results, recorded seeds and committed notebooks depend on them: whoever
//! changes one of these numbers changes all of those, and does it on purpose.

use igpt::augment::{Augmentation, Augmented};
use igpt::engine::Engine;
use igpt::model::{Batch, Config, Network, Parameters, Precision, View};
use igpt::palette::Palette;
use igpt::probe::{FeatureMatrix, Probe, TestSet, choose};
use igpt::rng::Rng;
use igpt::sample::{Sampling, sample};
use igpt::train::{Adam, Examples, Objective, Outcome, Tokens, Trainer, Training, WarmUp};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

const CONFIG: Config =
    Config { layers: 2, width: 36, heads: 3, context: 196, vocabulary: 16, inner: None, classes: None };

/// The first eight bytes of the SHA-256 of these numbers.
fn digest(numbers: impl IntoIterator<Item = u32>) -> String {
    let bytes: Vec<u8> = numbers.into_iter().flat_map(u32::to_le_bytes).collect();
    Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn floats(values: &[f32]) -> String {
    digest(values.iter().map(|x| x.to_bits()))
}

fn tokens(tokens: &[u16]) -> String {
    digest(tokens.iter().map(|token| u32::from(*token)))
}

/// Fashion-MNIST, randomly translated, in sixteen greys.
fn examples() -> Augmented {
    let greys = Palette::new(1, (0..16).map(|grey| grey as f32 / 7.5 - 1.0).collect()).unwrap();
    let images = igpt::data::fashion_mnist().unwrap().train().images.clone();
    Augmented::new(Arc::new(images), Augmentation::random_translation(), greys, 3).unwrap()
}

/// A short training: digests of its parameters and losses, of features, logits and samples. (Those of a network trained by
/// BERT's objective mean nothing, but are numbers too.)
fn all(objective: Objective, precision: Precision) -> [String; 5] {
    let settings = Training {
        batch: 24,
        warm_up: WarmUp::Steps(2),
        adam: Adam { clip: Some(0.8), weight_decay: 0.01, ..Adam::default() },
        objective,
        precision,
        log_every: 1,
        seed: 5,
        ..Training::paper(4)
    };
    let examples = Arc::new(examples());
    let unseen = examples.tokens(99, &[1, 5, 7]).unwrap();
    let validation = Arc::new(Tokens::new(CONFIG.context, unseen.clone()).unwrap());
    let network = Box::new(Engine::new(CONFIG).unwrap());
    let mut trainer = Trainer::new(settings, network, examples, validation).unwrap();
    assert_eq!(trainer.run(&mut |_| ()).unwrap(), Outcome::Finished);
    let (parameters, curve, mut network) = trainer.into_parts();
    let losses = curve.training.iter().chain(&curve.validation).map(|point| point.loss.to_bits());
    let losses = digest(losses.flat_map(|bits| [bits as u32, (bits >> 32) as u32]));
    let causal = matches!(objective, Objective::Autoregressive);
    let features = network.features(&parameters, &unseen, View::of(causal)).unwrap();
    let logits = network.next_logits(&parameters, &unseen[..100], 1).unwrap();
    let sampled = sample(network.as_mut(), &parameters, &[], 3, 0, &Sampling::default()).unwrap();
    [floats(parameters.values()), losses, floats(&features), floats(&logits), tokens(&sampled)]
}

#[test]
fn images_as_tokens_have_these_bits() {
    assert_eq!(tokens(&examples().tokens(2, &[0, 4, 9]).unwrap()), "6ad6062e5515b420");
}

#[test]
fn trainings_have_these_bits() {
    let bert = Objective::Bert { mask: 0.15 };
    let expected = [
        (
            Objective::Autoregressive,
            Precision::F32,
            [
                "0552946a8649e187",
                "4a9ef86bd521f11a",
                "5f628d8051d126e0",
                "4e85b687c202d4e5",
                "5b0de213b7405d0f",
            ],
        ),
        (
            bert,
            Precision::F32,
            [
                "e08da5efeb173bbf",
                "c2657f010c30a76f",
                "00fea2fc94666a72",
                "ce9656a2b7d32487",
                "0252763cbf2d61c4",
            ],
        ),
        (
            Objective::Autoregressive,
            Precision::Bf16,
            [
                "a450f5154659e820",
                "039b7eb648f5bc44",
                "05c81a51da853b47",
                "9c28fc21df2ee2b4",
                "03c31f75e40b10de",
            ],
        ),
    ];
    let found = expected.map(|(objective, precision, _)| all(objective, precision));
    assert_eq!(found, expected.map(|(.., digests)| digests.map(str::to_owned)));
}

#[test]
fn a_network_of_random_parameters_has_these_bits() {
    let mut parameters = Parameters::init(CONFIG, 9).unwrap();
    let mut rng = igpt::rng::Rng::keyed(9, "head", [0, 0]);
    parameters.get_mut("head").unwrap().iter_mut().for_each(|x| *x = 0.3 * rng.normal() as f32);
    let unseen = examples().tokens(1, &[3, 8]).unwrap();
    let mut network = Engine::new(CONFIG).unwrap();
    let mut gradients = Parameters::zeros(CONFIG).unwrap();
    let batch = Batch::autoregressive(&unseen);
    let loss = network.gradients(&parameters, &batch, 0.5, &mut gradients).unwrap();
    assert_eq!(
        (loss.to_bits(), floats(gradients.values()).as_str()),
        (4618325504496671081, "f156364da89a1257")
    );
}

/// Features of images at three layers, of five classes.
fn features(seed: u64, images: usize) -> (Vec<FeatureMatrix>, Vec<u16>) {
    let mut rng = Rng::keyed(seed, "bits of probes", [0, 0]);
    let labels: Vec<u16> = (0..images).map(|_| rng.below(5) as u16).collect();
    let mut values = Vec::new();
    for label in &labels {
        for at in 0..3 * 20 {
            let says = if at % 5 == usize::from(*label) { 0.4 * (1 + at / 20) as f64 } else { 0.0 };
            values.push((says + rng.normal() + (at % 7) as f64) as f32);
        }
    }
    (FeatureMatrix::by_layer(&values, 3, 20).unwrap(), labels)
}

/// Committed notebooks and stored results have these numbers, too.
#[test]
fn linear_probes_have_these_bits() {
    let ((train, labels), (test, test_labels)) = (features(1, 900), features(2, 400));
    let mut numbers: Vec<f64> = Vec::new();
    for l2 in [1.0, 1e-3, 1e-6] {
        let probe = Probe::fit(&train[2], &labels, 5, l2).unwrap();
        numbers.extend(probe.weights().concat().iter().chain(probe.intercepts()));
        numbers.push(probe.outcome().objective);
    }
    let validation: Vec<usize> = (0..900).step_by(5).collect();
    let choice = choose(&train, &labels, 5, &validation, &[1e-4, 1e-2, 1.0]).unwrap();
    let curve = choice.test(TestSet::new(&test, test_labels).unwrap()).unwrap();
    numbers.extend(
        curve.layers.iter().flat_map(|layer| [layer.l2, layer.test.share(), layer.validation.share()]),
    );
    let bits = numbers.iter().map(|x| x.to_bits()).flat_map(|bits| [bits as u32, (bits >> 32) as u32]);
    assert_eq!(digest(bits), "6b7129f6eafa1d64");
}
