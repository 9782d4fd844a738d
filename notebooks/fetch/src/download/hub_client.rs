//! Questions to the hub about one repository, each asked once: who wants to try again does.

use std::time::Duration;

use anyhow::{Context as _, Result};
use hf_hub::{
    HFClient, HFError, HFRepository, RepoType,
    repository::{RepoSibling, download::HFByteStream},
};
use reqwest::{
    Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_LENGTH, ETAG, HeaderMap, RETRY_AFTER},
    redirect::Policy,
};

use super::{
    RepositoryKind, Settings, Token, cache,
    error::{DownloadError, Refusal},
    hash,
    remote_file::RemoteFile,
    request_context::RequestContext,
};

/// A repository at one moment.
pub(super) struct State {
    pub commit: String,
    /// The names of its files, with their folders, sorted.
    pub files: Vec<String>,
}

pub(super) struct HubClient {
    hub: HFClient,
    /// For what hf-hub does not tell: it follows the hub's redirects, where only the first answer has a file's hash.
    direct: reqwest::Client,
    endpoint: String,
    token: Option<Token>,
    timeout: Duration,
    kind: RepositoryKind,
    repository: String,
}

impl HubClient {
    pub(super) fn new(settings: &Settings, kind: RepositoryKind, repository: &str) -> Result<Self> {
        let no_client =
            "cannot set up connections; if certificates are missing, `apt install ca-certificates`";
        let builder = || {
            reqwest::Client::builder()
                .user_agent(concat!("igpt/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(settings.timeout)
                .read_timeout(settings.timeout)
        };
        let hub = HFClient::builder()
            .client(builder().build().context(no_client)?)
            .endpoint(&settings.endpoint)
            // Our own tries are bounded, said, and keep to the hub's Retry-After.
            .retry_max_attempts(0)
            .cache_enabled(false);
        let hub = match &settings.token {
            Some(token) => hub.token(&token.value),
            None => hub,
        };
        // Within the hub, from a repository's old name to the new one.
        let within = Policy::custom(|attempt| {
            let same = attempt.previous().last().is_some_and(|url| url.origin() == attempt.url().origin());
            if !same {
                attempt.stop()
            } else if attempt.previous().len() > 10 {
                attempt.error("too many redirects")
            } else {
                attempt.follow()
            }
        });
        Ok(Self {
            hub: hub.build().context(no_client)?,
            direct: builder().redirect(within).build().context(no_client)?,
            endpoint: settings.endpoint.clone(),
            token: settings.token.clone(),
            timeout: settings.timeout,
            kind,
            repository: repository.to_owned(),
        })
    }

    fn asked<'a>(&'a self, revision: &'a str, file: Option<&'a str>) -> RequestContext<'a> {
        RequestContext {
            endpoint: &self.endpoint,
            repository: &self.repository,
            noun: match self.kind {
                RepositoryKind::Model => "model",
                RepositoryKind::Dataset => "data set",
            },
            prefix: self.prefix(),
            revision,
            file,
            timeout: self.timeout,
            token: self.token.as_ref().map(|token| token.from.as_str()),
        }
    }

    fn prefix(&self) -> &'static str {
        match self.kind {
            RepositoryKind::Model => "",
            RepositoryKind::Dataset => "datasets/",
        }
    }

    /// The commit that a revision is now, and its files.
    pub(super) async fn state(&self, revision: &str) -> Result<State, DownloadError> {
        let asked = self.asked(revision, None);
        let (owner, name) = hf_hub::split_id(&self.repository);
        let answer = match self.kind {
            RepositoryKind::Model => self
                .hub
                .model(owner, name)
                .info()
                .revision(revision)
                .send()
                .await
                .map(|i| (i.sha, i.siblings)),
            RepositoryKind::Dataset => self
                .hub
                .dataset(owner, name)
                .info()
                .revision(revision)
                .send()
                .await
                .map(|i| (i.sha, i.siblings)),
        };
        let (commit, files) = answer.map_err(|error| DownloadError::of(error, &asked))?;
        let commit = commit
            .filter(|commit| cache::is_commit(commit))
            .ok_or_else(|| DownloadError::no_hub("it names no commit", &asked))?;
        let mut files: Vec<String> =
            files.into_iter().flatten().map(|RepoSibling { rfilename, .. }| rfilename).collect();
        files.sort();
        // Names become paths of the cache: they must not lead elsewhere.
        let leads_away = |name: &&String| {
            name.contains(['\\', '\0']) || name.split('/').any(|part| matches!(part, "" | "." | ".."))
        };
        if let Some(bad) = files.iter().find(leads_away) {
            return Err(DownloadError::no_hub(&format!("it has a file named {bad:?}"), &asked));
        }
        Ok(State { commit, files })
    }

    /// Size and hash of a file at a commit.
    pub(super) async fn describe(&self, commit: &str, name: &str) -> Result<RemoteFile, DownloadError> {
        let asked = self.asked(commit, Some(name));
        let url = format!("{}/{}{}/resolve/{commit}/", self.endpoint, self.prefix(), self.repository);
        let url = reqwest::Url::parse(&url).and_then(|url| url.join(&escaped(name)));
        let url = url.map_err(|error| {
            DownloadError::permanent(format!("{name} of {}: {error}", self.repository), "check HF_ENDPOINT")
        })?;
        let mut request = self.direct.head(url);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.value));
        }
        let answer = request.send().await.map_err(|error| DownloadError::of_transport(&error, &asked))?;
        let status = answer.status();
        if !status.is_success() && !status.is_redirection() {
            return Err(DownloadError::refused(Refusal::of(&answer), &asked));
        }
        let headers = answer.headers();
        let hash = text(headers, "x-linked-etag").or_else(|| text(headers, ETAG.as_str()));
        let size = text(headers, "x-linked-size")
            .or_else(|| text(headers, CONTENT_LENGTH.as_str()).filter(|_| status.is_success()))
            .and_then(|size| size.parse().ok());
        let hash = hash.map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_owned());
        match (hash, size) {
            (Some(hash), Some(size)) if hash::Hasher::of(&hash, size).is_some() => {
                Ok(RemoteFile { name: name.into(), size, hash })
            }
            (hash, size) => Err(DownloadError::no_hub(
                &format!(
                    "of {name} it says the size {} and the hash {}, by which nothing can be verified",
                    size.map_or("nothing".into(), |size| size.to_string()),
                    hash.as_deref().unwrap_or("nothing")
                ),
                &asked,
            )),
        }
    }

    /// The bytes of a file from the place `from` on, or all of them, if the server cannot give a part: the place of the
    /// first one is returned, too.
    pub(super) async fn bytes(
        &self,
        commit: &str,
        file: &RemoteFile,
        from: u64,
    ) -> Result<(u64, HFByteStream), DownloadError> {
        let (owner, name) = hf_hub::split_id(&self.repository);
        // Not by a handle of any kind, whose first request hf-hub 1.0.0 sends to the model of this name.
        let answer = match self.kind {
            RepositoryKind::Model => stream(&self.hub.model(owner, name), commit, file, from).await,
            RepositoryKind::Dataset => stream(&self.hub.dataset(owner, name), commit, file, from).await,
        };
        let (length, bytes) = answer.map_err(|error| self.failed(error, commit, file))?;
        let is_whole = length == Some(file.size);
        Ok((if is_whole { 0 } else { from }, bytes))
    }

    /// The error of a download.
    pub(super) fn failed(&self, error: HFError, commit: &str, file: &RemoteFile) -> DownloadError {
        DownloadError::of(error, &self.asked(commit, Some(&file.name)))
    }
}

async fn stream<T: RepoType>(
    repository: &HFRepository<T>,
    commit: &str,
    file: &RemoteFile,
    from: u64,
) -> Result<(Option<u64>, HFByteStream), HFError> {
    let request = repository.download_file_stream().filename(&file.name).revision(commit);
    if from > 0 { request.range(from..file.size).send().await } else { request.send().await }
}

impl Refusal {
    /// Of an answer to HEAD, which has no body.
    fn of(answer: &Response) -> Self {
        let headers = answer.headers();
        Self {
            status: answer.status(),
            code: text(headers, "x-error-code"),
            message: text(headers, "x-error-message"),
            body: match text(headers, "content-type") {
                Some(kind) if kind.contains("html") && answer.status() != StatusCode::NOT_FOUND => {
                    "<html>".into()
                }
                _ => String::new(),
            },
            wait: text(headers, RETRY_AFTER.as_str())
                .and_then(|seconds| seconds.trim().parse().ok())
                .map(Duration::from_secs),
        }
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// A file's name as a part of an address.
fn escaped(name: &str) -> String {
    let mut escaped = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                escaped.push(byte.into())
            }
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        assert_eq!(escaped("a/b c#1?é.bin"), "a/b%20c%231%3F%C3%A9.bin");
    }
}
