//! What a network says of each image, layer by layer.

use crate::{Error, Result};

/// Features of images, (N, L, F): for each of N images, and for each of L layers, F numbers.
///
/// [`crate::model::Network::features`] makes those of a network, whose layers are its L blocks and then the last norm.
/// Whatever else describes an image, its pixels for example, is features with one layer.
///
/// ```
/// use igpt::probe::Features;
///
/// // Two images, three layers, one feature each.
/// let features = Features::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, 1)?;
/// assert_eq!((features.images(), features.layers(), features.width()), (2, 3, 1));
/// assert_eq!(features.row(1, 0), Some(&[4.0][..]));
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    values: Vec<f32>,
    layers: usize,
    width: usize,
}

impl Features {
    /// Features (N, L, F) in this order, image by image; there may be no image.
    ///
    /// # Errors
    /// If there is no layer or no feature, the values are not as many as whole images have; [`Error::NotFinite`] if one is not
    /// finite.
    pub fn new(values: Vec<f32>, layers: usize, width: usize) -> Result<Self> {
        let image = layers.saturating_mul(width);
        if image == 0 {
            return Err(Error::invalid(format!(
                "features of {layers} layers of {width} numbers say nothing"
            )));
        }
        if !values.len().is_multiple_of(image) {
            return Err(Error::invalid(format!(
                "{} features are no whole images of {layers} layers × {width}",
                values.len()
            )));
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let (feature, layer) = (at % width, at / width % layers);
            return Err(Error::NotFinite {
                what: format!("feature {feature} of layer {layer} of image {} is {}", at / image, values[at]),
                cause: "did training diverge?".to_owned(),
            });
        }
        Ok(Self { values, layers, width })
    }

    /// How many images, N.
    pub fn images(&self) -> usize {
        self.values.len() / (self.layers * self.width)
    }

    /// How many layers, L.
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// How many numbers describe an image at one layer, F.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All numbers, (N, L, F).
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The numbers of one image at one layer, (F); `None` if there is no such image or layer.
    pub fn row(&self, image: usize, layer: usize) -> Option<&[f32]> {
        if layer >= self.layers {
            return None;
        }
        self.values
            .get((image.checked_mul(self.layers)? + layer).checked_mul(self.width)?..)?
            .get(..self.width)
    }

    /// The images at these places, in this order.
    ///
    /// # Errors
    /// If there is no image at one of them.
    pub fn select(&self, places: &[usize]) -> Result<Self> {
        let image = self.layers * self.width;
        let mut values = Vec::with_capacity(places.len().saturating_mul(image));
        for place in places {
            if *place >= self.images() {
                return Err(Error::invalid(format!("there is no image {place} among {}", self.images())));
            }
            values.extend_from_slice(&self.values[place * image..][..image]);
        }
        Ok(Self { values, ..*self })
    }

    /// The features of these images and then of those.
    ///
    /// # Errors
    /// If they have other layers or another width.
    pub fn followed_by(&self, more: &Self) -> Result<Self> {
        if (self.layers, self.width) != (more.layers, more.width) {
            return Err(Error::invalid(format!(
                "features of {} layers × {} and of {} layers × {} are not of one network",
                self.layers, self.width, more.layers, more.width
            )));
        }
        Ok(Self { values: [&self.values[..], &more.values].concat(), ..*self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_none_is_named() {
        let mut values = vec![0.0; 2 * 3 * 4];
        values[(3 + 2) * 4 + 1] = f32::NAN;
        let error = Features::new(values, 3, 4).unwrap_err().to_string();
        assert!(error.contains("feature 1 of layer 2 of image 1 is NaN"), "{error}");
        let error = Features::new(vec![0.0, f32::INFINITY], 1, 1).unwrap_err().to_string();
        assert!(error.contains("feature 0 of layer 0 of image 1 is inf"), "{error}");
    }

    #[test]
    fn features_are_whole_images() {
        assert!(Features::new(vec![0.0; 5], 2, 2).is_err());
        assert!(Features::new(vec![], 0, 2).is_err());
        let features = Features::new((0..12).map(|x| x as f32).collect(), 2, 2).unwrap();
        assert_eq!(features.row(2, 1), Some(&[10.0, 11.0][..]));
        assert_eq!((features.row(3, 0), features.row(0, 2)), (None, None));
        let two = features.select(&[2, 0]).unwrap();
        assert_eq!(two.values(), [8.0, 9.0, 10.0, 11.0, 0.0, 1.0, 2.0, 3.0]);
        assert!(features.select(&[3]).is_err());
        assert_eq!(two.followed_by(&features).unwrap().images(), 5);
        assert!(two.followed_by(&Features::new(vec![0.0; 4], 1, 4).unwrap()).is_err());
    }
}
