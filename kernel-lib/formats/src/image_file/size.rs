//! How large an image may be, asked before memory is taken for it.

use super::unreadable::Unreadable;

/// Bytes; no decoded image is larger.
const LARGEST: u64 = 1 << 29;
/// Pixels that a byte of a file can stand for: deflate makes 1,032 bytes of one, and PNG packs 8 pixels into a byte.
/// JPEG has at least a bit for each block of 64 pixels, so fewer.
const PIXELS_OF_A_BYTE: u64 = 8 * 1032;

/// Refuses what a file's header says if the image would be empty, larger than 512 MiB, or larger than the file can hold.
pub(super) fn check(
    (width, height): (u32, u32),
    bytes_of_a_pixel: u64,
    file: &[u8],
) -> Result<(), Unreadable> {
    let pixels = u64::from(width) * u64::from(height);
    let wrong = |why: &str| Unreadable(format!("says that it has {width} × {height} pixels{why}"));
    if pixels == 0 {
        return Err(wrong(""));
    }
    if pixels > file.len() as u64 * PIXELS_OF_A_BYTE {
        return Err(wrong(&format!(", more than {} bytes can hold", file.len())));
    }
    if pixels.saturating_mul(bytes_of_a_pixel) > LARGEST {
        return Err(wrong(", more than 512 MiB when it is decoded"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_cannot_ask_for_more_than_its_file_holds_or_than_512_mib() {
        let said = |size, file: &[u8]| check(size, 3, file).map_err(|error| error.to_string());
        let file = vec![0; 1 << 16];
        assert_eq!(said((640, 480), &file), Ok(()));
        assert_eq!(said((0, 7), &file).unwrap_err(), "says that it has 0 × 7 pixels");
        assert!(said((9_000, 1), &[0]).unwrap_err().ends_with("9000 × 1 pixels, more than 1 bytes can hold"));
        assert!(said((8_256, 1), &[0]).is_ok());
        assert!(said((20_000, 20_000), &file).unwrap_err().ends_with("more than 512 MiB when it is decoded"));
        assert!(said((u32::MAX, u32::MAX), &file).is_err());
    }
}
