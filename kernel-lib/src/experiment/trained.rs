//! A trained network, and what it was on the way there.

use crate::Result;
use crate::model::{Config, Parameters};
use crate::store::{Files, Stored};
use crate::train::Curve;

/// A trained network.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Trained {
    /// What it learnt.
    pub parameters: Parameters,
    /// How its loss fell.
    pub curve: Curve,
    /// Itself after some steps: how many, and the parameters then.
    pub snapshots: Vec<(u64, Parameters)>,
}

impl Stored for Trained {
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

/// The numbers, little-endian.
pub(super) fn to_bytes(parameters: &Parameters) -> Vec<u8> {
    parameters.values().iter().flat_map(|x| x.to_le_bytes()).collect()
}

pub(super) fn from_bytes(config: Config, bytes: &[u8]) -> Result<Parameters> {
    let values = bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four));
    Parameters::from_values(config, values.collect())
}
