//! A tensor as it lies in a file.

use half::{bf16, f16};
use std::collections::BTreeMap;

/// What numbers a tensor holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    F64,
    F32,
    F16,
    Bf16,
    /// Integers or booleans of so many bytes, which no parameter is made of.
    Other(usize),
}

impl Kind {
    /// Bytes of a number.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Other(size) => size,
        }
    }
}

/// A tensor in a file that is mapped: its numbers little-endian, in C order, one beside the other.
#[derive(Debug, Clone)]
pub(super) struct Raw<'a> {
    pub(super) kind: Kind,
    pub(super) shape: Vec<usize>,
    pub(super) bytes: &'a [u8],
}

/// The tensors of a checkpoint by name.
pub(super) type Tensors<'a> = BTreeMap<String, Raw<'a>>;

impl Raw<'_> {
    /// Whether it holds floats.
    pub(super) fn is_float(&self) -> bool {
        !matches!(self.kind, Kind::Other(_))
    }

    /// Copies its numbers, as `f32`, to as many places. NaN and infinity stay what they are: a network with such a
    /// parameter computes nothing, and says which one it is (`model/finite.rs`).
    ///
    /// # Errors
    /// If a number is finite, and too large for `f32`, which would make it infinite.
    pub(super) fn copy_to(&self, to: &mut [f32]) -> Result<(), String> {
        fn each<const N: usize>(bytes: &[u8], to: &mut [f32], number: impl Fn([u8; N]) -> f32) {
            to.iter_mut().zip(bytes.as_chunks::<N>().0).for_each(|(to, bytes)| *to = number(*bytes));
        }
        match self.kind {
            Kind::F64 => each(self.bytes, to, |bytes| f64::from_le_bytes(bytes) as f32),
            Kind::F32 => each(self.bytes, to, f32::from_le_bytes),
            Kind::F16 => each(self.bytes, to, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Kind::Bf16 => each(self.bytes, to, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            Kind::Other(_) => {}
        }
        if self.kind != Kind::F64 {
            return Ok(());
        }
        let wide = self.bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes));
        match wide.zip(to).enumerate().find(|(_, (wide, narrow))| wide.is_finite() && !narrow.is_finite()) {
            None => Ok(()),
            Some((at, (wide, _))) => Err(format!(
                "its number at {:?} is {wide:e}, which is too large for the f32 of the networks here",
                indices(at, &self.shape)
            )),
        }
    }
}

/// The indices in a tensor of this shape of the number at a place in C order.
fn indices(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut indices: Vec<usize> = shape
        .iter()
        .rev()
        .map(|length| {
            let index = at % length.max(&1);
            at /= length.max(&1);
            index
        })
        .collect();
    indices.reverse();
    indices
}

/// How many bytes a tensor of this shape has, if so many can be.
pub(super) fn bytes_of(kind: Kind, shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(kind.size(), |product, length| product.checked_mul(*length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_of_all_sizes_become_f32() {
        let numbers = [1.5f32, -0.25, 65_504.0, 0.0];
        let bytes = |of: &dyn Fn(f32) -> Vec<u8>| numbers.iter().flat_map(|x| of(*x)).collect::<Vec<u8>>();
        for (kind, bytes) in [
            (Kind::F64, bytes(&|x| f64::from(x).to_le_bytes().to_vec())),
            (Kind::F32, bytes(&|x| x.to_le_bytes().to_vec())),
            (Kind::F16, bytes(&|x| f16::from_f32(x).to_le_bytes().to_vec())),
            (Kind::Bf16, bytes(&|x| bf16::from_f32(x).to_le_bytes().to_vec())),
        ] {
            assert_eq!(bytes_of(kind, &[2, 2]), Some(bytes.len()));
            let mut found = [f32::NAN; 4];
            Raw { kind, shape: vec![4], bytes: &bytes }.copy_to(&mut found).unwrap();
            let expected = if kind == Kind::Bf16 { [1.5, -0.25, 65_536.0, 0.0] } else { numbers };
            assert_eq!(found, expected, "{kind:?}");
        }
        assert_eq!(bytes_of(Kind::F32, &[usize::MAX, 2]), None);
    }

    #[test]
    fn a_number_that_f32_does_not_hold_is_an_error() {
        let copied = |numbers: [f64; 6]| {
            let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            let mut found = [0.0; 6];
            Raw { kind: Kind::F64, shape: vec![2, 3], bytes: &bytes }.copy_to(&mut found).map(|()| found)
        };
        let largest = f64::from(f32::MAX);
        for too_large in [1e300, -1e300, 3.5e38, f64::MAX] {
            let error = copied([0.0, 1.0, 2.0, 3.0, too_large, 1e301]).unwrap_err();
            assert!(error.contains(&format!("its number at [1, 1] is {too_large:e}, ")), "{error}");
        }
        // Too small numbers are rounded like others, and what is not finite is no fault of f32.
        let found = copied([1e-300, 0.1, largest, -largest, f64::INFINITY, f64::NAN]).unwrap();
        assert_eq!(found[..5], [0.0, 0.1, f32::MAX, f32::MIN, f32::INFINITY]);
        assert!(found[5].is_nan());
        assert_eq!(indices(5, &[2, 3]), [1, 2]);
        assert_eq!(indices(0, &[]), [0usize; 0]);
    }
}
