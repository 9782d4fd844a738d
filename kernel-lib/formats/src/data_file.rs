//! What the file of a prepared data set is: what `igpt fetch` writes and the library reads.
//!
//! The file begins with a line of JSON, the [`Header`], filled up with blanks. After it come its [`Part`]s, one after
//! the other and nothing between them: of each split the pixels, (N, H, W, C), one byte each, and then its labels, (N),
//! two bytes each, the lower one first, once for each set of classes. A split may have no labels. Every part has a
//! SHA-256 of its own, so that one can be read, and trusted, without the others.

use serde::{Deserialize, Serialize};

/// How the first line says what it is.
pub const FORMAT: &str = "igpt-data";
/// The version that is written, and the only one that is read. In version 1 labels were single bytes.
pub const VERSION: u64 = 2;
/// The pixels that JPEG images are decoded to: 1 is libjpeg's. Files that do not say so were written by earlier versions,
/// whose pixels were a few levels away. PNG images were always the same.
pub const JPEG_PIXELS: u64 = 1;
/// Bytes; more than any header has. The names of 65,536 classes fit.
pub const LONGEST_HEADER: u64 = 1 << 22;
/// Bytes of a label.
pub const LABEL: u64 = 2;

/// The first line's beginning, which is the same in all versions.
#[derive(Debug, Deserialize)]
pub struct Version {
    /// [`FORMAT`]
    pub format: String,
    /// [`VERSION`]
    pub version: u64,
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`]
    pub format: String,
    /// [`VERSION`]
    pub version: u64,
    /// What tables and reports call the data set.
    pub name: String,
    /// The hub's repository, or the folder, that it is made from.
    pub dataset: String,
    /// The repository's commit; for a folder, a hash of its listing.
    pub revision: String,
    /// Rows of each image.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Bytes of a pixel: 1 or 3.
    pub channels: usize,
    /// The sets of classes that labels are of. CIFAR-100 has two, most data sets have one.
    pub label_sets: Vec<LabelSet>,
    /// What follows, in this order.
    pub parts: Vec<Part>,
    /// How many images were JPEG; the others were PNG.
    pub jpeg: usize,
    /// [`JPEG_PIXELS`]
    #[serde(default)]
    pub jpeg_pixels: u64,
    /// What it was made from.
    pub sources: Vec<SourceFile>,
}

/// Classes that each labelled image is in one of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelSet {
    /// `label`; `fine` and `coarse` for CIFAR-100.
    pub name: String,
    /// A label is an index into this list.
    pub classes: Vec<String>,
}

/// The pixels, or one set of labels, of a split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// `train`, `test`, `unlabeled`
    pub split: String,
    /// The name of a label set; without one these are pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
    /// How many there are.
    pub bytes: u64,
    /// Of these bytes, in hexadecimal digits.
    pub sha256: String,
}

/// A file that the data set was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Its path in the repository; of a folder, the name of a split.
    pub file: String,
    /// In hexadecimal digits; of a folder's split, a hash of what the file system says of its images.
    pub sha256: String,
}

impl Header {
    /// Of a data set of which no image is decoded yet.
    pub fn of(dataset: &str, revision: &str, label_sets: Vec<LabelSet>, sources: Vec<SourceFile>) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            name: String::new(),
            dataset: dataset.into(),
            revision: revision.into(),
            height: 0,
            width: 0,
            channels: 0,
            label_sets,
            parts: Vec::new(),
            jpeg: 0,
            jpeg_pixels: JPEG_PIXELS,
            sources,
        }
    }

    /// Whether its images would be decoded to other pixels now.
    pub fn is_outdated(&self) -> bool {
        self.jpeg > 0 && self.jpeg_pixels != JPEG_PIXELS
    }

    /// Whether the parts can be what they say: what is wrong, if they cannot.
    ///
    /// # Errors
    /// If a part is not whole images, or not a label of a known set for each image before it.
    pub fn check(&self) -> Result<(), String> {
        let image = [self.height, self.width, self.channels]
            .iter()
            .try_fold(1u64, |product, side| product.checked_mul(u64::try_from(*side).ok()?))
            .filter(|bytes| *bytes > 0)
            .ok_or("speaks of images that have no pixels, or more than there can be")?;
        let mut split: Option<(&str, u64)> = None;
        for part in &self.parts {
            let Some(labels) = &part.labels else {
                if self
                    .parts
                    .iter()
                    .filter(|other| other.labels.is_none() && other.split == part.split)
                    .count()
                    > 1
                {
                    return Err(format!("has the split `{}` twice", part.split));
                }
                if !part.bytes.is_multiple_of(image) {
                    return Err(format!(
                        "has {} bytes of pixels in the split `{}`, which are not images of {image} bytes",
                        part.bytes, part.split
                    ));
                }
                split = Some((&part.split, part.bytes / image));
                continue;
            };
            let known = self.label_sets.iter().any(|set| set.name == *labels);
            let images = split.filter(|(name, _)| known && *name == part.split).map(|(_, images)| images);
            if images.and_then(|images| images.checked_mul(LABEL)) != Some(part.bytes) {
                return Err(format!(
                    "has {} bytes of labels `{labels}` in the split `{}`, which do not belong to the images before \
                     them",
                    part.bytes, part.split
                ));
            }
        }
        Ok(())
    }

    /// The number of bytes of all parts; `None` if it is more than there can be.
    pub fn body(&self) -> Option<u64> {
        self.parts.iter().try_fold(0u64, |sum, part| sum.checked_add(part.bytes))
    }

    /// How many images a split has, once the header is checked.
    pub fn images(&self, split: &str) -> u64 {
        let part = self.parts.iter().find(|part| part.split == split && part.labels.is_none());
        let image = (self.height * self.width * self.channels) as u64;
        part.map_or(0, |part| part.bytes.checked_div(image).unwrap_or(0))
    }
}
