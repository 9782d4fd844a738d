//! Steps of all kinds as one type: what a file can hold, and what a list of steps is made of.

use super::{
    ConcatenatedProbe, Contrastive, CountBaseline, Encoding, Features, FewLabels, FineTuning, LayerHeads,
    LayerSimilarity, LearningRateSearch, LinearProbe, LossAndAccuracy, MaskedProbe, NearestNeighbours,
    PaletteFit, PcaFit, PixelPlacements, Pretraining, ReleasedLossAndAccuracy, SgdProbe, Step, Workspace,
};
use crate::store::{Description, Key, Progress, Provenance};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident($step:ty)),* $(,)?) => {
        /// A step of any kind. As JSON it is the step with its kind:
        /// `{"step": "linear-probe", "features": {…}, …}`.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "step", rename_all = "kebab-case")]
        #[non_exhaustive]
        pub enum AnyStep {
            $($(#[$doc])* $kind(Box<$step>),)*
        }

        $(impl From<$step> for AnyStep {
            fn from(step: $step) -> Self {
                Self::$kind(Box::new(step))
            }
        })*

        // What most cells call of a step. A trait's own methods are compiled in every crate that calls them, and so in every cell:
        // with the store, and with reading and writing the step and its result as JSON, more than the rest of such a cell. These
        // are compiled here.
        $(impl $step {
            /// As [`Step::run`].
            ///
            /// # Errors
            /// As [`Step::run`].
            pub fn run(&self) -> Result<<Self as Step>::Output> {
                Step::run(self)
            }

            /// As [`Step::run_on`].
            ///
            /// # Errors
            /// As [`Step::run`].
            pub fn run_on(&self, on: &Workspace) -> Result<<Self as Step>::Output> {
                Step::run_on(self, on)
            }

            /// As [`Step::description`].
            ///
            /// # Errors
            /// As [`Step::description`].
            pub fn description(&self, on: &Workspace) -> Result<Description> {
                Step::description(self, on)
            }

            /// As [`Step::key`].
            ///
            /// # Errors
            /// As [`Step::description`].
            pub fn key(&self, on: &Workspace) -> Result<Key> {
                Step::key(self, on)
            }
        })*

        impl AnyStep {
            /// What its kind is called in the store.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$kind(_) => <$step>::NAME,)* }
            }

            /// What it computes, in a sentence without a full stop.
            pub fn about(&self) -> String {
                match self { $(Self::$kind(step) => step.about(),)* }
            }

            /// The steps whose results it reads.
            pub fn inputs(&self) -> Vec<AnyStep> {
                match self { $(Self::$kind(step) => step.inputs(),)* }
            }

            /// Everything that decides its result.
            ///
            /// # Errors
            /// As [`Step::description`].
            pub fn description(&self, on: &Workspace) -> Result<Description> {
                match self { $(Self::$kind(step) => step.description(on),)* }
            }

            /// Computes its result, and all that it needs, unless the store has it.
            ///
            /// # Errors
            /// As [`Step::run`].
            pub fn run_on(&self, on: &Workspace) -> Result<()> {
                match self { $(Self::$kind(step) => step.run_on(on).map(|_| ()),)* }
            }
        }
    };
}

kinds! {
    /// A palette.
    Palette(PaletteFit),
    /// Images as tokens.
    Tokens(Encoding),
    /// A network that is trained.
    PreTraining(Pretraining),
    /// Features of images.
    Features(Features),
    /// Linear classifiers of features.
    LinearProbe(LinearProbe),
    /// Linear classifiers of masked images' features.
    MaskedProbe(MaskedProbe),
    /// A network that is pre-trained by contrast.
    Contrastive(Contrastive),
    /// A network that learns classes.
    FineTuning(FineTuning),
    /// A linear classifier of several layers' features side by side.
    ConcatenatedProbe(ConcatenatedProbe),
    /// Linear classifiers by few labels.
    FewLabels(FewLabels),
    /// Principal components of pixels.
    PcaFit(PcaFit),
    /// A linear classifier of pixels in several places.
    PixelPlacements(PixelPlacements),
    /// Classes by nearest neighbours.
    NearestNeighbours(NearestNeighbours),
    /// The loss of a model that only counts.
    CountBaseline(CountBaseline),
    /// How alike layers are.
    LayerSimilarity(LayerSimilarity),
    /// What each layer can still predict.
    LayerHeads(LayerHeads),
    /// A linear classifier that is trained by SGD.
    SgdProbe(SgdProbe),
    /// The search for a learning rate.
    LearningRateSearch(LearningRateSearch),
    /// Loss and accuracy of networks while they are trained.
    LossAndAccuracy(LossAndAccuracy),
    /// Loss and accuracy of networks that others have trained.
    ReleasedLossAndAccuracy(ReleasedLossAndAccuracy),
}

impl AnyStep {
    /// The step that a file holds as JSON.
    ///
    /// # Errors
    /// If it cannot be read, or is no step.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        serde_json::from_slice(&text).map_err(|e| Error::format(path, format!("it is no step: {e}")))
    }

    /// The step as JSON, for a file.
    ///
    /// # Errors
    /// If a setting is a number that JSON does not have.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).map_err(|e| Error::invalid(format!("{}: {e}", self.name())))
    }

    /// What its result is stored under.
    ///
    /// # Errors
    /// As [`Step::description`].
    pub fn key(&self, on: &Workspace) -> Result<Key> {
        Ok(self.description(on)?.key())
    }

    /// Where its stored result comes from; `None` if there is none.
    ///
    /// # Errors
    /// If there is one, but it is damaged; as [`Step::description`].
    pub fn provenance(&self, on: &Workspace) -> Result<Option<Provenance>> {
        on.store().provenance(&self.description(on)?)
    }

    /// How far its computation is, if some process computes it now.
    ///
    /// # Errors
    /// As [`Step::description`].
    pub fn progress(&self, on: &Workspace) -> Result<Option<Progress>> {
        Ok(on.store().progress(&self.description(on)?))
    }
}

/// These steps and all that they need, each once, and each after what it needs.
pub fn with_inputs(steps: impl IntoIterator<Item = AnyStep>) -> Vec<AnyStep> {
    fn add(step: AnyStep, all: &mut Vec<AnyStep>) {
        if all.contains(&step) {
            return;
        }
        for input in step.inputs() {
            add(input, all);
        }
        all.push(step);
    }
    let mut all = Vec::new();
    steps.into_iter().for_each(|step| add(step, &mut all));
    all
}
