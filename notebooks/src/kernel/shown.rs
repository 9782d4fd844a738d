//! The value of a cell, shown by its own display even if the expression uses up a variable.
//!
//! evcxr shows a last expression by `(expression).evcxr_display()` and, if that does not compile, by `{:?}`. An
//! expression that uses up a variable does not compile at first, because evcxr wants to keep each variable for the next
//! cell; evcxr then gives the variable up, but gives up `evcxr_display` as well: `table.note("…")` was shown as
//! `Table { caption: "", …`. So the kernel says itself what evcxr would say: `table.note("…").evcxr_display();` is a
//! statement like any other. In the library's prelude every type that has `Debug` has this method.

use std::borrow::Cow;

use syn::{Block, Expr, Stmt, spanned::Spanned as _};

use super::code::Rust;

/// What stands behind the expression.
pub const CALL: &str = ".evcxr_display();";

/// The code as evcxr gets it.
pub fn as_sent(code: &str) -> Cow<'_, str> {
    with_display(code).map_or(Cow::Borrowed(code), Cow::Owned)
}

/// The code with a call behind its last expression, if that is a call of something: only those use up variables. No line
/// and no column of the user's own code moves.
fn with_display(code: &str) -> Option<String> {
    let rust = Rust::of(code)?;
    let block = rust.parse().ok()?;
    let Some(Stmt::Expr(expression, None)) = block.stmts.last() else { return None };
    if is_unit(expression) {
        return rust.insert(expression.span().end(), ";");
    }
    let mut called = expression;
    while let Expr::Try(inner) = called {
        called = &inner.expr;
    }
    if !matches!(called, Expr::MethodCall(_) | Expr::Call(_)) {
        return None;
    }
    rust.insert(expression.span().end(), CALL)
}

/// Whether an expression has no value to show: a block that ends in a statement, a loop. evcxr would show `()` if it uses up
/// a variable.
fn is_unit(expression: &Expr) -> bool {
    let ends_in_a_statement = |block: &Block| match block.stmts.last() {
        Some(Stmt::Expr(_, None)) => false,
        Some(Stmt::Macro(call)) => call.semi_token.is_some(),
        _ => true,
    };
    match expression {
        Expr::Block(block) => block.label.is_none() && ends_in_a_statement(&block.block),
        Expr::Unsafe(block) => ends_in_a_statement(&block.block),
        Expr::ForLoop(_) | Expr::While(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_at_the_end_are_shown_by_a_statement() {
        for (code, shown) in [
            ("table.note(\"a\")", "table.note(\"a\").evcxr_display();"),
            (
                "let a = 1;\nPage::new()\n    .show(b) // ä.b()\n",
                "let a = 1;\nPage::new()\n    .show(b).evcxr_display(); // ä.b()\n",
            ),
            ("/* ä */ f(\"ä\")? /* ö */", "/* ä */ f(\"ä\")?.evcxr_display(); /* ö */"),
            (":dep a\n\nf()", ":dep a\n\nf().evcxr_display();"),
            ("use a::b;\nfn c() {}\nb(c)", "use a::b;\nfn c() {}\nb(c).evcxr_display();"),
        ] {
            assert_eq!(with_display(code).as_deref(), Some(shown));
        }
    }

    #[test]
    fn what_has_no_value_is_a_statement() {
        for (code, sent) in [
            ("{ let inner = v; println!(\"a\"); }", "{ let inner = v; println!(\"a\"); };"),
            ("for x in v { f(x) } // all", "for x in v { f(x) }; // all"),
            ("while f() {}", "while f() {};"),
        ] {
            assert_eq!(with_display(code).as_deref(), Some(sent));
        }
        for code in [
            "{ v }",
            "'a: { break 'a 1; }",
            "loop { break 1; }",
            "if a { 1 } else { 2 }",
            "{ println!(\"a\") }",
        ] {
            assert_eq!(with_display(code), None, "{code}");
        }
    }

    #[test]
    fn all_else_is_left_to_evcxr() {
        for code in [
            "",
            "a",
            "1.5",
            "a + f()",
            "f();",
            "let a = f();",
            "println!(\"a\")",
            ":vars",
            "if a { f() }",
            "f(",
            "&f()",
        ] {
            assert_eq!(with_display(code), None, "{code}");
        }
    }
}
