//! Where this command keeps what it builds, and where Jupyter looks for kernels.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::repository;

/// evcxr's version. Others may report failures differently.
pub const EVCXR_VERSION: &str = "0.22.0";

/// The folder of everything that is built once: `IGPT_CACHE`, else `igpt` in the user's cache folder, else a folder
/// in the checkout, for a home that is read-only.
pub fn cache() -> Result<PathBuf> {
    if let Some(set) = non_empty("IGPT_CACHE") {
        let folder = std::path::absolute(&set)?;
        fs::create_dir_all(&folder).with_context(|| format!("IGPT_CACHE is {}", folder.display()))?;
        return Ok(folder);
    }
    let home = || non_empty("HOME").map(|home| home.join(".cache"));
    let usual = non_empty("XDG_CACHE_HOME").filter(|folder| folder.is_absolute()).or_else(home);
    if let Some(folder) = usual.map(|folder| folder.join("igpt")).filter(|folder| is_writable(folder)) {
        return Ok(folder);
    }
    let folder = repository::root()?.join("target/igpt-cache");
    fs::create_dir_all(&folder).with_context(|| {
        format!("neither the home folder nor {} can be written; set IGPT_CACHE", folder.display())
    })?;
    Ok(folder)
}

/// Where cargo installs evcxr.
pub fn evcxr_root() -> Result<PathBuf> {
    Ok(cache()?.join(format!("evcxr-{EVCXR_VERSION}")))
}

/// evcxr's program.
pub fn evcxr() -> Result<PathBuf> {
    Ok(evcxr_root()?.join("bin/evcxr_jupyter"))
}

/// The build slots of all checkouts.
pub fn slots() -> Result<PathBuf> {
    Ok(cache()?.join("slots"))
}

/// Jupyter's data folder, in which our kernelspec is installed.
pub fn jupyter_data() -> Result<PathBuf> {
    if let Some(set) = non_empty("JUPYTER_DATA_DIR") {
        return Ok(set);
    }
    let home = non_empty("HOME");
    let usual = if cfg!(target_os = "macos") {
        home.map(|home| home.join("Library/Jupyter"))
    } else {
        let share = home.map(|home| home.join(".local/share"));
        non_empty("XDG_DATA_HOME").filter(|folder| folder.is_absolute()).or(share).map(|f| f.join("jupyter"))
    };
    match usual.filter(|folder| is_writable(folder)) {
        Some(folder) => Ok(folder),
        None => own_jupyter_data(),
    }
}

/// The substitute of [`jupyter_data`] where that cannot be written.
fn own_jupyter_data() -> Result<PathBuf> {
    Ok(cache()?.join("jupyter"))
}

/// The value of `JUPYTER_PATH` with which Jupyter finds our kernelspec, where it would not look by itself.
pub fn jupyter_path() -> Result<Option<std::ffi::OsString>> {
    if jupyter_data()? != own_jupyter_data()? {
        return Ok(None);
    }
    let set = env::var_os("JUPYTER_PATH").unwrap_or_default();
    let folders = std::iter::once(own_jupyter_data()?).chain(env::split_paths(&set));
    Ok(Some(env::join_paths(folders)?))
}

fn non_empty(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn is_writable(folder: &Path) -> bool {
    fs::create_dir_all(folder).is_ok() && tempfile::tempfile_in(folder).is_ok()
}

/// What a user is told for as long as the kernel was never set up; afterwards nothing.
///
/// # Errors
/// No folder for the cache.
pub fn not_set_up() -> Result<Option<&'static str>> {
    let text = "the kernel is not set up yet: `igpt setup` in a terminal builds what it needs (once, in 10 to 20 minutes)";
    Ok((!evcxr()?.is_file()).then_some(text))
}
