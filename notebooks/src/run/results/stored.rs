//! Where results of the experiment store come from, as the store's files say. The library writes them, and checks them when it reads a
//! result; here they are only told of.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::recorded::Data;
use crate::files;

/// Where a stored result comes from.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Provenance {
    /// What computed it.
    pub step: String,
    /// Its key.
    pub key: String,
    /// All that decided it, as JSON.
    pub description: String,
    /// The seed of all chance in it.
    pub seed: Option<u64>,
    /// The device that computed it.
    pub device: String,
    /// How many threads it could use.
    pub threads: usize,
    /// The library's version.
    pub version: String,
    /// The commit that was checked out.
    pub commit: Option<String>,
    /// What it took by itself.
    pub wall_ms: u64,
    /// When it was computed, in UTC.
    pub date: String,
    /// The data that it was computed from, out of the description.
    #[serde(skip)]
    pub data: Vec<Data>,
}

/// The result in a store whose key begins so.
///
/// # Errors
/// If there is none, or there are several, or its manifest cannot be read.
pub fn find(store: &Path, key: &str) -> Result<Provenance> {
    // STEP-FIRST16
    let short = key.get(..16).unwrap_or(key);
    let folders = files::folders(store).into_iter().filter(|folder| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let of = name.rsplit_once('-').is_some_and(|(_, digits)| digits.starts_with(short));
        of && folder.join("result/manifest.json").is_file()
    });
    let mut found = Vec::new();
    for folder in folders {
        let provenance = read(&folder.join("result/manifest.json"))?;
        if provenance.key.starts_with(key) {
            found.push(provenance);
        }
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => bail!("{} has no result whose key begins with {key}", store.display()),
        _ => {
            let names: Vec<String> =
                found.iter().map(|result| format!("{} {}", result.step, &result.key)).collect();
            bail!("there are several whose key begins with {key}: {}", names.join(", "))
        }
    }
}

fn read(manifest: &Path) -> Result<Provenance> {
    #[derive(Deserialize)]
    struct Sealed {
        manifest: Manifest,
    }
    #[derive(Deserialize)]
    struct Manifest {
        provenance: Provenance,
    }
    #[derive(Deserialize)]
    struct Description {
        #[serde(default)]
        data: Vec<Data>,
    }
    let named = || format!("{} is damaged", manifest.display());
    let text = fs::read(manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    let sealed: Sealed = serde_json::from_slice(&text).with_context(named)?;
    let mut provenance = sealed.manifest.provenance;
    let description: Description = serde_json::from_str(&provenance.description).with_context(named)?;
    provenance.data = description.data;
    Ok(provenance)
}

impl Provenance {
    /// Names and values, for people.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let description: Option<serde_json::Value> = serde_json::from_str(&self.description).ok();
        let description = description.and_then(|all| serde_json::to_string_pretty(&all).ok());
        let mut facts = vec![
            ("key", self.key.clone()),
            ("seed", self.seed.map(|seed| seed.to_string()).unwrap_or_default()),
            ("date", self.date.clone()),
            ("commit", self.commit.clone().unwrap_or_default()),
            ("device", format!("{}, {} threads", self.device, self.threads)),
            ("igpt", self.version.clone()),
            ("took", format!("{:.1} s, without the results that it needed", self.wall_ms as f64 / 1000.0)),
        ];
        for Data { name, revision, sha256 } in &self.data {
            let revision = if revision.is_empty() { String::new() } else { format!(" {revision}") };
            facts.push(("data", format!("{name}{revision}, SHA-256 {sha256}")));
        }
        facts.push(("decided by", description.unwrap_or_else(|| self.description.clone())));
        facts.retain(|(_, value)| !value.is_empty());
        facts
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    /// Puts a result into a store, with what this module reads of it.
    pub(crate) fn put(store: &Path, step: &str, key: &str, seed: Option<u64>) {
        let description = json!({
            "settings": {"a": 1},
            "data": [{"name": "images", "revision": "", "sha256": "beef"}],
        });
        let provenance = json!({
            "step": step, "key": key, "description": description.to_string(), "seed": seed, "device": "cpu", "threads": 2,
            "version": "0.1.0", "commit": "c0ffee", "data": "images", "wall_ms": 1500, "date": "2026-11-28T08:00:00Z",
        });
        let folder = store.join(format!("{step}-{}/result", key.get(..16).unwrap_or(key)));
        fs::create_dir_all(&folder).unwrap();
        let manifest = json!({"manifest": {"provenance": provenance, "files": {}}, "sha256": "x"});
        fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    }

    #[test]
    fn a_result_is_found_by_the_begin_of_its_key() {
        let store = tempfile::tempdir().unwrap();
        let keys = ["aaaaaaaaaaaaaaaa1", "aaaaaaaaaaaaaaab2", "abbbbbbbbbbbbbbb3"];
        keys.iter().for_each(|key| put(store.path(), "linear-probe", key, Some(1)));
        for (begin, found) in [(keys[0], keys[0]), ("aaaaaaaaaaaaaaab", keys[1]), ("abb", keys[2])] {
            assert_eq!(find(store.path(), begin).unwrap().key, found);
        }
        for (begin, why) in
            [("aaa", "there are several"), ("c", "has no result"), ("aaaaaaaaaaaaaaaa2", "has no result")]
        {
            let error = find(store.path(), begin).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let facts = find(store.path(), "abb").unwrap().facts();
        assert!(facts.contains(&("data", "images, SHA-256 beef".into())), "{facts:?}");
        assert!(facts.iter().any(|(name, value)| *name == "decided by" && value.contains("\"a\": 1")));
        fs::write(store.path().join("linear-probe-abbbbbbbbbbbbbbb/result/manifest.json"), "{").unwrap();
        assert!(find(store.path(), "abb").unwrap_err().to_string().contains("damaged"));
    }
}
