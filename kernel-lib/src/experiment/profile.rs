//! Profiles: the settings of a whole run, as files.
//!
//! `profiles/NAME.toml` of a paper (`papers/igpt/profiles/quick.toml`, say) says what data a run reads, what network it trains and how, and how it probes and
//! samples. The environment variable `IGPT_PROFILE` names one; `quick` is the default. Each step of an experiment takes
//! its own part, which is then part of the [key](crate::store::Step) of its result: a change of the probe's settings
//! trains nothing anew.
//!
//! A profile that differs from another in a few settings names that one, `extends = "paper-s"`, and these settings: what a section
//! does not name is as there. Its sentence and its notebooks are its own.
//!
//! ```
//! let profile = igpt::profile::Profile::current()?;
//! println!("{}: batches of {} images", profile.name, profile.training.batch);
//! # Ok::<(), igpt::Error>(())
//! ```

use super::{Data, FeaturePrecision, Workspace};
use crate::model::{Config, Precision};
use crate::sample::Sampling;
use crate::show::{Cell, Show, Table};
use crate::train::{Training, WarmUp};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The profile that is taken when none is named.
pub const DEFAULT: &str = "quick";

/// All settings of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Profile {
    /// Its name: that of the file.
    #[serde(skip_deserializing)]
    pub name: String,
    /// What it is, in a sentence.
    pub about: String,
    /// The images that the network is trained on.
    pub data: Data,
    /// The palette.
    pub palette: Palette,
    /// The network's shape.
    pub model: Model,
    /// The network that others have trained and released, of this shape: `imagegpt-small`, `igpt-s-bert/1000000`. Then nothing is pre-trained, its palette
    /// is taken, and [`Profile::training`] says how its authors trained it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<String>,
    /// The notebooks that `igpt run` executes with this profile if none is named; absent: all. For a profile with a released network,
    /// which leaves out those that train networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notebooks: Vec<String>,
    /// Pre-training.
    pub training: Training,
    /// The seeds whose networks a comparison is about, `training.seed` first; absent: that one alone. See
    /// [`Profile::seeds`].
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "seeds")]
    pub all_seeds: Vec<u64>,
    /// Smaller networks, the largest first: what is trained beside the network to compare sizes, or several times. See
    /// [`Profile::smaller`].
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "smaller")]
    pub all_smaller: Vec<Model>,
    /// The share that notebooks take of their own numbers of images and steps, above 0 and at most 1. See
    /// [`Profile::within_budget`].
    #[serde(default = "all_of_it")]
    pub budget: f64,
    /// Whether findings are judged by what this profile computes. One for a first look (networks that learn next to nothing, few
    /// images) says no: then a comparison shows what was measured, and no verdict on any finding.
    #[serde(default = "yes")]
    pub judges: bool,
    /// The linear probe.
    pub probe: Probe,
    /// Samples.
    pub samples: Samples,
}

const fn yes() -> bool {
    true
}

const fn all_of_it() -> f64 {
    1.0
}

/// The palette of a run, fitted to the images that are trained on (section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Palette {
    /// Colours, or greys.
    pub colours: usize,
    /// Of k-means.
    #[serde(default = "one")]
    pub seed: u64,
}

const fn one() -> u64 {
    1
}

/// The shape of the network, as far as the data leaves it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Model {
    /// Transformer blocks, `L`.
    pub layers: usize,
    /// Width of the residual stream, `C`.
    pub width: usize,
    /// Attention heads, `H`.
    pub heads: usize,
}

/// How features are probed (section 2.4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Probe {
    /// The images that features are judged on, if they are others than those that the network is trained on.
    #[serde(default)]
    pub data: Option<Data>,
    /// Penalties λ that are tried.
    pub l2: Vec<f64>,
    /// How many of the training images a probe is fitted to (with the validation share); absent: all.
    pub images: Option<usize>,
    /// How features are kept on the disk, `"f16"` or `"f32"`; absent: as a step says, which is f32 if it says nothing. f16 takes
    /// half the room, and each table of a probe then says what rounding did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature_precision: Option<FeaturePrecision>,
}

/// Images that the network makes up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Samples {
    /// How many.
    pub images: usize,
    /// Steps of training after which they are made, beside the last one, each more than the one before: how they get
    /// better.
    #[serde(default = "at_the_start")]
    pub after: Vec<u64>,
    /// How tokens are drawn.
    #[serde(default)]
    pub sampling: Sampling,
}

fn at_the_start() -> Vec<u64> {
    vec![0]
}

impl Model {
    /// The whole shape of the network, for images of `side` × `side` pixels in so many colours.
    pub fn config(&self, side: usize, colours: usize) -> Config {
        Config {
            layers: self.layers,
            width: self.width,
            heads: self.heads,
            // A side whose square is no number makes a context that no network has.
            context: side.saturating_mul(side),
            vocabulary: colours,
            inner: None,
            classes: None,
        }
    }
}

/// Checks that a network can be kept after each of these steps of a training of `steps`.
///
/// # Errors
/// If a step comes after the last one, or they do not rise.
pub(crate) fn check_steps(after: &[u64], steps: u64) -> Result<()> {
    if !after.is_sorted_by(|a, b| a < b) {
        return Err(Error::invalid(format!(
            "the setting samples.after (steps of training, each more than the one before) makes no sense as {after:?}"
        )));
    }
    match after.last() {
        Some(last) if *last > steps => Err(Error::invalid(format!(
            "the setting samples.after asks for the network after step {last}, but the training has {steps} steps"
        ))),
        _ => Ok(()),
    }
}

impl Profile {
    /// The profile that `IGPT_PROFILE` names, or [`DEFAULT`].
    ///
    /// # Errors
    /// As [`Profile::named`].
    pub fn current() -> Result<Self> {
        match std::env::var("IGPT_PROFILE") {
            Ok(name) if !name.is_empty() => Self::named(&name),
            Ok(_) | Err(std::env::VarError::NotPresent) => Self::named(DEFAULT),
            Err(error) => Err(Error::invalid(format!("IGPT_PROFILE: {error}"))),
        }
    }

    /// The profile of this name.
    ///
    /// # Errors
    /// If there is none, two papers have one of this name, or its file has a field too many, too few, or one that makes no sense.
    pub fn named(name: &str) -> Result<Self> {
        // Settings, as papers, can be read without any data.
        let papers = crate::root::folder().join("papers");
        let entries = std::fs::read_dir(&papers).map_err(|e| Error::io(&papers, e))?;
        let folders = entries.flatten().map(|entry| entry.path().join("profiles"));
        let mut folders: Vec<PathBuf> = folders.filter(|folder| folder.is_dir()).collect();
        folders.sort();
        Self::open(&folders, name)
    }

    /// The one of this name in these folders.
    fn open(folders: &[PathBuf], name: &str) -> Result<Self> {
        let path = find(folders, name)?;
        let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
        let wrong = |error: toml::de::Error| Error::format(&path, error.to_string().trim_end());
        let own: toml::Table = text.parse().map_err(wrong)?;
        // Of a whole file, a mistake is told with its line.
        let read: Result<Self, _> = match own.contains_key(EXTENDS) {
            false => toml::from_str(&text),
            true => extended(folders, &path, own)?.try_into(),
        };
        let mut profile = read.map_err(wrong)?;
        profile.name = name.to_owned();
        profile.validate().map_err(|error| Error::format(&path, error.to_string()))?;
        Ok(profile)
    }

    /// The seeds whose networks a comparison is about: of several it shows mean and deviation. A notebook that shows one network
    /// shows that of `training.seed`.
    pub fn seeds(&self) -> Vec<u64> {
        if self.all_seeds.is_empty() { vec![self.training.seed] } else { self.all_seeds.clone() }
    }

    /// One of the smaller networks, 0 the largest of them.
    ///
    /// # Errors
    /// If the profile names no such network.
    pub fn smaller(&self, number: usize) -> Result<Model> {
        self.all_smaller.get(number).copied().ok_or_else(|| {
            if let Some(name) = &self.released {
                return Error::invalid(format!(
                    "the profile {} has the released network {name} and trains none, so it has no smaller one: choose a profile that \
                     trains networks (IGPT_PROFILE=quick)",
                    self.name
                ));
            }
            Error::invalid(format!(
                "the profile {} names {} smaller networks, and number {number}, from 0, is asked for: add it to its setting smaller",
                self.name,
                self.all_smaller.len()
            ))
        })
    }

    /// What this profile takes where a notebook has a number of images or steps of its own: the share that `budget` says, at
    /// least 1. It is how a profile of seconds shrinks all of a notebook.
    ///
    /// ```
    /// let mut profile = igpt::profile::Profile::named("quick")?;
    /// assert_eq!(profile.within_budget(400), 400);
    /// profile.budget = 0.05;
    /// assert_eq!(profile.within_budget(400), 20);
    /// # Ok::<(), igpt::Error>(())
    /// ```
    pub fn within_budget(&self, count: usize) -> usize {
        // So that 5 % of 400 are 20 whatever a binary fraction makes of 0.05.
        let share = (count as f64 * self.budget - 1e-9).ceil();
        (share as usize).clamp(1, count.max(1))
    }

    /// The shape of the network for these images.
    pub fn config(&self) -> Config {
        self.model.config(self.data.side, self.palette.colours)
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// If one makes no sense; the message says which.
    pub fn validate(&self) -> Result<()> {
        let Self { data, training, probe, samples, .. } = self;
        data.validate()?;
        if let Some(data) = &probe.data {
            data.validate()?;
        }
        self.config().validate()?;
        for network in &self.all_smaller {
            network.config(data.side, self.palette.colours).validate()?;
        }
        samples.sampling.validate()?;
        let positive = |x: f64| x > 0.0 && x.is_finite();
        let some = |x: Option<usize>| x != Some(0);
        for (name, right) in [
            (
                "probe.l2 (one or more, each above 0)",
                !probe.l2.is_empty() && probe.l2.iter().all(|x| positive(*x)),
            ),
            ("probe.images (at least 1)", some(probe.images)),
            (
                "seeds (each once, training.seed first)",
                self.seeds().first() == Some(&training.seed)
                    && self.seeds().iter().collect::<std::collections::HashSet<_>>().len()
                        == self.seeds().len(),
            ),
            ("samples.images (at least 1)", samples.images > 0),
            ("budget (above 0, at most 1)", self.budget > 0.0 && self.budget <= 1.0),
            (
                "smaller, seeds (none beside a released network, since nothing is trained)",
                self.released.is_none() || (self.all_smaller.is_empty() && self.all_seeds.is_empty()),
            ),
        ] {
            if !right {
                return Err(Error::invalid(format!("the setting {name} makes no sense as it is")));
            }
        }
        // Where the number of images is not known yet, what needs it is checked when it is.
        check_steps(&samples.after, data.training_steps(training)?.unwrap_or(u64::MAX))
    }

    /// What the table of a comparison says of our side: profile, data, device. Of settings that were changed in the notebook it
    /// says which are others than in the profile's file. What it says of unchanged ones the runner is told, so that a recorded run
    /// can show which results are of something else.
    ///
    /// # Errors
    /// If the data cannot be read.
    pub fn ours(&self, on: &Workspace) -> Result<String> {
        let mut data = self.data.name()?;
        if self.keeps_f16() {
            data.push_str(", features in f16");
        }
        let device = on.device().short();
        let changed = self.changed();
        if !changed.is_empty() {
            return Ok(format!(
                "profile {} with its {} changed, {data}, {device}",
                self.name,
                changed.join(" and ")
            ));
        }
        let label = format!("profile {}, {data}, {device}", self.name);
        crate::journal::note(&serde_json::json!({ "kind": "profile-label", "label": label }));
        Ok(label)
    }

    /// Whether features are rounded to f16 on the disk.
    fn keeps_f16(&self) -> bool {
        self.probe.feature_precision == Some(FeaturePrecision::F16)
    }

    /// Which settings are others than in the profile's file; none if there is no such file.
    fn changed(&self) -> Vec<&'static str> {
        let Ok(file) = Self::named(&self.name) else { return Vec::new() };
        let changed = [
            ("data", self.data != file.data),
            ("palette", self.palette != file.palette),
            ("model", self.model != file.model),
            ("released network", self.released != file.released),
            ("training", self.training != file.training),
            ("seeds", self.all_seeds != file.all_seeds),
            ("smaller networks", self.all_smaller != file.all_smaller),
            ("budget", self.budget != file.budget),
            ("judging", self.judges != file.judges),
            ("probe", self.probe != file.probe),
            ("samples", self.samples != file.samples),
        ];
        changed.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name).collect()
    }

    fn table(&self) -> Table {
        let Self { data, palette, model, training, probe, samples, .. } = self;
        let all = || "all".to_owned();
        let count = |x: Option<usize>| x.map_or_else(all, |x| Cell::from(x).into_text());
        let set = crate::data::title(&data.set);
        let length = training.length;
        let warm_up = match training.warm_up {
            WarmUp::Epoch => "one epoch".to_owned(),
            WarmUp::Steps(steps) => format!("{steps} steps"),
        };
        let precision = match training.precision {
            Precision::F32 => "",
            Precision::Bf16 => ", products in bf16",
            Precision::Tf32 => ", products in TF32",
        };
        let activations = if training.activation_checkpointing { ", activation checkpointing" } else { "" };
        let (released, trained) = match &self.released {
            Some(name) => (format!("{name} as released, "), "Training, by its authors"),
            None => (String::new(), "Training"),
        };
        let l2: Vec<String> = probe.l2.iter().map(|l2| format!("{l2:e}")).collect();
        let parameters = Cell::from(self.config().parameters()).into_text();
        let rows = [
            ("Data", format!("{set}, {}", data.augmentation)),
            ("Images", format!("{0} × {0} pixels, {1} colours", data.side, palette.colours)),
            ("Training, test images", format!("{}, {}", count(data.train_images), count(data.test_images))),
            ("Held out to choose by", crate::show::percent(data.validation, 0).into_text()),
            (
                "Network",
                format!(
                    "{released}{} layers, width {}, {} heads: {parameters} parameters",
                    model.layers, model.width, model.heads
                ),
            ),
            (trained, format!("{length} of {} images{precision}{activations}", training.batch)),
            ("Learning rate", format!("{:e}, {warm_up} of warm-up, cosine to 0", training.learning_rate)),
            (
                if self.all_seeds.len() > 1 { "Seeds" } else { "Seed" },
                self.seeds().iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
            ),
            ("Probe's L2", l2.join(", ") + if self.keeps_f16() { "; features kept as f16" } else { "" }),
            ("Samples", format!("{} at temperature {}", samples.images, samples.sampling.temperature)),
        ];
        let rows = rows.map(|(name, value)| [name.into(), Cell::text(value)]);
        Table::of(["Setting", "Value"], rows)
            .caption(format!("Profile {}", self.name))
            .note(self.about.clone())
    }
}

/// What a profile is called that another names as the one from which it differs in some settings.
const EXTENDS: &str = "extends";

/// What a profile says for itself: the command `igpt` reads it in its file alone.
const OWN: [&str; 2] = ["about", "notebooks"];

/// The settings of a profile that names another, and of that one, which has to be a whole profile: so a reader looks into two
/// files and not into more. Of a section each setting that is named is taken as a whole, be it a table itself.
fn extended(folders: &[PathBuf], path: &Path, mut own: toml::Table) -> Result<toml::Table> {
    let wrong = |what: String| Error::format(path, what);
    let name = match own.remove(EXTENDS) {
        Some(toml::Value::String(name)) => name,
        _ => return Err(wrong(format!("{EXTENDS} is the name of a profile, as in {EXTENDS} = \"paper-s\""))),
    };
    let base = find(folders, &name).map_err(|error| wrong(format!("{EXTENDS}: {error}")))?;
    let text = std::fs::read_to_string(&base).map_err(|e| Error::io(&base, e))?;
    let mut all: toml::Table =
        text.parse().map_err(|e: toml::de::Error| Error::format(&base, e.to_string().trim_end()))?;
    if all.contains_key(EXTENDS) {
        return Err(wrong(format!(
            "it extends {name:?}, which extends another profile: extend that one instead"
        )));
    }
    for setting in OWN {
        if all.remove(setting).is_some() && !own.contains_key(setting) {
            return Err(wrong(format!("the setting {setting} is missing: it is not taken from {name:?}")));
        }
    }
    for (section, value) in own {
        let both = match (all.remove(&section), value) {
            (Some(toml::Value::Table(mut of_base)), toml::Value::Table(named)) => {
                of_base.extend(named);
                toml::Value::Table(of_base)
            }
            (_, value) => value,
        };
        all.insert(section, both);
    }
    Ok(all)
}

/// The file of the profile of this name in these folders.
fn find(folders: &[PathBuf], name: &str) -> Result<PathBuf> {
    let mut known = Vec::new();
    for folder in folders {
        known.extend(names(folder)?.into_iter().map(|name| (name, folder)));
    }
    let file = |folder: &Path| folder.join(format!("{name}.toml"));
    let having: Vec<_> = known.iter().filter(|(known, _)| known == name).map(|(_, folder)| folder).collect();
    match having[..] {
        [] => {
            let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
            let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
            Err(Error::invalid(format!(
                "there is no profile {name:?}: set IGPT_PROFILE to one of {} (they are files in {})",
                names.join(", "),
                folders.join(", ")
            )))
        }
        [folder] => Ok(file(folder)),
        [first, second, ..] => Err(Error::invalid(format!(
            "there are two profiles {name:?}, {} and {}: a profile is found by its name alone, so give one of them another",
            file(first).display(),
            file(second).display()
        ))),
    }
}

/// The profiles that there are.
fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        if let (Some("toml"), Some(name)) =
            (path.extension().and_then(|e| e.to_str()), path.file_stem().and_then(|name| name.to_str()))
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

impl Show for Profile {
    fn to_html(&self) -> String {
        self.table().to_html()
    }
    fn to_text(&self) -> String {
        self.table().to_text()
    }
}

crate::show::displays!(Profile);

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn every_profile_of_the_repository_is_one() {
        for name in [
            "quick",
            "smoke",
            "cifar",
            "cifar-16",
            "cifar-short",
            "paper-s",
            "paper-s-cifar100",
            "paper-s-short",
            "paper-s-stl10",
            "paper-m",
            "paper-l",
            "paper-l-cifar100",
            "paper-l-stl10",
        ] {
            let profile = Profile::named(name).unwrap();
            assert_eq!(profile.name, name);
            let text = profile.to_text();
            assert!(text.starts_with(&format!("Profile {name}")), "{text}");
        }
        let quick = Profile::named("quick").unwrap().config();
        assert_eq!(
            quick,
            Config {
                layers: 12,
                width: 64,
                heads: 2,
                context: 196,
                vocabulary: 16,
                inner: None,
                classes: None
            }
        );
        let cifar = Profile::named("cifar").unwrap().config();
        assert_eq!((cifar.context, cifar.vocabulary), (1024, 512));
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../papers/igpt/profiles");
        assert_eq!(
            names(&folder).unwrap(),
            [
                "cifar",
                "cifar-16",
                "cifar-short",
                "paper-l",
                "paper-l-cifar100",
                "paper-l-stl10",
                "paper-m",
                "paper-s",
                "paper-s-cifar100",
                "paper-s-short",
                "paper-s-stl10",
                "quick",
                "smoke"
            ]
        );
        // The shapes of the released networks.
        for (name, config) in
            [("paper-s", Config::igpt_s()), ("paper-m", Config::igpt_m()), ("paper-l", Config::igpt_l())]
        {
            assert_eq!(Profile::named(name).unwrap().config(), config);
        }
    }

    /// Table 1's rows: of the profile for CIFAR-10 everything stays but the images.
    #[test]
    fn profiles_of_the_papers_data_sets_differ_by_their_images() {
        for size in ["paper-s", "paper-l"] {
            let whole = Profile::named(size).unwrap();
            assert_eq!((whole.data.set.as_str(), whole.data.side), ("cifar10", 32));
            for (set, padding) in [("cifar100", 4), ("stl10", 12)] {
                let profile = Profile::named(&format!("{size}-{set}")).unwrap();
                let mut data = whole.data.clone();
                data.set = set.into();
                data.augmentation = crate::augment::Augmentation::Crop { padding };
                assert_eq!(profile.data, data);
                assert_ne!(profile.about, whole.about);
                // Table 4 is of CIFAR-10.
                let notebooks = whole.notebooks.iter().filter(|name| !name.starts_with("4.7"));
                assert!(profile.notebooks.iter().eq(notebooks));
                let rest = |mut profile: Profile| {
                    (profile.name, profile.about) = Default::default();
                    (profile.notebooks, profile.data) = (Vec::new(), data.clone());
                    profile
                };
                assert_eq!(rest(profile), rest(whole.clone()));
            }
        }
    }

    #[test]
    fn a_profile_that_extends_another_is_checked_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let good = Path::new(env!("CARGO_MANIFEST_DIR")).join("../papers/igpt/profiles/quick.toml");
        let good = fs::read_to_string(good).unwrap();
        fs::write(folder.path().join("whole.toml"), format!("notebooks = [\"4.1\"]\n{good}")).unwrap();
        let said = |text: &str| {
            fs::write(folder.path().join("mine.toml"), text).unwrap();
            Profile::open(&[folder.path().to_owned()], "mine").map_err(|error| error.to_string())
        };
        let head = "extends = \"whole\"\nabout = \"Mine.\"\nnotebooks = [\"1\"]\n";
        let whole = Profile::open(&[folder.path().to_owned()], "whole").unwrap();
        let mine = said(&format!("{head}seeds = [1, 2]\n[training]\nlength = {{ epochs = 1.5 }}\n")).unwrap();
        assert_eq!((mine.about.as_str(), &mine.notebooks[..]), ("Mine.", &["1".to_owned()][..]));
        // A setting that is a table is taken as a whole.
        assert_eq!(mine.training.length, crate::train::Length::Epochs(1.5));
        assert_eq!((mine.training.batch, mine.seeds()), (whole.training.batch, vec![1, 2]));
        assert_eq!((mine.data, mine.probe), (whole.data, whole.probe));
        for (text, expected) in [
            (head.replace("whole", "none"), "extends: there is no profile \"none\""),
            (head.replace("\"whole\"", "1"), "extends is the name of a profile"),
            (head.replace("whole", "mine"), "it extends \"mine\", which extends another profile"),
            (
                head.replace("about", "# about"),
                "the setting about is missing: it is not taken from \"whole\"",
            ),
            (head.replace("notebooks", "# "), "the setting notebooks is missing"),
            (format!("{head}[data]\nsyde = 14"), "unknown field `syde`"),
            (format!("{head}[data]\nside = 0"), "data.side"),
            (format!("{head}[data\n"), "mine.toml"),
        ] {
            let error = said(&text).unwrap_err();
            assert!(error.contains(expected) && error.contains("mine.toml"), "{error}");
        }
    }

    #[test]
    fn a_profile_that_is_none_is_refused_with_its_reason() {
        let error = Profile::named("qick").unwrap_err().to_string();
        assert!(
            error.contains("no profile \"qick\"")
                && error.contains(
                    "cifar, cifar-16, cifar-short, paper-l, paper-l-cifar100, paper-l-stl10, paper-m, paper-s, \
                     paper-s-cifar100, paper-s-short, paper-s-stl10, quick, smoke"
                ),
            "{error}"
        );
        assert!(Profile::named("../claims").is_err());

        let good = Path::new(env!("CARGO_MANIFEST_DIR")).join("../papers/igpt/profiles/quick.toml");
        let good = fs::read_to_string(good).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let said = |text: &str| {
            fs::write(folder.path().join("mine.toml"), text).unwrap();
            Profile::open(&[folder.path().to_owned()], "mine").map_err(|error| error.to_string())
        };
        said(&good).unwrap();
        for (from, to, expected) in [
            ("seed = ", "sead = ", "unknown field `sead`"),
            ("length = ", "# ", "missing field `length`"),
            ("width = 64\nheads = 2", "width = 64\nheads = 3", "3 heads do not divide"),
            ("validation = 0.1", "validation = 1.5", "data.validation"),
            ("\"fashion-mnist\"", "\"fashion\"", "there is no data set \"fashion\""),
            ("batch = 32", "batch = 0", "batch"),
            ("width = 32, heads = 2", "width = 32, heads = 3", "3 heads do not divide"),
            ("[data]", "budget = 0.0\n\n[data]", "budget (above 0, at most 1)"),
            ("[data]", "budget = 1.1\n\n[data]", "budget (above 0, at most 1)"),
            ("[data]", "budget = nan\n\n[data]", "budget (above 0, at most 1)"),
            ("[data]", "seeds = [2, 3]\n\n[data]", "seeds (each once, training.seed first)"),
            ("[data]", "seeds = [1, 3, 3]\n\n[data]", "seeds (each once"),
            ("side = 14", "side = 0", "data.side"),
            ("side = 14", "side = 6074001000", "data.side (from 1 to 1024) makes no sense as 6074001000"),
            ("after = [0, 50, 200]", "after = [10, 5, 0]", "samples.after"),
            ("after = [0, 50, 200]", "after = [0, 50, 50]", "samples.after"),
            ("after = [0, 50, 200]", "after = [0, 5, 1000]", "after step 1000, but the training has 500"),
            ("after = [0, 50, 200]", "after = [-1]", "after"),
            (
                "length = { steps",
                "objective = { bert = { mask = 1e-12 } }\nlength = { steps",
                "mask = 0.000000000001",
            ),
            // Held-out images are not trained on: all are.
            ("side = 14", "side = 14\ntrain_images = 1", "0 images"),
            ("about = ", "name = \"x\"\nabout = ", "unknown field `name`"),
        ] {
            assert!(good.contains(from), "{from}");
            let error = said(&good.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(expected) && error.contains("mine.toml"), "{error}");
        }
        // The good twins.
        for (from, to, after) in [
            ("after = [0, 50, 200]", "after = [0, 50, 200, 300]", &[0, 50, 200, 300][..]),
            ("after = [0, 50, 200]", "after = [500]", &[500]),
            ("after = [0, 50, 200]", "after = []", &[]),
            ("after = [0, 50, 200]\n", "", &[0]),
            // The default warm-up, one epoch, whose steps nobody knows before the images are there.
            ("warm_up = { steps = 50 }", "", &[0, 50, 200]),
            ("side = 14", "side = 14\ntrain_images = 2", &[0, 50, 200]),
        ] {
            assert!(good.contains(from), "{from}");
            assert_eq!(said(&good.replacen(from, to, 1)).unwrap().samples.after, after, "{to}");
        }
        assert_eq!(said(&good).unwrap().seeds(), [1]);
        let more = said(&good.replacen("[data]", "seeds = [1, 3]\n\n[data]", 1)).unwrap();
        assert_eq!(more.seeds(), [1, 3]);
    }

    #[test]
    fn two_profiles_of_one_name_are_refused_with_both_files() {
        let good = Path::new(env!("CARGO_MANIFEST_DIR")).join("../papers/igpt/profiles/quick.toml");
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folders = [first.path().to_owned(), second.path().to_owned()];
        for (folder, name) in [(&first, "mine.toml"), (&second, "other.toml")] {
            fs::copy(&good, folder.path().join(name)).unwrap();
        }
        assert_eq!(Profile::open(&folders, "mine").unwrap().name, "mine");
        assert_eq!(Profile::open(&folders, "other").unwrap().name, "other");
        fs::copy(&good, second.path().join("mine.toml")).unwrap();
        let error = Profile::open(&folders, "mine").unwrap_err().to_string();
        for folder in &folders {
            assert!(error.contains(&*folder.join("mine.toml").to_string_lossy()), "{error}");
        }
    }

    #[test]
    fn settings_that_were_changed_in_a_notebook_are_named() {
        let mut profile = Profile::named("quick").unwrap();
        assert!(profile.changed().is_empty());
        profile.model.layers = 2;
        profile.training.batch = 7;
        assert_eq!(profile.changed(), ["model", "training"]);
    }

    #[test]
    fn smaller_networks_and_numbers_are_those_of_the_profile() {
        let mut profile = Profile::named("quick").unwrap();
        assert_eq!(profile.smaller(0).unwrap(), Model { layers: 6, width: 64, heads: 2 });
        assert_eq!(profile.smaller(1).unwrap(), Model { layers: 4, width: 32, heads: 2 });
        let error = profile.smaller(2).unwrap_err().to_string();
        assert!(error.contains("quick names 2 smaller networks, and number 2"), "{error}");
        assert_eq!([0, 1, 7, 2000].map(|count| profile.within_budget(count)), [1, 1, 7, 2000]);
        profile.budget = 0.1;
        assert_eq!([0, 1, 7, 40, 41, 2000].map(|count| profile.within_budget(count)), [1, 1, 1, 4, 5, 200]);
        profile.budget = 1e-300;
        assert_eq!(profile.within_budget(usize::MAX), 1);
    }

    #[test]
    fn a_profile_that_was_made_in_a_cell_is_checked_too() {
        let mut profile = Profile::named("quick").unwrap();
        profile.validate().unwrap();
        for side in [0, 1 << 32, usize::MAX] {
            profile.data.side = side;
            let error = profile.validate().unwrap_err().to_string();
            assert!(error.contains("data.side"), "{error}");
            assert!(profile.config().validate().is_err());
        }
    }
}
