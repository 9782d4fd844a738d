//! Data sets that `igpt fetch` decoded: one plain file each, verified whenever it is read.
//!
//! Such a file is a line of JSON, and then the bytes that the line speaks of: the training pixels (N, H, W, C), the
//! training labels (N), the test pixels and the test labels. The decoders, which know Parquet, are in the `igpt`
//! command: each of their crates would cost every notebook time.

use super::{Dataset, Images, Split};
use crate::hex::hex;
use crate::{Error, Result};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;

/// The header's version that this library reads.
const VERSION: u64 = 1;
/// More than any header has.
const LONGEST_HEADER: u64 = 1 << 16;

/// What this library needs of the first line. The command writes more, for people.
#[derive(Deserialize)]
struct Header {
    name: String,
    revision: String,
    classes: Vec<String>,
    height: usize,
    width: usize,
    channels: usize,
    /// How many training pictures there are.
    train: usize,
    /// How many test pictures there are.
    test: usize,
    /// Of all bytes after the first line, in hexadecimal digits.
    sha256: String,
}

#[derive(Deserialize)]
struct Version {
    format: String,
    version: u64,
}

/// Reads the file that `igpt fetch NAME` wrote.
///
/// # Errors
/// If the file cannot be read, or is not what its first line says.
pub(super) fn read(path: &Path, name: &str) -> Result<Dataset> {
    let wrong = |what: String| Error::format(path, format!("{what}; `igpt fetch {name}` writes it anew"));
    let io = |e| Error::io(path, e);
    let file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let mut file = BufReader::new(file);
    let mut line = Vec::new();
    file.by_ref().take(LONGEST_HEADER).read_until(b'\n', &mut line).map_err(io)?;

    let version: Version = serde_json::from_slice(&line)
        .map_err(|e| wrong(format!("does not begin with the line that `igpt fetch` writes ({e})")))?;
    if (version.format.as_str(), version.version) != ("igpt-data", VERSION) {
        return Err(wrong(format!(
            "is `{}` of version {}, but this library reads `igpt-data` of version {VERSION}",
            version.format, version.version
        )));
    }
    let header: Header =
        serde_json::from_slice(&line).map_err(|e| wrong(format!("its first line makes no sense ({e})")))?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    if header.revision.is_empty() || !stem.ends_with(header.revision.get(..12).unwrap_or(&header.revision)) {
        return Err(wrong(format!(
            "holds the revision `{}`, which is not that of its name",
            header.revision
        )));
    }

    // Nothing is allocated before it is known that the file holds it.
    let size = |count: usize| -> Option<usize> {
        count.checked_mul(header.height)?.checked_mul(header.width)?.checked_mul(header.channels)
    };
    let parts = [size(header.train), Some(header.train), size(header.test), Some(header.test)];
    let body = parts.iter().try_fold(0usize, |sum, part| sum.checked_add((*part)?));
    let found = length.saturating_sub(line.len() as u64);
    if body.map(|body| body as u64) != Some(found) {
        let expected = body.map_or("more than there can be".into(), |body| body.to_string());
        return Err(wrong(format!("has {found} bytes after its first line, which speaks of {expected}")));
    }
    let mut hash = Sha256::new();
    let mut part = |at: usize| -> Result<Vec<u8>> {
        let mut bytes = vec![0; parts[at].unwrap_or(0)];
        file.read_exact(&mut bytes).map_err(io)?;
        hash.update(&bytes);
        Ok(bytes)
    };
    let [train, train_labels, test, test_labels] = [part(0)?, part(1)?, part(2)?, part(3)?];
    let found = hex(&hash.finalize());
    if found != header.sha256 {
        return Err(wrong(format!(
            "its bytes have the SHA-256 {found}, but its first line says {}",
            header.sha256
        )));
    }

    let split = |pixels, labels| {
        Split::new(Images::new(header.height, header.width, header.channels, pixels)?, labels)
    };
    split(train, train_labels)
        .and_then(|train| Dataset::new(&header.name, &header.classes, train, split(test, test_labels)?))
        .map_err(|e| wrong(e.to_string()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::path::PathBuf;

    /// A data set of three and one pictures, 2 × 1, RGB; `change` may spoil it.
    pub(in super::super) fn write(folder: &Path, change: impl Fn(&mut Value, &mut Vec<u8>)) -> PathBuf {
        let pixels = 0..18;
        let mut body: Vec<u8> = pixels.chain([0, 1, 1]).chain(100..106).chain([1]).collect();
        let mut header = json!({
            "format": "igpt-data", "version": 1, "name": "Dots", "revision": "0123456789abcdef",
            "classes": ["cat", "dog"], "height": 2, "width": 1, "channels": 3, "train": 3, "test": 1,
            "jpeg": 0, "sha256": hex(&Sha256::digest(&body)),
        });
        change(&mut header, &mut body);
        let path = folder.join("dots-0123456789ab.igpt-data");
        std::fs::write(&path, [header.to_string().as_bytes(), b"\n", &body].concat()).unwrap();
        path
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let data = read(&write(folder.path(), |_, _| {}), "dots").unwrap();
        assert_eq!((data.name(), data.classes()), ("Dots", &["cat".to_owned(), "dog".to_owned()][..]));
        assert_eq!(
            (data.train().labels.as_slice(), data.test().labels.as_slice()),
            (&[0, 1, 1][..], &[1][..])
        );
        assert_eq!(data.train().images.pixels(1).unwrap(), [6, 7, 8, 9, 10, 11]);
        assert_eq!(data.test().images.all_pixels(), [100, 101, 102, 103, 104, 105]);
        assert_eq!((data.test().images.height(), data.test().images.width()), (2, 1));
    }

    #[test]
    fn a_damaged_file_is_refused_with_the_cure() {
        type Change = fn(&mut Value, &mut Vec<u8>);
        let folder = tempfile::tempdir().unwrap();
        let cases: [(Change, &str); 12] = [
            (|_, body| body.truncate(27), "has 27 bytes after its first line, which speaks of 28"),
            (|_, body| body.push(0), "has 29 bytes after its first line, which speaks of 28"),
            (|_, body| body[20] ^= 1, "its bytes have the SHA-256 "),
            (|header, _| header["train"] = json!(u64::MAX), "which speaks of more than there can be"),
            (|header, _| header["train"] = json!(1u64 << 40), "which speaks of 7696581394439"),
            (|header, _| header["height"] = json!(-1), "its first line makes no sense (invalid value"),
            (|header, _| header["version"] = json!(2), "is `igpt-data` of version 2, but"),
            (|header, _| header["format"] = json!("x"), "is `x` of version 1, but"),
            (|header, _| *header = json!([]), "does not begin with the line that `igpt fetch` writes"),
            (|header, _| header["name"] = json!("x".repeat(70_000)), "does not begin with the line"),
            (
                |header, _| header["revision"] = json!("é123456789abcdef"),
                "holds the revision `é123456789abcdef`",
            ),
            (
                |header, _| header["classes"] = json!(["cat"]),
                "the label of training picture 1 is 1, but there are 1",
            ),
        ];
        for (change, expected) in cases {
            let path = write(folder.path(), change);
            let error = read(&path, "dots").unwrap_err().to_string();
            assert!(error.starts_with(&format!("{}: ", path.display())), "{error}");
            assert!(error.contains(expected), "{expected}: {error}");
            assert!(error.ends_with("; `igpt fetch dots` writes it anew"), "{error}");
        }
        let empty = folder.path().join("dots-0123456789ab.igpt-data");
        std::fs::write(&empty, "").unwrap();
        assert!(read(&empty, "dots").unwrap_err().to_string().contains("does not begin with the line"));
    }
}
