//! Nothing is left behind. evcxr runs in a process group of its own, led by a guard: a second `igpt` that holds
//! the reading end of a pipe whose other end only the kernel has. When the kernel dies, however it dies, the pipe
//! closes and the guard kills the group: evcxr, cells, cargo, rustc. (Linux's parent-death signal would not reach
//! grandchildren, and fires when the spawning *thread* ends.) Processes whose parents have ended become its children, so
//! that one that left the group, as a daemon does, is found, too. A pipe can be passed on: an evcxr that was kept ready belongs to the
//! kernel that took it from then on (see `spare`).

use std::{
    ffi::OsString,
    io::{Read as _, Write as _},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result};
use rustix::process::{Signal, WaitOptions, getpgrp, kill_process_group};

use super::{
    cargo,
    processes::{self, Below},
};

/// Runs `command` until it ends or the lifeline (our stdin) closes; says on stdout how it ended, and ends everything
/// that it started.
pub fn guard(command: &[OsString]) -> Result<ExitCode> {
    // Where this is not possible, only the group is ended.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let (program, arguments) = command.split_first().context("the guard has nothing to guard")?;
    let mut command = Command::new(program);
    // What evcxr itself prints belongs to the log. Our stdout is for the news of its end.
    command.args(arguments).stdin(Stdio::null()).stdout(std::io::stderr());
    cargo::name_program(&mut command)?;
    let evcxr = match command.spawn() {
        Ok(evcxr) => evcxr,
        Err(error) => {
            println!("it cannot be started: {error}");
            return Ok(ExitCode::FAILURE);
        }
    };
    std::thread::spawn(move || {
        let mut byte = [0];
        while matches!(std::io::stdin().read(&mut byte), Ok(1..)) {}
        end_group();
    });
    let how = wait_for(evcxr.id());
    // The kernel may be gone; then this is for nobody.
    let _ = writeln!(std::io::stdout(), "{how}");
    end_group();
    Ok(ExitCode::SUCCESS)
}

/// Waits until evcxr ends, and says how; of what else ends meanwhile nothing is kept.
fn wait_for(evcxr: u32) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((process, status))) if u32::try_from(process.as_raw_nonzero().get()) == Ok(evcxr) => {
                return std::process::ExitStatus::from_raw(status.as_raw()).to_string();
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return format!("it cannot be watched: {error}"),
        }
    }
}

/// Kills this process's group, and so this process, provided that the group is its own.
fn end_group() {
    let group = getpgrp();
    let own = rustix::process::getpid().as_raw_nonzero().get();
    processes::kill(Below(own).outside(group.as_raw_nonzero().get()));
    if group == rustix::process::getpid() {
        let _ = kill_process_group(group, Signal::KILL);
    }
    std::process::exit(1);
}
