//! The run as JUnit XML, for CI services.

use std::fmt::Write as _;

use super::{
    outcome::{Cause, CellStatus, Failure, Outcome, Verdict},
    text::{escape, shorten, strip_ansi},
};

/// One test suite for each notebook, one test case for each code cell.
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
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{:.3}\">",
            escape(&suite.name),
            suite.cases.len(),
            suite.failures(),
            suite.skipped(),
            suite.seconds,
        );
        for case in &suite.cases {
            let _ = write!(
                xml,
                "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
                escape(&suite.name),
                escape(&case.name),
                case.seconds
            );
            let _ = match &case.result {
                CaseResult::Passed => writeln!(xml, "/>"),
                CaseResult::Skipped => writeln!(xml, "><skipped/></testcase>"),
                CaseResult::Failed(failure) => {
                    let (message, text) = (escape(&failure.headline), escape(&strip_ansi(&failure.text)));
                    writeln!(xml, "><failure message=\"{message}\">{text}</failure></testcase>")
                }
            };
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

struct Suite {
    name: String,
    seconds: f64,
    cases: Vec<Case>,
}

struct Case {
    name: String,
    seconds: f64,
    result: CaseResult,
}

enum CaseResult {
    Passed,
    Failed(Failure),
    Skipped,
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
        Verdict::Failed { cell: None, failure } => Some(failure.clone()),
        Verdict::Differs(all) => {
            all.iter().find(|d| d.cell.is_none()).map(|d| Failure::new(Cause::Cell, &*d.text))
        }
        _ => None,
    };
    if let Some(text) = whole {
        cases.push(Case { name: "notebook".into(), seconds: 0.0, result: CaseResult::Failed(text) });
    }
    for run in &outcome.cells {
        let differs = match &outcome.verdict {
            Verdict::Differs(all) => all.iter().find(|d| d.cell == Some(run.cell.number)),
            _ => None,
        };
        let result = match (&run.status, differs) {
            (CellStatus::Failed(failure), _) => CaseResult::Failed(failure.clone()),
            (_, Some(difference)) => CaseResult::Failed(Failure::new(Cause::Cell, &*difference.text)),
            (CellStatus::Passed, None) => CaseResult::Passed,
            (CellStatus::Skipped | CellStatus::NotRun, None) => CaseResult::Skipped,
        };
        let name = format!("cell {}: {}", run.cell.number, shorten(run.cell.first_line(), 80));
        cases.push(Case { name, seconds: run.seconds, result });
    }
    Suite { name: outcome.name.clone(), seconds: outcome.duration.as_secs_f64(), cases }
}
