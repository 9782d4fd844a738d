//! Image GPT ("Generative Pretraining from Pixels", Chen et al., ICML 2020) for Rust notebooks.

pub use candle_core;
pub use candle_nn;

pub mod engine;
mod error;
pub mod model;
pub mod notebook;
pub mod paper;
pub mod prelude;
pub mod rng;
mod root;
pub mod show;

pub use error::{Error, Result};
pub use root::root;
