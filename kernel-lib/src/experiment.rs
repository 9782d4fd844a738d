//! Experiments, put together from steps: palettes, tokens, pre-training, features, probes.
//!
//! A [`Step`] is a value that holds its settings and, nested, the steps whose results it needs. A notebook composes steps
//! and runs what it wants to see; what that needs is computed, or found in the [store](crate::store) by any other notebook:
//!
//! ```no_run
//! use igpt::prelude::*;
//!
//! let ar = Pretraining::of(&Profile::current()?).seed(2); // a value; nothing has run
//! let bert = ar.clone().objective(Objective::Bert { mask: 0.15 });
//! let curve = LinearProbe::of(Features::of(&bert)).run()?; // runs, or finds, all that it needs
//! println!("{}", curve.result()?);
//! # Ok::<(), igpt::Error>(())
//! ```
//!
//! A [`Profile`] is a file that names the settings from which steps are made. Any step can be written as JSON
//! ([`AnyStep::to_json`]) and computed elsewhere (`igpt compute FILE.json`).

mod any;
mod concatenated_probe;
mod contrastive;
mod count_baseline;
mod data;
mod encoding;
mod entropy;
mod features;
mod few_labels;
mod fine_tuning;
mod layer_heads;
mod learning_rate;
mod linear_probe;
mod listing;
mod loss_and_accuracy;
mod masked_probe;
mod masks;
mod neighbours;
mod palette;
mod pca;
mod pixel_placements;
mod pretraining;
mod probed;
pub mod profile;
mod released;
mod released_loss_and_accuracy;
mod seed_curves;
mod sgd_probe;
mod similarity;
mod step;
mod trained;
mod workspace;

pub use any::{AnyStep, with_inputs};
pub use concatenated_probe::{ConcatenatedProbe, ConcatenatedResult};
pub use contrastive::Contrastive;
pub use count_baseline::{CountBaseline, CountLoss};
pub use data::{Data, Split};
pub use encoding::{Encoding, TokenSequences};
pub use entropy::entropy_by_position;
pub use features::{Describer, FeaturePrecision, Features, Snapshot, StoredFeatures, Untrained};
pub use few_labels::FewLabels;
pub use fine_tuning::{FineTuned, FineTuning};
pub use layer_heads::{LayerHeads, LayerLosses};
pub use learning_rate::LearningRateSearch;
pub use linear_probe::LinearProbe;
pub use listing::{compute, list, steps_of};
pub use loss_and_accuracy::{AfterSteps, LossAndAccuracy, LossAndAccuracyResult};
pub use masked_probe::{MaskedCurve, MaskedLayer, MaskedProbe};
pub use masks::Masked;
pub use neighbours::NearestNeighbours;
pub use palette::{PaletteFit, PaletteOf};
pub use pca::PcaFit;
pub use pixel_placements::PixelPlacements;
pub use pretraining::Pretraining;
pub use profile::Profile;
pub use released::Released;
pub use released_loss_and_accuracy::ReleasedLossAndAccuracy;
pub use seed_curves::SeedCurves;
pub use sgd_probe::SgdProbe;
pub use similarity::LayerSimilarity;
pub use step::Step;
pub use trained::Trained;
pub use workspace::Workspace;

#[cfg(test)]
mod tests;
