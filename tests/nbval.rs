//! What `pytest --nbval-lax` says of each cell of a notebook. It goes on behind a cell that fails, so one kernel is enough for many
//! cells that have to.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::jupyter_data;

/// pytest beside this `jupyter`, if it has nbval. Without it a test that needs it says why it does nothing; on CI it fails.
pub fn beside(jupyter: &Path) -> Option<PathBuf> {
    let pytest = jupyter.with_file_name("pytest");
    let help = Command::new(&pytest).arg("--help").output();
    if help.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("--nbval-lax")) {
        return Some(pytest);
    }
    assert!(std::env::var_os("CI").is_none(), "nbval is not installed, and CI needs it");
    println!("skipped: nbval is not installed (see tests/jupyter/requirements.txt)");
    None
}

/// The command that executes a notebook.
pub fn command(pytest: &Path, notebook: &str) -> Command {
    let mut command = Command::new(pytest);
    command.args(["--nbval-lax", "--color=no", "-rA", "-p", "no:cacheprovider", notebook]);
    command.env("JUPYTER_DATA_DIR", jupyter_data());
    command
}

/// What it said of a notebook.
#[derive(Debug)]
pub struct Said {
    /// Whether it called the notebook good, by its exit status.
    pub success: bool,
    /// All that it printed.
    pub text: String,
}

impl Said {
    /// Executes a notebook of this folder.
    pub fn of(pytest: &Path, folder: &Path, notebook: &str) -> Self {
        let output = command(pytest, notebook).current_dir(folder).output().expect("pytest can be started");
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        Self { success: output.status.success(), text }
    }

    /// Whether it says that a code cell passed. Cells are counted from 0.
    pub fn passes(&self, cell: usize) -> bool {
        let end = format!("::Cell {cell}");
        self.text.lines().any(|line| line.starts_with("PASSED ") && line.ends_with(&end))
    }

    /// What it says of a code cell that failed.
    pub fn failure(&self, cell: usize) -> Option<&str> {
        let start = format!("Cell {cell}: ");
        let mut failures = self.text.split("Notebook cell execution failed\n").skip(1);
        failures.find(|failure| failure.starts_with(&start))
    }
}

#[cfg(test)]
mod tests {
    use super::Said;

    #[test]
    fn a_cell_that_failed_is_told_from_one_that_passed() {
        let text = "a.ipynb .F.F  [100%]\n\n==== FAILURES ====\n____ a.ipynb::Cell 1 ____\n\
                    Notebook cell execution failed\nCell 1: Cell execution caused an exception\n\nInput:\nf()\n\nTraceback:\n\none\n\
                    ____ a.ipynb::Cell 11 ____\n\
                    Notebook cell execution failed\nCell 11: Cell execution caused an exception\n\nTraceback:\n\neleven\n\
                    ==== short test summary info ====\nPASSED a.ipynb::Cell 0\nPASSED a.ipynb::Cell 10\nFAILED a.ipynb::Cell 1\n";
        let said = Said { success: false, text: text.into() };
        assert_eq!([0, 1, 2, 10, 11].map(|cell| said.passes(cell)), [true, false, false, true, false]);
        assert!(
            said.failure(1).is_some_and(|failure| failure.contains("one") && !failure.contains("eleven"))
        );
        assert!(said.failure(11).is_some_and(|failure| failure.contains("eleven")));
        assert_eq!((said.failure(0), said.failure(2)), (None, None));
    }
}
