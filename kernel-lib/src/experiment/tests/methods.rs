//! The paper's other methods as steps.

use super::{ar, on, probe};
use crate::experiment::*;

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
