//! What a cell's code does as a plain Rust program: compiled by `rustc`, run in a process of its own. Nothing of the kernel
//! is used here, and nothing of this repository's crates.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    model::{Cell, Intent},
    verdict::{Seen, Verdict},
};

/// What each cell of the notebook does; an error says where the generator's idea of a cell is not what `rustc` says of it.
pub fn ask(cells: &[Cell], folder: &Path) -> Result<Vec<Seen>, String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    // Cells that compile are compiled together; that they do is for the compiler to say.
    let together: Vec<(usize, &Cell)> =
        cells.iter().enumerate().filter(|(_, cell)| cell.intent != Intent::Refused).collect();
    let program = folder.join("together");
    if !together.is_empty() {
        compile(&together, &program, false).map_err(|errors| explain(&together, &errors))?;
    }
    let mut seen = Vec::new();
    for (number, cell) in cells.iter().enumerate() {
        let found = match cell.intent {
            Intent::Refused => match compile(&[(number, cell)], &folder.join("alone"), true) {
                Ok(()) => return Err(format!("rustc compiles what it ought to refuse:\n{}", cell.source)),
                Err(_) => Seen {
                    verdict: Verdict::Refused,
                    stdout: String::new(),
                    stderr: String::new(),
                    value: None,
                    said: String::new(),
                },
            },
            _ => run(&program, number, folder)?,
        };
        let fits = matches!(
            (cell.intent, &found.verdict),
            (Intent::Ok, Verdict::Ok)
                | (Intent::Panic, Verdict::Panic(_))
                | (Intent::Error, Verdict::Error(_))
                | (Intent::Return, Verdict::Return)
                | (Intent::Refused, Verdict::Refused)
                | (Intent::Dies, Verdict::Died)
        );
        if !fits {
            return Err(format!("{:?} was meant, but it is {found:?}:\n{}", cell.intent, cell.source));
        }
        seen.push(found);
    }
    Ok(seen)
}

fn explain(cells: &[(usize, &Cell)], errors: &str) -> String {
    let sources: Vec<String> = cells
        .iter()
        .map(|(number, cell)| format!("--- [{number}] {:?}\n{}", cell.intent, cell.source))
        .collect();
    format!("rustc refuses what it ought to compile:\n{}\n{errors}", sources.join("\n"))
}

/// A program with a function for each cell. Its arguments: a cell's number, and a file for what became of it.
fn source(cells: &[(usize, &Cell)]) -> String {
    let mut source = String::from(FRAME);
    for (number, cell) in cells {
        let Cell { items, replay, body, tail, .. } = cell;
        let tail =
            tail.as_ref().map(|tail| format!("crate::oracle::value(&({tail}\n));")).unwrap_or_default();
        // The cell's own items are in a block, for variables of earlier cells are of the types of those. `;` ends what a
        // cell left without one.
        source.push_str(&format!(
            "mod cell_{number} {{\n{items}\npub fn the_cell_as_a_program() -> crate::oracle::Outcome {{\n{replay}\n{{\n{body}\n;{tail}\n}}\n\
             crate::oracle::end();\n::std::result::Result::Ok(())\n}}\n}}\n"
        ));
    }
    let arms: String = cells
        .iter()
        .map(|(number, _)| format!("        {number} => cell_{number}::the_cell_as_a_program(),\n"))
        .collect();
    source.push_str(&format!(
        "fn main() {{\n    oracle::run(|number| match number {{\n{arms}        _ => unreachable!(),\n    }})\n}}\n"
    ));
    source
}

const FRAME: &str = r#"#![allow(warnings)]
mod oracle {
    use std::{panic, sync::{Mutex, atomic::{AtomicBool, Ordering}}};
    pub type Outcome = std::result::Result<(), std::boxed::Box<dyn std::error::Error>>;
    static ENDED: AtomicBool = AtomicBool::new(false);
    static VALUE: Mutex<Option<String>> = Mutex::new(None);
    pub fn end() { ENDED.store(true, Ordering::SeqCst); }
    pub fn value(value: &dyn std::fmt::Debug) {
        let text = std::format!("{value:?}");
        if text != "()" { *VALUE.lock().unwrap() = Some(text); }
    }
    pub fn run(cell: impl Fn(usize) -> Outcome + panic::UnwindSafe) {
        let arguments: Vec<String> = std::env::args().collect();
        let number: usize = arguments[1].parse().unwrap();
        panic::set_hook(Box::new(|info| {
            let text = info.payload_as_str().unwrap_or("a panic whose payload is not text");
            std::eprintln!("thread 'a' panicked at a:1:1:\n{text}");
        }));
        let outcome = panic::catch_unwind(move || cell(number));
        let text = match outcome {
            Ok(Ok(())) if ENDED.load(Ordering::SeqCst) => match VALUE.lock().unwrap().take() {
                Some(value) => std::format!("ok\n{value}"),
                None => "ok".into(),
            },
            Ok(Ok(())) => "return".into(),
            Ok(Err(error)) => std::format!("error\n{error}"),
            Err(payload) => {
                let text = payload.downcast_ref::<String>().cloned();
                match text.or_else(|| payload.downcast_ref::<&str>().map(|text| text.to_string())) {
                    Some(text) => std::format!("panic\n{text}"),
                    None => "panic".into(),
                }
            }
        };
        use std::io::Write;
        let _ = std::io::stdout().flush();
        std::fs::write(&arguments[2], text).unwrap();
        // What destructors of statics and threads might do is no part of the cell.
        std::process::exit(0);
    }
}
"#;

/// Compiles; an error is what the compiler says.
fn compile(cells: &[(usize, &Cell)], program: &Path, only_check: bool) -> Result<(), String> {
    let file = program.with_extension("rs");
    fs::write(&file, source(cells)).map_err(|error| format!("{}: {error}", file.display()))?;
    let rustc = std::env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from);
    let mut command = Command::new(rustc);
    command.args(["--edition", "2024", "--crate-name", "cells", "-C", "debuginfo=0"]);
    command.args(["-C", "debug-assertions=on", "-o"]).arg(program).arg(&file);
    if only_check {
        command.arg("--emit=metadata");
    }
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("rustc: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// How long a cell may take as a program.
const LIMIT: Duration = Duration::from_secs(30);

fn run(program: &Path, number: usize, folder: &Path) -> Result<Seen, String> {
    let place = |name: &str| folder.join(format!("{number}.{name}"));
    let (outcome, stdout, stderr) = (place("outcome"), place("stdout"), place("stderr"));
    let _ = fs::remove_file(&outcome);
    let create = |path: &Path| fs::File::create(path).map_err(|error| format!("{}: {error}", path.display()));
    let mut child = Command::new(program)
        .arg(number.to_string())
        .arg(&outcome)
        .stdin(Stdio::null())
        .stdout(create(&stdout)?)
        .stderr(create(&stderr)?)
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let start = Instant::now();
    while child.try_wait().map_err(|error| error.to_string())?.is_none() {
        if start.elapsed() > LIMIT {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("cell {number} does not end as a program"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let read = |path: &Path| {
        fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    };
    let said = read(&outcome);
    let (kind, rest) = match said.split_once('\n') {
        Some((kind, rest)) => (kind, Some(rest.to_owned())),
        None => (said.as_str(), None),
    };
    let verdict = match kind {
        "ok" => Verdict::Ok,
        "return" => Verdict::Return,
        "error" => Verdict::Error(rest.clone().unwrap_or_default()),
        "panic" => Verdict::Panic(rest.clone()),
        _ => Verdict::Died,
    };
    let value = rest.filter(|_| verdict == Verdict::Ok);
    Ok(Seen { verdict, stdout: read(&stdout), stderr: read(&stderr), value, said: String::new() })
}
