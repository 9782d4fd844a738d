"""Gradients across cells with candle linked statically into each cell (stock evcxr), and with the igpt kernel.

    .venv/bin/python tests/jupyter/static_linking.py

Stock evcxr compiles candle for this, which takes minutes. Prints what each kernel says; see docs/evcxr.md."""

import json
import os
import pathlib
import tempfile

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

CELLS = [
    "let a = Var::new(2f32, &Device::Cpu)?;",
    "let b = Var::new(3f32, &Device::Cpu)?;",
    "let gradients = a.mul(&b)?.backward()?;\n"
    'println!("{:?} {:?}", gradients.get(&a).map(|g| g.to_scalar::<f32>()), '
    "gradients.get(&b).map(|g| g.to_scalar::<f32>()));",
]
STOCK = ':dep candle-core = "=0.11.1"\nuse candle_core::{Device, Tensor, Var};'


def say(manager, cells):
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=300)
    printed = []

    def hook(message):
        if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
            printed.append(message["content"]["text"])

    for cell in cells:
        client.execute_interactive(cell, output_hook=hook, timeout=1800)
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    return "".join(printed).strip()


def main():
    cache = pathlib.Path(os.environ.get("IGPT_CACHE", pathlib.Path.home() / ".cache" / "igpt"))
    with tempfile.TemporaryDirectory() as folder:
        spec = pathlib.Path(folder) / "kernels" / "stock"
        spec.mkdir(parents=True)
        program = str(cache / "evcxr-0.22.0" / "bin" / "evcxr_jupyter")
        argv = [program, "--control_file", "{connection_file}"]
        (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "stock", "language": "rust"}))
        stock = KernelSpecManager(kernel_dirs=[str(spec.parent)])
        # evcxr looks after its own kernelspec: not in the person's folder.
        os.environ["JUPYTER_PATH"] = folder
        print("stock evcxr:", say(KernelManager(kernel_name="stock", kernel_spec_manager=stock), [STOCK, *CELLS]))
    print("igpt kernel:", say(KernelManager(kernel_name="igpt"), CELLS))


main()
