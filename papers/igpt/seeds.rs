//! Trains and probes the profile that `IGPT_PROFILE` names (`quick` unless told) from several seeds, and prints what came
//! out as TOML, to be kept beside this file:
//!
//! ```sh
//! cargo run --release --package igpt --example seeds -- 1 2 3 > papers/igpt/seeds.toml
//! ```
//!
//! What the experiment store has is reused.

use igpt::prelude::*;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let seeds: Vec<u64> =
        std::env::args().skip(1).map(|seed| seed.parse()).collect::<std::result::Result<_, _>>()?;
    let (profile, on) = (Profile::current()?, Workspace::current()?);
    let ar = Pretraining::of(&profile);
    let probe = |features: Features| LinearProbe::of(features).with(&profile.probe).run();
    println!(
        "# Made by seeds.rs, which stands beside this file. Accuracies of the linear probe on the test images, in percent."
    );
    println!("profile = {:?}\ndata = {:?}", profile.name, ar.data.name()?);
    println!("steps = {}", profile.training.steps(ar.data.training_positions()?.len())?);
    let share = |accuracy: f64| format!("{:.2}", 100.0 * accuracy);
    let pixels = probe(Features::pixels(&ar))?.result()?;
    println!("pixels = {}\nstandard_error = {}", share(pixels.share()), share(pixels.standard_error()));
    let mut best = Vec::new();
    for seed in seeds {
        let ar = ar.clone().seed(seed);
        let trained = ar.report_on(&on, &mut |progress| eprintln!("seed {seed}: {progress}"))?;
        let curve = probe(Features::of(&ar))?;
        let accuracies: Vec<f64> = curve.points().into_iter().map(|(_, accuracy)| accuracy).collect();
        let highest = accuracies.iter().copied().fold(0.0, f64::max);
        let loss = trained.curve.validation.last().map_or(f64::NAN, |point| point.loss);
        let layers: Vec<String> = accuracies.iter().map(|accuracy| share(*accuracy)).collect();
        println!("\n[[run]]\nseed = {seed}\nvalidation_loss = {loss:.4}\nlayers = [{}]", layers.join(", "));
        println!("chosen_layer = {}\nchosen = {}", curve.chosen, share(curve.result()?.share()));
        println!("best = {}", share(highest));
        best.push(highest);
    }
    eprintln!("mean of the best layers: {}", share(best.iter().sum::<f64>() / best.len().max(1) as f64));
    Ok(())
}
