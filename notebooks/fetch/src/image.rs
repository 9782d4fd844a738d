//! One image: decoded, with the colours and at the size that its data set has.

use anyhow::{Result, bail};
use igpt_formats::{
    bilinear::{bilinear, longer_side},
    image_file::{self, Picture},
};

/// Bytes; no image is larger on its way to its size.
const LARGEST: usize = 1 << 29;

/// What the images of a data set have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ImageSpec {
    pub colours: Colours,
    /// Images become squares of this side; without it they stay as they are.
    pub side: Option<usize>,
}

/// The colours of a data set's images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colours {
    /// The number of 8-bit channels that all have: another would be a fault.
    Exactly(usize),
    /// All become red-green-blue.
    Rgb,
    /// None has colours.
    Grey,
}

/// A decoded image.
pub(super) struct Image {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    /// (H, W, C): rows from the top, in a row from the left.
    pub pixels: Vec<u8>,
    pub is_jpeg: bool,
}

impl Image {
    /// Decodes a PNG or JPEG file.
    ///
    /// What is not to be exactly as it is stored becomes what the library's `Image::decode` makes of it: it is the same
    /// decoder. `docs/images.md` has a table of kinds.
    pub(super) fn decode(bytes: &[u8], wanted: ImageSpec) -> Result<Self> {
        let picture = picture(bytes)?;
        let what = picture.stored;
        match wanted.colours {
            Colours::Exactly(channels) if picture.is_exact && picture.channels == channels => {}
            Colours::Exactly(channels) => {
                let exact = if channels == 1 { "grey" } else { "red-green-blue" };
                bail!("its image is {what}, not {exact} of 8 bits")
            }
            Colours::Grey if picture.channels == 3 => {
                bail!(
                    "its image has colours, but the first one is grey: --rgb makes all of them red-green-blue"
                )
            }
            Colours::Rgb | Colours::Grey => {}
        }
        let Picture { height, width, channels, pixels, is_jpeg, .. } = picture;
        let image = match (wanted.colours, channels) {
            (Colours::Rgb, 1) => {
                let pixels = pixels.iter().flat_map(|grey| [*grey; 3]).collect();
                Self { height, width, channels: 3, pixels, is_jpeg }
            }
            _ => Self { height, width, channels, pixels, is_jpeg },
        };
        match wanted.side {
            Some(side) => image.square(side),
            None => Ok(image),
        }
    }

    /// Whether an image has colours.
    pub(super) fn has_colour(bytes: &[u8]) -> Result<bool> {
        Ok(picture(bytes)?.channels == 3)
    }

    /// The square in the middle of the image whose shorter side has been made `side` long: section 3.1's evaluation,
    /// with the triangular filter of the library's `Image::resize`. Where it cannot be quite in the middle, it is half a
    /// pixel to the left or up.
    fn square(self, side: usize) -> Result<Self> {
        let longer = |shorter, longer| longer_side(side, shorter, longer);
        let size = match self.width <= self.height {
            true => longer(self.width, self.height).map(|height| (side, height)),
            false => longer(self.height, self.width).map(|width| (width, side)),
        };
        // Between the two passes it is as wide as it will be, and as high as it was.
        let is_small = |(width, height): (usize, usize)| {
            let between =
                width.checked_mul(self.height.max(height)).and_then(|n| n.checked_mul(self.channels));
            between.is_some_and(|bytes| bytes <= LARGEST)
        };
        let Some((width, height)) = size.filter(|size| is_small(*size)) else {
            bail!("its image of {} × {} pixels cannot be resized to {side}", self.width, self.height);
        };
        let resized = bilinear(&self.pixels, (self.width, self.height, self.channels), (width, height));
        let (left, top) = ((width - side) / 2 * self.channels, (height - side) / 2);
        let rows = resized.chunks_exact(width * self.channels).skip(top).take(side);
        let pixels = rows.flat_map(|row| &row[left..left + side * self.channels]).copied().collect();
        Ok(Self { height: side, width: side, pixels, ..self })
    }
}

fn picture(bytes: &[u8]) -> Result<Picture> {
    image_file::decode(bytes).or_else(|error| bail!("its image {error}"))
}

#[cfg(test)]
mod tests;
