//! The share of images that are classified correctly, with its error.

use crate::show::{Cell, percent};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// How many of some images were classified correctly.
///
/// ```
/// use igpt::probe::Accuracy;
///
/// let accuracy = Accuracy::new(1408, 2000)?;
/// assert_eq!(accuracy.to_string(), "70.4 ± 1.0 %");
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Accuracy {
    /// Images classified correctly.
    pub correct: usize,
    /// All images.
    pub images: usize,
}

impl Accuracy {
    /// So many of so many.
    ///
    /// # Errors
    /// If there is no image, or more are correct than there are.
    pub fn new(correct: usize, images: usize) -> Result<Self> {
        if images == 0 || correct > images {
            return Err(Error::invalid(format!("{correct} of {images} images have no accuracy")));
        }
        Ok(Self { correct, images })
    }

    /// Of predicted classes, against a label for each.
    ///
    /// # Errors
    /// If there is no image.
    pub fn of(predicted: &[u16], labels: &[u16]) -> Result<Self> {
        Self::new(predicted.iter().zip(labels).filter(|(a, b)| a == b).count(), labels.len())
    }

    /// The share that is correct, 0 to 1.
    pub fn share(&self) -> f64 {
        self.correct as f64 / self.images as f64
    }

    /// Its standard error as an estimate for all images like these: √(p (1 − p) / N).
    pub fn standard_error(&self) -> f64 {
        let p = self.share();
        (p * (1.0 - p) / self.images as f64).sqrt()
    }

    /// As a table has it: `70.4 %`.
    pub fn cell(&self) -> Cell {
        percent(self.share(), 1)
    }
}

impl std::fmt::Display for Accuracy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} ± {:.1} %", 100.0 * self.share(), 100.0 * self.standard_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standard_error_is_that_of_a_binomial() {
        let accuracy = Accuracy::new(75, 100).unwrap();
        assert!((accuracy.standard_error() - (0.75f64 * 0.25 / 100.0).sqrt()).abs() < 1e-15);
        assert!(Accuracy::new(0, 0).is_err() && Accuracy::new(2, 1).is_err());
    }
}
