//! A Jupyter kernel that does what each line of a cell tells it to do, misbehaviour included.
//!
//! In each line `${NAME}` is the value of an environment variable, `${NAME:2:5}` a part of it, and `${NAME|base64}` the header
//! "Bearer VALUE" and a line end in base64.
//!
//! | line | effect |
//! |---|---|
//! | `print TEXT`, `eprint TEXT` | a stream output; `\n` in TEXT is a line end |
//! | `print-many N`, `print-long N` | N messages of one line; one message of N bytes |
//! | `result TEXT` | an `execute_result` |
//! | `display ID TEXT`, `update ID TEXT` | a display and its update |
//! | `clear`, `clear-wait` | `clear_output` |
//! | `error NAME VALUE` | an error output and an error reply |
//! | `error-reply NAME VALUE` | the error in the reply only |
//! | `abort` | the reply says `aborted` |
//! | `late-print TEXT`, `late-error NAME VALUE` | after `idle` |
//! | `foreign TEXT` | output for somebody else's request |
//! | `garbage-parent TEXT` | output whose parent header is no JSON |
//! | `unknown` | a message of an unknown type with an unusual content |
//! | `invalid-json` | a message whose content is no JSON |
//! | `no-reply`, `no-idle` | the cell never ends properly |
//! | `sleep MS` | takes time, ends at an interrupt |
//! | `hang` | never ends, ignores interrupts |
//! | `die` | the kernel is gone |
//! | `error-late NAME VALUE` | an error output, though the reply says `ok` |
//! | `error-only-status` | the reply says `error` and nothing else |
//! | `status NAME` | the reply has this status |
//! | `cell-id` | prints the `cellId` of the request's metadata |
//! | `log TEXT` | TEXT goes to the process's own standard output, without a line end |
//! | `journal TEXT` | TEXT is a line of the journal that the library writes |
//! | `work MS`, `hold MB` | takes processor time; takes memory |
//! | `error-at LINE` | a panic whose traceback names this line of the cell |
//! | `env NAME`, `pid`, `spawn`, `cwd` | prints a variable, the process's id, a new child's id, the folder |

use std::{process::Command, time::Duration};

use jupyter_protocol::{ConnectionInfo, connection_info::Transport};
use jupyter_zmq_client::RawMessage;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle, time::sleep};
use zeromq::{PubSocket, RouterSocket, Socket as _, SocketRecv as _, SocketSend as _, ZmqMessage};

/// A fake kernel that runs inside the test's process.
pub struct FakeKernel {
    /// How to connect.
    pub info: ConnectionInfo,
    /// Tells of the kernel's end, as the runner's own launcher does for a process.
    pub exit: watch::Receiver<Option<String>>,
    task: JoinHandle<()>,
    _folder: TempDir,
}

impl FakeKernel {
    /// Binds the channels and serves them.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let info = ConnectionInfo {
            transport: Transport::IPC,
            ip: folder.path().join("c").to_string_lossy().into_owned(),
            shell_port: 1,
            iopub_port: 2,
            stdin_port: 3,
            control_port: 4,
            hb_port: 5,
            key: "a key".into(),
            signature_scheme: "hmac-sha256".into(),
            kernel_name: None,
        };
        let (sender, exit) = watch::channel(None);
        let mut kernel = Kernel::bind(&info).await;
        let task = tokio::spawn(async move {
            kernel.serve().await;
            drop(kernel);
            let _ = sender.send(Some("it was told to die".into()));
        });
        Self { info, exit, task, _folder: folder }
    }
}

impl Drop for FakeKernel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves the connection file that is the last argument of this process, until a shutdown request. For a test that is
/// at the same time the program of `--kernel-command`.
pub async fn serve_connection_file() {
    let path = std::env::args().next_back().expect("a connection file");
    let text = std::fs::read_to_string(&path).expect("the connection file can be read");
    let info: ConnectionInfo = serde_json::from_str(&text).expect("the connection file is JSON");
    let mut kernel = Kernel::bind(&info).await;
    kernel.serve().await;
}

struct Kernel {
    shell: RouterSocket,
    control: RouterSocket,
    iopub: PubSocket,
    key: String,
    count: u32,
    /// Of the request that is answered.
    metadata: Value,
    held: Vec<u8>,
}

/// What the end of a cell looks like.
struct Ending {
    reply: Option<Value>,
    idle: bool,
    late: Vec<(&'static str, Value)>,
}

impl Kernel {
    async fn bind(info: &ConnectionInfo) -> Self {
        let (mut shell, mut control, mut iopub) =
            (RouterSocket::new(), RouterSocket::new(), PubSocket::new());
        shell.bind(&info.shell_url()).await.expect("shell can be bound");
        control.bind(&info.control_url()).await.expect("control can be bound");
        iopub.bind(&info.iopub_url()).await.expect("iopub can be bound");
        Self {
            shell,
            control,
            iopub,
            key: info.key.clone(),
            count: 0,
            metadata: Value::Null,
            held: Vec::new(),
        }
    }

    async fn serve(&mut self) {
        loop {
            tokio::select! {
                frames = self.shell.recv() => {
                    let Some(request) = frames.ok().and_then(Request::read) else { continue };
                    match request.kind.as_str() {
                        "kernel_info_request" => self.kernel_info(&request).await,
                        "execute_request" if !self.execute(&request).await => return,
                        _ => {}
                    }
                }
                frames = self.control.recv() => {
                    let Some(request) = frames.ok().and_then(Request::read) else { continue };
                    if request.kind == "shutdown_request" {
                        return;
                    }
                }
            }
        }
    }

    async fn kernel_info(&mut self, request: &Request) {
        self.publish("status", json!({"execution_state": "busy"}), &request.header).await;
        let content = json!({"status": "ok", "protocol_version": "5.3", "implementation": "fake"});
        self.reply("kernel_info_reply", content, request).await;
        self.publish("status", json!({"execution_state": "idle"}), &request.header).await;
    }

    /// Runs a cell; false when the kernel dies of it.
    async fn execute(&mut self, request: &Request) -> bool {
        self.count += 1;
        self.metadata = request.metadata.clone();
        let count = self.count;
        let parent = &request.header;
        self.publish("status", json!({"execution_state": "busy"}), parent).await;
        self.publish(
            "execute_input",
            json!({"code": request.content["code"], "execution_count": count}),
            parent,
        )
        .await;
        let ok = json!({"status": "ok", "execution_count": count});
        let mut ending = Ending { reply: Some(ok), idle: true, late: Vec::new() };
        let code = request.content["code"].as_str().unwrap_or_default().to_owned();
        for line in code.lines().map(str::trim).filter(|line| !line.is_empty()).map(expanded) {
            let line = line.as_str();
            let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
            if command == "die" {
                // What was said must have left before the sockets go.
                sleep(Duration::from_millis(50)).await;
                return false;
            }
            self.step(command, rest, parent, &mut ending).await;
        }
        if let Some(content) = ending.reply {
            self.reply("execute_reply", content, request).await;
        }
        if ending.idle {
            self.publish("status", json!({"execution_state": "idle"}), parent).await;
        }
        for (kind, content) in ending.late {
            self.publish(kind, content, parent).await;
        }
        true
    }

    #[expect(clippy::zombie_processes, reason = "the child is there to be swept up by the runner")]
    async fn step(&mut self, command: &str, rest: &str, parent: &Value, ending: &mut Ending) {
        let stream = |name: &str, text: &str| json!({"name": name, "text": text.replace("\\n", "\n")});
        let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
        let number = || rest.parse::<usize>().expect("a number");
        let error = || json!({"ename": first, "evalue": second, "traceback": [format!("{first}: {second}")]});
        let display = |data: &str| json!({"data": {"text/plain": data.replace("\\n", "\n")}, "metadata": {}, "transient": {"display_id": first}});
        match command {
            "print" => self.publish("stream", stream("stdout", rest), parent).await,
            "eprint" => self.publish("stream", stream("stderr", rest), parent).await,
            "print-many" => {
                for i in 0..number() {
                    self.publish("stream", stream("stdout", &format!("{i}\n")), parent).await;
                }
            }
            "print-long" => self.publish("stream", stream("stdout", &"x".repeat(number())), parent).await,
            "result" => {
                let content =
                    json!({"execution_count": self.count, "data": {"text/plain": rest}, "metadata": {}});
                self.publish("execute_result", content, parent).await;
            }
            "display" => self.publish("display_data", display(second), parent).await,
            "update" => self.publish("update_display_data", display(second), parent).await,
            "clear" => self.publish("clear_output", json!({"wait": false}), parent).await,
            "clear-wait" => self.publish("clear_output", json!({"wait": true}), parent).await,
            "error" | "error-reply" => {
                let mut content = error();
                if command == "error" {
                    self.publish("error", content.clone(), parent).await;
                }
                content["status"] = "error".into();
                ending.reply = Some(content);
            }
            "error-late" => self.publish("error", error(), parent).await,
            "error-only-status" => ending.reply = Some(json!({"status": "error"})),
            "status" => ending.reply = Some(json!({"status": rest})),
            "abort" => ending.reply = Some(json!({"status": "aborted"})),
            "cell-id" => {
                let id = self.metadata["cellId"].as_str().unwrap_or("none").to_owned();
                self.publish("stream", stream("stdout", &id), parent).await;
            }
            "late-print" => ending.late.push(("stream", stream("stdout", rest))),
            "late-error" => ending.late.push(("error", error())),
            "foreign" => {
                self.publish("stream", stream("stdout", rest), &json!({"msg_id": "somebody-elses"})).await
            }
            "garbage-parent" => {
                let frames = frames("stream", stream("stdout", rest).to_string(), "\u{1}no json{".into());
                self.iopub.send(message(&self.key, &[], frames)).await.expect("iopub takes a message");
            }
            "unknown" => self.publish("future_message", json!(["not", "an", "object"]), parent).await,
            "invalid-json" => {
                let frames = frames("stream", "{\"name\": ".into(), parent.to_string());
                self.iopub.send(message(&self.key, &[], frames)).await.expect("iopub takes a message");
            }
            "no-reply" => ending.reply = None,
            "no-idle" => ending.idle = false,
            "hang" => std::future::pending().await,
            "sleep" => {
                let interrupted = tokio::select! {
                    () = sleep(Duration::from_millis(number() as u64)) => false,
                    _ = self.control.recv() => true,
                };
                if interrupted {
                    let content = json!({"ename": "Interrupted", "evalue": "", "traceback": []});
                    self.publish("error", content.clone(), parent).await;
                    ending.reply = Some(json!({"status": "error", "ename": "Interrupted", "evalue": ""}));
                }
            }
            "log" => {
                use std::io::Write as _;
                let mut out = std::io::stdout().lock();
                out.write_all(rest.replace("\\n", "\n").as_bytes())
                    .and_then(|()| out.flush())
                    .expect("a log");
            }
            "journal" => {
                use std::io::Write as _;
                let file = std::env::var_os("IGPT_JOURNAL").expect("the runner names a journal");
                let mut file =
                    std::fs::File::options().create(true).append(true).open(file).expect("a journal");
                writeln!(file, "{rest}").expect("a line can be written");
            }
            "work" => {
                let end = std::time::Instant::now() + Duration::from_millis(number() as u64);
                while std::time::Instant::now() < end {
                    std::hint::black_box(0);
                }
            }
            "hold" => {
                self.held.resize(number() * 1_000_000, 1);
                // Long enough to be seen.
                sleep(Duration::from_millis(700)).await;
            }
            "error-at" => {
                let lines = ["panic: here".to_owned(), format!("  at cell [{}], line {rest}", self.count)];
                let mut content = json!({"ename": "panic", "evalue": "here", "traceback": lines});
                self.publish("error", content.clone(), parent).await;
                content["status"] = "error".into();
                ending.reply = Some(content);
            }
            "env" => {
                let value = std::env::var(rest).unwrap_or_else(|_| "unset".into());
                self.publish("stream", stream("stdout", &format!("{rest}={value}\n")), parent).await;
            }
            "pid" => self.publish("stream", stream("stdout", &std::process::id().to_string()), parent).await,
            "cwd" => {
                let folder = std::env::current_dir().unwrap_or_default();
                self.publish("stream", stream("stdout", &folder.to_string_lossy()), parent).await;
            }
            "spawn" => {
                let child = Command::new("sleep").arg("1000").spawn().expect("sleep can be started");
                self.publish("stream", stream("stdout", &child.id().to_string()), parent).await;
            }
            other => panic!("the fake kernel does not know {other:?}"),
        }
    }

    async fn publish(&mut self, kind: &str, content: Value, parent: &Value) {
        let frames = frames(kind, content.to_string(), parent.to_string());
        self.iopub.send(message(&self.key, &[], frames)).await.expect("iopub takes a message");
    }

    async fn reply(&mut self, kind: &str, content: Value, request: &Request) {
        let frames = frames(kind, content.to_string(), request.header.to_string());
        let identities: Vec<Vec<u8>> =
            request.raw.zmq_identities.iter().map(|identity| identity.to_vec()).collect();
        self.shell.send(message(&self.key, &identities, frames)).await.expect("shell takes a message");
    }
}

/// The line with the values of environment variables.
fn expanded(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("${") {
        let (what, after) = after.split_once('}').expect("a `}`");
        let (name, how) = what.split_once([':', '|']).unwrap_or((what, ""));
        let value = std::env::var(name).expect("a variable");
        text.push_str(before);
        text.push_str(&match how.split_once(':') {
            Some((from, to)) => {
                value[from.parse().expect("a number")..to.parse().expect("a number")].to_owned()
            }
            None if how == "base64" => crate::base64(format!("Bearer {value}\n").as_bytes()),
            None => value,
        });
        rest = after;
    }
    text + rest
}

struct Request {
    raw: RawMessage,
    kind: String,
    header: Value,
    metadata: Value,
    content: Value,
}

impl Request {
    fn read(frames: ZmqMessage) -> Option<Self> {
        let raw = RawMessage::from_multipart(frames, &None).ok()?;
        let header: Value = serde_json::from_slice(raw.jparts.first()?).ok()?;
        let metadata = serde_json::from_slice(raw.jparts.get(2)?).ok()?;
        let content = serde_json::from_slice(raw.jparts.get(3)?).ok()?;
        Some(Self { kind: header["msg_type"].as_str()?.to_owned(), raw, header, metadata, content })
    }
}

fn frames(kind: &str, content: String, parent: String) -> [String; 4] {
    let header = json!({"msg_id": uuid::Uuid::new_v4().to_string(), "msg_type": kind, "session": "fake",
                        "username": "fake", "date": "2026-01-01T00:00:00Z", "version": "5.3"});
    [header.to_string(), parent, "{}".into(), content]
}

fn message(key: &str, identities: &[Vec<u8>], frames: [String; 4]) -> ZmqMessage {
    let texts =
        ["<IDS|MSG>".to_owned(), signature(key, &frames)].into_iter().chain(frames).map(String::into_bytes);
    let mut parts = identities.iter().cloned().chain(texts);
    let mut message = ZmqMessage::from(parts.next().unwrap_or_default());
    parts.for_each(|part| message.push_back(part.into()));
    message
}

/// HMAC-SHA256 of the frames, in hexadecimal digits.
fn signature(key: &str, frames: &[String; 4]) -> String {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key.as_bytes());
    let padded = |pad: u8| Sha256::new_with_prefix(block.map(|byte| byte ^ pad));
    let inner = frames.iter().fold(padded(0x36), |hash, frame| hash.chain_update(frame)).finalize();
    let outer = padded(0x5c).chain_update(inner).finalize();
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}
