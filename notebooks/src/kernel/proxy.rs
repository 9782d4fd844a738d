//! Between the client and evcxr: a queue, one cell at a time, and a verdict for each.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};
use tokio::{sync::mpsc::UnboundedReceiver, task::JoinHandle, time::sleep_until};

use super::{
    answers::{History, end_of_name, is_complete, kernel_info},
    base,
    cargo::instrument::AGAIN,
    cell::{Cell, Ending, Failure, Output, Refusal},
    channels::{Channel, Channels},
    check,
    code::{Loss, commands, split_at_loss},
    evcxr::Evcxr,
    event::Event,
    fault::{Fault, compile_fault, explain_signal},
    items::{Inserted, Items, Plan, cell_of},
    running::Running,
    shown,
    signals::{Parent, Signals},
    starting::{Stage, Starting},
    traceback::Sources,
    variables::{self, Variables},
    wire::Message,
};
use crate::dirs;

/// The kernel.
#[derive(Debug)]
pub struct Proxy {
    channels: Channels,
    requests: UnboundedReceiver<(Channel, Message)>,
    root: Result<PathBuf>,
    state: State,
    queue: VecDeque<Message>,
    count: u64,
    history: History,
    variables: Variables,
    items: Items,
    sources: Sources,
    /// What came of threads whose cells had ended, for the next cell.
    late: Vec<Output>,
    /// The last cell's request, to which what is still late when the kernel ends belongs.
    last: Option<Message>,
    parent: Parent,
}

/// Where evcxr is.
#[derive(Debug)]
enum State {
    /// A task gets it ready: at the start, after the cells' process died, at a `:clear`.
    Starting(JoinHandle<Result<Evcxr>>, Starting, Option<Box<Rest>>),
    /// It waits for a request.
    Idle(Evcxr),
    /// It runs a cell.
    Running(Evcxr, Box<Running>),
    /// A cell is over, and it answers what is asked besides.
    Closing(Evcxr, Box<Closing>),
    /// It answers a question about code (`complete_request`, `inspect_request`).
    Asked { evcxr: Evcxr, request: Box<Message>, id: String },
    /// It is not there, for this reason. The next cell says so and tries again.
    Broken(String),
    /// In between; never seen from outside.
    Moving,
}

/// A cell whose first lines lose something, and what is left of it.
#[derive(Debug)]
struct Rest {
    request: Message,
    code: String,
    count: u64,
    /// What the first lines came to: a fault, or outputs.
    first: Arc<Mutex<Result<Vec<Output>, Vec<Refusal>>>>,
}

/// A cell that is over, while evcxr is asked what belongs to it.
#[derive(Debug)]
struct Closing {
    running: Running,
    ending: Ending,
    /// What is asked now, and evcxr's cell for it.
    now: (FollowUp, Cell),
    left: VecDeque<FollowUp>,
    /// Answers to `user_expressions`.
    expressions: Map<String, Value>,
}

/// What evcxr is asked after a cell has run.
#[derive(Debug)]
enum FollowUp {
    /// Which variables there are.
    Variables,
    /// One of `user_expressions`: name and code.
    Expression(String, String),
}

impl FollowUp {
    /// Those of a request.
    fn expressions(request: &Message) -> VecDeque<Self> {
        let expressions = request.content["user_expressions"].as_object().into_iter().flatten();
        let follow_up = |(name, code): (&String, &Value)| {
            Self::Expression(name.clone(), code.as_str().unwrap_or_default().to_owned())
        };
        expressions.map(follow_up).collect()
    }
}

impl Proxy {
    /// A kernel for the requests that come by `channels`, with the library of the checkout `root`.
    pub fn new(
        channels: Channels,
        requests: UnboundedReceiver<(Channel, Message)>,
        root: Result<PathBuf>,
    ) -> Self {
        Self {
            channels,
            requests,
            root,
            state: State::Moving,
            queue: VecDeque::new(),
            count: 0,
            history: History::default(),
            variables: Variables::default(),
            items: Items::default(),
            late: Vec::new(),
            last: None,
            sources: Sources::new(std::path::Path::new("")),
            parent: Parent::of_this_process(),
        }
    }

    /// Serves until the client asks for the end, or is gone.
    pub async fn run(mut self) -> Result<()> {
        self.start(Duration::ZERO);
        self.channels.publish(&json!({}), "status", json!({"execution_state": "starting"}));
        let mut signals = Signals::new()?;
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        loop {
            self.advance();
            let deadline = match &self.state {
                State::Running(_, running) => running.deadline(),
                State::Closing(_, closing) => closing.now.1.deadline(),
                _ => None,
            };
            let far = Instant::now() + Duration::from_secs(3600);
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some((channel, message)) => if self.handle_request(channel, message) { return Ok(()) },
                    None => return Ok(()),
                },
                event = next_event(&mut self.state) => self.handle_event(event),
                () = sleep_until(deadline.unwrap_or(far).into()) => self.pass_time(),
                _ = ticks.tick() => {
                    if self.parent.is_gone() {
                        return Ok(());
                    }
                    match &mut self.state {
                        State::Starting(_, starting, None) => {
                            if let Some(first) = self.queue.front() {
                                starting.show(&self.channels, first);
                            }
                        }
                        State::Running(evcxr, running) => {
                            evcxr.end_orphans();
                            if running.is_stuck(Instant::now(), evcxr) {
                                let state = std::mem::replace(&mut self.state, State::Moving);
                                self.evcxr_exited(state, "evcxr does not answer any more");
                            }
                        }
                        _ => {}
                    }
                }
                interrupted = signals.next() => match interrupted {
                    true => self.interrupt(),
                    false => return Ok(()),
                },
            }
        }
    }

    /// Starts evcxr, in a slot of its own, after a while.
    fn start(&mut self, after: Duration) {
        let root = match &self.root {
            Ok(root) => root.clone(),
            Err(error) => {
                self.state = State::Broken(format!("{error:#}"));
                return;
            }
        };
        let stage = Stage::default();
        let starting = Starting::new(stage.clone());
        let task = tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let program = dirs::evcxr()?;
            if let Some(missing) = dirs::not_set_up()? {
                bail!("{missing}; then run the cell again. `igpt doctor` says what else is missing");
            }
            #[cfg(target_os = "linux")]
            if let Some(evcxr) = super::spare::take(&root).await {
                return Ok(evcxr);
            }
            let slot = base::slot(root, program.clone(), &stage).await?;
            let begun = Instant::now();
            let evcxr = Evcxr::start(slot, &program).await?;
            eprintln!("igpt kernel: ready after {:.1} s", begun.elapsed().as_secs_f64());
            Ok(evcxr)
        });
        self.state = State::Starting(task, starting, None);
    }

    /// Gives evcxr the next request, if it can take one.
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
    fn handle_request(&mut self, channel: Channel, request: Message) -> bool {
        match (channel, request.kind()) {
            (Channel::Stdin, "input_reply") => {
                if let State::Running(evcxr, running) = &mut self.state {
                    running.answer(evcxr, request.content["value"].as_str().unwrap_or_default());
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
                if let State::Idle(evcxr) = std::mem::replace(&mut self.state, State::Moving) {
                    self.busy(&request);
                    let mut content = request.content.clone();
                    if request.kind() == "inspect_request" {
                        let position = content["cursor_pos"].as_u64().and_then(|at| usize::try_from(at).ok());
                        let code = content["code"].as_str().unwrap_or_default();
                        content["cursor_pos"] = end_of_name(code, position.unwrap_or(0)).into();
                    }
                    let id = evcxr.ask(request.kind(), content);
                    self.state = State::Asked { evcxr, request: Box::new(request), id };
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

    /// Answers what needs no evcxr; true if it is the end.
    fn answer(&mut self, channel: Channel, request: &Message) -> bool {
        let content = match request.kind() {
            "kernel_info_request" => kernel_info(),
            "shutdown_request" => {
                self.publish_late();
                let content = json!({"status": "ok", "restart": request.content["restart"] == true});
                self.channels.publish(&request.header, "shutdown_reply", content.clone());
                self.channels.reply(channel, request, content);
                return true;
            }
            "interrupt_request" => {
                self.interrupt();
                json!({"status": "ok"})
            }
            "complete_request" => {
                // evcxr is busy.
                let at = request.content["cursor_pos"].clone();
                json!({"status": "ok", "matches": [], "cursor_start": at, "cursor_end": at, "metadata": {}})
            }
            "inspect_request" => json!({"status": "ok", "found": false, "data": {}, "metadata": {}}),
            "is_complete_request" => is_complete(request.content["code"].as_str().unwrap_or_default()),
            "history_request" => self.history.answer(&request.content),
            "comm_info_request" => json!({"status": "ok", "comms": {}}),
            unknown => {
                let fault = Fault::new("UnknownRequest", format!("this kernel does not know {unknown}"));
                with(json!({"status": "error"}), fault.content())
            }
        };
        self.channels.reply(channel, request, content);
        false
    }

    /// Stops the running cell, if possible without harm; while evcxr starts, the cell that waits.
    fn interrupt(&mut self) {
        match &mut self.state {
            State::Running(evcxr, running) => running.interrupt(evcxr),
            State::Closing(evcxr, closing) => {
                // Only an expression of the client's runs anything; the cell itself is through.
                match closing.now.0 {
                    FollowUp::Variables => {}
                    FollowUp::Expression(..) if closing.running.is_interrupted() => evcxr.kill_cells(),
                    FollowUp::Expression(..) => _ = evcxr.ask_to_stop(),
                }
                closing.running.note_interrupt();
            }
            // It takes a moment, and forgets everything anyway.
            State::Starting(_, _, Some(_)) => {}
            State::Starting(_, starting, None) => {
                starting.clear(&self.channels);
                if let Some(first) = self.queue.pop_front() {
                    self.refuse(&first, &Fault::new("Interrupted", "interrupted before it started"));
                }
            }
            _ => {}
        }
    }

    /// Takes a user's cell, which is evcxr's next.
    fn begin(&mut self, request: Message) {
        let State::Idle(evcxr) = std::mem::replace(&mut self.state, State::Moving) else { return };
        let code = request.content["code"].as_str().unwrap_or_default().to_owned();
        self.busy(&request);
        self.count(&request, &code);
        self.last = Some(request.clone());
        let count = self.count;
        let Some((loss, first, code)) = split_at_loss(&code) else {
            return self.send(evcxr, request, code, count);
        };
        // The library's part, which may be lost, too, is brought again before anything else of the cell runs.
        let came = Arc::new(Mutex::new(Ok(Vec::new())));
        let rest = Rest { request, code, count, first: came.clone() };
        match loss {
            Loss::Everything => self.forget(),
            Loss::Variables => self.variables = Variables::default(),
        }
        let task = tokio::spawn(async move {
            let mut evcxr = evcxr;
            let (ending, mut cell) = evcxr.command(&first).await?;
            *came.lock().unwrap_or_else(PoisonError::into_inner) = match ending {
                Ending::Refused(errors) => Err(errors),
                _ => Ok(cell.last_outputs()),
            };
            match loss {
                Loss::Everything => evcxr.run_prelude().await?,
                Loss::Variables => evcxr.restart_session().await?,
            }
            Ok(evcxr)
        });
        self.state = State::Starting(task, Starting::new(Stage::default()), Some(Box::new(rest)));
    }

    /// Goes on with a cell whose first lines lost something.
    fn run_rest(&mut self, evcxr: Evcxr, rest: Rest) {
        let Rest { request, code, count, first } = rest;
        let first =
            std::mem::replace(&mut *first.lock().unwrap_or_else(PoisonError::into_inner), Ok(Vec::new()));
        let outputs = match first {
            Err(errors) => {
                self.state = State::Idle(evcxr);
                let fault = compile_fault(&errors, count, &code, Inserted::default());
                return self.fail(&request, count, &fault);
            }
            Ok(outputs) => outputs,
        };
        let mut shown =
            Running::new(request.clone(), code.clone(), count, Plan::default(), Cell::unmarked(""));
        for output in outputs {
            shown.show(&self.channels, output, |_| String::new());
        }
        shown.flush(&self.channels);
        self.send(evcxr, request, code, count);
    }

    /// Sends a cell to evcxr, unless there is nothing to run or it cannot do what it seems to say.
    fn send(&mut self, evcxr: Evcxr, request: Message, code: String, count: u64) {
        let folder = self.root.as_deref().unwrap_or(Path::new("."));
        if let Some(objection) = check::object(&code, folder) {
            self.state = State::Idle(evcxr);
            return self.fail(&request, count, &Fault::of_objection(&objection, &code, count));
        }
        let plan = self.items.plan(cell_of(&request.metadata), &shown::as_sent(&code), false);
        if plan.code.trim().is_empty() {
            let running = Running::new(request, code, count, plan, Cell::unmarked(""));
            let left = FollowUp::expressions(&running.request);
            return self.ask_follow_up(evcxr, running, Ending::Ok, left, Map::new());
        }
        self.sources.begin(count, &code);
        match evcxr.execute_cell(&plan.code, &plan.code) {
            Ok(cell) => {
                let mut running = Running::new(request, code, count, plan, cell);
                for output in std::mem::take(&mut self.late) {
                    running.show(&self.channels, output, |_| String::new());
                }
                self.state = State::Running(evcxr, Box::new(running));
            }
            Err(error) => {
                self.state = State::Idle(evcxr);
                self.fail(&request, count, &Fault::new("KernelError", format!("{error:#}")));
            }
        }
    }

    /// Sends the running cell once more, if it was refused for a reason that is not the user's. Gives it back if not.
    fn send_again(&mut self, evcxr: Evcxr, mut running: Running) -> Option<(Evcxr, Running)> {
        let Ending::Refused(errors) = running.cell.ending() else { return Some((evcxr, running)) };
        let asked_again = errors.iter().any(|error| error.evalue.contains(AGAIN));
        // Other cells may need what this one does not define any more.
        let keep = !running.plan.removed().is_empty();
        if running.sent_again || running.is_interrupted() || !(asked_again || keep) {
            return Some((evcxr, running));
        }
        if !asked_again {
            let id = cell_of(&running.request.metadata);
            let kept = self.items.plan(id, &shown::as_sent(&running.code), true);
            if kept.code == running.plan.code {
                return Some((evcxr, running));
            }
            running.kept = running.plan.removed().to_vec();
            running.plan = kept;
        }
        match evcxr.execute_cell(&running.plan.code, &running.plan.code) {
            Ok(cell) => (running.cell, running.sent_again) = (cell, true),
            Err(_) => return Some((evcxr, running)),
        }
        self.state = State::Running(evcxr, Box::new(running));
        None
    }

    /// Everything that cells have defined is lost.
    fn forget(&mut self) {
        self.variables = Variables::default();
        self.items.clear();
    }

    /// Keeps what evcxr says of a cell that is over: a thread of it goes on.
    fn keep_late_output(&mut self, event: &Event) {
        let Event::Iopub(message) = event else { return };
        if message.kind() == "stream" {
            // A cell that has not begun takes everything for late.
            self.late.extend(Cell::new(message.parent_id(), "", "").handle(event));
            self.late.retain(|output| matches!(output, Output::Late { .. }));
        }
    }

    /// Nobody will run another cell: the last one gets what came late.
    fn publish_late(&mut self) {
        let Some(request) = self.last.take() else { return };
        let mut shown = Running::new(request, String::new(), self.count, Plan::default(), Cell::unmarked(""));
        for output in std::mem::take(&mut self.late) {
            shown.show(&self.channels, output, |_| String::new());
        }
        shown.flush(&self.channels);
    }

    /// Gives a cell its number and tells all clients of it.
    fn count(&mut self, request: &Message, code: &str) {
        if request.content["silent"] == true {
            return;
        }
        // As the protocol has it: what is not stored is not counted.
        if request.content["store_history"] != false {
            self.count += 1;
            self.history.push(self.count, code);
        }
        let input = json!({"code": code, "execution_count": self.count});
        self.channels.publish(&request.header, "execute_input", input);
    }

    /// Takes what evcxr says, or that it is ready.
    fn handle_event(&mut self, event: FromEvcxr) {
        match (event, std::mem::replace(&mut self.state, State::Moving)) {
            (FromEvcxr::Started(started), before) => {
                let mut rest = None;
                if let State::Starting(_, mut starting, left) = before {
                    starting.clear(&self.channels);
                    rest = left;
                }
                match (started, rest) {
                    (Ok(evcxr), rest) => {
                        if self.sources.is_for_another(&evcxr.slot.cell()) {
                            self.sources = Sources::new(&evcxr.slot.cell());
                        }
                        match rest {
                            Some(rest) => self.run_rest(evcxr, *rest),
                            None => self.state = State::Idle(evcxr),
                        }
                    }
                    (Err(error), rest) => {
                        eprintln!("igpt kernel: {error:#}");
                        self.state = State::Broken(format!("{error:#}"));
                        if let Some(Rest { request, count, .. }) = rest.map(|rest| *rest) {
                            self.fail(&request, count, &Fault::new("KernelError", format!("{error:#}")));
                        }
                    }
                }
            }
            (FromEvcxr::Event(Event::Stuck(how) | Event::Exited(how)), state) => {
                self.evcxr_exited(state, &how)
            }
            (FromEvcxr::Event(event), State::Running(evcxr, mut running)) => {
                if let Event::Stdin(question) = &event {
                    running.ask(&evcxr, &self.channels, question);
                }
                for output in running.cell.handle(&event) {
                    running.show(&self.channels, output, |failure| self.sources.place(failure));
                }
                self.state = State::Running(evcxr, running);
                self.pass_time();
            }
            (FromEvcxr::Event(event), State::Closing(evcxr, mut closing)) => {
                if let Event::Stdin(question) = &event {
                    evcxr.answer(question, "");
                }
                let outputs = closing.now.1.handle(&event);
                match closing.now.0 {
                    FollowUp::Variables => self.keep_late_output(&event),
                    FollowUp::Expression(..) => {
                        self.late.extend(
                            outputs.into_iter().filter(|output| matches!(output, Output::Late { .. })),
                        );
                    }
                }
                self.state = State::Closing(evcxr, closing);
                self.pass_time();
            }
            (FromEvcxr::Event(Event::Shell(reply)), State::Asked { evcxr, request, id }) => {
                if reply.parent_id() == id {
                    self.channels.reply(Channel::Shell, &request, reply.content);
                    self.idle(&request);
                    self.state = State::Idle(evcxr);
                } else {
                    self.state = State::Asked { evcxr, request, id };
                }
            }
            (FromEvcxr::Event(event), state) => {
                self.keep_late_output(&event);
                self.state = state;
            }
        }
    }

    /// evcxr has ended: so has the running cell, and evcxr is started again.
    fn evcxr_exited(&mut self, state: State, how: &str) {
        eprintln!("igpt kernel: evcxr ended ({how})");
        self.forget();
        let text = format!(
            "evcxr, which compiles and runs the cells, ended ({how}). It is started again; everything that earlier \
             cells defined is lost"
        );
        // The slot is free only when the old evcxr is dropped.
        match state {
            State::Running(evcxr, mut running) => {
                drop(evcxr);
                running.flush(&self.channels);
                self.fail(&running.request, running.count, &Fault::new("EvcxrDied", text));
            }
            State::Closing(evcxr, closing) => {
                drop(evcxr);
                let Running { request, count, .. } = closing.running;
                self.fail(&request, count, &Fault::new("EvcxrDied", text));
            }
            State::Asked { evcxr, request, .. } => {
                drop(evcxr);
                self.answer(Channel::Shell, &request);
                self.idle(&request);
            }
            state => drop(state),
        }
        // What it leaves behind ends within moments, and then its slot is free.
        self.start(Duration::from_millis(200));
    }

    /// Does what is due, and goes on if all has been said about the cell.
    fn pass_time(&mut self) {
        let now = Instant::now();
        match std::mem::replace(&mut self.state, State::Moving) {
            State::Running(evcxr, mut running) => {
                running.pass_time(now, &evcxr, &self.channels);
                match running.cell.is_over(now) {
                    true => self.cell_ended(evcxr, *running),
                    false => self.state = State::Running(evcxr, running),
                }
            }
            State::Closing(evcxr, closing) => match closing.now.1.is_over(now) {
                true => self.take_follow_up_reply(evcxr, *closing),
                false => self.state = State::Closing(evcxr, closing),
            },
            state => self.state = state,
        }
    }

    /// The cell is over: outputs that were held, the verdict, and what is to be asked besides.
    fn cell_ended(&mut self, evcxr: Evcxr, running: Running) {
        self.sources.end();
        let Some((mut evcxr, mut running)) = self.send_again(evcxr, running) else { return };
        evcxr.note_process(running.cell.process());
        if running.cell.has_begun() {
            evcxr.note_begun();
        }
        let lists_variables = commands(&running.code).any(|command| command == variables::COMMAND);
        for mut output in running.cell.last_outputs() {
            if let (true, Output::Value { data, .. }) = (lists_variables, &mut output) {
                variables::hide_ours(data);
            }
            running.show(&self.channels, output, |failure| self.sources.place(failure));
        }
        let ending = running.cell.ending();
        if matches!(ending, Ending::Ok | Ending::Failed(_)) {
            let plan = std::mem::take(&mut running.plan);
            let kept = (!running.kept.is_empty()).then(|| {
                format!(
                    "note: this cell does not define {} any more; other cells use it, so later ones have it still",
                    running.kept.join(", ")
                )
            });
            let asks = variables::names(&running.code, "stdin") && !running.code.contains("evcxr_input");
            let empty = asks.then(|| NO_INPUT.to_owned());
            for note in plan.note().into_iter().chain(kept).chain(empty) {
                let output = Output::Stream { name: "stderr".into(), text: format!("{note}\n") };
                running.show(&self.channels, output, |_| String::new());
            }
            self.items.commit(plan);
        }
        running.flush(&self.channels);
        let mut left = VecDeque::new();
        if matches!(ending, Ending::Ok | Ending::Failed(_)) {
            left.push_back(FollowUp::Variables);
        }
        if ending == Ending::Ok {
            left.extend(FollowUp::expressions(&running.request));
        }
        self.ask_follow_up(evcxr, running, ending, left, Map::new());
    }

    /// Asks what is next; if there is none, ends the cell.
    fn ask_follow_up(
        &mut self,
        evcxr: Evcxr,
        running: Running,
        ending: Ending,
        mut left: VecDeque<FollowUp>,
        expressions: Map<String, Value>,
    ) {
        let Some(follow_up) = left.pop_front() else {
            self.conclude(evcxr, running, ending, expressions);
            return;
        };
        let asked = match &follow_up {
            FollowUp::Variables => evcxr.execute(variables::COMMAND).map(|id| Cell::unmarked(&id)),
            FollowUp::Expression(_, code) => evcxr.execute_cell(code, &shown::as_sent(code)),
        };
        let cell = match asked {
            Ok(cell) => cell,
            Err(error) => {
                eprintln!("igpt kernel: {error:#}");
                self.conclude(evcxr, running, ending, expressions);
                return;
            }
        };
        let closing = Closing { running, ending, now: (follow_up, cell), left, expressions };
        self.state = State::Closing(evcxr, Box::new(closing));
    }

    fn take_follow_up_reply(&mut self, evcxr: Evcxr, closing: Closing) {
        let Closing { mut running, ending, now: (follow_up, mut cell), left, mut expressions } = closing;
        match (follow_up, cell.ending()) {
            (FollowUp::Variables, Ending::Ok) => {
                let now = cell.text_values().next().map(Variables::parse).unwrap_or_default();
                running.lost = self.variables.lost_since(&now);
                if matches!(ending, Ending::Ok | Ending::Failed(_)) {
                    for note in self.variables.notes_on(&now, &running.code) {
                        let output = Output::Stream { name: "stderr".into(), text: format!("{note}\n") };
                        running.show(&self.channels, output, |_| String::new());
                    }
                    running.flush(&self.channels);
                }
                self.variables = now;
            }
            (FollowUp::Expression(name, _), Ending::Ok) => {
                let value = cell.last_outputs().into_iter().find_map(|output| match output {
                    Output::Value { data, metadata } => Some((data, metadata)),
                    _ => None,
                });
                let (data, metadata) = value.unwrap_or((json!({}), json!({})));
                expressions.insert(name, json!({"status": "ok", "data": data, "metadata": metadata}));
            }
            (FollowUp::Expression(name, _), ending) => {
                let fault = self.fault_of(&ending, running.count, "", Inserted::default());
                expressions.insert(name, with(json!({"status": "error"}), fault.content()));
                if matches!(ending, Ending::Died(_)) {
                    return self.conclude(evcxr, running, ending, expressions);
                }
            }
            (FollowUp::Variables, _) => {}
        }
        self.ask_follow_up(evcxr, running, ending, left, expressions);
    }

    /// The end of the cell: its reply, and what evcxr needs before the next one.
    fn conclude(&mut self, evcxr: Evcxr, running: Running, ending: Ending, expressions: Map<String, Value>) {
        const REFUSED: &str =
            "the cell asked for input, and this client cannot be asked (allow_stdin is false)";
        // A kill that came too late for the cell hit the process while it was idle.
        let died = matches!(ending, Ending::Died(_) | Ending::Unseen) || running.was_killed();
        if ending == Ending::Unseen {
            // Nothing that its process says can be relied on.
            evcxr.kill_cells();
        }
        let fault = match &ending {
            _ if running.was_refused() => Some(Fault::new("StdinNotAllowed", REFUSED)),
            Ending::Ok => None,
            Ending::Died(_) if running.closed => {
                Some(Fault::new("ProcessDied", format!("{CLOSED}{}", self.variables.lost())))
            }
            ending if running.is_interrupted() => Some(self.interruption(ending, &running)),
            ending => Some(self.fault_of(ending, running.count, &running.code, running.plan.inserted)),
        };
        let interrupted = running.is_interrupted();
        if let Ending::Refused(errors) = &ending
            && (interrupted || errors.iter().any(Refusal::is_message))
            && let Err(error) = evcxr.slot.forget_partial_builds()
        {
            eprintln!("igpt kernel: {error:#}");
        }
        let Running { request, count, .. } = running;
        match fault {
            None => {
                // It was through already, but whoever interrupts does not want the next one, either.
                let behind = interrupted.then(|| self.take_queue());
                self.finish(&request, count, None, expressions);
                if let Some(behind) = behind {
                    self.abort(behind);
                }
            }
            Some(fault) => self.fail(&request, count, &fault),
        }
        if died {
            self.variables = Variables::default();
        }
        self.state = match died {
            false => State::Idle(evcxr),
            true => {
                let task = tokio::spawn(async move {
                    let mut evcxr = evcxr;
                    evcxr.restart_session().await?;
                    Ok(evcxr)
                });
                State::Starting(task, Starting::new(Stage::default()), None)
            }
        };
    }

    /// What is said of a cell that failed.
    fn fault_of(&self, ending: &Ending, count: u64, code: &str, inserted: Inserted) -> Fault {
        match ending {
            Ending::Ok => Fault::new("Error", "it ended well"),
            Ending::Failed(failure) => self.explain(failure),
            Ending::Refused(errors) => compile_fault(errors, count, code, inserted),
            Ending::Unseen => Fault::new("EndNotSeen", format!("{UNSEEN}{}", self.variables.lost())),
            Ending::Died(how) => {
                let (meaning, lost) = (explain_signal(how), self.variables.lost());
                let text = format!("the process that runs the cells ended ({how}{meaning}). {lost}");
                Fault::new("ProcessDied", text)
            }
        }
    }

    /// What is said of a cell that somebody interrupted.
    fn interruption(&self, ending: &Ending, running: &Running) -> Fault {
        let text = match ending {
            Ending::Died(_) => {
                let lost = self.variables.lost();
                format!(
                    "the cell did not end by itself when it was interrupted, so its process was ended. {lost}"
                )
            }
            Ending::Failed(failure) if running.lost.is_empty() => {
                format!("{}. Variables of earlier cells are still there.", failure.evalue)
            }
            Ending::Failed(failure) => format!(
                "{}. Variables of earlier cells are still there, but for what this cell used up: {}.",
                failure.evalue,
                running.lost.join(", ")
            ),
            _ => "the cell was interrupted while it was compiled. Nothing of it has run.".into(),
        };
        Fault::new("Interrupted", text)
    }

    fn explain(&self, failure: &Failure) -> Fault {
        let Failure { ename, evalue, .. } = failure.clone();
        Fault { ename, evalue, traceback: self.sources.explain(failure) }
    }

    /// An error output, an error reply, and the end of what is queued behind, if the client wants that.
    fn fail(&mut self, request: &Message, count: u64, fault: &Fault) {
        let behind = (request.content["stop_on_error"] != false).then(|| self.take_queue());
        self.channels.publish(&request.header, "error", fault.content());
        self.finish(request, count, Some(fault), Map::new());
        if let Some(behind) = behind {
            self.abort(behind);
        }
    }

    /// What the client has sent so far was queued behind the cell that ends now: cells, and other requests. To be asked
    /// before the cell's reply goes out: what comes after that is from somebody who knows how it ended.
    fn take_queue(&mut self) -> (VecDeque<Message>, Vec<(Channel, Message)>) {
        let mut others = Vec::new();
        while let Ok((channel, message)) = self.requests.try_recv() {
            match (channel, message.kind()) {
                (Channel::Shell, "execute_request") => self.queue.push_back(message),
                _ => others.push((channel, message)),
            }
        }
        (std::mem::take(&mut self.queue), others)
    }

    /// Ends cells that were queued behind one that failed or was interrupted.
    fn abort(&mut self, (cells, others): (VecDeque<Message>, Vec<(Channel, Message)>)) {
        for aborted in cells {
            self.busy(&aborted);
            // Without a count: it never ran, and clients number what has one.
            self.channels.reply(Channel::Shell, &aborted, json!({"status": "aborted"}));
            self.idle(&aborted);
        }
        for (channel, message) in others {
            if self.handle_request(channel, message) {
                // The end was asked for: the main loop ends when nobody can ask any more.
                self.requests.close();
            }
        }
    }

    /// Answers a cell that never reached evcxr.
    fn refuse(&mut self, request: &Message, fault: &Fault) {
        self.busy(request);
        self.count(request, request.content["code"].as_str().unwrap_or_default());
        self.fail(request, self.count, fault);
    }

    fn finish(&self, request: &Message, count: u64, fault: Option<&Fault>, expressions: Map<String, Value>) {
        let common = json!({"execution_count": count, "user_expressions": expressions, "payload": []});
        let content = match fault {
            None => with(json!({"status": "ok"}), common),
            Some(fault) => with(with(json!({"status": "error"}), fault.content()), common),
        };
        self.channels.reply(Channel::Shell, request, content);
        self.idle(request);
    }

    fn busy(&self, request: &Message) {
        self.channels.publish(&request.header, "status", json!({"execution_state": "busy"}));
    }

    fn idle(&self, request: &Message) {
        self.channels.publish(&request.header, "status", json!({"execution_state": "idle"}));
    }
}

/// What comes from evcxr's side.
enum FromEvcxr {
    Event(Event),
    Started(Result<Evcxr>),
}

/// The next news of evcxr. Nothing is lost if this is dropped while it waits.
async fn next_event(state: &mut State) -> FromEvcxr {
    match state {
        State::Starting(task, ..) => {
            let started = task.await.context("the start of evcxr was given up");
            FromEvcxr::Started(started.and_then(|started| started))
        }
        State::Idle(evcxr)
        | State::Running(evcxr, _)
        | State::Closing(evcxr, _)
        | State::Asked { evcxr, .. } => FromEvcxr::Event(evcxr.next().await),
        State::Broken(_) | State::Moving => std::future::pending().await,
    }
}

const CLOSED: &str =
    "the cell closed or redirected its standard output, by which its end is told, so its process was ended. ";
const UNSEEN: &str = "evcxr says that the cell was run, but the cell itself has not said how it ended, so it counts as failed. Does it \
                      close or redirect its standard output? Its process was ended. ";
const NO_INPUT: &str = "note: the standard input of a cell is empty; where a user can answer, `:dep evcxr_input` and \
                        `evcxr_input::get_string(\"Name?\")` ask";

/// All members of two objects.
fn with(mut object: Value, more: Value) -> Value {
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
    object
}
