//! The kernel tells the truth whatever a cell defines, imports, prints or forgets: notebooks in which cells that must fail,
//! tagged as expected to, stand among near-identical ones that must not.
//!
//! All notebooks are executed in one command, two at once. nbval, unmodified, has to find the same (`nbconvert.rs`).

use std::{fs, path::PathBuf, sync::OnceLock};

use igpt_notebooks::run::text::strip_ansi;
use igpt_tests::{
    Cell, Executed,
    cases::{STORIES, Told},
    cell, igpt, set_up, write_notebook,
};

/// Stories that share a kernel, one behind the other: it takes longer to start than ten cells. What takes names of the language away is
/// alone, and so are hints, which look at all that is there; the panic hook that another one takes away comes back with the next process.
const NOTEBOOKS: [&[&str]; 7] = [
    &["forgotten", "types_anew", "types_of_std"],
    &["returns", "not_answered", "macros"],
    &["threads", "words_of_ours", "variables_not_mentioned"],
    &["hints"],
    &["shadows"],
    &["notices", "input", "large_values"],
    &["panics", "deaths"],
];

/// The cells of a story.
fn story(name: &str) -> &'static [(&'static str, Told)] {
    let found = STORIES.iter().find(|(story, _)| *story == name);
    found.expect("a story of this name").1
}

/// The notebook that has a story, and how many cells stand before it there.
fn place(name: &str) -> (&'static str, usize) {
    let stories = NOTEBOOKS.into_iter().find(|stories| stories.contains(&name));
    let stories = stories.expect("a notebook has each story");
    let before = stories.iter().take_while(|before| **before != name);
    (stories[0], before.map(|before| story(before).len()).sum())
}

struct Ran {
    folder: PathBuf,
    said: String,
    seconds: f64,
}

fn ran() -> &'static Ran {
    static RAN: OnceLock<Ran> = OnceLock::new();
    RAN.get_or_init(|| {
        set_up();
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("truth");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder for the notebooks");
        let mut names = Vec::new();
        for stories in NOTEBOOKS {
            let cells = stories.iter().flat_map(|name| story(name));
            let cells: Vec<Cell> = cells
                .map(|(source, told)| match told {
                    Told::Error(..) | Told::Line(..) => cell(*source).tag("raises-exception"),
                    Told::Died(..) => cell(*source).tag("raises-exception:process-died"),
                    _ => cell(*source),
                })
                .collect();
            write_notebook(&folder, stories[0], &cells);
            names.push(format!("{}.ipynb", stories[0]));
        }
        let start = std::time::Instant::now();
        let output = igpt()
            .args(["run", "--jobs", "2", "--timeout", "60s", "--out", "out"])
            .args(&names)
            .current_dir(&folder)
            .output()
            .expect("igpt runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("{said}\n{}", String::from_utf8_lossy(&output.stderr));
        Ran { folder, said, seconds: start.elapsed().as_secs_f64() }
    })
}

/// Looks at each cell of a story.
fn check(name: &str) {
    let (ran, (notebook, before)) = (ran(), place(name));
    let notebook = Executed::read(&ran.folder.join("out").join(format!("{notebook}.ipynb")));
    for (index, (source, told)) in story(name).iter().enumerate() {
        let number = before + index + 1;
        let seen = notebook.outputs(number);
        let is_error = seen.iter().any(|output| output["output_type"] == "error");
        let place = format!("{name}, cell {number}: {source}\n{seen:?}\n{}", ran.said);
        match told {
            Told::Error(_, evalue) | Told::Line(_, evalue, _) | Told::Died(evalue) => {
                assert!(is_error, "{place}");
                let (found, value, traceback) = notebook.error(number);
                let ename =
                    if let Told::Error(name, _) | Told::Line(name, ..) = told { name } else { "ProcessDied" };
                assert_eq!(found, ename, "{place}");
                assert!(strip_ansi(&value).contains(evalue), "{place}");
                if let Told::Line(_, _, line) = told {
                    assert!(strip_ansi(&traceback).contains(line), "{place}");
                }
            }
            told => {
                assert!(!is_error, "{place}");
                match told {
                    Told::Prints(text) => assert_eq!(notebook.stream(number, "stdout"), *text, "{place}"),
                    Told::Notes(note) => {
                        let all = notebook.stream(number, "stderr") + &notebook.stream(number, "stdout");
                        assert!(all.contains(note), "{place}");
                    }
                    _ => {}
                }
            }
        }
    }
}

macro_rules! stories {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { check(stringify!($name)); })*

        #[test]
        fn every_story_is_tested() {
            assert_eq!(STORIES.map(|(name, _)| name), [$(stringify!($name)),*]);
            let (mut ours, mut all) = (NOTEBOOKS.concat(), STORIES.map(|(name, _)| name));
            ours.sort_unstable();
            all.sort_unstable();
            assert_eq!(ours, all);
        }
    };
}

stories! {
    shadows,
    forgotten,
    notices,
    returns,
    not_answered,
    panics,
    types_anew,
    threads,
    input,
    words_of_ours,
    variables_not_mentioned,
    hints,
    large_values,
    macros,
    deaths,
    types_of_std,
}

/// The runner interrupts a cell at its time limit. Whatever the notebook has defined and the cell does, that ends it, with
/// its children; the last two are a twin, and a cell that a first interrupt would end.
#[test]
fn every_interrupt_ends() {
    set_up();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("interrupts");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder for the notebooks");
    let limited = |source: &str| cell(source).tag("timeout:3s");
    let stopped = [
        ("shadowed", "fn stringify(x: u8) -> u8 { x }\nfn println() {}", "loop {}"),
        ("waits", "let kept = 1;", "std::process::Command::new(\"sleep\").arg(\"4042\").status()?;"),
        (
            "threads",
            "use std::println;",
            "std::thread::spawn(|| loop {});\nloop { std::thread::sleep(std::time::Duration::from_secs(1)); }",
        ),
        (
            "compiles",
            "let kept = 1;",
            "#[allow(long_running_const_eval)]\nconst N: u64 = { let mut n = 0; while n < u64::MAX { n += 1; } n };\nprintln!(\"{}\", N);",
        ),
    ];
    let mut names = Vec::new();
    for (name, first, second) in stopped {
        write_notebook(&folder, name, &[cell(first), limited(second)]);
        names.push(format!("{name}.ipynb"));
    }
    write_notebook(
        &folder,
        "ends",
        &[cell("fn stringify(x: u8) -> u8 { x }"), limited("println!(\"{}\", stringify(7));")],
    );
    names.push("ends.ipynb".into());
    let start = std::time::Instant::now();
    let output = igpt()
        .args(["run", "--jobs", "2", "--out", "out"])
        .args(&names)
        .current_dir(&folder)
        .output()
        .expect("igpt runs");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // A time limit.
    assert_eq!(output.status.code(), Some(4), "{said}");
    for (name, ..) in stopped {
        let notebook = Executed::read(&folder.join("out").join(format!("{name}.ipynb")));
        assert_eq!(notebook.error(2).0, "CellTimeoutError", "{name}: {said}");
    }
    let twin = Executed::read(&folder.join("out").join("ends.ipynb"));
    assert_eq!(twin.stream(2, "stdout"), "7\n", "{said}");
    assert!(!is_running("sleep 4042"), "{said}");
    assert!(start.elapsed().as_secs() < 150, "{:?}: {said}", start.elapsed());
}

/// Whether a process that was started with these words is alive.
fn is_running(words: &str) -> bool {
    let processes = fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    let words = words.replace(' ', "\0") + "\0";
    processes.into_iter().any(|command| command == words.as_bytes())
}

#[test]
fn nothing_is_left_of_a_dead_cell() {
    check("deaths");
    // Processes of other tests' notebooks sleep for other times.
    assert!(!is_running("sleep 4041"), "{}", ran().said);
}

#[test]
fn nothing_waits_for_long() {
    // A child that sleeps for 40 seconds and the like would show.
    assert!(ran().seconds < 300., "{} s", ran().seconds);
}
