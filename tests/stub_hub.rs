//! A hub on this machine, with the requests and answers of the real one: repositories' state in JSON, small files as
//! they are, large ones by way of another server. It misbehaves on demand.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use serde_json::json;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// Files from this size on lie on the other server, and are named by their SHA-256.
const LARGE: usize = 10_000;

/// What goes wrong, instead of the right answer.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This status, with these header lines and this body.
    Status(u16, &'static str, &'static str),
    /// The connection is reset after so many bytes.
    Reset(usize),
    /// The connection is closed after so many bytes, although more were promised.
    Cut(usize),
    /// The same, without a promise of how many come.
    CutUnannounced(usize),
    /// After so many bytes nothing comes any more.
    Stall(usize),
    /// The bytes come in twenty pieces with this pause before each.
    Drip(Duration),
    /// One byte is another.
    Wrong,
    /// All comes, although a part was asked for.
    Whole,
    /// A part comes as it was asked for, and says that it is all.
    PartAsWhole,
    /// Bytes come that begin as gzip's do; with `true`, the header `Content-Encoding` says so.
    Gzip(bool),
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Request {
    /// `HEAD`, `GET`
    pub method: String,
    /// The path, with the query.
    pub path: String,
    /// Whether it went to the other server.
    pub elsewhere: bool,
    /// The header `Range`.
    pub range: Option<String>,
    /// The header `Authorization`.
    pub authorization: Option<String>,
}

/// Requests whose path contains this get this fault, so many times.
struct Planned {
    method: &'static str,
    part: &'static str,
    fault: Fault,
    times: usize,
}

#[derive(Default)]
struct Repository {
    /// Which commit the branch `main` is.
    main: String,
    commits: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
}

#[derive(Default)]
struct State {
    repositories: BTreeMap<String, Repository>,
    planned: Vec<Planned>,
    log: Vec<Request>,
    elsewhere: u16,
    is_mirror: bool,
    xet: Option<Xet>,
    answering: usize,
    most_at_a_time: usize,
}

/// How the hub speaks of Xet.
struct Xet {
    /// Small files have the header, too.
    all: bool,
    /// The server of chunks; without one there are no tokens.
    server: Option<String>,
}

/// The hub; it serves until the test ends.
pub struct StubHub {
    /// Its address, for `HF_ENDPOINT`.
    pub endpoint: String,
    /// Its first repository.
    repository: String,
    state: Arc<Mutex<State>>,
}

impl StubHub {
    /// A hub with one repository, `owner/name` or `datasets/owner/name`, which has no commit yet.
    pub fn new(repository: &str) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        lock(&state).repositories.insert(repository.into(), Repository::default());
        let port = serve(&state, false);
        let elsewhere = serve(&state, true);
        lock(&state).elsewhere = elsewhere;
        Self { endpoint: format!("http://127.0.0.1:{port}"), repository: repository.into(), state }
    }

    /// Adds a commit, which `main` is from now on.
    pub fn commit(&self, commit: &str, files: &[(&str, Vec<u8>)]) {
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect();
        self.commit_to(&self.repository, commit, files);
    }

    /// Adds a commit, which `main` is from now on, to any repository; a new one begins with it.
    pub fn commit_to(&self, repository: &str, commit: &str, files: BTreeMap<String, Vec<u8>>) {
        let mut state = lock(&self.state);
        let repository = state.repositories.entry(repository.into()).or_default();
        repository.commits.insert(commit.into(), files);
        repository.main = commit.into();
    }

    /// The next `times` requests by `method` whose path contains `part` go wrong. The method `PART` stands for the bytes
    /// of a large file, which the other server gives, and `MIRROR` for what a mirror redirects to.
    pub fn plan(&self, method: &'static str, part: &'static str, times: usize, fault: Fault) {
        lock(&self.state).planned.push(Planned { method, part, fault, times });
    }

    /// From now on it redirects every file to another path of its own, and only the first answer has a large one's size and hash.
    pub fn be_a_mirror(&self) {
        lock(&self.state).is_mirror = true;
    }

    /// From now on the answers about large files, or about `all`, have `X-Xet-Hash`, and tokens name this server of chunks. Without
    /// one there are no tokens.
    pub fn speak_xet(&self, all: bool, server: Option<String>) {
        lock(&self.state).xet = Some(Xet { all, server });
    }

    /// How many large files it was sending at a time, at most.
    pub fn most_at_a_time(&self) -> usize {
        lock(&self.state).most_at_a_time
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        lock(&self.state).planned.clear();
    }

    /// What was asked since the last call.
    pub fn log(&self) -> Vec<Request> {
        std::mem::take(&mut lock(&self.state).log)
    }
}

/// The name of the blob of these bytes in a cache.
pub fn blob_name(bytes: &[u8]) -> String {
    if bytes.len() >= LARGE {
        return format!("{:x}", Sha256::digest(bytes));
    }
    format!("{:x}", Sha1::new_with_prefix(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize())
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no request panicked")
}

/// Answers on a port of its own from now on.
fn serve(state: &Arc<Mutex<State>>, elsewhere: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it has an address").port();
    let state = Arc::clone(state);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = Arc::clone(&state);
            // Whoever asked may be gone before the answer.
            thread::spawn(move || answer(stream, &state, elsewhere).ok());
        }
    });
    port
}

fn answer(stream: TcpStream, shared: &Mutex<State>, elsewhere: bool) -> std::io::Result<()> {
    let Some(request) = read(&stream, elsewhere)? else { return Ok(()) };
    let mut state = lock(shared);
    state.log.push(request.clone());
    let fault = state.fault(&request);
    let reply = state.reply(&request);
    let is_large = elsewhere && request.method == "GET";
    state.answering += usize::from(is_large);
    state.most_at_a_time = state.most_at_a_time.max(state.answering);
    drop(state);
    let sent = reply.send(stream, &request, fault);
    lock(shared).answering -= usize::from(is_large);
    sent
}

/// The next request of a connection.
fn read(stream: &TcpStream, elsewhere: bool) -> std::io::Result<Option<Request>> {
    let mut lines = BufReader::new(stream).lines();
    let Some(first) = lines.next().transpose()? else { return Ok(None) };
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut request = Request { method, path, elsewhere, range: None, authorization: None };
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(": ") else { continue };
        match name.to_lowercase().as_str() {
            "range" => request.range = Some(value.into()),
            "authorization" => request.authorization = Some(value.into()),
            _ => {}
        }
    }
    Ok(Some(request))
}

impl State {
    fn fault(&mut self, request: &Request) -> Option<Fault> {
        let is_meant = |planned: &&mut Planned| {
            let method = match planned.method {
                "PART" => request.elsewhere && request.method == "GET",
                "MIRROR" => request.path.starts_with("/mirror") && request.method == "GET",
                method => !request.elsewhere && request.method == method,
            };
            planned.times > 0 && method && request.path.contains(planned.part)
        };
        let planned = self.planned.iter_mut().find(is_meant)?;
        planned.times -= 1;
        Some(planned.fault.clone())
    }

    fn reply(&self, request: &Request) -> Reply {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let asked = self.repositories.iter().find_map(|(name, repository)| {
            let kind = if name.starts_with("datasets/") { "" } else { "models/" };
            Some((name, repository, path.strip_prefix(&format!("/api/{kind}{name}/revision/"))?))
        });
        if let Some((name, repository, revision)) = asked {
            let commit = if revision == "main" { &repository.main } else { revision };
            let Some(files) = repository.commits.get(commit) else {
                return Reply::new(
                    404,
                    "X-Error-Code: RevisionNotFound\r\n",
                    "{\"error\": \"Invalid rev id\"}",
                );
            };
            let siblings: Vec<_> = match query {
                "blobs=true" => files.iter().map(|(name, bytes)| described(name, bytes)).collect(),
                _ => files.keys().map(|name| json!({"rfilename": name})).collect(),
            };
            let body = json!({"id": name, "sha": commit, "siblings": siblings}).to_string();
            return Reply::new(200, "Content-Type: application/json\r\n", body);
        }
        if let Some(server) = self.xet.as_ref().and_then(|xet| xet.server.as_ref())
            && path.contains("/xet-read-token/")
        {
            let token = json!({"accessToken": "t", "exp": 4_102_444_800u64, "casUrl": server});
            return Reply::new(200, "Content-Type: application/json\r\n", token.to_string());
        }
        if path.starts_with("/api/") {
            return Reply::new(
                404,
                "X-Error-Code: RepoNotFound\r\n",
                "{\"error\": \"Repository not found\"}",
            );
        }
        // The other server has the same paths, and a mirror has them once more.
        let moved = path.strip_prefix("/mirror");
        let found = self.repositories.iter().find_map(|(name, repository)| {
            let rest = moved.unwrap_or(path).strip_prefix(&format!("/{name}/resolve/"))?;
            let (commit, file) = rest.split_once('/')?;
            repository.commits.get(commit)?.get(file)
        });
        let Some(bytes) = found else {
            return Reply::new(404, "X-Error-Code: EntryNotFound\r\n", "Entry not found");
        };
        let (hash, is_large) = (blob_name(bytes), bytes.len() >= LARGE);
        let xet = match &self.xet {
            Some(xet) if is_large || xet.all => format!("X-Xet-Hash: {}\r\n", "0123456789abcdef".repeat(4)),
            _ => String::new(),
        };
        let is_first = !request.elsewhere && moved.is_none();
        let linked = match is_first && is_large {
            true => format!("X-Linked-Etag: \"{hash}\"\r\nX-Linked-Size: {}\r\n", bytes.len()),
            false => String::new(),
        };
        let to = match self.is_mirror {
            true if is_first => Some(format!("/mirror{path}")),
            false if is_first && is_large => Some(format!("http://localhost:{}{path}", self.elsewhere)),
            _ => None,
        };
        if let Some(to) = to {
            let headers = format!("Location: {to}\r\n{linked}{xet}");
            return Reply::new(302, headers, "Found. Redirecting");
        }
        let etag = if is_large { "another" } else { &hash };
        Reply::new(200, format!("ETag: \"{etag}\"\r\nAccept-Ranges: bytes\r\n{xet}"), bytes.clone())
    }
}

/// A file as the hub describes it among all of a commit.
fn described(name: &str, bytes: &[u8]) -> serde_json::Value {
    let (hash, size) = (blob_name(bytes), bytes.len());
    match size >= LARGE {
        // Git has only a note of it, whose object id says nothing about the file.
        true => json!({
            "rfilename": name, "size": size, "blobId": "0".repeat(40),
            "lfs": {"sha256": hash, "size": size, "pointerSize": 130}
        }),
        false => json!({"rfilename": name, "size": size, "blobId": hash}),
    }
}

struct Reply {
    status: u16,
    /// Each with its line's end.
    headers: String,
    body: Vec<u8>,
}

impl Reply {
    fn new(status: u16, headers: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: headers.into(), body: body.into() }
    }

    fn send(mut self, mut stream: TcpStream, request: &Request, fault: Option<Fault>) -> std::io::Result<()> {
        if let Some(Fault::Status(status, headers, body)) = fault {
            self = Self::new(status, headers, body);
        }
        if let Some(Fault::Gzip(is_said)) = fault {
            let headers = if is_said { "Content-Encoding: gzip\r\n" } else { "" };
            self = Self::new(200, headers, [&[0x1f, 0x8b, 8, 0], &[7; 900][..]].concat());
        }
        let start: Option<usize> = request
            .range
            .as_ref()
            .and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse().ok());
        if let (Some(start), 200, false) = (start, self.status, matches!(fault, Some(Fault::Whole))) {
            let all = self.body.len();
            if !matches!(fault, Some(Fault::PartAsWhole)) {
                self.status = 206;
                self.headers += &format!("Content-Range: bytes {start}-{}/{all}\r\n", all - 1);
            }
            self.body.drain(..start);
        }
        let length = match fault {
            Some(Fault::CutUnannounced(_)) => String::new(),
            _ => format!("Content-Length: {}\r\n", self.body.len()),
        };
        let head =
            format!("HTTP/1.1 {} Stub\r\n{}{length}Connection: close\r\n\r\n", self.status, self.headers);
        stream.write_all(head.as_bytes())?;
        if request.method == "HEAD" {
            return Ok(());
        }
        let middle = self.body.len() / 2;
        match fault {
            Some(Fault::Reset(after)) => {
                stream.write_all(&self.body[..after])?;
                // What was sent arrives first.
                thread::sleep(Duration::from_millis(200));
                rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
            }
            Some(Fault::Cut(after) | Fault::CutUnannounced(after)) => {
                stream.write_all(&self.body[..after.min(self.body.len())])?;
            }
            Some(Fault::Stall(after)) => {
                stream.write_all(&self.body[..after])?;
                thread::sleep(Duration::from_secs(60));
            }
            Some(Fault::Drip(pause)) => {
                for piece in self.body.chunks(self.body.len().div_ceil(20).max(1)) {
                    thread::sleep(pause);
                    stream.write_all(piece)?;
                }
            }
            Some(Fault::Wrong) => {
                self.body[middle] ^= 1;
                stream.write_all(&self.body)?;
            }
            _ => stream.write_all(&self.body)?,
        }
        Ok(())
    }
}
