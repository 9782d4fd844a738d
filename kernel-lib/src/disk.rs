//! Whether something fits onto the disk, asked before hours are spent on what could not be kept.

use crate::error::gigabytes;
use crate::{Error, Result};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Checks that something of so many bytes fits into the room that is left where a folder lies; `factors` are what the number is the
/// product of.
///
/// # Errors
/// If it does not fit, with what to do. Not if nobody can say how much room there is.
pub(crate) fn check(what: &str, folder: &Path, factors: &[usize]) -> Result<()> {
    let bytes = factors.iter().fold(1u128, |product, factor| product.saturating_mul(*factor as u128));
    match free(folder) {
        Some(free) if bytes > u128::from(free) => Err(Error::invalid(format!(
            "{what} would take {} GB of disk space, and {} has {} GB left: make room, set IGPT_STORE to a folder on another disk, or \
             take fewer images",
            gigabytes(bytes),
            folder.display(),
            gigabytes(u128::from(free))
        ))),
        _ => Ok(()),
    }
}

/// The bytes that this user may still write where a folder lies.
fn free(folder: &Path) -> Option<u64> {
    let path = CString::new(folder.as_os_str().as_bytes()).ok()?;
    // SAFETY: a statvfs is numbers, which may be zero.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends in a zero, and there is room for the answer.
    let known = unsafe { libc::statvfs(path.as_ptr(), &raw mut found) } == 0;
    known.then(|| (found.f_bavail as u64).saturating_mul(found.f_frsize as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_room_may_be_written_and_what_cannot_have_it_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        check("a little", folder.path(), &[1000, 4]).unwrap();
        check("nothing", folder.path(), &[usize::MAX, 0]).unwrap();
        let error = check("the features", folder.path(), &[usize::MAX, 4]).unwrap_err().to_string();
        assert!(error.starts_with("the features would take") && error.contains("IGPT_STORE"), "{error}");
        // The good twin: nobody is refused where nobody can say.
        check("a file", &folder.path().join("not there"), &[usize::MAX]).unwrap();
    }
}
