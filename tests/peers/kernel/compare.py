"""How long a user waits for a notebook's kernel: ours, stock evcxr and ipykernel with PyTorch, in turns on one machine.

    tests/peers/kernel/run.sh [--rounds 5] [--variants igpt,spare,static,dylib,torch]

The variants:

* `igpt`: our kernel, as its kernelspec starts it;
* `spare`: the same below `igpt lab`, which has kept an engine ready, at its start and at its restart;
* `static`: stock evcxr_jupyter (the same program) with the same library, linked statically into each cell, as evcxr
  links any dependency (gradients are wrong then, see docs/evcxr.md);
* `dylib`: the same with the library as the shared library that it is with us;
* `torch`: ipykernel, whose cells import PyTorch.

Stock evcxr builds in a temporary folder, so each launch would compile all dependencies for minutes. Here it has a folder
per variant (EVCXR_TMPDIR) that an unmeasured launch has warmed, and cargo does not ask the registry (CARGO_NET_OFFLINE):
the best that a user can get from it by settings. All have the same Rust. Its first cell has to name its dependency; our
kernel's and Python's need no more than they show. Each round starts two kernels of each variant: one for all but the last
row, one for that. The order of the variants turns with the rounds."""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

from jupyter_client.kernelspec import KernelSpecManager

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "jupyter"))

import measure  # noqa: E402
import stock  # noqa: E402

PYTHON = measure.Cells(
    tensor="import torch\nprint(torch.arange(4.))",
    printed="3.",
    let="measured = torch.zeros(2, 2)",
    println="print(1)",
    expression="1 + 1",
    completion="torch.zer",
    completed="zeros",
)


def cells_of_stock(dependency):
    prelude = f":dep igpt = {{ path = {json.dumps(str(dependency))} }}\nuse igpt::prelude::*;\n"
    return measure.Cells(**{**vars(measure.OURS), "tensor": prelude + measure.OURS.tensor})


def library(folder, crate_types):
    """A copy of the library as a crate of these types, alone in a workspace with the checkout's settings."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "kernel-lib", ignore_errors=True)
    # With their times, by which cargo knows what is up to date.
    for sources in ("src", "formats"):
        shutil.copytree(ROOT / "kernel-lib" / sources, folder / "kernel-lib" / sources)
    for script in ROOT.glob("kernel-lib/build.rs"):
        shutil.copy2(script, folder / "kernel-lib")
        shutil.copytree(ROOT / "kernel-lib" / "build", folder / "kernel-lib" / "build")
    manifest = (ROOT / "kernel-lib" / "Cargo.toml").read_text()
    # Examples, benchmarks and tests lie elsewhere.
    manifest = "".join(part for part in re.split(r"(?m)^(?=\[)", manifest)
                       if not re.match(r"\[(\[(example|bench|test|bin)\]|dev-dependencies)", part))
    manifest, changed = re.subn(r"crate-type *= *\[[^\]]*\]", f"crate-type = {json.dumps(crate_types)}", manifest)
    assert changed == 1, "the library's manifest names no crate types"
    write_if_different(folder / "kernel-lib" / "Cargo.toml", manifest, like=ROOT / "kernel-lib" / "Cargo.toml")
    workspace = re.sub(r"(?m)^members *=.*$", 'members = ["kernel-lib", "kernel-lib/formats"]', (ROOT / "Cargo.toml").read_text())
    write_if_different(folder / "Cargo.toml", workspace, like=ROOT / "Cargo.toml")
    return folder / "kernel-lib"


def write_if_different(file, text, like):
    if not file.exists() or file.read_text() != text:
        file.write_text(text)
    shutil.copystat(like, file)


class Variants:
    def __init__(self, names):
        self.names = names
        self.specs = tempfile.TemporaryDirectory()
        # Not in the checkout: cargo would take evcxr's package for a member of its workspace.
        self.work = stock.CACHE / "peers" / "kernel"
        toolchain = re.search(r'channel *= *"([^"]+)"', (ROOT / "rust-toolchain.toml").read_text())[1]
        rustc = {**os.environ, "RUSTUP_TOOLCHAIN": toolchain}
        libdir = subprocess.run(["rustc", "--print", "target-libdir"], env=rustc, check=True, text=True,
                                capture_output=True).stdout.strip()
        triple = pathlib.Path(libdir).parent.name
        self.cells = {"igpt": measure.OURS, "spare": measure.OURS, "torch": PYTHON}
        self.environments = {"torch": None}
        words = KernelSpecManager().get_kernel_spec("igpt").argv
        self.spare = measure.Spare(words[0], words[words.index("--root") + 1])
        ipykernel = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        stock.name(self.specs.name, "torch", ipykernel)
        for name, types in [("static", ["lib"]), ("dylib", ["lib", "dylib"])]:
            if name not in names:
                continue
            folder = self.work / name
            self.cells[name] = cells_of_stock(library(folder / "library", types))
            cell = folder / "cell"
            (folder / "config").mkdir(exist_ok=True)
            # rustc's note of where a cell's shared libraries lie is wrong once evcxr has moved the cell.
            paths = [libdir, str(cell / "target" / triple / "debug" / "deps")]
            self.environments[name] = {
                **stock.environment(folder / "config"), "EVCXR_TMPDIR": str(cell),
                "EVCXR_CONFIG_DIR": str(folder / "config"), "RUSTUP_TOOLCHAIN": toolchain,
                "LD_LIBRARY_PATH": os.pathsep.join(paths), "IGPT_ROOT": str(ROOT),
            }
            cell.mkdir(exist_ok=True)
            stock.name(self.specs.name, name, stock.EVCXR)

    def kernel(self, name, offline=True):
        """How to start it."""
        if name == "igpt":
            return {"name": "igpt"}
        if name == "spare":
            return {"name": "igpt", "env": self.spare.env, "spare": self.spare}
        env = self.environments[name]
        if env and offline:
            env = {**env, "CARGO_NET_OFFLINE": "true"}
        return {"name": name, "spec_manager": stock.manager(self.specs.name), "env": env}

    def warm(self):
        """One unmeasured launch of each: compiles, and fills caches."""
        for name in self.names:
            begin = time.perf_counter()
            measure.measure_late(self.cells[name], wait=0, **self.kernel(name, offline=False))
            print(f"{name}: warmed in {time.perf_counter() - begin:.0f} s", flush=True)

    def round(self, number, results):
        turn = number % len(self.names)
        for name in self.names[turn:] + self.names[:turn]:
            result = measure.measure(self.cells[name], **self.kernel(name))
            result["later"] = measure.measure_late(self.cells[name], **self.kernel(name))
            results[name].append(result)
            shown = ", ".join(f"{what} {measure.show(result[what])}" for what in measure.WHAT)
            print(f"round {number + 1}: {name}: {shown}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--variants", default="igpt,spare,static,dylib,torch")
    arguments = parser.parse_args()
    names = arguments.variants.split(",")
    variants = Variants(names)
    variants.warm()
    results = {name: [] for name in names}
    try:
        for number in range(arguments.rounds):
            variants.round(number, results)
    finally:
        variants.spare.end()
    print(f"\nmedians of {arguments.rounds} rounds (smallest to largest)\n")
    print("| | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for what, text in measure.WHAT.items():
        row = []
        for name in names:
            values = [result[what] for result in results[name] if result[what] is not None]
            row.append(f"{measure.show(measure.median(values))} ({measure.show(min(values))} to {measure.show(max(values))})" if values else "–")
        print(f"| {text} | " + " | ".join(row) + " |")


main()
