//! Features of several layers side by side (section 4.4).

use super::{FeatureLayers, FeatureMatrix, Rounding, no_layer};
use crate::{Error, Result, memory};
use std::borrow::Cow;
use std::ops::Range;

/// The features of neighbouring layers side by side, as one layer, `(N, count · F)`: of each image first those of the first
/// of these layers.
pub struct Concatenated<'a> {
    of: &'a dyn FeatureLayers,
    layers: Range<usize>,
}

impl std::fmt::Debug for Concatenated<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Concatenated").field("layers", &self.layers).finish_non_exhaustive()
    }
}

impl<'a> Concatenated<'a> {
    /// Of these layers.
    ///
    /// # Errors
    /// If there is none, or not all of them.
    pub fn new(of: &'a dyn FeatureLayers, layers: Range<usize>) -> Result<Self> {
        if layers.is_empty() || layers.end > of.layers() {
            return Err(Error::invalid(format!(
                "there are no layers {layers:?} among {}, from 0",
                of.layers()
            )));
        }
        Ok(Self { of, layers })
    }

    /// `count` layers centred on this one. If `count` is even, one more comes before it than after it. At the ends there are
    /// fewer: layers that there are not are left out, so that the layer stays in the middle of the others.
    pub fn around(layer: usize, count: usize, layers: usize) -> Range<usize> {
        let first = layer.saturating_sub(count / 2);
        let end = (layer + count.div_ceil(2)).min(layers);
        first..end
    }
}

impl FeatureLayers for Concatenated<'_> {
    fn layers(&self) -> usize {
        1
    }

    fn images(&self) -> usize {
        self.of.images()
    }

    fn width(&self) -> usize {
        self.layers.len() * self.of.width()
    }

    fn layer(&self, layer: usize) -> Result<Cow<'_, FeatureMatrix>> {
        if layer != 0 {
            return Err(no_layer(layer, 1));
        }
        let (images, width, own) = (self.images(), self.width(), self.of.width());
        // One layer of them is in memory beside, and then their standardised copy.
        memory::check("the features of several layers", &[images, 2 * width + own, size_of::<f32>()])?;
        let mut values: Vec<f32> = memory::zeros("the features of several layers", images * width)?;
        for (number, layer) in self.layers.clone().enumerate() {
            let features = self.of.layer(layer)?;
            for (to, row) in values.chunks_exact_mut(width).zip(features.values().chunks_exact(own)) {
                to[number * own..][..own].copy_from_slice(row);
            }
        }
        FeatureMatrix::new(values, width).map(Cow::Owned)
    }

    fn rounding(&self, _layer: usize) -> Option<Rounding> {
        Rounding::largest(self.layers.clone().map(|layer| self.of.rounding(layer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_lie_side_by_side() {
        let layer = |from: u8| FeatureMatrix::new((from..from + 4).map(f32::from).collect(), 2).unwrap();
        let layers = vec![layer(0), layer(10), layer(20)];
        let both = Concatenated::new(&layers, 1..3).unwrap();
        assert_eq!((both.layers(), both.images(), both.width()), (1, 2, 4));
        let values = both.layer(0).unwrap().into_owned();
        assert_eq!(values.values(), [10.0, 11.0, 20.0, 21.0, 12.0, 13.0, 22.0, 23.0]);
        assert!(both.layer(1).is_err());
        assert!(Concatenated::new(&layers, 2..4).is_err() && Concatenated::new(&layers, 1..1).is_err());
    }

    #[test]
    fn they_are_centred_and_clipped_at_the_ends() {
        let around = |layer, count| Concatenated::around(layer, count, 9);
        assert_eq!((around(4, 5), around(4, 1), around(4, 4)), (2..7, 4..5, 2..6));
        assert_eq!((around(1, 5), around(8, 5), around(0, 99)), (0..4, 6..9, 0..9));
    }
}
