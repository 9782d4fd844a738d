"""The kernel as a user at a notebook meets it: outputs that grow, interrupts, odd output, restarts, several clients.

    .venv/bin/python tests/jupyter/care.py [part of a check's name …]

Each check starts from a kernel that is alive (one is shared by those that leave it so) and prints a line; the first
failure of a check is printed with what was seen, and the exit status says whether all went well."""

import contextlib
import os
import re
import sys
import tempfile
import threading
import time
import traceback

from jupyter_client import BlockingKernelClient
from jupyter_client.manager import KernelManager

CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


class Cell:
    """What a client saw of a cell: messages with the time at which they came, and the reply."""

    def __init__(self):
        self.messages, self.reply, self.begun, self.ended = [], None, time.perf_counter(), None
        self.idle, self.over = False, threading.Event()

    def hear(self, message):
        if message["msg_type"] == "execute_reply":
            self.reply = message
        else:
            self.messages.append((time.perf_counter(), message))
            self.idle |= message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
        if self.idle and self.reply and not self.ended:
            self.ended = time.perf_counter()
            self.over.set()

    def of(self, *kinds):
        return [message for _, message in self.messages if message["msg_type"] in kinds]

    def text(self, name="stdout"):
        return "".join(m["content"]["text"] for m in self.of("stream") if m["content"]["name"] == name)

    def displays(self):
        return [m["content"] for m in self.of("display_data", "update_display_data")]

    @property
    def status(self):
        return self.reply["content"]["status"]

    @property
    def error(self):
        content = self.reply["content"]
        return f"{content.get('ename')}: {content.get('evalue')}"

    @property
    def value(self):
        return self.of("execute_result")[-1]["content"]["data"]["text/plain"]

    @property
    def seconds(self):
        return self.ended - self.begun


class Pump(threading.Thread):
    """Brings a client's messages to the cells that they belong to, and keeps the other answers."""

    def __init__(self, client):
        super().__init__(daemon=True)
        self.client, self.cells, self.answers, self.lock = client, {}, {}, threading.Lock()
        self.start()

    def run(self):
        while True:
            with self.lock:
                if not self.client.channels_running:
                    return
                for channel in (self.client.iopub_channel, self.client.shell_channel):
                    while channel.msg_ready():
                        message = channel.get_msg()
                        parent = message["parent_header"].get("msg_id")
                        if parent in self.cells:
                            self.cells[parent].hear(message)
                        elif channel is self.client.shell_channel:
                            self.answers[parent] = message["content"]
            time.sleep(0.002)


class Kernel:
    def __init__(self, **environment):
        self.manager = KernelManager(kernel_name="igpt")
        # Its log is for users who look for a fault.
        self.log = tempfile.TemporaryFile("w+")
        self.manager.start_kernel(env={**os.environ, **environment}, stdout=self.log, stderr=self.log)
        self.pumps = {}
        self.client = self.connect()

    def connect(self):
        client = self.manager.client()
        client.start_channels()
        client.wait_for_ready(timeout=120)
        return client

    def connect_as_another(self):
        """A client with a session of its own, as that of another program."""
        client = BlockingKernelClient(connection_file=self.manager.connection_file)
        client.load_connection_file()
        client.start_channels()
        client.wait_for_ready(timeout=120)
        return client

    def start(self, code, client=None, **options):
        """Sends a cell and gathers what comes, in a thread of its own."""
        client = client or self.client
        options.setdefault("allow_stdin", False)
        cell = Cell()
        pump = self.pumps.get(client) or self.pumps.setdefault(client, Pump(client))
        identity = options.pop("cell_id", None)
        with pump.lock:
            if identity is None:
                cell.id = client.execute(code, **options)
            else:
                # As JupyterLab does; the client's own call knows no metadata.
                content = dict(code=code, silent=False, store_history=True, user_expressions={}, stop_on_error=True)
                message = client.session.msg("execute_request", {**content, **options}, metadata={"cellId": identity})
                client.shell_channel.send(message)
                cell.id = message["header"]["msg_id"]
            pump.cells[cell.id] = cell
        return cell

    def run(self, code, timeout=180, **options):
        return self.wait(self.start(code, **options), timeout)

    def wait_until_on(self, cell, timeout=60):
        """Waits until a cell that prints `on` first has done so, and is behind it."""
        end = time.perf_counter() + timeout
        while not cell.text().startswith("on\n"):
            assert not cell.ended and time.perf_counter() < end, (cell.reply, cell.text())
            time.sleep(0.01)
        time.sleep(0.2)

    def wait(self, cell, timeout=180):
        cell.over.wait(timeout)
        assert cell.ended, f"no end within {timeout} s; seen: {[m['msg_type'] for _, m in cell.messages]}"
        return cell

    def interrupt(self):
        self.manager.interrupt_kernel()

    def ask(self, kind, client=None, **content):
        client = client or self.client
        pump = self.pumps.get(client) or self.pumps.setdefault(client, Pump(client))
        with pump.lock:
            message = client.session.msg(kind, content)
            client.shell_channel.send(message)
        end = time.perf_counter() + 60
        while time.perf_counter() < end:
            if (answer := pump.answers.pop(message["header"]["msg_id"], None)) is not None:
                return answer
            time.sleep(0.005)
        raise AssertionError(f"no answer to {kind}")

    def stop(self, client):
        """The client leaves."""
        pump = self.pumps.pop(client, None)
        with pump.lock if pump else contextlib.nullcontext():
            client.stop_channels()

    def end(self):
        self.stop(self.client)
        self.manager.shutdown_kernel(now=True)


# Does not listen to an interrupt.
ENDLESS = 'println!("on"); loop { std::thread::sleep(std::time::Duration::from_millis(5)); }'

_shared = None


def shared():
    global _shared
    if _shared is None or not _shared.manager.is_alive():
        _shared = Kernel()
    _shared.run("let kept = 42;")
    return _shared


def still_there(kernel):
    cell = kernel.run('println!("{kept}");')
    assert cell.text() == "42\n", (cell.error, cell.text())


# ---- Life


@check
def outputs_come_in_order_and_change_in_place():
    cell = shared().run(
        """println!("one");
let mut a = show::display("first");
println!("two");
let mut b = show::display("second");
a.update("first again");
std::thread::sleep(std::time::Duration::from_millis(150));
a.update("first at last");
println!("three");
drop(b);"""
    )
    assert cell.status == "ok", cell.error
    order = [(m["msg_type"], m["content"].get("text") or m["content"]["data"]["text/plain"]) for m in
             cell.of("stream", "display_data", "update_display_data")]
    assert [kind for kind, _ in order] == [
        "stream", "display_data", "stream", "display_data", "update_display_data", "stream"], order
    assert order[4][1] == "first at last\n", order
    ids = [content["transient"]["display_id"] for content in cell.displays()]
    assert ids[0] == ids[2] != ids[1], ids


@check
def a_bar_moves_at_most_ten_times_a_second_and_keeps_no_times():
    cell = shared().run(
        """let mut bar = Bar::new("counting", 2000).unit("pieces");
for _ in 0..2000 {
    bar.advance(1);
    std::thread::sleep(std::time::Duration::from_millis(1));
}"""
    )
    assert cell.status == "ok", cell.error
    seconds = cell.seconds
    states = cell.displays()
    assert 10 <= len(states) <= 10 * seconds + 3, (len(states), seconds)
    texts = [content["data"]["text/plain"] for content in states]
    assert any(re.search(r"\d+ % · \d+ of 2000 pieces · \d+/s · 0:0\d left", text) for text in texts), texts
    assert texts[-1] == "counting: 2000 pieces\n", texts[-1]


@check
def what_is_cleared_is_gone():
    cell = shared().run('println!("draft"); show::clear(); println!("final");')
    kinds = [m["msg_type"] for m in cell.of("stream", "clear_output")]
    assert kinds == ["stream", "clear_output", "stream"], kinds
    cell = shared().run('let mut shown = show::display("a"); show::clear(); shown.update("EVCXR_BEGIN_CONTENT text/plain");')
    kinds = [m["msg_type"] for m in cell.of("display_data", "clear_output", "update_display_data")]
    assert cell.status == "ok" and kinds == ["display_data", "clear_output", "display_data"], kinds


# ---- Odd output


@check
def a_line_that_is_not_ended_is_seen_at_once():
    cell = shared().run(
        """use std::io::Write as _;
print!("a"); std::io::stdout().flush()?;
std::thread::sleep(std::time::Duration::from_millis(700));
println!("b");"""
    )
    times = [(at, m["content"]["text"]) for at, m in cell.messages if m["msg_type"] == "stream"]
    assert [text for _, text in times] == ["a", "b\n"], times
    assert times[1][0] - times[0][0] > 0.4, times


@check
def lines_that_come_steadily_are_not_held_back():
    cell = shared().run('for n in 0..300 { println!("{n:030}"); std::thread::sleep(std::time::Duration::from_millis(5)); }')
    times = [at for at, m in cell.messages if m["msg_type"] == "stream"]
    assert len(times) >= 8 and max(b - a for a, b in zip(times, times[1:])) < 0.5, (len(times), cell.seconds)


@check
def bytes_that_are_no_text_shift_nothing():
    kernel = shared()
    cell = kernel.run(
        r"""std::io::stdout().write_all(b"a\xff\n")?;
std::io::stderr().write_all(b"b\xfe\n")?;
1 + 1"""
    )
    assert (cell.status, cell.value) == ("ok", "2"), cell.error
    assert cell.text() == "a\ufffd\n" and cell.text("stderr") == "b\ufffd\n", (cell.text(), cell.text("stderr"))
    cell = kernel.run('eprintln!("c"); 2 + 2')
    assert (cell.value, cell.text("stderr")) == ("4", "c\n")


@check
def a_hundred_megabytes_are_cut():
    kernel = shared()
    cell = kernel.run('for line in 0..1_000_000 { println!("{line:099}"); }')
    assert cell.status == "ok", cell.error
    text = cell.text()
    assert len(text) < 2e6 and "more than 1 MB of output" in text, len(text)
    assert f"{999_999:099}" in text and re.search(r"\[\d+\.\d MB are left out here\]", text)
    print(f"    100 MB took {cell.seconds:.1f} s, {len(text) / 1e6:.1f} MB were shown")
    cell = kernel.run('println!("{}", "x".repeat(20_000_000));')
    assert cell.status == "ok" and len(cell.text()) < 2e6, (cell.error, len(cell.text()))
    still_there(kernel)


@check
def panics_everywhere_are_told_right():
    kernel = shared()
    cell = kernel.run('println!("{}", std::thread::spawn(|| panic!("in a thread")).join().is_err());')
    assert cell.status == "ok" and cell.text() == "true\n" and "in a thread" in cell.text("stderr"), cell.error
    cell = kernel.run(
        """struct Bad;
impl std::fmt::Display for Bad {
    fn fmt(&self, _: &mut std::fmt::Formatter) -> std::fmt::Result { panic!("while printing") }
}
println!("{}", Bad);"""
    )
    assert cell.status == "error" and "while printing" in cell.error, cell.error
    still_there(kernel)
    cell = kernel.run(
        """struct Worse;
impl Drop for Worse { fn drop(&mut self) { panic!("second") } }
let worse = Worse;
{ let _worse = Worse; panic!("first"); }"""
    )
    assert cell.status == "error" and "ProcessDied" in cell.error and "`kept`" in cell.error, cell.error
    cell = kernel.run('let kept = 42; println!("{kept}");')
    assert cell.text() == "42\n", cell.error


# ---- Interrupts


@check
def work_that_listens_ends_with_every_variable():
    kernel = shared()
    cell = kernel.start('let before = 7; println!("on"); loop { stop::check("waiting")?; std::thread::sleep(std::time::Duration::from_millis(5)); }')
    kernel.wait_until_on(cell)
    begun = time.perf_counter()
    kernel.interrupt()
    kernel.wait(cell)
    took = time.perf_counter() - begun
    assert cell.status == "error" and cell.error.startswith("Interrupted: waiting was interrupted"), cell.error
    assert took < 2, took
    still_there(kernel)


@check
def work_that_does_not_listen_is_ended_and_its_variables_are_named():
    kernel = Kernel()
    kernel.run("let alpha = 1; let beta = vec![2];")
    cell = kernel.start(ENDLESS)
    kernel.wait_until_on(cell)
    begun = time.perf_counter()
    kernel.interrupt()
    kernel.wait(cell)
    took = time.perf_counter() - begun
    assert "Interrupted" in cell.error and "`alpha`, `beta`" in cell.error, cell.error
    assert 4.5 < took < 8, took
    cell = kernel.run("1 + 1")
    assert cell.value == "2", cell.error
    # Who presses twice does not want to wait.
    kernel.run("let gamma = 3;")
    cell = kernel.start(ENDLESS)
    kernel.wait_until_on(cell)
    kernel.interrupt()
    time.sleep(0.3)
    kernel.interrupt()
    kernel.wait(cell, 4)
    assert "`gamma`" in cell.error, cell.error
    # The process may also be killed while nothing runs.
    kernel.run("let delta = 4;")
    kernel.run('std::process::Command::new("sh").args(["-c", &format!("sleep 1; kill -9 {}", std::process::id())]).spawn()?;')
    time.sleep(2)
    cell = kernel.run('println!("{delta}");')
    assert cell.error.startswith("ProcessDied") and "`delta`" in cell.error, cell.error
    assert kernel.run("2 + 2").value == "4"
    kernel.end()


@check
def an_interrupt_ends_a_cell_whatever_was_defined_before():
    kernel = Kernel()
    assert kernel.run("fn stringify(x: u8) -> u8 { x }\nfn println() {}").status == "ok"
    cell = kernel.start("loop { std::thread::sleep(std::time::Duration::from_millis(50)); }")
    time.sleep(2.5)
    kernel.interrupt()
    kernel.wait(cell, 15)
    assert cell.error.startswith("Interrupted"), cell.error
    # Before the start was seen: the compiler is ended.
    cell = kernel.start("".join(f"fn f{n}(x: u64) -> u64 {{ x * {n} }}\n" for n in range(3000)) + "f1(2)")
    time.sleep(0.4)
    kernel.interrupt()
    kernel.wait(cell, 30)
    assert cell.status == "error", cell.status
    assert kernel.run("1 + 1").value == "2"
    kernel.end()


@check
def a_cell_that_is_compiled_is_interrupted_without_harm():
    kernel = shared()
    # Much to compile.
    functions = "\n".join(
        f"fn f{n}(x: &[f64]) -> f64 {{ x.iter().map(|a| a * {n}.5).filter(|a| *a > 1.0).sum::<f64>().sqrt() }}" for n in range(3000)
    )
    cell = kernel.start(functions + '\nprintln!("{}", f1(&[1.0]));')
    time.sleep(1.5)
    kernel.interrupt()
    time.sleep(0.1)
    kernel.interrupt()
    kernel.wait(cell, 20)
    assert cell.status == "error" and "while it was compiled" in cell.error, cell.error
    assert cell.seconds < 6, cell.seconds
    still_there(kernel)


@check
def k_means_probes_and_samples_listen():
    kernel = shared()
    prepared = kernel.run(
        """fn noise(count: usize) -> Vec<u8> {
    let mut state = 1u64;
    (0..count).map(|_| { state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407); (state >> 33) as u8 }).collect()
}
let pixels = noise(3 << 23);
let values: Vec<f32> = noise(4000 * 3072).iter().map(|x| f32::from(*x)).collect();
let labels: Vec<u16> = noise(4000).iter().map(|x| u16::from(x % 10)).collect();
let features = FeatureMatrix::new(values, 3072)?;
let shape = Config { layers: 12, width: 256, heads: 8, context: 1024, vocabulary: 512, inner: None, classes: None };
let network_parameters = Parameters::init(shape, 1)?;"""
    )
    assert prepared.status == "ok", prepared.error
    for code, named in [
        ("Palette::fit(&pixels, 3, &KMeans::new(512))?;", "k-means"),
        ("Probe::fit(&features, &labels, 10, 1e-9)?;", "the probe"),
        ("let mut network = igpt::engine::Engine::new(shape)?;\nsample(&mut network, &network_parameters, &[], 16, 0, &Sampling::default())?;",
         "sampling"),
    ]:
        cell = kernel.start('println!("on");\n' + code)
        kernel.wait_until_on(cell)
        assert not cell.ended, f"{code} was too quick to be interrupted: {cell.reply and cell.error}"
        begun = time.perf_counter()
        kernel.interrupt()
        kernel.wait(cell)
        took = time.perf_counter() - begun
        assert cell.error.startswith(f"Interrupted: {named} was interrupted"), cell.error
        assert took < 2, (code, took)
        print(f"    {named}: ended after {took:.2f} s")
    still_there(kernel)


@check
def a_training_goes_on_where_it_was():
    with tempfile.TemporaryDirectory() as folder:
        kernel = Kernel(IGPT_STORE=folder, IGPT_PROFILE="quick")
        assert kernel.run("let pretraining = Pretraining::of(&Profile::current()?); let kept = 42;").status == "ok"
        steps = []
        for _ in range(2):
            cell = kernel.start("let trained = pretraining.show()?;")
            end = time.perf_counter() + 60
            shown = lambda: [re.search(r"(\d+) of 500 steps", c["data"]["text/plain"]) for c in cell.displays()]
            while time.perf_counter() < end and len([s for s in shown() if s]) < 6:
                time.sleep(0.1)
            begun = time.perf_counter()
            kernel.interrupt()
            kernel.wait(cell)
            took = time.perf_counter() - begun
            assert cell.error.startswith("Interrupted: the training was interrupted after"), cell.error
            assert took < 2, took
            steps.append([int(s.group(1)) for s in shown() if s])
            still_there(kernel)
        assert steps[0][0] == 0 and steps[1][0] >= steps[0][-2] > 0, steps
        print(f"    first: steps {steps[0][0]} to {steps[0][-1]}, then {steps[1][0]} to {steps[1][-1]}")
        kernel.end()


@check
def an_interrupt_while_the_kernel_wakes_ends_what_waits():
    kernel = Kernel()
    cells = [kernel.start('println!("one");'), kernel.start('println!("two");')]
    time.sleep(1)
    kernel.interrupt()
    for cell in cells:
        kernel.wait(cell, 30)
    assert [cell.status for cell in cells] == ["error", "aborted"], [cell.status for cell in cells]
    assert kernel.run('println!("three");').text() == "three\n"
    kernel.end()


# ---- Cells that are edited


@check
def a_cell_owns_what_it_defines():
    kernel = shared()

    def ran(cell, code, note=""):
        seen = kernel.run(code, cell_id=cell)
        assert seen.status == "ok", (code, seen.error)
        assert note in seen.text("stderr"), (code, seen.text("stderr"))
        return seen.text()

    ran("type", "struct Edited { side: u32 }")
    ran("methods", "impl Edited { fn area(&self) -> u32 { self.side } }")
    ran("object", "let edited = Edited { side: 3 };")
    assert ran("use", 'println!("{}", edited.area());') == "3\n"
    # Another body, and another type.
    ran("methods", "impl Edited { fn area(&self) -> f64 { f64::from(self.side).powi(2) } }")
    assert ran("use", 'let area = edited.area();\nprintln!("{area:.1}");') == "9.0\n"
    ran("methods", "impl Edited { fn rim(&self) -> u32 { 4 * self.side } }", "`Edited::area`")
    assert ran("use", 'println!("{}", edited.rim());') == "12\n"
    gone = kernel.run("edited.area()", cell_id="use")
    assert gone.status == "error" and "area" in gone.error, gone.error
    # A trait, in the cell before and after.
    ran("trait", "trait Named { fn name(&self) -> String; }")
    ran("named", 'impl Named for Edited { fn name(&self) -> String { "one".into() } }')
    ran("named", 'impl Named for Edited { fn name(&self) -> String { "two".into() } }')
    assert ran("use", 'println!("{}", edited.name());') == "two\n"
    # A function that is not defined any more is gone, unless another cell needs it; a cell that fails loses nothing.
    ran("functions", "fn one() -> u8 { 1 }\nfn two() -> u8 { 2 }")
    ran("other", "fn three() -> u8 { one() + 2 }")
    assert kernel.run("fn one() -> u8 { 1 }\nlet wrong: u8 = 1.5;", cell_id="functions").status == "error"
    assert ran("use", 'println!("{}", one() + two());') == "3\n"
    ran("functions", "fn one() -> u8 { 10 }", "`two`")
    assert ran("use", 'println!("{}", three());') == "12\n"
    assert kernel.run("two()", cell_id="use").status == "error"
    ran("functions", "// nothing", "other cells use it")
    assert ran("use", 'println!("{}", three());') == "12\n"
    # Without an id, what is defined anew is replaced, and nothing else.
    assert kernel.run('impl Named for Edited { fn name(&self) -> String { "three".into() } }').status == "ok"
    assert ran("use", 'println!("{}", edited.name());') == "three\n"
    still_there(kernel)


# ---- What does not answer


@check
def what_a_cell_has_started_ends_with_it():
    kernel = shared()
    with tempfile.TemporaryDirectory() as folder:
        for end, signal in (("std::process::abort();", "signal: 6"), ("std::process::exit(3);", "exit status: 3")):
            begun = time.perf_counter()
            cell = kernel.run(
                'let child = std::process::Command::new("setsid").args(["sleep", "40"]).spawn()?;\n'
                f'std::fs::write("{folder}/pid", child.id().to_string())?;\n{end}'
            )
            assert cell.status == "error" and signal in cell.error, cell.error
            assert time.perf_counter() - begun < 15
            pid = int(open(folder + "/pid").read())
            assert gone(pid), f"{pid} lives on"
            kernel.run("let kept = 42;")
    # A program that a cell waits for is interrupted as in a terminal.
    cell = kernel.start('println!("on");\nlet status = std::process::Command::new("sleep").arg("40").status()?;\nprintln!("{status}");')
    kernel.wait_until_on(cell)
    kernel.interrupt()
    kernel.wait(cell, 12)
    assert cell.text().startswith("on\nsignal: 2"), (cell.text(), cell.error)
    still_there(kernel)


def gone(pid):
    end = time.perf_counter() + 5
    while time.perf_counter() < end:
        try:
            if open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] in "ZX":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


@check
def an_engine_that_is_silent_is_replaced():
    kernel = Kernel()
    cell = kernel.run('println!("{}", std::os::unix::process::parent_id());')
    os.kill(int(cell.text()), 19)
    cell = kernel.run("1 + 1", timeout=60)
    assert "EvcxrDied" in cell.error and "does not answer" in cell.error, cell.error
    assert kernel.run("1 + 1").value == "2"
    # A cell that closes its own stdout cannot be judged, and is not waited for.
    closed = kernel.run('unsafe extern "C" { fn close(fd: i32) -> i32; }\nunsafe { close(1) };', timeout=60)
    assert closed.status == "error", closed.status
    assert kernel.run("1 + 1", timeout=90).value == "2"
    kernel.end()


# ---- Questions


@check
def what_evcxr_never_answers_is_answered():
    kernel = Kernel()
    kernel.run("let a = 20;")
    cell = kernel.run("a + 1", user_expressions={"double": "2 * a", "wrong": "no_such_name"})
    expressions = cell.reply["content"]["user_expressions"]
    assert expressions["double"]["data"]["text/plain"] == "40", expressions
    assert expressions["wrong"]["status"] == "error", expressions
    count = cell.reply["content"]["execution_count"]
    silent = kernel.run("a + 2", silent=True)
    assert silent.status == "ok" and not silent.of("execute_input", "execute_result"), silent.messages
    unstored = kernel.run("a + 3", store_history=False)
    assert unstored.value == "23" and unstored.reply["content"]["execution_count"] == count
    history = kernel.ask("history_request", hist_access_type="tail", n=10, output=False, raw=True)["history"]
    assert [line[2] for line in history] == ["let a = 20;", "a + 1"], history
    assert kernel.ask("comm_info_request")["comms"] == {}
    assert kernel.ask("is_complete_request", code="fn f() {")["status"] == "incomplete"
    variables = kernel.run(":vars").value
    assert "a: i32" in variables and "__igpt" not in variables, variables
    assert ":dep" in kernel.run(":help").value
    used_up = kernel.run("let list = vec![1];") and kernel.run("drop(list);")
    assert "used up `list`" in used_up.text("stderr"), used_up.text("stderr")
    assert "is `f64` now" in kernel.run("let a = 1.5;").text("stderr")
    assert kernel.run("", user_expressions={"a": "a"}).reply["content"]["user_expressions"]["a"]["status"] == "ok"
    assert kernel.run(":restart").status == "ok"
    assert kernel.run("let a = 6; println!(\"{a}\");").text() == "6\n"
    shell = kernel.start("!sleep 100")
    time.sleep(1.5)
    kernel.interrupt()
    kernel.wait(shell, 10)
    assert kernel.run("a + 1").value == "7"
    cleared = kernel.run(":clear")
    assert cleared.status == "ok", cleared.error
    assert kernel.run("let a = 5; println!(\"{a}\");").text() == "5\n"
    kernel.end()


@check
def names_are_completed_and_explained():
    kernel = shared()

    def complete(code):
        answer = kernel.ask("complete_request", code=code, cursor_pos=len(code))
        assert answer["status"] == "ok", answer
        return [code[: answer["cursor_start"]] + match for match in answer["matches"]]

    for code, expected in [("Tensor::ze", "Tensor::zeros"), ("kep", "kept"), ("Palette::fi", "Palette::fit"), ("Pretr", "Pretraining")]:
        found = complete(code)
        assert any(match.startswith(expected) for match in found), (code, found[:10])
    for code, expected in [("Tensor::zeros", "zero"), ("Palette::fit", "k-means"), ("Pretraining::of", "profile")]:
        answer = kernel.ask("inspect_request", code=code, cursor_pos=len(code) - 1, detail_level=0)
        assert answer["found"] and expected in answer["data"]["text/plain"], (code, answer)


@check
def compile_errors_name_line_and_column():
    cell = shared().run("let fine = 1;\nlet wrong: u8 = \"text\";\nfine + unknown")
    text = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(cell.of("error")[0]["content"]["traceback"]))
    assert re.search(r"cell \[\d+\], line 2, column 17", text), text


# ---- Lives


@check
def a_kernel_that_was_never_set_up_says_so():
    with tempfile.TemporaryDirectory() as folder:
        kernel = Kernel(IGPT_CACHE=folder)
        for _ in range(2):
            cell = kernel.run("1 + 1")
            assert cell.status == "error" and "`igpt setup`" in cell.error, cell.error
        kernel.end()


@check
def restarts_and_ends_while_busy():
    kernel = Kernel()
    cell = kernel.start(ENDLESS)
    kernel.wait_until_on(cell)
    kernel.stop(kernel.client)
    kernel.manager.restart_kernel(now=False)
    kernel.client = kernel.connect()
    assert kernel.run("1 + 1").value == "2"
    kernel.wait_until_on(kernel.start(ENDLESS))
    begun = time.perf_counter()
    kernel.stop(kernel.client)
    kernel.manager.shutdown_kernel(now=False)
    assert time.perf_counter() - begun < 5 and not kernel.manager.is_alive()


@check
def two_clients_share_a_kernel_and_one_may_vanish():
    kernel = shared()
    other = kernel.connect_as_another()
    cell = kernel.run("let theirs = 5; println!(\"{theirs}\");", client=other)
    assert cell.text() == "5\n"
    assert kernel.run("theirs + 1").value == "6"
    # It leaves in the middle of a cell, whose output nobody waits for.
    kernel.start('for n in 0..20 { println!("{n}"); std::thread::sleep(std::time::Duration::from_millis(50)); }', client=other)
    time.sleep(0.5)
    kernel.stop(other)
    assert kernel.run("theirs + 2").value == "7"
    again = kernel.connect_as_another()
    assert kernel.run("theirs + 3", client=again).value == "8"
    kernel.stop(again)


def main():
    wanted = [part.replace("_", " ") for part in sys.argv[1:]]
    failed, names = [], [function.__name__.replace("_", " ") for function in CHECKS]
    for part in wanted:
        if not any(part in name for name in names):
            sys.exit(f"no check has {part!r} in its name; there are: {', '.join(names)}")
    for function, name in zip(CHECKS, names):
        if wanted and not any(part in name for part in wanted):
            continue
        begun = time.perf_counter()
        try:
            function()
            print(f"ok      {name} ({time.perf_counter() - begun:.1f} s)", flush=True)
        except Exception:
            failed.append(name)
            print(f"FAILED  {name}\n{traceback.format_exc()}", flush=True)
    if _shared is not None:
        _shared.end()
    print(f"{len(failed)} of the checks failed: {', '.join(failed)}" if failed else "all is well")
    sys.exit(bool(failed))


main()
