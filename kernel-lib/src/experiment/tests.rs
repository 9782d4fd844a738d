mod contrastive;
mod f16;
mod fine_tuning;
mod methods;
mod unseen;

use super::*;
use crate::Error;
use crate::augment::{Augmentation, Augmented};
use crate::device::Device;
use crate::probe::FeatureLayers as _;
use crate::sample::Sampling;
use crate::show::Show as _;
use crate::store::Store;
use crate::train::{Examples as _, Length, Objective, Tokens, Training};
use std::path::Path;
use std::sync::Arc;

/// A profile small enough for a test: a tiny network on few images.
fn small(steps: u64) -> Profile {
    let mut profile = Profile::named("quick").unwrap();
    profile.data.train_images = Some(300);
    profile.data.test_images = Some(100);
    profile.model.layers = 2;
    profile.model.width = 16;
    profile.model.heads = 2;
    profile.all_smaller = vec![profile.model; 2];
    profile.all_smaller[1].width = 8;
    profile.budget = 0.1;
    profile.training.length = Length::Steps(steps);
    profile.training.batch = 8;
    profile.training.checkpoint_every = 2;
    profile.training.evaluate_every = 5;
    profile.training.warm_up = crate::train::WarmUp::Steps(1);
    profile.samples.after = vec![0, 3, 6];
    profile.probe.l2 = vec![1e-2, 1.0];
    profile
}

fn ar() -> Pretraining {
    Pretraining::of(&small(8))
}

fn probe(features: Features) -> LinearProbe {
    LinearProbe::of(features).with(&small(8).probe)
}

fn on(folder: &Path) -> Workspace {
    Workspace::new(Store::at(folder), Device::cpu())
}

fn fail<T>(_: &Workspace) -> impl FnMut(&T) {
    |_| panic!("it is stored")
}

#[test]
fn each_part_is_computed_once_and_the_same_for_another_notebook() {
    let folder = tempfile::tempdir().unwrap();
    let (first, ar) = (on(folder.path()), ar());
    let mut reports = 0;
    let trained = ar.report_on(&first, &mut |_| reports += 1).unwrap();
    assert!(reports > 0);
    assert_eq!(trained.snapshots.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [0, 3, 6]);
    assert_eq!(trained.snapshots[0].1, ar.untrained().unwrap());
    assert_ne!(trained.snapshots[2].1, trained.parameters);

    let second = on(folder.path());
    let again = ar.report_on(&second, &mut fail(&second)).unwrap();
    assert_eq!(again, trained);
    let curve = probe(Features::of(&ar)).run_on(&second).unwrap();
    assert_eq!(curve.layers.len(), 3);
    assert_eq!(probe(Features::of(&ar)).run_on(&first).unwrap(), curve);
    assert_eq!(probe(Features::pixels(&ar)).run_on(&first).unwrap().layers.len(), 1);
    assert_ne!(probe(Features::untrained(&ar)).run_on(&first).unwrap(), curve);
    // Other penalties extract no features anew.
    let computed = |name: &str| {
        let report = first.store().report().to_text();
        report.lines().filter(|line| line.starts_with(name) && line.contains("computed")).count()
    };
    let before = computed("features");
    probe(Features::of(&ar)).l2([0.5]).run_on(&first).unwrap();
    assert_eq!(computed("features"), before);

    // Another seed is another network, on the same images.
    let other = ar.clone().seed(2);
    assert_ne!(other.run_on(&first).unwrap().parameters, trained.parameters);
    assert_eq!((&other.palette, &other.data), (&ar.palette, &ar.data));
}

#[test]
fn the_network_is_kept_after_as_many_steps_as_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let on = on(folder.path());
    let of = |after: &[u64]| Pretraining { after: after.to_vec(), ..ar() };
    let kept = |after: &[u64]| {
        let trained = of(after).run_on(&on).unwrap();
        assert_eq!(trained.snapshots.iter().map(|(step, _)| *step).collect::<Vec<_>>(), after);
        trained
    };
    let (five, none) = (kept(&[0, 2, 4, 6, 8]), kept(&[]));
    assert_eq!(five.parameters, none.parameters);
    assert_eq!(five.snapshots[4].1, five.parameters);
    let said = |step: Pretraining| step.validate().unwrap_err().to_string();
    said(of(&[3, 2]));
    let error = said(of(&[0, 9]));
    assert!(error.contains("after step 9, but the training has 8 steps"), "{error}");
    assert!(of(&[0, 9]).run_on(&on).is_err());
    // 270 images in batches of 8, a tenth of them.
    let mut epochs = ar();
    epochs.training.length = Length::Epochs(0.1);
    let error = said(epochs.clone());
    assert!(error.contains("after step 6, but the training has 4 steps"), "{error}");
    epochs.after = vec![0, 4];
    epochs.validate().unwrap();
}

#[test]
fn settings_that_would_end_the_process_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let on = on(folder.path());
    let said = |change: &dyn Fn(&mut Pretraining)| {
        let mut step = ar();
        change(&mut step);
        if let PaletteOf::Fit(fit) = &mut step.palette {
            fit.data = step.data.clone();
        }
        step.run_on(&on).map(|_| ()).map_err(|error| error.to_string())
    };
    let shift =
        |shift| said(&|step| step.data.augmentation = Augmentation::RandomTranslation { shift, pool: 2 });
    for far in [4_000_000_000, i64::MAX as usize, usize::MAX] {
        assert!(shift(far).unwrap_err().contains("out of sight"));
    }
    shift(28).unwrap();
    let error = said(&|step| step.training.batch = usize::MAX).unwrap_err();
    assert!(error.contains("a batch of 18446744073709551615 images"), "{error}");
    let error = said(&|step| step.data.side = 1 << 40).unwrap_err();
    assert!(error.contains("data.side"), "{error}");
    let error = said(&|step| step.data.set = "fashion".into()).unwrap_err();
    assert!(error.contains("there is no data set \"fashion\""), "{error}");
}

#[test]
fn a_network_trained_by_berts_objective_is_asked_for_what_it_can_do() {
    let folder = tempfile::tempdir().unwrap();
    let (on, ar) = (on(folder.path()), ar());
    let bert = ar.clone().objective(Objective::Bert { mask: 0.15 });
    // Live, which draws images of a network that can: this one cannot.
    let trained = bert.show_on(&on).unwrap();
    assert_eq!(trained.snapshots.len(), 3);

    // The loss is BERT's: the validation's, to which the curve came in other batches.
    let unseen = bert.validation_tokens_on(&on).unwrap();
    let (loss, last) =
        (bert.loss_on(&on, &trained.parameters, &unseen).unwrap(), trained.curve.validation.last().unwrap());
    assert!((loss / last.loss - 1.0).abs() < 1e-9, "{loss} {last:?}");

    let each = bert.loss_of_each_on(&on, &trained.parameters, &unseen).unwrap();
    assert!((each.iter().sum::<f64>() / 30.0 / loss - 1.0).abs() < 1e-9 && each.len() == 30);

    // Features see all tokens and no SOS token: the SOS token may be anything.
    let tokens = bert.encoding(Split::Test).run_on(&on).unwrap().0;
    let mut other = trained.parameters.clone();
    other.get_mut("sos").unwrap().fill(3.0);
    let by_hand = |parameters: &crate::model::Parameters, causal: bool| {
        let config = ar.config().unwrap();
        let values = on
            .network(config)
            .unwrap()
            .features(parameters, &tokens, crate::model::View::of(causal))
            .unwrap();
        crate::probe::FeatureMatrix::by_layer(&values, config.layers + 1, config.width).unwrap()
    };
    let assert_same = |step: Features, expected: &Vec<crate::probe::FeatureMatrix>| {
        let found = step.run_on(&on).unwrap();
        assert_eq!((found.layers(), found.images(), found.width()), (3, 100, 16));
        for (layer, expected) in expected.iter().enumerate() {
            assert_eq!(*found.layer(layer).unwrap(), *expected);
        }
        assert!(found.layer(3).is_err());
    };
    assert_same(Features::of(&bert).split(Split::Test), &by_hand(&other, false));

    let sampling = Sampling::default();
    let error = bert.sample(&trained.parameters, &[], 2, &sampling).unwrap_err().to_string();
    assert!(error.contains("BERT's objective cannot draw images"), "{error}");
    assert!(probe(Features::of(&bert)).run_on(&on).is_ok());

    // The good twin: one that predicts the next token does all of it.
    let trained = ar.show_on(&on).unwrap();
    let (loss, last) =
        (ar.loss_on(&on, &trained.parameters, &unseen).unwrap(), trained.curve.validation.last().unwrap());
    assert!((loss / last.loss - 1.0).abs() < 1e-9, "{loss} {last:?}");
    let each = ar.loss_of_each_on(&on, &trained.parameters, &unseen).unwrap();
    assert!((each.iter().sum::<f64>() / 30.0 / loss - 1.0).abs() < 1e-9);
    assert_same(Features::of(&ar).split(Split::Test), &by_hand(&trained.parameters, true));
    assert_eq!(ar.sample(&trained.parameters, &[], 2, &sampling).unwrap().len(), 2 * 196);
    // Untrained, they are the same network, which is looked at in two ways.
    assert_eq!(ar.untrained().unwrap(), bert.untrained().unwrap());
    let untrained = |of: &Pretraining| probe(Features::untrained(of)).run_on(&on).unwrap();
    assert_ne!(untrained(&ar), untrained(&bert));
}

/// In a process of its own: the request to stop is one for all, and another test's training might answer it.
#[test]
fn an_interrupted_training_ends_as_an_uninterrupted_one() {
    const ALONE: &str = "IGPT_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "experiment::tests::an_interrupted_training_ends_as_an_uninterrupted_one";
        let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
        assert!(alone.args([name, "--exact"]).env(ALONE, "1").status().unwrap().success());
        return;
    }
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (ar, on_whole, on_parts) = (ar(), on(whole.path()), on(parts.path()));
    let expected = ar.run_on(&on_whole).unwrap();
    crate::stop::request();
    let error = ar.palette.palette(&on_parts).unwrap_err().to_string();
    assert_eq!(error, "k-means was interrupted");
    // Tokens, too, so that the request meets the training.
    ar.encoding(Split::Train).run_on(&on_parts).unwrap();
    crate::stop::request();
    let error = ar.run_on(&on_parts).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("run the cell again"), "{error}");
    assert_eq!(ar.run_on(&on_parts).unwrap(), expected);
    crate::stop::request();
    let error = Features::of(&ar).run_on(&on_parts).map(|_| ()).unwrap_err().to_string();
    assert_eq!(error, "the features was interrupted");
    Features::of(&ar).run_on(&on_parts).unwrap();
}

#[test]
fn images_are_trained_on_at_the_size_at_which_they_are_judged() {
    let folder = tempfile::tempdir().unwrap();
    let on = on(folder.path());
    // Of 14 × 14 pixels after the augmentation, of 28 × 28, and (the good twin) of the size already.
    for (side, augmentation) in [
        (7, Augmentation::random_translation()),
        (28, Augmentation::random_translation()),
        (1, Augmentation::random_translation()),
        (14, Augmentation::cifar()),
        (14, Augmentation::None),
        (14, Augmentation::random_translation()),
    ] {
        let mut profile = small(2);
        profile.data.train_images = Some(40);
        profile.data.test_images = Some(10);
        profile.palette.colours = 4;
        (profile.data.side, profile.data.augmentation) = (side, augmentation);
        profile.samples.after = Vec::new();
        let step = Pretraining::of(&profile);
        let positions = step.data.training_positions().unwrap();
        let images = Arc::new(step.data.load().unwrap().train().images.select(&positions).unwrap());
        let palette = step.palette.palette(&on).unwrap();
        let examples = Augmented::new(images, augmentation, palette, 1).unwrap().at_side(side);
        let tokens = examples.tokens(0, &[0, 1, 2]).unwrap();
        assert_eq!(tokens.len(), 3 * side * side, "{side}, {augmentation}");
        if augmentation == Augmentation::None {
            // Then they are the very images that it is judged by.
            let judged = step.encoding(Split::Train).run_on(&on).unwrap().0;
            let judged = Tokens::new(side * side, judged).unwrap();
            assert_eq!(tokens, judged.tokens(0, &positions[..3]).unwrap());
        }
        assert!(step.run_on(&on).is_ok(), "{side}, {augmentation}");
    }
}

#[test]
fn images_are_encoded_once_and_held_out_ones_are_not_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let (first, ar) = (on(folder.path()), ar());
    assert_eq!(ar.data.name().unwrap(), "Fashion-MNIST (sample), randomly translated");
    let (training, validation) =
        (ar.data.training_positions().unwrap(), ar.data.validation_positions().unwrap());
    assert_eq!((training.len(), validation.len()), (270, 30));
    assert!(training.iter().all(|at| !validation.contains(at)));

    let tokens = ar.encoding(Split::Train).run_on(&first).unwrap().0;
    let images = ar.data.images(Split::Train).unwrap();
    assert_eq!((images.height(), images.width(), tokens.len()), (14, 14, 300 * 196));
    assert_eq!(images.all_pixels(), ar.data.images(Split::Train).unwrap().all_pixels());
    assert_eq!(tokens, ar.palette.palette(&first).unwrap().encode(images.all_pixels()).unwrap());
    assert!(tokens.iter().all(|token| *token < 16));
    assert_ne!(tokens[..100 * 196], ar.encoding(Split::Test).run_on(&first).unwrap().0[..]);
    let second = on(folder.path());
    assert_eq!(ar.encoding(Split::Train).run_on(&second).unwrap().0, tokens);
    let held_out = ar.validation_tokens_on(&second).unwrap();
    assert_eq!(held_out[..196], tokens[196 * validation[0]..][..196]);
    let report = second.store().report().to_text();
    assert!(report.contains("tokens") && !report.contains("computed"), "{report}");
    // What decides the tokens is in their key.
    let mut other = small(8);
    other.palette.colours = 8;
    let other = Pretraining::of(&other).encoding(Split::Train).run_on(&second).unwrap().0;
    assert!(other.iter().all(|token| *token < 8));
}

#[test]
fn one_set_is_trained_on_and_another_probed() {
    let folder = tempfile::tempdir().unwrap();
    let (on, ar) = (on(folder.path()), ar());
    // Another data set: bright and dark images, in a folder.
    let root = folder.path().join("set");
    for (split, count) in [("train", 30), ("test", 10)] {
        for (class, bright) in [("bright", 200), ("dark", 20)] {
            for number in 0..count {
                let path = root.join(split).join(class).join(format!("{number:02}.png"));
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                image::GrayImage::from_pixel(20, 20, image::Luma([bright + number])).save(path).unwrap();
            }
        }
    }
    let data = Data::of(format!("folder:{}", root.display()), 14);
    let mut profile = small(8);
    profile.probe.data = Some(data.clone());
    let elsewhere = LinearProbe::of(Features::of(&ar)).with(&profile.probe);
    assert_eq!(elsewhere.features, Features::of(&ar).on(data.clone()));
    let curve = elsewhere.run_on(&on).unwrap();
    assert_eq!((curve.training + curve.validation, curve.layers[0].test.images), (60, 20));
    assert!(curve.result().unwrap().share() > 0.9);
    // The network is the same one, and its own images are probed still.
    assert!(elsewhere.inputs().contains(&Features::of(&ar).on(data.clone()).into()));
    assert_ne!(probe(Features::of(&ar)).run_on(&on).unwrap(), curve);
    // Images of another size are no images of this network.
    let error = Features::of(&ar).on(Data::of(data.set, 7)).run_on(&on).unwrap_err().to_string();
    assert!(error.contains("7 × 7 pixels") && error.contains("14 × 14"), "{error}");
    // Nor are images in colour: a palette of greys would make three tokens of each pixel.
    for split in ["train", "test"] {
        for class in ["bright", "dark"] {
            let path = folder.path().join("in colour").join(split).join(class).join("0.png");
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            image::RgbImage::from_pixel(14, 14, image::Rgb([1, 2, 3])).save(path).unwrap();
        }
    }
    let in_colour = Data::of(format!("folder:{}", folder.path().join("in colour").display()), 14);
    let error = Features::pixels(&ar).on(in_colour).run_on(&on).unwrap_err().to_string();
    assert!(error.contains("images in colour, and a palette of greys"), "{error}");
}

#[test]
fn a_released_network_of_bert_stays_one() {
    let data = || Data::of("cifar10", 32);
    for (name, objective, other, code) in [
        ("igpt-s/131000", Objective::Autoregressive, Objective::Bert { mask: 0.15 }, "openai"),
        ("igpt-s-bert/1000000", Objective::Bert { mask: 0.15 }, Objective::Autoregressive, "openai"),
        ("imagegpt-small", Objective::Autoregressive, Objective::Bert { mask: 0.15 }, "huggingface"),
    ] {
        let training = |objective| Training { objective, ..ar().training };
        FineTuning::released(name, data(), &training(objective)).validate().unwrap();
        let error = FineTuning::released(name, data(), &training(other)).validate().unwrap_err().to_string();
        assert!(error.contains("the objective stays the same"), "{error}");
        // Only BERT's network has features of masked images.
        let masked = Features::released(name, data()).masked(Masked { mask: 0.15, seed: 1, draw: 0 });
        assert_eq!(masked.validate().is_ok(), objective != Objective::Autoregressive, "{name}");
        let folder = tempfile::tempdir().unwrap();
        assert!(masked.code(&on(&folder.path().join("store"))).contains(&code));
    }
}

#[test]
fn a_step_is_a_file_and_a_file_a_step() {
    let folder = tempfile::tempdir().unwrap();
    let (on, ar) = (on(&folder.path().join("store")), ar());
    let bert = ar.clone().objective(Objective::Bert { mask: 0.15 });
    let features = Features::of(&bert).first(50);
    let all = [
        AnyStep::from(PaletteFit::of(&small(8))),
        ar.encoding(Split::Test).into(),
        ar.clone().into(),
        features.clone().into(),
        Features::released("imagegpt-small", Data::of("cifar10", 32)).into(),
        Features::released("igpt-s-bert/1000000", Data::of("cifar10", 32)).into(),
        probe(Features::untrained(&ar)).into(),
        probe(Features::pixels(&ar)).into(),
        ConcatenatedProbe::of(probe(Features::of(&ar))).into(),
        FewLabels::of(Features::of(&ar)).into(),
        PcaFit::of(&ar.data, &ar.palette, 8).into(),
        probe(Features::pca(&ar, 8)).into(),
        NearestNeighbours::of(Features::of(&ar)).into(),
        CountBaseline::of(&ar.data, &ar.palette).into(),
        PixelPlacements::of(&ar, 3).into(),
        LayerHeads::of(&ar).into(),
        LayerSimilarity::of(Features::of(&ar).first(100)).into(),
        SgdProbe::of(Features::of(&ar)).layers([0, 2]).into(),
        LearningRateSearch::of(&ar).into(),
        LossAndAccuracy::of([ar.clone()], &small(8).probe).into(),
        ReleasedLossAndAccuracy::of(["igpt-s/131000"], Data::of("cifar10", 32), &small(8).probe).into(),
        Features::of(&ar).precision(FeaturePrecision::F16).into(),
    ];
    for step in all {
        let path = folder.path().join("step.json");
        std::fs::write(&path, step.to_json().unwrap()).unwrap();
        assert_eq!(AnyStep::read(&path).unwrap(), step);
        assert!(!step.about().is_empty() && !step.about().ends_with('.'));
        let text = step.to_json().unwrap().replacen('{', "{\n  \"typo\": 1,", 1);
        std::fs::write(&path, text).unwrap();
        let error = AnyStep::read(&path).unwrap_err().to_string();
        assert!(error.contains("typo") && error.contains("step.json"), "{error}");
    }
    // Computed from the file, it is what the value finds; and all that it needs comes before it.
    let step = AnyStep::from(probe(features));
    let list = with_inputs([step.clone()]);
    assert_eq!(list.last(), Some(&step));
    for (at, step) in list.iter().enumerate() {
        assert!(step.inputs().iter().all(|input| list[..at].contains(input)), "{}", step.about());
        assert!(step.provenance(&on).unwrap().is_none());
    }
    let names: Vec<_> = list.iter().map(AnyStep::name).collect();
    assert_eq!(names.iter().filter(|name| **name == "pre-training").count(), 1, "{names:?}");
    step.run_on(&on).unwrap();
    assert!(list.iter().all(|step| step.provenance(&on).unwrap().is_some()));
    bert.report_on(&on, &mut fail(&on)).unwrap();
}

#[test]
fn steps_are_listed_and_computed_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let (on, files) = (on(&folder.path().join("store")), folder.path().join("steps"));
    let mut profile = small(8);
    profile.name = "small".into();
    // So many that 25 of each class are among them.
    profile.data.train_images = Some(500);
    let steps = steps_of(&profile);
    let text = list(&profile, &on, false, Some(&files)).unwrap();
    assert_eq!(text.matches(" missing ").count(), steps.len(), "{text}");
    assert!(text.contains(&format!("0 of {} steps of the profile small", steps.len())), "{text}");
    // Each in turn, as a scheduler would, finds all that it needs.
    let mut names: Vec<_> = std::fs::read_dir(&files).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert_eq!(names.len(), steps.len());
    for file in &names {
        let before = on.store().report().to_text().matches("computed").count();
        let said = compute(file, &on).unwrap();
        assert!(said.contains("computed in"), "{said}");
        assert_eq!(on.store().report().to_text().matches("computed").count(), before + 1, "{said}");
    }
    assert!(compute(&names[0], &on).unwrap().contains("was there"));
    let text = list(&profile, &on, true, None).unwrap();
    assert!(!text.contains("missing") && text.contains("take about 0 minutes"), "{text}");
    // The notebook then computes nothing.
    let ar = Pretraining::of(&profile);
    ar.report_on(&on, &mut fail(&on)).unwrap();
}

#[test]
fn a_key_is_that_of_all_that_decides_a_result() {
    let folder = tempfile::tempdir().unwrap();
    let (on, ar) = (on(folder.path()), ar());
    let reference = Workspace::new(Store::at(folder.path()), Device::Reference);
    let key = |step: &LinearProbe| step.key(&on).unwrap();
    let base = probe(Features::of(&ar));
    assert_eq!(key(&base), key(&probe(Features::of(&Pretraining::of(&small(8))))));
    let mut others = vec![
        probe(Features::of(&ar.clone().seed(2))),
        probe(Features::of(&ar.clone().objective(Objective::Bert { mask: 0.15 }))),
        probe(Features::of(&Pretraining::of(&small(9)))),
        probe(Features::untrained(&ar)),
        probe(Features::pixels(&ar)),
        base.clone().l2([1.0]),
    ];
    let mut colours = small(8);
    colours.palette.colours = 15;
    others.push(probe(Features::of(&Pretraining::of(&colours))));
    let mut images = ar.data.clone();
    images.train_images = Some(299);
    others.push(probe(Features::of(&ar).on(images)));
    let mut keys: Vec<_> = others.iter().map(|other| key(other).to_string()).collect();
    keys.push(key(&base).to_string());
    keys.push(base.key(&reference).unwrap().to_string());
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 10);
    // Pixels are the same on any device.
    let pixels = Features::pixels(&ar);
    assert_eq!(pixels.key(&on).unwrap(), pixels.key(&reference).unwrap());
}

#[test]
fn features_that_are_not_finite_end_the_extraction() {
    let folder = tempfile::tempdir().unwrap();
    let mut ar = ar();
    // So high that the network is spoilt in a few steps, and either says so.
    ar.training.learning_rate = 1e30;
    let error = Features::of(&ar).run_on(&on(folder.path())).map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::NotFinite { .. }), "{error}");
}
