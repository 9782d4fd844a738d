//! Which build slots there are on this machine, of all checkouts: `igpt kernel --list` and `igpt kernel --clean`.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use rustix::fs::{FlockOperation, flock};

use crate::{
    dirs,
    files::{folders, size},
    host, slot,
};

/// A slot as it is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotInfo {
    /// Its folder.
    pub folder: PathBuf,
    /// Its name: a number, or `base`.
    pub name: String,
    /// The checkout whose library is compiled in it, if the slot says so.
    pub checkout: Option<PathBuf>,
    /// Whether that checkout is still there.
    pub checkout_exists: bool,
    /// The bytes of its files; of those that it shares with other slots its part.
    pub bytes: u64,
    /// Who has it.
    pub state: SlotState,
    /// What is compiled in it.
    pub built: Built,
    /// When a kernel last started or ran a cell in it.
    pub last_used: Option<SystemTime>,
}

/// Who has a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotState {
    /// Nobody.
    Free,
    /// These processes hold its lock: those that no other of them has started. None if they are not ours to see.
    InUse(Vec<u32>),
}

/// What is compiled in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Built {
    /// The checkout's library as it is now: a kernel starts in seconds.
    Current,
    /// A library that has changed since, or one whose checkout is gone.
    Other,
    /// None yet.
    Nothing,
}

/// All slots of all checkouts, by checkout and number.
///
/// # Errors
/// No folder for the cache.
pub fn find() -> Result<Vec<SlotInfo>> {
    Ok(find_in(&dirs::slots()?))
}

fn find_in(slots: &Path) -> Vec<SlotInfo> {
    // A library is read once for all slots of its checkout.
    let mut wanted: BTreeMap<PathBuf, Option<String>> = BTreeMap::new();
    let mut found = Vec::new();
    for checkout in folders(slots) {
        for folder in folders(&checkout) {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with('.') {
                // Being removed.
                continue;
            }
            let named = checkout_of(&folder).or_else(|| checkout_of(&checkout.join("base")));
            let built = match (slot::built_in(&folder), &named) {
                (None, _) => Built::Nothing,
                (Some(built), Some(root)) => {
                    let wanted = wanted.entry(root.clone()).or_insert_with(|| {
                        slot::fingerprints(root).ok().map(|[_dependencies, library]| library)
                    });
                    if wanted.as_ref() == Some(&built) { Built::Current } else { Built::Other }
                }
                (Some(_), None) => Built::Other,
            };
            found.push(SlotInfo {
                name,
                checkout_exists: named.as_deref().is_some_and(Path::is_dir),
                checkout: named,
                bytes: size(&folder),
                state: state(&folder),
                built,
                last_used: last_used(&folder),
                folder,
            });
        }
    }
    // `base` first, and 10 after 9.
    found.sort_by_key(|slot| {
        (slot.checkout.clone(), slot.folder.parent().map(Path::to_owned), number(&slot.name))
    });
    found
}

fn number(name: &str) -> Option<u32> {
    name.parse().ok()
}

/// The checkout that a slot says it is of.
fn checkout_of(folder: &Path) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt as _;
    let bytes = fs::read(folder.join("checkout")).ok()?;
    Some(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

/// Asks the lock itself, without making one. A shared lock, given back at once: two who look do not see each other, and
/// neither do those who copy from a base.
fn state(folder: &Path) -> SlotState {
    let Ok(lock) = File::open(folder.join("lock")) else { return SlotState::Free };
    match flock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => SlotState::Free,
        Err(_) => SlotState::InUse(holders(&folder.join("lock"))),
    }
}

/// The processes that have a file open, less those that another one of them started. By `/proc`; elsewhere none.
fn holders(file: &Path) -> Vec<u32> {
    let Ok(file) = file.canonicalize() else { return Vec::new() };
    let holds = |process: &Path| {
        let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        descriptors.into_iter().any(|descriptor| fs::read_link(descriptor.path()).is_ok_and(|to| to == file))
    };
    let ids = host::processes().filter_map(|id| u32::try_from(id).ok());
    let mut all: Vec<u32> =
        ids.filter(|id| *id != std::process::id() && holds(&PathBuf::from(format!("/proc/{id}")))).collect();
    all.sort_unstable();
    let everyone = all.clone();
    all.retain(|id| parent(*id).is_none_or(|parent| !everyone.contains(&parent)));
    all
}

fn parent(id: u32) -> Option<u32> {
    let (parent, _group) = host::parent_and_group(i32::try_from(id).ok()?)?;
    u32::try_from(parent).ok()
}

/// evcxr writes these at its start and for each cell.
fn last_used(folder: &Path) -> Option<SystemTime> {
    let files = ["cell/Cargo.lock", "cell/src/lib.rs", "built", "checkout"];
    files.iter().filter_map(|file| fs::metadata(folder.join(file)).ok()?.modified().ok()).max()
}

/// The slots as a table.
pub fn table(slots: &[SlotInfo], now: SystemTime) -> String {
    if slots.is_empty() {
        return "No build slots: the first kernel, or `igpt setup`, makes one.\n".into();
    }
    let mut rows = vec![["slot", "size", "library", "last used", "state"].map(str::to_owned)];
    for slot in slots {
        let built = match slot.built {
            Built::Current => "built",
            Built::Other => "built from another library",
            Built::Nothing => "not built",
        };
        let used =
            slot.last_used.map_or("never".into(), |at| ago(now.duration_since(at).unwrap_or_default()));
        rows.push([slot.name.clone(), megabytes(slot.bytes), built.into(), used, say(&slot.state)]);
    }
    let widths: Vec<usize> =
        (0..4).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let line = |row: &[String; 5]| {
        let mut text = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "{cell:width$}  ");
        }
        text + &row[4] + "\n"
    };
    let mut text = String::new();
    let mut before = None;
    for (slot, row) in slots.iter().zip(&rows[1..]) {
        let checkout = slot.folder.parent();
        if before != Some(checkout) {
            let named = match &slot.checkout {
                Some(named) if slot.checkout_exists => named.display().to_string(),
                Some(named) => format!("{} (not there any more)", named.display()),
                None => "an unknown checkout".into(),
            };
            let _ = write!(text, "{}{named}\n  {}", if before.is_some() { "\n" } else { "" }, line(&rows[0]));
            before = Some(checkout);
        }
        let _ = write!(text, "  {}", line(row));
    }
    let total: u64 = slots.iter().map(|slot| slot.bytes).sum();
    let _ = writeln!(text, "\n{} in all. `igpt kernel --clean` removes free slots.", megabytes(total));
    text
}

/// `free`, `in use by 4711`.
pub fn say(state: &SlotState) -> String {
    match state {
        SlotState::Free => "free".into(),
        SlotState::InUse(by) if by.is_empty() => "in use".into(),
        SlotState::InUse(by) => {
            let by: Vec<String> = by.iter().map(u32::to_string).collect();
            format!("in use by {}", by.join(", "))
        }
    }
}

/// A size in words.
pub fn megabytes(bytes: u64) -> String {
    match bytes / 1_000_000 {
        small @ 0..10_000 => format!("{small} MB"),
        large => format!("{:.1} GB", large as f64 / 1000.),
    }
}

fn ago(time: Duration) -> String {
    match time.as_secs() {
        0..60 => "now".into(),
        s @ 60..7_200 => format!("{} min ago", s / 60),
        s @ 7_200..172_800 => format!("{} h ago", s / 3_600),
        s => format!("{} days ago", s / 86_400),
    }
}

/// Whether `--clean` removes a free slot: any but a base, whose copies are made again in seconds; and everything of a
/// checkout that is not there any more.
fn is_removed(slot: &SlotInfo) -> bool {
    slot.name != "base" || (slot.checkout.is_some() && !slot.checkout_exists)
}

/// Removes what [`is_removed`] says, and says so.
///
/// # Errors
/// A folder that cannot be removed.
pub fn clean() -> Result<()> {
    let slots = dirs::slots()?;
    let removed = clean_in(&slots, &mut |line| println!("{line}"))?;
    println!("{} freed", megabytes(removed));
    Ok(())
}

fn clean_in(slots: &Path, say_line: &mut dyn FnMut(String)) -> Result<u64> {
    let mut freed = 0;
    for found in find_in(slots) {
        let of =
            found.checkout.as_ref().map_or("an unknown checkout".into(), |path| path.display().to_string());
        let what = format!("{} of {of}", found.name);
        if !is_removed(&found) {
            say_line(format!("kept    {what}: new slots are copied from it"));
            continue;
        }
        match slot::try_lock(&found.folder)? {
            Some(lock) => {
                slot::remove_locked(&found.folder, &lock)?;
                freed += found.bytes;
                say_line(format!("removed {what} ({})", megabytes(found.bytes)));
            }
            None => say_line(format!("left    {what}: {}", say(&state(&found.folder)))),
        }
    }
    for checkout in folders(slots) {
        // What an earlier removal left when it was interrupted.
        for leftover in folders(&checkout) {
            if leftover.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".removed-")) {
                fs::remove_dir_all(&leftover)
                    .with_context(|| format!("cannot remove {}", leftover.display()))?;
            }
        }
        // Only if nothing was left in it.
        let _ = fs::remove_dir(&checkout);
    }
    Ok(freed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slot of a checkout in a cache of its own.
    fn make(slots: &Path, hash: &str, name: &str, checkout: &Path) -> PathBuf {
        let folder = slots.join(hash).join(name);
        fs::create_dir_all(folder.join("cell")).unwrap();
        fs::write(folder.join("checkout"), checkout.as_os_str().as_encoded_bytes()).unwrap();
        fs::write(folder.join("lock"), "").unwrap();
        fs::write(folder.join("cell/big"), vec![0; 2_000_000]).unwrap();
        folder
    }

    fn names(found: &[SlotInfo]) -> Vec<&str> {
        found.iter().map(|slot| slot.name.as_str()).collect()
    }

    #[test]
    fn slots_are_listed_in_order_with_what_they_are() {
        let place = tempfile::tempdir().unwrap();
        let (slots, here) = (place.path().join("slots"), place.path().join("checkout"));
        fs::create_dir_all(&here).unwrap();
        for name in ["10", "base", "9"] {
            make(&slots, "a", name, &here);
        }
        fs::write(slots.join("a/9/built"), "of an older library").unwrap();
        let _held = slot::try_lock(&slots.join("a/10")).unwrap().unwrap();
        let found = find_in(&slots);
        assert_eq!(names(&found), ["base", "9", "10"]);
        assert_eq!((found[0].built, &found[0].state), (Built::Nothing, &SlotState::Free));
        assert_eq!(found[1].built, Built::Other);
        assert!(matches!(found[2].state, SlotState::InUse(_)));
        assert!(found[0].bytes > 2_000_000 && found[0].checkout_exists);
        let table = table(&found, SystemTime::now());
        assert!(table.starts_with(&here.display().to_string()), "{table}");
        for words in
            ["base  2 MB  not built", "9     2 MB  built from another library  now        free", "in use"]
        {
            assert!(table.contains(words), "{words}: {table}");
        }
    }

    #[test]
    fn free_slots_go_and_locked_ones_and_bases_stay() {
        let place = tempfile::tempdir().unwrap();
        let (slots, here) = (place.path().join("slots"), place.path().join("checkout"));
        fs::create_dir_all(&here).unwrap();
        for name in ["base", "0", "1"] {
            make(&slots, "here", name, &here);
            make(&slots, "gone", name, &place.path().join("not there"));
        }
        let held = slot::try_lock(&slots.join("here/1")).unwrap().unwrap();
        let also_held = slot::try_lock(&slots.join("gone/0")).unwrap().unwrap();
        let mut said = Vec::new();
        let freed = clean_in(&slots, &mut |line| said.push(line)).unwrap();
        assert!(freed > 3 * 2_000_000 && freed < 4 * 2_000_000);
        assert_eq!(names(&find_in(&slots)), ["base", "1", "0"]);
        let said = said.join("\n");
        for words in ["kept    base", "removed 0", "left    1", "left    0 of"] {
            assert!(said.contains(words), "{words}: {said}");
        }
        drop((held, also_held));
        clean_in(&slots, &mut |_| {}).unwrap();
        assert_eq!(names(&find_in(&slots)), ["base"]);
        assert!(!slots.join("gone").exists());
    }

    /// Whoever opened the lock before the folder was removed, and locks it after, has locked nothing.
    #[test]
    fn a_removed_slot_is_not_taken() {
        let place = tempfile::tempdir().unwrap();
        let folder = make(place.path(), "a", "0", place.path());
        let lock = slot::try_lock(&folder).unwrap().unwrap();
        slot::remove_locked(&folder, &lock).unwrap();
        assert!(!folder.exists());
        let again = slot::try_lock(&folder).unwrap().unwrap();
        assert!(slot::try_lock(&folder).unwrap().is_none(), "two have the same slot");
        drop(again);
    }

    #[test]
    fn the_holder_of_a_lock_is_found() {
        let place = tempfile::tempdir().unwrap();
        let folder = make(place.path(), "a", "0", place.path());
        let file = folder.join("lock");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "exec 9>\"$0\" && flock -x 9 && touch \"$0.held\" && sleep 60; true"]).arg(&file);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut held = command.spawn().unwrap();
        let start = std::time::Instant::now();
        while !folder.join("lock.held").exists() && start.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let seen = folder.join("lock.held").exists().then(|| state(&folder));
        // The shell's `sleep` has the lock, too, but the shell started it.
        let group = rustix::process::Pid::from_raw(i32::try_from(held.id()).unwrap()).unwrap();
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
        held.wait().unwrap();
        if let Some(seen) = seen {
            assert_eq!(seen, SlotState::InUse(vec![held.id()]));
        }
    }
}
