//! The cells' side of the `igpt` kernel: how a cell tells the truth about how it ended.
//!
//! evcxr reports a cell that panicked, or that returned early through `?`, as a success. So the kernel, which has each
//! cell compiled, puts calls of [`cell`] into the code that evcxr generates around the user's own
//! (`notebooks/src/kernel/cargo/instrument.rs`): at the cell's start and at its end, where a panic is caught, and where
//! an early return ends. The calls stand behind absolute paths, in lines that are not the user's, so nothing that a cell
//! defines or imports can take their place. What they learn goes to the kernel in one line, the *end mark*:
//!
//! ```text
//! \x01igpt:end <nonce> {"kind": "panic", "evalue": "index out of bounds…", …}
//! ```
//!
//! The nonce is the kernel's own and new for each cell: text that a cell prints cannot be taken for its end, and a cell
//! whose end mark does not come is an error.
//!
//! Panics that are caught, threads that are joined and errors that are handled are no failures. Everything that a cell
//! prints passes through unchanged.
//!
//! The kernel interrupts a cell by SIGINT, which only asks for a [`stop`].

#[cfg(not(unix))]
compile_error!("the library needs a Unix: on Windows use WSL; README.md says why, under \"Where it runs\"");

pub mod cell;
mod failure;
#[cfg(unix)]
mod orphan;
mod stdin;
mod streams;
#[doc(hidden)]
pub mod variables;

use crate::{kernel, stop};
use std::sync::Once;

/// The variable with which the kernel's prelude begins a session. It holds nothing.
#[derive(Debug)]
pub struct Session(());

impl Session {
    /// Starts the session in the process that runs the cells, and says so to the kernel.
    #[must_use]
    pub fn start() -> Self {
        begin();
        Self(())
    }
}

/// Prepares the process that runs the cells, once: the panic hook, the filters of its outputs, the answer to interrupts, its end.
fn begin() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        streams::filter();
        #[cfg(unix)]
        {
            ask_to_stop_at_interrupts();
            orphan::end_with_parent();
        }
        kernel::set_live();
        kernel::tell(&format!("session {}", std::process::id()));
    });
    failure::watch_panics();
}

#[cfg(unix)]
fn ask_to_stop_at_interrupts() {
    extern "C" fn interrupted(_signal: libc::c_int) {
        stop::request();
    }
    // SAFETY: all zero is a valid `sigaction`; the handler only stores into an atomic. Calls that wait are taken up again.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = interrupted as extern "C" fn(libc::c_int) as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(libc::SIGINT, &raw const action, std::ptr::null_mut());
    }
}
