//! Size and hash of files, as the hub says them: of all files of a commit by one question, or of one file by its HEAD.

use std::collections::HashMap;

use reqwest::{
    Url,
    header::{CONTENT_LENGTH, ETAG, HeaderMap, LOCATION},
};
use serde::Deserialize;

use super::{
    RepositoryKind,
    error::{DownloadError, Refusal},
    hash::Hasher,
    hub_client::{HubClient, encoding, text},
    remote_file::RemoteFile,
};

/// As many redirects are followed.
const REDIRECTS: usize = 10;
/// Bytes; the answer about a repository of a hundred thousand files has fewer.
const LONGEST: usize = 64 << 20;

/// The part of a repository's state that says what is in its files.
#[derive(Deserialize)]
struct Siblings {
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    /// Git's object id.
    blob_id: Option<String>,
    /// Of what lies in Git LFS or Xet.
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

impl Sibling {
    fn file(self) -> Option<RemoteFile> {
        let (hash, size, is_elsewhere) = match self.lfs {
            Some(lfs) => (lfs.sha256?, lfs.size.or(self.size)?, true),
            None => (self.blob_id?, self.size?, false),
        };
        Hasher::of(&hash, size)?;
        Some(RemoteFile { name: self.rfilename, size, hash, is_elsewhere })
    }
}

impl HubClient {
    /// The files of a commit by their names, as far as the hub says enough of them. A mirror may not answer this at all: then each is
    /// to be asked for. hf-hub asks the same without the sizes and hashes.
    pub(super) async fn describe_all(
        &self,
        commit: &str,
    ) -> Result<HashMap<String, RemoteFile>, DownloadError> {
        let plural = match self.kind {
            RepositoryKind::Model => "models",
            RepositoryKind::Dataset => "datasets",
        };
        let url = format!("{}/api/{plural}/{}/revision/{commit}?blobs=true", self.endpoint, self.repository);
        let asked = self.asked(commit, None);
        let answer = self.authorized(self.follows.get(url)).send().await;
        let mut answer = answer.map_err(|error| DownloadError::of_transport(&error, &asked))?;
        if !answer.status().is_success() {
            let error = DownloadError::refused(Refusal::of(&answer), &asked);
            return if error.is_transient { Err(error) } else { Ok(HashMap::new()) };
        }
        let mut body = Vec::new();
        while body.len() < LONGEST {
            let piece = answer.chunk().await;
            match piece.map_err(|error| DownloadError::of_transport(&error, &asked))? {
                Some(piece) => body.extend_from_slice(&piece),
                None => break,
            }
        }
        let Ok(Siblings { siblings }) = serde_json::from_slice(&body) else { return Ok(HashMap::new()) };
        let files = siblings.into_iter().filter_map(Sibling::file);
        Ok(files.map(|file| (file.name.clone(), file)).collect())
    }

    /// Size and hash of a file at a commit.
    pub(super) async fn describe(&self, commit: &str, name: &str) -> Result<RemoteFile, DownloadError> {
        let asked = self.asked(commit, Some(name));
        let mut url = self.address(commit, name)?;
        let mut said = Said::default();
        for _ in 0..=REDIRECTS {
            let answer = self.authorized(self.first.head(url.clone())).send().await;
            let answer = answer.map_err(|error| DownloadError::of_transport(&error, &asked))?;
            let status = answer.status();
            if !status.is_success() && !status.is_redirection() {
                return Err(DownloadError::refused(Refusal::of(&answer), &asked));
            }
            said.add(answer.headers(), status.is_success());
            let next = text(answer.headers(), LOCATION.as_str()).filter(|_| status.is_redirection());
            let next = next.and_then(|location| url.join(&location).ok());
            match next.filter(|next| !said.is_enough() && is_within(next, &url)) {
                Some(next) => url = next,
                None => return said.file(name).map_err(|what| DownloadError::no_hub(&what, &asked)),
            }
        }
        Err(DownloadError::redirected("too many redirects", &asked))
    }
}

/// Within the hub, from a repository's old name to the new one, or from a file to where the hub keeps it. Another server knows
/// nothing of the hub's hashes.
fn is_within(next: &Url, url: &Url) -> bool {
    next.origin() == url.origin()
}

/// What a chain of redirects within the hub said about a file. Each answer of it may be the one that says it.
#[derive(Default)]
struct Said {
    linked_hash: Option<String>,
    linked_size: Option<u64>,
    /// The last one stands first.
    etags: Vec<String>,
    length: Option<u64>,
    is_xet: bool,
}

impl Said {
    fn add(&mut self, headers: &HeaderMap, is_the_file: bool) {
        let hash = |name: &str| {
            text(headers, name).map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_owned())
        };
        let size = |name: &str| text(headers, name).and_then(|size| size.parse().ok());
        self.linked_hash = self.linked_hash.take().or_else(|| hash("x-linked-etag"));
        self.linked_size = self.linked_size.or_else(|| size("x-linked-size"));
        self.etags.splice(..0, hash(ETAG.as_str()));
        if is_the_file && encoding(headers).is_none() {
            self.length = size(CONTENT_LENGTH.as_str());
        }
        self.is_xet |= headers.contains_key("x-xet-hash");
    }

    fn is_enough(&self) -> bool {
        self.linked_hash.is_some() && self.linked_size.is_some()
    }

    fn file(self, name: &str) -> Result<RemoteFile, String> {
        let is_elsewhere = self.is_xet || self.linked_hash.is_some();
        let size = self.linked_size.or(self.length);
        let mut hashes: Vec<String> = self.linked_hash.into_iter().chain(self.etags).collect();
        let good = size.and_then(|size| {
            let at = hashes.iter().position(|hash| Hasher::of(hash, size).is_some())?;
            Some(RemoteFile { name: name.into(), size, hash: hashes.swap_remove(at), is_elsewhere })
        });
        good.ok_or_else(|| {
            format!(
                "of {name} it says the size {} and the hash {}, by which nothing can be verified",
                size.map_or("nothing".into(), |size| size.to_string()),
                hashes.first().map_or("nothing", String::as_str)
            )
        })
    }
}
