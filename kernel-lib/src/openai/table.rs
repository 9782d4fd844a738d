//! The file that a checkpoint's index is: a sorted table of keys and values, as LevelDB has them.
//!
//! Blocks, each with a byte that says how it is compressed and a checksum behind it; then a block that lists all others;
//! at the end 48 bytes that say where that one lies. In a block a key says only how it differs from the one before it.

use super::crc32c;
use super::fields::{take, varint};
use std::collections::BTreeMap;

/// The last 48 bytes: where two blocks lie, and the last 8 of all such files.
const FOOTER: usize = 48;
const MAGIC: [u8; 8] = 0xdb47_7524_8b80_fb57_u64.to_le_bytes();

/// What is behind each block: how it is compressed, and the checksum.
const TRAILER: usize = 5;

/// All keys and values of a table, or what is wrong with it.
pub(super) fn entries(file: &[u8]) -> Result<BTreeMap<Vec<u8>, &[u8]>, String> {
    let footer = file.len().checked_sub(FOOTER).map(|at| &file[at..]);
    let Some(footer) = footer.filter(|footer| footer.ends_with(&MAGIC)) else {
        return Err(
            "not the index of a TensorFlow checkpoint, or cut short: its last bytes are others".to_owned()
        );
    };
    let mut handles = &footer[..FOOTER - MAGIC.len()];
    // The first says where properties of the table are, of which TensorFlow writes none.
    let list = (handle(&mut handles), handle(&mut handles)).1.ok_or("its last bytes are damaged")?;
    let mut entries = BTreeMap::new();
    // Blocks that lie at one place could make any number of entries.
    let mut left = file.len();
    for (_, mut at) in pairs(block(file, list)?)? {
        let at = handle(&mut at).ok_or("the list of its blocks is damaged")?;
        let block = block(file, at)?;
        left = left.checked_sub(block.len()).ok_or("its blocks overlap: it is damaged")?;
        for (key, value) in pairs(block)? {
            if entries.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(out_of_order(&key));
            }
            entries.insert(key, value);
        }
    }
    Ok(entries)
}

/// Cuts off where a block lies: its first byte, and how many there are.
fn handle(bytes: &mut &[u8]) -> Option<(usize, usize)> {
    let (start, length) = (varint(bytes)?, varint(bytes)?);
    Some((usize::try_from(start).ok()?, usize::try_from(length).ok()?))
}

/// A block, with its checksum compared.
fn block(file: &[u8], (start, length): (usize, usize)) -> Result<&[u8], String> {
    let outside = || format!("a block of {length} bytes at {start} is not in its {} bytes", file.len());
    let mut rest = file.get(start..).ok_or_else(outside)?;
    let whole = length.checked_add(TRAILER).and_then(|length| take(&mut rest, length)).ok_or_else(outside)?;
    let (summed, checksum) = whole.split_at(length + 1);
    if checksum != crc32c::masked(summed).to_le_bytes() {
        return Err(format!(
            "its block at byte {start} has another checksum than it had when it was written: damaged"
        ));
    }
    match summed[length] {
        0 => Ok(&summed[..length]),
        1 => Err("compressed with snappy, and TensorFlow compresses no index: not read here".to_owned()),
        other => Err(format!("compressed in a way ({other}) that is not known here")),
    }
}

/// A key, and its value.
type Pair<'a> = (Vec<u8>, &'a [u8]);

/// The keys and values of a block.
fn pairs(block: &[u8]) -> Result<Vec<Pair<'_>>, String> {
    let damaged = "a block of it is damaged";
    // At the end: places of keys that are written out, and how many of these places there are.
    let (rest, count) = block.split_last_chunk().ok_or(damaged)?;
    let restarts = usize::try_from(u32::from_le_bytes(*count)).ok().and_then(|count| count.checked_mul(4));
    let length = restarts.and_then(|restarts| rest.len().checked_sub(restarts)).ok_or(damaged)?;
    let mut rest = &rest[..length];
    let mut pairs: Vec<Pair<'_>> = Vec::new();
    while !rest.is_empty() {
        let mut number = || varint(&mut rest).and_then(|number| usize::try_from(number).ok());
        let (shared, own, length) = match (number(), number(), number()) {
            (Some(shared), Some(own), Some(length)) => (shared, own, length),
            _ => return Err(damaged.to_owned()),
        };
        let before = pairs.last().map_or(&[][..], |(key, _)| key);
        let key = [before.get(..shared).ok_or(damaged)?, take(&mut rest, own).ok_or(damaged)?].concat();
        // Or a long key that all others share would take much more memory than the file has bytes.
        if key.len() > LONGEST {
            return Err(format!("a key of {} bytes, and names have at most {LONGEST}", key.len()));
        }
        // Sorted, so that none is there twice.
        if !pairs.is_empty() && before >= &key[..] {
            return Err(out_of_order(&key));
        }
        pairs.push((key, take(&mut rest, length).ok_or(damaged)?));
    }
    Ok(pairs)
}

/// The longest key.
const LONGEST: usize = 256;

fn out_of_order(key: &[u8]) -> String {
    format!("its keys are not in order at {}: it is damaged", key.escape_ascii())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn number(mut number: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    }

    /// A block of these pairs: each key shares what it can with the one before it, every third nothing.
    fn packed(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let (mut block, mut restarts, mut before) = (Vec::new(), Vec::new(), &[][..]);
        for (at, (key, value)) in pairs.iter().enumerate() {
            if at % 3 == 0 {
                restarts.extend((block.len() as u32).to_le_bytes());
                before = &[];
            }
            let shared = key.iter().zip(before).take_while(|(a, b)| a == b).count();
            for part in [number(shared), number(key.len() - shared), number(value.len())] {
                block.extend(part);
            }
            block.extend([&key[shared..], value].concat());
            before = key;
        }
        let count = (restarts.len() as u32 / 4).to_le_bytes();
        [block, restarts, count.to_vec()].concat()
    }

    /// A table of these pairs, so many in a block, each block with this byte for how it is compressed.
    pub(in super::super) fn table(pairs: &[(Vec<u8>, Vec<u8>)], in_block: usize, compressed: u8) -> Vec<u8> {
        fn add(file: &mut Vec<u8>, block: &[u8], compressed: u8) -> Vec<u8> {
            let handle = [number(file.len()), number(block.len())].concat();
            let summed = [block, &[compressed]].concat();
            file.extend([&summed[..], &crc32c::masked(&summed).to_le_bytes()].concat());
            handle
        }
        let mut file = Vec::new();
        let none = add(&mut file, &packed(&[]), 0);
        let list: Vec<(Vec<u8>, Vec<u8>)> = pairs
            .chunks(in_block)
            .map(|part| (part[part.len() - 1].0.clone(), add(&mut file, &packed(part), compressed)))
            .collect();
        let list = add(&mut file, &packed(&list), 0);
        let mut footer = [none, list].concat();
        footer.resize(FOOTER - MAGIC.len(), 0);
        [file, footer, MAGIC.to_vec()].concat()
    }

    fn some() -> Vec<(Vec<u8>, Vec<u8>)> {
        let pair = |i: usize| (format!("model/h{i:03}/g").into_bytes(), vec![i as u8; i % 5]);
        (0..200).map(pair).collect()
    }

    #[test]
    fn tables_of_any_blocks_are_read() {
        for in_block in [1, 7, 1000] {
            let file = table(&some(), in_block, 0);
            let found = entries(&file).unwrap();
            let expected = some();
            assert!(
                found.iter().map(|(key, value)| (key, *value)).eq(expected.iter().map(|(k, v)| (k, &v[..])))
            );
        }
        assert_eq!(entries(&table(&[], 1, 0)).unwrap().len(), 0);
    }

    #[test]
    fn damaged_tables_are_refused() {
        let good = table(&some(), 7, 0);
        let says = |file: &[u8], said: &str| {
            let error = entries(file).unwrap_err();
            assert!(error.contains(said), "{error:?} does not say {said:?}");
        };
        for end in 0..good.len() {
            says(&good[..end], "cut short");
        }
        // At the start is the block of properties, which is not read.
        for at in packed(&[]).len() + TRAILER..good.len() - FOOTER {
            let mut file = good.clone();
            file[at] ^= 0x10;
            says(&file, "has another checksum than it had when it was written");
        }
        says(&table(&some(), 7, 1), "compressed with snappy");
        says(&table(&some(), 7, 3), "compressed in a way (3)");
        let mut twice = some();
        twice[1] = twice[0].clone();
        says(&table(&twice, 7, 0), "its keys are not in order at model/h000/g");
        says(&table(&twice, 1, 0), "its keys are not in order at model/h000/g");
        says(&table(&[(vec![b'a'; 257], Vec::new())], 1, 0), "a key of 257 bytes");
        entries(&table(&[(vec![b'a'; 256], Vec::new())], 1, 0)).unwrap();
        let mut far = good.clone();
        let at = good.len() - FOOTER;
        far[at..at + 12].copy_from_slice(&[0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
        says(&far, "is not in its ");
    }
}
