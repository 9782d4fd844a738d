"""What a user does with a notebook that trains, in JupyterLab in headless Chromium.

    .venv/bin/python tests/jupyter/lab_live.py [notebook] [folder for the images]

Opens the quickstart with an empty experiment store, runs all cells; takes two images while the network trains, which
must differ; interrupts the training and goes on with it, from where it was; completes `Tensor::ze`; restarts the kernel
and runs all cells. Prints a line for each, and exits 1 if one failed. The training takes minutes. Needs what lab.py
needs."""

import re
import sys
import tempfile
import time

import lab_page

TRAINING = "pretraining.show("


def steps(text):
    """The numbers of the training steps that a text names."""
    return [int(number.replace(",", "")) for number in re.findall(r"([\d,]+) of [\d,]+ steps", text)]


def wait(what, patience):
    end = time.time() + patience
    while time.time() < end:
        if found := what():
            return found
        time.sleep(0.25)
    return None


def main():
    notebook = sys.argv[1] if len(sys.argv) > 1 else "notebooks/1_quickstart.ipynb"
    failed = []

    def tell(what, well, seen=""):
        print(f"{'ok  ' if well else 'FAIL'} {what}{': ' if seen else ''}{seen}", flush=True)
        if not well:
            failed.append(what)

    with (tempfile.TemporaryDirectory() as store,
          lab_page.opened(notebook, sys.argv[2] if len(sys.argv) > 2 else "target/lab",
                          variables={"IGPT_STORE": store}) as lab):
        page = lab.page
        number = next(i for i, source in enumerate(lab.sources()) if TRAINING in source)
        cell = page.locator(".jp-CodeCell").nth(number)

        def shown():
            return lab.output(number)

        lab.command("notebook:run-all-cells")
        def reached(step):
            return max(steps(shown()), default=0) >= step

        began = wait(lambda: reached(5), 300)
        cell.evaluate("cell => cell.scrollIntoView(true)")
        first = lab.image("training-1").read_bytes()
        # Two points of the curve later.
        grown = wait(lambda: reached(60), 300)
        cell.evaluate("cell => cell.scrollIntoView(true)")
        second = lab.image("training-2").read_bytes()
        tell("the output grows while the network trains", bool(began and grown) and first != second, steps(shown()))

        before = max(steps(shown()), default=0)
        begin = time.time()
        lab.command("kernelmenu:interrupt")
        stopped = wait(lambda: "*" not in lab.prompts()[number], 60)
        lab.image("interrupted")
        tell("an interrupt stops it", bool(stopped), f"{time.time() - begin:.1f} s, after step {before}")
        tell("the cells after it did not run", all(not any(c.isdigit() for c in p) for p in lab.prompts()[number + 1:]),
             lab.prompts())
        # It goes on with the variables of the cells before, if the kernel could keep them.
        cell.locator(".jp-InputArea-editor").click()
        page.keyboard.press("Escape")
        lab.command("notebook:run-cell")
        again = wait(lambda: "*" in lab.prompts()[number] and steps(shown()), 120)
        kept = again is not None
        if not kept:
            lab.image("lost")
            lab.command("notebook:run-all-cells")
            again = wait(lambda: "*" in lab.prompts()[number] and steps(shown()), 120)
        tell("variables survive the interrupt", kept)
        tell("the training goes on where it was", bool(again) and min(again) >= before - 2, f"step {min(again or [0])}")
        ended = wait(lambda: "*" not in lab.prompts()[number], 900)
        tell("it ends", bool(ended), shown().strip().splitlines()[-1:])
        lab.wait_for_the_end()

        lab.command("notebook:insert-cell-below")
        time.sleep(0.5)
        editor = page.locator(".jp-CodeCell.jp-mod-selected .cm-content, .jp-CodeCell.jp-mod-active .cm-content").last
        editor.click()
        page.keyboard.type("Tensor::ze")
        page.keyboard.press("Tab")
        try:
            page.wait_for_function(
                "document.querySelector('.jp-Completer:not(.lm-mod-hidden)')?.innerText.includes('zeros')"
                " || [...document.querySelectorAll('.cm-content')].some(e => e.innerText.includes('Tensor::zeros'))",
                timeout=20_000)
            completed = True
        except Exception:  # Playwright's timeout
            completed = False
        lab.image("completion")
        tell("Tensor::ze is completed", completed)
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        lab.command("notebook:delete-cell")
        time.sleep(0.5)

        lab.command("notebook:restart-run-all")
        page.locator(".jp-Dialog .jp-mod-accept").click()
        time.sleep(2)
        took = lab.wait_for_the_end()
        prompts = [prompt for prompt in lab.prompts() if any(c.isdigit() for c in prompt)]
        lab.image("restarted", whole=True)
        wanted = [f"[{i + 1}]:" for i in range(len(lab.sources()))]
        tell("restart and run all", prompts == wanted and not lab.errors(), f"{took:.1f} s: {prompts}, {lab.errors()} errors")
    print(f"images in {lab.images}")
    sys.exit(bool(failed))


main()
