//! The five channels of the connection file, on the kernel's side.

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use zeromq::{
    RepSocket, RouterRecvHalf, RouterSendHalf, RouterSocket, Socket, SocketRecv, SocketSend, XPubSocket,
    ZmqMessage,
};

use super::wire::{Message, Signer};

/// A connection file.
#[derive(Debug, Clone, Deserialize)]
pub struct ConnectionFile {
    transport: String,
    ip: String,
    key: String,
    shell_port: u16,
    iopub_port: u16,
    stdin_port: u16,
    control_port: u16,
    hb_port: u16,
    #[serde(default)]
    signature_scheme: Option<String>,
}

impl ConnectionFile {
    /// Reads a connection file.
    pub fn read(path: &std::path::Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the connection file {}", path.display()))?;
        let file: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a connection file", path.display()))?;
        match file.signature_scheme.as_deref() {
            None | Some("" | "hmac-sha256") => Ok(file),
            Some(other) => bail!("the connection file asks for the unknown signature scheme {other:?}"),
        }
    }

    fn url(&self, port: u16) -> String {
        let separator = if self.transport == "ipc" { '-' } else { ':' };
        format!("{}://{}{separator}{port}", self.transport, self.ip)
    }
}

/// The channels on which a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Requests that wait for each other.
    Shell,
    /// Requests that do not wait: interrupt, shutdown.
    Control,
    /// Answers to questions of ours.
    Stdin,
}

/// The five channels to the clients.
#[derive(Debug)]
pub struct Channels {
    senders: [UnboundedSender<Message>; 3],
    iopub: UnboundedSender<Message>,
    session: String,
}

impl Channels {
    /// Binds the five sockets. Requests come through the receiver.
    pub async fn bind(connection: &ConnectionFile) -> Result<(Self, UnboundedReceiver<(Channel, Message)>)> {
        let signer = Signer::new(&connection.key);
        let session = uuid::Uuid::new_v4().to_string();
        let (requests, receiver) = mpsc::unbounded_channel();
        let mut heartbeat = RepSocket::new();
        bind(&mut heartbeat, "heartbeat", &connection.url(connection.hb_port)).await?;
        tokio::spawn(async move {
            loop {
                match heartbeat.recv().await {
                    Ok(beat) => drop(heartbeat.send(beat).await),
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
                }
            }
        });
        let mut iopub = XPubSocket::new();
        bind(&mut iopub, "iopub", &connection.url(connection.iopub_port)).await?;
        let (iopub_sender, outputs) = mpsc::unbounded_channel();
        tokio::spawn(publish(iopub, outputs, signer.clone(), session.clone()));
        let mut senders = Vec::new();
        for (channel, port) in [
            (Channel::Control, connection.control_port),
            (Channel::Stdin, connection.stdin_port),
            (Channel::Shell, connection.shell_port),
        ] {
            let mut socket = RouterSocket::new();
            bind(&mut socket, "request", &connection.url(port)).await?;
            let (send, receive) = socket.split();
            tokio::spawn(listen(channel, receive, signer.clone(), requests.clone()));
            let (sender, replies) = mpsc::unbounded_channel();
            tokio::spawn(answer(send, replies, signer.clone()));
            senders.push((channel, sender));
        }
        let of = |wanted: Channel| {
            senders.iter().find(|(channel, _)| *channel == wanted).map(|(_, sender)| sender.clone())
        };
        let all = (of(Channel::Shell), of(Channel::Control), of(Channel::Stdin));
        let (Some(shell), Some(control), Some(stdin)) = all else { bail!("a channel is missing") };
        Ok((Self { senders: [shell, control, stdin], iopub: iopub_sender, session }, receiver))
    }

    /// Answers a request on the channel on which it came.
    pub fn reply(&self, channel: Channel, request: &Message, content: serde_json::Value) {
        let kind = request.kind().replace("_request", "_reply");
        self.send(channel, request, &kind, content);
    }

    /// Sends a message to the one who sent `request`.
    pub fn send(&self, channel: Channel, request: &Message, kind: &str, content: serde_json::Value) {
        let mut message = Message::new(&self.session, kind, &request.header, content);
        message.identities = request.identities.clone();
        let sender = match channel {
            Channel::Shell => &self.senders[0],
            Channel::Control => &self.senders[1],
            Channel::Stdin => &self.senders[2],
        };
        // The task ends only with the process.
        let _ = sender.send(message);
    }

    /// Tells everybody something that belongs to `request`.
    pub fn publish(&self, request: &serde_json::Value, kind: &str, content: serde_json::Value) {
        self.publish_message(Message::new(&self.session, kind, request, content));
    }

    /// As [`Channels::publish`], with metadata and buffers.
    pub fn publish_message(&self, mut message: Message) {
        message.identities = vec![Bytes::from(format!("kernel.{}.{}", self.session, message.kind()))];
        let _ = self.iopub.send(message);
    }
}

async fn bind(socket: &mut impl Socket, name: &str, url: &str) -> Result<()> {
    socket.bind(url).await.with_context(|| format!("cannot bind the {name} channel at {url}"))?;
    Ok(())
}

async fn listen(
    channel: Channel,
    mut socket: RouterRecvHalf,
    signer: Signer,
    requests: UnboundedSender<(Channel, Message)>,
) {
    loop {
        match socket.recv().await.map(|frames| signer.decode(frames)) {
            Ok(Ok(message)) => {
                if requests.send((channel, message)).is_err() {
                    return;
                }
            }
            Ok(Err(error)) => eprintln!("igpt kernel: a request that cannot be read: {error:#}"),
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    }
}

async fn answer(mut socket: RouterSendHalf, mut replies: UnboundedReceiver<Message>, signer: Signer) {
    while let Some(message) = replies.recv().await {
        // A client that left does not need its answer.
        let _ = socket.send(signer.encode(&message)).await;
    }
}

/// Publishes, and welcomes each subscriber: only then can a client know that it misses nothing.
async fn publish(
    mut socket: XPubSocket,
    mut outputs: UnboundedReceiver<Message>,
    signer: Signer,
    session: String,
) {
    loop {
        tokio::select! {
            subscription = socket.recv() => {
                if let Ok(frames) = subscription
                    && let Some(topic) = subscribed(&frames)
                {
                    let mut welcome = Message::new(
                        &session, "iopub_welcome", &json!({}),
                        json!({"subscription": String::from_utf8_lossy(&topic)}),
                    );
                    welcome.identities = vec![topic];
                    let _ = socket.send(signer.encode(&welcome)).await;
                }
            }
            output = outputs.recv() => match output {
                Some(message) => drop(socket.send(signer.encode(&message)).await),
                None => return,
            },
        }
    }
}

fn subscribed(frames: &ZmqMessage) -> Option<Bytes> {
    let frame = frames.get(0)?;
    (frame.first() == Some(&1)).then(|| frame.slice(1..))
}
