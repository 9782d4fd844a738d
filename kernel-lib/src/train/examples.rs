//! Images to train on.

use crate::{Error, Result};
use std::sync::Arc;

/// Images as tokens. Where they are augmented, an image's tokens depend on the step that sees it, and on nothing
/// else: not on threads, nor on what was asked before.
pub trait Examples: Send + Sync {
    /// How many images there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens of these images, in this order, as step `step` sees them: `(images.len(), T)`.
    ///
    /// # Errors
    /// If there is no such image, or it cannot be encoded.
    fn tokens(&self, step: u64, images: &[usize]) -> Result<Vec<u16>>;

    /// The class of each of these images.
    ///
    /// # Errors
    /// If there is no such image, or its class is not known.
    fn labels(&self, _images: &[usize]) -> Result<Vec<u16>> {
        Err(Error::invalid("classes cannot be learnt from images without labels: give them (Labelled)"))
    }
}

/// Images whose classes are known.
#[derive(Clone)]
pub struct Labelled {
    images: Arc<dyn Examples>,
    labels: Vec<u16>,
}

impl Labelled {
    /// These images with a label for each.
    ///
    /// # Errors
    /// If there are not as many labels as images.
    pub fn new(images: Arc<dyn Examples>, labels: Vec<u16>) -> Result<Self> {
        if images.len() != labels.len() {
            return Err(Error::invalid(format!("{} labels for {} images", labels.len(), images.len())));
        }
        Ok(Self { images, labels })
    }
}

impl std::fmt::Debug for Labelled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Labelled").field("images", &self.labels.len()).finish_non_exhaustive()
    }
}

impl Examples for Labelled {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn tokens(&self, step: u64, images: &[usize]) -> Result<Vec<u16>> {
        self.images.tokens(step, images)
    }

    fn labels(&self, images: &[usize]) -> Result<Vec<u16>> {
        let label = |image: &usize| {
            self.labels.get(*image).copied().ok_or_else(|| no_image(*image, self.labels.len()))
        };
        images.iter().map(label).collect()
    }
}

/// Images that are always the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    context: usize,
    tokens: Vec<u16>,
}

impl Tokens {
    /// Images of `context` tokens each, one after the other.
    ///
    /// # Errors
    /// If they are no whole images.
    pub fn new(context: usize, tokens: Vec<u16>) -> Result<Self> {
        if context == 0 || !tokens.len().is_multiple_of(context) {
            let n = tokens.len();
            return Err(Error::invalid(format!("{n} tokens are no whole images of {context} tokens")));
        }
        Ok(Self { context, tokens })
    }
}

impl Examples for Tokens {
    fn len(&self) -> usize {
        self.tokens.len() / self.context
    }

    fn tokens(&self, _step: u64, images: &[usize]) -> Result<Vec<u16>> {
        let mut tokens = Vec::with_capacity(images.len() * self.context);
        for image in images {
            let of_image = self.tokens.chunks(self.context).nth(*image);
            tokens.extend_from_slice(of_image.ok_or_else(|| no_image(*image, self.len()))?);
        }
        Ok(tokens)
    }
}

/// The error of asking for an image that is not there.
pub(crate) fn no_image(image: usize, count: usize) -> Error {
    Error::invalid(format!("there is no image {image}: there are {count}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_come_in_the_order_asked_for() {
        let images = Tokens::new(2, vec![0, 1, 2, 3, 4, 5]).unwrap();
        assert_eq!(images.len(), 3);
        assert_eq!(images.tokens(0, &[2, 0, 2]).unwrap(), [4, 5, 0, 1, 4, 5]);
        assert_eq!(images.tokens(0, &[3]).unwrap_err().to_string(), "there is no image 3: there are 3");
        assert!(Tokens::new(4, vec![0; 6]).is_err());
        assert!(images.labels(&[0]).unwrap_err().to_string().contains("without labels"));
        let images = Arc::new(images);
        assert!(Labelled::new(images.clone(), vec![1]).is_err());
        let labelled = Labelled::new(images, vec![7, 8, 9]).unwrap();
        assert_eq!(labelled.labels(&[2, 0]).unwrap(), [9, 7]);
        assert_eq!(labelled.tokens(0, &[1]).unwrap(), [2, 3]);
        assert_eq!(labelled.labels(&[3]).unwrap_err().to_string(), "there is no image 3: there are 3");
    }
}
