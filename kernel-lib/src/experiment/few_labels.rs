//! Few labels (section 4.7, Table 4).

use super::linear_probe::L2;
use super::probed::{self, Probed};
use super::{AnyStep, Data, Features, Profile, Split, Step, Workspace};
use crate::probe::{FeatureLayers as _, FewLabelsResult, FewLabelsSettings, TestSet, choose_by_few_labels};
use crate::store::Context;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Linear classifiers of features, fitted to a few labelled images of each class. Layer and penalty are chosen by
/// cross-validation among the labelled images alone, and features are standardised by these alone. How the paper chose them is
/// not published (nor whether it did); `probe/few_labels.rs` says all that is not, and what is done here.
///
/// The labelled images are drawn from all training images, those that are otherwise held out to choose by among them.
///
/// ```no_run
/// use igpt::prelude::*;
///
/// let ar = Pretraining::of(&Profile::current()?);
/// let few = FewLabels::of(Features::of(&ar)).run()?; // 4, 25 and 400 labels of each class
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FewLabels {
    /// The features of the training images. Those of the test images are made in the same way.
    pub features: Features,
    /// Labelled images of each class.
    pub labels: Vec<usize>,
    /// How many subsets are drawn of each.
    pub subsets: usize,
    /// Parts of a subset that are left out in turn while choosing.
    pub folds: usize,
    /// Penalties λ that are tried.
    pub l2: Vec<f64>,
    /// The layer; absent: each subset's labels choose one.
    pub layer: Option<usize>,
    /// Of the subsets.
    pub seed: u64,
}

impl FewLabels {
    /// As in Table 4: five subsets each of 4, 25 and 400 labels of each class.
    pub fn of(features: Features) -> Self {
        Self {
            features: features.split(Split::Train),
            labels: vec![4, 25, 400],
            subsets: 5,
            folds: 5,
            l2: L2.to_vec(),
            layer: None,
            seed: 0,
        }
    }

    /// The same with so many labels of each class.
    #[must_use]
    pub fn labels(mut self, labels: impl Into<Vec<usize>>) -> Self {
        self.labels = labels.into();
        self
    }

    /// For a profile that judges nothing and may have few images: the same without those numbers of labels that some class has too
    /// few training images for. For a profile that judges findings it stays as it is, and too few images are an error.
    ///
    /// # Errors
    /// If the images cannot be read, or there are too few for any of these numbers.
    pub fn as_far_as_there_are(mut self, profile: &Profile) -> Result<Self> {
        if profile.judges {
            return Ok(self);
        }
        let set = self.features.data.load()?;
        let mut images = vec![0; set.classes().len()];
        for label in &set.train().labels {
            images[usize::from(*label)] += 1;
        }
        let smallest: usize = images.into_iter().min().unwrap_or(0);
        let wanted = std::mem::take(&mut self.labels);
        self.labels = wanted.iter().copied().filter(|labels| *labels <= smallest).collect();
        if self.labels.is_empty() {
            return Err(Error::invalid(format!(
                "{wanted:?} labels of each class are asked for, but one class has {smallest} training images"
            )));
        }
        Ok(self)
    }

    /// The same with other penalties to try.
    #[must_use]
    pub fn l2(mut self, penalties: impl Into<Vec<f64>>) -> Self {
        self.l2 = penalties.into();
        self
    }

    /// The same of one layer.
    #[must_use]
    pub fn layer(mut self, layer: usize) -> Self {
        self.layer = Some(layer);
        self
    }

    fn settings(&self) -> FewLabelsSettings {
        FewLabelsSettings {
            labels: self.labels.clone(),
            subsets: self.subsets,
            folds: self.folds,
            l2: self.l2.clone(),
            seed: self.seed,
        }
    }
}

impl Step for FewLabels {
    const NAME: &'static str = "few-labels";
    type Output = FewLabelsResult;

    fn about(&self) -> String {
        format!("linear classifiers by {:?} labels of each class of {}", self.labels, self.features.about())
    }

    fn inputs(&self) -> Vec<AnyStep> {
        probed::inputs(&self.features)
    }

    fn data(&self) -> Vec<&Data> {
        vec![&self.features.data]
    }

    fn code(&self, _on: &Workspace) -> Vec<&'static str> {
        vec!["probe/few_labels", "rng", "experiment/few_labels"]
    }

    fn seed(&self) -> Option<u64> {
        Some(self.seed)
    }

    fn validate(&self) -> Result<()> {
        probed::validate(&self.features)?;
        self.settings().validate()
    }

    fn compute(&self, on: &Workspace, _context: &Context) -> Result<FewLabelsResult> {
        let Probed { features, labels, classes, .. } = Probed::training(&self.features, on)?;
        let layers = match self.layer {
            Some(layer) => vec![layer],
            None => (0..features.layers()).collect(),
        };
        let choice = choose_by_few_labels(&features, &labels, classes, &layers, &self.settings())?;
        let (test, labels) = probed::test(&self.features, on)?;
        choice.test(TestSet::new(&test, labels)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Pretraining;

    #[test]
    fn only_a_profile_that_judges_nothing_leaves_out_what_it_has_too_few_images_for() {
        let mut profile = Profile::named("smoke").unwrap();
        profile.data.train_images = Some(300);
        let of = |profile: &Profile, labels: &[usize]| {
            FewLabels::of(Features::of(&Pretraining::of(profile))).labels(labels).as_far_as_there_are(profile)
        };
        assert!(!profile.judges);
        assert_eq!(of(&profile, &[4, 9, 400]).unwrap().labels, [4, 9]);
        let error = of(&profile, &[400, 500]).unwrap_err().to_string();
        assert!(
            error.contains("[400, 500] labels of each class are asked for, but one class has"),
            "{error}"
        );
        profile.judges = true;
        assert_eq!(of(&profile, &[4, 9, 400]).unwrap().labels, [4, 9, 400]);
    }
}
