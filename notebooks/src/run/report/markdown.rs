//! Markdown cells as HTML: tables, formulas as MathML, images built in.

use std::{fs, path::Path};

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};
use pulldown_latex::{RenderConfig, Storage, config::DisplayMode};
use serde_json::Value;

use super::rust;
use crate::run::{notebook::joined, text::escape};

/// What a Markdown cell's links and images refer to.
pub struct LinkTargets<'a> {
    /// The folder of the notebook.
    pub folder: &'a Path,
    /// The cell's attachments.
    pub attachments: &'a Value,
    /// The link inside the report for another notebook's file name.
    pub link: &'a dyn Fn(&str) -> Option<String>,
    /// Begins every heading's id.
    pub id_prefix: &'a str,
}

/// A heading, for the table of contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// 1 to 6.
    pub level: u8,
    /// Its id in the page.
    pub id: String,
    /// Its text.
    pub text: String,
}

/// The HTML of a Markdown text, and its headings in order.
pub fn to_html(markdown: &str, around: &LinkTargets<'_>, headings: &mut Vec<Heading>) -> String {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_MATH;
    let mut events: Vec<Event<'_>> = Vec::new();
    let mut code: Option<(String, String)> = None;
    for event in Parser::new_ext(markdown, options) {
        match event {
            Event::InlineMath(formula) => events.push(math(&formula, DisplayMode::Inline)),
            Event::DisplayMath(formula) => events.push(math(&formula, DisplayMode::Block)),
            Event::Start(Tag::CodeBlock(kind)) => {
                let language = match kind {
                    pulldown_cmark::CodeBlockKind::Fenced(language) => language.to_string(),
                    pulldown_cmark::CodeBlockKind::Indented => String::new(),
                };
                code = Some((language, String::new()));
            }
            Event::End(TagEnd::CodeBlock) => {
                let (language, text) = code.take().unwrap_or_default();
                let rust = language.split([',', ' ']).next() == Some("rust");
                let body = if rust { rust::highlight(&text) } else { escape(&text) };
                events.push(Event::Html(format!("<pre class=\"code\">{body}</pre>\n").into()));
            }
            Event::Text(text) => match &mut code {
                Some((_, so_far)) => so_far.push_str(&text),
                None => events.push(Event::Text(text)),
            },
            Event::Start(Tag::Heading { level, .. }) => {
                let id = format!("{}-{}", around.id_prefix, headings.len() + 1);
                headings.push(Heading { level: number(level), id: id.clone(), text: String::new() });
                events.push(Event::Start(Tag::Heading {
                    level,
                    id: Some(id.into()),
                    classes: Vec::new(),
                    attrs: Vec::new(),
                }));
            }
            Event::End(TagEnd::Heading(level)) => {
                let start =
                    events.iter().rposition(|e| matches!(e, Event::Start(Tag::Heading { .. }))).unwrap_or(0);
                let text = events[start..].iter().filter_map(|e| match e {
                    Event::Text(text) | Event::Code(text) => Some(&**text),
                    _ => None,
                });
                if let Some(heading) = headings.last_mut() {
                    heading.text = text.collect();
                }
                events.push(Event::End(TagEnd::Heading(level)));
            }
            Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
                let dest_url = image(&dest_url, around).map_or(dest_url, CowStr::from);
                events.push(Event::Start(Tag::Image { link_type, dest_url, title, id }));
            }
            Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
                let dest_url = (around.link)(&dest_url).map_or(dest_url, CowStr::from);
                events.push(Event::Start(Tag::Link { link_type, dest_url, title, id }));
            }
            other => events.push(other),
        }
    }
    let mut page = String::with_capacity(markdown.len() * 2);
    html::push_html(&mut page, events.into_iter());
    page
}

/// A formula as MathML; as its source where it cannot be read.
pub fn formula(latex: &str, display_mode: DisplayMode) -> String {
    let storage = Storage::new();
    let parsed: Result<Vec<_>, _> = pulldown_latex::Parser::new(latex, &storage).collect();
    let mut mathml = String::new();
    let config = RenderConfig { display_mode, ..RenderConfig::default() };
    let written = parsed.ok().map(|events| {
        let events = events.into_iter().map(Ok::<_, std::convert::Infallible>);
        pulldown_latex::push_mathml(&mut mathml, events, config)
    });
    match written {
        Some(Ok(())) => mathml,
        _ => format!("<code class=\"latex\">{}</code>", escape(latex)),
    }
}

fn math<'a>(latex: &str, mode: DisplayMode) -> Event<'a> {
    let block = mode == DisplayMode::Block;
    let mathml = formula(latex, mode);
    Event::InlineHtml(
        if block { format!("<span class=\"formula\" tabindex=\"0\">{mathml}</span>") } else { mathml }.into(),
    )
}

fn number(level: HeadingLevel) -> u8 {
    match level {
        HeadingLevel::H1 => 1,
        HeadingLevel::H2 => 2,
        HeadingLevel::H3 => 3,
        HeadingLevel::H4 => 4,
        HeadingLevel::H5 => 5,
        HeadingLevel::H6 => 6,
    }
}

/// An image that lies beside the notebook or is attached to the cell, as a data URI: the report is one file.
fn image(url: &str, around: &LinkTargets<'_>) -> Option<String> {
    if let Some(name) = url.strip_prefix("attachment:") {
        let bundle = around.attachments[name].as_object()?;
        let (mime, data) = bundle.iter().find(|(mime, _)| mime.starts_with("image/"))?;
        let data: String = joined(data)?.split_whitespace().collect();
        return Some(format!("data:{mime};base64,{data}"));
    }
    if url.contains(':') || url.starts_with(['/', '#']) {
        return None;
    }
    let ending = Path::new(url).extension()?.to_str()?.to_ascii_lowercase();
    let mime = match &*ending {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        _ => return None,
    };
    let bytes = fs::read(around.folder.join(url)).ok()?;
    Some(format!("data:{mime};base64,{}", data_encoding::BASE64.encode(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(markdown: &str) -> (String, Vec<Heading>) {
        let link = |url: &str| (url == "02-model.ipynb").then(|| "#nb-2".to_owned());
        let attachments = serde_json::json!({"a.png": {"image/png": "AA\nAA"}});
        let around = LinkTargets {
            folder: Path::new("/nowhere"),
            attachments: &attachments,
            link: &link,
            id_prefix: "nb",
        };
        let mut headings = Vec::new();
        (to_html(markdown, &around, &mut headings), headings)
    }

    #[test]
    fn headings_links_and_images_find_their_way() {
        let (page, headings) =
            html("# A *b* `c`\n[next](02-model.ipynb) ![x](attachment:a.png) ![y](gone.png)");
        assert_eq!(headings, [Heading { level: 1, id: "nb-1".into(), text: "A b c".into() }]);
        assert!(page.contains("<h1 id=\"nb-1\">") && page.contains("href=\"#nb-2\""), "{page}");
        assert!(page.contains("data:image/png;base64,AAAA") && page.contains("gone.png"), "{page}");
    }

    #[test]
    fn formulas_become_mathml_or_stay_readable() {
        assert!(html(r"$\frac{a_1}{2}$").0.contains("<mfrac>"));
        assert!(html("| a |\n|---|\n| $x_i$ |").0.contains("<td><math"));
        assert!(html(r"$\nosuchcommand{a<b}$").0.contains("a&lt;b"));
    }

    #[test]
    fn code_blocks_are_coloured() {
        assert!(html("```rust\nlet a = 1;\n```").0.contains("<span class=\"k\">let</span>"));
        assert!(html("```text\nlet <a>\n```").0.contains("let &lt;a&gt;"));
    }
}
