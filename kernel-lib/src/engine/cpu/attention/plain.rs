//! Attention's backward pass as plain loops, in the manner of Karpathy's llm.c, to read and to test the fast one against.

use super::super::{Cpu, Extra};
use crate::engine::backend::{Arena, Backend as _, Heads, Kind, Span};
use crate::rng::Rng;
use crate::simd::{Isa, Scalar};

/// One head, from q, k, v and the output's gradient, each (T, D): the gradients of q, k and v.
fn backward([q, k, v, d_o]: [&[f64]; 4], d: usize, causal: bool) -> [Vec<f64>; 3] {
    let (t, scale) = (q.len() / d, 1.0 / (d as f64).sqrt());
    let dot =
        |a: &[f64], i: usize, b: &[f64], j: usize| (0..d).map(|c| a[i * d + c] * b[j * d + c]).sum::<f64>();
    let [mut dq, mut dk, mut dv] = [(); 3].map(|()| vec![0.0; t * d]);
    for i in 0..t {
        let seen = if causal { i + 1 } else { t };
        // p = softmax(qᵢ kᵀ / √D), dp = doᵢ vᵀ                    (seen)
        let e: Vec<f64> = (0..seen).map(|j| (scale * dot(q, i, k, j)).exp()).collect();
        let p: Vec<f64> = e.iter().map(|e_j| e_j / e.iter().sum::<f64>()).collect();
        let dp: Vec<f64> = (0..seen).map(|j| dot(d_o, i, v, j)).collect();
        let mean: f64 = p.iter().zip(&dp).map(|(p, dp)| p * dp).sum();
        for j in 0..seen {
            let ds = p[j] * (dp[j] - mean) * scale;
            for c in 0..d {
                dq[i * d + c] += ds * k[j * d + c];
                dk[j * d + c] += ds * q[i * d + c];
                dv[j * d + c] += p[j] * d_o[i * d + c];
            }
        }
    }
    [dq, dk, dv]
}

/// The largest difference of the fast backward pass from [`backward`], over all heads of two images.
fn difference<S: Scalar>(isa: Isa, [t, count, d]: [usize; 3], causal: bool) -> f64 {
    let heads = Heads { images: 2, tokens: t, heads: count, width: d, causal };
    let (c, rows) = (count * d, 2 * t);
    let mut rng = Rng::keyed(1, "attention", [t as u64, d as u64]);
    let mut values = vec![S::ZERO; rows * (3 + 1 + 1 + 3) * c + rows * count];
    let span = |start, len| Span { arena: Arena::Workspace, kind: Kind::Exact, start, len };
    let (qkv, o, d_o) = (span(0, rows * 3 * c), span(rows * 3 * c, rows * c), span(rows * 4 * c, rows * c));
    let (dqkv, lse) = (span(rows * 5 * c, rows * 3 * c), span(rows * 8 * c, rows * count));
    for span in [qkv, d_o] {
        values[span.start..][..span.len].fill_with(|| S::from_f64(rng.normal()));
    }
    let mut extra = Extra::default();
    let mut machine = Cpu::new(isa, &[], &mut [], &mut values, &mut extra);
    machine.attention(heads, qkv, o, lse);
    machine.attention_backward(heads, qkv, o, lse, d_o, dqkv);
    let number = |span: Span, at: usize| values[span.start + at].to_f64();
    let mut worst = 0.0_f64;
    for image in 0..2 {
        for head in 0..count {
            // Row i of q, k or v (which = 0, 1, 2; of (rows, 3 C)), or of the output (rows, C).
            let of_qkv = |span, which: usize| -> Vec<f64> {
                let at = |i: usize| (image * t + i / d) * 3 * c + which * c + head * d + i % d;
                (0..t * d).map(|i| number(span, at(i))).collect()
            };
            let d_o: Vec<f64> =
                (0..t * d).map(|i| number(d_o, (image * t + i / d) * c + head * d + i % d)).collect();
            let plain = backward([&of_qkv(qkv, 0), &of_qkv(qkv, 1), &of_qkv(qkv, 2), &d_o], d, causal);
            for (which, plain) in plain.iter().enumerate() {
                let fast = of_qkv(dqkv, which);
                // Of one token only the value has a gradient.
                assert!(fast.iter().any(|x| x.abs() > 0.01) || (t == 1 && which < 2), "nothing was computed");
                worst = fast.iter().zip(plain).map(|(a, b)| (a - b).abs()).fold(worst, f64::max);
            }
        }
    }
    worst
}

#[test]
fn the_backward_pass_is_that_of_plain_loops() {
    // One token; less than a tile; more than a block of 96 queries and one of 288 keys; odd widths.
    for shape in [[1, 1, 1], [5, 2, 3], [14, 3, 16], [97, 2, 20], [300, 1, 33]] {
        for causal in [true, false] {
            let exact = difference::<f64>(Isa::Portable, shape, causal);
            assert!(exact < 1e-11, "{shape:?}, causal {causal}: {exact:e}");
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                let single = difference::<f32>(isa, shape, causal);
                assert!(single < 2e-5, "{isa:?}, {shape:?}, causal {causal}: {single:e}");
            }
        }
    }
}
