//! What keeps a cell's stdout and stderr from harming evcxr, which reads them by lines of UTF-8: a line that is not
//! ended is not seen and hides what comes after it, a byte that is no UTF-8 shifts all later results by one cell, and a
//! flood of output drowns the kernel.
//!
//! So both streams go through a program between this process and evcxr, `igpt filter`, which passes on whole lines of
//! UTF-8. It is a process of its own because it must have the last word when this one dies.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::process::{Command, Stdio};

/// The variable by which the kernel says where its program is.
const PROGRAM: &str = "IGPT_PROGRAM";

/// Puts the filter into both streams. Without the program, they stay as they are.
pub(super) fn filter() {
    let Some(program) = std::env::var_os(PROGRAM) else { return };
    for stream in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        if let Err(error) = put_filter(&program, stream) {
            eprintln!("the output of cells is not filtered: {}: {error}", program.to_string_lossy());
        }
    }
}

fn put_filter(program: &std::ffi::OsStr, stream: i32) -> io::Result<()> {
    let (reader, writer) = io::pipe()?;
    // SAFETY: the descriptor is open as long as the process lives.
    let original = unsafe { BorrowedFd::borrow_raw(stream) }.try_clone_to_owned()?;
    Command::new(program)
        .arg("filter")
        .stdin(reader)
        .stdout(Stdio::from(original))
        .stderr(Stdio::null())
        .spawn()?;
    // SAFETY: both descriptors are open. The old one's last copy in this process is closed by this, so that evcxr sees
    // the end of the stream when the filter ends.
    match unsafe { libc::dup2(writer.as_raw_fd(), stream) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
