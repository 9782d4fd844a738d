//! A request to stop that long work polls, so that an interrupt need not kill it.
//!
//! Training, k-means, probes, features, samples and downloads ask [`check`] or [`requested`] between two pieces of
//! their work, each of a second at most (a step of the reference network may take longer). What was broken off says so by
//! its own result: the request may have been answered by another thread meanwhile. So the stop button of a notebook ends them with every variable alive, and
//! what keeps checkpoints goes on from there when the cell is run again. A cell of your own can do the same:
//!
//! ```
//! for step in 0..1000 {
//!     igpt::stop::check("counting")?;
//!     // … a piece of work …
//! }
//! # Ok::<(), igpt::Error>(())
//! ```

use crate::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Asks whatever runs to stop at the next good moment. Only an atomic store: a signal handler may call it.
pub fn request() {
    REQUESTED.store(true, Ordering::Relaxed);
}

/// Whether someone asked, and no one answered yet.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Takes the request back, if there is one, and says whether there was: whoever stops because of it calls this, so that
/// the next work runs.
pub fn answer() -> bool {
    let requested = REQUESTED.swap(false, Ordering::Relaxed);
    if requested {
        // The kernel then waits until a checkpoint is written, and does not kill.
        crate::kernel::tell("stopping");
    }
    requested
}

/// Takes a request back that nobody answered.
pub fn clear() {
    REQUESTED.store(false, Ordering::Relaxed);
}

/// The error of `what`, which was broken off because someone asked to stop.
pub(crate) fn interrupted(what: &str) -> Error {
    answer();
    Error::Interrupted(format!("{what} was interrupted"))
}

/// Ends `what` if someone asked to stop.
///
/// # Errors
/// [`Error::Interrupted`] if someone did.
pub fn check(what: &str) -> Result<()> {
    if requested() { Err(interrupted(what)) } else { Ok(()) }
}
