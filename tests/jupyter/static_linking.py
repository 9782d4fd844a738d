"""Gradients across cells with candle linked statically into each cell (stock evcxr), and with the igpt kernel.

    .venv/bin/python tests/jupyter/static_linking.py

Stock evcxr compiles candle for this, which takes minutes. Prints what each kernel says; see docs/evcxr.md."""

import tempfile

from jupyter_client.manager import KernelManager

import stock

CELLS = [
    "let a = Var::new(2f32, &Device::Cpu)?;",
    "let b = Var::new(3f32, &Device::Cpu)?;",
    "let gradients = a.mul(&b)?.backward()?;\n"
    'println!("{:?} {:?}", gradients.get(&a).map(|g| g.to_scalar::<f32>()), '
    "gradients.get(&b).map(|g| g.to_scalar::<f32>()));",
]
STOCK = ':dep candle-core = "=0.11.1"\nuse candle_core::{Device, Tensor, Var};'


def say(manager, cells, **how):
    manager.start_kernel(**how)
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
    with tempfile.TemporaryDirectory() as folder:
        stock.name(folder, "stock", stock.EVCXR)
        evcxr = KernelManager(kernel_name="stock", kernel_spec_manager=stock.manager(folder))
        print("stock evcxr:", say(evcxr, [STOCK, *CELLS], env=stock.environment(folder)))
    print("igpt kernel:", say(KernelManager(kernel_name="igpt"), CELLS))


main()
