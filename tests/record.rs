//! `igpt record` keeps what came of a run, `igpt results` tells of it, and the report of the next run shows it.

use std::{fs, path::Path, process::Command};

use igpt_tests::{
    cell,
    fake_run::{self, Igpt, said},
};
use serde_json::json;

/// The kernel process of the tests below: this very test, started by `--kernel-command`.
#[test]
fn fake_kernel_process() {
    fake_run::be_the_kernel();
}

const RECORD: &str = "papers/p/results/quick.toml";
const RESULT: &str = "b25956747a036547811a3fdad19fae4c7a50428472109940fc3e5e088b9611c1";

/// A checkout with a paper and two notebooks, of which the second judges two claims; all of it committed.
struct Checkout(Igpt);

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
        let manifest = json!({"manifest": {"provenance": {
            "step": "pre-training", "key": RESULT, "seed": 1, "device": "cpu", "threads": 2, "version": "0.1.0", "commit": "c0ffee",
            "description": json!({"data": [{"name": "images", "revision": "", "sha256": "beef"}], "settings": {"width": 7}}).to_string(),
            "wall_ms": 1500, "date": "2026-11-28T08:00:00Z",
        }}});
        let folder = format!("store/pre-training-{}/result", &RESULT[..16]);
        this.write(&format!("{folder}/manifest.json"), &manifest.to_string());
        this.0.write("notebooks/1_first", &[cell("print 1")]);
        this.judging(1.25, "supported");
        this.git(&["init", "-q"]);
        this.commit();
        this
    }

    /// The second notebook, with what it finds.
    fn judging(&self, mean: f64, verdict: &str) {
        let lines = [
            json!({"kind": "result", "step": "pre-training", "key": RESULT, "reused": true, "wall_ms": 1500, "why": "the same"}),
            json!({"kind": "claim", "paper": "p", "claim": "holds", "of": "check", "verdict": "passed", "reported": "512 colours",
                   "ours": "512", "measured": {"numbers": [512.0]}}),
            json!({"kind": "claim", "paper": "p", "claim": "rises", "of": "finding", "verdict": verdict, "reported": "2.4 (p. 5)",
                   "ours": format!("{mean} [0.5, 2.0] points"),
                   "measured": {"effects": [{"mean": mean, "low": 0.5, "high": 2.0, "seeds": 1, "images": 10}]}}),
        ];
        let source: Vec<String> = lines.iter().map(|line| format!("journal {line}")).collect();
        self.0.write("notebooks/2_second", &[cell(source.join("\n"))]);
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
        self.git(&["commit", "-q", "-m", "x"]);
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
    assert!(
        report.contains("2 findings: 1 supported, 1 untested") && !report.contains("Recorded ("),
        "{report}"
    );
    let (code, said) = checkout.record(&[]);
    assert!(code == 0 && said.contains("2 findings: 1 supported, 1 untested. 1 check: 1 passed"), "{said}");
    let (text, key) = (checkout.read(RECORD), checkout.key());
    for part in [
        "paper = \"p\"\nprofile = \"quick\"\n",
        "seeds = [7]\n",
        "devices = [\"cpu\"]\n",
        "[[data]]\nname = \"images\"\nsha256 = \"beef\"\n",
        "verdict = \"supported\"\nreported = \"2.4 (p. 5)\"\nours = \"1.25 [0.5, 2.0] points\"\n",
        "effects = [{ mean = 1.25, interval = [0.5, 2.0], seeds = 1, images = 10 }]\nnotebook = \"2_second\"\nresults = [\"b25956747a036547\"]\n",
        "numbers = [512.0]\n",
        "commit = \"c0ffee\"\n",
        "[settings.data]\nset = \"x\"\n",
    ] {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
    let place = |claim: &str| text.find(&format!("claim = \"{claim}\"")).expect("a claim");
    assert!(place("rises") < place("holds"), "in the order of the paper's list, not in that of the notebook");
    assert!(!text.contains("uncommitted") && !text.contains("1_first"), "{text}");
    // Told of.
    let (code, said) = checkout.igpt(&["results"]);
    assert!(
        code == 0 && said.contains(&format!("{key}  p, profile quick: ")) && !said.contains("not recorded"),
        "{said}"
    );
    let (code, said) = checkout.igpt(&["results", &key[..6]]);
    assert!(
        code == 0
            && said.contains("rises (finding): supported")
            && said.contains("pre-training b25956747a036547: 1.5 s, seed 1"),
        "{said}"
    );
    let (code, said) = checkout.igpt(&["results", &RESULT[..8]]);
    assert!(code == 0 && said.contains(RESULT) && said.contains("\"width\": 7"), "{said}");
    let (code, said) = checkout.igpt(&["results", "0000000000"]);
    assert!(code == 1 && said.contains("no recorded run has this key"), "{said}");
    // The README.
    assert_eq!(checkout.igpt(&["results", "--readme"]).0, 0);
    let readme = checkout.read("README.md");
    assert!(readme.contains("| It rises | 2.4 (p. 5) | 1.25 [0.5, 2.0] points | supported |"), "{readme}");
    assert!(
        readme.starts_with("Before.\n<!-- findings") && readme.ends_with("<!-- findings: end -->\nAfter.\n"),
        "{readme}"
    );
    // Shown beside the next run, which finds something else.
    checkout.commit();
    checkout.judging(0.75, "inconclusive");
    checkout.run(&[]);
    let report = checkout.read("out/report.html");
    for part in [
        &*format!("Recorded ({key})</th>"),
        "<td class=\"recorded\"><span class=\"verdict good\">supported</span><br><span class=\"soft\">1.25 [0.5, 2.0] points</span></td>",
        "<td class=\"recorded\"><span class=\"verdict good\">passed</span></td>",
        &format!("Where the recorded run {key} comes from"),
    ] {
        assert!(report.contains(part), "{part:?} in\n{report}");
    }
    let (_, said) = checkout.igpt(&["results", "--out", "out"]);
    assert!(said.contains("not recorded  the last run, profile quick"), "{said}");
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
    assert_eq!(checkout.record(&[]).0, 0);
    assert!(!checkout.read(RECORD).contains("uncommitted"));
    // What was recorded is no source of the next run.
    checkout.run(&[]);
    assert_eq!(checkout.record(&[]).0, 0);
    checkout.write("README.md", "Other texts are none, either.");
    assert_eq!(checkout.record(&[]).0, 0);
    // A notebook whose cells changed; its outputs may.
    checkout.judging(1.0, "supported");
    checkout.refuses("than this checkout has now: 2_second");
    checkout.judging(1.25, "supported");
    checkout.run(&["--in-place"]);
    assert_eq!(checkout.record(&[]).0, 0);
    checkout.commit();
    // A notebook that failed, an account that is none, a file of another kind in the way.
    checkout.0.write("notebooks/3_bad", &[cell("error panic x")]);
    assert_eq!(checkout.run_said(&[]).0, 1);
    checkout.refuses("not all is well with the run in out: 3_bad (cell-failed)");
    fs::remove_file(checkout.0.path().join("notebooks/3_bad.ipynb")).expect("it can be removed");
    checkout.write("out/run.json", "{}");
    checkout.refuses("is not what `igpt run` of this version writes");
    checkout.run(&[]);
    checkout.write(RECORD, "[quick]\n");
    checkout.refuses("is no recorded run, and stays");
    checkout.write(RECORD, "");
    // In no git repository nobody knows of what it was.
    fs::remove_dir_all(checkout.0.path().join(".git")).expect("it can be removed");
    checkout.run(&[]);
    checkout.refuses("was of no checkout that git knows");
    let folder: &Path = checkout.0.path();
    assert!(folder.join("out/run.json").is_file());
}
