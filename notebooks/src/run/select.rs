//! Which notebooks a run is about: named ones, those of a folder or a pattern, those that failed the last time or that
//! a change touched, and one machine's share of them.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    str::FromStr,
};

use anyhow::{Context as _, Result, bail, ensure};
use regex::Regex;

use super::{ended::Ended, text::count, times};

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Files, folders and patterns, in this order.
    pub named: Vec<PathBuf>,
    /// Only those that did not pass the last time.
    pub last_failed: bool,
    /// Only those that a change since this revision touches.
    pub changed_since: Option<String>,
    /// Only this share of them.
    pub shard: Option<Shard>,
    /// How much they are to compute: shares are even for this profile.
    pub profile: String,
}

/// What was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// The notebooks, in the order in which they were named.
    pub notebooks: Vec<PathBuf>,
    /// Why these and no others, one sentence for each choice.
    pub notes: Vec<String>,
}

/// One of several shares of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 1.
    number: usize,
    of: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts =
            text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match parts {
            Some((number, of)) if (1..=of).contains(&number) && of <= 1000 => Ok(Self { number, of }),
            _ => Err(format!("{text:?} is not a share like 2/5, the second of five")),
        }
    }
}

/// Chooses notebooks. `everything` are the folders whose own notebooks are meant when nothing is named, and in and below which bare names are looked for; `out` is where it stands how notebooks ended the last time,
/// and where executed notebooks lie, which are never chosen by their folder.
///
/// # Errors
/// A folder or a pattern without a notebook, a revision that git does not know, times that cannot be read.
pub fn select(selection: &Selection, everything: &[PathBuf], out: &Path) -> Result<Selected> {
    let named = match &selection.named[..] {
        [] => {
            let mut all = Vec::new();
            for folder in everything {
                let own = notebooks_of(folder)?;
                ensure!(!own.is_empty(), "there is no notebook in {}", folder.display());
                all.extend(own);
            }
            all
        }
        named => named.to_vec(),
    };
    let mut notebooks = Vec::new();
    let mut seen = HashSet::new();
    for name in &named {
        for notebook in expand(name, everything, out)? {
            let absolute =
                std::path::absolute(&notebook).with_context(|| format!("what is {}?", name.display()))?;
            if seen.insert(absolute) {
                notebooks.push(notebook);
            }
        }
    }
    let mut notes = Vec::new();
    if selection.last_failed {
        notes.push(keep_last_failed(&mut notebooks, out));
    }
    if let Some(revision) = &selection.changed_since {
        notes.push(keep_changed(&mut notebooks, revision)?);
    }
    if let Some(shard) = selection.shard {
        let all = notebooks.len();
        let shares = share(&times::seconds(&notebooks, &selection.profile)?, shard.of);
        let mut place = shares.iter();
        notebooks.retain(|_| place.next() == Some(&(shard.number - 1)));
        let of = count(all, "notebook");
        notes.push(format!("share {} of {}: {} of {of}", shard.number, shard.of, notebooks.len()));
    }
    Ok(Selected { notebooks, notes })
}

/// The notebooks that a name stands for: a path, a folder, a pattern, or the bare name of one in the folders of `everything`,
/// without folder and ending, as tables show it.
fn expand(name: &Path, everything: &[PathBuf], out: &Path) -> Result<Vec<PathBuf>> {
    if name.is_dir() {
        let found = notebooks_in(name, out)?;
        ensure!(!found.is_empty(), "there is no notebook in {}", name.display());
        return Ok(found);
    }
    let text = name.to_string_lossy();
    if name.exists() || !text.contains(['*', '?', '[']) {
        if !name.exists() {
            let known = everything.iter().flat_map(|folder| notebooks_in(folder, out).unwrap_or_default());
            let is_it = |path: &PathBuf| super::notebook::name(path) == text;
            if let Some(path) = known.into_iter().find(is_it) {
                return Ok(vec![path]);
            }
        }
        // One that is not there fails as a notebook of the run, and the others run.
        return Ok(vec![name.to_owned()]);
    }
    let pattern = glob(&text).with_context(|| format!("{text:?} is not a pattern"))?;
    // Everything before the first wildcard is a folder.
    let fixed: PathBuf = name
        .components()
        .take_while(|part| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']))
        .collect();
    let folder = if fixed.as_os_str().is_empty() { Path::new(".") } else { &fixed };
    ensure!(folder.is_dir(), "no notebook matches {text}: there is no folder {}", folder.display());
    let found = notebooks_in(folder, out)?.into_iter().map(|path| match fixed.as_os_str().is_empty() {
        true => path.strip_prefix(".").map_or(path.clone(), Path::to_owned),
        false => path,
    });
    let found: Vec<_> = found.filter(|path| pattern.is_match(&path.to_string_lossy())).collect();
    ensure!(!found.is_empty(), "no notebook matches {text}");
    Ok(found)
}

/// The notebooks of a checkout, by path: those that lie in its folder of notebooks itself. What lies in folders below it, such as
/// solutions, runs if it is named, and is part of no record.
///
/// # Errors
/// A folder that cannot be listed.
pub fn notebooks_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut all = notebooks_in(folder, folder)?;
    all.retain(|notebook| notebook.parent() == Some(folder));
    Ok(all)
}

/// The notebooks below a folder, by path; not those in hidden folders, in build folders, and in `out`.
///
/// # Errors
/// A folder that cannot be listed.
pub fn notebooks_in(folder: &Path, out: &Path) -> Result<Vec<PathBuf>> {
    let out = fs::canonicalize(out).ok();
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
            let (path, name) = (entry.path(), entry.file_name());
            let hidden = name.to_string_lossy().starts_with('.');
            // A link to a folder may lead back to where it lies.
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder
                && !hidden
                && name != "target"
                && (out.is_none() || fs::canonicalize(&path).ok() != out)
            {
                folders.push(path);
            } else if !is_folder && !hidden && path.extension().is_some_and(|ending| ending == "ipynb") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A shell's pattern as a regular expression: `*` and `?` stay within a folder, `**` crosses folders.
fn glob(pattern: &str) -> Result<Regex> {
    let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
    let mut regex = String::from("^");
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let mut length = c.len_utf8();
        match c {
            '*' if rest.starts_with("**/") => {
                regex.push_str("(?:.*/)?");
                length = 3;
            }
            '*' if rest.starts_with("**") => {
                regex.push_str(".*");
                length = 2;
            }
            '*' => regex.push_str("[^/]*"),
            '?' => regex.push_str("[^/]"),
            '[' => {
                let end = rest[1..].find(']').context("a `[` without its `]`")? + 1;
                let (not, set) = match rest[1..end].strip_prefix(['!', '^']) {
                    Some(set) => ("^", set),
                    None => ("", &rest[1..end]),
                };
                regex.push_str(&format!(
                    "[{not}{}]",
                    set.replace('\\', r"\\").replace('[', r"\[").replace('&', r"\&")
                ));
                length = end + 1;
            }
            c => regex.push_str(&regex::escape(&c.to_string())),
        }
        rest = &rest[length..];
    }
    regex.push('$');
    Ok(Regex::new(&regex)?)
}

fn keep_last_failed(notebooks: &mut Vec<PathBuf>, out: &Path) -> String {
    let all = count(notebooks.len(), "notebook");
    let failed = Ended::read(out).not_passed();
    let is_failed = |notebook: &PathBuf| {
        std::path::absolute(notebook).is_ok_and(|notebook| failed.contains(&*notebook.to_string_lossy()))
    };
    // As pytest does it: where nothing is known to have failed, everything runs.
    if !notebooks.iter().any(is_failed) {
        return format!(
            "last failed: no failure of these is on record in {}, so all run: {all}",
            out.display()
        );
    }
    notebooks.retain(is_failed);
    format!("last failed: {} of {all}", notebooks.len())
}

/// Keeps the notebooks that a change since `revision` touches: their own file, or anything that cells may use.
fn keep_changed(notebooks: &mut Vec<PathBuf>, revision: &str) -> Result<String> {
    let all = count(notebooks.len(), "notebook");
    let (mut kept, mut why) = (Vec::new(), None);
    let mut repositories: Vec<(PathBuf, Vec<String>)> = Vec::new();
    for notebook in notebooks.drain(..) {
        let absolute = std::path::absolute(&notebook)?;
        let folder = absolute.parent().unwrap_or(Path::new("/"));
        let top = git(folder, &["rev-parse", "--show-toplevel"]).with_context(|| {
            format!("{} is in no git repository, so nobody knows what changed", notebook.display())
        })?;
        let top = PathBuf::from(top.trim_end_matches('\n'));
        let place = match repositories.iter().position(|(known, _)| *known == top) {
            Some(place) => place,
            None => {
                let changed = changed(&top, revision)?;
                repositories.push((top, changed));
                repositories.len() - 1
            }
        };
        let (top, changed) = &repositories[place];
        let ours = crate::repository::around(folder).is_some();
        let within = fs::canonicalize(&absolute).unwrap_or(absolute);
        let own = within.strip_prefix(fs::canonicalize(top).unwrap_or(top.clone())).unwrap_or(&within);
        let shared = changed.iter().find(|path| concerns_all(path, ours));
        if let Some(path) = shared.filter(|_| why.is_none()) {
            why = Some(format!(" ({path} changed, which cells may use)"));
        }
        if shared.is_some() || changed.iter().any(|path| Path::new(path) == own) {
            kept.push(notebook);
        }
    }
    *notebooks = kept;
    Ok(format!("changed since {revision}: {} of {all}{}", notebooks.len(), why.unwrap_or_default()))
}

/// All paths, from the top of the repository, that are not as they were at `revision`, be the change committed or not.
fn changed(top: &Path, revision: &str) -> Result<Vec<String>> {
    let commit = format!("{revision}^{{commit}}");
    let Ok(commit) = git(top, &["rev-parse", "--verify", "--quiet", "--end-of-options", &commit]) else {
        bail!(
            "git knows no revision {revision:?} in {} (fetch it first: a CI checkout may be shallow)",
            top.display()
        );
    };
    let tracked = git(top, &["diff", "--name-only", "--no-renames", "-z", commit.trim(), "--"])?;
    let untracked = git(top, &["ls-files", "--others", "--exclude-standard", "-z"])?;
    let paths = tracked.split('\0').chain(untracked.split('\0'));
    Ok(paths.filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

/// Whether cells of any notebook may use this file. In a checkout of this project that is known; elsewhere every file
/// is taken for one that they may use, but for other notebooks, texts and hidden files.
pub(super) fn concerns_all(path: &str, ours: bool) -> bool {
    let in_any = |folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
    if ours {
        let files = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "notebooks/Cargo.toml"];
        // papers/NAME/results: recorded runs.
        let is_result = path.starts_with("papers/") && path.split('/').nth(2) == Some("results");
        return files.contains(&path)
            || !is_result && in_any(&["kernel-lib/", "notebooks/src/", "data/", "papers/", ".cargo/"]);
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    let text = [".ipynb", ".md"].iter().any(|ending| name.ends_with(ending)) || name.starts_with("LICENSE");
    let hidden = path.split('/').any(|part| part.starts_with('.')) && !in_any(&[".cargo/"]);
    !text && !hidden && name != times::COMMITTED
}

pub(super) fn git(folder: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(arguments).stdin(std::process::Stdio::null());
    let output = command.output().context("git cannot be started")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git {}: {}", arguments.join(" "), said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Deals work out: for each piece the share that gets it, so that all shares take about as long. The longest piece goes
/// first, each to the share that has the least so far. Every machine computes the same.
fn share(seconds: &[f64], shares: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..seconds.len()).collect();
    order.sort_by(|a, b| seconds[*b].total_cmp(&seconds[*a]).then(a.cmp(b)));
    let mut load = vec![(0.0_f64, 0_usize); shares];
    let mut of = vec![0; seconds.len()];
    for piece in order {
        let least =
            (0..shares).min_by(|a, b| load[*a].0.total_cmp(&load[*b].0).then(load[*a].1.cmp(&load[*b].1)));
        let least = least.unwrap_or(0);
        of[piece] = least;
        load[least].0 += seconds[piece];
        load[least].1 += 1;
    }
    of
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notebook_of_the_repository_needs_no_folder_and_ending() {
        let folder = tempfile::tempdir().unwrap();
        let all = ["2.1_pre-training", "2"].map(|name| folder.path().join(format!("{name}.ipynb")));
        all.iter().for_each(|path| fs::write(path, "").unwrap());
        let everything = [folder.path().to_owned()];
        let of = |name: &str| expand(Path::new(name), &everything, Path::new("out")).unwrap();
        assert_eq!(of("2.1_pre-training"), all[..1]);
        assert_eq!(of("2"), all[1..]);
        assert_eq!(of("2.1"), [PathBuf::from("2.1")]);
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, path, matches) in [
            ("a/*.ipynb", "a/b.ipynb", true),
            ("a/*.ipynb", "a/b/c.ipynb", false),
            ("a/**/*.ipynb", "a/b/c.ipynb", true),
            ("a/**/*.ipynb", "a/c.ipynb", true),
            ("**", "a/b/c.ipynb", true),
            ("?.ipynb", "a.ipynb", true),
            ("?.ipynb", "ab.ipynb", false),
            ("[a-c]*", "b.ipynb", true),
            ("[!a-c]*", "b.ipynb", false),
            ("a.ipynb*", "axipynb", false),
            ("./2.*", "2.1.ipynb", true),
        ] {
            assert_eq!(glob(pattern).unwrap().is_match(path), matches, "{pattern} {path}");
        }
        assert!(glob("a[b").is_err());
    }

    #[test]
    fn shares_are_complete_disjoint_and_even() {
        let seconds: Vec<f64> = (0..40).map(|n| f64::from((n * 7919) % 97 + 1)).collect();
        for shares in 1..=50 {
            let of = share(&seconds, shares);
            let mut load = vec![0.0; shares];
            for (piece, share) in of.iter().enumerate() {
                load[*share] += seconds[piece];
            }
            // Each piece has one share, and that is one of them; nobody has more than the mean and one piece more.
            assert!(of.len() == seconds.len() && of.iter().all(|share| *share < shares));
            let mean = seconds.iter().sum::<f64>() / shares as f64;
            assert!(load.iter().all(|load| *load <= mean + 97.0), "{shares}: {load:?}");
        }
        // Without times, by number.
        let of = share(&[1.0; 7], 3);
        assert_eq!((0..3).map(|share| of.iter().filter(|of| **of == share).count()).max(), Some(3));
        assert_eq!(share(&[0.0; 4], 2), [0, 1, 0, 1], "no time at all is dealt out, too");
    }

    #[test]
    fn a_share_is_two_numbers() {
        assert_eq!("2/5".parse(), Ok(Shard { number: 2, of: 5 }));
        for wrong in ["0/5", "6/5", "2", "a/b", "1/0", "1/2/3", "-1/2", "1/100000"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cells_may_use_is_known() {
        for path in [
            "kernel-lib/src/a.rs",
            "data/x.png",
            "papers/igpt/claims.toml",
            "Cargo.lock",
            "notebooks/src/main.rs",
        ] {
            assert!(concerns_all(path, true), "{path}");
        }
        for path in [
            "README.md",
            "notebooks/1.ipynb",
            "tests/a.rs",
            "docs/x",
            "notebooks/times.toml",
            "papers/igpt/results/quick.toml",
        ] {
            assert!(!concerns_all(path, true), "{path}");
        }
        for (path, all) in [
            ("src/lib.rs", true),
            ("data.csv", true),
            ("b.ipynb", false),
            ("a/README.md", false),
            (".github/x.yml", false),
            (".cargo/config.toml", true),
            ("times.toml", false),
        ] {
            assert_eq!(concerns_all(path, false), all, "{path}");
        }
    }
}
