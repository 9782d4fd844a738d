//! One image: decoded, with the colours and at the size that its data set has.

use std::io::Cursor;

use anyhow::{Context as _, Result, bail};
use igpt_formats::bilinear::{bilinear, longer_side};
use image::{ColorType, DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, Limits};

/// More than a photograph has.
const LONGEST_SIDE: u32 = 1 << 15;
/// Pixels that a byte of a file can stand for: deflate makes 1,032 bytes of one, and PNG packs 8 pixels into a byte.
const PIXELS_OF_A_BYTE: u64 = 8 * 1032;
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
    /// What is not to be exactly as it is stored becomes what the library's `Image::decode` makes of it: opacity is
    /// dropped, 16 bits become 8 by rounding v / 257, CMYK becomes red-green-blue, and EXIF is ignored.
    ///
    /// PNG is the same with every decoder. JPEG is not: where colours are stored at half the resolution, libjpeg (and
    /// so Pillow) gives each pixel the mean of the colours around it, weighted 9 : 3 : 3 : 1, and rounds it once; the
    /// decoder here takes the same mean in two steps, down and then across, and rounds after each. On the way to blue
    /// and red a level of difference nearly doubles. Of 7 million bytes of a JPEG copy of CIFAR-10, 78 % are the same,
    /// 13 % are off by one level, 8 % by two, and 1 in 1,500 by three to five.
    pub(super) fn decode(bytes: &[u8], wanted: ImageSpec) -> Result<Self> {
        let (image, is_jpeg) = decode(bytes)?;
        let has_colour = image.color().has_color();
        let (width, height) = (image.width() as usize, image.height() as usize);
        let (channels, pixels) = match wanted.colours {
            Colours::Exactly(3) if image.color() == ColorType::Rgb8 => (3, image.into_rgb8().into_raw()),
            Colours::Exactly(1) if image.color() == ColorType::L8 => (1, image.into_luma8().into_raw()),
            Colours::Exactly(channels) => {
                let what = if channels == 1 { "grey" } else { "red-green-blue" };
                bail!("its image is {:?}, not {what} of 8 bits", image.color())
            }
            Colours::Rgb => (3, image.into_rgb8().into_raw()),
            Colours::Grey if has_colour => {
                bail!(
                    "its image has colours, but the first one is grey: --rgb makes all of them red-green-blue"
                )
            }
            Colours::Grey => (1, image.into_luma8().into_raw()),
        };
        let image = Self { height, width, channels, pixels, is_jpeg };
        match wanted.side {
            Some(side) => image.square(side),
            None => Ok(image),
        }
    }

    /// Whether an image has colours.
    pub(super) fn has_colour(bytes: &[u8]) -> Result<bool> {
        Ok(decode(bytes)?.0.color().has_color())
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

/// The image, and whether it was JPEG.
fn decode(bytes: &[u8]) -> Result<(DynamicImage, bool)> {
    let format = match bytes {
        [0xff, 0xd8, ..] => ImageFormat::Jpeg,
        [0x89, b'P', b'N', b'G', ..] => ImageFormat::Png,
        _ => {
            bail!("its image is neither PNG nor JPEG, it begins with {:02x?}", &bytes[..bytes.len().min(4)])
        }
    };
    let is_jpeg = format == ImageFormat::Jpeg;
    // The decoder would fill up with grey what is missing.
    if is_jpeg && !has_end(bytes) {
        bail!("its JPEG image has no end");
    }
    let context = || "its image cannot be decoded";
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(LONGEST_SIDE), Some(LONGEST_SIDE));
    reader.limits(limits);
    let decoder = reader.into_decoder().with_context(context)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > bytes.len() as u64 * PIXELS_OF_A_BYTE {
        bail!(
            "its image says that it has {width} × {height} pixels, more than {} bytes can hold",
            bytes.len()
        );
    }
    if width == 0 || height == 0 {
        bail!("its image has {width} × {height} pixels");
    }
    Ok((DynamicImage::from_decoder(decoder).with_context(context)?, is_jpeg))
}

/// Whether a JPEG image has its end marker. What programs have put behind it hurts nobody.
fn has_end(bytes: &[u8]) -> bool {
    let mut at = 2;
    loop {
        // In pixel data a byte ff is followed by 00, or by the marker of a restart.
        let Some(found) = bytes.get(at..).and_then(|rest| {
            rest.windows(2).position(|two| two[0] == 0xff && !matches!(two[1], 0 | 0xff | 0xd0..=0xd7))
        }) else {
            return false;
        };
        at += found + 2;
        if bytes[at - 1] == 0xd9 {
            return true;
        }
        // Every other marker has a segment, which may hold anything, a small image with an end of its own too.
        let Some(&[high, low]) = bytes.get(at..at + 2) else { return false };
        at += usize::from(u16::from_be_bytes([high, low]));
    }
}

#[cfg(test)]
mod tests;
