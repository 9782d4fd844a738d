//! Whether a file of the cache has the bytes that it should have, without asking the hub: a blob's name is its hash. Where a copy of a
//! cache has files instead of links to blobs (`cp -rL`, a network drive), the blobs that lie beside them still say it.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::{Context as _, Result, bail};

use super::hash::Hasher;

/// What the cache says about one of its files that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Evidence {
    /// It has this hash, an SHA-256 or git's, which is the name of a blob.
    Right(String),
    /// Nothing in the cache says what its bytes should be.
    None,
}

impl Evidence {
    /// About the file at `path`; `blobs` is the folder of its repository's blobs.
    ///
    /// # Errors
    /// If the file cannot be read, or has other bytes than it should have.
    pub(super) fn of(path: &Path, blobs: &Path) -> Result<Self> {
        let context = || format!("cannot read {}", path.display());
        let real = path.canonicalize().with_context(context)?;
        let size = fs::metadata(&real).with_context(context)?.len();
        let name = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(hasher) = Hasher::of(&name, size) {
            let found = digits(hasher, &real).with_context(context)?;
            if found != name {
                bail!(
                    "{} is damaged: its hash is {found} and not its blob's name; delete {} and download it again",
                    path.display(),
                    real.display()
                );
            }
            return Ok(Self::Right(name));
        }
        let rivals = of_size(blobs, size);
        for rival in &rivals {
            let Some(hasher) = Hasher::of(rival, size) else { continue };
            if digits(hasher, &real).with_context(context)? == *rival {
                return Ok(Self::Right(rival.clone()));
            }
        }
        match rivals.first() {
            None => Ok(Self::None),
            Some(rival) => bail!(
                "{} is damaged: it is a copy of none of the blobs in {}, but as long as {rival}; delete it and download \
                 it again",
                path.display(),
                blobs.display()
            ),
        }
    }
}

/// The names of the blobs of this size, in their order.
fn of_size(blobs: &Path, size: u64) -> Vec<String> {
    let entries = fs::read_dir(blobs).into_iter().flatten().flatten();
    let names = entries.filter(|entry| entry.metadata().is_ok_and(|found| found.len() == size));
    let mut names: Vec<String> = names.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| Hasher::of(name, size).is_some());
    names.sort();
    names
}

fn digits(mut hasher: Hasher, path: &Path) -> std::io::Result<String> {
    hasher.read(&mut File::open(path)?)?;
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// `git hash-object` and `sha256sum` of a file that holds `hello` and a line's end
    const GIT: &str = "ce013625030ba8dba906f756967f9e9ca394464a";
    const SHA256: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

    #[test]
    fn a_blob_must_have_the_hash_that_is_its_name() {
        for name in [GIT, SHA256] {
            let folder = tempfile::tempdir().unwrap();
            let (blob, link) = (folder.path().join(name), folder.path().join("x"));
            symlink(&blob, &link).unwrap();
            fs::write(&blob, "hello\n").unwrap();
            assert_eq!(Evidence::of(&link, folder.path()).unwrap(), Evidence::Right(name.into()));
            fs::write(&blob, "hullo\n").unwrap();
            let error = Evidence::of(&link, folder.path()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{} is damaged", link.display())), "{error}");
            assert!(error.contains(&format!("delete {} and", blob.display())), "{error}");
        }
    }

    #[test]
    fn a_copy_must_have_the_bytes_of_a_blob() {
        for name in [GIT, SHA256] {
            let folder = tempfile::tempdir().unwrap();
            let (blobs, copy) = (folder.path().join("blobs"), folder.path().join("x"));
            fs::create_dir(&blobs).unwrap();
            fs::write(&copy, "hello\n").unwrap();
            assert_eq!(Evidence::of(&copy, &blobs).unwrap(), Evidence::None);
            fs::write(blobs.join("f".repeat(40)), "another length").unwrap();
            assert_eq!(Evidence::of(&copy, &blobs).unwrap(), Evidence::None);
            fs::write(blobs.join(name), "hello\n").unwrap();
            fs::write(blobs.join("0".repeat(40)), "hollo\n").unwrap();
            assert_eq!(Evidence::of(&copy, &blobs).unwrap(), Evidence::Right(name.into()));
            fs::write(&copy, "hullo\n").unwrap();
            let error = Evidence::of(&copy, &blobs).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{} is damaged", copy.display())), "{error}");
        }
    }
}
