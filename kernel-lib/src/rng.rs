//! Chance, seeded and keyed: a random number is a function of a seed, of what it is for, and of two counters.
//!
//! Nothing in this library draws from a hidden stream. Because the numbers for image 7 at step 300 depend on
//! nothing but (seed, purpose, 300, 7), they are the same whether the step is computed by one thread or eight,
//! after a restart, or in another order.
//!
//! ```
//! use igpt::rng::Rng;
//!
//! let mut rng = Rng::keyed(42, "crop", [300, 7]);
//! let first = rng.below(9);
//! assert_eq!(first, Rng::keyed(42, "crop", [300, 7]).below(9));
//! ```

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A generator of random numbers: ChaCha with 8 rounds. Its numbers are the same on every machine.
#[derive(Debug, Clone)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// The generator of this seed for this purpose and these counters (a step and an image, say; zeros if there
    /// is nothing to count). Different purposes, and different counters, are independent.
    #[must_use]
    pub fn keyed(seed: u64, purpose: &str, counters: [u64; 2]) -> Self {
        // FNV-1a: the cipher does the mixing, this only has to tell purposes apart.
        let purpose = purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        let mut key = [0; 32];
        for (part, word) in key.chunks_exact_mut(8).zip([seed, purpose, counters[0], counters[1]]) {
            part.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in [0, 1), with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A whole number in 0..n, each equally likely; 0 if n is 0.
    pub fn below(&mut self, n: usize) -> usize {
        let n = n as u64;
        // Lemire: the high half of a product is uniform once the few low halves that are too many are drawn again.
        let surplus = n.wrapping_neg().checked_rem(n).unwrap_or(0);
        loop {
            let product = u128::from(self.bits()) * u128::from(n);
            if product as u64 >= surplus {
                return (product >> 64) as usize;
            }
        }
    }

    /// A number from the normal distribution with mean 0 and variance 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        // Not the system's logarithm and cosine: those differ in the last bit between machines.
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        radius * libm::cos(std::f64::consts::TAU * self.uniform())
    }

    /// Puts the items into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// The numbers 0..n in a random order.
    #[must_use]
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_depend_on_every_part_of_the_key() {
        let first = |seed, purpose, counters| Rng::keyed(seed, purpose, counters).bits();
        let all = [
            first(1, "a", [0, 0]),
            first(2, "a", [0, 0]),
            first(1, "b", [0, 0]),
            first(1, "a", [1, 0]),
            first(1, "a", [0, 1]),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
        // Whoever changes these numbers changes every recorded result.
        assert_eq!(first(1, "a", [0, 0]), 17045623043891573648);
    }

    #[test]
    fn distributions_have_their_moments() {
        let mut rng = Rng::keyed(7, "test", [0, 0]);
        let n = 100_000;
        let normals: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
        let moment = |power| normals.iter().map(|x| x.powi(power)).sum::<f64>() / f64::from(n);
        // Five standard errors.
        for (power, value, error) in
            [(1, 0.0, 1.0), (2, 1.0, 2f64.sqrt()), (3, 0.0, 15f64.sqrt()), (4, 3.0, 96f64.sqrt())]
        {
            assert!(
                (moment(power) - value).abs() < 5.0 * error / f64::from(n).sqrt(),
                "{power}: {}",
                moment(power)
            );
        }
        let mut counts = [0; 7];
        (0..n).for_each(|_| counts[rng.below(7)] += 1);
        let chi2: f64 =
            counts.iter().map(|c| (f64::from(*c) - f64::from(n) / 7.0).powi(2) / (f64::from(n) / 7.0)).sum();
        assert!(chi2 < 33.0, "{chi2}"); // p = 1e-5 with 6 degrees of freedom
        assert!((0..n).all(|_| (0.0..1.0).contains(&rng.uniform())));
        assert_eq!((rng.below(0), rng.below(1)), (0, 0));
    }

    #[test]
    fn a_permutation_has_every_number_once() {
        let mut order = Rng::keyed(1, "test", [0, 0]).permutation(100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
