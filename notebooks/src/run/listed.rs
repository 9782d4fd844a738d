//! What papers' `claims.toml` list, and verdicts in words.

use std::{collections::HashMap, fs, path::Path};

use serde::Deserialize;

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
    /// What the paper reports of it: keys. None: it is a control of ours.
    #[serde(default)]
    pub reported: Vec<String>,
    /// What is claimed.
    #[serde(default)]
    pub statement: String,
    /// Why nothing tests it.
    pub untested: Option<String>,
}

/// Verdicts in the order in which they are counted.
const FINDINGS: [&str; 5] =
    ["supported", "plateau", "not supported at this scale", "inconclusive", "untested"];
const CHECKS: [&str; 4] = ["passed", "failed", "inconclusive", "untested"];

/// The claims that a paper's `claims.toml` lists. A file that cannot be read has none: the library complains of it.
pub fn listed(papers: &Path, paper: &str) -> Vec<Listed> {
    #[derive(Deserialize)]
    struct File {
        claim: Vec<Listed>,
    }
    let text = fs::read_to_string(papers.join(paper).join("claims.toml"));
    text.ok().and_then(|text| toml::from_str::<File>(&text).ok()).map_or_else(Vec::new, |file| file.claim)
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

/// A sentence: how many findings, and how many checks, have which verdict. `judged` has keys, kinds and verdicts; what is listed and
/// was not judged is untested.
pub fn counts<'a>(
    listed: &[Listed],
    judged: impl Iterator<Item = (&'a str, &'a str, &'a str)> + Clone,
) -> String {
    let sentence = |kind: &str, verdicts: &[&str]| {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for (_, _, verdict) in judged.clone().filter(|(_, of, _)| *of == kind) {
            *counts.entry(verdict).or_default() += 1;
        }
        let of_kind = listed.iter().filter(|claim| claim.kind == kind);
        *counts.entry("untested").or_default() +=
            of_kind.filter(|claim| !judged.clone().any(|(key, ..)| key == claim.key)).count();
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
    fn a_papers_name_is_that_of_a_folder() {
        assert!(is_name("igpt") && is_name("a-b.c"));
        for wrong in ["", ".", "..", "a/b", "/a", "a/", "./a"] {
            assert!(!is_name(wrong), "{wrong:?}");
        }
    }
}
