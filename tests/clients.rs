//! Four clients that know nothing of each other agree on which notebooks fail, because the kernel tells the truth:
//! our runner, nbconvert, papermill and nbval. One notebook per fault, but for nbval, which goes on behind a cell that fails;
//! see docs/clients.md for what came out.
//!
//!     cargo test --workspace four_clients_agree -- --ignored --nocapture       # with CLIENTS_ONLY=panic,exit only these notebooks

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use igpt_tests::{
    Cell,
    cases::{FAULTS, Fault, GOOD, IN_NBCONVERT},
    cell, igpt, jupyter, jupyter_data, nbval, set_up, write_notebook,
};

/// What a notebook must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Passes,
    /// With this error's name in what the client says.
    Fails(&'static str),
    /// Like `Fails`, by papermill only: it takes any error in an output for a failure, whatever the cell's tags.
    FailsInPapermill(&'static str),
}

/// A way to execute a notebook, whose exit status is its verdict.
struct Client {
    name: &'static str,
    command: fn(tools: &Path, notebook: &str) -> Command,
}

const NBVAL: &str = "nbval";

const CLIENTS: [Client; 4] = [
    Client {
        name: "igpt run",
        command: |_tools, notebook| {
            let mut command = igpt();
            command.args(["run", notebook, "--out", &format!("out-{notebook}")]);
            command
        },
    },
    Client {
        name: "nbconvert",
        command: |tools, notebook| {
            let mut command = Command::new(tools.join("jupyter-nbconvert"));
            command.args([
                "--to",
                "notebook",
                "--execute",
                "--output",
                &format!("nbconvert-{notebook}"),
                notebook,
            ]);
            command
        },
    },
    Client {
        name: "papermill",
        command: |tools, notebook| {
            let mut command = Command::new(tools.join("papermill"));
            command.args(["--no-progress-bar", notebook, &format!("papermill-{notebook}")]);
            command
        },
    },
    Client { name: NBVAL, command: |tools, notebook| nbval::command(&tools.join("pytest"), notebook) },
];

/// What one client said of one notebook.
struct Verdict {
    passed: bool,
    said: String,
}

/// What is executed at once.
enum Task<'a> {
    /// A notebook in a client.
    One(&'a str, &'a Client),
    /// All faults in nbval, which goes on behind a cell that fails: in one notebook.
    InNbval(Vec<&'a Fault>),
}

fn cells_of(fault: &Fault) -> [Cell; 3] {
    [cell("let earlier = 1;"), cell(fault.source), cell("println!(\"after\");")]
}

/// What nbval says of each fault. The second cell of each has to fail and the others to pass.
fn in_nbval(tools: &Path, folder: &Path, faults: &[&Fault]) -> Vec<Verdict> {
    let cells: Vec<Cell> = faults.iter().flat_map(|fault| cells_of(fault)).collect();
    write_notebook(folder, "all_faults", &cells);
    let said = nbval::Said::of(&tools.join("pytest"), folder, "all_faults.ipynb");
    println!("{}", said.text);
    let verdict = |number: usize| {
        let failure = said.failure(3 * number + 1);
        let beside = said.passes(3 * number) && said.passes(3 * number + 2);
        let text = if beside { failure.unwrap_or_default() } else { "a cell beside it did not pass" };
        Verdict { passed: said.success || failure.is_none(), said: text.to_owned() }
    };
    (0..faults.len()).map(verdict).collect()
}

fn ask(client: &Client, tools: &Path, folder: &Path, notebook: &str) -> Verdict {
    let mut command = (client.command)(tools, notebook);
    command.current_dir(folder).env("JUPYTER_DATA_DIR", jupyter_data());
    let output =
        command.output().unwrap_or_else(|error| panic!("{} cannot be started: {error}", client.name));
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Verdict { passed: output.status.success(), said }
}

fn notebooks(folder: &Path) -> Vec<(String, Wanted)> {
    let mut all = Vec::new();
    let mut add = |name: &str, cells: &[_], wanted| {
        write_notebook(folder, name, cells);
        all.push((format!("{name}.ipynb"), wanted));
    };
    let good: Vec<_> =
        GOOD.iter().flat_map(|(_, sources)| sources.iter().map(|source| cell(*source))).collect();
    add("good", &good, Wanted::Passes);
    let expected =
        [cell("let index = 3;\nvec![1, 2][index];").tag("raises-exception"), cell("println!(\"after\");")];
    add("raises_exception", &expected, Wanted::FailsInPapermill("panic"));
    // An endless cell would test the clients' clocks.
    for fault in FAULTS.iter().filter(|fault| fault.name != "hang") {
        add(fault.name, &cells_of(fault), Wanted::Fails(fault.ename));
    }
    all
}

/// Pairs that other tests execute with the very same cells: all faults in our runner (`faults.rs`), the first ones in nbconvert
/// (`nbconvert.rs`). nbconvert and papermill both execute by nbclient: the other faults are executed in papermill alone, and of
/// the first ones only one of each kind of end. CLIENTS_ALL=1 executes all pairs here.
fn runs_elsewhere(notebook: &str, client: &str) -> bool {
    let Some(number) = number_of_fault(notebook) else { return false };
    let is_first_of_its_kind =
        || FAULTS.iter().position(|fault| fault.ename == FAULTS[number].ename) == Some(number);
    match client {
        "igpt run" | "nbconvert" => true,
        "papermill" => number < IN_NBCONVERT && !is_first_of_its_kind(),
        _ => false,
    }
}

fn number_of_fault(notebook: &str) -> Option<usize> {
    FAULTS.iter().position(|fault| notebook == format!("{}.ipynb", fault.name))
}

#[test]
#[ignore = "minutes; run by .ci/run"]
fn four_clients_agree() {
    let Some(jupyter) = jupyter() else { return };
    set_up();
    let tools = jupyter.parent().expect("a folder").canonicalize().expect("the folder of Jupyter's programs");
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("four clients");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder for the notebooks");
    let mut notebooks = notebooks(&folder);
    if let Ok(only) = std::env::var("CLIENTS_ONLY") {
        notebooks.retain(|(name, _)| only.split(',').any(|wanted| name == &format!("{wanted}.ipynb")));
        assert!(!notebooks.is_empty(), "CLIENTS_ONLY={only} names no notebook");
    }
    let mut pairs: Vec<(&str, &Client)> = notebooks
        .iter()
        .flat_map(|(notebook, _)| CLIENTS.iter().map(move |client| (notebook.as_str(), client)))
        .collect();
    if std::env::var_os("CLIENTS_ALL").is_none() {
        pairs.retain(|(notebook, client)| !runs_elsewhere(notebook, client.name));
    }
    // What takes longest is first.
    let mut tasks = Vec::new();
    let faults: Vec<&Fault> =
        notebooks.iter().filter_map(|(notebook, _)| FAULTS.get(number_of_fault(notebook)?)).collect();
    if !faults.is_empty() {
        tasks.push(Task::InNbval(faults));
        pairs.retain(|(notebook, client)| client.name != NBVAL || number_of_fault(notebook).is_none());
    }
    tasks.extend(pairs.into_iter().map(|(notebook, client)| Task::One(notebook, client)));
    let (next, verdicts) = (AtomicUsize::new(0), Mutex::new(Vec::<((String, &str), Verdict)>::new()));
    let start = Instant::now();
    // Two kernels at once: more would wait for each other's compilers, and clients have clocks.
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(task) = tasks.get(number) else { return };
                    let begun = Instant::now();
                    let found: Vec<((String, &str), Verdict)> = match task {
                        Task::One(notebook, client) => {
                            let verdict = ask(client, &tools, &folder, notebook);
                            vec![(((*notebook).to_owned(), client.name), verdict)]
                        }
                        Task::InNbval(faults) => {
                            let names = faults.iter().map(|fault| (format!("{}.ipynb", fault.name), NBVAL));
                            names.zip(in_nbval(&tools, &folder, faults)).collect()
                        }
                    };
                    for ((notebook, client), verdict) in &found {
                        let word = if verdict.passed { "passes" } else { "fails" };
                        println!("{notebook} {word} in {client} ({:.0} s)", begun.elapsed().as_secs_f64());
                    }
                    verdicts.lock().expect("no verdict panicked").extend(found);
                }
            });
        }
    });
    let verdicts: HashMap<(String, &str), Verdict> =
        verdicts.into_inner().expect("no verdict panicked").into_iter().collect();

    let (mut table, mut wrong) = (String::new(), String::new());
    for (name, wanted) in &notebooks {
        let _ = write!(table, "| {:25} |", name.trim_end_matches(".ipynb"));
        for client in &CLIENTS {
            let Some(verdict) = verdicts.get(&(name.clone(), client.name)) else {
                let _ = write!(table, " {:9} |", "elsewhere");
                continue;
            };
            let ename = match wanted {
                Wanted::Passes => None,
                Wanted::Fails(ename) => Some(ename),
                Wanted::FailsInPapermill(ename) => (client.name == "papermill").then_some(ename),
            };
            let as_wanted = match ename {
                None => verdict.passed,
                Some(ename) => !verdict.passed && verdict.said.contains(ename),
            };
            let word = if verdict.passed { "passes" } else { "fails" };
            let _ = write!(table, " {:9} |", if as_wanted { word.into() } else { format!("{word} !!!") });
            if !as_wanted {
                let _ = writeln!(wrong, "{name} in {}, wanted {wanted:?}:\n{}\n", client.name, verdict.said);
            }
        }
        table.push('\n');
    }
    let heads: String = CLIENTS.iter().map(|client| format!(" {:9} |", client.name)).collect();
    println!("| {:25} |{heads}\n{table}{} runs in {:.0} s", "", tasks.len(), start.elapsed().as_secs_f64());
    assert!(wrong.is_empty(), "{wrong}");
}
