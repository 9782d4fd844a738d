//! The end of the cells' process when evcxr, which started it, is gone.
//!
//! Whoever kills evcxr ends its cells as a rule: the kernel and its guard do. If these were killed, too (`kill -9` of all that is called
//! igpt, or by the system when memory is short), a cell would go on for hours, unseen, and hold the locks of what it computes.

use std::os::unix::process::parent_id;
use std::time::Duration;

/// How soon it is noticed.
const EVERY: Duration = Duration::from_secs(1);

/// From now on this process ends when the one ends that started it.
pub(super) fn end_with_parent() {
    let parent = parent_id();
    let watch = move || {
        while parent_id() == parent {
            std::thread::sleep(EVERY);
        }
        // SAFETY: always. Nobody is there to whom a destructor could tell anything, and what is half written is never taken for whole.
        unsafe { libc::_exit(1) };
    };
    // Without a thread more, all is as it was without this.
    let _ = std::thread::Builder::new().name("evcxr's end".to_owned()).spawn(watch);
}
