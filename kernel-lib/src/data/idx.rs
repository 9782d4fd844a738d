//! IDX, the file format of MNIST and Fashion-MNIST: a few big-endian numbers, then the bytes of an array.
//!
//! Two zero bytes, one for the type of the elements (8 for unsigned bytes, the only one read here), one for the number
//! of dimensions; four bytes for the length of each dimension; the elements, the last dimension contiguous.

mod folder;

pub use folder::dataset;
pub(super) use folder::split;

use crate::{Error, Result};
use flate2::read::MultiGzDecoder;
use std::io::Read;
use std::path::Path;

/// An array of unsigned bytes out of an IDX file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idx {
    /// The length of each dimension, (N, H, W) for images, (N) for labels.
    pub shape: Vec<usize>,
    /// The elements, the last dimension contiguous.
    pub bytes: Vec<u8>,
}

/// Deflate makes of one byte 1,032 at most.
const MOST_DEFLATED: usize = 1032;

impl Idx {
    /// Reads an IDX file, plain or compressed with gzip.
    ///
    /// # Errors
    /// If the file cannot be read, is no IDX file of unsigned bytes, is damaged, or has fewer or more elements than its
    /// header says.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        Self::parse(&file, path)
    }

    /// As [`Idx::open`], of a file that is in memory; `name` is what errors call it.
    ///
    /// # Errors
    /// As [`Idx::open`].
    pub fn parse(file: &[u8], name: impl AsRef<Path>) -> Result<Self> {
        let array = match file.starts_with(&[0x1f, 0x8b]) {
            true => read(MultiGzDecoder::new(file), file.len().saturating_mul(MOST_DEFLATED)),
            false => read(file, file.len()),
        };
        array.map_err(|what| Error::format(name.as_ref(), what))
    }
}

/// Reads an array from `file`, which has at most `most` bytes. Nothing is allocated because the header says so.
fn read(mut file: impl Read, most: usize) -> Result<Idx, String> {
    let mut header = |what: &str| {
        let mut bytes = [0; 4];
        file.read_exact(&mut bytes)
            .map_err(|e| damaged(&e, &format!("ends in its header, before {what}")))?;
        Ok::<_, String>(bytes)
    };
    let magic = header("its first four bytes")?;
    let dimensions = match magic {
        [0, 0, 8, 0] => return Err("is an IDX file without dimensions".into()),
        [0, 0, 8, dimensions] => dimensions,
        [0, 0, kind @ (9 | 11..=14), _] => {
            return Err(format!(
                "is an IDX file with elements of type {kind:#04x}, not of unsigned bytes (0x08)"
            ));
        }
        [a, b, c, d] => {
            return Err(format!(
                "is no IDX file: it begins with {a:02x} {b:02x} {c:02x} {d:02x} instead of 00 00 08 and the number \
                 of dimensions"
            ));
        }
    };
    let shape = (1..=dimensions)
        .map(|at| {
            Ok(u32::from_be_bytes(header(&format!("the length of dimension {at} of {dimensions}"))?) as usize)
        })
        .collect::<Result<Vec<_>, String>>()?;
    let shown = shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ");
    let expected = shape
        .iter()
        .try_fold(1usize, |product, length| product.checked_mul(*length))
        .filter(|bytes| *bytes <= most)
        .ok_or_else(|| format!("is too short for the {shown} elements that its header announces"))?;
    let mut bytes = Vec::new();
    // One more than expected, to see whether there are more. `take` ends where the file does, and the vector grows
    // with what is read.
    file.take(expected as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| damaged(&e, &format!("ends after {} of {shown} elements", bytes.len())))?;
    match bytes.len() {
        found if found < expected => Err(format!("ends after {found} of {shown} = {expected} elements")),
        found if found > expected => Err(format!("goes on after its {shown} = {expected} elements")),
        _ => Ok(Idx { shape, bytes }),
    }
}

/// What an error while reading from memory means: the end of the file, or a fault in the compressed data.
fn damaged(error: &std::io::Error, ends: &str) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => ends.to_owned(),
        _ => format!("is damaged ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write as _;

    const GOOD: &[u8] = &[0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6];

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn error(file: &[u8]) -> String {
        let error = Idx::parse(file, "x.idx").unwrap_err().to_string();
        error.strip_prefix("x.idx: ").unwrap_or_else(|| panic!("{error}")).to_owned()
    }

    #[test]
    fn plain_and_compressed_arrays_are_read() {
        let expected = Idx { shape: vec![2, 3], bytes: vec![1, 2, 3, 4, 5, 6] };
        assert_eq!(Idx::parse(GOOD, "x").unwrap(), expected);
        assert_eq!(Idx::parse(&gz(GOOD), "x").unwrap(), expected);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.gz");
        std::fs::write(&path, gz(GOOD)).unwrap();
        assert_eq!(Idx::open(&path).unwrap(), expected);
        assert!(Idx::open(folder.path().join("y")).unwrap_err().to_string().contains("y: "));
        assert_eq!(
            Idx::parse(&[0, 0, 8, 1, 0, 0, 0, 0], "x").unwrap(),
            Idx { shape: vec![0], bytes: vec![] }
        );
    }

    #[test]
    fn headers_that_are_none_are_refused() {
        assert_eq!(
            error(b"PK\x03\x04"),
            "is no IDX file: it begins with 50 4b 03 04 instead of 00 00 08 and the number of dimensions"
        );
        assert_eq!(
            error(&[0, 0, 13, 1, 0, 0, 0, 1]),
            "is an IDX file with elements of type 0x0d, not of unsigned bytes (0x08)"
        );
        assert_eq!(error(&[0, 0, 8, 0]), "is an IDX file without dimensions");
    }

    #[test]
    fn files_cut_anywhere_are_refused() {
        assert_eq!(error(&[]), "ends in its header, before its first four bytes");
        assert_eq!(error(&GOOD[..10]), "ends in its header, before the length of dimension 2 of 2");
        // Plain, the length of the file shows at once that it cannot be enough.
        assert_eq!(error(&[0, 0, 8, 1, 0, 0, 0, 6, 1, 2]), "ends after 2 of 6 = 6 elements");
        for length in 0..GOOD.len() {
            error(&GOOD[..length]);
            error(&gz(&GOOD[..length]));
        }
        let whole = gz(GOOD);
        for length in 0..whole.len() {
            error(&whole[..length]);
        }
        let long = [GOOD, &[7]].concat();
        assert_eq!(error(&long), "goes on after its 2 × 3 = 6 elements");
        assert_eq!(error(&gz(&long)), "goes on after its 2 × 3 = 6 elements");
    }

    #[test]
    fn damaged_compression_is_refused() {
        let mut file = gz(GOOD);
        let at = file.len() - 8;
        file[at] ^= 1; // the checksum
        assert!(error(&file).starts_with("is damaged ("), "{}", error(&file));
    }

    #[test]
    fn a_header_cannot_ask_for_all_memory() {
        // 2^32 - 1 elements, and 2^96.
        let large = [0, 0, 8, 1, 255, 255, 255, 255, 1];
        let larger = [[0, 0, 8, 3].as_slice(), &[255; 12], &[1]].concat();
        let expected = "is too short for the 4294967295 elements that its header announces";
        assert_eq!(error(&large), expected);
        assert_eq!(error(&gz(&large)), expected);
        assert!(error(&larger).starts_with("is too short for the 4294967295 × 4294967295 × "));
        assert!(error(&gz(&larger)).starts_with("is too short for"));
    }
}
