//! Which hub, which cache, and how long to wait: from the variables that the hub's Python client reads.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

const ENDPOINT: &str = "https://huggingface.co";

/// How to get at the hub and its cache.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The hub's address, without a slash at its end.
    pub endpoint: String,
    /// Who asks; without one only what is public can be had.
    pub token: Option<Token>,
    /// The cache's folder.
    pub cache: PathBuf,
    /// The variable that forbids the network, if one does.
    pub offline: Option<&'static str>,
    /// A connection on which nothing came for so long is given up.
    pub timeout: Duration,
    /// The time before the second try.
    pub delay: Duration,
    /// How often something is tried that does not get on.
    pub tries: u32,
}

/// A token of the hub. What it is made of is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub(super) value: String,
    /// The variable or file that it comes from.
    pub(super) from: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(from {})", self.from)
    }
}

/// The value of a variable.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl Settings {
    /// The settings of the environment; the module's documentation lists the variables.
    ///
    /// # Errors
    /// If a variable makes no sense, or there is no place for a cache.
    pub fn from_environment() -> Result<Self> {
        Self::from_lookup(&|name| std::env::var_os(name))
    }

    fn from_lookup(lookup: Lookup<'_>) -> Result<Self> {
        let endpoint = text(lookup, "HF_ENDPOINT")?.unwrap_or_else(|| ENDPOINT.into());
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            bail!("HF_ENDPOINT is {endpoint:?}, which is no address like {ENDPOINT}");
        }
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').into(),
            token: token(lookup)?,
            cache: cache(lookup)?,
            offline: offline(lookup)?,
            timeout: seconds(lookup, "HF_HUB_DOWNLOAD_TIMEOUT", 30.)?,
            delay: seconds(lookup, "IGPT_HUB_DELAY", 1.)?,
            tries: 5,
        })
    }
}

/// The value of a variable that is set and not empty.
fn path(lookup: Lookup<'_>, name: &str) -> Option<PathBuf> {
    lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The same as text, without space around it.
fn text(lookup: Lookup<'_>, name: &str) -> Result<Option<String>> {
    let Some(value) = lookup(name) else { return Ok(None) };
    let value = value.into_string().ok().with_context(|| format!("{name} is not text in UTF-8"))?;
    Ok(Some(value.trim().to_owned()).filter(|value| !value.is_empty()))
}

fn seconds(lookup: Lookup<'_>, name: &str, usual: f64) -> Result<Duration> {
    let Some(value) = text(lookup, name)? else { return Ok(Duration::from_secs_f64(usual)) };
    let seconds = value.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds
        .filter(|time| !time.is_zero())
        .with_context(|| format!("{name} is {value:?}, which is no number of seconds like {usual}"))
}

/// `HF_HOME`, else `XDG_CACHE_HOME/huggingface`, else `~/.cache/huggingface`.
fn home(lookup: Lookup<'_>) -> Option<PathBuf> {
    let user =
        || path(lookup, "XDG_CACHE_HOME").or_else(|| path(lookup, "HOME").map(|home| home.join(".cache")));
    path(lookup, "HF_HOME").or_else(|| user().map(|cache| cache.join("huggingface")))
}

/// `HF_HUB_CACHE`, else `hub` in [`home`].
pub(super) fn cache(lookup: Lookup<'_>) -> Result<PathBuf> {
    let cache = path(lookup, "HF_HUB_CACHE").or_else(|| home(lookup).map(|home| home.join("hub")));
    let cache =
        cache.context("there is no home folder, so no Hugging Face cache: set HF_HUB_CACHE to one")?;
    Ok(std::path::absolute(cache)?)
}

/// As the Python client reads it: the second variable counts only where the first is not set.
fn offline(lookup: Lookup<'_>) -> Result<Option<&'static str>> {
    for name in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
        if let Some(value) = text(lookup, name)? {
            let is_true = ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str());
            return Ok(is_true.then_some(name));
        }
    }
    Ok(None)
}

fn token(lookup: Lookup<'_>) -> Result<Option<Token>> {
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        if let Some(value) = text(lookup, name)? {
            return Token::new(value, name.into()).map(Some);
        }
    }
    let file = path(lookup, "HF_TOKEN_PATH").or_else(|| home(lookup).map(|home| home.join("token")));
    match file {
        Some(file) if file.is_file() => Token::read(&file),
        _ => Ok(None),
    }
}

impl Token {
    fn read(file: &Path) -> Result<Option<Self>> {
        let value = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the hub's token in {}", file.display()))?;
        match value.trim() {
            "" => Ok(None),
            value => Self::new(value.into(), file.display().to_string()).map(Some),
        }
    }

    fn new(value: String, from: String) -> Result<Self> {
        if !value.bytes().all(|c| c.is_ascii_graphic()) {
            bail!("the token in {from} has characters that no token has; it looks like hf_ and letters");
        }
        Ok(Self { value, from })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings> {
        Settings::from_lookup(&|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into())
        })
    }

    #[test]
    fn the_usual_variables_are_read() {
        let usual = settings(&[("HOME", "/home/ada"), ("HF_ENDPOINT", ""), ("HF_HOME", "")]).unwrap();
        assert_eq!(usual.endpoint, ENDPOINT);
        assert_eq!(usual.cache, Path::new("/home/ada/.cache/huggingface/hub"));
        assert_eq!((usual.token, usual.offline), (None, None));
        assert_eq!(usual.timeout, Duration::from_secs(30));

        let named = settings(&[
            ("HOME", "/home/ada"),
            ("HF_ENDPOINT", "https://mirror/hub/"),
            ("HF_HOME", "/hf"),
            ("HF_TOKEN", " hf_secret\n"),
            ("HF_HUB_DOWNLOAD_TIMEOUT", "0.5"),
        ])
        .unwrap();
        assert_eq!(named.endpoint, "https://mirror/hub");
        assert_eq!(named.cache, Path::new("/hf/hub"));
        assert_eq!(named.timeout, Duration::from_millis(500));
        assert_eq!(named.token.as_ref().unwrap().value, "hf_secret");
        assert!(!format!("{named:?}").contains("secret"));
        let cache = settings(&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/cache")]).unwrap().cache;
        assert_eq!(cache, Path::new("/cache"));
        let cache = settings(&[("XDG_CACHE_HOME", "/x"), ("HOME", "/home/ada")]).unwrap().cache;
        assert_eq!(cache, Path::new("/x/huggingface/hub"));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (variables, expected) in [
            (&[("PATH", "/bin")][..], "set HF_HUB_CACHE"),
            (&[("HOME", "/"), ("HF_ENDPOINT", "huggingface.co")], "HF_ENDPOINT is \"huggingface.co\""),
            (&[("HOME", "/"), ("HF_HUB_DOWNLOAD_TIMEOUT", "soon")], "HF_HUB_DOWNLOAD_TIMEOUT is \"soon\""),
            (&[("HOME", "/"), ("IGPT_HUB_DELAY", "-1")], "IGPT_HUB_DELAY is \"-1\""),
            (&[("HOME", "/"), ("HF_TOKEN", "hf_a b")], "the token in HF_TOKEN has characters"),
        ] {
            let error = settings(variables).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn offline_is_what_python_takes_for_true() {
        let offline = |variables: &[_]| settings(&[&[("HOME", "/")], variables].concat()).unwrap().offline;
        for value in ["1", "ON", "Yes", "true"] {
            assert_eq!(offline(&[("HF_HUB_OFFLINE", value)]), Some("HF_HUB_OFFLINE"));
            assert_eq!(offline(&[("TRANSFORMERS_OFFLINE", value)]), Some("TRANSFORMERS_OFFLINE"));
        }
        for value in ["0", "no", "off", ""] {
            assert_eq!(offline(&[("HF_HUB_OFFLINE", value)]), None);
        }
        assert_eq!(offline(&[("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")]), None);
    }

    #[test]
    fn pythons_token_file_is_read() {
        let home = tempfile::tempdir().unwrap();
        let at = home.path().to_str().unwrap();
        let token = |variables: &[_]| settings(&[&[("HF_HOME", at)], variables].concat()).unwrap().token;
        assert_eq!(token(&[]), None);
        std::fs::write(home.path().join("token"), "hf_file\n").unwrap();
        assert_eq!(token(&[]).unwrap().value, "hf_file");
        assert_eq!(token(&[("HF_TOKEN", "hf_set")]).unwrap().value, "hf_set");
        std::fs::write(home.path().join("other"), "hf_other").unwrap();
        let other = home.path().join("other");
        assert_eq!(token(&[("HF_TOKEN_PATH", other.to_str().unwrap())]).unwrap().value, "hf_other");
    }
}
