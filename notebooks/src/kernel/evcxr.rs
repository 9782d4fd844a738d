//! The process of evcxr_jupyter, in a build slot, reached over a connection of its own.

use std::{
    net::TcpListener,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::unix::pipe,
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::JoinHandle,
    time::timeout,
};
use zeromq::{DealerSocket, Socket, SocketOptions, SocketRecv, SocketSend, SubSocket, util::PeerIdentity};

use super::{
    cargo,
    cargo::instrument::Order,
    cell::{Cell, Ending, Refusal},
    event::Event,
    processes::{self, Below},
    traceback::short_path,
    wire::{Message, Signer},
};
use crate::{environment, slot::Slot};

/// Brings the library and has rust-analyzer start. Run before the user's first cell.
///
/// The line with `?` turns evcxr's support for `?` on once and for all, and the variable makes rust-analyzer look at types.
fn prelude(library: &Path) -> String {
    format!(
        ":dep igpt = {{ path = {:?} }}\nuse ::igpt::prelude::*;\nOk::<(), ::std::fmt::Error>(())?;\n{SESSION}",
        library.to_string_lossy()
    )
}

/// Starts the session again after its process died: items and imports survived, variables did not. The variable's type is
/// a number's, for evcxr writes it into each cell, where `igpt` may be a module of the user's.
const SESSION: &str =
    "let __igpt_session = { let _ = ::igpt::notebook::Session::start(); ::std::process::id() };";

/// A running evcxr_jupyter. Dropping it ends it with everything that it started.
#[derive(Debug)]
pub struct Evcxr {
    shell: UnboundedSender<Message>,
    control: UnboundedSender<Message>,
    stdin: UnboundedSender<Message>,
    /// What it says.
    pub events: UnboundedReceiver<Event>,
    session: String,
    /// How it is reached, by another process, too.
    reached: Reached,
    /// Variables that its processes get late, until a cell has set them where cells run.
    late: Vec<(String, String)>,
    /// Where it builds.
    pub slot: Slot,
    pipes: Pipes,
    tasks: Vec<JoinHandle<()>>,
}

/// How a running evcxr is reached, and which its processes are. With the pipes and the slot this is all that another process needs
/// to go on with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    ports: [u16; 5],
    key: String,
    /// The guard, of which all of evcxr's processes are descendants.
    guard: i32,
    /// The process that runs the cells.
    process: Option<i32>,
}

impl Reached {
    /// The guard's process.
    pub fn guard(&self) -> i32 {
        self.guard
    }
}

/// The guard's pipes, see `guard`.
#[derive(Debug)]
pub struct Pipes {
    /// Whoever has this end keeps evcxr alive.
    pub lifeline: OwnedFd,
    /// How evcxr ended, in a line.
    pub news: OwnedFd,
    /// What it writes for the log.
    pub log: OwnedFd,
}

/// How long evcxr may take until it answers; it takes two seconds, on a busy machine ten.
const START: Duration = Duration::from_secs(120);
/// How long one may take that has started already.
const TAKE_OVER: Duration = Duration::from_secs(3);
/// How long one is asked whether it hears before it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
const ASK_SOON_AGAIN: Duration = Duration::from_millis(20);
/// How often it is started, if it ends at once.
const ATTEMPTS: u32 = 3;
/// How long after the end of a cell its process's words may come.
const WORD: Duration = Duration::from_secs(2);

impl Evcxr {
    /// Starts evcxr and gives it the prelude.
    ///
    /// # Errors
    /// If evcxr does not start, or the library does not compile (the text says why).
    pub async fn start(slot: Slot, program: &Path) -> Result<Self> {
        let (mut slot, mut attempt) = (slot, 0);
        loop {
            attempt += 1;
            let begun = Instant::now();
            let failed = match Self::launch(&slot, program).await {
                Err(error) => error,
                Ok(in_slot) => {
                    let mut evcxr = in_slot(slot);
                    match timeout(START, evcxr.wait_until_ready(ASK_AGAIN)).await {
                        Ok(Ok(())) => {
                            eprintln!(
                                "igpt kernel: evcxr answered after {:.1} s",
                                begun.elapsed().as_secs_f64()
                            );
                            evcxr.slot.pin_dependencies()?;
                            evcxr.run_prelude().await?;
                            return Ok(evcxr);
                        }
                        Ok(Err(error)) => {
                            slot = evcxr.slot;
                            error
                        }
                        Err(_) => bail!("evcxr did not answer within {} s", START.as_secs()),
                    }
                }
            };
            // The ports are free when they are chosen, and may be taken when they are used: then others are tried.
            if attempt == ATTEMPTS || begun.elapsed() > START / 2 {
                return Err(failed);
            }
            eprintln!("igpt kernel: {failed:#}; once more, with other ports");
        }
    }

    /// Starts it in a slot, which it is given when it listens.
    async fn launch(slot: &Slot, program: &Path) -> Result<impl FnOnce(Slot) -> Self + use<>> {
        // evcxr reads it once, and has done so when it listens.
        let folder = tempfile::Builder::new().prefix("igpt-evcxr-").tempdir()?;
        let ports = free_ports()?;
        let key = uuid::Uuid::new_v4().to_string();
        let file = folder.path().join("connection.json");
        std::fs::write(
            &file,
            json!({
                "transport": "tcp", "ip": "127.0.0.1", "key": key, "signature_scheme": "hmac-sha256",
                "shell_port": ports[0], "control_port": ports[1], "stdin_port": ports[2],
                "iopub_port": ports[3], "hb_port": ports[4],
            })
            .to_string(),
        )
        .with_context(|| format!("cannot write {}", file.display()))?;

        // evcxr begins with code of its own.
        Order::give(None, &slot.cell())?;
        let mut command = std::process::Command::new(own_program()?);
        command.arg("guard").arg(program).arg("--control_file").arg(&file);
        environment::scrub(&mut command);
        slot.configure(&mut command);
        cargo::prepare(&mut command)?;
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = piped.context("cannot start evcxr's guard")?;
        let (lifeline, news, log) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(lifeline), Some(news), Some(log)) = (lifeline, news, log) else {
            bail!("the guard has no pipes")
        };
        let guard = i32::try_from(child.id()).context("a process number")?;
        // Its end is learned by its pipe; this is for the system's list of processes.
        std::thread::spawn(move || child.wait());
        let pipes = Pipes { lifeline: lifeline.into(), news: news.into(), log: log.into() };
        Self::connect(Reached { ports, key, guard, process: None }, pipes).await
    }

    /// Goes on with an evcxr that another process has started, and with that one's [`Evcxr::hand_over`].
    ///
    /// # Errors
    /// If it does not answer at once.
    pub async fn take_over(reached: Reached, pipes: Pipes, slot: Slot) -> Result<Self> {
        let taken = async {
            let mut evcxr = Self::connect(reached, pipes).await?(slot);
            evcxr.wait_until_ready(ASK_SOON_AGAIN).await?;
            Ok(evcxr)
        };
        timeout(TAKE_OVER, taken).await.context("it does not answer")?
    }

    /// Gives up all that is needed to go on with it in another process. From now on nothing is read here any more.
    pub async fn hand_over(self) -> (Reached, Pipes, Slot) {
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
        (self.reached, self.pipes, self.slot)
    }

    /// How it is reached.
    pub fn reached(&self) -> &Reached {
        &self.reached
    }

    /// Sets environment variables in all of its processes: at once in evcxr, and so in compilers and in all processes for cells that
    /// it starts later; in the present one with the first cell.
    ///
    /// # Errors
    /// Values that evcxr cannot be told, or if it ended.
    pub async fn set_late(&mut self, variables: Vec<(String, String)>) -> Result<()> {
        for (name, value) in &variables {
            anyhow::ensure!(!value.contains(['\n', '\r']) && value.trim() == value, "{name} has blanks");
            let (ending, _) = self.command(&format!(":env {name}={value}")).await?;
            anyhow::ensure!(ending == Ending::Ok, "evcxr does not set {name}: {ending:?}");
        }
        self.late = variables;
        Ok(())
    }

    /// A cell has run, and has set what was late.
    pub fn note_begun(&mut self) {
        self.late.clear();
    }

    /// Connects to one that was started; it gets its slot when it listens.
    async fn connect(reached: Reached, pipes: Pipes) -> Result<impl FnOnce(Slot) -> Self + use<>> {
        let (sender, events) = mpsc::unbounded_channel();
        // These pipes may go to another process, and are read here by second names.
        let log = pipe::Receiver::from_owned_fd(pipes.log.try_clone()?)?;
        let news = pipe::Receiver::from_owned_fd(pipes.news.try_clone()?)?;
        let (exit_sender, (exited, mut ended)) = (sender.clone(), tokio::sync::watch::channel(false));
        let mut tasks = vec![tokio::spawn(read_log(log, sender.clone()))];
        tasks.push(tokio::spawn(async move {
            let mut how = String::new();
            let mut news = BufReader::new(news);
            let _ = news.read_line(&mut how).await;
            // The pipe is closed when the guard is gone.
            while matches!(news.read_line(&mut String::new()).await, Ok(1..)) {}
            let how = if how.is_empty() { "killed".into() } else { how.trim().to_owned() };
            let _ = exit_sender.send(Event::Exited(how));
            let _ = exited.send(true);
        }));

        let signer = Signer::new(&reached.key);
        let session = uuid::Uuid::new_v4().to_string();
        // evcxr finds the asker of a question by the name that the request came with: one name for both.
        let name: PeerIdentity = session.replace('-', "").into_bytes().try_into()?;
        let ports = reached.ports;
        let connect = async {
            let url = |index: usize| format!("tcp://127.0.0.1:{}", ports[index]);
            let mut iopub = SubSocket::new();
            iopub.subscribe("").await?;
            iopub.connect(&url(3)).await?;
            let shell = dealer(&url(0), Some(&name)).await?;
            let control = dealer(&url(1), None).await?;
            let stdin = dealer(&url(2), Some(&name)).await?;
            anyhow::Ok((iopub, shell, control, stdin))
        };
        let (iopub, shell, control, stdin) = tokio::select! {
            sockets = timeout(START, connect) => sockets.context("evcxr does not listen")??,
            _ = ended.wait_for(|ended| *ended) => bail!("evcxr ended at once"),
        };
        tasks.push(tokio::spawn(listen(iopub, signer.clone(), sender.clone(), Event::Iopub)));
        let mut converse = |socket, event| {
            let (sender, both) = converse(socket, &signer, &sender, event);
            tasks.extend(both);
            sender
        };
        let shell = converse(shell, Event::Shell);
        let stdin = converse(stdin, Event::Stdin);
        let control = converse(control, |_| Event::Control);
        Ok(move |slot| Self {
            shell,
            control,
            stdin,
            events,
            session,
            reached,
            late: Vec::new(),
            slot,
            pipes,
            tasks,
        })
    }

    /// Waits until evcxr has answered and its outputs are heard; asks again and again.
    async fn wait_until_ready(&mut self, again: Duration) -> Result<()> {
        let (mut replied, mut heard) = (false, false);
        while !(replied && heard) {
            self.ask("kernel_info_request", json!({}));
            let ask_again = Instant::now() + again;
            while !(replied && heard) {
                let left = ask_again.saturating_duration_since(Instant::now());
                match timeout(left, self.next()).await {
                    Err(_) => break,
                    Ok(Event::Shell(_)) => replied = true,
                    Ok(Event::Iopub(_)) => heard = true,
                    Ok(Event::Stdin(_) | Event::Control) => {}
                    Ok(Event::Stuck(how) | Event::Exited(how)) => {
                        bail!("evcxr ended at its start ({how})")
                    }
                }
            }
        }
        Ok(())
    }

    /// Runs the prelude, at the start and after `:clear`.
    pub async fn run_prelude(&mut self) -> Result<()> {
        let mut ending = self.run_session(&prelude(&self.slot.library())).await?;
        if matches!(&ending, Ending::Refused(errors) if errors.iter().any(Refusal::is_message)) {
            // A compiler that somebody killed, for example for lack of memory.
            self.slot.forget_partial_builds()?;
            ending = self.run_session(&prelude(&self.slot.library())).await?;
        }
        match ending {
            Ending::Ok => Ok(()),
            Ending::Refused(errors) => {
                let lines: Vec<String> = errors.into_iter().flat_map(|error| error.lines).collect();
                bail!("the library does not compile:\n{}", lines.join("\n"))
            }
            other => bail!("the prelude failed: {other:?}"),
        }
    }

    /// Starts the session again in a new process.
    pub async fn restart_session(&mut self) -> Result<()> {
        // If the process was killed while idle, evcxr notices only at the next cell, which then fails.
        for last in [false, true] {
            match self.run_session(SESSION).await? {
                Ending::Ok => return Ok(()),
                Ending::Died(_) if !last => {}
                other => bail!("the session could not be started again: {other:?}"),
            }
        }
        Ok(())
    }

    /// Runs code that starts a session, and learns which process runs it.
    async fn run_session(&mut self, code: &str) -> Result<Ending> {
        self.reached.process = None;
        // A new process has them from evcxr.
        self.late.clear();
        let id = self.execute(code)?;
        let (ending, mut cell) = self.finish(Cell::unmarked(&id)).await?;
        self.reached.process = cell.process();
        // The process's own word may come after evcxr's.
        let end = Instant::now() + WORD;
        while ending == Ending::Ok && self.reached.process.is_none() {
            match timeout(end.saturating_duration_since(Instant::now()), self.next()).await {
                Ok(Event::Stuck(how) | Event::Exited(how)) => bail!("evcxr ended ({how})"),
                Ok(event) => drop(cell.handle(&event)),
                Err(_) => break,
            }
            self.reached.process = cell.process();
        }
        Ok(ending)
    }

    /// Runs code as if it were a user's cell, and throws its outputs away.
    pub async fn run(&mut self, code: &str) -> Result<Ending> {
        let cell = self.execute_cell(code, code)?;
        Ok(self.finish(cell).await?.0)
    }

    /// Runs commands of evcxr's; returns how they ended, and what they have shown.
    pub async fn command(&mut self, code: &str) -> Result<(Ending, Cell)> {
        let id = self.execute(code)?;
        self.finish(Cell::unmarked(&id)).await
    }

    async fn finish(&mut self, mut cell: Cell) -> Result<(Ending, Cell)> {
        loop {
            let wait = cell.deadline().map(|at| at.saturating_duration_since(Instant::now()));
            match timeout(wait.unwrap_or(Duration::from_secs(3600)), self.next()).await {
                Ok(Event::Stuck(how) | Event::Exited(how)) => bail!("evcxr ended ({how})"),
                Ok(event) => drop(cell.handle(&event)),
                Err(_) => {}
            }
            if cell.is_over(Instant::now()) {
                return Ok((cell.ending(), cell));
            }
        }
    }

    /// Asks for the execution of a user's cell, whose code is sent as `sent`.
    ///
    /// # Errors
    /// If the folder of the cells cannot be written.
    pub fn execute_cell(&self, code: &str, sent: &str) -> Result<Cell> {
        let nonce = uuid::Uuid::new_v4().simple().to_string();
        let folder = self.slot.cell();
        // A cell that may ask gets evcxr's pipe as its standard input, by which the answers come.
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        let asks = manifest.contains("evcxr_input") || sent.contains("evcxr_input");
        let order = Order { nonce: nonce.clone(), asks, variables: self.late.clone() };
        Order::give(Some(&order), &folder)?;
        Ok(Cell::new(&self.send(sent), &nonce, code))
    }

    /// Asks for the execution of the kernel's own code, which has no marks; returns the request's id.
    ///
    /// # Errors
    /// If the folder of the cells cannot be written.
    pub fn execute(&self, code: &str) -> Result<String> {
        Order::give(None, &self.slot.cell())?;
        Ok(self.send(code))
    }

    fn send(&self, code: &str) -> String {
        // Whether a user may be asked is decided by us: evcxr would answer a refused question with "".
        self.ask(
            "execute_request",
            json!({"code": code, "silent": false, "store_history": true, "user_expressions": {},
                   "allow_stdin": true, "stop_on_error": true}),
        )
    }

    /// Sends a request on the shell channel; returns its id.
    pub fn ask(&self, kind: &str, content: Value) -> String {
        let message = Message::new(&self.session, kind, &json!({}), content);
        let id = message.id().to_owned();
        let _ = self.shell.send(message);
        id
    }

    /// Answers a question.
    pub fn answer(&self, question: &Message, value: &str) {
        let content = json!({"status": "ok", "value": value});
        let _ = self.stdin.send(Message::new(&self.session, "input_reply", &question.header, content));
    }

    /// Asks the process that runs the cells, and what they have started, to stop what they do, as a terminal would; false if
    /// it is not known.
    pub fn ask_to_stop(&self) -> bool {
        let Some(process) = self.reached.process else { return false };
        let below = self.below();
        processes::signal(below.started_by(process).into_iter().chain([process]), Signal::INT);
        !below.has_ended(process)
    }

    /// Ends the compiler that works on a cell. What runs cells is not touched, and no variable is lost.
    pub fn stop_compiling(&self) {
        processes::kill(self.below().compilers());
    }

    /// Kills the process that runs the cells, and what they have started: that holds its outputs open, and evcxr would
    /// wait for it.
    pub fn kill_cells(&self) {
        let started = self.reached.process.map(|process| self.below().started_by(process));
        let _ = self.control.send(Message::new(&self.session, "interrupt_request", &json!({}), json!({})));
        processes::kill(started.unwrap_or_default());
    }

    /// If the process that runs the cells has ended, ends what it has left behind.
    pub fn end_orphans(&self) {
        if self.cells_have_ended() {
            processes::kill(self.below().orphans());
        }
    }

    /// Whether the process that runs the cells is gone.
    pub fn cells_have_ended(&self) -> bool {
        self.reached.process.is_some_and(|process| self.below().has_ended(process))
    }

    /// Whether a compiler works, or a command of the shell.
    pub fn compiles(&self) -> bool {
        !self.below().compilers().is_empty()
    }

    /// Processor time that evcxr and its compilers have used, in ticks: as long as it grows they work.
    pub fn ticks(&self) -> u64 {
        self.below().ticks(self.reached.process)
    }

    /// A cell began a new process: evcxr started it again within the cell.
    pub fn note_process(&mut self, process: Option<i32>) {
        self.reached.process = process.or(self.reached.process);
    }

    fn below(&self) -> Below {
        Below(self.reached.guard)
    }

    /// The next thing that evcxr says.
    pub async fn next(&mut self) -> Event {
        self.events.recv().await.unwrap_or_else(|| Event::Exited("its connection is closed".into()))
    }
}

/// Passes on what evcxr writes for the log, and looks for its last words: after a panic of its own (rust-analyzer has
/// some) its process lives, answers heartbeats, and never runs a cell again.
async fn read_log(log: impl tokio::io::AsyncRead + Unpin, events: UnboundedSender<Event>) {
    let mut log = BufReader::new(log);
    let (mut line, mut panic) = (Vec::new(), String::new());
    while matches!(log.read_until(b'\n', &mut line).await, Ok(1..)) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        eprintln!("{text}");
        if let Some((_, place)) = text.split_once("panicked at ") {
            panic = place.trim_end_matches(':').to_owned();
        }
        if text.starts_with("execution error:") || text.starts_with("Panic detected.") {
            let place = if panic.is_empty() { String::new() } else { format!(" at {}", short_path(&panic)) };
            let _ = events.send(Event::Stuck(format!("evcxr itself panicked{place}")));
        }
    }
}

/// This program's file. On Linux by a name that stays good when cargo rewrites the file meanwhile.
fn own_program() -> Result<PathBuf> {
    let link = PathBuf::from("/proc/self/exe");
    if link.exists() {
        return Ok(link);
    }
    std::env::current_exe().context("cannot find this program's own file")
}

/// Ports for evcxr, below those that systems give away by themselves: from those a client chooses a kernel's a
/// moment before the kernel takes them, and an evcxr that took one first would leave that kernel without.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

fn free_ports() -> Result<[u16; 5]> {
    // Held together, so that they differ.
    let mut held = Vec::new();
    for _ in 0..1000 {
        let random = uuid::Uuid::new_v4().as_u128() % PORTS.len() as u128;
        held.extend(TcpListener::bind(("127.0.0.1", PORTS.start + random as u16)));
        if held.len() == 5 {
            break;
        }
    }
    let mut ports = [0; 5];
    anyhow::ensure!(
        held.len() == ports.len(),
        "no free port on this machine from {} to {}",
        PORTS.start,
        PORTS.end
    );
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

async fn dealer(url: &str, name: Option<&PeerIdentity>) -> Result<DealerSocket> {
    let mut options = SocketOptions::default();
    if let Some(name) = name {
        options.peer_identity(name.clone());
    }
    let mut socket = DealerSocket::with_options(options);
    socket.connect(url).await?;
    Ok(socket)
}

/// Two tasks for a socket: one sends what the returned sender gets, one passes on what comes. evcxr's sockets
/// are always emptied: full ones would make it drop messages, verdicts among them.
fn converse(
    socket: DealerSocket,
    signer: &Signer,
    events: &UnboundedSender<Event>,
    event: fn(Message) -> Event,
) -> (UnboundedSender<Message>, [JoinHandle<()>; 2]) {
    let (mut sending, receiving) = socket.split();
    let (sender, mut messages) = mpsc::unbounded_channel::<Message>();
    let own_signer = signer.clone();
    let sends = tokio::spawn(async move {
        while let Some(message) = messages.recv().await {
            let _ = sending.send(own_signer.encode(&message)).await;
        }
    });
    let listens = tokio::spawn(listen(receiving, signer.clone(), events.clone(), event));
    (sender, [sends, listens])
}

async fn listen(
    mut socket: impl SocketRecv,
    signer: Signer,
    events: UnboundedSender<Event>,
    event: fn(Message) -> Event,
) {
    loop {
        match socket.recv().await.map(|frames| signer.decode(frames)) {
            Ok(Ok(message)) => {
                if events.send(event(message)).is_err() {
                    return;
                }
            }
            Ok(Err(error)) => eprintln!("igpt kernel: evcxr's message cannot be read: {error:#}"),
            // evcxr is gone, which its guard reports; until then there is nothing to hear.
            Err(_) if events.is_closed() => return,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
