//! Data sets by their names, as profiles and steps have them.

mod folder_state;

use super::{
    Dataset, Labels, cifar10, cifar100, fashion_mnist, fashion_mnist_whole, folder, hub, imagenet, stl10,
};
use crate::{Error, Result};
use folder_state::folder_state;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// What there is: name and title. Beside these, `imagenet-32` (any side), `owner/name` for the hub's, and `folder:PATH`.
const KNOWN: [(&str, &str); 6] = [
    ("fashion-mnist", "Fashion-MNIST"),
    ("fashion-mnist-whole", "Fashion-MNIST"),
    ("cifar10", "CIFAR-10"),
    ("cifar100", "CIFAR-100"),
    ("cifar100-coarse", "CIFAR-100 (coarse classes)"),
    ("stl10", "STL-10"),
];

/// What tables call a data set that has not been read yet.
pub fn title(name: &str) -> &str {
    KNOWN.iter().find(|(known, _)| *known == name).map_or(name, |(_, title)| title)
}

/// The data set of this name, with the first `train` and `test` images of its splits, all where `None`. What was read
/// last is kept, so that the steps of an experiment read it once; a folder is read again when a file in it has changed.
///
/// Names are `fashion-mnist` (the sample that is committed in `data/`), `fashion-mnist-whole`, `cifar10`, `cifar100`,
/// `cifar100-coarse`, `stl10`, `imagenet-32` (or another side), `owner/name` for any data set of the Hugging Face hub
/// ([`hub`](super::hub())), and `folder:PATH` for a folder of image files ([`folder`](super::folder())).
///
/// # Errors
/// If there is no data set of this name, or it cannot be read.
pub fn named(name: &str, train: Option<usize>, test: Option<usize>) -> Result<Arc<Dataset>> {
    of_classes(name, None, train, test)
}

/// The same of some of the classes only, which are numbered anew: see [`Dataset::of_classes`]. `train` and `test` count images
/// of these classes.
///
/// # Errors
/// As [`named`], and as [`Dataset::of_classes`].
pub fn of_classes(
    name: &str,
    classes: Option<&[u16]>,
    train: Option<usize>,
    test: Option<usize>,
) -> Result<Arc<Dataset>> {
    /// With the state of the folder, if it is one: its images may be replaced while a kernel runs.
    type Wanted = (String, Option<[u8; 32]>, Option<Vec<u16>>, Option<usize>, Option<usize>);
    type Kept = Vec<(Wanted, Arc<Dataset>)>;
    static KEPT: Mutex<Kept> = Mutex::new(Vec::new());
    // Those of one experiment: what is pre-trained on, and what is probed on.
    const MOST: usize = 2;

    let state = name.strip_prefix("folder:").map(|folder| folder_state(Path::new(folder)));
    let wanted = (name.to_owned(), state, classes.map(<[u16]>::to_vec), train, test);
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, set)) = kept.iter().find(|(key, _)| *key == wanted) {
        return Ok(Arc::clone(set));
    }
    let mut set = load(name)?;
    if let Some(classes) = classes {
        set = set.of_classes(classes)?;
    }
    let set = Arc::new(set.first(train, test)?);
    kept.truncate(MOST - 1);
    kept.insert(0, (wanted, Arc::clone(&set)));
    Ok(set)
}

fn load(name: &str) -> Result<Dataset> {
    match name {
        "fashion-mnist" => fashion_mnist(),
        "fashion-mnist-whole" => fashion_mnist_whole(),
        "cifar10" => cifar10(),
        "cifar100" => cifar100(Labels::Fine),
        "cifar100-coarse" => cifar100(Labels::Coarse),
        "stl10" => stl10(),
        name if name.contains('/') && !name.starts_with("folder:") => hub(name),
        name => match (name.strip_prefix("folder:"), imagenet_side(name)) {
            (Some(path), _) => folder(path),
            (None, Some(side)) => imagenet(side),
            (None, None) => Err(unknown(name)),
        },
    }
}

fn imagenet_side(name: &str) -> Option<usize> {
    name.strip_prefix("imagenet-")?.parse().ok()
}

/// Checks that there may be a data set of this name, without looking for it.
///
/// # Errors
/// If there is none.
pub fn check_name(name: &str) -> Result<()> {
    let is_known = KNOWN.iter().any(|(known, _)| *known == name);
    match is_known || name.contains('/') || name.starts_with("folder:") || imagenet_side(name).is_some() {
        true => Ok(()),
        false => Err(unknown(name)),
    }
}

fn unknown(name: &str) -> Error {
    let known: Vec<&str> = KNOWN.iter().map(|(name, _)| *name).collect();
    Error::invalid(format!(
        "there is no data set {name:?}: there are {}, imagenet-32 (or another side), owner/name of the Hugging Face hub, and \
         folder:PATH",
        known.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_known_by_name() {
        let small = named("fashion-mnist", Some(20), Some(10)).unwrap();
        assert_eq!((small.train().len(), small.test().len()), (20, 10));
        assert!(Arc::ptr_eq(&small, &named("fashion-mnist", Some(20), Some(10)).unwrap()));
        assert_eq!(named("fashion-mnist", Some(30), None).unwrap().train().len(), 30);
        let error = named("fashion", None, None).unwrap_err().to_string();
        assert!(
            error.contains("\"fashion\"")
                && error.contains("fashion-mnist, ")
                && error.contains("folder:PATH")
        );
        assert_eq!((title("cifar10"), title("a/b")), ("CIFAR-10", "a/b"));
    }

    /// An image is replaced by another of the same length, which is said to be as old.
    #[test]
    fn a_changed_folder_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, value: u8| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            image::GrayImage::from_pixel(2, 2, image::Luma([value])).save(&path).unwrap();
            path
        };
        for name in ["train/a/1.png", "train/b/1.png", "train/b/below/it/2.png", "test/a/1.png"] {
            write(name, 50);
        }
        let name = format!("folder:{}", folder.path().display());
        let read = || named(&name, None, None).unwrap();
        let before = read();
        assert!(Arc::ptr_eq(&before, &read()));
        // Of a folder below the class's, too.
        for (number, name) in [(1, "train/b/1.png"), (2, "train/b/below/it/2.png")] {
            let before = read();
            let image = folder.path().join(name);
            let old = image.metadata().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
            write(name, 60);
            std::fs::File::options()
                .write(true)
                .open(&image)
                .unwrap()
                .set_modified(old.modified().unwrap())
                .unwrap();
            assert_eq!(image.metadata().unwrap().len(), old.len());
            assert_eq!(before.train().images.pixels(number).unwrap()[0], 50);
            assert_eq!(read().train().images.pixels(number).unwrap()[0], 60);
        }
    }
}
