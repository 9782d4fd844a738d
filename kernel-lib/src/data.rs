//! Data: what is committed in `data/`, and what `igpt fetch` prepared, checked whenever it is read.
//!
//! ```
//! use igpt::prelude::*;
//!
//! let fashion = data::fashion_mnist()?;
//! assert_eq!(fashion.train().images.len(), 10_000);
//! let first: Image = fashion.train().images.get(0)?;
//! # Ok::<(), igpt::Error>(())
//! ```

mod cifar10;
mod dataset;
mod fashion_mnist;
pub mod idx;
mod images;
pub mod manifest;
mod openai;
mod photographs;
mod prepared;

pub use cifar10::cifar10;
pub use dataset::{Dataset, Split};
pub use fashion_mnist::fashion_mnist;
pub use images::Images;
pub use manifest::Manifest;
pub use openai::openai_palette;
pub use photographs::{Photograph, photograph, photographs};
