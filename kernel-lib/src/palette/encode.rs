//! From pixels to tokens.

use super::nearest::{Centre, Colour, SLACK, colour_at, compare_exactly, morton, narrow, squared_distance};
use super::{Palette, check_pixels};
use crate::Result;
use rayon::prelude::*;
use std::cmp::Ordering;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Pixels that a thread takes at once.
const CHUNK: usize = 4096;

impl Palette {
    /// The token of each pixel: the number of the nearest colour, the first of several. The distance is that of the
    /// original code, squared and Euclidean between `byte / 127.5 - 1` and the colour, but of real numbers: where the
    /// original's rounding errors (about 1e-7) decide, its token may be another.
    ///
    /// `pixels` are bytes, the channels of each pixel beside each other, of as many pictures as you like: that takes
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
    /// Where in `candidates` those of a box begin; those of the next box end them.
    starts: Vec<u32>,
    /// Ascending in each box.
    candidates: Vec<u16>,
}

/// Boxes are made in so many independent parts.
const PARTS: usize = 64;

impl<'a> Cells<'a> {
    /// The boxes in which there are pixels; the others have no candidates.
    fn new(palette: &'a Palette, pixels: &[u8]) -> Self {
        let centres = palette.levels();
        // Sides of 8 or 4 grey levels: more centres pay for more boxes.
        let bits = if centres.len() <= 4096 { 9 } else { 6 };
        let used: Vec<AtomicBool> = (0..1 << (24 - bits)).map(|_| AtomicBool::new(false)).collect();
        pixels.par_chunks(CHUNK * palette.channels()).for_each(|pixels| {
            for pixel in pixels.chunks_exact(palette.channels()) {
                used[(morton(colour(pixel)) >> bits) as usize].store(true, Relaxed);
            }
        });
        let used: Vec<bool> = used.into_iter().map(AtomicBool::into_inner).collect();
        let part = used.len() / PARTS;
        let parts: Vec<(Vec<u32>, Vec<u16>)> = used
            .par_chunks(part)
            .enumerate()
            .map(|(at, used)| {
                let mut lists =
                    Lists { centres: &centres, bits, ends: Vec::with_capacity(part), flat: Vec::new() };
                let mut candidates = Vec::new();
                if used.contains(&true) {
                    candidates.extend(0..centres.len() as u32);
                }
                lists.fill((at * part) as u32, used, &mut candidates, 0);
                (lists.ends, lists.flat)
            })
            .collect();
        let mut starts = Vec::with_capacity(used.len() + 1);
        let mut candidates = Vec::new();
        starts.push(0);
        for (ends, flat) in parts {
            let before = candidates.len() as u32;
            starts.extend(ends.into_iter().map(|end| before + end));
            candidates.extend(flat);
        }
        Self { palette, centres, bits, starts, candidates }
    }

    /// The centre that is nearest to a pixel.
    #[inline]
    fn nearest(&self, pixel: &[u8]) -> u16 {
        let colour = colour(pixel);
        let cell = (morton(colour) >> self.bits) as usize;
        let candidates = &self.candidates[self.starts[cell] as usize..self.starts[cell + 1] as usize];
        if let &[only] = candidates {
            return only;
        }
        let colour = colour.map(f64::from);
        let mut best = (f64::INFINITY, 0);
        for &candidate in candidates {
            let distance = squared_distance(&self.centres[usize::from(candidate)], colour);
            if distance < best.0 - SLACK
                || distance < best.0 + SLACK && self.is_nearer(pixel, candidate, best.1)
            {
                best = (distance, candidate);
            }
        }
        best.1
    }

    /// Whether `candidate` is nearer to a pixel than `best`, where rounding might hide it.
    #[cold]
    fn is_nearer(&self, pixel: &[u8], candidate: u16, best: u16) -> bool {
        let [candidate, best] = [candidate, best].map(|at| self.palette.colour(usize::from(at)));
        compare_exactly(pixel, candidate, best) == Ordering::Less
    }
}

/// The boxes of one part, being made.
struct Lists<'a> {
    centres: &'a [Centre],
    bits: u32,
    ends: Vec<u32>,
    flat: Vec<u16>,
}

impl Lists<'_> {
    /// Appends the boxes from number `first` on, a power of two of them. `candidates[from..]` are those for all.
    fn fill(&mut self, first: u32, used: &[bool], candidates: &mut Vec<u32>, from: usize) {
        if !used.contains(&true) {
            self.ends.resize(self.ends.len() + used.len(), self.flat.len() as u32);
            return;
        }
        let (low, high) = (first << self.bits, ((first + used.len() as u32) << self.bits) - 1);
        let narrowed = narrow(self.centres, colour_at(low), colour_at(high), candidates, from);
        if used.len() == 1 {
            self.flat.extend(candidates[narrowed..].iter().map(|&candidate| candidate as u16));
            self.ends.push(self.flat.len() as u32);
        } else {
            let half = used.len() / 2;
            self.fill(first, &used[..half], candidates, narrowed);
            self.fill(first + half as u32, &used[half..], candidates, narrowed);
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
