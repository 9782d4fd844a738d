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
    /// Of the run whose notebook has this journal: all of a run's lie in one folder. The path is absolute, since a kernel works in
    /// another folder.
    pub fn beside(journal: &'a Path) -> Self {
        Self { file: journal.with_file_name("computing.lock"), journal }
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
        let (own, other) = (folder.path().join("a.journal"), folder.path().join("b.journal"));
        let turns = Turns::beside(&own);
        turns.free().await;
        assert!(!turns.is_with_another());
        let computing = File::create(turns.file()).unwrap();
        computing.lock().unwrap();
        let pause = Duration::from_millis(300);
        assert!(tokio::time::timeout(pause, turns.free()).await.is_err());
        fs::write(turns.file(), format!("{}\n/store/progress.json\n", other.display())).unwrap();
        assert!(turns.is_with_another());
        fs::write(turns.file(), format!("{}\n/store/progress.json\n", own.display())).unwrap();
        assert!(!turns.is_with_another());
        let begun = Instant::now();
        tokio::join!(turns.free(), async {
            tokio::time::sleep(pause).await;
            drop(computing);
        });
        assert!(begun.elapsed() >= pause);
        // What a process left behind that ended says nothing.
        fs::write(turns.file(), format!("{}\n", other.display())).unwrap();
        assert!(!turns.is_with_another());
    }
}
