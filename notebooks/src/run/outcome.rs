//! What became of a notebook.

use std::{path::PathBuf, time::Duration};

use super::{
    bound::LeftOut,
    journal::Journal,
    notebook::CodeCell,
    resources::Resources,
    text::{headline, strip_ansi},
};

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The cell's own: it raised an error, or did not raise one that it had to.
    Cell,
    /// The process that runs the cells, evcxr or the kernel ended.
    Died,
    /// It took longer than it may.
    TimeLimit,
    /// The notebook cannot be run as it is: unreadable, of another language, with a tag that means nothing.
    Notebook,
    /// None of the notebook's: no kernel, a kernel that breaks the protocol, a disk that is full.
    Infrastructure,
}

/// Why something failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whose fault it is.
    pub cause: Cause,
    /// In one line.
    pub headline: String,
    /// In full, with the escapes of the terminal.
    pub text: String,
}

impl Failure {
    /// A failure whose first line says it all.
    pub fn new(cause: Cause, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { cause, headline: headline(&strip_ansi(&text), 300), text }
    }
}

/// What became of one code cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CellStatus {
    /// It ran and is fine.
    Passed,
    /// It failed.
    Failed(Failure),
    /// It is tagged `skip-execution`.
    Skipped,
    /// The run ended before it.
    NotRun,
}

/// One code cell's run.
#[derive(Debug, Clone)]
pub struct CellRun {
    /// The cell.
    pub cell: CodeCell,
    /// How long it took.
    pub seconds: f64,
    /// What of its output was above a limit, and is not kept.
    pub left_out: Option<LeftOut>,
    /// The line of its code at which it raised an error, from 1, if the kernel says it.
    pub error_line: Option<usize>,
    /// How it ended.
    pub status: CellStatus,
}

impl CellRun {
    /// A cell that was not executed.
    pub fn untouched(cell: CodeCell, status: CellStatus) -> Self {
        Self { cell, seconds: 0.0, left_out: None, error_line: None, status }
    }
}

/// The judgement on a notebook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every cell ran well and, when asked for, the outputs are the committed ones.
    Passed,
    /// A cell failed: its number among the code cells, and why.
    Failed {
        /// `None` when it failed before the first cell: unreadable, or no kernel.
        cell: Option<usize>,
        /// Why.
        failure: Failure,
    },
    /// Everything ran, but these outputs are not the committed ones.
    Differs(Vec<Difference>),
    /// Stopped by Ctrl-C or a signal.
    Interrupted,
}

/// One output that is not the committed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The cell's number among the code cells; `None` for the notebook as a whole.
    pub cell: Option<usize>,
    /// What differs, in a few lines.
    pub text: String,
}

/// One notebook's run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The notebook file.
    pub source: PathBuf,
    /// Its name in tables: the file's name without the ending.
    pub name: String,
    /// Where the executed notebook was saved.
    pub executed: PathBuf,
    /// Where the kernel's own messages went.
    pub log: PathBuf,
    /// The code cells in order.
    pub cells: Vec<CellRun>,
    /// The results that it used, and the claims that it judged.
    pub journal: Journal,
    /// From the first cell's start to the last one's end.
    pub duration: Duration,
    /// What it took of the machine, if it ran.
    pub resources: Option<Resources>,
    /// Faults of the machine after which it was run again.
    pub retries: Vec<Failure>,
    /// The file's line of each line of each cell, by the cell's position.
    pub lines: Vec<Vec<usize>>,
    /// The judgement.
    pub verdict: Verdict,
}

impl Outcome {
    /// How many cells were executed, the failed one included.
    pub fn cells_run(&self) -> usize {
        let ran = |c: &&CellRun| matches!(c.status, CellStatus::Passed | CellStatus::Failed(_));
        self.cells.iter().filter(ran).count()
    }

    /// Whether nothing is wrong.
    pub fn is_well(&self) -> bool {
        self.verdict == Verdict::Passed
    }

    /// The line of the notebook's file at which a cell failed, else at which the cell begins.
    pub fn line(&self, run: &CellRun) -> Option<usize> {
        let lines = self.lines.get(run.cell.position)?;
        let failed = run.error_line.and_then(|line| lines.get(line.checked_sub(1)?));
        failed.or_else(|| lines.first()).copied()
    }

    /// The cell that the verdict names.
    pub fn cell(&self, number: usize) -> Option<&CellRun> {
        self.cells.iter().find(|run| run.cell.number == number)
    }
}
