//! Support for the integration tests: notebooks made on the spot, a kernel that misbehaves on demand, and what
//! `igpt run` left behind.

pub mod cases;
pub mod fake_kernel;
pub mod fake_run;
pub mod nbval;
pub mod stub_hub;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::{Value, json};

/// A code cell to write into a test's notebook.
#[derive(Debug, Clone)]
pub struct Cell {
    source: String,
    tags: Vec<String>,
    outputs: Value,
    id: Option<&'static str>,
}

/// A code cell.
pub fn cell(source: impl Into<String>) -> Cell {
    Cell { source: source.into(), tags: Vec::new(), outputs: json!([]), id: None }
}

impl Cell {
    /// With a tag.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// With this id in place of the one of its place.
    pub fn id(mut self, id: &'static str) -> Self {
        self.id = Some(id);
        self
    }

    /// With committed outputs.
    pub fn outputs(mut self, outputs: Value) -> Self {
        self.outputs = outputs;
        self
    }
}

/// The text of a notebook with a heading and these code cells.
pub fn notebook_json(cells: &[Cell]) -> String {
    let heading = json!({"cell_type": "markdown", "id": "heading", "metadata": {}, "source": "# A test"});
    let code = cells.iter().enumerate().map(|(i, cell)| {
        let id = cell.id.map_or_else(|| format!("cell-{i}"), str::to_owned);
        json!({"cell_type": "code", "id": id, "metadata": {"tags": cell.tags},
               "execution_count": null, "outputs": cell.outputs, "source": cell.source})
    });
    let cells: Vec<Value> = std::iter::once(heading).chain(code).collect();
    let kernelspec = json!({"name": "igpt", "display_name": "Rust (igpt)", "language": "rust"});
    let metadata = json!({"kernelspec": kernelspec});
    let root = json!({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells});
    serde_json::to_string_pretty(&root).expect("JSON")
}

/// Writes a notebook and returns its path.
pub fn write_notebook(folder: &Path, name: &str, cells: &[Cell]) -> PathBuf {
    let path = folder.join(format!("{name}.ipynb"));
    fs::write(&path, notebook_json(cells)).expect("a notebook can be written");
    path
}

/// An executed notebook.
#[derive(Debug)]
pub struct Executed {
    /// The whole document.
    pub root: Value,
}

impl Executed {
    /// Reads it back.
    pub fn read(path: &Path) -> Self {
        let text =
            fs::read_to_string(path).unwrap_or_else(|e| panic!("{} was not saved: {e}", path.display()));
        Self { root: serde_json::from_str(&text).expect("the saved notebook is JSON") }
    }

    /// The code cells in order.
    pub fn code_cells(&self) -> impl Iterator<Item = &Value> {
        let cells = self.root["cells"].as_array().expect("a notebook has cells").iter();
        cells.filter(|cell| cell["cell_type"] == "code")
    }

    /// The code cell with this number, from 1.
    pub fn cell(&self, number: usize) -> &Value {
        self.code_cells().nth(number - 1).unwrap_or_else(|| panic!("there is no code cell {number}"))
    }

    /// The outputs of a code cell.
    pub fn outputs(&self, number: usize) -> &[Value] {
        self.cell(number)["outputs"].as_array().expect("a code cell has outputs")
    }

    /// What a code cell printed to this stream.
    pub fn stream(&self, number: usize, name: &str) -> String {
        let outputs = self.outputs(number).iter();
        outputs
            .filter(|o| o["output_type"] == "stream" && o["name"] == name)
            .map(|o| text(&o["text"]))
            .collect()
    }

    /// The only error of a code cell: name, value, traceback.
    pub fn error(&self, number: usize) -> (String, String, String) {
        let mut errors = self.outputs(number).iter().filter(|o| o["output_type"] == "error");
        let error =
            errors.next().unwrap_or_else(|| panic!("no error in cell {number}: {:?}", self.outputs(number)));
        let lines = error["traceback"].as_array().expect("an error has a traceback");
        let traceback: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
        (text(&error["ename"]), text(&error["evalue"]), traceback.join("\n"))
    }
}

/// A text of a notebook, stored as one string or as lines.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
        other => panic!("not a text: {other}"),
    }
}

/// Whether a process with this id is there and not a zombie.
pub fn is_alive(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z') && !line.contains('X'))
}

/// The `igpt` command. Cargo tells tests of the package that builds it where it is.
pub fn igpt() -> Command {
    let program = std::env::var_os("CARGO_BIN_EXE_igpt").map(PathBuf::from).unwrap_or_else(|| {
        // target/<profile>/deps/<test>
        let test = std::env::current_exe().expect("the test's own file");
        test.ancestors().nth(2).expect("a build folder").join("igpt")
    });
    let mut command = Command::new(program);
    command.env("JUPYTER_DATA_DIR", jupyter_data());
    command
}

/// A second checkout of the files as they are, in a folder of this name. Its kernels copy the compiled library of the first one.
pub fn second_checkout(name: &str) -> PathBuf {
    let first = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let second = temporary().join(name);
    let _ = fs::remove_dir_all(&second);
    for folder in ["kernel-lib", "notebooks", "papers", "data", "tests"] {
        copy(&first.join(folder), &second.join(folder));
    }
    for file in ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"] {
        fs::copy(first.join(file), second.join(file)).expect("the checkout's files can be copied");
    }
    second
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("the folder can be listed") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("the file can be copied");
        }
    }
}

/// Where tests write.
fn temporary() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own file");
    test.ancestors().nth(3).expect("a target folder").join("tmp")
}

/// Jupyter's folder of these tests: they do not touch the user's kernelspec.
pub fn jupyter_data() -> PathBuf {
    temporary().join("jupyter")
}

/// Sets the kernel up, once; a moment if the main command ran before, else minutes.
pub fn set_up() {
    static DONE: OnceLock<bool> = OnceLock::new();
    let done = DONE.get_or_init(|| igpt().arg("setup").status().is_ok_and(|status| status.success()));
    assert!(done, "`igpt setup` failed");
}

/// Jupyter's `jupyter` program: of the checkout's `.venv`, else of the `PATH`. Without one a test that needs it says why
/// it does nothing; on CI it fails.
pub fn jupyter() -> Option<PathBuf> {
    // To ask takes a second.
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(find_jupyter).clone()
}

fn find_jupyter() -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/jupyter");
    let works = |program: &PathBuf| {
        let asked = Command::new(program).args(["nbconvert", "--version"]).output();
        asked.is_ok_and(|output| output.status.success())
    };
    let found = [own, PathBuf::from("jupyter")].into_iter().find(works);
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "Jupyter is not installed, and CI needs it");
        println!("skipped: Jupyter with nbconvert is not installed (see tests/jupyter/requirements.txt)");
    }
    found
}

/// As a cell could encode something.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * place)) as usize & 63]));
        }
        text.push_str(&"==="[..3 - chunk.len()]);
    }
    text
}

/// A PNG file of RGB pixels, not compressed.
pub fn png(width: u32, height: u32, pixels: &[u8]) -> Vec<u8> {
    assert_eq!(pixels.len() as u32, width * height * 3, "an image of {width} x {height}");
    let rows = pixels.chunks(width as usize * 3).flat_map(|row| [&[0], row].concat());
    let rows: Vec<u8> = rows.collect();
    let mut stream = vec![0x78, 0x01];
    let blocks = rows.chunks(0xffff).count();
    for (number, block) in rows.chunks(0xffff).enumerate() {
        let length = block.len() as u16;
        stream.push(u8::from(number + 1 == blocks));
        stream.extend(length.to_le_bytes());
        stream.extend((!length).to_le_bytes());
        stream.extend(block);
    }
    let (low, high) = rows.iter().fold((1, 0), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    stream.extend((high << 16 | low).to_be_bytes());
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [(b"IHDR", header), (b"IDAT", stream), (b"IEND", Vec::new())] {
        let chunk = [&kind[..], &data].concat();
        let sum = chunk.iter().fold(u32::MAX, |sum, byte| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
                (sum >> 1) ^ if sum & 1 == 1 { 0xedb8_8320 } else { 0 }
            })
        });
        file.extend((data.len() as u32).to_be_bytes());
        file.extend(chunk);
        file.extend((!sum).to_be_bytes());
    }
    file
}
