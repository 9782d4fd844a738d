//! The change of variables of [`super::precondition`] for features that are many: those of several layers side by side, or
//! more than the images that they are learned from.
//!
//! A Cholesky factor takes F³ / 3 operations for each penalty. Here the spectrum of the covariance is found once, and each
//! penalty then changes its eigenvalues alone. Of up to 1024 features, if there are more images, that is the spectrum of
//! xᵀx / M (F, F). More features would take too long (9 F³ operations): then it is found from M images, at most 1024, whose inner products x xᵀ / M (M, M) have the
//! same eigenvalues. Directions that so few images say little of share what is left of the variance: the covariance of
//! probabilistic PCA (Tipping and Bishop, 1999),
//!
//! > C = Σ (valueₖ − rest) vectorₖ vectorₖᵀ + rest · I.
//!
//! With curvature α C + λ I = S² and weights w = S⁻¹ u, the curvature by u is about one in every direction. S is symmetric, and
//! applied to the weights of a class in 4 R F operations, for R eigenvectors.
//!
//! Where all F eigenvectors are known, or all images were looked at, nothing of the features lies beside the eigenvectors, and
//! nothing of a penalised fit's weights. Then the fit is made with coordinates along these, (N, R), in which S is diagonal
//! ([`Spectrum::scales`]).

use super::kernels::{add_scaled, dot};
use super::objective::Design;
use super::precondition::{Precondition, transposed};
use crate::{Result, eigen, memory, stop};
use rayon::prelude::*;

/// Most features whose covariance is decomposed itself.
const FEATURES: usize = 1024;
/// Most images from which a spectrum is found.
const IMAGES: usize = 1024;
/// A spectrum of F features is found from this many images for each of them.
const IMAGES_PER_FEATURE: usize = 2;
/// A share of the largest eigenvalue that is rounding.
const ROUNDING: f64 = 1e-12;

/// The spectrum of the covariance of standardised features.
pub(super) struct Spectrum {
    width: usize,
    /// The eigenvalues that are known, the largest first, (R).
    values: Vec<f64>,
    /// Their eigenvectors, of length one, (R, F).
    vectors: Vec<f64>,
    /// The variance in each other direction.
    rest: f64,
    /// Whether there is nothing in other directions.
    is_whole: bool,
}

impl Spectrum {
    /// Of these images.
    ///
    /// # Errors
    /// If there is no memory for it; [`Error::Interrupted`](crate::Error) if someone asks to stop.
    pub(super) fn of(design: &Design) -> Result<Self> {
        if design.width < design.images && design.width <= FEATURES {
            Self::of_features(design)
        } else {
            Self::of_images(design, IMAGES)
        }
    }

    /// From at most this many of the images.
    pub(super) fn of_images(design: &Design, most: usize) -> Result<Self> {
        let width = design.width;
        let count = design.images.min(most).min(IMAGES_PER_FEATURE * width);
        memory::check("the spectrum of the features", &[3, count, width.max(count), 8])?;
        // Evenly from all: they may be in the order of their classes.
        let image = |at: usize| at * design.images / count;
        let rows: Vec<Vec<f64>> = (0..count)
            .into_par_iter()
            .map(|at| design.row(image(at)).into_iter().map(f64::from).collect())
            .collect();
        let of_row = |row: &Vec<f64>| {
            let product = |other: &Vec<f64>| dot(row, other) / count as f64;
            (!stop::requested()).then(|| rows.iter().map(product).collect::<Vec<f64>>())
        };
        let products: Option<Vec<Vec<f64>>> = rows.par_iter().map(of_row).collect();
        let products = products.ok_or_else(|| stop::interrupted("the probe"))?.concat();
        let variance: f64 = (0..count).map(|i| products[i * count + i]).sum();
        let found = eigen::symmetric("the probe", products, count)?;
        // Of a sample the smaller eigenvalues say little; of all images they are what they are.
        let known = if count == design.images { count } else { count / 2 };
        let least = ROUNDING * found.values[0];
        let kept = found.values.iter().take(known.min(width)).take_while(|value| **value > least).count();
        let values = found.values[..kept].to_vec();
        let vectors: Option<Vec<Vec<f64>>> = (0..kept)
            .into_par_iter()
            .map(|k| {
                if stop::requested() {
                    return None;
                }
                // xᵀ v, over its length √(M · value).
                let mut vector = vec![0.0; width];
                for (row, share) in rows.iter().zip(&found.vectors[k * count..]) {
                    add_scaled(*share, row, &mut vector);
                }
                let length = dot(&vector, &vector).sqrt();
                vector.iter_mut().for_each(|x| *x /= length);
                Some(vector)
            })
            .collect();
        let vectors = vectors.ok_or_else(|| stop::interrupted("the probe"))?.concat();
        let left = (variance - values.iter().sum::<f64>()).max(0.0);
        let rest = if kept < width && count < design.images { left / (width - kept) as f64 } else { 0.0 };
        Ok(Self { width, values, vectors, rest, is_whole: count == design.images && kept > 0 })
    }

    /// From the covariance itself, xᵀx / M (F, F), of features that are not very many. All F eigenvectors are known then,
    /// and whatever images it was found from (the first ones: `Design::gram`), nothing lies in other directions.
    fn of_features(design: &Design) -> Result<Self> {
        let width = design.width;
        memory::check("the spectrum of the features", &[3, width, width, 8])?;
        let found = eigen::symmetric("the probe", design.gram()?, width)?;
        let values = found.values.iter().map(|value| value.max(0.0)).collect();
        Ok(Self { width, values, vectors: found.vectors, rest: 0.0, is_whole: true })
    }

    /// For curvature α and penalty λ.
    pub(super) fn preconditioner(&self, curvature: f64, l2: f64) -> SpectralPreconditioner<'_> {
        let (scale, scales) = scale_by(curvature, l2);
        SpectralPreconditioner { spectrum: self, rest: scale(self.rest), scales: scales(&self.values) }
    }

    /// The same for coordinates along the eigenvectors.
    pub(super) fn scales(&self, curvature: f64, l2: f64) -> Scales {
        scale_by(curvature, l2).1(&self.values)
    }

    /// The images' features along the eigenvectors, (N, R), if there is nothing in other directions.
    ///
    /// # Errors
    /// If there is no memory for them; [`Error::Interrupted`](crate::Error) if someone asks to stop.
    pub(super) fn coordinates(&self, design: &Design) -> Result<Option<Design>> {
        self.is_whole.then(|| design.along(&self.vectors)).transpose()
    }

    /// Weights (F + 1, K) along the eigenvectors, (R + 1, K).
    pub(super) fn coordinates_of_weights(&self, weights: &[f64], classes: usize) -> Vec<f64> {
        let (weights, intercepts) = weights.split_at(self.width * classes);
        let mut along = vec![0.0; self.values.len() * classes];
        for (to, vector) in along.chunks_exact_mut(classes).zip(self.vectors.chunks_exact(self.width)) {
            for (x, weights) in vector.iter().zip(weights.chunks_exact(classes)) {
                to.iter_mut().zip(weights).for_each(|(to, w)| *to += x * w);
            }
        }
        along.extend(intercepts);
        along
    }

    /// Weights along the eigenvectors (R + 1, K) as those of the features, (F + 1, K).
    pub(super) fn weights(&self, along: &[f64], classes: usize) -> Vec<f64> {
        let (along, intercepts) = along.split_at(self.values.len() * classes);
        let mut weights = vec![0.0; self.width * classes];
        for (from, vector) in along.chunks_exact(classes).zip(self.vectors.chunks_exact(self.width)) {
            for (x, weights) in vector.iter().zip(weights.chunks_exact_mut(classes)) {
                weights.iter_mut().zip(from).for_each(|(w, from)| *w += x * from);
            }
        }
        weights.extend(intercepts);
        weights
    }
}

/// For curvature α and penalty λ: √(α · variance + λ), and that of several directions.
fn scale_by(curvature: f64, l2: f64) -> (impl Fn(f64) -> f64, impl FnOnce(&[f64]) -> Scales) {
    // Never exactly singular, not for a penalty of zero or classes that are told apart with certainty.
    let curvature = curvature.max(1e-6);
    let floor = l2.max(1e-9 * curvature);
    let scale = move |variance: f64| (curvature * variance + floor).sqrt();
    let scales = move |variances: &[f64]| Scales {
        directions: variances.iter().map(|variance| scale(*variance)).collect(),
        intercept: curvature.sqrt(),
    };
    (scale, scales)
}

/// S where it is diagonal: for weights along the eigenvectors.
pub(super) struct Scales {
    /// Of each known eigenvector, (R).
    directions: Vec<f64>,
    intercept: f64,
}

impl Scales {
    fn each_class(&self, mut values: Vec<f64>, change: impl Fn(&mut f64, f64)) -> Vec<f64> {
        for class in values.chunks_exact_mut(self.directions.len() + 1) {
            let scales = self.directions.iter().chain([&self.intercept]);
            class.iter_mut().zip(scales).for_each(|(value, scale)| change(value, *scale));
        }
        values
    }

    fn by_class(&self, weights: &[f64]) -> Vec<f64> {
        transposed(weights, weights.len() / (self.directions.len() + 1))
    }
}

impl Precondition for Scales {
    fn weights(&self, u: &[f64]) -> Vec<f64> {
        let values = self.each_class(u.to_vec(), |value, scale| *value /= scale);
        transposed(&values, self.directions.len() + 1)
    }

    fn preconditioned(&self, weights: &[f64]) -> Vec<f64> {
        self.each_class(self.by_class(weights), |value, scale| *value *= scale)
    }

    fn gradient(&self, by_weights: &[f64]) -> Vec<f64> {
        self.each_class(self.by_class(by_weights), |value, scale| *value /= scale)
    }
}

/// S, by its eigenvalues.
pub(super) struct SpectralPreconditioner<'a> {
    spectrum: &'a Spectrum,
    scales: Scales,
    /// In each other direction.
    rest: f64,
}

impl SpectralPreconditioner<'_> {
    /// Multiplies the weights of each class (K, F + 1) by S, or by its inverse.
    fn each_class(&self, values: &mut [f64], power: impl Fn(f64) -> f64 + Sync) {
        let Spectrum { width, vectors, .. } = self.spectrum;
        let rest = power(self.rest);
        values.par_chunks_mut(width + 1).for_each(|class| {
            let (weights, intercept) = class.split_at_mut(*width);
            let shares: Vec<f64> = vectors.chunks(*width).map(|vector| dot(vector, weights)).collect();
            weights.iter_mut().for_each(|w| *w *= rest);
            for ((vector, share), scale) in vectors.chunks(*width).zip(shares).zip(&self.scales.directions) {
                add_scaled((power(*scale) - rest) * share, vector, weights);
            }
            intercept.iter_mut().for_each(|w| *w *= power(self.scales.intercept));
        });
    }

    fn by_class(&self, weights: &[f64], power: impl Fn(f64) -> f64 + Sync) -> Vec<f64> {
        let mut values = transposed(weights, weights.len() / (self.spectrum.width + 1));
        self.each_class(&mut values, power);
        values
    }
}

impl Precondition for SpectralPreconditioner<'_> {
    /// w = S⁻¹ u.
    fn weights(&self, u: &[f64]) -> Vec<f64> {
        let mut values = u.to_vec();
        self.each_class(&mut values, |scale| 1.0 / scale);
        transposed(&values, self.spectrum.width + 1)
    }

    /// u = S w.
    fn preconditioned(&self, weights: &[f64]) -> Vec<f64> {
        self.by_class(weights, |scale| scale)
    }

    /// S⁻¹ g.
    fn gradient(&self, by_weights: &[f64]) -> Vec<f64> {
        self.by_class(by_weights, |scale| 1.0 / scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::FeatureMatrix;
    use crate::probe::objective::Scaling;
    use crate::rng::Rng;

    fn design(images: usize, width: usize) -> Design {
        let mut rng = Rng::keyed(6, "test", [images as u64, width as u64]);
        let values = (0..images * width).map(|at| (rng.normal() + (at % 3) as f64) as f32).collect();
        let features = FeatureMatrix::new(values, width).unwrap();
        let all: Vec<usize> = (0..images).collect();
        Design::new(&features, &all, &Scaling::of(&features, &all))
    }

    #[test]
    fn the_change_of_variables_is_that_of_the_curvature() {
        // More images than features, fewer, and more than are looked at.
        for (images, width, looked_at) in [(30, 9, None), (8, 20, None), (300, 9, None), (300, 9, Some(12))] {
            let (design, classes) = (design(images, width), 3);
            let spectrum = match looked_at {
                None => Spectrum::of(&design).unwrap(),
                Some(most) => Spectrum::of_images(&design, most).unwrap(),
            };
            assert_eq!(spectrum.coordinates(&design).unwrap().is_some(), looked_at.is_none());
            let preconditioner = spectrum.preconditioner(0.2, 0.01);
            let mut rng = Rng::keyed(5, "test", [0, 0]);
            let weights: Vec<f64> = (0..(width + 1) * classes).map(|_| rng.normal()).collect();
            let u = preconditioner.preconditioned(&weights);
            let back = preconditioner.weights(&u);
            assert!(weights.iter().zip(&back).all(|(a, b)| (a - b).abs() < 1e-10));
            // A linear function gᵀw is (S⁻¹ g)ᵀ u.
            let g: Vec<f64> = weights.iter().map(|_| rng.normal()).collect();
            let by_u = dot(&preconditioner.gradient(&g), &u);
            assert!((by_u - dot(&g, &weights)).abs() < 1e-10, "{by_u}");
            if looked_at.is_some() {
                continue;
            }
            // All images are looked at: uᵀu is the quadratic form of the curvature.
            let mut form = 0.0;
            for k in 0..classes {
                let w = |i: usize| weights[i * classes + k];
                for image in 0..images {
                    let row = design.row(image);
                    let product: f64 = row.iter().enumerate().map(|(i, x)| f64::from(*x) * w(i)).sum();
                    form += 0.2 * product * product / images as f64;
                }
                form += (0..width).map(|i| 0.01 * w(i) * w(i)).sum::<f64>() + 0.2 * w(width) * w(width);
            }
            assert!((dot(&u, &u) - form).abs() < 1e-9 * form, "{images} {width}");
        }
    }

    #[test]
    fn features_that_repeat_others_or_say_nothing_do_not_break_it() {
        let values: Vec<f32> = (0..40).flat_map(|i| [i as f32, i as f32, 7.0]).collect();
        for (values, width) in [(values, 3), (vec![1.0; 40], 1)] {
            let features = FeatureMatrix::new(values, width).unwrap();
            let all: Vec<usize> = (0..features.images()).collect();
            let design = Design::new(&features, &all, &Scaling::of(&features, &all));
            let spectrum = Spectrum::of(&design).unwrap();
            let preconditioner = spectrum.preconditioner(0.1, 0.0);
            assert!(preconditioner.weights(&vec![1.0; 2 * (width + 1)]).iter().all(|w| w.is_finite()));
        }
    }
}
