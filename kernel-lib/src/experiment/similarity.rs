//! How alike the layers of a network are.

use super::{AnyStep, Features, Step, Workspace};
use crate::Result;
use crate::probe::{Similarity, linear_cka};
use crate::store::Context;
use serde::{Deserialize, Serialize};

/// Linear CKA of the features of each pair of layers. The features of all layers are in memory together: take the
/// [first](Features::first) few thousand images.
///
/// ```no_run
/// use igpt::prelude::*;
///
/// let ar = Pretraining::of(&Profile::current()?);
/// let alike = LayerSimilarity::of(Features::of(&ar).first(2000)).run()?;
/// println!("{}", alike.cka[0][1]);
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerSimilarity {
    /// The features.
    pub features: Features,
}

impl LayerSimilarity {
    /// Of these features.
    pub fn of(features: Features) -> Self {
        Self { features }
    }
}

impl Step for LayerSimilarity {
    const NAME: &'static str = "layer-similarity";
    type Output = Similarity;

    fn about(&self) -> String {
        format!("the similarity of layers by {}", self.features.about())
    }

    fn inputs(&self) -> Vec<AnyStep> {
        vec![self.features.clone().into()]
    }

    fn code(&self, _on: &Workspace) -> Vec<&'static str> {
        vec!["probe/similarity", "experiment/similarity"]
    }

    fn compute(&self, on: &Workspace, _context: &Context) -> Result<Similarity> {
        linear_cka(&self.features.run_on(on)?)
    }
}
