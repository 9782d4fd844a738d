//! With how many bits features are kept on the disk, and what rounding to fewer does to them.

use crate::probe::Rounding;
use crate::{Result, memory};
use half::f16;
use serde::{Deserialize, Serialize};

/// With how many bits features are kept on the disk. They are computed in f32, and read as f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeaturePrecision {
    /// As they are computed, four bytes each.
    #[default]
    F32,
    /// Two bytes each, 11 significant bits: rounded to the nearest, of two that are as near to the even one. A number beyond
    /// 65,504 is an error.
    F16,
}

impl FeaturePrecision {
    /// Whether nothing is rounded.
    pub(crate) const fn is_f32(&self) -> bool {
        matches!(self, Self::F32)
    }

    /// Bytes of a number.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }

    /// Appends these numbers, little-endian. The error is the position of one that is too large.
    pub(super) fn write(self, row: &[f32], bytes: &mut Vec<u8>) -> Result<(), usize> {
        match self {
            Self::F32 => bytes.extend(row.iter().flat_map(|x| x.to_le_bytes())),
            Self::F16 => {
                for (at, x) in row.iter().enumerate() {
                    let rounded = f16::from_f32(*x);
                    if !rounded.is_finite() {
                        return Err(at);
                    }
                    bytes.extend(rounded.to_le_bytes());
                }
            }
        }
        Ok(())
    }

    /// The numbers that these bytes are.
    pub(super) fn numbers(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect(),
            Self::F16 => {
                bytes.as_chunks::<2>().0.iter().map(|two| f16::from_le_bytes(*two).to_f32()).collect()
            }
        }
    }
}

/// What rounding does to the features of a layer, image by image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RoundingErrors {
    images: usize,
    /// The sum of all squares.
    squares: f64,
    of: Vec<OfFeature>,
}

/// What is known of one feature.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct OfFeature {
    /// That of the first image. Sums are of differences to it: the squares of large numbers that hardly differ would cancel.
    first: f64,
    sum: f64,
    squares: f64,
    /// The largest rounding error.
    largest: f64,
}

impl RoundingErrors {
    /// Checks that there is memory for those of so many layers of so many features.
    pub(super) fn check_memory(layers: usize, width: usize) -> Result<()> {
        memory::check("the rounding errors of features", &[layers, width, size_of::<OfFeature>()])
    }

    pub(super) fn new(width: usize) -> Self {
        Self { images: 0, squares: 0.0, of: vec![OfFeature::default(); width] }
    }

    /// Whether they are of so many images.
    pub(super) fn is_of(&self, images: usize) -> bool {
        self.images == images
    }

    /// Adds those of an image: features `(F)`, and what they became.
    pub(super) fn add(&mut self, row: &[f32], rounded: &[f32]) {
        for ((of, x), rounded) in self.of.iter_mut().zip(row).zip(rounded) {
            let x = f64::from(*x);
            if self.images == 0 {
                of.first = x;
            }
            let difference = x - of.first;
            of.sum += difference;
            of.squares += difference * difference;
            of.largest = of.largest.max((f64::from(*rounded) - x).abs());
            self.squares += x * x;
        }
        self.images += 1;
    }

    pub(super) fn rounding(&self) -> Rounding {
        let images = self.images as f64;
        // A layer of zeros has no error either.
        let ratio = |error: f64, size: f64| if error > 0.0 { error / size } else { 0.0 };
        let largest = self.of.iter().fold(0.0f64, |most, of| most.max(of.largest));
        let size = (self.squares / (images * self.of.len() as f64)).sqrt();
        let of_deviation = |of: &OfFeature| {
            let mean = of.sum / images;
            let deviation = (of.squares / images - mean * mean).max(0.0).sqrt();
            // A feature that is the same for all images says nothing, rounded or not.
            if deviation > 0.0 { ratio(of.largest, deviation) } else { 0.0 }
        };
        Rounding {
            of_size: ratio(largest, size),
            of_deviation: self.of.iter().map(of_deviation).fold(0.0, f64::max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(x: f32) -> Result<f32, usize> {
        let mut bytes = Vec::new();
        FeaturePrecision::F16.write(&[x], &mut bytes)?;
        assert_eq!(bytes.len(), FeaturePrecision::F16.bytes());
        Ok(FeaturePrecision::F16.numbers(&bytes)[0])
    }

    #[test]
    fn every_number_of_f16_is_kept_as_it_is_and_others_are_rounded_to_the_nearest() {
        let mut finite: Vec<f32> = (0..=u16::MAX).map(|bits| f16::from_bits(bits).to_f32()).collect();
        finite.retain(|x| x.is_finite());
        assert_eq!(finite.len(), (1 << 16) - 2 * (1 << 10));
        for x in &finite {
            assert_eq!(kept(*x).unwrap().to_bits(), x.to_bits());
        }
        // Between two neighbours: to the nearer, and from the middle to that whose last bit is zero.
        for bits in 0..f16::MAX.to_bits() {
            let (below, above) = (f16::from_bits(bits).to_f32(), f16::from_bits(bits + 1).to_f32());
            // Exact in f32, which has thirteen bits more.
            let middle = below + (above - below) / 2.0;
            let even = if bits % 2 == 0 { below } else { above };
            for (x, expected) in [(middle.next_down(), below), (middle, even), (middle.next_up(), above)] {
                assert_eq!((kept(x).unwrap(), kept(-x).unwrap()), (expected, -expected), "{x}");
            }
        }
    }

    #[test]
    fn what_is_beyond_f16_is_an_error() {
        assert_eq!(kept(65_504.0).unwrap(), 65_504.0);
        // From the middle to 65,536, which there is not, on.
        assert_eq!(kept(65_520f32.next_down()).unwrap(), 65_504.0);
        for x in [65_520.0, -65_520.0, 1e30, f32::MAX] {
            assert_eq!(kept(x), Err(0));
        }
        let mut bytes = Vec::new();
        assert_eq!(FeaturePrecision::F16.write(&[1.0, 2.0, 7e4], &mut bytes), Err(2));
    }

    #[test]
    fn f32_is_kept_bit_by_bit() {
        let row = [1.0e-42f32, -0.0, 1.0 / 3.0, f32::MAX];
        let mut bytes = Vec::new();
        FeaturePrecision::F32.write(&row, &mut bytes).unwrap();
        let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&FeaturePrecision::F32.numbers(&bytes)), bits(&row));
    }

    #[test]
    fn errors_are_those_of_the_largest_and_of_the_steadiest_feature() {
        // Two features of four images: one large and steady, one small.
        let mut errors = RoundingErrors::new(2);
        let rows = [[1000.0, 0.0], [1001.0, 0.0], [1000.0, 0.5], [1001.0, 0.5]];
        for [a, b] in rows {
            errors.add(&[a, b], &[a + 0.25, b - 0.01]);
        }
        let found = errors.rounding();
        let mean_square = rows.iter().flatten().map(|x| f64::from(*x).powi(2)).sum::<f64>() / 8.0;
        assert!((found.of_size - 0.25 / mean_square.sqrt()).abs() < 1e-12, "{found:?}");
        // Deviations of 0.5 and 0.25.
        assert!((found.of_deviation - 0.5).abs() < 1e-12, "{found:?}");
        // What is the same for all images, and zeros.
        let mut errors = RoundingErrors::new(1);
        errors.add(&[0.3], &[0.25]);
        errors.add(&[0.3], &[0.25]);
        assert_eq!(errors.rounding().of_deviation, 0.0);
        let mut errors = RoundingErrors::new(1);
        errors.add(&[0.0], &[0.0]);
        assert_eq!(errors.rounding(), Rounding { of_size: 0.0, of_deviation: 0.0 });
        assert_eq!(RoundingErrors::new(1).rounding(), Rounding { of_size: 0.0, of_deviation: 0.0 });
    }
}
