//! What all probes read: features of training images with their classes, and, once everything is chosen, those of test images.

use super::{AnyStep, Features, Split, StoredFeatures, Workspace};
use crate::probe::FeatureLayers as _;
use crate::{Error, Result};

/// Features of training images, and what is known of these images.
pub(super) struct Probed {
    pub(super) features: StoredFeatures,
    /// The class of each, (N).
    pub(super) labels: Vec<u16>,
    /// How many classes there are.
    pub(super) classes: usize,
    /// Which of them are held out to choose by.
    pub(super) validation: Vec<usize>,
}

impl Probed {
    /// Finds the features, or has them computed.
    pub(super) fn training(features: &Features, on: &Workspace) -> Result<Self> {
        let set = features.data.load()?;
        let found = features.run_on(on)?;
        let count = found.images();
        let mut validation = features.data.validation_positions()?;
        validation.retain(|at| *at < count);
        let labels = set.train().labels.get(..count).ok_or_else(|| {
            Error::invalid(format!("features of {count} images, and labels of {}", set.train().len()))
        })?;
        Ok(Self { features: found, labels: labels.to_vec(), classes: set.classes().len(), validation })
    }
}

/// Features of the test images, made in the same way as those of the training images, and their classes.
pub(super) fn test(training: &Features, on: &Workspace) -> Result<(StoredFeatures, Vec<u16>)> {
    Ok((of_test(training).run_on(on)?, training.data.load()?.test().labels.clone()))
}

fn of_test(training: &Features) -> Features {
    training.clone().split(Split::Test).first(None)
}

/// The features that are read.
pub(super) fn inputs(training: &Features) -> Vec<AnyStep> {
    vec![training.clone().into(), of_test(training).into()]
}

/// Checks that the features are those of training images.
pub(super) fn validate(training: &Features) -> Result<()> {
    if training.split != Split::Train {
        return Err(Error::invalid("a probe is fitted to features of training images, not of test images"));
    }
    Ok(())
}
