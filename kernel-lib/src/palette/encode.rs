//! From pixels to tokens.

use super::nearest::{Centre, Colour, SLACK, colour_at, compare_exactly, morton, narrow, squared_distance};
use super::{Palette, check_pixels};
use crate::Result;
use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Pixels that a thread takes at once.
const CHUNK: usize = 4096;

impl Palette {
    /// The token of each pixel: the number of the nearest colour, the first of several. The distance is that of the
    /// original code, squared and Euclidean between `byte / 127.5 - 1` and the colour, but of real numbers: where the
    /// original's rounding errors (about 1e-7) decide, its token may be another.
    ///
    /// `pixels` are bytes, the channels of each pixel beside each other, of as many images as you like: that takes
    /// less time than one by one, since candidates are found once for each small box of colours. Any number of threads
    /// gives the same tokens.
    ///
    /// # Errors
    /// If the bytes are not whole pixels.
    pub fn encode(&self, pixels: &[u8]) -> Result<Vec<u16>> {
        check_pixels(pixels, self.channels())?;
        let cells = Cells::new(self, pixels);
        let mut tokens = vec![0; pixels.len() / self.channels()];
        tokens.par_chunks_mut(CHUNK).zip(pixels.par_chunks(CHUNK * self.channels())).for_each(
            |(tokens, pixels)| {
                for (token, pixel) in tokens.iter_mut().zip(pixels.chunks_exact(self.channels())) {
                    *token = cells.nearest(pixel);
                }
            },
        );
        Ok(tokens)
    }
}

/// The cube of all colours in boxes, each with the centres that may be nearest to a colour in it.
struct Cells<'a> {
    palette: &'a Palette,
    centres: Vec<Centre>,
    /// A box holds the colours that share all but the last `bits` bits of their place on the Z-order curve.
    bits: u32,
    /// Where in `candidates` those of a box begin and end.
    ranges: Vec<[u32; 2]>,
    /// Ascending in each box.
    candidates: Vec<u16>,
}

/// Boxes whose candidates a thread finds at once.
const BOXES: usize = 256;

impl<'a> Cells<'a> {
    /// The boxes in which there are pixels; the others have no candidates.
    fn new(palette: &'a Palette, pixels: &[u8]) -> Self {
        let centres = palette.levels();
        // Sides of 8 or 4 grey levels: more centres pay for more boxes.
        let bits = if centres.len() <= 4096 { 9 } else { 6 };
        let boxes = 1 << (24 - bits);
        let used = used(palette.channels(), pixels, bits, boxes);
        let lists: Vec<Lists> = used
            .par_chunks(BOXES)
            .map(|codes| {
                let mut lists = Lists::default();
                lists.fill(&centres, codes, bits, &mut (0..centres.len() as u32).collect(), 0);
                lists
            })
            .collect();
        let (mut ranges, mut candidates) = (vec![[0; 2]; boxes], Vec::new());
        let mut codes = used.into_iter();
        for list in lists {
            let (before, mut start) = (candidates.len() as u32, 0);
            for (end, code) in list.ends.into_iter().zip(codes.by_ref()) {
                ranges[code as usize] = [before + start, before + end];
                start = end;
            }
            candidates.extend(list.flat);
        }
        Self { palette, centres, bits, ranges, candidates }
    }

    /// The centre that is nearest to a pixel.
    #[inline]
    fn nearest(&self, pixel: &[u8]) -> u16 {
        let colour = colour(pixel);
        let [start, end] = self.ranges[(morton(colour) >> self.bits) as usize];
        let candidates = &self.candidates[start as usize..end as usize];
        let colour = colour.map(f64::from);
        let (mut first, mut second, mut best) = (f64::INFINITY, f64::INFINITY, 0);
        for &candidate in candidates {
            let distance = squared_distance(&self.centres[usize::from(candidate)], colour);
            second = second.min(first.max(distance));
            best = if distance < first { candidate } else { best };
            first = first.min(distance);
        }
        if second - first < SLACK { self.nearest_exactly(pixel, candidates) } else { best }
    }

    /// As [`nearest`](Self::nearest), where rounding might hide which one it is.
    #[cold]
    fn nearest_exactly(&self, pixel: &[u8], candidates: &[u16]) -> u16 {
        let centre = |at: u16| self.palette.colour(usize::from(at));
        let nearer =
            |best, at| if compare_exactly(pixel, centre(at), centre(best)).is_lt() { at } else { best };
        candidates.iter().copied().reduce(nearer).unwrap_or(0)
    }
}

/// The boxes in which there are pixels, ascending.
fn used(channels: usize, pixels: &[u8], bits: u32, boxes: usize) -> Vec<u32> {
    let seen: Vec<AtomicBool> = (0..boxes).map(|_| AtomicBool::new(false)).collect();
    let chunks = pixels.par_chunks(CHUNK * channels).flat_map_iter(|pixels| {
        let codes = pixels.chunks_exact(channels).map(|pixel| morton(colour(pixel)) >> bits);
        // Most have been seen, and looking costs less than swapping.
        codes.filter(|&code| {
            let seen = &seen[code as usize];
            !seen.load(Relaxed) && !seen.swap(true, Relaxed)
        })
    });
    let mut used: Vec<u32> = chunks.collect();
    used.sort_unstable();
    used
}

/// The candidates of some boxes, one list after the other.
#[derive(Default)]
struct Lists {
    flat: Vec<u16>,
    /// Where each list ends.
    ends: Vec<u32>,
}

impl Lists {
    /// Appends the lists of boxes, whose `codes` ascend. `candidates[from..]` are those for all of them.
    fn fill(&mut self, centres: &[Centre], codes: &[u32], bits: u32, candidates: &mut Vec<u32>, from: usize) {
        let (Some(first), Some(last)) = (codes.first(), codes.last()) else { return };
        // All codes begin alike; the rest of their bits spans the box around them.
        let differing = u32::BITS - (first ^ last).leading_zeros();
        let low = first >> differing << differing << bits;
        let high = low | ((1 << (differing + bits)) - 1);
        let narrowed = narrow(centres, colour_at(low), colour_at(high), candidates, from);
        if codes.len() == 1 {
            self.flat.extend(candidates[narrowed..].iter().map(|&candidate| candidate as u16));
            self.ends.push(self.flat.len() as u32);
        } else {
            let half = codes.partition_point(|code| code >> (differing - 1) & 1 == 0);
            self.fill(centres, &codes[..half], bits, candidates, narrowed);
            self.fill(centres, &codes[half..], bits, candidates, narrowed);
        }
        candidates.truncate(narrowed);
    }
}

/// The channels of a pixel as a colour.
#[inline]
fn colour(pixel: &[u8]) -> Colour {
    match *pixel {
        [red, green, blue] => [red, green, blue],
        [grey, ..] => [grey, 0, 0],
        [] => [0; 3],
    }
}
