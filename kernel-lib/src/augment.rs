//! Changing images at random, so that a network does not learn them by heart (section 3.1).

use crate::data::Images;
use crate::palette::Palette;
use crate::rng::Rng;
use crate::train::Examples;
use crate::{Error, Image, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The longest that the shorter side of an image may become.
const LARGEST: usize = 1 << 12;

/// How images are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Augmentation {
    /// Not at all.
    #[default]
    None,
    /// Mirrored with probability ½, shifted by up to `shift` pixels to either side and up or down, each shift equally
    /// likely, with black (0) coming in; then each square of `pool` × `pool` pixels becomes its mean, halves
    /// rounded up. "Fashion-MNIST, randomly translated" is this with 4 and 2: garments that always lie in the middle
    /// would be too easy for raw pixels.
    RandomTranslation {
        /// The largest shift.
        shift: usize,
        /// The side of the squares; 1 leaves the size as it is.
        pool: usize,
    },
    /// Padded by reflection on every side, mirrored with probability ½, and cropped at random to the size it had
    /// (section 3.1, for CIFAR, with 4 pixels).
    Crop {
        /// Pixels of padding on each side.
        padding: usize,
    },
    /// Resized so that the shorter side has a random length between `shorter`'s two, each equally likely, and then a random
    /// square of `crop` pixels of it; when judged, resized so that the shorter side is `crop`, and cropped in the centre
    /// (section 3.1, for ImageNet, with 256, 384 and 224; no mirroring is mentioned). Before context reduction.
    ResizedCrop {
        /// The shortest and the longest that the shorter side becomes.
        shorter: [usize; 2],
        /// The side of the square.
        crop: usize,
    },
}

impl std::fmt::Display for Augmentation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "as they are",
            Self::RandomTranslation { .. } => "randomly translated",
            Self::Crop { .. } => "padded by reflection, cropped and mirrored at random",
            Self::ResizedCrop { .. } => "resized and cropped at random",
        })
    }
}

impl Augmentation {
    /// Fashion-MNIST, randomly translated: 28 × 28 pixels become 14 × 14.
    pub const fn random_translation() -> Self {
        Self::RandomTranslation { shift: 4, pool: 2 }
    }

    /// CIFAR's padding, crop and mirror (section 3.1).
    pub const fn cifar() -> Self {
        Self::Crop { padding: 4 }
    }

    /// ImageNet's resizing and crop (section 3.1).
    pub const fn imagenet() -> Self {
        Self::ResizedCrop { shorter: [256, 384], crop: 224 }
    }

    /// Checks that images of this size can be changed so.
    ///
    /// # Errors
    /// If they cannot.
    pub fn check(&self, width: usize, height: usize) -> Result<()> {
        match *self {
            Self::RandomTranslation { shift, .. } if shift > width.max(height) => {
                Err(Error::invalid(format!(
                    "shifts of up to {shift} pixels move images of {width} × {height} out of sight: shift = {} moves them \
                 as far as can be seen",
                    width.max(height)
                )))
            }
            Self::RandomTranslation { pool, .. }
                if pool == 0 || !width.is_multiple_of(pool) || !height.is_multiple_of(pool) =>
            {
                Err(Error::invalid(format!(
                    "an image of {width} × {height} pixels cannot be cut into squares of {pool} × {pool}"
                )))
            }
            Self::Crop { padding } if padding >= width.min(height) => Err(Error::invalid(format!(
                "{padding} pixels cannot be padded by reflection to {width} × {height}"
            ))),
            Self::ResizedCrop { shorter: [least, most], crop }
                if crop == 0 || least < crop || most < least || most > LARGEST =>
            {
                Err(Error::invalid(format!(
                    "a shorter side of {least} to {most} pixels, and squares of {crop} cut out of that: each is at least as \
                     large as the next, and none is 0 or above {LARGEST}"
                )))
            }
            _ => Ok(()),
        }
    }

    /// An image, changed as `rng` says.
    ///
    /// # Errors
    /// If the image's size does not allow it.
    pub fn apply(&self, image: &Image, rng: &mut Rng) -> Result<Image> {
        self.check(image.width(), image.height())?;
        match *self {
            Self::None => Ok(image.clone()),
            Self::RandomTranslation { shift, pool } => {
                let (x, y, mirror) = (rng.below(2 * shift + 1), rng.below(2 * shift + 1), rng.below(2) == 1);
                let image = if mirror { image.flip_horizontal() } else { image.clone() };
                // The window that an image with `shift` black pixels around it is seen through.
                let black = |_: isize, _: usize| None;
                window(&image, shift, (x, y), black)?.average_pool(pool)
            }
            Self::Crop { padding } => {
                let (x, y, mirror) =
                    (rng.below(2 * padding + 1), rng.below(2 * padding + 1), rng.below(2) == 1);
                let image = if mirror { image.flip_horizontal() } else { image.clone() };
                window(&image, padding, (x, y), reflected)
            }
            Self::ResizedCrop { shorter: [least, most], crop } => {
                let image = image.resize_shorter_side(least + rng.below(most - least + 1))?;
                let (x, y) = (rng.below(image.width() - crop + 1), rng.below(image.height() - crop + 1));
                image.crop(x, y, crop, crop)
            }
        }
    }

    /// An image as it is judged, where that differs from how it is changed at random.
    fn judged(&self, image: &Image) -> Option<Result<Image>> {
        match *self {
            Self::Crop { .. } => Some(Ok(image.clone())),
            Self::ResizedCrop { crop, .. } => Some(image.resize_shorter_side(crop).and_then(|image| {
                image.crop((image.width() - crop) / 2, (image.height() - crop) / 2, crop, crop)
            })),
            Self::None | Self::RandomTranslation { .. } => None,
        }
    }

    /// Images `picks` as step `step` of a run with this seed sees them. Each is keyed by seed, step and its number.
    ///
    /// # Errors
    /// If there is no such image, or its size does not allow it.
    pub fn fresh(&self, images: &Images, picks: &[usize], seed: u64, step: u64) -> Result<Images> {
        self.keyed(images, picks, |image| Rng::keyed(seed, "augmentation", [step, image as u64]))
    }

    /// All images as they are evaluated, always the same. Translated images have a translation each, keyed by
    /// seed and number: a network that has learnt from translated images is tested on translated images. Crops at random are for
    /// training only: CIFAR's change nothing here, and ImageNet's are in the centre.
    ///
    /// # Errors
    /// If the images' size does not allow it.
    pub fn fixed(&self, images: &Images, seed: u64) -> Result<Images> {
        self.check(images.width(), images.height())?;
        let picks: Vec<usize> = (0..images.len()).collect();
        let rng = |image: usize| Rng::keyed(seed, "fixed augmentation", [0, image as u64]);
        Self::changed(images, &picks, |number, image| {
            self.judged(image).unwrap_or_else(|| self.apply(image, &mut rng(number)))
        })
    }

    fn keyed(&self, images: &Images, picks: &[usize], rng: impl Fn(usize) -> Rng + Sync) -> Result<Images> {
        Self::changed(images, picks, |number, image| self.apply(image, &mut rng(number)))
    }

    fn changed(
        images: &Images,
        picks: &[usize],
        change: impl Fn(usize, &Image) -> Result<Image> + Sync,
    ) -> Result<Images> {
        let changed: Vec<Image> =
            picks.par_iter().map(|image| change(*image, &images.get(*image)?)).collect::<Result<_>>()?;
        Images::gather(changed)
    }
}

/// The coordinate that is mirrored at the border: -1 is 1, and `size` is `size - 2`. The border itself is not repeated
/// (NumPy's and PyTorch's `reflect`).
fn reflected(coordinate: isize, size: usize) -> Option<usize> {
    let coordinate = coordinate.unsigned_abs();
    Some(if coordinate < size { coordinate } else { 2 * (size - 1) - coordinate })
}

/// What is seen of an image with `by` pixels more on each side through a window of the image's own size, whose upper
/// left corner is at column and row `corner` of all that. `outside` says which coordinate stands for one outside; none is
/// black. Only what is seen is made, so it is no larger than the image.
fn window(
    image: &Image,
    by: usize,
    corner: (usize, usize),
    outside: fn(isize, usize) -> Option<usize>,
) -> Result<Image> {
    let (width, height, channels) = (image.width(), image.height(), image.channels());
    let coordinate = |padded: usize, size: usize| match padded.checked_sub(by) {
        Some(coordinate) if coordinate < size => Some(coordinate),
        _ => outside(padded as isize - by as isize, size),
    };
    let mut pixels = Vec::with_capacity(width * height * channels);
    for y in corner.1..corner.1 + height {
        for x in corner.0..corner.0 + width {
            let from = coordinate(x, width).zip(coordinate(y, height)).and_then(|(x, y)| image.pixel(x, y));
            match from {
                Some(pixel) => pixels.extend_from_slice(pixel),
                None => pixels.extend(std::iter::repeat_n(0, channels)),
            }
        }
    }
    Image::new(width, height, channels, pixels)
}

/// Images to train on that are changed anew at each step, and then encoded.
#[derive(Debug, Clone)]
pub struct Augmented {
    images: Arc<Images>,
    augmentation: Augmentation,
    side: Option<usize>,
    palette: Palette,
    seed: u64,
}

impl Augmented {
    /// These images, changed so, in the colours of this palette, with this seed.
    ///
    /// # Errors
    /// If the palette's colours are not the images', grey or in colour.
    pub fn new(images: Arc<Images>, augmentation: Augmentation, palette: Palette, seed: u64) -> Result<Self> {
        palette.check_channels(images.channels())?;
        Ok(Self { images, augmentation, side: None, palette, seed })
    }

    /// The same images, resized to `side` × `side` pixels after they were changed, if they have another size then: a
    /// network of `side`² tokens reads whole images only so.
    #[must_use]
    pub fn at_side(self, side: usize) -> Self {
        Self { side: Some(side), ..self }
    }
}

impl Examples for Augmented {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn tokens(&self, step: u64, images: &[usize]) -> Result<Vec<u16>> {
        let changed = self.augmentation.fresh(&self.images, images, self.seed, step)?;
        let seen = match self.side {
            Some(side) => changed.at_side(side)?,
            None => changed,
        };
        self.palette.encode(seen.all_pixels())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image whose pixels are all different.
    fn image(side: usize, channels: usize) -> Image {
        Image::new(side, side, channels, (0..side * side * channels).map(|i| (i + 1) as u8).collect())
            .unwrap()
    }

    fn rng(i: u64) -> Rng {
        Rng::keyed(1, "test", [i, 0])
    }

    #[test]
    fn placements_are_all_shifts_of_both_mirrors() {
        let image = image(5, 3);
        let mut seen = std::collections::BTreeMap::new();
        let augmentation = Augmentation::RandomTranslation { shift: 1, pool: 1 };
        for i in 0..2000 {
            *seen.entry(augmentation.apply(&image, &mut rng(i)).unwrap().into_pixels()).or_insert(0) += 1;
        }
        // By hand: each of the 2 · 3 · 3.
        let mut expected = Vec::new();
        for image in [image.clone(), image.flip_horizontal()] {
            for (dx, dy) in (-1..=1).flat_map(|dx| (-1..=1).map(move |dy| (dx, dy))) {
                let mut pixels = Vec::new();
                for (y, x) in (0..5isize).flat_map(|y| (0..5isize).map(move |x| (y, x))) {
                    let from = usize::try_from(x - dx).ok().zip(usize::try_from(y - dy).ok());
                    let pixel = from.and_then(|(x, y)| image.pixel(x, y)).unwrap_or(&[0, 0, 0]);
                    pixels.extend_from_slice(pixel);
                }
                expected.push(pixels);
            }
        }
        expected.sort();
        assert_eq!(seen.keys().cloned().collect::<Vec<_>>(), expected);
        // Each 111 times; five standard deviations are 51.
        assert!(seen.values().all(|count| (60..=162).contains(count)), "{:?}", seen.values());
    }

    #[test]
    fn placed_fashion_mnist_has_14_by_14_pixels_whose_halves_are_rounded_up() {
        let image = Image::new(28, 28, 1, vec![10; 784]).unwrap();
        let translated = Augmentation::random_translation().apply(&image, &mut rng(0)).unwrap();
        assert_eq!((translated.width(), translated.height(), translated.channels()), (14, 14, 1));
        // Squares hold 4, 2 or 1 of the image's pixels: means 10, 5, 2.5, or none.
        assert!(translated.pixels().iter().all(|pixel| [0, 3, 5, 10].contains(pixel)));
        assert!(Augmentation::RandomTranslation { shift: 1, pool: 3 }.apply(&image, &mut rng(0)).is_err());
    }

    #[test]
    fn crops_are_all_windows_of_the_reflected_image() {
        let image = image(4, 1);
        // NumPy: np.pad(np.arange(1, 17).reshape(4, 4), 2, mode="reflect")
        #[rustfmt::skip]
        let reflected: [u8; 64] = [
            11, 10,  9, 10, 11, 12, 11, 10,
             7,  6,  5,  6,  7,  8,  7,  6,
             3,  2,  1,  2,  3,  4,  3,  2,
             7,  6,  5,  6,  7,  8,  7,  6,
            11, 10,  9, 10, 11, 12, 11, 10,
            15, 14, 13, 14, 15, 16, 15, 14,
            11, 10,  9, 10, 11, 12, 11, 10,
             7,  6,  5,  6,  7,  8,  7,  6,
        ];
        let mut windows = std::collections::BTreeSet::new();
        for (x, y) in (0..5).flat_map(|x| (0..5).map(move |y| (x, y))) {
            let rows = (y..y + 4).map(|y| reflected[y * 8 + x..y * 8 + x + 4].to_vec());
            windows.insert(rows.clone().flatten().collect::<Vec<u8>>());
            windows.insert(rows.flat_map(|row| row.into_iter().rev()).collect());
        }
        let crop = Augmentation::Crop { padding: 2 };
        let seen: std::collections::BTreeSet<_> =
            (0..2000).map(|i| crop.apply(&image, &mut rng(i)).unwrap().into_pixels()).collect();
        assert_eq!(seen, windows);
        let error = Augmentation::Crop { padding: 4 }.apply(&image, &mut rng(0)).unwrap_err().to_string();
        assert!(error.contains("4 pixels cannot be padded by reflection to 4 × 4"), "{error}");
    }

    fn examples() -> (Arc<Images>, Augmented) {
        let images = Images::gather((0..6).map(|i| {
            let pixels = image(6, 1).pixels().iter().map(|pixel| pixel + 36 * i).collect();
            Image::new(6, 6, 1, pixels).unwrap()
        }));
        let images = Arc::new(images.unwrap());
        // All 256 greys: a token is its pixel.
        let greys = Palette::new(1, (0..256).map(|grey| grey as f32 / 127.5 - 1.0).collect()).unwrap();
        let translated = Augmentation::RandomTranslation { shift: 2, pool: 2 };
        let augmented = Augmented::new(images.clone(), translated, greys, 7).unwrap();
        (images, augmented)
    }

    #[test]
    fn examples_are_keyed_by_step_and_image() {
        let (images, examples) = examples();
        let all = examples.tokens(3, &[0, 1, 2, 3, 4, 5]).unwrap();
        assert_eq!(all.len(), 6 * 9);
        assert_eq!(examples.tokens(3, &[4]).unwrap(), all[36..45]);
        assert_ne!(examples.tokens(4, &[0, 1, 2, 3, 4, 5]).unwrap(), all);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        assert_eq!(pool.install(|| examples.tokens(3, &[0, 1, 2, 3, 4, 5])).unwrap(), all);
        assert!(examples.tokens(0, &[6]).is_err());
        let pixels = examples.augmentation.fresh(&images, &[4], 7, 3).unwrap();
        assert!(
            all[36..45].iter().zip(pixels.all_pixels()).all(|(token, pixel)| *token == u16::from(*pixel))
        );
        let colours = Palette::new(3, vec![0.0; 3]).unwrap();
        let error = Augmented::new(images, Augmentation::None, colours, 7).unwrap_err().to_string();
        assert!(error.contains("grey images, and a palette of colours"), "{error}");
    }

    #[test]
    fn images_are_resized_to_what_the_network_reads_after_they_were_changed() {
        let (images, examples) = examples();
        let changed = examples.augmentation.fresh(&images, &[4, 1], 7, 3).unwrap();
        let by_hand = changed.map(|image| image.resize(2, 2)).unwrap();
        let expected: Vec<u16> = by_hand.all_pixels().iter().copied().map(u16::from).collect();
        assert_eq!(examples.clone().at_side(2).tokens(3, &[4, 1]).unwrap(), expected);
        // The good twin: what has the size already keeps its bytes.
        assert_eq!(
            examples.clone().at_side(3).tokens(3, &[4, 1]).unwrap(),
            examples.tokens(3, &[4, 1]).unwrap()
        );
    }

    #[test]
    fn shifts_and_paddings_beyond_the_image_are_errors() {
        let image = image(6, 1);
        for beyond in [7, 4_000_000_000, i64::MAX as usize, usize::MAX] {
            let translated = Augmentation::RandomTranslation { shift: beyond, pool: 1 };
            let error = translated.apply(&image, &mut rng(0)).unwrap_err().to_string();
            assert!(error.contains(&format!("shifts of up to {beyond} pixels")), "{error}");
            assert!(error.contains("shift = 6"), "{error}");
            let crop = Augmentation::Crop { padding: beyond };
            assert!(crop.apply(&image, &mut rng(0)).is_err());
            let pool = Augmentation::RandomTranslation { shift: 0, pool: beyond };
            assert!(pool.apply(&image, &mut rng(0)).is_err());
        }
        // The good twins. As far as can be: some are all black.
        let far = Augmentation::RandomTranslation { shift: 6, pool: 1 };
        let seen: Vec<Image> = (0..200).map(|i| far.apply(&image, &mut rng(i)).unwrap()).collect();
        assert!(seen.iter().any(|image| image.pixels().iter().all(|pixel| *pixel == 0)));
        assert!(seen.iter().any(|image| image.pixels().iter().filter(|pixel| **pixel > 0).count() > 18));
        assert!(Augmentation::Crop { padding: 5 }.apply(&image, &mut rng(0)).is_ok());
    }

    #[test]
    fn evaluation_is_fixed() {
        let (images, _) = examples();
        let translated = Augmentation::RandomTranslation { shift: 2, pool: 2 };
        assert_eq!(translated.fixed(&images, 1).unwrap(), translated.fixed(&images, 1).unwrap());
        assert_ne!(translated.fixed(&images, 1).unwrap(), translated.fixed(&images, 2).unwrap());
        assert_eq!(Augmentation::cifar().fixed(&images, 1).unwrap(), *images);
        assert_ne!(
            Augmentation::Crop { padding: 2 }.fresh(&images, &[0], 1, 0).unwrap(),
            images.select(&[0]).unwrap()
        );
    }

    #[test]
    fn unknown_settings_are_errors() {
        let read = |text: &str| toml::from_str::<std::collections::BTreeMap<String, Augmentation>>(text);
        let good = read(
            "a = \"none\"\nb = { random_translation = { shift = 4, pool = 2 } }\nc = { crop = { padding = 4 } }",
        );
        assert_eq!(good.unwrap()["b"], Augmentation::random_translation());
        assert!(read("b = { random_translation = { shift = 4, pool = 2, tint = 1 } }").is_err());
        assert!(read("b = { translated = { shift = 4 } }").is_err());
    }

    #[test]
    fn imagenets_crops_are_of_the_paper() {
        let augmentation = Augmentation::ResizedCrop { shorter: [8, 12], crop: 6 };
        // A wide image whose pixels say where they are.
        let image = Image::new(32, 16, 1, (0..32 * 16).map(|i| (i % 32 * 8) as u8).collect()).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for i in 0..200 {
            let cropped = augmentation.apply(&image, &mut rng(i)).unwrap();
            assert_eq!((cropped.width(), cropped.height()), (6, 6));
            // As many pixels of the source as the shorter side says: the slope tells the length.
            let row = &cropped.pixels()[..6];
            seen.insert((row[4] - row[1]) / 3);
        }
        // Shorter sides of 8 to 12 make steps of 8 · 16 / side grey levels: 16, 14, 12, 11, 10.
        assert!([16, 14, 12, 11, 10].iter().all(|step| seen.contains(step)), "{seen:?}");
        let images = Images::gather(vec![image.clone(), image.flip_horizontal()]).unwrap();
        let judged = augmentation.fixed(&images, 1).unwrap();
        let centre = image.resize_shorter_side(6).unwrap().crop(3, 0, 6, 6).unwrap();
        assert_eq!(judged.get(0).unwrap(), centre);
        assert_eq!(judged, augmentation.fixed(&images, 2).unwrap());
        for (shorter, crop) in [([8, 12], 0), ([8, 12], 9), ([12, 8], 6), ([8, usize::MAX], 6)] {
            let error = Augmentation::ResizedCrop { shorter, crop }.apply(&image, &mut rng(0)).unwrap_err();
            assert!(error.to_string().contains("at least as large as the next"), "{error}");
        }
        assert_eq!(Augmentation::imagenet(), Augmentation::ResizedCrop { shorter: [256, 384], crop: 224 });
    }
}
