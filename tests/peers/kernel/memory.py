"""What many kernels on one machine take: a class, whose notebooks are opened at once. And what a spare engine takes.

    .venv/bin/python tests/peers/kernel/memory.py [kernels, 10] [kernel name, igpt]

Starts the kernels at once; each prints a tensor. Says when each did, and how much memory each has then, with all that it started: PSS,
in which a page that several processes share counts for each by its part, so that the sum counts it once. Kernels are not started
where less than 2 GiB would be left: fewer are, and it says so."""

import pathlib
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "jupyter"))

import measure  # noqa: E402
import processes  # noqa: E402
from jupyter_client.kernelspec import KernelSpecManager  # noqa: E402

NEEDS, LEFT = 1.2e9, 2 * 2**30


def pss(pids):
    """Megabytes, by program."""
    found = {}
    for pid in pids:
        try:
            lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        words = processes.command(pid)
        name = pathlib.Path(words[0]).name if words else "?"
        if name == "exe" or name == "igpt":
            name = f"igpt {words[1]}"
        kilobytes = next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
        found[name] = found.get(name, 0) + kilobytes * 1024 / 1e6
    return found


def available():
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) * 1024


def show(parts):
    parts = sorted(((value, name) for name, value in parts.items()), reverse=True)
    return f"{sum(value for value, _ in parts):.0f} MB (" + ", ".join(f"{name} {value:.0f}" for value, name in parts if value >= 1) + ")"


def main():
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    name = sys.argv[2] if len(sys.argv) > 2 else "igpt"
    if name == "igpt":
        words = KernelSpecManager().get_kernel_spec(name).argv
        spare = measure.Spare(words[0], words[words.index("--root") + 1])
        spare.make()
        time.sleep(2)
        print(f"a spare: {show(pss(processes.below(spare.pid)))}", flush=True)
        spare.end()
    room = int((available() - LEFT) / NEEDS)
    number = min(wanted, room)
    if number < wanted:
        print(f"there is memory for {room}, so {number} are started, not {wanted}")
    kernels, took, begin = [None] * number, [None] * number, time.perf_counter()

    def start(at):
        kernels[at] = measure.Kernel(name=name)
        kernels[at].run(measure.OURS.tensor, until=measure.OURS.printed)
        took[at] = time.perf_counter() - begin

    threads = [threading.Thread(target=start, args=[at]) for at in range(number)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    try:
        time.sleep(2)
        print(f"{number} at once, first tensors after: " + ", ".join("failed" if t is None else f"{t:.1f}" for t in sorted(took, key=lambda t: t or 0)) + " s")
        everyone = [processes.below(kernel.manager.provisioner.process.pid) for kernel in kernels if kernel]
        for pids in everyone:
            print(f"  {show(pss(pids))}")
        print(f"together: {show(pss(set().union(*everyone)))}", flush=True)
    finally:
        [kernel.end() for kernel in kernels if kernel]
    sys.exit(None in took)


main()
