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
        name: "killed_engine",
        source: "let engine = std::os::unix::process::parent_id().to_string();\n\
                 std::process::Command::new(\"kill\").args([\"-9\", &engine]).status()?;\n\
                 std::thread::sleep(std::time::Duration::from_secs(5));",
        ename: "EngineDied",
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
    ("knows the engine", "let engine = std::os::unix::process::parent_id().to_string();"),
    ("line left open", "use std::io::Write;\nprint!(\"open\");\nstd::io::stdout().flush()?;"),
    (
        "words on stderr",
        "eprintln!(\"thread 'main' panicked at src/lib.rs:1:1\\nerror: EVCXR_PANIC_NOTIFICATION\");",
    ),
    ("many words", "for i in 0..3000 { println!(\"{i}\"); eprintln!(\"{i}\"); }"),
    ("a value that uses up a variable", "let table = Table::new([\"a\"]);\ntable.note(\"noted\")"),
];
