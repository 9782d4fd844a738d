//! The network of section 2.2: its shape, its parameters, and a readable reference that computes it with candle.

mod class_logits;
mod config;
pub(crate) mod finite;
mod network;
mod parameters;
mod reference;

pub use class_logits::{ClassLogits, class_logits};
pub use config::Config;
pub use network::{Batch, Classes, Network, Precision, Resident, Sampler, Target, View};
pub use parameters::{BlockRanges, Entry, Init, Layout, Parameters};
#[cfg(test)]
pub(crate) use reference::logits_without_sos;
pub use reference::{ImageGpt, Reference, Seen};
