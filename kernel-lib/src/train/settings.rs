//! Settings of a pre-training run.

use super::{Adam, Batches, Schedule};
use crate::model::Precision;
use crate::rng::Rng;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Settings of a pre-training run. Unknown settings are errors.
///
/// ```
/// use igpt::train::{Length, Training};
///
/// let settings: Training = toml::from_str("length = { steps = 700 }\nbatch = 32\nlearning_rate = 0.003")?;
/// assert_eq!(settings.length, Length::Steps(700));
/// assert!(toml::from_str::<Training>("length = { steps = 700 }\nbatchsize = 32").is_err());
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// How long to train.
    pub length: Length,
    /// Images in a step.
    #[serde(default = "default::batch")]
    pub batch: usize,
    /// The peak learning rate.
    #[serde(default = "default::learning_rate")]
    pub learning_rate: f64,
    /// How long the learning rate rises.
    #[serde(default)]
    pub warm_up: WarmUp,
    /// The optimiser.
    #[serde(default)]
    pub adam: Adam,
    /// What is predicted of the tokens.
    #[serde(default)]
    pub objective: Objective,
    /// Whether the learning rate falls to zero by half a cosine after the warm-up, as in pre-training. Fine-tuning has no
    /// such schedule (section 3.4): the rate stays at its peak.
    #[serde(default = "default::cosine", skip_serializing_if = "is_true")]
    pub cosine: bool,
    /// What is predicted of whole images, while fine-tuning (section 2.3); absent: nothing.
    #[serde(default, skip_serializing_if = "is_default")]
    pub classification: Option<Classification>,
    /// How precisely gradients are computed. Not written where it is the default, so that keys of results are as they
    /// were before there was a choice.
    #[serde(default, skip_serializing_if = "is_default")]
    pub precision: Precision,
    /// Activation checkpointing: of a block's activations only its input is kept, and the rest is computed again when it
    /// goes backward. Less memory and a third more work; it changes no result.
    #[serde(default, skip_serializing_if = "is_default")]
    pub activation_checkpointing: bool,
    /// How many gigabytes (10⁹ bytes) of its device's memory the training may take; without it most of a GPU's. A GPU then
    /// computes fewer images at a time, which changes how sums are rounded.
    #[serde(default, skip_serializing_if = "is_default")]
    pub device_memory_gb: Option<f64>,
    /// Of the network's start, the order of images, and masks.
    #[serde(default)]
    pub seed: u64,
    /// Steps from one report to the next; each is the mean loss since the last.
    #[serde(default = "default::log_every")]
    pub log_every: u64,
    /// Steps from one validation to the next; the last step always ends with one.
    #[serde(default = "default::evaluate_every")]
    pub evaluate_every: u64,
    /// Steps from one checkpoint to the next, where checkpoints are kept. It changes no result.
    #[serde(default = "default::checkpoint_every")]
    pub checkpoint_every: u64,
}

/// How a network learns the classes of images (section 2.3): its loss is `generative · L_GEN + weight · L_CLF`.
///
/// The network that is kept in the end is the one whose accuracy on the validation images was best, the first of several, as
/// in section 3.4; without validation images it is the last.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Classification {
    /// The layer whose features, averaged over the sequence, are classified: 0 to L; absent: L, after the final RMSNorm.
    pub layer: Option<usize>,
    /// The weight of the loss of tokens, L_GEN; 0 leaves it out. The paper found that 1 "works even better" than 0.
    pub generative: f64,
    /// The weight of the loss of classes, L_CLF.
    pub weight: f64,
    /// The training ends after so many validations in a row without a better accuracy; absent: it runs to its end.
    pub patience: Option<u64>,
}

impl Default for Classification {
    /// Section 2.3: the sum of both losses, after the final RMSNorm.
    fn default() -> Self {
        Self { layer: None, generative: 1.0, weight: 1.0, patience: None }
    }
}

impl Classification {
    /// The layer that is classified, of a network of so many blocks.
    pub fn layer(&self, layers: usize) -> usize {
        self.layer.unwrap_or(layers)
    }
}

/// The length of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    /// So many steps.
    Steps(u64),
    /// So many times all images; need not be whole.
    Epochs(f64),
}

/// The length of the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarmUp {
    /// One epoch, as in section 3.4.
    #[default]
    Epoch,
    /// So many steps.
    Steps(u64),
}

/// What is predicted (section 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Objective {
    /// Each token from those before it.
    #[default]
    Autoregressive,
    /// Masked tokens from all others.
    Bert {
        /// Each token is masked with this probability, 0.0001 or more; 0.15 in section 2.1.
        mask: f64,
    },
}

/// The least probability of a mask. A mask that masks nothing is drawn again, and until it masks something it takes about
/// as many draws as the larger of the number of tokens and one over this.
const LEAST_MASK: f64 = 1e-4;

impl std::fmt::Display for Objective {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Autoregressive => f.write_str("to predict each next token"),
            Self::Bert { mask } => write!(f, "to predict masked tokens (each with probability {mask})"),
        }
    }
}

impl std::fmt::Display for Length {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Steps(steps) => write!(f, "{steps} steps"),
            Self::Epochs(epochs) => write!(f, "{epochs} epochs"),
        }
    }
}

impl Objective {
    /// Whether each token is predicted from those before it: then the sequence begins with the SOS token, no token sees
    /// a later one, and images can be drawn token by token.
    pub fn is_causal(&self) -> bool {
        matches!(self, Self::Autoregressive)
    }

    /// Checks that a network trained so can draw images, token by token.
    ///
    /// # Errors
    /// If it was trained by BERT's objective.
    pub fn check_can_draw(&self) -> Result<()> {
        if self.is_causal() {
            return Ok(());
        }
        Err(Error::invalid(
            "a network trained by BERT's objective cannot draw images token by token: it never saw the SOS token, and \
             each token it saw together with those after it. Train one with objective = \"autoregressive\" to sample from",
        ))
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// If one makes no sense.
    pub fn validate(&self) -> Result<()> {
        match *self {
            Self::Bert { mask } if !(mask > 0.0 && mask <= 1.0) => {
                Err(Error::invalid(format!("mask = {mask} is no probability above 0")))
            }
            Self::Bert { mask } if mask < LEAST_MASK => Err(Error::invalid(format!(
                "mask = {mask} would mask hardly a token, and masks that mask none are drawn again until one is: take \
                 {LEAST_MASK} at least (section 2.1: 0.15)"
            ))),
            _ => Ok(()),
        }
    }

    /// Masks of `images`, `(B, T)`, if the objective has any: each keyed by the seed, what it is for, the step and the
    /// image's number.
    pub(crate) fn masks(
        &self,
        seed: u64,
        purpose: &str,
        step: u64,
        images: &[usize],
        context: usize,
    ) -> Option<Vec<bool>> {
        let Self::Bert { mask: probability } = *self else { return None };
        let rng = |image: usize| Rng::keyed(seed, purpose, [step, image as u64]);
        Some(images.iter().flat_map(|image| mask(context, probability, rng(*image))).collect())
    }

    /// Masks of these images for their loss, the same each time; see [`Objective::masks`].
    pub(crate) fn validation_masks(&self, seed: u64, images: &[usize], context: usize) -> Option<Vec<bool>> {
        self.masks(seed, "validation mask", 0, images, context)
    }
}

fn is_true(setting: &bool) -> bool {
    *setting
}

fn is_default<T: Default + PartialEq>(setting: &T) -> bool {
    *setting == T::default()
}

mod default {
    pub(super) const fn batch() -> usize {
        128
    }
    pub(super) const fn cosine() -> bool {
        true
    }
    pub(super) const fn learning_rate() -> f64 {
        0.003
    }
    pub(super) const fn log_every() -> u64 {
        100
    }
    pub(super) const fn evaluate_every() -> u64 {
        1000
    }
    pub(super) const fn checkpoint_every() -> u64 {
        1000
    }
}

impl Training {
    /// The paper's settings for iGPT-S (section 3.4, Table 5), for so many steps; it takes 1,000,000.
    pub fn paper(steps: u64) -> Self {
        Self {
            length: Length::Steps(steps),
            batch: default::batch(),
            learning_rate: default::learning_rate(),
            warm_up: WarmUp::Epoch,
            adam: Adam::default(),
            objective: Objective::Autoregressive,
            cosine: true,
            classification: None,
            precision: Precision::F32,
            activation_checkpointing: false,
            device_memory_gb: None,
            seed: 0,
            log_every: default::log_every(),
            evaluate_every: default::evaluate_every(),
            checkpoint_every: default::checkpoint_every(),
        }
    }

    /// The number of steps with so many images to train on.
    ///
    /// # Errors
    /// If there are none, or the length makes no sense.
    pub fn steps(&self, images: usize) -> Result<u64> {
        Batches::new(images, self.batch, self.seed)?;
        match self.length {
            Length::Steps(steps) if steps > 0 => Ok(steps),
            Length::Epochs(epochs) if epochs.is_finite() && epochs > 0.0 => {
                // As many as reach the last image of the last epoch.
                Ok((epochs * images as f64 / self.batch as f64).ceil().max(1.0) as u64)
            }
            length => Err(Error::invalid(format!("{length:?} is no length to train for"))),
        }
    }

    /// The learning rate at each step, with so many images to train on.
    ///
    /// # Errors
    /// If length, learning rate and warm-up do not go together.
    pub fn schedule(&self, images: usize) -> Result<Schedule> {
        let warm_up = match self.warm_up {
            WarmUp::Epoch => Batches::new(images, self.batch, self.seed)?.epoch(),
            WarmUp::Steps(steps) => steps,
        };
        let schedule = Schedule::new(self.learning_rate, warm_up, self.steps(images)?)?;
        Ok(if self.cosine { schedule } else { schedule.constant() })
    }

    /// Checks the settings against so many images to train on.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn validate(&self, images: usize) -> Result<()> {
        self.validate_alone()?;
        self.schedule(images).map(|_| ())
    }

    /// Checks what can be checked before it is known how many images there are to train on: not how long an epoch is.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn validate_alone(&self) -> Result<()> {
        // The epoch that is kindest to the length: one step for a run of so many steps, and as many as there can be for a
        // run of so many epochs. What does not go together then never does.
        let images = match self.length {
            Length::Steps(_) => self.batch,
            Length::Epochs(_) => usize::MAX >> 32,
        };
        self.schedule(images)?;
        self.adam.validate()?;
        for (name, every) in [
            ("log_every", self.log_every),
            ("evaluate_every", self.evaluate_every),
            ("checkpoint_every", self.checkpoint_every),
        ] {
            if every == 0 {
                return Err(Error::invalid(format!("{name} = 0: it counts steps from one to the next")));
            }
        }
        if let Some(Classification { generative, weight, patience, .. }) = self.classification {
            let sensible = |weight: f64| weight.is_finite() && weight >= 0.0;
            if !(sensible(generative) && sensible(weight) && weight > 0.0) {
                return Err(Error::invalid(format!(
                    "classification.generative = {generative} and classification.weight = {weight}: the weights of the two \
                     losses are not negative, and that of the classes is above 0"
                )));
            }
            if patience == Some(0) {
                return Err(Error::invalid(
                    "classification.patience = 0 would end the training before it begins",
                ));
            }
        }
        if self.device_memory_gb.is_some_and(|gb| !(gb > 0.0 && gb.is_finite())) {
            return Err(Error::invalid(format!(
                "device_memory_gb = {:?} is no positive number of gigabytes; leave it out for no limit",
                self.device_memory_gb.unwrap_or_default()
            )));
        }
        self.objective.validate()
    }

    /// In what a run with these settings differs from the paper's pre-training (sections 2.1, 3.4, A.1), each in words.
    /// Learning rates are not among them: the paper chooses them anew for each network.
    pub fn differences(&self) -> Vec<String> {
        let Adam { beta_1, beta_2, epsilon: _, weight_decay, clip } = self.adam;
        let mut differences = Vec::new();
        let mut differs = |condition: bool, what: String| {
            if condition {
                differences.push(what);
            }
        };
        let length = match self.length {
            Length::Steps(steps) => format!("{steps} steps"),
            Length::Epochs(epochs) => format!("{epochs} epochs"),
        };
        differs(self.length != Length::Steps(1_000_000), format!("{length} instead of 1000000 steps"));
        differs(!self.cosine, "no cosine schedule".to_owned());
        differs(self.batch != 128, format!("batches of {} instead of 128", self.batch));
        if let WarmUp::Steps(steps) = self.warm_up {
            differs(true, format!("a warm-up of {steps} steps instead of one epoch"));
        }
        differs(beta_1 != 0.9, format!("Adam's beta_1 is {beta_1} instead of 0.9"));
        differs(beta_2 != 0.95, format!("Adam's beta_2 is {beta_2} instead of 0.95"));
        differs(weight_decay != 0.0, format!("a weight decay of {weight_decay} instead of none"));
        if let Some(clip) = clip {
            differs(true, format!("gradients clipped to a norm of {clip}, which the paper does not mention"));
        }
        if let Objective::Bert { mask } = self.objective {
            differs(mask != 0.15, format!("{mask} of the tokens masked instead of 0.15"));
        }
        if self.precision == Precision::Bf16 {
            differs(true, "matrix products of bf16 numbers, which the paper does not mention".to_owned());
        }
        differences
    }
}

/// Which of `context` tokens are masked, each with this probability. A mask that masks nothing is drawn again.
fn mask(context: usize, probability: f64, mut rng: Rng) -> Vec<bool> {
    loop {
        let mask: Vec<bool> = (0..context).map(|_| rng.uniform() < probability).collect();
        if mask.contains(&true) || context == 0 {
            return mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_settings_differ_from_the_paper_in_nothing() {
        let paper = Training::paper(1_000_000);
        assert!(paper.differences().is_empty());
        let text = "length = { steps = 1000000 }";
        assert_eq!(toml::from_str::<Training>(text).unwrap(), paper);

        let other = Training {
            length: Length::Epochs(2.5),
            batch: 32,
            warm_up: WarmUp::Steps(50),
            adam: Adam { beta_2: 0.999, weight_decay: 0.01, clip: Some(1.0), ..Adam::default() },
            objective: Objective::Bert { mask: 0.2 },
            precision: Precision::Bf16,
            activation_checkpointing: true,
            device_memory_gb: Some(1.5),
            ..paper
        };
        assert_eq!(
            other.differences(),
            [
                "2.5 epochs instead of 1000000 steps",
                "batches of 32 instead of 128",
                "a warm-up of 50 steps instead of one epoch",
                "Adam's beta_2 is 0.999 instead of 0.95",
                "a weight decay of 0.01 instead of none",
                "gradients clipped to a norm of 1, which the paper does not mention",
                "0.2 of the tokens masked instead of 0.15",
                "matrix products of bf16 numbers, which the paper does not mention",
            ]
        );
        let text = toml::to_string(&other).unwrap();
        assert_eq!(toml::from_str::<Training>(&text).unwrap(), other, "{text}");
        assert!(text.contains("precision = \"bf16\""), "{text}");
        // The default is not written: keys of results that were there before are still theirs.
        let text = toml::to_string(&paper).unwrap();
        assert!(
            ["precision", "checkpointing", "memory"].iter().all(|setting| !text.contains(setting)),
            "{text}"
        );
    }

    #[test]
    fn epochs_become_steps() {
        let settings = Training { batch: 4, ..Training::paper(1) };
        let steps = |epochs| Training { length: Length::Epochs(epochs), ..settings }.steps(10).unwrap();
        assert_eq!((steps(1.0), steps(2.0), steps(0.01)), (3, 5, 1));
        let one_epoch = Training { length: Length::Epochs(1.0), ..settings };
        let error = one_epoch.schedule(10).unwrap_err().to_string();
        assert!(error.contains("a warm-up of 3 steps fills a run of 3"), "{error}");
    }

    #[test]
    fn settings_can_be_checked_before_the_number_of_images_is_known() {
        // One epoch of warm-up, whatever that will be: the default.
        Training::paper(500).validate_alone().unwrap();
        Training { length: Length::Epochs(1.5), ..Training::paper(1) }.validate_alone().unwrap();
        Training { length: Length::Epochs(0.5), warm_up: WarmUp::Steps(50), ..Training::paper(1) }
            .validate_alone()
            .unwrap();
        for bad in [
            Training::paper(1),
            Training { warm_up: WarmUp::Steps(500), ..Training::paper(500) },
            Training { length: Length::Epochs(1.0), ..Training::paper(1) },
            Training { length: Length::Epochs(f64::NAN), ..Training::paper(1) },
            Training { batch: 0, ..Training::paper(500) },
        ] {
            assert!(bad.validate_alone().is_err(), "{bad:?}");
        }
        // Known, it is checked: here an epoch is longer than the run.
        let error = Training::paper(500).validate(128 * 500).unwrap_err().to_string();
        assert!(error.contains("a warm-up of 500 steps fills a run of 500"), "{error}");
        Training::paper(500).validate(128 * 499).unwrap();
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let good = Training { warm_up: WarmUp::Steps(1), ..Training::paper(10) };
        good.validate(5).unwrap();
        for (bad, said) in [
            (Training { batch: 0, ..good }, "batches of 0"),
            (Training { length: Length::Epochs(-1.0), ..good }, "Epochs(-1.0) is no length"),
            (Training { length: Length::Steps(0), ..good }, "Steps(0) is no length"),
            (Training { log_every: 0, ..good }, "log_every = 0"),
            (Training { device_memory_gb: Some(0.0), ..good }, "device_memory_gb = 0"),
            (Training { device_memory_gb: Some(f64::NAN), ..good }, "device_memory_gb = NaN"),
            (Training { objective: Objective::Bert { mask: 0.0 }, ..good }, "mask = 0"),
            (Training { objective: Objective::Bert { mask: 1e-12 }, ..good }, "hardly a token"),
            (Training { objective: Objective::Bert { mask: f64::NAN }, ..good }, "mask = NaN"),
            (Training { learning_rate: 0.0, ..good }, "a learning rate is a positive number, not 0"),
        ] {
            let error = bad.validate(5).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        for bad in [
            "length = { steps = 1 }\nadam = { beta = 1 }",
            "length = { steps = 1 }\nobjective = { bert = { rate = 1 } }",
        ] {
            assert!(toml::from_str::<Training>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn masks_are_never_empty_and_of_the_right_size() {
        let rng = |i| Rng::keyed(1, "mask", [i, 0]);
        let counts: usize = (0..500).map(|i| mask(100, 0.15, rng(i)).iter().filter(|m| **m).count()).sum();
        assert!(
            (counts as f64 / 50_000.0 - 0.15).abs() < 5.0 * (0.15 * 0.85 / 50_000.0f64).sqrt(),
            "{counts}"
        );
        assert!((0..200).all(|i| mask(3, 0.05, rng(i)).contains(&true)));
        // The least that is allowed ends soon.
        let least = Training {
            objective: Objective::Bert { mask: LEAST_MASK },
            warm_up: WarmUp::Steps(1),
            ..Training::paper(10)
        };
        least.validate(5).unwrap();
        assert!((0..20).all(|i| mask(1, LEAST_MASK, rng(i)) == [true]));
    }
}
