//! The training loop.

use super::checkpoint::Identity;
use super::{
    AdamState, Batches, Checkpoint, Checkpoints, Curve, Examples, Point, Progress, Schedule, Training,
};
use crate::model::{Batch, Config, Network, Parameters, Target, finite};
use crate::stop;
use crate::{Error, Result, memory};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A pre-training run.
///
/// [`Trainer::run`] is the whole loop; [`Trainer::advance`] is one step of it, for a reader who wants to look between
/// steps.
pub struct Trainer {
    identity: Identity,
    schedule: Schedule,
    steps: u64,
    batches: Batches,
    network: Box<dyn Network>,
    training: Arc<dyn Examples>,
    validation: Arc<dyn Examples>,
    checkpoints: Option<Checkpoints>,
    stop: Option<&'static AtomicBool>,
    now: Checkpoint,
    /// Room for gradients, from the first step on: a network that trains on its device needs none here.
    gradients: Option<Parameters>,
    /// Time that steps took, and how many, since this process began with the run.
    pace: (Duration, u64),
}

/// How [`Trainer::run`] ended.
#[derive(Debug, Clone, Copy, PartialEq)]
#[must_use]
pub enum Outcome {
    /// All steps are done.
    Finished,
    /// Someone asked to stop ([`stop::request`]). If checkpoints are kept, there is one of this step.
    Stopped {
        /// Steps done.
        step: u64,
    },
    /// The loss, or a gradient of it, is not finite any more: the learning rate is too large. The parameters are those of
    /// before that step.
    Diverged {
        /// The step, from 0, that gave this loss.
        step: u64,
    },
}

impl Trainer {
    /// A run that trains a network of the shape of `network`, from its start, on `training`, and follows the loss on
    /// `validation` (which may be empty).
    ///
    /// # Errors
    /// If the settings make no sense, the network has not their precision or cannot keep within the memory that they allow,
    /// the machine has not the memory, or images cannot be had or have not as many tokens as the network reads.
    pub fn new(
        settings: Training,
        mut network: Box<dyn Network>,
        training: Arc<dyn Examples>,
        validation: Arc<dyn Examples>,
    ) -> Result<Self> {
        settings.validate(training.len())?;
        network.set_precision(settings.precision)?;
        network.set_activation_checkpointing(settings.activation_checkpointing)?;
        let limit = settings.device_memory_gb.map(|gigabytes| (gigabytes * 1e9) as u64);
        network.set_memory_limit(limit, settings.batch)?;
        let config = network.config();
        let Training { batch, .. } = settings;
        let (of_a_token, of_a_parameter) = (16, 4 * size_of::<f32>());
        memory::check(&format!("a batch of {batch} images"), &[batch, config.context, of_a_token])?;
        let all = config.parameters();
        memory::check(&format!("training a network of {all} parameters"), &[all, of_a_parameter])?;
        // One image of each says now what would otherwise be found hours later, at the first validation.
        tokens_of(training.as_ref(), 0, &[0], &config)?;
        if !validation.is_empty() {
            tokens_of(validation.as_ref(), 0, &[0], &config)?;
        }
        let now = Checkpoint {
            step: 0,
            parameters: Parameters::init(config, settings.seed)?,
            adam: AdamState::new(config.parameters()),
            curve: Curve::default(),
            since: (0.0, 0),
        };
        Ok(Self {
            schedule: settings.schedule(training.len())?,
            steps: settings.steps(training.len())?,
            batches: Batches::new(training.len(), settings.batch, settings.seed)?,
            identity: Identity {
                settings,
                network: config,
                images: [training.len(), validation.len()],
                inputs: BTreeMap::new(),
            },
            network,
            training,
            validation,
            checkpoints: None,
            stop: None,
            now,
            gradients: None,
            pace: (Duration::ZERO, 0),
        })
    }

    /// Names something else that the run depends on, with its checksum: the data, the palette. A checkpoint with another
    /// is refused. Say it before [`Trainer::keep_checkpoints`].
    #[must_use]
    pub fn input(mut self, name: &str, checksum: &str) -> Self {
        self.identity.inputs.insert(name.to_owned(), checksum.to_owned());
        self
    }

    /// Keeps checkpoints in this folder, and goes on from the last one there if there is one.
    ///
    /// # Errors
    /// If the folder cannot be made, or its checkpoint is damaged or that of another run.
    pub fn keep_checkpoints(mut self, folder: impl Into<PathBuf>) -> Result<Self> {
        let checkpoints = Checkpoints::new(folder)?;
        checkpoints.load_into(&self.identity, &mut self.now)?;
        self.checkpoints = Some(checkpoints);
        Ok(self)
    }

    /// Stops when this flag is set, too, not only at [`stop::request`].
    #[must_use]
    pub fn stop_at(mut self, flag: &'static AtomicBool) -> Self {
        self.stop = Some(flag);
        self
    }

    /// Trains to the end, and calls `report` with every mean loss and every validation: with
    /// `|progress| println!("{progress}")` each is a whole line.
    ///
    /// # Errors
    /// If images cannot be had, the network refuses them, or a checkpoint cannot be written.
    pub fn run(&mut self, report: &mut dyn FnMut(&Progress)) -> Result<Outcome> {
        self.run_until(self.steps, report)
    }

    /// As [`Trainer::run`], but pauses after step `end`, so that the network can be looked at.
    ///
    /// # Errors
    /// As [`Trainer::run`].
    pub fn run_until(&mut self, end: u64, report: &mut dyn FnMut(&Progress)) -> Result<Outcome> {
        self.watch_until(end, &mut |progress| {
            if progress.has_loss() {
                report(progress);
            }
        })
    }

    /// As [`Trainer::run_until`], but calls `report` after every step: for a bar that moves.
    ///
    /// # Errors
    /// As [`Trainer::run`].
    pub fn watch_until(&mut self, end: u64, report: &mut dyn FnMut(&Progress)) -> Result<Outcome> {
        let Training { log_every, checkpoint_every, .. } = self.identity.settings;
        let mut stepped = false;
        loop {
            let step = self.now.step;
            let last = step == self.steps;
            let due = |every: u64| stepped && (step.is_multiple_of(every) || last);
            let loss = due(log_every).then(|| self.mean_loss());
            self.now.curve.training.extend(loss.map(|loss| Point { step, loss }));
            let validation = match self.owes_validation() {
                true => match self.validate() {
                    Ok(Some(loss)) => Some(loss),
                    Ok(None) => return self.stopped(),
                    Err(Error::NotFinite { .. }) => return Ok(Outcome::Diverged { step }),
                    Err(error) => return Err(error),
                },
                false => None,
            };
            self.now.curve.validation.extend(validation.map(|loss| Point { step, loss }));
            if due(checkpoint_every) {
                self.download()?;
                self.save()?;
            }
            if stepped || validation.is_some() {
                report(&self.progress(loss, validation));
            }
            if step >= self.steps.min(end) {
                self.download()?;
                return Ok(Outcome::Finished);
            }
            if self.stop_requested() {
                return self.stopped();
            }
            match self.take_step() {
                Ok(_) => stepped = true,
                // Nor is this one: it changed nothing.
                Err(Error::NotFinite { .. }) => {
                    self.download()?;
                    return Ok(Outcome::Diverged { step });
                }
                // A step that was interrupted is none.
                Err(Error::Interrupted(_)) => return self.stopped(),
                Err(error) => {
                    // Steps that were done are not lost by one that fails. The first error is the one to tell.
                    let _ = self.download();
                    return Err(error);
                }
            }
        }
    }

    /// Keeps a checkpoint, for the run is to stop.
    fn stopped(&mut self) -> Result<Outcome> {
        self.download()?;
        self.save()?;
        Ok(Outcome::Stopped { step: self.now.step })
    }

    /// Whether the loss on the validation images is to be computed after this step, and is not yet: an interrupt may
    /// come while it is.
    fn owes_validation(&self) -> bool {
        let step = self.now.step;
        let due = step.is_multiple_of(self.identity.settings.evaluate_every) || step == self.steps;
        let known = self.now.curve.validation.last().is_some_and(|point| point.step == step);
        due && step > 0 && !known && !self.validation.is_empty()
    }

    /// Does one step, and returns its loss, that of the network before the step.
    ///
    /// # Errors
    /// If images cannot be had or the network refuses them; [`Error::NotFinite`] if the loss or a gradient is not finite,
    /// and [`Error::Interrupted`] if someone asks to stop meanwhile: neither changes anything.
    pub fn advance(&mut self) -> Result<f64> {
        let loss = self.take_step()?;
        self.download()?;
        Ok(loss)
    }

    /// Brings back what a network keeps on its device.
    fn download(&mut self) -> Result<()> {
        let Checkpoint { parameters, adam, .. } = &mut self.now;
        self.network.resident().map_or(Ok(()), |resident| resident.download(parameters, adam))
    }

    /// As [`Trainer::advance`], but what a network keeps on its device stays there.
    fn take_step(&mut self) -> Result<f64> {
        let began = Instant::now();
        let settings = self.identity.settings;
        let step = self.now.step;
        let images = self.batches.of(step);
        let tokens = tokens_of(self.training.as_ref(), step, &images, &self.identity.network)?;
        let context = self.identity.network.context;
        let masked = settings.objective.masks(settings.seed, "mask", step, &images, context);
        let batch = Batch::new(&tokens, Target::of(masked.as_deref()));

        let Checkpoint { parameters, adam, since, .. } = &mut self.now;
        let rate = self.schedule.at(step);
        let loss = match self.network.resident() {
            Some(resident) => resident.step(parameters, adam, &batch, &settings.adam, step, rate)?,
            None => {
                let gradients = match &mut self.gradients {
                    Some(gradients) => gradients,
                    none => none.insert(Parameters::zeros(self.identity.network)?),
                };
                gradients.values_mut().fill(0.0);
                let loss = self.network.gradients(parameters, &batch, 1.0, gradients)?;
                // Networks check this themselves; it is for those that others write.
                let loss = finite::loss(loss, parameters)?;
                let (layout, gradients) = (gradients.layout(), gradients.values());
                adam.step(&settings.adam, &layout.decays(), step, rate, parameters.values_mut(), gradients)?;
                loss
            }
        };

        *since = (since.0 + loss, since.1 + 1);
        self.now.step += 1;
        self.pace = (self.pace.0 + began.elapsed(), self.pace.1 + 1);
        Ok(loss)
    }

    /// The loss on all validation images, as the network now is. Masks are the same each time.
    ///
    /// # Errors
    /// If there are none, they cannot be had, or the network refuses them.
    pub fn evaluate(&mut self) -> Result<f64> {
        let stopped = || Error::Interrupted("the validation was interrupted".into());
        self.validate()?.ok_or_else(stopped)
    }

    /// As [`Trainer::evaluate`]; none if someone asked to stop.
    fn validate(&mut self) -> Result<Option<f64>> {
        self.download()?;
        let images: Vec<usize> = (0..self.validation.len()).collect();
        let mut sum = 0.0;
        for images in images.chunks(self.identity.settings.batch) {
            if self.stop_requested() {
                return Ok(None);
            }
            let tokens = tokens_of(self.validation.as_ref(), 0, images, &self.identity.network)?;
            let Training { objective, seed, .. } = self.identity.settings;
            let masked = objective.validation_masks(seed, images, self.identity.network.context);
            let batch = Batch::new(&tokens, Target::of(masked.as_deref()));
            match self.network.loss(&self.now.parameters, &batch) {
                Ok(loss) => sum += images.len() as f64 * loss,
                Err(Error::Interrupted(_)) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        if images.is_empty() {
            return Err(Error::invalid("there are no validation images"));
        }
        Ok(Some(sum / images.len() as f64))
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.now.step
    }

    /// Steps of the whole run.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// How the loss fell so far.
    pub fn curve(&self) -> &Curve {
        &self.now.curve
    }

    /// The network as it now is; after an error of a device, as it was when it was last brought back from there.
    pub fn parameters(&self) -> &Parameters {
        &self.now.parameters
    }

    /// The settings.
    pub fn settings(&self) -> &Training {
        &self.identity.settings
    }

    /// What computes the network, to sample or to extract features with, and the parameters.
    pub fn network(&mut self) -> (&mut dyn Network, &Parameters) {
        (self.network.as_mut(), &self.now.parameters)
    }

    /// The trained parameters, the curve, and what computed them.
    pub fn into_parts(self) -> (Parameters, Curve, Box<dyn Network>) {
        (self.now.parameters, self.now.curve, self.network)
    }

    /// The mean loss since it was last asked for.
    fn mean_loss(&mut self) -> f64 {
        let (sum, count) = std::mem::take(&mut self.now.since);
        sum / count.max(1) as f64
    }

    fn save(&self) -> Result<()> {
        match &self.checkpoints {
            Some(checkpoints) => checkpoints.save(&self.identity, &self.now),
            None => Ok(()),
        }
    }

    /// Whether to stop. The request is answered, and so taken back.
    fn stop_requested(&self) -> bool {
        self.stop.is_some_and(|flag| flag.swap(false, Ordering::Relaxed)) || stop::answer()
    }

    fn progress(&self, loss: Option<f64>, validation: Option<f64>) -> Progress {
        let (time, count) = (self.pace.0.as_secs_f64().max(1e-9), self.pace.1);
        let tokens = count as f64 * (self.identity.settings.batch * self.identity.network.context) as f64;
        let left = (self.steps - self.now.step) as f64 * time / count.max(1) as f64;
        Progress {
            step: self.now.step,
            steps: self.steps,
            loss,
            validation,
            learning_rate: self.schedule.at(self.now.step.saturating_sub(1)),
            tokens_per_second: tokens / time,
            left: Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX),
        }
    }
}

impl std::fmt::Debug for Trainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trainer at step {} of {}: {:?}", self.now.step, self.steps, self.identity)
    }
}

/// Tokens of these images, each of as many as the network reads. Where tokens meet a network their number alone does
/// not show this: four times too many are four images, each a strip of one.
fn tokens_of(examples: &dyn Examples, step: u64, images: &[usize], network: &Config) -> Result<Vec<u16>> {
    let tokens = examples.tokens(step, images)?;
    if images.len().checked_mul(network.context) != Some(tokens.len()) {
        return Err(Error::invalid(format!(
            "{} images have {} tokens together, but the network reads {} of each: resize the images \
             (Augmented::at_side), or give the network their context",
            images.len(),
            tokens.len(),
            network.context
        )));
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests;
