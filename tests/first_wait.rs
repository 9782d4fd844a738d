//! What a newcomer waits for: that the main job compiles only what it needs, and that the rest is compiled when it is asked
//! for.

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;
use tempfile::TempDir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a checkout").to_owned()
}

fn cargo(arguments: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints text")
}

#[test]
fn the_commands_of_the_readme_compile_and_test_what_they_should() {
    let metadata = cargo(&["metadata", "--format-version", "1", "--no-deps", "--locked"]);
    let metadata: Value = serde_json::from_str(&metadata).expect("cargo prints JSON");
    // `cargo test` in the checkout tests every package.
    let ids = |key: &str| -> HashSet<String> {
        metadata[key].as_array().expect("a list").iter().map(ToString::to_string).collect()
    };
    assert_eq!(ids("workspace_members"), ids("workspace_default_members"));
    // `cargo run` knows which program is meant, although there are several.
    let packages = metadata["packages"].as_array().expect("a list");
    let default: Vec<_> = packages.iter().filter_map(|package| package["default_run"].as_str()).collect();
    assert_eq!(default, ["igpt"]);

    // What `cargo run` compiles, and the good twin.
    let needs = |package: &str| -> HashSet<String> {
        let edges = ["tree", "--package", package, "--edges", "normal,build", "--prefix", "none"];
        let tree = cargo(&[&edges[..], &["--locked", "--offline"]].concat());
        tree.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
    };
    let (command, fetch) = (needs("igpt-notebooks"), needs("igpt-fetch"));
    for package in ["hf-hub", "reqwest", "rustls", "parquet", "image", "igpt", "igpt-fetch"] {
        assert!(!command.contains(package), "the command needs {package}");
    }
    for package in ["hf-hub", "reqwest", "rustls", "parquet", "image"] {
        assert!(fetch.contains(package), "{package}: {fetch:?}");
    }
    assert!(command.contains("igpt-common") && command.contains("zeromq"), "{command:?}");
}

/// What is compiled with less optimisation, so that the command is there sooner, is nothing that the library computes with.
#[test]
fn the_library_is_optimised_as_ever() {
    let text = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace's manifest");
    let manifest: toml::Table = text.parse().expect("TOML");
    let release = &manifest["profile"]["release"];
    assert_eq!(release["opt-level"].as_integer(), Some(3));
    let packages = release["package"].as_table().expect("packages").iter();
    let less: HashSet<_> =
        packages.filter(|(_, how)| how.get("opt-level").is_some()).map(|(name, _)| name.as_str()).collect();
    let tree = cargo(&[
        "tree",
        "--package",
        "igpt",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--locked",
        "--offline",
    ]);
    let library: HashSet<_> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(less.contains("zeromq") && library.contains("candle-core"), "{less:?} {library:?}");
    let both: Vec<_> = less.intersection(&library).collect();
    assert!(both.is_empty(), "the library is made of {both:?}");
}

/// A checkout with nothing in it, the command as Jupyter's copy of it, and a cargo that notes what it is told and builds a
/// program that says so.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().expect("a folder") };
        for file in [
            "Cargo.toml",
            "Cargo.lock",
            "notebooks/Cargo.toml",
            "notebooks/common/src/lib.rs",
            "notebooks/fetch/src/lib.rs",
            "kernel-lib/Cargo.toml",
            "kernel-lib/formats/src/lib.rs",
        ] {
            place.write(&format!("checkout/{file}"), "");
        }
        place.write("checkout/rust-toolchain.toml", "[toolchain]\nchannel = \"1.95.0\"\n");
        fs::create_dir_all(place.at("copy")).expect("a folder");
        fs::copy(env!("CARGO_BIN_EXE_igpt"), place.at("copy/igpt")).expect("the command can be copied");
        place.cargo(
            "real",
            "echo '{\"reason\":\"compiler-artifact\",\"package_id\":\"a\"}'\n\
             mkdir -p target/release\n\
             printf '#!/bin/sh\\necho build %s fetched \"$@\"\\n' $(grep -c '^build' ../calls) > target/release/igpt-fetch\n\
             chmod +x target/release/igpt-fetch",
        );
        place
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder can be made");
        fs::write(path, text).expect("a file can be written");
    }

    /// A cargo in a folder of its own, which does this when it is to build.
    fn cargo(&self, folder: &str, build: &str) {
        let path = format!("{folder}/cargo");
        let tree = "if [ \"$1\" = tree ]; then printf 'a v1.0.0\\nb v1.0.0\\nb v1.0.0 (*)\\n'; exit; fi";
        self.write(&path, &format!("#!/bin/sh\necho \"$*\" >> ../calls\n{tree}\n{build}\n"));
        fs::set_permissions(self.at(&path), fs::Permissions::from_mode(0o755)).expect("a program");
    }

    fn igpt(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.at("copy/igpt"));
        command.args(arguments).current_dir(self.at("checkout")).env("IGPT_CACHE", self.at("cache"));
        command.env("PATH", self.path("real")).env_remove("CARGO_HOME").env_remove("IGPT_REAL_CARGO_HOME");
        command
    }

    fn path(&self, first: &str) -> String {
        format!("{}:{}", self.at(first).display(), std::env::var("PATH").expect("a path"))
    }

    /// What cargo was told since the last question, but for `cargo tree`.
    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.at("calls")).unwrap_or_default();
        self.write("calls", "");
        calls.lines().filter(|call| !call.starts_with("tree")).map(str::to_owned).collect()
    }
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn run(mut command: Command) -> (Option<i32>, String, String) {
    said(&command.output().expect("the command starts"))
}

#[test]
fn the_first_fetch_compiles_and_later_ones_only_what_changed() {
    let place = Place::new();
    let fetch = || run(place.igpt(&["fetch", "a/b", "--side", "8"]));
    let (code, out, errors) = fetch();
    assert_eq!(code, Some(0), "{out}{errors}");
    assert!(out.starts_with("The part of igpt that fetches is compiled first"), "{out}");
    assert!(out.ends_with("build 1 fetched a/b --side 8\n"), "{out}");
    let calls = place.calls();
    let target = place.at("checkout/target");
    let built = format!("build --bin igpt-fetch --locked --target-dir {} --release", target.display());
    assert!(calls.len() == 1 && calls[0].starts_with(&built), "{calls:?}");

    let (_, out, _) = fetch();
    assert_eq!(out, "build 1 fetched a/b --side 8\n");
    assert!(place.calls().is_empty(), "nothing has changed");

    for source in ["notebooks/fetch/src/lib.rs", "kernel-lib/formats/src/lib.rs", "Cargo.lock"] {
        let file = fs::File::options().write(true).open(place.at("checkout").join(source)).expect("a file");
        file.set_modified(SystemTime::now() + Duration::from_secs(5)).expect("a time can be set");
        let (_, out, _) = fetch();
        assert!(out.ends_with("fetched a/b --side 8\n"), "{out}");
        assert_eq!(place.calls().len(), 1, "{source} has changed");
        file.set_modified(SystemTime::now() - Duration::from_secs(5)).expect("a time can be set");
    }
    // What the program is not made of.
    place.write("checkout/kernel-lib/src/data/other.rs", "");
    place.write("checkout/notebooks/src/lib.rs", "");
    fetch();
    assert!(place.calls().is_empty());
}

#[test]
fn what_is_asked_wrongly_is_told_before_anything_is_compiled() {
    let place = Place::new();
    let (code, _, errors) = run(place.igpt(&["fetch", "cifar10", "--sdie", "8"]));
    assert!(code == Some(2) && errors.contains("--side"), "{errors}");
    let (code, _, errors) = run(place.igpt(&["fetch"]));
    assert!(code == Some(2) && errors.contains("<NAME>"), "{errors}");
    let (code, out, _) = run(place.igpt(&["fetch", "--help"]));
    assert!(code == Some(0) && out.contains("--image-column") && out.contains("HF_ENDPOINT"), "{out}");
    assert!(place.calls().is_empty());
}

#[test]
fn a_compilation_that_fails_is_told_and_the_next_try_can_succeed() {
    let place = Place::new();
    place.cargo("broken", "echo 'error: no space' >&2; exit 101");
    let mut command = place.igpt(&["fetch", "cifar10"]);
    command.env("PATH", place.path("broken"));
    let (code, _, errors) = run(command);
    assert_eq!(code, Some(1));
    for part in
        ["error: the part of igpt that fetches (igpt-fetch) cannot be compiled", "101", "error: no space"]
    {
        assert!(errors.contains(part), "{errors}");
    }
    assert_eq!(place.calls().len(), 1);
    let (code, out, errors) = run(place.igpt(&["fetch", "cifar10"]));
    assert!(code == Some(0) && out.ends_with("fetched cifar10\n"), "{out}{errors}");
}

/// In a notebook the first cargo of the path is ours, which builds cells.
#[test]
fn a_notebook_compiles_with_the_real_cargo() {
    let place = Place::new();
    place.cargo("ours/bin", "echo 'the cargo of notebooks was asked' >&2; exit 1");
    let command = || {
        let mut command = place.igpt(&["fetch", "cifar10"]);
        let path = format!("{}:{}", place.at("ours/bin").display(), place.path("real"));
        command.env("PATH", path).env("CARGO_HOME", place.at("ours"));
        command.env("CARGO_TARGET_DIR", "/nowhere").env("RUSTFLAGS", "--cfg=cells");
        command
    };
    let (code, _, errors) = run(command());
    assert!(code == Some(1) && errors.contains("the cargo of notebooks was asked"), "{errors}");
    let mut in_notebook = command();
    in_notebook.env("IGPT_REAL_CARGO_HOME", place.at("home"));
    let (code, out, errors) = run(in_notebook);
    assert!(code == Some(0) && out.ends_with("fetched cifar10\n"), "{out}{errors}");
}

/// Set-up ends at this evcxr, which is no program; what is downloaded meanwhile was begun before.
#[test]
fn set_up_downloads_what_is_compiled_later() {
    let place = Place::new();
    place.write("cache/evcxr-0.22.0/bin/evcxr_jupyter", "no program");
    let mut command = place.igpt(&["setup"]);
    command.env("JUPYTER_DATA_DIR", place.at("jupyter")).env_remove("RUSTUP_TOOLCHAIN");
    let (code, out, errors) = run(command);
    assert!(code == Some(1) && errors.contains("setting up the library"), "{out}{errors}");
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut calls = place.calls();
    while calls.is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
        calls = place.calls();
    }
    let fetch: Vec<_> = calls.iter().filter(|call| call.starts_with("fetch")).collect();
    assert!(fetch.len() == 1 && fetch[0].starts_with("fetch --locked --quiet --target "), "{calls:?}");
}

/// `./igpt` of a checkout whose cargo is a script.
#[test]
fn the_script_of_the_checkout_builds_and_starts_the_command() {
    let place = Place::new();
    place.cargo(
        "real",
        "pwd >> ../where\nwhile [ $# -gt 1 ]; do [ \"$1\" = --target-dir ] && target=$2; shift; done\n\
         mkdir -p \"$target/release\"\n\
         printf '#!/bin/sh\\npwd\\nfor word; do echo \"<$word>\"; done\\nexit 7\\n' > \"$target/release/igpt\"\n\
         chmod +x \"$target/release/igpt\"",
    );
    let script = place.at("checkout/igpt");
    fs::copy(root().join("igpt"), &script).expect("the script is in the checkout");
    fs::create_dir_all(place.at("else where")).expect("a folder");
    let link = place.at("else where/a link");
    std::os::unix::fs::symlink(&script, &link).expect("a link can be made");
    let here = place.at("else where").canonicalize().expect("a folder");
    let start = |program: &Path, target: Option<&str>| {
        let mut command = Command::new(program);
        command.args(["run", "a b", "--x=*"]).current_dir(&here).env("PATH", place.path("real"));
        command.env_remove("CARGO_TARGET_DIR").envs(target.map(|target| ("CARGO_TARGET_DIR", target)));
        run(command)
    };
    let expected = format!("{}\n<run>\n<a b>\n<--x=*>\n", here.display());
    for (program, target) in
        [(&script, None), (&link, None), (&script, Some("made")), (&script, place.at("x y").to_str())]
    {
        let (code, out, errors) = start(program, target);
        assert_eq!((code, &*out), (Some(7), &*expected), "{errors}");
    }
    let calls = place.calls();
    let checkout = place.at("checkout").canonicalize().expect("a folder");
    let call = |target: &Path, quiet: &str| {
        format!("build --release --locked --bin igpt --target-dir {}{quiet}", target.display())
    };
    // It says nothing when there is something to start already.
    let (usual, relative) = (checkout.join("target"), checkout.join("made"));
    let expected =
        [call(&usual, ""), call(&usual, " --quiet"), call(&relative, ""), call(&place.at("x y"), "")];
    assert_eq!(calls, expected);
    let places = fs::read_to_string(place.at("where")).expect("cargo was called");
    assert!(places.lines().all(|line| Path::new(line) == checkout), "{places}");

    // What cannot be built is not started, though an older one is there.
    place.cargo("real", "echo 'error: it does not compile' >&2; exit 101");
    let (code, out, errors) = start(&script, None);
    assert!(code == Some(101) && out.is_empty() && errors.contains("does not compile"), "{out}{errors}");
    let mut without = Command::new("/bin/sh");
    without.arg(&script).env("PATH", place.at("tools"));
    fs::create_dir_all(place.at("tools")).expect("a folder");
    for tool in ["dirname", "readlink"] {
        let found = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(tool)).into_iter();
        let found = found.into_iter().find(|file| file.exists()).expect("coreutils");
        std::os::unix::fs::symlink(found, place.at("tools").join(tool)).expect("a link");
    }
    let (code, _, errors) = run(without);
    assert!(code == Some(1) && errors.contains("there is no cargo in the PATH"), "{errors}");
}

#[test]
fn texts_name_the_command_of_the_checkout() {
    let root = root();
    let readme = fs::read_to_string(root.join("README.md")).expect("the README");
    assert!(readme.contains("./igpt run --check"), "the README names ./igpt");
    for folder in ["notebooks/src", "notebooks/fetch/src", "papers/igpt/profiles"] {
        for entry in walk(&root.join(folder)) {
            let text = fs::read_to_string(&entry).expect("a text");
            assert!(!text.contains("cargo run --release --"), "{}", entry.display());
        }
    }
    assert!(!readme.contains("cargo run --release --"));
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let of_text = |file: &PathBuf| {
        file.extension().is_some_and(|ending| ["rs", "toml", "md"].iter().any(|text| ending == *text))
    };
    files.into_iter().filter(of_text).chain(folders.iter().flat_map(|folder| walk(folder))).collect()
}
