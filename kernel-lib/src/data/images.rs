//! Many images of one size.

use crate::image::{Image, colours};
use crate::show::{ImageGrid, Show, Tile, displays};
use crate::{Error, Result};
use std::fmt;

/// Images of one size in one piece of memory, (N, H, W, C).
#[derive(Clone, PartialEq, Eq)]
pub struct Images {
    height: usize,
    width: usize,
    channels: usize,
    /// (N, H, W, C)
    pixels: Vec<u8>,
}

impl Images {
    /// Images of this size from their bytes, (N, H, W, C). There may be none.
    ///
    /// # Errors
    /// If images of this size are empty, have neither 1 nor 3 channels, or the bytes are not whole images.
    pub fn new(height: usize, width: usize, channels: usize, pixels: Vec<u8>) -> Result<Self> {
        let size = height.checked_mul(width).and_then(|n| n.checked_mul(channels)).unwrap_or(0);
        if size == 0 || !matches!(channels, 1 | 3) || !pixels.len().is_multiple_of(size) {
            return Err(Error::invalid(format!(
                "{} bytes are not images of {width} × {height} pixels with {channels} channels (1 or 3)",
                pixels.len()
            )));
        }
        Ok(Self { height, width, channels, pixels })
    }

    /// Gathers images of one size.
    ///
    /// # Errors
    /// If there are none, or one has another size or another number of channels than the first.
    pub fn gather(images: impl IntoIterator<Item = Image>) -> Result<Self> {
        let mut images = images.into_iter();
        let Some(first) = images.next() else {
            return Err(Error::invalid("there are no images to gather, so they have no size"));
        };
        let (height, width, channels) = (first.height(), first.width(), first.channels());
        let mut all = Self { height, width, channels, pixels: first.into_pixels() };
        for image in images {
            if (image.height(), image.width(), image.channels()) != (height, width, channels) {
                return Err(Error::invalid(format!(
                    "image {} is {}, but image 0 is {width} × {height}, {}",
                    all.len(),
                    image.size(),
                    colours(channels)
                )));
            }
            all.pixels.extend_from_slice(image.pixels());
        }
        Ok(all)
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.pixels.len() / self.size()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// Rows of each image.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Bytes of a pixel: 1 (grey) or 3 (red, green, blue).
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The side of each image.
    ///
    /// # Errors
    /// If they are not square.
    pub fn side(&self) -> Result<usize> {
        if self.width != self.height {
            return Err(Error::invalid(format!(
                "images of {} × {} pixels are not square: crop or resize them first",
                self.width, self.height
            )));
        }
        Ok(self.width)
    }

    /// Picture `at`, copied.
    ///
    /// # Errors
    /// If there are not so many.
    pub fn get(&self, at: usize) -> Result<Image> {
        Image::new(self.width, self.height, self.channels, self.pixels(at)?.to_vec())
    }

    /// The bytes of image `at`, (H, W, C).
    ///
    /// # Errors
    /// If there are not so many.
    pub fn pixels(&self, at: usize) -> Result<&[u8]> {
        self.iter_pixels().nth(at).ok_or_else(|| {
            Error::invalid(format!("there is no image {at}: there are {}, counted from 0", self.len()))
        })
    }

    /// The bytes of one image after the other, each (H, W, C).
    pub fn iter_pixels(&self) -> std::slice::ChunksExact<'_, u8> {
        self.pixels.chunks_exact(self.size())
    }

    /// All bytes, (N, H, W, C).
    pub fn all_pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The images with these indices, in this order; an index may occur twice.
    ///
    /// # Errors
    /// If there is no image at one of them.
    pub fn select(&self, indices: &[usize]) -> Result<Self> {
        let mut pixels = Vec::with_capacity(indices.len() * self.size());
        for at in indices {
            pixels.extend_from_slice(self.pixels(*at)?);
        }
        Ok(Self { pixels, ..*self })
    }

    /// Keeps the first images only.
    pub(super) fn truncate(&mut self, count: usize) {
        self.pixels.truncate(count.saturating_mul(self.size()));
    }

    /// The images that `change` makes of these.
    ///
    /// ```
    /// # use igpt::prelude::*;
    /// let images = data::fashion_mnist()?.test().images.map(|image| image.average_pool(2))?;
    /// assert_eq!((images.len(), images.side()?), (10_000, 14));
    /// # Ok::<(), igpt::Error>(())
    /// ```
    ///
    /// # Errors
    /// The first error of `change`; or if the new images are not all of one size, or none.
    pub fn map(&self, mut change: impl FnMut(Image) -> Result<Image>) -> Result<Self> {
        let mut failed = None;
        let changed = (0..self.len()).map_while(|at| match self.get(at).and_then(&mut change) {
            Ok(image) => Some(image),
            Err(error) => {
                failed = Some(error);
                None
            }
        });
        let gathered = Self::gather(changed);
        failed.map_or(gathered, Err)
    }

    /// These images at `side` × `side` pixels, resized as [`Image::resize`] does; images of that size are not touched.
    /// Whatever is to be read by a network of `side`² tokens goes through here, to train on and to be judged by.
    ///
    /// # Errors
    /// As [`Image::resize`]; or if there are no images and they have another size.
    pub fn at_side(self, side: usize) -> Result<Self> {
        if self.height == side && self.width == side {
            return Ok(self);
        }
        self.map(|image| image.resize(side, side))
    }

    /// Bytes of an image; never 0.
    fn size(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// `10,000 images, 28 × 28, grey`
    fn summary(&self) -> String {
        let count = crate::show::fixed(self.len() as f64, 0).into_text();
        let images = if self.len() == 1 { "image" } else { "images" };
        format!("{count} {images}, {} × {}, {}", self.width, self.height, colours(self.channels))
    }
}

impl fmt::Debug for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Images({})", self.summary())
    }
}

impl Images {
    /// The first images in rows of ten.
    fn grid(&self) -> ImageGrid {
        const COLUMNS: usize = 10;
        const SHOWN: usize = 20;
        let shown: Vec<Image> = (0..self.len().min(SHOWN)).filter_map(|at| self.get(at).ok()).collect();
        let more = if self.len() > SHOWN { format!("; the first {SHOWN}") } else { String::new() };
        let grid = ImageGrid::new().caption(self.summary() + &more).side(64);
        shown.chunks(COLUMNS).fold(grid, |grid, row| grid.row("", row.iter().map(Tile::from)))
    }
}

impl Show for Images {
    fn to_html(&self) -> String {
        self.grid().to_html()
    }
    fn to_text(&self) -> String {
        format!("[{}]\n", self.summary())
    }
}

displays!(Images);

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Images {
        Images::new(2, 1, 3, (0..18).collect()).unwrap()
    }

    #[test]
    fn images_are_found_by_number() {
        let images = images();
        assert_eq!((images.len(), images.height(), images.width(), images.channels()), (3, 2, 1, 3));
        assert_eq!(images.pixels(2).unwrap(), [12, 13, 14, 15, 16, 17]);
        assert_eq!(images.get(1).unwrap(), Image::new(1, 2, 3, (6..12).collect()).unwrap());
        assert_eq!(
            images.get(3).unwrap_err().to_string(),
            "there is no image 3: there are 3, counted from 0"
        );
        assert!(images.side().unwrap_err().to_string().contains("1 × 2 pixels are not square"));
        let some = images.select(&[2, 0, 2]).unwrap();
        assert_eq!(
            some.all_pixels(),
            [&images.all_pixels()[12..], &images.all_pixels()[..6], &images.all_pixels()[12..]].concat()
        );
        assert!(images.select(&[0, 3]).is_err());
        assert_eq!(images.to_text(), "[3 images, 1 × 2, RGB]\n");
        assert_eq!(images.to_html().matches("<img").count(), 3);
    }

    #[test]
    fn bytes_must_be_whole_images() {
        for (height, width, channels, bytes) in
            [(2, 2, 1, 7), (0, 2, 1, 0), (2, 0, 1, 0), (1, 1, 2, 2), (1, 1, 0, 0), (usize::MAX, 2, 1, 0)]
        {
            assert!(Images::new(height, width, channels, vec![0; bytes]).is_err());
        }
        let none = Images::new(2, 2, 1, vec![]).unwrap();
        assert!(none.is_empty() && none.get(0).is_err());
    }

    #[test]
    fn images_are_gathered_and_changed() {
        let images = images();
        let again = Images::gather((0..3).map(|at| images.get(at).unwrap())).unwrap();
        assert_eq!(again, images);
        let grey = Image::new(1, 2, 1, vec![0; 2]).unwrap();
        let error = Images::gather([images.get(0).unwrap(), grey]).unwrap_err().to_string();
        assert_eq!(error, "image 1 is 1 × 2, grey, but image 0 is 1 × 2, RGB");
        assert!(Images::gather([]).is_err());
        let upper = images.map(|image| image.crop(0, 0, 1, 1)).unwrap();
        assert_eq!((upper.len(), upper.side().unwrap()), (3, 1));
        assert_eq!(upper.all_pixels(), [0, 1, 2, 6, 7, 8, 12, 13, 14]);
        let error = images.map(|image| image.average_pool(2)).unwrap_err().to_string();
        assert_eq!(error, "an image of 1 × 2 pixels cannot be cut into squares of 2 × 2");
    }
}
