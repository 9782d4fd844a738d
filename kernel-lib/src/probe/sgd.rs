//! The linear probe of ImageNet's protocol (section 4.4, A.1): trained by stochastic gradient descent on features that are read
//! from the disk while it is trained, so that they need not fit into memory.
//!
//! SGD with a momentum of 0.9, as PyTorch's (v ← 0.9 v + g, then w ← w − rate · v), from zero weights; the rate falls to zero by half
//! a cosine. Rates are 30, 10, 3, …, and the best is chosen on the validation images; the probe is then trained anew on training
//! and validation images together, and judged once by the test images (section 3.1). **Not published** are the batch size, whether
//! features are scaled, and any penalty: here features are taken as they are, and there is no penalty.
//!
//! An epoch goes through the images in groups of neighbouring rows, the groups in random order, and in random order within a
//! group: what is read from the disk is read in one piece. A batch that is not full at the end of an epoch goes on with the next
//! one. All rates see the same batches, which are read once for all of them. Everything is computed in f64, in a fixed order.

use super::curve::{TestSet, split};
use super::kernels::{self, ROWS};
use super::objective::{Design, Scaling};
use super::{Accuracy, FeatureLayers, LayerRows, Rounding, check_labels};
use crate::rng::Rng;
use crate::show::{Cell, Show, Table, Tone};
use crate::{Error, Result, memory, stop};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

const MOMENTUM: f64 = 0.9;

/// How probes are trained.
#[derive(Debug, Clone, PartialEq)]
pub struct SgdSettings {
    /// Learning rates that are tried, each as the first of a cosine.
    pub rates: Vec<f64>,
    /// Steps of a training.
    pub steps: u64,
    /// Images in a step.
    pub batch: usize,
    /// Neighbouring rows that are read together.
    pub group: usize,
    /// Of the order of images.
    pub seed: u64,
}

impl SgdSettings {
    /// Checks the settings.
    ///
    /// # Errors
    /// If one makes no sense.
    pub fn validate(&self) -> Result<()> {
        let positive = |x: &f64| *x > 0.0 && x.is_finite();
        for (name, right) in [
            ("rates (one or more, each above 0)", !self.rates.is_empty() && self.rates.iter().all(positive)),
            ("steps (at least 1)", self.steps > 0),
            ("batch (at least 1)", self.batch > 0),
            ("group (at least 1)", self.group > 0),
        ] {
            if !right {
                return Err(Error::invalid(format!("the setting {name} makes no sense as it is")));
            }
        }
        Ok(())
    }
}

/// Which images of a layer are trained on, and how their rows are read.
struct Training<'a> {
    rows: Box<dyn LayerRows + 'a>,
    /// F.
    width: usize,
    /// The class of each image, and whether it is trained on.
    images: Vec<(u16, bool)>,
    classes: usize,
    settings: &'a SgdSettings,
}

/// Images of a step, packed for [`kernels`]: blocks (F, ROWS).
struct Batch {
    width: usize,
    blocks: Vec<f32>,
    labels: Vec<usize>,
}

impl Batch {
    fn new(width: usize, images: usize) -> Result<Self> {
        let numbers = images.div_ceil(ROWS).saturating_mul(ROWS).saturating_mul(width);
        Ok(Self { width, blocks: memory::zeros("a batch of features", numbers)?, labels: Vec::new() })
    }

    fn push(&mut self, row: &[f32], label: u16) {
        let at = self.labels.len();
        let block = &mut self.blocks[at / ROWS * ROWS * self.width..];
        block.iter_mut().skip(at % ROWS).step_by(ROWS).zip(row).for_each(|(to, x)| *to = *x);
        self.labels.push(usize::from(label));
    }

    /// Adds the gradient of the mean −ln p(class) at `weights` (F + 1, K) to `gradient`.
    fn add_gradient(&self, weights: &[f64], classes: usize, gradient: &mut [f64]) {
        let mut sums = vec![0.0; weights.len()];
        let mut p = vec![0.0; classes * ROWS];
        for (block, labels) in self.blocks.chunks(ROWS * self.width).zip(self.labels.chunks(ROWS)) {
            kernels::logits(block, weights, &mut p);
            kernels::softmax(&mut p);
            p.chunks_exact_mut(ROWS).for_each(|p| p[labels.len()..].fill(0.0));
            for (row, label) in labels.iter().enumerate() {
                p[label * ROWS + row] -= 1.0;
            }
            let (by_weights, by_intercepts) = sums.split_at_mut(self.width * classes);
            for (sum, p) in by_intercepts.iter_mut().zip(p.chunks_exact(ROWS)) {
                *sum += p.iter().sum::<f64>();
            }
            kernels::add_products(block, &p, by_weights);
        }
        let n = self.labels.len() as f64;
        gradient.iter_mut().zip(sums).for_each(|(g, sum)| *g += sum / n);
    }
}

impl Training<'_> {
    /// The weights (F + 1, K) of a probe for each rate.
    fn run(&mut self, rates: &[f64], step_done: &mut dyn FnMut()) -> Result<Vec<Vec<f64>>> {
        let SgdSettings { steps, batch: size, group, seed, .. } = *self.settings;
        let (width, classes) = (self.width, self.classes);
        let parameters = (width + 1).saturating_mul(classes);
        // Weights, velocity and gradient of each.
        memory::check("the probes", &[rates.len(), 3, parameters, 8])?;
        let mut probes: Vec<(Vec<f64>, Vec<f64>)> =
            rates.iter().map(|_| (vec![0.0; parameters], vec![0.0; parameters])).collect();
        let mut batch = Batch::new(width, size)?;
        let groups = self.images.len().div_ceil(group);
        let mut step = 0;
        for epoch in 0.. {
            for number in Rng::keyed(seed, "row groups", [epoch, 0]).permutation(groups) {
                let first = number * group;
                let rows = self.rows.rows(first..self.images.len().min(first.saturating_add(group)))?;
                let mut order: Vec<usize> =
                    (0..rows.images()).filter(|at| self.images[first + at].1).collect();
                Rng::keyed(seed, "rows of a group", [epoch, number as u64]).shuffle(&mut order);
                for at in order {
                    let Some(row) = rows.row(at) else { continue };
                    batch.push(row, self.images[first + at].0);
                    if batch.labels.len() < size {
                        continue;
                    }
                    stop::check("the probe")?;
                    let falling = 0.5 * (1.0 + libm::cos(std::f64::consts::PI * step as f64 / steps as f64));
                    probes.par_iter_mut().zip(rates).for_each(|((weights, velocity), rate)| {
                        velocity.iter_mut().for_each(|v| *v *= MOMENTUM);
                        batch.add_gradient(weights, classes, velocity);
                        weights.iter_mut().zip(&*velocity).for_each(|(w, v)| *w -= rate * falling * v);
                    });
                    batch.labels.clear();
                    step_done();
                    step += 1;
                    if step == steps {
                        return Ok(probes.into_iter().map(|(weights, _)| weights).collect());
                    }
                }
            }
        }
        Ok(Vec::new())
    }
}

/// How many images are classified correctly by each of these probes' weights (F + 1, K), and of how many: those for which
/// `counts` says so.
fn correct(
    rows: &mut dyn LayerRows,
    labels: &[u16],
    counts: impl Fn(usize) -> bool,
    probes: &[Vec<f64>],
    classes: usize,
    group: usize,
) -> Result<(Vec<usize>, usize)> {
    let (mut correct, mut images) = (vec![0; probes.len()], 0);
    for first in (0..labels.len()).step_by(group) {
        stop::check("the probe")?;
        let own = rows.rows(first..labels.len().min(first.saturating_add(group)))?;
        let judged: Vec<usize> = (0..own.images()).filter(|at| counts(first + at)).collect();
        if judged.is_empty() {
            continue;
        }
        images += judged.len();
        let as_it_is = Scaling { mean: vec![0.0; own.width()], inverse: vec![1.0; own.width()] };
        let design = Design::new(&own, &judged, &as_it_is);
        for (correct, weights) in correct.iter_mut().zip(probes) {
            let found = design.classify(weights, classes);
            *correct += found
                .iter()
                .zip(&judged)
                .filter(|(class, at)| **class == usize::from(labels[first + **at]))
                .count();
        }
    }
    Ok((correct, images))
}

/// A rate that was tried at a layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TriedRate {
    /// The layer.
    pub layer: usize,
    /// The first learning rate.
    pub rate: f64,
    /// Validation accuracy; none if the training diverged: the weights are not finite any more.
    pub validation: Option<Accuracy>,
}

/// Layer and rate, chosen on validation images.
pub struct SgdChoice<'a> {
    features: &'a dyn FeatureLayers,
    labels: &'a [u16],
    classes: usize,
    settings: SgdSettings,
    tried: Vec<TriedRate>,
    best: TriedRate,
}

impl std::fmt::Debug for SgdChoice<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SgdChoice").field("tried", &self.tried).finish_non_exhaustive()
    }
}

/// Trains a probe with each rate at each of these layers, and chooses by accuracy on the images with the indices `validation`,
/// which are not trained on. Of equals the first layer, and the rate that is named first. `progress` hears how many of how
/// many steps are done.
///
/// # Errors
/// If settings, labels or classes make no sense, all trainings diverge, or the validation images are none, all, twice named or
/// not there.
pub fn choose_by_sgd<'a>(
    features: &'a dyn FeatureLayers,
    labels: &'a [u16],
    classes: usize,
    validation: &[usize],
    layers: &[usize],
    settings: &SgdSettings,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<SgdChoice<'a>> {
    settings.validate()?;
    check_labels(features.images(), labels, classes)?;
    let (_, held_out) = split(features.images(), validation)?;
    let is_held_out = |image: usize| held_out.binary_search(&image).is_ok();
    let (mut done, total) = (0, settings.steps.saturating_mul(layers.len() as u64));
    let mut tried = Vec::new();
    for layer in layers {
        let images = labels.iter().enumerate().map(|(image, label)| (*label, !is_held_out(image))).collect();
        let (rows, width) = (features.stream(*layer)?, features.width());
        let mut training = Training { rows, width, images, classes, settings };
        let probes = training.run(&settings.rates, &mut || {
            done += 1;
            progress(done, total);
        })?;
        let (correct, images) =
            correct(training.rows.as_mut(), labels, is_held_out, &probes, classes, settings.group)?;
        for ((rate, weights), correct) in settings.rates.iter().zip(&probes).zip(correct) {
            let finite = weights.iter().all(|w| w.is_finite());
            let validation = if finite { Some(Accuracy::new(correct, images)?) } else { None };
            tried.push(TriedRate { layer: *layer, rate: *rate, validation });
        }
    }
    let correct = |tried: &TriedRate| tried.validation.map(|validation| validation.correct);
    let best =
        tried.iter().copied().reduce(|best, next| if correct(&next) > correct(&best) { next } else { best });
    let best = best.filter(|best| best.validation.is_some()).ok_or_else(|| {
        Error::invalid(format!("training diverged with each of the learning rates {:?}", settings.rates))
    })?;
    Ok(SgdChoice { features, labels, classes, settings: settings.clone(), tried, best })
}

impl SgdChoice<'_> {
    /// The layer and the rate that were chosen.
    pub fn chosen(&self) -> (usize, f64) {
        (self.best.layer, self.best.rate)
    }

    /// Trains a probe on training and validation images together with them, and counts what it gets right of the test images,
    /// which are used up.
    ///
    /// # Errors
    /// If the test images have other layers or features, or a label that is no class, or this training diverges.
    pub fn test(self, test: TestSet<'_>) -> Result<SgdResult> {
        test.check(self.features, self.classes)?;
        let rounding = Rounding::of([self.features, test.features]);
        let TriedRate { layer, rate, .. } = self.best;
        let images = self.labels.iter().map(|label| (*label, true)).collect();
        let (rows, width) = (self.features.stream(layer)?, self.features.width());
        let mut training = Training { rows, width, images, classes: self.classes, settings: &self.settings };
        let probes = training.run(&[rate], &mut || ())?;
        if probes.iter().flatten().any(|w| !w.is_finite()) {
            return Err(Error::NotFinite {
                what: format!("a weight of the probe with learning rate {rate}"),
                cause: "the rate is too large for training and validation images together".to_owned(),
            });
        }
        let mut rows = test.features.stream(layer)?;
        let group = self.settings.group;
        let (correct, images) = correct(rows.as_mut(), &test.labels, |_| true, &probes, self.classes, group)?;
        let test = Accuracy::new(correct.first().copied().unwrap_or(0), images)?;
        Ok(SgdResult { tried: self.tried, layer, rate, test, rounding })
    }
}

/// What probes that are trained by SGD reach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SgdResult {
    /// Each layer and rate that was tried.
    pub tried: Vec<TriedRate>,
    /// The layer that was chosen on the validation images.
    pub layer: usize,
    /// The rate that was chosen on the validation images.
    pub rate: f64,
    /// Test accuracy of the probe that was trained on training and validation images with them.
    pub test: Accuracy,
    /// What rounding did to the features; none of f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounding: Option<Rounding>,
}

impl SgdResult {
    fn table(&self) -> Table {
        let rows = self.tried.iter().map(|tried| {
            let chosen = (tried.layer, tried.rate) == (self.layer, self.rate);
            [
                Cell::from(tried.layer),
                Cell::text(format!("{}", tried.rate)),
                tried.validation.map_or_else(|| Cell::text("diverged"), Cell::from),
                if chosen { self.test.cell().tone(Tone::Good) } else { Cell::text("") },
            ]
        });
        Table::of(["Layer", "Learning rate", "Validation", "Test"], rows).caption("Linear probe by SGD").note(
            Rounding::note(self.rounding, "Layer and learning rate are chosen on the validation images."),
        )
    }
}

impl Show for SgdResult {
    fn to_html(&self) -> String {
        self.table().to_html()
    }
    fn to_text(&self) -> String {
        self.table().to_text()
    }
}

crate::show::displays!(SgdResult);

#[cfg(test)]
mod tests;
