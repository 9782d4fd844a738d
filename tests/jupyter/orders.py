"""All notebooks with networks of seconds, on one, two and three threads, in different orders, each time from an empty experiment store:
their outputs are the same.

    python3 tests/jupyter/orders.py [--orders 3] [--seed 1] [--jobs 2] [--out target/orders] [NOTEBOOK]...

The first run takes the notebooks in the runner's own order, the others in random ones. Compared are all outputs of all cells, but of
those tagged `volatile`. About ten minutes a run on two cores. Exits 1 if a notebook failed or an output differs."""

import argparse
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def execute(number, names, arguments):
    """Executes the notebooks; returns the folder with what they say."""
    folder = pathlib.Path(arguments.out).resolve() / str(number)
    shutil.rmtree(folder, ignore_errors=True)
    settings = {**os.environ, "IGPT_STORE": str(folder / "store"), "RAYON_NUM_THREADS": str(number), "IGPT_DEVICE": "cpu"}
    command = [ROOT / "igpt", "run", "--profile", "smoke", "--jobs", str(arguments.jobs), "--out", folder, *names]
    print(f"{number} threads: {' '.join(names) or 'all'}", flush=True)
    (folder / "store").mkdir(parents=True)
    with open(folder / "log", "w") as log:
        ended = subprocess.run(command, cwd=ROOT, env=settings, stdout=log, stderr=subprocess.STDOUT)
    if ended.returncode:
        sys.exit(f"a notebook failed: see {folder / 'log'}")
    return folder


def outputs(notebook):
    """What each code cell shows that is compared."""
    found = []
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["cell_type"] == "code":
            volatile = "volatile" in cell["metadata"].get("tags", [])
            kept = [{k: v for k, v in output.items() if k not in ("execution_count", "metadata")} for output in cell["outputs"]]
            found.append(("".join(cell["source"]), None if volatile else kept))
    return found


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("notebooks", nargs="*", metavar="NOTEBOOK")
    arguments.add_argument("--orders", type=int, default=3)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--jobs", type=int, default=2)
    arguments.add_argument("--out", default="target/orders")
    arguments = arguments.parse_args()
    choice = random.Random(arguments.seed)
    first = execute(1, arguments.notebooks, arguments)
    names = sorted(path.stem for path in first.glob("*.ipynb"))
    if not names:
        sys.exit("nothing was executed")
    expected = {name: outputs(first / f"{name}.ipynb") for name in names}
    different = 0
    for number in range(2, arguments.orders + 1):
        order = choice.sample(names, len(names))
        folder = execute(number, order, arguments)
        for name in names:
            found = outputs(folder / f"{name}.ipynb")
            if len(found) != len(expected[name]):
                sys.exit(f"{name} has {len(found)} cells, not {len(expected[name])}")
            for at, (mine, theirs) in enumerate(zip(found, expected[name])):
                if mine != theirs:
                    different += 1
                    print(f"DIFFERENT: {name}, code cell {at + 1}: {mine[0].splitlines()[-1]}")
    cells = sum(shown is not None for found in expected.values() for _, shown in found)
    compared = sum(bool(shown) for found in expected.values() for _, shown in found)
    print(f"{len(names)} notebooks, {cells} cells, {compared} of them with outputs, in {arguments.orders} runs: {different} differ")
    sys.exit(different > 0)


main()
