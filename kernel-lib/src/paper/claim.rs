//! Claims: what is tested, when it counts as supported, and what came out.

use crate::show::{Cell, Tone};
use serde::Deserialize;

/// Something that the paper says and that a notebook tests.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Claim {
    /// The name by which notebooks look it up.
    pub key: String,
    /// The section that makes it.
    pub section: String,
    /// Keys of the reported figures that it is about. The first that belongs beside our figure comes first.
    pub reported: Vec<String>,
    /// What is claimed, in our words.
    pub statement: String,
    /// When it counts as supported, for people.
    pub criterion: String,
    /// When it counts as supported, for machines.
    pub test: Test,
    /// The unit of the measured numbers.
    #[serde(default)]
    pub unit: String,
    /// With how many decimals they are shown.
    #[serde(default)]
    pub decimals: usize,
    /// When and why the criterion was changed after a run, if it was.
    pub changed: Option<String>,
}

/// A criterion that can be computed. Every measured number must pass it.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Test {
    /// Exactly this.
    #[allow(missing_docs, reason = "its only field is what its name says")]
    Equals { value: f64 },
    /// This or more; within `margin` on either side nothing is decided.
    #[allow(missing_docs, reason = "said above")]
    AtLeast { value: f64, margin: f64 },
    /// Neither less nor more than these.
    #[allow(missing_docs, reason = "said above")]
    Between { low: f64, high: f64 },
    /// Each less than the one before.
    Decreasing {},
    /// Each more than the one before.
    Increasing {},
}

/// What came out of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The criterion is met.
    Supported,
    /// The criterion is not met, with this data, model and budget.
    NotSupportedAtThisScale,
    /// Too close to call, or not a number.
    Inconclusive,
    /// Nothing was measured.
    Untested,
}

impl Verdict {
    /// The verdict in words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Supported => "supported",
            Self::NotSupportedAtThisScale => "not supported at this scale",
            Self::Inconclusive => "inconclusive",
            Self::Untested => "untested",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

impl From<Verdict> for Cell {
    fn from(verdict: Verdict) -> Self {
        let (sign, tone) = match verdict {
            Verdict::Supported => ("✓", Tone::Good),
            Verdict::NotSupportedAtThisScale => ("✗", Tone::Bad),
            Verdict::Inconclusive => ("?", Tone::Open),
            Verdict::Untested => ("○", Tone::Open),
        };
        // A sign alone on its line says nothing.
        Cell::text(format!("{sign}\u{a0}{verdict}")).tone(tone)
    }
}

impl Claim {
    /// Judges what was measured by the criterion. No measurement at all leaves the claim untested.
    pub fn judge(&self, measured: &[f64]) -> Verdict {
        self.test.judge(measured)
    }
}

impl Test {
    fn judge(self, measured: &[f64]) -> Verdict {
        if measured.is_empty() {
            return Verdict::Untested;
        }
        if measured.iter().any(|x| !x.is_finite()) {
            return Verdict::Inconclusive;
        }
        let all = |passes: &dyn Fn(f64) -> bool| measured.iter().all(|x| passes(*x));
        // An order takes two.
        let ordered = |passes: &dyn Fn(f64, f64) -> bool| match measured {
            [_] => None,
            _ => Some(measured.windows(2).all(|pair| passes(pair[0], pair[1]))),
        };
        let passed = match self {
            Self::Equals { value } => Some(all(&|x| x == value)),
            Self::Between { low, high } => Some(all(&|x| (low..=high).contains(&x))),
            Self::Decreasing {} => ordered(&|a, b| b < a),
            Self::Increasing {} => ordered(&|a, b| b > a),
            Self::AtLeast { value, margin } => {
                if all(&|x| x >= value + margin) {
                    Some(true)
                } else if all(&|x| x > value - margin) {
                    None
                } else {
                    Some(false)
                }
            }
        };
        match passed {
            Some(true) => Verdict::Supported,
            Some(false) => Verdict::NotSupportedAtThisScale,
            None => Verdict::Inconclusive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_follow_the_criterion() {
        use Verdict::{Inconclusive, NotSupportedAtThisScale as Not, Supported, Untested};
        let at_least = Test::AtLeast { value: 30.0, margin: 0.5 };
        let between = Test::Between { low: 1.0, high: 2.0 };
        for (test, measured, verdict) in [
            (at_least, &[][..], Untested),
            (at_least, &[31.0, 30.5], Supported),
            (at_least, &[31.0, 30.4], Inconclusive),
            (at_least, &[31.0, 29.4], Not),
            (at_least, &[f64::NAN], Inconclusive),
            (Test::Equals { value: 3.0 }, &[3.0, 3.0], Supported),
            (Test::Equals { value: 3.0 }, &[3.0, 3.1], Not),
            (between, &[1.0, 2.0], Supported),
            (between, &[0.9], Not),
            (Test::Increasing {}, &[1.0, 2.0, 3.0], Supported),
            (Test::Increasing {}, &[1.0, 1.0], Not),
            (Test::Increasing {}, &[1.0], Inconclusive),
            (Test::Decreasing {}, &[3.0, 2.0], Supported),
            (Test::Decreasing {}, &[3.0, 4.0], Not),
        ] {
            assert_eq!(test.judge(measured), verdict, "{test:?} {measured:?}");
        }
    }
}
