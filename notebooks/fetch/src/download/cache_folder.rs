//! A repository's folder in the cache, as far as it is written.

use std::{
    fs::{self, File, TryLockError},
    io::{ErrorKind, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{RepositoryKind, hash, remote_file::RemoteFile};

/// How often it is looked whether another process is done, and how often it is said that it is not.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
const SAY_AGAIN: Duration = Duration::from_secs(30);

/// The folder of a repository in the cache, to write into.
pub(super) struct CacheFolder {
    cache: PathBuf,
    name: String,
    path: PathBuf,
}

impl CacheFolder {
    pub(super) fn new(cache: &Path, kind: RepositoryKind, repository: &str) -> Self {
        let name = folder_name(kind, repository);
        Self { cache: cache.to_owned(), path: cache.join(&name), name }
    }

    /// Where the files of a commit are named.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.path.join("snapshots").join(commit)
    }

    /// Where it is noted which commit a branch or tag is.
    pub(super) fn reference(&self, revision: &str) -> PathBuf {
        self.path.join("refs").join(revision)
    }

    /// Where the bytes of all files lie, each by the name of its hash.
    pub(super) fn blobs(&self) -> PathBuf {
        self.path.join("blobs")
    }

    /// Where the bytes of a file lie once they are verified.
    pub(super) fn blob(&self, file: &RemoteFile) -> PathBuf {
        self.blobs().join(&file.hash)
    }

    /// The same while they arrive.
    pub(super) fn incomplete(&self, file: &RemoteFile) -> PathBuf {
        self.blobs().join(format!("{}.incomplete", file.hash))
    }

    /// Whether a good copy of the file is in the cache, at this commit; one that is only not linked there yet is.
    pub(super) fn has(&self, commit: &str, file: &RemoteFile) -> Result<bool> {
        let path = self.snapshot(commit).join(&file.name);
        if path.is_file() && hash::matches(&path, &file.hash, file.size)? {
            return Ok(true);
        }
        let blob = self.blob(file);
        if !blob.is_file() || !hash::matches(&blob, &file.hash, file.size)? {
            return Ok(false);
        }
        self.link(commit, file)?;
        Ok(true)
    }

    /// Waits until no other process downloads the file; none does while this is held. Meanwhile other files go on: two processes that
    /// each wait for what the other downloads would otherwise wait for ever.
    pub(super) async fn lock(&self, file: &RemoteFile, say: &dyn Fn(&str)) -> Result<File> {
        let path = self.cache.join(".locks").join(&self.name).join(format!("{}.lock", file.hash));
        let context =
            || format!("cannot lock {}; HF_HUB_CACHE names another cache directory", path.display());
        create_parent(&path)?;
        let mut said: Option<Instant> = None;
        loop {
            let lock =
                File::options().create(true).truncate(false).write(true).open(&path).with_context(context)?;
            match lock.try_lock() {
                Ok(()) => {
                    // Some versions of the Python client delete the file when they are done: then another may hold a new one.
                    let ours = lock.metadata().with_context(context)?.ino();
                    if fs::metadata(&path).is_ok_and(|there| there.ino() == ours) {
                        return Ok(lock);
                    }
                }
                Err(TryLockError::WouldBlock) => {
                    if said.is_none_or(|said| said.elapsed() >= SAY_AGAIN) {
                        said = Some(Instant::now());
                        say(&format!("{}: another process downloads it; waiting", file.name));
                    }
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Err(TryLockError::Error(error)) => return Err(error).with_context(context),
            }
        }
    }

    /// Lets the verified file appear among those of a commit.
    pub(super) fn link(&self, commit: &str, file: &RemoteFile) -> Result<()> {
        let path = self.snapshot(commit).join(&file.name);
        let up = "../".repeat(file.name.split('/').count() + 1);
        let target = format!("{up}blobs/{}", file.hash);
        if fs::read_link(&path).is_ok_and(|there| there == Path::new(&target)) {
            return Ok(());
        }
        create_parent(&path)?;
        let new = beside(&path, &format!(".{}.link", std::process::id()));
        let linked = match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => symlink(&target, &new).and_then(|()| fs::rename(&new, &path)),
        };
        linked.with_context(|| format!("cannot write {}", path.display()))
    }

    /// Notes which commit a branch or tag is.
    pub(super) fn refer(&self, revision: &str, commit: &str) -> Result<()> {
        let path = self.reference(revision);
        if fs::read_to_string(&path).is_ok_and(|there| there == commit) {
            return Ok(());
        }
        create_parent(&path)?;
        let write = || -> Result<()> {
            let folder = path.parent().context("a reference lies in a folder")?;
            let mut file = tempfile::Builder::new().prefix(".").tempfile_in(folder)?;
            file.write_all(commit.as_bytes())?;
            fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644))?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Makes the folder that a file lies in.
pub(super) fn create_parent(path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    fs::create_dir_all(folder).with_context(|| {
        format!("cannot make the folder {}; HF_HUB_CACHE names another cache directory", folder.display())
    })
}

/// The path of a file in the same folder, whose name has this end.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(end);
    path.with_file_name(name)
}

/// `datasets--uoft-cs--cifar10`
pub(super) fn folder_name(kind: RepositoryKind, repository: &str) -> String {
    format!("{}--{}", kind.plural(), repository.replace('/', "--"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::download::Snapshot;

    #[test]
    fn links_lead_to_blobs_from_any_depth() {
        let cache = tempfile::tempdir().unwrap();
        let folder = CacheFolder::new(cache.path(), RepositoryKind::Model, "a/b");
        let commit = "2".repeat(40);
        for name in ["x", "deep/er/y"] {
            // `git hash-object` of a file that holds `hello` and a line's end
            let file = RemoteFile {
                name: name.into(),
                size: 6,
                hash: "ce013625030ba8dba906f756967f9e9ca394464a".into(),
                is_elsewhere: false,
            };
            // The second time the blob is there, and only not linked.
            assert_eq!(folder.has(&commit, &file).unwrap(), name != "x");
            let blob = folder.blob(&file);
            create_parent(&blob).unwrap();
            fs::write(&blob, "hello\n").unwrap();
            folder.link(&commit, &file).unwrap();
            folder.link(&commit, &file).unwrap();
            assert_eq!(fs::read_to_string(folder.snapshot(&commit).join(name)).unwrap(), "hello\n");
            fs::write(&blob, "hullo\n").unwrap();
            assert!(!folder.has(&commit, &file).unwrap());
            fs::write(&blob, "hello\n").unwrap();
            assert!(folder.has(&commit, &file).unwrap());
        }
        folder.refer("refs/pr/1", &commit).unwrap();
        let snapshot = Snapshot::at(cache.path(), RepositoryKind::Model, "a/b", "refs/pr/1").unwrap();
        assert_eq!(snapshot.names(), ["deep/er/y", "x"]);
    }
}
