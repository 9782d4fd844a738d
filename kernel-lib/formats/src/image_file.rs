//! An image file, decoded: what the library and `igpt fetch` make of a PNG or JPEG file. `docs/images.md` has a table of
//! kinds, each against Pillow.
//!
//! PNG is read by the `image` crate. JPEG is read here ([`jpeg`] says why). Everything else is refused by its name.

mod jpeg;
mod kind;
mod picture;
mod png;
mod size;
mod unreadable;

pub use picture::Picture;
pub use unreadable::Unreadable;

/// Decodes a PNG or JPEG file that is in memory; its first bytes tell which.
///
/// What has colours becomes red-green-blue (palettes and CMYK too), what has none becomes grey. Opacity is dropped: a
/// transparent pixel has the colour that the file gives it. 16 bits become 8 by rounding v / 257. Of an animated PNG
/// this is the first image. EXIF and colour profiles are ignored: rows are as they are stored.
///
/// # Errors
/// If the file is of another kind, is cut or damaged, or would take more memory than [`size`] allows. The message goes
/// on after the file's name: `is a GIF image; …`.
pub fn decode(bytes: &[u8]) -> Result<Picture, Unreadable> {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => jpeg::decode(bytes),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => png::decode(bytes),
        _ => Err(kind::refuse(bytes)),
    }
}
