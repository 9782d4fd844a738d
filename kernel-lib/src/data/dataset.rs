//! Labelled images, for training and for testing.

use super::Images;
use crate::hex::hex;
use crate::image::colours;
use crate::show::{Show, Table, displays};
use crate::{Error, Result};
use sha2::{Digest as _, Sha256};

/// Images with the class of each.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Labelled {
    /// The images, (N, H, W, C).
    pub images: Images,
    /// The number of each image's class, (N).
    pub labels: Vec<u16>,
}

impl Labelled {
    /// Images with their labels.
    ///
    /// # Errors
    /// If there are not as many labels as images.
    pub fn new(images: Images, labels: Vec<u16>) -> Result<Self> {
        let split = Self { images, labels };
        split.check()?;
        Ok(split)
    }

    fn check(&self) -> Result<()> {
        if self.images.len() != self.labels.len() {
            return Err(Error::invalid(format!(
                "there are {} labels for {} images",
                self.labels.len(),
                self.images.len()
            )));
        }
        Ok(())
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The first images, all if there are not so many.
    fn first(mut self, count: Option<usize>) -> Self {
        let count = count.unwrap_or(self.len()).min(self.len());
        self.images.truncate(count);
        self.labels.truncate(count);
        self
    }

    /// The images with these indices with their labels, in this order.
    ///
    /// # Errors
    /// If there is no image at one of them.
    pub fn select(&self, indices: &[usize]) -> Result<Self> {
        let images = self.images.select(indices)?;
        Self::new(images, indices.iter().filter_map(|at| self.labels.get(*at).copied()).collect())
    }
}

/// A training and a test split of the same classes and the same size of image.
///
/// It cannot be changed, so that [`Dataset::checksum`] is always that of what is in it: make another with
/// [`Dataset::new`].
#[derive(Debug, Clone)]
pub struct Dataset {
    name: String,
    classes: Vec<String>,
    train: Labelled,
    test: Labelled,
    checksum: String,
}

impl Dataset {
    /// A data set of these splits. `name` is what tables and reports call it: it should say what was done to the
    /// images.
    ///
    /// # Errors
    /// If the two have images of different sizes, or a label that is no class.
    pub fn new(
        name: impl Into<String>,
        classes: impl IntoIterator<Item = impl Into<String>>,
        train: Labelled,
        test: Labelled,
    ) -> Result<Self> {
        let (name, classes): (_, Vec<String>) = (name.into(), classes.into_iter().map(Into::into).collect());
        let wrong = |what: String| Error::invalid(format!("{name}: {what}"));
        let shape = |split: &Labelled| (split.images.width(), split.images.height(), split.images.channels());
        if shape(&train) != shape(&test) {
            return Err(wrong(format!(
                "the training images are {}, but the test images are {}",
                size(&train.images),
                size(&test.images)
            )));
        }
        for (which, split) in [("training", &train), ("test", &test)] {
            split.check().map_err(|e| wrong(format!("{which}: {e}")))?;
            if let Some(at) = split.labels.iter().position(|label| usize::from(*label) >= classes.len()) {
                return Err(wrong(format!(
                    "the label of {which} image {at} is {}, but there are {} classes, counted from 0",
                    split.labels[at],
                    classes.len()
                )));
            }
        }
        let checksum = checksum(&classes, [&train, &test]);
        Ok(Self { name, classes, train, test, checksum })
    }

    /// The first images of each split, all where `None`, without a copy of them.
    pub(crate) fn first(self, train: Option<usize>, test: Option<usize>) -> Result<Self> {
        let Self { name, classes, train: all_train, test: all_test, checksum } = self;
        let is_cut = |count: Option<usize>, split: &Labelled| count.is_some_and(|count| count < split.len());
        if !is_cut(train, &all_train) && !is_cut(test, &all_test) {
            return Ok(Self { name, classes, train: all_train, test: all_test, checksum });
        }
        Self::new(name, classes, all_train.first(train), all_test.first(test))
    }

    /// The images of some of the classes only, which are numbered anew: the first of these is class 0.
    ///
    /// # Errors
    /// If one is no class or is named twice, or a split has no image of any.
    pub fn of_classes(&self, classes: &[u16]) -> Result<Self> {
        let wrong = |what: String| Error::invalid(format!("{}: {what}", self.name));
        let mut numbers: Vec<Option<u16>> = vec![None; self.classes.len()];
        for (new, class) in (0..).zip(classes) {
            match numbers.get_mut(usize::from(*class)) {
                Some(number @ None) => *number = Some(new),
                Some(_) => return Err(wrong(format!("class {class} is named twice"))),
                None => {
                    return Err(wrong(format!(
                        "there is no class {class} among {}, from 0",
                        self.classes.len()
                    )));
                }
            }
        }
        let number = |label: u16| numbers.get(usize::from(label)).copied().flatten();
        let of = |split: &Labelled| {
            let images: Vec<usize> =
                (0..split.len()).filter(|at| number(split.labels[*at]).is_some()).collect();
            if images.is_empty() {
                return Err(wrong(format!("there is no image of the classes {classes:?}")));
            }
            let labels = split.labels.iter().filter_map(|label| number(*label)).collect();
            Labelled::new(split.images.select(&images)?, labels)
        };
        let names: Vec<&String> =
            classes.iter().filter_map(|class| self.classes.get(usize::from(*class))).collect();
        let list: Vec<String> = classes.iter().map(ToString::to_string).collect();
        let name = format!("{}, classes {}", self.name, list.join(" "));
        Self::new(name, names, of(&self.train)?, of(&self.test)?)
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of the classes; a label is an index into this list.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// What may be learned from.
    pub fn train(&self) -> &Labelled {
        &self.train
    }

    /// What is predicted, once, when everything else is decided.
    pub fn test(&self) -> &Labelled {
        &self.test
    }

    /// A SHA-256, in hexadecimal digits, of the classes' names, the images' size, the pixels and the labels. The
    /// name of the data set and how its files are compressed have no part in it.
    pub fn checksum(&self) -> &str {
        &self.checksum
    }

    fn table(&self) -> Table {
        let row = |which: &str, split: &Labelled| {
            [which.into(), split.len().into(), size(&split.images).into(), self.classes.len().into()]
        };
        let rows = [row("training", &self.train), row("test", &self.test)];
        Table::of(["Split", "Images", "Size", "Classes"], rows)
            .caption(&self.name)
            .note(format!("Classes: {}", self.classes.join(", ")))
    }
}

/// `28 × 28, grey`
fn size(images: &Images) -> String {
    format!("{} × {}, {}", images.width(), images.height(), colours(images.channels()))
}

fn checksum(classes: &[String], splits: [&Labelled; 2]) -> String {
    let mut hash = Sha256::new();
    // Every part is preceded by its length, so that no two data sets are the same sequence of bytes.
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(&(classes.len() as u64).to_le_bytes());
    classes.iter().for_each(|class| part(class.as_bytes()));
    let bytes_per_label = if classes.len() <= 256 { 1 } else { 2 };
    for Labelled { images, labels } in splits {
        for side in [images.height(), images.width(), images.channels()] {
            part(&(side as u64).to_le_bytes());
        }
        part(images.all_pixels());
        // One byte each where that holds all classes, and else two, the lower one first.
        let labels = labels.iter().flat_map(|label| label.to_le_bytes().into_iter().take(bytes_per_label));
        part(&labels.collect::<Vec<u8>>());
    }
    hex(&hash.finalize())
}

impl Show for Dataset {
    fn to_html(&self) -> String {
        self.table().to_html()
    }
    fn to_text(&self) -> String {
        self.table().to_text()
    }
}

displays!(Dataset);

#[cfg(test)]
mod tests {
    use super::*;

    fn split(count: usize, labels: &[u16]) -> Result<Labelled> {
        Labelled::new(Images::new(2, 2, 1, (0..count * 4).map(|v| v as u8).collect())?, labels.to_vec())
    }

    fn dataset(train: &[u16], test: &[u16]) -> Result<Dataset> {
        Dataset::new("Dots", ["cat", "dog"], split(train.len(), train)?, split(test.len(), test)?)
    }

    #[test]
    fn labels_must_fit() {
        assert!(dataset(&[0, 1, 1], &[1]).is_ok());
        assert_eq!(split(2, &[0]).unwrap_err().to_string(), "there are 1 labels for 2 images");
        assert_eq!(
            dataset(&[0, 1, 1], &[0, 2]).unwrap_err().to_string(),
            "Dots: the label of test image 1 is 2, but there are 2 classes, counted from 0"
        );
        let mut cut = split(3, &[0, 1, 1]).unwrap();
        cut.labels.pop();
        let error =
            Dataset::new("Dots", ["cat", "dog"], cut, split(1, &[0]).unwrap()).unwrap_err().to_string();
        assert_eq!(error, "Dots: training: there are 2 labels for 3 images");
        let large = Labelled::new(Images::new(4, 1, 1, vec![0; 4]).unwrap(), vec![0]).unwrap();
        let error = Dataset::new("Dots", ["cat"], split(1, &[0]).unwrap(), large).unwrap_err().to_string();
        assert_eq!(error, "Dots: the training images are 2 × 2, grey, but the test images are 1 × 4, grey");
    }

    #[test]
    fn classes_are_numbered_anew() {
        let set = |train: &[u16], test: &[u16]| {
            let (train, test) = (split(train.len(), train).unwrap(), split(test.len(), test).unwrap());
            Dataset::new("Dots", ["cat", "cow", "dog"], train, test).unwrap()
        };
        let all = set(&[0, 1, 2, 1, 0], &[2, 0]);
        let some = all.of_classes(&[2, 0]).unwrap();
        assert_eq!(
            (some.name(), some.classes()),
            ("Dots, classes 2 0", &["dog".to_owned(), "cat".into()][..])
        );
        assert_eq!((&*some.train().labels, &*some.test().labels), (&[1, 0, 1][..], &[0, 1][..]));
        assert_eq!(some.train().images.pixels(1).unwrap(), all.train().images.pixels(2).unwrap());
        assert_eq!(all.of_classes(&[0, 1, 2]).unwrap().checksum(), all.checksum());
        let said = |classes: &[u16]| all.of_classes(classes).unwrap_err().to_string();
        assert_eq!(said(&[0, 3]), "Dots: there is no class 3 among 3, from 0");
        assert_eq!(said(&[0, 0]), "Dots: class 0 is named twice");
        assert_eq!(said(&[1]), "Dots: there is no image of the classes [1]");
        assert!(all.of_classes(&[]).is_err());
    }

    #[test]
    fn the_checksum_is_that_of_the_content() {
        let one = dataset(&[0, 1, 1], &[1]).unwrap();
        assert_eq!(one.checksum(), dataset(&[0, 1, 1], &[1]).unwrap().checksum());
        assert_eq!(one.checksum().len(), 64);
        let renamed = Dataset::new("X", one.classes(), one.train().clone(), one.test().clone()).unwrap();
        assert_eq!(renamed.checksum(), one.checksum());
        let other_classes =
            Dataset::new("X", ["cat", "cow"], one.train().clone(), one.test().clone()).unwrap();
        let exchanged = Dataset::new("X", one.classes(), one.test().clone(), one.train().clone()).unwrap();
        let other_label = dataset(&[0, 1, 0], &[1]).unwrap();
        let mut other_pixel = one.train().clone();
        other_pixel.images = Images::new(2, 2, 1, vec![9; 12]).unwrap();
        let other_pixel = Dataset::new("X", one.classes(), other_pixel, one.test().clone()).unwrap();
        for other in [other_classes, exchanged, other_label, other_pixel] {
            assert_ne!(other.checksum(), one.checksum());
        }
    }

    /// Stored results name their data by it: it may not change with the width of a label.
    #[test]
    fn the_checksum_of_few_classes_is_of_single_bytes() {
        let few = dataset(&[0, 1, 1], &[1]).unwrap();
        assert_eq!(few.checksum(), "3374ccfbd2e9ba6a1461ef539e0243e895d81970192b81c4cbd5a55a9ca74e38");
        let many = |last: u16| {
            let classes = (0..300).map(|class| class.to_string());
            Dataset::new("X", classes, split(1, &[last]).unwrap(), split(1, &[0]).unwrap()).unwrap()
        };
        assert_ne!(many(1).checksum(), many(257).checksum());
        assert_eq!(
            Dataset::new("X", ["a"], split(1, &[256]).unwrap(), split(1, &[0]).unwrap())
                .unwrap_err()
                .to_string(),
            "X: the label of training image 0 is 256, but there are 1 classes, counted from 0"
        );
    }

    #[test]
    fn the_first_images_are_those_that_are_selected() {
        let all = dataset(&[0, 1, 1], &[1, 0]).unwrap();
        let selected = Dataset::new(
            "Dots",
            ["cat", "dog"],
            all.train().select(&[0, 1]).unwrap(),
            all.test().select(&[0]).unwrap(),
        );
        let first = all.clone().first(Some(2), Some(1)).unwrap();
        assert_eq!(first.checksum(), selected.unwrap().checksum());
        for (train, test) in [(None, None), (Some(3), Some(9))] {
            let same = all.clone().first(train, test).unwrap();
            assert_eq!(
                (same.checksum(), same.train(), same.test()),
                (all.checksum(), all.train(), all.test())
            );
        }
    }

    #[test]
    fn places_are_selected_with_their_labels() {
        let split = split(3, &[0, 1, 1]).unwrap();
        let some = split.select(&[2, 0]).unwrap();
        assert_eq!(some.labels, [1, 0]);
        assert_eq!(some.images.pixels(0).unwrap(), split.images.pixels(2).unwrap());
        assert!(split.select(&[3]).is_err());
        assert!(split.select(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_data_set_is_shown_as_a_table() {
        let expected = "\
Dots

Split     Images  Size         Classes
--------  ------  -----------  -------
training       3  2 × 2, grey        2
test           1  2 × 2, grey        2

Classes: cat, dog
";
        assert_eq!(dataset(&[0, 1, 1], &[1]).unwrap().to_text(), expected);
    }
}
