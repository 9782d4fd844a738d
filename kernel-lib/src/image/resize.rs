//! Images at another size.

use super::Image;
use crate::{Error, Result};
use igpt_formats::bilinear::{bilinear, longer_side};

/// No resized image has more bytes.
const LARGEST: usize = 1 << 30;

impl Image {
    /// The image at another size, proportions not kept. Equals `resize((width, height), BILINEAR)` of Pillow up to
    /// 12 in every byte: each new pixel is the mean of those below it, weighted by a triangle that is two new pixels wide
    /// (two old ones if the image grows).
    ///
    /// # Errors
    /// If the new image would be empty or larger than 1 GiB.
    pub fn resize(&self, width: usize, height: usize) -> Result<Self> {
        let bytes = |width: usize, height: usize| {
            let bytes = width.checked_mul(height)?.checked_mul(self.channels);
            bytes.filter(|bytes| (1..=LARGEST).contains(bytes))
        };
        // The second size is the one between the two passes.
        if bytes(width, height).is_none() || bytes(width, self.height).is_none() {
            return Err(Error::invalid(format!(
                "an image of {} × {} pixels cannot be resized to {width} × {height}: an image has at least one pixel \
                 and at most {LARGEST} bytes",
                self.width, self.height
            )));
        }
        let pixels = bilinear(&self.pixels, (self.width, self.height, self.channels), (width, height));
        Self::new(width, height, self.channels, pixels)
    }

    /// The image at the size at which its shorter side is `side` long, proportions kept. The longer side is
    /// `side * longer / shorter`, rounded down, as in torchvision's `Resize(side)`.
    ///
    /// # Errors
    /// As [`Image::resize`].
    pub fn resize_shorter_side(&self, side: usize) -> Result<Self> {
        let longer = |shorter, longer| longer_side(side, shorter, longer).unwrap_or(usize::MAX);
        match self.width <= self.height {
            true => self.resize(side, longer(self.width, self.height)),
            false => self.resize(longer(self.height, self.width), side),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use candle_core::Tensor;
    use serde::Deserialize;
    use std::path::{Path, PathBuf};

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fixture {
        #[allow(dead_code, reason = "for those who read the file")]
        made_by: String,
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Case {
        source: Option<Picture>,
        photograph: Option<String>,
        resized: Vec<Picture>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Picture {
        width: usize,
        height: usize,
        channels: Option<usize>,
        pixels: String,
    }

    fn bytes(base64: &str) -> Vec<u8> {
        base64::engine::general_purpose::STANDARD.decode(base64).unwrap()
    }

    fn repository() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn every_byte_equals_pillow() {
        let file = std::fs::read_to_string(repository().join("tests/fixtures/pil_resize.json")).unwrap();
        let fixture: Fixture = serde_json::from_str(&file).unwrap();
        let mut compared = 0;
        for case in fixture.cases {
            let source = match (&case.source, &case.photograph) {
                (Some(made), None) => {
                    Image::new(made.width, made.height, made.channels.unwrap(), bytes(&made.pixels)).unwrap()
                }
                (None, Some(name)) => Image::open(repository().join("data/photographs").join(name)).unwrap(),
                _ => panic!("a case has one source"),
            };
            for expected in &case.resized {
                let resized = source.resize(expected.width, expected.height).unwrap();
                assert!(
                    resized.pixels() == bytes(&expected.pixels),
                    "{source:?} to {} × {} differs from Pillow's",
                    expected.width,
                    expected.height
                );
                compared += 1;
            }
        }
        assert!(compared >= 40, "only {compared} images were compared");
    }

    #[test]
    fn the_cats_equal_the_published_processors() {
        let folder = repository().join("../shared/reference");
        let image = folder.join("000000039769.png");
        if !image.is_file() {
            eprintln!("skipped: {} is not there", image.display());
            return;
        }
        // (32, 32, 3)
        let expected = Tensor::read_npy(folder.join("cats_32_rgb.npy")).unwrap();
        let resized = Image::open(image).unwrap().to_rgb().resize(32, 32).unwrap();
        assert_eq!(expected.dims(), [32, 32, 3]);
        assert_eq!(resized.pixels(), expected.flatten_all().unwrap().to_vec1::<u8>().unwrap());
    }

    #[test]
    fn one_colour_stays_one_colour() {
        for value in [0, 1, 127, 254, 255] {
            let flat = Image::new(37, 29, 3, vec![value; 37 * 29 * 3]).unwrap();
            for (width, height) in [(5, 7), (100, 3), (38, 30), (1, 1)] {
                let resized = flat.resize(width, height).unwrap();
                assert!(resized.pixels().iter().all(|v| *v == value), "{value} at {width} × {height}");
            }
        }
    }

    #[test]
    fn sizes_that_are_none_are_refused() {
        let image = Image::new(2, 3, 1, vec![0; 6]).unwrap();
        for (width, height) in [(0, 1), (1, 0), (usize::MAX, 2), (1 << 29, 1), (1 << 15, 1 << 16)] {
            let error = image.resize(width, height).unwrap_err().to_string();
            assert!(error.starts_with("an image of 2 × 3 pixels cannot be resized to"), "{error}");
        }
    }

    #[test]
    fn the_shorter_side_is_what_was_asked_for() {
        let size = |width, height, side| {
            let image = Image::new(width, height, 1, vec![0; width * height]).unwrap();
            let resized = image.resize_shorter_side(side).unwrap();
            (resized.width(), resized.height())
        };
        assert_eq!(size(64, 48, 32), (42, 32));
        assert_eq!(size(48, 64, 32), (32, 42));
        assert_eq!(size(10, 10, 7), (7, 7));
        let image = Image::new(3, 2, 1, vec![0; 6]).unwrap();
        assert!(image.resize_shorter_side(0).is_err());
        assert!(image.resize_shorter_side(usize::MAX).is_err());
    }
}
