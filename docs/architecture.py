#!/usr/bin/env python3
"""Draws which module uses which, from the code, into docs/architecture.md.

    python3 docs/architecture.py            # writes the file
    python3 docs/architecture.py --check    # fails if the file is out of date, or modules use each other in a circle

A module is a file of Rust. It uses another if a path in its code (`crate::…`, `super::…`, `self::…`, or one below it) leads
there; `mod` declarations, comments and unit tests do not count. No two files may use each other, directly or by others, and
neither may two modules at the top of a crate, each with all files below it. Only Python's standard library is needed.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CRATES = [
    ("kernel-lib/src", "The library `igpt`, which notebooks import"),
    ("kernel-lib/formats/src", "What the library and `igpt-fetch` share: `igpt-formats`"),
    ("notebooks/src", "The command `igpt`: kernel, runner, set-up"),
    ("notebooks/fetch/src", "The program `igpt-fetch`: the Hugging Face hub, Parquet"),
    ("notebooks/common/src", "What both programs share"),
]
TESTS = re.compile(r"(^|/)tests?(\.rs$|/)")


class Crate:
    """The files of a crate by their paths as modules, and what each uses."""

    def __init__(self, folder):
        self.root = ROOT / folder
        files = [f for f in sorted(self.root.rglob("*.rs")) if not TESTS.search(str(f.relative_to(self.root)))]
        self.files = {self.module(file): file for file in files}
        lib = self.files.get(("lib",)) or self.files.get(("main",))
        self.exported = self.exports(code(lib)) if lib else {}
        self.uses = {module: self.used(module, code(file)) for module, file in self.files.items()}

    def module(self, file):
        parts = list(file.relative_to(self.root).with_suffix("").parts)
        return tuple(parts[:-1] if parts[-1] == "mod" else parts)

    def exports(self, text):
        """Names that the crate's root passes on, with the module that has them."""
        found = {}
        for path in paths(text, r"\bpub use ([^;]+);"):
            path = [part for part in path if part != "self"]
            if len(path) > 1 and tuple(path[:1]) in self.files:
                found[path[-1]] = tuple(path[:1])
        return found

    def used(self, module, text):
        found = set()
        for path in paths(text, r"\buse ([^;]+);") + paths(text, r"\b((?:crate|self|super)(?:::\w+)+)"):
            target = self.resolve(module, path)
            if target and target != module:
                found.add(target)
        return found

    def resolve(self, module, path):
        if path[0] == "crate":
            path = path[1:]
        elif path[0] == "self":
            path = list(module) + path[1:]
        elif path[0] == "super":
            above = list(module)
            while path and path[0] == "super":
                above, path = above[:-1], path[1:]
            path = above + path
        elif module + (path[0],) in self.files:
            path = list(module) + path
        else:
            return None
        for length in range(len(path), 0, -1):
            if tuple(path[:length]) in self.files:
                return tuple(path[:length])
        return self.exported.get(path[0]) if path else None

    def about(self, module):
        """The first sentence of a file's own words."""
        words = []
        for line in self.files[module].read_text().splitlines():
            if not line.startswith("//!"):
                break
            if line == "//!":
                break
            words.append(line[3:].strip())
        return " ".join(words)

    def top(self):
        """The modules at the top, each with those that it and all below it use."""
        graph = {module[:1]: set() for module in self.uses if module not in {("lib",), ("main",)}}
        for module, used in self.uses.items():
            if module[:1] in graph:
                graph[module[:1]] |= {other[:1] for other in used if other[:1] != module[:1]} & set(graph)
        return graph

    def between_files(self):
        """The files, without what a file has to do with those below it."""
        related = lambda a, b: a[: len(b)] == b or b[: len(a)] == a
        return {a: {b for b in used if not related(a, b)} for a, used in self.uses.items()}


def code(file):
    """A file's code without unit tests and comments."""
    # Unit tests come last in a file.
    text = re.sub(r"#\[cfg\(test\)\]\s*(?:pub(?:\(crate\))? )?mod tests \{.*\Z", "", file.read_text(), flags=re.S)
    return re.sub(r"//.*", "", text)


def paths(text, pattern):
    """The paths in what the pattern finds: `a::{b, c::d as e}` has two."""
    found = []

    def expand(before, tree):
        tree = tree.strip()
        group = re.match(r"^((?:\w+::)*)\{(.*)\}$", tree, re.S)
        if not group:
            parts = [part for part in re.sub(r"\s+as\s+\w+", "", tree).split("::") if part and part != "*"]
            path = before + parts
            if path and path[-1] == "self":
                path = path[:-1]
            if path:
                found.append(path)
            return
        before = before + [part for part in group.group(1).split("::") if part]
        depth, item = 0, ""
        for character in group.group(2) + ",":
            depth += {"{": 1, "}": -1}.get(character, 0)
            if character == "," and depth == 0:
                if item.strip():
                    expand(before, item)
                item = ""
            else:
                item += character

    for match in re.findall(pattern, text):
        expand([], match)
    return found


def circles(graph):
    """Groups of modules of which each leads to all others (Tarjan)."""
    sys.setrecursionlimit(10_000)
    number, lowest, stack, result = {}, {}, [], []

    def visit(node):
        number[node] = lowest[node] = len(number)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in number:
                visit(other)
                lowest[node] = min(lowest[node], lowest[other])
            elif other in stack:
                lowest[node] = min(lowest[node], number[other])
        if lowest[node] == number[node]:
            group = []
            while not group or group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                result.append(sorted(group))

    for node in sorted(graph):
        if node not in number:
            visit(node)
    return result


def reduced(graph):
    """Without arrows that others say already: a → c where a → b → c."""

    def reached(start, without):
        seen, open_ = set(), [other for other in graph[start] if other != without]
        while open_:
            node = open_.pop()
            if node not in seen:
                seen.add(node)
                open_.extend(graph[node])
        return seen

    return {a: {b for b in used if b not in reached(a, b)} for a, used in graph.items()}


def main():
    text = [
        "# Architecture",
        "",
        "Drawn from the code by `docs/architecture.py`; CI fails if it is out of date, or if modules use each other in a circle.",
        "An arrow leads from a module to one that it uses; arrows that follow from others are left out.",
    ]
    wrong = []
    for folder, title in CRATES:
        crate = Crate(folder)
        for graph in (crate.top(), crate.between_files()):
            for circle in circles(graph):
                names = ["/".join(module) for module in circle]
                wrong.append(f"{folder}: {', '.join(names)} use each other in a circle")
        top = crate.top()
        if not top:
            continue
        text += ["", f"## {title}", "", f"`{folder}`", "", "```mermaid", "graph LR"]
        simple = reduced(top) if not circles(top) else top
        for module in sorted(simple):
            name = module[0]
            text += [f"    {name} --> {other[0]}" for other in sorted(simple[module])] or [f"    {name}"]
        text += ["```", "", "| module | what it is | files |", "|---|---|---|"]
        for module in sorted(top):
            about = crate.about(module).replace("|", "\\|") if module in crate.files else ""
            files = sum(1 for other in crate.files if other[0] == module[0])
            text.append(f"| `{module[0]}` | {about} | {files} |")
    drawn = "\n".join(text) + "\n"
    file = ROOT / "docs" / "architecture.md"
    if "--check" in sys.argv[1:]:
        if not file.exists() or file.read_text() != drawn:
            wrong.append("docs/architecture.md is out of date: run python3 docs/architecture.py")
    else:
        file.write_text(drawn)
    for line in wrong:
        print(line, file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
