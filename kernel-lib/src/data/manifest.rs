//! `data/manifest.toml`: what lies in `data/`, where it comes from, and its size and SHA-256.

use crate::hex::hex;
use crate::{Error, Result};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

/// The files of a data folder, as its `manifest.toml` lists them.
#[derive(Debug, Clone)]
pub struct Manifest {
    folder: PathBuf,
    files: Vec<Entry>,
    photographs: Vec<PhotographEntry>,
}

/// A file of the manifest.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Entry {
    /// Its path below the data folder, with `/`.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, 64 hexadecimal digits in lower case.
    pub sha256: String,
    /// Where it was taken from.
    pub source: String,
    /// Under which licence it may be used.
    pub licence: String,
    /// What it is.
    pub what: String,
}

/// A photograph of the manifest: what its file cannot say.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PhotographEntry {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) title: String,
    pub(super) credit: String,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestFile {
    file: Vec<Entry>,
    #[serde(default)]
    photograph: Vec<PhotographEntry>,
}

impl Manifest {
    /// The manifest of this repository's `data/`.
    ///
    /// # Errors
    /// If it is not there, cannot be read, or contradicts itself.
    pub fn open() -> Result<Self> {
        Self::open_in(&crate::root()?.join("data"))
    }

    /// The `manifest.toml` in `folder`.
    ///
    /// # Errors
    /// As [`Manifest::open`].
    pub fn open_in(folder: &Path) -> Result<Self> {
        let path = folder.join("manifest.toml");
        let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
        let ManifestFile { file: files, photograph: photographs } =
            toml::from_str(&text).map_err(|e| Error::format(&path, e.to_string().trim_end()))?;
        let manifest = Self { folder: folder.to_owned(), files, photographs };
        manifest.check().map_err(|what| Error::format(path, what))?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        let mut paths = HashSet::new();
        for Entry { path, sha256, .. } in &self.files {
            let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
            if path.is_empty() || !plain {
                return Err(format!("`{path}` is no path inside the folder"));
            }
            if sha256.len() != 64 || !sha256.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
                return Err(format!("the SHA-256 of `{path}` is not 64 hexadecimal digits: `{sha256}`"));
            }
            if !paths.insert(path) {
                return Err(format!("`{path}` is listed twice"));
            }
        }
        let mut names = HashSet::new();
        for PhotographEntry { name, path, .. } in &self.photographs {
            if !paths.contains(path) {
                return Err(format!("the photograph `{name}` is `{path}`, which is not listed"));
            }
            if !names.insert(name) {
                return Err(format!("there are two photographs `{name}`"));
            }
        }
        Ok(())
    }

    /// The files, in the manifest's order.
    pub fn files(&self) -> &[Entry] {
        &self.files
    }

    pub(super) fn photographs(&self) -> &[PhotographEntry] {
        &self.photographs
    }

    /// Where a file of the manifest lies.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// The bytes of a file, which are those that the manifest means. The runner is told what was read.
    ///
    /// # Errors
    /// If the manifest does not list the file, or the file is not there or has another size or SHA-256.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let entry = self.files.iter().find(|entry| entry.path == path).ok_or_else(|| {
            Error::format(self.folder.join("manifest.toml"), format!("does not list `{path}`"))
        })?;
        let file = self.path(path);
        let wrong = |what: String| {
            let cure = format!("`git checkout data/{path}` brings the right file back");
            Error::format(&file, format!("{what}; {cure}"))
        };
        // Read from what was opened, and never more than was promised, whatever lies there instead.
        let opened = std::fs::File::open(&file).map_err(|e| wrong(format!("cannot be opened ({e})")))?;
        let found = opened.metadata().map_err(|e| Error::io(&file, e))?.len();
        if found != entry.bytes {
            return Err(wrong(format!("has {found} bytes, but the manifest says {}", entry.bytes)));
        }
        let mut bytes = Vec::new();
        opened.take(entry.bytes).read_to_end(&mut bytes).map_err(|e| Error::io(&file, e))?;
        let found = hex(&Sha256::digest(&bytes));
        if found != entry.sha256 {
            return Err(wrong(format!("has the SHA-256 {found}, but the manifest says {}", entry.sha256)));
        }
        crate::journal::note(&crate::journal::data_read(&format!("data/{path}"), "", &found));
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A folder with the file `a/b.bin` of four bytes, and a manifest whose text went through `change`.
    fn folder(change: impl Fn(String) -> String) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/b.bin"), b"data").unwrap();
        let sha256 = hex(&Sha256::digest(b"data"));
        let text = format!(
            "[[file]]\npath = \"a/b.bin\"\nbytes = 4\nsha256 = \"{sha256}\"\n\
             source = \"here\"\nlicence = \"CC0\"\nwhat = \"a test\"\n"
        );
        fs::write(folder.path().join("manifest.toml"), change(text)).unwrap();
        folder
    }

    #[test]
    fn every_committed_file_is_listed_and_right() {
        let manifest = Manifest::open().unwrap();
        for entry in manifest.files() {
            assert_eq!(manifest.read(&entry.path).unwrap().len() as u64, entry.bytes);
        }
        let mut found = Vec::new();
        for part in ["fashion-mnist", "photographs"] {
            for file in fs::read_dir(manifest.path(part)).unwrap() {
                let name = file.unwrap().file_name().into_string().unwrap();
                found.extend((name != "LICENSE").then(|| format!("{part}/{name}")));
            }
        }
        let mut listed: Vec<_> = manifest.files().iter().map(|entry| entry.path.clone()).collect();
        found.sort();
        listed.sort();
        assert_eq!(found, listed);
    }

    #[test]
    fn a_changed_file_is_refused_with_the_cure() {
        let folder = folder(|text| text);
        let manifest = Manifest::open_in(folder.path()).unwrap();
        assert_eq!(manifest.read("a/b.bin").unwrap(), b"data");

        let error = |bytes: &[u8]| {
            fs::write(folder.path().join("a/b.bin"), bytes).unwrap();
            manifest.read("a/b.bin").unwrap_err().to_string()
        };
        let file = folder.path().join("a/b.bin").display().to_string();
        let cure = "`git checkout data/a/b.bin` brings the right file back";
        assert_eq!(error(b"dat"), format!("{file}: has 3 bytes, but the manifest says 4; {cure}"));
        assert_eq!(
            error(b"dath"),
            format!(
                "{file}: has the SHA-256 {}, but the manifest says {}; {cure}",
                hex(&Sha256::digest(b"dath")),
                hex(&Sha256::digest(b"data"))
            )
        );
        fs::remove_file(folder.path().join("a/b.bin")).unwrap();
        let gone = manifest.read("a/b.bin").unwrap_err().to_string();
        assert!(gone.starts_with(&format!("{file}: cannot be opened")) && gone.ends_with(cure), "{gone}");
        let error = manifest.read("a/c.bin").unwrap_err().to_string();
        assert!(error.ends_with("manifest.toml: does not list `a/c.bin`"), "{error}");
    }

    #[test]
    fn a_manifest_that_makes_no_sense_is_refused() {
        let sha256 = hex(&Sha256::digest(b"data"));
        let photograph = "\n[[photograph]]\nname = \"p\"\npath = \"a/c.bin\"\ntitle = \"\"\ncredit = \"\"\n";
        for (from, to, expected) in [
            ("what =", "why = 1\nwhat =", "unknown field `why`"),
            ("[[file]]", "version = 2\n[[file]]", "unknown field `version`"),
            ("bytes = 4\n", "", "missing field `bytes`"),
            ("bytes = 4", "bytes = -4", "invalid value"),
            ("a/b.bin", "../b.bin", "`../b.bin` is no path inside the folder"),
            ("a/b.bin", "/etc/passwd", "`/etc/passwd` is no path inside the folder"),
            (sha256.as_str(), "abc", "the SHA-256 of `a/b.bin` is not 64 hexadecimal digits: `abc`"),
        ] {
            let folder = folder(|text| text.replacen(from, to, 1));
            let error = Manifest::open_in(folder.path()).unwrap_err().to_string();
            assert!(error.contains("manifest.toml: ") && error.contains(expected), "{error}");
        }
        let twice = folder(|text| text.repeat(2));
        let error = Manifest::open_in(twice.path()).unwrap_err().to_string();
        assert!(error.ends_with("`a/b.bin` is listed twice"), "{error}");
        let unlisted = folder(|text| text + photograph);
        let error = Manifest::open_in(unlisted.path()).unwrap_err().to_string();
        assert!(error.ends_with("the photograph `p` is `a/c.bin`, which is not listed"), "{error}");
        let twice = folder(|text| text + &photograph.replace("c.bin", "b.bin").repeat(2));
        let error = Manifest::open_in(twice.path()).unwrap_err().to_string();
        assert!(error.ends_with("there are two photographs `p`"), "{error}");
    }
}
