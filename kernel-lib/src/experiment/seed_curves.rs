//! Probes of networks that were trained from several seeds, side by side: what a comparison says of all seeds of a profile.

use crate::probe::{Curve, Rounding};
use crate::show::{Cell, Show, Table, fixed};
use crate::statistics::{self, Effect};
use crate::{Error, Result};

/// Curves of accuracy by layer, one for each seed, all judged by the same test images.
///
/// ```no_run
/// use igpt::prelude::*;
///
/// let profile = Profile::current()?;
/// let ar = Pretraining::of(&profile);
/// let trained = SeedCurves::of(&profile.seeds(), |seed| {
///     LinearProbe::of(Features::of(&ar.clone().seed(seed))).with(&profile.probe).run()
/// })?;
/// let pixels = SeedCurves::of(&[1], |_| LinearProbe::of(Features::pixels(&ar)).with(&profile.probe).run())?;
/// println!("{:?}", trained.chosen_over(&pixels)?.interval());
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SeedCurves {
    seeds: Vec<u64>,
    curves: Vec<Curve>,
}

impl SeedCurves {
    /// Runs, or finds, the curve of each seed.
    ///
    /// # Errors
    /// If one cannot be had, there is no seed, or curves have other numbers of layers or of test images.
    pub fn of(seeds: &[u64], run: impl FnMut(u64) -> Result<Curve>) -> Result<Self> {
        Self::of_curves(seeds, seeds.iter().copied().map(run).collect::<Result<_>>()?)
    }

    fn of_curves(seeds: &[u64], curves: Vec<Curve>) -> Result<Self> {
        let shape =
            |curve: &Curve| curve.layers.iter().map(|layer| layer.is_correct.len()).collect::<Vec<_>>();
        let first = curves.first().map(shape);
        if first.as_ref().is_none_or(Vec::is_empty) {
            return Err(Error::invalid("no curve: name one seed or more"));
        }
        if curves.iter().any(|curve| Some(shape(curve)) != first) {
            return Err(Error::invalid("the seeds' curves have other numbers of layers or of test images"));
        }
        Ok(Self { seeds: seeds.to_vec(), curves })
    }

    /// The curves, in the seeds' order.
    pub fn curves(&self) -> &[Curve] {
        &self.curves
    }

    /// The number of the last layer, L.
    pub fn last(&self) -> usize {
        self.curves[0].layers.len() - 1
    }

    /// The inner layer, neither 0 nor L, that is best on the validation images, over all seeds; the first of equals.
    ///
    /// # Errors
    /// If there is no inner layer.
    pub fn best_inside(&self) -> Result<usize> {
        let correct = |layer: usize| {
            self.curves.iter().map(|curve| curve.layers[layer].validation.correct).sum::<usize>()
        };
        let better = |best: usize, layer| if correct(layer) > correct(best) { layer } else { best };
        (1..self.last())
            .reduce(better)
            .ok_or_else(|| Error::invalid("a curve of two layers has nothing inside"))
    }

    /// How many percentage points more of the test images one layer gets right than another.
    ///
    /// # Errors
    /// If there is no such layer.
    pub fn over(&self, layer: usize, other: usize) -> Result<Effect> {
        Effect::paired(&self.correct(layer)?, &self.correct(other)?)
    }

    /// Of each seed, which test images a layer gets right.
    fn correct(&self, layer: usize) -> Result<Vec<&[bool]>> {
        self.curves.iter().map(|curve| Ok(&curve.at(layer)?.is_correct[..])).collect()
    }

    /// What a mountain of accuracies is judged by (section 4.1): how much more the best inner layer gets right than the first, and
    /// than the last.
    ///
    /// # Errors
    /// If there is no inner layer.
    pub fn inside_over_ends(&self) -> Result<[Effect; 2]> {
        let best = self.best_inside()?;
        Ok([self.over(best, 0)?, self.over(best, self.last())?])
    }

    /// How many percentage points more each seed's chosen layer gets right than the others' chosen layers: of an untrained
    /// network, of pixels. The other side may have one curve for all seeds.
    ///
    /// # Errors
    /// If the sides have other test images, or other numbers of seeds, none of them one.
    pub fn chosen_over(&self, other: &Self) -> Result<Effect> {
        Effect::paired(&self.chosen()?, &other.chosen()?)
    }

    fn chosen(&self) -> Result<Vec<&[bool]>> {
        self.curves.iter().map(|curve| Ok(&curve.at(curve.chosen)?.is_correct[..])).collect()
    }

    /// The test accuracy of each layer in percent: the mean over seeds, with the lower and the upper end of its interval, that of
    /// the test images and, of several seeds, of the seeds.
    ///
    /// # Errors
    /// None, as long as the curves are of the same test images.
    pub fn by_layer(&self) -> Result<Vec<(Effect, (f64, f64))>> {
        let images = self.curves[0].layers[0].is_correct.len();
        let nothing = vec![false; images];
        let all = 0..self.curves[0].layers.len();
        all.map(|layer| {
            let accuracy = Effect::paired(&self.correct(layer)?, &[&nothing])?;
            Ok((accuracy, accuracy.interval().unwrap_or((accuracy.mean, accuracy.mean))))
        })
        .collect()
    }

    fn table(&self) -> Result<Table> {
        let deviation = |layer: usize| {
            let shares: Vec<f64> =
                self.curves.iter().map(|curve| 100.0 * curve.layers[layer].test.share()).collect();
            statistics::deviation(&shares)
        };
        let rows = self.by_layer()?.into_iter().enumerate().map(|(layer, (accuracy, (low, high)))| {
            [
                Cell::from(layer),
                fixed(accuracy.mean, 1),
                Cell::from(deviation(layer).map(|deviation| fixed(deviation, 1))),
                Cell::text(format!("{low:.1} to {high:.1}")),
            ]
        });
        let seeds: Vec<String> = self.seeds.iter().map(u64::to_string).collect();
        let which = if seeds.len() == 1 { "seed" } else { "seeds" };
        Ok(Table::of(["Layer", "Test accuracy (%)", "Deviation of seeds", "95 % interval"], rows)
            .caption("Linear probe by layer")
            .note(Rounding::note(
                Rounding::largest(self.curves.iter().map(|curve| curve.rounding)),
                format!(
                    "Of {which} {}, {} test images.",
                    seeds.join(", "),
                    self.curves[0].layers[0].is_correct.len()
                ),
            )))
    }
}

impl Show for SeedCurves {
    fn to_html(&self) -> String {
        self.table().map_or_else(|error| error.to_string(), |table| table.to_html())
    }
    fn to_text(&self) -> String {
        self.table().map_or_else(|error| error.to_string(), |table| table.to_text())
    }
}

crate::show::displays!(SeedCurves);
