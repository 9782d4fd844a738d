//! Images as sequences of tokens (section 3.2).

use super::{AnyStep, Data, PaletteOf, Split, Step, Workspace};
use crate::store::{Context, Files, Stored};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The images of a split as tokens, `(N, T)`, as a network sees them when it is judged: encoded once, and found in the store
/// from then on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoding {
    /// The images.
    pub data: Data,
    /// Which of them.
    pub split: Split,
    /// What makes tokens of them.
    pub palette: PaletteOf,
}

/// Tokens of whole images, `(N, T)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSequences(pub Vec<u16>);

impl Step for Encoding {
    const NAME: &'static str = "tokens";
    type Output = TokenSequences;

    fn about(&self) -> String {
        format!("the {} images of {} as tokens, in {}", self.split, self.data, self.palette)
    }

    fn inputs(&self) -> Vec<AnyStep> {
        self.palette.inputs()
    }

    fn data(&self) -> Vec<&Data> {
        vec![&self.data]
    }

    fn files(&self) -> Result<Vec<(String, String)>> {
        self.palette.files()
    }

    fn code(&self, _on: &Workspace) -> Vec<&'static str> {
        vec!["palette", "augment", "experiment/encoding"]
    }

    fn validate(&self) -> Result<()> {
        self.data.validate()
    }

    fn compute(&self, on: &Workspace, _context: &Context) -> Result<TokenSequences> {
        let palette = self.palette.palette(on)?;
        let images = self.data.images(self.split)?;
        palette.check_channels(images.channels())?;
        Ok(TokenSequences(palette.encode(images.all_pixels())?))
    }
}

/// Two bytes for each token, the lower one first.
impl Stored for TokenSequences {
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
