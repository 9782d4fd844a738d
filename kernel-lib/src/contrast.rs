//! Contrastive pre-training: what the paper's tables compare with, at our scale. SimCLR (Chen et al., "A Simple Framework for
//! Contrastive Learning of Visual Representations", 2020) and contrastive predictive coding (van den Oord et al.,
//! "Representation Learning with Contrastive Predictive Coding", 2018), with the readable [`ImageGpt`] as encoder.
//!
//! candle computes and differentiates it. Its products of matrices are cut by the processor's caches, so that results
//! may differ in their last bits from machine to machine, other than all else in this library.

use crate::model::{Config, ImageGpt, Parameters, Seen};
use crate::rng::Rng;
use crate::train::{Batches, Curve, Point};
use crate::{Error, Result, memory, stop};
use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::{AdamW, Optimizer as _, ParamsAdamW, ops};
use serde::{Deserialize, Serialize};

/// What is contrasted with what.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Contrast {
    /// Two random views of an image are to be near, and those of other images far: [`nt_xent`] of a projection of the mean of
    /// the last layer's features. Every position sees all others.
    SimClr {
        /// Cosines are divided by it; 0.1 to 0.5 in their paper.
        temperature: f64,
        /// Width of the projection, whose output is contrasted and then thrown away.
        projection: usize,
    },
    /// What comes `1..=ahead` rows later is to be told from rows of other images and from other rows: [`info_nce`] of
    /// predictions from the state at a row's end. No position sees a later one.
    Cpc {
        /// How many rows ahead is predicted.
        ahead: usize,
        /// Width of what is predicted.
        projection: usize,
    },
}

impl Contrast {
    /// Whether no position sees a later one.
    pub fn is_causal(&self) -> bool {
        matches!(self, Self::Cpc { .. })
    }

    /// Checks the settings for images of `side` × `side` pixels.
    ///
    /// # Errors
    /// If one makes no sense.
    pub fn validate(&self, side: usize) -> Result<()> {
        let right = match *self {
            Self::SimClr { temperature, projection } => {
                temperature.is_finite() && temperature > 0.0 && (1..=1 << 16).contains(&projection)
            }
            Self::Cpc { ahead, projection } => {
                (1..side).contains(&ahead) && (1..=1 << 16).contains(&projection)
            }
        };
        if right {
            Ok(())
        } else {
            Err(Error::invalid(format!("{self:?} makes no sense for images of {side} rows")))
        }
    }
}

/// How it is trained, by Adam with a constant learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// How many steps.
    pub steps: u64,
    /// Images in a step; each other one is a negative.
    pub batch: usize,
    /// The learning rate.
    pub learning_rate: f64,
    /// Of the network's initial values, the order of images, and their variation.
    pub seed: u64,
}

/// Tokens `(B, T)` of images at a step, as one of two random views, 0 or 1, shows them.
pub type Views<'a> = dyn Fn(u64, &[usize], usize) -> Result<Vec<u16>> + 'a;

/// SimCLR's loss, NT-Xent, of projections `(2 B, P)` of which rows i and i + B are two views of image i: the mean over all rows
/// of `-log(e^(cos(i, j)/τ) / Σ_(k ≠ i) e^(cos(i, k)/τ))`, where j is i's other view.
///
/// # Errors
/// If there are not two views of each of several images.
pub fn nt_xent(z: &Tensor, temperature: f64) -> Result<Tensor> {
    let rows = z.dim(0)?;
    if rows < 4 || !rows.is_multiple_of(2) {
        return Err(Error::invalid(format!("{rows} projections are not two of each of several images")));
    }
    let length = (z.sqr()?.sum_keepdim(D::Minus1)? + 1e-12)?.sqrt()?; // (2B, 1)
    let z = z.broadcast_div(&length)?;
    let similarities = (z.matmul(&z.t()?)? / temperature)?; // (2B, 2B)
    // No row is its own negative.
    let own = (Tensor::eye(rows, z.dtype(), z.device())? * -1e9)?;
    let other: Vec<u32> = (0..rows).map(|i| ((i + rows / 2) % rows) as u32).collect();
    cross_entropy(&(similarities + own)?, other)
}

/// CPC's loss, InfoNCE, of predictions and targets `(N, P)`: the mean of `-log softmax(prediction · targets)` of the target that
/// belongs to a prediction; all other targets are negatives.
///
/// # Errors
/// If they are not as many of one width.
pub fn info_nce(predictions: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let scores = predictions.matmul(&targets.t()?)?; // (N, N)
    cross_entropy(&scores, (0..predictions.dim(0)? as u32).collect())
}

/// The mean of -log softmax of the class of each row: `(N, K)` and N classes.
fn cross_entropy(logits: &Tensor, classes: Vec<u32>) -> Result<Tensor> {
    let classes = Tensor::from_vec(classes, (logits.dim(0)?, 1), logits.device())?;
    Ok(ops::log_softmax(logits, D::Minus1)?.gather(&classes, D::Minus1)?.mean_all()?.neg()?)
}

/// Trains a network from its initial values, and returns what it learnt and how the loss fell. `report` hears of each step's loss.
///
/// # Errors
/// If the settings make no sense, images cannot be had, or someone asks to stop; [`Error::NotFinite`] if the loss is not finite
/// any more.
pub fn train(
    config: Config,
    contrast: Contrast,
    settings: &Training,
    images: usize,
    views: &Views<'_>,
    report: &mut dyn FnMut(u64, f64),
) -> Result<(Parameters, Curve)> {
    let Training { steps, batch, learning_rate, seed } = *settings;
    let side = config.context.isqrt();
    contrast.validate(side)?;
    if batch < 2 || batch > images || !(learning_rate.is_finite() && learning_rate > 0.0) || steps == 0 {
        return Err(Error::invalid(format!(
            "{steps} steps of {batch} of {images} images with a learning rate of {learning_rate}: an image is contrasted with \
             others, of which there must be some"
        )));
    }
    memory::check("a contrastive batch", &[2 * batch, config.context, config.layers, 40 * config.width])?;
    let mut parameters = Parameters::init(config, seed)?;
    let network = ImageGpt::new(&parameters, DType::F32, &Device::Cpu)?;
    let head = Head::new(&config, contrast, seed)?;
    // They are variables already, and stay the same ones.
    let vars = network.tensors().into_iter().chain(&head.weights).map(Var::from_tensor);
    let vars = vars.collect::<candle_core::Result<Vec<_>>>()?;
    let adam = ParamsAdamW {
        lr: learning_rate,
        beta1: 0.9,
        beta2: 0.95,
        weight_decay: 0.0,
        ..ParamsAdamW::default()
    };
    let mut adam = AdamW::new(vars, adam)?;
    let mut batches = Batches::new(images, batch, seed)?;
    let mut curve = Curve::default();
    for step in 0..steps {
        stop::check("the contrastive training")?;
        let chosen = batches.of(step);
        let tokens = |view: usize| -> Result<Tensor> {
            let tokens: Vec<u32> = views(step, &chosen, view)?.into_iter().map(u32::from).collect();
            Ok(Tensor::from_vec(tokens, (chosen.len(), config.context), &Device::Cpu)?)
        };
        let loss = head.loss(&network, &tokens)?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        if !value.is_finite() {
            return Err(Error::NotFinite {
                what: format!("the contrastive loss at step {step} is {value}"),
                cause: crate::adam::TOO_LARGE.to_owned(),
            });
        }
        adam.backward_step(&loss)?;
        curve.training.push(Point { step: step + 1, loss: value });
        report(step + 1, value);
    }
    let entries = parameters.layout().entries().to_vec();
    for (entry, tensor) in entries.iter().zip(network.tensors()) {
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        parameters.get_mut(&entry.name)?.copy_from_slice(&values);
    }
    Ok((parameters, curve))
}

/// What is put on top of the network while it trains, and thrown away then.
struct Head {
    contrast: Contrast,
    side: usize,
    weights: Vec<Tensor>,
}

impl Head {
    fn new(config: &Config, contrast: Contrast, seed: u64) -> Result<Self> {
        let (c, side) = (config.width, config.context.isqrt());
        let matrix = |number: usize, rows: usize, columns: usize| -> Result<Tensor> {
            let mut rng = Rng::keyed(seed, "contrastive head", [number as u64, 0]);
            let deviation = 1.0 / (rows as f64).sqrt();
            let values = (0..rows * columns).map(|_| (deviation * rng.normal()) as f32).collect::<Vec<_>>();
            Ok(Var::from_tensor(&Tensor::from_vec(values, (rows, columns), &Device::Cpu)?)?.into_inner())
        };
        let weights = match contrast {
            // Two matrices with a ReLU between, as SimCLR has them.
            Contrast::SimClr { projection, .. } => vec![matrix(0, c, c)?, matrix(1, c, projection)?],
            // What encodes a row, and what predicts each of the rows ahead.
            Contrast::Cpc { ahead, projection } => {
                let mut all = vec![matrix(0, side * c, projection)?];
                for number in 1..=ahead {
                    all.push(matrix(number, c, projection)?);
                }
                all
            }
        };
        Ok(Self { contrast, side, weights })
    }

    fn loss(&self, network: &ImageGpt, tokens: &dyn Fn(usize) -> Result<Tensor>) -> Result<Tensor> {
        match self.contrast {
            Contrast::SimClr { temperature, .. } => {
                let both = Tensor::cat(&[tokens(0)?, tokens(1)?], 0)?; // (2B, T)
                let features = network.features(&both, &Seen::Bidirectional(None))?; // (2B, L + 1, C)
                let last = features.narrow(1, features.dim(1)? - 1, 1)?.squeeze(1)?; // (2B, C)
                let z = last.matmul(&self.weights[0])?.relu()?.matmul(&self.weights[1])?; // (2B, P)
                nt_xent(&z, temperature)
            }
            Contrast::Cpc { ahead, projection } => {
                let tokens = tokens(0)?; // (B, T)
                let (b, side) = (tokens.dim(0)?, self.side);
                let states = network.hidden_states(&tokens)?;
                let states = states.last().ok_or_else(|| Error::invalid("a network without layers"))?; // (B, T, C)
                let c = states.dim(2)?;
                // The state at the end of each row, and what each row is.
                let ends = states.reshape((b, side, side, c))?.narrow(2, side - 1, 1)?.squeeze(2)?; // (B, side, C)
                let rows = network.vectors(&tokens)?.reshape((b * side, side * c))?; // (B·side, side·C)
                let rows = rows.matmul(&self.weights[0])?.reshape((b, side, projection))?; // (B, side, P)
                let mut losses = Vec::with_capacity(ahead);
                for k in 1..=ahead {
                    let n = side - k;
                    let context = ends.narrow(1, 0, n)?.contiguous()?.reshape((b * n, c))?;
                    let target = rows.narrow(1, k, n)?.contiguous()?.reshape((b * n, projection))?;
                    losses.push(info_nce(&context.matmul(&self.weights[k])?, &target)?);
                }
                Ok(Tensor::stack(&losses, 0)?.mean_all()?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(values: &[f32], shape: (usize, usize)) -> Tensor {
        Tensor::from_vec(values.to_vec(), shape, &Device::Cpu).unwrap()
    }

    /// What `tests/fixtures/contrast/make.py` found with PyTorch: losses, and the gradient by the projections.
    #[test]
    fn losses_are_pytorchs() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/contrast/contrast.json");
        let fixture: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let floats = |name: &str| -> Vec<f32> {
            fixture[name].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
        };
        let close = |a: f32, b: f32| assert!((a - b).abs() < 1e-5 * (1.0 + b.abs()), "{a} {b}");
        let z = Var::from_tensor(&tensor(&floats("z"), (8, 5))).unwrap();
        let loss = nt_xent(&z, 0.2).unwrap();
        close(loss.to_scalar().unwrap(), floats("nt_xent")[0]);
        let gradient =
            loss.backward().unwrap().get(&z).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        gradient.iter().zip(floats("nt_xent gradient")).for_each(|(a, b)| close(*a, b));
        let (predictions, targets) =
            (tensor(&floats("predictions"), (6, 4)), tensor(&floats("targets"), (6, 4)));
        close(info_nce(&predictions, &targets).unwrap().to_scalar().unwrap(), floats("info_nce")[0]);
        assert!(nt_xent(&tensor(&[0.0; 6], (3, 2)), 0.2).is_err());
    }

    const TINY: Config =
        Config { layers: 1, width: 16, heads: 2, context: 16, vocabulary: 4, inner: None, classes: None };

    /// Images of one colour each, a token of which is another at random: two views of one image are easy to tell from others.
    fn views(step: u64, images: &[usize], view: usize) -> Result<Vec<u16>> {
        let mut rng = Rng::keyed(step, "views", [view as u64, 0]);
        let mut tokens = Vec::new();
        for image in images {
            let mut of_image = [(image % 4) as u16; 16];
            of_image[rng.below(16)] = rng.below(4) as u16;
            tokens.extend(of_image);
        }
        Ok(tokens)
    }

    #[test]
    fn both_losses_fall() {
        let settings = Training { steps: 60, batch: 4, learning_rate: 0.01, seed: 1 };
        for contrast in
            [Contrast::SimClr { temperature: 0.2, projection: 8 }, Contrast::Cpc { ahead: 2, projection: 8 }]
        {
            let mut heard = 0;
            let run = |heard: &mut u64| train(TINY, contrast, &settings, 4, &views, &mut |_, _| *heard += 1);
            let (parameters, curve) = run(&mut heard).unwrap();
            assert_eq!((heard, curve.training.len()), (60, 60));
            let (first, last) = (curve.training[0].loss, curve.training[59].loss);
            // CPC cannot tell the rows of an image of one colour from each other.
            assert!(last < 0.8 * first, "{contrast:?}: {first} {last}");
            assert_ne!(
                parameters.get("wte").unwrap(),
                Parameters::init(TINY, 1).unwrap().get("wte").unwrap()
            );
            assert_eq!(run(&mut heard).unwrap().0, parameters);
        }
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let good = Training { steps: 1, batch: 4, learning_rate: 0.01, seed: 1 };
        let sim_clr = Contrast::SimClr { temperature: 0.2, projection: 8 };
        let said = |contrast, settings: Training| {
            train(TINY, contrast, &settings, 4, &views, &mut |_, _| ()).unwrap_err().to_string()
        };
        for bad in [
            Training { batch: 1, ..good },
            Training { batch: 5, ..good },
            Training { steps: 0, ..good },
            Training { learning_rate: f64::NAN, ..good },
        ] {
            assert!(said(sim_clr, bad).contains("is contrasted with others"));
        }
        for bad in [
            Contrast::SimClr { temperature: 0.0, projection: 8 },
            Contrast::Cpc { ahead: 0, projection: 8 },
            Contrast::Cpc { ahead: 4, projection: 8 },
        ] {
            assert!(said(bad, good).contains("makes no sense for images of 4 rows"));
        }
    }
}
