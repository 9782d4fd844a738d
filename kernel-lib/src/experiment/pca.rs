//! Principal components of pixels: a control of a network's features that learns from the same images, but only their
//! covariance.

use super::{AnyStep, Data, Encoding, PaletteOf, Split, Step, Workspace};
use crate::palette::Palette;
use crate::pca::Pca;
use crate::probe::FeatureMatrix;
use crate::store::Context;
use crate::train::{Examples as _, Tokens};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The principal components of pixels, fitted to the images that a network is trained on, and to no held-out ones. Pixels are
/// those that the network sees: in the colours of the palette.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PcaFit {
    /// The images.
    pub data: Data,
    /// What makes tokens of them.
    pub palette: PaletteOf,
    /// How many components.
    pub components: usize,
}

impl PcaFit {
    /// So many components of the images, in these colours.
    pub fn of(data: &Data, palette: &PaletteOf, components: usize) -> Self {
        Self { data: data.clone(), palette: palette.clone(), components }
    }

    fn encoding(&self) -> Encoding {
        Encoding { data: self.data.clone(), split: Split::Train, palette: self.palette.clone() }
    }
}

/// The pixels of tokens, each colour from −1 to 1.
pub(super) fn pixels(palette: &Palette, tokens: &[u16]) -> Result<Vec<f32>> {
    Ok(palette.decode(tokens)?.into_iter().map(|x| f32::from(x) / 127.5 - 1.0).collect())
}

impl Step for PcaFit {
    const NAME: &'static str = "pca";
    type Output = Pca;

    fn about(&self) -> String {
        format!("{} principal components of {} in {}", self.components, self.data, self.palette)
    }

    fn inputs(&self) -> Vec<AnyStep> {
        let mut inputs = self.palette.inputs();
        inputs.push(self.encoding().into());
        inputs
    }

    fn data(&self) -> Vec<&Data> {
        vec![&self.data]
    }

    fn files(&self) -> Result<Vec<(String, String)>> {
        self.palette.files()
    }

    fn code(&self, _on: &Workspace) -> Vec<&'static str> {
        vec!["palette", "pca", "experiment/pca"]
    }

    fn validate(&self) -> Result<()> {
        self.data.validate()?;
        if self.components == 0 {
            return Err(Error::invalid("the setting components (at least 1) makes no sense as 0"));
        }
        Ok(())
    }

    fn compute(&self, on: &Workspace, _context: &Context) -> Result<Pca> {
        let side = self.data.side * self.data.side;
        let tokens = Tokens::new(side, self.encoding().run_on(on)?.0)?;
        let tokens = tokens.tokens(0, &self.data.training_positions()?)?;
        let palette = self.palette.palette(on)?;
        Pca::fit(&FeatureMatrix::new(pixels(&palette, &tokens)?, side * palette.channels())?, self.components)
    }
}
