"""Kernels killed at random moments leave nothing behind, and the next one starts as quickly as ever.

    .venv/bin/python tests/jupyter/killed.py [kernels, 50] [at once, 3] [seed, 1]

Each kernel is started by a launcher, as a Jupyter server would, and gets a tensor cell to run. At a random moment of its
first 12 seconds SIGKILL hits, in turns: the kernel, its launcher, evcxr, the process that runs the cells, a compiler, or
all but the process that runs the cells; or the kernel, if what is wanted is not there by then. Then compilers are killed below one
kernel, which must run the next cells as if nothing had been. Afterwards: no process, no locked slot, no slot that a kernel cannot use; and the
first tensor of the next kernels takes about what it took before. Needs `igpt setup` and tests/jupyter/requirements.txt.
Exits 1 if something was left."""

import collections
import os
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
import uuid

import measure
import processes

TENSOR = 'println!("{}", Tensor::arange(0f32, 4., &Device::Cpu)?.sum_all()?);'
ALL_BUT_CELLS = "all but the cells"
TARGETS = ["kernel", "launcher", "evcxr", "cells", "compiler", ALL_BUT_CELLS]
# All that a kernel starts inherits this.
MARK = "IGPT_KILLED_TEST"

# The launcher: starts a kernel, sends it a cell as soon as it answers, and waits for its own end.
LAUNCHER = f"""
import time
from jupyter_client.manager import KernelManager
manager = KernelManager(kernel_name="igpt")
manager.start_kernel()
print(manager.provisioner.process.pid, flush=True)
client = manager.client()
client.start_channels()
try:
    client.wait_for_ready(timeout=60)
    client.execute({TENSOR!r})
except RuntimeError:
    pass  # It was killed meanwhile.
time.sleep(600)
"""


def first_tensor():
    """Seconds from the start of a kernel to the end of its first cell, which prints a tensor."""
    kernel = measure.Kernel()
    try:
        kernel.run(TENSOR, until="6", timeout=600)
        return time.perf_counter() - kernel.start
    finally:
        kernel.end()


def find(target, launcher, kernel):
    """The processes to kill; none if what is wanted is not there (yet)."""
    if target == "launcher":
        return [launcher]
    if target == "kernel":
        return [kernel]
    found, others = [], []
    for pid in processes.below(kernel) - {kernel}:
        words = processes.command(pid)
        name = pathlib.Path(words[0]).name if words else ""
        is_evcxr = name == "evcxr_jupyter" and "--control_file" in words
        is_of_cells = name == "evcxr_jupyter" and not is_evcxr
        is_compiler = name in ("rustc", "cargo", "ld", "ld.lld", "rust-lld", "cc")
        if {"evcxr": is_evcxr, "cells": is_of_cells, "compiler": is_compiler, ALL_BUT_CELLS: is_of_cells}[target]:
            found.append(pid)
        if not is_of_cells and not is_compiler:
            others.append(pid)
    if target == ALL_BUT_CELLS and found:
        return [*others, launcher, kernel]
    return found and [min(found)]


def kill_one(number, choice, seen):
    """Starts a kernel, kills something of it at a random moment, and waits until all of it is gone."""
    mark = uuid.uuid4().hex
    log = open("target/killed.log", "a")
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER], stdout=subprocess.PIPE, stderr=log, text=True,
                                env={**os.environ, MARK: mark}, start_new_session=True)
    start = time.monotonic()
    kernel = int(launcher.stdout.readline())
    target, moment = TARGETS[number % len(TARGETS)], choice.uniform(0, 12)
    time.sleep(max(0, moment - (time.monotonic() - start)))
    # What is not there at its moment cannot be killed: wait a little, then take the kernel.
    victims = []
    # The cells' process is there after some seconds, a compiler now and then.
    for _ in range({"compiler": 40, ALL_BUT_CELLS: 400}.get(target, 1)):
        victims = find(target, launcher.pid, kernel)
        if victims:
            break
        time.sleep(0.05)
    if not victims:
        target, victims = f"kernel (no {target} yet)", [kernel]
    others = processes.marked(MARK, mark)
    # Of several none shall see another one's end and do something about it.
    for victim, kind in [(victim, kind) for kind in [signal.SIGSTOP, signal.SIGKILL] for victim in victims]:
        try:
            os.kill(victim, kind)
        except ProcessLookupError:
            target += " (gone already)" if len(victims) == 1 else ""
    # A kernel whose evcxr was killed lives on and says so; its launcher's end is its end.
    survives = target in ("evcxr", "cells", "compiler")
    time.sleep(0.5)
    if survives and processes.command(kernel):
        seen["kernels that outlived their " + target] += 1
    launcher.kill()
    launcher.wait()
    deadline = time.monotonic() + 15
    while (left := processes.marked(MARK, mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    waited = 15 - (deadline - time.monotonic())
    for pid in left:
        print(f"  LEFT by {number} ({target} killed at {moment:.1f} s): {pid} {' '.join(processes.command(pid))[:120]}")
        os.kill(pid, signal.SIGKILL)
    print(f"  {number:2}: {target} killed at {moment:4.1f} s, {len(others)} processes; all gone {waited:.1f} s later", flush=True)
    seen["killed: " + target] += 1
    seen["left"] += len(left)
    seen["slowest end"] = max(seen["slowest end"], waited)


def slots():
    """The numbered slots of this checkout, and the lines of those that are in use."""
    program = pathlib.Path(os.environ.get("IGPT", "target/release/igpt"))
    said = subprocess.run([program, "kernel", "--list"], capture_output=True, text=True, check=True).stdout
    print(said, flush=True)
    checkout, own, in_use = None, [], []
    for line in said.splitlines():
        if line.startswith("/"):
            checkout = line
        elif checkout == str(pathlib.Path.cwd()) and line.split()[:1] and line.split()[0].isdigit():
            own.append(line.split()[0])
            in_use.extend([line] if "in use" in line else [])
    return own, in_use


def kill_compilers(count, choice):
    """Compilers killed at random moments below a kernel that lives on: how many cells after that did not do what they say."""
    kernel, killed, wrong = measure.Kernel(), 0, 0
    try:
        kernel.run(TENSOR, until="6", timeout=600)
        root = kernel.manager.provisioner.process.pid
        for number in range(count):
            request = kernel.client.execute(f'println!("{{}}", Tensor::new(&[{number}f32, 1.], &Device::Cpu)?);')
            time.sleep(choice.uniform(0, 0.4))
            compilers = [pid for pid in processes.below(root) if processes.command(pid)[:1] and
                         pathlib.Path(processes.command(pid)[0]).name == "rustc"]
            for pid in compilers:
                try:
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
                except ProcessLookupError:
                    pass
            while kernel.client.get_shell_msg(timeout=60)["parent_header"].get("msg_id") != request:
                pass
            try:
                kernel.run(f'println!("after {{}}", {number} + 1000);', until=f"after {number + 1000}", timeout=60)
            except AssertionError as error:
                wrong += 1
                print(f"  a cell after a killed compiler: {error}"[:300], flush=True)
    finally:
        kernel.end()
    print(f"{killed} compilers killed below a live kernel; cells after that which went wrong: {wrong} of {count}", flush=True)
    return wrong


def first_tensors_at_once(number):
    """None for a kernel that did not get so far."""
    took = [None] * number

    def work(index):
        try:
            took[index] = first_tensor()
        except Exception as error:
            print(f"  kernel {index}: {error!r}", flush=True)

    workers = [threading.Thread(target=work, args=[index]) for index in range(number)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return took


def main():
    count, at_once, seed = (int(text) for text in (sys.argv[1:] + ["50", "3", "1"][len(sys.argv) - 1:]))
    pathlib.Path("target").mkdir(exist_ok=True)
    _, others = slots()
    others = {line.split()[0] for line in others}
    starts = 3 if count >= 20 else 1
    before = [first_tensor() for _ in range(starts)]
    print(f"before: first tensor after {', '.join(f'{t:.1f}' for t in before)} s", flush=True)
    seen, lock = collections.Counter(), threading.Lock()
    numbers = iter(range(1, count + 1))

    def work():
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            # A choice of its own for each, whatever the threads do.
            kill_one(number, random.Random(seed * 1000 + number), seen)

    workers = [threading.Thread(target=work) for _ in range(at_once)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    wrong = kill_compilers(count, random.Random(seed))
    # The lowest slot first, and then all that were in use, at once: each must be fit for use.
    after = [first_tensor() for _ in range(starts)]
    own, _ = slots()
    together = first_tensors_at_once(min(len(set(own) - others), 8))
    deadline = time.monotonic() + 5
    while True:
        locked = [line for line in slots()[1] if line.split()[0] not in others]
        if not locked or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    for what, number in sorted(seen.items()):
        print(f"{what}: {number:.1f}" if isinstance(number, float) else f"{what}: {number}")
    shown = ["failed" if took is None else f"{took:.1f}" for took in together]
    print(f"{len(together)} kernels at once after that: first tensor after {', '.join(shown)} s")
    print(f"one at a time: {', '.join(f'{t:.1f}' for t in after)} s (before: {', '.join(f'{t:.1f}' for t in before)} s)")
    print(f"locked slots: {locked or 'none'}")
    slow = statistics.median(after) > 1.5 * statistics.median(before) + 1
    sys.exit(bool(seen["left"] or wrong or locked or None in together or slow))


main()
