//! The Dockerfile and the devcontainer install what `.ci/run` and the README do, and nothing else: what CI finds out about those
//! steps is true of the container, too. tests/container/chroot.sh runs the steps themselves.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What follows a word on the lines of the Dockerfile that begin with it.
fn instructions(word: &str) -> Vec<String> {
    let dockerfile = read("Dockerfile");
    let lines = dockerfile.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
    lines.map(str::to_owned).collect()
}

fn words(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// What stands in a text between two others, each time.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Vec<&'a str> {
    let parts = text.split(before).skip(1);
    parts.map(|part| part.split_once(after).unwrap_or_else(|| panic!("{after}: {part}")).0).collect()
}

#[test]
fn steps_are_those_of_ci() {
    let (ci, steps) = (read(".ci/run"), instructions("RUN"));
    let one = |part: &str| {
        let found: Vec<_> = steps.iter().filter(|step| step.contains(part)).collect();
        assert_eq!(found.len(), 1, "{part}: {steps:?}");
        found[0].clone()
    };
    // Debian's packages: the options and names that CI has.
    let install = "apt-get install -y -q --no-install-recommends ";
    let apt = one("apt-get");
    let packages = apt.split_once(install).unwrap_or_else(|| panic!("{apt}")).1;
    assert!(
        apt.starts_with("apt-get update -q && ") && ci.contains(&format!("apt-get update -q && {install}"))
    );
    assert_eq!(words(packages), words(&between(&ci, "missing+=(", ")").join(" ")));
    // And the README's are among them.
    for package in
        between(&read("README.md"), "`apt install ", "`").into_iter().flat_map(str::split_whitespace)
    {
        assert!(words(packages).contains(package), "{package}");
    }
    // Rust's components and Python's packages, word by word.
    let in_ci = |name: &str| {
        let line = ci.lines().find(|line| line.contains(&format!("step \"{name}\" ")));
        line.unwrap_or_else(|| panic!("{name}"))
            .split_once(&format!("step \"{name}\" "))
            .expect("a step")
            .1
            .to_owned()
    };
    assert_eq!(one("rustup"), in_ci("Rust's components"));
    assert_eq!(one("-m venv"), in_ci("A virtual environment"));
    assert_eq!(one("pip install"), in_ci("Jupyter"));
    assert_eq!(one("./igpt"), "./igpt setup");
    assert_eq!(steps.len(), 5, "a step that nothing compares: {steps:?}");
}

#[test]
fn the_image_has_the_toolchain_of_the_checkout() {
    let from = instructions("FROM");
    let version =
        from[0].strip_prefix("rust:").and_then(|image| image.split('-').next()).expect("an image of Rust");
    let toolchain = read("rust-toolchain.toml");
    let channel = between(&toolchain, "channel = \"", "\"")[0];
    assert_eq!(channel.rsplit_once('.').map(|(minor, _patch)| minor), Some(version));
    let components = between(&toolchain, "components = [", "]")[0].replace([',', '"'], " ");
    let added = instructions("RUN")
        .into_iter()
        .find_map(|step| Some(step.strip_prefix("rustup component add ")?.to_owned()));
    assert_eq!(words(&components), words(&added.expect("a step that adds components")));
}

#[test]
fn the_image_starts_the_command_of_the_checkout() {
    let list = |word: &str| serde_json::from_str::<Vec<String>>(&instructions(word)[0]).expect("a list");
    assert_eq!((list("ENTRYPOINT"), list("CMD")), (vec!["./igpt".to_owned()], vec!["run".to_owned()]));
    // What is built here stays out, and what the steps read goes in.
    let ignored = read(".dockerignore");
    assert!(["/target", ".venv"].iter().all(|folder| ignored.lines().any(|line| line == *folder)));
    for needed in ["igpt", "tests/jupyter/requirements.txt", "Cargo.lock", "kernel-lib/Cargo.toml"] {
        let is_out = Path::new(needed).ancestors().any(|part| {
            ignored
                .lines()
                .any(|line| part != Path::new("") && Path::new(line.trim_start_matches('/')) == part)
        });
        assert!(!read(needed).is_empty() && !is_out, "{needed}");
    }
}

#[test]
fn the_devcontainer_is_made_of_the_same_steps() {
    let container: Value = serde_json::from_str(&read(".devcontainer/devcontainer.json")).expect("JSON");
    let build = &container["build"];
    assert_eq!((&build["dockerfile"], &build["context"]), (&"../Dockerfile".into(), &"..".into()));
    let stage = build["target"].as_str().expect("a stage");
    assert!(instructions("FROM")[0].ends_with(&format!(" AS {stage}")), "the first stage");
    let last = instructions("RUN").pop();
    assert_eq!(
        container["postCreateCommand"].as_str(),
        last.as_deref(),
        "set-up, in the user's own checkout"
    );
}
