#!/bin/sh
# Palette against scikit-learn's KMeans and MiniBatchKMeans, and against the numpy quantiser of Hugging Face's ImageGPT
# processor: the same pixels, 2 threads each, in turns. Needs python3 and its packages' registry once.
#
#     tests/peers/palette/run.sh [--rounds 5] [--cifar FILE.parquet] [--palette kmeans_centers.npy] [--sets small,large]
#
# THREADS is 2 unless told. PALETTE_VENV names a virtual environment to make or to use (default: target/peers/palette).
set -eu
venv=${PALETTE_VENV:-}
. "$(dirname "$0")/../python.sh"
cargo build --release --quiet --package igpt --example palette_bench
# These choose kernels and buffers that are not those of this machine, and slow numpy down.
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE || true
threads=${THREADS:-2}
export OMP_NUM_THREADS=$threads OPENBLAS_NUM_THREADS=$threads RAYON_NUM_THREADS=$threads HF_HUB_OFFLINE=1
exec "$python" "$here/compare.py" --ours "${CARGO_TARGET_DIR:-target}/release/examples/palette_bench" "$@"
