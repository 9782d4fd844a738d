//! Checkpoints that TensorFlow wrote, what the networks in them compute, and checkpoints that are damaged. Made by
//! `tests/fixtures/openai/make.py`.

use super::bundle::with_ending;
use super::*;
use crate::engine::Engine;
use crate::model::{Batch, ImageGpt, Network, Seen, Target};
use candle_core::{DType, Device, Tensor};
use std::collections::HashMap;
use std::fs;
use tempfile::TempDir;

const AR: &str = "model.ckpt-131000";
const BERT: &str = "model.ckpt-7";

fn fixture(network: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/openai").join(network)
}

/// A copy of a network's folder.
fn copied(network: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in fs::read_dir(fixture(network)).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    folder
}

#[track_caller]
fn refused(folder: &Path, parts: &[&str]) {
    let error = Checkpoint::read(folder).unwrap_err().to_string();
    for part in parts {
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }
}

fn expected(network: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(fixture(network).join("expected.safetensors"), &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

#[track_caller]
fn close(ours: &Tensor, theirs: &Tensor) {
    assert_eq!(ours.dims(), theirs.dims());
    let (ours, theirs) = (values(ours), values(theirs));
    let largest = theirs.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    let off = ours.iter().zip(&theirs).fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
    assert!(largest > 0.1 && off <= 1e-5 * largest, "{off:e} of {largest}");
}

const SHAPE: Config =
    Config { layers: 2, width: 16, heads: 2, context: 16, vocabulary: 8, inner: None, classes: None };

#[test]
fn an_autoregressive_network_computes_what_the_original_computes() {
    let Checkpoint { parameters, causal } = Checkpoint::read(&fixture("ar")).unwrap();
    assert!(causal);
    assert_eq!(parameters.config(), SHAPE);
    assert!(parameters.values().iter().all(|x| *x != 0.0), "every number is random");
    let expected = expected("ar");
    let model = ImageGpt::new(&parameters, DType::F32, &Device::Cpu).unwrap();
    let tokens = expected["tokens"].to_dtype(DType::U32).unwrap();
    close(&model.logits(&tokens).unwrap(), &expected["logits"]);

    // The engine computes the same: its loss is that of the logits.
    let tokens: Vec<u16> = values(&expected["tokens"]).into_iter().map(|token| token as u16).collect();
    let logits = values(&expected["logits"]);
    let of_token = |(logits, token): (&[f64], &u16)| {
        logits.iter().map(|x| x.exp()).sum::<f64>().ln() - logits[usize::from(*token)]
    };
    let loss = logits.chunks(8).zip(&tokens).map(of_token).sum::<f64>() / tokens.len() as f64;
    let found = Engine::new(SHAPE).unwrap().loss(&parameters, &Batch::autoregressive(&tokens)).unwrap();
    assert!((found - loss).abs() < 1e-5 * loss, "{found} {loss}");
}

#[test]
fn a_network_of_bert_in_parts_computes_what_the_original_computes() {
    let Checkpoint { parameters, causal } = Checkpoint::read(&fixture("bert")).unwrap();
    assert!(!causal);
    assert_eq!(parameters.config(), SHAPE.with_classes(Some(3)));
    assert!(parameters.get("sos").unwrap().iter().all(|x| *x == 0.0));
    let expected = expected("bert");
    let model = ImageGpt::new(&parameters, DType::F32, &Device::Cpu).unwrap();
    let (tokens, masked) = (expected["tokens"].to_dtype(DType::U32).unwrap(), expected["masked"].clone());
    close(&model.bert_logits(&tokens, &masked).unwrap(), &expected["logits"]);
    let view = Seen::Bidirectional(Some(masked.clone()));
    close(&model.class_logits(&tokens, &view, SHAPE.layers).unwrap(), &expected["class_logits"]);

    let tokens: Vec<u16> = values(&expected["tokens"]).into_iter().map(|token| token as u16).collect();
    let hidden: Vec<bool> = values(&masked).into_iter().map(|x| x == 1.0).collect();
    let batch = Batch::new(&tokens, Target::Bert(&hidden));
    let found = Engine::new(parameters.config()).unwrap().loss(&parameters, &batch).unwrap();
    let truth = f64::from(
        model
            .bert_loss(&expected["tokens"].to_dtype(DType::U32).unwrap(), &masked)
            .unwrap()
            .to_scalar::<f32>()
            .unwrap(),
    );
    assert!((found - truth).abs() < 1e-5 * truth, "{found} {truth}");
}

#[test]
fn a_checkpoint_has_several_names() {
    let folder = copied("ar");
    let whole = Checkpoint::read(folder.path()).unwrap();
    assert_eq!(Checkpoint::read(&folder.path().join(AR)).unwrap(), whole);
    assert_eq!(Checkpoint::read(&folder.path().join(format!("{AR}.index"))).unwrap(), whole);
    fs::copy(folder.path().join(format!("{AR}.index")), folder.path().join("other.index")).unwrap();
    refused(folder.path(), &["2 checkpoints in it: name one, ", "model.ckpt-131000 or ", "other"]);
    assert_eq!(Checkpoint::read(&folder.path().join(AR)).unwrap(), whole);
    refused(&folder.path().join("model.ckpt-5"), &["model.ckpt-5.index: ", "No such file"]);
    refused(tempfile::tempdir().unwrap().path(), &["no checkpoint of TensorFlow in it"]);
}

#[test]
fn a_damaged_byte_anywhere_is_found() {
    for (network, checkpoint) in [("ar", AR), ("bert", BERT)] {
        let folder = copied(network);
        let good = Checkpoint::read(folder.path()).unwrap();
        let index = format!("{checkpoint}.index");
        let mut files: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .filter(|file| file.starts_with(checkpoint))
            .collect();
        files.sort();
        assert!(files.len() > 3 && files.contains(&index), "{files:?}");
        for file in files {
            let path = folder.path().join(&file);
            let bytes = fs::read(&path).unwrap();
            let mut harmless = 0;
            for at in (0..bytes.len()).step_by(if file == index { 1 } else { 97 }) {
                let mut damaged = bytes.clone();
                damaged[at] ^= 4;
                fs::write(&path, damaged).unwrap();
                match Checkpoint::read(folder.path()) {
                    // In what is not read: a moment of Adam, say, or zeros between.
                    Ok(read) => {
                        assert_eq!(read, good, "{file} {at}");
                        harmless += 1;
                    }
                    Err(error) => {
                        let said = error.to_string();
                        // An index of which a shard's number is another names that one.
                        assert!(said.contains(&file) || file == index, "{file} {at}: {said}");
                    }
                }
            }
            println!("{file}: {harmless} bytes do not matter");
            // Of the index, the block of properties and the end; of shards, moments, which are two thirds of two variables.
            assert!(harmless < 80, "{file}: {harmless}");
            fs::write(&path, &bytes).unwrap();
        }
        assert_eq!(Checkpoint::read(folder.path()).unwrap(), good);
    }
}

#[test]
fn missing_and_cut_files_are_named() {
    let folder = copied("bert");
    let path = |ending: &str| folder.path().join(format!("{BERT}{ending}"));
    for ending in [".data-00001-of-00003", ".index"] {
        let file = path(ending);
        let bytes = fs::read(&file).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        for end in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&file, &bytes[..end]).unwrap();
            refused(folder.path(), &[name, "cut short"]);
        }
        fs::remove_file(&file).unwrap();
        refused(&folder.path().join(BERT), &[name, "No such file"]);
        fs::write(&file, bytes).unwrap();
    }
    Checkpoint::read(folder.path()).unwrap();
}

/// The index of `ar` with its keys and values changed.
fn edited(edit: impl Fn(&mut Vec<(Vec<u8>, Vec<u8>)>)) -> TempDir {
    let folder = copied("ar");
    let path = with_ending(&folder.path().join(AR), ".index");
    let file = fs::read(&path).unwrap();
    let entries = table::entries(&file).unwrap();
    let mut pairs = entries.into_iter().map(|(key, value)| (key, value.to_vec())).collect();
    edit(&mut pairs);
    pairs.sort();
    fs::write(path, table::tests::table(&pairs, 5, 0)).unwrap();
    folder
}

#[test]
fn variables_are_accounted_for() {
    let as_it_is = edited(|_| {});
    assert_eq!(Checkpoint::read(as_it_is.path()).unwrap(), Checkpoint::read(&fixture("ar")).unwrap());

    let renamed = |from: &'static str, to: &'static str| {
        edited(move |pairs| {
            let found = pairs.iter_mut().find(|(key, _)| key == from.as_bytes());
            found.unwrap().0 = to.as_bytes().to_vec();
        })
    };
    let bias = renamed("model/h1/mlp/c_fc/w", "model/h1/mlp/c_fc/b");
    let said = "model.ckpt-131000.index: not the variables of an image GPT. missing: model/h1/mlp/c_fc/w; \
                unexpected: model/h1/mlp/c_fc/b";
    refused(bias.path(), &[said]);
    let average = renamed("model/sos/Adam", "model/sos/ExponentialMovingAverage");
    refused(average.path(), &["unexpected: model/sos/ExponentialMovingAverage"]);
    let moment = renamed("model/sos/Adam", "model/sos/adam_m");
    Checkpoint::read(moment.path()).unwrap();
    refused(renamed("model/wte", "model/wtf").path(), &["no variable model/wte: not an image GPT"]);
    refused(renamed("model/h0/ln_1/g", "model/h9/ln_1/g").path(), &["index: ", "layers = 0"]);
    // Without an SOS token it is one of BERT's.
    let bert = edited(|pairs| pairs.retain(|(key, _)| key != b"model/sos"));
    assert!(!Checkpoint::read(bert.path()).unwrap().causal);
    // The header.
    let headless = edited(|pairs| drop(pairs.remove(0)));
    refused(headless.path(), &["index: it has no header"]);
}

#[test]
fn indices_of_other_numbers_are_refused() {
    let changed = |name: &'static str, from: &'static [u8], to: &'static [u8]| {
        edited(move |pairs| {
            let (_, value) = pairs.iter_mut().find(|(key, _)| key == name.as_bytes()).unwrap();
            let at = value.windows(from.len()).position(|part| part == from).unwrap();
            value.splice(at..at + from.len(), to.iter().copied());
        })
    };
    // Field 1 is the type: 1 is f32, 2 f64.
    refused(
        changed("model/sos", b"\x08\x01", b"\x08\x02").path(),
        &["model/sos: numbers of TensorFlow's type 2"],
    );
    // The length of its only dimension.
    refused(
        changed("model/sos", b"\x12\x04\x12\x02\x08\x10", b"\x12\x04\x12\x02\x08\x11").path(),
        &["model/sos has the shape [17] and not [16]"],
    );
    // The size in bytes, of which the length says something else.
    refused(
        changed("model/sos", b"\x28\x40", b"\x28\x3c").path(),
        &["model/sos: 60 bytes are not f32 of shape [16]"],
    );
    // A shape that no memory holds.
    refused(
        changed("model/wpe", b"\x12\x02\x08\x10\x12", b"\x12\x07\x08\x80\x80\x80\x80\x80\x20\x12").path(),
        &["index: model/wpe: "],
    );
    // The header's byte order: 1 is big-endian.
    refused(changed("", b"\x1a\x02", b"\x10\x01\x1a\x02").path(), &["its numbers are big-endian"]);
    // Two variables at one place.
    let shared = edited(|pairs| {
        let sos = pairs.iter().find(|(key, _)| key == b"model/sos").unwrap().1.clone();
        pairs.iter_mut().find(|(key, _)| key == b"model/ln_f/g").unwrap().1 = sos;
    });
    refused(shared.path(), &["index: model/ln_f/g and model/sos share their numbers"]);
}

/// A folder laid out as OpenAI's, with `bert` as `igpt-s-bert/7` and `ar` as `igpt-m-bert/131000`, which it is not.
fn laid_out() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (network, place) in [("bert", "checkpoints/igpt-s-bert/7"), ("ar", "checkpoints/igpt-m-bert/131000")]
    {
        let place = folder.path().join(place);
        fs::create_dir_all(&place).unwrap();
        for file in fs::read_dir(fixture(network)).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), place.join(file.file_name())).unwrap();
        }
    }
    fs::create_dir_all(folder.path().join("color-clusters")).unwrap();
    let colours = crate::palette::Palette::new(3, vec![0.5; 24]).unwrap();
    colours.write_npy(folder.path().join("color-clusters/kmeans_centers.npy")).unwrap();
    folder
}

#[test]
fn released_checkpoints_are_found_by_name() {
    let folder = laid_out();
    let find = |name: &str| released::find(Some(folder.path()), name);
    let bert = find("igpt-s-bert/7").unwrap();
    assert_eq!(bert.checkpoint, folder.path().join("checkpoints/igpt-s-bert/7/model.ckpt-7"));
    assert_eq!(bert.read().unwrap(), Checkpoint::read(&fixture("bert")).unwrap());
    let files = bert.files().unwrap().into_iter().map(|file| file.file_name().unwrap().to_owned());
    let shards = [0, 1, 2].map(|shard| format!("{BERT}.data-0000{shard}-of-00003"));
    let expected = [&shards[..], &[format!("{BERT}.index"), "kmeans_centers.npy".to_owned()]].concat();
    assert!(files.eq(expected.iter().map(std::ffi::OsString::from)));

    let error = find("igpt-m-bert/131000").unwrap().read().unwrap_err().to_string();
    assert!(
        error.contains("igpt-m-bert/131000 it is not: it has an SOS token, so it is autoregressive"),
        "{error}"
    );
    for name in ["igpt-s", "igpt-xl/7", "igpt-s/", "igpt-s/../x", "igpt-s/-1", "igpt-s/7/8", "imagegpt-small"]
    {
        let error = find(name).unwrap_err().to_string();
        assert!(error.contains("Names are like igpt-s/131000"), "{error}");
    }
    let error = find("igpt-s/131000").unwrap_err().to_string();
    assert!(error.ends_with("checkpoints/igpt-s/131000/model.ckpt-131000.index"), "{error}");
    let error = released::find(None, "igpt-s/131000").unwrap_err().to_string();
    assert!(
        error.contains(
            "set IGPT_OPENAI to a folder that has checkpoints/igpt-s/131000/model.ckpt-131000.index"
        ),
        "{error}"
    );
    // What there is, by network and steps; what is named otherwise, or has no index, is no checkpoint.
    assert_eq!(released::list(folder.path()).unwrap(), ["igpt-s-bert/7", "igpt-m-bert/131000"]);
    for place in ["igpt-s-bert/64", "igpt-s-bert/1000", "igpt-s-bert/notes", "igpt-s/5", "igpt-xl/7"] {
        let place = folder.path().join("checkpoints").join(place);
        fs::create_dir_all(&place).unwrap();
        if !place.ends_with("5") {
            let steps = place.file_name().unwrap().to_str().unwrap();
            fs::write(place.join(format!("model.ckpt-{steps}.index")), "").unwrap();
        }
    }
    let all = ["igpt-s-bert/7", "igpt-s-bert/64", "igpt-s-bert/1000", "igpt-m-bert/131000"];
    assert_eq!(released::list(folder.path()).unwrap(), all);
    let error = released::list(&folder.path().join("checkpoints")).unwrap_err().to_string();
    assert!(error.contains("there is no checkpoint in it"), "{error}");
    fs::remove_file(&bert.palette).unwrap();
    assert!(find("igpt-s-bert/7").unwrap_err().to_string().ends_with("kmeans_centers.npy"));
    assert!(is_causal("igpt-s/7") && !is_causal("igpt-s-bert/7") && is_causal("imagegpt-small"));
}

/// What the checksums would find, with the checksums mended: no message of an index makes a reader panic.
#[test]
fn changed_messages_are_errors_or_read() {
    let folder = copied("bert");
    let path = with_ending(&folder.path().join(BERT), ".index");
    let file = fs::read(&path).unwrap();
    let pairs: Vec<(Vec<u8>, Vec<u8>)> =
        table::entries(&file).unwrap().into_iter().map(|(key, value)| (key, value.to_vec())).collect();
    let good = Checkpoint::read(folder.path()).unwrap();
    let mut refused = 0;
    for change in 0..1500 {
        let mut rng = crate::rng::Rng::keyed(12, "an index", [change, 0]);
        let mut pairs = pairs.clone();
        let at = rng.below(pairs.len());
        let (key, value) = &mut pairs[at];
        let bytes = if rng.below(5) == 0 && !key.is_empty() { key } else { value };
        let at = rng.below(bytes.len());
        match rng.below(4) {
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = [0, 0x7f, 0xff, 0x80][rng.below(4)],
            2 => bytes.truncate(at),
            _ => drop(bytes.splice(at..at, [0xff; 9])),
        }
        pairs.sort();
        fs::write(&path, table::tests::table(&pairs, 1 + rng.below(9), 0)).unwrap();
        match Checkpoint::read(folder.path()) {
            // A number of a dimension's name, say, which nobody looks at.
            Ok(read) => assert_eq!(read, good, "change {change}"),
            Err(_) => refused += 1,
        }
    }
    println!("{refused} of 1500 refused");
    assert!(refused > 1000, "{refused}");
}
