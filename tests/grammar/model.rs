//! What a user who reads a notebook from the top has in the head: which items and variables there are.
//!
//! This is the generator's own idea of a notebook. It decides what a cell may name, and what the stand-alone program of a
//! cell contains; what that program then does is for `rustc` to say.

use std::collections::BTreeMap;

/// An item that later cells see.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its name; a later item of the same name takes its place. Empty for what has none, as an `impl`.
    pub name: String,
    /// Its source.
    pub source: String,
    /// What a cell can do with it.
    pub kind: ItemKind,
    /// The id of the cell that defines it.
    pub owner: String,
}

/// What a cell can do with an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemKind {
    /// `name(i32) -> i32`, which panics at a negative number.
    Function,
    /// `name { a: i32, <field>: i32 }`, with `get(&self) -> i32`, and `check(&self)`, which panics.
    Record {
        /// Its second field.
        field: String,
    },
    /// `name::One | name::Two(i32)`.
    Enum,
    /// Has `describe(&self) -> String` for `i32`.
    Trait,
    /// An `i32`.
    Constant,
    /// `name!(expression)` is an `i32`.
    Macro,
    /// Has a `fn twice(i32) -> i32`.
    Module,
    /// A struct `name(i32)` that is an error.
    Trouble,
    /// A unit struct that panics when it is dropped.
    Bomb,
    /// A unit struct that panics when it is dropped, and catches that itself.
    Tidy,
    /// `fn name(u8) -> u8`.
    Byte,
    /// A method of the record of this name, `fn <method>(&self) -> i32`.
    Method {
        /// Whose.
        record: String,
        /// Its name.
        method: String,
    },
    /// Nothing that the generator makes use of.
    Other,
}

/// What is in a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `i32`
    Number,
    /// `String`
    Text,
    /// `Vec<i32>`
    List,
    /// `(i32, String)`
    Pair,
    /// `Option<i32>`
    Maybe,
    /// `Box<dyn Fn(i32) -> i32>`
    Closure,
    /// A struct of an earlier cell.
    Record(String),
    /// An enum of an earlier cell.
    Enum(String),
}

/// A variable that later cells see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// What is in it.
    pub kind: Kind,
    /// Whether later cells may change it.
    pub mutable: bool,
    /// Statements that need no other variable and bring it about as it is now, without printing anything.
    pub history: String,
}

/// What a notebook has defined so far.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// In the order of their definition.
    pub items: Vec<Item>,
    /// By name.
    pub variables: BTreeMap<String, Variable>,
    /// Variables that were there, or might be thought to be there, and are not.
    pub gone: Vec<String>,
}

impl State {
    /// Defines an item; one of the same name goes, and with a type its variables.
    pub fn define(&mut self, item: Item) {
        if !item.name.is_empty() {
            let name = item.name.clone();
            self.items.retain(|old| old.name != name);
            self.lose(|kind| matches!(kind, Kind::Record(of) | Kind::Enum(of) if *of == name));
        }
        self.items.push(item);
    }

    fn lose(&mut self, is_lost: impl Fn(&Kind) -> bool) {
        let lost: Vec<String> = self
            .variables
            .iter()
            .filter(|(_, variable)| is_lost(&variable.kind))
            .map(|(name, _)| name.clone())
            .collect();
        for name in lost {
            self.variables.remove(&name);
            self.gone.push(name);
        }
    }

    /// Binds a variable.
    pub fn bind(&mut self, name: &str, kind: Kind, mutable: bool, history: String) {
        self.gone.retain(|gone| gone != name);
        self.variables.insert(name.to_owned(), Variable { kind, mutable, history });
    }

    /// A cell that was edited runs again: what it defined before goes.
    pub fn disown(&mut self, owner: &str) -> Vec<Item> {
        let (owned, kept) = self.items.drain(..).partition(|item| item.owner == owner);
        self.items = kept;
        owned
    }

    /// Takes a variable away.
    pub fn take(&mut self, name: &str) -> Option<Variable> {
        let taken = self.variables.remove(name);
        if taken.is_some() {
            self.gone.push(name.to_owned());
        }
        taken
    }

    /// After a cell that began in the state `before` and was to end in the state `self`, but panicked or returned
    /// an error: items are there, what it bound is not, what it did to earlier variables stays done.
    pub fn without_new_variables(mut self, before: &Self) -> Self {
        let new: Vec<String> =
            self.variables.keys().filter(|name| !before.variables.contains_key(*name)).cloned().collect();
        for name in new {
            self.take(&name);
        }
        self
    }

    /// After the death of the process: items are there, variables are not.
    pub fn without_variables(mut self) -> Self {
        self.lose(|_| true);
        self
    }

    /// The items as source, for a cell that defines these names anew: of those only types are there, since variables
    /// may be of them.
    pub fn items_source(&self, anew: &[String]) -> String {
        let is_there = |item: &&Item| {
            !anew.contains(&item.name) || matches!(item.kind, ItemKind::Record { .. } | ItemKind::Enum)
        };
        self.items.iter().filter(is_there).map(|item| format!("{}\n", item.source)).collect()
    }

    /// Statements that bring the variables about.
    pub fn replay(&self) -> String {
        self.variables.values().map(|variable| format!("{}\n", variable.history)).collect()
    }

    /// Items of a kind.
    pub fn items_like(&self, is_wanted: impl Fn(&ItemKind) -> bool) -> Vec<&Item> {
        self.items.iter().filter(|item| is_wanted(&item.kind)).collect()
    }

    /// Names of variables of a kind.
    pub fn variables_like(&self, is_wanted: impl Fn(&Variable) -> bool) -> Vec<String> {
        let wanted = self.variables.iter().filter(|(_, variable)| is_wanted(variable));
        wanted.map(|(name, _)| name.clone()).collect()
    }
}

/// A cell as it is sent, and what the stand-alone program with the same code is made of.
#[derive(Debug, Clone)]
pub struct Cell {
    /// Its id. An edited cell that runs again has the id that it had.
    pub id: String,
    /// What is sent to the kernel.
    pub source: String,
    /// What the generator believes to happen. The oracle says whether that is so.
    pub intent: Intent,
    /// Items of earlier cells.
    pub items: String,
    /// Statements that bring the variables of earlier cells about.
    pub replay: String,
    /// The cell's code without commands and without its last expression.
    pub body: String,
    /// The cell's last expression.
    pub tail: Option<String>,
    /// What must not be compared, and why.
    pub leeway: Leeway,
    /// The variables that `:vars` must list, where the cell is that command.
    pub lists: Option<Vec<String>>,
    /// What it is made of, in words.
    pub labels: Vec<String>,
}

/// What happens in a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// It ends well.
    Ok,
    /// It panics.
    Panic,
    /// A `?` ends it.
    Error,
    /// A `return` ends it.
    Return,
    /// It does not compile.
    Refused,
    /// Its process ends.
    Dies,
}

/// What must not be compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Leeway {
    /// An earlier cell defined a `println!` that puts `<` and `>` around its text. The kernel may go on with the
    /// standard library's, with a note that says so: these two characters do not count then.
    pub brackets: bool,
    /// An earlier cell has replaced the panic hook, so that nothing is told on stderr.
    pub hook: bool,
    /// The cell raises a panic of which nobody is told: its message does not count.
    pub unsaid: bool,
    /// One of evcxr's commands shows something, which no program does.
    pub value: bool,
}
