//! The one error type of the library: what was wrong, where, and what to do about it.

use std::path::PathBuf;

/// Shorthand for results of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in this library. Each message says what was wrong, where, and, where
/// there is one, the cure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file was read but does not hold what it should.
    #[error("{path}: {what}", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what would be right.
        what: String,
    },
    /// The network of a checkpoint has biases, and ours have none: it would compute something else.
    #[error(
        "{path}: {tensor} is not zero (its largest value is {largest}). The networks here have no biases, nor had OpenAI's: \
         such a network cannot be loaded",
        path = path.display()
    )]
    Bias {
        /// The checkpoint's file.
        path: PathBuf,
        /// The bias, as the file calls it.
        tensor: String,
        /// Its value that is farthest from zero.
        largest: f32,
    },
    /// A result is no finite number, but NaN or infinity. Nothing was made of it: no parameter was changed, and nothing
    /// drawn.
    #[error("{what}: {cause}")]
    NotFinite {
        /// What is not finite: `the loss is NaN`.
        what: String,
        /// Why, as far as that is known, and what to do.
        cause: String,
    },
    /// Something would take more memory than this machine has. Nothing was allocated.
    #[error(
        "{what} would take {} GB of memory, and this machine has {} GB: choose a smaller one",
        gigabytes(*bytes),
        gigabytes(u128::from(*available))
    )]
    Memory {
        /// What.
        what: String,
        /// How much it would take, in bytes.
        bytes: u128,
        /// How much there is, in bytes.
        available: u64,
    },
    /// A caller's argument or setting makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// A GPU, or a library that it is used with, failed.
    #[error("{device}: {what}")]
    Device {
        /// Which.
        device: String,
        /// What failed, and what its library said.
        what: String,
    },
    /// Someone asked to stop, see [`stop`](crate::stop). Nothing is wrong.
    #[error("{0}")]
    Interrupted(String),
    /// An error of candle, passed on: a [`candle_core::Error`]. As an object, since each cell with a `?` is compiled with all that it
    /// takes to drop this error, and candle's has fifty kinds.
    #[error(transparent)]
    Candle(Box<dyn std::error::Error + Send + Sync>),
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Candle(Box::new(error))
    }
}

/// As many gigabytes as can be read: `0.5`, `24.0`, `1e20`.
pub(crate) fn gigabytes(bytes: u128) -> String {
    let gigabytes = bytes as f64 / 1e9;
    if gigabytes < 1e6 { format!("{gigabytes:.1}") } else { format!("{gigabytes:.0e}") }
}

impl Error {
    /// An [`Error::Io`] for `path`; made for `map_err(|e| Error::io(path, e))`.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }

    /// An [`Error::Format`] for `path`.
    pub fn format(path: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        Self::Format { path: path.into(), what: what.into() }
    }

    /// An [`Error::Invalid`].
    pub fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid(what.into())
    }
}
