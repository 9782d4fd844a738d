//! Copying a slot, of which nearly all is what compilers made of the library and its dependencies: a gigabyte.
//!
//! Libraries, which are only ever replaced as a whole, are not copied: the copy has the same files, as hard links. So ten kernels
//! take the disk of one, and the memory that one takes for shared libraries. What cargo and rustc write into (notes, fingerprints, incremental
//! compilation) is the copy's own.

use std::{
    ffi::OsStr,
    fs::{self, File, FileTimes},
    os::unix::fs::symlink,
    path::Path,
};

use anyhow::{Context as _, Result};

/// Copies a folder with the times of its files, by which cargo knows what is up to date; of what is in it that for which `is_wanted` says
/// true of its path in `from`. There must be nothing at `to` yet.
///
/// # Errors
/// If something cannot be read or written; then a part of the copy is there.
pub(super) fn copy(from: &Path, to: &Path, is_wanted: &dyn Fn(&Path) -> bool) -> Result<()> {
    let context = || format!("cannot copy {} to {}", from.display(), to.display());
    let about = fs::symlink_metadata(from).with_context(context)?;
    if about.is_symlink() {
        let target = fs::read_link(from).with_context(context)?;
        return symlink(target, to).with_context(context);
    }
    if about.is_dir() {
        fs::create_dir(to).with_context(context)?;
        for entry in fs::read_dir(from).with_context(context)? {
            let entry = entry.with_context(context)?;
            if is_wanted(&entry.path()) {
                copy(&entry.path(), &to.join(entry.file_name()), is_wanted)?;
            }
        }
    } else {
        // Some file systems have no links; then a copy does as well.
        if is_replaced_whole(from) && fs::hard_link(from, to).is_ok() {
            return Ok(());
        }
        fs::copy(from, to).with_context(context)?;
    }
    let times = FileTimes::new().set_modified(about.modified().with_context(context)?);
    File::open(to).and_then(|copy| copy.set_times(times)).with_context(context)
}

/// Whether a file is a library. rustc makes each under another name first, or has a linker make it, which removes what is there; cargo gives
/// it further names by links itself.
fn is_replaced_whole(file: &Path) -> bool {
    let is_library =
        matches!(file.extension().and_then(OsStr::to_str), Some("rlib" | "rmeta" | "so" | "dylib"));
    let is_notes = file.iter().any(|folder| folder == "incremental");
    is_library && !is_notes
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::slot::write_if_different;

    #[test]
    fn a_copy_has_the_same_libraries_and_notes_of_its_own() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let libraries = ["deps/liba.rlib", "deps/liba.rmeta", "deps/libb.so"];
        let notes = ["deps/a.d", ".fingerprint/a/lib-a.json", "incremental/a-1/s-2/a.rmeta"];
        let unwanted = "incremental/igpt-1/s-2/query-cache.bin";
        for file in libraries.iter().chain(&notes).chain([&unwanted]) {
            let file = from.join(file);
            write_if_different(&file, b"before")?;
            let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
            File::options().write(true).open(&file)?.set_times(FileTimes::new().set_modified(long_ago))?;
        }
        symlink("a.d", from.join("deps/b.d"))?;
        copy(&from, &to, &|path| !path.ends_with("igpt-1"))?;

        let place = |file: &Path| fs::metadata(file).map(|about| (about.ino(), about.mtime()));
        for file in libraries {
            assert_eq!(place(&from.join(file))?, place(&to.join(file))?, "{file}");
        }
        for file in notes {
            let (one, other) = (place(&from.join(file))?, place(&to.join(file))?);
            assert!(one.0 != other.0 && one.1 == other.1, "{file}: {one:?} {other:?}");
            fs::write(to.join(file), "after")?;
            assert_eq!(fs::read_to_string(from.join(file))?, "before", "{file}");
        }
        assert!(!to.join("incremental/igpt-1").exists());
        assert_eq!(fs::read_link(to.join("deps/b.d"))?, Path::new("a.d"));
        // As rustc and linkers do it.
        fs::write(to.join("deps/new"), "after")?;
        fs::rename(to.join("deps/new"), to.join("deps/liba.rlib"))?;
        assert_eq!(fs::read_to_string(from.join("deps/liba.rlib"))?, "before");
        Ok(())
    }
}
