//! Pre-training (sections 2.1 and 3.4).

mod live;
mod snapshots;

use super::profile::{self, Model, Profile};
use super::released::{self, Released};
use super::step::{self, Waiting};
use super::{AnyStep, Data, Encoding, PaletteFit, PaletteOf, Split, Step, Trained, Workspace};
use crate::adam;
use crate::augment::Augmented;
use crate::model::{Batch, Config, Network, Parameters, Target};
use crate::sample::{self, Sampling};
use crate::store::Context;
use crate::train::{Curve, Examples as _, Objective, Outcome, Progress, Tokens, Trainer, Training};
use crate::{Error, Image, Result, show, stop};
use live::Live;
use serde::{Deserialize, Serialize};
use snapshots::Snapshots;
use std::sync::Arc;

/// A network that is pre-trained on images.
///
/// ```no_run
/// use igpt::prelude::*;
///
/// let ar = Pretraining::of(&Profile::current()?).seed(2); // a value; nothing has run
/// let bert = ar.clone().objective(Objective::Bert { mask: 0.15 });
/// let trained = bert.run()?; // trains it, or finds it in the store
/// println!("{:?}", trained.curve.validation.last());
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pretraining {
    /// The images.
    pub data: Data,
    /// What makes tokens of them.
    pub palette: PaletteOf,
    /// The network's shape, as far as the data leaves it open.
    pub network: Model,
    /// How it is trained: objective, schedule, seed.
    pub training: Training,
    /// Steps after which the network is kept, beside the last one, each more than the one before.
    pub after: Vec<u64>,
    /// The network that others have trained so, which is read and not trained: that of a profile with a released network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<Released>,
}

/// Images that are computed on at a time.
pub(super) const CHUNK: usize = 64;

impl Pretraining {
    /// That of a profile.
    pub fn of(profile: &Profile) -> Self {
        Self {
            data: profile.data.clone(),
            palette: match &profile.released {
                Some(name) => PaletteOf::Released(name.clone()),
                None => PaletteOf::Fit(PaletteFit::of(profile)),
            },
            network: profile.model,
            training: profile.training,
            after: if profile.released.is_some() { Vec::new() } else { profile.samples.after.clone() },
            released: profile.released.as_ref().map(|name| Released::of(name, profile)),
        }
    }

    /// The name of the released network, where it is one, and nothing was changed of it.
    pub(super) fn is_released(&self) -> Option<&str> {
        let released = self.released.as_ref()?;
        self.is_as_released(released).is_ok().then_some(&released.name)
    }

    fn is_as_released(&self, released: &Released) -> Result<()> {
        released.check(&self.network, &self.training, &self.after)
    }

    /// The same from another seed: of the network's start, the order of images, their variation, and masks.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.training.seed = seed;
        self
    }

    /// The same with another objective.
    #[must_use]
    pub fn objective(mut self, objective: Objective) -> Self {
        self.training.objective = objective;
        self
    }

    /// The same with another learning rate.
    #[must_use]
    pub fn learning_rate(mut self, rate: f64) -> Self {
        self.training.learning_rate = rate;
        self
    }

    /// The same with a network of another shape.
    #[must_use]
    pub fn network(mut self, network: Model) -> Self {
        self.network = network;
        self
    }

    /// The whole shape of the network.
    ///
    /// # Errors
    /// If the palette of a released network cannot be read.
    pub fn config(&self) -> Result<Config> {
        config(&self.data, &self.palette, self.network)
    }

    /// Trains it, or finds it in the store, and shows in the notebook how it goes: a bar with rate and time left, the loss,
    /// and what the network draws as it gets better. What stays is the same in both cases. An interrupted training goes
    /// on where it was.
    ///
    /// # Errors
    /// As [`Step::run`].
    pub fn show(&self) -> Result<Trained> {
        self.show_on(&Workspace::current()?)
    }

    /// The same elsewhere.
    ///
    /// # Errors
    /// As [`Step::run`].
    pub fn show_on(&self, on: &Workspace) -> Result<Trained> {
        if let Some(released) = &self.released {
            let trained = self.run_on(on)?;
            let parameters = show::fixed(self.config()?.parameters() as f64, 0);
            println!("{}: as it was released, {parameters} parameters", released.name);
            return Ok(trained);
        }
        let guess = (self.config()?.vocabulary as f64).ln();
        let images = |tokens: &[u16]| self.images_on(on, tokens);
        let draws = self.training.objective.is_causal();
        let mut live = Live::new(self.data.name()?, guess, draws.then_some(&images));
        let trained = self.train_on(on, &mut live)?;
        live.end(&trained, &mut || on.network(self.config()?))?;
        Ok(trained)
    }

    /// The trained network. If it is trained now, `report` hears of each loss.
    ///
    /// # Errors
    /// As [`Step::run`].
    pub fn report_on(&self, on: &Workspace, report: &mut dyn FnMut(&Progress)) -> Result<Trained> {
        self.train_on(on, &mut Losses(report))
    }

    fn train_on(&self, on: &Workspace, watch: &mut dyn Watch) -> Result<Trained> {
        if self.released.is_some() {
            return self.run_on(on);
        }
        step::run(self, on, |context| self.train(on, context, watch))
    }

    /// The images that it is trained on, changed anew at each step.
    pub(super) fn examples(&self, on: &Workspace) -> Result<Augmented> {
        let set = self.data.load()?;
        let images = Arc::new(set.train().images.select(&self.data.training_positions()?)?);
        let palette = self.palette.palette(on)?;
        let examples = Augmented::new(images, self.data.augmentation, palette, self.training.seed)?;
        Ok(examples.at_side(self.data.side))
    }

    fn train(&self, on: &Workspace, context: &Context, watch: &mut dyn Watch) -> Result<Trained> {
        let (settings, config) = (self.training, self.config()?);
        let training = self.examples(on)?;
        let seen = Tokens::new(config.context, self.encoding(Split::Train).run_on(on)?.0)?;
        let validation = Tokens::new(config.context, seen.tokens(0, &self.data.validated_with()?)?)?;
        let mut trainer =
            Trainer::new(settings, on.network(config)?, Arc::new(training), Arc::new(validation))?
                .input("step", context.key().short())
                .keep_checkpoints(context.folder())?;
        // An epoch's steps are known only now.
        profile::check_steps(&self.after, trainer.steps())?;
        let snapshots = Snapshots::new(context.folder(), config);
        let steps = trainer.steps();
        let step = |watch: &mut dyn Watch, progress: &Progress| {
            context.progress(progress.step, steps, "steps");
            watch.step(progress);
        };
        watch.begin(trainer.step(), steps, trainer.curve());
        for after in self.after.iter().copied() {
            if trainer.step() <= after {
                finished(trainer.watch_until(after, &mut |progress| step(watch, progress))?)?;
                snapshots.keep(after, trainer.parameters())?;
                let (network, parameters) = trainer.network();
                watch.snapshot(after, network, parameters)?;
            }
        }
        finished(trainer.watch_until(steps, &mut |progress| step(watch, progress))?)?;
        let (parameters, curve, _) = trainer.into_parts();
        Ok(Trained { parameters, curve, snapshots: snapshots.networks(&self.after)? })
    }

    /// The network's parameters before any training.
    ///
    /// # Errors
    /// If there is no such network.
    pub fn untrained(&self) -> Result<Parameters> {
        Parameters::init(self.config()?, self.training.seed)
    }

    /// Tokens `(N, T)` of the images that are held out to choose by.
    ///
    /// # Errors
    /// If the images cannot be encoded.
    pub fn validation_tokens(&self) -> Result<Vec<u16>> {
        self.validation_tokens_on(&Workspace::current()?)
    }

    /// The same elsewhere.
    ///
    /// # Errors
    /// As [`Pretraining::validation_tokens`].
    pub fn validation_tokens_on(&self, on: &Workspace) -> Result<Vec<u16>> {
        let tokens = self.encoding(Split::Train).run_on(on)?.0;
        let context = self.data.side * self.data.side;
        Tokens::new(context, tokens)?.tokens(0, &self.data.validation_positions()?)
    }

    /// The step that makes tokens of the images that it is judged by.
    pub fn encoding(&self, split: Split) -> Encoding {
        Encoding { data: self.data.clone(), split, palette: self.palette.clone() }
    }

    /// The loss of parameters on tokens `(N, T)`, in nats per predicted token, by the objective that the network is trained
    /// with. For BERT masks are drawn by the position among these tokens: those of the validation images are the same as
    /// while it trains.
    ///
    /// # Errors
    /// If the tokens do not fit the network.
    pub fn loss(&self, parameters: &Parameters, tokens: &[u16]) -> Result<f64> {
        self.loss_on(&Workspace::current()?, parameters, tokens)
    }

    /// The same elsewhere.
    ///
    /// # Errors
    /// As [`Pretraining::loss`].
    pub fn loss_on(&self, on: &Workspace, parameters: &Parameters, tokens: &[u16]) -> Result<f64> {
        let config = self.config()?;
        let mut network = on.network(config)?;
        let mut sum = 0.0;
        self.each_batch(config.context, tokens, |batch, images| {
            sum += network.loss(parameters, batch)? * images as f64;
            Ok(())
        })?;
        Ok(sum / (tokens.len() / config.context).max(1) as f64)
    }

    /// The loss of each image of tokens `(N, T)` by itself, as [`Pretraining::loss`] has their mean: how sure that mean is.
    ///
    /// # Errors
    /// If the tokens do not fit the network.
    pub fn loss_of_each(&self, parameters: &Parameters, tokens: &[u16]) -> Result<Vec<f64>> {
        self.loss_of_each_on(&Workspace::current()?, parameters, tokens)
    }

    /// The same elsewhere.
    ///
    /// # Errors
    /// As [`Pretraining::loss_of_each`].
    pub fn loss_of_each_on(
        &self,
        on: &Workspace,
        parameters: &Parameters,
        tokens: &[u16],
    ) -> Result<Vec<f64>> {
        let config = self.config()?;
        let mut network = on.network(config)?;
        let mut losses = Vec::with_capacity(tokens.len() / config.context);
        self.each_batch(config.context, tokens, |batch, _| {
            for at in (0..batch.tokens.len()).step_by(config.context) {
                let image = at..at + config.context;
                let target = match batch.target {
                    Target::Autoregressive => Target::Autoregressive,
                    Target::Bert(masked) => Target::Bert(&masked[image.clone()]),
                };
                losses.push(network.loss(parameters, &Batch::new(&batch.tokens[image], target))?);
            }
            Ok(())
        })?;
        Ok(losses)
    }

    /// Images that the network draws, or completes: `(count, T)` tokens from prompts `(count, t)`.
    ///
    /// # Errors
    /// If the prompts do not fit the network, the settings make no sense, or it is trained by BERT's objective.
    pub fn sample(
        &self,
        parameters: &Parameters,
        prompts: &[u16],
        count: usize,
        sampling: &Sampling,
    ) -> Result<Vec<u16>> {
        self.training.objective.check_can_draw()?;
        let mut network = Workspace::current()?.network(self.config()?)?;
        sample::sample(network.as_mut(), parameters, prompts, count, 0, sampling)
    }

    /// Images whose masked tokens the network fills in: `(N, T)` tokens, of which those that `masked` says are sampled in so
    /// many rounds. See [`sample::infill`].
    ///
    /// # Errors
    /// If the tokens do not fit the network, the settings make no sense, or it is not trained by BERT's objective.
    pub fn infill(
        &self,
        parameters: &Parameters,
        tokens: &[u16],
        masked: &[bool],
        rounds: usize,
        sampling: &Sampling,
    ) -> Result<Vec<u16>> {
        if self.training.objective.is_causal() {
            return Err(Error::invalid(
                "a network trained to predict the next token cannot fill in masked ones: it completes images (sample)",
            ));
        }
        let mut network = Workspace::current()?.network(self.config()?)?;
        sample::infill(network.as_mut(), parameters, tokens, masked, rounds, 0, sampling)
    }

    /// What each layer can still predict of tokens `(N, T)` (section 4.1): the loss in nats per predicted token, by the objective
    /// that the network is trained with, if the residual stream before block l = 0..L, and last that after all blocks, went
    /// straight to the output.
    ///
    /// # Errors
    /// If the tokens do not fit the network.
    pub fn losses_by_layer(&self, parameters: &Parameters, tokens: &[u16]) -> Result<Vec<f64>> {
        self.losses_by_layer_on(&Workspace::current()?, parameters, tokens)
    }

    /// The same elsewhere.
    ///
    /// # Errors
    /// As [`Pretraining::losses_by_layer`].
    pub fn losses_by_layer_on(
        &self,
        on: &Workspace,
        parameters: &Parameters,
        tokens: &[u16],
    ) -> Result<Vec<f64>> {
        let config = self.config()?;
        let mut network = on.network(config)?;
        let mut sums = vec![0.0; config.layers + 1];
        self.each_batch(config.context, tokens, |batch, images| {
            let losses = network.losses_by_layer(parameters, batch)?;
            sums.iter_mut().zip(losses).for_each(|(sum, loss)| *sum += loss * images as f64);
            Ok(())
        })?;
        let images = (tokens.len() / config.context).max(1) as f64;
        Ok(sums.into_iter().map(|sum| sum / images).collect())
    }

    /// Batches of tokens `(N, T)` as they are judged, each with its number of images.
    fn each_batch(
        &self,
        context: usize,
        tokens: &[u16],
        mut each: impl FnMut(&Batch<'_>, usize) -> Result<()>,
    ) -> Result<()> {
        let Training { objective, seed, .. } = self.training;
        for (number, chunk) in tokens.chunks(CHUNK * context).enumerate() {
            let images: Vec<usize> = (number * CHUNK..).take(chunk.len() / context).collect();
            let masked = objective.validation_masks(seed, &images, context);
            stop::check("the loss")?;
            each(&Batch::new(chunk, Target::of(masked.as_deref())), images.len())?;
        }
        Ok(())
    }

    /// The images of tokens `(N, T)`.
    ///
    /// # Errors
    /// If the tokens are no whole images, or no colours of the palette.
    pub fn images(&self, tokens: &[u16]) -> Result<Vec<Image>> {
        self.images_on(&Workspace::current()?, tokens)
    }

    fn images_on(&self, on: &Workspace, tokens: &[u16]) -> Result<Vec<Image>> {
        let (palette, side) = (self.palette.palette(on)?, self.data.side);
        if !tokens.len().is_multiple_of(side * side) {
            return Err(Error::invalid(format!("{} tokens are no whole images of {side}²", tokens.len())));
        }
        tokens.chunks(side * side).map(|image| palette.image(image, side, side)).collect()
    }
}

/// The shape of a network for these tokens.
pub(super) fn config(data: &Data, palette: &PaletteOf, network: Model) -> Result<Config> {
    let vocabulary = match palette {
        PaletteOf::Fit(fit) => fit.colours,
        PaletteOf::Released(name) => super::released::palette(name)?.len(),
    };
    Ok(network.config(data.side, vocabulary))
}

impl Step for Pretraining {
    const NAME: &'static str = "pre-training";
    type Output = Trained;

    fn about(&self) -> String {
        if let Some(released) = &self.released {
            return released.name.clone();
        }
        let Model { layers, width, heads } = self.network;
        format!(
            "a network of {layers} layers × {width} with {heads} heads, trained {} on {}, {}, seed {}",
            self.training.objective, self.data, self.training.length, self.training.seed
        )
    }

    fn inputs(&self) -> Vec<AnyStep> {
        if self.released.is_some() {
            return Vec::new();
        }
        let mut inputs = self.palette.inputs();
        inputs.push(self.encoding(Split::Train).into());
        inputs
    }

    fn data(&self) -> Vec<&Data> {
        if self.released.is_some() { Vec::new() } else { vec![&self.data] }
    }

    fn files(&self) -> Result<Vec<(String, String)>> {
        self.palette.files()
    }

    fn code(&self, on: &Workspace) -> Vec<&'static str> {
        if let Some(released) = &self.released {
            return vec!["model", released::code(&released.name)];
        }
        vec![on.device().module(), "model", "train", "augment", "palette", "experiment/pretraining", "rng"]
    }

    fn device<'a>(&self, on: &'a Workspace) -> &'a str {
        on.device().kind()
    }

    fn seed(&self) -> Option<u64> {
        Some(self.training.seed)
    }

    fn validate(&self) -> Result<()> {
        self.data.validate()?;
        if let Some(released) = &self.released {
            self.is_as_released(released)?;
        }
        self.config()?.validate()?;
        let steps = self.data.training_steps(&self.training)?;
        profile::check_steps(&self.after, steps.unwrap_or(u64::MAX))
    }

    fn compute(&self, on: &Workspace, context: &Context) -> Result<Trained> {
        let mut bar = Waiting::new(Self::NAME);
        self.train(on, context, &mut bar)
    }

    /// A released network is read where it lies: the store would only be a second copy of it.
    fn run_on(&self, on: &Workspace) -> Result<Trained> {
        match &self.released {
            Some(released) => {
                self.validate()?;
                Ok(Trained {
                    parameters: released.parameters(&self.config()?)?,
                    curve: Curve::default(),
                    snapshots: Vec::new(),
                })
            }
            None => step::run(self, on, |context| self.compute(on, context)),
        }
    }
}

/// Told how a training goes.
trait Watch {
    /// It begins, or goes on: with so many steps done.
    fn begin(&mut self, _step: u64, _steps: u64, _curve: &Curve) {}
    /// After each step.
    fn step(&mut self, progress: &Progress);
    /// The network after so many steps, which is kept, and what trains it: on a GPU there may be no room for another.
    fn snapshot(&mut self, _step: u64, _network: &mut dyn Network, _parameters: &Parameters) -> Result<()> {
        Ok(())
    }
}

/// Only told of losses.
struct Losses<'a>(&'a mut dyn FnMut(&Progress));

impl Watch for Losses<'_> {
    fn step(&mut self, progress: &Progress) {
        if progress.has_loss() {
            (self.0)(progress);
        }
    }
}

impl Watch for Waiting {
    fn step(&mut self, progress: &Progress) {
        self.show(progress.step, progress.steps, "steps");
    }
}

pub(super) fn finished(outcome: Outcome) -> Result<()> {
    match outcome {
        Outcome::Finished => Ok(()),
        Outcome::Stopped { step } => Err(Error::Interrupted(format!(
            "the training was interrupted after {step} steps; run the cell again, and it goes on from there"
        ))),
        Outcome::Diverged { step } => Err(Error::NotFinite {
            what: format!("the loss, or a gradient of it, is not finite any more at step {step}"),
            cause: adam::TOO_LARGE.to_owned(),
        }),
    }
}
