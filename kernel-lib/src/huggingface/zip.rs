//! The container of `pytorch_model.bin`: a zip archive whose entries are stored as they are.
//!
//! Read from its end, which points to the directory, which points to the entries. Large archives, and all that PyTorch
//! writes, have a second, longer end ("zip64"). Anything that PyTorch does not write (compression, encryption, several
//! disks, comments at the end, entries that overlap) is an error.

use flate2::Crc;
use std::collections::BTreeMap;

/// The entries of an archive by name.
#[derive(Debug)]
pub(super) struct Archive<'a> {
    entries: BTreeMap<&'a str, Entry<'a>>,
}

#[derive(Debug, Clone, Copy)]
struct Entry<'a> {
    bytes: &'a [u8],
    crc: u32,
}

/// The end of the directory, and its longer form with what points to that.
const END: usize = 22;
const LOCATOR: usize = 20;
const LONG_END: usize = 56;
/// What a short field says if the long one holds.
const SEE_LONG: u64 = u32::MAX as u64;

impl<'a> Archive<'a> {
    /// The archive in a file, or what is wrong with it.
    pub(super) fn parse(file: &'a [u8]) -> Result<Self, String> {
        let (start, end, count) = directory(file)?;
        let cut = || "its directory is damaged".to_owned();
        let mut rest = Fields(file.get(start..end).ok_or_else(cut)?);
        let mut entries = BTreeMap::new();
        let mut spans = Vec::new();
        while !rest.0.is_empty() {
            let fixed = Fields(rest.take(46).ok_or_else(cut)?);
            let (name, extra, comment) = (fixed.u16(28), fixed.u16(30), fixed.u16(32));
            let name = rest.take(name).and_then(|name| std::str::from_utf8(name).ok()).ok_or_else(cut)?;
            let extra = Fields(rest.take(extra).ok_or_else(cut)?);
            rest.take(comment).ok_or_else(cut)?;
            if !fixed.0.starts_with(b"PK\x01\x02") {
                return Err(cut());
            }
            let (flags, method) = (fixed.u16(8), fixed.u16(10));
            if method != 0 {
                return Err(format!(
                    "its entry {name:?} is compressed (method {method}), and PyTorch compresses nothing: write it again \
                     with torch.save"
                ));
            }
            if flags & 1 != 0 {
                return Err(format!("its entry {name:?} is encrypted"));
            }
            let [size, packed, offset] =
                long(extra, [fixed.u32(24), fixed.u32(20), fixed.u32(42)]).ok_or_else(cut)?;
            if size != packed {
                return Err(format!("its entry {name:?} is stored, but of {packed} instead of {size} bytes"));
            }
            let outside =
                || format!("its entry {name:?} is not where its directory says: cut short or damaged");
            let (bytes, span) = stored(&file[..start], name, offset, size).ok_or_else(outside)?;
            spans.push(span);
            if entries.insert(name, Entry { bytes, crc: fixed.u32(16) as u32 }).is_some() {
                return Err(format!("its entry {name:?} is there twice"));
            }
        }
        spans.sort_unstable();
        if spans.windows(2).any(|pair| pair[0].1 > pair[1].0) {
            return Err("its entries overlap".to_owned());
        }
        if entries.len() as u64 != count {
            return Err(format!("its directory has {} entries and not {count}", entries.len()));
        }
        Ok(Self { entries })
    }

    /// All names.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.entries.keys().copied()
    }

    /// An entry's bytes, if it is there, with their checksum compared.
    pub(super) fn get(&self, name: &str) -> Result<Option<&'a [u8]>, String> {
        let Some(Entry { bytes, crc }) = self.entries.get(name).copied() else { return Ok(None) };
        let mut found = Crc::new();
        found.update(bytes);
        match found.sum() == crc {
            true => Ok(Some(bytes)),
            false => Err(format!(
                "its entry {name:?} has another checksum than it had when it was written: damaged"
            )),
        }
    }
}

/// Where the directory begins and ends, and how many entries it has.
fn directory(file: &[u8]) -> Result<(usize, usize, u64), String> {
    let none = "a zip archive without its end: cut short, or damaged";
    let last = file.len().checked_sub(END).ok_or(none)?;
    let end = Fields(&file[last..]);
    if !end.0.starts_with(b"PK\x05\x06") || end.u16(20) != 0 {
        return Err(none.to_owned());
    }
    let (mut before, mut count) = (last, end.u16(10) as u64);
    let (mut size, mut start) = (end.u32(12), end.u32(16));
    let locator = last.checked_sub(LOCATOR).map(|at| Fields(&file[at..last]));
    if let Some(locator) = locator.filter(|locator| locator.0.starts_with(b"PK\x06\x07")) {
        before = usize::try_from(locator.u64(8)).map_err(|_| none)?;
        let long = before.checked_add(LONG_END).and_then(|end| file.get(before..end)).ok_or(none)?;
        let long = Fields(long);
        if !long.0.starts_with(b"PK\x06\x06") {
            return Err(none.to_owned());
        }
        (count, size, start) = (long.u64(32), long.u64(40), long.u64(48));
    }
    let end = start.checked_add(size).filter(|end| *end <= before as u64).ok_or(none)?;
    // Both are at most `before`, which is in the file.
    Ok((start as usize, end as usize, count))
}

/// Size, packed size and offset; those that are too large for their fields are in the extra field number 1.
fn long(mut extra: Fields<'_>, mut short: [u64; 3]) -> Option<[u64; 3]> {
    let mut longs = Fields(&[]);
    while extra.0.len() >= 4 {
        let head = Fields(extra.take(4)?);
        let body = extra.take(head.u16(2))?;
        if head.u16(0) == 1 {
            longs = Fields(body);
        }
    }
    for value in &mut short {
        if *value == SEE_LONG {
            *value = Fields(longs.take(8)?).u64(0);
        }
    }
    Some(short)
}

/// An entry's bytes, and the span of the file that it takes with its header.
fn stored<'a>(file: &'a [u8], name: &str, offset: u64, size: u64) -> Option<(&'a [u8], (usize, usize))> {
    let (start, size) = (usize::try_from(offset).ok()?, usize::try_from(size).ok()?);
    let mut rest = Fields(file.get(start..)?);
    let header = Fields(rest.take(30)?);
    let same = header.0.starts_with(b"PK\x03\x04")
        && header.u16(8) == 0
        && rest.take(header.u16(26))? == name.as_bytes();
    rest.take(header.u16(28))?;
    let bytes = rest.take(size)?;
    same.then_some((bytes, (start, file.len() - rest.0.len())))
}

/// Bytes with little-endian numbers in them.
#[derive(Debug, Clone, Copy)]
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Cuts off the first bytes.
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(first)
    }

    /// The number of N bytes at a place. Places are within records of fixed length, which `take` gave; outside is 0.
    fn number<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }

    fn u16(&self, at: usize) -> usize {
        usize::from(u16::from_le_bytes(self.number(at)))
    }

    fn u32(&self, at: usize) -> u64 {
        u64::from(u32::from_le_bytes(self.number(at)))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.number(at))
    }
}
