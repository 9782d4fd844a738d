//! Features of images (section 2.4): what a network says of each image, layer by layer.

mod precision;
mod stored;
mod written;

use super::masks::Masked;
use super::pretraining::CHUNK;
use super::profile::Model;
use super::step::Waiting;
use super::{
    AnyStep, Contrastive, Data, Encoding, PaletteOf, PcaFit, Pretraining, Split, Step, Workspace, pca,
    released,
};
use crate::model::{Config, Parameters, View};
use crate::pca::Pca;
use crate::store::Context;
use crate::train::Objective;
use crate::{Error, Result, stop};
pub use precision::FeaturePrecision;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
pub use stored::StoredFeatures;
use written::Written;

/// Features of images at every layer of a network.
///
/// ```no_run
/// use igpt::prelude::*;
///
/// let ar = Pretraining::of(&Profile::current()?);
/// let features = Features::of(&ar); // of the training images of its data
/// let elsewhere = Features::of(&ar).on(Data::of("cifar10", 14)).split(Split::Test);
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Features {
    /// What describes the images.
    pub of: Describer,
    /// The images.
    pub data: Data,
    /// Which of them.
    pub split: Split,
    /// Only the first so many; absent: all.
    #[serde(default)]
    pub first: Option<usize>,
    /// Which tokens are masked, for a network trained by BERT's objective; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masked: Option<Masked>,
    /// How they are kept on the disk; absent: as f32. Not written where it is f32, so that steps are described as they were before
    /// there was a choice.
    #[serde(default, skip_serializing_if = "FeaturePrecision::is_f32")]
    pub precision: FeaturePrecision,
}

/// What describes images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Describer {
    /// A network that is pre-trained.
    Pretraining(Box<Pretraining>),
    /// A network after some steps of its training.
    Snapshot(Snapshot),
    /// A network that others have trained: `imagegpt-small`.
    Released(String),
    /// A network that is pre-trained by contrast.
    Contrastive(Box<Contrastive>),
    /// A network before any training.
    Untrained(Untrained),
    /// The pixels themselves, as one layer: what a network sees, in the colours of the palette.
    Pixels(PaletteOf),
    /// Principal components of these pixels, as one layer.
    Pca(PcaFit),
}

impl Describer {
    /// The network of a pre-training: the released one itself, where it is one. Of one that was changed an error will be made.
    pub(super) fn of(pretraining: &Pretraining) -> Self {
        match pretraining.is_released() {
            Some(name) => Self::Released(name.to_owned()),
            None => Self::Pretraining(Box::new(pretraining.clone())),
        }
    }
}

/// A network after some steps of its training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// The training, which keeps it.
    pub of: Box<Pretraining>,
    /// After how many steps: one of [`Pretraining::after`].
    pub step: u64,
}

/// A network before any training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Untrained {
    /// Its shape.
    pub network: Model,
    /// What makes tokens of images.
    pub palette: PaletteOf,
    /// What it would be trained for: that decides what its features see.
    pub objective: Objective,
    /// Of its parameters.
    pub seed: u64,
}

impl Features {
    /// Features of the training images that a network is pre-trained on.
    pub fn of(pretraining: &Pretraining) -> Self {
        Self::by(Describer::of(pretraining), pretraining.data.clone())
    }

    /// The same of the network after so many steps, one of [`Pretraining::after`].
    pub fn after(pretraining: &Pretraining, step: u64) -> Self {
        let of = Box::new(pretraining.clone());
        Self::by(Describer::Snapshot(Snapshot { of, step }), pretraining.data.clone())
    }

    /// The same of the network before its training.
    pub fn untrained(pretraining: &Pretraining) -> Self {
        let Pretraining { network, palette, training, .. } = pretraining;
        let (objective, seed) = (training.objective, training.seed);
        let untrained = Untrained { network: *network, palette: palette.clone(), objective, seed };
        Self::by(Describer::Untrained(untrained), pretraining.data.clone())
    }

    /// The pixels that a network sees, as one layer.
    pub fn pixels(pretraining: &Pretraining) -> Self {
        Self::by(Describer::Pixels(pretraining.palette.clone()), pretraining.data.clone())
    }

    /// Features of the training images that a network is pre-trained on by contrast.
    pub fn contrastive(contrastive: &Contrastive) -> Self {
        Self::by(Describer::Contrastive(Box::new(contrastive.clone())), contrastive.data.clone())
    }

    /// So many principal components of these pixels, as one layer.
    pub fn pca(pretraining: &Pretraining, components: usize) -> Self {
        let Pretraining { data, palette, .. } = pretraining;
        Self::by(Describer::Pca(PcaFit::of(data, palette, components)), data.clone())
    }

    /// Features of the training images of a data set, by a network that others have trained: `imagegpt-small`, or one of
    /// OpenAI's own checkpoints, `igpt-s-bert/1000000` (see [`openai::released`](crate::openai::released)).
    pub fn released(name: impl Into<String>, data: Data) -> Self {
        Self::by(Describer::Released(name.into()), data)
    }

    fn by(of: Describer, data: Data) -> Self {
        Self { of, data, split: Split::Train, first: None, masked: None, precision: FeaturePrecision::F32 }
    }

    /// Features of the training images of a data set, by a network or its like.
    pub(super) fn describing(of: Describer, data: Data) -> Self {
        Self::by(of, data)
    }

    /// The same of masked images.
    #[must_use]
    pub fn masked(mut self, masked: impl Into<Option<Masked>>) -> Self {
        self.masked = masked.into();
        self
    }

    /// The same of other images.
    #[must_use]
    pub fn on(mut self, data: Data) -> Self {
        self.data = data;
        self
    }

    /// The same of another split.
    #[must_use]
    pub fn split(mut self, split: Split) -> Self {
        self.split = split;
        self
    }

    /// The same of the first so many images of the split only.
    #[must_use]
    pub fn first(mut self, images: impl Into<Option<usize>>) -> Self {
        self.first = images.into();
        self
    }

    /// The same, kept on the disk in this precision: f16 takes half the room of f32. Tables of what is made of them say what
    /// rounding did.
    ///
    /// ```no_run
    /// use igpt::prelude::*;
    ///
    /// let features = Features::released("imagegpt-large", Data::of("cifar10", 32));
    /// let curve = LinearProbe::of(features.precision(experiment::FeaturePrecision::F16)).run()?;
    /// println!("{}", curve.rounding.map_or(String::new(), |rounding| rounding.to_string()));
    /// # Ok::<(), igpt::Error>(())
    /// ```
    #[must_use]
    pub fn precision(mut self, precision: FeaturePrecision) -> Self {
        self.precision = precision;
        self
    }

    pub(super) fn palette(&self) -> Cow<'_, PaletteOf> {
        match &self.of {
            Describer::Pretraining(pretraining) => Cow::Borrowed(&pretraining.palette),
            Describer::Contrastive(contrastive) => Cow::Borrowed(&contrastive.palette),
            Describer::Snapshot(snapshot) => Cow::Borrowed(&snapshot.of.palette),
            Describer::Untrained(untrained) => Cow::Borrowed(&untrained.palette),
            Describer::Pixels(palette) => Cow::Borrowed(palette),
            Describer::Pca(fit) => Cow::Borrowed(&fit.palette),
            Describer::Released(name) => Cow::Owned(PaletteOf::Released(name.clone())),
        }
    }

    fn encoding(&self) -> Encoding {
        Encoding { data: self.data.clone(), split: self.split, palette: self.palette().into_owned() }
    }

    /// Whether none of the network's tokens sees a later one.
    fn is_causal(&self) -> bool {
        match &self.of {
            Describer::Pretraining(of) | Describer::Snapshot(Snapshot { of, .. }) => {
                of.training.objective.is_causal()
            }
            Describer::Contrastive(contrastive) => contrastive.contrast.is_causal(),
            Describer::Untrained(untrained) => untrained.objective.is_causal(),
            Describer::Released(name) => released::objective(name).is_causal(),
            Describer::Pixels(_) | Describer::Pca(_) => true,
        }
    }

    /// Checks that images of this size are those that the network reads.
    pub(super) fn check_side(&self, config: &Config) -> Result<()> {
        let side = self.data.side;
        if side * side == config.context {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "images of {side} × {side} pixels are not those of {0} × {0} that the network reads: set the side of the data to {0}",
            config.context.isqrt()
        )))
    }
}

/// The network that describes images, and whether none of its tokens sees a later one; `None` for pixels and their components.
pub(super) fn network_of(of: &Describer, data: &Data, on: &Workspace) -> Result<Option<(Parameters, bool)>> {
    Ok(Some(match of {
        Describer::Pretraining(pretraining) => {
            let trained = pretraining.run_on(on)?;
            (trained.parameters, pretraining.training.objective.is_causal())
        }
        Describer::Snapshot(Snapshot { of, step }) => {
            let mut kept = of.run_on(on)?.snapshots.into_iter();
            let (_, parameters) = kept.find(|(after, _)| after == step).ok_or_else(|| not_kept(of, *step))?;
            (parameters, of.training.objective.is_causal())
        }
        Describer::Contrastive(contrastive) => {
            (contrastive.run_on(on)?.parameters, contrastive.contrast.is_causal())
        }
        Describer::Untrained(untrained) => {
            let config = super::pretraining::config(data, &untrained.palette, untrained.network)?;
            (Parameters::init(config, untrained.seed)?, untrained.objective.is_causal())
        }
        Describer::Released(name) => (released::network(name)?, released::objective(name).is_causal()),
        Describer::Pixels(_) | Describer::Pca(_) => return Ok(None),
    }))
}

fn not_kept(of: &Pretraining, step: u64) -> Error {
    Error::invalid(format!(
        "the network is not kept after step {step}, but after {:?}: name the step in the training's setting after",
        of.after
    ))
}

impl std::fmt::Display for Describer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pretraining(pretraining) => f.write_str(&pretraining.about()),
            Self::Snapshot(Snapshot { of, step }) => write!(f, "{}, after {step} steps", of.about()),
            Self::Released(name) => f.write_str(name),
            Self::Contrastive(contrastive) => f.write_str(&contrastive.about()),
            Self::Untrained(Untrained { network: Model { layers, width, .. }, seed, .. }) => {
                write!(f, "an untrained network of {layers} layers × {width}, seed {seed}")
            }
            Self::Pixels(palette) => write!(f, "pixels in {palette}"),
            Self::Pca(fit) => f.write_str(&fit.about()),
        }
    }
}

impl Step for Features {
    const NAME: &'static str = "features";
    type Output = StoredFeatures;

    fn about(&self) -> String {
        let mut first = self.first.map_or(String::new(), |count| format!("first {count} "));
        if let Some(Masked { mask, draw, .. }) = self.masked {
            first.push_str(&format!("masked (each token with probability {mask}, draw {draw}) "));
        }
        let kept = if self.precision.is_f32() { "" } else { ", kept as f16" };
        format!("features of the {first}{} images of {}, by {}{kept}", self.split, self.data, self.of)
    }

    fn inputs(&self) -> Vec<AnyStep> {
        let mut inputs = vec![self.encoding().into()];
        if let Describer::Pretraining(of) | Describer::Snapshot(Snapshot { of, .. }) = &self.of {
            inputs.push((**of).clone().into());
        }
        if let Describer::Contrastive(contrastive) = &self.of {
            inputs.push((**contrastive).clone().into());
        }
        inputs.extend(match &self.of {
            Describer::Pixels(palette) => palette.inputs(),
            Describer::Pca(fit) => vec![fit.clone().into()],
            _ => Vec::new(),
        });
        inputs
    }

    fn files(&self) -> Result<Vec<(String, String)>> {
        self.palette().files()
    }

    fn code(&self, on: &Workspace) -> Vec<&'static str> {
        match self.of {
            Describer::Pixels(_) | Describer::Pca(_) => vec!["palette", "pca", "experiment/features"],
            Describer::Released(ref name) => {
                vec![on.device().module(), "model", released::code(name), "experiment/features"]
            }
            _ => vec![on.device().module(), "model", "experiment/features"],
        }
    }

    fn device<'a>(&self, on: &'a Workspace) -> &'a str {
        match self.of {
            Describer::Pixels(_) | Describer::Pca(_) => "cpu",
            _ => on.device().kind(),
        }
    }

    fn validate(&self) -> Result<()> {
        self.data.validate()?;
        if let Some(Masked { mask, .. }) = self.masked {
            if self.is_causal() {
                return Err(Error::invalid("only a network trained by BERT's objective knows masked images"));
            }
            Objective::Bert { mask }.validate()?;
        }
        if let Describer::Pretraining(of) | Describer::Snapshot(Snapshot { of, .. }) = &self.of {
            self.check_side(&of.config()?)?;
        }
        match &self.of {
            Describer::Snapshot(Snapshot { of, step }) if !of.after.contains(step) => {
                Err(not_kept(of, *step))
            }
            _ => Ok(()),
        }
    }

    fn compute(&self, on: &Workspace, context: &Context) -> Result<StoredFeatures> {
        let (encoding, network) = (self.encoding(), network_of(&self.of, &self.data, on)?);
        let side = self.data.side * self.data.side;
        let mut tokens = encoding.run_on(on)?.0;
        if let Some(first) = self.first {
            tokens.truncate(first.saturating_mul(side));
        }
        let images = tokens.len() / side;
        let Some((parameters, causal)) = network else {
            let palette = self.palette().palette(on)?;
            let pca = match &self.of {
                Describer::Pca(fit) => Some(fit.run_on(on)?),
                _ => None,
            };
            let width = pca.as_ref().map_or(side * palette.channels(), Pca::count);
            let mut written = Written::new(context, images, 1, width, self.precision)?;
            for chunk in tokens[written.images() * side..].chunks(CHUNK * side) {
                let pixels = pca::pixels(&palette, chunk)?;
                written.add(&match &pca {
                    Some(pca) => pca.transform(&pixels)?,
                    None => pixels,
                })?;
            }
            return written.end(images);
        };
        let config = parameters.config();
        self.check_side(&config)?;
        let mut network = on.network(config)?;
        let mut written = Written::new(context, images, config.layers + 1, config.width, self.precision)?;
        let mut bar = Waiting::new(Self::NAME);
        // Of an earlier computation that was broken off.
        context.progress(written.images() as u64, images as u64, "images");
        for chunk in tokens[written.images() * side..].chunks(on.images_at_a_time(config) * side) {
            stop::check("the features")?;
            let first = written.images();
            let masks =
                self.masked.map(|masked| masked.of(first, chunk.len() / side, side, &self.split.to_string()));
            let view = match &masks {
                Some(masks) => View::Bidirectional(Some(masks)),
                None => View::of(causal),
            };
            written.add(&network.features(&parameters, chunk, view)?)?;
            let done = written.images() as u64;
            context.progress(done, images as u64, "images");
            bar.show(done, images as u64, "images");
        }
        written.end(images)
    }
}
