//! Data sets that `igpt fetch` prepares: which file, and how it comes to be there.

use super::prepared::Prepared;
use super::{Dataset, Images};
use crate::{Error, Result, fetch, hub};
use igpt_formats::request::Request;
use std::path::PathBuf;

/// A data set of the hub, or a folder's, with what is to be done to its images. [`hub`](super::hub()) is this with
/// nothing to be done.
///
/// ```no_run
/// use igpt::prelude::*;
///
/// let pets = data::Fetch::new("timm/oxford-iiit-pet").side(32).load()?;
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Fetch {
    request: Request,
    /// The hub's repository, whose newest revision in the cache is meant; `None` if it need not be from there.
    repository: Option<String>,
    /// For people.
    title: String,
}

impl Fetch {
    /// The repository `owner/name` of the hub.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { request: Request::new(name.clone()), repository: Some(name.clone()), title: name }
    }

    /// A data set that the command knows by name.
    pub(super) fn known(name: &str, title: &str, repository: Option<&str>) -> Self {
        Self { request: Request::new(name), repository: repository.map(Into::into), title: title.into() }
    }

    /// Takes this configuration of the repository, where it has several.
    #[must_use]
    pub fn config(mut self, config: impl Into<String>) -> Self {
        self.request.config = Some(config.into());
        self
    }

    /// Takes the images from this column, not from `image` or `img`.
    #[must_use]
    pub fn image_column(mut self, column: impl Into<String>) -> Self {
        self.request.image_column = Some(column.into());
        self
    }

    /// Takes the labels from this column, not from `label`.
    #[must_use]
    pub fn label_column(mut self, column: impl Into<String>) -> Self {
        self.request.label_column = Some(column.into());
        self
    }

    /// Resizes each image until its shorter side has this length, and cuts out the square in the middle. Images of
    /// several sizes need it.
    #[must_use]
    pub fn side(mut self, side: usize) -> Self {
        self.request.side = Some(side);
        self
    }

    /// Makes grey images red = green = blue. A data set whose first image is grey is grey otherwise.
    #[must_use]
    pub fn rgb(mut self) -> Self {
        self.request.rgb = true;
        self
    }

    /// Reads it, and has it prepared first where that was not done yet. All its pixels are in memory, once: 3 bytes for
    /// each pixel, which is 3.9 GB for ImageNet with images of 32 × 32.
    ///
    /// # Errors
    /// If it is not there and cannot be made, or the file is damaged; all with what to do.
    pub fn load(&self) -> Result<Dataset> {
        self.labelled(None)
    }

    /// As [`Fetch::load`], with one of several sets of labels.
    pub(super) fn labelled(&self, labels: Option<&str>) -> Result<Dataset> {
        Places::current()?.open(self)?.dataset(labels)
    }

    /// The images of one split.
    pub(super) fn images(&self, split: &str) -> Result<Images> {
        Places::current()?.open(self)?.images(split)
    }
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
    fn current() -> Result<Self> {
        let data = match hub::set("IGPT_DATA") {
            Some(folder) => std::path::absolute(&folder).map_err(|e| Error::io(folder, e))?,
            None => crate::root()?.join("target/igpt-data"),
        };
        Ok(Self { data, hub: hub::cache(), program: hub::set("IGPT_PROGRAM") })
    }

    fn open(&self, what: &Fetch) -> Result<Prepared> {
        let command = what.request.command();
        // Who can have it made anew is not told that it is of an earlier version.
        let is_of_use = |file: &PathBuf| self.program.is_none() || !Prepared::is_outdated(file);
        if let Some(file) = self.find(what)?.filter(is_of_use) {
            return Prepared::open(&file, command);
        }
        let Some(program) = &self.program else {
            return Err(Error::invalid(format!(
                "{} is not prepared in {}: run `{command}`, which reads the Hugging Face cache (IGPT_DATA names another \
                 folder)",
                what.title,
                self.data.display()
            )));
        };
        let mut places = vec![("IGPT_DATA", self.data.as_path())];
        places.extend(self.hub.iter().map(|hub| ("HF_HUB_CACHE", hub.as_path())));
        fetch::run(program, &what.request.arguments(), &places)?;
        let file = self.find(what)?.ok_or_else(|| {
            Error::invalid(format!(
                "`{command}` ended well, but there is no file of it in {}",
                self.data.display()
            ))
        })?;
        Prepared::open(&file, command)
    }

    /// The prepared file of the hub cache's revision; the only one, if the cache has none.
    fn find(&self, what: &Fetch) -> Result<Option<PathBuf>> {
        let stem = what.request.stem();
        let main = self.hub.as_ref().zip(what.repository.as_ref()).and_then(|(hub, repository)| {
            let folder = format!("datasets--{}", repository.replace('/', "--"));
            std::fs::read_to_string(hub.join(folder).join("refs/main")).ok()
        });
        let revision = main.as_ref().and_then(|text| text.trim().get(..12));
        if let Some(revision) = revision.filter(|revision| is_revision(revision)) {
            let file = self.data.join(format!("{stem}-{revision}.igpt-data"));
            return Ok(file.is_file().then_some(file));
        }
        let is_ours = |file: &PathBuf| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let rest = name.strip_prefix(&stem).and_then(|rest| rest.strip_prefix('-'));
            rest.and_then(|rest| rest.strip_suffix(".igpt-data")).is_some_and(is_revision)
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
                        "holds several revisions of {} ({}), and no Hugging Face cache says which is meant: set \
                         HF_HUB_CACHE, or delete all but one",
                        what.title,
                        names.join(", ")
                    ),
                ))
            }
        }
    }
}

/// Whether these are the first digits of a commit.
fn is_revision(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::super::prepared::tests::write;
    use super::*;
    use std::path::Path;

    /// Two folders, and a program that is this shell script.
    fn places(script: &str) -> (tempfile::TempDir, Places) {
        let folder = tempfile::tempdir().unwrap();
        let [data, hub] = ["data", "hub"].map(|name| folder.path().join(name));
        std::fs::create_dir_all(&data).unwrap();
        let program = fetch::tests::program(folder.path(), script);
        (folder, Places { data, hub: Some(hub), program: Some(program) })
    }

    const MAIN: &str = "datasets--uoft-cs--cifar10/refs/main";

    fn cifar10() -> Fetch {
        Fetch::known("cifar10", "CIFAR-10", Some("uoft-cs/cifar10"))
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
        assert_eq!(places.find(&cifar10()).unwrap(), None);
        let first = file(&places.data, &one);
        assert_eq!(places.find(&cifar10()).unwrap(), Some(first.clone()));
        let second = file(&places.data, &two);
        let error = places.find(&cifar10()).unwrap_err().to_string();
        let names = "(cifar10-111111111111.igpt-data, cifar10-222222222222.igpt-data)";
        assert!(error.contains(names) && error.contains("set HF_HUB_CACHE"), "{error}");
        let main = places.hub.as_ref().unwrap().join(MAIN);
        std::fs::create_dir_all(main.parent().unwrap()).unwrap();
        for (revision, expected) in [(one, Some(first)), (two, Some(second)), ("3".repeat(40), None)] {
            std::fs::write(&main, format!("{revision}\n")).unwrap();
            assert_eq!(places.find(&cifar10()).unwrap(), expected);
        }
        // What is no revision is no path, either.
        std::fs::write(&main, "../../../../../../x").unwrap();
        assert!(places.find(&cifar10()).is_err());
    }

    #[test]
    fn only_files_of_the_same_request_count() {
        let (_folder, places) = places("exit 1");
        let one = "1".repeat(40);
        file(&places.data, &one);
        let other = places.data.join("cifar100-111111111111.igpt-data");
        std::fs::copy(file(&places.data, &one), &other).unwrap();
        assert!(places.find(&cifar10()).unwrap().is_some());
        assert_eq!(places.find(&Fetch::known("cifar", "CIFAR", None)).unwrap(), None);
        assert_eq!(places.find(&cifar10().side(16)).unwrap(), None);
        let small = places.data.join("cifar10-16px-111111111111.igpt-data");
        std::fs::rename(other, &small).unwrap();
        assert_eq!(places.find(&cifar10().side(16)).unwrap(), Some(small));
        assert!(places.find(&cifar10()).unwrap().is_some());
    }

    #[test]
    fn what_is_asked_for_is_in_the_name_and_in_the_command() {
        let all = Fetch::new("a/b").config("c d").image_column("x").label_column("y").side(8).rgb();
        assert_eq!(all.request.stem(), "a--b-config=c_d-image=x-label=y-8px-rgb");
        assert_eq!(
            all.request.command(),
            "igpt fetch a/b --config c d --image-column x --label-column y --side 8 --rgb"
        );
        assert_eq!(all.request.arguments()[3], "c d");
        assert_eq!(Fetch::new("../x").request.stem(), "..--x");
    }

    #[test]
    fn a_missing_file_is_fetched() {
        let (folder, places) = places(
            "echo fetching; [ \"$*\" = 'fetch cifar10' ] && cp \"$HF_HUB_CACHE\"/made/* \"$IGPT_DATA\"",
        );
        let made = folder.path().join("hub/made");
        std::fs::create_dir_all(&made).unwrap();
        file(&made, &"a".repeat(40));
        assert_eq!(places.open(&cifar10()).unwrap().dataset(None).unwrap().train().len(), 3);
        // Now it is there.
        let places = Places { program: None, ..places };
        assert_eq!(places.open(&cifar10()).unwrap().dataset(None).unwrap().test().len(), 1);
    }

    #[test]
    fn a_file_of_an_earlier_version_is_made_anew() {
        let (folder, places) = places("cp \"$HF_HUB_CACHE\"/made/* \"$IGPT_DATA\"");
        let made = folder.path().join("hub/made");
        std::fs::create_dir_all(&made).unwrap();
        let revision = "a".repeat(40);
        let dots = write(&places.data, |header, _| {
            header["revision"] = revision.clone().into();
            (header["jpeg"], header["jpeg_pixels"]) = (1.into(), 0.into());
        });
        std::fs::rename(dots, places.data.join("cifar10-aaaaaaaaaaaa.igpt-data")).unwrap();
        // Where nothing can make it anew, it is an error with its cure.
        let alone = Places { program: None, data: places.data.clone(), hub: None };
        let error = alone.open(&cifar10()).unwrap_err().to_string();
        assert!(error.contains("earlier version") && error.contains("igpt fetch cifar10"), "{error}");
        file(&made, &revision);
        assert_eq!(places.open(&cifar10()).unwrap().dataset(None).unwrap().train().len(), 3);
    }

    #[test]
    fn what_the_command_says_is_the_error() {
        let (_folder, silent) = places("exit 0");
        let error = silent.open(&cifar10()).unwrap_err().to_string();
        assert!(
            error.starts_with("`igpt fetch cifar10` ended well, but there is no file of it in "),
            "{error}"
        );
        let (_folder, plain) = places("echo 'error: not there' >&2; exit 1");
        let error = plain.open(&cifar10()).unwrap_err().to_string();
        assert_eq!(error, "`igpt fetch cifar10` failed (exit status: 1): not there");
        let alone = Places { program: None, ..plain };
        let error = alone.open(&cifar10()).unwrap_err().to_string();
        assert!(error.contains("run `igpt fetch cifar10`"), "{error}");
    }
}
