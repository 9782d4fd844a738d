#!/bin/sh
# Features of a network of a released one's shape, every layer, against Hugging Face's transformers, on the CPU: first whether they are
# equal, then the time. The same checkpoint on disk for both sides, two threads each, in turns. Needs python3 and python's package registry once.
#
#     CACHE=<a Hugging Face cache with openai/imagegpt-small> tests/peers/released/run.sh [--images 20] [--rounds 3]
#
# A random network of iGPT-S's shape: TO=$CACHE cargo test -p igpt --release --test released a_random_network -- --ignored
# RELEASED_VENV names a virtual environment to make or to use (default: target/peers/released).
set -eu
venv=${RELEASED_VENV:-}
. "$(dirname "$0")/../python.sh"
ours=${RELEASED_PEER:-}
if [ -z "$ours" ]; then
    cargo build --release --quiet --package igpt --example released_peer
    ours=${CARGO_TARGET_DIR:-target}/release/examples/released_peer
fi
threads=${PEER_THREADS:-2}
export OMP_NUM_THREADS="$threads" MKL_NUM_THREADS="$threads" RAYON_NUM_THREADS="$threads" HF_HUB_OFFLINE=1
exec "$python" "$here/compare.py" --ours "$ours" --cache "${CACHE:?CACHE names a Hugging Face cache}" "$@"
