"""A copy of a notebook, open in JupyterLab in headless Chromium."""

import contextlib
import json
import os
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


class Lab:
    """The page, the notebook's document as it was, and where images go."""

    def __init__(self, page, document, notebook, images):
        self.page, self.document, self.notebook, self.images = page, document, notebook, images

    def command(self, name, **arguments):
        """Starts one of JupyterLab's commands and does not wait for its end (which may need a click)."""
        self.page.evaluate("([name, args]) => { window.jupyterapp.commands.execute(name, args); }", [name, arguments])

    def sources(self):
        return ["".join(c["source"]) for c in self.document["cells"] if c["cell_type"] == "code"]

    def prompts(self):
        return self.page.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()

    def output(self, number):
        """What a code cell (from 0) shows."""
        return self.page.locator(".jp-CodeCell").nth(number).locator(".jp-Cell-outputArea").inner_text()

    def errors(self):
        kind = "[data-mime-type='application/vnd.jupyter.error'], [data-mime-type='application/vnd.jupyter.stderr']"
        return self.page.locator(f".jp-CodeCell .jp-OutputArea-output:is({kind})").count()

    def wait_for_the_end(self, patience=900):
        """Waits until no cell is marked as running; returns seconds."""
        start = time.time()
        real = [bool(source.strip()) for source in self.sources()]
        # Between two cells none is marked as running, on a busy machine for seconds: only further looks tell the end.
        quiet, enough = 0, 1
        while time.time() - start < patience and quiet < enough:
            prompts = self.prompts()
            started = [any(c.isdigit() for c in prompt) for prompt in prompts]
            over = all("*" not in prompt for prompt in prompts) and any(started)
            enough = 6 if all(ran for ran, is_real in zip(started, real) if is_real) else 40
            quiet = quiet + 1 if over else 0
            time.sleep(0.5)
        return time.time() - start - 0.5 * quiet

    def image(self, name, whole=False):
        file = self.images / f"{self.notebook.stem}-{name}.png"
        if whole:
            height = self.page.evaluate(
                "Math.max(...[...document.querySelectorAll('.jp-NotebookPanel *')].map(e => e.scrollHeight))")
            self.page.set_viewport_size({"width": 1280, "height": min(int(height) + 200, 12000)})
            self.page.evaluate("document.querySelectorAll('.jp-NotebookPanel *').forEach(e => e.scrollTop = 0)")
            time.sleep(1.5)
        self.page.screenshot(path=str(file))
        return file


@contextlib.contextmanager
def opened(notebook, images, variables=None):
    """Works on a copy without outputs, so that the notebook stays as it is."""
    notebook, images = pathlib.Path(notebook).resolve(), pathlib.Path(images).resolve()
    images.mkdir(parents=True, exist_ok=True)
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
             f"--ServerApp.root_dir={folder}", f"--LabApp.user_settings_dir={settings}",
             f"--LabApp.workspaces_dir={folder}/workspaces", "--LabApp.extension_manager=readonly",
             "--expose-app-in-browser"],
            stdout=subprocess.DEVNULL, stderr=open(images / "lab.log", "w"), env={**os.environ, **(variables or {})})
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
                yield Lab(page, document, notebook, images)
                browser.close()
        finally:
            server.terminate()
            server.wait()
