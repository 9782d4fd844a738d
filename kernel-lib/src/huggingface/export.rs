//! Writing a checkpoint as transformers reads it.

use super::{Checkpoint, config, names, palette};
use crate::{Error, Result, atomic};
use safetensors::{Dtype, View};
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

/// Writes the checkpoint into a folder. What can be refused is refused before anything is written, and `config.json`,
/// without which there is no checkpoint, comes last.
pub(super) fn write(checkpoint: &Checkpoint, folder: &Path) -> Result<()> {
    let config = checkpoint.config();
    if let Some(palette) = checkpoint.palette.as_ref().filter(|palette| palette.len() != config.vocabulary) {
        return Err(Error::invalid(format!(
            "a palette of {} colours is not that of a network of {}",
            palette.len(),
            config.vocabulary
        )));
    }
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    palette::write(checkpoint.palette.as_ref(), &config, folder)?;
    let places = names::places(checkpoint.parameters.layout()).into_iter().map(|place| {
        let values = place.range.map(|range| &checkpoint.parameters.values()[range]);
        (place.name, Part { values, shape: place.shape })
    });
    // transformers asks which library wrote it, and knows its own names only.
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    atomic::write_with(&folder.join("model.safetensors"), |path| {
        safetensors::serialize_to_file(places, Some(format), path).map_err(std::io::Error::other)
    })?;
    let path = folder.join("config.json");
    let json = serde_json::to_string_pretty(&config::to_json(&config));
    let json = json.map_err(|e| Error::format(&path, e.to_string()))?;
    atomic::write(&path, format!("{json}\n").as_bytes())
}

/// One of the tensors; its bytes are made when they are written, so that there are never those of all.
struct Part<'a> {
    /// `None` for a bias, which is zero.
    values: Option<&'a [f32]>,
    shape: Vec<usize>,
}

impl View for Part<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self.values {
            Some(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            None => vec![0; self.data_len()].into(),
        }
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * size_of::<f32>()
    }
}
