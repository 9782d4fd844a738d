//! Recorded runs: made by `igpt record`, told of by `igpt results`, shown beside a run's own verdicts in its report.

pub mod readme;
pub mod record;
pub mod recorded;
pub mod stored;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use self::recorded::Recorded;
use crate::run::{
    account::{self, Account},
    listed::listed,
    notebook::write_atomically,
    text::count,
};

/// The words behind `igpt results`.
#[derive(Debug, Args)]
pub struct Results {
    /// Say where this recorded run, or this stored result, comes from: the begin of its key
    #[arg(value_name = "KEY", conflicts_with = "readme")]
    key: Option<String>,
    /// Make the README's tables of findings anew
    #[arg(long)]
    readme: bool,
    /// The output folder of the last run [default: target/notebooks]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Tells of recorded runs.
pub fn results(root: &Path, words: &Results) -> Result<()> {
    if words.readme {
        let file = root.join("README.md");
        let old = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let new = readme::made_anew(root, &old)?;
        if new != old {
            write_atomically(&file, new.as_bytes())?;
        }
        println!("{}: {}", file.display(), if new == old { "is as it was" } else { "made anew" });
        return Ok(());
    }
    let runs = recorded::all(&root.join("papers"))?;
    match &words.key {
        Some(key) => print!("{}", one(root, &runs, key)?),
        None => {
            let out = words.out.clone().unwrap_or_else(|| root.join("target/notebooks"));
            print!("{}", list(root, &runs, &out)?);
        }
    }
    Ok(())
}

/// All recorded runs, a paragraph each, and the last run.
fn list(root: &Path, runs: &[Recorded], out: &Path) -> Result<String> {
    let mut text = String::new();
    for run in runs {
        let commit = run.commit.get(..12).unwrap_or(&run.commit);
        let changed = if run.uncommitted.is_empty() { "" } else { " and uncommitted changes" };
        let facts = [run.day().to_owned(), run.seeds_in_words(), format!("commit {commit}{changed}")];
        let facts: Vec<String> = facts.into_iter().filter(|fact| !fact.is_empty()).collect();
        let _ = writeln!(text, "{}  {}, profile {}: {}", run.key, run.paper, run.profile, facts.join(", "));
        let _ = writeln!(text, "{:14}{}", "", run.processor);
        let _ = writeln!(text, "{:14}{}", "", run.in_words(&listed(&root.join("papers"), &run.paper)));
    }
    if runs.is_empty() {
        text.push_str("no run is recorded: `igpt run`, then `igpt record`\n");
    }
    if let Some(last) = Account::read(out)?
        && !runs.iter().any(|run| is_of(run, &last))
    {
        let (date, of) = (last.date, count(last.notebooks.len(), "notebook"));
        let _ = writeln!(text, "not recorded  the last run, profile {}: {date}, {of}", last.profile);
    }
    Ok(text)
}

/// Whether a record is of this run. Two quick ones may end in the same second.
fn is_of(recorded: &Recorded, run: &Account) -> bool {
    let same_cells = recorded.notebooks.iter().all(|notebook| {
        run.notebooks.iter().any(|ran| ran.name == notebook.name && ran.cells_sha256 == notebook.cells)
    });
    recorded.profile == run.profile && recorded.date == run.date && same_cells
}

/// Where one run, or one stored result, comes from.
fn one(root: &Path, runs: &[Recorded], key: &str) -> Result<String> {
    let is_key =
        key.len() >= 4 && key.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    ensure!(is_key, "{key:?} is no key: four or more of its hexadecimal digits");
    let found: Vec<&Recorded> = runs.iter().filter(|run| run.key.starts_with(key)).collect();
    let run = match found[..] {
        [run] => run,
        [] => {
            let store = account::store(Some(root)).context("there is no experiment store")?;
            let result = stored::find(&store, key).context("no recorded run has this key")?;
            return Ok(format!("{}\n{}", result.step, in_lines(&result.facts())));
        }
        _ => {
            let keys: Vec<&str> = found.iter().map(|run| &*run.key).collect();
            bail!("there are several runs whose key begins with {key}: {}", keys.join(", "));
        }
    };
    let mut text = format!("run {}: {}\n{}", run.key, run.paper, in_lines(&run.provenance()));
    text.push_str("\nclaims\n");
    for claim in &run.claims {
        let _ = writeln!(text, "  {} ({}): {}", claim.claim, claim.kind, claim.verdict);
        let _ = writeln!(text, "    {}; {}", claim.ours, claim.notebook);
    }
    text.push_str("\nstored results that its notebooks used\n");
    for result in &run.results {
        let _ = writeln!(text, "  {}", result.in_words());
    }
    let _ = write!(text, "\nsettings\n{}", indented(&toml::to_string(&run.settings)?));
    Ok(text)
}

/// Names and values under each other.
fn in_lines(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in facts {
        let value = value.replace('\n', &format!("\n{:1$}", "", width + 4));
        let _ = writeln!(text, "  {name:width$}  {value}");
    }
    text
}

fn indented(text: &str) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_found_by_the_begin_of_its_key() {
        let root = tempfile::tempdir().unwrap();
        let run = recorded::tests::example();
        let runs = [run.clone()];
        let text = one(root.path(), &runs, &run.key[..4]).unwrap();
        for part in [
            &*format!("run {}: p\n", run.key),
            "  data                 images r, SHA-256 beef\n",
            "  uncommitted changes  kernel-lib/src/a.rs\n",
            "  one (finding): supported\n    1.2 [0.5, 2.0] points; 4.1\n",
            "  probe 0123456789abcdef: 2.0 s, seed 1, cpu, 2026-11-28T08:00:00Z, commit 0123456789ab\n",
            "  [b.c]\n  d = \"x\"\n",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
        let error = |key: &str| format!("{:#}", one(root.path(), &runs, key).unwrap_err());
        assert!(error("xyz1").contains("is no key") && error(&run.key[..3]).contains("is no key"));
        let twice = [run.clone(), run.clone()];
        assert!(one(root.path(), &twice, &run.key).unwrap_err().to_string().contains("several runs"));
        let listed = list(root.path(), &runs, root.path()).unwrap();
        assert!(
            listed.contains("p, profile quick: 2026-11-29, seeds 1, 2, commit 0123456789ab and unc"),
            "{listed}"
        );
        assert!(list(root.path(), &[], root.path()).unwrap().contains("no run is recorded"));
    }
}
