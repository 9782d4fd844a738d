//! Where pictures come from, and how they become the bytes of a split.

use anyhow::{Context as _, Result, bail};
use rayon::prelude::*;

use super::{
    Progress, count,
    encoded::Row,
    folder::Folder,
    guard::guarded,
    picture::{Colours, Picture, Wanted},
    rows::Rows,
};

/// The pictures of a split, a batch at a time.
pub(super) enum Source {
    Rows(Box<Rows>),
    Folder(Folder),
}

/// What was in a split, besides the pixels, which have been written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// (height, width, channels) of every picture.
    pub size: Option<(usize, usize, usize)>,
    /// (N) for each set.
    pub labels: Vec<Vec<u16>>,
    pub pictures: usize,
    /// How many of the pictures were JPEG; the others were PNG.
    pub jpeg: usize,
}

impl Source {
    /// How many pictures there are.
    pub(super) fn total(&self) -> usize {
        match self {
            Self::Rows(rows) => rows.total(),
            Self::Folder(folder) => folder.total(),
        }
    }

    /// The next pictures; `None` after the last one.
    pub(super) fn next(&mut self) -> Result<Option<Vec<Row>>> {
        match self {
            Self::Rows(rows) => rows.next(),
            Self::Folder(folder) => Ok(folder.next()),
        }
    }

    /// Decodes all pictures, in parallel, and hands them to `write` in their order. Besides the labels, only one batch
    /// is in memory. `classes` are how many there are in each set, `size` what every picture must have, and `what` is
    /// what progress lines call them.
    ///
    /// # Errors
    /// The first picture that is not as it should be; the message names its place. Or an error of `write`.
    pub(super) fn decode(
        &mut self,
        wanted: Wanted,
        classes: &[usize],
        size: Option<(usize, usize, usize)>,
        what: &str,
        mut write: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<Seen> {
        let (mut progress, total) = (Progress::new(), self.total());
        let mut seen = Seen { size, labels: vec![Vec::new(); classes.len()], ..Seen::default() };
        while let Some(rows) = self.next()? {
            let decoded: Vec<Result<Picture>> = rows
                .par_iter()
                .map(|row| guarded(|| Picture::decode(&row.content.bytes()?, wanted)))
                .collect();
            for (row, picture) in rows.iter().zip(decoded) {
                let picture = picture
                    .and_then(|picture| seen.add(picture, &row.labels, classes))
                    .with_context(|| row.place.to_string())?;
                write(&picture.pixels)?;
            }
            progress.tick(|| format!("{what}: {} of {} pictures", count(seen.pictures), count(total)));
        }
        Ok(seen)
    }
}

impl Seen {
    fn add(&mut self, picture: Picture, labels: &[Option<i64>], classes: &[usize]) -> Result<Picture> {
        let (height, width, channels) =
            *self.size.get_or_insert((picture.height, picture.width, picture.channels));
        if (picture.height, picture.width) != (height, width) {
            bail!(
                "its picture has {} × {} pixels, but the first one {width} × {height}; --side makes all of them as \
                 large",
                picture.width,
                picture.height,
            );
        }
        if picture.channels != channels {
            bail!("its picture has {} channels, but the first one {channels}", picture.channels);
        }
        for ((label, classes), labels) in labels.iter().zip(classes).zip(&mut self.labels) {
            let label = label.context("has no label")?;
            let known = u16::try_from(label).ok().filter(|label| usize::from(*label) < *classes);
            labels.push(known.with_context(|| {
                format!("its label is {label}, but there are {classes} classes, counted from 0")
            })?);
        }
        self.pictures += 1;
        self.jpeg += usize::from(picture.is_jpeg);
        Ok(picture)
    }
}

/// The colours that all pictures will have, as the first picture has them.
pub(super) fn colours_of_the_first(rows: &[Row]) -> Result<Colours> {
    let Some(row) = rows.first() else { return Ok(Colours::Rgb) };
    let has_colour = guarded(|| Picture::has_colour(&row.content.bytes()?));
    Ok(if has_colour.with_context(|| row.place.to_string())? { Colours::Rgb } else { Colours::Grey })
}
