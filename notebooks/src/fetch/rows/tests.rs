//! Against files that pyarrow wrote and pictures that Pillow decoded, `tests/fixtures/parquet/make.py`.

use std::{fs, path::Path};

use serde_json::Value;

use super::*;

const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/parquet")
}

fn file(name: &str) -> PathBuf {
    folder().join(format!("{name}.parquet"))
}

fn read_file(path: PathBuf) -> Result<Rows> {
    read(&[path], &CLASSES, "test")
}

/// The pixels and labels of a file by the script's account.
fn expected(name: &str) -> (Vec<u8>, Vec<u8>) {
    let text = fs::read_to_string(folder().join("pixels.json")).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&all["width"], &all["height"]), (&6.into(), &4.into()));
    let file = &all["files"][name];
    let pixels =
        file["pixels"].as_array().unwrap().iter().flat_map(|picture| {
            data_encoding::HEXLOWER.decode(picture.as_str().unwrap().as_bytes()).unwrap()
        });
    let labels = file["labels"].as_array().unwrap().iter().map(|label| label.as_u64().unwrap() as u8);
    (pixels.collect(), labels.collect())
}

#[test]
fn pictures_are_as_pillow_decodes_them_and_the_right_way_up() {
    let names = ["train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"];
    for name in names {
        let rows = read_file(file(name)).unwrap();
        assert_eq!((rows.height, rows.width, rows.jpeg), (4, 6, 0));
        assert_eq!((rows.pixels, rows.labels), expected(name), "{name}");
    }
    let all = read(&names.map(file), &CLASSES, "test").unwrap();
    assert_eq!(all.labels.len(), 30);
    let parts: Vec<u8> = names.iter().flat_map(|name| expected(name).0).collect();
    assert_eq!(all.pixels, parts);
}

#[test]
fn jpeg_is_counted_and_near_to_pillows() {
    let rows = read_file(file("two-jpeg")).unwrap();
    let (pixels, labels) = expected("two-jpeg");
    assert_eq!((rows.jpeg, rows.labels), (2, labels));
    let size = 4 * 6 * 3;
    for (at, (ours, theirs)) in rows.pixels.chunks(size).zip(pixels.chunks(size)).enumerate() {
        let largest = ours.iter().zip(theirs).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(largest <= if [3, 8].contains(&at) { 2 } else { 0 }, "row {at}: {largest}");
    }
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

#[test]
fn a_bad_row_is_named() {
    for (name, expected) in [
        ("bad-png-row-7", "row 7: its picture cannot be decoded: "),
        ("bad-jpeg-row-2", "row 2: its JPEG picture has no end"),
        ("bad-text-row-1", "row 1: its picture is neither PNG nor JPEG, it begins with [68, 65, 6c, 6c]"),
        ("bad-empty-row-0", "row 0: its picture is neither PNG nor JPEG, it begins with []"),
        ("bad-grey-row-8", "row 8: its picture is L8, not red-green-blue of 8 bits"),
        ("bad-size-row-6", "row 6: its picture has 4 × 6 pixels, but the first one 6 × 4"),
        ("bad-null-row-4", "row 4: has no picture"),
        ("bad-nulls-row-9", "row 9: has no picture"),
        ("bad-label-row-5", "row 5: its label is 10, but there are 10 classes, counted from 0"),
        ("bad-negative-row-9", "row 9: its label is -1, but"),
        ("bad-nolabel-row-3", "row 3: has no label"),
        (
            "bad-names",
            "its classes are truck, ship, horse, frog, dog, deer, cat, bird, automobile, airplane, not airplane, ",
        ),
        ("missing-column", "there is no column `label`; there are img.bytes, img.path"),
        ("wrong-type", "the column `label` is BYTE_ARRAY, not INT64"),
        ("list-column", "there is no column `label`; there are img.bytes, img.path, label.list.element"),
    ] {
        let path = file(name);
        let error = format!("{:#}", read_file(path.clone()).unwrap_err());
        assert!(error.starts_with(&format!("{}: {expected}", path.display())), "{error}");
    }
    let error = read_file(file("no-rows")).unwrap_err().to_string();
    assert!(error.starts_with("there is no row in ") && error.ends_with("no-rows.parquet"), "{error}");
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
        // Some changes hurt nobody, such as one of a picture's path.
        let mut refused = 0;
        for at in (0..good.len()).step_by(7) {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            fs::write(&path, &bad).unwrap();
            if let Err(error) = read_file(path.clone()) {
                let error = format!("{error:#}");
                assert!(error.starts_with(&format!("{}: ", path.display())), "{error}");
                assert!(!error.contains("gave up"), "byte {at} of {name}: {error}");
                refused += 1;
            }
        }
        assert!(refused > good.len() / 7 / 2, "{refused} of {}", good.len() / 7);
    }
}
