//! How the loss falls, as a value and as lines.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// How the loss fell. It holds no times, so that the same run gives the same curve.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Curve {
    /// Mean loss of the steps since the point before.
    pub training: Vec<Point>,
    /// Loss on the validation images.
    pub validation: Vec<Point>,
    /// Which share of the validation images is classified correctly, where classes are learnt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accuracy: Vec<AccuracyPoint>,
}

impl Curve {
    /// After how many steps the accuracy on the validation images was at least this share (0 to 1) for the first time: how
    /// long each start of a fine-tuning needs. None if it never was. It is known only at the steps at which it was measured
    /// ([`Training::evaluate_every`](super::Training::evaluate_every)).
    pub fn first_step_with(&self, share: f64) -> Option<u64> {
        self.accuracy.iter().find(|point| point.share >= share).map(|point| point.step)
    }
}

/// A point of a curve of accuracies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccuracyPoint {
    /// Steps done.
    pub step: u64,
    /// The share of images that is classified correctly, 0 to 1.
    pub share: f64,
}

/// A point of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Steps done.
    pub step: u64,
    /// Loss, in nats per predicted token.
    pub loss: f64,
}

/// Where a run is. Shown as one line.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// Mean loss of the steps since the last report, if this is one.
    pub loss: Option<f64>,
    /// Loss on the validation images, if it was computed now.
    pub validation: Option<f64>,
    /// Learning rate of the step just done.
    pub learning_rate: f64,
    /// Tokens trained on in a second, since this process began with the run.
    pub tokens_per_second: f64,
    /// How long the steps that are left will take, at the pace so far.
    pub left: Duration,
}

impl Progress {
    /// Whether a loss was computed now, and not only a step done.
    pub(crate) fn has_loss(&self) -> bool {
        self.loss.is_some() || self.validation.is_some()
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {} of {}", self.step, self.steps)?;
        if let Some(loss) = self.loss {
            write!(f, " · loss {loss:.4}")?;
        }
        if let Some(validation) = self.validation {
            write!(f, " · validation {validation:.4}")?;
        }
        write!(f, " · {:.0} tokens/s", self.tokens_per_second)?;
        if self.step < self.steps {
            let s = self.left.as_secs();
            match (s / 3600, s / 60 % 60, s % 60) {
                (0, 0, s) => write!(f, " · {s} s left")?,
                (0, min, s) => write!(f, " · {min} min {s:02} s left")?,
                (h, min, _) => write!(f, " · {h} h {min:02} min left")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_with_an_accuracy_is_found() {
        let point = |(step, share)| AccuracyPoint { step, share };
        let accuracy = [(5, 0.2), (10, 0.7), (15, 0.6), (20, 0.8)].map(point).to_vec();
        let curve = Curve { accuracy, ..Curve::default() };
        assert_eq!(
            [0.1, 0.7, 0.71, 0.9].map(|s| curve.first_step_with(s)),
            [Some(5), Some(10), Some(20), None]
        );
        assert_eq!(Curve::default().first_step_with(0.0), None);
    }

    #[test]
    fn progress_is_one_line() {
        let progress = Progress {
            step: 100,
            steps: 700,
            loss: Some(1.23456),
            validation: None,
            learning_rate: 0.003,
            tokens_per_second: 8210.4,
            left: Duration::from_secs(80),
        };
        assert_eq!(progress.to_string(), "step 100 of 700 · loss 1.2346 · 8210 tokens/s · 1 min 20 s left");
        let last = Progress { step: 700, validation: Some(1.1), ..progress };
        assert_eq!(last.to_string(), "step 700 of 700 · loss 1.2346 · validation 1.1000 · 8210 tokens/s");
        let long = Progress { left: Duration::from_secs(2 * 3600 + 61), loss: None, ..progress };
        assert_eq!(long.to_string(), "step 100 of 700 · 8210 tokens/s · 2 h 01 min left");
    }
}
