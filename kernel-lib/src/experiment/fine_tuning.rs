//! Fine-tuning (sections 2.3, 3.4 and 4.5): a whole network learns the classes of images.

use super::features::network_of;
use super::masks::{Masked, VOTES, modal};
use super::pretraining::{CHUNK, finished};
use super::step::Waiting;
use super::trained::{from_bytes, to_bytes};
use super::{
    AnyStep, Data, Describer, Encoding, Features, Pretraining, Snapshot, Split, Step, Untrained, Workspace,
};
use crate::augment::Augmented;
use crate::model::{Config, Network, Parameters, View, class_logits};
use crate::probe::{Accuracy, balanced_subset};
use crate::store::{Context, Files, Stored};
use crate::train::{Classification, Curve, Examples as _, Labelled, Objective, Tokens, Trainer, Training};
use crate::{Error, Result, stop};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A network that is fine-tuned: with a classification head on the mean of its features, all of it learns the classes of
/// images, by default by the sum of both losses, L_GEN + L_CLF (section 2.3).
///
/// ```no_run
/// use igpt::prelude::*;
///
/// let ar = Pretraining::of(&Profile::current()?);
/// let tuned = FineTuning::of(&ar).run()?; // pre-trains and fine-tunes, or finds the result
/// println!("{} on test images, after {:?} steps", tuned.test, tuned.best_step);
/// let from_scratch = FineTuning::untrained(&ar).run()?;
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FineTuning {
    /// The network that it starts from: pre-trained, released by others, or untrained.
    pub from: Describer,
    /// The images, and how they are varied while training.
    pub data: Data,
    /// How it is trained. The objective is that of the network it starts from.
    pub training: Training,
    /// Only so many training images of each class, chosen at random; then none is held out, and the network that is kept is
    /// the last (section 4.7). Absent: all training images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels_per_class: Option<usize>,
    /// After BERT's objective: how many masks an image is judged with, each of which has a vote (section 4.6: 5); 0: the
    /// image is judged without a mask.
    #[serde(default = "votes")]
    pub votes: usize,
}

fn votes() -> usize {
    VOTES
}

/// A fine-tuned network.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FineTuned {
    /// What it learnt: the network that was best on the validation images, or, without such, the last.
    pub parameters: Parameters,
    /// How its loss fell, and its accuracy on the validation images rose.
    pub curve: Curve,
    /// The step after which it was best on the validation images.
    pub best_step: Option<u64>,
    /// Accuracy on the images that it was trained on, as they are, not varied.
    pub training: Accuracy,
    /// Accuracy on the validation images, if some were held out.
    pub validation: Option<Accuracy>,
    /// Accuracy on the test images.
    pub test: Accuracy,
}

impl FineTuning {
    /// Of a pre-trained network, on the images that it was trained on. The paper does not publish its learning rates; "often
    /// an order of magnitude smaller" than for pre-training (section 3.4), which is what this takes. The batch is the same;
    /// there is no cosine, and no warm-up is mentioned.
    pub fn of(pretraining: &Pretraining) -> Self {
        Self::by(Describer::of(pretraining), pretraining.data.clone(), &pretraining.training)
    }

    /// Of the same network before its training.
    pub fn untrained(pretraining: &Pretraining) -> Self {
        let from = Features::untrained(pretraining).of;
        Self::by(from, pretraining.data.clone(), &pretraining.training)
    }

    /// A network of the same shape that is trained from the start to tell classes and nothing else, as it was pre-trained: with
    /// the same learning rate, warm-up and cosine. What a supervised network of like size reaches.
    pub fn supervised(pretraining: &Pretraining) -> Self {
        let alone = Classification { generative: 0.0, ..Classification::default() };
        let training = Training { classification: Some(alone), ..pretraining.training };
        Self::untrained(pretraining).training(training)
    }

    /// Of a network that others have trained: `imagegpt-small`, or `igpt-s-bert/1000000`. See [`Features::released`].
    pub fn released(name: impl Into<String>, data: Data, training: &Training) -> Self {
        Self::by(Describer::Released(name.into()), data, training)
    }

    fn by(from: Describer, data: Data, training: &Training) -> Self {
        let training = Training {
            learning_rate: training.learning_rate / 10.0,
            warm_up: crate::train::WarmUp::Steps(0),
            cosine: false,
            classification: Some(Classification::default()),
            ..*training
        };
        Self { from, data, training, labels_per_class: None, votes: VOTES }
    }

    /// The same on other images.
    #[must_use]
    pub fn on(mut self, data: Data) -> Self {
        self.data = data;
        self
    }

    /// The same with other settings of the training.
    #[must_use]
    pub fn training(mut self, training: Training) -> Self {
        self.training = training;
        self
    }

    /// The same with another loss, or another layer that is classified.
    #[must_use]
    pub fn classification(mut self, classification: Classification) -> Self {
        self.training.classification = Some(classification);
        self
    }

    /// The same with only so many training images of each class.
    #[must_use]
    pub fn labels_per_class(mut self, labels: impl Into<Option<usize>>) -> Self {
        self.labels_per_class = labels.into();
        self
    }

    /// The same from another seed: of the order of images, their variation, masks, and which labels are chosen.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.training.seed = seed;
        self
    }

    /// What the network was trained for before.
    fn objective(&self) -> Objective {
        match &self.from {
            Describer::Pretraining(of) | Describer::Snapshot(Snapshot { of, .. }) => of.training.objective,
            Describer::Untrained(Untrained { objective, .. }) => *objective,
            Describer::Released(name) => super::released::objective(name),
            Describer::Contrastive(_) | Describer::Pixels(_) | Describer::Pca(_) => Objective::Autoregressive,
        }
    }

    fn encoding(&self, split: Split) -> Encoding {
        let of = Features::describing(self.from.clone(), self.data.clone());
        Encoding { data: self.data.clone(), split, palette: of.palette().into_owned() }
    }

    /// Indices, among the training images, of those that are trained on, and of those that are held out.
    fn images(&self, labels: &[u16], classes: usize) -> Result<(Vec<usize>, Vec<usize>)> {
        match self.labels_per_class {
            None => Ok((self.data.training_positions()?, self.data.validated_with()?)),
            Some(each) => {
                let mut chosen = balanced_subset(labels, classes, each, self.training.seed, 0)?;
                chosen.sort_unstable();
                Ok((chosen, Vec::new()))
            }
        }
    }
}

impl Step for FineTuning {
    const NAME: &'static str = "fine-tuning";
    type Output = FineTuned;

    fn about(&self) -> String {
        let labels =
            self.labels_per_class.map_or(String::new(), |each| format!("{each} labels per class of "));
        format!(
            "{}, fine-tuned on {labels}{}, {}, seed {}",
            self.from, self.data, self.training.length, self.training.seed
        )
    }

    fn inputs(&self) -> Vec<AnyStep> {
        let mut inputs = vec![self.encoding(Split::Train).into(), self.encoding(Split::Test).into()];
        let mut palette = self.encoding(Split::Train).palette.inputs();
        inputs.append(&mut palette);
        if let Describer::Pretraining(of) | Describer::Snapshot(Snapshot { of, .. }) = &self.from {
            inputs.push((**of).clone().into());
        }
        inputs
    }

    fn data(&self) -> Vec<&Data> {
        vec![&self.data]
    }

    fn files(&self) -> Result<Vec<(String, String)>> {
        self.encoding(Split::Train).palette.files()
    }

    fn code(&self, on: &Workspace) -> Vec<&'static str> {
        let mut code = vec![
            on.device().module(),
            "model",
            "train",
            "augment",
            "palette",
            "experiment/fine_tuning",
            "rng",
        ];
        if let Describer::Released(name) = &self.from {
            code.push(super::released::code(name));
        }
        code
    }

    fn device<'a>(&self, on: &'a Workspace) -> &'a str {
        on.device().kind()
    }

    fn seed(&self) -> Option<u64> {
        Some(self.training.seed)
    }

    fn validate(&self) -> Result<()> {
        self.data.validate()?;
        if let Describer::Pixels(_) | Describer::Pca(_) = self.from {
            return Err(Error::invalid("pixels are no network that could be fine-tuned"));
        }
        if let Describer::Contrastive(_) = self.from {
            return Err(Error::invalid(
                "a network that is pre-trained by contrast has no loss of tokens, with which it could be fine-tuned here",
            ));
        }
        if self.training.objective != self.objective() {
            return Err(Error::invalid(format!(
                "the network was trained {}, and is to be fine-tuned {}: the objective stays the same",
                self.objective(),
                self.training.objective
            )));
        }
        if self.training.classification.is_none() {
            return Err(Error::invalid("fine-tuning needs the setting training.classification"));
        }
        if self.labels_per_class == Some(0) {
            return Err(Error::invalid("labels_per_class = 0 leaves no image to train on"));
        }
        self.training.validate_alone()
    }

    fn compute(&self, on: &Workspace, context: &Context) -> Result<FineTuned> {
        let set = self.data.load()?;
        let (labels, classes) = (&set.train().labels, set.classes().len());
        let (trained_on, held_out) = self.images(labels, classes)?;
        let of = |images: &[usize]| images.iter().map(|image| labels[*image]).collect::<Vec<_>>();

        let start = network_of(&self.from, &self.data, on)?
            .ok_or_else(|| Error::invalid("pixels are no network"))?
            .0
            .with_classes(Some(classes))?;
        let config = start.config();
        Features::describing(self.from.clone(), self.data.clone()).check_side(&config)?;
        let palette = self.encoding(Split::Train).palette.palette(on)?;
        let images = Arc::new(set.train().images.select(&trained_on)?);
        let varied = Augmented::new(images, self.data.augmentation, palette, self.training.seed)?;
        let training = Labelled::new(Arc::new(varied.at_side(self.data.side)), of(&trained_on))?;
        let seen = Tokens::new(config.context, self.encoding(Split::Train).run_on(on)?.0)?;
        let validation = Tokens::new(config.context, seen.tokens(0, &held_out)?)?;
        let validation = Labelled::new(Arc::new(validation), of(&held_out))?;

        let mut trainer =
            Trainer::new(self.training, on.network(config)?, Arc::new(training), Arc::new(validation))?
                .start_from(start)?
                .input("step", context.key().short())
                .keep_checkpoints(context.folder())?;
        let (steps, mut bar) = (trainer.steps(), Waiting::new(Self::NAME));
        finished(trainer.watch_until(steps, &mut |progress| {
            context.progress(progress.step, steps, "steps");
            bar.show(progress.step, steps, "steps");
        })?)?;
        let best_step = trainer.best_step();
        let (parameters, curve, mut network) = trainer.into_parts();

        let mut judge = |tokens: &[u16], labels: &[u16], purpose: &str| {
            let network = network.as_mut();
            Accuracy::of(&self.predict(network, &parameters, tokens, purpose)?, labels)
        };
        let training = judge(&seen.tokens(0, &trained_on)?, &of(&trained_on), "training")?;
        let validation = match held_out.is_empty() {
            true => None,
            false => Some(judge(&seen.tokens(0, &held_out)?, &of(&held_out), "validation")?),
        };
        let test = judge(&self.encoding(Split::Test).run_on(on)?.0, &set.test().labels, "test")?;
        Ok(FineTuned { parameters, curve, best_step, training, validation, test })
    }
}

impl FineTuning {
    /// The class of each of these images, by the network's classification head; after BERT's objective by the votes of
    /// several masks.
    fn predict(
        &self,
        network: &mut dyn Network,
        parameters: &Parameters,
        tokens: &[u16],
        purpose: &str,
    ) -> Result<Vec<u16>> {
        let Config { context, layers, .. } = parameters.config();
        let layer = self.training.classification.unwrap_or_default().layer(layers);
        let masks: Vec<Option<Masked>> = match self.training.objective {
            Objective::Bert { mask } if self.votes > 0 => (0..self.votes as u64)
                .map(|draw| Some(Masked { mask, seed: self.training.seed, draw }))
                .collect(),
            _ => vec![None],
        };
        let mut votes = Vec::with_capacity(masks.len());
        for masked in masks {
            let mut predicted = Vec::with_capacity(tokens.len() / context);
            for (number, chunk) in tokens.chunks(CHUNK * context).enumerate() {
                stop::check("the judging of images")?;
                let masks =
                    masked.map(|masked| masked.of(number * CHUNK, chunk.len() / context, context, purpose));
                let view = match &masks {
                    Some(masks) => View::Bidirectional(Some(masks)),
                    None => View::of(self.training.objective.is_causal()),
                };
                let features = network.features(parameters, chunk, view)?;
                predicted.extend(class_logits(parameters, &features, layer)?.likeliest());
            }
            votes.push(predicted);
        }
        Ok(modal(&votes, self.training.seed))
    }
}

impl Stored for FineTuned {
    fn write(&self, files: &mut Files) -> Result<()> {
        files.write_json("curve", &self.curve)?;
        files.write_json("config", &self.parameters.config())?;
        files.write_json("judged", &(self.best_step, self.training, self.validation, self.test))?;
        files.write_bytes("parameters", &to_bytes(&self.parameters))
    }

    fn read(files: &Files) -> Result<Self> {
        let (best_step, training, validation, test) = files.read_json("judged")?;
        Ok(Self {
            parameters: from_bytes(files.read_json("config")?, &files.read_bytes("parameters")?)?,
            curve: files.read_json("curve")?,
            best_step,
            training,
            validation,
            test,
        })
    }
}
