//! `igpt doctor` names what is broken and how to cure it; `igpt kernel --list` sees a live kernel.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use igpt_tests::{cell, igpt, is_alive, set_up, write_notebook};

/// A place of its own for what is broken: Jupyter's folder, in which a kernelspec is installed.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        set_up();
        let place = Self { folder: tempfile::tempdir().expect("a folder") };
        let done = place.igpt().arg("setup").output().expect("igpt runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn kernelspec(&self, name: &str) -> PathBuf {
        self.path("jupyter/kernels/igpt").join(name)
    }

    fn igpt(&self) -> Command {
        let mut command = igpt();
        command.env("JUPYTER_DATA_DIR", self.path("jupyter"));
        command
    }
}

/// Exit status 0 or not, and the report.
fn examined(command: &mut Command) -> (bool, String) {
    let output = command.arg("doctor").output().expect("igpt runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("igpt"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

/// The finding's line and the line of its cure.
fn finding(said: &str, what: &str) -> [String; 2] {
    let mut lines = said.lines().skip_while(|line| line.split_whitespace().nth(1) != Some(what));
    [(); 2].map(|()| lines.next().unwrap_or_default().trim().to_owned())
}

#[track_caller]
fn assert_problem(command: &mut Command, what: &str, seen: &str, cure: &str) {
    let (well, said) = examined(command);
    assert!(!well, "exit status 0 with a problem:\n{said}");
    let [line, next] = finding(&said, what);
    assert!(line.starts_with("problem") && line.contains(seen), "{said}");
    assert!(next.starts_with('→') && next.contains(cure), "{said}");
}

#[test]
fn each_breakage_is_named_with_its_cure() {
    let place = Place::new();
    let (well, said) = examined(&mut place.igpt());
    assert!(well && !said.contains("problem "), "{said}");
    for what in
        ["toolchain", "rust-src", "linker", "evcxr", "kernelspec", "disk", "processor", "memory", "GPU"]
    {
        assert!(!finding(&said, what)[0].is_empty(), "{what}:\n{said}");
    }

    // The kernelspec: its program, its checkout, itself.
    let program = place.kernelspec("igpt");
    fs::rename(&program, place.path("away")).expect("the program can be moved");
    assert_problem(&mut place.igpt(), "kernelspec", "which is not there", "igpt setup");
    fs::rename(place.path("away"), &program).expect("and back");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).expect("permissions");
    assert_problem(&mut place.igpt(), "kernelspec", "not executable", "igpt setup");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("permissions");
    let spec = fs::read_to_string(place.kernelspec("kernel.json")).expect("the kernelspec");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout").display().to_string();
    fs::write(place.kernelspec("kernel.json"), spec.replace(&format!("{root}\""), "/not/there\""))
        .expect("a change");
    assert_problem(&mut place.igpt(), "kernelspec", "/not/there is not there any more", "igpt setup");
    fs::remove_file(place.kernelspec("kernel.json")).expect("the kernelspec can be removed");
    assert_problem(&mut place.igpt(), "kernelspec", "not installed", "igpt setup");
    // The cure cures.
    assert!(place.igpt().arg("setup").output().expect("igpt runs").status.success());
    let (well, said) = examined(&mut place.igpt());
    assert!(well, "{said}");

    // The engine: a cache where nobody set up, an engine that does not start, one of another version.
    let cache = place.path("cache");
    let elsewhere = || {
        let mut command = place.igpt();
        command.env("IGPT_CACHE", &cache);
        command
    };
    assert_problem(&mut elsewhere(), "evcxr", "is not built", "igpt setup");
    let engine = cache.join("evcxr-0.22.0/bin/evcxr_jupyter");
    fs::create_dir_all(engine.parent().expect("a folder")).expect("a folder");
    fs::write(&engine, "#!/bin/sh\necho no library >&2; exit 127\n").expect("an engine");
    fs::set_permissions(&engine, fs::Permissions::from_mode(0o755)).expect("permissions");
    assert_problem(&mut elsewhere(), "evcxr", "no library", "rm -r");
    fs::write(
        cache.join("evcxr-0.22.0/.crates.toml"),
        "[v1]\n\"evcxr_jupyter 0.21.1 (x)\" = [\"evcxr_jupyter\"]\n",
    )
    .expect("cargo's notes");
    assert_problem(&mut elsewhere(), "evcxr", "is version 0.21.1, not 0.22.0", "rm -r");

    // The tools.
    let tools = place.path("tools");
    fs::create_dir(&tools).expect("a folder");
    let without = || {
        let mut command = place.igpt();
        command.env("PATH", &tools);
        command
    };
    assert_problem(&mut without(), "toolchain", "cannot start `rustc`", "https://rustup.rs");
    assert_problem(&mut without(), "linker", "no C linker", "apt install build-essential");
    // A rustup that lacks the toolchain is not asked for it: it would download it.
    fs::write(tools.join("rustup"), "#!/bin/sh\necho stable-x86_64-unknown-linux-gnu\n").expect("a rustup");
    fs::set_permissions(tools.join("rustup"), fs::Permissions::from_mode(0o755)).expect("permissions");
    assert_problem(&mut without(), "toolchain", "is not installed", "rustup toolchain install 1.95");
}

/// A person whose home is another one has no set-up there, which is told, and a GPU is not missed.
#[test]
fn another_home_has_no_set_up() {
    let home = tempfile::tempdir().expect("a folder");
    let mut command = igpt();
    let kept = |name: &str, usual: &str| {
        let own = std::env::var_os("HOME").map(|home| Path::new(&home).join(usual)).unwrap_or_default();
        std::env::var_os(name).map(PathBuf::from).unwrap_or(own)
    };
    command
        .env("RUSTUP_HOME", kept("RUSTUP_HOME", ".rustup"))
        .env("CARGO_HOME", kept("CARGO_HOME", ".cargo"))
        .env("HOME", home.path())
        .env_remove("JUPYTER_DATA_DIR")
        .env_remove("IGPT_CACHE")
        .env_remove("XDG_CACHE_HOME")
        .env_remove("XDG_DATA_HOME");
    let (well, said) = examined(&mut command);
    assert!(!well, "{said}");
    for what in ["evcxr", "kernelspec"] {
        let [line, cure] = finding(&said, what);
        assert!(line.starts_with("problem") && line.contains(&*home.path().to_string_lossy()), "{said}");
        assert_eq!(cure, "→ igpt setup");
    }
    assert!(finding(&said, "toolchain")[0].starts_with("ok"), "{said}");
    assert!(!finding(&said, "GPU")[0].starts_with("problem"), "{said}");
}

/// In a cache of its own, so that no other test's slots are removed: its checkout is this one, its engine the real one.
#[test]
fn a_live_kernels_slot_is_listed_and_not_removed() {
    set_up();
    let folder = tempfile::tempdir().expect("a folder");
    let (here, started) = (folder.path(), folder.path().join("started"));
    let real = std::env::var_os("IGPT_CACHE").map(PathBuf::from).unwrap_or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        cache
            .unwrap_or_else(|| Path::new(&std::env::var_os("HOME").expect("a home")).join(".cache"))
            .join("igpt")
    });
    let cache = here.join("cache");
    fs::create_dir_all(cache.join("slots")).expect("a folder");
    symlink(real.join("evcxr-0.22.0"), cache.join("evcxr-0.22.0")).expect("the engine can be linked");
    // The checkout's base, from which the kernel's slot is copied.
    for checkout in fs::read_dir(real.join("slots")).expect("set-up made slots").flatten() {
        let base = checkout.path().join("base");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout").canonicalize();
        if fs::read_to_string(base.join("checkout")).ok().map(PathBuf::from) == root.ok() {
            let own = cache.join("slots").join(checkout.file_name());
            fs::create_dir_all(&own).expect("a folder");
            let copied = Command::new("cp").arg("-a").arg(&base).arg(own.join("base")).status();
            assert!(copied.is_ok_and(|status| status.success()), "the base can be copied");
        }
    }
    let own = || {
        let mut command = igpt();
        command.env("IGPT_CACHE", &cache).current_dir(here);
        command
    };
    let said = |arguments: &[&str]| {
        let output = own().args(arguments).output().expect("igpt runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let source = format!(
        "std::fs::write({started:?}, std::process::id().to_string())?;\n\
         loop {{ std::thread::sleep(std::time::Duration::from_secs(1)); }}"
    );
    write_notebook(here, "endless", &[cell(source)]);
    let mut runner = own()
        .args(["run", "endless.ipynb", "--out", "out"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("igpt runs");
    let begun = Instant::now();
    let child = loop {
        match fs::read_to_string(&started) {
            Ok(pid) if !pid.is_empty() => break pid,
            _ if begun.elapsed() > Duration::from_secs(300) => panic!("the cell did not start"),
            _ => std::thread::sleep(Duration::from_millis(100)),
        }
    };
    let listed = said(&["kernel", "--list"]);
    let slot = |name: &str| {
        let mut lines = listed.lines().filter(|line| line.split_whitespace().next() == Some(name));
        lines.next().unwrap_or_else(|| panic!("no slot {name}:\n{listed}"))
    };
    assert!(slot("base").contains("built") && slot("base").ends_with("free"), "{listed}");
    let user = slot("0").rsplit_once("in use by ").unwrap_or_else(|| panic!("{listed}")).1;
    let command = fs::read_to_string(format!("/proc/{user}/cmdline")).unwrap_or_default().replace('\0', " ");
    assert!(command.contains("kernel --connection-file"), "{user} is {command}");
    let cleaned = said(&["kernel", "--clean"]);
    assert!(cleaned.contains(&format!("in use by {user}")) && cleaned.contains("kept    base"), "{cleaned}");
    assert!(is_alive(&child), "the kernel lost its slot");

    runner.kill().expect("the runner can be killed");
    runner.wait().expect("the runner ends");
    // What the runner could not end any more ends by itself.
    let begun = Instant::now();
    while said(&["kernel", "--list"]).contains("in use") {
        assert!(begun.elapsed() < Duration::from_secs(10), "the slot stays locked");
        std::thread::sleep(Duration::from_millis(100));
    }
    let cleaned = said(&["kernel", "--clean"]);
    assert!(cleaned.contains("removed 0 of"), "{cleaned}");
    let listed = said(&["kernel", "--list"]);
    assert!(listed.contains("base") && !listed.contains("in use"), "{listed}");
}
