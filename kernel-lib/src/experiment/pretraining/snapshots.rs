//! Networks that are kept while a training goes on.

use super::super::trained::{from_bytes, to_bytes};
use crate::model::{Config, Parameters};
use crate::{Error, Result, atomic};
use std::path::{Path, PathBuf};

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
