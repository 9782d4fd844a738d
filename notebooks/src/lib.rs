//! The machinery of the igpt command.

pub mod cli;
pub mod dirs;
pub mod doctor;
pub mod environment;
pub mod fetch;
mod hex;
pub mod host;
pub mod hub;
pub mod kernel;
pub mod lab;
pub mod repository;
pub mod run;
pub mod setup;
pub mod slot;
pub mod slots;
