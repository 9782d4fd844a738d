"""How long a kernel takes to start: from its start to the first tensor printed, and then for small cells.

    .venv/bin/python tests/jupyter/start.py [rounds] [kernel name]

Every round starts fresh kernels (warm: `igpt setup` ran before), as any Jupyter client does. Prints each round and the
medians; memory is that of the kernel's process and all that it started, summed. tests/peers/kernel compares with others."""

import sys

import measure


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    kernel = sys.argv[2] if len(sys.argv) > 2 else "igpt"
    results = []
    for number in range(rounds):
        result = measure.measure(measure.OURS, name=kernel)
        result["later"] = measure.measure_late(measure.OURS, name=kernel)
        results.append(result)
        shown = ", ".join(f"{text} {measure.show(result[what])}" for what, text in measure.WHAT.items())
        print(f"round {number + 1}: {shown}", flush=True)
    for what, text in measure.WHAT.items():
        print(f"median of {rounds}: {text} {measure.show(measure.median([result[what] for result in results]))}")


main()
