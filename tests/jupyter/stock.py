"""Kernels that are not ours, each named by a kernelspec in a folder that only the test has: stock evcxr_jupyter, which
`igpt setup` compiled, and what else a test starts."""

import json
import os
import pathlib

from jupyter_client.kernelspec import KernelSpecManager

CACHE = pathlib.Path(os.environ.get("IGPT_CACHE", pathlib.Path.home() / ".cache" / "igpt"))
EVCXR = [str(CACHE / "evcxr-0.22.0" / "bin" / "evcxr_jupyter"), "--control_file", "{connection_file}"]


def environment(folder):
    """In which evcxr looks after its own kernelspec: in this folder, and not in the user's."""
    return {**os.environ, "JUPYTER_PATH": str(folder)}


def name(folder, kernel, argv):
    """Names a kernel that is started so."""
    spec = pathlib.Path(folder) / "kernels" / kernel
    spec.mkdir(parents=True)
    content = {"argv": argv, "display_name": kernel, "language": "any", "interrupt_mode": "message"}
    (spec / "kernel.json").write_text(json.dumps(content))


def manager(folder):
    """Finds the kernels that were named in this folder, and no others."""
    return KernelSpecManager(kernel_dirs=[str(pathlib.Path(folder) / "kernels")])
