//! What a notebook imports with `use igpt::prelude::*;`.

pub use crate::augment::{Augmentation, Augmented};
pub use crate::data::{self, Dataset, Images};
pub use crate::experiment::{
    self, AnyStep, ConcatenatedProbe, Contrastive, CountBaseline, Data, Features, FewLabels, FineTuned,
    FineTuning, LayerHeads, LayerSimilarity, LearningRateSearch, LinearProbe, LossAndAccuracy, MaskedProbe,
    NearestNeighbours, PaletteFit, PcaFit, PixelPlacements, Pretraining, Profile, SeedCurves, SgdProbe,
    Split, Step, Trained, Workspace,
};
pub use crate::hub;
pub use crate::huggingface;
pub use crate::model::{Batch, Config, ImageGpt, Network, Parameters, Reference};
pub use crate::palette::{self, KMeans, Palette};
pub use crate::paper::{self, Verdict};
pub use crate::probe::{self, FeatureLayers, FeatureMatrix, Probe};
pub use crate::sample::{Sampling, infill, sample};
pub use crate::show::ByDebug as _;
pub use crate::show::{
    self, Bar, Cell, Figure, ImageGrid, Page, Show, Swatches, Table, Tile, fixed, percent,
};
pub use crate::statistics::{Effect, RankCorrelation};
pub use crate::stop;
pub use crate::store::{Description, Store};
pub use crate::train::{Classification, Examples, Objective, Tokens, Trainer, Training};
pub use crate::{Error, Image, Result};
pub use candle_core::{D, DType, Device, IndexOp, Tensor, Var};
