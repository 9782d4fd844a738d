//! The Hugging Face cache: where it is, and which files of a data set are in it.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

/// The cache directory of the hub's own Python client: `HF_HUB_CACHE`, else `HF_HOME/hub`, else
/// `XDG_CACHE_HOME/huggingface/hub`, else `~/.cache/huggingface/hub`.
pub(super) fn cache() -> Result<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = || set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let home = || set("HF_HOME").or_else(|| user().map(|cache| cache.join("huggingface")));
    let cache = set("HF_HUB_CACHE").or_else(|| home().map(|home| home.join("hub")));
    let cache =
        cache.context("there is no home folder, so no Hugging Face cache: set HF_HUB_CACHE to one")?;
    Ok(std::path::absolute(cache)?)
}

/// A data set in the cache, at the revision that its `refs/main` names.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// `uoft-cs/cifar10`
    pub repository: String,
    /// The commit.
    pub revision: String,
    folder: PathBuf,
    cache: PathBuf,
}

impl Snapshot {
    /// The newest revision of a data set that is in the cache.
    pub(super) fn find(cache: &Path, repository: &str) -> Result<Self> {
        let folder = cache.join(format!("datasets--{}", repository.replace('/', "--")));
        let main = folder.join("refs/main");
        let Ok(text) = fs::read_to_string(&main) else {
            bail!(missing(cache, repository, &format!("there is no {}", main.display())));
        };
        let revision = text.trim().to_owned();
        if revision.len() != 40 || !revision.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
            bail!("{} is not the 40 hexadecimal digits of a commit: {revision:?}", main.display());
        }
        let folder = folder.join("snapshots").join(&revision);
        Ok(Self { repository: repository.to_owned(), revision, folder, cache: cache.to_owned() })
    }

    /// The folder of its files.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The names of its files, with the folders they are in: `plain_text/train-00000-of-00001.parquet`.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut open = vec![String::new()];
        while let Some(inside) = open.pop() {
            for entry in fs::read_dir(self.folder.join(&inside)).into_iter().flatten().flatten() {
                let name = inside.clone() + &entry.file_name().to_string_lossy();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => open.push(name + "/"),
                    _ => names.push(name),
                }
            }
        }
        names.sort();
        names
    }

    /// The Parquet files of a split in `folder`, `train-00000-of-00002.parquet` and so on, in their order.
    pub(super) fn shards(&self, folder: &str, split: &str) -> Result<Vec<PathBuf>> {
        let folder = self.folder.join(folder);
        let missing = |what: String| missing(&self.cache, &self.repository, &what);
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if let Some(place) = entry.file_name().to_str().and_then(|name| shard(name, split)) {
                found.push((place, entry.path()));
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

/// The number of a part and how many there are: (0, 2) for `train-00000-of-00002.parquet`. Some years ago the hub's
/// `datasets` library put a hash behind them: `train-00000-of-00002-b74cd68890b47699.parquet`.
pub(super) fn shard(name: &str, split: &str) -> Option<(usize, usize)> {
    let place = name.strip_prefix(split)?.strip_prefix('-')?.strip_suffix(".parquet")?;
    let (at, rest) = place.split_once("-of-")?;
    let (count, hash) = rest.split_once('-').unwrap_or((rest, ""));
    let is_hash = hash.bytes().all(|c| c.is_ascii_hexdigit());
    is_hash.then_some((at.parse().ok()?, count.parse().ok()?))
}

fn missing(cache: &Path, repository: &str, what: &str) -> String {
    format!(
        "{repository} is not in the Hugging Face cache {}: {what}.\n\
         Where there is a network, download it:\n    \
         huggingface-cli download {repository} --repo-type dataset\n\
         (`hf download …` in newer versions), or copy the folder datasets--{} of another machine's cache into this \
         one.\nHF_HUB_CACHE names another cache directory. `igpt fetch` only reads the cache and uses no network, \
         with or without HF_HUB_OFFLINE.",
        cache.display(),
        repository.replace('/', "--")
    )
}

/// The SHA-256 of a file of the cache. Large files are links to blobs that have it as their name: then it must be that.
pub(super) fn sha256(path: &Path) -> Result<String> {
    let context = || format!("cannot read {}", path.display());
    let mut hash = Sha256::new();
    std::io::copy(&mut File::open(path).with_context(context)?, &mut hash).with_context(context)?;
    let found = super::hex(&hash.finalize());
    let blob = path.canonicalize().with_context(context)?;
    let name = blob.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_sha256 = name.len() == 64 && name.bytes().all(|c| c.is_ascii_hexdigit());
    if is_sha256 && name != found {
        bail!(
            "{}: is damaged, its SHA-256 is {found} and not its blob's name; delete {} and download it again",
            path.display(),
            blob.display()
        );
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn all_parts_are_found_in_their_order() {
        let cache = cache_with(&[
            "train-00001-of-00003.parquet",
            "train-00002-of-00003.parquet",
            "train-00000-of-00003.parquet",
            "test-00000-of-00001.parquet",
            "train.txt",
        ]);
        let snapshot = Snapshot::find(cache.path(), "a/b").unwrap();
        let names: Vec<_> = snapshot.shards("plain", "train").unwrap();
        let names: Vec<_> = names.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        let expected = [0, 1, 2].map(|at| format!("train-0000{at}-of-00003.parquet"));
        assert_eq!(names, expected);
        assert_eq!(snapshot.names()[1], "plain/train-00000-of-00003.parquet");
        assert_eq!(shard("train-00001-of-00004-b74cd68890b47699.parquet", "train"), Some((1, 4)));
        assert_eq!(shard("train-00001-of-00004-small.parquet", "train"), None);
        let none = snapshot.shards("plain", "validation").unwrap_err().to_string();
        assert!(none.contains("validation-*.parquet.\n"), "{none}");
    }

    #[test]
    fn what_is_missing_is_said_with_the_cure() {
        let cure = "huggingface-cli download a/b --repo-type dataset";
        let empty = tempfile::tempdir().unwrap();
        let error = Snapshot::find(empty.path(), "a/b").unwrap_err().to_string();
        assert!(error.contains("datasets--a--b/refs/main.\n") && error.contains(cure), "{error}");
        assert!(error.contains("HF_HUB_CACHE") && error.contains("HF_HUB_OFFLINE"), "{error}");
        for files in [
            &["train-00001-of-00002.parquet"][..],
            &["train-00000-of-00001.parquet", "train-00000-of-00002.parquet"],
        ] {
            let cache = cache_with(files);
            let snapshot = Snapshot::find(cache.path(), "a/b").unwrap();
            let error = snapshot.shards("plain", "train").unwrap_err().to_string();
            assert!(error.contains("parts of train, but has ") && error.contains(files[0]), "{error}");
            assert!(error.contains(cure), "{error}");
        }
        let cache = cache_with(&[]);
        fs::write(cache.path().join("datasets--a--b/refs/main"), "../../../etc").unwrap();
        let error = Snapshot::find(cache.path(), "a/b").unwrap_err().to_string();
        assert!(error.contains("is not the 40 hexadecimal digits of a commit: \"../../../etc\""), "{error}");
    }

    #[test]
    fn a_blob_must_have_the_hash_that_is_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let (blob, link) =
            (folder.path().join(super::super::hex(&Sha256::digest(b"good"))), folder.path().join("x"));
        std::os::unix::fs::symlink(&blob, &link).unwrap();
        fs::write(&blob, "good").unwrap();
        assert!(blob.ends_with(sha256(&link).unwrap()));
        fs::write(&blob, "goof").unwrap();
        let error = sha256(&link).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: is damaged", link.display())), "{error}");
    }
}
