//! What trains, describes and samples images: the interface that the readable reference and the fast engine share.

use super::{Config, Parameters};
use crate::adam::{Adam, AdamState};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Images as sequences of tokens, `(B, T)`, and what of them is to be predicted.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Tokens of all images, one image after the other, each in raster order: `B · T`.
    pub tokens: &'a [u16],
    /// What is predicted of the tokens.
    pub target: Target<'a>,
    /// What is predicted of whole images, if the network has a classification head that is to learn.
    pub classes: Option<Classes<'a>>,
}

/// The classes of images, which a classification head predicts (section 2.3). The loss is then
/// `generative · L_GEN + classification · L_CLF`, where L_CLF is the mean over images of `-log p(class)`.
#[derive(Debug, Clone, Copy)]
pub struct Classes<'a> {
    /// The class of each image, `(B)`.
    pub labels: &'a [u16],
    /// The layer whose features, averaged over the sequence, are classified: from 0 to L, see [`Network::features`]. L is
    /// the final RMSNorm, as in section 2.3.
    pub layer: usize,
    /// The weight of the loss of tokens, L_GEN; 0 leaves it out.
    pub generative: f64,
    /// The weight of the loss of classes, L_CLF.
    pub classification: f64,
}

/// How tokens go into a network whose features are wanted.
#[derive(Debug, Clone, Copy)]
pub enum View<'a> {
    /// Behind the SOS token, each position sees itself and those before it: as the autoregressive objective trains it.
    Causal,
    /// Each position sees all, but for the colours at masked positions, `(B, T)`, if there are any: as BERT's objective
    /// trains it.
    Bidirectional(Option<&'a [bool]>),
}

/// The two ways to pre-train (section 2.1).
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// Each token is predicted from those before it. The loss is the mean over all tokens of all images.
    Autoregressive,
    /// Tokens at masked positions, `(B, T)`, are predicted from all others. The loss is the mean over the masked tokens
    /// of an image, and then over images (original code: `model.py`). An image needs at least one masked token.
    Bert(&'a [bool]),
}

impl<'a> Target<'a> {
    /// That of BERT with these masks, or without any the autoregressive one.
    pub fn of(masked: Option<&'a [bool]>) -> Self {
        masked.map_or(Self::Autoregressive, Self::Bert)
    }
}

impl<'a> Batch<'a> {
    /// Images whose every token is predicted from those before it.
    pub fn autoregressive(tokens: &'a [u16]) -> Self {
        Self::new(tokens, Target::Autoregressive)
    }

    /// Images of which this is predicted.
    pub fn new(tokens: &'a [u16], target: Target<'a>) -> Self {
        Self { tokens, target, classes: None }
    }

    /// How its tokens go in.
    pub fn view(&self) -> View<'a> {
        match self.target {
            Target::Autoregressive => View::Causal,
            Target::Bert(masked) => View::Bidirectional(Some(masked)),
        }
    }

    /// The same images, of which classes are predicted, too.
    #[must_use]
    pub fn with_classes(self, classes: Classes<'a>) -> Self {
        Self { classes: Some(classes), ..self }
    }

    /// Checks the batch against a network, and returns how many images it has, `B`.
    ///
    /// # Errors
    /// If tokens are no whole images or no colours of the palette, or a mask does not fit or masks nothing.
    pub fn check(&self, config: &Config) -> Result<usize> {
        let (tokens, t) = (self.tokens, config.context);
        if tokens.is_empty() || !tokens.len().is_multiple_of(t) {
            return Err(Error::invalid(format!("{} tokens are no whole images of {t} tokens", tokens.len())));
        }
        if let Some(token) = tokens.iter().find(|token| usize::from(**token) >= config.vocabulary) {
            return Err(Error::invalid(format!(
                "token {token} is no colour of a palette of {}: was the image encoded with another palette?",
                config.vocabulary
            )));
        }
        if let Target::Bert(masked) = self.target {
            if masked.len() != tokens.len() {
                return Err(Error::invalid(format!(
                    "a mask of {} for {} tokens",
                    masked.len(),
                    tokens.len()
                )));
            }
            if masked.chunks(t).any(|image| !image.contains(&true)) {
                return Err(Error::invalid("an image without a masked token: draw its mask again"));
            }
        }
        if let Some(Classes { labels, layer, generative, classification }) = self.classes {
            let Some(classes) = config.classes else {
                return Err(Error::invalid("a network without a classification head cannot learn classes"));
            };
            if labels.len() != tokens.len() / t {
                let images = tokens.len() / t;
                return Err(Error::invalid(format!("{} labels for {images} images", labels.len())));
            }
            if let Some(label) = labels.iter().find(|label| usize::from(**label) >= classes) {
                return Err(Error::invalid(format!("label {label} is none of {classes} classes")));
            }
            config.check_layer(layer)?;
            let weight = |weight: f64| weight.is_finite() && weight >= 0.0;
            if !(weight(generative) && weight(classification) && generative + classification > 0.0) {
                return Err(Error::invalid(format!(
                    "the loss cannot weigh tokens by {generative} and classes by {classification}"
                )));
            }
        }
        Ok(tokens.len() / t)
    }
}

impl View<'_> {
    /// Without a mask: causal, or bidirectional.
    pub const fn of(causal: bool) -> Self {
        if causal { Self::Causal } else { Self::Bidirectional(None) }
    }

    /// Checks that tokens can be seen so, and returns how many images they are, `B`.
    pub(crate) fn check(&self, tokens: &[u16], config: &Config) -> Result<usize> {
        let images = Batch::autoregressive(tokens).check(config)?;
        match self {
            Self::Bidirectional(Some(masked)) if masked.len() != tokens.len() => {
                Err(Error::invalid(format!("a mask of {} for {} tokens", masked.len(), tokens.len())))
            }
            _ => Ok(images),
        }
    }
}

/// How precisely gradients are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Everything in `f32`.
    #[default]
    F32,
    /// Factors of matrix products are rounded to bf16, which has 8 significant bits; sums of products, parameters, their
    /// gradients and the optimiser stay in `f32`. On a CPU they are rounded as they go into the product, and activations
    /// stay in `f32`, too: for processors with AVX-512 BF16; others give the same bits, but several times more slowly than
    /// in `f32`. On a GPU activations are kept in bf16, but for the residual stream. Loss, features and samples of a
    /// trained network are computed in `f32` all the same.
    Bf16,
    /// Factors of matrix products are rounded to TF32, which has 11 significant bits, everything else is in `f32`. On a
    /// GPU only: to check a result in bf16 by one that is nearer to `f32` and not ten times slower.
    Tf32,
}

/// A network that keeps what it trains in the memory of its device.
pub trait Resident {
    /// One step of Adam against the gradient of the batch's loss; returns the loss, that of the network before the step.
    /// A loss or a gradient that is not finite changes nothing. `step` counts from 0. The first step brings `parameters` and `moments`
    /// to the device; from then on, as long as the same are given with rising steps, the device's are the true ones,
    /// and the caller's are out of date until [`Resident::download`].
    ///
    /// # Errors
    /// If the batch does not fit the network, or the device fails; [`Error::NotFinite`] if the loss or a gradient is not
    /// finite, and [`Error::Interrupted`] if someone asked to stop, which change nothing.
    fn step(
        &mut self,
        parameters: &Parameters,
        moments: &AdamState,
        batch: &Batch<'_>,
        settings: &Adam,
        step: u64,
        rate: f64,
    ) -> Result<f64>;

    /// Brings the caller's parameters and moments, those that [`Resident::step`] was given, up to date.
    ///
    /// # Errors
    /// If they are others, or the device fails.
    fn download(&mut self, parameters: &mut Parameters, moments: &mut AdamState) -> Result<()>;
}

/// Samples a token from logits (V): of which image, and at which position.
pub type Sampler<'a> = dyn Fn(&[f32], usize, usize) -> Result<u16> + Sync + 'a;

/// An image GPT that computes with given parameters. Sizes: `B` images, `T` tokens each, `C` channels, `L` blocks,
/// `V` colours.
pub trait Network: Send {
    /// The network's shape.
    fn config(&self) -> Config;

    /// From now on computes gradients in this precision. A network is in `f32` at first, and need not have another.
    ///
    /// # Errors
    /// If it has no such precision.
    fn set_precision(&mut self, precision: Precision) -> Result<()> {
        match precision {
            Precision::F32 => Ok(()),
            other => Err(Error::invalid(format!("this network computes in F32 only, not in {other:?}"))),
        }
    }

    /// From now on keeps only a block's input for the backward pass, or all of its activations: see
    /// [`Training::activation_checkpointing`](crate::train::Training). It changes no result. A network keeps all at first,
    /// and need not be able to do otherwise.
    ///
    /// # Errors
    /// If it cannot.
    fn set_activation_checkpointing(&mut self, on: bool) -> Result<()> {
        match on {
            false => Ok(()),
            true => Err(Error::invalid(
                "this network cannot compute activations a second time, it keeps all of them",
            )),
        }
    }

    /// From now on takes at most so many bytes of its device's memory to train in batches of so many images, in the
    /// precision that it has now.
    ///
    /// # Errors
    /// If it takes more however it is computed, or cannot be limited.
    fn set_memory_limit(&mut self, bytes: Option<u64>, _batch: usize) -> Result<()> {
        match bytes {
            None => Ok(()),
            Some(_) => Err(Error::invalid("this network cannot be told how much memory it may take")),
        }
    }

    /// The same network, if it keeps what it trains on its device.
    fn resident(&mut self) -> Option<&mut dyn Resident> {
        None
    }

    /// The loss of a batch, in nats per predicted token.
    ///
    /// # Errors
    /// If the batch does not fit the network; [`Error::NotFinite`] if the loss is not finite.
    fn loss(&mut self, parameters: &Parameters, batch: &Batch<'_>) -> Result<f64>;

    /// The loss of a batch, and its gradient by every parameter, which is *added* to `gradients` times `scale` (so
    /// that a large batch can be computed in parts). After an error `gradients` are of no use.
    ///
    /// # Errors
    /// If the batch does not fit the network; [`Error::NotFinite`] if the loss or one of `gradients` is not finite.
    fn gradients(
        &mut self,
        parameters: &Parameters,
        batch: &Batch<'_>,
        scale: f32,
        gradients: &mut Parameters,
    ) -> Result<f64>;

    /// Features of images for a linear probe (section 2.4): for each layer l < L the output of block l's first RMSNorm,
    /// and last the output of the final RMSNorm, each averaged over the sequence: `(B, L + 1, C)`.
    ///
    /// # Errors
    /// If the tokens do not fit the network; [`Error::NotFinite`] if a feature is not finite.
    fn features(&mut self, parameters: &Parameters, tokens: &[u16], view: View<'_>) -> Result<Vec<f32>>;

    /// What each layer can still predict (section 4.1): the loss of a batch's tokens if the residual stream before block
    /// l = 0..L, and last that after all blocks, went straight through the final RMSNorm and the output matrix: L + 1
    /// numbers in nats per predicted token, of which the last is the network's own loss.
    ///
    /// # Errors
    /// If the batch does not fit the network; [`Error::NotFinite`] if a loss is not finite.
    fn losses_by_layer(&mut self, _parameters: &Parameters, _batch: &Batch<'_>) -> Result<Vec<f64>> {
        Err(Error::invalid("this network cannot tell the loss of its layers"))
    }

    /// The loss of one layer as [`Network::losses_by_layer`] has it, and its gradient by what comes after the layer, the final
    /// RMSNorm's weight and the output matrix, which is *added* to `gradients` times `scale`: so a layer gets an output matrix
    /// of its own, while the blocks stay as they are. After an error `gradients` are of no use.
    ///
    /// # Errors
    /// If the batch does not fit the network, or there is no such layer; [`Error::NotFinite`] if the loss or one of `gradients`
    /// is not finite.
    fn head_gradients(
        &mut self,
        _parameters: &Parameters,
        _batch: &Batch<'_>,
        _layer: usize,
        _scale: f32,
        _gradients: &mut Parameters,
    ) -> Result<f64> {
        Err(Error::invalid("this network cannot train the output of one of its layers"))
    }

    /// Logits of the masked tokens of images `(B, T)` by BERT's objective, `(M, V)` for M masked tokens in order.
    ///
    /// # Errors
    /// If the tokens do not fit the network, or nothing is masked in an image; [`Error::NotFinite`] if a logit is not
    /// finite.
    fn masked_logits(
        &mut self,
        _parameters: &Parameters,
        _tokens: &[u16],
        _masked: &[bool],
    ) -> Result<Vec<f32>> {
        Err(Error::invalid("this network cannot predict masked tokens"))
    }

    /// Logits of the next token for sequences of one length `t < T`, `(B, t)` in and `(B, V)` out: how an image goes
    /// on. `t` may be 0; then `count` tells how many sequences there are.
    ///
    /// # Errors
    /// If the tokens do not fit the network; [`Error::NotFinite`] if a logit is not finite.
    fn next_logits(&mut self, parameters: &Parameters, prefix: &[u16], count: usize) -> Result<Vec<f32>>;

    /// Completes sequences of one length `t` ≤ T, `(B, t)` in and `(B, T)` out, token by token: `sample_token` chooses one by
    /// its logits `(V)`, and is told the sequence in 0..B and the position in t..T. Several sequences may be sampled at the
    /// same time, so what `sample_token` chooses may depend on nothing else.
    ///
    /// As written here, every token is a forward pass over all that is before it, as in the original code.
    ///
    /// # Errors
    /// If the tokens do not fit the network, or `sample_token` fails; [`Error::NotFinite`] if a logit is not finite: `sample_token` never
    /// sees such logits.
    fn complete(
        &mut self,
        parameters: &Parameters,
        prompts: &[u16],
        count: usize,
        sample_token: &Sampler<'_>,
    ) -> Result<Vec<u16>> {
        let Config { context, vocabulary, .. } = self.config();
        if count == 0 || !prompts.len().is_multiple_of(count) || prompts.len() / count > context {
            return Err(Error::invalid(format!(
                "{} tokens are not the prompts, of one length up to {context}, of {count} images",
                prompts.len()
            )));
        }
        let given = prompts.len() / count;
        let mut images: Vec<Vec<u16>> = match given {
            0 => vec![Vec::new(); count],
            given => prompts.chunks(given).map(<[u16]>::to_vec).collect(),
        };
        for position in given..context {
            let logits = self.next_logits(parameters, &images.concat(), count)?; // (B, V)
            for (i, (image, logits)) in images.iter_mut().zip(logits.chunks(vocabulary)).enumerate() {
                image.push(sample_token(logits, i, position)?);
            }
        }
        Ok(images.concat())
    }
}
