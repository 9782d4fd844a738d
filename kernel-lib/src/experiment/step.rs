//! A step of an experiment: a value that says what is to be computed, of what, and with which settings.

use super::{AnyStep, Data, Workspace};
use crate::show::Bar;
use crate::store::{Context, Description, Key, Stored};
use crate::{Result, kernel};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::{Duration, Instant};

/// A step of an experiment: a value that holds its settings and, nested, the steps whose results it needs. It can be
/// copied, changed, compared, and written as JSON; nothing has run until [`run`](Step::run) is called.
///
/// What a new kind of step has to say is its name, a sentence about itself, what it reads, which code decides its
/// numbers, and how it is computed. The store, the progress, the interrupt and the continuation are the same for all.
pub trait Step: Clone + std::fmt::Debug + PartialEq + Serialize + DeserializeOwned + Into<AnyStep> {
    /// What it is called in the store: lower-case letters and hyphens.
    const NAME: &'static str;

    /// What comes out.
    type Output: Stored;

    /// What it computes, in a sentence without a full stop.
    fn about(&self) -> String;

    /// The steps whose results it reads.
    fn inputs(&self) -> Vec<AnyStep> {
        Vec::new()
    }

    /// The data sets that it reads.
    fn data(&self) -> Vec<&Data> {
        Vec::new()
    }

    /// The files that it reads beside, each with its SHA-256.
    ///
    /// # Errors
    /// If one is not there.
    fn files(&self) -> Result<Vec<(String, String)>> {
        Ok(Vec::new())
    }

    /// The modules of this library that decide its numbers; see [`Description::code`].
    fn code(&self, on: &Workspace) -> Vec<&'static str>;

    /// What decides how its numbers are rounded: for steps that compute a network, the device.
    fn device<'a>(&self, _on: &'a Workspace) -> &'a str {
        "cpu"
    }

    /// The seed of all chance in it, for its provenance; it is among the settings, too.
    fn seed(&self) -> Option<u64> {
        None
    }

    /// Checks the settings, before anything is computed.
    ///
    /// # Errors
    /// If one makes no sense.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// Computes the result. What it needs it runs itself: that is found in the store, or computed.
    ///
    /// # Errors
    /// If it cannot be computed, or was interrupted.
    fn compute(&self, on: &Workspace, context: &Context) -> Result<Self::Output>;

    /// Everything that decides the result.
    ///
    /// # Errors
    /// If the settings make no sense, or the data cannot be read.
    fn description(&self, on: &Workspace) -> Result<Description> {
        self.validate()?;
        let mut description =
            Description::new(Self::NAME, self)?.code(&self.code(on))?.device(self.device(on));
        for set in self.data() {
            let set = set.set()?;
            description = description.data(set.name(), "", set.checksum());
        }
        for (name, sha256) in self.files()? {
            description = description.data(&name, "", &sha256);
        }
        for input in self.inputs() {
            description = description.input(input.name(), &input.key(on)?);
        }
        Ok(match self.seed() {
            Some(seed) => description.seed(seed),
            None => description,
        })
    }

    /// What its result is stored under.
    ///
    /// # Errors
    /// As [`Step::description`].
    fn key(&self, on: &Workspace) -> Result<Key> {
        Ok(self.description(on)?.key())
    }

    /// Finds the result in the store, or computes it and all that it needs; see [`Workspace::current`].
    ///
    /// # Errors
    /// If a setting makes no sense, or it cannot be computed, or was interrupted: then the next call goes on from there, if
    /// the step keeps checkpoints.
    fn run(&self) -> Result<Self::Output> {
        self.run_on(&Workspace::current()?)
    }

    /// The same elsewhere.
    ///
    /// # Errors
    /// As [`Step::run`].
    fn run_on(&self, on: &Workspace) -> Result<Self::Output> {
        run(self, on, |context| self.compute(on, context))
    }
}

/// Finds the result of a step, or has it computed.
pub(super) fn run<S: Step>(
    step: &S,
    on: &Workspace,
    compute: impl FnOnce(&Context) -> Result<S::Output>,
) -> Result<S::Output> {
    let mut bar = Waiting::new(S::NAME);
    on.store().get_or_run_watched(
        &step.description(on)?,
        &mut |progress| {
            if let Some(progress) = progress {
                bar.show(progress.done, progress.total, &progress.unit);
            }
        },
        compute,
    )
}

/// How long nobody needs to be told anything.
const PATIENCE: Duration = Duration::from_secs(2);

/// A bar for what takes longer than one likes to wait. It goes when its work ends, so that what a notebook shows in the end does
/// not depend on whether a result was computed or found.
pub(super) struct Waiting {
    title: &'static str,
    since: Instant,
    bar: Option<Bar>,
}

impl Waiting {
    pub(super) fn new(title: &'static str) -> Self {
        Self { title, since: Instant::now(), bar: None }
    }

    /// Shows how far it is, in a notebook.
    pub(super) fn show(&mut self, done: u64, total: u64, unit: &str) {
        if self.bar.is_none() && kernel::is_live() && self.since.elapsed() > PATIENCE {
            self.bar = Some(Bar::transient(self.title, total).unit(unit).starting_at(done));
        }
        if let Some(bar) = &mut self.bar {
            bar.set(done);
        }
    }
}
