//! `--check`: are the new outputs the committed ones?

use anyhow::{Context as _, Result, bail};
use data_encoding::BASE64_MIME_PERMISSIVE as BASE64;
use regex::Regex;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::{
    diff,
    notebook::{CodeCell, Notebook, joined},
    outcome::Difference,
    text::{count, shorten, strip_ansi},
};

/// Cells with this tag are executed but not compared.
pub const VOLATILE: &str = "volatile";
/// The tag with a relative tolerance for numbers: `check-tolerance:1e-3`.
const TOLERANCE: &str = "check-tolerance:";
/// The tag with a regular expression of what is not compared: `check-ignore:\\d+ ms`.
const IGNORE: &str = "check-ignore:";

/// How a cell's outputs are compared.
#[derive(Debug, Clone, Default)]
pub struct Comparison {
    /// Not at all.
    volatile: bool,
    /// Numbers may differ by this part of the larger one.
    tolerance: Option<f64>,
    /// What they match is taken for the same.
    ignored: Vec<Regex>,
}

impl Comparison {
    /// Reads a cell's tags, and `tolerance` and `ignore` of its metadata's `igpt.check`.
    ///
    /// # Errors
    /// A tolerance that is no number from 0 to 1, a regular expression that is none, an unknown word.
    pub fn of(cell: &CodeCell) -> Result<Self> {
        let mut comparison = Self { volatile: cell.has_tag(VOLATILE), ..Self::default() };
        for tag in &cell.tags {
            if let Some(text) = tag.strip_prefix(TOLERANCE) {
                comparison
                    .set_tolerance(text.trim().parse().ok())
                    .with_context(|| format!("the tag `{tag}`"))?;
            } else if let Some(text) = tag.strip_prefix(IGNORE) {
                comparison.ignored.push(Regex::new(text).with_context(|| format!("the tag `{tag}`"))?);
            }
        }
        let known = cell.check.as_object().into_iter().flatten();
        for (name, value) in known {
            let place = || format!("the cell's metadata, igpt.check.{name}");
            match name.as_str() {
                "tolerance" => comparison.set_tolerance(value.as_f64()).with_context(place)?,
                "ignore" => {
                    let all = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                    for text in all {
                        let text = text.as_str().context("not a regular expression").with_context(place)?;
                        comparison.ignored.push(Regex::new(text).with_context(place)?);
                    }
                }
                _ => bail!("{}: there are `tolerance` and `ignore`", place()),
            }
        }
        Ok(comparison)
    }

    fn set_tolerance(&mut self, number: Option<f64>) -> Result<()> {
        let number = number.filter(|number| (0.0..1.0).contains(number));
        self.tolerance = Some(number.context("a tolerance is a number from 0 to below 1, such as 1e-3")?);
        Ok(())
    }

    fn without_ignored(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for ignored in &self.ignored {
            text = ignored.replace_all(&text, "…").into_owned();
        }
        text
    }

    /// Whether two lines are the same but for numbers within the tolerance.
    fn same(&self, old: &str, new: &str) -> bool {
        let Some(tolerance) = self.tolerance.filter(|_| old != new) else { return old == new };
        let (old, new) = (pieces(old), pieces(new));
        old.len() == new.len()
            && old.iter().zip(&new).all(|(old, new)| match (old, new) {
                (Piece::Number(a, _), Piece::Number(b, _)) => {
                    (a - b).abs() <= tolerance * a.abs().max(b.abs())
                }
                (Piece::Text(a), Piece::Text(b)) => a == b,
                _ => false,
            })
    }
}

/// A part of a line.
#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Text(&'a str),
    /// Its value, and how it is written.
    Number(f64, &'a str),
}

/// A line's numbers and what stands between them. What touches a letter is no number but part of a word or a hash.
fn pieces(line: &str) -> Vec<Piece<'_>> {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut pieces = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < line.len() {
        let rest = &line[at..];
        let before = line[..at].chars().next_back();
        let length = if before.is_some_and(|c| in_word(c) || c == '.') { 0 } else { number_at(rest) };
        let number = rest[..length].parse::<f64>().ok();
        match number.filter(|_| length > 0 && !rest[length..].starts_with(in_word)) {
            Some(number) => {
                if start < at {
                    pieces.push(Piece::Text(&line[start..at]));
                }
                pieces.push(Piece::Number(number, &rest[..length]));
                at += length;
                start = at;
            }
            None => at += rest.chars().next().map_or(1, char::len_utf8),
        }
    }
    if start < line.len() {
        pieces.push(Piece::Text(&line[start..]));
    }
    pieces
}

/// How many bytes at the begin are a number such as `-12.5e-3`.
fn number_at(text: &str) -> usize {
    let digits = |from: usize| text[from..].bytes().take_while(u8::is_ascii_digit).count();
    let sign = usize::from(text.starts_with(['-', '+']));
    let whole = digits(sign);
    let mut end = sign + whole;
    let mut fraction = 0;
    if text[end..].starts_with('.') {
        fraction = digits(end + 1);
        end += if fraction > 0 { fraction + 1 } else { 0 };
    }
    if whole + fraction == 0 {
        return 0;
    }
    if text[end..].starts_with(['e', 'E']) {
        let sign = usize::from(text[end + 1..].starts_with(['-', '+']));
        let exponent = digits(end + 1 + sign);
        end += if exponent > 0 { 1 + sign + exponent } else { 0 };
    }
    end
}

/// Compares the outputs of every cell that is not tagged volatile.
///
/// # Errors
/// A cell whose tags or metadata say nothing sensible about its comparison.
pub fn compare(committed: &Notebook, executed: &Notebook) -> Result<Vec<Difference>> {
    let cells = committed.code_cells();
    if !cells.is_empty() && cells.iter().all(|cell| committed.outputs(cell.position).is_empty()) {
        let text = "the notebook has code cells but no committed outputs: there is nothing to check against; \
                    run it with --in-place and commit the result";
        return Ok(vec![Difference { cell: None, text: text.into() }]);
    }
    let mut all = Vec::new();
    for cell in &cells {
        let how = Comparison::of(cell).with_context(|| format!("cell {}", cell.number))?;
        if how.volatile {
            continue;
        }
        let old = facts(committed.outputs(cell.position));
        let new = facts(executed.outputs(cell.position));
        if let Some(text) = differences(&old, &new, &how) {
            all.push(Difference { cell: Some(cell.number), text });
        }
    }
    Ok(all)
}

/// One thing that an output says: where it says it, and the text.
#[derive(Debug, PartialEq, Eq)]
struct Fact {
    place: String,
    text: String,
}

/// How many lines are shown of what differs in a cell.
const MOST_LINES: usize = 60;

fn differences(committed: &[Fact], now: &[Fact], how: &Comparison) -> Option<String> {
    let mut lines: Vec<String> = Vec::new();
    for (old, new) in committed.iter().zip(now) {
        if old.place != new.place {
            lines.extend([format!("committed: {}", old.place), format!("now:       {}", new.place)]);
            return Some(lines.join("\n"));
        }
        if old.text == new.text {
            continue;
        }
        let (a, b) = (how.without_ignored(&old.text), how.without_ignored(&new.text));
        let (first, diff) = diff::unified(&a, &b, &|a, b| how.same(a, b), &shown);
        if !diff.is_empty() {
            lines.push(format!("{}, line {first}:\n--- committed\n+++ now", old.place));
            lines.extend(diff);
        }
    }
    if committed.len() != now.len() {
        let (more, whose, than) = match committed.len() > now.len() {
            true => (&committed[now.len()], "committed", now.len()),
            false => (&now[committed.len()], "new", committed.len()),
        };
        let text = shorten(more.text.lines().next().unwrap_or_default(), WIDTH);
        lines.push(format!(
            "only the {whose} outputs go on after {}: {}: {text}",
            count(than, "part"),
            more.place
        ));
    }
    if lines.len() > MOST_LINES {
        let hidden = lines.len() - MOST_LINES;
        lines.truncate(MOST_LINES);
        lines.push(format!("… {hidden} more lines"));
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// How much of a long line is shown.
const WIDTH: usize = 160;

/// A line of each text, of which the new one replaces the old one, if there are both.
fn shown(old: Option<&str>, new: Option<&str>) -> (String, String) {
    match (old, new) {
        (Some(old), Some(new)) => around_first_difference(old, new),
        (old, new) => {
            let plain = |line: Option<&str>| shorten(&strip_ansi(line.unwrap_or_default()), WIDTH);
            (plain(old), plain(new))
        }
    }
}

/// Both lines, cut to the part where they begin to differ; escapes are made visible when they are the difference.
fn around_first_difference(a: &str, b: &str) -> (String, String) {
    let (plain_a, plain_b) = (strip_ansi(a), strip_ansi(b));
    let (a, b) = if plain_a == plain_b || plain_a.trim() == plain_b.trim() {
        (format!("{a:?}"), format!("{b:?}"))
    } else {
        (plain_a, plain_b)
    };
    let common = a.chars().zip(b.chars()).take_while(|(x, y)| x == y).count();
    let skip = if common > WIDTH / 2 { common - WIDTH / 4 } else { 0 };
    let window = |line: &str| {
        let start = if skip > 0 { "…" } else { "" };
        format!("{start}{}", shorten(&line.chars().skip(skip).collect::<String>(), WIDTH))
    };
    (window(&a), window(&b))
}

/// The outputs as comparable facts. Stderr comes through a pipe of its own and so has no order relative to the rest:
/// it is compared as one text, last. Execution counts are not compared.
fn facts(outputs: &[Value]) -> Vec<Fact> {
    let (mut facts, mut stderr, mut number) = (Vec::<Fact>::new(), String::new(), 0);
    let mut in_stdout = false;
    for output in outputs {
        let kind = output["output_type"].as_str().unwrap_or("?");
        let text = joined(&output["text"]).unwrap_or_default();
        if kind == "stream" && output["name"] == "stderr" {
            stderr.push_str(&text);
            continue;
        }
        if kind == "stream" {
            if in_stdout && let Some(last) = facts.last_mut() {
                last.text.push_str(&text);
            } else {
                number += 1;
                facts.push(Fact { place: format!("output {number} (stdout)"), text });
            }
            in_stdout = true;
            continue;
        }
        in_stdout = false;
        number += 1;
        let empty = Map::new();
        match kind {
            "error" => {
                let traceback: Vec<&str> =
                    output["traceback"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                let text = |field: &str| output[field].as_str().unwrap_or_default();
                let text = format!("{}: {}\n{}", text("ename"), text("evalue"), traceback.join("\n"));
                facts.push(Fact { place: format!("output {number} (error)"), text });
            }
            _ => {
                let mut data: Vec<_> = output["data"].as_object().unwrap_or(&empty).iter().collect();
                data.sort_by_key(|(mime, _)| *mime);
                for (mime, value) in data {
                    facts.push(Fact { place: format!("output {number} ({mime})"), text: media(mime, value) });
                }
                let metadata = output["metadata"].as_object().filter(|m| !m.is_empty());
                if let Some(metadata) = metadata {
                    let place = format!("output {number} (metadata)");
                    facts.push(Fact { place, text: Value::Object(metadata.clone()).to_string() });
                }
            }
        }
    }
    if !stderr.is_empty() {
        facts.push(Fact { place: "stderr".into(), text: stderr });
    }
    facts
}

/// Images become their hash, everything else is its text.
fn media(mime: &str, value: &Value) -> String {
    let text = joined(value).unwrap_or_else(|| value.to_string());
    match mime {
        "image/svg+xml" => image_hash(mime, text.as_bytes()),
        _ if mime.starts_with("image/") => match BASE64.decode(text.as_bytes()) {
            Ok(bytes) => image_hash(mime, &bytes),
            Err(_) => image_hash(mime, text.as_bytes()),
        },
        "text/html" => hash_data_uris(&text),
        _ => text,
    }
}

fn image_hash(mime: &str, bytes: &[u8]) -> String {
    format!("{mime} sha256 {}", hex(bytes))
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

/// Replaces every `data:<mime>;base64,<bytes>` by the hash of the bytes.
fn hash_data_uris(html: &str) -> String {
    const MARK: &str = ";base64,";
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(at) = rest.find("data:") {
        let (before, uri) = rest.split_at(at);
        out.push_str(before);
        let mime_end =
            uri.find(|c: char| !(c.is_ascii_alphanumeric() || ":/+.-=".contains(c))).unwrap_or(uri.len());
        match uri[mime_end..].strip_prefix(MARK) {
            Some(encoded) => {
                let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=\r\n".contains(c);
                let end = encoded.find(|c| !is_base64(c)).unwrap_or(encoded.len());
                let bytes = BASE64.decode(&encoded.as_bytes()[..end]);
                let hash = bytes.map_or_else(|_| hex(&encoded.as_bytes()[..end]), |bytes| hex(&bytes));
                out.push_str(&format!("{} sha256 {hash}", &uri[..mime_end]));
                rest = &encoded[end..];
            }
            None => {
                out.push_str(&uri[..mime_end]);
                rest = &uri[mime_end..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn notebook(tags: &[&str], outputs: Value) -> Notebook {
        with_metadata(json!({"tags": tags}), outputs)
    }

    fn with_metadata(metadata: Value, outputs: Value) -> Notebook {
        let cell = json!({"cell_type": "code", "source": "show()", "metadata": metadata,
                          "execution_count": 1, "outputs": outputs});
        let text = json!({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": [cell]}).to_string();
        Notebook::parse(&text).unwrap()
    }

    fn display(mime: &str, value: Value) -> Value {
        json!([{"output_type": "display_data", "data": {mime: value}, "metadata": {}}])
    }

    fn difference(old: Value, new: Value) -> Option<String> {
        tagged(&[], old, new)
    }

    fn tagged(tags: &[&str], old: Value, new: Value) -> Option<String> {
        compare(&notebook(tags, old), &notebook(tags, new)).unwrap().pop().map(|d| d.text)
    }

    #[test]
    fn the_same_text_stored_differently_is_the_same() {
        let old = json!([{"output_type": "stream", "name": "stdout", "text": ["a\n", "b"]},
                         {"output_type": "stream", "name": "stderr", "text": "e"},
                         {"output_type": "stream", "name": "stdout", "text": "c"}]);
        let new = json!([{"output_type": "stream", "name": "stdout", "text": "a\nbc"},
                         {"output_type": "stream", "name": "stderr", "text": ["e"]}]);
        assert_eq!(difference(old, new), None);
    }

    #[test]
    fn differing_lines_are_shown() {
        let text =
            difference(display("text/plain", json!("a\nb\nc")), display("text/plain", json!("a\nB\nc")));
        assert_eq!(
            text.unwrap(),
            "output 1 (text/plain), line 2:\n--- committed\n+++ now\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c"
        );
        let colours =
            difference(display("text/plain", json!("\x1b[31ma")), display("text/plain", json!("a")));
        assert!(colours.unwrap().contains(r"\u{1b}[31ma"));
        let long = "x".repeat(1000);
        let cut = difference(
            display("text/html", json!(format!("{long}1"))),
            display("text/html", json!(format!("{long}2"))),
        );
        let cut = cut.unwrap();
        assert!(cut.len() < 250 && cut.contains("x1\n") && cut.contains("x2"), "{cut}");
    }

    #[test]
    fn images_are_named_by_their_hashes() {
        let text =
            difference(display("image/png", json!("AAAA\n")), display("image/png", json!("AAAB"))).unwrap();
        let (zeros, one) = (hex(&[0, 0, 0]), hex(&[0, 0, 1]));
        assert!(text.contains(&zeros) && text.contains(&one), "{text}");
        assert_eq!(
            difference(display("image/png", json!("AA\nAA\n")), display("image/png", json!("AAAA"))),
            None
        );

        let html = |bytes: &str| {
            display("text/html", json!(format!("<img src=\"data:image/png;base64,{bytes}\"> data: x")))
        };
        let text = difference(html("AAAA"), html("AAAB")).unwrap();
        assert!(text.contains(&zeros) && text.contains(&one) && !text.contains("AAAA"), "{text}");
        assert_eq!(difference(html("AAAA"), html("AAAA")), None);
    }

    #[test]
    fn missing_and_additional_outputs_are_told() {
        let one = display("text/plain", json!("x"));
        assert!(difference(one.clone(), json!([])).unwrap().contains("only the committed outputs go on"));
        let two = json!([one[0], one[0]]);
        assert!(difference(one, two).unwrap().contains("only the new outputs go on after 1 part: output 2"));
    }

    #[test]
    fn volatile_cells_are_not_compared() {
        let (old, new) = (display("text/plain", json!("1")), display("text/plain", json!("2")));
        assert_eq!(tagged(&["volatile"], old, new), None);
    }

    #[test]
    fn a_notebook_without_outputs_cannot_be_checked() {
        let differences = compare(&notebook(&[], json!([])), &notebook(&[], json!([]))).unwrap();
        assert!(differences[0].text.contains("no committed outputs"));
    }

    fn printed(text: &str) -> Value {
        json!([{"output_type": "stream", "name": "stdout", "text": text}])
    }

    #[test]
    fn all_that_differs_in_a_cell_is_shown() {
        let two = |a: &str, b: &str| {
            let value = |text: &str| json!({"output_type": "display_data", "data": {"text/plain": text}, "metadata": {}});
            json!([value(a), value(b)])
        };
        let text = difference(two("a", "b"), two("A", "B")).unwrap();
        assert!(text.contains("-a\n+A") && text.contains("-b\n+B"), "{text}");
        let many = |what: &str| printed(&(0..500).map(|n| format!("{what}{n}\n")).collect::<String>());
        let text = difference(many("a"), many("b")).unwrap();
        assert!(text.lines().count() < 70 && text.ends_with("more lines"), "{text}");
    }

    #[test]
    fn numbers_may_differ_within_a_tolerance() {
        let tolerance = &["check-tolerance:1e-2"];
        for (old, new, same) in [
            ("loss 1.000\nend", "loss 1.009\nend", true),
            ("loss 1.000", "loss 1.020", false),
            ("-5e-3, 7", "-5.01e-3, 7", true),
            ("-5e-3", "5e-3", false),
            ("0", "0.0", true),
            ("0", "1e-9", false),
            ("loss 1.0", "lose 1.0", false),
            ("a 1 b", "a 1", false),
            // No numbers: words, hashes, versions.
            ("layer100", "layer101", false),
            ("100a", "101a", false),
            ("v_100", "v_101", false),
            ("1.2.300", "1.2.301", false),
            ("56.5% of 1000", "56.6% of 1001", true),
        ] {
            assert_eq!(tagged(tolerance, printed(old), printed(new)).is_none(), same, "{old} {new}");
            assert_eq!(difference(printed(old), printed(new)), tagged(&[], printed(old), printed(new)));
        }
        let text = tagged(tolerance, printed("1.00\n2.00"), printed("1.001\n3.00")).unwrap();
        assert!(
            text.contains("line 2:") && text.contains("-2.00\n+3.00") && !text.contains("-1.00"),
            "{text}"
        );
        // An image is its hash, whatever the tolerance.
        assert!(
            tagged(tolerance, display("image/png", json!("AAAA")), display("image/png", json!("AAAB")))
                .is_some()
        );
    }

    #[test]
    fn what_is_ignored_may_differ_and_nothing_else() {
        let tag = &["check-ignore:took \\d+ ms"];
        assert_eq!(tagged(tag, printed("a\ntook 5 ms"), printed("a\ntook 1234 ms")), None);
        assert!(tagged(tag, printed("a\ntook 5 ms"), printed("b\ntook 5 ms")).is_some());
        assert!(tagged(tag, printed("took 5 ms"), printed("took five ms")).is_some());
        let metadata = json!({"igpt": {"check": {"ignore": ["x+", "y+"], "tolerance": 0.5}}});
        let compared = |old: &str, new: &str| {
            compare(
                &with_metadata(metadata.clone(), printed(old)),
                &with_metadata(metadata.clone(), printed(new)),
            )
        };
        assert!(compared("xx y 1.0 z", "x yyy 1.4 z").unwrap().is_empty());
        assert!(!compared("xx y 1.0 z", "x yyy 2.4 z").unwrap().is_empty());
    }

    #[test]
    fn a_comparison_that_means_nothing_is_refused() {
        let refused = |metadata: Value| {
            let notebook = with_metadata(metadata, printed("x"));
            format!("{:#}", compare(&notebook, &notebook).unwrap_err())
        };
        assert!(refused(json!({"tags": ["check-tolerance:much"]})).contains("check-tolerance:much"));
        assert!(refused(json!({"tags": ["check-tolerance:2"]})).contains("from 0 to below 1"));
        assert!(refused(json!({"tags": ["check-ignore:("]})).contains("check-ignore:("));
        assert!(refused(json!({"igpt": {"check": {"tolerence": 1}}})).contains("igpt.check.tolerence"));
    }
}
