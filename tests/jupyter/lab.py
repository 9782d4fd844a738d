"""Opens a notebook in JupyterLab in headless Chromium, runs all cells, waits for the end, and takes screenshots.

    .venv/bin/python tests/jupyter/lab.py notebooks/0_how_these_notebooks_work.ipynb [folder for the images]

Works on a copy, so that the notebook stays as it is. Exits 1 if a cell without the tag `raises-exception` failed or the
kernel did not finish. Needs `igpt setup`, tests/jupyter/requirements.txt, and chromium (Debian: apt install chromium)."""

import sys
import time

import lab_page


def main():
    with lab_page.opened(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "target/lab") as lab:
        lab.command("notebook:run-all-cells")
        took = lab.wait_for_the_end()
        prompts = lab.prompts()
        print(f"all cells ended after {took:.1f} s: {prompts}")
        time.sleep(1.5)
        lab.image("top")
        failed = lab.errors()
        lab.image("all", whole=True)
    expected = sum("raises-exception" in c["metadata"].get("tags", []) for c in lab.document["cells"])
    never = [prompt for prompt, source in zip(prompts, lab.sources()) if source.strip() and not any(c.isdigit() for c in prompt)]
    print(f"{failed} outputs on stderr or errors ({expected} expected), {len(never)} cells never ran; images in {lab.images}")
    sys.exit(bool(failed > expected or never))


main()
