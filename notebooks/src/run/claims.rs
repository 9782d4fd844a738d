//! The claims of papers, and what the notebooks of a run made of them.

use std::{collections::BTreeMap, path::Path};

use super::{
    account::Account,
    journal::Judged,
    listed::{Listed, counts, is_name, listed, title},
    results::{
        made,
        recorded::{self, Recorded},
    },
};

/// A claim that a notebook of the run judged.
#[derive(Debug, Clone, PartialEq)]
pub struct OfRun {
    /// Which notebook of the run, from 0.
    pub notebook: usize,
    /// What it made of it.
    pub judged: Judged,
}

/// All claims of a paper, with what this run made of them.
#[derive(Debug, Clone)]
pub struct Claims {
    /// The paper's name: that of its folder in `papers/`.
    pub paper: String,
    /// The paper's title; its name if that is not known.
    pub title: String,
    /// In the paper's order.
    pub listed: Vec<Listed>,
    /// What this run made of them, as `igpt record` would keep it.
    pub run: Recorded,
    /// What the recorded run of the same profile made of them, if there is one; why it cannot be read, if it cannot.
    pub recorded: Result<Option<Recorded>, String>,
    judged: BTreeMap<String, OfRun>,
}

/// Of each paper of which a notebook judged a claim, by name: all its claims. `root` is the checkout, if there is one.
pub fn of_run(root: Option<&Path>, account: &Account) -> Vec<Claims> {
    let claims = |run: Recorded| {
        let paper = run.paper.clone();
        let mut judged = BTreeMap::new();
        for (notebook, ran) in account.notebooks.iter().enumerate() {
            for of in ran.claims.iter().filter(|of| of.paper == paper) {
                judged.insert(of.claim.clone(), OfRun { notebook, judged: of.judged.clone() });
            }
        }
        let papers = root.filter(|_| is_name(&paper)).map(|root| root.join("papers"));
        let papers = papers.as_deref();
        let recorded = papers.map_or(Ok(None), |papers| {
            recorded::of(papers, &paper, &account.profile).map_err(|error| format!("{error:#}"))
        });
        Claims {
            title: papers.map_or_else(|| paper.clone(), |papers| title(papers, &paper)),
            listed: papers.map_or_else(Vec::new, |papers| listed(papers, &paper)),
            paper,
            run,
            recorded,
            judged,
        }
    };
    made::of_run(root, account).into_iter().map(claims).collect()
}

impl Claims {
    /// What the run made of a claim.
    pub fn of_run(&self, key: &str) -> Option<&OfRun> {
        self.judged.get(key)
    }

    /// Claims that a notebook judged and no list has.
    pub fn unlisted(&self) -> impl Iterator<Item = (&String, &OfRun)> {
        self.judged.iter().filter(|(key, _)| !self.listed.iter().any(|claim| claim.key == **key))
    }

    /// A sentence: how many findings, and how many checks, have which verdict.
    pub fn in_words(&self) -> String {
        let judged = self.judged.iter().map(|(key, of_run)| {
            let Judged { of, verdict, .. } = &of_run.judged;
            (key.as_str(), of.as_str(), verdict.as_str())
        });
        counts(&self.listed, judged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{account::Ran, journal::Journal};
    use std::fs;

    #[test]
    fn the_last_verdict_counts_and_what_was_not_judged_is_told_from_what_is_untested() {
        let root = tempfile::tempdir().unwrap();
        let papers = root.path().join("papers");
        fs::create_dir_all(papers.join("p")).unwrap();
        let list = [("one", "finding"), ("two", "finding"), ("three", "check"), ("four", "finding")];
        let text: String = list
            .iter()
            .map(|(key, kind)| format!("[[claim]]\nkey = \"{key}\"\nkind = \"{kind}\"\n"))
            .collect();
        fs::write(papers.join("p/claims.toml"), text + "untested = \"why\"\n").unwrap();
        fs::write(papers.join("p/paper.toml"), "title = \"A Paper\"").unwrap();
        let lines = r#"{"kind":"claim","paper":"p","claim":"one","of":"finding","verdict":"inconclusive","ours":"0"}
{"kind":"claim","paper":"p","claim":"one","of":"finding","verdict":"supported","ours":"1"}
{"kind":"claim","paper":"p","claim":"two","of":"finding","verdict":"plateau"}
{"kind":"claim","paper":"p","claim":"three","of":"check","verdict":"passed"}
"#;
        let journal = papers.join("journal");
        // A run whose second notebook told this.
        let of = |root: Option<&Path>, lines: &str| {
            fs::write(&journal, lines).unwrap();
            let outcomes =
                [Journal::default(), Journal::read(&journal)].map(crate::run::times::tests::outcome_with);
            let sources: Vec<_> = outcomes.iter().map(|outcome| outcome.source.clone()).collect();
            let account = Account::begin(&papers, None, "quick", &sources).with(&outcomes, &[]);
            assert!(account.notebooks.iter().all(|ran: &Ran| ran.verdict == "passed"));
            of_run(root, &account)
        };
        let all = of(Some(root.path()), lines);
        let [claims] = &all[..] else { panic!("{all:?}") };
        assert_eq!((&*claims.paper, &*claims.title), ("p", "A Paper"));
        assert_eq!(claims.in_words(), "3 findings: 1 supported, 1 plateau, 1 untested. 1 check: 1 passed");
        let one = claims.of_run("one").unwrap();
        assert_eq!((one.notebook, one.judged.ours.as_str()), (1, "1"));
        assert_eq!(claims.run.claim("one").unwrap().ours, "1");
        assert!(claims.of_run("four").is_none() && claims.listed.len() == 4);
        assert!(of(Some(root.path()), "").is_empty() && claims.recorded == Ok(None));
        // Notebooks of another repository, whose claims nobody lists.
        for root in [None, Some(Path::new("/missing"))] {
            let [alone] = &of(root, lines)[..] else { panic!("one paper") };
            assert_eq!(alone.in_words(), "2 findings: 1 supported, 1 plateau. 1 check: 1 passed");
            assert_eq!((alone.unlisted().count(), claims.unlisted().count()), (3, 0));
        }
        // Claims of two papers do not mix, though they may have the same key.
        let more = lines.replace("\"p\"", "\"q\"").replace("plateau", "untested");
        let two = of(Some(root.path()), &(lines.to_owned() + &more));
        let words: Vec<(&str, String)> =
            two.iter().map(|claims| (&*claims.title, claims.in_words())).collect();
        assert_eq!(words[0], ("A Paper", all[0].in_words()));
        assert_eq!(
            words[1],
            ("q", "2 findings: 1 supported, 1 not judged in this run. 1 check: 1 passed".into())
        );
    }
}
