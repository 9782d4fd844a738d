//! Quick-GELU (original code: `model.py`):
//!
//! ```text
//! y = x s      s = σ(1.702 x)      dx = dy (s + 1.702 x s (1 - s))
//! ```

use crate::simd::{Kernel, LANES, Lanes, Number};

const SLOPE: f64 = 1.702;

/// x → y.
pub(super) struct Forward<'a, S> {
    pub(super) x: &'a [S],
    pub(super) y: &'a mut [S],
}

impl<S: Number> Kernel<S> for Forward<'_, S> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes<Scalar = S>>(self) {
        let n = self.x.len().min(self.y.len());
        let (x, y) = (self.x.as_ptr(), self.y.as_mut_ptr());
        for at in (0..n).step_by(LANES) {
            // SAFETY: both have n numbers.
            unsafe {
                let x = V::read(x.add(at), n - at);
                x.mul(x.mul(V::constant(SLOPE)).sigmoid()).write(y.add(at), n - at);
            }
        }
    }
}

/// x → y and dy → dx.
pub(super) struct Backward<'a, S> {
    pub(super) x: &'a mut [S],
    pub(super) dy: &'a mut [S],
}

impl<S: Number> Kernel<S> for Backward<'_, S> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes<Scalar = S>>(self) {
        let n = self.x.len().min(self.dy.len());
        let (x_at, dy_at) = (self.x.as_mut_ptr(), self.dy.as_mut_ptr());
        let one = V::splat(S::ONE);
        for at in (0..n).step_by(LANES) {
            // SAFETY: both have n numbers.
            unsafe {
                let (x, dy) = (V::read(x_at.add(at), n - at), V::read(dy_at.add(at), n - at));
                let scaled = x.mul(V::constant(SLOPE));
                let s = scaled.sigmoid();
                let slope = s.mul(scaled.fma(one.sub(s), one));
                dy.mul(slope).write(dy_at.add(at), n - at);
                x.mul(s).write(x_at.add(at), n - at);
            }
        }
    }
}
