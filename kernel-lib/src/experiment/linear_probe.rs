//! The linear probe by layer (section 2.4, Figure 2).

use super::probed::{self, Probed};
use super::{AnyStep, Data, Features, Split, Step, Workspace, profile};
use crate::Result;
use crate::probe::{self, Curve, TestSet};
use crate::store::Context;
use serde::{Deserialize, Serialize};

/// A linear classifier of the features at every layer. Layer and L2 are chosen on the validation images; the probe is then
/// fitted to training and validation images together, and judged once by the test images.
///
/// ```no_run
/// use igpt::prelude::*;
///
/// let ar = Pretraining::of(&Profile::current()?);
/// let curve = LinearProbe::of(Features::of(&ar)).run()?; // runs, or finds, all that it needs
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearProbe {
    /// The features of the training images. Those of the test images are made in the same way.
    pub features: Features,
    /// Penalties λ that are tried.
    pub l2: Vec<f64>,
}

/// The penalties that are tried where none are named.
pub(super) const L2: [f64; 6] = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0];

impl LinearProbe {
    /// A probe of features of training images.
    pub fn of(features: Features) -> Self {
        Self { features: features.split(Split::Train), l2: L2.to_vec() }
    }

    /// The same with other penalties to try.
    #[must_use]
    pub fn l2(mut self, penalties: impl Into<Vec<f64>>) -> Self {
        self.l2 = penalties.into();
        self
    }

    /// The same as a profile has it: images, their number, penalties, and how features are kept.
    #[must_use]
    pub fn with(mut self, settings: &profile::Probe) -> Self {
        if let Some(data) = &settings.data {
            self.features.data = data.clone();
        }
        self.features.first = settings.images;
        if let Some(precision) = settings.feature_precision {
            self.features.precision = precision;
        }
        self.l2(settings.l2.clone())
    }
}

impl Step for LinearProbe {
    const NAME: &'static str = "linear-probe";
    type Output = Curve;

    fn about(&self) -> String {
        format!("linear probes of {}", self.features.about())
    }

    fn inputs(&self) -> Vec<AnyStep> {
        probed::inputs(&self.features)
    }

    fn data(&self) -> Vec<&Data> {
        vec![&self.features.data]
    }

    fn code(&self, _on: &Workspace) -> Vec<&'static str> {
        vec!["probe", "experiment/linear_probe"]
    }

    fn validate(&self) -> Result<()> {
        probed::validate(&self.features)
    }

    fn compute(&self, on: &Workspace, _context: &Context) -> Result<Curve> {
        let Probed { features, labels, classes, validation } = Probed::training(&self.features, on)?;
        let choice = probe::choose(&features, &labels, classes, &validation, &self.l2)?;
        let (test, labels) = probed::test(&self.features, on)?;
        choice.test(TestSet::new(&test, labels)?)
    }
}
