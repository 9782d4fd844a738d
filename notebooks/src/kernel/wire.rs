//! Jupyter messages as signed frames. Contents stay JSON values, so that nothing that this program does not know
//! is lost on the way.

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use zeromq::ZmqMessage;

const DELIMITER: &[u8] = b"<IDS|MSG>";

/// The version of the messaging protocol that our own messages follow.
pub const PROTOCOL_VERSION: &str = "5.4";

/// A message of the Jupyter protocol.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// Who sent it or whom it is for (routers), or its topic (publishers).
    pub identities: Vec<Bytes>,
    /// `msg_id`, `msg_type`, `session` and so on.
    pub header: Value,
    /// The header of the request that this message belongs to.
    pub parent: Value,
    /// Metadata.
    pub metadata: Value,
    /// The content; its shape depends on the type.
    pub content: Value,
    /// Binary buffers.
    pub buffers: Vec<Bytes>,
}

impl Message {
    /// A new message in the session `session`.
    pub fn new(session: &str, kind: &str, parent: &Value, content: Value) -> Self {
        Self {
            identities: Vec::new(),
            header: json!({
                "msg_id": uuid::Uuid::new_v4().to_string(),
                "msg_type": kind,
                "session": session,
                "username": "kernel",
                "date": chrono::Utc::now().to_rfc3339(),
                "version": PROTOCOL_VERSION,
            }),
            parent: parent.clone(),
            metadata: json!({}),
            content,
            buffers: Vec::new(),
        }
    }

    /// `header.msg_type`.
    pub fn kind(&self) -> &str {
        self.header["msg_type"].as_str().unwrap_or_default()
    }

    /// `header.msg_id`.
    pub fn id(&self) -> &str {
        self.header["msg_id"].as_str().unwrap_or_default()
    }

    /// `parent_header.msg_id`.
    pub fn parent_id(&self) -> &str {
        self.parent["msg_id"].as_str().unwrap_or_default()
    }
}

/// Signs and checks messages with the connection's key.
#[derive(Debug, Clone)]
pub struct Signer(Option<Hmac<Sha256>>);

impl Signer {
    /// An empty key means no signatures, as the protocol has it.
    pub fn new(key: &str) -> Self {
        // HMAC takes keys of any length.
        Self((!key.is_empty()).then(|| Hmac::new_from_slice(key.as_bytes()).ok()).flatten())
    }

    fn mac(&self, parts: &[Bytes]) -> Option<Hmac<Sha256>> {
        let mut mac = self.0.clone()?;
        parts.iter().for_each(|part| mac.update(part));
        Some(mac)
    }

    /// The frames of a message.
    pub fn encode(&self, message: &Message) -> ZmqMessage {
        let parts: Vec<Bytes> = [&message.header, &message.parent, &message.metadata, &message.content]
            .map(|part| Bytes::from(part.to_string()))
            .into();
        let signature =
            self.mac(&parts).map_or(String::new(), |mac| HEXLOWER.encode(&mac.finalize().into_bytes()));
        let mut frames = ZmqMessage::from(Bytes::from_static(DELIMITER));
        for identity in message.identities.iter().rev() {
            frames.push_front(identity.clone());
        }
        frames.push_back(signature.into());
        parts.into_iter().chain(message.buffers.iter().cloned()).for_each(|frame| frames.push_back(frame));
        frames
    }

    /// Reads frames.
    ///
    /// # Errors
    /// Frames that are missing, signatures that do not fit, and parts that are not JSON.
    pub fn decode(&self, frames: ZmqMessage) -> Result<Message> {
        let mut identities = frames.into_vec();
        let delimiter = identities.iter().position(|f| &f[..] == DELIMITER).context("no delimiter frame")?;
        let mut parts = identities.split_off(delimiter).split_off(1);
        if parts.len() < 5 {
            bail!("a message of {} frames", parts.len());
        }
        let signature = parts.remove(0);
        let buffers = parts.split_off(4);
        if let Some(mac) = self.mac(&parts) {
            let signature = HEXLOWER.decode(&signature).context("the signature is not hexadecimal")?;
            if mac.verify_slice(&signature).is_err() {
                bail!("the signature is wrong");
            }
        }
        let json = |index: usize, name: &str| -> Result<Value> {
            serde_json::from_slice(&parts[index]).with_context(|| format!("the {name} is not JSON"))
        };
        Ok(Message {
            header: json(0, "header")?,
            parent: json(1, "parent header")?,
            metadata: json(2, "metadata")?,
            content: json(3, "content")?,
            identities,
            buffers,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_and_forgeries_do_not() {
        let signer = Signer::new("secret");
        let mut message =
            Message::new("s", "execute_request", &json!({}), json!({"code": "1", "unknown": [2]}));
        message.identities = vec![Bytes::from_static(b"me"), Bytes::from_static(b"too")];
        message.buffers = vec![Bytes::from_static(b"\0\xff")];
        let read = signer.decode(signer.encode(&message)).unwrap();
        assert_eq!((read.kind(), &read.content), ("execute_request", &message.content));
        assert_eq!((read.identities, read.buffers), (message.identities.clone(), message.buffers.clone()));
        assert!(Signer::new("other").decode(signer.encode(&message)).is_err());
        assert!(Signer::new("").decode(signer.encode(&message)).is_ok());
        assert!(signer.decode(ZmqMessage::from("noise")).is_err());
    }
}
