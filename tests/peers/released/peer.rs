//! The library's side of `compare.py`: reads a checkpoint of Hugging Face's form, and then lines of words from its input, and answers
//! each with a line of JSON:
//!
//! - `features TOKENS OUT`: features `(N, L + 1, C)` of the images whose tokens (u16, `(N, T)`) are in one file, written to the other (f32);
//!   the seconds.

use igpt::engine::{Engine, Isa};
use igpt::huggingface::Checkpoint;
use igpt::model::{Network as _, View};
use serde_json::json;
use std::io::{BufRead as _, Write as _};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("the checkpoint's folder is missing")?;
    let start = Instant::now();
    let parameters = Checkpoint::read(folder.as_ref())?.parameters;
    let mut engine = Engine::new(parameters.config())?;
    println!("{}", json!({ "isa": format!("{:?}", Isa::best()), "seconds": start.elapsed().as_secs_f64() }));
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let ["features", tokens, out] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            return Err(format!("not understood: {line}").into());
        };
        let bytes = std::fs::read(tokens)?;
        let tokens: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|x| u16::from_le_bytes(*x)).collect();
        let start = Instant::now();
        let features = engine.features(&parameters, &tokens, View::Causal)?;
        let seconds = start.elapsed().as_secs_f64();
        std::fs::write(out, features.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())?;
        println!("{}", json!({ "seconds": seconds }));
        std::io::stdout().flush()?;
    }
    Ok(())
}
