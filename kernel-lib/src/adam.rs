//! Adam (Kingma and Ba), with the settings of section 3.4; decay and clipping as options: its settings, what it remembers, and
//! its equations, over flat buffers, with the same bits for any number of threads.

mod kernel;

use crate::simd::Isa;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Adam's settings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Adam {
    /// Memory of the mean gradient.
    pub beta_1: f64,
    /// Memory of the mean squared gradient.
    pub beta_2: f64,
    /// Added to the root of the mean square. The paper does not state it.
    pub epsilon: f64,
    /// Decoupled weight decay (Loshchilov and Hutter): each step takes `learning rate · weight_decay` of a weight away.
    /// Matrices of the blocks and the output matrix decay; embeddings, positions, the SOS token and weights do not.
    pub weight_decay: f64,
    /// Gradients whose norm, over all parameters, is larger than this are scaled down to it.
    pub clip: Option<f64>,
}

impl Default for Adam {
    /// The paper's: β₁ 0.9, β₂ 0.95, no decay, no clipping. ε 1e-8 is our choice.
    fn default() -> Self {
        Self { beta_1: 0.9, beta_2: 0.95, epsilon: 1e-8, weight_decay: 0.0, clip: None }
    }
}

impl Adam {
    /// Checks the settings.
    ///
    /// # Errors
    /// If one makes no sense.
    pub fn validate(&self) -> Result<()> {
        let Self { beta_1, beta_2, epsilon, weight_decay, clip } = *self;
        for (name, beta) in [("beta_1", beta_1), ("beta_2", beta_2)] {
            if !(0.0..1.0).contains(&beta) {
                return Err(Error::invalid(format!("{name} = {beta} is not in 0..1")));
            }
        }
        if !(epsilon > 0.0 && epsilon.is_finite()) {
            return Err(Error::invalid(format!("epsilon = {epsilon} is no positive number")));
        }
        if !(weight_decay >= 0.0 && weight_decay.is_finite()) {
            return Err(Error::invalid(format!("weight_decay = {weight_decay} is negative or no number")));
        }
        if clip.is_some_and(|clip| !(clip > 0.0 && clip.is_finite())) {
            return Err(Error::invalid(format!(
                "clip = {clip:?} is no positive number; leave it out for none"
            )));
        }
        Ok(())
    }
}

impl Adam {
    /// A step of this learning rate, counted from 0, for what decays. Gradients are not scaled.
    pub(crate) fn at(&self, step: u64, rate: f64) -> AdamStep {
        AdamStep {
            step: step + 1,
            rate: rate as f32,
            beta_1: self.beta_1 as f32,
            beta_2: self.beta_2 as f32,
            epsilon: self.epsilon as f32,
            decay: self.weight_decay as f32,
            scale: 1.0,
        }
    }
}

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

/// What Adam remembers, in the order of the parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamState {
    /// Running mean of the gradient.
    pub mean: Vec<f32>,
    /// Running mean of the squared gradient.
    pub square: Vec<f32>,
}

impl AdamState {
    /// Before the first step.
    pub fn new(parameters: usize) -> Self {
        Self { mean: vec![0.0; parameters], square: vec![0.0; parameters] }
    }

    /// Moves `values` by one step of learning rate `rate` against `gradients`, and returns the gradients' norm, as it
    /// was before clipping. `step` counts from 0; `groups` are the parts of the values in order, each with whether it decays
    /// ([`Layout::decays`](crate::model::Layout::decays)).
    ///
    /// # Errors
    /// If values, gradients and moments are not as many as the groups'; [`Error::NotFinite`] if a gradient is not finite.
    /// Neither values nor moments are changed then.
    pub fn step(
        &mut self,
        settings: &Adam,
        groups: &[(Range<usize>, bool)],
        step: u64,
        rate: f64,
        values: &mut [f32],
        gradients: &[f32],
    ) -> Result<f64> {
        let n = groups.last().map_or(0, |(range, _)| range.end);
        if [values.len(), gradients.len(), self.mean.len(), self.square.len()] != [n; 4] {
            return Err(Error::invalid(format!("Adam got other numbers of values than the network's {n}")));
        }
        let norm = check_norm(norm(gradients))?;
        let scale = settings.clip.map_or(1.0, |clip| clip_scale(norm, clip));
        let all = AdamStep { scale, ..settings.at(step, rate) };
        for (range, decays) in groups.iter().cloned() {
            let step = AdamStep { decay: if decays { all.decay } else { 0.0 }, ..all };
            adam(
                &mut values[range.clone()],
                &gradients[range.clone()],
                &mut self.mean[range.clone()],
                &mut self.square[range],
                &step,
            )?;
        }
        Ok(norm)
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
    kernel::adam(Isa::best(), parameters, gradients, m, v, step);
    Ok(())
}

/// The norm of all gradients, √Σ g², summed in f64 in a fixed order.
pub fn norm(gradients: &[f32]) -> f64 {
    kernel::square_sum(gradients).sqrt()
}

/// What gradients of this norm are multiplied by so that their norm is at most `most` (global-norm clipping).
pub fn clip_scale(norm: f64, most: f64) -> f32 {
    if norm > most { (most / norm) as f32 } else { 1.0 }
}

/// The norm of gradients.
///
/// # Errors
/// [`Error::NotFinite`] if it is not finite, because a gradient is not.
pub(crate) fn check_norm(norm: f64) -> Result<f64> {
    if norm.is_finite() {
        return Ok(norm);
    }
    Err(Error::NotFinite { what: format!("the gradients' norm is {norm}"), cause: TOO_LARGE.to_owned() })
}

/// What to do where parameters are finite and what was computed with them is not.
pub(crate) const TOO_LARGE: &str = "numbers grew beyond what f32 holds. A smaller learning rate, a longer warm-up or clipped \
                         gradients (adam.clip) keep them small";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Config, Layout, Parameters};
    use crate::rng::Rng;

    const CONFIG: Config =
        Config { layers: 2, width: 48, heads: 2, context: 9, vocabulary: 5, inner: None, classes: None };

    fn random(seed: u64) -> Vec<f32> {
        let mut rng = Rng::keyed(seed, "test", [0, 0]);
        (0..CONFIG.parameters()).map(|_| rng.normal() as f32).collect()
    }

    fn run(settings: &Adam, steps: u64) -> (Vec<f32>, AdamState) {
        let layout = Layout::new(CONFIG).unwrap();
        let (mut values, mut state) = (random(0), AdamState::new(layout.len()));
        for step in 0..steps {
            state.step(settings, &layout.decays(), step, 0.01, &mut values, &random(step + 1)).unwrap();
        }
        (values, state)
    }

    /// The formulas of Kingma and Ba, in f64.
    fn by_hand(settings: &Adam, steps: u64, clip: bool) -> Vec<f64> {
        let mut values: Vec<f64> = random(0).into_iter().map(f64::from).collect();
        let (mut m, mut v) = (vec![0.0; values.len()], vec![0.0; values.len()]);
        let layout = Layout::new(CONFIG).unwrap();
        for step in 0..steps {
            let gradients: Vec<f64> = random(step + 1).into_iter().map(f64::from).collect();
            let norm = gradients.iter().map(|g| g * g).sum::<f64>().sqrt();
            let scale = if clip { settings.clip.unwrap() / norm } else { 1.0 };
            let t = (step + 1) as i32;
            for entry in layout.entries() {
                let decay = if entry.name.contains("c_") || entry.name == "head" {
                    settings.weight_decay
                } else {
                    0.0
                };
                for i in entry.range.clone() {
                    let g = gradients[i] * scale;
                    m[i] = settings.beta_1 * m[i] + (1.0 - settings.beta_1) * g;
                    v[i] = settings.beta_2 * v[i] + (1.0 - settings.beta_2) * g * g;
                    let (m, v) =
                        (m[i] / (1.0 - settings.beta_1.powi(t)), v[i] / (1.0 - settings.beta_2.powi(t)));
                    values[i] -= 0.01 * (m / (v.sqrt() + settings.epsilon) + decay * values[i]);
                }
            }
        }
        values
    }

    #[test]
    fn steps_are_those_of_the_formulas() {
        for (settings, clip) in [
            (Adam::default(), false),
            (Adam { weight_decay: 0.1, ..Adam::default() }, false),
            (Adam { clip: Some(0.5), ..Adam::default() }, true),
            (Adam { clip: Some(1e6), ..Adam::default() }, false),
        ] {
            let (values, _) = run(&settings, 5);
            for (ours, by_hand) in values.iter().zip(by_hand(&settings, 5, clip)) {
                assert!((f64::from(*ours) - by_hand).abs() < 3e-6, "{settings:?}: {ours} {by_hand}");
            }
        }
    }

    #[test]
    fn threads_change_nothing() {
        let settings = Adam { clip: Some(0.5), weight_decay: 0.1, ..Adam::default() };
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| run(&settings, 3))
        };
        let one = with(1);
        for threads in [2, 3, 8] {
            assert!(one == with(threads));
        }
        // More than two tasks' worth: see adam/kernel.rs.
        assert!(CONFIG.parameters() > 2 << 14);
    }

    #[test]
    fn the_norm_is_that_before_clipping() {
        let layout = Layout::new(CONFIG).unwrap();
        let mut values = Parameters::zeros(CONFIG).unwrap().values().to_vec();
        let settings = Adam { clip: Some(0.1), ..Adam::default() };
        let gradients = vec![2.0; values.len()];
        let norm = AdamState::new(values.len())
            .step(&settings, &layout.decays(), 0, 0.1, &mut values, &gradients)
            .unwrap();
        assert!((norm - 2.0 * (values.len() as f64).sqrt()).abs() < 1e-9);
        let error =
            AdamState::new(3).step(&settings, &layout.decays(), 0, 0.1, &mut values, &gradients).unwrap_err();
        assert!(error.to_string().contains("other numbers of values"), "{error}");
    }

    #[test]
    fn gradients_that_are_not_finite_change_nothing() {
        let layout = Layout::new(CONFIG).unwrap();
        let clipped = Adam { clip: Some(0.5), ..Adam::default() };
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for settings in [Adam::default(), clipped] {
                let (mut values, mut state) = run(&settings, 1);
                let before = (values.clone(), state.clone());
                let mut gradients = random(9);
                gradients[layout.len() - 3] = bad;
                let error =
                    state.step(&settings, &layout.decays(), 1, 0.01, &mut values, &gradients).unwrap_err();
                assert!(matches!(error, Error::NotFinite { .. }), "{error}");
                assert!((values.clone(), state.clone()) == before);
                // The good twin, as large as f32 goes.
                gradients[layout.len() - 3] = f32::MAX;
                state.step(&settings, &layout.decays(), 1, 0.01, &mut values, &gradients).unwrap();
                assert!(values != before.0);
            }
        }
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        Adam::default().validate().unwrap();
        for (bad, said) in [
            (Adam { beta_2: 1.0, ..Adam::default() }, "beta_2 = 1"),
            (Adam { epsilon: 0.0, ..Adam::default() }, "epsilon = 0"),
            (Adam { weight_decay: -0.1, ..Adam::default() }, "weight_decay = -0.1"),
            (Adam { clip: Some(f64::NAN), ..Adam::default() }, "clip"),
        ] {
            let error = bad.validate().unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

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
}
