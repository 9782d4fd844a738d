//! Tables.

use super::{Show, caption_html, clean, escape};
use crate::{Error, Result};
use std::fmt;

/// What a cell's colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// Not known.
    Open,
}

/// One cell of a [`Table`]. Texts, whole numbers (`1,024`), floats (two decimals; see [`fixed`] for others) and
/// options of these (`–` for `None`) turn into cells by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    number: bool,
    tone: Option<Tone>,
}

impl Cell {
    /// A cell with this text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::of_text(&text.into())
    }

    fn of_text(text: &str) -> Self {
        let text = clean(text).replace(['\n', '\t'], " ");
        Self { text, number: false, tone: None }
    }

    /// The same cell in another colour.
    #[must_use]
    pub fn tone(self, tone: Tone) -> Self {
        Self { tone: Some(tone), ..self }
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }

    fn number(text: String) -> Self {
        Self { text, number: true, tone: None }
    }
}

/// A number with this many decimals, and its thousands set apart: `fixed(1234.5, 2)` is `1,234.50`.
pub fn fixed(value: impl Into<f64>, decimals: usize) -> Cell {
    of_number(value.into(), decimals)
}

fn of_number(value: f64, decimals: usize) -> Cell {
    if !value.is_finite() {
        let text = if value.is_nan() { "not a number" } else { if value > 0.0 { "∞" } else { "-∞" } };
        return Cell::number(text.into());
    }
    let text = format!("{value:.decimals$}");
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
    // -0.00 says nothing that 0.00 does not.
    let sign = if digits.bytes().all(|b| matches!(b, b'0' | b'.')) { "" } else { sign };
    let (whole, fraction) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    Cell::number(format!("{sign}{}{fraction}", thousands(whole)))
}

/// A share as per cent: `percent(0.963, 1)` is `96.3 %`.
pub fn percent(share: impl Into<f64>, decimals: usize) -> Cell {
    of_share(share.into(), decimals)
}

fn of_share(share: f64, decimals: usize) -> Cell {
    let cell = fixed(share * 100.0, decimals);
    Cell { text: format!("{} %", cell.text), ..cell }
}

fn thousands(digits: &str) -> String {
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Its text: `format!("{} parameters", fixed(606_080.0, 0))`.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}
impl From<&String> for Cell {
    fn from(text: &String) -> Self {
        Self::text(text)
    }
}
impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}
impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        fixed(value, 2)
    }
}
impl From<f32> for Cell {
    fn from(value: f32) -> Self {
        fixed(value, 2)
    }
}
impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or_else(|| Self::number("–".into()), Into::into)
    }
}
macro_rules! whole_numbers {
    ($($type:ty),+) => {$(
        impl From<$type> for Cell {
            fn from(value: $type) -> Self {
                let text = value.to_string();
                let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
                Self::number(format!("{sign}{}", thousands(digits)))
            }
        }
    )+};
}
whole_numbers!(u8, u16, u32, u64, usize, i32, i64);

/// A row of a [`Table`]: a tuple, an array or a vector of what turns into [`Cell`]s.
pub trait Row {
    /// The cells, from left to right.
    fn cells(self) -> Vec<Cell>;
}

impl<T: Into<Cell>> Row for Vec<T> {
    fn cells(self) -> Vec<Cell> {
        self.into_iter().map(Into::into).collect()
    }
}
impl<T: Into<Cell>, const N: usize> Row for [T; N] {
    fn cells(self) -> Vec<Cell> {
        self.into_iter().map(Into::into).collect()
    }
}
macro_rules! tuples {
    ($(($($name:ident)+))+) => {$(
        impl<$($name: Into<Cell>),+> Row for ($($name,)+) {
            #[allow(non_snake_case, reason = "each type's name is also its value's")]
            fn cells(self) -> Vec<Cell> {
                let ($($name,)+) = self;
                vec![$($name.into()),+]
            }
        }
    )+};
}
tuples!((A)(A B)(A B C)(A B C D)(A B C D E)(A B C D E F)(A B C D E F G)(A B C D E F G H)(A B C D E F G H I));

/// A table. Columns of numbers are aligned to the right, others to the left.
///
/// ```
/// use igpt::show::Table;
///
/// let table = Table::new(["Side", "Tokens"]).caption("Context lengths").row(("32²", 1024))?.row(("48²", 2304))?;
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Table {
    caption: String,
    note: String,
    headers: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows, with these columns.
    pub fn new(headers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::with_headers(headers.into_iter().map(Into::into).collect())
    }

    fn with_headers(headers: Vec<String>) -> Self {
        let headers = headers.iter().map(|header| Cell::of_text(header).text).collect();
        Self { caption: String::new(), note: String::new(), headers, rows: Vec::new() }
    }

    /// A table of rows that are known to fit, because the compiler has counted their cells.
    pub fn of<const N: usize>(headers: [&str; N], rows: impl IntoIterator<Item = [Cell; N]>) -> Self {
        let rows = rows.into_iter().map(Vec::from).collect();
        Self { rows, ..Self::new(headers) }
    }

    /// Sets the line above the table.
    #[must_use]
    pub fn caption(self, caption: impl Into<String>) -> Self {
        Self { caption: caption.into(), ..self }
    }

    /// Sets the line below the table.
    #[must_use]
    pub fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// If it has more or fewer cells than the table has columns.
    pub fn row(mut self, row: impl Row) -> Result<Self> {
        self.push(row)?;
        Ok(self)
    }

    /// Adds many rows.
    ///
    /// # Errors
    /// As [`Table::row`].
    pub fn rows(self, rows: impl IntoIterator<Item = impl Row>) -> Result<Self> {
        rows.into_iter().try_fold(self, Self::row)
    }

    /// As [`Table::row`], for use in a loop.
    ///
    /// # Errors
    /// As [`Table::row`].
    pub fn push(&mut self, row: impl Row) -> Result<()> {
        self.push_cells(row.cells())
    }

    fn push_cells(&mut self, cells: Vec<Cell>) -> Result<()> {
        if cells.len() != self.headers.len() {
            return Err(Error::invalid(format!(
                "row {} of the table has {} cells, but there are {} columns ({})",
                self.rows.len() + 1,
                cells.len(),
                self.headers.len(),
                self.headers.join(", ")
            )));
        }
        self.rows.push(cells);
        Ok(())
    }

    /// Whether a column is one of numbers, which is so when it holds a number.
    fn is_numeric(&self, column: usize) -> bool {
        self.rows.iter().any(|row| row[column].number)
    }
}

impl Show for Table {
    fn to_html(&self) -> String {
        let line = "border-bottom:1px solid rgba(128,128,128,.3)";
        let align: Vec<_> =
            (0..self.headers.len()).map(|at| if self.is_numeric(at) { "right" } else { "left" }).collect();
        let mut html = caption_html(&self.caption);
        html.push_str("<table style=\"border-collapse:collapse;margin:.2em 0\">\n");
        if self.headers.iter().any(|header| !header.is_empty()) {
            html.push_str("<thead><tr style=\"background:transparent\">");
            for (header, align) in self.headers.iter().zip(&align) {
                html.push_str(&format!(
                    "<th style=\"text-align:{align};vertical-align:bottom;padding:.3em .9em .3em 0;\
                     border-bottom:1px solid rgba(128,128,128,.8)\">{}</th>",
                    escape(header)
                ));
            }
            html.push_str("</tr></thead>\n");
        }
        html.push_str("<tbody>\n");
        for row in &self.rows {
            html.push_str("<tr style=\"background:transparent\">");
            for (cell, align) in row.iter().zip(&align) {
                // These three read well on white and on black.
                let tone = match cell.tone {
                    Some(Tone::Good) => ";color:#2a9350;font-weight:600",
                    Some(Tone::Bad) => ";color:#d9473c;font-weight:600",
                    Some(Tone::Open) => ";color:#a87800;font-weight:600",
                    None => "",
                };
                let wrap = if cell.number { ";white-space:nowrap" } else { "" };
                html.push_str(&format!(
                    "<td style=\"text-align:{align};vertical-align:top;padding:.25em .9em .25em 0;{line}{wrap}{tone}\">{}</td>",
                    escape(&cell.text)
                ));
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody></table>\n");
        if !self.note.is_empty() {
            let note = escape(&self.note);
            html.push_str(&format!("<div style=\"opacity:.75;font-size:.9em;margin:.3em 0\">{note}</div>\n"));
        }
        html
    }

    fn to_text(&self) -> String {
        let columns = self.headers.len();
        let widest = |at: usize| {
            let cells = self.rows.iter().map(|row| width(&row[at].text));
            cells.chain([width(&self.headers[at])]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(|at| widest(at).min(WIDEST)).collect();
        let right: Vec<bool> = (0..columns).map(|at| self.is_numeric(at)).collect();
        let mut text = String::new();
        if !self.caption.is_empty() {
            text.push_str(&format!("{}\n\n", clean(&self.caption)));
        }
        let mut line = |cells: Vec<&str>| {
            let wrapped: Vec<Vec<String>> =
                cells.iter().zip(&widths).map(|(cell, w)| wrap(cell, *w)).collect();
            for at in 0..wrapped.iter().map(Vec::len).max().unwrap_or(0) {
                let parts: Vec<String> = (0..columns)
                    .map(|column| {
                        let part = wrapped[column].get(at).map_or("", String::as_str);
                        let blanks = " ".repeat(widths[column].saturating_sub(width(part)));
                        if right[column] { blanks + part } else { part.to_owned() + &blanks }
                    })
                    .collect();
                text.push_str(parts.join("  ").trim_end());
                text.push('\n');
            }
        };
        if self.headers.iter().any(|header| !header.is_empty()) {
            line(self.headers.iter().map(String::as_str).collect());
            let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            line(rules.iter().map(String::as_str).collect());
        }
        for row in &self.rows {
            line(row.iter().map(|cell| cell.text.as_str()).collect());
        }
        if !self.note.is_empty() {
            text.push_str(&format!("\n{}\n", clean(&self.note)));
        }
        text
    }
}

/// Longer texts are broken into lines, in plain text.
const WIDEST: usize = 44;

fn width(text: &str) -> usize {
    text.chars().count()
}

/// Breaks `text` at blanks into lines of at most `most` characters; a longer word is broken too.
fn wrap(text: &str, most: usize) -> Vec<String> {
    let most = most.max(1);
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split(' ') {
        if !line.is_empty() && width(&line) + 1 + width(word) > most {
            lines.push(std::mem::take(&mut line));
        } else if !line.is_empty() {
            line.push(' ');
        }
        for c in word.chars() {
            if width(&line) == most {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table::new(["Image", "Colours", "Error (dB)"])
            .caption("Errors")
            .rows([("astronaut", 2, 12.345), ("tea & <coffee>", 65536, -0.001)])
            .unwrap()
    }

    #[test]
    fn text_columns_are_aligned() {
        let expected = "\
Errors

Image           Colours  Error (dB)
--------------  -------  ----------
astronaut             2       12.35
tea & <coffee>   65,536        0.00
";
        // 12.345 is just above the middle in binary.
        assert_eq!(table().to_text(), expected.replace("12.35", &format!("{:.2}", 12.345)));
    }

    #[test]
    fn html_is_escaped_and_balanced() {
        let html = table().to_html();
        assert!(html.contains("tea &amp; &lt;coffee&gt;") && !html.contains("<coffee>"));
        for tag in ["table", "thead", "tbody", "tr", "th", "td", "div"] {
            let open = html.matches(&format!("<{tag} ")).count() + html.matches(&format!("<{tag}>")).count();
            assert_eq!(open, html.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        assert!(html.contains("text-align:right;vertical-align:top"));
        assert_eq!(html, table().to_html());
    }

    #[test]
    fn numbers_are_written_for_readers() {
        let text = |cell: Cell| cell.text;
        assert_eq!(text(fixed(1_234_567.891, 1)), "1,234,567.9");
        assert_eq!(text(fixed(-0.004, 2)), "0.00");
        assert_eq!(text(fixed(-1234.0, 0)), "-1,234");
        assert_eq!(text(fixed(f64::NAN, 2)), "not a number");
        assert_eq!(text(percent(0.963, 1)), "96.3 %");
        assert_eq!(text(Cell::from(-1_000_i64)), "-1,000");
        assert_eq!(text(Cell::from(None::<f64>)), "–");
        assert_eq!(text(Cell::from("two\nlines")), "two lines");
    }

    #[test]
    fn a_row_of_the_wrong_length_is_refused() {
        let error = table().row(("x", 1)).unwrap_err().to_string();
        assert_eq!(
            error,
            "row 3 of the table has 2 cells, but there are 3 columns (Image, Colours, Error (dB))"
        );
    }

    #[test]
    fn long_texts_are_broken_into_lines() {
        let long = "word ".repeat(20);
        let table = Table::new(["A", "B"]).row((long.trim(), 1)).unwrap().row(("x".repeat(100), 2)).unwrap();
        let text = table.to_text();
        assert!(text.lines().all(|line| line.chars().count() <= WIDEST + 3), "{text}");
        assert_eq!(text.matches("word").count(), 20);
        assert_eq!(text.matches('x').count(), 100);
        assert_eq!(wrap("a bc d", 1), ["a", "b", "c", "d"]);
    }
}
