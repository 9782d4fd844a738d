//! What came of the paper's claims, in one table: the part of a report that a reviewer reads first.

use std::fmt::Write as _;

use crate::run::{
    Run,
    claims::{Claims, Listed, OfRun},
    notebook::{Notebook, joined},
    outcome::Outcome,
    text::{count, escape},
};

/// Each claim that was judged, with what the paper reports, ours, and the verdict, which leads to the cell that made it; and those
/// that nothing tests, with the reason. Nothing if no notebook judged any.
pub fn claims(run: &Run, ids: &[String]) -> String {
    let Some(sentence) = run.claims.in_words() else { return String::new() };
    let (mut judged, mut untested) = (String::new(), String::new());
    let mut open = 0;
    for claim in &run.claims.listed {
        match run.claims.of_run(&claim.key) {
            Some(of_run) => judged.push_str(&row(claim, of_run, run, ids)),
            None => {
                open += 1;
                let why = claim.untested.as_deref().unwrap_or("no notebook of this run got to it");
                let _ = writeln!(
                    untested,
                    "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
                    escape(&claim.section),
                    escape(&claim.statement),
                    escape(why),
                );
            }
        }
    }
    for (key, of_run) in run.claims.unlisted() {
        let statement = format!("{key}, which no list has");
        let claim =
            Listed { key: key.clone(), kind: of_run.judged.of.clone(), statement, ..Listed::default() };
        judged.push_str(&row(&claim, of_run, run, ids));
    }
    if open > 0 {
        untested = format!(
            "<details id=\"untested\"><summary>{} that nothing here tests</summary>\n<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"untested claims\"><table><thead><tr>\
             <th scope=\"col\">Section</th><th scope=\"col\">Claim</th><th scope=\"col\">Why</th></tr></thead><tbody>\n{untested}</tbody></table></div></details>\n",
            count(open, "claim"),
        );
    }
    format!(
        "<section id=\"claims\"><h2>Findings and checks</h2>\n<p>{}.</p>\n<p class=\"soft\">A finding is something that the data could \
         have refuted; a check is an identity of arithmetic, or what the code must do if it works, and says nothing of the world. [ ]: 95 % interval.</p>\n\
         <div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"judged claims\"><table><thead><tr><th scope=\"col\">Section</th><th scope=\"col\">Claim</th><th scope=\"col\">Reported</th>\
         <th scope=\"col\">Ours</th><th scope=\"col\">Verdict</th></tr></thead><tbody>\n{judged}</tbody></table></div>\n{untested}</section>\n",
        escape(&sentence),
    )
}

fn row(claim: &Listed, of_run: &OfRun, run: &Run, ids: &[String]) -> String {
    let class = match of_run.judged.verdict.as_str() {
        "supported" | "passed" => "good",
        "not supported at this scale" | "failed" => "bad",
        _ => "open",
    };
    let outcome = run.outcomes.get(of_run.notebook);
    let id = ids.get(of_run.notebook).map_or("summary", String::as_str);
    let cell = outcome.and_then(|outcome| cell_of(outcome, &claim.key));
    let target = cell.map_or_else(|| id.to_owned(), |number| format!("{id}-cell-{number}"));
    format!(
        "<tr><td>{}</td><td>{} <span class=\"soft\">({})</span></td><td>{}</td><td>{}</td>\
         <td><a href=\"#{target}\" class=\"verdict {class}\">{}</a></td></tr>\n",
        escape(&claim.section),
        escape(&claim.statement),
        escape(&claim.kind),
        escape(&of_run.judged.reported),
        escape(&of_run.judged.ours),
        escape(&of_run.judged.verdict),
    )
}

/// The number of the code cell that names the claim.
fn cell_of(outcome: &Outcome, key: &str) -> Option<usize> {
    let notebook = Notebook::read(&outcome.executed).ok()?;
    let name = format!("\"{key}\"");
    let cells = notebook.code_cells();
    let cell = cells.iter().find(|cell| {
        let source = notebook.cells().get(cell.position).and_then(|cell| joined(&cell["source"]));
        source.is_some_and(|source| source.contains(&name))
    })?;
    Some(cell.number)
}

/// The same in Markdown, for a CI step's summary: judged claims only.
pub fn in_markdown(claims: &Claims) -> Option<String> {
    let sentence = claims.in_words()?;
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    let mut text = format!(
        "### Findings and checks\n\n{sentence}.\n\n| Section | Claim | Reported | Ours | Verdict |\n|---|---|---|---|---|\n"
    );
    for claim in &claims.listed {
        if let Some(OfRun { judged, .. }) = claims.of_run(&claim.key) {
            let _ = writeln!(
                text,
                "| {} | {} ({}) | {} | {} | {} |",
                cell(&claim.section),
                cell(&claim.statement),
                cell(&claim.kind),
                cell(&judged.reported),
                cell(&judged.ours),
                cell(&judged.verdict),
            );
        }
    }
    Some(text)
}
