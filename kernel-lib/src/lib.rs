//! Image GPT ("Generative Pretraining from Pixels", Chen et al., ICML 2020) for Rust notebooks.

#[cfg(not(unix))]
compile_error!(
    "the library needs a Unix: use Linux, or on Windows WSL; README.md says why, under \"Where it runs\""
);

pub use candle_core;
pub use candle_nn;

pub mod adam;
mod atomic;
pub mod augment;
pub mod contrast;
pub mod count_table;
pub mod data;
pub mod device;
mod disk;
mod eigen;
pub mod engine;
mod error;
pub mod experiment;
pub mod export;
mod fetch;
mod hex;
pub mod hub;
pub mod huggingface;
mod image;
mod journal;
mod json;
mod kernel;
mod mapped;
mod memory;
pub mod model;
pub mod notebook;
pub mod openai;
pub mod palette;
pub mod paper;
mod parallel;
pub mod pca;
pub mod prelude;
pub mod probe;
pub mod rng;
mod root;
pub mod sample;
pub mod show;
mod simd;
pub mod statistics;
pub mod stop;
pub mod store;
pub mod train;

pub use self::image::Image;
pub use error::{Error, Result};
pub use experiment::profile;
pub use root::root;
