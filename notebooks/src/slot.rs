//! Build slots: the folders in which the cells of a notebook are compiled.
//!
//! Each live kernel has a slot of its own, because evcxr's crates have the same names everywhere and two kernels in
//! one folder would run each other's code. A slot keeps what was compiled, so that the next kernel starts in seconds
//! and not in minutes. It builds from its own snapshot of the library: changing `kernel-lib` under a live kernel must
//! not disturb it. All slots of a checkout are copies of its *base*, in which no notebook
//! ever runs and the library is compiled once for all kernels (see `kernel/base.rs`); a base takes over what another
//! checkout has compiled of the same library or of the same dependencies.
//!
//! ```text
//! <cache>/slots/<checkout>/base, 0, 1, 2, …/
//!     lock                held (flock) by the kernel and by all that it started
//!     built               fingerprint of the library that is compiled in it
//!     built-with          fingerprint of its dependencies
//!     .cargo/config.toml  how cells and the library are compiled
//!     config/             evcxr's settings
//!     cell/               evcxr's folder: Cargo.toml, Cargo.lock, src/lib.rs, target/
//!     cell/lib/           snapshot of kernel-lib
//! ```

mod copy;
pub mod inventory;
mod snapshot;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use rustix::{
    fs::{FlockOperation, flock},
    io::{FdFlags, fcntl_setfd},
};
use sha2::{Digest as _, Sha256};

use crate::{files::folders, hex::hex};

pub use snapshot::fingerprints;

/// Raised when slots of older versions cannot be used any more.
const FORMAT: &str = "2";

/// The variable that says which library is compiled in a kernel's slot: its fingerprint.
pub const LIBRARY: &str = "IGPT_LIBRARY";

/// Where it is kept how cargo has cells compiled, relative to their folder.
pub const RECORDS: &str = "target/rustc-of-cells";

/// evcxr compiles for debugging. The library gets what numeric code needs; cells keep line tables, from which
/// tracebacks come. Overflow checks stay on in cells, where a user's mistakes are.
const CARGO_CONFIG: &str = r#"[profile.dev]
debug = "line-tables-only"
strip = "none"

[profile.dev.package."*"]
debug = false
opt-level = 2
overflow-checks = false
debug-assertions = false

[profile.dev.package.igpt]
opt-level = 3

[profile.dev.package.igpt-formats]
opt-level = 3
"#;

/// A folder in which one kernel builds. The lock lasts until this and every process that inherited it are gone.
#[derive(Debug)]
pub struct Slot {
    folder: PathBuf,
    root: PathBuf,
    fingerprint: String,
    dependencies: String,
    _lock: File,
}

/// The folder of a checkout's slots, among those of all.
fn slots_of(all: &Path, root: &Path) -> Result<PathBuf> {
    let root = root.canonicalize().with_context(|| format!("there is no folder {}", root.display()))?;
    let hash = hex(&Sha256::digest(root.as_os_str().as_encoded_bytes()));
    Ok(all.join(&hash[..16]))
}

/// The base slots of the other checkouts on this machine.
fn bases_of_others(own: &Path) -> Vec<PathBuf> {
    let all = folders(own.parent().unwrap_or(own)).into_iter();
    all.filter(|path| path != own)
        .map(|checkout| checkout.join("base"))
        .filter(|base| base.is_dir())
        .collect()
}

impl Slot {
    /// Takes the first free slot of the checkout `root`, if it has the library as it is now or can copy it from the base; none
    /// if the base has to be built first. While somebody holds the base it is taken for one that is being built, unless `wait`
    /// is set. `all` is the folder of all checkouts' slots.
    pub fn take(all: &Path, root: &Path, wait: bool) -> Result<Option<Self>> {
        let slots = slots_of(all, root)?;
        let [dependencies, fingerprint] = fingerprints(root)?;
        for number in 0..256 {
            let folder = slots.join(number.to_string());
            let Some(lock) = try_lock(&folder)? else { continue };
            let slot = Self { folder, root: root.to_owned(), fingerprint, dependencies, _lock: lock };
            slot.copy_if(&slots.join("base"), wait, |slot, base| {
                built_in(base).as_ref() == Some(&slot.fingerprint)
            })?;
            if !slot.is_built() {
                return Ok(None);
            }
            slot.prepare()?;
            return Ok(Some(slot));
        }
        bail!("256 kernels of this checkout are running; end some")
    }

    /// One that another process has had: its folder and its lock, and the fingerprints of the library of `root` as it is now.
    pub fn taken_over(folder: PathBuf, root: PathBuf, fingerprints: [String; 2], lock: File) -> Self {
        let [dependencies, fingerprint] = fingerprints;
        Self { folder, root, fingerprint, dependencies, _lock: lock }
    }

    /// Its folder and its lock, for another process.
    pub fn hand_over(self) -> (PathBuf, File) {
        (self.folder, self._lock)
    }

    /// The library that is compiled in it.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Waits for the base of the checkout, in which no notebook runs: whoever has it may be building it.
    pub fn base(all: &Path, root: &Path) -> Result<Self> {
        let slots = slots_of(all, root)?;
        let folder = slots.join("base");
        let lock = loop {
            let lock = open_lock(&folder)?;
            flock(&lock, FlockOperation::LockExclusive).context("cannot lock the first build slot")?;
            if is_lock_of(&lock, &folder) {
                break lock;
            }
        };
        let [dependencies, fingerprint] = fingerprints(root)?;
        let slot = Self { folder, root: root.to_owned(), fingerprint, dependencies, _lock: lock };
        // Another checkout has the same library compiled, maybe, or at least the same dependencies: these take minutes.
        for other in bases_of_others(&slots) {
            slot.copy_if(&other, false, |slot, other| {
                let nearer = built_with(other).as_ref() == Some(&slot.dependencies)
                    && built_with(&slot.folder).as_ref() != Some(&slot.dependencies);
                let same = built_in(other).as_ref() == Some(&slot.fingerprint);
                same || nearer || !slot.cell().join("target").is_dir()
            })?;
        }
        if !slot.is_built() {
            slot.forget_build()?;
        }
        slot.prepare()?;
        Ok(slot)
    }

    /// What is compiled in it is not to be trusted any more: another library is going to be, and that may end half-way. Else, when the
    /// checkout gets back to the library that was compiled before, the other one would be taken for it.
    fn forget_build(&self) -> Result<()> {
        match fs::remove_file(self.folder.join("built")) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error)
                    .with_context(|| format!("cannot remove {}", self.folder.join("built").display()));
            }
            _ => {}
        }
        remove(&self.cell().join(RECORDS))
    }

    /// A slot whose library is not the wanted one takes over what a base has, if that is what it can use, and nobody builds
    /// there or it is to `wait` for that.
    fn copy_if(&self, base: &Path, wait: bool, is_useful: impl Fn(&Self, &Path) -> bool) -> Result<()> {
        if self.is_built() || !base.join("cell").is_dir() {
            return Ok(());
        }
        let lock = open_lock(base)?;
        if wait {
            flock(&lock, FlockOperation::LockShared).context("cannot lock the first build slot")?;
        } else if flock(&lock, FlockOperation::NonBlockingLockShared).is_err() {
            return Ok(());
        }
        if !is_useful(self, base) {
            return Ok(());
        }
        for note in ["built", "built-with"] {
            let _ = fs::remove_file(self.folder.join(note));
        }
        remove(&self.cell())?;
        // In a slot of cells the library is never compiled.
        let is_base = self.folder.file_name().is_some_and(|name| name == "base");
        let is_wanted = |path: &Path| is_base || !is_of_the_library(path);
        if let Err(error) = copy::copy(&base.join("cell"), &self.cell(), &is_wanted) {
            remove(&self.cell())?;
            return Err(error);
        }
        for (note, text) in [("built-with", built_with(base)), ("built", built_in(base))] {
            if let Some(text) = text {
                write_if_different(&self.folder.join(note), text.as_bytes())?;
            }
        }
        Ok(())
    }

    /// Brings everything but what is compiled up to date.
    fn prepare(&self) -> Result<()> {
        write_if_different(&self.folder.join("checkout"), self.root.as_os_str().as_encoded_bytes())?;
        write_if_different(&self.folder.join(".cargo/config.toml"), CARGO_CONFIG.as_bytes())?;
        // evcxr reads its settings from here, and not those of the user's own evcxr.
        write_if_different(&self.folder.join("config/evcxr.toml"), b"# Set by `igpt kernel`.\n")?;
        write_if_different(
            &self.library().join("../Cargo.toml"),
            snapshot::workspace(&self.root)?.as_bytes(),
        )?;
        snapshot::mirror(&self.root, &self.library())?;
        // Cells of kernels that are gone.
        let compiled = self.cell().join("target");
        for file in files_below(&compiled, 3) {
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_library = file.extension().is_some_and(|e| e == "so" || e == "dylib");
            let is_object = name.starts_with("ctx.") && name.ends_with(".rcgu.o");
            if is_object || (is_library && name.contains("code_")) {
                let _ = fs::remove_file(file);
            }
        }
        // Their kernel may have been killed while it compiled one.
        self.forget_partial_builds()
    }

    /// Makes the next cell, and the library if it is to be built, compile from nothing. To be called after a compiler
    /// was killed, or may have been: rustc writes its notes for the next compilation of a crate into files that it
    /// shares (as hard links) with the notes of the last complete one, so a kill leaves a mixture that is taken for
    /// good. What came of it was seen with rustc 1.95: object files without the code of the cell, and then no library
    /// that the linker could make of them, for ever.
    pub fn forget_partial_builds(&self) -> Result<()> {
        for target in folders(&self.cell().join("target")) {
            for notes in folders(&target.join("debug/incremental")) {
                if !is_of_the_library(&notes) || !self.is_built() {
                    remove(&notes)?;
                }
            }
        }
        Ok(())
    }

    /// evcxr's folder.
    pub fn cell(&self) -> PathBuf {
        self.folder.join("cell")
    }

    /// The snapshot of the library. It lies in evcxr's folder, because cargo names what it compiles after the path
    /// from there: so copies of a slot need not compile it again.
    pub fn library(&self) -> PathBuf {
        self.folder.join("cell/lib/kernel-lib")
    }

    /// Whether the wanted library is compiled in it.
    pub fn is_built(&self) -> bool {
        built_in(&self.folder).as_ref() == Some(&self.fingerprint)
    }

    /// Notes that the wanted library is compiled in it.
    pub fn note_built(&self) -> Result<()> {
        write_if_different(&self.folder.join("built-with"), self.dependencies.as_bytes())?;
        write_if_different(&self.folder.join("built"), self.fingerprint.as_bytes())
    }

    /// The environment in which evcxr builds here and runs cells.
    pub fn configure(&self, command: &mut Command) {
        // The lock shall last as long as anything runs that builds here.
        let _ = fcntl_setfd(&self._lock, FdFlags::empty());
        if let Ok(toolchain) = toolchain(&self.root) {
            command.env("RUSTUP_TOOLCHAIN", toolchain);
        }
        if let Some(folders) = self.library_folders() {
            command.env(crate::environment::LIBRARY_PATH, folders);
        }
        command
            .env("EVCXR_TMPDIR", self.cell())
            .env("EVCXR_CONFIG_DIR", self.folder.join("config"))
            // evcxr looks after its own kernelspec in here; that of the user is none of our business.
            .env("JUPYTER_PATH", self.folder.join("config"))
            // evcxr turns backtraces on, and then candle's errors are pages long.
            .env("RUST_LIB_BACKTRACE", "0")
            .env("IGPT_ROOT", &self.root)
            .env(LIBRARY, &self.fingerprint)
            .env("IGPT_KERNEL", "1");
    }

    /// Where cells find the libraries that they share. rustc notes that in each cell's library, but relative to where
    /// cargo puts it, and evcxr moves it: the note is wrong wherever toolchain and slot lie below the same folder.
    fn library_folders(&self) -> Option<std::ffi::OsString> {
        let mut rustc = Command::new("rustc");
        crate::environment::scrub(&mut rustc);
        rustc.args(["--print", "target-libdir"]).current_dir(&self.root);
        let output = rustc.output().ok()?;
        let standard = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
        // …/lib/rustlib/<target>/lib
        let target = standard.parent()?.file_name()?;
        let own = self.cell().join("target").join(target).join("debug/deps");
        let set = std::env::var_os(crate::environment::LIBRARY_PATH).unwrap_or_default();
        let kept = std::env::split_paths(&set).filter(|folder| !crate::environment::is_made_by_cargo(folder));
        std::env::join_paths([standard, own].into_iter().chain(kept)).ok()
    }

    /// Pins the versions of all dependencies to those of the checkout. evcxr empties the lock file when it starts, so
    /// this comes after.
    pub fn pin_dependencies(&self) -> Result<()> {
        let lock = self.root.join("Cargo.lock");
        fs::copy(&lock, self.cell().join("Cargo.lock"))
            .with_context(|| format!("cannot copy {}", lock.display()))?;
        Ok(())
    }

    /// A view of what is being compiled in it.
    pub fn watch(&self) -> BuildProgress {
        BuildProgress(self.cell().join("target"))
    }
}

/// Looks into a slot that somebody builds.
#[derive(Debug)]
pub struct BuildProgress(PathBuf);

impl BuildProgress {
    /// Into the base of a checkout.
    pub fn base(all: &Path, root: &Path) -> Result<Self> {
        Ok(Self(slots_of(all, root)?.join("base/cell/target")))
    }

    /// How many crates are compiled, for a progress bar. Of one that was compiled twice, before and after its compiler or cargo's folder
    /// changed, there are two files.
    pub fn compiled(&self) -> usize {
        let name = |file: &PathBuf| {
            let name = file.file_name()?.to_str()?.strip_suffix(".rmeta")?;
            Some(name.rsplit_once('-').map_or(name, |(name, _)| name).to_owned())
        };
        files_below(&self.0, 4).iter().filter_map(name).collect::<BTreeSet<_>>().len()
    }
}

/// Whether a folder has rustc's notes for compiling the library a second time. `ctx` is the crate that evcxr makes of a cell; all others are
/// compiled while the library is built.
fn is_of_the_library(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    folder.parent().is_some_and(|parent| parent.ends_with("incremental")) && !name.starts_with("ctx-")
}

/// The toolchain that the checkout pins.
pub fn toolchain(root: &Path) -> Result<String> {
    let file = root.join("rust-toolchain.toml");
    let table = read_toml(&file)?;
    let channel = table.get("toolchain").and_then(|t| t.get("channel")).and_then(toml::Value::as_str);
    Ok(channel.with_context(|| format!("{} names no channel", file.display()))?.to_owned())
}

/// The fingerprint of the library that is compiled in a slot.
pub fn built_in(folder: &Path) -> Option<String> {
    fs::read_to_string(folder.join("built")).ok()
}

fn built_with(folder: &Path) -> Option<String> {
    fs::read_to_string(folder.join("built-with")).ok()
}

fn open_lock(folder: &Path) -> Result<File> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let file = folder.join("lock");
    let lock = File::options().create(true).truncate(false).write(true).open(&file);
    lock.with_context(|| format!("cannot write {}", file.display()))
}

/// Locks a slot's folder; `None` if a live kernel has it.
pub fn try_lock(folder: &Path) -> Result<Option<File>> {
    loop {
        let lock = open_lock(folder)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if is_lock_of(&lock, folder) => return Ok(Some(lock)),
            // Between opening and locking the folder was removed: what is locked belongs to nobody.
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot lock {}", folder.display())),
        }
    }
}

/// Whether an open lock is the file that others would open.
fn is_lock_of(lock: &File, folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let place = |about: fs::Metadata| (about.dev(), about.ino());
    let (own, there) = (lock.metadata().map(place), fs::metadata(folder.join("lock")).map(place));
    matches!((own, there), (Ok(own), Ok(there)) if own == there)
}

/// Removes a slot that is locked by us: at once for everybody who looks for one, whatever the removal takes.
pub fn remove_locked(folder: &Path, _lock: &File) -> Result<()> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let aside = folder.with_file_name(format!(".removed-{name}-{}", std::process::id()));
    fs::rename(folder, &aside).with_context(|| format!("cannot remove {}", folder.display()))?;
    remove(&aside)
}

fn read_toml(file: &Path) -> Result<toml::Table> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    text.parse().with_context(|| format!("{} is not TOML", file.display()))
}

fn write_if_different(file: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(file).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let context = || format!("cannot write {}", file.display());
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(context)?;
    }
    fs::write(file, bytes).with_context(context)
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn files_below(folder: &Path, depth: usize) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if !path.is_dir() {
            files.push(path);
        } else if depth > 0 {
            files.extend(files_below(&path, depth - 1));
        }
    }
    files
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn crates_are_counted_once_however_often_they_were_compiled() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let deps = folder.path().join("x86_64/debug/deps");
        fs::create_dir_all(&deps)?;
        for name in ["liba_b-1f.rmeta", "liba_b-2e.rmeta", "libc-3d.rmeta", "libc-3d.rlib", "libc-3d.d"] {
            fs::write(deps.join(name), "")?;
        }
        assert_eq!(BuildProgress(folder.path().to_owned()).compiled(), 2);
        Ok(())
    }

    #[test]
    fn partial_builds_are_forgotten() -> Result<()> {
        let temporary = tempfile::tempdir()?;
        let folder = temporary.path().to_owned();
        let lock = try_lock(&folder)?.context("locked")?;
        let (fingerprint, dependencies) = ("new".to_owned(), "old".to_owned());
        let slot = Slot { root: folder.clone(), folder, fingerprint, dependencies, _lock: lock };
        let notes = slot.cell().join("target/x86_64/debug/incremental");
        let make = || -> Result<()> {
            write_if_different(&notes.join("ctx-1a/s-2b-working/3c.o"), b"")?;
            write_if_different(&notes.join("igpt-4d/s-5e/6f.o"), b"")
        };
        make()?;
        slot.forget_partial_builds()?;
        assert_eq!(folders(&notes), [] as [PathBuf; 0], "a library that is not finished");
        make()?;
        slot.note_built()?;
        slot.forget_partial_builds()?;
        assert_eq!(
            folders(&notes),
            [notes.join("igpt-4d")],
            "only cells are compiled with a finished library"
        );
        Ok(())
    }

    /// A checkout of which only the library, the command and the tests' support are there, as far as they matter here.
    pub(crate) fn checkout() -> Result<tempfile::TempDir> {
        let checkout = tempfile::tempdir()?;
        let package = |name: &str, version: &str, dependencies: &str| {
            format!(
                "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\ndependencies = [{dependencies}]\n"
            )
        };
        let lock = [
            package("igpt", "0.1.0", "\"inner\", \"part\", \"tests\""),
            package("part", "0.1.0", "\"of-part\""),
            package("of-part", "5.0.0", ""),
            package("inner", "1.0.0", "\"deep\""),
            package("deep", "2.0.0", ""),
            package("igpt-notebooks", "0.1.0", "\"igpt\", \"outer\""),
            package("outer", "3.0.0", ""),
            package("tests", "4.0.0", ""),
        ];
        let manifest = "[package]\nname = \"igpt\"\n[dependencies]\ninner.workspace = true\npart.workspace = true\n\
                        [dev-dependencies]\ntests.workspace = true\n";
        let part = "[package]\nname = \"part\"\n[dependencies]\nof-part.workspace = true\n";
        let workspace = "[workspace]\nmembers = [\"kernel-lib\", \"notebooks\"]\n[workspace.dependencies]\n\
                         inner = \"1\"\nof-part = \"5\"\npart = { path = \"kernel-lib/part\" }\nouter = \"3\"\ntests = \"4\"\n[profile.release]\nopt-level = 3\n";
        for (file, text) in [
            ("Cargo.lock", &*lock.concat()),
            ("Cargo.toml", workspace),
            ("rust-toolchain.toml", "[toolchain]\nchannel = \"1.95.0\"\n"),
            ("kernel-lib/Cargo.toml", manifest),
            ("kernel-lib/src/lib.rs", "pub fn one() {}\n"),
            ("kernel-lib/part/Cargo.toml", part),
            ("kernel-lib/part/src/lib.rs", "pub fn part() {}\n"),
        ] {
            write_if_different(&checkout.path().join(file), text.as_bytes())?;
        }
        Ok(checkout)
    }
}
