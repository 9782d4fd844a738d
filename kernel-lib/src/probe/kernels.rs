//! The arithmetic of the probe: loops over rows, eight and more at a time.
//!
//! A block holds [`ROWS`] rows (images) *feature by feature*, so that a vector of the processor holds one feature of
//! several images, whatever the number of classes. Features are f32; they are widened when they are loaded, and every
//! product and sum is f64.
//!
//! These are loops of plain Rust, which [`Isa::vectorise`] compiles for each processor. Products are fused with sums
//! (`mul_add`, in software on a processor without that instruction), but in [`dot`], and every order of summation is fixed. So the bits of the
//! result are the same on every processor.

use crate::simd::{Isa, Loops};

/// Rows of one block.
pub(super) const ROWS: usize = 256;
/// Features that are taken together where logits are summed.
const FEATURES: usize = 4;
/// Partial sums of a sum over rows; added as a tree at the end.
const LANES: usize = 8;
/// Columns (classes) that are taken together; for sums over rows twice as many where the processor has 32 registers.
const COLUMNS: usize = 5;
const MANY_COLUMNS: usize = 2 * COLUMNS;

/// Logits of a block: `x` (F, ROWS) and `weights` (F + 1, K), whose last row is the intercepts, give `logits` (K, ROWS).
pub(super) fn logits(x: &[f32], weights: &[f64], logits: &mut [f64]) {
    Isa::best().vectorise(Logits { x, weights, logits });
}

/// Adds xᵀ y, the sum over a block's rows: `x` (F, ROWS) and `y` (K, ROWS) to `sums` (F, K).
pub(super) fn add_products(x: &[f32], y: &[f64], sums: &mut [f64]) {
    Isa::best().vectorise(AddProducts { x, y, sums });
}

/// Turns logits (K, ROWS) into probabilities; returns the logarithm of the sum of exponentials of each row.
pub(super) fn softmax(logits: &mut [f64]) -> [f64; ROWS] {
    Isa::best().vectorise(Softmax { logits })
}

struct Logits<'a> {
    x: &'a [f32],
    weights: &'a [f64],
    logits: &'a mut [f64],
}

impl Loops for Logits<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self, _: bool) {
        let Self { x, weights, logits } = self;
        let (columns, _) = x.as_chunks::<ROWS>();
        let (logits, _) = logits.as_chunks_mut::<ROWS>();
        let classes = logits.len();
        logits.as_flattened_mut().fill(0.0);
        // A few features at once, so that a logit that is loaded is added to so many times.
        let (groups, rest) = columns.as_chunks::<FEATURES>();
        let (of_groups, of_rest) = weights.split_at(groups.len() * FEATURES * classes);
        for (columns, weights) in groups.iter().zip(of_groups.chunks_exact(FEATURES * classes)) {
            add_features(columns, weights, logits);
        }
        for (column, weights) in rest.iter().zip(of_rest.chunks_exact(classes)) {
            add_features(std::array::from_ref(column), weights, logits);
        }
        let intercepts = &weights[columns.len() * classes..];
        for (to, intercept) in logits.iter_mut().zip(intercepts) {
            to.iter_mut().for_each(|logit| *logit += intercept);
        }
    }
}

/// Adds what M features say, with weights (M, K), to the logits (K, ROWS).
#[inline(always)]
fn add_features<const M: usize>(x: &[[f32; ROWS]; M], weights: &[f64], logits: &mut [[f64; ROWS]]) {
    let classes = logits.len();
    let (groups, rest) = logits.as_chunks_mut::<COLUMNS>();
    let mut k = 0;
    for logits in groups {
        add_to(x, std::array::from_fn(|m| std::array::from_fn(|n| weights[m * classes + k + n])), logits);
        k += COLUMNS;
    }
    for logits in rest {
        add_to(x, std::array::from_fn(|m| [weights[m * classes + k]]), std::array::from_mut(logits));
        k += 1;
    }
}

/// The same for N classes, whose sums are held in registers while the features are looked at.
#[inline(always)]
fn add_to<const M: usize, const N: usize>(
    x: &[[f32; ROWS]; M],
    weights: [[f64; N]; M],
    logits: &mut [[f64; ROWS]; N],
) {
    for from in (0..ROWS).step_by(LANES) {
        let mut sums: [[f64; LANES]; N] =
            std::array::from_fn(|n| std::array::from_fn(|lane| logits[n][from + lane]));
        for (x, weights) in x.iter().zip(&weights) {
            let x: [f64; LANES] = std::array::from_fn(|lane| f64::from(x[from + lane]));
            for (sums, weight) in sums.iter_mut().zip(weights) {
                for (sum, x) in sums.iter_mut().zip(&x) {
                    *sum = x.mul_add(*weight, *sum);
                }
            }
        }
        for (to, sums) in logits.iter_mut().zip(&sums) {
            to[from..from + LANES].copy_from_slice(sums);
        }
    }
}

struct AddProducts<'a> {
    x: &'a [f32],
    y: &'a [f64],
    sums: &'a mut [f64],
}

struct Softmax<'a> {
    logits: &'a mut [f64],
}

impl Loops for AddProducts<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self, many_registers: bool) {
        let Self { x, y, sums } = self;
        let (x, _) = x.as_chunks::<ROWS>();
        let (y, _) = y.as_chunks::<ROWS>();
        let classes = y.len();
        // Two features at once, so that a loaded `y` is used twice.
        for (x, sums) in x.chunks(2).zip(sums.chunks_mut(2 * classes)) {
            let mut k = 0;
            while k < classes {
                let step = match classes - k {
                    MANY_COLUMNS.. if many_registers => MANY_COLUMNS,
                    COLUMNS.. => COLUMNS,
                    _ => 1,
                };
                match (x, step) {
                    ([a, b], MANY_COLUMNS) => {
                        products_of::<2, MANY_COLUMNS>([a, b], &y[k..], classes, &mut sums[k..]);
                    }
                    ([a], MANY_COLUMNS) => {
                        products_of::<1, MANY_COLUMNS>([a], &y[k..], classes, &mut sums[k..])
                    }
                    ([a, b], COLUMNS) => products_of::<2, COLUMNS>([a, b], &y[k..], classes, &mut sums[k..]),
                    ([a, b], _) => products_of::<2, 1>([a, b], &y[k..], classes, &mut sums[k..]),
                    ([a], COLUMNS) => products_of::<1, COLUMNS>([a], &y[k..], classes, &mut sums[k..]),
                    ([a], _) => products_of::<1, 1>([a], &y[k..], classes, &mut sums[k..]),
                    _ => {}
                }
                k += step;
            }
        }
    }
}

#[inline(always)]
fn products_of<const M: usize, const N: usize>(
    x: [&[f32; ROWS]; M],
    y: &[[f64; ROWS]],
    classes: usize,
    sums: &mut [f64],
) {
    let Some(y) = y.first_chunk::<N>() else { return };
    let mut partial = [[[0.0; LANES]; N]; M];
    for from in (0..ROWS).step_by(LANES) {
        let y: [[f64; LANES]; N] = std::array::from_fn(|n| std::array::from_fn(|lane| y[n][from + lane]));
        for (x, partial) in x.iter().zip(&mut partial) {
            let x: [f64; LANES] = std::array::from_fn(|lane| f64::from(x[from + lane]));
            for (y, partial) in y.iter().zip(partial) {
                for lane in 0..LANES {
                    partial[lane] = x[lane].mul_add(y[lane], partial[lane]);
                }
            }
        }
    }
    for (m, partial) in partial.iter().enumerate() {
        for (n, partial) in partial.iter().enumerate() {
            sums[m * classes + n] += tree(partial);
        }
    }
}

/// The sum of eight numbers, as a tree.
#[inline(always)]
fn tree(lanes: &[f64; LANES]) -> f64 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

impl Loops for Softmax<'_> {
    type Output = [f64; ROWS];
    #[inline(always)]
    fn run(self, _: bool) -> [f64; ROWS] {
        let Self { logits } = self;
        let (classes, _) = logits.as_chunks_mut::<ROWS>();
        let mut largest = [f64::NEG_INFINITY; ROWS];
        for logits in classes.iter() {
            for (largest, logit) in largest.iter_mut().zip(logits) {
                *largest = if *logit > *largest { *logit } else { *largest };
            }
        }
        let mut sums = [0.0; ROWS];
        for logits in classes.iter_mut() {
            for ((logit, largest), sum) in logits.iter_mut().zip(&largest).zip(&mut sums) {
                *logit = exp(*logit - largest);
                *sum += *logit;
            }
        }
        for logits in classes.iter_mut() {
            for (p, sum) in logits.iter_mut().zip(&sums) {
                *p /= sum;
            }
        }
        std::array::from_fn(|row| largest[row] + libm::log(sums[row]))
    }
}

/// eˣ for x ≤ 0, to about one unit in the last place. Without a branch or a call, so that it runs on vectors; the
/// system's differs in the last bit between machines.
#[inline(always)]
fn exp(x: f64) -> f64 {
    // Added to a small number, this rounds it to a whole one, which then stands in the last bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    // ln 2 in two parts; the first has so few bits that its product with n is exact.
    const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    // 1 / n! from n = 13 down: the rest of the series is below 1e-17 for |r| <= ln 2 / 2.
    const SERIES: [f64; 14] = [
        1.0 / 6_227_020_800.0,
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ];
    let x = if x > -700.0 { x } else { -700.0 };
    let rounded = x * std::f64::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let series = SERIES.iter().fold(0.0_f64, |sum, c| sum.mul_add(r, *c));
    // 2ⁿ, by its bits.
    series * f64::from_bits(rounded.to_bits().wrapping_add(1023) << 52)
}

/// The inner product, with eight partial sums.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut partial = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            partial[lane] += a[lane] * b[lane];
        }
    }
    a_rest.iter().zip(b_rest).fold(tree(&partial), |sum, (a, b)| sum + a * b)
}

/// Adds `factor` times x to y.
pub(super) fn add_scaled(factor: f64, x: &[f64], y: &mut [f64]) {
    Isa::best().vectorise(AddScaled { factor, x, y });
}

struct AddScaled<'a> {
    factor: f64,
    x: &'a [f64],
    y: &'a mut [f64],
}

impl Loops for AddScaled<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self, _: bool) {
        let Self { factor, x, y } = self;
        y.iter_mut().zip(x).for_each(|(y, x)| *y = x.mul_add(factor, *y));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn exponentials_are_right_to_the_last_digits() {
        let mut worst = 0.0_f64;
        for i in 0..200_000 {
            let x = -f64::from(i) * 0.003_5;
            worst = worst.max((exp(x) / libm::exp(x) - 1.0).abs());
        }
        assert!(worst < 4e-16, "{worst:e}");
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1e300) < 1e-300 && exp(f64::NEG_INFINITY) < 1e-300);
    }

    #[test]
    fn blocks_are_what_their_definition_says() {
        let mut rng = Rng::keyed(1, "test", [0, 0]);
        for (width, classes) in [(1, 1), (3, 2), (7, 5), (8, 13), (4, 27)] {
            let x: Vec<f32> = (0..width * ROWS).map(|_| rng.normal() as f32).collect();
            let weights: Vec<f64> = (0..(width + 1) * classes).map(|_| rng.normal()).collect();
            let mut y = vec![0.0; classes * ROWS];
            logits(&x, &weights, &mut y);
            let plain = |k: usize, row: usize| {
                (0..width).map(|f| f64::from(x[f * ROWS + row]) * weights[f * classes + k]).sum::<f64>()
                    + weights[width * classes + k]
            };
            for k in 0..classes {
                for row in 0..ROWS {
                    assert!((y[k * ROWS + row] - plain(k, row)).abs() < 1e-12);
                }
            }
            let mut sums = vec![1.0; width * classes];
            add_products(&x, &y, &mut sums);
            for f in 0..width {
                for k in 0..classes {
                    let plain: f64 =
                        (0..ROWS).map(|row| f64::from(x[f * ROWS + row]) * y[k * ROWS + row]).sum();
                    assert!((sums[f * classes + k] - 1.0 - plain).abs() < 1e-10);
                }
            }
            let before = y.clone();
            let log_sums = softmax(&mut y);
            for row in 0..ROWS {
                let total: f64 = (0..classes).map(|k| y[k * ROWS + row]).sum();
                assert!((total - 1.0).abs() < 1e-14);
                let log_sum = (0..classes).map(|k| before[k * ROWS + row].exp()).sum::<f64>().ln();
                assert!((log_sums[row] - log_sum).abs() < 1e-12);
            }
        }
    }

    /// On every processor, whatever it has.
    #[test]
    fn all_instructions_give_the_same_bits() {
        let mut rng = Rng::keyed(2, "test", [0, 0]);
        let x: Vec<f32> = (0..9 * ROWS).map(|_| rng.normal() as f32).collect();
        let weights: Vec<f64> = (0..10 * 17).map(|_| rng.normal()).collect();
        let all = |isa: Isa| {
            let (mut logits, mut sums) = (vec![0.0; 17 * ROWS], vec![0.0; 9 * 17]);
            isa.vectorise(Logits { x: &x, weights: &weights, logits: &mut logits });
            let log_sums = isa.vectorise(Softmax { logits: &mut logits });
            isa.vectorise(AddProducts { x: &x, y: &logits, sums: &mut sums });
            (logits, log_sums, sums)
        };
        let portable = all(Isa::Portable);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            assert!(all(isa) == portable, "{isa:?}");
        }
    }
}
