//! What to write instead, in the user's own words: for the commonest errors of a notebook that no other Rust program has,
//! since variables must outlive their cell.

use proc_macro2::Span;
use syn::{Expr, ExprClosure, Local, Pat, Stmt, spanned::Spanned as _};

use super::{cell::Refusal, code::Rust};

/// Hints at these errors of the cell `code`, each once.
pub fn hints(errors: &[&Refusal], code: &str) -> Vec<String> {
    let mut hints: Vec<String> = Vec::new();
    for error in errors {
        let text = format!("{}\n{}", error.evalue, error.lines.join("\n"));
        if let Some(hint) = hint(&text, code).filter(|hint| !hints.contains(hint)) {
            hints.push(hint);
        }
    }
    hints
}

fn hint(error: &str, code: &str) -> Option<String> {
    let variable = || error.split("The variable `").nth(1)?.split('`').next();
    if error.contains("is a closure, which cannot be persisted") {
        return of_closure(variable()?, code);
    }
    if error.contains("contains a reference with a non-static lifetime") {
        return of_reference(variable()?, code);
    }
    if error.contains("unknown metavariable")
        || error.contains("unknown macro variable")
        || error.contains("`vis`")
    {
        return Some(
            "a macro that defines items, such as `thread_local!`, works inside a module: `mod state { thread_local! { pub \
             static … } }` and `use state::*;`"
                .into(),
        );
    }
    None
}

/// The `let` of a variable, with the Rust in which it stands.
fn binding<'a>(variable: &str, code: &'a str) -> Option<(Local, Rust<'a>)> {
    let rust = Rust::of(code)?;
    let block = rust.parse().ok()?;
    let binds = |pattern: &Pat| match pattern {
        Pat::Ident(name) => name.ident == variable,
        Pat::Type(typed) => matches!(&*typed.pat, Pat::Ident(name) if name.ident == variable),
        _ => false,
    };
    let found = block.stmts.into_iter().rev().find_map(|statement| match statement {
        Stmt::Local(local) if binds(&local.pat) => Some(local),
        _ => None,
    })?;
    Some((found, rust))
}

/// The text of a place, if it is on one line: what goes over several would be a riddle in a hint.
fn text(rust: Rust<'_>, span: Span) -> Option<String> {
    (span.start().line == span.end().line).then(|| rust.text_at(span))
}

fn of_closure(variable: &str, code: &str) -> Option<String> {
    let general = format!(
        "a closure has no type that a later cell could name: write a function, or a box of a named type, \
         `let {variable}: Box<dyn Fn(…) -> …> = Box::new(…);`"
    );
    let Some((local, rust)) = binding(variable, code) else { return Some(general) };
    let closure = match local.init.as_ref().map(|init| &*init.expr) {
        Some(Expr::Closure(closure)) => closure,
        _ => return Some(general),
    };
    Some(as_function(variable, closure, rust).unwrap_or(general))
}

fn as_function(variable: &str, closure: &ExprClosure, rust: Rust<'_>) -> Option<String> {
    let parameters: Option<Vec<String>> = closure
        .inputs
        .iter()
        .map(|input| match input {
            Pat::Type(typed) => text(rust, typed.span()),
            other => Some(format!("{}: …", text(rust, other.span())?)),
        })
        .collect();
    let output = match &closure.output {
        syn::ReturnType::Type(_, kind) => text(rust, kind.span())?,
        syn::ReturnType::Default => "…".into(),
    };
    let body = text(rust, closure.body.span())?;
    let body = if matches!(&*closure.body, Expr::Block(_)) { body } else { format!("{{ {body} }}") };
    let parameters = parameters?.join(", ");
    Some(format!(
        "a closure has no type that a later cell could name; a function does: `fn {variable}({parameters}) -> {output} {body}` \
         (it cannot use variables: give them as parameters)"
    ))
}

fn of_reference(variable: &str, code: &str) -> Option<String> {
    let (local, rust) = binding(variable, code)?;
    let value = &*local.init.as_ref()?.expr;
    let owned = match value {
        Expr::Reference(reference) => match &*reference.expr {
            Expr::Index(index) if matches!(&*index.index, Expr::Range(_)) => {
                format!("{}.to_owned()", text(rust, index.span())?)
            }
            other => format!("{}.clone()", text(rust, other.span())?),
        },
        Expr::MethodCall(call) if call.method == "iter" => {
            format!("{}.clone().into_iter()", text(rust, call.receiver.span())?)
        }
        other => format!("{}.to_owned()", text(rust, other.span())?),
    };
    Some(format!(
        "a variable outlives its cell, and so must what it refers to: `let {variable} = {owned};` owns its data"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> Refusal {
        Refusal { evalue: text.into(), lines: vec![text.into()] }
    }

    #[test]
    fn hints_are_in_the_users_own_words() {
        let closure = refusal("The variable `f` is a closure, which cannot be persisted.\nYou can however");
        let hint = |error: &Refusal, code: &str| hints(&[error, error], code).join("|");
        assert!(hint(&closure, "let f = |x: i32| x + 1;").contains("`fn f(x: i32) -> … { x + 1 }`"));
        assert!(
            hint(&closure, "let f = |x, y: u8| -> u8 { x + y };")
                .contains("`fn f(x: …, y: u8) -> u8 { x + y }`")
        );
        assert!(hint(&closure, "let f = g();").contains("`let f: Box<dyn Fn(…) -> …> = Box::new(…);`"));
        let reference = refusal(
            "The variable `s` contains a reference with a non-static lifetime so\ncan't be persisted.",
        );
        for (code, owned) in [
            ("let s = &v[1..];", "let s = v[1..].to_owned();"),
            (":dep a\nlet t = 1; let s = &v;", "let s = v.clone();"),
            ("let s = text.trim();", "let s = text.trim().to_owned();"),
            ("let s = v.iter();", "let s = v.clone().into_iter();"),
        ] {
            assert!(
                hint(&reference, code).contains(&format!("`{owned}`")),
                "{code}: {}",
                hint(&reference, code)
            );
        }
        assert_eq!(hint(&refusal("mismatched types"), "let s = 1;"), "");
    }
}
