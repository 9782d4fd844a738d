//! The folder of one result.

use super::files::{Checked, Files};
use super::progress::{self, Progress};
use super::{Description, Provenance, Stored};
use crate::hex::hex;
use crate::{Error, Result, atomic, stop};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The folder of one result, whether there is one or not.
pub(super) struct Entry {
    store: PathBuf,
    folder: PathBuf,
    key: String,
}

/// What was found of a result.
pub(super) enum Found<T> {
    Whole(T, Box<Provenance>),
    /// What is wrong with it.
    Damaged(String),
    Nothing,
}

/// `manifest.json`: what a result consists of.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) provenance: Provenance,
    files: BTreeMap<String, Checked>,
}

/// The file itself, which guards the manifest too.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    manifest: Manifest,
    sha256: String,
}

impl Manifest {
    fn sha256(&self) -> String {
        hex(&Sha256::digest(serde_json::to_vec(self).unwrap_or_default()))
    }
}

impl Entry {
    pub(super) fn of(store: &Path, step: &Description) -> Self {
        let key = step.key();
        let folder = store.join(format!("{}-{}", step.name(), key.short()));
        Self { store: store.to_owned(), folder, key: key.to_string() }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn result(&self) -> PathBuf {
        self.folder.join("result")
    }

    /// Waits until no other process computes this result; `waiting` hears how far that one is. The lock goes with the file,
    /// and so with the process, however that ends.
    pub(super) fn lock(&self, step: &Description, waiting: &mut dyn FnMut(Option<Progress>)) -> Result<File> {
        let path = self.folder.join("lock");
        let file = fs::create_dir_all(&self.folder)
            .and_then(|()| File::options().create(true).truncate(false).write(true).open(&path));
        let file = file.map_err(|e| self.cannot_write(&path, &e))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(Error::io(&path, error)),
                Err(TryLockError::WouldBlock) => {}
            }
            stop::check(&format!("waiting for another process that computes {}", step.name()))?;
            waiting(progress::read(&self.progress()));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Whether some process computes this result.
    pub(super) fn is_locked(&self) -> bool {
        let file = File::open(self.folder.join("lock"));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Where it is written how far the computation is.
    pub(super) fn progress(&self) -> PathBuf {
        self.folder.join("progress.json")
    }

    fn cannot_write(&self, path: &Path, error: &std::io::Error) -> Error {
        Error::format(
            path,
            format!(
                "{error}: results are kept in {}; make room there or make it writable, or set IGPT_STORE to another folder",
                self.store.display()
            ),
        )
    }

    /// The folder of the computation's checkpoints, which now exists.
    pub(super) fn checkpoints(&self) -> Result<PathBuf> {
        let folder = self.folder.join("checkpoint");
        fs::create_dir_all(&folder).map_err(|e| self.cannot_write(&folder, &e))?;
        Ok(folder)
    }

    /// The manifest of a result, whose files have not been looked at; `None` if there is no result, or else what is
    /// wrong with it.
    pub(super) fn manifest(&self) -> std::result::Result<Manifest, Option<String>> {
        let text = match fs::read(self.result().join("manifest.json")) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && !self.result().exists() => return Err(None),
            Err(error) => return Err(Some(format!("its manifest cannot be read ({error})"))),
        };
        let sealed: Sealed =
            serde_json::from_slice(&text).map_err(|e| Some(format!("its manifest is damaged ({e})")))?;
        if sealed.sha256 != sealed.manifest.sha256() {
            return Err(Some("its manifest has another SHA-256 than when it was written".into()));
        }
        if sealed.manifest.provenance.key.to_string() != self.key {
            return Err(Some("it is the result of another step".into()));
        }
        Ok(sealed.manifest)
    }

    pub(super) fn load<T: Stored>(&self) -> Found<T> {
        let Manifest { provenance, files } = match self.manifest() {
            Ok(manifest) => manifest,
            Err(None) => return Found::Nothing,
            Err(Some(what)) => return Found::Damaged(what),
        };
        let files = Files::new(self.result(), files);
        if let Some(what) = files.damage() {
            return Found::Damaged(what);
        }
        match T::read(&files) {
            Ok(result) => Found::Whole(result, Box::new(provenance)),
            Err(error) => Found::Damaged(format!("it is not what is wanted ({error})")),
        }
    }

    /// Writes a result beside the place where it belongs, and then moves it there, whole. Whoever calls this has the
    /// lock.
    pub(super) fn save(
        &self,
        step: &Description,
        result: &impl Stored,
        provenance: &Provenance,
    ) -> Result<()> {
        let partial = self.folder.join("partial");
        let written = self.write(&partial, result, provenance);
        if let Err(error) = written {
            let _ = fs::remove_dir_all(&partial);
            return Err(Error::format(
                &self.folder,
                format!(
                    "the result of {} cannot be kept ({error}): make room in {}, or set IGPT_STORE to another folder",
                    step.name(),
                    self.store.display()
                ),
            ));
        }
        let _ = fs::remove_dir_all(self.folder.join("checkpoint"));
        Ok(())
    }

    fn write(&self, partial: &Path, result: &impl Stored, provenance: &Provenance) -> Result<()> {
        remove(partial)?;
        fs::create_dir_all(partial).map_err(|e| Error::io(partial, e))?;
        let mut files = Files::new(partial.to_owned(), BTreeMap::new());
        result.write(&mut files)?;
        let manifest = Manifest { provenance: provenance.clone(), files: files.checked };
        let sealed = Sealed { sha256: manifest.sha256(), manifest };
        let path = partial.join("manifest.json");
        let text = serde_json::to_vec_pretty(&sealed).map_err(|e| Error::format(&path, e.to_string()))?;
        fs::write(&path, text).map_err(|e| Error::io(&path, e))?;
        atomic::sync(&path).map_err(|e| Error::io(&path, e))?;
        // A damaged result lies there at most.
        remove(&self.result())?;
        atomic::publish(partial, &self.result()).map_err(|e| Error::io(partial, e))
    }
}

/// The descriptions of stored results of a kind of step, the newest first, but for that in the folder `except`. Not more than a
/// few dozen: it is about what somebody may have changed lately.
pub(super) fn descriptions(store: &Path, name: &str, except: &Path) -> Vec<String> {
    const MOST: usize = 50;
    let prefix = format!("{name}-");
    let entries = fs::read_dir(store).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_such = |path: &PathBuf| {
        // A key's 16 digits, so that `a-b-…` is no result of `a`.
        let key = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(&prefix));
        path != except && key.is_some_and(|key| key.len() == 16 && !key.contains('-'))
    };
    let dated = |path: PathBuf| {
        let manifest = path.join("result/manifest.json");
        Some((manifest.metadata().ok()?.modified().ok()?, manifest))
    };
    let mut manifests: Vec<_> = entries.filter(is_such).filter_map(dated).collect();
    manifests.sort();
    manifests.reverse();
    let description = |manifest: &PathBuf| {
        let sealed: Sealed = serde_json::from_slice(&fs::read(manifest).ok()?).ok()?;
        Some(sealed.manifest.provenance.description)
    };
    manifests.iter().take(MOST).filter_map(|(_, manifest)| description(manifest)).collect()
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(folder, error)),
        _ => Ok(()),
    }
}
