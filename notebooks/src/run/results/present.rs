//! Whether a recorded run is of what the checkout has now: notebooks, profile, criteria, and what the notebooks print.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use super::recorded::{OfClaim, Recorded};
use crate::{
    profiles,
    run::{
        account::cells_sha256,
        listed::{Listed, listed},
        notebook::{Notebook, joined},
        select::notebooks_of,
    },
};

/// In what a recorded run differs from the checkout, a phrase each; nothing if it is of what the checkout has now.
///
/// # Errors
/// The notebooks cannot be listed.
pub fn differences(root: &Path, run: &Recorded) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let there = notebooks_of(&root.join("notebooks"))?;
    let file = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
    for path in &there {
        let file = file(path);
        match run.notebooks.iter().find(|notebook| notebook.file == file) {
            None => found.push(format!("{file} was not in the run")),
            Some(recorded) => match cells_sha256(path) {
                Ok(now) if now == recorded.cells => {}
                Ok(_) => found.push(format!("{file} has other cells now")),
                Err(error) => found.push(format!("{error:#}")),
            },
        }
    }
    for notebook in &run.notebooks {
        if !there.iter().any(|path| file(path) == notebook.file) {
            found.push(format!("{} is not there any more", notebook.file));
        }
    }
    match profiles::settings(root, &run.profile) {
        Ok(now) if now == run.profile_settings => {}
        Ok(_) => found.push(format!("the profile {} has other settings now", run.profile)),
        Err(error) => found.push(format!("{error:#}")),
    }
    let listed = listed(&root.join("papers"), &run.paper);
    for claim in listed.iter().filter(|claim| claim.untested.is_none() && run.claim(&claim.key).is_none()) {
        found.push(format!("no notebook of the run judged {}", claim.key));
    }
    for claim in &run.claims {
        match listed.iter().find(|listed| listed.key == claim.claim) {
            None => found.push(format!("the paper's list has no claim {} any more", claim.claim)),
            Some(now) if now.criterion_sha256 != claim.criterion => {
                found.push(format!("the claim {} has another statement or criterion now", claim.claim));
            }
            Some(now) => found.extend(printed(root, run, claim, now)),
        }
    }
    Ok(found)
}

/// What the committed outputs of its notebook say else of a claim; nothing if they say the same.
fn printed(root: &Path, run: &Recorded, claim: &OfClaim, listed: &Listed) -> Option<String> {
    let notebook = run.notebooks.iter().find(|notebook| notebook.name == claim.notebook);
    let Some(notebook) = notebook else {
        return Some(format!("{} was judged by {}, which was not in the run", claim.claim, claim.notebook));
    };
    // The notebooks are committed with the outputs of the usual profile.
    if run.profile != profiles::USUAL {
        return None;
    }
    // One that cannot be read is told of already.
    let read = Notebook::read(&root.join(&notebook.file)).ok()?;
    let statement = format!("{} ({})", listed.statement, listed.kind);
    let rows = rows(&read);
    let Some(row) = rows.iter().rfind(|row| row.first() == Some(&statement)) else {
        return Some(format!("{} prints nothing of {}", notebook.file, claim.claim));
    };
    let [_, reported, ours, verdict, ..] = &row[..] else {
        return Some(format!("{} prints no verdict of {}", notebook.file, claim.claim));
    };
    // ✓ supported
    let verdict = verdict.split_once('\u{a0}').map_or(&**verdict, |(_, verdict)| verdict);
    (*reported != claim.reported || *ours != claim.ours || verdict != claim.verdict).then(|| {
        format!(
            "{} prints of {}: {reported}, {ours}, {verdict}; recorded: {}, {}, {}",
            notebook.file, claim.claim, claim.reported, claim.ours, claim.verdict
        )
    })
}

/// The rows of all tables in a notebook's outputs, as the library shows tables: a text for each cell.
fn rows(notebook: &Notebook) -> Vec<Vec<String>> {
    let outputs = (0..notebook.cells().len()).flat_map(|position| notebook.outputs(position));
    let html = outputs.filter_map(|output: &Value| joined(&output["data"]["text/html"]));
    html.flat_map(|html| {
        let rows: Vec<Vec<String>> = html.split("<tr").skip(1).map(cells).collect();
        rows
    })
    .collect()
}

fn cells(row: &str) -> Vec<String> {
    let cell = |cell: &str| {
        let (_, text) = cell.split_once('>')?;
        Some(plain(text.split("</td>").next()?))
    };
    row.split("<td").skip(1).filter_map(cell).collect()
}

/// Text that the library has escaped.
fn plain(html: &str) -> String {
    let entities = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&nbsp;", "\u{a0}"),
        ("&amp;", "&"),
    ];
    entities.into_iter().fold(html.to_owned(), |text, (entity, plain)| text.replace(entity, plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::results::recorded::{self, OfNotebook};
    use serde_json::json;
    use std::fs;

    /// A checkout with a paper, a profile and a notebook whose table has this verdict and these numbers.
    fn checkout(ours: &str, verdict: &str) -> (tempfile::TempDir, Recorded) {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        write("papers/p/profiles/quick.toml", "a = 1\n");
        write(
            "papers/p/claims.toml",
            "[[claim]]\nkey = \"one\"\nkind = \"finding\"\nstatement = \"It isn't < 1.\"\ncriterion = \"Above 1.\"\n",
        );
        let html = format!(
            "<table>\n<thead><tr><th>Claim</th></tr></thead>\n<tbody>\n<tr style=\"x\"><td style=\"y\">It isn&#39;t &lt; 1. (finding)</td>\
             <td>2.4</td><td>{ours}</td><td style=\"z\">✓\u{a0}{verdict}</td><td>Above 1.</td></tr>\n</tbody></table>"
        );
        let cell = json!({"cell_type": "code", "source": "paper.compare(label)", "metadata": {}, "execution_count": 1,
            "outputs": [{"output_type": "execute_result", "data": {"text/html": [html]}, "metadata": {}, "execution_count": 1}]});
        let notebook = json!({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]});
        write("notebooks/1.ipynb", &notebook.to_string());
        let claim = OfClaim {
            claim: "one".into(),
            kind: "finding".into(),
            criterion: listed(&root.path().join("papers"), "p")[0].criterion_sha256.clone(),
            verdict: "supported".into(),
            reported: "2.4".into(),
            ours: "1.5 [1.2, 1.8]".into(),
            notebook: "1".into(),
            ..OfClaim::default()
        };
        let cells = cells_sha256(&root.path().join("notebooks/1.ipynb")).unwrap();
        let notebook =
            OfNotebook { name: "1".into(), file: "notebooks/1.ipynb".into(), cells, ..OfNotebook::default() };
        let run = Recorded {
            claims: vec![claim],
            notebooks: vec![notebook],
            profile_settings: "a = 1".parse().unwrap(),
            ..recorded::tests::example()
        };
        (root, run)
    }

    #[test]
    fn a_record_is_of_what_the_checkout_has() {
        let (root, run) = checkout("1.5 [1.2, 1.8]", "supported");
        let of = |run: &Recorded| differences(root.path(), run).unwrap();
        assert_eq!(of(&run), Vec::<String>::new());
        type Change = fn(&mut Recorded);
        for (change, what) in [
            (
                (|run| run.notebooks[0].cells = "beef".into()) as Change,
                "notebooks/1.ipynb has other cells now",
            ),
            (
                |run| run.profile_settings = "a = 2".parse().unwrap(),
                "the profile quick has other settings now",
            ),
            (|run| run.profile = "slow".into(), "there is no profile \"slow\""),
            (|run| run.claims[0].criterion = "beef".into(), "one has another statement or criterion now"),
            (|run| run.claims[0].claim = "two".into(), "no claim two any more"),
            (
                |run| run.claims[0].ours = "1.6".into(),
                "prints of one: 2.4, 1.5 [1.2, 1.8], supported; recorded: 2.4, 1.6",
            ),
            (|run| run.claims[0].reported = "2.5".into(), "recorded: 2.5, 1.5"),
            (|run| run.claims[0].verdict = "plateau".into(), "recorded: 2.4, 1.5 [1.2, 1.8], plateau"),
            (
                |run| run.notebooks[0].file = "notebooks/2.ipynb".into(),
                "notebooks/1.ipynb was not in the run",
            ),
            (
                |run| run.notebooks[0].file = "notebooks/2.ipynb".into(),
                "notebooks/2.ipynb is not there any more",
            ),
        ] {
            let mut other = run.clone();
            change(&mut other);
            let found = of(&other);
            assert!(found.iter().any(|found| found.contains(what)), "{what}: {found:?}");
        }
        fs::write(root.path().join("notebooks/1.ipynb"), "{").unwrap();
        assert!(of(&run).iter().any(|found| found.contains("is not a notebook")), "{:?}", of(&run));
    }

    #[test]
    fn what_a_notebook_prints_is_compared() {
        let (root, run) = checkout("1.5 [1.2, 1.8]", "inconclusive");
        let found = differences(root.path(), &run).unwrap();
        assert!(found.len() == 1 && found[0].contains("inconclusive; recorded"), "{found:?}");
    }

    /// The tables are read as the library writes them: each claim that a committed notebook judges is found in its outputs.
    #[test]
    fn claims_are_found_in_what_committed_notebooks_print() {
        let root = crate::repository::root().unwrap();
        let papers = root.join("papers");
        let listed: Vec<Listed> = crate::files::folders(&papers)
            .iter()
            .flat_map(|paper| listed(&papers, &paper.file_name().unwrap().to_string_lossy()))
            .collect();
        let mut found = 0;
        for path in notebooks_of(&root.join("notebooks")).unwrap() {
            let notebook = Notebook::read(&path).unwrap();
            let sources: String = notebook.code_cells().iter().map(|cell| cell.source.clone()).collect();
            let rows = rows(&notebook);
            for claim in listed.iter().filter(|claim| sources.contains(&format!(".claim(\"{}\"", claim.key)))
            {
                let statement = format!("{} ({})", claim.statement, claim.kind);
                let row = rows.iter().find(|row| row[..].first() == Some(&statement));
                let row = row.unwrap_or_else(|| panic!("{}: {}", path.display(), claim.key));
                assert!(row.len() == 5 && row[3].contains('\u{a0}') && !row[2].is_empty(), "{row:?}");
                found += 1;
            }
        }
        assert!(found > 20, "{found}");
    }

    /// Each committed record is of the notebooks, the profile and the criteria that are committed beside it. Where this fails, the
    /// notebooks have to be run and recorded again: docs/results.md. Of a profile that takes long, cells may have changed since: reports
    /// and `igpt results` say so.
    #[test]
    fn committed_records_are_of_what_is_committed() {
        let root = crate::repository::root().unwrap();
        let runs = recorded::all(&root.join("papers")).unwrap();
        for paper in ["igpt", "simclr"] {
            let of_paper = |run: &&Recorded| run.paper == paper && run.profile == profiles::USUAL;
            assert!(
                runs.iter().any(|run| of_paper(&run)),
                "no run of the profile quick is recorded for {paper}"
            );
        }
        let found: Vec<String> = runs
            .iter()
            .flat_map(|run| {
                let found = differences(&root, run).unwrap();
                let may_be =
                    |what: &String| run.profile != profiles::USUAL && what.ends_with("has other cells now");
                found
                    .into_iter()
                    .filter(|what| !may_be(what))
                    .map(|what| format!("{} {}: {what}", run.paper, run.profile))
                    .collect::<Vec<_>>()
            })
            .collect();
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}
