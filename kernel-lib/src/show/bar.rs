//! Progress bars.

use super::{Displayed, Show, clean, display, escape};
use crate::kernel;
use std::time::{Duration, Instant};

/// A progress bar with rate and time left. While the cell runs it moves; afterwards a line stays that says how far it
/// came, without times, so that a saved notebook does not change when it is run again. In a terminal, and under plain
/// evcxr, it is a line at each tenth.
///
/// ```
/// use igpt::prelude::*;
///
/// let mut bar = Bar::new("counting", 1000);
/// for n in 0..1000u64 {
///     bar.set(n + 1);
///     bar.note(format!("{n} is a number"));
/// }
/// ```
#[derive(Debug)]
pub struct Bar {
    title: String,
    unit: String,
    done: u64,
    total: u64,
    /// What was done before this process began with it.
    first: u64,
    began: Instant,
    note: String,
    /// None where outputs cannot change.
    shown: Option<Displayed>,
    /// Tenths that were said.
    tenths: u64,
    /// Whether nothing of it stays.
    transient: bool,
}

impl Bar {
    /// A bar of `total` pieces of work, none of them done.
    pub fn new(title: impl Into<String>, total: u64) -> Self {
        let mut bar = Self {
            title: clean(&title.into()),
            unit: String::new(),
            done: 0,
            total,
            first: 0,
            began: Instant::now(),
            note: String::new(),
            shown: None,
            tenths: 0,
            transient: false,
        };
        if kernel::is_live() {
            bar.shown = Some(display(State(&bar)));
        }
        bar
    }

    /// A bar of which nothing stays when the work has ended.
    pub(crate) fn transient(title: &str, total: u64) -> Self {
        let mut bar = Self::new(title, total);
        bar.transient = true;
        bar
    }

    /// Shows it as it is now, however soon after the last time.
    fn shown_again(mut self) -> Self {
        if let Some(mut shown) = self.shown.take() {
            shown.update_at_once(&State(&self));
            self.shown = Some(shown);
        }
        self
    }

    /// Names the pieces: `steps`, `images`.
    #[must_use]
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = format!(" {}", clean(&unit.into()));
        self.shown_again()
    }

    /// Starts at `done` pieces: what an earlier try did says nothing about the rate.
    #[must_use]
    pub fn starting_at(mut self, done: u64) -> Self {
        let done = done.min(self.total);
        (self.first, self.done) = (done, done);
        self.tenths = self.tenth();
        self.shown_again()
    }

    /// Says how many pieces are done.
    pub fn set(&mut self, done: u64) {
        self.done = done.min(self.total);
        self.tell();
    }

    /// Says that so many more pieces are done.
    pub fn advance(&mut self, pieces: u64) {
        self.set(self.done.saturating_add(pieces));
    }

    /// Sets the words behind the bar: the last loss, say.
    pub fn note(&mut self, note: impl Into<String>) {
        self.note = clean(&note.into());
    }

    fn tenth(&self) -> u64 {
        10 * self.done / self.total.max(1)
    }

    fn tell(&mut self) {
        if let Some(mut shown) = self.shown.take() {
            // It may be a variable of the notebook, which lives on.
            match self.done == self.total && !self.transient {
                true => shown.update(self.last_words()),
                false => shown.update(State(self)),
            }
            self.shown = Some(shown);
        } else if self.tenth() > self.tenths {
            self.tenths = self.tenth();
            print!("{}", State(self).to_text());
        }
    }

    fn seconds_left(&self) -> Option<f64> {
        let rate = self.rate()?;
        Some((self.total - self.done) as f64 / rate)
    }

    /// Pieces in a second.
    fn rate(&self) -> Option<f64> {
        let (done, seconds) = (self.done.saturating_sub(self.first), self.began.elapsed().as_secs_f64());
        (done > 0 && seconds > 0.0).then(|| done as f64 / seconds)
    }

    /// `170 of 500 steps`
    fn count(&self) -> String {
        format!("{} of {}{}", self.done, self.total, self.unit)
    }

    /// What stays when the work has ended, well or not.
    fn last_words(&self) -> String {
        match self.done == self.total {
            true => format!("{}: {}{}", self.title, self.total, self.unit),
            false => format!("{}: ended after {}", self.title, self.count()),
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        let words = self.last_words();
        if let Some(mut shown) = self.shown.take() {
            match self.transient {
                true => shown.update_at_once(&Nothing),
                false => shown.update(words.as_str()),
            }
        }
    }
}

/// What takes the place of a bar of which nothing stays. The runner keeps no display that is empty.
struct Nothing;

impl Show for Nothing {
    fn to_html(&self) -> String {
        String::new()
    }
    fn to_text(&self) -> String {
        String::new()
    }
}

/// How far it is.
struct State<'a>(&'a Bar);

impl State<'_> {
    /// `34 % · 170 of 500 steps · 2.4/s · 2:18 left · loss 1.2`
    fn words(&self) -> String {
        let bar = self.0;
        let mut words = format!("{} % · {}", 100 * bar.done / bar.total.max(1), bar.count());
        if let Some(rate) = bar.rate() {
            words += &match rate {
                rate if rate >= 0.95 => format!(" · {}/s", round(rate)),
                rate => format!(" · {} s each", round(1.0 / rate)),
            };
        }
        if let Some(seconds) = bar.seconds_left().filter(|_| bar.done < bar.total) {
            words +=
                &format!(" · {} left", clock(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)));
        }
        if !bar.note.is_empty() {
            words += &format!(" · {}", bar.note);
        }
        words
    }
}

impl Show for State<'_> {
    fn to_html(&self) -> String {
        let share = 100.0 * self.0.done as f64 / self.0.total.max(1) as f64;
        format!(
            "<div style=\"margin:.3em 0\"><div style=\"font-weight:600\">{}</div>\n\
             <div style=\"background:rgba(128,128,128,.25);border-radius:3px;width:24em;max-width:100%;height:.6em;margin:.3em 0\">\
             <div style=\"background:#0060aa;border-radius:3px;width:{share:.1}%;height:.6em\"></div></div>\n\
             <div style=\"font-variant-numeric:tabular-nums\">{}</div></div>\n",
            escape(&self.0.title),
            escape(&self.words())
        )
    }

    fn to_text(&self) -> String {
        format!("{}: {}\n", self.0.title, self.words())
    }
}

/// Three digits or so.
fn round(x: f64) -> String {
    match x {
        x if x >= 100.0 => format!("{x:.0}"),
        x if x >= 10.0 => format!("{x:.1}"),
        x => format!("{x:.2}"),
    }
}

/// `0:07`, `2:18`, `1:02:03`.
fn clock(time: Duration) -> String {
    let s = time.as_secs();
    match s / 3600 {
        0 => format!("{}:{:02}", s / 60, s % 60),
        h => format!("{h}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_says_how_far_it_is_and_keeps_no_times() {
        let mut bar = Bar::new("Training <1>", 500).unit("steps").starting_at(100);
        bar.began = Instant::now() - Duration::from_secs(100);
        bar.note("loss 1.25");
        bar.set(150);
        let text = State(&bar).to_text();
        assert_eq!(text, "Training <1>: 30 % · 150 of 500 steps · 2.00 s each · 11:40 left · loss 1.25\n");
        let html = State(&bar).to_html();
        assert!(html.contains("Training &lt;1&gt;") && html.contains("width:30.0%"), "{html}");
        assert_eq!(bar.last_words(), "Training <1>: ended after 150 of 500 steps");
        bar.advance(1000);
        assert_eq!(bar.last_words(), "Training <1>: 500 steps");
        assert!(!State(&bar).to_text().contains("left"));
    }

    #[test]
    fn times_are_read_like_a_clock() {
        let texts = [7, 138, 3723].map(|s| clock(Duration::from_secs(s)));
        assert_eq!(texts, ["0:07", "2:18", "1:02:03"]);
    }

    #[test]
    fn work_that_goes_back_has_no_rate() {
        let mut bar = Bar::new("work", 500).starting_at(600);
        bar.set(50);
        assert_eq!((bar.rate(), bar.last_words().as_str()), (None, "work: ended after 50 of 500"));
    }

    #[test]
    fn nothing_to_do_is_no_division_by_zero() {
        let mut bar = Bar::new("nothing", 0);
        bar.set(3);
        assert_eq!(bar.last_words(), "nothing: 0");
    }
}
