//! `igpt fetch`: weights, which notebooks read from the Hugging Face cache, and data sets from it, or from a folder, decoded
//! once into plain files that notebooks read at once.
//!
//! A program of its own: what it needs, Parquet and the hub's client above all, is half of what the `igpt` command would
//! otherwise need, and the main job fetches nothing. Nor is it in the library, where each crate costs every notebook time.

mod catalog;
mod catch_panic;
mod classes;
pub mod download;
mod encoded;
mod file_stamp;
mod image;
mod image_folder;
mod imagegpt;
mod layout;
mod plan;
mod prepare;
mod rows;
mod source;
mod writer;

use std::{
    env,
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use igpt_common::{fetch_arguments::Arguments, hex::hex, repository};
use igpt_formats::request::Request;

use catalog::Kind;
use plan::Plan;

/// Prepares these, one after the other, or shows what there is.
///
/// # Errors
/// If one is not in the cache and cannot be downloaded, is damaged there, or cannot be written.
pub fn fetch(arguments: &Arguments) -> Result<()> {
    let data = data_folder()?;
    if arguments.list {
        say(catalog::table(&download::cache()?, &data)?.trim_end());
    }
    for name in &arguments.names {
        let request = Request {
            name: name.clone(),
            config: arguments.config.clone(),
            image_column: arguments.image_column.clone(),
            label_column: arguments.label_column.clone(),
            side: arguments.side,
            rgb: arguments.rgb,
        };
        one(&request, arguments.folder.as_deref(), &data)?;
    }
    Ok(())
}

/// The folder of decoded data sets: `IGPT_DATA`, else a folder in the checkout. The library looks there, too.
fn data_folder() -> Result<PathBuf> {
    match env::var_os("IGPT_DATA").filter(|set| !set.is_empty()) {
        Some(set) => Ok(std::path::absolute(set)?),
        None => Ok(repository::root()?.join("target/igpt-data")),
    }
}

/// Prepares one.
fn one(request: &Request, folder: Option<&Path>, data: &Path) -> Result<()> {
    let entry = catalog::find(&request.name);
    let known = match entry.map(|entry| &entry.kind) {
        Some(Kind::Model(size)) => return imagegpt::fetch(size).map(drop),
        Some(Kind::Data(known)) => Some(known),
        None => None,
    };
    let imagenet =
        env::var_os("IGPT_IMAGENET").filter(|folder| request.name == "imagenet" && !folder.is_empty());
    let plan = match (folder.map(Path::to_owned).or(imagenet.map(PathBuf::from)), entry) {
        (Some(folder), _) => Plan::of_folder(request, known, &folder)?,
        (None, Some(entry)) => Plan::of_hub(request, entry.repository, known)?,
        (None, None) if is_repository(&request.name) => Plan::of_hub(request, &request.name, None)?,
        (None, None) => bail!(
            "there is no data set `{}`; `igpt fetch --list` has the names, and any data set of the hub is OWNER/NAME",
            request.name
        ),
    };
    prepare::prepare(request, plan, data)?;
    Ok(())
}

/// `owner/name`, in the letters that the hub allows.
fn is_repository(name: &str) -> bool {
    let is_name = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'))
    };
    name.split_once('/').is_some_and(|(owner, name)| is_name(owner) && is_name(name))
}

/// Prints a line. Nobody may be listening any more: what is prepared is of use all the same.
fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// A line every two seconds.
struct ProgressLines(Instant);

impl ProgressLines {
    fn new() -> Self {
        Self(Instant::now())
    }

    fn tick(&mut self, line: impl FnOnce() -> String) {
        if self.0.elapsed() >= Duration::from_secs(2) {
            self.0 = Instant::now();
            say(line());
        }
    }
}

/// `50,000`
fn count(number: usize) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (50_000, "50,000"), (1_234_567, "1,234,567")]
        {
            assert_eq!(count(number), text);
        }
    }
}
