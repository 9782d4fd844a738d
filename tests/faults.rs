//! Whatever a cell does, the run tells the truth about it. Each fault has a near-identical twin that is none.
//!
//! Kernels need ten seconds to start, so all notebooks are executed in one command, several at once, in a folder with a
//! space in its name; each test looks at its own notebook.

use std::{fs, path::PathBuf, sync::OnceLock};

use igpt_notebooks::run::text::strip_ansi;
use igpt_tests::{
    Cell, Executed,
    cases::{FAULTS, TWINS},
    cell, igpt, set_up, write_notebook,
};

struct Ran {
    folder: PathBuf,
    stdout: String,
    success: bool,
}

impl Ran {
    fn notebook(&self, name: &str) -> Executed {
        Executed::read(&self.folder.join("out").join(format!("{name}.ipynb")))
    }

    /// The line of the summary table.
    fn verdict(&self, name: &str) -> &str {
        let table = self.stdout.split("notebook ").last().unwrap_or_default();
        let line = table.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.unwrap_or_else(|| panic!("{name} is not in the summary:\n{}", self.stdout))
    }
}

fn ran() -> &'static Ran {
    static RAN: OnceLock<Ran> = OnceLock::new();
    RAN.get_or_init(|| {
        set_up();
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("faults and twins");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder for the notebooks");
        let mut names: Vec<String> = Vec::new();
        let mut add = |name: &str, cells: &[Cell]| {
            write_notebook(&folder, name, cells);
            names.push(format!("{name}.ipynb"));
        };
        // The longest one is first.
        let twins: Vec<Cell> = TWINS.iter().map(|(_, source)| cell(*source)).collect();
        add("twins", &twins);
        add(
            "raises",
            &[
                cell("vec![1, 2][3 - 0 * std::process::id() as usize];").tag("raises-exception"),
                cell("\"x\".parse::<i32>()?;").tag("raises-exception").tag("raises-exception:error"),
                cell("std::process::abort();").tag("raises-exception:process-died"),
                cell("let a: u8 = \"\";").tag("raises-exception:compile-error"),
                cell("println!(\"after\");"),
            ],
        );
        add("gradient", &gradient_cells());
        add("checked", &CHECKED.map(cell));
        for fault in &FAULTS {
            add(fault.name, &[cell("let earlier = 1;"), cell(fault.source), cell("println!(\"after\");")]);
        }
        let output = igpt()
            .args(["run", "--jobs", "3", "--timeout", "20s", "--out", "out"])
            .args(&names)
            .current_dir(&folder)
            .output()
            .expect("igpt runs");
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
        Ran { folder, stdout, success: output.status.success() }
    })
}

/// Of which the outputs are compared with the next run's.
const CHECKED: [&str; 2] = ["println!(\"{}\", 6 * 7);", "6 * 7"];

fn gradient_cells() -> [Cell; 4] {
    [
        cell("let a = Var::new(2f32, &Device::Cpu)?;"),
        cell("let b = Var::new(3f32, &Device::Cpu)?;"),
        cell("let loss = a.mul(&b)?;\nlet gradients = loss.backward()?;"),
        cell(
            "let of_a = gradients.get(&a).map(|g| g.to_scalar::<f32>()).transpose()?;\n\
             let of_b = gradients.get(&b).map(|g| g.to_scalar::<f32>()).transpose()?;\n\
             println!(\"{of_a:?} {of_b:?}\");",
        ),
    ]
}

/// Looks at the notebook of a fault.
fn check(name: &str) {
    let fault = FAULTS.iter().find(|fault| fault.name == name).expect("a fault of this name");
    let ran = ran();
    assert!(!ran.success, "the command must fail when a notebook fails");
    let notebook = ran.notebook(name);
    let (ename, evalue, traceback) = notebook.error(2);
    assert_eq!(ename, fault.ename, "{evalue}");
    assert!(evalue.contains(fault.evalue), "{evalue}");
    if fault.line {
        let traceback = strip_ansi(&traceback);
        assert!(traceback.contains("cell [2], line 2"), "{traceback}");
        let faulty = fault.source.lines().nth(1).expect("a second line");
        assert!(traceback.contains(faulty.trim_end_matches(';')), "{traceback}");
    }
    assert!(!notebook.stream(2, "stdout").contains("not here"), "{:?}", notebook.outputs(2));
    if fault.source.contains("before") {
        assert_eq!(notebook.stream(2, "stdout"), "before\n");
    }
    assert!(notebook.outputs(3).is_empty(), "a cell behind the failure ran");
    let verdict = ran.verdict(name);
    assert!(verdict.contains("2/3") && verdict.contains("failed at cell 2"), "{verdict}");
}

macro_rules! faults {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { check(stringify!($name)); })*

        #[test]
        fn every_fault_is_tested() {
            assert_eq!(FAULTS.map(|fault| fault.name), [$(stringify!($name)),*]);
        }
    };
}

faults! {
    panic,
    failed_assert,
    question_mark_in_a_let,
    question_mark_in_the_last_expression,
    question_mark_in_the_middle,
    compile_error,
    exit,
    abort,
    stack_overflow,
    hang,
    killed_child,
    killed_evcxr,
    panic_in_a_joined_thread,
    out_of_memory,
}

#[test]
fn what_only_looks_bad_passes() {
    let ran = ran();
    let notebook = ran.notebook("twins");
    for (index, (name, source)) in TWINS.iter().enumerate() {
        let errors = notebook.outputs(index + 1).iter().filter(|o| o["output_type"] == "error").count();
        assert_eq!(errors, 0, "{name}: {source}: {:?}", notebook.outputs(index + 1));
    }
    let verdict = ran.verdict("twins");
    assert!(verdict.contains("19/19") && verdict.ends_with("passed"), "{verdict}");
    let of = |name: &str| TWINS.iter().position(|(twin, _)| *twin == name).expect("a twin") + 1;
    assert_eq!(notebook.stream(of("line left open"), "stdout"), "open");
    let shown = &notebook.outputs(of("a value that uses up a variable"))[0]["data"];
    assert!(
        shown["text/html"].to_string().contains("<table")
            && shown["text/plain"].to_string().contains("noted")
    );
    assert!(notebook.stream(of("words on stderr"), "stderr").ends_with("error: EVCXR_PANIC_NOTIFICATION\n"));
    let all: String = (0..3000).map(|i| format!("{i}\n")).collect();
    assert_eq!(notebook.stream(of("many words"), "stdout"), all);
    assert_eq!(notebook.stream(of("many words"), "stderr"), all);
    // A panic that was caught is still told, as in any Rust program, with its place in the cell.
    let told = notebook.stream(of("caught panic"), "stderr");
    assert!(told.contains("panicked at cell [2]:2:"), "{told}");
}

#[test]
fn an_expected_error_is_no_failure() {
    let ran = ran();
    let notebook = ran.notebook("raises");
    assert_eq!(notebook.error(1).0, "panic");
    let names: Vec<_> = (2..=4).map(|number| notebook.error(number).0).collect();
    assert_eq!(names, ["ParseIntError", "ProcessDied", "CompileError"]);
    assert_eq!(notebook.stream(5, "stdout"), "after\n");
    assert!(ran.verdict("raises").ends_with("passed"));
}

/// With candle linked statically into each cell this prints `Some(5.0) Some(5.0)`, see the documentation.
#[test]
fn gradients_are_right_across_cells() {
    assert_eq!(ran().notebook("gradient").stream(4, "stdout"), "Some(3.0) Some(2.0)\n");
}

#[test]
fn a_planted_difference_fails_the_check() {
    let executed = ran().folder.join("out/checked.ipynb");
    let text = fs::read_to_string(executed).expect("the executed notebook");
    let planted = text.replace("\"42", "\"43");
    assert!(planted != text, "{text}");
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in [("same", text), ("planted", planted)] {
        fs::write(folder.path().join(format!("{name}.ipynb")), text).expect("a notebook");
    }
    let output = igpt()
        .args(["run", "--check", "same.ipynb", "planted.ipynb", "--jobs", "2", "--out", "out"])
        .current_dir(&folder)
        .output()
        .expect("igpt runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("1 of 2 notebooks passed") && said.contains("planted, cell 1"), "{said}");
    assert!(said.contains("-43") && said.contains("+42"), "{said}");
}
