//! The classification head (section 2.3), applied to features that a network gave.

use super::Parameters;
use crate::{Error, Result};

/// Logits of classes, `(B, K)`.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassLogits {
    /// One image's after the other.
    pub values: Vec<f64>,
    /// How many classes there are, `K`.
    pub classes: usize,
}

/// The logits of classes, `(B, K)`, by the classification head of a network, of features at a layer: `features` are
/// `(B, L + 1, C)`, as [`Network::features`](super::Network::features) gives them.
///
/// # Errors
/// If the network has no such head or layer, or the features are not its own.
pub fn class_logits(parameters: &Parameters, features: &[f32], layer: usize) -> Result<ClassLogits> {
    let config = parameters.config();
    let (Some(classes), c, of_image) = (config.classes, config.width, (config.layers + 1) * config.width)
    else {
        return Err(Error::invalid("a network without a classification head tells no classes"));
    };
    if layer > config.layers || !features.len().is_multiple_of(of_image) {
        return Err(Error::invalid(format!(
            "{} numbers are not the features of whole images at {} layers, with a layer {layer}",
            features.len(),
            config.layers + 1
        )));
    }
    let score = parameters.get("score")?; // (K, C)
    let mut values = Vec::with_capacity(features.len() / of_image * classes);
    for image in features.chunks_exact(of_image) {
        let feature = &image[layer * c..][..c];
        values.extend(
            score.chunks_exact(c).map(|class| {
                class.iter().zip(feature).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
            }),
        );
    }
    Ok(ClassLogits { values, classes })
}

impl ClassLogits {
    /// The likeliest class of each image; the first of several.
    pub fn likeliest(&self) -> Vec<u16> {
        let best = |logits: &[f64]| {
            (1..logits.len()).fold(0, |best, k| if logits[k] > logits[best] { k } else { best })
        };
        self.values.chunks_exact(self.classes).map(|logits| best(logits) as u16).collect()
    }
}
