use super::*;
use crate::probe::tests::{images, peer};

#[derive(serde::Deserialize)]
struct Expected {
    subset: Vec<usize>,
    folds: usize,
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    l2: f64,
    loss: f64,
    predicted: String,
}

/// `tests/fixtures/few_labels/make.py` made it.
#[test]
fn cross_validation_is_that_of_scikit_learn() {
    let (features, labels, _) = peer();
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/few_labels/few_labels.json");
    let expected: Expected = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let penalties: Vec<f64> = expected.cases.iter().map(|case| case.l2).collect();
    let losses = cross_validate(&features, &labels, &expected.subset, expected.folds, &penalties).unwrap();
    let unseen: Vec<usize> = (0..labels.len()).filter(|at| !expected.subset.contains(at)).collect();
    for (case, loss) in expected.cases.iter().zip(losses) {
        assert!((loss / case.loss - 1.0).abs() < 1e-4, "{:e}: {loss} {}", case.l2, case.loss);
        let fitting = Fitting::new(&features, &labels, &expected.subset, Curvature::Spectrum).unwrap();
        let probe = fitting.probe(case.l2, None).unwrap();
        let predicted = probe.classify(&Design::new(&features, &unseen, &fitting.scaling));
        let theirs = case.predicted.bytes().map(|digit| u16::from(digit - b'0'));
        let differ = predicted.iter().zip(theirs).filter(|(a, b)| **a != *b).count();
        assert!(differ <= 1, "{:e}: {differ}", case.l2);
    }
}

fn settings() -> FewLabelsSettings {
    FewLabelsSettings { labels: vec![4, 25], subsets: 3, folds: 5, l2: vec![1e-2, 1.0], seed: 1 }
}

#[test]
fn subsets_are_balanced_and_nested() {
    let (_, labels) = images(7, 600, 1, 2, 4);
    let of = |count, number| balanced_subset(&labels, 4, count, 1, number).unwrap();
    let (few, many) = (of(4, 0), of(25, 0));
    assert_eq!((few.len(), many.len()), (16, 100));
    for class in 0..4 {
        assert!(many[class * 25..][..25].iter().all(|at| usize::from(labels[*at]) == class));
        assert_eq!(few[class * 4..][..4], many[class * 25..][..4]);
    }
    assert_ne!(of(4, 1), few);
    assert_ne!(balanced_subset(&labels, 4, 4, 2, 0).unwrap(), few);
    let error = balanced_subset(&labels, 4, 400, 1, 0).unwrap_err().to_string();
    assert!(error.contains("400 labels of each class are too many: class 0 (of 4, from 0) has"), "{error}");
}

#[test]
fn nothing_but_the_subset_moves_a_choice() {
    let (features, labels) = images(7, 600, 3, 5, 4);
    let (test, test_labels) = images(8, 400, 3, 5, 4);
    let choose = |features: &Vec<FeatureMatrix>, labels: &[u16]| {
        choose_by_few_labels(features, labels, 4, &[0, 1, 2], &settings()).unwrap().chosen()
    };
    let expected = choose(&features, &labels);
    // Layer 1 says most.
    assert!(expected[3..].iter().all(|(layer, _)| *layer == 1), "{expected:?}");
    let result = |test: &Vec<FeatureMatrix>| {
        let choice = choose_by_few_labels(&features, &labels, 4, &[0, 1, 2], &settings()).unwrap();
        choice.test(TestSet::new(test, test_labels.clone()).unwrap()).unwrap()
    };
    let as_is = result(&test);
    let chosen = |result: &FewLabelsResult| -> Vec<_> {
        result.rows.iter().flat_map(|row| row.subsets.iter().map(|s| (s.layer, s.l2))).collect()
    };
    assert_eq!(chosen(&as_is), expected);
    // A marker in all test images: the label itself.
    let mark = |layer: &FeatureMatrix, labels: &[u16], skip: &[usize]| {
        let mut values = layer.values().to_vec();
        for (image, label) in labels.iter().enumerate().filter(|(image, _)| !skip.contains(image)) {
            values[image * 5] = 1000.0 * f32::from(*label);
        }
        FeatureMatrix::new(values, 5).unwrap()
    };
    let marked: Vec<FeatureMatrix> = test.iter().map(|layer| mark(layer, &test_labels, &[])).collect();
    let with_marker = result(&marked);
    assert_eq!(chosen(&with_marker), expected);
    assert_ne!(with_marker, as_is);
    // And in all training images that no subset has.
    let drawn: Vec<usize> =
        (0..3).flat_map(|number| balanced_subset(&labels, 4, 25, 1, number).unwrap()).collect();
    let marked = features.iter().map(|layer| mark(layer, &labels, &drawn)).collect();
    assert_eq!(choose(&marked, &labels), expected);
}

#[test]
fn the_table_has_mean_and_deviation() {
    let accuracy = |correct| Accuracy::new(correct, 10).unwrap();
    let subset = |correct| Subset { layer: 1, l2: 1.0, loss: 0.5, test: accuracy(correct) };
    let row = LabelCount { labels: 4, subsets: vec![subset(5), subset(7), subset(9)] };
    let (mean, deviation) = row.mean();
    assert!((mean - 0.7).abs() < 1e-12 && (deviation.unwrap() - 0.2).abs() < 1e-12);
    assert_eq!(LabelCount { labels: 4, subsets: vec![subset(5)] }.mean(), (0.5, None));
    let text = FewLabelsResult { classes: 10, rows: vec![row], rounding: None }.to_text();
    assert!(text.contains("70.0") && text.contains("20.0") && text.contains("40"), "{text}");
}

#[test]
fn settings_that_make_no_sense_are_errors() {
    let (features, labels) = images(7, 60, 1, 2, 4);
    let said = |change: &dyn Fn(&mut FewLabelsSettings)| {
        let mut settings = settings();
        change(&mut settings);
        choose_by_few_labels(&features, &labels, 4, &[0], &settings).map(|_| ()).unwrap_err().to_string()
    };
    assert!(said(&|s| s.labels = vec![4, 1]).contains("labels"));
    assert!(said(&|s| s.labels.clear()).contains("labels"));
    assert!(
        said(&|s| s.subsets = 0).contains("subsets") && said(&|s| s.subsets = usize::MAX).contains("subsets")
    );
    assert!(said(&|s| s.folds = 1).contains("folds"));
    assert!(said(&|s| s.l2.clear()).contains("l2"));
    assert!(said(&|s| s.l2 = vec![-1.0]).contains("penalty"));
    assert!(said(&|s| s.labels = vec![40]).contains("too many"));
    assert!(choose_by_few_labels(&features, &labels, 4, &[], &settings()).is_err());
    assert!(choose_by_few_labels(&features, &labels, 4, &[1], &settings()).is_err());
}

/// The fit in the coordinates of few images ends where the fit of all features does.
#[test]
fn a_fit_in_the_images_coordinates_has_the_same_optimum() {
    // Fewer images than features, and more.
    for (count, width) in [(30, 60), (60, 20)] {
        let (features, labels) = images(9, 200, 1, width, 4);
        let some: Vec<usize> = (0..count).collect();
        let unseen: Vec<usize> = (count..200).collect();
        let fittings = [Curvature::Gram, Curvature::Spectrum]
            .map(|curvature| Fitting::new(&features[0], &labels, &some, curvature).unwrap());
        assert!(matches!(fittings[1].known, crate::probe::Known::Coordinates(..)));
        let mut start = None;
        for l2 in [1.0, 1e-2, 1e-4] {
            let [by_gram, by_coordinates] =
                [fittings[0].probe(l2, None), fittings[1].probe(l2, start.as_deref())]
                    .map(|probe| probe.unwrap());
            assert!(by_gram.fit.converged && by_coordinates.fit.converged);
            let (a, b) = (by_gram.fit.objective, by_coordinates.fit.objective);
            assert!((a - b).abs() < 1e-6 * a, "{count} {width} {l2}: {a} {b}");
            assert!(by_coordinates.fit.gradient < 1e-4, "{}", by_coordinates.fit.gradient);
            let judged =
                [(&fittings[0], by_gram), (&fittings[1], by_coordinates.clone())].map(|(fitting, probe)| {
                    probe.classify(&Design::new(&features[0], &unseen, &fitting.scaling))
                });
            let differ = judged[0].iter().zip(&judged[1]).filter(|(a, b)| a != b).count();
            assert!(differ <= 1, "{count} {width} {l2}: {differ}");
            start = Some(by_coordinates.weights);
        }
    }
}
