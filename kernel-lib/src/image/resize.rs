//! Resizing that equals the `Image.resize(size, Image.Resampling.BILINEAR)` of Pillow up to 12 in every byte.
//!
//! The published ImageGPT image processor resizes with Pillow, and one level more or less in a pixel can be another
//! colour of the palette. So not only the filter must be the same (a triangle, widened when the picture shrinks, so
//! that it averages all pixels that a new one covers), but also its arithmetic: weights in f64, rounded to fixed point
//! with 22 fractional bits, sums in integers, and a rounding to 8 bits between the horizontal and the vertical pass.
//!
//! Pillow 13 runs the vertical pass first where the height shrinks much more than the width, and then differs by one
//! level in some bytes. The published token ids are older, so here the horizontal pass is always first.

use super::Image;
use crate::{Error, Result};

/// Fractional bits of a weight. Of 32 bits, 8 are for the pixel and 2 are kept free by Pillow for filters with
/// negative lobes, which this one has not.
const FRACTION_BITS: u32 = 32 - 8 - 2;

/// No resized picture has more bytes.
const LARGEST: usize = 1 << 30;

/// `image` at `width` × `height` pixels.
pub(super) fn bilinear(image: &Image, width: usize, height: usize) -> Result<Image> {
    let bytes = |width: usize, height: usize| {
        width.checked_mul(height)?.checked_mul(image.channels).filter(|bytes| (1..=LARGEST).contains(bytes))
    };
    // The second size is the one between the two passes.
    if bytes(width, height).is_none() || bytes(width, image.height).is_none() {
        return Err(Error::invalid(format!(
            "a picture of {} × {} pixels cannot be resized to {width} × {height}: \
             a picture has at least one pixel and at most {LARGEST} bytes",
            image.width, image.height
        )));
    }
    // A side that keeps its length is not filtered; one that is filtered is rounded to 8 bits.
    let wide = if width == image.width { image.pixels.clone() } else { horizontal(image, width) };
    let pixels = if height == image.height {
        wide
    } else {
        vertical(&wide, width * image.channels, &windows(image.height, height))
    };
    Image::new(width, height, image.channels, pixels)
}

/// The old pixels that a new one is the mean of, along one side, and their weights in units of 2^-22.
struct Window {
    first: usize,
    weights: Vec<u32>,
}

/// The window of each of the `new` pixels of a side that is `old` pixels long.
fn windows(old: usize, new: usize) -> Vec<Window> {
    let scale = old as f64 / new as f64;
    // A new pixel covers `scale` old ones. When the picture grows, the triangle is as wide as two old ones.
    let support = scale.max(1.0);
    let per_support = 1.0 / support;
    let window = |at: usize| {
        let center = (at as f64 + 0.5) * scale;
        // Old pixels whose centres lie within `support` of `center`: casts truncate, and negative ones become 0.
        let first = (center - support + 0.5) as usize;
        let end = ((center + support + 0.5) as usize).min(old);
        let weights: Vec<f64> =
            (first..end).map(|x| (1.0 - ((x as f64 - center + 0.5) * per_support).abs()).max(0.0)).collect();
        let sum: f64 = weights.iter().sum();
        let one = f64::from(1u32 << FRACTION_BITS);
        Window { first, weights: weights.iter().map(|w| (w / sum * one + 0.5) as u32).collect() }
    };
    (0..new).map(window).collect()
}

/// A weighted sum in units of 2^-22, rounded to a byte. It starts at one half.
fn to_byte(sum: u32) -> u8 {
    (sum >> FRACTION_BITS).min(255) as u8
}
const HALF: u32 = 1 << (FRACTION_BITS - 1);

/// (H, W, C) to (H, width, C)
fn horizontal(image: &Image, width: usize) -> Vec<u8> {
    let channels = image.channels;
    let windows = windows(image.width, width);
    let mut pixels = Vec::with_capacity(image.height * width * channels);
    for row in image.pixels.chunks_exact(image.width * channels) {
        for window in &windows {
            let part = row[window.first * channels..].chunks_exact(channels);
            let mut sums = [HALF; 3];
            for (pixel, weight) in part.zip(&window.weights) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += u32::from(*value) * weight;
                }
            }
            pixels.extend(sums[..channels].iter().map(|sum| to_byte(*sum)));
        }
    }
    pixels
}

/// Rows of `width` bytes to one row for each window.
fn vertical(rows: &[u8], width: usize, windows: &[Window]) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(windows.len() * width);
    let mut sums = vec![HALF; width];
    for window in windows {
        sums.fill(HALF);
        for (row, weight) in rows.chunks_exact(width).skip(window.first).zip(&window.weights) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += u32::from(*value) * weight;
            }
        }
        pixels.extend(sums.iter().map(|sum| to_byte(*sum)));
    }
    pixels
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
        assert!(compared >= 40, "only {compared} pictures were compared");
    }

    #[test]
    fn the_cats_equal_the_published_processors() {
        let folder = repository().join("../shared/reference");
        let picture = folder.join("000000039769.png");
        if !picture.is_file() {
            eprintln!("skipped: {} is not there", picture.display());
            return;
        }
        // (32, 32, 3)
        let expected = Tensor::read_npy(folder.join("cats_32_rgb.npy")).unwrap();
        let resized = Image::open(picture).unwrap().to_rgb().resize(32, 32).unwrap();
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
        let picture = Image::new(2, 3, 1, vec![0; 6]).unwrap();
        for (width, height) in [(0, 1), (1, 0), (usize::MAX, 2), (1 << 29, 1), (1 << 15, 1 << 16)] {
            let error = picture.resize(width, height).unwrap_err().to_string();
            assert!(error.starts_with("a picture of 2 × 3 pixels cannot be resized to"), "{error}");
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
