//! What an item can reach: every item that its code can name, and what belongs to those.
//!
//! - An item is reached if a reached item has a path to it: in code, types, macros, attributes, format strings, through
//!   imports and re-exports.
//! - `impl Trait for Type`, wherever it stands, is reached with the type and the trait. If the trait is of another crate, or
//!   is named by code that is not followed, its use need not be seen: then with the type alone. What is implemented for a
//!   type of another crate is reached with the trait.
//! - A method is reached if its type is, and some reached item says its name.
//! - A trait is reached, too, if a module of which something is reached imports it, and some reached item says the name of
//!   something in it: its methods need no path.
//! - A macro that makes items is reached with the module in which it is called, or with a type that it names.
//!
//! This is more than is ever executed, and never less, but for what `lists.rs` leaves out.

use super::lists::{NO_NUMBERS, NUMBERS, Root, SHOWS};
use super::modules::{Item, Kind, Modules, Target};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The library with all its paths followed.
pub struct Paths {
    /// What there is.
    pub all: Modules,
    /// Each item's own path.
    own: Vec<String>,
    /// What each item's paths mean, each with the path as it is written.
    pub targets: Vec<BTreeSet<(String, Target)>>,
    /// Which items may decide a number.
    pub counts: Vec<bool>,
    /// Which functions give something that is only looked at.
    shows: Vec<bool>,
    /// What belongs to each module of which something is reached: traits in scope, and other crates' names.
    scopes: Vec<Scope>,
    /// The items of the types and traits that an `impl` is for.
    heads: Vec<Head>,
    /// Items that count and are not reached by their names alone.
    nameless: Vec<usize>,
    /// Traits that code names which is not followed, so that their use is not seen.
    unseen: BTreeSet<usize>,
}

#[derive(Default)]
struct Scope {
    traits: BTreeSet<usize>,
    /// Enums whose variants are imported with `*`.
    enums: BTreeSet<usize>,
    outside: BTreeSet<String>,
}

#[derive(Default)]
struct Head {
    /// The trait, if it is one of this library.
    of: BTreeSet<usize>,
    types: BTreeSet<usize>,
}

/// What a root reaches.
#[derive(Debug, Default)]
pub struct Reached<'a> {
    /// The items, and by which other they are reached.
    pub items: BTreeMap<usize, Option<usize>>,
    /// The modules that they are in.
    pub modules: BTreeSet<usize>,
    names: BTreeSet<&'a str>,
    /// Other crates' things that they use.
    pub outside: BTreeSet<&'a str>,
}

impl Paths {
    /// Follows all paths.
    pub fn new(all: Modules) -> Self {
        let mut known = vec![Known::new(); all.modules.len()];
        let targets: Vec<_> = (0..all.items.len()).map(|item| targets(&all, item, &mut known)).collect();
        let mut paths = Self {
            own: all.items.iter().map(|item| path_of(&all, item)).collect(),
            targets,
            counts: Vec::new(),
            shows: Vec::new(),
            scopes: Vec::new(),
            heads: Vec::new(),
            nameless: Vec::new(),
            unseen: BTreeSet::new(),
            all,
        };
        paths.counts = (0..paths.all.items.len()).map(|item| paths.may_count(item)).collect();
        paths.shows = paths.all.items.iter().map(|item| paths.only_shows(item)).collect();
        paths.heads = paths.all.items.iter().map(|item| paths.head(item)).collect();
        let is_nameless = |item: &usize| {
            let kind = &paths.all.items[*item].kind;
            matches!(kind, Kind::Implementation { .. } | Kind::Method { .. } | Kind::Call)
                && paths.counts[*item]
        };
        paths.nameless = (0..paths.all.items.len()).filter(is_nameless).collect();
        let out = paths
            .targets
            .iter()
            .zip(&paths.counts)
            .filter(|(_, counts)| !**counts)
            .map(|(targets, _)| targets);
        let named: BTreeSet<usize> = out.flatten().filter_map(|(_, target)| item_of(target)).collect();
        let is_trait = |item: &usize| matches!(paths.all.items[*item].kind, Kind::Trait { .. });
        paths.unseen = named.into_iter().filter(is_trait).filter(|item| paths.counts[*item]).collect();
        paths.scopes = (0..paths.all.modules.len()).map(|module| paths.scope(module)).collect();
        paths
    }

    /// An item's path: `engine::cpu::ROWS`, `probe::accuracy::Accuracy::share`.
    pub fn path_of(&self, item: usize) -> &str {
        &self.own[item]
    }

    fn items(&self, module: usize, parts: &[String]) -> BTreeSet<usize> {
        self.all.meaning(module, parts).iter().filter_map(item_of).collect()
    }

    fn is_out(&self, item: usize) -> bool {
        let path = self.path_of(item);
        is_in(path, NO_NUMBERS.iter().map(|(name, _)| *name))
            && !is_in(path, NUMBERS.iter().map(|(name, _)| *name))
    }

    fn may_count(&self, number: usize) -> bool {
        let item = &self.all.items[number];
        let all_out =
            |items: &BTreeSet<usize>| !items.is_empty() && items.iter().all(|item| self.is_out(*item));
        if self.is_out(number) {
            return false;
        }
        match &item.kind {
            Kind::Implementation { of, to, .. } => {
                let formats = self.all.meaning(item.module, of).iter().any(|target| match target {
                    Target::Outside(path) | Target::Unknown(path) => is_format(path),
                    _ => false,
                });
                let to: BTreeSet<usize> =
                    to.iter().flat_map(|path| self.items(item.module, &path.parts)).collect();
                !formats && !all_out(&self.items(item.module, of)) && !all_out(&to)
            }
            Kind::Call => {
                let called = item.said.paths.iter().filter(|path| path.is_macro);
                let called = called.flat_map(|path| self.items(item.module, &path.parts)).collect();
                !all_out(&called)
            }
            _ => true,
        }
    }

    /// Whether a function gives something that is only looked at, and computes no step.
    fn only_shows(&self, item: &Item) -> bool {
        let shown = |item: usize| is_in(self.path_of(item), [SHOWS].into_iter());
        item.gives.iter().any(|path| self.items(item.module, &path.parts).into_iter().any(shown))
            && !item.said.names.contains("get_or_run")
    }

    fn head(&self, item: &Item) -> Head {
        let items = |paths: &BTreeSet<super::tokens::Written>| -> BTreeSet<usize> {
            paths.iter().flat_map(|path| self.items(item.module, &path.parts)).collect()
        };
        match &item.kind {
            Kind::Implementation { of, to, arguments } => {
                let types = items(to).into_iter().chain(items(arguments)).collect();
                Head { of: self.items(item.module, of), types }
            }
            Kind::Method { types, .. } => Head { types: items(types), ..Head::default() },
            Kind::Call => Head { types: items(&item.said.paths), ..Head::default() },
            _ => Head::default(),
        }
    }

    fn scope(&self, module: usize) -> Scope {
        let mut scope = Scope::default();
        let is_trait = |item: &usize| matches!(self.all.items[*item].kind, Kind::Trait { .. });
        let here = |module: usize| -> Vec<usize> {
            let names = self.all.names_in(module).filter(|name| !matches!(name.as_str(), "*" | "_"));
            names
                .flat_map(|name| self.items(module, &["self".into(), name.clone()]))
                .filter(is_trait)
                .collect()
        };
        scope.traits.extend(here(module));
        for (name, path) in &self.all.modules[module].uses {
            for target in self.all.imported(module, path) {
                match target {
                    Target::Item(item) if is_trait(&item) => {
                        scope.traits.insert(item);
                    }
                    Target::Item(item) if name == "*" => {
                        scope.enums.insert(item);
                    }
                    Target::Module(other) if name == "*" => scope.traits.extend(here(other)),
                    Target::Outside(path) if !is_format(&path) => {
                        scope.outside.insert(format!("{path} as {name}"));
                    }
                    _ => {}
                }
            }
        }
        scope
    }

    /// All that a root reaches.
    pub fn reach(&self, root: &Root) -> Reached<'_> {
        let mut reached = Reached::default();
        let mut open = Vec::new();
        for (number, item) in self.all.items.iter().enumerate() {
            let path = self.path_of(number);
            let inside = is_in(path, root.of.iter().copied()) && !is_in(path, root.without.iter().copied());
            let asked_for = root.of.contains(&path);
            let usable = item.visible && !self.shows[number];
            if self.counts[number] && (asked_for || inside && usable) {
                add(&mut reached, number, None, &mut open);
                // A method comes with its type.
                self.heads[number].types.iter().filter(|item| self.counts[**item]).for_each(|of| {
                    add(&mut reached, *of, Some(number), &mut open);
                });
            }
        }
        loop {
            while let Some(number) = open.pop() {
                let item = &self.all.items[number];
                reached.names.extend(item.said.names.iter().map(String::as_str));
                let mut next: BTreeSet<usize> =
                    self.targets[number].iter().filter_map(|(_, target)| item_of(target)).collect();
                reached
                    .outside
                    .extend(self.targets[number].iter().filter_map(|(_, target)| outside_of(target)));
                if reached.modules.insert(item.module) {
                    next.extend(&self.scopes[item.module].enums);
                    reached.outside.extend(self.scopes[item.module].outside.iter().map(String::as_str));
                }
                for item in next.into_iter().filter(|item| self.counts[*item]) {
                    add(&mut reached, item, Some(number), &mut open);
                }
            }
            for number in reached.modules.iter().flat_map(|module| &self.scopes[*module].traits) {
                let Kind::Trait { names } = &self.all.items[*number].kind else { continue };
                if self.counts[*number] && names.iter().any(|name| reached.names.contains(name.as_str())) {
                    reached.items.entry(*number).or_insert_with(|| {
                        open.push(*number);
                        None
                    });
                }
            }
            for &number in &self.nameless {
                if !reached.items.contains_key(&number)
                    && let Some(by) = self.belongs(number, &reached)
                {
                    add(&mut reached, number, by, &mut open);
                }
            }
            if open.is_empty() {
                return reached;
            }
        }
    }

    /// Whether something without a name of its own belongs to what is reached, and to what of it.
    fn belongs(&self, number: usize, reached: &Reached<'_>) -> Option<Option<usize>> {
        let (item, Head { of, types }) = (&self.all.items[number], &self.heads[number]);
        let first =
            |items: &BTreeSet<usize>| items.iter().copied().find(|item| reached.items.contains_key(item));
        match &item.kind {
            Kind::Implementation { .. } => {
                let unseen = !of.is_disjoint(&self.unseen) && !types.is_empty();
                let with_trait = of.is_empty() || unseen || first(of).is_some();
                match types.is_empty() {
                    _ if !with_trait => None,
                    false => first(types).map(Some),
                    true if of.is_empty() => reached.modules.contains(&item.module).then_some(None),
                    true => Some(first(of)),
                }
            }
            Kind::Method { name, .. } => {
                let said = name == "*" || reached.names.contains(name.as_str());
                // Of a type that is not followed, single methods may count.
                let alone = types.iter().all(|of| !self.counts[*of]);
                if said && alone { Some(None) } else { first(types).filter(|_| said).map(Some) }
            }
            Kind::Call => match first(types) {
                Some(by) => Some(Some(by)),
                None => reached.modules.contains(&item.module).then_some(None),
            },
            _ => None,
        }
    }
}

fn add(reached: &mut Reached<'_>, item: usize, by: Option<usize>, open: &mut Vec<usize>) {
    reached.items.entry(item).or_insert_with(|| {
        open.push(item);
        by
    });
}

fn path_of(all: &Modules, item: &Item) -> String {
    let Item { module, name, kind, .. } = item;
    let name = match kind {
        Kind::Named | Kind::Trait { .. } | Kind::Macro => name.split(' ').next_back().unwrap_or(name),
        _ => name,
    };
    format!("{}::{name}", all.modules[*module].path)
}

/// What paths mean that stand in a module.
type Known = HashMap<Vec<String>, BTreeSet<Target>>;

/// What an item's paths mean; those of the macros that it calls, too, which are filled in where it stands.
fn targets(all: &Modules, item: usize, known: &mut [Known]) -> BTreeSet<(String, Target)> {
    let (module, mut found) = (all.items[item].module, BTreeSet::new());
    let (mut open, mut seen) = (vec![item], BTreeSet::new());
    while let Some(from) = open.pop() {
        for path in &all.items[from].said.paths {
            let written = path.parts.join("::");
            if !known[module].contains_key(&path.parts) {
                known[module].insert(path.parts.clone(), all.meaning(module, &path.parts));
            }
            for target in &known[module][&path.parts] {
                match *target {
                    Target::Item(other)
                        if path.is_macro
                            && matches!(all.items[other].kind, Kind::Macro)
                            && seen.insert(other) =>
                    {
                        open.push(other);
                    }
                    Target::Module(other) if path.is_glob => {
                        for name in all.names_in(other) {
                            let meant = all.meaning(other, &["self".into(), name.clone()]);
                            found.extend(
                                meant.into_iter().map(|target| (format!("{written}::{name}"), target)),
                            );
                        }
                    }
                    _ => {}
                }
                found.insert((written.clone(), target.clone()));
            }
        }
    }
    found
}

fn item_of(target: &Target) -> Option<usize> {
    match target {
        Target::Item(item) => Some(*item),
        _ => None,
    }
}

/// Names of other crates: with an import, or, with at least two parts, in full.
fn outside_of(target: &Target) -> Option<&str> {
    match target {
        Target::Outside(path) => Some(path),
        Target::Unknown(path) if path.contains("::") => Some(path),
        _ => None,
    }
}

/// Text, from which nothing is computed.
fn is_format(path: &str) -> bool {
    ["std::fmt", "core::fmt", "::std::fmt"]
        .iter()
        .any(|start| path == *start || path.starts_with(&format!("{start}::")))
}

/// Whether a path is one of these, or below one.
pub fn is_in<'a>(path: &str, mut of: impl Iterator<Item = &'a str>) -> bool {
    of.any(|start| path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")))
}
