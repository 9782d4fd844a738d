//! Downloads from a hub that misbehaves: what a user is told, what arrives, and that nothing bad stays in the cache.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use igpt_fetch::download::{self, RepositoryKind, Settings};
use igpt_tests::stub_hub::{Fault, Request, StubHub, blob_name};

const REPOSITORY: &str = "openai/imagegpt-small";
const ONE: &str = "1111111111111111111111111111111111111111";
const TWO: &str = "2222222222222222222222222222222222222222";
const WEIGHTS: &str = "pytorch_model.bin";
/// What `igpt fetch` becomes.
const PROGRAM: &str = env!("CARGO_BIN_EXE_igpt-fetch");

/// A hub with one commit, and an empty cache.
struct Place {
    hub: StubHub,
    folder: tempfile::TempDir,
    weights: Vec<u8>,
}

impl Place {
    fn new() -> Self {
        let hub = StubHub::new(REPOSITORY);
        let weights: Vec<u8> =
            (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        hub.commit(ONE, &files(&weights, "{}"));
        Self { hub, folder: tempfile::tempdir().unwrap(), weights }
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn model(&self) -> PathBuf {
        self.cache().join("models--openai--imagegpt-small")
    }

    fn blob(&self, end: &str) -> PathBuf {
        self.model().join("blobs").join(blob_name(&self.weights) + end)
    }

    /// `igpt fetch imagegpt-small` from this hub.
    fn fetch(&self) -> Command {
        self.fetch_by(Command::new(PROGRAM), &["imagegpt-small"])
    }

    fn fetch_by(&self, mut command: Command, arguments: &[&str]) -> Command {
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if ["HF_", "HUGGING", "TRANSFORMERS_"].iter().any(|start| name.starts_with(start))
                || name.to_lowercase().ends_with("_proxy")
            {
                command.env_remove(name);
            }
        }
        command.args(arguments).env("HF_ENDPOINT", &self.hub.endpoint);
        command.env("HF_HOME", self.folder.path()).env("HF_HUB_CACHE", self.cache());
        command.env("IGPT_HUB_DELAY", "0.01").env("HF_HUB_DOWNLOAD_TIMEOUT", "20");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Settings of the same, without the command.
    fn settings(&self) -> Settings {
        Settings {
            endpoint: self.hub.endpoint.clone(),
            token: None,
            cache: self.cache(),
            offline: None,
            timeout: Duration::from_secs(20),
            delay: Duration::from_millis(10),
            tries: 3,
        }
    }

    fn succeeds(&self, command: &mut Command) -> String {
        let (out, errors, good) = said(&command.output().unwrap());
        assert!(good, "{out}{errors}");
        self.check();
        assert!(self.arrived(ONE) || self.arrived(TWO), "{out}");
        out
    }

    /// The error, without its first word; the lines before it.
    fn fails(&self, command: &mut Command) -> (String, String) {
        let (out, errors, good) = said(&command.output().unwrap());
        assert!(!good, "{out}{errors}");
        self.check();
        let error = errors.strip_prefix("error: ").unwrap_or_else(|| panic!("{errors}"));
        (error.to_owned(), out)
    }

    /// Whether the weights of a commit are there.
    fn arrived(&self, commit: &str) -> bool {
        let folder = self.model().join("snapshots").join(commit);
        fs::read(folder.join(WEIGHTS)).is_ok_and(|bytes| bytes == self.weights)
            && folder.join("config.json").is_file()
            && folder.join("preprocessor_config.json").is_file()
            && !folder.join("README.md").exists()
    }

    /// Every blob has the hash that is its name, every link leads to one, every reference to a commit that is there.
    fn check(&self) {
        let names = |folder: &str| {
            let entries = fs::read_dir(self.model().join(folder)).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        for blob in names("blobs").iter().filter(|path| path.extension().is_none()) {
            assert!(blob.ends_with(blob_name(&fs::read(blob).unwrap())), "{}", blob.display());
        }
        for link in names("snapshots").iter().flat_map(|commit| fs::read_dir(commit).unwrap()) {
            let link = link.unwrap().path();
            let target = fs::read_link(&link).unwrap();
            assert!(target.starts_with("../../blobs") && link.is_file(), "{}", link.display());
        }
        for reference in names("refs") {
            let commit = fs::read_to_string(&reference).unwrap();
            assert!(self.arrived(&commit), "{}", reference.display());
        }
    }

    /// The ranges of the requests for the weights' bytes.
    fn ranges(&self) -> Vec<Option<String>> {
        let bytes = |request: &Request| request.elsewhere && request.method == "GET";
        self.hub.log().into_iter().filter(bytes).map(|request| request.range).collect()
    }
}

/// The files of a commit.
fn files(weights: &[u8], config: &str) -> [(&'static str, Vec<u8>); 4] {
    [
        ("README.md", b"not wanted".to_vec()),
        ("config.json", config.into()),
        ("preprocessor_config.json", b"{\"clusters\": []}".to_vec()),
        (WEIGHTS, weights.to_vec()),
    ]
}

/// Standard output, standard error, and whether it ended well.
fn said(output: &Output) -> (String, String, bool) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.success())
}

fn contains_all(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn files_arrive_once_and_are_repaired() {
    let place = Place::new();
    let out = place.succeeds(&mut place.fetch());
    contains_all(
        &out,
        &[
            "config.json and 2 more, 3.0 MB of revision 111111111111",
            "pytorch_model.bin: 3.0 MB in ",
            ", verified",
            "revision 111111111111 is whole",
        ],
    );
    assert_eq!(fs::read_to_string(place.model().join("refs/main")).unwrap(), ONE);
    assert_eq!(place.ranges(), [None]);
    place.succeeds(&mut place.fetch());
    assert!(place.ranges().is_empty());

    // A blob in which a byte flipped.
    let mut bad = place.weights.clone();
    bad[7] ^= 1;
    fs::write(place.blob(""), &bad).unwrap();
    place.succeeds(&mut place.fetch());
    assert_eq!(place.ranges(), [None]);
}

#[test]
fn what_is_not_there_is_named() {
    let place = Place::new();
    let (error, _) = place.fails(&mut place.fetch_by(Command::new(PROGRAM), &["imagegpt-large"]));
    contains_all(
        &error,
        &["has no model openai/imagegpt-large", "check the name and HF_ENDPOINT", "HF_TOKEN"],
    );

    place.hub.commit(TWO, &files(&place.weights, "{}")[..3]);
    let (error, _) = place.fails(&mut place.fetch());
    contains_all(&error, &[TWO, "neither model.safetensors, nor ", "nor pytorch_model.bin"]);

    place.hub.commit(TWO, &files(&place.weights, "{}"));
    place.hub.plan("HEAD", "/config.json", 1, Fault::Status(404, "X-Error-Code: EntryNotFound\r\n", ""));
    let (error, _) = place.fails(&mut place.fetch());
    contains_all(&error, &["does not have the file config.json", "try again later"]);

    let wanted = download::all(|name| name == "config.json");
    let ensure = |revision: &str| {
        place
            .settings()
            .ensure(RepositoryKind::Model, REPOSITORY, Some(revision), &wanted, &|line| println!("{line}"))
    };
    let error = format!("{:#}", ensure("v9").unwrap_err());
    contains_all(&error, &["has no revision v9", "name a branch, a tag or a commit"]);
    // Of an older commit only what is wanted; the second time without a question.
    place.hub.log();
    assert_eq!(ensure(ONE).unwrap().names(), ["config.json"]);
    assert!(!place.hub.log().is_empty());
    assert_eq!(ensure(ONE).unwrap().revision, ONE);
    assert!(place.hub.log().is_empty());
    let error = format!("{:#}", ensure("../../x").unwrap_err());
    assert!(error.starts_with("\"../../x\" is not the name of a branch"), "{error}");
}

#[test]
fn who_may_not_is_told_how_to() {
    let place = Place::new();
    place.hub.plan("GET", "/api/", 2, Fault::Status(401, "X-Error-Message: Invalid credentials\r\n", ""));
    let (error, _) = place.fails(&mut place.fetch());
    contains_all(
        &error,
        &["401", "Invalid credentials", "set HF_TOKEN to a token of yours", "/settings/tokens"],
    );
    let (error, _) = place.fails(place.fetch().env("HF_TOKEN", "hf_old"));
    contains_all(&error, &["see whether the token in HF_TOKEN is valid"]);
    assert!(!error.contains("hf_old"), "{error}");

    place.hub.plan("GET", "/api/", 1, Fault::Status(401, "X-Error-Code: RepoNotFound\r\n", ""));
    let (error, _) = place.fails(&mut place.fetch());
    contains_all(&error, &["has no model openai/imagegpt-small", "or it is private"]);

    let page = "<!DOCTYPE html><html><head><title>Blocked by your school</title></head></html>";
    place.hub.plan("GET", "/resolve/", 1, Fault::Status(403, "Content-Type: text/html\r\n", page));
    let (error, _) = place.fails(&mut place.fetch());
    contains_all(
        &error,
        &[
            "403 Forbidden",
            "Blocked by your school",
            "accept its conditions at ",
            "/openai/imagegpt-small in a browser",
        ],
    );
    place.succeeds(&mut place.fetch());
}

/// What a firewall or a hotel's network answers.
#[test]
fn a_web_page_is_not_taken_for_the_hub() {
    let place = Place::new();
    let page = Fault::Status(200, "Content-Type: text/html\r\n", "<html><title>Log in</title></html>");
    place.hub.plan("GET", "/api/", 1, page.clone());
    let (error, _) = place.fails(&mut place.fetch());
    contains_all(&error, &["is not the hub", "log-in in a browser"]);
    place.hub.plan("PART", WEIGHTS, 9, page);
    let (error, _) = place.fails(&mut place.fetch());
    contains_all(
        &error,
        &["pytorch_model.bin", "the answer ended after 34 of 3000000 bytes; try again later"],
    );
    assert!(!place.blob("").exists());
}

#[test]
fn what_can_pass_is_tried_again() {
    let place = Place::new();
    place.hub.plan("GET", "/api/", 1, Fault::Status(500, "", ""));
    place.hub.plan("HEAD", "/config.json", 1, Fault::Status(503, "", ""));
    place.hub.plan("PART", WEIGHTS, 1, Fault::Status(429, "Retry-After: 1\r\n", ""));
    let begun = Instant::now();
    let out = place.succeeds(&mut place.fetch());
    assert!(begun.elapsed() >= Duration::from_secs(1), "Retry-After is kept to");
    contains_all(&out, &["it answers 500", "it answers 503", "too many requests", "trying again in 1.0 s"]);

    let place = Place::new();
    place.hub.plan("GET", "/api/", 99, Fault::Status(502, "", ""));
    let (error, out) = place.fails(&mut place.fetch());
    contains_all(&error, &["is out of order: it answers 502", "try again later"]);
    assert_eq!(out.matches("trying again").count(), 4, "{out}");
}

#[test]
fn a_broken_download_goes_on_where_it_was() {
    for fault in [Fault::Reset(1_000_000), Fault::Cut(1_000_000), Fault::CutUnannounced(1_000_000)] {
        let place = Place::new();
        place.hub.plan("PART", WEIGHTS, 1, fault.clone());
        let out = place.succeeds(&mut place.fetch());
        assert!(out.contains("trying again"), "{out}");
        assert_eq!(place.ranges(), [None, Some("bytes=1000000-2999999".into())], "{fault:?}");
    }
    // A server that cannot begin in the middle, and one that never gets any further.
    let place = Place::new();
    place.hub.plan("PART", WEIGHTS, 1, Fault::Cut(1_000_000));
    place.hub.plan("PART", WEIGHTS, 1, Fault::Whole);
    let out = place.succeeds(&mut place.fetch());
    contains_all(&out, &["cannot go on in the middle"]);
    // One that gives a part and calls it all: it is found out, and asked for all of it.
    let place = Place::new();
    place.hub.plan("PART", WEIGHTS, 1, Fault::Cut(1_000_000));
    place.hub.plan("PART", WEIGHTS, 1, Fault::PartAsWhole);
    place.succeeds(&mut place.fetch());
    assert_eq!(place.ranges(), [None, Some("bytes=1000000-2999999".into()), None]);
    let place = Place::new();
    place.hub.plan("PART", WEIGHTS, 99, Fault::Cut(0));
    let (error, _) = place.fails(&mut place.fetch());
    contains_all(&error, &["pytorch_model.bin: the connection broke off: ", "check the network"]);
    assert_eq!(place.ranges().len(), 5);
}

#[test]
fn wrong_bytes_never_appear() {
    let place = Place::new();
    place.hub.plan("PART", WEIGHTS, 1, Fault::Wrong);
    let out = place.succeeds(&mut place.fetch());
    contains_all(&out, &["once more from its beginning"]);

    let place = Place::new();
    place.hub.plan("PART", WEIGHTS, 9, Fault::Wrong);
    place.hub.plan("GET", "/preprocessor_config.json", 1, Fault::Wrong);
    let (error, _) = place.fails(&mut place.fetch());
    contains_all(&error, &["pytorch_model.bin", "came twice with other bytes", "try again later"]);
    assert!(!place.blob("").exists() && !place.blob(".incomplete").exists());
    assert!(!place.model().join("refs/main").exists());

    // What another process left is not trusted, whether it is too short or too long.
    for left in [vec![7; 1000], vec![7; 3_000_000], vec![7; 3_000_001]] {
        let place = Place::new();
        fs::create_dir_all(place.model().join("blobs")).unwrap();
        fs::write(place.blob(".incomplete"), left).unwrap();
        place.succeeds(&mut place.fetch());
    }
}

#[test]
fn a_slow_server_is_waited_for_and_a_silent_one_is_not() {
    let place = Place::new();
    place.hub.plan("PART", WEIGHTS, 1, Fault::Drip(Duration::from_millis(150)));
    let out = place.succeeds(place.fetch().env("HF_HUB_DOWNLOAD_TIMEOUT", "1"));
    contains_all(&out, &[" of 3.0 MB, ", " MB/s, ", " s left"]);

    let place = Place::new();
    place.hub.plan("PART", WEIGHTS, 1, Fault::Stall(500_000));
    let out = place.succeeds(place.fetch().env("HF_HUB_DOWNLOAD_TIMEOUT", "0.5"));
    contains_all(&out, &["trying again"]);
    assert_eq!(place.ranges(), [None, Some("bytes=500000-2999999".into())]);
}

#[test]
fn what_is_waited_for_is_said() {
    let place = Place::new();
    place.hub.plan("GET", "/api/", 1, Fault::Stall(0));
    place.hub.plan("PART", WEIGHTS, 1, Fault::Stall(0));
    let out = place.succeeds(place.fetch().env("HF_HUB_DOWNLOAD_TIMEOUT", "12"));
    let asked = format!("openai/imagegpt-small: waiting for an answer of {} for 10 s", place.hub.endpoint);
    contains_all(&out, &[&asked, "pytorch_model.bin: waiting for more of it for 10 s", "trying again"]);
}

#[test]
fn the_token_stays_with_the_hub() {
    let place = Place::new();
    fs::write(place.folder.path().join("token"), "hf_of_the_file\n").unwrap();
    place.succeeds(&mut place.fetch());
    let log = place.hub.log();
    assert!(log.iter().any(|request| request.elsewhere));
    for request in log {
        let expected = (!request.elsewhere).then(|| "Bearer hf_of_the_file".to_owned());
        assert_eq!(request.authorization, expected, "{} {}", request.method, request.path);
    }
}

#[test]
fn a_new_revision_stands_beside_the_old_one() {
    let place = Place::new();
    place.succeeds(&mut place.fetch());
    place.ranges();
    place.hub.commit(TWO, &files(&place.weights, "{\"n_layer\": 24}"));
    // Until all of it is there, the old one is what `main` is.
    place.hub.plan("GET", "/config.json", 9, Fault::Wrong);
    place.fails(&mut place.fetch());
    assert_eq!(fs::read_to_string(place.model().join("refs/main")).unwrap(), ONE);
    place.hub.heal();
    place.succeeds(&mut place.fetch());
    assert!(place.arrived(ONE) && place.arrived(TWO));
    assert_eq!(fs::read_to_string(place.model().join("refs/main")).unwrap(), TWO);
    // The weights are the same.
    assert!(place.ranges().is_empty());
}

/// A limit on the size of files stands for the end of the disk.
#[test]
fn a_full_disk_is_named_and_the_download_goes_on_later() {
    let place = Place::new();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 2000; exec \"$0\" \"$@\""]).arg(PROGRAM);
    let (error, _) = place.fails(&mut place.fetch_by(command, &["imagegpt-small"]));
    contains_all(&error, &["cannot write ", "of 3.0 MB; make room and run this again", "HF_HUB_CACHE"]);
    assert!(!place.blob("").exists());
    let there = fs::metadata(place.blob(".incomplete")).unwrap().size();
    assert!(there >= 1_000_000, "{there}");
    place.ranges();
    place.succeeds(&mut place.fetch());
    assert_eq!(place.ranges(), [Some(format!("bytes={there}-2999999"))]);
}

#[test]
fn two_processes_share_one_download() {
    let place = Place::new();
    place.hub.plan("PART", WEIGHTS, 1, Fault::Drip(Duration::from_millis(50)));
    let children: Vec<_> = (0..3).map(|_| place.fetch().spawn().unwrap()).collect();
    let outputs: Vec<_> =
        children.into_iter().map(|child| said(&child.wait_with_output().unwrap())).collect();
    assert!(outputs.iter().all(|(_, _, good)| *good), "{outputs:?}");
    assert!(outputs.iter().any(|(out, _, _)| out.contains("another process downloads it; waiting")));
    place.check();
    assert!(place.arrived(ONE));
    assert_eq!(place.ranges(), [None]);
}

#[test]
fn who_was_killed_goes_on() {
    let place = Place::new();
    place.hub.plan("PART", WEIGHTS, 1, Fault::Stall(1_500_000));
    let mut child = place.fetch().spawn().unwrap();
    let begun = Instant::now();
    while !fs::metadata(place.blob(".incomplete")).is_ok_and(|there| there.size() == 1_500_000) {
        assert!(begun.elapsed() < Duration::from_secs(20), "half of it arrives");
        thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    place.check();
    assert!(!place.arrived(ONE));
    place.ranges();
    let out = place.succeeds(&mut place.fetch());
    contains_all(&out, &["pytorch_model.bin: goes on at 1.5 of 3.0 MB"]);
    assert_eq!(place.ranges(), [Some("bytes=1500000-2999999".into())]);
}

#[test]
fn offline_nothing_is_asked() {
    let place = Place::new();
    for variable in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
        let (error, _) = place.fails(place.fetch().env(variable, "1"));
        contains_all(
            &error,
            &[
                &format!("{variable} forbids the network: unset it"),
                "openai/imagegpt-small is not in the Hugging Face cache",
                "huggingface-cli download openai/imagegpt-small\n",
            ],
        );
    }
    assert!(place.hub.log().is_empty());
    place.succeeds(&mut place.fetch());
    place.hub.log();
    place.succeeds(place.fetch().env("HF_HUB_OFFLINE", "true"));
    fs::remove_file(place.model().join("snapshots").join(ONE).join("config.json")).unwrap();
    let output = place.fetch().env("HF_HUB_OFFLINE", "1").output().unwrap();
    contains_all(&said(&output).1, &["there is no config.json", "forbids the network"]);
    assert!(place.hub.log().is_empty());
}

#[test]
fn without_a_network_the_cache_is_enough() {
    let place = Place::new();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = |endpoint: &str| {
        let mut command = place.fetch();
        command.env("HF_ENDPOINT", endpoint);
        command
    };
    for endpoint in [format!("http://{closed}"), "http://no.such.host.invalid".into()] {
        let (error, out) = place.fails(&mut away(&endpoint));
        contains_all(&error, &[&format!("cannot reach {endpoint}"), "check the network", "HF_ENDPOINT"]);
        assert_eq!(out.matches("trying again").count(), 4, "{out}");
    }
    assert!(!place.cache().exists());
    place.succeeds(&mut place.fetch());
    let out = place.succeeds(&mut away(&format!("http://{closed}")));
    contains_all(
        &out,
        &["cannot reach http://", "The cache holds openai/imagegpt-small at revision 1111", "is used"],
    );
    let (error, _) = place.fails(&mut away("nonsense"));
    contains_all(&error, &["HF_ENDPOINT is \"nonsense\""]);
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let place = Place::new();
    fs::write(place.cache(), "a file where the folder should be").unwrap();
    let output = place.fetch().output().unwrap();
    let error = said(&output).1;
    contains_all(&error, &["error: cannot ", "HF_HUB_CACHE names another"]);
    assert!(place.cache().is_file());
}

#[test]
fn a_data_set_is_downloaded_and_decoded() {
    let place = Place { hub: StubHub::new("datasets/uoft-cs/cifar10"), ..Place::new() };
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/parquet");
    let read = |name: &str| fs::read(fixtures.join(name)).unwrap();
    let part = read("train-00000-of-00002.parquet");
    place.hub.commit(
        ONE,
        &[
            ("README.md", b"no classes".to_vec()),
            ("plain_text/train-00000-of-00002.parquet", part.clone()),
            ("plain_text/train-00001-of-00002.parquet", read("train-00001-of-00002.parquet")),
            ("plain_text/test-00000-of-00001.parquet", read("test-00000-of-00001.parquet")),
            ("plain_text/validation-00000-of-00001.parquet", b"not wanted".to_vec()),
        ],
    );
    let data = place.folder.path().join("data");
    let fetch = || {
        let mut command = place.fetch_by(Command::new(PROGRAM), &["cifar10"]);
        command.env("IGPT_DATA", &data);
        said(&command.output().unwrap())
    };
    place.hub.plan("GET", "train-00000", 1, Fault::Cut(100));
    let (out, errors, good) = fetch();
    assert!(good && out.contains("CIFAR-10: 20 training and 10 test images, 6 × 4, RGB"), "{out}{errors}");
    assert!(data.join(format!("cifar10-{}.igpt-data", &ONE[..12])).is_file());
    let snapshot = place.cache().join("datasets--uoft-cs--cifar10/snapshots").join(ONE);
    assert_eq!(fs::read(snapshot.join("plain_text/train-00000-of-00002.parquet")).unwrap(), part);
    assert!(!snapshot.join("plain_text/validation-00000-of-00001.parquet").exists());
    // The second time only the revision is asked for, and nothing is downloaded or decoded.
    place.hub.log();
    let (out, errors, good) = fetch();
    assert!(good && out.contains("is whole") && !out.contains("decoding"), "{out}{errors}");
    assert!(
        place.hub.log().iter().all(|request| request.method == "HEAD" || request.path.starts_with("/api/"))
    );
}

/// hf-hub takes what has `X-Xet-Hash` from a server of chunks, which may refuse, or say nothing for ever.
#[test]
fn large_files_come_by_https_whatever_is_said_of_xet() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = |at: std::net::SocketAddr| Some(format!("http://{at}"));
    for server in [None, address(closed), address(silent.local_addr().unwrap())] {
        let place = Place::new();
        place.hub.speak_xet(false, server.clone());
        // The hub says all sizes and hashes at once, or those of each file.
        for described in [true, false] {
            if !described {
                fs::remove_dir_all(place.cache()).unwrap();
                place.hub.plan("GET", "blobs=true", 1, Fault::Status(404, "", ""));
            }
            let begun = Instant::now();
            place.succeeds(&mut place.fetch());
            assert!(begun.elapsed() < Duration::from_secs(10), "{server:?}");
            let log = place.hub.log();
            assert!(!log.iter().any(|request| request.path.contains("xet")), "{log:?}");
            assert!(log.iter().any(|request| request.elsewhere), "{log:?}");
        }
    }
}

/// Nothing says beforehand that a small file is to come from there: what fails then is asked for by HTTPS.
#[test]
fn hf_hubs_way_to_xet_has_limits() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = |at: std::net::SocketAddr| Some(format!("http://{at}"));
    for server in [None, address(closed), address(silent.local_addr().unwrap())] {
        let place = Place::new();
        place.hub.speak_xet(true, server.clone());
        let begun = Instant::now();
        let out = place.succeeds(place.fetch().env("HF_HUB_DOWNLOAD_TIMEOUT", "1"));
        assert!(begun.elapsed() < Duration::from_secs(20), "{server:?}: {out}");
        contains_all(&out, &["; from here on by HTTPS alone; trying again in "]);
        assert!(place.hub.log().iter().any(|request| request.path.contains("xet-read-token")));
    }
}

#[test]
fn who_is_to_wait_long_is_told_how_long() {
    let later = "Retry-After: Fri, 01 Jan 2100 00:00:00 GMT\r\n";
    for (header, expected) in
        [("Retry-After: 3600\r\n", "it asks to wait 3600 s, "), (later, "it asks to wait 2")]
    {
        for status in [429, 503] {
            for (method, part) in [("GET", "/api/"), ("GET", "/config.json"), ("PART", WEIGHTS)] {
                let place = Place::new();
                place.hub.plan(method, part, 99, Fault::Status(status, header, ""));
                place.hub.plan("HEAD", part, 99, Fault::Status(status, header, ""));
                let begun = Instant::now();
                let (error, out) = place.fails(&mut place.fetch());
                assert!(begun.elapsed() < Duration::from_secs(10), "{error}{out}");
                contains_all(
                    &error,
                    &[expected, "300 s in all are the most that it is waited", ": come back in "],
                );
                assert!(!out.contains("trying again"), "{out}");
            }
        }
    }
    // Several short waits are waited for, but not any number of them.
    let place = Place::new();
    place.hub.plan("GET", "/api/", 1, Fault::Status(429, "Retry-After: 1\r\n", ""));
    place.hub.plan("GET", "/api/", 1, Fault::Status(429, "Retry-After: 300\r\n", ""));
    let (error, out) = place.fails(&mut place.fetch());
    contains_all(&error, &["it asks to wait 300 s, and 300 s in all"]);
    contains_all(&out, &["openai/imagegpt-small: ", "trying again in 1.0 s"]);
    // By a date, too.
    let place = Place::new();
    let soon = Command::new("date").args(["-uRd", "+3 seconds"]).output().unwrap();
    let soon = String::from_utf8(soon.stdout).unwrap().trim().replace("+0000", "GMT");
    let header: &'static str = format!("Retry-After: {soon}\r\n").leak();
    place.hub.plan("GET", "/api/", 1, Fault::Status(429, header, ""));
    place.hub.plan("HEAD", "/api/", 1, Fault::Status(429, header, ""));
    let begun = Instant::now();
    let out = place.succeeds(&mut place.fetch());
    assert!(begun.elapsed() >= Duration::from_secs(1), "{out}");
}

const CIRCLE: Fault = Fault::Status(302, "Location: /api/models/openai/imagegpt-small/revision/main\r\n", "");

#[test]
fn a_whole_cache_is_used_at_once_whatever_the_hub_answers() {
    for (fault, said) in [
        (Fault::Status(429, "Retry-After: 3600\r\n", ""), "it asks to wait 3600 s: come back in 60 min"),
        (Fault::Status(401, "", ""), "wants to know who asks"),
        (Fault::Status(403, "", ""), "403 Forbidden"),
        (Fault::Status(404, "X-Error-Code: RepoNotFound\r\n", ""), "has no model"),
        (Fault::Status(500, "", ""), "it answers 500"),
        (CIRCLE, "sends this from one address to the next: too many redirects"),
    ] {
        let place = Place::new();
        place.hub.plan("GET", "/api/", 99, fault.clone());
        let (error, out) = place.fails(&mut place.fetch());
        contains_all(&error, &[said.split(": come").next().unwrap()]);
        assert!(!out.contains("is used"), "{out}");
        place.hub.heal();
        place.succeeds(&mut place.fetch());
        place.hub.plan("GET", "/api/", 99, fault);
        let begun = Instant::now();
        let out = place.succeeds(&mut place.fetch());
        assert!(begun.elapsed() < Duration::from_secs(5), "{out}");
        contains_all(&out, &[said, "The cache holds openai/imagegpt-small at revision 1111", "that is used"]);
        // But not if it is damaged.
        let mut bad = place.weights.clone();
        bad[7] ^= 1;
        fs::write(place.blob(""), &bad).unwrap();
        let output = place.fetch().output().unwrap();
        contains_all(&crate::said(&output).1, &[WEIGHTS, " is damaged: ", "download it again"]);
    }
}

#[test]
fn a_mirror_redirects_to_itself() {
    for described in [true, false] {
        let place = Place::new();
        place.hub.be_a_mirror();
        if !described {
            place.hub.plan("GET", "blobs=true", 99, Fault::Status(404, "", ""));
        }
        // Of the weights: a small file may be there before its answer is cut.
        place.hub.plan("MIRROR", WEIGHTS, 1, Fault::Cut(10));
        let out = place.succeeds(&mut place.fetch());
        contains_all(&out, &["trying again"]);
    }
    // One that knows no hash.
    let place = Place::new();
    place.hub.plan("GET", "blobs=true", 99, Fault::Status(404, "", ""));
    let circle =
        "Location: /openai/imagegpt-small/resolve/1111111111111111111111111111111111111111/config.json\r\n";
    place.hub.plan("HEAD", "/config.json", 99, Fault::Status(302, circle, ""));
    let (error, _) = place.fails(&mut place.fetch());
    contains_all(&error, &["sends this from one address to the next: too many redirects"]);
}

#[test]
fn compressed_answers_are_named_and_not_kept() {
    let name = "came compressed (gzip), which was not asked for";
    for (method, part) in [("PART", WEIGHTS), ("GET", "/config.json")] {
        for is_said in [true, false] {
            let place = Place::new();
            place.hub.plan(method, part, 99, Fault::Gzip(is_said));
            let (error, _) = place.fails(&mut place.fetch());
            contains_all(&error, &[name, "with a mirror in HF_ENDPOINT or a proxy, try without"]);
            for blob in fs::read_dir(place.model().join("blobs")).unwrap() {
                let bytes = fs::read(blob.unwrap().path()).unwrap();
                assert!(!bytes.starts_with(&[0x1f, 0x8b]), "{} bytes", bytes.len());
            }
            place.hub.heal();
            place.succeeds(&mut place.fetch());
        }
    }
    let place = Place::new();
    place.hub.plan("GET", "/api/", 99, Fault::Gzip(true));
    place.hub.plan("HEAD", "/api/", 99, Fault::Gzip(true));
    let (error, _) = place.fails(&mut place.fetch());
    contains_all(&error, &[name]);
}

#[test]
fn many_files_come_at_a_time_after_one_question() {
    let place = Place::new();
    let parts: Vec<(String, Vec<u8>)> = (1..=8u8)
        .map(|at| (format!("model-{at:05}-of-00008.safetensors"), vec![at; 20_000 + usize::from(at)]))
        .collect();
    let mut all = files(&place.weights, "{}")[..3].to_vec();
    all.push(("model.safetensors.index.json", b"{}".to_vec()));
    all.extend(parts.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())));
    place.hub.commit(ONE, &all);
    place.hub.plan("PART", "model-", 8, Fault::Drip(Duration::from_millis(100)));
    let (out, errors, good) = said(&place.fetch().output().unwrap());
    assert!(good, "{out}{errors}");
    contains_all(&out, &[" of 11 files, ", " is whole"]);
    let snapshot = place.model().join("snapshots").join(ONE);
    for (name, bytes) in &parts {
        assert!(fs::read(snapshot.join(name)).unwrap() == *bytes, "{name}");
    }
    // Four: one more than is still downloaded may not have been counted off yet.
    let most = place.hub.most_at_a_time();
    assert!((3..=6).contains(&most), "{most}");
    let log = place.hub.log();
    let about = |start: &str| log.iter().filter(|request| request.path.starts_with(start)).count();
    assert_eq!(about("/api/"), 2, "{log:?}");
    assert!(
        !log.iter().any(|request| request.method == "HEAD" && request.path.contains("model-")),
        "{log:?}"
    );
}

/// A copy in which links became files, as `cp -rL` makes it.
#[test]
fn a_copy_of_the_cache_is_verified_by_its_blobs() {
    let place = Place::new();
    place.succeeds(&mut place.fetch());
    let copy = place.folder.path().join("copy");
    let copied = Command::new("cp").arg("-rL").arg(place.cache()).arg(&copy).status().unwrap();
    assert!(copied.success());
    let offline = || {
        let mut command = place.fetch();
        command.env("HF_HUB_CACHE", &copy).env("HF_HUB_OFFLINE", "1");
        said(&command.output().unwrap())
    };
    let (out, errors, good) = offline();
    assert!(good && out.ends_with("is whole\n") && !out.contains("taken as they are"), "{out}{errors}");
    let snapshot = copy.join("models--openai--imagegpt-small/snapshots").join(ONE);
    for name in [WEIGHTS, "preprocessor_config.json"] {
        let path = snapshot.join(name);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[7] ^= 1;
        fs::write(&path, bad).unwrap();
        let (out, errors, is_good) = offline();
        assert!(!is_good, "{out}");
        contains_all(&errors, &[name, " is damaged: it is a copy of none of the blobs in "]);
        fs::write(&path, good).unwrap();
    }
    // Without the blobs nothing is known, and that is said.
    fs::remove_dir_all(copy.join("models--openai--imagegpt-small/blobs")).unwrap();
    let (out, errors, good) = offline();
    assert!(good, "{errors}");
    contains_all(&out, &["nothing there says which bytes these files should have", WEIGHTS]);
}
