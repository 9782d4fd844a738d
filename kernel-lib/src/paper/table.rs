//! The paper's tables, and the curves of its figures, row by row.

use super::Confidence;
use crate::show::Table;
use crate::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A table of the paper, or the marks of a figure.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ReportedTable {
    /// The name by which notebooks look it up.
    pub key: String,
    /// What the paper calls it, `Table 1`; nothing for figures of the text.
    #[serde(default)]
    pub number: String,
    /// The section that it belongs to.
    pub section: String,
    /// The page, where it is known.
    pub page: Option<u32>,
    /// What it shows, in our words.
    pub title: String,
    /// The unit of its numbers.
    #[serde(default)]
    pub unit: String,
    /// The keys of the [`Source`](super::Source)s.
    source: OneOrMore,
    /// How we know it.
    pub confidence: Confidence,
    /// How far off digitised numbers may be.
    pub error: Option<String>,
    /// What a reader should know besides.
    pub note: Option<String>,
    /// Which table of `tests/fixtures/paper/reported.toml` it is.
    pub of: Option<String>,
    /// Its rows: what stands in each column that is not empty.
    pub rows: Vec<BTreeMap<String, toml::Value>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl ReportedTable {
    pub(super) fn sources(&self) -> Vec<&String> {
        match &self.source {
            OneOrMore::One(source) => vec![source],
            OneOrMore::More(sources) => sources.iter().collect(),
        }
    }

    /// What it is called: its number, or its title.
    pub fn name(&self) -> &str {
        if self.number.is_empty() { &self.title } else { &self.number }
    }

    /// The numbers of one column, with those of another beside them, of the rows that have both: points of a curve.
    ///
    /// # Errors
    /// If no row has both as numbers.
    pub fn points(&self, x: &str, y: &str) -> Result<Vec<(f64, f64)>> {
        let number = |row: &BTreeMap<String, toml::Value>, column: &str| row.get(column).and_then(number_in);
        let points: Vec<(f64, f64)> =
            self.rows.iter().filter_map(|row| Some((number(row, x)?, number(row, y)?))).collect();
        if points.is_empty() {
            return Err(Error::invalid(format!(
                "no row of the paper's {:?} has numbers {x:?} and {y:?}",
                self.key
            )));
        }
        Ok(points)
    }

    /// The number in a column of the one row that has this text or number in each of these columns:
    /// `table1.number(&[("dataset", "CIFAR-10"), ("model", "iGPT-L")], "accuracy")`.
    ///
    /// # Errors
    /// If there is no such row or several, or there is no number in it.
    pub fn number(&self, having: &[(&str, &str)], column: &str) -> Result<f64> {
        let has = |row: &&BTreeMap<String, toml::Value>| {
            having.iter().all(|(column, text)| row.get(*column).is_some_and(|cell| shown(cell) == *text))
        };
        let rows: Vec<_> = self.rows.iter().filter(has).collect();
        let found = match rows[..] {
            [row] => row.get(column).and_then(number_in),
            _ => None,
        };
        found.ok_or_else(|| {
            Error::invalid(format!(
                "{} rows of the paper's {:?} have {having:?}; one with a number {column:?} was wanted",
                rows.len(),
                self.key
            ))
        })
    }

    /// The table as the paper has it, with these columns; a column's header is its name, with blanks.
    ///
    /// # Errors
    /// If no row has such a column.
    pub fn show(&self, columns: &[&str]) -> Result<Table> {
        if let Some(column) =
            columns.iter().find(|column| !self.rows.iter().any(|row| row.contains_key(**column)))
        {
            return Err(Error::invalid(format!("the paper's {:?} has no column {column:?}", self.key)));
        }
        let headers: Vec<String> = columns.iter().map(|column| column.replace('_', " ")).collect();
        let rows = self.rows.iter().map(|row| {
            columns
                .iter()
                .map(|column| row.get(*column).map_or_else(String::new, shown))
                .collect::<Vec<String>>()
        });
        let mut note = self.unit.clone();
        for part in [&self.error, &self.note].into_iter().flatten() {
            note = format!("{note}. {part}");
        }
        Table::new(headers).caption(self.title.clone()).note(note).rows(rows)
    }
}

/// The number in a cell, if it is one.
fn number_in(cell: &toml::Value) -> Option<f64> {
    cell.as_float().or_else(|| cell.as_integer().map(|whole| whole as f64))
}

/// A cell with the digits that its source has.
fn shown(cell: &toml::Value) -> String {
    match cell {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(whole) => super::Number::Whole(*whole).to_string(),
        toml::Value::Float(decimal) => super::Number::Decimal(*decimal).to_string(),
        toml::Value::Boolean(true) => "yes".to_owned(),
        toml::Value::Boolean(false) => "no".to_owned(),
        other => other.to_string(),
    }
}
