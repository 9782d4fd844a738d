//! A data set of image files, as PyTorch's `ImageFolder` has it.

use super::{Dataset, Images, Labelled};
use crate::{Error, Image, Result, memory, stop};
use igpt_formats::image_folder::{self, Unlisted};
use std::path::Path;

/// The image files below `train/CLASS/` and `test/CLASS/` of a folder (PNG or JPEG), in the order of their paths, as
/// PyTorch's `ImageFolder` lists them: those of the class's folder by name, then those of each folder inside it. All have
/// one size. The classes are the folders of `train`, by name. Names that begin with a dot are not looked at.
///
/// # Errors
/// If a folder or image cannot be read, the images have several sizes, `test` has a class that `train` has not, a class's
/// folder is without images, or there are images that would be left out: in no class's folder, or of another kind
/// (`.webp`, `.gif`, …).
pub fn folder(path: impl AsRef<Path>) -> Result<Dataset> {
    let path = path.as_ref();
    let classes = image_folder::classes(&path.join("train")).map_err(unlisted)?;
    let split = |name: &str| -> Result<Labelled> {
        let folder = path.join(name);
        let here = image_folder::classes(&folder).map_err(unlisted)?;
        if let Some(unknown) = here.iter().find(|class| !classes.contains(class)) {
            return Err(Error::format(&folder, format!("the class {unknown} is not among those of train")));
        }
        let (mut images, mut labels) = (Vec::<Image>::new(), Vec::new());
        for (label, class) in classes.iter().enumerate() {
            let label = u16::try_from(label)
                .map_err(|_| Error::format(&folder, format!("{} classes are too many", classes.len())))?;
            if !here.contains(class) {
                continue;
            }
            let class = folder.join(class);
            for file in image_folder::images(&class).map_err(unlisted)? {
                stop::check("reading images")?;
                let image = Image::open(class.join(file.path))?;
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

fn unlisted(why: Unlisted) -> Error {
    Error::format(why.path, why.what)
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
        // A folder in a class's folder is part of the class.
        file("train/dog/older/a.png", 5);
        std::fs::write(root.path().join("train/dog/notes.txt"), "none").unwrap();
        let set = folder(root.path()).unwrap();
        assert_eq!(set.classes(), ["cat", "dog"]);
        let firsts = |part: &Labelled| part.images.iter_pixels().map(|pixels| pixels[0]).collect::<Vec<_>>();
        assert_eq!((firsts(set.train()), &set.train().labels[..]), (vec![1, 2, 3, 5], &[0, 1, 1, 1][..]));
        assert_eq!((firsts(set.test()), &set.test().labels[..]), (vec![4], &[0][..]));

        let said = || folder(root.path()).unwrap_err().to_string();
        for (name, expected) in [
            (
                "train/dog/older/b.webp",
                "train/dog: holds images that are not read here: older/b.webp (1 in all)",
            ),
            ("test/c.png", "test: holds images that are in no class's folder: c.png (1 in all)"),
        ] {
            std::fs::write(root.path().join(name), "x").unwrap();
            assert!(said().contains(expected), "{}", said());
            std::fs::remove_file(root.path().join(name)).unwrap();
            assert!(folder(root.path()).is_ok());
        }
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
