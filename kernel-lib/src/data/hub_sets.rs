//! The data sets of the paper and others, as `igpt fetch` prepares them.

use super::{Dataset, Fetch, Images};
use crate::Result;

/// CIFAR-10 (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009): 50,000 training and 10,000
/// test images, 32 × 32, RGB, of ten classes that are equally frequent, in the order of the hub's
/// `uoft-cs/cifar10`.
///
/// It is read from one plain file in the folder `IGPT_DATA`, else `target/igpt-data` of this repository. The file is
/// of the revision that the Hugging Face cache holds (`HF_HUB_CACHE`, else `HF_HOME/hub`, else the user's
/// `~/.cache/huggingface/hub`), where there is one. If it is not there yet, a notebook starts `igpt fetch cifar10`,
/// which makes it, and whose lines are printed.
///
/// Its name is "CIFAR-10", or "CIFAR-10 (JPEG copy)" if the cache holds JPEG images: their pixels are not those of
/// CIFAR-10.
///
/// # Errors
/// If it is not there and cannot be made, or the file is damaged; all with what to do.
pub fn cifar10() -> Result<Dataset> {
    Fetch::known("cifar10", "CIFAR-10", Some("uoft-cs/cifar10")).load()
}

/// Which classes of CIFAR-100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Labels {
    /// The 100 classes: apple, aquarium fish, baby, ...
    Fine,
    /// The 20 classes that each hold five of the fine ones: aquatic mammals, fish, flowers, ...
    Coarse,
}

/// CIFAR-100 (Krizhevsky, 2009): 50,000 training and 10,000 test images, 32 × 32, RGB, of equally frequent classes,
/// in the order of the hub's `uoft-cs/cifar100`. The paper's are the fine ones. It is found and prepared as
/// [`cifar10`] is.
///
/// # Errors
/// As [`cifar10`].
pub fn cifar100(labels: Labels) -> Result<Dataset> {
    let name = match labels {
        Labels::Fine => "fine",
        Labels::Coarse => "coarse",
    };
    Fetch::known("cifar100", "CIFAR-100", Some("uoft-cs/cifar100")).labelled(Some(name))
}

/// The labelled part of STL-10 (Coates, Ng and Lee, "An Analysis of Single Layer Networks in Unsupervised Feature
/// Learning", 2011): 5,000 training and 8,000 test images, 96 × 96, RGB, of ten equally frequent classes, in the
/// order of the hub's `jxie/stl10`. It is found and prepared as [`cifar10`] is. The paper shrinks it to 32 × 32 before
/// its probes: [`Images::map`].
///
/// # Errors
/// As [`cifar10`].
pub fn stl10() -> Result<Dataset> {
    Fetch::known("stl10", "STL-10", Some("jxie/stl10")).load()
}

/// The 100,000 images of STL-10 that have no labels: 2.8 GB in memory. The paper does not use them.
///
/// # Errors
/// As [`cifar10`].
pub fn stl10_unlabeled() -> Result<Images> {
    Fetch::known("stl10-unlabeled", "STL-10's unlabeled part", Some("jxie/stl10")).images("unlabeled")
}

/// The whole of Fashion-MNIST, 60,000 training and 10,000 test images, 28 × 28, grey, from the hub's
/// `zalando-datasets/fashion_mnist`; [`fashion_mnist`](super::fashion_mnist()) is the sample that needs no hub. It is
/// found and prepared as [`cifar10`] is.
///
/// # Errors
/// As [`cifar10`].
pub fn fashion_mnist_whole() -> Result<Dataset> {
    Fetch::known("fashion-mnist", "Fashion-MNIST", Some("zalando-datasets/fashion_mnist")).load()
}

/// ImageNet (ILSVRC 2012) at `side` × `side` pixels: 1,281,167 training images, and as the test split the 50,000
/// that are called its validation split; in 1,000 classes. Each image is resized until its shorter side has that
/// length, and the square in the middle is cut out.
///
/// It is prepared from the hub's `ILSVRC/imagenet-1k`, or from the folder that `IGPT_IMAGENET` names, with
/// `train/n01440764/*.JPEG` and `val/n01440764/*.JPEG`. All its pixels are in memory, once: 3.9 GB for a side of 32.
///
/// # Errors
/// As [`cifar10`].
pub fn imagenet(side: usize) -> Result<Dataset> {
    Fetch::known("imagenet", "ImageNet", None).side(side).load()
}

/// Any data set of the hub whose Parquet files have a column of images and one of labels; [`Fetch`] says which
/// columns and sizes. It is found and prepared as [`cifar10`] is.
///
/// # Errors
/// As [`cifar10`].
pub fn hub(name: &str) -> Result<Dataset> {
    Fetch::new(name).load()
}
