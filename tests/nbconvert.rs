//! An unmodified `jupyter nbconvert --execute` tells the truth about a notebook, because the kernel does; and so does nbval, which goes
//! on behind a cell that fails.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
    sync::OnceLock,
};

use igpt_tests::{
    Cell, Executed,
    cases::{FAULTS, IN_NBCONVERT, TWINS},
    cell, jupyter, jupyter_data, nbval, set_up, write_notebook,
};

struct Converted {
    output: Output,
    folder: PathBuf,
}

/// A notebook of these cells, in a folder of its own.
fn written(name: &str, cells: &[Cell]) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("nbconvert").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder for the notebook");
    write_notebook(&folder, name, cells);
    folder
}

/// Executes a notebook of these cells. `--allow-errors` is not given, so that the first failure ends it.
fn convert(name: &str, cells: &[Cell]) -> Option<Converted> {
    let jupyter = jupyter()?;
    set_up();
    let folder = written(name, cells);
    let output = Command::new(jupyter)
        .args(["nbconvert", "--to", "notebook", "--execute", "--output", "executed"])
        .arg(format!("{name}.ipynb"))
        .current_dir(&folder)
        .env("JUPYTER_DATA_DIR", jupyter_data())
        .output()
        .expect("nbconvert can be started");
    Some(Converted { output, folder })
}

/// One kernel at a time for two of these tests: more would only wait for each other's compilers.
fn check(name: &str) {
    let fault = FAULTS.iter().find(|fault| fault.name == name).expect("a fault of this name");
    let cells = [cell("let earlier = 1;"), cell(fault.source), cell("println!(\"after\");")];
    let Some(Converted { output, folder }) = convert(name, &cells) else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "nbconvert calls {name} a success:\n{said}");
    assert!(said.contains(fault.ename) && said.contains(fault.evalue), "{said}");
    if fault.line {
        assert!(said.contains("cell [2], line 2"), "{said}");
    }
    assert!(!folder.join("executed.ipynb").exists(), "nbconvert wrote a notebook that failed");
}

/// All the twins of the faults, in one notebook: those of the first eight, and the rest.
fn twins() -> Option<&'static Converted> {
    static TWINS_RAN: OnceLock<Option<Converted>> = OnceLock::new();
    let cells: Vec<Cell> = TWINS.iter().map(|(_, source)| cell(*source)).collect();
    TWINS_RAN.get_or_init(|| convert("twins", &cells)).as_ref()
}

#[test]
fn what_only_looks_bad_passes() {
    let Some(Converted { output, folder }) = twins() else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let notebook = Executed::read(&folder.join("executed.ipynb"));
    for (index, (name, _)) in TWINS.iter().enumerate() {
        let errors = notebook.outputs(index + 1).iter().filter(|o| o["output_type"] == "error").count();
        assert_eq!(errors, 0, "{name}: {:?}", notebook.outputs(index + 1));
    }
}

/// What a cell may define, forget or print so that a later failure could be overlooked: name, first cell, second cell, and
/// the error.
const HIDDEN: [(&str, &str, &str, &str); 6] = [
    ("shadow_use", "use std::println;", "panic!(\"hidden\");", "hidden"),
    ("shadow_fn", "fn println() {}", "\"x\".parse::<i32>()?;", "ParseIntError"),
    (
        "shadow_macro",
        "macro_rules! println { ($($t:tt)*) => {} }\nmacro_rules! stringify { ($($t:tt)*) => { \"\" } }",
        "assert!(1 > 2, \"hidden\");",
        "hidden",
    ),
    ("clear_behind_a_comment", "// fresh\n:clear", "panic!(\"hidden\");", "hidden"),
    ("clear_and_code", "let a = 1;", ":clear\npanic!(\"hidden\")", "hidden"),
    (
        "notice",
        "println!(\"EVCXR_EXECUTION_COMPLETE\");",
        "println!(\"EVCXR_EXECUTION_COMPLETE\");\nstd::thread::sleep(std::time::Duration::from_millis(200));\n\"x\".parse::<i32>()?;",
        "ParseIntError",
    ),
];

/// In one notebook: nbval says of each cell whether it passed, the first one and one behind the failure, too.
#[test]
fn hidden_failures_are_found() {
    let Some(pytest) = jupyter().and_then(|jupyter| nbval::beside(&jupyter)) else { return };
    set_up();
    let cells: Vec<Cell> =
        HIDDEN.iter().flat_map(|(_, first, second, _)| [*first, *second, "1 + 1"].map(cell)).collect();
    let said = nbval::Said::of(&pytest, &written("hidden", &cells), "hidden.ipynb");
    assert!(!said.success, "nbval calls it a success:\n{}", said.text);
    for (number, (name, .., error)) in HIDDEN.iter().enumerate() {
        let failure = said.failure(3 * number + 1);
        assert!(failure.is_some_and(|failure| failure.contains(*error)), "{name}: {}", said.text);
        for cell in [3 * number, 3 * number + 2] {
            assert!(said.passes(cell), "{name}, cell {cell}: {}", said.text);
        }
    }
}

macro_rules! faults {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { check(stringify!($name)); })*

        #[test]
        fn the_first_faults_are_tested() {
            let first: Vec<_> = FAULTS.iter().take(IN_NBCONVERT).map(|fault| fault.name).collect();
            assert_eq!(first, [$(stringify!($name)),*]);
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
}
