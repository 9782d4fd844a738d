//! Files with weights, mapped: only what is looked at is read.

use crate::{Error, Result};
use memmap2::Mmap;
use std::fs::File;
use std::path::Path;

/// A file's bytes.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn file(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    // SAFETY: the bytes are read as numbers and text, and each is checked as it is read, so nothing depends on their
    // staying the same. A file that another process makes shorter meanwhile ends this one with SIGBUS; checkpoints are
    // written beside their place and renamed, or downloaded before they are read.
    unsafe { Mmap::map(&file) }.map_err(|e| Error::io(path, e))
}
