use super::*;
use serde_json::{Value, json};

/// A data set of three and one images, 2 × 1, RGB, with two sets of labels, and two more images without; `change`
/// may spoil it.
pub(in super::super) fn write(folder: &Path, change: impl Fn(&mut Value, &mut Vec<u8>)) -> PathBuf {
    let pixels = |first: u8, count: u8| -> Vec<u8> { (first..first + 6 * count).collect() };
    let parts: [(&str, Option<&str>, Vec<u8>); 7] = [
        ("train", None, pixels(0, 3)),
        ("train", Some("kind"), vec![0, 0, 1, 0, 1, 0]),
        ("train", Some("size"), vec![2, 0, 0, 0, 0, 0]),
        ("test", None, pixels(100, 1)),
        ("test", Some("kind"), vec![1, 0]),
        ("test", Some("size"), vec![1, 0]),
        ("unlabeled", None, pixels(200, 2)),
    ];
    let described = parts.iter().map(|(split, labels, bytes)| {
        let mut part = json!({"split": split, "bytes": bytes.len(), "sha256": hex(&Sha256::digest(bytes))});
        if let Some(labels) = labels {
            part["labels"] = json!(labels);
        }
        part
    });
    let mut header = json!({
        "format": "igpt-data", "version": 2, "name": "Dots", "dataset": "a/dots", "revision": "0123456789abcdef",
        "height": 2, "width": 1, "channels": 3, "parts": described.collect::<Vec<_>>(), "jpeg": 0, "sources": [],
        "label_sets": [{"name": "kind", "classes": ["cat", "dog"]}, {"name": "size", "classes": ["s", "m", "l"]}],
    });
    let mut body = parts.map(|(_, _, bytes)| bytes).concat();
    change(&mut header, &mut body);
    let path = folder.join("dots-0123456789ab.igpt-data");
    std::fs::write(&path, [header.to_string().as_bytes(), b"   \n", &body].concat()).unwrap();
    path
}

fn open(path: &Path) -> Result<Prepared> {
    Prepared::open(path, "igpt fetch dots".into())
}

#[test]
fn what_was_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), |_, _| {});
    let data = open(&path).unwrap().dataset(None).unwrap();
    assert_eq!((data.name(), data.classes()), ("Dots", &["cat".to_owned(), "dog".to_owned()][..]));
    assert_eq!((&data.train().labels[..], &data.test().labels[..]), (&[0, 1, 1][..], &[1][..]));
    assert_eq!(data.train().images.pixels(1).unwrap(), [6, 7, 8, 9, 10, 11]);
    assert_eq!(data.test().images.all_pixels(), [100, 101, 102, 103, 104, 105]);
    assert_eq!((data.test().images.height(), data.test().images.width()), (2, 1));

    let sizes = open(&path).unwrap().dataset(Some("size")).unwrap();
    assert_eq!((sizes.classes().len(), &sizes.train().labels[..]), (3, &[2, 0, 0][..]));
    assert_eq!(sizes.train().images, data.train().images);
    let error = open(&path).unwrap().dataset(Some("colour")).unwrap_err().to_string();
    assert!(error.contains("has no labels `colour`, only those of kind, size; `igpt fetch dots`"), "{error}");

    let unlabeled = open(&path).unwrap().images("unlabeled").unwrap();
    assert_eq!((unlabeled.len(), unlabeled.pixels(1).unwrap()[0]), (2, 206));
    let error = open(&path).unwrap().images("validation").unwrap_err().to_string();
    assert!(error.contains("has no images of the split `validation`; `igpt fetch dots`"), "{error}");
}

#[test]
fn a_label_has_two_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), |header, body| {
        let classes: Vec<String> = (0..1000).map(|class| class.to_string()).collect();
        header["label_sets"][0]["classes"] = json!(classes);
        body[18..24].copy_from_slice(&[231, 3, 0, 1, 1, 0]);
        header["parts"][1]["sha256"] = json!(hex(&Sha256::digest(&body[18..24])));
    });
    assert_eq!(open(&path).unwrap().dataset(None).unwrap().train().labels, [999, 256, 1]);
}

#[test]
fn a_damaged_file_is_refused_with_the_cure() {
    type Change = fn(&mut Value, &mut Vec<u8>);
    let folder = tempfile::tempdir().unwrap();
    let cases: [(Change, &str); 20] = [
        (|_, body| body.truncate(51), "has 51 bytes after its first line, which speaks of 52"),
        (|_, body| body.push(0), "has 53 bytes after its first line, which speaks of 52"),
        (|_, body| body[15] ^= 1, "the bytes of its split `train` have the SHA-256 "),
        (|_, body| body[18] ^= 1, "the bytes of its split `train` have the SHA-256 "),
        (|_, body| body[31] ^= 1, "the bytes of its split `test` have the SHA-256 "),
        (|header, _| header["parts"][0]["bytes"] = json!(17), "which are not images of 6 bytes"),
        (
            |header, _| header["parts"][0]["bytes"] = json!(24),
            "has 6 bytes of labels `kind` in the split `train`, which do not belong to the images before them",
        ),
        (|header, _| header["parts"][1]["labels"] = json!("x"), "has 6 bytes of labels `x`"),
        (|header, _| header["parts"][1]["split"] = json!("x"), "in the split `x`, which do not belong"),
        (|header, _| header["parts"][6]["split"] = json!("test"), "has the split `test` twice"),
        (|header, _| header["parts"][6]["bytes"] = json!(u64::MAX - 3), "speaks of more than there can be"),
        (|header, _| header["parts"][6]["bytes"] = json!(6u64 << 40), "which speaks of 6597069766696"),
        (|header, _| header["height"] = json!(-1), "its first line makes no sense (invalid value"),
        (|header, _| header["height"] = json!(0), "speaks of images that have no pixels"),
        (|header, _| header["version"] = json!(1), "is `igpt-data` of version 1, but"),
        (|header, _| header["format"] = json!("x"), "is `x` of version 2, but"),
        (|header, _| header["jpeg"] = json!(1), "which decoded its JPEG images to other pixels"),
        (|header, _| *header = json!([]), "does not begin with the line that `igpt fetch` writes"),
        (|header, _| header["revision"] = json!("é123456789abcdef"), "holds the revision `é123456789abcdef`"),
        (
            |header, _| header["label_sets"][0]["classes"] = json!(["cat"]),
            "the label of training image 1 is 1, but there are 1",
        ),
    ];
    for (change, expected) in cases {
        let path = write(folder.path(), change);
        let error = open(&path).and_then(|file| file.dataset(None)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: ", path.display())), "{error}");
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(error.ends_with("; `igpt fetch dots` writes it anew"), "{error}");
    }
    // What is not read is not looked at.
    let path = write(folder.path(), |_, body| body[50] ^= 1);
    assert!(open(&path).unwrap().dataset(None).is_ok());
    assert!(open(&path).unwrap().images("unlabeled").unwrap_err().to_string().contains("`unlabeled`"));

    let empty = folder.path().join("dots-0123456789ab.igpt-data");
    std::fs::write(&empty, "").unwrap();
    assert!(open(&empty).unwrap_err().to_string().contains("does not begin with the line"));
    std::fs::write(&empty, vec![b'['; 5 << 20]).unwrap();
    assert!(open(&empty).unwrap_err().to_string().contains("does not begin with the line"));
}
