//! The cargo of notebooks. Both evcxr and rust-analyzer call cargo, and both ask it for more than a notebook needs:
//!
//! * [`metadata`]: rust-analyzer loads every crate that `cargo metadata` names, at the start of each notebook;
//! * [`rustc`]: it loads them twice, before evcxr knows of our library and after;
//! * [`build`]: for each cell evcxr has cargo look at all crates of the graph, to find that none has changed;
//! * [`instrument`]: and the code that it generates for the cell does not tell how the cell ended.
//!
//! evcxr gets a `CARGO_HOME` of ours, whose folders are links to the real one's, and whose `bin/cargo` is this
//! program. rust-analyzer takes `cargo` and `rustc` of `$CARGO_HOME/bin`; evcxr takes what `rustup which cargo` says, or the first cargo
//! in the path, so `bin/` stands first in the path and has a `rustup`, too. Everything that is not named above is
//! passed on to the real programs.

pub mod build;
pub mod instrument;
mod metadata;

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::dirs;

/// Where the real folder is, for the programs below.
pub(crate) const REAL_HOME: &str = "IGPT_REAL_CARGO_HOME";
const PROGRAM: &str = "IGPT_PROGRAM";

/// The library, as the manifest of a cell names it.
const LIBRARY: &str = "igpt";

/// What cargo keeps in its folder. The lock files are linked, too: one lock for both names of the folder.
const LINKS: [&str; 9] = [
    "registry",
    "git",
    "config.toml",
    "config",
    "credentials.toml",
    "credentials",
    ".package-cache",
    ".package-cache-mutate",
    ".global-cache",
];
/// Programs that stand before the real ones: their names, and what this program is told.
const PROGRAMS: [(&str, &str); 4] =
    [("cargo", "cargo"), ("rustup", "rustup"), ("rustc", "rustc-in-path"), (RECORDER, "rustc")];
/// The rustc that records how cargo calls it, see [`build`].
const RECORDER: &str = "recorded-rustc";

/// Gives evcxr our cargo.
///
/// # Errors
/// If our folder cannot be written.
pub fn prepare(command: &mut Command) -> Result<()> {
    let Some(real) = cargo_home() else { return Ok(()) };
    // With a number, for kernels of an older program find there what they can be.
    let home = dirs::cache()?.join("cargo-home-2");
    let context = || format!("cannot write {}", home.display());
    let bin = home.join("bin");
    fs::create_dir_all(&bin).with_context(context)?;
    for name in LINKS {
        let (link, target) = (home.join(name), real.join(name));
        if fs::read_link(&link).is_ok_and(|old| old == target) {
            continue;
        }
        if matches!(name, "registry" | "git") {
            let _ = fs::create_dir_all(&target);
        }
        let _ = fs::remove_file(&link);
        match std::os::unix::fs::symlink(&target, &link) {
            // Another kernel was quicker.
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(context);
            }
            _ => {}
        }
    }
    for (name, told) in PROGRAMS {
        let (script, text) = (bin.join(name), format!("#!/bin/sh\nexec \"${PROGRAM}\" {told} \"$@\"\n"));
        if fs::read_to_string(&script).ok().as_ref() != Some(&text) {
            let mut file = tempfile::NamedTempFile::new_in(&bin).with_context(context)?;
            std::io::Write::write_all(&mut file, text.as_bytes()).with_context(context)?;
            file.as_file().set_permissions(fs::Permissions::from_mode(0o755)).with_context(context)?;
            file.persist(&script).with_context(context)?;
        }
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([bin].into_iter().chain(env::split_paths(&path))).with_context(context)?;
    command.env("CARGO_HOME", home).env(REAL_HOME, real).env("PATH", path);
    Ok(())
}

/// Tells evcxr, which is started here, where this program is: the very one that runs, even if its file was replaced meanwhile. The
/// library starts it, too, to fetch data. To be called by the process that lives as long as evcxr: the guard.
///
/// # Errors
/// If this program's file is not known.
pub fn name_program(command: &mut Command) -> Result<()> {
    let running = PathBuf::from(format!("/proc/{}/exe", std::process::id()));
    command.env(PROGRAM, if running.exists() { running } else { env::current_exe()? });
    Ok(())
}

fn cargo_home() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("CARGO_HOME").or_else(|| set("HOME").map(|home| home.join(".cargo"))).filter(|folder| folder.is_dir())
}

/// The folder of programs that stand before the real ones.
fn own_bin() -> Option<PathBuf> {
    env::var_os("CARGO_HOME").map(|home| PathBuf::from(home).join("bin"))
}

/// The first program of this name in the path that is not ours.
fn in_path(name: &str) -> Option<PathBuf> {
    let (path, ours) = (env::var_os("PATH").unwrap_or_default(), own_bin());
    let mut found = env::split_paths(&path).filter(|folder| Some(folder) != ours.as_ref());
    found.find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file()))
}

/// The real cargo: that of the rustc which evcxr chose, else rustup's, else the first in the path.
fn real_cargo() -> PathBuf {
    let sibling = env::var_os("RUSTC").map(|rustc| Path::new(&rustc).with_file_name("cargo"));
    let proxy = env::var_os(REAL_HOME).map(|home| PathBuf::from(home).join("bin/cargo"));
    let known = [sibling, proxy].into_iter().flatten().find(|file| file.is_absolute() && file.is_file());
    known.or_else(|| in_path("cargo")).unwrap_or_else(|| "cargo".into())
}

/// `igpt cargo …`: cargo, but for what [`metadata`] and [`build`] do.
///
/// # Errors
/// If cargo cannot be started.
pub fn cargo(arguments: &[OsString]) -> Result<ExitCode> {
    let cargo = real_cargo();
    if build::is_of_a_cell(arguments) {
        return build::build(&cargo, arguments);
    }
    if build::is_check_of_a_cell(arguments) {
        return build::check(&cargo, arguments);
    }
    let mut command = Command::new(cargo);
    command.args(arguments);
    if arguments.first().is_none_or(|first| first != "metadata") {
        return Err(command.exec()).context("cannot start cargo");
    }
    // For each `:dep` evcxr asks for the metadata of that crate alone, in the folder of the cells. Cargo then throws all
    // other versions out of the lock file, and the next build would take, and compile, the newest ones.
    let lock = Path::new("Cargo.lock");
    let pinned = fs::read(lock).ok();
    let output = command.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    if let Some(pinned) = pinned.filter(|pinned| fs::read(lock).ok().as_ref() != Some(pinned)) {
        fs::write(lock, pinned).context("cannot write Cargo.lock")?;
    }
    let all = serde_json::from_slice(&output.stdout).ok();
    let text = all.and_then(metadata::prune).map_or(output.stdout, |pruned| pruned.to_string().into_bytes());
    std::io::Write::write_all(&mut std::io::stdout(), &text)?;
    Ok(code(output.status))
}

/// `igpt rustc-in-path …`: rustc, which says where the standard library lies only when the notebook's library is there, too.
///
/// evcxr runs some code of its own before it is told of the library, and then rust-analyzer would look at the whole standard
/// library, three seconds long, for the type of a number; when the library comes, it begins again.
///
/// # Errors
/// If there is no rustc.
pub fn rustc(arguments: &[OsString]) -> Result<ExitCode> {
    if arguments.iter().eq(["--print", "sysroot"]) && is_before_the_library(Path::new("Cargo.toml")) {
        bail!("the standard library is not looked at yet");
    }
    let proxy = env::var_os(REAL_HOME).map(|home| PathBuf::from(home).join("bin/rustc"));
    let rustc = proxy.filter(|file| file.is_file()).or_else(|| in_path("rustc"));
    let Some(rustc) = rustc else { bail!("there is no rustc in the path") };
    Err(Command::new(rustc).args(arguments).exec()).context("cannot start rustc")
}

/// Whether this is the manifest of cells that cannot name the library.
fn is_before_the_library(manifest: &Path) -> bool {
    let manifest = fs::read_to_string(manifest).ok().and_then(|text| text.parse::<toml::Table>().ok());
    let is_of_cells = |manifest: &toml::Table| {
        manifest.get("package").and_then(|package| package.get("name")?.as_str()) == Some(build::CELL)
    };
    let has_library = |manifest: &toml::Table| {
        manifest.get("dependencies").is_some_and(|dependencies| dependencies.get(LIBRARY).is_some())
    };
    manifest.is_some_and(|manifest| is_of_cells(&manifest) && !has_library(&manifest))
}

/// `igpt rustup …`: rustup, whose cargo is ours.
///
/// # Errors
/// If there is no rustup.
pub fn rustup(arguments: &[OsString]) -> Result<ExitCode> {
    if let ([which, cargo], Some(bin)) = (arguments, own_bin())
        && which == "which"
        && cargo == "cargo"
    {
        println!("{}", bin.join("cargo").display());
        return Ok(ExitCode::SUCCESS);
    }
    let Some(rustup) = in_path("rustup") else { bail!("there is no rustup in the path") };
    Err(Command::new(rustup).args(arguments).exec()).context("cannot start rustup")
}

fn code(status: std::process::ExitStatus) -> ExitCode {
    ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_library_is_looked_at_when_the_library_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("Cargo.toml");
        let before = |text: &str| {
            fs::write(&manifest, text).unwrap();
            is_before_the_library(&manifest)
        };
        let cells = "[package]\nname = \"ctx\"\n[dependencies]\n";
        assert!(
            before(cells)
                && before("[package]\nname = \"ctx\"\n")
                && before(&format!("{cells}rand = \"0.9\"\n"))
        );
        assert!(!before(&format!("{cells}igpt = {{ path = \"/x\" }}\n")));
        // Not the cells' manifest, or none.
        assert!(
            !before("[package]\nname = \"other\"\n[dependencies]\n")
                && !before("[workspace]\n")
                && !before("[")
        );
        assert!(!is_before_the_library(&folder.path().join("none")));
    }
}
