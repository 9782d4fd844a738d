//! How far a computation is: a file beside it, for processes that wait for its result, and for whoever looks.

use crate::atomic;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How far a computation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// The process that computes.
    pub process: u32,
    /// Pieces of work that are done.
    pub done: u64,
    /// Of so many.
    pub total: u64,
    /// What a piece is: `steps`, `images`.
    pub unit: String,
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { process, done, total, unit } = self;
        write!(f, "{done} of {total} {unit} by process {process}")
    }
}

/// Files cost a fraction of a millisecond; nobody reads them more often than this.
const PAUSE: Duration = Duration::from_millis(500);

/// Writes the file now and then.
#[derive(Debug)]
pub(super) struct Written {
    path: PathBuf,
    last: Mutex<Option<Instant>>,
}

impl Written {
    pub(super) fn to(path: PathBuf) -> Self {
        Self { path, last: Mutex::new(None) }
    }

    pub(super) fn tell(&self, done: u64, total: u64, unit: &str) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if done < total && last.is_some_and(|last| last.elapsed() < PAUSE) {
            return;
        }
        *last = Some(Instant::now());
        let progress = Progress { process: std::process::id(), done, total, unit: unit.to_owned() };
        // Nobody's result shall fail because nobody could be told of it.
        if let Ok(text) = serde_json::to_vec(&progress) {
            let _ = atomic::write_unsynced(&self.path, &text);
        }
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What was written last.
pub(super) fn read(path: &Path) -> Option<Progress> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}
