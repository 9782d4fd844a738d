//! What computes the network: the CPU, or a GPU where there is one.
//!
//! The environment variable `IGPT_DEVICE` chooses: `cpu`, `cuda` (the first GPU), `cuda:1`, or `reference` (the readable
//! network on the CPU, many times slower). Without it the first GPU is
//! taken that can be used, else the CPU. Results of a GPU are other results than a CPU's: equal but for rounding, and
//! stored apart.
//!
//! ```no_run
//! let device = igpt::device::Device::chosen()?;
//! println!("{device}"); // CPU, or: NVIDIA H100 80GB HBM3 (cuda:0)
//! # Ok::<(), igpt::Error>(())
//! ```

use crate::engine::{Engine, GpuEngine, gpu};
use crate::model::{Config, Network, Reference};
use crate::{Error, Result};
use std::fmt;
use std::sync::OnceLock;

/// What computes the network.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// The CPU. If there is a driver for GPUs that is not used, `instead` says why.
    Cpu {
        /// Why no GPU.
        instead: Option<String>,
    },
    /// A GPU.
    Cuda {
        /// Its number.
        ordinal: usize,
        /// What it is: `NVIDIA H100 80GB HBM3`.
        name: String,
    },
    /// The CPU, with the readable reference, many times slower: to compare with.
    Reference,
}

impl Device {
    /// The CPU.
    pub fn cpu() -> Self {
        Self::Cpu { instead: None }
    }

    /// The GPU of this number, if it can be used.
    ///
    /// # Errors
    /// If it is not there, is too old, or a library is missing; the message says which and what to do.
    pub fn cuda(ordinal: usize) -> Result<Self> {
        let found = gpu::find(ordinal)?;
        gpu::libraries_found()?;
        Ok(Self::Cuda { ordinal, name: found.name })
    }

    /// What `IGPT_DEVICE` names; without it, the first GPU if it can be used, else the CPU.
    ///
    /// # Errors
    /// If it names something that cannot be used, or nothing that there is.
    pub fn chosen() -> Result<Self> {
        match std::env::var("IGPT_DEVICE") {
            Ok(name) if !name.is_empty() => Self::named(&name),
            Ok(_) | Err(std::env::VarError::NotPresent) => Ok(Self::found()),
            Err(error) => Err(Error::invalid(format!("IGPT_DEVICE: {error}"))),
        }
    }

    fn named(name: &str) -> Result<Self> {
        let wanted = match name {
            "cpu" => return Ok(Self::cpu()),
            "reference" => return Ok(Self::Reference),
            "cuda" => Some(0),
            _ => name.strip_prefix("cuda:").and_then(|ordinal| ordinal.parse().ok()),
        };
        let Some(ordinal) = wanted else {
            return Err(Error::invalid(format!("IGPT_DEVICE={name}: it is cpu, cuda, cuda:N or reference")));
        };
        Self::cuda(ordinal).map_err(|error| Error::invalid(format!("IGPT_DEVICE={name}: {error}")))
    }

    /// The first GPU, or the CPU; looked for once, so that a library which is installed later is seen by the next program
    /// (in a notebook: after the kernel was restarted).
    fn found() -> Self {
        static FOUND: OnceLock<Device> = OnceLock::new();
        let look = || match gpu::count() {
            Ok(0) => Self::cpu(),
            Ok(_) => Self::cuda(0).unwrap_or_else(|error| Self::Cpu { instead: Some(error.to_string()) }),
            Err(error) => Self::Cpu { instead: Some(error.to_string()) },
        };
        FOUND.get_or_init(look).clone()
    }

    /// A network of this shape on this device.
    ///
    /// # Errors
    /// If there is no such network, or the device cannot be opened.
    pub fn engine(&self, config: Config) -> Result<Box<dyn Network>> {
        Ok(match self {
            Self::Cpu { .. } => Box::new(Engine::new(config)?),
            Self::Cuda { ordinal, .. } => Box::new(GpuEngine::new(config, *ordinal)?),
            Self::Reference => Box::new(Reference::new(config, candle_core::DType::F32)?),
        })
    }

    /// The code of this library that computes networks on it; see [`Description::code`](crate::store::Description::code).
    pub fn module(&self) -> &'static str {
        match self {
            Self::Cpu { .. } => "engine/cpu",
            Self::Cuda { .. } => "engine/cuda",
            Self::Reference => "model/reference",
        }
    }

    /// What decides a result's rounding: `cpu`, or the GPU's name.
    pub fn kind(&self) -> &str {
        match self {
            Self::Cpu { .. } => "cpu",
            Self::Reference => "cpu, reference",
            Self::Cuda { name, .. } => name,
        }
    }

    /// A name for the line below a table: `CPU`, or the GPU's name.
    pub fn short(&self) -> &str {
        match self {
            Self::Cpu { .. } => "CPU",
            Self::Reference => "CPU, reference",
            Self::Cuda { name, .. } => name,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu { instead: None } => f.write_str("CPU"),
            Self::Reference => f.write_str("CPU, with the readable reference"),
            Self::Cpu { instead: Some(why) } => write!(f, "CPU (no GPU, for: {why})"),
            Self::Cuda { ordinal, name } => write!(f, "{name} (cuda:{ordinal})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_not_is_an_error_and_says_so() {
        assert_eq!(Device::named("cpu").unwrap(), Device::cpu());
        for name in ["gpu", "cuda:", "cuda:x", "CPU"] {
            let error = Device::named(name).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("cpu, cuda, cuda:N or reference"), "{error}");
        }
        // However many there are, there are not so many.
        let error = Device::named("cuda:1000").unwrap_err().to_string();
        assert!(error.contains("IGPT_DEVICE=cuda:1000: "), "{error}");
        assert!(error.contains("no NVIDIA driver") || error.contains("no GPU"), "{error}");
        let config =
            Config { layers: 1, width: 8, heads: 1, context: 4, vocabulary: 5, inner: None, classes: None };
        assert!(GpuEngine::new(config, 1000).is_err());
    }

    #[test]
    fn a_device_says_what_it_is() {
        let gpu = Device::Cuda { ordinal: 1, name: "NVIDIA A100".into() };
        assert_eq!((gpu.to_string().as_str(), gpu.kind()), ("NVIDIA A100 (cuda:1)", "NVIDIA A100"));
        assert_eq!((Device::cpu().to_string().as_str(), Device::cpu().kind()), ("CPU", "cpu"));
        let without = Device::Cpu { instead: Some("libnvrtc is missing".into()) };
        assert_eq!(without.to_string(), "CPU (no GPU, for: libnvrtc is missing)");
        assert_eq!(without.kind(), "cpu");
    }
}
