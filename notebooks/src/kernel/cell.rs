//! One cell at the engine: what of the engine's messages is for the person, and how the cell ended.
//!
//! The engine calls a cell that panicked or returned early a success. The cell's own process says what happened
//! (`kernel-lib/src/notebook.rs`): the verdict comes as a value of the cell, on the same ordered path as its result,
//! and marks say when its output is complete.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{engine::Event, wire::Message};

/// The first character of a line for the kernel; see `igpt::notebook`.
const MARK: char = '\u{1}';
/// What stands before text that the filter passes on, as JSON.
pub const MARK_TEXT: &str = "\u{1}igpt:text ";
const FAILURE: &str = "application/vnd.igpt.failure+json";

/// How a cell's process says that it failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Failure {
    /// `panic` or `early-return`.
    pub kind: String,
    /// The error's short type name, or `panic`.
    pub ename: String,
    /// The message.
    pub evalue: String,
    /// Where it panicked.
    pub file: String,
    /// Line in `file`, 0 if unknown.
    pub line: u32,
    /// Column in `file`, 0 if unknown.
    pub column: u32,
    /// Cells' code on the stack: library and offset of the return address.
    pub frames: Vec<(String, u64)>,
    /// Frames up to this line of the generated code are not the person's.
    pub skip_line: u32,
    /// Number of the panic.
    pub panic: u64,
}

/// How a cell ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Well.
    Ok,
    /// It panicked or returned early.
    Failed(Failure),
    /// The engine refused it, mostly because it does not compile.
    Engine(Vec<Refusal>),
    /// The process that ran it ended.
    Died(String),
}

/// One of the errors with which the engine refuses a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its message.
    pub evalue: String,
    /// The engine's text.
    pub lines: Vec<String>,
}

impl Refusal {
    /// Whether it is words alone, and not the picture of a place in the cell: of one of evcxr's commands, of the linker,
    /// of a compiler that was killed.
    pub fn is_message(&self) -> bool {
        self.lines.concat() == self.evalue
    }
}

/// What a client is to see.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Text on stdout or stderr.
    Stream {
        /// `stdout` or `stderr`.
        name: String,
        /// Any text, not only whole lines.
        text: String,
    },
    /// A value, with its metadata.
    Value {
        /// By MIME type.
        data: Value,
        /// By MIME type.
        metadata: Value,
    },
    /// Something that is shown at once and can change.
    Display {
        /// Which one.
        id: String,
        /// Whether it takes the place of what was shown by this name.
        update: bool,
        /// By MIME type.
        data: Value,
    },
    /// The cell removes what it has shown and printed so far.
    Clear,
    /// A panic that somebody caught, or that ended a thread; the standard library tells of it on stderr.
    CaughtPanic {
        /// The thread's name.
        thread: String,
        /// The panic.
        failure: Failure,
    },
}

/// A cell at the engine.
#[derive(Debug)]
pub struct Cell {
    id: String,
    /// Whether its code runs, so that marks are to be expected. A cell of nothing but items only compiles.
    runs: bool,
    /// Whether marks count at all.
    marked: bool,
    started: bool,
    /// The cell answered an interrupt and is about to end.
    stopping: bool,
    /// The process that runs cells, if it began with this cell.
    process: Option<i32>,
    /// stdout, stderr.
    complete: [bool; 2],
    /// Panics that may turn out to be what ended the cell.
    panics: Vec<Panic>,
    failure: Option<Failure>,
    values: Vec<Output>,
    errors: Vec<Refusal>,
    replied: bool,
    idle: bool,
    last_heard: Instant,
}

/// How long marks may be late. They come within milliseconds; a process whose stdout is closed or redirected has none.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the last words of a process that died may be late.
const LAST_WORDS: Duration = Duration::from_millis(150);

impl Cell {
    /// A person's cell with the code `code`, which is the engine's request `id`.
    pub fn new(id: &str, code: &str) -> Self {
        Self { runs: runs(code), marked: true, ..Self::unmarked(id) }
    }

    /// A cell that ends without marks: it starts the session, or it comes before.
    pub fn unmarked(id: &str) -> Self {
        Self {
            id: id.into(),
            runs: false,
            marked: false,
            started: false,
            stopping: false,
            process: None,
            complete: [false; 2],
            panics: Vec::new(),
            failure: None,
            values: Vec::new(),
            errors: Vec::new(),
            replied: false,
            idle: false,
            last_heard: Instant::now(),
        }
    }

    /// Takes what the engine says, and returns what the person is to see of it now.
    pub fn hear(&mut self, event: &Event) -> Vec<Output> {
        match event {
            Event::Shell(m) if m.parent_id() == self.id && m.kind() == "execute_reply" => {
                self.replied = true;
                Vec::new()
            }
            Event::Iopub(m) if m.parent_id() == self.id => {
                self.last_heard = Instant::now();
                self.hear_output(m)
            }
            _ => Vec::new(),
        }
    }

    fn hear_output(&mut self, message: &Message) -> Vec<Output> {
        let content = &message.content;
        let text = |key: &str| content[key].as_str().unwrap_or_default().to_owned();
        match message.kind() {
            "stream" => return self.hear_text(&text("name"), &text("text")),
            "execute_result" | "display_data" => {
                let mut data = content["data"].clone();
                if let Some(failure) = data.as_object_mut().and_then(|data| data.shift_remove(FAILURE)) {
                    self.failure = Some(serde_json::from_value(failure).unwrap_or_else(|_| Failure {
                        ename: "Error".into(),
                        evalue: "the cell failed".into(),
                        ..Failure::default()
                    }));
                }
                if data.as_object().is_some_and(|data| !data.is_empty()) {
                    let metadata = content.get("metadata").cloned().unwrap_or_else(|| json!({}));
                    self.values.push(Output::Value { data, metadata });
                }
            }
            "error" => {
                let lines = content["traceback"].as_array().into_iter().flatten();
                let lines = lines.filter_map(Value::as_str).map(str::to_owned).collect();
                self.errors.push(Refusal { evalue: text("evalue"), lines });
            }
            "status" if content["execution_state"] == "idle" => self.idle = true,
            _ => {}
        }
        Vec::new()
    }

    /// A line of a stream, from which the marks are taken out.
    fn hear_text(&mut self, name: &str, text: &str) -> Vec<Output> {
        let stream = |text: &str| match text {
            "" => Vec::new(),
            text => vec![Output::Stream { name: name.to_owned(), text: text.to_owned() }],
        };
        // evcxr swallows this line itself when it ends a value; `igpt::notebook` sends one more to be sure.
        if text == "EVCXR_END_CONTENT\n" {
            return Vec::new();
        }
        if let Some(json) = text.strip_prefix(MARK_TEXT) {
            return serde_json::from_str::<String>(json).map_or_else(|_| stream(text), |text| stream(&text));
        }
        let Some((before, mark)) = text.split_once(MARK).filter(|(_, mark)| mark.starts_with("igpt:")) else {
            return stream(text);
        };
        // Before the mark: a line that was left open.
        let mut outputs = stream(before);
        let mark = mark.trim_start_matches("igpt:").trim_end_matches('\n');
        match mark.split_once(' ').unwrap_or((mark, "")) {
            ("start", _) => self.started = self.marked,
            ("end", _) => self.complete[usize::from(name == "stderr")] = true,
            ("session", process) => self.process = process.parse().ok(),
            ("stopping", _) => self.stopping = true,
            ("show", json) => {
                if let Ok(Shown { id, update, html, text }) = serde_json::from_str(json) {
                    outputs.push(Output::Display {
                        id,
                        update,
                        data: json!({"text/html": html, "text/plain": text}),
                    });
                }
            }
            ("clear", _) => outputs.push(Output::Clear),
            ("panic", json) => {
                if let Ok(panic) = serde_json::from_str::<Panic>(json) {
                    self.panics.push(panic);
                }
            }
            _ => {}
        }
        outputs
    }

    /// Whether the person's code has begun to run: before, the cell is compiled.
    pub fn has_begun(&self) -> bool {
        self.started
    }

    /// Whether the person's code is through, and only the engine has something to do.
    pub fn has_ended(&self) -> bool {
        self.complete == [true; 2]
    }

    /// Whether it answered an interrupt and is about to end.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// The process that runs cells, if it began with this cell.
    pub fn process(&self) -> Option<i32> {
        self.process
    }

    /// Its values in plain text.
    pub fn text_values(&self) -> impl Iterator<Item = &str> {
        self.values.iter().filter_map(|value| match value {
            Output::Value { data, .. } => data["text/plain"].as_str(),
            _ => None,
        })
    }

    /// When [`Cell::is_over`] may turn true without another message.
    pub fn deadline(&self) -> Option<Instant> {
        if !(self.replied && self.idle) {
            return None;
        }
        let wait = match self.died() {
            Some(_) => LAST_WORDS,
            None if !self.errors.is_empty() => Duration::ZERO,
            None if !(self.runs || self.started) || self.complete == [true; 2] => Duration::ZERO,
            None => PATIENCE,
        };
        Some(self.last_heard + wait)
    }

    /// Whether all has been said about the cell.
    pub fn is_over(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }

    fn died(&self) -> Option<&str> {
        // What the process had printed and nobody had read may stand before it.
        let last = self.errors.first()?.evalue.lines().last()?;
        last.starts_with("Subprocess terminated").then_some(last)
    }

    /// What is to be seen last: panics that were caught, and values.
    pub fn last_outputs(&mut self) -> Vec<Output> {
        let fatal = self.failure.as_ref().map(|failure| failure.panic);
        let caught = self.panics.drain(..).filter(|panic| fatal != Some(panic.failure.panic));
        let mut last: Vec<Output> =
            caught.map(|Panic { thread, failure }| Output::CaughtPanic { thread, failure }).collect();
        last.append(&mut self.values);
        last
    }

    /// The verdict.
    pub fn ending(&self) -> Ending {
        if let Some(failure) = &self.failure {
            return Ending::Failed(failure.clone());
        }
        if let Some(how) = self.died() {
            let how = how.trim_start_matches("Subprocess terminated with ").trim_start_matches("status: ");
            return Ending::Died(how.trim().to_owned());
        }
        match self.errors.is_empty() {
            true => Ending::Ok,
            false => Ending::Engine(self.errors.clone()),
        }
    }
}

/// What the library's `show::display` sends.
#[derive(Debug, Deserialize)]
struct Shown {
    id: String,
    update: bool,
    html: String,
    text: String,
}

/// A panic as the hook reports it.
#[derive(Debug, Deserialize)]
struct Panic {
    thread: String,
    failure: Failure,
}

/// The names of evcxr's commands with which the code begins: `:dep`, `:clear`.
pub fn commands(code: &str) -> impl Iterator<Item = &str> {
    let lines = code.lines().map(str::trim_start).filter(|line| !line.is_empty());
    lines.take_while(|line| is_command(line)).filter_map(|line| line.split_whitespace().next())
}

/// evcxr's own command, or one of the shell.
fn is_command(line: &str) -> bool {
    line.trim_start().starts_with([':', '!'])
}

/// Whether something of the code is executed: more than commands and items.
fn runs(code: &str) -> bool {
    let rust: String = code.split_inclusive('\n').filter(|line| !is_command(line)).collect();
    let items_only = |file: syn::File| file.items.iter().all(|item| !matches!(item, syn::Item::Macro(_)));
    !syn::parse_file(&rust).is_ok_and(items_only)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "request";

    fn iopub(kind: &str, content: Value) -> Event {
        Event::Iopub(Message::new("engine", kind, &json!({"msg_id": ID}), content))
    }

    fn line(name: &str, text: &str) -> Event {
        iopub("stream", json!({"name": name, "text": text}))
    }

    fn reply() -> Event {
        Event::Shell(Message::new("engine", "execute_reply", &json!({"msg_id": ID}), json!({})))
    }

    fn idle() -> Event {
        iopub("status", json!({"execution_state": "idle"}))
    }

    fn stream(name: &str, text: &str) -> Output {
        Output::Stream { name: name.into(), text: text.into() }
    }

    fn hear(cell: &mut Cell, events: &[Event]) -> Vec<Output> {
        events.iter().flat_map(|event| cell.hear(event)).collect()
    }

    #[test]
    fn a_cell_is_over_only_when_its_output_is_complete() {
        let mut cell = Cell::new(ID, "print!(\"a\")");
        let seen = hear(
            &mut cell,
            &[line("stdout", "\u{1}igpt:start\n"), reply(), idle(), line("stdout", "a\u{1}igpt:end\n")],
        );
        assert_eq!(seen, [stream("stdout", "a")]);
        assert!(!cell.is_over(Instant::now()), "stderr may still come");
        let seen = hear(&mut cell, &[line("stderr", "late\n"), line("stderr", "\u{1}igpt:end\n")]);
        assert_eq!(seen, [stream("stderr", "late\n")]);
        assert!(cell.is_over(Instant::now()));
        assert_eq!(cell.ending(), Ending::Ok);
    }

    #[test]
    fn a_panic_is_a_failure_only_when_nobody_caught_it() {
        let panic = |number: u64| {
            let failure = json!({"kind": "panic", "ename": "panic", "evalue": "no", "file": "src/lib.rs", "line": 7,
                "column": 1, "frames": [], "skip_line": 0, "panic": number});
            let report = json!({"thread": "main", "failure": failure});
            (
                line("stderr", &format!("\u{1}igpt:panic {report}\n")),
                iopub("execute_result", json!({"data": {FAILURE: failure}})),
            )
        };
        let mut caught = Cell::new(ID, "f()");
        hear(&mut caught, &[panic(1).0, reply(), idle()]);
        assert!(matches!(&caught.last_outputs()[..], [Output::CaughtPanic { .. }]));
        assert_eq!(caught.ending(), Ending::Ok);

        let mut fatal = Cell::new(ID, "f()");
        hear(&mut fatal, &[panic(1).0, panic(2).0, panic(2).1, reply(), idle()]);
        let first = fatal.last_outputs();
        assert!(matches!(&first[..], [Output::CaughtPanic { failure: Failure { panic: 1, .. }, .. }]));
        assert!(matches!(fatal.ending(), Ending::Failed(Failure { panic: 2, .. })));
    }

    #[test]
    fn a_persons_words_are_left_alone() {
        let mut cell = Cell::new(ID, "f()");
        let seen = hear(&mut cell, &[line("stderr", "EVCXR_PANIC_NOTIFICATION \u{1} error\n")]);
        assert_eq!(seen, [stream("stderr", "EVCXR_PANIC_NOTIFICATION \u{1} error\n")]);
        assert_eq!(cell.ending(), Ending::Ok);
    }

    #[test]
    fn a_death_and_compile_errors_are_told_apart() {
        let error =
            |evalue: &str| iopub("error", json!({"ename": "Error", "evalue": evalue, "traceback": [evalue]}));
        let mut died = Cell::new(ID, "f()");
        hear(&mut died, &[error("Subprocess terminated with status: signal: 6 (SIGABRT)"), reply(), idle()]);
        assert_eq!(died.ending(), Ending::Died("signal: 6 (SIGABRT)".into()));
        let mut wrong = Cell::new(ID, "f()");
        hear(&mut wrong, &[error("first"), error("second"), reply(), idle()]);
        assert!(wrong.is_over(Instant::now()));
        let refusal = |text: &str| Refusal { evalue: text.into(), lines: vec![text.into()] };
        assert_eq!(wrong.ending(), Ending::Engine(vec![refusal("first"), refusal("second")]));
    }

    #[test]
    fn commands_stand_at_the_beginning() {
        let found = |code| commands(code).collect::<Vec<_>>();
        assert_eq!(found("  :clear all\n\n:dep x\nlet a = 1;\n:restart"), [":clear", ":dep"]);
        assert_eq!(found("let a = \"\n:clear\n\";"), [""; 0]);
    }

    #[test]
    fn a_death_may_leave_words_behind() {
        let mut cell = Cell::new(ID, "f()");
        let evalue = "last words\nSubprocess terminated with status: signal: 9 (SIGKILL)";
        hear(&mut cell, &[iopub("error", json!({"evalue": evalue, "traceback": [evalue]})), reply(), idle()]);
        assert_eq!(cell.ending(), Ending::Died("signal: 9 (SIGKILL)".into()));
    }

    #[test]
    fn cells_that_only_compile_are_known() {
        for code in [
            "",
            "fn f() {}",
            ":dep x\nuse a::b;\n// c",
            "!ls",
            "struct A;\nimpl A { fn x() {} }",
            "//! doc\nfn f() {}",
        ] {
            assert!(!runs(code), "{code:?}");
        }
        for code in ["1", "let a = 1;", "println!(\"\");", "fn f() {}\nf()", "thread_local! { }", "let"] {
            assert!(runs(code), "{code:?}");
        }
    }
}
