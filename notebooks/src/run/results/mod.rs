//! Recorded runs: made by `igpt record`, told of by `igpt results`, shown beside a run's own verdicts in its report.

pub mod made;
pub mod present;
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
use crate::run::{account, listed::listed, notebook::write_atomically, text::count};

/// The words behind `igpt results`.
#[derive(Debug, Args)]
pub struct Results {
    /// Say where this recorded run, or this stored result, comes from: the begin of its key
    #[arg(value_name = "KEY", conflicts_with = "readme")]
    key: Option<String>,
    /// Make the tables of findings anew, in the README and in docs/in_colour.md
    #[arg(long)]
    readme: bool,
    /// The output folder of the last run [default: target/notebooks]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Tells of recorded runs.
pub fn results(root: &Path, words: &Results) -> Result<()> {
    if words.readme {
        for file in readme::texts(root) {
            let old = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let new = readme::made_anew(root, &old)?;
            if new != old {
                write_atomically(&file, new.as_bytes())?;
            }
            println!("{}: {}", file.display(), if new == old { "is as it was" } else { "made anew" });
        }
        return Ok(());
    }
    let runs = recorded::all(&root.join("papers"))?;
    let out = words.out.clone().unwrap_or_else(|| root.join("target/notebooks"));
    let last = recorded::in_folder(&out.join(made::FOLDER)).context("the last run: run again")?;
    let mut last: Vec<Recorded> = last.into_iter().map(|(_, run)| run).collect();
    last.retain(|run| !runs.iter().any(|recorded| recorded.key == run.key));
    match &words.key {
        Some(key) => print!("{}", one(root, &runs, &last, key)?),
        None => print!("{}", list(root, &runs, &last)?),
    }
    Ok(())
}

/// All recorded runs, a paragraph each, and what came of the last run.
fn list(root: &Path, runs: &[Recorded], last: &[Recorded]) -> Result<String> {
    let mut text = String::new();
    let mut paragraph = |run: &Recorded, of: &str| {
        let commit = match run.commit.get(..12) {
            Some(commit) if run.uncommitted.is_empty() => format!(", commit {commit}"),
            Some(commit) => format!(", commit {commit} and uncommitted changes"),
            None => String::new(),
        };
        let _ =
            writeln!(text, "{}  {}, profile {}{of}: {}{commit}", run.key, run.paper, run.profile, run.day());
        let _ = writeln!(text, "{:14}{}", "", run.processor);
        let _ = writeln!(text, "{:14}{}", "", run.in_words(&listed(&root.join("papers"), &run.paper)));
    };
    for run in runs {
        paragraph(run, "");
    }
    for run in last {
        paragraph(run, ", the last run, not recorded");
    }
    if runs.is_empty() {
        text.push_str("no run is recorded: `igpt run`, then `igpt record`\n");
    }
    for run in runs {
        let differences = present::differences(root, run)?;
        if let Some(first) = differences.first() {
            let more = match differences.len() - 1 {
                0 => String::new(),
                n => format!(", and {}", count(n, "other difference")),
            };
            let _ = writeln!(text, "{} is not of what this checkout has now: {first}{more}", run.key);
        }
    }
    Ok(text)
}

/// Where one run, or one stored result, comes from.
fn one(root: &Path, runs: &[Recorded], last: &[Recorded], key: &str) -> Result<String> {
    let is_key =
        key.len() >= 4 && key.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    ensure!(is_key, "{key:?} is no key: four or more of its hexadecimal digits");
    let found: Vec<&Recorded> = runs.iter().chain(last).filter(|run| run.key.starts_with(key)).collect();
    let run = match found[..] {
        [run] => run,
        [] => {
            let store = account::store(Some(root)).context("there is no experiment store")?;
            let result =
                stored::find(&store, key).context("neither a recorded run nor the last one has this key")?;
            return Ok(format!("{}\n{}", result.step, in_lines(&result.facts())));
        }
        _ => {
            let keys: Vec<&str> = found.iter().map(|run| &*run.key).collect();
            bail!("there are several runs whose key begins with {key}: {}", keys.join(", "));
        }
    };
    let of =
        if last.iter().any(|of_last| of_last.key == run.key) { ", the last run, not recorded" } else { "" };
    let mut text = format!("run {}: {}{of}\n{}", run.key, run.paper, in_lines(&run.provenance()));
    let differences = present::differences(root, run)?;
    if !differences.is_empty() && of.is_empty() {
        text.push_str("\nnot as in this checkout now\n");
        text.extend(differences.iter().map(|difference| format!("  {difference}\n")));
    }
    text.push_str("\nclaims\n");
    for claim in &run.claims {
        let _ = writeln!(text, "  {} ({}): {}", claim.claim, claim.kind, claim.verdict);
        let _ = writeln!(text, "    {}; {}", claim.ours, claim.notebook);
        if let Some(of) = run.apart(claim) {
            let _ = writeln!(text, "    of: {of}");
        }
    }
    text.push_str("\nstored results that its notebooks used\n");
    for result in &run.results {
        let _ = writeln!(text, "  {}", result.in_words());
    }
    let _ = write!(text, "\nsettings of the profile\n{}", indented(&toml::to_string(&run.profile_settings)?));
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
        fs::create_dir(root.path().join("notebooks")).unwrap();
        let run = recorded::tests::example();
        let runs = [run.clone()];
        let text = one(root.path(), &runs, &[], &run.key[..4]).unwrap();
        for part in [
            &*format!("run {}: p\n", run.key),
            "  data                 images r, SHA-256 beef\n",
            "  uncommitted changes  kernel-lib/src/a.rs\n",
            "  notebooks/4.1.ipynb is not there any more\n",
            "  one (finding): supported\n    1.2 [0.5, 2.0] points; 4.1\n",
            "  two (finding): supported\n    1.2 [0.5, 2.0] points; 4.1\n    of: 2 layers\n",
            "  probe 0123456789abcdef: 2.0 s, seed 1, cpu, 2026-11-28T08:00:00Z, commit 0123456789ab\n",
            "  [b.c]\n  d = \"x\"\n",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
        let of_last = one(root.path(), &[], &runs, &run.key[..4]).unwrap();
        assert!(of_last.contains("p, the last run, not recorded\n"), "{of_last}");
        let error = |key: &str| format!("{:#}", one(root.path(), &runs, &[], key).unwrap_err());
        assert!(error("xyz1").contains("is no key") && error(&run.key[..3]).contains("is no key"));
        let twice = [run.clone(), run.clone()];
        assert!(one(root.path(), &twice, &[], &run.key).unwrap_err().to_string().contains("several runs"));
        let listed = list(root.path(), &runs, &runs).unwrap();
        for part in [
            "p, profile quick: 2026-11-29, commit 0123456789ab and unc",
            "p, profile quick, the last run, not recorded: ",
            "is not of what this checkout has now: notebooks/4.1.ipynb is not there",
        ] {
            assert!(listed.contains(part), "{part:?} in\n{listed}");
        }
        assert!(list(root.path(), &[], &[]).unwrap().contains("no run is recorded"));
    }
}
