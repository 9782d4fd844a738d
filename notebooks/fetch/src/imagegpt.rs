//! OpenAI's weights, from the hub's `openai/imagegpt-small`, `-medium` and `-large`.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::say;
use crate::download::{self, RepositoryKind};

/// Sees to it that the cache has the network of this size; returns the folder in it.
///
/// # Errors
/// If it cannot be had.
pub(super) fn fetch(size: &str) -> Result<PathBuf> {
    let repository = format!("openai/imagegpt-{size}");
    let snapshot = download::ensure(RepositoryKind::Model, &repository, None, &wanted, &|line| say(line))?;
    say(format_args!("{repository}: revision {} is whole", &snapshot.revision[..12]));
    Ok(snapshot.folder().to_owned())
}

/// The settings, the palette, and the weights: as safetensors where they are there, else as PyTorch's pickle.
fn wanted(names: &[String]) -> Result<Vec<String>> {
    let has = |file: &str| names.iter().any(|name| name == file);
    let mut chosen = Vec::new();
    for file in ["config.json", "preprocessor_config.json"] {
        if !has(file) {
            bail!("there is no {file}");
        }
        chosen.push(file.to_owned());
    }
    let index = "model.safetensors.index.json";
    let weights = if has("model.safetensors") {
        vec!["model.safetensors".to_owned()]
    } else if has(index) {
        download::all(|name| name == index || (name.starts_with("model-") && name.ends_with(".safetensors")))(
            names,
        )?
    } else if has("pytorch_model.bin") {
        vec!["pytorch_model.bin".to_owned()]
    } else {
        bail!("there are no weights: neither model.safetensors, nor {index}, nor pytorch_model.bin");
    };
    chosen.extend(weights);
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_form_of_the_weights_is_taken() {
        let chosen = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            wanted(&names).map(|chosen| chosen.join(" ")).map_err(|error| error.to_string())
        };
        let settings = "config.json preprocessor_config.json";
        let with = |more: &[&'static str]| {
            chosen(&[&["README.md", "config.json", "preprocessor_config.json"], more].concat())
        };
        assert_eq!(with(&["pytorch_model.bin"]).unwrap(), format!("{settings} pytorch_model.bin"));
        assert_eq!(
            with(&["pytorch_model.bin", "model.safetensors"]).unwrap(),
            format!("{settings} model.safetensors")
        );
        let (index, one, two) = (
            "model.safetensors.index.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        );
        assert_eq!(with(&[one, two, index]).unwrap(), format!("{settings} {one} {two} {index}"));
        for (names, error) in [
            (with(&[one, index]), "there are only 1 of the 2 parts of model.safetensors"),
            (with(&["tf_model.h5"]), "there are no weights"),
            (chosen(&["config.json", "pytorch_model.bin"]), "there is no preprocessor_config.json"),
        ] {
            assert!(names.unwrap_err().starts_with(error), "{error}");
        }
    }
}
