//! The records of a run: made when it ends, into `records/` of the output folder, where `igpt record` takes them from.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::{
    recorded::{OfClaim, OfNotebook, OfResult, Recorded},
    stored,
};
use crate::{
    profiles,
    run::{
        account::{Account, Ran},
        journal::{Data, Judged, Measured, Use, short},
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
    let settings = root.and_then(|root| profiles::settings(root, &account.profile).ok()).unwrap_or_default();
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
    let mut results: BTreeMap<String, OfResult> = BTreeMap::new();
    let mut data = BTreeSet::new();
    for ran in account.notebooks.iter().filter(|ran| ran.claims.iter().any(|of| of.paper == paper)) {
        data.extend(ran.data.iter().cloned());
        let mut inputs: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for used in &ran.results {
            let all = with_inputs(account.store.as_deref(), of_use(account.store.as_deref(), used));
            inputs.insert(&used.key, all.iter().map(|result| result.key.clone()).collect());
            for result in all {
                data.extend(result.data());
                results.entry(result.key.clone()).or_insert(result);
            }
        }
        for of in ran.claims.iter().filter(|of| of.paper == paper) {
            let at = place(&of.claim);
            let criterion = listed.get(at).map(|claim| claim.criterion_sha256.clone()).unwrap_or_default();
            let used = of.judged.results.iter();
            let used: BTreeSet<String> = used
                .flat_map(|key| inputs.get(key.as_str()).cloned().unwrap_or_else(|| [key.clone()].into()))
                .collect();
            claims.insert((at, &of.claim), of_claim(&of.claim, criterion, ran, &of.judged, &used));
        }
    }
    let mut results: Vec<OfResult> = results.into_values().collect();
    results.sort_by(|a, b| (&a.step, &a.key).cmp(&(&b.step, &b.key)));
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

/// A result with all that it was computed from, directly or not. A notebook notes only what it asks for if that is there, and what
/// that needs only if it has to be computed; a record is to be the same in both cases.
fn with_inputs(store: Option<&Path>, result: OfResult) -> Vec<OfResult> {
    let mut all = vec![result];
    let mut next = 0;
    while let Some(result) = all.get(next) {
        let description = result.description.as_deref();
        // What cannot be read is no description of ours; `stored::read` has said so.
        let inputs = description.and_then(|text| stored::inputs_in(text).ok()).unwrap_or_default();
        for (step, key) in inputs {
            if !all.iter().any(|result| result.key == key) {
                all.push(of_result(store, step, key, None));
            }
        }
        next += 1;
    }
    all
}

fn of_use(store: Option<&Path>, used: &Use) -> OfResult {
    of_result(store, used.step.clone(), used.key.clone(), Some(used.wall_ms))
}

/// What the store says of a result; `wall_ms` is what a notebook was told, where one asked for it.
fn of_result(store: Option<&Path>, step: String, key: String, wall_ms: Option<u64>) -> OfResult {
    let seconds = wall_ms.unwrap_or_default() as f64 / 1000.0;
    let result = OfResult { step, key, seconds, ..OfResult::default() };
    let Some(store) = store else {
        return OfResult { missing: Some("it is not known where results are kept".into()), ..result };
    };
    match stored::of(store, &result.step, &result.key) {
        Ok(Some(found)) => OfResult {
            seconds: found.wall_ms as f64 / 1000.0,
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

fn of_claim(
    claim: &str,
    criterion: String,
    ran: &Ran,
    judged: &Judged,
    results: &BTreeSet<String>,
) -> OfClaim {
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
        results: results.iter().map(|key| short(key).to_owned()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Writes a result into a store as the library does, as far as it is read here.
    fn stored(store: &Path, step: &str, key: &str, seed: u64, inputs: &[(&str, &str)]) {
        let description = json!({"step": step, "inputs": inputs}).to_string();
        let provenance = json!({
            "step": step, "key": key, "description": description, "seed": seed, "device": "cpu", "threads": 2,
            "version": "0.1.0", "commit": null, "wall_ms": 1000 * seed, "date": "2026-01-01T00:00:00Z"
        });
        let folder = store.join(format!("{step}-{}", short(key))).join("result");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("manifest.json"), json!({"manifest": {"provenance": provenance}}).to_string())
            .unwrap();
    }

    #[test]
    fn what_a_result_was_computed_from_is_told_whether_the_store_was_full_or_not() {
        let store = tempfile::tempdir().unwrap();
        let store = store.path();
        let [training, features, probe] = ["a", "b", "c"].map(|digit| digit.repeat(64));
        stored(store, "pre-training", &training, 1, &[]);
        stored(store, "features", &features, 2, &[("pre-training", &training)]);
        stored(store, "linear-probe", &probe, 3, &[("features", &features), ("pre-training", &training)]);
        let told = |key: &str| {
            let result = of_result(Some(store), "linear-probe".into(), key.to_owned(), Some(7));
            with_inputs(Some(store), result)
        };
        let all = told(&probe);
        let seeds: Vec<_> =
            all.iter().map(|result| (result.step.as_str(), result.seed, result.seconds)).collect();
        assert_eq!(
            seeds,
            [("linear-probe", Some(3), 3.0), ("features", Some(2), 2.0), ("pre-training", Some(1), 1.0)]
        );

        // What is not there any more is told of, too.
        fs::remove_dir_all(store.join(format!("pre-training-{}", short(&training)))).unwrap();
        let all = told(&probe);
        assert!(all[2].step == "pre-training" && all[2].missing.as_ref().unwrap().contains("is not in"));
    }
}
