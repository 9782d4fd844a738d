#!/bin/sh
# The engine against PyTorch on the CPU: training step, features, sampling; the identical network, two threads each, in
# turns. Needs python3, a C++ compiler (for torch.compile) and python's package registry once.
#
#     tests/peers/engine/run.sh [--rounds 5] [--sizes a,b,c,d,e,f] [--what train,features,sample]
#
# With AVX2 on a processor that has more: PEER_ISA=avx2 ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2.
#
# ENGINE_VENV names a virtual environment to make or to use (default: target/peers/engine).
set -eu
venv=${ENGINE_VENV:-}
. "$(dirname "$0")/../python.sh"
ours=${ENGINE_PEER:-}
if [ -z "$ours" ]; then
    cargo build --release --quiet --package igpt --example engine_peer
    ours=${CARGO_TARGET_DIR:-target}/release/examples/engine_peer
fi
threads=${PEER_THREADS:-2}
# torch.compile's programs of one set of instructions have crashed with those of another from the same cache.
export TORCHINDUCTOR_CACHE_DIR="$venv/inductor-${ATEN_CPU_CAPABILITY:-best}"
export OMP_NUM_THREADS="$threads" MKL_NUM_THREADS="$threads" RAYON_NUM_THREADS="$threads" HF_HUB_OFFLINE=1
exec "$python" "$here/compare.py" --ours "$ours" "$@"
