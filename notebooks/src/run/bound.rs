//! The limits of how much output is kept, and what they left out.

use std::fmt;

/// A limit of how many bytes of output are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Of each cell.
    Cell(usize),
    /// Of all cells of a notebook together.
    Notebook(usize),
}

impl Bound {
    /// The option that sets it.
    pub fn option(self) -> &'static str {
        match self {
            Self::Cell(_) => "--output-limit",
            Self::Notebook(_) => "--notebook-output-limit",
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cell(bytes) => write!(f, "a cell may have {bytes}")?,
            Self::Notebook(bytes) => write!(f, "all cells together may have {bytes}")?,
        }
        write!(f, " ({})", self.option())
    }
}

/// What was left out of a cell's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut {
    /// How many bytes.
    pub bytes: usize,
    /// The limit that was reached first.
    pub bound: Bound,
}
