//! How long notebooks take, as it was measured. One form of file has it: the committed one, by which shares of
//! a run are balanced, notebooks are put in order and their time is announced, and that of this machine, which each run
//! writes. The committed file stands beside the notebooks.
//!
//! ```toml
//! [quick]
//! "1_quickstart" = { cells = 10.2, results = 31.0 }
//! ```

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{
    notebook::{name, write_atomically},
    outcome::{Outcome, Verdict},
};
use crate::repository;

/// The times that are committed, in the folder of the notebooks: those of a machine on which everything was computed in one run.
pub const COMMITTED: &str = "times.toml";
/// The times of this machine, in a checkout.
pub const OWN: &str = "target/igpt-times.toml";

const HEADING: &str = "\
# Seconds that notebooks took, by profile: `cells` is computed whenever a notebook runs, `results` only if the experiment
# store has not got it. Measured: `igpt run` writes target/igpt-times.toml, `igpt run --update-times` the one to commit.
";

/// What a notebook takes, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// What is computed whenever it runs.
    pub cells: f64,
    /// What the experiment store keeps, and is computed only if it is not there.
    #[serde(default)]
    pub results: f64,
}

impl Cost {
    /// What a notebook that went to its end took in this run; `None` if it did not. What it found in the store took as long as
    /// the store says that it did, be it on this machine or on another one; what these results had needed in their turn was not
    /// looked at, so that they took no less than is `known` already.
    pub fn of(outcome: &Outcome, known: Option<Self>) -> Option<Self> {
        if !matches!(outcome.verdict, Verdict::Passed | Verdict::Differs(_)) || outcome.cells.is_empty() {
            return None;
        }
        let uses = || outcome.journal.uses.iter();
        let seconds = |ms: u64| ms as f64 / 1000.;
        let computed = seconds(uses().filter(|used| !used.reused).map(|used| used.wall_ms).sum());
        let waited = seconds(outcome.journal.waited_ms);
        let cells = (outcome.duration.as_secs_f64() - computed - waited).max(0.);
        let all = seconds(uses().map(|used| used.wall_ms).sum());
        let known = known.filter(|_| uses().any(|used| used.reused)).map_or(0., |known| known.results);
        Some(Self { cells, results: all.max(known) })
    }

    /// Where nothing is in the store.
    pub fn in_all(self) -> f64 {
        self.cells + self.results
    }
}

/// The costs of a file, by profile and notebook.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Times(BTreeMap<String, BTreeMap<String, Cost>>);

impl Times {
    /// Those of a file; none if it is not there.
    ///
    /// # Errors
    /// A file that cannot be read or does not have this form.
    pub fn read(file: &Path) -> Result<Self> {
        if !file.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let explain = || {
            format!(
                "{} is not a file of measured times; `igpt run --update-times` writes a new one where there is none",
                file.display()
            )
        };
        let times = Self(toml::from_str(&text).with_context(explain)?);
        for (name, cost) in times.0.values().flatten() {
            let is_time = |seconds: f64| seconds.is_finite() && seconds >= 0.;
            ensure!(
                is_time(cost.cells) && is_time(cost.results),
                "{}: the time of {name} is no number of seconds",
                file.display()
            );
        }
        Ok(times)
    }

    /// The costs of a profile, by notebook.
    pub fn of(&self, profile: &str) -> BTreeMap<String, Cost> {
        self.0.get(profile).cloned().unwrap_or_default()
    }

    /// Notes a cost in place of what was known.
    pub fn note(&mut self, profile: &str, name: &str, cost: Cost) {
        self.0.entry(profile.to_owned()).or_default().insert(name.to_owned(), cost);
    }

    /// Writes the file, its seconds with one digit behind the point.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        let mut text = HEADING.to_owned();
        let quoted = |name: &str| toml::Value::from(name).to_string();
        for (profile, notebooks) in &self.0 {
            text += &format!("\n[{}]\n", quoted(profile));
            for (name, Cost { cells, results }) in notebooks {
                text += &format!("{} = {{ cells = {cells:.1}, results = {results:.1} }}\n", quoted(name));
            }
        }
        write_atomically(file, text.as_bytes())
    }
}

/// The seconds of each notebook for a run that has everything to compute. One that has no time gets the mean of the others; if
/// none has, all are taken for equal.
///
/// # Errors
/// A file that is none of times: nobody would notice that shares are not even.
pub fn seconds(notebooks: &[PathBuf], profile: &str) -> Result<Vec<f64>> {
    let mut files: BTreeMap<PathBuf, BTreeMap<String, Cost>> = BTreeMap::new();
    let mut known = Vec::new();
    for notebook in notebooks {
        let committed = committed(notebook);
        if !files.contains_key(&committed) {
            files.insert(committed.clone(), Times::read(&committed)?.of(profile));
        }
        let cost = files.get(&committed).and_then(|costs| costs.get(&name(notebook)));
        known.push(cost.map(|cost| cost.in_all()));
    }
    let with: Vec<f64> = known.iter().flatten().copied().collect();
    let mean = if with.is_empty() { 1. } else { with.iter().sum::<f64>() / with.len() as f64 };
    Ok(known.into_iter().map(|seconds| seconds.unwrap_or(mean)).collect())
}

/// Puts what the notebooks of a run took that passed into the committed files, and returns these. Other times stay.
///
/// # Errors
/// A file that is none of times, or cannot be written.
pub fn update(outcomes: &[Outcome], profile: &str) -> Result<Vec<PathBuf>> {
    let mut files: BTreeMap<PathBuf, Times> = BTreeMap::new();
    let mut updated = Vec::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.is_well()) {
        let (committed, name) = (committed(&outcome.source), name(&outcome.source));
        if !files.contains_key(&committed) {
            files.insert(committed.clone(), Times::read(&committed)?);
        }
        let Some(times) = files.get_mut(&committed) else { continue };
        let known = times.of(profile).get(&name).copied();
        let Some(cost) = Cost::of(outcome, known) else { continue };
        times.note(profile, &name, cost);
    }
    for (file, times) in files {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        times.write(&file)?;
        updated.push(file);
    }
    Ok(updated)
}

/// The file with a notebook's times that is committed.
fn committed(notebook: &Path) -> PathBuf {
    let absolute = std::path::absolute(notebook).unwrap_or_else(|_| notebook.to_owned());
    absolute.with_file_name(COMMITTED)
}

/// The checkout whose own notebooks are those of the folder.
pub fn checkout(folder: &Path) -> Option<PathBuf> {
    repository::around(folder).filter(|root| root.join("notebooks") == folder)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::run::{
        journal::Journal,
        notebook::CodeCell,
        outcome::{CellRun, CellStatus},
    };

    /// A notebook that took so long; what it computed for the store is a part of that, and what it found there is not.
    pub(crate) fn outcome(source: &Path, seconds: u64, computed: u64, reused: bool) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("journal");
        let line = |key: &str, reused: bool, seconds: u64| {
            format!(
                "{{\"kind\":\"result\",\"step\":\"s\",\"key\":\"{key}\",\"reused\":{reused},\"wall_ms\":{seconds}000}}\n"
            )
        };
        let lines =
            [(computed > 0).then(|| line("new", false, computed)), reused.then(|| line("old", true, 9))];
        fs::write(&journal, lines.into_iter().flatten().collect::<String>()).unwrap();
        let cell = CodeCell {
            position: 0,
            number: 1,
            id: None,
            source: "1".into(),
            tags: Vec::new(),
            check: serde_json::Value::Null,
        };
        Outcome {
            source: source.to_owned(),
            name: name(source),
            executed: PathBuf::new(),
            log: PathBuf::new(),
            cells: vec![CellRun::untouched(cell, CellStatus::Passed)],
            journal: Journal::read(&journal),
            duration: Duration::from_secs(seconds),
            resources: None,
            retries: Vec::new(),
            lines: Vec::new(),
            verdict: Verdict::Passed,
        }
    }

    /// A notebook that told this, of a name of its own.
    pub(crate) fn outcome_with(journal: Journal) -> Outcome {
        let source = format!("/nowhere/{}.ipynb", journal.claims.len());
        Outcome { journal, ..outcome(Path::new(&source), 1, 0, false) }
    }

    #[test]
    fn times_come_back_and_unknown_ones_are_the_mean() {
        let folder = tempfile::tempdir().unwrap();
        let all = ["a b.ipynb", "b.ipynb", "c.ipynb"].map(|name| folder.path().join(name));
        assert_eq!(seconds(&all, "quick").unwrap(), [1.; 3]);
        let [a, b, _] = &all;
        let file = folder.path().join(COMMITTED);
        let updated = update(&[outcome(a, 10, 4, false), outcome(b, 20, 0, false)], "quick").unwrap();
        assert_eq!(updated, std::slice::from_ref(&file));
        assert_eq!(seconds(&all, "quick").unwrap(), [10., 20., 15.]);
        assert_eq!(seconds(&all, "cifar").unwrap(), [1.; 3], "another profile takes other times");
        // What failed says nothing, and what is in the store still took its time.
        let mut failed = outcome(b, 1, 0, false);
        failed.verdict = Verdict::Interrupted;
        update(&[outcome(a, 7, 0, true), failed], "quick").unwrap();
        assert_eq!(Times::read(&file).unwrap().of("quick")["a b"], Cost { cells: 7., results: 9. });
        assert_eq!(seconds(&all, "quick").unwrap(), [16., 20., 18.]);
        // Some of it computed, and some found.
        update(&[outcome(b, 30, 10, true)], "quick").unwrap();
        assert_eq!(Times::read(&file).unwrap().of("quick")["b"], Cost { cells: 20., results: 19. });
        // Found only: what they needed in their turn still took its time.
        update(&[outcome(b, 30, 0, true)], "quick").unwrap();
        assert_eq!(Times::read(&file).unwrap().of("quick")["b"], Cost { cells: 30., results: 19. });
        for (wrong, part) in [
            ("\"b.ipynb\" = 7", "is not a file of measured times"),
            ("[quick]\nb = { cells = -1 }", "the time of b is no number of seconds"),
            ("[quick]\nb = { cells = 1, result = 1 }", "unknown field"),
        ] {
            fs::write(&file, wrong).unwrap();
            let error = format!("{:#}", seconds(&all, "quick").unwrap_err());
            assert!(error.contains(part) && error.contains(&*file.to_string_lossy()), "{error}");
        }
    }

    #[test]
    fn a_checkout_has_one_committed_file_and_one_of_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["Cargo.toml", "notebooks/Cargo.toml", "kernel-lib/Cargo.toml"] {
            fs::create_dir_all(folder.path().join(file).parent().unwrap()).unwrap();
            fs::write(folder.path().join(file), "").unwrap();
        }
        let at = |name: &str| folder.path().join(name);
        let beside = at("notebooks/times.toml");
        assert_eq!(committed(&at("notebooks/a.ipynb")), beside);
        assert_eq!(committed(&at("docs/a.ipynb")), at("docs/times.toml"));
        let mut own = Times::default();
        own.note("quick", "a", Cost { cells: 1., results: 100. });
        fs::create_dir(at("target")).unwrap();
        own.write(&at(OWN)).unwrap();
        assert_eq!(Times::read(&at(OWN)).unwrap(), own, "both have the same form");
        let updated = update(&[outcome(&at("notebooks/a.ipynb"), 3, 0, true)], "quick").unwrap();
        assert_eq!(updated, std::slice::from_ref(&beside));
        assert_eq!(Times::read(&beside).unwrap().of("quick")["a"], Cost { cells: 3., results: 9. });
    }

    #[test]
    fn committed_times_are_of_notebooks_that_are_there() {
        let root = repository::root().unwrap();
        let times = Times::read(&root.join("notebooks").join(COMMITTED)).unwrap();
        assert!(!times.of("quick").is_empty());
        let there = crate::run::select::notebooks_in(&root.join("notebooks"), &root.join("target/notebooks"));
        let there: Vec<String> = there.unwrap().iter().map(|file| name(file)).collect();
        for (name, cost) in times.of("quick") {
            assert!(there.contains(&name) && cost.cells > 0., "{name}: {cost:?}");
        }
    }
}
