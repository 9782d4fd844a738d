//! What a probe minimises: the mean log-loss of a softmax regression and a penalty on its weights, with gradient.

use super::FeatureMatrix;
use super::kernels::{self, ROWS, dot};
use crate::{Result, memory, stop};
use rayon::prelude::*;

/// Most parts that a sum over images is cut into, whatever the number of threads: the parts' sums are added in order,
/// so that no sum depends on who computed what.
const PARTS: usize = 32;
/// Rows from which the preconditioner is made, for each feature; it need not be exact.
const GRAM_ROWS: usize = 4;

/// Each feature's mean and scale in the images that a probe is fitted to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scaling {
    pub(super) mean: Vec<f64>,
    /// One over the standard deviation; 0 for a feature that never changes, which then says nothing.
    pub(super) inverse: Vec<f64>,
}

impl Scaling {
    /// Of these rows (N, F), N > 0. The standard deviation is that of the images themselves (divided by N), as
    /// scikit-learn's `StandardScaler` has it, and so is the bound below which a feature counts as constant.
    pub(super) fn of(features: &FeatureMatrix, images: &[usize]) -> Self {
        let (n, width) = (images.len() as f64, features.width());
        let mut mean = vec![0.0; width];
        for row in images.iter().filter_map(|image| features.row(*image)) {
            mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        mean.iter_mut().for_each(|mean| *mean /= n);
        let mut squares = vec![0.0; width];
        for row in images.iter().filter_map(|image| features.row(*image)) {
            for ((sum, x), mean) in squares.iter_mut().zip(row).zip(&mean) {
                let x = f64::from(*x) - mean;
                *sum += x * x;
            }
        }
        let inverse = squares.iter().zip(&mean).map(|(sum, mean)| {
            let variance = sum / n;
            let rounding = n * f64::EPSILON * mean;
            let constant = variance <= n * f64::EPSILON * variance + rounding * rounding;
            if constant { 0.0 } else { 1.0 / variance.sqrt() }
        });
        Self { inverse: inverse.collect(), mean }
    }
}

/// Standardised features, packed for [`kernels`]: blocks of [`ROWS`] images, each (F, ROWS); what the last block has too
/// many is zero.
pub(super) struct Design {
    pub(super) images: usize,
    pub(super) width: usize,
    blocks: Vec<f32>,
}

impl Design {
    pub(super) fn new(features: &FeatureMatrix, images: &[usize], scaling: &Scaling) -> Self {
        let width = features.width();
        let mut blocks = vec![0.0; images.len().div_ceil(ROWS) * ROWS * width];
        blocks.par_chunks_mut(ROWS * width).zip(images.par_chunks(ROWS)).for_each(|(block, images)| {
            for (at, row) in images.iter().filter_map(|image| features.row(*image)).enumerate() {
                for ((f, x), (mean, inverse)) in
                    row.iter().enumerate().zip(scaling.mean.iter().zip(&scaling.inverse))
                {
                    block[f * ROWS + at] = ((f64::from(*x) - mean) * inverse) as f32;
                }
            }
        });
        Self { images: images.len(), width, blocks }
    }

    /// The images' inner products with some vectors (R, F) as their features, (N, R).
    ///
    /// # Errors
    /// If there is no memory for them; [`Error::Interrupted`](crate::Error) if someone asks to stop.
    pub(super) fn along(&self, vectors: &[f64]) -> Result<Self> {
        let width = vectors.len() / self.width;
        memory::check("features along eigenvectors", &[self.blocks.len() / self.width, width, 4])?;
        // As weights (F + 1, R) of R classes without intercepts.
        let mut weights = vec![0.0; (self.width + 1) * width];
        for (r, vector) in vectors.chunks_exact(self.width).enumerate() {
            weights.iter_mut().skip(r).step_by(width).zip(vector).for_each(|(w, x)| *w = *x);
        }
        let of_block = |x: &[f32]| {
            stop::check("the probe")?;
            let mut along = vec![0.0; width * ROWS];
            kernels::logits(x, &weights, &mut along);
            Ok(along.into_iter().map(|x| x as f32).collect::<Vec<f32>>())
        };
        let blocks = self.blocks.par_chunks(ROWS * self.width).map(of_block).collect::<Result<Vec<_>>>()?;
        Ok(Self { images: self.images, width, blocks: blocks.concat() })
    }

    /// The blocks, each with how many of its rows are images.
    fn blocks(&self) -> impl IndexedParallelIterator<Item = (&[f32], usize)> {
        let images = self.images;
        let blocks = self.blocks.par_chunks(ROWS * self.width).enumerate();
        blocks.map(move |(at, block)| (block, (images - at * ROWS).min(ROWS)))
    }

    /// The most likely class of each image, by weights (F + 1, K); the first of several that are equally likely.
    pub(super) fn classify(&self, weights: &[f64], classes: usize) -> Vec<usize> {
        let of_block = |(x, rows): (&[f32], usize)| {
            let mut logits = vec![0.0; classes * ROWS];
            kernels::logits(x, weights, &mut logits);
            let best = |row: usize| {
                (1..classes).fold(0, |best, k| {
                    if logits[k * ROWS + row] > logits[best * ROWS + row] { k } else { best }
                })
            };
            (0..rows).map(best).collect::<Vec<_>>()
        };
        self.blocks().map(of_block).collect::<Vec<_>>().concat()
    }

    /// The blocks in order, each (F, ROWS), with how many of its rows are images.
    pub(super) fn packed(&self) -> impl Iterator<Item = (&[f32], usize)> {
        let blocks = self.blocks.chunks(ROWS * self.width).enumerate();
        blocks.map(|(at, block)| (block, (self.images - at * ROWS).min(ROWS)))
    }

    /// The standardised features of one of the images, (F).
    pub(super) fn row(&self, image: usize) -> Vec<f32> {
        let block = &self.blocks[image / ROWS * ROWS * self.width..];
        block.iter().skip(image % ROWS).step_by(ROWS).take(self.width).copied().collect()
    }

    /// xᵀx / N of the first images, (F, F), symmetric: how features vary together.
    ///
    /// # Errors
    /// [`Error::Interrupted`](crate::Error) if someone asks to stop.
    pub(super) fn gram(&self) -> Result<Vec<f64>> {
        let (width, most) = (self.width, (GRAM_ROWS * self.width).max(16 * ROWS));
        let blocks = self.images.min(most).div_ceil(ROWS);
        let rows = self.images.min(blocks * ROWS);
        // A few columns at a time: x is (F, ROWS), and so is y, which is x's columns in f64.
        let columns = 20;
        let strips: Option<Vec<Vec<f64>>> = (0..width.div_ceil(columns))
            .into_par_iter()
            .map(|strip| {
                let own = strip * columns * ROWS..((strip + 1) * columns).min(width) * ROWS;
                let mut sums = vec![0.0; width * (own.len() / ROWS)];
                let mut y = vec![0.0; own.len()];
                for x in self.blocks.chunks(ROWS * width).take(blocks) {
                    if stop::requested() {
                        return None;
                    }
                    y.iter_mut().zip(&x[own.clone()]).for_each(|(y, x)| *y = f64::from(*x));
                    kernels::add_products(x, &y, &mut sums);
                }
                Some(sums)
            })
            .collect();
        let strips = strips.ok_or_else(|| stop::interrupted("the probe"))?;
        let mut gram = vec![0.0; width * width];
        for (strip, sums) in strips.iter().enumerate() {
            let own = sums.len() / width;
            for (row, sums) in gram.chunks_exact_mut(width).zip(sums.chunks_exact(own)) {
                let to = &mut row[strip * columns..][..own];
                to.iter_mut().zip(sums).for_each(|(to, sum)| *to = sum / rows as f64);
            }
        }
        Ok(gram)
    }
}

/// The objective: the mean over images of −ln p(class), plus λ/2 times the sum of the squared weights, but not of the
/// intercepts. Parameters are (F + 1, K): a row of weights for each feature, and last the intercepts.
pub(super) struct Objective<'a> {
    design: &'a Design,
    /// The class of each image, 0..K.
    labels: &'a [usize],
    classes: usize,
    l2: f64,
    /// Kept from call to call: a fit makes hundreds.
    parts: Vec<Part>,
}

/// What one part of the images adds.
struct Part {
    loss: f64,
    gradient: Vec<f64>,
    /// Of one block, (K, ROWS).
    logits: Vec<f64>,
    /// Probabilities of one block, (K, ROWS); zero where there is no image.
    p: Vec<f64>,
}

/// One block, as [`Objective::sum`] shows it.
struct Seen<'a> {
    x: &'a [f32],
    labels: &'a [usize],
    /// Of each row the logarithm of the sum of exponentials.
    log_sums: [f64; ROWS],
}

impl<'a> Objective<'a> {
    pub(super) fn new(design: &'a Design, labels: &'a [usize], classes: usize, l2: f64) -> Self {
        let each = Self::blocks_of_part(design);
        let part = || Part {
            loss: 0.0,
            gradient: vec![0.0; (design.width + 1) * classes],
            logits: vec![0.0; classes * ROWS],
            p: vec![0.0; classes * ROWS],
        };
        let parts = (0..labels.len().div_ceil(each * ROWS)).map(|_| part()).collect();
        Self { design, labels, classes, l2, parts }
    }

    fn blocks_of_part(design: &Design) -> usize {
        design.images.div_ceil(ROWS).div_ceil(PARTS).max(1)
    }

    /// How many parameters there are.
    pub(super) fn len(&self) -> usize {
        (self.design.width + 1) * self.classes
    }

    /// The value at `weights`; its gradient is written to `gradient`. Both are sums in f64, added in a fixed order.
    pub(super) fn value(&mut self, weights: &[f64], gradient: &mut [f64]) -> f64 {
        let penalised = self.design.width * self.classes;
        self.sum(weights, |block, part| {
            // The gradient by a logit is p − 1 for the image's class, and p for others.
            for (row, label) in block.labels.iter().enumerate() {
                let at = label * ROWS + row;
                part.loss += block.log_sums[row] - part.logits[at];
                part.p[at] -= 1.0;
            }
            let (by_weights, by_intercepts) = part.gradient.split_at_mut(penalised);
            for (sum, p) in by_intercepts.iter_mut().zip(part.p.chunks_exact(ROWS)) {
                *sum += p.iter().sum::<f64>();
            }
            kernels::add_products(block.x, &part.p, by_weights);
        });
        let n = self.design.images as f64;
        let mut loss = 0.0;
        gradient.fill(0.0);
        for part in &self.parts {
            loss += part.loss;
            gradient.iter_mut().zip(&part.gradient).for_each(|(sum, g)| *sum += g);
        }
        let weights = &weights[..penalised];
        gradient.iter_mut().for_each(|g| *g /= n);
        gradient.iter_mut().zip(weights).for_each(|(g, w)| *g += self.l2 * w);
        loss / n + 0.5 * self.l2 * dot(weights, weights)
    }

    /// The mean over images and classes of p (1 − p): how strongly the loss curves.
    pub(super) fn curvature(&mut self, weights: &[f64]) -> f64 {
        self.sum(weights, |_, part| part.loss += part.p.iter().map(|p| p * (1.0 - p)).sum::<f64>());
        let sum: f64 = self.parts.iter().map(|part| part.loss).sum();
        sum / (self.design.images * self.classes) as f64
    }

    /// Lets `add` add every block to the part that it belongs to, whose logits and probabilities are the block's.
    fn sum(&mut self, weights: &[f64], add: impl Fn(&Seen<'_>, &mut Part) + Sync) {
        let each = Self::blocks_of_part(self.design) * ROWS;
        let blocks = self.design.blocks.par_chunks(each * self.design.width);
        self.parts.par_iter_mut().zip(blocks).zip(self.labels.par_chunks(each)).for_each(
            |((part, blocks), labels)| {
                part.loss = 0.0;
                part.gradient.fill(0.0);
                for (x, labels) in blocks.chunks(ROWS * self.design.width).zip(labels.chunks(ROWS)) {
                    kernels::logits(x, weights, &mut part.logits);
                    part.p.copy_from_slice(&part.logits);
                    let log_sums = kernels::softmax(&mut part.p);
                    for p in part.p.chunks_exact_mut(ROWS) {
                        p[labels.len()..].fill(0.0);
                    }
                    add(&Seen { x, labels, log_sums }, part);
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn problem(images: usize, width: usize, classes: usize) -> (FeatureMatrix, Vec<usize>) {
        let mut rng = Rng::keyed(3, "test", [0, 0]);
        let values = (0..images * width).map(|_| (rng.normal() * 2.0 + 1.0) as f32).collect();
        let labels = (0..images).map(|_| rng.below(classes)).collect();
        (FeatureMatrix::new(values, width).unwrap(), labels)
    }

    fn design(features: &FeatureMatrix) -> Design {
        let all: Vec<usize> = (0..features.images()).collect();
        Design::new(features, &all, &Scaling::of(features, &all))
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let (features, labels) = problem(300, 7, 6);
        let design = design(&features);
        let mut objective = Objective::new(&design, &labels, 6, 0.3);
        let mut rng = Rng::keyed(4, "test", [0, 0]);
        let weights: Vec<f64> = (0..objective.len()).map(|_| 0.5 * rng.normal()).collect();
        let (mut gradient, mut unused) = (vec![0.0; weights.len()], vec![0.0; weights.len()]);
        objective.value(&weights, &mut gradient);
        for at in 0..weights.len() {
            let mut value = |by: f64| {
                let mut moved = weights.clone();
                moved[at] += by;
                objective.value(&moved, &mut unused)
            };
            let slope = (value(1e-5) - value(-1e-5)) / 2e-5;
            assert!((slope - gradient[at]).abs() < 1e-9, "{at}: {slope} {}", gradient[at]);
        }
    }

    #[test]
    fn the_value_is_that_of_its_definition() {
        let (features, labels) = problem(517, 3, 4);
        let design = design(&features);
        let mut objective = Objective::new(&design, &labels, 4, 0.1);
        let weights: Vec<f64> = (0..16).map(|i| f64::from(i) * 0.1 - 0.7).collect();
        let all: Vec<usize> = (0..517).collect();
        let scaling = Scaling::of(&features, &all);
        let mut loss = 0.0;
        let mut curvature = 0.0;
        for (image, label) in labels.iter().enumerate() {
            let x: Vec<f64> = (0..3)
                .map(|f| {
                    f64::from(
                        ((f64::from(features.values()[image * 3 + f]) - scaling.mean[f]) * scaling.inverse[f])
                            as f32,
                    )
                })
                .collect();
            let logit = |k: usize| (0..3).map(|f| x[f] * weights[f * 4 + k]).sum::<f64>() + weights[12 + k];
            let sum: f64 = (0..4).map(|k| logit(k).exp()).sum();
            loss += sum.ln() - logit(*label);
            curvature += (0..4).map(|k| logit(k).exp() / sum).map(|p| p * (1.0 - p)).sum::<f64>();
        }
        let expected = loss / 517.0 + 0.05 * weights[..12].iter().map(|w| w * w).sum::<f64>();
        let value = objective.value(&weights, &mut [0.0; 16]);
        assert!((value - expected).abs() < 1e-12, "{value} {expected}");
        assert!((objective.curvature(&weights) - curvature / (517.0 * 4.0)).abs() < 1e-12);
    }

    #[test]
    fn features_are_standardised() {
        let (features, _) = problem(1000, 25, 2);
        let design = design(&features);
        let gram = design.gram().unwrap();
        for i in 0..25 {
            assert!((gram[i * 25 + i] - 1.0).abs() < 1e-6);
            for j in 0..25 {
                assert!((gram[i * 25 + j] - gram[j * 25 + i]).abs() < 1e-12);
            }
        }
        assert!(gram.iter().sum::<f64>() > 0.0);
    }

    #[test]
    fn a_feature_that_never_changes_says_nothing() {
        let values = (0..100).flat_map(|i| [i as f32, 0.1, 1e30]).collect();
        let features = FeatureMatrix::new(values, 3).unwrap();
        let all: Vec<usize> = (0..100).collect();
        let scaling = Scaling::of(&features, &all);
        assert!(scaling.inverse[0] > 0.0);
        assert_eq!(scaling.inverse[1..], [0.0, 0.0]);
    }
}
