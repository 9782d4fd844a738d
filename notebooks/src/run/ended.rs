//! How each notebook ended the last time it was run, for `--last-failed`.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::Path,
};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{
    exit::Exit,
    notebook::write_atomically,
    outcome::{Outcome, Verdict},
};

/// The file in the output folder.
pub const FILE: &str = "ended.json";

/// By the notebook's absolute path, how it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    notebooks: BTreeMap<String, String>,
}

impl Ended {
    /// What is known in an output folder; nothing if no file can be read.
    pub fn read(out: &Path) -> Self {
        let text = fs::read_to_string(out.join(FILE)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// The notebooks that did not pass when they were run last.
    pub fn not_passed(self) -> HashSet<String> {
        let passed = Exit::Well.name();
        self.notebooks.into_iter().filter(|(_, how)| how != passed).map(|(notebook, _)| notebook).collect()
    }

    /// Adds a run. What was not run keeps what was known of it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn update(out: &Path, outcomes: &[Outcome]) -> Result<()> {
        let mut ended = Self::read(out);
        for outcome in outcomes {
            if outcome.verdict == Verdict::Interrupted && outcome.cells_run() == 0 {
                continue;
            }
            let notebook = outcome.source.to_string_lossy().into_owned();
            ended.notebooks.insert(notebook, Exit::of(&outcome.verdict).name().to_owned());
        }
        write_atomically(&out.join(FILE), serde_json::to_string_pretty(&ended)?.as_bytes())
    }
}
