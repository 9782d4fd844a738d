//! The claims of the paper to which notebooks belong, and what the notebooks of a run made of them.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use serde::Deserialize;

use super::journal::{Journal, Judged};
use super::text::count;

/// A claim as the paper's `claims.toml` lists it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Listed {
    /// Its name.
    pub key: String,
    /// The section that makes it.
    #[serde(default)]
    pub section: String,
    /// `finding` or `check`.
    #[serde(default)]
    pub kind: String,
    /// What is claimed.
    #[serde(default)]
    pub statement: String,
    /// Why nothing tests it.
    pub untested: Option<String>,
}

/// A claim that a notebook of the run judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfRun {
    /// Which notebook of the run, from 0.
    pub notebook: usize,
    /// What it made of it.
    pub judged: Judged,
}

/// All claims, with what this run made of them.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    /// In the paper's order.
    pub listed: Vec<Listed>,
    judged: BTreeMap<String, OfRun>,
}

/// Verdicts in the order in which they are counted.
const FINDINGS: [&str; 5] =
    ["supported", "plateau", "not supported at this scale", "inconclusive", "untested"];
const CHECKS: [&str; 4] = ["passed", "failed", "inconclusive", "untested"];

impl Claims {
    /// The claims of a file, as the notebooks of a run judged them. A file that cannot be read has none: the library complains of it.
    pub fn new<'a>(file: Option<&Path>, journals: impl Iterator<Item = &'a Journal>) -> Self {
        #[derive(Deserialize)]
        struct File {
            claim: Vec<Listed>,
        }
        let text = file.and_then(|file| fs::read_to_string(file).ok());
        let listed =
            text.and_then(|text| toml::from_str::<File>(&text).ok()).map_or_else(Vec::new, |f| f.claim);
        let mut judged = BTreeMap::new();
        for (notebook, journal) in journals.enumerate() {
            for (key, verdict) in &journal.claims {
                judged.insert(key.clone(), OfRun { notebook, judged: verdict.clone() });
            }
        }
        Self { listed, judged }
    }

    /// What the run made of a claim.
    pub fn of_run(&self, key: &str) -> Option<&OfRun> {
        self.judged.get(key)
    }

    /// Claims that a notebook judged and no list has.
    pub fn unlisted(&self) -> impl Iterator<Item = (&String, &OfRun)> {
        self.judged.iter().filter(|(key, _)| !self.listed.iter().any(|claim| claim.key == **key))
    }

    /// A sentence: how many findings, and how many checks, have which verdict; none if no notebook judged any.
    pub fn in_words(&self) -> Option<String> {
        if self.judged.is_empty() {
            return None;
        }
        let untested = |kind: &str| {
            let of_kind = self.listed.iter().filter(|claim| claim.kind == kind);
            of_kind.filter(|claim| !self.judged.contains_key(&claim.key)).count()
        };
        let sentence = |kind: &str, verdicts: &[&str]| {
            let mut counts: HashMap<&str, usize> = HashMap::new();
            for of_run in self.judged.values().filter(|of_run| of_run.judged.of == kind) {
                *counts.entry(&of_run.judged.verdict).or_default() += 1;
            }
            *counts.entry("untested").or_default() += untested(kind);
            let all: usize = counts.values().sum();
            let counts: Vec<String> = verdicts
                .iter()
                .filter_map(|verdict| Some((counts.get(verdict).copied().filter(|n| *n > 0)?, verdict)))
                .map(|(n, verdict)| format!("{n} {verdict}"))
                .collect();
            (all > 0).then(|| format!("{}: {}", count(all, kind), counts.join(", ")))
        };
        let both = [sentence("finding", &FINDINGS), sentence("check", &CHECKS)];
        Some(both.into_iter().flatten().collect::<Vec<_>>().join(". "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_and_checks_are_counted_apart_and_what_nobody_judged_is_untested() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("claims.toml");
        let list = [("one", "finding"), ("two", "finding"), ("three", "check"), ("four", "finding")];
        let text: String = list
            .iter()
            .map(|(key, kind)| format!("[[claim]]\nkey = \"{key}\"\nkind = \"{kind}\"\n"))
            .collect();
        fs::write(&file, text).unwrap();
        let lines = r#"{"kind":"claim","claim":"one","of":"finding","verdict":"inconclusive","ours":"0"}
{"kind":"claim","claim":"one","of":"finding","verdict":"supported","ours":"1"}
{"kind":"claim","claim":"two","of":"finding","verdict":"plateau"}
{"kind":"claim","claim":"three","of":"check","verdict":"passed"}
"#;
        let journal = folder.path().join("journal");
        fs::write(&journal, lines).unwrap();
        let journals = [Journal::default(), Journal::read(&journal)];
        let claims = Claims::new(Some(&file), journals.iter());
        assert_eq!(
            claims.in_words().unwrap(),
            "3 findings: 1 supported, 1 plateau, 1 untested. 1 check: 1 passed"
        );
        let one = claims.of_run("one").unwrap();
        assert_eq!((one.notebook, one.judged.ours.as_str()), (1, "1"));
        assert!(claims.of_run("four").is_none() && claims.listed.len() == 4);
        assert_eq!(Claims::new(Some(&file), [].iter()).in_words(), None);
        // Notebooks of another repository, whose claims nobody lists.
        let alone = Claims::new(Some(&folder.path().join("missing")), journals.iter());
        assert_eq!(alone.in_words().unwrap(), "2 findings: 1 supported, 1 plateau. 1 check: 1 passed");
        assert_eq!((alone.unlisted().count(), claims.unlisted().count()), (3, 0));
    }
}
