//! Linear probes of masked images (section 4.6).

use super::masks::{Masked, VOTES, modal};
use super::probed::{self, Probed};
use super::{AnyStep, Data, Features, Pretraining, Split, Step, StoredFeatures, Workspace};
use crate::probe::{self, Accuracy, FeatureLayers as _, Probe, Rounding};
use crate::store::Context;
use crate::train::Objective;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Linear probes by layer of a network trained by BERT's objective, on masked images: each probe is fitted to features of images
/// that are masked once, and judged by images that are masked several times (section 4.6). Layer and L2 are chosen on the
/// validation images, masked once.
///
/// ```no_run
/// use igpt::prelude::*;
///
/// let bert = Pretraining::of(&Profile::current()?).objective(Objective::Bert { mask: 0.15 });
/// let curve = MaskedProbe::of(&bert)?.run()?;
/// println!("{} with one mask, {} by five votes", curve.chosen().once, curve.chosen().voted);
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskedProbe {
    /// The features of the training images, masked.
    pub features: Features,
    /// Penalties λ that are tried.
    pub l2: Vec<f64>,
    /// How many masks of a test image have a vote.
    pub votes: usize,
}

/// Accuracy by layer on masked images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct MaskedCurve {
    /// Every layer, from 0 to L.
    pub layers: Vec<MaskedLayer>,
    /// The layer that was chosen on validation images.
    pub layer: usize,
    /// What rounding did to the features; none of f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounding: Option<Rounding>,
}

/// What a probe of masked images reaches at one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct MaskedLayer {
    /// The penalty λ, chosen on the validation images.
    pub l2: f64,
    /// Test accuracy with one mask for each image.
    pub once: Accuracy,
    /// Test accuracy of the class that most masks of an image say.
    pub voted: Accuracy,
}

impl MaskedCurve {
    /// The layer that was chosen on validation images.
    pub fn chosen(&self) -> &MaskedLayer {
        &self.layers[self.layer]
    }
}

impl MaskedProbe {
    /// Of a network trained by BERT's objective, on the images that it was trained on, with as many masks as in section 4.6.
    ///
    /// # Errors
    /// If the network was trained by another objective.
    pub fn of(pretraining: &Pretraining) -> Result<Self> {
        let Objective::Bert { mask } = pretraining.training.objective else {
            return Err(Error::invalid("only a network trained by BERT's objective knows masked images"));
        };
        let masked = Masked { mask, seed: pretraining.training.seed, draw: 0 };
        let features = Features::of(pretraining).masked(masked);
        Ok(Self { features, l2: super::linear_probe::L2.to_vec(), votes: VOTES })
    }

    /// The same with other penalties to try.
    #[must_use]
    pub fn l2(mut self, penalties: impl Into<Vec<f64>>) -> Self {
        self.l2 = penalties.into();
        self
    }

    /// The features of the test images with each mask.
    fn tests(&self) -> Vec<Features> {
        let masked = self.features.masked.into_iter();
        masked
            .flat_map(|masked| (0..self.votes as u64).map(move |draw| Masked { draw, ..masked }))
            .map(|masked| self.features.clone().split(Split::Test).first(None).masked(masked))
            .collect()
    }
}

impl Step for MaskedProbe {
    const NAME: &'static str = "masked-probe";
    type Output = MaskedCurve;

    fn about(&self) -> String {
        format!("linear probes of masked images, {} votes each: {}", self.votes, self.features.about())
    }

    fn inputs(&self) -> Vec<AnyStep> {
        std::iter::once(self.features.clone()).chain(self.tests()).map(AnyStep::from).collect()
    }

    fn data(&self) -> Vec<&Data> {
        vec![&self.features.data]
    }

    fn code(&self, _on: &Workspace) -> Vec<&'static str> {
        vec!["probe", "experiment/masked_probe", "rng"]
    }

    fn seed(&self) -> Option<u64> {
        self.features.masked.map(|masked| masked.seed)
    }

    fn validate(&self) -> Result<()> {
        if self.features.masked.is_none() {
            return Err(Error::invalid("a probe of masked images needs features of masked images"));
        }
        if self.votes == 0 {
            return Err(Error::invalid("votes = 0: an image is judged with one mask at least"));
        }
        probed::validate(&self.features)
    }

    fn compute(&self, on: &Workspace, _context: &Context) -> Result<MaskedCurve> {
        let Probed { features, labels, classes, validation } = Probed::training(&self.features, on)?;
        let choice = probe::choose(&features, &labels, classes, &validation, &self.l2)?;
        let tests: Vec<_> = self.tests().iter().map(|test| test.run_on(on)).collect::<Result<_>>()?;
        let seed = self.features.masked.map_or(0, |masked| masked.seed);
        let set = self.features.data.load()?;
        let test_labels = &set.test().labels;
        let mut layers = Vec::with_capacity(features.layers());
        for (layer, l2) in choice.l2().into_iter().enumerate() {
            let probe = Probe::fit(&*features.layer(layer)?, &labels, classes, l2)?;
            let predict = |test: &StoredFeatures| probe.predict(&*test.layer(layer)?);
            let votes: Vec<Vec<u16>> = tests.iter().map(predict).collect::<Result<_>>()?;
            layers.push(MaskedLayer {
                l2,
                once: Accuracy::of(&votes[0], test_labels)?,
                voted: Accuracy::of(&modal(&votes, seed), test_labels)?,
            });
        }
        let all = std::iter::once(&features).chain(&tests);
        let rounding = Rounding::largest(all.flat_map(|of| (0..of.layers()).map(|layer| of.rounding(layer))));
        Ok(MaskedCurve { layer: choice.layer(), layers, rounding })
    }
}
