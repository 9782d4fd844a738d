//! The training loop.

use super::checkpoint::{Best, Identity};
use super::{
    AccuracyPoint, AdamState, Batches, Checkpoint, Checkpoints, Classification, Curve, Examples, Point,
    Progress, Schedule, Training,
};
use crate::model::{Batch, Classes, Config, Network, Parameters, Target, class_logits, finite};
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
        check_classes(&settings, &config, training.as_ref(), validation.as_ref())?;
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
            best: None,
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

    /// Starts from these parameters instead of the seed's. Say it before [`Trainer::keep_checkpoints`], and name with
    /// [`Trainer::input`] where they come from.
    ///
    /// # Errors
    /// If they are those of another network.
    pub fn start_from(mut self, parameters: Parameters) -> Result<Self> {
        if parameters.config() != self.identity.network {
            return Err(Error::invalid(format!(
                "parameters of {:?} cannot start the training of {:?}",
                parameters.config(),
                self.identity.network
            )));
        }
        self.now.parameters = parameters;
        Ok(self)
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
                    Ok(Some(found)) => Some(found),
                    Ok(None) => return self.stopped(),
                    Err(Error::NotFinite { .. }) => return Ok(Outcome::Diverged { step }),
                    Err(error) => return Err(error),
                },
                false => None,
            };
            if let Some((loss, accuracy)) = validation {
                self.now.curve.validation.push(Point { step, loss });
                self.measured(accuracy);
            }
            let validation = validation.map(|(loss, _)| loss);
            if due(checkpoint_every) {
                self.download()?;
                self.save()?;
            }
            if stepped || validation.is_some() {
                report(&self.progress(loss, validation));
            }
            if step >= self.steps.min(end) || self.is_out_of_patience() {
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

    /// Keeps the network if it is the best so far.
    fn measured(&mut self, share: Option<f64>) {
        let Some(share) = share else { return };
        let step = self.now.step;
        self.now.curve.accuracy.push(AccuracyPoint { step, share });
        if self.now.best.as_ref().is_none_or(|best| share > best.share) {
            let values = self.now.parameters.values().to_vec();
            self.now.best = Some(Best { step, share, values });
        }
    }

    /// Whether no validation was better for so long that the training is to end.
    pub fn is_out_of_patience(&self) -> bool {
        let patience =
            self.identity.settings.classification.and_then(|classification| classification.patience);
        let (Some(patience), Some(best)) = (patience, &self.now.best) else { return false };
        let since = self.now.curve.accuracy.iter().filter(|point| point.step > best.step).count();
        since as u64 >= patience
    }

    /// The step after which the network was best on the validation images, if classes are learnt and there are such.
    pub fn best_step(&self) -> Option<u64> {
        self.now.best.as_ref().map(|best| best.step)
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
        let labels = labels_of(&settings, self.training.as_ref(), &images)?;
        let batch = Batch::new(&tokens, Target::of(masked.as_deref()));
        let batch = with_classes(batch, &settings, &self.identity.network, labels.as_deref());

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
        Ok(self.validate()?.ok_or_else(stopped)?.0)
    }

    /// As [`Trainer::evaluate`], and, if classes are learnt, the accuracy; none if someone asked to stop.
    fn validate(&mut self) -> Result<Option<(f64, Option<f64>)>> {
        self.download()?;
        let settings = self.identity.settings;
        let images: Vec<usize> = (0..self.validation.len()).collect();
        let (mut sum, mut correct) = (0.0, 0);
        for images in images.chunks(settings.batch) {
            if self.stop_requested() {
                return Ok(None);
            }
            let tokens = tokens_of(self.validation.as_ref(), 0, images, &self.identity.network)?;
            let Training { objective, seed, .. } = settings;
            let masked = objective.validation_masks(seed, images, self.identity.network.context);
            let labels = labels_of(&settings, self.validation.as_ref(), images)?;
            let batch = Batch::new(&tokens, Target::of(masked.as_deref()));
            let batch = with_classes(batch, &settings, &self.identity.network, labels.as_deref());
            match self.judge(&batch) {
                Ok((loss, of_batch)) => {
                    sum += images.len() as f64 * loss;
                    correct += of_batch;
                }
                Err(Error::Interrupted(_)) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        if images.is_empty() {
            return Err(Error::invalid("there are no validation images"));
        }
        let share = |correct: usize| correct as f64 / images.len() as f64;
        Ok(Some((sum / images.len() as f64, settings.classification.map(|_| share(correct)))))
    }

    /// The loss of a batch, and how many of its images are classified correctly.
    fn judge(&mut self, batch: &Batch<'_>) -> Result<(f64, usize)> {
        let parameters = &self.now.parameters;
        let loss = self.network.loss(parameters, batch)?;
        let Some(Classes { labels, layer, .. }) = batch.classes else { return Ok((loss, 0)) };
        let features = self.network.features(parameters, batch.tokens, batch.view())?; // (B, L + 1, C)
        let predicted = class_logits(parameters, &features, layer)?.likeliest();
        Ok((loss, predicted.iter().zip(labels).filter(|(class, label)| class == label).count()))
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

    /// The trained parameters, the curve, and what computed them. If classes are learnt, the parameters are those that were
    /// best on the validation images.
    pub fn into_parts(self) -> (Parameters, Curve, Box<dyn Network>) {
        let Checkpoint { mut parameters, curve, best, .. } = self.now;
        if let Some(best) = best {
            parameters.values_mut().copy_from_slice(&best.values);
        }
        (parameters, curve, self.network)
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

/// Checks that a network has a classification head if, and only if, classes are to be learnt, and all images have labels.
fn check_classes(
    settings: &Training,
    network: &Config,
    training: &dyn Examples,
    validation: &dyn Examples,
) -> Result<()> {
    let Some(classification) = settings.classification else {
        return match network.classes {
            None => Ok(()),
            Some(_) => Err(Error::invalid(
                "a network with a classification head needs the setting `classification`, which says how it learns classes",
            )),
        };
    };
    let Some(classes) = network.classes else {
        return Err(Error::invalid(
            "classes are learnt by a network with a classification head, which this one has not",
        ));
    };
    let layer = classification.layer(network.layers);
    if layer > network.layers {
        return Err(Error::invalid(format!(
            "classification.layer = {layer}: a network of {} blocks has layers 0 to {0}",
            network.layers
        )));
    }
    for examples in [training, validation] {
        let all: Vec<usize> = (0..examples.len()).collect();
        if let Some(label) = examples.labels(&all)?.into_iter().find(|label| usize::from(*label) >= classes) {
            return Err(Error::invalid(format!(
                "an image has the label {label}, which is none of {classes} classes"
            )));
        }
    }
    Ok(())
}

/// Labels of these images, if classes are learnt.
fn labels_of(settings: &Training, examples: &dyn Examples, images: &[usize]) -> Result<Option<Vec<u16>>> {
    settings.classification.map(|_| examples.labels(images)).transpose()
}

/// A batch, of which classes are learnt if there are labels.
fn with_classes<'a>(
    batch: Batch<'a>,
    settings: &Training,
    network: &Config,
    labels: Option<&'a [u16]>,
) -> Batch<'a> {
    let Some((classification, labels)) = settings.classification.zip(labels) else { return batch };
    let Classification { generative, weight, .. } = classification;
    let layer = classification.layer(network.layers);
    batch.with_classes(Classes { labels, layer, generative, classification: weight })
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
