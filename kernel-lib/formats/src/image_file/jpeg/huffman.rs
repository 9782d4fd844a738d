//! Huffman codes.

use super::{super::unreadable::Unreadable, bits::Bits};

/// Codes of up to so many bits are looked up at once.
const SHORT: u32 = 8;

/// The codes of a table, and the bytes that they stand for.
#[derive(Debug, Clone)]
pub(super) struct Huffman {
    /// For the next 8 bits, the length of the code that they begin with, times 256, and its byte; 0 for longer codes.
    short: [u16; 1 << SHORT],
    /// For each length, what the next 16 bits are below if they begin with a code of this length or of a shorter one.
    limits: [u32; 17],
    /// For each length, what added to a code is the place of its byte.
    places: [i32; 17],
    bytes: [u8; 256],
}

impl Huffman {
    /// The table with so many codes of the lengths 1 to 16, for these bytes, in the order of the codes.
    pub(super) fn new(counts: &[u8; 16], bytes: &[u8]) -> Result<Self, Unreadable> {
        let wrong = || Unreadable::damaged("a Huffman table of its JPEG data makes no sense");
        let mut table = Self { short: [0; 256], limits: [0; 17], places: [0; 17], bytes: [0; 256] };
        table.bytes.get_mut(..bytes.len()).ok_or_else(wrong)?.copy_from_slice(bytes);
        let (mut code, mut place) = (0u32, 0usize);
        for (length, count) in (1u32..).zip(counts) {
            table.places[length as usize] = place as i32 - code as i32;
            let of_this_length = bytes.get(place..place + usize::from(*count)).ok_or_else(wrong)?;
            if code + u32::from(*count) > 1 << length {
                return Err(wrong());
            }
            for byte in of_this_length {
                if let Some(unused) = SHORT.checked_sub(length) {
                    let first = (code << unused) as usize;
                    table.short[first..first + (1 << unused)].fill((length as u16) << 8 | u16::from(*byte));
                }
                code += 1;
            }
            place += usize::from(*count);
            table.limits[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Ok(table)
    }

    /// Reads a code. Behind it are as many bits as its number needs, if the scan has them.
    #[inline]
    pub(super) fn read(&self, bits: &mut Bits<'_>) -> Result<u8, Unreadable> {
        bits.refill();
        let next = bits.peek(16);
        let found = self.short[(next >> (16 - SHORT)) as usize];
        if found != 0 {
            bits.skip(u32::from(found >> 8))?;
            return Ok(found as u8);
        }
        self.read_long(next, bits)
    }

    fn read_long(&self, next: u32, bits: &mut Bits<'_>) -> Result<u8, Unreadable> {
        let length = (SHORT + 1..=16).find(|length| next < self.limits[*length as usize]);
        let Some(length) = length else {
            // Behind the last bit zeros are looked at, which may be no code either.
            bits.skip(16)?;
            return Err(Unreadable::damaged("its JPEG data has a code that is not in its Huffman table"));
        };
        bits.skip(length)?;
        let place = self.places[length as usize] + (next >> (16 - length)) as i32;
        // A code below the limit has a byte.
        Ok(usize::try_from(place).ok().and_then(|place| self.bytes.get(place)).copied().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_every_length_are_read() {
        // One code of each length: 0, 10, 110, …
        let bytes: Vec<u8> = (100..116).collect();
        let table = Huffman::new(&[1; 16], &bytes).unwrap();
        for length in 1..=16 {
            let code = (0xffff_u32 << (17 - length)) & 0xffff;
            let file = [(code >> 8) as u8, 0, code as u8, 0];
            // ff must be followed by 00; other bytes may not.
            let file: Vec<u8> = match file[0] {
                0xff => file.to_vec(),
                _ => vec![file[0], file[2], 0],
            };
            assert_eq!(table.read(&mut Bits::new(&file, 0)).unwrap(), 99 + length as u8, "{length}");
        }
        let error = table.read(&mut Bits::new(&[0xff, 0, 0xff, 0], 0)).unwrap_err().to_string();
        assert!(error.contains("not in its Huffman table"), "{error}");
        assert!(table.read(&mut Bits::new(&[0xff, 0], 0)).unwrap_err().to_string().contains("too early"));
    }

    #[test]
    fn tables_that_cannot_be_are_refused() {
        let counts = |length: usize, count| {
            let mut counts = [0; 16];
            counts[length - 1] = count;
            counts
        };
        assert!(Huffman::new(&counts(1, 2), &[1, 2]).is_ok());
        assert!(Huffman::new(&counts(1, 3), &[1, 2, 3]).is_err());
        assert!(Huffman::new(&counts(8, 9), &[0; 8]).is_err());
        assert!(Huffman::new(&[255; 16], &[0; 256]).is_err());
    }
}
