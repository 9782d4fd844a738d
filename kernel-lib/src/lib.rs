//! Image GPT ("Generative Pretraining from Pixels", Chen et al., ICML 2020) for Rust notebooks.

pub use candle_core;
pub use candle_nn;

mod error;
pub mod model;
pub mod notebook;
pub mod paper;
pub mod prelude;
pub mod probe;
pub mod profile;
pub mod rng;
mod root;
pub mod show;
pub mod store;

pub use error::{Error, Result};
pub use root::root;
