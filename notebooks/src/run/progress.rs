//! Progress of a run: bars on a terminal, plain lines elsewhere.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{
    outcome::{CellRun, CellStatus, Outcome},
    summary::verdict_line,
    text::shorten,
};

/// The time between two lines about a cell that runs, where there is no terminal.
const EVERY: Duration = Duration::from_secs(60);

/// Where progress is shown.
#[derive(Clone)]
pub struct Progress {
    bars: Option<MultiProgress>,
}

impl Progress {
    /// Bars when standard error is a terminal, lines on standard output otherwise.
    pub fn new() -> Self {
        Self { bars: std::io::stderr().is_terminal().then(MultiProgress::new) }
    }

    /// A notebook begins.
    pub fn notebook(&self, name: &str, cells: usize) -> NotebookProgress {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new(cells as u64));
            if let Ok(style) =
                ProgressStyle::with_template("{prefix}  cell {pos}/{len}  {elapsed}  {wide_msg}")
            {
                bar.set_style(style);
            }
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        NotebookProgress { bar, name: name.to_owned(), cells, through: 0, said: Instant::now() }
    }

    /// A notebook is through.
    pub fn finished(&self, outcome: &Outcome) {
        let ran = format!("{}/{} cells", outcome.cells_run(), outcome.cells.len());
        let seconds = outcome.duration.as_secs_f64();
        self.say(&format!("{}: {ran}, {seconds:.1} s, {}", outcome.name, verdict_line(outcome, 100)));
    }

    /// A line that stays.
    pub fn say(&self, line: &str) {
        match &self.bars {
            Some(bars) => drop(bars.println(line)),
            None => println!("{line}"),
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// Progress of one notebook; its bar disappears with it.
pub struct NotebookProgress {
    bar: Option<ProgressBar>,
    name: String,
    cells: usize,
    /// The number of the last cell that is through.
    through: usize,
    /// When there was a line, or a cell began.
    said: Instant,
}

impl NotebookProgress {
    /// The cell that runs says how far it is.
    pub fn status(&mut self, line: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(line.to_owned()),
            None if self.said.elapsed() >= EVERY => {
                self.said = Instant::now();
                let (number, line) = (self.through + 1, shorten(line, 100));
                println!("{}  cell {number}/{}  {line}", self.name, self.cells);
            }
            None => {}
        }
    }

    /// A cell is through.
    pub fn cell(&mut self, run: &CellRun) {
        (self.through, self.said) = (run.cell.number, Instant::now());
        match &self.bar {
            Some(bar) => {
                bar.set_message("");
                bar.set_position(run.cell.number as u64);
            }
            None => {
                let verdict = match run.status {
                    CellStatus::Passed => "ok",
                    CellStatus::Failed(_) => "FAILED",
                    CellStatus::Skipped | CellStatus::NotRun => "stopped",
                };
                let line = shorten(run.cell.first_line(), 60);
                let (number, seconds) = (run.cell.number, run.seconds);
                println!("{}  cell {number}/{}  {seconds:.1} s  {verdict}  {line}", self.name, self.cells);
            }
        }
    }
}

impl Drop for NotebookProgress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
