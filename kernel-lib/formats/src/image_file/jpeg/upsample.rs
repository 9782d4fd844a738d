//! From a component's values to one for each pixel.
//!
//! Where a component has half of the values, a pixel gets three quarters of the value that it lies in and a quarter of the
//! next one. Halves are rounded up and down in turn. Both ways at once, it is rounded once, at the end. Everything else is
//! repeated: other ratios, and, as libjpeg does, components of one or two values across.

use super::{super::unreadable::Unreadable, plane::Plane};

/// A component, row by row of the image.
pub(super) struct Upsampled<'a> {
    plane: &'a Plane,
    /// Pixels of a value, across and down.
    ratio: (usize, usize),
    how: How,
}

#[derive(Clone, Copy, PartialEq)]
enum How {
    Repeated,
    Across,
    Down,
    Both,
}

impl<'a> Upsampled<'a> {
    /// `most` is the sampling of a component that has a value for each pixel.
    pub(super) fn new(plane: &'a Plane, most: (usize, usize)) -> Result<Self, Unreadable> {
        let (h, v) = plane.sampling;
        if !most.0.is_multiple_of(h) || !most.1.is_multiple_of(v) {
            return Err(Unreadable::kind(&format!(
                "a JPEG image with {h} × {v} values of a component where another has {} × {}",
                most.0, most.1
            )));
        }
        let ratio = (most.0 / h, most.1 / v);
        let how = match ratio {
            (2, 1) if plane.size.0 > 2 => How::Across,
            (2, 2) if plane.size.0 > 2 => How::Both,
            (1, 2) => How::Down,
            _ => How::Repeated,
        };
        Ok(Self { plane, ratio, how })
    }

    /// The values of a row of pixels, and a few more.
    pub(super) fn row(&self, y: usize, output: &mut [u8]) {
        let (across, down) = self.ratio;
        let near = self.plane.row(y / down);
        // The row on the other side, or at the edge the same one.
        let far = || {
            let other = if y.is_multiple_of(2) { (y / 2).saturating_sub(1) } else { y / 2 + 1 };
            self.plane.row(other.min(self.plane.size.1 - 1))
        };
        match self.how {
            How::Repeated if across == 1 => output[..near.len()].copy_from_slice(near),
            How::Repeated => {
                for (pixels, value) in output.chunks_exact_mut(across).zip(near) {
                    pixels.fill(*value);
                }
            }
            How::Down => {
                let rounding = if y.is_multiple_of(2) { 1 } else { 2 };
                for ((pixel, near), far) in output.iter_mut().zip(near).zip(far()) {
                    *pixel = ((3 * u32::from(*near) + u32::from(*far) + rounding) / 4) as u8;
                }
            }
            How::Across => across_by_two::<4>(output, near.iter().map(|near| u32::from(*near)), (1, 2)),
            How::Both => {
                let column = near.iter().zip(far()).map(|(near, far)| 3 * u32::from(*near) + u32::from(*far));
                across_by_two::<16>(output, column, (8, 7));
            }
        }
    }
}

/// Two pixels of each value. At the edges, the value on the other side is the same one.
#[inline]
fn across_by_two<const SUM: u32>(
    output: &mut [u8],
    values: impl Iterator<Item = u32>,
    (left, right): (u32, u32),
) {
    let pixels = &mut output.as_chunks_mut::<2>().0;
    let mut values = values.zip(pixels.iter_mut());
    let Some((first, mut pixels)) = values.next() else { return };
    let (mut before, mut here) = (first, first);
    for (next, pixels_of_next) in values {
        *pixels = [((3 * here + before + left) / SUM) as u8, ((3 * here + next + right) / SUM) as u8];
        (before, here, pixels) = (here, next, pixels_of_next);
    }
    *pixels = [((3 * here + before + left) / SUM) as u8, ((4 * here + right) / SUM) as u8];
}
