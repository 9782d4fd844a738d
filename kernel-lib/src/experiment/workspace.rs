//! Where steps are computed, and where their results are kept.

use crate::Result;
use crate::device::Device;
use crate::model::{Config, Network};
use crate::store::Store;

/// Where steps are computed, and where their results are kept. Neither is a setting of a step: the same steps can be
/// computed anywhere.
#[derive(Debug, Clone)]
pub struct Workspace {
    store: Store,
    device: Device,
}

impl Workspace {
    /// The store that `IGPT_STORE` names and the device that `IGPT_DEVICE` names; see [`Store::open`] and
    /// [`Device::chosen`].
    ///
    /// # Errors
    /// If one of them cannot be had.
    pub fn current() -> Result<Self> {
        Ok(Self { store: Store::open()?, device: Device::chosen()? })
    }

    /// A store and a device.
    pub fn new(store: Store, device: Device) -> Self {
        Self { store, device }
    }

    /// Where results are kept.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What computes networks.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What computes a network of this shape.
    ///
    /// # Errors
    /// If there is no such network, or the device cannot be opened.
    pub fn network(&self, config: Config) -> Result<Box<dyn Network>> {
        self.device.engine(config)
    }
}
