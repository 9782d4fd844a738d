use super::*;
use crate::probe::FeatureMatrix;
use crate::probe::tests::{images, on_threads, peer};

#[derive(serde::Deserialize)]
struct Expected {
    images: usize,
    steps: u64,
    rates: Vec<f64>,
    /// Of each rate (F + 1, K), the intercepts last.
    weights: Vec<Vec<f64>>,
}

/// `tests/fixtures/sgd/make.py` made it: of batches that are all images, so that their order is only one of sums.
#[test]
fn weights_are_those_of_sgd_by_hand() {
    let (features, labels, _) = peer();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/sgd/sgd.json");
    let Expected { images, steps, rates, weights } =
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    // With one that is not trained on.
    let settings = SgdSettings { rates: rates.clone(), steps, batch: images, group: 64, seed: 3 };
    let (width, classes) = (features.width(), 5);
    let images = labels.iter().enumerate().map(|(at, label)| (*label, at < images)).collect();
    let rows = features.stream(0).unwrap();
    let mut training = Training { rows, width, images, classes, settings: &settings };
    for (ours, theirs) in training.run(&rates, &mut || ()).unwrap().concat().iter().zip(weights.concat()) {
        assert!((ours - theirs).abs() < 1e-9 * theirs.abs().max(1.0), "{ours} {theirs}");
    }
}

fn settings() -> SgdSettings {
    SgdSettings { rates: vec![1.0, 0.1, 1e-3], steps: 60, batch: 50, group: 70, seed: 3 }
}

fn found(test: &Vec<FeatureMatrix>, test_labels: &[u16]) -> SgdResult {
    let (features, labels) = images(7, 600, 3, 5, 4);
    let validation: Vec<usize> = (0..600).step_by(4).collect();
    let mut heard = Vec::new();
    let choice =
        choose_by_sgd(&features, &labels, 4, &validation, &[0, 1, 2], &settings(), &mut |done, total| {
            heard.push((done, total));
        });
    assert_eq!((heard.len(), heard[0], heard[179]), (180, (1, 180), (180, 180)));
    choice.unwrap().test(TestSet::new(test, test_labels.to_vec()).unwrap()).unwrap()
}

#[test]
fn nothing_of_the_test_split_moves_a_choice() {
    let (test, labels) = images(8, 400, 3, 5, 4);
    let as_is = found(&test, &labels);
    assert_eq!((as_is.layer, as_is.tried.len()), (1, 9));
    assert!(as_is.test.share() > 0.5, "{as_is:?}");
    let mut marked = test.clone();
    let values = test[1].values().iter().enumerate();
    let values = values.map(|(at, x)| if at % 5 == 0 { 1000.0 * f32::from(labels[at / 5]) } else { *x });
    marked[1] = FeatureMatrix::new(values.collect(), 5).unwrap();
    let with_marker = found(&marked, &labels);
    assert_eq!((with_marker.layer, with_marker.rate), (as_is.layer, as_is.rate));
    assert_eq!(with_marker.tried, as_is.tried);
    assert_ne!(with_marker.test, as_is.test);
    assert_eq!(on_threads(3, || found(&test, &labels)), as_is);
    assert!(as_is.to_text().contains("Linear probe by SGD"));
}

#[test]
fn a_training_that_diverges_is_said_to_and_not_chosen() {
    let (features, labels) = images(7, 100, 1, 3, 4);
    let choose = |rates: &[f64]| {
        let settings = SgdSettings { rates: rates.to_vec(), ..settings() };
        choose_by_sgd(&features, &labels, 4, &[1, 2, 3], &[0], &settings, &mut |_, _| ())
    };
    let found = choose(&[f64::MAX, 0.1]).unwrap();
    assert_eq!((found.tried[0].validation, found.chosen()), (None, (0, 0.1)));
    assert!(choose(&[f64::MAX]).unwrap_err().to_string().contains("diverged with each"));
}

#[test]
fn settings_that_make_no_sense_are_errors() {
    let (features, labels) = images(7, 60, 1, 2, 4);
    let said = |change: &dyn Fn(&mut SgdSettings)| {
        let mut settings = settings();
        change(&mut settings);
        let choice = choose_by_sgd(&features, &labels, 4, &[1], &[0], &settings, &mut |_, _| ());
        choice.map(|_| ()).unwrap_err().to_string()
    };
    assert!(said(&|s| s.rates.clear()).contains("rates"));
    assert!(said(&|s| s.rates = vec![0.0]).contains("rates"));
    assert!(said(&|s| s.steps = 0).contains("steps"));
    assert!(said(&|s| s.batch = 0).contains("batch"));
    assert!(said(&|s| s.group = 0).contains("group"));
    assert!(said(&|s| s.batch = usize::MAX / 2).contains("memory"));
    let layer = choose_by_sgd(&features, &labels, 4, &[1], &[1], &settings(), &mut |_, _| ());
    assert!(layer.unwrap_err().to_string().contains("no layer 1"));
}
