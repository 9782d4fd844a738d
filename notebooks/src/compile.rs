//! Has cargo compile a program, and says how far it is: with cargo's own bar on a terminal, else with a line now and then.

use std::{
    collections::HashSet,
    fs::File,
    io::{BufRead as _, BufReader, IsTerminal as _, Read, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::program;

/// How to watch cargo.
#[derive(Debug)]
pub(crate) struct Compilation<'a> {
    /// Where to keep what cargo says.
    pub log: &'a Path,
    /// How many packages it takes, if that is known.
    pub packages: Option<usize>,
    /// The time between two lines.
    pub every: Duration,
}

/// Prints a line. Nobody may be listening any more: what is compiled is of use all the same.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// How many packages cargo has to compile for one of the workspace, those that are compiled already included; none if
/// cargo does not say so, which it does without a network where all packages are there.
pub(crate) fn packages(mut cargo: Command, package: &str) -> Option<usize> {
    cargo.args(["tree", "--package", package, "--edges", "normal,build", "--prefix", "none"]);
    cargo.args(["--format", "{p}", "--locked", "--offline"]);
    let tree = program::output(cargo).ok()?;
    // `name v1.0.0 (proc-macro) (*)`
    let names: HashSet<Vec<&str>> =
        tree.lines().map(|line| line.split_whitespace().take(2).collect()).collect();
    Some(names.len())
}

impl Compilation<'_> {
    /// Runs it, and says how long it took.
    ///
    /// # Errors
    /// If cargo cannot be started, or fails.
    pub(crate) fn run(&self, mut cargo: Command) -> Result<Duration> {
        let begun = Instant::now();
        let failed = |status: std::process::ExitStatus| {
            format!(
                "cargo ended with {status}. It needs a C linker (Debian: apt install build-essential), the package \
                 registry, and about 2 GB of disk"
            )
        };
        if std::io::stderr().is_terminal() {
            let status = cargo.status().context("cannot start cargo")?;
            if !status.success() {
                bail!("{}", failed(status));
            }
            return Ok(begun.elapsed());
        }
        let unwritable = || format!("cannot write {}", self.log.display());
        let mut log = File::create(self.log).with_context(unwritable)?;
        if self.packages.is_some() {
            cargo.args(["--message-format", "json-render-diagnostics"]).stdout(Stdio::piped());
        } else {
            cargo.stdout(Stdio::null());
        }
        let mut child = cargo.stderr(Stdio::piped()).spawn().context("cannot start cargo")?;
        let (out, errors) = (child.stdout.take(), child.stderr.take());
        let compiled = AtomicUsize::new(0);
        let mut last = Vec::new();
        thread::scope(|scope| -> Result<()> {
            let compiled = &compiled;
            scope.spawn(move || count(out, compiled));
            let mut said = Instant::now();
            for line in errors.into_iter().flat_map(|errors| BufReader::new(errors).split(b'\n')) {
                let line = String::from_utf8_lossy(&line.context("cannot hear cargo")?).into_owned();
                writeln!(log, "{line}").with_context(unwritable)?;
                if self.packages.is_none() && line.trim_start().starts_with("Compiling") {
                    compiled.fetch_add(1, Ordering::Relaxed);
                }
                if said.elapsed() >= self.every {
                    said = Instant::now();
                    say(&self.line(compiled.load(Ordering::Relaxed)));
                }
                last.push(line);
                if last.len() > 20 {
                    last.remove(0);
                }
            }
            Ok(())
        })?;
        let status = child.wait()?;
        if !status.success() {
            let (why, said) = (failed(status), last.join("\n"));
            bail!("{why}; what it said is in {}. Its last words:\n{said}", self.log.display());
        }
        Ok(begun.elapsed())
    }

    fn line(&self, compiled: usize) -> String {
        match self.packages {
            Some(all) => format!("    {} of {all} packages compiled", compiled.min(all)),
            None => format!("    {compiled} crates compiled"),
        }
    }
}

/// Counts the packages that cargo says are compiled, now or before.
fn count(messages: Option<impl Read>, compiled: &AtomicUsize) {
    let mut packages = HashSet::new();
    let lines = messages.into_iter().flat_map(|messages| BufReader::new(messages).split(b'\n'));
    for line in lines.map_while(Result::ok) {
        let Ok(message) = serde_json::from_slice::<Value>(&line) else { continue };
        if message["reason"] == "compiler-artifact" {
            packages.insert(message["package_id"].to_string());
            compiled.store(packages.len(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_package_counts_once() {
        let messages = r#"{"reason":"compiler-artifact","package_id":"a","target":{"kind":["custom-build"]}}
{"reason":"build-script-executed","package_id":"a"}
not JSON
{"reason":"compiler-artifact","package_id":"a"}
{"reason":"compiler-artifact","package_id":"b"}
{"reason":"build-finished","success":true}"#;
        let compiled = AtomicUsize::new(0);
        count(Some(messages.as_bytes()), &compiled);
        assert_eq!(compiled.load(Ordering::Relaxed), 2);
        count(None::<&[u8]>, &compiled);
        assert_eq!(compiled.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn what_cargo_said_last_is_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let compilation = Compilation { log: &log, packages: None, every: Duration::ZERO };
        if std::io::stderr().is_terminal() {
            // There cargo speaks to the user itself.
            return;
        }
        let sh = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            compilation.run(command)
        };
        let error = format!("{:#}", sh("echo '   Compiling x' >&2; echo the end >&2; exit 3").unwrap_err());
        assert!(
            error.contains("cargo ended with exit status: 3") && error.ends_with("x\nthe end"),
            "{error}"
        );
        assert!(sh("echo fine >&2").is_ok());
        // More than a pipe holds, and bytes that are no text.
        assert!(
            sh("printf '\\377\\n' >&2; i=0; while [ $i -lt 9000 ]; do i=$((i+1)); echo line $i >&2; done")
                .is_ok()
        );
    }
}
