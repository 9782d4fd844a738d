//! Downloads from the Hugging Face hub: models and data sets come into the cache that its Python client uses, too.
//!
//! The crate `hf-hub` speaks to the hub. What it does not do is done here: a file is verified, by its size and its
//! SHA-256 or git hash, before it appears in the cache; a download that broke off goes on where it was; what can pass
//! is tried again; nothing is waited for without an end or without a word; two processes do not disturb each other; and where
//! the hub cannot be asked, or refuses, the cache is enough. Large files come by plain HTTPS, see `streams.rs`.
//!
//! | variable | meaning |
//! |---|---|
//! | `HF_ENDPOINT` | the hub's address, or a mirror's, else `https://huggingface.co` |
//! | `HF_TOKEN` | the token, else the one in the file `HF_TOKEN_PATH`, else in `HF_HOME/token` |
//! | `HF_HUB_CACHE` | the cache, else `HF_HOME/hub`, else `~/.cache/huggingface/hub` |
//! | `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE` | `1`, `on`, `yes` or `true`: use no network |
//! | `HF_HUB_DOWNLOAD_TIMEOUT` | seconds without a byte after which a connection is given up, else 30 |
//! | `IGPT_HUB_DELAY` | seconds before the second try, else 1; each further one waits twice as long |

mod cache;
mod cache_folder;
mod choice;
mod descriptions;
mod error;
mod evidence;
mod hash;
mod hub_client;
mod patience;
mod progress;
mod receive;
mod remote_file;
mod request_context;
mod retry_after;
mod settings;
mod streams;
mod verified;

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};

pub use cache::{Snapshot, cache};
pub use choice::{ChooseFiles, all, part};
pub use settings::{Settings, Token};

use cache_folder::CacheFolder;
use error::DownloadError;
use hub_client::HubClient;
use patience::Patience;
use receive::Downloads;

/// What a repository of the hub holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepositoryKind {
    /// A network's weights and settings.
    Model,
    /// Data.
    Dataset,
}

impl RepositoryKind {
    /// `models` or `datasets`, as the hub's addresses and the cache's folders have it.
    fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }
}

/// A branch, if no revision is named.
const MAIN: &str = "main";
/// Where the hub does not describe all files at once, so many are asked for at a time.
const ASKED_AT_A_TIME: usize = 8;

/// Sees to it that the cache holds the files of `repository` (`owner/name`) that are `wanted`, at a branch, tag or
/// commit; of the branch `main` without one. The hub is that of the environment, see [`Settings::from_environment`].
/// `say` hears what happens, in lines.
///
/// No network is used if the environment forbids it, or if a commit is named and all is there. If the hub cannot be
/// reached, or refuses, but the cache holds all that is wanted of the revision as it was last seen, that is used, and `say`
/// is told so. What comes from the cache without the hub is verified as far as the cache says what its bytes should be.
///
/// # Errors
/// Whatever keeps the files from being there; each message says what to do.
pub fn ensure(
    kind: RepositoryKind,
    repository: &str,
    revision: Option<&str>,
    wanted: &ChooseFiles<'_>,
    say: &dyn Fn(&str),
) -> Result<Snapshot> {
    Settings::from_environment()?.ensure(kind, repository, revision, wanted, say)
}

impl Settings {
    /// [`ensure`] with these settings.
    ///
    /// # Errors
    /// Whatever keeps the files from being there.
    pub fn ensure(
        &self,
        kind: RepositoryKind,
        repository: &str,
        revision: Option<&str>,
        wanted: &ChooseFiles<'_>,
        say: &dyn Fn(&str),
    ) -> Result<Snapshot> {
        check_names(repository, revision)?;
        let revision = revision.unwrap_or(MAIN);
        let cached = || -> Result<(Snapshot, Vec<String>)> {
            let snapshot = Snapshot::at(&self.cache, kind, repository, revision)?;
            let names = wanted(&snapshot.names()).with_context(|| snapshot.to_string())?;
            Ok((snapshot, names))
        };
        if let Some(variable) = self.offline {
            let (snapshot, names) = cached().with_context(|| {
                format!(
                    "{repository} is needed, but {variable} forbids the network: unset it to download what is missing"
                )
            })?;
            return snapshot.verify(&names, say);
        }
        let there = cached();
        if cache::is_commit(revision)
            && let Ok((snapshot, names)) = there
        {
            return snapshot.verify(&names, say);
        }
        let downloaded = self.download(kind, repository, revision, wanted, there.is_ok(), say);
        match (downloaded, there) {
            // Whatever the hub has against being asked, what it gave before is still good.
            (Err(error), Ok((snapshot, names))) if error.is::<DownloadError>() => {
                say(&format!(
                    "{error:#}\nThe cache holds {snapshot}, as the hub had it when it was last asked: that is used"
                ));
                snapshot.verify(&names, say)
            }
            (downloaded, _) => downloaded,
        }
    }

    fn download(
        &self,
        kind: RepositoryKind,
        repository: &str,
        revision: &str,
        wanted: &ChooseFiles<'_>,
        is_there: bool,
        say: &dyn Fn(&str),
    ) -> Result<Snapshot> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let result = runtime.block_on(async {
            let client = HubClient::new(self, kind, repository)?;
            let patience = || {
                let patience = Patience::new(self, repository);
                if is_there { patience.short() } else { patience }
            };
            let state = self.retry(patience(), repository, say, || client.state(revision)).await?;
            let names = wanted(&state.files)
                .with_context(|| format!("{repository} at revision {}, as the hub has it", state.commit))?;
            let commit = state.commit.as_str();
            let known = self.retry(patience(), repository, say, || client.describe_all(commit)).await?;
            let described = stream::iter(&names).map(async |name| match known.get(name) {
                Some(file) => Ok(file.clone()),
                None => {
                    self.retry(Patience::new(self, name), name, say, || client.describe(commit, name)).await
                }
            });
            let files: Vec<_> = described.buffered(ASKED_AT_A_TIME).try_collect().await?;
            let folder = CacheFolder::new(&self.cache, kind, repository);
            let downloads = Downloads { settings: self, client: &client, folder: &folder, say };
            let verified = downloads.fetch(commit, &files).await?;
            if revision != commit {
                folder.refer(revision, commit)?;
            }
            Ok(Snapshot::at(&self.cache, kind, repository, commit)?.with(verified))
        });
        // Looking up a name may take longer than anybody wants to wait.
        runtime.shutdown_background();
        result
    }

    /// Tries again what can pass, as long as there is patience.
    async fn retry<T, F: Future<Output = Result<T, DownloadError>>>(
        &self,
        mut patience: Patience<'_>,
        what: &str,
        say: &dyn Fn(&str),
        mut request: impl FnMut() -> F,
    ) -> Result<T, DownloadError> {
        let whom = format!("an answer of {}", self.endpoint);
        loop {
            match patience::until(what, &whom, say, request()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => patience.wait(error, say).await?,
            }
        }
    }
}

/// Names become folders of the cache: they must not lead elsewhere.
fn check_names(repository: &str, revision: Option<&str>) -> Result<()> {
    let is_good = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
    };
    if repository.split('/').count() != 2 || !repository.split('/').all(is_good) {
        bail!("{repository:?} is not the name of a repository, like openai/imagegpt-small");
    }
    if let Some(revision) = revision.filter(|revision| !revision.split('/').all(is_good)) {
        bail!("{revision:?} is not the name of a branch or tag, nor a commit");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        for good in ["openai/imagegpt-small", "uoft-cs/cifar10", "a/b_c.d"] {
            check_names(good, Some("refs/pr/1")).unwrap();
        }
        for bad in ["", "a", "a/", "/b", "a/b/c", "a/..", "../b", "a b/c", "a/b?c"] {
            let error = check_names(bad, None).unwrap_err().to_string();
            assert!(error.contains("is not the name of a repository"), "{error}");
        }
        for bad in ["", "../main", "a//b", "/main", "a\nb"] {
            assert!(check_names("a/b", Some(bad)).is_err(), "{bad:?}");
        }
    }
}
