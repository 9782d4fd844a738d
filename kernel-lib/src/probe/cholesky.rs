//! The Cholesky factor of a symmetric, positive matrix, and what is solved with it.

use super::kernels::{add_scaled, dot};
use crate::{Result, stop};
use rayon::prelude::*;

/// Rows of a column that one task computes at least: fewer take less time than handing them over.
const LEAST_ROWS: usize = 64;

/// L with L Lᵀ = a matrix.
pub(super) struct Cholesky {
    width: usize,
    /// (W, W), lower triangle; what is above it means nothing.
    factor: Vec<f64>,
}

impl Cholesky {
    /// Of a matrix (W, W), of which the lower triangle is read. Rounding can leave nothing, or less, of a row that those before it
    /// determine: `floor` is left then.
    ///
    /// # Errors
    /// [`Error::Interrupted`](crate::Error) if someone asks to stop.
    pub(super) fn of(mut matrix: Vec<f64>, width: usize, floor: f64) -> Result<Self> {
        for j in 0..width {
            stop::check("the probe")?;
            let (above, below) = matrix.split_at_mut((j + 1) * width);
            let row = &mut above[j * width..][..=j];
            row[j] = (row[j] - dot(&row[..j], &row[..j])).max(floor).sqrt();
            let row = &*row;
            below.par_chunks_exact_mut(width).with_min_len(LEAST_ROWS).for_each(|other| {
                other[j] = (other[j] - dot(&other[..j], &row[..j])) / row[j];
            });
        }
        Ok(Self { width, factor: matrix })
    }

    fn row(&self, i: usize) -> (&[f64], f64) {
        let row = &self.factor[i * self.width..][..=i];
        (&row[..i], row[i])
    }

    /// L⁻ᵀ u, in place. What `values` has beyond W stays as it is, here and below.
    pub(super) fn solve_transposed(&self, values: &mut [f64]) {
        for i in (0..self.width).rev() {
            let (row, diagonal) = self.row(i);
            values[i] /= diagonal;
            let x = values[i];
            add_scaled(-x, row, values);
        }
    }

    /// Lᵀ w, in place.
    pub(super) fn multiply_transposed(&self, values: &mut [f64]) {
        for i in 0..self.width {
            let (row, diagonal) = self.row(i);
            let x = values[i];
            add_scaled(x, row, values);
            values[i] = x * diagonal;
        }
    }

    /// L⁻¹ g, in place.
    pub(super) fn solve(&self, values: &mut [f64]) {
        for i in 0..self.width {
            let (row, diagonal) = self.row(i);
            values[i] = (values[i] - dot(row, &values[..i])) / diagonal;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::on_threads;
    use crate::rng::Rng;

    /// x xᵀ / W + I of random numbers, (W, W).
    fn matrix(width: usize) -> Vec<f64> {
        let mut rng = Rng::keyed(7, "test", [0, 0]);
        let x: Vec<f64> = (0..width * width).map(|_| rng.normal()).collect();
        let product =
            |i: usize, j: usize| dot(&x[i * width..][..width], &x[j * width..][..width]) / width as f64;
        (0..width * width)
            .map(|at| {
                let (i, j) = (at / width, at % width);
                product(i, j) + if i == j { 1.0 } else { 0.0 }
            })
            .collect()
    }

    #[test]
    fn the_factor_is_one_and_solves() {
        let width = 150;
        let a = matrix(width);
        let cholesky = Cholesky::of(a.clone(), width, 0.0).unwrap();
        let l = |i: usize, j: usize| if j <= i { cholesky.factor[i * width + j] } else { 0.0 };
        for i in 0..width {
            for j in 0..=i {
                let product: f64 = (0..width).map(|k| l(i, k) * l(j, k)).sum();
                assert!((product - a[i * width + j]).abs() < 1e-10);
            }
        }
        let mut rng = Rng::keyed(8, "test", [0, 0]);
        let w: Vec<f64> = (0..width).map(|_| rng.normal()).collect();
        let mut u = w.clone();
        cholesky.multiply_transposed(&mut u);
        // uᵀu = wᵀ L Lᵀ w.
        let form: f64 = (0..width).map(|i| w[i] * dot(&a[i * width..][..width], &w)).sum();
        assert!((dot(&u, &u) - form).abs() < 1e-9 * form);
        cholesky.solve_transposed(&mut u);
        assert!(u.iter().zip(&w).all(|(a, b)| (a - b).abs() < 1e-9));
        // (L⁻¹ w)ᵀ (Lᵀ w) = wᵀ w.
        let (mut g, mut u) = (w.clone(), w.clone());
        cholesky.solve(&mut g);
        cholesky.multiply_transposed(&mut u);
        assert!((dot(&g, &u) - dot(&w, &w)).abs() < 1e-9);
    }

    #[test]
    fn its_bits_do_not_depend_on_the_number_of_threads() {
        let of = |threads| on_threads(threads, || Cholesky::of(matrix(300), 300, 0.0).unwrap().factor);
        assert_eq!(of(1), of(3));
    }

    #[test]
    fn a_singular_matrix_has_a_factor_too() {
        let cholesky = Cholesky::of(vec![1.0; 16], 4, 1e-9).unwrap();
        let mut values = [1.0; 4];
        cholesky.solve_transposed(&mut values);
        assert!(values.iter().all(|x| x.is_finite()));
    }
}
