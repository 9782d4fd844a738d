//! Whether better generative models learn better representations (section 4.2, Figure 3).

use super::profile::Probe;
use super::{AnyStep, Data, Features, LinearProbe, Pretraining, Step, Workspace};
use crate::probe::{Accuracy, Rounding};
use crate::show::{Cell, Show, Table, fixed};
use crate::store::Context;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Figure 3's protocol: of networks of several sizes, each after some steps of its training
/// ([`Pretraining::after`]), the validation loss, and the accuracy of a linear probe of the best layer. The layer is chosen
/// for each anew, on the probe's validation images.
///
/// ```no_run
/// use igpt::prelude::*;
///
/// let profile = Profile::current()?;
/// let large = Pretraining { after: vec![100, 200, 400], ..Pretraining::of(&profile) };
/// let mut shape = profile.model;
/// shape.layers = 4;
/// let small = large.clone().network(shape);
/// let figure = LossAndAccuracy::of([small, large], &profile.probe).run()?;
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossAndAccuracy {
    /// The networks. Each is looked at after the steps for which it is kept.
    pub pretrainings: Vec<Pretraining>,
    /// How their features are probed.
    pub probe: Probe,
}

/// A network after some steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AfterSteps {
    /// Which of the networks, from 0.
    pub network: usize,
    /// Its parameters' number.
    pub parameters: usize,
    /// After how many steps.
    pub step: u64,
    /// The loss on the validation images of its training, in nats per token; or on other images, see
    /// [`LossAndAccuracyResult::loss_of`].
    pub loss: f64,
    /// The layer that was chosen on the probe's validation images.
    pub layer: usize,
    /// Accuracy of that layer's probe on these.
    pub validation: Accuracy,
    /// Its test accuracy.
    pub test: Accuracy,
}

/// Loss and accuracy of networks while they are trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LossAndAccuracyResult {
    /// Network by network, step by step.
    pub points: Vec<AfterSteps>,
    /// The images of the losses, in words; absent: the validation images of each network's training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_of: Option<String>,
    /// What rounding did to the features that were probed; none of f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounding: Option<Rounding>,
}

impl LossAndAccuracy {
    /// Of these networks, probed as a profile says.
    pub fn of(pretrainings: impl Into<Vec<Pretraining>>, probe: &Probe) -> Self {
        Self { pretrainings: pretrainings.into(), probe: probe.clone() }
    }

    fn probe(&self, pretraining: &Pretraining, step: u64) -> LinearProbe {
        LinearProbe::of(Features::after(pretraining, step)).with(&self.probe)
    }
}

impl LossAndAccuracyResult {
    /// (loss, test accuracy) of one of the networks, for a figure.
    pub fn points_of(&self, network: usize) -> Vec<(f64, f64)> {
        let of = self.points.iter().filter(|point| point.network == network);
        of.map(|point| (point.loss, point.test.share())).collect()
    }

    fn table(&self) -> Table {
        let rows = self.points.iter().map(|point| {
            [
                Cell::from(point.parameters),
                Cell::from(point.step),
                fixed(point.loss, 4),
                Cell::from(point.layer),
                point.validation.cell(),
                point.test.cell(),
            ]
        });
        Table::of(["Parameters", "Steps", "Loss (nats)", "Layer", "Validation", "Test"], rows)
            .caption("Loss and accuracy")
            .note(Rounding::note(
                self.rounding,
                format!(
                    "The loss is that of {}. The layer is chosen by the accuracy on validation images.",
                    self.loss_of.as_deref().unwrap_or("validation images")
                ),
            ))
    }
}

impl Show for LossAndAccuracyResult {
    fn to_html(&self) -> String {
        self.table().to_html()
    }
    fn to_text(&self) -> String {
        self.table().to_text()
    }
}

crate::show::displays!(LossAndAccuracyResult);

impl Step for LossAndAccuracy {
    const NAME: &'static str = "loss-and-accuracy";
    type Output = LossAndAccuracyResult;

    fn about(&self) -> String {
        let about: Vec<String> = self.pretrainings.iter().map(Pretraining::about).collect();
        format!("loss and accuracy, as they are trained, of {}", about.join("; of "))
    }

    fn inputs(&self) -> Vec<AnyStep> {
        let mut inputs: Vec<AnyStep> = Vec::new();
        for pretraining in &self.pretrainings {
            inputs.push(pretraining.clone().into());
            let probes = pretraining.after.iter().map(|step| self.probe(pretraining, *step));
            inputs.extend(probes.map(AnyStep::from));
        }
        inputs
    }

    fn data(&self) -> Vec<&Data> {
        self.pretrainings.iter().flat_map(Step::data).collect()
    }

    /// Losses are computed here, by the network's device.
    fn code(&self, on: &Workspace) -> Vec<&'static str> {
        vec![on.device().module(), "model", "experiment/pretraining", "experiment/loss_and_accuracy"]
    }

    fn device<'a>(&self, on: &'a Workspace) -> &'a str {
        on.device().kind()
    }

    fn validate(&self) -> Result<()> {
        if self.pretrainings.is_empty() || self.pretrainings.iter().any(|p| p.after.is_empty()) {
            return Err(Error::invalid(
                "one network or more, each kept after some steps (the setting after), have losses and accuracies",
            ));
        }
        self.pretrainings.iter().try_for_each(Step::validate)
    }

    fn compute(&self, on: &Workspace, context: &Context) -> Result<LossAndAccuracyResult> {
        let total = self.pretrainings.iter().map(|pretraining| pretraining.after.len()).sum::<usize>() as u64;
        let (mut points, mut rounding) = (Vec::new(), None);
        for (network, pretraining) in self.pretrainings.iter().enumerate() {
            let trained = pretraining.run_on(on)?;
            let unseen = pretraining.validation_tokens_on(on)?;
            for (step, parameters) in &trained.snapshots {
                context.progress(points.len() as u64, total, "networks");
                let loss = pretraining.loss_on(on, parameters, &unseen)?;
                let curve = self.probe(pretraining, *step).run_on(on)?;
                let best = curve.at(curve.chosen)?;
                rounding = Rounding::largest([rounding, curve.rounding]);
                points.push(AfterSteps {
                    network,
                    parameters: parameters.config().parameters(),
                    step: *step,
                    loss,
                    layer: curve.chosen,
                    validation: best.validation,
                    test: best.test,
                });
            }
        }
        Ok(LossAndAccuracyResult { points, loss_of: None, rounding })
    }
}
