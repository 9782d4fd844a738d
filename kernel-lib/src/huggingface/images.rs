//! Images as a checkpoint's tokens, and back.

use super::Checkpoint;
use crate::palette::Palette;
use crate::{Error, Image, Result};

impl Checkpoint {
    /// Tokens `(N, T)` of N images, each as large as those that the network was trained on, and with as many channels as its
    /// palette has: grey, or red-green-blue.
    ///
    /// # Errors
    /// If the palette is not known, or an image has another size or other channels.
    pub fn tokens<'a>(&self, images: impl IntoIterator<Item = &'a Image>) -> Result<Vec<u16>> {
        let (palette, side) = (self.known_palette()?, self.side()?);
        let mut tokens = Vec::new();
        for (at, image) in images.into_iter().enumerate() {
            if (image.width(), image.height()) != (side, side) {
                return Err(Error::invalid(format!(
                    "image {at} is {} × {} pixels, and this network's are {side} × {side}: resize it (Image::resize)",
                    image.width(),
                    image.height()
                )));
            }
            palette.check_channels(image.channels())?;
            tokens.extend(palette.encode(image.pixels())?);
        }
        Ok(tokens)
    }

    /// The N images of tokens `(N, T)`.
    ///
    /// # Errors
    /// If the palette is not known, or the tokens are no whole images or no colours of it.
    pub fn images(&self, tokens: &[u16]) -> Result<Vec<Image>> {
        let (palette, side) = (self.known_palette()?, self.side()?);
        if !tokens.len().is_multiple_of(side * side) {
            return Err(Error::invalid(format!("{} tokens are no whole images of {side}²", tokens.len())));
        }
        tokens.chunks(side * side).map(|image| palette.image(image, side, side)).collect()
    }

    fn known_palette(&self) -> Result<&Palette> {
        self.palette.as_ref().ok_or_else(|| {
            Error::invalid(
                "this checkpoint came without its palette, so nobody knows which colours its tokens are",
            )
        })
    }

    /// Height and width of the network's images.
    fn side(&self) -> Result<usize> {
        let context = self.config().context;
        let side = context.isqrt();
        if side * side == context {
            return Ok(side);
        }
        Err(Error::invalid(format!(
            "{context} tokens are no square image: the palette's encode and image take any shape (Checkpoint::palette)"
        )))
    }
}
