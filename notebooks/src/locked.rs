//! What a lock file says of one package: itself and all that it is built from, and nothing of what only others need.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde::Deserialize;

#[derive(Deserialize)]
struct Lock {
    #[serde(default, rename = "package")]
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
}

impl Package {
    /// One line that is equal for equal packages only. What it depends on is said by lines of their own: the lock file's names
    /// for it get a version as soon as anything else in the workspace needs another one.
    fn line(&self) -> String {
        let or_none = |text: &Option<String>| text.as_deref().unwrap_or("none").to_owned();
        format!("{} {} {} {}", self.name, self.version, or_none(&self.source), or_none(&self.checksum))
    }

    /// Whether a lock file means this package by `NAME`, `NAME VERSION` or `NAME VERSION (SOURCE)`.
    fn is_meant_by(&self, dependency: &str) -> bool {
        let mut words = dependency.splitn(3, ' ');
        let source = self.source.as_ref().map(|source| format!("({source})"));
        words.next() == Some(&*self.name)
            && words.next().is_none_or(|version| version == self.version)
            && words.next().is_none_or(|wanted| Some(wanted) == source.as_deref())
    }
}

/// The packages that `name`, a member of the workspace, is built from, with their versions and checksums and with who needs
/// whom, in an order that depends on nothing else. What `is_left_out` of its direct dependencies is not followed: those that
/// only its tests need.
///
/// # Errors
/// A text that is no lock file, or has no such member.
pub fn closure(lock: &str, name: &str, is_left_out: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let lock: Lock = toml::from_str(lock).context("this is no lock file of cargo")?;
    let mut by_name: BTreeMap<&str, Vec<&Package>> = BTreeMap::new();
    for package in &lock.packages {
        by_name.entry(&package.name).or_default().push(package);
    }
    let named = |name: &str| by_name.get(name).into_iter().flatten().copied();
    let root = named(name).find(|package| package.source.is_none());
    let root = root.with_context(|| format!("the lock file has no package {name} of this workspace"))?;
    let (mut lines, mut waiting) = (BTreeSet::new(), vec![root]);
    while let Some(package) = waiting.pop() {
        let line = package.line();
        if !lines.insert(line.clone()) {
            continue;
        }
        let is_root = std::ptr::eq(package, root);
        for dependency in &package.dependencies {
            let of = dependency.split(' ').next().unwrap_or_default();
            if is_root && is_left_out(of) {
                continue;
            }
            let found = named(of).find(|package| package.is_meant_by(dependency));
            let found = found.with_context(|| {
                format!("the lock file has no {dependency:?}, which {} needs", package.name)
            })?;
            lines.insert(format!("{line} needs {}", found.line()));
            waiting.push(found);
        }
    }
    Ok(lines.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"
version = 4

[[package]]
name = "command"
version = "0.1.0"
dependencies = ["clap", "lib"]

[[package]]
name = "clap"
version = "4.0.0"
source = "registry"
checksum = "c1"

[[package]]
name = "lib"
version = "0.1.0"
dependencies = ["candle", "tempfile"]

[[package]]
name = "candle"
version = "0.11.1"
source = "registry"
checksum = "ca"
dependencies = ["rand"]

[[package]]
name = "rand"
version = "0.9.0"
source = "registry"
checksum = "ra"

[[package]]
name = "tempfile"
version = "3.0.0"
source = "registry"
checksum = "te"
"#;

    fn of(lock: &str) -> Vec<String> {
        closure(lock, "lib", |name| name == "tempfile").unwrap()
    }

    #[test]
    fn what_the_package_needs_and_nothing_else() {
        assert_eq!(
            of(LOCK),
            [
                "candle 0.11.1 registry ca",
                "candle 0.11.1 registry ca needs rand 0.9.0 registry ra",
                "lib 0.1.0 none none",
                "lib 0.1.0 none none needs candle 0.11.1 registry ca",
                "rand 0.9.0 registry ra",
            ]
        );
        for (inside, other) in [
            ("0.9.0", "0.9.1"),
            ("\"ra\"", "\"rb\""),
            ("dependencies = [\"rand\"]", "dependencies = []"),
            ("source = \"registry\"\nchecksum = \"ra\"", "source = \"git+x\"\nchecksum = \"ra\""),
        ] {
            assert_ne!(of(&LOCK.replace(inside, other)), of(LOCK), "{inside}");
        }
        for (outside, other) in
            [("4.0.0", "4.0.1"), ("\"c1\"", "\"c2\""), ("3.0.0", "3.1.0"), ("\"clap\", \"lib\"", "\"lib\"")]
        {
            assert_ne!(LOCK, LOCK.replace(outside, other), "{outside}");
            assert_eq!(of(&LOCK.replace(outside, other)), of(LOCK), "{outside}");
        }
    }

    /// As soon as the command needs another version of a package, the lock file names the library's own by its version.
    #[test]
    fn a_second_version_for_others_changes_nothing() {
        let other =
            "\n[[package]]\nname = \"rand\"\nversion = \"0.8.0\"\nsource = \"registry\"\nchecksum = \"r8\"\n";
        let with = LOCK.replace("[\"rand\"]", "[\"rand 0.9.0\"]");
        let with = with.replace("[\"clap\", \"lib\"]", "[\"clap\", \"lib\", \"rand 0.8.0\"]") + other;
        assert_eq!(of(&with), of(LOCK));
        assert_ne!(of(&with.replace("\"rand 0.9.0\"", "\"rand 0.8.0\"")), of(LOCK));
        // From two sources, it is named by its source, too.
        let sources = with.replace("[\"rand 0.9.0\"]", "[\"rand 0.9.0 (registry)\"]");
        let sources = sources
            .replace("version = \"0.8.0\"\nsource = \"registry\"", "version = \"0.9.0\"\nsource = \"git\"");
        assert_eq!(of(&sources.replace("rand 0.8.0", "rand 0.9.0 (git)")), of(LOCK));
    }

    #[test]
    fn what_is_no_lock_file_is_told() {
        let error = |lock: &str| format!("{:#}", closure(lock, "lib", |_| false).unwrap_err());
        assert!(error("x = [").contains("no lock file of cargo"));
        assert!(error("").contains("no package lib"));
        assert!(
            error(&LOCK.replace("name = \"rand\"", "name = \"sand\""))
                .contains("no \"rand\", which candle needs")
        );
    }
}
