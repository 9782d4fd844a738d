//! The network on a GPU: its parameters, and while it trains Adam's moments too, lie in the device's memory and stay
//! there from call to call.

use super::attention::WIDEST_HEAD;
use super::device::{Device, Element, Time};
use super::{Cuda, Piece, bytes, bytes_mut};
use crate::adam::{self, Adam, AdamState};
use crate::engine::cpu::share;
use crate::engine::micro_batches::MicroBatches;
use crate::engine::plan::{Keep, Plan, Storage, Weights};
use crate::engine::sample::{Buffers, Matrices, Step};
use crate::engine::{Memory, check_parameters, check_prefix, check_prompts};
use crate::model::{Batch, Config, Layout, Network, Parameters, Precision, Resident, Target, View, finite};
use crate::{Error, Result, stop};
use std::ops::Range;
use std::sync::Arc;

/// Most tokens of a micro-batch, however large the memory: more make nothing faster.
const MICRO_BATCH_TOKENS: usize = 1 << 17;
/// What the kernels have room for.
const WIDEST: usize = 4096;
/// Most sequences that are sampled together: a grid's second side.
const SEQUENCES: usize = 65_535;
/// The share of the device's memory that is planned with; the rest is for libraries and other programs.
const SHARE: f64 = 0.8;

/// The fast network on a GPU. See [`Device`](crate::device::Device) for how one is chosen.
///
/// Gradients are computed in the precision that [`Network::set_precision`] says; loss, features and samples always in
/// `f32`, as on the CPU.
pub struct GpuEngine {
    config: Config,
    layout: Layout,
    weights: Weights,
    decays: Vec<(Range<usize>, bool)>,
    machine: Cuda,
    precision: Precision,
    checkpointing: bool,
    /// The most bytes of the device's memory to plan with.
    limit: u64,
    plan: Option<Arc<Plan>>,
    holds: Holds,
    /// Whether the copies in bf16 are those of the parameters.
    copied: bool,
}

/// Which parameters the device has.
#[derive(Debug, Clone, Copy, Default)]
struct Holds {
    /// The stamp of those that it was given last.
    stamp: Option<u64>,
    /// The step that comes next, if it has Adam's moments, too.
    training: Option<u64>,
    /// Whether it has trained them further, so that the caller's are out of date.
    ahead: bool,
}

impl std::fmt::Debug for GpuEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GpuEngine of {:?} on {}, {:?}", self.config, self.machine.device.name(), self.holds)
    }
}

impl GpuEngine {
    /// An engine for networks of this shape on the GPU of this number.
    ///
    /// # Errors
    /// If there is no such network, no such GPU, or no library to use it with; the message says what to do.
    pub fn new(config: Config, ordinal: usize) -> Result<Self> {
        Self::on(config, Box::new(super::gpu::Gpu::new(ordinal)?))
    }

    pub(super) fn on(config: Config, device: Box<dyn Device>) -> Result<Self> {
        let layout = Layout::new(config)?;
        let head = config.head_width();
        if config.width > WIDEST || head > WIDEST_HEAD {
            return Err(Error::invalid(format!(
                "a width of {} with heads of {head}: on a GPU they may be {WIDEST} and {WIDEST_HEAD} at most; \
                 IGPT_DEVICE=cpu computes any",
                config.width
            )));
        }
        Ok(Self {
            config,
            weights: Weights::new(&layout),
            decays: layout.decays(),
            layout,
            machine: Cuda::new(device),
            precision: Precision::F32,
            checkpointing: false,
            limit: u64::MAX,
            plan: None,
            holds: Holds::default(),
            copied: false,
        })
    }

    /// The same, computing blocks a second time when it goes backward instead of keeping their activations: less
    /// memory, a third more work, same bits.
    #[must_use]
    pub fn with_activation_checkpointing(self, checkpointing: bool) -> Self {
        Self { checkpointing, ..self }
    }

    /// What the device is: `NVIDIA H100 80GB HBM3`.
    pub fn device_name(&self) -> &str {
        self.machine.device.name()
    }

    /// From now on measures how long each kernel takes, or no more, and returns what was measured, the longest first.
    /// Measuring waits for each kernel, so that the whole is slower.
    pub fn measure(&mut self, on: bool) -> Vec<Time> {
        self.machine.device.measure(on)
    }

    /// How much of the device's memory is in use here, in bytes, without what the libraries take.
    pub fn allocated(&self) -> usize {
        self.machine.allocated()
    }

    /// How much memory the training with batches of so many images takes. What the libraries take, some hundred MiB,
    /// comes on top.
    pub fn memory(&self, batch: usize) -> Memory {
        let (rounded, keep) = (Element::of(self.precision), self.keep());
        let storage = self.storage(rounded, keep);
        let plan = Plan::new(&self.config, storage.micro_batch(&self.config, batch), keep, storage);
        let Config { layers, width: c, heads, context, .. } = self.config;
        let half = rounded.bytes();
        let per_token_and_layer = match self.checkpointing {
            true => 4 * c,
            false => half * (4 * c + self.config.inner_width()) + 4 * (2 * c + heads + 2),
        };
        let kept = plan.images * context * layers * per_token_and_layer;
        let each = 16 + if rounded == Element::Bf16 { 2 } else { 0 };
        Memory {
            parameters: each * self.layout.len(),
            kept,
            temporary: plan.len - kept.min(plan.len),
            per_token_and_layer,
        }
    }

    fn keep(&self) -> Keep {
        if self.checkpointing { Keep::BlockInputs } else { Keep::All }
    }

    /// What is planned with beside the parameters, their copies, gradients and moments.
    fn room(&self) -> usize {
        let room = (SHARE * self.machine.device.memory() as f64) as usize;
        let room = room.min(usize::try_from(self.limit).unwrap_or(usize::MAX));
        room.saturating_sub(18 * self.layout.len())
    }

    /// The layout of a workspace, with micro-batches of as many tokens as the device's memory holds.
    fn storage(&self, rounded: Element, keep: Keep) -> Storage {
        let [one, two] = [1, 2].map(|images| {
            let storage = Cuda::storage(rounded, images * self.config.context);
            Plan::new(&self.config, images, keep, storage).len
        });
        let more = self.room().saturating_sub(one) / (two - one).max(1);
        let tokens = (1 + more).saturating_mul(self.config.context);
        Cuda::storage(rounded, tokens.min(MICRO_BATCH_TOKENS).max(self.config.context))
    }

    /// Brings these parameters to the device, unless they are there.
    fn load(&mut self, parameters: &Parameters) -> Result<()> {
        check_parameters(&self.config, parameters)?;
        if self.holds.ahead {
            return Err(Error::invalid(
                "the device has trained its network further: download it before it is used otherwise",
            ));
        }
        if self.holds.stamp == Some(parameters.stamp()) {
            return Ok(());
        }
        self.holds = Holds::default();
        self.copied = false;
        self.machine.put(Piece::Parameters, parameters.values());
        self.machine.check()?;
        self.holds.stamp = Some(parameters.stamp());
        Ok(())
    }

    /// Makes the machine ready for a pass over so many images, and does it.
    fn with<T>(
        &mut self,
        precision: Precision,
        keep: Keep,
        images: usize,
        work: impl FnOnce(MicroBatches<'_>) -> T,
    ) -> Result<T> {
        let rounded = Element::of(precision);
        let storage = self.storage(rounded, keep);
        let plan = Plan::kept(&mut self.plan, &self.config, images, keep, storage);
        self.machine.rounded = rounded;
        self.machine.tf32 = precision == Precision::Tf32;
        self.machine.piece(Piece::Workspace, plan.len);
        if rounded == Element::Bf16 && !self.copied {
            self.machine.copy_parameters(self.layout.len());
            self.machine.check()?;
            self.copied = true;
        }
        self.machine.check()?;
        let batches = MicroBatches {
            machine: &mut self.machine,
            config: self.config,
            weights: &self.weights,
            plan: &plan,
        };
        let done = work(batches);
        self.machine.check()?;
        Ok(done)
    }

    /// The loss of a batch; its gradients are added to those on the device, times `scale`.
    fn gradients_there(&mut self, batch: &Batch<'_>, scale: f32) -> Result<f64> {
        let (keep, images) = (self.keep(), batch.tokens.len() / self.config.context);
        let loss = self.with(self.precision, keep, images, |mut batches| batches.loss(batch, Some(scale)))?;
        loss.ok_or_else(|| stop::interrupted("the step"))
    }

    /// The loss that something computes on the device, whose gradients are added to the caller's.
    fn add_to(
        &mut self,
        gradients: &mut Parameters,
        parameters: &Parameters,
        compute: impl FnOnce(&mut Self) -> Result<f64>,
    ) -> Result<f64> {
        check_parameters(&self.config, gradients)?;
        let at = self.machine.piece(Piece::Gradients, 4 * self.layout.len());
        self.machine.attempt(|device| device.upload(bytes(gradients.values()), at));
        let loss = finite::loss(compute(self)?, parameters)?;
        self.machine.attempt(|device| device.download(at, bytes_mut(gradients.values_mut())));
        self.machine.check()?;
        finite::gradients(gradients, parameters)?;
        Ok(loss)
    }

    fn clear_gradients(&mut self) -> Result<()> {
        let bytes = 4 * self.layout.len();
        let at = self.machine.piece(Piece::Gradients, bytes);
        self.machine.attempt(|device| device.clear(at, bytes));
        self.machine.check()
    }
}

impl Resident for GpuEngine {
    fn step(
        &mut self,
        parameters: &Parameters,
        moments: &AdamState,
        batch: &Batch<'_>,
        settings: &Adam,
        step: u64,
        rate: f64,
    ) -> Result<f64> {
        batch.check(&self.config)?;
        let n = self.layout.len();
        let goes_on = self.holds.training == Some(step) && self.holds.stamp == Some(parameters.stamp());
        if !goes_on {
            self.load(parameters)?;
            if [moments.mean.len(), moments.square.len()] != [n; 2] {
                return Err(Error::invalid(format!("moments that are not the network's {n}")));
            }
            self.machine.put(Piece::Mean, &moments.mean);
            self.machine.put(Piece::Square, &moments.square);
            self.machine.check()?;
            self.holds.training = Some(step);
        }
        self.clear_gradients()?;
        let loss = finite::loss(self.gradients_there(batch, 1.0)?, parameters)?;
        let update = settings.at(step, rate);
        // Before anything is changed: a gradient that is not finite is not applied.
        adam::check_norm(self.machine.gradient_norm(n, &update, settings.clip)?)?;
        // If this fails, what the device has is of no step; what was not downloaded is lost.
        let before = std::mem::take(&mut self.holds);
        self.copied = false;
        self.machine.adam(n, &self.decays, &update);
        self.machine.check()?;
        // From here on the caller's are out of date.
        self.holds = Holds { training: Some(step + 1), ahead: true, ..before };
        self.copied = self.machine.rounded == Element::Bf16;
        Ok(loss)
    }

    fn download(&mut self, parameters: &mut Parameters, moments: &mut AdamState) -> Result<()> {
        if !self.holds.ahead {
            return Ok(());
        }
        if self.holds.stamp != Some(parameters.stamp()) {
            return Err(Error::invalid(
                "these are not the parameters that the training on the device began with",
            ));
        }
        let n = self.layout.len();
        let [from, mean, square] =
            [Piece::Parameters, Piece::Mean, Piece::Square].map(|piece| self.machine.piece(piece, 4 * n));
        // All of it or nothing: it can be tried again.
        let mut all = [(); 3].map(|()| vec![0.0; n]);
        for (from, to) in [from, mean, square].into_iter().zip(&mut all) {
            self.machine.attempt(|device| device.download(from, bytes_mut(to)));
        }
        self.machine.check()?;
        let [values, mean, square] = all;
        parameters.values_mut().copy_from_slice(&values);
        (moments.mean, moments.square) = (mean, square);
        self.holds = Holds { stamp: Some(parameters.stamp()), ahead: false, ..self.holds };
        Ok(())
    }
}

impl Network for GpuEngine {
    fn config(&self) -> Config {
        self.config
    }

    fn set_precision(&mut self, precision: Precision) -> Result<()> {
        self.precision = precision;
        Ok(())
    }

    fn set_activation_checkpointing(&mut self, on: bool) -> Result<()> {
        self.checkpointing = on;
        Ok(())
    }

    fn set_memory_limit(&mut self, bytes: Option<u64>, batch: usize) -> Result<()> {
        self.limit = bytes.unwrap_or(u64::MAX);
        self.memory(batch).check_limit(bytes, self.checkpointing)
    }

    fn resident(&mut self) -> Option<&mut dyn Resident> {
        Some(self)
    }

    fn loss(&mut self, parameters: &Parameters, batch: &Batch<'_>) -> Result<f64> {
        self.load(parameters)?;
        batch.check(&self.config)?;
        let images = batch.tokens.len() / self.config.context;
        let loss =
            self.with(Precision::F32, Keep::Nothing, images, |mut batches| batches.loss(batch, None))?;
        finite::loss(loss.ok_or_else(|| stop::interrupted("the loss"))?, parameters)
    }

    fn gradients(
        &mut self,
        parameters: &Parameters,
        batch: &Batch<'_>,
        scale: f32,
        gradients: &mut Parameters,
    ) -> Result<f64> {
        self.load(parameters)?;
        batch.check(&self.config)?;
        self.add_to(gradients, parameters, |engine| engine.gradients_there(batch, scale))
    }

    fn head_gradients(
        &mut self,
        parameters: &Parameters,
        batch: &Batch<'_>,
        layer: usize,
        scale: f32,
        gradients: &mut Parameters,
    ) -> Result<f64> {
        self.load(parameters)?;
        let images = batch.check(&self.config)?;
        self.config.check_layer(layer)?;
        self.add_to(gradients, parameters, |engine| {
            // The blocks' activations are not wanted again.
            let loss = engine.with(engine.precision, Keep::BlockInputs, images, |mut batches| {
                batches.head_gradients(batch, layer, scale)
            })?;
            loss.ok_or_else(|| stop::interrupted("the step"))
        })
    }

    fn losses_by_layer(&mut self, parameters: &Parameters, batch: &Batch<'_>) -> Result<Vec<f64>> {
        self.load(parameters)?;
        let images = batch.check(&self.config)?;
        let losses = self
            .with(Precision::F32, Keep::Nothing, images, |mut batches| batches.losses_by_layer(batch))?
            .ok_or_else(|| stop::interrupted("the losses"))?;
        losses.into_iter().map(|loss| finite::loss(loss, parameters)).collect()
    }

    fn masked_logits(
        &mut self,
        parameters: &Parameters,
        tokens: &[u16],
        masked: &[bool],
    ) -> Result<Vec<f32>> {
        self.load(parameters)?;
        let images = Batch::new(tokens, Target::Bert(masked)).check(&self.config)?;
        let logits = self.with(Precision::F32, Keep::Nothing, images, |mut batches| {
            batches.masked_logits(tokens, masked)
        })?;
        let logits = logits.ok_or_else(|| stop::interrupted("the logits"))?;
        finite::values("a logit", &logits, parameters)?;
        Ok(logits)
    }

    fn features(&mut self, parameters: &Parameters, tokens: &[u16], view: View<'_>) -> Result<Vec<f32>> {
        self.load(parameters)?;
        let images = view.check(tokens, &self.config)?;
        let features =
            self.with(Precision::F32, Keep::Nothing, images, |mut batches| batches.features(tokens, view))?;
        let features = features.ok_or_else(|| stop::interrupted("the features"))?;
        finite::values("a feature", &features, parameters)?;
        Ok(features)
    }

    fn next_logits(&mut self, parameters: &Parameters, prefix: &[u16], count: usize) -> Result<Vec<f32>> {
        self.load(parameters)?;
        check_prefix(&self.config, prefix, count)?;
        let logits = self
            .with(Precision::F32, Keep::Nothing, count, |mut batches| batches.next_logits(prefix, count))?;
        finite::values("a logit", &logits, parameters)?;
        Ok(logits)
    }

    fn complete(
        &mut self,
        parameters: &Parameters,
        prompts: &[u16],
        count: usize,
        sample_token: &crate::model::Sampler<'_>,
    ) -> Result<Vec<u16>> {
        self.load(parameters)?;
        check_prompts(&self.config, prompts, count)?;
        let (given, v) = (prompts.len() / count, self.config.vocabulary);
        let storage = Cuda::storage(Element::F32, 0);
        let cache = [self.config.context * self.config.head_width(); 2];
        let each = Buffers::new(&self.config, 1, cache, storage).len;
        let most = (self.room() / each).clamp(1, SEQUENCES);
        let matrices = Matrices::plain(&self.weights);
        (self.machine.rounded, self.machine.tf32) = (Element::F32, false);
        let mut completed = Vec::with_capacity(count * self.config.context);
        for first in (0..count).step_by(most) {
            let rows = most.min(count - first);
            let buffers = Buffers::new(&self.config, rows, cache, storage);
            self.machine.piece(Piece::Workspace, buffers.len);
            self.machine.check()?;
            let mut step = Step {
                machine: &mut self.machine,
                config: &self.config,
                weights: &self.weights,
                matrices: &matrices,
                buffers: &buffers,
                parameters,
            };
            let tokens =
                step.complete(&prompts[first * given..(first + rows) * given], |logits, position| {
                    let sampled =
                        share(rows, |row| sample_token(&logits[row * v..][..v], first + row, position));
                    sampled.into_iter().collect()
                });
            self.machine.check()?;
            completed.extend(tokens?.ok_or_else(|| stop::interrupted("sampling"))?);
        }
        Ok(completed)
    }
}
