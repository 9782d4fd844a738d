//! Which files hold the weights: one, or several with an index.

use super::tensor::Tensors;
use super::{safetensors, torch};
use crate::{Error, Result, json, mapped};
use memmap2::Mmap;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The names that files with weights have, the ones that are taken first, first.
const NAMES: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// The files of a checkpoint's weights, mapped.
#[derive(Debug)]
pub(super) struct Weights {
    path: PathBuf,
    files: Vec<(PathBuf, Mmap)>,
    /// Which file each tensor is in, if there are several.
    index: Option<BTreeMap<String, String>>,
}

/// `….index.json`.
#[derive(Debug, Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// Those of the checkpoint in this folder.
    pub(super) fn find(folder: &Path) -> Result<Self> {
        let found = NAMES.into_iter().find(|name| folder.join(name).exists());
        let name = found.ok_or_else(|| {
            Error::format(folder, format!("no weights in it: none of {} is there", NAMES.join(", ")))
        })?;
        let path = folder.join(name);
        if !name.ends_with(".json") {
            let files = vec![(path.clone(), mapped::file(&path)?)];
            return Ok(Self { path, files, index: None });
        }
        let text = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
        let index: Index = json::from_slice(&text)
            .map_err(|e| Error::format(&path, format!("not the index of a checkpoint in shards: {e}")))?;
        let mut shards: Vec<&String> = index.weight_map.values().collect();
        shards.sort();
        shards.dedup();
        let mut files = Vec::with_capacity(shards.len());
        for shard in shards {
            // In this folder, and nowhere else.
            if Path::new(shard).file_name().is_none_or(|name| name != shard.as_str()) {
                return Err(Error::format(&path, format!("{shard:?} is not the name of a file beside it")));
            }
            let shard = folder.join(shard);
            files.push((shard.clone(), mapped::file(&shard)?));
        }
        Ok(Self { path, files, index: Some(index.weight_map) })
    }

    /// The file that speaks for all: the one, or the index.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// All tensors.
    pub(super) fn tensors(&self) -> Result<Tensors<'_>> {
        let mut all = Tensors::new();
        for (path, bytes) in &self.files {
            let of_file = tensors(path, bytes).map_err(|what| Error::format(path, what))?;
            let file = path.file_name();
            for (name, raw) in of_file {
                let owner = self.index.as_ref().map(|index| index.get(&name).map(String::as_str));
                if owner.is_some_and(|owner| owner.map(AsRef::as_ref) != file) {
                    let what =
                        format!("it holds {name}, which is not in it according to {}", self.path.display());
                    return Err(Error::format(path, what));
                }
                all.insert(name, raw);
            }
        }
        let mut listed = self.index.iter().flatten();
        match listed.find(|(name, _)| !all.contains_key(*name)) {
            Some((name, shard)) => {
                Err(Error::format(&self.path, format!("{name} should be in {shard}, but is not")))
            }
            None => Ok(all),
        }
    }
}

/// The tensors of one file.
fn tensors<'a>(path: &Path, bytes: &'a [u8]) -> Result<Tensors<'a>, String> {
    if bytes.starts_with(b"version https://git-lfs") {
        return Err("a pointer of Git LFS instead of the weights: `git lfs pull` fetches them".to_owned());
    }
    match path.extension().is_some_and(|ending| ending == "safetensors") {
        true => safetensors::tensors(bytes),
        false => torch::tensors(bytes),
    }
}
