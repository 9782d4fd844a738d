//! A cell while evcxr runs it: which of evcxr's messages are for the user, and how the cell ended.
//!
//! evcxr calls a cell that panicked or returned early a success. The cell's own process says what happened
//! (`kernel-lib/src/notebook.rs`): its end mark, which bears the cell's nonce, holds the verdict and says that its output
//! is complete. A user's cell whose end mark does not come has not ended well, whatever evcxr says.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{code::Rust, event::Event, wire::Message};

/// The first character of a line for the kernel; see `igpt::notebook`.
const MARK: char = '\u{1}';
/// What stands before text that the filter passes on, as JSON.
pub const MARK_TEXT: &str = "\u{1}igpt:text ";
/// A line by which the filter says that one of evcxr's notices of a failure follows.
pub const MARK_NOTICE: &str = "\u{1}igpt:notice";
/// A line by which the filter says that nobody writes to its stream any more.
pub const MARK_CLOSED: &str = "\u{1}igpt:closed";

/// How a cell's process says that it failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Failure {
    /// `panic`, `early-return` (through `?`) or `return`.
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
    /// Frames up to this line of the generated code are not the user's.
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
    /// evcxr refused it, mostly because it does not compile.
    Refused(Vec<Refusal>),
    /// The process that ran it ended.
    Died(String),
    /// evcxr calls it a success, but the cell's own word of that did not come.
    Unseen,
}

/// One of the errors with which evcxr refuses a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its message.
    pub evalue: String,
    /// evcxr's text.
    pub lines: Vec<String>,
}

impl Refusal {
    /// Whether it is words alone, and not the image of a place in the cell: of one of evcxr's commands, of the linker,
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
    /// Text of an earlier cell's thread, which came before this cell began.
    Late {
        /// `stdout` or `stderr`.
        name: String,
        /// Any text.
        text: String,
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

/// A cell while evcxr runs it.
#[derive(Debug)]
pub struct Cell {
    id: String,
    /// By which its marks are known; none for the kernel's own code, which has no marks.
    nonce: Option<String>,
    /// Whether it has Rust code, so that marks are to be expected.
    runs: bool,
    /// stdout, stderr.
    started: [bool; 2],
    /// The cell answered an interrupt and is about to end.
    stopping: bool,
    /// The process that runs cells, if it began with this cell.
    process: Option<i32>,
    /// stdout, stderr.
    complete: [bool; 2],
    /// evcxr has told of a failure, too.
    notice: bool,
    /// When its process's stdout was closed.
    closed: Option<Instant>,
    /// Panics that may turn out to be what ended the cell.
    panics: Vec<Panic>,
    failure: Option<Failure>,
    values: Vec<Output>,
    errors: Vec<Refusal>,
    replied: bool,
    idle: bool,
    last_message: Instant,
}

/// How long marks may be late. They come within milliseconds; a process whose stdout is closed or redirected has none.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the last words of a process that died may be late.
const LAST_WORDS: Duration = Duration::from_millis(150);

impl Cell {
    /// A user's cell with the code `code`, which is evcxr's request `id` and has this nonce.
    pub fn new(id: &str, nonce: &str, code: &str) -> Self {
        Self {
            runs: Rust::of(code).is_some_and(|rust| rust.runs()),
            nonce: Some(nonce.into()),
            ..Self::unmarked(id)
        }
    }

    /// Code of the kernel's own: it starts the session, or is a command.
    pub fn unmarked(id: &str) -> Self {
        Self {
            id: id.into(),
            nonce: None,
            runs: false,
            started: [false; 2],
            stopping: false,
            process: None,
            complete: [false; 2],
            notice: false,
            closed: None,
            panics: Vec::new(),
            failure: None,
            values: Vec::new(),
            errors: Vec::new(),
            replied: false,
            idle: false,
            last_message: Instant::now(),
        }
    }

    /// Takes what evcxr says, and returns what the user is to see of it now.
    pub fn handle(&mut self, event: &Event) -> Vec<Output> {
        match event {
            Event::Shell(m) if m.parent_id() == self.id && m.kind() == "execute_reply" => {
                self.replied = true;
                Vec::new()
            }
            Event::Iopub(m) if m.parent_id() == self.id => {
                self.last_message = Instant::now();
                self.handle_iopub(m)
            }
            _ => Vec::new(),
        }
    }

    fn handle_iopub(&mut self, message: &Message) -> Vec<Output> {
        let content = &message.content;
        let text = |key: &str| content[key].as_str().unwrap_or_default().to_owned();
        match message.kind() {
            "stream" => return self.handle_stream(&text("name"), &text("text")),
            "execute_result" | "display_data" => {
                let mut data = content["data"].clone();
                cut(&mut data);
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
    fn handle_stream(&mut self, name: &str, text: &str) -> Vec<Output> {
        let stream = usize::from(name == "stderr");
        let late = self.nonce.is_some() && !self.started[stream];
        let shown = |text: &str| match (text, late) {
            ("", _) => Vec::new(),
            (text, false) => vec![Output::Stream { name: name.to_owned(), text: text.to_owned() }],
            (text, true) => vec![Output::Late { name: name.to_owned(), text: text.to_owned() }],
        };
        if let Some(json) = text.strip_prefix(MARK_TEXT) {
            return serde_json::from_str::<String>(json).map_or_else(|_| shown(text), |text| shown(&text));
        }
        let Some((before, mark)) = text.split_once(MARK).filter(|(_, mark)| mark.starts_with("igpt:")) else {
            return shown(text);
        };
        // Before the mark: a line that was left open.
        let mut outputs = shown(before);
        let mark = mark.trim_start_matches("igpt:").trim_end_matches('\n');
        match mark.split_once(' ').unwrap_or((mark, "")) {
            ("start", nonce) => self.started[stream] |= Some(nonce.trim()) == self.nonce.as_deref(),
            ("end", verdict) => {
                let (nonce, json) = verdict.split_once(' ').unwrap_or((verdict, ""));
                if Some(nonce) == self.nonce.as_deref() {
                    self.complete[stream] = true;
                    self.failure = self.failure.take().or_else(|| failure(json.trim()));
                }
            }
            ("notice", _) => self.notice |= self.started[0],
            ("session", process) => self.process = process.parse().ok(),
            ("closed", _) if stream == 0 => self.closed = Some(Instant::now()),
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
                    match late {
                        true => outputs.push(Output::Late { name: name.to_owned(), text: panic.to_string() }),
                        false => self.panics.push(panic),
                    }
                }
            }
            _ => {}
        }
        outputs
    }

    /// Whether the user's code has begun to run: before, the cell is compiled.
    pub fn has_begun(&self) -> bool {
        self.started[0]
    }

    /// Whether the user's code is through, and only evcxr has something to do.
    pub fn has_ended(&self) -> bool {
        self.complete == [true; 2]
    }

    /// When its process's stdout was closed, as at its end.
    pub fn closed(&self) -> Option<Instant> {
        self.closed
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
            None if !(self.runs || self.started[0]) || self.complete == [true; 2] => Duration::ZERO,
            None => PATIENCE,
        };
        Some(self.last_message + wait)
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
        if !self.errors.is_empty() {
            return Ending::Refused(self.errors.clone());
        }
        let expected = self.nonce.is_some() && (self.runs || self.started[0]);
        if self.notice || (expected && !self.complete[0]) { Ending::Unseen } else { Ending::Ok }
    }
}

/// The failure in an end mark, if there is one. What cannot be read is one, too.
fn failure(json: &str) -> Option<Failure> {
    let unread =
        |_| Failure { ename: "Error".into(), evalue: "the cell failed".into(), ..Failure::default() };
    (!json.is_empty()).then(|| serde_json::from_str(json).unwrap_or_else(unread))
}

/// Text of a value is kept up to here, and this much of its end; other values are kept whole up to a larger size.
const LARGEST_TEXT: usize = 1 << 20;
const TAIL: usize = 16 << 10;
const LARGEST_VALUE: usize = 16 << 20;

/// Cuts a value that is too large for a notebook, with a notice.
fn cut(data: &mut Value) {
    let mut too_large = None;
    for (kind, value) in data.as_object_mut().into_iter().flatten() {
        let Value::String(text) = value else { continue };
        if kind == "text/plain" && text.len() > LARGEST_TEXT {
            let end = floor(text, LARGEST_TEXT);
            let last = floor(text, text.len() - TAIL);
            let megabytes = (last - end) as f64 / 1e6;
            *text = format!("{}\n[{megabytes:.1} MB are left out here]\n{}", &text[..end], &text[last..]);
        } else if kind != "text/plain" && text.len() > LARGEST_VALUE {
            too_large = Some(format!(
                "[{kind} of {:.0} MB: too large for a notebook, left out]",
                text.len() as f64 / 1e6
            ));
            text.clear();
        }
    }
    if let (Some(notice), Some(data)) = (too_large, data.as_object_mut()) {
        data.retain(|kind, value| kind == "text/plain" || value != "");
        data.entry("text/plain").or_insert_with(|| notice.clone().into());
        if data.len() == 1 {
            data.insert("text/plain".into(), notice.into());
        }
    }
}

/// The largest place at or before `at` where no character is cut.
fn floor(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
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

impl std::fmt::Display for Panic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "thread '{}' panicked:\n{}", self.thread, self.failure.evalue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "request";
    const START: &str = "\u{1}igpt:start n1\n";
    const END: &str = "\u{1}igpt:end n1 \n";

    fn iopub(kind: &str, content: Value) -> Event {
        Event::Iopub(Message::new("evcxr", kind, &json!({"msg_id": ID}), content))
    }

    fn line(name: &str, text: &str) -> Event {
        iopub("stream", json!({"name": name, "text": text}))
    }

    fn reply() -> Event {
        Event::Shell(Message::new("evcxr", "execute_reply", &json!({"msg_id": ID}), json!({})))
    }

    fn idle() -> Event {
        iopub("status", json!({"execution_state": "idle"}))
    }

    fn stream(name: &str, text: &str) -> Output {
        Output::Stream { name: name.into(), text: text.into() }
    }

    fn handle(cell: &mut Cell, events: &[Event]) -> Vec<Output> {
        events.iter().flat_map(|event| cell.handle(event)).collect()
    }

    fn new(code: &str) -> Cell {
        Cell::new(ID, "n1", code)
    }

    fn begun(code: &str) -> Cell {
        let mut cell = new(code);
        handle(&mut cell, &[line("stdout", START), line("stderr", START)]);
        cell
    }

    #[test]
    fn a_cell_is_over_only_when_its_output_is_complete() {
        let mut cell = begun("print!(\"a\")");
        let seen = handle(&mut cell, &[reply(), idle(), line("stdout", "a\u{1}igpt:end n1 \n")]);
        assert_eq!(seen, [stream("stdout", "a")]);
        assert!(!cell.is_over(Instant::now()), "stderr may still come");
        let seen = handle(&mut cell, &[line("stderr", "late\n"), line("stderr", END)]);
        assert_eq!(seen, [stream("stderr", "late\n")]);
        assert!(cell.is_over(Instant::now()));
        assert_eq!(cell.ending(), Ending::Ok);
    }

    #[test]
    fn a_success_that_the_cell_does_not_confirm_is_none() {
        let mut silent = begun("f()");
        handle(&mut silent, &[reply(), idle()]);
        assert!(!silent.is_over(Instant::now()) && silent.is_over(Instant::now() + PATIENCE));
        assert_eq!(silent.ending(), Ending::Unseen);
        // Another cell's mark is none, nor is one without a nonce.
        handle(&mut silent, &[line("stdout", "\u{1}igpt:end n2 \n"), line("stdout", "\u{1}igpt:end\n")]);
        assert_eq!(silent.ending(), Ending::Unseen);
        handle(&mut silent, &[line("stdout", END)]);
        assert_eq!(silent.ending(), Ending::Ok);
        // evcxr has seen a failure of which the cell says nothing.
        handle(&mut silent, &[line("stdout", "\u{1}igpt:notice\n")]);
        assert_eq!(silent.ending(), Ending::Unseen);
        // Commands alone have no marks.
        let mut command = new("// why\n:vars");
        handle(&mut command, &[reply(), idle()]);
        assert!(command.is_over(Instant::now()));
        assert_eq!(command.ending(), Ending::Ok);
    }

    #[test]
    fn a_panic_is_a_failure_only_when_nobody_caught_it() {
        let panic = |number: u64| {
            let failure = json!({"kind": "panic", "ename": "panic", "evalue": "no", "file": "src/lib.rs", "line": 7,
                "column": 1, "frames": [], "skip_line": 0, "panic": number});
            let report = json!({"thread": "main", "failure": failure});
            (
                line("stderr", &format!("\u{1}igpt:panic {report}\n")),
                line("stdout", &format!("\u{1}igpt:end n1 {failure}\n")),
            )
        };
        let mut caught = begun("f()");
        handle(&mut caught, &[panic(1).0, line("stdout", END), reply(), idle()]);
        assert!(matches!(&caught.last_outputs()[..], [Output::CaughtPanic { .. }]));
        assert_eq!(caught.ending(), Ending::Ok);

        let mut fatal = begun("f()");
        handle(&mut fatal, &[panic(1).0, panic(2).0, panic(2).1, reply(), idle()]);
        let first = fatal.last_outputs();
        assert!(matches!(&first[..], [Output::CaughtPanic { failure: Failure { panic: 1, .. }, .. }]));
        assert!(matches!(fatal.ending(), Ending::Failed(Failure { panic: 2, .. })));

        let mut unread = begun("f()");
        handle(&mut unread, &[line("stdout", "\u{1}igpt:end n1 {\n"), reply(), idle()]);
        assert!(matches!(unread.ending(), Ending::Failed(_)));
    }

    #[test]
    fn what_a_thread_says_after_its_cell_is_late() {
        let mut cell = new("f()");
        let late = |name: &str, text: &str| Output::Late { name: name.into(), text: text.into() };
        let panic = json!({"thread": "worker", "failure": {"kind": "panic", "ename": "panic", "evalue": "no", "file": "",
            "line": 0, "column": 0, "frames": [], "skip_line": 0, "panic": 1}});
        let seen = handle(
            &mut cell,
            &[
                line("stdout", "\u{1}igpt:text \"old\\n\"\n"),
                line("stderr", &format!("\u{1}igpt:panic {panic}\n")),
                line("stdout", START),
                line("stdout", "new\n"),
            ],
        );
        let told = late("stderr", "thread 'worker' panicked:\nno\n");
        assert_eq!(seen, [late("stdout", "old\n"), told, stream("stdout", "new\n")]);
    }

    #[test]
    fn a_users_words_are_left_alone() {
        let mut cell = begun("f()");
        let seen = handle(
            &mut cell,
            &[line("stderr", "EVCXR_PANIC_NOTIFICATION \u{1} error\n"), line("stdout", END)],
        );
        assert_eq!(seen, [stream("stderr", "EVCXR_PANIC_NOTIFICATION \u{1} error\n")]);
        assert_eq!(cell.ending(), Ending::Ok);
    }

    #[test]
    fn large_values_are_cut() {
        let mut data = json!({"text/plain": "ä".repeat(LARGEST_TEXT), "text/html": "<b>"});
        cut(&mut data);
        let text = data["text/plain"].as_str().unwrap();
        assert!(text.len() < LARGEST_TEXT + 2 * TAIL && text.contains("[1.0 MB are left out here]"));
        let mut data = json!({"text/html": "x".repeat(LARGEST_VALUE + 1)});
        cut(&mut data);
        assert_eq!(data, json!({"text/plain": "[text/html of 17 MB: too large for a notebook, left out]"}));
        let small = json!({"text/html": "x", "text/plain": "y"});
        let mut data = small.clone();
        cut(&mut data);
        assert_eq!(data, small);
    }

    #[test]
    fn a_death_and_compile_errors_are_told_apart() {
        let error =
            |evalue: &str| iopub("error", json!({"ename": "Error", "evalue": evalue, "traceback": [evalue]}));
        let mut died = new("f()");
        handle(
            &mut died,
            &[error("Subprocess terminated with status: signal: 6 (SIGABRT)"), reply(), idle()],
        );
        assert_eq!(died.ending(), Ending::Died("signal: 6 (SIGABRT)".into()));
        let mut wrong = new("f()");
        handle(&mut wrong, &[error("first"), error("second"), reply(), idle()]);
        assert!(wrong.is_over(Instant::now()));
        let refusal = |text: &str| Refusal { evalue: text.into(), lines: vec![text.into()] };
        assert_eq!(wrong.ending(), Ending::Refused(vec![refusal("first"), refusal("second")]));
    }

    #[test]
    fn a_death_may_leave_words_behind() {
        let mut cell = new("f()");
        let evalue = "last words\nSubprocess terminated with status: signal: 9 (SIGKILL)";
        handle(
            &mut cell,
            &[iopub("error", json!({"evalue": evalue, "traceback": [evalue]})), reply(), idle()],
        );
        assert_eq!(cell.ending(), Ending::Died("signal: 9 (SIGKILL)".into()));
    }
}
