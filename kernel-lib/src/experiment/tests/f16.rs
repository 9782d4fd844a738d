//! Features that are kept as f16: what is the same, what is refused, and how far rounding moves a probe.

use super::{ar, on, probe, small};
use crate::experiment::*;
use crate::probe::{
    FeatureLayers as _, FeatureMatrix, Probe, Rounding, SgdSettings, TestSet, choose, choose_by_sgd,
};
use crate::show::Show as _;

fn f16(features: Features) -> Features {
    features.precision(FeaturePrecision::F16)
}

fn in_memory(stored: &StoredFeatures) -> Vec<FeatureMatrix> {
    (0..stored.layers()).map(|layer| stored.layer(layer).unwrap().into_owned()).collect()
}

#[test]
fn half_the_bytes_are_written_and_the_rounded_numbers_are_read_in_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let (on, whole) = (on(folder.path()), Features::of(&ar()));
    let half = f16(whole.clone());
    let (all, rounded) = (whole.run_on(&on).unwrap(), half.run_on(&on).unwrap());
    let bytes = |features: &Features| -> u64 {
        let key = features.key(&on).unwrap();
        let result = folder.path().join(format!("features-{}/result", key.short()));
        let files = std::fs::read_dir(result).unwrap().map(|file| file.unwrap());
        files
            .filter(|file| file.file_name().to_string_lossy().starts_with("layer-"))
            .map(|file| file.metadata().unwrap().len())
            .sum()
    };
    // 300 images, 3 layers, 16 features.
    assert_eq!((bytes(&whole), bytes(&half)), (300 * 3 * 16 * 4, 300 * 3 * 16 * 2));
    for (layer, (exact, found)) in in_memory(&all).iter().zip(in_memory(&rounded)).enumerate() {
        let expected = exact.values().iter().map(|x| half::f16::from_f32(*x).to_f32());
        assert!(found.values().iter().map(|x| x.to_bits()).eq(expected.map(f32::to_bits)));
        // In parts, too.
        let mut rows = rounded.stream(layer).unwrap();
        for images in [0..1, 17..300, 299..300] {
            let part = rows.rows(images.clone()).unwrap();
            assert_eq!(part, found.select(&images.collect::<Vec<_>>()).unwrap());
        }
        assert!(rows.rows(299..301).is_err());
        // What is said of the error is what it is.
        let said = rounded.rounding(layer).unwrap();
        let values = exact.values().iter().map(|x| f64::from(*x));
        let size = (values.clone().map(|x| x * x).sum::<f64>() / exact.values().len() as f64).sqrt();
        let largest = values
            .zip(found.values())
            .map(|(x, rounded)| (x - f64::from(*rounded)).abs())
            .fold(0.0, f64::max);
        assert!((said.of_size / (largest / size) - 1.0).abs() < 1e-9, "{said:?}");
        assert!(said.of_deviation > said.of_size && said.of_deviation < 0.1, "{said:?}");
        assert_eq!(all.rounding(layer), None);
    }
    // Features of one kind are not the other's: each has a key of its own, and f32 is not written into a step's file.
    assert_ne!(whole.key(&on).unwrap(), half.key(&on).unwrap());
    let json = |features: &Features| serde_json::to_value(features).unwrap();
    assert_eq!((json(&whole).get("precision"), &json(&half)["precision"]), (None, &"f16".into()));
    assert!(half.about().ends_with(", kept as f16") && !whole.about().contains("f16"));
}

#[test]
fn probes_by_rows_from_the_disk_are_those_of_features_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (on, features) = (on(folder.path()), f16(Features::of(&ar())));
    let settings = SgdSettings { rates: vec![3.0, 0.1], steps: 40, batch: 32, group: 37, seed: 0 };
    let step =
        SgdProbe { rates: vec![3.0, 0.1], steps: 40, batch: 32, group: 37, ..SgdProbe::of(features.clone()) };
    let mut found = step.run_on(&on).unwrap();
    assert!(found.rounding.take().is_some());
    let (train, test) =
        (features.run_on(&on).unwrap(), features.clone().split(Split::Test).run_on(&on).unwrap());
    let (train, test) = (in_memory(&train), in_memory(&test));
    let set = features.data.load().unwrap();
    let validation = features.data.validation_positions().unwrap();
    let labels = &set.train().labels;
    let choice =
        choose_by_sgd(&train, labels, 10, &validation, &[0, 1, 2], &settings, &mut |_, _| ()).unwrap();
    let test_set = TestSet::new(&test, set.test().labels.clone()).unwrap();
    assert_eq!(choice.test(test_set).unwrap(), found);
    // The probe by L-BFGS, as well.
    let mut found = probe(features).run_on(&on).unwrap();
    assert!(found.rounding.take().is_some());
    let choice = choose(&train, labels, 10, &validation, &small(8).probe.l2).unwrap();
    let test_set = TestSet::new(&test, set.test().labels.clone()).unwrap();
    assert_eq!(choice.test(test_set).unwrap(), found);
}

#[test]
fn whoever_sees_a_table_of_f16_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let (on, whole) = (on(folder.path()), Features::of(&ar()).first(200));
    let half = f16(whole.clone());
    const SAID: &str = "Features are kept as f16: rounding moved a number by at most ";
    let few = |features: Features| FewLabels { subsets: 1, ..FewLabels::of(features).labels([4]).l2([1.0]) };
    let sgd = |features: Features| SgdProbe {
        rates: vec![0.1],
        steps: 2,
        batch: 8,
        ..SgdProbe::of(features).layers([1])
    };
    for (features, told) in [(whole, false), (half, true)] {
        let curve = probe(features.clone()).run_on(&on).unwrap();
        let seeds = SeedCurves::of(&[1], |_| Ok(curve.clone())).unwrap();
        let of = features.clone();
        for text in [
            curve.to_text(),
            seeds.to_text(),
            ConcatenatedProbe::of(probe(of.clone())).run_on(&on).unwrap().to_text(),
            few(of.clone()).run_on(&on).unwrap().to_text(),
            sgd(of.clone()).run_on(&on).unwrap().to_text(),
            NearestNeighbours::of(of.clone()).k([1]).run_on(&on).unwrap().to_text(),
            LayerSimilarity::of(of.first(50)).run_on(&on).unwrap().to_text(),
        ] {
            // A table's note may be broken into lines.
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(text.contains(SAID), told, "{text}");
        }
    }
}

#[test]
fn a_profile_keeps_its_features_as_f16() {
    let folder = tempfile::tempdir().unwrap();
    let on = on(folder.path());
    let mut profile = small(8);
    let features = || Features::of(&ar());
    let with =
        |profile: &Profile, features| LinearProbe::of(features).with(&profile.probe).features.precision;
    assert_eq!(with(&profile, features()), FeaturePrecision::F32);
    // Nothing said: what the step says.
    assert_eq!(with(&profile, f16(features())), FeaturePrecision::F16);
    let label = profile.ours(&on).unwrap();
    profile.probe.feature_precision = Some(FeaturePrecision::F16);
    assert_eq!(with(&profile, features()), FeaturePrecision::F16);
    assert!(profile.to_text().contains("features kept as f16"));
    let changed = profile.ours(&on).unwrap();
    assert!(changed.contains("features in f16") && !label.contains("f16"), "{changed}");
    profile.probe.feature_precision = Some(FeaturePrecision::F32);
    assert_eq!(with(&profile, f16(features())), FeaturePrecision::F32);
    // In Figure 3's step it stands in the settings of the probe, and its table says so.
    profile.probe.feature_precision = Some(FeaturePrecision::F16);
    let kept = Pretraining { after: vec![3], ..ar() };
    let found = LossAndAccuracy::of([kept], &profile.probe).run_on(&on).unwrap();
    assert!(found.rounding.is_some() && found.to_text().contains("kept as f16"));
    // As the file has it.
    let read: profile::Probe = toml::from_str("l2 = [1.0]\nfeature_precision = \"f16\"").unwrap();
    assert_eq!(read.feature_precision, Some(FeaturePrecision::F16));
    let error = toml::from_str::<profile::Probe>("l2 = [1.0]\nfeature_precision = \"f8\"").unwrap_err();
    assert!(error.to_string().contains("f16"), "{error}");
}

/// How far rounding moves accuracies and the objective: docs/log/2026-11-30-f16-features.md has what this prints
/// (`cargo test -p igpt --lib f16 -- --nocapture`).
#[test]
fn rounding_hardly_moves_a_probe() {
    let folder = tempfile::tempdir().unwrap();
    let on = on(folder.path());
    // Trained a little, so that its layers differ, and judged by more images than other tests take.
    let mut profile = small(60);
    (profile.data.train_images, profile.data.test_images) = (Some(1000), Some(500));
    let features = Features::of(&Pretraining::of(&profile));
    let set = features.data.load().unwrap();
    let labels = (&set.train().labels, &set.test().labels);
    let read = |features: Features| {
        let test = features.clone().split(Split::Test).run_on(&on).unwrap();
        (features.run_on(&on).unwrap(), test)
    };
    let (whole, half) = (read(features.clone()), read(f16(features)));
    let mut worst: Option<Rounding> = None;
    for layer in 0..3 {
        for l2 in [1e-4, 1e-2, 1.0] {
            let fit = |(train, test): &(StoredFeatures, StoredFeatures)| {
                let probe = Probe::fit(&train.layer(layer).unwrap(), labels.0, 10, l2).unwrap();
                assert!(probe.outcome().converged);
                let test = test.layer(layer).unwrap();
                (
                    probe.outcome().objective,
                    probe.accuracy(&test, labels.1).unwrap(),
                    probe.predict(&test).unwrap(),
                )
            };
            let ((exact, accuracy, classes), (rounded, of_rounded, other)) = (fit(&whole), fit(&half));
            let moved = (rounded / exact - 1.0).abs();
            let differ = classes.iter().zip(&other).filter(|(a, b)| a != b).count();
            println!(
                "layer {layer}, L2 {l2:e}: objective {exact:.6}, moved by {moved:.1e} of itself; right {} and {} of 500, \
                 {differ} predicted otherwise",
                accuracy.correct, of_rounded.correct
            );
            assert!(moved < 1e-3, "layer {layer}, {l2}: {exact} and {rounded}");
            assert!(differ <= 5 && accuracy.correct.abs_diff(of_rounded.correct) <= 3, "layer {layer}, {l2}");
        }
        let said = half.0.rounding(layer).unwrap();
        println!("layer {layer}: {said}");
        worst = Rounding::largest([worst, Some(said)]);
    }
    // The relative error of a number is at most 2⁻¹¹; one that is many times its layer's root mean square has more of that.
    assert!(worst.is_some_and(|worst| worst.of_size < 16.0 * 2f64.powi(-11)), "{worst:?}");
}
