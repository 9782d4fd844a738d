//! The Hugging Face cache: which files of a repository are in it, and how more of them get there.
//!
//! ```text
//! models--openai--imagegpt-small/refs/main                          a commit
//!                                snapshots/<commit>/config.json     a link to
//!                                blobs/<hash>                       the file's bytes
//! .locks/models--openai--imagegpt-small/<hash>.lock                 held by who downloads them
//! ```

use std::{
    env, fmt,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use igpt_common::hex::hex;
use sha2::{Digest as _, Sha256};

use super::{
    RepositoryKind,
    cache_folder::{CacheFolder, folder_name},
    choice,
    evidence::Evidence,
    progress::Verifying,
    settings,
    verified::Verified,
};

/// The cache directory of the hub's own Python client: `HF_HUB_CACHE`, else `HF_HOME/hub`, else
/// `XDG_CACHE_HOME/huggingface/hub`, else `~/.cache/huggingface/hub`.
///
/// # Errors
/// If there is no home folder and no variable names another.
pub fn cache() -> Result<PathBuf> {
    settings::cache(&|name| env::var_os(name))
}

/// The files of a repository that are in the cache, at one commit.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// `uoft-cs/cifar10`
    pub repository: String,
    /// The commit.
    pub revision: String,
    kind: RepositoryKind,
    folder: PathBuf,
    /// Of the repository, in the cache.
    blobs: PathBuf,
    cache: PathBuf,
    verified: Verified,
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at revision {} in {}", self.repository, &self.revision[..12], self.cache.display())
    }
}

impl Snapshot {
    /// What the cache has of a repository at a commit, or at the commit that a branch or tag was when it was last
    /// downloaded.
    ///
    /// # Errors
    /// If there is nothing; the message says what to do.
    pub fn at(cache: &Path, kind: RepositoryKind, repository: &str, revision: &str) -> Result<Self> {
        let folder = CacheFolder::new(cache, kind, repository);
        let missing = |what: String| missing(cache, kind, repository, &what);
        let commit = if is_commit(revision) {
            revision.to_owned()
        } else {
            let reference = folder.reference(revision);
            let Ok(text) = fs::read_to_string(&reference) else {
                bail!(missing(format!("there is no {}", reference.display())));
            };
            let commit = text.trim().to_owned();
            if !is_commit(&commit) {
                bail!(
                    "{} is not the 40 hexadecimal digits of a commit: {commit:?}; delete it and download \
                     {repository} again",
                    reference.display()
                );
            }
            commit
        };
        let (folder, blobs) = (folder.snapshot(&commit), folder.blobs());
        if !folder.is_dir() {
            bail!(missing(format!("there is no {}", folder.display())));
        }
        Ok(Self {
            repository: repository.to_owned(),
            revision: commit,
            kind,
            folder,
            blobs,
            cache: cache.to_owned(),
            verified: Verified::default(),
        })
    }

    /// The same; these of its files were verified.
    pub(super) fn with(self, verified: Verified) -> Self {
        Self { verified, ..self }
    }

    /// Where the files lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Sees to it that these of the files have the bytes that they should have, as far as the cache itself says which these are.
    /// `say` is called with the names of those that could not be verified.
    ///
    /// # Errors
    /// If a file cannot be read, or is damaged.
    pub(super) fn verify(mut self, names: &[String], say: &dyn Fn(&str)) -> Result<Self> {
        let paths: Vec<PathBuf> = names.iter().map(|name| self.folder.join(name)).collect();
        let bytes = paths.iter().filter_map(|path| Some(fs::metadata(path).ok()?.len())).sum();
        let mut verifying = Verifying::new(bytes, names.len(), say);
        let mut unknown = Vec::new();
        for (name, path) in names.iter().zip(&paths) {
            verifying.next(name);
            match Evidence::of(path, &self.blobs)? {
                Evidence::Right(hash) => self.verified.add(path, &hash),
                Evidence::None => unknown.push(name.clone()),
            }
        }
        if !unknown.is_empty() {
            say(&format!(
                "{self}: nothing there says which bytes these files should have, so they are taken as they are: {}. Where \
                 the hub can be asked, `igpt fetch` verifies them",
                choice::listed(&unknown)
            ));
        }
        Ok(self)
    }

    /// The SHA-256 of one of the files. What was hashed when the snapshot was made is hashed again only if it changed.
    ///
    /// # Errors
    /// If the file cannot be read, or is damaged.
    pub fn sha256(&self, file: &Path) -> Result<String> {
        if let Some(known) = self.verified.sha256(file) {
            return Ok(known.to_owned());
        }
        if !self.verified.has(file) {
            Evidence::of(file, &self.blobs)?;
        }
        sha256(file).with_context(|| format!("cannot read {}", file.display()))
    }

    /// The names of the files, with the folders that they are in, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
                // Of a link: of what it leads to.
                let name = path.strip_prefix(&self.folder).ok().and_then(Path::to_str);
                match (path.metadata(), name) {
                    (Ok(found), Some(name)) if found.is_file() => names.push(name.to_owned()),
                    (Ok(found), _) if found.is_dir() => folders.push(path),
                    _ => {}
                }
            }
        }
        names.sort();
        names
    }

    /// The Parquet files of a split in `folder`, `train-00000-of-00002.parquet` and so on, in their order.
    ///
    /// # Errors
    /// If there is none, or not all; the message says what to do.
    pub fn shards(&self, folder: &str, split: &str) -> Result<Vec<PathBuf>> {
        let folder = self.folder.join(folder);
        let missing = |what: String| missing(&self.cache, self.kind, &self.repository, &what);
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if let Some((stem, at, count, ".parquet")) = name.to_str().and_then(choice::part)
                && stem == split
            {
                found.push(((at, count), entry.path()));
            }
        }
        found.sort();
        let Some(((_, count), _)) = found.first().cloned() else {
            bail!(missing(format!("there is no {}/{split}-*.parquet", folder.display())));
        };
        if found.iter().map(|(place, _)| *place).ne((0..count).map(|at| (at, count))) {
            let names: Vec<_> =
                found.iter().filter_map(|(_, path)| Some(path.file_name()?.to_string_lossy())).collect();
            let names = names.join(", ");
            bail!(missing(format!(
                "{} should hold all {count} parts of {split}, but has {names}",
                folder.display()
            )));
        }
        Ok(found.into_iter().map(|(_, path)| path).collect())
    }
}

/// Whether this is a commit, and not a branch or tag.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

fn missing(cache: &Path, kind: RepositoryKind, repository: &str, what: &str) -> String {
    let option = match kind {
        RepositoryKind::Model => "",
        RepositoryKind::Dataset => " --repo-type dataset",
    };
    format!(
        "{repository} is not in the Hugging Face cache {}: {what}.\n\
         Where there is a network, download it:\n    \
         huggingface-cli download {repository}{option}\n\
         (`hf download …` in newer versions), or copy the folder {} of another machine's cache into this one.\n\
         HF_HUB_CACHE names another cache directory. HF_HUB_OFFLINE=1 forbids the network.",
        cache.display(),
        folder_name(kind, repository)
    )
}

fn sha256(path: &Path) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    std::io::copy(&mut File::open(path)?, &mut hash)?;
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::super::MAIN;
    use super::*;

    /// A cache with these files in one revision of `a/b`.
    fn cache_with(files: &[&str]) -> tempfile::TempDir {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("datasets--a--b");
        let plain = folder.join("snapshots").join("0".repeat(40)).join("plain");
        fs::create_dir_all(&plain).unwrap();
        fs::create_dir_all(folder.join("refs")).unwrap();
        fs::write(folder.join("refs/main"), "0".repeat(40)).unwrap();
        for file in files {
            fs::write(plain.join(file), file).unwrap();
        }
        cache
    }

    /// The newest revision of the data set `a/b` in a cache.
    fn newest(cache: &Path) -> Result<Snapshot> {
        Snapshot::at(cache, RepositoryKind::Dataset, "a/b", MAIN)
    }

    #[test]
    fn all_parts_are_found_in_their_order() {
        let cache = cache_with(&[
            "train-00001-of-00003.parquet",
            "train-00002-of-00003.parquet",
            "train-00000-of-00003.parquet",
            "test-00000-of-00001.parquet",
            "train.txt",
        ]);
        let snapshot = newest(cache.path()).unwrap();
        let names: Vec<_> = snapshot.shards("plain", "train").unwrap();
        let names: Vec<_> = names.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        let expected = [0, 1, 2].map(|at| format!("train-0000{at}-of-00003.parquet"));
        assert_eq!(names, expected);
        let none = snapshot.shards("plain", "validation").unwrap_err().to_string();
        assert!(none.contains("validation-*.parquet.\n"), "{none}");
    }

    #[test]
    fn what_is_missing_is_said_with_the_cure() {
        let cure = "huggingface-cli download a/b --repo-type dataset";
        let empty = tempfile::tempdir().unwrap();
        let error = newest(empty.path()).unwrap_err().to_string();
        assert!(error.contains("datasets--a--b/refs/main.\n") && error.contains(cure), "{error}");
        assert!(error.contains("HF_HUB_CACHE") && error.contains("HF_HUB_OFFLINE"), "{error}");
        let error = Snapshot::at(empty.path(), RepositoryKind::Model, "a/b", MAIN).unwrap_err().to_string();
        assert!(error.contains("models--a--b/refs/main.\n") && error.contains("download a/b\n"), "{error}");
        for files in [
            &["train-00001-of-00002.parquet"][..],
            &["train-00000-of-00001.parquet", "train-00000-of-00002.parquet"],
        ] {
            let cache = cache_with(files);
            let snapshot = newest(cache.path()).unwrap();
            let error = snapshot.shards("plain", "train").unwrap_err().to_string();
            assert!(error.contains("parts of train, but has ") && error.contains(files[0]), "{error}");
            assert!(error.contains(cure), "{error}");
        }
        let cache = cache_with(&[]);
        fs::write(cache.path().join("datasets--a--b/refs/main"), "../../../etc").unwrap();
        let error = newest(cache.path()).unwrap_err().to_string();
        assert!(error.contains("is not the 40 hexadecimal digits of a commit: \"../../../etc\""), "{error}");
        fs::write(cache.path().join("datasets--a--b/refs/main"), "1".repeat(40)).unwrap();
        let error = newest(cache.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("snapshots/{}.\n", "1".repeat(40))), "{error}");
    }

    /// A copy of a cache in which links became files, one byte of which changed.
    #[test]
    fn files_are_verified_by_the_blobs_beside_them() {
        let cache = cache_with(&["train-00000-of-00001.parquet"]);
        let name = "plain/train-00000-of-00001.parquet".to_owned();
        let verified = || {
            let said = std::cell::RefCell::new(Vec::new());
            let snapshot = newest(cache.path()).unwrap();
            let snapshot =
                snapshot.verify(std::slice::from_ref(&name), &|line| said.borrow_mut().push(line.to_owned()));
            snapshot.map(|_| said.take().join("\n"))
        };
        let said = verified().unwrap();
        assert!(said.contains("so they are taken as they are: plain/train-00000"), "{said}");

        let file = newest(cache.path()).unwrap().folder().join(&name);
        let good = fs::read(&file).unwrap();
        let blobs = cache.path().join("datasets--a--b/blobs");
        fs::create_dir(&blobs).unwrap();
        fs::write(blobs.join(hex(&Sha256::digest(&good))), &good).unwrap();
        assert_eq!(verified().unwrap(), "");
        let mut bad = good.clone();
        bad[3] ^= 1;
        fs::write(&file, bad).unwrap();
        let error = verified().unwrap_err().to_string();
        assert!(error.starts_with(&format!("{} is damaged: ", file.display())), "{error}");
        let error = newest(cache.path()).unwrap().sha256(&file).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{} is damaged: ", file.display())), "{error}");
        fs::write(&file, &good).unwrap();
        assert_eq!(newest(cache.path()).unwrap().sha256(&file).unwrap(), hex(&Sha256::digest(&good)));
    }
}
