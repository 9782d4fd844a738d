//! The change of variables of [`super::precondition`] for fits of few parameters: by the objective's Hessian itself, where the fit starts.
//!
//! With probabilities p of an image, the loss curves by the weights of classes k and l as
//!
//! > the mean over images of p_k (δ_kl − p_l) x xᵀ,
//!
//! where x has a one at its end, for the intercept; the penalty adds λ to the diagonal of the weights. With that matrix as L Lᵀ, K (F + 1)
//! wide, and weights w = L⁻ᵀ u, the curvature by u is one in every direction where the fit starts. The other changes of variables know
//! one curvature for all classes. That does while a strong penalty keeps all probabilities away from 0 and 1; with a weak one some classes are told
//! apart almost surely, others are not, and L-BFGS took hundreds of steps. With the Hessian it takes about ten, and is what a
//! textbook calls a Newton method whose Hessian is corrected from step to step.

use super::cholesky::Cholesky;
use super::kernels::{self, ROWS};
use super::objective::Design;
use super::precondition::{Precondition, transposed};
use crate::{Result, stop};
use rayon::prelude::*;

/// Most parameters, K (F + 1), for which the Hessian is factored: 33 MB, and a second.
const MOST_PARAMETERS: usize = 2048;
/// Images from which it is made, for each parameter: it need not be exact.
const IMAGES_PER_PARAMETER: usize = 8;

/// Columns of the Hessian that are computed together.
const COLUMNS: usize = 10;

/// Whether a fit of these images to so many classes is one of few parameters: so few that the factor takes no longer than the steps that it
/// saves. Of fewer images than parameters each step is quick.
pub(super) fn is_small(design: &Design, classes: usize) -> bool {
    let parameters = design.width.saturating_add(1).saturating_mul(classes);
    parameters <= MOST_PARAMETERS.min(design.images)
}

/// L, at some weights.
pub(super) struct Hessian {
    width: usize,
    cholesky: Cholesky,
}

impl Hessian {
    /// At weights (F + 1, K), for penalty λ.
    ///
    /// # Errors
    /// [`Error::Interrupted`](crate::Error) if someone asks to stop.
    pub(super) fn at(design: &Design, weights: &[f64], classes: usize, l2: f64) -> Result<Self> {
        let each = design.width + 1;
        let width = each * classes;
        let blocks = Block::of(design, weights, classes, IMAGES_PER_PARAMETER * width)?;
        let images: usize = blocks.iter().map(|block| block.images).sum();
        let pairs: Vec<(usize, usize)> = (0..classes).flat_map(|k| (0..=k).map(move |l| (k, l))).collect();
        let products: Option<Vec<Vec<f64>>> =
            pairs.par_iter().map(|(k, l)| products(&blocks, design.width, *k, *l)).collect();
        let products = products.ok_or_else(|| stop::interrupted("the probe"))?;

        // (K (F + 1), K (F + 1)): class by class, of each its weights and then its intercept. The lower triangle is filled.
        let mut matrix = vec![0.0; width * width];
        for ((k, l), products) in pairs.into_iter().zip(products) {
            for i in 0..each {
                let row = &mut matrix[(k * each + i) * width + l * each..][..each];
                row.iter_mut().zip(&products[i * each..]).for_each(|(to, sum)| *to = sum / images as f64);
            }
        }
        let diagonal = |at: usize| at * width + at;
        // Never exactly singular: not for a penalty of zero or classes that are told apart with certainty, and not where all
        // intercepts move together, which changes no probability.
        let mean = (0..width).map(|at| matrix[diagonal(at)]).sum::<f64>() / width as f64;
        let floor = 1e-9 * mean.max(1e-6);
        for at in 0..width {
            let penalty = if at % each < design.width { l2 } else { 0.0 };
            matrix[diagonal(at)] += penalty.max(floor);
        }
        Ok(Self { width: each, cholesky: Cholesky::of(matrix, width, floor)? })
    }

    fn by_class(&self, weights: &[f64]) -> Vec<f64> {
        transposed(weights, weights.len() / self.width)
    }
}

/// A block of images with their probabilities.
struct Block<'a> {
    images: usize,
    /// (F, ROWS).
    x: &'a [f32],
    /// (K, ROWS); zero where there is no image.
    p: Vec<f64>,
}

impl<'a> Block<'a> {
    /// Blocks of about so many images, evenly from all: they may be in the order of their classes.
    fn of(design: &'a Design, weights: &[f64], classes: usize, images: usize) -> Result<Vec<Self>> {
        let all: Vec<(&[f32], usize)> = design.packed().collect();
        let count = images.div_ceil(ROWS).clamp(1, all.len());
        let of_block = |at: usize| {
            stop::check("the probe")?;
            let (x, images) = all[at * all.len() / count];
            let mut p = vec![0.0; classes * ROWS];
            kernels::logits(x, weights, &mut p);
            kernels::softmax(&mut p);
            p.chunks_exact_mut(ROWS).for_each(|p| p[images..].fill(0.0));
            Ok(Self { images, x, p })
        };
        (0..count).into_par_iter().map(of_block).collect()
    }
}

/// The sum over images of p_k (δ_kl − p_l) x xᵀ, (F + 1, F + 1). `None` if someone asks to stop.
fn products(blocks: &[Block<'_>], width: usize, k: usize, l: usize) -> Option<Vec<f64>> {
    // By all features, (F, F), a few columns of it at once, whose factors stay in the nearest cache: (F, COLUMNS) each. By the
    // intercept, (F). And of the intercept alone.
    let mut groups: Vec<Vec<f64>> =
        (0..width).step_by(COLUMNS).map(|from| vec![0.0; width * COLUMNS.min(width - from)]).collect();
    let (mut by_intercept, mut of_intercept) = (vec![0.0; width], 0.0);
    let mut y = vec![0.0; COLUMNS * ROWS];
    let mut share = [0.0; ROWS];
    for block in blocks {
        if stop::requested() {
            return None;
        }
        let of_class = |class: usize| &block.p[class * ROWS..][..ROWS];
        for (share, (p, q)) in share.iter_mut().zip(of_class(k).iter().zip(of_class(l))) {
            *share = if k == l { p * (1.0 - p) } else { -p * q };
        }
        for (group, x) in groups.iter_mut().zip(block.x.chunks(COLUMNS * ROWS)) {
            let y = &mut y[..x.len()];
            for (y, x) in y.chunks_exact_mut(ROWS).zip(x.chunks_exact(ROWS)) {
                y.iter_mut().zip(x.iter().zip(&share)).for_each(|(y, (x, share))| *y = f64::from(*x) * share);
            }
            kernels::add_products(block.x, y, group);
        }
        kernels::add_products(block.x, &share, &mut by_intercept);
        of_intercept += share.iter().sum::<f64>();
    }
    let mut sums = Vec::with_capacity((width + 1) * (width + 1));
    for f in 0..width {
        for group in &groups {
            let columns = group.len() / width;
            sums.extend_from_slice(&group[f * columns..][..columns]);
        }
        sums.push(by_intercept[f]);
    }
    sums.extend(by_intercept);
    sums.push(of_intercept);
    Some(sums)
}

impl Precondition for Hessian {
    /// w = L⁻ᵀ u.
    fn weights(&self, u: &[f64]) -> Vec<f64> {
        let mut values = u.to_vec();
        self.cholesky.solve_transposed(&mut values);
        transposed(&values, self.width)
    }

    /// u = Lᵀ w.
    fn preconditioned(&self, weights: &[f64]) -> Vec<f64> {
        let mut values = self.by_class(weights);
        self.cholesky.multiply_transposed(&mut values);
        values
    }

    /// L⁻¹ g.
    fn gradient(&self, by_weights: &[f64]) -> Vec<f64> {
        let mut values = self.by_class(by_weights);
        self.cholesky.solve(&mut values);
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::FeatureMatrix;
    use crate::probe::kernels::dot;
    use crate::probe::objective::{Objective, Scaling};
    use crate::probe::tests::on_threads;
    use crate::rng::Rng;

    fn problem(images: usize, width: usize, classes: usize) -> (Design, Vec<usize>, Vec<f64>) {
        let mut rng = Rng::keyed(3, "test", [0, 0]);
        let values = (0..images * width).map(|_| (rng.normal() * 2.0 + 1.0) as f32).collect();
        let features = FeatureMatrix::new(values, width).unwrap();
        let all: Vec<usize> = (0..images).collect();
        let design = Design::new(&features, &all, &Scaling::of(&features, &all));
        let labels = (0..images).map(|_| rng.below(classes)).collect();
        let weights = (0..(width + 1) * classes).map(|_| rng.normal() / 2.0).collect();
        (design, labels, weights)
    }

    /// By finite differences of the gradient, which finite differences of the value hold.
    #[test]
    fn the_curvature_is_that_of_the_objective() {
        let (classes, l2) = (4, 0.03);
        // Three blocks, the last of them not full; and as many parameters as all of these images take.
        let (design, labels, weights) = problem(ROWS * 2 + 5, 20, classes);
        let hessian = Hessian::at(&design, &weights, classes, l2).unwrap();
        let mut objective = Objective::new(&design, &labels, classes, l2);
        let mut gradient_at = |weights: &[f64]| {
            let mut gradient = vec![0.0; weights.len()];
            objective.value(weights, &mut gradient);
            gradient
        };
        let mut rng = Rng::keyed(4, "test", [0, 0]);
        for _ in 0..20 {
            let direction: Vec<f64> = weights.iter().map(|_| rng.normal()).collect();
            let step = 1e-5;
            let mut moved = |by: f64| {
                let at: Vec<f64> = weights.iter().zip(&direction).map(|(w, d)| w + by * d).collect();
                gradient_at(&at)
            };
            let change: Vec<f64> =
                moved(step).iter().zip(moved(-step)).map(|(a, b)| (a - b) / (2.0 * step)).collect();
            let u = hessian.preconditioned(&direction);
            let (form, expected) = (dot(&u, &u), dot(&direction, &change));
            assert!((form - expected).abs() < 1e-6 * expected, "{form} {expected}");
        }
    }

    #[test]
    fn the_change_of_variables_is_undone_and_its_gradient_is_right() {
        let (design, _, weights) = problem(300, 7, 3);
        let hessian = Hessian::at(&design, &weights, 3, 0.1).unwrap();
        // All intercepts together change nothing, and are found again up to that.
        let back = hessian.weights(&hessian.preconditioned(&weights));
        assert!(weights.iter().zip(&back).all(|(a, b)| (a - b).abs() < 1e-6), "{weights:?} {back:?}");
        let g: Vec<f64> = weights.iter().map(|w| w.sin()).collect();
        let u = hessian.preconditioned(&weights);
        assert!((dot(&hessian.gradient(&g), &u) - dot(&g, &weights)).abs() < 1e-8);
    }

    #[test]
    fn its_bits_do_not_depend_on_the_number_of_threads() {
        let of = |threads| {
            on_threads(threads, || {
                let (design, _, weights) = problem(900, 12, 5);
                Hessian::at(&design, &weights, 5, 0.01).unwrap().preconditioned(&weights)
            })
        };
        assert_eq!(of(1), of(3));
    }

    #[test]
    fn classes_that_are_told_apart_with_certainty_do_not_break_it() {
        let (design, _, weights) = problem(100, 3, 3);
        let far: Vec<f64> = weights.iter().map(|w| 1e4 * w).collect();
        let hessian = Hessian::at(&design, &far, 3, 0.0).unwrap();
        assert!(hessian.weights(&[1.0; 12]).iter().all(|w| w.is_finite()));
    }
}
