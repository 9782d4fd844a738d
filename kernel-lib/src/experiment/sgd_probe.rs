//! The linear probe of ImageNet's protocol (section 4.4).

use super::probed::{self, Probed};
use super::{AnyStep, Data, Features, Split, Step, Workspace};
use crate::Result;
use crate::probe::{FeatureLayers as _, SgdResult, SgdSettings, TestSet, choose_by_sgd};
use crate::store::Context;
use serde::{Deserialize, Serialize};

/// A linear classifier that is trained by SGD on features that are read from the disk in groups of rows, with a momentum of 0.9
/// and a cosine to zero. Layer and learning rate are chosen on the validation images; the classifier is then trained anew on
/// training and validation images together, and judged once by the test images.
///
/// The paper takes 1,000,000 steps; its batch size, and how features are scaled, are not published: here they are taken as they
/// are.
///
/// ```no_run
/// use igpt::prelude::*;
///
/// let ar = Pretraining::of(&Profile::current()?);
/// let probe = SgdProbe { steps: 10_000, ..SgdProbe::of(Features::of(&ar)) };
/// println!("{}", probe.layers([5]).run()?.test);
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SgdProbe {
    /// The features of the training images. Those of the test images are made in the same way.
    pub features: Features,
    /// Layers to choose from; absent: all.
    pub layers: Option<Vec<usize>>,
    /// Learning rates that are tried.
    pub rates: Vec<f64>,
    /// Steps of a training.
    pub steps: u64,
    /// Images in a step.
    pub batch: usize,
    /// Images whose features are read from the disk together.
    pub group: usize,
    /// Of the order of images.
    pub seed: u64,
}

impl SgdProbe {
    /// As in section 4.4 and A.1, in batches of 256.
    pub fn of(features: Features) -> Self {
        Self {
            features: features.split(Split::Train),
            layers: None,
            rates: vec![30.0, 10.0, 3.0, 1.0, 0.3, 0.1],
            steps: 1_000_000,
            batch: 256,
            group: 4096,
            seed: 0,
        }
    }

    /// The same of these layers.
    #[must_use]
    pub fn layers(mut self, layers: impl Into<Vec<usize>>) -> Self {
        self.layers = Some(layers.into());
        self
    }

    fn settings(&self) -> SgdSettings {
        SgdSettings {
            rates: self.rates.clone(),
            steps: self.steps,
            batch: self.batch,
            group: self.group,
            seed: self.seed,
        }
    }
}

impl Step for SgdProbe {
    const NAME: &'static str = "sgd-probe";
    type Output = SgdResult;

    fn about(&self) -> String {
        format!("linear probes by {} steps of SGD of {}", self.steps, self.features.about())
    }

    fn inputs(&self) -> Vec<AnyStep> {
        probed::inputs(&self.features)
    }

    fn data(&self) -> Vec<&Data> {
        vec![&self.features.data]
    }

    fn code(&self, _on: &Workspace) -> Vec<&'static str> {
        vec!["probe/sgd", "rng", "experiment/sgd_probe"]
    }

    fn seed(&self) -> Option<u64> {
        Some(self.seed)
    }

    fn validate(&self) -> Result<()> {
        probed::validate(&self.features)?;
        self.settings().validate()
    }

    fn compute(&self, on: &Workspace, context: &Context) -> Result<SgdResult> {
        let Probed { features, labels, classes, validation } = Probed::training(&self.features, on)?;
        let layers = self.layers.clone().unwrap_or_else(|| (0..features.layers()).collect());
        let mut progress = |done, total| context.progress(done, total, "steps");
        let settings = self.settings();
        let choice =
            choose_by_sgd(&features, &labels, classes, &validation, &layers, &settings, &mut progress)?;
        let (test, labels) = probed::test(&self.features, on)?;
        choice.test(TestSet::new(&test, labels)?)
    }
}
