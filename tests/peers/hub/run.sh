#!/bin/sh
# The cache as `igpt fetch` and as Hugging Face's Python client write it: each finds what the other downloaded, and waits
# while the other downloads. The hub is a server on this machine. Needs python3 and its packages' registry once.
#
#     tests/peers/hub/run.sh
#
# HUB_VENV names a virtual environment to make or to use (default: target/peers/hub).
set -eu
venv=${HUB_VENV:-}
. "$(dirname "$0")/../python.sh"
cargo build --quiet --bin igpt --bin igpt-fetch
exec "$python" "$here/compare.py" "${CARGO_TARGET_DIR:-target}/debug/igpt"
