//! An image inside HTML.

use super::{clean, escape};
use crate::image::Image;
use crate::{Error, Result};
use base64::Engine as _;
use image::{ExtendedColorType, ImageEncoder as _, codecs::png};

/// An image with its caption, as [`ImageGrid`](super::ImageGrid) takes it.
#[derive(Debug, Clone)]
pub struct Tile {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Red, green, blue and opacity of each pixel, row by row.
    rgba: Vec<u8>,
    pub(super) caption: String,
}

impl Tile {
    /// An image from its bytes, row by row, with 1 (grey), 3 (red, green, blue) or 4 (and opacity) for each pixel.
    ///
    /// # Errors
    /// If there are not `width * height * channels` bytes, or the image is empty.
    pub fn new(width: usize, height: usize, channels: usize, bytes: &[u8]) -> Result<Self> {
        let expected = width.checked_mul(height).and_then(|n| n.checked_mul(channels));
        if width == 0 || height == 0 || !matches!(channels, 1 | 3 | 4) || expected != Some(bytes.len()) {
            return Err(Error::invalid(format!(
                "{} bytes are not an image of {width} × {height} pixels with {channels} channels (1, 3 or 4)",
                bytes.len()
            )));
        }
        Ok(Self::of(width, height, channels, bytes))
    }

    /// As [`Tile::new`], of bytes whose number is known to be right.
    fn of(width: usize, height: usize, channels: usize, bytes: &[u8]) -> Self {
        let rgba = bytes
            .chunks_exact(channels)
            .flat_map(|pixel| match *pixel {
                [grey] => [grey, grey, grey, 255],
                [r, g, b] => [r, g, b, 255],
                [r, g, b, a] => [r, g, b, a],
                _ => unreachable!("the number of channels was checked"),
            })
            .collect();
        Self { width, height, rgba, caption: String::new() }
    }

    /// Sets the line below the image.
    #[must_use]
    pub fn caption(self, caption: impl Into<String>) -> Self {
        Self { caption: clean(&caption.into()), ..self }
    }

    /// An `<img>` in which each pixel is `scale` × `scale` pixels large, drawn smaller by `fit`, from 0 to 1.
    ///
    /// The pixels are repeated in the file, too: a notebook that was opened without being run loses the style
    /// `image-rendering`, and its small images would be blurred.
    pub(super) fn to_img(&self, scale: usize, fit: f64, alt: &str) -> String {
        let [width, height] =
            [self.width, self.height].map(|side| ((side * scale) as f64 * fit).round().max(1.0) as usize);
        format!(
            "<img src=\"data:image/png;base64,{}\" width=\"{width}\" height=\"{height}\" alt=\"{}\" \
             style=\"image-rendering:pixelated;display:inline-block;margin:0;max-width:none;background:none\">",
            base64::engine::general_purpose::STANDARD.encode(self.to_png(scale)),
            escape(alt)
        )
    }

    /// The image as a PNG file, each pixel repeated `scale` times both ways.
    fn to_png(&self, scale: usize) -> Vec<u8> {
        let opaque = self.rgba.chunks_exact(4).all(|pixel| pixel[3] == 255);
        let channels = if opaque { 3 } else { 4 };
        let mut bytes = Vec::with_capacity(self.rgba.len() * scale * scale);
        for row in self.rgba.chunks_exact(self.width * 4) {
            let wide: Vec<u8> = row
                .chunks_exact(4)
                .flat_map(|pixel| std::iter::repeat_n(&pixel[..channels], scale).flatten().copied())
                .collect();
            (0..scale).for_each(|_| bytes.extend_from_slice(&wide));
        }
        let colour = if opaque { ExtendedColorType::Rgb8 } else { ExtendedColorType::Rgba8 };
        let (width, height) = ((self.width * scale) as u32, (self.height * scale) as u32);
        let mut file = Vec::new();
        // Repeated rows cost next to nothing when each row is stored as its difference to the one above.
        let encoder =
            png::PngEncoder::new_with_quality(&mut file, png::CompressionType::Best, png::FilterType::Up);
        // Writing to memory fails only for images too large for PNG, and then there is no image to show.
        let _ = encoder.write_image(&bytes, width, height, colour);
        file
    }
}

impl From<&Image> for Tile {
    fn from(image: &Image) -> Self {
        Self::of(image.width(), image.height(), image.channels(), image.pixels())
    }
}

impl From<Image> for Tile {
    fn from(image: Image) -> Self {
        Self::from(&image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_repeated_exactly() {
        let tile = Tile::new(2, 1, 3, &[255, 0, 0, 0, 0, 255]).unwrap();
        let image = image::load_from_memory(&tile.to_png(3)).unwrap().to_rgb8();
        assert_eq!((image.width(), image.height()), (6, 3));
        for (x, _, pixel) in image.enumerate_pixels() {
            assert_eq!(pixel.0, if x < 3 { [255, 0, 0] } else { [0, 0, 255] });
        }
        assert_eq!(tile.to_png(3), tile.to_png(3));
    }

    #[test]
    fn an_image_must_have_its_bytes() {
        assert!(Tile::new(2, 2, 3, &[0; 12]).is_ok());
        for (width, height, channels, bytes) in
            [(2, 2, 3, 11), (0, 2, 3, 0), (2, 2, 2, 8), (usize::MAX, 2, 3, 6)]
        {
            assert!(Tile::new(width, height, channels, &vec![0; bytes]).is_err());
        }
    }

    #[test]
    fn attributes_are_escaped() {
        let html = Tile::new(1, 1, 1, &[7]).unwrap().to_img(2, 1.0, "a \"b\" <c>");
        assert!(html.contains("alt=\"a &quot;b&quot; &lt;c&gt;\"") && html.contains("width=\"2\""));
    }
}
