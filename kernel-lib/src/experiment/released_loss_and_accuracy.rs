//! Figure 3 of OpenAI's own checkpoints (section 4.2), without training anything.

use super::pretraining::CHUNK;
use super::profile::Probe;
use super::{
    AfterSteps, AnyStep, Data, Encoding, Features, LinearProbe, LossAndAccuracyResult, PaletteOf, Split,
    Step, Workspace, released,
};
use crate::model::{Batch, Network, Parameters, Target};
use crate::probe::Rounding;
use crate::store::Context;
use crate::train::Objective;
use crate::{Error, Result, openai, stop};
use serde::{Deserialize, Serialize};

/// Figure 3 of networks that OpenAI has trained: of each checkpoint that it released on the way, the loss, and the accuracy of a
/// linear probe of the best layer. Nothing is trained but the probes. [`LossAndAccuracy`](super::LossAndAccuracy) does the same
/// for networks that are trained here.
///
/// The loss is that of test images: which images OpenAI held out of its training is not published, and test images nobody has
/// trained on. Its README, too, compares test losses with Figure 3. The paper's losses are those of ImageNet, and its accuracies
/// those of CIFAR-10: two data sets, of which the second is that of the probe.
///
/// ```no_run
/// use igpt::prelude::*;
/// use igpt::experiment::ReleasedLossAndAccuracy;
///
/// // IGPT_OPENAI names a folder with checkpoints/igpt-s/131000/model.ckpt-131000.index, and so on.
/// let mut profile = Profile::named("paper-s")?;
/// profile.probe.data = Some(Data::of("cifar10", 32));
/// let names = igpt::openai::found()?.into_iter().filter(|name| name.starts_with("igpt-s/"));
/// let figure = ReleasedLossAndAccuracy::of(names, Data::of("imagenet-32", 32), &profile.probe).run()?;
/// println!("{}", figure.to_text());
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleasedLossAndAccuracy {
    /// The checkpoints: `igpt-s/131000`. All were trained by the same objective: losses of two cannot be compared.
    pub names: Vec<String>,
    /// The images whose loss is computed: its test images.
    pub data: Data,
    /// How features are probed; of the same data, if it names none.
    pub probe: Probe,
}

impl ReleasedLossAndAccuracy {
    /// Of these checkpoints, with the loss of this data's test images, probed as a profile says.
    pub fn of(names: impl IntoIterator<Item = impl Into<String>>, data: Data, probe: &Probe) -> Self {
        Self { names: names.into_iter().map(Into::into).collect(), data, probe: probe.clone() }
    }

    fn probe(&self, name: &str) -> LinearProbe {
        LinearProbe::of(Features::released(name, self.data.clone())).with(&self.probe)
    }

    /// The images whose loss is computed, as a network sees them.
    fn encoding(&self, name: &str) -> Encoding {
        let palette = PaletteOf::Released(name.to_owned());
        Encoding { data: self.data.clone(), split: Split::Test, palette }
    }

    fn loss_of(&self) -> String {
        format!("the test images of {}", self.data)
    }
}

/// The loss of tokens `(N, T)`, in nats per predicted token.
fn loss(
    network: &mut dyn Network,
    parameters: &Parameters,
    objective: Objective,
    tokens: &[u16],
) -> Result<f64> {
    let context = parameters.config().context;
    let mut sum = 0.0;
    for (number, chunk) in tokens.chunks(CHUNK * context).enumerate() {
        stop::check("the loss")?;
        let images: Vec<usize> = (number * CHUNK..).take(chunk.len() / context).collect();
        // BERT's masks, the same for each checkpoint.
        let masked = objective.validation_masks(0, &images, context);
        // The mean over the images of this chunk, (n, T).
        sum += network.loss(parameters, &Batch::new(chunk, Target::of(masked.as_deref())))?
            * images.len() as f64;
    }
    Ok(sum / (tokens.len() / context).max(1) as f64)
}

impl Step for ReleasedLossAndAccuracy {
    const NAME: &'static str = "released-loss-and-accuracy";
    type Output = LossAndAccuracyResult;

    fn about(&self) -> String {
        let data = self.probe.data.as_ref().unwrap_or(&self.data);
        format!("loss of {} and accuracy on {data} of {}", self.loss_of(), self.names.join(", "))
    }

    fn inputs(&self) -> Vec<AnyStep> {
        let of = |name: &String| -> [AnyStep; 2] { [self.encoding(name).into(), self.probe(name).into()] };
        self.names.iter().flat_map(of).collect()
    }

    fn data(&self) -> Vec<&Data> {
        vec![&self.data]
    }

    fn files(&self) -> Result<Vec<(String, String)>> {
        Ok(self.names.iter().map(|name| released::files(name)).collect::<Result<Vec<_>>>()?.concat())
    }

    /// Losses are computed here, by the network's device.
    fn code(&self, on: &Workspace) -> Vec<&'static str> {
        vec![on.device().module(), "model", "openai", "experiment/released_loss_and_accuracy"]
    }

    fn device<'a>(&self, on: &'a Workspace) -> &'a str {
        on.device().kind()
    }

    fn validate(&self) -> Result<()> {
        self.data.validate()?;
        let Some(first) = self.names.first() else {
            return Err(Error::invalid("name one checkpoint or more, as openai::found() lists them"));
        };
        for name in &self.names {
            if openai::parts(name).is_none() {
                return Err(openai::unknown(name));
            }
            if openai::is_causal(name) != openai::is_causal(first) {
                return Err(Error::invalid(format!(
                    "{first} and {name} were trained by two objectives, whose losses cannot be compared: make two figures"
                )));
            }
        }
        Ok(())
    }

    fn compute(&self, on: &Workspace, context: &Context) -> Result<LossAndAccuracyResult> {
        let mut networks: Vec<&str> = Vec::new();
        let (mut points, mut rounding) = (Vec::new(), None);
        for name in &self.names {
            context.progress(points.len() as u64, self.names.len() as u64, "networks");
            let (of, step) = openai::parts(name).ok_or_else(|| openai::unknown(name))?;
            let network = networks.iter().position(|known| *known == of).unwrap_or_else(|| {
                networks.push(of);
                networks.len() - 1
            });
            let (loss, parameters) = {
                // Of gigabytes one network is in memory at a time, and none while probes are fitted.
                let parameters = released::network(name)?;
                Features::released(name, self.data.clone()).check_side(&parameters.config())?;
                let tokens = self.encoding(name).run_on(on)?.0;
                let mut engine = on.network(parameters.config())?;
                let loss = loss(engine.as_mut(), &parameters, released::objective(name), &tokens)?;
                (loss, parameters.config().parameters())
            };
            let curve = self.probe(name).run_on(on)?;
            let best = curve.at(curve.chosen)?;
            rounding = Rounding::largest([rounding, curve.rounding]);
            points.push(AfterSteps {
                network,
                parameters,
                step,
                loss,
                layer: curve.chosen,
                validation: best.validation,
                test: best.test,
            });
        }
        Ok(LossAndAccuracyResult { points, loss_of: Some(self.loss_of()), rounding })
    }
}
