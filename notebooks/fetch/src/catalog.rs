//! What `igpt fetch` knows by name.

use std::path::Path;

use anyhow::Result;
use igpt_formats::published;

use super::image::Colours;

/// Something that can be fetched.
pub(super) struct Entry {
    /// What the command and the library call it.
    pub name: &'static str,
    pub what: &'static str,
    /// The hub's repository.
    pub repository: &'static str,
    pub licence: &'static str,
    /// Of what is downloaded; about, where the hub's numbers were not at hand.
    download: &'static str,
    /// Of the file that is made.
    prepared: &'static str,
    pub kind: Kind,
}

pub(super) enum Kind {
    Data(DataSet),
    /// Weights of a size, which the library reads as they are.
    Model(&'static str),
}

/// How a data set lies in its repository.
#[derive(Debug, Clone, Copy)]
pub(super) struct DataSet {
    /// What tables and reports call it.
    pub title: &'static str,
    pub folder: &'static str,
    pub image: &'static str,
    /// The sets of labels and their columns.
    pub labels: &'static [(&'static str, &'static str)],
    pub splits: &'static [Split],
    /// How many classes each set has.
    pub classes: &'static [usize],
    /// What the classes of the first set are called, where other names would mean another data set.
    pub names: Option<&'static [&'static str]>,
    pub colours: Colours,
    /// The images were published without loss, have one size, and their classes are equally frequent.
    pub is_uniform: bool,
}

/// A split of the file that is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Split {
    pub name: &'static str,
    /// What the repository calls it.
    pub theirs: &'static str,
    pub is_labelled: bool,
}

const TRAIN: Split = Split { name: "train", theirs: "train", is_labelled: true };
const TEST: Split = Split { name: "test", theirs: "test", is_labelled: true };

const CIFAR10: DataSet = DataSet {
    title: "CIFAR-10",
    folder: "plain_text",
    image: "img",
    labels: &[("label", "label")],
    splits: &[TRAIN, TEST],
    classes: &[10],
    names: Some(&["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]),
    colours: Colours::Exactly(3),
    is_uniform: true,
};

const CIFAR100: DataSet = DataSet {
    title: "CIFAR-100",
    folder: "cifar100",
    labels: &[("fine", "fine_label"), ("coarse", "coarse_label")],
    classes: &[100, 20],
    names: None,
    ..CIFAR10
};

const STL10: DataSet = DataSet { title: "STL-10", folder: "data", image: "image", names: None, ..CIFAR10 };

/// All that can be fetched by name. A data set that is not here is fetched by its repository, `owner/name`.
pub(super) static ENTRIES: [Entry; 9] = [
    Entry {
        name: "cifar10",
        what: "CIFAR-10: 50,000 + 10,000 images, 32 × 32, ten classes",
        repository: published::CIFAR10.repository,
        licence: published::CIFAR10.licence,
        download: "about 144 MB",
        prepared: "185 MB",
        kind: Kind::Data(CIFAR10),
    },
    Entry {
        name: "cifar100",
        what: "CIFAR-100: 50,000 + 10,000 images, 32 × 32, 100 classes in 20",
        repository: published::CIFAR100.repository,
        licence: published::CIFAR100.licence,
        download: "about 142 MB",
        prepared: "185 MB",
        kind: Kind::Data(CIFAR100),
    },
    Entry {
        name: "stl10",
        what: "STL-10: 5,000 + 8,000 images, 96 × 96, ten classes",
        repository: published::STL10.repository,
        licence: published::STL10.licence,
        download: "about 230 MB",
        prepared: "359 MB",
        kind: Kind::Data(STL10),
    },
    Entry {
        name: "stl10-unlabeled",
        what: "the same with its 100,000 images without labels",
        repository: published::STL10.repository,
        licence: published::STL10.licence,
        download: "about 2 GB",
        prepared: "3.1 GB",
        kind: Kind::Data(DataSet {
            splits: &[TRAIN, TEST, Split { name: "unlabeled", theirs: "unlabeled", is_labelled: false }],
            ..STL10
        }),
    },
    Entry {
        name: "fashion-mnist",
        what: "Fashion-MNIST: 60,000 + 10,000 images, 28 × 28, grey, ten classes",
        repository: published::FASHION_MNIST.repository,
        licence: published::FASHION_MNIST.licence,
        download: "about 36 MB",
        prepared: "55 MB",
        kind: Kind::Data(DataSet {
            title: "Fashion-MNIST",
            folder: "fashion_mnist",
            image: "image",
            names: None,
            colours: Colours::Exactly(1),
            ..CIFAR10
        }),
    },
    Entry {
        name: "imagenet",
        what: "ImageNet (ILSVRC 2012): 1,281,167 + 50,000 images, 1,000 classes; needs --side",
        repository: published::IMAGENET.repository,
        licence: published::IMAGENET.licence,
        download: "about 155 GB",
        prepared: "4.1 GB with --side 32",
        kind: Kind::Data(DataSet {
            title: "ImageNet",
            folder: "data",
            image: "image",
            // The test split has no labels; the validation split is what everybody tests on.
            splits: &[TRAIN, Split { name: "test", theirs: "validation", is_labelled: true }],
            classes: &[1000],
            names: None,
            colours: Colours::Rgb,
            is_uniform: false,
            ..CIFAR10
        }),
    },
    model(
        "small",
        "imagegpt-small",
        "iGPT-S: weights of 76 million parameters, and the palette",
        "openai/imagegpt-small",
        "332 MB",
    ),
    model(
        "medium",
        "imagegpt-medium",
        "iGPT-M: weights of 455 million parameters, and the palette",
        "openai/imagegpt-medium",
        "1.86 GB",
    ),
    model(
        "large",
        "imagegpt-large",
        "iGPT-L: weights of 1.4 billion parameters, and the palette",
        "openai/imagegpt-large",
        "5.5 GB",
    ),
];

const fn model(
    size: &'static str,
    name: &'static str,
    what: &'static str,
    repository: &'static str,
    download: &'static str,
) -> Entry {
    Entry {
        name,
        what,
        repository,
        licence: "apache-2.0",
        download,
        prepared: "as it is",
        kind: Kind::Model(size),
    }
}

/// What has this name.
pub(super) fn find(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name)
}

/// The table of all that can be fetched by name, and what of it is in the cache `hub` and in the folder `data`.
pub(super) fn table(hub: &Path, data: &Path) -> Result<String> {
    let mut rows = vec![["name", "what it is", "download", "prepared", "licence", "here"].map(String::from)];
    for entry in &ENTRIES {
        let plural = if matches!(entry.kind, Kind::Model(_)) { "models" } else { "datasets" };
        let folder = format!("{plural}--{}", entry.repository.replace('/', "--"));
        let is_cached = hub.join(folder).join("refs/main").is_file();
        let is_prepared = is_prepared(data, entry.name);
        let here = match (is_cached, is_prepared) {
            (true, true) => "in the cache, prepared",
            (true, false) => "in the cache",
            (false, true) => "prepared",
            (false, false) => "",
        };
        rows.push(
            [entry.name, entry.what, entry.download, entry.prepared, entry.licence, here].map(String::from),
        );
    }
    let widths: Vec<usize> =
        (0..6).map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0)).collect();
    let line = |row: &[String; 6]| {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    let lines: String = rows.iter().map(line).collect();
    Ok(lines
        + &format!(
            "\nAny other data set of the hub with an image and a label in each row: igpt fetch OWNER/NAME\n\
             The cache is {}; prepared files are in {}.\n",
            hub.display(),
            data.display()
        ))
}

/// Whether a file of it has been made, of any revision and with any settings.
fn is_prepared(data: &Path, name: &str) -> bool {
    let is_it = |file: &str| {
        let rest = file.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
        let Some(rest) = rest.and_then(|rest| rest.strip_suffix(".igpt-data")) else { return false };
        // `stl10-unlabeled` begins as `stl10` does.
        !ENTRIES.iter().any(|other| other.name.len() > name.len() && file.starts_with(other.name))
            && rest.rsplit('-').next().is_some_and(|revision| revision.len() == 12)
    };
    let entries = std::fs::read_dir(data).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).any(|file| is_it(&file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_consistent() {
        for entry in &ENTRIES {
            assert!(std::ptr::eq(find(entry.name).unwrap(), entry), "{} is there twice", entry.name);
            assert!(entry.repository.split('/').count() == 2 && !entry.licence.is_empty());
            let Kind::Data(data) = entry.kind else { continue };
            assert_eq!(data.labels.len(), data.classes.len());
            assert_eq!((data.splits[0].name, data.splits[1].name), ("train", "test"));
            assert!(data.names.is_none_or(|names| names.len() == data.classes[0]));
        }
        assert!(find("cifar").is_none());
    }

    #[test]
    fn the_table_says_what_is_here() {
        let folder = tempfile::tempdir().unwrap();
        let (hub, data) = (folder.path().join("hub"), folder.path().join("data"));
        std::fs::create_dir_all(hub.join("datasets--uoft-cs--cifar10/refs")).unwrap();
        std::fs::write(hub.join("datasets--uoft-cs--cifar10/refs/main"), "x").unwrap();
        std::fs::create_dir_all(&data).unwrap();
        for file in ["stl10-unlabeled-0123456789ab.igpt-data", "imagenet-32px-0123456789ab.igpt-data"] {
            std::fs::write(data.join(file), "").unwrap();
        }
        let table = table(&hub, &data).unwrap();
        let line = |name: &str| {
            let start = format!("{name} ");
            table.lines().find(|line| line.starts_with(&start)).unwrap().to_owned()
        };
        assert!(
            line("cifar10").contains("  not stated ") && line("cifar10").ends_with("  in the cache"),
            "{table}"
        );
        assert!(line("stl10-unlabeled").ends_with("  prepared") && line("imagenet").ends_with("  prepared"));
        for name in ["stl10", "cifar100", "imagegpt-small"] {
            assert!(!line(name).ends_with("  prepared") && !line(name).contains("in the cache"), "{table}");
        }
        assert!(line("fashion-mnist").contains("  MIT") && line("imagegpt-small").ends_with("apache-2.0"));
        assert!(table.contains("igpt fetch OWNER/NAME\n"), "{table}");
    }
}
