//! What a training step of the engine costs, by tokens, layers and width; and the memory of whole trainings.
//!
//! ```sh
//! cargo run --release --package igpt --example engine_scaling -- FOLDER   # tables, and figures as SVG into FOLDER
//! ```
//!
//! Sizes are measured in turns, five rounds. What is measured is the processors' time, of all threads together, not the
//! clock's: other programs have little influence on it. The smallest of a size counts, since they only ever add.
//! Memory is measured in a process of its own for each size: its largest resident set.

use igpt::engine::{Engine, Memory, memory};
use igpt::model::{Batch, Config, Network as _, Parameters};
use igpt::prelude::*;
use igpt::rng::Rng;
use igpt::train::{Adam, AdamState};
use std::process::Command;

type Any<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How long processors have worked for this process, all threads together.
fn processor_seconds() -> Result<f64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` can be written.
    if unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) } != 0 {
        return Err(Error::invalid(std::io::Error::last_os_error().to_string()));
    }
    Ok(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
}

/// One training, step by step.
struct Case {
    config: Config,
    engine: Engine,
    parameters: Parameters,
    gradients: Parameters,
    adam: AdamState,
    tokens: Vec<u16>,
    steps: u64,
    /// The smallest time of a step, in seconds of a processor.
    least: f64,
}

impl Case {
    fn new(config: Config, images: usize, checkpointing: bool) -> Result<Self> {
        let mut rng = Rng::keyed(0, "tokens", [0, 0]);
        let count = images * config.context;
        Ok(Self {
            config,
            engine: Engine::new(config)?.with_activation_checkpointing(checkpointing),
            parameters: Parameters::init(config, 1)?,
            gradients: Parameters::zeros(config)?,
            adam: AdamState::new(config.parameters()),
            tokens: (0..count).map(|_| rng.below(config.vocabulary) as u16).collect(),
            steps: 0,
            least: f64::INFINITY,
        })
    }

    fn step(&mut self) -> Result<()> {
        let start = processor_seconds()?;
        self.gradients.values_mut().fill(0.0);
        let batch = Batch::autoregressive(&self.tokens);
        self.engine.gradients(&self.parameters, &batch, 1.0, &mut self.gradients)?;
        let layout = self.gradients.layout();
        let (values, gradients) = (self.parameters.values_mut(), self.gradients.values());
        self.adam.step(&Adam::default(), &layout.decays(), self.steps, 1e-3, values, gradients)?;
        self.steps += 1;
        self.least = self.least.min(processor_seconds()? - start);
        Ok(())
    }

    /// Microseconds a token.
    fn cost(&self) -> f64 {
        1e6 * self.least / self.tokens.len() as f64
    }
}

const BASE: Config =
    Config { layers: 4, width: 128, heads: 4, context: 256, vocabulary: 512, inner: None, classes: None };
/// Tokens of a step, the same for all.
const TOKENS: usize = 4096;

fn measure(configs: &[Config]) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for config in configs {
        cases.push(Case::new(*config, TOKENS / config.context, false)?);
    }
    for _ in 0..5 {
        for case in &mut cases {
            case.step()?;
            case.step()?;
        }
    }
    Ok(cases)
}

fn sweep(
    folder: &std::path::Path,
    name: &str,
    configs: &[Config],
    x: fn(&Config) -> usize,
    log: bool,
) -> Any<()> {
    let cases = measure(configs)?;
    println!("\n| {name} | µs a token | to the one before |\n|---|---|---|");
    let mut before = None;
    for case in &cases {
        let ratio = before.map_or(String::new(), |before: f64| format!("{:.2}", case.cost() / before));
        println!("| {} | {:.2} | {ratio} |", x(&case.config), case.cost());
        before = Some(case.cost());
    }
    let points: Vec<(f64, f64)> = cases.iter().map(|case| (x(&case.config) as f64, case.cost())).collect();
    let figure = Figure::new(format!("Training step by {name}"))
        .x(name)
        .y("µs of a processor, a token")
        .line("", points);
    let figure = if log { figure.log2_x().log_y() } else { figure };
    std::fs::write(folder.join(format!("cost-by-{name}.svg")), figure.to_svg())?;
    Ok(())
}

/// Networks whose memory is measured: name, shape, images.
const TRAININGS: [(&str, Config, usize); 2] = [
    (
        "(c)",
        Config {
            layers: 12,
            width: 256,
            heads: 8,
            context: 1024,
            vocabulary: 512,
            inner: None,
            classes: None,
        },
        2,
    ),
    (
        "iGPT-S",
        Config {
            layers: 24,
            width: 512,
            heads: 8,
            context: 1024,
            vocabulary: 512,
            inner: None,
            classes: None,
        },
        1,
    ),
];

fn main() -> Any<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, index, checkpointing] = &arguments[..]
        && flag == "--memory-of"
    {
        let (_, config, images) = TRAININGS[index.parse::<usize>()?];
        let mut case = Case::new(config, images, checkpointing == "true")?;
        case.step()?;
        case.step()?;
        let status = std::fs::read_to_string("/proc/self/status")?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
        println!("{}", peak.trim().trim_end_matches(" kB"));
        return Ok(());
    }
    let [folder] = &arguments[..] else { return Err("which folder do the figures go to?".into()) };
    let folder = std::path::PathBuf::from(folder);
    std::fs::create_dir_all(&folder)?;

    let tokens = [64, 128, 256, 512, 1024, 2048].map(|context| Config { context, ..BASE });
    sweep(&folder, "tokens", &tokens, |config| config.context, false)?;
    let layers = [2, 4, 8, 16].map(|layers| Config { layers, ..BASE });
    sweep(&folder, "layers", &layers, |config| config.layers, false)?;
    let widths = [64, 128, 256, 512].map(|width| Config { width, heads: width / 32, ..BASE });
    sweep(&folder, "width", &widths, |config| config.width, true)?;

    println!(
        "\n| training | activation checkpointing | parameters, gradients, Adam (MB) | kept | temporary | predicted | measured |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (index, (name, config, images)) in TRAININGS.iter().enumerate() {
        for checkpointing in [false, true] {
            let run = Command::new(std::env::current_exe()?)
                .args(["--memory-of", &index.to_string(), &checkpointing.to_string()])
                .output()?;
            let measured: f64 = String::from_utf8(run.stdout)?.trim().parse::<f64>()? * 1024.0 / 1e6;
            let Memory { parameters, kept, temporary, .. } = memory(config, *images, checkpointing);
            let megabytes =
                [parameters, kept, temporary, parameters + kept + temporary].map(|x| x as f64 / 1e6);
            let [parameters, kept, temporary, all] = megabytes;
            let yes = if checkpointing { "yes" } else { "no" };
            println!(
                "| {name}, batch {images} | {yes} | {parameters:.0} | {kept:.0} | {temporary:.0} | {all:.0} | {measured:.0} |"
            );
        }
    }
    Ok(())
}
