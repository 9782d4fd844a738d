//! The variables of a notebook: which there are, and which a cell lost.

use std::collections::BTreeMap;

/// What evcxr answers: a line `name: type` for each.
pub const COMMAND: &str = ":vars";
/// Ours, see `igpt::notebook::Session`.
const SESSION: &str = "__igpt_session";

/// Variables with their types.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Reads evcxr's answer.
    pub fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once(": "));
        let theirs = pairs.filter(|(name, _)| *name != SESSION);
        Self(theirs.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect())
    }

    /// Those that are there no more.
    pub fn lost_since(&self, now: &Self) -> Vec<String> {
        self.0.keys().filter(|name| !now.0.contains_key(*name)).cloned().collect()
    }

    /// What the user may not have noticed: variables of earlier cells that `code` used up, or gave another type.
    pub fn notes_on(&self, now: &Self, code: &str) -> Vec<String> {
        let mut notes = Vec::new();
        for (name, before) in &self.0 {
            match now.0.get(name) {
                None if names(code, name) => notes.push(format!(
                    "note: this cell used up `{name}`, which later cells do not have any more (`{name}.clone()` keeps it)"
                )),
                None => notes.push(format!("note: `{name}` is lost, for its type {} was defined anew", short(before))),
                Some(after) if after != before && names(code, name) => {
                    notes.push(format!("note: `{name}` was {} and is {} now", short(before), short(after)));
                }
                _ => {}
            }
        }
        notes
    }

    /// What is lost when the process that runs the cells exits.
    pub fn lost(&self) -> String {
        // evcxr takes nothing of a cell whose process ends.
        const KEPT: &str = "Functions, types and imports of earlier cells are still there";
        match self.0.len() {
            0 => format!("No variable is lost. {KEPT}."),
            _ => {
                let names: Vec<String> = self.0.keys().map(|name| format!("`{name}`")).collect();
                format!("Variables are lost: {}. {KEPT}.", names.join(", "))
            }
        }
    }
}

/// Whether the code has this word.
pub fn names(code: &str, word: &str) -> bool {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|found| found == word)
}

/// Takes our own variable out of what `:vars` shows.
pub fn hide_ours(data: &mut serde_json::Value) {
    if let Some(text) = data["text/plain"].as_str() {
        let theirs: String =
            text.lines().filter(|line| !line.starts_with(SESSION)).map(|line| format!("{line}\n")).collect();
        data["text/plain"] = theirs.into();
    }
    if let Some(html) = data["text/html"].as_str() {
        let (rows, ours) = (html.split_inclusive("<tr>"), format!("<td>{SESSION}</td>"));
        data["text/html"] = rows.filter(|row| !row.contains(&ours)).collect::<String>().into();
    }
}

/// `alloc::vec::Vec<u8>` becomes `Vec<u8>`.
fn short(kind: &str) -> String {
    let mut short = String::new();
    for part in kind.split_inclusive(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
        short.push_str(part.rsplit("::").next().unwrap_or(part));
    }
    format!("`{short}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_and_changed_variables_are_named() {
        let before = Variables::parse(
            "a: alloc::vec::Vec<core::option::Option<u8>>\nb: f64\n__igpt_session: igpt::S\n",
        );
        let after = Variables::parse("b: alloc::string::String\nc: u8\n");
        assert_eq!(
            before.notes_on(&after, "let b = f(a); let c = 1;"),
            [
                "note: this cell used up `a`, which later cells do not have any more (`a.clone()` keeps it)",
                "note: `b` was `f64` and is `String` now",
            ]
        );
        assert_eq!(before.notes_on(&before, "let b = 1.5;"), Vec::<String>::new());
        assert_eq!(before.lost_since(&after), ["a"]);
        let anew = before.notes_on(&Variables::parse("b: f64"), "struct All(u8);");
        assert_eq!(anew, ["note: `a` is lost, for its type `Vec<Option<u8>>` was defined anew"]);
        assert_eq!(short("alloc::vec::Vec<core::option::Option<u8>>"), "`Vec<Option<u8>>`");
        assert_eq!(
            before.lost(),
            "Variables are lost: `a`, `b`. Functions, types and imports of earlier cells are still there."
        );
        assert!(Variables::default().lost().starts_with("No variable is lost."));
    }
}
