//! The files of a data set in the hub, see [`crate::hub`].

use anyhow::{Result, bail};

use super::{catalog::DataSet, say};
use crate::hub::{self, Kind};
pub(super) use crate::hub::{Snapshot, cache, sha256};

/// Which part of how many of a split's Parquet files this is: (0, 2) for `train-00000-of-00002.parquet`.
pub(super) fn shard(name: &str, split: &str) -> Option<(usize, usize)> {
    match hub::part(name)? {
        (stem, at, count, ".parquet") if stem == split => Some((at, count)),
        _ => None,
    }
}

/// Sees to it that the cache has the Parquet files of a data set: of the splits that are `known` to be wanted, else all of
/// the configuration `config`, else of all configurations.
///
/// # Errors
/// If they are not there and cannot be downloaded.
pub(super) fn ensure(repository: &str, known: Option<&DataSet>, config: Option<&str>) -> Result<Snapshot> {
    let folder = config.or(known.map(|known| known.folder));
    let wanted = |names: &[String]| wanted(names, known, folder);
    hub::ensure(Kind::Dataset, repository, None, &wanted, &|line| say(line))
}

fn wanted(names: &[String], known: Option<&DataSet>, folder: Option<&str>) -> Result<Vec<String>> {
    let is_here = |name: &str, split: &str| {
        let (inside, file) = name.rsplit_once('/').unwrap_or(("", name));
        folder.is_none_or(|folder| folder == inside)
            && hub::part(file)
                .is_some_and(|(stem, _, _, end)| end == ".parquet" && (split.is_empty() || stem == split))
    };
    let splits = known.map_or(vec![""], |known| known.splits.iter().map(|split| split.theirs).collect());
    let mut chosen = Vec::new();
    for split in splits {
        match hub::all(|name| is_here(name, split))(names) {
            Ok(files) => chosen.extend(files),
            Err(error) => bail!("of {}, {error}", if split.is_empty() { "Parquet files" } else { split }),
        }
    }
    // It may name the classes.
    chosen.extend(names.iter().filter(|name| *name == "README.md").cloned());
    Ok(chosen)
}
