//! A folder of images: one folder for each class, images in them or in folders below, as PyTorch's `ImageFolder` has it.
//!
//! Nothing that looks like an image is left out in silence.

use std::{
    ffi::OsStr,
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// Endings of images that are read, in any case. What is in a file is told by its first bytes.
const READ: [&str; 3] = ["jpeg", "jpg", "png"];
/// Endings of images that are not.
const NOT_READ: [&str; 20] = [
    "apng", "avif", "bmp", "gif", "heic", "heif", "ico", "j2k", "jfif", "jp2", "jpe", "jxl", "pbm", "pgm",
    "ppm", "qoi", "svg", "tif", "tiff", "webp",
];
/// Folders inside folders; a link that leads back to where it is would have no end.
const DEEPEST: usize = 32;

/// An image's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageName {
    /// Below its class's folder.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
}

/// Why a folder was not listed.
#[derive(Debug)]
pub struct Unlisted {
    /// The folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
}

impl Unlisted {
    fn new(path: &Path, what: String) -> Self {
        Self { path: path.to_owned(), what }
    }
}

impl fmt::Display for Unlisted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

impl std::error::Error for Unlisted {}

/// The classes of a split: the names of its folders, in order. What begins with a dot is not looked at.
///
/// # Errors
/// If the folder cannot be read, there is an image in it, which would have no class, or the name of a class is no text.
pub fn classes(split: &Path) -> Result<Vec<String>, Unlisted> {
    let (folders, files): (Vec<Entry>, Vec<Entry>) =
        list(split)?.into_iter().partition(|entry| entry.is_folder);
    let of_no_class: Vec<&Entry> = files
        .iter()
        .filter(|entry| has_ending(&entry.path, &READ) || has_ending(&entry.path, &NOT_READ))
        .collect();
    if let [first, ..] = of_no_class[..] {
        return Err(Unlisted::new(
            split,
            format!(
                "holds images that are in no class's folder: {} ({} in all); they are to lie in {}/CLASS/",
                name(&first.path),
                of_no_class.len(),
                split.display()
            ),
        ));
    }
    let class = |entry: &Entry| match entry.path.file_name().and_then(OsStr::to_str) {
        Some(name) => Ok(name.to_owned()),
        None => Err(Unlisted::new(split, format!("holds a folder whose name is no text: {:?}", entry.path))),
    };
    folders.iter().map(class).collect()
}

/// The images of a class, of its folder and of those below it: folder by folder in the order of their paths, and in a
/// folder by name. What begins with a dot is not looked at.
///
/// # Errors
/// If a folder cannot be read, there is no image, or one of a kind that is not read.
pub fn images(class: &Path) -> Result<Vec<ImageName>, Unlisted> {
    let (mut images, mut not_read) = (Vec::new(), Vec::new());
    let mut folders = vec![(class.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        if depth > DEEPEST {
            let what = format!(
                "has more than {DEEPEST} folders inside each other; is there a link that leads back?"
            );
            return Err(Unlisted::new(class, what));
        }
        for Entry { path, is_folder, bytes } in list(&folder)? {
            if is_folder {
                folders.push((path, depth + 1));
            } else if has_ending(&path, &READ) {
                let path = path.strip_prefix(class).unwrap_or(&path).to_owned();
                images.push(ImageName { path, bytes });
            } else if has_ending(&path, &NOT_READ) {
                not_read.push(path);
            }
        }
    }
    not_read.sort();
    if let [first, ..] = &not_read[..] {
        let first = first.strip_prefix(class).unwrap_or(first).display();
        let what = format!(
            "holds images that are not read here: {first} ({} in all); .png, .jpg and .jpeg are: convert them, or move \
             them away",
            not_read.len()
        );
        return Err(Unlisted::new(class, what));
    }
    if images.is_empty() {
        return Err(Unlisted::new(class, "holds no image (.JPEG, .jpg, .png)".into()));
    }
    // As text, a folder's path comes before those that it begins: Python sorts so.
    images.sort_by(|a, b| key(&a.path).cmp(&key(&b.path)));
    Ok(images)
}

/// The folder's path as text, and the name.
fn key(path: &Path) -> (&[u8], &[u8]) {
    let folder = path.parent().map(Path::as_os_str).unwrap_or_default();
    (folder.as_encoded_bytes(), path.file_name().unwrap_or_default().as_encoded_bytes())
}

/// A file or folder in a folder.
struct Entry {
    path: PathBuf,
    is_folder: bool,
    bytes: u64,
}

/// By name.
fn list(folder: &Path) -> Result<Vec<Entry>, Unlisted> {
    let wrong = |path: &Path, error: io::Error| Unlisted::new(path, format!("cannot be listed: {error}"));
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| wrong(folder, error))? {
        let path = entry.map_err(|error| wrong(folder, error))?.path();
        if name(&path).starts_with('.') {
            continue;
        }
        // Of what a link leads to.
        let metadata = fs::metadata(&path).map_err(|error| wrong(&path, error))?;
        entries.push(Entry { path, is_folder: metadata.is_dir(), bytes: metadata.len() });
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().and_then(OsStr::to_str);
    ending.is_some_and(|ending| endings.iter().any(|known| known.eq_ignore_ascii_case(ending)))
}

#[cfg(test)]
mod tests {
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

    /// The order of Python's `sorted(os.walk(folder))`, which `ImageFolder` lists, each folder's files sorted too.
    #[test]
    fn images_of_folders_below_come_in_pytorchs_order() {
        let files = [
            "b.png",
            "a.JPEG",
            "x/2.jpg",
            "x/10.jpg",
            "x-y/1.png",
            "x/a/1.png",
            ".hidden/1.png",
            "x/.2.png",
            "notes.txt",
        ];
        let folder = folder(&files);
        let found = images(folder.path()).unwrap();
        let names: Vec<_> = found.iter().map(|image| image.path.to_str().unwrap()).collect();
        assert_eq!(names, ["a.JPEG", "b.png", "x/10.jpg", "x/2.jpg", "x-y/1.png", "x/a/1.png"]);
        assert_eq!(found[2].bytes, "x/10.jpg".len() as u64);
    }

    #[test]
    fn what_would_be_left_out_is_an_error() {
        let said = |files: &[&str]| images(folder(files).path()).unwrap_err().to_string();
        assert!(
            said(&["a.png", "sub/c.WebP", "d.gif"]).contains("not read here: d.gif (2 in all); .png, .jpg")
        );
        assert!(said(&["sub/c.webp", "a.png"]).contains("not read here: sub/c.webp (1 in all)"));
        assert!(said(&["notes.txt"]).ends_with(": holds no image (.JPEG, .jpg, .png)"));
        let split = |files: &[&str]| classes(folder(files).path());
        assert_eq!(split(&["b/1.png", "a/2.webp", "readme.md", ".x/1.png"]).unwrap(), ["a", "b"]);
        let error = split(&["a/x.png", "z.webp", "y.JPEG"]).unwrap_err().to_string();
        assert!(error.contains("in no class's folder: y.JPEG (2 in all); they are to lie in "), "{error}");
        assert!(
            classes(Path::new("/no/such")).unwrap_err().to_string().contains("/no/such: cannot be listed")
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_back_is_an_error() {
        let folder = folder(&["a.png"]);
        std::os::unix::fs::symlink(folder.path(), folder.path().join("again")).unwrap();
        assert!(images(folder.path()).unwrap_err().to_string().contains("a link that leads back?"));
    }
}
