//! Jupyter messages as the runner reads them: only what it needs, from raw frames, so that a field or a message
//! type that the protocol crate does not know is no obstacle.

use anyhow::{Context as _, Result};
use jupyter_zmq_client::RawMessage;
use serde_json::Value;

/// A message from the kernel.
#[derive(Debug, Clone)]
pub struct Message {
    /// `header.msg_type`.
    pub kind: String,
    /// `parent_header.msg_id`: the request that this message belongs to.
    pub parent: Option<String>,
    /// The content, unchanged.
    pub content: Value,
}

impl Message {
    /// Reads the JSON frames. A parent header that makes no sense is no parent; a header or content that makes no
    /// sense is an error, because it may have been the verdict.
    pub fn from_raw(raw: &RawMessage) -> Result<Self> {
        let frame = |index: usize, name: &str| -> Result<Value> {
            let bytes = raw.jparts.get(index).with_context(|| format!("no {name}"))?;
            serde_json::from_slice(bytes).with_context(|| format!("the {name} is not valid JSON"))
        };
        let header = frame(0, "header")?;
        let parent = frame(1, "parent header").ok();
        Ok(Self {
            kind: header["msg_type"].as_str().context("the header has no msg_type")?.to_owned(),
            parent: parent.and_then(|p| p["msg_id"].as_str().map(str::to_owned)),
            content: frame(3, "content")?,
        })
    }
}
