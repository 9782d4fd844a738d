//! The experiment of a profile: pictures, palette, pre-training, features, probes, samples.
//!
//! Each part is a step in the [store](crate::store): computed once, found again by every notebook. A notebook says
//! what it wants, and what that needs is computed or found:
//!
//! ```no_run
//! use igpt::prelude::*;
//!
//! let experiment = Experiment::current()?;
//! let trained = experiment.pretrained(&mut |progress| println!("{progress}"))?;
//! let curve = experiment.probe(Subject::Trained)?;
//! println!("{} nats, {}", trained.curve.validation.last().unwrap().loss, curve.result()?);
//! # Ok::<(), igpt::Error>(())
//! ```

mod pretrained;
mod sequences;

pub use pretrained::Pretrained;

use crate::live::{Live, Losses, Watch};

use crate::augment::{Augmentation, Augmented};
use crate::data::{self, Dataset, Images};
use crate::device::Device;
use crate::model::{Batch, Config, Network, Objective, Parameters, finite};
use crate::palette::{KMeans, Palette};
use crate::probe::{self, Features, TestSet};
use crate::profile::{DataSet, Profile};
use crate::rng::Rng;
use crate::sample::{self, Sampling};
use crate::store::{Key, Step, Store};
use crate::train::{Examples as _, Outcome, Pretext, Progress, Tokens, Trainer};
use crate::{Error, Result, stop};
use sequences::Sequences;
use std::sync::Arc;

/// What is probed (section 2.4): features of a network, or, to compare with, of none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Every layer of the pre-trained network.
    Trained,
    /// Every layer of the same network at its start.
    Untrained,
    /// The pixels themselves, as one layer: what the network sees, after the palette.
    Pixels,
}

/// A profile's pictures, network and results.
#[derive(Debug)]
pub struct Experiment {
    profile: Profile,
    store: Store,
    data: Dataset,
    /// Seed of the network's start, the order of pictures and their placement.
    seed: u64,
    backend: Backend,
    device: Device,
}

/// What computes the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// The fast engine.
    Engine,
    /// The readable reference, many times slower.
    Reference,
}

/// Pictures that are computed on at a time.
const CHUNK: usize = 64;

impl Experiment {
    /// The experiment of the profile that `IGPT_PROFILE` names, on the store that `IGPT_STORE` names.
    ///
    /// # Errors
    /// If there is no such profile, or its data cannot be read.
    pub fn current() -> Result<Self> {
        Self::new(Profile::current()?, Store::open()?)
    }

    /// The experiment of a profile, with its results in a store.
    ///
    /// # Errors
    /// If the profile makes no sense, its data cannot be read, or are not as the profile has them, or `IGPT_DEVICE` names
    /// no device.
    pub fn new(profile: Profile, store: Store) -> Result<Self> {
        profile.validate()?;
        let all = match profile.data.set {
            DataSet::FashionMnist => data::fashion_mnist()?,
            DataSet::Cifar10 => data::cifar10()?,
        };
        let data = all.first(profile.data.train_images, profile.data.test_images)?;
        let images = &data.train().images;
        profile.data.augmentation.check(images.width(), images.height())?;
        let (seed, device) = (profile.training.seed, Device::chosen()?);
        Ok(Self { seed, profile, store, data, backend: Backend::Engine, device })
    }

    /// The same experiment from another seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self.profile.training.seed = seed;
        self
    }

    /// The same experiment, computed by another backend.
    #[must_use]
    pub fn on(self, backend: Backend) -> Self {
        Self { backend, ..self }
    }

    /// Its settings.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Where its results are kept.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The pictures as they come.
    pub fn data(&self) -> &Dataset {
        &self.data
    }

    /// What every result says of its data: `Fashion-MNIST (sample), placed at random`.
    pub fn name(&self) -> String {
        match self.augmentation() {
            Augmentation::Placed { .. } => format!("{}, {}", self.data.name(), self.augmentation()),
            _ => self.data.name().to_owned(),
        }
    }

    /// What the table of a comparison says of our side: profile, data, device.
    pub fn ours(&self) -> String {
        let device = match self.backend {
            Backend::Engine => self.device.short(),
            Backend::Reference => "CPU",
        };
        format!("profile {}, {}, {device}", self.profile.name, self.name())
    }

    /// What computes the network.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The network's shape.
    pub fn config(&self) -> Config {
        self.profile.config()
    }

    /// What computes the network.
    ///
    /// # Errors
    /// If the profile's network cannot be built.
    pub fn network(&self) -> Result<Box<dyn Network>> {
        Ok(match self.backend {
            Backend::Engine => self.device.engine(self.config())?,
            Backend::Reference => {
                Box::new(crate::model::Reference::new(self.config(), candle_core::DType::F32)?)
            }
        })
    }

    /// What the network is trained to predict, which decides what can be asked of it.
    fn objective(&self) -> Pretext {
        self.profile.training.objective
    }

    fn augmentation(&self) -> Augmentation {
        self.profile.data.augmentation
    }

    /// Places, among the training pictures, of those that are held out to choose by (section 3.1).
    pub fn validation(&self) -> Vec<usize> {
        let images = self.data.train().len();
        let count = self.profile.data.held_out(images);
        // The same for every seed: seeds shall differ by chance in training, not by what they are judged by.
        let mut places = Rng::keyed(0, "validation split", [0, 0]).permutation(images);
        places.truncate(count);
        places.sort_unstable();
        places
    }

    /// Places of the training pictures that are trained on.
    pub fn training(&self) -> Vec<usize> {
        let held_out = self.validation();
        (0..self.data.train().len()).filter(|place| held_out.binary_search(place).is_err()).collect()
    }

    /// Pictures as the network sees them when it is judged: always the same, each placed once.
    ///
    /// # Errors
    /// If the pictures are not of the profile's size.
    pub fn seen(&self, images: &Images, purpose: &str) -> Result<Images> {
        // Test pictures are placed by other chance than training pictures.
        let seed = Rng::keyed(0, purpose, [0, 0]).bits();
        self.augmentation().fixed(images, seed)?.at_side(self.profile.data.side)
    }

    /// Training pictures as the network sees them while it trains: changed anew at each step.
    fn training_examples(&self) -> Result<Augmented> {
        let training = Arc::new(self.data.train().images.select(&self.training())?);
        let augmented = Augmented::new(training, self.augmentation(), self.palette()?, self.seed)?;
        Ok(augmented.at_side(self.profile.data.side))
    }

    /// Training pictures as the network sees them when it is judged.
    ///
    /// # Errors
    /// As [`Experiment::seen`].
    pub fn train_images(&self) -> Result<Images> {
        self.seen(&self.data.train().images, "training pictures")
    }

    /// Test pictures as the network sees them.
    ///
    /// # Errors
    /// As [`Experiment::seen`].
    pub fn test_images(&self) -> Result<Images> {
        self.seen(&self.data.test().images, "test pictures")
    }

    fn step(&self, name: &str, settings: &impl serde::Serialize) -> Result<Step> {
        Ok(Step::new(name, settings)?.data(self.data.name(), "", self.data.checksum()))
    }

    fn palette_step(&self) -> Result<Step> {
        let data = &self.profile.data;
        self.step("palette", &(data, PALETTE_SEED))?.code(&["palette", "augment", "experiment/palette"])
    }

    /// The palette (section 3.2), fitted to the pictures that are trained on.
    ///
    /// # Errors
    /// If the pictures have fewer colours than the profile asks for.
    pub fn palette(&self) -> Result<Palette> {
        let centres: (usize, Vec<f32>) = self.store.get_or_run(&self.palette_step()?, |_| {
            let images = self.train_images()?.select(&self.training())?;
            let settings = KMeans::new(self.profile.data.colours).seed(PALETTE_SEED);
            let palette = Palette::fit(images.all_pixels(), images.channels(), &settings)?.palette;
            Ok((palette.channels(), palette.centres().to_vec()))
        })?;
        Palette::new(centres.0, centres.1)
    }

    /// Pictures as tokens, `(N, T)`: pictures as the network sees them, see [`Experiment::seen`].
    ///
    /// # Errors
    /// If the pictures are not of the palette's kind, or not of the size that the network reads.
    pub fn tokens(&self, images: &Images) -> Result<Vec<u16>> {
        let side = self.profile.data.side;
        if (images.width(), images.height()) != (side, side) {
            return Err(Error::invalid(format!(
                "pictures of {} × {} pixels are not those of {side} × {side} that the network reads: make them so with \
                 Experiment::seen, or resize them with Images::at_side",
                images.width(),
                images.height()
            )));
        }
        self.palette()?.encode(images.all_pixels())
    }

    /// All training pictures as tokens, `(N, T)`, as the network sees them when it is judged: encoded once, and found in
    /// the store from then on.
    ///
    /// # Errors
    /// If the pictures cannot be encoded.
    pub fn train_tokens(&self) -> Result<Vec<u16>> {
        self.sequences("training pictures", || self.train_images())
    }

    /// All test pictures as tokens, `(N, T)`; as [`Experiment::train_tokens`].
    ///
    /// # Errors
    /// If the pictures cannot be encoded.
    pub fn test_tokens(&self) -> Result<Vec<u16>> {
        self.sequences("test pictures", || self.test_images())
    }

    fn sequences(&self, of: &str, images: impl FnOnce() -> Result<Images>) -> Result<Vec<u16>> {
        let modules = ["palette", "augment", "experiment/tokens"];
        let step = self.step("tokens", &(&self.profile.data, of))?.code(&modules)?;
        let step = step.input("palette", &self.palette_step()?.key());
        Ok(self.store.get_or_run(&step, |_| self.tokens(&images()?).map(Sequences))?.0)
    }

    /// Tokens of the pictures that are held out.
    ///
    /// # Errors
    /// If the pictures cannot be encoded.
    pub fn validation_tokens(&self) -> Result<Vec<u16>> {
        Tokens::new(self.config().context, self.train_tokens()?)?.tokens(0, &self.validation())
    }

    fn pretraining_step(&self) -> Result<Step> {
        let settings =
            (self.config(), &self.profile.training, &self.profile.data, &self.profile.samples.after);
        let (module, device) = self.backend_names();
        let modules = [module, "model", "train", "augment", "palette", "experiment/pre-training", "rng"];
        let step = self.step("pre-training", &settings)?.code(&modules)?.device(device);
        Ok(step.input("palette", &self.palette_step()?.key()).seed(self.seed))
    }

    /// The module that computes the network, and what a step says of the device.
    fn backend_names(&self) -> (&'static str, &str) {
        match self.backend {
            Backend::Engine => match self.device {
                Device::Cpu { .. } => ("engine/cpu", self.device.kind()),
                _ => ("engine/cuda", self.device.kind()),
            },
            Backend::Reference => ("model/reference", "cpu, candle reference"),
        }
    }

    /// Pre-trains the network (sections 2.1 and 3.4), or finds it in the store, and shows how it goes: a bar with rate and
    /// time left, the loss, and what the network makes up as it gets better. What stays is the same in both cases. An
    /// interrupted training goes on where it was.
    ///
    /// # Errors
    /// If it was interrupted or diverged, or what it needs cannot be had.
    pub fn pretrain(&self) -> Result<Pretrained> {
        let mut live = Live::new(self);
        let trained = self.watch_pretraining(&mut live)?;
        live.end(&trained)?;
        Ok(trained)
    }

    /// The pre-trained network, with its curve, and as it was after some steps. If it is trained now, `report` hears how
    /// that goes, line by line.
    ///
    /// # Errors
    /// As [`Experiment::pretrain`].
    pub fn pretrained(&self, report: &mut dyn FnMut(&Progress)) -> Result<Pretrained> {
        self.watch_pretraining(&mut Losses(report))
    }

    fn watch_pretraining(&self, watch: &mut dyn Watch) -> Result<Pretrained> {
        let step = self.pretraining_step()?;
        self.store.get_or_run(&step, |context| {
            let training = self.training_examples()?;
            let validation = Tokens::new(self.config().context, self.validation_tokens()?)?;
            let settings = self.profile.training;
            let mut trainer =
                Trainer::new(settings, self.network()?, Arc::new(training), Arc::new(validation))?
                    .input("step", context.key().short())
                    .keep_checkpoints(context.folder())?;
            let after = &self.profile.samples.after;
            // An epoch's steps are known only now.
            self.profile.samples.check_steps(trainer.steps())?;
            let snapshots = pretrained::Snapshots::new(context.folder(), self.config());
            watch.begin(trainer.step(), trainer.steps(), trainer.curve());
            for after in after.iter().copied() {
                if trainer.step() <= after {
                    finished(trainer.watch_until(after, &mut |progress| watch.step(progress))?)?;
                    snapshots.keep(after, trainer.parameters())?;
                    let (network, parameters) = trainer.network();
                    watch.snapshot(after, network, parameters)?;
                }
            }
            finished(trainer.watch_until(trainer.steps(), &mut |progress| watch.step(progress))?)?;
            let (parameters, curve, _) = trainer.into_parts();
            Ok(Pretrained { parameters, curve, snapshots: snapshots.networks(after)? })
        })
    }

    /// The network's parameters before any training.
    ///
    /// # Errors
    /// If the profile's network cannot be built.
    pub fn untrained(&self) -> Result<Parameters> {
        Parameters::init(self.config(), self.seed)
    }

    /// The loss of parameters on tokens, in nats per predicted token, by the objective that the profile's network is
    /// trained with. For BERT masks are drawn by the place among these tokens: those of the validation pictures are the
    /// same as while it trains.
    ///
    /// # Errors
    /// If the tokens do not fit the network.
    pub fn loss(&self, parameters: &Parameters, tokens: &[u16]) -> Result<f64> {
        let mut network = self.network()?;
        let context = self.config().context;
        let mut sum = 0.0;
        for (number, chunk) in tokens.chunks(CHUNK * context).enumerate() {
            let images: Vec<usize> = (number * CHUNK..).take(chunk.len() / context).collect();
            let masked = self.objective().validation_masks(self.seed, &images, context);
            let batch = Batch { tokens: chunk, objective: Objective::of(masked.as_deref()) };
            stop::check("the loss")?;
            sum += network.loss(parameters, &batch)? * (chunk.len() / context) as f64;
        }
        Ok(sum / (tokens.len() / context).max(1) as f64)
    }

    /// Features of pictures, `(N, L + 1, C)`, or the pixels. A network trained by BERT's objective sees all tokens, none of
    /// them masked, and no start vector.
    ///
    /// # Errors
    /// If the pictures are not of the network's kind.
    pub fn features(&self, subject: Subject, images: &Images) -> Result<Features> {
        self.features_of(subject, &self.tokens(images)?)
    }

    /// Features of pictures that are tokens already, `(N, T)`.
    fn features_of(&self, subject: Subject, tokens: &[u16]) -> Result<Features> {
        let config = self.config();
        let parameters = match subject {
            Subject::Pixels => {
                let palette = self.palette()?;
                let (pixels, width) = (palette.decode(tokens)?, config.context * palette.channels());
                let values = pixels.into_iter().map(|x| f32::from(x) / 127.5 - 1.0).collect();
                return Features::new(values, 1, width);
            }
            Subject::Trained => self.pretrained(&mut |_| {})?.parameters,
            Subject::Untrained => self.untrained()?,
        };
        let mut network = self.network()?;
        let mut values =
            Vec::with_capacity(tokens.len() / config.context * (config.layers + 1) * config.width);
        for chunk in tokens.chunks(CHUNK * config.context) {
            stop::check("the features")?;
            values.extend(network.features(&parameters, chunk, self.objective().is_causal())?);
        }
        Features::new(values, config.layers + 1, config.width)
    }

    /// The linear probe by layer (section 2.4, Figure 2). Layer and L2 are chosen on the validation pictures; the probe
    /// is then fitted to training and validation pictures together, and judged once by the test pictures.
    ///
    /// # Errors
    /// If what it needs cannot be had.
    pub fn probe(&self, subject: Subject) -> Result<probe::Curve> {
        let settings = (&self.profile.probe, &self.profile.data, format!("{subject:?}"));
        let (module, device) = self.backend_names();
        let modules = [module, "model", "probe", "augment", "palette", "experiment/probe"];
        let mut step = self.step("probe", &settings)?.code(&modules)?.device(device);
        step = step.input("palette", &self.palette_step()?.key());
        step = match subject {
            Subject::Trained => step.input("pre-training", &self.pretraining_step()?.key()),
            Subject::Untrained => step.input("network", &self.untrained_key()?).seed(self.seed),
            Subject::Pixels => step,
        };
        self.store.get_or_run(&step, |_| {
            let (train, test) = (self.data.train(), self.data.test());
            let count = self.profile.probe.images.unwrap_or(train.len()).min(train.len());
            let validation: Vec<usize> = self.validation().into_iter().filter(|at| *at < count).collect();
            let tokens = self.train_tokens()?;
            let features = self.features_of(subject, &tokens[..count * self.config().context])?;
            let classes = self.data.classes().len();
            let grid = &self.profile.probe.l2;
            let choice = probe::choose(&features, &train.labels[..count], classes, &validation, grid)?;
            let features = self.features_of(subject, &self.test_tokens()?)?;
            choice.test(TestSet::new(&features, test.labels.clone())?)
        })
    }

    /// What stands for the untrained network in a key: the objective decides what its features see.
    fn untrained_key(&self) -> Result<Key> {
        Ok(Step::new("network", &(self.config(), self.objective()))?.code(&["model"])?.seed(self.seed).key())
    }

    /// Pictures that the network makes up, or goes on with: `(count, T)` tokens from beginnings `(count, t)`.
    ///
    /// # Errors
    /// If the beginnings do not fit the network, or it was trained by BERT's objective.
    pub fn sample(&self, parameters: &Parameters, beginnings: &[u16], count: usize) -> Result<Vec<u16>> {
        self.sample_with(parameters, beginnings, count, &self.profile.samples.sampling)
    }

    /// As [`Experiment::sample`], with other settings.
    ///
    /// # Errors
    /// If the settings make no sense, the beginnings do not fit the network, or it was trained by BERT's objective.
    pub fn sample_with(
        &self,
        parameters: &Parameters,
        beginnings: &[u16],
        count: usize,
        sampling: &Sampling,
    ) -> Result<Vec<u16>> {
        self.objective().check_can_draw()?;
        sample::sample(self.network()?.as_mut(), parameters, beginnings, count, 0, sampling)
    }

    /// The pictures of tokens `(N, T)`.
    ///
    /// # Errors
    /// If the tokens are no whole pictures, or no colours of the palette.
    pub fn pictures(&self, tokens: &[u16]) -> Result<Vec<crate::Image>> {
        let (palette, side) = (self.palette()?, self.profile.data.side);
        if !tokens.len().is_multiple_of(side * side) {
            return Err(Error::invalid(format!("{} tokens are no whole pictures of {side}²", tokens.len())));
        }
        tokens.chunks(side * side).map(|picture| palette.picture(picture, side, side)).collect()
    }
}

/// The palette's k-means has a seed of its own: networks of several seeds shall see the same tokens.
const PALETTE_SEED: u64 = 1;

fn finished(outcome: Outcome) -> Result<()> {
    match outcome {
        Outcome::Finished => Ok(()),
        Outcome::Stopped { step } => Err(Error::Interrupted(format!(
            "the training was interrupted after {step} steps; run the cell again, and it goes on from there"
        ))),
        Outcome::Diverged { step } => Err(Error::NotFinite {
            what: format!("the loss, or a gradient of it, is not finite any more at step {step}"),
            cause: finite::TOO_LARGE.to_owned(),
        }),
    }
}

/// The mean over places of the entropy of the colours that pictures `(N, T)` have there, in nats: what a model loses
/// that knows how frequent each colour is at each place, and nothing else.
pub fn entropy_by_place(tokens: &[u16], config: &Config) -> f64 {
    let pictures = (tokens.len() / config.context).max(1) as f64;
    let entropy = |place: usize| -> f64 {
        let mut counts = vec![0u32; config.vocabulary];
        for token in tokens.iter().skip(place).step_by(config.context) {
            if let Some(count) = counts.get_mut(usize::from(*token)) {
                *count += 1;
            }
        }
        let shares = counts.into_iter().filter(|count| *count > 0).map(|count| f64::from(count) / pictures);
        shares.map(|share| -share * libm::log(share)).sum()
    };
    (0..config.context).map(entropy).sum::<f64>() / config.context as f64
}

#[cfg(test)]
mod tests;
