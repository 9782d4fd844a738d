//! A batch goes through the network in micro-batches, one after the other: what is asked of it, over forward and backward
//! passes of some machine.

use super::backend::{Backend, Input};
use super::forward::{Pass, Targets};
use super::plan::{Plan, Weights};
use crate::model::{Batch, Config, Target};
use crate::stop;
use std::ops::Range;

/// A machine with parameters and a workspace for micro-batches of the plan's size.
pub(super) struct MicroBatches<'a> {
    pub(super) machine: &'a mut dyn Backend,
    pub(super) config: Config,
    pub(super) weights: &'a Weights,
    pub(super) plan: &'a Plan,
}

impl MicroBatches<'_> {
    /// Does something with each micro-batch of a batch of `images`: gives it the micro-batch's pass and its range of images.
    fn each(&mut self, causal: bool, images: usize, mut work: impl FnMut(&mut Pass<'_>, Range<usize>)) {
        let each = self.plan.images;
        for first in (0..images).step_by(each) {
            let range = first..(first + each).min(images);
            let mut pass = Pass {
                machine: &mut *self.machine,
                config: self.config,
                weights: self.weights,
                plan: self.plan,
                images: range.len(),
                causal,
            };
            work(&mut pass, range);
        }
    }

    /// The loss of a batch that fits the network; its gradients, times `gradients`, are added if there is that. None if
    /// someone asked to stop.
    pub(super) fn loss(&mut self, batch: &Batch<'_>, gradients: Option<f32>) -> Option<f64> {
        let t = self.config.context;
        let images = batch.tokens.len() / t;
        let (rows, weights) = counting(batch, t);
        let causal = matches!(batch.target, Target::Autoregressive);
        let (mut whole, mut done) = (true, 0);
        let mut local = Vec::new();
        self.machine.clear_loss();
        self.each(causal, images, |pass, images| {
            whole = whole && !stop::requested();
            if !whole {
                return;
            }
            let range = images.start * t..images.end * t;
            let tokens = &batch.tokens[range.clone()];
            let input = match batch.target {
                Target::Autoregressive => Input::Shifted(tokens),
                Target::Bert(masked) => Input::Masked(tokens, Some(&masked[range.clone()])),
            };
            let targets = match &rows {
                None => Targets { tokens, rows: None, weights: &weights[range] },
                Some(rows) => {
                    let count = rows[done..].iter().take_while(|row| (**row as usize) < range.end).count();
                    local.clear();
                    local.extend(rows[done..done + count].iter().map(|row| row - range.start as u32));
                    let weights = &weights[done..done + count];
                    done += count;
                    Targets { tokens, rows: Some(&local), weights }
                }
            };
            match gradients {
                Some(scale) => whole = pass.forward_backward(input, &targets, scale),
                None => {
                    pass.embed(input);
                    (0..pass.config.layers).for_each(|l| pass.forward_block(l));
                    pass.loss(&targets, None, |_, _| {});
                }
            }
        });
        let loss = self.machine.take_loss();
        whole.then_some(loss)
    }

    /// Features, (B, L + 1, C): see `Network::features`. None if someone asked to stop.
    pub(super) fn features(&mut self, tokens: &[u16], causal: bool) -> Option<Vec<f32>> {
        let Config { layers, width: c, context: t, .. } = self.config;
        let images = tokens.len() / t;
        let mut features = vec![0.0; images * (layers + 1) * c];
        let (mut whole, mut means) = (true, Vec::new());
        self.each(causal, images, |pass, images| {
            whole &= !stop::requested();
            if !whole {
                return;
            }
            let tokens = &tokens[images.start * t..images.end * t];
            pass.embed(if causal { Input::Shifted(tokens) } else { Input::Masked(tokens, None) });
            for l in 0..=layers {
                let weight = if l < layers { pass.weights.blocks[l].ln_1 } else { pass.weights.ln_f };
                let (x, mean) = (pass.x(l), pass.plan.mean.first(images.len() * c));
                pass.machine.mean_of_rms_norm(x, weight, images.len(), mean);
                means.resize(mean.len, 0.0);
                pass.machine.read(mean, &mut means);
                for (image, mean) in images.clone().zip(means.chunks_exact(c)) {
                    features[(image * (layers + 1) + l) * c..][..c].copy_from_slice(mean);
                }
                if l < layers {
                    pass.forward_block(l);
                }
            }
        });
        whole.then_some(features)
    }

    /// Logits of the next token, (count, V): see `Network::next_logits`.
    pub(super) fn next_logits(&mut self, prefix: &[u16], count: usize) -> Vec<f32> {
        let Config { layers, width: c, context: t, vocabulary: v, .. } = self.config;
        let given = prefix.len() / count;
        // What comes after the prefix has no influence on its next token.
        let mut tokens = vec![0; count * t];
        for (to, from) in tokens.chunks_mut(t).zip(prefix.chunks(given.max(1))) {
            to[..given].copy_from_slice(from);
        }
        let mut logits = vec![0.0; count * v];
        self.each(true, count, |pass, images| {
            pass.embed(Input::Shifted(&tokens[images.start * t..images.end * t]));
            (0..layers).for_each(|l| pass.forward_block(l));
            let rows: Vec<u32> = (0..images.len()).map(|i| (i * t + given) as u32).collect();
            let (all, x) = (&mut logits[images.start * v..images.end * v], pass.x(layers));
            let most = pass.plan.logit_rows;
            for (rows, logits) in rows.chunks(most).zip(all.chunks_mut(most * v)) {
                let picked = pass.plan.picked.first(rows.len() * c);
                pass.machine.gather(x, rows, picked);
                let found = pass.logits(picked);
                pass.machine.read(found, logits);
            }
        });
        logits
    }
}

/// Which rows of a batch are predicted (`None` if all), and how much each counts: all the same, or, for BERT, each
/// image the same, see [`Target`].
fn counting(batch: &Batch<'_>, t: usize) -> (Option<Vec<u32>>, Vec<f64>) {
    let n = batch.tokens.len();
    match batch.target {
        Target::Autoregressive => (None, vec![1.0 / n as f64; n]),
        Target::Bert(masked) => {
            let (mut rows, mut weights) = (Vec::new(), Vec::new());
            for (image, masked) in masked.chunks(t).enumerate() {
                let count = masked.iter().filter(|masked| **masked).count();
                for (i, _) in masked.iter().enumerate().filter(|(_, masked)| **masked) {
                    rows.push((image * t + i) as u32);
                    weights.push(1.0 / (count * (n / t)) as f64);
                }
            }
            (Some(rows), weights)
        }
    }
}
