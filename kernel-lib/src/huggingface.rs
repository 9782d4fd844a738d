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
//! shards with an index) and, for the palette, `preprocessor_config.json`. Files are mapped and copied tensor by tensor,
//! so that loading takes little more memory than the network itself. They are read strictly: nothing in them is run, every
//! tensor is accounted for, and a damaged file is an error, not a panic.
//!
//! Read it in this order: `config.rs` (which networks these are), `names.rs` (their tensors and ours), `weights.rs` (which
//! files hold them), `safetensors.rs` or `torch.rs` with `zip.rs` and `pickle.rs` (how), `export.rs`.
//!
//! Hugging Face's own `forward` puts no SOS token before an image; ours does, as the original code. So logits are theirs for
//! their inputs `[V, x₀, x₁, …]`, where token V, the last row of their `wte`, is the SOS token.

mod config;
mod export;
mod names;
mod pickle;
mod safetensors;
mod tensor;
#[cfg(test)]
mod tests;
mod torch;
mod weights;
mod zip;

use crate::model::{Config, Parameters};
use crate::palette::Palette;
use crate::{Error, Result};
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
    /// tensor is missing, unexpected or of another shape; if the palette has another number of colours than the network;
    /// [`Error::Bias`] if a bias is not zero.
    pub fn read(folder: &Path) -> Result<Self> {
        let config = config::read(&folder.join("config.json"))?;
        let weights = weights::Weights::find(folder)?;
        let parameters = names::parameters(config, &weights.tensors()?, weights.path())?;
        let path = folder.join("preprocessor_config.json");
        let palette = if path.exists() { Some(Palette::read_preprocessor_config(&path)?) } else { None };
        match &palette {
            Some(palette) if palette.len() != config.vocabulary => Err(Error::format(
                path,
                format!(
                    "a palette of {} colours beside a network of {}: the files are not of one checkpoint",
                    palette.len(),
                    config.vocabulary
                ),
            )),
            _ => Ok(Self { parameters, palette }),
        }
    }

    /// The network's shape.
    pub fn config(&self) -> Config {
        self.parameters.config()
    }

    /// Writes the checkpoint into a folder, which is made if it is not there: `config.json`, `model.safetensors` with zeros
    /// for biases and the SOS token as last row of `wte`, and, with a palette, `preprocessor_config.json`. Each file is
    /// complete or not there.
    ///
    /// # Errors
    /// If a file cannot be written; if the palette is not the network's, or one of greys, or images are not square
    /// (transformers' processor takes square images in RGB; without a palette such a network can be written).
    pub fn write(&self, folder: &Path) -> Result<()> {
        export::write(self, folder)
    }
}
