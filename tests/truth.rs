//! The kernel tells the truth whatever a cell defines, imports, prints or forgets: notebooks in which cells that must fail,
//! tagged as expected to, stand among near-identical ones that must not.
//!
//! All notebooks are executed in one command, two at once. `nbconvert`, unmodified, has to find the same (`nbconvert.rs`).

use std::{fs, path::PathBuf, sync::OnceLock};

use igpt_notebooks::run::text::strip_ansi;
use igpt_tests::{
    Cell, Executed,
    cases::{STORIES, Told},
    cell, igpt, set_up, write_notebook,
};

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
        for (name, cells) in STORIES {
            let cells: Vec<Cell> = cells
                .iter()
                .map(|(source, told)| match told {
                    Told::Error(..) | Told::Line(..) => cell(*source).tag("raises-exception"),
                    _ => cell(*source),
                })
                .collect();
            write_notebook(&folder, name, &cells);
            names.push(format!("{name}.ipynb"));
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

/// Looks at each cell of a notebook.
fn check(name: &str) {
    let ran = ran();
    let notebook = Executed::read(&ran.folder.join("out").join(format!("{name}.ipynb")));
    let (_, cells) = STORIES.iter().find(|(story, _)| *story == name).expect("a story of this name");
    for (index, (source, told)) in cells.iter().enumerate() {
        let number = index + 1;
        let seen = notebook.outputs(number);
        let is_error = seen.iter().any(|output| output["output_type"] == "error");
        let place = format!("{name}, cell {number}: {source}\n{seen:?}\n{}", ran.said);
        match told {
            Told::Error(ename, evalue) | Told::Line(ename, evalue, _) => {
                assert!(is_error, "{place}");
                let (found, value, traceback) = notebook.error(number);
                assert_eq!(found, *ename, "{place}");
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
    hints,
    large_values,
    macros,
}

#[test]
fn nothing_waits_for_long() {
    // A child that sleeps for 40 seconds and the like would show.
    assert!(ran().seconds < 300., "{} s", ran().seconds);
}
