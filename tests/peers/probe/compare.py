#!/usr/bin/env python3
"""Times the library's linear probe against scikit-learn's: same features (f32, standardised), same objective, two
threads, rounds in turn, medians and ratios.

    python3 -m venv venv && venv/bin/pip install scikit-learn==1.7.2 numpy==2.3.4 threadpoolctl==3.8.0
    cargo build --release -p igpt --example probe_peer
    venv/bin/python tests/peers/probe/compare.py target/release/examples/probe_peer

Features are 10,000 Fashion-MNIST images through one random layer with quick-GELU; where Debian's package
dataset-fashion-mnist is absent, a mixture of Gaussians takes their place. Standardising is inside our time, and outside
scikit-learn's.
"""

import argparse
import gzip
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

# The peer's threads busily wait for each other, and on a machine with other work they stand in each other's way.
THREADS = os.environ.get("PEER_THREADS", "2")
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[name] = THREADS
# A machine may pin an old kernel of OpenBLAS, which would make the peer slow.
for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    if name in os.environ:
        del os.environ[name]
        os.execv(sys.executable, [sys.executable, *sys.argv])

import numpy as np
import sklearn
import threadpoolctl
from sklearn.linear_model import LogisticRegression

FASHION = pathlib.Path("/usr/share/datasets/fashion-mnist")


def images(n):
    if not FASHION.is_dir():
        print(f"{FASHION} is absent: a mixture of Gaussians instead")
        rng = np.random.default_rng(1)
        labels = rng.integers(10, size=n).astype(np.uint8)
        return rng.normal(size=(10, 784))[labels] + 4 * rng.normal(size=(n, 784)), labels
    read = lambda name, skip: np.frombuffer(gzip.open(FASHION / name).read(), np.uint8)[skip:]
    x = read("train-images-idx3-ubyte.gz", 16).reshape(-1, 784)[:n] / 255
    return x, read("train-labels-idx1-ubyte.gz", 8)[:n]


def objective(x, labels, weights, intercepts, l2):
    logits = x.astype(np.float64) @ weights.astype(np.float64).T + intercepts
    top = logits.max(axis=1, keepdims=True)
    log_sum = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
    return np.mean(log_sum - logits[np.arange(len(labels)), labels]) + l2 / 2 * (weights.astype(np.float64) ** 2).sum()


def path(rounds, peer, features, labels):
    """Six penalties: the library's path for many features against scikit-learn, as near to the optimum as that comes.
    The path goes from each penalty to the next from where it is, and classifies the validation images; scikit-learn starts anew each time."""
    import resource
    penalties = [1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5]
    held = np.arange(len(labels)) % 10 != 0
    scaled = ((features - features[held].mean(0)) / features[held].std(0)).astype(np.float32)

    def ours():
        peer.stdin.write("path\n")
        peer.stdin.flush()
        return json.loads(peer.stdout.readline())

    def fit(l2):
        """The library's objective on these images."""
        peer.stdin.write(f"held {l2}\n")
        peer.stdin.flush()
        return json.loads(peer.stdout.readline())["objective"]

    def one(l2, tolerance):
        model = LogisticRegression(C=1 / (l2 * held.sum()), solver="lbfgs", tol=tolerance, max_iter=20000)
        start = time.perf_counter()
        model.fit(scaled[held], labels[held])
        return time.perf_counter() - start, objective(scaled[held], labels[held], model.coef_, model.intercept_, l2)

    # In f32 scikit-learn's lbfgs comes no nearer to the optimum with a tighter tolerance than this: tried down to 1e-7.
    tolerance = 1e-5
    pairs = []
    for _ in range(rounds):
        mine, others = ours()["seconds"], [one(l2, tolerance) for l2 in penalties]
        pairs.append((mine, sum(seconds for seconds, _ in others)))
        print(f"  ours {mine:.2f} s, scikit-learn {pairs[-1][1]:.2f} s", flush=True)
    for l2, (seconds, found) in zip(penalties, others):
        print(f"  L2 {l2:.0e}: scikit-learn {seconds:.1f} s, ends {found - fit(l2):+.1e} nats from ours", flush=True)
    mine, others = (statistics.median(side) for side in zip(*pairs))
    ratio = statistics.median(b / a for a, b in pairs)
    print(f"six penalties, {held.sum()} images: ours {mine:.2f} s, scikit-learn {others:.2f} s (tolerance {tolerance:.0e}), ratio {ratio:.1f}")
    print(f"peak memory: ours {ours()['peak']}, scikit-learn {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss} kB")
    peer.stdin.close()
    peer.wait()


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("peer")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--images", type=int, default=10_000)
    arguments.add_argument("--width", type=int, default=128)
    arguments.add_argument("--path", action="store_true", help="six penalties one after the other, on nine tenths of the images")
    arguments.add_argument("--l2", type=float, nargs="+", default=[1e-1, 1e-2, 1e-3, 1e-4, 1e-5], help="penalties, without --path")
    arguments = arguments.parse_args()

    x, labels = images(arguments.images)
    h = x @ np.random.default_rng(2).normal(size=(784, arguments.width)) / 8
    features = (h / (1 + np.exp(-1.702 * h))).astype("<f4")
    wide = features.astype(np.float64)
    scaled = ((wide - wide.mean(0)) / wide.std(0)).astype(np.float32)
    blas = [f"{p['internal_api']} {p['version']} {p.get('architecture', '')} {p['num_threads']} threads"
            for p in threadpoolctl.threadpool_info()]
    print(f"{features.shape[0]} images x {features.shape[1]} features, 10 classes, {THREADS} threads")
    print(f"scikit-learn {sklearn.__version__}, numpy {np.__version__}, {', '.join(blas)}")

    with tempfile.TemporaryDirectory() as folder:
        files = [f"{folder}/features.f32", f"{folder}/labels.u8"]
        pathlib.Path(files[0]).write_bytes(features.tobytes())
        pathlib.Path(files[1]).write_bytes(labels.tobytes())
        command = [arguments.peer, *files, str(arguments.width), "10"]
        peer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        def ours(l2):
            peer.stdin.write(f"{l2}\n")
            peer.stdin.flush()
            answer = json.loads(peer.stdout.readline())
            return answer["seconds"], answer["objective"], answer["evaluations"]

        def theirs(l2, tolerance):
            c = 1 / (l2 * len(labels))
            model = LogisticRegression(C=c, solver="lbfgs", tol=tolerance, max_iter=5000)
            start = time.perf_counter()
            model.fit(scaled, labels)
            seconds = time.perf_counter() - start
            return seconds, objective(scaled, labels, model.coef_, model.intercept_, l2), int(model.n_iter_[0])

        if arguments.path:
            path(arguments.rounds, peer, wide, labels)
            return
        print("\n     L2 |  ours s  calls |  sklearn s, tol 1e-4  steps   excess  ratio |  tol 1e-6  steps   excess  ratio")
        for l2 in arguments.l2:
            rounds = [(ours(l2), theirs(l2, 1e-4), theirs(l2, 1e-6)) for _ in range(arguments.rounds)]
            mine, loose, tight = (
                (statistics.median(r[i][0] for r in rounds), rounds[0][i][1], rounds[0][i][2]) for i in range(3))
            ratio = lambda i: statistics.median(r[i][0] / r[0][0] for r in rounds)
            excess = lambda them: f"{them[1] - mine[1]:8.1e}"
            print(f"{l2:7.0e} | {mine[0]:7.3f} {mine[2]:6d} | {loose[0]:20.3f} {loose[2]:6d} {excess(loose)} {ratio(1):6.2f}"
                  f" | {tight[0]:9.3f} {tight[2]:6d} {excess(tight)} {ratio(2):6.2f}", flush=True)
        peer.stdin.write("choose 9\n")
        peer.stdin.flush()
        print(f"\n9 layers x 6 penalties, validated on a tenth: {json.loads(peer.stdout.readline())['seconds']:.1f} s")
        peer.stdin.close()
        peer.wait()
    print("\nratio: scikit-learn's time over ours, the median over rounds; excess: its objective less ours, in nats")


if __name__ == "__main__":
    main()
