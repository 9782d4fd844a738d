//! `igpt record` keeps what came of a run, `igpt results` tells of it, and the report of the next run shows it.

use std::{fs, process::Command};

use igpt_tests::{
    cell,
    fake_run::{self, Igpt, said},
};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// The kernel process of the tests below: this very test, started by `--kernel-command`.
#[test]
fn fake_kernel_process() {
    fake_run::be_the_kernel();
}

const RECORD: &str = "papers/p/results/quick.toml";
/// A manifest as the library writes it.
const MANIFEST: &str = include_str!("fixtures/store/manifest.json");
const USUAL: &str = "profile quick, images, CPU";

/// A checkout with a paper and two notebooks, of which the second judges two claims; all of it committed.
struct Checkout(Igpt);

/// The key of the result that the second notebook uses.
fn result() -> String {
    let manifest: serde_json::Value = serde_json::from_str(MANIFEST).expect("JSON");
    manifest["manifest"]["provenance"]["key"].as_str().expect("a key").to_owned()
}

/// Where its manifest lies.
fn manifest() -> String {
    format!("store/fixture-{}/result/manifest.json", &result()[..16])
}

/// What the library tells of it.
fn used() -> serde_json::Value {
    json!({"kind": "result", "step": "fixture", "key": result(), "reused": true, "wall_ms": 1500, "why": "the same"})
}

/// What the library tells of a judged claim.
fn rises(paper: &str, mean: f64, verdict: &str, label: &str) -> serde_json::Value {
    json!({"kind": "claim", "paper": paper, "claim": "rises", "of": "finding", "verdict": verdict, "reported": "2.4 (p. 5)",
           "ours": format!("{mean} [0.5, 2.0] points"), "label": label,
           "measured": {"effects": [{"mean": mean, "low": 0.5, "high": 2.0, "seeds": 1, "images": 10}]}})
}

impl Checkout {
    fn new() -> Self {
        let this = Self(Igpt::new());
        for file in ["Cargo.toml", "notebooks/Cargo.toml", "kernel-lib/Cargo.toml", "data/x"] {
            this.write(file, "");
        }
        this.write(".gitignore", "/out\n/store\n/target\n");
        this.write(
            "papers/p/profiles/quick.toml",
            "about = \"Quick.\"\n[data]\nset = \"x\"\n[training]\nseed = 7\n",
        );
        this.write("papers/p/paper.toml", "title = \"A Paper\"\n");
        this.write(
            "papers/p/claims.toml",
            "[[claim]]\nkey = \"rises\"\nkind = \"finding\"\nreported = [\"x\"]\nstatement = \"It rises.\"\n\
             [[claim]]\nkey = \"holds\"\nkind = \"check\"\nreported = []\nstatement = \"It holds.\"\n\
             [[claim]]\nkey = \"falls\"\nkind = \"finding\"\nreported = []\nstatement = \"It falls.\"\nuntested = \"no notebook yet\"\n",
        );
        this.write(
            "README.md",
            "Before.\n<!-- findings: begin papers/p/results/quick.toml -->\n<!-- findings: end -->\nAfter.\n",
        );
        this.write(&manifest(), MANIFEST);
        this.0.write("notebooks/1_first", &[cell("print 1")]);
        this.judging(1.25, "supported");
        this.git(&["init", "-q"]);
        this.commit();
        this
    }

    /// The second notebook, with what it finds.
    fn judging(&self, mean: f64, verdict: &str) {
        let lines = [
            json!({"kind": "profile-label", "label": USUAL}),
            json!({"kind": "data", "name": "data/x", "revision": "", "sha256": "c0de"}),
            used(),
            json!({"kind": "claim", "paper": "p", "claim": "holds", "of": "check", "verdict": "passed", "reported": "512 colours",
                   "ours": "512", "label": "counted", "measured": {"numbers": [512.0, 3e-7]}}),
            rises("p", mean, verdict, USUAL),
        ];
        self.telling("2_second", &lines);
    }

    /// A notebook whose library tells this.
    fn telling(&self, name: &str, lines: &[serde_json::Value]) {
        let source: Vec<String> = lines.iter().map(|line| format!("journal {line}")).collect();
        self.0.write(&format!("notebooks/{name}"), &[cell(source.join("\n"))]);
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.0.path().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    }

    fn write(&self, file: &str, text: &str) {
        let file = self.0.path().join(file);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder can be made");
        fs::write(file, text).expect("a file can be written");
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.path().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    fn git(&self, arguments: &[&str]) {
        let user = ["-c", "user.name=x", "-c", "user.email=x@y", "-c", "commit.gpgsign=false"];
        let mut git = Command::new("git");
        let output =
            git.arg("-C").arg(self.0.path()).args(user).args(arguments).output().expect("git can be started");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn commit(&self) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "x"]);
    }

    fn run(&self, arguments: &[&str]) {
        let (code, said) = self.run_said(arguments);
        assert_eq!(code, 0, "{said}");
    }

    fn run_said(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = self.0.command(arguments);
        said(&command.env("IGPT_STORE", "store").output().expect("igpt can be started"))
    }

    /// Another command of igpt's.
    fn igpt(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = igpt_tests::igpt();
        command.args(arguments).current_dir(self.0.path()).env("IGPT_STORE", "store");
        said(&command.output().expect("igpt can be started"))
    }

    fn record(&self, arguments: &[&str]) -> (i32, String) {
        self.igpt(&[&["record", "--out", "out"], arguments].concat())
    }

    fn refuses(&self, why: &str) {
        let before = fs::read_to_string(self.0.path().join(RECORD)).ok();
        let (code, said) = self.record(&[]);
        assert!(code == 1 && said.contains(why), "{why}: {said}");
        assert_eq!(fs::read_to_string(self.0.path().join(RECORD)).ok(), before, "{why}");
    }

    /// The good twin of a refusal.
    fn records(&self) -> String {
        let (code, said) = self.record(&[]);
        assert_eq!(code, 0, "{said}");
        said
    }

    /// Runs what is committed now, and records it.
    fn runs_and_records(&self) {
        self.commit();
        self.run(&[]);
        self.records();
    }

    /// The key of the recorded run.
    fn key(&self) -> String {
        let text = self.read(RECORD);
        let line = text.lines().find_map(|line| line.strip_prefix("key = \"")).expect("a key");
        line.trim_end_matches('"').to_owned()
    }
}

#[test]
fn a_run_is_recorded_told_of_and_shown_beside_the_next_one() {
    let checkout = Checkout::new();
    checkout.refuses("there is no run in out");
    checkout.run(&[]);
    let report = checkout.read("out/report.html");
    for part in [
        "2 findings: 1 supported, 1 untested",
        "Notebooks that judge claims of <em>A Paper</em>, executed",
        "<td class=\"ours\">1.25 [0.5, 2.0] points<details><summary>from</summary>",
        "<th scope=\"row\">settings</th><td>profile quick, images, CPU</td>",
        "<th scope=\"row\">seeds</th><td>fixture 7</td>",
        "<td>data/x, SHA-256 c0de<br>images r1, SHA-256 abab",
        "<th scope=\"row\">device</th><td>cpu</td>",
        ", its results 2 s to compute</td>",
        "512<br><span class=\"soft\">counted</span>",
    ] {
        assert!(report.contains(part), "{part:?} in\n{report}");
    }
    assert!(!report.contains("Recorded (") && !report.contains("Generative"), "{report}");
    // The last run has a key, before it is recorded and afterwards.
    let (code, said) = checkout.igpt(&["results", "--out", "out"]);
    assert!(code == 0 && said.contains("p, profile quick, the last run, not recorded: "), "{said}");
    let key = said.split(' ').next().expect("a key").to_owned();
    assert!(report.contains(&format!("Where this run, {key}, comes from")), "{report}");
    let (code, said) = checkout.igpt(&["results", &key, "--out", "out"]);
    assert!(
        code == 0 && said.contains("the last run, not recorded") && said.contains("rises (finding)"),
        "{said}"
    );
    let said = checkout.records();
    assert!(said.contains("2 findings: 1 supported, 1 untested. 1 check: 1 passed"), "{said}");
    assert_eq!(checkout.key(), key);
    let text = checkout.read(RECORD);
    for part in [
        "paper = \"p\"\nprofile = \"quick\"\nprofile_labels = [\"profile quick, images, CPU\"]\n",
        "devices = [\"cpu\"]\n",
        "[[data]]\nname = \"data/x\"\nsha256 = \"c0de\"\n",
        "[[data]]\nname = \"images\"\nrevision = \"r1\"\nsha256 = \"abab",
        "verdict = \"supported\"\nreported = \"2.4 (p. 5)\"\nours = \"1.25 [0.5, 2.0] points\"\nlabel = \"profile quick, images, CPU\"\n",
        "effects = [{ mean = 1.25, low = 0.5, high = 2.0, seeds = 1, images = 10 }]\nnotebook = \"2_second\"\nresults = [\"",
        "label = \"counted\"\nnumbers = [512.0, ",
        "[[notebook]]\nname = \"1_first\"\nfile = \"notebooks/1_first.ipynb\"\n",
        "data = [\"data/x\"]\n",
        "seed = 7\n",
        "\"width\":7",
        "[profile_settings.data]\nset = \"x\"\n",
    ] {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
    let numbers = text.lines().find_map(|line| line.strip_prefix("numbers = [512.0, ")).expect("numbers");
    assert_eq!(numbers.trim_end_matches(']').parse(), Ok(3e-7), "no digit is lost");
    let place = |claim: &str| text.find(&format!("claim = \"{claim}\"")).expect("a claim");
    assert!(place("rises") < place("holds"), "in the order of the paper's list, not in that of the notebook");
    assert!(!text.contains("uncommitted"), "{text}");
    // Told of.
    let (code, said) = checkout.igpt(&["results", "--out", "out"]);
    assert!(
        code == 0 && said.contains(&format!("{key}  p, profile quick: ")) && !said.contains("not recorded"),
        "{said}"
    );
    let (code, said) = checkout.igpt(&["results", &key[..6]]);
    assert!(
        code == 0
            && said.contains("rises (finding): supported")
            && said.contains("512; 2_second\n    of: counted")
            && said.contains(": 1.5 s, seed 7"),
        "{said}"
    );
    let (code, said) = checkout.igpt(&["results", &result()[..8]]);
    assert!(code == 0 && said.contains(&result()) && said.contains("\"width\": 7"), "{said}");
    let (code, said) = checkout.igpt(&["results", "0000000000"]);
    assert!(code == 1 && said.contains("neither a recorded run nor the last one has this key"), "{said}");
    // The README.
    assert_eq!(checkout.igpt(&["results", "--readme"]).0, 0);
    let readme = checkout.read("README.md");
    assert!(readme.contains("| It rises | 2.4 (p. 5) | 1.25 [0.5, 2.0] points | supported |"), "{readme}");
    assert!(
        readme.starts_with("Before.\n<!-- findings") && readme.ends_with("<!-- findings: end -->\nAfter.\n"),
        "{readme}"
    );
    // Shown beside the next run, which is of the same cells.
    checkout.run(&[]);
    let report = checkout.read("out/report.html");
    let good = "<td class=\"recorded\"><span class=\"verdict good\">supported</span></td>";
    assert!(report.contains(good) && report.contains(&format!("Recorded ({key})</th>")), "{report}");
    // Shown beside one that finds something else, with other cells.
    checkout.judging(0.75, "inconclusive");
    checkout.run(&[]);
    let report = checkout.read("out/report.html");
    for part in [
        "<td class=\"recorded\"><span class=\"verdict good\">supported</span><br><span class=\"soft\">1.25 [0.5, 2.0] points</span>\
         <br><strong>other cells</strong></td>",
        "<td class=\"recorded\"><span class=\"verdict good\">passed</span><br><strong>other cells</strong></td>",
        &format!("Where the recorded run, {key}, comes from"),
    ] {
        assert!(report.contains(part), "{part:?} in\n{report}");
    }
    // With other settings.
    checkout.telling("2_second", &[used(), rises("p", 1.25, "supported", "two layers, CPU")]);
    checkout.run(&[]);
    let report = checkout.read("out/report.html");
    assert!(report.contains("<strong>other settings, other cells</strong>"), "{report}");
    let (_, said) = checkout.igpt(&["results", "--out", "out"]);
    assert!(said.contains("not recorded"), "{said}");
    assert!(
        said.contains(&format!("{key} is not of what this checkout has now: notebooks/2_second.ipynb has")),
        "{said}"
    );
    // A record that was edited is none.
    checkout.write(RECORD, &text.replace("supported", "plateau"));
    checkout.run(&[]);
    assert!(checkout.read("out/report.html").contains("it was edited"));
    let (code, said) = checkout.igpt(&["results"]);
    assert!(code == 1 && said.contains("it was edited"), "{said}");
}

#[test]
fn only_a_whole_run_of_what_is_committed_is_recorded() {
    let checkout = Checkout::new();
    checkout.run(&["notebooks/2_second.ipynb"]);
    checkout.refuses("left out 1_first");
    // Something that cells may use changed after the run.
    checkout.run(&[]);
    checkout.write("kernel-lib/new.rs", "// new");
    checkout.refuses("of other sources than this checkout has now: what notebooks use");
    // It was there when the run began, and is in no commit.
    checkout.run(&[]);
    checkout.refuses("in no commit, so nobody could repeat it: kernel-lib/new.rs");
    let (code, said) = checkout.record(&["--uncommitted"]);
    assert_eq!(code, 0, "{said}");
    assert!(checkout.read(RECORD).contains("uncommitted = [\"kernel-lib/new.rs\"]"));
    checkout.commit();
    // The run was of these files, though another commit has them; the record says which it was of.
    checkout.refuses("in no commit");
    checkout.run(&[]);
    assert!(checkout.records().contains(", in place of "));
    assert!(!checkout.read(RECORD).contains("uncommitted"));
    // What was recorded is no source of the next run.
    checkout.run(&[]);
    checkout.records();
    checkout.write("README.md", "Other texts are none, either.");
    checkout.records();
    // A notebook whose cells changed; its outputs may.
    checkout.judging(1.0, "supported");
    checkout.refuses("than this checkout has now: 2_second");
    checkout.judging(1.25, "supported");
    checkout.0.write("notebooks/1_first", &[cell("print other outputs than those that are committed")]);
    checkout.commit();
    checkout.run(&["--in-place"]);
    checkout.records();
    // The next run begins with outputs that no commit has, and with cells that are committed.
    checkout.run(&[]);
    checkout.records();
    assert!(!checkout.read(RECORD).contains("uncommitted"));
    checkout.0.write("notebooks/1_first", &[cell("print 2")]);
    checkout.run(&[]);
    checkout.refuses("in no commit, so nobody could repeat it: notebooks/1_first.ipynb");
    checkout.commit();
    // A notebook that failed, an account that is none.
    checkout.0.write("notebooks/3_bad", &[cell("error panic x")]);
    assert_eq!(checkout.run_said(&[]).0, 1);
    checkout.refuses("not all is well with the run in out: 3_bad (cell-failed)");
    checkout.remove("notebooks/3_bad.ipynb");
    checkout.write("out/run.json", "{}");
    checkout.refuses("is not what `igpt run` of this version writes");
    checkout.runs_and_records();
}

#[test]
fn a_profile_that_lists_notebooks_is_run_and_recorded_by_these() {
    let checkout = Checkout::new();
    let profile = "about = \"A released network.\"\nnotebooks = [\"2_second\"]\n[data]\nset = \"x\"\n[training]\nseed = 7\n";
    checkout.write("papers/p/profiles/part.toml", profile);
    checkout.commit();
    let (code, said) = checkout.run_said(&["--profile", "part"]);
    assert!(code == 0 && said.contains("the profile part computes 2_second"), "{said}");
    assert!(said.contains("1 of 1 notebook passed") && !said.contains("1_first"), "{said}");
    let (code, said) = checkout.record(&[]);
    assert_eq!(code, 0, "{said}");
    assert!(checkout.read("papers/p/results/part.toml").contains("profile = \"part\""));
    // One that is named is run, whatever the profile lists, and is no whole run; and the other profile is of all notebooks.
    checkout.run(&["--profile", "part", "1_first"]);
    checkout.refuses("left out 2_second");
    checkout.run(&["2_second"]);
    checkout.refuses("left out 1_first");
}

#[test]
fn a_notebook_that_is_gone_or_broken_after_the_run_is_noticed() {
    let checkout = Checkout::new();
    checkout.0.write("notebooks/3_third", &[cell("print 3")]);
    checkout.runs_and_records();
    let text = checkout.read("notebooks/3_third.ipynb");
    checkout.remove("notebooks/3_third.ipynb");
    checkout.refuses("of other sources than this checkout has now: 3_third");
    checkout.write("notebooks/3_third.ipynb", "{");
    checkout.refuses("of other sources than this checkout has now: 3_third");
    checkout.write("notebooks/3_third.ipynb", &text);
    checkout.records();
}

#[test]
fn results_of_unknown_provenance_are_refused_unless_that_is_asked_for() {
    let checkout = Checkout::new();
    let (text, why) = (checkout.read(&manifest()), "nobody knows where these results come from: fixture ");
    // A store that is not there, as where IGPT_STORE means another folder, and one that is damaged.
    for (damaged, reason) in [(None, "it is not in "), (Some("{"), "manifest.json is damaged")] {
        match damaged {
            None => checkout.remove(&manifest()),
            Some(damaged) => checkout.write(&manifest(), damaged),
        }
        checkout.run(&[]);
        checkout.refuses(why);
        checkout.refuses(reason);
        let (code, said) = checkout.record(&["--without-provenance"]);
        assert!(code == 0 && said.contains("without where these results come from: fixture "), "{said}");
        assert!(checkout.read(RECORD).contains("missing = "), "{}", checkout.read(RECORD));
    }
    checkout.write(&manifest(), &text);
    checkout.run(&[]);
    checkout.records();
    assert!(!checkout.read(RECORD).contains("missing = "));
}

#[test]
fn cells_and_the_command_mean_the_same_store() {
    let checkout = Checkout::new();
    checkout.0.write("notebooks/1_first", &[cell("env IGPT_STORE")]);
    checkout.run(&[]);
    let store = checkout.0.path().join("store");
    let said = checkout.0.executed("1_first").stream(1, "stdout");
    assert_eq!(said, format!("IGPT_STORE={}\n", store.display()));
}

#[test]
fn what_a_run_was_told_or_found_otherwise_is_not_recorded() {
    let checkout = Checkout::new();
    checkout.telling("2_second", &[used(), rises("p", 1.25, "supported", USUAL)]);
    checkout.runs_and_records();
    // Notebooks from elsewhere.
    checkout.write("elsewhere/x", "");
    checkout.0.write("elsewhere/3_third", &[cell("print 3")]);
    checkout.run(&["notebooks", "elsewhere/3_third.ipynb"]);
    checkout.refuses("elsewhere/3_third.ipynb");
    checkout.run(&["notebooks"]);
    checkout.records();
    // Two notebooks judge one claim.
    checkout.telling("3_third", &[used(), rises("p", 0.75, "inconclusive", USUAL)]);
    checkout.commit();
    checkout.run(&[]);
    checkout.refuses(
        "rises (2_second supported, 1.25 [0.5, 2.0] points; 3_third inconclusive, 0.75 [0.5, 2.0] points)",
    );
    checkout.telling("3_third", &[used(), rises("p", 1.25, "supported", USUAL)]);
    checkout.runs_and_records();
    // A paper that is not there.
    checkout.telling("3_third", &[rises("q", 1.25, "supported", USUAL)]);
    checkout.commit();
    checkout.run(&[]);
    checkout.refuses("a notebook judged claims of a paper \"q\"");
    // Two papers at once: each has its own record.
    checkout.write(
        "papers/q/claims.toml",
        "[[claim]]\nkey = \"rises\"\nkind = \"finding\"\nreported = []\nstatement = \"So does it.\"\n",
    );
    checkout.runs_and_records();
    let of_q = checkout.read("papers/q/results/quick.toml");
    assert!(of_q.contains("paper = \"q\"") && of_q.contains("notebook = \"3_third\"\n"), "{of_q}");
    assert!(checkout.read(RECORD).contains("notebook = \"2_second\"\n"));
    let (code, said) = checkout.igpt(&["results"]);
    assert!(
        code == 0 && said.contains("  p, profile quick: ") && said.contains("  q, profile quick: "),
        "{said}"
    );
    // Nothing judged.
    for name in ["2_second", "3_third"] {
        checkout.0.write(&format!("notebooks/{name}"), &[cell("print 1")]);
    }
    checkout.commit();
    checkout.run(&[]);
    checkout.refuses("no notebook of the run judged a claim");
}

#[test]
fn a_run_with_parameters_or_of_another_checkout_is_not_recorded() {
    let checkout = Checkout::new();
    let parameters = || cell("let steps: usize = 500;").tag("parameters").tag("skip-execution");
    for name in ["1_first", "2_second"] {
        checkout.0.write(&format!("notebooks/{name}"), &[parameters(), cell("print after")]);
    }
    checkout.commit();
    // The fake kernel dies of Rust; what the run tells is that of one that went well.
    assert_eq!(checkout.run_said(&["-p", "steps=20"]).0, 3);
    let account = checkout.read("out/run.json");
    assert!(account.contains("process-died"), "{account}");
    checkout.write("out/run.json", &account.replace("process-died", "passed"));
    checkout.refuses("other parameters than the notebooks' own: steps=20");
    // Another checkout's run.
    let other = Checkout::new();
    other.run(&[]);
    checkout.judging(1.25, "supported");
    checkout.runs_and_records();
    for file in ["run.json", "records/p.toml"] {
        checkout.write(&format!("out/{file}"), &other.read(&format!("out/{file}")));
    }
    checkout.refuses("was of another checkout, ");
    other.records();
}

#[test]
fn git_says_why_nothing_is_known_of_a_checkout() {
    let checkout = Checkout::new();
    // Git trusts no folder of another user.
    let mut command = checkout.0.command(&[]);
    command
        .env("IGPT_STORE", "store")
        .env("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
        .env("HOME", checkout.0.path());
    let (code, said_of_run) =
        said(&command.env("GIT_CONFIG_SYSTEM", "/dev/null").output().expect("igpt can be started"));
    assert_eq!(code, 0, "{said_of_run}");
    checkout.refuses("dubious ownership");
    checkout.run(&[]);
    checkout.records();
    fs::remove_dir_all(checkout.0.path().join(".git")).expect("it can be removed");
    checkout.run(&[]);
    checkout.refuses("nobody could say what the run in out was of: git rev-parse");
}

#[test]
fn a_path_that_is_no_text_does_not_end_a_green_run() {
    use std::os::unix::ffi::OsStrExt as _;
    let checkout = Checkout::new();
    let folder = checkout.0.path().join(std::ffi::OsStr::from_bytes(b"work\xff"));
    fs::create_dir(&folder).expect("a folder can be made");
    let source = checkout.0.path().join("notebooks/2_second.ipynb");
    fs::copy(source, folder.join("m.ipynb")).expect("it can be copied");
    let mut command = checkout.0.command(&["m.ipynb"]);
    let (code, said) =
        said(&command.current_dir(&folder).env("IGPT_STORE", "store").output().expect("igpt can be started"));
    assert_eq!(code, 0, "{said}");
    let account = fs::read_to_string(folder.join("out/run.json")).expect("an account");
    assert!(account.contains("work\u{fffd}"), "{account}");
}

#[test]
fn what_stands_in_the_way_and_is_no_record_stays() {
    let checkout = Checkout::new();
    checkout.runs_and_records();
    let text = checkout.read(RECORD);
    for damaged in
        ["[quick]\n", "", &text[..text.len() / 2], &text.replacen("[[claim]]", "=======\n[[claim]]", 1)]
    {
        checkout.write(RECORD, damaged);
        checkout.refuses("stays as it is; move it away");
    }
    // One of an earlier form is as it was written.
    let body = "schema = 1\npaper = \"p\"\n";
    let key: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
    checkout.write(RECORD, &format!("# Made by an earlier version.\nkey = \"{}\"\n{body}", &key[..12]));
    let (code, said) = checkout.igpt(&["results"]);
    assert!(code == 1 && said.contains("it has the form 1, and this version of igpt reads 2"), "{said}");
    assert!(checkout.records().contains("in place of one of an earlier form"));
    assert_eq!(checkout.read(RECORD), text);
}

#[test]
fn two_profiles_of_one_name_are_refused_before_anything_runs() {
    let checkout = Checkout::new();
    checkout.write("papers/q/profiles/slow.toml", "about = \"Slow.\"\n");
    checkout.run(&["--profile", "slow"]);
    checkout.write("papers/q/profiles/quick.toml", "about = \"Another.\"\n");
    let (code, said) = checkout.run_said(&[]);
    let (p, q) = ("papers/p/profiles/quick.toml", "papers/q/profiles/quick.toml");
    assert!(code == 2 && said.contains(p) && said.contains(q), "{said}");
}
