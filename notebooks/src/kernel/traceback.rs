//! From evcxr's generated code back to the user's cells: where a cell failed, in its own lines.
//!
//! evcxr writes the statements of a cell, and the items of all cells so far, into one `src/lib.rs`, each piece
//! verbatim and in order, and compiles that to a library. Panics and return addresses are places in that file.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use addr2line::Loader;

use super::{cell::Failure, shown};

/// A place in a cell: its number, its line, and how many characters further right it is there than in the generated
/// code. Lines and columns count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Location {
    cell: usize,
    line: usize,
    shift: isize,
}

/// The cells of a session, and what was generated from them.
#[derive(Debug)]
pub struct Sources {
    generated_file: PathBuf,
    cells: Vec<(u64, String)>,
    /// By the number of the library.
    generated: HashMap<u64, Vec<Option<Location>>>,
}

const RED: &str = "\u{1b}[31m";
const RESET: &str = "\u{1b}[0m";

impl Sources {
    /// Sources of the evcxr that builds in the folder `cell`.
    pub fn new(cell: &Path) -> Self {
        Self { generated_file: cell.join("src/lib.rs"), cells: Vec::new(), generated: HashMap::new() }
    }

    /// Whether `cell` is the folder of another evcxr.
    pub fn is_for_another(&self, cell: &Path) -> bool {
        self.generated_file != cell.join("src/lib.rs")
    }

    /// Notes the code of cell `[count]`, which is about to run.
    pub fn begin(&mut self, count: u64, code: &str) {
        self.cells.push((count, code.to_owned()));
    }

    /// Reads what was generated from the cell that just ran; later a closure of it may panic in another cell.
    pub fn end(&mut self) {
        let Ok(text) = std::fs::read_to_string(&self.generated_file) else { return };
        if let Some(number) = number_after(&text, "fn run_user_code_") {
            self.generated.insert(number, map(&text, &self.cells));
        }
    }

    /// The traceback of a failure.
    pub fn explain(&self, failure: &Failure) -> Vec<String> {
        let mut places = self.places(failure);
        let mut lines = vec![headline(&failure.ename, &failure.evalue)];
        if failure.file != "src/lib.rs" && !failure.file.is_empty() {
            let Failure { file, line, column, .. } = failure;
            lines.push(format!("  at {}, line {line}, column {column}", short_path(file)));
        }
        places.dedup();
        for (index, (place, column)) in places.iter().enumerate() {
            let (count, code) = &self.cells[place.cell];
            let how = if index == 0 && lines.len() == 1 { "at" } else { "called from" };
            let column = column.map_or(String::new(), |column| format!(", column {column}"));
            lines.push(format!("  {how} cell [{count}], line {}{column}", place.line));
            lines.extend(excerpt(code, place.line, if index == 0 { 2 } else { 0 }));
        }
        lines
    }

    /// Where a caught panic was, in one short phrase.
    pub fn place(&self, failure: &Failure) -> String {
        let Failure { file, line, column, .. } = failure;
        match self.places(failure).first() {
            Some((place, column)) if file == "src/lib.rs" => {
                let column = column.map_or(String::new(), |column| format!(":{column}"));
                format!("cell [{}]:{}{column}", self.cells[place.cell].0, place.line)
            }
            _ => format!("{}:{line}:{column}", short_path(file)),
        }
    }

    /// The places of a failure in cells, innermost first, with the column where it is known.
    fn places(&self, failure: &Failure) -> Vec<(Location, Option<usize>)> {
        let mut lines = self.generated_lines(failure);
        if let Some(skipped) = lines.iter().position(|(_, line)| *line == failure.skip_line) {
            lines.drain(..=skipped);
        }
        let mut places = Vec::new();
        let in_cell = failure.file == "src/lib.rs";
        let library = failure.frames.first().and_then(|(file, _)| number_of_library(file));
        if in_cell && let Some(place) = library.and_then(|library| self.find(library, failure.line)) {
            let column = usize::try_from(failure.column).ok();
            let column = column.and_then(|column| column.checked_add_signed(place.shift));
            places.push((place, column));
        }
        for (library, line) in lines {
            if let Some(place) = self.find(library, line)
                && places.last().is_none_or(|(last, _): &(Location, _)| {
                    (last.cell, last.line) != (place.cell, place.line)
                })
            {
                places.push((place, None));
            }
        }
        places
    }

    fn find(&self, library: u64, line: u32) -> Option<Location> {
        let index = usize::try_from(line).ok()?.checked_sub(1)?;
        *self.generated.get(&library)?.get(index)?
    }

    /// The lines of generated code on the stack, with their library's number; inlined calls included.
    fn generated_lines(&self, failure: &Failure) -> Vec<(u64, u32)> {
        let mut libraries: HashMap<&str, Option<(u64, Loader)>> = HashMap::new();
        let mut lines = Vec::new();
        for (file, offset) in &failure.frames {
            let open = || Some((number_of_library(file)?, Loader::new(file).ok()?));
            let Some((number, loader)) = libraries.entry(file).or_insert_with(open) else { continue };
            // A return address is that of the next instruction.
            let Ok(mut frames) = loader.find_frames(offset.saturating_sub(1)) else { continue };
            while let Ok(Some(frame)) = frames.next() {
                let location = frame.location.and_then(|l| Some((l.file?, l.line?)));
                if let Some((_, line)) = location.filter(|(file, _)| self.is_generated(file)) {
                    lines.push((*number, line));
                }
            }
        }
        lines
    }

    fn is_generated(&self, file: &str) -> bool {
        file == "src/lib.rs" || Path::new(file) == self.generated_file
    }
}

/// `ename: evalue` as clients show it.
pub fn headline(ename: &str, evalue: &str) -> String {
    format!("{RED}{ename}{RESET}: {evalue}")
}

/// The line of a cell and `around` lines before and after it.
pub fn excerpt(code: &str, line: usize, around: usize) -> Vec<String> {
    let shown = line.saturating_sub(around)..=line + around;
    let numbered = code.lines().enumerate().map(|(index, text)| (index + 1, text));
    numbered
        .filter(|(number, _)| shown.contains(number))
        .map(|(number, text)| match number == line {
            true => format!("{RED}> {number:>3} | {text}{RESET}"),
            false => format!("  {number:>3} | {text}"),
        })
        .collect()
}

/// The number of the generated function that a cell's library exports; its file's name has a number of its own.
fn number_of_library(file: &str) -> Option<u64> {
    let bytes = std::fs::read(file).ok()?;
    let name = b"\0run_user_code_";
    let at = bytes.windows(name.len()).position(|window| window == name)? + name.len();
    let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&bytes[at..at + digits]).ok()?.parse().ok()
}

/// The number that follows `word` in `text`.
fn number_after(text: &str, word: &str) -> Option<u64> {
    let (_, rest) = text.rsplit_once(word)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// A path without what differs from machine to machine.
pub fn short_path(path: &str) -> &str {
    let after = |marker: &str| path.rsplit_once(marker).map(|(_, rest)| rest);
    if let Some(rest) = after("/registry/src/") {
        return rest.split_once('/').map_or(rest, |(_, rest)| rest);
    }
    let from = |marker: &str| path.rfind(marker).map(|at| &path[at + 1..]);
    if path.starts_with("/rustc/") {
        return from("/library/").unwrap_or(path);
    }
    from("/kernel-lib/").unwrap_or(path)
}

/// For each line of the generated text, its place in a cell.
fn map(generated: &str, cells: &[(u64, String)]) -> Vec<Option<Location>> {
    let Some(current) = cells.len().checked_sub(1) else { return Vec::new() };
    let mut places = Vec::new();
    // Where the search goes on: the cell and the byte after the last match.
    let mut last = (current, 0);
    let mut in_statements = false;
    for line in generated.lines() {
        if !in_statements && line.contains("fn run_user_code_") {
            (in_statements, last) = (true, (current, 0));
        }
        let text = line.trim();
        // What stands behind the user's expression is ours.
        let text = text.strip_suffix(shown::CALL).unwrap_or(text);
        if !text.contains(char::is_alphanumeric) {
            places.push(None);
            continue;
        }
        let mut found = search(cells, last, text);
        if found.is_none() && !in_statements {
            // An item of another cell begins.
            found = (0..cells.len()).rev().find_map(|cell| search(cells, (cell, 0), text));
        }
        places.push(found.map(|(cell, start)| {
            last = (cell, start + text.len());
            let before = &cells[cell].1[..start];
            let indent = line.len() - line.trim_start().len();
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
            Location {
                cell,
                line: before.matches('\n').count() + 1,
                shift: column as isize - indent as isize,
            }
        }));
    }
    places
}

/// Finds `text` in a cell at or after a byte.
fn search(cells: &[(u64, String)], (cell, from): (usize, usize), text: &str) -> Option<(usize, usize)> {
    let code = cells.get(cell)?.1.as_str();
    let rest = code.get(from..)?;
    rest.find(text).map(|at| (cell, from + at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(generated: &str, cells: &[&str]) -> Vec<Option<(usize, usize, isize)>> {
        let cells: Vec<_> = (1..).zip(cells.iter().map(|code| (*code).to_owned())).collect();
        map(generated, &cells).into_iter().map(|p| p.map(|p| (p.cell, p.line, p.shift))).collect()
    }

    #[test]
    fn statements_are_found_in_order() {
        let cell = "f(7);\nlet a = 1; f(7);\n\n    f(7);";
        let generated = "fn f(x: u8) {\n    g(x)\n}\npub fn run_user_code_3(\nf(7);\nlet a = 1; \nf(7);\nf(7);\nOk(())})();";
        let found = lines(generated, &["struct A;\nfn f(x: u8) {\n    g(x)\n}", cell]);
        let expected = [
            Some((0, 2, 0)),
            Some((0, 3, 0)),
            None,
            None,
            Some((1, 1, 0)),
            Some((1, 2, 0)),
            Some((1, 2, 11)),
            Some((1, 4, 4)),
            None,
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_stands_behind_a_shown_expression_is_no_part_of_it() {
        let generated = "pub fn run_user_code_1(\nlet a = 1;\nf(a)?.evcxr_display();\nOk(())})();";
        let found = lines(generated, &["let a = 1;\nf(a)?"]);
        assert_eq!(found, [None, Some((0, 1, 0)), Some((0, 2, 0)), None]);
    }

    #[test]
    fn paths_lose_what_is_of_the_machine() {
        let short = [
            ("/rustc/ab12/library/core/src/option.rs", "library/core/src/option.rs"),
            (
                "/home/x/.cargo/registry/src/index-1/candle-core-0.11.1/src/a.rs",
                "candle-core-0.11.1/src/a.rs",
            ),
            ("/home/x y/cell/lib/kernel-lib/src/palette.rs", "kernel-lib/src/palette.rs"),
            ("src/lib.rs", "src/lib.rs"),
        ];
        for (path, expected) in short {
            assert_eq!(short_path(path), expected);
        }
        assert_eq!(number_after("pub extern fn run_user_code_27(", "fn run_user_code_"), Some(27));
    }
}
