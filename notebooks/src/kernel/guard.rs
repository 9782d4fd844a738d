//! Nothing is left behind. The engine runs in a process group of its own, led by a guard: a second `igpt` that holds
//! the reading end of a pipe whose other end only the kernel has. When the kernel dies, however it dies, the pipe
//! closes and the guard kills the group: engine, cells, cargo, rustc. (The parent-death signal would not reach
//! grandchildren, and fires when the spawning *thread* ends.)

use std::{
    ffi::OsString,
    io::{Read as _, Write as _},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result};
use rustix::process::{Signal, getpgrp, kill_process_group};

/// Runs `command` until it ends or the lifeline (our stdin) closes; says on stdout how it ended, and ends everything
/// that it started.
pub fn guard(command: &[OsString]) -> Result<ExitCode> {
    let (program, arguments) = command.split_first().context("the guard has nothing to guard")?;
    let spawned = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        // What the engine itself prints belongs to the log. Our stdout is for the news of its end.
        .stdout(std::io::stderr())
        .spawn();
    let mut engine = match spawned {
        Ok(engine) => engine,
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
    let how = match engine.wait() {
        Ok(status) => status.to_string(),
        Err(error) => format!("it cannot be watched: {error}"),
    };
    // The kernel may be gone; then this is for nobody.
    let _ = writeln!(std::io::stdout(), "{how}");
    end_group();
    Ok(ExitCode::SUCCESS)
}

/// Kills this process's group, and so this process, provided that the group is its own.
fn end_group() {
    let group = getpgrp();
    if group == rustix::process::getpid() {
        let _ = kill_process_group(group, Signal::KILL);
    }
    std::process::exit(1);
}
