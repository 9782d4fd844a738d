//! Steps outside of notebooks: which a profile needs, which of them are there, how long the others will take, and how one is
//! computed from a file. `igpt steps` and `igpt compute` call these.

use super::{
    AnyStep, ConcatenatedProbe, Data, Describer, Features, FewLabels, FineTuning, LayerSimilarity,
    LinearProbe, LossAndAccuracy, MaskedProbe, PixelPlacements, Pretraining, Profile, Snapshot, Workspace,
    with_inputs,
};
use crate::contrast;
use crate::model::Config;
use crate::store::Provenance;
use crate::train::{Classification, Length, Objective, Training};
use crate::{Error, Result};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

/// The steps whose results the notebooks of a profile show, each after what it needs. Not those that depend on the results of
/// others (four fine-tunings of notebook 4.5), or take seconds (the tiny networks of notebooks 3.4, 4.3 and 6).
pub fn steps_of(profile: &Profile) -> Vec<AnyStep> {
    let pretraining = Pretraining::of(profile);
    let probe = |features: Features| LinearProbe::of(features).with(&profile.probe);
    let executes = |notebook: &str| {
        profile.notebooks.is_empty() || profile.notebooks.iter().any(|name| name.starts_with(notebook))
    };
    let mut steps: Vec<AnyStep> = Vec::new();
    // A released network is read, and no step.
    if pretraining.released.is_none() {
        steps.push(pretraining.clone().into());
    }
    // Notebook 4.1, for each seed, with its controls.
    for seed in profile.seeds() {
        let of_seed = pretraining.clone().seed(seed);
        steps.push(probe(Features::of(&of_seed)).into());
        steps.push(probe(Features::untrained(&of_seed)).into());
    }
    steps.push(probe(Features::pixels(&pretraining)).into());
    steps.push(PixelPlacements::of(&pretraining, 4).with(&profile.probe).into());
    if executes("4.4") {
        steps.push(ConcatenatedProbe::of(probe(Features::of(&pretraining))).into());
        steps.push(LayerSimilarity::of(probe(Features::of(&pretraining)).features.first(1000)).into());
    }
    if executes("4.7") {
        for features in [Features::of(&pretraining), Features::pixels(&pretraining)] {
            steps.push(FewLabels::of(probe(features).features).labels([4, 25]).into());
        }
    }
    if profile.released.is_some() {
        return with_inputs(steps);
    }
    steps.extend(of_notebook_4_2(profile));
    steps.extend(of_notebook_4_5(profile));
    steps.extend(of_notebook_4_6(profile));
    with_inputs(steps)
}

/// Fine-tunings of a smaller network, on few labels, with the learning rate of pre-training and a tenth of it.
fn of_notebook_4_5(profile: &Profile) -> Vec<AnyStep> {
    // A profile without smaller networks has none of that notebook's steps: the notebook says so itself.
    let Ok(network) = profile.smaller(0) else { return Vec::new() };
    let mut pretraining = Pretraining::of(profile).network(network);
    pretraining.after = vec![0];
    let mut labelled = profile.data.clone().at_most(profile.within_budget(2000), profile.within_budget(2000));
    labelled.validation = 0.25;
    let probe = LinearProbe::of(Features::of(&pretraining).on(labelled.clone()));
    let mut steps: Vec<AnyStep> = vec![probe.l2(profile.probe.l2.clone()).into()];
    for start in [FineTuning::of(&pretraining), FineTuning::untrained(&pretraining)] {
        for learning_rate in [profile.training.learning_rate, profile.training.learning_rate / 10.0] {
            let training = Training {
                length: Length::Epochs(3.0),
                learning_rate,
                classification: Some(Classification::default()),
                log_every: 12,
                evaluate_every: 12,
                ..start.training
            };
            steps.push(start.clone().on(labelled.clone()).training(training).into());
        }
    }
    steps
}

/// The penalties of probes that are fitted to few images: smaller ones are chosen by chance there, and take minutes.
const OF_FEW: [f64; 4] = [1e-4, 1e-3, 1e-2, 1e-1];

/// The images of which notebooks with several networks take their probes, so that these take seconds.
fn few(profile: &Profile) -> Data {
    let data = profile.probe.data.clone().unwrap_or_else(|| profile.data.clone());
    data.at_most(profile.within_budget(2000), profile.within_budget(1500))
}

/// The smallest network, and what comes of it while it is trained.
fn of_notebook_4_2(profile: &Profile) -> Vec<AnyStep> {
    let Ok(network) = profile.smaller(1) else { return Vec::new() };
    let large = Pretraining::of(profile);
    // If the data cannot be counted, `list` says so of the other steps.
    let images = large.data.training_positions().map(|positions| positions.len());
    let Ok(steps) = images.and_then(|images| large.training.steps(images)) else { return Vec::new() };
    let mut small = large.network(network);
    small.after =
        [0, 1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18, 20].map(|twentieth| twentieth * steps / 20).to_vec();
    // A training of a few steps passes some twentieths at once.
    small.after.dedup();
    let mut probe = profile.probe.clone();
    (probe.data, probe.l2) = (Some(few(profile)), OF_FEW.to_vec());
    vec![LossAndAccuracy::of([small], &probe).into()]
}

/// A BERT network beside the autoregressive one, and probes of both.
fn of_notebook_4_6(profile: &Profile) -> Vec<AnyStep> {
    let Ok(network) = profile.smaller(0) else { return Vec::new() };
    let mut ar = Pretraining::of(profile).network(network);
    ar.after = vec![0];
    let bert = ar.clone().objective(Objective::Bert { mask: 0.15 });
    let data = few(profile);
    let mut steps: Vec<AnyStep> = Vec::new();
    for pretraining in [&ar, &bert] {
        for seed in profile.seeds() {
            let features = Features::of(&pretraining.clone().seed(seed)).on(data.clone());
            steps.push(LinearProbe::of(features).l2(OF_FEW).into());
        }
    }
    if let Ok(probe) = MaskedProbe::of(&bert) {
        let mut probe = probe.l2(OF_FEW);
        probe.features.data = data;
        steps.push(probe.into());
    }
    steps
}

/// A table of the steps that a profile's notebooks need, as text: what is there, what is missing, and how many minutes it took
/// or will take about, on this machine. With `missing`, only what is not there; with `folder`, each of these is written there
/// as a file, numbered in an order in which all can be computed.
///
/// # Errors
/// If the profile, its data, or the store cannot be read, or a file cannot be written.
pub fn list(profile: &Profile, on: &Workspace, missing: bool, folder: Option<&Path>) -> Result<String> {
    let mut lines = vec![["Step", "Key", "Result", "Minutes", "What it is"].map(str::to_owned)];
    let (mut there, mut left, mut written) = (0, 0.0, 0);
    let steps = steps_of(profile);
    let rates = Rates::of(&steps, on)?;
    for step in &steps {
        let key = step.key(on)?;
        let (result, minutes) = match (step.provenance(on)?, step.progress(on)?) {
            (Some(provenance), _) => {
                there += 1;
                if missing {
                    continue;
                }
                ("there".to_owned(), provenance.wall_ms as f64 / 60_000.0)
            }
            (None, progress) => {
                let minutes = rates.minutes(step)?;
                left += minutes;
                let result = progress.map_or_else(|| "missing".into(), |progress| progress.to_string());
                if let Some(folder) = folder {
                    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
                    written += 1;
                    let name = format!("{written:02}-{}-{}.json", step.name(), key.short());
                    crate::atomic::write(&folder.join(name), step.to_json()?.as_bytes())?;
                }
                (result, minutes)
            }
        };
        let minutes = if minutes < 9.95 { format!("{minutes:.1}") } else { format!("{minutes:.0}") };
        lines.push([step.name().to_owned(), key.short().to_owned(), result, minutes, step.about()]);
    }
    let mut text = columns(&lines);
    let _ = write!(
        text,
        "\n{there} of {} steps of the profile {} are in {}; the others take about {left:.0} minutes on {}",
        steps.len(),
        profile.name,
        on.store().folder().display(),
        on.device()
    );
    if let Some(folder) = folder {
        let _ = write!(text, "\n{written} files are in {}", folder.display());
    }
    Ok(text)
}

fn columns(lines: &[[String; 5]]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 4] = std::array::from_fn(width);
    let mut text = String::new();
    for [step, key, result, minutes, about] in lines {
        let [a, b, c, d] = widths;
        let _ = writeln!(text, "{step:a$}  {key:b$}  {result:c$}  {minutes:>d$}  {about}");
    }
    text
}

/// Computes the step that a file holds, and all that it needs, unless the store has it. Says what it did.
///
/// # Errors
/// If the file is no step, or it cannot be computed.
pub fn compute(file: &Path, on: &Workspace) -> Result<String> {
    let step = AnyStep::read(file)?;
    let was_there = step.provenance(on)?.is_some();
    let began = Instant::now();
    step.run_on(on)?;
    let how = match was_there {
        true => "was there".to_owned(),
        false => format!("computed in {:.1} s", began.elapsed().as_secs_f64()),
    };
    Ok(format!("{} {}: {how} ({})", step.name(), step.key(on)?.short(), step.about()))
}

/// How fast steps are computed here, in multiplications in a second, for an estimate.
struct Rates {
    /// Of each kind of step of which a result was computed on this device.
    known: Vec<(&'static str, f64)>,
    /// Of a product of matrices.
    product: f64,
}

/// How far a step stays behind a product of matrices, as seen on two cores with small networks.
const BEHIND: f64 = 0.5;

impl Rates {
    fn of(steps: &[AnyStep], on: &Workspace) -> Result<Self> {
        let mut known = Vec::new();
        for step in steps {
            let computed: Option<Provenance> = step.provenance(on)?;
            // What took no time says nothing of the rate.
            if let Some(Provenance { wall_ms, .. }) = computed.filter(|computed| computed.wall_ms > 1000) {
                known.push((step.name(), work(step)? / (wall_ms as f64 / 1000.0)));
            }
        }
        Ok(Self { known, product: product()? })
    }

    fn minutes(&self, step: &AnyStep) -> Result<f64> {
        let known = self.known.iter().find(|(name, _)| *name == step.name()).map(|(_, rate)| *rate);
        Ok(work(step)? / known.unwrap_or(BEHIND * self.product) / 60.0)
    }
}

/// Multiplications in a second of a product of 512 × 512 matrices.
fn product() -> Result<f64> {
    const SIDE: usize = 512;
    let a = candle_core::Tensor::ones((SIDE, SIDE), candle_core::DType::F32, &candle_core::Device::Cpu)?;
    // The threads start with the first.
    a.matmul(&a)?;
    let began = Instant::now();
    for _ in 0..8 {
        a.matmul(&a)?;
    }
    Ok(8.0 * (SIDE as f64).powi(3) / began.elapsed().as_secs_f64().max(1e-6))
}

/// Multiplications that a step takes, about.
fn work(step: &AnyStep) -> Result<f64> {
    // A token meets each parameter once, and each other token in attention.
    let forward = |config: &Config| {
        let pairs = 2 * config.layers * config.context * config.width;
        (config.parameters() + pairs) as f64 * config.context as f64
    };
    let images = |data: &super::Data, split: super::Split, first: Option<usize>| -> Result<f64> {
        let set = data.load()?;
        let all = match split {
            super::Split::Train => set.train().len(),
            super::Split::Test => set.test().len(),
        };
        Ok(first.map_or(all, |first| first.min(all)) as f64)
    };
    Ok(match step {
        // Some hundred rounds over all pixels, and as many over the colours.
        AnyStep::Palette(fit) => {
            let pixels =
                images(&fit.data, super::Split::Train, None)? * (fit.data.side * fit.data.side) as f64;
            100.0 * pixels * fit.colours as f64
        }
        AnyStep::Tokens(encoding) => {
            let side = encoding.data.side as f64;
            1000.0 * side * side * images(&encoding.data, encoding.split, None)?
        }
        AnyStep::PreTraining(pretraining) => {
            let config = pretraining.config()?;
            let training = &pretraining.training;
            let steps = training.steps(pretraining.data.training_positions()?.len())?;
            3.0 * forward(&config) * training.batch as f64 * steps as f64
        }
        // Of all rates half are tried, perhaps.
        AnyStep::LearningRateSearch(search) => {
            0.5 * search.rates.len() as f64 * work(&search.pretraining.clone().into())?
        }
        // Only losses: the trainings and the probes are steps of their own.
        AnyStep::LossAndAccuracy(all) => {
            let of = |pretraining: &Pretraining| {
                let unseen = pretraining.data.validation_positions()?.len() * pretraining.after.len();
                Ok(forward(&pretraining.config()?) * unseen as f64)
            };
            all.pretrainings.iter().map(of).sum::<Result<f64>>()?
        }
        AnyStep::ReleasedLossAndAccuracy(all) => {
            let unseen = images(&all.data, super::Split::Test, None)?;
            all.names.iter().map(|name| Ok(forward(&released(name)?) * unseen)).sum::<Result<f64>>()?
        }
        AnyStep::Features(features) => {
            let images = images(&features.data, features.split, features.first)?;
            images * forward_of(features, forward)?
        }
        AnyStep::MaskedProbe(probe) => {
            fits_of(&probe.features, shape_of(&probe.features)?.0 * (probe.l2.len() + 1), images)?
        }
        // A forward pass through the layers below each, of each batch; backward through the output alone.
        AnyStep::LayerHeads(heads) => {
            let config = heads.pretraining.config()?;
            let batches = heads.steps as f64 * heads.pretraining.training.batch as f64;
            0.5 * forward(&config) * batches * (config.layers + 1) as f64
        }
        AnyStep::PixelPlacements(step) => {
            let features =
                Features::describing(super::Describer::Pixels(step.palette.clone()), step.data.clone());
            fits_of(&features.first(step.first), step.placements * (step.l2.len() + 1), images)?
        }
        // candle keeps a graph, and is about four times as slow.
        AnyStep::Contrastive(contrastive) => {
            let config =
                super::pretraining::config(&contrastive.data, &contrastive.palette, contrastive.network)?;
            let contrast::Training { steps, batch, .. } = contrastive.training;
            4.0 * 3.0 * forward(&config) * (2 * batch) as f64 * steps as f64
        }
        AnyStep::FineTuning(tuning) => {
            let (data, training) = (&tuning.data, &tuning.training);
            let trained_on = match tuning.labels_per_class {
                None => data.training_positions()?.len(),
                Some(labels) => labels.saturating_mul(data.load()?.classes().len()),
            };
            let judged = images(data, super::Split::Train, None)? + images(data, super::Split::Test, None)?;
            let steps = training.steps(trained_on)?;
            let of = Features::describing(tuning.from.clone(), data.clone());
            (3.0 * training.batch as f64 * steps as f64 + judged) * forward_of(&of, forward)?
        }
        AnyStep::LinearProbe(probe) => {
            fits_of(&probe.features, shape_of(&probe.features)?.0 * (probe.l2.len() + 1), images)?
        }
        AnyStep::ConcatenatedProbe(concatenated) => {
            let ConcatenatedProbe { probe, layers } = &**concatenated;
            fits_of(&probe.features, layers * (probe.l2.len() + 1), images)?
        }
        AnyStep::FewLabels(few) => {
            let layers = few.layer.map_or(shape_of(&few.features)?.0, |_| 1);
            let fits = layers * few.subsets * few.l2.len() * few.folds;
            let share = few.labels.iter().sum::<usize>() as f64
                * few.features.data.load()?.classes().len() as f64
                / images(&few.features.data, few.features.split, few.features.first)?;
            share * fits_of(&few.features, fits, images)?
        }
        // The covariance, and its eigenvectors.
        AnyStep::PcaFit(fit) => {
            let width = 3.0 * (fit.data.side * fit.data.side) as f64;
            width * width * (images(&fit.data, super::Split::Train, None)? + 9.0 * width)
        }
        AnyStep::NearestNeighbours(neighbours) => {
            let Features { data, split, first, .. } = &neighbours.features;
            let ((layers, width), train) = (shape_of(&neighbours.features)?, images(data, *split, *first)?);
            let validation = data.validation * train * layers as f64;
            (validation + images(data, super::Split::Test, None)?) * train * width as f64
        }
        AnyStep::CountBaseline(count) => {
            let side = (count.data.side * count.data.side) as f64;
            100.0 * side * images(&count.data, super::Split::Train, None)?
        }
        AnyStep::LayerSimilarity(similarity) => {
            let Features { data, split, first, .. } = &similarity.features;
            let ((layers, width), images) = (shape_of(&similarity.features)?, images(data, *split, *first)?);
            images * images * (layers * (width + layers)) as f64
        }
        AnyStep::SgdProbe(probe) => {
            let (layers, width) = shape_of(&probe.features)?;
            let layers = probe.layers.as_ref().map_or(layers, Vec::len);
            let trainings = (layers * probe.rates.len() + 1) as f64 * probe.steps as f64;
            trainings * (2 * probe.batch * width * probe.features.data.load()?.classes().len()) as f64
        }
    })
}

/// The work of so many linear probes of one layer's features.
fn fits_of(
    features: &Features,
    fits: usize,
    images: impl Fn(&super::Data, super::Split, Option<usize>) -> Result<f64>,
) -> Result<f64> {
    let Features { data, split, first, .. } = features;
    let (_, width) = shape_of(features)?;
    // Some hundred steps of L-BFGS for each, forward and backward.
    let classes = data.load()?.classes().len();
    Ok(images(data, *split, *first)? * (width * classes * fits * 200) as f64)
}

/// The work of one image.
fn forward_of(features: &Features, forward: impl Fn(&Config) -> f64) -> Result<f64> {
    Ok(match &features.of {
        Describer::Pretraining(of) | Describer::Snapshot(Snapshot { of, .. }) => forward(&of.config()?),
        Describer::Untrained(untrained) => {
            forward(&super::pretraining::config(&features.data, &untrained.palette, untrained.network)?)
        }
        Describer::Contrastive(contrastive) => forward(&super::pretraining::config(
            &contrastive.data,
            &contrastive.palette,
            contrastive.network,
        )?),
        Describer::Released(name) => forward(&released(name)?),
        Describer::Pixels(_) => (features.data.side * features.data.side) as f64,
        Describer::Pca(fit) => (3 * features.data.side * features.data.side * fit.components) as f64,
    })
}

/// Layers of features, and how many there are at each.
fn shape_of(features: &Features) -> Result<(usize, usize)> {
    let of = |config: Config| (config.layers + 1, config.width);
    Ok(match &features.of {
        Describer::Pretraining(by) | Describer::Snapshot(Snapshot { of: by, .. }) => of(by.config()?),
        Describer::Untrained(untrained) => (untrained.network.layers + 1, untrained.network.width),
        Describer::Contrastive(contrastive) => (contrastive.network.layers + 1, contrastive.network.width),
        Describer::Released(name) => of(released(name)?),
        Describer::Pixels(_) => (1, 3 * features.data.side * features.data.side),
        Describer::Pca(fit) => (1, fit.components),
    })
}

fn released(name: &str) -> Result<Config> {
    super::released::network(name).map(|parameters| parameters.config())
}
