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
