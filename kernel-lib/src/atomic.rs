//! Files that are complete or not there.

use crate::{Error, Result};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a file beside its place, then renames it: nobody ever reads half of it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |unfinished| File::create_new(unfinished)?.write_all(bytes))
}

/// The same for what knows how to write itself to the path it is given.
pub(crate) fn write_with(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or_else(|| Error::invalid(format!("{} names no file", path.display())))?;
    let mut unfinished = name.to_owned();
    unfinished.push(format!(".{}-{}.unfinished", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    let unfinished = path.with_file_name(unfinished);
    let written = write(&unfinished)
        .and_then(|()| File::open(&unfinished)?.sync_all())
        .and_then(|()| fs::rename(&unfinished, path));
    written.map_err(|e| {
        // It may not be there, or not be ours to remove; the first error is the one to tell.
        let _ = fs::remove_file(&unfinished);
        Error::io(path, e)
    })
}
