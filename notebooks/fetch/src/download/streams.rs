//! The bytes of a file, as they come.
//!
//! hf-hub streams what the hub itself holds. What lies elsewhere, as all large files do, is asked for here, from the same address, and
//! the hub redirects to an ordinary HTTPS server. hf-hub 1.0.0 would not do that: where the answer to its HEAD has `X-Xet-Hash`, it
//! takes the file in chunks from a Xet server, and no option, feature or variable keeps it from that. That road has no time limits
//! (nothing is heard of a server that says nothing, and it never ends) and does not keep to the hub's redirect, which is all that a
//! mirror serves. What it has to offer, chunks that are already there, is of no use for files that are downloaded once.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream::LocalBoxStream};
use hf_hub::{HFError, HFRepository, RepoType, repository::download::HFByteStream};
use reqwest::{
    Response, StatusCode,
    header::{CONTENT_RANGE, HeaderMap, RANGE},
};

use super::{
    RepositoryKind,
    error::{DownloadError, Refusal, WITHOUT_MIRROR},
    hub_client::{HubClient, encoding, text},
    remote_file::RemoteFile,
    request_context::RequestContext,
};

/// What comes of a file.
pub(super) struct Part<'a> {
    /// The place of the first byte: 0 if the server cannot begin where it was asked to.
    pub from: u64,
    bytes: LocalBoxStream<'a, Result<Bytes, DownloadError>>,
    client: &'a HubClient,
}

impl Part<'_> {
    /// The next bytes; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, DownloadError>> {
        // What is below has a limit of its own and says more, so that it comes first; only hf-hub's Xet has none.
        let limit = self.client.timeout * 2;
        match tokio::time::timeout(limit, self.bytes.next()).await {
            Ok(next) => next,
            Err(_) => Some(Err(self.client.without_hf_hub(&nothing_for(limit)))),
        }
    }
}

fn nothing_for(limit: Duration) -> String {
    format!("nothing came for {:.1} s", limit.as_secs_f64())
}

impl HubClient {
    /// The bytes of a file from the place `from` on, or all of them, if the server cannot give a part.
    pub(super) async fn bytes<'a>(
        &'a self,
        commit: &'a str,
        file: &'a RemoteFile,
        from: u64,
    ) -> Result<Part<'a>, DownloadError> {
        if file.is_elsewhere || self.avoids_hf_hub.get() {
            return self.plain(commit, file, from).await;
        }
        // Each of its questions has a time limit of its own, and there are few; what takes longer is not among them.
        let limit = self.timeout * 4;
        match tokio::time::timeout(limit, self.by_hf_hub(commit, file, from)).await {
            Ok(Ok((length, bytes))) => {
                let context = self.asked(commit, Some(&file.name));
                let bytes = bytes.map_err(move |error| match is_of_xet(&error) {
                    true => self.without_hf_hub(&error.to_string()),
                    false => DownloadError::of(error, &context),
                });
                // It does not tell whether it is a part: only what it says of the length does.
                let is_whole = length == Some(file.size);
                Ok(Part { from: if is_whole { 0 } else { from }, bytes: bytes.boxed_local(), client: self })
            }
            Ok(Err(error)) if is_of_xet(&error) => Err(self.without_hf_hub(&error.to_string())),
            Ok(Err(error)) => Err(self.failed(error, &self.asked(commit, Some(&file.name))).await),
            Err(_) => Err(self.without_hf_hub(&nothing_for(limit))),
        }
    }

    /// What hf-hub streams, and the length that it says it has.
    async fn by_hf_hub(
        &self,
        commit: &str,
        file: &RemoteFile,
        from: u64,
    ) -> Result<(Option<u64>, HFByteStream), HFError> {
        let (owner, name) = hf_hub::split_id(&self.repository);
        // Not by a handle of any kind, whose first request hf-hub 1.0.0 sends to the model of this name.
        match self.kind {
            RepositoryKind::Model => stream(&self.hub.model(owner, name), commit, file, from).await,
            RepositoryKind::Dataset => stream(&self.hub.dataset(owner, name), commit, file, from).await,
        }
    }

    /// hf-hub went to Xet, although nothing spoke of it before: from now on it is not asked for bytes any more.
    fn without_hf_hub(&self, what: &str) -> DownloadError {
        self.avoids_hf_hub.set(true);
        DownloadError::transient(format!("{what}; from here on by HTTPS alone"))
    }

    async fn plain<'a>(
        &'a self,
        commit: &'a str,
        file: &'a RemoteFile,
        from: u64,
    ) -> Result<Part<'a>, DownloadError> {
        let asked = self.asked(commit, Some(&file.name));
        let mut request = self.authorized(self.follows.get(self.address(commit, &file.name)?));
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-{}", file.size - 1));
        }
        let answer = request.send().await.map_err(|error| DownloadError::of_transport(&error, &asked))?;
        if !answer.status().is_success() {
            return Err(refused(answer, &asked).await);
        }
        if let Some(encoding) = encoding(answer.headers()) {
            return Err(DownloadError::compressed(&encoding));
        }
        let start =
            if answer.status() == StatusCode::PARTIAL_CONTENT { start(answer.headers()) } else { Some(0) };
        let Some(start) = start.filter(|start| *start == 0 || *start == from) else {
            let brief = format!("another part came than that from {from} on");
            return Err(DownloadError::permanent(brief, WITHOUT_MIRROR));
        };
        let bytes = answer.bytes_stream().map_err(move |error| DownloadError::of_transport(&error, &asked));
        Ok(Part { from: start, bytes: bytes.boxed_local(), client: self })
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

/// Whether hf-hub failed on its own road to large files, or on the question for the token that it needs there.
fn is_of_xet(error: &HFError) -> bool {
    let asked_for_token = |url: &str| url.contains("/xet-read-token/");
    match error {
        HFError::Xet { .. } => true,
        HFError::Http { context }
        | HFError::AuthRequired { context }
        | HFError::Forbidden { context }
        | HFError::RateLimited { context, .. }
        | HFError::RepoNotFound { context: Some(context), .. } => asked_for_token(&context.url),
        HFError::Request { url: Some(url), .. } => asked_for_token(url),
        _ => false,
    }
}

/// The error of an answer that is none of the file's bytes, with what its first kilobytes say.
async fn refused(mut answer: Response, asked: &RequestContext<'_>) -> DownloadError {
    /// Bytes; a title, or a sentence, stands before them.
    const ENOUGH: usize = 1 << 16;
    let mut body = Vec::new();
    while body.len() < ENOUGH {
        let Ok(Some(piece)) = answer.chunk().await else { break };
        body.extend_from_slice(&piece);
    }
    let refusal = Refusal { body: String::from_utf8_lossy(&body).into_owned(), ..Refusal::of(&answer) };
    DownloadError::refused(refusal, asked)
}

/// Where a part begins: 5 for `bytes 5-9/10`.
fn start(headers: &HeaderMap) -> Option<u64> {
    let range = text(headers, CONTENT_RANGE.as_str())?;
    range.trim().strip_prefix("bytes")?.trim_start().split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    #[test]
    fn headers_of_parts_are_read() {
        let with =
            |name, value: &'static str| HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
        for (range, from) in [
            ("bytes 5-9/10", Some(5)),
            ("bytes 0-9/10", Some(0)),
            ("bytes */10", None),
            ("items 5-9/10", None),
        ] {
            assert_eq!(start(&with(CONTENT_RANGE, range)), from, "{range}");
        }
        assert_eq!(start(&HeaderMap::new()), None);
    }
}
