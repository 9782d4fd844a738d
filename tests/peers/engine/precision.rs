//! Trains the profile that `IGPT_PROFILE` names (`quick` unless told) in f32 and with products in bf16, from these seeds,
//! and prints both curves. The number of steps comes before the seeds:
//!
//! ```sh
//! cargo run --release --package igpt --example engine_precision -- 500 1 2
//! ```
//!
//! What the experiment store has is reused. Losses of the validation are computed in f32 for both.

use igpt::model::Precision;
use igpt::prelude::*;
use igpt::train::{Length, Point};

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let numbers: Vec<u64> =
        std::env::args().skip(1).map(|number| number.parse()).collect::<std::result::Result<_, _>>()?;
    let [steps, seeds @ ..] = &numbers[..] else {
        return Err("how many steps, and from which seeds?".into());
    };
    for seed in seeds {
        let mut found = Vec::new();
        for precision in [Precision::F32, Precision::Bf16] {
            let mut profile = Profile::current()?;
            profile.training.precision = precision;
            profile.training.length = Length::Steps(*steps);
            profile.samples.after = Vec::new();
            let trained =
                Pretraining::of(&profile).seed(*seed).report_on(&Workspace::current()?, &mut |progress| {
                    eprintln!("seed {seed}, {precision:?}: {progress}");
                })?;
            found.push(trained.curve);
        }
        let [exact, low] = &found[..] else { unreachable!("two precisions") };
        println!("\nSeed {seed}\n\n| step | loss in f32 | in bf16 | difference |\n|---|---|---|---|");
        let row = |what: &str, exact: &Point, low: &Point| {
            let (step, difference) = (exact.step, low.loss - exact.loss);
            println!("| {step}{what} | {:.4} | {:.4} | {difference:+.4} |", exact.loss, low.loss);
        };
        for (exact, low) in exact.training.iter().zip(&low.training).filter(|(at, _)| at.step % 50 == 0) {
            row("", exact, low);
        }
        for (exact, low) in exact.validation.iter().zip(&low.validation) {
            row(", validation", exact, low);
        }
    }
    Ok(())
}
