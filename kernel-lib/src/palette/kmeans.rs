//! Lloyd's k-means on pixels.

use super::Palette;
use super::colours::{Colours, Sum};
use super::nearest::{Centre, squared_distance};
use super::start::plus_plus;
use crate::{Error, Result, stop};
use serde::{Deserialize, Serialize};

/// Centres are held to multiples of 1/GRID grey levels, 3e-8 on the scale [-1, 1], where an `f32` has a precision of
/// 6e-8. On this grid a squared distance to a colour is a whole number of 1/GRID² below 2⁵², which `f64` holds exactly;
/// and the point of the grid nearest to the mean is the best point of the grid, so that Lloyd's step still never raises
/// the inertia.
pub(super) const GRID: f64 = 131_072.0;

/// Grey levels in a unit of the scale [-1, 1].
pub(super) const LEVELS: f64 = 127.5;

/// How to fit a palette: settings of [`Palette::fit`].
///
/// ```
/// use igpt::palette::KMeans;
///
/// let settings = KMeans { seed: 7, ..KMeans::new(64) };
/// assert_eq!((settings.colours, settings.max_iterations), (64, 300));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KMeans {
    /// Number of colours, k: from 1 to 65,536.
    pub colours: usize,
    /// Seed of the start.
    pub seed: u64,
    /// Iterations at most.
    pub max_iterations: usize,
    /// The fit has converged when the centres' squared movements add up to no more than this times the mean variance
    /// of the channels, as in scikit-learn. With 0 it has when no centre moves.
    pub tolerance: f64,
}

impl KMeans {
    /// So many colours, seed 0, at most 300 iterations, and tolerance 0: to the end, at 1.1 to 2 times the time of
    /// scikit-learn's default of 1e-4, since stopping there can end above scikit-learn's inertia.
    #[must_use]
    pub fn new(colours: usize) -> Self {
        Self { colours, seed: 0, max_iterations: 300, tolerance: 0.0 }
    }

    /// Sets the seed.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Sets the tolerance.
    #[must_use]
    pub fn tolerance(self, tolerance: f64) -> Self {
        Self { tolerance, ..self }
    }

    /// Sets the largest number of iterations.
    #[must_use]
    pub fn max_iterations(self, max_iterations: usize) -> Self {
        Self { max_iterations, ..self }
    }

    /// # Errors
    /// If a setting makes no sense.
    fn check(&self) -> Result<()> {
        if !(1..=Palette::MAX_COLOURS).contains(&self.colours) {
            return Err(Error::invalid(format!(
                "a palette of {} colours: a token has 16 bits, so from 1 to {} are possible",
                self.colours,
                Palette::MAX_COLOURS
            )));
        }
        if self.tolerance.is_nan() || self.tolerance < 0.0 {
            return Err(Error::invalid(format!("a tolerance of {} (0 or more is possible)", self.tolerance)));
        }
        Ok(())
    }
}

impl Default for KMeans {
    /// The paper's number of colours, 512.
    fn default() -> Self {
        Self::new(512)
    }
}

/// A fitted palette, and how the fit went.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Fit {
    /// The palette. Its colours stand in the order in which the start found them.
    pub palette: Palette,
    /// Sum over all pixels of the squared distance to the nearest centre, on the scale [-1, 1].
    pub inertia: f64,
    /// The inertia before each iteration; it never rises.
    pub history: Vec<f64>,
    /// Iterations that were made.
    pub iterations: usize,
    /// Whether the fit ended by its tolerance, and not by its number of iterations.
    pub converged: bool,
    /// How many pixels there were.
    pub pixels: u64,
    /// How many different colours they had.
    pub distinct: usize,
}

impl Palette {
    /// Fits a palette to pixels by k-means: greedy k-means++, then Lloyd's iterations. Paper, section 3.2: "a 9-bit
    /// color palette by clustering (R, G, B) pixel values using k-means with k = 512". How OpenAI trained its k-means
    /// (on which sample, from which start, for how long) is not published.
    ///
    /// `pixels` are bytes, the `channels` (1: grey, 3: red, green, blue) of each pixel beside each other, of as many
    /// images as you like.
    ///
    /// The result is exactly that of Lloyd's algorithm: centres are ruled out only where they provably are not the
    /// nearest. It depends on nothing but the arguments: all sums are of whole numbers, so any number of threads gives
    /// the same bytes.
    ///
    /// A centre that loses all its pixels moves to the colour that is farthest from its centre (the first of several
    /// on the Z-order curve; each such centre to another colour).
    ///
    /// # Errors
    /// If the settings make no sense, if the bytes are not whole pixels, or if they have fewer different colours than
    /// the palette should have; [`Error::Interrupted`] if someone asks to [`stop`].
    pub fn fit(pixels: &[u8], channels: usize, settings: &KMeans) -> Result<Fit> {
        let colours = count(pixels, channels, settings)?;
        let start = plus_plus(&colours, settings.colours, settings.seed)?;
        let start = start.into_iter().map(|colour| colour.map(f64::from)).collect();
        lloyd(&colours, channels, start, settings)
    }

    /// As [`fit`](Self::fit), but starts from the colours of this palette instead of k-means++: to continue a fit, or to
    /// compare two implementations. The seed is not used.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and if the settings ask for another number of colours than this palette has.
    pub fn refit(&self, pixels: &[u8], settings: &KMeans) -> Result<Fit> {
        let colours = count(pixels, self.channels(), settings)?;
        if settings.colours != self.len() {
            return Err(Error::invalid(format!(
                "{} colours cannot start from a palette of {}",
                settings.colours,
                self.len()
            )));
        }
        let to_grid = |level: f64| (level * GRID).round() / GRID;
        let start = self.levels().into_iter().map(|centre| centre.map(to_grid)).collect();
        lloyd(&colours, self.channels(), start, settings)
    }
}

/// The colours of the pixels, if a palette can be fitted to them.
fn count(pixels: &[u8], channels: usize, settings: &KMeans) -> Result<Colours> {
    settings.check()?;
    super::check_pixels(pixels, channels)?;
    if pixels.len() / channels > u32::MAX as usize {
        return Err(Error::invalid(format!(
            "{} pixels are too many for one fit: take a sample",
            pixels.len() / channels
        )));
    }
    let colours = Colours::count(pixels, channels);
    if colours.len() < settings.colours {
        return Err(Error::invalid(format!(
            "the pixels have {} different colours, too few for a palette of {}: \
             ask for fewer colours, or give more pixels",
            colours.len(),
            settings.colours
        )));
    }
    Ok(colours)
}

/// Lloyd's iterations from `centres`, which lie on the grid, in grey levels.
fn lloyd(colours: &Colours, channels: usize, mut centres: Vec<Centre>, settings: &KMeans) -> Result<Fit> {
    let squares = sum_of_squares(colours);
    let tolerance = settings.tolerance * mean_variance(&colours.nodes[0].sum, squares, channels);
    let mut sums = colours.assign(&centres);
    let mut history = vec![inertia(&sums, &centres, squares)];
    let mut converged = false;
    while !converged && history.len() <= settings.max_iterations {
        stop::check("k-means")?;
        let next = step(colours, &centres, &sums);
        let moved: f64 = centres.iter().zip(&next).map(|(old, new)| squared_distance(old, *new)).sum();
        centres = next;
        converged = moved <= tolerance;
        sums = colours.assign(&centres);
        history.push(inertia(&sums, &centres, squares));
    }
    let iterations = history.len() - 1;
    let inertia = history.pop().unwrap_or_default();
    Ok(Fit {
        palette: Palette::from_levels(&centres, channels),
        inertia,
        history,
        iterations,
        converged,
        pixels: colours.nodes[0].sum.pixels,
        distinct: colours.len(),
    })
}

/// The means of the clusters, on the grid; those without pixels move away.
fn step(colours: &Colours, centres: &[Centre], sums: &[Sum]) -> Vec<Centre> {
    let mut next: Vec<Centre> = sums
        .iter()
        .map(|sum| {
            sum.channels.map(|channel| {
                // Half a step of the grid is added, so that the division rounds to the nearest.
                let (channel, pixels) = (u128::from(channel), u128::from(sum.pixels.max(1)));
                ((2 * channel * GRID as u128 + pixels) / (2 * pixels)) as f64 / GRID
            })
        })
        .collect();
    let empty: Vec<usize> = (0..sums.len()).filter(|&centre| sums[centre].pixels == 0).collect();
    if !empty.is_empty() {
        let nearest = colours.nearest(centres);
        let distance =
            |at: usize| squared_distance(&centres[nearest[at] as usize], colours.colours[at].map(f64::from));
        let mut farthest: Vec<(f64, usize)> = (0..colours.len()).map(|at| (distance(at), at)).collect();
        farthest.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        for (centre, (_, at)) in empty.into_iter().zip(farthest) {
            next[centre] = colours.colours[at].map(f64::from);
        }
    }
    next
}

/// Sum over all pixels of the squares of their channels.
fn sum_of_squares(colours: &Colours) -> u128 {
    let square = |colour: [u8; 3]| colour.into_iter().map(|x| u128::from(x) * u128::from(x)).sum::<u128>();
    colours.colours.iter().zip(&colours.pixels).map(|(&colour, &n)| square(colour) * u128::from(n)).sum()
}

/// Sum over all pixels of the squared distance to their centre, on the scale [-1, 1]; rounded once.
fn inertia(sums: &[Sum], centres: &[Centre], squares: u128) -> f64 {
    // Σ |x - m|² = Σ |x|² - 2 m · Σ x + n |m|², in units of 1/GRID².
    let grid = GRID as i128;
    let mut total = squares as i128 * grid * grid;
    for (sum, centre) in sums.iter().zip(centres) {
        for (&channel, &level) in sum.channels.iter().zip(centre) {
            let m = (level * GRID) as i128;
            total += i128::from(sum.pixels) * m * m - 2 * grid * m * i128::from(channel);
        }
    }
    total as f64 / (GRID * GRID * LEVELS * LEVELS)
}

/// The mean of the channels' variances, in squared grey levels.
fn mean_variance(all: &Sum, squares: u128, channels: usize) -> f64 {
    let pixels = all.pixels as f64;
    let mean = |channel: u64| channel as f64 / pixels;
    let variance = squares as f64 / pixels
        - all.channels.map(|channel| mean(channel) * mean(channel)).iter().sum::<f64>();
    variance.max(0.0) / channels as f64
}
