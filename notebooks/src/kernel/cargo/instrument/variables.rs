//! The statements by which evcxr has a cell take variables out of its store, and put them back.

use std::{collections::HashSet, ops::RangeInclusive};

/// The library's side of them.
const VARIABLES: &str = "::igpt::notebook::variables";

/// What a statement does with its variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Looks whether its type is still the same.
    Check,
    Take,
    Put,
}

/// A statement of evcxr's about one variable. A type that was written in several lines makes several of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Statement {
    pub access: Access,
    pub name: String,
    lines: RangeInclusive<usize>,
}

impl Statement {
    /// The one that ends in line `at`, and does not begin before line `first`.
    pub fn ending_at(lines: &[String], at: usize, first: usize) -> Option<Self> {
        let (_, rest) = lines[at].rsplit_once(">(stringify!(")?;
        let (name, tail) = rest.split_once(')')?;
        let (start, access) = (first..=at).rev().find_map(|at| Some((at, access(&lines[at])?)))?;
        let expected = if access == Access::Put { format!(", {name});") } else { ");".to_owned() };
        (tail == expected).then(|| Self { access, name: name.to_owned(), lines: start..=at })
    }

    /// Its first line.
    pub fn start(&self) -> usize {
        *self.lines.start()
    }

    /// Has it call the library's function. No line moves.
    pub fn call_the_library(&self, lines: &mut [String]) {
        let (method, function, store) = match self.access {
            Access::Check => ("check_variable", "check", "&evcxr_variable_store.variables"),
            Access::Take => ("take_variable", "take", "&mut evcxr_variable_store.variables"),
            Access::Put => ("put_variable", "put", "&mut evcxr_variable_store.variables"),
        };
        let (start, end) = (*self.lines.start(), *self.lines.end());
        let method = format!("evcxr_variable_store.{method}::<");
        lines[start] = lines[start].replacen(&method, &format!("{VARIABLES}::{function}::<"), 1);
        if let Some((before, _)) = lines[end].rsplit_once(">(stringify!(") {
            let value = if self.access == Access::Put { format!(", {}", self.name) } else { String::new() };
            lines[end] = format!("{before}>({store}, {:?}{value});", self.name);
        }
    }

    /// Takes it out. No line moves.
    pub fn remove(&self, lines: &mut [String]) {
        lines[self.lines.clone()].fill(String::new());
    }
}

/// What the statement does that begins with this line.
fn access(line: &str) -> Option<Access> {
    if line.starts_with("vars_ok &= evcxr_variable_store.check_variable::<") {
        Some(Access::Check)
    } else if line.starts_with("evcxr_variable_store.put_variable::<") {
        Some(Access::Put)
    } else {
        let takes = line.starts_with("let ") && line.contains(" = evcxr_variable_store.take_variable::<");
        takes.then_some(Access::Take)
    }
}

/// Macros that use no variable that is not in their text. Others may: a procedural one can make a name of two halves.
const MACROS: [&str; 28] = [
    "anyhow",
    "assert",
    "assert_eq",
    "assert_ne",
    "bail",
    "concat",
    "dbg",
    "debug_assert",
    "debug_assert_eq",
    "debug_assert_ne",
    "ensure",
    "env",
    "eprint",
    "eprintln",
    "format",
    "format_args",
    "json",
    "line",
    "matches",
    "panic",
    "print",
    "println",
    "stringify",
    "todo",
    "unreachable",
    "vec",
    "write",
    "writeln",
];

/// Of which variables a cell's code says something: an answer too many costs time, one too few would be an error of the compiler.
#[derive(Debug)]
pub struct Mentions {
    words: HashSet<String>,
    all: bool,
}

impl Mentions {
    /// By the cell's lines.
    pub fn of(lines: &[String]) -> Self {
        let is_of_a_word = |c: char| c == '_' || c.is_alphanumeric();
        let mut words = HashSet::new();
        let mut all = false;
        for line in lines {
            words.extend(line.split(|c| !is_of_a_word(c)).map(str::to_owned));
            // `"{\x61}"` names `a`.
            all |= line.contains("{\\");
            for (at, _) in line.match_indices('!') {
                let arguments = line[at + 1..].trim_start();
                let is_macro = arguments.is_empty() || arguments.starts_with(['(', '[', '{']);
                let before = line[..at].trim_end();
                let name = before.rsplit(|c| !is_of_a_word(c)).next().unwrap_or_default();
                all |= is_macro && !name.is_empty() && !MACROS.contains(&name);
            }
        }
        Self { words, all }
    }

    /// Whether the code may use this variable. The compiler takes two spellings of a letter with an accent for the same.
    pub fn may_be(&self, name: &str) -> bool {
        self.all || !name.is_ascii() || self.words.contains(name.strip_prefix("r#").unwrap_or(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mentions(code: &str, name: &str) -> bool {
        let lines: Vec<String> = code.lines().map(str::to_owned).collect();
        Mentions::of(&lines).may_be(name)
    }

    #[test]
    fn a_variable_is_mentioned_by_its_name_as_a_word() {
        assert!(mentions("let y = x + 1;", "x"));
        assert!(mentions("println!(\"{x:?}\");", "x"));
        assert!(mentions("f(&r#type)", "r#type") && mentions("S { type_ }", "type_"));
        assert!(mentions("// of x", "x"));
        assert!(!mentions("let max = xs.len() != 0;", "x"));
        assert!(!mentions("println!(\"what!\"); vec![1]; assert_eq!(1, 1); !f(2)", "x"));
    }

    #[test]
    fn where_it_cannot_be_known_it_is_mentioned() {
        // Procedural macros can make names, and files can have any.
        assert!(mentions("paste! { [<a b>] }", "ab") && mentions("paste::paste! (1)", "ab"));
        assert!(mentions("include!(\"code.rs\")", "x") && mentions("my !\n(1)", "x"));
        // What looks the same may be written in two ways.
        assert!(mentions("1", "é"));
        assert!(mentions("println!(\"{\\x78}\")", "x"));
    }

    #[test]
    fn statements_are_found_by_their_last_line() {
        let code = "let f = evcxr_variable_store.take_variable::<u8>(stringify!(f));\n\
                    evcxr_variable_store.put_variable::<(u8,\n  Vec<u8>)>(stringify!(pair), pair);\n\
                    let a = b::<u8>(stringify!(a));";
        let mut lines: Vec<String> = code.lines().map(str::to_owned).collect();
        let at = |at: usize, first| Statement::ending_at(&lines, at, first);
        let [taken, put] = [at(0, 0), at(2, 0)].map(Option::unwrap);
        assert_eq!((taken.access, &*taken.name, taken.start()), (Access::Take, "f", 0));
        assert_eq!((put.access, &*put.name, put.start()), (Access::Put, "pair", 1));
        assert_eq!((at(1, 0), at(2, 2)), (None, None));
        put.call_the_library(&mut lines);
        assert_eq!(lines[1], "::igpt::notebook::variables::put::<(u8,");
        assert_eq!(lines[2], "  Vec<u8>)>(&mut evcxr_variable_store.variables, \"pair\", pair);");
        taken.remove(&mut lines);
        assert_eq!((&*lines[0], lines.len()), ("", 4));
    }
}
