//! `igpt setup` and `igpt clean`: what the notebooks' kernel needs, built once and kept outside the user's own cargo
//! folder.
//!
//! Each step looks first whether it is done, so that setting up again is quick and needs no network.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    compile::Compilation,
    dirs, environment,
    files::{folders, size},
    kernel,
    program::output,
    slot,
};

/// The name of our kernelspec, which is nobody else's: evcxr rewrites one called `rust`.
pub const KERNEL_NAME: &str = "igpt";

/// Does what is missing, and says what it does and how long it took.
///
/// # Errors
/// A step that fails, with what to do about it. What was finished before stays.
pub fn setup(root: &Path) -> Result<()> {
    println!("Setting up the kernel in {}", dirs::cache()?.display());
    let _lock = lock()?;
    step("the standard library's sources (rust-src)", "a minute", |announce| rust_src(root, announce))?;
    let download = download(root);
    step(&format!("evcxr_jupyter {}", dirs::EVCXR_VERSION), "5 to 12 minutes", |announce| {
        evcxr(root, announce)
    })?;
    step("the kernelspec", "a moment", |_| kernelspec(root))?;
    step("the library for notebooks", "3 to 8 minutes the first time", |announce| library(root, announce))?;
    if let Err(error) = download.and_then(|child| downloaded(child.wait_with_output()?)) {
        println!("  `igpt fetch` will need the packages' registry when it is first used: {error:#}");
    }
    Ok(())
}

fn step(name: &str, usual: &str, work: impl FnOnce(&dyn Fn()) -> Result<Step>) -> Result<()> {
    let start = Instant::now();
    let announce = || println!("  {name}: at work; this takes {usual}");
    match work(&announce).with_context(|| format!("setting up {name} failed"))? {
        Step::Reused => println!("  {name}: already there"),
        Step::Done => println!("  {name}: done in {}", seconds(start.elapsed())),
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Reused,
    Done,
}

pub(crate) fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..120 => format!("{:.1} s", time.as_secs_f64()),
        long => format!("{} min {} s", long / 60, long % 60),
    }
}

/// Two setups at once would build the same thing in the same place.
fn lock() -> Result<File> {
    let path = dirs::cache()?.join("setup.lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        println!("  another setup is at work; waiting for it");
        flock(&file, FlockOperation::LockExclusive).context("cannot wait for the other setup")?;
    }
    Ok(file)
}

/// A tool of the checkout's toolchain, without what cargo put into the environment for us.
pub(crate) fn tool(name: &str, root: &Path) -> Command {
    let mut command = Command::new(name);
    environment::scrub(&mut command);
    if let Ok(toolchain) = slot::toolchain(root) {
        command.env("RUSTUP_TOOLCHAIN", toolchain);
    }
    command.current_dir(root).stdin(Stdio::null());
    command
}

/// Whether a toolchain (its sysroot) has the standard library's sources.
pub(crate) fn has_std_sources(sysroot: &str) -> bool {
    Path::new(sysroot).join("lib/rustlib/src/rust/library/std/src/lib.rs").is_file()
}

/// Completion, types and the first `let` of a notebook need the standard library's sources.
fn rust_src(root: &Path, announce: &dyn Fn()) -> Result<Step> {
    let mut rustc = tool("rustc", root);
    rustc.args(["--print", "sysroot"]);
    if has_std_sources(&output(rustc)?) {
        return Ok(Step::Reused);
    }
    announce();
    let mut rustup = tool("rustup", root);
    rustup.args(["component", "add", "rust-src"]);
    output(rustup).context(
        "the component rust-src is missing; with rustup and a network it is installed by itself, else install \
         the sources that belong to your Rust",
    )?;
    Ok(Step::Done)
}

/// Has cargo download, while other things are compiled, the packages of what is compiled later, which is `igpt fetch` alone:
/// then nothing needs the registry after set-up. A moment if they are there.
fn download(root: &Path) -> Result<Child> {
    let mut rustc = tool("rustc", root);
    rustc.arg("-vV");
    let about = output(rustc)?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    let mut cargo = tool("cargo", root);
    // Not those for other systems, which are more than half of all.
    cargo.args(["fetch", "--locked", "--quiet", "--target", host.context("rustc does not name its host")?]);
    cargo.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("cannot start cargo")
}

fn downloaded(output: Output) -> Result<()> {
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// What rust-analyzer reads the standard library and ours with whenever a kernel starts: half a second faster when it is optimised, and
/// compiled in the same time (docs/log/2026-11-30-start.md).
const PARSERS: [&str; 18] = [
    "countme",
    "drop_bomb",
    "hashbrown",
    "indexmap",
    "ra-ap-rustc_lexer",
    "ra_ap_hir_expand",
    "ra_ap_intern",
    "ra_ap_mbe",
    "ra_ap_parser",
    "ra_ap_span",
    "ra_ap_syntax",
    "ra_ap_syntax_bridge",
    "ra_ap_tt",
    "rowan",
    "rustc-hash",
    "salsa",
    "text-size",
    "triomphe",
];

/// Builds evcxr with the versions that its authors locked, into our cache.
fn evcxr(root: &Path, announce: &dyn Fn()) -> Result<Step> {
    let program = dirs::evcxr()?;
    if program.is_file() {
        return Ok(Step::Reused);
    }
    announce();
    let build = dirs::cache()?.join("evcxr-build");
    let install = dirs::evcxr_root()?;
    let mut cargo = tool("cargo", root);
    cargo
        .args(["install", "evcxr_jupyter", "--locked", "--version"])
        .arg(format!("={}", dirs::EVCXR_VERSION))
        .arg("--root")
        .arg(&install)
        .env("CARGO_TARGET_DIR", &build)
        // What takes long in a cell is rustc, not evcxr: measured in docs/log/2026-11-29-ci.md.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_LTO", "off");
    for package in PARSERS {
        cargo.arg("--config").arg(format!("profile.release.package.{package:?}.opt-level=3"));
    }
    // Cargo moves the program into place when it is whole, so an interrupted build leaves none.
    let log = dirs::cache()?.join("evcxr.log");
    Compilation { log: &log, packages: None, every: Duration::from_secs(30) }.run(cargo)?;
    if !program.is_file() {
        bail!("cargo reported success, but {} is not there", program.display());
    }
    let _ = fs::remove_dir_all(&build);
    Ok(Step::Done)
}

/// The folder of our kernelspec.
pub fn kernelspec_folder() -> Result<PathBuf> {
    Ok(dirs::jupyter_data()?.join("kernels").join(KERNEL_NAME))
}

/// Tells Jupyter about the kernel. It starts a copy of this program that lies beside the specification, because cargo
/// may rewrite or remove the original.
fn kernelspec(root: &Path) -> Result<Step> {
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    let bytes = fs::read(&own).with_context(|| format!("cannot read {}", own.display()))?;
    let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(&bytes));
    let folder = kernelspec_folder()?;
    let program = folder.join("igpt");
    let spec = json!({
        "argv": [program, "kernel", "--connection-file", "{connection_file}", "--root", root],
        "display_name": "Rust (igpt)",
        "language": "rust",
        "interrupt_mode": "message",
        "metadata": {"igpt": {"version": env!("CARGO_PKG_VERSION"), "sha256": hash}},
    });
    let file = folder.join("kernel.json");
    let old = fs::read_to_string(&file).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
    if old.as_ref() == Some(&spec) && program.is_file() {
        return Ok(Step::Reused);
    }
    if old.is_some_and(|old| old["metadata"]["igpt"].is_null()) {
        println!("  {} is not ours; it is replaced", file.display());
    }
    write_atomically(&program, &bytes, true)?;
    write_atomically(&file, format!("{spec:#}\n").as_bytes(), false)?;
    Ok(Step::Done)
}

fn write_atomically(file: &Path, bytes: &[u8], executable: bool) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let context = || format!("cannot write {}", file.display());
    let folder = file.parent().context("a file without a folder")?;
    fs::create_dir_all(folder).with_context(context)?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder).with_context(context)?;
    temporary.write_all(bytes).with_context(context)?;
    let mode = if executable { 0o755 } else { 0o644 };
    temporary.as_file().set_permissions(fs::Permissions::from_mode(mode)).with_context(context)?;
    temporary.persist(file).with_context(context)?;
    Ok(())
}

/// Compiles the library as notebooks use it, and checks that failures of cells are noticed.
fn library(root: &Path, announce: &dyn Fn()) -> Result<Step> {
    // Cargo is asked only if there is something to compile.
    let shown = OnceLock::new();
    let begin = || {
        let total = crates_of_library(root).unwrap_or(0);
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = "  {bar:24} {pos}/{len} crates  {elapsed}";
            let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total).with_style(style.progress_chars("=> "))
        });
        (total, bar)
    };
    let said = std::sync::Mutex::new(None::<Instant>);
    let say = |compiled: usize| {
        let (total, bar) = shown.get_or_init(begin);
        let mut said = said.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match (bar, *said) {
            (Some(bar), _) => bar.set_position((compiled as u64).min(*total)),
            (None, Some(at)) if at.elapsed() < Duration::from_secs(30) => return,
            (None, Some(_)) => println!("    {compiled} of about {total} crates compiled"),
            (None, None) => {}
        }
        *said = Some(Instant::now());
    };
    let built = kernel::base::set_up(root, announce, &say);
    if let Some((_, Some(bar))) = shown.into_inner() {
        bar.finish_and_clear();
    }
    Ok(if built? { Step::Done } else { Step::Reused })
}

fn crates_of_library(root: &Path) -> Result<u64> {
    let mut cargo = tool("cargo", root);
    cargo.args(["tree", "--package", "igpt", "--edges", "normal", "--prefix", "none", "--offline"]);
    let tree = output(cargo)?;
    let mut names: Vec<&str> = tree.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names.len() as u64)
}

/// Removes what setup built: slots that no kernel uses, evcxr, the kernelspec.
///
/// # Errors
/// A folder that cannot be removed.
pub fn clean() -> Result<()> {
    let cache = dirs::cache()?;
    let _lock = lock()?;
    let mut freed = 0;
    let mut remove = |folder: &Path| -> Result<()> {
        if folder.exists() {
            let bytes = size(folder);
            fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
            println!("removed {} ({} MB)", folder.display(), bytes / 1_000_000);
            freed += bytes;
        }
        Ok(())
    };
    for checkout in folders(&dirs::slots()?) {
        for slot in folders(&checkout) {
            match slot::try_lock(&slot)? {
                Some(_lock) => remove(&slot)?,
                None => println!("left {}: a kernel uses it", slot.display()),
            }
        }
        // Only if nothing was left in it.
        let _ = fs::remove_dir(&checkout);
    }
    let _ = fs::remove_dir(dirs::slots()?);
    let spec = kernelspec_folder()?;
    let ours = fs::read_to_string(spec.join("kernel.json")).unwrap_or_default();
    let ours = serde_json::from_str::<Value>(&ours).unwrap_or_default();
    if !ours["metadata"]["igpt"].is_null() {
        remove(&spec)?;
    }
    for entry in folders(&cache) {
        let name = entry.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if name.starts_with("evcxr-") {
            remove(&entry)?;
        }
    }
    println!("{} MB freed", freed / 1_000_000);
    Ok(())
}
