//! An image that is not decoded yet: where it is from, its bytes, its labels.

use std::{
    borrow::Cow,
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Result, bail};
use parquet::data_type::ByteArray;

/// An image that is not decoded yet.
pub(super) struct Row {
    pub place: Origin,
    pub content: Content,
    /// Its label in each set.
    pub labels: Vec<Option<i64>>,
}

/// What errors call an image.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    Row(Arc<Path>, usize),
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(file, row) => write!(f, "{}: row {row}", file.display()),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// The bytes of a PNG or JPEG file, or where they are.
pub(super) enum Content {
    Bytes(ByteArray),
    File(PathBuf),
    Nothing,
}

impl Content {
    pub(super) fn bytes(&self) -> Result<Cow<'_, [u8]>> {
        Ok(match self {
            Self::Bytes(bytes) => bytes.data().into(),
            Self::File(path) => fs::read(path)?.into(),
            Self::Nothing => bail!("has no image"),
        })
    }
}
