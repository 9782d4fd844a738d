//! `--json`: what happens, one JSON object a line on standard output, for programs that follow a run.

use std::{io::Write as _, path::Path};

use serde_json::{Value, json};

use super::{
    Run,
    exit::Exit,
    outcome::{CellRun, CellStatus, Failure, Outcome, Verdict},
    secrets::Secrets,
};

/// Tells of events, if somebody wants to know.
#[derive(Debug, Clone, Default)]
pub struct Events {
    on: bool,
    secrets: Secrets,
}

impl Events {
    /// Events on standard output, or none.
    pub fn new(on: bool, secrets: Secrets) -> Self {
        Self { on, secrets }
    }

    /// Whether standard output is for events alone.
    pub fn are_on(&self) -> bool {
        self.on
    }

    /// The run begins.
    pub fn run(&self, notebooks: &[std::path::PathBuf], notes: &[String]) {
        self.tell(json!({"event": "run-started", "notebooks": notebooks.iter().map(|notebook| text(notebook)).collect::<Vec<_>>(), "notes": notes}));
    }

    /// A notebook begins.
    pub fn notebook(&self, notebook: &Path, cells: usize) {
        self.tell(json!({"event": "notebook-started", "notebook": text(notebook), "cells": cells}));
    }

    /// A cell is through.
    pub fn cell(&self, notebook: &Path, run: &CellRun) {
        let message = match &run.status {
            CellStatus::Failed(failure) => Some(&failure.headline),
            _ => None,
        };
        self.tell(json!({
            "event": "cell",
            "notebook": text(notebook),
            "cell": run.cell.number,
            "id": run.cell.id,
            "status": status(&run.status),
            "seconds": run.seconds,
            "message": message,
            "bytes_left_out": run.left_out.map_or(0, |left_out| left_out.bytes),
        }));
    }

    /// A notebook is run again.
    pub fn retry(&self, notebook: &Path, number: usize, fault: &Failure) {
        self.tell(
            json!({"event": "retry", "notebook": text(notebook), "number": number, "message": fault.headline}),
        );
    }

    /// A notebook is through.
    pub fn finished(&self, outcome: &Outcome) {
        let (cell, message) = match &outcome.verdict {
            Verdict::Failed { cell, failure } => (*cell, Some(failure.headline.clone())),
            Verdict::Differs(all) => {
                (all.first().and_then(|first| first.cell), all.first().map(|d| d.text.clone()))
            }
            Verdict::Passed | Verdict::Interrupted => (None, None),
        };
        let exit = Exit::of(&outcome.verdict);
        self.tell(json!({
            "event": "notebook-finished",
            "notebook": text(&outcome.source),
            "verdict": exit.name(),
            "exit_code": exit.code(),
            "cell": cell,
            "line": cell.and_then(|number| outcome.line(outcome.cell(number)?)),
            "message": message,
            "seconds": outcome.duration.as_secs_f64(),
            "peak_memory_bytes": outcome.resources.map(|resources| resources.peak_memory),
            "processor_seconds": outcome.resources.map(|resources| resources.processor_seconds),
            "retries": outcome.retries.len(),
            "executed": text(&outcome.executed),
        }));
    }

    /// The run is over.
    pub fn over(&self, run: &Run) {
        let passed = run.outcomes.iter().filter(|outcome| outcome.is_well()).count();
        self.tell(json!({
            "event": "run-finished",
            "verdict": run.exit().name(),
            "exit_code": run.exit().code(),
            "passed": passed,
            "notebooks": run.outcomes.len(),
            "report": text(&run.report),
            "junit": text(&run.junit),
        }));
    }

    /// The run is over before it began: there is nothing to run.
    pub fn nothing(&self) {
        let exit = Exit::Well;
        self.tell(json!({
            "event": "run-finished", "verdict": exit.name(), "exit_code": exit.code(), "passed": 0, "notebooks": 0,
        }));
    }

    fn tell(&self, mut event: Value) {
        if self.on {
            self.secrets.mask_value(&mut event);
            // Nobody may be listening any more; the run goes on.
            let _ = writeln!(std::io::stdout().lock(), "{event}");
        }
    }
}

/// A path as JSON can have it, whatever bytes it is of.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn status(status: &CellStatus) -> &'static str {
    match status {
        CellStatus::Passed => "passed",
        CellStatus::Failed(_) => "failed",
        CellStatus::Skipped => "skipped",
        CellStatus::NotRun => "stopped",
    }
}
