//! An ordinary Jupyter client of one running kernel.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use jupyter_protocol::{
    ConnectionInfo, ExecuteRequest, InterruptRequest, JupyterMessage, JupyterMessageContent,
    KernelInfoRequest, ShutdownRequest,
};
use jupyter_zmq_client::{
    self as zmq, ClientControlConnection, Connection, DealerSendConnection, RawMessage,
};
use serde_json::json;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use zeromq::SocketRecv;

use super::message::Message;

/// The kernel's channels that carry messages to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Replies.
    Shell,
    /// Outputs and states.
    Iopub,
}

/// What the client hears.
#[derive(Debug)]
pub enum Event {
    /// A message on a channel.
    Message(Channel, Message),
    /// A message that cannot be read: it may have been anything, so the cell that waits cannot be trusted.
    Unreadable(String),
    /// The kernel's process ended; says how.
    Died(String),
}

/// A connection to a kernel.
pub struct Client {
    shell: DealerSendConnection,
    control: ClientControlConnection,
    events: mpsc::UnboundedReceiver<Event>,
    exit: watch::Receiver<Option<String>>,
    // Dropping the set ends the reader tasks.
    _readers: JoinSet<()>,
}

/// How long a kernel that just died may still have words in the pipe.
const LAST_WORDS: Duration = Duration::from_millis(300);

impl Client {
    /// Connects, and returns once the kernel has answered and its outputs reach us. `exit` turns to a description
    /// when the kernel's process ends.
    pub async fn connect(
        info: &ConnectionInfo,
        exit: watch::Receiver<Option<String>>,
        limit: Duration,
    ) -> Result<Self> {
        let mut died = exit.clone();
        let connecting = async {
            let mut client = Self::open(info, exit).await?;
            client.wait_until_ready().await?;
            Ok(client)
        };
        tokio::select! {
            connected = timeout(limit, connecting) => {
                connected.with_context(|| format!("the kernel did not answer within {} s", limit.as_secs()))?
            }
            how = exit_of(&mut died) => bail!("the kernel died at start: {how}"),
        }
    }

    async fn open(info: &ConnectionInfo, exit: watch::Receiver<Option<String>>) -> Result<Self> {
        let session = uuid::Uuid::new_v4().to_string();
        wait_for_sockets(info).await;
        let identity = zmq::peer_identity_for_session(&session)?;
        let iopub = zmq::create_client_iopub_connection(info, "", &session).await?;
        let shell = zmq::create_client_shell_connection_with_identity(info, &session, identity).await?;
        let control = zmq::create_client_control_connection(info, &session).await?;
        let (shell, shell_replies) = shell.split();
        // The sockets are emptied by tasks of their own: a full queue would make the kernel drop messages.
        let (sender, events) = mpsc::unbounded_channel();
        let mut readers = JoinSet::new();
        readers.spawn(forward(Channel::Iopub, iopub, sender.clone()));
        readers.spawn(forward(Channel::Shell, shell_replies, sender));
        Ok(Self { shell, control, events, exit, _readers: readers })
    }

    /// A subscription takes effect some time after connecting; outputs before that are lost. So ask until the
    /// kernel's answer is heard on both channels.
    async fn wait_until_ready(&mut self) -> Result<()> {
        let (mut replied, mut heard) = (false, false);
        while !(replied && heard) {
            self.send_on_shell(KernelInfoRequest {}, json!({})).await?;
            let ask_again = Instant::now() + Duration::from_millis(500);
            while !(replied && heard) {
                let left = ask_again.saturating_duration_since(Instant::now());
                match timeout(left, self.next()).await {
                    Err(_) => break,
                    Ok(Event::Message(Channel::Shell, m)) => replied |= m.kind == "kernel_info_reply",
                    Ok(Event::Message(Channel::Iopub, _)) => heard = true,
                    Ok(Event::Unreadable(what)) => bail!("unreadable message from the kernel: {what}"),
                    Ok(Event::Died(how)) => bail!("the kernel died at start: {how}"),
                }
            }
        }
        Ok(())
    }

    /// Asks for the execution of a cell; returns the request's id. The cell's own id goes with it as JupyterLab and VS
    /// Code send it: by it a kernel knows what it has to replace when a cell is edited and executed again.
    pub async fn execute(
        &mut self,
        code: &str,
        cell_id: Option<&str>,
        stop_on_error: bool,
    ) -> Result<String> {
        let request =
            ExecuteRequest { stop_on_error, allow_stdin: false, ..ExecuteRequest::new(code.to_owned()) };
        let metadata = cell_id.map_or_else(|| json!({}), |id| json!({"cellId": id}));
        self.send_on_shell(request, metadata).await
    }

    async fn send_on_shell(
        &mut self,
        content: impl Into<JupyterMessageContent>,
        metadata: serde_json::Value,
    ) -> Result<String> {
        let message = JupyterMessage { metadata, ..JupyterMessage::new(content, None) };
        let id = message.header.msg_id.clone();
        self.shell.send(message).await.context("cannot send to the kernel")?;
        Ok(id)
    }

    /// Asks the kernel to stop what it is doing.
    pub async fn interrupt(&mut self) -> Result<()> {
        Ok(self.control.send(JupyterMessage::new(InterruptRequest {}, None)).await?)
    }

    /// Asks the kernel to end.
    pub async fn shutdown(&mut self) -> Result<()> {
        Ok(self.control.send(JupyterMessage::new(ShutdownRequest { restart: false }, None)).await?)
    }

    /// The next event. What a kernel said before it died comes before the news of its exit.
    pub async fn next(&mut self) -> Event {
        tokio::select! {
            biased;
            Some(event) = self.events.recv() => event,
            how = exit_of(&mut self.exit) => match timeout(LAST_WORDS, self.events.recv()).await {
                Ok(Some(event)) => event,
                _ => Event::Died(how),
            },
        }
    }
}

/// Waits for the end of the kernel's process; never returns where nobody can tell.
async fn exit_of(exit: &mut watch::Receiver<Option<String>>) -> String {
    match exit.wait_for(Option::is_some).await.map(|how| how.clone()) {
        Ok(how) => how.unwrap_or_default(),
        Err(_) => std::future::pending().await,
    }
}

/// Connecting to a socket file that is not there yet costs growing pauses; looking for the file costs nothing.
async fn wait_for_sockets(info: &ConnectionInfo) {
    for url in [info.shell_url(), info.iopub_url(), info.control_url()] {
        if let Some(path) = url.strip_prefix("ipc://") {
            while !std::path::Path::new(path).exists() {
                sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

async fn forward<S: SocketRecv>(
    channel: Channel,
    mut connection: Connection<S>,
    events: mpsc::UnboundedSender<Event>,
) {
    loop {
        let event = match connection.socket.recv().await {
            Ok(frames) => {
                let raw = RawMessage::from_multipart(frames, &connection.mac).map_err(anyhow::Error::from);
                match raw.and_then(|raw| Message::from_raw(&raw)) {
                    Ok(message) => Event::Message(channel, message),
                    Err(error) => Event::Unreadable(format!("{error:#}")),
                }
            }
            Err(_) => {
                // The peer went away. Its process's end is reported by `exit`.
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if events.send(event).is_err() {
            return;
        }
    }
}
