//! What comes out of a claim's test.

use crate::show::{Cell, Tone};

/// What came out of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// A finding's criterion is met.
    Supported,
    /// A finding's criterion is not met, with this data, model and budget.
    NotSupportedAtThisScale,
    /// Neither: quality stays level where it was to fall, and a fall of the amount in question is excluded.
    Plateau,
    /// Too close to call, or not a number.
    Inconclusive,
    /// Nothing was measured.
    Untested,
    /// A check holds.
    Passed,
    /// A check does not hold: something is wrong with our code.
    Failed,
}

impl Verdict {
    /// All that a finding can get, the best first.
    pub const OF_FINDINGS: [Self; 5] =
        [Self::Supported, Self::Plateau, Self::NotSupportedAtThisScale, Self::Inconclusive, Self::Untested];

    /// All that a check can get.
    pub const OF_CHECKS: [Self; 4] = [Self::Passed, Self::Failed, Self::Inconclusive, Self::Untested];

    /// The verdict in words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Supported => "supported",
            Self::NotSupportedAtThisScale => "not supported at this scale",
            Self::Plateau => "plateau",
            Self::Inconclusive => "inconclusive",
            Self::Untested => "untested",
            Self::Passed => "passed",
            Self::Failed => "failed",
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
            Verdict::Supported | Verdict::Passed => ("✓", Tone::Good),
            Verdict::NotSupportedAtThisScale | Verdict::Failed => ("✗", Tone::Bad),
            Verdict::Plateau => ("≈", Tone::Open),
            Verdict::Inconclusive => ("?", Tone::Open),
            Verdict::Untested => ("○", Tone::Open),
        };
        // A sign alone on its line says nothing.
        Cell::text(format!("{sign}\u{a0}{verdict}")).tone(tone)
    }
}
