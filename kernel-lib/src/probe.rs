//! The linear probe (section 2.4): how well a linear classifier does on frozen features, layer by layer.
//!
//! A probe is a multinomial logistic regression with an intercept. It minimises
//!
//! > the mean over N images of −ln p(class), plus λ/2 · ‖W‖²
//!
//! where `W` are the weights of standardised features (each less its mean, over its standard deviation, in the images
//! that the probe is fitted to); the intercepts are not penalised. scikit-learn's `LogisticRegression` minimises
//! C · N times the same, with `C = 1 / (λ N)`: see [`Probe::scikit_learn_c`]. λ is used here because it means the
//! same for every N: what was chosen on the training images still fits when the validation images join them.
//!
//! The paper used scikit-learn's L-BFGS and states neither the penalty nor any scaling of the features; here both are
//! explicit, and the penalty is chosen on validation images. Features are f32; everything that is computed from them
//! is f64, in a fixed order: the result is the same, bit for bit, on any processor and for any number of threads.
//!
//! [`choose`] is the protocol of Figure 2: layer and penalty are chosen without the test images, and the test labels
//! are a value that [`Choice::test`] uses up.

mod accuracy;
mod cholesky;
mod concatenated;
mod curve;
mod features;
mod few_labels;
mod hessian;
mod kernels;
mod lbfgs;
mod neighbours;
mod objective;
mod precondition;
mod rounding;
mod sgd;
mod similarity;
mod spectrum;

pub use accuracy::Accuracy;
pub use concatenated::Concatenated;
pub use curve::{Choice, Curve, Layer, TestSet, choose, choose_wide};
pub(crate) use features::no_layer;
pub use features::{FeatureLayers, FeatureMatrix, LayerRows};
pub use few_labels::{
    FewLabelsChoice, FewLabelsResult, FewLabelsSettings, LabelCount, Subset, balanced_subset,
    choose_by_few_labels,
};
pub use neighbours::{ByMetric, Metric, NeighbourChoice, Neighbours, choose_neighbours};
pub use rounding::Rounding;
pub use sgd::{SgdChoice, SgdResult, SgdSettings, TriedRate, choose_by_sgd};
pub use similarity::{Similarity, linear_cka};

use crate::{Error, Result};
use hessian::Hessian;
use objective::{Design, Objective, Scaling};
use precondition::{Precondition, Preconditioner};
use serde::{Deserialize, Serialize};
use spectrum::Spectrum;

/// Bound on the preconditioned gradient's norm, see [`Fit`].
const TOLERANCE: f64 = 1e-5;
/// Most steps of one fit.
const MOST_STEPS: usize = 2000;
/// Most steps with one [`Hessian`]: then it is made anew where the fit is.
const STEPS_OF_HESSIAN: usize = 30;

/// How the fit of a [`Probe`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Fit {
    /// The objective, in nats.
    pub objective: f64,
    /// The largest derivative of the objective by a weight or an intercept (absolute).
    pub gradient: f64,
    /// Steps of L-BFGS.
    pub iterations: usize,
    /// How often the objective was computed.
    pub evaluations: usize,
    /// Whether the fit ended because the gradient was small enough: its norm, in variables in which the objective's
    /// curvature is about one, was at most 1e-5.
    pub converged: bool,
}

/// A linear classifier of images by their features.
///
/// ```
/// use igpt::probe::{FeatureMatrix, Probe};
///
/// let features = FeatureMatrix::new(vec![0.1, 0.9, 0.2, 0.8, 0.5], 1)?;
/// let probe = Probe::fit(&features, &[0, 1, 0, 1, 1], 2, 0.1)?;
/// assert_eq!(probe.predict(&features)?, [0, 1, 0, 1, 1]);
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Probe {
    l2: f64,
    /// Classes that the probe can tell, ascending; the others had no image.
    seen: Vec<u16>,
    scaling: Scaling,
    /// Of standardised features, (F + 1, K); the last row is the intercepts.
    weights: Vec<f64>,
    fit: Fit,
}

impl Probe {
    /// Fits a probe to the features of images, and to their classes, each below `classes`. `l2` is λ.
    ///
    /// A class without an image among these is never predicted.
    ///
    /// # Errors
    /// If there is no image, not a label for each image, a label that is no class, or λ is negative or
    /// not a number.
    pub fn fit(features: &FeatureMatrix, labels: &[u16], classes: usize, l2: f64) -> Result<Self> {
        check_labels(features.images(), labels, classes)?;
        check_l2(l2)?;
        let images: Vec<usize> = (0..labels.len()).collect();
        Fitting::new(features, labels, &images, Curvature::Gram)?.probe(l2, None)
    }

    /// The most likely class of each image.
    ///
    /// # Errors
    /// If the features have another width.
    pub fn predict(&self, features: &FeatureMatrix) -> Result<Vec<u16>> {
        let all: Vec<usize> = (0..features.images()).collect();
        if features.width() != self.scaling.mean.len() {
            return Err(Error::invalid(format!(
                "a probe of {} features cannot judge images of {} features",
                self.scaling.mean.len(),
                features.width()
            )));
        }
        Ok(self.classify(&Design::new(features, &all, &self.scaling)))
    }

    /// How many images the probe classifies as their labels say.
    ///
    /// # Errors
    /// As [`Probe::predict`]; or if there are not as many labels as images.
    pub fn accuracy(&self, features: &FeatureMatrix, labels: &[u16]) -> Result<Accuracy> {
        check_count(features.images(), labels)?;
        Accuracy::of(&self.predict(features)?, labels)
    }

    fn classify(&self, design: &Design) -> Vec<u16> {
        let classes = design.classify(&self.weights, self.seen.len());
        classes.into_iter().filter_map(|class| self.seen.get(class).copied()).collect()
    }

    /// The weights of standardised features, a row for each class that had images: (K, F).
    pub fn weights(&self) -> Vec<Vec<f64>> {
        let k = self.seen.len();
        let features = self.scaling.mean.len();
        (0..k).map(|class| (0..features).map(|f| self.weights[f * k + class]).collect()).collect()
    }

    /// The intercept of each class that had images, (K).
    pub fn intercepts(&self) -> &[f64] {
        &self.weights[self.scaling.mean.len() * self.seen.len()..]
    }

    /// The classes that had images, in the order of the weights.
    pub fn classes(&self) -> &[u16] {
        &self.seen
    }

    /// The penalty λ.
    pub fn l2(&self) -> f64 {
        self.l2
    }

    /// scikit-learn's `C` for a penalty λ and this many images: `1 / (λ N)`.
    pub fn scikit_learn_c(l2: f64, images: usize) -> f64 {
        1.0 / (l2 * images as f64)
    }

    /// How the fit ended.
    pub fn outcome(&self) -> Fit {
        self.fit
    }
}

/// Images that probes are fitted to, standardised once for all penalties.
struct Fitting {
    scaling: Scaling,
    design: Design,
    seen: Vec<u16>,
    /// The index in `seen` of each image's class.
    labels: Vec<usize>,
    known: Known,
}

/// From what the change of variables is made in which a fit takes few steps, unless it has so few parameters that the [`Hessian`] is at hand. The optimum does not depend on it, but the last
/// bits of what is found do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Curvature {
    /// The features' Gram matrix, which is factored anew for each penalty: F³ / 3 operations.
    Gram,
    /// Its spectrum, found once: for features that are many, or more than the images. Of up to 1024 features or images it is known
    /// as a whole, and then the fit itself is made in its coordinates.
    Spectrum,
}

/// What is known of how the features vary together.
enum Known {
    /// Nothing beforehand: there are so few parameters that the Hessian is computed where a fit starts.
    Hessian,
    Gram(Vec<f64>),
    Spectrum(Spectrum),
    /// The spectrum as a whole, and the features as coordinates along its R eigenvectors, (N, R). Weights of a penalised fit are
    /// sums of the images' features, so nothing is lost. R is at most N, where F may be thousands; and the change of variables is
    /// diagonal.
    Coordinates(Spectrum, Design),
}

impl Fitting {
    /// Of the images with these indices, whose labels have been checked.
    fn new(features: &FeatureMatrix, labels: &[u16], images: &[usize], curvature: Curvature) -> Result<Self> {
        if images.is_empty() {
            return Err(Error::invalid("a probe cannot be fitted to no image"));
        }
        let scaling = Scaling::of(features, images);
        let design = Design::new(features, images, &scaling);
        let own: Vec<u16> = images.iter().filter_map(|image| labels.get(*image).copied()).collect();
        let mut seen = own.clone();
        seen.sort_unstable();
        seen.dedup();
        let labels = own.iter().map(|label| seen.partition_point(|class| class < label)).collect();
        let is_small = hessian::is_small(&design, seen.len());
        let known = match curvature {
            _ if is_small => Known::Hessian,
            Curvature::Gram => Known::Gram(design.gram()?),
            Curvature::Spectrum => {
                let spectrum = Spectrum::of(&design)?;
                match spectrum.coordinates(&design)? {
                    Some(coordinates) => Known::Coordinates(spectrum, coordinates),
                    None => Known::Spectrum(spectrum),
                }
            }
        };
        Ok(Self { scaling, design, seen, labels, known })
    }

    /// Where a fit starts: no weights, and intercepts that give each class its share.
    fn start(&self) -> Vec<f64> {
        let (width, classes) = (self.design.width, self.seen.len());
        let mut weights = vec![0.0; (width + 1) * classes];
        let mut counts = vec![0.0; classes];
        self.labels.iter().for_each(|label| counts[*label] += 1.0);
        let total = self.labels.len() as f64;
        for (intercept, count) in weights[width * classes..].iter_mut().zip(counts) {
            *intercept = libm::log(count / total);
        }
        weights
    }

    /// The probe of this penalty; quicker from the weights of a neighbouring one.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if someone asks to stop.
    fn probe(&self, l2: f64, start: Option<&[f64]>) -> Result<Probe> {
        let classes = self.seen.len();
        let start = start.map_or_else(|| self.start(), <[f64]>::to_vec);
        let (weights, found) = match &self.known {
            Known::Hessian => self.minimise_by_hessian(&self.design, start, l2)?,
            Known::Gram(gram) => {
                let curvature = self.curvature(&self.design, &start);
                let preconditioner = Preconditioner::new(gram, self.design.width, curvature, l2)?;
                self.minimise(&self.design, &start, l2, &preconditioner, MOST_STEPS)?
            }
            Known::Spectrum(spectrum) => {
                let curvature = self.curvature(&self.design, &start);
                let preconditioner = spectrum.preconditioner(curvature, l2);
                self.minimise(&self.design, &start, l2, &preconditioner, MOST_STEPS)?
            }
            Known::Coordinates(spectrum, coordinates) => {
                let start = spectrum.coordinates_of_weights(&start, classes);
                let scales = spectrum.scales(self.curvature(coordinates, &start), l2);
                let (weights, found) = self.minimise(coordinates, &start, l2, &scales, MOST_STEPS)?;
                (spectrum.weights(&weights, classes), found)
            }
        };
        let mut objective = Objective::new(&self.design, &self.labels, classes, l2);
        let mut by_weights = vec![0.0; objective.len()];
        let value = objective.value(&weights, &mut by_weights);
        let fit = Fit {
            objective: value,
            gradient: by_weights.iter().fold(0.0, |most, g| g.abs().max(most)),
            iterations: found.iterations,
            evaluations: found.evaluations,
            converged: found.converged,
        };
        let (seen, scaling) = (self.seen.clone(), self.scaling.clone());
        Ok(Probe { l2, seen, scaling, weights, fit })
    }

    /// How strongly the loss curves at some weights.
    fn curvature(&self, design: &Design, weights: &[f64]) -> f64 {
        Objective::new(design, &self.labels, self.seen.len(), 0.0).curvature(weights)
    }

    /// The weights (F + 1, K) with the least objective on these features, from `start` on.
    fn minimise_by_hessian(
        &self,
        design: &Design,
        start: Vec<f64>,
        l2: f64,
    ) -> Result<(Vec<f64>, lbfgs::Minimum)> {
        let (mut weights, mut iterations, mut evaluations) = (start, 0, 0);
        loop {
            let hessian = Hessian::at(design, &weights, self.seen.len(), l2)?;
            let most = STEPS_OF_HESSIAN.min(MOST_STEPS - iterations);
            let (better, found) = self.minimise(design, &weights, l2, &hessian, most)?;
            weights = better;
            iterations += found.iterations;
            evaluations += found.evaluations;
            // With fewer steps than it might have taken, it cannot get any further.
            if found.converged || found.iterations < most || iterations >= MOST_STEPS {
                return Ok((weights, lbfgs::Minimum { iterations, evaluations, ..found }));
            }
        }
    }

    /// The same with one change of variables, and at most so many steps; not always the least, then.
    fn minimise(
        &self,
        design: &Design,
        start: &[f64],
        l2: f64,
        preconditioner: &dyn Precondition,
        most_steps: usize,
    ) -> Result<(Vec<f64>, lbfgs::Minimum)> {
        let mut objective = Objective::new(design, &self.labels, self.seen.len(), l2);
        let mut by_weights = vec![0.0; objective.len()];
        let function = |u: &[f64], gradient: &mut [f64]| {
            let value = objective.value(&preconditioner.weights(u), &mut by_weights);
            gradient.copy_from_slice(&preconditioner.gradient(&by_weights));
            value
        };
        let found = lbfgs::minimise(function, preconditioner.preconditioned(start), TOLERANCE, most_steps)?;
        Ok((preconditioner.weights(&found.at), found))
    }
}

fn check_count(images: usize, labels: &[u16]) -> Result<()> {
    if labels.len() != images {
        return Err(Error::invalid(format!("{} labels are not those of {} images", labels.len(), images)));
    }
    Ok(())
}

fn check_labels(images: usize, labels: &[u16], classes: usize) -> Result<()> {
    check_count(images, labels)?;
    if let Some((image, label)) = labels.iter().enumerate().find(|(_, label)| usize::from(**label) >= classes)
    {
        return Err(Error::invalid(format!(
            "image {image} has label {label}, but there are {classes} classes, from 0"
        )));
    }
    Ok(())
}

fn check_l2(l2: f64) -> Result<()> {
    if !(l2.is_finite() && l2 >= 0.0) {
        return Err(Error::invalid(format!("an L2 penalty cannot be {l2}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
