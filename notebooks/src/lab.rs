//! `igpt lab`: JupyterLab with this repository's kernel.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result};

/// Starts JupyterLab on the notebooks and waits for its end; says how to get it where it is not installed.
pub fn lab(root: &Path, arguments: &[String]) -> Result<ExitCode> {
    let Some(mut command) = jupyter_lab() else {
        eprintln!(
            "JupyterLab is not installed. One way to get it:\n\n    \
             python3 -m venv .venv\n    .venv/bin/pip install jupyterlab\n    \
             PATH=\"$PWD/.venv/bin:$PATH\" igpt lab\n\n\
             (VS Code with its Jupyter extension needs no JupyterLab: after `igpt setup` it lists the kernel.)"
        );
        return Ok(ExitCode::FAILURE);
    };
    crate::environment::scrub(&mut command);
    let status = command
        .arg(root.join("notebooks"))
        .args(arguments)
        .env("JUPYTER_PATH", jupyter_path()?)
        .status()
        .context("cannot start JupyterLab")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Our kernelspec's folder before whatever the person has.
fn jupyter_path() -> Result<OsString> {
    let ours = spec_folder();
    let theirs = std::env::var_os("JUPYTER_PATH").unwrap_or_default();
    let folders = std::env::split_paths(&theirs).filter(|folder| !folder.as_os_str().is_empty());
    std::env::join_paths(std::iter::once(ours).chain(folders)).context("JUPYTER_PATH cannot hold our folder")
}

fn spec_folder() -> PathBuf {
    // Replaced by the folder that setup writes the kernelspec to.
    PathBuf::from("target/jupyter")
}

fn jupyter_lab() -> Option<Command> {
    let candidates: [&[&str]; 3] = [&["jupyter-lab"], &["jupyter", "lab"], &["python3", "-m", "jupyterlab"]];
    candidates.into_iter().find_map(|words| {
        let command = || {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]);
            command
        };
        let asked = command()
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        asked.is_ok_and(|status| status.success()).then(command)
    })
}
