//! The table `reported | ours | verdict`.

use super::{Paper, Verdict};
use crate::Result;
use crate::show::{Cell, Show, Table, fixed};

/// What the paper reports beside what we measured. Claims come with a verdict.
#[derive(Debug, Clone)]
pub struct Comparison {
    paper: Paper,
    ours: String,
    rows: Vec<[Cell; 5]>,
    verdicts: Vec<Verdict>,
}

impl Comparison {
    pub(super) fn new(paper: Paper, ours: String) -> Self {
        Self { paper, ours, rows: Vec::new(), verdicts: Vec::new() }
    }

    /// Adds a figure, with ours beside it, that no claim judges.
    ///
    /// # Errors
    /// If the paper's data has no such key.
    pub fn value(mut self, key: &str, ours: impl IntoIterator<Item = f64>) -> Result<Self> {
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
        Ok(self)
    }

    /// Adds a claim, judged by its criterion on what we measured. An empty list leaves it untested. The runner is told
    /// the verdict, and counts it in its report.
    ///
    /// # Errors
    /// If there is no such claim.
    pub fn claim(mut self, key: &str, measured: impl IntoIterator<Item = f64>) -> Result<Self> {
        let claim = self.paper.claim(key)?;
        let measured: Vec<f64> = measured.into_iter().collect();
        let verdict = claim.judge(&measured);
        let mut reported = Vec::new();
        for key in &claim.reported {
            reported.push(self.paper.reported(key)?.text());
        }
        let numbers = measured.iter().map(|x| match claim.decimals {
            0 => plain(*x),
            decimals => fixed(*x, decimals).into_text(),
        });
        let ours = if measured.is_empty() { "–".to_owned() } else { with_unit(numbers, &claim.unit) };
        let criterion = match &claim.changed {
            Some(changed) => format!("{} (Changed after a run: {changed})", claim.criterion),
            None => claim.criterion.clone(),
        };
        self.rows.push([
            Cell::text(&claim.statement),
            Cell::text(reported.join("; ")),
            Cell::text(ours),
            Cell::from(verdict),
            Cell::text(criterion),
        ]);
        crate::journal::note(&serde_json::json!({"kind": "claim", "claim": key, "verdict": verdict.text()}));
        self.verdicts.push(verdict);
        Ok(self)
    }

    /// The verdicts so far, in the order of the claims.
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// The comparison as a table.
    pub fn table(&self) -> Table {
        let count = |verdict| self.verdicts.iter().filter(|v| **v == verdict).count();
        let all =
            [Verdict::Supported, Verdict::NotSupportedAtThisScale, Verdict::Inconclusive, Verdict::Untested];
        let counts: Vec<_> = all
            .into_iter()
            .filter(|verdict| count(*verdict) > 0)
            .map(|verdict| format!("{} {verdict}", count(verdict)))
            .collect();
        let claims = if self.verdicts.len() == 1 { "claim" } else { "claims" };
        let mut note = format!("Ours: {}.", self.ours.trim_end_matches('.'));
        if !counts.is_empty() {
            note.push_str(&format!(" {} {claims}: {}.", self.verdicts.len(), counts.join(", ")));
        }
        let headers = ["Claim", "Reported", "Ours", "Verdict", "Criterion, set before the run"];
        Table::of(headers, self.rows.clone()).note(note)
    }
}

/// A number without needless digits.
pub(super) fn plain(number: f64) -> String {
    let decimals = (0..6).find(|d| (number * 10f64.powi(*d)).fract() == 0.0).unwrap_or(3);
    // As many decimals as it has, up to three.
    fixed(number, decimals.min(3) as usize).into_text()
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
