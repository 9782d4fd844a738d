//! Adam, and sums of squares, in pieces of fixed length.

use super::AdamStep;
use crate::parallel::{Shared, Team};
use crate::simd::{Isa, Kernel, LANES, Lanes, Scalar};

/// Numbers of one task; also how many squares are added before they are added to the others'.
const PIECE: usize = 1 << 14;

struct Adam<'a> {
    parameters: &'a mut [f32],
    gradients: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
    step: AdamStep,
}

impl Kernel<f32> for Adam<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes<Scalar = f32>>(self) {
        let AdamStep { step, rate, beta_1, beta_2, epsilon, decay, scale } = self.step;
        let n = self.parameters.len();
        // Bias corrections in f64: 1 - β₂ᵗ is a small difference at first.
        let t = i32::try_from(step).unwrap_or(i32::MAX);
        let correction = |beta: f32| 1.0 - libm::pow(f64::from(beta), f64::from(t));
        let rate_now = V::splat((f64::from(rate) / correction(beta_1)) as f32);
        let root = V::splat((1.0 / correction(beta_2)) as f32);
        let keep = V::splat((1.0 - f64::from(rate) * f64::from(decay)) as f32);
        let (beta_1, new_1) = (V::splat(beta_1), V::splat(1.0 - beta_1));
        let (beta_2, new_2) = (V::splat(beta_2), V::splat(1.0 - beta_2));
        let (scale, epsilon) = (V::splat(scale), V::splat(epsilon));
        let (theta, g) = (self.parameters.as_mut_ptr(), self.gradients.as_ptr());
        let (m, v) = (self.m.as_mut_ptr(), self.v.as_mut_ptr());
        for at in (0..n).step_by(LANES) {
            let left = n - at;
            // SAFETY: all four have n numbers: `adam` checked that.
            unsafe {
                let g = V::read(g.add(at), left).mul(scale);
                let first = V::read(m.add(at), left).mul(beta_1);
                let first = g.fma(new_1, first);
                let second = V::read(v.add(at), left).mul(beta_2);
                let second = g.mul(g).fma(new_2, second);
                first.write(m.add(at), left);
                second.write(v.add(at), left);
                let direction = first.mul(rate_now).div(second.mul(root).sqrt().add(epsilon));
                V::read(theta.add(at), left).mul(keep).sub(direction).write(theta.add(at), left);
            }
        }
    }
}

pub(super) fn adam(
    isa: Isa,
    parameters: &mut [f32],
    gradients: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    step: &AdamStep,
) {
    let n = parameters.len();
    let [theta, m, v] = [parameters.as_mut_ptr(), m.as_mut_ptr(), v.as_mut_ptr()].map(Shared);
    Team::all().share(n.div_ceil(PIECE), |task| {
        let (at, len) = (task * PIECE, PIECE.min(n - task * PIECE));
        // SAFETY: each number belongs to one task.
        let (parameters, m, v) = unsafe { (theta.part(at, len), m.part(at, len), v.part(at, len)) };
        let gradients = &gradients[at..at + len];
        f32::run(isa, Adam { parameters, gradients, m, v, step: *step });
    });
}

/// Σ x², in f64: eight sums of every eighth number of a piece, pieces one after the other.
pub(super) fn square_sum(x: &[f32]) -> f64 {
    let mut sums = vec![0.0; x.len().div_ceil(PIECE)];
    let shared = Shared(sums.as_mut_ptr());
    Team::all().share(x.len().div_ceil(PIECE), |task| {
        let piece = &x[task * PIECE..x.len().min((task + 1) * PIECE)];
        let mut lanes = [0.0; 8];
        for numbers in piece.chunks(8) {
            for (lane, x) in lanes.iter_mut().zip(numbers) {
                *lane += f64::from(*x) * f64::from(*x);
            }
        }
        // SAFETY: each task has its own sum.
        unsafe { shared.part(task, 1)[0] = lanes.iter().sum() };
    });
    sums.iter().sum()
}
