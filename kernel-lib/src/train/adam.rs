//! Adam (Kingma and Ba), with the settings of section 3.4; decay and clipping as options.

use crate::engine::optimizer::{self, AdamStep};
use crate::model::{Layout, finite};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

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
    /// Matrices of the blocks and the output matrix decay; embeddings, positions, the start vector and gains do not.
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

/// What Adam remembers, in the order of a [`Layout`].
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
    /// was before clipping. `step` counts from 0, `layout` says which values decay.
    ///
    /// # Errors
    /// If values, gradients and moments are not as many as the layout's; [`Error::NotFinite`] if a gradient is not finite.
    /// Neither values nor moments are changed then.
    pub fn step(
        &mut self,
        settings: &Adam,
        layout: &Layout,
        step: u64,
        rate: f64,
        values: &mut [f32],
        gradients: &[f32],
    ) -> Result<f64> {
        let n = layout.len();
        if [values.len(), gradients.len(), self.mean.len(), self.square.len()] != [n; 4] {
            return Err(Error::invalid(format!("Adam got other numbers of values than the network's {n}")));
        }
        let norm = finite::norm(optimizer::norm(gradients))?;
        let scale = settings.clip.map_or(1.0, |clip| optimizer::clip_scale(norm, clip));
        let all = AdamStep { scale, ..settings.at(step, rate) };
        for (range, decays) in optimizer::decays(layout) {
            let step = AdamStep { decay: if decays { all.decay } else { 0.0 }, ..all };
            optimizer::adam(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Config, Parameters};
    use crate::rng::Rng;

    const CONFIG: Config = Config { layers: 2, width: 48, heads: 2, context: 9, vocabulary: 5, inner: None };

    fn random(seed: u64) -> Vec<f32> {
        let mut rng = Rng::keyed(seed, "test", [0, 0]);
        (0..CONFIG.parameters()).map(|_| rng.normal() as f32).collect()
    }

    fn run(settings: &Adam, steps: u64) -> (Vec<f32>, AdamState) {
        let layout = Layout::new(CONFIG).unwrap();
        let (mut values, mut state) = (random(0), AdamState::new(layout.len()));
        for step in 0..steps {
            state.step(settings, &layout, step, 0.01, &mut values, &random(step + 1)).unwrap();
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
        // More than two tasks' worth: see engine/cpu/optimizer.rs.
        assert!(CONFIG.parameters() > 2 << 14);
    }

    #[test]
    fn the_norm_is_that_before_clipping() {
        let layout = Layout::new(CONFIG).unwrap();
        let mut values = Parameters::zeros(CONFIG).unwrap().values().to_vec();
        let settings = Adam { clip: Some(0.1), ..Adam::default() };
        let gradients = vec![2.0; values.len()];
        let norm =
            AdamState::new(values.len()).step(&settings, &layout, 0, 0.1, &mut values, &gradients).unwrap();
        assert!((norm - 2.0 * (values.len() as f64).sqrt()).abs() < 1e-9);
        let error = AdamState::new(3).step(&settings, &layout, 0, 0.1, &mut values, &gradients).unwrap_err();
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
                let error = state.step(&settings, &layout, 1, 0.01, &mut values, &gradients).unwrap_err();
                assert!(matches!(error, Error::NotFinite { .. }), "{error}");
                assert!((values.clone(), state.clone()) == before);
                // The good twin, as large as f32 goes.
                gradients[layout.len() - 3] = f32::MAX;
                state.step(&settings, &layout, 1, 0.01, &mut values, &gradients).unwrap();
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
}
