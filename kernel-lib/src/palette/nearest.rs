//! Which centre is nearest to a colour: what k-means and the encoder have in common.
//!
//! Colours are stored as three numbers in 0..=255 (grey ones as the first of them, the others 0), centres as three
//! `f64` on the same scale. Most centres are ruled out for a whole box of colours at once (Kanungo et al., "An
//! efficient k-means clustering algorithm", 2002), the rest is compared colour by colour.

use std::cmp::Ordering;

/// A colour: red, green and blue, or grey and twice 0.
pub(super) type Colour = [u8; 3];

/// A centre on the scale of colours.
pub(super) type Centre = [f64; 3];

/// Distances (squared, in grey levels) that differ by less than this are not told apart in `f64`. Rounding errors are
/// below 1e-9 (distances are at most 3 · 255², and have 53 bits).
pub(super) const SLACK: f64 = 1e-6;

/// `|centre - colour|²`, in squared grey levels.
#[inline]
pub(super) fn squared_distance(centre: &Centre, colour: [f64; 3]) -> f64 {
    let [a, b, c] = [centre[0] - colour[0], centre[1] - colour[1], centre[2] - colour[2]];
    a * a + b * b + c * c
}

/// The place of a colour on the Z-order curve: the bits of its channels, the highest first, in turns. Colours that
/// share a prefix are those of a box.
#[inline]
pub(super) fn morton(colour: Colour) -> u32 {
    spread(colour[0]) << 2 | spread(colour[1]) << 1 | spread(colour[2])
}

/// The colour at a place on the Z-order curve.
#[inline]
pub(super) fn colour_at(morton: u32) -> Colour {
    [gather(morton >> 2), gather(morton >> 1), gather(morton)]
}

/// Moves bit i to bit 3 i.
#[inline]
fn spread(byte: u8) -> u32 {
    let x = u32::from(byte);
    let x = (x | x << 8) & 0x0000_f00f;
    let x = (x | x << 4) & 0x000c_30c3;
    (x | x << 2) & 0x0024_9249
}

/// Moves bit 3 i to bit i.
#[inline]
fn gather(x: u32) -> u8 {
    let x = x & 0x0024_9249;
    let x = (x | x >> 2) & 0x000c_30c3;
    let x = (x | x >> 4) & 0x0000_f00f;
    ((x | x >> 8) & 0xff) as u8
}

/// Appends to `list` those of the candidates `list[from..]` that may be nearest to a colour in the box from `low` to
/// `high` (both inclusive), in the same order. Returns where they begin.
///
/// A candidate goes if another one, that nearest to the middle, is nearer to every corner by more than [`SLACK`]; so
/// one that ties for the smallest distance never goes.
pub(super) fn narrow(
    centres: &[Centre],
    low: Colour,
    high: Colour,
    list: &mut Vec<u32>,
    from: usize,
) -> usize {
    let (low, high) = (low.map(f64::from), high.map(f64::from));
    let middle = [0, 1, 2].map(|i| (low[i] + high[i]) / 2.0);
    let mut best = (f64::INFINITY, [0.0; 3]);
    for &candidate in &list[from..] {
        let centre = centres[candidate as usize];
        let distance = squared_distance(&centre, middle);
        if distance < best.0 {
            best = (distance, centre);
        }
    }
    let star = best.1;
    let end = list.len();
    // Whether a candidate stays is hard to guess, so the processor is not asked to: all are written, those that go are
    // written over.
    list.resize(end + (end - from), 0);
    let (candidates, narrowed) = list.split_at_mut(end);
    let mut kept = 0;
    for &candidate in &candidates[from..] {
        let centre = centres[candidate as usize];
        // |centre - v|² - |star - v|² = (centre - star) · (centre + star - 2 v), smallest at the corner v of the box
        // towards which the centre lies.
        let excess = |i: usize| {
            let step = centre[i] - star[i];
            step * (centre[i] + star[i] - if step > 0.0 { 2.0 * high[i] } else { 2.0 * low[i] })
        };
        narrowed[kept] = candidate;
        kept += usize::from(excess(0) + excess(1) + excess(2) <= SLACK);
    }
    list.truncate(end + kept);
    end
}

/// Compares the squared distances of centres `a` and `b`, on the scale [-1, 1], to a colour (bytes), as real numbers:
/// nothing is rounded. For what `f64` cannot tell apart, such as two centres that mirror each other.
pub(super) fn compare_exactly(colour: &[u8], a: &[f32], b: &[f32]) -> Ordering {
    // With x = n / 255, n = 2 · byte - 255: 255 |a - x|² - 255 |b - x|² = Σ 255 a² - 255 b² - 2 n a + 2 n b. Products
    // of f32 are exact in f64, and 255 a² = 256 a² - a² is a sum of two that are.
    let terms = colour.iter().zip(a).zip(b).flat_map(|((&byte, &a), &b)| {
        let (n, a, b) = (2.0 * f64::from(byte) - 255.0, f64::from(a), f64::from(b));
        [256.0 * (a * a), -(a * a), -256.0 * (b * b), b * b, -2.0 * n * a, 2.0 * n * b]
    });
    // Shewchuk's summation: the parts do not overlap, grow, and add up to the sum exactly.
    let mut parts: Vec<f64> = Vec::with_capacity(18);
    for term in terms {
        let mut sum = term;
        let mut kept = 0;
        for at in 0..parts.len() {
            let part = parts[at];
            let (large, small) = if sum.abs() < part.abs() { (part, sum) } else { (sum, part) };
            sum = large + small;
            let rest = small - (sum - large);
            if rest != 0.0 {
                parts[kept] = rest;
                kept += 1;
            }
        }
        parts.truncate(kept);
        parts.push(sum);
    }
    parts.last().map_or(Ordering::Equal, |largest| largest.total_cmp(&0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_z_curve_has_every_colour_once() {
        for code in (0..1 << 24).step_by(977).chain([(1 << 24) - 1]) {
            assert_eq!(morton(colour_at(code)), code);
        }
        assert_eq!(morton([255, 0, 0]), 0o44444444);
        assert_eq!(colour_at(0o21212121), [0, 0b10101010, 0b01010101]);
    }

    #[test]
    fn exact_comparison_sees_what_rounding_hides() {
        let (a, b) = ([0.1f32, 0.7, -0.3], [0.1, -0.3, 0.7]);
        assert_eq!(compare_exactly(&[3, 90, 90], &a, &b), Ordering::Equal);
        assert_eq!(compare_exactly(&[3, 91, 90], &a, &b), Ordering::Less);
        assert_eq!(compare_exactly(&[3, 90, 91], &a, &b), Ordering::Greater);
        // One unit in the last place of one channel, far below what f64 distances can show.
        let tiny = f32::from_bits(1);
        assert_eq!(compare_exactly(&[255], &[tiny], &[0.0]), Ordering::Less);
        assert_eq!(compare_exactly(&[0], &[tiny], &[0.0]), Ordering::Greater);
        assert_eq!(compare_exactly(&[0], &[-0.5], &[-0.5]), Ordering::Equal);
    }
}
