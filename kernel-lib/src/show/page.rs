//! Several things in one output.

use super::{Show, caption_html};
use crate::show::clean;

/// Several things that one cell shows, below each other or side by side.
///
/// ```
/// use igpt::show::{Page, Table};
///
/// let table = Table::new(["k"]).row((2,))?;
/// let page = Page::new().show("Two things:").show(&table);
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Page {
    across: bool,
    items: Vec<(String, String)>,
}

impl Page {
    /// An empty page, on which things stand below each other.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty page, on which things stand side by side where there is room.
    #[must_use]
    pub fn across() -> Self {
        Self { across: true, items: Vec::new() }
    }

    /// Adds a table, an image, a paragraph of text, another page, …
    #[must_use]
    pub fn show(mut self, item: impl Show) -> Self {
        self.push(item);
        self
    }

    /// Adds a heading.
    #[must_use]
    pub fn heading(mut self, text: &str) -> Self {
        let line = clean(text);
        self.items.push((caption_html(text), format!("{line}\n{}\n", "=".repeat(line.chars().count()))));
        self
    }

    /// As [`Page::show`], for use in a loop.
    pub fn push(&mut self, item: impl Show) {
        self.items.push((item.to_html(), item.to_text()));
    }
}

impl Show for Page {
    fn to_html(&self) -> String {
        let style = match self.across {
            true => "display:flex;flex-wrap:wrap;gap:.6em 2em;align-items:flex-start",
            false => "display:block",
        };
        let mut html = format!("<div style=\"{style}\">\n");
        for (item, _) in &self.items {
            html.push_str("<div style=\"margin:0 0 .8em\">\n");
            html.push_str(item);
            html.push_str("</div>\n");
        }
        html + "</div>\n"
    }

    fn to_text(&self) -> String {
        self.items.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_the_order_and_both_forms() {
        let page = Page::new().heading("Head").show("<one>").show(Page::across().show("two"));
        assert_eq!(page.to_text(), "Head\n====\n\n<one>\n\ntwo\n");
        let html = page.to_html();
        assert!(html.find("Head") < html.find("&lt;one&gt;") && html.find("&lt;one&gt;") < html.find("two"));
        assert!(html.contains("display:flex"));
        assert_eq!(html.matches("<div").count(), html.matches("</div>").count());
    }
}
