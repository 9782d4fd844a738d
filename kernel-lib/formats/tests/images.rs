//! Image files of every kind that people have, against Pillow: `tests/fixtures/images`, made by the script there. The table
//! of docs/images.md is what this test finds; `IGPT_WRITE=1 cargo test -p igpt-formats --test images` writes it.

use std::{fs, path::PathBuf};

use igpt_formats::image_file::{Picture, decode};
use serde_json::Value;

/// What the table of docs/images.md comes after.
const TABLE: &str = "<!-- The rest of this file is written by kernel-lib/formats/tests/images.rs. -->\n";

/// A file, and what Pillow makes of it.
struct Kind {
    name: String,
    file: Vec<u8>,
    /// Pillow's name for its colours, where it reads the file.
    mode: Option<String>,
    expected: Expected,
    note: String,
}

enum Expected {
    /// Pillow's pixels, and how many levels ours may be away.
    Pixels { size: (usize, usize, usize), pixels: Vec<u8>, levels: u8 },
    /// An error that says this.
    Error(String),
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn kinds() -> Vec<Kind> {
    let folder = root().join("tests/fixtures/images");
    let all: Value = serde_json::from_str(&fs::read_to_string(folder.join("kinds.json")).unwrap()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let number = |value: &Value| value.as_u64().unwrap() as usize;
    let kind = |kind: &Value| Kind {
        name: text(&kind["kind"]),
        file: fs::read(folder.join("files").join(text(&kind["file"]))).unwrap(),
        mode: kind["mode"].as_str().map(str::to_owned),
        expected: match &kind["levels"] {
            Value::Null => Expected::Error(text(&kind["says"])),
            levels => Expected::Pixels {
                size: (number(&kind["width"]), number(&kind["height"]), number(&kind["channels"])),
                pixels: data_encoding::BASE64.decode(text(&kind["pixels"]).as_bytes()).unwrap(),
                levels: number(levels) as u8,
            },
        },
        note: text(&kind["note"]),
    };
    all["kinds"].as_array().unwrap().iter().map(kind).collect()
}

/// The files of kinds that are read.
fn good(ending: &[u8]) -> Vec<Kind> {
    let is_good =
        |kind: &Kind| matches!(kind.expected, Expected::Pixels { .. }) && kind.file.starts_with(ending);
    kinds().into_iter().filter(is_good).collect()
}

/// The largest difference, or what is wrong.
fn difference(picture: &Picture, size: (usize, usize, usize), pixels: &[u8]) -> Result<u8, String> {
    let found = (picture.width, picture.height, picture.channels);
    if found != size || picture.pixels.len() != pixels.len() {
        return Err(format!("is {found:?}, not {size:?}"));
    }
    Ok(picture.pixels.iter().zip(pixels).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0))
}

#[test]
fn every_kind_is_as_pillow_reads_it_or_an_error_that_names_it() {
    let (mut wrong, mut rows, mut counts) = (Vec::new(), String::new(), [0; 3]);
    for Kind { name, file, mode, expected, note } in kinds() {
        let found = decode(&file);
        let (here, levels) = match (&expected, &found) {
            (Expected::Pixels { size, pixels, levels }, Ok(picture)) => {
                match difference(picture, *size, pixels) {
                    Ok(found) if found <= *levels => {
                        counts[usize::from(found > 0)] += 1;
                        (picture.stored.to_owned(), found.to_string())
                    }
                    found => {
                        wrong.push(format!("{name}: {found:?} levels, not {levels}"));
                        continue;
                    }
                }
            }
            (Expected::Error(says), Err(error)) if error.to_string().contains(says) => {
                counts[2] += 1;
                let said = error.to_string();
                let short = said.split_once(", which is not read here").map_or(&said[..], |(short, _)| short);
                (format!("error: {short}"), "–".into())
            }
            (Expected::Pixels { .. }, Err(error)) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
            (Expected::Error(says), found) => {
                wrong.push(format!("{name}: not {says:?} but {:?}", found.as_ref().map(|_| "an image")));
                continue;
            }
        };
        let pillow = mode.unwrap_or_else(|| "error".into());
        rows.push_str(&format!("| {name} | {pillow} | {here} | {levels} | {note} |\n"));
    }
    assert!(wrong.is_empty(), "{} kinds:\n{}", wrong.len(), wrong.join("\n"));

    let [same, near, refused] = counts;
    let table = format!(
        "\n{} kinds: {same} are the same as Pillow's in every byte, {near} are one level away at most, {refused} are \
         refused by name.\n\n| kind | Pillow's mode | here | levels | |\n|---|---|---|---|---|\n{rows}",
        same + near + refused
    );
    let path = root().join("docs/images.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, now) = text.split_once(TABLE).expect("docs/images.md has the line before its table");
    if std::env::var_os("IGPT_WRITE").is_some() {
        fs::write(&path, format!("{before}{TABLE}{table}")).unwrap();
    } else {
        assert!(now == table, "docs/images.md is out of date: the head of this test says how to write it");
    }
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused() {
    for Kind { name, file, .. } in good(b"") {
        // Some have more behind their end.
        let end = if name.contains("behind the end") { file.len() - 6 } else { file.len() };
        let step = if end > 600 { 7 } else { 1 };
        for length in (0..end).step_by(step) {
            let error = decode(&file[..length]).map(|_| ()).expect_err(&name).to_string();
            let is_told = ["is cut", "is empty", "pixels, more than"].iter().any(|said| error.contains(said))
                || error.contains("does not begin with a whole IHDR");
            assert!(is_told, "{name}, cut at {length}: {error}");
        }
    }
}

#[test]
fn changed_bytes_never_panic() {
    let (mut read, mut refused) = (0, 0);
    for Kind { file, .. } in kinds() {
        for at in (0..file.len()).step_by(if file.len() > 600 { 5 } else { 2 }) {
            for change in [0xff, 0x01, 0x80] {
                let mut bad = file.clone();
                bad[at] ^= change;
                match decode(&bad) {
                    Ok(picture) => {
                        assert_eq!(picture.pixels.len(), picture.width * picture.height * picture.channels);
                        read += 1;
                    }
                    Err(error) => {
                        assert!(!error.to_string().is_empty());
                        refused += 1;
                    }
                }
            }
        }
    }
    println!("{read} read, {refused} refused");
    assert!(read > 1_000 && refused > 1_000, "{read} read, {refused} refused");
}

#[test]
fn what_was_dropped_is_told() {
    let told = |name: &str| {
        let kind = kinds().into_iter().find(|kind| kind.name == name).unwrap();
        let picture = decode(&kind.file).unwrap();
        (picture.stored, picture.is_exact, picture.is_jpeg)
    };
    assert_eq!(told("JPEG, grey"), ("grey of 8 bits", true, true));
    assert_eq!(told("JPEG, CMYK"), ("CMYK of 8 bits", false, true));
    assert_eq!(told("JPEG, named .png"), ("grey of 8 bits", true, true));
    assert_eq!(told("PNG, palette of 8 bits"), ("red-green-blue of 8 bits", true, false));
    assert_eq!(told("PNG, grey of 16 bits"), ("grey of 16 bits", false, false));
    assert_eq!(told("PNG, colours with opacity"), ("red-green-blue of 8 bits with opacity", false, false));
}
