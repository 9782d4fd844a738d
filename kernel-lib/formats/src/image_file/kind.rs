//! What a file is that is neither PNG nor JPEG, by its first bytes.

use super::unreadable::Unreadable;

/// What files of a kind begin with, and what the kind is called.
const BEGINNINGS: [(&[u8], &str); 24] = [
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"II+\0", "a TIFF image"),
    (b"MM\0+", "a TIFF image"),
    (b"\0\0\x01\0", "an icon (ICO)"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"8BPS", "a Photoshop file"),
    (b"qoif", "a QOI image"),
    (b"P1", "a PBM image"),
    (b"P2", "a PGM image"),
    (b"P3", "a PPM image"),
    (b"P4", "a PBM image"),
    (b"P5", "a PGM image"),
    (b"P6", "a PPM image"),
    (b"%PDF", "a PDF file"),
    (b"<svg", "an SVG image"),
    (b"<?xml", "an XML file (an SVG image?)"),
    (b"\x1f\x8b", "a file compressed with gzip"),
];
/// Of files that begin with the length of a part, `ftyp` and these, which are of the kinds that phones and browsers write.
const BRANDS: [(&[u8], &str); 7] = [
    (b"avif", "an AVIF image"),
    (b"avis", "an AVIF image"),
    (b"heic", "a HEIC image"),
    (b"heix", "a HEIC image"),
    (b"hevc", "a HEIC image"),
    (b"mif1", "a HEIF image"),
    (b"msf1", "a HEIF image"),
];

/// Says what the file is.
pub(super) fn refuse(bytes: &[u8]) -> Unreadable {
    if bytes.is_empty() {
        return Unreadable("is empty".into());
    }
    if let Some(name) = name(bytes) {
        return Unreadable::kind(name);
    }
    if bytes.starts_with(b"version https://git-lfs") {
        return Unreadable("is a pointer of Git LFS, not the image: fetch it with `git lfs pull`".into());
    }
    let beginning = String::from_utf8_lossy(&bytes[..bytes.len().min(64)]).to_ascii_lowercase();
    if beginning.starts_with("<!doctype") || beginning.starts_with("<html") {
        return Unreadable("is a web page, not an image: download it again".into());
    }
    // A PNG or JPEG file of which only the first bytes are there.
    if b"\x89PNG\r\n\x1a\n".starts_with(bytes) || b"\xff\xd8".starts_with(bytes) {
        return Unreadable(format!("is cut: it has {} bytes", bytes.len()));
    }
    Unreadable(format!("is neither PNG nor JPEG: it begins with {:02x?}", &bytes[..bytes.len().min(4)]))
}

fn name(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return Some("a WebP image");
    }
    if bytes.get(4..8) == Some(b"ftyp") {
        return find(&BRANDS, &bytes[8..]);
    }
    find(&BEGINNINGS, bytes)
}

fn find(known: &[(&[u8], &'static str)], bytes: &[u8]) -> Option<&'static str> {
    known.iter().find_map(|(beginning, name)| bytes.starts_with(beginning).then_some(*name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_image_is_told_by_what_it_is() {
        let said = |bytes: &[u8]| refuse(bytes).to_string();
        assert_eq!(said(b""), "is empty");
        assert_eq!(said(b"hello"), "is neither PNG nor JPEG: it begins with [68, 65, 6c, 6c]");
        assert_eq!(said(b"\x89PN"), "is cut: it has 3 bytes");
        assert_eq!(said(b"\xff"), "is cut: it has 1 bytes");
        assert!(
            said(b"\0\0\0\x1cftypavif").starts_with("is an AVIF image, which is not read here; PNG and JPEG")
        );
        assert!(said(b"RIFF\0\0\0\0WEBPVP8 ").starts_with("is a WebP image, "));
        assert!(said(b"RIFF\0\0\0\0WAVE").starts_with("is neither PNG nor JPEG"));
        assert!(said(b"<!DOCTYPE html>").starts_with("is a web page"));
        assert!(said(b"version https://git-lfs.github.com/spec/v1").contains("git lfs pull"));
    }
}
