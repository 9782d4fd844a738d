//! What is written in Rust against what the processor does.

use super::*;
use crate::rng::Rng;
use crate::simd::{Isa, Kernel, LANES, Lanes, Scalar};

/// Sixteen numbers of each: a, b and c.
type Numbers = [[f32; LANES]; 3];

/// Sums of pairs made of neighbours, and the pairs themselves, in bits.
struct All(Numbers);

impl Kernel<f32> for All {
    type Output = [[u32; LANES]; 3];
    #[inline(always)]
    fn run<V: Lanes<Scalar = f32>>(self) -> Self::Output {
        // SAFETY: each array has 16 numbers.
        unsafe {
            let [a, b, c] =
                [V::load(self.0[0].as_ptr()), V::load(self.0[1].as_ptr()), V::load(self.0[2].as_ptr())];
            let (across, along) = (V::pairs(a, b), V::neighbours(b, a));
            let bits = |x: V| {
                let mut to = [0.0f32; LANES];
                x.store(to.as_mut_ptr());
                to.map(f32::to_bits)
            };
            [bits(across), bits(along), bits(across.fma_pairs(along, c))]
        }
    }
}

/// Of any size; or near enough to each other that sums cancel; or near the end of the exponents.
fn numbers(rng: &mut Rng, kind: usize) -> Numbers {
    [0, 1, 2].map(|factor| {
        std::array::from_fn(|_| {
            let bits = rng.bits() as u32;
            let x = match (kind, factor) {
                (0, _) => f32::from_bits(bits),
                (1, _) => f32::from_bits(bits & 0x807f_ffff | (124 + rng.below(6) as u32) << 23),
                // Products about 2⁻¹⁴⁰…2⁻¹²⁶, added to 2⁻¹²⁶ and little more.
                (_, 0 | 1) => f32::from_bits(bits & 0x807f_ffff | (58 + rng.below(6) as u32) << 23),
                (_, _) => f32::MIN_POSITIVE + rng.below(4) as f32 * 1e-45,
            };
            // Sums are never subnormal: see `fma`.
            if factor == 2 && x.is_subnormal() { 0.0 } else { x }
        })
    })
}

#[test]
fn it_computes_what_the_instruction_does() {
    let mut rng = Rng::keyed(1, "bf16", [0, 0]);
    for round in 0..60_000 {
        let numbers = numbers(&mut rng, round % 3);
        let expected = f32::run(Isa::Portable, All(numbers));
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let found = f32::run(isa, All(numbers));
            for (found, expected) in found.as_flattened().iter().zip(expected.as_flattened()) {
                let nan = f32::from_bits(*found).is_nan() && f32::from_bits(*expected).is_nan();
                assert!(found == expected || nan, "{isa:?}: {found:08x}, not {expected:08x}, of {numbers:?}");
            }
        }
    }
}

#[test]
fn numbers_are_rounded_to_the_nearest_and_ties_to_even() {
    let rounded = |x: f32| super::numbers(pair(x, -x));
    for (x, expected) in [
        (1.0, 1.0),
        (1.0 + 1.0 / 256.0, 1.0),               // half way: down to the even one
        (1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0), // half way: up to the even one
        (1.0 + 1.01 / 256.0, 1.0 + 2.0 / 256.0),
        (f32::MAX, f32::INFINITY),
        (f32::MIN_POSITIVE / 2.0, 0.0),
    ] {
        assert_eq!(rounded(x), [expected, -expected]);
    }
    assert!(rounded(f32::NAN).iter().all(|x| x.is_nan()));
    assert!(rounded(f32::from_bits(0x7fff_ffff)).iter().all(|x| x.is_nan()));
}

#[test]
fn what_is_below_the_smallest_normal_number_is_zero() {
    let small = f32::MIN_POSITIVE;
    let sum = |a: f32, b: f32, c: f32| fma([a; LANES], [b; LANES], [c; LANES])[0];
    let tiny = small.sqrt() / 16.0; // tiny² = 2⁻¹³⁴
    assert_eq!(sum(tiny, tiny, 0.0), 0.0);
    assert!(sum(-tiny, tiny, 0.0).is_sign_negative());
    // Rounded up to the smallest normal number in any case, or only because digits end at 2⁻¹⁴⁹.
    let below = 2f32.powi(-76);
    assert_eq!(sum(-below, below, small), small);
    assert_eq!(sum(-below * 1.5, below * 2.0, small), 0.0);
}
