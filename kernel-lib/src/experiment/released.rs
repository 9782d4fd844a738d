//! Networks that others have trained and released: on the Hugging Face hub (`imagegpt-small`), and as OpenAI's original code
//! has them (`igpt-s-bert/1000000`, see [`openai`]).

use super::profile::{Model, Profile};
use crate::huggingface::Checkpoint;
use crate::model::{Config, Parameters};
use crate::palette::Palette;
use crate::train::{Objective, Training};
use crate::{Error, Result, hub, openai};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A released network in the place of one that is pre-trained: its name, and what its authors trained, so that a step that asks for
/// something else (another seed, another shape) is an error and not this network under another name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Released {
    /// `imagegpt-small`, `igpt-s-bert/1000000`
    pub name: String,
    network: Model,
    training: Training,
}

impl Released {
    pub(super) fn of(name: &str, profile: &Profile) -> Self {
        Self { name: name.to_owned(), network: profile.model, training: profile.training }
    }

    /// Whether a pre-training of this shape, so trained and so kept, is this network, and nothing that was not released.
    pub(super) fn check(&self, network: &Model, training: &Training, after: &[u64]) -> Result<()> {
        let of = &self.training;
        let other = [
            ("shape", *network != self.network),
            ("seed", training.seed != of.seed),
            ("objective", training.objective != of.objective),
            ("learning rate", training.learning_rate != of.learning_rate),
            ("training", training != of),
            ("snapshots along its training", !after.is_empty()),
        ];
        match other.iter().find(|(_, differs)| *differs) {
            None => Ok(()),
            Some((what, _)) => Err(Error::invalid(format!(
                "this profile's network is {}, which others have trained: none with another {what} was released, and nothing \
                 is trained here. Choose a profile that trains networks (IGPT_PROFILE=quick)",
                self.name
            ))),
        }
    }

    /// Its parameters, which must have the shape that the profile says.
    pub(super) fn parameters(&self, config: &Config) -> Result<Parameters> {
        let causal =
            |objective: Objective| if objective.is_causal() { "the next token" } else { "masked tokens" };
        let (trained_for, said) = (objective(&self.name), self.training.objective);
        if trained_for.is_causal() != said.is_causal() {
            return Err(Error::invalid(format!(
                "{} was trained to predict {}, and the profile says {}: set training.objective to that of the network",
                self.name,
                causal(trained_for),
                causal(said)
            )));
        }
        let parameters = network(&self.name)?;
        let found = parameters.config();
        if found == *config {
            return Ok(parameters);
        }
        let shape = |of: &Config| {
            let Config { layers, width, heads, context, vocabulary, .. } = of;
            format!("{layers} layers × {width} with {heads} heads, {context} tokens in {vocabulary} colours")
        };
        Err(Error::invalid(format!(
            "{} has {}, and the profile says {}: set its model, side and colours to those of the network",
            self.name,
            shape(&found),
            shape(config)
        )))
    }
}

/// How likely OpenAI masked a token (section 2.1).
const MASK: f64 = 0.15;

/// The released network of this name.
pub(super) fn network(name: &str) -> Result<Parameters> {
    if openai::is_name(name) {
        return Ok(openai::released(name)?.read()?.parameters);
    }
    Ok(Checkpoint::read(&hub::snapshot(name)?.folder)?.parameters)
}

/// What it was trained for.
pub(super) fn objective(name: &str) -> Objective {
    if openai::is_causal(name) { Objective::Autoregressive } else { Objective::Bert { mask: MASK } }
}

/// The code that reads it, as keys name it.
pub(super) fn code(name: &str) -> &'static str {
    if openai::is_name(name) { "openai" } else { "huggingface" }
}

/// Its palette.
pub(super) fn palette(name: &str) -> Result<Palette> {
    if openai::is_name(name) {
        return Palette::read_npy(openai::released(name)?.palette);
    }
    let snapshot = hub::snapshot(name)?;
    let path = snapshot.folder.join("preprocessor_config.json");
    if !path.exists() {
        return Err(Error::format(
            path,
            format!("{name} came without its palette: fetch it again with `igpt fetch {name}`"),
        ));
    }
    Palette::read_preprocessor_config(&path)
}

/// Its files, each with its SHA-256: what stands for it in a key.
pub(super) fn files(name: &str) -> Result<Vec<(String, String)>> {
    let files = if openai::is_name(name) {
        openai::released(name)?.files()?
    } else {
        let folder = hub::snapshot(name)?.folder;
        let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
            .map_err(|e| Error::io(&folder, e))?;
        files.sort();
        files
    };
    let of = |path: &PathBuf| {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok((format!("{name}/{file}"), hub::sha256(path)?))
    };
    files.iter().filter(|path| path.is_file()).map(of).collect()
}
