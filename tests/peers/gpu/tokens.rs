//! Writes CIFAR-10 as tokens into one file, which a machine without the data set trains on; see `tokenized.rs`.
//!
//! ```sh
//! cargo run --release --package igpt --example gpu_tokens -- FILE [COLOURS]
//! ```
//!
//! The palette is fitted to the training images. What was written is read again and compared, and the augmentation of
//! tokens with the library's of pixels.

#[path = "tokenized.rs"]
mod tokenized;

use igpt::augment::{Augmentation, Augmented};
use igpt::data::cifar10;
use igpt::palette::{KMeans, Palette};
use igpt::train::Examples as _;
use std::path::Path;
use std::sync::Arc;
use tokenized::{Any, Header, Labelled, Tokenized};

const SEED: u64 = 1;
/// Of the paper, for CIFAR: pixels that an image is padded by before it is cropped.
const PADDING: usize = 4;

fn main() -> Any<()> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("which file?")?;
    let colours = arguments.next().map_or(Ok(512), |colours| colours.parse())?;
    let data = cifar10()?;
    let (train, test) = (data.train(), data.test());
    let fit = Palette::fit(
        train.images.all_pixels(),
        train.images.channels(),
        &KMeans::new(colours).seed(SEED).tolerance(1e-4),
    )?;
    let palette = fit.palette;
    eprintln!("{}: {colours} colours after {} iterations", data.name(), fit.iterations);
    let split = |split: &igpt::data::Labelled| -> Any<Labelled> {
        Ok(Labelled { tokens: palette.encode(split.images.all_pixels())?, labels: split.labels.clone() })
    };
    let header = Header {
        name: data.name().to_owned(),
        sha256: data.checksum().to_owned(),
        classes: data.classes().to_vec(),
        side: train.images.side()?,
        channels: train.images.channels(),
        centres: palette.centres().to_vec(),
        palette_seed: SEED,
        splits: Default::default(),
    };
    let mut tokenized = Tokenized { header, train: split(train)?, test: split(test)? };
    let file = Path::new(&file);
    tokenized.write(file)?;

    let read = Tokenized::read(file)?;
    if read != tokenized {
        return Err("what was written is read otherwise".into());
    }
    let images: Vec<usize> = (0..100).collect();
    let of_pixels =
        Augmented::new(Arc::new(train.images.clone()), Augmentation::Crop { padding: PADDING }, palette, 7)?;
    let of_tokens = tokenized::Augmented {
        side: read.header.side,
        padding: PADDING,
        seed: 7,
        tokens: read.train.tokens[..100 * read.header.side.pow(2)].to_vec(),
    };
    if of_pixels.tokens(3, &images)? != of_tokens.tokens(3, &images)? {
        return Err("the augmentation of tokens is not that of pixels".into());
    }
    for (name, (count, bytes)) in ["training", "test"].iter().zip(read.header.splits) {
        let bits = 8.0 * bytes as f64 / (count * read.header.side.pow(2)) as f64;
        println!("{name}: {count} images, {:.1} MB, {bits:.2} bits a token", bytes as f64 / 1e6);
    }
    Ok(())
}
