//! What a client is told of a cell that failed.

use serde_json::{Value, json};

use super::{
    cell::Refusal,
    check::Objection,
    hints,
    items::Inserted,
    shown,
    traceback::{excerpt, headline},
};

/// An error as the protocol has it.
#[derive(Debug)]
pub struct Fault {
    /// Its name.
    pub ename: String,
    /// What happened.
    pub evalue: String,
    /// Lines, with colours.
    pub traceback: Vec<String>,
}

impl Fault {
    /// An error without a place.
    pub fn new(ename: &str, evalue: impl Into<String>) -> Self {
        let evalue = evalue.into();
        Self { ename: ename.into(), traceback: vec![headline(ename, &evalue)], evalue }
    }

    /// A cell that is not run.
    pub fn of_objection(objection: &Objection, code: &str, count: u64) -> Self {
        let Objection { message, place: (line, column), help } = objection;
        let mut fault = Self::new("CompileError", message.as_str());
        fault.traceback.push(format!("  at cell [{count}], line {line}, column {column}"));
        fault.traceback.extend(excerpt(code, *line, 2));
        fault.traceback.extend(help.iter().map(|help| format!("help: {help}")));
        fault
    }

    /// The content of an `error` message.
    pub fn content(&self) -> Value {
        json!({"ename": self.ename, "evalue": self.evalue, "traceback": self.traceback})
    }
}

/// Errors of the compiler that are shown in full, and lines of each.
const SHOWN: usize = 3;
const LINES: usize = 40;

/// What evcxr says of a cell that does not compile, with our number of the cell in the places: the first error on top,
/// and not more than fits a screen or two. `inserted` are lines of ours in what evcxr got of `code`.
pub fn compile_fault(errors: &[Refusal], count: u64, code: &str, inserted: Inserted) -> Fault {
    let mut distinct: Vec<Refusal> = Vec::new();
    for error in errors {
        let error = without_inserted(error, inserted);
        if !distinct.contains(&error) {
            distinct.push(error);
        }
    }
    let mut errors: Vec<&Refusal> = distinct.iter().collect();
    // The compiler finds some kinds before others; one reads from the top.
    errors.sort_by_key(|error| shown_place(&error.lines).unwrap_or((u64::MAX, 0)));
    let plain =
        |error: &Refusal| -> String { styled(&error.evalue).into_iter().map(|(_, text)| text).collect() };
    let evalue = errors.first().map(|error| plain(error)).unwrap_or_default();
    let ename = if errors.iter().take(1).all(|error| error.is_message()) { "Error" } else { "CompileError" };
    let mut traceback = vec![headline(ename, &evalue)];
    for (number, error) in errors.iter().take(SHOWN).enumerate() {
        if number > 0 {
            traceback.push(String::new());
        }
        let mut lines = places_of_ours(error, count);
        let words: String = styled(&lines.join("\n")).into_iter().map(|(_, text)| text).collect();
        if number == 0 && words.trim_start_matches("Error:").trim() == evalue.trim() {
            // The headline has said it.
            lines.clear();
        }
        if lines.len() > LINES {
            let hidden = lines.len() - LINES;
            lines.truncate(LINES);
            lines.push(format!("… {hidden} more lines"));
        }
        traceback.extend(lines);
    }
    if let Some(others) = errors.get(SHOWN..).filter(|others| !others.is_empty()) {
        traceback.push(String::new());
        traceback.push(format!("… and {} more:", others.len()));
        traceback.extend(
            others.iter().map(|error| format!("  {}", plain(error).lines().next().unwrap_or_default())),
        );
    }
    for hint in hints::hints(&errors, code) {
        traceback.push(format!("help: {hint}"));
    }
    Fault { ename: ename.into(), evalue, traceback }
}

/// The error with the user's line numbers.
fn without_inserted(error: &Refusal, inserted: Inserted) -> Refusal {
    let renumbered = |line: &String| {
        let plain: String = styled(line).into_iter().map(|(_, text)| text).collect();
        let number = plain.split_once('│').and_then(|(before, _)| before.trim().parse::<usize>().ok());
        let Some(number) = number else { return Some(line.clone()) };
        let width = number.to_string().len();
        let theirs = inserted.of_user(number)?;
        Some(line.replacen(&number.to_string(), &format!("{theirs:>width$}"), 1))
    };
    Refusal { evalue: error.evalue.clone(), lines: error.lines.iter().filter_map(renumbered).collect() }
}

/// An error's lines, with the user's own cell, line and column.
fn places_of_ours(error: &Refusal, count: u64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in &error.lines {
        // What stands behind the user's expression is ours.
        lines.extend(simplify_colours(line).replace(shown::CALL, "").split('\n').map(str::to_owned));
    }
    // evcxr's own idea of the place is always the cell's first character.
    let place = shown_place(&lines);
    for line in &mut lines {
        *line = rename_cell(line, count, place);
    }
    lines
}

/// Text in pieces of one terminal style each; the style is the escape's parameters, empty for none.
fn styled(text: &str) -> Vec<(String, String)> {
    let mut pieces: Vec<(String, String)> = Vec::new();
    for (index, part) in text.split("\u{1b}[").enumerate() {
        let (style, text) = match index {
            0 => ("", part),
            _ => part.split_once('m').unwrap_or(("", part)),
        };
        // The source's own text is printed in light grey, which cannot be read on white.
        let style = if matches!(style, "0" | "38;5;249") { "" } else { style };
        match pieces.last_mut() {
            _ if text.is_empty() => {}
            Some((last, whole)) if last == style => whole.push_str(text),
            _ => pieces.push((style.to_owned(), text.to_owned())),
        }
    }
    pieces
}

/// The same in fewer escapes: evcxr colours each character by itself.
fn simplify_colours(line: &str) -> String {
    styled(line)
        .into_iter()
        .map(|(style, text)| if style.is_empty() { text } else { format!("\u{1b}[{style}m{text}\u{1b}[0m") })
        .collect()
}

/// `command_5:1:1` becomes `cell [3], line 2, column 7`.
fn rename_cell(line: &str, count: u64, place: Option<(u64, usize)>) -> String {
    // Only in the frame of the image: a user's source may say it, too.
    let frame = line.find('╭').and_then(|frame| Some(frame + line[frame..].find("command_")?));
    let Some((before, rest)) = frame.map(|at| (&line[..at], &line[at + "command_".len()..])) else {
        return line.to_owned();
    };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(rest.len());
    let place = place.map_or(String::new(), |(line, column)| format!(", line {line}, column {column}"));
    format!("{before}cell [{count}]{place}{}", &rest[end..])
}

/// The colour in which evcxr marks what an error is about; other places in the same image explain it.
const MAIN_MARK: &str = "38;5;54";

/// Line and column of what an error is about, from evcxr's image:
///
/// ```text
///  12 │ let a = b;
///     │         ┬
/// ```
fn shown_place(lines: &[String]) -> Option<(u64, usize)> {
    let (mut number, mut bar) = (None, 0);
    for line in lines {
        let pieces = styled(line);
        let plain: String = pieces.iter().map(|(_, text)| text.as_str()).collect();
        let Some((before, _)) = plain.split_once('│') else { continue };
        if let Ok(shown) = before.trim().parse::<u64>() {
            (number, bar) = (Some(shown), before.chars().count());
            continue;
        }
        let mut at = 0usize;
        for (style, text) in &pieces {
            if style == MAIN_MARK && text.contains(['─', '┬', '│', '╭']) {
                // The bar, a blank, and the source from column 1 on.
                return Some((number?, at.checked_sub(bar + 1).filter(|column| *column > 0)?));
            }
            at += text.chars().count();
        }
    }
    None
}

/// What the commonest deaths mean.
pub fn explain_signal(how: &str) -> &'static str {
    for (signal, meaning) in [
        ("signal: 6 ", ": it was aborted, as by a stack overflow, a panic while panicking or `abort`"),
        ("signal: 9 ", ": it was killed, as by a system that is out of memory"),
        ("signal: 11 ", ": it accessed memory that is not its own, as by a stack overflow"),
        ("exit status: ", ": a cell ended it, as with `std::process::exit`"),
    ] {
        if how.starts_with(signal) {
            return meaning;
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(evalue: &str, lines: &[&str]) -> Refusal {
        Refusal { evalue: evalue.into(), lines: lines.iter().map(|line| (*line).to_owned()).collect() }
    }

    #[test]
    fn compile_errors_name_our_cell() {
        let red = "\u{1b}[31mE0308\u{1b}[0m\u{1b}[31m:\u{1b}[0m";
        let first = refusal(
            "\u{1b}[91mmismatched types\u{1b}[0m",
            &[
                &format!("{red} mismatched"),
                "   ╭─[ \u{1b}[38;5;249mcommand_7\u{1b}[0m:1:1 ]",
                "   │",
                " 2 │ let a: u8 = \"\";",
                "   │        \u{1b}[38;5;100m─┬\u{1b}[0m   \u{1b}[38;5;54m─┬\u{1b}[0m",
            ],
        );
        let fault = compile_fault(&[first], 3, "", Inserted::default());
        assert_eq!((&*fault.ename, &*fault.evalue), ("CompileError", "mismatched types"));
        assert_eq!(fault.traceback[1], "\u{1b}[31mE0308:\u{1b}[0m mismatched");
        assert!(fault.traceback[2].contains("[ cell [3], line 2, column 13 ]"), "{:?}", fault.traceback);
        let fault =
            compile_fault(&[refusal("unknown command", &["unknown command"])], 3, "", Inserted::default());
        assert_eq!(fault.ename, "Error");
    }

    #[test]
    fn lines_of_ours_are_not_counted_and_errors_told_once() {
        let error = refusal(
            "mismatched types",
            &[
                "   │",
                " 1 │ let a = 1;",
                " 2 │ #[cfg(any())] fn f() {}",
                "\u{1b}[38;5;246m12 │\u{1b}[0m let b = 2;",
            ],
        );
        let fault = compile_fault(&[error.clone(), error], 3, "", Inserted { before: 1, lines: 1 });
        assert_eq!(fault.traceback.len(), 4, "{:?}", fault.traceback);
        assert_eq!(fault.traceback[2], " 1 │ let a = 1;");
        assert!(fault.traceback[3].contains("11 │") && !fault.traceback.join("\n").contains("cfg"));
    }

    #[test]
    fn many_and_long_errors_are_folded() {
        let long: Vec<String> = (0..100).map(|line| format!("line {line}")).collect();
        let long: Vec<&str> = long.iter().map(String::as_str).collect();
        let errors: Vec<Refusal> = (0..9).map(|n| refusal(&format!("error {n}"), &long)).collect();
        let fault = compile_fault(&errors, 1, "", Inserted::default());
        assert_eq!(fault.evalue, "error 0");
        assert!(fault.traceback.len() < 150, "{}", fault.traceback.len());
        let text = fault.traceback.join("\n");
        assert!(text.contains("… 60 more lines") && text.contains("… and 6 more:\n  error 3"), "{text}");
    }
}
