//! A request to stop that long work polls, so that an interrupt need not kill it.

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

/// Takes the request back: whoever stops because of it calls this, so that the next work runs.
pub fn clear() {
    REQUESTED.store(false, Ordering::Relaxed);
}
