//! Masks of images, as a network trained by BERT's objective is judged with (section 4.6): an image is looked at several times,
//! each time with other tokens masked, and each time has a vote.

use crate::rng::Rng;
use crate::train::Objective;
use serde::{Deserialize, Serialize};

/// As many masks as section 4.6 takes.
pub(super) const VOTES: usize = 5;

/// Which tokens of images are masked when their features are extracted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Masked {
    /// Each token is masked with this probability, as in pre-training.
    pub mask: f64,
    /// The seed of the masks.
    pub seed: u64,
    /// Which of several masks of the same image it is.
    pub draw: u64,
}

impl Masked {
    /// The masks of `count` images from number `first` on, `(count, T)`.
    pub(super) fn of(&self, first: usize, count: usize, context: usize, purpose: &str) -> Vec<bool> {
        let Self { mask, seed, draw } = *self;
        let images: Vec<usize> = (first..first + count).collect();
        let purpose = format!("mask of {purpose} images");
        Objective::Bert { mask }.masks(seed, &purpose, draw, &images, context).unwrap_or_default()
    }
}

/// What most of several predictions say of each image. Of classes with as many votes one is taken at random (section 4.6),
/// keyed by the seed and the image's number.
pub(super) fn modal(votes: &[Vec<u16>], seed: u64) -> Vec<u16> {
    let images = votes.first().map_or(0, Vec::len);
    let class_of = |image: usize| {
        let mut classes: Vec<u16> = votes.iter().filter_map(|vote| vote.get(image).copied()).collect();
        classes.sort_unstable();
        let runs: Vec<(usize, u16)> =
            classes.chunk_by(|a, b| a == b).map(|run| (run.len(), run[0])).collect();
        let most = runs.iter().map(|(count, _)| *count).max().unwrap_or(0);
        let tied: Vec<u16> =
            runs.into_iter().filter(|(count, _)| *count == most).map(|(_, class)| class).collect();
        tied[Rng::keyed(seed, "vote", [image as u64, 0]).below(tied.len())]
    };
    (0..images).map(class_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_votes_win_and_ties_are_broken_by_chance() {
        let votes = [vec![1, 5, 0], vec![2, 5, 0], vec![2, 6, 1], vec![3, 6, 1]];
        let found = modal(&votes, 1);
        assert_eq!(found[0], 2);
        assert!([5, 6].contains(&found[1]) && [0, 1].contains(&found[2]));
        assert_eq!(modal(&votes, 1), found);
        // Both of a tie are taken, each about half the time.
        let tied = [vec![7; 1000], vec![9; 1000]];
        let sevens = modal(&tied, 3).iter().filter(|class| **class == 7).count();
        assert!((400..600).contains(&sevens), "{sevens}");
        assert!(modal(&[], 0).is_empty());
    }

    #[test]
    fn masks_differ_by_draw_image_and_purpose() {
        let masked = Masked { mask: 0.15, seed: 1, draw: 0 };
        let all = masked.of(0, 4, 100, "test");
        assert_eq!(all.len(), 400);
        assert_eq!(masked.of(2, 1, 100, "test"), all[200..300]);
        for other in [
            Masked { draw: 1, ..masked }.of(0, 4, 100, "test"),
            Masked { seed: 2, ..masked }.of(0, 4, 100, "test"),
            masked.of(0, 4, 100, "training"),
        ] {
            assert_ne!(other, all);
        }
    }
}
