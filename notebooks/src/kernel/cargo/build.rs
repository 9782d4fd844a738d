//! Compiling a cell without asking cargo again. evcxr has `cargo build` compile each cell, and cargo then reads the
//! manifests of 200 crates and compares the times of all their files, only to call rustc with the same arguments as
//! before: half of the time of a short cell.
//!
//! So the first cell is compiled by cargo, whose call of rustc is recorded; after that rustc is called directly, for as
//! long as nothing on which cargo's answer depends is different: manifest, lock file, configuration, environment, and
//! arguments. Dependencies that are folders, which may change, are left to cargo, but for the library: a kernel has
//! its own copy of that, which nobody changes.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{LIBRARY, RECORDER, code, own_bin};

/// evcxr's name of a cell.
const CELL: &str = "ctx";
/// Where the recorder writes, relative to the cell's folder.
const RECORD: &str = "target/rustc-of-cells.json";
/// Tells the recorder the state in which cargo was called.
const STATE: &str = "IGPT_CARGO_STATE";

/// How cargo called rustc.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    /// Of what its answer depends on, see [`state`].
    state: String,
    /// The program and its arguments.
    command: Vec<String>,
    /// What cargo told rustc besides, by environment variables.
    environment: Vec<(String, String)>,
}

/// Whether these are the arguments with which evcxr has a cell compiled.
pub fn is_of_a_cell(arguments: &[OsString]) -> bool {
    let arguments: Vec<_> = arguments.iter().filter_map(|argument| argument.to_str()).collect();
    matches!(arguments[..], ["build", "--target", _, "--message-format=json"])
        && Path::new("src/lib.rs").is_file()
}

/// Compiles the cell in this folder.
///
/// # Errors
/// If neither cargo nor rustc can be started.
pub fn build(cargo: &Path, arguments: &[OsString]) -> Result<ExitCode> {
    let state = state(Path::new("."), arguments, env::vars_os());
    let record = || -> Option<Record> { serde_json::from_slice(&fs::read(RECORD).ok()?).ok() };
    if let (Some(state), Some(record)) = (&state, record())
        && *state == record.state
        && let Some(folder) = record.argument("--out-dir")
    {
        return record.compile(&folder);
    }
    let mut command = Command::new(cargo);
    command.args(arguments);
    // Always set where it can be, since cargo compiles a cell again when the program changes.
    if let (Some(bin), None) = (own_bin(), env::var_os("RUSTC_WORKSPACE_WRAPPER")) {
        command.env("RUSTC_WORKSPACE_WRAPPER", bin.join(RECORDER));
        command.env(STATE, state.unwrap_or_default());
    }
    Err(command.exec()).context("cannot start cargo")
}

/// `igpt rustc PROGRAM …`: calls this rustc, and records it if it compiles a cell.
///
/// # Errors
/// If rustc cannot be started.
pub fn rustc(command: &[OsString]) -> Result<ExitCode> {
    let [program, arguments @ ..] = command else { bail!("no compiler was named") };
    let state = env::var(STATE).unwrap_or_default();
    if !state.is_empty()
        && let Some(record) = Record::of(state, command, env::vars_os())
        && record.argument("--crate-name").is_some_and(|name| name.as_os_str() == CELL)
        && record.command.iter().any(|argument| argument.starts_with("--emit=") && argument.contains("link"))
        // A record that cannot be written costs time, and nothing else.
        && let Ok(mut file) = tempfile::NamedTempFile::new_in("target")
        && file.write_all(&serde_json::to_vec(&record)?).is_ok()
    {
        let _ = file.persist(RECORD);
    }
    Err(Command::new(program).args(arguments).env_remove(STATE).exec()).context("cannot start rustc")
}

/// A hash of all on which cargo's call of rustc depends, or none if it may depend on more.
fn state(
    folder: &Path,
    arguments: &[OsString],
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Option<String> {
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).ok()?;
    let parsed: toml::Table = manifest.parse().ok()?;
    let own = folder.canonicalize().ok()?;
    for (name, dependency) in parsed.get("dependencies")?.as_table()? {
        if let Some(path) = dependency.get("path")
            && !(name == LIBRARY && Path::new(path.as_str()?).starts_with(&own))
        {
            return None;
        }
    }
    let mut environment: Vec<_> = environment.collect();
    environment.sort();
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    add(manifest.as_bytes());
    for file in ["Cargo.lock", ".cargo/config.toml", "../.cargo/config.toml"] {
        add(&fs::read(folder.join(file)).unwrap_or_default());
    }
    let environment = environment.iter().flat_map(|(name, value)| [name, value]);
    arguments.iter().chain(environment).for_each(|text| add(text.as_encoded_bytes()));
    Some(data_encoding::HEXLOWER.encode(&hash.finalize()))
}

impl Record {
    /// None if something is not Unicode.
    fn of(
        state: String,
        command: &[OsString],
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Option<Self> {
        let command = command.iter().map(|argument| argument.to_str().map(str::to_owned));
        // What else is set was set before cargo was called, and is part of the state.
        let of_cargo = environment.filter(|(name, _)| {
            name.to_str().is_some_and(|name| name.starts_with("CARGO_") || name == "LD_LIBRARY_PATH")
        });
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Some(Self {
            state,
            command: command.collect::<Option<_>>()?,
            environment: of_cargo.map(text).collect::<Option<_>>()?,
        })
    }

    /// What follows this argument.
    fn argument(&self, name: &str) -> Option<PathBuf> {
        let place = self.command.iter().position(|argument| argument == name)?;
        self.command.get(place + 1).map(PathBuf::from)
    }

    /// Calls rustc as cargo did, and says on stdout what cargo would say. `folder` is where rustc's output goes.
    fn compile(&self, folder: &Path) -> Result<ExitCode> {
        let [program, arguments @ ..] = &self.command[..] else { bail!("an empty record") };
        let mut rustc = Command::new(program);
        rustc.args(arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        let mut rustc = rustc.stderr(Stdio::piped()).spawn().context("cannot start rustc")?;
        let mut out = std::io::stdout().lock();
        for line in BufReader::new(rustc.stderr.take().context("rustc has no stderr")?).split(b'\n') {
            let line = line?;
            match serde_json::from_slice::<Value>(&line) {
                Ok(message) if message["$message_type"] == "diagnostic" => {
                    let message =
                        json!({"reason": "compiler-message", "target": {"name": CELL}, "message": message});
                    writeln!(out, "{message}")?;
                }
                // Artifacts, and reports of what future compilers will refuse.
                Ok(message) if message.is_object() => {}
                _ => writeln!(std::io::stderr(), "{}", String::from_utf8_lossy(&line))?,
            }
        }
        let status = rustc.wait()?;
        if !status.success() {
            return Ok(code(status));
        }
        // As cargo does: the library lies one folder higher, too, where evcxr takes it away.
        let name = format!("lib{CELL}.so");
        let (made, taken) = (folder.join(&name), folder.with_file_name(&name));
        let _ = fs::remove_file(&taken);
        if fs::hard_link(&made, &taken).is_err() {
            fs::copy(&made, &taken).with_context(|| format!("cannot write {}", taken.display()))?;
        }
        writeln!(
            out,
            "{}",
            json!({"reason": "compiler-artifact", "target": {"name": CELL}, "filenames": [taken]})
        )?;
        Ok(code(status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(all: &[&str]) -> Vec<OsString> {
        all.iter().map(OsString::from).collect()
    }

    fn set(name: &str, value: &str) -> (OsString, OsString) {
        (name.into(), value.into())
    }

    const BUILD: [&str; 4] = ["build", "--target", "x86_64-unknown-linux-gnu", "--message-format=json"];

    #[test]
    fn whatever_cargo_would_look_at_changes_the_state() {
        let folder = tempfile::tempdir().unwrap();
        let cell = folder.path().canonicalize().unwrap().join("cell");
        fs::create_dir_all(&cell).unwrap();
        let write = |dependencies: &str| {
            let text = format!("[package]\nname = \"ctx\"\n[dependencies]\n{dependencies}\n");
            fs::write(cell.join("Cargo.toml"), text).unwrap();
        };
        let library = format!("igpt = {{ path = \"{}/lib/kernel-lib\" }}", cell.display());
        let now = |arguments: &[&str], variable: &str| {
            state(&cell, &words(arguments), [set("A", variable)].into_iter())
        };
        write(&library);
        let first = now(&BUILD, "1").unwrap();
        assert_eq!(now(&BUILD, "1"), Some(first.clone()));
        assert_ne!(now(&BUILD, "2"), Some(first.clone()));
        assert_ne!(now(&BUILD[..3], "1"), Some(first.clone()));
        fs::write(cell.join("Cargo.lock"), "[[package]]").unwrap();
        let locked = now(&BUILD, "1").unwrap();
        assert_ne!(locked, first);
        write(&format!("{library}\nrand = \"0.9\""));
        assert!(now(&BUILD, "1").is_some_and(|state| state != locked));
        // Files that someone may change are cargo's business.
        write(&format!("{library}\nmine = {{ path = \"/home/me/mine\" }}"));
        assert_eq!(now(&BUILD, "1"), None);
        write("igpt = { path = \"/home/me/igpt/kernel-lib\" }");
        assert_eq!(now(&BUILD, "1"), None);
    }

    #[test]
    fn a_record_is_of_the_command_and_of_what_cargo_set() {
        let command = words(&["rustc", "--crate-name", "ctx", "--out-dir", "target/debug/deps"]);
        let environment =
            [set("HOME", "/home/me"), set("CARGO_PKG_NAME", "ctx"), set("LD_LIBRARY_PATH", "a:b")];
        let record = Record::of("s".into(), &command, environment.into_iter()).unwrap();
        assert_eq!(record.argument("--out-dir"), Some("target/debug/deps".into()));
        assert_eq!(record.argument("--crate-type"), None);
        let names: Vec<_> = record.environment.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["CARGO_PKG_NAME", "LD_LIBRARY_PATH"]);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }

    #[test]
    fn rustc_called_directly_says_what_cargo_would() {
        let folder = tempfile::tempdir().unwrap();
        let deps = folder.path().join("deps");
        fs::create_dir(&deps).unwrap();
        fs::write(deps.join("libctx.so"), "compiled").unwrap();
        let run = |script: &str| {
            let command = words(&["sh", "-c", script]);
            Record::of("s".into(), &command, std::iter::empty()).unwrap().compile(&deps).unwrap()
        };
        assert_eq!(format!("{:?}", run("exit 0")), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(fs::read_to_string(folder.path().join("libctx.so")).unwrap(), "compiled");
        fs::remove_file(folder.path().join("libctx.so")).unwrap();
        assert_eq!(format!("{:?}", run("exit 1")), format!("{:?}", ExitCode::from(1)));
        assert!(!folder.path().join("libctx.so").exists());
    }

    #[test]
    fn only_evcxrs_own_call_is_that_of_a_cell() {
        assert!(!is_of_a_cell(&words(&["check", "--target", "t", "--message-format=json"])));
        assert!(!is_of_a_cell(&words(&["build", "--release"])));
    }
}
