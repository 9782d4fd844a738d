//! The program that `igpt fetch` builds and starts.

use std::process::ExitCode;

use clap::Parser;
use igpt_common::fetch_arguments::Arguments;

/// Download weights and data sets from the Hugging Face hub, and decode data sets into plain files
#[derive(Parser)]
#[command(name = "igpt fetch", version, about, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    arguments: Arguments,
}

fn main() -> ExitCode {
    match igpt_fetch::fetch(&Cli::parse().arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
