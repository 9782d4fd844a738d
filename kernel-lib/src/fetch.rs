//! `igpt fetch`, started by a notebook for what is not there yet.

use crate::{Error, Result, stop};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs the command `program` with these arguments, `fetch NAME` and maybe options. Its lines are printed here and not by itself: a notebook shows
/// only what comes through this process's `println!`.
///
/// # Errors
/// If it fails, what it says; or if someone asks to stop.
pub(crate) fn run(program: &Path, arguments: &[String], environment: &[(&str, &Path)]) -> Result<()> {
    let io = |e| Error::io(program, e);
    let mut command = Command::new(program);
    command.args(arguments).envs(environment.iter().copied());
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(io)?;
    let errors = child.stderr.take();
    // Both are read at the same time, so that neither fills up.
    let errors = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        errors.map(|mut errors| errors.read_to_end(&mut bytes)).transpose().map(|_| bytes)
    });
    let lines = child.stdout.take();
    let lines = std::thread::spawn(move || {
        for line in lines.into_iter().flat_map(|lines| BufReader::new(lines).split(b'\n')) {
            println!("{}", String::from_utf8_lossy(&line?));
        }
        std::io::Result::Ok(())
    });
    let status = loop {
        if let Some(status) = child.try_wait().map_err(io)? {
            break status;
        }
        if let Err(stopped) = stop::check("fetching the data") {
            // What it had is kept: a file appears when it is whole, and a download goes on where it was.
            child.kill().and_then(|()| child.wait()).map_err(io)?;
            return Err(stopped);
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    lines.join().ok().transpose().map_err(io)?;
    let said = errors.join().ok().and_then(Result::ok).unwrap_or_default();
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    let said = said.trim();
    let said = said.strip_prefix("error: ").unwrap_or(said);
    Err(Error::invalid(format!("`igpt {}` failed ({status}): {said}", arguments.join(" "))))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    /// A program in `folder` that is this shell script.
    pub(crate) fn program(folder: &Path, script: &str) -> PathBuf {
        let program = folder.join("igpt");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        program
    }

    fn it() -> [String; 2] {
        ["fetch".into(), "it".into()]
    }

    #[test]
    fn what_the_command_says_is_the_error() {
        let folder = tempfile::tempdir().unwrap();
        // More than a pipe holds, on both ways.
        let much = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo out $i; \
                    echo 'some words that fill the pipe, some words that fill the pipe' >&2; done";
        let failing = program(folder.path(), &format!("{much}; echo the last word >&2; exit 3"));
        let error = run(&failing, &it(), &[]).unwrap_err().to_string();
        assert!(error.starts_with("`igpt fetch it` failed (exit status: 3): some words"), "{error}");
        assert!(error.ends_with("the last word"), "{error}");
        let plain = program(folder.path(), "echo \"error: $1 $2 $PLACE\" >&2; exit 1");
        let error = run(&plain, &it(), &[("PLACE", Path::new("/here"))]).unwrap_err().to_string();
        assert_eq!(error, "`igpt fetch it` failed (exit status: 1): fetch it /here");
        let none = folder.path().join("none");
        let error = run(&none, &it(), &[]).unwrap_err().to_string();
        assert!(error.starts_with(&none.display().to_string()), "{error}");
    }
}
