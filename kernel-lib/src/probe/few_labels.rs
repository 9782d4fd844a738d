//! Few labels (section 4.7, Table 4): linear classifiers of features that are fitted to a few labelled images of each class.
//!
//! The paper draws five random subsets of CIFAR-10's training images with 4, 25 and 400 labels for each class, fits a logistic
//! regression to each, and prints mean and standard deviation of the test error. **Not published** are: which layer's features;
//! how the penalty was chosen; whether features were scaled; whether a standard deviation of five is divided by 5 or by 4. Here
//!
//! - whatever is chosen for a subset is chosen by its labels alone, by cross-validation inside it: layer and penalty are those
//!   with the smallest mean −ln p(class) of images that were left out. (Accuracy would be too coarse: of 40 images one is 2.5
//!   points.) Of equals the first layer, and the strongest penalty;
//! - features are standardised by mean and standard deviation of the images that a classifier is fitted to, and of no others;
//! - the classifier that is tested is fitted to the whole subset;
//! - the standard deviation is that of a sample, divided by one less than there are subsets.
//!
//! A smaller subset is part of a larger one with the same number, so that what more labels bring is not hidden by chance.

use super::curve::{TestSet, strongest_first};
use super::objective::{Design, Objective};
use super::{Accuracy, Curvature, FeatureLayers, FeatureMatrix, Fitting, Rounding, check_l2, check_labels};
use crate::rng::Rng;
use crate::show::{Cell, Show, Table, fixed};
use crate::{Error, Result, stop};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// What is drawn and what is tried.
#[derive(Debug, Clone, PartialEq)]
pub struct FewLabelsSettings {
    /// Labelled images of each class, each number for a row of the table.
    pub labels: Vec<usize>,
    /// How many subsets are drawn of each.
    pub subsets: usize,
    /// Parts of a subset that are left out in turn while choosing; as many as there are labels of a class, if that is less.
    pub folds: usize,
    /// Penalties λ that are tried.
    pub l2: Vec<f64>,
    /// Of the subsets.
    pub seed: u64,
}

impl FewLabelsSettings {
    /// Checks the settings.
    ///
    /// # Errors
    /// If one makes no sense.
    pub fn validate(&self) -> Result<()> {
        self.l2.iter().try_for_each(|l2| check_l2(*l2))?;
        for (name, right) in [
            ("labels (one or more numbers, each at least 2)", {
                !self.labels.is_empty() && self.labels.iter().all(|labels| *labels >= 2)
            }),
            ("subsets (1 to 1000)", (1..=1000).contains(&self.subsets)),
            ("folds (at least 2)", self.folds >= 2),
            ("l2 (at least one)", !self.l2.is_empty()),
        ] {
            if !right {
                return Err(Error::invalid(format!("the setting {name} makes no sense as it is")));
            }
        }
        Ok(())
    }
}

/// Positions of `count` images of each class, drawn at random: of the first class the first, the second, …, and so on for each
/// class. `number` tells subsets apart.
///
/// # Errors
/// If a class has not so many images.
pub fn balanced_subset(
    labels: &[u16],
    classes: usize,
    count: usize,
    seed: u64,
    number: u64,
) -> Result<Vec<usize>> {
    check_labels(labels.len(), labels, classes)?;
    let mut subset = Vec::new();
    for class in 0..classes {
        let mut images: Vec<usize> =
            (0..labels.len()).filter(|at| usize::from(labels[*at]) == class).collect();
        if images.len() < count {
            return Err(Error::invalid(format!(
                "{count} labels of each class are too many: class {class} (of {classes}, from 0) has {} images",
                images.len()
            )));
        }
        Rng::keyed(seed, "few labels", [number, class as u64]).shuffle(&mut images);
        subset.extend(images.into_iter().take(count));
    }
    Ok(subset)
}

/// The mean over left-out images of −ln p(class) for each of these penalties, which are tried in this order. Image `i` of
/// `subset` is left out in fold `i % folds`: images of a class lie next to each other there, so each fold has equally many of
/// each class, or one more.
fn cross_validate(
    features: &FeatureMatrix,
    labels: &[u16],
    subset: &[usize],
    folds: usize,
    penalties: &[f64],
) -> Result<Vec<f64>> {
    let mut losses = vec![0.0; penalties.len()];
    for fold in 0..folds {
        stop::check("the probe")?;
        let part = |held_out: bool| -> Vec<usize> {
            let images = subset.iter().enumerate().filter(|(at, _)| (at % folds == fold) == held_out);
            images.map(|(_, image)| *image).collect()
        };
        let (training, left_out) = (part(false), part(true));
        let fitting = Fitting::new(features, labels, &training, Curvature::Spectrum)?;
        let design = Design::new(features, &left_out, &fitting.scaling);
        let classes: Option<Vec<usize>> =
            left_out.iter().map(|image| fitting.seen.binary_search(&labels[*image]).ok()).collect();
        let classes =
            classes.ok_or_else(|| Error::invalid("a class is left out as a whole: take fewer folds"))?;
        let mut start: Option<Vec<f64>> = None;
        for (l2, loss) in penalties.iter().zip(&mut losses) {
            let probe = fitting.probe(*l2, start.as_deref())?;
            let mut objective = Objective::new(&design, &classes, fitting.seen.len(), 0.0);
            let mut unused = vec![0.0; objective.len()];
            *loss += objective.value(&probe.weights, &mut unused) * left_out.len() as f64;
            start = Some(probe.weights);
        }
    }
    losses.iter_mut().for_each(|loss| *loss /= subset.len() as f64);
    Ok(losses)
}

/// A subset, and what was chosen by it.
#[derive(Debug, Clone, PartialEq)]
struct Chosen {
    labels: usize,
    images: Vec<usize>,
    layer: usize,
    l2: f64,
    loss: f64,
}

/// Layers and penalties, chosen for each subset by its labels alone.
pub struct FewLabelsChoice<'a> {
    features: &'a dyn FeatureLayers,
    labels: &'a [u16],
    classes: usize,
    chosen: Vec<Chosen>,
}

impl std::fmt::Debug for FewLabelsChoice<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FewLabelsChoice").field("chosen", &self.chosen).finish_non_exhaustive()
    }
}

/// Draws subsets of the training images, and chooses layer and penalty for each. `layers` are those to choose from.
///
/// # Errors
/// If settings or labels make no sense, a class has too few images, or there is no such layer.
pub fn choose_by_few_labels<'a>(
    features: &'a dyn FeatureLayers,
    labels: &'a [u16],
    classes: usize,
    layers: &[usize],
    settings: &FewLabelsSettings,
) -> Result<FewLabelsChoice<'a>> {
    settings.validate()?;
    check_labels(features.images(), labels, classes)?;
    if layers.is_empty() {
        return Err(Error::invalid("there is no layer to choose from"));
    }
    let mut chosen = Vec::new();
    for count in &settings.labels {
        for number in 0..settings.subsets {
            let images = balanced_subset(labels, classes, *count, settings.seed, number as u64)?;
            chosen.push(Chosen { labels: *count, images, layer: 0, l2: 0.0, loss: f64::INFINITY });
        }
    }
    let penalties = strongest_first(&settings.l2);
    for layer in layers {
        let matrix = features.layer(*layer)?;
        chosen.par_iter_mut().try_for_each(|chosen| {
            let folds = settings.folds.min(chosen.labels);
            let losses = cross_validate(&matrix, labels, &chosen.images, folds, &penalties)?;
            for (l2, loss) in penalties.iter().zip(losses) {
                if loss < chosen.loss {
                    (chosen.layer, chosen.l2, chosen.loss) = (*layer, *l2, loss);
                }
            }
            Ok::<(), Error>(())
        })?;
    }
    Ok(FewLabelsChoice { features, labels, classes, chosen })
}

/// What was reached with a subset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Subset {
    /// The layer that its labels chose.
    pub layer: usize,
    /// The penalty λ that its labels chose.
    pub l2: f64,
    /// The mean −ln p(class) of left-out images that they were chosen by, in nats.
    pub loss: f64,
    /// Test accuracy.
    pub test: Accuracy,
}

/// What was reached with so many labels of each class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LabelCount {
    /// Labelled images of each class.
    pub labels: usize,
    /// Each subset.
    pub subsets: Vec<Subset>,
}

/// Test accuracy by the number of labels, as in Table 4 (whose numbers are error rates).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FewLabelsResult {
    /// How many classes there are.
    pub classes: usize,
    /// A row for each number of labels.
    pub rows: Vec<LabelCount>,
    /// What rounding did to the features; none of f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounding: Option<Rounding>,
}

impl FewLabelsChoice<'_> {
    /// The layer and the penalty λ of each subset: first those with the first number of labels.
    pub fn chosen(&self) -> Vec<(usize, f64)> {
        self.chosen.iter().map(|chosen| (chosen.layer, chosen.l2)).collect()
    }

    /// Fits a classifier to each subset as a whole, and counts what it gets right of the test images, which are used up.
    ///
    /// # Errors
    /// If the test images have other layers or features, or a label that is no class.
    pub fn test(self, test: TestSet<'_>) -> Result<FewLabelsResult> {
        test.check(self.features, self.classes)?;
        let rounding = Rounding::of([self.features, test.features]);
        let all: Vec<usize> = (0..test.features.images()).collect();
        let mut found: Vec<Option<Subset>> = vec![None; self.chosen.len()];
        let mut layers: Vec<usize> = self.chosen.iter().map(|chosen| chosen.layer).collect();
        layers.sort_unstable();
        layers.dedup();
        // Each layer is read once.
        for layer in layers {
            let (features, unseen) = (self.features.layer(layer)?, test.features.layer(layer)?);
            for (chosen, found) in
                self.chosen.iter().zip(&mut found).filter(|(chosen, _)| chosen.layer == layer)
            {
                let fitting = Fitting::new(&features, self.labels, &chosen.images, Curvature::Spectrum)?;
                let probe = fitting.probe(chosen.l2, None)?;
                let predicted = probe.classify(&Design::new(&unseen, &all, &fitting.scaling));
                let test = Accuracy::of(&predicted, &test.labels)?;
                *found = Some(Subset { layer, l2: chosen.l2, loss: chosen.loss, test });
            }
        }
        let mut rows: Vec<LabelCount> = Vec::new();
        for (chosen, subset) in self.chosen.iter().zip(found.into_iter().flatten()) {
            match rows.last_mut() {
                Some(row) if row.labels == chosen.labels => row.subsets.push(subset),
                _ => rows.push(LabelCount { labels: chosen.labels, subsets: vec![subset] }),
            }
        }
        Ok(FewLabelsResult { classes: self.classes, rows, rounding })
    }
}

impl LabelCount {
    /// Mean and standard deviation of the test accuracy over subsets, as shares; no deviation of a single one.
    pub fn mean(&self) -> (f64, Option<f64>) {
        let shares: Vec<f64> = self.subsets.iter().map(|subset| subset.test.share()).collect();
        let n = shares.len() as f64;
        let mean = shares.iter().sum::<f64>() / n;
        let squares: f64 = shares.iter().map(|share| (share - mean) * (share - mean)).sum();
        (mean, (shares.len() > 1).then(|| (squares / (n - 1.0)).sqrt()))
    }
}

impl FewLabelsResult {
    fn table(&self) -> Table {
        let rows = self.rows.iter().map(|row| {
            let (mean, deviation) = row.mean();
            let layers: Vec<String> = row.subsets.iter().map(|subset| subset.layer.to_string()).collect();
            [
                Cell::from(row.labels * self.classes),
                Cell::from(row.labels),
                fixed(100.0 * mean, 1),
                deviation.map(|deviation| fixed(100.0 * deviation, 1)).into(),
                Cell::text(layers.join(", ")),
            ]
        });
        Table::of(["Labels", "Of each class", "Test (%)", "± (points)", "Layers"], rows)
            .caption("Few labels")
            .note(Rounding::note(
                self.rounding,
                "Mean and standard deviation over subsets. Layer and L2 are chosen for each subset by cross-validation \
                 inside it.",
            ))
    }
}

impl Show for FewLabelsResult {
    fn to_html(&self) -> String {
        self.table().to_html()
    }
    fn to_text(&self) -> String {
        self.table().to_text()
    }
}

crate::show::displays!(FewLabelsResult);

#[cfg(test)]
mod tests;
