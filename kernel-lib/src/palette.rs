//! Section 3.2's palette: k colours found by k-means, and images as the numbers of their nearest colours.
//!
//! The paper shortens its sequences threefold with "a 9-bit color palette": 512 colours, so that a pixel is one token
//! instead of three. This module fits such palettes, reads OpenAI's and Hugging Face's, and encodes and decodes as the
//! original code (`src/utils.py` and `src/run.py` of openai/image-gpt) does. How OpenAI trained its k-means is not
//! published.
//!
//! ```
//! use igpt::palette::{KMeans, Palette};
//!
//! // Two reddish pixels, two bluish ones, one white one.
//! let pixels = [250, 0, 0, 252, 2, 0, 0, 0, 200, 2, 0, 200, 255, 255, 255];
//! let fit = Palette::fit(&pixels, 3, &KMeans::new(3))?;
//! let tokens = fit.palette.encode(&pixels)?;
//! assert!(tokens[0] == tokens[1] && tokens[2] == tokens[3] && tokens[0] != tokens[2]);
//! assert_eq!(fit.palette.decode(&tokens)?[..3], [251, 1, 0]);
//! # Ok::<(), igpt::Error>(())
//! ```

mod colours;
mod encode;
mod files;
mod kmeans;
mod nearest;
mod start;
#[cfg(test)]
mod tests;

pub use kmeans::{Fit, KMeans};

use crate::show::{Show, Swatches};
use crate::{Error, Image, Result};
use kmeans::LEVELS;

/// k colours of 1 channel (grey) or 3 (red, green, blue), on the scale [-1, 1] of the original code: a byte x is
/// x / 127.5 - 1. A token is the number of a colour.
#[derive(Debug, Clone, PartialEq)]
pub struct Palette {
    channels: usize,
    /// (k, channels)
    centres: Vec<f32>,
}

impl Palette {
    /// The most colours that a palette can have: tokens are `u16`.
    pub const MAX_COLOURS: usize = 1 << 16;

    /// A palette from its centres: k rows of 1 or 3 `channels` on the scale [-1, 1].
    ///
    /// # Errors
    /// If there are no centres, more than [`MAX_COLOURS`](Self::MAX_COLOURS), or not whole rows, or if a number is not
    /// finite or not in [-1, 1] (rounding errors of the sort of 1.0000001 are let pass).
    pub fn new(channels: usize, centres: Vec<f32>) -> Result<Self> {
        if !matches!(channels, 1 | 3) {
            return Err(Error::invalid(format!("a palette of {channels} channels (1 or 3 are possible)")));
        }
        if centres.is_empty()
            || !centres.len().is_multiple_of(channels)
            || centres.len() / channels > Self::MAX_COLOURS
        {
            return Err(Error::invalid(format!(
                "{} numbers are not a palette of from 1 to {} colours with {channels} channels",
                centres.len(),
                Self::MAX_COLOURS
            )));
        }
        if let Some(at) = centres.iter().position(|x| x.is_nan() || x.abs() > 1.001) {
            return Err(Error::invalid(format!(
                "colour {} of the palette has a channel of {}, which is not on the scale [-1, 1] \
                 (a byte x is x / 127.5 - 1)",
                at / channels,
                centres[at]
            )));
        }
        Ok(Self { channels, centres })
    }

    /// How many colours there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a palette is never empty")]
    pub fn len(&self) -> usize {
        self.centres.len() / self.channels
    }

    /// Channels of each colour: 1 or 3.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// All centres, (k, channels), on the scale [-1, 1].
    #[must_use]
    pub fn centres(&self) -> &[f32] {
        &self.centres
    }

    /// The pixels of the tokens, their channels beside each other: `uint8(rint(127.5 * (centre + 1)))`, in `f32` as in
    /// the original code.
    ///
    /// # Errors
    /// If a token is not the number of a colour.
    pub fn decode(&self, tokens: &[u16]) -> Result<Vec<u8>> {
        let mut pixels = Vec::with_capacity(tokens.len() * self.channels);
        let bytes = self.bytes();
        for (at, &token) in tokens.iter().enumerate() {
            let from = usize::from(token) * self.channels;
            let Some(colour) = bytes.get(from..from + self.channels) else {
                return Err(Error::invalid(format!(
                    "token {at} is {token}, but the palette has {} colours",
                    self.len()
                )));
            };
            pixels.extend_from_slice(colour);
        }
        Ok(pixels)
    }

    /// The image of `width` × `height` tokens in raster order.
    ///
    /// # Errors
    /// If the tokens are not as many, or one is not the number of a colour.
    pub fn image(&self, tokens: &[u16], width: usize, height: usize) -> Result<Image> {
        Image::new(width, height, self.channels, self.decode(tokens)?)
    }

    /// What encoding and decoding makes of an image.
    ///
    /// # Errors
    /// If the image has other channels than the palette.
    pub fn recode(&self, image: &Image) -> Result<Image> {
        self.check_channels(image.channels())?;
        self.image(&self.encode(image.pixels())?, image.width(), image.height())
    }

    /// Whether images of so many channels can be encoded. [`Palette::encode`] sees bytes alone: by a palette of greys it makes three
    /// tokens of a pixel in colour.
    ///
    /// # Errors
    /// If the palette has other channels.
    pub fn check_channels(&self, channels: usize) -> Result<()> {
        if channels == self.channels {
            return Ok(());
        }
        Err(Error::invalid(match self.channels {
            1 => {
                "images in colour, and a palette of greys: make the images grey first, or fit a palette to them"
            }
            _ => {
                "grey images, and a palette of colours: Image::to_rgb gives them three channels; or fit a palette to them"
            }
        }))
    }

    /// The mean squared error that encoding and decoding makes in the pixels' channels, on the scale of bytes, 0..=255.
    ///
    /// # Errors
    /// If the bytes are not whole pixels, or there are none.
    pub fn mean_squared_error(&self, pixels: &[u8]) -> Result<f64> {
        mean_squared_error(pixels, &self.decode(&self.encode(pixels)?)?)
    }

    /// The peak signal-to-noise ratio of encoding and decoding, in dB: 10 log₁₀(255² / mean squared error), over all
    /// pixels and channels; infinite if no byte changes.
    ///
    /// # Errors
    /// If the bytes are not whole pixels, or there are none.
    pub fn psnr(&self, pixels: &[u8]) -> Result<f64> {
        psnr(pixels, &self.decode(&self.encode(pixels)?)?)
    }

    /// All colours as (red, green, blue) bytes; grey ones have the same in all three.
    #[must_use]
    pub fn colours(&self) -> Vec<[u8; 3]> {
        let channel = |colour: &[u8], channel: usize| colour[channel.min(self.channels - 1)];
        self.bytes().chunks_exact(self.channels).map(|c| [0, 1, 2].map(|at| channel(c, at))).collect()
    }

    /// The centre of one colour, which there must be.
    fn colour(&self, at: usize) -> &[f32] {
        &self.centres[at * self.channels..][..self.channels]
    }

    /// All colours as bytes, (k, channels).
    fn bytes(&self) -> Vec<u8> {
        // `as` keeps numbers beyond the ends, which are rounding errors, at the ends.
        self.centres.iter().map(|&x| (LEVELS as f32 * (x + 1.0)).round_ties_even() as u8).collect()
    }

    /// All centres in grey levels, 0 to 255; channels that are not there are 0.
    fn levels(&self) -> Vec<[f64; 3]> {
        let level = |x: f32| LEVELS * (f64::from(x) + 1.0);
        let rows = self.centres.chunks_exact(self.channels);
        rows.map(|row| [0, 1, 2].map(|i| row.get(i).map_or(0.0, |&x| level(x)))).collect()
    }

    /// The palette of centres in grey levels.
    fn from_levels(levels: &[[f64; 3]], channels: usize) -> Self {
        let scaled = |&level: &f64| (level / LEVELS - 1.0) as f32;
        Self { channels, centres: levels.iter().flat_map(|level| &level[..channels]).map(scaled).collect() }
    }
}

/// The mean squared difference of the bytes of two images.
///
/// # Errors
/// If they have different sizes, or none.
pub fn mean_squared_error(a: &[u8], b: &[u8]) -> Result<f64> {
    if a.len() != b.len() || a.is_empty() {
        return Err(Error::invalid(format!(
            "images of {} and {} bytes cannot be compared byte by byte",
            a.len(),
            b.len()
        )));
    }
    let sum: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum();
    Ok(sum as f64 / a.len() as f64)
}

/// The peak signal-to-noise ratio of two images, in dB: 10 log₁₀(255² / [`mean_squared_error`]); infinite for equal
/// ones.
///
/// # Errors
/// If they have different sizes, or none.
pub fn psnr(a: &[u8], b: &[u8]) -> Result<f64> {
    // libm's logarithm is the same on every machine.
    Ok(10.0 * libm::log10(255.0 * 255.0 / mean_squared_error(a, b)?))
}

/// # Errors
/// If the bytes are not whole pixels.
fn check_pixels(pixels: &[u8], channels: usize) -> Result<()> {
    if !matches!(channels, 1 | 3) {
        return Err(Error::invalid(format!("pixels of {channels} channels (1 or 3 are possible)")));
    }
    if !pixels.len().is_multiple_of(channels) {
        return Err(Error::invalid(format!(
            "{} bytes are not whole pixels of {channels} channels",
            pixels.len()
        )));
    }
    Ok(())
}

/// Swatches of its colours; of a palette of more than 1,024, of as many, evenly spaced.
impl Show for Palette {
    fn to_html(&self) -> String {
        self.swatches().to_html()
    }
    fn to_text(&self) -> String {
        self.swatches().to_text()
    }
}

crate::show::displays!(Palette);

impl Palette {
    fn swatches(&self) -> Swatches {
        const MOST: usize = 1024;
        let all = self.colours();
        let shown = self.len().min(MOST);
        let colours = (0..shown).map(|i| all[i * self.len() / shown]);
        let label = if shown < self.len() { format!("of {} colours", self.len()) } else { String::new() };
        Swatches::new().palette(label, colours)
    }
}
