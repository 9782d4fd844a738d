//! Networks that others have trained and released.

use crate::huggingface::Checkpoint;
use crate::palette::Palette;
use crate::{Error, Result, hub};
use std::path::PathBuf;

/// The released network of this name: `imagegpt-small`.
pub(super) fn checkpoint(name: &str) -> Result<Checkpoint> {
    Checkpoint::read(&hub::snapshot(name)?.folder)
}

/// Its palette.
pub(super) fn palette(name: &str) -> Result<Palette> {
    let snapshot = hub::snapshot(name)?;
    let path = snapshot.folder.join("preprocessor_config.json");
    if !path.exists() {
        return Err(Error::format(
            path,
            format!("{name} came without its palette: fetch it again with `igpt fetch {name}`"),
        ));
    }
    Palette::read_preprocessor_config(&path)
}

/// Its files, each with its SHA-256: what stands for it in a key.
pub(super) fn files(name: &str) -> Result<Vec<(String, String)>> {
    let folder = hub::snapshot(name)?.folder;
    let mut names: Vec<PathBuf> = std::fs::read_dir(&folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(|e| Error::io(&folder, e))?;
    names.sort();
    let of = |path: &PathBuf| {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok((format!("{name}/{file}"), hub::sha256(path)?))
    };
    names.iter().filter(|path| path.is_file()).map(of).collect()
}
