//! Questions to the hub about one repository, each asked once: who wants to try again does.

use std::{cell::Cell, time::Duration};

use anyhow::{Context as _, Result};
use hf_hub::{HFClient, HFError, repository::RepoSibling};
use reqwest::{
    RequestBuilder, Response, StatusCode, Url,
    header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, HeaderMap, HeaderValue},
    redirect::Policy,
};

use super::{
    RepositoryKind, Settings, Token, cache,
    error::{DownloadError, Refusal},
    request_context::RequestContext,
    retry_after,
};

/// A repository at one moment.
pub(super) struct State {
    pub commit: String,
    /// The names of its files, with their folders, sorted.
    pub files: Vec<String>,
}

pub(super) struct HubClient {
    pub hub: HFClient,
    /// For what hf-hub does not tell or do: it follows redirects.
    pub follows: reqwest::Client,
    /// The same, which does not: of a large file, only the hub's own answer has the hash.
    pub first: reqwest::Client,
    pub endpoint: String,
    token: Option<Token>,
    /// How long nothing may come: of a name, a connection, an answer, its next bytes.
    pub timeout: Duration,
    pub kind: RepositoryKind,
    pub repository: String,
    /// hf-hub went to Xet once, see [`streams`](super::streams).
    pub avoids_hf_hub: Cell<bool>,
}

impl HubClient {
    pub(super) fn new(settings: &Settings, kind: RepositoryKind, repository: &str) -> Result<Self> {
        let no_client =
            "cannot set up connections; if certificates are missing, `apt install ca-certificates`";
        // Who compresses all the same does what nobody asked for.
        let plain = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
        let client = |policy: Policy| {
            reqwest::Client::builder()
                .user_agent(concat!("igpt/", env!("CARGO_PKG_VERSION")))
                .default_headers(plain.clone())
                .connect_timeout(settings.timeout)
                .read_timeout(settings.timeout)
                .redirect(policy)
                .build()
                .context(no_client)
        };
        let follows = client(Policy::default())?;
        let hub = HFClient::builder()
            .client(follows.clone())
            .endpoint(&settings.endpoint)
            // Our own tries are bounded, said, and keep to the hub's Retry-After.
            .retry_max_attempts(0)
            .cache_enabled(false);
        let hub = match &settings.token {
            Some(token) => hub.token(&token.value),
            None => hub,
        };
        Ok(Self {
            hub: hub.build().context(no_client)?,
            follows,
            first: client(Policy::none())?,
            endpoint: settings.endpoint.clone(),
            token: settings.token.clone(),
            timeout: settings.timeout,
            kind,
            repository: repository.to_owned(),
            avoids_hf_hub: Cell::new(false),
        })
    }

    pub(super) fn asked<'a>(&'a self, revision: &'a str, file: Option<&'a str>) -> RequestContext<'a> {
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
        let (commit, files) = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(self.failed(error, &asked).await),
        };
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

    /// The error of hf-hub, with what hf-hub does not tell of an answer: a wait by a date, or that it is compressed.
    pub(super) async fn failed(&self, error: HFError, asked: &RequestContext<'_>) -> DownloadError {
        let url = match &error {
            HFError::RateLimited { retry_after: None, context } => Some(&context.url),
            HFError::Http { context } if context.status == StatusCode::SERVICE_UNAVAILABLE => {
                Some(&context.url)
            }
            HFError::Request { source, url } if source.is_decode() => url.as_ref(),
            _ => None,
        };
        let headers = match url {
            Some(url) => self.headers(url).await,
            None => None,
        };
        let is_decode = matches!(&error, HFError::Request { source, .. } if source.is_decode());
        let mut failed = DownloadError::of(error, asked);
        let Some(headers) = headers else { return failed };
        if let (true, Some(encoding)) = (is_decode, encoding(&headers)) {
            return DownloadError::compressed(&encoding);
        }
        failed.wait = failed.wait.or_else(|| retry_after::of(&headers));
        failed
    }

    /// The headers of the answer to another request to an address of the hub; `None` without an answer.
    async fn headers(&self, url: &str) -> Option<HeaderMap> {
        // Others must not get the token.
        let url = Url::parse(url).ok().filter(|url| url.as_str().starts_with(&self.endpoint))?;
        let answer = self.authorized(self.first.head(url)).send().await.ok()?;
        Some(answer.headers().clone())
    }

    /// Says who asks.
    pub(super) fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {}", token.value)),
            None => request,
        }
    }

    /// Where a file of a commit is asked for.
    pub(super) fn address(&self, commit: &str, name: &str) -> Result<Url, DownloadError> {
        let folder = format!("{}/{}{}/resolve/{commit}/", self.endpoint, self.prefix(), self.repository);
        let address = Url::parse(&folder).and_then(|folder| folder.join(&escaped(name)));
        address.map_err(|error| {
            DownloadError::permanent(format!("{name} of {}: {error}", self.repository), "check HF_ENDPOINT")
        })
    }
}

impl Refusal {
    /// Of an answer whose body is not read.
    pub(super) fn of(answer: &Response) -> Self {
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
            wait: retry_after::of(headers),
        }
    }
}

/// A header, if it is there and text.
pub(super) fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// How the bytes of an answer are encoded, if they are.
pub(super) fn encoding(headers: &HeaderMap) -> Option<String> {
    let encoding = text(headers, CONTENT_ENCODING.as_str())?;
    (!encoding.trim().eq_ignore_ascii_case("identity")).then_some(encoding)
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

    #[test]
    fn encoded_bytes_are_told_from_others() {
        for (value, expected) in [("gzip", Some("gzip")), ("identity", None), ("Identity", None)] {
            let headers = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(value))]);
            assert_eq!(encoding(&headers).as_deref(), expected);
        }
        assert_eq!(encoding(&HeaderMap::new()), None);
    }
}
