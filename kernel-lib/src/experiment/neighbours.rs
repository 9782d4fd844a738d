//! The nearest neighbours of images by their features: a control of the linear probe.

use super::probed::{self, Probed};
use super::{AnyStep, Data, Features, Split, Step, Workspace};
use crate::Result;
use crate::probe::{Neighbours, TestSet, choose_neighbours};
use crate::store::Context;
use serde::{Deserialize, Serialize};

/// Classes by the k nearest training images, by Euclidean distance and by cosine of the features, which are taken as they are.
/// Layer and k are chosen on the validation images; the neighbours of the test images are then sought among training and
/// validation images together.
///
/// ```no_run
/// use igpt::prelude::*;
///
/// let ar = Pretraining::of(&Profile::current()?);
/// println!("{}", NearestNeighbours::of(Features::of(&ar)).run()?.result()?);
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NearestNeighbours {
    /// The features of the training images. Those of the test images are made in the same way.
    pub features: Features,
    /// Numbers of neighbours that are tried.
    pub k: Vec<usize>,
}

impl NearestNeighbours {
    /// Of these features, with 1 to 100 neighbours.
    pub fn of(features: Features) -> Self {
        Self { features: features.split(Split::Train), k: vec![1, 2, 5, 10, 20, 50, 100] }
    }

    /// The same with other numbers of neighbours to try.
    #[must_use]
    pub fn k(mut self, k: impl Into<Vec<usize>>) -> Self {
        self.k = k.into();
        self
    }
}

impl Step for NearestNeighbours {
    const NAME: &'static str = "nearest-neighbours";
    type Output = Neighbours;

    fn about(&self) -> String {
        format!("nearest neighbours by {}", self.features.about())
    }

    fn inputs(&self) -> Vec<AnyStep> {
        probed::inputs(&self.features)
    }

    fn data(&self) -> Vec<&Data> {
        vec![&self.features.data]
    }

    fn code(&self, _on: &Workspace) -> Vec<&'static str> {
        vec!["probe/neighbours", "experiment/neighbours"]
    }

    fn validate(&self) -> Result<()> {
        probed::validate(&self.features)
    }

    fn compute(&self, on: &Workspace, _context: &Context) -> Result<Neighbours> {
        let Probed { features, labels, classes, validation } = Probed::training(&self.features, on)?;
        let choice = choose_neighbours(&features, &labels, classes, &validation, &self.k)?;
        let (test, labels) = probed::test(&self.features, on)?;
        choice.test(TestSet::new(&test, labels)?)
    }
}
