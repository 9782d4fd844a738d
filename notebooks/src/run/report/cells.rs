//! The cells of an executed notebook as HTML.

use std::fmt::Write as _;

use pulldown_latex::config::DisplayMode;
use serde_json::Value;

use super::{
    ansi,
    markdown::{self, Heading, LinkTargets},
    rust,
};
use crate::run::{
    notebook::{Notebook, joined},
    outcome::{CellRun, CellStatus, Outcome, Verdict},
    text::escape,
};

/// Longer texts are cut; the executed notebook has the whole.
const LONGEST: usize = 200_000;

/// Renders all cells; collects the headings for the table of contents.
pub fn render(
    notebook: &Notebook,
    outcome: &Outcome,
    id: &str,
    link: &dyn Fn(&str) -> Option<String>,
) -> (String, Vec<Heading>) {
    let folder = outcome.source.parent().unwrap_or(outcome.source.as_path());
    let runs: Vec<_> = notebook.code_cells().into_iter().map(|c| (c.position, c.number)).collect();
    let (mut html, mut headings) = (String::new(), Vec::new());
    for (position, cell) in notebook.cells().iter().enumerate() {
        let source = joined(&cell["source"]).unwrap_or_default();
        match cell["cell_type"].as_str() {
            Some("markdown") => {
                let around = LinkTargets { folder, attachments: &cell["attachments"], link, id_prefix: id };
                let body = without_meta(&markdown::to_html(&source, &around, &mut headings));
                let _ = writeln!(html, "<div class=\"markdown\">{body}</div>");
            }
            Some("code") => {
                let number = runs.iter().find(|(p, _)| *p == position).map(|(_, number)| *number);
                let run = number.and_then(|number| outcome.cell(number));
                code_cell(&source, cell, run, outcome, id, &mut html);
            }
            _ => {
                let _ = writeln!(html, "<pre class=\"raw\">{}</pre>", escape(&source));
            }
        }
    }
    (html, headings)
}

fn code_cell(
    source: &str,
    cell: &Value,
    run: Option<&CellRun>,
    outcome: &Outcome,
    id: &str,
    html: &mut String,
) {
    let Some(run) = run else { return };
    let number = run.cell.number;
    let differs = match &outcome.verdict {
        Verdict::Differs(all) => all.iter().find(|d| d.cell == Some(number)),
        _ => None,
    };
    let (class, note) = match (&run.status, differs) {
        (CellStatus::Failed(_), _) => ("failed", "failed".to_owned()),
        (_, Some(_)) => ("failed", "differs".to_owned()),
        (CellStatus::NotRun, _) => ("not-run", "not run".to_owned()),
        (CellStatus::Skipped, _) => ("not-run", "skipped".to_owned()),
        (CellStatus::Passed, None) => ("passed", format!("{:.1} s", run.seconds)),
    };
    let prompt = cell["execution_count"].as_i64().map_or("&nbsp;".to_owned(), |count| count.to_string());
    let _ = write!(
        html,
        "<div class=\"cell {class}\" id=\"{id}-cell-{number}\"><div class=\"bar\"><span>[{prompt}]</span><span>{note}</span></div>\
         <pre class=\"code\">{}</pre>",
        rust::highlight(source.trim_end())
    );
    let outputs = cell["outputs"].as_array().map_or(&[][..], Vec::as_slice);
    if !outputs.is_empty() {
        html.push_str("<div class=\"outputs\">");
        outputs.iter().for_each(|value| output(value, html));
        html.push_str("</div>");
    }
    if let CellStatus::Failed(failure) = &run.status
        && !outputs.iter().any(|o| o["output_type"] == "error")
    {
        let _ = write!(html, "<pre class=\"error\">{}</pre>", ansi::to_html(&failure.text));
    }
    if let Some(difference) = differs {
        let _ = write!(html, "<pre class=\"error\">{}</pre>", escape(&difference.text));
    }
    html.push_str("</div>\n");
}

fn output(output: &Value, html: &mut String) {
    match output["output_type"].as_str() {
        Some("stream") => {
            let class = if output["name"] == "stderr" { "stderr" } else { "stdout" };
            let text = joined(&output["text"]).unwrap_or_default();
            let _ = write!(html, "<pre class=\"{class}\">{}</pre>", ansi::to_html_within(&text, LONGEST));
        }
        Some("error") => {
            let lines: Vec<_> =
                output["traceback"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let field = |name: &str| output[name].as_str().unwrap_or_default();
            let text = match lines.is_empty() {
                true => format!("{}: {}", field("ename"), field("evalue")),
                false => lines.join("\n"),
            };
            let _ = write!(html, "<pre class=\"error\">{}</pre>", ansi::to_html_within(&text, LONGEST));
        }
        _ => media(&output["data"], html),
    }
}

/// The richest form that a page can show.
fn media(data: &Value, html: &mut String) {
    let text = |mime: &str| data.get(mime).and_then(joined);
    if let Some(rich) = text("text/html") {
        // The page's policy keeps it from running or loading anything; it must not reload the page as another one either.
        // A table may be wider than the page: then the keyboard moves it.
        let reached = if rich.contains("<table") { " tabindex=\"0\"" } else { "" };
        let _ = write!(html, "<div class=\"html\"{reached}>{}</div>", without_meta(&rich));
    } else if let Some(svg) = text("image/svg+xml") {
        // As an image: its ids and styles stay its own.
        let encoded = data_encoding::BASE64.encode(svg.as_bytes());
        let _ = write!(html, "<img alt=\"image\" src=\"data:image/svg+xml;base64,{encoded}\">");
    } else if let Some((mime, encoded)) = ["image/png", "image/jpeg", "image/gif", "image/webp"]
        .into_iter()
        .find_map(|mime| Some((mime, text(mime)?)))
    {
        let encoded: String = encoded.split_whitespace().collect();
        let _ = write!(html, "<img alt=\"image\" src=\"data:{mime};base64,{}\">", escape(&encoded));
    } else if let Some(source) = text("text/markdown") {
        let around = LinkTargets {
            folder: std::path::Path::new("."),
            attachments: &Value::Null,
            link: &|_| None,
            id_prefix: "output",
        };
        let _ = write!(
            html,
            "<div class=\"markdown\">{}</div>",
            markdown::to_html(&source, &around, &mut Vec::new())
        );
    } else if let Some(latex) = text("text/latex") {
        let formula = latex.trim().trim_matches('$').trim();
        let _ = write!(
            html,
            "<div class=\"formula\" tabindex=\"0\">{}</div>",
            markdown::formula(formula, DisplayMode::Block)
        );
    } else if let Some(plain) = text("text/plain") {
        let _ = write!(html, "<pre class=\"stdout\">{}</pre>", ansi::to_html_within(&plain, LONGEST));
    } else if let Some((mime, value)) = data.as_object().and_then(|data| data.iter().next()) {
        let text = format!("{mime}: {value}");
        let _ = write!(html, "<pre class=\"stdout\">{}</pre>", escape(&cut(&text)));
    }
}

/// HTML whose `<meta` tags, which could reload the page as another one, are text.
fn without_meta(html: &str) -> String {
    let lower = html.to_ascii_lowercase();
    let mut safe = String::with_capacity(html.len());
    let mut from = 0;
    let is_tag =
        |at: usize| lower[at + 5..].starts_with(|c: char| c.is_ascii_whitespace() || "/>".contains(c));
    for (at, _) in lower.match_indices("<meta").filter(|(at, _)| is_tag(*at)) {
        safe.push_str(&html[from..at]);
        safe.push_str("&lt;");
        from = at + 1;
    }
    safe.push_str(&html[from..]);
    safe
}

fn cut(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let end = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}\n… {} bytes more in the executed notebook", &text[..end], text.len() - end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_cannot_reload_the_page() {
        assert_eq!(
            without_meta("a<MeTa http-equiv=refresh>b<meta>"),
            "a&lt;MeTa http-equiv=refresh>b&lt;meta>"
        );
        assert_eq!(without_meta("<b>é</b><metadata>x</metadata>"), "<b>é</b><metadata>x</metadata>");
    }
}
