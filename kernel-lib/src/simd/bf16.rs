//! bf16: the upper half of an `f32`, 8 significant bits and all its range.
//!
//! Products of bf16 numbers are added to sums in `f32` by one instruction of AVX-512 BF16, `VDPBF16PS`, two products to
//! each sum. Here is what it does, number by number, for processors without it: the same bits, several times slower (and `x86.rs` says the same in vectors). Two
//! numbers that follow each other along k are a *pair*: the even one in the low half, the odd one in the high half of
//! the place of one `f32`.

/// Rounds to bf16, to nearest, ties to even. Subnormal numbers become zeros, and NaN stays NaN.
#[inline(always)]
fn round(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let bits = if x.is_nan() {
        bits | 0x40_0000
    } else if bits & 0x7f80_0000 == 0 {
        bits & 0x8000_0000
    } else {
        rounded
    };
    bits >> 16
}

/// A pair of two numbers.
#[inline(always)]
pub(super) fn pair(even: f32, odd: f32) -> u32 {
    round(odd) << 16 | round(even)
}

/// The even and the odd number of a pair.
#[inline(always)]
pub(super) fn numbers(pair: u32) -> [f32; 2] {
    [f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000)]
}

/// What is rounded to the smallest normal number although it is below it: as if exponents had no end, this is where
/// numbers begin that are rounded up to it. 2⁻¹²⁶ - 2⁻¹⁵¹.
const ROUNDED_UP: f64 = f32::MIN_POSITIVE as f64 * (1.0 - 1.0 / (1 << 25) as f64);

/// a b + c, rounded once; subnormal results become zeros. Neither a, b nor c is subnormal, for none is ever made.
#[inline(always)]
pub(super) fn fma<const N: usize>(a: [f32; N], b: [f32; N], c: [f32; N]) -> [f32; N] {
    let (mut sums, mut at_border) = (c, false);
    for i in 0..N {
        let sum = a[i].mul_add(b[i], c[i]);
        at_border |= sum.abs() == f32::MIN_POSITIVE;
        let zero = f32::from_bits(sum.to_bits() & 0x8000_0000);
        sums[i] = if sum.abs() < f32::MIN_POSITIVE { zero } else { sum };
    }
    if at_border {
        // The instruction asks whether a result is subnormal before its last bits are cut off for being so.
        for i in 0..N {
            let exact = f64::from(a[i]) * f64::from(b[i]) + f64::from(c[i]);
            if sums[i].abs() == f32::MIN_POSITIVE && exact.abs() < ROUNDED_UP {
                sums[i] = 0f32.copysign(sums[i]);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests;
