//! `igpt lab`: JupyterLab with this repository's kernel.

use std::{
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result};

/// Starts JupyterLab on the notebooks and waits for its end; says how to get it where it is not installed. Keeps an engine ready for
/// the next kernel, if that is wanted.
pub fn lab(root: &Path, arguments: &[String], spare: bool) -> Result<ExitCode> {
    let Some(mut command) = jupyter_lab() else {
        eprintln!(
            "JupyterLab is not installed. One way to get it:\n\n    \
             python3 -m venv .venv\n    .venv/bin/pip install jupyterlab\n    \
             PATH=\"$PWD/.venv/bin:$PATH\" igpt lab\n\n\
             (VS Code with its Jupyter extension needs no JupyterLab: after `igpt setup` it lists the kernel.)"
        );
        return Ok(ExitCode::FAILURE);
    };
    crate::setup::setup(root)?;
    crate::environment::scrub(&mut command);
    if let Some(path) = crate::dirs::jupyter_path()? {
        command.env("JUPYTER_PATH", path);
    }
    let notebooks = root.join("notebooks");
    command.arg(&notebooks).args(arguments);
    if spare {
        keep_spare(&mut command, root, &notebooks);
    }
    let status = command.status().context("cannot start JupyterLab")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Without a spare the lab is as good, but slower.
#[cfg(target_os = "linux")]
fn keep_spare(server: &mut Command, root: &Path, folder: &Path) {
    let kept = crate::setup::kernelspec_folder().and_then(|folder_of_kernel| {
        // The program that the kernels are.
        let program = folder_of_kernel.join("igpt");
        crate::kernel::spare::keeper::keep(server, &program, root, folder)
    });
    if let Err(error) = kept {
        eprintln!("no spare engine is kept ready: {error:#}");
    }
}

#[cfg(not(target_os = "linux"))]
fn keep_spare(_server: &mut Command, _root: &Path, _folder: &Path) {}

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
