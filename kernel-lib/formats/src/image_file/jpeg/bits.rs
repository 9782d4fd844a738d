//! The bits of a scan.

use super::super::unreadable::Unreadable;

/// Reads bits, the highest of each byte first, up to the next marker.
#[derive(Debug)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The next bits, the first of them highest.
    held: u64,
    /// How many of them may be used.
    count: u32,
}

impl<'a> Bits<'a> {
    /// The bits from a place in the file.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, held: 0, count: 0 }
    }

    /// Where to look for the marker that comes after these bits.
    pub(super) fn place(&self) -> usize {
        self.at
    }

    /// Holds at least 57 bits, or all that are left: enough for a code and the number behind it.
    #[inline]
    pub(super) fn refill(&mut self) {
        if self.count > 32 {
            return;
        }
        if let Some(next) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_be_bytes(*next);
            if !has_ff(word) {
                // Bits behind `count` are of a byte that comes again: the same ones.
                self.held |= word >> self.count;
                let taken = (63 - self.count) / 8;
                self.at += taken as usize;
                self.count += 8 * taken;
                return;
            }
        }
        self.refill_by_bytes();
    }

    /// A byte ff is followed by 00, which means itself, or is a marker, which ends the bits.
    fn refill_by_bytes(&mut self) {
        while self.count <= 56 {
            let byte = match self.bytes.get(self.at..) {
                Some([0xff, 0, ..]) => {
                    self.at += 2;
                    0xff
                }
                Some([0xff, ..]) | Some([]) | None => return,
                Some([byte, ..]) => {
                    self.at += 1;
                    *byte
                }
            };
            self.held |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// The next bits, which stay. There may be fewer left: [`Bits::skip`] says so.
    #[inline]
    pub(super) fn peek(&self, count: u32) -> u32 {
        ((self.held >> 1) >> (63 - count)) as u32
    }

    /// Leaves out bits that were looked at.
    #[inline]
    pub(super) fn skip(&mut self, count: u32) -> Result<(), Unreadable> {
        if count > self.count {
            return Err(cut(self.bytes));
        }
        self.held <<= count;
        self.count -= count;
        Ok(())
    }

    /// A number of up to 16 bits.
    #[inline]
    pub(super) fn number(&mut self, count: u32) -> Result<u32, Unreadable> {
        if self.count < count {
            self.refill();
        }
        let number = self.peek(count);
        self.skip(count)?;
        Ok(number)
    }

    /// A signed number as JPEG writes it: with the highest bit 0, it is less than zero.
    #[inline]
    pub(super) fn signed(&mut self, count: u32) -> Result<i32, Unreadable> {
        let number = self.number(count)? as i32;
        let is_negative = count > 0 && number < 1 << (count - 1);
        Ok(if is_negative { number - (1 << count) + 1 } else { number })
    }

    /// Goes on behind the marker of a restart; they are numbered 0 to 7.
    pub(super) fn restart(&mut self, number: u8) -> Result<(), Unreadable> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let found = rest.windows(2).position(|two| two[0] == 0xff && !matches!(two[1], 0 | 0xff));
        let Some(found) = found else { return Err(cut(self.bytes)) };
        if rest[found + 1] != 0xd0 + number {
            return Err(Unreadable::damaged(format!(
                "its JPEG data has the marker {:02x} where the restart marker {:02x} should be",
                rest[found + 1],
                0xd0 + number
            )));
        }
        *self = Self::new(self.bytes, self.at + found + 2);
        Ok(())
    }
}

/// The file ended, or a marker came, before the last bit of a scan.
fn cut(bytes: &[u8]) -> Unreadable {
    Unreadable(format!("is cut or damaged: its JPEG data ends too early ({} bytes)", bytes.len()))
}

/// Whether one of eight bytes is ff.
fn has_ff(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    ((!word).wrapping_sub(ONES) & word & (ONES << 7)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_end_at_a_marker_and_ff_00_is_ff() {
        let bytes = [0b1010_0000, 0xff, 0, 0x0f, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xff, 0xd3, 0x80, 0xff, 0xd9];
        let mut bits = Bits::new(&bytes, 0);
        assert_eq!((bits.number(1).unwrap(), bits.number(0).unwrap(), bits.number(3).unwrap()), (1, 0, 2));
        assert_eq!(bits.number(16).unwrap(), 0x0ff0);
        assert_eq!(bits.number(4).unwrap(), 0xf);
        for byte in 1..=9 {
            assert_eq!(bits.number(8).unwrap(), byte);
        }
        assert!(bits.number(1).unwrap_err().to_string().contains("ends too early (18 bytes)"));
        assert!(
            bits.restart(2).unwrap_err().to_string().contains("the marker d3 where the restart marker d2")
        );
        bits.restart(3).unwrap();
        assert_eq!((bits.number(8).unwrap(), bits.place()), (0x80, 16));
        assert!(bits.number(1).is_err());
    }

    #[test]
    fn signed_numbers() {
        let signed = |byte, count| Bits::new(&[byte], 0).signed(count).unwrap();
        assert_eq!([signed(0x80, 1), signed(0, 1), signed(0x80, 0)], [1, -1, 0]);
        assert_eq!([signed(0xc0, 2), signed(0x80, 2), signed(0x40, 2), signed(0, 2)], [3, 2, -2, -3]);
    }

    #[test]
    fn ff_is_found_wherever_it_is() {
        assert!(!has_ff(0xfe00_017f_80fe_0000));
        assert!(
            (0..8).all(|at| has_ff(0xff << (8 * at)) && has_ff(0xff << (8 * at) | 0x0101_0101_0101_0101))
        );
    }
}
