//! Effects with their uncertainty: how much better one thing is than another, over seeds and test images. What is computed, and
//! what it assumes, is in `docs/statistics.md`.

mod student;

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The share of intervals that hold the true value, if the assumptions do.
pub const CONFIDENCE: f64 = 0.95;

/// A mean with its standard error: a difference of accuracies in percentage points, a loss in nats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Effect {
    /// The mean over seeds, and over images where there are any.
    pub mean: f64,
    /// Its standard error; none if nothing is known of it: one seed, and no images.
    pub standard_error: Option<f64>,
    /// Degrees of freedom of the standard error.
    pub degrees: f64,
    /// How many seeds it is the mean of, 0 if it is of images or subsets alone. With one seed the standard error is that of the choice of test
    /// images alone.
    pub seeds: usize,
    /// How many test images it is the mean of; 0 if it is of seeds alone.
    pub images: usize,
}

impl Effect {
    /// How many more test images, in percentage points, `a` gets right than `b`: each has a row for each seed, which says of
    /// each test image whether it was classified correctly. What does not depend on the seed (raw pixels, say) has one row, with
    /// which all of the other side's are compared.
    ///
    /// An image's difference is averaged over seeds first; the variance of these averages, over images, and that of the seeds'
    /// means, over seeds, are added.
    ///
    /// # Errors
    /// If there is no row or no image, or rows are not of as many images, or the sides have other numbers of seeds. That they are the
    /// same images, in the same order, is for the caller to know.
    pub fn paired(a: &[&[bool]], b: &[&[bool]]) -> Result<Self> {
        let seeds = a.len().max(b.len());
        let images = a.first().map_or(0, |row| row.len());
        if images == 0 || [a, b].iter().any(|side| side.len() != seeds && side.len() != 1) {
            return Err(Error::invalid(format!(
                "{} and {} seeds of {images} images cannot be compared: as many on both sides, or one",
                a.len(),
                b.len()
            )));
        }
        if let Some(row) = [a, b].concat().iter().find(|row| row.len() != images) {
            return Err(Error::invalid(format!(
                "{} and {images} test images cannot be compared one by one: they are not the same",
                row.len()
            )));
        }
        let row = |side: &[&'_ [bool]], seed: usize, image: usize| side[seed.min(side.len() - 1)][image];
        let points = |right: bool| if right { 100.0 } else { 0.0 };
        let mut of_seeds = vec![0.0; seeds];
        let mut of_images = vec![0.0; images];
        for (seed, of_seed) in of_seeds.iter_mut().enumerate() {
            for (image, of_image) in of_images.iter_mut().enumerate() {
                let difference = points(row(a, seed, image)) - points(row(b, seed, image));
                *of_seed += difference / images as f64;
                *of_image += difference / seeds as f64;
            }
        }
        let (mean, of_images) = moments(&of_images);
        let (_, of_seeds) = moments(&of_seeds);
        let parts = [(of_images, images), (of_seeds, seeds)];
        Ok(Self { seeds, images, ..Self::by_variances(mean, &parts) })
    }

    /// The mean of one number for each seed: a loss, or a difference of losses.
    ///
    /// # Errors
    /// If there is none.
    pub fn of_seeds(values: &[f64]) -> Result<Self> {
        if values.is_empty() {
            return Err(Error::invalid("no seed, no effect"));
        }
        let (mean, variance) = moments(values);
        Ok(Self { seeds: values.len(), ..Self::by_variances(mean, &[(variance, values.len())]) })
    }

    /// The mean of one number for each subset of labelled images: with other subsets it would be another one.
    ///
    /// # Errors
    /// If there is none.
    pub fn of_subsets(values: &[f64]) -> Result<Self> {
        Ok(Self { seeds: 0, ..Self::of_seeds(values)? })
    }

    /// The mean of one number for each image, of which there may be few: a PSNR, or a loss. Nothing varies but the images.
    ///
    /// # Errors
    /// If there is none.
    pub fn of_images(values: &[f64]) -> Result<Self> {
        Ok(Self { seeds: 0, images: values.len(), ..Self::of_seeds(values)? })
    }

    /// A mean whose error has several sources: each with its variance of the mean, and the number of what it was computed from.
    /// Degrees of freedom by Welch and Satterthwaite.
    fn by_variances(mean: f64, parts: &[(Option<f64>, usize)]) -> Self {
        let known: Vec<(f64, f64)> =
            parts.iter().filter_map(|(variance, n)| variance.map(|v| (v, (*n - 1) as f64))).collect();
        let sum: f64 = known.iter().map(|(variance, _)| variance).sum();
        let squares: f64 = known.iter().map(|(variance, degrees)| variance * variance / degrees).sum();
        let degrees = if squares > 0.0 { sum * sum / squares } else { known.iter().map(|(_, d)| d).sum() };
        let standard_error = (!known.is_empty()).then(|| sum.sqrt());
        Self { mean, standard_error, degrees, seeds: 1, images: 0 }
    }

    /// The interval that holds the true value with the probability [`CONFIDENCE`], by Student's t; none if nothing is known of
    /// the error.
    pub fn interval(&self) -> Option<(f64, f64)> {
        let error = self.standard_error?;
        let half =
            if error > 0.0 { error * student::quantile(0.5 + CONFIDENCE / 2.0, self.degrees) } else { 0.0 };
        Some((self.mean - half, self.mean + half))
    }

    /// The same in another unit or with another sign.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        let standard_error = self.standard_error.map(|error| error * factor.abs());
        Self { mean: self.mean * factor, standard_error, ..self }
    }
}

/// The mean of some numbers, and its variance, that of the numbers over how many there are; none of a single one.
fn moments(values: &[f64]) -> (f64, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (values.len() > 1).then(|| squares / (n - 1.0) / n))
}

/// The standard deviation of a sample; none of a single number.
pub(crate) fn deviation(values: &[f64]) -> Option<f64> {
    let (_, of_mean) = moments(values);
    of_mean.map(|variance| (variance * values.len() as f64).sqrt())
}

/// How well one number orders another: Spearman's rank correlation of pairs, of seeds, sizes and snapshots, say.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RankCorrelation {
    /// From -1 to 1.
    pub correlation: f64,
    /// Of how many pairs.
    pub pairs: usize,
}

impl RankCorrelation {
    /// Of pairs, of which equal numbers share a rank.
    ///
    /// # Errors
    /// If a number is not finite, there are fewer than two pairs, or one side is all the same: then nothing is ordered.
    pub fn of(pairs: &[(f64, f64)]) -> Result<Self> {
        if pairs.iter().any(|(a, b)| !a.is_finite() || !b.is_finite()) {
            return Err(Error::invalid("a number to be ranked is not finite"));
        }
        let (a, b): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        let (a, b) = (ranks(&a), ranks(&b));
        let middle = (pairs.len() as f64 + 1.0) / 2.0;
        let product =
            |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - middle) * (b - middle)).sum::<f64>();
        let correlation = product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt();
        if !correlation.is_finite() {
            return Err(Error::invalid("numbers that are all the same order nothing"));
        }
        Ok(Self { correlation: correlation.clamp(-1.0, 1.0), pairs: pairs.len() })
    }

    /// The interval that holds the true correlation with about the probability [`CONFIDENCE`], by Fisher's z with the variance of
    /// Bonett and Wright (2000), and Student's t; none for fewer than five pairs.
    pub fn interval(&self) -> Option<(f64, f64)> {
        if self.pairs < 5 {
            return None;
        }
        let degrees = self.pairs as f64 - 3.0;
        // A perfect order of a few pairs is no proof of a perfect correlation.
        let most = 1.0 - 0.5 / (self.pairs as f64).powi(2);
        let r = self.correlation.clamp(-most, most);
        let error = ((1.0 + r * r / 2.0) / degrees).sqrt();
        let half = error * student::quantile(0.5 + CONFIDENCE / 2.0, degrees);
        let z = libm::atanh(r);
        Some((libm::tanh(z - half), libm::tanh(z + half)))
    }
}

/// The rank of each number, from 1; equal ones share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    while first < order.len() {
        let same = order[first..].iter().take_while(|at| values[**at] == values[order[first]]).count();
        for at in &order[first..first + same] {
            ranks[*at] = first as f64 + (same as f64 + 1.0) / 2.0;
        }
        first += same;
    }
    ranks
}

#[cfg(test)]
mod tests;
