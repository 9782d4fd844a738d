//! Gradients with products of bf16 numbers: how far they are from the truth, and that the products are what they should
//! be.

use super::super::backend::{Arena, Backend as _, Form, Kind, Product, Span};
use super::super::cpu::{Cpu, Extra};
use super::*;

/// Distance over length, of vectors.
fn relative(found: &[f32], truth: &[f64]) -> f64 {
    let square = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x * x).sum::<f64>();
    let distance = square(&mut found.iter().zip(truth).map(|(found, truth)| f64::from(*found) - truth));
    let length = square(&mut truth.iter().copied());
    if distance == 0.0 { 0.0 } else { (distance / length).sqrt() }
}

/// Errors of the loss, of all gradients together, and of the tensor where it is largest.
fn errors(config: Config, images: usize, seed: u64, precision: Precision) -> [f64; 3] {
    let parameters = random(config, seed);
    let tokens = random_tokens(&config, images, seed);
    let mask = random_mask(&config, images, seed);
    let mut worst = [0.0f64; 3];
    for target in [Target::Autoregressive, Target::Bert(&mask)] {
        let batch = Batch::new(&tokens, target);
        let truth = truth(&parameters, &batch).unwrap();
        let mut gradients = Parameters::zeros(config).unwrap();
        let mut engine = Engine::new(config).unwrap().with_precision(precision);
        let loss = engine.gradients(&parameters, &batch, 1.0, &mut gradients).unwrap();
        let (mut found, mut expected, mut tensor) = (Vec::new(), Vec::new(), 0.0f64);
        for entry in parameters.layout().entries() {
            let (gradient, truth) = (gradients.get(&entry.name).unwrap(), &truth.gradients[&entry.name]);
            tensor = tensor.max(relative(gradient, truth));
            found.extend_from_slice(gradient);
            expected.extend_from_slice(truth);
        }
        let errors = [(loss - truth.loss).abs() / truth.loss, relative(&found, &expected), tensor];
        worst = std::array::from_fn(|i| worst[i].max(errors[i]));
    }
    worst
}

#[test]
fn gradients_in_bf16_are_near_the_truth() {
    let mut most = [0.0f64; 3];
    for (seed, config, images) in [
        (
            1,
            Config { layers: 2, width: 32, heads: 2, context: 20, vocabulary: 7, inner: None, classes: None },
            3,
        ),
        (
            2,
            Config {
                layers: 3,
                width: 60,
                heads: 5,
                context: 49,
                vocabulary: 33,
                inner: None,
                classes: None,
            },
            4,
        ),
        (
            3,
            Config {
                layers: 1,
                width: 31,
                heads: 1,
                context: 401,
                vocabulary: 9,
                inner: None,
                classes: None,
            },
            1,
        ),
        // Heads of 32 channels, and a context of 14 × 14 tokens.
        (
            4,
            Config {
                layers: 8,
                width: 128,
                heads: 4,
                context: 196,
                vocabulary: 16,
                inner: None,
                classes: None,
            },
            2,
        ),
    ] {
        let exact = errors(config, images, seed, Precision::F32);
        assert!(exact.iter().all(|error| *error < 1e-5), "{exact:?}");
        let found = errors(config, images, seed, Precision::Bf16);
        println!(
            "{config:?}: loss {:.1e}, gradients {:.1e}, worst tensor {:.1e}",
            found[0], found[1], found[2]
        );
        // It is not f32 by mistake.
        assert!(found[1] > 1e-4, "{found:?}");
        most = std::array::from_fn(|i| most[i].max(found[i]));
    }
    assert!(most[0] < 2e-3 && most[1] < 0.04 && most[2] < 0.05, "{most:?}");
}

#[test]
fn what_is_judged_is_in_f32() {
    let config = UNEVEN[0];
    let (parameters, tokens) = (random(config, 1), random_tokens(&config, 2, 1));
    let all = |precision| {
        let mut engine = Engine::new(config).unwrap().with_precision(precision);
        let loss = engine.loss(&parameters, &Batch::autoregressive(&tokens)).unwrap();
        let logits = engine.next_logits(&parameters, &tokens[..20], 2).unwrap();
        (loss, logits, engine.features(&parameters, &tokens, View::Causal).unwrap())
    };
    assert_eq!(all(Precision::Bf16), all(Precision::F32));
}

/// Rounded to bf16.
fn rounded(x: f32) -> f64 {
    let bits = x.to_bits();
    f64::from(f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000))
}

/// c = a · b of random matrices, plus what was there.
fn product(form: Form, shape: [usize; 3], values: &mut [f32]) -> Vec<f32> {
    let [m, n, k] = shape;
    let span = |start, len| Span { arena: Arena::Workspace, kind: Kind::Rounded, start, len };
    let (a, b, c) = (span(0, m * k), span(m * k, k * n), span(m * k + k * n, m * n));
    let mut extra = Extra::default();
    let mut machine = Cpu::new(Isa::best(), &[], &mut [], values, &mut extra).with_precision(Precision::Bf16);
    machine.matmul(Product { form, a, b, c, plus: Some(c), shape });
    let mut found = vec![0.0; m * n];
    machine.read(c, &mut found);
    found
}

#[test]
fn products_are_those_of_rounded_factors() {
    for (seed, form) in [Form::NN, Form::NT, Form::TN].into_iter().enumerate() {
        for shape in [[1, 1, 1], [5, 7, 3], [13, 33, 64], [40, 50, 1025], [97, 300, 31]] {
            let [m, n, k] = shape;
            let mut rng = Rng::keyed(seed as u64, "products", [k as u64, 0]);
            let values: Vec<f32> = (0..m * k + k * n + m * n).map(|_| rng.normal() as f32).collect();
            let found = product(form, shape, &mut values.clone());
            let (a, rest) = values.split_at(m * k);
            let (b, c) = rest.split_at(k * n);
            for i in 0..m {
                for j in 0..n {
                    let factor = |at: usize| {
                        let a = a[if form == Form::TN { at * m + i } else { i * k + at }];
                        let b = b[if form == Form::NT { j * k + at } else { at * n + j }];
                        rounded(a) * rounded(b)
                    };
                    let truth = f64::from(c[i * n + j]) + (0..k).map(factor).sum::<f64>();
                    let error = (f64::from(found[i * n + j]) - truth).abs();
                    assert!(error < 2e-6 * (k as f64 + 1.0).sqrt() * 4.0, "{form:?} {shape:?}: {error:e}");
                }
            }
            // A row has the bits that it has alone.
            if form != Form::TN {
                let last: Vec<f32> = [&a[(m - 1) * k..], b, &c[(m - 1) * n..]].concat();
                assert_eq!(product(form, [1, n, k], &mut last.clone()), found[(m - 1) * n..]);
            }
        }
    }
}
