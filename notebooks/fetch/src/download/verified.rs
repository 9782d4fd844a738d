//! Which files of a cache this process has verified: each is hashed once, and again only if it changed since.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use crate::file_stamp::{self, Stamp};

/// The files, with their SHA-256 where it is known: of a small file the hub says only git's hash.
#[derive(Debug, Clone, Default)]
pub(super) struct Verified(HashMap<PathBuf, (Stamp, Option<String>)>);

impl Verified {
    /// The file was found to have this hash just now, an SHA-256 or git's.
    pub(super) fn add(&mut self, path: &Path, hash: &str) {
        if let Some(stamp) = stamp(path) {
            let sha256 = (hash.len() == 64).then(|| hash.to_owned());
            self.0.insert(path.to_owned(), (stamp, sha256));
        }
    }

    /// Whether a file is as it was when it was verified.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.0.get(path).is_some_and(|(then, _)| stamp(path).as_ref() == Some(then))
    }

    /// Its SHA-256, if it is, and its SHA-256 is known.
    pub(super) fn sha256(&self, path: &Path) -> Option<&str> {
        let (_, sha256) = self.0.get(path).filter(|_| self.has(path))?;
        sha256.as_deref()
    }
}

/// Of a link: of what it leads to.
fn stamp(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().as_ref().map(file_stamp::stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changed_is_verified_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| folder.path().join(name));
        fs::write(&a, "good").unwrap();
        fs::write(&b, "good").unwrap();
        let mut verified = Verified::default();
        verified.add(&a, &"0".repeat(64));
        verified.add(&b, &"0".repeat(40));
        verified.add(&c, &"0".repeat(64));
        assert_eq!(verified.sha256(&a).map(str::len), Some(64));
        assert_eq!((verified.sha256(&b), verified.sha256(&c)), (None, None));
        assert_eq!([&a, &b, &c].map(|path| verified.has(path)), [true, true, false]);
        // As long, and said to be as old as before.
        let before = fs::metadata(&a).unwrap().modified().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(&a, "goof").unwrap();
        fs::File::options().write(true).open(&a).unwrap().set_modified(before).unwrap();
        assert_eq!(verified.sha256(&a), None);
        assert!(!verified.has(&a));
    }
}
