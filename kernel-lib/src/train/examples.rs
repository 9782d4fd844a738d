//! Images to train on.

use crate::{Error, Result};

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
    }
}
