//! Cells that cannot do what they seem to say, found before anything of them is compiled or run:
//!
//! * a `return` or an `.await` at the top level: evcxr puts a cell into a function of its own, so the first ends the cell
//!   in silence and everything that it had bound is lost, and for the second evcxr fetches and builds an async runtime;
//! * code with syntax errors, for some of which evcxr never answers (`let a = std::;`). The compiler is asked.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use syn::{Expr, Item, spanned::Spanned as _, visit::Visit};

use super::code::Rust;

/// Why a cell is not run.
#[derive(Debug, PartialEq, Eq)]
pub struct Objection {
    /// What is wrong.
    pub message: String,
    /// Where, line and column from 1.
    pub place: (usize, usize),
    /// What to do instead.
    pub help: Option<String>,
}

/// What is to be said against a cell. `folder` is one in which evcxr's compiler runs.
pub fn object(code: &str, folder: &Path) -> Option<Objection> {
    let rust = Rust::of(code)?;
    let Ok(block) = rust.parse() else { return syntax_error(rust, folder) };
    let mut top_level = TopLevel(None);
    block.stmts.iter().for_each(|statement| top_level.visit_stmt(statement));
    let (kind, span) = top_level.0?;
    let (message, help) = match kind {
        Kind::Return => (
            "`return` outside of a function: it would end the cell here, and what the cell has bound would be lost",
            "put the code into a function, or what follows into an `else`; `?` ends a cell with an error",
        ),
        Kind::Await => (
            "`.await` outside of an async function or block",
            "a cell is not async. With a runtime of your own, for example `:dep tokio = { version = \"1\", features = \
             [\"full\"] }`, write `tokio::runtime::Runtime::new()?.block_on(async { … })`",
        ),
    };
    Some(Objection { message: message.into(), place: rust.place(span.start()), help: Some(help.into()) })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Return,
    Await,
}

/// Finds the first `return` or `.await` that is the cell's own.
struct TopLevel(Option<(Kind, proc_macro2::Span)>);

impl<'a> Visit<'a> for TopLevel {
    fn visit_expr(&mut self, expression: &'a Expr) {
        match expression {
            _ if self.0.is_some() => {}
            // Functions of their own.
            Expr::Closure(_) | Expr::Async(_) | Expr::Const(_) => {}
            Expr::Return(found) => self.0 = Some((Kind::Return, found.span())),
            Expr::Await(found) => {
                syn::visit::visit_expr(self, &found.base);
                self.0.get_or_insert((Kind::Await, found.await_token.span()));
            }
            other => syn::visit::visit_expr(self, other),
        }
    }

    fn visit_item(&mut self, _item: &'a Item) {}
}

/// The compiler's codes for strings, characters and comments without an end.
const LEFT_OPEN: [&str; 6] = ["E0748", "E0758", "E0762", "E0763", "E0765", "E0766"];

/// What the compiler finds wrong with the syntax. None if it understands the code, though we do not.
fn syntax_error(rust: Rust<'_>, folder: &Path) -> Option<Objection> {
    let mut rustc = Command::new("rustc")
        .args([
            "--edition=2024",
            "--crate-type=lib",
            "--emit=metadata",
            "--error-format=json",
            "-Awarnings",
            "-o",
        ])
        .args([
            std::env::temp_dir().join(format!("igpt-syntax-{}", std::process::id())).as_os_str(),
            "-".as_ref(),
        ])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    // No line of the cell's begins later than in the cell.
    let sent = rustc.stdin.take()?.write_all(format!("fn cell() {{\n{}\n}}", rust.text).as_bytes());
    let output = rustc.wait_with_output().ok().filter(|_| sent.is_ok())?;
    let mut objections = String::from_utf8(output.stderr)
        .ok()?
        .lines()
        .filter_map(|line| {
            let message: Value = serde_json::from_str(line).ok()?;
            // Errors of syntax have no code, but for what is left open; names are not known here, and types not looked at.
            let open = message["code"]["code"].as_str().is_some_and(|code| LEFT_OPEN.contains(&code));
            let is_syntax = message["level"] == "error" && (message["code"].is_null() || open);
            let span = message["spans"].as_array()?.iter().find(|span| span["is_primary"] == true)?;
            let number = |key: &str| span[key].as_u64().and_then(|number| usize::try_from(number).ok());
            let lines = rust.text.lines().count().max(1);
            let line = number("line_start")?.saturating_sub(1).clamp(1, lines);
            let label = span["label"].as_str().map(str::to_owned);
            is_syntax.then(|| Objection {
                message: message["message"].as_str().unwrap_or("a syntax error").to_owned(),
                place: (rust.before + line, number("column_start").unwrap_or(1)),
                help: label.filter(|label| !label.is_empty()),
            })
        })
        .collect::<Vec<_>>();
    objections.sort_by_key(|objection| objection.place);
    objections.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(code: &str) -> Option<(usize, usize)> {
        object(code, Path::new(".")).map(|objection| objection.place)
    }

    #[test]
    fn a_return_of_the_cell_is_found() {
        for (code, expected) in [
            ("let x = 1;\nif x == 1 { return Ok(()); }", (2, 13)),
            (":dep a\n\nreturn Ok(())", (3, 1)),
            ("let Some(x) = y else { return Ok(()) };", (1, 24)),
            ("fn f() { return; }\nloop { match f() { () => return Ok(()) } }", (2, 26)),
            ("f(return Ok(()))", (1, 3)),
            ("f().await", (1, 5)),
            ("let a = g(\n  f().await?);", (2, 7)),
        ] {
            assert_eq!(place(code), Some(expected), "{code}");
        }
    }

    #[test]
    fn one_of_a_function_is_none() {
        for code in [
            "fn f() -> u8 { return 1; }",
            "let f = |x: u8| { if x > 1 { return 2; } x };",
            "let f = async { return g().await; };",
            "async fn f() { g().await }",
            "impl S { fn f() { return } }",
            "loop { break; }",
            "let text = \"return\";",
            ":vars",
            "",
        ] {
            assert_eq!(object(code, Path::new(".")), None, "{code}");
        }
    }

    #[test]
    fn the_compiler_says_what_is_wrong_with_the_syntax() {
        let objection = object("// c\nlet a = std::;\nlet b = 1;", Path::new(".")).unwrap();
        assert_eq!(objection.place, (2, 14));
        assert!(objection.message.contains("expected identifier"), "{objection:?}");
        for code in ["let a = ;", "fn f( {}", "let s = \"open", "}", "struct {", "let x = 1 let y = 2;"] {
            assert!(object(code, Path::new(".")).is_some(), "{code}");
        }
    }
}
