//! The records of a run: made when it ends, into `records/` of the output folder, where `igpt record` takes them from.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{
    recorded::{OfClaim, OfNotebook, OfResult, Recorded},
    stored,
};
use crate::{
    profiles,
    run::{
        account::{Account, Ran},
        journal::{Data, Judged, Measured, Use},
        listed::{is_name, listed},
    },
};

/// The folder in the output folder.
pub const FOLDER: &str = "records";

/// The file of a paper's record in an output folder; none for a name that is none of a folder.
pub fn file(out: &Path, paper: &str) -> Option<PathBuf> {
    is_name(paper).then(|| out.join(FOLDER).join(format!("{paper}.toml")))
}

/// Those of an earlier run go: they are not this one's.
pub fn begin(out: &Path) {
    let _ = fs::remove_dir_all(out.join(FOLDER));
}

/// Of each paper of which a notebook judged a claim, by name: the record. `root` is the checkout, if there is one. Whether a run may be
/// kept is no question here.
pub fn of_run(root: Option<&Path>, account: &Account) -> Vec<Recorded> {
    let papers: BTreeSet<&String> =
        account.notebooks.iter().flat_map(|ran| ran.claims.iter().map(|of| &of.paper)).collect();
    let settings = root.and_then(|root| settings(root, &account.profile).ok()).unwrap_or_default();
    papers.into_iter().map(|paper| of_paper(root, paper, account, &settings)).collect()
}

fn of_paper(root: Option<&Path>, paper: &str, account: &Account, settings: &toml::Table) -> Recorded {
    let listed = match root {
        Some(root) if is_name(paper) => listed(&root.join("papers"), paper),
        _ => Vec::new(),
    };
    let place = |key: &str| listed.iter().position(|claim| claim.key == key).unwrap_or(listed.len());
    // Of two notebooks that judge one claim the later one counts, as in the report.
    let mut claims: BTreeMap<(usize, &str), OfClaim> = BTreeMap::new();
    let mut results: Vec<OfResult> = Vec::new();
    let mut data = BTreeSet::new();
    for ran in account.notebooks.iter().filter(|ran| ran.claims.iter().any(|of| of.paper == paper)) {
        for of in ran.claims.iter().filter(|of| of.paper == paper) {
            let at = place(&of.claim);
            let criterion = listed.get(at).map(|claim| claim.criterion_sha256.clone()).unwrap_or_default();
            claims.insert((at, &of.claim), of_claim(&of.claim, criterion, ran, &of.judged));
        }
        data.extend(ran.data.iter().cloned());
        for used in &ran.results {
            if !results.iter().any(|result| result.key == used.key) {
                let result = of_result(account.store.as_deref(), used);
                data.extend(result.data());
                results.push(result);
            }
        }
    }
    let devices: BTreeSet<String> = results.iter().filter_map(|result| result.device.clone()).collect();
    let sources = account.sources.clone().unwrap_or_default();
    let run = Recorded {
        key: String::new(),
        schema: 0,
        paper: paper.to_owned(),
        profile: account.profile.clone(),
        profile_labels: account.profile_labels.iter().cloned().collect(),
        date: account.date.clone(),
        commit: sources.commit,
        uncommitted: sources.uncommitted,
        sources: sources.sha256,
        igpt: account.igpt.clone(),
        processor: account.processor.clone(),
        devices: devices.into_iter().collect(),
        data: data.into_iter().collect::<Vec<Data>>(),
        claims: claims.into_values().collect(),
        notebooks: account.notebooks.iter().map(|ran| of_notebook(root, ran)).collect(),
        results,
        profile_settings: settings.clone(),
    };
    run.sealed()
}

fn of_notebook(root: Option<&Path>, ran: &Ran) -> OfNotebook {
    let file = root.and_then(|root| ran.source.strip_prefix(root).ok()).unwrap_or(&ran.source);
    OfNotebook {
        name: ran.name.clone(),
        file: file.to_string_lossy().into_owned(),
        cells: ran.cells_sha256.clone(),
        seconds: ran.seconds,
        data: ran.data.iter().map(|data| data.name.clone()).collect(),
    }
}

fn of_result(store: Option<&Path>, used: &Use) -> OfResult {
    let result = OfResult {
        step: used.step.clone(),
        key: used.key.clone(),
        seconds: used.wall_ms as f64 / 1000.0,
        ..OfResult::default()
    };
    let Some(store) = store else {
        return OfResult { missing: Some("it is not known where results are kept".into()), ..result };
    };
    match stored::of(store, &used.step, &used.key) {
        Ok(Some(found)) => OfResult {
            seed: found.seed,
            device: Some(found.device),
            commit: found.commit,
            date: Some(found.date),
            description: Some(found.description),
            ..result
        },
        Ok(None) => OfResult { missing: Some(format!("it is not in {}", store.display())), ..result },
        Err(error) => OfResult { missing: Some(format!("{error:#}")), ..result },
    }
}

fn of_claim(claim: &str, criterion: String, ran: &Ran, judged: &Judged) -> OfClaim {
    let (mut numbers, mut effects, mut order) = (Vec::new(), Vec::new(), None);
    match &judged.measured {
        Measured::Nothing => {}
        Measured::Numbers(all) => numbers = all.iter().map(|number| number.unwrap_or(f64::NAN)).collect(),
        Measured::Effects(all) => effects = all.clone(),
        Measured::Order(measured) => order = Some(measured.clone()),
    }
    OfClaim {
        claim: claim.to_owned(),
        kind: judged.of.clone(),
        criterion,
        verdict: judged.verdict.clone(),
        reported: judged.reported.clone(),
        ours: judged.ours.clone(),
        label: judged.label.clone(),
        numbers,
        effects,
        order,
        notebook: ran.name.clone(),
        results: judged.results.iter().map(|key| crate::run::journal::short(key).to_owned()).collect(),
    }
}

/// What the profile's file says.
///
/// # Errors
/// If there is none, or there are two, or it is no TOML.
pub fn settings(root: &Path, profile: &str) -> Result<toml::Table> {
    let file = profiles::file(root, profile)?;
    let file = file
        .with_context(|| format!("there is no profile {profile:?} in {}", root.join("papers").display()))?;
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    text.parse().with_context(|| format!("{} is not TOML", file.display()))
}
