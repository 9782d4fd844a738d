//! How far downloads are: a bar on a terminal, else a line every two seconds.

use std::{
    cell::RefCell,
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::remote_file::RemoteFile;

/// The time between two lines about progress.
const EVERY: Duration = Duration::from_secs(2);

/// How far files are that are downloaded at a time.
pub(super) struct Progress<'a> {
    files: usize,
    size: u64,
    begun: Instant,
    state: RefCell<State>,
    bar: Option<ProgressBar>,
    say: &'a dyn Fn(&str),
}

struct State {
    /// Files that are whole.
    whole: usize,
    /// Bytes that are there.
    there: u64,
    /// Bytes that arrived since it began. Those that were there before say nothing about the rate.
    arrived: u64,
    said: Instant,
}

impl<'a> Progress<'a> {
    /// Of these files.
    pub(super) fn new(files: &[&RemoteFile], say: &'a dyn Fn(&str)) -> Self {
        let size = files.iter().map(|file| file.size).sum();
        let bar = (std::io::stdout().is_terminal() && std::io::stderr().is_terminal()).then(|| {
            // A narrow terminal has no room for all of it, and a line that is cut is better than two.
            let style = ProgressStyle::with_template("{bar:10} {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(size).with_style(style)
        });
        let now = Instant::now();
        let state = RefCell::new(State { whole: 0, there: 0, arrived: 0, said: now });
        Self { files: files.len(), size, begun: now, state, bar, say }
    }

    /// So many bytes of a file were there before.
    pub(super) fn found(&self, bytes: u64) {
        self.state.borrow_mut().there += bytes;
    }

    /// So many bytes of a file are gone.
    pub(super) fn lost(&self, bytes: u64) {
        let mut state = self.state.borrow_mut();
        state.there = state.there.saturating_sub(bytes);
    }

    /// A file is whole.
    pub(super) fn whole(&self) {
        self.state.borrow_mut().whole += 1;
    }

    /// More bytes of the file `name` arrived.
    pub(super) fn arrived(&self, name: &str, more: u64) {
        let mut state = self.state.borrow_mut();
        state.arrived += more;
        state.there += more;
        let line = || {
            let part = match self.files {
                1 => String::new(),
                files => format!("{} of {files} files, ", state.whole),
            };
            part + &rate(state.there, self.size, state.arrived, self.begun.elapsed())
        };
        if let Some(bar) = &self.bar {
            // The name stands last: of what is cut, it is missed the least.
            bar.set_message(format!("{} · {name}", line()));
            bar.set_position(state.there);
        } else if state.said.elapsed() >= EVERY {
            let line = format!("{name}: {}", line());
            state.said = Instant::now();
            drop(state);
            (self.say)(&line);
        }
    }

    /// Says a line without disturbing the bar.
    pub(super) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| (self.say)(line)),
            None => (self.say)(line),
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Bytes that take so long to hash that it is said.
const LONG: u64 = 200_000_000;

/// How far files are that are hashed, one after the other.
pub(super) struct Verifying<'a> {
    files: usize,
    begun: usize,
    said: Instant,
    say: &'a dyn Fn(&str),
}

impl<'a> Verifying<'a> {
    /// Of so many bytes, in so many files.
    pub(super) fn new(bytes: u64, files: usize, say: &'a dyn Fn(&str)) -> Self {
        if bytes > LONG {
            say(&format!("verifying the files in the cache, {} MB", megabytes(bytes)));
        }
        Self { files, begun: 0, said: Instant::now(), say }
    }

    /// The file `name` is next.
    pub(super) fn next(&mut self, name: &str) {
        self.begun += 1;
        if self.said.elapsed() >= EVERY {
            self.said = Instant::now();
            (self.say)(&format!("{name}: verifying file {} of {}", self.begun, self.files));
        }
    }
}

/// `120.0 of 310.0 MB, 12.5 MB/s, 15 s left`
fn rate(there: u64, size: u64, arrived: u64, time: Duration) -> String {
    let speed = arrived as f64 / time.as_secs_f64().max(1e-3);
    let left = match size.saturating_sub(there) as f64 / speed {
        left if !left.is_finite() => String::new(),
        left if left < 100. => format!(", {left:.0} s left"),
        left if left < 6000. => format!(", {:.0} min left", left / 60.),
        left => format!(", {:.0} h left", left / 3600.),
    };
    format!("{} of {} MB, {:.1} MB/s{left}", megabytes(there), megabytes(size), speed / 1e6)
}

/// Bytes in units of 10⁶.
pub(super) fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_rate_and_time_left() {
        let rate = |there, arrived, seconds| rate(there, 310_000_000, arrived, Duration::from_secs(seconds));
        assert_eq!(rate(120_000_000, 100_000_000, 10), "120.0 of 310.0 MB, 10.0 MB/s, 19 s left");
        assert_eq!(rate(10_000_000, 1_000_000, 1), "10.0 of 310.0 MB, 1.0 MB/s, 5 min left");
        assert_eq!(rate(10_000_000, 10_000, 1), "10.0 of 310.0 MB, 0.0 MB/s, 8 h left");
        assert_eq!(rate(0, 0, 2), "0.0 of 310.0 MB, 0.0 MB/s");
    }
}
