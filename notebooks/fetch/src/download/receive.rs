//! A file's way into the cache: received beside its place, verified, and only then moved to it.

use std::{
    fs::{self, File},
    io::{ErrorKind, Seek as _, SeekFrom, Write as _},
    path::PathBuf,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _, future, stream};

use super::{
    Settings,
    cache_folder::{self, CacheFolder},
    error::{self, DownloadError},
    hash::Hasher,
    hub_client::HubClient,
    patience::{self, Patience},
    progress::{Progress, Verifying, megabytes},
    remote_file::RemoteFile,
    verified::Verified,
};

/// So many files are downloaded at a time. One connection to a distant server is slower than the network is.
const AT_A_TIME: usize = 4;

/// How gzip begins (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];

pub(super) struct Downloads<'a> {
    pub settings: &'a Settings,
    pub client: &'a HubClient,
    pub folder: &'a CacheFolder,
    pub say: &'a dyn Fn(&str),
}

/// Why receiving ended early.
enum Broken {
    /// The hub, or the way to it.
    Download(DownloadError),
    /// This machine.
    Disk(anyhow::Error),
}

impl Downloads<'_> {
    /// Sees to it that the cache has these files, at this commit; says which were verified for that.
    ///
    /// # Errors
    /// If one cannot be had; those before it stay.
    pub(super) async fn fetch(&self, commit: &str, files: &[RemoteFile]) -> Result<Verified> {
        let (mut missing, mut verified) = (Vec::new(), Verified::default());
        let snapshot = self.folder.snapshot(commit);
        let there = files.iter().filter(|file| snapshot.join(&file.name).is_file());
        let mut verifying = Verifying::new(there.map(|file| file.size).sum(), files.len(), self.say);
        for file in files {
            verifying.next(&file.name);
            if self.folder.has(commit, file)? {
                verified.add(&snapshot.join(&file.name), &file.hash);
            } else {
                missing.push(file);
            }
        }
        let size = missing.iter().map(|file| file.size).sum();
        if let Some(first) = missing.first() {
            let more =
                if missing.len() > 1 { format!(" and {} more", missing.len() - 1) } else { String::new() };
            (self.say)(&format!(
                "{}{more}, {} MB of revision {}",
                first.name,
                megabytes(size),
                &commit[..12]
            ));
            self.check_space(&missing)?;
        }
        let progress = Progress::new(&missing, self.say);
        let fetching = missing.iter().map(|file| self.fetch_once(commit, file, &progress));
        // The first error ends all of it: what has arrived stays, and the next command goes on there.
        let fetched = stream::iter(fetching).buffer_unordered(AT_A_TIME);
        fetched.try_for_each(|()| future::ready(Ok(()))).await?;
        for file in missing {
            verified.add(&snapshot.join(&file.name), &file.hash);
        }
        Ok(verified)
    }

    /// Downloads a file, unless another process does.
    async fn fetch_once(&self, commit: &str, file: &RemoteFile, progress: &Progress<'_>) -> Result<()> {
        let lock = self.folder.lock(file, &|line| progress.say(line)).await?;
        if self.folder.has(commit, file)? {
            progress.found(file.size);
        } else {
            self.fetch_one(commit, file, progress).await?;
        }
        progress.whole();
        drop(lock);
        Ok(())
    }

    /// Refuses to begin what will not fit.
    fn check_space(&self, missing: &[&RemoteFile]) -> Result<()> {
        let there =
            |file: &RemoteFile| fs::metadata(self.folder.incomplete(file)).map_or(0, |there| there.len());
        let needed: u64 = missing.iter().map(|file| file.size.saturating_sub(there(file))).sum();
        let cache = &self.settings.cache;
        // The folder that is there already, of those that the cache lies in. Who cannot say how much there is does not keep anybody
        // from trying.
        let Some(disk) = cache.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok()) else {
            return Ok(());
        };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if needed > free {
            bail!(
                "{} MB more are needed, but only {} MB are free for the cache {}: make room, or let HF_HUB_CACHE name a \
                 cache directory on another disk",
                megabytes(needed),
                megabytes(free),
                cache.display()
            );
        }
        Ok(())
    }

    async fn fetch_one(&self, commit: &str, file: &RemoteFile, progress: &Progress<'_>) -> Result<()> {
        let begun = Instant::now();
        let mut partial = Partial::open(self.folder.incomplete(file), file, progress)?;
        if partial.length > 0 {
            progress.say(&format!(
                "{}: goes on at {} of {} MB",
                file.name,
                megabytes(partial.length),
                megabytes(file.size)
            ));
        }
        // Whoever gets no further than before has failed, however often the server begins anew.
        let mut patience = Patience::new(self.settings, &file.name);
        let (mut furthest, mut wrong) = (partial.length, 0);
        loop {
            match self.receive(commit, file, &mut partial).await {
                Ok(()) if partial.is_right(file) => break,
                Ok(()) => {
                    wrong += 1;
                    self.check_compressed(file, &mut partial)?;
                    partial.empty()?;
                    if wrong == 2 {
                        partial.remove()?;
                        bail!(
                            "{} of {commit} came twice with other bytes than the hub says (it should have the hash \
                             {}): nothing of it was kept; {}",
                            file.name,
                            file.hash,
                            error::WITHOUT_MIRROR
                        );
                    }
                    progress.say(&format!(
                        "{}: its bytes are not those that the hub speaks of; once more from its beginning",
                        file.name
                    ));
                }
                Err(Broken::Disk(error)) => return Err(error),
                Err(Broken::Download(error)) => {
                    self.check_compressed(file, &mut partial)?;
                    if partial.length > furthest {
                        patience.renew();
                        furthest = partial.length;
                    }
                    if let Err(error) = patience.wait(error, &|line| progress.say(line)).await {
                        let there = match partial.length {
                            0 => String::new(),
                            there => format!(
                                ": {} of {} MB are there, and another try goes on there",
                                megabytes(there),
                                megabytes(file.size)
                            ),
                        };
                        return Err(anyhow::Error::new(error).context(format!("{}{there}", file.name)));
                    }
                }
            }
        }
        partial.complete(self.folder.blob(file))?;
        self.folder.link(commit, file)?;
        let seconds = begun.elapsed().as_secs_f64();
        progress.say(&format!("{}: {} MB in {seconds:.1} s, verified", file.name, megabytes(file.size)));
        Ok(())
    }

    /// What hf-hub streams does not say how it is encoded. What is not the file, and begins as gzip does, is gzip.
    ///
    /// # Errors
    /// If it is: nothing of it is kept.
    fn check_compressed(&self, file: &RemoteFile, partial: &mut Partial<'_>) -> Result<()> {
        let is_to_be = [".gz", ".tgz", ".gzip"].iter().any(|end| file.name.ends_with(end));
        if is_to_be || !partial.is_gzip {
            return Ok(());
        }
        partial.empty()?;
        fs::remove_file(&partial.path).ok();
        Err(anyhow::Error::new(DownloadError::compressed("gzip")).context(file.name.clone()))
    }

    /// Adds what is missing to the end of what is there.
    async fn receive(
        &self,
        commit: &str,
        file: &RemoteFile,
        partial: &mut Partial<'_>,
    ) -> Result<(), Broken> {
        let progress = partial.progress;
        if partial.length == file.size {
            return Ok(());
        }
        let there = partial.length;
        let asked = self.client.bytes(commit, file, there);
        let whom = format!("an answer of {}", self.settings.endpoint);
        let asked = patience::until(&file.name, &whom, &|line| progress.say(line), asked).await;
        let mut part = asked.map_err(Broken::Download)?;
        if part.from < there {
            progress.say(&format!("{}: the server cannot go on in the middle; all of it comes", file.name));
            partial.empty().map_err(Broken::Disk)?;
        }
        loop {
            let next =
                patience::until(&file.name, "more of it", &|line| progress.say(line), part.next()).await;
            let Some(piece) = next else { break };
            let piece = piece.map_err(Broken::Download)?;
            let more = piece.len() as u64;
            if partial.length == 0 {
                partial.is_gzip = piece.starts_with(&GZIP);
            }
            if partial.length + more > file.size {
                // What was there cannot be trusted, either: its end may be another's beginning.
                partial.empty().map_err(Broken::Disk)?;
                let brief = format!("more came than the {} bytes that the file has", file.size);
                return Err(Broken::Download(DownloadError::wrong_length(brief)));
            }
            partial.append(&piece).map_err(Broken::Disk)?;
            progress.arrived(&file.name, more);
        }
        if part.from < there && partial.length == file.size - there {
            // The part that was asked for, by a server that called it all: the next try asks for all.
            partial.empty().map_err(Broken::Disk)?;
            let brief = format!("what came as all of it were its last {} bytes", file.size - there);
            return Err(Broken::Download(DownloadError::wrong_length(brief)));
        }
        if partial.length < file.size {
            let brief = format!("the answer ended after {} of {} bytes", partial.length, file.size);
            return Err(Broken::Download(DownloadError::wrong_length(brief)));
        }
        Ok(())
    }
}

/// The bytes of a file that are there so far, from its beginning, and their hash.
struct Partial<'a> {
    path: PathBuf,
    file: File,
    length: u64,
    size: u64,
    name: String,
    hash: Hasher,
    /// Whether what came first begins as gzip does, also if it was more than the file has, and none of it was written.
    is_gzip: bool,
    progress: &'a Progress<'a>,
}

impl<'a> Partial<'a> {
    /// Whoever calls holds the file's lock.
    fn open(path: PathBuf, remote: &RemoteFile, progress: &'a Progress<'a>) -> Result<Self> {
        cache_folder::create_parent(&path)?;
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let file = file.with_context(|| {
            format!("cannot write {}; HF_HUB_CACHE names another cache directory", path.display())
        })?;
        let name = remote.hash.clone();
        let hash = new_hash(&name, remote.size)?;
        let mut partial =
            Self { path, file, length: 0, size: remote.size, name, hash, is_gzip: false, progress };
        let context = || format!("cannot read {}; delete it", partial.path.display());
        let length = partial.file.metadata().with_context(context)?.len();
        if length > partial.size {
            partial.empty()?;
        } else {
            partial.length = partial
                .hash
                .read(&mut partial.file)
                .with_context(|| format!("cannot read {}; delete it", partial.path.display()))?;
            progress.found(partial.length);
        }
        Ok(partial)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if let Err(error) = self.file.write_all(bytes) {
            return Err(self.cannot_write(error));
        }
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Forgets everything.
    fn empty(&mut self) -> Result<()> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        if let Err(error) = emptied {
            return Err(self.cannot_write(error));
        }
        self.progress.lost(self.length);
        self.length = 0;
        self.hash = new_hash(&self.name, self.size)?;
        Ok(())
    }

    fn is_right(&self, remote: &RemoteFile) -> bool {
        self.length == remote.size && self.hash.clone().finish() == remote.hash
    }

    fn remove(self) -> Result<()> {
        fs::remove_file(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))
    }

    /// Moves it to its place, once the disk has it.
    fn complete(self, blob: PathBuf) -> Result<()> {
        if let Err(error) = self.file.sync_all() {
            return Err(self.cannot_write(error));
        }
        fs::rename(&self.path, &blob).with_context(|| format!("cannot write {}", blob.display()))
    }

    fn cannot_write(&self, error: std::io::Error) -> anyhow::Error {
        let cure = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                "make room and run this again, which goes on there, or let HF_HUB_CACHE name a cache directory on \
                 another disk"
            }
            _ => "HF_HUB_CACHE names another cache directory",
        };
        anyhow::Error::from(error).context(format!(
            "cannot write {} beyond {} of {} MB; {cure}",
            self.path.display(),
            megabytes(self.length),
            megabytes(self.size)
        ))
    }
}

fn new_hash(name: &str, size: u64) -> Result<Hasher> {
    Hasher::of(name, size).with_context(|| format!("{name} is no hash"))
}
