//! The machinery of the igpt command.

pub mod cli;
pub mod environment;
pub mod lab;
pub mod repository;
pub mod run;
