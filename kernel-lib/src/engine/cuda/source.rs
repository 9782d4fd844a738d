//! The kernels' source text, and how it is compiled.

use super::attention;
use super::device::Element;

/// All kernels, in CUDA C++, in an order in which they compile as one text.
pub(super) const TEXT: [(&str, &str); 11] = [
    ("common.cuh", include_str!("kernels/common.cuh")),
    ("embedding.cu", include_str!("kernels/embedding.cu")),
    ("rms_norm.cu", include_str!("kernels/rms_norm.cu")),
    ("mean.cu", include_str!("kernels/mean.cu")),
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
pub(super) fn options(rounded: Element) -> [String; 3] {
    let bf16 = u8::from(rounded == Element::Bf16);
    ["--std=c++17".into(), format!("-DROUNDED_BF16={bf16}"), attention::define(rounded)]
}
