//! `igpt record`: keeps what came of the last run in the papers' folders.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use super::{
    made,
    recorded::{self, Recorded},
};
use crate::profiles;
use crate::run::{
    account::{Account, OfPaper, Sources, cells_sha256},
    exit::Exit,
    journal::short,
    listed::{is_name, listed},
    notebook::{name, write_atomically},
    select::notebooks_of,
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
    /// Record a run, too, of whose results the experiment store cannot say where they come from; the record names them
    #[arg(long)]
    without_provenance: bool,
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
    for paper in of_papers {
        ensure!(
            is_name(paper) && papers.join(paper).join("claims.toml").is_file(),
            "a notebook judged claims of a paper {paper:?}, of which {} has no claims.toml",
            papers.display()
        );
        let file = recorded::file(&papers, paper, &account.profile);
        let replaced = may_be_written(&file)?;
        files.push((file, of_paper(&out, paper, &account)?, replaced));
    }
    let missing: BTreeSet<String> = files
        .iter()
        .flat_map(|(_, run, _)| run.missing())
        .map(|(result, why)| format!("{} {} ({why})", result.step, short(&result.key)))
        .collect();
    let missing: Vec<String> = missing.into_iter().collect();
    ensure!(
        words.without_provenance || missing.is_empty(),
        "nobody knows where these results come from: {}. Run again, with the store where the notebooks find it, or record the run so \
         with --without-provenance",
        missing.join("; ")
    );
    // All or none, as far as that goes.
    for (file, run, replaced) in &files {
        write_atomically(file, run.to_text().as_bytes())?;
        let words = run.in_words(&listed(&papers, &run.paper));
        println!("{}: run {}{replaced}. {words}", file.display(), run.key);
    }
    if !missing.is_empty() {
        println!("without where these results come from: {}", missing.join("; "));
    }
    Ok(())
}

/// What is said of a file that is written over; nothing of one that is not there.
///
/// # Errors
/// One that is none of ours, or was damaged: somebody may miss what stands in it.
fn may_be_written(file: &Path) -> Result<String> {
    if !file.exists() {
        return Ok(String::new());
    }
    let named = || {
        format!(
            "{} stays as it is; move it away if nobody needs it, or give the profile another name",
            file.display()
        )
    };
    let old = fs::read_to_string(file).with_context(named)?;
    recorded::may_go(&old).with_context(named)?;
    let old = Recorded::parse(&old);
    Ok(old.map_or_else(
        |_| ", in place of one of an earlier form".into(),
        |old| format!(", in place of {}", old.key),
    ))
}

/// The record of a paper that the run made when it ended.
fn of_paper(out: &Path, paper: &str, account: &Account) -> Result<Recorded> {
    let file = made::file(out, paper).with_context(|| format!("{paper:?} is no name of a paper"))?;
    let run = Recorded::read(&file).context("the run left no record: run again")?;
    ensure!(
        run.paper == *paper && run.date == account.date && run.profile == account.profile,
        "{} is of another run than {}: run again",
        file.display(),
        out.join(crate::run::account::FILE).display()
    );
    Ok(run)
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
    let sources = match &account.sources {
        Ok(sources) => sources,
        Err(why) => bail!("nobody could say what the run in {} was of: {why}", out.display()),
    };
    let same =
        |a: &Path, b: &Path| fs::canonicalize(a).is_ok_and(|a| fs::canonicalize(b).is_ok_and(|b| a == b));
    ensure!(
        same(&sources.root, root),
        "the run in {} was of another checkout, {}",
        out.display(),
        sources.root.display()
    );
    let canonical = |file: &Path| fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let ran: BTreeSet<PathBuf> = account.notebooks.iter().map(|ran| canonical(&ran.source)).collect();
    let folder = root.join("notebooks");
    let there: BTreeSet<PathBuf> = notebooks_of(&folder)?.iter().map(|file| canonical(file)).collect();
    // One that is gone is told of below.
    let within = canonical(&folder);
    let elsewhere = ran.difference(&there).filter(|file| file.exists() || !file.starts_with(&within));
    let elsewhere: Vec<String> = elsewhere.map(|file| file.display().to_string()).collect();
    ensure!(
        elsewhere.is_empty(),
        "the run in {} had notebooks that are not in {}, so nobody would find them there: {}. Run without them",
        out.display(),
        folder.display(),
        elsewhere.join(", ")
    );
    // A profile may list those that it can compute.
    let listed = profiles::notebooks(root, &account.profile)?;
    let is_meant = |name: &String| listed.as_ref().is_none_or(|listed| listed.contains(name));
    let left_out: Vec<String> = there.difference(&ran).map(|file| name(file)).filter(is_meant).collect();
    ensure!(
        left_out.is_empty(),
        "the run in {} left out {}: a record is of all notebooks of the profile, `igpt run --profile {}`",
        out.display(),
        left_out.join(", "),
        account.profile
    );
    let now = Sources::of(root).context("git does not say what is in this checkout")?;
    let other = account.notebooks.iter();
    // One that is gone, or cannot be read any more, is another one, too.
    let other = other.filter(|ran| !cells_sha256(&ran.source).is_ok_and(|sha256| sha256 == ran.cells_sha256));
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
    let differing = judged_differently(account);
    ensure!(
        differing.is_empty(),
        "two notebooks of the run judged one claim, and not alike: {}. Let one of them judge it",
        differing.join("; ")
    );
    Ok(sources)
}

/// Claims of which two notebooks do not say the same.
fn judged_differently(account: &Account) -> Vec<String> {
    let mut first: BTreeMap<(&str, &str), (&str, &OfPaper)> = BTreeMap::new();
    let mut differing = Vec::new();
    for (ran, of) in
        account.notebooks.iter().flat_map(|ran| ran.claims.iter().map(move |of| (&*ran.name, of)))
    {
        let (before, of_before) = *first.entry((&of.paper, &of.claim)).or_insert((ran, of));
        let (a, b) = (&of_before.judged, &of.judged);
        let alike =
            (&a.verdict, &a.ours, &a.label, &a.measured) == (&b.verdict, &b.ours, &b.label, &b.measured);
        if !alike {
            let said = |name: &str, of: &OfPaper| format!("{name} {}, {}", of.judged.verdict, of.judged.ours);
            differing.push(format!("{} ({}; {})", of.claim, said(before, of_before), said(ran, of)));
        }
    }
    differing
}
