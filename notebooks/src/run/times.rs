//! How long notebooks take, as committed beside them: shares of a run are balanced by it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::notebook::write_atomically;

/// The file in a notebook's folder.
pub const FILE: &str = "times.toml";

const HEADING: &str = "# Seconds that each notebook took on the machine that wrote this; `igpt run --update-times` writes it.\n\
                       # `igpt run --shard` deals notebooks out by it.\n";

/// The seconds of each notebook. One that has no time gets the mean of the others; if none has, all are taken for equal.
///
/// # Errors
/// A file that is not a list of times: a wrong share would be the same on no two machines.
pub fn of(notebooks: &[PathBuf]) -> Result<Vec<f64>> {
    let mut known: Vec<Option<f64>> = Vec::new();
    let mut folders: BTreeMap<PathBuf, BTreeMap<String, f64>> = BTreeMap::new();
    for notebook in notebooks {
        let folder = notebook.parent().unwrap_or(Path::new("")).to_owned();
        if !folders.contains_key(&folder) {
            folders.insert(folder.clone(), read(&folder.join(FILE))?);
        }
        let name = notebook.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        known.push(folders.get(&folder).and_then(|times| times.get(&name)).copied());
    }
    let with: Vec<f64> = known.iter().flatten().copied().collect();
    let mean = if with.is_empty() { 1.0 } else { with.iter().sum::<f64>() / with.len() as f64 };
    Ok(known.into_iter().map(|time| time.unwrap_or(mean)).collect())
}

/// Notes what notebooks took; other notebooks' times stay.
///
/// # Errors
/// A file that is not a list of times, or cannot be written.
pub fn update<'a>(took: impl Iterator<Item = (&'a Path, f64)>) -> Result<Vec<PathBuf>> {
    let mut files: BTreeMap<PathBuf, BTreeMap<String, f64>> = BTreeMap::new();
    for (notebook, seconds) in took {
        let file = notebook.parent().unwrap_or(Path::new("")).join(FILE);
        if !files.contains_key(&file) {
            files.insert(file.clone(), read(&file)?);
        }
        let name = notebook.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(times) = files.get_mut(&file) {
            times.insert(name, (seconds * 10.0).round() / 10.0);
        }
    }
    for (file, times) in &files {
        let lines = times
            .iter()
            .map(|(name, seconds)| format!("{} = {seconds:.1}\n", toml::Value::from(name.as_str())));
        write_atomically(file, (HEADING.to_owned() + &lines.collect::<String>()).as_bytes())?;
    }
    Ok(files.into_keys().collect())
}

fn read(file: &Path) -> Result<BTreeMap<String, f64>> {
    if !file.exists() {
        return Ok(BTreeMap::new());
    }
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let table: toml::Table = text.parse().with_context(|| format!("{} is not TOML", file.display()))?;
    let times = table.into_iter().map(|(name, value)| {
        let seconds = value.as_float().or_else(|| value.as_integer().map(|seconds| seconds as f64));
        let seconds = seconds.filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
        Ok((
            name.clone(),
            seconds.with_context(|| format!("{}: {name} is no number of seconds", file.display()))?,
        ))
    });
    times.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_and_unknown_ones_are_the_mean() {
        let folder = tempfile::tempdir().unwrap();
        let notebook = |name: &str| folder.path().join(name);
        let (a, b, c) = (notebook("a b.ipynb"), notebook("b.ipynb"), notebook("c.ipynb"));
        let all = [a.clone(), b.clone(), c.clone()];
        assert_eq!(of(&all).unwrap(), [1.0; 3]);
        assert_eq!(
            update([(a.as_path(), 10.04), (b.as_path(), 20.0)].into_iter()).unwrap(),
            [notebook(FILE)]
        );
        assert_eq!(of(&all).unwrap(), [10.0, 20.0, 15.0]);
        update([(b.as_path(), 30.0)].into_iter()).unwrap();
        assert_eq!(of(&all).unwrap(), [10.0, 30.0, 20.0]);
        fs::write(notebook(FILE), "\"b.ipynb\" = \"soon\"").unwrap();
        assert!(format!("{:#}", of(&all).unwrap_err()).contains("b.ipynb is no number of seconds"));
    }
}
