//! Checkpoints of OpenAI's original code (openai/image-gpt): what TensorFlow wrote, read without TensorFlow. They are the
//! only released networks that were trained by BERT's objective, and the only ones from before the end of a training (after
//! 131,000, 262,000 and 524,000 steps).
//!
//! ```no_run
//! use igpt::model::View;
//! use igpt::openai::Checkpoint;
//!
//! let bert = Checkpoint::read("igpt-s-bert/1000000/model.ckpt-1000000".as_ref())?;
//! println!("{:?}", bert.parameters.config());
//! let view = View::of(bert.causal); // how images go in
//! # Ok::<(), igpt::Error>(())
//! ```
//!
//! A checkpoint `model.ckpt-N` is `model.ckpt-N.index` and its shards, `model.ckpt-N.data-00000-of-00032` and so on, in one
//! folder. `model.ckpt-N.meta`, the graph, is not looked at. All of it is read strictly: every variable of the network is
//! accounted for, checksums are compared, and a damaged file is an error that names it.
//!
//! Read it in this order: `variables.rs` (their variables and our parameters), `bundle.rs` (an index and its shards),
//! `table.rs` and `fields.rs` (what the index is made of), `crc32c.rs`, `released.rs` (what OpenAI's checkpoints are called).

mod bundle;
mod crc32c;
mod fields;
mod released;
mod table;
#[cfg(test)]
mod tests;
mod variables;

use crate::model::{Config, Parameters};
use crate::{Error, Result};
use bundle::Bundle;
pub use released::{Released, found, released};
pub(crate) use released::{is_causal, is_name, parts, unknown};
use std::path::{Path, PathBuf};

/// A network of OpenAI's original code.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The network, with its shape. One that was trained by BERT's objective has no SOS token; its vector is zero here.
    pub parameters: Parameters,
    /// Whether it was trained autoregressively; else it was by BERT's objective. See [`View::of`](crate::model::View::of).
    pub causal: bool,
}

impl Checkpoint {
    /// Reads a checkpoint: `path` is its name, as TensorFlow has it (`…/model.ckpt-1000000`), its index
    /// (`…/model.ckpt-1000000.index`), or a folder with one checkpoint in it.
    ///
    /// Its variables must be those of the network, in `f32`; what a training keeps beside them (Adam's moments, the step) is
    /// left out. The network's shape is that of its variables.
    ///
    /// # Errors
    /// If a file is missing, cut short or damaged; if a variable is missing, unexpected, or of another shape or type; if the
    /// folder has no checkpoint, or several.
    pub fn read(path: &Path) -> Result<Self> {
        let (parameters, causal) = variables::parameters(&Bundle::open(&name(path)?)?)?;
        Ok(Self { parameters, causal })
    }

    /// The network's shape.
    pub fn config(&self) -> Config {
        self.parameters.config()
    }
}

/// The name of the checkpoint at a path.
fn name(path: &Path) -> Result<PathBuf> {
    if path.extension().is_some_and(|ending| ending == "index") {
        return Ok(path.with_extension(""));
    }
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let io = |e| Error::io(path, e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(io)? {
        let file = entry.map_err(io)?.path();
        if file.extension().is_some_and(|ending| ending == "index") {
            found.push(file.with_extension(""));
        }
    }
    found.sort();
    match &found[..] {
        [one] => Ok(one.clone()),
        [] => Err(Error::format(path, "no checkpoint of TensorFlow in it: there is no file NAME.index")),
        [one, other, ..] => Err(Error::format(
            path,
            format!("{} checkpoints in it: name one, {} or {}", found.len(), one.display(), other.display()),
        )),
    }
}
