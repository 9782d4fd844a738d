use super::*;
use crate::model::{Config, Reference, Resident, View};
use crate::rng::Rng;
use crate::train::{Adam, Labelled, Length, Objective, Tokens, WarmUp};
use candle_core::DType;

const TINY: Config =
    Config { layers: 2, width: 16, heads: 2, context: 9, vocabulary: 5, inner: None, classes: None };

fn images(count: usize, seed: u64) -> Arc<Tokens> {
    let mut rng = Rng::keyed(seed, "pictures", [0, 0]);
    let tokens = (0..count * TINY.context).map(|_| rng.below(TINY.vocabulary) as u16).collect();
    Arc::new(Tokens::new(TINY.context, tokens).unwrap())
}

fn settings(steps: u64) -> Training {
    Training {
        batch: 4,
        learning_rate: 0.01,
        warm_up: WarmUp::Steps(5),
        log_every: 4,
        evaluate_every: 6,
        checkpoint_every: 3,
        ..Training::paper(steps)
    }
}

fn trainer(settings: Training) -> Trainer {
    let network = Box::new(Reference::new(TINY, DType::F32).unwrap());
    Trainer::new(settings, network, images(10, 1), images(5, 2)).unwrap()
}

fn quiet(trainer: &mut Trainer) -> Outcome {
    trainer.run(&mut |_| ()).unwrap()
}

#[test]
fn a_few_images_are_learnt_by_heart() {
    for objective in [Objective::Autoregressive, Objective::Bert { mask: 0.15 }] {
        let settings = Training { objective, batch: 3, log_every: 10, ..settings(400) };
        let network = Box::new(Reference::new(TINY, DType::F32).unwrap());
        let mut trainer = Trainer::new(settings, network, images(3, 1), images(0, 2)).unwrap();
        assert_eq!(quiet(&mut trainer), Outcome::Finished);
        let curve = trainer.curve();
        assert!((curve.training[0].loss - 5f64.ln()).abs() < 0.3, "{curve:?}");
        // The first token of an image is one of three at random: ln 3 / 9 cannot be learnt.
        let floor = if objective == Objective::Autoregressive { 3f64.ln() / 9.0 } else { 0.0 };
        let last = curve.training.last().unwrap().loss;
        assert!(last < floor + 0.1, "{objective:?}: {last}");
        assert!(curve.validation.is_empty());
    }
}

/// The tokens of all images are a multiple of the network's in each case: nothing else can find it.
#[test]
fn images_of_another_size_are_refused() {
    let of_size = |context: usize, count: usize| -> Arc<Tokens> {
        Arc::new(Tokens::new(context, vec![1; context * count]).unwrap())
    };
    let new = |training: Arc<Tokens>, validation: Arc<Tokens>| {
        let network = Box::new(Reference::new(TINY, DType::F32).unwrap());
        Trainer::new(settings(8), network, training, validation).map(|_| ()).map_err(|e| e.to_string())
    };
    let (good, none) = (of_size(9, 10), of_size(9, 0));
    let error = new(of_size(36, 10), good.clone()).unwrap_err();
    assert!(error.contains("1 images have 36 tokens together, but the network reads 9"), "{error}");
    let error = new(good.clone(), of_size(3, 9)).unwrap_err();
    assert!(error.contains("1 images have 3 tokens together"), "{error}");
    new(good.clone(), good.clone()).unwrap();
    new(good, none).unwrap();
}

#[test]
fn a_batch_that_no_machine_can_hold_is_an_error() {
    for batch in [usize::MAX, 1 << 45, 1 << 36] {
        let network = Box::new(Reference::new(TINY, DType::F32).unwrap());
        let settings = Training { batch, ..settings(8) };
        let error = Trainer::new(settings, network, images(10, 1), images(5, 2)).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::Memory { .. }), "{error}");
        assert!(error.to_string().contains(&format!("a batch of {batch} images")), "{error}");
    }
    // The good twin, larger than the images are many.
    let network = Box::new(Reference::new(TINY, DType::F32).unwrap());
    Trainer::new(Training { batch: 50, ..settings(8) }, network, images(10, 1), images(5, 2)).unwrap();
}

#[test]
fn reports_and_curve_agree() {
    let mut trainer = trainer(settings(14));
    let mut lines = Vec::new();
    let outcome = trainer.run(&mut |progress| lines.push(progress.to_string())).unwrap();
    assert_eq!(outcome, Outcome::Finished);
    let steps = |points: &[Point]| points.iter().map(|point| point.step).collect::<Vec<_>>();
    assert_eq!(steps(&trainer.curve().training), [4, 8, 12, 14]);
    assert_eq!(steps(&trainer.curve().validation), [6, 12, 14]);
    assert_eq!(lines.len(), 5);
    assert!(lines[0].starts_with("step 4 of 14 · loss 1."), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains(['\n', '\r'])));
    // The first loss is that of a network which finds all colours equally likely.
    let mut again = super::tests::trainer(settings(14));
    let losses: Vec<f64> = (0..4).map(|_| again.advance().unwrap()).collect();
    assert!((losses[0] - 5f64.ln()).abs() < 1e-6);
    assert_eq!(losses.iter().sum::<f64>() / 4.0, trainer.curve().training[0].loss);
    let (_, curve, _) = trainer.into_parts();
    let text = serde_json::to_string(&curve).unwrap();
    assert_eq!(serde_json::from_str::<Curve>(&text).unwrap(), curve);
}

#[test]
fn threads_change_nothing() {
    for objective in [Objective::Autoregressive, Objective::Bert { mask: 0.15 }] {
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut trainer = trainer(Training { objective, ..settings(12) });
                assert_eq!(quiet(&mut trainer), Outcome::Finished);
                trainer.now
            })
        };
        let one = with(1);
        assert!(one == with(2) && one == with(3));
    }
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bytes() {
    for objective in [Objective::Autoregressive, Objective::Bert { mask: 0.3 }] {
        let settings = Training { objective, length: Length::Epochs(5.5), ..settings(1) };
        let mut whole = trainer(settings);
        assert_eq!(quiet(&mut whole), Outcome::Finished);
        assert_eq!(whole.steps(), 14);

        static STOP: AtomicBool = AtomicBool::new(false);
        let folder = tempfile::tempdir().unwrap();
        let mut stops = 0;
        let parts = loop {
            let mut part = trainer(settings).keep_checkpoints(folder.path()).unwrap().stop_at(&STOP);
            let began = part.step();
            let outcome = part.run(&mut |_| STOP.store(true, Ordering::Relaxed)).unwrap();
            STOP.store(false, Ordering::Relaxed);
            match outcome {
                Outcome::Stopped { step } => assert!(step > began),
                outcome => {
                    assert_eq!(outcome, Outcome::Finished);
                    break part;
                }
            }
            stops += 1;
        };
        assert!(stops >= 4, "{stops}");
        assert!(parts.now == whole.now);
        // What is finished is not done again.
        let mut again = trainer(settings).keep_checkpoints(folder.path()).unwrap();
        assert_eq!(again.step(), 14);
        assert_eq!(quiet(&mut again), Outcome::Finished);
        assert!(again.now == whole.now);
    }
}

/// A run stopped at step 6 of 14, in this folder.
fn stopped_at_6(folder: &std::path::Path) {
    let mut trainer = trainer(settings(14)).keep_checkpoints(folder).unwrap();
    (0..3).for_each(|_| _ = trainer.advance().unwrap());
    trainer.save().unwrap();
    (0..3).for_each(|_| _ = trainer.advance().unwrap());
    trainer.save().unwrap();
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    stopped_at_6(folder.path());
    let refused = |trainer: Trainer| trainer.keep_checkpoints(folder.path()).unwrap_err().to_string();
    let settings = settings(14);
    let error = refused(trainer(Training { learning_rate: 0.003, batch: 5, ..settings }));
    for said in [
        "that of another run",
        "settings.batch is 4 there and 5 here",
        "settings.learning_rate is 0.01 there and 0.003 here",
        "choose another folder",
    ] {
        assert!(error.contains(said), "{error}");
    }
    let error = refused(trainer(settings).input("palette", "abc"));
    assert!(error.contains("inputs.palette is null there and \"abc\" here"), "{error}");
    let network = Box::new(Reference::new(Config { layers: 1, ..TINY }, DType::F32).unwrap());
    let error = refused(Trainer::new(settings, network, images(10, 1), images(5, 2)).unwrap());
    assert!(error.contains("network.layers is 2 there and 1 here"), "{error}");
    let network = Box::new(Reference::new(TINY, DType::F32).unwrap());
    let error = refused(Trainer::new(settings, network, images(11, 1), images(5, 2)).unwrap());
    assert!(error.contains("images is [10,5] there and [11,5] here"), "{error}");
    // The good twins.
    let same = trainer(settings).keep_checkpoints(folder.path()).unwrap();
    assert_eq!(same.step(), 6);
    let oftener = trainer(Training { checkpoint_every: 1, ..settings });
    assert_eq!(oftener.keep_checkpoints(folder.path()).unwrap().step(), 6);
}

#[test]
fn a_damaged_checkpoint_is_found_and_the_one_before_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    stopped_at_6(folder.path());
    let open = || trainer(settings(14)).keep_checkpoints(folder.path());
    let last = Checkpoints::new(folder.path()).unwrap().last();
    let good = std::fs::read(&last).unwrap();
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for bad in
        [&good[..good.len() - 1], &good[..100], &[], b"not a checkpoint at all, but long enough", &flipped]
    {
        std::fs::write(&last, bad).unwrap();
        let error = open().unwrap_err().to_string();
        assert!(error.contains("damaged") && error.contains("delete it"), "{error}");
        assert!(
            error.contains("checkpoint before it") && error.contains("checkpoint.safetensors"),
            "{error}"
        );
    }
    std::fs::remove_file(&last).unwrap();
    assert_eq!(open().unwrap().step(), 3);
    std::fs::write(&last, &good).unwrap();
    let good = open().unwrap();
    assert_eq!(good.step(), 6);
    // Not ours, but whole.
    let tensor = candle_core::Tensor::zeros(3, DType::F32, &candle_core::Device::Cpu).unwrap();
    tensor.save_safetensors("x", &last).unwrap();
    let error = open().unwrap_err().to_string();
    assert!(error.contains("no checkpoint of a training run"), "{error}");
}

/// A network may be most of the memory: a checkpoint of it is read into the place that it has.
#[test]
fn a_checkpoint_is_read_in_place() {
    let folder = tempfile::tempdir().unwrap();
    stopped_at_6(folder.path());
    let fresh = trainer(settings(14));
    let places = |now: &Checkpoint| {
        [now.parameters.values().as_ptr(), now.adam.mean.as_ptr(), now.adam.square.as_ptr()]
    };
    let before = places(&fresh.now);
    let loaded = fresh.keep_checkpoints(folder.path()).unwrap();
    assert_eq!((loaded.step(), places(&loaded.now)), (6, before));
    // The good twin: it is what was saved.
    let mut same = trainer(settings(14));
    (0..6).for_each(|_| _ = same.advance().unwrap());
    assert!(loaded.now == same.now);
}

/// A network that keeps what it trains on a device.
struct OnDevice(Reference);

impl Network for OnDevice {
    fn config(&self) -> Config {
        self.0.config()
    }
    fn resident(&mut self) -> Option<&mut dyn Resident> {
        Some(self)
    }
    fn loss(&mut self, parameters: &Parameters, batch: &Batch<'_>) -> Result<f64> {
        self.0.loss(parameters, batch)
    }
    fn gradients(&mut self, _: &Parameters, _: &Batch<'_>, _: f32, _: &mut Parameters) -> Result<f64> {
        Err(Error::invalid("the device has the gradients"))
    }
    fn features(&mut self, parameters: &Parameters, tokens: &[u16], view: View<'_>) -> Result<Vec<f32>> {
        self.0.features(parameters, tokens, view)
    }
    fn next_logits(&mut self, parameters: &Parameters, prefix: &[u16], count: usize) -> Result<Vec<f32>> {
        self.0.next_logits(parameters, prefix, count)
    }
}

impl Resident for OnDevice {
    fn step(
        &mut self,
        parameters: &Parameters,
        _: &AdamState,
        batch: &Batch<'_>,
        _: &Adam,
        _: u64,
        _: f64,
    ) -> Result<f64> {
        self.0.loss(parameters, batch)
    }
    fn download(&mut self, _: &mut Parameters, _: &mut AdamState) -> Result<()> {
        Ok(())
    }
}

#[test]
fn gradients_take_memory_only_where_they_are_computed() {
    let network = Box::new(OnDevice(Reference::new(TINY, DType::F32).unwrap()));
    let mut on_device = Trainer::new(settings(8), network, images(10, 1), images(5, 2)).unwrap();
    on_device.advance().unwrap();
    assert!(on_device.gradients.is_none());
    let mut here = trainer(settings(8));
    here.advance().unwrap();
    assert!(here.gradients.is_some());
}

#[test]
fn activations_can_be_computed_again_and_memory_be_limited() {
    use crate::engine::{Engine, memory};
    let new = |settings: Training| {
        Trainer::new(settings, Box::new(Engine::new(TINY).unwrap()), images(10, 1), images(5, 2))
    };
    let limited = |gb: usize| Training { device_memory_gb: Some((gb as f64 + 0.5) / 1e9), ..settings(8) };
    let [all, inputs] = [false, true].map(|checkpointing| memory(&TINY, 4, checkpointing).total());
    assert!(inputs < all);
    let mut whole = new(limited(all)).unwrap();
    assert_eq!(quiet(&mut whole), Outcome::Finished);
    let error = new(limited(inputs)).map(|_| ()).unwrap_err().to_string();
    assert!(
        error.contains("device_memory_gb") && error.contains("activation_checkpointing = true"),
        "{error}"
    );
    // Where the limit is met by computing activations again: the same bits.
    let again = Training { activation_checkpointing: true, ..limited(inputs) };
    let mut again = new(again).unwrap();
    assert_eq!(quiet(&mut again), Outcome::Finished);
    assert!(again.now == whole.now);
    assert!(new(Training { activation_checkpointing: true, ..limited(inputs / 2) }).is_err());
    // The readable reference can do neither, and says so.
    for settings in [Training { activation_checkpointing: true, ..settings(8) }, limited(usize::MAX >> 1)] {
        let network = Box::new(Reference::new(TINY, DType::F32).unwrap());
        assert!(Trainer::new(settings, network, images(10, 1), images(5, 2)).is_err());
    }
    // A run may go on with the other way to keep activations.
    let folder = tempfile::tempdir().unwrap();
    let mut first = new(settings(8)).unwrap().keep_checkpoints(folder.path()).unwrap();
    first.advance().unwrap();
    first.save().unwrap();
    let other = Training { activation_checkpointing: true, ..settings(8) };
    let mut second = new(other).unwrap().keep_checkpoints(folder.path()).unwrap();
    assert_eq!(second.step(), 1);
    assert_eq!(quiet(&mut second), Outcome::Finished);
    assert_eq!(second.parameters(), whole.parameters());
}

#[cfg(unix)]
#[test]
fn a_full_disk_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    stopped_at_6(folder.path());
    // Whatever is written to this device meets a full disk.
    std::os::unix::fs::symlink("/dev/full", folder.path().join("checkpoint.partial")).unwrap();
    let mut run = trainer(settings(14)).keep_checkpoints(folder.path()).unwrap();
    let error = run.run(&mut |_| ()).unwrap_err().to_string();
    for said in
        ["checkpoint of step 9 could not be written", "No space left", "make room", "checkpoint.partial"]
    {
        assert!(error.contains(said), "{error}");
    }
    // Run again where there is room: to the same bytes.
    let mut again = trainer(settings(14)).keep_checkpoints(folder.path()).unwrap();
    assert_eq!(again.step(), 6);
    // The stop in the middle was not at the end of a report, and the losses before it still count.
    assert_eq!(quiet(&mut again), Outcome::Finished);
    let mut whole = trainer(settings(14));
    assert_eq!(quiet(&mut whole), Outcome::Finished);
    assert_eq!(again.now.parameters, whole.now.parameters);
    assert_eq!(again.now.adam, whole.now.adam);
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a file");
    std::fs::write(&file, "").unwrap();
    let error = trainer(settings(14)).keep_checkpoints(file.join("run")).unwrap_err().to_string();
    assert!(error.contains("a file/run"), "{error}");
}

#[test]
fn a_run_that_diverges_says_so() {
    let mut trainer = trainer(Training { learning_rate: 1e30, warm_up: WarmUp::Steps(1), ..settings(14) });
    let Outcome::Diverged { step } = quiet(&mut trainer) else {
        panic!("a learning rate of 1e30 is too large")
    };
    assert!(step > 0);
    assert_eq!(trainer.step(), step);
}

/// A network whose gradient is infinite at one step, though its loss is not.
struct Overflows {
    inner: Reference,
    at: u64,
}

impl Network for Overflows {
    fn config(&self) -> Config {
        self.inner.config()
    }
    fn loss(&mut self, parameters: &Parameters, batch: &Batch<'_>) -> Result<f64> {
        self.inner.loss(parameters, batch)
    }
    fn gradients(
        &mut self,
        p: &Parameters,
        batch: &Batch<'_>,
        scale: f32,
        to: &mut Parameters,
    ) -> Result<f64> {
        let loss = self.inner.gradients(p, batch, scale, to)?;
        if self.at == 0 {
            to.values_mut()[7] = f32::INFINITY;
        }
        self.at = self.at.wrapping_sub(1);
        Ok(loss)
    }
    fn features(&mut self, parameters: &Parameters, tokens: &[u16], view: View<'_>) -> Result<Vec<f32>> {
        self.inner.features(parameters, tokens, view)
    }
    fn next_logits(&mut self, parameters: &Parameters, prefix: &[u16], count: usize) -> Result<Vec<f32>> {
        self.inner.next_logits(parameters, prefix, count)
    }
}

#[test]
fn a_gradient_that_is_not_finite_is_not_applied() {
    let new = |at: u64| {
        let network = Overflows { inner: Reference::new(TINY, DType::F32).unwrap(), at };
        Trainer::new(settings(8), Box::new(network), images(10, 1), images(5, 2)).unwrap()
    };
    let mut broken = new(3);
    assert_eq!(quiet(&mut broken), Outcome::Diverged { step: 3 });
    let mut whole = new(u64::MAX);
    (0..3).for_each(|_| _ = whole.advance().unwrap());
    assert_eq!((broken.now.step, &broken.now.parameters), (3, &whole.now.parameters));
    assert_eq!(broken.now.adam, whole.now.adam);
    let mut broken = new(0);
    assert!(matches!(broken.advance(), Err(Error::NotFinite { .. })));
    assert_eq!(broken.parameters(), &Parameters::init(TINY, settings(8).seed).unwrap());
    // The good twin.
    assert_eq!(quiet(&mut whole), Outcome::Finished);
}

#[test]
fn validation_is_the_mean_over_images() {
    // 5 images in batches of 4: the fifth counts as much as the others.
    let mut trainer = trainer(settings(14));
    assert_eq!(quiet(&mut trainer), Outcome::Finished);
    let all = trainer.evaluate().unwrap();
    let parameters = trainer.parameters().clone();
    let mut network = Reference::new(TINY, DType::F32).unwrap();
    let tokens = images(5, 2).tokens(0, &[0, 1, 2, 3, 4]).unwrap();
    let one_by_one: f64 = tokens
        .chunks(TINY.context)
        .map(|image| network.loss(&parameters, &Batch::autoregressive(image)).unwrap())
        .sum();
    assert!((all - one_by_one / 5.0).abs() < 1e-6);
    assert_eq!(trainer.curve().validation.last().unwrap().loss, all);
}

/// Images whose class is their first token.
fn labelled(count: usize, seed: u64) -> Arc<dyn Examples> {
    let images = images(count, seed);
    let all: Vec<usize> = (0..count).collect();
    let labels = images.tokens(0, &all).unwrap().chunks(TINY.context).map(|image| image[0]).collect();
    Arc::new(Labelled::new(images, labels).unwrap())
}

#[test]
fn classes_are_learnt_and_the_best_network_is_kept() {
    let config = TINY.with_classes(Some(5));
    let new = |settings: Training| {
        let network = Box::new(Reference::new(config, DType::F32).unwrap());
        Trainer::new(settings, network, labelled(12, 1), labelled(6, 2)).unwrap()
    };
    let classification = Some(Classification::default());
    let tuning = Training { classification, cosine: false, evaluate_every: 10, ..settings(200) };
    let mut trainer = new(tuning);
    assert_eq!(quiet(&mut trainer), Outcome::Finished);
    let accuracy = trainer.curve().accuracy.clone();
    assert_eq!(accuracy.len(), 20);
    let best = accuracy.iter().map(|point| point.share).fold(0.0, f64::max);
    let first = accuracy.iter().find(|point| point.share == best).unwrap().step;
    assert_eq!(trainer.best_step(), Some(first));
    let last = trainer.parameters().clone();
    let (kept, ..) = trainer.into_parts();
    assert!(first == 200 || kept != last);

    // What was kept is the network of that step.
    let mut until = new(tuning);
    let _ = until.run_until(first, &mut |_| ()).unwrap();
    assert_eq!(*until.parameters(), kept);

    // The loss alone of classes falls to nothing: the first token tells them.
    let alone = Classification { generative: 0.0, ..Classification::default() };
    let mut trainer = new(Training { classification: Some(alone), learning_rate: 0.02, ..tuning });
    assert_eq!(quiet(&mut trainer), Outcome::Finished);
    assert!(trainer.curve().training.last().unwrap().loss < 0.1, "{:?}", trainer.curve().training);

    // Patience ends it after the first validations that are no better.
    let patient = Classification { patience: Some(2), ..Classification::default() };
    let mut trainer = new(Training { classification: Some(patient), ..tuning });
    assert_eq!(quiet(&mut trainer), Outcome::Finished);
    let validations = &trainer.curve().accuracy;
    let best = trainer.best_step().unwrap();
    let after = validations.iter().filter(|point| point.step > best).count();
    assert!(after == 2 || trainer.step() == 200, "{validations:?}");
}

#[test]
fn classes_need_labels_and_a_head() {
    let with = TINY.with_classes(Some(5));
    let classification = Some(Classification::default());
    let said = |config: Config, classification, training: Arc<dyn Examples>| {
        let network = Box::new(Reference::new(config, DType::F32).unwrap());
        let settings = Training { classification, ..settings(10) };
        Trainer::new(settings, network, training, labelled(3, 2))
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    said(with, classification, labelled(5, 1)).unwrap();
    for (config, classification, training, expected) in [
        (TINY, classification, labelled(5, 1), "which this one has not"),
        (with, None, labelled(5, 1), "needs the setting `classification`"),
        (with, classification, images(5, 1), "images without labels"),
        (TINY.with_classes(Some(2)), classification, labelled(12, 1), "which is none of 2 classes"),
    ] {
        let error = said(config, classification, training).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let network = Box::new(Reference::new(TINY, DType::F32).unwrap());
    let trainer = Trainer::new(settings(10), network, images(5, 1), images(3, 2)).unwrap();
    assert!(trainer.start_from(Parameters::init(with, 1).unwrap()).is_err());
}
