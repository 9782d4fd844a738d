//! Networks that were trained here, for others: a folder as Hugging Face's transformers keep their models, with a model card
//! that says what the network is, of which data and with which budget it was trained, and how good it is.
//!
//! ```no_run
//! use igpt::prelude::*;
//!
//! let ar = Pretraining::of(&Profile::current()?);
//! ar.run()?; // trains it, or finds it in the store
//! println!("{}", ar.export("target/export/mine".as_ref())?);
//! let again = huggingface::Checkpoint::read("target/export/mine".as_ref())?;
//! # Ok::<(), igpt::Error>(())
//! ```
//!
//! `igpt export` does the same without a notebook. What is exported is a stored result: the card tells where it comes from, and
//! that is known of nothing else. The same result gives the same bytes, whenever it is exported.
//!
//! Read it in this order: `folder.rs` (what becomes of a folder that is there), `card.rs` (what a model card is), `facts.rs`
//! (what is known of a network), `text.rs` and `usage.rs` (what the card says).

mod card;
mod facts;
mod folder;
#[cfg(test)]
mod tests;
mod text;
mod usage;

pub use card::ModelCard;

use crate::experiment::{AnyStep, PaletteOf, Pretraining, Step, Workspace};
use crate::huggingface::Checkpoint;
use crate::show::{Page, Show, displays, fixed};
use crate::store::Provenance;
use crate::{Error, Result, atomic};
use facts::Facts;
use std::fmt;
use std::path::{Path, PathBuf};

/// What was exported, and where it is. Shown as a few lines.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Exported {
    /// The folder.
    pub folder: PathBuf,
    /// The names of its files.
    pub files: Vec<String>,
    /// Whether the folder was there before, with these files and no others.
    pub was_there: bool,
    /// The model card.
    pub card: ModelCard,
    /// What transformers cannot do with the network, and what to do instead, in sentences. Empty if it can do everything.
    pub limits: Vec<String>,
    /// What the network is, in a sentence without a full stop.
    about: String,
}

impl Pretraining {
    /// Writes the trained network into a folder, as [`Checkpoint::write`] does, with a model card, `README.md`.
    ///
    /// The network must be in the store: run the step first. The folder must not be there, or be empty, or hold exactly what
    /// would be written: what is in it is never overwritten. It is complete or not there.
    ///
    /// # Errors
    /// If the network is not in the store; if it was trained by others; if the folder holds something else, or cannot be
    /// written.
    pub fn export(&self, folder: &Path) -> Result<Exported> {
        self.export_on(&Workspace::current()?, folder)
    }

    /// The same elsewhere.
    ///
    /// # Errors
    /// As [`Pretraining::export`].
    pub fn export_on(&self, on: &Workspace, folder: &Path) -> Result<Exported> {
        if let Some(released) = &self.released {
            return Err(Error::invalid(format!(
                "{} was trained and released by others, so there is nothing of ours to export: a profile that trains networks \
                 has one (igpt export --profile quick)",
                released.name
            )));
        }
        let folder = std::path::absolute(folder).map_err(|e| Error::io(folder, e))?;
        folder::check(&folder)?;
        let (trained, provenance) = stored(self, on)?;
        let palette = match &self.palette {
            PaletteOf::Fit(fit) => stored(fit, on)?.0,
            PaletteOf::Released(_) => self.palette.palette(on)?,
        };
        let checkpoint = Checkpoint { parameters: trained.parameters, palette: Some(palette) };
        let facts = Facts::of(self, &checkpoint, &trained.curve, &provenance)?;
        let card = text::card(&facts)?;
        let was_there = folder::publish(&folder, |place| {
            checkpoint.write(place)?;
            atomic::write(&place.join("README.md"), card.to_string().as_bytes())
        })?;
        Ok(Exported {
            files: folder::names(&folder)?,
            folder,
            was_there,
            limits: usage::limits(&facts),
            about: format!(
                "{}; {} parameters{}",
                self.about(),
                fixed(checkpoint.config().parameters() as f64, 0).into_text(),
                facts.validation.map_or(String::new(), |point| format!(
                    ", {:.4} nats per token on held-out training images",
                    point.loss
                ))
            ),
            card,
        })
    }
}

/// The pre-training that a file holds, one that `igpt steps --write` or [`AnyStep::to_json`] made.
///
/// # Errors
/// If the file cannot be read, or holds no step, or one of another kind.
pub fn pretraining(file: &Path) -> Result<Pretraining> {
    match AnyStep::read(file)? {
        AnyStep::PreTraining(step) => Ok(*step),
        other => Err(Error::format(
            file,
            format!(
                "it is a step of the kind {}, and only what {} gives can be exported",
                other.name(),
                Pretraining::NAME
            ),
        )),
    }
}

/// The stored result of a step, and where it comes from. Nothing is computed.
fn stored<S: Step>(step: &S, on: &Workspace) -> Result<(S::Output, Provenance)> {
    let description = step.description(on)?;
    let (store, key) = (on.store(), description.key());
    let cure = "`igpt export --compute` computes it first, as `.run()?` does in a notebook";
    let missing = || {
        let now = store.progress(&description);
        let now = now.map_or(String::new(), |progress| format!(" (it is being computed: {progress})"));
        Error::invalid(format!(
            "{}: the store {} has no result of it, {}-{}{now}. {cure}. Another store (IGPT_STORE) or another device than {} \
             (IGPT_DEVICE) may have one",
            step.about(),
            store.folder().display(),
            S::NAME,
            key.short(),
            step.device(on)
        ))
    };
    let provenance = store.provenance(&description)?.ok_or_else(missing)?;
    let result = store.get_or_run(&description, |_| {
        // Its manifest was there, so a file of it is not what was written.
        Err(Error::invalid(format!(
            "the stored result {}-{} is damaged, and nothing is computed here. {cure}",
            S::NAME,
            key.short()
        )))
    })?;
    Ok((result, provenance))
}

impl fmt::Display for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.was_there { " (there already, and the same)" } else { "" };
        writeln!(f, "{}{how}: {}", self.folder.display(), self.files.join(", "))?;
        write!(f, "{}", self.about)?;
        self.limits.iter().try_for_each(|limit| write!(f, "\n{limit}"))?;
        write!(f, "\nREADME.md, the model card, says how to load it")
    }
}

impl Show for Exported {
    fn to_html(&self) -> String {
        self.to_string().lines().fold(Page::new(), |page, line| page.show(line)).to_html()
    }

    fn to_text(&self) -> String {
        format!("{self}\n")
    }
}

displays!(Exported);
