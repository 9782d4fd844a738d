//! Failures of each kind.

use super::{
    compose::{Composer, Draft},
    model::{Intent, ItemKind, Kind},
};

/// A kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// By number, see [`write`].
    Panic(usize),
    /// `?`.
    Question(usize),
    /// A `return` at top level.
    Return(usize),
    /// It does not compile.
    Refused(usize),
    /// The process ends.
    Death(usize),
}

impl Failure {
    /// What it means for the cell.
    pub fn intent(self) -> Intent {
        match self {
            Self::Panic(_) => Intent::Panic,
            Self::Question(_) => Intent::Error,
            Self::Return(_) => Intent::Return,
            Self::Refused(_) => Intent::Refused,
            Self::Death(_) => Intent::Dies,
        }
    }
}

/// Chooses one.
pub fn choose(composer: &mut Composer) -> Failure {
    let chosen = match composer.random.below(100) {
        0..42 => Failure::Panic(composer.random.below(25)),
        42..66 => Failure::Question(composer.random.below(12)),
        66..74 => Failure::Return(composer.random.below(5)),
        74..90 => Failure::Refused(composer.random.below(14)),
        _ => Failure::Death(composer.random.below(5)),
    };
    composer.labels.push(format!("{chosen:?}"));
    chosen
}

/// Writes it to the end of the cell.
pub fn write(composer: &mut Composer, draft: &mut Draft, failure: Failure) {
    match failure {
        Failure::Panic(which) => panics(composer, draft, which),
        Failure::Question(which) => question(composer, draft, which),
        Failure::Return(which) => returns(composer, draft, which),
        Failure::Refused(which) => refused(composer, draft, which),
        Failure::Death(which) => dies(composer, draft, which),
    }
    // Nothing after the failure happens.
    if draft.tail.is_none() && composer.random.chance(40) {
        draft.lines.push("println!(\"not here\");".into());
    }
}

fn panics(composer: &mut Composer, draft: &mut Draft, which: usize) {
    let words = composer.words("bad");
    let function = "fn NAME(x: i32) -> i32 {\n    assert!(x >= 0, \"NAME of {x}\");\n    x * 3\n}";
    let line = match which {
        0 | 1 => format!("panic!(\"{words}\");"),
        2 => format!("panic!(\"{words}\\nsecond line\");"),
        3 => format!("assert!(1 + 1 == 3, \"{words}\");"),
        4 => format!("assert_eq!(1 + 1, 3, \"{words}\");"),
        5 => "assert!(std::process::id() == 0);".to_owned(),
        6 => "println!(\"{}\", vec![1, 2][std::hint::black_box(70)]);".to_owned(),
        7 => "None::<i32>.unwrap();".to_owned(),
        8 => format!("\"x\".parse::<i32>().expect(\"{words}\");"),
        9 => {
            let name = composer.have(draft, ItemKind::Function, "f", function);
            format!("println!(\"{{}}\", {name}(-1));")
        }
        10 => {
            let name = composer.have(draft, ItemKind::Function, "f", function);
            draft.tail = Some(format!("{name}(-2)"));
            return;
        }
        11 => {
            let found = composer.state.items.iter().rev().find_map(|item| match &item.kind {
                ItemKind::Record { field } => Some((item.name.clone(), field.clone())),
                _ => None,
            });
            match found {
                Some((name, field)) => format!("{name} {{ a: 5, {field}: 5 }}.check();"),
                None => format!("unreachable!(\"{words}\");"),
            }
        }
        12 => {
            let bomb = bomb(composer, draft);
            format!("{{ let _bomb = {bomb}; }}")
        }
        13 => {
            let bomb = bomb(composer, draft);
            format!("drop({bomb});")
        }
        14 => {
            composer.leeway.unsaid = true;
            format!("std::panic::resume_unwind(Box::new(\"{words}\".to_string()));")
        }
        15 => "std::panic::panic_any(42u8);".to_owned(),
        16 => {
            let tidy = tidy(composer, draft);
            format!("{{ let _tidy = {tidy}; panic!(\"{words}\"); }}")
        }
        17 => format!("for i in 0.. {{ println!(\"{{i}}\"); if i == 2 {{ panic!(\"{words}\") }} }}"),
        18 => format!("std::thread::spawn(|| {{ if true {{ panic!(\"{words}\") }} 1 }}).join().unwrap();"),
        19 => format!("print!(\"open\"); panic!(\"{words}\");"),
        20 => format!("println!(\"EVCXR_PANIC_NOTIFICATION\"); panic!(\"{words}\");"),
        21 => format!(
            "println!(\"EVCXR_EXECUTION_COMPLETE\"); \
             std::thread::sleep(std::time::Duration::from_millis(300)); panic!(\"{words}\");"
        ),
        22 => {
            composer.leeway.hook = true;
            format!("std::panic::set_hook(Box::new(|_| {{}})); panic!(\"{words}\");")
        }
        23 => format!(
            "{{ let _out = std::io::stdout().lock(); let _err = std::io::stderr().lock(); panic!(\"{words}\"); }}"
        ),
        _ => {
            let maybe = composer.state.variables_like(|variable| variable.kind == Kind::List);
            match maybe.first() {
                Some(name) => format!("println!(\"{{}}\", {name}[1_000]);"),
                None => format!("todo!(\"{words}\");"),
            }
        }
    };
    draft.lines.push(line);
}

fn bomb(composer: &mut Composer, draft: &mut Draft) -> String {
    composer.have(
        draft,
        ItemKind::Bomb,
        "Bomb",
        "struct NAME;\nimpl Drop for NAME { fn drop(&mut self) { panic!(\"drop of NAME\"); } }",
    )
}

fn tidy(composer: &mut Composer, draft: &mut Draft) -> String {
    composer.have(
        draft,
        ItemKind::Tidy,
        "Tidy",
        "struct NAME;\nimpl Drop for NAME { fn drop(&mut self) { \
         let _ = std::panic::catch_unwind(|| panic!(\"cleanup of NAME\")); } }",
    )
}

fn question(composer: &mut Composer, draft: &mut Draft, which: usize) {
    let words = composer.words("error");
    let name = composer.name("q");
    let of = composer.of_result();
    let line = match which {
        0 => "\"x\".parse::<i32>()?;".to_owned(),
        1 => format!("let {name}: i32 = \"x\".parse()?;"),
        2 => {
            draft.tail = Some("\"x\".parse::<f64>()?".into());
            return;
        }
        3 => format!("println!(\"{{}}\", \"{name}\".parse::<bool>()?);"),
        4 => format!("{of}Err::<i32, _>(std::io::Error::other(\"{words}\"))?;"),
        5 => {
            let trouble = composer.have(
                draft,
                ItemKind::Trouble,
                "Trouble",
                "#[derive(Debug)]\nstruct NAME(i32);\n\
                 impl std::fmt::Display for NAME { fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { \
                 write!(to, \"NAME number {}\", self.0) } }\n\
                 impl std::error::Error for NAME {}",
            );
            let number = composer.fresh();
            format!("{of}Err::<i32, {trouble}>({trouble}({number}))?;")
        }
        6 => format!("std::fs::read(\"/no/such/{name}\")?;"),
        7 => "for text in [\"1\", \"x\", \"3\"] { println!(\"{}\", text.parse::<i32>()?); }".to_owned(),
        8 => format!("{of}Err::<i32, _>(\"{words}\")?;"),
        9 => format!("{of}Err::<i32, Box<dyn std::error::Error>>(\"{words}\".into())?;"),
        10 => format!(
            "let {name} = (|| -> std::result::Result<i32, String> {{ {of}Err(\"{words}\".to_string()) }})()?;"
        ),
        _ => format!("println!(\"EVCXR_ERROR_OCCURRED\"); print!(\"{words}\"); \"\".parse::<u8>()?;"),
    };
    draft.lines.push(line);
}

fn returns(composer: &mut Composer, draft: &mut Draft, which: usize) {
    let name = composer.name("r");
    let of = composer.of_result();
    let line = match which {
        0 => format!("let {name} = 1;\nif {name} == 1 {{ return {of}Ok(()); }}"),
        1 => format!("println!(\"{name}\");\nreturn {of}Ok(());"),
        2 => format!("for i in 0..3 {{ if i == 1 {{ return {of}Ok(()); }} }}"),
        3 => {
            draft.items.push(format!("macro_rules! {name} {{ () => {{ return {of}Ok(()) }}; }}"));
            format!("if true {{ {name}!(); }}")
        }
        _ => format!("let {name} = match 3 {{ 3 => return {of}Ok(()), other => other }};"),
    };
    draft.lines.push(line);
}

fn refused(composer: &mut Composer, draft: &mut Draft, which: usize) {
    let name = composer.name("c");
    let line = match which {
        0 => format!("let {name}: i32 = \"text\";"),
        1 => format!("println!(\"{{}}\", {name});"),
        2 => format!("let {name} = String::new(); let other = {name}; println!(\"{{{name}}} {{other}}\");"),
        3 => format!("let {name} = std::;"),
        4 => "let = 3;".to_owned(),
        5 => format!("fn {name}( {{ 1 }}"),
        6 => format!("{name}();"),
        7 => format!("let {name} = vec![1, 2; {name}.len();"),
        8 => format!("let {name} = \"never closed;"),
        9 => format!("use std::no_such_{name};"),
        10 => format!("fn {name}() -> i32 {{ \"text\" }}"),
        11 => format!("let {name} = 1; {name} += 1;"),
        12 => "None::<i32>?;".to_owned(),
        _ => "1 + \"a\";".to_owned(),
    };
    draft.lines.push(line);
}

fn dies(composer: &mut Composer, draft: &mut Draft, which: usize) {
    let words = composer.words("end");
    let line = match which {
        0 => "std::process::exit(3);".to_owned(),
        1 => "std::process::exit(0);".to_owned(),
        2 => format!("println!(\"{words}\"); std::process::abort();"),
        3 => {
            let bomb = bomb(composer, draft);
            format!("{{ let _bomb = {bomb}; panic!(\"{words}\"); }}")
        }
        _ => "println!(\"EVCXR_EXECUTION_COMPLETE\"); std::process::exit(1);".to_owned(),
    };
    draft.lines.push(line);
}
