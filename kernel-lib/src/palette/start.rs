//! Where k-means starts: greedy k-means++ (Arthur and Vassilvitskii, 2007).

use super::colours::Colours;
use super::nearest::Colour;
use crate::rng::Rng;
use crate::{Result, stop};
use rayon::prelude::*;

/// `k` different colours to start from; there must be as many.
///
/// The first is that of a pixel drawn at random. Each further one is that of a pixel drawn with a probability
/// proportional to its squared distance to the nearest colour chosen before; of 4 (2 + ln k) such draws, that is taken
/// which lowers the sum of those squared distances most (the first of several). scikit-learn draws 2 + ln k times; the
/// tree makes draws cheap, and four times as many lower the inertia in the end by about half a percent.
///
/// # Errors
/// [`Error::Interrupted`](crate::Error) if someone asks to stop.
pub(super) fn plus_plus(colours: &Colours, k: usize, seed: u64) -> Result<Vec<Colour>> {
    let mut rng = Rng::keyed(seed, "k-means++", [0, 0]);
    let trials = 4 * (2 + libm::log(k.max(1) as f64) as usize);
    let pixels = colours.nodes[0].sum.pixels;
    let first = colours.colours
        [draw(colours, &mut rng, pixels, |node| colours.nodes[node].sum.pixels, |at| colours.pixels[at])];
    let mut chosen = vec![first];
    let mut potential = Potential::new(colours, first);
    while chosen.len() < k {
        stop::check("k-means")?;
        let drawn: Vec<Colour> = (0..trials).map(|_| potential.draw(&mut rng)).collect();
        let gains: Vec<u64> = drawn.par_iter().map(|&colour| potential.gain(0, colour)).collect();
        let best = (0..trials).rev().max_by_key(|&trial| gains[trial]).unwrap_or(0);
        potential.choose(0, drawn[best]);
        chosen.push(drawn[best]);
    }
    Ok(chosen)
}

/// A colour drawn with a probability proportional to its weight. The weights of `nodes` are the sums of those of their
/// colours, `total` is that of the root.
fn draw(
    colours: &Colours,
    rng: &mut Rng,
    total: u64,
    nodes: impl Fn(usize) -> u64,
    weights: impl Fn(usize) -> u64,
) -> usize {
    let mut ticket = rng.below(total as usize) as u64;
    let mut node = 0;
    while let Some([first, second]) = colours.children(node) {
        let weight = nodes(first);
        node = if ticket < weight { first } else { second };
        ticket -= if node == second { weight } else { 0 };
    }
    let range = colours.nodes[node].range();
    let last = range.end - 1;
    range
        .into_iter()
        .find(|&at| {
            let weight = weights(at);
            let found = ticket < weight;
            ticket = ticket.saturating_sub(weight);
            found
        })
        .unwrap_or(last)
}

/// Squared distances to the nearest colour chosen so far. All are whole numbers: bytes differ by at most 255.
struct Potential<'a> {
    colours: &'a Colours,
    /// Of each colour, to the nearest chosen one.
    nearest: Vec<u32>,
    /// Of each node, the sum of `nearest` over its pixels.
    sum: Vec<u64>,
    /// Of each node, the largest of `nearest`.
    largest: Vec<u32>,
}

impl<'a> Potential<'a> {
    fn new(colours: &'a Colours, first: Colour) -> Self {
        let nodes = colours.nodes.len();
        let mut potential = Self {
            colours,
            nearest: vec![u32::MAX; colours.len()],
            sum: vec![0; nodes],
            largest: vec![u32::MAX; nodes],
        };
        potential.choose(0, first);
        potential
    }

    /// A colour, by squared distance.
    fn draw(&self, rng: &mut Rng) -> Colour {
        let weight = |at: usize| self.colours.pixels[at] * u64::from(self.nearest[at]);
        self.colours.colours[draw(self.colours, rng, self.sum[0], |node| self.sum[node], weight)]
    }

    /// By how much the sum below `node` falls if `chosen` is chosen.
    fn gain(&self, node: usize, chosen: Colour) -> u64 {
        if self.out_of_reach(node, chosen) {
            return 0;
        }
        if let Some(children) = self.colours.children(node) {
            return children.into_iter().map(|child| self.gain(child, chosen)).sum();
        }
        let gains = self.colours.nodes[node].range().map(|at| {
            let now = distance(self.colours.colours[at], chosen);
            self.colours.pixels[at] * u64::from(self.nearest[at].saturating_sub(now))
        });
        gains.sum()
    }

    /// Chooses a colour.
    fn choose(&mut self, node: usize, chosen: Colour) {
        if self.out_of_reach(node, chosen) {
            return;
        }
        if let Some([first, second]) = self.colours.children(node) {
            self.choose(first, chosen);
            self.choose(second, chosen);
            self.sum[node] = self.sum[first] + self.sum[second];
            self.largest[node] = self.largest[first].max(self.largest[second]);
            return;
        }
        (self.sum[node], self.largest[node]) = (0, 0);
        for at in self.colours.nodes[node].range() {
            let nearest = self.nearest[at].min(distance(self.colours.colours[at], chosen));
            self.nearest[at] = nearest;
            self.sum[node] += self.colours.pixels[at] * u64::from(nearest);
            self.largest[node] = self.largest[node].max(nearest);
        }
    }

    /// Whether no colour of the node is nearer to `chosen` than to one chosen before.
    fn out_of_reach(&self, node: usize, chosen: Colour) -> bool {
        let box_ = &self.colours.nodes[node];
        let nearest = [0, 1, 2].map(|i| chosen[i].clamp(box_.low[i], box_.high[i]));
        distance(nearest, chosen) >= self.largest[node]
    }
}

/// The squared distance of two colours, in squared grey levels.
fn distance(a: Colour, b: Colour) -> u32 {
    (0..3).map(|i| u32::from(a[i].abs_diff(b[i])).pow(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_squared_distance() {
        // One pixel at 0, four at 10, one at 20 and one at 50; with 0 chosen, the weights are 0, 400, 400, 2500.
        let colours = Colours::count(&[0, 10, 10, 10, 10, 20, 50], 1);
        let potential = Potential::new(&colours, [0; 3]);
        assert_eq!(potential.sum[0], 3_300);
        assert_eq!(potential.gain(0, [50, 0, 0]), 2_500);
        assert_eq!(potential.gain(0, [10, 0, 0]), 400 + 300 + 900);
        let mut rng = Rng::keyed(3, "test", [0, 0]);
        let n = 33_000;
        let mut counts = [0; 51];
        (0..n).for_each(|_| counts[usize::from(potential.draw(&mut rng)[0])] += 1);
        for (grey, expected) in [(0, 0.0), (10, 4_000.0), (20, 4_000.0), (50, 25_000.0)] {
            // Five standard deviations.
            assert!((f64::from(counts[grey]) - expected).abs() <= 5.0 * f64::sqrt(expected), "{counts:?}");
        }
    }

    #[test]
    fn what_the_tree_sums_is_what_a_list_sums() {
        let mut rng = Rng::keyed(5, "test", [0, 0]);
        let bytes: Vec<u8> = (0..3_000).map(|_| rng.below(256) as u8).collect();
        let colours = Colours::count(&bytes, 3);
        let chosen: Vec<Colour> = (0..40).map(|_| colours.colours[rng.below(colours.len())]).collect();
        let mut potential = Potential::new(&colours, chosen[0]);
        for i in 1..chosen.len() {
            let before = potential.sum[0];
            let gain = potential.gain(0, chosen[i]);
            potential.choose(0, chosen[i]);
            let naive: u64 = colours
                .colours
                .iter()
                .zip(&colours.pixels)
                .map(|(&colour, pixels)| {
                    pixels * u64::from(chosen[..=i].iter().map(|&c| distance(c, colour)).min().unwrap())
                })
                .sum();
            assert_eq!((potential.sum[0], before - gain), (naive, naive));
        }
    }

    #[test]
    fn a_start_is_different_colours() {
        let bytes: Vec<u8> = (0..=255).collect();
        let colours = Colours::count(&bytes, 1);
        let mut start = plus_plus(&colours, 256, 0).unwrap();
        assert_ne!(start, plus_plus(&colours, 256, 1).unwrap());
        start.sort_unstable();
        start.dedup();
        assert_eq!(start.len(), 256);
    }
}
