//! Where images come from, and how they become the bytes of a split.

use anyhow::{Context as _, Result, bail};
use rayon::prelude::*;

use super::{
    ProgressLines,
    catch_panic::catch_panic,
    count,
    encoded::Row,
    image::{Colours, Image, ImageSpec},
    image_folder::ImageFolder,
    rows::Rows,
};

/// The images of a split, a batch at a time.
pub(super) enum Source {
    Rows(Box<Rows>),
    Folder(ImageFolder),
}

/// What was in a split, besides the pixels, which have been written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SplitSummary {
    /// (height, width, channels) of every image.
    pub size: Option<(usize, usize, usize)>,
    /// (N) for each set.
    pub labels: Vec<Vec<u16>>,
    pub images: usize,
    /// How many of the images were JPEG; the others were PNG.
    pub jpeg: usize,
}

impl Source {
    /// How many images there are.
    pub(super) fn total(&self) -> usize {
        match self {
            Self::Rows(rows) => rows.total(),
            Self::Folder(folder) => folder.total(),
        }
    }

    /// The next images; `None` after the last one.
    pub(super) fn next(&mut self) -> Result<Option<Vec<Row>>> {
        match self {
            Self::Rows(rows) => rows.next(),
            Self::Folder(folder) => Ok(folder.next()),
        }
    }

    /// Decodes all images, in parallel, and hands them to `write` in their order. Besides the labels, only one batch
    /// is in memory. `classes` are how many there are in each set, `size` what every image must have, and `what` is
    /// what progress lines call them.
    ///
    /// # Errors
    /// The first image that is not as it should be; the message names its place. Or an error of `write`.
    pub(super) fn decode(
        &mut self,
        wanted: ImageSpec,
        classes: &[usize],
        size: Option<(usize, usize, usize)>,
        what: &str,
        mut write: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<SplitSummary> {
        let (mut progress, total) = (ProgressLines::new(), self.total());
        let mut seen =
            SplitSummary { size, labels: vec![Vec::new(); classes.len()], ..SplitSummary::default() };
        while let Some(rows) = self.next()? {
            let decoded: Vec<Result<Image>> = rows
                .par_iter()
                .map(|row| catch_panic(|| Image::decode(&row.content.bytes()?, wanted)))
                .collect();
            for (row, image) in rows.iter().zip(decoded) {
                let image = image
                    .and_then(|image| seen.add(image, &row.labels, classes))
                    .with_context(|| row.place.to_string())?;
                write(&image.pixels)?;
            }
            progress.tick(|| format!("{what}: {} of {} images", count(seen.images), count(total)));
        }
        Ok(seen)
    }
}

impl SplitSummary {
    fn add(&mut self, image: Image, labels: &[Option<i64>], classes: &[usize]) -> Result<Image> {
        let (height, width, channels) = *self.size.get_or_insert((image.height, image.width, image.channels));
        if (image.height, image.width) != (height, width) {
            bail!(
                "its image has {} × {} pixels, but the first one {width} × {height}; --side makes all of them as \
                 large",
                image.width,
                image.height,
            );
        }
        if image.channels != channels {
            bail!("its image has {} channels, but the first one {channels}", image.channels);
        }
        for ((label, classes), labels) in labels.iter().zip(classes).zip(&mut self.labels) {
            let label = label.context("has no label")?;
            let known = u16::try_from(label).ok().filter(|label| usize::from(*label) < *classes);
            labels.push(known.with_context(|| {
                format!("its label is {label}, but there are {classes} classes, counted from 0")
            })?);
        }
        self.images += 1;
        self.jpeg += usize::from(image.is_jpeg);
        Ok(image)
    }
}

/// The colours that all images will have, as the first image has them.
pub(super) fn colours_of_the_first(rows: &[Row]) -> Result<Colours> {
    let Some(row) = rows.first() else { return Ok(Colours::Rgb) };
    let has_colour = catch_panic(|| Image::has_colour(&row.content.bytes()?));
    Ok(if has_colour.with_context(|| row.place.to_string())? { Colours::Rgb } else { Colours::Grey })
}
