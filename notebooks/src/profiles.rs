//! How much to compute: the profiles of papers, one file each in the checkout, with a sentence on what it is.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use clap::builder::{PossibleValue, PossibleValuesParser, ValueParser};

use crate::{files, repository};

/// The profile that is taken if none is named: committed data, CPU, minutes.
pub const USUAL: &str = "quick";

/// A profile's name, which `IGPT_PROFILE` tells the library, and its sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The name of its file.
    pub name: String,
    /// What it says of itself; nothing if the file cannot be read, which the library complains of.
    pub about: String,
}

/// Where profiles lie in a checkout: each paper may have some.
pub fn folders(root: &Path) -> Vec<PathBuf> {
    let papers = files::folders(&root.join("papers")).into_iter();
    papers.map(|paper| paper.join("profiles")).filter(|folder| folder.is_dir()).collect()
}

/// The file of a profile; none if there is none.
///
/// # Errors
/// If two papers have one of this name: a profile is found by its name alone.
pub fn file(root: &Path, name: &str) -> Result<Option<PathBuf>> {
    let files = folders(root).into_iter().map(|folder| folder.join(format!("{name}.toml")));
    let mut files = files.filter(|file| file.is_file());
    match (files.next(), files.next()) {
        (Some(first), Some(second)) => bail!(
            "there are two profiles {name:?}, {} and {}: a profile is found by its name alone, so give one of them another",
            first.display(),
            second.display()
        ),
        (first, _) => Ok(first),
    }
}

/// What a profile's file says, with what it has from the profile that it extends: of a section each setting that is named replaces the
/// other profile's as a whole, as the library reads it.
///
/// # Errors
/// If there is none of this name, or there are two, or it is no TOML; the same of the profile that it extends.
pub fn settings(root: &Path, name: &str) -> Result<toml::Table> {
    let mut own = read(root, name)?;
    let Some(extended) = own.remove("extends") else { return Ok(own) };
    let extended =
        extended.as_str().with_context(|| format!("extends of the profile {name:?} is no name"))?;
    let mut all = read(root, extended)?;
    for (key, value) in own {
        match (all.get_mut(&key), value) {
            (Some(toml::Value::Table(section)), toml::Value::Table(settings)) => section.extend(settings),
            (_, value) => drop(all.insert(key, value)),
        }
    }
    Ok(all)
}

/// The settings of a profile's own file.
fn read(root: &Path, name: &str) -> Result<toml::Table> {
    let file = file(root, name)?;
    let file =
        file.with_context(|| format!("there is no profile {name:?} in {}", root.join("papers").display()))?;
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    text.parse().with_context(|| format!("{} is not TOML", file.display()))
}

/// The notebooks that a profile lists, by name: those that it can compute. None if it lists none, and all are meant.
///
/// # Errors
/// As [`file`], or if its file cannot be read.
pub fn notebooks(root: &Path, name: &str) -> Result<Option<Vec<String>>> {
    let Some(file) = file(root, name)? else { return Ok(None) };
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    // The library says what else is wrong with it.
    let settings: toml::Table = text.parse().with_context(|| format!("{} is no profile", file.display()))?;
    let Some(listed) = settings.get("notebooks") else { return Ok(None) };
    let names = listed.as_array().into_iter().flatten().map(|name| name.as_str().map(str::to_owned));
    match names.collect::<Option<Vec<String>>>() {
        Some(names) if !names.is_empty() => Ok(Some(names)),
        _ => bail!("{}: notebooks has to be a list of names, with at least one", file.display()),
    }
}

/// The profiles of a checkout: the usual one, then by name.
pub fn profiles(root: &Path) -> Vec<Profile> {
    let folders = folders(root);
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    let profile = |file: &Path| {
        let name = (file.extension() == Some(OsStr::new("toml"))).then(|| file.file_stem()?.to_str())??;
        let settings: Option<toml::Table> = fs::read_to_string(file).ok().and_then(|text| text.parse().ok());
        let about =
            settings.as_ref().and_then(|settings| settings.get("about")?.as_str()).unwrap_or_default();
        Some(Profile { name: name.into(), about: about.into() })
    };
    let mut profiles: Vec<Profile> = entries.filter_map(|entry| profile(&entry.path())).collect();
    profiles.sort_by(|a, b| (a.name != USUAL, &a.name).cmp(&(b.name != USUAL, &b.name)));
    profiles
}

/// Reads `--profile`: one of the checkout's profiles. Where there is no checkout, any name may be meant.
pub fn parser() -> ValueParser {
    let profiles = repository::root().map(|root| profiles(&root)).unwrap_or_default();
    if profiles.is_empty() {
        return ValueParser::string();
    }
    let value = |profile: Profile| PossibleValue::new(profile.name).help(profile.about);
    PossibleValuesParser::new(profiles.into_iter().map(value)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_of_the_folder_is_a_profile_with_its_sentence() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(profiles(root.path()), []);
        let folder = root.path().join("papers/p/profiles");
        fs::create_dir_all(&folder).unwrap();
        for (file, text) in [
            ("cifar.toml", "about = \"Hours.\"\n[data]\n"),
            ("quick.toml", "about = \"Minutes.\"\n"),
            ("broken.toml", "about = "),
            ("notes.md", "about = \"nothing\""),
        ] {
            fs::write(folder.join(file), text).unwrap();
        }
        let found: Vec<_> =
            profiles(root.path()).into_iter().map(|profile| (profile.name, profile.about)).collect();
        let expected = [("quick", "Minutes."), ("broken", ""), ("cifar", "Hours.")];
        assert_eq!(found, expected.map(|(name, about)| (name.to_owned(), about.to_owned())));
    }

    #[test]
    fn a_profile_has_the_settings_of_the_one_that_it_extends() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("papers/p/profiles");
        fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: &str| fs::write(folder.join(format!("{name}.toml")), text).unwrap();
        write("whole", "about = \"All.\"\nseeds = [1]\n[data]\nset = \"a\"\nside = 8\n[probe]\nl2 = [1.0]\n");
        write("mine", "extends = \"whole\"\nabout = \"Mine.\"\n[data]\nset = \"b\"\n");
        write("lost", "extends = \"none\"\n");
        let expected = "about = \"Mine.\"\nseeds = [1]\n[data]\nset = \"b\"\nside = 8\n[probe]\nl2 = [1.0]\n";
        assert_eq!(settings(root.path(), "mine").unwrap(), expected.parse().unwrap());
        // A change of the other one shows.
        write("whole", "seeds = [2]\n");
        let changed = settings(root.path(), "mine").unwrap();
        assert_eq!(changed, "about = \"Mine.\"\nseeds = [2]\n[data]\nset = \"b\"\n".parse().unwrap());
        let error = format!("{:#}", settings(root.path(), "lost").unwrap_err());
        assert!(error.contains("there is no profile \"none\""), "{error}");
        assert!(settings(root.path(), "other").is_err());
    }

    #[test]
    fn two_profiles_of_one_name_are_an_error_that_names_both() {
        let root = tempfile::tempdir().unwrap();
        let write = |paper: &str, name: &str| {
            let folder = root.path().join("papers").join(paper).join("profiles");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), "about = \"x\"\n").unwrap();
            folder.join(name)
        };
        let (mine, _) = (write("p", "mine.toml"), write("q", "other.toml"));
        assert_eq!(file(root.path(), "mine").unwrap().as_ref(), Some(&mine));
        assert_eq!(file(root.path(), "no").unwrap(), None);
        assert_eq!(notebooks(root.path(), "no").unwrap(), None);
        assert_eq!(notebooks(root.path(), "mine").unwrap(), None);
        fs::write(&mine, "about = \"x\"\nnotebooks = [\"4.1\", \"1\"]\n").unwrap();
        assert_eq!(notebooks(root.path(), "mine").unwrap(), Some(vec!["4.1".into(), "1".into()]));
        for wrong in ["notebooks = []", "notebooks = \"4.1\"", "notebooks = [1]"] {
            fs::write(&mine, wrong).unwrap();
            let error = notebooks(root.path(), "mine").unwrap_err().to_string();
            assert!(error.contains("a list of names"), "{wrong}: {error}");
        }
        let second = write("q", "mine.toml");
        let error = file(root.path(), "mine").unwrap_err().to_string();
        for file in [mine, second] {
            assert!(error.contains(&*file.to_string_lossy()), "{error}");
        }
    }

    #[test]
    fn every_committed_profile_says_what_it_is() {
        let all = profiles(&repository::root().unwrap());
        assert_eq!(all[0].name, USUAL);
        let names: std::collections::HashSet<&String> = all.iter().map(|profile| &profile.name).collect();
        assert_eq!(names.len(), all.len(), "a profile is found by its name: {all:?}");
        assert!(all.len() >= 3 && all.iter().all(|profile| profile.about.ends_with('.')), "{all:?}");
    }
}
