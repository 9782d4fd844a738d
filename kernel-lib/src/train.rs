//! Pre-training (sections 2.1, 3.4 and A.1): settings, the order of images, Adam, checkpoints, and the loop.
//!
//! ```
//! use igpt::model::{Config, Reference};
//! use igpt::prelude::*;
//! use igpt::train::{Tokens, Trainer, Training};
//! use std::sync::Arc;
//!
//! let config = Config { layers: 1, width: 8, heads: 2, context: 4, vocabulary: 3, inner: None, classes: None };
//! let images = Arc::new(Tokens::new(config.context, vec![0, 1, 2, 0, 2, 1, 0, 2])?); // two images of four tokens
//! let settings = Training { batch: 2, learning_rate: 0.01, log_every: 10, ..Training::paper(20) };
//! let network = Box::new(Reference::new(config, DType::F32)?);
//! let mut trainer = Trainer::new(settings, network, images.clone(), images)?;
//! trainer.run(&mut |progress| println!("{progress}"))?;
//! assert!(trainer.curve().validation.last().unwrap().loss < 3f64.ln());
//! # Ok::<(), igpt::Error>(())
//! ```
//!
//! A run is a function of its settings, its images and the network's arithmetic. It gives the same bytes for any
//! number of threads, and also when it was stopped, or killed, and continued from its last checkpoint.

mod batches;
mod checkpoint;
mod curve;
mod examples;
mod rate;
mod schedule;
mod settings;
mod trainer;

pub use crate::adam::{Adam, AdamState};
pub use batches::Batches;
pub use checkpoint::{Checkpoint, Checkpoints};
pub use curve::{AccuracyPoint, Curve, Point, Progress};
pub use examples::{Examples, Labelled, Tokens};
pub use rate::{RateSearch, choose_learning_rate};
pub use schedule::Schedule;
pub use settings::{Classification, Length, Objective, Training, WarmUp};
pub use trainer::{Outcome, Trainer};
