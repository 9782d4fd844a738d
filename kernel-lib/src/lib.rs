//! Image GPT ("Generative Pretraining from Pixels", Chen et al., ICML 2020) for Rust notebooks.

pub use candle_core;
pub use candle_nn;

pub mod adam;
mod atomic;
pub mod augment;
pub mod contrast;
pub mod count_table;
pub mod data;
pub mod device;
mod eigen;
pub mod engine;
mod error;
pub mod experiment;
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
