//! Resizing that equals the `Image.resize(size, Image.Resampling.BILINEAR)` of Pillow up to 12 in every byte.
//!
//! The published ImageGPT image processor resizes with Pillow, and one level more or less in a pixel can be another
//! colour of the palette. So not only the filter must be the same (a triangle, widened when the image shrinks, so
//! that it averages all pixels that a new one covers), but also its arithmetic: weights in f64, rounded to fixed point
//! with 22 fractional bits, sums in integers, and a rounding to 8 bits between the horizontal and the vertical pass.
//!
//! Pillow 13 runs the vertical pass first where the height shrinks much more than the width, and then differs by one
//! level in some bytes. The published token ids are older, so here the horizontal pass is always first.
//!
//! The library resizes images with it, and `igpt fetch` those of a data set before it writes them.

/// Fractional bits of a weight. Of 32 bits, 8 are for the pixel and 2 are kept free by Pillow for filters with
/// negative lobes, which this one has not.
const FRACTION_BITS: u32 = 32 - 8 - 2;

/// An image of `height` rows of `width` pixels of `channels` bytes (1 or 3), (H, W, C), at another size. Neither may be
/// empty.
pub fn bilinear(
    pixels: &[u8],
    (width, height, channels): (usize, usize, usize),
    (new_width, new_height): (usize, usize),
) -> Vec<u8> {
    // A side that keeps its length is not filtered; one that is filtered is rounded to 8 bits.
    let wide = match new_width == width {
        true => pixels.to_vec(),
        false => horizontal(pixels, (width, height, channels), new_width),
    };
    match new_height == height {
        true => wide,
        false => vertical(&wide, new_width * channels, &windows(height, new_height)),
    }
}

/// The length of the longer side when the shorter one becomes `side`, proportions kept: rounded down, as in
/// torchvision's `Resize(side)`. `None` if it is more than there can be.
pub fn longer_side(side: usize, shorter: usize, longer: usize) -> Option<usize> {
    let length = side as u128 * longer as u128;
    usize::try_from(length.checked_div(shorter as u128)?).ok()
}

/// The old pixels that a new one is the mean of, along one side, and their weights in units of 2^-22.
struct Window {
    first: usize,
    weights: Vec<u32>,
}

/// The window of each of the `new` pixels of a side that is `old` pixels long.
fn windows(old: usize, new: usize) -> Vec<Window> {
    let scale = old as f64 / new as f64;
    // A new pixel covers `scale` old ones. When the image grows, the triangle is as wide as two old ones.
    let support = scale.max(1.0);
    let per_support = 1.0 / support;
    let window = |at: usize| {
        let center = (at as f64 + 0.5) * scale;
        // Old pixels whose centres lie within `support` of `center`: casts truncate, and negative ones become 0.
        let first = (center - support + 0.5) as usize;
        let end = ((center + support + 0.5) as usize).min(old);
        let weights: Vec<f64> =
            (first..end).map(|x| (1.0 - ((x as f64 - center + 0.5) * per_support).abs()).max(0.0)).collect();
        let sum: f64 = weights.iter().sum();
        let one = f64::from(1u32 << FRACTION_BITS);
        Window { first, weights: weights.iter().map(|w| (w / sum * one + 0.5) as u32).collect() }
    };
    (0..new).map(window).collect()
}

/// A weighted sum in units of 2^-22, rounded to a byte. It starts at one half.
fn to_byte(sum: u32) -> u8 {
    (sum >> FRACTION_BITS).min(255) as u8
}
const HALF: u32 = 1 << (FRACTION_BITS - 1);

/// (H, W, C) to (H, width, C)
fn horizontal(pixels: &[u8], (width, height, channels): (usize, usize, usize), new_width: usize) -> Vec<u8> {
    let windows = windows(width, new_width);
    let mut resized = Vec::with_capacity(height * new_width * channels);
    for row in pixels.chunks_exact(width * channels) {
        for window in &windows {
            let part = row[window.first * channels..].chunks_exact(channels);
            let mut sums = [HALF; 3];
            for (pixel, weight) in part.zip(&window.weights) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += u32::from(*value) * weight;
                }
            }
            resized.extend(sums[..channels].iter().map(|sum| to_byte(*sum)));
        }
    }
    resized
}

/// Rows of `width` bytes to one row for each window.
fn vertical(rows: &[u8], width: usize, windows: &[Window]) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(windows.len() * width);
    let mut sums = vec![HALF; width];
    for window in windows {
        sums.fill(HALF);
        for (row, weight) in rows.chunks_exact(width).skip(window.first).zip(&window.weights) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += u32::from(*value) * weight;
            }
        }
        pixels.extend(sums.iter().map(|sum| to_byte(*sum)));
    }
    pixels
}
