//! What a run was of, and what came of it, for those who come after it: `run.json` in the output folder. `igpt record` looks there whether
//! the run may be kept.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::{
    exit::Exit,
    journal::{Data, Judged, Use},
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    #[serde(serialize_with = "lossy_if_any")]
    pub store: Option<PathBuf>,
    /// The checkout, and what was in it when the run began; the reason why nothing is known of it, where nothing is.
    pub sources: Result<Sources, String>,
    /// What tables say that their numbers are of, where that is the profile as it is.
    pub profile_labels: BTreeSet<String>,
    /// The notebooks.
    pub notebooks: Vec<Ran>,
}

/// What cells may use, as it was when the run began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// The checkout.
    #[serde(serialize_with = "lossy")]
    pub root: PathBuf,
    /// The commit that was checked out.
    pub commit: String,
    /// Which files were not as they are in the commit. A notebook of which only outputs differ is none of them.
    pub uncommitted: Vec<String>,
    /// The SHA-256 of all files that cells of any notebook may use: library, data, papers, command. Notebooks are told of one by one.
    pub sha256: String,
}

/// One notebook of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ran {
    /// Its file.
    #[serde(serialize_with = "lossy")]
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
    /// The data that its cells read.
    pub data: BTreeSet<Data>,
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

/// A path as text. JSON has no other bytes; a path that has some shall not end a run whose notebooks are all well.
fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

fn lossy_if_any<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(serializer)
}

impl Account {
    /// Looks at what a run is of, before it begins. The account of an earlier run goes: it is not this one's.
    pub fn begin(out: &Path, root: Option<PathBuf>, profile: &str, notebooks: &[PathBuf]) -> Self {
        let _ = fs::remove_file(out.join(FILE));
        let notebook = |source: &PathBuf| {
            let source = std::path::absolute(source).unwrap_or_else(|_| source.clone());
            Ran { cells_sha256: cells_sha256(&source).unwrap_or_default(), source, ..Ran::default() }
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let sources = match &root {
            Some(root) => Sources::of(root).map_err(|error| format!("{error:#}")),
            None => Err("the notebooks lie in no checkout of this repository".to_owned()),
        };
        Self {
            profile: profile.to_owned(),
            parameters: Vec::new(),
            date: String::new(),
            igpt: env!("CARGO_PKG_VERSION").to_owned(),
            processor: format!("{}, {}", host::processor(), count(cores, "core")),
            store: store(root.as_deref()),
            sources,
            profile_labels: BTreeSet::new(),
            notebooks: notebooks.iter().map(notebook).collect(),
        }
    }

    /// The same when the run ends: of no sources if these, or a notebook's cells, are others than when it began, since nobody knows
    /// which of them a kernel met.
    #[must_use]
    pub fn ended(mut self) -> Self {
        let Ok(begun) = &self.sources else { return self };
        let changed: Vec<String> = self
            .notebooks
            .iter()
            .filter(|ran| !cells_sha256(&ran.source).is_ok_and(|now| now == ran.cells_sha256))
            .map(|ran| ran.source.to_string_lossy().into_owned())
            .collect();
        match Sources::of(&begun.root) {
            Ok(now) if now == *begun && changed.is_empty() => {}
            Ok(now) if now == *begun => {
                self.sources =
                    Err(format!("cells were changed while the run went on: {}", changed.join(", ")));
            }
            Ok(now) => {
                let commits = if now.commit == begun.commit {
                    "files were changed"
                } else {
                    "another commit was checked out"
                };
                self.sources = Err(format!("{commits} while the run went on"));
            }
            Err(error) => self.sources = Err(format!("{error:#}")),
        }
        self
    }

    /// The account of the run that had these outcomes until now; of notebooks that are still to come it says nothing.
    #[must_use]
    pub fn with(&self, outcomes: &[Outcome], parameters: &[Parameter]) -> Self {
        let mut account = self.clone();
        account.parameters = parameters.iter().map(|set| format!("{}={}", set.name, set.value)).collect();
        account.date = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string();
        account.profile_labels =
            outcomes.iter().flat_map(|outcome| outcome.journal.profile_labels.iter().cloned()).collect();
        account.notebooks = Vec::new();
        for outcome in outcomes {
            let Some(begun) = self.notebooks.iter().find(|ran| ran.source == outcome.source) else {
                continue;
            };
            let claims = outcome.journal.claims.iter().map(|((paper, claim), judged)| OfPaper {
                paper: paper.clone(),
                claim: claim.clone(),
                judged: judged.clone(),
            });
            account.notebooks.push(Ran {
                name: outcome.name.clone(),
                verdict: Exit::of(&outcome.verdict).name().to_owned(),
                // To the millisecond.
                seconds: outcome.duration.as_millis() as f64 / 1000.0,
                results: outcome.journal.uses.clone(),
                data: outcome.journal.data.clone(),
                claims: claims.collect(),
                ..begun.clone()
            });
        }
        account
    }

    /// The text of its file.
    ///
    /// # Errors
    /// Something in it is no JSON.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// The account of a file's text.
    ///
    /// # Errors
    /// A text that is no account.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(serde_json::from_str(text)?)
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
        Self::parse(&text).with_context(explain).map(Some)
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
        let mut changed = names(&["diff", "--name-only", "--no-renames", "--relative", "-z", "HEAD", "--"])?;
        changed.retain(|path| !is_notebook(path) || !has_committed_cells(root, path));
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

/// Whether a notebook differs from the committed one in nothing but its outputs, which `igpt run --in-place` writes.
fn has_committed_cells(root: &Path, path: &str) -> bool {
    let committed = git(root, &["show", &format!("HEAD:./{path}")]).and_then(|text| Notebook::parse(&text));
    let committed = committed.and_then(|notebook| sha256_of_cells(&notebook));
    committed.is_ok_and(|committed| cells_sha256(&root.join(path)).is_ok_and(|now| now == committed))
}

/// The SHA-256 of a notebook's cells without their outputs.
///
/// # Errors
/// A file that is no notebook.
pub fn cells_sha256(notebook: &Path) -> Result<String> {
    sha256_of_cells(&Notebook::read(notebook)?)
}

fn sha256_of_cells(notebook: &Notebook) -> Result<String> {
    // Tags decide what runs, what may fail and what is compared.
    let cells = notebook.cells().iter().map(|cell| {
        (
            cell["cell_type"].as_str(),
            joined(&cell["source"]),
            cell["metadata"].get("tags"),
            cell["metadata"].get("igpt"),
        )
    });
    Ok(hex(&Sha256::digest(serde_json::to_vec(&cells.collect::<Vec<_>>())?)))
}

/// The experiment store of kernels that this process starts.
pub fn store(root: Option<&Path>) -> Option<PathBuf> {
    match std::env::var_os("IGPT_STORE").filter(|folder| !folder.is_empty()) {
        Some(folder) => std::path::absolute(folder).ok(),
        None => root.map(|root| root.join("target/igpt-store")),
    }
}
