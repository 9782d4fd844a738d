//! Reads the data sets that `igpt fetch` decoded: one plain file each, verified whenever it is read.
//!
//! The decoders, which know Parquet, are in the `igpt` command: each of their crates would cost every notebook time.

use super::{Dataset, Images, Labelled};
use crate::hex::hex;
use crate::{Error, Result};
use igpt_formats::data_file::{FORMAT, Header, LABEL, LONGEST_HEADER, LabelSet, Part, VERSION, Version};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// A file whose header makes sense. Its parts are verified when they are read.
#[derive(Debug)]
pub(super) struct Prepared {
    path: PathBuf,
    file: BufReader<File>,
    header: Header,
    /// Where the first part begins.
    body: u64,
    /// What makes the file anew.
    command: String,
}

impl Prepared {
    /// Opens the file that `command` wrote.
    ///
    /// # Errors
    /// If the file cannot be read, or is not as long as its first line says.
    pub(super) fn open(path: &Path, command: String) -> Result<Self> {
        let wrong = |what: String| wrong(path, &what, &command);
        let io = |e| Error::io(path, e);
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut file = BufReader::new(file);
        let mut line = Vec::new();
        file.by_ref().take(LONGEST_HEADER).read_until(b'\n', &mut line).map_err(io)?;

        let version: Version = serde_json::from_slice(&line)
            .map_err(|e| wrong(format!("does not begin with the line that `igpt fetch` writes ({e})")))?;
        if (version.format.as_str(), version.version) != (FORMAT, VERSION) {
            return Err(wrong(format!(
                "is `{}` of version {}, but this library reads `{FORMAT}` of version {VERSION}",
                version.format, version.version
            )));
        }
        let header: Header = serde_json::from_slice(&line)
            .map_err(|e| wrong(format!("its first line makes no sense ({e})")))?;
        if header.is_outdated() {
            return Err(wrong(
                "was written by an earlier version, which decoded its JPEG images to other pixels".into(),
            ));
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let revision = header.revision.get(..12).unwrap_or(&header.revision);
        if revision.is_empty() || !stem.ends_with(revision) {
            return Err(wrong(format!(
                "holds the revision `{}`, which is not that of its name",
                header.revision
            )));
        }
        // Nothing is allocated before it is known that the file holds it.
        header.check().map_err(&wrong)?;
        let body = line.len() as u64;
        let found = length.saturating_sub(body);
        if header.body() != Some(found) {
            let expected = header.body().map_or("more than there can be".into(), |body| body.to_string());
            return Err(wrong(format!("has {found} bytes after its first line, which speaks of {expected}")));
        }
        Ok(Self { path: path.to_owned(), file, header, body, command })
    }

    /// Whether a file is of an earlier version, which decoded its images otherwise; not if nobody can say.
    pub(super) fn is_outdated(path: &Path) -> bool {
        let mut line = Vec::new();
        let read = File::open(path)
            .and_then(|file| BufReader::new(file).take(LONGEST_HEADER).read_until(b'\n', &mut line));
        read.is_ok() && serde_json::from_slice(&line).is_ok_and(|header: Header| header.is_outdated())
    }

    /// The training and the test split, with the labels of the set of this name, else the first set.
    ///
    /// # Errors
    /// If a part is not there, or its bytes are not those that were written.
    pub(super) fn dataset(mut self, labels: Option<&str>) -> Result<Dataset> {
        let sets = &self.header.label_sets;
        let set = match labels {
            Some(name) => sets.iter().find(|set| set.name == name),
            None => sets.first(),
        };
        let Some(LabelSet { name, classes }) = set.cloned() else {
            let names: Vec<_> = sets.iter().map(|set| set.name.as_str()).collect();
            return Err(self.wrong(&format!(
                "has no labels `{}`, only those of {}",
                labels.unwrap_or_default(),
                names.join(", ")
            )));
        };
        let [train, test] = ["train", "test"].map(|split| {
            let images = self.images(split)?;
            let labels = self.part(split, Some(&name))?;
            let (labels, _) = labels.as_chunks::<{ LABEL as usize }>();
            Labelled::new(images, labels.iter().map(|label| u16::from_le_bytes(*label)).collect())
        });
        Dataset::new(&self.header.name, classes, train?, test?).map_err(|e| match e {
            Error::Invalid(what) => self.wrong(&what),
            other => other,
        })
    }

    /// The images of a split. They are in memory once, all of them.
    ///
    /// # Errors
    /// As [`Prepared::dataset`].
    pub(super) fn images(&mut self, split: &str) -> Result<Images> {
        let pixels = self.part(split, None)?;
        Images::new(self.header.height, self.header.width, self.header.channels, pixels)
            .map_err(|e| self.wrong(&e.to_string()))
    }

    /// The bytes of a part.
    fn part(&mut self, split: &str, labels: Option<&str>) -> Result<Vec<u8>> {
        /// Bytes that are read and hashed at a time, while they are in the processor's cache.
        const PIECE: usize = 1 << 18;
        let parts = &self.header.parts;
        let is_it = |part: &&Part| part.split == split && part.labels.as_deref() == labels;
        let Some(part) = parts.iter().find(is_it).cloned() else {
            let what = labels.map_or("images".into(), |labels| format!("labels `{labels}`"));
            return Err(self.wrong(&format!("has no {what} of the split `{split}`")));
        };
        let before: u64 = parts.iter().take_while(|part| !is_it(part)).map(|part| part.bytes).sum();
        let io = |e| Error::io(&self.path, e);
        self.file.seek(SeekFrom::Start(self.body + before)).map_err(io)?;
        let mut bytes = Vec::new();
        let count = usize::try_from(part.bytes).unwrap_or(usize::MAX);
        if bytes.try_reserve_exact(count).is_err() {
            return Err(Error::format(
                &self.path,
                format!("there is not enough memory for the {count} bytes of its split `{split}`"),
            ));
        }
        bytes.resize(count, 0);
        let mut hash = Sha256::new();
        for piece in bytes.chunks_mut(PIECE) {
            self.file.read_exact(piece).map_err(io)?;
            hash.update(&*piece);
        }
        let found = hex(&hash.finalize());
        if found != part.sha256 {
            return Err(self.wrong(&format!(
                "the bytes of its split `{split}` have the SHA-256 {found}, but its first line says {}",
                part.sha256
            )));
        }
        let name = labels.map_or("images".into(), |labels| format!("labels `{labels}`"));
        let name = format!("{}, {split}: {name}", self.header.name);
        crate::journal::note(&crate::journal::data_read(&name, &self.header.revision, &found));
        Ok(bytes)
    }

    fn wrong(&self, what: &str) -> Error {
        wrong(&self.path, what, &self.command)
    }
}

fn wrong(path: &Path, what: &str, command: &str) -> Error {
    Error::format(path, format!("{what}; `{command}` writes it anew"))
}

#[cfg(test)]
pub(super) mod tests;
