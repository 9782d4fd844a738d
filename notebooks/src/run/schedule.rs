//! Which notebook is run first, and how long the next ones will take: the cheapest is first, so that there is something to
//! see early. What each costs was measured: on this machine, if it ran here before, else where the times were committed, and
//! then the notebooks that have run here by now say how much faster or slower this machine is.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    notebook::write_atomically,
    outcome::{Outcome, Verdict},
    text::count,
};
use crate::repository;

/// The times that are committed, in a checkout.
const COMMITTED: &str = "papers/igpt/results/times.toml";
/// The times of this machine.
const OWN: &str = "target/igpt-times.toml";

/// What a notebook takes, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// What is computed whenever it runs.
    pub cells: f64,
    /// What the experiment store keeps, and is computed only if it is not there.
    #[serde(default)]
    pub results: f64,
}

/// By profile and notebook.
type Costs = BTreeMap<String, BTreeMap<String, Cost>>;

/// The notebooks of a run.
#[derive(Debug)]
pub struct Schedule {
    profile: String,
    /// In the order in which they are to run, by their places in the order in which they were named.
    order: Vec<usize>,
    /// The checkout, if all are notebooks of one.
    root: Option<PathBuf>,
    committed: BTreeMap<String, Cost>,
    has_results: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Those that have not begun, in order.
    waiting: Vec<String>,
    own: BTreeMap<String, Cost>,
    /// Seconds of this run that the committed times foresaw, and that it took.
    expected: f64,
    took: f64,
}

impl Schedule {
    /// Of notebooks with these files and names; the cheapest is first if `cheapest_first` is set.
    pub fn new(notebooks: &[(PathBuf, String)], profile: &str, cheapest_first: bool) -> Self {
        let root = notebooks.first().and_then(|(file, _)| repository::around(file.parent()?));
        let folder = root.as_ref().map(|root| root.join("notebooks"));
        let root = root.filter(|_| notebooks.iter().all(|(file, _)| file.parent() == folder.as_deref()));
        let read = |file: &str| -> BTreeMap<String, Cost> {
            let costs = root.as_ref().map(|root| read(&root.join(file))).unwrap_or_default();
            costs.get(profile).cloned().unwrap_or_default()
        };
        let (committed, own) = (read(COMMITTED), read(OWN));
        let has_results = root.as_ref().is_some_and(|root| has_results(root));
        let mut order: Vec<usize> = (0..notebooks.len()).collect();
        if cheapest_first {
            // By the committed times, which do not change: runs are alike. A notebook without one is last.
            let cost = |at: &usize| committed.get(&notebooks[*at].1).map_or(f64::INFINITY, Cost::in_all);
            order.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
        }
        let waiting = order.iter().map(|at| notebooks[*at].1.clone()).collect();
        let state = Mutex::new(State { waiting, own, ..State::default() });
        Self { profile: profile.into(), order, root, committed, has_results, state }
    }

    /// The places of the notebooks, in the order in which they are to run.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// What to say when a notebook begins: how long it will take, and those that come after it; nothing if that is not known
    /// and there is only one, and nothing if it began before: it is run again after a fault of the machine.
    pub fn begins(&self, name: &str) -> Option<String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let place = state.waiting.iter().position(|other| other == name)?;
        state.waiting.remove(place);
        let begin = match self.estimate(&state, name) {
            Some(seconds) => format!("next: {name}, about {} on this machine", duration(seconds)),
            None if state.waiting.is_empty() => return None,
            None => format!("next: {name}"),
        };
        let others: Option<f64> = state.waiting.iter().map(|other| self.estimate(&state, other)).sum();
        Some(match (state.waiting.len(), others) {
            (0, _) => begin,
            (n, Some(seconds)) => format!("{begin}; then {n} more, about {}", duration(seconds)),
            (n, None) => format!("{begin}; then {n} more"),
        })
    }

    /// A notebook is through, though it may never have begun.
    pub fn through(&self, name: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting.retain(|other| other != name);
    }

    /// Notes what a notebook took, for this run and the next one.
    pub fn ended(&self, outcome: &Outcome) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(outcome.verdict, Verdict::Passed | Verdict::Differs(_)) || outcome.cells.is_empty() {
            return;
        }
        let took = outcome.duration.as_secs_f64();
        let computed = outcome.journal.uses.iter().filter(|used| !used.reused).map(|used| used.wall_ms);
        let results = computed.sum::<u64>() as f64 / 1000.;
        let cells = (took - results).max(0.);
        if let Some(committed) = self.committed.get(&outcome.name) {
            let foreseen = committed.cells + if results > 0. { committed.results } else { 0. };
            (state.expected, state.took) = (state.expected + foreseen, state.took + took);
        }
        let Some(root) = &self.root else { return };
        let known = state.own.get(&outcome.name).map_or(0., |cost| cost.results);
        // Found in the store, they are what they were when they were computed here.
        let cost = Cost { cells, results: if results > 0. { results } else { known } };
        state.own.insert(outcome.name.clone(), cost);
        let file = root.join(OWN);
        // Another run may have added something. Without the file there is only less to say.
        let mut all = read(&file);
        all.entry(self.profile.clone()).or_default().insert(outcome.name.clone(), cost);
        if let Ok(text) = toml::to_string(&all) {
            let _ = write_atomically(&file, text.as_bytes());
        }
    }

    /// How many seconds a notebook will take here; none if nothing was measured here.
    fn estimate(&self, state: &State, name: &str) -> Option<f64> {
        let seconds = |cost: &Cost| cost.cells + if self.has_results { 0. } else { cost.results };
        if let Some(own) = state.own.get(name) {
            return Some(seconds(own));
        }
        let slower = (state.expected > 0.).then(|| state.took / state.expected)?;
        // What this run stored is of other notebooks, most likely: nothing is reused of this one's yet.
        self.committed.get(name).map(|committed| committed.in_all() * slower)
    }
}

impl Cost {
    fn in_all(&self) -> f64 {
        self.cells + self.results
    }
}

/// Whether the experiment store has any results, see the library's `store`.
fn has_results(root: &Path) -> bool {
    let set = env::var_os("IGPT_STORE").filter(|folder| !folder.is_empty());
    let store = set.map_or_else(|| root.join("target/igpt-store"), PathBuf::from);
    fs::read_dir(store).is_ok_and(|mut entries| entries.next().is_some())
}

fn read(file: &Path) -> Costs {
    fs::read_to_string(file).ok().and_then(|text| toml::from_str(&text).ok()).unwrap_or_default()
}

/// `40 s`, `5 min`
fn duration(seconds: f64) -> String {
    match Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs() {
        short @ 0..90 => format!("{} s", short.max(1)),
        long => count((long + 30) as usize / 60, "minute"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{
        journal::Journal,
        notebook::CodeCell,
        outcome::{CellRun, CellStatus},
    };

    const TIMES: &str =
        "[quick]\na = { cells = 10.0, results = 290.0 }\nb = { cells = 20.0 }\nc = { cells = 5.0 }\n";

    struct Checkout(tempfile::TempDir);

    impl Checkout {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for file in ["Cargo.toml", "notebooks/Cargo.toml", "kernel-lib/Cargo.toml"] {
                fs::create_dir_all(folder.path().join(file).parent().unwrap()).unwrap();
                fs::write(folder.path().join(file), "").unwrap();
            }
            fs::create_dir_all(folder.path().join("papers/igpt/results")).unwrap();
            fs::create_dir_all(folder.path().join("target")).unwrap();
            fs::write(folder.path().join(COMMITTED), TIMES).unwrap();
            Self(folder)
        }

        fn schedule(&self, names: &[&str], cheapest_first: bool) -> Schedule {
            let file =
                |name: &&str| (self.0.path().join(format!("notebooks/{name}.ipynb")), (*name).to_owned());
            Schedule::new(&names.iter().map(file).collect::<Vec<_>>(), "quick", cheapest_first)
        }
    }

    /// A notebook that took so long; what it computed for the store is a part of that.
    fn outcome(name: &str, seconds: u64, results: u64) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("journal");
        let line = format!(
            "{{\"kind\":\"result\",\"step\":\"s\",\"key\":\"k\",\"reused\":false,\"wall_ms\":{results}000}}"
        );
        fs::write(&journal, if results > 0 { line } else { String::new() }).unwrap();
        let cell = CodeCell {
            position: 0,
            number: 1,
            id: None,
            source: "1".into(),
            tags: Vec::new(),
            check: serde_json::Value::Null,
        };
        Outcome {
            source: PathBuf::new(),
            name: name.into(),
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

    #[test]
    fn the_cheapest_is_first_unless_an_order_was_named() {
        let checkout = Checkout::new();
        let names = ["a", "new", "b", "c"];
        assert_eq!(checkout.schedule(&names, true).order(), [3, 2, 0, 1]);
        assert_eq!(checkout.schedule(&names, false).order(), [0, 1, 2, 3]);
        // Elsewhere nothing is known.
        let elsewhere: Vec<_> = ["b", "a"].map(|name| (PathBuf::from("/x").join(name), name.into())).into();
        let schedule = Schedule::new(&elsewhere, "quick", true);
        assert_eq!(schedule.order(), [0, 1]);
        assert_eq!(schedule.begins("b").unwrap(), "next: b; then 1 more");
        assert_eq!(schedule.begins("b"), None, "it is run again");
        assert_eq!(schedule.begins("a"), None);
    }

    #[test]
    fn what_comes_is_estimated_from_what_was_measured() {
        let checkout = Checkout::new();
        let schedule = checkout.schedule(&["a", "b", "c"], true);
        // Nothing was measured on this machine yet.
        assert_eq!(schedule.begins("c").unwrap(), "next: c; then 2 more");
        // It takes twice as long here.
        schedule.ended(&outcome("c", 10, 0));
        assert_eq!(
            schedule.begins("b").unwrap(),
            "next: b, about 40 s on this machine; then 1 more, about 10 minutes"
        );
        schedule.ended(&outcome("b", 40, 0));
        assert_eq!(schedule.begins("a").unwrap(), "next: a, about 10 minutes on this machine");
        schedule.ended(&outcome("a", 620, 600));

        // The next run knows this machine: with the results in the store, and without.
        let again = || checkout.schedule(&["a", "b", "c"], true);
        assert_eq!(
            again().begins("c").unwrap(),
            "next: c, about 10 s on this machine; then 2 more, about 11 minutes"
        );
        fs::create_dir_all(checkout.0.path().join("target/igpt-store/entry")).unwrap();
        let schedule = again();
        assert_eq!(
            schedule.begins("c").unwrap(),
            "next: c, about 10 s on this machine; then 2 more, about 60 s"
        );
        // Reused, its results still cost what they cost.
        schedule.ended(&outcome("a", 22, 0));
        assert_eq!(read(&checkout.0.path().join(OWN))["quick"]["a"], Cost { cells: 22., results: 600. });

        // What failed says nothing, and a file that cannot be read is as none.
        let mut failed = outcome("b", 1, 0);
        failed.verdict = Verdict::Interrupted;
        schedule.ended(&failed);
        assert_eq!(read(&checkout.0.path().join(OWN))["quick"]["b"].cells, 40.);
        fs::write(checkout.0.path().join(OWN), "[quick").unwrap();
        assert_eq!(again().begins("c").unwrap(), "next: c; then 2 more");
    }

    #[test]
    fn committed_times_are_of_notebooks_that_are_there() {
        let root = repository::root().unwrap();
        let times = read(&root.join(COMMITTED));
        let there = crate::run::select::notebooks_in(&root.join("notebooks"), &root.join("target/notebooks"))
            .unwrap();
        let there: Vec<_> = there.iter().map(|file| file.file_stem().unwrap().to_str().unwrap()).collect();
        assert!(times["quick"].len() >= 6, "{times:?}");
        for (name, cost) in &times["quick"] {
            assert!(there.contains(&&**name) && cost.cells > 0. && cost.results >= 0., "{name}: {cost:?}");
        }
    }
}
