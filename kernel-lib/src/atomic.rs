//! Files and folders that are complete or not there, whenever the power fails: the one place that waits for the disk and
//! renames.

use crate::{Error, Result};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a file beside its place, then renames it: nobody ever reads half of it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |unfinished| File::create_new(unfinished)?.write_all(bytes))
}

/// The same without waiting for the disk, for what is of no use after a failure of the power.
pub(crate) fn write_unsynced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension(format!("{}.unfinished", std::process::id()));
    fs::write(&unfinished, bytes)?;
    fs::rename(&unfinished, path)
}

/// The same for what knows how to write itself to the path it is given.
pub(crate) fn write_with(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or_else(|| Error::invalid(format!("{} names no file", path.display())))?;
    let mut unfinished = name.to_owned();
    unfinished.push(format!(".{}-{}.unfinished", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    let unfinished = path.with_file_name(unfinished);
    write(&unfinished).and_then(|()| publish(&unfinished, path)).map_err(|e| {
        // It may not be there, or not be ours to remove; the first error is the one to tell.
        let _ = fs::remove_file(&unfinished);
        Error::io(path, e)
    })
}

/// Gives a finished file, or a folder whose files are on the disk, the name that it is looked for by. When this returns it
/// is there for good.
pub(crate) fn publish(finished: &Path, path: &Path) -> io::Result<()> {
    sync(finished)?;
    rename(finished, path)
}

/// Gives a file that is on the disk another name. When this returns, the name is on the disk too.
pub(crate) fn rename(file: &Path, path: &Path) -> io::Result<()> {
    fs::rename(file, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match sync(folder.unwrap_or(Path::new("."))) {
        // A file system that waits for no folder keeps names in its own way.
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

/// Waits until what was written to a file, or the names in a folder, are on the disk.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let names = || -> Vec<_> {
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect()
        };
        let half = |unfinished: &Path| {
            fs::write(unfinished, "ha")?;
            Err(io::Error::other("told to fail"))
        };
        let error = write_with(&path, half).unwrap_err().to_string();
        assert!(error.contains("file: told to fail"), "{error}");
        assert!(names().is_empty());
        write(&path, b"first").unwrap();
        assert!(write_with(&path, half).is_err());
        assert_eq!((fs::read(&path).unwrap(), names().len()), (b"first".to_vec(), 1));
        write(&path, b"second").unwrap();
        assert_eq!((fs::read(&path).unwrap(), names().len()), (b"second".to_vec(), 1));
        assert!(write(&folder.path().join("no folder/file"), b"").is_err());
    }

    #[test]
    fn a_folder_is_published_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (partial, whole) = (folder.path().join("partial"), folder.path().join("whole"));
        fs::create_dir(&partial).unwrap();
        fs::write(partial.join("file"), "x").unwrap();
        publish(&partial, &whole).unwrap();
        assert!(!partial.exists() && whole.join("file").exists());
        assert!(publish(&partial, &whole).is_err());
    }

    /// Whoever renames by hand forgets to wait for the disk, and a result that looks whole after a power cut is not.
    #[test]
    fn nobody_else_renames_or_waits_for_the_disk() {
        fn look(folder: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    look(&path, found);
                    continue;
                }
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if path.extension().is_none_or(|e| e != "rs")
                    || matches!(name.as_str(), "atomic.rs" | "tests.rs")
                {
                    continue;
                }
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
                for by_hand in ["fs::rename(", ".sync_all(", ".sync_data("] {
                    if code.contains(by_hand) {
                        found.push(format!("{}: {by_hand}", path.display()));
                    }
                }
            }
        }
        let mut found = Vec::new();
        look(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        assert!(found.is_empty(), "{found:#?}");
    }
}
