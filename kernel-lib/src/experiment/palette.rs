//! The palette (section 3.2): fitted to the images that are trained on, or a released one.

use super::{AnyStep, Data, Profile, Split, Step, Workspace, released};
use crate::Result;
use crate::palette::{KMeans, Palette};
use crate::store::{Context, Files, Stored};
use serde::{Deserialize, Serialize};

/// A palette of so many colours, fitted by k-means to the images that are trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaletteFit {
    /// The images.
    pub data: Data,
    /// How many colours (or greys).
    pub colours: usize,
    /// Of k-means. Not that of a training: networks of several seeds shall see the same tokens.
    pub seed: u64,
}

/// What turns images into tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PaletteOf {
    /// A palette that is fitted.
    Fit(PaletteFit),
    /// That of a released network: `imagegpt-small`, `igpt-s/131000`.
    Released(String),
}

impl PaletteFit {
    /// The palette of a profile.
    pub fn of(profile: &Profile) -> Self {
        Self { data: profile.data.clone(), colours: profile.palette.colours, seed: profile.palette.seed }
    }
}

impl Step for PaletteFit {
    const NAME: &'static str = "palette";
    type Output = Palette;

    fn about(&self) -> String {
        format!("a palette of {} colours, fitted to {}", self.colours, self.data)
    }

    fn data(&self) -> Vec<&Data> {
        vec![&self.data]
    }

    fn code(&self, _on: &Workspace) -> Vec<&'static str> {
        vec!["palette", "augment", "experiment/palette"]
    }

    fn seed(&self) -> Option<u64> {
        Some(self.seed)
    }

    fn validate(&self) -> Result<()> {
        self.data.validate()
    }

    fn compute(&self, _on: &Workspace, _context: &Context) -> Result<Palette> {
        let images = self.data.images(Split::Train)?.select(&self.data.training_positions()?)?;
        let settings = KMeans::new(self.colours).seed(self.seed);
        Ok(Palette::fit(images.all_pixels(), images.channels(), &settings)?.palette)
    }
}

impl Stored for Palette {
    fn write(&self, files: &mut Files) -> Result<()> {
        files.write_json("palette", &(self.channels(), self.centres()))
    }

    fn read(files: &Files) -> Result<Self> {
        let (channels, centres) = files.read_json("palette")?;
        Self::new(channels, centres)
    }
}

impl PaletteOf {
    /// The palette.
    ///
    /// # Errors
    /// If it cannot be fitted, or is not there.
    pub fn palette(&self, on: &Workspace) -> Result<Palette> {
        match self {
            Self::Fit(fit) => fit.run_on(on),
            Self::Released(name) => released::palette(name),
        }
    }

    /// The files that it is read from, each with its SHA-256.
    pub(super) fn files(&self) -> Result<Vec<(String, String)>> {
        match self {
            Self::Fit(_) => Ok(Vec::new()),
            Self::Released(name) => released::files(name),
        }
    }

    /// The step that makes it, if one does.
    pub(super) fn inputs(&self) -> Vec<AnyStep> {
        match self {
            Self::Fit(fit) => vec![fit.clone().into()],
            Self::Released(_) => Vec::new(),
        }
    }
}

impl std::fmt::Display for PaletteOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fit(fit) => write!(f, "{} colours", fit.colours),
            Self::Released(name) => write!(f, "the colours of {name}"),
        }
    }
}
