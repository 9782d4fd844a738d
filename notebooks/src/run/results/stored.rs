//! Where results of the experiment store come from, as the store's files say. The library writes them, and checks them when it reads a
//! result; here they are only told of.

use std::{fs, io::ErrorKind, path::Path};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::{
    files,
    run::journal::{Data, short},
};

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
}

/// Where the result of a step with this key comes from; none if the store has not got it.
///
/// # Errors
/// If it is there, but its manifest cannot be read, or is of another result.
pub fn of(store: &Path, step: &str, key: &str) -> Result<Option<Provenance>> {
    // STEP-FIRST16
    let manifest = store.join(format!("{step}-{}", short(key))).join("result/manifest.json");
    match read(&manifest)? {
        Some(found) if found.key != key => {
            bail!("{} is of another result, {}", manifest.display(), found.key)
        }
        found => Ok(found),
    }
}

/// The result in a store whose key begins so.
///
/// # Errors
/// If there is none, or there are several, or its manifest cannot be read.
pub fn find(store: &Path, key: &str) -> Result<Provenance> {
    let short = short(key);
    let folders = files::folders(store).into_iter().filter(|folder| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        name.rsplit_once('-').is_some_and(|(_, digits)| digits.starts_with(short))
    });
    let mut found = Vec::new();
    for folder in folders {
        let provenance = read(&folder.join("result/manifest.json"))?;
        found.extend(provenance.filter(|provenance| provenance.key.starts_with(key)));
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

/// None if there is no such file.
fn read(manifest: &Path) -> Result<Option<Provenance>> {
    #[derive(Deserialize)]
    struct Sealed {
        manifest: Manifest,
    }
    #[derive(Deserialize)]
    struct Manifest {
        provenance: Provenance,
    }
    let text = match fs::read(manifest) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", manifest.display())),
    };
    let named = || format!("{} is damaged", manifest.display());
    let sealed: Sealed = serde_json::from_slice(&text).with_context(named)?;
    let provenance = sealed.manifest.provenance;
    data_in(&provenance.description).with_context(named)?;
    inputs_in(&provenance.description).with_context(named)?;
    Ok(Some(provenance))
}

/// The data that a result was computed from, out of its description.
///
/// # Errors
/// A text that is no description.
pub fn data_in(description: &str) -> Result<Vec<Data>> {
    #[derive(Deserialize)]
    struct Description {
        #[serde(default)]
        data: Vec<Data>,
    }
    let description: Description = serde_json::from_str(description)?;
    Ok(description.data)
}

/// The results that a result was computed from, step and key, out of its description.
///
/// # Errors
/// A text that is no description.
pub fn inputs_in(description: &str) -> Result<Vec<(String, String)>> {
    #[derive(Deserialize)]
    struct Description {
        #[serde(default)]
        inputs: Vec<(String, String)>,
    }
    let description: Description = serde_json::from_str(description)?;
    Ok(description.inputs)
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
        for Data { name, revision, sha256 } in data_in(&self.description).unwrap_or_default() {
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

    /// As the library writes it: `kernel-lib/tests/manifest.rs` compares.
    const WRITTEN: &str = include_str!("../../../../tests/fixtures/store/manifest.json");

    /// Puts a result into a store, with a manifest such as the library writes.
    pub(crate) fn put(store: &Path, step: &str, key: &str, seed: Option<u64>) {
        let mut manifest: serde_json::Value = serde_json::from_str(WRITTEN).unwrap();
        let description = json!({
            "settings": {"a": 1},
            "data": [{"name": "images", "revision": "", "sha256": "beef"}],
        });
        let provenance = &mut manifest["manifest"]["provenance"];
        provenance["step"] = step.into();
        provenance["key"] = key.into();
        provenance["seed"] = json!(seed);
        provenance["description"] = description.to_string().into();
        let folder = store.join(format!("{step}-{}/result", short(key)));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    }

    #[test]
    fn a_manifest_of_the_library_is_read() {
        let store = tempfile::tempdir().unwrap();
        let written: serde_json::Value = serde_json::from_str(WRITTEN).unwrap();
        let provenance = &written["manifest"]["provenance"];
        let (step, key) = (provenance["step"].as_str().unwrap(), provenance["key"].as_str().unwrap());
        let folder = store.path().join(format!("{step}-{}/result", short(key)));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("manifest.json"), WRITTEN).unwrap();
        let found = of(store.path(), step, key).unwrap().unwrap();
        assert_eq!((&*found.step, &*found.key, found.seed), (step, key, Some(7)));
        let data = data_in(&found.description).unwrap();
        assert_eq!((&*data[0].name, &*data[0].revision, data[0].sha256.len()), ("images", "r1", 64));
    }

    #[test]
    fn what_is_not_there_is_told_from_what_is_damaged() {
        let store = tempfile::tempdir().unwrap();
        let key = "aaaaaaaaaaaaaaaa1";
        put(store.path(), "probe", key, None);
        assert_eq!(of(store.path(), "probe", key).unwrap().unwrap().key, key);
        assert!(of(store.path(), "probe", "baaaaaaaaaaaaaaa1").unwrap().is_none());
        assert!(of(&store.path().join("nowhere"), "probe", key).unwrap().is_none());
        let other = format!("{:#}", of(store.path(), "probe", "aaaaaaaaaaaaaaaa2").unwrap_err());
        assert!(other.contains("of another result"), "{other}");
        fs::write(store.path().join("probe-aaaaaaaaaaaaaaaa/result/manifest.json"), "{").unwrap();
        let damaged = format!("{:#}", of(store.path(), "probe", key).unwrap_err());
        assert!(damaged.contains("manifest.json is damaged"), "{damaged}");
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
