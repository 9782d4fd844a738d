//! Progress of a run: bars on a terminal, plain lines elsewhere.

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{
    events::Events,
    outcome::{CellRun, CellStatus, Failure, Outcome},
    summary::verdict_line,
    text::shorten,
};

/// The time between two lines about a cell that runs, where there is no terminal.
const EVERY: Duration = Duration::from_secs(60);

/// Where progress is shown.
#[derive(Clone)]
pub struct Progress {
    bars: Option<MultiProgress>,
    events: Events,
}

impl Progress {
    /// Bars when standard error is a terminal, lines on standard output otherwise; events on standard output take its
    /// place, and the lines go to standard error.
    pub fn new(events: Events) -> Self {
        Self { bars: std::io::stderr().is_terminal().then(MultiProgress::new), events }
    }

    /// A notebook begins.
    pub fn notebook(&self, source: &Path, name: &str, cells: usize) -> NotebookProgress {
        self.events.notebook(source, cells);
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
        NotebookProgress {
            bar,
            events: self.events.clone(),
            source: source.to_owned(),
            name: name.to_owned(),
            cells,
            through: 0,
            said: Instant::now(),
        }
    }

    /// A notebook is run again.
    pub fn retry(&self, source: &Path, name: &str, number: usize, of: u32, fault: &Failure) {
        self.events.retry(source, number, fault);
        self.say(&format!(
            "{name}: run again ({number} of at most {of}) after a fault of the machine: {}",
            fault.headline
        ));
    }

    /// A notebook is through.
    pub fn finished(&self, outcome: &Outcome) {
        self.events.finished(outcome);
        let ran = format!("{}/{} cells", outcome.cells_run(), outcome.cells.len());
        let seconds = outcome.duration.as_secs_f64();
        self.say(&format!("{}: {ran}, {seconds:.1} s, {}", outcome.name, verdict_line(outcome, 100)));
    }

    /// A line that stays.
    pub fn say(&self, line: &str) {
        match &self.bars {
            Some(bars) => drop(bars.println(line)),
            None => line_out(&self.events, line),
        }
    }
}

/// A line for users, where it disturbs no program.
fn line_out(events: &Events, line: &str) {
    if events.are_on() {
        eprintln!("{line}");
    } else {
        println!("{line}");
    }
}

/// Progress of one notebook; its bar disappears with it.
pub struct NotebookProgress {
    bar: Option<ProgressBar>,
    events: Events,
    source: PathBuf,
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
                line_out(&self.events, &format!("{}  cell {number}/{}  {line}", self.name, self.cells));
            }
            None => {}
        }
    }

    /// A cell is through.
    pub fn cell(&mut self, run: &CellRun) {
        self.events.cell(&self.source, run);
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
                    CellStatus::Skipped => "skipped",
                    CellStatus::NotRun => "stopped",
                };
                let line = shorten(run.cell.first_line(), 60);
                let (number, seconds) = (run.cell.number, run.seconds);
                let place = format!("{}  cell {number}/{}", self.name, self.cells);
                line_out(&self.events, &format!("{place}  {seconds:.1} s  {verdict}  {line}"));
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
