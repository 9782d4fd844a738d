//! The mean of an image's tokens, which a classification head sees (section 2.3).

use crate::simd::{Kernel, LANES, Lanes, Number};

/// So many rows are added up before their sum is added to the others': errors grow with the root of the number.
const ROWS: usize = 32;

/// y = the mean of x's rows: (T, C) → (C).
pub(super) struct Forward<'a, S> {
    pub(super) x: &'a [S],
    pub(super) y: &'a mut [S],
}

impl<S: Number> Kernel<S> for Forward<'_, S> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes<Scalar = S>>(self) {
        let Self { x, y } = self;
        let c = y.len();
        let share = V::splat(S::ONE / S::from_f64((x.len() / c) as f64));
        for at in (0..c).step_by(LANES) {
            let mut all = V::zero();
            for rows in x.chunks(ROWS * c) {
                let mut sum = V::zero();
                for row in rows.chunks_exact(c) {
                    // SAFETY: a row has c numbers.
                    sum = sum.add(unsafe { V::read(row.as_ptr().add(at), c - at) });
                }
                all = all.add(sum);
            }
            // SAFETY: y has c numbers.
            unsafe { all.mul(share).write(y.as_mut_ptr().add(at), c - at) };
        }
    }
}

/// Each of dx's rows = dy / T: (C) → (T, C).
pub(super) struct Backward<'a, S> {
    pub(super) dy: &'a [S],
    pub(super) dx: &'a mut [S],
}

impl<S: Number> Kernel<S> for Backward<'_, S> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes<Scalar = S>>(self) {
        let Self { dy, dx } = self;
        let c = dy.len();
        let share = V::splat(S::ONE / S::from_f64((dx.len() / c) as f64));
        for row in dx.chunks_exact_mut(c) {
            for at in (0..c).step_by(LANES) {
                // SAFETY: both have c numbers.
                unsafe {
                    V::read(dy.as_ptr().add(at), c - at).mul(share).write(row.as_mut_ptr().add(at), c - at)
                };
            }
        }
    }
}
