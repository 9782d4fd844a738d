//! Checkpoints as Hugging Face's transformers keep them: OpenAI's released networks (`openai/imagegpt-small`, `-medium`,
//! `-large`) come in, networks trained here go out.
//!
//! ```no_run
//! use igpt::huggingface::Checkpoint;
//!
//! let checkpoint = Checkpoint::read("imagegpt-small".as_ref())?;
//! println!("{:?}", checkpoint.config());
//! checkpoint.write("copy".as_ref())?; // transformers' ImageGPTForCausalImageModeling.from_pretrained("copy") loads it
//! # Ok::<(), igpt::Error>(())
//! ```
//!
//! A checkpoint is a folder with `config.json`, the weights (`model.safetensors` or `pytorch_model.bin`, whole or in
//! shards with an index) and, for the palette, `preprocessor_config.json`. That file cannot hold a palette of greys, since
//! transformers' image processor takes red, green and blue: such a palette lies in `kmeans_centers.npy`, which has the name
//! and the form of OpenAI's own, and which transformers does not look at. Files are mapped and copied tensor by tensor,
//! so that loading takes little more memory than the network itself. They are read strictly: nothing in them is run, every
//! tensor is accounted for, and a damaged file is an error, not a panic.
//!
//! Samples and features of a checkpoint, in a cell of a notebook:
//!
//! ```no_run
//! use igpt::prelude::*;
//!
//! let checkpoint = huggingface::Checkpoint::read("target/export/quick".as_ref())?;
//! let mut network = Workspace::current()?.network(checkpoint.config())?;
//! let tokens = sample(network.as_mut(), &checkpoint.parameters, &[], 4, 0, &Sampling::default())?; // (4, T)
//! let features = network.features(&checkpoint.parameters, &tokens, igpt::model::View::Causal)?; // (4, L + 1, C)
//! let grid = ImageGrid::new().row("samples", &checkpoint.images(&tokens)?);
//! # Ok::<(), igpt::Error>(())
//! ```
//!
//! Networks that were trained here are written with a model card by [`export`](crate::export).
//!
//! Read it in this order: `config.rs` (which networks these are), `names.rs` (their tensors and ours), `weights.rs` (which
//! files hold them), `safetensors.rs` or `torch.rs` with `zip.rs` and `pickle.rs` (how), `palette.rs`, `export.rs`, `images.rs`.
//!
//! Hugging Face's own `forward` puts no SOS token before an image; ours does, as the original code. So logits are theirs for
//! their inputs `[V, x₀, x₁, …]`, where token V, the last row of their `wte`, is the SOS token.

mod config;
mod export;
mod images;
mod names;
mod palette;
mod pickle;
mod safetensors;
mod tensor;
#[cfg(test)]
mod tests;
mod torch;
mod weights;
mod zip;

use crate::Result;
use crate::model::{Config, Parameters};
use crate::palette::Palette;
use std::path::Path;

/// A network, and the palette whose colours its tokens are, if it is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The network, with its shape.
    pub parameters: Parameters,
    /// Its palette.
    pub palette: Option<Palette>,
}

impl Checkpoint {
    /// Reads the checkpoint in a folder. If there are weights of several forms, the first of `model.safetensors`,
    /// `model.safetensors.index.json`, `pytorch_model.bin`, `pytorch_model.bin.index.json` is taken. Numbers may be
    /// `F32`, `F16`, `BF16` or `F64`; they become `f32`.
    ///
    /// # Errors
    /// If a file is missing or damaged; if the configuration is that of a network that computes something else; if a
    /// tensor is missing, unexpected or of another shape; if the palette has another number of colours than the network, or
    /// there are two that differ; [`Error::Bias`](crate::Error::Bias) if a bias is not zero.
    pub fn read(folder: &Path) -> Result<Self> {
        let config = config::read(&folder.join("config.json"))?;
        let weights = weights::Weights::find(folder)?;
        let parameters = names::parameters(config, &weights.tensors()?, weights.path())?;
        let palette = palette::read(folder, &config)?;
        Ok(Self { parameters, palette })
    }

    /// The network's shape.
    pub fn config(&self) -> Config {
        self.parameters.config()
    }

    /// Why transformers' image processor (`ImageGPTImageProcessor`) cannot make this network's tokens of images; `None` if it
    /// can. transformers loads the network all the same, and whoever has tokens can use it there.
    pub fn without_processor(&self) -> Option<&'static str> {
        match &self.palette {
            Some(palette) => palette::obstacle(palette, &self.config()),
            None => Some("it needs the palette, which is not known"),
        }
    }

    /// Writes the checkpoint into a folder, which is made if it is not there: `config.json`, `model.safetensors` with zeros
    /// for biases and the SOS token as last row of `wte`, and, with a palette, `preprocessor_config.json`, or
    /// `kmeans_centers.npy` where transformers' processor [cannot use it](Checkpoint::without_processor). Each file is
    /// complete or not there, and [`Checkpoint::read`] gives what was written.
    ///
    /// # Errors
    /// If a file cannot be written, or the palette has another number of colours than the network.
    pub fn write(&self, folder: &Path) -> Result<()> {
        export::write(self, folder)
    }
}
