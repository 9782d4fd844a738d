//! Criteria that can be computed, and what they judge.

use super::Verdict;
use crate::statistics::{Effect, RankCorrelation};
use crate::{Error, Result};
use serde::Deserialize;

/// A criterion that can be computed. Those of bare numbers are for checks, and every number must pass; those of effects are for
/// findings: they look at the whole interval (see `docs/statistics.md`), which is taken to reach `margin` to either side at least.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Test {
    /// Exactly this.
    #[allow(missing_docs, reason = "its only field is what its name says")]
    Equals { value: f64 },
    /// Neither less nor more than these.
    #[allow(missing_docs, reason = "said above")]
    Between { low: f64, high: f64 },
    /// Each less than the one before.
    Decreasing {},
    /// Each more than the one before.
    Increasing {},
    /// Each effect is this or more.
    #[allow(missing_docs, reason = "said above")]
    EffectAtLeast {
        value: f64,
        #[serde(default)]
        margin: f64,
    },
    /// Each effect is more than this, which its interval excludes: zero, most often.
    #[allow(missing_docs, reason = "said above")]
    EffectExcludes {
        value: f64,
        #[serde(default)]
        margin: f64,
    },
    /// Each effect is at most this, to either side.
    #[allow(missing_docs, reason = "said above")]
    EquivalentWithin {
        bound: f64,
        #[serde(default)]
        margin: f64,
    },
    /// The rank correlation is this or more.
    #[allow(missing_docs, reason = "said above")]
    RankCorrelationAtLeast { value: f64 },
    /// Of two effects, how much more the best inner layer (chosen on validation images) gets right than the first layer and than
    /// the last, each is this or more. If it beats the first, and a lead over the last of this or more is excluded, the
    /// verdict is a plateau; if the last beats it, or it does not beat the first by this, the claim is not supported.
    #[allow(missing_docs, reason = "said above")]
    Unimodal { by: f64 },
}

/// What was measured of a claim.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Measured {
    /// Exact numbers, of a check.
    Numbers(Vec<f64>),
    /// Effects with their uncertainty.
    Effects(Vec<Effect>),
    /// How well one number orders another.
    Order(RankCorrelation),
}

impl Measured {
    pub(super) fn is_nothing(&self) -> bool {
        match self {
            Self::Numbers(numbers) => numbers.is_empty(),
            Self::Effects(effects) => effects.is_empty(),
            Self::Order(_) => false,
        }
    }
}

impl From<Vec<f64>> for Measured {
    fn from(numbers: Vec<f64>) -> Self {
        Self::Numbers(numbers)
    }
}

impl<const N: usize> From<[f64; N]> for Measured {
    fn from(numbers: [f64; N]) -> Self {
        Self::Numbers(numbers.to_vec())
    }
}

impl From<Effect> for Measured {
    fn from(effect: Effect) -> Self {
        Self::Effects(vec![effect])
    }
}

impl From<Vec<Effect>> for Measured {
    fn from(effects: Vec<Effect>) -> Self {
        Self::Effects(effects)
    }
}

impl<const N: usize> From<[Effect; N]> for Measured {
    fn from(effects: [Effect; N]) -> Self {
        Self::Effects(effects.to_vec())
    }
}

impl From<RankCorrelation> for Measured {
    fn from(order: RankCorrelation) -> Self {
        Self::Order(order)
    }
}

impl Test {
    /// How far an interval is taken to reach to either side at least.
    pub fn margin(&self) -> f64 {
        match self {
            Self::EffectAtLeast { margin, .. }
            | Self::EffectExcludes { margin, .. }
            | Self::EquivalentWithin { margin, .. } => *margin,
            _ => 0.0,
        }
    }

    /// Whether its numbers make sense: a bound below zero would be a criterion that cannot be met, or cannot fail.
    pub(super) fn makes_sense(&self) -> bool {
        let finite = |numbers: &[f64]| numbers.iter().all(|x| x.is_finite());
        match *self {
            Self::Equals { value } => finite(&[value]),
            Self::Between { low, high } => finite(&[low, high]) && low <= high,
            Self::Decreasing {} | Self::Increasing {} => true,
            Self::EffectAtLeast { value, margin } | Self::EffectExcludes { value, margin } => {
                finite(&[value, margin]) && margin >= 0.0
            }
            Self::EquivalentWithin { bound, margin } => {
                finite(&[bound, margin]) && bound > 0.0 && margin >= 0.0
            }
            Self::RankCorrelationAtLeast { value } => (-1.0..1.0).contains(&value),
            Self::Unimodal { by } => finite(&[by]) && by > 0.0,
        }
    }

    /// Whether it judges effects and their uncertainty, and not bare numbers.
    pub fn is_of_effects(&self) -> bool {
        !matches!(
            self,
            Self::Equals { .. } | Self::Between { .. } | Self::Decreasing {} | Self::Increasing {}
        )
    }

    pub(super) fn judge(self, measured: &Measured) -> Result<Verdict> {
        match measured {
            Measured::Numbers(numbers) => self.judge_numbers(numbers),
            Measured::Effects(effects) => self.judge_effects(effects),
            Measured::Order(order) => match (self, order.interval()) {
                (Self::RankCorrelationAtLeast { value }, Some(interval)) => Ok(at_least(interval, value)),
                (Self::RankCorrelationAtLeast { .. }, None) => Ok(Verdict::Inconclusive),
                _ => Err(self.does_not_judge("a rank correlation")),
            },
        }
    }

    fn does_not_judge(&self, what: &str) -> Error {
        Error::invalid(format!("its criterion {self:?} cannot judge {what}"))
    }

    fn judge_numbers(self, numbers: &[f64]) -> Result<Verdict> {
        let all = |passes: &dyn Fn(f64) -> bool| Some(numbers.iter().all(|x| passes(*x)));
        // An order takes two.
        let ordered = |passes: &dyn Fn(f64, f64) -> bool| match numbers {
            [_] => None,
            _ => Some(numbers.windows(2).all(|pair| passes(pair[0], pair[1]))),
        };
        let passed = match self {
            _ if numbers.iter().any(|x| !x.is_finite()) => None,
            Self::Equals { value } => all(&|x| x == value),
            Self::Between { low, high } => all(&|x| (low..=high).contains(&x)),
            Self::Decreasing {} => ordered(&|a, b| b < a),
            Self::Increasing {} => ordered(&|a, b| b > a),
            _ => return Err(self.does_not_judge("bare numbers: an effect with its uncertainty is needed")),
        };
        Ok(match passed {
            Some(true) => Verdict::Supported,
            Some(false) => Verdict::NotSupportedAtThisScale,
            None => Verdict::Inconclusive,
        })
    }

    fn judge_effects(self, effects: &[Effect]) -> Result<Verdict> {
        if let Self::Unimodal { by } = self {
            return match effects {
                [over_first, over_last] => Ok(unimodal(*over_first, *over_last, by)),
                _ => {
                    Err(self
                        .does_not_judge("other than two effects: over the first layer, and over the last"))
                }
            };
        }
        let one = |effect: &Effect| -> Result<Verdict> {
            let interval = |margin| interval(effect, margin);
            let found = match self {
                Self::EffectAtLeast { value, margin } => interval(margin).map(|i| at_least(i, value)),
                Self::EffectExcludes { value, margin } => interval(margin).map(|(low, high)| match () {
                    () if low > value => Verdict::Supported,
                    () if high < value => Verdict::NotSupportedAtThisScale,
                    () => Verdict::Inconclusive,
                }),
                Self::EquivalentWithin { bound, margin } => interval(margin).map(|(low, high)| match () {
                    () if -bound <= low && high <= bound => Verdict::Supported,
                    () if low > bound || high < -bound => Verdict::NotSupportedAtThisScale,
                    () => Verdict::Inconclusive,
                }),
                _ => return Err(self.does_not_judge("effects")),
            };
            Ok(found.unwrap_or(Verdict::Inconclusive))
        };
        let verdicts = effects.iter().map(one).collect::<Result<Vec<_>>>()?;
        let any = |verdict| verdicts.contains(&verdict);
        Ok(match () {
            () if any(Verdict::NotSupportedAtThisScale) => Verdict::NotSupportedAtThisScale,
            () if any(Verdict::Inconclusive) => Verdict::Inconclusive,
            () => Verdict::Supported,
        })
    }
}

/// The interval of an effect, which reaches `margin` to either side at least; none if there is none, or it is no number.
fn interval(effect: &Effect, margin: f64) -> Option<(f64, f64)> {
    let (low, high) = effect.interval()?;
    let (low, high) = (low.min(effect.mean - margin), high.max(effect.mean + margin));
    (low.is_finite() && high.is_finite()).then_some((low, high))
}

fn at_least((low, high): (f64, f64), value: f64) -> Verdict {
    match () {
        () if low >= value => Verdict::Supported,
        () if high < value => Verdict::NotSupportedAtThisScale,
        () => Verdict::Inconclusive,
    }
}

fn unimodal(over_first: Effect, over_last: Effect, by: f64) -> Verdict {
    let (Some(first), Some(last)) = (interval(&over_first, 0.0), interval(&over_last, 0.0)) else {
        return Verdict::Inconclusive;
    };
    match (at_least(first, by), at_least(last, by)) {
        (Verdict::Supported, Verdict::Supported) => Verdict::Supported,
        (Verdict::NotSupportedAtThisScale, _) => Verdict::NotSupportedAtThisScale,
        // The last layer is ahead: the curve still rises.
        _ if last.1 < 0.0 => Verdict::NotSupportedAtThisScale,
        (Verdict::Supported, Verdict::NotSupportedAtThisScale) => Verdict::Plateau,
        _ => Verdict::Inconclusive,
    }
}

#[cfg(test)]
mod tests;
