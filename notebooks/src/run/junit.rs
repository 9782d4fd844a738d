//! The run as JUnit XML, for CI services.

use std::{fmt::Write as _, path::Path};

use serde_json::Value;

use super::{
    exit::Exit,
    notebook::{Notebook, joined},
    outcome::{CellStatus, Failure, Outcome, Verdict},
    resources::Resources,
    summary::{megabytes, notes},
    text::{escape, headline, shorten, strip_ansi},
};

/// One test suite for each notebook, one test case for each code cell, with the file, the line in it, and what the cell
/// printed, read back from the executed notebook.
pub fn junit(outcomes: &[Outcome]) -> String {
    let suites: Vec<Suite> = outcomes.iter().map(suite).collect();
    let total = |f: fn(&Suite) -> usize| suites.iter().map(f).sum::<usize>();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a string cannot fail.
    let _ = writeln!(
        xml,
        "<testsuites name=\"notebooks\" tests=\"{}\" failures=\"{}\" skipped=\"{}\">",
        total(|s| s.cases.len()),
        total(|s| s.failures()),
        total(|s| s.skipped()),
    );
    for suite in &suites {
        let _ = writeln!(
            xml,
            "  <testsuite name=\"{}\" file=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{:.3}\">",
            escape(&suite.name),
            escape(&suite.file),
            suite.cases.len(),
            suite.failures(),
            suite.skipped(),
            suite.seconds,
        );
        for case in &suite.cases {
            let _ = write!(
                xml,
                "    <testcase classname=\"{}\" name=\"{}\" file=\"{}\"",
                escape(&suite.name),
                escape(&case.name),
                escape(&suite.file),
            );
            if let Some(line) = case.line {
                let _ = write!(xml, " line=\"{line}\"");
            }
            let _ = write!(xml, " time=\"{:.3}\">", case.seconds);
            let _ = match &case.result {
                CaseResult::Passed => Ok(()),
                CaseResult::Skipped => write!(xml, "<skipped/>"),
                CaseResult::Failed(failure) => {
                    let (message, text) = (escape(&failure.headline), escape(&strip_ansi(&failure.text)));
                    let kind = failure.kind;
                    write!(xml, "<failure type=\"{kind}\" message=\"{message}\">{text}</failure>")
                }
            };
            for (element, text) in [("system-out", &case.stdout), ("system-err", &case.stderr)] {
                if !text.is_empty() {
                    let _ = write!(xml, "<{element}>{}</{element}>", escape(&strip_ansi(text)));
                }
            }
            xml.push_str("</testcase>\n");
        }
        if !suite.notes.is_empty() {
            let _ = writeln!(xml, "    <system-out>{}</system-out>", escape(&suite.notes.join("\n")));
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

struct Suite {
    name: String,
    file: String,
    notes: Vec<String>,
    seconds: f64,
    cases: Vec<Case>,
}

struct Case {
    name: String,
    line: Option<usize>,
    seconds: f64,
    result: CaseResult,
    stdout: String,
    stderr: String,
}

enum CaseResult {
    Passed,
    Failed(Wrong),
    Skipped,
}

/// A failure or a difference.
struct Wrong {
    kind: &'static str,
    headline: String,
    text: String,
}

impl Wrong {
    fn failed(failure: &Failure) -> Self {
        let verdict = Verdict::Failed { cell: None, failure: failure.clone() };
        let kind = Exit::of(&verdict).name();
        Self { kind, headline: failure.headline.clone(), text: failure.text.clone() }
    }

    fn differs(text: &str) -> Self {
        Self { kind: Exit::Differs.name(), headline: headline(text, 300), text: text.to_owned() }
    }
}

/// Longer outputs are cut: services refuse large files, and the executed notebook has the whole.
const LONGEST: usize = 20_000;

/// What a cell printed to this stream.
fn printed(outputs: &[Value], name: &str) -> String {
    let streams = outputs.iter().filter(|output| output["output_type"] == "stream" && output["name"] == name);
    let text: String = streams.filter_map(|output| joined(&output["text"])).collect();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => {
            format!("{}\n… {} bytes more in the executed notebook", &text[..end], text.len() - end)
        }
        None => text,
    }
}

impl Suite {
    fn failures(&self) -> usize {
        self.cases.iter().filter(|case| matches!(case.result, CaseResult::Failed(_))).count()
    }

    fn skipped(&self) -> usize {
        self.cases.iter().filter(|case| matches!(case.result, CaseResult::Skipped)).count()
    }
}

fn suite(outcome: &Outcome) -> Suite {
    let mut cases = Vec::new();
    // What concerns no cell: an unreadable notebook, a kernel that did not start, nothing to compare with.
    let whole = match &outcome.verdict {
        Verdict::Failed { cell: None, failure } => Some(Wrong::failed(failure)),
        Verdict::Differs(all) => all.iter().find(|d| d.cell.is_none()).map(|d| Wrong::differs(&d.text)),
        _ => None,
    };
    if let Some(wrong) = whole {
        let (stdout, stderr) = (String::new(), String::new());
        let result = CaseResult::Failed(wrong);
        cases.push(Case { name: "notebook".into(), line: None, seconds: 0.0, result, stdout, stderr });
    }
    let executed = Notebook::read(&outcome.executed).ok();
    for run in &outcome.cells {
        let differs = match &outcome.verdict {
            Verdict::Differs(all) => all.iter().find(|d| d.cell == Some(run.cell.number)),
            _ => None,
        };
        let result = match (&run.status, differs) {
            (CellStatus::Failed(failure), _) => CaseResult::Failed(Wrong::failed(failure)),
            (_, Some(difference)) => CaseResult::Failed(Wrong::differs(&difference.text)),
            (CellStatus::Passed, None) => CaseResult::Passed,
            (CellStatus::Skipped | CellStatus::NotRun, None) => CaseResult::Skipped,
        };
        let name = format!("cell {}: {}", run.cell.number, shorten(run.cell.first_line(), 80));
        let outputs = executed.as_ref().map_or(&[][..], |notebook| notebook.outputs(run.cell.position));
        let (stdout, stderr) = (printed(outputs, "stdout"), printed(outputs, "stderr"));
        cases.push(Case { name, line: outcome.line(run), seconds: run.seconds, result, stdout, stderr });
    }
    let mut notes = notes(outcome);
    if let Some(resources) = outcome.resources {
        let Resources { peak_memory, processor_seconds } = resources;
        notes.push(format!(
            "peak memory {} MB, processor time {processor_seconds:.1} s",
            megabytes(peak_memory)
        ));
    }
    Suite {
        name: outcome.name.clone(),
        file: file_name(&outcome.source),
        notes,
        seconds: outcome.duration.as_secs_f64(),
        cases,
    }
}

/// The notebook's path as services want it: from the working directory, where it lies below that.
fn file_name(source: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    source.strip_prefix(here).unwrap_or(source).to_string_lossy().into_owned()
}
