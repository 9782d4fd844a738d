//! Where a data set comes from, and under which licence it is.

use super::Manifest;
use crate::Result;
use igpt_formats::published::{CIFAR10, CIFAR100, FASHION_MNIST, IMAGENET, Published, STL10};

/// What is known of where a data set comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Origin {
    /// Its repository among the data sets of the Hugging Face hub: `uoft-cs/cifar10`.
    pub repository: Option<String>,
    /// Where its files were taken from, for what is committed in this repository.
    pub source: Option<String>,
    /// What is stated of its licence: `MIT (fashion-mnist/LICENSE)`, `not stated`. `None`: nobody here knows.
    pub licence: Option<String>,
}

/// Where the data set of this name comes from: a name that [`named`](super::named) knows. Nothing is read but
/// `data/manifest.toml`, for the set that is committed here.
///
/// ```
/// let origin = igpt::data::origin("cifar10")?;
/// assert_eq!(origin.repository.as_deref(), Some("uoft-cs/cifar10"));
/// # Ok::<(), igpt::Error>(())
/// ```
///
/// # Errors
/// If the manifest cannot be read.
pub fn origin(name: &str) -> Result<Origin> {
    if name == "fashion-mnist" {
        // All four files are of one source.
        let manifest = Manifest::open()?;
        let entry =
            manifest.files().iter().find(|entry| entry.path.starts_with("fashion-mnist/train-images"));
        return Ok(Origin {
            repository: Some(FASHION_MNIST.repository.to_owned()),
            source: entry.map(|entry| entry.source.clone()),
            licence: entry.map(|entry| entry.licence.clone()),
        });
    }
    Ok(match published(name) {
        Some(Published { repository, licence }) => Origin {
            repository: Some(repository.to_owned()),
            source: None,
            licence: Some(licence.to_owned()),
        },
        None if name.contains('/') && !name.starts_with("folder:") => {
            Origin { repository: Some(name.to_owned()), ..Origin::default() }
        }
        None => Origin::default(),
    })
}

fn published(name: &str) -> Option<Published> {
    Some(match name {
        "fashion-mnist-whole" => FASHION_MNIST,
        "cifar10" => CIFAR10,
        "cifar100" | "cifar100-coarse" => CIFAR100,
        "stl10" => STL10,
        name if name.starts_with("imagenet-") => IMAGENET,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_each_kind_of_data_set() {
        let found = |name: &str| {
            let Origin { repository, source, licence } = origin(name).unwrap();
            (repository.unwrap_or_default(), source.unwrap_or_default(), licence.unwrap_or_default())
        };
        let (repository, source, licence) = found("fashion-mnist");
        assert_eq!(repository, found("fashion-mnist-whole").0);
        assert!(source.contains("train-images") && licence.starts_with("MIT ("), "{source}, {licence}");
        assert_eq!(found("fashion-mnist-whole").2, "MIT");
        assert_eq!(found("cifar100"), found("cifar100-coarse"));
        for (name, repository, licence) in [
            ("cifar10", "uoft-cs/cifar10", "not stated"),
            ("stl10", "jxie/stl10", "not stated; the images are ImageNet's"),
            ("imagenet-32", "ILSVRC/imagenet-1k", "research, non-commercial; gated"),
            ("owner/name", "owner/name", ""),
            ("folder:a/b", "", ""),
        ] {
            assert_eq!(found(name), (repository.into(), String::new(), licence.into()));
        }
    }
}
