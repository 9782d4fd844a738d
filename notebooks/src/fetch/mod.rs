//! `igpt fetch`: weights, which notebooks read from the Hugging Face cache, and data sets from it, decoded once into
//! plain files that notebooks read at once.
//!
//! What this needs, Parquet above all, is here and not in the library, where each crate costs every notebook time.

mod cifar10;
mod hub;
mod imagegpt;
mod prepared;
mod rows;

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::ValueEnum;

use crate::dirs;

/// What can be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// CIFAR-10: 50,000 + 10,000 colour pictures of 32 × 32 pixels in ten classes (185 MB)
    #[value(name = "cifar10")]
    Cifar10,
    /// OpenAI's iGPT-S: the weights of 76 million parameters and the palette
    #[value(name = "imagegpt-small")]
    ImagegptSmall,
    /// OpenAI's iGPT-M: 455 million parameters
    #[value(name = "imagegpt-medium")]
    ImagegptMedium,
    /// OpenAI's iGPT-L: 1.4 billion parameters
    #[value(name = "imagegpt-large")]
    ImagegptLarge,
}

/// Prepares these, one after the other.
///
/// # Errors
/// If one is not in the cache and cannot be downloaded, is damaged there, or cannot be written.
pub fn fetch(names: &[Name]) -> Result<()> {
    for name in names {
        match name {
            Name::Cifar10 => cifar10::prepare(&hub::cache()?, &dirs::data()?)?,
            Name::ImagegptSmall => imagegpt::prepare("small")?,
            Name::ImagegptMedium => imagegpt::prepare("medium")?,
            Name::ImagegptLarge => imagegpt::prepare("large")?,
        };
    }
    Ok(())
}

/// Prints a line. Nobody may be listening any more: what is prepared is of use all the same.
fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// A line every two seconds.
struct Progress(Instant);

impl Progress {
    fn new() -> Self {
        Self(Instant::now())
    }

    fn tick(&mut self, line: impl FnOnce() -> String) {
        if self.0.elapsed() >= Duration::from_secs(2) {
            self.0 = Instant::now();
            say(line());
        }
    }
}

/// `50,000`
fn count(number: usize) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

/// Bytes as hexadecimal digits, in lower case.
fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (50_000, "50,000"), (1_234_567, "1,234,567")]
        {
            assert_eq!(count(number), text);
        }
    }
}
