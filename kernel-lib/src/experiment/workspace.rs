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

    /// How many images' features of a network of this shape are computed at a time: not more than take some seconds on two
    /// cores, so that a computation can tell how far it is, be stopped, and lose little. They are the same on the CPU
    /// whatever is computed beside them; on a GPU, which is fast enough, the number is always the same.
    pub(super) fn images_at_a_time(&self, config: Config) -> usize {
        const MULTIPLY_ADDS: usize = 500_000_000_000;
        const MOST: usize = 64;
        match self.device {
            Device::Cuda { .. } => MOST,
            _ => (MULTIPLY_ADDS / config.parameters().saturating_mul(config.context).max(1)).clamp(1, MOST),
        }
    }

    /// What computes a network of this shape.
    ///
    /// # Errors
    /// If there is no such network, or the device cannot be opened.
    pub fn network(&self, config: Config) -> Result<Box<dyn Network>> {
        self.device.engine(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_network_takes_few_images_at_a_time_on_the_cpu() {
        let on = |device| Workspace::new(Store::at("nowhere"), device);
        let (cpu, gpu) = (on(Device::cpu()), on(Device::Cuda { ordinal: 0, name: "GPU".to_owned() }));
        let small = Config { layers: 2, width: 32, heads: 2, ..Config::igpt_s().at(14) };
        assert_eq!([cpu.images_at_a_time(small), gpu.images_at_a_time(small)], [64, 64]);
        for (config, images) in [(Config::igpt_s(), 6), (Config::igpt_m(), 1), (Config::igpt_l(), 1)] {
            assert_eq!([cpu.images_at_a_time(config), gpu.images_at_a_time(config)], [images, 64]);
        }
    }
}
