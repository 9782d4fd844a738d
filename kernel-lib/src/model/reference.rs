//! The network of section 2.2, to be read: every step of it in candle's operations, differentiated by candle.
//!
//! It is what the fast engine is held against, and what a reader takes apart in a cell:
//!
//! ```
//! use igpt::model::{Config, ImageGpt, Parameters, View};
//! use igpt::prelude::*;
//!
//! let config = Config { layers: 2, width: 8, heads: 2, context: 9, vocabulary: 4, inner: None, classes: None };
//! let model = ImageGpt::new(&Parameters::init(config, 1)?, DType::F32, &Device::Cpu)?;
//! let image = Tensor::from_slice(&[0u32, 1, 2, 3, 0, 1, 2, 3, 0], (1, 9), &Device::Cpu)?;
//! assert_eq!(model.logits(&image)?.dims(), [1, 9, 4]);
//! // The output matrix starts at zero, so all colours are equally likely.
//! assert!((model.loss(&image)?.to_scalar::<f32>()? - 4f32.ln()).abs() < 1e-6);
//! # Ok::<(), igpt::Error>(())
//! ```
//!
//! It departs from GPT-2 where the original code does, whatever its README says: RMSNorms take no mean away and have
//! no bias, no matrix has a bias, GELU is the quick one, and input and output embeddings are two matrices. Nothing
//! of `candle_nn` is used that has no backward pass (`softmax_last_dim`, `RmsNorm`, ...): those cut the graph
//! without a word, and gradients before the cut are silently missing.

mod network;
#[cfg(test)]
mod tests;

pub use network::Reference;
#[cfg(test)]
pub(crate) use tests::logits_without_sos;

use super::{Config, Entry, Layout, Parameters};
use crate::{Error, Result};
use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::ops;

/// An image GPT in candle (section 2.2), with parameters that candle differentiates by. Sizes: `B` images, `T`
/// tokens each, `C` channels, `H` heads, `V` colours.
#[derive(Debug)]
pub struct ImageGpt {
    config: Config,
    wte: Tensor,
    sos: Tensor,
    wpe: Tensor,
    blocks: Vec<Block>,
    ln_f: RmsNorm,
    head: Tensor,
    /// The classification head, if there is one.
    score: Option<Tensor>,
}

/// How tokens go in, see [`View`](super::View); a mask is `(B, T)`, 1 where a token is masked.
#[derive(Debug, Clone)]
pub enum Seen {
    /// Behind the SOS token, each position sees itself and those before it.
    Causal,
    /// Each position sees all, but for the colours at masked positions.
    Bidirectional(Option<Tensor>),
}

/// One block: `a = h + attention(rms_norm(h))`, then `a + mlp(rms_norm(a))` (section 2.2).
#[derive(Debug)]
struct Block {
    ln_1: RmsNorm,
    attn: Attention,
    ln_2: RmsNorm,
    mlp: Mlp,
}

/// A norm by the root of the mean square, without mean or bias.
#[derive(Debug)]
struct RmsNorm {
    weight: Tensor,
}

/// Attention with `H` heads.
#[derive(Debug)]
struct Attention {
    c_attn: Tensor,
    c_proj: Tensor,
    heads: usize,
}

/// Two matrices with the quick GELU between them.
#[derive(Debug)]
struct Mlp {
    c_fc: Tensor,
    c_proj: Tensor,
}

impl RmsNorm {
    /// `(B, T, C)` → `(B, T, C)`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        // x / sqrt(mean(x²) + 1e-5) · g, over the channels.
        let deviation = (x.sqr()?.mean_keepdim(D::Minus1)? + 1e-5)?.sqrt()?; // (B, T, 1)
        Ok(x.broadcast_div(&deviation)?.broadcast_mul(&self.weight)?)
    }
}

impl Attention {
    /// `(B, T, C)` → `(B, T, C)`. With a `mask` `(T, T)` that is 0 where a row's position may look and -∞ where not.
    fn forward(&self, x: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let (b, t, c) = x.dims3()?;
        let head_width = c / self.heads;
        let qkv = linear(x, &self.c_attn)?; // (B, T, 3C)
        let part = |i: usize| -> Result<Tensor> {
            let part = qkv.narrow(D::Minus1, i * c, c)?; // (B, T, C)
            Ok(part.reshape((b, t, self.heads, head_width))?.transpose(1, 2)?.contiguous()?) // (B, H, T, C/H)
        };
        let (q, k, v) = (part(0)?, part(1)?, part(2)?);

        let scores = (q.matmul(&k.t()?)? * (1.0 / (head_width as f64).sqrt()))?; // (B, H, T, T)
        let scores = match mask {
            Some(mask) => scores.broadcast_add(mask)?,
            None => scores,
        };
        let mixed = ops::softmax(&scores, D::Minus1)?.matmul(&v)?; // (B, H, T, C/H)
        linear(&mixed.transpose(1, 2)?.reshape((b, t, c))?, &self.c_proj)
    }
}

impl Mlp {
    /// `(B, T, C)` → `(B, T, C)`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = linear(x, &self.c_fc)?; // (B, T, F)
        // The quick GELU: x · sigmoid(1.702 x).
        let x = (&x * ops::sigmoid(&(&x * 1.702)?)?)?;
        linear(&x, &self.c_proj)
    }
}

impl Block {
    /// `(B, T, C)` → `(B, T, C)`.
    fn forward(&self, h: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let a = (h + self.attn.forward(&self.ln_1.forward(h)?, mask)?)?;
        Ok((&a + self.mlp.forward(&self.ln_2.forward(&a)?)?)?)
    }
}

impl ImageGpt {
    /// The network with these parameters as variables, which `backward` differentiates by, computed in `dtype`: `F32`,
    /// or `F64` where its answer is to be the measure of others.
    ///
    /// # Errors
    /// If `dtype` is no float, or the device has no room.
    pub fn new(parameters: &Parameters, dtype: DType, device: &Device) -> Result<Self> {
        Self::from_tensors(parameters.config(), |entry| {
            let tensor = parameters.tensor(&entry.name)?.to_device(device)?.to_dtype(dtype)?;
            Ok(Var::from_tensor(&tensor)?.into_inner())
        })
    }

    /// The network with the tensors that `tensor` gives for each entry of its layout: variables, constants, or what was
    /// computed from something else.
    ///
    /// # Errors
    /// If such a network cannot be built, a tensor is not to be had, or has another shape than its entry says.
    pub fn from_tensors(config: Config, tensor: impl Fn(&Entry) -> Result<Tensor>) -> Result<Self> {
        let layout = Layout::new(config)?;
        let get = |name: &str| -> Result<Tensor> {
            let entry = layout.entry(name)?;
            let tensor = tensor(entry)?;
            if tensor.dims() != entry.shape {
                let (have, want) = (tensor.dims(), &entry.shape);
                return Err(Error::invalid(format!("{name:?} has the shape {have:?}; it needs {want:?}")));
            }
            Ok(tensor)
        };
        let norm = |name: &str| -> Result<RmsNorm> { Ok(RmsNorm { weight: get(name)? }) };
        let block = |l: usize| -> Result<Block> {
            let get = |name: &str| get(&format!("h.{l}.{name}"));
            Ok(Block {
                ln_1: norm(&format!("h.{l}.ln_1"))?,
                attn: Attention {
                    c_attn: get("attn.c_attn")?,
                    c_proj: get("attn.c_proj")?,
                    heads: config.heads,
                },
                ln_2: norm(&format!("h.{l}.ln_2"))?,
                mlp: Mlp { c_fc: get("mlp.c_fc")?, c_proj: get("mlp.c_proj")? },
            })
        };
        Ok(Self {
            config,
            wte: get("wte")?,
            sos: get("sos")?,
            wpe: get("wpe")?,
            blocks: (0..config.layers).map(block).collect::<Result<_>>()?,
            ln_f: norm("ln_f")?,
            head: get("head")?,
            score: config.classes.map(|_| get("score")).transpose()?,
        })
    }

    /// The network's shape.
    pub fn config(&self) -> Config {
        self.config
    }

    /// All parameters, in the order of [`Layout::entries`].
    pub fn tensors(&self) -> Vec<&Tensor> {
        let blocks = self.blocks.iter().flat_map(|block| {
            let Block { ln_1, attn, ln_2, mlp } = block;
            [&ln_1.weight, &attn.c_attn, &attn.c_proj, &ln_2.weight, &mlp.c_fc, &mlp.c_proj]
        });
        let (first, last) = ([&self.wte, &self.sos, &self.wpe], [&self.ln_f.weight, &self.head]);
        first.into_iter().chain(blocks).chain(last).chain(&self.score).collect()
    }

    /// Logits `(B, T, V)` of images `(B, T)`: those at position i predict token i from the tokens before it.
    ///
    /// # Errors
    /// If the tokens do not fit the network.
    pub fn logits(&self, tokens: &Tensor) -> Result<Tensor> {
        self.output(&self.hidden_states(tokens)?)
    }

    /// Hidden states of images `(B, T)`, each `(B, T, C)`: what goes into each of the `L` blocks, and last what
    /// comes out of the final RMSNorm (as Hugging Face counts them).
    ///
    /// # Errors
    /// If the tokens do not fit the network.
    pub fn hidden_states(&self, tokens: &Tensor) -> Result<Vec<Tensor>> {
        self.states(&self.sos_then(tokens)?.narrow(1, 0, tokens.dim(1)?)?, true)
    }

    /// Logits `(B, V)` of the token that follows each of the prompts `(B, t)`, for `t < T`.
    ///
    /// # Errors
    /// If the tokens do not fit the network.
    pub fn next_logits(&self, prompts: &Tensor) -> Result<Tensor> {
        let logits = self.output(&self.states(&self.sos_then(prompts)?, true)?)?; // (B, t + 1, V)
        Ok(logits.narrow(1, prompts.dim(1)?, 1)?.squeeze(1)?)
    }

    /// Logits `(B, T, V)` of images `(B, T)` for BERT's objective: nothing is hidden but the colours at masked positions
    /// (`masked` is `(B, T)`, 1 there and 0 elsewhere), whose embeddings are set to zero (section 2.2).
    ///
    /// # Errors
    /// If the tokens do not fit the network.
    pub fn bert_logits(&self, tokens: &Tensor, masked: &Tensor) -> Result<Tensor> {
        self.output(&self.states_of(tokens, &Seen::Bidirectional(Some(masked.clone())))?)
    }

    /// The loss of images `(B, T)`, in nats per token: `-log p(x_i | x_0 .. x_(i-1))`, averaged over all tokens
    /// (section 2.1).
    ///
    /// # Errors
    /// If the tokens do not fit the network.
    pub fn loss(&self, tokens: &Tensor) -> Result<Tensor> {
        Self::loss_of(&self.logits(tokens)?, tokens, None)
    }

    /// BERT's loss of images `(B, T)`: averaged over an image's masked tokens, then over images (original code:
    /// `model.py`; section 2.1 writes the sum).
    ///
    /// # Errors
    /// If the tokens do not fit the network.
    pub fn bert_loss(&self, tokens: &Tensor, masked: &Tensor) -> Result<Tensor> {
        Self::loss_of(&self.bert_logits(tokens, masked)?, tokens, Some(masked))
    }

    /// The loss of logits `(B, T, V)`: over all tokens, or over an image's masked ones and then over images.
    fn loss_of(logits: &Tensor, tokens: &Tensor, masked: Option<&Tensor>) -> Result<Tensor> {
        let nll = negative_log_likelihood(logits, tokens)?; // (B, T)
        let Some(masked) = masked else { return Ok(nll.mean_all()?) };
        let masked = masked.to_dtype(nll.dtype())?;
        Ok(((nll * &masked)?.sum(1)? / masked.sum(1)?)?.mean_all()?)
    }

    /// What a linear probe sees (section 2.4): the output of each block's first RMSNorm, and last that of the final RMSNorm,
    /// averaged over the sequence: `(B, L + 1, C)`.
    ///
    /// # Errors
    /// If the tokens do not fit the network.
    pub fn features(&self, tokens: &Tensor, view: &Seen) -> Result<Tensor> {
        let states = self.states_of(tokens, view)?;
        let mut features = Vec::with_capacity(states.len());
        for (l, h) in states.iter().enumerate() {
            let normed = self.blocks.get(l).map_or_else(|| Ok(h.clone()), |block| block.ln_1.forward(h))?;
            features.push(normed.mean(1)?); // (B, C)
        }
        Ok(Tensor::stack(&features, 1)?)
    }

    /// Logits `(B, K)` of the classes of images `(B, T)`: the classification head (section 2.3) of the features at a layer.
    ///
    /// # Errors
    /// If the tokens do not fit the network, or it has no such head or layer.
    pub fn class_logits(&self, tokens: &Tensor, view: &Seen, layer: usize) -> Result<Tensor> {
        let score =
            self.score.as_ref().ok_or_else(|| Error::invalid("a network without a classification head"))?;
        let features = self.features(tokens, view)?.narrow(1, layer, 1)?.squeeze(1)?; // (B, C)
        Ok(features.matmul(&score.t()?)?)
    }

    /// The loss of the classes of images `(B, T)`, `-log p(class)` averaged over images: L_CLF of section 2.3. `labels` is `(B)`.
    ///
    /// # Errors
    /// As [`ImageGpt::class_logits`].
    pub fn class_loss(&self, tokens: &Tensor, view: &Seen, layer: usize, labels: &Tensor) -> Result<Tensor> {
        let logits = self.class_logits(tokens, view, layer)?.unsqueeze(1)?; // (B, 1, K)
        Ok(negative_log_likelihood(&logits, &labels.unsqueeze(1)?)?.mean_all()?)
    }

    /// Logits `(B, T, V)` if the residual stream before block `layer`, or after the last, went straight to the output.
    ///
    /// # Errors
    /// If the tokens do not fit the network, or there is no such layer.
    pub fn logits_of_layer(&self, tokens: &Tensor, view: &Seen, layer: usize) -> Result<Tensor> {
        let states = self.states_of(tokens, view)?;
        let state = states.get(layer).ok_or_else(|| Error::invalid(format!("there is no layer {layer}")))?;
        // The last of them went through the final RMSNorm already.
        let state = if layer < self.blocks.len() { self.ln_f.forward(state)? } else { state.clone() };
        linear(&state, &self.head.t()?)
    }

    /// What goes into each block, and last what comes out of the final RMSNorm, `(B, T, C)` each.
    fn states_of(&self, tokens: &Tensor, view: &Seen) -> Result<Vec<Tensor>> {
        match view {
            Seen::Causal => self.hidden_states(tokens),
            Seen::Bidirectional(None) => self.states(&self.embed(tokens)?, false),
            Seen::Bidirectional(Some(masked)) => {
                let seen = (1.0 - masked.to_dtype(self.wte.dtype())?)?.unsqueeze(D::Minus1)?; // (B, T, 1)
                self.states(&self.embed(tokens)?.broadcast_mul(&seen)?, false)
            }
        }
    }

    /// The vectors of tokens, `(B, t)` → `(B, t, C)`, without those of their positions.
    ///
    /// # Errors
    /// If a token is no colour.
    pub fn vectors(&self, tokens: &Tensor) -> Result<Tensor> {
        self.embed(tokens)
    }

    /// Colours' vectors: `(B, t)` → `(B, t, C)`.
    fn embed(&self, tokens: &Tensor) -> Result<Tensor> {
        let (b, t) = tokens.dims2()?;
        Ok(self.wte.index_select(&tokens.flatten_all()?, 0)?.reshape((b, t, self.config.width))?)
    }

    /// The SOS token and then the colours' vectors: `(B, t)` → `(B, t + 1, C)`. So position i knows the tokens before i.
    fn sos_then(&self, tokens: &Tensor) -> Result<Tensor> {
        let (b, t) = tokens.dims2()?;
        let sos = self.sos.reshape((1, 1, ()))?.broadcast_as((b, 1, self.config.width))?;
        if t == 0 {
            return Ok(sos.contiguous()?);
        }
        Ok(Tensor::cat(&[&sos, &self.embed(tokens)?], 1)?)
    }

    /// From embeddings `(B, t, C)` to what goes into each block, and last what comes out of the final RMSNorm.
    fn states(&self, embeddings: &Tensor, causal: bool) -> Result<Vec<Tensor>> {
        let t = embeddings.dim(1)?;
        if t > self.config.context {
            return Err(Error::invalid(format!(
                "a sequence of {t} tokens is longer than the network's {}",
                self.config.context
            )));
        }
        let mask = if causal { Some(causal_mask(t, embeddings)?) } else { None };
        let mut h = embeddings.broadcast_add(&self.wpe.narrow(0, 0, t)?)?; // (B, t, C)
        let mut states = Vec::with_capacity(self.blocks.len() + 1);
        for block in &self.blocks {
            let out = block.forward(&h, mask.as_ref())?;
            states.push(std::mem::replace(&mut h, out));
        }
        states.push(self.ln_f.forward(&h)?);
        Ok(states)
    }

    /// Logits from the last of the states: `(B, t, C)` → `(B, t, V)`.
    fn output(&self, states: &[Tensor]) -> Result<Tensor> {
        let last = states.last().ok_or_else(|| Error::invalid("no hidden states"))?;
        linear(last, &self.head.t()?)
    }
}

/// `x w` with no bias: `(B, T, in)` by `(in, out)` → `(B, T, out)`.
fn linear(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let (b, t, width) = x.dims3()?;
    Ok(x.reshape((b * t, width))?.matmul(w)?.reshape((b, t, ()))?)
}

/// `(T, T)`: 0 where row i may look, at positions up to i, and -∞ after it.
fn causal_mask(t: usize, like: &Tensor) -> Result<Tensor> {
    let row = |i: usize| (0..t).map(move |j| if j <= i { 0f32 } else { f32::NEG_INFINITY });
    let mask: Vec<f32> = (0..t).flat_map(row).collect();
    Ok(Tensor::from_vec(mask, (t, t), like.device())?.to_dtype(like.dtype())?)
}

/// `-log p` of each token under the logits at its position: `(B, T, V)` and `(B, T)` → `(B, T)`.
fn negative_log_likelihood(logits: &Tensor, tokens: &Tensor) -> Result<Tensor> {
    let log_p = ops::log_softmax(logits, D::Minus1)?;
    Ok(log_p.gather(&tokens.unsqueeze(D::Minus1)?.contiguous()?, D::Minus1)?.squeeze(D::Minus1)?.neg()?)
}
