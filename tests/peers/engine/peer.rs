//! The library's side of `compare.py`. Its input is lines of words, and it answers each with a line of JSON:
//!
//! - `start PRECISION LAYERS WIDTH HEADS CONTEXT VOCABULARY PARAMETERS TOKENS`: reads parameters (f32, in the layout's
//!   order) and a batch of tokens (u16) from files; trains in this precision, `f32` or `bf16`;
//! - `train N`: N steps of gradients and AdamW, the seconds of each and the last loss;
//! - `features N`: features of the batch, N times, the seconds of each and their mean square;
//! - `sample N`: draws N images, the seconds.
//!
//! `PEER_ISA` names other instructions than the best that the processor has: `avx2`.

use igpt::adam::{AdamStep, adam};
use igpt::engine::{Engine, Isa};
use igpt::model::{Batch, Config, Network as _, Parameters, Precision, View};
use igpt::sample::{Sampling, sample};
use serde_json::json;
use std::io::{BufRead as _, Write as _};
use std::time::Instant;

struct Side {
    engine: Engine,
    parameters: Parameters,
    gradients: Parameters,
    m: Vec<f32>,
    v: Vec<f32>,
    tokens: Vec<u16>,
    step: u64,
}

impl Side {
    fn start(words: &[&str]) -> Result<Self, Box<dyn std::error::Error>> {
        let [precision, layers, width, heads, context, vocabulary, parameters, tokens] = words else {
            return Err("start needs a precision, five numbers and two files".into());
        };
        let precision: Precision = serde_json::from_value(json!(precision))?;
        let config = Config {
            layers: layers.parse()?,
            width: width.parse()?,
            heads: heads.parse()?,
            context: context.parse()?,
            vocabulary: vocabulary.parse()?,
            inner: None,
            classes: None,
        };
        let bytes = std::fs::read(parameters)?;
        let values = bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
        let tokens =
            std::fs::read(tokens)?.as_chunks::<2>().0.iter().map(|x| u16::from_le_bytes(*x)).collect();
        Ok(Self {
            engine: Engine::new(config)?.with_isa(isa()?)?.with_precision(precision),
            parameters: Parameters::from_values(config, values)?,
            gradients: Parameters::zeros(config)?,
            m: vec![0.0; config.parameters()],
            v: vec![0.0; config.parameters()],
            tokens,
            step: 0,
        })
    }

    /// As PyTorch's AdamW is set in `compare.py`.
    fn train(&mut self) -> igpt::Result<f64> {
        self.gradients.values_mut().fill(0.0);
        let batch = Batch::autoregressive(&self.tokens);
        let loss = self.engine.gradients(&self.parameters, &batch, 1.0, &mut self.gradients)?;
        self.step += 1;
        let step = AdamStep { step: self.step, rate: 1e-3, decay: 0.01, ..AdamStep::default() };
        let gradients = self.gradients.values();
        adam(self.parameters.values_mut(), gradients, &mut self.m, &mut self.v, &step)?;
        Ok(loss)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut side = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match (words.as_slice(), &mut side) {
            (["start", rest @ ..], side) => {
                *side = Some(Side::start(rest)?);
                json!({ "isa": format!("{:?}", isa()?), "threads": rayon_threads() })
            }
            (["train", n], Some(side)) => {
                let (mut seconds, mut loss) = (Vec::new(), 0.0);
                for _ in 0..n.parse()? {
                    let start = Instant::now();
                    loss = side.train()?;
                    seconds.push(start.elapsed().as_secs_f64());
                }
                json!({ "seconds": seconds, "loss": loss })
            }
            (["features", n], Some(side)) => {
                let (mut seconds, mut features) = (Vec::new(), Vec::new());
                for _ in 0..n.parse()? {
                    let start = Instant::now();
                    features = side.engine.features(&side.parameters, &side.tokens, View::Causal)?;
                    seconds.push(start.elapsed().as_secs_f64());
                }
                let square: f64 = features.iter().map(|x| f64::from(*x).powi(2)).sum();
                json!({ "seconds": seconds, "square": square / features.len() as f64 })
            }
            (["sample", n], Some(side)) => {
                let start = Instant::now();
                let sampling = Sampling { seed: 1, ..Sampling::default() };
                let images = sample(&mut side.engine, &side.parameters, &[], n.parse()?, 0, &sampling)?;
                json!({ "seconds": [start.elapsed().as_secs_f64()], "tokens": images.len() })
            }
            _ => return Err(format!("not understood: {line}").into()),
        };
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// The instructions that `PEER_ISA` names, or the best.
fn isa() -> Result<Isa, Box<dyn std::error::Error>> {
    match std::env::var("PEER_ISA").as_deref() {
        Err(_) => Ok(Isa::best()),
        Ok("avx2") => Ok(Isa::Avx2),
        Ok("avx512") => Ok(Isa::Avx512),
        Ok(other) => Err(format!("PEER_ISA is avx2 or avx512, not {other}").into()),
    }
}

fn rayon_threads() -> String {
    std::env::var("RAYON_NUM_THREADS").unwrap_or_else(|_| "all".to_owned())
}
