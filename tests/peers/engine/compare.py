#!/usr/bin/env python3
"""Times the engine against PyTorch on the CPU: see run.sh. Both sides have the same parameters and tokens, and what
they compute is compared before it is timed. Rounds go in turn through all contestants; printed are medians of single
steps, and the median over rounds of a contestant's time over ours.

The network is that of ../torch_gpt.py; AdamW is PyTorch's fused one.
"""

import argparse
import contextlib
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from torch_gpt import Gpt

SIZES = {  # layers, width, heads, tokens, colours, images
    "a": (4, 128, 4, 196, 65, 16),
    "b": (6, 256, 8, 256, 513, 8),
    "c": (12, 256, 8, 1024, 512, 2),
    # Other widths of a head (12, 48, 64), odd lengths and vocabularies.
    "d": (3, 60, 5, 101, 40, 24),
    "e": (6, 96, 2, 169, 33, 16),
    "f": (4, 192, 3, 399, 257, 4),
    "quick": (12, 64, 2, 196, 16, 32),
}
# Elsewhere products of bf16 are computed in many steps, by both sides.
HAS_BF16 = "AVX512" in torch.backends.cpu.get_cpu_capability() and "avx512_bf16" in pathlib.Path("/proc/cpuinfo").read_text()
THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))


def trainer(flat, shape, tokens, compiled=False, low=False):
    """A function that makes one training step and returns its loss."""
    net = Gpt(*shape)
    net.load(flat)
    # The library's default settings, and a decay so that the fused kernel has all its work.
    adam = torch.optim.AdamW(net.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    loss_of = torch.compile(net.loss) if compiled else net.loss

    def step():
        with torch.autocast("cpu", dtype=torch.bfloat16) if low else contextlib.nullcontext():
            loss = loss_of(tokens)
        loss.backward()
        adam.step()
        adam.zero_grad(set_to_none=True)
        return loss.item()

    return step


def generator(shape, count):
    """transformers' generate, for an ImageGPT of the same shape with random parameters."""
    import transformers
    layers, width, heads, tokens, colours = shape
    config = transformers.ImageGPTConfig(
        vocab_size=colours + 1, n_positions=tokens, n_embd=width, n_layer=layers, n_head=heads,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
    net = transformers.ImageGPTForCausalImageModeling(config).eval()
    start = torch.full((count, 1), colours)

    def run():
        with torch.inference_mode():
            net.generate(input_ids=start, max_length=tokens, do_sample=True, temperature=1.0, top_k=0)

    return run


class Ours:
    def __init__(self, program, precision, shape, parameters, tokens):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        print(f"ours, {precision}:", self.ask("start", precision, *shape, parameters, tokens))

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def timed(f, n=1):
    seconds = []
    for _ in range(n):
        start = time.perf_counter()
        f()
        seconds.append(time.perf_counter() - start)
    return seconds


def report(what, rounds):
    """rounds: a list of {name: [seconds]}, ours first."""
    for name in rounds[0]:
        median = statistics.median(s for r in rounds for s in r[name])
        ratios = [statistics.median(r[name]) / statistics.median(r["ours"]) for r in rounds]
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})" if name != "ours" else ""
        print(f"{what:>12} | {name:22} | {1e3 * median:9.1f} ms | {statistics.median(ratios):5.2f} x {spread}", flush=True)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--ours", required=True)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--sizes", default="a,b,c,d,e,f")
    arguments.add_argument("--what", default="train,features,sample")
    arguments.add_argument("--steps", type=int, default=3, help="training steps of a round")
    arguments.add_argument("--no-compile", action="store_true")
    arguments = arguments.parse_args()
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {THREADS} threads, {torch.backends.cpu.get_cpu_capability()}")
    for size in arguments.sizes.split(","):
        *shape, images = SIZES[size]
        layers, width, heads, t, colours = shape
        rng = np.random.default_rng(1)
        net = Gpt(*shape)
        flat = np.concatenate([
            (np.ones(p.numel()) if p.dim() == 1 and p is not net.sos else 0.05 * rng.normal(size=p.numel()))
            for p in net.all()]).astype("<f4")
        tokens = rng.integers(colours, size=(images, t)).astype("<u2")
        net.load(flat)
        batch = torch.from_numpy(tokens.astype(np.int64))
        print(f"\n({size}) {layers} layers, width {width}, {heads} heads, {t} tokens, {colours} colours, {images} images")
        with tempfile.TemporaryDirectory() as folder:
            files = [f"{folder}/parameters.f32", f"{folder}/tokens.u16"]
            pathlib.Path(files[0]).write_bytes(flat.tobytes())
            pathlib.Path(files[1]).write_bytes(tokens.tobytes())
            ours = Ours(arguments.ours, "f32", shape, *files)
            ours_bf16 = Ours(arguments.ours, "bf16", shape, *files) if HAS_BF16 else None

            if "features" in arguments.what:
                features, compiled = net.features, torch.compile(net.features)
                contestants = {"torch eager": lambda: features(batch)}
                if not arguments.no_compile:
                    contestants["torch.compile"] = lambda: compiled(batch)
                with torch.inference_mode():
                    square, mine = features(batch).double().square().mean().item(), ours.ask("features", 1)["square"]
                    assert math.isclose(square, mine, rel_tol=1e-5), (square, mine)
                    for run in contestants.values():
                        run()
                    rounds = []
                    for _ in range(arguments.rounds):
                        rounds.append({"ours": ours.ask("features", 3)["seconds"]}
                                      | {name: timed(run, 3) for name, run in contestants.items()})
                report("features", rounds)

            if "sample" in arguments.what:
                for count in [1, images]:
                    nothing = torch.empty((count, 0), dtype=torch.long)
                    plain, library = (lambda: net.sample(nothing, torch.float32)), generator(shape, count)
                    with torch.inference_mode():
                        ours.ask("sample", count), plain(), library()
                        rounds = [{"ours": ours.ask("sample", count)["seconds"], "torch loop": timed(plain),
                                   "transformers generate": timed(library)} for _ in range(arguments.rounds)]
                    report(f"sample {count}", rounds)

            if "train" in arguments.what:
                contestants = {"torch eager": trainer(flat, shape, batch)}
                if not arguments.no_compile:
                    contestants["torch.compile"] = trainer(flat, shape, batch, compiled=True)
                sides = {"ours": ours}
                if HAS_BF16:
                    contestants["torch bf16 autocast"] = trainer(flat, shape, batch, low=True)
                    sides["ours bf16"] = ours_bf16
                # The same losses after some steps: the same network, gradients and optimiser.
                mine = {name: side.ask("train", 3)["loss"] for name, side in sides.items()}
                losses = {name: [step() for _ in range(3)][-1] for name, step in contestants.items()}
                print(f"loss of the third step: {mine}, {losses}")
                assert math.isclose(losses["torch eager"], mine["ours"], rel_tol=1e-5), (losses, mine)
                assert math.isclose(mine.get("ours bf16", mine["ours"]), mine["ours"], rel_tol=1e-2), mine
                rounds = []
                for _ in range(arguments.rounds):
                    n = arguments.steps
                    rounds.append({name: side.ask("train", n)["seconds"] for name, side in sides.items()}
                                  | {name: timed(step, n) for name, step in contestants.items()})
                report("train", rounds)
            ours.close()
            if ours_bf16:
                ours_bf16.close()
    print("\nx: a contestant's time over ours, the median of the rounds' (and their range)")


if __name__ == "__main__":
    main()
