//! What GitHub Actions shows beside a job's log: annotations at lines of files, and a summary of the job.

use std::{fmt::Write as _, path::Path};

use super::{
    Run,
    claims::{Claims, OfRun},
    outcome::{Outcome, Verdict},
    summary::{self, megabytes, paragraphs, verdict_line},
    text::{shorten, strip_ansi},
};

/// GitHub shows no longer message in full.
const LONGEST: usize = 4000;

/// One command a line for each thing that is wrong. Files are named from `folder`, the repository's.
pub fn annotations(outcomes: &[Outcome], folder: &Path) -> String {
    let mut lines = String::new();
    for outcome in outcomes {
        let file =
            outcome.source.strip_prefix(folder).unwrap_or(&outcome.source).to_string_lossy().into_owned();
        let mut annotate = |kind: &str, cell: Option<usize>, text: &str| {
            let run = cell.and_then(|number| outcome.cell(number));
            let mut title = outcome.name.clone();
            let mut place = format!("file={}", property(&file));
            if let Some(run) = run {
                let _ = write!(title, ", cell {}", run.cell.number);
                if let Some(line) = outcome.line(run) {
                    let _ = write!(place, ",line={line}");
                }
            }
            let text = data(&shorten(&strip_ansi(text), LONGEST));
            let _ = writeln!(lines, "::{kind} {place},title={}::{text}", property(&title));
        };
        match &outcome.verdict {
            Verdict::Failed { cell, failure } => annotate("error", *cell, &failure.text),
            Verdict::Differs(all) => all.iter().for_each(|d| annotate("error", d.cell, &d.text)),
            Verdict::Passed | Verdict::Interrupted => {}
        }
        for fault in &outcome.retries {
            annotate("warning", None, &format!("run again after a fault of the machine: {}", fault.text));
        }
    }
    lines
}

/// The text of a command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A value before the text.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// The run as Markdown.
pub fn step_summary(run: &Run) -> String {
    let mut text = String::from(
        "### Notebooks\n\n| notebook | cells | seconds | processor s | peak MB | verdict |\n|---|--:|--:|--:|--:|---|\n",
    );
    for outcome in &run.outcomes {
        let resources = outcome.resources.unwrap_or_default();
        let _ = writeln!(
            text,
            "| {} | {}/{} | {:.1} | {:.1} | {} | {} {} |",
            cell(&outcome.name),
            outcome.cells_run(),
            outcome.cells.len(),
            outcome.duration.as_secs_f64(),
            resources.processor_seconds,
            megabytes(resources.peak_memory),
            if outcome.is_well() { "✅" } else { "❌" },
            cell(&verdict_line(outcome, 120)),
        );
    }
    let _ = write!(text, "\n{}\n", summary::counts(&run.outcomes));
    run.claims.iter().for_each(|claims| text.push_str(&judged(claims)));
    for outcome in &run.outcomes {
        for paragraph in paragraphs(outcome) {
            let plain = strip_ansi(&paragraph);
            let fence = "`".repeat(plain.split(|c| c != '`').map(str::len).max().unwrap_or(0).max(2) + 1);
            let _ = write!(text, "\n{fence}text\n{}\n{fence}\n", shorten(&plain, LONGEST));
        }
    }
    text
}

/// What became of a paper's claims that were judged.
fn judged(claims: &Claims) -> String {
    let (title, sentence) = (cell(&claims.title), claims.in_words());
    let mut text = format!(
        "\n### Findings and checks: {title}\n\n{sentence}.\n\n| Section | Claim | Reported | Ours | Verdict |\n|---|---|---|---|---|\n"
    );
    for claim in &claims.listed {
        if let Some(OfRun { judged, .. }) = claims.of_run(&claim.key) {
            let statement = format!("{} ({})", claim.statement, claim.kind);
            let cells = [&claim.section, &statement, &judged.reported, &judged.ours, &judged.verdict];
            let _ = writeln!(text, "| {} |", cells.map(|text| cell(text)).join(" | "));
        }
    }
    text + "\n"
}

/// Text in a table.
fn cell(text: &str) -> String {
    let text = strip_ansi(text).replace(['\n', '\r'], " ").replace('\\', "\\\\").replace('|', "\\|");
    text.replace('<', "&lt;")
}
