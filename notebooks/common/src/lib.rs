//! What the `igpt` command and its part `igpt fetch`, which is a program of its own, share.

pub mod fetch_arguments;
pub mod hex;
pub mod repository;
