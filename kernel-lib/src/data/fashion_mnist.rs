//! The sample of Fashion-MNIST that is committed in this repository.

use super::idx::{self, Idx};
use super::{Dataset, Labelled, Manifest};
use crate::{Error, Result};

/// Labels 0 to 9, as the data set's own documentation names them.
const CLASSES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// A sample of Fashion-MNIST (Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
/// Learning Algorithms", 2017): its first 10,000 training and all 10,000 test images, 28 × 28, grey, white garments
/// on black, in ten classes that are about equally frequent.
///
/// # Errors
/// If a file of it is not there, or not the one that was committed.
pub fn fashion_mnist() -> Result<Dataset> {
    let manifest = Manifest::open()?;
    Dataset::new(
        "Fashion-MNIST (sample)",
        CLASSES,
        split(&manifest, "fashion-mnist/train")?,
        split(&manifest, "fashion-mnist/t10k")?,
    )
}

/// The images and labels of the files that begin with `prefix`.
fn split(manifest: &Manifest, prefix: &str) -> Result<Labelled> {
    let array = |rest: &str| {
        let path = format!("{prefix}-{rest}-ubyte.gz");
        Ok::<_, Error>((Idx::parse(&manifest.read(&path)?, manifest.path(&path))?, manifest.path(&path)))
    };
    idx::split(array("images-idx3")?, array("labels-idx1")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::Show as _;
    use flate2::{Compression, write::GzEncoder};
    use sha2::{Digest as _, Sha256};
    use std::io::Write as _;

    #[test]
    fn the_sample_is_what_it_says() {
        let data = fashion_mnist().unwrap();
        let (train, test) = (data.train(), data.test());
        assert_eq!((train.len(), test.len(), data.classes().len()), (10_000, 10_000, 10));
        assert_eq!((train.images.side().unwrap(), train.images.channels()), (28, 1));
        let counts = |split: &Labelled| -> Vec<usize> {
            (0..10).map(|class| split.labels.iter().filter(|label| **label == class).count()).collect()
        };
        assert_eq!(counts(train), [942, 1027, 1016, 1019, 974, 989, 1021, 1022, 990, 1000]);
        assert_eq!(counts(test), [1000; 10]);
        // The first training image is an ankle boot, the first test image too.
        assert_eq!((train.labels[0], test.labels[0]), (9, 9));
        let text = data.to_text();
        assert!(text.contains("training  10,000  28 × 28, grey       10"), "{text}");
        assert!(text.starts_with("Fashion-MNIST (sample)\n") && text.contains("Ankle boot"), "{text}");
    }

    /// A folder that holds these arrays as one split, with a manifest that is right.
    fn folder(images: &[u8], labels: &[u8]) -> (tempfile::TempDir, Manifest) {
        let folder = tempfile::tempdir().unwrap();
        let mut text = String::new();
        for (path, bytes) in [("x-images-idx3-ubyte.gz", images), ("x-labels-idx1-ubyte.gz", labels)] {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).unwrap();
            let file = encoder.finish().unwrap();
            std::fs::write(folder.path().join(path), &file).unwrap();
            let sha256 = crate::hex::hex(&Sha256::digest(&file));
            text.push_str(&format!(
                "[[file]]\npath = \"{path}\"\nbytes = {}\nsha256 = \"{sha256}\"\n\
                 source = \"\"\nlicence = \"\"\nwhat = \"\"\n",
                file.len()
            ));
        }
        std::fs::write(folder.path().join("manifest.toml"), text).unwrap();
        let manifest = Manifest::open_in(folder.path()).unwrap();
        (folder, manifest)
    }

    #[test]
    fn arrays_that_do_not_belong_together_are_refused() {
        let images = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 50, 60];
        let labels = [0, 0, 8, 1, 0, 0, 0, 2, 3, 4];
        let (_folder, manifest) = folder(&images, &labels);
        assert_eq!(split(&manifest, "x").unwrap().labels, [3, 4]);

        let one = [0, 0, 8, 1, 0, 0, 0, 1, 3];
        for (images, labels, expected) in [
            (&images[..], &one[..], "x-labels-idx1-ubyte.gz: there are 1 labels for 2 images"),
            (&labels, &labels, "x-images-idx3-ubyte.gz: holds an array of 1 dimensions, not (N, H, W)"),
            (&images, &images, "x-labels-idx1-ubyte.gz: holds an array of 3 dimensions, not (N)"),
            (&images[..17], &labels, "x-images-idx3-ubyte.gz: ends after 1 of 2 × 1 × 1 = 2 elements"),
        ] {
            let (_folder, manifest) = folder(images, labels);
            let error = split(&manifest, "x").unwrap_err().to_string();
            assert!(error.ends_with(expected), "{error}");
        }
    }
}
