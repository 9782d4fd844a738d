//! A paper as data: what it is, what it reports, and what we claim to test of it.
//!
//! Each paper has a folder in `papers/` with `paper.toml`, `reported.toml` and `claims.toml`; an unknown field in them is an
//! error, and so is a claim that names a figure that is not there. `papers/README.md` says how to add one.
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
mod recorded;
mod table;

pub use claim::{Claim, Kind, Measured, Test, Verdict};
pub use compare::Comparison;
pub use recorded::{RecordedClaim, RecordedRun};
pub use table::ReportedTable;

use crate::profile::Profile;
use crate::show::{Show, Table, fixed};
use crate::{Error, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use std::path::Path;

/// *Generative Pretraining from Pixels*: `open("igpt")`.
///
/// # Errors
/// If its files cannot be read, or contradict themselves.
pub fn igpt() -> Result<Paper> {
    open("igpt")
}

/// The paper of this name: that of its folder in `papers/`.
///
/// # Errors
/// If there is none, or its files cannot be read, or contradict themselves.
pub fn open(name: &str) -> Result<Paper> {
    // Not `crate::root()`: that asks for the data too, and a paper can be read without any.
    let papers = crate::root::folder().join("papers");
    let is_paper = |folder: &Path| folder.join("paper.toml").is_file();
    if !is_paper(&papers.join(name)) {
        let folders = std::fs::read_dir(&papers).map_err(|e| Error::io(&papers, e))?;
        let folders = folders.flatten().map(|entry| entry.path()).filter(|folder| is_paper(folder));
        let mut known: Vec<String> = folders.map(|folder| name_of(&folder)).collect();
        known.sort();
        return Err(Error::invalid(format!("there is no paper {name:?}; there are {}", known.join(", "))));
    }
    Paper::open(&papers.join(name))
}

/// A paper is called as its folder is.
fn name_of(folder: &Path) -> String {
    folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A paper: its sections, the figures that it reports, and our claims about them.
#[derive(Debug, Clone)]
pub struct Paper {
    name: String,
    about: About,
    sources: Vec<Source>,
    values: Vec<Reported>,
    tables: Vec<ReportedTable>,
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
    #[serde(default)]
    table: Vec<ReportedTable>,
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

/// A number with the digits that its source has: 94 is not 94.0.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Number {
    /// Printed without decimals.
    Whole(i64),
    /// Printed with decimals.
    Decimal(f64),
}

impl Number {
    fn value(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Decimal(decimal) => decimal,
        }
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(whole) => f.write_str(&fixed(*whole as f64, 0).into_text()),
            // The shortest digits that are this number, and one decimal at least.
            Self::Decimal(decimal) => write!(f, "{decimal:?}"),
        }
    }
}

/// What the paper reports in one place.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Value {
    /// A number.
    Number(Number),
    /// Several numbers.
    Numbers(Vec<Number>),
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
    /// The page, where it is known.
    pub page: Option<u32>,
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
    /// Which of the facts of `tests/fixtures/paper/reported.toml` it is.
    #[serde(default)]
    pub fact: Vec<String>,
}

impl Reported {
    /// The figure as one number.
    ///
    /// # Errors
    /// If the paper reports several, or words.
    pub fn number(&self) -> Result<f64> {
        match self.value {
            Value::Number(number) => Ok(number.value()),
            _ => Err(Error::invalid(format!("the paper's {:?} is not one number: use numbers()", self.key))),
        }
    }

    /// The figure as numbers: one, or several.
    ///
    /// # Errors
    /// If the paper reports words.
    pub fn numbers(&self) -> Result<Vec<f64>> {
        match &self.value {
            Value::Number(number) => Ok(vec![number.value()]),
            Value::Numbers(numbers) => Ok(numbers.iter().map(|number| number.value()).collect()),
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
            let ends = [first.to_string(), "…".to_owned(), last.to_string()].join(" ");
            return format!("{} ({} numbers)", compare::with_unit([ends], &self.unit), numbers.len());
        }
        compare::with_unit(numbers.into_iter().map(|number| number.to_string()), &self.unit)
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
        let paper = Self {
            name: name_of(folder),
            about,
            sources: reported.source,
            values: reported.value,
            tables: reported.table,
            claims: claims.claim,
        };
        paper.check(folder)?;
        Ok(paper)
    }

    /// Checks what the files say of each other.
    fn check(&self, folder: &Path) -> Result<()> {
        let (reported, claims) = (folder.join("reported.toml"), folder.join("claims.toml"));
        let mut seen = HashSet::new();
        let values = self.values.iter().map(|value| (&value.key, &value.section, vec![&value.source]));
        let tables = self.tables.iter().map(|table| (&table.key, &table.section, table.sources()));
        for (key, section, sources) in values.chain(tables) {
            let wrong = |what: String| Err(Error::format(&reported, format!("{key:?}: {what}")));
            if !seen.insert(key) {
                return wrong("this key stands twice".into());
            }
            if self.section(section).is_err() {
                return wrong(format!("paper.toml has no section {section}"));
            }
            if let Some(source) =
                sources.into_iter().find(|source| !self.sources.iter().any(|known| known.key == **source))
            {
                return wrong(format!("there is no source {source:?}"));
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
            if let Some(fault) = claim.fault() {
                return wrong(fault.into());
            }
            if let Some(key) = claim.reported.iter().find(|key| self.cited(key).is_err()) {
                return wrong(format!("reported.toml has no {key:?}"));
            }
        }
        Ok(())
    }

    /// Its name here: that of its folder in `papers/`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Authors, title, venue and where to read it, on one line.
    pub fn citation(&self) -> String {
        let About { title, authors, venue, year, version, url, .. } = &self.about;
        let first = authors.first().map_or("", String::as_str);
        let authors = if authors.len() > 2 { format!("{first} et al.") } else { authors.join(" and ") };
        format!("{authors}: {title}. {venue} {year} ({version}), {url}")
    }

    /// The same with all authors as BibTeX, for whoever cites the paper.
    pub fn bibtex(&self) -> String {
        let About { title, authors, venue, year, url, .. } = &self.about;
        format!(
            "@inproceedings{{{}{year},\n  title = {{{title}}},\n  author = {{{}}},\n  booktitle = {{{venue}}},\n  year = \
             {{{year}}},\n  url = {{{url}}}\n}}",
            self.name,
            authors.join(" and ")
        )
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

    /// The table of the paper with this key: `table1`, `figure2`.
    ///
    /// # Errors
    /// If there is no such key.
    pub fn table(&self, key: &str) -> Result<&ReportedTable> {
        find(&self.tables, "reported table", key, |table| &table.key)
    }

    /// A reported figure, or a table, as it is cited beside ours: with its page, and how it is known unless it was simply read.
    pub(crate) fn cited(&self, key: &str) -> Result<String> {
        let (text, page, confidence) = match self.tables.iter().find(|table| table.key == key) {
            Some(table) => (table.name().to_owned(), table.page, table.confidence),
            None => {
                let value = self.reported(key)?;
                (value.text(), value.page, value.confidence)
            }
        };
        let page = page.map(|page| format!("p. {page}"));
        let known = match confidence {
            Confidence::Read => None,
            Confidence::Derived => Some("derived".to_owned()),
            Confidence::Digitised => Some("digitised".to_owned()),
        };
        let beside: Vec<String> = [page, known].into_iter().flatten().collect();
        Ok(if beside.is_empty() { text } else { format!("{text} ({})", beside.join(", ")) })
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

    /// Starts a table `reported | ours | verdict`. `ours` says what was run: [`Profile::ours`](crate::profile::Profile::ours), or the
    /// settings where they are others than the profile's. A recorded run keeps it beside each claim.
    ///
    /// If the current profile [judges nothing](crate::profile::Profile::judges), findings come out as untested.
    pub fn compare(&self, ours: impl Into<String>) -> Comparison {
        self.compare_with(ours.into())
    }

    fn compare_with(&self, ours: String) -> Comparison {
        // A profile that cannot be read has been refused where it was asked for.
        let profile = Profile::current().ok().filter(|profile| !profile.judges);
        Comparison::new(self.clone(), ours, profile.map(|profile| profile.name))
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
            .rows(values.map(|value| {
                let page = value.page.map_or_else(|| "–".to_owned(), |page| page.to_string());
                (&value.what, value.text(), page)
            }))
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
