#!/usr/bin/env python3
"""Times the library against PyTorch on a GPU, in turns: training, features, sampling; the identical network, parameters and
tokens. Both sides are processes that answer lines (gpu_peer.rs, gpu_torch.py), and give their memory back after each case.

    compare.py --ours "target/gpu/gpu_peer" --torch "python3 tests/peers/gpu/gpu_torch.py" --out FOLDER [--seconds 270]

What matters most comes first; no case begins after so many seconds, and what was not measured is said. FOLDER gets
benchmark.jsonl, every single measurement, and benchmark.md, medians over rounds.

MFU: operations of the network's products, 6 for each weight of a matrix and token, and 6 L T C a token for attention, whose
causal half is counted once; over the rate of a product of two 8192 x 8192 matrices in bf16 that is measured in the same run.
"""

import argparse
import datetime
import json
import math
import os
import pathlib
import select
import shlex
import statistics
import subprocess
import tempfile
import time

import numpy as np

SHAPES = {  # layers, width, heads, tokens, colours
    "iGPT-S": (24, 512, 8, 1024, 512),
    "10M": (12, 256, 8, 1024, 512),
}
# Shape, precision, images, what is timed, and PyTorch's ways to do it.
CASES = [
    ("iGPT-S", "bf16", 32, "train", ["eager", "compile"]),
    ("10M", "bf16", 64, "train", ["eager", "compile"]),
    ("iGPT-S", "bf16", 64, "train", ["eager"]),
    ("iGPT-S", "bf16", 16, "train", ["eager"]),
    ("10M", "bf16", 128, "train", ["eager"]),
    ("10M", "f32", 64, "features", ["eager"]),
    ("10M", "f32", 64, "sample", ["eager"]),
    ("iGPT-S", "tf32", 16, "train", ["eager"]),
    ("iGPT-S", "f32", 16, "train", ["eager"]),
    ("iGPT-S", "f32", 32, "features", ["eager"]),
    ("10M", "f32", 256, "sample", ["eager"]),
    ("iGPT-S", "f32", 64, "sample", ["eager"]),
    ("10M", "tf32", 64, "train", ["eager"]),
    ("10M", "f32", 64, "train", ["eager"]),
    ("iGPT-S", "f32", 256, "sample", ["eager"]),
]
TINY = {"tiny": (2, 64, 2, 64, 32)}
TINY_CASES = [
    ("tiny", "f32", 4, "train", ["eager", "compile"]),
    ("tiny", "bf16", 4, "train", ["eager"]),
    ("tiny", "f32", 4, "features", ["eager"]),
    ("tiny", "f32", 4, "sample", ["eager"]),
]


class Side:
    """A process that is asked line by line; killed if it does not answer in time, and started again when asked again."""

    def __init__(self, name, command, log):
        self.name, self.command, self.log, self.process = name, shlex.split(command), log, None

    def ask(self, *words, seconds=60):
        if self.process is None:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log)
        try:
            self.process.stdin.write((" ".join(map(str, words)) + "\n").encode())
            self.process.stdin.flush()
            line, end = b"", time.monotonic() + seconds
            while not line.endswith(b"\n"):
                if not select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))[0]:
                    raise TimeoutError(f"no answer in {seconds} s")
                more = os.read(self.process.stdout.fileno(), 1 << 16)
                if not more:
                    raise EOFError("it ended")
                line += more
            answer = json.loads(line)
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            self.close()
            answer = {"error": f"{type(error).__name__}: {error}"}
        if "error" in answer:
            raise RuntimeError(f"{self.name}, {' '.join(map(str, words[:2]))}: {answer['error']}")
        return answer

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def operations(shape):
    """Of a training step, per token."""
    layers, width, _, tokens, colours = shape
    return 6 * (12 * layers * width**2 + colours * width) + 6 * layers * tokens * width


class Bench:
    def __init__(self, arguments, folder, log):
        self.arguments, self.folder, self.rate = arguments, folder, None
        self.ours = Side("ours", arguments.ours, log)
        self.torch = Side("torch", arguments.torch, log)
        self.out = pathlib.Path(arguments.out)
        self.raw = open(self.out / "benchmark.jsonl", "w")
        self.rows, self.notes, self.device, self.version = [], [], "", ""
        self.files = {}

    def inputs(self, name, shape, images):
        """Files of parameters and tokens, the same for both sides."""
        layers, width, _, tokens, colours = shape
        rng = np.random.default_rng(1)
        if name not in self.files:
            ones, normal = lambda n: np.ones(n), lambda *n: 0.05 * rng.standard_normal(math.prod(n), dtype=np.float32)
            flat = [normal(colours, width), normal(width), normal(tokens, width)]
            for _ in range(layers):
                flat += [ones(width), normal(width, 3 * width), normal(width, width),
                         ones(width), normal(width, 4 * width), normal(4 * width, width)]
            flat += [ones(width), normal(colours, width)]
            self.files[name] = f"{self.folder}/{name}.f32"
            np.concatenate(flat).astype("<f4").tofile(self.files[name])
        file = f"{self.folder}/tokens.u16"
        rng.integers(colours, size=(images, tokens)).astype("<u2").tofile(file)
        return self.files[name], file

    def case(self, name, precision, images, what, modes):
        shape = self.arguments.shapes[name]
        parameters, tokens = self.inputs(name, shape, images)
        start = [precision, ",".join(map(str, shape)), images, parameters]
        # One side is measured even if the other cannot be.
        ours, torch, contestants = {}, {}, {}
        try:
            ours = self.ours.ask("start", *start, seconds=90)
            self.ours.ask("tokens", tokens)
            contestants["ours"] = lambda *words, **more: self.ours.ask(*words, **more)
        except RuntimeError as error:
            self.note(name, precision, images, what, error)
        try:
            torch = self.torch.ask("start", *start, ",".join(modes), seconds=120)
            self.torch.ask("tokens", tokens)
            self.version = torch["torch"]
            for mode in modes:
                contestants[mode] = lambda *words, mode=mode, **more: self.torch.ask(mode, *words, **more)
        except RuntimeError as error:
            self.note(name, precision, images, what, error)
        self.device = ours.get("device") or torch.get("device") or self.device
        row = {"shape": name, "precision": precision, "batch": images, "what": what, "predicted": ours.get("predicted"),
               "attention": torch.get("attention")}
        units = images if what != "train" else images * shape[3]

        # What comes first makes room, compiles, and shows that both compute the same.
        words = {"train": ["train", 3], "features": ["features"], "sample": ["sample", images, shape[3] - 8]}[what]
        first = {}
        for side in list(contestants):
            try:
                first[side] = contestants[side](*words, seconds=150)
            except RuntimeError as error:
                del contestants[side]
                self.note(name, precision, images, what, error)
        same = {"train": "loss", "features": "square"}.get(what)
        if same and "eager" in first and "ours" in first:
            a, b = first["ours"][same], first["eager"][same]
            row["same"] = abs(a / b - 1)
            bound = {"f32": 1e-4, "tf32": 1e-3, "bf16": 1e-2}[precision]
            if not row["same"] < bound:
                self.note(name, precision, images, what, f"{same} differs: ours {a}, PyTorch's {b}")

        words = {"train": ["train", 1], "features": ["features"], "sample": ["sample", images]}[what]
        rounds = 2 if what == "sample" else self.arguments.rounds
        found = {side: [] for side in contestants}
        steps = {side: 1 for side in contestants}
        for number in range(rounds):
            for side in list(contestants):
                try:
                    if what == "train":
                        if number == 0:  # As many steps as fill two thirds of a second.
                            once = contestants[side]("train", 2)["seconds"] / 2
                            steps[side] = max(2, min(50, round(self.arguments.least / once)))
                        words = ["train", steps[side]]
                    answer = contestants[side](*words, seconds=90)
                except RuntimeError as error:
                    self.note(name, precision, images, what, error)
                    del contestants[side]
                    continue
                found[side].append(units * steps[side] / answer["seconds"])
                self.raw.write(json.dumps({**row, "contestant": side, "round": number, **answer}) + "\n")
                self.raw.flush()
        for side, rates in found.items():
            side = side.replace("max-autotune", "compile")  # The tables' column for both.
            if rates:
                row[side] = statistics.median(rates)
                row[f"{side} range"] = [min(rates), max(rates)]
        for other in modes:
            pairs = list(zip(found.get("ours", []), found.get(other, [])))
            if pairs:
                row[f"over {other.replace('max-autotune', 'compile')}"] = statistics.median(a / b for a, b in pairs)
        for side, key in [(self.ours, "used"), (self.torch, "torch used")]:
            try:
                row[key] = side.ask("memory")["used"]
            except RuntimeError:
                row[key] = None
        if any(found.values()):
            self.rows.append(row)

    def note(self, name, precision, images, what, text):
        self.notes.append(f"{name}, {precision}, batch {images}, {what}: {text}")
        print("note:", self.notes[-1], flush=True)

    def run(self):
        try:
            self.rate = self.torch.ask("matmul", self.arguments.matmul, seconds=120)["rate"]
        except RuntimeError as error:
            self.notes.append(str(error))
        begin = time.monotonic()
        for case in self.arguments.cases:
            if time.monotonic() - begin > self.arguments.seconds:
                self.note(*case[:4], "not measured: no time was left")
                continue
            at = time.monotonic()
            try:
                self.case(*case)
            except RuntimeError as error:
                self.note(*case[:4], error)
            for side in (self.ours, self.torch):
                try:
                    side.ask("stop")
                except RuntimeError:
                    side.close()
            print(f"{case[:4]}: {time.monotonic() - at:.1f} s", flush=True)
            self.report()
        self.ours.close()
        self.torch.close()
        self.report()

    def report(self):
        number = lambda x: "" if x is None else f"{x:,.0f}" if x >= 100 else f"{x:.2f}"
        ratio = lambda x: "" if x is None else f"{x:.2f}"
        gigabytes = lambda x: "" if x is None else f"{x / 1e9:.1f}"
        lines = [
            f"# The library against PyTorch {self.version} on {self.device}, {datetime.date.today()}", "",
            f"{self.arguments.about}".strip(), "",
            f"A product of two {self.arguments.matmul}² matrices in bf16: "
            + (f"{self.rate / 1e12:.1f} TFLOP/s." if self.rate else "not measured."),
            f"Medians of {self.arguments.rounds} rounds (of 2 for samples), in turns; training in tokens/s, features and "
            "samples in images/s. A ratio is the median of the rounds' ratios. Features and samples of ours are f32.", "",
            "| network | precision | batch | what | ours | (range) | eager | compile | ours/eager | ours/compile "
            "| MFU ours | eager | compile | GB ours, predicted | GB PyTorch | attention there |",
            "|" + "---|" * 16,
        ]
        for row in self.rows:
            mfu = lambda side: ""
            if row["what"] == "train" and self.rate:
                share = operations(self.arguments.shapes[row["shape"]]) / self.rate
                mfu = lambda side: f"{100 * share * row[side]:.1f} %" if side in row else ""
            low, high = row.get("ours range", [None, None])
            lines.append("| " + " | ".join([
                row["shape"], row["precision"], str(row["batch"]), row["what"],
                number(row.get("ours")), f"{number(low)} to {number(high)}" if low else "", number(row.get("eager")),
                number(row.get("compile")), ratio(row.get("over eager")), ratio(row.get("over compile")),
                mfu("ours"), mfu("eager"), mfu("compile"),
                f"{gigabytes(row['used'])}, {gigabytes(row['predicted'])}", gigabytes(row["torch used"]),
                row["attention"] or ""]) + " |")
        best = {}
        for row in self.rows:
            if row["what"] == "train":
                for side in ("ours", "eager", "compile"):
                    key = (row["shape"], row["precision"], side)
                    if row.get(side, 0) > best.get(key, (0, 0))[0]:
                        best[key] = (row[side], row["batch"])
        lines += ["", "Best batch: " + "; ".join(
            f"{shape}, {precision}, {side}: {number(rate)} tokens/s at {batch}"
            for (shape, precision, side), (rate, batch) in best.items()) + "."]
        worst = max((row["same"] for row in self.rows if "same" in row), default=None)
        if worst is not None:
            lines += ["", f"Third losses and features of both sides differ by {worst:.1e} of their size at most."]
        lines += [""] + [f"- {note}" for note in self.notes]
        (self.out / "benchmark.md").write_text("\n".join(lines) + "\n")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--ours", required=True)
    arguments.add_argument("--torch", required=True)
    arguments.add_argument("--out", required=True)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--least", type=float, default=0.7, help="seconds of steps in a round")
    arguments.add_argument("--seconds", type=float, default=270)
    arguments.add_argument("--matmul", type=int, default=8192)
    arguments.add_argument("--about", default="", help="what is said of the machine")
    arguments.add_argument("--max-autotune", action="store_true", help="compile for minutes, too")
    arguments.add_argument("--tiny", action="store_true", help="small shapes, to try it out on a CPU")
    arguments = arguments.parse_args()
    arguments.shapes, arguments.cases = (TINY, TINY_CASES) if arguments.tiny else (SHAPES, CASES)
    if arguments.max_autotune:
        arguments.cases = [
            (*case[:4], ["max-autotune" if mode == "compile" else mode for mode in case[4]]) for case in arguments.cases]
    pathlib.Path(arguments.out).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, open(f"{arguments.out}/benchmark.log", "w") as log:
        Bench(arguments, folder, log).run()


if __name__ == "__main__":
    main()
