//! What is known of a trained network: by its step, its result, and where that comes from.

use crate::Result;
use crate::data::{self, Origin};
use crate::experiment::Pretraining;
use crate::huggingface::Checkpoint;
use crate::palette::Palette;
use crate::store::Provenance;
use crate::train::{Batches, Curve, Point, WarmUp};

/// All that a model card says comes from these.
pub(super) struct Facts<'a> {
    /// What was asked for.
    pub step: &'a Pretraining,
    /// What came out.
    pub checkpoint: &'a Checkpoint,
    /// Where that comes from.
    pub provenance: &'a Provenance,
    /// The data set's name, where it comes from, and its images: width, height, channels.
    pub set: String,
    pub origin: Origin,
    pub size: [usize; 3],
    /// How many training images it has, of these trained on, and held out to validate with.
    pub images: usize,
    pub trained_on: usize,
    pub held_out: usize,
    /// Steps of the training, and of these with a learning rate that rises.
    pub steps: u64,
    pub warm_up: u64,
    /// The last loss of each sort, in nats per predicted token.
    pub training: Option<Point>,
    pub validation: Option<Point>,
}

impl<'a> Facts<'a> {
    pub(super) fn of(
        step: &'a Pretraining,
        checkpoint: &'a Checkpoint,
        curve: &Curve,
        provenance: &'a Provenance,
    ) -> Result<Self> {
        let set = step.data.load()?;
        let images = &set.train().images;
        let trained_on = step.data.training_positions()?.len();
        let training = &step.training;
        Ok(Self {
            step,
            checkpoint,
            provenance,
            set: set.name().to_owned(),
            origin: data::origin(&step.data.set)?,
            size: [images.width(), images.height(), images.channels()],
            images: images.len(),
            trained_on,
            held_out: images.len() - trained_on,
            steps: training.steps(trained_on)?,
            warm_up: match training.warm_up {
                WarmUp::Epoch => Batches::new(trained_on, training.batch, training.seed)?.epoch(),
                WarmUp::Steps(steps) => steps,
            },
            training: curve.training.last().copied(),
            validation: curve.validation.last().copied(),
        })
    }

    /// The palette, and what its colours are called.
    pub(super) fn palette(&self) -> (Option<&Palette>, &'static str) {
        let palette = self.checkpoint.palette.as_ref();
        (palette, if palette.is_some_and(|palette| palette.channels() == 1) { "greys" } else { "colours" })
    }

    /// Whether it predicts each token from those before it.
    pub(super) fn is_causal(&self) -> bool {
        self.step.training.objective.is_causal()
    }
}
