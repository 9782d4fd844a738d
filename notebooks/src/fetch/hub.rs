//! The Hugging Face cache, see [`crate::hub`].

pub(super) use crate::hub::{Snapshot, cache, sha256};
