//! While a notebook computes a result, the others of its run wait with their next cell: a training takes all cores, and a compiler beside
//! it would make it two to three times as slow. The library of a notebook that computes holds a lock, see its `store::turn`; between
//! computations cells are compiled, as many at a time as notebooks run.

use std::{
    ffi::OsStr,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

/// The variable by which a kernel learns of the file.
pub const VARIABLE: &str = "IGPT_TURNS";

/// How often it is looked whether somebody computes.
const EVERY: Duration = Duration::from_millis(50);

/// Whose turn it is in a run, as one of its notebooks sees it.
#[derive(Debug)]
pub struct Turns<'a> {
    file: PathBuf,
    /// The notebook's own journal, by whose name the library says who computes.
    journal: &'a Path,
}

impl<'a> Turns<'a> {
    /// Of the run that has this folder for itself.
    pub fn of(folder: &Path, journal: &'a Path) -> Self {
        Self { file: folder.join("computing.lock"), journal }
    }

    /// The file whose lock it is.
    pub fn file(&self) -> &OsStr {
        self.file.as_os_str()
    }

    /// Waits until no notebook computes. A notebook whose cell has ended computes nothing itself.
    pub async fn free(&self) {
        while self.is_taken() {
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Whether another notebook computes.
    pub fn is_with_another(&self) -> bool {
        let is_own =
            |text: String| text.lines().next().is_some_and(|journal| Path::new(journal) == self.journal);
        self.is_taken() && !fs::read_to_string(&self.file).is_ok_and(is_own)
    }

    /// Where there is no such file, nobody has computed yet.
    fn is_taken(&self) -> bool {
        let file = File::open(&self.file);
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[tokio::test]
    async fn cells_wait_while_somebody_computes() {
        let folder = tempfile::tempdir().unwrap();
        let turns = Turns::of(folder.path(), Path::new("/x/a.jsonl"));
        turns.free().await;
        assert!(!turns.is_with_another());
        let computing = File::create(turns.file()).unwrap();
        computing.lock().unwrap();
        let pause = Duration::from_millis(300);
        assert!(tokio::time::timeout(pause, turns.free()).await.is_err());
        fs::write(turns.file(), "/x/b.jsonl\n/store/progress.json\n").unwrap();
        assert!(turns.is_with_another());
        fs::write(turns.file(), "/x/a.jsonl\n/store/progress.json\n").unwrap();
        assert!(!turns.is_with_another());
        let begun = Instant::now();
        tokio::join!(turns.free(), async {
            tokio::time::sleep(pause).await;
            drop(computing);
        });
        assert!(begun.elapsed() >= pause);
        // What a process left behind that ended says nothing.
        fs::write(turns.file(), "/x/b.jsonl\n").unwrap();
        assert!(!turns.is_with_another());
    }
}
