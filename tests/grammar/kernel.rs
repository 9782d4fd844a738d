//! What our kernel says of a cell, as a client sees it: the reply, and the outputs until `idle`. A client of its own, so
//! that what our runner may overlook is not overlooked here.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use jupyter_protocol::{
    ConnectionInfo, ExecuteRequest, JupyterMessage, JupyterMessageContent, KernelInfoRequest,
    connection_info::Transport,
};
use jupyter_zmq_client::{
    ClientIoPubConnection, ClientShellConnection, RawMessage, create_client_iopub_connection,
    create_client_shell_connection_with_identity, peer_identity_for_session,
};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;
use zeromq::SocketRecv as _;

use super::verdict::{Seen, Verdict};

/// A running kernel, and a client of it.
pub struct Session {
    process: Child,
    shell: ClientShellConnection,
    iopub: ClientIoPubConnection,
    // The connection file and the sockets.
    _folder: TempDir,
}

/// What is heard.
struct Message {
    of_shell: bool,
    kind: String,
    parent: Option<String>,
    content: Value,
}

/// How long a cell may take until its end.
pub const LIMIT: Duration = Duration::from_secs(60);
/// How long a kernel may take until its first cell is through: machines that test are busy.
const START: Duration = Duration::from_secs(300);

impl Session {
    /// Starts a kernel that works in `folder`.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let sockets = tempfile::Builder::new().prefix("igpt-").tempdir()?;
        let channel = sockets.path().join("channel");
        let info = ConnectionInfo {
            transport: Transport::IPC,
            ip: channel.to_str().context("the temporary folder is not valid UTF-8")?.to_owned(),
            shell_port: 1,
            iopub_port: 2,
            stdin_port: 3,
            control_port: 4,
            hb_port: 5,
            key: uuid::Uuid::new_v4().to_string(),
            signature_scheme: "hmac-sha256".into(),
            kernel_name: Some("igpt".into()),
        };
        let file = sockets.path().join("connection.json");
        fs::write(&file, serde_json::to_string(&info)?)?;
        let log = fs::File::create(folder.join("kernel.log"))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_igpt"));
        command.args(["kernel", "--connection-file"]).arg(&file).current_dir(folder);
        command.env("IGPT_HEADLESS", "1").env("JPY_PARENT_PID", std::process::id().to_string());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let process = command.spawn().context("cannot start the kernel")?;
        let begun = Instant::now();
        while [1, 2].iter().any(|port| !Path::new(&format!("{}-{port}", info.ip)).exists()) {
            ensure!(begun.elapsed() < START, "the kernel does not listen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let session = uuid::Uuid::new_v4().to_string();
        let iopub = create_client_iopub_connection(&info, "", &session).await?;
        let identity = peer_identity_for_session(&session)?;
        let shell = create_client_shell_connection_with_identity(&info, &session, identity).await?;
        let mut session = Self { process, shell, iopub, _folder: sockets };
        session.wait_until_heard(begun).await?;
        // What comes first waits for evcxr.
        let first = session.run("1 + 1;", "first", START).await;
        ensure!(first.verdict == Verdict::Ok, "the kernel's first cell: {first:?}");
        Ok(session)
    }

    /// A subscription takes effect some time after it was made: asks until an answer comes on both channels.
    async fn wait_until_heard(&mut self, begun: Instant) -> anyhow::Result<()> {
        let (mut replied, mut heard) = (false, false);
        while !(replied && heard) {
            ensure!(begun.elapsed() < START, "the kernel does not answer");
            self.send(KernelInfoRequest {}, json!({})).await?;
            while let Ok(message) = timeout(Duration::from_millis(500), self.next()).await {
                match message?.of_shell {
                    true => replied = true,
                    false => heard = true,
                }
            }
        }
        Ok(())
    }

    async fn send(
        &mut self,
        content: impl Into<JupyterMessageContent>,
        metadata: Value,
    ) -> anyhow::Result<String> {
        let message = JupyterMessage::new(content, None).with_metadata(metadata);
        let id = message.header.msg_id.clone();
        self.shell.send(message).await?;
        Ok(id)
    }

    /// The next message. Nothing is lost if this is dropped while it waits.
    async fn next(&mut self) -> anyhow::Result<Message> {
        // A reply that has come with the outputs comes after them, as it was sent.
        let (frames, mac, of_shell) = tokio::select! {
            biased;
            frames = self.iopub.socket.recv() => (frames?, &self.iopub.mac, false),
            frames = self.shell.socket.recv() => (frames?, &self.shell.mac, true),
        };
        let raw = RawMessage::from_multipart(frames, mac)?;
        let part = |index: usize| -> anyhow::Result<Value> {
            Ok(serde_json::from_slice(raw.jparts.get(index).context("a message with too few parts")?)?)
        };
        let parent = part(1).ok().and_then(|parent| parent["msg_id"].as_str().map(str::to_owned));
        let kind = part(0)?["msg_type"].as_str().context("a message without a type")?.to_owned();
        Ok(Message { of_shell, kind, parent, content: part(3)? })
    }

    /// Runs a cell. A user goes on after a failure, and so does this client.
    pub async fn run(&mut self, source: &str, cell: &str, limit: Duration) -> Seen {
        let mut seen = Seen {
            verdict: Verdict::Ok,
            stdout: String::new(),
            stderr: String::new(),
            value: None,
            said: String::new(),
        };
        seen.verdict = match timeout(limit, self.listen(source, cell, &mut seen)).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(error)) => Verdict::Broken(format!("{error:#}")),
            Err(_) => Verdict::Broken(format!("no end within {} s", limit.as_secs())),
        };
        seen
    }

    async fn listen(&mut self, source: &str, cell: &str, seen: &mut Seen) -> anyhow::Result<Verdict> {
        let request = ExecuteRequest {
            stop_on_error: false,
            allow_stdin: false,
            ..ExecuteRequest::new(source.to_owned())
        };
        let id = self.send(request, json!({"cellId": cell})).await?;
        let (mut reply, mut error, mut idle) = (None, None, false);
        while reply.is_none() || !idle {
            let Message { of_shell, kind, parent, content } = self.next().await?;
            if parent.as_ref() != Some(&id) {
                ensure!(kind != "error", "an error of another cell: {content}");
                continue;
            }
            match &*kind {
                "execute_reply" if of_shell => reply = Some(content),
                "status" => idle |= content["execution_state"] == "idle",
                "stream" => {
                    let text = content["text"].as_str().unwrap_or_default();
                    match content["name"] == "stderr" {
                        true => seen.stderr.push_str(text),
                        false => seen.stdout.push_str(text),
                    }
                }
                "execute_result" => {
                    seen.value = content["data"]["text/plain"].as_str().map(str::to_owned);
                }
                "error" => ensure!(error.replace(content).is_none(), "two errors for one cell"),
                _ => {}
            }
        }
        let reply = reply.unwrap_or_default();
        if let Some(error) = &error {
            let traceback = error["traceback"].as_array().into_iter().flatten().filter_map(Value::as_str);
            seen.said = traceback.collect::<Vec<_>>().join("\n");
        }
        match (reply["status"].as_str(), error) {
            (Some("ok"), None) => Ok(Verdict::Ok),
            (Some("error"), Some(error)) if same(&reply, &error) => Ok(verdict(&error)),
            (_, error) => anyhow::bail!("the reply is {reply}, the error {error:?}"),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let group = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        let _ = group.map(|group| kill_process_group(group, Signal::KILL));
        let _ = self.process.wait();
    }
}

fn same(reply: &Value, error: &Value) -> bool {
    ["ename", "evalue"].iter().all(|field| reply[field] == error[field])
}

fn verdict(error: &Value) -> Verdict {
    let text = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
    match &*text("ename") {
        "panic" => Verdict::Panic(Some(text("evalue"))),
        "ProcessDied" => Verdict::Died,
        "CompileError" => Verdict::Refused,
        "Error" if !text("evalue").is_empty() => Verdict::Error(text("evalue")),
        "EvcxrDied" => Verdict::Broken(text("evalue")),
        _ => Verdict::Error(text("evalue")),
    }
}
