//! Definitions that take the name of something of the standard library, of evcxr or of the kernel. All of them are legal.

use super::{
    compose::{Composer, Draft},
    model::ItemKind,
};

/// Name, source. What is defined does the same as what it shadows, or is nothing that cells of ours call.
const SAME: &[(&str, &str)] = &[
    ("println", "use std::println;"),
    ("println", "fn println() {}"),
    ("println", "macro_rules! println { ($($t:tt)*) => { ::std::println!($($t)*) }; }"),
    ("println", "mod outputMARK { pub use std::println; }\nuse outputMARK::println;"),
    ("eprintln", "use std::eprintln;"),
    ("eprintln", "fn eprintln() {}"),
    ("eprintln", "macro_rules! eprintln { ($($t:tt)*) => { ::std::eprintln!($($t)*) }; }"),
    ("stringify", "use std::stringify;"),
    ("stringify", "macro_rules! stringify { ($($t:tt)*) => { \"mine\" }; }"),
    ("print", "use std::print;"),
    ("both", "use std::{println, eprintln};"),
    ("all", "use std::{eprintln, println, stringify};"),
    ("panic", "use std::panic;"),
    ("Result", "struct Result { a: i32 }"),
    ("Result", "use std::io::Result;"),
    ("Result", "use std::fmt::Result;"),
    ("Error", "struct Error;"),
    ("Error", "use std::fmt::Error;"),
    ("Session", "struct Session;"),
    ("Table", "struct Table(i32);"),
    ("Tensor", "enum Tensor { A }"),
    ("Option", "struct Option;"),
    ("Display", "trait Display {}"),
    ("Debug", "trait Debug {}"),
    ("main", "fn main() {}"),
    ("here", "fn here() {}"),
    ("boundary", "fn boundary() {}"),
    ("notebook", "mod notebook { pub fn boundary() {} }"),
    ("igpt", "mod igpt { pub fn one() -> i32 { 1 } }"),
    ("igpt_session", "fn igpt_session() {}"),
    ("USER_ERROR_OCCURRED", "const USER_ERROR_OCCURRED: &str = \"mine\";"),
];

/// More of them, for the seeds from [`BOLD`] on: names of the language's own prelude and primitive types, globs, names
/// that evcxr's generated code and the kernel use.
const MORE: &[(&str, &str)] = &[
    ("Ok", "enum AnswerMARK { Ok(i32), Err(i32) }\nuse AnswerMARK::*;"),
    ("std::*", "use std::*;"),
    ("fmt::*", "use std::fmt::*;"),
    ("io::*", "use std::io::*;"),
    ("io::prelude", "use std::io::prelude::*;"),
    ("core", "mod core {}"),
    ("alloc", "mod alloc {}"),
    ("From", "trait From {}"),
    ("Any", "struct Any;"),
    ("Sized", "trait Sized {}"),
    ("Clone", "trait Clone {}"),
    ("Iterator", "struct Iterator;"),
    ("Var", "struct Var;"),
    ("Device", "enum Device { Cpu }"),
    ("usize", "struct usize;"),
    ("str", "struct str;"),
    ("std", "macro_rules! std { () => {}; }"),
    ("assert", "macro_rules! assert { ($($t:tt)*) => { ::std::assert!($($t)*) }; }"),
    ("panic", "macro_rules! panic { ($($t:tt)*) => { ::std::panic!($($t)*) }; }"),
    ("format", "macro_rules! format { ($($t:tt)*) => { ::std::format!($($t)*) }; }"),
    ("line", "macro_rules! line { () => { 7 }; }"),
    ("catch_unwind", "fn catch_unwind() {}"),
    ("AssertUnwindSafe", "struct AssertUnwindSafe;"),
    ("ByDebug", "trait ByDebug {}"),
    ("evcxr_display", "fn evcxr_display() {}"),
    ("start", "fn start() {}"),
    ("cell", "mod cell { pub fn start() {} pub fn end() {} }"),
    ("payload", "fn payload() {}"),
    ("text", "const TEXT: &str = r#\"\nOk(())})();\nevcxr_variable_store\n}\n\"#;"),
];

/// From this seed on there are more kinds of definitions and outputs. The notebooks of smaller seeds do not change by it.
pub const BOLD: u64 = 10_000;

/// A definition of this kind.
pub fn shadow(composer: &mut Composer, draft: &mut Draft) {
    if composer.mark >= BOLD && composer.random.chance(70) {
        let (name, source) = *composer.random.pick(MORE);
        return add(composer, draft, name, source);
    }
    match composer.random.below(10) {
        0 => {
            let source = "fn stringify(x: u8) -> u8 { x }".to_owned();
            composer.labels.push(format!("shadow {source}"));
            composer.add(draft, "stringify", source, ItemKind::Byte);
        }
        1 => {
            let source = "macro_rules! println { () => { ::std::println!() }; ($($t:tt)+) => { ::std::println!(\"<{}>\", ::std::format!($($t)+)) }; }";
            composer.labels.push(format!("shadow {source}"));
            composer.leeway.brackets = true;
            composer.add(draft, "println", source.to_owned(), ItemKind::Other);
        }
        2..6 => {
            // The commonest ones.
            let (name, source) = *composer.random.pick(&SAME[..12]);
            add(composer, draft, name, source);
        }
        _ => {
            let (name, source) = *composer.random.pick(SAME);
            add(composer, draft, name, source);
        }
    }
}

fn add(composer: &mut Composer, draft: &mut Draft, name: &str, source: &str) {
    // A name can stand for several things, but not for two of one kind: what was there goes, as in a notebook.
    let names: &[&str] = match name {
        "both" => &["println", "eprintln", "all"],
        "all" => &["println", "eprintln", "stringify", "both"],
        "println" | "eprintln" => &["both", "all"],
        "stringify" => &["all"],
        _ => &[],
    };
    composer.state.items.retain(|item| !names.contains(&&*item.name));
    composer.labels.push(format!("shadow {source}"));
    let mark = composer.name("");
    composer.add(draft, name, source.replace("MARK", &mark), ItemKind::Other);
}
