//! Tests of the probe as a whole.

use super::*;
use crate::rng::Rng;

/// Images of a few classes whose features depend on the class, on a hidden factor and on chance; (N, L, F).
pub(super) fn images(
    seed: u64,
    n: usize,
    layers: usize,
    width: usize,
    classes: usize,
) -> (Vec<FeatureMatrix>, Vec<u16>) {
    let mut rng = Rng::keyed(seed, "probe test", [0, 0]);
    let mut world = Rng::keyed(0, "probe test: world", [0, 0]);
    let centres: Vec<f64> = (0..classes * width).map(|_| world.normal()).collect();
    let mut labels = Vec::new();
    let mut values = Vec::new();
    for _ in 0..n {
        let class = rng.below(classes);
        labels.push(class as u16);
        let factor = rng.normal();
        for layer in 0..layers {
            // Layer 1 says most of the class.
            let clear = if layer == 1 { 1.0 } else { 0.3 };
            for f in 0..width {
                let x = clear * centres[class * width + f] + 3.0 * factor + rng.normal() + f as f64;
                values.push(x as f32);
            }
        }
    }
    (FeatureMatrix::by_layer(&values, layers, width).unwrap(), labels)
}

fn one_layer(seed: u64, n: usize, width: usize, classes: usize) -> (FeatureMatrix, Vec<u16>) {
    let (mut layers, labels) = images(seed, n, 1, width, classes);
    (layers.remove(0), labels)
}

pub(super) fn on_threads<T: Send>(threads: usize, what: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(what)
}

/// What `tests/fixtures/probe/make.py` found with scikit-learn.
#[derive(serde::Deserialize)]
pub(super) struct Peer {
    images: usize,
    width: usize,
    labels: String,
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    l2: f64,
    objective: f64,
    weights: Vec<Vec<f64>>,
    predicted: String,
}

/// The images of `tests/fixtures/probe`, their classes, and how many classes there are.
pub(super) fn peer() -> (FeatureMatrix, Vec<u16>, Peer) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/probe");
    let bytes = std::fs::read(folder.join("features.f32")).unwrap();
    let peer: Peer = serde_json::from_slice(&std::fs::read(folder.join("probe.json")).unwrap()).unwrap();
    let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
    let features = FeatureMatrix::new(values, peer.width).unwrap();
    assert_eq!((features.images(), peer.cases.len()), (peer.images, 6));
    (features, digits(&peer.labels), peer)
}

pub(super) fn digits(text: &str) -> Vec<u16> {
    text.bytes().map(|digit| u16::from(digit - b'0')).collect()
}

#[test]
fn the_optimum_is_that_of_scikit_learn() {
    let (features, labels, peer) = peer();
    let all: Vec<usize> = (0..peer.images).collect();
    for (case, curvature) in
        peer.cases.iter().flat_map(|case| [(case, Curvature::Gram), (case, Curvature::Spectrum)])
    {
        let fitting = Fitting::new(&features, &labels, &all, curvature).unwrap();
        let probe = fitting.probe(case.l2, None).unwrap();
        let fit = probe.outcome();
        let relative = (fit.objective - case.objective).abs() / case.objective;
        assert!(fit.converged && relative < 1e-7, "{:e}: {relative:e} {fit:?}", case.l2);
        // The flatter the optimum, the further apart two that are equally good may lie.
        let size = case.weights.concat().iter().fold(0.0, |most: f64, w| most.max(w.abs()));
        for (ours, theirs) in probe.weights().concat().iter().zip(case.weights.concat()) {
            assert!((ours - theirs).abs() < 1e-3 * size, "{:e}: {ours} {theirs}", case.l2);
        }
        let same = probe
            .predict(&features)
            .unwrap()
            .iter()
            .zip(digits(&case.predicted))
            .filter(|(a, b)| **a == *b)
            .count();
        assert!(same + 1 >= peer.images, "{same}");
    }
}

#[test]
fn all_changes_of_variables_lead_to_the_same_optimum() {
    // More features than images, of which many are alike; more images than features; and so many classes that the Hessian
    // is not factored.
    for (images, width, classes) in [(60, 150, 4), (2500, 30, 4), (400, 140, 15)] {
        let (features, labels) = one_layer(9, images, width, classes);
        let all: Vec<usize> = (0..images).collect();
        for l2 in [1.0, 1e-2, 1e-4] {
            let what = format!("{images} × {width}, {classes} classes, {l2:e}");
            let fit = |curvature, known: &dyn Fn(&Fitting) -> Option<Known>| {
                let mut fitting = Fitting::new(&features, &labels, &all, curvature).unwrap();
                if let Some(known) = known(&fitting) {
                    fitting.known = known;
                }
                let fit = fitting.probe(l2, None).unwrap().fit;
                assert!(fit.converged, "{what}: {fit:?}");
                fit
            };
            let gram = fit(Curvature::Gram, &|fitting| Some(Known::Gram(fitting.design.gram().unwrap())));
            let others = [
                // What is chosen: the Hessian where there are few parameters.
                fit(Curvature::Gram, &|_| None),
                fit(Curvature::Spectrum, &|_| None),
                // What is done for more than 1024 features and images: few of the images are looked at.
                fit(Curvature::Spectrum, &|fitting| {
                    Some(Known::Spectrum(Spectrum::of_images(&fitting.design, 20).unwrap()))
                }),
            ];
            for other in others {
                // Coordinates along eigenvectors are rounded to f32, as features are.
                let off = (other.objective - gram.objective).abs();
                assert!(off < 1e-7 * gram.objective.max(0.1), "{what}: {off:e}");
            }
            let design = Fitting::new(&features, &labels, &all, Curvature::Gram).unwrap().design;
            if hessian::is_small(&design, classes) {
                assert!(others[0].iterations < gram.iterations + 20, "{what}: {gram:?} {:?}", others[0]);
            } else {
                assert_eq!(others[0].iterations, gram.iterations, "{what}");
                assert!(others[1].iterations < 3 * gram.iterations + 20, "{what}: {gram:?} {:?}", others[1]);
            }
        }
    }
    let (features, labels) = one_layer(1, 600, 40, 4);
    let weights = |threads| {
        let all: Vec<usize> = (0..600).collect();
        let fit = || Fitting::new(&features, &labels, &all, Curvature::Spectrum).unwrap().probe(1e-3, None);
        on_threads(threads, || fit().unwrap().weights)
    };
    assert_eq!(weights(1), weights(3));
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let (features, labels) = one_layer(1, 2500, 13, 4);
    let weights =
        |threads| on_threads(threads, || Probe::fit(&features, &labels, 4, 1e-3).unwrap().weights.clone());
    let one = weights(1);
    for threads in [2, 3, 8] {
        assert_eq!(one, weights(threads), "{threads} threads");
    }
}

#[test]
fn classes_that_can_be_told_apart_are() {
    let (features, labels) = one_layer(2, 400, 6, 3);
    let probe = Probe::fit(&features, &labels, 3, 1e-2).unwrap();
    assert!(probe.outcome().converged, "{:?}", probe.outcome());

    // Perfectly: without a penalty the weights would grow for ever.
    let values = (0..100).map(|i| if i % 2 == 0 { -1.0 - i as f32 } else { 1.0 + i as f32 }).collect();
    let (features, labels): (_, Vec<u16>) =
        (FeatureMatrix::new(values, 1).unwrap(), (0..100).map(|i| i % 2).collect());
    for l2 in [0.0, 1e-12, 1e-6, 1.0] {
        let probe = Probe::fit(&features, &labels, 2, l2).unwrap();
        assert_eq!(probe.predict(&features).unwrap(), labels);
        assert!(probe.weights.iter().all(|w| w.is_finite()));
        assert!(l2 < 1e-6 || probe.outcome().converged, "{l2}: {:?}", probe.outcome());
    }
}

#[test]
fn a_class_without_images_is_never_predicted() {
    let (features, labels) = one_layer(3, 300, 6, 3);
    let labels: Vec<u16> = labels.iter().map(|label| [0, 2, 5][usize::from(*label)]).collect();
    let probe = Probe::fit(&features, &labels, 7, 1e-3).unwrap();
    assert_eq!(probe.classes(), [0, 2, 5]);
    assert!(probe.outcome().converged);
    assert!(probe.predict(&features).unwrap().iter().all(|class| [0, 2, 5].contains(class)));
    assert_eq!((probe.weights().len(), probe.intercepts().len()), (3, 3));
    // Only one class: nothing to tell apart.
    let one = Probe::fit(&features, &[4; 300], 7, 0.0).unwrap();
    assert_eq!(one.predict(&features).unwrap(), [4; 300]);
}

#[test]
fn a_feature_that_never_changes_changes_nothing() {
    let (features, labels) = one_layer(4, 300, 5, 3);
    let with: Vec<f32> = features.values().chunks(5).flat_map(|x| [x, &[7.5]].concat()).collect();
    let with = FeatureMatrix::new(with, 6).unwrap();
    let (a, b) =
        (Probe::fit(&features, &labels, 3, 1e-3).unwrap(), Probe::fit(&with, &labels, 3, 1e-3).unwrap());
    assert!((a.outcome().objective - b.outcome().objective).abs() < 1e-9);
    assert!(b.weights().iter().all(|weights| weights[5] == 0.0));
    // Not even when it does change, in images to be classified.
    let moved: Vec<f32> = features.values().chunks(5).flat_map(|x| [x, &[-100.0]].concat()).collect();
    let moved = FeatureMatrix::new(moved, 6).unwrap();
    assert_eq!(b.predict(&with).unwrap(), b.predict(&moved).unwrap());
}

#[test]
fn penalty_and_intercept_are_as_stated() {
    let (features, labels) = one_layer(5, 300, 4, 3);
    let strong = Probe::fit(&features, &labels, 3, 1e9).unwrap();
    assert!(strong.weights().concat().iter().all(|w| w.abs() < 1e-6));
    // What is left are the intercepts, which give each class its share.
    let share = |class| labels.iter().filter(|label| **label == class).count() as f64 / 300.0;
    let expected = -(0..3).map(|class| share(class) * share(class).ln()).sum::<f64>();
    assert!((strong.outcome().objective - expected).abs() < 1e-6);
    assert_eq!(Probe::scikit_learn_c(0.01, 50), 2.0);
}

#[test]
fn nonsense_is_refused_with_its_reason() {
    let (layers, labels) = images(6, 50, 2, 4, 3);
    let features = &layers[0];
    let said = |result: Result<Probe>| result.unwrap_err().to_string();
    let mut wrong = labels.clone();
    wrong[7] = 3;
    assert!(
        said(Probe::fit(features, &wrong, 3, 0.1)).contains("image 7 has label 3, but there are 3 classes")
    );
    assert!(
        said(Probe::fit(features, &labels[1..], 3, 0.1)).contains("49 labels are not those of 50 images")
    );
    for l2 in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(said(Probe::fit(features, &labels, 3, l2)).contains("an L2 penalty cannot be"));
    }
    let none = FeatureMatrix::new(vec![], 4).unwrap();
    assert!(said(Probe::fit(&none, &[], 3, 0.1)).contains("no image"));
    let probe = Probe::fit(&layers[1], &labels, 3, 0.1).unwrap();
    assert!(probe.predict(&FeatureMatrix::new(vec![0.0; 6], 3).unwrap()).is_err());
    assert!(probe.predict(&none).unwrap().is_empty());
    for validation in [vec![], vec![50], vec![1, 1], (0..50).collect()] {
        assert!(choose(&layers, &labels, 3, &validation, &[0.1]).is_err(), "{validation:?}");
    }
    assert!(choose(&layers, &labels, 3, &[1, 2], &[]).is_err());
}

#[test]
fn layers_side_by_side_are_probed_as_one() {
    let (features, labels) = images(7, 600, 3, 5, 4);
    let (test, test_labels) = images(8, 400, 3, 5, 4);
    let validation: Vec<usize> = (0..600).step_by(4).collect();
    let (both, test_both) =
        (Concatenated::new(&features, 0..2).unwrap(), Concatenated::new(&test, 0..2).unwrap());
    let choice = choose_wide(&both, &labels, 4, &validation, &GRID).unwrap();
    let curve = choice.test(TestSet::new(&test_both, test_labels.clone()).unwrap()).unwrap();
    let narrow = choose(&both, &labels, 4, &validation, &GRID).unwrap();
    let narrow = narrow.test(TestSet::new(&test_both, test_labels).unwrap()).unwrap();
    assert_eq!((curve.layers.len(), curve.chosen), (1, 0));
    assert_eq!(
        (curve.layers[0].l2, curve.layers[0].validation),
        (narrow.layers[0].l2, narrow.layers[0].validation)
    );
    assert!(curve.layers[0].test.correct.abs_diff(narrow.layers[0].test.correct) <= 1);
}

const GRID: [f64; 3] = [1e-3, 1e-1, 1e-2];

fn curve(test_labels: Vec<u16>, test: &Vec<FeatureMatrix>) -> (usize, Vec<f64>, Curve) {
    let (features, labels) = images(7, 600, 3, 5, 4);
    let validation: Vec<usize> = (0..600).step_by(4).collect();
    let choice = choose(&features, &labels, 4, &validation, &GRID).unwrap();
    let (layer, l2) = (choice.layer(), choice.l2());
    let curve = choice.test(TestSet::new(test, test_labels).unwrap()).unwrap();
    (layer, l2, curve)
}

#[test]
fn nothing_of_the_test_split_moves_a_choice() {
    let (test, labels) = images(8, 400, 3, 5, 4);
    let (layer, l2, curve_as_is) = curve(labels.clone(), &test);
    assert_eq!((layer, curve_as_is.chosen), (1, 1));
    assert!(curve_as_is.layers.iter().all(|layer| layer.converged));

    // A marker: at layer 0 a feature of the test images is their label, and then the labels are wrong.
    let mut first = test[0].values().to_vec();
    for (image, label) in labels.iter().enumerate() {
        first[image * 5] = 1000.0 * f32::from(*label);
    }
    let mut marked = test.clone();
    marked[0] = FeatureMatrix::new(first, 5).unwrap();
    let wrong: Vec<u16> = labels.iter().map(|label| 3 - label).collect();
    for (labels, test) in [(labels, &marked), (wrong, &test)] {
        let (other_layer, other_l2, with_marker) = curve(labels, test);
        assert_eq!((other_layer, &other_l2), (layer, &l2));
        let choices = |curve: &Curve| {
            (curve.chosen, curve.layers.iter().map(|l| (l.l2, l.validation, l.at_edge)).collect::<Vec<_>>())
        };
        assert_eq!(choices(&with_marker), choices(&curve_as_is));
        // But it does reach the test accuracy: the marker is seen where it should be.
        assert_ne!(with_marker.layers[0].test, curve_as_is.layers[0].test);
    }
}

#[test]
fn a_curve_is_made_as_the_protocol_says() {
    let (features, labels) = images(7, 600, 3, 5, 4);
    let (test, test_labels) = images(8, 400, 3, 5, 4);
    let (_, l2, curve) = curve(test_labels.clone(), &test);
    for (layer, at) in curve.layers.iter().enumerate() {
        let refitted = Probe::fit(&features[layer], &labels, 4, l2[layer]).unwrap();
        assert_eq!(at.test, refitted.accuracy(&test[layer], &test_labels).unwrap());
        let training: Vec<usize> = (0..600).filter(|i| i % 4 != 0).collect();
        let validation: Vec<usize> = (0..600).step_by(4).collect();
        let of = |indices: &[usize]| indices.iter().map(|i| labels[*i]).collect::<Vec<_>>();
        let accuracy = |l2| {
            let probe =
                Probe::fit(&features[layer].select(&training).unwrap(), &of(&training), 4, l2).unwrap();
            probe.accuracy(&features[layer].select(&validation).unwrap(), &of(&validation)).unwrap()
        };
        // The strongest of the best.
        let best = GRID.iter().map(|l2| accuracy(*l2).correct).max().unwrap();
        let strongest = GRID.iter().filter(|l2| accuracy(**l2).correct == best).fold(0.0, |a, b| b.max(a));
        assert_eq!((at.l2, at.validation.correct), (strongest, best));
    }
    let back: Curve = serde_json::from_str(&serde_json::to_string(&curve).unwrap()).unwrap();
    assert_eq!(back, curve);
    let text = crate::show::Show::to_text(&curve);
    assert!(text.contains("chosen on 150 of 600 training images") && text.contains("chosen"), "{text}");
    assert_eq!(curve.result().unwrap(), curve.layers[1].test);
}

#[test]
fn a_split_may_lack_a_class() {
    let (features, labels) = images(7, 600, 2, 5, 4);
    // Validation images of all classes but one, and then training images.
    for lacking in [true, false] {
        let validation: Vec<usize> =
            (0..600).filter(|i| (labels[*i] != 2) == lacking && i % 3 == 0).collect();
        let training_lacks: Vec<usize> = (0..600).filter(|i| labels[*i] == 2).collect();
        let validation = if lacking { validation } else { training_lacks };
        let choice = choose(&features, &labels, 4, &validation, &GRID).unwrap();
        let curve = choice.test(TestSet::new(&features, labels.clone()).unwrap()).unwrap();
        // A class that was never trained on is never right; refitted with it, it can be.
        assert_eq!(curve.layers[0].validation.correct == 0, !lacking);
        assert!(curve.layers[1].test.share() > 0.5);
    }
}
