#!/bin/sh
# The kernel against stock evcxr and ipykernel with PyTorch: how long a user waits. Needs `igpt setup`, python3 and
# python's package registry once. The first run builds the library twice for stock evcxr, which takes minutes each.
#
#     tests/peers/kernel/run.sh [--rounds 5] [--variants igpt,spare,static,dylib,torch]
#
# KERNEL_VENV names a virtual environment to make or to use (default: target/peers/engine, which has PyTorch, too).
set -eu
venv=${KERNEL_VENV:-target/peers/engine}
case $venv in /*) ;; *) venv=$(cd "$(dirname "$0")/../../.." && pwd)/$venv ;; esac
. "$(dirname "$0")/../python.sh"
exec "$python" "$here/compare.py" "$@"
