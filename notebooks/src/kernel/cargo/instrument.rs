//! The code that evcxr generates around a cell, made to tell the truth.
//!
//! evcxr calls a cell that panicked or returned early a success. So before a user's cell is compiled, calls of
//! `igpt::notebook::cell` are put into the lines that evcxr has generated, and those lines get absolute paths: nothing
//! that a cell defines or imports (`fn println() {}`, `mod std {}`) can take their place. No line of the user's moves.
//!
//! ```text
//!   match std::panic::catch_unwind(              start(nonce)
//!     std::panic::AssertUnwindSafe(||{
//!   let _ = (|| -> std::result::Result<…> {      returned((|| …
//!       the user's statements
//!       evcxr_variable_store.put_variable…
//!   Ok(())})();                                  reached_its_end()
//!   })) {
//!     Ok(_) => {}
//!     Err(_) => { println!("EVCXR_PANIC…")       panicked(payload)
//!   }}
//!   evcxr_variable_store                         end(nonce)
//! ```
//!
//! evcxr also has each cell take all variables of earlier cells out of its store, and put them back at its end: more code for the compiler
//! than most cells' own. So a variable of which a cell says nothing stays in the store, and the others go through functions of the
//! library's (see [`variables`]).
//!
//! Code in which one of these places is not found is not compiled at all: a cell that cannot be judged is an error.

mod variables;

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use syn::spanned::Spanned as _;

use self::variables::{Access, Mentions, Statement};

/// Where the kernel says which cell is compiled next, relative to the cell's folder.
const ORDER: &str = "igpt-cell.json";
/// What an earlier compilation of the same cell was about.
const SEEN: &str = "igpt-cell-seen.json";

/// Which cell is compiled next. Without it, evcxr's own code or the kernel's is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The word by which the cell's marks are known.
    pub nonce: String,
    /// Whether it may ask the user, by `evcxr_input`.
    pub asks: bool,
    /// Environment variables that it sets before anything else: those that its process should have had when it was started.
    #[serde(default)]
    pub variables: Vec<(String, String)>,
}

impl Order {
    /// The next cell is this one, or (none) the kernel's own.
    ///
    /// # Errors
    /// If the folder of the cells cannot be written.
    pub fn give(order: Option<&Self>, cell: &Path) -> Result<()> {
        let file = cell.join(ORDER);
        let done = match order {
            Some(order) => fs::write(&file, serde_json::to_vec(order)?),
            None => match fs::remove_file(&file) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                done => done,
            },
        };
        done.with_context(|| format!("cannot write {}", file.display()))
    }
}

/// What stands in a refusal that only asks for the cell to be run again: a variable of an earlier cell was dropped, for
/// its type was defined anew, and now the cell's own variable of that name can be kept.
pub const AGAIN: &str = "igpt: run this cell again";

/// The variables of a cell: those that it loads from earlier cells, and those that it binds.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct CellVariables {
    nonce: String,
    loads: Vec<String>,
    binds: Vec<String>,
}

/// Instruments the code in this folder, if it is a user's cell. Returns why the code must not be compiled, if so.
///
/// # Errors
/// If the code cannot be read or written.
pub fn instrument(folder: &Path) -> Result<Option<String>> {
    let Some(order) = fs::read(folder.join(ORDER)).ok().and_then(|text| serde_json::from_slice(&text).ok())
    else {
        return Ok(None);
    };
    let file = folder.join("src/lib.rs");
    let code = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let (code, now) = match instrumented(&code, &order) {
        Ok(done) => done,
        Err(missing) => {
            return Ok(Some(format!(
                "the kernel cannot tell how this cell would end, so it is not run: {missing} in the code that evcxr \
                 generates around it. A `:dep` that is not compatible, or another version of evcxr_jupyter than the \
                 kernel's, can be the cause; restart the kernel"
            )));
        }
    };
    // evcxr drops a variable whose type was defined anew, and with it the cell's own one of the same name.
    let before: Option<CellVariables> =
        fs::read(folder.join(SEEN)).ok().and_then(|seen| serde_json::from_slice(&seen).ok());
    if let Some(before) = before.filter(|before| before.nonce == now.nonce)
        && before.loads.iter().any(|name| !now.loads.contains(name) && before.binds.contains(name))
    {
        return Ok(Some(AGAIN.into()));
    }
    fs::write(folder.join(SEEN), serde_json::to_vec(&now)?).context("cannot write beside the cell")?;
    fs::write(&file, code).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(None)
}

/// Lines that evcxr writes once at most, and what stands in their place. In order.
const TRAIT: &str = "            struct EvcxrUserCodeError {}";
const PRELUDE: &str = "use igpt::prelude::*;";
const FUNCTION: &str = "pub extern \"C\" fn run_user_code_";
const CATCH: &str = "match std::panic::catch_unwind(";
const BODY: &str = "let _ = (|| -> std::result::Result<(), EvcxrUserCodeError> {";
const END_OF_BODY: &str = "Ok(())})();";
const STORE: [&str; 2] = [
    "pub struct VariableStore {",
    "    variables: std::collections::HashMap<String, Box<dyn std::any::Any + 'static>>,",
];
const NEW_STORE: &str = "  evcxr_variable_store = evcxr_internal_runtime::create_variable_store();";
const CELL: &str = "::igpt::notebook::cell";

/// The instrumented code, or what was not found.
fn instrumented(code: &str, order: &Order) -> std::result::Result<(String, CellVariables), String> {
    let mut lines: Vec<String> = code.lines().map(str::to_owned).collect();
    let Order { nonce, asks, variables } = order;
    let mut seen = CellVariables { nonce: nonce.clone(), ..CellVariables::default() };
    // No thread of the user's runs before the first cell.
    let set =
        |(name, value): &(String, String)| format!("unsafe {{ ::std::env::set_var({name:?}, {value:?}) }}; ");
    let set: String = variables.iter().map(set).collect();
    let start = format!("{set}{CELL}::start({nonce:?}, {asks});");
    let end = format!("{CELL}::end({nonce:?});");

    // The function; before it the user's items, and what evcxr needs.
    let functions: Vec<usize> = (1..lines.len())
        .filter(|at| lines[*at].starts_with(FUNCTION) && lines[at - 1] == "#[unsafe(no_mangle)]")
        .collect();
    let [function] = functions[..] else { return Err(format!("not one `{FUNCTION}`")) };
    // evcxr leaves the colons out, and then a `mod igpt` of the user's is meant.
    for line in lines[..function].iter_mut().filter(|line| *line == PRELUDE) {
        *line = PRELUDE.replace("use ", "use ::");
    }
    let header = lines.get(function + 1).cloned().unwrap_or_default();
    if header.starts_with("mut x: *mut std::os::raw::c_void)") {
        // Nothing but items: it runs nothing, and so it ends well.
        name_macros(&mut lines[..function - 1]);
        lines[function + 1] =
            header.replace("std::os", "::std::os").replace("{x}", &format!("{{ {start} {end} x }}"));
        return Ok((joined(&lines), seen));
    }
    let body = (function..lines.len()).find(|at| lines[*at] == BODY).ok_or(format!("no `{BODY}`"))?;
    let last =
        (body..lines.len()).rfind(|at| lines[*at] == END_OF_BODY).ok_or(format!("no `{END_OF_BODY}`"))?;
    let begin = (0..function).rfind(|at| lines[*at] == TRAIT).ok_or(format!("no `{}`", TRAIT.trim()))?;

    name_macros(&mut lines[..begin]);

    // The conversion of errors, and evcxr's module of its own.
    let (mut converts, mut in_module, mut has_store) = (false, false, false);
    for at in begin..function {
        let is_of_store = lines[at - 1..=at] == STORE;
        let [before, line] = &mut lines[at - 1..=at] else { continue };
        in_module |= line.starts_with("mod evcxr_internal_runtime {");
        let text = line.trim();
        if in_module && is_of_store {
            has_store = true;
            *before = format!("#[repr(transparent)] {before}");
            *line = format!("    pub {text}");
        } else if in_module {
            // What it says of variables that it drops is said by the kernel.
            let said = text.starts_with("eprintln!(").then(String::new);
            let absolute =
                || line.replace("println!", "::std::println!").replace("panic!(", "::std::panic!(");
            *line = said.unwrap_or_else(absolute);
        } else if text.starts_with("impl<T: ") {
            *line = line.replace("<T: std::", "<T: ::std::").replace(" From<", " ::std::convert::From<");
        } else if let Some(arguments) = text.strip_prefix("eprintln!(") {
            converts = true;
            *line = format!(
                "{CELL}::question_mark(::std::line!(), &::std::format_args!({}), ::std::any::type_name::<T>());",
                arguments.trim_end_matches(");")
            );
        } else if text.starts_with("println!(") {
            line.clear();
        }
    }
    if !converts {
        return Err("no conversion of errors".into());
    }

    if !has_store {
        return Err("no store of variables".into());
    }

    // Before the user's code: the variables of earlier cells.
    let mentions = Mentions::of(&lines[body + 1..last]);
    for at in function..body {
        match Statement::ending_at(&lines, at, function) {
            Some(taken) if taken.access == Access::Take && !mentions.may_be(&taken.name) => {
                taken.remove(&mut lines);
                seen.loads.push(taken.name);
            }
            Some(statement) => {
                statement.call_the_library(&mut lines);
                if statement.access == Access::Take {
                    seen.loads.push(statement.name);
                }
            }
            None if lines[at] == NEW_STORE => {
                lines[at] = "  evcxr_variable_store = ::igpt::notebook::variables::create().cast();".into();
            }
            None => lines[at] = absolute(&lines[at]),
        }
    }
    let caught = lines[body - 1].contains("AssertUnwindSafe(||{");
    match caught {
        true => {
            let catch = (function..body).find(|at| lines[*at].ends_with(&absolute(CATCH)));
            let catch = catch.ok_or(format!("no `{CATCH}`"))?;
            lines[catch] = format!("{start} {}", lines[catch]);
        }
        false if lines[body - 1].contains("block_on(async") => return Err("an async runtime".into()),
        // `:preserve_vars_on_panic 0`: a panic ends the process.
        false => lines[body] = format!("{start} {BODY}"),
    }
    lines[body] = lines[body]
        .replace(BODY, &format!("{CELL}::returned((|| -> ::std::result::Result<(), EvcxrUserCodeError> {{"));

    // Right before its end, where the user's code is over, and behind it: variables for later cells.
    for put in puts(&lines, body + 1, last) {
        put.call_the_library(&mut lines);
        seen.binds.push(put.name);
    }
    for at in last + 1..lines.len() {
        match Statement::ending_at(&lines, at, last + 1) {
            Some(put) if !mentions.may_be(&put.name) => put.remove(&mut lines),
            Some(put) => put.call_the_library(&mut lines),
            None => {}
        }
    }
    lines[last] = format!("{CELL}::reached_its_end(); ::std::result::Result::Ok(())}})());");
    if caught {
        let mut found = 0;
        for line in &mut lines[last + 1..] {
            let new = match line.trim() {
                "Ok(_) => {}" => "  ::std::result::Result::Ok(_) => {}".into(),
                "Err(_) => {" => "  ::std::result::Result::Err(payload) => {".into(),
                "println!(\"EVCXR_PANIC_NOTIFICATION\");" => format!("    {CELL}::panicked(payload);"),
                _ => continue,
            };
            (*line, found) = (new, found + 1);
        }
        if found != 3 {
            return Err("no match of a panic".into());
        }
    }
    let store = (last..lines.len()).rfind(|at| lines[*at] == "evcxr_variable_store");
    let store = store.ok_or("no end of the function")?;
    lines[store] = format!("{end} evcxr_variable_store");
    Ok((joined(&lines), seen))
}

/// evcxr writes items in any order, but a macro is known only behind its definition, unless it has a path. So each gets one,
/// at the end of its last line.
fn name_macros(items: &mut [String]) {
    if !items.iter().any(|line| line.contains("macro_rules")) {
        return;
    }
    let Ok(file) = syn::parse_file(&joined(items)) else { return };
    for item in &file.items {
        let syn::Item::Macro(found) = item else { continue };
        let exported = found.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export"));
        if let (Some(name), false) = (&found.ident, exported)
            && let Some(line) = items.get_mut(found.span().end().line - 1)
        {
            let end = line.char_indices().nth(found.span().end().column).map_or(line.len(), |(at, _)| at);
            line.insert_str(end, &format!(" #[allow(unused_imports)] pub(crate) use {name};"));
        }
    }
}

fn joined(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}

/// evcxr's own lines with paths that nobody can shadow.
fn absolute(line: &str) -> String {
    if line.starts_with("match std::") || line.starts_with("  std::panic::") {
        return line.replacen("std::", "::std::", 1);
    }
    line.to_owned()
}

/// The statements right before line `last`, and not before line `first`, that put variables into the store.
fn puts(lines: &[String], first: usize, mut last: usize) -> Vec<Statement> {
    let mut found = Vec::new();
    while last > first
        && let Some(put) =
            Statement::ending_at(lines, last - 1, first).filter(|put| put.access == Access::Put)
    {
        last = put.start();
        found.push(put);
    }
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As evcxr 0.22.0 writes it.
    const GENERATED: &str = r#"#![allow(unused_imports, unused_mut, dead_code)]
use igpt::prelude::*;
fn println() {}
fn f() { std::println!("EVCXR_PANIC_NOTIFICATION"); }

            struct EvcxrUserCodeError {}
            impl<T: std::fmt::Display> From<T> for EvcxrUserCodeError {
                fn from(error: T) -> Self {
                    eprintln!("{}", error);
                    println!("{}", evcxr_internal_runtime::USER_ERROR_OCCURRED);
                    EvcxrUserCodeError {}
                }
            }
        
mod evcxr_internal_runtime {
pub struct VariableStore {
    variables: std::collections::HashMap<String, Box<dyn std::any::Any + 'static>>,
}
            eprintln!("The type of the variable {name} was redefined, so was lost.",);
            println!("{VARIABLE_CHANGED_TYPE}{name}");
            None => panic!("Variable '{name}' has gone missing"),
}
#[unsafe(no_mangle)]
pub extern "C" fn run_user_code_3(
mut evcxr_variable_store: *mut evcxr_internal_runtime::VariableStore)
  -> *mut evcxr_internal_runtime::VariableStore {
if evcxr_variable_store.is_null() {
  evcxr_variable_store = evcxr_internal_runtime::create_variable_store();
}
{let mut vars_ok = true;
vars_ok &= evcxr_variable_store.check_variable::<S>(stringify!(s));
vars_ok &= evcxr_variable_store.check_variable::<(u8,
  Vec<u8>)>(stringify!(pair));
if !vars_ok {return evcxr_variable_store;}}
let mut s = evcxr_variable_store.take_variable::<S>(stringify!(s));
let pair = evcxr_variable_store.take_variable::<(u8,
  Vec<u8>)>(stringify!(pair));
match std::panic::catch_unwind(
  std::panic::AssertUnwindSafe(||{
let _ = (|| -> std::result::Result<(), EvcxrUserCodeError> {
let s = S { b: 2 };
let x = stringify!(user's own);
let text = "
evcxr_variable_store.put_variable::<S>(stringify!(own), own);
";
Ok(())})();
evcxr_variable_store.put_variable::<S>(stringify!(s), s);
Ok(())})();
})) { 
  Ok(_) => {}
  Err(_) => {
    println!("EVCXR_PANIC_NOTIFICATION");
}}
evcxr_variable_store.put_variable::<(u8,
  Vec<u8>)>(stringify!(pair), pair);
evcxr_variable_store
}
"#;

    fn order() -> Order {
        Order { nonce: "n1".into(), asks: false, variables: Vec::new() }
    }

    #[test]
    fn only_evcxrs_own_lines_change_and_none_moves() {
        let (code, seen) = instrumented(GENERATED, &order()).unwrap();
        assert_eq!(code.lines().count(), GENERATED.lines().count());
        let changed: Vec<&str> =
            code.lines().zip(GENERATED.lines()).filter(|(new, old)| new != old).map(|(new, _)| new).collect();
        let expected = [
            "use ::igpt::prelude::*;",
            "            impl<T: ::std::fmt::Display> ::std::convert::From<T> for EvcxrUserCodeError {",
            "::igpt::notebook::cell::question_mark(::std::line!(), &::std::format_args!(\"{}\", error), ::std::any::type_name::<T>());",
            "",
            "#[repr(transparent)] pub struct VariableStore {",
            "    pub variables: std::collections::HashMap<String, Box<dyn std::any::Any + 'static>>,",
            "",
            "            ::std::println!(\"{VARIABLE_CHANGED_TYPE}{name}\");",
            "            None => ::std::panic!(\"Variable '{name}' has gone missing\"),",
            "  evcxr_variable_store = ::igpt::notebook::variables::create().cast();",
            "vars_ok &= ::igpt::notebook::variables::check::<S>(&evcxr_variable_store.variables, \"s\");",
            "vars_ok &= ::igpt::notebook::variables::check::<(u8,",
            "  Vec<u8>)>(&evcxr_variable_store.variables, \"pair\");",
            "let mut s = ::igpt::notebook::variables::take::<S>(&mut evcxr_variable_store.variables, \"s\");",
            // The cell says nothing of it.
            "",
            "",
            "::igpt::notebook::cell::start(\"n1\", false); match ::std::panic::catch_unwind(",
            "  ::std::panic::AssertUnwindSafe(||{",
            "::igpt::notebook::cell::returned((|| -> ::std::result::Result<(), EvcxrUserCodeError> {",
            "::igpt::notebook::variables::put::<S>(&mut evcxr_variable_store.variables, \"s\", s);",
            "::igpt::notebook::cell::reached_its_end(); ::std::result::Result::Ok(())})());",
            "  ::std::result::Result::Ok(_) => {}",
            "  ::std::result::Result::Err(payload) => {",
            "    ::igpt::notebook::cell::panicked(payload);",
            "",
            "",
            "::igpt::notebook::cell::end(\"n1\"); evcxr_variable_store",
        ];
        assert_eq!(changed, expected);
        assert_eq!(seen.loads, ["s", "pair"]);
        assert_eq!(seen.binds, ["s"]);
    }

    #[test]
    fn macros_are_known_before_their_definition() {
        let items = "fn f() { a!(); }\nmacro_rules! a {\n  () => {}\n} // a\n#[macro_export]\nmacro_rules! b { () => {} }\n";
        let (code, _) = instrumented(&GENERATED.replacen("fn println() {}\n", items, 1), &order()).unwrap();
        assert!(code.contains("\n} #[allow(unused_imports)] pub(crate) use a; // a\n"), "{code}");
        assert!(!code.contains("use b;"));
    }

    #[test]
    fn items_alone_have_marks_too() {
        let items = "fn f() {}\n#[unsafe(no_mangle)]\npub extern \"C\" fn run_user_code_4(\nmut x: *mut std::os::raw::c_void) -> \
                     *mut std::os::raw::c_void {x}\n";
        let (code, _) = instrumented(items, &order()).unwrap();
        assert!(code.ends_with(
            "*mut ::std::os::raw::c_void {x}\n"
                .replace("{x}", "{ ::igpt::notebook::cell::start(\"n1\", false); ::igpt::notebook::cell::end(\"n1\"); x }")
                .as_str()
        ), "{code}");
    }

    #[test]
    fn what_is_late_is_set_before_anything_of_the_cell_runs() {
        let late = ("JPY_SESSION_NAME".to_owned(), "a \"b\" {x} é.ipynb".to_owned());
        let order = Order { variables: vec![late], ..order() };
        let items = "#[unsafe(no_mangle)]\npub extern \"C\" fn run_user_code_4(\nmut x: *mut std::os::raw::c_void) -> \
                     *mut std::os::raw::c_void {x}\n";
        for code in [GENERATED, &format!("fn f() {{}}\n{items}")] {
            let (code, _) = instrumented(code, &order).unwrap();
            let set = "unsafe { ::std::env::set_var(\"JPY_SESSION_NAME\", \"a \\\"b\\\" {x} é.ipynb\") }; \
                       ::igpt::notebook::cell::start(\"n1\", false);";
            assert!(code.contains(set), "{code}");
        }
    }

    #[test]
    fn a_panic_that_ends_the_process_needs_no_match() {
        let code =
            GENERATED.replace("match std::panic::catch_unwind(\n  std::panic::AssertUnwindSafe(||{\n", "");
        let start = code.find("})) { \n").unwrap();
        let end = code.find("}}\nevcxr_variable_store.put").unwrap() + 3;
        let code = format!("{}{}", &code[..start], &code[end..]);
        let (code, _) = instrumented(&code, &order()).unwrap();
        assert!(code.contains("start(\"n1\", false); ::igpt::notebook::cell::returned("), "{code}");
        assert!(code.contains("end(\"n1\")"));
    }

    #[test]
    fn what_cannot_be_judged_is_not_compiled() {
        for missing in [
            "let _ = (|| -> std::result::Result<(), EvcxrUserCodeError> {",
            "    println!(\"EVCXR_PANIC_NOTIFICATION\");",
            "                    eprintln!(\"{}\", error);",
            "            struct EvcxrUserCodeError {}",
            "#[unsafe(no_mangle)]",
            STORE[0],
            STORE[1],
            "match std::panic::catch_unwind(",
        ] {
            let code = GENERATED.replacen(&format!("{missing}\n"), "other\n", 1);
            assert!(instrumented(&code, &order()).is_err(), "{missing}");
        }
        // A user's own function that looks like evcxr's.
        let twice = "#[unsafe(no_mangle)]\npub extern \"C\" fn run_user_code_9(\n) {}\n";
        assert!(instrumented(&format!("{twice}{GENERATED}"), &order()).is_err());
    }

    #[test]
    fn a_dropped_variable_that_the_cell_binds_anew_is_asked_for_again() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("src")).unwrap();
        let file = folder.path().join("src/lib.rs");
        let dropped: String =
            GENERATED.split_inclusive('\n').filter(|line| !line.contains("stringify!(s)")).collect();
        let compile = |code: &str, nonce: &str| {
            fs::write(&file, code).unwrap();
            let order = Order { nonce: nonce.into(), ..order() };
            Order::give(Some(&order), folder.path()).unwrap();
            instrument(folder.path()).unwrap()
        };
        assert_eq!(compile(GENERATED, "a"), None);
        assert_eq!(compile(&dropped, "a").as_deref(), Some(AGAIN));
        // Another cell may well do without the variable.
        assert_eq!(compile(&dropped, "b"), None);
        Order::give(None, folder.path()).unwrap();
        fs::write(&file, "no cell").unwrap();
        assert_eq!(instrument(folder.path()).unwrap(), None);
        assert_eq!(fs::read_to_string(&file).unwrap(), "no cell");
    }
}
