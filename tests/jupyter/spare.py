"""The engine that `igpt lab` keeps ready: who gets it, what its cells see, and that nothing is left of it.

    .venv/bin/python tests/jupyter/spare.py [part of a check's name …]

Starts `igpt lab` (the program that IGPT names, default target/release/igpt) with a Jupyter folder of its own, and opens notebooks
by the server's interface, as JupyterLab does. Each check prints a line; the exit status says whether all went well. The check of
changed sources works in a copy of the checkout, whose build slots are removed again. Needs `igpt setup`,
tests/jupyter/requirements.txt, Linux, and 5 GB of free memory."""

import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.request
import uuid

from jupyter_client import BlockingKernelClient
from jupyter_client.manager import KernelManager

import processes
import stock

ROOT = pathlib.Path(__file__).resolve().parents[2]
IGPT = pathlib.Path(os.environ.get("IGPT", "target/release/igpt")).resolve()
# All that is started here inherits this.
MARK = "IGPT_SPARE_TEST"
READY, TOOK, NONE = "igpt spare: ready", "igpt kernel: took the spare engine", "igpt kernel: no spare engine"
# What a cell sees of where it runs.
SEEN = r"""
{
    let mut seen: Vec<String> = std::env::vars().map(|(name, value)| format!("{name}={value:?}")).collect();
    seen.sort();
    let status = std::fs::read_to_string("/proc/self/status")?;
    let inherited = ["Umask", "SigIgn", "SigBlk", "Cap"];
    let status: Vec<&str> = status.lines().filter(|line| inherited.iter().any(|name| line.starts_with(name))).collect();
    println!("folder {}\n{}\n{}", std::env::current_dir()?.display(), seen.join("\n"), status.join("\n"));
    println!("{}", std::fs::read_to_string("/proc/self/limits")?);
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    println!("nice {:?}", stat.rsplit(") ").next().and_then(|fields| fields.split(' ').nth(16)));
    println!("compiled for {:?}", option_env!("JPY_SESSION_NAME"));
    println!("terminal {:?}", std::fs::File::open("/dev/tty").is_ok());
    let sum = Tensor::arange(0f32, 4., &Device::Cpu)?.sum_all()?.to_scalar::<f32>()?;
    println!("sum {sum}, process {}", std::process::id());
}
"""


class Log:
    """What a process writes, line by line."""

    def __init__(self, stream, shown=None):
        self.lines, self.more = [], threading.Condition()
        threading.Thread(target=self.read, args=[stream], daemon=True).start()

    def read(self, stream):
        for line in stream:
            with self.more:
                self.lines.append(line.rstrip())
                self.more.notify_all()

    def count(self, text):
        with self.more:
            return sum(text in line for line in self.lines)

    def wait(self, text, count=1, patience=400):
        """Until `count` lines have had this text."""
        with self.more:
            enough = lambda: sum(text in line for line in self.lines) >= count
            assert self.more.wait_for(enough, patience), f"not {count} times {text!r}:\n" + "\n".join(self.lines[-40:])


class Lab:
    """A running `igpt lab`."""

    def __init__(self, *arguments):
        self.folder = tempfile.TemporaryDirectory()
        self.mark, self.token = uuid.uuid4().hex, uuid.uuid4().hex
        env = {**os.environ, MARK: self.mark, "JUPYTER_TOKEN": self.token}
        for kind in ["DATA", "CONFIG", "RUNTIME"]:
            env[f"JUPYTER_{kind}_DIR"] = str(pathlib.Path(self.folder.name) / kind.lower())
        env["PATH"] = os.pathsep.join([str(pathlib.Path(sys.executable).parent), env["PATH"]])
        words = [IGPT, "lab", *arguments, "--no-browser", "--allow-root", "--ServerApp.port=0", "--ServerApp.use_redirect_file=False"]
        self.process = subprocess.Popen(words, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                        start_new_session=True)
        self.log = Log(self.process.stderr)
        self.log.wait("http://127.0.0.1:")
        with self.log.more:
            self.url = next(m[1] for line in self.log.lines if (m := re.search(r"(http://127\.0\.0\.1:\d+)/", line)))

    def ask(self, method, path, content=None):
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        request.add_header("Authorization", f"token {self.token}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")

    def open(self, path):
        """Opens a notebook: its kernel starts."""
        session = {"path": path, "name": path, "type": "notebook", "kernel": {"name": "igpt"}}
        session = self.ask("POST", "/api/sessions", session)
        return Notebook(self, session["id"], session["kernel"]["id"])

    def marked(self, word=None):
        """The processes of this lab whose command line has this word."""
        return {pid for pid in processes.marked(MARK, self.mark) if word is None or word in processes.command(pid)}

    def end(self):
        """Ends what it is, and says what is left then."""
        for pid in self.marked():
            if any("jupyter-lab" in word for word in processes.command(pid)):
                os.kill(pid, signal.SIGTERM)
        self.process.wait(timeout=30)
        return self.gone()

    def gone(self, word=None, patience=15):
        """What is left of it after a while."""
        deadline = time.monotonic() + patience
        while (left := self.marked(word)) and time.monotonic() < deadline:
            time.sleep(0.1)
        return [f"{pid} {' '.join(processes.command(pid))[:100]}" for pid in left]


class Notebook:
    """An open notebook and a client of its kernel."""

    def __init__(self, lab, session, kernel):
        self.lab, self.session, self.kernel, self.client = lab, session, kernel, None

    def connect(self):
        if self.client:
            self.client.stop_channels()
        runtime = pathlib.Path(self.lab.folder.name) / "runtime"
        self.client = BlockingKernelClient(connection_file=str(runtime / f"kernel-{self.kernel}.json"))
        self.client.load_connection_file()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)

    def run(self, code):
        """What a cell prints."""
        if not self.client:
            self.connect()
        printed = []

        def hook(message):
            if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
                printed.append(message["content"]["text"])

        reply = self.client.execute_interactive(code, output_hook=hook, timeout=300)
        assert reply["content"]["status"] == "ok", reply["content"]
        return "".join(printed)

    def restart(self):
        self.lab.ask("POST", f"/api/kernels/{self.kernel}/restart")
        self.connect()

    def close(self):
        if self.client:
            self.client.stop_channels()
        self.lab.ask("DELETE", f"/api/sessions/{self.session}")


def seen_by(notebook):
    """What a cell sees, without what differs between any two kernels; and the process that runs it."""
    text = notebook.run(SEEN)
    process = int(re.search(r"process (\d+)", text)[1])
    text = re.sub(r"process \d+", "process N", text)
    text = re.sub(r"(/slots/[0-9a-f]+/)\d+/", r"\1N/", text)
    return re.sub(r'IGPT_PROGRAM="/proc/\d+/exe"', 'IGPT_PROGRAM="/proc/N/exe"', text), process


def guard_of(process):
    """The guard above a process."""
    everyone = processes.parents()
    while "guard" not in processes.command(process):
        process = everyone[process]
    return process


def below(process):
    return {pid: processes.command(pid) for pid in processes.below(process)}


def wait_for_end(all_of_it, patience=10):
    deadline = time.monotonic() + patience
    while (left := {pid for pid, words in all_of_it.items() if words and processes.command(pid) == words}) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, f"left: {[all_of_it[pid] for pid in left]}"


def priorities(process):
    """Those of all threads below a process."""
    found = set()
    for pid in processes.below(process):
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            found.add(int((task / "stat").read_text().rsplit(")", 1)[1].split()[16]))
    return found


def a_lab_in_use():
    """A new notebook, two at once, a restart, another folder, a killed kernel, a killed lab: one lab for all, as a user has it."""
    # The server raises this limit for itself and its kernels.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, soft), hard))
    lab = Lab()
    try:
        use(lab)
    finally:
        if lab.process.poll() is None:
            lab.process.kill()
        left = lab.end() if lab.marked() else []
    assert not left, f"left: {left}"


def use(lab):
    lab.log.wait(READY)
    first = lab.open("a first one.ipynb")
    taken, process = seen_by(first)
    assert lab.log.count(TOOK) == 1 and lab.log.count(NONE) == 0, lab.log.lines
    assert f"folder {ROOT / 'notebooks'}\n" in taken and "sum 6" in taken, taken
    name = re.search(r'JPY_SESSION_NAME="(.*)"', taken)[1]
    assert name.endswith("a first one.ipynb") and f'compiled for Some("{name}")' in taken, taken
    assert "IGPT_SPARE=" not in taken and "terminal false" in taken, taken
    guard = guard_of(process)
    assert priorities(guard) == {os.getpriority(os.PRIO_PROCESS, 0)}, priorities(guard)
    # What the user changes stays so.
    first.run('unsafe { std::env::set_var("JPY_SESSION_NAME", "mine") }; std::env::set_current_dir("/")?;')
    kept = first.run('print!("{} {}", std::env::var("JPY_SESSION_NAME")?, std::env::current_dir()?.display());')
    assert kept == "mine /", kept
    # A new process for cells has what it should have, too.
    first.client.execute_interactive("std::process::abort();", output_hook=lambda message: None, timeout=300)
    again, _ = seen_by(first)
    assert again == taken, differences(taken, again)
    print("  a new notebook took it, and its cells see what they should, also in a process that is started again", flush=True)

    lab.log.wait(READY, 2)
    # Two at once: one takes it, and the other one's cells see the same.
    both = [None, None]
    starts = [threading.Thread(target=lambda at=at: both.__setitem__(at, lab.open(f"{at}.ipynb"))) for at in range(2)]
    [start.start() for start in starts]
    [start.join() for start in starts]
    seen = []
    for at, notebook in enumerate(both):
        text, _ = seen_by(notebook)
        assert f"{at}.ipynb" in text, text
        seen.append(text.replace(f"{at}.ipynb", "N.ipynb"))
    assert lab.log.count(TOOK) == 2 and lab.log.count(NONE) == 1, lab.log.lines
    assert seen[0] == seen[1], differences(*seen)
    print("  of two at once one took it, and their cells see the same", flush=True)
    [notebook.close() for notebook in both]

    lab.log.wait(READY, 3)
    before = below(guard)
    first.restart()
    after, process = seen_by(first)
    assert after == taken, differences(taken, after)
    assert lab.log.count(TOOK) == 3, lab.log.lines
    wait_for_end(before)
    print("  a restarted kernel took it, and its old engine is gone", flush=True)

    lab.log.wait(READY, 4)
    elsewhere = lab.open("solutions/other.ipynb")
    text, _ = seen_by(elsewhere)
    assert f"folder {ROOT / 'notebooks' / 'solutions'}\n" in text, text
    assert lab.log.count(TOOK) == 3 and lab.log.count("it is for another folder") == 1, lab.log.lines
    lab.log.wait(READY, 5)
    another = lab.open("solutions/another.ipynb")
    text, _ = seen_by(another)
    assert f"folder {ROOT / 'notebooks' / 'solutions'}\n" in text and lab.log.count(TOOK) == 4, lab.log.lines
    print("  one in another folder did not take it; the next spare was for that folder", flush=True)
    elsewhere.close()

    # The kernel is killed: the server starts another one, and what it had is gone.
    guard = guard_of(int(another.run('print!("{}", std::process::id());')))
    engine = below(guard)
    kernels = lab.marked("kernel")
    connection = pathlib.Path(lab.folder.name) / "runtime" / f"kernel-{another.kernel}.json"
    [kernel] = [pid for pid in kernels if str(connection) in processes.command(pid)]
    os.kill(kernel, signal.SIGKILL)
    wait_for_end(engine)
    print("  a taken engine is gone with its kernel", flush=True)
    another.close()

    lab.log.wait(READY, 6)
    # Those whose spares were taken wait for their ends.
    maker = max(lab.marked("spare"), key=lambda pid: int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]))
    spare = below(maker)
    lab.process.kill()
    wait_for_end(spare)
    assert not lab.gone("spare"), lab.gone("spare")
    text, _ = seen_by(first)
    assert "sum 6" in text, "a kernel that took one needs no lab"
    print("  the spare is gone with the lab, and a taken engine is not", flush=True)


def differences(one, other):
    one, other = set(one.splitlines()), set(other.splitlines())
    return f"only here: {sorted(one - other)}\nonly there: {sorted(other - one)}"


def without_one():
    """`igpt lab --no-spare` keeps none."""
    lab = Lab("--no-spare")
    try:
        time.sleep(2)
        assert not lab.marked("spare"), "a spare is made"
        assert not any("IGPT_SPARE" in processes.environment(pid) for pid in lab.marked())
    finally:
        left = lab.end()
    assert not left, f"left: {left}"


def copy_of_the_checkout(folder):
    files = subprocess.run(["git", "ls-files", "-z", "kernel-lib", "notebooks", "Cargo.toml", "Cargo.lock", "rust-toolchain.toml"],
                           cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for file in filter(None, files.split("\0")):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, folder / file)


def changed_sources():
    """A spare of a library that has changed since is not taken, and is dropped; neither does a client without a server take one."""
    with tempfile.TemporaryDirectory() as temporary:
        checkout = pathlib.Path(temporary).resolve() / "checkout"
        copy_of_the_checkout(checkout)
        name = f"igpt-spare-{uuid.uuid4()}"
        env = {**os.environ, "IGPT_SPARE": name}
        stock.name(temporary, "changing", [str(IGPT), "kernel", "-f", "{connection_file}", "--root", str(checkout)])
        kernels = []

        def start(**more):
            kernel = KernelManager(kernel_name="changing", kernel_spec_manager=stock.manager(temporary))
            kernel.start_kernel(env={**env, **more}, cwd=str(checkout / "notebooks"), stderr=subprocess.PIPE)
            kernels.append(kernel)
            return kernel, Log(open(kernel.provisioner.process.stderr.fileno(), "rt", closefd=False))

        maker = None
        try:
            # The first one brings the compiled library to this checkout, which a spare does not. It has no server, and does not ask.
            kernel, said = start()
            said.wait("igpt kernel: ready")
            assert said.count("spare engine") == 0, said.lines
            kernel.shutdown_kernel(now=True)
            words = [IGPT, "spare", "--root", checkout]
            maker = subprocess.Popen(words, cwd=checkout / "notebooks", env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True)
            Log(maker.stderr).wait(READY)
            spare = below(maker.pid)
            source = checkout / "kernel-lib" / "src" / "lib.rs"
            source.write_text(source.read_text() + "\n// changed\n")
            kernel, said = start(JPY_SESSION_NAME="a.ipynb")
            said.wait(f"{NONE}: the library has changed")
            # It would compile the library now, for minutes.
            kernel.shutdown_kernel(now=True)
            assert "Next" in maker.stdout.readline() and maker.wait(30) == 0
            wait_for_end({pid: words for pid, words in spare.items() if pid != maker.pid})
        finally:
            if maker:
                maker.kill()
            for kernel in kernels:
                kernel.shutdown_kernel(now=True)
            slots = pathlib.Path(os.environ.get("IGPT_CACHE") or pathlib.Path.home() / ".cache" / "igpt") / "slots"
            time.sleep(1)
            for note in slots.glob("*/*/checkout"):
                if note.read_text() == str(checkout):
                    shutil.rmtree(note.parent.parent, ignore_errors=True)


def main():
    failed = 0
    for check in [a_lab_in_use, without_one, changed_sources]:
        if len(sys.argv) > 1 and not any(word in check.__name__ for word in sys.argv[1:]):
            continue
        begin = time.monotonic()
        try:
            check()
            print(f"ok: {check.__name__} ({time.monotonic() - begin:.0f} s)", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED: {check.__name__} ({time.monotonic() - begin:.0f} s)\n{traceback.format_exc()}", flush=True)
    sys.exit(bool(failed))


main()
