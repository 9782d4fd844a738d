//! What the runner is told besides a notebook's outputs, as `notebooks/src/run/journal.rs` reads it, and where profiles are found. The
//! variables that decide this are those of a process: each test starts this file again.

use igpt::prelude::*;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

/// Runs the ignored test of this name with these variables.
fn start(test: &str, variables: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]);
    command.env_remove("IGPT_PROFILE");
    command.envs(variables.iter().copied()).output().unwrap()
}

#[test]
#[ignore = "what the test below starts"]
fn a_notebook() {
    let paper = paper::igpt().unwrap();
    let on = Workspace::current().unwrap();
    let mut profile = Profile::named("quick").unwrap();
    data::photograph("coffee").unwrap();
    let usual = profile.ours(&on).unwrap();
    let label = format!("{usual}; six photographs.");
    let _ = paper.compare(label).claim("palette-shortens-context", [3.0, 3e-7]).unwrap();
    profile.model.layers = 2;
    let changed = profile.ours(&on).unwrap();
    assert_ne!(changed, usual);
    assert!(changed.starts_with("profile quick with its model changed, "), "{changed}");
}

#[test]
fn the_runner_is_told_labels_and_data() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let output = start("a_notebook", &[("IGPT_JOURNAL", &journal)]);
    assert!(output.status.success(), "{output:?}");
    let text = std::fs::read_to_string(journal).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).cloned().collect::<Vec<_>>();
    let [claim] = &of("claim")[..] else { panic!("{text}") };
    let [label] = &of("profile-label")[..] else { panic!("the changed profile is none: {text}") };
    let usual = label["label"].as_str().unwrap();
    assert!(usual.starts_with("profile quick, Fashion-MNIST (sample), randomly translated, "), "{usual}");
    assert_eq!(claim["label"], format!("{usual}; six photographs"));
    assert_eq!(claim["measured"], serde_json::json!({"numbers": [3.0, 3e-7]}));
    let manifest = data::Manifest::open().unwrap();
    let coffee = manifest.files().iter().find(|file| file.path == "photographs/coffee.png").unwrap();
    let read = of("data");
    let told = read.iter().find(|line| line["name"] == "data/photographs/coffee.png").unwrap();
    assert_eq!((&told["sha256"], &told["revision"]), (&coffee.sha256.clone().into(), &"".into()));
}

#[test]
#[ignore = "what the test below starts"]
fn a_profile() {
    match Profile::named("quick") {
        Ok(profile) => println!("found {}", profile.name),
        Err(error) => println!("refused: {error}"),
    }
}

#[test]
fn two_profiles_of_one_name_are_refused_with_both_files() {
    let quick = Path::new(env!("CARGO_MANIFEST_DIR")).join("../papers/igpt/profiles/quick.toml");
    let root = tempfile::tempdir().unwrap();
    let said = || {
        let output = start("a_profile", &[("IGPT_ROOT", root.path())]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let put = |paper: &str, name: &str| {
        let folder = root.path().join("papers").join(paper).join("profiles");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(&quick, folder.join(name)).unwrap();
    };
    put("p", "quick.toml");
    put("q", "other.toml");
    assert!(said().contains("found quick"), "{}", said());
    put("q", "quick.toml");
    let refused = said();
    for file in ["papers/p/profiles/quick.toml", "papers/q/profiles/quick.toml"] {
        assert!(refused.contains("refused: ") && refused.contains(file), "{refused}");
    }
}
