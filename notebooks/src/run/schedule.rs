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

use super::{
    outcome::Outcome,
    text::count,
    times::{self, COMMITTED, Cost, OWN, Times},
};

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
        let folder = notebooks.first().and_then(|(file, _)| file.parent());
        let root = folder.and_then(times::checkout);
        let root = root.filter(|_| notebooks.iter().all(|(file, _)| file.parent() == folder));
        let read = |file: &str| -> BTreeMap<String, Cost> {
            root.as_ref().map(|root| read(&root.join(file)).of(profile)).unwrap_or_default()
        };
        let (committed, own) = (read(&format!("notebooks/{COMMITTED}")), read(OWN));
        let has_results = root.as_ref().is_some_and(|root| has_results(root));
        let mut order: Vec<usize> = (0..notebooks.len()).collect();
        if cheapest_first {
            // By the committed times first, which do not change: runs are alike. A notebook that never was measured is last.
            let cost = |at: &usize| {
                let name = &notebooks[*at].1;
                committed.get(name).or_else(|| own.get(name)).map_or(f64::INFINITY, |cost| cost.in_all())
            };
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
        let Some(cost) = Cost::of(outcome, state.own.get(&outcome.name).copied()) else { return };
        if let Some(committed) = self.committed.get(&outcome.name) {
            let has_computed = outcome.journal.uses.iter().any(|used| !used.reused && used.wall_ms > 0);
            let foreseen = if has_computed { committed.in_all() } else { committed.cells };
            let took = outcome.duration.as_secs_f64();
            (state.expected, state.took) = (state.expected + foreseen, state.took + took);
        }
        let Some(root) = &self.root else { return };
        state.own.insert(outcome.name.clone(), cost);
        let file = root.join(OWN);
        // Another run may have added something. Without the file there is only less to say.
        let mut all = read(&file);
        all.note(&self.profile, &outcome.name, cost);
        let _ = all.write(&file);
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

/// Whether the experiment store has any results, see the library's `store`.
fn has_results(root: &Path) -> bool {
    let set = env::var_os("IGPT_STORE").filter(|folder| !folder.is_empty());
    let store = set.map_or_else(|| root.join("target/igpt-store"), PathBuf::from);
    fs::read_dir(store).is_ok_and(|mut entries| entries.next().is_some())
}

/// A file that cannot be read is as none: there is only less to say.
fn read(file: &Path) -> Times {
    Times::read(file).unwrap_or_default()
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
    use crate::run::outcome::Verdict;

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
            fs::create_dir_all(folder.path().join("target")).unwrap();
            fs::write(folder.path().join("notebooks").join(COMMITTED), TIMES).unwrap();
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
        times::tests::outcome(Path::new(name), seconds, results, false)
    }

    #[test]
    fn the_cheapest_is_first_unless_an_order_was_named() {
        let checkout = Checkout::new();
        let names = ["a", "new", "b", "c"];
        assert_eq!(checkout.schedule(&names, true).order(), [3, 2, 0, 1]);
        assert_eq!(checkout.schedule(&names, false).order(), [0, 1, 2, 3]);
        // What was measured here stands in for what is not committed.
        fs::write(checkout.0.path().join(OWN), "[quick]\nnew = { cells = 7.0 }\na = { cells = 1.0 }\n")
            .unwrap();
        assert_eq!(checkout.schedule(&names, true).order(), [3, 1, 2, 0]);
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
        schedule.ended(&times::tests::outcome(Path::new("a"), 22, 0, true));
        assert_eq!(read(&checkout.0.path().join(OWN)).of("quick")["a"], Cost { cells: 22., results: 600. });

        // What failed says nothing, and a file that cannot be read is as none.
        let mut failed = outcome("b", 1, 0);
        failed.verdict = Verdict::Interrupted;
        schedule.ended(&failed);
        assert_eq!(read(&checkout.0.path().join(OWN)).of("quick")["b"].cells, 40.);
        fs::write(checkout.0.path().join(OWN), "[quick").unwrap();
        assert_eq!(again().begins("c").unwrap(), "next: c; then 2 more");
    }
}
