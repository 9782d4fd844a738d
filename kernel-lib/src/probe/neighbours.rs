//! A control of the linear probe that fits nothing: the k nearest neighbours of an image among the training images, by
//! Euclidean distance or by cosine.
//!
//! The search is exact: every image is compared with every other, in f64, by |y|² − 2 x·y or by −x·y / |y| (the part of each that
//! depends on the neighbour y; an image of zeros has cosine 0 with all). Of equally near images the first is nearer. The class
//! is that of most neighbours; of several the lowest, as in scikit-learn's `KNeighborsClassifier`. Features are taken as they are.
//!
//! Layer, metric and k are chosen on the validation images, and the test images are used once, as in [`super::choose`]: their
//! neighbours are then sought among training and validation images together.

use super::curve::{TestSet, split};
use super::kernels::{self, ROWS};
use super::objective::{Design, Scaling};
use super::{Accuracy, FeatureLayers, FeatureMatrix, Rounding, check_labels};
use crate::show::{Cell, Show, Table, Tone};
use crate::{Error, Result, memory, stop};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Images that are compared with all others at a time.
const QUERIES: usize = 20;

/// How near two images are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Metric {
    /// The length of the difference.
    Euclidean,
    /// The cosine of the angle between them.
    Cosine,
}

impl Metric {
    const ALL: [Self; 2] = [Self::Euclidean, Self::Cosine];
}

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Euclidean => "Euclidean",
            Self::Cosine => "cosine",
        })
    }
}

/// Images among which neighbours are sought.
struct Among {
    design: Design,
    /// The class of each.
    labels: Vec<u16>,
    /// x·x of each.
    squares: Vec<f64>,
}

/// A neighbour: how far it is (in no unit: only the order counts), and its class.
type Near = (f64, u16);

impl Among {
    fn new(features: &FeatureMatrix, labels: &[u16], images: &[usize]) -> Result<Self> {
        let width = features.width();
        let rows = images.len().next_multiple_of(ROWS);
        memory::check("the images among which neighbours are sought", &[rows, width, size_of::<f32>()])?;
        let as_it_is = Scaling { mean: vec![0.0; width], inverse: vec![1.0; width] };
        let rows = || images.iter().filter_map(|image| features.row(*image));
        let square = |row: &[f32]| row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        Ok(Self {
            design: Design::new(features, images, &as_it_is),
            labels: images.iter().filter_map(|image| labels.get(*image).copied()).collect(),
            squares: rows().map(square).collect(),
        })
    }

    /// The `most` nearest images of each of these, for both metrics, the nearest first.
    fn nearest(&self, queries: &[&[f32]], most: usize) -> Vec<[Vec<Near>; 2]> {
        let (width, count) = (self.design.width, queries.len());
        // As the weights of so many classes without intercepts: their logits are the inner products.
        let mut weights = vec![0.0; (width + 1) * count];
        for (query, row) in queries.iter().enumerate() {
            for (f, x) in row.iter().enumerate() {
                weights[f * count + query] = f64::from(*x);
            }
        }
        let mut found: Vec<[Vec<Near>; 2]> = vec![Default::default(); count];
        let mut products = vec![0.0; count * ROWS];
        for (number, (block, rows)) in self.design.packed().enumerate() {
            kernels::logits(block, &weights, &mut products);
            for (products, found) in products.chunks(ROWS).zip(&mut found) {
                for (row, product) in products.iter().take(rows).enumerate() {
                    let image = number * ROWS + row;
                    let (square, label) = (self.squares[image], self.labels[image]);
                    let cosine = if square > 0.0 { product / square.sqrt() } else { 0.0 };
                    for (found, distance) in found.iter_mut().zip([square - 2.0 * product, -cosine]) {
                        if found.len() == most
                            && found.last().is_none_or(|(farthest, _)| distance >= *farthest)
                        {
                            continue;
                        }
                        let at = found.partition_point(|(other, _)| *other <= distance);
                        found.insert(at, (distance, label));
                        found.truncate(most);
                    }
                }
            }
        }
        found
    }

    /// Which of these images are classified as their labels say: for each metric, each k (ascending) and each image.
    fn is_correct(
        &self,
        features: &FeatureMatrix,
        images: &[usize],
        labels: &[u16],
        ks: &[usize],
    ) -> Result<[Vec<Vec<bool>>; 2]> {
        let most = ks.last().copied().unwrap_or(1);
        let of_some = |images: &[usize]| -> Option<Vec<[Vec<bool>; 2]>> {
            if stop::requested() {
                return None;
            }
            let rows: Vec<&[f32]> = images.iter().filter_map(|image| features.row(*image)).collect();
            let near = self.nearest(&rows, most);
            let judged = near.iter().zip(images).map(|(near, image)| {
                let label = labels.get(*image);
                [0, 1].map(|metric| {
                    votes(&near[metric], ks).into_iter().map(|class| Some(&class) == label).collect()
                })
            });
            Some(judged.collect())
        };
        let judged: Option<Vec<_>> = images.par_chunks(QUERIES).map(of_some).collect();
        let judged = judged.ok_or_else(|| stop::interrupted("the search for neighbours"))?.concat();
        let of = |metric: usize, k: usize| judged.iter().map(|image| image[metric][k]).collect();
        Ok([0, 1].map(|metric| (0..ks.len()).map(|k| of(metric, k)).collect()))
    }
}

/// The class of most of the first k neighbours, for each k (ascending).
fn votes(near: &[Near], ks: &[usize]) -> Vec<u16> {
    // Classes and their votes, by class.
    let mut counts: Vec<(u16, usize)> = Vec::new();
    let mut counted = 0;
    let winner = |k: &usize| {
        for (_, label) in &near[counted..near.len().min(*k)] {
            match counts.binary_search_by_key(label, |(class, _)| *class) {
                Ok(at) => counts[at].1 += 1,
                Err(at) => counts.insert(at, (*label, 1)),
            }
        }
        counted = near.len().min(*k);
        let first = counts.first().copied().unwrap_or_default();
        counts.iter().fold(first, |best, next| if next.1 > best.1 { *next } else { best }).0
    };
    ks.iter().map(winner).collect()
}

/// What was reached at a layer by a metric, with the k that was chosen for both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ByMetric {
    /// How images are compared.
    pub metric: Metric,
    /// The layer.
    pub layer: usize,
    /// How many neighbours vote.
    pub k: usize,
    /// Validation accuracy.
    pub validation: Accuracy,
    /// Test accuracy; only of what was chosen.
    pub test: Option<Accuracy>,
}

/// Layer, metric and k, chosen on validation images.
pub struct NeighbourChoice<'a> {
    features: &'a dyn FeatureLayers,
    labels: &'a [u16],
    classes: usize,
    /// The best k of each layer and metric.
    tried: Vec<ByMetric>,
}

impl std::fmt::Debug for NeighbourChoice<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NeighbourChoice").field("tried", &self.tried).finish_non_exhaustive()
    }
}

/// Chooses a k (of those in `ks`) for every layer and metric, and then layer and metric, on the images with the indices
/// `validation`, whose neighbours are sought among all others. Of equals the smallest k, the Euclidean distance, and the first
/// layer.
///
/// # Errors
/// If labels or classes make no sense, a k is 0 or more than there are images, or the validation images are none, all, twice
/// named or not there.
pub fn choose_neighbours<'a>(
    features: &'a dyn FeatureLayers,
    labels: &'a [u16],
    classes: usize,
    validation: &[usize],
    ks: &[usize],
) -> Result<NeighbourChoice<'a>> {
    check_labels(features.images(), labels, classes)?;
    let (training, validation) = split(features.images(), validation)?;
    let mut ks = ks.to_vec();
    ks.sort_unstable();
    ks.dedup();
    match (ks.first(), ks.last()) {
        (Some(1..), Some(most)) if *most <= training.len() => {}
        _ => {
            return Err(Error::invalid(format!(
                "the numbers of neighbours {ks:?} make no sense: one or more, from 1 to the {} images among which they are sought",
                training.len()
            )));
        }
    }
    let mut tried = Vec::new();
    for layer in 0..features.layers() {
        let matrix = features.layer(layer)?;
        let among = Among::new(&matrix, labels, &training)?;
        let by_metric = among.is_correct(&matrix, &validation, labels, &ks)?;
        for (metric, by_k) in Metric::ALL.into_iter().zip(by_metric) {
            let mut best: Option<ByMetric> = None;
            for (k, is_correct) in ks.iter().zip(by_k) {
                let validation = accuracy(&is_correct)?;
                if best.as_ref().is_none_or(|best| validation.correct > best.validation.correct) {
                    best = Some(ByMetric { metric, layer, k: *k, validation, test: None });
                }
            }
            tried.extend(best);
        }
    }
    Ok(NeighbourChoice { features, labels, classes, tried })
}

fn accuracy(is_correct: &[bool]) -> Result<Accuracy> {
    Accuracy::new(is_correct.iter().filter(|correct| **correct).count(), is_correct.len())
}

impl NeighbourChoice<'_> {
    /// What was chosen: the layer and k of each metric, and which metric.
    pub fn chosen(&self) -> (Vec<(usize, usize)>, Metric) {
        let best = self.best();
        let metric = best.iter().fold(None::<&ByMetric>, |best, next| match best {
            Some(best) if best.validation.correct >= next.validation.correct => Some(best),
            _ => Some(next),
        });
        let metric = metric.map_or(Metric::Euclidean, |best| best.metric);
        (best.iter().map(|best| (best.layer, best.k)).collect(), metric)
    }

    /// The best layer of each metric.
    fn best(&self) -> Vec<ByMetric> {
        let best = |metric| {
            let of_metric = self.tried.iter().filter(move |tried| tried.metric == metric);
            of_metric.reduce(
                |best, next| if next.validation.correct > best.validation.correct { next } else { best },
            )
        };
        Metric::ALL.into_iter().filter_map(best).cloned().collect()
    }

    /// Counts what is right of the test images, which are used up: by the layer and k that were chosen for each metric.
    ///
    /// # Errors
    /// If the test images have other layers or features, or a label that is no class.
    pub fn test(self, test: TestSet<'_>) -> Result<Neighbours> {
        test.check(self.features, self.classes)?;
        let rounding = Rounding::of([self.features, test.features]);
        let chosen = self.chosen().1;
        let all = |features: &dyn FeatureLayers| (0..features.images()).collect::<Vec<usize>>();
        let (training, unseen) = (all(self.features), all(test.features));
        let mut results = self.best();
        for result in &mut results {
            let among = Among::new(&*self.features.layer(result.layer)?, self.labels, &training)?;
            let layer = test.features.layer(result.layer)?;
            let [euclidean, cosine] = among.is_correct(&layer, &unseen, &test.labels, &[result.k])?;
            let by_k = if result.metric == Metric::Euclidean { euclidean } else { cosine };
            result.test = by_k.first().map(|is_correct| accuracy(is_correct)).transpose()?;
        }
        Ok(Neighbours { layers: self.tried, results, chosen, rounding })
    }
}

/// What k nearest neighbours reach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Neighbours {
    /// The best k of each layer and metric, by validation accuracy.
    pub layers: Vec<ByMetric>,
    /// For each metric the layer that is best on the validation images, tested.
    pub results: Vec<ByMetric>,
    /// The metric that is best on the validation images.
    pub chosen: Metric,
    /// What rounding did to the features; none of f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounding: Option<Rounding>,
}

impl Neighbours {
    /// The result: test accuracy of the layer, metric and k that were chosen on validation images.
    ///
    /// # Errors
    /// If it (of a file, say) has none.
    pub fn result(&self) -> Result<Accuracy> {
        let of_metric = self.results.iter().find(|result| result.metric == self.chosen);
        of_metric.and_then(|result| result.test).ok_or_else(|| Error::invalid("neighbours without a test"))
    }

    fn table(&self) -> Table {
        let rows = self.results.iter().map(|result| {
            let test = Cell::from(result.test);
            [
                Cell::text(result.metric.to_string()),
                Cell::from(result.layer),
                Cell::from(result.k),
                result.validation.cell(),
                if result.metric == self.chosen { test.tone(Tone::Good) } else { test },
            ]
        });
        Table::of(["Metric", "Layer", "k", "Validation", "Test"], rows)
            .caption("Nearest neighbours")
            .note(Rounding::note(
                self.rounding,
                "Layer and k are chosen on the validation images, and so is the metric whose test accuracy is coloured.",
            ))
    }
}

impl Show for Neighbours {
    fn to_html(&self) -> String {
        self.table().to_html()
    }
    fn to_text(&self) -> String {
        self.table().to_text()
    }
}

crate::show::displays!(Neighbours);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::{digits, images, on_threads, peer};

    #[derive(serde::Deserialize)]
    struct Expected {
        training: usize,
        cases: Vec<Case>,
    }

    #[derive(serde::Deserialize)]
    struct Case {
        metric: Metric,
        k: usize,
        predicted: String,
    }

    /// `tests/fixtures/neighbours/make.py` made it.
    #[test]
    fn classes_are_those_of_scikit_learn() {
        let (features, labels, _) = peer();
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/fixtures/neighbours/neighbours.json");
        let expected: Expected = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let all: Vec<usize> = (0..labels.len()).collect();
        let (training, unseen) = all.split_at(expected.training);
        let among = Among::new(&features, &labels, training).unwrap();
        let rows: Vec<&[f32]> = unseen.iter().map(|at| features.row(*at).unwrap()).collect();
        let near = among.nearest(&rows, 50);
        for Case { metric, k, predicted } in expected.cases {
            let metric = usize::from(metric == Metric::Cosine);
            let ours: Vec<u16> = near.iter().map(|near| votes(&near[metric], &[k])[0]).collect();
            assert_eq!(ours, digits(&predicted), "{metric} {k}");
        }
    }

    #[test]
    fn ties_are_those_of_the_definition() {
        // Two equally near neighbours of the origin, then one farther away; all in the same direction.
        let features = FeatureMatrix::new(vec![1.0, -1.0, 2.0, 0.0], 1).unwrap();
        let among = Among::new(&features, &[1, 0, 1, 1], &[0, 1, 2]).unwrap();
        let near = among.nearest(&[&[0.0]], 3);
        assert_eq!(near[0][0].iter().map(|(_, label)| *label).collect::<Vec<_>>(), [1, 0, 1]);
        // One vote: the first. Two classes with one vote each: the lower. Then most.
        assert_eq!(votes(&near[0][0], &[1, 2, 3, 9]), [1, 0, 1, 1]);
        // By cosine 1 and 2 are equally near to 3, and −1 is the farthest.
        let near = among.nearest(&[&[3.0]], 2);
        assert_eq!(near[0][1].iter().map(|(_, label)| *label).collect::<Vec<_>>(), [1, 1]);
        // Nothing has a direction: all are equally near.
        let near = among.nearest(&[&[0.0]], 2);
        assert_eq!(near[0][1], [(-0.0, 1), (-0.0, 0)]);
    }

    const KS: [usize; 3] = [20, 1, 5];

    fn found(test: &Vec<FeatureMatrix>, test_labels: &[u16]) -> Neighbours {
        let (features, labels) = images(7, 600, 3, 5, 4);
        let validation: Vec<usize> = (0..600).step_by(4).collect();
        let choice = choose_neighbours(&features, &labels, 4, &validation, &KS).unwrap();
        choice.test(TestSet::new(test, test_labels.to_vec()).unwrap()).unwrap()
    }

    #[test]
    fn nothing_of_the_test_split_moves_a_choice() {
        let (test, labels) = images(8, 400, 3, 5, 4);
        let as_is = found(&test, &labels);
        assert_eq!((as_is.layers.len(), as_is.results.len()), (6, 2));
        assert!(as_is.results.iter().all(|result| result.layer == 1));
        let mut marked = test.clone();
        let values = test[1].values().iter().enumerate();
        let values = values.map(|(at, x)| if at % 5 == 0 { 1000.0 * f32::from(labels[at / 5]) } else { *x });
        marked[1] = FeatureMatrix::new(values.collect(), 5).unwrap();
        let with_marker = found(&marked, &labels);
        let choices = |found: &Neighbours| -> Vec<_> {
            found.results.iter().map(|result| (result.layer, result.k, result.validation)).collect()
        };
        assert_eq!((choices(&with_marker), with_marker.chosen), (choices(&as_is), as_is.chosen));
        assert_eq!(with_marker.layers, as_is.layers);
        assert_ne!(with_marker.results, as_is.results);
        let other = on_threads(3, || found(&test, &labels));
        assert_eq!(other, as_is);
    }

    #[test]
    fn neighbours_that_there_are_not_are_errors() {
        let (features, labels) = images(7, 40, 1, 3, 4);
        for ks in [&[][..], &[0, 1], &[31]] {
            let validation: Vec<usize> = (0..10).collect();
            assert!(choose_neighbours(&features, &labels, 4, &validation, ks).is_err(), "{ks:?}");
        }
    }
}
