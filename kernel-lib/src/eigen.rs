//! Eigenvalues and eigenvectors of a symmetric matrix, in f64.
//!
//! The matrix is made tridiagonal by Householder's reflections, and the tridiagonal one diagonal by the QL algorithm with
//! implicit shifts (Golub and Van Loan, "Matrix Computations", 4th edition, sections 8.3.1 and 8.3.3): about 9 n³ operations.
//! Every sum has a fixed order, so the result is the same, bit for bit, for any number of threads.

use crate::{Error, Result, stop};
use rayon::prelude::*;

/// What a symmetric matrix A (n, n) is made of: A = Σ valueᵢ · vectorᵢ vectorᵢᵀ.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Eigen {
    /// The eigenvalues, the largest first, (n).
    pub(crate) values: Vec<f64>,
    /// The eigenvector of each, of length one: (n, n), a row for each eigenvalue.
    pub(crate) vectors: Vec<f64>,
}

/// Most sweeps for one eigenvalue; two are usual.
const MOST_SWEEPS: usize = 100;

/// Decomposes a symmetric matrix (n, n), both halves of which are given.
///
/// # Errors
/// If it is not square or not finite; [`Error::Interrupted`] if someone asks to stop. `what` is then said to be interrupted.
pub(crate) fn symmetric(what: &str, matrix: Vec<f64>, n: usize) -> Result<Eigen> {
    if n.checked_mul(n) != Some(matrix.len()) || n == 0 {
        return Err(Error::invalid(format!("{} numbers are no matrix of {n} × {n}", matrix.len())));
    }
    if matrix.iter().any(|x| !x.is_finite()) {
        return Err(Error::NotFinite {
            what: what.to_owned(),
            cause: "its matrix has such numbers".to_owned(),
        });
    }
    let mut a = matrix;
    let (mut diagonal, mut beside) = tridiagonal(what, &mut a, n)?;
    // Each row of the product of reflections is rotated on its own.
    let mut rows = reflections(what, &a, n)?;
    diagonalise(what, &mut diagonal, &mut beside, &mut rows, n)?;
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|i, j| diagonal[*j].total_cmp(&diagonal[*i]));
    let vectors = order.iter().flat_map(|i| rows.iter().skip(*i).step_by(n).copied()).collect();
    Ok(Eigen { values: order.iter().map(|i| diagonal[*i]).collect(), vectors })
}

/// The inner product; sixteen partial sums, added in a fixed order.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    const LANES: usize = 16;
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut partial = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            partial[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    partial.iter().sum::<f64>() + rest
}

/// Makes A tridiagonal: H A H … with reflections H = I − v vᵀ / h. Returns the diagonal (n) and what is beside it (n; the
/// last is zero). Row i of `a` then begins with the i numbers of its v, scaled so that h = 1; zeros for no reflection.
fn tridiagonal(what: &str, a: &mut [f64], n: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut diagonal, mut beside) = (vec![0.0; n], vec![0.0; n]);
    for i in (1..n).rev() {
        stop::check(what)?;
        let (above, row) = a.split_at_mut(i * n);
        diagonal[i] = row[i];
        let v = &mut row[..i];
        let last = v[i - 1];
        let rest = dot(&v[..i - 1], &v[..i - 1]);
        if rest == 0.0 {
            // Tridiagonal already.
            beside[i - 1] = last;
            v.fill(0.0);
            continue;
        }
        // The reflection takes the row to (0, …, 0, to); of the two signs that which cancels nothing.
        let norm = (rest + last * last).sqrt();
        let to = if last > 0.0 { -norm } else { norm };
        beside[i - 1] = to;
        v[i - 1] = last - to;
        // h = |v|² / 2 becomes one.
        let scale = 1.0 / (norm * (norm + last.abs())).sqrt();
        v.iter_mut().for_each(|x| *x *= scale);
        // A − v qᵀ − q vᵀ with p = A v and q = p − v (vᵀ p) / 2.
        let v = &*v;
        let mut q: Vec<f64> = above.par_chunks(n).map(|row| dot(&row[..i], v)).collect();
        let half = 0.5 * dot(v, &q);
        q.iter_mut().zip(v).for_each(|(q, v)| *q -= half * v);
        above.par_chunks_mut(n).zip(v.par_iter().zip(&q)).for_each(|(row, (v_row, q_row))| {
            for ((x, v), q) in row[..i].iter_mut().zip(v).zip(&q) {
                *x -= v_row * q + q_row * v;
            }
        });
    }
    diagonal[0] = a[0];
    Ok((diagonal, beside))
}

/// The product of all reflections, H (n − 1) … H 1, (n, n).
fn reflections(what: &str, a: &[f64], n: usize) -> Result<Vec<f64>> {
    let mut q = vec![0.0; n * n];
    (0..n).for_each(|i| q[i * n + i] = 1.0);
    for i in 1..n {
        stop::check(what)?;
        let v = &a[i * n..][..i];
        let mut sums = vec![0.0; i];
        for (row, v) in q.chunks(n).zip(v) {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += v * x);
        }
        q.par_chunks_mut(n).zip(v).for_each(|(row, v)| {
            row.iter_mut().zip(&sums).for_each(|(x, sum)| *x -= v * sum);
        });
    }
    Ok(q)
}

/// Makes a tridiagonal matrix diagonal by rotations of neighbouring columns, which `rows` (n, n) take part in.
fn diagonalise(what: &str, d: &mut [f64], e: &mut [f64], rows: &mut [f64], n: usize) -> Result<()> {
    let largest = d.iter().zip(e.iter()).fold(0.0_f64, |most, (d, e)| most.max(d.abs() + e.abs()));
    let negligible = f64::EPSILON * largest;
    let mut rotations: Vec<(usize, f64, f64)> = Vec::with_capacity(n);
    for first in 0..n {
        for sweep in 0.. {
            stop::check(what)?;
            // The matrix falls apart where a number beside the diagonal is nothing.
            let last = (first..n - 1).find(|i| e[*i].abs() <= negligible).unwrap_or(n - 1);
            if last == first {
                break;
            }
            if sweep == MOST_SWEEPS {
                return Err(Error::invalid(format!("{what}: an eigenvalue was not found in {sweep} sweeps")));
            }
            rotations.clear();
            // Wilkinson's shift.
            let half = (d[first + 1] - d[first]) / (2.0 * e[first]);
            let root = (half * half + 1.0).sqrt();
            let mut g = d[last] - d[first] + e[first] / (half + if half < 0.0 { -root } else { root });
            let (mut sine, mut cosine, mut p) = (1.0, 1.0, 0.0);
            let mut broken = false;
            for i in (first..last).rev() {
                let (f, b) = (sine * e[i], cosine * e[i]);
                let r = (f * f + g * g).sqrt();
                e[i + 1] = r;
                if r == 0.0 {
                    d[i + 1] -= p;
                    e[last] = 0.0;
                    broken = true;
                    break;
                }
                (sine, cosine) = (f / r, g / r);
                g = d[i + 1] - p;
                let r = (d[i] - g) * sine + 2.0 * cosine * b;
                p = sine * r;
                d[i + 1] = g + p;
                g = cosine * r - b;
                rotations.push((i, sine, cosine));
            }
            if !broken {
                d[first] -= p;
                e[first] = g;
                e[last] = 0.0;
            }
            rows.par_chunks_mut(n).with_min_len(16).for_each(|row| {
                for (i, sine, cosine) in &rotations {
                    let (a, b) = (row[*i], row[i + 1]);
                    row[*i] = cosine * a - sine * b;
                    row[i + 1] = sine * a + cosine * b;
                }
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// x xᵀ of `rank` random vectors, and so of that rank.
    fn matrix(n: usize, rank: usize) -> Vec<f64> {
        let mut rng = Rng::keyed(1, "test", [n as u64, rank as u64]);
        let x: Vec<f64> = (0..n * rank).map(|_| rng.normal()).collect();
        let row = |i: usize| &x[i * rank..][..rank];
        (0..n * n).map(|at| row(at / n).iter().zip(row(at % n)).map(|(a, b)| a * b).sum()).collect()
    }

    fn check(matrix: &[f64], n: usize) -> Eigen {
        let found = symmetric("the test", matrix.to_vec(), n).unwrap();
        let vector = |k: usize| &found.vectors[k * n..][..n];
        let size = found.values.iter().fold(1.0_f64, |most, x| most.max(x.abs()));
        for k in 0..n {
            assert!(k == 0 || found.values[k - 1] >= found.values[k]);
            for i in 0..n {
                let product = dot(&matrix[i * n..][..n], vector(k));
                assert!((product - found.values[k] * vector(k)[i]).abs() < 1e-12 * size * n as f64);
            }
            for other in 0..n {
                let expected = if k == other { 1.0 } else { 0.0 };
                assert!((dot(vector(k), vector(other)) - expected).abs() < 1e-12 * n as f64);
            }
        }
        found
    }

    #[test]
    fn a_matrix_is_put_together_again_from_its_eigenvectors() {
        for (n, rank) in [(1, 1), (2, 2), (3, 3), (17, 17), (40, 7), (64, 100)] {
            let found = check(&matrix(n, rank), n);
            let kept = found.values.iter().filter(|value| **value > 1e-9).count();
            assert_eq!(kept, n.min(rank), "{n} {rank}");
        }
        // Known ones: 3 and 1; equal ones; zeros.
        assert!((check(&[2.0, 1.0, 1.0, 2.0], 2).values[0] - 3.0).abs() < 1e-14);
        assert_eq!(check(&[0.0; 25], 5).values, [0.0; 5]);
        let diagonal: Vec<f64> = (0..36).map(|at| if at % 7 == 0 { 2.0 } else { 0.0 }).collect();
        assert_eq!(check(&diagonal, 6).values, [2.0; 6]);
    }

    #[test]
    fn the_result_does_not_depend_on_the_number_of_threads() {
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| symmetric("the test", matrix(50, 30), 50).unwrap())
        };
        assert_eq!(with(1), with(3));
    }

    #[test]
    fn what_is_no_matrix_is_refused() {
        assert!(symmetric("the test", vec![1.0; 3], 2).is_err());
        assert!(symmetric("the test", vec![], 0).is_err());
        assert!(matches!(symmetric("the test", vec![f64::NAN], 1), Err(Error::NotFinite { .. })));
    }
}
