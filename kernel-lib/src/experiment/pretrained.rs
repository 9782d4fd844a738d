//! A pre-trained network, and what it was on the way there.

use crate::model::{Config, Parameters};
use crate::store::{Files, Stored};
use crate::train::Curve;
use crate::{Error, Result, atomic};
use std::path::{Path, PathBuf};

/// A pre-trained network.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Pretrained {
    /// What it learnt.
    pub parameters: Parameters,
    /// How its loss fell.
    pub curve: Curve,
    /// Itself after some steps: how many, and the parameters then.
    pub snapshots: Vec<(u64, Parameters)>,
}

impl Stored for Pretrained {
    fn write(&self, files: &mut Files) -> Result<()> {
        files.write_json("curve", &self.curve)?;
        files.write_json("config", &self.parameters.config())?;
        files.write_json("steps", &self.snapshots.iter().map(|(step, _)| *step).collect::<Vec<_>>())?;
        files.write_bytes("parameters", &to_bytes(&self.parameters))?;
        for (step, parameters) in &self.snapshots {
            files.write_bytes(&format!("parameters-{step}"), &to_bytes(parameters))?;
        }
        Ok(())
    }

    fn read(files: &Files) -> Result<Self> {
        let config: Config = files.read_json("config")?;
        let steps: Vec<u64> = files.read_json("steps")?;
        let snapshot =
            |step: u64| Ok((step, from_bytes(config, &files.read_bytes(&format!("parameters-{step}"))?)?));
        Ok(Self {
            parameters: from_bytes(config, &files.read_bytes("parameters")?)?,
            curve: files.read_json("curve")?,
            snapshots: steps.into_iter().map(snapshot).collect::<Result<_>>()?,
        })
    }
}

/// Networks that are kept while training goes on, in files beside the checkpoints: training may be interrupted.
pub(super) struct Snapshots {
    folder: PathBuf,
    config: Config,
}

impl Snapshots {
    /// Those in this folder, with what an earlier try left there.
    pub(super) fn new(folder: &Path, config: Config) -> Self {
        Self { folder: folder.to_owned(), config }
    }

    fn file(&self, step: u64) -> PathBuf {
        self.folder.join(format!("after-{step}.f32"))
    }

    /// Keeps a network: when this returns its file is whole and on the disk, so that a checkpoint of a later step is never
    /// there without it.
    pub(super) fn keep(&self, step: u64, parameters: &Parameters) -> Result<()> {
        atomic::write(&self.file(step), &to_bytes(parameters))
    }

    /// The networks that were kept after these steps.
    pub(super) fn networks(&self, steps: &[u64]) -> Result<Vec<(u64, Parameters)>> {
        let network = |step: u64| {
            let file = self.file(step);
            let bytes = std::fs::read(&file).map_err(|e| Error::io(&file, e))?;
            Ok((step, from_bytes(self.config, &bytes).map_err(|e| Error::format(&file, e.to_string()))?))
        };
        steps.iter().copied().map(network).collect()
    }
}

/// The numbers, little-endian.
fn to_bytes(parameters: &Parameters) -> Vec<u8> {
    parameters.values().iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn from_bytes(config: Config, bytes: &[u8]) -> Result<Parameters> {
    let values = bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four));
    Parameters::from_values(config, values.collect())
}
