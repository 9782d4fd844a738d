#!/usr/bin/env python3
"""PyTorch's side of compare.py: the network of tests/peers/torch_gpt.py, run on a GPU as a user would for speed:
fused attention by the fastest of PyTorch's backends (measured when it starts), fused AdamW, functional RMS norm, bf16
by autocast, no wait for the device within the steps that are timed. `--device cpu` is to try it out.

Its input is lines of words, and it answers each with a line of JSON, {"error": ...} if it could not be done:

    start PRECISION SHAPE PICTURES PARAMETERS [MODE,MODE,...]
    [MODE] train N | [MODE] features | [MODE] sample N [GIVEN] | tokens FILE | memory | matmul SIZE | stop

They mean what they mean in gpu_peer.rs. Modes are eager, compile (torch.compile) and max-autotune; those that are started
share one network, so that they need not share the device's memory. `matmul` measures products of square matrices in bf16,
operations a second.
"""

import argparse
import contextlib
import gc
import json
import pathlib
import statistics
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from torch_gpt import Gpt


class Side:
    def __init__(self, device, precision, shape, images, parameters, modes="eager"):
        torch.manual_seed(0)
        self.device = device
        shape = [int(x) for x in shape.split(",")]
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        self.low = precision == "bf16"
        layers, width, heads, tokens, colours = shape
        with torch.device(device):
            self.net = Gpt(*shape)
        self.net.load(np.fromfile(parameters, "<f4"))
        # The library's default, and its rule which parameters decay: matrices of blocks, and the head.
        decays = lambda i: (i % 6) not in (0, 3)
        decaying = [p for i, p in enumerate(self.net.blocks) if decays(i)] + [self.net.head]
        others = [p for i, p in enumerate(self.net.blocks) if not decays(i)]
        others += [self.net.wte, self.net.sos, self.net.wpe, self.net.ln_f]
        self.adam = torch.optim.AdamW(
            [{"params": decaying, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}],
            lr=1e-3, betas=(0.9, 0.95), eps=1e-8, fused=True)
        generator = torch.Generator().manual_seed(0)
        self.tokens = torch.randint(colours, (int(images), tokens), generator=generator).to(device)
        self.attention, self.times = None, {}
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.choose_attention(int(images), heads, tokens, width // heads)
        # One size of a batch: said beforehand, so that nothing is compiled for all sizes.
        ways = {"eager": lambda f: f, "compile": lambda f: torch.compile(f, dynamic=False),
                "max-autotune": lambda f: torch.compile(f, dynamic=False, mode="max-autotune-no-cudagraphs")}
        self.loss_of = {mode: ways[mode](self.net.loss) for mode in modes.split(",")}
        self.features_of = {mode: ways[mode](self.net.features) for mode in modes.split(",")}

    def choose_attention(self, *shape):
        """Measures forward and backward of each backend, and takes the fastest."""
        q, k, v = (torch.randn(shape, device="cuda", dtype=torch.bfloat16 if self.low else torch.float32,
                               requires_grad=True) for _ in range(3))
        for backend in [SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION,
                        SDPBackend.MATH]:
            if backend == SDPBackend.MATH and self.times:
                break  # It holds T x T matrices, and is there for the rest.
            try:
                with sdpa_kernel(backend):
                    seconds = []
                    for _ in range(4):
                        torch.cuda.synchronize()
                        start = time.perf_counter()
                        F.scaled_dot_product_attention(q, k, v, is_causal=True).sum().backward()
                        torch.cuda.synchronize()
                        seconds.append(time.perf_counter() - start)
                self.times[backend] = min(seconds[1:])
            except RuntimeError:
                continue
        self.attention = min(self.times, key=self.times.get)

    @contextlib.contextmanager
    def settings(self):
        with contextlib.ExitStack() as stack:
            if self.low:
                stack.enter_context(torch.autocast(self.device, dtype=torch.bfloat16))
            if self.attention is not None:
                stack.enter_context(sdpa_kernel(self.attention))
            yield

    def wait(self):
        if self.device == "cuda":
            torch.cuda.synchronize()

    def timed(self, work):
        self.wait()
        start = time.perf_counter()
        result = work()
        self.wait()
        return time.perf_counter() - start, result

    def train(self, mode, n):
        def steps():
            for _ in range(n):
                with self.settings():
                    loss = self.loss_of[mode](self.tokens)
                loss.backward()
                self.adam.step()
                self.adam.zero_grad(set_to_none=True)
            return loss
        seconds, loss = self.timed(steps)
        return {"seconds": seconds, "steps": n, "loss": loss.item()}

    def features(self, mode):
        with torch.inference_mode(), self.settings():
            # As ours, whose features end in the host's memory.
            seconds, found = self.timed(lambda: self.features_of[mode](self.tokens).float().cpu())
        return {"seconds": seconds, "square": found.double().square().mean().item()}

    def sample(self, n, given=0):
        given = torch.zeros((n, given), dtype=torch.int64, device=self.device)
        autocast = torch.autocast(self.device, dtype=torch.bfloat16) if self.low else contextlib.nullcontext()
        with torch.inference_mode(), autocast:
            dtype = torch.bfloat16 if self.low else torch.float32
            seconds, drawn = self.timed(lambda: self.net.sample(given, dtype).cpu())
        return {"seconds": seconds, "tokens": drawn.numel()}


def matmul(device, n):
    a, b = (torch.randn(n, n, device=device).bfloat16() for _ in range(2))
    seconds = []
    for _ in range(20):
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return {"rate": 2 * n**3 / statistics.median(seconds[5:])}


def answer(device, side, words):
    mode = words.pop(0) if words[0] in ("eager", "compile", "max-autotune") else "eager"
    match words:
        case ["tokens", file]:
            tokens = np.fromfile(file, "<u2").astype(np.int64).reshape(-1, side.net.tokens)
            side.tokens = torch.from_numpy(tokens).to(device)
            return {"tokens": tokens.size}
        case ["train", n]:
            return side.train(mode, int(n))
        case ["features"]:
            return side.features(mode)
        case ["sample", *numbers]:
            return side.sample(*map(int, numbers))
        case ["memory"]:
            return {"used": torch.cuda.max_memory_allocated() if device == "cuda" else None}
        case ["matmul", n]:
            return matmul(device, int(n))
    raise ValueError(f"not understood: {words}")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--device", default="cuda")
    device = arguments.parse_args().device
    side = None
    for line in sys.stdin:
        words = line.split()
        try:
            if words[0] in ("start", "stop"):
                side = None
                gc.collect()
                torch._dynamo.reset()
                if device == "cuda":
                    torch.cuda.empty_cache()
            if words[0] == "start":
                side = Side(device, *words[1:])
                found = {
                    "torch": torch.__version__,
                    "device": torch.cuda.get_device_name() if device == "cuda" else "CPU",
                    "attention": side.attention and side.attention.name,
                    "attention seconds": {backend.name: s for backend, s in side.times.items()},
                }
            else:
                found = {} if words[0] == "stop" else answer(device, side, words)
        except Exception as error:  # Whatever it is, the other side goes on.
            found = {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[:1]}"}
            error = None
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
