//! How attention's kernels are made and launched: for which widths of a head, in tiles of which size. The sources are
//! compiled with what stands here ([`define`]), so that a kernel and its launch cannot disagree.

use super::device::Element;
use crate::{Error, Result};

/// The kernels for heads of `width` channels. Narrower heads are filled up with zeros.
struct Kernels {
    width: usize,
    forward: Tile,
    backward_kv: Tile,
    backward_q: Tile,
}

/// The part of attention's matrix (T, T) that a block of 128 threads computes at a time: its four warps have 16 `m` rows
/// each, and `n` columns.
#[derive(Clone, Copy)]
struct Tile {
    m: usize,
    n: usize,
}

const fn tile(m: usize, n: usize) -> Tile {
    Tile { m, n }
}

/// As many rows a warp as its registers hold, for each column that is read from shared memory is used `m` times.
const TILES: [Kernels; 5] = [
    Kernels { width: 32, forward: tile(2, 64), backward_kv: tile(2, 32), backward_q: tile(2, 64) },
    Kernels { width: 64, forward: tile(2, 64), backward_kv: tile(2, 32), backward_q: tile(2, 32) },
    Kernels { width: 96, forward: tile(2, 32), backward_kv: tile(1, 32), backward_q: tile(2, 32) },
    Kernels { width: 128, forward: tile(1, 64), backward_kv: tile(1, 32), backward_q: tile(1, 32) },
    Kernels { width: 192, forward: tile(1, 64), backward_kv: tile(1, 16), backward_q: tile(1, 16) },
];

/// Rows and columns of a tile in `attention_exact.cu`, whose numbers are `f32` and use no tensor cores.
const EXACT_TILE: usize = 32;
/// Threads of a warp.
const WARP: usize = 32;

/// The widest head that there are kernels for.
pub(super) const WIDEST_HEAD: usize = TILES[TILES.len() - 1].width;

/// The compiler's option by which `attention.cu` and `attention_exact.cu` define their kernels.
pub(super) fn define(rounded: Element) -> String {
    let kernels = TILES.iter().map(|Kernels { width, forward, backward_kv, backward_q }| match rounded {
        Element::F32 => format!("ATTENTION({width})"),
        Element::Bf16 => {
            let tiles = [forward, backward_kv, backward_q].map(|Tile { m, n }| format!(",{m},{n}"));
            format!("ATTENTION({width}{})", tiles.concat())
        }
    });
    format!("-DATTENTION_KERNELS={}", kernels.collect::<String>())
}

/// One of attention's three kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    Forward,
    /// The gradients of keys and values.
    BackwardKv,
    /// The gradients of queries.
    BackwardQ,
}

/// How a kernel is launched: with a grid of (T / `rows`, heads, images) and blocks of 128 threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attention {
    /// `attention_64`, `attention_backward_kv_64`, ...
    pub(super) name: String,
    /// How many tokens a block computes.
    pub(super) rows: usize,
    /// Bytes of dynamic shared memory, as the sources' `*_SHARED`.
    pub(super) shared: u32,
}

impl Attention {
    /// The kernel for heads of this width.
    ///
    /// # Errors
    /// If heads are too wide.
    pub(super) fn new(pass: Pass, width: usize, rounded: Element) -> Result<Self> {
        let Some(kernels) = TILES.iter().find(|kernels| kernels.width >= width) else {
            return Err(Error::invalid(format!(
                "heads of {width} channels: on a GPU they may have {WIDEST_HEAD} at most; IGPT_DEVICE=cpu computes any"
            )));
        };
        let (kernel, Tile { m, n }) = match pass {
            Pass::Forward => ("attention", kernels.forward),
            Pass::BackwardKv => ("attention_backward_kv", kernels.backward_kv),
            Pass::BackwardQ => ("attention_backward_q", kernels.backward_q),
        };
        let d = kernels.width;
        let (rows, shared) = match (rounded, pass) {
            // Rows of bf16 have 8 numbers more than a head, lest a warp's reads meet in one bank.
            (Element::Bf16, Pass::Forward) => (64 * m, 2 * (d + 8) * (64 * m + 2 * n)),
            (Element::Bf16, Pass::BackwardKv) => (64 * m, 2 * (d + 8) * (128 * m + 4 * n) + 16 * n),
            (Element::Bf16, Pass::BackwardQ) => (64 * m, 2 * (d + 8) * (128 * m + 4 * n)),
            // Three or four tiles of rows with one number more, and one or two of attention's matrix.
            (Element::F32, Pass::Forward) => {
                (EXACT_TILE, 3 * 4 * EXACT_TILE * (d + 1) + 4 * EXACT_TILE * WARP)
            }
            (Element::F32, _) => (EXACT_TILE, 4 * 4 * EXACT_TILE * (d + 1) + 2 * 4 * EXACT_TILE * WARP),
        };
        Ok(Self { name: format!("{kernel}_{d}"), rows, shared: shared as u32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a GPU was launched with when these numbers were written by hand.
    #[test]
    fn launches_are_those_of_before() {
        let of = |pass, width, rounded| {
            let Attention { name, rows, shared } = Attention::new(pass, width, rounded).unwrap();
            (name, rows, shared)
        };
        let expected = [
            (Pass::Forward, 32, Element::Bf16, "attention_32", 128, 20480),
            (Pass::BackwardKv, 64, Element::Bf16, "attention_backward_kv_64", 128, 55808),
            (Pass::BackwardQ, 90, Element::Bf16, "attention_backward_q_96", 128, 79872),
            (Pass::BackwardKv, 96, Element::Bf16, "attention_backward_kv_96", 64, 53760),
            (Pass::BackwardKv, 129, Element::Bf16, "attention_backward_kv_192", 64, 77056),
            (Pass::Forward, 1, Element::F32, "attention_32", 32, 16768),
            (Pass::BackwardQ, 128, Element::F32, "attention_backward_q_128", 32, 74240),
        ];
        for (pass, width, rounded, name, rows, shared) in expected {
            assert_eq!(of(pass, width, rounded), (name.into(), rows, shared));
        }
        let error = Attention::new(Pass::Forward, 193, Element::Bf16).unwrap_err().to_string();
        assert!(error.contains("192 at most"), "{error}");
    }

    #[test]
    fn kernels_are_defined_for_the_compiler() {
        assert!(define(Element::F32).starts_with("-DATTENTION_KERNELS=ATTENTION(32)ATTENTION(64)"));
        assert!(define(Element::Bf16).ends_with("ATTENTION(192,1,64,1,16,1,16)"));
    }
}
