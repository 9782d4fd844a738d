//! The modules of the library, their items, and what a path in one of them means.

use super::lists::OWN_CRATES;
use super::tokens::{Said, Written};
use proc_macro2::TokenStream;
use quote::ToTokens;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use syn::{Attribute, ImplItem, Item as Syntax, UseTree, Visibility};

/// The files of `src/`, and of the crates that the library is made of, by their path from `src/`, with `/` between its parts.
pub type Tree = BTreeMap<String, Vec<u8>>;

/// Reads a file of Rust: its path, and its text.
pub type Parse<'a> = &'a dyn Fn(&str, &str) -> Result<Rc<syn::File>, String>;

/// The usual way to read a file of Rust.
pub fn parse(file: &str, text: &str) -> Result<Rc<syn::File>, String> {
    syn::parse_file(text).map(Rc::new).map_err(|e| format!("src/{file} is no Rust: {e}"))
}

/// A module: a file, or `mod name { … }` in one.
#[derive(Debug)]
pub struct Module {
    /// `engine::cpu`; of the library itself, nothing; of another crate that it is made of, `igpt_formats`.
    pub path: String,
    /// `engine/cpu.rs`
    pub file: String,
    /// The module that it is in; a crate is in none.
    pub parent: Option<usize>,
    /// Its items that have no name by which they could be asked for.
    pub unnamed: Vec<usize>,
    /// What stands before its `mod`: `#[cfg(target_arch = "x86_64")]`.
    pub attributes: String,
    /// What it imports, by the name that it has here (`*` for all, `_` for none).
    pub uses: Vec<(String, Vec<String>)>,
    names: BTreeMap<String, Vec<Meaning>>,
}

#[derive(Debug, Clone)]
enum Meaning {
    Item(usize),
    Module(usize),
    /// The number of a `use`.
    Use(usize),
}

/// What there is in a module.
#[derive(Debug)]
pub struct Item {
    /// Its module.
    pub module: usize,
    /// `fn norm`, `struct Rng`, `Rng::normal`, `impl Network for Engine`.
    pub name: String,
    /// What kind.
    pub kind: Kind,
    /// Whether other modules can use it.
    pub visible: bool,
    /// Its code.
    pub said: Said,
    /// What a function gives, if it cannot change what it is given.
    pub gives: BTreeSet<Written>,
}

/// Kinds of items, by how they are reached.
#[derive(Debug)]
pub enum Kind {
    /// By its name.
    Named,
    /// The same, and, where it is imported, by the name of something in it.
    Trait {
        /// What is in it.
        names: BTreeSet<String>,
    },
    /// By its name with a `!`.
    Macro,
    /// `impl … for …`: by the types and the trait that it is for.
    Implementation {
        /// The trait.
        of: Vec<String>,
        /// What gets the trait.
        to: BTreeSet<Written>,
        /// The trait's arguments: `Accuracy` of `From<Accuracy>`.
        arguments: BTreeSet<Written>,
    },
    /// A function or constant of a type: by its name, if the type is reached.
    Method {
        /// Its own name.
        name: String,
        /// The type.
        types: BTreeSet<Written>,
    },
    /// A macro that makes items: with the module, or the types that it names.
    Call,
}

/// What a path means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// An item of the library.
    Item(usize),
    /// A module of the library.
    Module(usize),
    /// Something of another crate, by an import.
    Outside(String),
    /// A local variable, something of the prelude, or of a crate that is named in full.
    Unknown(String),
}

/// All modules of the library, and of the crates that it is made of.
#[derive(Debug, Default)]
pub struct Modules {
    /// The library itself is the first.
    pub modules: Vec<Module>,
    /// Their items.
    pub items: Vec<Item>,
    /// Files of unit tests.
    pub tests: BTreeSet<String>,
    /// The crates that the library is made of, by their names.
    crates: BTreeMap<&'static str, usize>,
}

struct Raw {
    module: usize,
    name: String,
    kind: Kind,
    visible: bool,
    tokens: TokenStream,
    gives: TokenStream,
}

impl Modules {
    /// Reads the library.
    pub fn read(tree: &Tree, parse: Parse<'_>) -> Result<Self, String> {
        let mut all = Self::default();
        let mut raw = Vec::new();
        let files = Files { tree, parse };
        all.file(files, "lib.rs", "", None, &mut raw)?;
        for (name, folder) in OWN_CRATES {
            let number = all.file(files, &format!("{folder}/lib.rs"), name, None, &mut raw)?;
            all.crates.insert(name, number);
        }
        let said: Vec<(Said, BTreeSet<Written>)> = raw
            .iter()
            .map(|item| {
                let is_error = |parts: &[String]| all.is_error(item.module, parts, &raw);
                let said = Said::by(item.tokens.clone(), &is_error);
                (said, Said::by(item.gives.clone(), &is_error).paths)
            })
            .collect();
        for (Raw { module, name, kind, visible, .. }, (mut said, gives)) in raw.into_iter().zip(said) {
            for file in &mut said.files {
                *file = included(&all.modules[module].file, file)?;
                if !tree.contains_key(file) {
                    return Err(format!(
                        "src/{} includes src/{file}, which is not there",
                        all.modules[module].file
                    ));
                }
            }
            all.items.push(Item { module, name, kind, visible, said, gives });
        }
        Ok(all)
    }

    /// `crate::Error::invalid(…)` and the like.
    fn is_error(&self, module: usize, parts: &[String], raw: &[Raw]) -> bool {
        parts.iter().rev().nth(1).is_some_and(|name| name == "Error")
            && self.meaning(module, &parts[..parts.len() - 1]).iter().any(|target| match target {
                Target::Item(item) => {
                    let item = &raw[*item];
                    self.modules[item.module].path == "error" && item.name == "enum Error"
                }
                _ => false,
            })
    }

    fn file(
        &mut self,
        files: Files<'_>,
        file: &str,
        path: &str,
        parent: Option<usize>,
        raw: &mut Vec<Raw>,
    ) -> Result<usize, String> {
        let bytes = files.tree.get(file).ok_or_else(|| format!("there is no src/{file}"))?;
        let text = std::str::from_utf8(bytes).map_err(|e| format!("src/{file}: {e}"))?;
        let parsed = (files.parse)(file, text)?;
        let of_folder = file.strip_suffix("/mod.rs").or(file.strip_suffix("/lib.rs"));
        let folder = match of_folder.or((file == "lib.rs").then_some("")) {
            Some(folder) => folder.to_owned(),
            None => file.trim_end_matches(".rs").to_owned(),
        };
        self.module(files, &parsed.items, &Place { file, folder, path: path.to_owned(), parent }, raw)
    }

    fn module(
        &mut self,
        files: Files<'_>,
        items: &[Syntax],
        place: &Place<'_>,
        raw: &mut Vec<Raw>,
    ) -> Result<usize, String> {
        let this = self.modules.len();
        self.modules.push(Module {
            path: place.path.clone(),
            file: place.file.to_owned(),
            parent: place.parent,
            unnamed: Vec::new(),
            attributes: String::new(),
            uses: Vec::new(),
            names: BTreeMap::new(),
        });
        for item in items {
            let (test, name) = (is_test(attributes(item)), name_of(item));
            match item {
                Syntax::Mod(inner) => {
                    let name = inner.ident.to_string();
                    let file = place.file_of(files.tree, inner)?;
                    if test {
                        if inner.content.is_none() {
                            let below = format!("{}/", file.trim_end_matches(".rs"));
                            self.tests.extend(
                                files.tree.keys().filter(|f| **f == file || f.starts_with(&below)).cloned(),
                            );
                        }
                        continue;
                    }
                    let path =
                        if place.path.is_empty() { name.clone() } else { format!("{}::{name}", place.path) };
                    let number = match &inner.content {
                        None => self.file(files, &file, &path, Some(this), raw)?,
                        Some((_, items)) => {
                            let folder = place.below(&name);
                            self.module(
                                files,
                                items,
                                &Place { file: place.file, folder, path, parent: Some(this) },
                                raw,
                            )?
                        }
                    };
                    let attributes =
                        inner.attrs.iter().map(ToTokens::to_token_stream).collect::<TokenStream>();
                    self.modules[number].attributes = plain(&attributes);
                    self.modules[this].names.entry(name).or_default().push(Meaning::Module(number));
                }
                _ if test => {}
                Syntax::ExternCrate(item) => {
                    return Err(format!(
                        "src/{}: `extern crate {}` is not understood by build.rs: name the crate where it is used",
                        place.file, item.ident
                    ));
                }
                Syntax::Use(item) => {
                    let outside = item.leading_colon.map(|_| vec![String::new()]);
                    flatten(&item.tree, &outside.unwrap_or_default(), &mut |name, path| {
                        let module = &mut self.modules[this];
                        module.names.entry(name.clone()).or_default().push(Meaning::Use(module.uses.len()));
                        module.uses.push((name, path));
                    });
                }
                Syntax::Impl(item) => {
                    let types = said(&item.self_ty);
                    match &item.trait_ {
                        Some((_, of, _)) => {
                            let parts = of.segments.iter().map(|part| part.ident.to_string()).collect();
                            let arguments = of.segments.iter().flat_map(|part| said(&part.arguments));
                            let kind =
                                Kind::Implementation { of: parts, to: types, arguments: arguments.collect() };
                            let name = format!("impl {} for {}", plain(of), plain(&item.self_ty));
                            self.add(
                                raw,
                                this,
                                None,
                                Raw::new(this, name, kind, false, item.to_token_stream()),
                            );
                        }
                        None => {
                            let head = syn::ItemImpl {
                                attrs: item.attrs.clone(),
                                generics: item.generics.clone(),
                                trait_: None,
                                self_ty: item.self_ty.clone(),
                                items: Vec::new(),
                                ..*item
                            };
                            let head_tokens = head.to_token_stream();
                            for inner in &item.items {
                                let (name, visible, signature) = method(inner);
                                let kind = Kind::Method { name: name.clone(), types: types.clone() };
                                let mut tokens = head_tokens.clone();
                                inner.to_tokens(&mut tokens);
                                let name = format!("{}::{name}", plain(&item.self_ty));
                                let mut method = Raw::new(this, name, kind, visible, tokens);
                                method.gives = signature.map(gives).unwrap_or_default();
                                self.add(raw, this, None, method);
                            }
                        }
                    }
                }
                item => {
                    let (kind, what) = match item {
                        Syntax::Trait(item) => {
                            (Kind::Trait { names: item.items.iter().filter_map(in_trait).collect() }, "trait")
                        }
                        Syntax::Macro(item) if item.ident.is_some() => (Kind::Macro, "macro"),
                        Syntax::Macro(_) => (Kind::Call, "call"),
                        Syntax::Fn(_) => (Kind::Named, "fn"),
                        Syntax::Struct(_) => (Kind::Named, "struct"),
                        Syntax::Enum(_) => (Kind::Named, "enum"),
                        Syntax::Union(_) => (Kind::Named, "union"),
                        Syntax::Type(_) => (Kind::Named, "type"),
                        Syntax::Const(_) => (Kind::Named, "const"),
                        Syntax::Static(_) => (Kind::Named, "static"),
                        _ => (Kind::Call, "other"),
                    };
                    let shown = match (&name, item) {
                        (Some(name), _) => format!("{what} {name}"),
                        (None, Syntax::Macro(item)) => format!("{what} {}", plain(&item.mac.path)),
                        (None, _) => what.to_owned(),
                    };
                    let mut one = Raw::new(this, shown, kind, is_visible(item), item.to_token_stream());
                    if let Syntax::Fn(function) = item {
                        one.gives = gives(&function.sig);
                    }
                    self.add(raw, this, name, one);
                }
            }
        }
        Ok(this)
    }

    fn add(&mut self, raw: &mut Vec<Raw>, module: usize, name: Option<String>, item: Raw) {
        match name {
            Some(name) => {
                self.modules[module].names.entry(name).or_default().push(Meaning::Item(raw.len()));
            }
            None => self.modules[module].unnamed.push(raw.len()),
        }
        raw.push(item);
    }

    /// What a path means that stands in a module.
    pub fn meaning(&self, module: usize, parts: &[String]) -> BTreeSet<Target> {
        let mut found = BTreeSet::new();
        self.follow(module, parts, &mut BTreeSet::new(), &mut found);
        found
    }

    /// What a `use` of a module imports.
    pub fn imported(&self, module: usize, path: &[String]) -> BTreeSet<Target> {
        let unknown = |target| match target {
            Target::Unknown(path) => Target::Outside(path),
            known => known,
        };
        self.meaning(module, path).into_iter().map(unknown).collect()
    }

    fn follow(&self, module: usize, parts: &[String], seen: &mut Seen, found: &mut BTreeSet<Target>) {
        let Some((head, rest)) = parts.split_first() else {
            found.insert(Target::Module(module));
            return;
        };
        match head.as_str() {
            "crate" => self.enter(self.crate_of(module), rest, seen, found),
            // `::name` is a crate, whatever the module itself calls so.
            "" if rest.first().is_some_and(|name| self.crates.contains_key(name.as_str())) => {
                self.enter(self.crates[rest[0].as_str()], &rest[1..], seen, found);
            }
            "self" => self.enter(module, rest, seen, found),
            "super" => match self.modules[module].parent {
                Some(parent) if rest.first().is_some_and(|next| next == "super") => {
                    self.follow(parent, rest, seen, found);
                }
                Some(parent) => self.enter(parent, rest, seen, found),
                None => {}
            },
            "Self" => {}
            _ => {
                let mut named = BTreeSet::new();
                self.look_up(module, head, seen, &mut named);
                if named.is_empty() {
                    named = self.macro_above(module, head);
                }
                if let Some(of) = self.crates.get(head.as_str()).filter(|_| named.is_empty()) {
                    return self.enter(*of, rest, seen, found);
                }
                if named.is_empty() {
                    found.insert(Target::Unknown(parts.join("::")));
                }
                self.go_on(named, rest, seen, found);
            }
        }
    }

    /// The crate that a module is of.
    fn crate_of(&self, module: usize) -> usize {
        std::iter::successors(Some(module), |module| self.modules[*module].parent).last().unwrap_or(module)
    }

    /// What `rest` means in a module that is named.
    fn enter(&self, module: usize, rest: &[String], seen: &mut Seen, found: &mut BTreeSet<Target>) {
        match rest.split_first() {
            None => {
                found.insert(Target::Module(module));
            }
            Some((name, rest)) => {
                let mut named = BTreeSet::new();
                self.look_up(module, name, seen, &mut named);
                self.go_on(named, rest, seen, found);
            }
        }
    }

    fn go_on(&self, named: BTreeSet<Target>, rest: &[String], seen: &mut Seen, found: &mut BTreeSet<Target>) {
        for target in named {
            match target {
                Target::Module(module) => self.enter(module, rest, seen, found),
                // What comes after a type is its method, variant or constant.
                Target::Item(_) => {
                    found.insert(target);
                }
                Target::Outside(path) | Target::Unknown(path) => {
                    let path = std::iter::once(path).chain(rest.iter().cloned()).collect::<Vec<_>>();
                    found.insert(Target::Outside(path.join("::")));
                }
            }
        }
    }

    fn look_up(&self, module: usize, name: &str, seen: &mut Seen, found: &mut BTreeSet<Target>) {
        if !seen.insert((module, name.to_owned())) {
            return;
        }
        let this = &self.modules[module];
        for meaning in this.names.get(name).into_iter().flatten() {
            match meaning {
                Meaning::Item(item) => {
                    found.insert(Target::Item(*item));
                }
                Meaning::Module(module) => {
                    found.insert(Target::Module(*module));
                }
                Meaning::Use(number) => {
                    self.follow(module, &this.uses[*number].1, seen, found);
                }
            }
        }
        for (_, path) in this.uses.iter().filter(|(name, _)| name == "*") {
            let mut globbed = BTreeSet::new();
            self.follow(module, path, seen, &mut globbed);
            for target in globbed {
                if let Target::Module(module) = target {
                    self.look_up(module, name, seen, found);
                }
            }
        }
        seen.remove(&(module, name.to_owned()));
    }

    /// Macros are also known below the module that has them.
    fn macro_above(&self, module: usize, name: &str) -> BTreeSet<Target> {
        let mut above = self.modules[module].parent;
        while let Some(module) = above {
            let meanings = self.modules[module].names.get(name).into_iter().flatten();
            let items = meanings.filter_map(|meaning| match meaning {
                Meaning::Item(item) => {
                    let item =
                        self.items.get(*item).filter(|item| matches!(item.kind, Kind::Macro)).map(|_| *item);
                    item.map(Target::Item)
                }
                _ => None,
            });
            let items: BTreeSet<_> = items.collect();
            if !items.is_empty() {
                return items;
            }
            above = self.modules[module].parent;
        }
        BTreeSet::new()
    }

    /// The names that a module has for what is in it, and for what it imports.
    pub fn names_in(&self, module: usize) -> impl Iterator<Item = &String> {
        self.modules[module].names.keys()
    }
}

type Seen = BTreeSet<(usize, String)>;

impl Raw {
    fn new(module: usize, name: String, kind: Kind, visible: bool, tokens: TokenStream) -> Self {
        Self { module, name, kind, visible, tokens, gives: TokenStream::new() }
    }
}

/// Where files come from.
#[derive(Clone, Copy)]
struct Files<'a> {
    tree: &'a Tree,
    parse: Parse<'a>,
}

/// Where the items of a module stand.
struct Place<'a> {
    file: &'a str,
    /// The folder of the modules in it.
    folder: String,
    path: String,
    parent: Option<usize>,
}

impl Place<'_> {
    fn below(&self, name: &str) -> String {
        if self.folder.is_empty() { name.to_owned() } else { format!("{}/{name}", self.folder) }
    }

    /// The file of `mod name;`.
    fn file_of(&self, tree: &Tree, module: &syn::ItemMod) -> Result<String, String> {
        let below = self.below(&module.ident.to_string());
        if module.attrs.iter().any(|attribute| attribute.path().is_ident("path")) {
            return Err(format!(
                "src/{}: #[path] on `mod {}` is not understood by build.rs: let the file lie where Rust looks for it",
                self.file, module.ident
            ));
        }
        let folder = format!("{below}/mod.rs");
        Ok(if tree.contains_key(&folder) { folder } else { format!("{below}.rs") })
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

fn attributes(item: &Syntax) -> &[Attribute] {
    match item {
        Syntax::Const(item) => &item.attrs,
        Syntax::Enum(item) => &item.attrs,
        Syntax::ExternCrate(item) => &item.attrs,
        Syntax::Fn(item) => &item.attrs,
        Syntax::ForeignMod(item) => &item.attrs,
        Syntax::Impl(item) => &item.attrs,
        Syntax::Macro(item) => &item.attrs,
        Syntax::Mod(item) => &item.attrs,
        Syntax::Static(item) => &item.attrs,
        Syntax::Struct(item) => &item.attrs,
        Syntax::Trait(item) => &item.attrs,
        Syntax::Type(item) => &item.attrs,
        Syntax::Union(item) => &item.attrs,
        Syntax::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn name_of(item: &Syntax) -> Option<String> {
    let name = match item {
        Syntax::Const(item) => &item.ident,
        Syntax::Enum(item) => &item.ident,
        Syntax::Fn(item) => &item.sig.ident,
        Syntax::Macro(item) => item.ident.as_ref()?,
        Syntax::Static(item) => &item.ident,
        Syntax::Struct(item) => &item.ident,
        Syntax::Trait(item) => &item.ident,
        Syntax::Type(item) => &item.ident,
        Syntax::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string()).filter(|name| name != "_")
}

fn is_visible(item: &Syntax) -> bool {
    let visibility = match item {
        Syntax::Const(item) => &item.vis,
        Syntax::Enum(item) => &item.vis,
        Syntax::Fn(item) => &item.vis,
        Syntax::Static(item) => &item.vis,
        Syntax::Struct(item) => &item.vis,
        Syntax::Trait(item) => &item.vis,
        Syntax::Type(item) => &item.vis,
        Syntax::Union(item) => &item.vis,
        _ => return false,
    };
    !matches!(visibility, Visibility::Inherited)
}

/// The name of a function or constant of a type, and whether other modules can use it.
fn method(item: &ImplItem) -> (String, bool, Option<&syn::Signature>) {
    let visible = |visibility: &Visibility| !matches!(visibility, Visibility::Inherited);
    match item {
        ImplItem::Const(item) => (item.ident.to_string(), visible(&item.vis), None),
        ImplItem::Fn(item) => (item.sig.ident.to_string(), visible(&item.vis), Some(&item.sig)),
        ImplItem::Type(item) => (item.ident.to_string(), visible(&item.vis), None),
        _ => ("*".into(), true, None),
    }
}

fn in_trait(item: &syn::TraitItem) -> Option<String> {
    match item {
        syn::TraitItem::Const(item) => Some(item.ident.to_string()),
        syn::TraitItem::Fn(item) => Some(item.sig.ident.to_string()),
        _ => None,
    }
}

/// What a function gives, if it cannot change what it is given, nor calls it.
fn gives(signature: &syn::Signature) -> TokenStream {
    let arguments = plain(&signature.inputs);
    let words: Vec<&str> = arguments.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
    if words.iter().any(|word| matches!(*word, "mut" | "dyn" | "impl" | "Fn" | "FnMut" | "FnOnce")) {
        return TokenStream::new();
    }
    signature.output.to_token_stream()
}

fn said(tokens: &impl quote::ToTokens) -> BTreeSet<Written> {
    Said::by(tokens.to_token_stream(), &|_| false).paths
}

fn plain(tokens: &impl quote::ToTokens) -> String {
    Said::by(tokens.to_token_stream(), &|_| false).text.trim().replace(' ', "")
}

/// Calls `add` with each name that a `use` makes, and its path.
fn flatten(tree: &UseTree, before: &[String], add: &mut impl FnMut(String, Vec<String>)) {
    let with = |name: &syn::Ident| before.iter().cloned().chain([name.to_string()]).collect::<Vec<_>>();
    match tree {
        UseTree::Path(path) => flatten(&path.tree, &with(&path.ident), add),
        UseTree::Name(name) if name.ident == "self" => {
            if let Some(last) = before.last() {
                add(last.clone(), before.to_vec());
            }
        }
        UseTree::Name(name) => add(name.ident.to_string(), with(&name.ident)),
        UseTree::Rename(name) => {
            let path = if name.ident == "self" { before.to_vec() } else { with(&name.ident) };
            add(name.rename.to_string(), path);
        }
        UseTree::Glob(_) => add("*".into(), before.to_vec()),
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, before, add)),
    }
}

/// The file that `include_str!("…")` names, as seen from the file that says so.
fn included(from: &str, literal: &str) -> Result<String, String> {
    let name = literal.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let name = name.ok_or_else(|| {
        format!(
            "src/{from}: build.rs cannot tell which file {literal} is: name the included file by one string"
        )
    })?;
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in name.split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}
