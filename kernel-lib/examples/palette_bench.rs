//! The palette's side of `tests/peers/palette/run.sh`: obeys lines on stdin, and answers each with one line of JSON.
//!
//! * `fit PIXELS COLOURS SEED TOLERANCE OUT.npy` fits a palette to a file of bytes (red, green, blue of each pixel)
//! * `encode PIXELS PALETTE.npy PIXELS_PER_CALL OUT` encodes a file of bytes, so many pixels at a time
//! * `config PALETTE.npy OUT.json` writes a palette as a `preprocessor_config.json`
//!
//! `seconds` is the time of the library's calls alone: bytes in memory to a palette, or to tokens in memory.

use igpt::palette::{KMeans, Palette};
use igpt::{Error, Result};
use std::io::BufRead;
use std::path::Path;
use std::time::Instant;

fn main() -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|e| Error::io("stdin", e))?;
        println!("{}", obey(&line.split_whitespace().collect::<Vec<_>>())?);
    }
    Ok(())
}

fn obey(words: &[&str]) -> Result<String> {
    match *words {
        ["fit", pixels, colours, seed, tolerance, out] => {
            let pixels = read(pixels)?;
            let settings = KMeans {
                seed: number(seed)?,
                tolerance: number(tolerance)?,
                ..KMeans::new(number(colours)?)
            };
            let start = Instant::now();
            let fit = Palette::fit(&pixels, 3, &settings)?;
            let seconds = start.elapsed().as_secs_f64();
            fit.palette.write_npy(out)?;
            Ok(format!(
                r#"{{"seconds": {seconds}, "inertia": {}, "iterations": {}, "distinct": {}}}"#,
                fit.inertia, fit.iterations, fit.distinct
            ))
        }
        ["encode", pixels, palette, per_call, out] => {
            let (pixels, palette) = (read(pixels)?, Palette::read_npy(palette)?);
            let per_call: usize = number(per_call)?;
            let start = Instant::now();
            let calls: Result<Vec<_>> =
                pixels.chunks(3 * per_call).map(|pixels| palette.encode(pixels)).collect();
            let seconds = start.elapsed().as_secs_f64();
            let tokens: Vec<u8> = calls?.concat().into_iter().flat_map(u16::to_le_bytes).collect();
            std::fs::write(out, tokens).map_err(|e| Error::io(out, e))?;
            Ok(format!(r#"{{"seconds": {seconds}}}"#))
        }
        ["config", palette, out] => {
            Palette::read_npy(palette)?.write_preprocessor_config(out, 32)?;
            Ok("{}".to_owned())
        }
        _ => Err(Error::invalid(format!("what is {words:?}?"))),
    }
}

fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    std::fs::read(&path).map_err(|e| Error::io(path.as_ref(), e))
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T> {
    word.parse().map_err(|_| Error::invalid(format!("{word} is not a number")))
}
