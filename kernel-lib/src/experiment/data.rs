//! The images of an experiment: which, how they are varied, at which size, and which of them are held out to choose by.

use crate::augment::Augmentation;
use crate::data::{self, Dataset, Images};
use crate::rng::Rng;
use crate::train::{Length, Training};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The largest side of images: its square is the longest sequence that a [`Config`](crate::model::Config) may have.
const LARGEST_SIDE: usize = 1 << 10;

/// The images of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Data {
    /// The data set, by a name that [`data::named`] knows: `fashion-mnist`, `cifar10`, `owner/name` of the hub.
    pub set: String,
    /// The classes whose images are taken, each once; they are numbered anew, in this order. Absent: all. Not written where it
    /// is absent, so that keys of results are as they were before there was a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<u16>>,
    /// How images are varied while training.
    pub augmentation: Augmentation,
    /// Height and width in pixels after context reduction.
    pub side: usize,
    /// The share of the training images that is held out to choose by (section 3.1: 0.1).
    pub validation: f64,
    /// Whether those held out are trained on after all, once every choice is made (section 3.1): then nothing is validated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub folded_back: bool,
    /// How many images are taken of the training set (with the validation share); absent: all.
    #[serde(default)]
    pub train_images: Option<usize>,
    /// How many images are taken of the test set; absent: all.
    #[serde(default)]
    pub test_images: Option<usize>,
}

/// Which images of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Those that may be learned from, the held-out ones included.
    Train,
    /// Those that are predicted, once, when everything else is decided.
    Test,
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Train => "training",
            Self::Test => "test",
        })
    }
}

impl std::fmt::Display for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {1} × {1}", data::title(&self.set), self.side)?;
        match &self.classes {
            Some(classes) => write!(f, ", classes {classes:?}"),
            None => Ok(()),
        }
    }
}

impl Data {
    /// All images of a data set at this size, as they are, a tenth of them held out.
    pub fn of(set: impl Into<String>, side: usize) -> Self {
        Self {
            set: set.into(),
            classes: None,
            augmentation: Augmentation::None,
            side,
            validation: 0.1,
            folded_back: false,
            train_images: None,
            test_images: None,
        }
    }

    /// The same with the validation images folded back into those that are trained on: for the last training, after every
    /// choice (section 3.1).
    #[must_use]
    pub fn folded_back(mut self) -> Self {
        self.folded_back = true;
        self
    }

    /// The same of these classes only: so a network can be trained on half of the classes, and probed on the other half.
    ///
    /// ```no_run
    /// use igpt::prelude::*;
    ///
    /// let data = Data::of("cifar10", 16);
    /// let seen = data.clone().classes([0, 1, 2, 3, 4]);
    /// let unseen = data.classes([5, 6, 7, 8, 9]);
    /// let mut profile = Profile::current()?;
    /// profile.data = seen;
    /// let probe = LinearProbe::of(Features::of(&Pretraining::of(&profile)).on(unseen));
    /// # Ok::<(), igpt::Error>(())
    /// ```
    #[must_use]
    pub fn classes(mut self, classes: impl Into<Vec<u16>>) -> Self {
        self.classes = Some(classes.into());
        self
    }

    /// The first so many training images (with the validation share) and test images; all there are where this data set has fewer
    /// already.
    ///
    /// ```
    /// # use igpt::prelude::*;
    /// let few = Data::of("fashion-mnist", 14).at_most(2000, 1500);
    /// assert_eq!((few.train_images, few.test_images), (Some(2000), Some(1500)));
    /// assert_eq!(few.clone().at_most(5000, 5000), few);
    /// ```
    #[must_use]
    pub fn at_most(mut self, train_images: usize, test_images: usize) -> Self {
        let least = |own: Option<usize>, images: usize| Some(own.map_or(images, |own| own.min(images)));
        self.train_images = least(self.train_images, train_images);
        self.test_images = least(self.test_images, test_images);
        self
    }

    /// Checks what can be checked before the data set is read.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn validate(&self) -> Result<()> {
        data::check_name(&self.set)?;
        if !(1..=LARGEST_SIDE).contains(&self.side) {
            return Err(Error::invalid(format!(
                "the setting data.side (from 1 to {LARGEST_SIDE}) makes no sense as {}",
                self.side
            )));
        }
        for (name, right) in [
            ("data.validation (0 < share < 1)", self.validation > 0.0 && self.validation < 1.0),
            ("data.train_images (at least 1)", self.train_images != Some(0)),
            ("data.test_images (at least 1)", self.test_images != Some(0)),
            ("data.classes (one or more)", self.classes.as_ref().is_none_or(|classes| !classes.is_empty())),
        ] {
            if !right {
                return Err(Error::invalid(format!("the setting {name} makes no sense as it is")));
            }
        }
        Ok(())
    }

    /// The data set, with as many images as these settings take of it.
    ///
    /// # Errors
    /// If there is no such data set, it cannot be read, or its images are not of a size that can be varied so.
    pub fn load(&self) -> Result<Arc<Dataset>> {
        let set = self.set()?;
        let images = &set.train().images;
        self.augmentation.check(images.width(), images.height())?;
        Ok(set)
    }

    /// The data set, however its images are to be varied.
    pub(super) fn set(&self) -> Result<Arc<Dataset>> {
        data::of_classes(&self.set, self.classes.as_deref(), self.train_images, self.test_images)
    }

    /// What tables call it: `Fashion-MNIST (sample), randomly translated`.
    ///
    /// # Errors
    /// As [`Data::load`].
    pub fn name(&self) -> Result<String> {
        let set = self.load()?;
        Ok(match self.augmentation {
            Augmentation::RandomTranslation { .. } => format!("{}, {}", set.name(), self.augmentation),
            _ => set.name().to_owned(),
        })
    }

    /// How many of so many training images are held out to choose by.
    pub fn held_out(&self, images: usize) -> usize {
        ((self.validation * images as f64).round() as usize).clamp(1, images.max(1))
    }

    /// How many steps a training takes, after checking that its settings go together; `None` where that depends on how many
    /// images the data set has.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn training_steps(&self, training: &Training) -> Result<Option<u64>> {
        let images = self.train_images.map(|images| match self.folded_back {
            true => images,
            false => images.saturating_sub(self.held_out(images)),
        });
        match images {
            Some(images) => training.validate(images)?,
            None => training.validate_alone()?,
        }
        match (training.length, images) {
            (Length::Steps(steps), _) => Ok(Some(steps)),
            (_, Some(images)) => training.steps(images).map(Some),
            (_, None) => Ok(None),
        }
    }

    /// Positions, among the training images, of those that are held out to choose by (section 3.1).
    ///
    /// # Errors
    /// As [`Data::load`].
    pub fn validation_positions(&self) -> Result<Vec<usize>> {
        let images = self.load()?.train().len();
        // The same for every seed: seeds shall differ by chance in training, not by what they are judged by.
        let mut positions = Rng::keyed(0, "validation split", [0, 0]).permutation(images);
        positions.truncate(self.held_out(images));
        positions.sort_unstable();
        Ok(positions)
    }

    /// Positions of the training images that are trained on.
    ///
    /// # Errors
    /// As [`Data::load`].
    pub fn training_positions(&self) -> Result<Vec<usize>> {
        let held_out = self.validated_with()?;
        let images = self.load()?.train().len();
        Ok((0..images).filter(|at| held_out.binary_search(at).is_err()).collect())
    }

    /// Positions of the training images that a training is validated with: those that are held out, or none if they are trained
    /// on.
    pub(super) fn validated_with(&self) -> Result<Vec<usize>> {
        if self.folded_back { Ok(Vec::new()) } else { self.validation_positions() }
    }

    /// The images of a split as a network sees them when it is judged: always the same, each varied once.
    ///
    /// # Errors
    /// As [`Data::load`].
    pub fn images(&self, split: Split) -> Result<Images> {
        let set = self.load()?;
        // Test images are varied by other chance than training images.
        // These words are seeds, which keep their old spelling: with other words images would be placed elsewhere.
        let (images, purpose) = match split {
            Split::Train => (&set.train().images, "training pictures"),
            Split::Test => (&set.test().images, "test pictures"),
        };
        let seed = Rng::keyed(0, purpose, [0, 0]).bits();
        self.augmentation.fixed(images, seed)?.at_side(self.side)
    }
}
