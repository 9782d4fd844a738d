//! Principal components (PCA): the directions in which features vary most.

use crate::eigen::{self, dot};
use crate::probe::FeatureMatrix;
use crate::{Error, Result, memory, stop};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Principal components of features, as scikit-learn's `PCA` has them, but for their signs.
///
/// ```
/// use igpt::pca::Pca;
/// use igpt::probe::FeatureMatrix;
///
/// // Three images on a line: one component has all of the variance.
/// let features = FeatureMatrix::new(vec![0.0, 0.0, 3.0, 4.0, 6.0, 8.0], 2)?;
/// let pca = Pca::fit(&features, 1)?;
/// assert!((pca.variances()[0] - 25.0).abs() < 1e-4);
/// assert!((pca.transform(features.values())?[2].abs() - 5.0).abs() < 1e-4);
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pca {
    /// Of each feature, (F).
    mean: Vec<f64>,
    /// Of length one, at right angles, (C, F).
    components: Vec<f64>,
    /// In each direction, (C).
    variances: Vec<f64>,
}

const WHAT: &str = "the principal components";
/// Images that are looked at together.
const CHUNK: usize = 1024;

impl Pca {
    /// The `count` components in which these features vary most, the first most.
    ///
    /// # Errors
    /// If there is no component, or there are fewer features or images than that; [`Error::Memory`] if there is no memory for
    /// the covariance; [`Error::Interrupted`] if someone asks to stop.
    pub fn fit(features: &FeatureMatrix, count: usize) -> Result<Self> {
        let (images, width) = (features.images(), features.width());
        if count == 0 || count > width || count > images {
            return Err(Error::invalid(format!(
                "there are no {count} principal components of {images} images × {width} features"
            )));
        }
        // The covariance, the eigenvectors, and what they become.
        memory::check(WHAT, &[4, width, width, 8])?;
        let mut mean = vec![0.0; width];
        for row in features.values().chunks(width) {
            mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        mean.iter_mut().for_each(|sum| *sum /= images as f64);
        let mut found = eigen::symmetric(WHAT, covariance(features, &mean)?, width)?;
        found.values.truncate(count);
        found.vectors.truncate(count * width);
        Ok(Self { mean, components: found.vectors, variances: found.values })
    }

    /// How many components there are, C.
    pub fn count(&self) -> usize {
        self.variances.len()
    }

    /// The variance in the direction of each component, (C).
    pub fn variances(&self) -> &[f64] {
        &self.variances
    }

    /// Features `(N, F)` less their mean, by components: `(N, C)`.
    ///
    /// # Errors
    /// If they are no whole images.
    pub fn transform(&self, values: &[f32]) -> Result<Vec<f32>> {
        let width = self.mean.len();
        if width == 0 || !values.len().is_multiple_of(width) {
            return Err(Error::invalid(format!("{} features are no whole images of {width}", values.len())));
        }
        let of_image = |row: &[f32]| {
            let centred: Vec<f64> =
                row.iter().zip(&self.mean).map(|(x, mean)| f64::from(*x) - mean).collect();
            let along = |component: &[f64]| dot(component, &centred) as f32;
            self.components.chunks(width).map(along).collect::<Vec<_>>()
        };
        Ok(values.par_chunks(width).map(of_image).collect::<Vec<_>>().concat())
    }
}

/// The covariance of features, (F, F), divided by N − 1, as that of a sample.
fn covariance(features: &FeatureMatrix, mean: &[f64]) -> Result<Vec<f64>> {
    let (images, width) = (features.images(), features.width());
    let mut sums = vec![0.0; width * width];
    for chunk in features.values().chunks(CHUNK * width) {
        stop::check(WHAT)?;
        // A row for each feature, (F, images).
        let column = |f: usize| chunk.iter().skip(f).step_by(width).map(move |x| f64::from(*x) - mean[f]);
        let columns: Vec<Vec<f64>> = (0..width).into_par_iter().map(|f| column(f).collect()).collect();
        sums.par_chunks_mut(width).zip(&columns).for_each(|(sums, own)| {
            sums.iter_mut().zip(&columns).for_each(|(sum, other)| *sum += dot(own, other));
        });
    }
    sums.iter_mut().for_each(|sum| *sum /= (images - 1).max(1) as f64);
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Expected {
        variances: Vec<f64>,
        /// Of the first images, a row for each.
        transformed: Vec<Vec<f64>>,
    }

    /// `tests/fixtures/pca/make.py` made it.
    #[test]
    fn components_are_those_of_scikit_learn() {
        let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
        let bytes = std::fs::read(fixtures.join("probe/features.f32")).unwrap();
        let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
        let features = FeatureMatrix::new(values, 24).unwrap();
        let path = fixtures.join("pca/pca.json");
        let expected: Expected = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let count = expected.variances.len();
        let pca = Pca::fit(&features, count).unwrap();
        for (ours, theirs) in pca.variances().iter().zip(&expected.variances) {
            assert!((ours / theirs - 1.0).abs() < 1e-5, "{ours} {theirs}");
        }
        let images = expected.transformed.len();
        let ours = pca.transform(&features.values()[..images * features.width()]).unwrap();
        for component in 0..count {
            let theirs = |image: usize| expected.transformed[image][component];
            let ours = |image: usize| f64::from(ours[image * count + component]);
            // A component and its opposite are the same direction.
            let sign = (ours(0) * theirs(0)).signum();
            let size = expected.variances[component].sqrt();
            for image in 0..images {
                assert!((sign * ours(image) - theirs(image)).abs() < 1e-3 * size, "{component} {image}");
            }
        }
        let on_threads = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Pca::fit(&features, 3).unwrap())
        };
        assert_eq!(on_threads(1), on_threads(3));
        let back: Pca = serde_json::from_str(&serde_json::to_string(&pca).unwrap()).unwrap();
        assert_eq!(back, pca);
    }

    #[test]
    fn components_that_there_are_not_are_errors() {
        let features = FeatureMatrix::new(vec![1.0; 12], 4).unwrap();
        for count in [0, 4, 5] {
            assert!(Pca::fit(&features, count).is_err(), "{count}");
        }
        let pca = Pca::fit(&features, 3).unwrap();
        assert_eq!((pca.count(), pca.variances()), (3, &[0.0; 3][..]));
        assert!(pca.transform(&[1.0; 5]).is_err());
    }
}
