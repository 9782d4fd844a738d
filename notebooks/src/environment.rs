//! The environment that kernels get: what `cargo run` and `cargo test` export is not the notebook's business.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::Path,
    process::Command,
};

/// Takes out of a command's environment what cargo and rustup put there for *this* program: build settings that
/// would rule the builds of the notebook's cells, and library paths where a dylib of the same name would be taken
/// for the notebook's own.
///
/// Relative paths of ours and of the Hugging Face cache become absolute: they are meant from here, and a kernel works
/// in its notebook's folder.
///
/// Kept are the places and the network settings of cargo and rustup, and library paths that a user set, for
/// example for CUDA.
pub fn scrub(command: &mut Command) {
    for (name, value) in env::vars_os() {
        match replacement(&name, &value) {
            Keep::AsIs => {}
            Keep::Changed(value) => drop(command.env(name, value)),
            Keep::Nothing => drop(command.env_remove(name)),
        }
    }
}

/// What a Jupyter server sets for each kernel that it starts: the notebook's path, and its own process.
pub const LAUNCH: [&str; 2] = [NOTEBOOK, "JPY_PARENT_PID"];
/// The notebook's path. Only servers set it; clients without a server, as nbconvert, do not.
pub const NOTEBOOK: &str = "JPY_SESSION_NAME";
/// Where a kernel asks for the engine that `igpt lab` keeps ready, see `kernel::spare`. It is for kernels below the lab's server, and
/// not for what they start.
pub const SPARE: &str = "IGPT_SPARE";

/// Variables that name a file or a folder.
const PLACES: [&str; 7] =
    ["HF_HOME", "HF_HUB_CACHE", "IGPT_CACHE", "IGPT_DATA", "IGPT_OPENAI", "IGPT_PALETTE", "IGPT_STORE"];

/// Where systems' loaders look for libraries.
pub(crate) const LIBRARY_PATHS: [&str; 3] =
    ["LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"];

/// Where this system's does.
pub(crate) const LIBRARY_PATH: &str =
    if cfg!(target_os = "macos") { "DYLD_LIBRARY_PATH" } else { "LD_LIBRARY_PATH" };

enum Keep {
    AsIs,
    Changed(OsString),
    Nothing,
}

fn replacement(name: &OsStr, value: &OsStr) -> Keep {
    let text = name.to_string_lossy();
    if text == SPARE {
        return Keep::Nothing;
    }
    if LIBRARY_PATHS.contains(&&*text) {
        let all: Vec<_> = env::split_paths(value).collect();
        let kept: Vec<_> = all.iter().filter(|folder| !is_made_by_cargo(folder)).collect();
        return match (kept.len() == all.len(), env::join_paths(&kept)) {
            (true, _) => Keep::AsIs,
            (false, Ok(paths)) if !paths.is_empty() => Keep::Changed(paths),
            _ => Keep::Nothing,
        };
    }
    if PLACES.contains(&&*text) && !value.is_empty() && Path::new(value).is_relative() {
        return std::path::absolute(value).map_or(Keep::AsIs, |path| Keep::Changed(path.into()));
    }
    let rules_builds = text == "CARGO" || text.starts_with("CARGO_") || text.starts_with("RUST");
    if rules_builds && !is_place_or_network(&text) { Keep::Nothing } else { Keep::AsIs }
}

fn is_place_or_network(name: &str) -> bool {
    let names = ["CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "RUSTUP_DIST_SERVER", "RUSTUP_UPDATE_ROOT"];
    let families = ["CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTRIES_", "CARGO_REGISTRY_", "CARGO_SOURCE_"];
    names.contains(&name) || families.iter().any(|family| name.starts_with(family))
}

/// Build folders have cargo's note about the compiler at their top; the compiler's own libraries lie in a toolchain.
pub(crate) fn is_made_by_cargo(folder: &Path) -> bool {
    let in_toolchain = folder.components().any(|c| {
        let c = c.as_os_str();
        c == "rustlib" || c == "toolchains"
    });
    let in_build = || folder.ancestors().take(6).any(|above| above.join(".rustc_info.json").is_file());
    folder.as_os_str().is_empty() || in_toolchain || in_build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(name: &str, value: &str) -> Option<String> {
        match replacement(name.as_ref(), value.as_ref()) {
            Keep::AsIs => Some(value.into()),
            Keep::Changed(value) => Some(value.to_string_lossy().into_owned()),
            Keep::Nothing => None,
        }
    }

    #[test]
    fn build_settings_go_and_places_stay() {
        for name in [
            SPARE,
            "CARGO",
            "CARGO_PKG_NAME",
            "CARGO_TARGET_DIR",
            "RUSTFLAGS",
            "RUSTC_WRAPPER",
            "RUST_BACKTRACE",
        ] {
            assert_eq!(kept(name, "x"), None, "{name}");
        }
        for name in
            ["CARGO_HOME", "RUSTUP_HOME", "CARGO_HTTP_CAINFO", "PATH", "HOME", "IGPT_PROFILE", "TRUST"]
        {
            assert_eq!(kept(name, "x").as_deref(), Some("x"), "{name}");
        }
    }

    #[test]
    fn places_do_not_depend_on_the_folder() {
        let here = env::current_dir().unwrap().join("../hub");
        for name in ["HF_HUB_CACHE", "IGPT_STORE"] {
            assert_eq!(kept(name, "../hub").as_deref(), here.to_str());
        }
        for (name, value) in [("HF_HUB_CACHE", "/hub"), ("IGPT_DATA", ""), ("IGPT_PROFILE", "../hub")] {
            assert_eq!(kept(name, value).as_deref(), Some(value));
        }
    }

    #[test]
    fn only_cargos_library_folders_go() {
        let build = tempfile::tempdir().unwrap();
        let deps = build.path().join("debug/deps");
        std::fs::create_dir_all(&deps).unwrap();
        std::fs::write(build.path().join(".rustc_info.json"), "{}").unwrap();
        let toolchain = "/home/x/.rustup/toolchains/1.95.0/lib";
        let ours = env::join_paths([deps.as_path(), Path::new(toolchain)]).unwrap();
        assert_eq!(kept("LD_LIBRARY_PATH", ours.to_str().unwrap()), None);
        let mixed = env::join_paths([deps.as_path(), Path::new("/opt/cuda/lib64")]).unwrap();
        assert_eq!(kept("LD_LIBRARY_PATH", mixed.to_str().unwrap()).as_deref(), Some("/opt/cuda/lib64"));
        assert_eq!(kept("LD_LIBRARY_PATH", "/opt/cuda/lib64").as_deref(), Some("/opt/cuda/lib64"));
    }
}
