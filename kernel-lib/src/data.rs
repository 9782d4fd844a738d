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

mod dataset;
mod fashion_mnist;
mod fetch;
mod folder;
mod hub_sets;
pub mod idx;
mod images;
pub mod manifest;
mod openai;
mod origin;
mod photographs;
mod prepared;
mod registry;

pub use dataset::{Dataset, Labelled};
pub use fashion_mnist::fashion_mnist;
pub use fetch::Fetch;
pub use folder::folder;
pub use hub_sets::{Labels, cifar10, cifar100, fashion_mnist_whole, hub, imagenet, stl10, stl10_unlabeled};
pub use images::Images;
pub use manifest::Manifest;
pub use openai::openai_palette;
pub use origin::{Origin, origin};
pub use photographs::{Photograph, photograph, photographs};
pub use registry::{check_name, named, of_classes, title};
