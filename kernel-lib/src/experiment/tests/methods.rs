//! The paper's other methods as steps.

use super::{ar, on, probe};
use crate::augment::Augmentation;
use crate::experiment::*;
use crate::pca::Pca;
use crate::probe::{FeatureLayers as _, FeatureMatrix, SgdSettings, TestSet, choose_by_sgd};
use crate::train::Objective;

#[test]
fn layers_around_the_best_one_are_probed_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let (on, probe) = (on(folder.path()), probe(Features::of(&ar())));
    let best = probe.run_on(&on).unwrap().chosen;
    let found = ConcatenatedProbe::of(probe.clone()).run_on(&on).unwrap();
    // All three layers of this network are within two of any.
    assert_eq!((found.best, found.layers.as_slice()), (best, &[0, 1, 2][..]));
    let expected = found.probe.layers[0].test;
    assert_eq!((expected.images, found.result().unwrap()), (100, expected));
    assert!(crate::show::Show::to_text(&found).contains("0, 1, 2"));
    let one = ConcatenatedProbe::of(probe.clone()).layers(1).run_on(&on).unwrap();
    assert_eq!(one.layers, [best]);
    assert!(ConcatenatedProbe::of(probe).layers(0).run_on(&on).is_err());
}

#[test]
fn few_labels_are_drawn_from_the_training_images() {
    let folder = tempfile::tempdir().unwrap();
    let (on, features) = (on(folder.path()), Features::of(&ar()));
    let step = FewLabels { subsets: 2, ..FewLabels::of(features).labels([4, 8]).l2([1e-2, 1.0]) };
    let found = step.run_on(&on).unwrap();
    let rows: Vec<_> = found.rows.iter().map(|row| (row.labels, row.subsets.len())).collect();
    assert_eq!(rows, [(4, 2), (8, 2)]);
    assert!(found.rows.iter().all(|row| row.subsets.iter().all(|s| s.layer < 3 && s.test.images == 100)));
    let one = step.clone().layer(1).run_on(&on).unwrap();
    assert!(one.rows.iter().all(|row| row.subsets.iter().all(|subset| subset.layer == 1)));
    // 300 images of ten classes have no 400 of one.
    let error = step.clone().labels([400]).run_on(&on).unwrap_err().to_string();
    assert!(error.contains("400 labels of each class are too many"), "{error}");
    assert!(step.layer(9).run_on(&on).is_err());
}

#[test]
fn controls_are_fitted_to_training_images_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (on, ar) = (on(folder.path()), ar());
    let near = NearestNeighbours::of(Features::of(&ar)).k([1, 5]).run_on(&on).unwrap();
    assert_eq!((near.layers.len(), near.results.len(), near.result().unwrap().images), (6, 2, 100));
    let error = NearestNeighbours::of(Features::of(&ar)).k([271]).run_on(&on).unwrap_err().to_string();
    assert!(error.contains("from 1 to the 270 images"), "{error}");

    // Components of the pixels of those 270 images, and features of all by them.
    let fit = |components| PcaFit::of(&ar.data, &ar.palette, components);
    let pca = fit(5).run_on(&on).unwrap();
    let pixels = Features::pixels(&ar).run_on(&on).unwrap();
    let layer = pixels.layer(0).unwrap().into_owned();
    let training = layer.select(&ar.data.training_positions().unwrap()).unwrap();
    assert_eq!(pca, Pca::fit(&training, 5).unwrap());
    let features = Features::pca(&ar, 5).run_on(&on).unwrap();
    assert_eq!((features.layers(), features.images(), features.width()), (1, 300, 5));
    assert_eq!(features.layer(0).unwrap().values(), pca.transform(layer.values()).unwrap());
    let curve = probe(Features::pca(&ar, 5)).run_on(&on).unwrap();
    assert_eq!(curve.layers.len(), 1);
    assert!(fit(0).run_on(&on).is_err() && fit(197).run_on(&on).is_err());

    let baseline = CountBaseline::of(&ar.data, &ar.palette);
    let counts = baseline.run_on(&on).unwrap();
    let smallest = counts.tried.iter().map(|(_, loss)| *loss).fold(f64::INFINITY, f64::min);
    assert_eq!((counts.tried.len(), counts.validation), (5, smallest));
    // Better than colours by position alone, and than nothing at all.
    let entropy = entropy_by_position(&ar.validation_tokens_on(&on).unwrap(), &ar.config().unwrap());
    assert!(counts.test < 16f64.ln() && counts.validation < entropy + 0.5, "{counts:?} {entropy}");
    assert!(CountBaseline { alpha: vec![0.0], ..baseline }.run_on(&on).is_err());
}

#[test]
fn layers_are_compared_with_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (on, features) = (on(folder.path()), Features::of(&ar()).first(50));
    let found = LayerSimilarity::of(features).run_on(&on).unwrap();
    assert_eq!((found.cka.len(), found.images), (3, 50));
    assert!(found.cka.concat().iter().all(|cka| (0.0..=1.0).contains(cka)));
}

/// In groups of rows from the disk, and all in memory: the same to the bit.
#[test]
fn features_that_are_read_in_parts_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (on, features) = (on(folder.path()), Features::of(&ar()));
    let step =
        SgdProbe { rates: vec![3.0, 0.1], steps: 40, batch: 32, group: 37, ..SgdProbe::of(features.clone()) };
    let found = step.run_on(&on).unwrap();
    assert_eq!((found.tried.len(), found.test.images), (6, 100));
    let (train, test) =
        (features.run_on(&on).unwrap(), features.clone().split(Split::Test).run_on(&on).unwrap());
    let in_memory = |stored: &StoredFeatures| -> Vec<FeatureMatrix> {
        (0..stored.layers()).map(|layer| stored.layer(layer).unwrap().into_owned()).collect()
    };
    let (all, unseen) = (in_memory(&train), in_memory(&test));
    let rows = train.stream(1).unwrap().rows(250..300).unwrap();
    assert_eq!(rows, all[1].select(&(250..300).collect::<Vec<_>>()).unwrap());
    assert!(train.stream(1).unwrap().rows(299..301).is_err() && train.stream(3).is_err());
    let set = features.data.load().unwrap();
    let validation = features.data.validation_positions().unwrap();
    let settings = SgdSettings { rates: vec![3.0, 0.1], steps: 40, batch: 32, group: 37, seed: 0 };
    let labels = &set.train().labels;
    let choice = choose_by_sgd(&all, labels, 10, &validation, &[0, 1, 2], &settings, &mut |_, _| ()).unwrap();
    assert_eq!(choice.test(TestSet::new(&unseen, set.test().labels.clone()).unwrap()).unwrap(), found);
}

#[test]
fn a_learning_rate_is_the_largest_after_which_the_loss_rises() {
    let folder = tempfile::tempdir().unwrap();
    let (on, ar) = (on(folder.path()), ar());
    // So high that the network is spoilt; then so low that the loss hardly falls.
    let search = LearningRateSearch::of(&ar).rates([1e30, 0.01, 1e-7, 1e-8]);
    let found = search.run_on(&on).unwrap();
    assert_eq!((found.best, found.tried.len(), found.tried[0]), (0.01, 3, (1e30, None)));
    let trained = ar.clone().learning_rate(0.01).run_on(&on).unwrap();
    assert_eq!(found.tried[1].1, trained.curve.validation.last().map(|point| point.loss));
    let text = crate::show::Show::to_text(&found);
    assert!(text.contains("diverged") && text.contains("0.01"), "{text}");
    // What it started from does not count; what it trains does.
    let key = |ar: &Pretraining| LearningRateSearch::of(ar).key(&on).unwrap();
    assert_eq!(key(&ar), key(&ar.clone().learning_rate(0.5)));
    assert_ne!(key(&ar), key(&ar.clone().seed(2)));
    for rates in [vec![], vec![0.0], vec![1e-3, 1e-2]] {
        assert!(LearningRateSearch::of(&ar).rates(rates).run_on(&on).is_err());
    }
}

#[test]
fn networks_are_judged_while_they_are_trained() {
    let folder = tempfile::tempdir().unwrap();
    let (on, large) = (on(folder.path()), Pretraining { after: vec![3, 8], ..ar() });
    let narrow = large.clone().network(profile::Model { layers: 1, ..large.network });
    let step = LossAndAccuracy::of([narrow, large.clone()], &super::small(8).probe);
    let found = step.run_on(&on).unwrap();
    let of: Vec<_> = found.points.iter().map(|point| (point.network, point.step)).collect();
    assert_eq!(of, [(0, 3), (0, 8), (1, 3), (1, 8)]);
    assert!(found.points[0].parameters < found.points[2].parameters && found.points[0].layer < 2);
    // After the last step it is the trained network, and its probe that of any other step.
    let trained = large.run_on(&on).unwrap();
    let last = &found.points[3];
    assert!((last.loss / trained.curve.validation.last().unwrap().loss - 1.0).abs() < 1e-9);
    let curve = probe(Features::of(&large)).run_on(&on).unwrap();
    assert_eq!((last.layer, last.test), (curve.chosen, curve.result().unwrap()));
    assert_eq!(
        found.points_of(1),
        [(found.points[2].loss, found.points[2].test.share()), (last.loss, last.test.share())]
    );
    let inputs = step.inputs();
    assert_eq!(inputs.iter().filter(|input| matches!(input, AnyStep::LinearProbe(_))).count(), 4);
    // A network that is not kept has no features.
    let error = Features::after(&large, 4).run_on(&on).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("not kept after step 4, but after [3, 8]"), "{error}");
    assert!(LossAndAccuracy::of([], &super::small(8).probe).run_on(&on).is_err());
}

#[test]
fn half_of_the_classes_are_trained_on_and_the_others_probed() {
    let folder = tempfile::tempdir().unwrap();
    let on = on(folder.path());
    let all = super::small(8).data;
    let mut profile = super::small(8);
    profile.data = all.clone().classes([0, 1, 2, 3, 4]);
    let (ar, unseen) = (Pretraining::of(&profile), all.clone().classes([9, 8, 7, 6, 5]));
    let set = unseen.load().unwrap();
    assert_eq!((set.train().len(), set.test().len(), set.classes().len()), (300, 100, 5));
    let whole = all.load().unwrap();
    assert_eq!(set.classes()[0], whole.classes()[9]);
    let curve = LinearProbe::of(Features::of(&ar).on(unseen.clone())).l2([0.1]).run_on(&on).unwrap();
    // Five classes: better than chance, which is one of five.
    assert!(curve.layers.len() == 3 && curve.result().unwrap().share() > 0.3, "{curve:?}");
    // Nothing of the unseen classes is in what is trained on.
    let seen = ar.data.load().unwrap();
    assert!(seen.classes().iter().all(|class| !set.classes().contains(class)));
    let few =
        FewLabels { subsets: 1, ..FewLabels::of(Features::of(&ar).on(unseen.clone())).labels([4]).l2([1.0]) };
    assert_eq!(few.run_on(&on).unwrap().classes, 5);
    // Settings without it are as they were.
    let text = |data: &Data| serde_json::to_string(data).unwrap();
    assert!(!text(&all).contains("classes") && text(&unseen).contains("\"classes\":[9,8,7,6,5]"));
    assert_eq!(serde_json::from_str::<Data>(&text(&unseen)).unwrap(), unseen);
    for classes in [vec![], vec![10], vec![1, 1]] {
        assert!(probe(Features::of(&super::ar()).on(all.clone().classes(classes))).run_on(&on).is_err());
    }
}

#[test]
fn pixels_are_probed_in_several_places() {
    let folder = tempfile::tempdir().unwrap();
    let (on, ar) = (on(folder.path()), ar());
    let step = |placements| PixelPlacements::of(&ar, placements).with(&super::small(8).probe);
    // In one place it is the probe of pixels.
    let once = probe(Features::pixels(&ar)).run_on(&on).unwrap();
    assert_eq!(step(1).run_on(&on).unwrap(), once);
    // Of 300 images 30 are held out; the others are seen in three more places.
    let found = step(4).run_on(&on).unwrap();
    assert_eq!((found.training, found.validation, found.layers.len()), (4 * 270, 30, 1));
    assert_ne!(found, once);
    assert_ne!(PixelPlacements { seed: 2, ..step(4) }.run_on(&on).unwrap(), found);
    let half = PixelPlacements { first: Some(150), ..step(2) }.run_on(&on).unwrap();
    assert_eq!(half.training + 2 * half.validation, 2 * 150);
    assert!(step(0).run_on(&on).is_err());
    let mut as_they_are = step(2);
    as_they_are.data.augmentation = Augmentation::None;
    let error = as_they_are.run_on(&on).unwrap_err().to_string();
    assert!(error.contains("are not varied"), "{error}");
}

#[test]
fn each_layer_gets_an_output_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (on, ar) = (on(folder.path()), ar());
    let found = LayerHeads::of(&ar).steps(60).run_on(&on).unwrap();
    assert_eq!((found.own.len(), found.trained.len()), (3, 3));
    let unseen = ar.validation_tokens_on(&on).unwrap();
    let trained = ar.run_on(&on).unwrap().parameters;
    let last = ar.loss_on(&on, &trained, &unseen).unwrap();
    assert!((found.own[2] / last - 1.0).abs() < 1e-9);
    // The network has trained for eight steps only: an output that is fitted to a layer does better than its own, everywhere,
    // and better than the frequencies of colours.
    let frequencies = {
        let mut counts = [0.0f64; 16];
        unseen.iter().for_each(|token| counts[usize::from(*token)] += 1.0 / unseen.len() as f64);
        counts.iter().filter(|share| **share > 0.0).map(|share| -share * share.ln()).sum::<f64>()
    };
    for (own, trained) in found.own.iter().zip(&found.trained) {
        assert!(trained < own && *trained < frequencies, "{found:?} {frequencies}");
    }
    let bert = ar.clone().objective(Objective::Bert { mask: 0.15 });
    assert_eq!(LayerHeads::of(&bert).steps(2).run_on(&on).unwrap().trained.len(), 3);
    assert!(LayerHeads::of(&ar).steps(0).run_on(&on).is_err());
    assert!(LayerHeads { learning_rate: -1.0, ..LayerHeads::of(&ar) }.run_on(&on).is_err());
}
