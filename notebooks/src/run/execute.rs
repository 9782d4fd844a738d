//! Runs the code cells of one notebook through a connected client.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    sync::watch,
    time::{sleep_until, timeout},
};

use super::{
    areas::OutputAreas,
    client::{Channel, Client, Event},
    expected::{END_NOT_SEEN, ErrorKind, Expected, KERNEL_ERROR},
    message::Message,
    notebook::{CodeCell, Notebook, SKIPPED},
    outcome::{Cause, CellRun, CellStatus, Failure},
    output::OutputArea,
    place,
    secrets::Secrets,
    settings::Settings,
    text::{headline, only_line, strip_ansi},
    turns::Turns,
};

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the request to the begin of a cell: a kernel may start, and build what changed, while cells wait.
    pub start: Duration,
    /// One cell that has no limit of its own.
    pub cell: CellLimit,
    /// A cell that was told to stop.
    pub interrupted: Duration,
    /// From the reply to `idle`, or from `idle` to the reply.
    pub reply_and_idle: Duration,
    /// All cells together, if they have a limit: how long, counted from the kernel's start, and until when.
    pub notebook: Option<(Duration, Instant)>,
    /// How many bytes of each cell's output are kept.
    pub output: usize,
    /// How many bytes of all cells' outputs together are kept.
    pub outputs: usize,
}

/// How long a cell may take.
#[derive(Debug, Clone, Copy)]
pub enum CellLimit {
    /// So long, from its begin.
    Whole(Duration),
    /// So long without progress, which is a change of what it displays: a training that goes on may take days, and one that
    /// hangs is ended.
    WithoutProgress(Duration),
}

impl CellLimit {
    fn time(self) -> Duration {
        match self {
            Self::Whole(time) | Self::WithoutProgress(time) => time,
        }
    }
}

impl Limits {
    /// The usual limits with this one for each cell.
    pub fn per_cell(cell: CellLimit) -> Self {
        let start = Duration::from_secs(20 * 60);
        let (interrupted, reply_and_idle) = (Duration::from_secs(20), Duration::from_secs(10));
        let (output, outputs) = (usize::MAX, usize::MAX);
        Self { start, cell, interrupted, reply_and_idle, notebook: None, output, outputs }
    }
}

/// How the run of the cells ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Every cell ran well.
    Finished,
    /// The cell with this number failed.
    Failed(usize, Failure),
    /// Somebody stopped the run.
    Stopped,
}

/// How long a cell waits for other notebooks without a word.
const PATIENCE: Duration = Duration::from_secs(2);

/// What an observer hears.
#[derive(Debug)]
pub enum News<'a> {
    /// The running cell shows this line, in the place of the one before.
    Status(&'a str),
    /// A cell is through; the notebook as far as it ran.
    Through(&'a CellRun, &'a Notebook),
}

/// Told how a run goes.
pub type Observer<'a> = dyn FnMut(News<'_>) + Send + 'a;

/// Executes the cells in order until one fails, and says how long they waited for other notebooks. `notebook` holds the new outputs
/// afterwards, whatever happened.
pub async fn execute(
    client: &mut Client,
    notebook: &mut Notebook,
    limits: Limits,
    secrets: &Secrets,
    turns: &Turns<'_>,
    stop: &mut watch::Receiver<bool>,
    observer: &mut Observer<'_>,
) -> (Vec<CellRun>, End, Duration) {
    let cells = notebook.code_cells();
    notebook.clear_outputs();
    let mut session = Session {
        client,
        limits,
        secrets,
        turns,
        observer,
        requests: HashMap::new(),
        areas: OutputAreas::new(limits.outputs),
        begun: None,
        waited: Duration::ZERO,
    };
    let mut runs = Vec::new();
    let mut end = End::Finished;
    for cell in &cells {
        let shown = cell.masked(secrets);
        if end != End::Finished || *stop.borrow() {
            if end == End::Finished {
                end = End::Stopped;
            }
            runs.push(CellRun::untouched(shown, CellStatus::NotRun));
            continue;
        }
        if cell.has_tag(SKIPPED) {
            let run = CellRun::untouched(shown, CellStatus::Skipped);
            (session.observer)(News::Through(&run, notebook));
            runs.push(run);
            continue;
        }
        let begun = Instant::now();
        let free = async {
            let until_free = turns.free();
            tokio::pin!(until_free);
            if timeout(PATIENCE, &mut until_free).await.is_err() {
                (session.observer)(News::Status("waits until another notebook's computation ends"));
                until_free.await;
            }
        };
        tokio::select! {
            () = free => {}
            () = stopped(stop) => {}
        }
        if *stop.borrow() {
            end = End::Stopped;
            runs.push(CellRun::untouched(shown, CellStatus::NotRun));
            continue;
        }
        session.extend(begun.elapsed());
        let started = Instant::now();
        let ending = session.run(cell, stop).await;
        session.save_into(notebook);
        let status = match ending {
            Ending::Fine => CellStatus::Passed,
            Ending::Failed(why) => {
                end = End::Failed(cell.number, why.clone());
                CellStatus::Failed(why)
            }
            Ending::Stopped => {
                end = End::Stopped;
                CellStatus::NotRun
            }
        };
        let seconds = session.begun.unwrap_or(started).elapsed().as_secs_f64();
        let left_out = session.areas.get(cell.position).and_then(OutputArea::left_out);
        let error_line = session.areas.get(cell.position).and_then(|area| {
            let errors: Vec<_> = area.errors().cloned().collect();
            place::line_of_error(&errors, area.execution_count)
        });
        let run = CellRun { cell: shown, seconds, left_out, error_line, status };
        (session.observer)(News::Through(&run, notebook));
        runs.push(run);
        // A cell that looked fine may turn out bad when its error comes after its `idle`.
        if end == End::Finished
            && let Some((number, why)) = session.late_error(&cells)
        {
            if let Some(run) = runs.iter_mut().find(|run| run.cell.number == number) {
                run.status = CellStatus::Failed(why.clone());
            }
            end = End::Failed(number, why);
        }
    }
    (runs, end, session.waited)
}

enum Ending {
    Fine,
    Failed(Failure),
    Stopped,
}

/// Waits until somebody stops the run; for ever where nobody can.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending().await
    }
}

/// Why waiting for a cell ended.
enum Waited {
    /// Reply and `idle` are in; the reply's content.
    Replied(serde_json::Value),
    TimedOut {
        limit: Limit,
        answered: bool,
    },
    Broken {
        cause: Cause,
        ename: &'static str,
        why: String,
    },
    Stopped,
}

/// The limit that a cell ran into.
#[derive(Debug, Clone, Copy)]
enum Limit {
    /// Its own.
    Cell(CellLimit),
    /// That of the notebook.
    Notebook(Duration),
    /// It never began.
    Start(Duration),
}

impl Limit {
    fn in_words(self) -> String {
        match self {
            Self::Cell(CellLimit::Whole(limit)) => format!("the cell did not end within {}", seconds(limit)),
            Self::Cell(CellLimit::WithoutProgress(limit)) => {
                format!("the cell did not end, and showed no progress for {}", seconds(limit))
            }
            Self::Notebook(limit) => {
                format!("the notebook did not end within {}, its kernel's start included", seconds(limit))
            }
            Self::Start(limit) => format!("the kernel did not begin with the cell within {}", seconds(limit)),
        }
    }
}

struct Session<'a, 'b> {
    client: &'a mut Client,
    limits: Limits,
    secrets: &'a Secrets,
    turns: &'a Turns<'a>,
    observer: &'a mut Observer<'b>,
    /// Position of the cell that made each request.
    requests: HashMap<String, usize>,
    /// Outputs by position of the cell.
    areas: OutputAreas,
    /// When the kernel began with the current cell.
    begun: Option<Instant>,
    /// How long cells waited for other notebooks.
    waited: Duration,
}

impl Session<'_, '_> {
    /// What a notebook waits for the others does not count.
    fn extend(&mut self, waited: Duration) {
        if let Some((_, until)) = &mut self.limits.notebook {
            *until += waited;
        }
        self.waited += waited;
    }

    async fn run(&mut self, cell: &CodeCell, stop: &mut watch::Receiver<bool>) -> Ending {
        let Settings { expected, timeout: own_timeout, output_limit, .. } = match Settings::of(cell) {
            Ok(settings) => settings,
            Err(error) => return Ending::Failed(Failure::new(Cause::Notebook, format!("{error:#}"))),
        };
        self.areas.begin(cell.position, output_limit.unwrap_or(self.limits.output));
        self.begun = None;
        let limit_of_cell = own_timeout.map_or(self.limits.cell, CellLimit::Whole);
        if let Some((limit, until)) = self.limits.notebook
            && until <= Instant::now()
        {
            let why = format!("{}; the cell was not started", Limit::Notebook(limit).in_words());
            return broken(self.areas.of(cell.position), Cause::TimeLimit, "NotebookTimeoutError", why);
        }
        let sent = self.client.execute(&cell.source, cell.id.as_deref(), !expected.raises()).await;
        let waited = match sent {
            Ok(id) => {
                self.requests.insert(id.clone(), cell.position);
                self.wait(&id, limit_of_cell, stop).await
            }
            // A kernel that has exited shows as a failed send first; its exit is the better explanation.
            Err(error) => match timeout(Duration::from_secs(1), self.exit()).await {
                Ok(how) => exited(how),
                Err(_) => Waited::Broken {
                    cause: Cause::Infrastructure,
                    ename: "KernelConnectionError",
                    why: format!("{error:#}"),
                },
            },
        };
        let area = self.areas.of(cell.position);
        match waited {
            Waited::Stopped => Ending::Stopped,
            Waited::Broken { cause, ename, why } => broken(area, cause, ename, why),
            Waited::TimedOut { limit, answered } => {
                let then = if answered { "it was interrupted" } else { "it ignored the interrupt" };
                area.forget_interrupt();
                let ename = match limit {
                    Limit::Cell(_) | Limit::Start(_) => "CellTimeoutError",
                    Limit::Notebook(_) => "NotebookTimeoutError",
                };
                broken(area, Cause::TimeLimit, ename, format!("{}; {then}", limit.in_words()))
            }
            Waited::Replied(mut reply) => {
                self.secrets.mask_value(&mut reply);
                let status = reply["status"].as_str().unwrap_or("missing");
                if status == "error" && area.errors().next().is_none() {
                    // The error is in the reply only: show it where a reader looks.
                    area.push_error(&reply);
                }
                if status == "aborted" {
                    let why = "the kernel aborted the cell without running it".into();
                    return broken(area, Cause::Infrastructure, "CellAborted", why);
                }
                if status != "ok" && status != "error" {
                    let why = format!("the kernel's reply has the status {status:?}");
                    return broken(area, Cause::Infrastructure, "ProtocolError", why);
                }
                let errors: Vec<_> = area.errors().collect();
                if !errors.is_empty() {
                    let unexpected = expected.unexpected(&errors);
                    return match unexpected.is_empty() {
                        true => Ending::Fine,
                        false => Ending::Failed(expected.explain(describe(&unexpected))),
                    };
                }
                if let Some(failure) = expected.nothing_raised() {
                    return Ending::Failed(failure);
                }
                match area.error_value() {
                    Some(value) if !cell.has_tag("allow-error-value") => Ending::Failed(Failure {
                        cause: Cause::Cell,
                        headline: headline(value, 300),
                        text: format!(
                            "the cell's value is an error (tag the cell `allow-error-value` if that is meant):\n{value}"
                        ),
                    }),
                    _ => Ending::Fine,
                }
            }
        }
    }

    async fn wait(&mut self, id: &str, of_cell: CellLimit, stop: &mut watch::Receiver<bool>) -> Waited {
        let (mut reply, mut idle) = (None, false);
        // The nearer of the cell's own limit and the notebook's.
        let notebook = self.limits.notebook;
        let nearer = |limit: Limit, deadline: Instant| match notebook {
            Some((notebook, until)) if until < deadline => (Limit::Notebook(notebook), until),
            _ => (limit, deadline),
        };
        let from_now = || nearer(Limit::Cell(of_cell), Instant::now() + of_cell.time());
        let start = self.limits.start + of_cell.time();
        let (mut limit, mut deadline) = nearer(Limit::Start(start), Instant::now() + start);
        let (mut interrupted, mut half_done) = (false, false);
        loop {
            if idle && let Some(reply) = reply.take() {
                return if interrupted {
                    Waited::TimedOut { limit, answered: true }
                } else {
                    Waited::Replied(reply)
                };
            }
            if (idle || reply.is_some()) && !half_done {
                half_done = true;
                deadline = Instant::now() + self.limits.reply_and_idle;
            }
            tokio::select! {
                event = self.client.next() => match event {
                    Event::Message(channel, message) => {
                        let ours = message.parent.as_deref() == Some(id);
                        match channel {
                            Channel::Shell if ours && message.kind == "execute_reply" => {
                                let count = message.content["execution_count"].as_i64();
                                if let Some(position) = self.requests.get(id) {
                                    let area = self.areas.of(*position);
                                    area.execution_count = count.or(area.execution_count);
                                }
                                reply = Some(message.content);
                            }
                            Channel::Iopub if ours && is_state(&message, "idle") => idle = true,
                            Channel::Iopub if ours && self.begun.is_none() && is_state(&message, "busy") => {
                                self.begun = Some(Instant::now());
                                if !interrupted && !half_done {
                                    (limit, deadline) = from_now();
                                }
                            }
                            Channel::Iopub => {
                                if message.kind == "update_display_data"
                                    && matches!(of_cell, CellLimit::WithoutProgress(_))
                                    && self.begun.is_some()
                                    && !interrupted
                                    && !half_done
                                {
                                    (limit, deadline) = from_now();
                                }
                                self.take(message);
                            }
                            Channel::Shell => {}
                        }
                    }
                    Event::Unreadable(what) => return Waited::Broken {
                        cause: Cause::Infrastructure,
                        ename: "ProtocolError",
                        why: format!("unreadable message from the kernel: {what}"),
                    },
                    Event::Died(how) => return exited(how),
                },
                // The cell itself may wait for the turn to compute, as long as another notebook does.
                _ = sleep_until(deadline.into()), if !interrupted && !half_done && self.turns.is_with_another() => {
                    deadline = Instant::now() + Duration::from_secs(1);
                }
                _ = sleep_until(deadline.into()) => {
                    if interrupted {
                        return Waited::TimedOut { limit, answered: false };
                    }
                    if half_done {
                        let missing = if idle { "never replied to the cell" } else { "replied but never became idle" };
                        let why = format!("the kernel {missing}");
                        return Waited::Broken { cause: Cause::Infrastructure, ename: "ProtocolError", why };
                    }
                    interrupted = true;
                    deadline = Instant::now() + self.limits.interrupted;
                    if self.client.interrupt().await.is_err() {
                        return Waited::TimedOut { limit, answered: false };
                    }
                }
                () = stopped(stop) => return Waited::Stopped,
            }
        }
    }

    /// Puts an output where it belongs: to the cell whose request it answers, be it an earlier one.
    fn take(&mut self, mut message: Message) {
        // Of a stream the whole text is searched through, when it is saved.
        if message.kind != "stream" {
            self.secrets.mask_value(&mut message.content);
        }
        let message = &message;
        let content = &message.content;
        if let Some(id) = content["transient"]["display_id"].as_str()
            && matches!(message.kind.as_str(), "update_display_data" | "display_data" | "execute_result")
        {
            self.areas.update_display(id, content);
            if let Some(line) = content["data"]["text/plain"].as_str().and_then(only_line) {
                (self.observer)(News::Status(&line));
            }
        }
        if let Some(position) = message.parent.as_ref().and_then(|parent| self.requests.get(parent)) {
            self.areas.apply(*position, message);
        }
    }

    /// An error that arrived after its cell had passed.
    fn late_error(&self, cells: &[CodeCell]) -> Option<(usize, Failure)> {
        cells.iter().find_map(|cell| {
            let errors: Vec<_> = self.areas.get(cell.position)?.errors().collect();
            let expected = Expected::from_tags(&cell.tags).unwrap_or_default();
            let unexpected = expected.unexpected(&errors);
            (!unexpected.is_empty()).then(|| (cell.number, expected.explain(describe(&unexpected))))
        })
    }

    async fn exit(&mut self) -> String {
        loop {
            if let Event::Died(how) = self.client.next().await {
                return how;
            }
        }
    }

    fn save_into(&self, notebook: &mut Notebook) {
        for (position, area) in self.areas.iter() {
            notebook.set_outputs(position, area.to_outputs(self.secrets), area.execution_count);
        }
    }
}

/// What went wrong outside the cell's code is shown in the cell, too.
fn broken(area: &mut OutputArea, cause: Cause, ename: &str, why: String) -> Ending {
    area.push_error(&json!({"ename": ename, "evalue": why, "traceback": [why]}));
    Ending::Failed(Failure::new(cause, why))
}

fn exited(how: String) -> Waited {
    let why = format!("the kernel died while running the cell: {how}");
    Waited::Broken { cause: Cause::Died, ename: "DeadKernelError", why }
}

fn is_state(message: &Message, state: &str) -> bool {
    message.kind == "status" && message.content["execution_state"] == state
}

/// The error outputs of a cell as a failure.
fn describe(errors: &[&serde_json::Value]) -> Failure {
    let texts: Vec<String> = errors.iter().map(|error| full_text(error)).collect();
    let headline = errors.first().map(|error| headline(&title(error), 300)).unwrap_or_default();
    // A process that died takes the others' cause away.
    let of = |name: &str| errors.iter().any(|error| error["ename"] == name);
    let cause = match () {
        () if errors.iter().any(|error| ErrorKind::of(error) == Some(ErrorKind::ProcessDied)) => Cause::Died,
        () if of(END_NOT_SEEN) => Cause::Died,
        () if of(KERNEL_ERROR) => Cause::Infrastructure,
        () => Cause::Cell,
    };
    Failure { cause, headline, text: texts.join("\n\n") }
}

/// Name and value of an error.
fn title(error: &serde_json::Value) -> String {
    let text = |field: &str| strip_ansi(error[field].as_str().unwrap_or_default());
    match (&*text("ename"), &*text("evalue")) {
        ("", "") => "error without a name".to_owned(),
        ("", only) | (only, "") => only.to_owned(),
        (ename, evalue) => format!("{ename}: {evalue}"),
    }
}

/// The traceback, with name and value before it where it does not repeat them, as most kernels do.
fn full_text(error: &serde_json::Value) -> String {
    let lines: Vec<&str> =
        error["traceback"].as_array().into_iter().flatten().filter_map(|l| l.as_str()).collect();
    let traceback = lines.join("\n");
    let plain = strip_ansi(&traceback);
    let value = error["evalue"].as_str().map(strip_ansi).unwrap_or_default();
    let title = title(error);
    match () {
        () if plain.trim().is_empty() => title,
        () if plain.contains(value.trim()) => traceback,
        () => format!("{title}\n{traceback}"),
    }
}

fn seconds(duration: Duration) -> String {
    match duration.as_secs_f64() {
        s if s >= 120.0 => format!("{:.0} min", s / 60.0),
        s => format!("{s} s"),
    }
}
