//! `--check`: are the new outputs the committed ones?

use data_encoding::BASE64_MIME_PERMISSIVE as BASE64;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::{
    notebook::{CodeCell, Notebook, joined},
    outcome::Difference,
    text::{count, shorten, strip_ansi},
};

/// Cells with this tag are executed but not compared.
pub const VOLATILE: &str = "volatile";

/// Compares the outputs of every cell that is not tagged volatile.
pub fn compare(committed: &Notebook, executed: &Notebook) -> Vec<Difference> {
    let cells = committed.code_cells();
    if !cells.is_empty() && cells.iter().all(|cell| committed.outputs(cell.position).is_empty()) {
        let text = "the notebook has code cells but no committed outputs: there is nothing to check against; \
                    run it with --in-place and commit the result";
        return vec![Difference { cell: None, text: text.into() }];
    }
    let compared = cells.iter().filter(|cell| !cell.has_tag(VOLATILE));
    compared
        .filter_map(|cell| {
            let old = facts(committed.outputs(cell.position));
            let new = facts(executed.outputs(cell.position));
            first_difference(&old, &new).map(|text| describe(cell, text))
        })
        .collect()
}

fn describe(cell: &CodeCell, text: String) -> Difference {
    Difference { cell: Some(cell.number), text }
}

/// One thing that an output says: where it says it, and the text.
#[derive(Debug, PartialEq, Eq)]
struct Fact {
    place: String,
    text: String,
}

fn first_difference(committed: &[Fact], now: &[Fact]) -> Option<String> {
    for (old, new) in committed.iter().zip(now) {
        if old.place != new.place {
            return Some(format!("committed: {}\nnow:       {}", old.place, new.place));
        }
        if old.text != new.text {
            return Some(format!("{}, {}", old.place, line_difference(&old.text, &new.text)));
        }
    }
    let (more, whose, than) = match committed.len().cmp(&now.len()) {
        std::cmp::Ordering::Equal => return None,
        std::cmp::Ordering::Greater => (&committed[now.len()], "committed", now.len()),
        std::cmp::Ordering::Less => (&now[committed.len()], "new", committed.len()),
    };
    let text = shorten(more.text.lines().next().unwrap_or_default(), WIDTH);
    Some(format!("only the {whose} outputs go on after {}: {}: {text}", count(than, "part"), more.place))
}

/// How much of a long line is shown.
const WIDTH: usize = 160;

fn line_difference(old: &str, new: &str) -> String {
    let (mut old_lines, mut new_lines) = (old.split('\n'), new.split('\n'));
    let mut number = 1;
    loop {
        match (old_lines.next(), new_lines.next()) {
            (Some(a), Some(b)) if a == b => number += 1,
            (None, None) => return "the texts differ".into(),
            (a, b) => {
                let (a, b) = around_first_difference(a, b);
                return format!("line {number}:\ncommitted: {a}\nnow:       {b}");
            }
        }
    }
}

/// Both lines, cut to the part where they begin to differ; escapes are made visible when they are the difference.
fn around_first_difference(old: Option<&str>, new: Option<&str>) -> (String, String) {
    let (Some(a), Some(b)) = (old, new) else {
        let shown =
            |line: Option<&str>| line.map_or("(ends here)".into(), |line| shorten(&strip_ansi(line), WIDTH));
        return (shown(old), shown(new));
    };
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

/// Pictures become their hash, everything else is its text.
fn media(mime: &str, value: &Value) -> String {
    let text = joined(value).unwrap_or_else(|| value.to_string());
    match mime {
        "image/svg+xml" => picture_hash(mime, text.as_bytes()),
        _ if mime.starts_with("image/") => match BASE64.decode(text.as_bytes()) {
            Ok(bytes) => picture_hash(mime, &bytes),
            Err(_) => picture_hash(mime, text.as_bytes()),
        },
        "text/html" => hash_data_uris(&text),
        _ => text,
    }
}

fn picture_hash(mime: &str, bytes: &[u8]) -> String {
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
        let cell = json!({"cell_type": "code", "source": "show()", "metadata": {"tags": tags},
                          "execution_count": 1, "outputs": outputs});
        let text = json!({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": [cell]}).to_string();
        Notebook::parse(&text).unwrap()
    }

    fn display(mime: &str, value: Value) -> Value {
        json!([{"output_type": "display_data", "data": {mime: value}, "metadata": {}}])
    }

    fn difference(old: Value, new: Value) -> Option<String> {
        compare(&notebook(&[], old), &notebook(&[], new)).pop().map(|d| d.text)
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
    fn the_first_differing_line_is_shown() {
        let text =
            difference(display("text/plain", json!("a\nb\nc")), display("text/plain", json!("a\nB\nc")));
        assert_eq!(text.unwrap(), "output 1 (text/plain), line 2:\ncommitted: b\nnow:       B");
        let colours =
            difference(display("text/plain", json!("\x1b[31ma")), display("text/plain", json!("a")));
        assert!(colours.unwrap().contains(r"\u{1b}[31ma"));
        let long = "x".repeat(1000);
        let cut = difference(
            display("text/html", json!(format!("{long}1"))),
            display("text/html", json!(format!("{long}2"))),
        );
        assert!(cut.unwrap().len() < 200);
    }

    #[test]
    fn pictures_are_named_by_their_hashes() {
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
        assert!(compare(&notebook(&["volatile"], old), &notebook(&["volatile"], new)).is_empty());
    }

    #[test]
    fn a_notebook_without_outputs_cannot_be_checked() {
        let differences = compare(&notebook(&[], json!([])), &notebook(&[], json!([])));
        assert!(differences[0].text.contains("no committed outputs"));
    }
}
