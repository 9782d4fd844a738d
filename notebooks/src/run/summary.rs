//! The end of a run in words: a table, and a paragraph for everything that is wrong.

use std::collections::BTreeMap;

use super::{
    bound::LeftOut,
    exit::Exit,
    journal,
    outcome::{Outcome, Verdict},
    text::{count, shorten, strip_ansi},
};

/// The verdict in one line.
pub fn verdict_line(outcome: &Outcome, width: usize) -> String {
    let line = match &outcome.verdict {
        Verdict::Passed if outcome.cells.is_empty() => "passed (nothing to run)".to_owned(),
        Verdict::Passed => "passed".to_owned(),
        Verdict::Failed { cell: Some(cell), failure } => {
            format!("failed at cell {cell}: {}", failure.headline)
        }
        Verdict::Failed { cell: None, failure } => format!("failed: {}", failure.headline),
        Verdict::Differs(differences) => {
            match differences.iter().filter_map(|d| d.cell).collect::<Vec<_>>() {
                cells if cells.is_empty() => "differs: no committed outputs".to_owned(),
                cells if cells.len() == 1 => format!("differs in cell {}", cells[0]),
                cells => {
                    let cells: Vec<_> = cells.iter().map(usize::to_string).collect();
                    format!("differs in cells {}", cells.join(", "))
                }
            }
        }
        Verdict::Interrupted if outcome.cells_run() == 0 => "not run".to_owned(),
        Verdict::Interrupted => "interrupted".to_owned(),
    };
    shorten(&line, width)
}

/// The table and the paragraphs. `colours` keeps the escapes that kernels send.
pub fn summary(outcomes: &[Outcome], colours: bool) -> String {
    let rows = outcomes.iter().map(|outcome| {
        let cells = format!("{}/{}", outcome.cells_run(), outcome.cells.len());
        [
            outcome.name.clone(),
            cells,
            format!("{:.1}", outcome.duration.as_secs_f64()),
            outcome.resources.map_or(String::new(), |r| format!("{:.1}", r.processor_seconds)),
            outcome.resources.map_or(String::new(), |r| megabytes(r.peak_memory)),
            outcome.journal.counts(),
            verdict_line(outcome, 90),
        ]
    });
    // What the experiment store gave, if any notebook used it.
    let results = if outcomes.iter().all(|outcome| outcome.journal.uses.is_empty()) { "" } else { "results" };
    let header =
        ["notebook", "cells", "seconds", "processor s", "peak MB", results, "verdict"].map(str::to_owned);
    let rows: Vec<[String; 7]> = std::iter::once(header).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (name, cells, seconds, processor, memory) = (width(0), width(1), width(2), width(3), width(4));
    let results = if results.is_empty() { 0 } else { width(5) + 2 };
    let mut text = String::new();
    for [a, b, c, p, m, d, e] in &rows {
        let numbers = format!("{b:>cells$}  {c:>seconds$}  {p:>processor$}  {m:>memory$}");
        text.push_str(format!("{a:<name$}  {numbers}  {d:<results$}{e}").trim_end());
        text.push('\n');
    }
    if let Some(reused) = journal::reused(outcomes.iter().map(|outcome| &outcome.journal)) {
        text.push_str(&format!("{reused}\n"));
    }
    for outcome in outcomes {
        for paragraph in paragraphs(outcome) {
            let paragraph = if colours { paragraph } else { strip_ansi(&paragraph) };
            text.push('\n');
            text.push_str(&paragraph);
            text.push('\n');
        }
    }
    for note in outcomes.iter().flat_map(notes) {
        text.push_str(&format!("\n{note}"));
    }
    text.push_str(&format!("\n{}\n", counts(outcomes)));
    text
}

/// "4 of 5 notebooks passed", and what became of the others.
pub fn counts(outcomes: &[Outcome]) -> String {
    let well = outcomes.iter().filter(|o| o.is_well()).count();
    let mut text = format!("{} of {} passed", well, count(outcomes.len(), "notebook"));
    let mut ends: BTreeMap<Exit, usize> = BTreeMap::new();
    for outcome in outcomes.iter().filter(|outcome| !outcome.is_well()) {
        *ends.entry(Exit::of(&outcome.verdict)).or_default() += 1;
    }
    let ends: Vec<String> = ends.iter().map(|(exit, n)| format!("{n} {}", exit.name())).collect();
    if !ends.is_empty() {
        text.push_str(&format!(" ({})", ends.join(", ")));
    }
    text
}

/// What a reader has to know though nothing is wrong.
pub fn notes(outcome: &Outcome) -> Vec<String> {
    let name = &outcome.name;
    let retries = outcome.retries.iter().enumerate().map(|(number, fault)| {
        format!("{name}: try {} ended by a fault of the machine: {}", number + 1, fault.headline)
    });
    let cut = outcome.cells.iter().filter_map(|run| {
        let LeftOut { bytes, bound } = run.left_out?;
        let (cell, option) = (run.cell.number, bound.option());
        Some(format!("{name}, cell {cell}: {bytes} bytes of output are left out ({option})"))
    });
    retries.chain(cut).collect()
}

/// Millions of bytes.
pub fn megabytes(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / 1e6)
}

/// What is wrong with a notebook, one text for each thing.
pub fn paragraphs(outcome: &Outcome) -> Vec<String> {
    let place = |cell: Option<usize>| match cell.and_then(|number| outcome.cell(number)) {
        Some(run) => {
            format!("{}, cell {} `{}`", outcome.name, run.cell.number, shorten(run.cell.first_line(), 80))
        }
        None => outcome.name.clone(),
    };
    match &outcome.verdict {
        Verdict::Passed => Vec::new(),
        Verdict::Failed { cell, failure } => vec![format!("{}:\n{}", place(*cell), indent(&failure.text))],
        Verdict::Differs(all) => {
            all.iter().map(|d| format!("{}:\n{}", place(d.cell), indent(&d.text))).collect()
        }
        Verdict::Interrupted => Vec::new(),
    }
}

fn indent(text: &str) -> String {
    let lines = text
        .trim_end()
        .lines()
        .map(|line| if line.is_empty() { String::new() } else { format!("    {line}") });
    lines.collect::<Vec<_>>().join("\n")
}
