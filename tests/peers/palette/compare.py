"""Runs both sides in turns and prints medians and ratios. Started by run.sh, which says how.

On a machine that others use, OpenMP's threads lose more by waiting for each other than ours do: then run with one thread
(THREADS=1) and look at the seconds of processor time.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import numpy as np
import sklearn
import skimage
import transformers
from PIL import Image
from sklearn.cluster import KMeans, MiniBatchKMeans
from threadpoolctl import threadpool_info
from transformers import ImageGPTImageProcessor
from transformers.models.imagegpt.image_processing_imagegpt import color_quantize

PHOTOGRAPHS = ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg", "retina.jpg"]

parser = argparse.ArgumentParser()
parser.add_argument("--ours", required=True)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--cifar", nargs="*", default=[], help="Parquet files of CIFAR-10 with a column img: train, test")
parser.add_argument("--palette", help="OpenAI's kmeans_centers.npy, to encode with; else one fitted here")
parser.add_argument("--sets", default="small,large,cifar,encode,processor")
args = parser.parse_args()
sets = args.sets.split(",")
folder = Path(tempfile.mkdtemp())


class Ours:
    """The Rust side: one process, so that both sides are warm."""

    def __init__(self):
        self.process = subprocess.Popen([args.ours], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, *words):
        before = self.cpu()
        print(*words, file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        return {"cpu": self.cpu() - before, **answer}

    def cpu(self):
        """Seconds that all its threads have run."""
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def timed(work):
    """Wall seconds, processor seconds of all threads, and the result."""
    start, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - start, time.process_time() - cpu, result


def store(name, pixels):
    (folder / name).write_bytes(np.ascontiguousarray(pixels, dtype=np.uint8).tobytes())
    return folder / name


def scaled(pixels):
    return np.ascontiguousarray(pixels.astype(np.float32) / np.float32(127.5) - np.float32(1))


ours = Ours()
print(f"numpy {np.__version__}, scikit-learn {sklearn.__version__}, transformers {transformers.__version__}")
for pool in threadpool_info():
    print("  ", {key: pool.get(key) for key in ("user_api", "internal_api", "architecture", "num_threads")})
print("load:", Path("/proc/loadavg").read_text().split()[:3], "on", os.cpu_count(), "cores")

photographs = [Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB") for name in PHOTOGRAPHS]
small = np.concatenate([np.asarray(p.resize((64, 64), Image.BILINEAR)).reshape(-1, 3) for p in photographs])
every = np.concatenate([np.asarray(p).reshape(-1, 3) for p in photographs])
large = every[np.random.default_rng(0).permutation(len(every))[: len(every) // 4]]
cifar = None
if args.cifar:
    import pyarrow.parquet as parquet

    def decoded(file, most=None):
        rows = parquet.read_table(file, columns=["img"])["img"][:most].to_pylist()
        return np.stack([np.asarray(Image.open(io.BytesIO(row["bytes"])).convert("RGB")) for row in rows])

    cifar = decoded(args.cifar[0], 1000)


def fits(name, pixels):
    """Our fit against scikit-learn's, of 512 colours."""
    file, data = store(name, pixels), scaled(pixels)
    rounds = []
    for seed in range(args.rounds):
        common = dict(n_clusters=512, init="k-means++", n_init=1, random_state=seed)
        full = timed(lambda: KMeans(**common).fit(data))
        mine = ours("fit", file, 512, seed, 0, folder / "fitted.npy")
        batch = timed(lambda: MiniBatchKMeans(**common).fit(data))
        sooner = ours("fit", file, 512, seed, 1e-4, folder / "sooner.npy")
        # The inertia as numbers of each side's own say; checked once from the centres, the same way for both.
        if seed == 0:
            centres = np.load(folder / "fitted.npy").astype(np.float64)
            assert centres.shape == (512, 3) and centres.dtype == np.float64
            again = inertia(data, centres)
            assert abs(again / mine["inertia"] - 1) < 1e-4, (again, mine)
            assert abs(inertia(data, full[2].cluster_centers_.astype(np.float64)) / full[2].inertia_ - 1) < 1e-3
        # Whole-set inertia of the mini-batch fit, from its centres.
        batch_inertia = inertia(data, batch[2].cluster_centers_.astype(np.float64))
        rounds.append(dict(
            full=full[0], mine=mine["seconds"], batch=batch[0], sooner=sooner["seconds"],
            full_cpu=full[1], mine_cpu=mine["cpu"], batch_cpu=batch[1], sooner_cpu=sooner["cpu"],
            full_inertia=full[2].inertia_, mine_inertia=mine["inertia"], batch_inertia=batch_inertia,
            sooner_inertia=sooner["inertia"],
            full_iterations=full[2].n_iter_, mine_iterations=mine["iterations"], sooner_iterations=sooner["iterations"],
        ))
    m = lambda key: statistics.median(round[key] for round in rounds)
    ratios = sorted(round["full"] / round["mine"] for round in rounds)
    print(f"\nfit of 512 colours to {name}: {len(pixels):,} pixels, {mine['distinct']:,} different colours, {args.rounds} rounds")
    print(f"  {'':24} {'median s':>9} {'CPU s':>9} {'inertia':>9} {'iterations':>10}")
    for label, key, iterations in [
        ("scikit-learn KMeans", "full", True), ("igpt", "mine", True),
        ("scikit-learn MiniBatch", "batch", False), ("igpt, tolerance 1e-4", "sooner", True),
    ]:
        count = f"{m(key + '_iterations'):>10.0f}" if iterations else ""
        print(f"  {label:24} {m(key):9.4f} {m(key + '_cpu'):9.4f} {m(key + '_inertia'):9.3f} {count}")
    print(f"  KMeans / igpt: {m('full') / m('mine'):.1f} (by round {ratios[0]:.1f} to {ratios[-1]:.1f}), CPU {m('full_cpu') / m('mine_cpu'):.1f};"
          f" inertia igpt / KMeans {m('mine_inertia') / m('full_inertia'):.4f}")
    print(f"  KMeans / igpt with tolerance 1e-4: {m('full') / m('sooner'):.1f}, CPU {m('full_cpu') / m('sooner_cpu'):.1f}; inertia {m('sooner_inertia') / m('full_inertia'):.4f}")
    print(f"  MiniBatch / igpt: {m('batch') / m('mine'):.1f}, CPU {m('batch_cpu') / m('mine_cpu'):.1f}; inertia igpt / MiniBatch {m('mine_inertia') / m('batch_inertia'):.4f}")


def inertia(data, centres):
    """The sum of squared distances to the nearest centre, in parts that fit into memory."""
    return sum(
        (-2 * part @ centres.T + (centres**2).sum(1) + (part**2).sum(1, keepdims=True)).min(1).sum()
        for part in (data[at : at + 8192].astype(np.float64) for at in range(0, len(data), 8192))
    )


def palette_file(images):
    """The palette to encode with: the one that was named, else one fitted to the images."""
    if args.palette:
        return Path(args.palette)
    npy = folder / "palette.npy"
    ours("fit", store("all", images), 512, 0, 1e-4, npy)
    return npy


def encodes(name, images):
    """Our encoder against Hugging Face's numpy quantiser, on 32×32 images."""
    npy = palette_file(images)
    clusters = np.load(npy)
    assert clusters.dtype == np.float32
    file, data = store(name, images), scaled(images)
    one_file = store(name + " one".replace(" ", "-"), images[0])
    per_call = lambda n: np.concatenate([color_quantize(data[at : at + n], clusters) for at in range(0, len(data), n)])
    rounds = []
    for _ in range(args.rounds):
        theirs, theirs_cpu, tokens = timed(lambda: per_call(1))
        eight, eight_cpu, _ = timed(lambda: per_call(8))
        mine = ours("encode", file, npy, len(images) * 1024, folder / "tokens")
        singly = ours("encode", file, npy, 1024, folder / "tokens-singly")
        rounds.append(dict(
            theirs=theirs, eight=eight, mine=mine["seconds"], singly=singly["seconds"],
            theirs_cpu=theirs_cpu, eight_cpu=eight_cpu, mine_cpu=mine["cpu"], singly_cpu=singly["cpu"],
        ))
    mine = np.frombuffer((folder / "tokens").read_bytes(), dtype="<u2")
    assert (mine == np.frombuffer((folder / "tokens-singly").read_bytes(), dtype="<u2")).all()
    # Where they differ, f64 distances must not say that ours is farther.
    differ = np.flatnonzero(mine != tokens)
    exact = images.reshape(-1, 3)[differ].astype(np.float64) / 127.5 - 1
    far = lambda chosen: ((exact - clusters[chosen].astype(np.float64)) ** 2).sum(1)
    assert (far(mine[differ]) <= far(tokens[differ]) + 1e-14).all()
    m = lambda key: statistics.median(round[key] for round in rounds)
    best = min("theirs", "eight", key=m)
    ratios = sorted(round[best] / round["mine"] for round in rounds)
    print(f"\nencode {name}: {len(images):,} images of 32 × 32, 512 colours, {args.rounds} rounds")
    print(f"  color_quantize, an image a call: {m('theirs'):.4f} s; eight a call: {m('eight'):.4f} s")
    print(f"  igpt, all in one call: {m('mine'):.4f} s; an image a call: {m('singly'):.4f} s")
    print(f"  numpy (the quicker way) / igpt: {m(best) / m('mine'):.0f} (by round {ratios[0]:.0f} to {ratios[-1]:.0f});"
          f" both an image a call: {m('theirs') / m('singly'):.1f} ({m('singly') / len(images) * 1e6:.0f} µs an image)")
    print(f"  CPU: numpy (the quicker way) / igpt {m(best + '_cpu') / m('mine_cpu'):.0f}; both an image a call"
          f" {m('theirs_cpu') / m('singly_cpu'):.1f} (ours with reading and writing files)")
    print(f"  tokens that differ: {len(differ)} of {len(mine):,} (rounding of f32; ours are nearer)")

    ours("config", npy, folder / "preprocessor_config.json")
    processor = ImageGPTImageProcessor.from_pretrained(folder)
    assert (np.asarray(processor.clusters, dtype=np.float32) == clusters).all()
    ids = processor(images=list(images[:8]), return_tensors="np", do_resize=False)["input_ids"]
    same = (ids.ravel() == mine[: ids.size]).sum()
    print(f"  written preprocessor_config.json, loaded by transformers: size {processor.size}, {same} of {ids.size} tokens the same")


def processes(name, images, all_images):
    """From pixels to tokens: Hugging Face's whole processor, as its documentation calls it, against our encoder."""
    npy = palette_file(images)
    processor = ImageGPTImageProcessor(clusters=np.load(npy).tolist(), size={"height": 32, "width": 32})
    file, every_file = store(name, images), store(name + "-all", all_images)
    rounds = []
    for _ in range(args.rounds):
        singly, _, ids = timed(lambda: np.concatenate([processor(images=p, return_tensors="np")["input_ids"] for p in images]))
        eight, _, _ = timed(
            lambda: [processor(images=list(images[at : at + 8]), return_tensors="np") for at in range(0, len(images), 8)]
        )
        mine = ours("encode", file, npy, len(images) * 1024, folder / "tokens")
        every = ours("encode", every_file, npy, len(all_images) * 1024, folder / "tokens-all")
        rounds.append(dict(singly=singly, eight=eight, mine=mine["seconds"], every=every["seconds"]))
    mine = np.frombuffer((folder / "tokens").read_bytes(), dtype="<u2")
    m = lambda key: statistics.median(round[key] for round in rounds)
    best = min("singly", "eight", key=m)
    ratios = sorted(round[best] / round["mine"] for round in rounds)
    print(f"\npixels to tokens, {name}: {len(images):,} images of 32 × 32, 512 colours, {args.rounds} rounds")
    print(f"  ImageGPTImageProcessor, an image a call: {m('singly'):.3f} s; eight a call: {m('eight'):.3f} s")
    print(f"  igpt: {m('mine'):.4f} s; ratio (their quicker way) {m(best) / m('mine'):.0f} (by round {ratios[0]:.0f} to {ratios[-1]:.0f})")
    print(f"  igpt, {len(all_images):,} images: {m('every'):.2f} s")
    print(f"  tokens that differ: {(ids.ravel() != mine).sum()} of {len(mine):,}")


if "small" in sets:
    fits("photographs-at-64", small)
if "large" in sets:
    fits("photographs-a-quarter-of-all-pixels", large)
if "cifar" in sets and cifar is not None:
    fits("cifar-jpeg-copy-1000", cifar.reshape(-1, 3))
if "encode" in sets:
    if cifar is None:
        rng = np.random.default_rng(1)
        tiles = every[: len(every) // 1024 * 1024].reshape(-1, 32, 32, 3)
        cifar = tiles[rng.permutation(len(tiles))[:1000]]
    encodes("32x32", cifar)
if "processor" in sets and args.cifar:
    processes("cifar-jpeg-copy", cifar, np.concatenate([decoded(file) for file in args.cifar]))
print("\nload:", Path("/proc/loadavg").read_text().split()[:3])
