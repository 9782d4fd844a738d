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

    /// Copies its numbers, as `f32`, to as many places.
    pub(super) fn copy_to(&self, to: &mut [f32]) {
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
    }
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
            Raw { kind, shape: vec![4], bytes: &bytes }.copy_to(&mut found);
            let expected = if kind == Kind::Bf16 { [1.5, -0.25, 65_536.0, 0.0] } else { numbers };
            assert_eq!(found, expected, "{kind:?}");
        }
        assert_eq!(bytes_of(Kind::F32, &[usize::MAX, 2]), None);
    }
}
