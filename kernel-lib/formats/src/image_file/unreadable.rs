//! Why an image file was not decoded.

use std::fmt;

/// Why an image file was not decoded, as the rest of a sentence that begins with what the file is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable(pub(super) String);

impl Unreadable {
    /// The file's kind is read, but what is in this file makes no sense.
    pub(super) fn damaged(what: impl fmt::Display) -> Self {
        Self(format!("cannot be decoded: {what}"))
    }

    /// The file's kind is not read.
    pub(super) fn kind(name: &str) -> Self {
        Self(format!(
            "is {name}, which is not read here; PNG and JPEG are: convert it, for example with Pillow's \
             `Image.open(\"…\").convert(\"RGB\").save(\"….png\")`"
        ))
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Unreadable {}
