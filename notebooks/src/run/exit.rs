//! The exit code of `igpt run`, which tells a CI job what went wrong.

use super::outcome::{Cause, Outcome, Verdict};

/// How a run ended. Where several of these occur the smallest code is the run's, so that 6 says that nothing but the
/// machine was at fault and the run may be repeated; only a stop by a signal goes before all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Every notebook passed.
    Well = 0,
    /// A cell raised an error, or did not raise one that it had to.
    CellFailed = 1,
    /// What was asked for cannot be run: a wrong option, a notebook that is unreadable or of another language.
    Usage = 2,
    /// The process of a cell, evcxr or the kernel died.
    Died = 3,
    /// A cell or a notebook took longer than it may.
    TimeLimit = 4,
    /// With `--check`: every cell ran well, and outputs are not the committed ones.
    Differs = 5,
    /// No kernel, a kernel that breaks the protocol, a disk that is full.
    Infrastructure = 6,
    /// Stopped by Ctrl-C or a signal.
    Interrupted = 130,
}

impl Exit {
    /// What a notebook's verdict alone would make of a run.
    pub fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Passed => Self::Well,
            Verdict::Differs(_) => Self::Differs,
            Verdict::Interrupted => Self::Interrupted,
            Verdict::Failed { failure, .. } => match failure.cause {
                Cause::Cell => Self::CellFailed,
                Cause::Notebook => Self::Usage,
                Cause::Died => Self::Died,
                Cause::TimeLimit => Self::TimeLimit,
                Cause::Infrastructure => Self::Infrastructure,
            },
        }
    }

    /// Of a whole run.
    pub fn of_run(outcomes: &[Outcome], interrupted: bool) -> Self {
        if interrupted {
            return Self::Interrupted;
        }
        let wrong =
            outcomes.iter().map(|outcome| Self::of(&outcome.verdict)).filter(|exit| *exit != Self::Well);
        wrong.min().unwrap_or(Self::Well)
    }

    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// In a word or two, for machines and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Well => "passed",
            Self::CellFailed => "cell-failed",
            Self::Usage => "cannot-run",
            Self::Died => "process-died",
            Self::TimeLimit => "time-limit",
            Self::Differs => "differs",
            Self::Infrastructure => "infrastructure",
            Self::Interrupted => "interrupted",
        }
    }
}
