//! Which images a step sees.

use crate::rng::Rng;
use crate::{Error, Result, memory};

/// The order of images: all of them once in each epoch, each epoch in another order. What a step sees is a function
/// of the seed and the step alone, so that a run can be continued anywhere.
///
/// Steps take their images from epoch after epoch without a gap: a batch at the seam has the last images of one
/// epoch and the first of the next, and no image is left out.
#[derive(Debug, Clone)]
pub struct Batches {
    images: usize,
    batch: usize,
    seed: u64,
    /// The epoch whose order is at hand.
    at_hand: Option<(u64, Vec<usize>)>,
}

impl Batches {
    /// Batches of `batch` of so many `images`.
    ///
    /// # Errors
    /// If there are no images or a batch is to have none, or more than the machine has memory for.
    pub fn new(images: usize, batch: usize, seed: u64) -> Result<Self> {
        if images == 0 || batch == 0 {
            return Err(Error::invalid(format!("{images} images cannot be had in batches of {batch}")));
        }
        memory::check(&format!("a batch of {batch} images"), &[batch, size_of::<usize>()])?;
        Ok(Self { images, batch, seed, at_hand: None })
    }

    /// Steps in which every image is seen once.
    pub fn epoch(&self) -> u64 {
        self.images.div_ceil(self.batch) as u64
    }

    /// The images of a step.
    pub fn of(&mut self, step: u64) -> Vec<usize> {
        let first = u128::from(step) * self.batch as u128;
        let mut of_step = Vec::with_capacity(self.batch);
        for index in (0..self.batch).map(|i| first + i as u128) {
            let (epoch, index) = (index / self.images as u128, index % self.images as u128);
            of_step.push(self.order(epoch as u64)[index as usize]);
        }
        of_step
    }

    fn order(&mut self, epoch: u64) -> &[usize] {
        let (images, seed) = (self.images, self.seed);
        let order = || (epoch, Rng::keyed(seed, "order", [epoch, 0]).permutation(images));
        if self.at_hand.as_ref().is_none_or(|(at_hand, _)| *at_hand != epoch) {
            self.at_hand = None;
        }
        &self.at_hand.get_or_insert_with(order).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_has_every_image_once_in_another_order() {
        let mut batches = Batches::new(10, 4, 1).unwrap();
        assert_eq!(batches.epoch(), 3);
        let seen: Vec<usize> = (0..5).flat_map(|step| batches.of(step)).collect();
        let (first, second) = seen.split_at(10);
        assert_ne!(first, second);
        for epoch in [first, second] {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_step_is_the_same_wherever_one_begins() {
        let mut from_start = Batches::new(7, 3, 5).unwrap();
        let all: Vec<_> = (0..40).map(|step| from_start.of(step)).collect();
        for step in [39, 0, 17, 2] {
            assert_eq!(Batches::new(7, 3, 5).unwrap().of(step), all[step as usize]);
            assert_eq!(from_start.of(step), all[step as usize]);
        }
        assert_ne!(Batches::new(7, 3, 6).unwrap().of(0), all[0]);
        // More in a batch than there are.
        assert_eq!(Batches::new(2, 5, 1).unwrap().of(0).len(), 5);
        assert!(Batches::new(0, 5, 1).is_err());
        for batch in [usize::MAX, 1 << 50] {
            let error = Batches::new(7, batch, 5).unwrap_err();
            assert!(matches!(error, Error::Memory { .. }), "{error}");
            assert!(error.to_string().contains(&format!("a batch of {batch} images")), "{error}");
        }
    }
}
