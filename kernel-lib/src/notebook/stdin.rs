//! The standard input of cells. Their process gets evcxr's commands by it, so a cell that read there would take the next
//! command, or wait for ever, and so would each program that it starts. While a cell runs its standard input is empty.

#[cfg(unix)]
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::Mutex;

/// evcxr's pipe, while a cell runs.
#[cfg(unix)]
static COMMANDS: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// Empties the standard input until [`give_back`].
#[cfg(unix)]
pub(super) fn take_away() {
    let mut commands = COMMANDS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if commands.is_some() {
        return;
    }
    let Ok(nothing) = std::fs::File::open("/dev/null") else { return };
    // SAFETY: the descriptor is open as long as the process lives.
    let Ok(saved) = unsafe { BorrowedFd::borrow_raw(libc::STDIN_FILENO) }.try_clone_to_owned() else {
        return;
    };
    // SAFETY: both descriptors are open.
    if unsafe { libc::dup2(nothing.as_raw_fd(), libc::STDIN_FILENO) } != -1 {
        *commands = Some(saved);
    }
}

/// Gives evcxr its pipe back.
#[cfg(unix)]
pub(super) fn give_back() {
    let mut commands = COMMANDS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(saved) = commands.take() {
        // SAFETY: both descriptors are open. If this fails evcxr sees the end of its pipe, and so the end of the session.
        unsafe { libc::dup2(saved.as_raw_fd(), libc::STDIN_FILENO) };
    }
}

#[cfg(not(unix))]
pub(super) fn take_away() {}

#[cfg(not(unix))]
pub(super) fn give_back() {}
