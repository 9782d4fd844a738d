"""How long a kernel takes to wake: from its start to the first tensor printed, and then for a trivial cell.

    .venv/bin/python tests/jupyter/wake.py [rounds] [kernel name]

Every round starts a fresh kernel (warm: `igpt setup` ran before), as any Jupyter client does. Prints each round, the
medians, and the kernel's peak memory (its process and all that it started, summed)."""

import statistics
import sys
import threading
import time

from jupyter_client.manager import KernelManager

TENSOR = 'println!("{}", Tensor::arange(0f32, 4., &Device::Cpu)?);'


def processes(root):
    """The process ids below `root`, itself included."""
    parents = {}
    import os
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents[int(pid)] = int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[1])
        except OSError:
            pass
    found, new = {root}, {root}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new} - found
        found |= new
    return found


def memory(root):
    """Their resident memory in megabytes, shared pages counted once for each."""
    total = 0
    for pid in processes(root):
        try:
            total += int(open(f"/proc/{pid}/statm").read().split()[1]) * 4096
        except OSError:
            pass
    return total / 1e6


class Peak(threading.Thread):
    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.over = pid, 0.0, False
        self.start()

    def run(self):
        while not self.over:
            self.peak = max(self.peak, memory(self.pid))
            time.sleep(0.1)


def one(kernel):
    start = time.perf_counter()
    manager = KernelManager(kernel_name=kernel)
    manager.start_kernel()
    peak = Peak(manager.provisioner.process.pid)
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=120)
    ready = time.perf_counter() - start
    reply = client.execute_interactive(TENSOR, output_hook=lambda message: None, timeout=300)
    assert reply["content"]["status"] == "ok", reply["content"]
    tensor = time.perf_counter() - start
    cells = []
    for number in range(5):
        begin = time.perf_counter()
        reply = client.execute_interactive(f'println!("{number}");', output_hook=lambda m: None, timeout=60)
        assert reply["content"]["status"] == "ok", reply["content"]
        cells.append(time.perf_counter() - begin)
    begin = time.perf_counter()
    client.execute_interactive("1 + 1", output_hook=lambda m: None, timeout=60)
    expression = time.perf_counter() - begin
    client.stop_channels()
    peak.over = True
    manager.shutdown_kernel(now=False)
    return ready, tensor, statistics.median(cells), expression, peak.peak


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    kernel = sys.argv[2] if len(sys.argv) > 2 else "igpt"
    names = ["ready (s)", "first tensor printed (s)", "println cell (s)", "expression cell (s)", "peak memory (MB)"]
    results = []
    for number in range(rounds):
        results.append(one(kernel))
        print(f"round {number + 1}: " + ", ".join(f"{n} {v:.2f}" for n, v in zip(names, results[-1])), flush=True)
    for name, values in zip(names, zip(*results)):
        print(f"median of {rounds}: {name} {statistics.median(values):.2f}")


main()
