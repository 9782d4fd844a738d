//! The reference as a [`Network`]: from flat buffers to candle and back.

use super::{ImageGpt, Seen};
use crate::model::{Batch, Classes, Config, Network, Parameters, Target, View, finite};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use std::ops::Range;

/// Numbers that candle may keep for one part of a batch while it differentiates: 256 MB of `f32`.
const BUDGET: usize = 64 << 20;

/// [`ImageGpt`] as a [`Network`]: slow, readable, and right. In `F64` it is what other implementations are held
/// against.
///
/// A batch is computed in parts of a few images, so that memory stays small; parts depend on the network's shape
/// only, so that the result does not depend on the machine.
#[derive(Debug, Clone)]
pub struct Reference {
    config: Config,
    dtype: DType,
    device: Device,
}

impl Reference {
    /// The network of this shape on the CPU, computed in `dtype`: `F32` or `F64`.
    ///
    /// # Errors
    /// If such a network cannot be built, or `dtype` is another.
    pub fn new(config: Config, dtype: DType) -> Result<Self> {
        Self::on(config, dtype, Device::Cpu)
    }

    /// The same on a device of candle.
    ///
    /// # Errors
    /// If such a network cannot be built, or `dtype` is another.
    pub fn on(config: Config, dtype: DType, device: Device) -> Result<Self> {
        config.validate()?;
        if !matches!(dtype, DType::F32 | DType::F64) {
            return Err(Error::invalid(format!("the reference computes in F32 or F64, not in {dtype:?}")));
        }
        Ok(Self { config, dtype, device })
    }

    /// How many images are computed at a time.
    pub(super) fn images_at_a_time(&self) -> usize {
        let Config { layers, width, heads, context: t, vocabulary, .. } = self.config;
        let inner = self.config.inner_width();
        // Counted in the graph of a block: some 24 tensors (T, C), 4 of (T, F), 7 of (H, T, T); at the end 5 of (T, V).
        let kept = layers * (t * (24 * width + 4 * inner) + 7 * heads * t * t) + 5 * t * vocabulary;
        (BUDGET / kept.max(1)).max(1)
    }

    /// The network with these parameters: as variables, or as constants of which candle keeps no graph.
    fn build(&self, parameters: &Parameters, differentiated: bool) -> Result<ImageGpt> {
        if parameters.config() != self.config {
            return Err(Error::invalid(format!(
                "parameters of {:?} are not those of {:?}",
                parameters.config(),
                self.config
            )));
        }
        if differentiated {
            return ImageGpt::new(parameters, self.dtype, &self.device);
        }
        ImageGpt::from_tensors(self.config, |entry| {
            Ok(parameters.tensor(&entry.name)?.to_device(&self.device)?.to_dtype(self.dtype)?)
        })
    }

    /// Tokens `(count, t)` as candle has them.
    fn tokens(&self, tokens: &[u16], count: usize) -> Result<Tensor> {
        let t = tokens.len() / count.max(1);
        let tokens: Vec<u32> = tokens.iter().copied().map(u32::from).collect();
        Ok(Tensor::from_vec(tokens, (count, t), &self.device)?)
    }

    /// The parts of a batch: tokens `(b, T)`, how they go in, and which images they are.
    fn parts(
        &self,
        tokens: &[u16],
        view: View<'_>,
        mut each: impl FnMut(Tensor, Seen, Range<usize>) -> Result<()>,
    ) -> Result<()> {
        let t = self.config.context;
        let part = self.images_at_a_time() * t;
        for (i, tokens) in tokens.chunks(part).enumerate() {
            let (first, count) = (i * part / t, tokens.len() / t);
            let tensor = self.tokens(tokens, count)?;
            let seen = match view {
                View::Causal => Seen::Causal,
                View::Bidirectional(None) => Seen::Bidirectional(None),
                View::Bidirectional(Some(masked)) => {
                    let masked = masked.iter().skip(i * part).take(tokens.len());
                    let masked: Vec<u8> = masked.copied().map(u8::from).collect();
                    Seen::Bidirectional(Some(Tensor::from_vec(masked, tensor.shape(), &self.device)?))
                }
            };
            each(tensor, seen, first..first + count)?;
        }
        Ok(())
    }

    /// The loss of each part of a batch with its number of images.
    fn losses(
        &self,
        model: &ImageGpt,
        batch: &Batch<'_>,
        mut each: impl FnMut(Tensor, usize) -> Result<()>,
    ) -> Result<()> {
        self.parts(batch.tokens, batch.view(), |tokens, seen, images| {
            let of_tokens = || match &seen {
                Seen::Bidirectional(Some(masked)) => model.bert_loss(&tokens, masked),
                _ => model.loss(&tokens),
            };
            let loss = match batch.classes {
                None => of_tokens()?,
                Some(Classes { labels, layer, generative, classification }) => {
                    let labels = labels[images.clone()].iter().copied().map(u32::from).collect();
                    let labels = Tensor::from_vec(labels, images.len(), &self.device)?;
                    let of_classes = (model.class_loss(&tokens, &seen, layer, &labels)? * classification)?;
                    match generative {
                        0.0 => of_classes,
                        weight => ((of_tokens()? * weight)? + of_classes)?,
                    }
                }
            };
            each(loss, images.len())
        })
    }
}

impl Reference {
    /// The mean over images of a loss, which comes part by part with its number of images, and its gradient by what is wanted,
    /// which is added to the caller's.
    fn add_to(
        &self,
        gradients: &mut Parameters,
        scale: f32,
        parameters: &Parameters,
        images: usize,
        wanted: &dyn Fn(&str) -> bool,
        losses: impl FnOnce(&ImageGpt, &mut dyn FnMut(Tensor, usize) -> Result<()>) -> Result<()>,
    ) -> Result<f64> {
        if gradients.config() != self.config {
            return Err(Error::invalid("the buffer for gradients is that of another network"));
        }
        let model = self.build(parameters, true)?;
        let mut sum = 0.0;
        // In f64 until the end, so that parts add without a rounding each.
        let mut total = vec![0f64; gradients.values().len()];
        losses(&model, &mut |loss, count| {
            let by = loss.backward()?;
            for (entry, tensor) in gradients.layout().entries().iter().zip(model.tensors()) {
                // None where the loss does not depend on it: the SOS token, for BERT.
                if let Some(gradient) = by.get(tensor).filter(|_| wanted(&entry.name)) {
                    let gradient = gradient.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
                    let total = &mut total[entry.range.clone()];
                    total.iter_mut().zip(&gradient).for_each(|(sum, x)| *sum += count as f64 * x);
                }
            }
            sum += count as f64 * loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
            Ok(())
        })?;
        let share = f64::from(scale) / images as f64;
        gradients.values_mut().iter_mut().zip(&total).for_each(|(sum, x)| *sum += (share * x) as f32);
        let loss = finite::loss(sum / images as f64, parameters)?;
        finite::gradients(gradients, parameters)?;
        Ok(loss)
    }
}

/// The loss of tokens (b, T) if the residual stream of a layer went straight to the output.
fn loss_of_layer(model: &ImageGpt, tokens: &Tensor, seen: &Seen, layer: usize) -> Result<Tensor> {
    let logits = model.logits_of_layer(tokens, seen, layer)?; // (b, T, V)
    let masked = match seen {
        Seen::Bidirectional(masked) => masked.as_ref(),
        Seen::Causal => None,
    };
    ImageGpt::loss_of(&logits, tokens, masked)
}

impl Network for Reference {
    fn config(&self) -> Config {
        self.config
    }

    fn loss(&mut self, parameters: &Parameters, batch: &Batch<'_>) -> Result<f64> {
        let images = batch.check(&self.config)?;
        let model = self.build(parameters, false)?;
        let mut sum = 0.0;
        self.losses(&model, batch, |loss, count| {
            sum += count as f64 * loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
            Ok(())
        })?;
        finite::loss(sum / images as f64, parameters)
    }

    fn gradients(
        &mut self,
        parameters: &Parameters,
        batch: &Batch<'_>,
        scale: f32,
        gradients: &mut Parameters,
    ) -> Result<f64> {
        let images = batch.check(&self.config)?;
        self.add_to(gradients, scale, parameters, images, &|_| true, |model, each| {
            self.losses(model, batch, each)
        })
    }

    fn features(&mut self, parameters: &Parameters, tokens: &[u16], view: View<'_>) -> Result<Vec<f32>> {
        view.check(tokens, &self.config)?;
        let model = self.build(parameters, false)?;
        let mut features = Vec::new();
        self.parts(tokens, view, |tokens, seen, _| {
            let of_part = model.features(&tokens, &seen)?.to_dtype(DType::F32)?; // (b, L + 1, C)
            features.extend(of_part.flatten_all()?.to_vec1::<f32>()?);
            Ok(())
        })?;
        finite::values("a feature", &features, parameters)?;
        Ok(features)
    }

    fn losses_by_layer(&mut self, parameters: &Parameters, batch: &Batch<'_>) -> Result<Vec<f64>> {
        let images = batch.check(&self.config)?;
        let model = self.build(parameters, false)?;
        let mut losses = vec![0.0; self.config.layers + 1];
        self.parts(batch.tokens, batch.view(), |tokens, seen, of_part| {
            for (layer, loss) in losses.iter_mut().enumerate() {
                let of_layer = loss_of_layer(&model, &tokens, &seen, layer)?.to_dtype(DType::F64)?;
                *loss += of_part.len() as f64 * of_layer.to_scalar::<f64>()?;
            }
            Ok(())
        })?;
        losses.into_iter().map(|loss| finite::loss(loss / images as f64, parameters)).collect()
    }

    fn head_gradients(
        &mut self,
        parameters: &Parameters,
        batch: &Batch<'_>,
        layer: usize,
        scale: f32,
        gradients: &mut Parameters,
    ) -> Result<f64> {
        let images = batch.check(&self.config)?;
        self.config.check_layer(layer)?;
        let is_head = |name: &str| name == "ln_f" || name == "head";
        self.add_to(gradients, scale, parameters, images, &is_head, |model, each| {
            self.parts(batch.tokens, batch.view(), |tokens, seen, of_part| {
                each(loss_of_layer(model, &tokens, &seen, layer)?, of_part.len())
            })
        })
    }

    fn masked_logits(
        &mut self,
        parameters: &Parameters,
        tokens: &[u16],
        masked: &[bool],
    ) -> Result<Vec<f32>> {
        Batch::new(tokens, Target::Bert(masked)).check(&self.config)?;
        let Config { context: t, vocabulary: v, .. } = self.config;
        let model = self.build(parameters, false)?;
        let mut found = Vec::new();
        self.parts(tokens, View::Bidirectional(Some(masked)), |part, seen, images| {
            let Seen::Bidirectional(Some(mask)) = &seen else { return Ok(()) };
            let logits =
                model.bert_logits(&part, mask)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            let masked = &masked[images.start * t..images.end * t];
            for (row, _) in masked.iter().enumerate().filter(|(_, masked)| **masked) {
                found.extend_from_slice(&logits[row * v..][..v]);
            }
            Ok(())
        })?;
        finite::values("a logit", &found, parameters)?;
        Ok(found)
    }

    fn next_logits(&mut self, parameters: &Parameters, prefix: &[u16], count: usize) -> Result<Vec<f32>> {
        let Config { context, vocabulary, .. } = self.config;
        if count == 0 || !prefix.len().is_multiple_of(count) || prefix.len() / count >= context {
            return Err(Error::invalid(format!(
                "{} tokens are not the prompts, of one length under {context}, of {count} images",
                prefix.len()
            )));
        }
        if let Some(token) = prefix.iter().find(|token| usize::from(**token) >= vocabulary) {
            return Err(Error::invalid(format!("token {token} is no colour of a palette of {vocabulary}")));
        }
        let model = self.build(parameters, false)?;
        let logits = model.next_logits(&self.tokens(prefix, count)?)?; // (B, V)
        let logits = logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        finite::values("a logit", &logits, parameters)?;
        Ok(logits)
    }
}
