//! JPEG, decoded to the very bytes that libjpeg gives (libjpeg-turbo 2 and 3, and so Pillow and PyTorch's data sets).
//!
//! JPEG leaves decoders free in how they round and in how they bring colours that are stored at half the resolution back
//! to the whole one. Networks are trained on what libjpeg makes of that. The decoders that exist in Rust make something
//! else of it: `zune-jpeg` (under the `image` crate) was up to 5 levels away on ordinary images, 41 on ones of width 1 to
//! 4 and 182 where markers contradict each other about colours; it looked past the image's edge into the padding of the
//! last block, and filled up a cut file with grey. None lets its caller decide these things, so this one is our own: it
//! is smaller than they are to compile, and `tests/fixtures/images` compares it with Pillow kind by kind.
//!
//! Read are sequential and progressive files with Huffman codes and 8 bits: grey, YCbCr, RGB, CMYK and YCCK, with any
//! sampling that libjpeg reads. The steps are in [`markers`], [`scan`], [`idct`], [`upsample`] and [`colour`].

mod bits;
mod block;
mod colour;
mod frame;
mod huffman;
mod idct;
mod markers;
mod plane;
mod scan;
mod upsample;

use self::{colour::Colours, frame::Frame, markers::Markers, plane::Plane, upsample::Upsampled};
use super::{picture::Picture, unreadable::Unreadable};

/// Decodes a JPEG file, to its end marker: what programs have put behind that hurts nobody.
pub(super) fn decode(bytes: &[u8]) -> Result<Picture, Unreadable> {
    let (frame, colours) = Markers::new(bytes).read()?;
    let Frame { width, height, most, components, .. } = frame;
    let planes: Vec<Plane> = components.into_iter().map(Plane::of).collect();
    let upsampled = planes.iter().map(|plane| Upsampled::new(plane, most)).collect::<Result<Vec<_>, _>>()?;
    let channels = if colours == Colours::Grey { 1 } else { 3 };
    let mut pixels = vec![0; width * height * channels];
    // Room for a whole number of the pixels that one stored value stands for.
    let mut rows = vec![vec![0; width + 2 * most.0]; upsampled.len()];
    for (y, output) in pixels.chunks_exact_mut(width * channels).enumerate() {
        for (plane, row) in upsampled.iter().zip(&mut rows) {
            plane.row(y, row);
        }
        colours.convert(&rows, output);
    }
    let stored = match colours {
        Colours::Grey => "grey of 8 bits",
        Colours::YCbCr | Colours::Rgb => "red-green-blue of 8 bits",
        Colours::Cmyk | Colours::Ycck => "CMYK of 8 bits",
    };
    let is_exact = !matches!(colours, Colours::Cmyk | Colours::Ycck);
    Ok(Picture { width, height, channels, pixels, stored, is_exact, is_jpeg: true })
}
