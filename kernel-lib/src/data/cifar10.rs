//! CIFAR-10, as `igpt fetch` prepares it.

use super::{Dataset, prepared};
use crate::{Error, Result, fetch, hub};
use std::path::{Path, PathBuf};

/// What `igpt fetch` calls it; its files' names begin so.
const NAME: &str = "cifar10";
/// Which revision of the data set is the newest, in a hub cache.
const MAIN: &str = "datasets--uoft-cs--cifar10/refs/main";

/// CIFAR-10 (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009): 50,000 training and 10,000
/// test pictures, 32 × 32, RGB, of ten classes that are equally frequent, in the order of the hub's
/// `uoft-cs/cifar10`.
///
/// It is read from one plain file in the folder `IGPT_DATA`, else `target/igpt-data` of this repository. The file is
/// of the revision that the Hugging Face cache holds (`HF_HUB_CACHE`, else `HF_HOME/hub`, else the user's
/// `~/.cache/huggingface/hub`), where there is one. If it is not there yet, a notebook starts `igpt fetch cifar10`,
/// which makes it from the cache without a network, and whose lines are printed.
///
/// Its name is "CIFAR-10", or "CIFAR-10 (JPEG copy)" if the cache holds JPEG pictures: their pixels are not those of
/// CIFAR-10.
///
/// # Errors
/// If it is not there and cannot be made, or the file is damaged; all with what to do.
pub fn cifar10() -> Result<Dataset> {
    let data = match hub::set("IGPT_DATA") {
        Some(folder) => std::path::absolute(&folder).map_err(|e| Error::io(folder, e))?,
        None => crate::root()?.join("target/igpt-data"),
    };
    Places { data, hub: hub::cache(), program: hub::set("IGPT_PROGRAM") }.read()
}

struct Places {
    /// Where prepared files lie.
    data: PathBuf,
    /// The Hugging Face cache.
    hub: Option<PathBuf>,
    /// The `igpt` command, which a kernel names.
    program: Option<PathBuf>,
}

impl Places {
    fn read(&self) -> Result<Dataset> {
        if let Some(file) = self.find()? {
            return prepared::read(&file, NAME);
        }
        let Some(program) = &self.program else {
            return Err(Error::invalid(format!(
                "CIFAR-10 is not prepared in {}: run `igpt fetch {NAME}`, which reads the Hugging Face cache and needs \
                 no network (IGPT_DATA names another folder)",
                self.data.display()
            )));
        };
        self.fetch(program)?;
        let file = self.find()?.ok_or_else(|| {
            Error::invalid(format!(
                "`igpt fetch {NAME}` ended well, but there is no file of it in {}",
                self.data.display()
            ))
        })?;
        prepared::read(&file, NAME)
    }

    /// The prepared file of the hub cache's revision; the only one, if there is no such cache.
    fn find(&self) -> Result<Option<PathBuf>> {
        let main = self.hub.as_ref().and_then(|hub| std::fs::read_to_string(hub.join(MAIN)).ok());
        let revision = main.as_ref().and_then(|text| text.trim().get(..12));
        if let Some(revision) = revision.filter(|revision| revision.bytes().all(|c| c.is_ascii_hexdigit())) {
            let file = self.data.join(format!("{NAME}-{revision}.igpt-data"));
            return Ok(file.is_file().then_some(file));
        }
        let is_ours = |file: &PathBuf| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("cifar10-") && name.ends_with(".igpt-data")
        };
        let entries = std::fs::read_dir(&self.data).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_ours).collect();
        files.sort();
        match &mut files[..] {
            [] => Ok(None),
            [file] => Ok(Some(std::mem::take(file))),
            several => {
                let names: Vec<_> =
                    several.iter().filter_map(|file| Some(file.file_name()?.to_string_lossy())).collect();
                Err(Error::format(
                    &self.data,
                    format!(
                        "holds several revisions of CIFAR-10 ({}), and no Hugging Face cache says which is meant: \
                         set HF_HUB_CACHE, or delete all but one",
                        names.join(", ")
                    ),
                ))
            }
        }
    }

    fn fetch(&self, program: &Path) -> Result<()> {
        let mut environment = vec![("IGPT_DATA", &*self.data)];
        environment.extend(self.hub.as_deref().map(|hub| ("HF_HUB_CACHE", hub)));
        fetch::run(program, NAME, &environment)
    }
}

#[cfg(test)]
mod tests {
    use super::super::prepared::tests::write;
    use super::*;

    /// Two folders, and a program that is this shell script.
    fn places(script: &str) -> (tempfile::TempDir, Places) {
        let folder = tempfile::tempdir().unwrap();
        let [data, hub] = ["data", "hub"].map(|name| folder.path().join(name));
        std::fs::create_dir_all(&data).unwrap();
        let program = fetch::tests::program(folder.path(), script);
        (folder, Places { data, hub: Some(hub), program: Some(program) })
    }

    /// A prepared file of this revision.
    fn file(folder: &Path, revision: &str) -> PathBuf {
        let dots = write(folder, |header, _| header["revision"] = revision.into());
        let file = folder.join(format!("cifar10-{}.igpt-data", &revision[..12]));
        std::fs::rename(dots, &file).unwrap();
        file
    }

    #[test]
    fn the_hub_caches_revision_is_taken() {
        let (_folder, places) = places("exit 1");
        let (one, two) = ("1".repeat(40), "2".repeat(40));
        assert_eq!(places.find().unwrap(), None);
        let first = file(&places.data, &one);
        assert_eq!(places.find().unwrap(), Some(first.clone()));
        let second = file(&places.data, &two);
        let error = places.find().unwrap_err().to_string();
        let names = "(cifar10-111111111111.igpt-data, cifar10-222222222222.igpt-data)";
        assert!(error.contains(names) && error.contains("set HF_HUB_CACHE"), "{error}");
        let main = places.hub.as_ref().unwrap().join(MAIN);
        std::fs::create_dir_all(main.parent().unwrap()).unwrap();
        for (revision, expected) in [(one, Some(first)), (two, Some(second)), ("3".repeat(40), None)] {
            std::fs::write(&main, format!("{revision}\n")).unwrap();
            assert_eq!(places.find().unwrap(), expected);
        }
        // What is no revision is no path, either.
        std::fs::write(&main, "../../../../../../x").unwrap();
        assert!(places.find().is_err());
    }

    #[test]
    fn a_missing_file_is_fetched() {
        let (folder, places) = places(
            "echo fetching; [ \"$*\" = 'fetch cifar10' ] && cp \"$HF_HUB_CACHE\"/made/* \"$IGPT_DATA\"",
        );
        let made = folder.path().join("hub/made");
        std::fs::create_dir_all(&made).unwrap();
        file(&made, &"a".repeat(40));
        assert_eq!(places.read().unwrap().train().len(), 3);
        // Now it is there.
        let places = Places { program: None, ..places };
        assert_eq!(places.read().unwrap().test().len(), 1);
    }

    #[test]
    fn what_the_command_says_is_the_error() {
        let (_folder, silent) = places("exit 0");
        let error = silent.read().unwrap_err().to_string();
        assert!(
            error.starts_with("`igpt fetch cifar10` ended well, but there is no file of it in "),
            "{error}"
        );
        let (_folder, plain) = places("echo 'error: not there' >&2; exit 1");
        let error = plain.read().unwrap_err().to_string();
        assert_eq!(error, "`igpt fetch cifar10` failed (exit status: 1): not there");
        let alone = Places { program: None, ..plain };
        let error = alone.read().unwrap_err().to_string();
        assert!(error.contains("run `igpt fetch cifar10`"), "{error}");
    }
}
