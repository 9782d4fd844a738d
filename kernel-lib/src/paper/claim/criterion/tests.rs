use super::*;
use crate::rng::Rng;
use Verdict::{Inconclusive, NotSupportedAtThisScale as Not, Plateau, Supported};

/// An effect of 400 test images with this mean and standard error.
fn effect(mean: f64, standard_error: f64) -> Effect {
    // Half of the numbers to either side.
    let spread = standard_error * 399f64.sqrt();
    let values: Vec<f64> = (0..400).map(|i| mean + if i % 2 == 0 { spread } else { -spread }).collect();
    Effect::of_images(&values).unwrap()
}

#[test]
fn checks_are_exact() {
    let between = Test::Between { low: 1.0, high: 2.0 };
    for (test, measured, verdict) in [
        (Test::Equals { value: 3.0 }, &[3.0, 3.0][..], Supported),
        (Test::Equals { value: 3.0 }, &[3.0, 3.1], Not),
        (Test::Equals { value: 3.0 }, &[f64::NAN], Inconclusive),
        (between, &[1.0, 2.0], Supported),
        (between, &[0.9], Not),
        (Test::Increasing {}, &[1.0, 2.0, 3.0], Supported),
        (Test::Increasing {}, &[1.0, 1.0], Not),
        (Test::Increasing {}, &[1.0], Inconclusive),
        (Test::Decreasing {}, &[3.0, 2.0], Supported),
        (Test::Decreasing {}, &[3.0, 4.0], Not),
    ] {
        assert_eq!(test.judge(&measured.to_vec().into()).unwrap(), verdict, "{test:?} {measured:?}");
    }
    assert!(between.judge(&effect(1.5, 0.1).into()).is_err());
}

#[test]
fn findings_are_judged_by_the_whole_interval() {
    let at_least = Test::EffectAtLeast { value: 8.0, margin: 0.0 };
    let wide = Test::EffectAtLeast { value: 8.0, margin: 1.0 };
    let excludes = Test::EffectExcludes { value: 0.0, margin: 0.0 };
    let within = Test::EquivalentWithin { bound: 2.0, margin: 0.0 };
    for (test, mean, error, verdict) in [
        (at_least, 10.0, 0.5, Supported),
        (at_least, 8.5, 0.5, Inconclusive),
        (at_least, 6.0, 0.5, Not),
        (wide, 8.9, 0.01, Inconclusive),
        (wide, 9.1, 0.01, Supported),
        (wide, 6.9, 0.01, Not),
        (excludes, 1.0, 0.4, Supported),
        (excludes, 1.0, 0.6, Inconclusive),
        (excludes, -1.0, 0.4, Not),
        (within, 0.5, 0.5, Supported),
        (within, 0.5, 2.0, Inconclusive),
        (within, -5.0, 1.0, Not),
    ] {
        assert_eq!(test.judge(&effect(mean, error).into()).unwrap(), verdict, "{test:?} {mean} ± {error}");
    }
    // Each of several has to.
    let judged = |effects: [Effect; 2]| at_least.judge(&effects.into()).unwrap();
    assert_eq!(judged([effect(10.0, 0.5), effect(8.5, 0.5)]), Inconclusive);
    assert_eq!(judged([effect(8.5, 0.5), effect(1.0, 0.5)]), Not);
    // Of one seed alone nothing is known.
    let alone = Effect::of_seeds(&[100.0]).unwrap();
    assert_eq!(at_least.judge(&alone.into()).unwrap(), Inconclusive);
    assert_eq!(excludes.judge(&Effect::of_seeds(&[f64::NAN, 1.0]).unwrap().into()).unwrap(), Inconclusive);
    // Bare numbers are no effect, however clear they are.
    for test in [at_least, excludes, within, Test::Unimodal { by: 1.0 }] {
        assert!(test.judge(&vec![100.0].into()).is_err() && test.is_of_effects());
    }
    let order =
        |n: u32| RankCorrelation::of(&(0..n).map(|i| (f64::from(i), f64::from(i))).collect::<Vec<_>>());
    let ordered = Test::RankCorrelationAtLeast { value: 0.5 };
    assert_eq!(ordered.judge(&order(12).unwrap().into()).unwrap(), Supported);
    assert_eq!(ordered.judge(&order(4).unwrap().into()).unwrap(), Inconclusive);
    assert!(at_least.judge(&order(12).unwrap().into()).is_err());
}

/// How much harder than the mean each of some images is.
fn hardness(images: usize, rng: &mut Rng) -> Vec<f64> {
    (0..images).map(|_| 0.3 * (rng.uniform() - 0.5)).collect()
}

/// Which of some seeds' networks get which test images right: each image is as hard as it is, for all networks, each seed as
/// lucky, and on average a share `accuracy` is right.
fn correct(accuracy: f64, luck: f64, seeds: usize, hard: &[f64], rng: &mut Rng) -> Vec<Vec<bool>> {
    let lucky: Vec<f64> = (0..seeds).map(|_| luck * rng.normal()).collect();
    let images = hard.len();
    let right =
        |seed: usize, image: usize, rng: &mut Rng| rng.uniform() < accuracy + lucky[seed] + hard[image];
    (0..seeds).map(|seed| (0..images).map(|image| right(seed, image, rng)).collect()).collect()
}

fn rows(all: &[Vec<bool>]) -> Vec<&[bool]> {
    all.iter().map(Vec::as_slice).collect()
}

/// How often a test says *supported*, of a thousand.
fn supported(test: Test, mut measured: impl FnMut(&mut Rng) -> Measured) -> usize {
    let of = |number: u64, measured: &mut dyn FnMut(&mut Rng) -> Measured| {
        test.judge(&measured(&mut Rng::keyed(20, "simulated experiment", [number, 0]))).unwrap()
    };
    (0..1000).filter(|number| of(*number, &mut measured) == Supported).count()
}

/// The criteria at their own null, where the truth is the very bound: they say *supported* in at most 5 % of experiments.
#[test]
fn of_a_thousand_experiments_at_the_bound_few_are_called_supported() {
    for (seeds, images, luck) in [(1, 500, 0.0), (3, 500, 0.02), (5, 200, 0.01)] {
        // The truth: 8 points more.
        let over = |points: f64| {
            move |rng: &mut Rng| -> Measured {
                let hard = hardness(images, rng);
                let (a, b) = (
                    correct(0.6 + points / 100.0, luck, seeds, &hard, rng),
                    correct(0.6, luck, seeds, &hard, rng),
                );
                Effect::paired(&rows(&a), &rows(&b)).unwrap().into()
            }
        };
        let at_least = supported(Test::EffectAtLeast { value: 8.0, margin: 0.0 }, over(8.0));
        let excludes = supported(Test::EffectExcludes { value: 0.0, margin: 0.0 }, over(0.0));
        // Bounds so wide that something could be called equivalent at all.
        let within = supported(Test::EquivalentWithin { bound: 20.0, margin: 0.0 }, over(20.0));
        assert!(
            at_least <= 50 && excludes <= 50 && within <= 50,
            "{seeds} {images}: {at_least} {excludes} {within}"
        );
        // A mountain whose last layer is 1 point below the best inner one, which is the bound; the first is far below.
        let unimodal = supported(Test::Unimodal { by: 1.0 }, |rng| {
            let hard = hardness(images, rng);
            let layers = [0.3, 0.6, 0.59].map(|accuracy| correct(accuracy, luck, seeds, &hard, rng));
            let over = |layer: usize| Effect::paired(&rows(&layers[1]), &rows(&layers[layer])).unwrap();
            [over(0), over(2)].into()
        });
        assert!(unimodal <= 50, "{seeds} {images}: {unimodal}");
        // The good twin: where the truth is far from the bound, most are.
        let clear = supported(Test::EffectAtLeast { value: 8.0, margin: 0.0 }, over(25.0));
        let equal = supported(Test::EquivalentWithin { bound: 20.0, margin: 0.0 }, over(0.0));
        assert!(clear > 900 && equal > 900, "{seeds} {images}: {clear} {equal}");
    }
    // A rank correlation of 0.5 is that of normal numbers whose correlation is 2 sin(π 0.5 / 6).
    for pairs in [6, 12, 30] {
        let pearson = 2.0 * (std::f64::consts::PI * 0.5 / 6.0).sin();
        let with = |pearson: f64| {
            move |rng: &mut Rng| -> Measured {
                let pair = |rng: &mut Rng| {
                    let a = rng.normal();
                    (a, pearson * a + (1.0 - pearson * pearson).sqrt() * rng.normal())
                };
                let all: Vec<(f64, f64)> = (0..pairs).map(|_| pair(rng)).collect();
                RankCorrelation::of(&all).unwrap().into()
            }
        };
        let found = supported(Test::RankCorrelationAtLeast { value: 0.5 }, with(pearson));
        assert!(found <= 50, "{pairs} pairs: {found}");
        let none = supported(Test::RankCorrelationAtLeast { value: 0.0 }, with(0.0));
        assert!(none <= 50, "{pairs} pairs: {none}");
    }
}

/// What a curve whose layers have these accuracies is called, most often of a hundred experiments. The best inner layer is
/// chosen on validation images, as `probe::inside` does.
fn called(accuracies: &[f64], seeds: usize, images: usize) -> Verdict {
    let mut counts = std::collections::HashMap::new();
    for number in 0..100 {
        let mut rng = Rng::keyed(21, "simulated curve", [number, 0]);
        let mut of = |images: usize| -> Vec<Vec<Vec<bool>>> {
            let hard = hardness(images, &mut rng);
            accuracies.iter().map(|accuracy| correct(*accuracy, 0.0, seeds, &hard, &mut rng)).collect()
        };
        let (validation, test) = (of(images), of(images));
        let right = |layer: &Vec<Vec<bool>>| layer.iter().flatten().filter(|right| **right).count();
        let inner = 1..accuracies.len() - 1;
        let best = inner.max_by_key(|layer| right(&validation[*layer])).unwrap();
        let over = |other: usize| Effect::paired(&rows(&test[best]), &rows(&test[other])).unwrap();
        let effects: Measured = [over(0), over(accuracies.len() - 1)].into();
        *counts.entry(Test::Unimodal { by: 1.0 }.judge(&effects).unwrap()).or_insert(0) += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).unwrap().0
}

#[test]
fn curves_get_the_verdicts_that_they_deserve() {
    let unimodal = [0.50, 0.60, 0.70, 0.75, 0.70, 0.65, 0.60];
    let monotone = [0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80];
    // By so little from layer to layer that no step is as large as the bound.
    let slow = [0.600, 0.670, 0.676, 0.682, 0.688, 0.694, 0.702];
    let plateau = [0.50, 0.60, 0.70, 0.70, 0.70, 0.70, 0.70];
    let flat = [0.60; 7];
    for seeds in [1, 3] {
        assert_eq!(called(&unimodal, seeds, 2000), Supported);
        assert_eq!(called(&monotone, seeds, 2000), Not);
        assert_eq!(called(&plateau, seeds, 60_000 / seeds), Plateau);
        assert_eq!(called(&slow, seeds, 100_000 / seeds), Not);
        // Flat from the first layer on: it does not rise, and so is no mountain; that takes many images to know.
        assert_eq!(called(&flat, seeds, 60_000 / seeds), Not);
    }
    // Few images: too noisy to say.
    assert_eq!(called(&[0.5, 0.58, 0.60, 0.58], 1, 60), Inconclusive);
}
