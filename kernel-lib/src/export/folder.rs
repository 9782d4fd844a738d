//! A folder that is complete or not there, and whose files are never overwritten: somebody may have written on in a model
//! card, or published what lies there.

use crate::{Error, Result, atomic, mapped};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// The names of the files in a folder, in order.
pub(super) fn names(folder: &Path) -> Result<Vec<String>> {
    let io = |e| Error::io(folder, e);
    let name = |entry: std::io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    let entries = fs::read_dir(folder).map_err(io)?.map(name);
    let mut names = entries.collect::<std::io::Result<Vec<_>>>().map_err(io)?;
    names.sort();
    Ok(names)
}

/// Checks, before anything is written, that nothing stands at this place that cannot be an export.
pub(super) fn check(folder: &Path) -> Result<()> {
    let state = match fs::metadata(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        state => state.map_err(|e| Error::io(folder, e))?,
    };
    if !state.is_dir() {
        return Err(refused(folder, "it is a file"));
    }
    match names(folder)? {
        names if names.is_empty() || names.iter().any(|name| name == "config.json") => Ok(()),
        names => Err(refused(folder, &format!("it holds other files ({})", names.join(", ")))),
    }
}

/// Has `write` fill a folder beside `folder`, and gives it that name. Whether it was there already, with the same files: then
/// it stays as it is.
pub(super) fn publish(folder: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<bool> {
    let name = folder.file_name().ok_or_else(|| refused(folder, "it has no name"))?;
    let above = folder.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(above).map_err(|e| Error::io(above, e))?;
    let mut unfinished = name.to_owned();
    unfinished.push(format!(".{}.unfinished", std::process::id()));
    let unfinished = folder.with_file_name(unfinished);
    let was_there = remove(&unfinished).and_then(|()| write(&unfinished)).and_then(|()| {
        // An empty folder gives way to one that is renamed to it.
        if !folder.exists() || names(folder)?.is_empty() {
            return atomic::publish(&unfinished, folder).map_err(|e| Error::io(folder, e)).map(|()| false);
        }
        check_same(&unfinished, folder).map(|()| true)
    });
    // Not there any more if all went well; else the first error is the one to tell.
    let removed = remove(&unfinished);
    was_there.and_then(|was_there| removed.map(|()| was_there))
}

/// Checks that a folder holds what would be written, and nothing else.
fn check_same(unfinished: &Path, folder: &Path) -> Result<()> {
    let (ours, there) = (names(unfinished)?, names(folder)?);
    if let Some(other) = there.iter().find(|name| !ours.contains(name)) {
        return Err(refused(folder, &format!("it holds {other}, which is none of an export's files")));
    }
    for name in &ours {
        if !there.contains(name) {
            return Err(refused(folder, &format!("it is there, but {name} is missing in it")));
        }
        let (a, b) = (unfinished.join(name), folder.join(name));
        let (a, b) = (mapped::file(&a)?, mapped::file(&b)?);
        if a[..] != b[..] {
            return Err(refused(folder, &format!("its {name} is not what would be written")));
        }
    }
    Ok(())
}

fn refused(folder: &Path, why: &str) -> Error {
    Error::format(
        folder,
        format!(
            "{why}, and nothing is overwritten: move it away, or choose another folder (igpt export --out DIR)"
        ),
    )
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(folder, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(text: &'static str) -> impl FnOnce(&Path) -> Result<()> {
        move |place| {
            fs::create_dir_all(place).unwrap();
            fs::write(place.join("config.json"), text).unwrap();
            fs::write(place.join("README.md"), "card").map_err(|e| Error::io(place, e))
        }
    }

    #[test]
    fn a_folder_is_written_once_and_never_overwritten() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a/b");
        check(&folder).unwrap();
        assert!(!publish(&folder, write("1")).unwrap());
        assert_eq!(names(&folder).unwrap(), ["README.md", "config.json"]);
        // Again the same: nothing to do.
        check(&folder).unwrap();
        assert!(publish(&folder, write("1")).unwrap());

        let refuse = |said: &str| {
            let error = publish(&folder, write("1")).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains("a/b: ") && error.contains("--out"), "{error}");
            // Nothing is left beside it.
            assert_eq!(names(&place.path().join("a")).unwrap(), ["b"]);
        };
        fs::write(folder.join("README.md"), "card, with a word by hand").unwrap();
        refuse("its README.md is not what would be written");
        assert!(fs::read_to_string(folder.join("README.md")).unwrap().ends_with("by hand"));
        fs::remove_file(folder.join("README.md")).unwrap();
        refuse("README.md is missing");
        fs::write(folder.join("README.md"), "card").unwrap();
        fs::write(folder.join("notes.txt"), "mine").unwrap();
        refuse("it holds notes.txt");
        fs::remove_file(folder.join("notes.txt")).unwrap();
        assert!(publish(&folder, write("1")).unwrap());
    }

    #[test]
    fn what_stands_in_the_way_is_told_before_anything_is_written() {
        let place = tempfile::tempdir().unwrap();
        let said = |folder: &Path| check(folder).unwrap_err().to_string();
        let file = place.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(said(&file).contains("it is a file"));
        assert!(said(place.path()).contains("it holds other files (file)"));
        // An empty folder is as good as none.
        let empty = place.path().join("empty");
        fs::create_dir(&empty).unwrap();
        check(&empty).unwrap();
        assert!(!publish(&empty, write("1")).unwrap() && empty.join("config.json").exists());
        // What cannot be written leaves nothing.
        let failed = place.path().join("failed");
        let fail = |place: &Path| {
            fs::create_dir_all(place).unwrap();
            Err(Error::invalid("no"))
        };
        assert_eq!(publish(&failed, fail).unwrap_err().to_string(), "no");
        assert_eq!(names(place.path()).unwrap(), ["empty", "file"]);
    }
}
