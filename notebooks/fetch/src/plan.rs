//! Which images a data set is made of, and what they are to become.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use igpt_formats::{
    data_file::{LabelSet, SourceFile},
    request::Request,
};
use sha2::{Digest as _, Sha256};

use super::{
    catalog::{DataSet, Split},
    classes, count,
    download::Snapshot,
    image::{Colours, ImageSpec},
    image_folder::ImageFolder,
    layout::{self, Layout},
    rows::Rows,
    source::{self, Source},
};

/// All that must be known before the first image is decoded.
pub(super) struct Plan {
    /// What tables and reports call the data set.
    pub title: String,
    /// The hub's repository, or the folder.
    pub dataset: String,
    pub revision: String,
    pub label_sets: Vec<LabelSet>,
    pub sources: Vec<SourceFile>,
    pub splits: Vec<Planned>,
    pub wanted: ImageSpec,
    /// The images were published without loss, and their classes are equally frequent.
    pub is_uniform: bool,
}

/// A split that will be read.
pub(super) struct Planned {
    pub name: &'static str,
    pub is_labelled: bool,
    pub source: Source,
}

impl Plan {
    /// What `request` asks for, from the hub or its cache. `known` is how the data set lies in its repository, where that
    /// is known.
    ///
    /// # Errors
    /// If it is not in the cache, is damaged there, or is not such a data set.
    pub(super) fn of_hub(request: &Request, repository: &str, known: Option<&DataSet>) -> Result<Self> {
        check_side(request, known)?;
        let (snapshot, Layout { folder, splits }) =
            layout::ensure(repository, known, request.config.as_deref())?;
        let files = splits.iter().map(|split| Ok((*split, snapshot.shards(&folder, split.theirs)?)));
        let files = files.collect::<Result<Vec<(Split, Vec<PathBuf>)>>>()?;
        let image = match (&request.image_column, known) {
            (Some(column), _) => column.clone(),
            (None, Some(known)) => known.image.into(),
            (None, None) => Rows::column(&files[0].1[0], &["image", "img"])?.into(),
        };
        let sets: Vec<(String, String)> = match (&request.label_column, known) {
            (Some(column), _) => vec![("label".into(), column.clone())],
            (None, Some(known)) => {
                known.labels.iter().map(|(set, column)| ((*set).into(), (*column).into())).collect()
            }
            (None, None) => vec![("label".into(), "label".into())],
        };
        let columns: Vec<String> = sets.iter().map(|(_, column)| column.clone()).collect();

        let mut sources = Vec::new();
        for file in files.iter().flat_map(|(_, files)| files) {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let path = Path::new(&folder).join(&*name).to_string_lossy().into_owned();
            sources.push(SourceFile { file: path, sha256: snapshot.sha256(file)? });
        }
        let open = |(split, files): &(Split, Vec<PathBuf>)| {
            let labels = if split.is_labelled { &columns[..] } else { &[] };
            Ok((*split, Rows::open(files, &image, labels)?))
        };
        let opened = files.iter().map(open).collect::<Result<Vec<(Split, Rows)>>>()?;
        for (split, rows) in &opened {
            if rows.total() == 0 {
                bail!(
                    "there is no row in the {} split of {repository}, {}",
                    split.theirs,
                    snapshot.folder().join(&folder).display()
                );
            }
        }
        let label_sets = label_sets(request, known, &snapshot, &sets, &opened, &mut sources)?;
        let colours = match known {
            Some(known) => known.colours,
            None if request.rgb => Colours::Rgb,
            None => {
                let first = Rows::open(&files[0].1[..1], &image, &[])?.next()?;
                source::colours_of_the_first(&first.unwrap_or_default())?
            }
        };
        Ok(Self {
            title: title(request, known),
            dataset: repository.into(),
            revision: snapshot.revision,
            label_sets,
            sources,
            splits: opened
                .into_iter()
                .map(|(split, rows)| Planned {
                    name: split.name,
                    is_labelled: split.is_labelled,
                    source: Source::Rows(Box::new(rows)),
                })
                .collect(),
            wanted: ImageSpec { colours, side: request.side },
            is_uniform: known.is_some_and(|known| known.is_uniform),
        })
    }

    /// What `request` asks for, from a folder that holds `train/CLASS/*.JPEG` and `val/CLASS/*.JPEG`.
    ///
    /// # Errors
    /// If it is no such folder.
    pub(super) fn of_folder(request: &Request, known: Option<&DataSet>, folder: &Path) -> Result<Self> {
        check_side(request, known)?;
        let train = ImageFolder::open(&folder.join("train"))?;
        let found = ["val", "validation", "test"]
            .map(|name| folder.join(name))
            .into_iter()
            .find(|path| path.is_dir());
        let test = found.with_context(|| format!("{}: holds no folder val", folder.display()))?;
        let (test_path, test) = (test.clone(), ImageFolder::open(&test)?);
        if train.classes() != test.classes() {
            let other = |a: &ImageFolder, b: &ImageFolder| {
                a.classes().iter().find(|class| !b.classes().contains(class)).cloned()
            };
            bail!(
                "{} and {} have not the same classes: only one has {}",
                folder.join("train").display(),
                test_path.display(),
                other(&train, &test).or_else(|| other(&test, &train)).unwrap_or_default()
            );
        }
        let mut train = train;
        let colours = match known {
            Some(known) => known.colours,
            None if request.rgb => Colours::Rgb,
            None => {
                let colours = source::colours_of_the_first(&train.next().unwrap_or_default())?;
                train.rewind();
                colours
            }
        };
        let sources: Vec<_> = [("train", &train), ("test", &test)]
            .map(|(name, split)| SourceFile { file: name.into(), sha256: split.state().into() })
            .into();
        let revision = [&train, &test].map(ImageFolder::listing);
        let revision = revision.iter().fold(Sha256::new(), |hash, listing| hash.chain_update(listing));
        let label_sets = vec![LabelSet { name: "label".into(), classes: train.classes().to_vec() }];
        Ok(Self {
            title: title(request, known),
            dataset: fs::canonicalize(folder).unwrap_or(folder.into()).display().to_string(),
            revision: super::hex(&revision.finalize()),
            label_sets,
            sources,
            splits: [("train", train), ("test", test)]
                .map(|(name, split)| Planned { name, is_labelled: true, source: Source::Folder(split) })
                .into(),
            wanted: ImageSpec { colours, side: request.side },
            is_uniform: false,
        })
    }
}

/// A data set whose images have many sizes is of no use as it is.
fn check_side(request: &Request, known: Option<&DataSet>) -> Result<()> {
    if request.side.is_some_and(|side| !(1..=1024).contains(&side)) {
        bail!("--side is from 1 to 1024 pixels");
    }
    match known {
        Some(known) if !known.is_uniform && request.side.is_none() => {
            bail!("the images of {} have many sizes: --side 32 makes all of them 32 × 32", known.title)
        }
        _ => Ok(()),
    }
}

fn title(request: &Request, known: Option<&DataSet>) -> String {
    let title = known.map_or(request.name.as_str(), |known| known.title);
    request.side.map_or(title.into(), |side| format!("{title}, {side} × {side}"))
}

/// The names of the classes: from the Parquet files, else from the README, else numbers.
fn label_sets(
    request: &Request,
    known: Option<&DataSet>,
    snapshot: &Snapshot,
    sets: &[(String, String)],
    splits: &[(Split, Rows)],
    sources: &mut Vec<SourceFile>,
) -> Result<Vec<LabelSet>> {
    let labelled = || splits.iter().filter(|(split, _)| split.is_labelled).map(|(_, rows)| rows);
    let readme = snapshot.folder().join("README.md");
    let text = fs::read_to_string(&readme).unwrap_or_default();
    let mut found = Vec::new();
    for (at, (set, column)) in sets.iter().enumerate() {
        // Another column has other classes.
        let known = known.filter(|_| request.label_column.is_none());
        let mut names: Option<Vec<String>> = known
            .filter(|_| at == 0)
            .and_then(|known| known.names)
            .map(|names| names.iter().map(|name| (*name).into()).collect());
        for rows in labelled() {
            names = rows.classes(column, names.as_deref())?;
        }
        if names.is_none() {
            names = classes::in_readme(&text, request.config.as_deref(), column);
            if names.is_some() && !sources.iter().any(|source| source.file == "README.md") {
                sources.push(SourceFile { file: "README.md".into(), sha256: snapshot.sha256(&readme)? });
            }
        }
        let expected = known.map(|known| known.classes[at]);
        if let (Some(names), Some(expected)) = (&names, expected)
            && names.len() != expected
        {
            bail!(
                "{} has {} classes in the column `{column}`, not {expected}",
                snapshot.repository,
                names.len()
            );
        }
        let numbers = |classes: usize| (0..classes).map(|class| class.to_string()).collect();
        let classes = match (names, expected) {
            (Some(names), _) => names,
            (None, Some(expected)) => numbers(expected),
            (None, None) => {
                let mut largest = 0;
                for rows in labelled() {
                    largest = rows.largest_labels()?[at].max(largest);
                }
                numbers(usize::try_from(largest)?.saturating_add(1).min(MOST_CLASSES + 1))
            }
        };
        if classes.is_empty() || classes.len() > MOST_CLASSES {
            bail!(
                "{} has {} classes in the column `{column}`, but there can be 1 to {}: --label-column names another",
                snapshot.repository,
                if classes.len() > MOST_CLASSES { "too many".into() } else { count(classes.len()) },
                count(MOST_CLASSES)
            );
        }
        found.push(LabelSet { name: set.clone(), classes });
    }
    Ok(found)
}

/// What a label of two bytes can tell apart.
const MOST_CLASSES: usize = 1 << 16;
