//! Hashes the sources of each module of this library, so that a stored result is known to be that of the code as it is
//! now, without a version number that someone must remember to raise.
//!
//! A module is `src/NAME.rs` and all of `src/NAME/`. Its hash covers the modules that it mentions (`crate::NAME`), and
//! those that they mention. Not covered are comments, unit tests, the modules of `NO_NUMBERS`, and the versions of
//! dependencies. It is not a protection against people who want the same hash for other code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Modules that show, find or keep results, but decide no number of one.
const NO_NUMBERS: [&str; 15] = [
    "atomic", "error", "fetch", "hub", "lib", "live", "memory", "notebook", "paper", "prelude", "profile",
    "root", "show", "stop", "store",
];

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=build.rs");
    let source = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("src");
    let mut files = Vec::new();
    collect(&source, &mut files)?;
    files.sort();

    let mut modules: BTreeMap<String, String> = BTreeMap::new();
    for file in &files {
        let path = file.strip_prefix(&source)?;
        let Some(first) = path.iter().next().and_then(|part| part.to_str()) else { continue };
        let name = first.strip_suffix(".rs").unwrap_or(first);
        let is_test = path.iter().any(|part| part == "tests.rs" || part == "tests");
        if NO_NUMBERS.contains(&name) || is_test {
            continue;
        }
        let text = String::from_utf8_lossy(&fs::read(file)?).into_owned();
        let text = if path.extension().is_some_and(|e| e == "rs") { code_of(&text) } else { text };
        let module = modules.entry(name.to_owned()).or_default();
        module.push_str(&format!("// {}, {} bytes\n{text}", path.display(), text.len()));
    }

    let mentions: BTreeMap<&String, Vec<&String>> =
        modules.iter().map(|(name, text)| (name, mentioned(text, &modules))).collect();
    let hashes = modules.keys().map(|name| {
        let (mut all, mut open) = (BTreeSet::new(), vec![name]);
        while let Some(next) = open.pop() {
            if all.insert(next) {
                open.extend(&mentions[next]);
            }
        }
        let bytes = all.iter().flat_map(|name| modules[*name].bytes());
        format!("{name}={:032x}", fnv(bytes))
    });
    println!("cargo::rustc-env=IGPT_SOURCES={}", hashes.collect::<Vec<_>>().join(";"));
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { collect(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

/// Without lines of comment and without unit tests, so that mending those makes no stored result out of date.
fn code_of(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let starts_tests =
            line == "#[cfg(test)]" && lines.peek().is_some_and(|next| next.starts_with("mod tests"));
        if starts_tests {
            // As rustfmt writes it: `mod tests;` alone, or up to the brace in the first column.
            let _ = lines.find(|line| line.ends_with(';') && line.starts_with("mod") || *line == "}");
        } else if !line.trim_start().starts_with("//") {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}

/// The modules of which the text says `crate::NAME` or `crate::{…NAME…}`.
fn mentioned<'a>(text: &str, modules: &'a BTreeMap<String, String>) -> Vec<&'a String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut names = BTreeSet::new();
    for (at, found) in text.match_indices("crate::") {
        let rest = &text[at + found.len()..];
        let part = match rest.strip_prefix('{') {
            Some(group) => &group[..group.find(';').unwrap_or(group.len())],
            None => &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())],
        };
        names.extend(part.split(|c| !is_name(c)));
    }
    modules.keys().filter(|name| names.contains(name.as_str())).collect()
}

/// FNV-1a with 128 bits: enough to tell one state of the sources from another, and needs no dependency.
fn fnv(bytes: impl Iterator<Item = u8>) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}
