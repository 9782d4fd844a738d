//! One computation at a time, where several notebooks run beside each other and whoever runs them asks for it: a training takes all
//! cores, and two at a time take longer than one after the other. Their cells are compiled meanwhile.

use super::progress::{self, Progress};
use crate::{Error, Result, stop};
use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The variable that names the file whose lock is the turn. Without it everybody computes at once.
const VARIABLE: &str = "IGPT_TURNS";

/// What this process has of it: the lock goes with the file, and so with the process, however that ends.
static HELD: Mutex<Held> = Mutex::new(Held { times: 0, lock: None });

struct Held {
    times: usize,
    lock: Option<File>,
}

/// The turn of this process, in which it may compute. A computation that needs others has it once for all of them.
pub(super) struct Turn(());

impl Drop for Turn {
    fn drop(&mut self) {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        held.times -= 1;
        if held.times == 0 {
            held.lock = None;
        }
    }
}

/// Waits for the turn to compute what says in the file `own` how far it is; `waiting` hears how far the computation is that is waited
/// for. Whoever holds the lock of a result and asks for this could wait for ever: the turn comes first.
pub(super) fn take(
    step: &str,
    own: &Path,
    waiting: &mut dyn FnMut(Option<Progress>),
) -> Result<Option<Turn>> {
    let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) else { return Ok(None) };
    take_of(&PathBuf::from(path), step, own, waiting).map(Some)
}

fn take_of(path: &Path, step: &str, own: &Path, waiting: &mut dyn FnMut(Option<Progress>)) -> Result<Turn> {
    loop {
        // Not longer than for a look: another thread of this process may have the turn to give.
        {
            let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
            if held.times == 0 {
                held.lock = try_lock(path, own)?;
            }
            if held.times > 0 || held.lock.is_some() {
                held.times += 1;
                return Ok(Turn(()));
            }
        }
        stop::check(&format!("waiting for another notebook's computation, before {step}"))?;
        let other = std::fs::read_to_string(path).unwrap_or_default();
        waiting(other.lines().nth(1).and_then(|file| progress::read(Path::new(file))));
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn try_lock(path: &Path, own: &Path) -> Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(path);
    let mut file = file.map_err(|error| Error::io(path, error))?;
    match file.try_lock() {
        Ok(()) => {
            // For those who wait: who computes, by the name of its journal, and where it says how far it is.
            let journal = std::env::var(crate::journal::VARIABLE).unwrap_or_default();
            let text = format!("{journal}\n{}\n", own.display());
            let _ = file.set_len(0).and_then(|()| file.write_all(text.as_bytes()));
            Ok(Some(file))
        }
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(Error::io(path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_computes_at_a_time_and_what_it_needs_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("turns");
        let own = folder.path().join("progress.json");
        // Another process, by another open file.
        let other = try_lock(&path, &own).unwrap().unwrap();
        assert!(try_lock(&path, &own).unwrap().is_none());
        let written = progress::Written::to(own.clone());
        written.tell(3, 8, "steps");
        let (mut other, mut heard) = (Some(other), Vec::new());
        let turn = take_of(&path, "a test", &folder.path().join("mine"), &mut |progress| {
            heard.push(progress.map(|progress| (progress.done, progress.total)));
            if heard.len() == 3 {
                other = None;
            }
        });
        let turn = turn.unwrap();
        assert_eq!(heard, [Some((3, 8)); 3]);
        // What it needs, it computes in the same turn, in whatever thread; nobody else does until all of it has ended.
        let inner = std::thread::scope(|scope| {
            scope
                .spawn(|| take_of(&path, "a test", &own, &mut |_| panic!("waits for itself")).unwrap())
                .join()
        });
        drop(turn);
        assert!(try_lock(&path, &own).unwrap().is_none());
        drop(inner);
        assert!(try_lock(&path, &own).unwrap().is_some());
    }
}
