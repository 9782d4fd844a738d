//! What the library tells the runner besides the outputs, in the file that `IGPT_JOURNAL` names: which results a
//! notebook computed and which it found in the experiment store, and which claims it judged.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::Path,
};

use serde::Deserialize;

use super::text::count;

/// The variable that names the file.
pub const VARIABLE: &str = "IGPT_JOURNAL";

/// A result of the experiment store that a notebook used.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Use {
    /// What computes it.
    pub step: String,
    /// Which result of it.
    key: String,
    /// Whether it was there.
    pub reused: bool,
    /// What it took to compute, now or then, in milliseconds.
    pub wall_ms: u64,
    /// Why it was reused, or had to be computed.
    #[serde(default)]
    pub why: String,
}

/// All that a kernel told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Journal {
    /// Each result once, as it was when it was first used.
    pub uses: Vec<Use>,
    /// What came of each claim in the end, by its key.
    pub claims: BTreeMap<String, Judged>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum JournalLine {
    Result(Use),
    Claim {
        claim: String,
        #[serde(flatten)]
        judged: Judged,
    },
}

/// What came of a claim.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Judged {
    /// `finding` or `check`.
    pub of: String,
    /// The verdict, in words.
    pub verdict: String,
    /// What the paper reports of it.
    pub reported: String,
    /// What was measured.
    pub ours: String,
}

impl Use {
    /// Enough of the key to tell results apart.
    pub fn key(&self) -> &str {
        self.key.get(..16).unwrap_or(&self.key)
    }
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
                Ok(JournalLine::Claim { claim, judged }) => {
                    journal.claims.insert(claim, judged);
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
{"kind":"claim","claim":"one","verdict":"inconclusive"}
{"kind":"claim","claim":"one","verdict":"supported"}
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
