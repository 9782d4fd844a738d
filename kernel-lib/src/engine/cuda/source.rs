//! The kernels' source text, and what a caller must know of each.

use super::device::Element;
use crate::{Error, Result};

/// All kernels, in CUDA C++, in an order in which they compile as one text.
pub(super) const TEXT: [(&str, &str); 10] = [
    ("common.cuh", include_str!("kernels/common.cuh")),
    ("embedding.cu", include_str!("kernels/embedding.cu")),
    ("norm.cu", include_str!("kernels/norm.cu")),
    ("gelu.cu", include_str!("kernels/gelu.cu")),
    ("attention.cu", include_str!("kernels/attention.cu")),
    ("attention_exact.cu", include_str!("kernels/attention_exact.cu")),
    ("cross_entropy.cu", include_str!("kernels/cross_entropy.cu")),
    ("optimizer.cu", include_str!("kernels/optimizer.cu")),
    ("sampling.cu", include_str!("kernels/sampling.cu")),
    ("rows.cu", include_str!("kernels/rows.cu")),
];

/// The kernels as one text, whose lines are named after their files in a compiler's messages.
pub(super) fn text() -> String {
    TEXT.iter().map(|(name, text)| format!("#line 1 \"{name}\"\n{text}\n")).collect()
}

/// The compiler's options, but for the architecture.
pub(super) fn options(rounded: Element) -> [String; 2] {
    let bf16 = u8::from(rounded == Element::Bf16);
    ["--std=c++17".into(), format!("-DROUNDED_BF16={bf16}")]
}

/// Head widths that attention's kernels are made for. Narrower heads are filled up with zeros.
const HEADS: [usize; 5] = [32, 64, 96, 128, 192];
/// The widest of them.
pub(super) const WIDEST_HEAD: usize = HEADS[HEADS.len() - 1];

/// How one of attention's kernels is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attention {
    pub(super) name: String,
    /// How many tokens a block of threads computes.
    pub(super) tile: usize,
    /// Bytes of shared memory.
    pub(super) shared: u32,
}

impl Attention {
    /// The kernel `attention_D`, `attention_backward_kv_D`, ... for heads of this width. The sources say how each is to
    /// be called, in lines like `// LAUNCH attention_64 tile=128 shared=36864`.
    ///
    /// # Errors
    /// If heads are too wide.
    pub(super) fn new(kernel: &str, width: usize, rounded: Element) -> Result<Self> {
        let Some(padded) = HEADS.iter().find(|padded| **padded >= width) else {
            return Err(Error::invalid(format!(
                "heads of {width} channels: on a GPU they may have {WIDEST_HEAD} at most; IGPT_DEVICE=cpu computes any"
            )));
        };
        let name = format!("{kernel}_{padded}");
        let start = match rounded {
            Element::Bf16 => "// LAUNCH ",
            Element::F32 => "// LAUNCH_EXACT ",
        };
        let found = TEXT.iter().flat_map(|(_, text)| text.lines()).find_map(|line| {
            let mut words = line.trim().strip_prefix(start)?.split_whitespace();
            if words.next()? != name {
                return None;
            }
            let mut number = |key: &str| words.next()?.strip_prefix(key)?.parse().ok();
            Some((number("tile=")?, number("shared=")?))
        });
        let (tile, shared) = found.unwrap_or_else(|| unreachable!("{name} says how it is called"));
        Ok(Self { name, tile: tile as usize, shared })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attention_kernel_says_how_it_is_called() {
        for rounded in [Element::F32, Element::Bf16] {
            for kernel in ["attention", "attention_backward_kv", "attention_backward_q"] {
                for width in HEADS {
                    let found = Attention::new(kernel, width - 1, rounded).unwrap();
                    assert_eq!(found.name, format!("{kernel}_{width}"));
                    assert!(found.tile.is_power_of_two() && found.shared <= 160 << 10, "{found:?}");
                }
            }
        }
        let error = Attention::new("attention", 193, Element::Bf16).unwrap_err().to_string();
        assert!(error.contains("192 at most"), "{error}");
    }
}
