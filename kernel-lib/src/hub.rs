//! The Hugging Face cache, and OpenAI's networks in it.
//!
//! ```no_run
//! use igpt::prelude::*;
//!
//! let small = hub::imagegpt("small")?;
//! println!("{} parameters", small.config().parameters());
//! let files = hub::snapshot("imagegpt-small")?;
//! println!("{} at revision {} in {}", files.repository, files.revision, files.folder.display());
//! # Ok::<(), igpt::Error>(())
//! ```

mod evidence;

use crate::huggingface::Checkpoint;
use crate::{Error, Result, fetch};
use std::path::{Path, PathBuf};

pub(crate) use evidence::sha256;

/// The value of an environment variable, if it is set and not empty.
pub(crate) fn set(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The cache directory of the hub's own Python client: `HF_HUB_CACHE`, else `HF_HOME/hub`, else
/// `XDG_CACHE_HOME/huggingface/hub`, else `~/.cache/huggingface/hub`. `None` without a home.
pub(crate) fn cache() -> Option<PathBuf> {
    let user = || set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let home = || set("HF_HOME").or_else(|| user().map(|cache| cache.join("huggingface")));
    set("HF_HUB_CACHE").or_else(|| home().map(|home| home.join("hub")))
}

/// The files of a model that are in the Hugging Face cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Where they lie: `config.json`, `preprocessor_config.json`, and the weights.
    pub folder: PathBuf,
    /// `openai/imagegpt-small`
    pub repository: String,
    /// The commit.
    pub revision: String,
}

/// OpenAI's network `imagegpt-small`, `imagegpt-medium` or `imagegpt-large`: the newest revision in the Hugging Face
/// cache (`HF_HUB_CACHE`, else `HF_HOME/hub`, else the user's `~/.cache/huggingface/hub`).
///
/// If it is not there yet, or not whole, a notebook starts `igpt fetch`, which downloads it, and whose lines are
/// printed. Large files are hashed, once in a process: the cache says which SHA-256 they should have.
///
/// # Errors
/// If there is no such network, it is not there and cannot be downloaded, or it is damaged; with what to do.
pub fn snapshot(name: &str) -> Result<Snapshot> {
    const NAMES: [&str; 3] = ["imagegpt-small", "imagegpt-medium", "imagegpt-large"];
    if !NAMES.contains(&name) {
        return Err(Error::invalid(format!("there is no network {name:?}, but {}", NAMES.join(", "))));
    }
    let cache = cache().ok_or_else(|| {
        Error::invalid("there is no home folder, so no Hugging Face cache: set HF_HUB_CACHE to one")
    })?;
    let cache = std::path::absolute(&cache).map_err(|e| Error::io(cache, e))?;
    let snapshot = find_or_fetch(&cache, set("IGPT_PROGRAM").as_deref(), name)?;
    evidence::check(&snapshot.folder, &format!("igpt fetch {name}"))?;
    Ok(snapshot)
}

/// The files of OpenAI's network `imagegpt-small`, `imagegpt-medium` or `imagegpt-large`, if the Hugging Face cache has them
/// whole. As [`snapshot`], but nothing is downloaded.
pub fn cached(name: &str) -> Option<Snapshot> {
    find(&cache()?, name).ok()
}

/// OpenAI's network of a size, `small`, `medium` or `large`, with its palette: [`snapshot`], read.
///
/// # Errors
/// If it is not there and cannot be downloaded, or its files are damaged or not such a network's.
pub fn imagegpt(size: &str) -> Result<Checkpoint> {
    Checkpoint::read(&snapshot(&format!("imagegpt-{size}"))?.folder)
}

fn find_or_fetch(cache: &Path, program: Option<&Path>, name: &str) -> Result<Snapshot> {
    let missing = match find(cache, name) {
        Ok(snapshot) => return Ok(snapshot),
        Err(missing) => missing,
    };
    let Some(program) = program else {
        return Err(Error::invalid(format!(
            "openai/{name} is not in the Hugging Face cache {}: {missing}. Run `igpt fetch {name}`, which downloads it \
             (HF_HUB_CACHE names another cache)",
            cache.display()
        )));
    };
    fetch::run(program, &["fetch".into(), name.into()], &[("HF_HUB_CACHE", cache)])?;
    find(cache, name).map_err(|missing| {
        Error::invalid(format!("`igpt fetch {name}` ended well, but in {} {missing}", cache.display()))
    })
}

/// What the cache has of a network's newest revision; else what is missing.
fn find(cache: &Path, name: &str) -> Result<Snapshot, String> {
    let model = cache.join(format!("models--openai--{name}"));
    let main = model.join("refs/main");
    let revision = std::fs::read_to_string(&main)
        .map_err(|_| format!("there is no {}", main.display()))?
        .trim()
        .to_owned();
    if revision.len() != 40 || !revision.bytes().all(|c| c.is_ascii_hexdigit()) {
        return Err(format!("{} does not name a commit", main.display()));
    }
    let folder = model.join("snapshots").join(&revision);
    for file in ["config.json", "preprocessor_config.json"] {
        if !folder.join(file).is_file() {
            return Err(format!("there is no {}", folder.join(file).display()));
        }
    }
    check_weights(&folder)?;
    Ok(Snapshot { folder, repository: format!("openai/{name}"), revision })
}

/// Whether the weights are there, in any of the forms in which models are published.
fn check_weights(folder: &Path) -> Result<(), String> {
    let has = |file: &str| folder.join(file).is_file();
    if has("model.safetensors") || has("pytorch_model.bin") {
        return Ok(());
    }
    let index = folder.join("model.safetensors.index.json");
    let Ok(text) = std::fs::read_to_string(&index) else {
        return Err(format!("there are no weights in {}", folder.display()));
    };
    // {"weight_map": {"a parameter's name": "the name of the file that has it"}}
    let parts: Option<Vec<String>> =
        serde_json::from_str::<serde_json::Value>(&text).ok().and_then(|index| {
            index["weight_map"].as_object()?.values().map(|file| Some(file.as_str()?.to_owned())).collect()
        });
    let parts = parts.ok_or_else(|| format!("{} is not an index of weights", index.display()))?;
    match parts.iter().find(|part| !has(part)) {
        Some(part) => Err(format!("there is no {}", folder.join(part).display())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Writes files of a revision of `openai/imagegpt-small`, which becomes the newest.
    fn put(cache: &Path, revision: &str, files: &[(&str, &str)]) {
        let model = cache.join("models--openai--imagegpt-small");
        let folder = model.join("snapshots").join(revision);
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(model.join("refs")).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
        fs::write(model.join("refs/main"), revision).unwrap();
    }

    const SETTINGS: [(&str, &str); 2] = [("config.json", "{}"), ("preprocessor_config.json", "{}")];

    #[test]
    fn the_newest_revision_is_found_when_it_is_whole() {
        let cache = tempfile::tempdir().unwrap();
        let find = || find(cache.path(), "imagegpt-small");
        assert!(find().unwrap_err().ends_with("refs/main"));
        let (one, two) = ("1".repeat(40), "2".repeat(40));
        put(cache.path(), &one, &SETTINGS[..1]);
        assert!(find().unwrap_err().ends_with("preprocessor_config.json"));
        put(cache.path(), &one, &SETTINGS);
        assert!(find().unwrap_err().starts_with("there are no weights in "));
        put(cache.path(), &one, &[("pytorch_model.bin", "x")]);
        let snapshot = find().unwrap();
        assert_eq!((&*snapshot.repository, &snapshot.revision), ("openai/imagegpt-small", &one));
        assert!(snapshot.folder.join("pytorch_model.bin").is_file());

        let index = ("model.safetensors.index.json", r#"{"weight_map": {"a": "one", "b": "two"}}"#);
        put(cache.path(), &two, &[&SETTINGS[..], &[index, ("one", "x")]].concat());
        assert!(find().unwrap_err().ends_with("/two"));
        put(cache.path(), &two, &[("two", "x")]);
        assert_eq!(find().unwrap().revision, two);
        put(cache.path(), &two, &[("model.safetensors.index.json", "[]")]);
        assert!(find().unwrap_err().ends_with("is not an index of weights"));
        // A link to a blob that is gone is no file.
        let gone = cache.path().join("models--openai--imagegpt-small/snapshots").join(&one);
        fs::remove_file(gone.join("config.json")).unwrap();
        std::os::unix::fs::symlink("../../blobs/gone", gone.join("config.json")).unwrap();
        put(cache.path(), &one, &[]);
        assert!(find().unwrap_err().ends_with("config.json"));
    }

    #[test]
    fn a_missing_network_is_fetched() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, made) = (folder.path().join("cache"), folder.path().join("made"));
        put(&made, &"a".repeat(40), &[&SETTINGS[..], &[("model.safetensors", "x")]].concat());
        let copying = format!(
            "[ \"$*\" = 'fetch imagegpt-small' ] && cp -r {} \"$HF_HUB_CACHE\"; echo done",
            made.display()
        );
        let program = fetch::tests::program(folder.path(), &copying);
        let snapshot = find_or_fetch(&cache, Some(&program), "imagegpt-small").unwrap();
        assert_eq!(snapshot.revision, "a".repeat(40));
        assert_eq!(find_or_fetch(&cache, None, "imagegpt-small").unwrap(), snapshot);

        let empty = folder.path().join("empty");
        let alone = find_or_fetch(&empty, None, "imagegpt-medium").unwrap_err().to_string();
        assert!(alone.contains("Run `igpt fetch imagegpt-medium`") && alone.contains("refs/main"), "{alone}");
        let useless = fetch::tests::program(folder.path(), "exit 0");
        let error = find_or_fetch(&empty, Some(&useless), "imagegpt-small").unwrap_err().to_string();
        assert!(error.starts_with("`igpt fetch imagegpt-small` ended well, but in "), "{error}");
        let failing = fetch::tests::program(folder.path(), "echo 'error: cannot reach it' >&2; exit 1");
        let error = find_or_fetch(&empty, Some(&failing), "imagegpt-small").unwrap_err().to_string();
        assert!(error.ends_with("(exit status: 1): cannot reach it"), "{error}");
        let error = snapshot_error("imagegpt-xl");
        assert!(error.contains("\"imagegpt-xl\", but imagegpt-small, "), "{error}");
    }

    fn snapshot_error(name: &str) -> String {
        snapshot(name).unwrap_err().to_string()
    }
}
