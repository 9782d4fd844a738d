//! Fine-tuning and masked images, on tiny networks.

use super::{on, small};
use crate::experiment::*;
use crate::train::{Classification, Objective, Training, WarmUp};

fn ar() -> Pretraining {
    Pretraining { after: Vec::new(), ..Pretraining::of(&small(8)) }
}

fn bert() -> Pretraining {
    ar().objective(Objective::Bert { mask: 0.15 })
}

/// Quick, and with a validation every other step.
fn quick(tuning: FineTuning) -> FineTuning {
    let training = Training { evaluate_every: 2, learning_rate: 0.01, ..tuning.training };
    tuning.training(training)
}

#[test]
fn networks_are_fine_tuned_from_where_they_are_and_judged_by_what_was_best() {
    let folder = tempfile::tempdir().unwrap();
    let on = on(folder.path());
    let of_ar = quick(FineTuning::of(&ar()));
    let tuned = of_ar.run_on(&on).unwrap();
    assert_eq!(tuned.parameters.config(), ar().config().unwrap().with_classes(Some(10)));
    assert_eq!((tuned.training.images, tuned.test.images), (270, 100));

    // The network that is kept is the first of those that were best on the validation images.
    let accuracy = &tuned.curve.accuracy;
    assert_eq!(accuracy.iter().map(|point| point.step).collect::<Vec<_>>(), [2, 4, 6, 8]);
    let best =
        accuracy.iter().fold(&accuracy[0], |best, next| if next.share > best.share { next } else { best });
    assert_eq!(tuned.best_step, Some(best.step));
    assert_eq!(tuned.validation.unwrap().share(), best.share);

    // It is found again, as the same bytes; the store has it under a key of its own settings.
    assert_eq!(of_ar.run_on(&on).unwrap(), tuned);
    assert_ne!(of_ar.key(&on).unwrap(), of_ar.clone().seed(2).key(&on).unwrap());

    let supervised = FineTuning::supervised(&ar()).run_on(&on).unwrap();
    assert_eq!(supervised.parameters.get("head").unwrap(), ar().untrained().unwrap().get("head").unwrap());

    // From random parameters, from BERT's, classified in the middle, and by the loss of classes alone.
    let scratch = quick(FineTuning::untrained(&ar())).run_on(&on).unwrap();
    assert_ne!(scratch.parameters, tuned.parameters);
    let of_bert = quick(FineTuning::of(&bert()));
    let voted = of_bert.run_on(&on).unwrap();
    assert!(voted.test.images == 100 && voted.curve.accuracy.len() == 4);
    let unmasked = FineTuning { votes: 0, ..of_bert }.run_on(&on).unwrap();
    assert_eq!(unmasked.parameters, voted.parameters);
    let alone = Classification { layer: Some(1), generative: 0.0, ..Classification::default() };
    let alone = of_ar.clone().classification(alone).run_on(&on).unwrap();
    // Nothing above the layer has learnt: neither the last block nor the output matrix.
    let before = ar().run_on(&on).unwrap().parameters;
    for name in ["h.1.mlp.c_fc", "ln_f", "head"] {
        assert_eq!(alone.parameters.get(name).unwrap(), before.get(name).unwrap(), "{name}");
        assert_ne!(tuned.parameters.get(name).unwrap(), before.get(name).unwrap(), "{name}");
    }
    assert_ne!(alone.parameters.get("h.0.mlp.c_fc").unwrap(), before.get("h.0.mlp.c_fc").unwrap());
}

#[test]
fn validation_images_are_folded_back_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let on = on(folder.path());
    let mut step = ar();
    step.data = step.data.folded_back();
    step.palette = PaletteOf::Fit(PaletteFit { data: step.data.clone(), ..PaletteFit::of(&small(8)) });
    assert_eq!(step.data.training_positions().unwrap(), (0..300).collect::<Vec<_>>());
    assert_eq!(ar().data.training_positions().unwrap().len(), 270);
    let trained = step.show_on(&on).unwrap();
    assert!(trained.curve.validation.is_empty() && !trained.curve.training.is_empty());
    assert_ne!(trained.parameters, ar().run_on(&on).unwrap().parameters);
    let tuned = quick(FineTuning::of(&step)).run_on(&on).unwrap();
    assert_eq!((tuned.training.images, tuned.validation, tuned.best_step), (300, None, None));
    // A probe still chooses by the images that were held out.
    assert_eq!(super::probe(Features::of(&step)).run_on(&on).unwrap().validation, 30);
}

/// Other test images: nothing moves but the accuracy on them.
#[test]
fn no_choice_of_fine_tuning_knows_the_test_images() {
    let folder = tempfile::tempdir().unwrap();
    let on = on(folder.path());
    let tuning = quick(FineTuning::of(&ar()));
    let with = |images: usize| {
        let mut data = tuning.data.clone();
        data.test_images = Some(images);
        tuning.clone().on(data).run_on(&on).unwrap()
    };
    let (few, many) = (with(30), with(100));
    assert_eq!((few.test.images, many.test.images), (30, 100));
    assert_eq!(FineTuned { test: many.test, ..few }, many);
}

#[test]
fn few_labels_are_as_many_of_each_class() {
    let folder = tempfile::tempdir().unwrap();
    let on = on(folder.path());
    let few = quick(FineTuning::of(&ar())).labels_per_class(1).run_on(&on).unwrap();
    assert_eq!((few.training.images, few.validation, few.best_step), (10, None, None));
    assert!(few.curve.accuracy.is_empty() && few.test.images == 100);
    let error = quick(FineTuning::of(&ar())).labels_per_class(300).run_on(&on).unwrap_err().to_string();
    assert!(error.contains("300 labels of each class are too many"), "{error}");
}

#[test]
fn fine_tunings_that_make_no_sense_are_refused() {
    let good = quick(FineTuning::of(&ar()));
    good.validate().unwrap();
    let said = |tuning: FineTuning| tuning.validate().unwrap_err().to_string();
    let with = |training: Training| good.clone().training(training);
    assert!(
        said(FineTuning { from: Features::pixels(&ar()).of, ..good.clone() })
            .contains("pixels are no network")
    );
    let other = Training { objective: Objective::Bert { mask: 0.15 }, ..good.training };
    assert!(said(with(other)).contains("the objective stays the same"));
    assert!(
        said(with(Training { classification: None, ..good.training })).contains("training.classification")
    );
    assert!(said(good.clone().labels_per_class(0)).contains("leaves no image"));
    let weights = Classification { weight: 0.0, ..Classification::default() };
    assert!(said(good.clone().classification(weights)).contains("that of the classes is above 0"));
    let patience = Classification { patience: Some(0), ..Classification::default() };
    assert!(said(good.clone().classification(patience)).contains("before it begins"));
    let warm_up = Training { warm_up: WarmUp::Steps(8), ..good.training };
    assert!(said(with(warm_up)).contains("fills a run"));

    let folder = tempfile::tempdir().unwrap();
    let on = on(folder.path());
    let layer = Classification { layer: Some(3), ..Classification::default() };
    let error = good.clone().classification(layer).run_on(&on).unwrap_err().to_string();
    assert!(error.contains("classification.layer = 3: a network of 2 blocks"), "{error}");
    let pretraining = ar();
    let with_classes = Training { classification: Some(Classification::default()), ..pretraining.training };
    let error = Pretraining { training: with_classes, ..pretraining }.run_on(&on).unwrap_err().to_string();
    assert!(error.contains("classes"), "{error}");
}

#[test]
fn masked_images_are_probed_and_vote() {
    let folder = tempfile::tempdir().unwrap();
    let on = on(folder.path());
    let probe = MaskedProbe::of(&bert()).unwrap().l2([1e-2, 1.0]);
    let curve = probe.run_on(&on).unwrap();
    assert_eq!(curve.layers.len(), 3);
    assert!(curve.layers.iter().all(|layer| layer.once.images == 100 && layer.voted.images == 100));
    assert_eq!(probe.run_on(&on).unwrap(), curve);
    // Each mask is features of its own, and one vote is what one mask says.
    assert_eq!(probe.inputs().len(), 6);
    let one = MaskedProbe { votes: 1, ..probe.clone() }.run_on(&on).unwrap();
    assert!(one.layers.iter().zip(&curve.layers).all(|(a, b)| a.once == b.once && a.voted == a.once));
    assert_eq!(one.layer, curve.layer);

    let error = MaskedProbe::of(&ar()).unwrap_err().to_string();
    assert!(error.contains("only a network trained by BERT's objective"), "{error}");
    let masked = Masked { mask: 0.15, seed: 0, draw: 0 };
    assert!(Features::of(&ar()).masked(masked).validate().is_err());
    Features::of(&bert()).masked(masked).validate().unwrap();
    assert!(Features::of(&bert()).masked(Masked { mask: 2.0, ..masked }).validate().is_err());
    assert!(MaskedProbe { votes: 0, ..probe }.validate().is_err());
    // Other test images move no choice.
    let mut other = MaskedProbe::of(&bert()).unwrap().l2([1e-2, 1.0]);
    other.features.data.test_images = Some(30);
    let other = other.run_on(&on).unwrap();
    assert_eq!(other.layer, curve.layer);
    assert!(other.layers.iter().zip(&curve.layers).all(|(a, b)| a.l2 == b.l2));
}
