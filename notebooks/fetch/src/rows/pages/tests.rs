//! Against the files of `tests/fixtures/parquet` with other headers in them.

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use parquet::{
    basic::Encoding,
    data_type::{ByteArray, ByteArrayType, Int64Type},
    file::{
        metadata::ParquetMetaData,
        properties::{WriterProperties, WriterVersion},
        reader::{FileReader as _, SerializedFileReader},
        writer::SerializedFileWriter,
    },
    schema::parser::parse_message_type,
};

use super::{
    super::{Rows, heap::reserved},
    *,
};

/// One file of each codec.
const FILES: [&str; 3] = ["train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"];
/// Bytes that reading may take besides what it takes of each byte of a file.
const CONSTANT: usize = 1 << 20;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/fixtures/parquet/{name}.parquet"))
}

fn metadata(path: &Path) -> ParquetMetaData {
    SerializedFileReader::new(Bounded::open(path).unwrap()).unwrap().metadata().clone()
}

/// Writes a file of 200 rows, every other image the same, with several pages in each column.
fn write(path: &Path, version: WriterVersion, codec: Compression, dictionary: bool) {
    write_encoded(path, version, codec, dictionary, Encoding::PLAIN);
}

fn write_encoded(
    path: &Path,
    version: WriterVersion,
    codec: Compression,
    dictionary: bool,
    encoding: Encoding,
) {
    let schema = parse_message_type("message m { required binary img; optional int64 label; }").unwrap();
    let properties = WriterProperties::builder()
        .set_writer_version(version)
        .set_compression(codec)
        .set_dictionary_enabled(dictionary)
        .set_column_encoding("img".into(), encoding)
        .set_data_page_row_count_limit(30)
        .set_write_batch_size(10)
        .build();
    let file = fs::File::create(path).unwrap();
    let mut file = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).unwrap();
    let mut group = file.next_row_group().unwrap();
    let images: Vec<ByteArray> = (0..200_u8).map(|row| vec![row * (row % 2); 20].into()).collect();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&images, None, None).unwrap();
    column.close().unwrap();
    let labels: Vec<i64> = (0..100).collect();
    let there: Vec<i16> = (0..200).map(|row| row % 2).collect();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&labels, Some(&there), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    file.close().unwrap();
}

/// How many rows a file has whose images nobody decodes.
fn read(path: &Path) -> Result<usize> {
    let mut rows = Rows::open(&[path.to_owned()], "img", &["label".into()])?;
    rows.largest_labels()?;
    let mut count = 0;
    while let Some(batch) = rows.next()? {
        count += batch.len();
    }
    Ok(count)
}

/// The columns that are read, of all row groups: name, and where the first page's header begins.
fn columns(path: &Path) -> Vec<(String, ColumnChunkMetaData)> {
    let metadata = metadata(path);
    let columns = metadata.row_groups().iter().flat_map(|group| group.columns());
    let columns = columns.map(|column| (column.column_path().string(), column.clone()));
    columns.filter(|(name, _)| name != "img.path").collect()
}

/// The header that begins here, and its bytes' place.
fn header_at(file: &[u8], begin: usize) -> (Header, Range<usize>) {
    let mut rest = &file[begin..];
    let header = Header::read(&mut rest).unwrap();
    (header, begin..file.len() - rest.len())
}

/// The places of all headers of a column.
fn headers(file: &[u8], column: &ColumnChunkMetaData) -> Vec<Range<usize>> {
    let (begin, length) = column.byte_range();
    let (mut at, mut places) = (begin as usize, Vec::new());
    while at < (begin + length) as usize {
        let (header, place) = header_at(file, at);
        at = place.end + header.compressed as usize;
        places.push(place);
    }
    places
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn i32(number: i32) -> Vec<u8> {
    varint(u64::from((number << 1 ^ number >> 31) as u32))
}

/// A header: the numbers of fields 1 to 3, then `content`, which is the head of field 4 or more and what is in it.
fn header(page: i32, uncompressed: i32, compressed: i32, content: &[u8]) -> Vec<u8> {
    let numbers = [page, uncompressed, compressed].map(|number| [vec![0x15], i32(number)].concat());
    [&numbers.concat(), content, &[0]].concat()
}

/// Field 5: values, their encoding, those of levels; `more` fields.
fn data(values: i32, encoding: i32, more: &[u8]) -> Vec<u8> {
    let numbers = [values, encoding, 3, 3].map(|number| [vec![0x15], i32(number)].concat());
    [&[0x2c][..], &numbers.concat(), more, &[0]].concat()
}

/// Field 7: values, their encoding.
fn dictionary(values: i32) -> Vec<u8> {
    [&[0x4c, 0x15][..], &i32(values), &[0x15, 0, 0]].concat()
}

#[test]
fn a_header_that_asks_for_too_much_is_refused_before_there_is_room_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    const MAX: i32 = i32::MAX;
    // A string of 2⁶² bytes in the statistics, and structs in structs.
    let endless = [&[0x1c, 0x18][..], &varint(1 << 62)].concat();
    let deep = [0x1c; 100];
    for name in FILES {
        let good = fs::read(fixture(name)).unwrap();
        for (column, chunk) in columns(&fixture(name)) {
            let (found, place) = header_at(&good, chunk.byte_range().0 as usize);
            let Content::Data { values, encoding } = found.content else { panic!("{found:?}") };
            let (larger, smaller) = (found.uncompressed, found.compressed - 8);
            let rest = good.len().min(chunk.byte_range().1 as usize + place.start);
            let plain = data(values, encoding, &[]);
            let all = chunk.uncompressed_size();
            let decompressed = |bytes: i32| {
                format!("has {bytes} bytes when it is decompressed, but the column has {all} more")
            };
            let in_file =
                |bytes: i32| format!("its header says that it has {bytes} bytes, but the column has ");
            for (bad, expected) in [
                (header(0, MAX, smaller, &plain), decompressed(MAX)),
                (header(0, -1, smaller, &plain), decompressed(-1)),
                (header(0, all as i32 + 1, smaller, &plain), decompressed(all as i32 + 1)),
                (header(0, larger, MAX, &plain), in_file(MAX)),
                (header(0, larger, -1, &plain), in_file(-1)),
                (header(2, MAX, smaller, &dictionary(3)), decompressed(MAX)),
                (
                    header(2, larger, 4, &dictionary(MAX)),
                    format!("a dictionary of {MAX} values in {larger} bytes"),
                ),
                (header(2, larger, 4, &dictionary(-1)), "a dictionary of -1 values".into()),
                (header(0, larger, 4, &data(-1, 0, &[])), "it has -1 values".into()),
                (
                    header(0, larger, 4, &data(values, 0, &endless)),
                    format!("says that {} bytes follow", 1_u64 << 62),
                ),
                (header(0, larger, 4, &data(values, 0, &deep)), "a field of the type 12, which no".into()),
                (header(0, larger, 4, &dictionary(3)), "a page of the type 0, and does not describe".into()),
                (header(0, larger, 4, &[&plain[..], &plain].concat()), "it describes two contents".into()),
                // Numbers that are lists, or have no end.
                (vec![0x19; 40], "its field 1 has the type 9".into()),
                (
                    vec![0x15, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                    "more than 64 bits".into(),
                ),
                (vec![0x15, 0xff, 0xff, 0xff, 0xff, 0x7f], "where a number of 32 bits belongs".into()),
            ] {
                // Over the old header and the page behind it.
                let bad = &bad[..bad.len().min(rest - place.start)];
                let mut file = good.clone();
                file[place.start..][..bad.len()].copy_from_slice(bad);
                fs::write(&path, &file).unwrap();
                let (count, bytes) = reserved(|| read(&path));
                let error = format!("{:#}", count.unwrap_err());
                let begin = format!(
                    "{}: column `{column}`, page 0 at byte {}: is damaged: its ",
                    path.display(),
                    place.start
                );
                assert!(
                    error.starts_with(&begin) && error.contains(&expected),
                    "{name}: {error}\nnot {expected}"
                );
                assert!(bytes < 8 * good.len() + CONSTANT, "{bytes} bytes for {error}");
            }
        }
    }
}

#[test]
fn what_the_end_of_the_file_says_of_a_column_is_checked_too() {
    let path = fixture(FILES[0]);
    let file = Bounded::open(&path).unwrap();
    let (_, good) = columns(&path).swap_remove(0);
    check(&file, &good, 4).unwrap();
    let (begin, length) = good.byte_range();
    let changed = |change: &dyn Fn(_) -> parquet::file::metadata::ColumnChunkMetaDataBuilder| {
        let bad = change(good.clone().into_builder()).build().unwrap();
        format!("{:#}", check(&file, &bad, 4).unwrap_err())
    };
    for (error, expected) in [
        (
            changed(&|it| it.set_data_page_offset(-1)),
            format!("has {length} bytes at byte -1, but the file has only "),
        ),
        (changed(&|it| it.set_total_compressed_size(-1)), format!("has -1 bytes at byte {begin}, but")),
        (changed(&|it| it.set_total_compressed_size(i64::MAX)), format!("has {} bytes at byte", i64::MAX)),
        (changed(&|it| it.set_total_uncompressed_size(-1)), "has -1 bytes, but of its".into()),
        (
            changed(&|it| it.set_total_uncompressed_size(22 * length as i64 + 1)),
            format!("of its {length} in the file at most {} can become", 22 * length),
        ),
        (
            changed(&|it| it.set_compression(Compression::GZIP(Default::default()))),
            "is compressed by GZIP, which is not read; plain values".into(),
        ),
    ] {
        assert!(error.starts_with("column `img.bytes`: is "), "{error}");
        assert!(error.contains(&expected), "{error}\nnot {expected}");
    }
    // Labels that are all the same are next to nothing in the file; other columns are not.
    let zstandard = Compression::ZSTD(Default::default());
    assert_eq!(most(zstandard, 100).unwrap(), 100 << 15);
    assert_eq!(most(zstandard, 10_000).unwrap(), SMALL);
    assert_eq!(most(zstandard, 1_000_000).unwrap(), 1_032_000_000);
    assert_eq!(most(Compression::UNCOMPRESSED, 7).unwrap(), 7);
}

#[test]
fn encodings_that_are_not_read_are_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let todo = "write the file again, for example with pyarrow's `pq.write_table(pq.read_table(FILE), FILE)`";
    for encoding in [Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::DELTA_BYTE_ARRAY] {
        write_encoded(&path, WriterVersion::PARQUET_2_0, Compression::SNAPPY, false, encoding);
        let error = format!("{:#}", read(&path).unwrap_err());
        let place =
            format!("{}: column `img`, page 0 at byte 4: is encoded as {encoding}, which", path.display());
        assert!(error.starts_with(&place) && error.ends_with(todo), "{error}");
    }
    let said = |encoding, is_numbers| check_encoding(encoding, is_numbers).map_err(|error| error.to_string());
    for (encoding, numbers, bytes) in
        [(0, true, true), (2, true, true), (8, true, true), (5, true, false), (9, true, false)]
    {
        assert_eq!(
            (said(encoding, true).is_ok(), said(encoding, false).is_ok()),
            (numbers, bytes),
            "{encoding}"
        );
    }
    assert!(said(3, true).unwrap_err().starts_with("is encoded as RLE, which is not read; "));
    assert!(
        said(77, true).unwrap_err().contains("Parquet does not have (number 77); download the file again")
    );
    // Labels are, whatever the images are.
    write(&path, WriterVersion::PARQUET_2_0, Compression::SNAPPY, false);
    let encodings: Vec<_> =
        columns(&path).iter().flat_map(|(_, chunk)| chunk.encodings().collect::<Vec<_>>()).collect();
    assert!(encodings.contains(&Encoding::DELTA_BINARY_PACKED), "{encodings:?}");
    assert_eq!(read(&path).unwrap(), 200);
}

#[test]
fn what_the_crate_writes_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
        for codec in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(Default::default())] {
            for dictionary in [true, false] {
                write(&path, version, codec, dictionary);
                assert_eq!(read(&path).unwrap(), 200, "{version:?}, {codec}, {dictionary}");
            }
        }
    }
}

#[test]
fn no_bit_of_a_header_makes_reading_end_or_take_more_than_the_file_can_fill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    // With dictionaries, and pages of the second version.
    let written =
        [("1", WriterVersion::PARQUET_1_0), ("2", WriterVersion::PARQUET_2_0)].map(|(name, version)| {
            let path = folder.path().join(name);
            write(&path, version, Compression::SNAPPY, true);
            path
        });
    let (mut tried, mut refused, mut gave_up, mut most) = (0, 0, 0, 0);
    for file in FILES.map(fixture).iter().chain(&written) {
        let (good, rows) = (fs::read(file).unwrap(), read(file).unwrap());
        let columns = columns(file);
        let headers = columns.iter().map(|(_, chunk)| headers(&good, chunk));
        for (at, bit) in headers.flatten().flatten().flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            fs::write(&path, &bad).unwrap();
            let (count, bytes) = reserved(|| read(&path));
            tried += 1;
            most = most.max(bytes);
            match count {
                Ok(count) => assert_eq!(count, rows, "{}, bit {bit} of byte {at}", file.display()),
                Err(error) => {
                    let error = format!("{error:#}");
                    assert!(error.starts_with(&format!("{}: ", path.display())), "{error}");
                    gave_up += usize::from(error.contains("its reader gave up"));
                    refused += 1;
                }
            }
            assert!(
                bytes < 8 * good.len() + CONSTANT,
                "{bytes} bytes: {}, bit {bit} of byte {at}",
                file.display()
            );
        }
    }
    println!("{tried} files, {refused} refused, {gave_up} by a panic; at most {most} bytes were reserved");
    assert!(refused > tried / 2 && gave_up < refused / 10, "{refused} of {tried}, {gave_up} by a panic");
}
