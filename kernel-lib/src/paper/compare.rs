//! The table `reported | ours | verdict`.

use super::{Claim, Kind, Measured, Paper, Verdict};
use crate::Result;
use crate::show::{Cell, Show, Table, fixed};
use crate::statistics::Effect;
use serde_json::json;

/// What the paper reports beside what we measured. Claims come with a verdict.
#[derive(Debug, Clone)]
pub struct Comparison {
    paper: Paper,
    ours: String,
    rows: Vec<[Cell; 5]>,
    verdicts: Vec<(Kind, Verdict)>,
    /// The profile of this run, if it is one that judges no finding.
    unjudged_by: Option<String>,
}

impl Comparison {
    /// `unjudged_by` is the name of the profile of this run if it judges no finding.
    pub(super) fn new(paper: Paper, ours: String, unjudged_by: Option<String>) -> Self {
        Self { paper, ours, rows: Vec::new(), verdicts: Vec::new(), unjudged_by }
    }

    /// Adds a figure, with ours beside it, that no claim judges.
    ///
    /// # Errors
    /// If the paper's data has no such key.
    pub fn value(mut self, key: &str, ours: impl IntoIterator<Item = f64>) -> Result<Self> {
        self.add_value(key, ours.into_iter().collect())?;
        Ok(self)
    }

    fn add_value(&mut self, key: &str, ours: Vec<f64>) -> Result<()> {
        let reported = self.paper.reported(key)?;
        let ours = with_unit(ours.into_iter().map(plain), &reported.unit);
        let reported_text = reported.text();
        self.rows.push([
            Cell::text(&reported.what),
            Cell::text(reported_text),
            Cell::text(ours),
            Cell::text(""),
            Cell::text(""),
        ]);
        Ok(())
    }

    /// Adds a claim, judged by its criterion on what we measured: exact numbers for a check, an [`Effect`] or several for a
    /// finding, a [`RankCorrelation`]. Nothing measured leaves it untested, and so does a profile that judges nothing. The runner is told the verdict, and counts
    /// it in its report.
    ///
    /// # Errors
    /// If there is no such claim, or its criterion is for something else than what was measured.
    pub fn claim(mut self, key: &str, measured: impl Into<Measured>) -> Result<Self> {
        self.add_claim(key, &measured.into())?;
        Ok(self)
    }

    fn add_claim(&mut self, key: &str, measured: &Measured) -> Result<()> {
        let claim = self.paper.claim(key)?;
        let judged = claim.judge(measured)?;
        let (verdict, criterion) = match &self.unjudged_by {
            Some(profile) if claim.kind == Kind::Finding => (
                Verdict::Untested,
                format!("Untested: the profile {profile} is for a first look, and judges no finding."),
            ),
            _ => (judged, self.criterion(claim)),
        };
        let (reported, ours) = (self.reported(claim)?, ours(claim, measured));
        let note = json!({
            "kind": "claim", "paper": self.paper.name(), "claim": key, "of": claim.kind.to_string(),
            "verdict": verdict.text(), "reported": reported, "ours": ours, "measured": in_numbers(claim, measured),
            "label": self.label(),
        });
        self.rows.push([
            Cell::text(format!("{} ({})", claim.statement, claim.kind)),
            Cell::text(reported),
            Cell::text(ours),
            Cell::from(verdict),
            Cell::text(criterion),
        ]);
        crate::journal::note(&note);
        self.verdicts.push((claim.kind, verdict));
        Ok(())
    }

    /// What our side is, as the table says it.
    pub(super) fn label(&self) -> &str {
        self.ours.trim_end_matches('.')
    }

    /// By what a claim is judged, or why it is not.
    fn criterion(&self, claim: &Claim) -> String {
        match (&claim.criterion, &claim.changed, &claim.untested) {
            (Some(criterion), Some(_), _) => {
                let file = format!("papers/{}/claims.toml", self.paper.name());
                format!("{criterion} (Changed after a run: {file} says why.)")
            }
            (Some(criterion), None, _) => criterion.clone(),
            (None, _, untested) => format!("Untested: {}", untested.as_deref().unwrap_or("–")),
        }
    }

    /// What the paper reports of a claim: figures with where they stand and, unless they were simply read, how they are known.
    fn reported(&self, claim: &Claim) -> Result<String> {
        if claim.reported.is_empty() {
            return Ok("not in the paper: our control".to_owned());
        }
        let texts = claim.reported.iter().map(|key| self.paper.cited(key));
        Ok(texts.collect::<Result<Vec<_>>>()?.join("; "))
    }

    /// The verdicts so far, in the order of the claims.
    pub fn verdicts(&self) -> Vec<Verdict> {
        self.verdicts.iter().map(|(_, verdict)| *verdict).collect()
    }

    /// How many findings, or checks, got which verdict: `2 findings: 1 supported, 1 plateau`; nothing if there is none.
    fn counts(&self, kind: Kind, verdicts: &[Verdict]) -> Option<String> {
        let count = |verdict: Option<Verdict>| {
            let of = self
                .verdicts
                .iter()
                .filter(|(k, v)| *k == kind && verdict.is_none_or(|verdict| *v == verdict));
            of.count()
        };
        let counts: Vec<String> = verdicts
            .iter()
            .filter(|verdict| count(Some(**verdict)) > 0)
            .map(|verdict| format!("{} {verdict}", count(Some(*verdict))))
            .collect();
        let plural = if count(None) == 1 { "" } else { "s" };
        (count(None) > 0).then(|| format!("{} {kind}{plural}: {}.", count(None), counts.join(", ")))
    }

    /// The comparison as a table.
    pub fn table(&self) -> Table {
        let mut note = format!("Ours: {}.", self.label());
        for (kind, verdicts) in
            [(Kind::Finding, &Verdict::OF_FINDINGS[..]), (Kind::Check, &Verdict::OF_CHECKS[..])]
        {
            if let Some(counts) = self.counts(kind, verdicts) {
                note.push(' ');
                note.push_str(&counts);
            }
        }
        if self.verdicts.iter().any(|(kind, _)| *kind == Kind::Finding) {
            note.push_str(" [ ]: 95 % interval.");
        }
        let headers = ["Claim", "Reported", "Ours", "Verdict", "Criterion"];
        Table::of(headers, self.rows.clone()).note(note)
    }
}

/// What we measured of a claim, in words.
fn ours(claim: &Claim, measured: &Measured) -> String {
    let number = |x: f64| match claim.decimals {
        0 => plain(x),
        decimals => fixed(x, decimals).into_text(),
    };
    let interval = |(low, high): (f64, f64)| format!("[{}, {}]", number(low), number(high));
    match measured {
        Measured::Numbers(numbers) if numbers.is_empty() => "–".to_owned(),
        Measured::Numbers(numbers) => with_unit(numbers.iter().map(|x| number(*x)), &claim.unit),
        Measured::Effects(effects) => {
            let each: Vec<String> = effects
                .iter()
                .map(|effect| {
                    let interval = judged(claim, effect).map_or_else(|| "no interval".to_owned(), interval);
                    format!("{} {interval}", number(effect.mean))
                })
                .collect();
            match effects.first() {
                None => "–".to_owned(),
                Some(first) => format!("{} {}{}", each.join("; "), claim.unit, of_what(first)),
            }
        }
        Measured::Order(order) => {
            let interval = order.interval().map_or_else(|| "no interval".to_owned(), interval);
            format!("rank correlation {} {interval}, {} pairs", number(order.correlation), order.pairs)
        }
    }
}

/// The interval of an effect as it is judged: no narrower than the criterion's margin.
fn judged(claim: &Claim, effect: &Effect) -> Option<(f64, f64)> {
    let margin = claim.test.map_or(0.0, |test| test.margin());
    let (low, high) = effect.interval()?;
    Some((low.min(effect.mean - margin), high.max(effect.mean + margin)))
}

/// What we measured of a claim, for those who keep it: all digits, and the intervals that were judged. What is not a number is null.
pub(super) fn in_numbers(claim: &Claim, measured: &Measured) -> serde_json::Value {
    match measured {
        Measured::Numbers(numbers) => json!({ "numbers": numbers }),
        Measured::Effects(effects) => {
            let each = effects.iter().map(|effect| {
                let (low, high) = judged(claim, effect).unzip();
                json!({ "mean": effect.mean, "low": low, "high": high, "seeds": effect.seeds, "images": effect.images })
            });
            json!({ "effects": each.collect::<Vec<_>>() })
        }
        Measured::Order(order) => {
            let (low, high) = order.interval().unzip();
            json!({ "order": { "correlation": order.correlation, "low": low, "high": high, "pairs": order.pairs } })
        }
    }
}

/// A number that we measured, without needless digits.
pub(super) fn plain(number: f64) -> String {
    let decimals = (0..6).find(|d| (number * 10f64.powi(*d)).fract() == 0.0).unwrap_or(3);
    // As many decimals as it has, up to three.
    fixed(number, decimals.min(3) as usize).into_text()
}

/// What an effect is the mean of, ` (3 seeds, 10,000 images)`, where it knows.
fn of_what(effect: &Effect) -> String {
    let count = |n: usize, what: &str| {
        (n > 0).then(|| format!("{} {what}{}", plain(n as f64), if n == 1 { "" } else { "s" }))
    };
    let parts = [count(effect.seeds, "seed"), count(effect.images, "image")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

/// `32, 48, 64 pixels`; equal numbers are said once.
pub(super) fn with_unit(numbers: impl IntoIterator<Item = String>, unit: &str) -> String {
    let numbers: Vec<_> = numbers.into_iter().collect();
    let same = numbers.windows(2).all(|pair| pair[0] == pair[1]);
    let text = match numbers.first() {
        Some(first) if same => first.clone(),
        _ => numbers.join(", "),
    };
    format!("{text} {unit}").trim().to_owned()
}

impl Show for Comparison {
    fn to_html(&self) -> String {
        self.table().to_html()
    }

    fn to_text(&self) -> String {
        self.table().to_text()
    }
}

crate::show::displays!(Comparison);
