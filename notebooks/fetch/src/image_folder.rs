//! Images in folders, one folder for each class, as ImageNet is published: `train/n01440764/*.JPEG`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use igpt_formats::image_folder::{classes, images};
use sha2::{Digest as _, Sha256};

use super::{
    encoded::{Content, Origin, Row},
    file_stamp,
};

/// Images that are decoded at a time. Each is read by the thread that decodes it.
const BATCH: usize = 512;

/// The images of a split, in the order of classes and then of paths, as the library's `data::folder` has them.
pub(super) struct ImageFolder {
    path: PathBuf,
    /// The names of the classes' folders, in order.
    classes: Vec<String>,
    /// The class of each file, and its path below the class's folder: of ImageNet there are more than a million.
    files: Vec<(u16, PathBuf)>,
    at: usize,
    listing: String,
    state: String,
}

impl ImageFolder {
    /// Lists a split.
    ///
    /// # Errors
    /// If it is not folders with images in them, or there are images that would be left out.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let classes = classes(path)?;
        if classes.is_empty() {
            let path = path.display();
            bail!("{path}: holds no folder for each class; it is to hold {path}/CLASS/*.JPEG");
        }
        if classes.len() > usize::from(u16::MAX) + 1 {
            bail!("{}: holds {} folders, more than there can be classes", path.display(), classes.len());
        }
        let (mut files, mut listing, mut state) = (Vec::new(), Sha256::new(), Sha256::new());
        for (class, folder) in (0..=u16::MAX).zip(&classes) {
            for image in images(&path.join(folder))? {
                let (shown, file) = (image.path.display(), path.join(folder).join(&image.path));
                let found = fs::metadata(&file).with_context(|| file.display().to_string())?;
                listing.update(format!("{folder}/{shown} {}\n", image.bytes));
                state.update(format!("{folder}/{shown} {:?}\n", file_stamp::stamp(&found)));
                files.push((class, image.path));
            }
        }
        let [listing, state] = [listing, state].map(|hash| super::hex(&hash.finalize()));
        Ok(Self { path: path.to_owned(), classes, files, at: 0, listing, state })
    }

    /// The names of the classes.
    pub(super) fn classes(&self) -> &[String] {
        &self.classes
    }

    /// A hash of all names and lengths, by which the data set is named: a copy of the folder has the same.
    pub(super) fn listing(&self) -> &str {
        &self.listing
    }

    /// A hash of what the file system says of all files, which is another after every change of one: an image that was replaced by
    /// another of the same length has another [`stamp`](file_stamp::stamp). Reading everything to see whether something has changed
    /// would take as long as decoding it.
    pub(super) fn state(&self) -> &str {
        &self.state
    }

    /// How many images there are.
    pub(super) fn total(&self) -> usize {
        self.files.len()
    }

    /// Begins again.
    pub(super) fn rewind(&mut self) {
        self.at = 0;
    }

    /// The next images; `None` after the last one.
    pub(super) fn next(&mut self) -> Option<Vec<Row>> {
        let files = self.files.get(self.at..)?;
        let files = &files[..files.len().min(BATCH)];
        self.at += files.len();
        let row = |(class, name): &(u16, PathBuf)| {
            let path = self.path.join(&self.classes[usize::from(*class)]).join(name);
            Row {
                place: Origin::File(path.clone()),
                content: Content::File(path),
                labels: vec![Some(i64::from(*class))],
            }
        };
        (!files.is_empty()).then(|| files.iter().map(row).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        folder
    }

    #[test]
    fn images_come_in_the_order_of_classes_and_names() {
        let files =
            ["b/2.JPEG", "b/1/0.jpg", "b/10.jpg", "a/x.png", "a/.hidden.png", "a/notes.txt", "readme.md"];
        let folder = folder(&files);
        let mut split = ImageFolder::open(folder.path()).unwrap();
        assert_eq!((split.classes().join(" "), split.total()), ("a b".into(), 4));
        let rows = split.next().unwrap();
        let found: Vec<_> = rows.iter().map(|row| (row.place.to_string(), row.labels[0].unwrap())).collect();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let expected =
            [(path("a/x.png"), 0), (path("b/10.jpg"), 1), (path("b/2.JPEG"), 1), (path("b/1/0.jpg"), 1)];
        assert_eq!(found, expected);
        assert!(split.next().is_none());

        let hashes = || {
            let split = ImageFolder::open(folder.path()).unwrap();
            (split.listing().to_owned(), split.state().to_owned())
        };
        let before = hashes();
        fs::write(folder.path().join("a/notes.txt"), "more").unwrap();
        assert_eq!(hashes(), before);
        fs::write(folder.path().join("a/x.png"), "more").unwrap();
        let after = hashes();
        assert!(after.0 != before.0 && after.1 != before.1);
        // As long, and said to be as old as before.
        let image = folder.path().join("b/2.JPEG");
        let modified = fs::metadata(&image).unwrap().modified().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(&image, "B/2.JPEG").unwrap();
        fs::File::options().write(true).open(&image).unwrap().set_modified(modified).unwrap();
        let replaced = hashes();
        assert!(replaced.0 == after.0 && replaced.1 != after.1);
    }

    #[test]
    fn what_is_no_split_is_refused() {
        let error =
            |files: &[&str]| ImageFolder::open(folder(files).path()).map(|_| ()).unwrap_err().to_string();
        assert!(error(&["x.JPEG"]).contains("holds images that are in no class's folder: x.JPEG (1 in all)"));
        assert!(error(&["x.txt"]).contains("holds no folder for each class; it is to hold "));
        assert!(error(&["a/x.JPEG", "b/y.txt"]).contains("/b: holds no image (.JPEG, .jpg, .png)"));
        assert!(
            error(&["a/x.JPEG", "b/1/y.gif"])
                .contains("/b: holds images that are not read here: 1/y.gif (1 ")
        );
        assert!(
            ImageFolder::open(Path::new("/no/such"))
                .map(|_| ())
                .unwrap_err()
                .to_string()
                .contains("/no/such")
        );
    }

    #[test]
    fn no_more_than_a_batch_is_handed_out() {
        let names: Vec<String> = (0..BATCH + 3).map(|at| format!("a/{at:05}.png")).collect();
        let folder = folder(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let mut split = ImageFolder::open(folder.path()).unwrap();
        let sizes: Vec<_> = std::iter::from_fn(|| split.next()).map(|rows| rows.len()).collect();
        assert_eq!(sizes, [BATCH, 3]);
    }
}
