//! A cell owns what it defines: when it is edited and run again, its functions, types and `impl`s are replaced by those
//! that it defines now.
//!
//! evcxr keeps items by name, so a function that is defined again replaces the older one, but one that an edited cell does
//! not define any more lives on, and an `impl` that does not follow a named item of its cell is added to the one before.
//! Two kinds of lines, put before the user's first line of Rust, make the difference, without a name of their own in any
//! scope, since the compiler takes them away:
//!
//! * an *anchor* (`#[cfg(any())] fn __igpt_anchor_…() {}`): evcxr keeps what has no name with the named item before it, so
//!   what stands behind an anchor is replaced with it;
//! * a *gravestone* (`#[cfg(any())] fn name() {}`): it takes the place of an item that its cell does not define any more.
//!
//! A cell is known by the id that clients send in a request's metadata. Without one, only what is defined anew is replaced.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::Span;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use syn::{ImplItem, Item, Stmt, UseTree, spanned::Spanned as _};

use super::code::Rust;
use crate::hex::hex;

/// The items of a session, by evcxr's name.
#[derive(Debug, Default)]
pub struct Items(BTreeMap<String, Owned>);

/// An item, or an anchor with what stands behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owned {
    /// The cell's id.
    cell: Option<String>,
    /// For an anchor, what the `impl`s behind it define.
    implemented: BTreeSet<String>,
}

/// A cell as evcxr gets it, and what is so when it has run.
#[derive(Debug, Default)]
pub struct Plan {
    /// The code.
    pub code: String,
    /// Lines of ours in it.
    pub inserted: Inserted,
    /// What it defines.
    defined: BTreeMap<String, Owned>,
    /// Names that are imported, or whose item goes away.
    gone: Vec<String>,
    /// What goes away, for the user.
    removed: Vec<String>,
}

/// Lines of ours in the code that evcxr gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Inserted {
    /// How many lines stand before them.
    pub before: usize,
    /// How many they are.
    pub lines: usize,
}

impl Inserted {
    /// The user's line of a line that evcxr names, both from 1; none for one of ours.
    pub fn of_user(self, line: usize) -> Option<usize> {
        match line {
            line if line <= self.before => Some(line),
            line if line <= self.before + self.lines => None,
            line => Some(line - self.lines),
        }
    }
}

/// The id of a request's cell: JupyterLab, VS Code and our runner send it.
pub fn cell_of(metadata: &Value) -> Option<&str> {
    ["cellId", "cell_id"].into_iter().find_map(|key| metadata[key].as_str()).filter(|id| !id.is_empty())
}

impl Items {
    /// How the cell `id` with this code is to be run. With `keep`, nothing is taken away but what is defined anew.
    pub fn plan(&self, id: Option<&str>, code: &str, keep: bool) -> Plan {
        let plain = || Plan { code: code.to_owned(), ..Plan::default() };
        let rust = Rust::of(code).unwrap_or(Rust { before: code.lines().count(), start: code, text: "" });
        // Attributes of the whole crate come first. What is not understood does not compile, most likely.
        let Some(found) = Definitions::parse(rust).filter(|_| !rust.text.starts_with("#![")) else {
            return plain();
        };
        let Rust { before, start, text } = rust;

        let cell = id.map(str::to_owned);
        let mut lines: Vec<String> = Vec::new();
        let mut defined: BTreeMap<String, Owned> = BTreeMap::new();
        for name in &found.named {
            defined.insert(name.clone(), Owned { cell: cell.clone(), implemented: BTreeSet::new() });
        }
        let overlaps: Vec<&String> = self
            .0
            .iter()
            .filter(|(_, owned)| !owned.implemented.is_disjoint(&found.implemented))
            .map(|(anchor, _)| anchor)
            .collect();
        let own = if found.needs_anchor { Some(anchor(id, &found.implemented, &overlaps)) } else { None };
        let (mut gone, mut removed) = (found.imported, Vec::new());
        for (name, owned) in &self.0 {
            let is_own = cell.is_some() && owned.cell == cell;
            let replaced = defined.contains_key(name) || gone.contains(name) || own.as_ref() == Some(name);
            let is_anchor = !owned.implemented.is_empty();
            let overlapping = is_anchor && overlaps.contains(&name);
            if !replaced && (overlapping || (is_own && !keep)) {
                lines.push(gravestone(name));
                gone.push(name.clone());
                removed.extend((!is_anchor).then(|| format!("`{name}`")));
            }
            // An `impl` or a method that is not there any more.
            if is_anchor && (is_own || overlapping) {
                let lost = owned.implemented.difference(&found.implemented);
                removed.extend(lost.map(|what| format!("`{}`", what.replace('\n', "::"))));
            }
        }
        if let Some(own) = own {
            lines.push(gravestone(&own));
            defined.insert(own, Owned { cell, implemented: found.implemented });
        }
        let inserted = Inserted { before, lines: lines.len() };
        let separator = if start.is_empty() || start.ends_with('\n') || lines.is_empty() { "" } else { "\n" };
        let ours: String = lines.iter().map(|line| format!("{line}\n")).collect();
        Plan { code: format!("{start}{separator}{ours}{text}"), inserted, defined, gone, removed }
    }

    /// The cell has run, well or not: it was compiled, so evcxr has taken its items.
    pub fn commit(&mut self, plan: Plan) {
        for name in plan.gone {
            self.0.remove(&name);
        }
        self.0.extend(plan.defined);
    }

    /// Everything was forgotten.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl Plan {
    /// What the user may not expect: items that are gone.
    pub fn note(&self) -> Option<String> {
        let names = self.removed.join(", ");
        (!names.is_empty()).then(|| {
            format!("note: this cell does not define {names} any more, so later cells do not have it")
        })
    }

    /// What it would take away.
    pub fn removed(&self) -> &[String] {
        &self.removed
    }
}

/// An item that the compiler takes away, whose name evcxr knows.
fn gravestone(name: &str) -> String {
    format!("#[cfg(any())] fn {name}() {{}}")
}

/// The name of an anchor: the cell's, else that of the `impl`s, so that the same ones are replaced.
fn anchor(id: Option<&str>, implemented: &BTreeSet<String>, overlaps: &[&String]) -> String {
    let of = |text: &str| format!("__igpt_anchor_{}", &hex(&Sha256::digest(text.as_bytes()))[..16]);
    match (id, overlaps) {
        (Some(id), _) => of(id),
        (None, [first, ..]) => (*first).clone(),
        (None, []) => of(&implemented.iter().cloned().collect::<String>()),
    }
}

/// What a piece of Rust defines.
#[derive(Debug, Default)]
struct Definitions {
    /// Items that evcxr knows by a name.
    named: Vec<String>,
    /// An item has come that evcxr keeps those without a name with.
    keeps_others: bool,
    /// Names of imports, which take the place of items.
    imported: Vec<String>,
    /// An item without a name comes before all that have one.
    needs_anchor: bool,
    /// What the items without a name before the first named one define: `Trait for Type`, or type and method.
    implemented: BTreeSet<String>,
}

impl Definitions {
    fn parse(rust: Rust<'_>) -> Option<Self> {
        let block = rust.parse().ok()?;
        let mut found = Self::default();
        for statement in &block.stmts {
            let Stmt::Item(item) = statement else { continue };
            match item {
                Item::Use(import) => imported(&import.tree, &mut found.imported),
                Item::ExternCrate(_) => {}
                item => match name_of(item) {
                    Some(name) => {
                        // evcxr keeps nothing with a macro.
                        found.keeps_others |= !matches!(item, Item::Macro(_));
                        found.named.push(name);
                    }
                    None if !found.keeps_others => {
                        found.needs_anchor = true;
                        found.implemented.extend(implemented(item, rust));
                    }
                    None => {}
                },
            }
        }
        Some(found)
    }
}

/// evcxr's name of an item.
fn name_of(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) if item.ident != "_" => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Mod(item) => &item.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        _ => return None,
    };
    Some(name.to_string())
}

/// What an item without a name defines.
fn implemented(item: &Item, rust: Rust<'_>) -> Vec<String> {
    let text = |span: Span| words(&rust.text_at(span));
    let Item::Impl(block) = item else { return vec![text(item.span())] };
    let of = text(block.self_ty.span());
    if let Some((_, path, _)) = &block.trait_ {
        return vec![format!("{} for {of}", text(path.span()))];
    }
    let name = |item: &ImplItem| match item {
        ImplItem::Fn(item) => Some(item.sig.ident.to_string()),
        ImplItem::Const(item) => Some(item.ident.to_string()),
        ImplItem::Type(item) => Some(item.ident.to_string()),
        _ => None,
    };
    block.items.iter().filter_map(name).map(|name| format!("{of}\n{name}")).collect()
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The names that an import brings.
fn imported(tree: &UseTree, names: &mut Vec<String>) {
    match tree {
        UseTree::Path(path) => imported(&path.tree, names),
        UseTree::Name(name) => names.push(name.ident.to_string()),
        UseTree::Rename(rename) if rename.rename != "_" => names.push(rename.rename.to_string()),
        UseTree::Group(group) => group.items.iter().for_each(|tree| imported(tree, names)),
        UseTree::Rename(_) | UseTree::Glob(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a cell; returns what evcxr gets, and the note.
    fn run(items: &mut Items, id: Option<&str>, code: &str) -> (String, Option<String>) {
        let plan = items.plan(id, code, false);
        let seen = (plan.code.clone(), plan.note());
        items.commit(plan);
        seen
    }

    #[test]
    fn an_edited_cell_takes_its_items_along() {
        let mut items = Items::default();
        let first = run(&mut items, Some("a"), "// two\nfn f() {}\nfn g() {}");
        assert_eq!(first, ("// two\nfn f() {}\nfn g() {}".into(), None));
        // Of another cell, and of none.
        run(&mut items, Some("b"), "fn h() {}");
        run(&mut items, None, "fn i() {}");
        let (code, note) = run(&mut items, Some("a"), "// one\nfn g() { f() }");
        assert_eq!(code, "// one\n#[cfg(any())] fn f() {}\nfn g() { f() }");
        assert_eq!(
            note.unwrap(),
            "note: this cell does not define `f` any more, so later cells do not have it"
        );
        // Once is enough; and whoever defines it owns it.
        assert_eq!(run(&mut items, Some("a"), "fn g() {}"), ("fn g() {}".into(), None));
        run(&mut items, Some("b"), "fn h() {}\nuse std::mem::swap as g;");
        assert_eq!(run(&mut items, Some("a"), "1"), ("1".into(), None));
        let (code, _) = run(&mut items, Some("b"), "");
        assert_eq!(code, "#[cfg(any())] fn h() {}\n");
        // A cell whose others need it still, keeps it.
        run(&mut items, Some("a"), "fn f() {}");
        let plan = items.plan(Some("a"), "1", true);
        assert_eq!((plan.code.as_str(), plan.note()), ("1", None));
    }

    #[test]
    fn an_impl_of_its_own_is_replaced() {
        let mut items = Items::default();
        let (first, _) = run(&mut items, Some("a"), "impl S { fn f(&self) {} }");
        let (anchor, rest) = first.split_once('\n').unwrap();
        assert!(anchor.starts_with("#[cfg(any())] fn __igpt_anchor_") && rest == "impl S { fn f(&self) {} }");
        let (second, note) = run(&mut items, Some("a"), "impl S { fn g(&self) {} }");
        assert_eq!(second, format!("{anchor}\nimpl S {{ fn g(&self) {{}} }}"));
        assert!(note.unwrap().contains("`S::f`"));
        // Gone with its cell's text.
        let (third, note) = run(&mut items, Some("a"), "let x = 1;");
        assert_eq!(third, format!("{anchor}\nlet x = 1;"));
        assert!(note.unwrap().contains("`S::g`"));
        assert_eq!(run(&mut items, Some("a"), "let x = 2;").0, "let x = 2;");
        // Behind a named item evcxr does it.
        assert_eq!(run(&mut items, Some("c"), "struct T;\nimpl T {}").0, "struct T;\nimpl T {}");
    }

    #[test]
    fn without_an_id_what_is_defined_anew_is_replaced() {
        let mut items = Items::default();
        let (trait_for, _) = run(&mut items, None, "impl Show for S { fn f() {} }");
        let (method, _) = run(&mut items, None, "impl S { fn f() {} }");
        let (other, _) = run(&mut items, None, "impl S { fn g() {} }");
        let anchor = |code: &str| code.lines().next().unwrap().to_owned();
        assert_eq!(BTreeSet::from([anchor(&trait_for), anchor(&method), anchor(&other)]).len(), 3);
        assert_eq!(
            anchor(&run(&mut items, None, "impl Show\n for S { fn f() { 1; } }").0),
            anchor(&trait_for)
        );
        assert_eq!(anchor(&run(&mut items, None, "impl S { fn f() { 2; } }").0), anchor(&method));
        // Both at once: one anchor is used again, the other goes.
        let (both, note) = run(&mut items, None, "impl S { fn f() {} fn g() {} }");
        assert_eq!(both.lines().count(), 3, "{both}");
        assert_eq!(note, None);
    }

    #[test]
    fn code_that_is_not_understood_stays_as_it_is() {
        let mut items = Items::default();
        for code in [
            "let a = std::;",
            "#![allow(unused)]\nimpl S {}",
            ":vars",
            "macro_rules! m { () => {} }\nlet a = 1;",
        ] {
            assert_eq!(run(&mut items, Some("a"), code).0, code);
        }
        let (code, _) = run(&mut items, Some("b"), ":dep a\n\nmacro_rules! m { () => {} }\nimpl S {}");
        assert_eq!(code.lines().nth(2).unwrap().split('_').next(), Some("#[cfg(any())] fn "));
        let plan = items.plan(Some("b"), ":dep a\n\nimpl S {}", false);
        // The macro's gravestone and the anchor.
        assert_eq!(plan.inserted, Inserted { before: 2, lines: 2 });
        assert_eq!([2, 3, 4, 5].map(|line| plan.inserted.of_user(line)), [Some(2), None, None, Some(3)]);
    }

    #[test]
    fn cells_have_ids_in_the_metadata() {
        assert_eq!(cell_of(&serde_json::json!({"cellId": "x"})), Some("x"));
        assert_eq!(cell_of(&serde_json::json!({"cellId": ""})), None);
        assert_eq!(cell_of(&serde_json::json!({})), None);
    }
}
