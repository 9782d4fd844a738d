//! Where this repository lies, so that data and the paper's figures are found from any working directory.

use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// The repository's root: the folder that holds `data/`, `papers/` and `kernel-lib/`.
///
/// In a notebook the kernel says so in `IGPT_ROOT` (a cell's copy of this library is built from a snapshot
/// elsewhere); in a plain Rust program it is the folder above this crate.
///
/// # Errors
/// If neither holds a `data/manifest.toml`.
pub fn root() -> Result<PathBuf> {
    let root = folder();
    if root.join("data").join("manifest.toml").is_file() {
        return Ok(root.canonicalize().unwrap_or(root));
    }
    Err(Error::invalid(format!(
        "{} is not a checkout of this repository (it has no data/manifest.toml): \
         set IGPT_ROOT to the folder that holds data/ and kernel-lib/",
        root.display()
    )))
}

/// Where the root should be: for what can be read without any data.
pub(crate) fn folder() -> PathBuf {
    let compiled_in = || Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::env::var_os("IGPT_ROOT").map_or_else(compiled_in, PathBuf::from)
}
