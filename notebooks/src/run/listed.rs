//! What papers' `claims.toml` list, and verdicts in words.

use std::{collections::HashMap, fs, path::Path};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::text::count;
use crate::hex::hex;

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
    /// What the paper reports of it: keys. None: it is a control of ours.
    #[serde(default)]
    pub reported: Vec<String>,
    /// What is claimed.
    #[serde(default)]
    pub statement: String,
    /// Why nothing tests it. None: it has a criterion.
    pub untested: Option<String>,
    /// The SHA-256 of what is claimed and of the criterion that judges it, in words and as a test.
    #[serde(skip)]
    pub criterion_sha256: String,
}

/// What the library says of a claim of which nothing was measured, and what is counted of claims for which there is a reason not to
/// test them.
const UNTESTED: &str = "untested";
/// What is counted of a claim that has a criterion, and that no notebook of the run judged.
pub const NOT_JUDGED: &str = "not judged in this run";

/// Verdicts in the order in which they are counted.
const FINDINGS: [&str; 6] =
    ["supported", "plateau", "not supported at this scale", "inconclusive", NOT_JUDGED, UNTESTED];
const CHECKS: [&str; 5] = ["passed", "failed", "inconclusive", NOT_JUDGED, UNTESTED];

/// The claims that a paper's `claims.toml` lists. A file that cannot be read has none: the library complains of it.
pub fn listed(papers: &Path, paper: &str) -> Vec<Listed> {
    #[derive(Deserialize)]
    struct File {
        claim: Vec<toml::Table>,
    }
    let claim = |claim: toml::Table| {
        let fields = ["statement", "criterion", "test", "kind", "unit", "reported"];
        let criterion = fields.map(|field| claim.get(field));
        let criterion_sha256 = hex(&Sha256::digest(serde_json::to_vec(&criterion).unwrap_or_default()));
        let listed: Listed = claim.clone().try_into().ok()?;
        Some(Listed { criterion_sha256, ..listed })
    };
    let text = fs::read_to_string(papers.join(paper).join("claims.toml"));
    let file = text.ok().and_then(|text| toml::from_str::<File>(&text).ok());
    file.and_then(|file| file.claim.into_iter().map(claim).collect()).unwrap_or_default()
}

/// A paper's title; its name if it has none.
pub fn title(papers: &Path, paper: &str) -> String {
    let text = fs::read_to_string(papers.join(paper).join("paper.toml"));
    let about: Option<toml::Table> = text.ok().and_then(|text| text.parse().ok());
    let title = about.as_ref().and_then(|about| about.get("title")?.as_str());
    title.unwrap_or(paper).to_owned()
}

/// Whether it may be a paper's name: that of a folder.
pub fn is_name(paper: &str) -> bool {
    let mut parts = Path::new(paper).components();
    matches!((parts.next(), parts.next()), (Some(std::path::Component::Normal(name)), None) if name == paper)
}

/// A sentence: how many findings, and how many checks, have which verdict. `judged` has keys, kinds and verdicts. What is listed and
/// was not judged is untested if the list says why, and else not judged in this run, as is what was judged without a measurement.
pub fn counts<'a>(
    listed: &[Listed],
    judged: impl Iterator<Item = (&'a str, &'a str, &'a str)> + Clone,
) -> String {
    let sentence = |kind: &str, verdicts: &[&str]| {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for (_, _, verdict) in judged.clone().filter(|(_, of, _)| *of == kind) {
            *counts.entry(if verdict == UNTESTED { NOT_JUDGED } else { verdict }).or_default() += 1;
        }
        let of_kind = listed.iter().filter(|claim| claim.kind == kind);
        for claim in of_kind.filter(|claim| !judged.clone().any(|(key, ..)| key == claim.key)) {
            let why = if claim.untested.is_some() { UNTESTED } else { NOT_JUDGED };
            *counts.entry(why).or_default() += 1;
        }
        let all: usize = counts.values().sum();
        let counts: Vec<String> = verdicts
            .iter()
            .filter_map(|verdict| Some((counts.get(verdict).copied().filter(|n| *n > 0)?, verdict)))
            .map(|(n, verdict)| format!("{n} {verdict}"))
            .collect();
        (all > 0).then(|| format!("{}: {}", count(all, kind), counts.join(", ")))
    };
    let both = [sentence("finding", &FINDINGS), sentence("check", &CHECKS)];
    both.into_iter().flatten().collect::<Vec<_>>().join(". ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_tests_is_told_from_what_this_run_did_not_judge() {
        let claim = |key: &str, untested: Option<&str>| Listed {
            key: key.into(),
            kind: "finding".into(),
            untested: untested.map(str::to_owned),
            ..Listed::default()
        };
        let listed =
            [claim("a", None), claim("b", None), claim("c", Some("needs ImageNet")), claim("d", None)];
        let judged = [("a", "finding", "supported"), ("d", "finding", "untested")];
        assert_eq!(
            counts(&listed, judged.into_iter()),
            "4 findings: 1 supported, 2 not judged in this run, 1 untested"
        );
        assert_eq!(counts(&listed[..1], judged[..1].iter().copied()), "1 finding: 1 supported");
    }

    #[test]
    fn a_criterion_has_its_hash() {
        let papers = tempfile::tempdir().unwrap();
        fs::create_dir(papers.path().join("p")).unwrap();
        let hash = |text: &str| {
            fs::write(papers.path().join("p/claims.toml"), text).unwrap();
            listed(papers.path(), "p")[0].criterion_sha256.clone()
        };
        let text = "[[claim]]\nkey = \"a\"\nstatement = \"It rises.\"\ncriterion = \"Above 1.\"\ntest = { kind = \"x\", by = 1 }\n";
        let first = hash(text);
        for (from, to) in [("rises", "falls"), ("Above 1", "Above 2"), ("by = 1", "by = 2")] {
            assert_ne!(hash(&text.replace(from, to)), first, "{to}");
        }
        // The good twin: its name and its place decide nothing.
        assert_eq!(hash(&text.replace("key = \"a\"", "key = \"b\"\nsection = \"1\"")), first);
    }

    #[test]
    fn a_papers_name_is_that_of_a_folder() {
        assert!(is_name("igpt") && is_name("a-b.c"));
        for wrong in ["", ".", "..", "a/b", "/a", "a/", "./a"] {
            assert!(!is_name(wrong), "{wrong:?}");
        }
    }
}
