//! How far a download is: a bar on a terminal, else a line every two seconds.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::remote_file::RemoteFile;

/// The time between two lines.
const EVERY: Duration = Duration::from_secs(2);

pub(super) struct Progress<'a> {
    name: &'a str,
    size: u64,
    begun: Instant,
    said: Instant,
    /// Bytes that arrived since it began. Those that were there before say nothing about the rate.
    arrived: u64,
    bar: Option<ProgressBar>,
    say: &'a dyn Fn(&str),
}

impl<'a> Progress<'a> {
    /// Of a file of which `there` bytes are there already.
    pub(super) fn new(file: &'a RemoteFile, there: u64, say: &'a dyn Fn(&str)) -> Self {
        let bar = (std::io::stdout().is_terminal() && std::io::stderr().is_terminal()).then(|| {
            // A narrow terminal has no room for all of it, and a line that is cut is better than two.
            let style = ProgressStyle::with_template("{bar:10} {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(file.size).with_style(style).with_position(there).with_message(file.name.clone())
        });
        let now = Instant::now();
        Self { name: &file.name, size: file.size, begun: now, said: now, arrived: 0, bar, say }
    }

    /// More bytes arrived; there are `there` now.
    pub(super) fn arrived(&mut self, more: u64, there: u64) {
        self.arrived += more;
        let state = || state(there, self.size, self.arrived, self.begun.elapsed());
        if let Some(bar) = &self.bar {
            // The name stands last: of what is cut, it is missed the least.
            bar.set_message(format!("{} · {}", state(), self.name));
            bar.set_position(there);
        } else if self.said.elapsed() >= EVERY {
            self.said = Instant::now();
            (self.say)(&format!("{}: {}", self.name, state()));
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

/// `120.0 of 310.0 MB, 12.5 MB/s, 15 s left`
fn state(there: u64, size: u64, arrived: u64, time: Duration) -> String {
    let rate = arrived as f64 / time.as_secs_f64().max(1e-3);
    let left = match size.saturating_sub(there) as f64 / rate {
        left if !left.is_finite() => String::new(),
        left if left < 100. => format!(", {left:.0} s left"),
        left if left < 6000. => format!(", {:.0} min left", left / 60.),
        left => format!(", {:.0} h left", left / 3600.),
    };
    format!("{} of {} MB, {:.1} MB/s{left}", megabytes(there), megabytes(size), rate / 1e6)
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
        let state =
            |there, arrived, seconds| state(there, 310_000_000, arrived, Duration::from_secs(seconds));
        assert_eq!(state(120_000_000, 100_000_000, 10), "120.0 of 310.0 MB, 10.0 MB/s, 19 s left");
        assert_eq!(state(10_000_000, 1_000_000, 1), "10.0 of 310.0 MB, 1.0 MB/s, 5 min left");
        assert_eq!(state(10_000_000, 10_000, 1), "10.0 of 310.0 MB, 0.0 MB/s, 8 h left");
        assert_eq!(state(0, 0, 2), "0.0 of 310.0 MB, 0.0 MB/s");
    }
}
