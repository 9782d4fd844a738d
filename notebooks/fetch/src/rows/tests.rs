//! Against files that pyarrow wrote and images that Pillow decoded, `tests/fixtures/parquet/make.py`.

use std::{fs, path::Path};

use serde_json::Value;

use super::super::{
    image::{Colours, ImageSpec},
    source::{Source, SplitSummary},
};
use super::*;

const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/parquet")
}

fn file(name: &str) -> PathBuf {
    folder().join(format!("{name}.parquet"))
}

/// All pixels of these files, and what else was seen.
fn read(files: &[PathBuf]) -> Result<(Vec<u8>, SplitSummary)> {
    let rows = Rows::open(files, "img", &["label".into()])?;
    rows.classes("label", Some(&CLASSES.map(String::from)))?;
    let wanted = ImageSpec { colours: Colours::Exactly(3), side: None };
    let mut pixels = Vec::new();
    let seen = Source::Rows(Box::new(rows)).decode(wanted, &[10], None, "test", |image| {
        pixels.extend_from_slice(image);
        Ok(())
    })?;
    Ok((pixels, seen))
}

fn read_file(path: PathBuf) -> Result<(Vec<u8>, SplitSummary)> {
    read(&[path])
}

/// The pixels and labels of a file by the script's account.
fn expected(name: &str) -> (Vec<u8>, Vec<u16>) {
    let text = fs::read_to_string(folder().join("pixels.json")).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&all["width"], &all["height"]), (&6.into(), &4.into()));
    let file = &all["files"][name];
    let pixels = file["pixels"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|image| data_encoding::HEXLOWER.decode(image.as_str().unwrap().as_bytes()).unwrap());
    let labels = file["labels"].as_array().unwrap().iter().map(|label| label.as_u64().unwrap() as u16);
    (pixels.collect(), labels.collect())
}

#[test]
fn images_are_as_pillow_decodes_them_and_the_right_way_up() {
    let names = ["train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"];
    for name in names {
        let (pixels, seen) = read_file(file(name)).unwrap();
        assert_eq!((seen.size, seen.images, seen.jpeg), (Some((4, 6, 3)), 10, 0));
        assert_eq!((pixels, seen.labels[0].clone()), expected(name), "{name}");
    }
    let (pixels, seen) = read(&names.map(file)).unwrap();
    assert_eq!((seen.images, seen.labels[0].len()), (30, 30));
    let parts: Vec<u8> = names.iter().flat_map(|name| expected(name).0).collect();
    assert_eq!(pixels, parts);
}

#[test]
fn jpeg_is_counted_and_as_pillow_decodes_it() {
    let (ours, seen) = read_file(file("two-jpeg")).unwrap();
    let (theirs, labels) = expected("two-jpeg");
    assert_eq!((seen.jpeg, &seen.labels[0]), (2, &labels));
    assert_eq!(ours, theirs);
}

#[test]
fn the_same_for_any_number_of_threads() {
    let one = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| read_file(file("two-jpeg")).unwrap())
    };
    for threads in [2, 3, 8] {
        assert_eq!(one(threads), one(1));
    }
}

/// What is in memory at the same time is a batch: part of a row group, and of no other.
#[test]
fn a_batch_is_at_most_a_row_group() {
    let files = ["train-00000-of-00002", "train-00001-of-00002"].map(file);
    let mut rows = Rows::open(&files, "img", &["label".into()]).unwrap();
    let mut batches = Vec::new();
    while let Some(batch) = rows.next().unwrap() {
        batches.push(batch.len());
    }
    // Row groups of four, as the script wrote them.
    assert_eq!(batches, [4, 4, 2, 4, 4, 2]);
    // And fewer where its images have many bytes.
    rows.at = (0, 0, 0);
    rows.next().unwrap();
    let group = rows.open.as_mut().unwrap();
    assert!(group.batch == MOST_ROWS && group.left == 0);
}

#[test]
fn the_largest_label_is_found_without_images() {
    let rows =
        Rows::open(&[file("bad-png-row-7"), file("bad-label-row-5")], "img", &["label".into()]).unwrap();
    assert_eq!(rows.largest_labels().unwrap(), [10]);
}

#[test]
fn a_bad_row_is_named() {
    let others = "; --image-column and --label-column name others";
    for (name, expected) in [
        ("bad-png-row-7", "row 7: its image cannot be decoded: "),
        ("bad-jpeg-row-2", "row 2: its image is cut or damaged: its JPEG data ends too early (640 bytes)"),
        ("bad-text-row-1", "row 1: its image is neither PNG nor JPEG: it begins with [68, 65, 6c, 6c]"),
        ("bad-empty-row-0", "row 0: its image is empty"),
        ("bad-grey-row-8", "row 8: its image is grey of 8 bits, not red-green-blue of 8 bits"),
        ("bad-size-row-6", "row 6: its image has 4 × 6 pixels, but the first one 6 × 4"),
        ("bad-null-row-4", "row 4: has no image"),
        ("bad-nulls-row-9", "row 9: has no image"),
        ("bad-label-row-5", "row 5: its label is 10, but there are 10 classes, counted from 0"),
        ("bad-negative-row-9", "row 9: its label is -1, but"),
        ("bad-nolabel-row-3", "row 3: has no label"),
        (
            "bad-names",
            "its classes are truck, ship, horse, frog, dog, deer, cat, bird, automobile, airplane, not airplane, ",
        ),
        ("missing-column", &format!("there is no column `label`; there are img.bytes, img.path{others}")),
        ("wrong-type", "the column `label` is BYTE_ARRAY, not INT64"),
        ("list-column", "there is no column `label`; there are img.bytes, img.path, label.list.element"),
    ] {
        let path = file(name);
        let error = format!("{:#}", read_file(path.clone()).unwrap_err());
        assert!(error.starts_with(&format!("{}: {expected}", path.display())), "{error}");
    }
    assert_eq!(read_file(file("no-rows")).unwrap().1.images, 0);
    let error = format!("{:#}", read_file(file("not-there")).unwrap_err());
    assert!(error.contains("not-there.parquet: No such file"), "{error}");
}

#[test]
fn a_damaged_file_is_an_error_that_names_it_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    for name in ["train-00001-of-00002", "test-00000-of-00001"] {
        let good = fs::read(file(name)).unwrap();
        for length in (0..good.len()).step_by(31) {
            fs::write(&path, &good[..length]).unwrap();
            let error = format!("{:#}", read_file(path.clone()).unwrap_err());
            assert!(error.starts_with(&format!("{}: ", path.display())), "{error}");
        }
        // Some changes hurt nobody, such as one of an image's path.
        let (mut tried, mut refused) = (0, 0);
        for (at, change) in (0..good.len()).step_by(7).flat_map(|at| [(at, 0xff), (at, 1), (at, 0x80)]) {
            let mut bad = good.clone();
            bad[at] ^= change;
            fs::write(&path, &bad).unwrap();
            tried += 1;
            let (result, bytes) = heap::reserved(|| read_file(path.clone()));
            assert!(bytes < 8 * good.len() + (1 << 20), "{bytes} bytes: {name}, byte {at} ^ {change}");
            if let Err(error) = result {
                let error = format!("{error:#}");
                assert!(error.starts_with(&format!("{}: ", path.display())), "{error}");
                refused += 1;
            }
        }
        assert!(refused > tried / 2, "{refused} of {tried}");
    }
}
