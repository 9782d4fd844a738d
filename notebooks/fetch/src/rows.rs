//! The rows of an image data set's Parquet files: an image, encoded as PNG or JPEG, and its labels.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use parquet::{
    basic::Type,
    column::reader::{ColumnReaderImpl, get_typed_column_reader},
    data_type::{ByteArrayType, DataType, Int32Type, Int64Type},
    errors::ParquetError,
    file::reader::{ChunkReader, FileReader as _, Length, RowGroupReader, SerializedFileReader},
    schema::types::SchemaDescriptor,
};

use super::{
    catch_panic::catch_panic,
    encoded::{Content, Origin, Row},
};

mod pages;
mod thrift;

/// Rows that are in memory, encoded, at the same time: at most so many,
const MOST_ROWS: usize = 2048;
/// and fewer where a row group's images are so large that these would have more bytes.
const BATCH_BYTES: usize = 1 << 26;

/// The rows of several files, in their order, a batch at a time.
pub(super) struct Rows {
    files: Vec<Opened>,
    image: String,
    labels: Vec<String>,
    /// The file that is being read, the row group that is next in it, and the row.
    at: (usize, usize, usize),
    open: Option<Group>,
}

/// A file.
struct Opened {
    path: Arc<Path>,
    /// Its bytes, for what its reader does not show.
    bytes: Bounded,
    reader: SerializedFileReader<Bounded>,
}

/// A row group that is being read.
struct Group {
    images: Column<ByteArrayType>,
    labels: Vec<Integers>,
    left: usize,
    batch: usize,
}

impl Rows {
    /// Opens these files, whose column `image` holds images and whose columns `labels` hold labels.
    ///
    /// # Errors
    /// If one cannot be opened, or has not these columns.
    pub(super) fn open(files: &[PathBuf], image: &str, labels: &[String]) -> Result<Self> {
        let open = |file: &PathBuf| -> Result<Opened> {
            let opened = catch_panic(|| {
                let bytes = Bounded::open(file)?;
                let reader = SerializedFileReader::new(bytes.clone())?;
                let schema = reader.metadata().file_metadata().schema_descr();
                check(schema, place_of_images(schema, image)?, &[Type::BYTE_ARRAY])?;
                for label in labels {
                    check(schema, place(schema, label)?, &[Type::INT64, Type::INT32])?;
                }
                Ok(Opened { path: file.as_path().into(), bytes, reader })
            });
            opened.with_context(|| file.display().to_string())
        };
        let files = files.iter().map(open).collect::<Result<_>>()?;
        Ok(Self { files, image: image.into(), labels: labels.to_vec(), at: (0, 0, 0), open: None })
    }

    /// The first of these columns that the first file has.
    pub(super) fn column<'a>(file: &Path, names: &[&'a str]) -> Result<&'a str> {
        catch_panic(|| {
            let reader = SerializedFileReader::new(Bounded::open(file)?)?;
            let schema = reader.metadata().file_metadata().schema_descr();
            let found = names.iter().find(|name| place_of_images(schema, name).is_ok());
            found.copied().ok_or_else(|| missing(schema, &names.join("` or `")))
        })
        .with_context(|| file.display().to_string())
    }

    /// How many rows there are.
    pub(super) fn total(&self) -> usize {
        let rows = self.files.iter().map(|file| file.reader.metadata().file_metadata().num_rows());
        rows.map(|rows| usize::try_from(rows).unwrap_or(0)).sum()
    }

    /// The names of a label's classes, where the files have them; `known` are what they must be.
    ///
    /// # Errors
    /// If a file has other names than the file before, or than are known.
    pub(super) fn classes(&self, label: &str, known: Option<&[String]>) -> Result<Option<Vec<String>>> {
        let mut expected = known.map(<[String]>::to_vec);
        for Opened { path, reader, .. } in &self.files {
            // {"info": {"features": {"label": {"names": [...]}}}}, as the hub's `datasets` library writes it.
            let notes = reader.metadata().file_metadata().key_value_metadata();
            let notes = notes.into_iter().flatten().find(|note| note.key == "huggingface");
            let notes: Option<serde_json::Value> =
                notes.and_then(|note| serde_json::from_str(note.value.as_deref()?).ok());
            let names = notes.as_ref().and_then(|notes| notes["info"]["features"][label]["names"].as_array());
            let Some(names) = names else { continue };
            let names: Vec<_> = names.iter().map(|name| name.as_str().unwrap_or("?").to_owned()).collect();
            match &expected {
                Some(expected) if *expected != names => bail!(
                    "{}: its classes are {}, not {}",
                    path.display(),
                    names.join(", "),
                    expected.join(", ")
                ),
                _ => expected = Some(names),
            }
        }
        Ok(expected)
    }

    /// The next rows; `None` after the last one. No more are held here than these.
    ///
    /// # Errors
    /// If a file is damaged; the message names it.
    pub(super) fn next(&mut self) -> Result<Option<Vec<Row>>> {
        while let Some(file) = self.files.get(self.at.0) {
            let path = Arc::clone(&file.path);
            let rows = catch_panic(|| self.rows(&path)).with_context(|| path.display().to_string())?;
            if let Some(rows) = rows {
                return Ok(Some(rows));
            }
            self.at = (self.at.0 + 1, 0, 0);
        }
        Ok(None)
    }

    /// The next rows of the file that is being read.
    fn rows(&mut self, path: &Arc<Path>) -> Result<Option<Vec<Row>>> {
        let (file, group, row) = &mut self.at;
        let Opened { bytes, reader, .. } = &self.files[*file];
        while self.open.as_ref().is_none_or(|group| group.left == 0) {
            if *group == reader.num_row_groups() {
                self.open = None;
                let promised = reader.metadata().file_metadata().num_rows();
                if usize::try_from(promised).ok() != Some(*row) {
                    bail!("has {row} rows, but says {promised}");
                }
                return Ok(None);
            }
            self.open = Some(Group::open(bytes, &*reader.get_row_group(*group)?, &self.image, &self.labels)?);
            *group += 1;
        }
        let Some(group) = &mut self.open else { return Ok(None) };
        let count = group.left.min(group.batch);
        let at = || format!("rows from {row}");
        let images = group.images.read(count).with_context(at)?;
        let labels = group.labels.iter_mut().map(|column| column.read(count).with_context(at));
        let labels = labels.collect::<Result<Vec<_>>>()?;
        let rows = images.into_iter().enumerate().map(|(i, image)| Row {
            place: Origin::Row(Arc::clone(path), *row + i),
            content: image.map_or(Content::Nothing, Content::Bytes),
            labels: labels.iter().map(|column| column[i]).collect(),
        });
        let rows = rows.collect();
        group.left -= count;
        *row += count;
        Ok(Some(rows))
    }

    /// The largest label of each label column, without looking at an image.
    ///
    /// # Errors
    /// If a file is damaged; the message names it.
    pub(super) fn largest_labels(&self) -> Result<Vec<i64>> {
        let mut largest = vec![0; self.labels.len()];
        for Opened { path, bytes, reader } in &self.files {
            catch_panic(|| {
                for group in 0..reader.num_row_groups() {
                    let group = reader.get_row_group(group)?;
                    let mut left = usize::try_from(group.metadata().num_rows())?;
                    let mut columns = integers(bytes, &*group, &self.labels)?;
                    while left > 0 {
                        let count = left.min(MOST_ROWS);
                        for (column, largest) in columns.iter_mut().zip(&mut largest) {
                            let values = column.read(count)?;
                            *largest = values.into_iter().flatten().fold(*largest, i64::max);
                        }
                        left -= count;
                    }
                }
                Ok(())
            })
            .with_context(|| path.display().to_string())?;
        }
        Ok(largest)
    }
}

impl Group {
    fn open(file: &Bounded, group: &dyn RowGroupReader, image: &str, labels: &[String]) -> Result<Self> {
        let left = usize::try_from(group.metadata().num_rows())?;
        let schema = group.metadata().schema_descr_ptr();
        let at = place_of_images(&schema, image)?;
        let bytes = usize::try_from(group.metadata().column(at).uncompressed_size()).unwrap_or(0);
        let each = bytes.checked_div(left).unwrap_or(0).max(1);
        let batch = (BATCH_BYTES / each).clamp(1, MOST_ROWS);
        let (images, labels) = (Column::open(file, group, at)?, integers(file, group, labels)?);
        Ok(Self { images, labels, left, batch })
    }
}

fn integers(file: &Bounded, group: &dyn RowGroupReader, names: &[String]) -> Result<Vec<Integers>> {
    let schema = group.metadata().schema_descr_ptr();
    names.iter().map(|name| Integers::open(file, group, place(&schema, name)?)).collect()
}

/// The column of images: the hub's `Image` feature is a struct of bytes and a path; plain bytes will do.
fn place_of_images(schema: &SchemaDescriptor, name: &str) -> Result<usize> {
    let bytes = format!("{name}.bytes");
    place(schema, &bytes).or_else(|_| place(schema, name)).map_err(|_| missing(schema, &bytes))
}

/// The number of a column.
fn place(schema: &SchemaDescriptor, name: &str) -> Result<usize> {
    let columns = schema.columns();
    columns.iter().position(|column| column.path().string() == name).ok_or_else(|| missing(schema, name))
}

fn missing(schema: &SchemaDescriptor, name: &str) -> anyhow::Error {
    let names: Vec<_> = schema.columns().iter().map(|column| column.path().string()).collect();
    anyhow!(
        "there is no column `{name}`; there are {}; --image-column and --label-column name others",
        names.join(", ")
    )
}

/// A column must be of one of these types, and no list.
fn check(schema: &SchemaDescriptor, at: usize, types: &[Type]) -> Result<()> {
    let column = schema.column(at);
    if !types.contains(&column.physical_type()) || column.max_rep_level() != 0 {
        let list = if column.max_rep_level() != 0 { "a list of " } else { "" };
        bail!(
            "the column `{}` is {list}{}, not {}",
            column.path().string(),
            column.physical_type(),
            types[0]
        );
    }
    Ok(())
}

/// A column of a row group, none of whose values is in a list.
struct Column<T: DataType> {
    reader: ColumnReaderImpl<T>,
    /// The definition level of a value that is there; less where it, or the struct around it, is null.
    defined: i16,
}

impl<T: DataType> Column<T> {
    fn open(file: &Bounded, group: &dyn RowGroupReader, at: usize) -> Result<Self> {
        let metadata = group.metadata();
        pages::check(file, metadata.column(at), u64::try_from(metadata.num_rows())?)?;
        let defined = metadata.schema_descr_ptr().column(at).max_def_level();
        Ok(Self { reader: get_typed_column_reader(group.get_column_reader(at)?), defined })
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

/// A column of labels.
enum Integers {
    Narrow(Column<Int32Type>),
    Wide(Column<Int64Type>),
}

impl Integers {
    fn open(file: &Bounded, group: &dyn RowGroupReader, at: usize) -> Result<Self> {
        Ok(match group.metadata().schema_descr_ptr().column(at).physical_type() {
            Type::INT32 => Self::Narrow(Column::open(file, group, at)?),
            _ => Self::Wide(Column::open(file, group, at)?),
        })
    }

    fn read(&mut self, count: usize) -> Result<Vec<Option<i64>>> {
        match self {
            Self::Narrow(column) => {
                Ok(column.read(count)?.into_iter().map(|label| label.map(i64::from)).collect())
            }
            Self::Wide(column) => column.read(count),
        }
    }
}

/// A file that nobody reads beyond its end: the reader would make room first for whatever a damaged header asks for.
#[derive(Clone)]
struct Bounded {
    file: Arc<File>,
    length: u64,
}

impl Bounded {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), length })
    }
}

impl Length for Bounded {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Bounded {
    type T = <File as ChunkReader>::T;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        self.file.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.length) {
            return Err(ParquetError::EOF(format!(
                "{length} bytes at {start} are more than the file's {} bytes",
                self.length
            )));
        }
        self.file.get_bytes(start, length)
    }
}

#[cfg(test)]
mod heap;
#[cfg(test)]
mod tests;
