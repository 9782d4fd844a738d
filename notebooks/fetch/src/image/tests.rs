//! Against images that Pillow decoded, `tests/fixtures/parquet/layouts.py`.

use std::path::Path;

use data_encoding::HEXLOWER;
use serde_json::Value;

use super::*;

/// A single image of the script.
struct Case {
    name: String,
    size: (usize, usize),
    file: Vec<u8>,
    /// Red-green-blue.
    pixels: Vec<u8>,
    /// The square of side 8.
    square: Option<Vec<u8>>,
}

fn cases() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/parquet/layouts.json");
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let bytes = |value: &Value| value.as_str().map(|hex| HEXLOWER.decode(hex.as_bytes()).unwrap());
    let number = |value: &Value| value.as_u64().unwrap() as usize;
    let case = |case: &Value| Case {
        name: case["name"].as_str().unwrap().into(),
        size: (number(&case["width"]), number(&case["height"])),
        file: bytes(&case["file"]).unwrap(),
        pixels: bytes(&case["pixels"]).unwrap(),
        square: bytes(&case["square"]),
    };
    all["images"].as_array().unwrap().iter().map(case).collect()
}

fn case(name: &str) -> Case {
    cases().into_iter().find(|case| case.name == name).unwrap()
}

fn wanted(colours: Colours) -> ImageSpec {
    ImageSpec { colours, side: None }
}

#[test]
fn every_kind_of_image_becomes_red_green_blue() {
    let cases = cases();
    assert_eq!(cases.len(), 13);
    for case in cases {
        let image = Image::decode(&case.file, wanted(Colours::Rgb)).unwrap();
        assert_eq!(((image.width, image.height), image.channels), (case.size, 3), "{}", case.name);
        assert_eq!(image.is_jpeg, case.name.starts_with("jpeg"));
        assert!(image.pixels == case.pixels, "{}", case.name);
        let Some(expected) = case.square else { continue };
        let square = Image::decode(&case.file, ImageSpec { colours: Colours::Rgb, side: Some(8) }).unwrap();
        assert_eq!((square.width, square.height), (8, 8));
        assert!(square.pixels == expected, "square of {}", case.name);
    }
}

#[test]
fn what_must_be_exact_is_refused_otherwise() {
    let error = |name: &str, colours| {
        Image::decode(&case(name).file, wanted(colours)).map(|_| ()).unwrap_err().to_string()
    };
    let (rgb, grey) = (Colours::Exactly(3), Colours::Exactly(1));
    assert_eq!(
        error("16 bits, rgb", rgb),
        "its image is red-green-blue of 16 bits, not red-green-blue of 8 bits"
    );
    assert_eq!(
        error("opacity", rgb),
        "its image is red-green-blue of 8 bits with opacity, not red-green-blue of 8 bits"
    );
    assert_eq!(error("jpeg, cmyk", rgb), "its image is CMYK of 8 bits, not red-green-blue of 8 bits");
    assert_eq!(error("grey", rgb), "its image is grey of 8 bits, not red-green-blue of 8 bits");
    assert_eq!(error("rgb", grey), "its image is red-green-blue of 8 bits, not grey of 8 bits");
    assert!(error("rgb", Colours::Grey).ends_with("--rgb makes all of them red-green-blue"));
    let image = Image::decode(&case("grey").file, wanted(grey)).unwrap();
    assert_eq!(image.channels, 1);
    assert!(image.pixels.iter().zip(case("grey").pixels.chunks(3)).all(|(a, b)| [*a; 3] == *b));
    assert!(Image::decode(&case("palette").file, wanted(rgb)).is_ok());
    assert!(Image::has_colour(&case("palette").file).unwrap());
    assert!(!Image::has_colour(&case("16 bits, grey").file).unwrap());
}

#[test]
fn a_jpeg_that_was_cut_is_refused_and_one_that_goes_on_is_not() {
    for name in ["jpeg", "jpeg, progressive", "jpeg, half the colours"] {
        let file = case(name).file;
        for length in 3..file.len() {
            let error =
                Image::decode(&file[..length], wanted(Colours::Rgb)).map(|_| ()).unwrap_err().to_string();
            let is_told = ["its image is cut", "its image says that it has "]
                .iter()
                .any(|said| error.starts_with(said));
            assert!(is_told, "{name} cut at {length}: {error}");
        }
        let longer = [&file[..], &[0, 0, 7]].concat();
        assert!(Image::decode(&longer, wanted(Colours::Rgb)).is_ok());
        // A small image inside a segment is not the end of the large one.
        let mut inside = file[..2].to_vec();
        inside.extend([0xff, 0xe1, 0, 8, 0xff, 0xd8, 0xff, 0xd9, 0, 0]);
        inside.extend(&file[2..]);
        assert!(Image::decode(&inside, wanted(Colours::Rgb)).is_ok());
        assert!(Image::decode(&inside[..inside.len() - 1], wanted(Colours::Rgb)).is_err());
    }
}

#[test]
fn an_image_that_is_too_long_for_its_side_is_refused() {
    let long = Image { height: 1, width: 40_000, channels: 3, pixels: vec![0; 120_000], is_jpeg: false };
    let error = long.square(1000).map(|_| ()).unwrap_err().to_string();
    assert_eq!(error, "its image of 40000 × 1 pixels cannot be resized to 1000");
}

#[test]
fn changed_bytes_never_panic() {
    for case in cases() {
        for at in (0..case.file.len()).step_by(3) {
            let mut bad = case.file.clone();
            bad[at] ^= 0xff;
            let _ = Image::decode(&bad, ImageSpec { colours: Colours::Rgb, side: Some(4) });
        }
    }
}
