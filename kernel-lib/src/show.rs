//! What notebooks show: tables, images, palettes, figures, and pages of several of them.
//!
//! Each of these is a value. The last expression of a cell is shown, as HTML where there is a browser and as
//! aligned plain text elsewhere:
//!
//! ```
//! use igpt::show::{Table, fixed};
//!
//! let table = Table::new(["Colours", "Error (dB)"]).row((512, fixed(34.07, 1)))?;
//! assert_eq!(igpt::show::Show::to_text(&table), "Colours  Error (dB)\n-------  ----------\n    512        34.1\n");
//! # Ok::<(), igpt::Error>(())
//! ```
//!
//! A cell has one output of each kind, so what belongs together is put on a [`Page`]. Everything here is
//! deterministic to the byte: neither time nor place nor chance stands in an output, so that `--check` may
//! compare it.
//!
//! The HTML is plain: inline styles of the few properties, and elements, that JupyterLab and GitHub keep in a
//! notebook that is opened without being run. Images and figures are `<img>` with their data inside for the
//! same reason; `<svg>` and `<style>` would be taken out.

mod bar;
mod by_debug;
mod emit;
mod figure;
mod grid;
mod image;
mod live;
mod page;
mod swatches;
mod table;
mod tensor;
mod ticks;
mod tile;

pub use bar::Bar;
pub use by_debug::ByDebug;
pub use figure::Figure;
pub use grid::ImageGrid;
pub(crate) use live::flush;
pub use live::{Displayed, clear, display};
pub use page::Page;
pub use swatches::Swatches;
pub use table::{Cell, Row, Table, Tone, fixed, percent};
pub use tensor::tensor;
pub use tile::Tile;

pub(crate) use emit::emit;

/// Something that a notebook can show.
pub trait Show {
    /// For browsers: a fragment of HTML, self-contained.
    fn to_html(&self) -> String;
    /// For terminals, e-mail and diffs: lines, each ended by `\n`.
    fn to_text(&self) -> String;
}

impl<T: Show + ?Sized> Show for &T {
    fn to_html(&self) -> String {
        (**self).to_html()
    }
    fn to_text(&self) -> String {
        (**self).to_text()
    }
}

impl Show for str {
    fn to_html(&self) -> String {
        format!("<p style=\"margin:.4em 0\">{}</p>\n", escape(self))
    }
    fn to_text(&self) -> String {
        format!("{}\n", clean(self).trim_end())
    }
}

impl Show for String {
    fn to_html(&self) -> String {
        self.as_str().to_html()
    }
    fn to_text(&self) -> String {
        self.as_str().to_text()
    }
}

/// Gives types that implement [`Show`] the method that evcxr looks for. An own method, not one of the trait: it is
/// found whatever a cell has imported.
macro_rules! displays {
    ($($type:ty),+) => {$(
        impl $type {
            /// Shows this as the value of the cell. evcxr calls it for a cell's last expression.
            pub fn evcxr_display(&self) {
                $crate::show::emit(self);
            }
        }
    )+};
}
pub(crate) use displays;

displays!(Table, ImageGrid, Swatches, Figure, Page);

/// `text` for use in HTML, in an attribute too.
pub fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in clean(text).chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
}

/// Without control characters: HTML forbids them, terminals obey them, and the kernel talks with them. Nor has it what XML, and so
/// SVG, forbids: U+FFFE, U+FFFF.
fn clean(text: &str) -> String {
    text.chars()
        .filter(|c| (!c.is_control() || matches!(c, '\n' | '\t')) && !matches!(c, '\u{fffe}' | '\u{ffff}'))
        .collect()
}

/// A caption above what it names, in both forms. Empty for an empty caption.
fn caption_html(caption: &str) -> String {
    if caption.is_empty() {
        return String::new();
    }
    format!("<div style=\"font-weight:600;margin:.4em 0\">{}</div>\n", escape(caption))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_text_is_text() {
        assert_eq!(escape("<b a=\"1\" b='2'>&amp;"), "&lt;b a=&quot;1&quot; b=&#39;2&#39;&gt;&amp;amp;");
        assert_eq!(escape("a\u{1}b\x1b[31mc\nd\te\r"), "ab[31mc\nd\te");
        assert_eq!("<x>".to_html(), "<p style=\"margin:.4em 0\">&lt;x&gt;</p>\n");
    }
}
