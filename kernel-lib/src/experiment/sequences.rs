//! Token sequences as the store keeps them.

use crate::store::{Files, Stored};
use crate::{Error, Result};

/// Tokens of whole pictures, `(N, T)`: two bytes each, the lower one first.
pub(super) struct Sequences(pub(super) Vec<u16>);

impl Stored for Sequences {
    fn write(&self, files: &mut Files) -> Result<()> {
        files.write_bytes("tokens", &self.0.iter().flat_map(|token| token.to_le_bytes()).collect::<Vec<_>>())
    }

    fn read(files: &Files) -> Result<Self> {
        let bytes = files.read_bytes("tokens")?;
        let (tokens, []) = bytes.as_chunks::<2>() else {
            return Err(Error::invalid(format!("{} bytes are no tokens of two bytes each", bytes.len())));
        };
        Ok(Self(tokens.iter().map(|token| u16::from_le_bytes(*token)).collect()))
    }
}
