//! As much of Thrift's compact protocol as the header of a Parquet page takes.

use std::io::{Read, copy, sink};

use anyhow::{Context as _, Result, bail, ensure};

/// The type of a number of 32 bits.
pub(super) const I32: u8 = 5;
/// The type of a struct.
pub(super) const STRUCT: u8 = 12;

/// Structs in structs: the statistics of a page lie two deep.
const DEEPEST: u8 = 8;

/// Reads a struct to its end. `field` hears the number and the type of each field, and must read it whole.
///
/// # Errors
/// If the input ends before the struct, or `field` has one.
pub(super) fn fields<R: Read>(
    input: &mut R,
    mut field: impl FnMut(&mut R, i16, u8) -> Result<()>,
) -> Result<()> {
    let mut number: i16 = 0;
    loop {
        let head = byte(input)?;
        let kind = head & 0x0f;
        if kind == 0 {
            return Ok(());
        }
        number = match head >> 4 {
            0 => i16::try_from(signed(input)?).ok(),
            more => number.checked_add(more.into()),
        }
        .context("it has a field whose number is too large")?;
        field(input, number, kind)?;
    }
}

/// Reads a number of 32 bits.
///
/// # Errors
/// If it has more, or the input ends before it.
pub(super) fn number(input: &mut impl Read) -> Result<i32> {
    let number = signed(input)?;
    i32::try_from(number).map_err(|_| anyhow::anyhow!("it says {number} where a number of 32 bits belongs"))
}

/// Reads what is of no interest. Lists, sets and maps are in no page's header.
///
/// # Errors
/// If the input ends before it, or it is of no such type.
pub(super) fn skip<R: Read>(input: &mut R, kind: u8) -> Result<()> {
    skip_within(input, kind, DEEPEST)
}

fn skip_within<R: Read>(input: &mut R, kind: u8, deep: u8) -> Result<()> {
    match kind {
        // A field's type is its truth.
        1 | 2 => Ok(()),
        3 => byte(input).map(drop),
        4..=6 => varint(input).map(drop),
        7 => skip_bytes(input, 8),
        8 => {
            let length = varint(input)?;
            skip_bytes(input, length)
        }
        STRUCT if deep > 0 => fields(input, |input, _, kind| skip_within(input, kind, deep - 1)),
        _ => bail!("it has a field of the type {kind}, which no page's header has there"),
    }
}

fn skip_bytes(input: &mut impl Read, count: u64) -> Result<()> {
    let skipped = copy(&mut input.take(count), &mut sink())?;
    ensure!(skipped == count, "it says that {count} bytes follow, of which only {skipped} are there");
    Ok(())
}

fn byte(input: &mut impl Read) -> Result<u8> {
    let mut byte = [0];
    input.read_exact(&mut byte).context("it has no end")?;
    Ok(byte[0])
}

/// Seven bits in each byte, the lowest first.
fn varint(input: &mut impl Read) -> Result<u64> {
    let mut number: u64 = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = byte(input)?;
        let bits = u64::from(byte & 0x7f);
        ensure!((bits << shift) >> shift == bits, "it has a number of more than 64 bits");
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    bail!("it has a number of more than 64 bits")
}

/// 0, −1, 1, −2 and so on.
fn signed(input: &mut impl Read) -> Result<i64> {
    let number = varint(input)?;
    Ok((number >> 1) as i64 ^ -((number & 1) as i64))
}
