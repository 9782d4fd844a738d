//! Outputs that change while a cell runs.
//!
//! The kernel turns what is written here into `display_data`, `update_display_data` and `clear_output`, so that an output
//! grows in place and a saved notebook holds its last state. Under plain evcxr the last state of the last display is the value
//! of the cell. In a terminal nothing can be taken back: there the first and the last state are shown.

use super::{Show, emit};
use crate::kernel;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// At most ten updates a second reach the kernel.
const PAUSE: Duration = Duration::from_millis(100);

/// Shows something now, in order with what the cell prints, and not at its end; a cell may do this as often as it likes.
/// The handle can show something else in its place.
///
/// ```
/// use igpt::prelude::*;
///
/// let mut shown = show::display("thinking");
/// shown.update(Table::new(["answer"]).row((42,))?);
/// # Ok::<(), igpt::Error>(())
/// ```
pub fn display(what: impl Show) -> Displayed {
    let mut displayed = Displayed { id: new_id(), shown_in: None, last: None };
    displayed.update_at_once(&what);
    displayed
}

/// Removes what the cell has shown and printed so far. What is updated afterwards appears again. Only the kernel can.
pub fn clear() {
    if kernel::is_live() {
        SCREENS.fetch_add(1, Ordering::Relaxed);
        pending().clear();
        kernel::tell("clear");
    }
}

/// How often everything was removed.
static SCREENS: AtomicU64 = AtomicU64::new(0);

/// An output of a running cell that can change, see [`display`]. Its last state is shown when it is dropped, or when the
/// cell ends: a variable of a notebook lives on.
#[derive(Debug)]
#[must_use = "without it the output cannot change; `let _ = …` if it shall not"]
pub struct Displayed {
    id: String,
    /// Which screen it is on; none if on none yet.
    shown_in: Option<u64>,
    /// When it last changed.
    last: Option<Instant>,
}

/// What came too soon after the update before, HTML and text, by the display's name.
static PENDING: Mutex<BTreeMap<String, [String; 2]>> = Mutex::new(BTreeMap::new());

fn pending() -> std::sync::MutexGuard<'static, BTreeMap<String, [String; 2]>> {
    PENDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shows what waits: the cell is over.
pub(crate) fn flush() {
    for (id, [html, text]) in std::mem::take(&mut *pending()) {
        write(&id, true, &html, &text);
    }
}

/// Whether what is shown can take the place of something: in the kernel, and, as the one value of a cell, in evcxr.
fn can_change() -> bool {
    kernel::is_live() || emit::is_under_evcxr()
}

fn write(id: &str, update: bool, html: &str, text: &str) {
    if kernel::is_live() {
        if let Ok(json) = serde_json::to_string(&Message { id, update, html, text }) {
            // evcxr looks for its own words anywhere in a line.
            kernel::tell(&format!("show {}", json.replace("EVCXR_", "EVCXR\\u005f")));
        }
    } else {
        emit::emit_elsewhere(html, text);
    }
}

/// A line for the kernel.
#[derive(Serialize)]
struct Message<'a> {
    id: &'a str,
    update: bool,
    html: &'a str,
    text: &'a str,
}

impl Displayed {
    /// Shows something else in its place. What comes more often than ten times a second is not all shown, but the last
    /// state always is.
    pub fn update(&mut self, what: impl Show) {
        // What was removed from the screen appears again at once.
        let is_there = self.shown_in == Some(SCREENS.load(Ordering::Relaxed));
        let is_soon = is_there && self.last.is_some_and(|last| last.elapsed() < PAUSE);
        if is_soon || !can_change() {
            pending().insert(self.id.clone(), [what.to_html(), what.to_text()]);
            return;
        }
        self.update_at_once(&what);
    }

    /// As [`Displayed::update`], but shown however soon after the last time.
    pub(crate) fn update_at_once(&mut self, what: &dyn Show) {
        self.write(&what.to_html(), &what.to_text());
    }

    /// Whether an update would be shown now; asked where making one costs something.
    pub(crate) fn is_due(&self, pause: Duration) -> bool {
        can_change() && self.last.is_none_or(|last| last.elapsed() >= pause.max(PAUSE))
    }

    fn write(&mut self, html: &str, text: &str) {
        pending().remove(&self.id);
        self.last = Some(Instant::now());
        let screen = Some(SCREENS.load(Ordering::Relaxed));
        write(&self.id, std::mem::replace(&mut self.shown_in, screen) == screen, html, text);
    }
}

impl Drop for Displayed {
    fn drop(&mut self) {
        let last = pending().remove(&self.id);
        if let Some([html, text]) = last {
            self.write(&html, &text);
        }
    }
}

/// A name that no other display of this notebook has, not even one of the process before: clients remember them.
fn new_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("igpt-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
