//! The headers of a column's pages, looked at before the `parquet` crate acts on them.
//!
//! The crate makes room for what a header asks for, up to 2 GB, before it knows whether so much is there, and one damaged
//! byte may ask for that. What passes here asks for no more than the file's bytes can hold: a page's bytes as its codec
//! can make them of those that are in the file, and eight times the bytes of a dictionary.

use std::io::Read;

use anyhow::{Context as _, Result, bail, ensure};
use parquet::{
    basic::{Compression, Type},
    file::{metadata::ColumnChunkMetaData, reader::ChunkReader as _},
};

use super::{Bounded, thrift};

/// Bytes; a column of no more than these may be as small in the file as Zstandard can make it.
const SMALL: u64 = 1 << 26;
/// Bytes of a value in a dictionary: a number's, or those of the length before an image.
const LEAST_VALUE: u64 = 4;

/// What makes a file that is read of one that is not. These are what pyarrow writes by itself.
const REWRITE: &str = "plain values and dictionaries are, compressed by Snappy or Zstandard: write the file again, for \
                       example with pyarrow's `pq.write_table(pq.read_table(FILE), FILE)`";

/// Refuses a column of a row group whose pages ask for more memory than its bytes in the file can fill. Only the pages
/// of the first `rows` rows are looked at: what comes after them is not read.
///
/// # Errors
/// The message names the column and the page.
pub(super) fn check(file: &Bounded, chunk: &ColumnChunkMetaData, rows: u64) -> Result<()> {
    let column = || format!("column `{}`", chunk.column_path().string());
    let is_numbers = chunk.column_type() != Type::BYTE_ARRAY;
    let mut left = Left::of(file, chunk, rows).with_context(column)?;
    for page in 0.. {
        if left.rows == 0 || left.at == left.end {
            break;
        }
        let place = format!("page {page} at byte {}", left.at);
        let encoding = left.page(file).with_context(|| format!("{}, {place}: is damaged", column()))?;
        if let Some(encoding) = encoding {
            check_encoding(encoding, is_numbers).with_context(|| format!("{}, {place}", column()))?;
        }
    }
    Ok(())
}

/// What of a column was not looked at yet.
struct Left {
    /// From this byte of the file,
    at: u64,
    /// to this one,
    end: u64,
    /// the rows,
    rows: u64,
    /// and how many bytes all pages may still have when they are decompressed.
    uncompressed: u64,
    /// Whether a dictionary came.
    dictionary: bool,
}

impl Left {
    /// All of it, as the file's footer says.
    fn of(file: &Bounded, chunk: &ColumnChunkMetaData, rows: u64) -> Result<Self> {
        let begin = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
        let (compressed, uncompressed) = (chunk.compressed_size(), chunk.uncompressed_size());
        let place = u64::try_from(begin).ok().zip(u64::try_from(compressed).ok());
        let span = place.and_then(|(at, length)| Some((at, at.checked_add(length)?)));
        let Some((at, end)) = span.filter(|(_, end)| *end <= file.length) else {
            bail!(
                "is damaged: the file's end says that it has {compressed} bytes at byte {begin}, but the file has only \
                 {}; download the file again",
                file.length
            );
        };
        let most = most(chunk.compression(), end - at)?;
        let uncompressed = u64::try_from(uncompressed).ok().filter(|bytes| *bytes <= most).with_context(|| {
            format!(
                "is damaged: the file's end says that it has {uncompressed} bytes, but of its {compressed} in the file \
                 at most {most} can become; download the file again"
            )
        })?;
        Ok(Self { at, end, rows, uncompressed, dictionary: false })
    }

    /// Looks at the next page's header; tells how its values are encoded.
    fn page(&mut self, file: &Bounded) -> Result<Option<i32>> {
        let there = self.end - self.at;
        let mut input = file.get_read(self.at)?.take(there);
        let header =
            Header::read(&mut input).context("its header cannot be read; download the file again")?;
        let there = input.limit();
        let (compressed, uncompressed) =
            (u64::try_from(header.compressed), u64::try_from(header.uncompressed));
        let Some(compressed) = compressed.ok().filter(|bytes| *bytes <= there) else {
            bail!(
                "its header says that it has {} bytes, but the column has {there} more in the file; download the file \
                 again",
                header.compressed
            );
        };
        let Some(uncompressed) = uncompressed.ok().filter(|bytes| *bytes <= self.uncompressed) else {
            bail!(
                "its header says that it has {} bytes when it is decompressed, but the column has {} more; download the \
                 file again",
                header.uncompressed,
                self.uncompressed
            );
        };
        self.at = self.end - there + compressed;
        self.uncompressed -= uncompressed;
        match header.content {
            Content::Index => Ok(None),
            Content::Dictionary { values } => {
                ensure!(
                    u64::try_from(values).is_ok_and(|values| values <= uncompressed / LEAST_VALUE),
                    "its header says that it is a dictionary of {values} values in {uncompressed} bytes; download the \
                     file again"
                );
                self.dictionary = true;
                Ok(None)
            }
            Content::Data { values, encoding } => {
                ensure!(
                    self.dictionary || ![2, 8].contains(&encoding),
                    "its header says that its values are in a dictionary, but none comes before it; download the file \
                     again"
                );
                let values = u64::try_from(values).with_context(|| {
                    format!("its header says that it has {values} values; download the file again")
                })?;
                self.rows = self.rows.saturating_sub(values);
                Ok(Some(encoding))
            }
        }
    }
}

/// Refuses encodings that are not read, by their names.
fn check_encoding(encoding: i32, is_numbers: bool) -> Result<()> {
    let name = match encoding {
        // Plain, and numbers of values in a dictionary.
        0 | 2 | 8 => return Ok(()),
        5 | 9 if is_numbers => return Ok(()),
        3 => "RLE",
        4 => "BIT_PACKED",
        5 => "DELTA_BINARY_PACKED",
        // These two have lengths of their own in the page, which the crate would make room for before it knows whether so
        // much is there, and with the second one a few bytes stand for an image as large as the one before.
        6 => "DELTA_LENGTH_BYTE_ARRAY",
        7 => "DELTA_BYTE_ARRAY",
        9 => "BYTE_STREAM_SPLIT",
        10 => "ALP",
        _ => bail!(
            "is encoded in a way that Parquet does not have (number {encoding}); download the file again"
        ),
    };
    bail!("is encoded as {name}, which is not read; {REWRITE}")
}

/// The most bytes that can become of so many compressed ones.
fn most(codec: Compression, compressed: u64) -> Result<u64> {
    let times = |factor| compressed.saturating_mul(factor);
    Ok(match codec {
        Compression::UNCOMPRESSED => compressed,
        // Three bytes make a copy of at most 64.
        Compression::SNAPPY => times(22),
        // Four bytes make a block of 128 KiB of the same byte. Columns of the same label in all rows come near that,
        // which are small; a large one is not believed to be smaller than deflate could make it.
        Compression::ZSTD(_) => times(1 << 15).min(times(1032).max(SMALL)),
        other => bail!("is compressed by {}, which is not read; {REWRITE}", codec_name(other)),
    })
}

/// `GZIP` of `GZIP(GzipLevel(6))`.
fn codec_name(codec: Compression) -> String {
    let name = codec.to_string();
    name.split('(').next().unwrap_or(&name).to_owned()
}

/// What a page's header says, however little sense it makes.
#[derive(Debug)]
struct Header {
    /// Bytes, without the header.
    uncompressed: i32,
    /// Bytes in the file, without the header.
    compressed: i32,
    content: Content,
}

/// What is in a page.
#[derive(Debug)]
enum Content {
    Index,
    Dictionary { values: i32 },
    Data { values: i32, encoding: i32 },
}

impl Header {
    /// Reads a header to its end, as the crate does, or not at all.
    fn read(input: &mut impl Read) -> Result<Self> {
        // The type of the page and its sizes; then the number of the field that describes its content, the number of
        // its values, and their encoding.
        let (mut numbers, mut described) = ([None; 3], None);
        thrift::fields(input, |input, field, kind| match (field, kind) {
            (1..=3, thrift::I32) => {
                numbers[field as usize - 1] = Some(thrift::number(input)?);
                Ok(())
            }
            (5 | 7 | 8, thrift::STRUCT) => {
                ensure!(described.is_none(), "it describes two contents");
                let (encoding_in, numbers) = match field {
                    5 => (2, 4),
                    7 => (2, 2),
                    _ => (4, 6),
                };
                let (mut values, mut encoding) = (None, None);
                thrift::fields(input, |input, field, kind| match (field, kind) {
                    (field, thrift::I32) if (1..=numbers).contains(&field) => {
                        let number = thrift::number(input)?;
                        if field == 1 {
                            values = Some(number);
                        } else if field == encoding_in {
                            encoding = Some(number);
                        }
                        Ok(())
                    }
                    // The crate takes these for numbers, whatever their type.
                    (field, kind) if (1..=numbers).contains(&field) => wrong_type(field, kind),
                    (_, kind) => thrift::skip(input, kind),
                })?;
                described = Some((field, values.zip(encoding)));
                Ok(())
            }
            (1..=3 | 5 | 7 | 8, kind) => wrong_type(field, kind),
            (_, kind) => thrift::skip(input, kind),
        })?;
        let [Some(page), Some(uncompressed), Some(compressed)] = numbers else {
            bail!("it does not say what page it is and how many bytes it has");
        };
        let content = match (page, described) {
            (0, Some((5, Some((values, encoding))))) | (3, Some((8, Some((values, encoding))))) => {
                Content::Data { values, encoding }
            }
            (1, None) => Content::Index,
            (2, Some((7, Some((values, _))))) => Content::Dictionary { values },
            _ => bail!("it is a page of the type {page}, and does not describe the content of one"),
        };
        Ok(Self { uncompressed, compressed, content })
    }
}

fn wrong_type(field: i16, kind: u8) -> Result<()> {
    bail!("its field {field} has the type {kind}")
}

#[cfg(test)]
mod tests;
