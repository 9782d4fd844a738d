//! No choice knows the test images: each step that chooses or fits something does so in the same way whatever they are.

use super::{on, small};
use crate::contrast::Contrast;
use crate::experiment::*;
use crate::train::{Classification, Objective, Training};
use std::fmt::Debug;
use std::path::Path;

/// Two data sets with the same training images. The test images of the second are others, with the classes turned round: whoever
/// looked at them would choose otherwise.
fn two_sets(folder: &Path) -> [String; 2] {
    ["one", "marked"].map(|name| {
        let root = folder.join(name);
        for (split, count) in [("train", 40), ("test", 15)] {
            for class in 0..3u8 {
                for number in 0..count {
                    // Stripes of a period for each class, with noise; in the marked test images those of another class.
                    let marked = name == "marked" && split == "test";
                    let period = 2 + u32::from(if marked { 2 - class } else { class });
                    let image = image::GrayImage::from_fn(8, 8, |x, y| {
                        let noise = (x * 37 + y * 101 + number * 57 + u32::from(class) * 13)
                            .wrapping_mul(2_654_435_761)
                            % 61;
                        let marked = if marked { 60 } else { 0 };
                        image::Luma([((x / period % 2) * 120 + noise + marked) as u8])
                    });
                    let path =
                        root.join(split).join(format!("class {class}")).join(format!("{number:02}.png"));
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    image.save(path).unwrap();
                }
            }
        }
        format!("folder:{}", root.display())
    })
}

/// A tiny network's profile on such a set.
fn profile(set: &str) -> Profile {
    let mut profile = small(12);
    profile.data = Data { validation: 0.25, ..Data::of(set, 8) };
    profile.data.augmentation = crate::augment::Augmentation::Crop { padding: 1 };
    profile.palette.colours = 8;
    profile.samples.after = vec![4, 12];
    profile
}

/// What a step chose or fitted, and, apart from it, what it found on the test images.
type Found = (String, String);

fn found(choice: impl Debug, test: impl Debug) -> Found {
    (format!("{choice:?}"), format!("{test:?}"))
}

fn of_network(trained: Trained) -> Found {
    let snapshots: Vec<_> =
        trained.snapshots.iter().map(|(step, network)| (step, network.values())).collect();
    found((trained.parameters.values(), trained.curve, snapshots), ())
}

fn of_curve(curve: &crate::probe::Curve) -> Found {
    let chosen: Vec<_> =
        curve.layers.iter().map(|layer| (layer.l2, layer.validation, layer.at_edge)).collect();
    found((curve.chosen, chosen), curve.layers.iter().map(|layer| layer.test).collect::<Vec<_>>())
}

fn all(set: &str, on: &Workspace) -> Vec<(&'static str, Found)> {
    let profile = profile(set);
    let ar = Pretraining::of(&profile);
    let bert = ar.clone().objective(Objective::Bert { mask: 0.3 });
    let probe = LinearProbe::of(Features::of(&ar)).with(&profile.probe);
    let tuned = |step: FineTuning| {
        let training = Training { evaluate_every: 3, learning_rate: 0.01, ..step.training };
        let tuned = step.training(training).run_on(on).unwrap();
        let values = tuned.parameters.values();
        found((tuned.best_step, tuned.validation, tuned.training, tuned.curve, values), tuned.test)
    };
    let sgd = SgdProbe { rates: vec![3.0, 0.1], steps: 30, batch: 16, ..SgdProbe::of(Features::of(&ar)) };
    let sgd = sgd.run_on(on).unwrap();
    let beside = ConcatenatedProbe::of(probe.clone()).layers(2).run_on(on).unwrap();
    let few = FewLabels { subsets: 2, ..FewLabels::of(Features::of(&ar)).labels([4]).l2([1e-2, 1.0]) };
    let few = few.run_on(on).unwrap();
    let (counts, figure) = (
        CountBaseline::of(&ar.data, &ar.palette).run_on(on).unwrap(),
        LossAndAccuracy::of([Pretraining { after: vec![4, 12], ..ar.clone() }], &profile.probe)
            .run_on(on)
            .unwrap(),
    );
    let voted = MaskedProbe::of(&bert).unwrap().l2([1e-2, 1.0]).run_on(on).unwrap();
    let near = NearestNeighbours::of(Features::of(&ar)).k([1, 3]).run_on(on).unwrap();
    let sim_clr = Contrast::SimClr { temperature: 0.5, projection: 8 };
    vec![
        ("palette", found(ar.palette.palette(on).unwrap(), ())),
        ("pre-training", of_network(ar.run_on(on).unwrap())),
        ("BERT", of_network(bert.run_on(on).unwrap())),
        ("contrastive", of_network(Contrastive::like(&ar, sim_clr, 3).run_on(on).unwrap())),
        ("linear probe", of_curve(&probe.run_on(on).unwrap())),
        ("untrained", of_curve(&LinearProbe::of(Features::untrained(&ar)).run_on(on).unwrap())),
        ("pixels", of_curve(&LinearProbe::of(Features::pixels(&ar)).run_on(on).unwrap())),
        ("placements", of_curve(&PixelPlacements::of(&ar, 3).run_on(on).unwrap())),
        ("PCA", of_curve(&LinearProbe::of(Features::pca(&ar, 5)).run_on(on).unwrap())),
        ("components", found(PcaFit::of(&ar.data, &ar.palette, 5).run_on(on).unwrap(), ())),
        (
            "side by side",
            found(
                (beside.best, &beside.layers, beside.probe.layers[0].l2, beside.probe.layers[0].validation),
                beside.result().unwrap(),
            ),
        ),
        (
            "masked probe",
            found(
                (voted.layer, voted.layers.iter().map(|layer| layer.l2).collect::<Vec<_>>()),
                voted.layers.iter().map(|layer| (layer.once, layer.voted)).collect::<Vec<_>>(),
            ),
        ),
        (
            "few labels",
            found(
                few.rows
                    .iter()
                    .flat_map(|row| row.subsets.iter().map(|s| (s.layer, s.l2)))
                    .collect::<Vec<_>>(),
                few.rows.iter().flat_map(|row| row.subsets.iter().map(|s| s.test)).collect::<Vec<_>>(),
            ),
        ),
        ("SGD probe", found((&sgd.tried, sgd.layer, sgd.rate), sgd.test)),
        ("fine-tuning", tuned(FineTuning::of(&ar))),
        ("fine-tuning of BERT", tuned(FineTuning::of(&bert))),
        ("few labels, fine-tuned", tuned(FineTuning::of(&ar).labels_per_class(4))),
        (
            "a layer in the middle, fine-tuned",
            tuned(
                FineTuning::of(&ar)
                    .classification(Classification { layer: Some(1), ..Classification::default() }),
            ),
        ),
        ("count table", found((&counts.tried, counts.validation), counts.test)),
        ("learning rate", found(LearningRateSearch::of(&ar).rates([0.01, 0.003]).run_on(on).unwrap(), ())),
        (
            "loss and accuracy",
            found(
                figure.points.iter().map(|p| (p.loss, p.layer, p.validation)).collect::<Vec<_>>(),
                figure.points.iter().map(|p| p.test).collect::<Vec<_>>(),
            ),
        ),
        ("outputs of layers", found(LayerHeads::of(&ar).steps(5).run_on(on).unwrap(), ())),
        ("similarity", found(LayerSimilarity::of(Features::of(&ar)).run_on(on).unwrap(), ())),
        (
            "neighbours",
            found(
                (
                    near.chosen,
                    near.layers.iter().map(|row| (row.layer, row.k, row.validation)).collect::<Vec<_>>(),
                ),
                near.results.iter().map(|row| row.test).collect::<Vec<_>>(),
            ),
        ),
    ]
}

#[test]
fn no_choice_moves_when_the_test_images_are_others() {
    let folder = tempfile::tempdir().unwrap();
    let on = on(&folder.path().join("store"));
    let [one, marked] = two_sets(folder.path()).map(|set| all(&set, &on));
    for ((name, one), (_, marked)) in one.iter().zip(&marked) {
        assert_eq!(one.0, marked.0, "{name} looked at the test images");
        // The marker would have been seen: whatever is judged by them finds something else.
        assert!(one.1 == "()" || one.1 != marked.1, "{name}: the marked test images make no difference");
    }
}
