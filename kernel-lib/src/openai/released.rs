//! Where OpenAI's checkpoints lie, and what they are called.

use super::Checkpoint;
use crate::{Error, Result, hub};
use std::path::{Path, PathBuf};

/// The networks that OpenAI released in this form, each after several numbers of steps.
const NETWORKS: [&str; 6] = ["igpt-s", "igpt-m", "igpt-l", "igpt-s-bert", "igpt-m-bert", "igpt-l-bert"];

/// The files of one of OpenAI's checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// What is called so: `igpt-s-bert/1000000`.
    pub name: String,
    /// The checkpoint, as TensorFlow names it: `…/checkpoints/igpt-s-bert/1000000/model.ckpt-1000000`.
    pub checkpoint: PathBuf,
    /// The palette: `…/color-clusters/kmeans_centers.npy`.
    pub palette: PathBuf,
}

/// The checkpoint of a network after so many steps, `igpt-s/131000` or `igpt-s-bert/1000000`, in the folder that the
/// environment variable `IGPT_OPENAI` names. It is laid out as OpenAI's own store:
/// `checkpoints/igpt-s/131000/model.ckpt-131000.index` with its shards, and `color-clusters/kmeans_centers.npy`.
///
/// # Errors
/// If there is no such network, or its files are not there; with what to do.
pub fn released(name: &str) -> Result<Released> {
    find(hub::set("IGPT_OPENAI").as_deref(), name)
}

/// The names of all checkpoints in the folder that the environment variable `IGPT_OPENAI` names, laid out as [`released`] says:
/// by network, and then by steps.
///
/// # Errors
/// If the variable is not set, or there is no checkpoint.
pub fn found() -> Result<Vec<String>> {
    let Some(folder) = hub::set("IGPT_OPENAI") else {
        return Err(Error::invalid(
            "OpenAI's checkpoints of the original code are not downloaded: set IGPT_OPENAI to a folder that has them, as \
             checkpoints/igpt-s/131000/model.ckpt-131000.index and the shards beside it",
        ));
    };
    list(&folder)
}

pub(super) fn list(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for network in NETWORKS {
        let mut steps = Vec::new();
        let of_network = folder.join("checkpoints").join(network);
        for entry in std::fs::read_dir(of_network).into_iter().flatten().flatten() {
            let name = format!("{network}/{}", entry.file_name().to_string_lossy());
            if let Some((_, step)) = parts(&name).filter(|_| checkpoint(folder, &name).1.is_file()) {
                steps.push((step, name));
            }
        }
        steps.sort();
        names.extend(steps.into_iter().map(|(_, name)| name));
    }
    if names.is_empty() {
        return Err(Error::invalid(format!(
            "IGPT_OPENAI is {}, and there is no checkpoint in it, as checkpoints/igpt-s/131000/model.ckpt-131000.index",
            folder.display()
        )));
    }
    Ok(names)
}

/// The network that a name is about, and after how many steps; none if it is no name of one of OpenAI's own checkpoints.
pub(crate) fn parts(name: &str) -> Option<(&str, u64)> {
    let (network, steps) = name.split_once('/')?;
    let known = NETWORKS.contains(&network) && steps.bytes().all(|c| c.is_ascii_digit());
    Some((network, steps.parse().ok().filter(|_| known)?))
}

/// A checkpoint of this name as TensorFlow names it, and its index.
fn checkpoint(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let steps = name.split('/').next_back().unwrap_or_default();
    let checkpoint = folder.join("checkpoints").join(name).join(format!("model.ckpt-{steps}"));
    let index = super::bundle::with_ending(&checkpoint, ".index");
    (checkpoint, index)
}

/// The error of a name that is none.
pub(crate) fn unknown(name: &str) -> Error {
    Error::invalid(format!(
        "there is no checkpoint {name:?}. Names are like igpt-s/131000: one of {}, and after how many steps",
        NETWORKS.join(", ")
    ))
}

/// Whether this is the name of one of OpenAI's own checkpoints, and not of one on the Hugging Face hub.
pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with("igpt-")
}

/// Whether the network of this name was trained autoregressively.
pub(crate) fn is_causal(name: &str) -> bool {
    !name.split('/').next().is_some_and(|network| network.ends_with("-bert"))
}

pub(super) fn find(folder: Option<&Path>, name: &str) -> Result<Released> {
    if parts(name).is_none() {
        return Err(unknown(name));
    }
    let colours = Path::new("color-clusters/kmeans_centers.npy");
    let Some(folder) = folder else {
        return Err(Error::invalid(format!(
            "{name} is a checkpoint of OpenAI's original code, which is not downloaded: set IGPT_OPENAI to a folder that has \
             {}, the shards beside it, and {}",
            checkpoint(Path::new(""), name).1.display(),
            colours.display()
        )));
    };
    let (checkpoint, index) = checkpoint(folder, name);
    let palette = folder.join(colours);
    for file in [index, palette.clone()] {
        if !file.is_file() {
            return Err(Error::invalid(format!(
                "IGPT_OPENAI is {}, and there is no {}",
                folder.display(),
                file.display()
            )));
        }
    }
    Ok(Released { name: name.to_owned(), checkpoint, palette })
}

impl Released {
    /// The network.
    ///
    /// # Errors
    /// As [`Checkpoint::read`], and if it was trained by another objective than its name says.
    pub fn read(&self) -> Result<Checkpoint> {
        let read = Checkpoint::read(&self.checkpoint)?;
        if read.causal == is_causal(&self.name) {
            return Ok(read);
        }
        let (has, is) = if read.causal { ("has an", "autoregressive") } else { ("has no", "one of BERT's") };
        Err(Error::format(
            &self.checkpoint,
            format!("{} it is not: it {has} SOS token, so it is {is}", self.name),
        ))
    }

    /// The files that decide what it computes: the index, the shards, and the palette.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn files(&self) -> Result<Vec<PathBuf>> {
        let (Some(folder), Some(name)) = (self.checkpoint.parent(), self.checkpoint.file_name()) else {
            return Ok(vec![self.palette.clone()]);
        };
        let io = |e| Error::io(folder, e);
        let start = name.to_string_lossy();
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(io)? {
            let file = entry.map_err(io)?.file_name().to_string_lossy().into_owned();
            let rest = file.strip_prefix(&*start);
            if rest.is_some_and(|rest| rest == ".index" || rest.starts_with(".data-")) {
                files.push(folder.join(file));
            }
        }
        files.sort();
        files.push(self.palette.clone());
        Ok(files)
    }
}
