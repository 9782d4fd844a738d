//! Hashes the sources of what computes a result, so that a stored result is known to be that of the code as it is now,
//! without a version number that someone must remember to raise. `build/sources.rs` says what a hash covers.

#[path = "build/sources.rs"]
#[allow(dead_code)] // What only tests/keys.rs asks for.
mod sources;

use sources::{Sources, Tree};
use std::path::{Path, PathBuf};
use std::{env, fs};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    for watched in ["src", "formats", "build", "build.rs"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    let library = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let mut tree = Tree::new();
    collect(&library.join("src"), "", &mut tree)?;
    for (_, folder) in sources::lists::OWN_CRATES {
        collect(&library.join("src").join(folder), &format!("{folder}/"), &mut tree)?;
    }
    let versions = library.join("build/versions.txt");
    let versions = fs::read_to_string(&versions).map_err(|e| format!("{}: {e}", versions.display()))?;
    let hashes = Sources::read(&tree, &versions)?.hashes();
    let hashes: Vec<String> = hashes.into_iter().map(|(name, hash)| format!("{name}={hash}")).collect();
    println!("cargo::rustc-env=IGPT_SOURCES={}", hashes.join(";"));
    Ok(())
}

fn collect(folder: &Path, below: &str, tree: &mut Tree) -> Result<(), Failure> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{name}/"), tree)?;
        } else {
            tree.insert(name, fs::read(entry.path())?);
        }
    }
    Ok(())
}
