//! Contrastive pre-training, which the paper's tables compare with.

use super::pretraining::config;
use super::profile::Model;
use super::step::Waiting;
use super::{AnyStep, Data, PaletteOf, Pretraining, Step, Trained, Workspace};
use crate::augment::Augmented;
use crate::contrast::{self, Contrast, Training};
use crate::rng::Rng;
use crate::store::Context;
use crate::train::Examples as _;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A network that is pre-trained by contrast, with the same tokens, shape and images as one that is pre-trained by prediction. Its
/// features are judged by the same probe: [`Features::contrastive`](super::Features::contrastive). An interrupted training begins
/// anew.
///
/// ```no_run
/// use igpt::contrast::Contrast;
/// use igpt::prelude::*;
///
/// let ar = Pretraining::of(&Profile::current()?);
/// let sim_clr = Contrastive::like(&ar, Contrast::SimClr { temperature: 0.2, projection: 64 }, 200);
/// let curve = LinearProbe::of(Features::contrastive(&sim_clr)).run()?;
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contrastive {
    /// The images; their augmentation makes the views.
    pub data: Data,
    /// What makes tokens of them.
    pub palette: PaletteOf,
    /// The network's shape.
    pub network: Model,
    /// What is contrasted with what.
    pub contrast: Contrast,
    /// How it is trained.
    pub training: Training,
}

impl Contrastive {
    /// On the images of a pre-training and in batches of its size, a network of its shape, for so many steps.
    pub fn like(pretraining: &Pretraining, contrast: Contrast, steps: u64) -> Self {
        let Pretraining { data, palette, network, training, .. } = pretraining.clone();
        let (batch, learning_rate, seed) = (training.batch, 1e-3, training.seed);
        let training = Training { steps, batch, learning_rate, seed };
        Self { data, palette, network, contrast, training }
    }
}

impl Step for Contrastive {
    const NAME: &'static str = "contrastive-pre-training";
    type Output = Trained;

    fn about(&self) -> String {
        let Model { layers, width, .. } = self.network;
        let Training { steps, seed, .. } = self.training;
        let by = match self.contrast {
            Contrast::SimClr { .. } => "SimCLR",
            Contrast::Cpc { .. } => "contrastive predictive coding",
        };
        format!(
            "a network of {layers} layers × {width}, trained by {by} on {}, {steps} steps, seed {seed}",
            self.data
        )
    }

    fn inputs(&self) -> Vec<AnyStep> {
        self.palette.inputs()
    }

    fn data(&self) -> Vec<&Data> {
        vec![&self.data]
    }

    fn files(&self) -> Result<Vec<(String, String)>> {
        self.palette.files()
    }

    fn code(&self, _on: &Workspace) -> Vec<&'static str> {
        vec!["contrast", "model", "train", "augment", "palette", "experiment/contrastive", "rng"]
    }

    /// candle on the CPU, whatever else there is.
    fn device<'a>(&self, _on: &'a Workspace) -> &'a str {
        "reference"
    }

    fn seed(&self) -> Option<u64> {
        Some(self.training.seed)
    }

    fn validate(&self) -> Result<()> {
        self.data.validate()?;
        config(&self.data, &self.palette, self.network)?.validate()?;
        self.contrast.validate(self.data.side)?;
        match self.contrast {
            Contrast::SimClr { .. } if self.data.augmentation == crate::augment::Augmentation::None => {
                Err(Error::invalid(
                    "SimCLR contrasts random views of images, and these images are not varied: set data.augmentation",
                ))
            }
            _ => Ok(()),
        }
    }

    fn compute(&self, on: &Workspace, context: &Context) -> Result<Trained> {
        let set = self.data.load()?;
        let images = Arc::new(set.train().images.select(&self.data.training_positions()?)?);
        let (count, palette) = (images.len(), self.palette.palette(on)?);
        let view = |number: u64| -> Result<Augmented> {
            let seed = Rng::keyed(self.training.seed, "view", [number, 0]).bits();
            let varied = Augmented::new(images.clone(), self.data.augmentation, palette.clone(), seed)?;
            Ok(varied.at_side(self.data.side))
        };
        let both = [view(0)?, view(1)?];
        let (steps, mut bar) = (self.training.steps, Waiting::new(Self::NAME));
        let config = config(&self.data, &self.palette, self.network)?;
        let (parameters, curve) = contrast::train(
            config,
            self.contrast,
            &self.training,
            count,
            &|step, images, view| both[view].tokens(step, images),
            &mut |step, _| {
                context.progress(step, steps, "steps");
                bar.show(step, steps, "steps");
            },
        )?;
        Ok(Trained { parameters, curve, snapshots: Vec::new() })
    }
}
