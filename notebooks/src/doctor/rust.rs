//! What compiles cells.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use super::Finding;
use crate::{
    dirs,
    program::output,
    setup::{has_std_sources, tool},
    slot,
};

/// The pinned toolchain. Asking a missing one for its version would make rustup install it: look for it first.
pub fn toolchain(root: &Path) -> Finding {
    const WHAT: &str = "toolchain";
    let pinned = match slot::toolchain(root) {
        Ok(pinned) => pinned,
        Err(error) => return Finding::problem(WHAT, format!("{error:#}"), "restore that file: git checkout"),
    };
    let mut list = tool("rustup", root);
    list.args(["toolchain", "list"]);
    if let Ok(list) = output(list)
        && !is_listed(&list, &pinned)
    {
        return Finding::problem(
            WHAT,
            format!("Rust {pinned}, which rust-toolchain.toml pins, is not installed"),
            format!("rustup toolchain install {pinned} --component rust-src"),
        );
    }
    let mut rustc = tool("rustc", root);
    rustc.arg("--version");
    match output(rustc) {
        Ok(version) if is_version(&version, &pinned) => Finding::ok(WHAT, version),
        Ok(version) => Finding::problem(
            WHAT,
            format!("{version}, but rust-toolchain.toml pins {pinned}"),
            "install Rust with rustup, which obeys that file: https://rustup.rs",
        ),
        Err(error) => Finding::problem(WHAT, format!("{error:#}"), "install Rust: https://rustup.rs"),
    }
}

/// `rustup toolchain list` has a line `1.95.0-x86_64-unknown-linux-gnu (active)` for the channel 1.95.0.
fn is_listed(list: &str, channel: &str) -> bool {
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names
        .into_iter()
        .any(|name| name.strip_prefix(channel).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')))
}

/// `rustc 1.95.0 (…)` is of the channels 1.95.0 and 1.95. Channels without numbers are taken as they come.
fn is_version(version: &str, channel: &str) -> bool {
    if !channel.starts_with(|c: char| c.is_ascii_digit()) {
        return true;
    }
    let number = version.split_whitespace().nth(1).unwrap_or_default();
    number.strip_prefix(channel).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The standard library's sources.
pub fn sources(root: &Path) -> Finding {
    const WHAT: &str = "rust-src";
    let cure = match slot::toolchain(root) {
        Ok(pinned) => format!("rustup component add rust-src --toolchain {pinned}"),
        Err(_) => "rustup component add rust-src".into(),
    };
    // A toolchain that is missing has its own finding; do not install it by asking.
    let mut rustc = tool("rustc", root);
    rustc.args(["--print", "sysroot"]).env("RUSTUP_AUTO_INSTALL", "0");
    match output(rustc) {
        Ok(sysroot) if has_std_sources(&sysroot) => {
            Finding::ok(WHAT, "the standard library's sources are there")
        }
        Ok(sysroot) => Finding::problem(
            WHAT,
            format!("the standard library's sources are missing in {sysroot}: the first `let` would fail"),
            cure,
        ),
        Err(_) => Finding::problem(WHAT, "cannot be looked for without a toolchain", cure),
    }
}

/// What rustc links with.
pub fn linker(_root: &Path) -> Finding {
    const WHAT: &str = "linker";
    let mut cc = Command::new("cc");
    cc.arg("--version").stdin(Stdio::null());
    match output(cc) {
        Ok(said) => Finding::ok(WHAT, said.lines().next().unwrap_or("cc")),
        Err(_) => Finding::problem(
            WHAT,
            "there is no C linker (cc)",
            "Debian: apt install build-essential; macOS: xcode-select --install",
        ),
    }
}

/// evcxr: there, of our version, able to start.
pub fn evcxr(_root: &Path) -> Finding {
    const WHAT: &str = "evcxr";
    let (program, folder) = match dirs::evcxr().and_then(|program| Ok((program, dirs::evcxr_root()?))) {
        Ok(found) => found,
        Err(error) => return Finding::problem(WHAT, format!("{error:#}"), "set IGPT_CACHE to a folder"),
    };
    if !program.is_file() {
        let seen =
            format!("evcxr_jupyter {} is not built: {} is missing", dirs::EVCXR_VERSION, program.display());
        return Finding::problem(WHAT, seen, "igpt setup");
    }
    let again = format!("rm -r '{}' && igpt setup", folder.display());
    // The program does not tell its version; cargo noted what it installed.
    let notes = std::fs::read_to_string(folder.join(".crates.toml")).unwrap_or_default();
    if let Some(version) = installed(&notes)
        && version != dirs::EVCXR_VERSION
    {
        let seen = format!("{} is version {version}, not {}", program.display(), dirs::EVCXR_VERSION);
        return Finding::problem(WHAT, seen, again);
    }
    let mut help = Command::new(&program);
    help.arg("--help").stdin(Stdio::null());
    match output(help) {
        Ok(said) if said.contains("--install") => {
            Finding::ok(WHAT, format!("evcxr_jupyter {} starts", dirs::EVCXR_VERSION))
        }
        Ok(_) => Finding::problem(WHAT, format!("{} is not evcxr_jupyter", program.display()), again),
        Err(error) => Finding::problem(WHAT, format!("it does not start: {error:#}"), again),
    }
}

/// The version of evcxr in cargo's notes, `"evcxr_jupyter 0.22.0 (registry…)" = ["evcxr_jupyter"]`.
fn installed(notes: &str) -> Option<String> {
    let table: toml::Table = notes.parse().ok()?;
    let packages = table.get("v1")?.as_table()?;
    packages.keys().find_map(|package| {
        let mut words = package.split(' ');
        (words.next() == Some("evcxr_jupyter")).then(|| words.next().map(str::to_owned))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toolchains_are_found_in_rustups_list() {
        let list = "stable-x86_64-unknown-linux-gnu\n1.95.0-x86_64-unknown-linux-gnu (active, default)\n";
        assert!(is_listed(list, "1.95.0") && is_listed(list, "stable"));
        assert!(!is_listed(list, "1.9") && !is_listed(list, "1.95") && !is_listed("", "1.95.0"));
    }

    #[test]
    fn versions_are_of_their_channel() {
        let version = "rustc 1.95.0 (abc 2026-04-01)";
        assert!(
            is_version(version, "1.95.0") && is_version(version, "1.95") && is_version(version, "stable")
        );
        assert!(!is_version(version, "1.9") && !is_version(version, "1.96.0") && !is_version("", "1.95"));
    }

    #[test]
    fn the_engines_version_is_in_cargos_notes() {
        let notes = "[v1]\n\"evcxr_jupyter 0.22.0 (registry+https://example.org)\" = [\"evcxr_jupyter\"]\n";
        assert_eq!(installed(notes).as_deref(), Some("0.22.0"));
        assert_eq!(installed("[v1]\n"), None);
        assert_eq!(installed(""), None);
    }
}
