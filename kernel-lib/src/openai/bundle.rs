//! A TensorFlow checkpoint: `NAME.index` says of each variable what it is and where its numbers are, in
//! `NAME.data-00000-of-00032` and the other shards.
//!
//! A variable may be in parts ("slices"), in one shard or several. Then the index has the variable, which names its parts,
//! and each part under a key of its own.

use super::crc32c;
use super::fields::{Value, fields};
use super::table;
use crate::{Error, Result, mapped};
use memmap2::Mmap;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry::Vacant;
use std::path::{Path, PathBuf};

/// TensorFlow's number for `f32`.
const F32: u64 = 1;

/// The most dimensions of a variable.
const MOST_DIMENSIONS: usize = 8;

/// The longest index: that of the largest network has some 100 kB.
const LONGEST_INDEX: u64 = 64 << 20;

/// A checkpoint, whose index is read and whose shards are mapped.
#[derive(Debug)]
pub(super) struct Bundle {
    /// The index's file.
    path: PathBuf,
    entries: BTreeMap<Vec<u8>, Entry>,
    /// The shards in which something lies.
    shards: BTreeMap<u64, (PathBuf, Mmap)>,
}

/// What the index says of a variable, or of a part of one.
#[derive(Debug, Default, PartialEq, Eq)]
struct Entry {
    kind: u64,
    shape: Vec<usize>,
    shard: u64,
    offset: u64,
    size: u64,
    checksum: u32,
    parts: Vec<Vec<Extent>>,
}

/// A part of a dimension. `None` is all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    start: usize,
    length: Option<usize>,
}

impl Bundle {
    /// The checkpoint of this name: of `model.ckpt-7`, say, which has `model.ckpt-7.index`.
    pub(super) fn open(name: &Path) -> Result<Self> {
        let path = with_ending(name, ".index");
        let io = |e| Error::io(&path, e);
        let length = path.metadata().map_err(io)?.len();
        if length > LONGEST_INDEX {
            return Err(Error::format(
                &path,
                format!("{length} bytes are no index of a network's checkpoint"),
            ));
        }
        let file = std::fs::read(&path).map_err(io)?;
        let (count, entries) = index(&file).map_err(|what| Error::format(&path, what))?;
        let mut shards = BTreeMap::new();
        for entry in entries.values().filter(|entry| entry.parts.is_empty()) {
            if let Vacant(place) = shards.entry(entry.shard) {
                let shard = with_ending(name, &format!(".data-{:05}-of-{count:05}", entry.shard));
                let mapped = mapped::file(&shard)?;
                place.insert((shard, mapped));
            }
        }
        Ok(Self { path, entries, shards })
    }

    /// The index's file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Names and shapes of all variables.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&str, &[usize])> {
        // A part's key begins with a zero.
        let named = self.entries.iter().filter(|(key, _)| key.first() != Some(&0));
        named.filter_map(|(key, entry)| Some((std::str::from_utf8(key).ok()?, &entry.shape[..])))
    }

    /// The numbers of a variable, in C order, with their checksums compared.
    ///
    /// # Errors
    /// If it is not there, is damaged, or holds other numbers than `f32`.
    pub(super) fn numbers(&self, name: &str) -> Result<Vec<f32>> {
        let of = |what: String| Error::format(&self.path, format!("{name}: {what}"));
        let entry = self.entries.get(name.as_bytes()).ok_or_else(|| of("it is not there".to_owned()))?;
        if entry.kind != F32 {
            return Err(of(format!(
                "numbers of TensorFlow's type {}, and those of the networks here are f32 (type {F32})",
                entry.kind
            )));
        }
        if entry.parts.is_empty() {
            let bytes = self.bytes(name, entry)?;
            return Ok(bytes.as_chunks().0.iter().map(|x| f32::from_le_bytes(*x)).collect());
        }
        let mut parts = Vec::with_capacity(entry.parts.len());
        for extents in &entry.parts {
            let part = self.entries.get(&part_key(name, extents));
            let part = part.ok_or_else(|| of("one of its parts is not there".to_owned()))?;
            let area = Area::of(extents, &entry.shape).filter(|area| area.lengths == part.shape);
            let area = area.ok_or_else(|| {
                of(format!("a part of shape {:?} is none of shape {:?}", part.shape, entry.shape))
            })?;
            if part.kind != F32 || !part.parts.is_empty() {
                return Err(of("one of its parts is of another type, or in parts itself".to_owned()));
            }
            parts.push((area, self.bytes(name, part)?));
        }
        join(&entry.shape, &parts).map_err(of)
    }

    /// The bytes of a variable that is whole, or of a part.
    fn bytes(&self, name: &str, entry: &Entry) -> Result<&[u8]> {
        let Entry { shape, shard, offset, size, checksum, .. } = entry;
        if count(shape).and_then(|count| count.checked_mul(4)).map(|bytes| bytes as u64) != Some(*size) {
            return Err(Error::format(
                &self.path,
                format!("{name}: {size} bytes are not f32 of shape {shape:?}"),
            ));
        }
        let Some((path, file)) = self.shards.get(shard) else {
            return Err(Error::format(&self.path, format!("{name}: there is no shard {shard}")));
        };
        let range = usize::try_from(*offset).ok().zip(usize::try_from(*size).ok());
        let bytes = range.and_then(|(start, size)| file.get(start..start.checked_add(size)?));
        let bytes = bytes.ok_or_else(|| {
            Error::format(
                path,
                format!("{name} has {size} bytes at {offset}, and the file {}: it is cut short", file.len()),
            )
        })?;
        match crc32c::masked(bytes) == *checksum {
            true => Ok(bytes),
            false => Err(Error::format(
                path,
                format!("{name} has another checksum than it had when it was written: the file is damaged"),
            )),
        }
    }
}

/// `model.ckpt-7` and `.index` are `model.ckpt-7.index`.
pub(super) fn with_ending(name: &Path, ending: &str) -> PathBuf {
    let mut name = name.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// How many shards there are, and what the index has, by key.
fn index(file: &[u8]) -> Result<(u64, BTreeMap<Vec<u8>, Entry>), String> {
    let mut table = table::entries(file)?;
    let header = table.remove(&[][..]).ok_or("it has no header")?;
    let count = header_shards(header).map_err(|what| format!("its header: {what}"))?;
    let mut entries = BTreeMap::new();
    for (key, value) in table {
        let of = |what: String| format!("{}: {what}", key.escape_ascii());
        let entry = entry(value).map_err(of)?;
        if entry.shard >= count {
            return Err(of(format!("it is in shard {}, and there are {count}", entry.shard)));
        }
        if key.first() != Some(&0) && std::str::from_utf8(&key).is_err() {
            return Err(of("its name is not UTF-8".to_owned()));
        }
        entries.insert(key, entry);
    }
    match shared(&entries) {
        None => Ok((count, entries)),
        Some((one, other)) => Err(format!(
            "{} and {} share their numbers, which no two variables do: it is damaged",
            one.escape_ascii(),
            other.escape_ascii()
        )),
    }
}

/// Two variables that have a byte in common, by key. A small file could ask for any amount of memory with such.
fn shared(entries: &BTreeMap<Vec<u8>, Entry>) -> Option<(&[u8], &[u8])> {
    let lie = entries.iter().filter(|(_, entry)| entry.parts.is_empty() && entry.size > 0);
    let mut spans: Vec<_> =
        lie.map(|(key, Entry { shard, offset, size, .. })| (shard, offset, size, key)).collect();
    spans.sort_unstable();
    spans.windows(2).find_map(|pair| {
        let [(shard, start, size, key), (next_shard, next_start, _, next)] = pair else { return None };
        (shard == next_shard && start.saturating_add(**size) > **next_start).then_some((&key[..], &next[..]))
    })
}

/// How many shards the header (`BundleHeaderProto`) names, if it is one of files that are read here.
fn header_shards(header: &[u8]) -> Result<u64, String> {
    let (mut shards, mut big_endian, mut least_reader) = (0, 0, 0);
    for field in fields(header)? {
        match field {
            (1, Value::Number(number)) => shards = number,
            (2, Value::Number(number)) => big_endian = number,
            (3, Value::Bytes(version)) => {
                for field in fields(version)? {
                    if let (2, Value::Number(number)) = field {
                        least_reader = number;
                    }
                }
            }
            _ => {}
        }
    }
    if big_endian != 0 {
        return Err("its numbers are big-endian, which is not read here".to_owned());
    }
    if least_reader > 1 {
        return Err(format!("it wants a reader of version {least_reader}, and this one is of version 1"));
    }
    match shards {
        1..=99_999 => Ok(shards),
        _ => Err(format!("{shards} shards")),
    }
}

/// What is said of a variable (`BundleEntryProto`).
fn entry(message: &[u8]) -> Result<Entry, String> {
    let mut entry = Entry::default();
    for field in fields(message)? {
        match field {
            (1, Value::Number(kind)) => entry.kind = kind,
            (2, Value::Bytes(shape)) => entry.shape = shape_of(shape)?,
            (3, Value::Number(shard)) => entry.shard = shard,
            (4, Value::Number(offset)) => entry.offset = offset,
            (5, Value::Number(size)) => entry.size = size,
            (6, Value::Fixed(checksum)) => entry.checksum = checksum,
            (7, Value::Bytes(part)) => entry.parts.push(extents(part)?),
            (number, value) => return Err(format!("field {number} is {value:?}, which is not known here")),
        }
    }
    Ok(entry)
}

/// A shape (`TensorShapeProto`).
fn shape_of(message: &[u8]) -> Result<Vec<usize>, String> {
    let mut shape = Vec::new();
    for field in fields(message)? {
        let (2, Value::Bytes(dimension)) = field else { return Err("its shape is not known".to_owned()) };
        let mut size = 0;
        for field in fields(dimension)? {
            if let (1, Value::Number(number)) = field {
                size = length(number)?;
            }
        }
        shape.push(size);
    }
    dimensions(shape)
}

/// Which part of a variable it is (`TensorSliceProto`).
fn extents(message: &[u8]) -> Result<Vec<Extent>, String> {
    let mut all = Vec::new();
    for field in fields(message)? {
        let (1, Value::Bytes(extent)) = field else {
            return Err(format!("a part of it has a field {}, which is not known here", field.0));
        };
        let mut found = Extent { start: 0, length: None };
        for field in fields(extent)? {
            match field {
                (1, Value::Number(start)) => found.start = length(start)?,
                (2, Value::Number(number)) => found.length = Some(length(number)?),
                _ => {}
            }
        }
        all.push(found);
    }
    dimensions(all)
}

fn dimensions<T>(list: Vec<T>) -> Result<Vec<T>, String> {
    match list.len() > MOST_DIMENSIONS {
        true => Err(format!("{} dimensions, and here are at most {MOST_DIMENSIONS}", list.len())),
        false => Ok(list),
    }
}

/// A length, which a sum with another does not make too large.
fn length(number: u64) -> Result<usize, String> {
    let length = usize::try_from(number).ok().filter(|length| *length < 1 << 48);
    length.ok_or_else(|| format!("a length of {number}"))
}

/// How many numbers a shape has, if so many can be.
fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, length| product.checked_mul(*length))
}

/// Where a part lies in its variable.
#[derive(Debug)]
struct Area {
    starts: Vec<usize>,
    lengths: Vec<usize>,
}

impl Area {
    /// The area of these extents, if it is one of a variable of this shape.
    fn of(extents: &[Extent], shape: &[usize]) -> Option<Self> {
        let lengths = extents.iter().zip(shape).map(|(extent, all)| extent.length.unwrap_or(*all));
        let area =
            Self { starts: extents.iter().map(|extent| extent.start).collect(), lengths: lengths.collect() };
        let ends = area.starts.iter().zip(&area.lengths).map(|(start, length)| start + length);
        (extents.len() == shape.len() && ends.zip(shape).all(|(end, all)| end <= *all)).then_some(area)
    }

    /// The place in the variable, in C order, of the part's number at a place in the part.
    fn place(&self, mut at: usize, shape: &[usize]) -> usize {
        let (mut place, mut step) = (0, 1);
        for ((start, length), all) in self.starts.iter().zip(&self.lengths).zip(shape).rev() {
            place += (start + at % length) * step;
            at /= length;
            step *= all;
        }
        place
    }
}

/// A variable of its parts, which must be all of it, each number once.
fn join(shape: &[usize], parts: &[(Area, &[u8])]) -> Result<Vec<f32>, String> {
    // The parts lie in files, so what is as large as all of them together fits where they did.
    let all: usize = parts.iter().map(|(_, bytes)| bytes.len() / 4).sum();
    if count(shape) != Some(all) {
        return Err(format!("its parts have {all} numbers, which are not shape {shape:?}"));
    }
    let (mut values, mut found) = (vec![0.0; all], vec![false; all]);
    for (area, bytes) in parts {
        for (at, bytes) in bytes.as_chunks().0.iter().enumerate() {
            let place = area.place(at, shape);
            if std::mem::replace(&mut found[place], true) {
                return Err("its parts overlap".to_owned());
            }
            values[place] = f32::from_le_bytes(*bytes);
        }
    }
    Ok(values)
}

/// The key of a part, made of numbers and text so that keys sort as these do (TensorFlow's `ordered_code`).
fn part_key(name: &str, extents: &[Extent]) -> Vec<u8> {
    let mut key = vec![0];
    for byte in name.bytes() {
        match byte {
            0 => key.extend([0, 0xff]),
            0xff => key.extend([0xff, 0]),
            byte => key.push(byte),
        }
    }
    key.extend([0, 1]);
    // At most 8, so one byte and how many bytes that is.
    key.extend(match extents.len() {
        0 => vec![0],
        count => vec![1, count as u8],
    });
    for Extent { start, length } in extents {
        key.extend(signed(*start));
        // All of a dimension is -1.
        key.extend(length.map_or(vec![0x7f], signed));
    }
    key
}

/// A number of at most 48 bits, as [`length`] lets through: as many ones as it has bytes, a zero, and the number in the bits that are left.
fn signed(number: usize) -> Vec<u8> {
    let number = number as u64;
    let bytes = (1..7).find(|bytes| number < 1 << (7 * bytes - 1)).unwrap_or(7);
    let ones = (0xff00_u16 >> bytes).to_le_bytes()[0];
    let mut found = number.to_be_bytes()[8 - bytes..].to_vec();
    found[0] |= ones;
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(start: usize, length: usize) -> Extent {
        Extent { start, length: Some(length) }
    }

    #[test]
    fn keys_of_parts_are_those_of_tensorflow() {
        // What TensorFlow 2.21 wrote of partitioned variables of shapes (3, 20000) and (1100000, 2).
        let first = part_key("m/b", &[extent(0, 3), extent(0, 10_000)]);
        assert_eq!(first, b"\x00m/b\x00\x01\x01\x02\x80\x83\x80\xe0\x27\x10");
        let second = part_key("m/b", &[extent(0, 3), extent(10_000, 10_000)]);
        assert_eq!(second, b"\x00m/b\x00\x01\x01\x02\x80\x83\xe0\x27\x10\xe0\x27\x10");
        let large = part_key("m/c", &[extent(550_000, 550_000), extent(0, 2)]);
        assert_eq!(large, b"\x00m/c\x00\x01\x01\x02\xe8\x64\x70\xe8\x64\x70\x80\x82");
        assert_eq!(signed(63), [0xbf]);
        assert_eq!(signed(64), [0xc0, 0x40]);
        assert_eq!(signed(8191), [0xdf, 0xff]);
        assert_eq!(signed(8192), [0xe0, 0x20, 0]);
        assert_eq!(part_key("a", &[Extent { start: 0, length: None }]), b"\x00a\x00\x01\x01\x01\x80\x7f");
    }

    #[test]
    fn parts_are_joined() {
        let shape = [3, 4];
        let bytes =
            |numbers: &[u8]| numbers.iter().flat_map(|x| f32::from(*x).to_le_bytes()).collect::<Vec<u8>>();
        let part = |extents: &[Extent], numbers: &[u8]| (Area::of(extents, &shape).unwrap(), bytes(numbers));
        let all = Extent { start: 0, length: None };
        let left = part(&[all, extent(0, 1)], &[0, 4, 8]);
        let right = part(&[extent(0, 3), extent(1, 3)], &[1, 2, 3, 5, 6, 7, 9, 10, 11]);
        let joined = |parts: &[&(Area, Vec<u8>)]| {
            let parts: Vec<(Area, &[u8])> = parts
                .iter()
                .map(|(Area { starts, lengths }, bytes)| {
                    (Area { starts: starts.clone(), lengths: lengths.clone() }, &bytes[..])
                })
                .collect();
            join(&shape, &parts)
        };
        let expected: Vec<f32> = (0..12u8).map(f32::from).collect();
        assert_eq!(joined(&[&left, &right]).unwrap(), expected);
        assert_eq!(joined(&[&right, &left]).unwrap(), expected);
        assert!(joined(&[&right]).unwrap_err().contains("its parts have 9 numbers"));
        let other = part(&[all, extent(1, 1)], &[0, 4, 8]);
        assert_eq!(joined(&[&other, &right]).unwrap_err(), "its parts overlap");
        for outside in [&[all, extent(2, 3)][..], &[all], &[extent(3, 1), all]] {
            assert!(Area::of(outside, &shape).is_none(), "{outside:?}");
        }
    }

    #[test]
    fn headers_of_other_files_are_refused() {
        assert_eq!(header_shards(b"\x08\x20\x1a\x02\x08\x01").unwrap(), 32);
        for (header, said) in [
            (&b"\x08\x20\x10\x01"[..], "big-endian"),
            (b"\x08\x20\x1a\x02\x10\x02", "a reader of version 2"),
            (b"", "0 shards"),
            (b"\x08\xa0\x8d\x06", "100000 shards"),
            (b"\x08", "ends in a field"),
        ] {
            let error = header_shards(header).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        assert!(entry(b"\x40\x01").unwrap_err().contains("field 8"));
        assert!(entry(b"\x12\x02\x18\x01").unwrap_err().contains("its shape is not known"));
        assert!(shape_of(&b"\x12\x00".repeat(9)).unwrap_err().contains("9 dimensions"));
        assert!(
            shape_of(b"\x12\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
                .unwrap_err()
                .contains("a length of")
        );
    }
}
