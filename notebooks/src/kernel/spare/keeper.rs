//! The side of `igpt lab`: it has spares made, one at a time, each by a process of its own, which is started as a kernel would be.

use std::{
    ffi::OsString,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{
    maker::End,
    place::{Start, environment},
};
use crate::environment::SPARE;

/// How long a kernel that took one is left alone, until the next one is made.
const PAUSE: Duration = Duration::from_secs(5);
/// How long to wait after one that could not be made, and how often.
const AFTER_FAILURE: Duration = Duration::from_secs(60);
const FAILURES: u32 = 3;

/// Keeps a spare for the kernels below `server`, which is about to be started, and tells it where. The first one is made for notebooks
/// in the folder `folder`, with `program`, and with the library of the checkout `root`.
///
/// # Errors
/// If the server's environment is not Unicode.
pub fn keep(server: &mut Command, program: &Path, root: &Path, folder: &Path) -> Result<()> {
    let name = format!("igpt-spare-{}", uuid::Uuid::new_v4());
    let start = Start {
        program: program.to_owned(),
        // As kernels name it.
        root: root.canonicalize().with_context(|| format!("there is no folder {}", root.display()))?,
        folder: folder.to_owned(),
        environment: environment(environment_of(server))?,
    };
    server.env(SPARE, &name);
    std::thread::spawn(move || {
        if let Err(error) = keep_at(&name, start) {
            eprintln!("igpt lab: no spare engine is kept ready any more: {error:#}");
        }
    });
    Ok(())
}

/// The environment that a command will have.
fn environment_of(command: &Command) -> impl Iterator<Item = (OsString, OsString)> {
    let mut all: std::collections::BTreeMap<_, _> = std::env::vars_os().collect();
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => drop(all.insert(name.to_owned(), value.to_owned())),
            None => drop(all.remove(name)),
        }
    }
    all.into_iter()
}

fn keep_at(name: &str, first: Start) -> Result<()> {
    let (mut start, mut failures) = (first, 0);
    // Those whose spares were taken; they end with them.
    let mut others: Vec<Child> = Vec::new();
    loop {
        others.retain_mut(|maker| !matches!(maker.try_wait(), Ok(Some(_))));
        let mut maker = begin(name, &start)?;
        let said = maker.stdout.take().context("the maker has no stdout")?;
        let mut word = String::new();
        let _ = BufReader::new(said).read_line(&mut word);
        match serde_json::from_str(&word) {
            Ok(End::Next(next)) => {
                (start, failures) = (next, 0);
                others.push(maker);
                std::thread::sleep(PAUSE);
            }
            Ok(End::Useless(why)) => anyhow::bail!(why),
            Err(_) => {
                // It has said why on its stderr.
                let _ = maker.wait();
                failures += 1;
                anyhow::ensure!(failures < FAILURES, "it could not be made {FAILURES} times");
                std::thread::sleep(AFTER_FAILURE);
            }
        }
    }
}

/// Starts a maker. It ends when this process has ended, or forgets it.
fn begin(name: &str, start: &Start) -> Result<Child> {
    let mut command = Command::new(&start.program);
    command.arg("spare").arg("--root").arg(&start.root).current_dir(&start.folder);
    command.env_clear().envs(&start.environment).env(SPARE, name);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().with_context(|| format!("cannot start {}", start.program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_maker_gets_the_environment_of_the_server() {
        let mut server = Command::new("server");
        server.env("JUPYTER_PATH", "/there").env_remove("PATH").env(SPARE, "x");
        let all = environment(environment_of(&server)).unwrap();
        assert_eq!(all.get("JUPYTER_PATH").map(String::as_str), Some("/there"));
        assert!(!all.contains_key("PATH") && !all.contains_key(SPARE));
        let home = std::env::var("HOME").ok();
        assert_eq!(all.get("HOME"), home.as_ref());
    }
}
