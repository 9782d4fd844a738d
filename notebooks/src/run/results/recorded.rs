//! Recorded runs: `papers/NAME/results/PROFILE.toml`, one form of file for all papers and profiles.
//!
//! A file is made by `igpt record` and never edited: its key begins the SHA-256 of all that follows the key, so that an edited file is
//! refused.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    hex::hex,
    run::{
        journal::short,
        listed::{Listed, counts},
    },
};

/// The form that this version writes and reads.
const SCHEMA: i64 = 1;

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
    /// The seeds whose networks are compared. A result may have another one, for other chance than theirs.
    pub seeds: Vec<u64>,
    /// The data that results were computed from.
    #[serde(default)]
    pub data: Vec<Data>,
    /// What the notebooks made of claims, in the order of the paper's list.
    #[serde(rename = "claim")]
    pub claims: Vec<Judgement>,
    /// The notebooks that judged them.
    #[serde(rename = "notebook")]
    pub notebooks: Vec<OfNotebook>,
    /// The stored results that these notebooks used.
    #[serde(default, rename = "result")]
    pub results: Vec<OfResult>,
    /// The profile's settings.
    pub settings: toml::Table,
}

/// Data, as the results name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Its name.
    pub name: String,
    /// Its revision, if it has one.
    #[serde(default)]
    pub revision: String,
    /// The SHA-256 of what was read.
    pub sha256: String,
}

/// What came of a claim.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judgement {
    /// The claim's key.
    pub claim: String,
    /// `finding` or `check`.
    pub kind: String,
    /// The verdict, in words.
    pub verdict: String,
    /// What the paper reports, as the table has it.
    pub reported: String,
    /// What was measured, as the table has it.
    pub ours: String,
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

/// An effect with its 95 % interval.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effect {
    /// The mean.
    pub mean: f64,
    /// The interval; none if nothing is known of the error.
    pub interval: Option<[f64; 2]>,
    /// Of how many seeds; 0 if they are not what varies.
    pub seeds: usize,
    /// Of how many images; 0 if they are not what varies.
    pub images: usize,
}

/// A rank correlation with its 95 % interval.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// From -1 to 1.
    pub correlation: f64,
    /// The interval; none for a few pairs.
    pub interval: Option<[f64; 2]>,
    /// Of how many pairs.
    pub pairs: usize,
}

/// A notebook of the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfNotebook {
    /// Its name.
    pub name: String,
    /// The SHA-256 of its cells without their outputs.
    pub cells: String,
    /// What it took, in seconds.
    pub seconds: f64,
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
        let texts = |all: &[String]| list(all.iter().map(|one| text(one)));
        let mut lines = vec![
            format!("schema = {}", self.schema),
            format!("paper = {}", text(&self.paper)),
            format!("profile = {}", text(&self.profile)),
            format!("date = {}", text(&self.date)),
            format!("commit = {}", text(&self.commit)),
        ];
        if !self.uncommitted.is_empty() {
            lines.push(format!("uncommitted = {}", texts(&self.uncommitted)));
        }
        lines.extend([
            format!("sources = {}", text(&self.sources)),
            format!("igpt = {}", text(&self.igpt)),
            format!("processor = {}", text(&self.processor)),
            format!("devices = {}", texts(&self.devices)),
            format!("seeds = {}", list(self.seeds.iter().map(ToString::to_string))),
        ]);
        for Data { name, revision, sha256 } in &self.data {
            lines.extend([String::new(), "[[data]]".into(), format!("name = {}", text(name))]);
            if !revision.is_empty() {
                lines.push(format!("revision = {}", text(revision)));
            }
            lines.push(format!("sha256 = {}", text(sha256)));
        }
        for claim in &self.claims {
            lines.extend([
                String::new(),
                "[[claim]]".into(),
                format!("claim = {}", text(&claim.claim)),
                format!("kind = {}", text(&claim.kind)),
                format!("verdict = {}", text(&claim.verdict)),
                format!("reported = {}", text(&claim.reported)),
                format!("ours = {}", text(&claim.ours)),
            ]);
            if !claim.numbers.is_empty() {
                lines.push(format!("numbers = {}", list(claim.numbers.iter().map(|x| number(*x)))));
            }
            if !claim.effects.is_empty() {
                let each = claim.effects.iter().map(|Effect { mean, interval, seeds, images }| {
                    let (mean, interval) = (number(*mean), optional(interval.as_ref()));
                    format!("{{ mean = {mean},{interval} seeds = {seeds}, images = {images} }}")
                });
                lines.push(format!("effects = {}", list(each)));
            }
            if let Some(Order { correlation, interval, pairs }) = &claim.order {
                let (correlation, interval) = (number(*correlation), optional(interval.as_ref()));
                lines.push(format!("order = {{ correlation = {correlation},{interval} pairs = {pairs} }}"));
            }
            lines.push(format!("notebook = {}", text(&claim.notebook)));
            if !claim.results.is_empty() {
                lines.push(format!("results = {}", texts(&claim.results)));
            }
        }
        for OfNotebook { name, cells, seconds } in &self.notebooks {
            lines.extend([
                String::new(),
                "[[notebook]]".into(),
                format!("name = {}", text(name)),
                format!("cells = {}", text(cells)),
                format!("seconds = {seconds:.1}"),
            ]);
        }
        for OfResult { step, key, seconds, seed, device, commit, date } in &self.results {
            lines.extend([
                String::new(),
                "[[result]]".into(),
                format!("step = {}", text(step)),
                format!("key = {}", text(key)),
                format!("seconds = {seconds:.1}"),
            ]);
            lines.extend(seed.map(|seed| format!("seed = {seed}")));
            let known = [("device", device), ("commit", commit), ("date", date)];
            let known = known.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
            lines.extend(known.map(|(name, value)| format!("{name} = {}", text(value))));
        }
        lines.push(String::new());
        let settings = toml::Table::from_iter([("settings".to_owned(), self.settings.clone().into())]);
        // Settings were read from TOML, and can be written as such.
        lines.join("\n") + "\n" + &toml::to_string(&settings).unwrap_or_default()
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// One that is no recorded run, is of another form, or was edited.
    pub fn parse(text: &str) -> Result<Self> {
        ensure!(is_recorded(text), "it is no recorded run");
        let recorded: Self = toml::from_str(text)?;
        ensure!(
            recorded.schema == SCHEMA,
            "it has the form {}, and this version of igpt reads {SCHEMA}",
            recorded.schema
        );
        let line = format!("key = \"{}\"\n", recorded.key);
        let body = text.split_once(&line).map(|(_, body)| body).context("it has no line with its key")?;
        if key_of(body) != recorded.key {
            bail!("it was edited: its key is not that of its text; `igpt record` makes it anew from a run");
        }
        Ok(recorded)
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
    pub fn claim(&self, key: &str) -> Option<&Judgement> {
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

    /// `seed 1`, `seeds 1, 2, 3`; nothing if nothing was left to chance.
    pub fn seeds_in_words(&self) -> String {
        let seeds: Vec<String> = self.seeds.iter().map(ToString::to_string).collect();
        match seeds.len() {
            0 => String::new(),
            1 => format!("seed {}", seeds[0]),
            _ => format!("seeds {}", seeds.join(", ")),
        }
    }

    /// Where it comes from, for people: names and values.
    pub fn provenance(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![
            ("profile", self.profile.clone()),
            ("seeds", self.seeds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
            ("date", self.date.clone()),
            ("commit", self.commit.clone()),
        ];
        if !self.uncommitted.is_empty() {
            facts.push(("uncommitted changes", self.uncommitted.join(", ")));
        }
        facts.push(("sources", format!("SHA-256 {}", self.sources)));
        for data in &self.data {
            let revision =
                if data.revision.is_empty() { String::new() } else { format!(" {}", data.revision) };
            facts.push(("data", format!("{}{revision}, SHA-256 {}", data.name, data.sha256)));
        }
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
        format!("{} {}: {}", self.step, short(&self.key), parts.join(", "))
    }
}

/// Whether a text means to be a recorded run: other files of a folder of results are none.
pub fn is_recorded(text: &str) -> bool {
    text.lines().find(|line| !line.starts_with('#')).is_some_and(|line| line.starts_with("key = "))
}

/// The recorded run of a paper's profile; none if there is none.
///
/// # Errors
/// As [`Recorded::parse`].
pub fn of(papers: &Path, paper: &str, profile: &str) -> Result<Option<Recorded>> {
    let file = papers.join(paper).join("results").join(format!("{profile}.toml"));
    if file.exists() { Recorded::read(&file).map(Some) } else { Ok(None) }
}

/// All recorded runs of all papers, by paper and profile.
///
/// # Errors
/// As [`Recorded::parse`].
pub fn all(papers: &Path) -> Result<Vec<Recorded>> {
    let mut found = Vec::new();
    for paper in crate::files::folders(papers) {
        let entries = fs::read_dir(paper.join("results")).into_iter().flatten().flatten();
        let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|ending| ending == "toml"));
        files.sort();
        for file in files {
            if fs::read_to_string(&file).is_ok_and(|text| is_recorded(&text)) {
                found.push(Recorded::read(&file)?);
            }
        }
    }
    Ok(found)
}

/// A text in TOML.
fn text(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A number in TOML, with no more than six decimals: more say nothing of an effect.
fn number(number: f64) -> String {
    let rounded = (number * 1e6).round() / 1e6;
    // Where it is so large that rounding fails, as it is.
    toml::Value::from(if rounded.is_finite() { rounded } else { number }).to_string()
}

fn optional(interval: Option<&[f64; 2]>) -> String {
    let ends = interval.map(|[low, high]| format!(" interval = [{}, {}],", number(*low), number(*high)));
    ends.unwrap_or_default()
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
        let effect = Effect { mean: 1.234_567_89, interval: Some([0.5, 2.0]), seeds: 1, images: 10 };
        let finding = Judgement {
            claim: "one".into(),
            kind: "finding".into(),
            verdict: "supported".into(),
            reported: "3.3 \"points\" (p. 5)".into(),
            ours: "1.2 [0.5, 2.0] points".into(),
            effects: vec![effect.clone(), Effect { interval: None, ..effect }],
            notebook: "4.1".into(),
            results: vec!["0123456789abcdef".into()],
            ..Judgement::default()
        };
        let check = Judgement {
            claim: "three".into(),
            kind: "check".into(),
            verdict: "passed".into(),
            numbers: vec![3.0, -0.5],
            notebook: "4.1".into(),
            ..Judgement::default()
        };
        let order = Order { correlation: 0.5, interval: Some([0.25, 0.75]), pairs: 9 };
        let ordered =
            Judgement { claim: "two".into(), order: Some(order), effects: vec![], ..finding.clone() };
        let run = Recorded {
            key: String::new(),
            schema: 0,
            paper: "p".into(),
            profile: "quick".into(),
            date: "2026-11-29T08:00:00Z".into(),
            commit: "0123456789abcdef0123456789abcdef01234567".into(),
            uncommitted: vec!["kernel-lib/src/a.rs".into()],
            sources: "cafe".into(),
            igpt: "0.1.0".into(),
            processor: "a processor, 2 cores".into(),
            devices: vec!["cpu".into()],
            seeds: vec![1, 2],
            data: vec![Data { name: "images".into(), revision: "r".into(), sha256: "beef".into() }],
            claims: vec![finding, ordered, check],
            notebooks: vec![OfNotebook { name: "4.1".into(), cells: "f00d".into(), seconds: 1.5 }],
            results: vec![
                OfResult {
                    step: "probe".into(),
                    key: "0123456789abcdef0".into(),
                    seconds: 2.0,
                    seed: Some(1),
                    device: Some("cpu".into()),
                    commit: Some("0123456789abcdef".into()),
                    date: Some("2026-11-28T08:00:00Z".into()),
                },
                OfResult { step: "lost".into(), key: "fedcba".into(), ..OfResult::default() },
            ],
            settings: "a = 1\n[b.c]\nd = \"x\"".parse().unwrap(),
        };
        run.sealed()
    }

    #[test]
    fn what_is_written_can_be_read_and_what_was_edited_is_refused() {
        let run = example();
        let text = run.to_text();
        assert_eq!(run.key.len(), 12);
        let read = Recorded::parse(&text).unwrap();
        assert_eq!(read.to_text(), text, "written again it is the same");
        assert_eq!(read.claims[0].effects[0].mean, 1.234_568);
        assert_eq!(read.settings, run.settings);
        assert_eq!(read.claims[1].order, run.claims[1].order);
        assert_eq!(
            (&read.results, &read.data, &read.uncommitted),
            (&run.results, &run.data, &run.uncommitted)
        );
        for (from, to, why) in [
            ("verdict = \"supported\"", "verdict = \"plateau\"", "it was edited"),
            ("2026-11-29", "2026-11-30", "it was edited"),
            ("schema = 1", "schema = 2", "the form 2"),
            ("kind = \"check\"", "kind = \"check\"\ncolour = 1", "colour"),
            ("key = \"", "kee = \"", "no recorded run"),
        ] {
            let error = format!("{:#}", Recorded::parse(&text.replacen(from, to, 1)).unwrap_err());
            assert!(error.contains(why), "{from}: {error}");
        }
    }

    #[test]
    fn other_files_beside_it_are_no_recorded_runs() {
        let folder = tempfile::tempdir().unwrap();
        let results = folder.path().join("p/results");
        fs::create_dir_all(&results).unwrap();
        fs::write(results.join("times.toml"), "# Seconds\n[quick]\n").unwrap();
        assert!(all(folder.path()).unwrap().is_empty() && of(folder.path(), "p", "quick").unwrap().is_none());
        fs::write(results.join("quick.toml"), example().to_text()).unwrap();
        assert_eq!(all(folder.path()).unwrap().len(), 1);
        assert_eq!(of(folder.path(), "p", "quick").unwrap().unwrap().key, example().key);
        let error = of(folder.path(), "p", "times").unwrap_err();
        assert!(format!("{error:#}").contains("no recorded run"), "{error:#}");
    }

    #[test]
    fn committed_records_can_be_read() {
        let root = crate::repository::root().unwrap();
        for run in all(&root.join("papers")).unwrap() {
            let listed = crate::run::listed::listed(&root.join("papers"), &run.paper);
            assert!(!run.claims.is_empty() && run.uncommitted.is_empty(), "{}", run.key);
            // A claim that was renamed since has to be recorded anew.
            let unknown = run.claims.iter().find(|claim| !listed.iter().any(|one| one.key == claim.claim));
            assert!(unknown.is_none(), "{unknown:?}");
        }
    }
}
