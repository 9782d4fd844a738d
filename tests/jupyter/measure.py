"""How long a kernel lets a user wait, as any Jupyter client sees it."""

import dataclasses
import statistics
import subprocess
import threading
import time

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
    "later": "cell to first tensor printed, 12 s after launch (s)",
    "memory": "peak memory (MB)",
}

TIMES = 5
"""How often each small cell runs in a kernel; its time is the median."""


class Peak(threading.Thread):
    """The most memory that a process and all that it started had."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.over = pid, 0.0, threading.Event()
        self.start()

    def run(self):
        while not self.over.is_set():
            self.peak = max(self.peak, processes.memory(self.pid))
            self.over.wait(0.2)


class Kernel:
    """A started kernel whose outputs are heard."""

    def __init__(self, name="igpt", spec_manager=None, env=None):
        self.start = time.perf_counter()
        options = {"kernel_spec_manager": spec_manager} if spec_manager else {}
        # Kernels that start at once in this process must not be given the same ports.
        self.manager = KernelManager(kernel_name=name, cache_ports=True, **options)
        # What a kernel says to nobody in particular is not of interest here.
        self.manager.start_kernel(stderr=subprocess.DEVNULL, **({"env": env} if env else {}))
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


def measure(cells, **kernel):
    """Starts a kernel and measures everything but the late first tensor."""
    kernel = Kernel(**kernel)
    peak = Peak(kernel.manager.provisioner.process.pid)
    try:
        before = time.perf_counter() - kernel.start
        result = {"ready": kernel.ready, "tensor": before + kernel.run(cells.tensor, until=cells.printed)}
        for what in ["let", "println", "expression"]:
            result[what] = statistics.median(kernel.run(getattr(cells, what)) for _ in range(TIMES))
        answers = [kernel.complete(cells.completion, cells.completed) for _ in range(TIMES)]
        result["completion"] = statistics.median(answers) if None not in answers else None
    finally:
        peak.over.set()
        kernel.end()
    result["memory"] = peak.peak
    return result


def measure_late(cells, wait=12.0, **kernel):
    """A client that connects, waits until `wait` seconds after the start, and then runs its first cell."""
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
