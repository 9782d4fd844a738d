//! The different colours of many pixels, how often each occurs, and a tree over them.

use super::nearest::{Centre, Colour, colour_at, morton, narrow, squared_distance};
use rayon::prelude::*;
use std::ops::{AddAssign, Range};

/// Colours in a leaf of the tree, at most.
const LEAF: usize = 8;

/// Pixels of some colours: how many, and the sum of their channels. Whole numbers, so that sums are exact and do not
/// depend on the order in which threads add.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) pixels: u64,
    pub(super) channels: [u64; 3],
}

impl AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.pixels += other.pixels;
        (0..3).for_each(|i| self.channels[i] += other.channels[i]);
    }
}

/// Colours that are neighbours on the Z-order curve, the smallest box around them, and their sum.
#[derive(Debug, Clone)]
pub(super) struct Node {
    first: u32,
    end: u32,
    /// The second child; the first one follows its parent. 0 for a leaf.
    second: u32,
    pub(super) low: Colour,
    pub(super) high: Colour,
    pub(super) sum: Sum,
}

impl Node {
    /// Its colours, as places in [`Colours`].
    pub(super) fn range(&self) -> Range<usize> {
        self.first as usize..self.end as usize
    }
}

/// The different colours of many pixels with their numbers, in Z-order, and a tree over them: however many pixels
/// there are, there are at most 2²⁴ different colours, and k-means needs to look at each of them once.
#[derive(Debug, Clone)]
pub(super) struct Colours {
    pub(super) colours: Vec<Colour>,
    /// How many pixels have each colour.
    pub(super) pixels: Vec<u64>,
    /// In preorder.
    pub(super) nodes: Vec<Node>,
}

impl Colours {
    /// Counts the colours of pixels with 1 or 3 `channels`, bytes beside each other.
    pub(super) fn count(bytes: &[u8], channels: usize) -> Self {
        let mut codes: Vec<u32> = match channels {
            1 => bytes.par_iter().map(|&grey| morton([grey, 0, 0])).collect(),
            _ => bytes.par_chunks_exact(3).map(|rgb| morton([rgb[0], rgb[1], rgb[2]])).collect(),
        };
        codes.par_sort_unstable();
        let (mut colours, mut pixels) = (Vec::new(), Vec::new());
        for run in codes.chunk_by(|a, b| a == b) {
            colours.push(colour_at(run[0]));
            pixels.push(run.len() as u64);
        }
        codes.dedup();
        let mut counted = Self { colours, pixels, nodes: Vec::with_capacity(codes.len() / 2) };
        if !codes.is_empty() {
            counted.plant(&codes, 0..codes.len());
        }
        counted
    }

    /// How many different colours there are.
    pub(super) fn len(&self) -> usize {
        self.colours.len()
    }

    /// Appends the tree over a range that is not empty. Returns the place of its root.
    fn plant(&mut self, codes: &[u32], range: Range<usize>) -> usize {
        let root = self.nodes.len();
        let (first, last) = (codes[range.start], codes[range.end - 1]);
        let mut node = Node {
            first: range.start as u32,
            end: range.end as u32,
            second: 0,
            low: [255; 3],
            high: [0; 3],
            sum: Sum::default(),
        };
        self.nodes.push(node.clone());
        let mut cover = |low: Colour, high: Colour, sum: Sum| {
            node.low = [0, 1, 2].map(|i| node.low[i].min(low[i]));
            node.high = [0, 1, 2].map(|i| node.high[i].max(high[i]));
            node.sum += sum;
        };
        if range.len() <= LEAF {
            range.for_each(|at| cover(self.colours[at], self.colours[at], self.sum_of(at)));
        } else {
            // All codes of the range begin alike; this is the first bit in which they do not.
            let bit = 1 << (31 - (first ^ last).leading_zeros());
            let middle = range.start + codes[range.clone()].partition_point(|code| code & bit == 0);
            let children = [self.plant(codes, range.start..middle), self.plant(codes, middle..range.end)];
            for child in children {
                let Node { low, high, sum, .. } = self.nodes[child];
                cover(low, high, sum);
            }
            node.second = children[1] as u32;
        }
        self.nodes[root] = node;
        root
    }

    /// The sum of the pixels of one colour.
    pub(super) fn sum_of(&self, at: usize) -> Sum {
        let pixels = self.pixels[at];
        Sum { pixels, channels: self.colours[at].map(|channel| pixels * u64::from(channel)) }
    }

    /// The two children of a node; `None` for a leaf.
    pub(super) fn children(&self, node: usize) -> Option<[usize; 2]> {
        let second = self.nodes[node].second as usize;
        (second > 0).then_some([node + 1, second])
    }

    /// For each centre the sum of the pixels to which it is the nearest (the first of several), exactly: the
    /// assignment step of Lloyd's algorithm.
    pub(super) fn assign(&self, centres: &[Centre]) -> Vec<Sum> {
        self.assign_below(0, centres, (0..centres.len() as u32).collect())
    }

    /// As [`assign`](Self::assign), for the colours of a node and the candidates that may be nearest to any of them.
    fn assign_below(&self, node: usize, centres: &[Centre], mut candidates: Vec<u32>) -> Vec<Sum> {
        // Below this size a second array of sums costs more than a second thread brings.
        let worthwhile = self.nodes[node].range().len() > 4096.max(4 * centres.len());
        if let (true, Some([first, second])) = (worthwhile, self.children(node)) {
            let from = narrow(centres, self.nodes[node].low, self.nodes[node].high, &mut candidates, 0);
            let narrowed = candidates.split_off(from);
            let copy = narrowed.clone();
            let (mut sums, others) = rayon::join(
                || self.assign_below(first, centres, copy),
                || self.assign_below(second, centres, narrowed),
            );
            sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
            return sums;
        }
        let mut sums = vec![Sum::default(); centres.len()];
        self.walk(node, centres, &mut candidates, 0, &mut |found, nearest| {
            sums[nearest] += match found {
                Found::Node(node) => self.nodes[node].sum,
                Found::Colour(at) => self.sum_of(at),
            };
        });
        sums
    }

    /// For each colour the nearest centre, the first of several.
    pub(super) fn nearest(&self, centres: &[Centre]) -> Vec<u32> {
        let mut all = vec![0; self.len()];
        let mut candidates = (0..centres.len() as u32).collect();
        self.walk(0, centres, &mut candidates, 0, &mut |found, nearest| match found {
            Found::Node(node) => all[self.nodes[node].range()].fill(nearest as u32),
            Found::Colour(at) => all[at] = nearest as u32,
        });
        all
    }

    /// Tells `visit` the nearest centre of every colour below a node, of whole nodes at once where it can.
    /// `candidates[from..]` are those that may be nearest, in ascending order.
    fn walk(
        &self,
        node: usize,
        centres: &[Centre],
        candidates: &mut Vec<u32>,
        from: usize,
        visit: &mut impl FnMut(Found, usize),
    ) {
        let Node { low, high, .. } = self.nodes[node];
        let narrowed = narrow(centres, low, high, candidates, from);
        if let &[only] = &candidates[narrowed..] {
            visit(Found::Node(node), only as usize);
        } else if let Some(children) = self.children(node) {
            for child in children {
                self.walk(child, centres, candidates, narrowed, visit);
            }
        } else {
            for at in self.nodes[node].range() {
                let colour = self.colours[at].map(f64::from);
                let mut best = (f64::INFINITY, 0);
                for &candidate in &candidates[narrowed..] {
                    // Centres lie on a grid on which this is exact: see `kmeans::GRID`.
                    let distance = squared_distance(&centres[candidate as usize], colour);
                    if distance < best.0 {
                        best = (distance, candidate);
                    }
                }
                visit(Found::Colour(at), best.1 as usize);
            }
        }
        candidates.truncate(narrowed);
    }
}

/// What [`Colours::walk`] found the nearest centre of.
enum Found {
    /// All colours of a node.
    Node(usize),
    /// One colour.
    Colour(usize),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn colours_are_counted_and_every_node_sums_its_own() {
        let mut rng = Rng::keyed(1, "test", [0, 0]);
        let bytes: Vec<u8> = (0..9_000).map(|_| (rng.below(40) * 3) as u8).collect();
        let counted = Colours::count(&bytes, 3);
        let mut naive = std::collections::BTreeMap::new();
        bytes.chunks_exact(3).for_each(|rgb| *naive.entry([rgb[0], rgb[1], rgb[2]]).or_insert(0) += 1);
        let mut pairs: Vec<_> = counted.colours.iter().copied().zip(counted.pixels.iter().copied()).collect();
        pairs.sort_unstable();
        assert_eq!(pairs, naive.into_iter().collect::<Vec<_>>());
        for node in &counted.nodes {
            let mut sum = Sum::default();
            for at in node.range() {
                sum += counted.sum_of(at);
                let colour = counted.colours[at];
                assert!((0..3).all(|i| (node.low[i]..=node.high[i]).contains(&colour[i])));
            }
            assert_eq!(sum, node.sum);
        }
        assert_eq!(counted.nodes[0].sum.pixels, 3_000);
        assert_eq!(Colours::count(&[], 3).len(), 0);
        assert_eq!(Colours::count(&[5, 5, 9], 1).colours, [[5, 0, 0], [9, 0, 0]]);
    }
}
