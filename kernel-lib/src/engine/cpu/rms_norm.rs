//! RMSNorm, row by row (section 2.2; original code: `model.py`):
//!
//! ```text
//! y = x · rstd · weight      rstd = 1 / √(mean(x²) + 10⁻⁵)
//! dx = rstd · weight · dy - x · rstd³ · mean(x · weight · dy)      dweight = Σ rows dy · x · rstd
//! ```

use super::attention::dot;
use crate::simd::{Kernel, LANES, Lanes, Number};

const EPSILON: f64 = 1e-5;

/// y and rstd of some rows.
pub(super) struct Forward<'a, S> {
    pub(super) x: &'a [S],
    pub(super) weight: &'a [S],
    pub(super) y: &'a mut [S],
    pub(super) rstd: &'a mut [S],
}

impl<S: Number> Kernel<S> for Forward<'_, S> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes<Scalar = S>>(self) {
        let c = self.weight.len();
        for ((x, y), rstd) in self.x.chunks_exact(c).zip(self.y.chunks_exact_mut(c)).zip(self.rstd) {
            *rstd = inverse_root::<V>(x);
            // SAFETY: all three have c numbers.
            unsafe { write_norm::<V>(x.as_ptr(), *rstd, self.weight.as_ptr(), y.as_mut_ptr(), c) };
        }
    }
}

#[inline(always)]
fn inverse_root<V: Lanes>(x: &[V::Scalar]) -> V::Scalar {
    // SAFETY: x has x.len() numbers.
    let squares = unsafe { dot::<V>(x.as_ptr(), x.as_ptr(), x.len()) };
    let mean = squares / V::Scalar::from_f64(x.len() as f64);
    V::Scalar::ONE / (mean + V::Scalar::from_f64(EPSILON)).sqrt()
}

#[inline(always)]
unsafe fn write_norm<V: Lanes>(
    x: *const V::Scalar,
    rstd: V::Scalar,
    weight: *const V::Scalar,
    y: *mut V::Scalar,
    c: usize,
) {
    let rstd = V::splat(rstd);
    for at in (0..c).step_by(LANES) {
        unsafe {
            let y_at = V::read(x.add(at), c - at).mul(rstd).mul(V::read(weight.add(at), c - at));
            y_at.write(y.add(at), c - at);
        }
    }
}

/// Adds to dx, and writes the rows' sum of dweight.
pub(super) struct Backward<'a, S> {
    pub(super) dy: &'a [S],
    pub(super) x: &'a [S],
    pub(super) weight: &'a [S],
    pub(super) rstd: &'a [S],
    pub(super) dx: &'a mut [S],
    pub(super) dweight: &'a mut [S],
}

impl<S: Number> Kernel<S> for Backward<'_, S> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes<Scalar = S>>(self) {
        let Self { dy, x, weight, rstd, dx, dweight } = self;
        let c = weight.len();
        dweight.fill(S::ZERO);
        let rows = dy.chunks_exact(c).zip(x.chunks_exact(c)).zip(dx.chunks_exact_mut(c)).zip(rstd);
        for (((dy, x), dx), &rstd) in rows {
            let (dy, x, dx) = (dy.as_ptr(), x.as_ptr(), dx.as_mut_ptr());
            let (weight, dweight) = (weight.as_ptr(), dweight.as_mut_ptr());
            // SAFETY: all have c numbers.
            unsafe {
                let mut inner = V::zero();
                for at in (0..c).step_by(LANES) {
                    let n = c - at;
                    let slope = V::read(dy.add(at), n).mul(V::read(weight.add(at), n));
                    inner = slope.fma(V::read(x.add(at), n), inner);
                }
                let back = V::splat(S::ZERO - inner.sum() * rstd * rstd * rstd / S::from_f64(c as f64));
                let rstd = V::splat(rstd);
                for at in (0..c).step_by(LANES) {
                    let n = c - at;
                    let (dy, x) = (V::read(dy.add(at), n), V::read(x.add(at), n));
                    let (scaled, weight) = (dy.mul(rstd), V::read(weight.add(at), n));
                    let sum = scaled.fma(weight, V::read(dx.add(at), n));
                    x.fma(back, sum).write(dx.add(at), n);
                    scaled.fma(x, V::read(dweight.add(at), n)).write(dweight.add(at), n);
                }
            }
        }
    }
}

/// The mean over rows of their norm: features of one image, (T, C) → (C).
pub(super) struct Mean<'a, S> {
    pub(super) x: &'a [S],
    pub(super) weight: &'a [S],
    pub(super) y: &'a mut [S],
    /// C numbers for a moment.
    pub(super) sum: &'a mut [S],
}

/// So many rows are added up before their sum is added to the others': errors grow with the root of the number.
const ROWS: usize = 32;

impl<S: Number> Kernel<S> for Mean<'_, S> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes<Scalar = S>>(self) {
        let c = self.weight.len();
        let (sum, y) = (self.sum, self.y);
        y.fill(S::ZERO);
        for rows in self.x.chunks(ROWS * c) {
            sum.fill(S::ZERO);
            for x in rows.chunks_exact(c) {
                let rstd = V::splat(inverse_root::<V>(x));
                for at in (0..c).step_by(LANES) {
                    // SAFETY: both have c numbers.
                    unsafe {
                        let sum = sum.as_mut_ptr().add(at);
                        V::read(x.as_ptr().add(at), c - at)
                            .fma(rstd, V::read(sum, c - at))
                            .write(sum, c - at);
                    }
                }
            }
            for (y, sum) in y.iter_mut().zip(&*sum) {
                *y += *sum;
            }
        }
        let n = S::from_f64((self.x.len() / c) as f64);
        for (y, weight) in y.iter_mut().zip(self.weight) {
            *y = *y * *weight / n;
        }
    }
}
