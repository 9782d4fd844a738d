//! A data set's files in the hub and in its cache, see [`crate::download`].

use anyhow::{Context as _, Result, bail};

use super::{
    catalog::{DataSet, Split},
    say,
};
use crate::download::{self, RepositoryKind, Snapshot};

/// Where in its repository a data set lies.
pub(super) struct Layout {
    /// The folder of its Parquet files.
    pub folder: String,
    pub splits: Vec<Split>,
}

/// The splits that a repository may have as its test split, the first that there is.
const TEST_SPLITS: [&str; 5] = ["test", "validation", "valid", "val", "dev"];

/// Sees to it that the cache has the Parquet files of a data set, and says where they lie. `known` is how the data set lies
/// in its repository, where that is known; `config` is the configuration that is asked for.
///
/// # Errors
/// If it is no such data set, or its files are not there and cannot be downloaded.
pub(super) fn ensure(
    repository: &str,
    known: Option<&DataSet>,
    config: Option<&str>,
) -> Result<(Snapshot, Layout)> {
    let layout = |names: &[String]| Layout::of(repository, names, known, config);
    let wanted = |names: &[String]| layout(names)?.files(names);
    let snapshot = download::ensure(RepositoryKind::Dataset, repository, None, &wanted, &|line| say(line))?;
    let layout = layout(&snapshot.names())?;
    Ok((snapshot, layout))
}

/// Which part of how many of a split's Parquet files this is: (0, 2) for `train-00000-of-00002.parquet`.
fn shard(name: &str, split: &str) -> Option<(usize, usize)> {
    match download::part(name)? {
        (stem, at, count, ".parquet") if stem == split => Some((at, count)),
        _ => None,
    }
}

/// A file's folder and its name in it.
fn in_folder(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

impl Layout {
    /// By the names of a repository's files.
    fn of(repository: &str, names: &[String], known: Option<&DataSet>, config: Option<&str>) -> Result<Self> {
        let folder = match (config, known) {
            (None, Some(known)) => known.folder.to_owned(),
            (config, _) => folder_of(repository, names, config)?,
        };
        let splits = match known {
            Some(known) => known.splits.to_vec(),
            None => splits_of(repository, names, &folder)?,
        };
        Ok(Self { folder, splits })
    }

    /// The files of all splits, and the README, which may name the classes.
    fn files(&self, names: &[String]) -> Result<Vec<String>> {
        let mut chosen = Vec::new();
        for Split { theirs, .. } in &self.splits {
            let is_of = |path: &str| {
                let (folder, file) = in_folder(path);
                folder == self.folder && shard(file, theirs).is_some()
            };
            let files = download::all(is_of)(names).with_context(|| format!("the split {theirs}"))?;
            chosen.extend(files);
        }
        chosen.extend(names.iter().filter(|name| *name == "README.md").cloned());
        Ok(chosen)
    }
}

/// The folder in which a repository has its training split; that of the configuration `config`, if one is asked for.
fn folder_of(repository: &str, names: &[String], config: Option<&str>) -> Result<String> {
    let of_train = |path: &String| -> Option<String> {
        let (folder, file) = in_folder(path);
        shard(file, "train").map(|_| folder.to_owned())
    };
    let mut folders: Vec<String> = names.iter().filter_map(of_train).collect();
    folders.sort();
    folders.dedup();
    let is_config = |folder: &String| config.is_none_or(|config| folder.rsplit('/').next() == Some(config));
    match &folders.iter().filter(|folder| is_config(folder)).collect::<Vec<_>>()[..] {
        [folder] => Ok((*folder).clone()),
        [] if folders.is_empty() => {
            bail!("{repository} has no train-*.parquet: only data sets in Parquet files are read")
        }
        [] => bail!(
            "{repository} has no configuration `{}`; there are {}",
            config.unwrap_or_default(),
            folders.join(", ")
        ),
        several => bail!(
            "{repository} has several configurations: say --config {}",
            several.iter().map(|folder| folder.as_str()).collect::<Vec<_>>().join(" or ")
        ),
    }
}

/// The training split, and the one to test on.
fn splits_of(repository: &str, names: &[String], folder: &str) -> Result<Vec<Split>> {
    let has = |split: &&str| {
        names
            .iter()
            .map(|path| in_folder(path))
            .any(|(inside, file)| inside == folder && shard(file, split).is_some())
    };
    let Some(test) = TEST_SPLITS.iter().copied().find(|split| has(split)) else {
        bail!("{repository} has no split to test on ({}) in its folder {folder:?}", TEST_SPLITS.join(", "));
    };
    Ok(vec![
        Split { name: "train", theirs: "train", is_labelled: true },
        Split { name: "test", theirs: test, is_labelled: true },
    ])
}
