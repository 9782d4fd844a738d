//! The library's side of `compare.py`, on the GPU, or with `--cpu` on the CPU, to try it out. Its input is lines of words,
//! and it answers each with a line of JSON, `{"error": …}` if it could not be done:
//!
//! - `start PRECISION LAYERS,WIDTH,HEADS,CONTEXT,VOCABULARY IMAGES [PARAMETERS]`: a network of this shape, with random
//!   parameters or those of a file (`f32`, in the layout's order), and a batch of so many random images; trains in
//!   `f32`, `tf32` or `bf16`. It says how much memory the training should take;
//! - `tokens FILE`: takes the batch from a file (`u16`);
//! - `train N`: N steps of gradients and AdamW, the seconds of all together, and the last step's loss;
//! - `features`: features of the batch, the seconds and their mean square;
//! - `sample N [GIVEN]`: draws N images of which GIVEN tokens are given, the seconds;
//! - `memory`: bytes of the device's memory in use here;
//! - `profile N`: how long each kernel takes in N steps. Each is waited for, so the sum is more than a step takes;
//! - `stop`: gives everything back.
//!
//! A step is what training does: `Resident::step`, which uploads the batch and brings back the loss.

use igpt::engine::{Engine, GpuEngine, memory};
use igpt::model::{Batch, Config, Network, Parameters, Precision, View};
use igpt::rng::Rng;
use igpt::sample::{Sampling, sample};
use igpt::train::{Adam, AdamState};
use serde_json::{Value, json};
use std::io::{BufRead as _, Write as _};
use std::time::Instant;

type Any<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// As PyTorch's AdamW is set in `gpu_torch.py`.
const ADAM: Adam = Adam { beta_1: 0.9, beta_2: 0.95, epsilon: 1e-8, weight_decay: 0.01, clip: None };
const RATE: f64 = 1e-3;

enum Machine {
    Cpu(Box<Engine>),
    Gpu(Box<GpuEngine>),
}

impl Machine {
    fn network(&mut self) -> &mut dyn Network {
        match self {
            Self::Cpu(engine) => engine.as_mut(),
            Self::Gpu(engine) => engine.as_mut(),
        }
    }
}

struct Side {
    machine: Machine,
    parameters: Parameters,
    gradients: Parameters,
    adam: AdamState,
    tokens: Vec<u16>,
    step: u64,
}

impl Side {
    fn start(cpu: bool, words: &[&str]) -> Any<(Self, Value)> {
        let [precision, shape, images, parameters @ ..] = words else {
            return Err("start needs a precision, a shape and a number of images".into());
        };
        let precision: Precision = serde_json::from_value(json!(precision))?;
        let shape: Vec<usize> = shape.split(',').map(str::parse).collect::<Result<_, _>>()?;
        let [layers, width, heads, context, vocabulary] = shape[..] else {
            return Err("a shape is LAYERS,WIDTH,HEADS,CONTEXT,VOCABULARY".into());
        };
        let config = Config { layers, width, heads, context, vocabulary, inner: None, classes: None };
        let images: usize = images.parse()?;
        let parameters = match parameters {
            [] => Parameters::init(config, 1)?,
            [file, ..] => {
                let bytes = std::fs::read(file)?;
                let values = bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
                Parameters::from_values(config, values)?
            }
        };
        let mut machine = if cpu {
            Machine::Cpu(Box::new(Engine::new(config)?))
        } else {
            Machine::Gpu(Box::new(GpuEngine::new(config, 0)?))
        };
        machine.network().set_precision(precision)?;
        let (device, predicted) = match &machine {
            Machine::Cpu(_) => ("CPU".to_owned(), memory(&config, images, false)),
            Machine::Gpu(engine) => (engine.device_name().to_owned(), engine.memory(images)),
        };
        let mut rng = Rng::keyed(0, "tokens", [0, 0]);
        let side = Self {
            machine,
            parameters,
            gradients: Parameters::zeros(config)?,
            adam: AdamState::new(config.parameters()),
            tokens: (0..images * context).map(|_| rng.below(vocabulary) as u16).collect(),
            step: 0,
        };
        let predicted = json!({
            "device": device,
            "parameters": config.parameters(),
            "predicted": predicted.parameters + predicted.kept + predicted.temporary,
        });
        Ok((side, predicted))
    }

    fn train(&mut self) -> igpt::Result<f64> {
        let batch = Batch::autoregressive(&self.tokens);
        let network = self.machine.network();
        let loss = match network.resident() {
            Some(resident) => resident.step(&self.parameters, &self.adam, &batch, &ADAM, self.step, RATE)?,
            None => {
                self.gradients.values_mut().fill(0.0);
                let loss = network.gradients(&self.parameters, &batch, 1.0, &mut self.gradients)?;
                let layout = self.gradients.layout();
                let (values, gradients) = (self.parameters.values_mut(), self.gradients.values());
                self.adam.step(&ADAM, &layout.decays(), self.step, RATE, values, gradients)?;
                loss
            }
        };
        self.step += 1;
        Ok(loss)
    }

    /// Brings back what was trained, so that the network can be used otherwise.
    fn download(&mut self) -> igpt::Result<()> {
        let (parameters, adam) = (&mut self.parameters, &mut self.adam);
        self.machine.network().resident().map_or(Ok(()), |resident| resident.download(parameters, adam))
    }

    fn steps(&mut self, n: usize) -> Any<Value> {
        let (start, mut loss) = (Instant::now(), 0.0);
        for _ in 0..n {
            loss = self.train()?;
        }
        Ok(json!({ "seconds": start.elapsed().as_secs_f64(), "steps": n, "loss": loss }))
    }

    fn answer(&mut self, words: &[&str]) -> Any<Value> {
        Ok(match words {
            ["tokens", file] => {
                let bytes = std::fs::read(file)?;
                self.tokens = bytes.as_chunks::<2>().0.iter().map(|x| u16::from_le_bytes(*x)).collect();
                json!({ "tokens": self.tokens.len() })
            }
            ["train", n] => self.steps(n.parse()?)?,
            ["features"] => {
                self.download()?;
                let start = Instant::now();
                let features =
                    self.machine.network().features(&self.parameters, &self.tokens, View::Causal)?;
                let seconds = start.elapsed().as_secs_f64();
                let square: f64 = features.iter().map(|x| f64::from(*x).powi(2)).sum();
                json!({ "seconds": seconds, "square": square / features.len() as f64 })
            }
            ["sample", n, given @ ..] => {
                self.download()?;
                let (n, given) = (n.parse()?, given.first().map_or(Ok(0), |given| given.parse())?);
                let prompts = vec![0; n * given];
                let sampling = Sampling { seed: 1, ..Sampling::default() };
                let start = Instant::now();
                let network = self.machine.network();
                let images = sample(network, &self.parameters, &prompts, n, 0, &sampling)?;
                json!({ "seconds": start.elapsed().as_secs_f64(), "tokens": images.len() })
            }
            ["memory"] => match &self.machine {
                Machine::Gpu(engine) => json!({ "used": engine.allocated() }),
                Machine::Cpu(_) => json!({ "used": null }),
            },
            ["profile", n] => {
                if let Machine::Gpu(engine) = &mut self.machine {
                    engine.measure(true);
                }
                let mut found = self.steps(n.parse()?)?;
                if let Machine::Gpu(engine) = &mut self.machine {
                    let times = engine.measure(false);
                    let time = |time: &igpt::engine::Time| json!([time.name, time.calls, time.seconds]);
                    found["kernels"] = times.iter().map(time).collect();
                }
                found
            }
            _ => return Err(format!("not understood: {words:?}").into()),
        })
    }
}

fn main() -> Any<()> {
    let cpu = std::env::args().any(|argument| argument == "--cpu");
    let mut side: Option<Side> = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match (words.as_slice(), &mut side) {
            (["start", rest @ ..], side) => {
                // First what was there is given back.
                *side = None;
                Side::start(cpu, rest).map(|(new, answer)| {
                    *side = Some(new);
                    answer
                })
            }
            (["stop"], side) => {
                *side = None;
                Ok(json!({}))
            }
            (words, Some(side)) => side.answer(words),
            (_, None) => Err("nothing was started".into()),
        };
        println!("{}", answer.unwrap_or_else(|error| json!({ "error": error.to_string() })));
        std::io::stdout().flush()?;
    }
    Ok(())
}
