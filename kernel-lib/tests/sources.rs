//! The rules by which `build.rs` decides what belongs to a hash, each on a library of a few lines. The root that is looked
//! at is always `rng`.

#[path = "../build/sources.rs"]
#[allow(dead_code)]
mod sources;

use sources::{Sources, Tree};

const VERSIONS: &str = include_str!("../build/versions.txt");

/// Where the sources of `igpt_formats` lie, a crate that the library is made of.
const FORMATS: &str = "../formats/src/lib.rs";

/// A library of these files, besides `lib.rs`, which declares what lies at the top, and the root of `igpt_formats`.
fn library(files: &[(&str, &str)]) -> Tree {
    let mut tree: Tree =
        files.iter().map(|(file, text)| ((*file).to_owned(), text.as_bytes().to_vec())).collect();
    let top =
        files.iter().filter_map(|(file, _)| file.strip_suffix(".rs").filter(|name| !name.contains('/')));
    let declared: String = top.filter(|name| *name != "lib").map(|name| format!("mod {name};\n")).collect();
    let own = files.iter().find(|(file, _)| *file == "lib.rs").map_or("", |(_, text)| text);
    tree.insert("lib.rs".into(), format!("{declared}{own}").into_bytes());
    tree.entry(FORMATS.into()).or_default();
    tree
}

fn hash(files: &[(&str, &str)]) -> String {
    Sources::read(&library(files), VERSIONS).unwrap().hashes()["rng"].clone()
}

/// Whether the root moves if `from` becomes `to`, wherever it stands.
fn moves(files: &[(&str, &str)], from: &str, to: &str) -> bool {
    assert!(files.iter().any(|(_, text)| text.contains(from)), "nothing says {from:?}");
    let texts: Vec<_> = files.iter().map(|(file, text)| (*file, text.replace(from, to))).collect();
    let changed: Vec<_> = texts.iter().map(|(file, text)| (*file, text.as_str())).collect();
    hash(files) != hash(&changed)
}

/// A function in another file that gives 1, and one that nobody calls, which gives 9.
const OTHER: (&str, &str) = ("a.rs", "pub fn f() -> u8 { 1 }\npub fn unused() -> u8 { 9 }\n");

fn reaches_f(rng: &str, lib: &str) {
    let files = [("rng.rs", rng), OTHER, ("lib.rs", lib)];
    assert!(moves(&files, "{ 1 }", "{ 2 }"), "{rng} {lib}");
    assert!(!moves(&files, "{ 9 }", "{ 8 }"), "{rng} {lib}");
}

#[test]
fn every_way_of_writing_a_path_is_followed() {
    for rng in [
        "pub fn g() { crate::a::f(); }",
        "pub fn g() { super::a::f(); }",
        "use crate::a::f; pub fn g() { f(); }",
        "use crate::{a::{f, f as other}}; pub fn g() { other(); }",
        "use crate::a; pub fn g() { a::f(); }",
        "use super::a as b; pub fn g() { b::f(); }",
        "use crate::a::*; pub fn g() { f(); }",
        "use super::a::{self, f as _}; pub fn g() { self::a::f(); }",
        "pub fn g() { use crate::a::{f}; f(); }",
        "pub fn g() { let h = vec![(0, crate::a::f())]; }",
        "pub fn g() { println!(\"{}\", super::a::f()); }",
        "pub fn g() { let _ = 0..crate::a::f(); }",
        "mod inner { pub fn h() { super::super::a::f(); } } pub fn g() { inner::h(); }",
        "macro_rules! call { () => { $crate::a::f() } } pub fn g() { call!(); }",
        "#[serde(default = \"crate::a::f\")] pub struct S;",
    ] {
        reaches_f(rng, "");
    }
}

#[test]
fn a_re_export_is_followed_to_what_it_exports() {
    reaches_f("pub fn g() { crate::f(); }", "pub use a::f;");
    reaches_f("use crate::f as h; pub fn g() { h(); }", "pub use self::a::*;");
    reaches_f("pub fn g() { crate::b::f(); }", "pub mod b { pub use crate::a::f; }");
    // It exports another thing, and both were there before.
    let files = [
        ("rng.rs", "pub fn g() { crate::h(); crate::a::f(); crate::b::f(); }"),
        ("a.rs", "pub fn f() {}"),
        ("b.rs", "pub fn f() {}"),
        ("lib.rs", "pub use a::f as h;"),
    ];
    assert!(moves(&files, "pub use a::f", "pub use b::f"));
    // What a module only passes on is not its own.
    let files = [
        ("rng.rs", "pub fn g() { crate::b::f(); }"),
        OTHER,
        ("c.rs", "pub fn h() -> u8 { 3 }"),
        ("b.rs", "pub use crate::a::f; pub use crate::c::h;"),
    ];
    assert!(moves(&files, "{ 1 }", "{ 2 }") && !moves(&files, "{ 3 }", "{ 4 }"));
}

#[test]
fn what_belongs_to_a_type_is_reached_wherever_it_stands() {
    let files = [
        ("rng.rs", "use crate::a::S; pub fn g(s: S) -> u8 { s.named() + u8::from(s) }"),
        ("a.rs", "mod more; mod third; pub struct S;"),
        ("a/more.rs", "use super::S; impl S { pub fn named(&self) -> u8 { 1 } fn other(&self) -> u8 { 9 } }"),
        (
            "a/third.rs",
            "use super::S; impl From<S> for u8 { fn from(_: S) -> u8 { 2 } } impl Drop for S { fn drop(&mut self) { 3; } }",
        ),
    ];
    assert!(moves(&files, "{ 1 }", "{ 4 }"));
    assert!(moves(&files, "{ 2 }", "{ 4 }"));
    assert!(moves(&files, "{ 3; }", "{ 4; }"));
    // Nobody says its name.
    assert!(!moves(&files, "{ 9 }", "{ 8 }"));
}

#[test]
fn a_trait_is_reached_where_its_methods_are_called() {
    let files = [
        ("rng.rs", "use crate::b::T as _; pub fn g(x: f32) { x.go(); }"),
        ("b.rs", "pub trait T { fn go(&self) -> u8; fn more(&self) -> u8 { 7 } }"),
        ("c.rs", "impl crate::b::T for f32 { fn go(&self) -> u8 { 1 } }"),
    ];
    assert!(moves(&files, "{ 1 }", "{ 2 }") && moves(&files, "{ 7 }", "{ 6 }"));
    let idle = [("rng.rs", "use crate::b::T as _; pub fn g(x: f32) { x.sqrt(); }"), files[1], files[2]];
    assert!(!moves(&idle, "{ 1 }", "{ 2 }"));
    // The caller is in a module that is not followed.
    let stored = [
        ("rng.rs", "pub struct S; pub fn g() { crate::store::keep(S) }"),
        (
            "store.rs",
            "pub mod stored { pub trait Stored { fn write(&self); } } pub fn keep(x: impl stored::Stored) { x.write() }",
        ),
        ("b.rs", "impl crate::store::stored::Stored for crate::rng::S { fn write(&self) { 1; } }"),
    ];
    assert!(moves(&stored, "{ 1; }", "{ 2; }"));
}

#[test]
fn macros_are_reached_by_name_and_with_what_they_make() {
    let files = [
        ("rng.rs", "pub struct S; make!(S); pub fn g() {}"),
        ("b.rs", "fn unused() {}"),
        (
            "lib.rs",
            "macro_rules! make { ($t:ty) => { impl Clone for $t { fn clone(&self) -> $t { one() } } } }",
        ),
    ];
    assert!(moves(&files, "one()", "two()"));
    assert!(moves(&files, "make!(S);", "make!(T);"));
}

#[test]
fn constants_in_texts_and_variants_by_star_count() {
    let files = [
        ("rng.rs", "use crate::b::{N, K::*}; pub fn g() -> String { let k = First; format!(\"{N:?} {k}\") }"),
        ("b.rs", "pub const N: u8 = 1; pub enum K { First = 2, Second }"),
    ];
    assert!(moves(&files, "= 1", "= 3") && moves(&files, "= 2", "= 3"));
}

#[test]
fn included_files_count_byte_by_byte() {
    let files = [("rng.rs", "pub const C: &str = include_str!(\"rng/x.cu\");"), ("rng/x.cu", "a // b")];
    assert!(moves(&files, "// b", "// c"));
    let missing = Sources::read(&library(&files[..1]), VERSIONS).err().unwrap();
    assert_eq!(missing, "src/rng.rs includes src/rng/x.cu, which is not there");
    for odd in ["include!(\"x.rs\");", "pub const C: &str = include_str!(concat!(\"a\", \"b\"));"] {
        let error = Sources::read(&library(&[("rng.rs", odd)]), VERSIONS).err().unwrap();
        assert!(error.contains("build.rs cannot tell which file"), "{error}");
    }
}

#[test]
fn comments_lints_tests_and_line_breaks_do_not_count() {
    let plain = hash(&[(
        "rng.rs",
        "pub fn g(a: u8, b: u8) -> u8 { h(a, b) + [1, 2][0] } fn h(a: u8, b: u8) -> u8 { a + b }",
    )]);
    let written = "//! About.\n/// Why.\n#[must_use]\n#[allow(unused)]\npub fn g(\n    a: u8, // here\n    b: u8,\n) -> u8 {\n    \
                   /* and */ h(\n        a,\n        b,\n    ) + [\n        1,\n        2,\n    ][0]\n}\nfn h(a: u8, b: u8) -> u8 { a + b }\n\
                   #[cfg(test)]\nmod tests { fn t() { super::g(1, 2); } }\n#[cfg(test)]\nfn only_here() {}\n";
    assert_eq!(hash(&[("rng.rs", written)]), plain);
    // `(x,)` is another thing than `(x)`.
    let tuple = [("rng.rs", "pub fn g(x: u8) { h((x,)); }")];
    assert!(moves(&tuple, "(x,)", "(x)"));
    let declared = [
        ("rng.rs", "#[cfg(target_arch = \"x86_64\")] mod x; pub fn g() { x::f() }"),
        ("rng/x.rs", "pub fn f() {}"),
    ];
    assert!(moves(&declared, "x86_64", "aarch64"));
}

#[test]
fn what_is_only_shown_does_not_count() {
    let show = (
        "show.rs",
        "pub trait Show {} pub struct Cell; pub struct Table; macro_rules! displays { ($t:ty) => { impl $t { pub fn d(&self) { 1; } } } } pub(crate) use displays;",
    );
    let files = [
        (
            "rng.rs",
            "use crate::show::{Cell, Show, Table, displays}; use std::fmt; pub struct S(u8);\n\
             impl S { pub fn new() -> S { S(0) } fn table(&self) -> Table { two() } pub fn cell(&self) -> Cell { three() } }\n\
             impl Show for S { fn to_text(&self) { four() } }\n\
             impl From<S> for Cell { fn from(s: S) -> Cell { five() } }\n\
             impl fmt::Display for S { fn fmt(&self) { six() } }\n\
             impl std::fmt::Debug for S { fn fmt(&self) { seven() } }\n\
             displays!(S);\n",
        ),
        show,
    ];
    for shown in ["two()", "three()", "four()", "five()", "six()", "seven()", "displays!(S);", "{ 1; }"] {
        assert!(!moves(&files, shown, ""), "{shown}");
    }
    assert!(moves(&files, "S(0)", "S(1)"));
    // A step is computed on the way.
    let files = [("rng.rs", "pub fn g(s: u8) -> crate::show::Table { store.get_or_run(|| one()) }"), show];
    assert!(moves(&files, "one()", "two()"));
}

#[test]
fn what_an_error_says_does_not_count_and_what_is_matched_does() {
    let error = (
        "error.rs",
        "pub enum Error { Bad(String), Full { what: String, size: u8 } } impl Error { pub fn invalid(s: String) -> Error { Error::Bad(s) } }",
    );
    let rng = |body: &str| format!("use crate::error::Error; pub fn g(x: u8) {{ {body} }}");
    for body in [
        "return Err(Error::invalid(format!(\"one {x}\")));",
        "x.ok_or_else(|| crate::error::Error::invalid(\"one\".into()))",
        "Error::Bad(format!(\"one\"))",
        "Error::Full { what: \"one\".to_owned(), size: 1 }",
        "vec![Error::invalid(one())]",
    ] {
        assert!(!moves(&[("rng.rs", &rng(body)), error], "one", "two"), "{body}");
    }
    for body in [
        "match x { Error::Full { size: 10, .. } => 1, _ => 2 }",
        "matches!(x, Error::Full { size: 10, .. })",
        "Other::invalid(10)",
        "if Error::invalid(\"\") == 10 {}",
    ] {
        assert!(moves(&[("rng.rs", &rng(body)), error], "10", "11"), "{body}");
    }
    // Not this library's error.
    let other = [("rng.rs", "use std::io::Error; pub fn g() { Error::other(10) }"), error];
    assert!(moves(&other, "10", "11"));
}

#[test]
fn modules_that_decide_no_number_are_not_followed() {
    let files = [
        ("rng.rs", "pub fn g() { crate::journal::f(); }"),
        ("journal.rs", "pub fn f() { crate::a::f(); }"),
        OTHER,
    ];
    assert!(!moves(&files, "crate::a::f", "crate::a::unused") && !moves(&files, "{ 1 }", "{ 2 }"));
    // A trait of one may be, with what is implemented of it.
    let step = (
        "experiment/step.rs",
        "pub trait Step { fn of(&self) -> u8; } pub fn run(x: impl Step) -> u8 { x.of(); 2 }",
    );
    let files = [
        ("rng.rs", "pub struct S; pub fn g() { crate::experiment::step::run(S); }"),
        ("experiment.rs", "pub mod step;"),
        ("a.rs", "impl crate::experiment::step::Step for crate::rng::S { fn of(&self) -> u8 { 1 } }"),
        step,
    ];
    assert!(moves(&files, "{ 1 }", "{ 3 }") && !moves(&files, "; 2 }", "; 3 }"));
    // A module is not reached because it is declared.
    let files = [("rng.rs", "mod below; pub fn g() {}"), ("rng/below.rs", "fn f() -> u8 { 1 }")];
    assert!(!moves(&files, "{ 1 }", "{ 2 }"));
}

#[test]
fn imports_from_other_crates_count() {
    let files = [("rng.rs", "use libm::log as f; pub fn g(x: f64) -> f64 { f(x) }")];
    assert!(moves(&files, "libm::log", "libm::exp"));
    let files = [("rng.rs", "use rayon::prelude::*; pub fn g(x: f64) {}")];
    assert!(moves(&files, "rayon::prelude::*", "itertools::Itertools"));
}

#[test]
fn a_crate_that_the_library_is_made_of_counts_like_its_modules() {
    let crate_ = [
        (FORMATS, "pub mod a; pub use a::f as h; pub fn two() -> u8 { 2 }"),
        (
            "../formats/src/a.rs",
            "pub fn f() -> u8 { 1 + crate::two() } pub fn unused() -> u8 { 9 } pub const TEXT: &str = include_str!(\"x.txt\");",
        ),
        ("../formats/src/x.txt", "words"),
        // Of the library, and not what the crate calls so.
        ("a.rs", "pub fn f() -> u8 { 5 }"),
        ("lib.rs", "pub use igpt_formats::a; pub fn two() -> u8 { 6 }"),
    ];
    for rng in [
        "use igpt_formats::a::f; pub fn g() { f(); }",
        "use igpt_formats::a::{self as b}; pub fn g() { b::f(); }",
        "use ::igpt_formats::a::*; pub fn g() { f(); }",
        "use igpt_formats::h; pub fn g() { h(); }",
        "use igpt_formats as formats; pub fn g() { formats::h(); }",
        "pub fn g() { igpt_formats::a::f(); }",
        "pub fn g() { ::igpt_formats::a::f(); }",
        "mod inner { pub fn h() { igpt_formats::a::f(); } } pub fn g() { inner::h(); }",
    ] {
        let files = [&crate_[..], &[("rng.rs", rng)]].concat();
        assert!(moves(&files, "{ 1 +", "{ 3 +"), "{rng}");
        assert!(moves(&files, "{ 2 }", "{ 3 }"), "{rng}");
        for other in ["{ 9 }", "{ 5 }", "{ 6 }", "words"] {
            assert!(!moves(&files, other, "{}"), "{rng}: {other}");
        }
    }
    let files = [&crate_[..], &[("rng.rs", "pub fn g() { igpt_formats::a::TEXT; }")]].concat();
    assert!(moves(&files, "words", "other words"));
}

#[test]
fn what_cannot_be_read_is_an_error_that_says_where() {
    let error = |text: &str| Sources::read(&library(&[("rng.rs", text)]), VERSIONS).err().unwrap();
    assert!(error("pub fn g( {}").starts_with("src/rng.rs is no Rust: "));
    assert_eq!(error("mod gone;"), "there is no src/rng/gone.rs");
    assert!(error("#[path = \"x.rs\"] mod x;").contains("#[path] on `mod x` is not understood"));
    assert!(error("extern crate libm as m;").contains("`extern crate libm` is not understood"));
}
