//! No result is typed into a notebook: a number in its code is a setting that is listed, and a number in its text is an output of the
//! notebook, reported by the paper, or listed.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use regex::Regex;

/// What may stand there though no run made it, each with its reason: settings, shapes, numbers of sections are none of these.
const LISTED: &str = "fixtures/literals.toml";

/// Numbers that look like results: with decimals, or as a percentage.
fn results_in(text: &str) -> Vec<String> {
    let number = Regex::new(r"(?:^|[^\w.])(\d[\d,]*\.\d+|\d+(?:[.,]\d+)*\s?%)").expect("a pattern");
    number.captures_iter(text).map(|found| found[1].trim_end_matches(['%', ' ']).replace(',', "")).collect()
}

/// Those in the code of a cell: in its strings, and numbers with a fraction.
fn in_code(source: &str) -> Vec<String> {
    fn walk(tokens: TokenStream, found: &mut Vec<String>) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => walk(group.stream(), found),
                TokenTree::Literal(literal) => {
                    let text = literal.to_string();
                    let plain = text.trim_end_matches("f64").trim_end_matches("f32").replace('_', "");
                    if text.contains('"') {
                        found.extend(results_in(&text));
                    } else if let Ok(number) = plain.parse::<f64>()
                        && number.fract() != 0.0
                        && !plain.contains(['e', 'E'])
                    {
                        found.push(plain);
                    }
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }
    let mut found = Vec::new();
    // What is no Rust (a command of the kernel) has no results.
    if let Ok(tokens) = source.parse::<TokenStream>() {
        walk(tokens, &mut found);
    }
    found
}

/// All numbers of the papers' values and tables, with the words that stand in place of some, and the numbers of their sections.
fn reported() -> HashSet<String> {
    fn walk(value: &toml::Value, all: &mut HashSet<String>) {
        match value {
            toml::Value::Integer(whole) => drop(all.insert(whole.to_string())),
            toml::Value::Float(decimal) => {
                all.insert(format!("{decimal}"));
                all.insert(format!("{decimal:?}"));
            }
            toml::Value::String(text) => all.extend(numbers_in(text)),
            toml::Value::Array(values) => values.iter().for_each(|value| walk(value, all)),
            toml::Value::Table(table) => table.values().for_each(|value| walk(value, all)),
            toml::Value::Boolean(_) | toml::Value::Datetime(_) => {}
        }
    }
    let mut all = HashSet::new();
    for folder in papers() {
        let read = |file: &str| -> toml::Table {
            fs::read_to_string(folder.join(file)).expect("a file of the paper").parse().expect("TOML")
        };
        let (reported, paper) = (read("reported.toml"), read("paper.toml"));
        for (kind, fields) in [("value", ["value", "note"]), ("table", ["rows", "note"])] {
            for entry in reported.get(kind).and_then(|entries| entries.as_array()).into_iter().flatten() {
                fields.iter().filter_map(|field| entry.get(field)).for_each(|value| walk(value, &mut all));
            }
        }
        for section in paper["section"].as_array().expect("sections") {
            walk(&section["number"], &mut all);
        }
    }
    all
}

/// The folders of papers.
fn papers() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../papers");
    let entries = fs::read_dir(folder).expect("the papers").map(|entry| entry.expect("an entry").path());
    entries.filter(|paper| paper.join("paper.toml").is_file()).collect()
}

/// All numbers of a text, without the commas between thousands.
fn numbers_in(text: &str) -> HashSet<String> {
    let number = Regex::new(r"\d[\d,]*(?:\.\d+)?").expect("a pattern");
    number.find_iter(text).map(|found| found.as_str().trim_end_matches(',').replace(',', "")).collect()
}

/// What is wrong with a notebook: numbers that come from nowhere.
fn typed_in(
    name: &str,
    notebook: &serde_json::Value,
    reported: &HashSet<String>,
    listed: &toml::Table,
) -> Vec<String> {
    let joined = |value: &serde_json::Value| match value {
        serde_json::Value::Array(lines) => lines.iter().filter_map(|line| line.as_str()).collect::<String>(),
        other => other.as_str().unwrap_or_default().to_owned(),
    };
    let cells = notebook["cells"].as_array().expect("cells");
    let mut outputs = String::new();
    for output in cells.iter().flat_map(|cell| cell["outputs"].as_array().into_iter().flatten()) {
        outputs.push_str(&joined(&output["text"]));
        outputs.push_str(&joined(&output["data"]["text/plain"]));
    }
    let outputs = numbers_in(&outputs);
    let may = |section: &str, number: &str| {
        let numbers = listed.get(name).and_then(|of| of.get(section)).and_then(|of| of.as_table());
        numbers.is_some_and(|numbers| numbers.contains_key(number))
    };
    let mut wrong = Vec::new();
    for cell in cells {
        let source = joined(&cell["source"]);
        match cell["cell_type"].as_str() {
            Some("code") => {
                let found = in_code(&source).into_iter().filter(|number| !may("code", number));
                let found = found.filter(|number| !is_section(number));
                wrong.extend(found.map(|number| format!("{name}, code: {number}")));
            }
            Some("markdown") => {
                let found = results_in(&source).into_iter().filter(|number| {
                    !outputs.contains(number) && !reported.contains(number) && !may("text", number)
                });
                wrong.extend(found.map(|number| format!("{name}, text: {number}")));
            }
            _ => {}
        }
    }
    wrong
}

/// Whether it is the number of a section of a paper.
fn is_section(number: &str) -> bool {
    let text = |paper: PathBuf| fs::read_to_string(paper.join("paper.toml")).expect("a paper");
    papers().into_iter().any(|paper| text(paper).contains(&format!("number = \"{number}\"")))
}

fn listed() -> toml::Table {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests").join(LISTED);
    fs::read_to_string(file).expect("the list").parse().expect("TOML")
}

#[test]
fn no_result_is_typed_into_a_notebook() {
    let (reported, listed) = (reported(), listed());
    let mut wrong = Vec::new();
    for (name, _) in super::notebooks() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../notebooks").join(&name);
        let notebook = fs::read(&file).expect("a notebook");
        let notebook = serde_json::from_slice(&notebook).expect("JSON");
        wrong.extend(typed_in(&name, &notebook, &reported, &listed));
    }
    assert!(wrong.is_empty(), "from no run and no list (tests/{LISTED}): {wrong:#?}");
}

#[test]
fn a_result_that_is_typed_in_is_found() {
    let judge = |code: &str, text: &str| {
        let notebook = serde_json::json!({"cells": [
            {"cell_type": "markdown", "source": [text]},
            {"cell_type": "code", "source": [code], "outputs": [
                {"output_type": "stream", "text": ["accuracy 71.25\n"]},
            ]},
        ]});
        let listed = "[\"x.ipynb\".code]\n\"0.25\" = \"a setting\"".parse().expect("TOML");
        typed_in("x.ipynb", &notebook, &reported(), &listed)
    };
    for planted in
        ["println!(\"96.3\");", "println!(\"accuracy 96 %\");", "let ours = 70.13;", "f(1, [0.5f32, 71.9])"]
    {
        assert!(!judge(planted, "").is_empty(), "{planted}");
    }
    assert_eq!(judge("", "We get 70.13 %."), ["x.ipynb, text: 70.13"]);
    // The good twins: an output, what the paper reports, a setting that is listed, whole numbers, powers of ten.
    for (code, text) in [
        (
            "let rate = 0.25; let n = 500; let small = 1e-3; let two = 2.0;",
            "It gets 71.25 %; the paper has 96.3.",
        ),
        ("println!(\"{:.1}\", 100.0 * share);", "Section 3.2 has 512 colours."),
        ("paper.reported_in(\"3.2\")?", ""),
    ] {
        assert_eq!(judge(code, text), [""; 0], "{code} {text}");
    }
}
