//! Where in its file a notebook's cells stand: CI services show a failure at a line of a file.

use serde_json::Value;

/// For each cell, the file's line of each line of its source, from 1.
///
/// The text has to be a valid notebook; of another one it says less, or nothing.
pub fn lines(text: &str) -> Vec<Vec<usize>> {
    let mut scanner = Scanner { bytes: text.as_bytes(), at: 0, line: 1, cells: Vec::new() };
    let _ = scanner.value(&mut Vec::new());
    scanner.cells
}

/// The line of a cell's code at which an error's traceback says that it happened, if it names the cell that has this
/// execution count.
pub fn line_of_error(outputs: &[Value], execution_count: Option<i64>) -> Option<usize> {
    let here = format!("cell [{}], line ", execution_count?);
    let errors = outputs.iter().filter(|output| output["output_type"] == "error");
    let mut lines = errors.flat_map(|error| error["traceback"].as_array().into_iter().flatten());
    lines.find_map(|line| {
        let line = super::text::strip_ansi(line.as_str()?);
        let rest = line.split_once(&here)?.1;
        rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
    })
}

/// Reads JSON for its line numbers alone.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
    cells: Vec<Vec<usize>>,
}

/// One step from a value to one in it.
#[derive(PartialEq)]
enum Step {
    Field(String),
    Item,
}

impl Scanner<'_> {
    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.bytes.get(self.at).copied() {
            match byte {
                b'\n' => self.line += 1,
                b' ' | b'\t' | b'\r' => {}
                other => return Some(other),
            }
            self.at += 1;
        }
        None
    }

    fn take(&mut self, expected: u8) -> Option<()> {
        (self.peek()? == expected).then(|| self.at += 1)
    }

    fn string(&mut self) -> Option<String> {
        self.take(b'"')?;
        let start = self.at;
        loop {
            match self.bytes.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        let text = String::from_utf8_lossy(self.bytes.get(start..self.at)?).into_owned();
        self.at += 1;
        Some(text)
    }

    fn value(&mut self, path: &mut Vec<Step>) -> Option<()> {
        let first = self.peek()?;
        let line = self.line;
        if let [Step::Field(cells), Step::Item] = &path[..]
            && cells == "cells"
        {
            self.cells.push(Vec::new());
        }
        match first {
            b'{' => {
                self.take(b'{')?;
                while self.peek()? != b'}' {
                    let name = self.string()?;
                    self.take(b':')?;
                    path.push(Step::Field(name));
                    self.value(path)?;
                    path.pop();
                    if self.peek()? == b',' {
                        self.at += 1;
                    }
                }
                self.take(b'}')
            }
            b'[' => {
                self.take(b'[')?;
                while self.peek()? != b']' {
                    path.push(Step::Item);
                    self.value(path)?;
                    path.pop();
                    if self.peek()? == b',' {
                        self.at += 1;
                    }
                }
                self.take(b']')
            }
            b'"' => {
                let text = self.string()?;
                if let [Step::Field(cells), Step::Item, Step::Field(source), rest @ ..] = &path[..]
                    && cells == "cells"
                    && source == "source"
                    && let Some(cell) = self.cells.last_mut()
                {
                    // One string has all lines of the cell on one line of the file.
                    let lines = if rest.is_empty() { text.matches("\\n").count() + 1 } else { 1 };
                    cell.extend(std::iter::repeat_n(line, lines));
                }
                Some(())
            }
            _ => {
                while !matches!(self.bytes.get(self.at)?, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n') {
                    self.at += 1;
                }
                Some(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_line_of_a_cell_has_its_line_of_the_file() {
        let text = r#"{
 "metadata": {"source": "no cell", "cells": [{"source": ["nor this"]}]},
 "cells": [
  {
   "cell_type": "markdown",
   "source": ["one\n", "\"two\\"]
  },
  {"cell_type": "code", "outputs": [{"data": {"source": ["no"]}, "x": -1.5e3, "y": null}],
   "source": [
    "let a = 1;\n",

    "a"
   ]},
  {"source": "a\nb", "id": "x"}, {"source": []}
 ]
}"#;
        assert!(serde_json::from_str::<Value>(text).is_ok());
        assert_eq!(lines(text), [vec![6, 6], vec![10, 12], vec![14, 14], vec![]]);
        for cut in 0..text.len() {
            lines(&text[..cut]);
        }
        assert!(lines("").is_empty() && lines("[\"\\").is_empty());
    }

    #[test]
    fn the_line_of_an_error_is_that_of_its_own_cell() {
        let error = |lines: &[&str]| json!([{"output_type": "error", "traceback": lines}]);
        let outputs = error(&[
            "\u{1b}[31mpanic\u{1b}[0m: x",
            "  at cell [2], line 7, column 3",
            "  called from cell [3], line 41",
        ]);
        let outputs = outputs.as_array().unwrap();
        assert_eq!(line_of_error(outputs, Some(3)), Some(41));
        assert_eq!(line_of_error(outputs, Some(2)), Some(7));
        assert_eq!((line_of_error(outputs, Some(4)), line_of_error(outputs, None)), (None, None));
    }
}
