//! A cell's code as evcxr reads it: lines of commands, comments and shell, and the Rust behind them.

use proc_macro2::{LineColumn, Span};
use syn::{Block, Expr, Stmt};

/// A line of a cell as evcxr reads it, before the first line of Rust code.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    /// One of evcxr's own commands, by its name: `:dep`.
    Command(&'a str),
    /// A line for the shell.
    Shell,
    /// Blank, or a comment.
    Nothing,
    /// Rust, as is all that follows.
    Rust,
}

fn line_of(line: &str) -> Line<'_> {
    let name = line.trim_start_matches(' ').split(' ').next().unwrap_or_default();
    match line {
        _ if line.starts_with('!') => Line::Shell,
        _ if name.starts_with(':') => Line::Command(name),
        _ if line.starts_with("//") || line.trim().is_empty() => Line::Nothing,
        _ => Line::Rust,
    }
}

/// The lines before the first one of Rust code.
fn head(code: &str) -> impl Iterator<Item = Line<'_>> {
    code.lines().map(line_of).take_while(|line| *line != Line::Rust)
}

/// The names of evcxr's commands in the code, wherever evcxr takes them: `:dep`, `:clear`.
pub fn commands(code: &str) -> impl Iterator<Item = &str> {
    head(code).filter_map(|line| if let Line::Command(name) = line { Some(name) } else { None })
}

/// What of a session evcxr throws away at a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// At `:restart`: the process that runs the cells, with all variables.
    Variables,
    /// At `:clear`: items and dependencies, too.
    Everything,
}

/// The code in two parts, if evcxr throws something away in it: the lines up to the last such command, and the rest, on
/// the same lines as before.
pub fn split_at_loss(code: &str) -> Option<(Loss, String, String)> {
    let loss = |line: Line<'_>| match line {
        Line::Command(":clear") => Some(Loss::Everything),
        Line::Command(":restart") => Some(Loss::Variables),
        _ => None,
    };
    let losses: Vec<(usize, Loss)> =
        head(code).enumerate().filter_map(|(number, line)| Some((number, loss(line)?))).collect();
    let (last, most) = (losses.last()?.0, losses.iter().map(|(_, loss)| *loss).max()?);
    let lines: Vec<&str> = code.split_inclusive('\n').collect();
    let (first, rest) = lines.split_at(last + 1);
    Some((most, first.concat(), "\n".repeat(last + 1) + &rest.concat()))
}

/// The Rust of a cell: all from the first line that is neither a command nor blank nor a comment.
#[derive(Debug, Clone, Copy)]
pub struct Rust<'a> {
    /// The number of lines before it.
    pub before: usize,
    /// What stands in them.
    pub start: &'a str,
    /// The Rust.
    pub text: &'a str,
}

impl<'a> Rust<'a> {
    /// The Rust of the code, if there is a line of it.
    pub fn of(code: &'a str) -> Option<Self> {
        let before = head(code).count();
        let (start, text) = code.split_at(code.split_inclusive('\n').take(before).map(str::len).sum());
        (!text.is_empty()).then_some(Self { before, start, text })
    }

    /// Its statements, if it has no error of syntax. Their spans count a line before the Rust: they are for
    /// [`place`](Self::place), [`text_at`](Self::text_at) and [`insert`](Self::insert).
    pub fn parse(&self) -> syn::Result<Block> {
        syn::parse_str(&format!("{{\n{}\n}}", self.text))
    }

    /// Whether evcxr compiles and runs it. Comments alone it does not.
    pub fn runs(&self) -> bool {
        // A semicolon alone.
        let is_nothing = |statement: &Stmt| matches!(statement, Stmt::Expr(Expr::Verbatim(tokens), Some(_)) if tokens.is_empty());
        !self.parse().is_ok_and(|block| block.stmts.iter().all(is_nothing))
    }

    /// Line and column in the cell, both from 1.
    pub fn place(&self, at: LineColumn) -> (usize, usize) {
        (self.before + at.line - 1, at.column + 1)
    }

    /// The text of a span, its lines joined by blanks.
    pub fn text_at(&self, span: Span) -> String {
        let (from, to) = (span.start(), span.end());
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 2, line));
        let part = |(number, line): (usize, &str)| -> String {
            let first = if number == from.line { from.column } else { 0 };
            let last = if number == to.line { to.column } else { usize::MAX };
            line.chars().skip(first).take(last - first).collect()
        };
        lines
            .filter(|(number, _)| (from.line..=to.line).contains(number))
            .map(part)
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The cell's code with `text` put in at a place.
    pub fn insert(&self, at: LineColumn, text: &str) -> Option<String> {
        // Columns are characters.
        let mut lines = self.text.split_inclusive('\n');
        let before: usize = lines.by_ref().take(at.line.checked_sub(2)?).map(str::len).sum();
        let line = lines.next()?;
        let column =
            line.char_indices().nth(at.column).map_or(line.trim_end_matches('\n').len(), |(byte, _)| byte);
        let (first, rest) = self.text.split_at_checked(before + column)?;
        Some(format!("{}{first}{text}{rest}", self.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_where_evcxr_takes_them() {
        let found = |code| commands(code).collect::<Vec<_>>();
        assert_eq!(found("  :clear all\n\n:dep x\nlet a = 1;\n:restart"), [":clear", ":dep"]);
        assert_eq!(found("// fresh\n!ls\n:clear\npanic!()"), [":clear"]);
        assert_eq!(found("let a = \"\n:clear\n\";"), [""; 0]);
        assert_eq!(found("  // indented, so Rust\n:clear"), [""; 0]);
        assert_eq!(found("\t:clear"), [""; 0]);
    }

    #[test]
    fn what_follows_a_loss_is_a_part_of_its_own() {
        let split = |code| split_at_loss(code).map(|(loss, first, rest)| format!("{loss:?} {first}|{rest}"));
        assert_eq!(split(":clear\npanic!()").as_deref(), Some("Everything :clear\n|\npanic!()"));
        assert_eq!(
            split("// a\n :clear x\n:restart\n:dep b\nf()").as_deref(),
            Some("Everything // a\n :clear x\n:restart\n|\n\n\n:dep b\nf()")
        );
        assert_eq!(split(":restart").as_deref(), Some("Variables :restart|\n"));
        assert_eq!(split(":vars\nlet a = 1;\n:clear"), None);
        assert_eq!(split(":clear_cache"), None);
    }

    #[test]
    fn rust_is_told_from_commands() {
        for code in ["", ":vars", "!ls", "// c\n\n:dep x", "/* c */", "  // c", ";"] {
            assert!(!Rust::of(code).is_some_and(|rust| rust.runs()), "{code:?}");
        }
        for code in ["1", "fn f() {}", ":dep x\nuse a::b;", "/* */ 1", "#![allow(unused)]", "let"] {
            assert!(Rust::of(code).unwrap().runs(), "{code:?}");
        }
        let rust = Rust::of("// a\n\nlet b = 1;").unwrap();
        assert_eq!((rust.before, rust.start, rust.text), (2, "// a\n\n", "let b = 1;"));
    }
}
