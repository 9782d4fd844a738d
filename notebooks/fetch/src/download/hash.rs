//! The hashes by which the hub names what is in a file.

use std::{fs::File, io::Read as _, path::Path};

use anyhow::{Context as _, Result};
use igpt_common::hex::hex;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// A hash in the making.
#[derive(Clone)]
pub(super) enum Hasher {
    /// Of large files, which lie in Git LFS or Xet.
    Sha256(Sha256),
    /// Of small files: git's object id.
    Git(Sha1),
}

impl Hasher {
    /// The hash that `name` is, of a file of this size: an SHA-256 has 64 digits, a git object id 40. `None` for what is
    /// neither.
    pub(super) fn of(name: &str, size: u64) -> Option<Self> {
        if !name.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        match name.len() {
            64 => Some(Self::Sha256(Sha256::new())),
            40 => Some(Self::Git(Sha1::new_with_prefix(format!("blob {size}\0")))),
            _ => None,
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Git(hash) => hash.update(bytes),
        }
    }

    /// The digits.
    pub(super) fn finish(self) -> String {
        match self {
            Self::Sha256(hash) => hex(&hash.finalize()),
            Self::Git(hash) => hex(&hash.finalize()),
        }
    }

    /// Takes in the rest of a file; how many bytes it was.
    pub(super) fn read(&mut self, file: &mut File) -> std::io::Result<u64> {
        let mut piece = vec![0; 1 << 20];
        let mut length = 0;
        loop {
            match file.read(&mut piece)? {
                0 => return Ok(length),
                read => {
                    self.update(&piece[..read]);
                    length += read as u64;
                }
            }
        }
    }
}

/// Whether the file has this size and hash.
pub(super) fn matches(path: &Path, name: &str, size: u64) -> Result<bool> {
    let context = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(context)?;
    if file.metadata().with_context(context)?.len() != size {
        return Ok(false);
    }
    let Some(mut hash) = Hasher::of(name, size) else { return Ok(false) };
    hash.read(&mut file).with_context(context)?;
    Ok(hash.finish() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_git_and_sha256sum_say() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hello");
        std::fs::write(&file, "hello\n").unwrap();
        // `git hash-object hello` and `sha256sum hello`
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        for name in [git, sha256] {
            assert!(matches(&file, name, 6).unwrap());
            assert!(!matches(&file, name, 7).unwrap());
            assert!(!matches(&file, &name.replace('5', "6"), 6).unwrap());
        }
        for name in ["", "ce01", "../../../../../../../../../../../etc/pass", &git.to_uppercase()] {
            assert!(Hasher::of(name, 6).is_none(), "{name:?}");
        }
    }
}
