#!/usr/bin/env python3
"""The paper's ways to train, in PyTorch on the same images, tokens, network and budget as the library's: both sides from
several seeds, so that what differs by the side can be told from what differs by chance. And the seconds of a training step of
each way, in interleaved rounds. Prints tables for docs/log. Needs torch, numpy and

    cargo build --release --example methods_peer
    python tests/peers/methods/twin.py [--seeds 3] [--steps 200] [--rounds 5]      # 0 seeds, or rounds, leave that part out
"""
import argparse
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
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from torch_gpt import Gpt  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[3]
MASK, RATE, TUNED_RATE, BATCH, WARM_UP = 0.15, 0.003, 0.001, 16, 10


class Network(Gpt):
    """With BERT's objective and a classification head beside."""

    def __init__(self, *shape, classes=10):
        super().__init__(*shape)
        self.score = torch.nn.Parameter(torch.zeros(classes, shape[1]))

    def init(self):
        """As the library, and the original code, begin."""
        c = self.sos.numel()
        with torch.no_grad():
            for p in [self.wte, self.sos]:
                p.normal_(0, 0.02)
            self.wpe.normal_(0, 0.01)
            for l in range(self.layers):
                g_1, qkv, proj, g_2, fc, out = self.blocks[6 * l:6 * l + 6]
                g_1.fill_(1), g_2.fill_(1), fc.normal_(0, 0.02), out.normal_(0, 0.02)
                qkv.normal_(0, c ** -0.5), proj.normal_(0, (c * self.layers) ** -0.5)
            self.ln_f.fill_(1), self.head.zero_(), self.score.zero_()
        return self

    def attend(self, l, x, causal):
        g_1, qkv, proj, g_2, fc, out = self.blocks[6 * l:6 * l + 6]
        b, t, c = x.shape
        q, k, v = (F.rms_norm(x, (c,), g_1, 1e-5) @ qkv).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        o = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        x = x + o.transpose(1, 2).reshape(b, t, c) @ proj
        f = F.rms_norm(x, (c,), g_2, 1e-5) @ fc
        return x + (f * torch.sigmoid(1.702 * f)) @ out

    def parts(self, tokens, labels=None, masked=None, generative=1.0):
        """The loss, and logits of classes."""
        x = self.embed(tokens) if masked is None else F.embedding(tokens, self.wte) * ~masked[..., None] + self.wpe
        for l in range(self.layers):
            x = self.attend(l, x, masked is None)
        n = self.last(x)
        loss, classes = 0.0, None
        if generative:
            if masked is None:
                loss = F.cross_entropy((n @ self.head.T).flatten(0, 1), tokens.flatten())
            else:
                nll = F.cross_entropy(n[masked] @ self.head.T, tokens[masked], reduction="none")
                count = masked.sum(1, keepdim=True).expand_as(masked)[masked]
                loss = (nll / count).sum() / len(tokens)
        if labels is not None:
            classes = n.mean(1) @ self.score.T
            loss = loss + F.cross_entropy(classes, labels)
        return loss, classes


def masks(shape):
    masked = torch.rand(shape) < MASK
    while not masked.any(1).all():
        empty = ~masked.any(1)
        masked[empty] = torch.rand(int(empty.sum()), shape[1]) < MASK
    return masked


def train(net, data, steps, rate, bert, classes=False, generative=1.0, cosine=True):
    """Trains, and returns the loss on the validation images or, with classes, the accuracy on test images of the network that
    was best on the validation images."""
    tokens, labels = data["train"]
    adam = torch.optim.AdamW(net.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
    order, best = [], (-1.0, None)
    for step in range(steps):
        if len(order) < BATCH:
            order += torch.randperm(len(tokens)).tolist()
        batch, order = order[:BATCH], order[BATCH:]
        if cosine:
            warm = (step + 1) / WARM_UP if step < WARM_UP else 0.5 * (
                1 + math.cos(math.pi * (step - WARM_UP) / (steps - WARM_UP)))
            adam.param_groups[0]["lr"] = rate * warm
        chosen = tokens[batch]
        masked = masks(chosen.shape) if bert else None
        loss, _ = net.parts(chosen, labels[batch] if classes else None, masked, generative)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        if classes and (step + 1 == steps or (step + 1) % -(-steps // 5) == 0):
            accuracy = judge(net, data["validation"], bert)
            if accuracy > best[0]:
                best = (accuracy, {k: v.clone() for k, v in net.state_dict().items()})
    if classes:
        net.load_state_dict(best[1])
        return judge(net, data["test"], bert, votes=5)
    with torch.no_grad():
        losses = []
        for chunk in data["validation"][0].split(100):
            losses.append(net.parts(chunk, None, masks(chunk.shape) if bert else None)[0].item() * len(chunk))
        return sum(losses) / len(data["validation"][0])


def judge(net, split, bert, votes=1):
    tokens, labels = split
    with torch.no_grad():
        ballots = [torch.cat([
            net.parts(t, l, masks(t.shape) if bert else None)[1].argmax(1)
            for t, l in zip(tokens.split(100), labels.split(100))]) for _ in range(votes if bert else 1)]
    return (torch.stack(ballots).mode(0).values == labels).float().mean().item()


def methods(data, seed, steps):
    torch.manual_seed(seed)
    shape = (4, 64, 4, 196, 16)
    ar, bert = Network(*shape).init(), Network(*shape).init()
    found = {"AR, loss": train(ar, data, steps, RATE, False), "BERT, loss": train(bert, data, steps, RATE, True)}
    tune = lambda net, bert, generative=1.0, rate=RATE / 10: train(
        net, data, steps, TUNED_RATE, bert, True, generative, cosine=False)
    found["AR fine-tuned, accuracy"] = tune(ar, False)
    found["BERT fine-tuned, accuracy"] = tune(bert, True)
    found["supervised from scratch, accuracy"] = tune(Network(*shape).init(), False, 0.0)
    return found


def step_times(steps):
    found = {}
    tokens = (torch.arange(32 * 196) * 7 % 16).view(32, 196)
    labels, masked = torch.arange(32) % 10, (torch.arange(32 * 196) * 13 % 100 < 15).view(32, 196)
    for name, mask, classes in [("AR", None, None), ("BERT", masked, None), ("fine-tuning", None, labels)]:
        torch.manual_seed(1)
        net = Network(8, 128, 4, 196, 16).init()
        adam = torch.optim.AdamW(net.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
        seconds = []
        for _ in range(steps + 1):
            began = time.perf_counter()
            adam.zero_grad(set_to_none=True)
            net.parts(tokens, classes, mask)[0].backward()
            adam.step()
            seconds.append(time.perf_counter() - began)
        found[name] = statistics.median(seconds[1:])
    return found


def compare(program, seeds, steps):
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"IGPT_STORE": f"{folder}/store", "IGPT_DEVICE": "cpu"}
        ours = lambda *words: subprocess.run(
            [program, *map(str, words)], check=True, text=True, stdout=subprocess.PIPE, env=environment, cwd=ROOT).stdout
        ours("tokens", folder)
        read = lambda name: torch.from_numpy(np.fromfile(f"{folder}/{name}", "<u2").astype(np.int64))
        data = {name: (read(f"{name}.tokens").view(-1, 196), read(f"{name}.labels"))
                for name in ["train", "validation", "test"]}
        both = {"ours": [], "PyTorch": []}
        for seed in range(seeds):
            both["ours"].append(json.loads(ours("train", seed, steps)))
            both["PyTorch"].append(methods(data, seed, steps))
            print(f"seed {seed}", both["ours"][-1], both["PyTorch"][-1], sep="\n  ", flush=True)
        print(f"\n{len(data['train'][0]):,} images, {steps} steps, {seeds} seeds: mean ± standard deviation\n")
        print("| | ours | PyTorch | difference, in standard errors |\n|---|---|---|---|")
        for what in both["ours"][0]:
            values = [[run[what] for run in runs] for runs in both.values()]
            mean, deviation = [statistics.mean(v) for v in values], [statistics.stdev(v) for v in values]
            error = math.sqrt(sum(d * d / seeds for d in deviation)) or float("inf")
            cells = " | ".join(f"{m:.4f} ± {d:.4f}" for m, d in zip(mean, deviation))
            print(f"| {what} | {cells} | {(mean[0] - mean[1]) / error:+.1f} |")


def compare_times(program, rounds):
    times = {"ours": [], "PyTorch": []}
    for _ in range(rounds):
        times["ours"].append(json.loads(subprocess.run([program, "time", "7"], check=True, text=True, stdout=subprocess.PIPE, cwd=ROOT).stdout))
        times["PyTorch"].append(step_times(7))
    print(f"\nSeconds of a training step (8 layers × 128, 32 images of 196 tokens), medians of {rounds} rounds\n")
    print("| | ours | PyTorch | PyTorch / ours, median of rounds |\n|---|---|---|---|")
    for what in times["ours"][0]:
        pairs = [(a[what], b[what]) for a, b in zip(times["ours"], times["PyTorch"])]
        a, b = (statistics.median(side) for side in zip(*pairs))
        print(f"| {what} | {a:.3f} | {b:.3f} | {statistics.median(b / a for a, b in pairs):.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    program = ROOT / "target/release/examples/methods_peer"

    if arguments.seeds > 1:
        compare(program, arguments.seeds, arguments.steps)
    if arguments.rounds > 0:
        compare_times(program, arguments.rounds)


if __name__ == "__main__":
    main()
