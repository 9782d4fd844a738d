//! What can be kept in the store.

use super::Files;
use crate::Result;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A result that can be kept. Everything that serde can write and read is one; what holds many numbers should say how
/// it becomes files itself, with [`Files::write_tensors`].
pub trait Stored: Sized {
    /// Writes this into files.
    ///
    /// # Errors
    /// If a file cannot be written.
    fn write(&self, files: &mut Files) -> Result<()>;

    /// Reads it back.
    ///
    /// # Errors
    /// If a file is not there or holds something else.
    fn read(files: &Files) -> Result<Self>;
}

impl<T: Serialize + DeserializeOwned> Stored for T {
    fn write(&self, files: &mut Files) -> Result<()> {
        files.write_json("value", self)
    }

    fn read(files: &Files) -> Result<Self> {
        files.read_json("value")
    }
}
