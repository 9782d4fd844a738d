//! The library's side of `compare.py`: reads features and labels, then fits a probe for every penalty that it is told
//! on a line of its input, and answers each with one line of JSON. To a line `choose L` it answers how long it takes to
//! choose among L layers (the features, L times) and six penalties; to `path` how long six penalties take by the way for many
//! features, and the most memory that the process has had.

use igpt::probe::{FeatureMatrix, Probe, choose, choose_wide};
use std::io::{BufRead as _, Write as _};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("usage: probe_peer features.f32 labels.u8 width classes");
    let bytes = std::fs::read(next()?)?;
    let labels: Vec<u16> = std::fs::read(next()?)?.into_iter().map(u16::from).collect();
    let (width, classes): (usize, usize) = (next()?.parse()?, next()?.parse()?);
    let (values, _) = bytes.as_chunks::<4>();
    let features = FeatureMatrix::new(values.iter().map(|x| f32::from_le_bytes(*x)).collect(), width)?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if let Some(layers) = line.strip_prefix("choose ") {
            let layers: usize = layers.trim().parse()?;
            let features = vec![features.clone(); layers];
            let validation: Vec<usize> = (0..labels.len()).step_by(10).collect();
            let start = Instant::now();
            let choice =
                choose(&features, &labels, classes, &validation, &[1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0])?;
            let seconds = start.elapsed().as_secs_f64();
            println!("{}", serde_json::json!({"seconds": seconds, "l2": choice.l2()}));
            std::io::stdout().flush()?;
            continue;
        }
        if line.trim() == "path" {
            let validation: Vec<usize> = (0..labels.len()).step_by(10).collect();
            let start = Instant::now();
            choose_wide(&features, &labels, classes, &validation, &[1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0])?;
            let seconds = start.elapsed().as_secs_f64();
            let status = std::fs::read_to_string("/proc/self/status")?;
            let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("").trim();
            println!("{}", serde_json::json!({"seconds": seconds, "peak": peak}));
            std::io::stdout().flush()?;
            continue;
        }
        if let Some(l2) = line.strip_prefix("held ") {
            // Without the images that `path` validates with.
            let l2: f64 = l2.trim().parse()?;
            let held: Vec<usize> = (0..labels.len()).filter(|i| i % 10 != 0).collect();
            let own: Vec<u16> = held.iter().map(|i| labels[*i]).collect();
            let probe = Probe::fit(&features.select(&held)?, &own, classes, l2)?;
            println!("{}", serde_json::to_value(probe.outcome())?);
            std::io::stdout().flush()?;
            continue;
        }
        let l2: f64 = line.trim().parse()?;
        let start = Instant::now();
        let probe = Probe::fit(&features, &labels, classes, l2)?;
        let seconds = start.elapsed().as_secs_f64();
        let mut answer = serde_json::to_value(probe.outcome())?;
        answer["seconds"] = seconds.into();
        let right = probe.accuracy(&features, &labels)?;
        answer["accuracy"] = right.share().into();
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}
