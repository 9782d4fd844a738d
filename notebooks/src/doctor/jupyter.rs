//! Which Jupyter is there, and whether it sees the kernel.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use super::Finding;
use crate::{program::output, setup};

const WHAT: &str = "Jupyter";

/// Each Jupyter that a user here would use: the checkout's own, and the one of the `PATH`.
pub fn findings(root: &Path) -> Vec<Finding> {
    let own = root.join(".venv/bin/jupyter");
    let mut findings: Vec<Finding> =
        [own, PathBuf::from("jupyter")].iter().filter_map(|program| look(program)).collect();
    if findings.is_empty() {
        findings.push(Finding::note(
            WHAT,
            "not found; `igpt run` needs none, nor does VS Code with its Jupyter extension",
            "python3 -m venv .venv && .venv/bin/pip install jupyterlab\nPATH=\"$PWD/.venv/bin:$PATH\" igpt lab",
        ));
    }
    findings
}

/// Asks one of them; `None` if it is not there.
fn look(program: &Path) -> Option<Finding> {
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        output(command)
    };
    if program.is_absolute() && !program.exists() {
        return None;
    }
    let versions = match ask(&["--version"]) {
        Ok(said) => said,
        Err(error) => {
            let missing = error.downcast_ref::<std::io::Error>().is_some();
            let seen = format!("{} does not start: {error:#}", program.display());
            return (!missing).then(|| Finding::note(WHAT, seen, "install it anew: pip install jupyterlab"));
        }
    };
    let seen = format!("{}: {}", program.display(), tools(&versions));
    let listed = ask(&["kernelspec", "list", "--json"]).unwrap_or_default();
    let wanted = setup::kernelspec_folder().ok()?;
    Some(match folder_in(&listed) {
        Some(folder) if folder.canonicalize().ok() == wanted.canonicalize().ok() => {
            Finding::ok(WHAT, format!("{seen}; it sees the kernel"))
        }
        Some(folder) => Finding::note(
            WHAT,
            format!("{seen}; it sees a kernel of the same name first in {}", folder.display()),
            format!("jupyter kernelspec remove {}, then igpt setup", setup::KERNEL_NAME),
        ),
        None => Finding::note(
            WHAT,
            format!("{seen}; it does not see the kernel"),
            "igpt setup, and look whether JUPYTER_DATA_DIR and HOME are the same for both",
        ),
    })
}

/// The tools that matter here, of the lines `nbconvert        : 7.17.2` and `jupyterlab       : not installed`.
fn tools(said: &str) -> String {
    let mut found = Vec::new();
    for line in said.lines() {
        let Some((name, version)) = line.split_once(':') else { continue };
        let (name, version) = (name.trim(), version.trim());
        if ["jupyterlab", "notebook", "nbconvert", "nbclient", "jupyter_client"].contains(&name) {
            match version {
                "not installed" if name == "notebook" => {}
                "not installed" => found.push(format!("no {name}")),
                version => found.push(format!("{name} {version}")),
            }
        }
    }
    if found.is_empty() { "its tools are unknown".into() } else { found.join(", ") }
}

/// Where Jupyter found our kernel.
fn folder_in(listed: &str) -> Option<PathBuf> {
    let listed: Value = serde_json::from_str(listed).ok()?;
    listed["kernelspecs"][setup::KERNEL_NAME]["resource_dir"].as_str().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let said = "Selected Jupyter core packages...\nIPython          : 9.1\nnbconvert        : 7.17.2\n\
                    notebook         : not installed\njupyterlab       : not installed\n";
        assert_eq!(tools(said), "nbconvert 7.17.2, no jupyterlab");
        assert_eq!(tools("what?"), "its tools are unknown");
    }

    #[test]
    fn the_kernels_folder_is_read() {
        let listed = r#"{"kernelspecs": {"igpt": {"resource_dir": "/x/kernels/igpt", "spec": {}}}}"#;
        assert_eq!(folder_in(listed), Some(PathBuf::from("/x/kernels/igpt")));
        assert_eq!(folder_in(r#"{"kernelspecs": {}}"#), None);
        assert_eq!(folder_in(""), None);
    }
}
