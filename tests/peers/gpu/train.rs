//! Trainings for a GPU session, on images that `tokens.rs` wrote. `IGPT_DEVICE` chooses the device.
//!
//! ```text
//! gpu_train curve IMAGES PRECISION NAME FOLDER [SETTING=VALUE ...]    a small training; its curve as FOLDER/NAME.csv
//! gpu_train figure FILE.svg FOLDER                            curves of a folder over one another, and the differences
//! gpu_train train IMAGES FOLDER SECONDS OUT [SETTING=VALUE ...]   as long a training as fits into so many seconds;
//!                                                             with 90/180 the first 90 of 180
//! gpu_train sample IMAGES OUT COUNT                         images that the trained network makes up, and completes
//! gpu_train judge IMAGES OUT [IMAGES]                       its loss on held-out images, and the linear probe
//! ```
//!
//! `train` measures what a step takes, fixes the number of steps so that the cosine ends with the time, and notes it in
//! FOLDER, where checkpoints are kept, too: called again it goes on from there. Settings are those of [`Settings`].

#[allow(dead_code, reason = "what writes images is for tokens.rs")]
#[path = "tokenized.rs"]
mod tokenized;

use igpt::device::Device;
use igpt::model::{Batch, Config, Parameters, Precision, View};
use igpt::probe::{self, FeatureMatrix, TestSet};
use igpt::rng::Rng;
use igpt::sample::{Sampling, sample};
use igpt::show::Figure;
use igpt::train::{
    Adam, AdamState, Curve, Examples as _, Length, Outcome, Tokens, Trainer, Training, WarmUp,
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokenized::{Any, Augmented, Tokenized};

/// Most bytes of a file of parameters.
const PART: usize = 15_000_000;
/// Pictures that are computed on at a time when a network is judged.
const CHUNK: usize = 128;

/// What can be set from the command line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    layers: usize,
    width: usize,
    heads: usize,
    batch: usize,
    learning_rate: f64,
    warm_up: u64,
    clip: f64,
    seed: u64,
    precision: Precision,
    /// Of the training; `train` finds it out.
    steps: u64,
    /// Pictures of the validation that is made a few times while it trains.
    validation: usize,
}

impl Settings {
    /// The network of 10 million parameters.
    fn cifar() -> Self {
        Self {
            layers: 12,
            width: 256,
            heads: 8,
            batch: 64,
            learning_rate: 2e-3,
            warm_up: 200,
            clip: 1.0,
            seed: 1,
            precision: Precision::Bf16,
            steps: 0,
            validation: 1000,
        }
    }

    /// About the network of the profile `quick`.
    fn small(precision: Precision) -> Self {
        Self {
            layers: 4,
            width: 128,
            heads: 4,
            batch: 8,
            warm_up: 30,
            steps: 300,
            validation: 64,
            ..Self::cifar()
        }
        .with_precision(precision)
    }

    fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The same, with what arguments say: `batch=128`.
    fn with(self, arguments: &[String]) -> Any<Self> {
        let mut value = serde_json::to_value(self)?;
        for argument in arguments {
            let (name, set) = argument.split_once('=').ok_or_else(|| format!("{argument}: NAME=VALUE"))?;
            value[name] = serde_json::from_str(set).unwrap_or_else(|_| json!(set));
        }
        Ok(serde_json::from_value(value)?)
    }

    fn config(&self, tokenized: &Tokenized) -> Any<Config> {
        let (context, vocabulary) = (tokenized.header.side.pow(2), tokenized.palette()?.len());
        Ok(Config {
            layers: self.layers,
            width: self.width,
            heads: self.heads,
            context,
            vocabulary,
            inner: None,
            classes: None,
        })
    }

    fn training(&self) -> Training {
        let every = |parts: u64| self.steps.div_ceil(parts).max(1);
        Training {
            length: Length::Steps(self.steps),
            batch: self.batch,
            learning_rate: self.learning_rate,
            warm_up: WarmUp::Steps(self.warm_up.min(self.steps / 4)),
            adam: Adam { clip: Some(self.clip), ..Adam::default() },
            precision: self.precision,
            seed: self.seed,
            log_every: if self.steps < 100 { 1 } else { 5 },
            evaluate_every: every(5),
            checkpoint_every: every(4),
            ..Training::paper(self.steps)
        }
    }
}

/// Places of the training images that are held out: a tenth, the same as in `igpt::experiment`.
fn held_out(images: usize) -> Vec<usize> {
    let mut places = Rng::keyed(0, "validation split", [0, 0]).permutation(images);
    places.truncate(images / 10);
    places.sort_unstable();
    places
}

/// Pictures to train on, changed at each step, and the first `validation` of those that are held out.
fn examples(tokenized: &Tokenized, settings: &Settings) -> Any<(Augmented, Tokens)> {
    let side = tokenized.header.side;
    let count = tokenized.train.labels.len();
    let all = Tokens::new(side * side, tokenized.train.tokens.clone())?;
    let held_out = held_out(count);
    let training: Vec<usize> = (0..count).filter(|place| held_out.binary_search(place).is_err()).collect();
    let validation = &held_out[..settings.validation.min(held_out.len())];
    let tokens = all.tokens(0, &training)?;
    Ok((
        Augmented { side, padding: 4, seed: settings.seed, tokens },
        Tokens::new(side * side, all.tokens(0, validation)?)?,
    ))
}

fn trainer(tokenized: &Tokenized, settings: &Settings) -> Any<Trainer> {
    let (training, validation) = examples(tokenized, settings)?;
    let network = Device::chosen()?.engine(settings.config(tokenized)?)?;
    let trainer = Trainer::new(settings.training(), network, Arc::new(training), Arc::new(validation))?;
    Ok(trainer.input("images", &tokenized.header.sha256))
}

/// A curve as lines `what,step,loss`.
fn csv(curve: &Curve) -> String {
    let mut text = "what,step,loss\n".to_owned();
    for (what, points) in [("training", &curve.training), ("validation", &curve.validation)] {
        points.iter().for_each(|point| text += &format!("{what},{},{:.6}\n", point.step, point.loss));
    }
    text
}

fn curve(tokenized: &Path, precision: &str, name: &str, folder: &Path, rest: &[String]) -> Any<()> {
    let tokenized = Tokenized::read(tokenized)?;
    let precision = serde_json::from_value(json!(precision))?;
    let settings = Settings::small(precision).with(rest)?;
    let start = Instant::now();
    let mut trainer = trainer(&tokenized, &settings)?;
    let outcome = trainer.run(&mut |progress| {
        if progress.step.is_multiple_of(50) {
            println!("{name}: {progress}");
        }
    })?;
    println!("{name}: {outcome:?} on {} after {:.1} s", Device::chosen()?, start.elapsed().as_secs_f64());
    fs::create_dir_all(folder)?;
    Ok(fs::write(folder.join(format!("{name}.csv")), csv(trainer.curve()))?)
}

fn figure(file: &Path, folder: &Path) -> Any<()> {
    let mut curves: BTreeMap<String, BTreeMap<u64, f64>> = BTreeMap::new();
    let mut ends = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "csv") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for line in fs::read_to_string(&path)?.lines().skip(1) {
            let [what, step, loss] = line.split(',').collect::<Vec<_>>()[..] else { continue };
            match what {
                "training" => {
                    curves.entry(name.clone()).or_default().insert(step.parse()?, loss.parse()?);
                }
                _ => ends.push((name.clone(), step.parse::<u64>()?, loss.to_owned())),
            }
        }
    }
    let mut figure = Figure::new("The same training on each device").x("step").y("loss (nats a token)");
    for (name, points) in &curves {
        figure = figure.line(name.as_str(), points.iter().map(|(step, loss)| (*step as f64, *loss)));
    }
    fs::write(file, figure.to_svg())?;
    // How far apart they are, against the CPU in f32 where that was trained, too.
    let first = curves.get("cpu-f32").or(curves.values().next()).ok_or("no curves")?;
    println!("| curve | largest difference | in the first 50 steps |\n|---|---|---|");
    for (name, points) in &curves {
        let largest = |until: u64| {
            let apart =
                points.range(..=until).filter_map(|(step, loss)| Some((loss - first.get(step)?).abs()));
            apart.fold(0.0, f64::max)
        };
        println!("| {name} | {:.5} | {:.5} |", largest(u64::MAX), largest(50));
    }
    ends.sort();
    println!("\n| curve | step | validation loss |\n|---|---|---|");
    ends.iter().for_each(|(name, step, loss)| println!("| {name} | {step} | {loss} |"));
    Ok(())
}

/// Seconds that a step takes, by some steps of the very training.
fn pace(tokenized: &Tokenized, settings: &Settings) -> Any<f64> {
    let (training, _) = examples(tokenized, settings)?;
    let config = settings.config(tokenized)?;
    let mut network = Device::chosen()?.engine(config)?;
    network.set_precision(settings.precision)?;
    let mut parameters = Parameters::init(config, settings.seed)?;
    let mut adam = AdamState::new(config.parameters());
    let mut gradients = Parameters::zeros(config)?;
    let images: Vec<usize> = (0..settings.batch.min(training.len())).collect();
    let mut seconds = Vec::new();
    // The first ones find algorithms and make room. On a CPU, where a step takes long, fewer do.
    for step in 0..20 {
        let start = Instant::now();
        let tokens = training.tokens(step, &images)?;
        let batch = Batch::autoregressive(&tokens);
        match network.resident() {
            Some(resident) => {
                resident.step(&parameters, &adam, &batch, &Adam::default(), step, 1e-5)?;
            }
            None => {
                network.gradients(&parameters, &batch, 1.0, &mut gradients)?;
                let layout = gradients.layout().clone();
                let values = parameters.values_mut();
                adam.step(&Adam::default(), &layout.decays(), step, 1e-5, values, gradients.values())?;
            }
        }
        seconds.push(start.elapsed().as_secs_f64());
        if step >= 2 && seconds.iter().sum::<f64>() > 10.0 {
            break;
        }
    }
    let mut last = seconds.split_off(seconds.len() / 2);
    last.sort_by(f64::total_cmp);
    Ok(last[last.len() / 2])
}

static TIME_IS_UP: AtomicBool = AtomicBool::new(false);

fn train(tokenized: &Path, folder: &Path, seconds: &str, out: &Path, rest: &[String]) -> Any<()> {
    let start = Instant::now();
    // Of this call, and of all that go on with it.
    let (piece, budget) = seconds.split_once('/').unwrap_or((seconds, seconds));
    let (piece, budget): (f64, f64) = (piece.parse()?, budget.parse()?);
    let tokenized = Tokenized::read(tokenized)?;
    fs::create_dir_all(folder)?;
    fs::create_dir_all(out)?;
    let plan = folder.join("plan.json");
    let settings: Settings = match fs::read(&plan) {
        Ok(plan) => serde_json::from_slice(&plan)?,
        Err(_) => {
            let mut settings = Settings::cifar().with(rest)?;
            if settings.steps == 0 {
                let pace = pace(&tokenized, &settings)?;
                // Some of the time is for validations and checkpoints.
                let left = 0.9 * (budget - start.elapsed().as_secs_f64());
                settings.steps = ((left / pace) as u64).max(10);
                let rate = (settings.batch * tokenized.header.side.pow(2)) as f64 / pace;
                println!("{rate:.0} tokens/s, {pace:.4} s a step: {} steps", settings.steps);
            }
            fs::write(&plan, serde_json::to_vec_pretty(&settings)?)?;
            settings
        }
    };
    let mut trainer = trainer(&tokenized, &settings)?.stop_at(&TIME_IS_UP).keep_checkpoints(folder)?;
    let (from, time) = (trainer.step(), Instant::now());
    // A step more than there is time for is a checkpoint more.
    let left = (piece - start.elapsed().as_secs_f64()).max(1.0);
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs_f64(left));
        TIME_IS_UP.store(true, Ordering::Relaxed);
    });
    println!("{}: {:?} from step {from}", Device::chosen()?, settings);
    let outcome = trainer.run(&mut |progress| {
        if progress.validation.is_some() || progress.step.is_multiple_of(100) {
            println!("{progress}");
        }
    })?;
    let seconds = time.elapsed().as_secs_f64();
    let outcome = match outcome {
        Outcome::Finished => "finished".to_owned(),
        Outcome::Stopped { step } => format!("stopped after {step} steps: call again, and it goes on"),
        Outcome::Diverged { step } => format!("diverged at step {step}"),
    };
    println!("{outcome}, {seconds:.1} s");
    let tokens = (trainer.step() - from) as f64 * (settings.batch * tokenized.header.side.pow(2)) as f64;
    let validation = trainer.curve().validation.last().map(|point| point.loss);
    note(
        out,
        "training",
        &json!({
            "device": Device::chosen()?.to_string(),
            "data": tokenized.header.name,
            "data_sha256": tokenized.header.sha256,
            "augmentation": "padded by reflection, cropped and mirrored at random",
            "palette_seed": tokenized.header.palette_seed,
            "parameters": settings.config(&tokenized)?.parameters(),
            "outcome": outcome,
            "steps_done": trainer.step(),
            "seconds": seconds,
            "tokens_per_second": tokens / seconds,
            "validation_loss": validation,
            "settings": settings,
        }),
    )?;
    fs::write(out.join("training.csv"), csv(trainer.curve()))?;
    let points = |points: &[igpt::train::Point]| -> Vec<(f64, f64)> {
        points.iter().map(|point| (point.step as f64, point.loss)).collect()
    };
    let curve = trainer.curve();
    let figure = Figure::new(format!("{}, {} layers", tokenized.header.name, settings.layers))
        .x("step")
        .y("loss (nats a token)")
        .line("training", points(&curve.training))
        .line("validation", points(&curve.validation));
    fs::write(out.join("training.svg"), figure.to_svg())?;
    write(trainer.parameters(), out)
}

/// Notes what came out in `results.toml`, under a name.
fn note(out: &Path, name: &str, what: &Value) -> Any<()> {
    let path = out.join("results.toml");
    let mut all: toml::Table = match fs::read_to_string(&path) {
        Ok(text) => text.parse()?,
        Err(_) => toml::Table::new(),
    };
    let mut what = what.clone();
    if let Some(what) = what.as_object_mut() {
        what.retain(|_, value| !value.is_null()); // TOML has nothing for nothing.
    }
    all.insert(name.to_owned(), toml::Value::try_from(what)?);
    Ok(fs::write(path, toml::to_string(&all)?)?)
}

/// The part of this number of parameters in bf16.
fn part(out: &Path, number: usize) -> PathBuf {
    out.join(format!("parameters-{number}.safetensors"))
}

/// Writes parameters in bf16, in as many files as are needed for none to be large. The first one has the network's shape.
fn write(parameters: &Parameters, out: &Path) -> Any<()> {
    let entries = parameters.layout().entries();
    let mut number = 0;
    let mut from = 0;
    while from < entries.len() {
        let (mut to, mut size) = (from, 0);
        while to < entries.len() && (to == from || size + 2 * entries[to].range.len() <= PART) {
            size += 2 * entries[to].range.len();
            to += 1;
        }
        let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = entries[from..to]
            .iter()
            .map(|entry| {
                let values = &parameters.values()[entry.range.clone()];
                let halves = values.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect();
                (entry.name.clone(), entry.shape.clone(), halves)
            })
            .collect();
        let mut views = Vec::new();
        for (name, shape, bytes) in &tensors {
            views.push((name, TensorView::new(Dtype::BF16, shape.clone(), bytes)?));
        }
        let config = serde_json::to_string(&parameters.config())?;
        let metadata = [("config".to_owned(), config)].into();
        fs::write(part(out, number), safetensors::serialize(views, Some(metadata))?)?;
        (from, number) = (to, number + 1);
    }
    Ok(())
}

/// Reads what [`write`] wrote.
fn read(out: &Path) -> Any<Parameters> {
    let mut found: Option<Parameters> = None;
    let mut read = 0;
    for number in 0.. {
        let Ok(bytes) = fs::read(part(out, number)) else { break };
        let (_, metadata) = SafeTensors::read_metadata(&bytes)?;
        let config = metadata.metadata().as_ref().and_then(|all| all.get("config")).ok_or("no shape")?;
        if found.is_none() {
            found = Some(Parameters::zeros(serde_json::from_str(config)?)?);
        }
        let Some(parameters) = &mut found else { continue };
        for (name, tensor) in SafeTensors::deserialize(&bytes)?.tensors() {
            let values = parameters.get_mut(&name)?;
            let halves = tensor.data().as_chunks::<2>().0;
            if halves.len() != values.len() {
                return Err(format!("{name}: {} numbers", halves.len()).into());
            }
            read += values.len();
            for (value, bytes) in values.iter_mut().zip(halves) {
                *value = half::bf16::from_le_bytes(*bytes).to_f32();
            }
        }
    }
    let parameters = found.ok_or("there are no parameters")?;
    if read != parameters.values().len() {
        return Err("some parameters are missing".into());
    }
    Ok(parameters)
}

/// Writes images the network makes up (the first rows), and images of the test, halves of which it completes: the whole
/// image, its half, and completions.
fn samples(tokenized: &Path, out: &Path, count: usize) -> Any<()> {
    const COLUMNS: usize = 12;
    let tokenized = Tokenized::read(tokenized)?;
    let (palette, side) = (tokenized.palette()?, tokenized.header.side);
    let parameters = read(out)?;
    let mut network = Device::chosen()?.engine(parameters.config())?;
    let sampling = Sampling { seed: 1, ..Sampling::default() };
    let start = Instant::now();
    let t = side * side;
    let free = sample(network.as_mut(), &parameters, &[], count, 0, &sampling)?;
    // One row of images, two completions of each.
    let whole: Vec<&[u16]> = tokenized.test.tokens.chunks(t).take(COLUMNS).collect();
    let halves: Vec<u16> =
        [&whole[..]; 2].concat().iter().flat_map(|image| &image[..t / 2]).copied().collect();
    let completed = sample(network.as_mut(), &parameters, &halves, 2 * whole.len(), 1 << 20, &sampling)?;
    println!("{} images in {:.1} s", count + 2 * whole.len(), start.elapsed().as_secs_f64());
    let mut rows: Vec<Vec<u16>> = free.chunks(t).map(<[u16]>::to_vec).collect();
    rows.resize(rows.len().next_multiple_of(COLUMNS), vec![0; t]);
    rows.extend(whole.iter().map(|image| image.to_vec()));
    rows.extend(completed.chunks(t).map(<[u16]>::to_vec));
    // Each pixel as a square, images with a gap between.
    let (scale, step) = (3, side + 1);
    let (width, height) = (COLUMNS * step, rows.len().div_ceil(COLUMNS) * step);
    let mut page =
        image::RgbImage::from_pixel((width * scale) as u32, (height * scale) as u32, image::Rgb([255; 3]));
    for (number, image) in rows.iter().enumerate() {
        let pixels = palette.image(image, side, side)?.to_rgb();
        let (left, above) = (number % COLUMNS * step, number / COLUMNS * step);
        for y in 0..side * scale {
            for x in 0..side * scale {
                let pixel = pixels.pixel(x / scale, y / scale).ok_or("outside of an image")?;
                let at = ((left * scale + x) as u32, (above * scale + y) as u32);
                page.put_pixel(at.0, at.1, image::Rgb([pixel[0], pixel[1], pixel[2]]));
            }
        }
    }
    Ok(page.save(out.join("samples.png"))?)
}

fn judge(tokenized: &Path, out: &Path, images: usize) -> Any<()> {
    let tokenized = Tokenized::read(tokenized)?;
    let t = tokenized.header.side.pow(2);
    let parameters = read(out)?;
    let config = parameters.config();
    let mut network = Device::chosen()?.engine(config)?;
    let count = tokenized.train.labels.len();
    let all = Tokens::new(t, tokenized.train.tokens.clone())?;
    let start = Instant::now();
    let validation = held_out(count);
    let mut held = |what: &str, tokens: &[u16]| -> Any<f64> {
        let mut sum = 0.0;
        for chunk in tokens.chunks(CHUNK * t) {
            sum += network.loss(&parameters, &Batch::autoregressive(chunk))? * (chunk.len() / t) as f64;
        }
        let loss = sum / (tokens.len() / t).max(1) as f64;
        println!("{what}: {loss:.4} nats, {:.1} s so far", start.elapsed().as_secs_f64());
        Ok(loss)
    };
    // As many as the probe takes, at most all.
    let some = &validation[..validation.len().min(images)];
    let loss = held("validation, parameters in bf16", &all.tokens(0, some)?)?;
    note(
        out,
        "judged",
        &json!({
            "device": Device::chosen()?.to_string(),
            "validation_loss": loss, "validation_images": some.len(),
            "parameters": "as kept, in bf16",
        }),
    )?;

    let mut features = |tokens: &[u16]| -> Any<Vec<FeatureMatrix>> {
        let mut values = Vec::new();
        for chunk in tokens.chunks(CHUNK * t) {
            values.extend(network.features(&parameters, chunk, View::Causal)?);
        }
        Ok(FeatureMatrix::by_layer(&values, config.layers + 1, config.width)?)
    };
    let images = images.min(count);
    let test = images.min(tokenized.test.labels.len());
    let training = features(&tokenized.train.tokens[..images * t])?;
    let tested = features(&tokenized.test.tokens[..test * t])?;
    println!("features of {images} and {test} images, {:.1} s so far", start.elapsed().as_secs_f64());
    let validation: Vec<usize> = validation.into_iter().filter(|place| *place < images).collect();
    let grid = [1e-4, 1e-3, 1e-2, 1e-1];
    let classes = tokenized.header.classes.len();
    let choice = probe::choose(&training, &tokenized.train.labels[..images], classes, &validation, &grid)?;
    let curve = choice.test(TestSet::new(&tested, tokenized.test.labels[..test].to_vec())?)?;
    println!("probe, {:.1} s so far", start.elapsed().as_secs_f64());
    let layers: Vec<f64> = curve.points().into_iter().map(|(_, share)| share).collect();
    let result = curve.result()?;
    println!(
        "by layer: {}; chosen {}: {:.4} +- {:.4}",
        layers.iter().map(|share| format!("{share:.4}")).collect::<Vec<_>>().join(" "),
        curve.chosen,
        result.share(),
        result.standard_error()
    );
    let figure = Figure::new(format!("Linear probe by layer, {}", tokenized.header.name))
        .x("layer")
        .y("test accuracy")
        .line("", curve.points());
    fs::write(out.join("probe.svg"), figure.to_svg())?;
    note(
        out,
        "probe",
        &json!({
            "train_images": images, "test_images": test, "l2": grid, "test_accuracy": layers,
            "chosen_layer": curve.chosen, "chosen": result.share(), "standard_error": result.standard_error(),
        }),
    )
}

fn main() -> Any<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["curve", tokenized, precision, name, folder, ..] => {
            curve(tokenized.as_ref(), precision, name, folder.as_ref(), &arguments[5..])
        }
        ["figure", file, folder] => figure(file.as_ref(), folder.as_ref()),
        ["train", tokenized, folder, seconds, out, ..] => {
            train(tokenized.as_ref(), folder.as_ref(), seconds, out.as_ref(), &arguments[5..])
        }
        ["sample", tokenized, out, count] => samples(tokenized.as_ref(), out.as_ref(), count.parse()?),
        ["judge", tokenized, out] => judge(tokenized.as_ref(), out.as_ref(), 10_000),
        ["judge", tokenized, out, images] => judge(tokenized.as_ref(), out.as_ref(), images.parse()?),
        _ => Err("curve, figure, train, sample or judge? See train.rs".into()),
    }
}
