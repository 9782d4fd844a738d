"""What runs on this machine, by /proc: for scripts that look whether a kernel left anything behind."""

import os
import pathlib


def parents():
    """The parent of each process."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            # The program's name, in brackets, may contain anything.
            found[int(pid)] = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            pass
    return found


def below(root):
    """The processes that `root` started, directly or not, and itself."""
    everyone = parents()
    found, new = {root}, {root}
    while new:
        new = {pid for pid, parent in everyone.items() if parent in new} - found
        found |= new
    return found


def command(pid):
    """The words of its command line; none if it is gone or a zombie."""
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def environment(pid):
    try:
        pairs = pathlib.Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
        return dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    except OSError:
        return {}


def marked(name, value):
    """The processes in whose environment `name` is `value`, which all that they start inherit."""
    return {pid for pid in parents() if environment(pid).get(name) == value and command(pid)}


def memory(root):
    """The resident memory of `root` and what it started, in megabytes; shared pages count once for each."""
    total = 0
    for pid in below(root):
        try:
            total += int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            pass
    return total / 1e6
