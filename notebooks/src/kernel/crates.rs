//! Which crates rust-analyzer sees. evcxr has it infer the types of variables, and at the start of every notebook it
//! loads each crate of the graph: 160 for our library, most of which no cell can name. Without them a kernel wakes
//! seconds earlier.
//!
//! rust-analyzer learns of crates from `cargo metadata`, which it calls as `$CARGO_HOME/bin/cargo`. So the engine gets a
//! `CARGO_HOME` of ours, whose folders are links to the real one's, and whose `bin/cargo` is this program: it passes
//! everything on to the real cargo, and takes out of the metadata of a notebook what only our library's inside needs.
//! What is compiled does not change; crates that a person adds with `:dep` are seen with all that they depend on.

use std::{
    collections::{HashMap, HashSet},
    env, fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::dirs;

/// The library, whose dependencies are hidden but for [`SHOWN`].
const LIBRARY: &str = "igpt";
/// Crates that the library re-exports, or whose types its functions take and return.
const SHOWN: [&str; 3] = ["candle-core", "candle-nn", "half"];
/// Where the real folder is, for the program below.
const REAL_HOME: &str = "IGPT_REAL_CARGO_HOME";
const PROGRAM: &str = "IGPT_PROGRAM";

/// What cargo keeps in its folder. The lock files are linked, too: one lock for both names of the folder.
const LINKS: [&str; 9] = [
    "registry",
    "git",
    "config.toml",
    "config",
    "credentials.toml",
    "credentials",
    ".package-cache",
    ".package-cache-mutate",
    ".global-cache",
];

/// The environment in which rust-analyzer sees few crates.
///
/// # Errors
/// If our folder cannot be written.
pub fn hide_from_rust_analyzer(command: &mut Command) -> Result<()> {
    // This very program, even if its file was replaced meanwhile. The library starts it, too, to fetch data.
    let running = PathBuf::from(format!("/proc/{}/exe", std::process::id()));
    command.env(PROGRAM, if running.exists() { running } else { env::current_exe()? });
    let Some(real) = cargo_home() else { return Ok(()) };
    let home = dirs::cache()?.join("cargo-home");
    let context = || format!("cannot write {}", home.display());
    fs::create_dir_all(home.join("bin")).with_context(context)?;
    for name in LINKS {
        let (link, target) = (home.join(name), real.join(name));
        if fs::read_link(&link).is_ok_and(|old| old == target) {
            continue;
        }
        if matches!(name, "registry" | "git") {
            let _ = fs::create_dir_all(&target);
        }
        let _ = fs::remove_file(&link);
        match std::os::unix::fs::symlink(&target, &link) {
            // Another kernel was quicker.
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(context);
            }
            _ => {}
        }
    }
    let script = home.join("bin/cargo");
    let text = format!("#!/bin/sh\nexec \"${PROGRAM}\" cargo \"$@\"\n");
    if fs::read_to_string(&script).ok().as_ref() != Some(&text) {
        let mut file = tempfile::NamedTempFile::new_in(home.join("bin")).with_context(context)?;
        std::io::Write::write_all(&mut file, text.as_bytes()).with_context(context)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o755)).with_context(context)?;
        file.persist(&script).with_context(context)?;
    }
    command.env("CARGO_HOME", home).env(REAL_HOME, real);
    Ok(())
}

fn cargo_home() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("CARGO_HOME").or_else(|| set("HOME").map(|home| home.join(".cargo"))).filter(|folder| folder.is_dir())
}

/// `igpt cargo …`: cargo, whose `metadata` of a notebook leaves out what rust-analyzer need not see.
///
/// # Errors
/// If cargo cannot be started.
pub fn cargo(arguments: &[std::ffi::OsString]) -> Result<ExitCode> {
    let proxy = env::var_os(REAL_HOME).map(|home| PathBuf::from(home).join("bin/cargo"));
    let program = proxy.filter(|proxy| proxy.is_file()).unwrap_or_else(|| {
        // Without rustup cargo lies somewhere else in the path, and not where this one does.
        let path = env::var_os("PATH").unwrap_or_default();
        let ours = env::var_os("CARGO_HOME").map(|home| PathBuf::from(home).join("bin"));
        let found =
            env::split_paths(&path).filter(|folder| Some(folder) != ours.as_ref()).map(|f| f.join("cargo"));
        found.into_iter().find(|file| file.is_file()).unwrap_or_else(|| "cargo".into())
    });
    let mut command = Command::new(program);
    command.args(arguments);
    let is_metadata = arguments.first().is_some_and(|first| first == "metadata");
    if !is_metadata {
        return Err(command.exec()).context("cannot start cargo");
    }
    let output = command.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    let pruned = serde_json::from_slice(&output.stdout).ok().and_then(prune).map(|value| value.to_string());
    let text = pruned.map_or(output.stdout, String::into_bytes);
    std::io::Write::write_all(&mut std::io::stdout(), &text)?;
    Ok(ExitCode::from(u8::try_from(output.status.code().unwrap_or(1)).unwrap_or(1)))
}

/// Metadata without the crates that only the library's inside needs; `None` if there is nothing to take out.
fn prune(mut metadata: Value) -> Option<Value> {
    let packages = metadata["packages"].as_array()?;
    let named = |names: &[&str]| -> HashSet<String> {
        let wanted =
            packages.iter().filter(|package| package["name"].as_str().is_some_and(|n| names.contains(&n)));
        wanted.filter_map(|package| package["id"].as_str().map(str::to_owned)).collect()
    };
    let (library, shown) = (named(&[LIBRARY]), named(&SHOWN));
    let root = metadata["resolve"]["root"].as_str()?.to_owned();
    let nodes = metadata["resolve"]["nodes"].as_array()?;
    let dependencies: HashMap<&str, Vec<&str>> = nodes
        .iter()
        .filter_map(|node| {
            let ids = node["dependencies"].as_array()?.iter().filter_map(Value::as_str).collect();
            Some((node["id"].as_str()?, ids))
        })
        .collect();
    // Only for a crate that uses the library, and not for the library's own workspace.
    if library.is_empty() || library.contains(&root) {
        return None;
    }
    let mut kept: HashSet<String> = HashSet::new();
    let mut waiting = vec![root.as_str()];
    while let Some(id) = waiting.pop() {
        if !kept.insert(id.to_owned()) {
            continue;
        }
        let all = dependencies.get(id).into_iter().flatten().copied();
        let hides = library.contains(id) || shown.contains(id);
        waiting.extend(all.filter(|id| !hides || shown.contains(*id)));
    }
    let is_kept = |value: &Value| value.as_str().is_some_and(|id| kept.contains(id));
    for node in metadata["resolve"]["nodes"].as_array_mut()? {
        node["dependencies"].as_array_mut()?.retain(is_kept);
        node["deps"].as_array_mut()?.retain(|dependency| is_kept(&dependency["pkg"]));
    }
    metadata["resolve"]["nodes"].as_array_mut()?.retain(|node| is_kept(&node["id"]));
    metadata["packages"].as_array_mut()?.retain(|package| is_kept(&package["id"]));
    Some(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A notebook that uses the library, and `rand` by itself.
    fn metadata(root: &str) -> Value {
        let graph = [
            ("ctx", vec!["igpt", "rand"]),
            ("igpt", vec!["candle-core", "image", "serde"]),
            ("candle-core", vec!["half", "tokenizers"]),
            ("rand", vec!["libc"]),
            ("half", vec!["libc"]),
            ("image", vec!["png"]),
            ("tokenizers", vec!["serde"]),
            ("libc", vec![]),
            ("png", vec![]),
            ("serde", vec![]),
        ];
        let packages: Vec<Value> = graph.iter().map(|(name, _)| json!({"name": name, "id": name})).collect();
        let nodes: Vec<Value> = graph
            .iter()
            .map(|(name, all)| {
                let deps: Vec<Value> = all.iter().map(|id| json!({"pkg": id})).collect();
                json!({"id": name, "dependencies": all, "deps": deps})
            })
            .collect();
        json!({"packages": packages, "resolve": {"root": root, "nodes": nodes}, "target_directory": "t"})
    }

    #[test]
    fn only_what_cells_can_name_is_seen() {
        let pruned = prune(metadata("ctx")).unwrap();
        let names = |list: &Value, key: &str| -> Vec<String> {
            list.as_array().unwrap().iter().map(|x| x[key].as_str().unwrap().to_owned()).collect()
        };
        let seen = ["ctx", "igpt", "candle-core", "rand", "half", "libc"];
        assert_eq!(names(&pruned["packages"], "name"), seen);
        assert_eq!(names(&pruned["resolve"]["nodes"], "id"), seen);
        assert_eq!(names(&pruned["resolve"]["nodes"][1]["deps"], "pkg"), ["candle-core"]);
        assert_eq!(pruned["target_directory"], "t");
        // A person's own crate keeps what it depends on.
        assert_eq!(pruned["resolve"]["nodes"][3]["dependencies"], json!(["libc"]));
    }

    #[test]
    fn other_metadata_is_left_alone() {
        assert!(prune(metadata("igpt")).is_none());
        assert!(prune(json!({"packages": [], "resolve": null})).is_none());
    }
}
