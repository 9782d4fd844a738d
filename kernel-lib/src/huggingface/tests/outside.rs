//! What needs more than this repository: transformers, memory, the released network.

use super::*;
use crate::hub;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// What transformers prints of our checkpoint in `folder`, and what it saved of it: safetensors and .bin.
fn through_transformers(python: &Path, folder: &Path) -> (String, [Checkpoint; 2]) {
    let script = fixture("through_transformers.py");
    let out = tempfile::tempdir().unwrap();
    let folders = ["safe", "bin"].map(|name| out.path().join(name));
    let ran = Command::new(python).arg(script).arg(folder).args(&folders).output().unwrap();
    let [printed, failed] = [ran.stdout, ran.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(ran.status.success(), "{failed}");
    assert!(folders[0].join("model.safetensors").exists() && folders[1].join("pytorch_model.bin").exists());
    (printed, folders.map(|folder| Checkpoint::read(&folder).unwrap()))
}

/// `IGPT_TRANSFORMERS_PYTHON=python cargo test -p igpt --lib through_transformers -- --ignored --nocapture`
#[test]
#[ignore = "needs a Python with transformers, which IGPT_TRANSFORMERS_PYTHON names"]
fn a_network_comes_through_transformers_unchanged() {
    let Some(python) = hub::set("IGPT_TRANSFORMERS_PYTHON") else {
        println!(
            "skipped: IGPT_TRANSFORMERS_PYTHON names no Python (see tests/fixtures/imagegpt/requirements.txt)"
        );
        return;
    };
    let usual =
        Config { layers: 2, width: 24, heads: 3, context: 16, vocabulary: 10, inner: None, classes: None };
    for (config, palette) in [
        (usual, None),
        (usual, Some(colours(10))),
        (Config { context: 35, width: 21, vocabulary: 11, inner: Some(45), ..usual }, None),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint { palette, ..random(config) };
        checkpoint.write(folder.path()).unwrap();
        let (printed, back) = through_transformers(&python, folder.path());
        back.iter().for_each(|back| assert!(*back == checkpoint, "{config:?}"));

        let greedy = |logits: &[f32], _: usize, _: usize| {
            Ok((0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as u16)
        };
        let mut engine = crate::engine::Engine::new(config).unwrap();
        let drawn =
            crate::model::Network::complete(&mut engine, &checkpoint.parameters, &[], 1, &greedy).unwrap();
        let drawn: Vec<String> = drawn.iter().map(u16::to_string).collect();
        assert!(printed.contains(&format!("greedy {}\n", drawn.join(" "))), "{printed}{drawn:?}");
        assert_eq!(printed.contains("colours 10 4 4\n"), checkpoint.palette.is_some(), "{printed}");
    }
}

/// As above, with the name `classifier`.
#[test]
#[ignore = "needs a Python with transformers, which IGPT_TRANSFORMERS_PYTHON names"]
fn a_classifier_is_transformers_image_classification() {
    let Some(python) = hub::set("IGPT_TRANSFORMERS_PYTHON") else {
        println!(
            "skipped: IGPT_TRANSFORMERS_PYTHON names no Python (see tests/fixtures/imagegpt/requirements.txt)"
        );
        return;
    };
    let config =
        Config { layers: 2, width: 24, heads: 3, context: 16, vocabulary: 10, inner: None, classes: Some(7) };
    let (folder, checkpoint) = (tempfile::tempdir().unwrap(), random(config));
    checkpoint.write(folder.path()).unwrap();
    assert_eq!(Checkpoint::read(folder.path()).unwrap(), checkpoint);
    let ran = Command::new(python).arg(fixture("classifier.py")).arg(folder.path()).output().unwrap();
    let [printed, failed] = [ran.stdout, ran.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(ran.status.success(), "{failed}");
    let theirs = printed.lines().find_map(|line| line.strip_prefix("logits ")).unwrap();
    let theirs: Vec<f64> = theirs.split(' ').map(|logit| logit.parse().unwrap()).collect();
    // The last token is not seen: all go on by one.
    let tokens: Vec<u16> = (0..16).map(|token| token % 10).collect();
    let mut engine = crate::engine::Engine::new(config).unwrap();
    let view = crate::model::View::Causal;
    let features =
        crate::model::Network::features(&mut engine, &checkpoint.parameters, &tokens, view).unwrap();
    let ours = crate::model::class_logits(&checkpoint.parameters, &features, config.layers).unwrap();
    println!("{theirs:?}\n{:?}", ours.values);
    assert!(ours.values.iter().zip(&theirs).all(|(a, b)| (a - b).abs() < 1e-4 * (1.0 + b.abs())));
}

/// Anonymous memory of this process, in bytes.
fn anonymous() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
}

/// Reads a checkpoint and says how much anonymous memory that took at most, over the size of the network in f32.
fn memory_of_reading(folder: &Path) -> f64 {
    let (done, before) = (AtomicBool::new(false), anonymous());
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(anonymous());
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            most
        });
        let checkpoint = Checkpoint::read(folder);
        // With the network still there.
        let after = anonymous();
        done.store(true, Ordering::Relaxed);
        let most = watch.join().unwrap().max(after);
        let bytes = 4 * checkpoint.unwrap().config().parameters();
        let ratio = (most - before) as f64 / bytes as f64;
        println!("{}: {} MB of f32, {ratio:.3} times that in memory", folder.display(), bytes / 1_000_000);
        ratio
    })
}

/// Alone in its process: `cargo test --release -p igpt --lib loading_takes -- --ignored --nocapture`. `IGPT_CHECKPOINT`
/// names one more checkpoint; with `IGPT_TEST_LARGE=1` the network has the size of iGPT-L (5.5 GB).
#[test]
#[ignore = "writes 1.2 GB and needs as much memory"]
fn loading_takes_little_more_memory_than_the_network() {
    let large = hub::set("IGPT_TEST_LARGE").is_some();
    let smaller = Config {
        layers: 24,
        width: 1024,
        heads: 8,
        context: 1024,
        vocabulary: 512,
        inner: None,
        classes: None,
    };
    let config = if large { Config::igpt_l() } else { smaller };
    let folder = tempfile::tempdir().unwrap();
    let mut parameters = Parameters::zeros(config).unwrap();
    parameters.values_mut().iter_mut().enumerate().for_each(|(at, x)| *x = at as f32);
    Checkpoint { parameters, palette: None }.write(folder.path()).unwrap();
    assert!(memory_of_reading(folder.path()) < 1.2);
    if let Some(other) = hub::set("IGPT_CHECKPOINT") {
        assert!(memory_of_reading(&other) < 1.2);
    }
}

/// Where the cache of the hub's client has `openai/imagegpt-small`: its logits are those that transformers' own test
/// expects (tests/models/imagegpt/test_modeling_imagegpt.py, `test_inference_causal_lm_head`), and its loss is that of a
/// network that knows images.
#[test]
#[ignore = "needs openai/imagegpt-small in the cache of the hub's client, and the cats of its test"]
fn the_released_network_is_what_transformers_says() {
    let snapshots = hub::cache().map(|cache| cache.join("models--openai--imagegpt-small/snapshots"));
    let mut found = snapshots.iter().flat_map(fs::read_dir).flatten().flatten().map(|entry| entry.path());
    let Some(folder) = found.find(|folder| folder.join("config.json").exists()) else {
        println!("skipped: {snapshots:?} holds no openai/imagegpt-small (HF_HUB_CACHE names another cache)");
        return;
    };
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference");
    let reference = hub::set("IGPT_REFERENCE").unwrap_or(beside);
    let Ok(ids) = fs::read(reference.join("cats_hf_input_ids.json")) else {
        println!("skipped: {} is absent (IGPT_REFERENCE names another place)", reference.display());
        return;
    };
    let ids: serde_json::Value = serde_json::from_slice(&ids).unwrap();
    let ids: Vec<u16> = ids["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u16).collect();

    let checkpoint = Checkpoint::read(&folder).unwrap();
    assert_eq!(checkpoint.config(), Config::igpt_s());
    assert_eq!(checkpoint.palette.as_ref().map(Palette::len), Some(512));
    let logits = crate::model::logits_without_sos(&checkpoint.parameters, &ids);
    let expected = [[2.3445, 2.6889, 2.7313], [1.0530, 1.2416, 0.5699], [0.2205, 0.7749, 0.3953]];
    for (found, expected) in logits.iter().zip(expected) {
        for (found, expected) in found.iter().zip(expected) {
            let off = (f64::from(*found) - expected).abs();
            assert!(off <= 1e-4 + 1e-4 * expected.abs(), "{found} {expected}");
        }
    }
    let mut engine = crate::engine::Engine::new(checkpoint.config()).unwrap();
    let batch = crate::model::Batch::autoregressive(&ids);
    let loss = crate::model::Network::loss(&mut engine, &checkpoint.parameters, &batch).unwrap();
    println!("{loss:.4} nats per token");
    // 2.09 on ImageNet's test images; an image may be twice as hard, and chance is 6.24.
    assert!((0.5..4.0).contains(&loss), "{loss}");
}
