//! What the library tells the runner besides the outputs, in the file that `IGPT_JOURNAL` names: which results a
//! notebook computed and which it found in the experiment store, which data it read, and which claims it judged.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs,
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::text::count;

/// The variable that names the file.
pub const VARIABLE: &str = "IGPT_JOURNAL";

/// A result of the experiment store that a notebook used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// What computes it.
    pub step: String,
    /// Which result of it: all digits.
    pub key: String,
    /// Whether it was there.
    pub reused: bool,
    /// What it took to compute, now or then, in milliseconds.
    pub wall_ms: u64,
    /// Why it was reused, or had to be computed.
    #[serde(default)]
    pub why: String,
}

/// Data that was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Its name: a file of the checkout, or a data set.
    pub name: String,
    /// Its revision, if it has one.
    #[serde(default)]
    pub revision: String,
    /// The SHA-256 of what was read.
    pub sha256: String,
}

/// All that a kernel told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Journal {
    /// Each result once, as it was when it was first used.
    pub uses: Vec<Use>,
    /// The data that cells read, whatever they did with it.
    pub data: BTreeSet<Data>,
    /// What tables say that their numbers are of, where that is the profile as it is.
    pub profile_labels: BTreeSet<String>,
    /// How long it waited for what another notebook computed, in milliseconds.
    pub waited_ms: u64,
    /// What came of each claim in the end, by the paper's name and its key.
    pub claims: BTreeMap<(String, String), Judged>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum JournalLine {
    Result(Use),
    Data(Data),
    ProfileLabel {
        label: String,
    },
    Waited {
        ms: u64,
    },
    Claim {
        #[serde(default)]
        paper: String,
        claim: String,
        #[serde(flatten)]
        judged: Judged,
    },
}

/// What came of a claim.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Judged {
    /// `finding` or `check`.
    pub of: String,
    /// The verdict, in words.
    pub verdict: String,
    /// What the paper reports of it.
    pub reported: String,
    /// What was measured, in words.
    pub ours: String,
    /// What it was measured of, as the table says it: profile, data, device, or other settings.
    pub label: String,
    /// What was measured.
    pub measured: Measured,
    /// The keys of the results that the notebook had used when it judged.
    pub results: Vec<String>,
}

/// What was measured of a claim, with all digits. What is missing was not a number, or there is no interval.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measured {
    /// Nothing is known of it.
    #[default]
    Nothing,
    /// Exact numbers, of a check.
    Numbers(Vec<Option<f64>>),
    /// Effects with the intervals by which they were judged.
    Effects(Vec<Effect>),
    /// A rank correlation.
    Order(Order),
}

/// An effect with its 95 % interval. Here and in recorded runs: what is missing was not a number, or there is no interval.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effect {
    /// The mean.
    pub mean: Option<f64>,
    /// The interval's lower end.
    pub low: Option<f64>,
    /// Its upper end.
    pub high: Option<f64>,
    /// Of how many seeds; 0 if they are not what varies.
    pub seeds: usize,
    /// Of how many images; 0 if they are not what varies.
    pub images: usize,
}

/// A rank correlation with its 95 % interval.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// From -1 to 1.
    pub correlation: Option<f64>,
    /// The interval's lower end.
    pub low: Option<f64>,
    /// Its upper end.
    pub high: Option<f64>,
    /// Of how many pairs.
    pub pairs: usize,
}

/// Enough of a result's key to tell results apart.
pub fn short(key: &str) -> &str {
    key.get(..16).unwrap_or(key)
}

impl Journal {
    /// What a kernel told. Lines that cannot be read are passed over: it may have been killed while it wrote.
    pub fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap_or_default();
        let mut journal = Self::default();
        for line in text.lines() {
            match serde_json::from_str(line) {
                Ok(JournalLine::Result(used)) if journal.uses.iter().all(|other| other.key != used.key) => {
                    journal.uses.push(used);
                }
                Ok(JournalLine::Data(data)) => drop(journal.data.insert(data)),
                Ok(JournalLine::Waited { ms }) => journal.waited_ms = journal.waited_ms.saturating_add(ms),
                Ok(JournalLine::ProfileLabel { label }) => drop(journal.profile_labels.insert(label)),
                Ok(JournalLine::Claim { paper, claim, mut judged }) => {
                    judged.results = journal.uses.iter().map(|used| used.key.clone()).collect();
                    journal.claims.insert((paper, claim), judged);
                }
                Ok(JournalLine::Result(_)) | Err(_) => {}
            }
        }
        journal
    }

    /// "3 computed, 5 reused"; nothing for a notebook that used none.
    pub fn counts(&self) -> String {
        let reused = self.uses.iter().filter(|used| used.reused).count();
        match (self.uses.len() - reused, reused) {
            (0, 0) => String::new(),
            (computed, 0) => format!("{computed} computed"),
            (0, reused) => format!("{reused} reused"),
            (computed, reused) => format!("{computed} computed, {reused} reused"),
        }
    }
}

/// A sentence on all results of a run: what was reused, and what that saved. A result that one notebook computed and
/// another one used is one that was computed now.
pub fn reused<'a>(journals: impl Iterator<Item = &'a Journal>) -> Option<String> {
    let uses: Vec<&Use> = journals.flat_map(|journal| &journal.uses).collect();
    let now: HashSet<&str> = uses.iter().filter(|used| !used.reused).map(|used| &*used.key).collect();
    let mut seen = HashSet::new();
    let mut steps: Vec<(&str, u64)> = Vec::new();
    for used in uses.iter().filter(|used| !now.contains(&*used.key) && seen.insert(&*used.key)) {
        match steps.iter_mut().find(|(name, _)| *name == used.step) {
            Some((_, ms)) => *ms += used.wall_ms,
            None => steps.push((&used.step, used.wall_ms)),
        }
    }
    steps.sort_by_key(|(_, ms)| std::cmp::Reverse(*ms));
    let seconds = |ms: u64| ms as f64 / 1000.0;
    let names: Vec<String> = steps.iter().map(|(name, ms)| format!("{name} {:.1} s", seconds(*ms))).collect();
    let took = seconds(steps.iter().map(|(_, ms)| ms).sum());
    (!steps.is_empty()).then(|| {
        let also = if now.is_empty() {
            String::new()
        } else {
            format!("; computed: {}", count(now.len(), "result"))
        };
        let seen = count(seen.len(), "result");
        format!("reused: {seen} of earlier runs, where they took {took:.0} s ({}){also}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"{"kind":"result","step":"palette","key":"a","reused":false,"damage":null,"wall_ms":1200,"date":"d"}
{"kind":"result","step":"pre-training","key":"b","reused":true,"damage":null,"wall_ms":300000,"date":"d"}
{"kind":"claim","paper":"p","claim":"one","verdict":"inconclusive"}
{"kind":"claim","claim":"of no paper","verdict":"passed"}
{"kind":"data","name":"data/cup.png","revision":"","sha256":"beef"}
{"kind":"data","name":"data/cup.png","revision":"","sha256":"beef"}
{"kind":"profile-label","label":"profile quick, cups, CPU"}
{"kind":"a later version's","x":1}
{"kind":"claim","paper":"p","claim":"one","verdict":"supported","measured":{"effects":[{"mean":1.5,"low":null,"high":null,"seeds":1,"images":0}]}}
{"kind":"result","step":"palette","key":"a","reused":true,"damage":null,"wall_ms":1200,"date":"d"}
{"kind":"result","step":"probe","key":"c","reused":true,"damage":null,"wall_ms":40"#;

    #[test]
    fn each_result_counts_once_as_it_was_first_used() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("journal");
        assert_eq!(Journal::read(&file), Journal::default());
        fs::write(&file, LINES).unwrap();
        let journal = Journal::read(&file);
        let found: Vec<_> =
            journal.uses.iter().map(|used| (used.step.as_str(), used.reused, used.wall_ms)).collect();
        assert_eq!(found, [("palette", false, 1200), ("pre-training", true, 300_000)]);
        assert_eq!(journal.counts(), "1 computed, 1 reused");
        let judged = &journal.claims[&("p".to_owned(), "one".to_owned())];
        assert_eq!(
            (&*judged.verdict, &judged.results[..]),
            ("supported", &["a".to_owned(), "b".to_owned()][..])
        );
        let data = Data { name: "data/cup.png".into(), sha256: "beef".into(), ..Data::default() };
        assert_eq!(journal.data, BTreeSet::from([data]), "each once");
        assert!(journal.profile_labels.contains("profile quick, cups, CPU"));
        let effect = Effect { mean: Some(1.5), seeds: 1, ..Effect::default() };
        assert_eq!(judged.measured, Measured::Effects(vec![effect]));
        // A second notebook found the palette that the first one had computed.
        let mut second = journal.clone();
        second.uses[0].reused = true;
        let said = reused([&journal, &second].into_iter()).unwrap();
        assert_eq!(
            said,
            "reused: 1 result of earlier runs, where they took 300 s (pre-training 300.0 s); computed: 1 result"
        );
        let none = Journal::default();
        assert_eq!((none.counts(), reused([&none].into_iter())), (String::new(), None));
    }
}
