//! The rows of an image data set's Parquet files: a picture, encoded as PNG or JPEG, and its label.

use std::{fs::File, io::Cursor, path::PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use image::{ColorType, ImageFormat, ImageReader, Limits};
use parquet::{
    basic::Type,
    column::reader::{ColumnReaderImpl, get_typed_column_reader},
    data_type::{ByteArrayType, DataType, Int64Type},
    file::reader::{FileReader as _, RowGroupReader, SerializedFileReader},
    schema::types::SchemaDescriptor,
};
use rayon::prelude::*;

use super::{Progress, count};

/// The column of pictures: the hub's `Image` feature is a struct of bytes and a path.
const PICTURE: &str = "img.bytes";
const LABEL: &str = "label";
/// Rows that are in memory, encoded, at the same time.
const BATCH: usize = 2048;
/// More than a picture of any such data set has; a damaged one may ask for as much memory as this allows.
const LONGEST_SIDE: u32 = 1024;

/// Decoded pictures of one size with their labels.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    pub height: usize,
    pub width: usize,
    /// (N, H, W, 3)
    pub pixels: Vec<u8>,
    /// (N)
    pub labels: Vec<u8>,
    /// How many of the pictures were JPEG; the others were PNG.
    pub jpeg: usize,
}

/// Reads all rows of these files, in their order. `what` is what progress lines call them.
///
/// # Errors
/// The first row, or file, that is not as it should be; the message names file and row.
pub(super) fn read(files: &[PathBuf], classes: &[&str], what: &str) -> Result<Rows> {
    let mut progress = Progress::new();
    let mut rows = Rows::default();
    let readers = files.iter().map(|file| {
        // The reader takes more care with damaged files than it promises: it is not to end this program.
        guarded(|| {
            File::open(file).map_err(anyhow::Error::from).and_then(|f| Ok(SerializedFileReader::new(f)?))
        })
        .and_then(|reader| check_columns(&reader, classes).map(|()| reader))
        .with_context(|| file.display().to_string())
    });
    let readers = readers.collect::<Result<Vec<_>>>()?;
    let total = readers
        .iter()
        .map(|reader| usize::try_from(reader.metadata().file_metadata().num_rows()).unwrap_or(0))
        .sum();
    for (file, reader) in files.iter().zip(readers) {
        guarded(|| {
            rows.append(&reader, classes.len(), |done| {
                progress.tick(|| format!("{what}: {} of {} pictures", count(done), count(total)));
            })
        })
        .with_context(|| file.display().to_string())?;
    }
    if rows.labels.is_empty() {
        let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
        bail!("there is no row in {}", names.join(", "));
    }
    Ok(rows)
}

/// A panic inside is an error.
fn guarded<T>(read: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read))
        .unwrap_or_else(|_| bail!("is damaged: the Parquet reader gave up"))
}

type Reader = SerializedFileReader<File>;

/// Both columns must be there, of the right types, and the classes' names ours, where the file has them.
fn check_columns(reader: &Reader, classes: &[&str]) -> Result<()> {
    let metadata = reader.metadata().file_metadata();
    for (name, wanted) in [(PICTURE, Type::BYTE_ARRAY), (LABEL, Type::INT64)] {
        let schema = metadata.schema_descr();
        let column = schema.column(place(schema, name)?);
        if column.physical_type() != wanted || column.max_rep_level() != 0 {
            let list = if column.max_rep_level() != 0 { "a list of " } else { "" };
            bail!("the column `{name}` is {list}{}, not {wanted}", column.physical_type());
        }
    }
    // {"info": {"features": {"label": {"names": [...]}}}}, as the hub's `datasets` library writes it.
    let notes = metadata.key_value_metadata().into_iter().flatten().find(|note| note.key == "huggingface");
    let notes = notes.and_then(|note| serde_json::from_str::<serde_json::Value>(note.value.as_deref()?).ok());
    if let Some(names) = notes.as_ref().and_then(|notes| notes["info"]["features"][LABEL]["names"].as_array())
    {
        let names: Vec<_> = names.iter().map(|name| name.as_str().unwrap_or("?")).collect();
        if names != classes {
            bail!("its classes are {}, not {}", names.join(", "), classes.join(", "));
        }
    }
    Ok(())
}

/// The number of a column.
fn place(schema: &SchemaDescriptor, name: &str) -> Result<usize> {
    let columns = schema.columns();
    columns.iter().position(|column| column.path().string() == name).ok_or_else(|| {
        let names: Vec<_> = columns.iter().map(|column| column.path().string()).collect();
        anyhow!("there is no column `{name}`; there are {}", names.join(", "))
    })
}

impl Rows {
    /// Adds the rows of one file. `told` hears how many rows there are by now.
    fn append(&mut self, reader: &Reader, classes: usize, mut told: impl FnMut(usize)) -> Result<()> {
        let mut row: usize = 0;
        for group in 0..reader.num_row_groups() {
            let group = reader.get_row_group(group)?;
            let mut pictures = Column::<ByteArrayType>::open(&*group, PICTURE)?;
            let mut labels = Column::<Int64Type>::open(&*group, LABEL)?;
            let mut left = usize::try_from(group.metadata().num_rows())?;
            while left > 0 {
                let batch = left.min(BATCH);
                let at = || format!("rows from {row}");
                let (pictures, labels) =
                    (pictures.read(batch).with_context(at)?, labels.read(batch).with_context(at)?);
                let decoded: Vec<Result<Picture>> = pictures
                    .par_iter()
                    .map(|bytes| Picture::decode(bytes.as_ref().context("has no picture")?.data()))
                    .collect();
                for (picture, label) in decoded.into_iter().zip(labels) {
                    picture
                        .and_then(|picture| self.push(picture, label, classes))
                        .with_context(|| format!("row {row}"))?;
                    row += 1;
                }
                left -= batch;
                told(self.labels.len());
            }
        }
        let promised = reader.metadata().file_metadata().num_rows();
        if usize::try_from(promised).ok() != Some(row) {
            bail!("has {row} rows, but says {promised}");
        }
        Ok(())
    }

    fn push(&mut self, picture: Picture, label: Option<i64>, classes: usize) -> Result<()> {
        let label = label.context("has no label")?;
        let label =
            u8::try_from(label).ok().filter(|label| usize::from(*label) < classes).with_context(|| {
                format!("its label is {label}, but there are {classes} classes, counted from 0")
            })?;
        if self.labels.is_empty() {
            (self.height, self.width) = (picture.height, picture.width);
        }
        if (picture.height, picture.width) != (self.height, self.width) {
            bail!(
                "its picture has {} × {} pixels, but the first one {} × {}",
                picture.width,
                picture.height,
                self.width,
                self.height
            );
        }
        self.pixels.extend_from_slice(&picture.pixels);
        self.labels.push(label);
        self.jpeg += usize::from(picture.is_jpeg);
        Ok(())
    }
}

/// A column of a row group, none of whose values is in a list.
struct Column<T: DataType> {
    reader: ColumnReaderImpl<T>,
    /// The definition level of a value that is there; less where it, or the struct around it, is null.
    defined: i16,
}

impl<T: DataType> Column<T> {
    fn open(group: &dyn RowGroupReader, name: &str) -> Result<Self> {
        let schema = group.metadata().schema_descr_ptr();
        let at = place(&schema, name)?;
        Ok(Self {
            reader: get_typed_column_reader(group.get_column_reader(at)?),
            defined: schema.column(at).max_def_level(),
        })
    }

    /// The next `count` values.
    fn read(&mut self, count: usize) -> Result<Vec<Option<T::T>>> {
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let (found, _, _) = self.reader.read_records(count, Some(&mut levels), None, &mut values)?;
        if found != count {
            bail!("the file ends before row {found} of them");
        }
        if self.defined == 0 {
            return Ok(values.into_iter().map(Some).collect());
        }
        let mut values = values.into_iter();
        Ok(levels.iter().map(|level| if *level == self.defined { values.next() } else { None }).collect())
    }
}

struct Picture {
    height: usize,
    width: usize,
    /// (H, W, 3): rows from the top, in a row from the left.
    pixels: Vec<u8>,
    is_jpeg: bool,
}

impl Picture {
    fn decode(bytes: &[u8]) -> Result<Self> {
        let format = match bytes {
            [0xff, 0xd8, ..] => ImageFormat::Jpeg,
            [0x89, b'P', b'N', b'G', ..] => ImageFormat::Png,
            _ => bail!(
                "its picture is neither PNG nor JPEG, it begins with {:02x?}",
                &bytes[..bytes.len().min(4)]
            ),
        };
        let is_jpeg = format == ImageFormat::Jpeg;
        // The decoder would fill up with grey what is missing.
        if is_jpeg && !bytes.ends_with(&[0xff, 0xd9]) {
            bail!("its JPEG picture has no end");
        }
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        let mut limits = Limits::default();
        (limits.max_image_width, limits.max_image_height) = (Some(LONGEST_SIDE), Some(LONGEST_SIDE));
        reader.limits(limits);
        let picture = reader.decode().context("its picture cannot be decoded")?;
        if picture.color() != ColorType::Rgb8 {
            bail!("its picture is {:?}, not red-green-blue of 8 bits", picture.color());
        }
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        Ok(Self { height, width, pixels: picture.into_rgb8().into_raw(), is_jpeg })
    }
}

#[cfg(test)]
mod tests;
