//! A data set of image files, as PyTorch's `ImageFolder` has it.

use super::{Dataset, Images, Labelled};
use crate::{Error, Image, Result, memory, stop};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The image files `train/CLASS/*` and `test/CLASS/*` of a folder (PNG or JPEG), in the order of their names. All have one
/// size. The classes are the folders of `train`, by name.
///
/// # Errors
/// If a folder or image cannot be read, the images have several sizes, or `test` has a class that `train` has not.
pub fn folder(path: impl AsRef<Path>) -> Result<Dataset> {
    let path = path.as_ref();
    let classes = names(&path.join("train"), Path::is_dir)?;
    let split = |name: &str| -> Result<Labelled> {
        let folder = path.join(name);
        if let Some(unknown) = names(&folder, Path::is_dir)?.difference(&classes).next() {
            return Err(Error::format(&folder, format!("the class {unknown} is not among those of train")));
        }
        let (mut images, mut labels) = (Vec::<Image>::new(), Vec::new());
        for (label, class) in classes.iter().enumerate() {
            let label = u16::try_from(label)
                .map_err(|_| Error::format(&folder, format!("{} classes are too many", classes.len())))?;
            let class = folder.join(class);
            if !class.exists() {
                continue;
            }
            for file in names(&class, is_image)? {
                stop::check("reading images")?;
                let image = Image::open(class.join(file))?;
                memory::check("the images of the folder", &[images.len() + 1, image.pixels().len()])?;
                images.push(image);
                labels.push(label);
            }
        }
        let images = Images::gather(images).map_err(|error| Error::format(&folder, error.to_string()))?;
        Labelled::new(images, labels)
    };
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Dataset::new(name, classes.iter().cloned(), split("train")?, split("test")?)
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase();
    path.is_file() && ["png", "jpg", "jpeg"].contains(&extension.as_str())
}

/// Names in a folder of what is wanted; hidden ones are not.
fn names(folder: &Path, is_wanted: impl Fn(&Path) -> bool) -> Result<BTreeSet<String>> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let paths: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()
        .map_err(|e| Error::io(folder, e))?;
    let names = paths.iter().filter(|path| is_wanted(path)).filter_map(|path| path.file_name()?.to_str());
    Ok(names.filter(|name| !name.starts_with('.')).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image of 2 × 2 grey pixels, all of one value, as a PNG.
    fn write(path: &Path, value: u8, side: u32) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::GrayImage::from_pixel(side, side, image::Luma([value])).save(path).unwrap();
    }

    #[test]
    fn classes_are_folders_and_images_are_in_the_order_of_their_names() {
        let root = tempfile::tempdir().unwrap();
        let file = |name: &str, value: u8| write(&root.path().join(name), value, 2);
        file("train/dog/b.png", 3);
        file("train/dog/a.png", 2);
        file("train/cat/z.png", 1);
        file("test/cat/y.PNG", 4);
        std::fs::write(root.path().join("train/dog/notes.txt"), "none").unwrap();
        let set = folder(root.path()).unwrap();
        assert_eq!(set.classes(), ["cat", "dog"]);
        let firsts = |part: &Labelled| part.images.iter_pixels().map(|pixels| pixels[0]).collect::<Vec<_>>();
        assert_eq!((firsts(set.train()), &set.train().labels[..]), (vec![1, 2, 3], &[0, 1, 1][..]));
        assert_eq!((firsts(set.test()), &set.test().labels[..]), (vec![4], &[0][..]));

        let said = || folder(root.path()).unwrap_err().to_string();
        file("test/cow/a.png", 1);
        assert!(said().contains("the class cow is not among those of train"), "{}", said());
        std::fs::remove_dir_all(root.path().join("test/cow")).unwrap();
        write(&root.path().join("train/dog/c.png"), 1, 3);
        assert!(said().contains("train"), "{}", said());
        std::fs::remove_dir_all(root.path().join("test")).unwrap();
        std::fs::remove_file(root.path().join("train/dog/c.png")).unwrap();
        assert!(said().contains("test"), "{}", said());
    }
}
