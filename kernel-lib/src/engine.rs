//! The engine: the network of section 2.2, fast. The same as the readable reference, with a backward pass written by
//! hand and kernels of its own.
//!
//! Read it in this order:
//! - `forward.rs`: from tokens to logits, equation by equation;
//! - `backward.rs`: the chain rule through it, from its end;
//! - `backend.rs`: the kernels that both are written with, and `plan.rs`: where activations lie;
//! - `micro_batches.rs`: a batch, micro-batch by micro-batch, through the passes;
//! - `cpu/`: the kernels for a CPU; `cuda.rs` and `cuda/`: those for a GPU;
//! - `sample.rs`: sampling images, token by token, with cached keys and values;
//!
//! What follows is said of the CPU, [`Engine`]; `cuda.rs` says it of a GPU, [`GpuEngine`].
//!
//! **The same bits always.** A result depends on the parameters and the batch, not on the number of threads, nor on
//! which of AVX-512, AVX2 and plain Rust computes it, nor on the machine's caches: every sum has one fixed order.
//! Images go through in micro-batches of about 2,048 tokens; inside a micro-batch all threads share each kernel's work, so a
//! single image uses them all; micro-batches add to the gradients one after the other.
//!
//! **Precision.** Gradients can be computed with products of bf16 numbers ([`Precision::Bf16`]), everything else stays in
//! `f32`. It is another result, but again the same bits always.
//!
//! **Memory.** For each token a block keeps 10 C + H + 2 numbers for the backward pass (its input, queries, keys and
//! values, attention's output, the stream between, the MLP's 4 C before the activation; RMSNorms and activation are
//! computed again), for the tokens of one micro-batch. The T × T matrix of attention is never held. With
//! [`Engine::with_activation_checkpointing`] only a block's input is kept, C numbers, for a third more work. [`memory`] counts.

mod backend;
mod backward;
mod cpu;
mod cuda;
mod forward;
mod inputs;
mod micro_batches;
mod plan;
mod sample;
#[cfg(test)]
mod tests;

pub use crate::simd::Isa;
pub(crate) use cuda::gpu;
pub use cuda::{GpuEngine, Time};

use crate::model::{Batch, Config, Layout, Network, Parameters, Precision, Target, View, finite};
use crate::parallel::in_pool;
use crate::simd::Scalar;
use crate::{Error, Result, memory as of_machine, stop};
use cpu::{Cpu, Extra};
use micro_batches::MicroBatches;
use plan::{Keep, Plan, Storage, Weights};
use std::sync::Arc;

/// The fast network. It keeps its workspace from call to call, so that steady training allocates nothing.
///
/// ```
/// use igpt::engine::Engine;
/// use igpt::model::{Batch, Config, Network, Parameters};
///
/// let config = Config { layers: 2, width: 16, heads: 2, context: 9, vocabulary: 4, inner: None, classes: None };
/// let parameters = Parameters::init(config, 1)?;
/// let loss = Engine::new(config)?.loss(&parameters, &Batch::autoregressive(&[0, 1, 2, 3, 0, 1, 2, 3, 0]))?;
/// assert!((loss - 4f64.ln()).abs() < 1e-6); // the output matrix starts at zero
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug)]
pub struct Engine {
    config: Config,
    isa: Isa,
    precision: Precision,
    checkpointing: bool,
    core: Core<f32>,
}

impl Engine {
    /// An engine for networks of this shape.
    ///
    /// # Errors
    /// If there is no such network.
    pub fn new(config: Config) -> Result<Self> {
        let (isa, precision) = (Isa::best(), Precision::F32);
        Ok(Self { config, isa, precision, checkpointing: false, core: Core::new(config)? })
    }

    /// The same with these instructions: other speed, same bits.
    ///
    /// # Errors
    /// If the processor does not have them.
    pub fn with_isa(self, isa: Isa) -> Result<Self> {
        if !isa.is_available() {
            return Err(Error::invalid(format!(
                "this processor has no {isa:?}; its best is {:?}",
                Isa::best()
            )));
        }
        Ok(Self { isa, ..self })
    }

    /// The same, computing blocks a second time when it goes backward instead of keeping their activations: less
    /// memory, a third more work, same bits.
    #[must_use]
    pub fn with_activation_checkpointing(self, checkpointing: bool) -> Self {
        Self { checkpointing, ..self }
    }

    /// The same, computing gradients in this precision; see [`Precision`]. [`Precision::Bf16`] is faster than `F32` only
    /// with [`Isa::Avx512Bf16`]. Without, it gives the same bits, but about five times *more slowly* than `F32`: to check a
    /// result, not to train.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Which instructions it uses.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    fn check(&self, parameters: &Parameters) -> Result<()> {
        check_parameters(&self.config, parameters)
    }
}

/// How much memory training takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Parameters, gradients and Adam's two moments.
    pub parameters: usize,
    /// What the blocks keep for the backward pass, of one micro-batch.
    pub kept: usize,
    /// All else that a micro-batch needs for a moment: logits, a block's gradients, packed matrices.
    pub temporary: usize,
    /// `kept` per token and layer.
    pub per_token_and_layer: usize,
}

impl Memory {
    /// All of it, in bytes.
    pub fn total(&self) -> usize {
        self.parameters.saturating_add(self.kept).saturating_add(self.temporary)
    }

    /// Checks that it is within a limit, if there is one.
    fn check_limit(&self, bytes: Option<u64>, checkpointing: bool) -> Result<()> {
        match bytes {
            Some(limit) if self.total() as u64 > limit => {
                let gigabytes = |bytes: u64| bytes as f64 / 1e9;
                let advice = if checkpointing {
                    ""
                } else {
                    ", or keep fewer activations (activation_checkpointing = true)"
                };
                Err(Error::invalid(format!(
                    "training takes {:.3} GB of memory, of them {:.3} for the parameters, and device_memory_gb allows \
                     {:.3}: choose a larger limit or a smaller network{advice}",
                    gigabytes(self.total() as u64),
                    gigabytes(self.parameters as u64),
                    gigabytes(limit)
                )))
            }
            _ => Ok(()),
        }
    }
}

/// How much memory the gradients of a batch of so many images take. What threads keep for attention, about
/// `16 (T + 96) C / H + 230,000` bytes each, comes on top.
pub fn memory(config: &Config, batch: usize, checkpointing: bool) -> Memory {
    let float = size_of::<f32>();
    let images = Storage::CPU.micro_batch(config, batch);
    let keep = if checkpointing { Keep::BlockInputs } else { Keep::All };
    let plan = Plan::new(config, images, keep, Storage::CPU);
    let Config { layers, width: c, heads, context, vocabulary, .. } = *config;
    let inner = config.inner_width();
    let tokens = images * context;
    let kept_each = if checkpointing { c } else { 6 * c + inner + heads + 2 };
    let kept = tokens * kept_each * layers;
    let extra = cpu::extra_len(c * inner.max(3 * c).max(vocabulary.next_multiple_of(16)), tokens, c);
    Memory {
        parameters: 4 * config.parameters() * float,
        kept: kept * float,
        temporary: (plan.len - kept.min(plan.len) + extra) * float,
        per_token_and_layer: kept_each * float,
    }
}

/// What does the work, for `f32` and, in tests, for `f64`.
#[derive(Debug)]
struct Core<S> {
    config: Config,
    weights: Weights,
    plan: Option<Arc<Plan>>,
    workspace: Vec<S>,
    extra: Extra<S>,
}

/// Gradients that are wanted: where they are added, times which scale, and how they are computed.
struct Wanted<'a, S> {
    to: &'a mut [S],
    scale: f32,
    checkpointing: bool,
    precision: Precision,
}

impl<S: Scalar> Core<S> {
    fn new(config: Config) -> Result<Self> {
        let weights = Weights::new(&Layout::new(config)?);
        Ok(Self { config, weights, plan: None, workspace: Vec::new(), extra: Extra::default() })
    }

    /// Makes the workspace ready for so many images, and does something with their micro-batches.
    fn with<T: Send>(
        &mut self,
        isa: Isa,
        parameters: &[S],
        gradients: Option<Wanted<'_, S>>,
        images: usize,
        work: impl FnOnce(MicroBatches<'_>) -> T + Send,
    ) -> Result<T> {
        let (gradients, keep, precision) = match gradients {
            None => (&mut [][..], Keep::Nothing, Precision::F32),
            Some(Wanted { to, checkpointing, precision, .. }) => {
                (to, if checkpointing { Keep::BlockInputs } else { Keep::All }, precision)
            }
        };
        let plan = Plan::kept(&mut self.plan, &self.config, images, keep, Storage::CPU);
        if self.workspace.len() < plan.len + 16 {
            // The old one goes first: both may be more than there is.
            self.workspace = Vec::new();
            self.workspace = of_machine::zeros("the activations of one micro-batch", plan.len + 16)?;
        }
        // Spans begin at cache lines if the workspace does.
        let start = self.workspace.as_ptr().align_offset(64).min(16);
        let workspace = &mut self.workspace[start..];
        let Self { config, weights, extra, .. } = self;
        Ok(in_pool(|| {
            let mut machine =
                Cpu::new(isa, parameters, gradients, workspace, extra).with_precision(precision);
            work(MicroBatches { machine: &mut machine, config: *config, weights, plan: &plan })
        }))
    }

    /// The loss of a batch that fits the network, and its gradients if wanted; none if someone asked to stop.
    fn loss(
        &mut self,
        isa: Isa,
        parameters: &[S],
        batch: &Batch<'_>,
        gradients: Option<Wanted<'_, S>>,
    ) -> Result<Option<f64>> {
        let images = batch.tokens.len() / self.config.context;
        let scale = gradients.as_ref().map(|wanted| wanted.scale);
        self.with(isa, parameters, gradients, images, |mut batches| batches.loss(batch, scale))
    }

    /// Features, (B, L + 1, C): see [`Network::features`]. None if someone asked to stop.
    fn features(
        &mut self,
        isa: Isa,
        parameters: &[S],
        tokens: &[u16],
        view: View<'_>,
    ) -> Result<Option<Vec<f32>>> {
        let images = tokens.len() / self.config.context;
        self.with(isa, parameters, None, images, |mut batches| batches.features(tokens, view))
    }

    /// Logits of the next token, (count, V): see [`Network::next_logits`].
    fn next_logits(&mut self, isa: Isa, parameters: &[S], prefix: &[u16], count: usize) -> Result<Vec<f32>> {
        self.with(isa, parameters, None, count, |mut batches| batches.next_logits(prefix, count))
    }
}

impl Network for Engine {
    fn config(&self) -> Config {
        self.config
    }

    fn set_precision(&mut self, precision: Precision) -> Result<()> {
        if precision == Precision::Tf32 {
            return Err(Error::invalid("TF32 is a precision of GPUs; a CPU computes in f32 or bf16"));
        }
        self.precision = precision;
        Ok(())
    }

    fn set_activation_checkpointing(&mut self, on: bool) -> Result<()> {
        self.checkpointing = on;
        Ok(())
    }

    fn set_memory_limit(&mut self, bytes: Option<u64>, batch: usize) -> Result<()> {
        memory(&self.config, batch, self.checkpointing).check_limit(bytes, self.checkpointing)
    }

    fn loss(&mut self, parameters: &Parameters, batch: &Batch<'_>) -> Result<f64> {
        self.check(parameters)?;
        batch.check(&self.config)?;
        let loss = self.core.loss(self.isa, parameters.values(), batch, None)?;
        finite::loss(loss.ok_or_else(|| stop::interrupted("the loss"))?, parameters)
    }

    fn gradients(
        &mut self,
        parameters: &Parameters,
        batch: &Batch<'_>,
        scale: f32,
        gradients: &mut Parameters,
    ) -> Result<f64> {
        self.check(parameters)?;
        self.check(gradients)?;
        batch.check(&self.config)?;
        let Self { isa, precision, checkpointing, .. } = *self;
        let wanted = Wanted { to: gradients.values_mut(), scale, checkpointing, precision };
        let loss = self.core.loss(isa, parameters.values(), batch, Some(wanted))?;
        let loss = finite::loss(loss.ok_or_else(|| stop::interrupted("the step"))?, parameters)?;
        finite::gradients(gradients, parameters)?;
        Ok(loss)
    }

    fn features(&mut self, parameters: &Parameters, tokens: &[u16], view: View<'_>) -> Result<Vec<f32>> {
        self.check(parameters)?;
        view.check(tokens, &self.config)?;
        let features = self.core.features(self.isa, parameters.values(), tokens, view)?;
        let features = features.ok_or_else(|| stop::interrupted("the features"))?;
        finite::values("a feature", &features, parameters)?;
        Ok(features)
    }

    fn losses_by_layer(&mut self, parameters: &Parameters, batch: &Batch<'_>) -> Result<Vec<f64>> {
        self.check(parameters)?;
        let images = batch.check(&self.config)?;
        let Self { core, isa, .. } = self;
        let losses =
            core.with(*isa, parameters.values(), None, images, |mut batches| batches.losses_by_layer(batch))?;
        let losses = losses.ok_or_else(|| stop::interrupted("the losses"))?;
        losses.into_iter().map(|loss| finite::loss(loss, parameters)).collect()
    }

    fn head_gradients(
        &mut self,
        parameters: &Parameters,
        batch: &Batch<'_>,
        layer: usize,
        scale: f32,
        gradients: &mut Parameters,
    ) -> Result<f64> {
        self.check(parameters)?;
        self.check(gradients)?;
        let images = batch.check(&self.config)?;
        self.config.check_layer(layer)?;
        let Self { core, isa, precision, .. } = self;
        // The blocks' activations are not wanted again.
        let wanted = Wanted { to: gradients.values_mut(), scale, checkpointing: true, precision: *precision };
        let loss = core.with(*isa, parameters.values(), Some(wanted), images, |mut batches| {
            batches.head_gradients(batch, layer, scale)
        })?;
        let loss = finite::loss(loss.ok_or_else(|| stop::interrupted("the step"))?, parameters)?;
        finite::gradients(gradients, parameters)?;
        Ok(loss)
    }

    fn masked_logits(
        &mut self,
        parameters: &Parameters,
        tokens: &[u16],
        masked: &[bool],
    ) -> Result<Vec<f32>> {
        self.check(parameters)?;
        let images = Batch::new(tokens, Target::Bert(masked)).check(&self.config)?;
        let Self { core, isa, .. } = self;
        let logits = core.with(*isa, parameters.values(), None, images, |mut batches| {
            batches.masked_logits(tokens, masked)
        })?;
        let logits = logits.ok_or_else(|| stop::interrupted("the logits"))?;
        finite::values("a logit", &logits, parameters)?;
        Ok(logits)
    }

    fn next_logits(&mut self, parameters: &Parameters, prefix: &[u16], count: usize) -> Result<Vec<f32>> {
        self.check(parameters)?;
        check_prefix(&self.config, prefix, count)?;
        let logits = self.core.next_logits(self.isa, parameters.values(), prefix, count)?;
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
        self.check(parameters)?;
        check_prompts(&self.config, prompts, count)?;
        let Self { config, isa, core, .. } = self;
        let completed =
            sample::complete(config, *isa, &core.weights, parameters, prompts, count, sample_token)?;
        completed.ok_or_else(|| stop::interrupted("sampling"))
    }
}

/// Checks that parameters, or gradients, are those of an engine's network.
fn check_parameters(config: &Config, parameters: &Parameters) -> Result<()> {
    if parameters.config() != *config {
        return Err(Error::invalid(format!(
            "parameters of {:?} for an engine of {config:?}",
            parameters.config()
        )));
    }
    Ok(())
}

/// Checks the prompts of `count` images, (count, t), after which a token comes.
fn check_prefix(config: &Config, prefix: &[u16], count: usize) -> Result<()> {
    check_prompts(config, prefix, count)?;
    if prefix.len() / count >= config.context {
        return Err(Error::invalid("these images are complete: no token comes next"));
    }
    Ok(())
}

/// Checks the prompts of `count` images, (count, t).
fn check_prompts(config: &Config, tokens: &[u16], count: usize) -> Result<()> {
    let Config { context, vocabulary, .. } = *config;
    if count == 0 || !tokens.len().is_multiple_of(count) || tokens.len() / count > context {
        return Err(Error::invalid(format!(
            "{} tokens are not the prompts, of one length up to {context}, of {count} images",
            tokens.len()
        )));
    }
    if let Some(token) = tokens.iter().find(|token| usize::from(**token) >= vocabulary) {
        return Err(Error::invalid(format!("token {token} is no colour of a palette of {vocabulary}")));
    }
    Ok(())
}
