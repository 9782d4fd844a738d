//! Claims: what is tested, when it counts as supported, and what came out.

mod criterion;
mod verdict;

pub use criterion::{Measured, Test};
pub use verdict::Verdict;

use crate::{Error, Result};
use serde::Deserialize;

/// What a claim is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// An identity of arithmetic, or what our code must do if it works: if it fails, something is wrong with our code. It says
    /// nothing of the world, and is counted apart.
    Check,
    /// Something that data could have refuted.
    Finding,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Check => "check",
            Self::Finding => "finding",
        })
    }
}

/// Something that the paper says, whether a notebook tests it or not.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Claim {
    /// The name by which notebooks look it up.
    pub key: String,
    /// The section that makes it.
    pub section: String,
    /// Whether data could have refuted it.
    pub kind: Kind,
    /// Keys of the reported figures and tables that it is about. The first that belongs beside our figure comes first. None: the
    /// paper does not have it, it is a control of ours.
    pub reported: Vec<String>,
    /// What is claimed, in our words.
    pub statement: String,
    /// When it counts as supported, for people.
    pub criterion: Option<String>,
    /// When it counts as supported, for machines.
    pub test: Option<Test>,
    /// Why nothing tests it, if nothing does.
    pub untested: Option<String>,
    /// The unit of the measured numbers.
    #[serde(default)]
    pub unit: String,
    /// With how many decimals they are shown.
    #[serde(default)]
    pub decimals: usize,
    /// When and why the criterion was changed after a run, if it was.
    pub changed: Option<String>,
}

impl Claim {
    /// Judges what was measured by the criterion. No measurement at all leaves the claim untested.
    ///
    /// # Errors
    /// If the criterion is for something else than what was measured: a finding needs effects with their uncertainty.
    pub fn judge(&self, measured: &Measured) -> Result<Verdict> {
        if measured.is_nothing() {
            return Ok(Verdict::Untested);
        }
        let wrong = |what: &str| Error::invalid(format!("the claim {:?}: {what}", self.key));
        let test = self.test.ok_or_else(|| wrong("it has no criterion by which this could be judged"))?;
        let verdict = test.judge(measured).map_err(|error| wrong(&error.to_string()))?;
        Ok(match (self.kind, verdict) {
            (Kind::Check, Verdict::Supported) => Verdict::Passed,
            (Kind::Check, Verdict::NotSupportedAtThisScale) => Verdict::Failed,
            (_, verdict) => verdict,
        })
    }

    /// What is wrong with it, if something is.
    pub(super) fn fault(&self) -> Option<&'static str> {
        match (&self.criterion, &self.test, &self.untested) {
            (Some(_), Some(_), None) | (None, None, Some(_)) => {}
            _ => return Some("it has a criterion and a test, or says why it is untested"),
        }
        if self.test.is_some_and(|test| !test.makes_sense()) {
            return Some("the numbers of its test make no sense");
        }
        let of_effects = self.test.is_some_and(|test| test.is_of_effects());
        match self.kind {
            Kind::Check if of_effects => Some("a check is exact: its test is of numbers"),
            Kind::Finding if self.test.is_some() && !of_effects => Some(
                "a finding is judged by an effect with its uncertainty: its test is none of bare numbers",
            ),
            _ => None,
        }
    }
}
