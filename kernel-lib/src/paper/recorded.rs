//! What a recorded run found of a paper's claims: `papers/NAME/results/PROFILE.toml`, which `igpt record` writes (docs/results.md).

use super::Paper;
use crate::hex::hex;
use crate::{Error, Result, root};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// The recorded run of a profile, as far as a notebook shows it.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct RecordedRun {
    /// Its short key: `igpt results KEY` says where its numbers come from.
    pub key: String,
    /// The form of the file.
    schema: u32,
    /// Of which paper's claims.
    paper: String,
    /// With which settings.
    pub profile: String,
    /// What a notebook judged, in the order of `claims.toml`.
    #[serde(default, rename = "claim")]
    pub claims: Vec<RecordedClaim>,
}

/// What a recorded run found of one claim.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct RecordedClaim {
    /// Which claim.
    #[serde(rename = "claim")]
    pub key: String,
    /// The verdict in words.
    pub verdict: String,
    /// What was measured, as the table of the notebook shows it.
    pub ours: String,
    /// The notebook that judged it.
    pub notebook: String,
}

/// The form that is understood here.
const SCHEMA: u32 = 2;
/// How many digits a key has.
const DIGITS: usize = 12;

impl RecordedRun {
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let run: Self = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?;
        if run.schema != SCHEMA {
            return Err(format!(
                "it has the form {}, and this library reads {SCHEMA}: run the notebooks, and `igpt record` writes it anew",
                run.schema
            ));
        }
        // The key begins the SHA-256 of all that follows its line.
        let line = format!("\nkey = \"{}\"\n", run.key);
        let body = text.split_once(&line).map(|(_, body)| body);
        match body {
            Some(body) if hex(&Sha256::digest(body))[..DIGITS] == run.key => Ok(run),
            _ => Err("it was edited: run the notebooks, and `igpt record` writes it anew".to_owned()),
        }
    }

    /// What it found of a claim, if one of its notebooks judged it.
    pub fn claim(&self, key: &str) -> Option<&RecordedClaim> {
        self.claims.iter().find(|claim| claim.key == key)
    }
}

impl Paper {
    /// The recorded run of a profile. None if none was recorded.
    ///
    /// # Errors
    /// If its file cannot be read, has another form than this library reads, or was edited.
    pub fn recorded(&self, profile: &str) -> Result<Option<RecordedRun>> {
        let results = root::folder().join("papers").join(&self.name).join("results");
        let path = results.join(format!("{profile}.toml"));
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let run = RecordedRun::parse(&text).map_err(|what| Error::format(&path, what))?;
                if run.paper != self.name || run.profile != profile {
                    let what = format!("it is of the paper {} and the profile {}", run.paper, run.profile);
                    return Err(Error::format(&path, what));
                }
                Ok(Some(run))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(path, e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(schema: u32, verdict: &str) -> String {
        let body = format!(
            "schema = {schema}\npaper = \"igpt\"\nprofile = \"quick\"\ndate = \"2026-01-01\"\n[[claim]]\nclaim = \"a\"\nverdict = \"{verdict}\"\nours = \"1 %\"\nnotebook = \"4.1\"\n"
        );
        format!("# Made.\nkey = \"{}\"\n{body}", &hex(&Sha256::digest(&body))[..12])
    }

    #[test]
    fn a_recorded_run_says_what_was_found() {
        let run = RecordedRun::parse(&sealed(SCHEMA, "supported")).unwrap();
        assert_eq!(run.claim("a").unwrap().verdict, "supported");
        assert!(run.claim("b").is_none());
    }

    #[test]
    fn an_edited_one_and_one_of_another_form_are_refused() {
        let edited = sealed(SCHEMA, "inconclusive").replace("inconclusive", "supported");
        assert!(RecordedRun::parse(&edited).unwrap_err().contains("edited"));
        assert!(RecordedRun::parse(&sealed(SCHEMA + 1, "supported")).unwrap_err().contains("form 3"));
    }

    #[test]
    fn no_file_is_no_run() {
        assert!(crate::paper::igpt().unwrap().recorded("no-such-profile").unwrap().is_none());
    }
}
