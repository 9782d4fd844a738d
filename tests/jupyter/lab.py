"""Opens a notebook in JupyterLab in headless Chromium, runs all cells, waits for the end, and takes screenshots.

    .venv/bin/python tests/jupyter/lab.py notebooks/0_how_these_notebooks_work.ipynb [folder for the pictures]

Works on a copy, so that the notebook stays as it is. Exits 1 if a cell without the tag `raises-exception` failed or the
kernel did not finish. Needs `igpt setup`, tests/jupyter/requirements.txt, and chromium (Debian: apt install chromium)."""

import json
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from playwright.sync_api import sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--no-first-run"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def main():
    notebook = pathlib.Path(sys.argv[1]).resolve()
    pictures = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else "target/lab").resolve()
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=notebook.parent, prefix=".lab-") as folder:
        copy = pathlib.Path(folder) / notebook.name
        document = json.loads(notebook.read_text())
        for cell in document["cells"]:
            if cell["cell_type"] == "code":
                cell["outputs"], cell["execution_count"] = [], None
        copy.write_text(json.dumps(document))
        port = free_port()
        settings = pathlib.Path(folder) / "settings"
        # All cells are there, not only those on the screen.
        plugin = settings / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
        plugin.parent.mkdir(parents=True)
        plugin.write_text(json.dumps({"windowingMode": "none"}))
        lab = shutil.which("jupyter-lab", path=str(pathlib.Path(sys.executable).parent)) or "jupyter-lab"
        server = subprocess.Popen(
            [lab, "--no-browser", "--allow-root", f"--port={port}", "--ServerApp.token=", "--ServerApp.password=",
             f"--ServerApp.root_dir={folder}", f"--LabApp.user_settings_dir={settings}", "--LabApp.extension_manager=readonly"],
            stdout=subprocess.DEVNULL, stderr=open(pictures / "lab.log", "w"))
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(120):
                try:
                    urllib.request.urlopen(url + "/api/status", timeout=2)
                    break
                except OSError:
                    time.sleep(0.5)
            with sync_playwright() as p:
                browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                page.goto(f"{url}/lab/tree/{notebook.name}?reset")
                page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
                time.sleep(3)
                for name in ["No", "Dismiss"]:
                    for button in page.get_by_role("button", name=name, exact=True).all():
                        button.click()
                start = time.time()
                page.get_by_role("menuitem", name="Run", exact=True).click()
                page.get_by_text("Run All Cells", exact=True).click()
                cells = sum(c["cell_type"] == "code" and bool("".join(c["source"]).strip()) for c in document["cells"])
                # Between two cells none is marked as running: only a second look, a while later, tells the end.
                prompts, quiet = [], 0
                while time.time() - start < 900 and quiet < 6:
                    prompts = page.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()
                    over = len(prompts) >= cells and all("*" not in prompt for prompt in prompts)
                    quiet = quiet + 1 if over and any(c.isdigit() for prompt in prompts for c in prompt) else 0
                    time.sleep(0.5)
                print(f"all cells ended after {time.time() - start - 0.5 * quiet:.1f} s: {prompts}")
                time.sleep(1.5)
                page.screenshot(path=str(pictures / f"{notebook.stem}-top.png"))
                height = page.evaluate(
                    "Math.max(...[...document.querySelectorAll('.jp-NotebookPanel *')].map(e => e.scrollHeight))")
                page.set_viewport_size({"width": 1280, "height": min(int(height) + 200, 12000)})
                page.evaluate("document.querySelectorAll('.jp-NotebookPanel *').forEach(e => e.scrollTop = 0)")
                time.sleep(1.5)
                page.screenshot(path=str(pictures / f"{notebook.stem}.png"))
                failed = page.locator(".jp-CodeCell .jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']").count()
                browser.close()
            expected = sum("raises-exception" in c["metadata"].get("tags", []) for c in document["cells"])
            never = [prompt for prompt in prompts if not any(c.isdigit() for c in prompt)]
            print(f"{failed} outputs on stderr or errors ({expected} expected), {len(never)} cells never ran; pictures in {pictures}")
        finally:
            server.terminate()
            server.wait()


main()
