//! The coefficients of a block, as scans bring them: all at once, or in a progressive file a few bits of some at a time.

use super::{super::unreadable::Unreadable, bits::Bits, frame::BLOCK, huffman::Huffman};

/// Where in a block the coefficients are that come one after the other: in diagonals.
pub(super) const ZIGZAG: [u8; BLOCK] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];
/// A code for so many zeros, with nothing behind them.
const SIXTEEN: usize = 15;

/// Coefficients of a scan, in their order in the file, and which of their bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Band {
    pub first: usize,
    pub last: usize,
    /// The lowest bit that comes.
    pub low: u32,
}

/// The first coefficient, which is the difference from the block before.
#[inline]
pub(super) fn difference(bits: &mut Bits<'_>, table: &Huffman) -> Result<i32, Unreadable> {
    match table.read(bits)? {
        size @ 0..=15 => bits.signed(size.into()),
        _ => Err(wrong()),
    }
}

/// All coefficients but the first, or those of a band that had none before. `blocks` are those that, like this one, have
/// nothing: each takes one.
#[inline]
pub(super) fn others(
    block: &mut [i16; BLOCK],
    bits: &mut Bits<'_>,
    table: &Huffman,
    band: Band,
    blocks: &mut u32,
) -> Result<(), Unreadable> {
    if *blocks > 0 {
        *blocks -= 1;
        return Ok(());
    }
    let mut at = band.first;
    while at <= band.last {
        let (zeros, size) = zeros_and_size(bits, table)?;
        if size == 0 {
            if zeros < SIXTEEN {
                *blocks = nothing(bits, zeros)? - 1;
                return Ok(());
            }
            at += 16;
            continue;
        }
        at += zeros;
        if at > band.last {
            return Err(wrong());
        }
        block[usize::from(ZIGZAG[at])] = (bits.signed(size)? << band.low) as i16;
        at += 1;
    }
    Ok(())
}

/// One more bit of the coefficients of a band: for those that are not zero a bit each, and which others become 1 or -1.
pub(super) fn one_more_bit(
    block: &mut [i16; BLOCK],
    bits: &mut Bits<'_>,
    table: &Huffman,
    band: Band,
    blocks: &mut u32,
) -> Result<(), Unreadable> {
    let bit = 1_i16 << band.low;
    let mut at = band.first;
    while *blocks == 0 && at <= band.last {
        let (mut zeros, size) = zeros_and_size(bits, table)?;
        let new = match size {
            0 if zeros < SIXTEEN => {
                *blocks = nothing(bits, zeros)?;
                break;
            }
            0 => 0,
            1 if bits.number(1)? == 1 => bit,
            1 => -bit,
            _ => return Err(wrong()),
        };
        // To the zero that becomes something, or to the sixteenth.
        loop {
            let Some(value) = ZIGZAG[..=band.last].get(at).map(|place| &mut block[usize::from(*place)])
            else {
                if new != 0 {
                    return Err(wrong());
                }
                break;
            };
            at += 1;
            if *value != 0 {
                refine(value, bits, bit)?;
            } else if zeros == 0 {
                *value = new;
                break;
            } else {
                zeros -= 1;
            }
        }
    }
    if *blocks > 0 {
        for place in &ZIGZAG[at..=band.last] {
            let value = &mut block[usize::from(*place)];
            if *value != 0 {
                refine(value, bits, bit)?;
            }
        }
        *blocks -= 1;
    }
    Ok(())
}

/// Away from zero, if the next bit says so.
fn refine(value: &mut i16, bits: &mut Bits<'_>, bit: i16) -> Result<(), Unreadable> {
    if bits.number(1)? == 1 && *value & bit == 0 {
        *value = value.wrapping_add(if *value > 0 { bit } else { -bit });
    }
    Ok(())
}

fn zeros_and_size(bits: &mut Bits<'_>, table: &Huffman) -> Result<(usize, u32), Unreadable> {
    let code = table.read(bits)?;
    Ok((usize::from(code >> 4), u32::from(code & 15)))
}

/// How many blocks, with this one, have nothing more.
fn nothing(bits: &mut Bits<'_>, size: usize) -> Result<u32, Unreadable> {
    Ok((1 << size) + bits.number(size as u32)?)
}

fn wrong() -> Unreadable {
    Unreadable::damaged("a block of its JPEG data makes no sense")
}
