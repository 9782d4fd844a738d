//! Whether a file is still as it was: what the file system says of it.

use std::{fs::Metadata, os::unix::fs::MetadataExt as _};

/// What is another after every change of a file's bytes. Nothing is read for it.
///
/// The time of the last change of the inode (`ctime`) is in it, because no program can set it: who replaces a file by one of the same
/// length and gives it the old date (`cp -p`, `rsync -t`, `tar`) is found out. The price is that a `chmod`, or a copy of the file,
/// counts as a change, too: then something is done again that need not be.
pub(super) type Stamp = [i128; 6];

/// The stamp of a file; of a link, pass the metadata of what it leads to.
pub(super) fn stamp(found: &Metadata) -> Stamp {
    [
        found.ino().into(),
        found.len().into(),
        found.mtime().into(),
        found.mtime_nsec().into(),
        found.ctime().into(),
        found.ctime_nsec().into(),
    ]
}
