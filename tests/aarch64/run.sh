#!/usr/bin/env bash
# Tests the library for AArch64 (64-bit ARM) on a machine with another processor: what its kernels for NEON compute against plain Rust,
# and against the digests in kernel-lib/tests/bits.rs, which x86-64 gives. QEMU runs the tests; it says nothing about speed.
#
#     tests/aarch64/run.sh                # everything
#     tests/aarch64/run.sh simd::         # only the unit tests whose names have this in them
#
# On Debian: apt install qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross. Rust's standard library is compiled from the
# toolchain's own sources (rust-toolchain.toml has `rust-src`), which stable Rust does if RUSTC_BOOTSTRAP says so. Not part of CI.
set -euo pipefail
cd "$(dirname "$0")/../.."
for tool in qemu-aarch64 aarch64-linux-gnu-gcc; do
    command -v "$tool" >/dev/null ||
        { echo "$0: there is no $tool: apt install qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross" >&2 && exit 1; }
done
export RUSTC_BOOTSTRAP=1
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
cargo_test() { cargo test --locked -Z build-std --target aarch64-unknown-linux-gnu -p igpt "$@"; }

if (($#)); then
    cargo_test --lib -- "$@"
else
    # Not those of the GPU's engine, whose emulator is compiled by the C++ compiler of this machine.
    cargo_test --lib -- simd:: engine:: probe::kernels:: adam:: --skip engine::cuda
    cargo_test --test bits
fi
