//! What came of the paper's claims, in one table: the part of a report that a reviewer reads first.

use crate::run::{
    Run,
    claims::{Listed, OfRun},
    outcome::Outcome,
    text::escape,
};

/// Each finding that was judged, with what the paper reports, ours, and the verdict, which leads to the cell that made it; then,
/// folded, the checks, and the claims that nothing tests, with the reason. Nothing if no notebook judged any.
pub fn claims(run: &Run, ids: &[String]) -> String {
    let Some(sentence) = run.claims.in_words() else { return String::new() };
    let (mut findings, mut checks, mut untested) = (Rows::default(), Rows::default(), Rows::default());
    for claim in &run.claims.listed {
        match run.claims.of_run(&claim.key) {
            Some(of_run) if of_run.judged.of == "check" => checks.push(row(claim, of_run, run, ids)),
            Some(of_run) => findings.push(row(claim, of_run, run, ids)),
            None => {
                let why = claim.untested.as_deref().unwrap_or("no notebook of this run got to it");
                let cells =
                    [&claim.section, &claim.statement, why].map(|text| format!("<td>{}</td>", escape(text)));
                untested.push(format!("<tr>{}</tr>\n", cells.concat()));
            }
        }
    }
    for (key, of_run) in run.claims.unlisted() {
        let statement = format!("{key}, which no list has");
        let claim =
            Listed { key: key.clone(), kind: of_run.judged.of.clone(), statement, ..Listed::default() };
        findings.push(row(&claim, of_run, run, ids));
    }
    let judged = ["Section", "Claim", "Reported", "Ours", "Verdict"];
    format!(
        "<section id=\"claims\"><h2>Findings and checks</h2>\n<p>{}.</p>\n<p class=\"soft\">A finding is something that the data could \
         have refuted; a check is an identity of arithmetic, or what the code must do if it works, and says nothing of the world. [ ]: 95 % interval.</p>\n\
         {}{}{}</section>\n",
        escape(&sentence),
        findings.table("findings", &judged),
        checks.folded("check", &judged),
        untested.folded("claim that nothing here tests", &["Section", "Claim", "Why"]),
    )
}

/// Rows of a table.
#[derive(Default)]
struct Rows {
    html: String,
    count: usize,
}

impl Rows {
    fn push(&mut self, row: String) {
        self.html.push_str(&row);
        self.count += 1;
    }

    /// A table that scrolls by itself where it is too wide; nothing without rows.
    fn table(&self, name: &str, headers: &[&str]) -> String {
        if self.count == 0 {
            return String::new();
        }
        let headers: String =
            headers.iter().map(|header| format!("<th scope=\"col\">{header}</th>")).collect();
        format!(
            "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{name}\"><table><thead><tr>{headers}</tr></thead>\
             <tbody>\n{}</tbody></table></div>\n",
            self.html
        )
    }

    fn folded(&self, what: &str, headers: &[&str]) -> String {
        if self.count == 0 {
            return String::new();
        }
        // "2 claims that …"
        let what = match (self.count, what.split_once(' ')) {
            (1, _) => format!("1 {what}"),
            (n, Some((first, rest))) => format!("{n} {first}s {rest}"),
            (n, None) => format!("{n} {what}s"),
        };
        format!("<details><summary>{what}</summary>\n{}</details>\n", self.table(&what, headers))
    }
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
    let name = format!("\"{key}\"");
    outcome.cells.iter().find(|run| run.cell.source.contains(&name)).map(|run| run.cell.number)
}
