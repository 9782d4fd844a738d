//! Checkpoints that transformers wrote, what the networks in them compute, ours that transformers reads, and checkpoints
//! that are none. Made by `tests/fixtures/imagegpt/checkpoints.py`.

mod bad;
mod compute;
mod outside;

use super::*;
use crate::rng::Rng;
use ::safetensors::tensor::TensorView;
use ::safetensors::{Dtype, serialize_to_file};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

const NETWORKS: [&str; 3] = ["square", "narrow", "odd"];

fn fixture(network: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/imagegpt").join(network)
}

/// A folder with a network's `config.json` and one of its files of weights, under the name that weights have.
fn with(network: &str, weights: &str, name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (from, to) in [("config.json", "config.json"), (weights, name)] {
        fs::copy(fixture(network).join(from), folder.path().join(to)).unwrap();
    }
    folder
}

/// Tensors of a file by name: type, shape, bytes.
type Edited = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// `square` with its tensors changed, in safetensors.
fn edited(edit: impl FnOnce(&mut Edited)) -> TempDir {
    let folder = with("square", "model.safetensors", "model.safetensors");
    let path = folder.path().join("model.safetensors");
    let file = fs::read(&path).unwrap();
    let tensors = safetensors::tensors(&file).unwrap().into_iter();
    let mut tensors =
        tensors.map(|(name, raw)| (name, (Dtype::F32, raw.shape, raw.bytes.to_vec()))).collect();
    edit(&mut tensors);
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    serialize_to_file(views, None, &path).unwrap();
    folder
}

fn refused(folder: &Path) -> String {
    Checkpoint::read(folder).unwrap_err().to_string()
}

/// A checkpoint of a small network, random in every number.
fn random(config: Config) -> Checkpoint {
    let mut parameters = Parameters::zeros(config).unwrap();
    let mut rng = Rng::keyed(5, "test checkpoint", [0, 0]);
    parameters.values_mut().iter_mut().for_each(|x| *x = (0.3 * rng.normal()) as f32);
    Checkpoint { parameters, palette: None }
}

fn colours(count: usize) -> Palette {
    let mut rng = Rng::keyed(6, "test colours", [0, 0]);
    Palette::new(3, (0..3 * count).map(|_| (2.0 * rng.uniform() - 1.0) as f32).collect()).unwrap()
}

#[test]
fn all_forms_hold_the_same_network() {
    for (network, config) in [
        (
            "square",
            Config {
                layers: 2,
                width: 16,
                heads: 2,
                context: 16,
                vocabulary: 10,
                inner: None,
                classes: None,
            },
        ),
        (
            "narrow",
            Config {
                layers: 2,
                width: 12,
                heads: 4,
                context: 35,
                vocabulary: 11,
                inner: Some(20),
                classes: None,
            },
        ),
        (
            "odd",
            Config {
                layers: 1,
                width: 21,
                heads: 3,
                context: 35,
                vocabulary: 11,
                inner: Some(45),
                classes: None,
            },
        ),
    ] {
        // `odd` is in shards, so it has an index instead of model.safetensors; all folders have a .bin beside.
        assert_eq!(fixture(network).join("model.safetensors.index.json").exists(), network == "odd");
        let safe = Checkpoint::read(&fixture(network)).unwrap();
        assert_eq!(safe.config(), config);
        assert_eq!(safe.palette, None);
        assert!(safe.parameters.values().iter().all(|x| *x != 0.0), "every number is random");
        let bin = with(network, "pytorch_model.bin", "pytorch_model.bin");
        assert_eq!(Checkpoint::read(bin.path()).unwrap(), safe);
    }
}

#[test]
fn numbers_of_other_sizes_become_f32() {
    let exact = Checkpoint::read(&fixture("square")).unwrap().parameters;
    let mixed = with("square", "mixed.bin", "pytorch_model.bin");
    let mixed = Checkpoint::read(mixed.path()).unwrap().parameters;
    let mut rounded = 0;
    for entry in exact.layout().entries() {
        let (found, truth) = (mixed.get(&entry.name).unwrap(), exact.get(&entry.name).unwrap());
        // bf16 has 8 bits.
        assert!(found.iter().zip(truth).all(|(a, b)| (a - b).abs() <= b.abs() / 256.0), "{}", entry.name);
        rounded += usize::from(found != truth);
    }
    // Half of all tensors, biases among them, are in f64 or f32.
    assert!((3..exact.layout().entries().len() - 3).contains(&rounded), "{rounded}");
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let usual =
        Config { layers: 2, width: 8, heads: 2, context: 9, vocabulary: 5, inner: None, classes: None };
    for (at, config) in
        [usual, Config { inner: Some(7), ..usual }, usual.with_vocabulary(6)].into_iter().enumerate()
    {
        let palette = (at == 2).then(|| colours(6));
        let checkpoint = Checkpoint { palette, ..random(config) };
        // Into the same folder: what was there is replaced.
        let place = folder.path().join("deep/er");
        checkpoint.write(&place).unwrap();
        assert_eq!(Checkpoint::read(&place).unwrap(), checkpoint);
        let mut files: Vec<_> = fs::read_dir(&place).unwrap().map(|file| file.unwrap().file_name()).collect();
        files.sort();
        let expected = ["config.json", "model.safetensors", "preprocessor_config.json"];
        assert_eq!(files, expected[..if at == 2 { 3 } else { 2 }]);
    }
}

#[test]
fn a_checkpoint_of_transformers_comes_back_with_the_same_tensors() {
    let folder = tempfile::tempdir().unwrap();
    Checkpoint::read(&fixture("square")).unwrap().write(folder.path()).unwrap();
    let [theirs, ours] = [fixture("square"), folder.path().to_owned()]
        .map(|folder| fs::read(folder.join("model.safetensors")).unwrap());
    let (theirs, ours) = (safetensors::tensors(&theirs).unwrap(), safetensors::tensors(&ours).unwrap());
    assert!(theirs.keys().eq(ours.keys()));
    for (name, theirs) in &theirs {
        assert_eq!((&theirs.shape, theirs.bytes), (&ours[name].shape, ours[name].bytes), "{name}");
    }
}

/// A network of nine tokens in five colours.
fn small() -> Config {
    Config { layers: 1, width: 8, heads: 2, context: 9, vocabulary: 5, inner: None, classes: None }
}

fn greys() -> Palette {
    Palette::new(1, vec![0.0, 0.1, -0.333_333_34, 0.886_644_4, 1.0]).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_palette_that_transformers_cannot_use_lies_beside_the_network_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let wide = Config { context: 8, ..small() };
    for (config, palette, file, why) in [
        (small(), Some(greys()), Some("kmeans_centers.npy"), "this palette is one of greys"),
        (wide, Some(colours(5)), Some("kmeans_centers.npy"), "are not square"),
        (small(), Some(colours(5)), Some("preprocessor_config.json"), ""),
        (small(), None, None, "the palette, which is not known"),
        (small(), Some(greys()), Some("kmeans_centers.npy"), "one of greys"),
    ] {
        let checkpoint = Checkpoint { palette, ..random(config) };
        assert!(checkpoint.without_processor().unwrap_or_default().contains(why), "{why}");
        assert_eq!(checkpoint.without_processor().is_none(), why.is_empty());
        // Into the same folder: the palette of the one before does not stay.
        checkpoint.write(folder.path()).unwrap();
        assert_eq!(Checkpoint::read(folder.path()).unwrap(), checkpoint);
        let palettes: Vec<_> = names(folder.path())
            .into_iter()
            .filter(|name| !["config.json", "model.safetensors"].contains(&&**name))
            .collect();
        assert_eq!(palettes, Vec::from_iter(file));
    }
    // What belongs to no network is not written.
    let place = folder.path().join("out");
    let error =
        Checkpoint { palette: Some(colours(4)), ..random(small()) }.write(&place).unwrap_err().to_string();
    assert!(
        error.contains("a palette of 4 colours is not that of a network of 5") && !place.exists(),
        "{error}"
    );
}

#[test]
fn a_damaged_palette_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, path) = (folder.path(), folder.path().join("kmeans_centers.npy"));
    let checkpoint = Checkpoint { palette: Some(greys()), ..random(small()) };
    checkpoint.write(folder).unwrap();
    let whole = fs::read(&path).unwrap();
    let said = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        refused(folder)
    };
    let error = said(&whole[..whole.len() - 1]);
    assert!(error.contains("kmeans_centers.npy: ") && error.contains("bytes of numbers"), "{error}");
    assert!(said(b"").contains("not a NumPy file"));
    let mut far = whole.clone();
    far.splice(whole.len() - 4.., 255_f32.to_le_bytes());
    assert!(said(&far).contains("not on the scale [-1, 1]"));
    Palette::new(1, vec![0.0; 4]).unwrap().write_npy(&path).unwrap();
    assert!(refused(folder).contains("a palette of 4 colours beside a network of 5"));

    // Two palettes must be the same one.
    colours(5).write_npy(&path).unwrap();
    colours(5).write_preprocessor_config(folder.join("preprocessor_config.json"), 3).unwrap();
    assert_eq!(Checkpoint::read(folder).unwrap().palette, Some(colours(5)));
    fs::write(&path, &whole).unwrap();
    let error = refused(folder);
    assert!(
        error.contains("kmeans_centers.npy: another palette than that of preprocessor_config.json"),
        "{error}"
    );

    // The good twin.
    fs::remove_file(folder.join("preprocessor_config.json")).unwrap();
    assert_eq!(Checkpoint::read(folder).unwrap(), checkpoint);
}

#[test]
fn images_are_tokens_and_back() {
    let checkpoint = Checkpoint { palette: Some(greys()), ..random(small()) };
    let tokens = [0, 1, 2, 3, 4, 0, 1, 2, 4, 4, 4, 4, 2, 2, 2, 1, 1, 1];
    let images = checkpoint.images(&tokens).unwrap();
    assert_eq!(images.iter().map(|image| (image.width(), image.channels())).collect::<Vec<_>>(), [(3, 1); 2]);
    assert_eq!(checkpoint.tokens(&images).unwrap(), tokens);
    let said = |found: Result<Vec<u16>>| found.unwrap_err().to_string();
    assert!(
        checkpoint
            .images(&tokens[1..])
            .unwrap_err()
            .to_string()
            .contains("17 tokens are no whole images of 3²")
    );
    let large = images[0].resize(4, 3).unwrap();
    assert!(
        said(checkpoint.tokens([&images[1], &large]))
            .contains("image 1 is 4 × 3 pixels, and this network's are 3 × 3")
    );
    assert!(
        said(checkpoint.tokens([&images[0].to_rgb()])).contains("images in colour, and a palette of greys")
    );
    let unknown = Checkpoint { palette: None, ..checkpoint.clone() };
    assert!(said(unknown.tokens(&images)).contains("came without its palette"));
    let wide = Checkpoint { palette: Some(greys()), ..random(Config { context: 8, ..small() }) };
    assert!(wide.images(&tokens[..8]).unwrap_err().to_string().contains("8 tokens are no square image"));
}
