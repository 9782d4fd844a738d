//! `igpt record`: keeps what came of the last run in the papers' folders.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use super::{
    recorded::{self, Data, Effect, Judgement, OfNotebook, OfResult, Order, Recorded},
    stored::{self, Provenance},
};
use crate::{
    profiles,
    run::{
        account::{Account, Sources, cells_sha256},
        exit::Exit,
        journal::{self, Judged, Measured, short},
        listed::{is_name, listed},
        notebook::{name, write_atomically},
        select::notebooks_in,
    },
};

/// The words behind `igpt record`.
#[derive(Debug, Args)]
pub struct Record {
    /// The output folder of the run [default: target/notebooks]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Record a run of files that are in no commit, too; the record names them
    #[arg(long)]
    uncommitted: bool,
}

/// Records the last run, and says where.
pub fn record(root: &Path, words: &Record) -> Result<()> {
    let out = words.out.clone().unwrap_or_else(|| root.join("target/notebooks"));
    let Some(account) = Account::read(&out)? else {
        bail!("there is no run in {}: `igpt run` makes one of all notebooks", out.display());
    };
    let sources = faithful(root, &out, &account)?;
    ensure!(
        words.uncommitted || sources.uncommitted.is_empty(),
        "the run was of files that are in no commit, so nobody could repeat it: {}. Commit them and run again, or record it so \
         with --uncommitted",
        sources.uncommitted.join(", ")
    );
    let papers = root.join("papers");
    let of_papers: BTreeSet<&String> =
        account.notebooks.iter().flat_map(|ran| ran.claims.iter().map(|of| &of.paper)).collect();
    ensure!(!of_papers.is_empty(), "no notebook of the run judged a claim: there is nothing to record");
    let mut files = Vec::new();
    let mut lost = BTreeSet::new();
    for paper in of_papers {
        ensure!(
            is_name(paper) && papers.join(paper).join("claims.toml").is_file(),
            "a notebook judged claims of a paper {paper:?}, which {} has not",
            papers.display()
        );
        let file = papers.join(paper).join("results").join(format!("{}.toml", account.profile));
        let old = fs::read_to_string(&file).unwrap_or_default();
        ensure!(
            old.is_empty() || recorded::is_recorded(&old),
            "{} is no recorded run, and stays: give the profile another name",
            file.display()
        );
        files.push((file, of_paper(root, paper, &account, sources, &mut lost)?));
    }
    // All or none, as far as that goes.
    for (file, run) in &files {
        write_atomically(file, run.to_text().as_bytes())?;
        let words = run.in_words(&listed(&papers, &run.paper));
        println!("{}: run {}. {words}", file.display(), run.key);
    }
    if !lost.is_empty() {
        let store = account.store.as_deref().unwrap_or(Path::new("the store"));
        println!(
            "without where they come from, since {} has them no more: {}",
            store.display(),
            lost.into_iter().collect::<Vec<_>>().join(", ")
        );
    }
    Ok(())
}

/// What the run was of, if it was of the whole checkout as it is, and all went well.
fn faithful<'a>(root: &Path, out: &Path, account: &'a Account) -> Result<&'a Sources> {
    let ended: Vec<String> = account
        .notebooks
        .iter()
        .filter(|ran| ran.verdict != Exit::Well.name())
        .map(|ran| format!("{} ({})", name(&ran.source), ran.verdict))
        .collect();
    ensure!(ended.is_empty(), "not all is well with the run in {}: {}", out.display(), ended.join(", "));
    ensure!(
        account.parameters.is_empty(),
        "the run had other parameters than the notebooks' own: {}",
        account.parameters.join(", ")
    );
    let Some(sources) = &account.sources else {
        bail!("the run in {} was of no checkout that git knows: nobody could say of what", out.display());
    };
    let same = |a: &Path, b: &Path| fs::canonicalize(a).ok() == fs::canonicalize(b).ok();
    ensure!(
        same(&sources.root, root),
        "the run in {} was of another checkout, {}",
        out.display(),
        sources.root.display()
    );
    let ran: BTreeSet<PathBuf> =
        account.notebooks.iter().filter_map(|ran| fs::canonicalize(&ran.source).ok()).collect();
    let left_out: Vec<String> = notebooks_in(&root.join("notebooks"), out)?
        .iter()
        .filter(|file| fs::canonicalize(file).is_ok_and(|file| !ran.contains(&file)))
        .map(|file| name(file))
        .collect();
    ensure!(
        left_out.is_empty(),
        "the run in {} left out {}: a record is of all notebooks, `igpt run --profile {}`",
        out.display(),
        left_out.join(", "),
        account.profile
    );
    let now = Sources::of(root).context("git does not say what is in this checkout")?;
    let other = account.notebooks.iter();
    let other = other.filter(|ran| cells_sha256(&ran.source).is_ok_and(|sha256| sha256 != ran.cells_sha256));
    let mut other: Vec<String> = other.map(|ran| ran.name.clone()).collect();
    if now.sha256 != sources.sha256 {
        other.push("what notebooks use (the library, data, papers or the command)".into());
    }
    ensure!(
        other.is_empty(),
        "the run in {} is of other sources than this checkout has now: {}. Run again",
        out.display(),
        other.join(", ")
    );
    Ok(sources)
}

/// The record of one paper.
fn of_paper(
    root: &Path,
    paper: &str,
    account: &Account,
    sources: &Sources,
    lost: &mut BTreeSet<String>,
) -> Result<Recorded> {
    let listed = listed(&root.join("papers"), paper);
    let place = |key: &str| listed.iter().position(|claim| claim.key == key).unwrap_or(listed.len());
    // Of two notebooks that judge one claim the later one counts, as in the report.
    let mut judged: BTreeMap<(usize, &str), (&str, &Judged)> = BTreeMap::new();
    let mut notebooks = Vec::new();
    let mut results: Vec<OfResult> = Vec::new();
    let mut data = BTreeSet::new();
    for ran in &account.notebooks {
        let mut of_this = ran.claims.iter().filter(|of| of.paper == paper).peekable();
        if of_this.peek().is_none() {
            continue;
        }
        for of in of_this {
            judged.insert((place(&of.claim), &of.claim), (&ran.name, &of.judged));
        }
        let cells = ran.cells_sha256.clone();
        notebooks.push(OfNotebook { name: ran.name.clone(), cells, seconds: ran.seconds });
        for used in &ran.results {
            if results.iter().any(|result| result.key == used.key) {
                continue;
            }
            let mut result = OfResult {
                step: used.step.clone(),
                key: used.key.clone(),
                seconds: used.wall_ms as f64 / 1000.0,
                ..OfResult::default()
            };
            match account.store.as_deref().and_then(|store| stored::find(store, &used.key).ok()) {
                Some(Provenance { seed, device, commit, date, data: read, .. }) => {
                    data.extend(read);
                    result = OfResult { seed, device: Some(device), commit, date: Some(date), ..result };
                }
                None => drop(lost.insert(format!("{} {}", used.step, short(&used.key)))),
            }
            results.push(result);
        }
    }
    let devices: BTreeSet<String> = results.iter().filter_map(|result| result.device.clone()).collect();
    let claims =
        judged.into_iter().map(|((_, claim), (notebook, judged))| judgement(claim, notebook, judged));
    let settings = settings(root, &account.profile)?;
    let run = Recorded {
        key: String::new(),
        schema: 0,
        paper: paper.to_owned(),
        profile: account.profile.clone(),
        date: account.date.clone(),
        commit: sources.commit.clone(),
        uncommitted: sources.uncommitted.clone(),
        sources: sources.sha256.clone(),
        igpt: account.igpt.clone(),
        processor: account.processor.clone(),
        devices: devices.into_iter().collect(),
        seeds: seeds(&settings),
        data: data.into_iter().collect::<Vec<Data>>(),
        claims: claims.collect(),
        notebooks,
        results,
        settings,
    };
    Ok(run.sealed())
}

/// The seeds whose networks a profile compares, as the library reads its settings: `seeds`, else that of the training. A result may
/// have another one: what draws subsets of labelled images, say.
fn seeds(settings: &toml::Table) -> Vec<u64> {
    let number = |value: &toml::Value| value.as_integer().and_then(|seed| u64::try_from(seed).ok());
    match settings.get("seeds").and_then(toml::Value::as_array) {
        Some(all) if !all.is_empty() => all.iter().filter_map(number).collect(),
        _ => settings.get("training").and_then(|t| t.get("seed")).and_then(number).into_iter().collect(),
    }
}

fn judgement(claim: &str, notebook: &str, judged: &Judged) -> Judgement {
    let known = |number: Option<f64>| number.unwrap_or(f64::NAN);
    let interval = |low: Option<f64>, high: Option<f64>| low.zip(high).map(|(low, high)| [low, high]);
    let (mut numbers, mut effects, mut order) = (Vec::new(), Vec::new(), None);
    match &judged.measured {
        Measured::Nothing => {}
        Measured::Numbers(all) => numbers = all.iter().map(|number| known(*number)).collect(),
        Measured::Effects(all) => {
            let effect = |e: &journal::Effect| Effect {
                mean: known(e.mean),
                interval: interval(e.low, e.high),
                seeds: e.seeds,
                images: e.images,
            };
            effects = all.iter().map(effect).collect();
        }
        Measured::Order(o) => {
            let interval = interval(o.low, o.high);
            order = Some(Order { correlation: known(o.correlation), interval, pairs: o.pairs });
        }
    }
    Judgement {
        claim: claim.to_owned(),
        kind: judged.of.clone(),
        verdict: judged.verdict.clone(),
        reported: judged.reported.clone(),
        ours: judged.ours.clone(),
        numbers,
        effects,
        order,
        notebook: notebook.to_owned(),
        results: judged.results.iter().map(|key| short(key).to_owned()).collect(),
    }
}

/// What the profile's file says.
fn settings(root: &Path, profile: &str) -> Result<toml::Table> {
    let mut files = profiles::folders(root).into_iter().map(|folder| folder.join(format!("{profile}.toml")));
    let file = files.find(|file| file.is_file()).with_context(|| format!("there is no profile {profile}"))?;
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    text.parse().with_context(|| format!("{} is not TOML", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_those_of_the_profile() {
        for (text, expected) in [
            ("[training]\nseed = 3", vec![3]),
            ("seeds = [1, 2]\n[training]\nseed = 1", vec![1, 2]),
            ("seeds = []\n[training]\nseed = 1", vec![1]),
            ("[training]\nsteps = 1", vec![]),
        ] {
            assert_eq!(seeds(&text.parse().unwrap()), expected, "{text}");
        }
    }
}
