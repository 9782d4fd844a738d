//! The data sets that have a name here: where the Hugging Face hub has them, and under which licence they are. `igpt fetch`
//! lists it, and a model card says it of the data that a network was trained on.

/// A data set of the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The hub's repository, `owner/name`.
    pub repository: &'static str,
    /// What its authors or its page say of its licence.
    pub licence: &'static str,
}

const NOT_STATED: &str = "not stated";

/// CIFAR-10.
pub const CIFAR10: Published = Published { repository: "uoft-cs/cifar10", licence: NOT_STATED };

/// CIFAR-100.
pub const CIFAR100: Published = Published { repository: "uoft-cs/cifar100", licence: NOT_STATED };

/// STL-10.
pub const STL10: Published =
    Published { repository: "jxie/stl10", licence: "not stated; the images are ImageNet's" };

/// Fashion-MNIST.
pub const FASHION_MNIST: Published =
    Published { repository: "zalando-datasets/fashion_mnist", licence: "MIT" };

/// ImageNet (ILSVRC 2012).
pub const IMAGENET: Published =
    Published { repository: "ILSVRC/imagenet-1k", licence: "research, non-commercial; gated" };
