//! One run in which every exit code occurs, with the fake kernel and with the real one: each notebook's end is told apart, and
//! the run's own exit code is the smallest, or 130.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use igpt_tests::{
    cell,
    fake_run::{self, Igpt},
    igpt, notebook_json, set_up,
};
use serde_json::{Value, json};

/// The kernel process of the fake run: this very test, started by `--kernel-command`.
#[test]
fn fake_kernel_process() {
    fake_run::be_the_kernel();
}

/// A cell for each end that a cell can bring about, as a kernel understands it.
struct Cells {
    prints_before: &'static str,
    prints_now: &'static str,
    fails: &'static str,
    dies: &'static str,
    sleeps: &'static str,
}

const FAKE: Cells = Cells {
    prints_before: "print before\\n",
    prints_now: "print now\\n",
    fails: "error panic at 3",
    dies: "die",
    sleeps: "sleep 100000000",
};

const REAL: Cells = Cells {
    prints_before: "println!(\"before\");",
    prints_now: "println!(\"now\");",
    fails: "panic!(\"at 3\");",
    dies: "std::process::abort();",
    sleeps: "std::thread::sleep(std::time::Duration::from_secs(100_000));",
};

/// The notebooks with what each comes to, and at last one that only a signal ends.
const ENDS: [(&str, u8, &str); 9] = [
    ("good", 0, "passed"),
    ("error", 1, "cell-failed"),
    ("no-raise", 1, "cell-failed"),
    ("python", 2, "cannot-run"),
    ("died", 3, "process-died"),
    ("slow", 4, "time-limit"),
    ("differs", 5, "differs"),
    ("unwritable", 6, "infrastructure"),
    ("endless", 130, "interrupted"),
];

fn write(igpt: &Igpt, cells: &Cells) {
    let committed = json!([{"output_type": "stream", "name": "stdout", "text": ["before\n"]}]);
    let with = |source: &str| cell(source).outputs(committed.clone());
    igpt.write("good", &[with(cells.prints_before)]);
    igpt.write("error", &[with(cells.fails)]);
    igpt.write("no-raise", &[with(cells.prints_before).tag("raises-exception")]);
    let python = notebook_json(&[cell("print(1)")]);
    let python = python.replace("\"rust\"", "\"python\"").replace("Rust (igpt)", "Python 3");
    fs::write(igpt.path().join("python.ipynb"), python).expect("a notebook can be written");
    igpt.write("died", &[with(cells.dies)]);
    igpt.write("slow", &[with(cells.sleeps).tag("timeout:1s")]);
    igpt.write("differs", &[with(cells.prints_now)]);
    igpt.write("unwritable", &[with(cells.prints_before)]);
    // A folder is where the executed notebook has to be.
    fs::create_dir_all(igpt.path().join("out/unwritable.ipynb/in the way")).expect("a folder can be made");
    igpt.write("endless", &[with(cells.prints_before), with(cells.sleeps)]);
}

/// What a run told of its end: of each notebook, and its own.
#[derive(Debug, Default)]
struct Told {
    notebooks: BTreeMap<String, (u64, String)>,
    run: Option<(u64, String)>,
    code: Option<i32>,
}

/// Runs these notebooks, and sends the signal of Ctrl-C when `endless` is at its second cell and the others are through.
fn run(mut command: Command, names: &[&str]) -> Told {
    command.args(names.iter().map(|name| format!("{name}.ipynb"))).args(["--check", "--json"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.expect("igpt can be started");
    let (mut told, mut is_endless) = (Told::default(), false);
    let end = |event: &Value| {
        let verdict = event["verdict"].as_str().expect("a verdict").to_owned();
        (event["exit_code"].as_u64().expect("an exit code"), verdict)
    };
    for line in BufReader::new(child.stdout.take().expect("a pipe")).lines() {
        let event: Value = serde_json::from_str(&line.expect("a line")).expect("an event is JSON");
        let notebook = Path::new(event["notebook"].as_str().unwrap_or_default());
        let name = notebook.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match event["event"].as_str() {
            Some("cell") if name == "endless" && event["cell"] == 1 => is_endless = true,
            Some("notebook-finished") => {
                let before = told.notebooks.insert(name.clone(), end(&event));
                assert_eq!(before, None, "{name} ends once");
            }
            Some("run-finished") => told.run = Some(end(&event)),
            _ => {}
        }
        if is_endless && told.notebooks.len() == names.len() - 1 {
            is_endless = false;
            let id = rustix::process::Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
            rustix::process::kill_process(id.expect("a process id"), rustix::process::Signal::INT)
                .expect("igpt can be signalled");
        }
    }
    told.code = child.wait().expect("igpt ends").code();
    told
}

/// Runs notebooks and compares the end of each, and that of the run, which has to be `expected`.
fn check(command: Command, ends: &[(&str, u8, &str)], expected: (u8, &str)) {
    let names: Vec<&str> = ends.iter().map(|(name, ..)| *name).collect();
    let told = run(command, &names);
    println!("{told:?}");
    for (name, code, verdict) in ends {
        assert_eq!(told.notebooks.get(*name), Some(&(u64::from(*code), (*verdict).to_owned())), "{name}");
    }
    assert_eq!(told.notebooks.len(), ends.len());
    assert_eq!(told.run, Some((u64::from(expected.0), expected.1.to_owned())), "{names:?}");
    assert_eq!(told.code, Some(expected.0.into()), "{names:?}");
}

#[test]
fn every_exit_code_occurs_in_one_run_of_the_fake_kernel() {
    let igpt = Igpt::new();
    write(&igpt, &FAKE);
    check(igpt.command(&[]), &ENDS, (130, "interrupted"));
    // Without the signal the smallest wins, and without that the next one.
    let mut ends = ENDS[..8].to_vec();
    let mut won = Vec::new();
    loop {
        let smallest = ends.iter().filter(|end| end.1 > 0).min_by_key(|end| end.1);
        let expected = smallest.map_or((0, "passed"), |end| (end.1, end.2));
        check(igpt.command(&["--jobs", "4"]), &ends, expected);
        won.push(expected.0);
        if expected.0 == 0 {
            break;
        }
        ends.retain(|end| end.1 != expected.0);
    }
    assert_eq!(won, [1, 2, 3, 4, 5, 6, 0]);
}

/// Seven kernels start, which is what takes the time: one after the other six minutes were seen, at the lowest priority on two cores
/// with eight processes at work.
#[test]
fn every_exit_code_occurs_in_one_run_of_the_real_kernel() {
    set_up();
    let folder = Igpt::new();
    write(&folder, &REAL);
    let began = Instant::now();
    let mut command = igpt();
    command.args(["run", "--jobs", "2", "--out", "out"]).current_dir(folder.path()).stdin(Stdio::null());
    for name in ["GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "IGPT_FAKE_KERNEL"] {
        command.env_remove(name);
    }
    check(command, &ENDS, (130, "interrupted"));
    println!("{:.0} s", began.elapsed().as_secs_f64());
}
