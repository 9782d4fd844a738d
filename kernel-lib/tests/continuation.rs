//! A training run gives the same bytes for any number of threads, and after it was killed and continued: the engine's and
//! the reference's, of either objective, and fine-tuning.
//!
//! Runs are processes of their own: a killed one must not take the test with it, and candle reads its number of
//! threads once per process. Each test starts this very test again, which then sees `IGPT_TEST_RUN` and trains.

use igpt::engine::Engine;
use igpt::model::{Config, Network, Reference};
use igpt::prelude::*;
use igpt::rng::Rng;
use igpt::train::{Classification, Labelled, Outcome, Tokens, Trainer, Training, WarmUp};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// Large enough that matrix products are cut into parts for threads.
const CONFIG: Config =
    Config { layers: 2, width: 64, heads: 4, context: 49, vocabulary: 16, inner: None, classes: None };

/// What is trained, and by what.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Run {
    Engine,
    Reference,
    /// By BERT's objective.
    Bert,
    /// Images and their classes, from a network that was trained before.
    FineTuning,
}

/// Trains for so many steps in this folder, with a checkpoint after every step.
fn train(run: Run, folder: &Path, steps: u64) -> Result<()> {
    let images = |count: usize, seed| -> Result<Arc<dyn Examples>> {
        let mut rng = Rng::keyed(seed, "pictures", [0, 0]);
        let tokens = (0..count * CONFIG.context).map(|_| rng.below(CONFIG.vocabulary) as u16).collect();
        let tokens = Arc::new(Tokens::new(CONFIG.context, tokens)?);
        Ok(match run {
            Run::FineTuning => Arc::new(Labelled::new(tokens, (0..count as u16).map(|i| i % 3).collect())?),
            _ => tokens,
        })
    };
    let config = CONFIG.with_classes((run == Run::FineTuning).then_some(3));
    let network: Box<dyn Network> = match run {
        Run::Reference => Box::new(Reference::new(config, DType::F32)?),
        _ => Box::new(Engine::new(config)?),
    };
    let settings = Training {
        batch: 8,
        warm_up: WarmUp::Steps(3),
        log_every: 4,
        evaluate_every: 20,
        checkpoint_every: 1,
        objective: match run {
            Run::Bert => Objective::Bert { mask: 0.15 },
            _ => Objective::Autoregressive,
        },
        ..Training::paper(steps)
    };
    // Classes are validated often, so that the best network changes, and is in most checkpoints.
    let settings = match run {
        Run::FineTuning => Training {
            cosine: false,
            evaluate_every: 3,
            classification: Some(Classification::default()),
            ..settings
        },
        _ => settings,
    };
    let mut trainer = Trainer::new(settings, network, images(30, 1)?, images(8, 2)?)?;
    if run == Run::FineTuning {
        trainer = trainer.start_from(Parameters::init(CONFIG, 9)?.with_classes(Some(3))?)?;
    }
    let mut trainer = trainer.keep_checkpoints(folder)?;
    let outcome = trainer.run(&mut |progress| println!("{progress}"))?;
    assert_eq!(outcome, Outcome::Finished);
    Ok(())
}

/// Starts `test` of this file again, to train in this folder with so many threads.
fn start(test: &str, folder: &Path, threads: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env("IGPT_TEST_RUN", folder)
        .env("RAYON_NUM_THREADS", threads.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The folder to train in, if this process is such a run.
fn run_here() -> Option<std::path::PathBuf> {
    std::env::var_os("IGPT_TEST_RUN").map(Into::into)
}

fn result(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("checkpoint.safetensors")).unwrap()
}

/// Trains with several numbers of threads, if this is not one of those runs.
fn with_threads(test: &str, run: Run) {
    if let Some(folder) = run_here() {
        return train(run, &folder, 6).unwrap();
    }
    let bytes = |threads| {
        let folder = tempfile::tempdir().unwrap();
        assert!(start(test, folder.path(), threads).wait().unwrap().success());
        result(folder.path())
    };
    let one = bytes(1);
    for threads in [2, 3, 8] {
        assert!(bytes(threads) == one, "{threads} threads");
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    with_threads("any_number_of_threads_gives_the_same_bytes", Run::Engine);
}

#[test]
fn any_number_of_threads_gives_the_reference_the_same_bytes() {
    with_threads("any_number_of_threads_gives_the_reference_the_same_bytes", Run::Reference);
}

/// Kills a run so many times and continues it, if this is not such a run.
fn killed(test: &str, run: Run, kills: u64) {
    let steps = 8 * kills;
    if let Some(folder) = run_here() {
        return train(run, &folder, steps).unwrap();
    }
    let whole = tempfile::tempdir().unwrap();
    assert!(start(test, whole.path(), 2).wait().unwrap().success());

    let folder = tempfile::tempdir().unwrap();
    let mut rng = Rng::keyed(std::process::id().into(), "moments", [0, 0]);
    for kill in 0..kills as usize {
        let mut process = start(test, folder.path(), 1 + kill % 2);
        // Some steps further, and then anywhere within a step, or within the writing of a checkpoint.
        let until = (step(folder.path()) + 1 + rng.below(5) as u64).min(steps - 5);
        while step(folder.path()) < until {
            assert!(process.try_wait().unwrap().is_none(), "the run ended by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(rng.below(20_000) as u64));
        process.kill().unwrap(); // SIGKILL
        process.wait().unwrap();
        println!("killed after step {}", step(folder.path()));
    }
    assert!(step(folder.path()) >= kills);
    assert!(start(test, folder.path(), 2).wait().unwrap().success());
    assert!(result(folder.path()) == result(whole.path()), "the continued run ended elsewhere");
}

#[test]
fn a_run_killed_at_20_random_moments_continues_to_the_same_bytes() {
    killed("a_run_killed_at_20_random_moments_continues_to_the_same_bytes", Run::Engine, 20);
}

#[test]
fn a_run_of_the_reference_killed_at_5_random_moments_continues_to_the_same_bytes() {
    killed(
        "a_run_of_the_reference_killed_at_5_random_moments_continues_to_the_same_bytes",
        Run::Reference,
        5,
    );
}

#[test]
fn berts_training_killed_at_10_random_moments_continues_to_the_same_bytes() {
    killed("berts_training_killed_at_10_random_moments_continues_to_the_same_bytes", Run::Bert, 10);
}

#[test]
fn a_fine_tuning_killed_at_10_random_moments_continues_to_the_same_bytes() {
    killed("a_fine_tuning_killed_at_10_random_moments_continues_to_the_same_bytes", Run::FineTuning, 10);
}

#[test]
fn any_number_of_threads_fine_tunes_to_the_same_bytes() {
    with_threads("any_number_of_threads_fine_tunes_to_the_same_bytes", Run::FineTuning);
}

/// Steps done, according to the checkpoint's header.
fn step(folder: &Path) -> u64 {
    // In between two renames there is none for a moment; the one before it will do.
    let read = ["checkpoint.safetensors", "checkpoint.previous.safetensors"];
    let Some(file) = read.iter().find_map(|name| std::fs::read(folder.join(name)).ok()) else { return 0 };
    let header = String::from_utf8_lossy(&file[..file.len().min(20_000)]).replace('\\', "");
    let digits = header.split("\"step\":").nth(1).unwrap();
    digits.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}
