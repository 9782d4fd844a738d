//! The notebook document: read, run through, written back exactly as Jupyter writes it.
//!
//! The document stays a JSON value, so that fields this program has never heard of survive.

use std::{collections::HashMap, fs, io::Write as _, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value, json};

use super::secrets::Secrets;

/// The tag of cells that a run leaves out.
pub const SKIPPED: &str = "skip-execution";

/// A notebook in nbformat 4.
#[derive(Debug, Clone, PartialEq)]
pub struct Notebook {
    root: Value,
}

/// A code cell that has something to execute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeCell {
    /// Index among all cells of the document.
    pub position: usize,
    /// 1 for the first code cell that is not blank; this is how messages name a cell.
    pub number: usize,
    /// The cell's `id`, if it has one that no other cell has.
    pub id: Option<String>,
    /// The cell's text.
    pub source: String,
    /// `metadata.tags`.
    pub tags: Vec<String>,
    /// `metadata.igpt.check`: how the outputs are compared with the committed ones.
    pub check: Value,
}

impl CodeCell {
    /// Whether the cell carries this tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|t| t == tag)
    }

    /// The cell as others may see it.
    pub fn masked(&self, secrets: &Secrets) -> Self {
        Self { source: secrets.mask(&self.source).into_owned(), ..self.clone() }
    }

    /// The first line that says something, to recognise the cell by.
    pub fn first_line(&self) -> &str {
        self.source.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("")
    }
}

impl Notebook {
    /// Reads and checks a notebook file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not a notebook", path.display()))
    }

    /// Checks the parts of the format that a runner relies on; everything else is kept unseen.
    pub fn parse(text: &str) -> Result<Self> {
        let mut root: Value = serde_json::from_str(text).context("invalid JSON")?;
        let format = root.get("nbformat").and_then(Value::as_i64).context("no `nbformat` number")?;
        ensure!(format == 4, "nbformat is {format}; only 4 is supported (open and save it in JupyterLab)");
        let cells = root.get_mut("cells").and_then(Value::as_array_mut).context("no list of `cells`")?;
        for (index, cell) in cells.iter_mut().enumerate() {
            let cell = cell.as_object_mut().with_context(|| format!("cell {index} is not an object"))?;
            let kind = cell.get("cell_type").and_then(Value::as_str).map(str::to_owned);
            let kind = kind.with_context(|| format!("cell {index} has no `cell_type`"))?;
            if cell.get("source").and_then(joined).is_none() {
                bail!("cell {index} has no `source` text");
            }
            if !cell.entry("metadata").or_insert_with(|| json!({})).is_object() {
                bail!("cell {index}: `metadata` is not an object");
            }
            if kind == "code" {
                if !cell.entry("outputs").or_insert_with(|| json!([])).is_array() {
                    bail!("cell {index}: `outputs` is not a list");
                }
                cell.entry("execution_count").or_insert(Value::Null);
            }
        }
        Ok(Self { root })
    }

    /// A sentence on a notebook that is written in another language than Rust; one that does not say its language is
    /// taken for Rust.
    pub fn other_language(&self) -> Option<String> {
        let metadata = &self.root["metadata"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let kernel = &metadata["kernelspec"];
        let language = text(&kernel["language"]).or_else(|| text(&metadata["language_info"]["name"]))?;
        if language.eq_ignore_ascii_case("rust") {
            return None;
        }
        let kernel =
            text(&kernel["display_name"]).or_else(|| text(&kernel["name"])).unwrap_or(language.clone());
        Some(format!(
            "the notebook is written in {language} (its kernel is {kernel}): igpt runs notebooks in Rust alone; \
             leave it out, or run it with `jupyter nbconvert --execute`"
        ))
    }

    /// All cells, of every type, in order.
    pub fn cells(&self) -> &[Value] {
        self.root["cells"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The cells to execute, in order; blank ones are left out as Jupyter clients leave them out.
    pub fn code_cells(&self) -> Vec<CodeCell> {
        let code = self.cells().iter().enumerate().filter(|(_, cell)| cell["cell_type"] == "code");
        let sources = code.filter_map(|(position, cell)| {
            let source = joined(&cell["source"])?;
            (!source.trim().is_empty()).then_some((position, source, cell))
        });
        // A kernel takes the cell of an id for an edited version of the one that it knows by this id. A merge can leave
        // two cells of one id in a notebook, and the second must not replace what the first one defined.
        let mut ids: HashMap<&str, usize> = HashMap::new();
        for id in self.cells().iter().filter_map(|cell| cell["id"].as_str()) {
            *ids.entry(id).or_default() += 1;
        }
        sources
            .enumerate()
            .map(|(i, (position, source, cell))| CodeCell {
                position,
                number: i + 1,
                id: cell["id"].as_str().filter(|id| ids.get(id) == Some(&1)).map(str::to_owned),
                source,
                tags: tags(cell),
                check: cell["metadata"]["igpt"]["check"].clone(),
            })
            .collect()
    }

    /// The outputs of the cell at this position.
    pub fn outputs(&self, position: usize) -> &[Value] {
        self.cells().get(position).and_then(|cell| cell["outputs"].as_array()).map_or(&[], Vec::as_slice)
    }

    /// Empties every code cell that is not skipped, so that a saved notebook never mixes old outputs with new ones.
    pub fn clear_outputs(&mut self) {
        for position in 0..self.cells().len() {
            let cell = &self.cells()[position];
            let skipped = cell["metadata"]["tags"].as_array().is_some_and(|t| t.contains(&json!(SKIPPED)));
            if cell["cell_type"] == "code" && !skipped {
                self.set_outputs(position, Vec::new(), None);
            }
        }
    }

    /// Puts a code cell at this position. It gets an id where the format has ids.
    pub fn insert_cell(&mut self, position: usize, mut cell: Value) {
        let minor = self.root["nbformat_minor"].as_i64().unwrap_or(0);
        if minor >= 5 && cell["id"].is_null() {
            let taken = |id: &str| self.cells().iter().any(|cell| cell["id"] == id);
            let id = (1..).map(|n| format!("igpt-{n}")).find(|id| !taken(id));
            cell["id"] = json!(id);
        }
        if let Some(cells) = self.root["cells"].as_array_mut() {
            cells.insert(position.min(cells.len()), cell);
        }
    }

    /// Takes cells out.
    pub fn remove_cells(&mut self, which: impl Fn(&Value) -> bool) {
        if let Some(cells) = self.root["cells"].as_array_mut() {
            cells.retain(|cell| !which(cell));
        }
    }

    /// Blanks secrets in every text of the document.
    pub fn mask(&mut self, secrets: &Secrets) {
        secrets.mask_value(&mut self.root);
    }

    /// Replaces what a code cell produced.
    pub fn set_outputs(&mut self, position: usize, outputs: Vec<Value>, execution_count: Option<i64>) {
        if let Some(cell) = self.root["cells"].get_mut(position).and_then(Value::as_object_mut) {
            cell.insert("outputs".into(), Value::Array(outputs));
            cell.insert("execution_count".into(), json!(execution_count));
        }
    }

    /// The file's text as `nbformat` writes it: keys sorted, one space of indent, texts as lists of lines.
    pub fn to_json(&self) -> Result<String> {
        let mut root = sorted(&self.root);
        for cell in root["cells"].as_array_mut().into_iter().flatten() {
            split_lines(&mut cell["source"]);
            if let Some(attachments) = cell.get_mut("attachments").and_then(Value::as_object_mut) {
                attachments.values_mut().for_each(split_bundle);
            }
            if let Some(metadata) = cell["metadata"].as_object_mut() {
                metadata.shift_remove("trusted");
            }
            for output in cell.get_mut("outputs").and_then(Value::as_array_mut).into_iter().flatten() {
                match output["output_type"].as_str() {
                    Some("execute_result" | "display_data") => split_bundle(&mut output["data"]),
                    Some("stream") => split_lines(&mut output["text"]),
                    _ => {}
                }
            }
        }
        let mut text = Vec::new();
        let format = serde_json::ser::PrettyFormatter::with_indent(b" ");
        serde::Serialize::serialize(&root, &mut serde_json::Serializer::with_formatter(&mut text, format))?;
        text.push(b'\n');
        Ok(String::from_utf8(text)?)
    }

    /// Writes the file whole or not at all: a reader never sees half a notebook.
    pub fn save(&self, path: &Path) -> Result<()> {
        write_atomically(path, self.to_json()?.as_bytes())
    }
}

/// Writes to a temporary file in the same folder and renames it over `path`.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> Result<()> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut file = tempfile::Builder::new().prefix(".igpt-").tempfile_in(folder)?;
        file.write_all(bytes)?;
        // A temporary file is private to its owner; a notebook is a file like any other.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(path).map_or(0o644, |old| old.permissions().mode() & 0o777);
            file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        }
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// A cell's tags.
pub fn tags(cell: &Value) -> Vec<String> {
    let tags = cell["metadata"]["tags"].as_array();
    tags.into_iter().flatten().filter_map(|tag| tag.as_str().map(str::to_owned)).collect()
}

/// A text that may be stored as one string or as a list of lines.
pub fn joined(text: &Value) -> Option<String> {
    match text {
        Value::String(text) => Some(text.clone()),
        Value::Array(lines) => lines.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            Value::Object(entries.into_iter().map(|(k, v)| (k.clone(), sorted(v))).collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

fn split_bundle(bundle: &mut Value) {
    for (mime, data) in bundle.as_object_mut().into_iter().flatten() {
        if mime.starts_with("text/") || matches!(mime.as_str(), "application/javascript" | "image/svg+xml") {
            split_lines(data);
        }
    }
}

fn split_lines(text: &mut Value) {
    if let Value::String(string) = text {
        *text = lines_with_ends(string).into_iter().map(Value::from).collect();
    }
}

/// Python's `splitlines(keepends=True)`, which knows more line ends than Rust's `lines`.
fn lines_with_ends(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let mut end = at + c.len_utf8();
        match c {
            '\r' => {
                if let Some((_, '\n')) = chars.peek() {
                    chars.next();
                    end += 1;
                }
            }
            '\n' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}' => {}
            _ => continue,
        }
        lines.push(&text[start..end]);
        start = end;
    }
    if start < text.len() {
        lines.push(&text[start..]);
    }
    lines
}

/// What tables call a notebook: its file's name without the ending. `2.1_pre-training` has none.
pub fn name(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.strip_suffix(".ipynb").map_or_else(|| name.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_as_python_splits_them() {
        assert_eq!(lines_with_ends("a\nb\r\nc\rd\u{2028}e"), ["a\n", "b\r\n", "c\r", "d\u{2028}", "e"]);
        assert_eq!(lines_with_ends("a\n"), ["a\n"]);
        assert!(lines_with_ends("").is_empty());
    }

    #[test]
    fn unknown_fields_survive_and_the_text_is_jupyters() {
        let text = r#"{"nbformat":4,"nbformat_minor":5,"metadata":{"z":1.5,"a":{"künftig":[1,"ä"]}},"future":{},
            "cells":[{"cell_type":"code","id":"x","metadata":{"trusted":true,"k":[]},"source":"a\nb","outputs":[],"execution_count":null,"new":7}]}"#;
        let written = Notebook::parse(text).unwrap().to_json().unwrap();
        let expected = "{\n \"cells\": [\n  {\n   \"cell_type\": \"code\",\n   \"execution_count\": null,\n   \"id\": \"x\",\n   \"metadata\": {\n    \"k\": []\n   },\n   \"new\": 7,\n   \"outputs\": [],\n   \"source\": [\n    \"a\\n\",\n    \"b\"\n   ]\n  }\n ],\n \"future\": {},\n \"metadata\": {\n  \"a\": {\n   \"künftig\": [\n    1,\n    \"ä\"\n   ]\n  },\n  \"z\": 1.5\n },\n \"nbformat\": 4,\n \"nbformat_minor\": 5\n}\n";
        assert_eq!(written, expected);
        assert_eq!(Notebook::parse(&written).unwrap().to_json().unwrap(), expected);
    }

    #[test]
    fn an_id_that_two_cells_have_names_none() {
        let cell = |id: &str| json!({"cell_type": "code", "id": id, "source": "1"});
        let cells = [cell("a"), cell("b"), cell("a"), json!({"cell_type": "code", "source": "1"})];
        let text = json!({"nbformat": 4, "nbformat_minor": 5, "cells": cells}).to_string();
        let ids: Vec<_> =
            Notebook::parse(&text).unwrap().code_cells().into_iter().map(|cell| cell.id).collect();
        assert_eq!(ids, [None, Some("b".into()), None, None]);
    }

    #[test]
    fn what_is_not_a_notebook_is_refused_with_the_reason() {
        let refused = |text: &str| format!("{:#}", Notebook::parse(text).unwrap_err());
        assert!(refused("{").contains("invalid JSON"));
        assert!(refused(r#"{"nbformat":3,"worksheets":[]}"#).contains("only 4 is supported"));
        assert!(
            refused(r#"{"nbformat":4,"cells":[{"cell_type":"code"}]}"#).contains("cell 0 has no `source`")
        );
        assert!(refused(r#"{"nbformat":4,"cells":[7]}"#).contains("cell 0 is not an object"));
    }
}
