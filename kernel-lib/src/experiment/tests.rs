use super::*;
use crate::show::Show as _;
use crate::train::Length;

/// A profile small enough for a test: a tiny network on few pictures.
fn small(steps: u64) -> Profile {
    let mut profile = Profile::named("quick").unwrap();
    profile.data.train_images = Some(300);
    profile.data.test_images = Some(100);
    profile.model.layers = 2;
    profile.model.width = 16;
    profile.model.heads = 2;
    profile.training.length = Length::Steps(steps);
    profile.training.batch = 8;
    profile.training.checkpoint_every = 2;
    profile.training.evaluate_every = 5;
    profile.training.warm_up = crate::train::WarmUp::Steps(1);
    profile.samples.after = vec![0, 3, 6];
    profile.probe.l2 = vec![1e-2, 1.0];
    profile
}

fn experiment(store: &std::path::Path) -> Experiment {
    Experiment::new(small(8), Store::at(store)).unwrap()
}

#[test]
fn each_part_is_computed_once_and_the_same_for_another_notebook() {
    let folder = tempfile::tempdir().unwrap();
    let first = experiment(folder.path());
    let mut reports = 0;
    let trained = first.pretrained(&mut |_| reports += 1).unwrap();
    assert!(reports > 0);
    assert_eq!(trained.snapshots.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [0, 3, 6]);
    assert_eq!(trained.snapshots[0].1, first.untrained().unwrap());
    assert_ne!(trained.snapshots[2].1, trained.parameters);

    let second = experiment(folder.path());
    let again = second.pretrained(&mut |_| panic!("it is stored")).unwrap();
    assert_eq!(again, trained);
    let curve = second.probe(Subject::Trained).unwrap();
    assert_eq!(curve.layers.len(), 3);
    assert_eq!(first.probe(Subject::Trained).unwrap(), curve);
    assert_eq!(first.probe(Subject::Pixels).unwrap().layers.len(), 1);
    assert_ne!(first.probe(Subject::Untrained).unwrap(), curve);

    // Another seed is another network, on the same pictures.
    let other = experiment(folder.path()).with_seed(2);
    assert_ne!(other.pretrained(&mut |_| {}).unwrap().parameters, trained.parameters);
    assert_eq!(other.palette().unwrap(), first.palette().unwrap());
    assert_eq!(other.validation(), first.validation());
}

#[test]
fn the_network_is_kept_after_as_many_steps_as_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let of = |after: &[u64]| {
        let mut profile = small(8);
        profile.samples.after = after.to_vec();
        Experiment::new(profile, Store::at(folder.path()))
    };
    let kept = |after: &[u64]| {
        let trained = of(after).unwrap().pretrained(&mut |_| {}).unwrap();
        assert_eq!(trained.snapshots.iter().map(|(step, _)| *step).collect::<Vec<_>>(), after);
        trained
    };
    let (five, none) = (kept(&[0, 2, 4, 6, 8]), kept(&[]));
    assert_eq!(five.parameters, none.parameters);
    assert_eq!(five.snapshots[4].1, five.parameters);
    assert!(of(&[3, 2]).is_err());
    let error = of(&[0, 9]).unwrap_err().to_string();
    assert!(error.contains("after step 9, but the training has 8 steps"), "{error}");
    // 270 pictures in batches of 8, a tenth of them.
    let mut profile = small(8);
    profile.training.length = Length::Epochs(0.1);
    let error =
        Experiment::new(profile.clone(), Store::at(folder.path())).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("after step 6, but the training has 4 steps"), "{error}");
    profile.samples.after = vec![0, 4];
    Experiment::new(profile, Store::at(folder.path())).unwrap();
}

#[test]
fn settings_that_would_end_the_process_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let said = |change: &dyn Fn(&mut Profile)| {
        let mut profile = small(8);
        change(&mut profile);
        Experiment::new(profile, Store::at(folder.path())).map(|_| ()).map_err(|error| error.to_string())
    };
    let shift =
        |shift| said(&|profile| profile.data.augmentation = Augmentation::Placed { shift, shrink: 2 });
    for far in [4_000_000_000, i64::MAX as usize, usize::MAX] {
        assert!(shift(far).unwrap_err().contains("out of sight"));
    }
    shift(28).unwrap();
    let error = said(&|profile| profile.training.batch = usize::MAX).unwrap_err();
    assert!(error.contains("a batch of 18446744073709551615 pictures"), "{error}");
    let error = said(&|profile| profile.data.side = 1 << 40).unwrap_err();
    assert!(error.contains("data.side"), "{error}");
}

#[test]
fn a_network_trained_by_berts_objective_is_asked_for_what_it_can_do() {
    let folder = tempfile::tempdir().unwrap();
    let mut profile = small(8);
    profile.training.objective = Pretext::Bert { mask: 0.15 };
    let experiment = Experiment::new(profile, Store::at(folder.path())).unwrap();
    // Live, which draws images of a network that can: this one cannot.
    let trained = experiment.pretrain().unwrap();
    assert_eq!(trained.snapshots.len(), 3);

    // The loss is BERT's: the validation's, to which the curve came in other batches.
    let unseen = experiment.validation_tokens().unwrap();
    let (loss, last) =
        (experiment.loss(&trained.parameters, &unseen).unwrap(), trained.curve.validation.last().unwrap());
    assert!((loss / last.loss - 1.0).abs() < 1e-9, "{loss} {last:?}");

    // Features see all tokens and no start vector: the start vector may be anything.
    let images = experiment.test_images().unwrap();
    let features = experiment.features(Subject::Trained, &images).unwrap();
    let tokens = experiment.tokens(&images).unwrap();
    let mut other = trained.parameters.clone();
    other.get_mut("sos").unwrap().fill(3.0);
    let both_ways = experiment.network().unwrap().features(&other, &tokens, false).unwrap();
    assert_eq!(features.values(), both_ways);

    let error = experiment.sample(&trained.parameters, &[], 2).unwrap_err().to_string();
    assert!(error.contains("BERT's objective cannot draw images"), "{error}");
    assert!(experiment.probe(Subject::Trained).is_ok());

    // The good twin: one that predicts the next token does all of it.
    let twin = Experiment::new(small(8), Store::at(folder.path())).unwrap();
    let trained = twin.pretrain().unwrap();
    let (loss, last) =
        (twin.loss(&trained.parameters, &unseen).unwrap(), trained.curve.validation.last().unwrap());
    assert!((loss / last.loss - 1.0).abs() < 1e-9, "{loss} {last:?}");
    let causal = twin.network().unwrap().features(&trained.parameters, &tokens, true).unwrap();
    assert_eq!(twin.features(Subject::Trained, &images).unwrap().values(), causal);
    assert_eq!(twin.sample(&trained.parameters, &[], 2).unwrap().len(), 2 * 196);
    // Untrained, they are the same network, which is looked at in two ways.
    assert_eq!(twin.untrained().unwrap(), experiment.untrained().unwrap());
    assert_ne!(twin.probe(Subject::Untrained).unwrap(), experiment.probe(Subject::Untrained).unwrap());
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
    let expected = experiment(whole.path()).pretrained(&mut |_| {}).unwrap();
    let interrupted = experiment(parts.path());
    crate::stop::request();
    let error = interrupted.palette().unwrap_err().to_string();
    assert_eq!(error, "k-means was interrupted");
    interrupted.palette().unwrap();
    crate::stop::request();
    let error = interrupted.pretrained(&mut |_| {}).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("run the cell again"), "{error}");
    assert_eq!(interrupted.pretrained(&mut |_| {}).unwrap(), expected);
}

#[test]
fn pictures_are_trained_on_at_the_size_at_which_they_are_judged() {
    let folder = tempfile::tempdir().unwrap();
    let of = |side: usize, augmentation: Augmentation| {
        let mut profile = small(2);
        profile.data.train_images = Some(40);
        profile.data.test_images = Some(10);
        profile.data.colours = 4;
        (profile.data.side, profile.data.augmentation) = (side, augmentation);
        profile.samples.after = Vec::new();
        Experiment::new(profile, Store::at(folder.path())).unwrap()
    };
    // Of 14 × 14 pixels after the augmentation, of 28 × 28, and (the good twin) of the size already.
    for (side, augmentation) in [
        (7, Augmentation::placed()),
        (28, Augmentation::placed()),
        (1, Augmentation::placed()),
        (14, Augmentation::cifar()),
        (14, Augmentation::None),
        (14, Augmentation::placed()),
    ] {
        let experiment = of(side, augmentation);
        let examples = experiment.training_examples().unwrap();
        let tokens = examples.tokens(0, &[0, 1, 2]).unwrap();
        assert_eq!(tokens.len(), 3 * side * side, "{side}, {augmentation}");
        if augmentation == Augmentation::None {
            // Then they are the very pictures that it is judged by.
            let judged = Tokens::new(side * side, experiment.train_tokens().unwrap()).unwrap();
            assert_eq!(tokens, judged.tokens(0, &experiment.training()[..3]).unwrap());
        }
        assert!(experiment.pretrained(&mut |_| {}).is_ok(), "{side}, {augmentation}");
    }
    let experiment = of(14, Augmentation::placed());
    let error = experiment.tokens(&experiment.data().test().images).unwrap_err().to_string();
    assert!(error.contains("pictures of 28 × 28 pixels") && error.contains("14 × 14"), "{error}");
    assert!(experiment.tokens(&experiment.test_images().unwrap()).is_ok());
}

#[test]
fn pictures_are_encoded_once() {
    let folder = tempfile::tempdir().unwrap();
    let first = experiment(folder.path());
    let tokens = first.train_tokens().unwrap();
    assert_eq!(tokens, first.tokens(&first.train_images().unwrap()).unwrap());
    assert_ne!(tokens[..100 * 196], first.test_tokens().unwrap()[..]);
    let second = experiment(folder.path());
    assert_eq!(second.train_tokens().unwrap(), tokens);
    let held_out = second.validation_tokens().unwrap();
    assert_eq!(held_out[..196], tokens[196 * second.validation()[0]..][..196]);
    let report = second.store().report().to_text();
    assert!(report.contains("tokens") && !report.contains("computed"), "{report}");
    // What decides the tokens is in their key.
    let mut other = small(8);
    other.data.colours = 8;
    let other = Experiment::new(other, Store::at(folder.path())).unwrap();
    assert!(other.train_tokens().unwrap().iter().all(|token| *token < 8));
}

#[test]
fn pictures_are_placed_alike_each_time_and_held_out_ones_are_not_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = experiment(folder.path());
    assert_eq!(experiment.name(), "Fashion-MNIST (sample), placed at random");
    let (training, validation) = (experiment.training(), experiment.validation());
    assert_eq!((training.len(), validation.len()), (270, 30));
    assert!(training.iter().all(|place| !validation.contains(place)));
    let images = experiment.train_images().unwrap();
    assert_eq!((images.height(), images.width()), (14, 14));
    assert_eq!(images.all_pixels(), experiment.train_images().unwrap().all_pixels());
    let tokens = experiment.tokens(&images).unwrap();
    assert_eq!(tokens.len(), 300 * 196);
    assert!(tokens.iter().all(|token| *token < 16));
    assert_eq!(experiment.pictures(&tokens[..196]).unwrap().len(), 1);
    assert!(experiment.pictures(&tokens[..195]).is_err());
}

#[test]
fn the_entropy_of_colours_is_that_of_each_place() {
    let config = Config { layers: 1, width: 4, heads: 1, context: 2, vocabulary: 4, inner: None };
    // The first place always has colour 3; the second has two colours, equally often.
    let entropy = entropy_by_place(&[3, 0, 3, 1], &config);
    assert!((entropy - 2f64.ln() / 2.0).abs() < 1e-12, "{entropy}");
}
