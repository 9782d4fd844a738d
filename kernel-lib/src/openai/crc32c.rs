//! The checksum of TensorFlow's files: CRC-32C (Castagnoli). `flate2` has the CRC-32 of zip, which is another one.

/// The polynomial, its bits from the lowest on.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// What a byte adds to a checksum if so many bytes follow it, of which eight are taken at once.
const TABLES: [[u32; 256]; 8] = {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut at = 256;
    while at < 8 * 256 {
        let before: u32 = tables[at / 256 - 1][at % 256];
        tables[at / 256][at % 256] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
        at += 1;
    }
    tables
};

/// The checksum of these bytes.
fn of(bytes: &[u8]) -> u32 {
    let (eights, rest) = bytes.as_chunks::<8>();
    let crc = eights.iter().fold(u32::MAX, |crc, eight| {
        let mixed = u64::from_le_bytes(*eight) ^ u64::from(crc);
        mixed
            .to_le_bytes()
            .iter()
            .zip(TABLES.iter().rev())
            .fold(0, |sum, (byte, table)| sum ^ table[usize::from(*byte)])
    });
    !rest.iter().fold(crc, |crc, byte| (crc >> 8) ^ TABLES[0][usize::from(crc as u8 ^ byte)])
}

/// The same, as TensorFlow writes it: turned and moved, so that a checksum of bytes that hold checksums means something.
pub(super) fn masked(bytes: &[u8]) -> u32 {
    of(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        // RFC 3720, appendix B.4.
        assert_eq!(of(&[0; 32]), 0x8a91_36aa);
        assert_eq!(of(&[0xff; 32]), 0x62a8_ab43);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(of(&rising), 0x46dd_794e);
        assert_eq!(of(b"123456789"), 0xe306_9283);
        assert_eq!(of(b""), 0);
    }

    #[test]
    fn eight_bytes_at_once_are_as_one_after_the_other() {
        let bytes: Vec<u8> = (0..100u32).map(|i| (i * i + 7 * i) as u8).collect();
        for end in 0..bytes.len() {
            let slow = bytes[..end].iter().fold(u32::MAX, |crc, byte| {
                (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (POLYNOMIAL * (crc & 1)))
            });
            assert_eq!(of(&bytes[..end]), !slow, "{end}");
        }
    }
}
