//! Writes the plain files that the library reads. [`igpt_formats::data_file`] says what is in them.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, BufWriter, ErrorKind, Read as _, Seek as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use igpt_formats::data_file::{FORMAT, Header, LONGEST_HEADER, Part, VERSION};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::{hex, say};

/// The first line is filled up to a multiple of this.
const BLOCK: usize = 4096;
/// Room in the first line for what is known only when all has been written: the parts, and some numbers.
const UNKNOWN: usize = 2 * BLOCK;

/// Waits until no other process prepares the file whose name begins with `stem` in `folder`; none does while what is
/// returned is held.
pub(super) fn lock(folder: &Path, stem: &str) -> Result<File> {
    let context = || format!("cannot write in {}; IGPT_DATA names another folder", folder.display());
    fs::create_dir_all(folder).with_context(context)?;
    let path = folder.join(format!(".{stem}.lock"));
    let file = File::options().create(true).truncate(false).write(true).open(path).with_context(context)?;
    if file.try_lock().is_err() {
        say(format_args!("{stem}: another process is at work on it; waiting"));
        file.lock().with_context(context)?;
    }
    // Whatever an earlier process left when it was killed, it is of no use.
    for entry in fs::read_dir(folder).with_context(context)?.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let rest = file.strip_prefix(&format!(".{stem}-")).and_then(|rest| rest.strip_suffix(".part"));
        // Another stem may begin as this one does.
        let revision = rest.and_then(|rest| rest.split_once('-')).map(|(revision, _)| revision);
        if revision.is_some_and(|text| text.len() == 12 && text.bytes().all(|c| c.is_ascii_hexdigit())) {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(file)
}

/// The header of the file at `path`, if it is whole and was made from the same sources into the same classes, and its
/// images would be decoded to the same pixels now.
pub(super) fn intact(path: &Path, wanted: &Header) -> Result<Option<Header>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let check = || -> Option<Header> {
        let length = file.metadata().ok()?.len();
        let mut file = BufReader::new(&file);
        let mut line = Vec::new();
        file.by_ref().take(LONGEST_HEADER).read_until(b'\n', &mut line).ok()?;
        let header: Header = serde_json::from_slice(&line).ok()?;
        let is_wanted = (header.format.as_str(), header.version) == (FORMAT, VERSION)
            && !header.is_outdated()
            && header.dataset == wanted.dataset
            && header.revision == wanted.revision
            && header.label_sets == wanted.label_sets
            && header.sources == wanted.sources;
        header.check().ok()?;
        let whole = header.body()?.checked_add(line.len() as u64)?;
        (is_wanted && whole == length).then_some(())?;
        for part in &header.parts {
            let mut hash = Sha256::new();
            let copied = std::io::copy(&mut file.by_ref().take(part.bytes), &mut hash).ok()?;
            (copied == part.bytes && hex(&hash.finalize()) == part.sha256).then_some(())?;
        }
        Some(header)
    };
    Ok(check())
}

/// A file that is being written: all of it appears at its path in the end, or nothing. Whoever has one holds the
/// [`lock`].
pub(super) struct Writer {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
    /// Bytes of the first line.
    line: usize,
    /// How large the file will be, as far as that is known, for errors.
    expected: u64,
    /// Of the part that is being written.
    hash: Sha256,
    bytes: u64,
    parts: Vec<Part>,
}

impl Writer {
    /// Begins the file at `path` whose header will be `header`, but for its parts and some numbers.
    pub(super) fn new(path: &Path, header: &Header) -> Result<Self> {
        let folder = path.parent().context("a file lies in a folder")?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let line = (serde_json::to_string(header)?.len() + UNKNOWN).next_multiple_of(BLOCK);
        let file = tempfile::Builder::new()
            .prefix(&format!(".{stem}-"))
            .suffix(".part")
            .permissions(fs::Permissions::from_mode(0o644))
            .tempfile_in(folder)
            .with_context(|| cannot_write(path, 0))?;
        let (path, hash) = (path.to_owned(), Sha256::new());
        let mut writer = Self {
            file: BufWriter::with_capacity(1 << 20, file),
            path,
            line,
            expected: 0,
            hash,
            bytes: 0,
            parts: Vec::new(),
        };
        writer.raw(&vec![b' '; line])?;
        Ok(writer)
    }

    /// Says how many bytes will be written in all.
    pub(super) fn expect(&mut self, bytes: u64) {
        self.expected = bytes;
    }

    /// Writes bytes of the part that is being written.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.raw(bytes)
    }

    /// Ends a part: the pixels of a split, or one set of its labels.
    pub(super) fn end(&mut self, split: &str, labels: Option<&str>) {
        let sha256 = hex(&self.hash.finalize_reset());
        let bytes = std::mem::take(&mut self.bytes);
        self.parts.push(Part { split: split.into(), labels: labels.map(Into::into), bytes, sha256 });
    }

    /// Writes the first line, and lets the file appear.
    pub(super) fn finish(mut self, header: Header) -> Result<Header> {
        let header = Header { parts: std::mem::take(&mut self.parts), ..header };
        if let Err(what) = header.check() {
            bail!("cannot write {}: it {what}", self.path.display());
        }
        let mut line = serde_json::to_string(&header)?.into_bytes();
        if line.len() >= self.line {
            bail!("cannot write {}: its first line has {} bytes", self.path.display(), line.len());
        }
        line.resize(self.line - 1, b' ');
        line.push(b'\n');
        let context = || cannot_write(&self.path, self.expected);
        let mut file =
            self.file.into_inner().map_err(std::io::IntoInnerError::into_error).with_context(context)?;
        file.rewind().with_context(context)?;
        file.write_all(&line).with_context(context)?;
        file.as_file().sync_all().with_context(context)?;
        file.persist(&self.path).with_context(context)?;
        // The name, too, outlives a crash of the machine.
        let folder = self.path.parent().context("a file lies in a folder")?;
        File::open(folder).and_then(|folder| folder.sync_all()).with_context(context)?;
        Ok(header)
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).with_context(|| cannot_write(&self.path, self.expected))
    }
}

fn cannot_write(path: &Path, bytes: u64) -> String {
    let megabytes = bytes.div_ceil(1_000_000).max(1);
    format!("cannot write {} ({megabytes} MB); IGPT_DATA names another folder", path.display())
}

#[cfg(test)]
mod tests {
    use igpt_formats::data_file::{JPEG_PIXELS, LabelSet, SourceFile};

    use super::*;

    fn header() -> Header {
        let source = SourceFile { file: "a.parquet".into(), sha256: "0".into() };
        let classes = vec!["cat".into(), "dog".into()];
        let set = LabelSet { name: "label".into(), classes };
        Header {
            // A letter that has two bytes.
            name: "Dots, 1 × 2".into(),
            height: 1,
            width: 2,
            channels: 1,
            ..Header::of("a/b", &"0".repeat(40), vec![set], vec![source])
        }
    }

    fn write(path: &Path) -> Header {
        write_with(path, header())
    }

    fn write_with(path: &Path, last: Header) -> Header {
        let mut writer = Writer::new(path, &header()).unwrap();
        writer.write(&[1, 2]).unwrap();
        writer.write(&[3, 4]).unwrap();
        writer.end("train", None);
        writer.write(&[0, 0, 1, 0]).unwrap();
        writer.end("train", Some("label"));
        writer.finish(last).unwrap()
    }

    #[test]
    fn only_a_whole_file_of_the_same_sources_is_intact() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dots-000000000000.igpt-data");
        let wanted = header();
        assert_eq!(intact(&path, &wanted).unwrap(), None);
        let full = write(&path);
        assert_eq!(intact(&path, &wanted).unwrap(), Some(full.clone()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        let parts: Vec<_> = full.parts.iter().map(|part| (part.labels.as_deref(), part.bytes)).collect();
        assert_eq!((parts, full.images("train")), (vec![(None, 4), (Some("label"), 4)], 2));
        let good = fs::read(&path).unwrap();
        assert_eq!(good.iter().position(|byte| *byte == b'\n'), Some(3 * BLOCK - 1));
        assert_eq!(good[3 * BLOCK..], [1, 2, 3, 4, 0, 0, 1, 0]);

        let mut others = [header(), header(), header(), header()];
        others[0].sources[0].sha256 = "1".into();
        others[1].revision = "1".repeat(40);
        others[2].label_sets[0].classes.pop();
        others[3].dataset = "a/c".into();
        for other in others {
            assert_eq!(intact(&path, &other).unwrap(), None);
        }
        let line = serde_json::to_string(&full).unwrap().len();
        for at in (0..line).chain(3 * BLOCK..good.len()) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            // Names are not what makes a file intact; the bytes and what they come from are.
            assert!(intact(&path, &wanted).unwrap().is_none() || at < line, "byte {at}");
            fs::write(&path, &good[..at]).unwrap();
            assert_eq!(intact(&path, &wanted).unwrap(), None, "cut at {at}");
        }
        fs::write(&path, [&good[..], &[0]].concat()).unwrap();
        assert_eq!(intact(&path, &wanted).unwrap(), None);
    }

    /// PNG images were always decoded to the same ones.
    #[test]
    fn what_was_decoded_to_other_pixels_is_not_intact() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dots-000000000000.igpt-data");
        for (jpeg, jpeg_pixels, is_intact) in [(0, 0, true), (2, 0, false), (2, JPEG_PIXELS, true)] {
            write_with(&path, Header { jpeg, jpeg_pixels, ..header() });
            assert_eq!(intact(&path, &header()).unwrap().is_some(), is_intact, "{jpeg}, {jpeg_pixels}");
        }
    }

    #[test]
    fn one_process_at_a_time_and_leftovers_go() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join(".dots-000000000000-abc.part");
        let other = folder.path().join("dots-000000000000.igpt-data");
        let longer = folder.path().join(".dots-unlabeled-000000000000-abc.part");
        for file in [&left, &other, &longer] {
            fs::write(file, "x").unwrap();
        }
        let first = lock(folder.path(), "dots").unwrap();
        assert!(!left.exists() && other.exists() && longer.exists());
        std::thread::scope(|scope| {
            let second = scope.spawn(|| lock(folder.path(), "dots").unwrap());
            std::thread::sleep(std::time::Duration::from_millis(200));
            assert!(!second.is_finished());
            drop(first);
            second.join().unwrap();
        });
    }

    #[test]
    fn what_is_not_finished_does_not_appear() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("no/such/dots.igpt-data");
        let error = format!("{:#}", Writer::new(&path, &header()).map(|_| ()).unwrap_err());
        assert!(error.starts_with(&format!("cannot write {} (1 MB)", path.display())), "{error}");
        assert!(error.contains("IGPT_DATA"), "{error}");
        let path = folder.path().join("dots-000000000000.igpt-data");
        let mut writer = Writer::new(&path, &header()).unwrap();
        writer.write(&[1]).unwrap();
        writer.end("train", None);
        let error = writer.finish(header()).unwrap_err().to_string();
        assert!(
            error.contains("has 1 bytes of pixels in the split `train`, which are not images"),
            "{error}"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
