//! A file as the hub describes it.

/// A file of the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RemoteFile {
    /// `plain_text/train-00000-of-00001.parquet`
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// The SHA-256 of a large file, git's object id of a small one: its name among the cache's blobs.
    pub hash: String,
    /// Whether its bytes may lie on another server, as large ones do, in Git LFS or Xet.
    pub is_elsewhere: bool,
}
