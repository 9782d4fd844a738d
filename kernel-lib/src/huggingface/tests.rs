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

#[test]
fn what_transformers_could_not_use_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("out");
    let config =
        Config { layers: 1, width: 8, heads: 2, context: 9, vocabulary: 5, inner: None, classes: None };
    let grey = Palette::new(1, vec![0.0, 0.1, 0.2, 0.3, 0.4]).unwrap();
    for (config, palette, said) in [
        (config, colours(4), "a palette of 4 colours is not that of a network of 5"),
        (Config { context: 8, ..config }, colours(5), "8 tokens are none"),
        (config, grey, "a palette of greys"),
    ] {
        let checkpoint = Checkpoint { palette: Some(palette), ..random(config) };
        let error = checkpoint.write(&place).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        assert!(!place.join("config.json").exists());
    }
}
