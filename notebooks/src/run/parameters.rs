//! `-p name=value`: other values for the variables of the cell that is tagged `parameters`, in a cell of their own right
//! behind it, as papermill does it.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use syn::{Expr, Lit, Pat, Stmt, Type};

use super::notebook::{Notebook, joined, tags};

/// The tag of the cell that names the parameters and their usual values.
pub const PARAMETERS: &str = "parameters";
/// The tag of the cell with the values of this run.
pub const INJECTED: &str = "injected-parameters";

/// A value from the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// The variable.
    pub name: String,
    /// As it was written.
    pub value: String,
}

impl std::str::FromStr for Parameter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
        let name = name.trim();
        if syn::parse_str::<syn::Ident>(name).is_err() {
            return Err(format!("{name:?} is not the name of a variable"));
        }
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

/// Puts a cell with these values behind the notebook's cell of parameters. One that an earlier run left is replaced.
/// Returns where each cell was before; the new one was nowhere.
///
/// # Errors
/// There is no such cell, it defines no such variable, or a value does not fit the variable's type.
pub fn inject(notebook: &mut Notebook, parameters: &[Parameter]) -> Result<Vec<Option<usize>>> {
    let has = |cell: &Value, tag: &str| cell["cell_type"] == "code" && tags(cell).iter().any(|t| t == tag);
    let kept =
        (0..).zip(notebook.cells()).filter(|(_, cell)| !has(cell, INJECTED)).map(|(place, _)| Some(place));
    let mut places: Vec<Option<usize>> = kept.collect();
    notebook.remove_cells(|cell| has(cell, INJECTED));
    let at = notebook.cells().iter().position(|cell| has(cell, PARAMETERS));
    let at =
        at.with_context(|| format!("-p needs a code cell that is tagged `{PARAMETERS}`; there is none"))?;
    let source = joined(&notebook.cells()[at]["source"]).unwrap_or_default();
    let defined = definitions(&source).with_context(|| format!("the cell that is tagged `{PARAMETERS}`"))?;
    let mut lines = vec!["// Parameters of this run, in place of those above.".to_owned()];
    for parameter in parameters {
        let Parameter { name, value } = parameter;
        // The last one counts, where a cell defines a variable twice.
        let definition = defined.iter().rfind(|definition| definition.name == *name).with_context(|| {
            let known: Vec<&str> = defined.iter().map(|definition| definition.name.as_str()).collect();
            format!(
                "-p {name}: the cell that is tagged `{PARAMETERS}` defines no such variable, but {}",
                known.join(", ")
            )
        })?;
        lines.push(definition.with_value(value).with_context(|| format!("-p {name}={value}"))?);
    }
    let cell = json!({"cell_type": "code", "metadata": {"tags": [INJECTED]}, "execution_count": null, "outputs": [],
                      "source": lines.join("\n")});
    notebook.insert_cell(at + 1, cell);
    places.insert(at + 1, None);
    Ok(places)
}

/// A variable of the cell.
#[derive(Debug)]
struct Definition {
    /// What stands before the name.
    keyword: &'static str,
    name: String,
    /// As it is written, else as its value shows it.
    kind: Option<String>,
}

impl Definition {
    fn with_value(&self, value: &str) -> Result<String> {
        let Self { keyword, name, kind } = self;
        let kind = kind.as_deref().with_context(|| {
            format!("the type of `{name}` cannot be seen; write it down: `{keyword} {name}: TYPE = …;`")
        })?;
        Ok(format!("{keyword} {name}: {kind} = {};", literal(kind, value)?))
    }
}

/// The value as Rust code of this type.
fn literal(kind: &str, value: &str) -> Result<String> {
    fn number<T: std::str::FromStr>(kind: &str, value: &str) -> Result<String> {
        let digits = value.trim().replace('_', "");
        ensure!(digits.parse::<T>().is_ok(), "{value:?} is no {kind}");
        Ok(digits)
    }
    let compact: String = kind.chars().filter(|c| !c.is_whitespace()).collect();
    match compact.as_str() {
        "u8" => number::<u8>(kind, value),
        "u16" => number::<u16>(kind, value),
        "u32" => number::<u32>(kind, value),
        "u64" => number::<u64>(kind, value),
        "u128" => number::<u128>(kind, value),
        "usize" => number::<usize>(kind, value),
        "i8" => number::<i8>(kind, value),
        "i16" => number::<i16>(kind, value),
        "i32" => number::<i32>(kind, value),
        "i64" => number::<i64>(kind, value),
        "i128" => number::<i128>(kind, value),
        "isize" => number::<isize>(kind, value),
        "f32" | "f64" => {
            let digits = number::<f64>(kind, value)?;
            let lower = digits.trim_start_matches(['+', '-']).to_ascii_lowercase();
            let sign = if digits.starts_with('-') { "-" } else { "" };
            Ok(match lower.as_str() {
                "nan" => format!("{kind}::NAN"),
                "inf" | "infinity" => format!("{sign}{kind}::INFINITY"),
                // `5` is no floating-point number in Rust, `.5` and `+5.` neither.
                _ => {
                    let number: f64 = digits.parse().unwrap_or_default();
                    format!("{number:?}")
                }
            })
        }
        "bool" => match value.trim() {
            "true" | "True" => Ok("true".into()),
            "false" | "False" => Ok("false".into()),
            _ => bail!("{value:?} is neither true nor false"),
        },
        "char" => {
            let mut chars = value.chars();
            match (chars.next(), chars.next()) {
                (Some(only), None) => Ok(format!("{only:?}")),
                _ => bail!("{value:?} is not one character"),
            }
        }
        "&str" | "&'staticstr" => Ok(format!("{value:?}")),
        "String" | "std::string::String" => Ok(format!("String::from({value:?})")),
        "PathBuf" | "std::path::PathBuf" => Ok(format!("std::path::PathBuf::from({value:?})")),
        _ => bail!("its type is {kind}; -p sets numbers, bool, char, &str, String and PathBuf"),
    }
}

/// The variables and constants that a cell defines at its top.
fn definitions(source: &str) -> Result<Vec<Definition>> {
    // evcxr's own commands are no Rust.
    let code: Vec<&str> =
        source.lines().map(|line| if line.trim_start().starts_with(':') { "" } else { line }).collect();
    let block =
        syn::parse_str::<syn::Block>(&format!("{{\n{}\n}}", code.join("\n"))).context("it is no Rust")?;
    let mut found = Vec::new();
    for statement in block.stmts {
        match statement {
            Stmt::Local(local) => {
                let (pattern, kind) = match local.pat {
                    Pat::Type(typed) => (*typed.pat, Some(written(source, &typed.ty))),
                    pattern => (pattern, local.init.as_ref().and_then(|init| shown(&init.expr))),
                };
                if let Pat::Ident(name) = pattern {
                    let keyword = if name.mutability.is_some() { "let mut" } else { "let" };
                    found.push(Definition { keyword, name: name.ident.to_string(), kind });
                }
            }
            Stmt::Item(syn::Item::Const(item)) => {
                let kind = Some(written(source, &item.ty));
                found.push(Definition { keyword: "const", name: item.ident.to_string(), kind });
            }
            _ => {}
        }
    }
    Ok(found)
}

/// A type as the user wrote it, in one line.
fn written(source: &str, kind: &Type) -> String {
    let span = syn::spanned::Spanned::span(kind);
    let (start, end) = (span.start(), span.end());
    // The block's own brace is line 1.
    let line = start.line.checked_sub(2).and_then(|line| source.lines().nth(line));
    let text: Option<String> = line
        .filter(|_| start.line == end.line)
        .map(|line| line.chars().skip(start.column).take(end.column - start.column).collect());
    text.unwrap_or_else(|| "a type of several lines".into())
}

/// The type that a value shows.
fn shown(value: &Expr) -> Option<String> {
    match value {
        Expr::Lit(literal) => Some(match &literal.lit {
            Lit::Int(number) if number.suffix().is_empty() => "i32".into(),
            Lit::Int(number) => number.suffix().to_owned(),
            Lit::Float(number) if number.suffix().is_empty() => "f64".into(),
            Lit::Float(number) => number.suffix().to_owned(),
            Lit::Bool(_) => "bool".into(),
            Lit::Char(_) => "char".into(),
            Lit::Str(_) => "&'static str".into(),
            _ => return None,
        }),
        Expr::Unary(negative) if matches!(negative.op, syn::UnOp::Neg(_)) => shown(&negative.expr),
        Expr::Paren(inner) => shown(&inner.expr),
        Expr::MethodCall(call)
            if ["to_string", "to_owned", "into"].iter().any(|name| call.method == name) =>
        {
            let of_text = shown(&call.receiver).as_deref() == Some("&'static str") && call.method != "into";
            of_text.then(|| "String".into())
        }
        Expr::Call(call) => match &*call.func {
            Expr::Path(path) => {
                let names: Vec<String> =
                    path.path.segments.iter().map(|part| part.ident.to_string()).collect();
                match names.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                    [.., "String", "from"] => Some("String".into()),
                    [.., "PathBuf", "from"] => Some("std::path::PathBuf".into()),
                    _ => None,
                }
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = ":dep x\nlet steps: usize = 500; // of training\nlet mut rate = 1e-3;\nlet name = \"quick\".to_string();\n\
                          let fast = false;\nlet depth = -2;\nlet width = 3u8;\nconst SEED: u64 = 7;\nlet (a, b) = (1, 2);\n\
                          let file = std::path::PathBuf::from(\"a\");\nlet table = read()?;\nlet label: &'static str = \"x\";\nlet mark = 'x';";

    fn injected(parameters: &[&str]) -> Result<String> {
        let code = |source: &str, tags: &[&str]| json!({"cell_type": "code", "source": source, "metadata": {"tags": tags}});
        let cells = [
            code("let steps = 1;", &[]),
            code(SOURCE, &[PARAMETERS]),
            code("old", &[INJECTED]),
            code("steps", &[]),
        ];
        let mut notebook =
            Notebook::parse(&json!({"nbformat": 4, "nbformat_minor": 4, "cells": cells}).to_string())?;
        let parameters: Vec<Parameter> = parameters.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(inject(&mut notebook, &parameters)?, [Some(0), Some(1), None, Some(3)]);
        let sources: Vec<_> = notebook.cells().iter().map(|cell| joined(&cell["source"]).unwrap()).collect();
        assert_eq!(
            (sources.len(), &*sources[0], &*sources[3]),
            (4, "let steps = 1;", "steps"),
            "behind the right cell"
        );
        Ok(sources[2].lines().skip(1).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn each_value_gets_the_type_of_its_variable() {
        for (parameter, line) in [
            ("steps=20", "let steps: usize = 20;"),
            ("steps=1_000", "let steps: usize = 1000;"),
            ("rate=5", "let mut rate: f64 = 5.0;"),
            ("rate=.5e-3", "let mut rate: f64 = 0.0005;"),
            ("rate=-inf", "let mut rate: f64 = -f64::INFINITY;"),
            ("name=a \"b\" = c\\", r#"let name: String = String::from("a \"b\" = c\\");"#),
            ("fast=True", "let fast: bool = true;"),
            ("depth=-7", "let depth: i32 = -7;"),
            ("width=255", "let width: u8 = 255;"),
            ("SEED=8", "const SEED: u64 = 8;"),
            ("file=/a b", "let file: std::path::PathBuf = std::path::PathBuf::from(\"/a b\");"),
            ("label=ä", "let label: &'static str = \"ä\";"),
            ("mark='", "let mark: char = '\\'';"),
        ] {
            assert_eq!(injected(&[parameter]).unwrap(), line, "{parameter}");
            syn::parse_str::<Stmt>(line).unwrap();
        }
        assert_eq!(injected(&["steps=1", "fast=false"]).unwrap().lines().count(), 2);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (parameter, why) in [
            ("steps=-1", "\"-1\" is no usize"),
            ("steps=1.5", "is no usize"),
            ("width=256", "is no u8"),
            ("rate=fast", "is no f64"),
            ("fast=1", "neither true nor false"),
            ("mark=ab", "not one character"),
            ("table=7", "the type of `table` cannot be seen"),
            ("a=7", "defines no such variable, but steps, rate, name"),
            ("stepz=7", "defines no such variable"),
            ("steps=1; std::process::abort()", "is no usize"),
        ] {
            let said = format!("{:#}", injected(&[parameter]).unwrap_err());
            assert!(said.contains(why) && said.contains("-p "), "{parameter}: {said}");
        }
        for wrong in ["steps", "1a=2", "=2", "a b=1", "let=1"] {
            assert!(wrong.parse::<Parameter>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_notebook_without_parameters_is_refused() {
        let text =
            json!({"nbformat": 4, "nbformat_minor": 4, "cells": [{"cell_type": "code", "source": "1"}]})
                .to_string();
        let said =
            inject(&mut Notebook::parse(&text).unwrap(), &["a=1".parse().unwrap()]).unwrap_err().to_string();
        assert!(said.contains("tagged `parameters`"), "{said}");
    }
}
