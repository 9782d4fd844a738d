//! The paper as data: what it is, what it reports, and what we claim to test of it.
//!
//! The files are `papers/igpt/paper.toml`, `reported.toml` and `claims.toml`; an unknown field in them is an
//! error, and so is a claim that names a figure that is not there.
//!
//! ```
//! let paper = igpt::paper::igpt()?;
//! assert_eq!(paper.reported("context.palette")?.number()?, 512.0);
//!
//! let comparison = paper.compare("four photographs").claim("palette-shortens-context", [3.0, 3.0, 3.0])?;
//! # Ok::<(), igpt::Error>(())
//! ```

mod claim;
mod compare;

pub use claim::{Claim, Test, Verdict};
pub use compare::Comparison;

use crate::show::{Show, Table};
use crate::{Error, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use std::path::Path;

/// The paper that this repository reproduces.
///
/// # Errors
/// If its files cannot be read, or contradict themselves.
pub fn igpt() -> Result<Paper> {
    // Not `crate::root()`: that asks for the data too, and the paper can be read without any.
    Paper::open(&crate::root::folder().join("papers").join("igpt"))
}

/// A paper: its sections, the figures that it reports, and our claims about them.
#[derive(Debug, Clone)]
pub struct Paper {
    about: About,
    sources: Vec<Source>,
    values: Vec<Reported>,
    claims: Vec<Claim>,
}

/// Bibliography: `paper.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    title: String,
    authors: Vec<String>,
    venue: String,
    year: u32,
    version: String,
    url: String,
    section: Vec<Section>,
}

/// A section of the paper.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Section {
    /// Its number, `3.2`.
    pub number: String,
    /// Its title.
    pub title: String,
    /// The page on which it begins.
    pub page: u32,
    /// What it says, in our words.
    pub summary: String,
    /// The notebook that reproduces it, if there is one.
    pub notebook: Option<String>,
}

/// `reported.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReportedFile {
    source: Vec<Source>,
    value: Vec<Reported>,
}

/// `claims.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClaimsFile {
    claim: Vec<Claim>,
}

/// Where a figure was read.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Source {
    /// The short name that figures use.
    pub key: String,
    /// What it is.
    pub title: String,
    /// Where it is.
    pub url: String,
}

/// How we know a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Confidence {
    /// It stands in a text of the paper that was read.
    Read,
    /// It follows by arithmetic from figures that were read.
    Derived,
    /// It was measured in an image of the paper's figure.
    Digitised,
}

/// What the paper reports in one place.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Value {
    /// A number.
    Number(f64),
    /// Several numbers.
    Numbers(Vec<f64>),
    /// Words, where the paper gives no number.
    Words(String),
}

/// One figure that the paper reports.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Reported {
    /// The name by which notebooks look it up.
    pub key: String,
    /// The section that reports it.
    pub section: String,
    /// The page.
    pub page: u32,
    /// What it is, in our words.
    pub what: String,
    /// The figure.
    pub value: Value,
    /// Its unit.
    #[serde(default)]
    pub unit: String,
    /// The [`Source`]'s key.
    pub source: String,
    /// How we know it.
    pub confidence: Confidence,
    /// What a reader should know besides.
    pub note: Option<String>,
}

impl Reported {
    /// The figure as one number.
    ///
    /// # Errors
    /// If the paper reports several, or words.
    pub fn number(&self) -> Result<f64> {
        match self.value {
            Value::Number(number) => Ok(number),
            _ => Err(Error::invalid(format!("the paper's {:?} is not one number: use numbers()", self.key))),
        }
    }

    /// The figure as numbers: one, or several.
    ///
    /// # Errors
    /// If the paper reports words.
    pub fn numbers(&self) -> Result<Vec<f64>> {
        match &self.value {
            Value::Number(number) => Ok(vec![*number]),
            Value::Numbers(numbers) => Ok(numbers.clone()),
            Value::Words(words) => {
                Err(Error::invalid(format!("the paper's {:?} is no number but {words:?}", self.key)))
            }
        }
    }

    /// The figure as sides, lengths, counts.
    ///
    /// # Errors
    /// If the paper reports words, or numbers that count nothing.
    pub fn counts(&self) -> Result<Vec<usize>> {
        let count = |number: f64| {
            let counts = number >= 0.0 && number <= u32::MAX.into() && number.fract() == 0.0;
            if counts { Some(number as usize) } else { None }
        };
        let counts = self.numbers()?.into_iter().map(count).collect::<Option<_>>();
        counts.ok_or_else(|| Error::invalid(format!("the paper's {:?} is not a count", self.key)))
    }

    /// The figure as a table has it: `512 colours`.
    pub fn text(&self) -> String {
        let numbers = match &self.value {
            Value::Words(words) => return words.clone(),
            Value::Number(number) => vec![*number],
            Value::Numbers(numbers) => numbers.clone(),
        };
        if let [first, .., last] = numbers[..]
            && numbers.len() > 8
        {
            let ends = [compare::plain(first), "…".to_owned(), compare::plain(last)].join(" ");
            return format!("{} ({} numbers)", compare::with_unit([ends], &self.unit), numbers.len());
        }
        compare::with_unit(numbers.into_iter().map(compare::plain), &self.unit)
    }
}

impl Paper {
    /// Reads the three files of a paper.
    ///
    /// # Errors
    /// If one cannot be read, has a field that is unknown or missing, or names something that is not there.
    pub fn open(folder: &Path) -> Result<Self> {
        let about: About = parse(&folder.join("paper.toml"))?;
        let reported: ReportedFile = parse(&folder.join("reported.toml"))?;
        let claims: ClaimsFile = parse(&folder.join("claims.toml"))?;
        let paper = Self { about, sources: reported.source, values: reported.value, claims: claims.claim };
        paper.check(folder)?;
        Ok(paper)
    }

    /// Checks what the files say of each other.
    fn check(&self, folder: &Path) -> Result<()> {
        let (reported, claims) = (folder.join("reported.toml"), folder.join("claims.toml"));
        let mut seen = HashSet::new();
        for value in &self.values {
            let wrong = |what: String| Err(Error::format(&reported, format!("{:?}: {what}", value.key)));
            if !seen.insert(&value.key) {
                return wrong("this key stands twice".into());
            }
            if self.section(&value.section).is_err() {
                return wrong(format!("paper.toml has no section {}", value.section));
            }
            if !self.sources.iter().any(|source| source.key == value.source) {
                return wrong(format!("there is no source {:?}", value.source));
            }
        }
        let mut seen = HashSet::new();
        for claim in &self.claims {
            let wrong = |what: String| Err(Error::format(&claims, format!("{:?}: {what}", claim.key)));
            if !seen.insert(&claim.key) {
                return wrong("this key stands twice".into());
            }
            if self.section(&claim.section).is_err() {
                return wrong(format!("paper.toml has no section {}", claim.section));
            }
            if claim.reported.is_empty() {
                return wrong("it names no reported figure that it is about".into());
            }
            if let Some(key) = claim.reported.iter().find(|key| self.reported(key).is_err()) {
                return wrong(format!("reported.toml has no {key:?}"));
            }
        }
        Ok(())
    }

    /// Authors, title, venue and where to read it, on one line.
    pub fn citation(&self) -> String {
        let About { title, authors, venue, year, version, url, .. } = &self.about;
        let first = authors.first().map_or("", String::as_str);
        let authors = if authors.len() > 2 { format!("{first} et al.") } else { authors.join(" and ") };
        format!("{authors}: {title}. {venue} {year} ({version}), {url}")
    }

    /// The sections, in the paper's order.
    pub fn sections(&self) -> &[Section] {
        &self.about.section
    }

    /// The section with this number.
    ///
    /// # Errors
    /// If there is none.
    pub fn section(&self, number: &str) -> Result<&Section> {
        find(self.sections(), "section", number, |section| &section.number)
    }

    /// What the paper reports under this key.
    ///
    /// # Errors
    /// If there is no such key.
    pub fn reported(&self, key: &str) -> Result<&Reported> {
        find(&self.values, "reported figure", key, |value| &value.key)
    }

    /// Our claims, of all sections.
    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// The claim with this key.
    ///
    /// # Errors
    /// If there is no such key.
    pub fn claim(&self, key: &str) -> Result<&Claim> {
        find(&self.claims, "claim", key, |claim| &claim.key)
    }

    /// Starts a table `reported | ours | verdict`. `ours` says what was run: the profile, the data, the device.
    pub fn compare(&self, ours: impl Into<String>) -> Comparison {
        Comparison::new(self.clone(), ours.into())
    }

    /// A table of what one section reports.
    ///
    /// # Errors
    /// If there is no such section.
    pub fn reported_in(&self, section: &str) -> Result<Table> {
        let section = self.section(section)?;
        let values = self.values.iter().filter(|value| value.section == section.number);
        Table::new(["What the paper reports", "", "Page"])
            .caption(format!("Section {}, {}", section.number, section.title))
            .rows(values.map(|value| (&value.what, value.text(), value.page)))
    }
}

impl Show for Section {
    fn to_html(&self) -> String {
        let head = format!("{} {} (page {})", self.number, self.title, self.page);
        crate::show::Page::new().heading(&head).show(&self.summary).to_html()
    }

    fn to_text(&self) -> String {
        format!("{} {} (page {})\n{}\n", self.number, self.title, self.page, self.summary)
    }
}

crate::show::displays!(Section);

fn find<'a, T>(all: &'a [T], what: &str, key: &str, name: impl Fn(&T) -> &String) -> Result<&'a T> {
    all.iter().find(|one| name(one) == key).ok_or_else(|| {
        let known: Vec<_> = all.iter().map(|one| name(one).as_str()).collect();
        Error::invalid(format!("there is no {what} {key:?}; there are {}", known.join(", ")))
    })
}

fn parse<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    toml::from_str(&text).map_err(|e| Error::format(path, e.to_string().trim_end()))
}

#[cfg(test)]
mod tests;
