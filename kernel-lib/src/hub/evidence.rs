//! Whether weights in the Hugging Face cache have the bytes that the hub gave: a large file's blob has its SHA-256 as its name. Where a
//! copy of a cache has files instead of links to blobs (`cp -rL`, a network drive), the blobs that lie beside them still say it.
//!
//! Small files are named by git's hash, which this library does not compute: `igpt fetch` verifies them.

use crate::hex::sha256_of_file;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// Checks the files of a snapshot, a folder that lies two below its repository's, which has the blobs.
///
/// # Errors
/// If a file cannot be read, or has other bytes than its blob's name or the blobs beside it say; `command` downloads it again.
pub(super) fn check(folder: &Path, command: &str) -> Result<()> {
    let blobs = folder.ancestors().nth(2).unwrap_or(folder).join("blobs");
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    for entry in entries {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        if path.is_file() {
            check_file(&path, &blobs, command)?;
        }
    }
    Ok(())
}

fn check_file(path: &Path, blobs: &Path, command: &str) -> Result<()> {
    let io = |e| Error::io(path, e);
    let real = path.canonicalize().map_err(io)?;
    let own = real.file_name().and_then(|name| name.to_str()).filter(|name| is_sha256(name));
    let size = real.metadata().map_err(io)?.len();
    let expected = match own {
        Some(own) => vec![own.to_owned()],
        None => of_size(blobs, size),
    };
    if expected.is_empty() || expected.contains(&sha256(path)?) {
        return Ok(());
    }
    Err(Error::format(
        path,
        format!(
            "is damaged: its SHA-256 is {}, but should be {}; delete {} and run `{command}`, which downloads it again",
            sha256(path)?,
            expected.join(" or "),
            real.display()
        ),
    ))
}

/// The blobs of this size that are named by an SHA-256.
fn of_size(blobs: &Path, size: u64) -> Vec<String> {
    let entries = std::fs::read_dir(blobs).into_iter().flatten().flatten();
    let entries = entries.filter(|entry| entry.metadata().is_ok_and(|found| found.len() == size));
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| is_sha256(name));
    names.sort();
    names
}

fn is_sha256(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

/// The SHA-256 of a file, computed once for each state of it: weights are gigabytes.
pub(crate) fn sha256(path: &Path) -> Result<String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// `sha256sum` of a file that holds `hello` and a line's end
    const SHA256: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

    #[test]
    fn weights_must_be_those_of_their_blob() {
        for is_link in [true, false] {
            let place = tempfile::tempdir().unwrap();
            let [blobs, folder] = ["blobs", "snapshots/1"].map(|name| place.path().join(name));
            fs::create_dir_all(&blobs).unwrap();
            fs::create_dir_all(&folder).unwrap();
            let (blob, file) = (blobs.join(SHA256), folder.join("pytorch_model.bin"));
            fs::write(&blob, "hello\n").unwrap();
            fs::write(folder.join("config.json"), "{}").unwrap();
            match is_link {
                true => std::os::unix::fs::symlink(format!("../../blobs/{SHA256}"), &file).unwrap(),
                false => fs::write(&file, "hello\n").unwrap(),
            }
            check(&folder, "igpt fetch x").unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
            fs::write(&file, "hullo\n").unwrap();
            let error = check(&folder, "igpt fetch x").unwrap_err().to_string();
            let damaged = if is_link { &blob } else { &file };
            assert!(
                error.starts_with(&format!("{}: is damaged: its SHA-256 is ", file.display())),
                "{error}"
            );
            let damaged = damaged.canonicalize().unwrap();
            let cure = format!("but should be {SHA256}; delete {} and run `igpt fetch x`", damaged.display());
            assert!(error.contains(&cure), "{error}");
            // Where nothing says what it should be, it is taken as it is.
            if !is_link {
                fs::remove_file(&blob).unwrap();
                check(&folder, "igpt fetch x").unwrap();
            }
        }
    }
}
