#!/bin/sh
# On a machine without a GPU: builds what a session on one with a GPU needs, and puts it into target/gpu/: programs without
# their debug information, CIFAR-10 as tokens, and the loss curve of the CPU, whose bits are the same on all machines.
#
#     tests/peers/gpu/build.sh [--no-curve]
#
# CIFAR-10 is found as the library finds it; if it is not prepared yet, IGPT_PROGRAM names the `igpt` command that does it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../.."
out=target/gpu
mkdir -p "$out"

cargo build --release --package igpt --example gpu_peer --example gpu_train --example gpu_tokens
examples=${CARGO_TARGET_DIR:-target}/release/examples
tests=$(cargo test --release --package igpt --lib --no-run --message-format=json |
    python3 -c 'import json, sys
for line in sys.stdin:
    it = json.loads(line)
    if it.get("profile", {}).get("test") and it.get("executable"):
        print(it["executable"])')
strip -o "$out/gpu_peer" "$examples/gpu_peer"
strip -o "$out/gpu_train" "$examples/gpu_train"
strip -o "$out/unit_tests" "$tests"

[ -f "$out/images.bin" ] || "$examples/gpu_tokens" "$out/images.bin"
if [ "${1:-}" != --no-curve ] && ! [ -f "$out/cpu-f32.csv" ]; then
    IGPT_DEVICE=cpu "$out/gpu_train" curve "$out/images.bin" f32 cpu-f32 "$out"
fi
# The commit that was built, and whether it is all that was.
{
    git rev-parse HEAD
    git status --porcelain | grep -q . && echo "with changes that are not committed" || true
} >"$out/commit"

# One archive: programs shrink to a third.
tar --create --gzip --file target/gpu.tar.gz --directory target gpu
echo "needs glibc $(objdump -T "$out/gpu_peer" "$out/gpu_train" "$out/unit_tests" |
    grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1 | cut -d_ -f2) or newer"
du -b "$out"/* target/gpu.tar.gz
echo "tracked files of the checkout: $(git ls-files -z | xargs -0 du -cb | tail -1 | cut -f1)"
