//! The HTML report: one file with everything in it.

mod ansi;
mod cells;
mod claims;
mod markdown;
mod rust;

use std::{fmt::Write as _, path::Path, process::Command};

use super::{
    Run, RunOptions,
    claims::Claims,
    journal,
    notebook::Notebook,
    outcome::{Outcome, Verdict},
    summary::{megabytes, notes, paragraphs, verdict_line},
    text::{count, escape},
};
use crate::host;

/// What a report may do: show what is in it. No output of a cell can run anything, or load anything from elsewhere.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/// The page for these outcomes; the executed notebooks are read back from where they were saved.
pub fn report(run: &Run, options: &RunOptions) -> String {
    let outcomes = &run.outcomes;
    let ids: Vec<String> = (1..=outcomes.len()).map(|n| format!("nb-{n}")).collect();
    let link = |url: &str| {
        let file = Path::new(url.split('#').next().unwrap_or(url)).file_name()?;
        let at = outcomes.iter().position(|o| o.source.file_name() == Some(file))?;
        Some(format!("#{}", ids[at]))
    };
    let (mut contents, mut articles) = (String::new(), String::new());
    for (outcome, id) in outcomes.iter().zip(&ids) {
        let rendered = Notebook::read(&outcome.executed).ok().map(|n| cells::render(&n, outcome, id, &link));
        let (body, headings) = rendered.unwrap_or_default();
        let title = headings.iter().find(|h| h.level == 1).map_or(&*outcome.name, |h| &*h.text);
        let _ = write!(contents, "<li><a href=\"#{id}\" class=\"{}\">{}</a>", class(outcome), escape(title));
        let sections: Vec<_> = headings.iter().filter(|h| h.level == 2).collect();
        if !sections.is_empty() {
            contents.push_str("<ol>");
            for heading in sections {
                let _ =
                    write!(contents, "<li><a href=\"#{}\">{}</a></li>", heading.id, escape(&heading.text));
            }
            contents.push_str("</ol>");
        }
        contents.push_str("</li>\n");
        let _ = write!(
            articles,
            "<article id=\"{id}\"><p class=\"where\"><a href=\"{0}.ipynb\">{0}.ipynb</a> \
             <span class=\"verdict {1}\">{2}</span></p>\n{body}</article>\n",
            escape(&outcome.name),
            class(outcome),
            escape(&verdict_line(outcome, 120)),
        );
    }
    let well = outcomes.iter().filter(|o| o.is_well()).count();
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">{again}\
         <title>Rust notebooks: {well} of {all} passed</title>\n<style>\n{style}</style></head>\n<body>\n\
         <nav><strong>Contents</strong><ol>\n{claims_link}<li><a href=\"#summary\">Summary</a></li>\n{contents}</ol></nav>\n\
         <main>\n{header}{to_come}{wrong}{claims}{summary}{articles}</main>\n</body></html>\n",
        all = count(outcomes.len(), "notebook"),
        style = include_str!("style.css"),
        // Whoever looks at it while the rest runs sees the rest come.
        again = if run.to_come.is_empty() { "" } else { "<meta http-equiv=\"refresh\" content=\"30\">" },
        to_come = to_come(&run.to_come),
        header = header(run, options),
        claims_link = match run.claims.is_empty() {
            false => "<li><a href=\"#claims\">Findings and checks</a></li>\n",
            true => "",
        },
        claims = claims::claims(run, &ids),
        summary = summary(run, &ids),
        wrong = wrong(outcomes),
    );
    for_everybody(&page)
}

/// What a reader without a mouse, or without eyes, needs: whatever may be wider than the page can be reached by the keyboard, and a
/// header without a text is none. Outputs of cells are the notebook's; nothing of what they say changes.
fn for_everybody(page: &str) -> String {
    // Code, tables that a cell shows, and tables in texts.
    let page = page
        .replace("<pre", "<pre tabindex=\"0\"")
        .replace("<table><thead>", "<table tabindex=\"0\"><thead>");
    let mut parts = page.split("<th");
    let mut html = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // Not <thead>.
        match part.split_once("></th>") {
            Some((attributes, rest)) if !attributes.contains('>') && !part.starts_with("ead") => {
                html += "<td";
                html += attributes;
                html += "></td>";
                html += rest;
            }
            _ => {
                html += "<th";
                html += part;
            }
        }
    }
    html
}

fn class(outcome: &Outcome) -> &'static str {
    match outcome.verdict {
        Verdict::Passed => "good",
        Verdict::Failed { .. } | Verdict::Differs(_) => "bad",
        Verdict::Interrupted => "open",
    }
}

fn header(run: &Run, options: &RunOptions) -> String {
    let facts = [
        ("profile", Some(options.profile.clone())),
        (
            "outputs",
            Some(if options.check { "compared with the committed ones" } else { "not compared" }.into()),
        ),
        ("device", Some(device())),
        ("commit", commit(options)),
        ("date", Some(chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string())),
        ("igpt", Some(env!("CARGO_PKG_VERSION").into())),
    ];
    let facts: String = facts
        .into_iter()
        .filter_map(|(name, value)| Some(format!("<div><dt>{name}</dt><dd>{}</dd></div>", escape(&value?))))
        .collect();
    format!(
        "<header><h1>Rust notebooks</h1>\
         <p>Notebooks{}, executed from top to bottom by <code>igpt run</code>.</p><dl>{facts}</dl></header>\n",
        that_judge(&run.claims),
    )
}

/// The papers whose claims were judged.
fn that_judge(claims: &[Claims]) -> String {
    let titles: Vec<String> =
        claims.iter().map(|claims| format!("<em>{}</em>", escape(&claims.title))).collect();
    match &titles[..] {
        [] => String::new(),
        [first @ .., last] if !first.is_empty() => {
            format!(" that judge claims of {} and {last}", first.join(", "))
        }
        all => format!(" that judge claims of {}", all.concat()),
    }
}

/// A sentence on the notebooks that are not through, in a report that is written meanwhile.
fn to_come(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    format!("<p id=\"to-come\">Not through yet: {}.</p>\n", escape(&names.join(", ")))
}

fn summary(run: &Run, ids: &[String]) -> String {
    let outcomes = &run.outcomes;
    let mut rows = String::new();
    for (outcome, id) in outcomes.iter().zip(ids) {
        let _ = writeln!(
            rows,
            "<tr><td><a href=\"#{id}\">{}</a></td><td class=\"number\">{}/{}</td><td class=\"number\">{:.1}</td>\
             <td class=\"number\">{:.1}</td><td class=\"number\">{}</td><td>{}</td><td><span class=\"verdict {}\">{}</span></td></tr>",
            escape(&outcome.name),
            outcome.cells_run(),
            outcome.cells.len(),
            outcome.duration.as_secs_f64(),
            outcome.resources.unwrap_or_default().processor_seconds,
            megabytes(outcome.resources.unwrap_or_default().peak_memory),
            escape(&outcome.journal.counts()),
            class(outcome),
            escape(&verdict_line(outcome, 100)),
        );
    }
    let reused = journal::reused(outcomes.iter().map(|outcome| &outcome.journal));
    let notes: Vec<String> = outcomes.iter().flat_map(notes).collect();
    let sentences = reused.iter().chain(&notes).map(|text| format!("<p>{}</p>\n", escape(text)));
    let sentences: String = sentences.collect();
    format!(
        "<section id=\"summary\"><h2>Summary</h2><table class=\"summary\"><thead><tr><th>notebook</th>\
         <th class=\"number\">cells</th><th class=\"number\">seconds</th>\
         <th class=\"number\">processor s</th><th class=\"number\">peak MB</th><th>results</th><th>verdict</th></tr></thead>\
         <tbody>\n{rows}</tbody></table>\n{sentences}{results}</section>\n",
        results = results(outcomes),
    )
}

/// Every result of the experiment store that a notebook used, and why it was reused or had to be computed.
fn results(outcomes: &[Outcome]) -> String {
    let mut lists = String::new();
    for outcome in outcomes.iter().filter(|outcome| !outcome.journal.uses.is_empty()) {
        let _ = writeln!(lists, "<h3>{}</h3><ul>", escape(&outcome.name));
        for used in &outcome.journal.uses {
            let _ = writeln!(
                lists,
                "<li><strong>{}</strong> <code>{}</code>, {} ({:.1} s): {}</li>",
                escape(&used.step),
                escape(journal::short(&used.key)),
                if used.reused { "reused" } else { "computed" },
                used.wall_ms as f64 / 1000.0,
                escape(&used.why),
            );
        }
        lists.push_str("</ul>\n");
    }
    if lists.is_empty() {
        return lists;
    }
    format!(
        "<details id=\"results\"><summary>Why each result was reused or computed</summary>\n{lists}</details>\n"
    )
}

/// Everything that is wrong, before the long part begins.
fn wrong(outcomes: &[Outcome]) -> String {
    let all: Vec<String> = outcomes.iter().flat_map(paragraphs).collect();
    if all.is_empty() {
        return String::new();
    }
    let all: String =
        all.iter().map(|text| format!("<pre class=\"error\">{}</pre>\n", ansi::to_html(text))).collect();
    format!("<section><h2>What is wrong</h2>\n{all}</section>\n")
}

/// The machine in words: its GPU, if there is one, and its processor.
fn device() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cpu = format!("{}, {}", host::processor(), count(cores, "core"));
    let gpus = answer(Command::new("nvidia-smi").args(["--query-gpu=name", "--format=csv,noheader"]));
    match gpus {
        Some(gpus) => format!("{}; {cpu}", gpus.lines().collect::<Vec<_>>().join(", ")),
        None => cpu,
    }
}

fn commit(options: &RunOptions) -> Option<String> {
    let folder =
        options.notebooks.first()?.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let git = |arguments: &[&str]| answer(Command::new("git").arg("-C").arg(folder).args(arguments));
    let hash = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some();
    Some(if changed { format!("{hash} and uncommitted changes") } else { hash })
}

/// What a program says, if it is there, ends well and says anything.
fn answer(command: &mut Command) -> Option<String> {
    let output = command.stdin(std::process::Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scrolls_is_reached_by_the_keyboard_and_empty_headers_are_none() {
        let page = "<table><thead><tr><th scope=\"col\"></th><th>a</th></tr></thead></table><pre class=\"code\">x</pre>";
        assert_eq!(
            for_everybody(page),
            "<table tabindex=\"0\"><thead><tr><td scope=\"col\"></td><th>a</th></tr></thead></table><pre tabindex=\"0\" class=\"code\">x</pre>"
        );
    }
}
