#!/usr/bin/env python3
"""Features of every layer, ours and those of transformers' ImageGPT: see run.sh.

The features of layer l are the mean over tokens of the RMSNorm (ImageGPTLayerNorm) that block l begins with, of the hidden states that
come into it; those of the last layer, of the final one (section 2.4 of the paper). transformers returns hidden states before these
norms, and after the final one for the last. The SOS token, row V of `wte`, is fed first, as the original code does.

The first number is the largest difference, of transformers in f64 as well: what is rounding on which side. Times are those of one batch
of images; beside transformers stands the network of ../torch_gpt.py, which uses scaled_dot_product_attention."""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
import transformers

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from torch_gpt import Gpt

THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))


def of_transformers(model, tokens):
    """(N, T) tokens to features (N, L + 1, C)."""
    start = torch.full((len(tokens), 1), model.config.vocab_size - 1)
    fed = torch.cat([start, tokens[:, :-1]], 1)
    found = model(input_ids=fed, output_hidden_states=True, use_cache=False).hidden_states
    norms = [block.ln_1 for block in model.h]
    inner = [norm(state).mean(1) for norm, state in zip(norms, found)]
    return torch.stack([*inner, found[-1].mean(1)], 1)


def as_gpt(model):
    """The same parameters in the network of torch_gpt.py."""
    config = model.config
    net = Gpt(config.n_layer, config.n_embd, config.n_head, config.n_positions, config.vocab_size - 1)
    with torch.no_grad():
        net.wte.copy_(model.wte.weight[:-1])
        net.sos.copy_(model.wte.weight[-1])
        net.wpe.copy_(model.wpe.weight)
        for l, block in enumerate(model.h):
            parts = [block.ln_1.weight, block.attn.c_attn.weight, block.attn.c_proj.weight,
                     block.ln_2.weight, block.mlp.c_fc.weight, block.mlp.c_proj.weight]
            for mine, theirs in zip(net.blocks[6 * l:6 * l + 6], parts):
                mine.copy_(theirs)
        net.ln_f.copy_(model.ln_f.weight)
    return net.eval()


class Ours:
    def __init__(self, program, folder):
        self.process = subprocess.Popen([program, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        print("ours:", self.process.stdout.readline().strip())
        self.files = tempfile.TemporaryDirectory()

    def features(self, tokens, shape):
        given, out = (f"{self.files.name}/{name}" for name in ("tokens", "features"))
        tokens.numpy().astype("<u2").tofile(given)
        self.process.stdin.write(f"features {given} {out}\n")
        self.process.stdin.flush()
        seconds = json.loads(self.process.stdout.readline())["seconds"]
        return np.fromfile(out, "<f4").reshape(shape), seconds


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--ours", required=True)
    arguments.add_argument("--cache", required=True)
    arguments.add_argument("--images", type=int, default=20)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--batch", type=int, default=4, help="images of a timed batch")
    arguments = arguments.parse_args()
    torch.set_num_threads(THREADS)
    repository = pathlib.Path(arguments.cache) / "models--openai--imagegpt-small"
    commit = (repository / "refs/main").read_text().strip()
    folder = repository / "snapshots" / commit
    model = transformers.ImageGPTModel.from_pretrained(folder).eval()
    config = model.config
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {THREADS} threads, "
          f"{torch.backends.cpu.get_cpu_capability()}; {config.n_layer} layers x {config.n_embd}, {config.n_head} heads, "
          f"{config.n_positions} tokens")
    ours = Ours(arguments.ours, str(folder))
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, config.vocab_size - 1, (arguments.images, config.n_positions), generator=generator)
    shape = (-1, config.n_layer + 1, config.n_embd)

    with torch.inference_mode():
        mine, _ = ours.features(tokens, shape)
        theirs = torch.cat([of_transformers(model, image) for image in tokens.split(1)]).numpy()
        exact = model.double()
        few = min(4, len(tokens))
        in_f64 = torch.cat([of_transformers(exact, image) for image in tokens[:few].split(1)]).numpy()
        model.float()
        print(f"{len(tokens)} images, all layers: largest difference from transformers {abs(mine - theirs).max():.1e}; from transformers in "
              f"f64 ({few} images): ours {abs(mine[:few] - in_f64).max():.1e}, transformers' f32 {abs(theirs[:few] - in_f64).max():.1e}; "
              f"features are up to {abs(theirs).max():.2f}")

        sdpa = as_gpt(model)
        batch = tokens[:arguments.batch]
        contestants = {
            "ours": None,
            "transformers": lambda: of_transformers(model, batch),
            "torch, sdpa": lambda: sdpa.features(batch),
        }
        difference = abs(sdpa.features(batch).numpy() - mine[:len(batch)]).max()
        print(f"the network of torch_gpt.py: largest difference {difference:.1e}")
        rounds = []
        for _ in range(arguments.rounds):
            seconds = {}
            for name, run in contestants.items():
                if run is None:
                    seconds[name] = ours.features(batch, shape)[1]
                else:
                    begun = time.perf_counter()
                    run()
                    seconds[name] = time.perf_counter() - begun
            rounds.append(seconds)
    for name in contestants:
        median = statistics.median(r[name] for r in rounds) / len(batch)
        ratios = [r[name] / r["ours"] for r in rounds]
        print(f"{name:13} | {1e3 * median:8.1f} ms an image | {statistics.median(ratios):.2f} x ours ({min(ratios):.2f} to {max(ratios):.2f})")


main()
