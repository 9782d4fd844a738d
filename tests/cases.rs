//! Cells that fail, and their near-identical twins that do not.

/// A notebook whose second cell is at fault, and how that must be reported.
pub struct Fault {
    /// The notebook's name.
    pub name: &'static str,
    /// The second cell; its second line is at fault.
    pub source: &'static str,
    /// The error's name.
    pub ename: &'static str,
    /// Part of the error's value.
    pub evalue: &'static str,
    /// Whether the traceback can name the line.
    pub line: bool,
}

/// What goes wrong, from the commonest on. The first eight are tested through nbconvert in
/// every run of the tests, all but the hang through four clients in `clients.rs`.
pub const FAULTS: [Fault; 14] = [
    Fault {
        name: "panic",
        source: "let index = 3;\nvec![1, 2][index];\nprintln!(\"not here\");",
        ename: "panic",
        evalue: "index out of bounds: the len is 2 but the index is 3",
        line: true,
    },
    Fault {
        name: "failed_assert",
        source: "let sum = 1 + 1;\nassert_eq!(sum, 3, \"sums\");\nprintln!(\"not here\");",
        ename: "panic",
        evalue: "assertion `left == right` failed: sums",
        line: true,
    },
    Fault {
        name: "question_mark_in_a_let",
        source: "let text = \"x\";\nlet number: i32 = text.parse()?;\nprintln!(\"not here\");",
        ename: "ParseIntError",
        evalue: "invalid digit found in string",
        line: true,
    },
    Fault {
        name: "question_mark_in_the_last_expression",
        source: "let text = \"x\";\ntext.parse::<f64>()?",
        ename: "ParseFloatError",
        evalue: "invalid float literal",
        line: true,
    },
    Fault {
        name: "question_mark_in_the_middle",
        source: "println!(\"before\");\n\"x\".parse::<i32>()?;\nprintln!(\"not here\");",
        ename: "ParseIntError",
        evalue: "invalid digit found in string",
        line: true,
    },
    Fault {
        name: "compile_error",
        source: "let text = \"x\";\nlet number: i32 = text;\nprintln!(\"not here\");",
        ename: "CompileError",
        evalue: "mismatched types",
        line: true,
    },
    Fault {
        name: "exit",
        source: "println!(\"before\");\nstd::process::exit(0);",
        ename: "ProcessDied",
        evalue: "exit status: 0",
        line: false,
    },
    Fault {
        name: "abort",
        source: "println!(\"before\");\nstd::process::abort();",
        ename: "ProcessDied",
        evalue: "signal: 6",
        line: false,
    },
    Fault {
        name: "stack_overflow",
        source: "fn deep(n: u64) -> u64 { std::hint::black_box([n; 64])[0] + if n == 0 { 0 } else { deep(n + 1) } }\n\
                 println!(\"{}\", deep(1));",
        ename: "ProcessDied",
        evalue: "signal: ",
        line: false,
    },
    Fault {
        name: "hang",
        source: "println!(\"before\");\nloop { std::thread::sleep(std::time::Duration::from_millis(50)); }",
        ename: "CellTimeoutError",
        evalue: "did not end within",
        line: false,
    },
    Fault {
        name: "killed_child",
        source: "let own = std::process::id().to_string();\n\
                 std::process::Command::new(\"kill\").args([\"-9\", &own]).status()?;\n\
                 std::thread::sleep(std::time::Duration::from_secs(5));",
        ename: "ProcessDied",
        evalue: "signal: 9",
        line: false,
    },
    Fault {
        name: "killed_evcxr",
        source: "let parent = std::os::unix::process::parent_id().to_string();\n\
                 std::process::Command::new(\"kill\").args([\"-9\", &parent]).status()?;\n\
                 std::thread::sleep(std::time::Duration::from_secs(5));",
        ename: "EvcxrDied",
        evalue: "signal: 9",
        line: false,
    },
    Fault {
        name: "panic_in_a_joined_thread",
        source: "let thread = std::thread::spawn(|| vec![1, 2][std::process::id() as usize]);\n\
                 println!(\"{}\", thread.join().unwrap());",
        ename: "panic",
        evalue: "called `Result::unwrap()` on an `Err` value: Any",
        line: true,
    },
    Fault {
        name: "out_of_memory",
        source: "unsafe extern \"C\" { fn setrlimit(resource: i32, limits: *const [u64; 2]) -> i32; }\n\
                 println!(\"limited: {}\", unsafe { setrlimit(9, &[2 << 30; 2]) });\n\
                 println!(\"not here: {}\", std::hint::black_box(vec![1u8; 4 << 30]).len());",
        ename: "ProcessDied",
        evalue: "signal: 6",
        line: false,
    },
];

/// How many of them `nbconvert.rs` executes with nbconvert.
pub const IN_NBCONVERT: usize = 8;

/// Notebooks without a fault.
pub const GOOD: [(&str, &[&str]); 3] = [
    ("good", &["let earlier = 1;", "println!(\"{}\", earlier + 1);", "earlier"]),
    (
        "several_outputs",
        &[
            "println!(\"before\");\nlet tensor = Tensor::arange(0f32, 4., &Device::Cpu)?;\neprintln!(\"between\");\ntensor",
            "let table = Table::new([\"a\", \"b\"]);\nprintln!(\"a table\");\ntable.note(\"noted\")",
            "1 + 1",
        ],
    ),
    ("words_on_stderr", &["eprintln!(\"error: panicked\");"]),
];

/// The faults' twins, and other cells that look bad and are not. What each prints is its name.
pub const TWINS: [(&str, &str); 19] = [
    ("panic", "let index = 1;\nvec![1, 2][index];"),
    ("caught panic", "let index = 3;\nstd::panic::catch_unwind(|| vec![1, 2][3]).is_err();"),
    (
        "panic in a joined thread",
        "let thread = std::thread::spawn(|| panic!(\"there\"));\nassert!(thread.join().is_err());",
    ),
    ("assert", "let sum = 1 + 1;\nassert_eq!(sum, 2, \"sums\");"),
    ("question mark in a let", "let text = \"7\";\nlet number: i32 = text.parse()?;"),
    ("handled error", "let text = \"x\";\nlet number: i32 = text.parse().unwrap_or(7);"),
    (
        "error handled in a function",
        "fn parse(text: &str) -> Result<i32, std::num::ParseIntError> { Ok(text.parse::<i32>()?) }\nassert!(parse(\"x\").is_err());",
    ),
    ("question mark in the middle", "println!(\"before\");\n\"7\".parse::<i32>()?;"),
    ("compiles", "let text = \"x\";\nlet number: &str = text;"),
    ("exit of another process", "std::process::Command::new(\"sh\").args([\"-c\", \"exit 1\"]).status()?;"),
    (
        "abort of another process",
        "std::process::Command::new(\"sh\").args([\"-c\", \"kill -6 $$\"]).status()?;",
    ),
    (
        "deep enough",
        "fn deep(n: u64) -> u64 { std::hint::black_box([n; 64])[0] + if n == 0 { 0 } else { deep(n - 1) } }\n\
         println!(\"{}\", deep(10));",
    ),
    ("sleeps", "loop { std::thread::sleep(std::time::Duration::from_millis(50)); break; }"),
    (
        "kills another process",
        "let mut other = std::process::Command::new(\"sleep\").arg(\"60\").spawn()?;\nother.kill()?;\nother.wait()?;",
    ),
    ("knows evcxr", "let parent = std::os::unix::process::parent_id().to_string();"),
    ("line left open", "use std::io::Write;\nprint!(\"open\");\nstd::io::stdout().flush()?;"),
    (
        "words on stderr",
        "eprintln!(\"thread 'main' panicked at src/lib.rs:1:1\\nerror: EVCXR_PANIC_NOTIFICATION\");",
    ),
    ("many words", "for i in 0..3000 { println!(\"{i}\"); eprintln!(\"{i}\"); }"),
    ("a value that uses up a variable", "let table = Table::new([\"a\"]);\ntable.note(\"noted\")"),
];

/// What is to be seen of a cell.
#[derive(Debug, Clone, Copy)]
pub enum Told {
    /// No error.
    Well,
    /// No error, and exactly this on stdout.
    Prints(&'static str),
    /// No error, and this among its text.
    Notes(&'static str),
    /// An error of this name, and this in its value.
    Error(&'static str, &'static str),
    /// The same, and this in its traceback.
    Line(&'static str, &'static str, &'static str),
    /// The end of its process, and this in the error's value.
    Died(&'static str),
}

use Told::{Died, Error, Line, Notes, Prints, Well};

const NO_WORDS: &str = "macro_rules! println { ($($t:tt)*) => {} }\nmacro_rules! eprintln { ($($t:tt)*) => {} }\n\
                        macro_rules! stringify { ($($t:tt)*) => { \"\" } }\nmacro_rules! panic_ { () => {} }";
const PANIC: &str = "let before = 1;\npanic!(\"x\");";
const PANICKED: Told = Line("panic", "x", "line 2");
const QUESTION_MARK: &str = "let before = 1;\n\"x\".parse::<i32>()?;";
const RETURNED: Told = Line("ParseIntError", "invalid digit", "line 2");

/// Cells that must fail among others, as they stand in a notebook. No story needs what another one has left.
pub const STORIES: [(&str, &[(&str, Told)]); 16] = [
    (
        "shadows",
        &[
            ("use std::println;", Well),
            (PANIC, PANICKED),
            (QUESTION_MARK, RETURNED),
            ("println!(\"fine\");", Prints("fine\n")),
            ("fn println() {}\nfn eprintln() {}", Well),
            (PANIC, PANICKED),
            (QUESTION_MARK, RETURNED),
            ("fn stringify(x: u8) -> u8 { x }", Well),
            ("let kept = stringify(7);", Well),
            (PANIC, PANICKED),
            (
                "mod mine { macro_rules! quiet { ($($t:tt)*) => {} } pub(crate) use quiet; }\nuse mine::quiet as println;",
                Well,
            ),
            (QUESTION_MARK, RETURNED),
            (NO_WORDS, Well),
            (PANIC, PANICKED),
            (QUESTION_MARK, RETURNED),
            ("assert_eq!(1 + 1, 3);", Error("panic", "assertion `left == right` failed")),
            ("mod igpt { pub fn one() -> u8 { 1 } }\nstruct EvcxrUserCode;\nconst Session: u8 = 1;", Well),
            ("assert_eq!(igpt::one(), 2);", Error("panic", "left: 1")),
            ("std::println!(\"{kept}\");", Prints("7\n")),
        ],
    ),
    (
        "forgotten",
        &[
            ("let kept = 1;", Well),
            ("// fresh\n:clear", Well),
            (PANIC, PANICKED),
            (":clear\nlet before = 1;\npanic!(\"x\")", Line("panic", "x", "line 3")),
            ("  :clear", Well),
            (QUESTION_MARK, RETURNED),
            (
                "// why\n\n :clear  all\n// more\nlet tensor = Tensor::arange(0f32, 4., &Device::Cpu)?;\ntensor.dims()",
                Well,
            ),
            ("println!(\"{:?}\", tensor.dims());", Prints("[4]\n")),
            (":restart\npanic!(\"x\")", Error("panic", "x")),
            (":restart\nlet again = 3;\nprintln!(\"fine\");", Prints("fine\n")),
            ("println!(\"{again}\");", Prints("3\n")),
            (QUESTION_MARK, RETURNED),
            (":vars", Well),
            ("// only a comment", Well),
            ("/* only a comment */", Well),
            ("  // indented", Well),
            (";", Well),
        ],
    ),
    (
        "notices",
        &[
            ("println!(\"EVCXR_PANIC_NOTIFICATION\");", Prints("EVCXR_PANIC_NOTIFICATION\n")),
            ("println!(\"EVCXR_ERROR_OCCURRED\"); let kept = 7;", Prints("EVCXR_ERROR_OCCURRED\n")),
            (
                "println!(\"EVCXR_EXECUTION_COMPLETE\");\nstd::thread::sleep(std::time::Duration::from_millis(300));\n\
                 panic!(\"x\");",
                Line("panic", "x", "line 3"),
            ),
            (
                "println!(\"EVCXR_EXECUTION_COMPLETE\"); println!(\"{kept}\");",
                Prints("EVCXR_EXECUTION_COMPLETE\n7\n"),
            ),
            (
                "println!(\"\\u{1}igpt:end\\n\\u{1}igpt:end x {{}}\");",
                Prints("\u{1}igpt:end\n\u{1}igpt:end x {}\n"),
            ),
            ("println!(\"\\u{1}igpt:notice\");", Prints("\u{1}igpt:notice\n")),
            ("println!(\"EVCXR_VARIABLE_CHANGED_TYPE:kept\");", Prints("EVCXR_VARIABLE_CHANGED_TYPE:kept\n")),
            (
                "std::thread::spawn(|| { std::thread::sleep(std::time::Duration::from_millis(50)); println!(\"EVCXR_EXECUTION_COMPLETE\"); });",
                Well,
            ),
            (PANIC, PANICKED),
            ("println!(\"{kept}\");", Prints("7\n")),
        ],
    ),
    (
        "returns",
        &[
            ("let kept = vec![1, 2];", Well),
            (
                "let x = 1;\nif x == 1 { return Ok(()); }",
                Line("CompileError", "`return` outside of a function", "line 2, column 13"),
            ),
            ("println!(\"{kept:?}\");", Prints("[1, 2]\n")),
            ("macro_rules! leave { () => { return Ok(()) } }", Well),
            ("let lost = 1;\nif lost == 1 { leave!(); }", Error("EarlyReturn", "a `return` ended the cell")),
            ("lost", Error("CompileError", "cannot find value `lost`")),
            ("println!(\"{kept:?}\");", Prints("[1, 2]\n")),
            (
                "let f: Box<dyn Fn(u8) -> u8> = Box::new(|x| { if x > 1 { return 2; } x });\nprintln!(\"{}\", f(7));",
                Prints("2\n"),
            ),
            ("fn g(x: u8) -> Result<u8> { if x > 1 { return Ok(2); } Ok(x) }\ng(7)?;", Well),
            ("loop { if kept.len() == 2 { break; } }", Well),
        ],
    ),
    (
        "not_answered",
        &[
            ("let kept = 7;", Well),
            ("let a = std::;", Line("CompileError", "expected identifier", "line 1")),
            ("println!(\"{kept}\");", Prints("7\n")),
            ("fn open( {}", Error("CompileError", "")),
            (
                "async fn f() -> u8 { 1 }\nlet a = f().await;",
                Line("CompileError", "`.await` outside", "line 2"),
            ),
            (
                "macro_rules! wait { ($x:expr) => { $x.await } }\nlet b = wait!(std::future::ready(1));",
                Error("CompileError", "await"),
            ),
            ("std::process::Command::new(\"sleep\").arg(\"0\").spawn()?.wait()?;", Well),
            ("println!(\"{kept}\");", Prints("7\n")),
        ],
    ),
    (
        "panics",
        &[
            (
                "struct Guard;\nimpl Drop for Guard {\n    fn drop(&mut self) { let _ = std::panic::catch_unwind(|| panic!(\"cleanup\")); }\n}",
                Well,
            ),
            ("let _guard = Guard;\npanic!(\"cause\");", Line("panic", "cause", "line 2")),
            ("std::panic::set_hook(Box::new(|_| {}));", Well),
            ("let before = 1;\npanic!(\"told\");", Line("panic", "told", "line 2")),
            (
                "let before = 1;\nstd::panic::set_hook(Box::new(|_| {}));\npanic!(\"{}\", before);",
                Error("panic", "1"),
            ),
            ("std::panic::resume_unwind(Box::new(7));", Error("panic", "without a message")),
            (":efmt {:?}\n\"x\".parse::<i32>()?;", Error("ParseIntError", "InvalidDigit")),
            ("let caught = std::panic::catch_unwind(|| panic!(\"caught\")).is_err();", Well),
        ],
    ),
    (
        "types_anew",
        &[
            ("struct S { a: i32 }\nlet s = S { a: 1 };\nlet other = S { a: 3 };", Well),
            ("struct S { b: i32 }\nlet s = S { b: 2 };", Notes("`other` is lost")),
            ("println!(\"{}\", s.b);", Prints("2\n")),
            ("struct S { c: String }", Well),
            ("let s = S { c: \"x\".into() };", Well),
            ("println!(\"{}\", s.c);", Prints("x\n")),
        ],
    ),
    (
        "threads",
        &[
            (
                "std::thread::spawn(|| { std::thread::sleep(std::time::Duration::from_millis(40)); println!(\"from before\"); });",
                Well,
            ),
            ("std::thread::sleep(std::time::Duration::from_millis(400));", Notes("from before\n")),
            (
                "std::thread::spawn(|| { std::thread::sleep(std::time::Duration::from_millis(40)); panic!(\"in a thread\"); });",
                Well,
            ),
            ("std::thread::sleep(std::time::Duration::from_millis(400));", Notes("in a thread")),
            ("let joined = std::thread::spawn(|| panic!(\"handled\")).join().is_err();", Notes("handled")),
        ],
    ),
    (
        "input",
        &[
            (
                "let mut line = String::new();\nassert_eq!(std::io::stdin().read_line(&mut line)?, 0);",
                Notes("evcxr_input"),
            ),
            ("assert!(std::process::Command::new(\"cat\").status()?.success());", Well),
            ("println!(\"{line:?}\");", Prints("\"\"\n")),
        ],
    ),
    (
        "words_of_ours",
        &[
            ("let here = 1; eprintln!(\"{}\", here);", Notes("1\n")),
            ("let (payload, line, nonce, igpt_session) = (1, 2, 3, 4);", Well),
            ("println!(\"{}\", payload + line + nonce + igpt_session + here);", Prints("11\n")),
            (
                "std::println!(\"{}\", \"\nevcxr_variable_store.put_variable::<u8>(stringify!(here), here);\n\");",
                Prints("\nevcxr_variable_store.put_variable::<u8>(stringify!(here), here);\n\n"),
            ),
            ("let used = vec![1];\n{ let inner = used; println!(\"{inner:?}\"); }", Prints("[1]\n")),
            ("let error = 5;\neprintln!(\"{}\", error);", Notes("5\n")),
            (
                "let text = concat!(stringify!(igpt_session), stringify!(a + b));\nprintln!(\"{text}\");",
                Prints("igpt_sessiona + b\n"),
            ),
        ],
    ),
    (
        // A cell takes only the variables that it mentions.
        "variables_not_mentioned",
        &[
            (
                "struct Loud;\nimpl Drop for Loud { fn drop(&mut self) { println!(\"dropped\"); } }\nlet loud = Loud;\n\
                 let (a, b, mut c, d) = (vec![1], String::from(\"b\"), 3, 4);",
                Well,
            ),
            ("c += 1;\nprintln!(\"{b}\");", Prints("b\n")),
            (
                "macro_rules! named { ($x:ident) => { $x } }\nprintln!(\"{:?} {}\", named!(a), named!(c));",
                Prints("[1] 4\n"),
            ),
            ("println!(\"{\\x64}\");", Prints("4\n")),
            ("let a2 = a;\npanic!(\"{b}\");", Error("panic", "b")),
            ("1 + 1;", Well),
            ("println!(\"{b} {c} {d}\");", Prints("b 4 4\n")),
            ("drop(loud);", Prints("dropped\n")),
            ("loud;", Error("CompileError", "cannot find value `loud`")),
            ("let r#type = d;", Well),
            ("println!(\"{}\", r#type + d);", Prints("8\n")),
        ],
    ),
    (
        "hints",
        &[
            ("let f = |x: i32| x + 1;", Line("Error", "is a closure", "`fn f(x: i32) -> … { x + 1 }`")),
            ("fn f(x: i32) -> i32 { x + 1 }\nprintln!(\"{}\", f(1));", Prints("2\n")),
            ("let v = vec![1, 2, 3];", Well),
            ("let s = &v[1..];", Line("CompileError", "non-static lifetime", "`let s = v[1..].to_owned();`")),
            ("let s = v[1..].to_owned();", Well),
            (
                "thread_local! { static COUNT: std::cell::Cell<u8> = const { std::cell::Cell::new(1) }; }",
                Line("CompileError", "", "inside a module"),
            ),
            (
                "mod state { thread_local! { pub static COUNT: std::cell::Cell<u8> = const { std::cell::Cell::new(1) }; } }\nuse state::*;",
                Well,
            ),
            ("println!(\"{}\", COUNT.get());", Prints("1\n")),
        ],
    ),
    ("large_values", &[("\"x\".repeat(3_000_000)", Well), ("\"x\".repeat(30)", Well)]),
    (
        "macros",
        &[
            ("macro_rules! twice { ($x:expr) => { 2 * $x } }", Well),
            ("fn g() -> i32 { twice!(4) }", Well),
            ("fn h() -> i32 { twice!(g()) }\nprintln!(\"{}\", h());", Prints("16\n")),
            ("macro_rules! twice { ($x:expr) => { 3 * $x } }\nprintln!(\"{}\", h());", Prints("36\n")),
        ],
    ),
    (
        "deaths",
        &[
            ("let kept = 7;\nfn f() -> u8 { 1 }", Well),
            (
                "std::process::Command::new(\"sleep\").arg(\"4041\").spawn()?;\nstd::process::abort();",
                Died("signal: 6"),
            ),
            ("println!(\"{}\", f());", Prints("1\n")),
            ("kept", Error("CompileError", "cannot find value `kept`")),
            (
                "std::process::Command::new(\"sh\").args([\"-c\", \"sleep 4041 & sleep 4041\"]).spawn()?;\nstd::process::exit(3);",
                Died("exit status: 3"),
            ),
            (
                "std::thread::spawn(|| std::process::Command::new(\"sleep\").arg(\"4041\").status());\n\
                 std::thread::sleep(std::time::Duration::from_millis(100));\nstd::process::exit(0);",
                Died("exit status: 0"),
            ),
            (
                "let mut child = std::process::Command::new(\"sleep\").arg(\"0\").spawn()?;\nchild.wait()?.success()",
                Well,
            ),
            (PANIC, PANICKED),
            ("println!(\"{}\", f());", Prints("1\n")),
        ],
    ),
    (
        // rust-analyzer finds the variables' types, by way of crates of the standard library that no cell can name.
        "types_of_std",
        &[
            (
                "let mut counts = std::collections::HashMap::from([(\"a\", 1)]);\n*counts.entry(\"a\").or_insert(0) += 1;\n\
                 let keys = counts.keys().copied().collect::<std::collections::HashSet<_>>();\nlet pairs = counts.clone().into_iter();\n\
                 let now = std::time::Instant::now();\nlet file = std::fs::File::open(\"/dev/null\")?;\nlet about = file.metadata()?;\n\
                 let (sender, receiver) = std::sync::mpsc::channel::<u8>();\nlet thread = std::thread::spawn(|| 7);\n\
                 let shared = std::sync::Arc::new(std::sync::Mutex::new(vec![1.5f32]));\n\
                 let ended = std::process::Command::new(\"true\").status()?;\nlet words = \"a b c\".split_whitespace();\n\
                 let address = \"127.0.0.1:80\".parse::<std::net::SocketAddr>()?;\nlet text = std::ffi::CString::new(\"x\")?;",
                Well,
            ),
            (
                "println!(\"{} {} {} {}\", counts[\"a\"], keys.len(), pairs.count(), now.elapsed().as_secs() < 600);\n\
                 println!(\"{} {:?} {}\", about.len(), sender.send(7).and_then(|()| Ok(receiver.recv())), thread.join().unwrap());\n\
                 println!(\"{:?} {} {} {address} {text:?}\", shared.lock().unwrap(), ended.success(), words.count());",
                Prints("2 1 1 true\n0 Ok(Ok(7)) 7\n[1.5] true 3 127.0.0.1:80 \"x\"\n"),
            ),
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            ("let has = is_x86_feature_detected!(\"sse2\");\nlet later = has;", Well),
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            ("println!(\"{}\", later == has);", Prints("true\n")),
        ],
    ),
];
