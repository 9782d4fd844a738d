//! `igpt run` as a CI job uses it: exit codes, shares, selections, limits, secrets, and what it tells services.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use igpt_tests::{
    base64, cell,
    fake_run::{self, Igpt, said},
    notebook_json,
};
use serde_json::{Value, json};

/// The kernel process of the tests below: this very test, started by `--kernel-command`.
#[test]
fn fake_kernel_process() {
    fake_run::be_the_kernel();
}

/// A notebook for each way in which a run can end; `tests/ends.rs` has several of them in one run.
fn every_end() -> Igpt {
    let igpt = Igpt::new();
    let committed = json!([{"output_type": "stream", "name": "stdout", "text": ["before\n"]}]);
    igpt.write("good", &[cell("print before\\n").outputs(committed.clone())]);
    igpt.write("differs", &[cell("print now\\n").outputs(committed.clone())]);
    igpt.write("error", &[cell("error panic at 3").outputs(committed.clone())]);
    igpt.write("no-raise", &[cell("print before\\n").tag("raises-exception").outputs(committed.clone())]);
    igpt.write("died", &[cell("error ProcessDied signal 9").outputs(committed.clone())]);
    igpt.write("kernel-died", &[cell("die").outputs(committed.clone())]);
    igpt.write("slow", &[cell("sleep 60000").tag("timeout:0.3s").outputs(committed.clone())]);
    igpt.write(
        "slow-all",
        &[cell("print 1").tag("notebook-timeout:3s"), cell("sleep 60000").outputs(committed.clone())],
    );
    igpt.write("broken-kernel", &[cell("invalid-json").outputs(committed)]);
    let python = notebook_json(&[cell("print(1)")])
        .replace("\"rust\"", "\"python\"")
        .replace("Rust (igpt)", "Python 3");
    fs::write(igpt.path().join("python.ipynb"), python).expect("a notebook can be written");
    fs::write(igpt.path().join("unreadable.ipynb"), "{").expect("a file can be written");
    igpt
}

#[test]
fn each_end_has_an_exit_code() {
    let igpt = every_end();
    let code = |arguments: &[&str]| {
        let (code, said) = igpt.run(arguments);
        println!("{arguments:?}: {code}\n{said}");
        code
    };
    let each = [
        ("good", 0),
        ("error", 1),
        ("no-raise", 1),
        ("python", 2),
        ("unreadable", 2),
        ("missing", 2),
        ("died", 3),
        ("kernel-died", 3),
        ("slow", 4),
        ("slow-all", 4),
        ("differs", 5),
        ("broken-kernel", 6),
    ];
    for (name, expected) in each {
        assert_eq!(code(&[&format!("{name}.ipynb"), "--check"]), expected, "{name}");
    }
    assert_eq!(code(&["differs.ipynb"]), 0, "without --check there is no difference");
    for wrong in [&["--no-such-option"][..], &["nothing-like-*.ipynb"], &["good.ipynb", "--shard", "3/2"]] {
        assert_eq!(code(wrong), 2, "{wrong:?}");
    }
    let (_, said) = igpt.run(&["python.ipynb", "slow-all.ipynb", "slow.ipynb"]);
    assert!(said.contains("the notebook is written in python (its kernel is Python 3)"), "{said}");
    assert!(said.contains("the notebook did not end within 3 s, its kernel's start included"), "{said}");
    assert!(
        said.contains("the cell did not end within 0.3 s") && said.contains("0 of 3 notebooks passed"),
        "{said}"
    );
    assert!(said.contains("(1 cannot-run, 2 time-limit)"), "{said}");
}

/// A training that shows its progress may take days, and one that hangs does not.
#[test]
fn a_cell_that_shows_progress_is_not_ended() {
    let igpt = Igpt::new();
    let updates: Vec<String> = (0..8).map(|n| format!("sleep 300\nupdate bar {n}")).collect();
    let progress = format!("display bar start\n{}", updates.join("\n"));
    igpt.write("shows", &[cell(&*progress)]);
    igpt.write("hangs", &[cell(format!("{progress}\nsleep 60000"))]);
    igpt.write("prints", &[cell("sleep 900\nprint 1\nsleep 900\nprint 2\nsleep 900")]);
    let run = |name: &str, limit: &[&str]| {
        let name = format!("{name}.ipynb");
        igpt.run(&[&[&*name], limit].concat())
    };
    let (code, said) = run("shows", &["--progress-timeout", "1.5s"]);
    assert_eq!(code, 0, "{said}");
    for silent in ["hangs", "prints"] {
        let (code, said) = run(silent, &["--progress-timeout", "1.5s"]);
        assert_eq!(code, 4, "{said}");
        assert!(said.contains("the cell did not end, and showed no progress for 1.5 s"), "{said}");
    }
    // A limit that somebody asked for holds for progress, too.
    let (code, said) = run("shows", &["--progress-timeout", "1.5s", "--timeout", "1s"]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("the cell did not end within 1 s"), "{said}");
}

#[test]
fn a_kernel_that_starts_slowly_uses_up_the_notebooks_time() {
    let igpt = Igpt::new();
    igpt.write("n", &[cell("print 1")]);
    let run = |limit: &str, kernel: &str| {
        let mut command = igpt.command(&["n.ipynb", "--notebook-timeout", limit]);
        if !kernel.is_empty() {
            command = igpt_tests::igpt();
            command.args([
                "run",
                "--out",
                "out",
                "--kernel-command",
                kernel,
                "n.ipynb",
                "--notebook-timeout",
                limit,
            ]);
            command.current_dir(igpt.path());
        }
        said(&command.output().expect("igpt can be started"))
    };
    let (code, said) = run("1s", "sleep 60 {connection_file}");
    assert_eq!(code, 6, "sleep refuses its second word: {said}");
    let script = igpt.path().join("never");
    fs::write(&script, "#!/bin/sh\nexec sleep 60\n").expect("a script can be written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&script, mode).expect("it can be made executable");
    let (code, said) = run("1s", &format!("{} {{connection_file}}", script.display()));
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("the kernel did not start within 1 s, the notebook's limit"), "{said}");
    assert_eq!(run("60s", "").0, 0);
}

#[test]
fn all_shares_together_are_every_notebook_once() {
    let igpt = Igpt::new();
    let names: Vec<String> = (1..=7).map(|n| format!("notebooks/{n}")).collect();
    for name in &names {
        igpt.write(name, &[cell("print 1")]);
    }
    let seconds = |n: u32| if n == 3 || n == 5 { 100.5 } else { 7.0 };
    let committed: String = (1..=7).map(|n| format!("\"{n}\" = {{ cells = {:.1} }}\n", seconds(n))).collect();
    let file = igpt.path().join("notebooks/times.toml");
    fs::write(&file, format!("[quick]\n{committed}")).expect("a file can be written");
    let mut times = BTreeMap::new();
    let mut sizes = Vec::new();
    for share in 1..=3 {
        let _ = fs::remove_dir_all(igpt.path().join("out"));
        let (code, said) = igpt.run(&["notebooks", "--shard", &format!("{share}/3")]);
        assert_eq!(code, 0, "{said}");
        let ran: Vec<String> = fs::read_dir(igpt.path().join("out"))
            .expect("an output folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter(|name| name.ends_with(".ipynb"))
            .collect();
        assert!(said.contains(&format!("share {share} of 3: {} of 7 notebooks", ran.len())), "{said}");
        sizes.push(ran.len());
        for name in ran {
            *times.entry(name).or_insert(0) += 1;
        }
    }
    let expected: BTreeMap<String, i32> = (1..=7).map(|n| (format!("{n}.ipynb"), 1)).collect();
    assert_eq!(times, expected);
    assert_eq!(sizes, [1, 1, 5], "the two long ones have shares of their own");
    // More shares than notebooks: some have nothing to do, and that is no fault.
    let codes: Vec<i32> =
        (1..=9).map(|share| igpt.run(&["notebooks", "--shard", &format!("{share}/9")]).0).collect();
    assert_eq!(codes, [0; 9]);
}

/// The seconds of each notebook of the usual profile, from a file of times.
fn seconds_in(file: &Path) -> BTreeMap<String, f64> {
    let text = fs::read_to_string(file).expect("times");
    assert!(text.contains("\n[\"quick\"]\n"), "{text}");
    let line = |line: &str| {
        let (name, seconds) = line.split_once(" = { cells = ")?;
        let (cells, results) = seconds.strip_suffix(" }")?.split_once(", results = ")?;
        let number = |text: &str| text.parse::<f64>().expect("a number");
        Some((name.trim_matches('"').to_owned(), number(cells) + number(results)))
    };
    text.lines().filter_map(line).collect()
}

#[test]
fn times_are_written_where_shares_read_them() {
    let igpt = Igpt::new();
    igpt.write("a/slow", &[cell("sleep 300")]);
    igpt.write("a/bad", &[cell("error panic x")]);
    let file = igpt.path().join("a/times.toml");
    fs::write(&file, "[quick]\nold = { cells = 7, results = 1 }\n").expect("a file");
    let (code, said) = igpt.run(&["a", "--update-times"]);
    assert!(code == 1 && said.contains("times: ") && said.contains("a/times.toml"), "{said}");
    let times = seconds_in(&file);
    assert_eq!(times.keys().collect::<Vec<_>>(), ["old", "slow"], "one that failed has no time");
    assert!(times["old"] == 8.0 && (0.3..60.0).contains(&times["slow"]), "{times:?}");
    // Another profile's times are others.
    let file_before = fs::read_to_string(&file).expect("times");
    fs::write(&file, file_before.replace("quick", "cifar")).expect("a file");
    let (_, said) = igpt.run(&["a/slow.ipynb", "--update-times"]);
    let text = fs::read_to_string(&file).expect("times");
    let (cifar, quick) = (text.find("[\"cifar\"]"), text.find("[\"quick\"]"));
    assert!(cifar.is_some() && cifar < quick && text.matches("\"slow\" = ").count() == 2, "{said}{text}");
    // What is no file of times is refused, by whoever needs it, and the run's own failures go before.
    fs::write(&file, "\"slow.ipynb\" = 7\n").expect("a file");
    let (code, said) = igpt.run(&["a", "--shard", "1/2"]);
    assert!(code == 2 && said.contains("a/times.toml is not a file of measured times"), "{said}");
    let (code, said) = igpt.run(&["a/slow.ipynb", "--update-times"]);
    assert!(code == 6 && said.contains("a/times.toml is not a file of measured times"), "{said}");
    assert_eq!(igpt.run(&["a/bad.ipynb", "a/slow.ipynb", "--update-times"]).0, 1);
    let (code, said) = igpt.run(&["a", "--update-times", "-p", "x=1"]);
    assert!(code == 2 && said.contains("cannot be used with"), "{said}");
}

/// One committed file in a checkout: what `--update-times` writes is what puts notebooks in order and makes shares even.
#[test]
fn a_checkout_has_one_file_of_times() {
    let igpt = Igpt::new();
    let at = |file: &str| igpt.path().join(file);
    for file in ["Cargo.toml", "notebooks/Cargo.toml", "kernel-lib/Cargo.toml"] {
        fs::create_dir_all(at(file).parent().expect("a folder")).expect("a folder can be made");
        fs::write(at(file), "").expect("a file can be written");
    }
    for (name, milliseconds) in [("1_slow", 2500), ("2_quick", 0), ("3_quick", 0)] {
        igpt.write(&format!("notebooks/{name}"), &[cell(format!("sleep {milliseconds}"))]);
    }
    // The notebooks in the order in which they were through.
    let ran = |said: &str| -> Vec<String> {
        let lines = said.lines().filter_map(|line| line.split_once(": 1/1 cells, "));
        lines.map(|(name, _)| name.to_owned()).collect()
    };
    let (code, said) = igpt.run(&["--update-times"]);
    assert_eq!((code, ran(&said)), (0, vec!["1_slow".into(), "2_quick".into(), "3_quick".into()]), "by name");
    let (committed, own) = (at("notebooks/times.toml"), at("target/igpt-times.toml"));
    assert_eq!(seconds_in(&committed), seconds_in(&own), "the same numbers in the same form");
    fs::remove_file(own).expect("the machine's own times");
    let (code, said) = igpt.run(&[]);
    assert!(code == 0 && ran(&said).last().is_some_and(|last| last == "1_slow"), "{said}");
    // Two shares: the slow one alone, and the others together.
    let share = |share: &str| {
        let (code, said) = igpt.run(&["--shard", share]);
        assert_eq!(code, 0, "{said}");
        ran(&said).len()
    };
    assert_eq!((share("1/2"), share("2/2")), (1, 2));
}

/// Solutions and a template lie below `notebooks/`: they run if they are named.
#[test]
fn without_names_a_checkout_runs_what_lies_in_its_folder_of_notebooks_itself() {
    let igpt = Igpt::new();
    for file in ["Cargo.toml", "notebooks/Cargo.toml", "kernel-lib/Cargo.toml"] {
        fs::create_dir_all(igpt.path().join(file).parent().expect("a folder")).expect("a folder can be made");
        fs::write(igpt.path().join(file), "").expect("a file can be written");
    }
    for name in ["notebooks/1_a", "notebooks/solutions/2_b"] {
        igpt.write(name, &[cell("print 1")]);
    }
    let ran = |arguments: &[&str]| {
        let (code, said) = igpt.run(arguments);
        assert_eq!(code, 0, "{said}");
        ["1_a: ", "2_b: "].map(|name| said.contains(name))
    };
    assert_eq!(ran(&[]), [true, false]);
    assert_eq!(ran(&["notebooks/solutions"]), [false, true]);
    assert_eq!(ran(&["2_b"]), [false, true], "by its bare name");
    assert_eq!(ran(&["notebooks"]), [true, true]);
}

#[test]
fn folders_patterns_and_the_last_failures_select() {
    let igpt = Igpt::new();
    for name in ["1_a", "deep/er/2_b", "deep/2_c", "deep/.hidden/x", "deep/target/y"] {
        igpt.write(name, &[cell("print 1")]);
    }
    let ran = |arguments: &[&str]| {
        let (code, said) = igpt.run(arguments);
        assert!(code <= 1, "{said}");
        let names = ["1_a", "2_b", "2_c", "x", "y"];
        names.into_iter().filter(|name| said.contains(&format!("{name}: "))).collect::<Vec<_>>()
    };
    assert_eq!(ran(&["deep"]), ["2_b", "2_c"], "neither hidden folders nor build folders");
    assert_eq!(ran(&["deep/*.ipynb"]), ["2_c"]);
    assert_eq!(ran(&["**/2_?.ipynb"]), ["2_b", "2_c"]);
    assert_eq!(
        ran(&["1_*.ipynb", "1_a.ipynb", "."]),
        ["1_a", "2_b", "2_c"],
        "each once, and not what lies in out"
    );
    // One fails: it alone is run again, until it passes.
    igpt.write("deep/2_c", &[cell("error panic x")]);
    assert_eq!(ran(&["."]), ["1_a", "2_b", "2_c"]);
    assert_eq!(ran(&[".", "--last-failed"]), ["2_c"]);
    assert_eq!(ran(&["1_a.ipynb"]), ["1_a"]);
    assert_eq!(ran(&[".", "--last-failed"]), ["2_c"], "a run of other notebooks forgets no failure");
    igpt.write("deep/2_c", &[cell("print 1")]);
    assert_eq!(ran(&[".", "--last-failed"]), ["2_c"]);
    assert_eq!(ran(&[".", "--last-failed"]), ["1_a", "2_b", "2_c"], "nothing failed, so everything runs");
}

fn git(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args([
        "-c",
        "user.name=x",
        "-c",
        "user.email=x@y",
        "-c",
        "commit.gpgsign=false",
    ]);
    let output = command.args(arguments).output().expect("git can be started");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_a_change_touches_is_selected() {
    let igpt = Igpt::new();
    let folder = igpt.path();
    for name in ["notebooks/a", "notebooks/b"] {
        igpt.write(name, &[cell("print 1")]);
    }
    // A checkout of this project, as the runner tells it.
    for file in ["Cargo.toml", "notebooks/Cargo.toml", "kernel-lib/Cargo.toml", "data/x", "README.md"] {
        fs::create_dir_all(folder.join(file).parent().expect("a folder")).expect("a folder can be made");
        fs::write(folder.join(file), "").expect("a file can be written");
    }
    fs::write(folder.join(".gitignore"), "out\n").expect("a file can be written");
    git(folder, &["init", "-q"]);
    git(folder, &["add", "-A"]);
    git(folder, &["commit", "-q", "-m", "one"]);
    let ran = |revision: &str| {
        let (code, said) = igpt.run(&["notebooks", "--changed-since", revision]);
        assert_eq!(code, 0, "{said}");
        let names =
            ["a", "b"].into_iter().filter(|name| said.contains(&format!("\n{name}: "))).collect::<String>();
        (names, said)
    };
    let (names, said) = ran("HEAD");
    assert!(
        names.is_empty() && said.contains("changed since HEAD: 0 of 2 notebooks\nnothing to run"),
        "{said}"
    );
    let change = |file: &str, text: &str| fs::write(folder.join(file), text).expect("a file can be written");
    change("README.md", "more");
    assert_eq!(ran("HEAD").0, "");
    let text = fs::read_to_string(folder.join("notebooks/b.ipynb")).expect("a notebook");
    change("notebooks/b.ipynb", &text.replace("print 1", "print 2"));
    assert_eq!(ran("HEAD").0, "b", "a change that is not committed");
    git(folder, &["commit", "-q", "-a", "-m", "two"]);
    assert_eq!((ran("HEAD").0, ran("HEAD~1").0), (String::new(), "b".into()));
    igpt.write("notebooks/new", &[cell("print 1")]);
    let (_, said) = ran("HEAD");
    assert!(said.contains("new: 1/1 cells") && said.contains("1 of 3 notebooks"), "{said}");
    fs::remove_file(folder.join("notebooks/new.ipynb")).expect("it can be removed");
    for (file, text) in [("data/x", "other"), ("kernel-lib/new.rs", "// new")] {
        change(file, text);
        let (names, said) = ran("HEAD");
        assert!(names == "ab" && said.contains(&format!("({file} changed, which cells may use)")), "{said}");
        git(folder, &["add", "-A"]);
        git(folder, &["commit", "-q", "-m", file]);
    }
    let (code, said) = igpt.run(&["notebooks", "--changed-since", "no-such-revision"]);
    assert!(code == 2 && said.contains("git knows no revision \"no-such-revision\""), "{said}");
}

#[test]
fn parameters_take_the_place_of_usual_values() {
    let igpt = Igpt::new();
    // The fake kernel knows no Rust: what it does not know ends it, so its twin is not run but read.
    igpt.write(
        "n",
        &[cell("let steps: usize = 500;").tag("parameters").tag("skip-execution"), cell("print after")],
    );
    igpt.write("none", &[cell("print 1")]);
    let (code, said) = igpt.run(&["n.ipynb", "-p", "steps=20"]);
    assert_eq!(code, 3, "the fake kernel dies of Rust: {said}");
    assert!(said.contains("n  cell 2/3") && said.contains("// Parameters of this run"), "{said}");
    let executed = igpt.executed("n");
    let injected = executed.cell(2);
    let source: String =
        injected["source"].as_array().expect("lines").iter().filter_map(Value::as_str).collect();
    assert!(source.ends_with("let steps: usize = 20;"), "{source}");
    assert_eq!(injected["metadata"]["tags"], json!(["injected-parameters"]));
    assert!(injected["id"].is_string());
    // The failed cell is none of the file's, so the report for services names no line of it; its neighbours kept theirs.
    let junit = igpt.out("junit.xml");
    let of = |what: &str| {
        junit.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}: {junit}")).to_owned()
    };
    assert!(!of("cell 2: //").contains(" line="), "{junit}");
    let line = fs::read_to_string(igpt.path().join("n.ipynb"))
        .expect("a notebook")
        .lines()
        .position(|line| line.contains("print after"));
    assert!(
        of("cell 3: print after").contains(&format!("line=\"{}\"", line.expect("the cell's line") + 1)),
        "{junit}"
    );
    for (arguments, why) in [
        (&["none.ipynb", "-p", "steps=1"][..], "-p needs a code cell that is tagged `parameters`"),
        (&["n.ipynb", "-p", "stepz=1"], "defines no such variable, but steps"),
        (&["n.ipynb", "-p", "steps=-1"], "is no usize"),
        (&["n.ipynb", "-p", "steps"], "is not NAME=VALUE"),
        (&["n.ipynb", "-p", "steps=1", "--check"], "cannot be used with"),
    ] {
        let (code, said) = igpt.run(arguments);
        assert!(code == 2 && said.contains(why), "{arguments:?}: {said}");
    }
    assert_eq!(igpt.run(&["none.ipynb"]).0, 0);
}

#[test]
fn outputs_are_cut_at_their_limit_and_the_run_says_so() {
    let igpt = Igpt::new();
    igpt.write(
        "n",
        &[cell("print-long 5000"), cell("print-long 5000").tag("output-limit:1kB"), cell("print end")],
    );
    let (code, said) = igpt.run(&["n.ipynb", "--output-limit", "2kB"]);
    assert_eq!(code, 0, "{said}");
    let executed = igpt.executed("n");
    let lengths: Vec<_> = (1..=3).map(|number| executed.stream(number, "stdout").len()).collect();
    assert_eq!(lengths, [2000, 1000, 3]);
    assert!(executed.stream(1, "stderr").contains("3000 bytes of output are left out here"));
    assert!(said.contains("n, cell 2: 4000 bytes of output are left out"), "{said}");
    assert_eq!(igpt.run(&["n.ipynb"]).0, 0);
    assert_eq!(igpt.executed("n").stream(1, "stdout").len(), 5000, "the usual limit is far");
    let (code, said) = igpt.run(&["n.ipynb", "--output-limit", "much"]);
    assert!(code == 2 && said.contains("is not a size"), "{said}");
}

#[test]
fn outputs_of_a_notebook_are_cut_at_their_limit_together_and_the_run_says_so() {
    let igpt = Igpt::new();
    let cells = |tag: &str| {
        let own = cell("print-long 900").tag("output-limit:500B");
        [own, cell("print-long 1000"), cell("print-long 1200"), cell("print end").tag(tag)]
    };
    let lengths = || {
        let executed = igpt.executed("n");
        [1, 2, 3, 4].map(|number| executed.stream(number, "stdout").len())
    };
    igpt.write("n", &cells("any"));
    let (code, said) = igpt.run(&["n.ipynb", "--notebook-output-limit", "2kB"]);
    assert_eq!((code, lengths()), (0, [500, 1000, 500, 0]), "{said}");
    let executed = igpt.executed("n");
    let notices = [1, 2, 3, 4].map(|number| executed.stream(number, "stderr"));
    assert!(
        notices[0].contains("400 bytes of output are left out here: a cell may have 500 (--output-limit)")
    );
    assert_eq!(notices[1], "");
    let all = "all cells together may have 2000 (--notebook-output-limit)";
    assert!(notices[2].contains(&format!("700 bytes of output are left out here: {all}")), "{notices:?}");
    assert!(notices[3].contains(&format!("3 bytes of output are left out here: {all}")), "{notices:?}");
    for line in [
        "n, cell 1: 400 bytes of output are left out (--output-limit)",
        "n, cell 3: 700 bytes of output are left out (--notebook-output-limit)",
        "n, cell 4: 3 bytes of output are left out (--notebook-output-limit)",
    ] {
        assert!(said.contains(line), "{line:?} in {said}");
    }
    assert!(!said.contains("n, cell 2: "), "{said}");
    // The tag goes before, on whichever cell it stands.
    igpt.write("n", &cells("notebook-output-limit:1.6kB"));
    let (code, said) = igpt.run(&["n.ipynb", "--notebook-output-limit", "2kB"]);
    assert_eq!((code, lengths()), (0, [500, 1000, 100, 0]), "{said}");
    igpt.write("n", &cells("notebook-output-limit:much"));
    let (code, said) = igpt.run(&["n.ipynb"]);
    assert!(code == 2 && said.contains("the tag `notebook-output-limit:much`"), "{said}");
    // The good twin: the usual limit is far.
    igpt.write("n", &cells("any"));
    let (code, said) = igpt.run(&["n.ipynb"]);
    assert_eq!((code, lengths()), (0, [500, 1000, 1200, 3]), "{said}");
    assert!(!said.contains("(--notebook-output-limit)"), "{said}");
}

#[test]
fn comparisons_follow_the_cells_tags() {
    let igpt = Igpt::new();
    let printed = |text: &str| json!([{"output_type": "stream", "name": "stdout", "text": [text]}]);
    let run = |now: &str, committed: &str, tags: &[&str]| {
        let cells = cell(format!("print {now}")).outputs(printed(committed));
        igpt.write("n", &[tags.iter().fold(cells, |cell, tag| cell.tag(*tag))]);
        igpt.run(&["n.ipynb", "--check"])
    };
    assert_eq!(run("loss 1.001", "loss 1.002", &["check-tolerance:1e-2"]).0, 0);
    let (code, said) = run("loss 1.001", "loss 1.002", &[]);
    assert!(code == 5 && said.contains("    -loss 1.002\n    +loss 1.001"), "{said}");
    assert_eq!(run("loss 1.1", "loss 1.002", &["check-tolerance:1e-2"]).0, 5);
    assert_eq!(run("took 17 ms", "took 5 ms", &["check-ignore:\\d+ ms"]).0, 0);
    let (code, said) = run("x", "x", &["check-ignore:("]);
    assert!(code == 2 && said.contains("cell 1: the tag `check-ignore:(`"), "{said}");
}

#[test]
fn only_faults_of_the_machine_are_tried_again_and_that_is_told() {
    let igpt = Igpt::new();
    igpt.write("n", &[cell("print 1")]);
    igpt.write("bad", &[cell("error panic x")]);
    let faults = igpt.path().join("faults");
    let run = |faulty: u32, arguments: &[&str]| {
        fs::write(&faults, faulty.to_string()).expect("a file can be written");
        said(&igpt.command(arguments).env("IGPT_FAKE_FAULTS", &faults).output().expect("igpt can be started"))
    };
    let (code, said) = run(2, &["n.ipynb", "--retries", "2"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("n: run again (1 of at most 2) after a fault of the machine"), "{said}");
    assert!(said.contains("n: try 2 ended by a fault of the machine"), "the summary tells it, too: {said}");
    assert!(igpt.out("logs/n.try-1.log").contains("the machine is at fault"));
    assert!(
        igpt.out("junit.xml").contains("try 1 ended by a fault")
            && igpt.out("report.html").contains("try 1 ended by")
    );
    let (code, said) = run(2, &["n.ipynb", "--retries", "1"]);
    assert_eq!(code, 6, "{said}");
    let (code, said) = run(1, &["n.ipynb"]);
    assert!(code == 6 && !said.contains("run again"), "{said}");
    let (code, said) = run(0, &["bad.ipynb", "--retries", "5"]);
    assert!(code == 1 && !said.contains("run again"), "a cell's own error is final: {said}");
}

#[test]
fn memory_and_processor_time_are_told() {
    let igpt = Igpt::new();
    igpt.write("n", &[cell("work 1500"), cell("hold 300")]);
    let output = igpt.command(&["n.ipynb", "--json"]).output().expect("igpt can be started");
    let (code, said) = said(&output);
    assert_eq!(code, 0, "{said}");
    let events = events(&output.stdout);
    let finished = events.iter().find(|event| event["event"] == "notebook-finished").expect("it finished");
    let number = |name: &str| finished[name].as_f64().expect("a number");
    assert!(number("peak_memory_bytes") > 300e6 && number("peak_memory_bytes") < 2e9, "{finished}");
    assert!(number("processor_seconds") > 0.5 && number("processor_seconds") < 60.0, "{finished}");
    assert!(said.contains("processor s  peak MB") && igpt.out("junit.xml").contains("peak memory"), "{said}");
}

/// Each line of standard output is an event.
fn events(stdout: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(stdout);
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no event: {line}")))
        .collect()
}

#[test]
fn programs_follow_a_run_by_its_events() {
    let igpt = every_end();
    let output =
        igpt.command(&["good.ipynb", "error.ipynb", "--json"]).output().expect("igpt can be started");
    assert_eq!(output.status.code(), Some(1));
    let events = events(&output.stdout);
    let kinds: Vec<_> = events.iter().map(|event| event["event"].as_str().expect("a kind")).collect();
    let one = ["notebook-started", "cell", "notebook-finished"];
    assert_eq!(kinds, [&["run-started"][..], &one, &one, &["run-finished"]].concat());
    let good = igpt.path().canonicalize().expect("a folder").join("good.ipynb");
    assert_eq!(events[2]["notebook"], json!(good));
    assert_eq!((&events[2]["status"], &events[5]["status"]), (&json!("passed"), &json!("failed")));
    assert_eq!(
        (&events[6]["verdict"], &events[6]["message"]),
        (&json!("cell-failed"), &json!("panic: at 3"))
    );
    assert_eq!((&events[7]["exit_code"], &events[7]["passed"]), (&json!(1), &json!(1)));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("1 of 2 notebooks passed"),
        "users read the other stream"
    );
}

#[test]
fn services_are_shown_the_line_that_failed() {
    let igpt = Igpt::new();
    igpt.write("n", &[cell("print one\\n"), cell("print two\nprint three\nerror-at 2"), cell("print 3")]);
    let summary = igpt.path().join("summary.md");
    fs::write(&summary, "earlier steps\n").expect("a file can be written");
    let folder = igpt.path().canonicalize().expect("a folder");
    let mut command = igpt.command(&["n.ipynb"]);
    command
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_STEP_SUMMARY", &summary)
        .env("GITHUB_WORKSPACE", &folder);
    let (code, said) = said(&command.output().expect("igpt can be started"));
    assert_eq!(code, 1);
    let file = fs::read_to_string(igpt.path().join("n.ipynb")).expect("a notebook");
    // The source is one string of the file, so all its lines are on one.
    let line = file.lines().position(|line| line.contains("print three")).expect("the cell") + 1;
    let annotation =
        format!("::error file=n.ipynb,line={line},title=n%2C cell 2::panic: here%0A  at cell [2], line 2");
    assert!(said.contains(&annotation), "{said}");
    let told = fs::read_to_string(&summary).expect("a summary");
    assert!(told.starts_with("earlier steps\n### Notebooks") && told.contains("| n | 2/3 |"), "{told}");
    assert!(
        told.contains("❌ failed at cell 2: panic: here") && told.contains("```text\nn, cell 2"),
        "{told}"
    );
    let junit = igpt.out("junit.xml");
    assert!(junit.contains(&format!("file=\"n.ipynb\" line=\"{line}\"")), "{junit}");
    assert!(junit.contains("<failure type=\"cell-failed\" message=\"panic: here\">"), "{junit}");
    assert!(
        junit.contains("<system-out>one\n</system-out>")
            && junit.contains("<system-out>twothree</system-out>"),
        "{junit}"
    );
    // A good run needs no annotations, and elsewhere nobody gets any.
    igpt.write("n", &[cell("print 1")]);
    assert!(!igpt.run(&["n.ipynb"]).1.contains("::error"));
}

const TOKEN: &str = "hf_qWeRtYuIoP1234567890";
const OTHER: &str = "pa$$\"w&rd <of> nobody";

#[test]
fn a_secret_is_in_no_file_whatever_cells_print() {
    let igpt = Igpt::new();
    let tail = &TOKEN[9..];
    let encoded = base64(format!("Bearer {TOKEN}\n").as_bytes());
    // The notebook itself does not have it.
    igpt.write(
        "n",
        &[
            cell("print a ${T} b\nprint ${T:0:9}\nprint ${T:9:23}\neprint ${T}\nprint ${T|base64}"),
            cell("print ${T:0:9}\ndisplay d ${T}\nprint ${T:9:23}\nresult Some(\"${T}\")"),
            cell("log ${T:0:9}\nlog ${T:9:23}\\n\nlog ${OTHER_SECRET}\\n\nprint ${OTHER_SECRET}\ndisplay bar ${OTHER_SECRET}"),
            cell("env HF_TOKEN\nenv OTHER_SECRET"),
            cell("error panic ${T} and ${OTHER_SECRET}"),
            cell(format!("print in the source: {TOKEN}")),
        ],
    );
    let summary = igpt.path().join("out/summary.md");
    let run = |arguments: &[&str]| {
        let mut command = igpt.command(&[&["n.ipynb", "--mask", "OTHER_SECRET"], arguments].concat());
        command.env("HF_TOKEN", TOKEN).env("T", TOKEN).env("OTHER_SECRET", OTHER);
        command.env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", &summary);
        said(&command.output().expect("igpt can be started"))
    };
    fs::create_dir_all(igpt.path().join("out")).expect("a folder");
    for arguments in [&[][..], &["--json"], &["--pass-token"]] {
        let (code, said) = run(arguments);
        assert_eq!(code, 1, "{said}");
        let mut texts = vec![("what it said".to_owned(), said.into_bytes())];
        let mut folders = vec![igpt.path().join("out")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    texts.push((path.display().to_string(), fs::read(&path).expect("a file")));
                }
            }
        }
        assert!(texts.len() >= 7, "notebook, log, report, JUnit, record, summary: {}", texts.len());
        let forms = [
            TOKEN.to_owned(),
            tail.to_owned(),
            OTHER.to_owned(),
            format!("{OTHER:?}"),
            json!(OTHER).to_string(),
            "w&amp;rd".to_owned(),
            "w&rd".to_owned(),
            encoded[14..30].to_owned(),
        ];
        for (name, text) in &texts {
            let text = String::from_utf8_lossy(text);
            for form in &forms {
                assert!(!text.contains(form.as_str()), "{name} has {form}:\n{text:.3000}");
            }
        }
        let executed = igpt.executed("n");
        assert!(executed.stream(1, "stdout").starts_with("a *** b***"), "{}", executed.stream(1, "stdout"));
        assert!(igpt.out("logs/n.log").contains("***\n"), "the log is there, without it");
        let given = if arguments == ["--pass-token"] { "HF_TOKEN=***" } else { "HF_TOKEN=unset" };
        assert_eq!(executed.stream(4, "stdout"), format!("{given}\nOTHER_SECRET=***\n"));
    }
}

#[test]
fn without_a_secret_nothing_is_blanked_and_a_wrong_name_is_refused() {
    let igpt = Igpt::new();
    igpt.write("n", &[cell(format!("print {TOKEN}\nlog {TOKEN}\\n"))]);
    let (code, said) = igpt.run(&["n.ipynb"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(igpt.executed("n").stream(1, "stdout"), TOKEN);
    assert!(igpt.out("logs/n.log").contains(TOKEN));
    let (code, said) = igpt.run(&["n.ipynb", "--mask", "NO_SUCH_VARIABLE"]);
    assert!(code == 2 && said.contains("nothing would be blanked"), "{said}");
    let run = |value: &str| {
        let mut command = igpt.command(&["n.ipynb", "--mask", "X_SECRET"]);
        fake_run::said(&command.env("X_SECRET", value).output().expect("igpt can be started"))
    };
    let (code, said) = run("abc");
    assert!(code == 2 && said.contains("would blank ordinary text"), "{said}");
    assert_eq!(run("").0, 0, "a fork sees no secrets");
}

/// The commands of the documentation's workflow, run as they stand there.
#[test]
fn the_workflow_of_the_documentation_works() {
    let documentation = include_str!("../docs/ci.md");
    let workflow = documentation
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("a workflow");
    let lines =
        workflow.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("run: "));
    let commands: Vec<&str> =
        lines.filter_map(|line| line.strip_prefix("cargo run --release --locked -- run ")).collect();
    assert!(commands.len() >= 2, "{workflow}");
    let shards: Vec<u32> = workflow
        .lines()
        .find_map(|line| line.trim().strip_prefix("shard: ["))
        .and_then(|rest| rest.strip_suffix(']'))
        .map(|rest| rest.split(", ").map(|number| number.parse().expect("a number")).collect())
        .expect("shares");
    let igpt = Igpt::new();
    for name in ["notebooks/a", "notebooks/b", "notebooks/c"] {
        igpt.write(name, &[cell("print 1")]);
    }
    let folder = igpt.path();
    git(folder, &["init", "-q", "-b", "main"]);
    git(folder, &["add", "-A"]);
    git(folder, &["commit", "-q", "-m", "one"]);
    git(folder, &["update-ref", "refs/remotes/origin/main", "HEAD"]);
    // The workflow compares with what is committed.
    assert_eq!(igpt.run(&["notebooks", "--in-place"]).0, 0);
    let mut ran = Vec::new();
    for command in commands {
        for shard in &shards {
            let command = command.replace("${{ matrix.shard }}", &shard.to_string());
            assert!(!command.contains("${{ matrix"), "{command}");
            let command = command.replace("${{ github.base_ref }}", "main");
            let arguments: Vec<&str> = command.split_whitespace().collect();
            let (code, said) = igpt.run(&arguments);
            assert_eq!(code, 0, "{command}\n{said}");
            ran.push(command);
        }
    }
    println!("{}", ran.join("\n"));
}
