//! `igpt steps` and `igpt compute`: what is computed without a notebook is what a notebook finds.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use igpt::prelude::{AnyStep, Features, LinearProbe, Pretraining, Profile, Step as _, Store, Workspace};
use igpt_tests::{Executed, cell, igpt, set_up, write_notebook};

/// Runs the command with a store of its own.
fn run(store: &Path, arguments: &[&str]) -> Output {
    let output = igpt()
        .args(arguments)
        .env("IGPT_STORE", store)
        .env("IGPT_DEVICE", "cpu")
        .current_dir(root())
        .output()
        .expect("igpt runs");
    println!("{}{}", text(&output.stdout), text(&output.stderr));
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("the folder").map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A tiny pre-training of the quick profile's data, and a probe of it.
fn tiny() -> LinearProbe {
    let mut profile = Profile::named("quick").expect("the quick profile");
    profile.data.train_images = Some(200);
    profile.data.test_images = Some(100);
    (profile.model.layers, profile.model.width, profile.model.heads) = (2, 16, 2);
    profile.training.length = igpt::train::Length::Steps(6);
    profile.training.warm_up = igpt::train::WarmUp::Steps(1);
    profile.samples.after = vec![0, 3];
    profile.probe.l2 = vec![1e-2, 1.0];
    LinearProbe::of(Features::of(&Pretraining::of(&profile))).with(&profile.probe)
}

/// The files of all results in a store, without manifests, which hold dates.
fn results(store: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in files(store) {
        for file in files(&entry.join("result")).into_iter().filter(|file| !file.ends_with("manifest.json")) {
            let name = file.strip_prefix(store).unwrap().display().to_string();
            all.push((name, fs::read(&file).unwrap()));
        }
    }
    all
}

#[test]
fn what_is_computed_from_a_file_is_what_a_notebook_finds() {
    set_up();
    let folder = tempfile::tempdir().expect("a folder");
    let (store, file) = (folder.path().join("store"), folder.path().join("step.json"));
    let step = tiny();
    fs::write(&file, AnyStep::from(step.clone()).to_json().unwrap()).unwrap();
    let name = file.to_str().unwrap();
    let output = run(&store, &["compute", name]);
    assert!(output.status.success());
    assert!(text(&output.stdout).contains("linear-probe ") && text(&output.stdout).contains("computed in"));
    // A second time there is nothing to do.
    assert!(text(&run(&store, &["compute", name]).stdout).contains("was there"));

    // This process finds it; and what it computes itself has the same names and bytes.
    let device = igpt::device::Device::cpu();
    let found = Workspace::new(Store::at(&store), device.clone());
    step.run_on(&found).unwrap();
    let said = igpt::show::Show::to_text(&found.store().report());
    assert!(said.contains("Reused: 1 of 1 results"), "{said}");
    let own = folder.path().join("own");
    step.run_on(&Workspace::new(Store::at(&own), device)).unwrap();
    assert!(results(&own) == results(&store));

    // What is wrong is said.
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("\"side\": 14", "\"side\": 0")).unwrap();
    let output = run(&store, &["compute", name]);
    assert!(!output.status.success() && text(&output.stderr).contains("data.side"));
    fs::write(&file, "{\"step\": \"palett\"}").unwrap();
    let output = run(&store, &["compute", name]);
    assert!(!output.status.success() && text(&output.stderr).contains("it is no step"));
}

/// The rule for GNU make in `docs/steps.md`.
fn make_rule() -> String {
    let text = fs::read_to_string(root().join("docs/steps.md")).expect("docs/steps.md");
    let rule = text.split("```make\n").nth(1).and_then(|rest| rest.split("```").next());
    rule.expect("a rule for make").to_owned()
}

#[test]
fn steps_are_listed_written_and_left_to_make() {
    set_up();
    let folder = tempfile::tempdir().expect("a folder");
    let (store, steps) = (folder.path().join("store"), folder.path().join("steps"));
    let output = run(&store, &["steps", "--missing", "--write", steps.to_str().unwrap()]);
    let said = text(&output.stdout);
    assert!(output.status.success() && said.contains("0 of 13 steps of the profile quick"), "{said}");
    assert_eq!(files(&steps).len(), 13);
    let first = files(&steps).remove(0);
    assert!(first.to_str().unwrap().contains("01-palette-"), "{first:?}");

    let here = igpt().get_program().to_owned();
    std::os::unix::fs::symlink(here, folder.path().join("igpt")).unwrap();
    fs::write(folder.path().join("Makefile"), make_rule()).unwrap();
    let done = first.with_extension("done");
    let made = Command::new("make")
        .arg(done.strip_prefix(folder.path()).unwrap())
        .env("IGPT_STORE", &store)
        .current_dir(folder.path())
        .output()
        .expect("make runs");
    assert!(made.status.success() && done.exists(), "{}{}", text(&made.stdout), text(&made.stderr));
    let said = text(&run(&store, &["steps"]).stdout);
    assert!(said.contains("1 of 13 steps") && said.contains(" there "), "{said}");
}

/// The lines of `docs/steps.md`, for networks that train in a second.
#[test]
fn a_notebook_composes_steps() {
    set_up();
    let folder = tempfile::tempdir().expect("a folder");
    let small = "use igpt::train::{Length, WarmUp};
let mut profile = Profile::current()?;
profile.data.train_images = Some(200);
profile.data.test_images = Some(100);
(profile.model.layers, profile.model.width, profile.model.heads) = (2, 16, 2);
(profile.training.length, profile.training.warm_up) = (Length::Steps(6), WarmUp::Steps(1));
profile.samples.after = vec![0];";
    let lines = "let ar = Pretraining::of(&profile).seed(2);
let bert = ar.clone().objective(Objective::Bert { mask: 0.15 });
let curve = LinearProbe::of(Features::of(&bert)).run()?;
println!(\"BERT: {} layers\", curve.layers.len());";
    let twin = "let curve = LinearProbe::of(Features::of(&ar)).run()?;
println!(\"AR: {} layers\", curve.layers.len());";
    let shown = "let trained = ar.show()?;\nprintln!(\"{} steps\", trained.curve.validation.last().map_or(0, |point| point.step));";
    write_notebook(folder.path(), "steps", &[cell(small), cell(lines), cell(twin), cell(shown)]);
    let output = igpt()
        .args(["run", "steps.ipynb", "--out", "out"])
        .env("IGPT_STORE", folder.path().join("store"))
        .current_dir(folder.path())
        .output()
        .expect("igpt runs");
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let notebook = Executed::read(&folder.path().join("out/steps.ipynb"));
    assert_eq!(notebook.stream(2, "stdout"), "BERT: 3 layers\n", "{said}");
    assert_eq!(notebook.stream(3, "stdout"), "AR: 3 layers\n", "{said}");
    assert_eq!(notebook.stream(4, "stdout"), "6 steps\n", "{said}");
    // What was computed says in the report why, and what was found, too: the last cell's network.
    let report = fs::read_to_string(folder.path().join("out/report.html")).expect("the report");
    assert!(report.contains("no result of such a step was stored"), "{said}");
}
