//! Which files of a cache this process has verified: each is hashed once, and again only if it changed since.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// The files, with their SHA-256.
#[derive(Debug, Clone, Default)]
pub(super) struct Verified(HashMap<PathBuf, (Stamp, String)>);

/// What is another after every change of a file's bytes.
type Stamp = [i128; 6];

impl Verified {
    /// The file was found to have this hash just now. Of hashes that are no SHA-256 nothing is kept.
    pub(super) fn add(&mut self, path: &Path, hash: &str) {
        if let (64, Some(stamp)) = (hash.len(), stamp(path)) {
            self.0.insert(path.to_owned(), (stamp, hash.to_owned()));
        }
    }

    /// The SHA-256 of a file, if it is as it was when it was verified.
    pub(super) fn sha256(&self, path: &Path) -> Option<&str> {
        let (then, hash) = self.0.get(path)?;
        (stamp(path)? == *then).then_some(hash)
    }
}

/// Of a link: of what it leads to.
fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::metadata(path).ok()?;
    let changed = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()].map(i128::from);
    let [a, b, c, d] = changed;
    Some([found.ino().into(), found.len().into(), a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changed_is_verified_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        fs::write(&a, "good").unwrap();
        fs::write(&b, "good").unwrap();
        let mut verified = Verified::default();
        verified.add(&a, &"0".repeat(64));
        verified.add(&b, &"0".repeat(40));
        verified.add(&folder.path().join("c"), &"0".repeat(64));
        assert_eq!(verified.sha256(&a).map(str::len), Some(64));
        assert_eq!((verified.sha256(&b), verified.sha256(&folder.path().join("c"))), (None, None));
        // As long, and said to be as old as before.
        let before = fs::metadata(&a).unwrap().modified().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(&a, "goof").unwrap();
        fs::File::options().write(true).open(&a).unwrap().set_modified(before).unwrap();
        assert_eq!(verified.sha256(&a), None);
    }
}
