//! The shape of a network (section 3.3): how deep, how wide, how many heads, how long the sequence, how many colours.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The shape of an image GPT.
///
/// ```
/// use igpt::model::Config;
///
/// assert_eq!(Config::igpt_s().parameters(), 76_571_648);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Transformer blocks, `L`.
    pub layers: usize,
    /// Width of the residual stream, `C` (the paper's `d`).
    pub width: usize,
    /// Attention heads, `H`; each has `C / H` channels.
    pub heads: usize,
    /// Length of the sequence, `T`: the pixels of an image.
    pub context: usize,
    /// Colours of the palette, `V`.
    pub vocabulary: usize,
    /// Width of the MLP's middle, `F`. `None`, as in the paper, is `4 C`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner: Option<usize>,
    /// Classes of images that a classification head tells apart, `K` (section 2.3). `None` while pre-training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
}

impl Config {
    /// iGPT-S: 76,571,648 parameters at 32², which the paper rounds to 76M.
    pub const fn igpt_s() -> Self {
        Self {
            layers: 24,
            width: 512,
            heads: 8,
            context: 32 * 32,
            vocabulary: 512,
            inner: None,
            classes: None,
        }
    }

    /// iGPT-M: 455,157,760 parameters at 32² (455M).
    pub const fn igpt_m() -> Self {
        Self {
            layers: 36,
            width: 1024,
            heads: 8,
            context: 32 * 32,
            vocabulary: 512,
            inner: None,
            classes: None,
        }
    }

    /// iGPT-L: 1,362,250,752 parameters at 32² (1362M in Table 2; "1.4M" in section 3.3 is a slip). The paper also
    /// trains it at 48²: see [`Config::at`].
    pub const fn igpt_l() -> Self {
        Self {
            layers: 48,
            width: 1536,
            heads: 16,
            context: 32 * 32,
            vocabulary: 512,
            inner: None,
            classes: None,
        }
    }

    /// iGPT-XL: 6,801,438,720 parameters (6801M in Table 2) at 32²; the paper trains it at 64², see [`Config::at`].
    ///
    /// Its number of heads is not published. 16 is our choice, which makes heads of 192 channels; the count of
    /// parameters does not depend on it, and so cannot confirm it.
    pub const fn igpt_xl() -> Self {
        Self {
            layers: 60,
            width: 3072,
            heads: 16,
            context: 32 * 32,
            vocabulary: 512,
            inner: None,
            classes: None,
        }
    }

    /// The same network for images of `side` × `side` pixels.
    #[must_use]
    pub const fn at(self, side: usize) -> Self {
        Self { context: side.saturating_mul(side), ..self }
    }

    /// The same network for a palette of `vocabulary` colours.
    #[must_use]
    pub const fn with_vocabulary(self, vocabulary: usize) -> Self {
        Self { vocabulary, ..self }
    }

    /// The same network with a classification head for so many classes, or without one.
    #[must_use]
    pub const fn with_classes(self, classes: Option<usize>) -> Self {
        Self { classes, ..self }
    }

    /// Channels of one head, `C / H`.
    pub const fn head_width(&self) -> usize {
        self.width / self.heads
    }

    /// Width of the MLP's middle, `F`.
    pub const fn inner_width(&self) -> usize {
        match self.inner {
            Some(inner) => inner,
            None => self.width.saturating_mul(4),
        }
    }

    /// How many numbers the network learns: `L (4 C² + 2 F C + 2 C) + T C + 2 V C + 2 C`, where `F` is `4 C` in the
    /// paper. Attention has 4 C² weights and the MLP 2 F C; no layer has a bias; two weights a block; positions, colours
    /// in and out, the SOS token, the last weight. A classification head has `K C` more.
    pub const fn parameters(&self) -> usize {
        let Self { layers, width, context, vocabulary, classes, .. } = *self;
        // Saturating, so that this says no small number of a network that there cannot be.
        let of_a_channel =
            width.saturating_mul(4).saturating_add(self.inner_width().saturating_mul(2)).saturating_add(2);
        let blocks = layers.saturating_mul(of_a_channel.saturating_mul(width));
        let classes = match classes {
            Some(classes) => classes,
            None => 0,
        };
        let rows = context.saturating_add(vocabulary.saturating_mul(2)).saturating_add(2);
        let outer = rows.saturating_add(classes).saturating_mul(width);
        blocks.saturating_add(outer)
    }

    /// Checks that there is a layer of this number: 0 is before the first block, L after the last.
    pub(crate) fn check_layer(&self, layer: usize) -> Result<()> {
        if layer > self.layers {
            return Err(Error::invalid(format!(
                "there is no layer {layer}: a network of {} blocks has 0 to {0}",
                self.layers
            )));
        }
        Ok(())
    }

    /// Checks that such a network can be built.
    ///
    /// # Errors
    /// If something is zero, the heads do not divide the width, the colours do not fit a token, or no memory could hold
    /// it.
    pub fn validate(&self) -> Result<()> {
        let Self { layers, width, heads, context, vocabulary, inner, classes } = *self;
        for (name, value) in [
            ("layers", layers),
            ("width", width),
            ("heads", heads),
            ("context", context),
            ("vocabulary", vocabulary),
            ("inner", inner.unwrap_or(1)),
            ("classes", classes.unwrap_or(1)),
        ] {
            if value == 0 || value > 1 << 20 {
                return Err(Error::invalid(format!("a network cannot have {name} = {value}")));
            }
        }
        if !width.is_multiple_of(heads) {
            return Err(Error::invalid(format!(
                "{heads} heads do not divide a width of {width}: choose a width that is a multiple of the heads"
            )));
        }
        if vocabulary > 1 << 16 {
            return Err(Error::invalid(format!("{vocabulary} colours do not fit a token; at most 65536 do")));
        }
        if classes.is_some_and(|classes| classes > 1 << 16) {
            return Err(Error::invalid(format!(
                "{} classes do not fit a label; at most 65536 do",
                classes.unwrap_or_default()
            )));
        }
        // With each factor within 2^22 this is far from u128's end; as usize it may not be.
        let [layers, width, inner] = [layers, width, self.inner_width()].map(|n| n as u128);
        if layers * (4 * width + 2 * inner + 2) * width > isize::MAX as u128 / 8 {
            return Err(Error::invalid(format!(
                "a network of {layers} layers of width {width} has more parameters than any memory can hold"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_networks_have_the_papers_sizes() {
        // Facts: section 3.3, and Table 2 for L and XL.
        for (config, exact, stated) in [
            (Config::igpt_s(), 76_571_648, 76),
            (Config::igpt_m(), 455_157_760, 455),
            (Config::igpt_l(), 1_362_250_752, 1362),
            (Config::igpt_l().at(48), 1_364_216_832, 1364),
            (Config::igpt_xl(), 6_801_438_720, 6801),
            (Config::igpt_xl().at(64), 6_810_875_904, 6810),
        ] {
            config.validate().unwrap();
            assert_eq!(config.parameters(), exact);
            assert_eq!(config.parameters() / 1_000_000, stated);
        }
    }

    #[test]
    fn impossible_networks_are_refused() {
        let good =
            Config { layers: 1, width: 8, heads: 2, context: 4, vocabulary: 3, inner: None, classes: None };
        good.validate().unwrap();
        for (bad, said) in [
            (Config { heads: 3, ..good }, "3 heads do not divide a width of 8"),
            (Config { layers: 0, ..good }, "layers = 0"),
            (Config { vocabulary: 65_537, ..good }, "65537 colours"),
            (Config { inner: Some(0), ..good }, "inner = 0"),
            (Config { layers: 1 << 20, width: 1 << 20, ..good }, "than any memory can hold"),
            (good.at(1 << 32), "context = 18446744073709551615"),
            (good.at(usize::MAX), "context = 18446744073709551615"),
        ] {
            let error = bad.validate().unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        assert_eq!(good.at(2), good);
        assert_eq!(good.at(usize::MAX).parameters(), usize::MAX);
    }

    #[test]
    fn the_usual_mlp_is_not_written_down() {
        let usual =
            Config { layers: 1, width: 8, heads: 2, context: 4, vocabulary: 3, inner: None, classes: None };
        let json = serde_json::to_string(&usual).unwrap();
        assert_eq!(json, r#"{"layers":1,"width":8,"heads":2,"context":4,"vocabulary":3}"#);
        assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), usual);
        let narrow = Config { inner: Some(5), ..usual };
        assert_eq!(narrow.parameters(), usual.parameters() - 2 * 8 * (32 - 5));
        let json = serde_json::to_string(&narrow).unwrap();
        assert!(json.ends_with(r#""vocabulary":3,"inner":5}"#), "{json}");
        assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), narrow);
    }
}
