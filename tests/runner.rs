//! The runner as a Jupyter client, against a kernel that misbehaves on demand.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use igpt_notebooks::run::{
    client::Client,
    execute::{CellLimit, End, Limits, News, execute},
    notebook::Notebook,
    outcome::{Cause, CellRun, CellStatus},
    secrets::Secrets,
    turns::Turns,
};
use igpt_tests::{
    Cell, Executed, cell,
    fake_kernel::FakeKernel,
    fake_run::{self, Igpt, said},
    is_alive, notebook_json, write_notebook,
};
use serde_json::json;
use tokio::sync::watch;

const LIMITS: Limits = Limits {
    start: Duration::from_secs(60),
    cell: CellLimit::Whole(Duration::from_millis(1500)),
    interrupted: Duration::from_secs(1),
    reply_and_idle: Duration::from_millis(500),
    notebook: None,
    output: usize::MAX,
    outputs: usize::MAX,
};

struct Ran {
    executed: Executed,
    cells: Vec<CellRun>,
    end: End,
}

impl Ran {
    fn failure(&self) -> (usize, &str) {
        match &self.end {
            End::Failed(cell, failure) => (*cell, &failure.text),
            other => panic!("the run did not fail but ended with {other:?}"),
        }
    }
}

/// Nobody else computes.
fn turns() -> Turns<'static> {
    Turns::beside(Path::new("/nowhere/a.journal"))
}

/// Runs cells on a fake kernel, through the client and nothing else.
async fn run(cells: &[Cell]) -> Ran {
    run_with(cells, LIMITS).await
}

async fn run_with(cells: &[Cell], limits: Limits) -> Ran {
    let kernel = FakeKernel::start().await;
    let (_keep, mut stop) = watch::channel(false);
    let client = Client::connect(&kernel.info, kernel.exit.clone(), Duration::from_secs(10)).await;
    let mut client = client.expect("the client connects");
    let mut notebook = Notebook::parse(&notebook_json(cells)).expect("a valid notebook");
    let (cells, end, _) =
        execute(&mut client, &mut notebook, limits, &Secrets::default(), &turns(), &mut stop, &mut |_| {})
            .await;
    let text = notebook.to_json().expect("a notebook can be written");
    nbformat::parse_notebook(&text).expect("the saved notebook is valid nbformat");
    Ran { executed: Executed { root: serde_json::from_str(&text).expect("JSON") }, cells, end }
}

#[tokio::test]
async fn outputs_go_where_they_belong() {
    let ran = run(&[
        cell("print a\nprint b\\n\neprint e\\n\nprint c\nforeign not ours\ngarbage-parent nor this\nunknown"),
        cell("display one first\nprint between\ndisplay two second"),
        cell("update one FIRST\nupdate nobody x\ndisplay two SECOND"),
        cell("print 1\nclear-wait\nprint 2\nclear-wait"),
        cell("print 1\nclear\nresult 42"),
    ])
    .await;
    assert_eq!(ran.end, End::Finished);
    let stream =
        |name: &str, text: serde_json::Value| json!({"output_type": "stream", "name": name, "text": text});
    let display =
        |text: &str| json!({"output_type": "display_data", "data": {"text/plain": [text]}, "metadata": {}});
    assert_eq!(
        ran.executed.outputs(1),
        [stream("stdout", json!(["ab\n", "c"])), stream("stderr", json!(["e\n"]))]
    );
    assert_eq!(
        ran.executed.outputs(2),
        [display("FIRST"), stream("stdout", json!(["between"])), display("SECOND")]
    );
    assert_eq!(ran.executed.outputs(3), [display("SECOND")]);
    assert_eq!(ran.executed.outputs(4), [stream("stdout", json!(["2"]))]);
    assert_eq!(ran.executed.outputs(5)[0]["data"]["text/plain"], json!(["42"]));
    let counts: Vec<_> = (1..=5).map(|n| ran.executed.cell(n)["execution_count"].clone()).collect();
    assert_eq!(counts, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn how_far_a_cell_is_is_told_while_it_runs() {
    let kernel = FakeKernel::start().await;
    let (_keep, mut stop) = watch::channel(false);
    let client = Client::connect(&kernel.info, kernel.exit.clone(), Duration::from_secs(10)).await;
    let mut client = client.expect("the client connects");
    let training = "display bar training: 0 %\ndisplay page a figure\\nof two lines\nupdate bar training: 50 %\n\
                    update bar training: 500 steps\nprint no status";
    let cells = [cell(training), cell("result 1")];
    let mut notebook = Notebook::parse(&notebook_json(&cells)).expect("a valid notebook");
    let mut heard = Vec::new();
    let mut observer = |news: News<'_>| {
        heard.push(match news {
            News::Status(line) => line.to_owned(),
            News::Through(run, _) => format!("cell {} is through", run.cell.number),
        });
    };
    let (_, end, _) =
        execute(&mut client, &mut notebook, LIMITS, &Secrets::default(), &turns(), &mut stop, &mut observer)
            .await;
    assert_eq!(end, End::Finished);
    let expected =
        ["training: 0 %", "training: 50 %", "training: 500 steps", "cell 1 is through", "cell 2 is through"];
    assert_eq!(heard, expected);
}

#[tokio::test]
async fn the_first_failure_ends_the_run() {
    let ran = run(&[
        cell("print 1"),
        cell("print 2\nerror Panic at line 2"),
        cell("print 3").outputs(json!([
            {"output_type": "stream", "name": "stdout", "text": "an old output"}
        ])),
    ])
    .await;
    assert_eq!(ran.failure(), (2, "Panic: at line 2"));
    assert_eq!(ran.executed.stream(2, "stdout"), "2");
    assert_eq!(ran.executed.error(2).1, "at line 2");
    assert!(ran.executed.outputs(3).is_empty(), "a cell that did not run has no outputs, not even old ones");
    assert!(ran.executed.cell(3)["execution_count"].is_null());
    assert_eq!(ran.cells[2].status, CellStatus::NotRun);
}

#[tokio::test]
async fn an_error_in_the_reply_alone_is_a_failure_and_is_shown() {
    let ran = run(&[cell("error-reply Panic hidden"), cell("print 2")]).await;
    assert_eq!(ran.failure(), (1, "Panic: hidden"));
    assert_eq!(ran.executed.error(1).0, "Panic");
}

#[tokio::test]
async fn expected_errors_do_not_end_the_run() {
    for raises in ["error panic wanted", "error-reply panic wanted", "error CompileError wanted"] {
        let ran = run(&[cell(raises).tag("raises-exception"), cell("print 2")]).await;
        assert_eq!(ran.end, End::Finished, "{raises}");
        assert_eq!(ran.executed.error(1).1, "wanted");
        assert_eq!(ran.executed.stream(2, "stdout"), "2");
    }
    // But a dead kernel runs no further cells.
    let ran = run(&[cell("die").tag("raises-exception"), cell("print 2")]).await;
    assert!(ran.failure().1.contains("the kernel died"));
    let ran = run(&[cell("die").tag("raises-exception:process-died"), cell("print 2")]).await;
    assert!(ran.failure().1.contains("the kernel died"));
}

#[tokio::test]
async fn a_cell_that_has_to_raise_and_does_not_has_failed() {
    for source in ["print 1", "result 7", "result Err(x)"] {
        let ran = run(&[cell(source).tag("raises-exception"), cell("print 2")]).await;
        assert!(
            ran.failure().1.contains("is tagged `raises-exception` but raised no error"),
            "{:?}",
            ran.end
        );
        assert!(ran.executed.outputs(2).is_empty());
        let ran = run(&[cell(source).tag("raises-exception:panic"), cell("print 2")]).await;
        assert!(ran.failure().1.contains("a panic was expected"), "{:?}", ran.end);
    }
    // The twin without the tag.
    assert_eq!(run(&[cell("print 1"), cell("print 2")]).await.end, End::Finished);
}

#[tokio::test]
async fn an_error_that_was_not_meant_is_a_failure() {
    for name in ["ProcessDied", "EvcxrDied"] {
        let died = format!("error {name} the process ended");
        let ran = run(&[cell(&died).tag("raises-exception"), cell("print 2")]).await;
        assert!(ran.failure().1.contains("not the exit of its process"), "{:?}", ran.end);
        let End::Failed(1, failure) = &ran.end else { panic!("{:?}", ran.end) };
        assert!(
            failure.cause == Cause::Died && failure.headline.contains("the process ended"),
            "{failure:?}"
        );
        // The tag that asks for it.
        let ran = run(&[cell(died).tag("raises-exception:process-died"), cell("print 2")]).await;
        assert_eq!(ran.end, End::Finished);
    }
    let returned = "error ParseIntError invalid digit";
    for (tag, good, bad) in [
        ("raises-exception:panic", "error panic at 3", returned),
        ("raises-exception:error", returned, "error CompileError mismatched types"),
        ("raises-exception:error", returned, "error Interrupted by somebody"),
        ("raises-exception:compile-error", "error CompileError mismatched types", "error panic at 3"),
    ] {
        // Other tools need the plain tag, too.
        let ran = run(&[cell(good).tag(tag).tag("raises-exception"), cell("print 2")]).await;
        assert_eq!(ran.end, End::Finished, "{tag}");
        let ran = run(&[cell(bad).tag("raises-exception").tag(tag), cell("print 2")]).await;
        let (_, text) = ran.failure();
        assert!(text.contains(&format!("is tagged `{tag}`, which accepts")), "{text}");
        assert!(text.contains(bad.split(' ').nth(1).expect("a name")), "{text}");
    }
}

#[tokio::test]
async fn every_sign_of_an_error_is_one() {
    for (source, said) in [
        ("error-only-status", "error without a name"),
        ("error-late panic though ok", "panic: though ok"),
        ("error panic cleared\nclear", "panic: cleared"),
        ("status weird", "has the status \"weird\""),
        ("status", "has the status \"\""),
    ] {
        let ran = run(&[cell(source), cell("print 2")]).await;
        assert!(ran.failure().1.contains(said), "{source}: {:?}", ran.end);
        assert!(!ran.executed.outputs(1).is_empty(), "{source}: a reader sees that it failed");
    }
    // A tag does not make a broken reply well.
    for source in ["abort", "status weird", "error panic x\nstatus weird"] {
        let ran = run(&[cell(source).tag("raises-exception"), cell("print 2")]).await;
        let End::Failed(1, failure) = &ran.end else { panic!("{source}: {:?}", ran.end) };
        assert_eq!(failure.cause, Cause::Infrastructure, "{source}");
    }
    assert_eq!(run(&[cell("status ok"), cell("print 2\nclear")]).await.end, End::Finished);
}

#[tokio::test]
async fn a_kernel_is_told_which_cell_it_is() {
    let ran = run(&[cell("cell-id"), cell("cell-id").id("mine")]).await;
    assert_eq!(
        (ran.executed.stream(1, "stdout"), ran.executed.stream(2, "stdout")),
        ("cell-0".into(), "mine".into())
    );
}

#[tokio::test]
async fn a_displayed_err_is_a_failure_unless_it_is_meant() {
    let ran = run(&[cell("result Err(ParseIntError)"), cell("print 2")]).await;
    assert!(ran.failure().1.contains("Err(ParseIntError)"));
    let ran =
        run(&[cell("result Err(ParseIntError)").tag("allow-error-value"), cell("result Ok(Err)")]).await;
    assert_eq!(ran.end, End::Finished);
}

#[tokio::test]
async fn tagged_and_blank_cells_are_left_out() {
    let kept = json!([{"output_type": "stream", "name": "stdout", "text": ["kept\n"]}]);
    let ran =
        run(&[cell("die").tag("skip-execution").outputs(kept.clone()), cell("  \n"), cell("print 2")]).await;
    assert_eq!(ran.end, End::Finished);
    assert_eq!(json!(ran.executed.outputs(1)), kept);
    assert_eq!(ran.executed.stream(3, "stdout"), "2");
}

#[tokio::test]
async fn a_slow_cell_is_interrupted_and_a_deaf_one_given_up() {
    let ran = run(&[cell("print before\nsleep 60000"), cell("print 2")]).await;
    assert!(ran.failure().1.contains("did not end within 1.5 s; it was interrupted"), "{:?}", ran.end);
    assert_eq!(ran.executed.stream(1, "stdout"), "before");
    let started = Instant::now();
    let ran = run(&[cell("hang"), cell("print 2")]).await;
    assert!(ran.failure().1.contains("it ignored the interrupt"), "{:?}", ran.end);
    assert!(started.elapsed() < Duration::from_secs(6));
    let ran = run(&[cell("sleep 200"), cell("print 2")]).await;
    assert_eq!(ran.end, End::Finished);
}

#[tokio::test]
async fn a_dead_kernel_is_noticed_at_once_and_its_last_words_are_kept() {
    let started = Instant::now();
    let limits = Limits::per_cell(CellLimit::Whole(Duration::from_secs(600)));
    let ran = run_with(&[cell("print last words\ndie"), cell("print 2")], limits).await;
    assert!(ran.failure().1.contains("the kernel died while running the cell: it was told to die"));
    assert_eq!(ran.executed.stream(1, "stdout"), "last words");
    assert_eq!(ran.executed.error(1).0, "DeadKernelError");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn half_an_answer_is_no_answer() {
    let ran = run(&[cell("no-reply"), cell("print 2")]).await;
    assert!(ran.failure().1.contains("never replied"), "{:?}", ran.end);
    let ran = run(&[cell("no-idle"), cell("print 2")]).await;
    assert!(ran.failure().1.contains("never became idle"), "{:?}", ran.end);
    let ran = run(&[cell("abort"), cell("print 2")]).await;
    assert!(ran.failure().1.contains("aborted"), "{:?}", ran.end);
}

#[tokio::test]
async fn what_comes_after_idle_belongs_to_its_cell() {
    let ran = run(&[cell("print 1\nlate-print late"), cell("sleep 300\nprint 2")]).await;
    assert_eq!(ran.end, End::Finished);
    assert_eq!(ran.executed.stream(1, "stdout"), "1late");
    assert_eq!(ran.executed.stream(2, "stdout"), "2");
    let ran = run(&[cell("late-error Panic late"), cell("sleep 300"), cell("print 3")]).await;
    assert_eq!(ran.failure(), (1, "Panic: late"));
    assert!(ran.executed.outputs(3).is_empty());
    assert!(matches!(ran.cells[0].status, CellStatus::Failed(_)));
}

#[tokio::test]
async fn an_unreadable_message_fails_the_cell() {
    let ran = run(&[cell("invalid-json"), cell("print 2")]).await;
    assert!(ran.failure().1.contains("the content is not valid JSON"), "{:?}", ran.end);
}

#[tokio::test]
async fn nothing_is_lost_of_much_output() {
    let limits = Limits::per_cell(CellLimit::Whole(Duration::from_secs(60)));
    let ran = run_with(&[cell("print-many 20000"), cell("print-long 30000000")], limits).await;
    assert_eq!(ran.end, End::Finished);
    let expected: String = (0..20000).map(|i| format!("{i}\n")).collect();
    assert_eq!(ran.executed.stream(1, "stdout"), expected);
    assert_eq!(ran.executed.stream(2, "stdout").len(), 30_000_000);
}

#[tokio::test]
async fn a_run_can_be_stopped() {
    let kernel = FakeKernel::start().await;
    let (stop_sender, mut stop) = watch::channel(false);
    let mut client =
        Client::connect(&kernel.info, kernel.exit.clone(), Duration::from_secs(10)).await.expect("connects");
    let cells = [cell("print 1"), cell("print 2\nsleep 60000"), cell("print 3")];
    let mut notebook = Notebook::parse(&notebook_json(&cells)).expect("a valid notebook");
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        stop_sender.send_replace(true);
        std::future::pending::<()>().await;
    });
    let limits = Limits::per_cell(CellLimit::Whole(Duration::from_secs(60)));
    let (runs, end, _) =
        execute(&mut client, &mut notebook, limits, &Secrets::default(), &turns(), &mut stop, &mut |_| {})
            .await;
    assert_eq!(end, End::Stopped);
    assert_eq!(runs[0].status, CellStatus::Passed);
    let executed = Executed { root: serde_json::from_str(&notebook.to_json().expect("JSON")).expect("JSON") };
    assert_eq!(executed.stream(2, "stdout"), "2", "what ran is kept");
}

#[tokio::test]
async fn a_kernel_that_does_not_speak_our_language_is_refused() {
    let kernel = FakeKernel::start().await;
    let mut info = kernel.info.clone();
    info.key = "another key".into();
    let refused = Client::connect(&info, kernel.exit.clone(), Duration::from_secs(5)).await;
    let text = format!("{:#}", refused.err().expect("the signatures are wrong"));
    assert!(text.contains("unreadable message"), "{text}");

    info.ip.push_str("-not-there");
    let refused = Client::connect(&info, kernel.exit.clone(), Duration::from_millis(300)).await;
    let text = format!("{:#}", refused.err().expect("nobody is there"));
    assert!(text.contains("did not answer"), "{text}");
}

/// The kernel process of the tests below: this very test, started by `--kernel-command`.
#[test]
fn fake_kernel_process() {
    fake_run::be_the_kernel();
}

#[test]
fn a_good_run_is_told_in_every_form() {
    let igpt = Igpt::new();
    igpt.write("first", &[cell("print hello"), cell("result <42>")]);
    igpt.write(
        "second",
        &[
            cell("env IGPT_PROFILE\nenv IGPT_HEADLESS\nenv CARGO_MANIFEST_DIR\nenv RUST_BACKTRACE"),
            cell("cwd"),
        ],
    );
    let mut command = igpt.command(&["first.ipynb", "second.ipynb", "--profile", "cifar"]);
    let (code, said) = said(&command.env("RUST_BACKTRACE", "1").output().expect("igpt can be started"));
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("2 of 2 notebooks passed") && !said.contains('\r'), "{said}");
    assert!(said.contains("first  cell 1/2") && said.contains("out/report.html"), "{said}");
    let environment = "IGPT_PROFILE=cifar\nIGPT_HEADLESS=1\nCARGO_MANIFEST_DIR=unset\nRUST_BACKTRACE=unset\n";
    assert_eq!(igpt.executed("second").stream(1, "stdout"), environment);
    let folder = igpt.folder.path().canonicalize().expect("the folder is there");
    assert_eq!(igpt.executed("second").stream(2, "stdout"), folder.to_string_lossy());
    assert!(
        igpt.out("junit.xml")
            .contains("<testsuites name=\"notebooks\" tests=\"4\" failures=\"0\" skipped=\"0\">")
    );
    let report = igpt.out("report.html");
    assert!(report.contains("&lt;42&gt;") && report.contains("cifar") && !report.contains("What is wrong"));
}

#[test]
fn a_bar_that_overwrites_itself_is_one_line_of_the_report() {
    let igpt = Igpt::new();
    // The fake kernel keeps what stands behind `print `, returns and escapes included.
    let bar: String = (0..=50).map(|step| format!("\rstep {step} of 50\u{1b}[K")).collect();
    igpt.write("bar", &[cell(format!("print x{bar}\\n")), cell("print ab\u{8}c")]);
    assert_eq!(igpt.run(&["bar.ipynb"]).0, 0);
    let report = igpt.out("report.html");
    assert!(
        report.contains("<pre tabindex=\"0\" class=\"stdout\">step 50 of 50\n</pre>"),
        "the last state is shown"
    );
    assert!(report.contains("<pre tabindex=\"0\" class=\"stdout\">ac</pre>"));
    assert!(igpt.executed("bar").stream(1, "stdout").contains("\rstep 7 of 50"), "the notebook has it all");
}

#[test]
fn failures_are_told_in_every_form_and_do_not_stop_other_notebooks() {
    let igpt = Igpt::new();
    igpt.write("bad", &[cell("print 1"), cell("error \u{1b}[31mPanic\u{1b}[0m <oh> & no"), cell("print 3")]);
    igpt.write("good", &[cell("print 1")]);
    fs::write(igpt.folder.path().join("broken.ipynb"), "{\"nbformat\": 4, ").expect("a file can be written");
    let (code, said) = igpt.run(&["bad.ipynb", "broken.ipynb", "missing.ipynb", "good.ipynb"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("1 of 4 notebooks passed"), "{said}");
    assert!(
        said.contains("bad, cell 2 `error") && said.contains("failed at cell 2: Panic: <oh> & no"),
        "{said}"
    );
    assert!(said.contains("    Panic: <oh> & no"), "the paragraph has no escapes: {said}");
    assert!(said.contains("broken.ipynb is not a notebook: invalid JSON"), "{said}");
    assert!(said.contains("cannot read") && said.contains("missing.ipynb"), "{said}");
    let junit = igpt.out("junit.xml");
    assert!(
        junit.contains("tests=\"6\" failures=\"3\" skipped=\"1\"")
            && junit.contains("Panic: &lt;oh&gt; &amp; no"),
        "{junit}"
    );
    assert!(!junit.contains('\u{1b}'), "control characters are not XML");
    assert!(igpt.executed("bad").outputs(3).is_empty());
    assert!(igpt.out("report.html").contains("What is wrong"));
}

#[test]
fn a_tag_that_means_nothing_is_refused_before_anything_runs() {
    let igpt = Igpt::new();
    igpt.write("n", &[cell("print 1"), cell("error panic x").tag("raises-exception:painc")]);
    igpt.write("twin", &[cell("print 1"), cell("error panic x").tag("raises-exception:panic")]);
    let (code, said) = igpt.run(&["n.ipynb", "twin.ipynb"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("cell 2: the tag `raises-exception:painc` names no kind of error"), "{said}");
    assert!(said.contains("1 of 2 notebooks passed"), "{said}");
    assert!(igpt.out("junit.xml").contains("raises-exception:painc"));
}

#[test]
fn three_at_once_do_not_disturb_each_other_and_the_next_kernel_wakes_early() {
    let trace = tempfile::tempdir().expect("a temporary folder");
    let igpt = Igpt::new();
    let names: Vec<String> = (1..=6).map(|n| format!("n{n}")).collect();
    for name in &names {
        igpt.write(
            name,
            &[cell(format!("print {name}\nsleep 300")), cell(format!("display d {name}\nsleep 100"))],
        );
    }
    let files: Vec<String> = names.iter().map(|name| format!("{name}.ipynb")).collect();
    let mut arguments: Vec<&str> = files.iter().map(String::as_str).collect();
    arguments.extend(["--jobs", "3"]);
    let mut command = igpt.command(&arguments);
    let (code, said) =
        said(&command.env("IGPT_TEST_TRACE", trace.path()).output().expect("igpt can be started"));
    assert_eq!(code, 0, "{said}");
    for name in &names {
        assert_eq!(igpt.executed(name).stream(1, "stdout"), *name);
        assert_eq!(igpt.executed(name).outputs(2)[0]["data"]["text/plain"], json!([name]));
    }
    assert_eq!(most_alive(trace.path()), 4, "three that run and one that starts");
}

/// How many kernels were alive at the same time, from the files that they left.
fn most_alive(trace: &Path) -> usize {
    let mut events = Vec::new();
    for entry in fs::read_dir(trace).expect("the trace can be listed") {
        let path = entry.expect("an entry").path();
        let time: u128 = fs::read_to_string(&path).expect("a time").parse().expect("a number");
        events.push((time, if path.to_string_lossy().ends_with("start") { 1_i32 } else { -1 }));
    }
    events.sort_unstable();
    let (mut alive, mut most) = (0, 0);
    for (_, change) in events {
        alive += change;
        most = most.max(alive);
    }
    usize::try_from(most).expect("not negative")
}

#[test]
fn the_kernel_and_its_children_end_with_the_notebook() {
    let igpt = Igpt::new();
    igpt.write("children", &[cell("pid"), cell("spawn")]);
    assert_eq!(igpt.run(&["children.ipynb"]).0, 0);
    let executed = igpt.executed("children");
    for number in [1, 2] {
        let pid = executed.stream(number, "stdout");
        assert!(!is_alive(&pid), "process {pid} of cell {number} is still there");
    }
}

#[test]
fn an_interrupted_run_saves_what_ran_and_leaves_nobody_behind() {
    let igpt = Igpt::new();
    igpt.write("long", &[cell("pid"), cell("spawn"), cell("sleep 100000"), cell("print 4")]);
    igpt.write("next", &[cell("print 1")]);
    let command = &mut igpt.command(&["long.ipynb", "next.ipynb"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("igpt can be started");
    let saved = igpt.folder.path().join("out/long.ipynb");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !fs::read_to_string(&saved).is_ok_and(|text| text.contains("\"execution_count\": 2")) {
        assert!(Instant::now() < deadline, "what ran was not saved while the rest runs");
        std::thread::sleep(Duration::from_millis(50));
    }
    let id = rustix::process::Pid::from_raw(i32::try_from(child.id()).expect("a process id"))
        .expect("a process id");
    rustix::process::kill_process(id, rustix::process::Signal::INT).expect("igpt can be signalled");
    let (code, said) = said(&child.wait_with_output().expect("igpt ends"));
    assert_eq!(code, 130, "{said}");
    assert!(said.contains("interrupted") && said.contains("not run"), "{said}");
    let executed = igpt.executed("long");
    for number in [1, 2] {
        let pid = executed.stream(number, "stdout");
        assert!(!pid.is_empty() && !is_alive(&pid), "process {pid:?} of cell {number} is still there");
    }
    assert!(executed.outputs(4).is_empty());
}

#[test]
fn a_kernel_that_does_not_start_is_explained() {
    let igpt = Igpt::new();
    igpt.write("n", &[cell("print 1")]);
    let run = |kernel: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_igpt"));
        command
            .args(["run", "--out", "out", "--kernel-command", kernel, "n.ipynb"])
            .current_dir(igpt.folder.path());
        said(&command.output().expect("igpt can be started"))
    };
    let (code, said) = run("ls --no-such-option {connection_file}");
    assert_eq!(code, 6);
    assert!(said.contains("the kernel died at start") && said.contains("no-such-option"), "{said}");
    let (code, said) = run("/no/such/program {connection_file}");
    assert_eq!(code, 6);
    assert!(said.contains("cannot start the kernel /no/such/program"), "{said}");
}

#[test]
fn check_accepts_the_same_outputs_and_shows_what_differs() {
    let igpt = Igpt::new();
    igpt.write("n", &[cell("print a\\nb\\n"), cell("pid").tag("volatile"), cell("result 7")]);
    let (code, said) = igpt.run(&["n.ipynb", "--check"]);
    assert_eq!(code, 5);
    assert!(said.contains("no committed outputs"), "{said}");
    let (code, said) = igpt.run(&["n.ipynb", "--in-place"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = igpt.run(&["n.ipynb", "--check"]);
    assert_eq!(code, 0, "{said}");
    let file = igpt.folder.path().join("n.ipynb");
    let text = fs::read_to_string(&file).expect("the notebook is there");
    fs::write(&file, text.replace("\"b\\n\"", "\"B\\n\"")).expect("the notebook can be written");
    let (code, said) = igpt.run(&["n.ipynb", "--check"]);
    assert_eq!(code, 5);
    assert!(said.contains("n, cell 1 `print a") && said.contains("line 2:"), "{said}");
    assert!(said.contains("    -B\n    +b"), "{said}");
}

#[test]
fn a_source_is_never_overwritten_by_accident() {
    let igpt = Igpt::new();
    fs::create_dir(igpt.folder.path().join("out")).expect("a folder can be made");
    write_notebook(&igpt.folder.path().join("out"), "n", &[cell("print 1")]);
    let before = igpt.out("n.ipynb");
    let (code, said) = igpt.run(&["out/n.ipynb"]);
    assert_eq!(code, 2);
    assert!(said.contains("would overwrite"), "{said}");
    assert_eq!(igpt.out("n.ipynb"), before);
    // The same name in two folders is two notebooks.
    igpt.write("m", &[cell("print here")]);
    fs::create_dir(igpt.folder.path().join("sub")).expect("a folder can be made");
    write_notebook(&igpt.folder.path().join("sub"), "m", &[cell("print there")]);
    let (code, said) = igpt.run(&["m.ipynb", "sub/m.ipynb"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(igpt.executed("m").stream(1, "stdout"), "here");
    assert_eq!(igpt.executed("m-2").stream(1, "stdout"), "there");
}

#[test]
fn the_cheapest_notebook_is_first_and_its_report_is_there_while_the_next_one_runs() {
    let igpt = Igpt::new();
    let at = |file: &str| igpt.folder.path().join(file);
    let times = "[quick]\na = { cells = 300.0 }\nb = { cells = 1.0 }\n";
    for (file, text) in [
        ("Cargo.toml", ""),
        ("notebooks/Cargo.toml", ""),
        ("kernel-lib/Cargo.toml", ""),
        ("notebooks/times.toml", times),
    ] {
        fs::create_dir_all(at(file).parent().expect("a folder")).expect("a folder can be made");
        fs::write(at(file), text).expect("a file can be written");
    }
    igpt.write("notebooks/a", &[cell("print first by name"), cell("sleep 100000")]);
    igpt.write("notebooks/b", &[cell("print first by cost")]);
    let child = igpt.command(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.expect("igpt can be started");
    let report = || fs::read_to_string(at("out/report.html")).unwrap_or_default();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !report().contains("first by cost") {
        assert!(Instant::now() < deadline, "the report is not there while the rest runs");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(report().contains("Not through yet: a.") && !report().contains("first by name"), "{}", report());
    let id = rustix::process::Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    // The second one is at work before it is ended.
    while !fs::read_to_string(at("out/a.ipynb")).is_ok_and(|text| text.contains("\"execution_count\": 1")) {
        assert!(Instant::now() < deadline, "the second notebook does not begin");
        std::thread::sleep(Duration::from_millis(50));
    }
    rustix::process::kill_process(id.expect("a process id"), rustix::process::Signal::INT)
        .expect("igpt can be signalled");
    let (code, said) = said(&child.wait_with_output().expect("igpt ends"));
    assert_eq!(code, 130, "{said}");
    // What is said: the order, and how long it takes as soon as something was measured.
    let line = |text: &str| said.find(text).unwrap_or_else(|| panic!("{text}: {said}"));
    assert!(
        line("next: b; then 1 more") < line("next: a, about ") && said.contains(" on this machine"),
        "{said}"
    );
    // The whole report, in the order of names.
    let report = report();
    let place = |text: &str| report.find(text).unwrap_or_else(|| panic!("{text}: {report}"));
    assert!(
        place("first by name") < place("first by cost") && !report.contains("Not through yet"),
        "{report}"
    );
    let own = fs::read_to_string(at("target/igpt-times.toml")).expect("what was measured is kept");
    assert!(own.contains("b") && !own.contains("[quick.a]"), "{own}");
}
