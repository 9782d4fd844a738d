//! PNG, by the `image` crate.

use std::io::Cursor;

use image::{ColorType, DynamicImage, ImageFormat, ImageReader};

use super::{picture::Picture, size, unreadable::Unreadable};

/// Where the first chunk begins.
const FIRST: usize = 8;

/// Decodes a PNG file.
pub(super) fn decode(bytes: &[u8]) -> Result<Picture, Unreadable> {
    let Some((width, height, bytes_of_a_pixel)) = header(bytes) else {
        return Err(Unreadable::damaged("its PNG data does not begin with a whole IHDR"));
    };
    size::check((width, height), bytes_of_a_pixel, bytes)?;
    check_end(bytes)?;
    let image = ImageReader::with_format(Cursor::new(bytes), ImageFormat::Png).decode();
    Ok(picture(image.map_err(Unreadable::damaged)?))
}

/// Width, height and, as it is decoded, bytes of a pixel.
fn header(bytes: &[u8]) -> Option<(u32, u32, u64)> {
    let [_, _, _, _, b'I', b'H', b'D', b'R', content @ ..] = bytes.get(FIRST..)? else { return None };
    let number = |at: usize| content.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    let (depth, colours) = (*content.get(8)?, *content.get(9)?);
    let channels = match colours {
        0 => 1,
        4 => 2,
        6 => 4,
        // Palettes too.
        _ => 3,
    };
    Some((number(0)?, number(4)?, channels * u64::from(depth).div_ceil(8)))
}

/// The decoder stops after the last pixel; a file that goes on, and ends too early, is cut.
fn check_end(bytes: &[u8]) -> Result<(), Unreadable> {
    let mut at = FIRST;
    loop {
        // Length, name, content, checksum.
        let Some(&[a, b, c, d, ref name @ ..]) =
            bytes.get(at..at + 8).and_then(|head| head.first_chunk::<8>())
        else {
            return Err(Unreadable("is cut: its PNG data has no end (IEND)".into()));
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        at = at.saturating_add(length).saturating_add(12);
        if name == b"IEND" && at <= bytes.len() {
            return Ok(());
        }
    }
}

fn picture(image: DynamicImage) -> Picture {
    let (stored, is_exact) = match image.color() {
        ColorType::L8 => ("grey of 8 bits", true),
        ColorType::Rgb8 => ("red-green-blue of 8 bits", true),
        ColorType::La8 => ("grey of 8 bits with opacity", false),
        ColorType::Rgba8 => ("red-green-blue of 8 bits with opacity", false),
        ColorType::L16 => ("grey of 16 bits", false),
        ColorType::La16 => ("grey of 16 bits with opacity", false),
        ColorType::Rgb16 => ("red-green-blue of 16 bits", false),
        ColorType::Rgba16 => ("red-green-blue of 16 bits with opacity", false),
        _ => ("of another kind of PNG", false),
    };
    let (width, height) = (image.width() as usize, image.height() as usize);
    let (channels, pixels) = match image.color().has_color() {
        true => (3, image.into_rgb8().into_raw()),
        false => (1, image.into_luma8().into_raw()),
    };
    Picture { width, height, channels, pixels, stored, is_exact, is_jpeg: false }
}
