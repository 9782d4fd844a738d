//! Softmax and cross-entropy of rows of logits z with target y and weight w:
//!
//! ```text
//! loss = ln Σⱼ e^zⱼ - z_y      dzⱼ = w (e^zⱼ / Σ e^z - [j = y])
//! ```

use crate::simd::{Kernel, LANES, Lanes, Number};

/// Losses of some rows, and the gradients in place of the logits if wanted.
pub(super) struct Rows<'a, S> {
    /// (rows, V)
    pub(super) logits: &'a mut [S],
    pub(super) targets: &'a [u16],
    pub(super) weights: &'a [f64],
    /// What gradients are multiplied by.
    pub(super) gradient: Option<f32>,
    /// (rows), not yet times their weights.
    pub(super) losses: &'a mut [f64],
}

impl<S: Number> Kernel<S> for Rows<'_, S> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes<Scalar = S>>(self) {
        let v = self.logits.len() / self.targets.len().max(1);
        let rows = self.logits.chunks_exact_mut(v).zip(self.targets).zip(self.weights).zip(self.losses);
        for (((logits, target), weight), loss) in rows {
            let z = logits.as_mut_ptr();
            // SAFETY: z has v numbers.
            unsafe {
                let mut most = V::splat(S::LOWEST);
                for at in (0..v).step_by(LANES) {
                    most = V::read(z.add(at), v - at).first(v - at, most).max(most);
                }
                let highest = most.largest();
                let shift = V::splat(highest);
                let chosen = logits[usize::from(*target)] - highest;
                let mut sum = V::zero();
                for at in (0..v).step_by(LANES) {
                    let e = V::read(z.add(at), v - at).sub(shift).exp().first(v - at, V::zero());
                    e.write(z.add(at), v - at);
                    sum = sum.add(e);
                }
                let sum = sum.sum();
                *loss = libm::log(sum.to_f64()) - chosen.to_f64();
                if let Some(scale) = self.gradient {
                    let weight = S::from_f64(weight * f64::from(scale));
                    let factor = V::splat(weight / sum);
                    for at in (0..v).step_by(LANES) {
                        V::read(z.add(at), v - at).mul(factor).write(z.add(at), v - at);
                    }
                    let chosen = &mut logits[usize::from(*target)];
                    *chosen = *chosen - weight;
                }
            }
        }
    }
}
