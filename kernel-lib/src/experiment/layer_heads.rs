//! What each layer of a network can still predict (section 4.1).

use super::step::Waiting;
use super::{AnyStep, Data, Pretraining, Split, Step, Workspace};
use crate::model::{Batch, Parameters, Target};
use crate::show::{Cell, Show, Table, fixed};
use crate::store::Context;
use crate::train::{Adam, AdamState, Batches, Examples as _, Schedule};
use crate::{Error, Result, stop};
use serde::{Deserialize, Serialize};

/// The loss on the validation images, in nats per predicted token, if the residual stream of a layer went straight to the
/// output: through the network's own final RMSNorm and output matrix, and through an output matrix that is trained for this
/// layer, while the blocks stay as they are.
///
/// The paper says of late layers that they specialise in predicting the next pixel, and that so their features get worse. If
/// that is so, what the trained outputs lose gets less up to the last layer, also where the probe's accuracy falls; if the stream
/// were only stuck, neither would change.
///
/// An output matrix by itself is a logistic regression, whose best loss is the only one: it starts at zero, and its learning rate
/// falls to zero by half a cosine. It sees the images that the network is trained on, varied as they are there. An
/// interrupted computation begins anew.
///
/// ```no_run
/// use igpt::prelude::*;
///
/// let ar = Pretraining::of(&Profile::current()?);
/// let losses = LayerHeads::of(&ar).run()?;
/// println!("{:.3} nats from layer 3", losses.trained[3]);
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerHeads {
    /// The network; its batches, order of images and masks are used here, too.
    pub pretraining: Pretraining,
    /// For how many steps each layer's output is trained.
    pub steps: u64,
    /// Adam's learning rate at the start.
    pub learning_rate: f64,
}

/// The loss by layer, L + 1 of each: from the token embedding to the last block's end, in nats per predicted token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LayerLosses {
    /// By the network's own output matrix.
    pub own: Vec<f64>,
    /// By one that is trained for the layer.
    pub trained: Vec<f64>,
}

impl LayerHeads {
    /// Of this network: 200 steps for each layer.
    pub fn of(pretraining: &Pretraining) -> Self {
        Self { pretraining: pretraining.clone(), steps: 200, learning_rate: 0.01 }
    }

    /// The same with so many steps for each layer.
    #[must_use]
    pub fn steps(self, steps: u64) -> Self {
        Self { steps, ..self }
    }
}

impl LayerLosses {
    fn table(&self) -> Table {
        let rows = self.own.iter().zip(&self.trained).enumerate();
        let rows =
            rows.map(|(layer, (own, trained))| [Cell::from(layer), fixed(*own, 4), fixed(*trained, 4)]);
        Table::of(["Layer", "Own output", "Output trained for the layer"], rows)
            .caption("Loss by layer (nats per token)")
            .note("On validation images. 0 is the token embedding.")
    }
}

impl Show for LayerLosses {
    fn to_html(&self) -> String {
        self.table().to_html()
    }
    fn to_text(&self) -> String {
        self.table().to_text()
    }
}

crate::show::displays!(LayerLosses);

impl Step for LayerHeads {
    const NAME: &'static str = "layer-heads";
    type Output = LayerLosses;

    fn about(&self) -> String {
        let Self { pretraining, steps, .. } = self;
        format!("the loss by layer, with outputs trained for {steps} steps, of {}", pretraining.about())
    }

    fn inputs(&self) -> Vec<AnyStep> {
        vec![self.pretraining.clone().into(), self.pretraining.encoding(Split::Train).into()]
    }

    fn data(&self) -> Vec<&Data> {
        vec![&self.pretraining.data]
    }

    fn code(&self, on: &Workspace) -> Vec<&'static str> {
        vec![on.device().module(), "model", "train", "augment", "palette", "experiment/layer_heads", "rng"]
    }

    fn device<'a>(&self, on: &'a Workspace) -> &'a str {
        on.device().kind()
    }

    fn validate(&self) -> Result<()> {
        self.pretraining.validate()?;
        if self.steps == 0 {
            return Err(Error::invalid("0 steps train no output: take a hundred or more"));
        }
        Schedule::new(self.learning_rate, 0, self.steps).map(|_| ())
    }

    fn compute(&self, on: &Workspace, context: &Context) -> Result<LayerLosses> {
        let parameters = self.pretraining.run_on(on)?.parameters;
        let unseen = self.pretraining.validation_tokens_on(on)?;
        let own = self.pretraining.losses_by_layer_on(on, &parameters, &unseen)?;
        let total = own.len() as u64 * self.steps;
        let mut bar = Waiting::new(Self::NAME);
        let mut trained = Vec::new();
        for layer in 0..own.len() {
            let before = layer as u64 * self.steps;
            let headed = self.train(on, &parameters, layer, &mut |step| {
                context.progress(before + step, total, "steps");
                bar.show(before + step, total, "steps");
            })?;
            trained.push(self.pretraining.losses_by_layer_on(on, &headed, &unseen)?[layer]);
        }
        Ok(LayerLosses { own, trained })
    }
}

impl LayerHeads {
    /// The network with an output matrix for this layer.
    fn train(
        &self,
        on: &Workspace,
        parameters: &Parameters,
        layer: usize,
        report: &mut dyn FnMut(u64),
    ) -> Result<Parameters> {
        let (config, settings) = (parameters.config(), self.pretraining.training);
        let examples = self.pretraining.examples(on)?;
        let mut network = on.network(config)?;
        let mut headed = parameters.clone();
        // The RMSNorm's weight is one factor of each column of the matrix, and the matrix learns that by itself.
        headed.get_mut("ln_f")?.fill(1.0);
        headed.get_mut("head")?.fill(0.0);
        let at = headed.layout().entry("head")?.range.clone();
        let mut gradients = Parameters::zeros(config)?;
        let mut moments = AdamState::new(at.len());
        let mut batches = Batches::new(examples.len(), settings.batch, settings.seed)?;
        let schedule = Schedule::new(self.learning_rate, 0, self.steps)?;
        for step in 0..self.steps {
            stop::check("the layers' outputs")?;
            report(step);
            let images = batches.of(step);
            let tokens = examples.tokens(step, &images)?;
            let masked = settings.objective.masks(settings.seed, "mask", step, &images, config.context);
            let batch = Batch::new(&tokens, Target::of(masked.as_deref()));
            gradients.values_mut().fill(0.0);
            network.head_gradients(&headed, &batch, layer, 1.0, &mut gradients)?;
            let (values, gradients) = (headed.values_mut(), gradients.values());
            let group = [(0..at.len(), false)];
            moments.step(
                &Adam::default(),
                &group,
                step,
                schedule.at(step),
                &mut values[at.clone()],
                &gradients[at.clone()],
            )?;
        }
        Ok(headed)
    }
}
