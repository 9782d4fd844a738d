//! A data set in four IDX files, as MNIST and its relatives are published.

use super::Idx;
use crate::data::{Dataset, Images, Labelled};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// The data set whose four files, `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
/// `t10k-labels-idx1-ubyte`, lie in `folder`, plain or compressed (`.gz`); a dot before `idx` is as good as a dash.
/// Without names of classes, they are called by their numbers.
///
/// ```no_run
/// use igpt::prelude::*;
///
/// let digits = data::idx::dataset("MNIST", "/usr/share/datasets/mnist", &[])?;
/// # Ok::<(), igpt::Error>(())
/// ```
///
/// # Errors
/// If a file is not there or damaged, or they do not belong together.
pub fn dataset(name: &str, folder: impl AsRef<Path>, classes: &[&str]) -> Result<Dataset> {
    let folder = folder.as_ref();
    let array = |file: &str| {
        let path = find(folder, file)?;
        Ok::<_, Error>((Idx::open(&path)?, path))
    };
    let train = split(array("train-images-idx3-ubyte")?, array("train-labels-idx1-ubyte")?)?;
    let test = split(array("t10k-images-idx3-ubyte")?, array("t10k-labels-idx1-ubyte")?)?;
    if !classes.is_empty() {
        return Dataset::new(name, classes.iter().copied(), train, test);
    }
    let last = train.labels.iter().chain(&test.labels).copied().max().unwrap_or(0);
    Dataset::new(name, (0..=last).map(|class| class.to_string()), train, test)
}

/// The file of this name in any of its spellings.
fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let dotted = name.replacen("-idx", ".idx", 1);
    let spellings = [name, &dotted].into_iter().flat_map(|name| [name.to_owned(), format!("{name}.gz")]);
    spellings.map(|name| folder.join(name)).find(|path| path.is_file()).ok_or_else(|| {
        Error::format(folder, format!("holds no {name}, plain or with .gz: four such files make a data set"))
    })
}

/// The images of one array with the labels of another; the paths are what errors call them.
pub(in crate::data) fn split((images, path): (Idx, PathBuf), labels: (Idx, PathBuf)) -> Result<Labelled> {
    let images = match images.shape[..] {
        [_, height, width] => Images::new(height, width, 1, images.bytes),
        _ => {
            Err(Error::invalid(format!("holds an array of {} dimensions, not (N, H, W)", images.shape.len())))
        }
    }
    .map_err(|e| Error::format(path, e.to_string()))?;
    let (labels, path) = labels;
    if labels.shape.len() != 1 {
        return Err(Error::format(
            path,
            format!("holds an array of {} dimensions, not (N)", labels.shape.len()),
        ));
    }
    let labels = labels.bytes.into_iter().map(u16::from).collect();
    Labelled::new(images, labels).map_err(|e| Error::format(path, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write as _;

    #[test]
    fn four_files_are_a_data_set() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        let gz = |bytes: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        write("train-images-idx3-ubyte", &[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 1, 2, 3, 4]);
        write("train-labels-idx1-ubyte.gz", &gz(&[0, 0, 8, 1, 0, 0, 0, 2, 3, 0]));
        write("t10k-images.idx3-ubyte.gz", &gz(&[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 9, 8]));
        let error = dataset("Dots", folder.path(), &[]).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("{}: holds no t10k-labels-idx1-ubyte", folder.path().display())),
            "{error}"
        );
        write("t10k-labels.idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 1, 1]);
        let data = dataset("Dots", folder.path(), &[]).unwrap();
        assert_eq!((data.name(), data.classes().join(" ")), ("Dots", "0 1 2 3".into()));
        assert_eq!((&data.train().labels[..], &data.test().labels[..]), (&[3, 0][..], &[1][..]));
        assert_eq!(data.train().images.pixels(1).unwrap(), [3, 4]);
        assert_eq!(data.test().images.all_pixels(), [9, 8]);
        let named = dataset("Dots", folder.path(), &["a", "b", "c", "d", "e"]).unwrap();
        assert_eq!(named.classes().len(), 5);
        let error = dataset("Dots", folder.path(), &["a"]).unwrap_err().to_string();
        assert!(error.contains("the label of training image 0 is 3, but there are 1 classes"), "{error}");
    }

    /// Debian's package `dataset-fashion-mnist`.
    #[test]
    fn the_sample_is_the_beginning_of_fashion_mnist() {
        let folder = Path::new("/usr/share/datasets/fashion-mnist");
        if !folder.is_dir() {
            println!("skipped: {} is not there", folder.display());
            return;
        }
        let whole = dataset("Fashion-MNIST", folder, &[]).unwrap();
        assert_eq!((whole.train().len(), whole.test().len()), (60_000, 10_000));
        let sample = crate::data::fashion_mnist().unwrap();
        assert!(whole.train().images.all_pixels().starts_with(sample.train().images.all_pixels()));
        assert!(whole.test().labels.starts_with(&sample.test().labels));
    }
}
