//! The hash of the sources that decide a result: a function of the tree of sources, for each root that a step can name.
//!
//! A root's hash covers the items that it reaches (see `reach.rs`), what their paths mean, the files that they include,
//! and the versions of the other crates that they use. It covers no comment, no documentation, no unit test, nothing that
//! only shows (`impl Show`, `impl Display`, `impl Debug`), no argument of an error, and nothing of the modules that
//! decide no number (see `lists.rs`). It is not a protection against people who want the same hash for other code.

pub mod lists;
mod modules;
mod reach;
mod tokens;

pub use modules::{Parse, Tree, parse};

use lists::{CRATES, ROOTS, Root};
use modules::{Modules, Target};
use reach::{Paths, Reached};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// A library's sources, read.
pub struct Sources<'a> {
    tree: &'a Tree,
    paths: Paths,
    /// What each item that counts adds to the hashes of those that reach it.
    parts: Vec<Vec<u8>>,
    versions: BTreeMap<String, String>,
}

impl<'a> Sources<'a> {
    /// Reads the files of `src/` and of the crates that the library is made of, and `versions.txt`.
    pub fn read(tree: &'a Tree, versions: &str) -> Result<Self, String> {
        Self::read_by(tree, versions, &parse)
    }

    /// The same with another way to read a file of Rust.
    pub fn read_by(tree: &'a Tree, versions: &str, parse: Parse<'_>) -> Result<Self, String> {
        let mut known: BTreeMap<String, String> = BTreeMap::new();
        for line in versions.lines().filter(|line| !line.starts_with('#')) {
            let (name, version) = line.split_once(' ').ok_or_else(|| {
                format!("build/versions.txt: {line:?} is no crate and its version, as \"libm 0.2.15\"")
            })?;
            // Two versions of a crate may be there.
            known.entry(name.to_owned()).or_default().push_str(&format!("{version} "));
        }
        for name in CRATES.iter().flat_map(|(_, names)| *names) {
            if !known.contains_key(*name) {
                return Err(format!("build/versions.txt does not say which version {name} has"));
            }
        }
        let paths = Paths::new(Modules::read(tree, parse)?);
        let items = 0..paths.all.items.len();
        let parts = items.map(|item| if paths.counts[item] { part(&paths, item) } else { Vec::new() });
        Ok(Self { tree, versions: known, parts: parts.collect(), paths })
    }

    /// The hash of each root.
    pub fn hashes(&self) -> BTreeMap<String, String> {
        self.roots().map(|(name, reached)| (name, format!("{:032x}", self.hash(&reached)))).collect()
    }

    /// Each root, and what it reaches.
    fn roots(&self) -> impl Iterator<Item = (String, Reached<'_>)> {
        let named = ROOTS.iter().map(|root| (root.name.to_owned(), self.paths.reach(root)));
        let steps = self.paths.all.modules.iter().filter_map(|module| {
            let name = module.path.strip_prefix("experiment::")?.replace("::", "/");
            let name = format!("experiment/{name}");
            let known = ROOTS.iter().any(|root| root.name == name);
            (!known).then(|| (name, self.reach_module(&module.path)))
        });
        named.chain(steps)
    }

    fn reach_module(&self, path: &str) -> Reached<'_> {
        // A root is named by constants; this one lives as long as the program, which is short.
        let path: &'static str = String::leak(path.to_owned());
        let of: &'static [&'static str] = Vec::leak(vec![path]);
        self.paths.reach(&Root { name: path, of, without: &[] })
    }

    fn hash(&self, reached: &Reached<'_>) -> u128 {
        let mut parts: BTreeSet<Cow<'_, [u8]>> = BTreeSet::new();
        for item in reached.items.keys() {
            parts.insert(self.parts[*item].as_slice().into());
            for file in &self.paths.all.items[*item].said.files {
                let bytes = self.tree.get(file).map(Vec::as_slice).unwrap_or_default();
                parts.insert([format!("{file}\n").as_bytes(), bytes].concat().into());
            }
        }
        for module in &reached.modules {
            let module = &self.paths.all.modules[*module];
            parts.insert(format!("{} mod {}\n", module.attributes, module.path).into_bytes().into());
        }
        for outside in &reached.outside {
            parts.insert(format!("use {outside}\n").into_bytes().into());
        }
        for path in &reached.outside {
            let name = path.trim_start_matches("::").split([' ', ':']).next().unwrap_or_default();
            let crates = CRATES.iter().filter(|(known, _)| known.replace('-', "_") == name);
            for name in crates.flat_map(|(_, names)| *names) {
                let version = self.versions.get(*name).map(String::as_str).unwrap_or_default();
                parts.insert(format!("{name} is {version}\n").into_bytes().into());
            }
        }
        fnv(parts.iter().map(|part| &**part))
    }

    /// The files that each root reaches, and those that it includes.
    pub fn files(&self) -> BTreeMap<String, BTreeSet<String>> {
        let files = |reached: Reached<'_>| {
            let items = reached.items.into_keys().map(|item| &self.paths.all.items[item]);
            let files = items.flat_map(|item| {
                let own = self.paths.all.modules[item.module].file.clone();
                std::iter::once(own).chain(item.said.files.iter().cloned())
            });
            files.collect()
        };
        self.roots().map(|(name, reached)| (name, files(reached))).collect()
    }

    /// Files that have something of their own which may decide a number, so that some root should reach them.
    pub fn that_count(&self) -> BTreeSet<String> {
        let items = self.paths.all.items.iter().zip(&self.paths.counts).filter(|(_, counts)| **counts);
        items.map(|(item, _)| self.paths.all.modules[item.module].file.clone()).collect()
    }

    /// Whether there is a module or a function of this path.
    pub fn has(&self, path: &str) -> bool {
        self.paths.all.modules.iter().any(|module| module.path == path)
            || (0..self.paths.all.items.len()).any(|item| self.paths.path_of(item) == path)
    }

    /// Files of unit tests.
    pub fn tests(&self) -> &BTreeSet<String> {
        &self.paths.all.tests
    }

    /// Files of modules.
    pub fn modules(&self) -> BTreeSet<String> {
        self.paths.all.modules.iter().map(|module| module.file.clone()).collect()
    }

    /// Why a root reaches a file or an item: one chain of items for each of its items that is reached, the root's first.
    pub fn why(&self, root: &str, what: &str) -> Vec<String> {
        let Some((_, reached)) = self.roots().find(|(name, _)| name == root) else { return Vec::new() };
        let wanted = |item: &&usize| {
            let file = &self.paths.all.modules[self.paths.all.items[**item].module].file;
            file == what || self.paths.path_of(**item) == what
        };
        let chain = |item: &usize| {
            let chain = std::iter::successors(Some(*item), |item| reached.items.get(item).copied().flatten());
            let names: Vec<_> = chain.map(|item| self.paths.path_of(item)).collect();
            names.into_iter().rev().collect::<Vec<_>>().join(" → ")
        };
        reached.items.keys().filter(wanted).map(chain).collect()
    }
}

/// What an item adds to a hash: its path, what it says, and what its paths mean.
fn part(paths: &Paths, item: usize) -> Vec<u8> {
    let mut part = format!("{}\n{}\n", paths.path_of(item), paths.all.items[item].said.text);
    for (written, target) in &paths.targets[item] {
        match target {
            Target::Item(item) if paths.counts[*item] => {
                part.push_str(&format!("{written} is {}\n", paths.path_of(*item)));
            }
            Target::Outside(path) => part.push_str(&format!("{written} is {path}\n")),
            _ => {}
        }
    }
    part.into_bytes()
}

/// FNV-1a with 128 bits, of parts with their lengths: enough to tell one state of the sources from another, and needs no
/// dependency.
fn fnv<'a>(parts: impl Iterator<Item = &'a [u8]>) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let add = |mut hash: u128, bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u128::from(*byte)).wrapping_mul(PRIME);
        }
        hash
    };
    parts.fold(OFFSET, |hash, part| add(add(hash, &(part.len() as u64).to_le_bytes()), part))
}
