//! `igpt run` with the fake kernel as a process.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

use crate::{Cell, Executed, fake_kernel, igpt, write_notebook};

/// A folder with notebooks, in which `igpt run` writes to `out`. The kernel is the test that runs: it has to have a test
/// `fake_kernel_process` that calls [`be_the_kernel`].
pub struct Igpt {
    /// Where the notebooks are.
    pub folder: TempDir,
}

impl Default for Igpt {
    fn default() -> Self {
        Self::new()
    }
}

impl Igpt {
    /// An empty folder.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a notebook `NAME.ipynb`; the name may have folders.
    pub fn write(&self, name: &str, cells: &[Cell]) {
        if let Some(folder) = self.path().join(name).parent() {
            fs::create_dir_all(folder).expect("a folder can be made");
        }
        write_notebook(self.path(), name, cells);
    }

    /// The command line that starts the fake kernel.
    pub fn kernel() -> String {
        let this = std::env::current_exe().expect("this test's file");
        format!("{} --exact fake_kernel_process --nocapture {{connection_file}}", this.display())
    }

    /// `igpt run` with these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = igpt();
        command
            .args(["run", "--out", "out", "--kernel-command", &Self::kernel()])
            .args(arguments)
            .current_dir(self.path())
            .env("IGPT_FAKE_KERNEL", "1")
            .stdin(Stdio::null());
        // Where these tests run is not what they test.
        for name in [
            "GITHUB_ACTIONS",
            "GITHUB_STEP_SUMMARY",
            "GITHUB_WORKSPACE",
            "HF_TOKEN",
            "HUGGING_FACE_HUB_TOKEN",
        ] {
            command.env_remove(name);
        }
        command
    }

    /// Runs it; the exit code and all that it said.
    pub fn run(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.command(arguments).output().expect("igpt can be started");
        said(&output)
    }

    /// An executed notebook.
    pub fn executed(&self, name: &str) -> Executed {
        Executed::read(&self.path().join(format!("out/{name}.ipynb")))
    }

    /// A file of the output folder.
    pub fn out(&self, file: &str) -> String {
        fs::read_to_string(self.path().join("out").join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
    }
}

/// The exit code, and standard output before standard error.
pub fn said(output: &Output) -> (i32, String) {
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

/// Serves the connection file that is this process's last argument, if this process was started as a kernel.
///
/// `IGPT_TEST_TRACE` names a folder for the times of start and end. `IGPT_FAKE_FAULTS` names a file with the number of
/// starts that are to fail.
pub fn be_the_kernel() {
    if std::env::var_os("IGPT_FAKE_KERNEL").is_none() {
        return;
    }
    if let Some(file) = std::env::var_os("IGPT_FAKE_FAULTS") {
        let left: u32 = fs::read_to_string(&file).expect("a file").trim().parse().expect("a number");
        if left > 0 {
            fs::write(&file, (left - 1).to_string()).expect("it can be written");
            eprintln!("the machine is at fault");
            std::process::exit(3);
        }
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let trace = |what: &str| {
        if let Some(folder) = std::env::var_os("IGPT_TEST_TRACE") {
            let time = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .expect("a date after 1970");
            let file = Path::new(&folder).join(format!("{}-{what}", std::process::id()));
            fs::write(file, time.as_millis().to_string()).expect("a trace can be written");
        }
    };
    trace("start");
    runtime.block_on(fake_kernel::serve_connection_file());
    trace("end");
}
