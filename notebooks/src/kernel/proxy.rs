//! Between the client and the engine: a queue, one cell at a time, and a verdict for each.

use std::{
    collections::VecDeque,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::{sync::mpsc::UnboundedReceiver, task::JoinHandle, time::sleep_until};

use super::{
    cell::{Cell, Ending, Failure, Output},
    client::{Channel, Client},
    engine::{Engine, Event},
    shown,
    traceback::{Sources, headline},
    wire::{Message, PROTOCOL_VERSION},
};
use crate::{dirs, slot::Slot};

/// The kernel.
#[derive(Debug)]
pub struct Proxy {
    client: Client,
    requests: UnboundedReceiver<(Channel, Message)>,
    root: Result<PathBuf>,
    state: State,
    queue: VecDeque<Message>,
    count: u64,
    sources: Sources,
    parent: Parent,
}

/// Where the engine is.
#[derive(Debug)]
enum State {
    /// A task gets it ready: at the start, after the cells' process died, after `:clear`.
    Waking(JoinHandle<Result<Engine>>),
    /// It waits for a request.
    Idle(Engine),
    /// It runs a cell.
    Running(Engine, Box<Running>),
    /// It answers a question about code (`complete_request`, `inspect_request`).
    Asked { engine: Engine, request: Box<Message>, id: String },
    /// It is not there, for this reason. The next cell says so and tries again.
    Broken(String),
    /// In between; never seen from outside.
    Moving,
}

/// A person's cell at the engine.
#[derive(Debug)]
struct Running {
    request: Message,
    code: String,
    count: u64,
    cell: Cell,
    stream: Coalescer,
    /// The engine's question that the client has not answered yet.
    question: Option<Message>,
    /// How often the cell asked a client that cannot be asked.
    refused: u32,
    interrupted: bool,
}

/// Text of one stream that is about to be published: the engine sends each line by itself.
#[derive(Debug, Default)]
struct Coalescer {
    name: String,
    text: String,
    since: Option<Instant>,
}

/// How long text may wait for more.
const GATHER: Duration = Duration::from_millis(30);
const GATHER_BYTES: usize = 32 * 1024;

impl Running {
    fn deadline(&self) -> Option<Instant> {
        let text = self.stream.since.map(|since| since + GATHER);
        [text, self.cell.deadline()].into_iter().flatten().min()
    }
}

/// An error as the protocol has it.
#[derive(Debug)]
struct Fault {
    ename: String,
    evalue: String,
    traceback: Vec<String>,
}

impl Fault {
    fn new(ename: &str, evalue: impl Into<String>) -> Self {
        let evalue = evalue.into();
        Self { ename: ename.into(), traceback: vec![headline(ename, &evalue)], evalue }
    }

    fn content(&self) -> Value {
        json!({"ename": self.ename, "evalue": self.evalue, "traceback": self.traceback})
    }
}

const LOST: &str = "Variables are lost; functions, types and imports are still there.";

impl Proxy {
    /// A kernel for the requests of `client`, with the library of the checkout `root`.
    pub fn new(
        client: Client,
        requests: UnboundedReceiver<(Channel, Message)>,
        root: Result<PathBuf>,
    ) -> Self {
        Self {
            client,
            requests,
            root,
            state: State::Moving,
            queue: VecDeque::new(),
            count: 0,
            sources: Sources::new(std::path::Path::new("")),
            parent: Parent::new(),
        }
    }

    /// Serves until the client asks for the end, or is gone.
    pub async fn run(mut self) -> Result<()> {
        self.start(Duration::ZERO);
        self.client.publish(&json!({}), "status", json!({"execution_state": "starting"}));
        let mut signals = Signals::new()?;
        loop {
            self.advance();
            let deadline = match &self.state {
                State::Running(_, running) => running.deadline(),
                _ => None,
            };
            let far = Instant::now() + Duration::from_secs(3600);
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some((channel, message)) => if self.hear_client(channel, message) { return Ok(()) },
                    None => return Ok(()),
                },
                event = next_event(&mut self.state) => self.hear_engine(event),
                () = sleep_until(deadline.unwrap_or(far).into()) => self.pass_time(),
                () = tokio::time::sleep(Duration::from_millis(500)) => if self.parent.is_gone() { return Ok(()) },
                interrupted = signals.next() => match interrupted {
                    true => self.interrupt(),
                    false => return Ok(()),
                },
            }
        }
    }

    /// Starts the engine, in a slot of its own, after a while.
    fn start(&mut self, after: Duration) {
        let root = match &self.root {
            Ok(root) => root.clone(),
            Err(error) => {
                self.state = State::Broken(format!("{error:#}"));
                return;
            }
        };
        self.state = State::Waking(tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let program = dirs::evcxr()?;
            let slot = tokio::task::spawn_blocking(move || Slot::take(&root)).await??;
            let begun = Instant::now();
            let engine = Engine::start(slot, &program).await?;
            eprintln!("igpt kernel: awake after {:.1} s", begun.elapsed().as_secs_f64());
            engine.slot.note_built()?;
            Ok(engine)
        }));
    }

    /// Gives the engine the next request, if it can take one.
    fn advance(&mut self) {
        loop {
            match &self.state {
                State::Idle(_) => {}
                State::Broken(reason) if !self.queue.is_empty() => {
                    // Say why, once for each cell, and try again for the one after.
                    let fault = Fault::new("KernelError", reason.clone());
                    if let Some(request) = self.queue.pop_front() {
                        self.refuse(&request, &fault);
                    }
                    self.start(Duration::ZERO);
                    return;
                }
                _ => return,
            }
            let Some(request) = self.queue.pop_front() else { return };
            self.begin(request);
        }
    }

    /// Takes a request of the client; true if it is the end.
    fn hear_client(&mut self, channel: Channel, request: Message) -> bool {
        match (channel, request.kind()) {
            (Channel::Stdin, "input_reply") => {
                if let State::Running(engine, running) = &mut self.state
                    && let Some(question) = running.question.take()
                {
                    engine.answer(&question, request.content["value"].as_str().unwrap_or_default());
                }
                return false;
            }
            (Channel::Shell, "execute_request") => {
                self.queue.push_back(request);
                return false;
            }
            (Channel::Shell, "complete_request" | "inspect_request")
                if matches!(self.state, State::Idle(_)) && self.queue.is_empty() =>
            {
                if let State::Idle(engine) = std::mem::replace(&mut self.state, State::Moving) {
                    self.busy(&request);
                    let id = engine.ask(request.kind(), request.content.clone());
                    self.state = State::Asked { engine, request: Box::new(request), id };
                }
                return false;
            }
            // Comms, answers nobody waits for, and what a later protocol may bring.
            (_, kind) if !kind.ends_with("_request") => return false,
            _ => {}
        }
        self.busy(&request);
        let end = self.answer(channel, &request);
        self.idle(&request);
        end
    }

    /// Answers what needs no engine; true if it is the end.
    fn answer(&mut self, channel: Channel, request: &Message) -> bool {
        let content = match request.kind() {
            "kernel_info_request" => kernel_info(),
            "shutdown_request" => {
                let content = json!({"status": "ok", "restart": request.content["restart"] == true});
                self.client.publish(&request.header, "shutdown_reply", content.clone());
                self.client.reply(channel, request, content);
                return true;
            }
            "interrupt_request" => {
                self.interrupt();
                json!({"status": "ok"})
            }
            "complete_request" => {
                // The engine is busy.
                let at = request.content["cursor_pos"].clone();
                json!({"status": "ok", "matches": [], "cursor_start": at, "cursor_end": at, "metadata": {}})
            }
            "inspect_request" => json!({"status": "ok", "found": false, "data": {}, "metadata": {}}),
            "is_complete_request" => {
                let code = request.content["code"].as_str().unwrap_or_default();
                json!({"status": if is_open(code) { "incomplete" } else { "complete" }, "indent": "    "})
            }
            "history_request" => json!({"status": "ok", "history": []}),
            "comm_info_request" => json!({"status": "ok", "comms": {}}),
            unknown => {
                let fault = Fault::new("UnknownRequest", format!("this kernel does not know {unknown}"));
                with(json!({"status": "error"}), fault.content())
            }
        };
        self.client.reply(channel, request, content);
        false
    }

    /// Stops the running cell, at the price of its process; without one, what waits.
    fn interrupt(&mut self) {
        match &mut self.state {
            State::Running(engine, running) => {
                running.interrupted = true;
                engine.interrupt();
                // While it waits for an answer the engine does not notice that its process died.
                if let Some(question) = running.question.take() {
                    engine.answer(&question, "");
                }
            }
            State::Waking(_) => {
                if let Some(first) = self.queue.pop_front() {
                    self.refuse(&first, &Fault::new("Interrupted", "interrupted before it started"));
                }
            }
            _ => {}
        }
    }

    /// Sends a person's cell to the engine.
    fn begin(&mut self, request: Message) {
        let State::Idle(engine) = std::mem::replace(&mut self.state, State::Moving) else { return };
        let code = request.content["code"].as_str().unwrap_or_default().to_owned();
        self.busy(&request);
        let silent = request.content["silent"] == true;
        if !silent {
            if request.content["store_history"] != false {
                self.count += 1;
            }
            let input = json!({"code": code, "execution_count": self.count});
            self.client.publish(&request.header, "execute_input", input);
        }
        if code.trim().is_empty() {
            self.state = State::Idle(engine);
            self.finish(&request, self.count, None);
            return;
        }
        self.sources.begin(self.count, &code);
        let sent = engine.execute(shown::with_display(&code).as_deref().unwrap_or(&code));
        let cell = Cell::new(&sent, &code);
        let running = Running {
            request,
            code,
            count: self.count,
            cell,
            stream: Coalescer::default(),
            question: None,
            refused: 0,
            interrupted: false,
        };
        self.state = State::Running(engine, Box::new(running));
    }

    /// Takes what the engine says, or that it is awake.
    fn hear_engine(&mut self, event: Heard) {
        match (event, std::mem::replace(&mut self.state, State::Moving)) {
            (Heard::Awake(Ok(engine)), _) => {
                if self.sources.is_for_another(&engine.slot.cell()) {
                    self.sources = Sources::new(&engine.slot.cell());
                }
                self.state = State::Idle(engine);
            }
            (Heard::Awake(Err(error)), _) => {
                eprintln!("igpt kernel: {error:#}");
                self.state = State::Broken(format!("{error:#}"));
            }
            (Heard::Event(Event::Exited(how)), state) => self.bury(state, &how),
            (Heard::Event(event), State::Running(engine, mut running)) => {
                if let Event::Stdin(question) = &event {
                    self.ask(&engine, &mut running, question);
                }
                for output in running.cell.hear(&event) {
                    self.show(&mut running, output);
                }
                self.state = State::Running(engine, running);
                self.pass_time();
            }
            (Heard::Event(Event::Shell(reply)), State::Asked { engine, request, id }) => {
                if reply.parent_id() == id {
                    self.client.reply(Channel::Shell, &request, reply.content);
                    self.idle(&request);
                    self.state = State::Idle(engine);
                } else {
                    self.state = State::Asked { engine, request, id };
                }
            }
            (_, state) => self.state = state,
        }
    }

    /// The engine is dead: so is the running cell, and a new engine starts.
    fn bury(&mut self, state: State, how: &str) {
        eprintln!("igpt kernel: the engine ended ({how})");
        // The slot is free only when the old engine is dropped.
        match state {
            State::Running(engine, mut running) => {
                drop(engine);
                self.flush(&mut running);
                let text = format!(
                    "the engine that compiles and runs the cells ended ({how}). A new one starts; \
                     everything that earlier cells defined is lost"
                );
                self.fail(&running.request, running.count, &Fault::new("EngineDied", text));
            }
            State::Asked { engine, request, .. } => {
                drop(engine);
                self.answer(Channel::Shell, &request);
                self.idle(&request);
            }
            state => drop(state),
        }
        // What it leaves behind dies within moments, and then its slot is free.
        self.start(Duration::from_millis(200));
    }

    /// Sends on what waited long enough, and ends the cell if all has been said about it.
    fn pass_time(&mut self) {
        let now = Instant::now();
        let (engine, mut running) = match std::mem::replace(&mut self.state, State::Moving) {
            State::Running(engine, running) => (engine, running),
            state => {
                self.state = state;
                return;
            }
        };
        if running.stream.since.is_some_and(|since| since + GATHER <= now) {
            self.flush(&mut running);
        }
        if running.cell.is_over(now) {
            self.judge(engine, *running);
        } else {
            self.state = State::Running(engine, running);
        }
    }

    /// The cell is over: outputs that were held, the verdict, and what the engine needs before the next cell.
    fn judge(&mut self, engine: Engine, mut running: Running) {
        self.sources.end();
        for output in running.cell.last_outputs() {
            self.show(&mut running, output);
        }
        self.flush(&mut running);
        let Running { request, code, count, cell, refused, interrupted, .. } = running;
        let ending = cell.ending();
        let died = matches!(ending, Ending::Died(_));
        let fault = match ending {
            _ if refused > 0 => Some(Fault::new(
                "StdinNotAllowed",
                "the cell asked for input, and this client cannot be asked (allow_stdin is false)",
            )),
            Ending::Ok => None,
            Ending::Failed(failure) => Some(self.explain(&failure)),
            Ending::Engine { evalue, traceback } => Some(compile_fault(&evalue, &traceback, count)),
            Ending::Died(_) if interrupted => {
                Some(Fault::new("Interrupted", format!("the cell was interrupted. {LOST}")))
            }
            Ending::Died(how) => Some(Fault::new(
                "ProcessDied",
                format!("the process that runs the cells ended ({how}{}). {LOST}", explain_signal(&how)),
            )),
        };
        match fault {
            None => self.finish(&request, count, None),
            Some(fault) => self.fail(&request, count, &fault),
        }
        let cleared = code.lines().any(|line| line.trim() == ":clear");
        self.state = match died || cleared {
            false => State::Idle(engine),
            true => State::Waking(tokio::spawn(async move {
                let mut engine = engine;
                if cleared {
                    engine.wake().await?
                } else {
                    engine.revive().await?
                }
                Ok(engine)
            })),
        };
    }

    fn explain(&self, failure: &Failure) -> Fault {
        let Failure { ename, evalue, .. } = failure.clone();
        Fault { ename, evalue, traceback: self.sources.explain(failure) }
    }

    /// A question of the cell goes to the client, if that can be asked.
    fn ask(&self, engine: &Engine, running: &mut Running, question: &Message) {
        if running.request.content["allow_stdin"] == true {
            self.flush(running);
            running.question = Some(question.clone());
            let content = question.content.clone();
            self.client.send(Channel::Stdin, &running.request, "input_request", content);
            return;
        }
        engine.answer(question, "");
        running.refused += 1;
        if running.refused > 1 {
            // It asks until it likes the answer.
            engine.interrupt();
        }
    }

    /// Publishes an output of the running cell.
    fn show(&self, running: &mut Running, output: Output) {
        let (name, text) = match output {
            Output::Stream { name, text } => (name, text),
            Output::CaughtPanic { thread, failure } => {
                let place = self.sources.place(&failure);
                ("stderr".into(), format!("thread '{thread}' panicked at {place}:\n{}\n", failure.evalue))
            }
            Output::Value { data, metadata } => {
                self.flush(running);
                let content = json!({"data": data, "metadata": metadata, "execution_count": running.count});
                self.client.publish(&running.request.header, "execute_result", content);
                return;
            }
        };
        if running.stream.name != name || running.stream.text.len() > GATHER_BYTES {
            self.flush(running);
        }
        running.stream.name = name;
        running.stream.text.push_str(&text);
        running.stream.since.get_or_insert_with(Instant::now);
    }

    fn flush(&self, running: &mut Running) {
        let Coalescer { name, text, since } = std::mem::take(&mut running.stream);
        if since.is_some() {
            self.client.publish(&running.request.header, "stream", json!({"name": name, "text": text}));
        }
    }

    /// An error output, an error reply, and the end of what is queued behind, if the client wants that.
    fn fail(&mut self, request: &Message, count: u64, fault: &Fault) {
        self.client.publish(&request.header, "error", fault.content());
        self.finish(request, count, Some(fault));
        if request.content["stop_on_error"] == false {
            return;
        }
        // What the client has sent meanwhile was queued behind the failing cell, too.
        let mut others = Vec::new();
        while let Ok((channel, message)) = self.requests.try_recv() {
            match (channel, message.kind()) {
                (Channel::Shell, "execute_request") => self.queue.push_back(message),
                _ => others.push((channel, message)),
            }
        }
        for aborted in std::mem::take(&mut self.queue) {
            self.busy(&aborted);
            let content = json!({"status": "aborted", "execution_count": self.count});
            self.client.reply(Channel::Shell, &aborted, content);
            self.idle(&aborted);
        }
        for (channel, message) in others {
            if self.hear_client(channel, message) {
                // The end was asked for: the main loop ends when nobody can ask any more.
                self.requests.close();
            }
        }
    }

    /// Answers a cell that never reached the engine.
    fn refuse(&mut self, request: &Message, fault: &Fault) {
        self.busy(request);
        self.count += 1;
        let input = json!({"code": request.content["code"], "execution_count": self.count});
        self.client.publish(&request.header, "execute_input", input);
        self.fail(request, self.count, fault);
    }

    fn finish(&self, request: &Message, count: u64, fault: Option<&Fault>) {
        let common = json!({"execution_count": count, "user_expressions": {}, "payload": []});
        let content = match fault {
            None => with(json!({"status": "ok"}), common),
            Some(fault) => with(with(json!({"status": "error"}), fault.content()), common),
        };
        self.client.reply(Channel::Shell, request, content);
        self.idle(request);
    }

    fn busy(&self, request: &Message) {
        self.client.publish(&request.header, "status", json!({"execution_state": "busy"}));
    }

    fn idle(&self, request: &Message) {
        self.client.publish(&request.header, "status", json!({"execution_state": "idle"}));
    }
}

/// What comes from the engine's side.
enum Heard {
    Event(Event),
    Awake(Result<Engine>),
}

/// The next news of the engine. Nothing is lost if this is dropped while it waits.
async fn next_event(state: &mut State) -> Heard {
    match state {
        State::Waking(task) => {
            let woken = task.await.context("the engine's start was abandoned");
            Heard::Awake(woken.and_then(|woken| woken))
        }
        State::Idle(engine) | State::Running(engine, _) | State::Asked { engine, .. } => {
            Heard::Event(engine.next().await)
        }
        State::Broken(_) | State::Moving => std::future::pending().await,
    }
}

/// What evcxr says of a cell that does not compile, with our number of the cell in the places.
fn compile_fault(evalue: &str, traceback: &[String], count: u64) -> Fault {
    let mut lines: Vec<String> = Vec::new();
    for line in traceback {
        // What stands behind the person's expression is ours.
        lines.extend(simplify_colours(line).replace(shown::CALL, "").split('\n').map(str::to_owned));
    }
    for index in 0..lines.len() {
        // evcxr's own idea of the line is always 1; the first line that it shows is better.
        let shown = lines[index..].iter().find_map(|line| shown_line(line)).unwrap_or(1);
        lines[index] = rename_cell(&lines[index], count, shown);
    }
    // A message of evcxr itself, about one of its commands for example, comes as it is.
    let ename = if traceback.concat() == evalue { "Error" } else { "CompileError" };
    let evalue: String = styled(evalue).into_iter().map(|(_, text)| text).collect();
    lines.insert(0, headline(ename, &evalue));
    Fault { ename: ename.into(), evalue, traceback: lines }
}

/// Text in pieces of one terminal style each; the style is the escape's parameters, empty for none.
fn styled(text: &str) -> Vec<(String, String)> {
    let mut pieces: Vec<(String, String)> = Vec::new();
    for (index, part) in text.split("\u{1b}[").enumerate() {
        let (style, text) = match index {
            0 => ("", part),
            _ => part.split_once('m').unwrap_or(("", part)),
        };
        // The source's own text is printed in light grey, which cannot be read on white.
        let style = if matches!(style, "0" | "38;5;249") { "" } else { style };
        match pieces.last_mut() {
            _ if text.is_empty() => {}
            Some((last, whole)) if last == style => whole.push_str(text),
            _ => pieces.push((style.to_owned(), text.to_owned())),
        }
    }
    pieces
}

/// The same in fewer escapes: evcxr colours each character by itself.
fn simplify_colours(line: &str) -> String {
    styled(line)
        .into_iter()
        .map(|(style, text)| if style.is_empty() { text } else { format!("\u{1b}[{style}m{text}\u{1b}[0m") })
        .collect()
}

/// `command_5:1:1` becomes `cell [3], line 2`.
fn rename_cell(line: &str, count: u64, shown: u64) -> String {
    let Some((before, rest)) = line.split_once("command_") else { return line.to_owned() };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(rest.len());
    format!("{before}cell [{count}], line {shown}{}", &rest[end..])
}

/// The number before the bar of a line of source: ` 12 │ let …`.
fn shown_line(line: &str) -> Option<u64> {
    let plain: String = styled(line).into_iter().map(|(_, text)| text).collect();
    plain.split_once('│')?.0.trim().parse().ok()
}

/// What the commonest deaths mean.
fn explain_signal(how: &str) -> &'static str {
    for (signal, meaning) in [
        ("signal: 6 ", ": it was aborted, as by a stack overflow, a panic while panicking or `abort`"),
        ("signal: 9 ", ": it was killed, as by a system that is out of memory"),
        ("signal: 11 ", ": it accessed memory that is not its own, as by a stack overflow"),
        ("exit status: ", ": a cell ended it, as with `std::process::exit`"),
    ] {
        if how.starts_with(signal) {
            return meaning;
        }
    }
    ""
}

/// Whether more must follow for the code to be whole; for consoles, which send a line at a time.
fn is_open(code: &str) -> bool {
    let block = format!("{{{code}\n}}");
    let count = |c: char| code.matches(c).count();
    syn::parse_str::<syn::Block>(&block).is_err()
        && (count('{') > count('}') || count('(') > count(')') || count('[') > count(']'))
}

/// All members of two objects.
fn with(mut object: Value, more: Value) -> Value {
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
    object
}

fn kernel_info() -> Value {
    json!({
        "status": "ok",
        "protocol_version": PROTOCOL_VERSION,
        "implementation": "igpt",
        "implementation_version": env!("CARGO_PKG_VERSION"),
        "language_info": {
            "name": "rust",
            "version": env!("CARGO_PKG_RUST_VERSION"),
            "mimetype": "text/x-rustsrc",
            "file_extension": ".rs",
            "pygments_lexer": "rust",
            "codemirror_mode": "rust",
        },
        "banner": format!("Rust by evcxr {}, with igpt {}", dirs::EVCXR_VERSION, env!("CARGO_PKG_VERSION")),
        "debugger": false,
        "help_links": [],
    })
}

/// Signals: true for an interrupt, false for the end.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.interrupt.recv() => true,
            _ = self.terminate.recv() => false,
            _ = self.hang_up.recv() => false,
        }
    }
}

/// The process that launched the kernel. When it is dead nobody will ever ask for anything; a front end that merely
/// disconnected may come back.
#[derive(Debug)]
struct Parent {
    parent: Option<rustix::process::Pid>,
    named: Option<rustix::process::Pid>,
}

impl Parent {
    fn new() -> Self {
        let named = std::env::var("JPY_PARENT_PID").ok().and_then(|pid| pid.parse().ok());
        let named = named.filter(|pid| *pid > 1).and_then(rustix::process::Pid::from_raw);
        Self { parent: rustix::process::getppid(), named }
    }

    fn is_gone(&self) -> bool {
        let gone = |pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH);
        rustix::process::getppid() != self.parent || self.named.is_some_and(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compile_errors_name_our_cell() {
        let red = "\u{1b}[31mE0308\u{1b}[0m\u{1b}[31m:\u{1b}[0m";
        let traceback =
            [format!("{red} mismatched\n   ╭─[ \u{1b}[38;5;249mcommand_7\u{1b}[0m:1:1 ]\n 2 │ let")];
        let fault = compile_fault("\u{1b}[91mmismatched types\u{1b}[0m", &traceback, 3);
        assert_eq!((&*fault.ename, &*fault.evalue), ("CompileError", "mismatched types"));
        assert_eq!(fault.traceback[1], "\u{1b}[31mE0308:\u{1b}[0m mismatched");
        assert!(fault.traceback[2].contains("[ cell [3], line 2 ]"), "{:?}", fault.traceback);
        let fault = compile_fault("unknown command", &["unknown command".into()], 3);
        assert_eq!(fault.ename, "Error");
    }

    #[test]
    fn open_code_is_known() {
        for code in ["fn f() {", "foo(1,", "let a = [1,"] {
            assert!(is_open(code), "{code}");
        }
        for code in ["", "let a = 1;", "fn f() {}", ":dep x", "let = ;", "1 +"] {
            assert!(!is_open(code), "{code}");
        }
    }
}
