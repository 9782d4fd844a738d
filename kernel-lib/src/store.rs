//! The experiment store: what was computed once is kept, and found again by everything that decided it.
//!
//! A [`Description`] is what decides a result: the name of the computation, every setting, the keys of the results it starts
//! from, the data's checksum, seed, device, and the hash of the sources that compute it. The SHA-256 of all that is its [`Key`].
//! [`Store::get_or_run`] returns the stored result of that key, or computes and stores it:
//!
//! ```
//! # fn main() -> igpt::Result<()> {
//! # let folder = std::env::temp_dir().join("igpt-store-doc");
//! use igpt::store::{Description, Store};
//!
//! let store = Store::at(&folder);
//! let squares = Description::new("squares", &serde_json::json!({"count": 3}))?.code(&["rng"])?.seed(7);
//! let computed: Vec<u64> = store.get_or_run(&squares, |_| Ok(vec![0, 1, 4]))?;
//! // A second notebook, or the same one tomorrow:
//! let again: Vec<u64> = store.get_or_run(&squares, |_| unreachable!("it is stored"))?;
//! assert_eq!(again, computed);
//! # std::fs::remove_dir_all(&folder).map_err(|e| igpt::Error::io(&folder, e))
//! # }
//! ```
//!
//! **What a notebook prints is the same, whether a result was computed or reused**: nothing is printed here, and what
//! was computed is read back from the store before it is returned. What happened is told where `--check` does not
//! compare: [`Store::report`] is a table for a cell tagged `volatile`; [`Store::provenance`] tells of one result; and
//! where the environment variable `IGPT_JOURNAL` names a file, each use adds a line of JSON to it, from which the
//! runner says how much was reused. Only a damaged result is told on stderr, since somebody should know.
//!
//! ```text
//! <store>/<name>-<key>/
//!     lock            held (flock) while the result is looked for, computed and written
//!     progress.json   how far the computation is, while it lasts
//!     result/         manifest.json, which names every other file with its SHA-256; appears whole, by renaming
//!     checkpoint/     belongs to the computation, see [`Context::folder`]; goes when the result is there
//! ```

mod description;
mod entry;
mod files;
mod progress;
mod provenance;
mod stored;
mod turn;
mod why;

pub use description::{Description, Key};
pub use files::{Files, LargeFile, Tensors};
pub use progress::Progress;
pub use provenance::Provenance;
pub use stored::Stored;

use crate::show::Table;
use crate::{Error, Result};
use entry::{Entry, Found};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A folder of results.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
    uses: Arc<Mutex<Vec<Use>>>,
}

/// What was done for a step.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(tag = "kind", rename = "result")]
struct Use {
    step: String,
    key: Key,
    /// Whether the result was there.
    reused: bool,
    /// What was wrong with a stored result.
    damage: Option<String>,
    /// What it took to compute, now or then, in milliseconds.
    wall_ms: u64,
    /// When it was computed.
    date: String,
    /// Why it was reused or had to be computed, in words.
    why: String,
}

/// What a computation may know and use.
#[derive(Debug)]
pub struct Context {
    key: Key,
    folder: PathBuf,
    progress: progress::Written,
}

impl Context {
    /// The key of the result that is being computed.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// A folder for checkpoints of this computation and no other. If an earlier try was interrupted, what it left is
    /// here; once the result is stored, the folder goes.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Says how far it is, to whoever waits for the result: `done` of `total` pieces, called `unit` (`steps`, `images`).
    pub fn progress(&self, done: u64, total: u64, unit: &str) {
        self.progress.tell(done, total, unit);
    }
}

impl Store {
    /// The store that the environment variable `IGPT_STORE` names, or else `target/igpt-store` in the repository.
    ///
    /// # Errors
    /// If neither is known.
    pub fn open() -> Result<Self> {
        match std::env::var_os("IGPT_STORE").filter(|folder| !folder.is_empty()) {
            Some(folder) => Ok(Self::at(folder)),
            None => Ok(Self::at(crate::root()?.join("target").join("igpt-store"))),
        }
    }

    /// The store in this folder, which is made when something is stored.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), uses: Arc::default() }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The result of a step: as stored, or else as `run` computes it. Of several processes that want the same result
    /// at once, one computes it and the others wait for it, which can be interrupted.
    ///
    /// A stored result that is damaged, or that is not a `T`, is computed again.
    ///
    /// # Errors
    /// If `run` fails, the wait was interrupted, or the result cannot be written (read-only folder, full disk): then what was stored before is
    /// as it was, and checkpoints are kept, so that the next try continues.
    pub fn get_or_run<T: Stored>(
        &self,
        step: &Description,
        run: impl FnOnce(&Context) -> Result<T>,
    ) -> Result<T> {
        self.get_or_run_watched(step, &mut |_| {}, run)
    }

    /// As [`Store::get_or_run`]. While another process computes the result, `waiting` hears how far that is, a few times a
    /// second.
    ///
    /// # Errors
    /// As [`Store::get_or_run`].
    pub fn get_or_run_watched<T: Stored>(
        &self,
        step: &Description,
        waiting: &mut dyn FnMut(Option<Progress>),
        run: impl FnOnce(&Context) -> Result<T>,
    ) -> Result<T> {
        let _needed = Needed(Instant::now());
        let entry = Entry::of(&self.folder, step);
        // Results appear whole, so that reading needs no lock, and a read-only store can be read.
        let mut found = entry.load();
        let _turn_and_lock = match &found {
            Found::Whole(..) => None,
            _ => {
                let begun = Instant::now();
                let turn = turn::take(step.name(), &entry.progress(), waiting)?;
                let lock = entry.lock(step, waiting)?;
                crate::journal::waited(begun.elapsed());
                found = entry.load();
                Some((lock, turn))
            }
        };
        let damage = match found {
            Found::Whole(result, provenance) => {
                self.note(step, true, None, &provenance, why::reused(&provenance));
                return Ok(result);
            }
            Found::Damaged(what) => {
                eprintln!("{}: {what}; it is computed again", entry.folder().display());
                Some(what)
            }
            Found::Nothing => None,
        };
        let context = Context {
            key: step.key(),
            folder: entry.checkpoints()?,
            progress: progress::Written::to(entry.progress()),
        };
        let why = why::computed(&self.folder, step, damage.as_deref());
        let (result, own) = own_time(|| run(&context));
        let result = result?;
        let provenance = Provenance::of(step, own);
        entry.save(step, &result, &provenance)?;
        drop(result);
        match entry.load() {
            Found::Whole(result, provenance) => {
                self.note(step, false, damage, &provenance, why);
                Ok(result)
            }
            Found::Damaged(what) => Err(Error::format(entry.folder(), format!("just written, but {what}"))),
            Found::Nothing => Err(Error::format(entry.folder(), "just written, but gone")),
        }
    }

    /// Whether a result of this step is stored. Its files are checked when it is read.
    pub fn has(&self, step: &Description) -> bool {
        Entry::of(&self.folder, step).manifest().is_ok()
    }

    /// How far the computation of a step is, if a process says so.
    pub fn progress(&self, step: &Description) -> Option<Progress> {
        let entry = Entry::of(&self.folder, step);
        // What a process left behind that was killed says nothing.
        if entry.is_locked() { progress::read(&entry.progress()) } else { None }
    }

    /// Where the stored result of a step comes from; `None` if there is none.
    ///
    /// # Errors
    /// If there is one, but it is damaged.
    pub fn provenance(&self, step: &Description) -> Result<Option<Provenance>> {
        let entry = Entry::of(&self.folder, step);
        match entry.manifest() {
            Ok(manifest) => Ok(Some(manifest.provenance)),
            Err(None) => Ok(None),
            Err(Some(what)) => Err(Error::format(entry.folder(), what)),
        }
    }

    /// What was computed and what was reused since this store was opened. It names times: for a cell that is tagged
    /// `volatile`, and so is not compared.
    pub fn report(&self) -> Table {
        let uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        let reused = uses.iter().filter(|used| used.reused).count();
        let rows = uses.iter().map(|used| {
            [
                crate::show::Cell::from(&used.step),
                crate::show::Cell::text(if used.reused { "reused" } else { "computed" }),
                crate::show::fixed(used.wall_ms as f64 / 1000.0, 1),
                crate::show::Cell::from(&used.date),
                crate::show::Cell::text(used.key.short()),
            ]
        });
        Table::of(["Step", "Result", "Took (s)", "Computed at", "Key"], rows)
            .caption(format!("Reused: {reused} of {} results", uses.len()))
    }

    fn note(
        &self,
        step: &Description,
        reused: bool,
        damage: Option<String>,
        provenance: &Provenance,
        why: String,
    ) {
        let used = Use {
            step: step.name().to_owned(),
            key: step.key(),
            reused,
            damage,
            wall_ms: provenance.wall_ms,
            date: provenance.date.clone(),
            why,
        };
        crate::journal::note(&used);
        self.uses.lock().unwrap_or_else(PoisonError::into_inner).push(used);
    }
}

thread_local! {
    /// What the results took that the computation under way has asked for so far: computed, waited for, or read.
    static NEEDED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Notes for the computation around it how long a result took, when it goes.
struct Needed(Instant);

impl Drop for Needed {
    fn drop(&mut self) {
        NEEDED.set(NEEDED.get() + self.0.elapsed());
    }
}

/// What a computation took by itself: without the results that it needed.
fn own_time<T>(compute: impl FnOnce() -> T) -> (T, Duration) {
    let before = NEEDED.replace(Duration::ZERO);
    let start = Instant::now();
    let result = compute();
    let needed = NEEDED.replace(before);
    (result, start.elapsed().saturating_sub(needed))
}

#[cfg(test)]
mod tests;
