//! Which files of a repository are wanted.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

/// Chooses among the names of the files that there are, in the hub or in the cache; an error says what is missing.
pub type ChooseFiles<'a> = dyn Fn(&[String]) -> Result<Vec<String>> + 'a;

/// Chooses all files that `is_wanted` accepts. There must be one, and of files in numbered parts, like
/// `train-00000-of-00002.parquet`, every part.
pub fn all(is_wanted: impl Fn(&str) -> bool) -> impl Fn(&[String]) -> Result<Vec<String>> {
    move |names| {
        let chosen: Vec<String> = names.iter().filter(|name| is_wanted(name)).cloned().collect();
        if chosen.is_empty() {
            bail!("there is no file of those that are wanted; there are {}", listed(names));
        }
        check_parts(&chosen)?;
        Ok(chosen)
    }
}

/// Of files in numbered parts all must be there.
fn check_parts(names: &[String]) -> Result<()> {
    let mut sets: BTreeMap<(&str, usize, &str), Vec<usize>> = BTreeMap::new();
    for (stem, part, count, end) in names.iter().filter_map(|name| part(name)) {
        sets.entry((stem, count, end)).or_default().push(part);
    }
    for ((stem, count, end), parts) in sets {
        if parts.len() != count {
            bail!("there are only {} of the {count} parts of {stem}{end}", parts.len());
        }
    }
    Ok(())
}

/// (`train`, 0, 2, `.parquet`) for `train-00000-of-00002.parquet`. Some years ago the hub's `datasets` library put a hash
/// behind the numbers: `train-00000-of-00002-b74cd68890b47699.parquet`.
pub fn part(name: &str) -> Option<(&str, usize, usize, &str)> {
    let (start, count) = name.rsplit_once("-of-")?;
    let (stem, part) = start.rsplit_once('-')?;
    let (count, end) = count.split_at(count.find(|c: char| !c.is_ascii_digit()).unwrap_or(count.len()));
    let end = match end.strip_prefix('-') {
        Some(hash) => hash.trim_start_matches(|c: char| c.is_ascii_hexdigit()),
        None => end,
    };
    Some((stem, part.parse().ok()?, count.parse().ok()?, end))
}

/// The first few names.
pub(super) fn listed(names: &[String]) -> String {
    match names {
        [] => "none at all".into(),
        [first @ .., _] if first.len() >= 8 => {
            format!("{} and {} more", names[..8].join(", "), names.len() - 8)
        }
        names => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_wanted_all() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let parquet = all(|name| name.ends_with(".parquet"));
        let whole = names(&["README.md", "d/a-00000-of-00002.parquet", "d/a-00001-of-00002.parquet"]);
        assert_eq!(parquet(&whole).unwrap(), whole[1..]);
        let hashed = names(&[
            "a-00000-of-00002-b74cd68890b47699.parquet",
            "a-00001-of-00002-0123456789abcdef.parquet",
        ]);
        assert_eq!(parquet(&hashed).unwrap(), hashed);
        let error = parquet(&whole[..2]).unwrap_err().to_string();
        assert_eq!(error, "there are only 1 of the 2 parts of d/a.parquet");
        let error = parquet(&whole[..1]).unwrap_err().to_string();
        assert!(error.ends_with("there are README.md"), "{error}");
        let error = parquet(&[]).unwrap_err().to_string();
        assert!(error.ends_with("there are none at all"), "{error}");
        let error = parquet(&vec!["x".to_owned(); 9]).unwrap_err().to_string();
        assert!(error.ends_with("x, x and 1 more"), "{error}");
    }
}
