//! What a cell's tags and metadata say about its run, apart from the cell's code.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{
    check::Comparison,
    expected::Expected,
    notebook::{CodeCell, Notebook},
};

/// The tag with a time limit of its cell: `timeout:90s`.
const TIMEOUT: &str = "timeout:";
/// The tag, on a cell of any kind, with a time limit of its notebook: `notebook-timeout:10m`.
const NOTEBOOK_TIMEOUT: &str = "notebook-timeout:";
/// The tag with a limit of what its cell shows: `output-limit:1MB`.
const OUTPUT_LIMIT: &str = "output-limit:";
/// The tag, on a cell of any kind, with a limit of what all cells of its notebook show: `notebook-output-limit:20MB`.
const NOTEBOOK_OUTPUT_LIMIT: &str = "notebook-output-limit:";

/// Of one cell.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// How it has to end.
    pub expected: Expected,
    /// How long it may take, in place of the run's own limit.
    pub timeout: Option<Duration>,
    /// How many bytes of output are kept, in place of the run's own limit.
    pub output_limit: Option<usize>,
    /// How its outputs are compared with the committed ones.
    pub comparison: Comparison,
}

impl Settings {
    /// Reads a cell's tags and metadata.
    ///
    /// # Errors
    /// A tag of ours with a value that means nothing.
    pub fn of(cell: &CodeCell) -> Result<Self> {
        Ok(Self {
            expected: Expected::from_tags(&cell.tags)?,
            timeout: value(&cell.tags, TIMEOUT, duration)?,
            output_limit: value(&cell.tags, OUTPUT_LIMIT, size)?,
            comparison: Comparison::of(cell)?,
        })
    }
}

/// The time limit of a whole notebook, if one of its cells has the tag.
///
/// # Errors
/// A tag whose value is no time.
pub fn notebook_timeout(notebook: &Notebook) -> Result<Option<Duration>> {
    value(&tags_of_all(notebook), NOTEBOOK_TIMEOUT, duration)
}

/// How many bytes of all cells' outputs together are kept, if one of the cells has the tag.
///
/// # Errors
/// A tag whose value is no size.
pub fn notebook_output_limit(notebook: &Notebook) -> Result<Option<usize>> {
    value(&tags_of_all(notebook), NOTEBOOK_OUTPUT_LIMIT, size)
}

fn tags_of_all(notebook: &Notebook) -> Vec<String> {
    notebook.cells().iter().flat_map(super::notebook::tags).collect()
}

/// The last tag that begins so, read.
fn value<T>(tags: &[String], prefix: &str, read: fn(&str) -> Result<T, String>) -> Result<Option<T>> {
    let Some(tag) = tags.iter().rev().find(|tag| tag.starts_with(prefix)) else { return Ok(None) };
    let value = read(&tag[prefix.len()..]).map_err(anyhow::Error::msg);
    value.map(Some).with_context(|| format!("the tag `{tag}`"))
}

/// `90s`, `30m`, `2h30m`; a bare number is seconds.
///
/// # Errors
/// A sentence on a text that is no time.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time like 90s, 30m or 2h30m");
    let mut total = 0.0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        let after = &rest[digits..];
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        total += number
            * match &after[..letters] {
                "" | "s" => 1.0,
                "m" | "min" => 60.0,
                "h" => 3600.0,
                _ => return Err(wrong()),
            };
        rest = &after[letters..];
    }
    match Duration::try_from_secs_f64(total) {
        Ok(time) if !time.is_zero() && total < 1e9 => Ok(time),
        _ => Err(wrong()),
    }
}

/// `500kB`, `20MB`, `1GB`; a bare number is bytes.
///
/// # Errors
/// A sentence on a text that is no size.
pub fn size(text: &str) -> Result<usize, String> {
    let wrong = || format!("{text:?} is not a size like 500kB, 20MB or 1GB");
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        _ => return Err(wrong()),
    };
    match number * unit {
        bytes if (1.0..1e12).contains(&bytes) => Ok(bytes as usize),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("0.5s"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2h30m"), Ok(Duration::from_secs(9000)));
        for wrong in ["", "x", "5 parsecs", "-1s", "0", "1e400", "m", "1.2.3s"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!((size("7"), size("20MB"), size("1.5 kB")), (Ok(7), Ok(20_000_000), Ok(1500)));
        for wrong in ["", "MB", "-1", "0", "5 parsecs", "1e9", "9999999GB"] {
            assert!(size(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_last_tag_counts_and_a_wrong_one_is_named() {
        let tags = |all: &[&str]| all.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>();
        let read = |all: &[&str]| value(&tags(all), TIMEOUT, duration);
        assert_eq!(read(&["a"]).unwrap(), None);
        assert_eq!(read(&["timeout:1s", "timeout:2s"]).unwrap(), Some(Duration::from_secs(2)));
        let said = format!("{:#}", read(&["timeout:soon"]).unwrap_err());
        assert!(said.contains("the tag `timeout:soon`: \"soon\" is not a time"), "{said}");
    }
}
