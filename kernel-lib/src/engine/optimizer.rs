//! Adam and the clipping of gradients, over flat buffers: the same bits for any number of threads.

use super::cpu::{self, Isa};
use crate::model::Layout;
use crate::{Error, Result};

/// One step of Adam or AdamW (Kingma and Ba; Loshchilov and Hutter), as PyTorch computes it:
///
/// ```text
/// m ← β₁ m + (1 - β₁) g      v ← β₂ v + (1 - β₂) g²
/// θ ← θ - rate · decay · θ - rate · (m / (1 - β₁ᵗ)) / (√(v / (1 - β₂ᵗ)) + ε)
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// Which step this is, from 1: t.
    pub step: u64,
    /// The learning rate.
    pub rate: f32,
    /// β₁; the paper's is 0.9.
    pub beta_1: f32,
    /// β₂; the paper's is 0.95.
    pub beta_2: f32,
    /// ε.
    pub epsilon: f32,
    /// Decoupled weight decay; the paper uses none.
    pub decay: f32,
    /// What gradients are multiplied by first: see [`clip_scale`].
    pub scale: f32,
}

impl Default for AdamStep {
    fn default() -> Self {
        Self { step: 1, rate: 1e-3, beta_1: 0.9, beta_2: 0.95, epsilon: 1e-8, decay: 0.0, scale: 1.0 }
    }
}

/// Changes parameters by one step, and the moments `m` and `v` with them. All four have the same length. Parameters
/// that decay differently (see [`decays`]) are separate calls, on parts of the buffers.
///
/// # Errors
/// If the lengths differ, or the step is 0.
pub fn adam(
    parameters: &mut [f32],
    gradients: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    step: &AdamStep,
) -> Result<()> {
    let n = parameters.len();
    if gradients.len() != n || m.len() != n || v.len() != n {
        return Err(Error::invalid(format!(
            "Adam for {n} parameters with {} gradients and moments of {} and {}",
            gradients.len(),
            m.len(),
            v.len()
        )));
    }
    if step.step == 0 {
        return Err(Error::invalid("Adam's steps are counted from 1"));
    }
    cpu::optimizer::adam(Isa::best(), parameters, gradients, m, v, step);
    Ok(())
}

/// The norm of all gradients, √Σ g², summed in f64 in a fixed order.
pub fn norm(gradients: &[f32]) -> f64 {
    cpu::optimizer::square_sum(gradients).sqrt()
}

/// What gradients of this norm are multiplied by so that their norm is at most `most` (global-norm clipping).
pub fn clip_scale(norm: f64, most: f64) -> f32 {
    if norm > most { (most / norm) as f32 } else { 1.0 }
}

/// The parts of the flat buffer that decay, and those that do not, in order: matrices of blocks and the output matrix
/// do; embeddings, the start and gains do not.
pub fn decays(layout: &Layout) -> Vec<(std::ops::Range<usize>, bool)> {
    let mut groups: Vec<(std::ops::Range<usize>, bool)> = Vec::new();
    for entry in layout.entries() {
        let decays = entry.shape.len() == 2 && !matches!(entry.name.as_str(), "wte" | "wpe");
        match groups.last_mut() {
            Some((range, same)) if *same == decays => range.end = entry.range.end,
            _ => groups.push((entry.range.clone(), decays)),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Config;
    use crate::rng::Rng;

    /// The formula, in f64.
    fn plain(theta: &mut f64, g: f64, m: &mut f64, v: &mut f64, s: &AdamStep) {
        let (g, b1, b2) = (g * f64::from(s.scale), f64::from(s.beta_1), f64::from(s.beta_2));
        *m = b1 * *m + (1.0 - b1) * g;
        *v = b2 * *v + (1.0 - b2) * g * g;
        let (t, rate) = (s.step as i32, f64::from(s.rate));
        *theta -= rate * f64::from(s.decay) * *theta;
        *theta -=
            rate * (*m / (1.0 - b1.powi(t))) / ((*v / (1.0 - b2.powi(t))).sqrt() + f64::from(s.epsilon));
    }

    #[test]
    fn adam_is_the_formula() {
        let n = 20_003;
        let mut rng = Rng::keyed(3, "test", [0, 0]);
        let mut draw = |scale: f64| -> Vec<f32> { (0..n).map(|_| (scale * rng.normal()) as f32).collect() };
        let (mut parameters, mut m, mut v) = (draw(1.0), vec![0.0; n], vec![0.0; n]);
        let mut exact: Vec<[f64; 3]> = parameters.iter().map(|x| [f64::from(*x), 0.0, 0.0]).collect();
        for step in 1..=5 {
            let gradients = draw(0.1);
            let step = AdamStep { step, decay: 0.1, scale: 0.5, ..AdamStep::default() };
            adam(&mut parameters, &gradients, &mut m, &mut v, &step).unwrap();
            for ([theta, m, v], g) in exact.iter_mut().zip(&gradients) {
                plain(theta, f64::from(*g), m, v, &step);
            }
        }
        for (i, [theta, ..]) in exact.iter().enumerate() {
            assert!((f64::from(parameters[i]) - theta).abs() < 1e-6, "{i}: {} {theta}", parameters[i]);
        }
        assert!(adam(&mut parameters, &[0.0], &mut m, &mut v, &AdamStep::default()).is_err());
        let zero = AdamStep { step: 0, ..AdamStep::default() };
        assert!(adam(&mut parameters, &draw(1.0), &mut m, &mut v, &zero).is_err());
    }

    #[test]
    fn clipping_makes_the_norm_what_it_may_be() {
        let gradients: Vec<f32> = (0..100_000).map(|i| if i % 2 == 0 { 3.0 } else { -4.0 }).collect();
        let found = norm(&gradients);
        assert!((found - (25.0f64 * 50_000.0).sqrt()).abs() < 1e-9 * found);
        assert!((f64::from(clip_scale(found, 1.0)) * found - 1.0).abs() < 1e-6);
        assert_eq!(clip_scale(0.5, 1.0), 1.0);
    }

    #[test]
    fn matrices_decay_and_nothing_else() {
        let layout =
            Layout::new(Config { layers: 2, width: 8, heads: 2, context: 9, vocabulary: 5, inner: None })
                .unwrap();
        let groups = decays(&layout);
        assert_eq!(groups.last().unwrap().0.end, layout.len());
        let decaying: usize = groups.iter().filter(|(_, decays)| *decays).map(|(range, _)| range.len()).sum();
        assert_eq!(decaying, 2 * 12 * 8 * 8 + 5 * 8);
        assert!(groups.windows(2).all(|pair| pair[0].0.end == pair[1].0.start && pair[0].1 != pair[1].1));
    }
}
