//! What a network says of each image, layer by layer.

use super::Rounding;
use crate::{Error, Result};
use std::borrow::Cow;
use std::ops::Range;

/// Features of images at one layer, `(N, F)`: F numbers for each of N images.
///
/// [`crate::model::Network::features`] makes those of a network, whose layers are its L blocks and then the last RMSNorm.
/// Whatever else describes an image, its pixels for example, is features of one layer.
///
/// ```
/// use igpt::probe::FeatureMatrix;
///
/// // Two images, three features each.
/// let features = FeatureMatrix::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3)?;
/// assert_eq!((features.images(), features.width()), (2, 3));
/// assert_eq!(features.row(1), Some(&[4.0, 5.0, 6.0][..]));
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureMatrix {
    values: Vec<f32>,
    width: usize,
}

/// Features of the same images at several layers, which need not all be in memory at once.
pub trait FeatureLayers {
    /// How many layers, L.
    fn layers(&self) -> usize;

    /// How many images, N.
    fn images(&self) -> usize;

    /// How many numbers describe an image at one layer, F.
    fn width(&self) -> usize;

    /// The features at one layer.
    ///
    /// # Errors
    /// If there is no such layer, or its features cannot be read.
    fn layer(&self, layer: usize) -> Result<Cow<'_, FeatureMatrix>>;

    /// The features at one layer, to be read some images at a time: they need not fit into memory.
    ///
    /// # Errors
    /// As [`FeatureLayers::layer`].
    fn stream(&self, layer: usize) -> Result<Box<dyn LayerRows + '_>> {
        Ok(Box::new(InMemory(self.layer(layer)?)))
    }

    /// What rounding has done to the features of a layer; none if they are as they were computed.
    fn rounding(&self, _layer: usize) -> Option<Rounding> {
        None
    }
}

/// The features of one layer, some images at a time.
pub trait LayerRows {
    /// Those of the images at these positions.
    ///
    /// # Errors
    /// If there are not so many images, or their features cannot be read.
    fn rows(&mut self, images: Range<usize>) -> Result<FeatureMatrix>;
}

/// A layer that is in memory as a whole.
struct InMemory<'a>(Cow<'a, FeatureMatrix>);

impl LayerRows for InMemory<'_> {
    fn rows(&mut self, images: Range<usize>) -> Result<FeatureMatrix> {
        self.0.select(&images.collect::<Vec<_>>())
    }
}

impl FeatureMatrix {
    /// Features `(N, F)`, image by image; there may be no image.
    ///
    /// # Errors
    /// If there is no feature, or the values are not as many as whole images have; [`Error::NotFinite`] if one is not finite.
    pub fn new(values: Vec<f32>, width: usize) -> Result<Self> {
        if width == 0 {
            return Err(Error::invalid("features of no numbers say nothing"));
        }
        if !values.len().is_multiple_of(width) {
            return Err(Error::invalid(format!("{} features are no whole images of {width}", values.len())));
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::NotFinite {
                what: format!("feature {} of image {} is {}", at % width, at / width, values[at]),
                cause: "did training diverge?".to_owned(),
            });
        }
        Ok(Self { values, width })
    }

    /// Features `(N, L, F)`, image by image as a network makes them, layer by layer.
    ///
    /// # Errors
    /// As [`FeatureMatrix::new`]; or if there is no layer.
    pub fn by_layer(values: &[f32], layers: usize, width: usize) -> Result<Vec<Self>> {
        let image = layers.saturating_mul(width);
        if image == 0 || !values.len().is_multiple_of(image) {
            return Err(Error::invalid(format!(
                "{} features are no whole images of {layers} layers × {width}",
                values.len()
            )));
        }
        let rows =
            |layer: usize| values.chunks(image).flat_map(move |image| &image[layer * width..][..width]);
        (0..layers).map(|layer| Self::new(rows(layer).copied().collect(), width)).collect()
    }

    /// How many images, N.
    pub fn images(&self) -> usize {
        self.values.len() / self.width
    }

    /// How many numbers describe an image, F.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All numbers, `(N, F)`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The numbers of one image, `(F)`; `None` if there is no such image.
    pub fn row(&self, image: usize) -> Option<&[f32]> {
        self.values.get(image.checked_mul(self.width)?..)?.get(..self.width)
    }

    /// The images at these positions, in this order.
    ///
    /// # Errors
    /// If there is no image at one of them.
    pub fn select(&self, positions: &[usize]) -> Result<Self> {
        let mut values = Vec::with_capacity(positions.len().saturating_mul(self.width));
        for at in positions {
            let row = self.row(*at);
            let row =
                row.ok_or_else(|| Error::invalid(format!("there is no image {at} among {}", self.images())))?;
            values.extend_from_slice(row);
        }
        Ok(Self { values, ..*self })
    }
}

/// One layer.
impl FeatureLayers for FeatureMatrix {
    fn layers(&self) -> usize {
        1
    }

    fn images(&self) -> usize {
        Self::images(self)
    }

    fn width(&self) -> usize {
        self.width
    }

    fn layer(&self, layer: usize) -> Result<Cow<'_, FeatureMatrix>> {
        if layer == 0 { Ok(Cow::Borrowed(self)) } else { Err(no_layer(layer, 1)) }
    }
}

/// All layers in memory.
impl FeatureLayers for Vec<FeatureMatrix> {
    fn layers(&self) -> usize {
        self.len()
    }

    fn images(&self) -> usize {
        self.first().map_or(0, FeatureMatrix::images)
    }

    fn width(&self) -> usize {
        self.first().map_or(0, FeatureMatrix::width)
    }

    fn layer(&self, layer: usize) -> Result<Cow<'_, FeatureMatrix>> {
        let features = self.get(layer).ok_or_else(|| no_layer(layer, self.len()))?;
        if (features.images(), features.width()) != (FeatureLayers::images(self), FeatureLayers::width(self))
        {
            return Err(Error::invalid(format!(
                "layer {layer} has features of {} images × {}, and layer 0 of {} × {}",
                features.images(),
                features.width(),
                FeatureLayers::images(self),
                FeatureLayers::width(self)
            )));
        }
        Ok(Cow::Borrowed(features))
    }
}

/// The error of a layer that there is not.
pub(crate) fn no_layer(layer: usize, layers: usize) -> Error {
    Error::invalid(format!("there is no layer {layer} among {layers}, from 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_none_is_named() {
        let mut values = vec![0.0; 2 * 4];
        values[4 + 1] = f32::NAN;
        let error = FeatureMatrix::new(values, 4).unwrap_err().to_string();
        assert!(error.contains("feature 1 of image 1 is NaN"), "{error}");
        let error = FeatureMatrix::new(vec![0.0, f32::INFINITY], 1).unwrap_err().to_string();
        assert!(error.contains("feature 0 of image 1 is inf"), "{error}");
    }

    #[test]
    fn features_are_whole_images() {
        assert!(FeatureMatrix::new(vec![0.0; 5], 2).is_err());
        assert!(FeatureMatrix::new(vec![], 0).is_err());
        let features = FeatureMatrix::new((0..6).map(|x| x as f32).collect(), 2).unwrap();
        assert_eq!((features.row(2), features.row(3)), (Some(&[4.0, 5.0][..]), None));
        assert_eq!(features.select(&[2, 0]).unwrap().values(), [4.0, 5.0, 0.0, 1.0]);
        assert!(features.select(&[3]).is_err());
        assert!(features.layer(0).is_ok() && features.layer(1).is_err());
    }

    #[test]
    fn a_networks_features_are_taken_apart_by_layer() {
        let values: Vec<f32> = (0..12).map(|x| x as f32).collect();
        let layers = FeatureMatrix::by_layer(&values, 2, 2).unwrap();
        assert_eq!((layers.layers(), layers.images(), layers.width()), (2, 3, 2));
        assert_eq!(layers.layer(1).unwrap().values(), [2.0, 3.0, 6.0, 7.0, 10.0, 11.0]);
        assert!(layers.layer(2).is_err());
        assert!(FeatureMatrix::by_layer(&values[1..], 2, 2).is_err());
        assert!(FeatureMatrix::by_layer(&values, 0, 2).is_err());
        let uneven = vec![layers[0].clone(), layers[1].select(&[0]).unwrap()];
        assert!(uneven.layer(0).is_ok() && uneven.layer(1).is_err());
    }
}
