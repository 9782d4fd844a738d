//! The plain files that the library reads: a line of JSON, and then the bytes that it speaks of: the training pixels
//! (N, H, W, C), the training labels (N), the test pixels and the test labels. `kernel-lib/src/data/prepared.rs` is
//! the reader.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{hex, say};

const FORMAT: &str = "igpt-data";
const VERSION: u64 = 1;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    format: String,
    version: u64,
    /// What tables and reports call the data set.
    pub name: String,
    /// The hub's repository.
    pub dataset: String,
    /// Its commit.
    pub revision: String,
    pub classes: Vec<String>,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    /// How many training pictures there are.
    pub train: usize,
    /// How many test pictures there are.
    pub test: usize,
    /// How many pictures were JPEG; the others were PNG.
    pub jpeg: usize,
    pub sources: Vec<Source>,
    /// Of all bytes after this line.
    sha256: String,
}

/// A file of the hub that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Source {
    pub file: String,
    pub sha256: String,
}

impl Header {
    /// Fills in what is the same in all files, and what comes from the body.
    pub(super) fn complete(self, body: &[&[u8]]) -> Self {
        let hash = body.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part));
        Self { format: FORMAT.into(), version: VERSION, sha256: hex(&hash.finalize()), ..self }
    }

    /// Of a data set that is not read yet.
    pub(super) fn of(dataset: &str, revision: &str, classes: &[&str], sources: Vec<Source>) -> Self {
        Self {
            format: String::new(),
            version: 0,
            name: String::new(),
            dataset: dataset.into(),
            revision: revision.into(),
            classes: classes.iter().map(|class| (*class).into()).collect(),
            height: 0,
            width: 0,
            channels: 0,
            train: 0,
            test: 0,
            jpeg: 0,
            sources,
            sha256: String::new(),
        }
    }
}

/// Waits until no other process prepares the data set `name` in `folder`; none does while the file is held.
pub(super) fn lock(folder: &Path, name: &str) -> Result<File> {
    let context = || format!("cannot write in {}; IGPT_DATA names another folder", folder.display());
    fs::create_dir_all(folder).with_context(context)?;
    let path = folder.join(format!(".{name}.lock"));
    let file = File::options().create(true).truncate(false).write(true).open(path).with_context(context)?;
    if file.try_lock().is_err() {
        say(format_args!("{name}: another process is at work on it; waiting"));
        file.lock().with_context(context)?;
    }
    // Whatever an earlier process left when it was killed, it is of no use.
    for entry in fs::read_dir(folder).with_context(context)?.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        if file.starts_with(&format!(".{name}-")) && file.ends_with(".part") {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(file)
}

/// The header of the file at `path`, if it is whole and was made from these sources.
pub(super) fn intact(path: &Path, wanted: &Header) -> Result<Option<Header>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let check = || -> Option<Header> {
        let mut file = BufReader::new(file);
        let mut line = Vec::new();
        file.by_ref().take(1 << 16).read_until(b'\n', &mut line).ok()?;
        let header: Header = serde_json::from_slice(&line).ok()?;
        let is_wanted = (header.format.as_str(), header.version) == (FORMAT, VERSION)
            && header.classes == wanted.classes
            && header.revision == wanted.revision
            && header.sources == wanted.sources;
        let mut hash = Sha256::new();
        std::io::copy(&mut file, &mut hash).ok()?;
        (is_wanted && hex(&hash.finalize()) == header.sha256).then_some(header)
    };
    Ok(check())
}

/// Writes the file: all of it appears at `path`, or nothing. Whoever calls holds the [`lock`].
pub(super) fn write(path: &Path, header: &Header, body: &[&[u8]]) -> Result<()> {
    let folder = path.parent().context("a file lies in a folder")?;
    let size: usize = body.iter().map(|part| part.len()).sum();
    let context = || {
        let megabytes = size.div_ceil(1_000_000);
        format!("cannot write {} ({megabytes} MB); IGPT_DATA names another folder", path.display())
    };
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut file = tempfile::Builder::new()
        .prefix(&format!(".{stem}-"))
        .suffix(".part")
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(folder)
        .with_context(context)?;
    let line = serde_json::to_string(header)? + "\n";
    for part in std::iter::once(line.as_bytes()).chain(body.iter().copied()) {
        file.write_all(part).with_context(context)?;
    }
    file.as_file().sync_all().with_context(context)?;
    file.persist(path).with_context(context)?;
    // The name, too, outlives a crash of the machine.
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let source = Source { file: "a.parquet".into(), sha256: "0".into() };
        Header::of("a/b", &"0".repeat(40), &["cat", "dog"], vec![source])
    }

    #[test]
    fn only_a_whole_file_of_the_same_sources_is_intact() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dots-000000000000.igpt-data");
        let body: [&[u8]; 2] = [b"pixels", b"labels"];
        let wanted = header();
        assert_eq!(intact(&path, &wanted).unwrap(), None);
        let full = header().complete(&body);
        write(&path, &full, &body).unwrap();
        assert_eq!(intact(&path, &wanted).unwrap(), Some(full.clone()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);

        let mut others = [header(), header(), header()];
        others[0].sources[0].sha256 = "1".into();
        others[1].revision = "1".repeat(40);
        others[2].classes.pop();
        for other in others {
            assert_eq!(intact(&path, &other).unwrap(), None);
        }
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            // Names and counts are not what makes a file intact; the bytes and what they come from are.
            let may_pass = at < good.len() - 12;
            assert!(intact(&path, &wanted).unwrap().is_none() || may_pass, "byte {at}");
            fs::write(&path, &good[..at]).unwrap();
            assert_eq!(intact(&path, &wanted).unwrap(), None, "cut at {at}");
        }
    }

    #[test]
    fn one_process_at_a_time_and_leftovers_go() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join(".dots-000000000000-abc.part");
        let other = folder.path().join("dots-000000000000.igpt-data");
        for file in [&left, &other] {
            fs::write(file, "x").unwrap();
        }
        let first = lock(folder.path(), "dots").unwrap();
        assert!(!left.exists() && other.exists());
        std::thread::scope(|scope| {
            let second = scope.spawn(|| lock(folder.path(), "dots").unwrap());
            std::thread::sleep(std::time::Duration::from_millis(200));
            assert!(!second.is_finished());
            drop(first);
            second.join().unwrap();
        });
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("no/such/dots.igpt-data");
        let error = format!("{:#}", write(&path, &header(), &[b"x"]).unwrap_err());
        assert!(error.starts_with(&format!("cannot write {} (1 MB)", path.display())), "{error}");
        assert!(error.contains("IGPT_DATA"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
