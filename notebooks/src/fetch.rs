//! `igpt fetch` is a program of its own, `igpt-fetch`, because the main job does without: the hub's client and the reader of
//! Parquet are half of all that this workspace compiles. The first `igpt fetch` builds it, in the checkout, as cargo built
//! this one; each `igpt fetch` after a change of its sources builds it again.

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    compile::{self, Compilation},
    dirs, kernel, setup,
};

/// The program, and the package that it is built from.
const NAME: &str = "igpt-fetch";

/// What the program is built from, in the checkout.
const SOURCES: [&str; 6] = [
    "Cargo.lock",
    "Cargo.toml",
    "rust-toolchain.toml",
    "notebooks/common",
    "notebooks/fetch",
    "kernel-lib/formats",
];

/// Becomes the program that fetches, with the arguments of this one's command line after `fetch`. Builds it first if it is
/// missing or older than its sources in the checkout `root`.
///
/// # Errors
/// If it cannot be built or started.
pub fn fetch(root: &Path) -> Result<ExitCode> {
    let own = env::current_exe().context("cannot find this program's own file")?;
    let place = BuildFolder::beside(&own, root);
    let program = place.program();
    if !is_current(&program, root)? {
        build(root, &place)?;
    }
    let arguments = env::args_os().skip_while(|word| word != "fetch").skip(1);
    let error = Command::new(&program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}

/// A folder in which cargo builds, and in which of its profiles.
#[derive(Debug, PartialEq, Eq)]
struct BuildFolder {
    target: PathBuf,
    is_release: bool,
}

impl BuildFolder {
    /// Where the program `own` was built; for one that was copied elsewhere, as Jupyter's is, the usual one of `root`.
    fn beside(own: &Path, root: &Path) -> Self {
        let built = || {
            let folder = own.parent()?;
            let is_release = match folder.file_name()?.to_str()? {
                "release" => true,
                "debug" => false,
                _ => return None,
            };
            let target = folder.parent()?;
            // Cargo's note about the compiler.
            target.join(".rustc_info.json").is_file().then(|| Self { target: target.to_owned(), is_release })
        };
        built().unwrap_or_else(|| Self { target: root.join("target"), is_release: true })
    }

    fn program(&self) -> PathBuf {
        self.target.join(if self.is_release { "release" } else { "debug" }).join(NAME)
    }
}

/// Whether the program is there and no source is newer. It is cargo that decides what is to be compiled, but a moment is
/// saved if it need not be asked, and a machine without it can fetch, too.
fn is_current(program: &Path, root: &Path) -> Result<bool> {
    let built = match fs::metadata(program).and_then(|about| about.modified()) {
        Ok(built) => built,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).with_context(|| format!("cannot look at {}", program.display())),
    };
    for source in SOURCES {
        let source = root.join(source);
        let changed = newest(&source).with_context(|| format!("cannot look at {}", source.display()))?;
        if changed > built {
            return Ok(false);
        }
    }
    Ok(true)
}

/// When a file, or the newest one in a folder, was changed.
fn newest(path: &Path) -> io::Result<SystemTime> {
    let about = fs::metadata(path)?;
    let mut newest = about.modified()?;
    if about.is_dir() {
        for entry in fs::read_dir(path)? {
            match self::newest(&entry?.path()) {
                Ok(changed) => newest = newest.max(changed),
                // An editor's link to nowhere, or its file that was there for a moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(newest)
}

/// Compiles the program, and says so.
fn build(root: &Path, place: &BuildFolder) -> Result<()> {
    compile::say("The part of igpt that fetches is compiled first; this takes minutes, once");
    let mut cargo = cargo(root);
    // Not `--package`: cargo would choose the features of shared crates anew, and compile them a second time.
    cargo.args(["build", "--bin", NAME, "--locked", "--target-dir"]).arg(&place.target);
    if place.is_release {
        cargo.arg("--release");
    }
    let packages = compile::packages(self::cargo(root), NAME);
    let log = dirs::cache()?.join(format!("{NAME}.log"));
    let compilation = Compilation { log: &log, packages, every: Duration::from_secs(10) };
    let took = compilation.run(cargo).with_context(|| {
        format!("the part of igpt that fetches ({NAME}) cannot be compiled in {}", place.target.display())
    })?;
    if !place.program().is_file() {
        bail!("cargo reported success, but {} is not there", place.program().display());
    }
    compile::say(&format!("compiled in {}", setup::seconds(took)));
    Ok(())
}

/// The real cargo, also for a notebook, before which ours stands.
fn cargo(root: &Path) -> Command {
    let mut cargo = setup::tool("cargo", root);
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(real) = set(kernel::cargo::REAL_HOME) {
        let ours = set("CARGO_HOME").map(|home| PathBuf::from(home).join("bin"));
        cargo.env("PATH", path_without(&set("PATH").unwrap_or_default(), ours.as_deref()));
        cargo.env("CARGO_HOME", real);
    }
    cargo
}

fn path_without(path: &std::ffi::OsStr, folder: Option<&Path>) -> OsString {
    let kept = env::split_paths(path).filter(|part| Some(part.as_path()) != folder);
    env::join_paths(kept).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_looked_for_where_this_one_was_built() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        fs::create_dir_all(&target).unwrap();
        let root = Path::new("/checkout");
        let usual = || BuildFolder { target: root.join("target"), is_release: true };
        let beside = |own: &str| BuildFolder::beside(&folder.path().join(own), root);
        // Not cargo's folder.
        assert_eq!(beside("target/debug/igpt"), usual());
        fs::write(target.join(".rustc_info.json"), "{}").unwrap();
        assert_eq!(beside("target/debug/igpt"), BuildFolder { target: target.clone(), is_release: false });
        assert_eq!(beside("target/release/igpt"), BuildFolder { target: target.clone(), is_release: true });
        assert_eq!(beside("target/release/igpt").program(), target.join("release/igpt-fetch"));
        assert_eq!(beside("kernels/igpt/igpt"), usual());
    }

    #[test]
    fn every_package_of_the_checkout_is_watched() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let read =
            |file: &str| -> toml::Table { fs::read_to_string(root.join(file)).unwrap().parse().unwrap() };
        let here = &read("Cargo.toml")["workspace"]["dependencies"];
        let (mut waiting, mut seen) = (vec!["notebooks/fetch".to_owned()], Vec::new());
        while let Some(folder) = waiting.pop() {
            assert!(SOURCES.contains(&folder.as_str()), "{folder} is no part of SOURCES");
            let manifest = read(&format!("{folder}/Cargo.toml"));
            for (name, dependency) in manifest["dependencies"].as_table().unwrap() {
                assert!(dependency.get("path").is_none(), "{name}: the workspace says where it lies");
                let path = here.get(name).and_then(|of_all| of_all.get("path"));
                waiting.extend(path.and_then(toml::Value::as_str).map(str::to_owned));
            }
            seen.push(folder);
        }
        assert!(seen.len() == 3 && newest(&root.join("notebooks/fetch")).is_ok(), "{seen:?}");
    }

    #[test]
    fn our_own_cargo_is_passed_over() {
        let path = path_without("/ours/bin:/usr/bin:/ours/bin".as_ref(), Some(Path::new("/ours/bin")));
        assert_eq!(path, "/usr/bin");
        assert_eq!(path_without("/usr/bin".as_ref(), None), "/usr/bin");
    }
}
