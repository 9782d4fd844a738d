"""The report as its readers meet it: pictures of it, and what axe finds wrong for those who read by keyboard or screen reader.

    npm pack axe-core@4.14.1 && tar xzf axe-core-4.14.1.tgz package/axe.min.js
    .venv/bin/python tests/jupyter/report_page.py package/axe.min.js [report.html] [folder for the images]

Takes the report at 1,280 and 390 pixels, light and dark, and printed, all folded parts closed and open; runs axe in each. Prints
each violation with the elements that it is about, and exits 1 if there is one, or if a page is wider than its window. Needs
playwright and Chromium; axe is not committed."""

import pathlib
import shutil
import sys

from playwright.sync_api import sync_playwright

import lab_page

WIDTHS = {"wide": 1280, "phone": 390}
# What the Web Content Accessibility Guidelines ask (2.2, A and AA), and axe's own best practices.
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def main():
    axe = pathlib.Path(sys.argv[1])
    report = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else "target/notebooks/report.html").resolve()
    images = pathlib.Path(sys.argv[3] if len(sys.argv) > 3 else "target/report")
    images.mkdir(parents=True, exist_ok=True)
    failed = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=lab_page.FLAGS)
        for name, width in WIDTHS.items():
            for scheme in ("light", "dark"):
                # The report lets no script run; axe is one.
                context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
                page = context.new_page()
                page.goto(report.as_uri())
                page.screenshot(path=images / f"{name}-{scheme}.png")
                for folded in (True, False):
                    if not folded:
                        page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
                    wider = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
                    if wider > 0:
                        failed += 1
                        print(f"FAIL {name}, {scheme}: the page is {wider} pixels wider than its window")
                page.add_script_tag(path=axe)
                found = page.evaluate("tags => axe.run(document, { runOnly: tags })", TAGS)
                for violation in found["violations"]:
                    failed += 1
                    print(f"FAIL {name}, {scheme}: {violation['id']}: {violation['help']} ({len(violation['nodes'])} elements)")
                    for node in violation["nodes"][:3]:
                        print(f"     {node['html'][:160]}\n       {node['failureSummary'][:300]}")
                print(f"{name}, {scheme}: {len(found['passes'])} rules kept, {len(found['violations'])} broken")
                context.close()
        page = browser.new_page()
        page.goto(report.as_uri())
        page.pdf(path=images / "printed.pdf", format="A4")
        browser.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
