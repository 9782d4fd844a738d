//! How results become files, and files results.

use crate::hex::{hex, sha256_of_file};
use crate::{Error, Result, atomic};
use candle_core::{Device, Tensor};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Named tensors on the CPU.
pub type Tensors = HashMap<String, Tensor>;

/// What is known of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Checked {
    bytes: u64,
    sha256: String,
}

/// A file that is too large to be checked whenever its result is looked for: it is checked when it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LargeFile {
    path: PathBuf,
    checked: Checked,
}

/// How large files end.
const LARGE: &str = "large";

impl LargeFile {
    /// All that is in it.
    ///
    /// # Errors
    /// If it cannot be read, or is not what was written.
    pub fn read(&self) -> Result<Vec<u8>> {
        let bytes = fs::read(&self.path).map_err(|e| Error::io(&self.path, e))?;
        self.check(&hex(&Sha256::digest(&bytes)))?;
        Ok(bytes)
    }

    /// The file, opened, to be read in parts. It is read once as a whole, to see that it is what was written.
    ///
    /// # Errors
    /// As [`LargeFile::read`].
    pub fn open(&self) -> Result<File> {
        let (_, sha256) = sha256_of_file(&self.path).map_err(|e| Error::io(&self.path, e))?;
        self.check(&sha256)?;
        File::open(&self.path).map_err(|e| Error::io(&self.path, e))
    }

    fn check(&self, sha256: &str) -> Result<()> {
        if sha256 == self.checked.sha256 {
            return Ok(());
        }
        Err(Error::format(
            &self.path,
            "it has another SHA-256 than when it was written: remove the folder of this result, and it is computed again",
        ))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The files of one result.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    pub(super) checked: BTreeMap<String, Checked>,
}

impl Files {
    pub(super) fn new(folder: PathBuf, checked: BTreeMap<String, Checked>) -> Self {
        Self { folder, checked }
    }

    /// Writes a value as `<name>.json`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_json(&mut self, name: &str, value: &impl Serialize) -> Result<()> {
        let path = self.path(name, "json")?;
        let json = serde_json::to_vec(value).map_err(|e| Error::format(&path, e.to_string()))?;
        self.write(&path, &json)
    }

    /// Reads a value from `<name>.json`.
    ///
    /// # Errors
    /// If it is not there or something else.
    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let path = self.path(name, "json")?;
        let json = fs::read(&path).map_err(|e| Error::io(&path, e))?;
        serde_json::from_slice(&json).map_err(|e| Error::format(&path, e.to_string()))
    }

    /// Writes tensors as `<name>.safetensors`.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write_tensors(&mut self, name: &str, tensors: &Tensors) -> Result<()> {
        let path = self.path(name, "safetensors")?;
        candle_core::safetensors::save(tensors, &path)?;
        self.check_in(&path)
    }

    /// Reads tensors from `<name>.safetensors`.
    ///
    /// # Errors
    /// If they are not there.
    pub fn read_tensors(&self, name: &str) -> Result<Tensors> {
        Ok(candle_core::safetensors::load(self.path(name, "safetensors")?, &Device::Cpu)?)
    }

    /// Writes bytes as `<name>.bin`.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(name, "bin")?;
        self.write(&path, bytes)
    }

    /// Reads bytes from `<name>.bin`.
    ///
    /// # Errors
    /// If they are not there.
    pub fn read_bytes(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path(name, "bin")?;
        fs::read(&path).map_err(|e| Error::io(&path, e))
    }

    /// Takes a file that the computation has written, as `<name>.large`. It has to be on the same file system, as files in
    /// [`Context::folder`](super::Context::folder) are.
    ///
    /// # Errors
    /// If it cannot be moved.
    pub fn take_large(&mut self, name: &str, file: &Path) -> Result<()> {
        let path = self.path(name, LARGE)?;
        atomic::rename(file, &path).map_err(|e| Error::io(file, e))?;
        self.check_in(&path)
    }

    /// The file `<name>.large`, to be read when it is wanted.
    ///
    /// # Errors
    /// If there is none.
    pub fn large(&self, name: &str) -> Result<LargeFile> {
        let path = self.path(name, LARGE)?;
        let checked = self.checked.get(&format!("{name}.{LARGE}"));
        let checked = checked.ok_or_else(|| Error::format(&path, "there is no such file in this result"))?;
        Ok(LargeFile { checked: checked.clone(), path })
    }

    fn path(&self, name: &str, extension: &str) -> Result<PathBuf> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.is_empty() || name == "manifest" || !name.chars().all(plain) {
            return Err(Error::invalid(format!("{name:?} cannot name a file of a result")));
        }
        Ok(self.folder.join(format!("{name}.{extension}")))
    }

    fn write(&mut self, path: &Path, bytes: &[u8]) -> Result<()> {
        let written = File::create(path).and_then(|mut file| file.write_all(bytes));
        written.map_err(|e| Error::io(path, e))?;
        self.check_in(path)
    }

    /// Waits until the file is on the disk, and notes what is in it.
    fn check_in(&mut self, path: &Path) -> Result<()> {
        atomic::sync(path).map_err(|e| Error::io(path, e))?;
        let checked = checked(path).map_err(|e| Error::io(path, e))?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        self.checked.insert(name, checked);
        Ok(())
    }

    /// Says what is wrong with the files, if something is. Of large ones only the length is looked at.
    pub(super) fn damage(&self) -> Option<String> {
        let found = |name: &str, noted: &Checked| {
            let path = self.folder.join(name);
            if !name.ends_with(&format!(".{LARGE}")) {
                return checked(&path);
            }
            let bytes = fs::metadata(&path)?.len();
            Ok(Checked { bytes, ..noted.clone() })
        };
        self.checked.iter().find_map(|(name, noted)| match found(name, noted) {
            Err(error) => Some(format!("{name} cannot be read ({error})")),
            Ok(found) if found.bytes != noted.bytes => {
                Some(format!("{name} has {} bytes and not {}", found.bytes, noted.bytes))
            }
            Ok(found) if found != *noted => {
                Some(format!("{name} has another SHA-256 than when it was written"))
            }
            Ok(_) => None,
        })
    }
}

fn checked(path: &Path) -> std::io::Result<Checked> {
    let (bytes, sha256) = sha256_of_file(path)?;
    Ok(Checked { bytes, sha256 })
}
