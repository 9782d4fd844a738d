//! Recorded runs: `papers/NAME/results/PROFILE.toml`, one form of file for all papers and profiles.
//!
//! A file is made by `igpt record` and never edited: its key begins the SHA-256 of all that follows the key, so that an edited file is
//! refused.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::stored;
use crate::{
    hex::hex,
    run::{
        journal::{Data, Effect, Order, short},
        listed::{Listed, counts},
    },
};

/// The form that this version writes and reads.
const SCHEMA: i64 = 2;

const HEADING: &str = "\
# A recorded run of the notebooks. Made by `igpt record`, never edited: `key` begins the SHA-256 of all that follows it.
# `igpt results` lists recorded runs; docs/results.md says what the fields are.
";

/// A recorded run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// Twelve hexadecimal digits.
    pub key: String,
    /// The form of the file.
    pub schema: i64,
    /// The paper's name.
    pub paper: String,
    /// The profile.
    pub profile: String,
    /// What tables say that their numbers are of, where that is the profile as it is.
    #[serde(default)]
    pub profile_labels: Vec<String>,
    /// When the run ended, in UTC.
    pub date: String,
    /// The commit that it was of.
    pub commit: String,
    /// Files that were not as in the commit.
    #[serde(default)]
    pub uncommitted: Vec<String>,
    /// The SHA-256 of all files that cells may use.
    pub sources: String,
    /// The version of the command.
    pub igpt: String,
    /// The processor of the machine that ran the notebooks.
    pub processor: String,
    /// The devices that computed results, as the results say.
    pub devices: Vec<String>,
    /// The data that notebooks read, or that their results were computed from.
    #[serde(default)]
    pub data: Vec<Data>,
    /// What the notebooks made of claims, in the order of the paper's list.
    #[serde(rename = "claim")]
    pub claims: Vec<OfClaim>,
    /// All notebooks of the run.
    #[serde(rename = "notebook")]
    pub notebooks: Vec<OfNotebook>,
    /// The stored results that notebooks had used which judged a claim.
    #[serde(default, rename = "result")]
    pub results: Vec<OfResult>,
    /// The settings of the profile's file. A notebook may have taken others: a claim's `label` and a result's `description` say which.
    pub profile_settings: toml::Table,
}

/// What came of a claim.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfClaim {
    /// The claim's key.
    pub claim: String,
    /// `finding` or `check`.
    pub kind: String,
    /// The SHA-256 of its statement and criterion, as they were.
    pub criterion: String,
    /// The verdict, in words.
    pub verdict: String,
    /// What the paper reports, as the table has it.
    pub reported: String,
    /// What was measured, as the table has it.
    pub ours: String,
    /// What it was measured of, as the table has it.
    pub label: String,
    /// Of a check: the numbers.
    #[serde(default)]
    pub numbers: Vec<f64>,
    /// Of a finding: effects with the intervals by which they were judged.
    #[serde(default)]
    pub effects: Vec<Effect>,
    /// Of a finding about an order.
    pub order: Option<Order>,
    /// The notebook that judged it.
    pub notebook: String,
    /// Stored results that the notebook had used when it did: the first 16 digits of their keys.
    #[serde(default)]
    pub results: Vec<String>,
}

/// A notebook of the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfNotebook {
    /// Its name.
    pub name: String,
    /// Its file, from the top of the checkout.
    pub file: String,
    /// The SHA-256 of its cells without their outputs.
    pub cells: String,
    /// What it took, in seconds.
    pub seconds: f64,
    /// The names of the data that its cells read themselves.
    #[serde(default)]
    pub data: Vec<String>,
}

/// A stored result.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfResult {
    /// What computed it.
    pub step: String,
    /// Its key, all digits.
    pub key: String,
    /// What it took to compute, in seconds.
    pub seconds: f64,
    /// Its seed, if there was any chance in it.
    pub seed: Option<u64>,
    /// The device that computed it.
    pub device: Option<String>,
    /// The commit that was checked out when it was computed.
    pub commit: Option<String>,
    /// When it was computed.
    pub date: Option<String>,
    /// All that decided it, as JSON: settings, data, code, and the results that it needed.
    pub description: Option<String>,
    /// Why nothing is known of where it comes from, where nothing is.
    pub missing: Option<String>,
}

/// A list, and what stands between its entries.
struct Lines(Vec<String>);

impl Lines {
    /// `name = "text"`; nothing for an empty text, which is read back as one.
    fn text(&mut self, name: &str, value: &str) {
        self.0.push(format!("{name} = {}", text(value)));
    }

    fn text_if_any(&mut self, name: &str, value: Option<&String>) {
        self.0.extend(value.map(|value| format!("{name} = {}", text(value))));
    }

    fn texts_if_any(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            self.0.push(format!("{name} = {}", list(values.iter().map(|value| text(value)))));
        }
    }

    fn entry(&mut self, of: &str) {
        self.0.extend([String::new(), format!("[[{of}]]")]);
    }
}

impl Recorded {
    /// The same with the form that this version writes, and the key of its text.
    #[must_use]
    pub fn sealed(mut self) -> Self {
        self.schema = SCHEMA;
        self.key = key_of(&self.body());
        self
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        format!("{HEADING}key = \"{}\"\n{}", self.key, self.body())
    }

    /// What follows the key.
    fn body(&self) -> String {
        let mut lines = Lines(vec![format!("schema = {}", self.schema)]);
        lines.text("paper", &self.paper);
        lines.text("profile", &self.profile);
        lines.texts_if_any("profile_labels", &self.profile_labels);
        lines.text("date", &self.date);
        lines.text("commit", &self.commit);
        lines.texts_if_any("uncommitted", &self.uncommitted);
        lines.text("sources", &self.sources);
        lines.text("igpt", &self.igpt);
        lines.text("processor", &self.processor);
        lines.0.push(format!("devices = {}", list(self.devices.iter().map(|device| text(device)))));
        for Data { name, revision, sha256 } in &self.data {
            lines.entry("data");
            lines.text("name", name);
            lines.text_if_any("revision", Some(revision).filter(|revision| !revision.is_empty()));
            lines.text("sha256", sha256);
        }
        for claim in &self.claims {
            lines.entry("claim");
            for (name, value) in [
                ("claim", &claim.claim),
                ("kind", &claim.kind),
                ("criterion", &claim.criterion),
                ("verdict", &claim.verdict),
                ("reported", &claim.reported),
                ("ours", &claim.ours),
                ("label", &claim.label),
            ] {
                lines.text(name, value);
            }
            if !claim.numbers.is_empty() {
                lines.0.push(format!("numbers = {}", list(claim.numbers.iter().map(|x| number(*x)))));
            }
            if !claim.effects.is_empty() {
                let each = claim.effects.iter().map(|Effect { mean, low, high, seeds, images }| {
                    let known = known(&[("mean", *mean), ("low", *low), ("high", *high)]);
                    format!("{{ {known}seeds = {seeds}, images = {images} }}")
                });
                lines.0.push(format!("effects = {}", list(each)));
            }
            if let Some(Order { correlation, low, high, pairs }) = &claim.order {
                let known = known(&[("correlation", *correlation), ("low", *low), ("high", *high)]);
                lines.0.push(format!("order = {{ {known}pairs = {pairs} }}"));
            }
            lines.text("notebook", &claim.notebook);
            lines.texts_if_any("results", &claim.results);
        }
        for OfNotebook { name, file, cells, seconds, data } in &self.notebooks {
            lines.entry("notebook");
            lines.text("name", name);
            lines.text("file", file);
            lines.text("cells", cells);
            lines.0.push(format!("seconds = {}", number(*seconds)));
            lines.texts_if_any("data", data);
        }
        for OfResult { step, key, seconds, seed, device, commit, date, description, missing } in &self.results
        {
            lines.entry("result");
            lines.text("step", step);
            lines.text("key", key);
            lines.0.push(format!("seconds = {}", number(*seconds)));
            lines.0.extend(seed.map(|seed| format!("seed = {seed}")));
            for (name, value) in [
                ("device", device),
                ("commit", commit),
                ("date", date),
                ("description", description),
                ("missing", missing),
            ] {
                lines.text_if_any(name, value.as_ref());
            }
        }
        lines.0.push(String::new());
        let settings =
            toml::Table::from_iter([("profile_settings".to_owned(), self.profile_settings.clone().into())]);
        // Settings were read from TOML, and can be written as such.
        lines.0.join("\n") + "\n" + &toml::to_string(&settings).unwrap_or_default()
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// One that is no recorded run, is of another form, or was edited.
    pub fn parse(text: &str) -> Result<Self> {
        let schema = schema(text)?;
        ensure!(
            schema == SCHEMA,
            "it has the form {schema}, and this version of igpt reads {SCHEMA}: run the notebooks, and `igpt record` writes it anew"
        );
        Ok(toml::from_str(text)?)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// As [`Recorded::parse`].
    pub fn read(file: &Path) -> Result<Self> {
        let named = || format!("{} cannot be read", file.display());
        let text = fs::read_to_string(file).with_context(named)?;
        Self::parse(&text).with_context(named)
    }

    /// What it made of a claim.
    pub fn claim(&self, key: &str) -> Option<&OfClaim> {
        self.claims.iter().find(|claim| claim.claim == key)
    }

    /// How many findings and checks have which verdict.
    pub fn in_words(&self, listed: &[Listed]) -> String {
        let judged = self.claims.iter();
        counts(listed, judged.map(|claim| (&*claim.claim, &*claim.kind, &*claim.verdict)))
    }

    /// The day of the run.
    pub fn day(&self) -> &str {
        self.date.split('T').next().unwrap_or(&self.date)
    }

    /// What a claim was measured of, where that is something else than the profile as it is; of a label that goes on after the
    /// profile's the rest.
    pub fn apart<'a>(&self, claim: &'a OfClaim) -> Option<&'a str> {
        let label = claim.label.trim_end_matches('.');
        if label.is_empty() || self.profile_labels.iter().any(|usual| usual == label) {
            return None;
        }
        let rest =
            self.profile_labels.iter().find_map(|usual| label.strip_prefix(&**usual)?.strip_prefix("; "));
        Some(rest.unwrap_or(label))
    }

    /// The stored results that a notebook had used when it judged a claim.
    fn results_of(&self, claim: &OfClaim) -> impl Iterator<Item = &OfResult> {
        self.results.iter().filter(|result| claim.results.iter().any(|key| key == short(&result.key)))
    }

    /// The seeds of some results, by step: `pre-training 1, 2; few-labels 0`. Nothing if nothing was left to chance.
    fn seeds_in_words<'a>(results: impl Iterator<Item = &'a OfResult>) -> String {
        let mut steps: Vec<(&str, Vec<u64>)> = Vec::new();
        for result in results {
            let Some(seed) = result.seed else { continue };
            match steps.iter_mut().find(|(step, _)| *step == result.step) {
                Some((_, seeds)) if seeds.contains(&seed) => {}
                Some((_, seeds)) => seeds.push(seed),
                None => steps.push((&result.step, vec![seed])),
            }
        }
        let words = steps.into_iter().map(|(step, mut seeds)| {
            seeds.sort_unstable();
            let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
            format!("{step} {}", seeds.join(", "))
        });
        words.collect::<Vec<_>>().join("; ")
    }

    /// The seeds of the results that a claim was judged by. Not all of them are of networks: subsets of labelled images are drawn by
    /// one, too.
    pub fn seeds_of(&self, claim: &OfClaim) -> String {
        Self::seeds_in_words(self.results_of(claim))
    }

    /// Where what was made of one claim comes from, for people: names and values.
    pub fn provenance_of(&self, claim: &OfClaim) -> Vec<(&'static str, String)> {
        let results: Vec<&OfResult> = self.results_of(claim).collect();
        let notebook = self.notebooks.iter().find(|notebook| notebook.name == claim.notebook);
        let mut data: Vec<&str> =
            notebook.into_iter().flat_map(|notebook| notebook.data.iter().map(|name| &**name)).collect();
        let of_results = results.iter().flat_map(|result| result.data());
        let of_results: Vec<String> = of_results.map(|data| data.name).collect();
        data.extend(of_results.iter().map(|name| &**name));
        let read = self.data.iter().filter(|known| data.contains(&&*known.name)).map(data_in_words);
        let mut devices: Vec<&str> = results.iter().filter_map(|result| result.device.as_deref()).collect();
        devices.sort_unstable();
        devices.dedup();
        let seconds: f64 = results.iter().map(|result| result.seconds).sum();
        let took = notebook.map(|notebook| format!("notebook {:.0} s", notebook.seconds));
        let computed = (!results.is_empty()).then(|| format!("its results {seconds:.0} s to compute"));
        let mut facts = vec![
            ("settings", claim.label.clone()),
            ("seeds", self.seeds_of(claim)),
            ("commit", self.commit_in_words()),
            ("data", read.collect::<Vec<_>>().join("\n")),
            ("device", devices.join(", ")),
            ("took", [took, computed].into_iter().flatten().collect::<Vec<_>>().join(", ")),
        ];
        let missing: Vec<String> = results
            .iter()
            .filter_map(|result| {
                Some(format!("{} {}: {}", result.step, short(&result.key), result.missing.as_ref()?))
            })
            .collect();
        facts.push(("not known", missing.join("\n")));
        facts.retain(|(_, value)| !value.is_empty());
        facts
    }

    fn commit_in_words(&self) -> String {
        if self.uncommitted.is_empty() {
            self.commit.clone()
        } else {
            format!("{} and uncommitted changes", self.commit)
        }
    }

    /// In what two runs differ that judged a claim: then their numbers cannot be compared one by one. `other` is the one that is
    /// compared with.
    pub fn unlike(&self, other: &Self, claim: &str) -> Vec<&'static str> {
        let (Some(of_this), Some(of_other)) = (self.claim(claim), other.claim(claim)) else {
            return Vec::new();
        };
        let cells = |run: &Self, of: &OfClaim| {
            let notebook = run.notebooks.iter().find(|notebook| notebook.name == of.notebook);
            notebook.map(|notebook| notebook.cells.clone())
        };
        let unlike = [
            (
                "other settings",
                of_this.label != of_other.label || self.profile_settings != other.profile_settings,
            ),
            ("other cells", cells(self, of_this) != cells(other, of_other)),
            ("another criterion", of_this.criterion != of_other.criterion),
        ];
        unlike.into_iter().filter(|(_, differs)| *differs).map(|(what, _)| what).collect()
    }

    /// Results of which nobody knows where they come from, each with the reason.
    pub fn missing(&self) -> impl Iterator<Item = (&OfResult, &String)> {
        self.results.iter().filter_map(|result| Some((result, result.missing.as_ref()?)))
    }

    /// Where it comes from, for people: names and values.
    pub fn provenance(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![
            ("profile", self.profile.clone()),
            ("usual settings", self.profile_labels.join("\n")),
            ("seeds", Self::seeds_in_words(self.results.iter())),
            ("date", self.date.clone()),
            ("commit", self.commit.clone()),
            ("uncommitted changes", self.uncommitted.join(", ")),
        ];
        if !self.sources.is_empty() {
            facts.push(("sources", format!("SHA-256 {}", self.sources)));
        }
        facts.extend(self.data.iter().map(|data| ("data", data_in_words(data))));
        let seconds: f64 = self.notebooks.iter().map(|notebook| notebook.seconds).sum();
        let computed: f64 = self.results.iter().map(|result| result.seconds).sum();
        facts.extend([
            ("device", self.devices.join(", ")),
            ("processor", self.processor.clone()),
            ("igpt", self.igpt.clone()),
            ("notebooks took", format!("{seconds:.0} s")),
            ("results took", format!("{computed:.0} s to compute, in this run or an earlier one")),
        ]);
        facts.retain(|(_, value)| !value.is_empty());
        facts
    }
}

impl OfResult {
    /// Where it comes from, in a line.
    pub fn in_words(&self) -> String {
        let mut parts = vec![format!("{:.1} s", self.seconds)];
        parts.extend(self.seed.map(|seed| format!("seed {seed}")));
        parts.extend(self.device.clone());
        parts.extend(self.date.clone());
        parts.extend(
            self.commit.as_ref().map(|commit| format!("commit {}", commit.get(..12).unwrap_or(commit))),
        );
        parts.extend(self.missing.clone());
        format!("{} {}: {}", self.step, short(&self.key), parts.join(", "))
    }

    /// The data that it was computed from itself.
    pub fn data(&self) -> Vec<Data> {
        let description = self.description.as_deref();
        description.and_then(|description| stored::data_in(description).ok()).unwrap_or_default()
    }
}

/// `images r1, SHA-256 beef`
pub fn data_in_words(Data { name, revision, sha256 }: &Data) -> String {
    let revision = if revision.is_empty() { String::new() } else { format!(" {revision}") };
    format!("{name}{revision}, SHA-256 {sha256}")
}

/// The form of a file, and that it is as it was written.
///
/// # Errors
/// One that is no recorded run, or was edited.
fn schema(text: &str) -> Result<i64> {
    #[derive(Deserialize)]
    struct Any {
        key: String,
        schema: i64,
    }
    let Any { key, schema } = toml::from_str(text).context("it is no recorded run")?;
    let line = format!("key = \"{key}\"\n");
    let body = text.split_once(&line).map(|(_, body)| body).context("it has no line with its key")?;
    if key_of(body) != key {
        bail!("it was edited: its key is not that of its text; `igpt record` makes it anew from a run");
    }
    Ok(schema)
}

/// Whether a text is a record that may be written over: as it was written, be it of this form or of an earlier one.
///
/// # Errors
/// Why it is none.
pub fn may_go(text: &str) -> Result<()> {
    schema(text).map(drop)
}

/// The file of a paper's profile.
pub fn file(papers: &Path, paper: &str, profile: &str) -> PathBuf {
    papers.join(paper).join("results").join(format!("{profile}.toml"))
}

/// The recorded run of a paper's profile; none if there is none.
///
/// # Errors
/// As [`Recorded::parse`].
pub fn of(papers: &Path, paper: &str, profile: &str) -> Result<Option<Recorded>> {
    let file = file(papers, paper, profile);
    if file.exists() { Recorded::read(&file).map(Some) } else { Ok(None) }
}

/// The records in a folder with their files, by name; none if it is not there.
///
/// # Errors
/// A folder that cannot be listed; as [`Recorded::parse`] for each file that ends in `.toml`, since nothing else may stand there.
pub fn in_folder(folder: &Path) -> Result<Vec<(PathBuf, Recorded)>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let named = || format!("cannot list {}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(named)? {
        files.push(entry.with_context(named)?.path());
    }
    files.retain(|file| file.extension().is_some_and(|ending| ending == "toml"));
    files.sort();
    files.into_iter().map(|file| Recorded::read(&file).map(|run| (file, run))).collect()
}

/// All recorded runs of all papers, by paper and profile.
///
/// # Errors
/// As [`in_folder`].
pub fn all(papers: &Path) -> Result<Vec<Recorded>> {
    let mut found = Vec::new();
    for paper in crate::files::folders(papers) {
        for (there, run) in in_folder(&paper.join("results"))? {
            let file = file(papers, &run.paper, &run.profile);
            ensure!(
                there == file,
                "{} is a record of the paper {:?} and the profile {:?}, which belongs into {}",
                there.display(),
                run.paper,
                run.profile,
                file.display()
            );
            found.push(run);
        }
    }
    Ok(found)
}

/// A text in TOML.
fn text(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A number in TOML, with all its digits.
fn number(number: f64) -> String {
    toml::Value::from(number).to_string()
}

/// Those numbers that are known, each with a comma behind it.
fn known(numbers: &[(&str, Option<f64>)]) -> String {
    let known = numbers.iter().filter_map(|(name, value)| Some(format!("{name} = {}, ", number((*value)?))));
    known.collect()
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// The key of a run whose file has this behind its key.
fn key_of(body: &str) -> String {
    hex(&Sha256::digest(body))[..12].to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// One with all that may be in it.
    pub(crate) fn example() -> Recorded {
        let effect =
            Effect { mean: Some(1.234_567_89), low: Some(0.5), high: Some(2.0), seeds: 1, images: 10 };
        let finding = OfClaim {
            claim: "one".into(),
            kind: "finding".into(),
            criterion: "cafe".into(),
            verdict: "supported".into(),
            reported: "3.3 \"points\" (p. 5)".into(),
            ours: "1.2 [0.5, 2.0] points".into(),
            label: "profile quick, images, CPU".into(),
            effects: vec![effect.clone(), Effect { low: None, high: None, ..effect.clone() }],
            notebook: "4.1".into(),
            results: vec!["0123456789abcdef".into()],
            ..OfClaim::default()
        };
        let check = OfClaim {
            claim: "three".into(),
            kind: "check".into(),
            verdict: "passed".into(),
            numbers: vec![3.0, -0.5, 3e-7],
            notebook: "4.1".into(),
            ..OfClaim::default()
        };
        let order = Order { correlation: Some(0.5), low: Some(0.25), high: Some(0.75), pairs: 9 };
        let ordered = OfClaim {
            claim: "two".into(),
            label: "profile quick, images, CPU; 2 layers".into(),
            order: Some(order),
            effects: vec![Effect { seeds: 0, ..effect }],
            ..finding.clone()
        };
        let description =
            r#"{"data":[{"name":"images","revision":"r","sha256":"beef"}],"settings":{"a":'1'}}"#;
        let run = Recorded {
            key: String::new(),
            schema: 0,
            paper: "p".into(),
            profile: "quick".into(),
            profile_labels: vec!["profile quick, images, CPU".into()],
            date: "2026-11-29T08:00:00Z".into(),
            commit: "0123456789abcdef0123456789abcdef01234567".into(),
            uncommitted: vec!["kernel-lib/src/a.rs".into()],
            sources: "cafe".into(),
            igpt: "0.1.0".into(),
            processor: "a processor, 2 cores".into(),
            devices: vec!["cpu".into()],
            data: vec![
                Data { name: "data/cup.png".into(), revision: String::new(), sha256: "c0de".into() },
                Data { name: "images".into(), revision: "r".into(), sha256: "beef".into() },
            ],
            claims: vec![finding, ordered, check],
            notebooks: vec![OfNotebook {
                name: "4.1".into(),
                file: "notebooks/4.1.ipynb".into(),
                cells: "f00d".into(),
                seconds: 1.5,
                data: vec!["data/cup.png".into()],
            }],
            results: vec![
                OfResult {
                    step: "probe".into(),
                    key: "0123456789abcdef0".into(),
                    seconds: 2.0,
                    seed: Some(1),
                    device: Some("cpu".into()),
                    commit: Some("0123456789abcdef".into()),
                    date: Some("2026-11-28T08:00:00Z".into()),
                    description: Some(description.replace('\'', "\"")),
                    missing: None,
                },
                OfResult {
                    step: "lost".into(),
                    key: "fedcba".into(),
                    missing: Some("gone".into()),
                    ..OfResult::default()
                },
            ],
            profile_settings: "a = 1\n[b.c]\nd = \"x\"".parse().unwrap(),
        };
        run.sealed()
    }

    #[test]
    fn what_is_written_can_be_read_and_what_was_edited_is_refused() {
        let run = example();
        let text = run.to_text();
        assert_eq!(run.key.len(), 12);
        let read = Recorded::parse(&text).unwrap();
        assert_eq!(read, run, "nothing is rounded");
        assert_eq!(read.to_text(), text, "written again it is the same");
        assert_eq!(read.claims[2].numbers, [3.0, -0.5, 3e-7]);
        for (from, to, why) in [
            ("verdict = \"supported\"", "verdict = \"plateau\"", "it was edited"),
            ("2026-11-29", "2026-11-30", "it was edited"),
            ("schema = 2", "schema = 1", "it was edited"),
            ("key = \"", "kee = \"", "no recorded run"),
            ("[[claim]]", "<<<<<<< HEAD\n[[claim]]", "no recorded run"),
        ] {
            let error = format!("{:#}", Recorded::parse(&text.replacen(from, to, 1)).unwrap_err());
            assert!(error.contains(why), "{from}: {error}");
        }
    }

    /// Whoever has a file of another version learns that first, whatever else stands in it.
    #[test]
    fn another_form_is_told_from_damage() {
        let body = "schema = 1\ncolour = \"blue\"\n";
        let text = format!("key = \"{}\"\n{body}", key_of(body));
        let error = format!("{:#}", Recorded::parse(&text).unwrap_err());
        assert!(error.contains("the form 1") && error.contains("reads 2"), "{error}");
        assert!(may_go(&text).is_ok() && may_go(&example().to_text()).is_ok());
        for damaged in [&text[..text.len() - 3], "", "[quick]\n", &text.replace("blue", "red")] {
            assert!(may_go(damaged).is_err(), "{damaged}");
        }
        let body = "schema = 2\ncolour = \"blue\"\n";
        let unknown = format!("key = \"{}\"\n{body}", key_of(body));
        assert!(format!("{:#}", Recorded::parse(&unknown).unwrap_err()).contains("colour"));
    }

    #[test]
    fn all_that_stands_in_a_folder_of_results_is_a_recorded_run() {
        let folder = tempfile::tempdir().unwrap();
        let results = folder.path().join("p/results");
        fs::create_dir_all(&results).unwrap();
        assert!(all(folder.path()).unwrap().is_empty() && of(folder.path(), "p", "quick").unwrap().is_none());
        let text = example().to_text();
        fs::write(results.join("quick.toml"), &text).unwrap();
        fs::write(results.join("notes.md"), "no record").unwrap();
        assert_eq!(all(folder.path()).unwrap().len(), 1);
        assert_eq!(of(folder.path(), "p", "quick").unwrap().unwrap().key, example().key);
        let cut_off = text.rfind("d = ").unwrap();
        for (damaged, why) in [
            ("# Seconds\n[quick]\n", "no recorded run"),
            (&text[..cut_off], "it was edited"),
            (&text.replace("[[claim]]", "=======\n[[claim]]"), "no recorded run"),
            ("", "no recorded run"),
            // A record that lies in another's place.
            (&text, "which belongs into"),
        ] {
            fs::write(results.join("other.toml"), damaged).unwrap();
            let error = format!("{:#}", all(folder.path()).unwrap_err());
            assert!(error.contains(why) && error.contains("other.toml"), "{error}");
        }
    }

    #[test]
    fn what_a_claim_was_measured_of_is_said_where_it_is_not_the_profile() {
        let run = example();
        let apart = |label: &str| {
            let claim = OfClaim { label: label.into(), ..OfClaim::default() };
            run.apart(&claim).map(str::to_owned)
        };
        assert_eq!(apart("profile quick, images, CPU"), None);
        assert_eq!(apart("profile quick, images, CPU; 2 layers").unwrap(), "2 layers");
        assert_eq!(apart("six photographs, CPU.").unwrap(), "six photographs, CPU");
        assert_eq!(apart("profile quick, images, CPUs").unwrap(), "profile quick, images, CPUs");
    }

    #[test]
    fn each_claim_says_where_it_comes_from() {
        let run = example();
        let facts = run.provenance_of(&run.claims[1]);
        for fact in [
            ("settings", "profile quick, images, CPU; 2 layers"),
            ("seeds", "probe 1"),
            ("commit", "0123456789abcdef0123456789abcdef01234567 and uncommitted changes"),
            ("data", "data/cup.png, SHA-256 c0de\nimages r, SHA-256 beef"),
            ("device", "cpu"),
            ("took", "notebook 2 s, its results 2 s to compute"),
        ] {
            assert!(facts.contains(&(fact.0, fact.1.to_owned())), "{fact:?} in {facts:?}");
        }
        let of_check = run.provenance_of(&run.claims[2]);
        assert!(!of_check.iter().any(|(name, _)| *name == "seeds" || *name == "device"), "{of_check:?}");
    }

    #[test]
    fn runs_that_cannot_be_compared_say_why() {
        let run = example();
        assert!(run.unlike(&run, "one").is_empty());
        type Change = fn(&mut Recorded);
        for (change, what) in [
            ((|run| run.claims[0].label = "2 layers".into()) as Change, "other settings"),
            (|run| run.profile_settings = toml::Table::new(), "other settings"),
            (|run| run.notebooks[0].cells = "beef".into(), "other cells"),
            (|run| run.notebooks.clear(), "other cells"),
            (|run| run.claims[0].criterion = "beef".into(), "another criterion"),
        ] {
            let mut other = example();
            change(&mut other);
            assert_eq!(run.unlike(&other, "one"), [what]);
        }
        // The good twin: other numbers of the same.
        let mut other = example();
        other.claims[0].ours = "7".into();
        other.commit = "beef".into();
        assert!(run.unlike(&other, "one").is_empty());
    }
}
