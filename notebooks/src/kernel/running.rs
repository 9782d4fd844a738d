//! A user's cell while evcxr runs it: its outputs on their way to the client, its questions, its interruption.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    cell::{Cell, Output},
    channels::{Channel, Channels},
    evcxr::Evcxr,
    items::Plan,
    wire::Message,
};

/// A user's cell while evcxr runs it.
#[derive(Debug)]
pub struct Running {
    /// The client's request.
    pub request: Message,
    /// The code as the user wrote it.
    pub code: String,
    /// Its number.
    pub count: u64,
    /// How it was sent to evcxr.
    pub plan: Plan,
    /// What it does not define any more, but others use.
    pub kept: Vec<String>,
    /// Whether it was sent before, in another way.
    pub sent_again: bool,
    /// What evcxr said of it so far.
    pub cell: Cell,
    /// Text of earlier cells was shown.
    late: bool,
    /// It has no stdout any more, so its process was ended.
    pub closed: bool,
    /// Processor time that evcxr had used when it was last seen to work, and when that was.
    worked: Option<(u64, Instant)>,
    stream: Coalescer,
    /// evcxr's question that the client has not answered yet.
    question: Option<Message>,
    /// How often the cell asked a client that cannot be asked.
    refused: u32,
    stop: Option<Stop>,
    /// Bytes of what is displayed, by its name.
    displayed: HashMap<String, usize>,
    /// Variables of earlier cells that it used up.
    pub lost: Vec<String>,
}

/// Text of one stream that is about to be published.
#[derive(Debug, Default)]
struct Coalescer {
    name: String,
    text: String,
    since: Option<Instant>,
}

/// An interrupt that is under way.
#[derive(Debug)]
struct Stop {
    /// Since when.
    since: Instant,
    /// When the cell's process was asked.
    asked: Option<Instant>,
    /// When to look again.
    next: Option<Instant>,
    killed: bool,
}

/// How long text may wait for more.
const GATHER: Duration = Duration::from_millis(30);
const GATHER_BYTES: usize = 32 * 1024;
/// How long a cell may take until it stops by itself, with its variables alive. Who does not want to wait asks twice.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often compilers are looked for: evcxr may start another one.
const LOOK: Duration = Duration::from_millis(150);
/// How long a process may live without a stdout: the end of most is seen a moment later.
const CLOSED: Duration = Duration::from_millis(1500);
/// How long evcxr may do nothing at all although it is its turn, or go on compiling what was interrupted.
const SILENCE: Duration = Duration::from_secs(20);
/// What one display, and all of a cell, may hold: a notebook is no place for more.
const LARGEST_DISPLAY: usize = 16 << 20;
const ALL_DISPLAYS: usize = 512 << 20;

impl Stop {
    fn now() -> Self {
        Self { since: Instant::now(), asked: None, next: None, killed: false }
    }
}

impl Running {
    /// A cell that was just sent to evcxr.
    pub fn new(request: Message, code: String, count: u64, plan: Plan, cell: Cell) -> Self {
        Self {
            request,
            code,
            count,
            plan,
            kept: Vec::new(),
            sent_again: false,
            cell,
            late: false,
            closed: false,
            worked: None,
            stream: Coalescer::default(),
            question: None,
            refused: 0,
            stop: None,
            displayed: HashMap::new(),
            lost: Vec::new(),
        }
    }

    /// Whether the client wants to see nothing but text.
    pub fn is_silent(&self) -> bool {
        self.request.content["silent"] == true
    }

    /// Somebody wants it to stop, but it is through.
    pub fn note_interrupt(&mut self) {
        self.stop.get_or_insert_with(Stop::now);
    }

    /// Whether its process was killed.
    pub fn was_killed(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.killed)
    }

    /// Whether somebody wanted it to stop.
    pub fn is_interrupted(&self) -> bool {
        self.stop.is_some()
    }

    /// Whether it asked for input that it could not get.
    pub fn was_refused(&self) -> bool {
        self.refused > 0
    }

    /// When to look at it although nothing was heard.
    pub fn deadline(&self) -> Option<Instant> {
        let text = self.stream.since.map(|since| since + GATHER);
        let stop = self.stop.as_ref().and_then(|stop| stop.next);
        let closed = self.cell.closed().filter(|_| !self.closed).map(|closed| closed + CLOSED);
        [text, stop, closed, self.cell.deadline()].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn pass_time(&mut self, now: Instant, evcxr: &Evcxr, channels: &Channels) {
        if self.stream.since.is_some_and(|since| since + GATHER <= now) {
            self.flush(channels);
        }
        if !self.closed && self.cell.closed().is_some_and(|closed| closed + CLOSED <= now) {
            self.closed = true;
            if !evcxr.cells_have_ended() {
                evcxr.kill_cells();
            }
        }
        if self.stop.as_ref().and_then(|stop| stop.next).is_some_and(|next| next <= now) {
            self.stop(now, evcxr);
        }
    }

    /// Somebody wants it to stop; whoever wants it twice, wants it at any price.
    pub fn interrupt(&mut self, evcxr: &Evcxr) {
        let now = Instant::now();
        match &mut self.stop {
            None => {
                self.stop = Some(Stop::now());
                self.stop(now, evcxr);
            }
            // Nothing of it runs: then a kill would cost variables for nothing.
            Some(_) if self.cell.has_ended() => {}
            Some(_) if !self.cell.has_begun() && self.question.is_none() => self.stop(now, evcxr),
            Some(stop) => {
                (stop.killed, stop.next) = (true, None);
                evcxr.kill_cells();
            }
        }
    }

    fn stop(&mut self, now: Instant, evcxr: &Evcxr) {
        let Some(stop) = &mut self.stop else { return };
        stop.next = None;
        if stop.killed || self.cell.has_ended() {
            return;
        }
        // Code that waits for an answer polls nothing, and evcxr does not notice then that its process has exited.
        if let Some(question) = self.question.take() {
            stop.killed = true;
            evcxr.kill_cells();
            evcxr.answer(&question, "");
            return;
        }
        if !self.cell.has_begun() {
            evcxr.stop_compiling();
            stop.next = Some(now + LOOK);
            return;
        }
        match stop.asked {
            None if evcxr.ask_to_stop() => {
                stop.asked = Some(now);
                stop.next = Some(now + PATIENCE);
            }
            // It stops, but has something to write first.
            Some(_) if self.cell.is_stopping() => {}
            _ => {
                stop.killed = true;
                evcxr.kill_cells();
            }
        }
    }

    /// Whether evcxr will never answer: it is its turn, and it does not work.
    pub fn is_stuck(&mut self, now: Instant, evcxr: &Evcxr) -> bool {
        // What still runs may take its time; so may a user. An interrupt is seen to be answered.
        let interrupted = self.stop.as_ref().is_some_and(|stop| stop.since + SILENCE < now);
        let its_turn = !self.cell.has_begun() || self.cell.has_ended() || evcxr.cells_have_ended();
        if self.question.is_some() || !its_turn {
            self.worked = None;
            return false;
        }
        if interrupted {
            return true;
        }
        let ticks = evcxr.ticks();
        match self.worked {
            Some((before, since)) if before == ticks && !evcxr.compiles() => now - since > SILENCE,
            _ => {
                self.worked = Some((ticks, now));
                false
            }
        }
    }

    /// A question of the cell goes to the client, if that can be asked.
    pub fn ask(&mut self, evcxr: &Evcxr, channels: &Channels, question: &Message) {
        if self.request.content["allow_stdin"] == true {
            self.flush(channels);
            self.question = Some(question.clone());
            channels.send(Channel::Stdin, &self.request, "input_request", question.content.clone());
            return;
        }
        evcxr.answer(question, "");
        self.refused += 1;
        if self.refused > 1 {
            // It asks until it likes the answer.
            evcxr.kill_cells();
        }
    }

    /// The client's answer.
    pub fn answer(&mut self, evcxr: &Evcxr, value: &str) {
        if let Some(question) = self.question.take() {
            evcxr.answer(&question, value);
        }
    }

    /// Publishes an output. `place` says where a panic happened.
    pub fn show(
        &mut self,
        channels: &Channels,
        output: Output,
        place: impl Fn(&super::cell::Failure) -> String,
    ) {
        let (name, text) = match output {
            Output::Stream { name, text } => (name, text),
            Output::CaughtPanic { thread, failure } => {
                let text =
                    format!("thread '{thread}' panicked at {}:\n{}\n", place(&failure), failure.evalue);
                ("stderr".into(), text)
            }
            Output::Late { name, mut text } => {
                if !text.ends_with('\n') {
                    text.push('\n');
                }
                let head = if self.late {
                    ""
                } else {
                    "[printed by a thread of an earlier cell, after that cell's end]\n"
                };
                self.late = true;
                (name, format!("{head}{text}"))
            }
            Output::Value { data, metadata } => {
                let content = json!({"data": data, "metadata": metadata, "execution_count": self.count});
                return self.publish(channels, "execute_result", content);
            }
            Output::Display { id, update, data } => {
                let size = data.to_string().len();
                self.displayed.insert(id.clone(), size);
                let all: usize = self.displayed.values().sum();
                let data = match size > LARGEST_DISPLAY || all > ALL_DISPLAYS {
                    true => json!({"text/plain": format!("[{:.0} MB, too much to show]", size as f64 / 1e6)}),
                    false => data,
                };
                let kind = if update { "update_display_data" } else { "display_data" };
                let content = json!({"data": data, "metadata": {}, "transient": {"display_id": id}});
                return self.publish(channels, kind, content);
            }
            Output::Clear => {
                self.displayed.clear();
                return self.publish(channels, "clear_output", json!({"wait": false}));
            }
        };
        if self.stream.name != name || self.stream.text.len() > GATHER_BYTES {
            self.flush(channels);
        }
        self.stream.name = name;
        self.stream.text.push_str(&text);
        self.stream.since.get_or_insert_with(Instant::now);
    }

    fn publish(&mut self, channels: &Channels, kind: &str, content: Value) {
        self.flush(channels);
        if !self.is_silent() {
            channels.publish(&self.request.header, kind, content);
        }
    }

    /// Publishes text that waits for more.
    pub fn flush(&mut self, channels: &Channels) {
        let Coalescer { name, text, since } = std::mem::take(&mut self.stream);
        if since.is_some() {
            channels.publish(&self.request.header, "stream", json!({"name": name, "text": text}));
        }
    }
}
