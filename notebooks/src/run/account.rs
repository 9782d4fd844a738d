//! What a run was of, and what came of it, for those who come after it: `run.json` in the output folder. `igpt record` keeps a run by
//! it, and `igpt results` tells of the last one.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    exit::Exit,
    journal::{Judged, Use},
    notebook::{Notebook, joined},
    outcome::Outcome,
    parameters::Parameter,
    select::{concerns_all, git},
    text::count,
};
use crate::{hex::hex, host};

/// The file in the output folder.
pub const FILE: &str = "run.json";

/// One run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// The profile.
    pub profile: String,
    /// What `-p` set.
    pub parameters: Vec<String>,
    /// When it ended, in UTC.
    pub date: String,
    /// The version of the command.
    pub igpt: String,
    /// The processor, and how many cores.
    pub processor: String,
    /// Where results are kept.
    pub store: Option<PathBuf>,
    /// The checkout, and what was in it when the run began; none where there is no checkout, or git knows nothing of it.
    pub sources: Option<Sources>,
    /// The notebooks.
    pub notebooks: Vec<Ran>,
}

/// What cells may use, as it was when the run began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// The checkout.
    pub root: PathBuf,
    /// The commit that was checked out.
    pub commit: String,
    /// Which files were not as they are in the commit.
    pub uncommitted: Vec<String>,
    /// The SHA-256 of all files that cells of any notebook may use: library, data, papers, command. Notebooks are told of one by one.
    pub sha256: String,
}

/// One notebook of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ran {
    /// Its file.
    pub source: PathBuf,
    /// Its name.
    pub name: String,
    /// How it ended: `passed`, or what was wrong.
    pub verdict: String,
    /// The SHA-256 of its cells, without their outputs.
    pub cells_sha256: String,
    /// From the first cell's start to the last one's end.
    pub seconds: f64,
    /// The results that it used.
    pub results: Vec<Use>,
    /// The claims that it judged.
    pub claims: Vec<OfPaper>,
}

/// What came of a claim of a paper.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OfPaper {
    /// The paper's name.
    pub paper: String,
    /// The claim's key.
    pub claim: String,
    /// What came of it.
    #[serde(flatten)]
    pub judged: Judged,
}

impl Account {
    /// Looks at what a run is of, before it begins. The account of an earlier run goes: it is not this one's.
    pub fn begin(out: &Path, root: Option<PathBuf>, notebooks: &[PathBuf]) -> Self {
        let _ = fs::remove_file(out.join(FILE));
        let notebook = |source: &PathBuf| {
            let source = std::path::absolute(source).unwrap_or_else(|_| source.clone());
            Ran { cells_sha256: cells_sha256(&source).unwrap_or_default(), source, ..Ran::default() }
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            igpt: env!("CARGO_PKG_VERSION").to_owned(),
            processor: format!("{}, {}", host::processor(), count(cores, "core")),
            store: store(root.as_deref()),
            sources: root.and_then(|root| Sources::of(&root).ok()),
            notebooks: notebooks.iter().map(notebook).collect(),
            ..Self::default()
        }
    }

    /// The account of the run that had these outcomes, as its file has it.
    ///
    /// # Errors
    /// Something in it is no JSON.
    pub fn end(mut self, outcomes: &[Outcome], profile: &str, parameters: &[Parameter]) -> Result<String> {
        self.profile = profile.to_owned();
        self.parameters = parameters.iter().map(|set| format!("{}={}", set.name, set.value)).collect();
        self.date = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string();
        for (ran, outcome) in self.notebooks.iter_mut().zip(outcomes) {
            ran.name = outcome.name.clone();
            ran.verdict = Exit::of(&outcome.verdict).name().to_owned();
            ran.seconds = outcome.duration.as_secs_f64();
            ran.results = outcome.journal.uses.clone();
            let claims = outcome.journal.claims.iter();
            ran.claims = claims
                .map(|((paper, claim), judged)| OfPaper {
                    paper: paper.clone(),
                    claim: claim.clone(),
                    judged: judged.clone(),
                })
                .collect();
        }
        Ok(serde_json::to_string_pretty(&self)? + "\n")
    }

    /// The account of the last run that wrote into this folder; none if there is none.
    ///
    /// # Errors
    /// A file that is no account.
    pub fn read(out: &Path) -> Result<Option<Self>> {
        let file = out.join(FILE);
        if !file.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let explain =
            || format!("{} is not what `igpt run` of this version writes: run again", file.display());
        serde_json::from_str(&text).with_context(explain).map(Some)
    }
}

impl Sources {
    /// What a checkout has now.
    ///
    /// # Errors
    /// Git is not there, or knows no commit.
    pub fn of(root: &Path) -> Result<Self> {
        let names = |arguments: &[&str]| -> Result<BTreeSet<String>> {
            let said = git(root, arguments)?;
            let names = said.split('\0').filter(|path| !path.is_empty());
            Ok(names
                .filter(|path| concerns_all(path, true) || is_notebook(path))
                .map(str::to_owned)
                .collect())
        };
        let commit = git(root, &["rev-parse", "--verify", "HEAD"])?.trim().to_owned();
        let others = names(&["ls-files", "-z", "--others", "--exclude-standard"])?;
        let changed = names(&["diff", "--name-only", "--no-renames", "--relative", "-z", "HEAD", "--"])?;
        let mut all = names(&["ls-files", "-z"])?;
        all.extend(others.iter().cloned());
        let mut hash = Sha256::new();
        for name in all.iter().filter(|name| !is_notebook(name)) {
            // One that is gone has no bytes; that is told apart from an empty one by its name.
            if let Ok(bytes) = fs::read(root.join(name)) {
                hash.update(format!("{name}\0{}\0", hex(&Sha256::digest(bytes))));
            }
        }
        let uncommitted = changed.union(&others).cloned().collect();
        Ok(Self { root: root.to_owned(), commit, uncommitted, sha256: hex(&hash.finalize()) })
    }
}

fn is_notebook(path: &str) -> bool {
    path.starts_with("notebooks/") && path.ends_with(".ipynb")
}

/// The SHA-256 of a notebook's cells without their outputs.
///
/// # Errors
/// A file that is no notebook.
pub fn cells_sha256(notebook: &Path) -> Result<String> {
    let notebook = Notebook::read(notebook)?;
    let cells = notebook.cells().iter().map(|cell| (cell["cell_type"].as_str(), joined(&cell["source"])));
    Ok(hex(&Sha256::digest(serde_json::to_vec(&cells.collect::<Vec<_>>())?)))
}

/// The experiment store of kernels that this process starts.
pub fn store(root: Option<&Path>) -> Option<PathBuf> {
    match std::env::var_os("IGPT_STORE").filter(|folder| !folder.is_empty()) {
        Some(folder) => std::path::absolute(folder).ok(),
        None => root.map(|root| root.join("target/igpt-store")),
    }
}
