//! What came of papers' claims, in a table for each paper: the part of a report that a reviewer reads first.

use crate::run::{
    Run,
    claims::{Claims, OfRun},
    listed::{Listed, NOT_JUDGED},
    outcome::Outcome,
    results::recorded::Recorded,
    text::escape,
};

/// Of each paper, each finding that was judged, with what the paper reports, ours and where it comes from, the verdict, which leads to the
/// cell that made it, and the verdict of the recorded run; then, folded, the checks, the claims that were not judged, with the reason, and
/// where this run and the recorded one come from. Nothing if no notebook judged any.
pub fn claims(run: &Run, ids: &[String]) -> String {
    if run.claims.is_empty() {
        return String::new();
    }
    let papers: String = run.claims.iter().map(|claims| of_paper(claims, run, ids)).collect();
    format!(
        "<section id=\"claims\"><h2>Findings and checks</h2>\n<p class=\"soft\">A finding is something that the data could \
         have refuted; a check is an identity of arithmetic, or what the code must do if it works, and says nothing of the world. [ ]: 95 % interval. \
         What is reported was read in the paper, or in a source of its authors, unless <em>derived</em> (by arithmetic) or <em>digitised</em> \
         (in an image of a figure) stands beside it.</p>\n\
         {papers}</section>\n"
    )
}

fn of_paper(claims: &Claims, run: &Run, ids: &[String]) -> String {
    let (mut findings, mut checks, mut untested) = (Rows::default(), Rows::default(), Rows::default());
    let row = |claim: &Listed, of_run: &OfRun| row(claim, of_run, claims, run, ids);
    for claim in &claims.listed {
        match claims.of_run(&claim.key) {
            Some(of_run) if of_run.judged.of == "check" => checks.push(row(claim, of_run)),
            Some(of_run) => findings.push(row(claim, of_run)),
            None => {
                let why = claim.untested.as_deref().unwrap_or(NOT_JUDGED);
                let cells =
                    [&claim.section, &claim.statement, why].map(|text| format!("<td>{}</td>", escape(text)));
                untested.push(format!("<tr>{}</tr>\n", cells.concat()));
            }
        }
    }
    for (key, of_run) in claims.unlisted() {
        let statement = format!("{key}, which no list has");
        let claim =
            Listed { key: key.clone(), kind: of_run.judged.of.clone(), statement, ..Listed::default() };
        findings.push(row(&claim, of_run));
    }
    let mut judged = vec!["Section", "Claim", "Reported", "Ours", "Verdict"];
    let (column, folded) = match &claims.recorded {
        Ok(Some(recorded)) => {
            (Some(format!("Recorded ({})", escape(&recorded.key))), provenance(recorded, "the recorded run"))
        }
        Ok(None) => (None, String::new()),
        Err(why) => (None, format!("<p class=\"verdict bad\">The recorded run: {}</p>\n", escape(why))),
    };
    judged.extend(column.as_deref());
    let title = match run.claims.len() {
        1 => String::new(),
        _ => format!("<h3>{}</h3>\n", escape(&claims.title)),
    };
    format!(
        "{title}<p>{}.</p>\n{}{}{}{this}{folded}",
        escape(&claims.in_words()),
        findings.table("findings", &judged),
        checks.folded("check", &judged),
        untested.folded("claim that nothing here judged", &["Section", "Claim", "Why"]),
        this = match run.to_come.is_empty() {
            true => provenance(&claims.run, "this run"),
            // Its key comes with its end.
            false => String::new(),
        },
    )
}

/// Where a run comes from, folded.
fn provenance(run: &Recorded, name: &str) -> String {
    let results: String =
        run.results.iter().map(|result| format!("<li>{}</li>\n", escape(&result.in_words()))).collect();
    format!(
        "<details><summary>Where {name}, {}, comes from</summary>\n<div class=\"wide\" tabindex=\"0\" role=\"region\" \
         aria-label=\"{name}, {}\">{}</div>\n<p>Stored results that its notebooks used:</p>\n\
         <ul>\n{results}</ul>\n<p>Settings of the profile:</p>\n<pre>{}</pre>\n</details>\n",
        escape(&run.key),
        escape(&run.key),
        facts(run.provenance()),
        escape(&toml::to_string(&run.profile_settings).unwrap_or_default()),
    )
}

/// Names and values.
fn facts(facts: Vec<(&'static str, String)>) -> String {
    let row = |(name, value): (&str, String)| {
        let value = escape(&value).replace('\n', "<br>");
        format!("<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>\n")
    };
    format!("<table><tbody>\n{}</tbody></table>", facts.into_iter().map(row).collect::<String>())
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

fn row(claim: &Listed, of_run: &OfRun, claims: &Claims, run: &Run, ids: &[String]) -> String {
    let class = class(&of_run.judged.verdict);
    let outcome = run.outcomes.get(of_run.notebook);
    let id = ids.get(of_run.notebook).map_or("summary", String::as_str);
    let cell = outcome.and_then(|outcome| cell_of(outcome, &claim.key));
    let target = cell.map_or_else(|| id.to_owned(), |number| format!("{id}-cell-{number}"));
    format!(
        "<tr><td>{}</td><td>{} <span class=\"soft\">({})</span></td><td class=\"reported\">{}</td><td class=\"ours\">{}{}</td>\
         <td><a href=\"#{target}\" class=\"verdict {class}\">{}</a></td>{}</tr>\n",
        escape(&claim.section),
        escape(&claim.statement),
        escape(&claim.kind),
        escape(&of_run.judged.reported),
        escape(&of_run.judged.ours),
        origin(claim, claims),
        escape(&of_run.judged.verdict),
        recorded(claim, of_run, claims),
    )
}

/// Where the numbers of a claim come from, folded; before that of what they are, where it is not the profile as it is.
fn origin(claim: &Listed, claims: &Claims) -> String {
    let Some(of_claim) = claims.run.claim(&claim.key) else { return String::new() };
    let apart =
        claims.run.apart(of_claim).map(|of| format!("<br><span class=\"soft\">{}</span>", escape(of)));
    let facts = facts(claims.run.provenance_of(of_claim));
    format!("{}<details><summary>from</summary>{facts}</details>", apart.unwrap_or_default())
}

/// The column of the recorded run, where there is one: its verdict, its numbers where they are others, and why these cannot be compared,
/// where they cannot.
fn recorded(claim: &Listed, of_run: &OfRun, claims: &Claims) -> String {
    let Ok(Some(run)) = &claims.recorded else { return String::new() };
    let Some(recorded) = run.claim(&claim.key) else {
        return "<td class=\"recorded\">not judged</td>".into();
    };
    let numbers = match recorded.ours == of_run.judged.ours {
        true => String::new(),
        false => format!("<br><span class=\"soft\">{}</span>", escape(&recorded.ours)),
    };
    let unlike = claims.run.unlike(run, &claim.key);
    let unlike =
        if unlike.is_empty() { String::new() } else { format!("<br><strong>{}</strong>", unlike.join(", ")) };
    let (class, verdict) = (class(&recorded.verdict), escape(&recorded.verdict));
    format!("<td class=\"recorded\"><span class=\"verdict {class}\">{verdict}</span>{numbers}{unlike}</td>")
}

fn class(verdict: &str) -> &'static str {
    match verdict {
        "supported" | "passed" => "good",
        "not supported at this scale" | "failed" => "bad",
        _ => "open",
    }
}

/// The number of the code cell that names the claim.
fn cell_of(outcome: &Outcome, key: &str) -> Option<usize> {
    let name = format!("\"{key}\"");
    outcome.cells.iter().find(|run| run.cell.source.contains(&name)).map(|run| run.cell.number)
}
