//! The machinery of the igpt command.

#[cfg(not(unix))]
compile_error!(
    "the command needs a Unix: use Linux, or on Windows WSL; README.md says why, under \"Where it runs\""
);

pub mod cli;
mod compile;
pub mod dirs;
pub mod doctor;
pub mod environment;
pub mod export;
pub mod fetch;
mod files;
pub mod host;
pub mod kernel;
pub mod lab;
pub mod locked;
pub mod on_path;
pub mod profiles;
mod program;
pub mod run;
pub mod setup;
pub mod slot;
pub mod steps;

pub use igpt_common::repository;

use igpt_common::hex;
