//! Images: 8 bits per channel, grey or red-green-blue.

mod resize;

use crate::{Error, Result};
use igpt_formats::image_file;
use std::fmt;
use std::path::Path;

/// An image of `height` rows of `width` pixels, each of 1 (grey) or 3 (red, green, blue) bytes.
///
/// The bytes lie as the model reads them: row by row from the top, in a row from the left, the channels of a pixel
/// side by side, (H, W, C). No image is empty.
///
/// ```
/// use igpt::prelude::*;
///
/// let cup = igpt::data::photograph("coffee")?.image;
/// let small = cup.center_crop_square().resize(32, 32)?;
/// let grid = ImageGrid::new().row("", [&small, &small.flip_horizontal()]);
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    width: usize,
    height: usize,
    channels: usize,
    /// (H, W, C)
    pixels: Vec<u8>,
}

impl Image {
    /// An image from its bytes, (H, W, C).
    ///
    /// # Errors
    /// If the image is empty, has neither 1 nor 3 channels, or there are not `width * height * channels` bytes.
    pub fn new(width: usize, height: usize, channels: usize, pixels: Vec<u8>) -> Result<Self> {
        let expected = width.checked_mul(height).and_then(|n| n.checked_mul(channels));
        if width == 0 || height == 0 || !matches!(channels, 1 | 3) || expected != Some(pixels.len()) {
            return Err(Error::invalid(format!(
                "{} bytes are not an image of {width} × {height} pixels with {channels} channels (1 or 3)",
                pixels.len()
            )));
        }
        Ok(Self { width, height, channels, pixels })
    }

    /// Reads a PNG or JPEG file; see [`Image::decode`] for what becomes of it.
    ///
    /// # Errors
    /// If the file cannot be read or decoded.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        Self::decode(&bytes, path)
    }

    /// Decodes a PNG or JPEG file that is in memory; `name` is what errors call it.
    ///
    /// What has colours becomes red-green-blue (palettes and CMYK too), what has none becomes grey. Opacity is dropped,
    /// as Pillow's `convert("RGB")` does: a transparent pixel has the colour that the file gives it. 16 bits become 8 by
    /// rounding v / 257. EXIF and colour profiles are ignored: the rows are as they are stored, also where EXIF asks
    /// for a rotation. JPEG gives the bytes that libjpeg gives, and so Pillow. `docs/images.md` has a table of kinds.
    ///
    /// # Errors
    /// If the bytes are no PNG or JPEG file, are cut or damaged, or decode to more than 512 MiB.
    pub fn decode(bytes: &[u8], name: impl AsRef<Path>) -> Result<Self> {
        let wrong = |what: String| Error::format(name.as_ref(), what);
        let image = image_file::decode(bytes).map_err(|e| wrong(e.to_string()))?;
        Self::new(image.width, image.height, image.channels, image.pixels).map_err(|e| wrong(e.to_string()))
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Bytes of a pixel: 1 (grey) or 3 (red, green, blue).
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// All bytes, (H, W, C).
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// All bytes, (H, W, C), without a copy.
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }

    /// The channels of the pixel in column `x` and row `y`, if there is one.
    pub fn pixel(&self, x: usize, y: usize) -> Option<&[u8]> {
        if x >= self.width || y >= self.height {
            return None;
        }
        let at = (y * self.width + x) * self.channels;
        self.pixels.get(at..at + self.channels)
    }

    /// The same image with three channels: grey becomes red = green = blue.
    pub fn to_rgb(&self) -> Self {
        match self.channels {
            1 => Self {
                channels: 3,
                pixels: self.pixels.iter().flat_map(|grey| [*grey; 3]).collect(),
                ..*self
            },
            _ => self.clone(),
        }
    }

    /// The part of `width` × `height` pixels whose upper left corner is in column `x` and row `y`.
    ///
    /// # Errors
    /// If the part is empty or not inside the image.
    pub fn crop(&self, x: usize, y: usize, width: usize, height: usize) -> Result<Self> {
        let inside = |at: usize, size: usize, all: usize| size > 0 && at < all && size <= all - at;
        if !inside(x, width, self.width) || !inside(y, height, self.height) {
            return Err(Error::invalid(format!(
                "{width} × {height} pixels at column {x}, row {y} are no part of an image of {} × {}",
                self.width, self.height
            )));
        }
        let rows = self.pixels.chunks_exact(self.width * self.channels).skip(y).take(height);
        let part = x * self.channels..(x + width) * self.channels;
        let pixels = rows.flat_map(|row| &row[part.clone()]).copied().collect();
        Self::new(width, height, self.channels, pixels)
    }

    /// The largest square in the middle. Where it cannot be quite in the middle, it is half a pixel to the left or up.
    pub fn center_crop_square(&self) -> Self {
        let side = self.width.min(self.height);
        let (x, y) = ((self.width - side) / 2, (self.height - side) / 2);
        // Such a square is always inside.
        self.crop(x, y, side, side).unwrap_or_else(|_| self.clone())
    }

    /// The mean of each square of `side` × `side` pixels, so that 28 × 28 becomes 14 × 14 with `side` 2. Halves are
    /// rounded up.
    ///
    /// # Errors
    /// If the image cannot be cut into such squares.
    pub fn average_pool(&self, side: usize) -> Result<Self> {
        if side == 0 || !self.width.is_multiple_of(side) || !self.height.is_multiple_of(side) {
            return Err(Error::invalid(format!(
                "an image of {} × {} pixels cannot be cut into squares of {side} × {side}",
                self.width, self.height
            )));
        }
        let (width, height, channels) = (self.width / side, self.height / side, self.channels);
        let count = (side * side) as u64;
        let mut pixels = Vec::with_capacity(width * height * channels);
        let mut sums = vec![0u64; width * channels];
        // `side` rows at a time: (side, W, C) to (W / side, C)
        for rows in self.pixels.chunks_exact(side * self.width * channels) {
            sums.fill(0);
            for (at, value) in rows.iter().enumerate() {
                let x = at / channels % self.width;
                sums[x / side * channels + at % channels] += u64::from(*value);
            }
            pixels.extend(sums.iter().map(|sum| ((sum + count / 2) / count) as u8));
        }
        Self::new(width, height, channels, pixels)
    }

    /// The mirror image, left and right exchanged.
    pub fn flip_horizontal(&self) -> Self {
        let rows = self.pixels.chunks_exact(self.width * self.channels);
        let pixels = rows.flat_map(|row| row.chunks_exact(self.channels).rev().flatten()).copied().collect();
        Self { pixels, ..*self }
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The bytes themselves would fill a screen and say nothing.
        write!(f, "Image({})", self.size())
    }
}

/// What a number of channels is called.
pub(crate) fn colours(channels: usize) -> &'static str {
    if channels == 1 { "grey" } else { "RGB" }
}

impl Image {
    /// `28 × 28, grey`
    pub(crate) fn size(&self) -> String {
        format!("{} × {}, {}", self.width, self.height, colours(self.channels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::png::PngEncoder;
    use image::{ExtendedColorType, ImageEncoder as _};

    fn image(width: usize, height: usize, channels: usize, pixels: &[u8]) -> Image {
        Image::new(width, height, channels, pixels.to_vec()).unwrap()
    }

    fn png(bytes: &[u8], width: u32, height: u32, colour: ExtendedColorType) -> Vec<u8> {
        let mut file = Vec::new();
        PngEncoder::new(&mut file).write_image(bytes, width, height, colour).unwrap();
        file
    }

    #[test]
    fn an_image_must_have_its_bytes() {
        assert!(Image::new(2, 2, 3, vec![0; 12]).is_ok());
        for (width, height, channels, bytes) in
            [(2, 2, 3, 11), (0, 2, 3, 0), (2, 0, 1, 0), (2, 2, 2, 8), (1, 1, 4, 4), (usize::MAX, 2, 3, 6)]
        {
            let error = Image::new(width, height, channels, vec![0; bytes]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{bytes} bytes are not")), "{error}");
        }
    }

    #[test]
    fn files_of_every_kind_are_decoded() {
        let decode = |file: &[u8]| Image::decode(file, "test.png").unwrap();
        let grey = image(2, 1, 1, &[7, 200]);
        assert_eq!(decode(&png(&[7, 200], 2, 1, ExtendedColorType::L8)), grey);
        assert_eq!(decode(&png(&[7, 0, 200, 99], 2, 1, ExtendedColorType::La8)), grey);
        // Opacity is dropped, the colours of transparent pixels are kept.
        let rgb = image(2, 1, 3, &[1, 2, 3, 250, 128, 0]);
        assert_eq!(decode(&png(rgb.pixels(), 2, 1, ExtendedColorType::Rgb8)), rgb);
        assert_eq!(decode(&png(&[1, 2, 3, 0, 250, 128, 0, 9], 2, 1, ExtendedColorType::Rgba8)), rgb);
        // The encoder takes 16 bits in the machine's order.
        let wide: Vec<u8> =
            [0u16, 128, 129, 257, 40_000, 65_535].iter().flat_map(|v| v.to_ne_bytes()).collect();
        let rounded = [0, 0, 1, 1, 156, 255];
        assert_eq!(decode(&png(&wide, 6, 1, ExtendedColorType::L16)), image(6, 1, 1, &rounded));
        assert_eq!(decode(&png(&wide, 2, 1, ExtendedColorType::Rgb16)), image(2, 1, 3, &rounded));
    }

    /// Every kind is in `formats/tests/images.rs`.
    #[test]
    fn jpeg_is_decoded_as_pillow_does() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/images");
        let decoded = Image::open(folder.join("files/jpeg-colours-4-2-0.jpg")).unwrap();
        let kinds = std::fs::read_to_string(folder.join("kinds.json")).unwrap();
        let kinds: serde_json::Value = serde_json::from_str(&kinds).unwrap();
        let mut kinds = kinds["kinds"].as_array().unwrap().iter();
        let pillows = kinds.find(|kind| kind["kind"] == "JPEG, colours 4:2:0").unwrap();
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, decoded.pixels());
        assert_eq!(
            (decoded.size(), pillows["pixels"].as_str().unwrap()),
            ("17 × 13, RGB".into(), &encoded[..])
        );
    }

    #[test]
    fn damaged_files_are_named() {
        let good = png(&[0; 3000], 50, 20, ExtendedColorType::Rgb8);
        assert!(Image::decode(&good, "x").is_ok());
        for length in 0..good.len() {
            let error = Image::decode(&good[..length], "x/y.png").unwrap_err().to_string();
            assert!(error.starts_with("x/y.png: "), "{error}");
        }
        let error = Image::decode(b"GIF89a", "x.gif").unwrap_err().to_string();
        assert!(
            error.starts_with("x.gif: is a GIF image, which is not read here; PNG and JPEG are: "),
            "{error}"
        );
        assert!(Image::open("no/such.png").unwrap_err().to_string().starts_with("no/such.png: "));
    }

    #[test]
    fn a_header_cannot_ask_for_all_memory() {
        let mut file = png(&[0; 3], 1, 1, ExtendedColorType::Rgb8);
        // The width in IHDR becomes 2^30; the checksum is made right again.
        file[16..20].copy_from_slice(&(1u32 << 30).to_be_bytes());
        let mut checksum = flate2::Crc::new();
        checksum.update(&file[12..29]);
        file[29..33].copy_from_slice(&checksum.sum().to_be_bytes());
        let error = Image::decode(&file, "x.png").unwrap_err().to_string();
        assert!(error.starts_with("x.png: says that it has 1073741824 × 1 pixels, more than "), "{error}");
    }

    #[test]
    fn parts_and_mirrors() {
        let original = image(3, 2, 3, &(0..18).collect::<Vec<u8>>());
        assert_eq!(original.crop(1, 1, 2, 1).unwrap(), image(2, 1, 3, &[12, 13, 14, 15, 16, 17]));
        assert_eq!(original.crop(0, 0, 3, 2).unwrap(), original);
        for (x, y, width, height) in [
            (3, 0, 1, 1),
            (2, 0, 2, 1),
            (0, 0, 0, 1),
            (0, 1, 1, 2),
            (usize::MAX, 0, 1, 1),
            (0, 0, usize::MAX, 1),
        ] {
            assert!(original.crop(x, y, width, height).is_err());
        }
        assert_eq!(original.center_crop_square(), original.crop(0, 0, 2, 2).unwrap());
        let tall = image(1, 4, 1, &[1, 2, 3, 4]);
        assert_eq!(tall.center_crop_square(), image(1, 1, 1, &[2]));
        let mirror = image(3, 2, 3, &[6, 7, 8, 3, 4, 5, 0, 1, 2, 15, 16, 17, 12, 13, 14, 9, 10, 11]);
        assert_eq!(original.flip_horizontal(), mirror);
        assert_eq!(mirror.flip_horizontal(), original);
        assert_eq!(tall.to_rgb().pixels(), [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]);
        assert_eq!(original.pixel(2, 1), Some(&[15, 16, 17][..]));
        for (x, y) in [(3, 0), (0, 2), (0, usize::MAX), (usize::MAX, 0), (usize::MAX, usize::MAX)] {
            assert_eq!(original.pixel(x, y), None);
        }
    }

    #[test]
    fn means_of_squares_round_halves_up() {
        let original = image(4, 2, 1, &[0, 1, 9, 9, 0, 1, 9, 8]);
        assert_eq!(original.average_pool(2).unwrap(), image(2, 1, 1, &[1, 9]));
        assert_eq!(original.average_pool(1).unwrap(), original);
        let colours = image(2, 2, 3, &[0, 10, 255, 1, 20, 255, 2, 30, 255, 3, 41, 255]);
        assert_eq!(colours.average_pool(2).unwrap(), image(1, 1, 3, &[2, 25, 255]));
        for side in [0, 3, 4] {
            assert!(original.average_pool(side).is_err());
        }
    }
}
