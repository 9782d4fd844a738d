//! A linear probe of raw pixels that has seen each image in several places.

use super::linear_probe::L2;
use super::{AnyStep, Data, Encoding, PaletteOf, Pretraining, Split, Step, Workspace, pca, profile};
use crate::augment::{Augmentation, Augmented};
use crate::probe::{self, Curve, FeatureMatrix, TestSet};
use crate::store::Context;
use crate::train::Examples as _;
use crate::{Error, Result, memory, stop};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A linear classifier of raw pixels that is fitted to several random variations of each training image: shifts, mirrors, crops, as
/// the data are augmented. The network whose features are compared with pixels has seen a new variation at each step; a
/// classifier of pixels that has seen only one of each image might lose for that reason alone. This control takes that reason away.
///
/// The penalty is chosen on the validation images, and the classifier judged by the test images, each as all other probes see
/// them. With one placement it is [`LinearProbe`](super::LinearProbe) of [`Features::pixels`](super::Features::pixels), to the bit.
///
/// ```no_run
/// use igpt::prelude::*;
///
/// let profile = Profile::current()?;
/// let pixels = PixelPlacements::of(&Pretraining::of(&profile), 8).with(&profile.probe);
/// println!("{}", pixels.run()?.result()?);
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PixelPlacements {
    /// The images; their augmentation makes the placements.
    pub data: Data,
    /// The colours that pixels are in.
    pub palette: PaletteOf,
    /// How often each training image is seen: once as it is judged, and then at random.
    pub placements: usize,
    /// Only the first so many training images; absent: all.
    #[serde(default)]
    pub first: Option<usize>,
    /// Penalties λ that are tried.
    pub l2: Vec<f64>,
    /// Of the random placements.
    pub seed: u64,
}

impl PixelPlacements {
    /// Of the pixels that a network sees, so many placements of each image.
    pub fn of(pretraining: &Pretraining, placements: usize) -> Self {
        let Pretraining { data, palette, training, .. } = pretraining.clone();
        Self { data, palette, placements, first: None, l2: L2.to_vec(), seed: training.seed }
    }

    /// The same with other penalties to try.
    #[must_use]
    pub fn l2(mut self, penalties: impl Into<Vec<f64>>) -> Self {
        self.l2 = penalties.into();
        self
    }

    /// The same as a profile has its probes: images, their number, penalties.
    #[must_use]
    pub fn with(mut self, settings: &profile::Probe) -> Self {
        if let Some(data) = &settings.data {
            self.data = data.clone();
        }
        self.first = settings.images;
        self.l2(settings.l2.clone())
    }

    fn encoding(&self, split: Split) -> Encoding {
        Encoding { data: self.data.clone(), split, palette: self.palette.clone() }
    }
}

impl Step for PixelPlacements {
    const NAME: &'static str = "pixel-placements";
    type Output = Curve;

    fn about(&self) -> String {
        format!("a linear probe of {} placements of pixels of {}", self.placements, self.data)
    }

    fn inputs(&self) -> Vec<AnyStep> {
        let mut inputs = self.palette.inputs();
        inputs.extend([Split::Train, Split::Test].map(|split| self.encoding(split).into()));
        inputs
    }

    fn data(&self) -> Vec<&Data> {
        vec![&self.data]
    }

    fn files(&self) -> Result<Vec<(String, String)>> {
        self.palette.files()
    }

    fn code(&self, _on: &Workspace) -> Vec<&'static str> {
        vec!["probe", "augment", "palette", "experiment/pca", "experiment/pixel_placements", "rng"]
    }

    fn seed(&self) -> Option<u64> {
        Some(self.seed)
    }

    fn validate(&self) -> Result<()> {
        self.data.validate()?;
        match self.placements {
            0 => Err(Error::invalid("the setting placements (at least 1) makes no sense as 0")),
            2.. if self.data.augmentation == Augmentation::None => Err(Error::invalid(
                "these images are not varied, so that several placements of an image are the same: set data.augmentation",
            )),
            _ => Ok(()),
        }
    }

    fn compute(&self, on: &Workspace, context: &Context) -> Result<Curve> {
        let (set, side) = (self.data.load()?, self.data.side * self.data.side);
        let palette = self.palette.palette(on)?;
        let width = side * palette.channels();
        let count = self.first.map_or(set.train().len(), |first| first.min(set.train().len()));
        let mut validation = self.data.validation_positions()?;
        validation.retain(|at| *at < count);
        let training: Vec<usize> = (0..count).filter(|at| validation.binary_search(at).is_err()).collect();
        memory::check("the placed pixels", &[count, self.placements, width, 2 * size_of::<f32>()])?;

        // As they are judged, and then the training images again and again.
        let mut tokens = self.encoding(Split::Train).run_on(on)?.0;
        tokens.truncate(count * side);
        let mut labels = set.train().labels[..count].to_vec();
        let images = Arc::new(set.train().images.select(&training)?);
        let placed = Augmented::new(images, self.data.augmentation, palette.clone(), self.seed)?;
        let (placed, all) = (placed.at_side(self.data.side), (0..training.len()).collect::<Vec<_>>());
        for placement in 1..self.placements as u64 {
            stop::check("placing the images")?;
            context.progress(placement, self.placements as u64, "placements");
            tokens.extend(placed.tokens(placement, &all)?);
            labels.extend(training.iter().map(|at| set.train().labels[*at]));
        }
        let features = FeatureMatrix::new(pca::pixels(&palette, &tokens)?, width)?;
        let test = self.encoding(Split::Test).run_on(on)?.0;
        let test = FeatureMatrix::new(pca::pixels(&palette, &test)?, width)?;
        let choice = probe::choose(&features, &labels, set.classes().len(), &validation, &self.l2)?;
        choice.test(TestSet::new(&test, set.test().labels.clone())?)
    }
}
