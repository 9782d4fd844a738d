//! A batch goes through the network in micro-batches, one after the other: what is asked of it, over forward and backward
//! passes of some machine.

use super::backend::{Backend, Input};
use super::forward::{ClassTargets, Pass, Stream, Targets};
use super::plan::{Plan, Weights};
use crate::model::{Batch, Config, Target, View};
use crate::stop;
use std::ops::Range;

/// A machine with parameters and a workspace for micro-batches of the plan's size.
pub(super) struct MicroBatches<'a> {
    pub(super) machine: &'a mut dyn Backend,
    pub(super) config: Config,
    pub(super) weights: &'a Weights,
    pub(super) plan: &'a Plan,
}

/// A micro-batch: what goes in, and what is predicted of it.
struct Predicted<'a> {
    input: Input<'a>,
    /// Of tokens; none if they do not count.
    targets: Option<&'a Targets<'a>>,
    /// Of images; none if they do not count.
    classes: Option<&'a ClassTargets<'a>>,
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
        self.machine.clear_loss();
        let whole = self.each_of(batch, |pass, part| {
            if let Some(scale) = gradients {
                return pass.forward_backward(part.input, part.targets, part.classes, scale);
            }
            let top = pass.top(part.targets, part.classes);
            let rows = pass.rows_of_last_block(part.targets, part.classes);
            let mut stream = Stream::All(pass.x(top));
            pass.embed(part.input);
            for l in 0..=top {
                if let Some(classes) = part.classes.filter(|classes| classes.layer == l) {
                    pass.class_loss(classes, None);
                }
                match rows.filter(|_| l + 1 == top) {
                    Some(rows) => stream = Stream::Predicted(pass.forward_last_block(rows)),
                    None if l < top => pass.forward_block(l),
                    None => {}
                }
            }
            if let Some(targets) = part.targets {
                pass.loss(stream, targets, None, |_, _| {});
            }
            true
        });
        let loss = self.machine.take_loss();
        whole.then_some(loss)
    }

    /// The loss of a batch's tokens from each layer's residual stream, L + 1: see `Network::losses_by_layer`. None if
    /// someone asked to stop.
    pub(super) fn losses_by_layer(&mut self, batch: &Batch<'_>) -> Option<Vec<f64>> {
        let layers = self.config.layers;
        let mut losses = vec![0.0; layers + 1];
        let batch = Batch::new(batch.tokens, batch.target);
        let whole = self.each_of(&batch, |pass, part| {
            pass.embed(part.input);
            for (l, loss) in losses.iter_mut().enumerate() {
                if let Some(targets) = part.targets {
                    pass.machine.clear_loss();
                    pass.loss(Stream::All(pass.x(l)), targets, None, |_, _| {});
                    *loss += pass.machine.take_loss();
                }
                if l < layers {
                    pass.forward_block(l);
                }
            }
            true
        });
        whole.then_some(losses)
    }

    /// The loss of a batch's tokens from the residual stream before block `layer`, or after the last; what comes after it, the
    /// final RMSNorm and the output matrix, gets its gradients added, times `scale`. See `Network::head_gradients`. None if
    /// someone asked to stop.
    pub(super) fn head_gradients(&mut self, batch: &Batch<'_>, layer: usize, scale: f32) -> Option<f64> {
        self.machine.clear_loss();
        let batch = Batch::new(batch.tokens, batch.target);
        let whole = self.each_of(&batch, |pass, part| {
            pass.embed(part.input);
            (0..layer).for_each(|l| pass.forward_block(l));
            // The stream's gradient is computed, too, and nobody goes on with it.
            let dx = pass.rows(pass.plan.dx, pass.config.width);
            if let Some(targets) = part.targets {
                pass.loss(Stream::All(pass.x(layer)), targets, Some(scale), |pass, part| {
                    pass.backward_logits(part, dx)
                });
            }
            true
        });
        let loss = self.machine.take_loss();
        whole.then_some(loss)
    }

    /// Does something with each micro-batch of a batch, and what of it is predicted, as long as that says true and nobody
    /// asks to stop. Whether that was to the end.
    fn each_of(
        &mut self,
        batch: &Batch<'_>,
        mut work: impl FnMut(&mut Pass<'_>, &Predicted<'_>) -> bool,
    ) -> bool {
        let t = self.config.context;
        let images = batch.tokens.len() / t;
        let (rows, weights) = counting(batch, t);
        let of_classes =
            vec![batch.classes.map_or(0.0, |classes| classes.classification / images as f64); images];
        let causal = matches!(batch.target, Target::Autoregressive);
        let (mut whole, mut done) = (true, 0);
        let mut local = Vec::new();
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
            let classes = batch.classes.map(|classes| ClassTargets {
                labels: &classes.labels[images.clone()],
                layer: classes.layer,
                weights: &of_classes[images],
            });
            let targets = batch.classes.is_none_or(|classes| classes.generative > 0.0).then_some(&targets);
            whole = work(pass, &Predicted { input, targets, classes: classes.as_ref() });
        });
        whole
    }

    /// Features, (B, L + 1, C): see `Network::features`. None if someone asked to stop.
    pub(super) fn features(&mut self, tokens: &[u16], view: View<'_>) -> Option<Vec<f32>> {
        let Config { layers, width: c, context: t, .. } = self.config;
        let images = tokens.len() / t;
        let mut features = vec![0.0; images * (layers + 1) * c];
        let (mut whole, mut means) = (true, Vec::new());
        self.each(matches!(view, View::Causal), images, |pass, images| {
            whole &= !stop::requested();
            if !whole {
                return;
            }
            let range = images.start * t..images.end * t;
            let tokens = &tokens[range.clone()];
            pass.embed(match view {
                View::Causal => Input::Shifted(tokens),
                View::Bidirectional(masked) => Input::Masked(tokens, masked.map(|masked| &masked[range])),
            });
            for l in 0..=layers {
                let weight = pass.feature_weight(l);
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

    /// Logits of masked tokens, (M, V): see `Network::masked_logits`. None if someone asked to stop.
    pub(super) fn masked_logits(&mut self, tokens: &[u16], masked: &[bool]) -> Option<Vec<f32>> {
        let Config { layers, width: c, vocabulary: v, .. } = self.config;
        let mut logits = Vec::new();
        let batch = Batch::new(tokens, Target::Bert(masked));
        let whole = self.each_of(&batch, |pass, part| {
            let rows = part.targets.and_then(|targets| targets.rows).unwrap_or_default();
            pass.embed(part.input);
            (0..layers - 1).for_each(|l| pass.forward_block(l));
            let x = pass.forward_last_block(rows);
            for start in (0..rows.len()).step_by(pass.plan.logit_rows) {
                let end = rows.len().min(start + pass.plan.logit_rows);
                let found = pass.logits(x.part(start * c..end * c));
                let from = logits.len();
                logits.resize(from + (end - start) * v, 0.0);
                pass.machine.read(found, &mut logits[from..]);
            }
            true
        });
        whole.then_some(logits)
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
    let all = batch.classes.map_or(1.0, |classes| classes.generative);
    match batch.target {
        Target::Autoregressive => (None, vec![all / n as f64; n]),
        Target::Bert(masked) => {
            let (mut rows, mut weights) = (Vec::new(), Vec::new());
            for (image, masked) in masked.chunks(t).enumerate() {
                let count = masked.iter().filter(|masked| **masked).count();
                for (i, _) in masked.iter().enumerate().filter(|(_, masked)| **masked) {
                    rows.push((image * t + i) as u32);
                    weights.push(all / (count * (n / t)) as f64);
                }
            }
            (Some(rows), weights)
        }
    }
}
