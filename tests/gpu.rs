//! What a user who has a GPU, or none, sees of it. Each of the engine's operations is tested beside its code:
//! `cargo test -p igpt --lib engine::cuda`, and on a GPU `cargo test -p igpt --lib on_a_gpu -- --ignored`.

use igpt::device::Device;
use igpt::experiment::{Pretraining, Profile, Split, Workspace};
use igpt::store::Store;
use std::process::Command;

/// Runs one of the tests below in a process of its own, on this device.
fn alone(test: &str, device: Option<&str>) -> (bool, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]).env_remove("IGPT_DEVICE");
    command.envs(device.map(|device| ("IGPT_DEVICE", device)));
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
#[ignore = "a part of the next one"]
fn says_what_it_uses() {
    match Workspace::current() {
        Ok(on) => {
            println!("device: {}; {}", on.device(), Profile::named("quick").unwrap().ours(&on).unwrap())
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn without_a_gpu_the_cpu_is_used_and_asking_for_one_is_an_error() {
    if matches!(Device::chosen(), Ok(Device::Cuda { .. })) {
        println!("skipped: this machine has a GPU");
        return;
    }
    let (well, said) = alone("says_what_it_uses", None);
    assert!(well && said.contains("device: CPU"), "{said}");
    let (well, said) = alone("says_what_it_uses", Some("cpu"));
    assert!(well && said.contains("randomly translated, CPU"), "{said}");
    for device in ["cuda", "cuda:1"] {
        let (well, said) = alone("says_what_it_uses", Some(device));
        assert!(!well && said.contains(&format!("IGPT_DEVICE={device}: ")), "{said}");
    }
    let (well, said) = alone("says_what_it_uses", Some("gpu0"));
    assert!(!well && said.contains("it is cpu, cuda, cuda:N or reference"), "{said}");
}

/// The quick profile's training for some steps: the losses are the CPU's.
#[test]
#[ignore = "needs an NVIDIA GPU"]
fn a_training_on_a_gpu_is_that_of_a_cpu() {
    let losses = |device: &Device| -> Vec<f64> {
        let store = tempfile::tempdir().unwrap();
        let ar = Pretraining::of(&Profile::named("quick").unwrap());
        let config = ar.config().unwrap();
        let context = config.context;
        let on = Workspace::new(Store::at(store.path()), Device::cpu());
        let tokens = ar.encoding(Split::Train).run_on(&on).unwrap().0[..2000 * context].to_vec();
        let examples = |range: std::ops::Range<usize>| {
            let tokens = tokens[range.start * context..range.end * context].to_vec();
            std::sync::Arc::new(igpt::train::Tokens::new(context, tokens).unwrap())
        };
        let mut settings = igpt::train::Training::paper(60);
        (settings.batch, settings.warm_up, settings.log_every) = (32, igpt::train::WarmUp::Steps(10), 10);
        let network = device.engine(config).unwrap();
        let mut trainer =
            igpt::train::Trainer::new(settings, network, examples(0..1900), examples(1900..2000)).unwrap();
        let _ = trainer.run(&mut |progress| println!("{device}: {progress}")).unwrap();
        trainer.curve().training.iter().map(|point| point.loss).collect()
    };
    let [cpu, gpu] = [losses(&Device::cpu()), losses(&Device::cuda(0).unwrap())];
    assert_eq!(cpu.len(), gpu.len());
    for (a, b) in cpu.iter().zip(&gpu) {
        assert!((b / a - 1.0).abs() < 1e-3, "{cpu:?} {gpu:?}");
    }
}
