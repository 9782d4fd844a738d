"""Makes docs/picture.png, the README's picture, from the committed outputs of the notebooks: Figure 2 as reported, ours, and
completions.

    .venv/bin/python docs/picture.py

Needs tests/jupyter/requirements.txt and chromium (Debian: apt install chromium)."""

import json
import pathlib
import shutil

from playwright.sync_api import sync_playwright

ROOT = pathlib.Path(__file__).resolve().parent.parent


def outputs(notebook, starts):
    """The HTML outputs of the cells whose source has this text, in order."""
    cells = json.loads((ROOT / "notebooks" / notebook).read_text())["cells"]
    found = []
    for start in starts:
        cell = next(c for c in cells if c["cell_type"] == "code" and start in "".join(c["source"]))
        found += ["".join(o["data"]["text/html"]) for o in cell["outputs"] if "text/html" in o.get("data", {})]
    return found


reported, ours = outputs("4.1_best_layer.ipynb", ["as reported", "Reported, and ours\")"])
(completed,) = outputs("1_quickstart.ipynb", ["completed from the upper half"])
page = f"""<!DOCTYPE html><meta charset="utf-8"><style>
body {{ margin: 16px; background: white; color: #1f2328; font: 15px sans-serif; width: 1300px }}
.row {{ display: flex; gap: 16px }} .pictures {{ margin: 16px 0 0 64px }}</style>
<div class="row"><div>{reported}</div><div>{ours}</div></div><div class="pictures">{completed}</div>"""
with sync_playwright() as p:
    browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
    view = browser.new_page(viewport={"width": 1340, "height": 100})
    view.set_content(page)
    view.screenshot(path=str(ROOT / "docs" / "picture.png"), full_page=True)
    browser.close()
