//! A change of variables that makes the probe's objective nearly round, so that L-BFGS needs few steps.
//!
//! Features averaged over a sequence are strongly correlated: their covariance has eigenvalues that differ by factors
//! of ten thousand, and so has the curvature of the loss, which is about α xᵀx / N + λ for the weights of each class
//! (α: the mean of p (1 − p)). With that matrix as L Lᵀ and weights w = L⁻ᵀ u, the curvature by u is about one in
//! every direction. The objective, and so the optimum, is the same.
//!
//! The factor takes F³ / 3 operations for each penalty. That is little for the features of one layer; for those of several
//! layers side by side there is [`super::spectrum`]. For few parameters [`super::hessian`] knows more than one curvature.

use super::cholesky::Cholesky;
use crate::Result;
use rayon::prelude::*;

/// A linear change of variables from weights w (F + 1, K) to u (K, F + 1), the same for each class.
pub(super) trait Precondition {
    /// u to weights.
    fn weights(&self, u: &[f64]) -> Vec<f64>;
    /// Weights to u.
    fn preconditioned(&self, weights: &[f64]) -> Vec<f64>;
    /// The gradient by weights (F + 1, K) to that by u (K, F + 1).
    fn gradient(&self, by_weights: &[f64]) -> Vec<f64>;
}

/// The factor L, and how the intercepts are scaled.
pub(super) struct Preconditioner {
    width: usize,
    /// Of the weights of a class, (F, F).
    factor: Cholesky,
    intercept: f64,
}

impl Preconditioner {
    /// For xᵀx / N = `gram` (F, F), curvature α and penalty λ.
    ///
    /// # Errors
    /// [`Error::Interrupted`](crate::Error) if someone asks to stop.
    pub(super) fn new(gram: &[f64], width: usize, curvature: f64, l2: f64) -> Result<Self> {
        // Never exactly singular, not for a penalty of zero or classes that are told apart with certainty.
        let curvature = curvature.max(1e-6);
        let floor = l2.max(1e-9 * curvature);
        let mut matrix: Vec<f64> = gram.iter().map(|g| curvature * g).collect();
        matrix.iter_mut().step_by(width + 1).for_each(|diagonal| *diagonal += floor);
        Ok(Self { width, factor: Cholesky::of(matrix, width, floor)?, intercept: curvature.sqrt() })
    }

    fn each_class(&self, mut values: Vec<f64>, change: impl Fn(&mut [f64]) + Send + Sync) -> Vec<f64> {
        values.par_chunks_mut(self.width + 1).for_each(change);
        values
    }

    fn by_class(&self, weights: &[f64]) -> Vec<f64> {
        transposed(weights, weights.len() / (self.width + 1))
    }
}

impl Precondition for Preconditioner {
    /// w = L⁻ᵀ u.
    fn weights(&self, u: &[f64]) -> Vec<f64> {
        let solved = self.each_class(u.to_vec(), |w| {
            self.factor.solve_transposed(w);
            w[self.width] /= self.intercept;
        });
        transposed(&solved, self.width + 1)
    }

    /// u = Lᵀ w.
    fn preconditioned(&self, weights: &[f64]) -> Vec<f64> {
        self.each_class(self.by_class(weights), |u| {
            self.factor.multiply_transposed(u);
            u[self.width] *= self.intercept;
        })
    }

    /// L⁻¹ g.
    fn gradient(&self, by_weights: &[f64]) -> Vec<f64> {
        self.each_class(self.by_class(by_weights), |g| {
            self.factor.solve(g);
            g[self.width] /= self.intercept;
        })
    }
}

/// (rows, columns) to (columns, rows).
pub(super) fn transposed(values: &[f64], columns: usize) -> Vec<f64> {
    (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::kernels::dot;
    use crate::rng::Rng;

    #[test]
    fn the_change_of_variables_is_undone_and_its_gradient_is_right() {
        let (width, classes) = (9, 3);
        let mut rng = Rng::keyed(5, "test", [0, 0]);
        let x: Vec<f64> = (0..20 * width).map(|_| rng.normal()).collect();
        let gram: Vec<f64> = (0..width * width)
            .map(|at| x.chunks(width).map(|x| x[at / width] * x[at % width]).sum::<f64>() / 20.0)
            .collect();
        let preconditioner = Preconditioner::new(&gram, width, 0.2, 0.01).unwrap();
        let weights: Vec<f64> = (0..(width + 1) * classes).map(|_| rng.normal()).collect();
        let back = preconditioner.weights(&preconditioner.preconditioned(&weights));
        assert!(weights.iter().zip(&back).all(|(a, b)| (a - b).abs() < 1e-10));
        // uᵀu is the quadratic form of the curvature.
        let u = preconditioner.preconditioned(&weights);
        let mut form = 0.0;
        for k in 0..classes {
            let w = |i: usize| weights[i * classes + k];
            for i in 0..width {
                for j in 0..width {
                    let curvature = 0.2 * gram[i * width + j] + if i == j { 0.01 } else { 0.0 };
                    form += w(i) * curvature * w(j);
                }
            }
            form += 0.2 * w(width) * w(width);
        }
        assert!((dot(&u, &u) - form).abs() < 1e-10 * form);
        // A linear function gᵀw is (L⁻¹ g)ᵀ u.
        let g: Vec<f64> = weights.iter().map(|_| rng.normal()).collect();
        assert!((dot(&preconditioner.gradient(&g), &u) - dot(&g, &weights)).abs() < 1e-10);
    }

    #[test]
    fn features_that_repeat_others_do_not_break_it() {
        let preconditioner = Preconditioner::new(&[1.0; 16], 4, 0.1, 0.0).unwrap();
        assert!(preconditioner.weights(&[1.0; 10]).iter().all(|w| w.is_finite()));
    }
}
