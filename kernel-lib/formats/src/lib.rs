//! What the library and `igpt fetch` must agree on to the last byte.
//!
//! `igpt fetch` writes data sets and the library reads them. The one has crates for Parquet and for downloads, the other
//! candle: neither should have to compile the other's, so what both need is here. The sources lie in the library's folder,
//! because the library's snapshot for notebooks and the hashes of its sources (`kernel-lib/build.rs`) cover them.

pub mod bilinear;
pub mod data_file;
pub mod image_file;
pub mod image_folder;
pub mod published;
pub mod request;
