//! Networks that others have trained and released: on the Hugging Face hub (`imagegpt-small`), and as OpenAI's original code
//! has them (`igpt-s-bert/1000000`, see [`openai`]).

use crate::hex::sha256_of_file;
use crate::huggingface::Checkpoint;
use crate::model::Parameters;
use crate::palette::Palette;
use crate::train::Objective;
use crate::{Error, Result, hub, openai};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// How likely OpenAI masked a token (section 2.1).
const MASK: f64 = 0.15;

/// The released network of this name.
pub(super) fn network(name: &str) -> Result<Parameters> {
    if openai::is_name(name) {
        return Ok(openai::released(name)?.read()?.parameters);
    }
    Ok(Checkpoint::read(&hub::snapshot(name)?.folder)?.parameters)
}

/// What it was trained for.
pub(super) fn objective(name: &str) -> Objective {
    if openai::is_causal(name) { Objective::Autoregressive } else { Objective::Bert { mask: MASK } }
}

/// The code that reads it, as keys name it.
pub(super) fn code(name: &str) -> &'static str {
    if openai::is_name(name) { "openai" } else { "huggingface" }
}

/// Its palette.
pub(super) fn palette(name: &str) -> Result<Palette> {
    if openai::is_name(name) {
        return Palette::read_npy(openai::released(name)?.palette);
    }
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
    let files = if openai::is_name(name) {
        openai::released(name)?.files()?
    } else {
        let folder = hub::snapshot(name)?.folder;
        let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
            .map_err(|e| Error::io(&folder, e))?;
        files.sort();
        files
    };
    let of = |path: &PathBuf| {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok((format!("{name}/{file}"), sha256(path)?))
    };
    files.iter().filter(|path| path.is_file()).map(of).collect()
}

/// The SHA-256 of a file, computed once for each state of it: weights are gigabytes.
fn sha256(path: &Path) -> Result<String> {
    type Known = BTreeMap<(PathBuf, u64, SystemTime), String>;
    static KNOWN: Mutex<Known> = Mutex::new(BTreeMap::new());
    let io = |e| Error::io(path, e);
    let metadata = path.metadata().map_err(io)?;
    let state = (path.to_owned(), metadata.len(), metadata.modified().map_err(io)?);
    if let Some(known) = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(&state) {
        return Ok(known.clone());
    }
    let (_, digest) = sha256_of_file(path).map_err(io)?;
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert(state, digest.clone());
    Ok(digest)
}
