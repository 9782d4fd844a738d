//! Compiling a cell without asking cargo again. evcxr has `cargo build` compile each cell, and cargo then reads the
//! manifests of 200 crates and compares the times of all their files, only to call rustc with the same arguments as
//! before: half of the time of a short cell.
//!
//! So the first cell is compiled by cargo, whose call of rustc is recorded; after that rustc is called directly, for as
//! long as nothing on which cargo's answer depends is different: manifest, lock file, configuration, environment, and
//! arguments. Dependencies that are folders, which may change, are left to cargo, but for the library: a kernel has
//! its own copy of that, which nobody changes.
//!
//! The records stay in the slot, for the kernels that have it later: a kernel compiles twice before it is ready. If rustc refuses a cell by
//! the record of an earlier kernel, cargo is asked after all: what was compiled then may be gone.

use std::{
    env::{
        self,
        consts::{DLL_PREFIX, DLL_SUFFIX},
    },
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

use super::{LIBRARY, PROGRAM, REAL_HOME, RECORDER, code, instrument::instrument, own_bin};
use crate::{
    environment::{LAUNCH, LIBRARY_PATHS},
    slot::{self, RECORDS},
};

/// evcxr's name of a cell.
pub(super) const CELL: &str = "ctx";
/// How many records are kept: each `:dep` makes another state.
const KEPT: usize = 16;
/// evcxr's variable for its own wrapper of rustc, when it compiles a cell and not when it checks one.
const SO_PATH: &str = "EVCXR_EXECUTION_SO_PATH";
/// Where what comes of a check is thrown.
const CHECKED: &str = "target/igpt-checked";
/// Tells the recorder the state in which cargo was called.
const STATE: &str = "IGPT_CARGO_STATE";

/// How cargo called rustc.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct RustcCall {
    /// The kernel in which it was recorded, or used last.
    session: String,
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
    if let Some(refused) = instrument(Path::new("."))? {
        return refuse(&refused);
    }
    let state = state(Path::new("."), arguments, env::vars_os());
    let records = Path::new(RECORDS);
    if let Some(state) = &state
        && let Some(record) = RustcCall::read(records, state)
        && let Some(folder) = record.argument("--out-dir")
        && let Some(code) = record.compile(&folder, session(), records, state)?
    {
        return Ok(code);
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

/// The kernel for which this program runs.
fn session() -> String {
    env::var(PROGRAM).unwrap_or_default()
}

/// Whether these are the arguments with which evcxr has a cell checked, to explain what rust-analyzer did not understand.
pub fn is_check_of_a_cell(arguments: &[OsString]) -> bool {
    arguments.first().is_some_and(|first| first == "check") && is_of_a_cell(&as_build(arguments))
}

fn as_build(arguments: &[OsString]) -> Vec<OsString> {
    [OsString::from("build")].into_iter().chain(arguments.iter().skip(1).cloned()).collect()
}

/// Checks the cell in this folder. cargo would check all crates of the graph first, for it cannot use what was compiled:
/// a minute and more, in each new slot.
///
/// # Errors
/// If neither cargo nor rustc can be started.
pub fn check(cargo: &Path, arguments: &[OsString]) -> Result<ExitCode> {
    let state = state(Path::new("."), &as_build(arguments), env::vars_os());
    match state.and_then(|state| RustcCall::read(Path::new(RECORDS), &state)) {
        Some(record) => Ok(code(record.run(&record.arguments_of_a_check()?, &mut std::io::stdout())?)),
        None => Err(Command::new(cargo).args(arguments).exec()).context("cannot start cargo"),
    }
}

/// Says to evcxr that the cell does not compile.
fn refuse(reason: &str) -> Result<ExitCode> {
    let message = json!({"message": reason, "code": null, "level": "error", "spans": [], "children": [], "rendered": reason});
    println!("{}", of_compiler(&message));
    Ok(ExitCode::from(101))
}

/// A message of the compiler as cargo passes it on.
fn of_compiler(message: &Value) -> Value {
    json!({"reason": "compiler-message", "target": {"name": CELL}, "message": message})
}

/// `igpt rustc PROGRAM …`: calls this rustc, and records it if it compiles a cell.
///
/// # Errors
/// If rustc cannot be started.
pub fn rustc(command: &[OsString]) -> Result<ExitCode> {
    let [program, arguments @ ..] = command else { bail!("no compiler was named") };
    let state = env::var(STATE).unwrap_or_default();
    if !state.is_empty()
        && let Some(record) = RustcCall::of(session(), command, env::vars_os())
        && record.argument("--crate-name").is_some_and(|name| name.as_os_str() == CELL)
        && record.command.iter().any(|argument| argument.starts_with("--emit=") && argument.contains("link"))
    {
        // A record that cannot be written costs time, and nothing else.
        let _ = record.keep(Path::new(RECORDS), &state);
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
    // What evcxr tells its own wrapper of rustc differs between compiling a cell and checking it. What a Jupyter server sets for each
    // kernel comes late to an evcxr that was kept ready, and most of our own variables are for cells, or name a process; cargo does not
    // look at them, and rustc gets them with the rest.
    let is_of_no_matter = |name: &OsString| {
        let is_ours =
            name.as_encoded_bytes().starts_with(b"IGPT_") && name != REAL_HOME && name != slot::LIBRARY;
        name == SO_PATH || LAUNCH.iter().any(|launch| *name == **launch) || is_ours
    };
    let mut environment: Vec<_> = environment.filter(|(name, _)| !is_of_no_matter(name)).collect();
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

/// At an `.await` outside of `async`, evcxr would fetch and build a runtime by itself, without being asked, and without a
/// network try that for a long time. Without the error's code it does not recognise it.
fn hide_await(message: &mut Value) {
    if message["code"]["code"] == "E0728" {
        message["code"] = Value::Null;
    }
}

impl RustcCall {
    /// None if something is not Unicode.
    fn of(
        session: String,
        command: &[OsString],
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Option<Self> {
        let command = command.iter().map(|argument| argument.to_str().map(str::to_owned));
        // What else is set was set before cargo was called, and is part of the state.
        let of_cargo = environment.filter(|(name, _)| {
            // Whoever has none of cargo's tokens for parallel work is not told where they are.
            name.to_str().is_some_and(|name| {
                (name.starts_with("CARGO_") && name != "CARGO_MAKEFLAGS") || LIBRARY_PATHS.contains(&name)
            })
        });
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Some(Self {
            session,
            command: command.collect::<Option<_>>()?,
            environment: of_cargo.map(text).collect::<Option<_>>()?,
        })
    }

    /// What follows this argument.
    fn argument(&self, name: &str) -> Option<PathBuf> {
        let place = self.command.iter().position(|argument| argument == name)?;
        self.command.get(place + 1).map(PathBuf::from)
    }

    /// The one of this state.
    fn read(records: &Path, state: &str) -> Option<Self> {
        serde_json::from_slice(&fs::read(records.join(state)).ok()?).ok()
    }

    /// Keeps it for this state.
    fn keep(&self, records: &Path, state: &str) -> Result<()> {
        fs::create_dir_all(records)?;
        if fs::read_dir(records)?.count() >= KEPT {
            fs::remove_dir_all(records)?;
            fs::create_dir_all(records)?;
        }
        let mut file = tempfile::NamedTempFile::new_in(records)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.persist(records.join(state))?;
        Ok(())
    }

    /// The arguments with which rustc only checks a cell, by what was compiled for others.
    fn arguments_of_a_check(&self) -> Result<Vec<String>> {
        fs::create_dir_all(CHECKED).with_context(|| format!("cannot write {CHECKED}"))?;
        let mut arguments = Vec::new();
        let mut all = self.command.iter().skip(1).peekable();
        while let Some(argument) = all.next() {
            let next = all.peek().map(|next| next.as_str()).unwrap_or_default();
            match argument.as_str() {
                "--out-dir" => {
                    arguments.extend([argument.clone(), CHECKED.to_owned()]);
                    all.next();
                }
                // Notes for the next compilation are of no use for this one, and this one's would harm it.
                "-C" if next.starts_with("incremental=") => _ = all.next(),
                emit if emit.starts_with("--emit=") => arguments.push("--emit=metadata".into()),
                _ => arguments.push(argument.clone()),
            }
        }
        Ok(arguments)
    }

    /// Calls rustc with these arguments, and says what cargo would say of its errors. Not of its warnings: where
    /// there is an error, evcxr shows them as errors.
    fn run(&self, arguments: &[String], out: &mut impl std::io::Write) -> Result<std::process::ExitStatus> {
        let program = self.command.first().context("an empty record")?;
        let mut rustc = Command::new(program);
        rustc.args(arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        let mut rustc = rustc.stderr(Stdio::piped()).spawn().context("cannot start rustc")?;
        for line in BufReader::new(rustc.stderr.take().context("rustc has no stderr")?).split(b'\n') {
            let line = line?;
            match serde_json::from_slice::<Value>(&line) {
                Ok(mut message) if message["$message_type"] == "diagnostic" => {
                    if message["level"] == "error" {
                        hide_await(&mut message);
                        writeln!(out, "{}", of_compiler(&message))?;
                    }
                }
                // Artifacts, and reports of what future compilers will refuse.
                Ok(message) if message.is_object() => {}
                _ => writeln!(std::io::stderr(), "{}", String::from_utf8_lossy(&line))?,
            }
        }
        rustc.wait().context("rustc cannot be waited for")
    }

    /// Calls rustc as cargo did, for the kernel `session`, and says on stdout what cargo would say. `folder` is where rustc's output goes.
    /// None if cargo is to be asked after all, for this is the record of another kernel, and rustc refuses the cell.
    fn compile(
        mut self,
        folder: &Path,
        session: String,
        records: &Path,
        state: &str,
    ) -> Result<Option<ExitCode>> {
        let mut said = Vec::new();
        let status = self.run(self.command.get(1..).unwrap_or_default(), &mut said)?;
        if self.session != session {
            if !status.success() {
                let _ = fs::remove_file(records.join(state));
                return Ok(None);
            }
            self.session = session;
            let _ = self.keep(records, state);
        }
        std::io::stdout().write_all(&said)?;
        if !status.success() {
            return Ok(Some(code(status)));
        }
        // As cargo does: the library lies one folder higher, too, where evcxr takes it away.
        let name = format!("{DLL_PREFIX}{CELL}{DLL_SUFFIX}");
        let (made, taken) = (folder.join(&name), folder.with_file_name(&name));
        let _ = fs::remove_file(&taken);
        if fs::hard_link(&made, &taken).is_err() {
            fs::copy(&made, &taken).with_context(|| format!("cannot write {}", taken.display()))?;
        }
        println!(
            "{}",
            json!({"reason": "compiler-artifact", "target": {"name": CELL}, "filenames": [taken]})
        );
        Ok(Some(code(status)))
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
        let check = words(&["check", BUILD[1], BUILD[2], BUILD[3]]);
        assert!(is_check_of_a_cell(&check) || !Path::new("src/lib.rs").is_file());
        let of_a_check = state(&cell, &as_build(&check), [set("A", "1")].into_iter());
        let with_path = state(&cell, &words(&BUILD), [set("A", "1"), set(SO_PATH, "x")].into_iter());
        assert_eq!((of_a_check, with_path), (Some(first.clone()), Some(first.clone())));
        let in_notebook =
            [set("A", "1"), set("JPY_SESSION_NAME", "a.ipynb"), set("IGPT_JOURNAL", "j")].into_iter();
        assert_eq!(state(&cell, &words(&BUILD), in_notebook), Some(first.clone()));
        // Another library in the same slot.
        let library_of = |library: &str| {
            state(&cell, &words(&BUILD), [set("A", "1"), set(slot::LIBRARY, library)].into_iter())
        };
        assert_ne!(library_of("f"), library_of("g"));
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
        let environment = [
            set("HOME", "/home/me"),
            set("CARGO_MAKEFLAGS", "-j"),
            set("CARGO_PKG_NAME", "ctx"),
            set("LD_LIBRARY_PATH", "a:b"),
        ];
        let record = RustcCall::of("s".into(), &command, environment.into_iter()).unwrap();
        assert_eq!(record.argument("--out-dir"), Some("target/debug/deps".into()));
        assert_eq!(record.argument("--crate-type"), None);
        let names: Vec<_> = record.environment.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["CARGO_PKG_NAME", "LD_LIBRARY_PATH"]);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<RustcCall>(&text).unwrap(), record);
    }

    #[test]
    fn a_check_leaves_no_trace_where_cells_are_compiled() {
        let all = [
            "rustc",
            "--crate-name",
            "ctx",
            "--emit=dep-info,link",
            "-C",
            "opt-level=2",
            "--out-dir",
            "/deps",
            "-C",
            "incremental=/notes",
        ];
        let record = RustcCall::of("s".into(), &words(&all), std::iter::empty()).unwrap();
        let arguments = record.arguments_of_a_check().unwrap();
        assert_eq!(
            arguments,
            ["--crate-name", "ctx", "--emit=metadata", "-C", "opt-level=2", "--out-dir", CHECKED]
        );
        let _ = fs::remove_dir(CHECKED);
        let mut message = json!({"code": {"code": "E0728"}, "message": "await"});
        hide_await(&mut message);
        assert_eq!(message, json!({"code": null, "message": "await"}));
    }

    #[test]
    fn rustc_called_directly_says_what_cargo_would() {
        let folder = tempfile::tempdir().unwrap();
        let deps = folder.path().join("deps");
        fs::create_dir(&deps).unwrap();
        let library = format!("{DLL_PREFIX}{CELL}{DLL_SUFFIX}");
        fs::write(deps.join(&library), "compiled").unwrap();
        let records = folder.path().join("records");
        let run = |script: &str, recorded_in: &str| {
            let call = RustcCall::of(recorded_in.into(), &words(&["sh", "-c", script]), std::iter::empty());
            call.as_ref().unwrap().keep(&records, "state").unwrap();
            let code = call.unwrap().compile(&deps, "own".into(), &records, "state").unwrap();
            (
                code.map(|code| format!("{code:?}")),
                RustcCall::read(&records, "state").map(|record| record.session),
            )
        };
        let [well, badly] = [0, 1].map(|code| Some(format!("{:?}", ExitCode::from(code))));
        let own = Some("own".to_owned());
        assert_eq!(run("exit 0", "own"), (well.clone(), own.clone()));
        assert_eq!(fs::read_to_string(folder.path().join(&library)).unwrap(), "compiled");
        fs::remove_file(folder.path().join(&library)).unwrap();
        assert_eq!(run("exit 1", "own"), (badly, own.clone()));
        assert!(!folder.path().join(&library).exists());
        // The record of an earlier kernel: from now on this one's, or none.
        assert_eq!(run("exit 0", "other"), (well, own));
        assert_eq!(run("exit 1", "other"), (None, None));
    }

    #[test]
    fn only_so_many_records_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let call = RustcCall::of("s".into(), &words(&["rustc"]), std::iter::empty()).unwrap();
        for state in 0..3 * KEPT {
            call.keep(folder.path(), &state.to_string()).unwrap();
            assert_eq!(RustcCall::read(folder.path(), &state.to_string()).as_ref(), Some(&call));
        }
        assert!(fs::read_dir(folder.path()).unwrap().count() <= KEPT);
        assert_eq!(RustcCall::read(folder.path(), "0"), None);
    }

    #[test]
    fn only_evcxrs_own_call_is_that_of_a_cell() {
        assert!(!is_of_a_cell(&words(&["check", "--target", "t", "--message-format=json"])));
        assert!(!is_of_a_cell(&words(&["build", "--release"])));
    }
}
