//! The `igpt` command.

use std::process::ExitCode;

use clap::Parser as _;
use igpt_notebooks::cli::{self, Cli};

fn main() -> ExitCode {
    match cli::main(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
