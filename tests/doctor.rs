//! `igpt doctor` names what is broken and how to cure it; `igpt kernel --list` sees a live kernel.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
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

/// What is broken: what the finding is called, what it says, and the cure.
#[track_caller]
fn assert_problems<const N: usize>(command: &mut Command, problems: [(&str, &str, &str); N]) {
    let (well, said) = examined(command);
    assert!(!well, "exit status 0 with a problem:\n{said}");
    for (what, seen, cure) in problems {
        let [line, next] = finding(&said, what);
        assert!(line.starts_with("problem") && line.contains(seen), "{what}:\n{said}");
        assert!(next.starts_with('→') && next.contains(cure), "{what}:\n{said}");
    }
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

    // A report takes seconds, which is Jupyter's time: so what has nothing to do with each other is broken at once. The kernelspec: its
    // program, its checkout. evcxr: a cache where nobody set up, one that does not start, one of another version. The tools.
    let program = place.kernelspec("igpt");
    let (cache, tools) = (place.path("cache"), place.path("tools"));
    fs::create_dir(&tools).expect("a folder");
    let broken = || {
        let mut command = place.igpt();
        command.env("IGPT_CACHE", &cache).env("PATH", &tools);
        command
    };
    fs::rename(&program, place.path("away")).expect("the program can be moved");
    assert_problems(
        &mut broken(),
        [
            ("kernelspec", "which is not there", "igpt setup"),
            ("evcxr", "is not built", "igpt setup"),
            ("toolchain", "cannot start `rustc`", "https://rustup.rs"),
            ("linker", "no C linker", "apt install build-essential"),
        ],
    );
    fs::rename(place.path("away"), &program).expect("and back");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).expect("permissions");
    let evcxr = cache.join("evcxr-0.22.0/bin/evcxr_jupyter");
    fs::create_dir_all(evcxr.parent().expect("a folder")).expect("a folder");
    fs::write(&evcxr, "#!/bin/sh\necho no library >&2; exit 127\n").expect("an evcxr");
    fs::set_permissions(&evcxr, fs::Permissions::from_mode(0o755)).expect("permissions");
    // A rustup that lacks the toolchain is not asked for it: it would download it.
    fs::write(tools.join("rustup"), "#!/bin/sh\necho stable-x86_64-unknown-linux-gnu\n").expect("a rustup");
    fs::set_permissions(tools.join("rustup"), fs::Permissions::from_mode(0o755)).expect("permissions");
    assert_problems(
        &mut broken(),
        [
            ("kernelspec", "not executable", "igpt setup"),
            ("evcxr", "no library", "rm -r"),
            ("toolchain", "is not installed", "rustup toolchain install 1.95"),
        ],
    );
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("permissions");
    let spec = fs::read_to_string(place.kernelspec("kernel.json")).expect("the kernelspec");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout").display().to_string();
    fs::write(place.kernelspec("kernel.json"), spec.replace(&format!("{root}\""), "/not/there\""))
        .expect("a change");
    fs::write(
        cache.join("evcxr-0.22.0/.crates.toml"),
        "[v1]\n\"evcxr_jupyter 0.21.1 (x)\" = [\"evcxr_jupyter\"]\n",
    )
    .expect("cargo's notes");
    assert_problems(
        &mut broken(),
        [
            ("kernelspec", "/not/there is not there any more", "igpt setup"),
            ("evcxr", "is version 0.21.1, not 0.22.0", "rm -r"),
        ],
    );
    // One alone.
    fs::remove_file(place.kernelspec("kernel.json")).expect("the kernelspec can be removed");
    assert_problems(&mut place.igpt(), [("kernelspec", "not installed", "igpt setup")]);
    // The cure cures.
    assert!(place.igpt().arg("setup").output().expect("igpt runs").status.success());
    let (well, said) = examined(&mut place.igpt());
    assert!(well, "{said}");
}

/// A user whose home is another one has no set-up there, which is told, and a GPU is not missed.
#[test]
fn another_home_has_no_set_up() {
    let home = tempfile::tempdir().expect("a folder");
    let kept = |name: &str, usual: &str| {
        let own = std::env::var_os("HOME").map(|home| Path::new(&home).join(usual)).unwrap_or_default();
        std::env::var_os(name).map(PathBuf::from).unwrap_or(own)
    };
    let igpt_there = || {
        let mut command = igpt();
        command
            .env("RUSTUP_HOME", kept("RUSTUP_HOME", ".rustup"))
            .env("CARGO_HOME", kept("CARGO_HOME", ".cargo"))
            .env("HOME", home.path())
            .env_remove("JUPYTER_DATA_DIR")
            .env_remove("IGPT_CACHE")
            .env_remove("XDG_CACHE_HOME")
            .env_remove("XDG_DATA_HOME");
        command
    };
    let (well, said) = examined(&mut igpt_there());
    assert!(!well, "{said}");
    for what in ["evcxr", "kernelspec"] {
        let [line, cure] = finding(&said, what);
        assert!(line.starts_with("problem") && line.contains(&*home.path().to_string_lossy()), "{said}");
        assert_eq!(cure, "→ igpt setup");
    }
    assert!(finding(&said, "toolchain")[0].starts_with("ok"), "{said}");
    assert!(!finding(&said, "GPU")[0].starts_with("problem"), "{said}");

    // A run says so once, before any notebook, and that it is no notebook's fault.
    for name in ["one", "other"] {
        write_notebook(home.path(), name, &[cell("1 + 1")]);
    }
    let run = igpt_there()
        .args(["run", "one.ipynb", "other.ipynb", "--out", "out"])
        .current_dir(home.path())
        .output()
        .expect("igpt runs");
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(6), "{said}");
    assert_eq!(said.matches("the kernel is not set up yet: `igpt setup`").count(), 1, "{said}");
    assert!(!String::from_utf8_lossy(&run.stdout).contains("FAILED"), "{run:?}");

    // No run begins, for programs that read what happens either.
    let run = igpt_there()
        .args(["run", "--json", "one.ipynb", "--out", "out"])
        .current_dir(home.path())
        .output()
        .expect("igpt runs");
    assert_eq!((run.status.code(), &*run.stdout), (Some(6), &b""[..]), "{run:?}");
}

/// A kernel that runs an endless cell.
struct Endless {
    runner: Child,
    /// The process that runs the cell.
    cell: String,
    folder: tempfile::TempDir,
}

impl Endless {
    /// Returns when the cell runs.
    fn start() -> Self {
        set_up();
        let folder = tempfile::tempdir().expect("a folder");
        let started = folder.path().join("started");
        let source = format!(
            "std::fs::write({started:?}, std::process::id().to_string())?;\n\
             loop {{ std::thread::sleep(std::time::Duration::from_secs(1)); }}"
        );
        write_notebook(folder.path(), "endless", &[cell(source)]);
        let mut command = igpt();
        command.args(["run", "endless.ipynb", "--out", "out"]).current_dir(&folder);
        let runner = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("igpt runs");
        let begun = Instant::now();
        let cell = loop {
            match fs::read_to_string(&started) {
                Ok(process) if !process.is_empty() => break process,
                _ => assert!(begun.elapsed() < Duration::from_secs(300), "the cell did not start"),
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        Self { runner, cell, folder }
    }

    /// Kills the runner, so that it can tidy nothing up; returns the process that ran the cell.
    fn end(mut self) -> String {
        self.runner.kill().expect("the runner can be killed");
        self.runner.wait().expect("the runner ends");
        drop(self.folder);
        self.cell
    }
}

fn said(mut command: Command) -> String {
    let output = command.output().expect("igpt runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The lines of this checkout's slots.
fn listed() -> Vec<String> {
    let mut command = igpt();
    command.args(["kernel", "--list"]);
    let text = said(command);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout").canonicalize();
    let root = root.expect("the checkout").display().to_string();
    text.lines()
        .skip_while(|line| **line != root)
        .skip(2)
        .take_while(|l| !l.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The processes in the last column of the slots in use.
fn users() -> Vec<String> {
    listed().iter().filter_map(|line| Some(line.rsplit_once("in use by ")?.1.to_owned())).collect()
}

#[test]
fn a_live_kernels_slot_is_listed_and_nothing_is_left_when_its_runner_vanishes() {
    let kernel = Endless::start();
    let listed = listed();
    assert!(
        listed.iter().any(|line| line.trim().starts_with("base ") && line.contains(" built ")),
        "{listed:?}"
    );
    let started_by_us = |user: &String| {
        let command =
            fs::read_to_string(format!("/proc/{user}/cmdline")).unwrap_or_default().replace('\0', " ");
        let environment = fs::read_to_string(format!("/proc/{user}/environ")).unwrap_or_default();
        command.contains("kernel --connection-file")
            && environment.split('\0').any(|pair| pair == format!("JPY_PARENT_PID={}", kernel.runner.id()))
    };
    let ours: Vec<String> = users().into_iter().filter(started_by_us).collect();
    assert_eq!(ours.len(), 1, "{listed:?}");
    assert!(is_alive(&ours[0]) && is_alive(&kernel.cell));
    let cell = kernel.end();
    // What its runner could not end any more ends by itself, and unlocks the slot.
    let begun = Instant::now();
    while is_alive(&cell) {
        assert!(begun.elapsed() < Duration::from_secs(10), "the cell outlives its runner");
        std::thread::sleep(Duration::from_millis(100));
    }
    while users().contains(&ours[0]) {
        assert!(begun.elapsed() < Duration::from_secs(10), "the slot stays locked");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// In a cache of its own: the user's is none of the test's business.
#[test]
fn cleaning_removes_what_is_free() {
    let cache = tempfile::tempdir().expect("a folder");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout").display().to_string();
    let slot = |hash: &str, name: &str, checkout: &str| {
        let folder = cache.path().join("slots").join(hash).join(name);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("checkout"), checkout).expect("the slot's checkout");
        fs::write(folder.join("lock"), "").expect("the slot's lock");
        folder
    };
    let [base, free, used] = ["base", "0", "1"].map(|name| slot("here", name, &root));
    let gone = ["base", "0"].map(|name| slot("gone", name, "/not/there"));
    let mut holder = Command::new("sh");
    holder.args(["-c", "exec 9>lock && flock 9 && touch held && exec sleep 60"]).current_dir(&used);
    let mut holder = holder.spawn().expect("sh runs");
    let begun = Instant::now();
    while !used.join("held").exists() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the program `flock` is missing");
        std::thread::sleep(Duration::from_millis(20));
    }
    let clean = || {
        let mut command = igpt();
        command.args(["kernel", "--clean"]).env("IGPT_CACHE", cache.path());
        said(command)
    };
    let first = clean();
    assert!(first.contains(&format!("left    1 of {root}: in use by {}", holder.id())), "{first}");
    assert!(
        base.exists() && !free.exists() && used.exists() && !gone.iter().any(|slot| slot.exists()),
        "{first}"
    );
    holder.kill().expect("the holder can be killed");
    holder.wait().expect("and ends");
    assert!(clean().contains(&format!("removed 1 of {root}")));
    assert!(base.exists() && !used.exists());
}
