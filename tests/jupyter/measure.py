"""How long a kernel lets a user wait, as any Jupyter client sees it."""

import dataclasses
import os
import statistics
import subprocess
import threading
import time
import uuid

from jupyter_client.manager import KernelManager

import processes


@dataclasses.dataclass
class Cells:
    """What is asked of a kernel, in its language."""

    tensor: str
    """The first cell: makes a tensor and prints it; `printed` is part of that."""
    printed: str
    let: str
    println: str
    expression: str
    completion: str
    """Completed at its end; `completed` is among what is offered."""
    completed: str


OURS = Cells(
    tensor='println!("{}", Tensor::arange(0f32, 4., &Device::Cpu)?);',
    printed="3.",
    let="let measured = Tensor::zeros((2, 2), DType::F32, &Device::Cpu)?;",
    println='println!("{}", 1);',
    expression="1 + 1",
    completion="Tensor::zer",
    completed="zeros",
)

WHAT = {
    "ready": "launch to kernel_info reply (s)",
    "tensor": "launch to first tensor printed (s)",
    "let": "`let` of a tensor (s)",
    "println": "println cell (s)",
    "expression": "expression cell (s)",
    "completion": "completion (s)",
    "restart": "restart to first tensor printed (s)",
    "later": "cell to first tensor printed, 12 s after launch (s)",
    "memory": "peak memory (MB)",
}

TIMES = 5
"""How often each small cell runs in a kernel; its time is the median."""


class Peak(threading.Thread):
    """The most memory that processes and all that they started had."""

    def __init__(self, *pids):
        super().__init__(daemon=True)
        self.pids, self.peak, self.over = pids, 0.0, threading.Event()
        self.start()

    def run(self):
        while not self.over.is_set():
            self.peak = max(self.peak, sum(map(processes.memory, self.pids)))
            self.over.wait(0.2)


class Spare:
    """An engine that is kept ready for the next kernel that is started from here with `env`, as `igpt lab` keeps one."""

    def __init__(self, program, root):
        self.words, self.makers = [program, "spare", "--root", root], []
        self.env = {**os.environ, "IGPT_SPARE": f"igpt-spare-{uuid.uuid4()}", "JPY_SESSION_NAME": "measured.ipynb"}
        self.spares, self.pid = {name: value for name, value in self.env.items() if name != "JPY_SESSION_NAME"}, None

    def make(self):
        """Returns when one is ready."""
        maker = subprocess.Popen(self.words, env=self.spares, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True)
        self.makers.append(maker)
        self.pid = maker.pid
        for line in maker.stderr:
            if line.startswith("igpt spare: ready"):
                # What it says later must find room.
                threading.Thread(target=maker.stderr.read, daemon=True).start()
                return
        raise AssertionError("no spare was made")

    def is_taken(self):
        return "Next" in self.makers[-1].stdout.readline()

    def end(self):
        for maker in self.makers:
            maker.stdin.close()
            maker.wait()


class Kernel:
    """A started kernel whose outputs are heard."""

    def __init__(self, name="igpt", spec_manager=None, env=None):
        self.start = time.perf_counter()
        options = {"kernel_spec_manager": spec_manager} if spec_manager else {}
        # Kernels that start at once in this process must not be given the same ports.
        self.manager = KernelManager(kernel_name=name, cache_ports=True, **options)
        # What a kernel says to nobody in particular is not of interest here.
        self.manager.start_kernel(stderr=subprocess.DEVNULL, **({"env": env} if env else {}))
        self.connect()

    def connect(self):
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.kernel_info()
        reply = self.client.get_shell_msg(timeout=300)
        assert reply["msg_type"] == "kernel_info_reply", reply
        self.ready = time.perf_counter() - self.start
        # JupyterLab does this, too: until something is heard, outputs may be lost.
        while True:
            self.client.kernel_info()
            self.client.get_shell_msg(timeout=300)
            try:
                self.client.get_iopub_msg(timeout=0.2)
                break
            except Exception:  # Empty
                pass

    def restart(self):
        """Seconds until it answers again."""
        begin = time.perf_counter()
        self.client.stop_channels()
        self.manager.restart_kernel(now=False)
        self.connect()
        return time.perf_counter() - begin

    def run(self, code, until=None, timeout=3600):
        """Seconds until the cell ended, or until it printed `until`."""
        begin, seen, heard = time.perf_counter(), None, []

        def hook(message):
            nonlocal seen
            heard.append(message["content"])
            content = message["content"]
            text = content.get("text", "") or str(content.get("data", {}).get("text/plain", ""))
            if seen is None and until is not None and until in text:
                seen = time.perf_counter() - begin

        reply = self.client.execute_interactive(code, output_hook=hook, timeout=timeout)
        assert reply["content"]["status"] == "ok", reply["content"]
        assert until is None or seen is not None, f"{code} did not print {until}: {heard}"
        return time.perf_counter() - begin if until is None else seen

    def complete(self, code, expected):
        """Seconds until an answer; None if it does not offer what is expected."""
        begin = time.perf_counter()
        self.client.complete(code)
        while True:
            reply = self.client.get_shell_msg(timeout=60)
            if reply["msg_type"] == "complete_reply":
                break
        took = time.perf_counter() - begin
        return took if any(expected in match for match in reply["content"].get("matches", [])) else None

    def end(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=False)


def measure(cells, spare=None, **kernel):
    """Starts a kernel and measures everything but the late first tensor. With a `spare`, one is ready at the start and at the restart."""
    if spare:
        spare.make()
    kernel = Kernel(**kernel)
    # A spare was not started by the kernel that took it.
    peak = Peak(kernel.manager.provisioner.process.pid, *([spare.pid] if spare else []))
    try:
        before = time.perf_counter() - kernel.start
        result = {"ready": kernel.ready, "tensor": before + kernel.run(cells.tensor, until=cells.printed)}
        for what in ["let", "println", "expression"]:
            result[what] = statistics.median(kernel.run(getattr(cells, what)) for _ in range(TIMES))
        answers = [kernel.complete(cells.completion, cells.completed) for _ in range(TIMES)]
        result["completion"] = statistics.median(answers) if None not in answers else None
        peak.over.set()
        assert spare is None or spare.is_taken(), "the spare was not taken"
        if spare:
            spare.make()
        result["restart"] = kernel.restart() + kernel.run(cells.tensor, until=cells.printed)
        assert spare is None or spare.is_taken(), "the spare was not taken at the restart"
    finally:
        peak.over.set()
        kernel.end()
    result["memory"] = peak.peak
    return result


def measure_late(cells, wait=12.0, spare=None, **kernel):
    """A client that connects, waits until `wait` seconds after the start, and then runs its first cell."""
    if spare:
        spare.make()
    kernel = Kernel(**kernel)
    try:
        time.sleep(max(0.0, wait - (time.perf_counter() - kernel.start)))
        return kernel.run(cells.tensor, until=cells.printed)
    finally:
        kernel.end()


def median(values):
    """Of those that are there; None if there is none."""
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def show(value):
    return "–" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.2f}"
