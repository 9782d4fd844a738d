//! The grammar: notebooks from a seed.

use super::{
    fail,
    model::{Cell, Intent, Item, ItemKind, Kind, Leeway, State},
    random::Random,
    shadow,
};

/// The notebook of a seed.
pub fn notebook(seed: u64) -> Vec<Cell> {
    let mut composer = Composer {
        random: Random::new(seed),
        state: State::default(),
        leeway: Leeway::default(),
        labels: Vec::new(),
        id: String::new(),
        editable: Vec::new(),
        count: 0,
        // Names of two notebooks differ, so that what one leaves behind is nothing to the other.
        mark: seed,
    };
    let cells = 4 + composer.random.below(5);
    // The last cell fails mostly: only there a false green makes the whole notebook green.
    let fails = composer.random.chance(65);
    (0..cells).map(|at| composer.cell(at + 1 == cells && fails)).collect()
}

/// A cell under way.
#[derive(Debug, Default)]
pub struct Draft {
    /// Items, in front of all else.
    pub items: Vec<String>,
    /// Statements.
    pub lines: Vec<String>,
    /// The last expression.
    pub tail: Option<String>,
    /// Whether it may give the name of an earlier variable to a new one: only cells that end well do, since what is
    /// left of the earlier one after a failure is not for us to say.
    pub rebinds: bool,
    /// Names of items that it defines.
    pub defined: Vec<String>,
}

/// Composes the cells of one notebook.
pub struct Composer {
    /// Chooses.
    pub random: Random,
    /// After the last cell; while a cell is composed, at its end.
    pub state: State,
    /// From the next cell on.
    pub leeway: Leeway,
    /// What the cell under way is made of, in words.
    pub labels: Vec<String>,
    /// The id of the cell under way.
    id: String,
    /// Ids of cells of items alone that later ones may be an edition of.
    editable: Vec<String>,
    count: usize,
    /// The seed.
    pub mark: u64,
}

impl Composer {
    /// One of `end` choices, noted as one of these.
    fn choose(&mut self, of: &str, end: usize) -> usize {
        let chosen = self.random.below(end);
        self.labels.push(format!("{of} {chosen}"));
        chosen
    }

    /// What stands before `Ok` and `Err` where those two words mean something else.
    pub fn of_result(&self) -> &'static str {
        match self.state.items.iter().any(|item| item.name == "Ok") {
            true => "std::result::Result::",
            false => "",
        }
    }

    /// A number that nothing else of the notebook has.
    pub fn fresh(&mut self) -> usize {
        self.count += 1;
        self.count
    }

    /// A name that nothing else of any notebook has.
    pub fn name(&mut self, prefix: &str) -> String {
        let number = self.fresh();
        format!("{prefix}{}_{number}", self.mark)
    }

    /// Words that nothing else of any notebook has: what is seen is not of an earlier cell.
    pub fn words(&mut self, prefix: &str) -> String {
        let end =
            *self.random.pick(&["", " ä→ü", " {{}}", " \\\"said\\\"", " 100%", " // no comment", " 'a'"]);
        let number = self.fresh();
        format!("{prefix} {}.{number}{end}", self.mark)
    }

    fn cell(&mut self, must_fail: bool) -> Cell {
        let before = self.state.clone();
        let leeway = self.leeway;
        self.id = self.name("cell-");
        let kind = self.random.below(100);
        match kind {
            _ if must_fail => self.failing(before, leeway),
            0..10 => self.definitions(before, leeway),
            10..14 => self.edited(before, leeway),
            14..25 => self.shadowing(before, leeway),
            25..32 => self.command(),
            32..38 => self.look(before, leeway),
            38..66 => self.working(before, leeway),
            66..70 => self.naming_what_is_gone(before, leeway),
            _ => self.failing(before, leeway),
        }
    }

    fn finish(&mut self, before: &State, leeway: Leeway, draft: Draft, intent: Intent) -> Cell {
        let Draft { items, lines, tail, defined, .. } = draft;
        let leeway = Leeway {
            brackets: leeway.brackets || self.leeway.brackets,
            hook: leeway.hook || self.leeway.hook,
            unsaid: std::mem::take(&mut self.leeway.unsaid),
            value: false,
        };
        let mut body: Vec<String> = items;
        // Items count in all of a cell, also before they are defined; macros do not.
        let last = body.pop_if(|last| self.count % 8 == 4 && !last.contains("macro_rules!"));
        body.extend(lines);
        body.extend(last);
        let body = body.join("\n");
        let mut source = body.clone();
        if let Some(tail) = &tail {
            source = match source.is_empty() {
                true => tail.clone(),
                false => format!("{source}\n{tail}"),
            };
        }
        match self.random.below(8) {
            0 => source = format!("// What follows: ä, \"one quote\n{source}"),
            1 => source = format!("\n\n{source}\n"),
            2 => source.push_str("\n// The end."),
            3 => source.push_str("\n/* the\n end */\n"),
            _ => {}
        }
        Cell {
            id: self.id.clone(),
            source,
            intent,
            items: before.items_source(&defined),
            replay: before.replay(),
            body,
            tail,
            leeway,
            lists: None,
            labels: std::mem::take(&mut self.labels),
        }
    }

    fn definitions(&mut self, before: State, leeway: Leeway) -> Cell {
        let mut draft = Draft { rebinds: true, ..Draft::default() };
        for _ in 0..=self.random.below(2) {
            self.define(&mut draft);
        }
        // A type that is defined anew costs variables, also where it is the same: not for an edition.
        let is_type = |kind: &ItemKind| matches!(kind, ItemKind::Record { .. } | ItemKind::Enum);
        if self.state.items_like(is_type).iter().all(|item| item.owner != self.id) && draft.lines.is_empty() {
            self.editable.push(self.id.clone());
        }
        self.finish(&before, leeway, draft, Intent::Ok)
    }

    /// An earlier cell, edited: what it defined before goes, and what it defines now is there.
    fn edited(&mut self, mut before: State, leeway: Leeway) -> Cell {
        if self.editable.is_empty() {
            return self.definitions(before, leeway);
        }
        let editable = self.editable.clone();
        self.id = self.random.pick(&editable).clone();
        let owned = self.state.disown(&self.id);
        before.disown(&self.id);
        let mut draft = Draft::default();
        for Item { name, source, kind, .. } in owned {
            let number = self.fresh();
            match kind {
                _ if self.random.chance(35) => {
                    self.labels.push("edited: goes".into());
                    if matches!(kind, ItemKind::Function | ItemKind::Constant) {
                        self.state.gone.push(name);
                    }
                }
                ItemKind::Function => {
                    self.labels.push("edited: a function".into());
                    let source = format!("fn {name}(x: i32) -> i32 {{ assert!(x >= 0); x - {number} }}");
                    self.add(&mut draft, &name, source, ItemKind::Function);
                }
                ItemKind::Method { record, method } => {
                    self.labels.push("edited: a method".into());
                    let source =
                        format!("impl {record} {{ fn {method}(&self) -> i32 {{ self.a - {number} }} }}");
                    self.add(&mut draft, "", source, ItemKind::Method { record, method });
                }
                kind => self.add(&mut draft, &name, source, kind),
            }
        }
        if draft.items.is_empty() {
            let name = self.name("f");
            let source = format!("fn {name}(x: i32) -> i32 {{ assert!(x >= 0); x + 1 }}");
            self.add(&mut draft, &name, source, ItemKind::Function);
        }
        self.finish(&before, leeway, draft, Intent::Ok)
    }

    fn shadowing(&mut self, before: State, leeway: Leeway) -> Cell {
        let mut draft = Draft { rebinds: true, ..Draft::default() };
        shadow::shadow(self, &mut draft);
        if self.random.chance(40) {
            self.print(&mut draft);
        }
        self.finish(&before, leeway, draft, Intent::Ok)
    }

    /// Lets, changes, moves, outputs, things that look bad and are not, a value.
    fn working(&mut self, before: State, leeway: Leeway) -> Cell {
        let mut draft = Draft { rebinds: true, ..Draft::default() };
        if self.random.chance(25) {
            self.define(&mut draft);
        }
        for _ in 0..=self.random.below(4) {
            self.statement(&mut draft);
        }
        if self.random.chance(35) {
            self.value(&mut draft);
        }
        self.finish(&before, leeway, draft, Intent::Ok)
    }

    /// A cell that fails. What it has done before stays done, so far as that can be.
    fn failing(&mut self, before: State, leeway: Leeway) -> Cell {
        let mut draft = Draft::default();
        let failure = fail::choose(self);
        let intent = failure.intent();
        // After a `return` a kernel may keep what the cell did, or not have begun with it.
        if intent != Intent::Return {
            match self.random.below(100) {
                0..15 => self.define(&mut draft),
                15..25 => shadow::shadow(self, &mut draft),
                _ => {}
            }
            for _ in 0..self.random.below(3) {
                self.statement(&mut draft);
            }
        }
        fail::write(self, &mut draft, failure);
        let cell = self.finish(&before, leeway, draft, intent);
        let after = std::mem::take(&mut self.state);
        self.state = match intent {
            Intent::Ok => after,
            Intent::Panic | Intent::Error => after.without_new_variables(&before),
            Intent::Dies => {
                self.leeway.hook = false;
                // evcxr takes nothing of a cell whose process ends.
                before.without_variables()
            }
            Intent::Refused | Intent::Return => before,
        };
        cell
    }

    /// Prints what each variable holds.
    fn look(&mut self, before: State, leeway: Leeway) -> Cell {
        let mut draft = Draft::default();
        let variables = self.state.variables.clone();
        for (name, variable) in variables {
            draft.lines.push(format!("println!(\"{name} {{:?}}\", {});", seen(&name, &variable.kind)));
        }
        self.print(&mut draft);
        self.finish(&before, leeway, draft, Intent::Ok)
    }

    /// A cell that names a variable that is not there; one that prints if there is none such.
    fn naming_what_is_gone(&mut self, before: State, leeway: Leeway) -> Cell {
        let mut draft = Draft::default();
        let Some(name) = before.gone.last().cloned() else { return self.working(before, leeway) };
        draft.lines.push(format!("println!(\"{{}}\", std::any::type_name_of_val(&{name}));"));
        self.finish(&before, leeway, draft, Intent::Refused)
    }

    /// A cell with one of evcxr's commands.
    fn command(&mut self) -> Cell {
        let front = *self.random.pick(&["", "", "// fresh\n", "  ", "\n", "// one\n\n// two\n   "]);
        let back = *self.random.pick(&["", "\n", " "]);
        let command =
            *self.random.pick(&[":clear", ":clear", ":clear", ":clear", ":vars", ":vars", ":restart"]);
        let lists = (command == ":vars").then(|| self.state.variables.keys().cloned().collect());
        if command != ":vars" {
            self.state = std::mem::take(&mut self.state).without_variables();
            self.leeway.hook = false;
        }
        if command == ":clear" {
            self.state.items.clear();
            self.editable.clear();
            self.leeway = Leeway::default();
        }
        let leeway = self.leeway;
        let before = self.state.clone();
        // A cell that goes on with code.
        let mut cell = match self.random.below(10) {
            0..4 => self.finish(&before, leeway, Draft::default(), Intent::Ok),
            4..7 => self.working(before, leeway),
            _ => self.failing(before, leeway),
        };
        // The value of the cell is what the command shows, and its last expression.
        cell.leeway.value = command == ":restart";
        if command != ":clear"
            && let Some(tail) = cell.tail.take()
        {
            let statement = format!("drop(format!(\"{{:?}}\", {tail}));");
            cell.body = format!("{}\n{statement}", cell.body);
            cell.source = cell.body.clone();
        }
        cell.lists = lists.filter(|_| cell.intent == Intent::Ok);
        let goes_on = if cell.body.is_empty() { "alone" } else { "goes on" };
        cell.labels.push(format!("{front:?}{command} {goes_on}"));
        cell.source = match cell.body.is_empty() && cell.tail.is_none() {
            true => format!("{front}{command}{back}"),
            false => format!("{front}{command}\n{}", cell.source),
        };
        cell
    }

    /// Defines something, or defines something of this kind anew.
    pub fn define(&mut self, draft: &mut Draft) {
        let anew = self.random.chance(35);
        let number = self.fresh();
        match self.choose("define", 14) {
            0..3 => {
                let name = self.item_name(draft, anew, "f", |kind| *kind == ItemKind::Function);
                let docs = *self.random.pick(&["", "", "/// What it does.\n", "#[allow(dead_code)]\npub "]);
                let source = format!(
                    "{docs}fn {name}(x: i32) -> i32 {{\n    assert!(x >= 0, \"{name} of {{x}}\");\n    x * 3 + {number}\n}}"
                );
                self.add(draft, &name, source, ItemKind::Function);
            }
            3..6 => self.define_record(draft, anew),
            6 => {
                let name = self.item_name(draft, anew, "E", |kind| *kind == ItemKind::Enum);
                let source = format!(
                    "#[derive(Debug, Clone, PartialEq)]\nenum {name} {{ One, Two(i32), More{number} }}"
                );
                self.add(draft, &name, source, ItemKind::Enum);
            }
            7 => {
                let name = self.item_name(draft, anew, "T", |kind| *kind == ItemKind::Trait);
                let source = format!(
                    "trait {name} {{ fn describe(&self) -> String; }}\n\
                     impl {name} for i32 {{ fn describe(&self) -> String {{ format!(\"{number}:{{self}}\") }} }}"
                );
                self.add(draft, &name, source, ItemKind::Trait);
            }
            8 => {
                let name = self.item_name(draft, anew, "C", |kind| *kind == ItemKind::Constant);
                let word = *self.random.pick(&["const", "static"]);
                self.add(draft, &name, format!("{word} {name}: i32 = {number};"), ItemKind::Constant);
            }
            9 => {
                let name = self.item_name(draft, anew, "m", |kind| *kind == ItemKind::Macro);
                let source = format!("macro_rules! {name} {{ ($e:expr) => {{ $e + {number} }}; }}");
                self.add(draft, &name, source, ItemKind::Macro);
            }
            10 => {
                let name = self.name("tools");
                let source = format!(
                    "/// Tools.\nmod {name} {{\n    // With a {{ brace in a comment.\n    pub fn twice(x: i32) -> i32 {{ x * 2 }}\n}}"
                );
                self.add(draft, &name, source, ItemKind::Module);
            }
            11 | 12 => {
                let records = self.state.items_like(|kind| matches!(kind, ItemKind::Record { .. }));
                let Some(record) = records.last().map(|item| item.name.clone()) else {
                    return self.define_record(draft, false);
                };
                let method = self.name("more");
                let source = format!("impl {record} {{ fn {method}(&self) -> i32 {{ self.a + {number} }} }}");
                self.add(draft, "", source, ItemKind::Method { record, method });
            }
            _ => {
                let (name, source) = *self.random.pick(&[
                    ("HashMap", "use std::collections::HashMap;"),
                    ("Dict", "use std::collections::BTreeMap as Dict;"),
                    ("", "use std::fmt::Write as _;"),
                    ("Duration", "use std::time::Duration;"),
                    ("fmt", "use std::fmt;"),
                    ("io", "use std::io::{self};"),
                ]);
                self.add(draft, name, source.to_owned(), ItemKind::Other);
            }
        }
    }

    fn define_record(&mut self, draft: &mut Draft, anew: bool) {
        let name = self.item_name(draft, anew, "S", |kind| matches!(kind, ItemKind::Record { .. }));
        let old = self.state.variables_like(|v| v.kind == Kind::Record(name.clone()));
        let number = self.fresh();
        let field = format!("b{number}");
        let source = format!(
            "#[derive(Debug, Clone)]\nstruct {name} {{ a: i32, {field}: i32 }}\n\
             impl {name} {{\n    fn get(&self) -> i32 {{ self.a + self.{field} }}\n    \
             fn check(&self) -> i32 {{\n        assert_eq!(self.a, self.{field} + 1, \"check of {name}\");\n        \
             self.a\n    }}\n}}"
        );
        let kind = ItemKind::Record { field: field.clone() };
        self.add(draft, &name, source, kind);
        // A struct that is defined anew, and a variable of it in the place of the old one.
        if draft.rebinds
            && let Some(old) = old.first()
            && self.random.chance(60)
        {
            let line = format!("let {old} = {name} {{ a: {}, {field}: {number} }};", number + 1);
            self.state.bind(old, Kind::Record(name), false, line.clone());
            draft.lines.push(line);
        }
    }

    fn item_name(
        &mut self,
        draft: &Draft,
        anew: bool,
        prefix: &str,
        like: impl Fn(&ItemKind) -> bool,
    ) -> String {
        // Twice in one cell is an error in any program.
        let names = self.state.items_like(like).into_iter().map(|item| item.name.clone());
        let names: Vec<String> = names.filter(|name| !draft.defined.contains(name)).collect();
        match names.is_empty() || !anew {
            true => self.name(prefix),
            false => self.random.pick(&names).clone(),
        }
    }

    /// Adds an item to the cell and to what is known.
    pub fn add(&mut self, draft: &mut Draft, name: &str, source: String, kind: ItemKind) {
        if draft.defined.iter().any(|defined| defined == name) || draft.items.contains(&source) {
            return;
        }
        if !name.is_empty() {
            draft.defined.push(name.to_owned());
        }
        draft.items.push(source.clone());
        self.state.define(Item { name: name.to_owned(), source, kind, owner: self.id.clone() });
    }

    /// An item of a kind: an earlier one, or a new one of the same cell.
    pub fn have(&mut self, draft: &mut Draft, kind: ItemKind, prefix: &str, source: &str) -> String {
        let found = self.state.items_like(|found| *found == kind).last().map(|item| item.name.clone());
        found.unwrap_or_else(|| {
            let name = self.name(prefix);
            self.add(draft, &name, source.replace("NAME", &name), kind);
            name
        })
    }

    /// A statement that ends well.
    pub fn statement(&mut self, draft: &mut Draft) {
        match self.random.below(10) {
            0..4 => self.bind(draft),
            4..6 => self.change(draft),
            6 => self.move_away(draft),
            7 => self.looks_bad(draft),
            _ => self.print(draft),
        }
    }

    fn known(&self, is_wanted: impl Fn(&Kind) -> bool) -> Vec<String> {
        self.state.variables_like(|variable| is_wanted(&variable.kind))
    }

    fn variable_name(&mut self, draft: &Draft) -> String {
        let known = self.known(|_| true);
        match self.random.below(10) {
            0 | 1 if draft.rebinds && !known.is_empty() => self.random.pick(&known).clone(),
            2 | 3 => {
                let name = *self.random.pick(match self.mark {
                    shadow::BOLD.. => BOLD_NAMES,
                    _ => NAMES,
                });
                match self.state.variables.contains_key(name) {
                    true => self.name("v"),
                    false => name.to_owned(),
                }
            }
            _ => self.name("v"),
        }
    }

    /// A `let`.
    fn bind(&mut self, draft: &mut Draft) {
        let number = self.fresh();
        let numbers = self.known(|kind| *kind == Kind::Number);
        let lists = self.known(|kind| *kind == Kind::List);
        let name = self.variable_name(draft);
        let mutable = self.random.chance(50);
        let word = if mutable { "let mut" } else { "let" };
        // The value, and the same without the help of other variables and of functions that may be defined anew.
        let same = |text: String| (text.clone(), text);
        let (kind, (value, alone)) = match self.choose("let", 16) {
            0 | 1 => (Kind::Number, same(format!("{number}"))),
            2 => (Kind::Text, same(format!("String::from(\"text {number}\")"))),
            3 => (Kind::Text, same(format!("format!(\"{{}} ä\", {number})"))),
            4 | 5 => (Kind::List, same(format!("vec![{number}, 2, 3]"))),
            6 => (Kind::Pair, same(format!("({number}, \"pair\".to_string())"))),
            7 => (Kind::Maybe, same(format!("\"{number}\".parse::<i32>().ok()"))),
            8 => (Kind::Closure, same(format!("Box::new(move |x: i32| x + {number})"))),
            9 if !numbers.is_empty() => {
                let of = self.random.pick(&numbers).clone();
                let alone = format!("{{ {} {of} + 1 }}", self.state.variables[&of].history);
                (Kind::Number, (format!("{of} + 1"), alone))
            }
            10 if !lists.is_empty() => {
                let of = self.random.pick(&lists).clone();
                let sum = format!("{of}.iter().sum::<i32>()");
                let alone = format!("{{ {} {sum} }}", self.state.variables[&of].history);
                (Kind::Number, (sum, alone))
            }
            11 | 12 => match self.item(|kind| *kind == ItemKind::Function) {
                Some(item) => {
                    let call = format!("{}({number})", item.name);
                    (Kind::Number, (call.clone(), format!("{{ {} {call} }}", item.source)))
                }
                None => (Kind::Number, same(format!("\"{number}\".parse::<i32>()?"))),
            },
            13 | 14 => match self.item(|kind| matches!(kind, ItemKind::Record { .. })) {
                Some(Item { name, kind: ItemKind::Record { field }, .. }) => {
                    let value = format!("{name} {{ a: {}, {field}: {number} }}", number + 1);
                    (Kind::Record(name), same(value))
                }
                _ => (Kind::Number, same(format!("-{number}"))),
            },
            _ => match self.item(|kind| *kind == ItemKind::Enum) {
                Some(item) => {
                    let value = format!("{}::Two({number})", item.name);
                    (Kind::Enum(item.name), same(value))
                }
                None => (Kind::List, same("Vec::<i32>::new()".into())),
            },
        };
        let annotation = match &kind {
            Kind::Closure => ": Box<dyn Fn(i32) -> i32>".to_owned(),
            Kind::Number if self.random.chance(50) => ": i32".to_owned(),
            Kind::Number => String::new(),
            _ => String::new(),
        };
        let is_i32 = kind == Kind::Number && annotation.is_empty();
        let suffix = |value: String| match is_i32 && value.chars().all(|c| c.is_ascii_digit() || c == '-') {
            true => format!("{value}i32"),
            false => value,
        };
        let history = format!("{word} {name}{annotation} = {};", suffix(alone));
        draft.lines.push(format!("{word} {name}{annotation} = {};", suffix(value)));
        self.state.bind(&name, kind, mutable, history);
    }

    fn item(&mut self, like: impl Fn(&ItemKind) -> bool) -> Option<Item> {
        let found: Vec<Item> = self.state.items_like(like).into_iter().cloned().collect();
        (!found.is_empty()).then(|| self.random.pick(&found).clone())
    }

    /// Changes a variable.
    fn change(&mut self, draft: &mut Draft) {
        let names = self.state.variables_like(|variable| variable.mutable && variable.kind != Kind::Closure);
        if names.is_empty() {
            return self.bind(draft);
        }
        let name = self.random.pick(&names).clone();
        let number = self.fresh();
        let Some(variable) = self.state.variables.get_mut(&name) else { return };
        let line = match &variable.kind {
            Kind::Number => format!("{name} += {number};"),
            Kind::Text => format!("{name}.push_str(\" and {number}\");"),
            Kind::List => format!("{name}.push({number});"),
            Kind::Pair => format!("{name}.0 = {number};"),
            Kind::Maybe => format!("{name} = {name}.map(|x| x + {number});"),
            Kind::Record(_) => format!("{name}.a += {number};"),
            Kind::Enum(of) => format!("{name} = {of}::One;"),
            Kind::Closure => return,
        };
        variable.history = format!("{} {line}", variable.history);
        draft.lines.push(line);
    }

    /// Uses a variable up.
    fn move_away(&mut self, draft: &mut Draft) {
        let moves = |kind: &Kind| !matches!(kind, Kind::Number | Kind::Maybe);
        let names = self.known(moves);
        if names.is_empty() {
            return self.bind(draft);
        }
        let name = self.random.pick(&names).clone();
        let Some(variable) = self.state.take(&name) else { return };
        match self.random.below(4) {
            0 | 1 => draft.lines.push(format!("drop({name});")),
            2 => {
                let new = self.name("moved");
                let line = format!("let {new} = {name};");
                self.state.bind(&new, variable.kind, false, format!("{} {line}", variable.history));
                draft.lines.push(line);
            }
            _ => {
                let seen = seen("inner", &variable.kind);
                draft.lines.push(format!("{{ let inner = {name}; println!(\"{{:?}}\", {seen}); }}"));
            }
        }
    }

    /// Something that resembles a failure and is none.
    fn looks_bad(&mut self, draft: &mut Draft) {
        let words = self.words("caught");
        let name = self.name("w");
        let line = match self.choose("looks bad", 15) {
            0 => format!("assert!(std::panic::catch_unwind(|| panic!(\"{words}\")).is_err());"),
            1 => format!(
                "let {name} = std::thread::spawn(|| {{ if true {{ panic!(\"{words}\") }} 1 }}).join().is_err();\n\
                 println!(\"{{}}\", {name});"
            ),
            2 => "println!(\"{:?}\", \"x\".parse::<i32>());".to_owned(),
            3 => "println!(\"{}\", \"x\".parse::<i32>().unwrap_or(7));".to_owned(),
            4 => "println!(\"exit status: 1\"); eprintln!(\"signal: 6 (SIGABRT)\");".to_owned(),
            5 => "println!(\"{}\", (|| { if true { return 3; } 4 })());".to_owned(),
            6 => format!("fn {name}() -> u8 {{ return 5; }}\nprintln!(\"{{}}\", {name}());"),
            7 => "for i in 0..3 { if i == 1 { continue; } println!(\"{i}\"); if i == 2 { break; } }".to_owned(),
            8 => format!("(|| -> std::result::Result<i32, std::num::ParseIntError> {{ {}Ok(\"x\".parse::<i32>()?) }})().unwrap_err();", self.of_result()),
            9 => "println!(\"{}\", \"12\".parse::<i32>()?);".to_owned(),
            10 => "{ let f = |x: i32| { if x > 0 { return 1; } 2 }; println!(\"{}\", f(1)); }".to_owned(),
            11 => "println!(\"{}\", \"return Ok(()); panic!() std::process::exit(1)\"); // return Ok(());".to_owned(),
            12 => format!("struct {name};\nimpl {name} {{ fn get(&self) -> i32 {{ if true {{ return 4; }} 5 }} }}\nprintln!(\"{{}}\", {name}.get());"),
            13 => {
                let tidy = self.have(
                    draft,
                    ItemKind::Tidy,
                    "Tidy",
                    "struct NAME;\nimpl Drop for NAME { fn drop(&mut self) { \
                     let _ = std::panic::catch_unwind(|| panic!(\"cleanup of NAME\")); } }",
                );
                format!("{{ let _tidy = {tidy}; }}")
            }
            _ => "println!(\"{}\", std::panic::catch_unwind(|| vec![1, 2][std::hint::black_box(70)]).is_err());"
                .to_owned(),
        };
        // A variable of its own is nothing that is followed up.
        if line.starts_with("let ") {
            let history = format!("let {name} = true;");
            self.state.bind(&name, Kind::Maybe, false, history);
            // `bool` is none of the kinds: nobody must take it for one.
            self.state.take(&name);
            draft.lines.push(format!("{{ {line} }}"));
            return;
        }
        draft.lines.push(line);
    }

    /// An output.
    pub fn print(&mut self, draft: &mut Draft) {
        let words = self.words("out");
        let known = self.known(|_| true);
        if self.mark >= shadow::BOLD && self.count % 7 == 3 {
            self.labels.push("print generated code".into());
            return draft.lines.push(format!("println!(\"{{}}\", r#\"{words}\n{GENERATED}\"#);"));
        }
        let line = match self.choose("print", 19) {
            0 | 1 => format!("println!(\"{words}\");"),
            2..5 if !known.is_empty() => {
                let name = self.random.pick(&known).clone();
                let kind = self.state.variables[&name].kind.clone();
                format!("println!(\"{words} {{:?}}\", {});", seen(&name, &kind))
            }
            2 => "println!();".to_owned(),
            3 => format!("println!(\"{words}\\nsecond line\\n\\nfourth\");"),
            4 => format!("{{ use std::io::Write; writeln!(std::io::stdout(), \"{words}\")?; }}"),
            5 => format!("print!(\"{words}\");"),
            6 => format!("print!(\"{words}\"); {{ use std::io::Write; std::io::stdout().flush()?; }}"),
            7 => format!("eprintln!(\"{words}\");"),
            8 if !known.is_empty() => {
                let name = self.random.pick(&known).clone();
                let kind = self.state.variables[&name].kind.clone();
                format!("eprintln!(\"{{:?}} {words}\", {});", seen(&name, &kind))
            }
            8 | 9 => {
                let number = self.fresh();
                format!("dbg!({number} + 1);")
            }
            10 => {
                "{ use std::io::Write; std::io::stdout().write_all(b\"\\xff\\xfe bytes\\n\")?; }".to_owned()
            }
            11 => {
                "{ use std::io::Write; std::io::stderr().write_all(b\"bytes \\xc3\\x28\\n\")?; }".to_owned()
            }
            12..16 => {
                let stream = *self.random.pick(&["println", "println", "eprintln"]);
                let notice = *self.random.pick(NOTICES);
                self.labels.push(format!("{stream} {notice:?}"));
                format!("{stream}!(\"{{}}\", {notice:?});")
            }
            16 => format!(
                "{{ macro_rules! println {{ ($($t:tt)*) => {{ std::print!(\"inner {words}\\n\") }}; }} println!(\"not this\"); }}"
            ),
            17 => match self.item(|kind| matches!(kind, ItemKind::Method { .. })) {
                Some(Item { kind: ItemKind::Method { record, method }, .. }) => {
                    match self.known(|kind| *kind == Kind::Record(record.clone())).first() {
                        Some(name) => format!("println!(\"{{}}\", {name}.{method}());"),
                        None => format!("println!(\"{words}\");"),
                    }
                }
                _ => format!("println!(\"{words}\");"),
            },
            _ => match self.item(|kind| {
                matches!(
                    kind,
                    ItemKind::Trait
                        | ItemKind::Constant
                        | ItemKind::Macro
                        | ItemKind::Function
                        | ItemKind::Module
                )
            }) {
                Some(Item { name, kind, .. }) => match kind {
                    ItemKind::Trait => format!("println!(\"{{}}\", <i32 as {name}>::describe(&4));"),
                    ItemKind::Constant => format!("println!(\"{{}}\", {name});"),
                    ItemKind::Module => format!("println!(\"{{}}\", {name}::twice(3));"),
                    ItemKind::Macro => format!("println!(\"{{}}\", {name}!(2));"),
                    _ => format!("println!(\"{{}}\", {name}(2));"),
                },
                None => format!("println!(\"{words}\");"),
            },
        };
        draft.lines.push(line);
    }

    /// A value as the last expression.
    fn value(&mut self, draft: &mut Draft) {
        let known = self.known(|kind| *kind != Kind::Closure);
        let number = self.fresh();
        draft.tail = Some(match self.choose("value", 9) {
            0..3 if !known.is_empty() => self.random.pick(&known).clone(),
            3 => format!("vec![{number}, 1]"),
            4 => format!("(\"a\", {number})"),
            5 => format!("Some({number})"),
            6 => format!("if {number} > 3 {{ \"much\" }} else {{ \"little\" }}"),
            7 => format!("\"{number}\".parse::<i32>()?"),
            8 => match self.item(|kind| *kind == ItemKind::Byte) {
                Some(item) => format!("{}(7)", item.name),
                None => format!("{number}.to_string()"),
            },
            _ => format!("{number} + 1"),
        });
    }
}

/// An expression that can be printed by `{:?}`.
fn seen(name: &str, kind: &Kind) -> String {
    match kind {
        Kind::Closure => format!("{name}(2)"),
        Kind::Record(_) => format!("({name}.a, {name}.get())"),
        _ => name.to_owned(),
    }
}

/// Names of variables that somebody else may have.
const NAMES: &[&str] = &[
    "here",
    "std_",
    "igpt_session",
    "evcxr",
    "igpt",
    "x",
    "error",
    "line",
    "mark",
    "state",
    "session",
    "cell",
    "library",
    "caller",
    "last",
    "igpt_",
    "e",
    "t",
    "value",
    "result",
];

/// For the seeds from `BOLD` on.
const BOLD_NAMES: &[&str] = &[
    "payload",
    "vars_ok",
    "name",
    "mutex",
    "evcxr_display",
    "nonce",
    "start",
    "end",
    "notebook",
    "text",
    "u8",
    "str",
    "run_user_code_1",
    "found",
    "x",
    "self_",
    "user_code",
    "store",
    "println",
    "stringify",
    "std",
    "core",
    "igpt",
];

/// Lines of the code that evcxr generates around a cell. In a text of a cell they are text.
const GENERATED: &str = "            struct EvcxrUserCodeError {}
#[unsafe(no_mangle)]
let _ = (|| -> std::result::Result<(), EvcxrUserCodeError> {
match std::panic::catch_unwind(
  std::panic::AssertUnwindSafe(||{
evcxr_variable_store.put_variable::<i32>(stringify!(x), x);
Ok(())})();
})) {
  Ok(_) => {}
  Err(_) => {
    println!(\"EVCXR_PANIC_NOTIFICATION\");
}}
evcxr_variable_store
}
";

/// Lines by which evcxr or the kernel say something to each other. In a cell's output they are text.
const NOTICES: &[&str] = &[
    "EVCXR_PANIC_NOTIFICATION",
    "EVCXR_EXECUTION_COMPLETE",
    "EVCXR_ERROR_OCCURRED",
    "EVCXR_END_CONTENT",
    "EVCXR_VARIABLE_CHANGED_TYPE:v1",
    "\u{1}igpt:end",
    "\u{1}igpt:start",
    "text \u{1}igpt:end",
    "\u{1}igpt:close",
    "\u{1}igpt:text \"a\"",
];
