//! The line to the `igpt` kernel: what this process tells it on its outputs, if it is the process of a notebook's cells.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// First character of every line that is for the kernel and not for the reader.
pub(crate) const MARK: char = '\u{1}';

/// Whether the `igpt` kernel reads what this process prints.
static LIVE: AtomicBool = AtomicBool::new(false);

/// Whether the `igpt` kernel reads what this process prints: then outputs can be updated, see
/// [`show::display`](crate::show::display).
pub(crate) fn is_live() -> bool {
    LIVE.load(Ordering::Relaxed)
}

/// From now on it does.
pub(crate) fn set_live() {
    LIVE.store(true, Ordering::Relaxed);
}

/// Tells the kernel something, if there is one.
pub(crate) fn tell(what: &str) {
    if is_live() {
        write_line(&mut std::io::stdout().lock(), &format!("{MARK}igpt:{what}"));
    }
}

/// Writes one whole line and flushes. A failure to write is ignored: nobody is left to tell.
pub(crate) fn write_line(to: &mut impl Write, line: &str) {
    let _ = to.write_all(format!("{line}\n").as_bytes()).and_then(|()| to.flush());
}
