//! Where the repository is that this command belongs to.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The checkout: around the working directory, else around this program's file, else where it was built.
pub fn root() -> Result<PathBuf> {
    let here = std::env::current_dir().ok();
    let program = std::env::current_exe().ok();
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    [here.as_deref(), program.as_deref(), built]
        .into_iter()
        .flatten()
        .flat_map(Path::ancestors)
        .find(|folder| is_root(folder))
        .map(Path::to_owned)
        .context(
            "this is not a checkout of the repository: no folder with `notebooks` and `kernel-lib` above",
        )
}

/// The checkout that a folder lies in.
pub fn around(folder: &Path) -> Option<PathBuf> {
    folder.ancestors().find(|folder| is_root(folder)).map(Path::to_owned)
}

fn is_root(folder: &Path) -> bool {
    ["Cargo.toml", "notebooks/Cargo.toml", "kernel-lib/Cargo.toml"]
        .iter()
        .all(|file| folder.join(file).is_file())
}
