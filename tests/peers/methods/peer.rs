//! The library's side of `twin.py`: pre-training by either objective, and fine-tuning, on images that both sides share.
//!
//! methods_peer tokens FOLDER          writes tokens (u16) and labels (u16) of the training, validation and test images
//! methods_peer train SEED STEPS       trains by each method in turn, and prints what came out as JSON
//! methods_peer time STEPS             prints the seconds of a training step of each method, the median, as JSON

use igpt::engine::Engine;
use igpt::experiment::{FineTuned, FineTuning, PaletteFit, PaletteOf};
use igpt::model::{Classes, Config, Target};
use igpt::prelude::*;
use igpt::train::{Adam, AdamState, Classification, Length, Training, WarmUp};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

type Any<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const BERT: Objective = Objective::Bert { mask: 0.15 };

fn pretraining(seed: u64, steps: u64) -> Pretraining {
    let mut data = Data::of("fashion-mnist", 14);
    (data.train_images, data.test_images) = (Some(5000), Some(1000));
    let mut palette = PaletteFit::of(&profile());
    (palette.data, palette.colours) = (data.clone(), 16);
    let training = Training {
        length: Length::Steps(steps),
        batch: 16,
        learning_rate: 0.003,
        warm_up: WarmUp::Steps(10),
        seed,
        evaluate_every: steps,
        ..Training::paper(steps)
    };
    let mut network = profile().model;
    (network.layers, network.width, network.heads) = (4, 64, 4);
    Pretraining {
        data,
        palette: PaletteOf::Fit(palette),
        network,
        training,
        after: Vec::new(),
        released: None,
    }
}

fn profile() -> Profile {
    Profile::named("quick").expect("the profile of this repository")
}

fn tuning(of: FineTuning, steps: u64) -> FineTuning {
    let training = Training {
        length: Length::Steps(steps),
        learning_rate: 0.001,
        evaluate_every: steps.div_ceil(5),
        ..of.training
    };
    of.training(training)
}

fn tokens(folder: &Path) -> Any<()> {
    let step = pretraining(0, 10);
    let set = step.data.load()?;
    let (context, all) = (14 * 14, step.encoding(Split::Train).run()?.0);
    let write = |name: &str, numbers: &[u16]| {
        std::fs::write(folder.join(name), numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
    };
    for (name, positions) in
        [("train", step.data.training_positions()?), ("validation", step.data.validation_positions()?)]
    {
        let own: Vec<u16> = positions.iter().flat_map(|i| all[i * context..][..context].to_vec()).collect();
        let labels: Vec<u16> = positions.iter().map(|i| set.train().labels[*i]).collect();
        write(&format!("{name}.tokens"), &own)?;
        write(&format!("{name}.labels"), &labels)?;
    }
    write("test.tokens", &step.encoding(Split::Test).run()?.0)?;
    write("test.labels", &set.test().labels)?;
    Ok(())
}

fn train(seed: u64, steps: u64) -> Any<Value> {
    let (ar, bert) = (pretraining(seed, steps), pretraining(seed, steps).objective(BERT));
    let loss = |step: &Pretraining| -> Any<f64> {
        Ok(step.run()?.curve.validation.last().ok_or("no validation")?.loss)
    };
    let accuracy = |step: FineTuning| -> Any<f64> {
        let FineTuned { test, .. } = tuning(step, steps).run()?;
        Ok(test.share())
    };
    Ok(json!({
        "AR, loss": loss(&ar)?,
        "BERT, loss": loss(&bert)?,
        "AR fine-tuned, accuracy": accuracy(FineTuning::of(&ar))?,
        "BERT fine-tuned, accuracy": accuracy(FineTuning::of(&bert))?,
        "supervised from scratch, accuracy": accuracy(
            FineTuning::untrained(&ar).classification(Classification { generative: 0.0, ..Classification::default() })
        )?,
    }))
}

/// A network of 8 layers × 128, and the quick profile's batch.
fn time(steps: usize) -> Any<Value> {
    let plain =
        Config { layers: 8, width: 128, heads: 4, context: 196, vocabulary: 16, inner: None, classes: None };
    let images = 32;
    let tokens: Vec<u16> = (0..images * 196).map(|i| (i * 7 % 16) as u16).collect();
    let labels: Vec<u16> = (0..images).map(|i| (i % 10) as u16).collect();
    let masked: Vec<bool> = (0..images * 196).map(|i| i * 13 % 100 < 15).collect();
    let mut found = serde_json::Map::new();
    for (name, bert, classes) in [("AR", false, None), ("BERT", true, None), ("fine-tuning", false, Some(10))]
    {
        let config = plain.with_classes(classes);
        let mut engine = Engine::new(config)?;
        let mut parameters = Parameters::init(config, 1)?;
        let (mut adam, mut gradients) = (AdamState::new(config.parameters()), Parameters::zeros(config)?);
        let target = if bert { Target::Bert(&masked) } else { Target::Autoregressive };
        let batch = Batch::new(&tokens, target);
        let batch = match classes {
            None => batch,
            Some(_) => batch.with_classes(Classes {
                labels: &labels,
                layer: config.layers,
                generative: 1.0,
                classification: 1.0,
            }),
        };
        let mut seconds = Vec::new();
        for step in 0..=steps as u64 {
            let began = Instant::now();
            gradients.values_mut().fill(0.0);
            engine.gradients(&parameters, &batch, 1.0, &mut gradients)?;
            let layout = gradients.layout().decays();
            adam.step(&Adam::default(), &layout, step, 1e-3, parameters.values_mut(), gradients.values())?;
            seconds.push(began.elapsed().as_secs_f64());
        }
        // The first one warms up.
        let mut seconds = seconds.split_off(1);
        seconds.sort_by(f64::total_cmp);
        found.insert(name.to_owned(), json!(seconds[seconds.len() / 2]));
    }
    Ok(Value::Object(found))
}

fn print(found: &Value) -> Any<()> {
    println!("{found}");
    Ok(())
}

fn main() -> Any<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tokens", folder] => tokens(folder.as_ref()),
        ["train", seed, steps] => print(&train(seed.parse()?, steps.parse()?)?),
        ["time", steps] => print(&time(steps.parse()?)?),
        _ => Err("see the first lines of peer.rs".into()),
    }
}
