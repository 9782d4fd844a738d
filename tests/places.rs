//! Notebooks run wherever they lie, beside each other, and against the library as it is when their kernel starts.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use igpt_tests::{Executed, cell, igpt, second_checkout, set_up, write_notebook};

fn said(command: &mut Command) -> (bool, String) {
    let output = command.output().expect("the command can be started");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

/// What a notebook prints of itself: the checkout whose library it has, and a sum.
const SUM: &str = "println!(\"{}\", Tensor::arange(0f32, 4., &Device::Cpu)?.sum_all()?.to_scalar::<f32>()?);";

/// Compiles the library twice: two minutes.
#[test]
#[ignore = "minutes; run by .ci/run"]
fn two_checkouts_have_each_its_own_library_and_a_change_is_seen_by_the_next_kernel() {
    set_up();
    let second = second_checkout("a sécond checkout");
    let notebooks = second.join("notebooks");
    let run = |name: &str| {
        let mut command = igpt();
        command.args(["run", "--out", "out"]).arg(notebooks.join(format!("{name}.ipynb")));
        if name == "before" {
            // The kernel of the second notebook starts while the first one's does.
            command.arg(notebooks.join("beside.ipynb"));
        }
        command.current_dir(&second).env("CARGO_NET_OFFLINE", "true");
        let (success, text) = said(&mut command);
        assert!(success, "{text}");
        Executed::read(&second.join("out").join(format!("{name}.ipynb")))
    };
    write_notebook(&notebooks, "before", &[cell("println!(\"{}\", igpt::root()?.display());"), cell(SUM)]);
    write_notebook(&notebooks, "beside", &[cell(SUM)]);
    let executed = run("before");
    // Set-up never ran here, but the first checkout has the same library compiled: one of the two kernels copies it from there,
    // the other one waits for that or comes later, and neither compiles it.
    let logs =
        ["before", "beside"].map(|name| fs::read_to_string(second.join(format!("out/logs/{name}.log"))));
    let logs = logs.map(|log| log.expect("a kernel's log"));
    let built = |by: &str| logs.iter().filter(|log| log.contains(by)).count();
    assert_eq!(built("was built by this kernel"), 0, "{logs:?}");
    assert!(built("was built by another kernel or checkout") > 0, "{logs:?}");
    let own = second.canonicalize().expect("the second checkout");
    assert_eq!(executed.stream(1, "stdout").trim(), own.to_string_lossy());
    assert_eq!(executed.stream(2, "stdout"), "6\n");

    // A live kernel has compiled its first cell when the library changes.
    let (begun, go) = (second.join("begun"), second.join("go"));
    let wait = format!(
        "std::fs::write({begun:?}, \"\")?;\n\
         while !std::path::Path::new({go:?}).exists() {{ std::thread::sleep(std::time::Duration::from_millis(50)); }}"
    );
    write_notebook(
        &notebooks,
        "live",
        &[cell(wait), cell(SUM), cell("let v = Var::new(1f32, &Device::Cpu)?;\nv")],
    );
    let mut command = igpt();
    // A folder of its own: two runs do not write to one.
    command.args(["run", "--out", "out of live"]).arg(notebooks.join("live.ipynb")).current_dir(&second);
    let live = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("igpt can be started");
    let start = Instant::now();
    while !begun.exists() {
        assert!(start.elapsed() < Duration::from_secs(300), "the first cell did not begin");
        std::thread::sleep(Duration::from_millis(100));
    }
    let library = second.join("kernel-lib/src/root.rs");
    let text = fs::read_to_string(&library).expect("the library's source");
    let planted = "\n/// Planted.\npub fn planted() -> u32 {\n    4711\n}\n";
    fs::write(&library, text + planted).expect("the library can be changed");
    let names = second.join("kernel-lib/src/lib.rs");
    let text = fs::read_to_string(&names).expect("the library's source");
    fs::write(&names, text.replace("pub use root::root;", "pub use root::{planted, root};"))
        .expect("and its names");

    write_notebook(&notebooks, "after", &[cell("println!(\"{}\", igpt::planted());"), cell(SUM)]);
    assert_eq!(run("after").stream(1, "stdout"), "4711\n");
    fs::write(&go, "").expect("the live kernel may go on");
    let output = live.wait_with_output().expect("the live kernel's run ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(Executed::read(&second.join("out of live/live.ipynb")).stream(2, "stdout"), "6\n");
}

#[test]
fn three_notebooks_at_once_do_not_disturb_each_other() {
    set_up();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("three at once");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder for the notebooks");
    let mut command = igpt();
    command.args(["run", "--jobs", "3", "--out", "out"]).current_dir(&folder);
    for number in 1..=3 {
        // The same names with other contents: a kernel that ran another one's code would be seen.
        let cells = [
            cell(format!(
                "fn number() -> u32 {{ {number} }}\nlet t = Tensor::full({number}f32, 3, &Device::Cpu)?;"
            )),
            cell("println!(\"{} {}\", number(), t.sum_all()?.to_scalar::<f32>()?);"),
            cell("fn number() -> u32 { 0 }\nprintln!(\"{}\", number());"),
        ];
        command.arg(write_notebook(&folder, &format!("n{number}"), &cells));
    }
    let (success, text) = said(&mut command);
    assert!(success, "{text}");
    for number in 1..=3 {
        let executed = Executed::read(&folder.join(format!("out/n{number}.ipynb")));
        assert_eq!(executed.stream(2, "stdout"), format!("{number} {}\n", 3 * number));
        assert_eq!(executed.stream(3, "stdout"), "0\n");
    }
}

/// From a folder that is in no checkout, without a network, with a home that cannot be written.
#[test]
fn a_notebook_runs_from_anywhere_and_without_network() {
    set_up();
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("not a checkout");
    fs::create_dir(&place).expect("a folder");
    write_notebook(&place, "n", &[cell("println!(\"{}\", std::env::current_dir()?.display());"), cell(SUM)]);
    // A network namespace with nothing but the kernel's own 127.0.0.1, where that is allowed; cargo's own switch
    // everywhere.
    let alone = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-rn", "sh", "-c", &format!("ip link set lo up && {script}"), "sh"]);
        command
    };
    let allowed = alone("true").output().is_ok_and(|output| output.status.success());
    println!("without any network interface: {allowed}");
    let mut command = match allowed {
        true => {
            let own = igpt();
            let mut command = alone("exec \"$@\"");
            command.arg(own.get_program());
            command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
            command
        }
        false => igpt(),
    };
    command.args(["run", "not a checkout/n.ipynb", "--out", "out"]).current_dir(folder.path());
    let (success, text) = said(command.env("CARGO_NET_OFFLINE", "true"));
    assert!(success, "{text}");
    let executed = Executed::read(&folder.path().join("out/n.ipynb"));
    let canonical = place.canonicalize().expect("the folder");
    assert_eq!(executed.stream(1, "stdout").trim(), canonical.to_string_lossy());
    assert_eq!(executed.stream(2, "stdout"), "6\n");
}
