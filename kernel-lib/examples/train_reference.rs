//! How fast the readable reference trains: `cargo run --release -p igpt --example train_reference -- [layers width heads
//! steps]`. Fashion-MNIST, randomly translated, 16 greys, batches of 32, as in the quick profile.

use igpt::augment::{Augmentation, Augmented};
use igpt::model::{Config, Reference};
use igpt::palette::KMeans;
use igpt::prelude::*;
use igpt::train::{Trainer, Training, WarmUp};
use std::sync::Arc;

fn main() -> Result<()> {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let [layers, width, heads, steps] = numbers[..] else {
        return Err(Error::invalid("needs four numbers: layers width heads steps"));
    };
    let augmentation = Augmentation::random_translation();
    let data = igpt::data::fashion_mnist()?;
    let train = data.train().images.clone();
    let placed = augmentation.fixed(&train.select(&(0..1000).collect::<Vec<_>>())?, 0)?;
    let palette = Palette::fit(placed.all_pixels(), 1, &KMeans::new(16))?.palette;

    let config = Config {
        layers,
        width,
        heads,
        context: 14 * 14,
        vocabulary: palette.len(),
        inner: None,
        classes: None,
    };
    let examples = |indices: std::ops::Range<usize>| {
        let images = Arc::new(train.select(&indices.collect::<Vec<_>>())?);
        Ok::<_, Error>(Arc::new(Augmented::new(images, augmentation, palette.clone(), 0)?))
    };
    let settings = Training {
        batch: 32,
        warm_up: WarmUp::Steps(steps as u64 / 10),
        log_every: (steps as u64 / 10).max(1),
        ..Training::paper(steps as u64)
    };
    let network = Box::new(Reference::new(config, DType::F32)?);
    let mut trainer = Trainer::new(settings, network, examples(0..9_000)?, examples(9_000..9_200)?)?;
    println!("{} parameters", config.parameters());
    let outcome = trainer.run(&mut |progress| println!("{progress}"))?;
    println!("{outcome:?}");
    Ok(())
}
