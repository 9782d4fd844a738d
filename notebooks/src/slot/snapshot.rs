//! A slot's snapshot of the library: which files it has, and the fingerprint by which it is known that another one is
//! needed. Tests and benchmarks do not reach a notebook, nor do the command's own dependencies.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use super::{CARGO_CONFIG, FORMAT, read_toml, write_if_different};
use crate::{dirs, files::folders, hex::hex, locked};

/// What a slot must have been built from: for its dependencies to be as wanted, and for all of it.
pub fn fingerprints(root: &Path) -> Result<[String; 2]> {
    fn add(hash: &mut Sha256, name: &Path, bytes: &[u8]) {
        for part in [name.as_os_str().as_encoded_bytes(), bytes] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    fn add_file(hash: &mut Sha256, folder: &Path, name: &Path) -> Result<()> {
        let file = folder.join(name);
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        add(hash, name, &bytes);
        Ok(())
    }
    let mut hash = Sha256::new();
    for (name, text) in [("format", FORMAT), ("config", CARGO_CONFIG), ("evcxr", dirs::EVCXR_VERSION)] {
        add(&mut hash, Path::new(name), text.as_bytes());
    }
    add_file(&mut hash, root, Path::new("rust-toolchain.toml"))?;
    // Of the lock file only what the library reaches: the command's own dependencies reach no slot.
    let manifest = Manifest::read(&root.join("kernel-lib/Cargo.toml"))?;
    let lock = root.join("Cargo.lock");
    let text = fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let locked = locked::closure(&text, "igpt", |name| manifest.is_for_tests_only(name));
    for line in locked.with_context(|| format!("{} does not fit", lock.display()))? {
        add(&mut hash, Path::new("Cargo.lock"), line.as_bytes());
    }
    let dependencies = hex(&hash.clone().finalize());
    // Manifests as the slot gets them.
    add(&mut hash, Path::new("workspace"), workspace(root)?.as_bytes());
    let library = root.join("kernel-lib");
    for relative in files(&library)? {
        add(&mut hash, &relative, &contents(&library, &relative)?);
    }
    Ok([dependencies, hex(&hash.finalize())])
}

/// The library's package and those that lie in its folder, which it is made of: their folders, relative to its own, sorted.
fn packages(library: &Path) -> Vec<PathBuf> {
    let inner = folders(library).into_iter().filter(|folder| folder.join("Cargo.toml").is_file());
    let inner = inner.filter_map(|folder| folder.strip_prefix(library).ok().map(Path::to_owned));
    let mut packages: Vec<PathBuf> = [PathBuf::new()].into_iter().chain(inner).collect();
    packages.sort();
    packages
}

/// The files that make the library, relative to its folder, sorted: its sources, those of the packages in it, and the script
/// that hashes them. Tests and benchmarks do not reach a notebook.
fn files(library: &Path) -> Result<Vec<PathBuf>> {
    let packages = packages(library);
    let mut found: Vec<PathBuf> = packages.iter().map(|package| package.join("Cargo.toml")).collect();
    let mut folders: Vec<PathBuf> =
        packages.iter().map(|package| library.join(package).join("src")).collect();
    folders.extend(Some(library.join("build")).filter(|folder| folder.is_dir()));
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(relative) = path.strip_prefix(library) {
                found.push(relative.to_owned());
            }
        }
    }
    if library.join("build.rs").is_file() {
        found.push("build.rs".into());
    }
    found.sort();
    Ok(found)
}

/// A file of the library as a slot gets it.
fn contents(library: &Path, relative: &Path) -> Result<Vec<u8>> {
    let file = library.join(relative);
    if relative.ends_with("Cargo.toml") {
        return Ok(Manifest::read(&file)?.of_snapshot()?.into_bytes());
    }
    fs::read(&file).with_context(|| format!("cannot read {}", file.display()))
}

/// The workspace of the checkout with the library's packages as its only members, which inherit versions and lints from it.
pub fn workspace(root: &Path) -> Result<String> {
    let file = root.join("Cargo.toml");
    let mut table = read_toml(&file)?;
    table.remove("profile");
    let workspace = table.get_mut("workspace").and_then(toml::Value::as_table_mut);
    let workspace = workspace.with_context(|| format!("{} has no workspace", file.display()))?;
    let packages: Vec<PathBuf> = packages(&root.join("kernel-lib"));
    let members: Vec<PathBuf> =
        packages.iter().map(|package| Path::new("kernel-lib").join(package)).collect();
    let manifests = members.iter().map(|member| Manifest::read(&root.join(member).join("Cargo.toml")));
    let manifests = manifests.collect::<Result<Vec<_>>>()?;
    let names: Vec<String> =
        members.iter().map(|member| member.to_string_lossy().trim_end_matches('/').to_owned()).collect();
    workspace.insert("members".into(), names.into());
    if let Some(all) = workspace.get_mut("dependencies").and_then(toml::Value::as_table_mut) {
        all.retain(|name, _| manifests.iter().any(|manifest| manifest.inherits(name)));
    }
    Ok(toml::to_string(&table)?)
}

/// The manifest of the library, or of a package that it is made of.
struct Manifest(toml::Table);

impl Manifest {
    fn read(file: &Path) -> Result<Self> {
        Ok(Self(read_toml(file)?))
    }

    /// Without targets whose files are not in the snapshot, and without what only those need.
    fn of_snapshot(&self) -> Result<String> {
        let mut table = self.0.clone();
        for targets in ["bench", "bin", "dev-dependencies", "example", "test"] {
            table.remove(targets);
        }
        for (_, target) in table.get_mut("target").and_then(toml::Value::as_table_mut).into_iter().flatten() {
            target.as_table_mut().and_then(|target| target.remove("dev-dependencies"));
        }
        Ok(toml::to_string(&table)?)
    }

    /// The dependencies of a kind, on all systems.
    fn dependencies<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a String, &'a toml::Value)> {
        let targets = self.0.get("target").and_then(toml::Value::as_table);
        let targets = targets.into_iter().flat_map(toml::Table::values).filter_map(toml::Value::as_table);
        let tables = std::iter::once(&self.0).chain(targets).filter_map(move |table| table.get(kind));
        tables.filter_map(toml::Value::as_table).flatten()
    }

    /// What the library itself needs.
    fn own(&self) -> impl Iterator<Item = (&String, &toml::Value)> {
        self.dependencies("dependencies").chain(self.dependencies("build-dependencies"))
    }

    /// Whether it takes a dependency from the workspace.
    fn inherits(&self, name: &str) -> bool {
        self.own().any(|(own, how)| own == name && how.get("workspace").is_some())
    }

    /// Whether a package is needed by tests and not by the library itself.
    fn is_for_tests_only(&self, package: &str) -> bool {
        let is = |(name, how): (&String, &toml::Value)| {
            how.get("package").and_then(toml::Value::as_str).unwrap_or(name) == package
        };
        !self.own().any(is) && self.dependencies("dev-dependencies").any(is)
    }
}

/// Makes `to` a copy of the library of a checkout. What did not change is not touched: cargo looks at the time.
pub fn mirror(root: &Path, to: &Path) -> Result<()> {
    let from = root.join("kernel-lib");
    let wanted = files(&from)?;
    for relative in &wanted {
        write_if_different(&to.join(relative), &contents(&from, relative)?)?;
    }
    if to.join("src").is_dir() {
        for old in files(to)? {
            if wanted.binary_search(&old).is_err() {
                fs::remove_file(to.join(&old))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::tests::checkout;

    #[test]
    fn a_snapshot_has_what_the_library_is_compiled_from() -> Result<()> {
        let temporary = tempfile::tempdir()?;
        let (from, to) = (temporary.path().join("from"), temporary.path().join("to"));
        let library = from.join("kernel-lib");
        for file in ["build.rs", "build/sources.rs", "src/lib.rs", "tests/keys.rs"] {
            write_if_different(&library.join(file), b"")?;
        }
        write_if_different(&library.join("Cargo.toml"), b"[package]\nname = \"igpt\"\n")?;
        for (file, text) in
            [("Cargo.toml", "[package]\nname = \"part\"\n"), ("src/lib.rs", ""), ("README", "")]
        {
            write_if_different(&library.join("part").join(file), text.as_bytes())?;
        }
        mirror(&from, &to)?;
        let compiled = [
            "Cargo.toml",
            "build/sources.rs",
            "build.rs",
            "part/Cargo.toml",
            "part/src/lib.rs",
            "src/lib.rs",
        ];
        assert_eq!(files(&to)?, compiled.map(PathBuf::from));
        assert!(!to.join("tests").exists() && !to.join("part/README").exists());
        fs::remove_file(library.join("build/sources.rs"))?;
        fs::remove_dir_all(library.join("part"))?;
        mirror(&from, &to)?;
        assert!(!to.join("build/sources.rs").exists(), "it was removed");
        assert!(!to.join("part/src/lib.rs").exists(), "and the package, too");
        Ok(())
    }

    #[test]
    fn what_does_not_reach_the_library_rebuilds_no_slot() -> Result<()> {
        let checkout = checkout()?;
        let root = checkout.path();
        let before = fingerprints(root)?;
        // Which of the two fingerprints a change moves: that of the dependencies, that of all.
        let moved = |file: &str, old: &str, new: &str| -> Result<[bool; 2]> {
            let file = root.join(file);
            let text = fs::read_to_string(&file)?;
            assert!(text.contains(old), "{old}");
            fs::write(&file, text.replace(old, new))?;
            let after = fingerprints(root)?;
            fs::write(&file, text)?;
            Ok([before[0] != after[0], before[1] != after[1]])
        };
        for (file, old, new) in [
            ("Cargo.lock", "3.0.0", "3.0.1"),
            ("Cargo.lock", "4.0.0", "4.0.1"),
            ("Cargo.lock", "\"igpt\", \"outer\"", "\"igpt\""),
            ("Cargo.toml", "outer = \"3\"", "outer = \"3.0.1\""),
            ("Cargo.toml", "tests = \"4\"", "tests = \"4.0.1\""),
            ("Cargo.toml", "opt-level = 3", "opt-level = 2"),
            ("Cargo.toml", "\"kernel-lib\", \"notebooks\"", "\"kernel-lib\""),
            ("kernel-lib/Cargo.toml", "tests.workspace = true", "tests = \"5\""),
        ] {
            assert_eq!(moved(file, old, new)?, [false, false], "{file}: {new}");
        }
        for (file, old, new) in [
            ("Cargo.lock", "1.0.0", "1.0.1"),
            ("Cargo.lock", "2.0.0", "2.0.1"),
            ("Cargo.lock", "5.0.0", "5.0.1"),
            ("Cargo.lock", "[\"deep\"]", "[]"),
            ("rust-toolchain.toml", "1.95.0", "1.96.0"),
        ] {
            assert_eq!(moved(file, old, new)?, [true, true], "{file}: {new}");
        }
        for (file, old, new) in [
            ("Cargo.toml", "inner = \"1\"", "inner = \"1.0.1\""),
            ("Cargo.toml", "of-part = \"5\"", "of-part = \"5.0.1\""),
            ("kernel-lib/part/Cargo.toml", "of-part.workspace = true", "of-part = \"5\""),
            ("kernel-lib/part/src/lib.rs", "part", "parts"),
            ("kernel-lib/Cargo.toml", "inner.workspace = true", "inner = \"1\""),
            ("kernel-lib/src/lib.rs", "one", "two"),
        ] {
            assert_eq!(moved(file, old, new)?, [false, true], "{file}: {new}");
        }
        assert!(!workspace(root)?.contains("outer"));
        Ok(())
    }
}
