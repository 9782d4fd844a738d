//! Pictures as tokens in one small file, for a machine that has neither the data set nor a network to fetch it.
//!
//! A line of JSON ([`Header`]), then for each split a byte a label, and its tokens, packed.
//!
//! **Packing.** Of 9 bits that a token has, most say what its neighbours have said. The colours that are nearest to the mean
//! of the pixel to the left and the one above come first in an order of all colours; what is written is a token's place in
//! that order, which mostly is small. Places are then deflated: the lower bytes of all, and the upper ones.

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use igpt::palette::Palette;
use igpt::rng::Rng;
use igpt::train::Examples;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;

pub type Any<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What is known of the images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// `CIFAR-10`.
    pub name: String,
    /// The data set's checksum.
    pub sha256: String,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Pictures are squares.
    pub side: usize,
    pub channels: usize,
    /// The palette, `(V, channels)`, and the seed that it was fitted with.
    pub centres: Vec<f32>,
    pub palette_seed: u64,
    /// Pictures, and bytes of the packed tokens, of the training and the test split.
    pub splits: [(usize, usize); 2],
}

/// Pictures `(N, T)` and their classes `(N)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    pub tokens: Vec<u16>,
    pub labels: Vec<u16>,
}

/// A data set as tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Tokenized {
    pub header: Header,
    pub train: Labelled,
    pub test: Labelled,
}

impl Tokenized {
    pub fn palette(&self) -> igpt::Result<Palette> {
        Palette::new(self.header.channels, self.header.centres.clone())
    }

    pub fn write(&mut self, path: &Path) -> Any<()> {
        let order = Order::new(&self.palette()?);
        let mut body = Vec::new();
        for (split, size) in [&self.train, &self.test].into_iter().zip(&mut self.header.splits) {
            for label in &split.labels {
                body.push(u8::try_from(*label)?);
            }
            let packed = order.pack(&split.tokens, self.header.side)?;
            *size = (split.labels.len(), packed.len());
            body.extend(packed);
        }
        let mut file = serde_json::to_vec(&self.header)?;
        file.push(b'\n');
        file.extend(body);
        Ok(std::fs::write(path, file)?)
    }

    pub fn read(path: &Path) -> Any<Self> {
        let file = std::fs::File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut file = BufReader::new(file);
        let mut line = String::new();
        file.read_line(&mut line)?;
        let header: Header = serde_json::from_str(&line)?;
        let order = Order::new(&Palette::new(header.channels, header.centres.clone())?);
        let mut splits = Vec::new();
        for (count, bytes) in header.splits {
            let (mut labels, mut packed) = (vec![0; count], vec![0; bytes]);
            file.read_exact(&mut labels)?;
            file.read_exact(&mut packed)?;
            let tokens = order.unpack(&packed, count, header.side)?;
            splits.push(Labelled { tokens, labels: labels.into_iter().map(u16::from).collect() });
        }
        let [train, test] = <[Labelled; 2]>::try_from(splits).map_err(|_| "two splits")?;
        Ok(Self { header, train, test })
    }
}

/// The order of colours that neighbours make likely.
struct Order {
    colours: usize,
    /// `(V, V)`: the colour nearest to the mean of two.
    between: Vec<u16>,
    /// `(V, V)`: all colours by their distance from one, and each colour's place there.
    nearest: Vec<u16>,
    places: Vec<u16>,
}

impl Order {
    fn new(palette: &Palette) -> Self {
        let (v, channels) = (palette.len(), palette.channels());
        let centre = |colour: usize| &palette.centres()[colour * channels..][..channels];
        // In f64, where sums of a few f32 have no order to depend on.
        let distance = |at: &[f64], colour: usize| -> f64 {
            at.iter().zip(centre(colour)).map(|(a, b)| (a - f64::from(*b)).powi(2)).sum()
        };
        let row = |a: usize| {
            let at: Vec<f64> = centre(a).iter().map(|x| f64::from(*x)).collect();
            let mut order: Vec<usize> = (0..v).collect();
            order.sort_by(|x, y| distance(&at, *x).total_cmp(&distance(&at, *y)).then(x.cmp(y)));
            let mut places = vec![0; v];
            order.iter().enumerate().for_each(|(place, colour)| places[*colour] = place as u16);
            let between = (0..v).map(|b| {
                let mean: Vec<f64> =
                    at.iter().zip(centre(b)).map(|(x, y)| 0.5 * (x + f64::from(*y))).collect();
                let best = (0..v).min_by(|x, y| distance(&mean, *x).total_cmp(&distance(&mean, *y)));
                best.unwrap_or(0) as u16
            });
            let nearest: Vec<u16> = order.iter().map(|colour| *colour as u16).collect();
            (between.collect::<Vec<u16>>(), nearest, places)
        };
        let (mut between, mut nearest, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for row in (0..v).into_par_iter().map(row).collect::<Vec<_>>() {
            between.extend(row.0);
            nearest.extend(row.1);
            places.extend(row.2);
        }
        Self { colours: v, between, nearest, places }
    }

    /// The colour that a pixel is expected to be near to, by those that come before it.
    fn expected(&self, image: &[u16], at: usize, side: usize) -> usize {
        let left = (!at.is_multiple_of(side)).then(|| usize::from(image[at - 1]));
        let above = (at >= side).then(|| usize::from(image[at - side]));
        match (left, above) {
            (Some(left), Some(above)) => usize::from(self.between[left * self.colours + above]),
            (left, above) => left.or(above).unwrap_or(0),
        }
    }

    fn pack(&self, tokens: &[u16], side: usize) -> Any<Vec<u8>> {
        let mut bytes = vec![0; 2 * tokens.len()];
        let (low, high) = bytes.split_at_mut(tokens.len());
        for (image, (low, high)) in
            tokens.chunks(side * side).zip(low.chunks_mut(side * side).zip(high.chunks_mut(side * side)))
        {
            for (at, token) in image.iter().enumerate() {
                let from = self.expected(image, at, side);
                [low[at], high[at]] = self.places[from * self.colours + usize::from(*token)].to_le_bytes();
            }
        }
        let mut packed = DeflateEncoder::new(Vec::new(), Compression::best());
        packed.write_all(&bytes)?;
        Ok(packed.finish()?)
    }

    fn unpack(&self, packed: &[u8], count: usize, side: usize) -> Any<Vec<u16>> {
        let mut bytes = vec![0; 2 * count * side * side];
        DeflateDecoder::new(packed).read_exact(&mut bytes)?;
        let (low, high) = bytes.split_at(count * side * side);
        let mut tokens = vec![0; count * side * side];
        tokens.par_chunks_mut(side * side).enumerate().try_for_each(|(number, image)| {
            for at in 0..side * side {
                let from = self.expected(image, at, side);
                let i = number * side * side + at;
                let place = usize::from(u16::from_le_bytes([low[i], high[i]]));
                image[at] = *self.nearest.get(from * self.colours + place).ok_or("a damaged file")?;
            }
            Ok::<(), &str>(())
        })?;
        Ok(tokens)
    }
}

/// Pictures that are cropped and mirrored anew at each step. Each pixel has its colour wherever it goes, so that this gives
/// the very tokens that `igpt::augment::Augmented` makes of the pixels (checked by `tokens.rs`).
pub struct Augmented {
    pub side: usize,
    pub padding: usize,
    pub seed: u64,
    pub tokens: Vec<u16>,
}

impl Examples for Augmented {
    fn len(&self) -> usize {
        self.tokens.len() / (self.side * self.side)
    }

    fn tokens(&self, step: u64, images: &[usize]) -> igpt::Result<Vec<u16>> {
        let (side, padding) = (self.side, self.padding);
        let mut tokens = Vec::with_capacity(images.len() * side * side);
        for number in images {
            let image = &self.tokens[number * side * side..][..side * side];
            let mut rng = Rng::keyed(self.seed, "augmentation", [step, *number as u64]);
            let (left, above, mirrored) =
                (rng.below(2 * padding + 1), rng.below(2 * padding + 1), rng.below(2) == 1);
            // The place in the image of one in the padded image: -1 is 1, and `side` is `side - 2`.
            let place = |padded: usize| {
                let place = padded.abs_diff(padding);
                if padded < padding || place < side { place } else { 2 * (side - 1) - place }
            };
            for y in 0..side {
                let row = &image[place(y + above) * side..][..side];
                tokens.extend((0..side).map(|x| {
                    let x = place(x + left);
                    row[if mirrored { side - 1 - x } else { x }]
                }));
            }
        }
        Ok(tokens)
    }
}
