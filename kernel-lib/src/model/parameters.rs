//! What a network learns: one flat buffer of `f32`, and where in it each named tensor lies.
//!
//! Parameters, their gradients and the optimiser's moments all have this form, so that whatever treats every
//! parameter alike (Adam, clipping, adding gradients, checkpoints) is a loop over one slice.

use super::Config;
use crate::rng::Rng;
use crate::{Error, Result, memory};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// The named tensors of a network, and where each lies in a flat buffer. Names are those of the original code's
/// variables, as Hugging Face writes them, without the prefix `transformer.` and the suffix `.weight`; `sos` is a
/// vector of its own, as in the original.
///
/// | name | shape | what |
/// |---|---|---|
/// | `wte` | (V, C) | a vector for each colour, going in |
/// | `sos` | (C) | the SOS token |
/// | `wpe` | (T, C) | a vector for each position |
/// | `h.l.ln_1`, `h.l.ln_2` | (C) | weights of block l's RMSNorms |
/// | `h.l.attn.c_attn` | (C, 3C) | queries, keys, values, in this order |
/// | `h.l.attn.c_proj` | (C, C) | attention's output |
/// | `h.l.mlp.c_fc` | (C, F) | the MLP's first matrix; F is 4C in the paper |
/// | `h.l.mlp.c_proj` | (F, C) | the MLP's second matrix |
/// | `ln_f` | (C) | the last RMSNorm's weight |
/// | `head` | (V, C) | a vector for each colour, coming out (the original's `wtet`) |
/// | `score` | (K, C) | a vector for each class, where there is a classification head (the original's `wclf`) |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    config: Config,
    entries: Vec<Entry>,
}

/// One tensor of a [`Layout`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its name, `h.0.ln_1`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Where it lies in the flat buffer.
    pub range: Range<usize>,
    /// How it starts.
    pub init: Init,
}

/// How a tensor starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Every number is this.
    Constant(f32),
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
}

impl Eq for Init {}

/// Places of one block's tensors in the flat buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the layout's table")]
#[non_exhaustive]
pub struct BlockRanges {
    pub ln_1: Range<usize>,
    pub c_attn: Range<usize>,
    pub attn_c_proj: Range<usize>,
    pub ln_2: Range<usize>,
    pub c_fc: Range<usize>,
    pub mlp_c_proj: Range<usize>,
}

impl Layout {
    /// The tensors of this network, each with its start (original code: `model.py`; section 3.4: the output matrix
    /// starts at zero).
    ///
    /// # Errors
    /// If such a network cannot be built.
    pub fn new(config: Config) -> Result<Self> {
        config.validate()?;
        let Config { layers, width: c, context, vocabulary, .. } = config;
        let inner = config.inner_width();
        let mut layout = Self { config, entries: Vec::new() };
        layout.add("wte", &[vocabulary, c], Init::Normal(0.02));
        layout.add("sos", &[c], Init::Normal(0.02));
        layout.add("wpe", &[context, c], Init::Normal(0.01));
        // "weights are initialized in the layer-dependent fashion as in Sparse Transformer" (section 3.3).
        let (into, out) = (1.0 / (c as f64).sqrt(), 1.0 / ((c * layers) as f64).sqrt());
        for l in 0..layers {
            layout.add(&format!("h.{l}.ln_1"), &[c], Init::Constant(1.0));
            layout.add(&format!("h.{l}.attn.c_attn"), &[c, 3 * c], Init::Normal(into));
            layout.add(&format!("h.{l}.attn.c_proj"), &[c, c], Init::Normal(out));
            layout.add(&format!("h.{l}.ln_2"), &[c], Init::Constant(1.0));
            layout.add(&format!("h.{l}.mlp.c_fc"), &[c, inner], Init::Normal(0.02));
            layout.add(&format!("h.{l}.mlp.c_proj"), &[inner, c], Init::Normal(0.02));
        }
        layout.add("ln_f", &[c], Init::Constant(1.0));
        layout.add("head", &[vocabulary, c], Init::Constant(0.0));
        if let Some(classes) = config.classes {
            layout.add("score", &[classes, c], Init::Constant(0.0));
        }
        Ok(layout)
    }

    fn add(&mut self, name: &str, shape: &[usize], init: Init) {
        let start = self.len();
        let range = start..start + shape.iter().product::<usize>();
        self.entries.push(Entry { name: name.to_owned(), shape: shape.to_vec(), range, init });
    }

    /// The network's shape.
    pub fn config(&self) -> Config {
        self.config
    }

    /// All tensors, in the buffer's order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many numbers the buffer has.
    pub fn len(&self) -> usize {
        self.entries.last().map_or(0, |entry| entry.range.end)
    }

    /// Whether it has none; never, for a valid network.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn entry(&self, name: &str) -> Result<&Entry> {
        let found = self.entries.iter().find(|entry| entry.name == name);
        found.ok_or_else(|| {
            Error::invalid(format!(
                "a network of {} layers has no parameter {name:?}; names are like \"wte\", \"h.0.attn.c_attn\", \"head\"",
                self.config.layers
            ))
        })
    }

    /// Where block `l`'s tensors lie.
    ///
    /// # Panics
    /// If there is no block `l`.
    pub fn block(&self, l: usize) -> BlockRanges {
        let [a, b, c, d, e, f] = &self.entries[3 + 6 * l..3 + 6 * (l + 1)] else {
            unreachable!("six a block")
        };
        let range = |entry: &Entry| entry.range.clone();
        BlockRanges {
            ln_1: range(a),
            c_attn: range(b),
            attn_c_proj: range(c),
            ln_2: range(d),
            c_fc: range(e),
            mlp_c_proj: range(f),
        }
    }

    /// Where `wte`, `sos`, `wpe`, `ln_f`, `head` lie.
    pub fn outer(&self) -> [Range<usize>; 5] {
        let last = 3 + 6 * self.config.layers;
        [0, 1, 2, last, last + 1].map(|at| self.entries[at].range.clone())
    }

    /// Where `score` lies, if there is a classification head.
    pub fn score(&self) -> Option<Range<usize>> {
        self.config.classes.and_then(|_| self.entries.last()).map(|entry| entry.range.clone())
    }

    /// The parts of the flat buffer that decay, and those that do not, in order: matrices of blocks and the output matrix
    /// do; embeddings, the SOS token and weights do not.
    pub fn decays(&self) -> Vec<(std::ops::Range<usize>, bool)> {
        let mut groups: Vec<(std::ops::Range<usize>, bool)> = Vec::new();
        for entry in self.entries() {
            let decays = entry.shape.len() == 2 && !matches!(entry.name.as_str(), "wte" | "wpe");
            match groups.last_mut() {
                Some((range, same)) if *same == decays => range.end = entry.range.end,
                _ => groups.push((entry.range.clone(), decays)),
            }
        }
        groups
    }
}

/// A value for every parameter of a network: the parameters themselves, their gradients, or a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters {
    layout: Layout,
    values: Vec<f32>,
    stamp: Stamp,
}

/// Another one for whatever may have changed, so that a device knows whether it has these values. No part of what
/// values are.
#[derive(Debug, Clone, Copy)]
struct Stamp(u64);

impl Stamp {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl PartialEq for Stamp {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Parameters {
    /// Zeros.
    ///
    /// # Errors
    /// If such a network cannot be built, or has more parameters than the machine has memory for.
    pub fn zeros(config: Config) -> Result<Self> {
        config.validate()?;
        // Of their number, before the names of millions of tensors are written down.
        let values =
            memory::zeros(&format!("a network of {} parameters", config.parameters()), config.parameters())?;
        let layout = Layout::new(config)?;
        Ok(Self { layout, values, stamp: Stamp::new() })
    }

    /// A network's initial values, see [`Layout::new`]. Each tensor's numbers are keyed by the seed and the tensor's index, so
    /// that a deeper network starts with the same first blocks' directions.
    ///
    /// # Errors
    /// If such a network cannot be built, or has more parameters than the machine has memory for.
    pub fn init(config: Config, seed: u64) -> Result<Self> {
        let mut parameters = Self::zeros(config)?;
        for (index, entry) in parameters.layout.entries.iter().enumerate() {
            let values = &mut parameters.values[entry.range.clone()];
            match entry.init {
                Init::Constant(value) => values.fill(value),
                Init::Normal(deviation) => {
                    let mut rng = Rng::keyed(seed, "init", [index as u64, 0]);
                    values.iter_mut().for_each(|x| *x = (deviation * rng.normal()) as f32);
                }
            }
        }
        Ok(parameters)
    }

    /// Values for every parameter, in the layout's order.
    ///
    /// # Errors
    /// If they are not as many as the network's parameters.
    pub fn from_values(config: Config, values: Vec<f32>) -> Result<Self> {
        let layout = Layout::new(config)?;
        if values.len() != layout.len() {
            return Err(Error::invalid(format!(
                "{} values are not a network of {} parameters",
                values.len(),
                layout.len()
            )));
        }
        Ok(Self { layout, values, stamp: Stamp::new() })
    }

    /// The same network with another classification head, or without one: a new head is zero (section 3.4).
    ///
    /// # Errors
    /// If such a network cannot be built, or has more parameters than the machine has memory for.
    pub fn with_classes(&self, classes: Option<usize>) -> Result<Self> {
        let mut parameters = Self::zeros(self.config().with_classes(classes))?;
        let shared = self.config().with_classes(None).parameters();
        parameters.values[..shared].copy_from_slice(&self.values[..shared]);
        Ok(parameters)
    }

    /// Which tensors there are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The network's shape.
    pub fn config(&self) -> Config {
        self.layout.config
    }

    /// All numbers.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All numbers, to be changed.
    pub fn values_mut(&mut self) -> &mut [f32] {
        self.stamp = Stamp::new();
        &mut self.values
    }

    /// Equal stamps mean equal values; the other way round it need not be so.
    pub(crate) fn stamp(&self) -> u64 {
        self.stamp.0
    }

    /// The numbers of one tensor.
    ///
    /// # Errors
    /// If there is no tensor of this name.
    pub fn get(&self, name: &str) -> Result<&[f32]> {
        let range = self.layout.entry(name)?.range.clone();
        Ok(&self.values[range])
    }

    /// The numbers of one tensor, to be changed.
    ///
    /// # Errors
    /// If there is no tensor of this name.
    pub fn get_mut(&mut self, name: &str) -> Result<&mut [f32]> {
        let range = self.layout.entry(name)?.range.clone();
        Ok(&mut self.values_mut()[range])
    }

    /// One tensor as candle has it, on the CPU.
    ///
    /// # Errors
    /// If there is no tensor of this name.
    pub fn tensor(&self, name: &str) -> Result<candle_core::Tensor> {
        let shape = self.layout.entry(name)?.shape.clone();
        Ok(candle_core::Tensor::from_slice(self.get(name)?, shape, &candle_core::Device::Cpu)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Config =
        Config { layers: 3, width: 8, heads: 2, context: 9, vocabulary: 5, inner: None, classes: None };

    #[test]
    fn the_layout_holds_every_parameter_once() {
        let layout = Layout::new(SMALL).unwrap();
        assert_eq!(layout.len(), SMALL.parameters());
        let ends = layout.entries().iter().scan(0, |end, entry| {
            assert_eq!(entry.range.start, *end);
            *end = entry.range.end;
            Some(*end)
        });
        assert_eq!(ends.last(), Some(SMALL.parameters()));
        assert_eq!(layout.block(2).mlp_c_proj, layout.entry("h.2.mlp.c_proj").unwrap().range);
        assert_eq!(layout.outer()[4], layout.entry("head").unwrap().range);
        let narrow = Config { inner: Some(5), ..SMALL };
        assert_eq!(Layout::new(narrow).unwrap().len(), narrow.parameters());
        assert_eq!(Layout::new(narrow).unwrap().entry("h.1.mlp.c_proj").unwrap().shape, [5, 8]);
        let error = layout.entry("h.3.ln_1").unwrap_err().to_string();
        assert!(error.contains("3 layers has no parameter \"h.3.ln_1\""), "{error}");
    }

    #[test]
    fn a_network_that_no_machine_can_hold_is_an_error() {
        // 100 TB, 4 PB, and 8 EB.
        for (layers, width) in [(1 << 20, 1 << 11), (1 << 17, 1 << 16), (1 << 13, 1 << 20)] {
            let config = Config { layers, width, ..SMALL };
            config.validate().unwrap();
            for error in [Parameters::zeros(config).unwrap_err(), Parameters::init(config, 1).unwrap_err()] {
                assert!(matches!(error, Error::Memory { .. }), "{error}");
                assert!(
                    error.to_string().contains(&format!("{} parameters", config.parameters())),
                    "{error}"
                );
            }
        }
        Parameters::zeros(SMALL).unwrap();
    }

    #[test]
    fn a_network_starts_as_the_original_does() {
        let start = Parameters::init(Config { width: 64, ..SMALL }, 1).unwrap();
        let deviation = |name: &str| {
            let values = start.get(name).unwrap();
            (values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
        };
        for (name, expected) in [
            ("h.1.attn.c_attn", 1.0 / 8.0),
            ("h.1.attn.c_proj", 1.0 / (64.0 * 3.0f64).sqrt()),
            ("h.1.mlp.c_fc", 0.02),
            ("h.1.mlp.c_proj", 0.02),
        ] {
            assert!((deviation(name) / expected - 1.0).abs() < 0.05, "{name}: {}", deviation(name));
        }
        assert!(start.get("head").unwrap().iter().all(|x| *x == 0.0));
        assert!(start.get("ln_f").unwrap().iter().all(|x| *x == 1.0));
        assert_eq!(start, Parameters::init(start.config(), 1).unwrap());
        assert_ne!(start, Parameters::init(start.config(), 2).unwrap());
        assert!(Parameters::from_values(SMALL, vec![0.0; 3]).is_err());
    }

    #[test]
    fn matrices_decay_and_nothing_else() {
        let layout = Layout::new(Config {
            layers: 2,
            width: 8,
            heads: 2,
            context: 9,
            vocabulary: 5,
            inner: None,
            classes: None,
        })
        .unwrap();
        let groups = layout.decays();
        assert_eq!(groups.last().unwrap().0.end, layout.len());
        let decaying: usize = groups.iter().filter(|(_, decays)| *decays).map(|(range, _)| range.len()).sum();
        assert_eq!(decaying, 2 * 12 * 8 * 8 + 5 * 8);
        assert!(groups.windows(2).all(|pair| pair[0].0.end == pair[1].0.start && pair[0].1 != pair[1].1));
    }
}
