//! What a notebook imports with `use igpt::prelude::*;`.

pub use crate::{Error, Result};
pub use candle_core::{D, DType, Device, IndexOp, Tensor, Var};
