"""Whether `igpt fetch` and huggingface_hub share a cache. Run by run.sh."""

import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

REPOSITORY, COMMIT = "openai/imagegpt-small", "c" * 40
FILES = {
    "config.json": b"{}",
    "preprocessor_config.json": b'{"clusters": []}',
    "pytorch_model.bin": bytes(range(256)) * 4000,
}


class Hub(http.server.BaseHTTPRequestHandler):
    """The requests of both clients; large files (LFS) are named by their SHA-256, small ones by git's object id."""

    log = []

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.wfile.write(self.answer())

    def answer(self):
        self.log.append(f"{self.command} {self.path}")
        path = self.path.split("?")[0]
        if path.startswith(f"/api/models/{REPOSITORY}"):
            body = json.dumps({"id": REPOSITORY, "sha": COMMIT, "siblings": [{"rfilename": name} for name in FILES]})
            return self.head(body.encode(), {"Content-Type": "application/json"})
        body = FILES[path.rsplit("/", 1)[1]]
        if len(body) > 1000:
            headers = {"X-Linked-Etag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Linked-Size": len(body)}
        else:
            headers = {"ETag": '"' + hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest() + '"'}
        return self.head(body, {"X-Repo-Commit": COMMIT, **headers})

    def head(self, body, headers):
        self.send_response(200)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        return body

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=server.serve_forever, daemon=True).start()
home = tempfile.TemporaryDirectory()
os.environ.update(HF_ENDPOINT=f"http://127.0.0.1:{server.server_port}", HF_HOME=home.name, NO_PROXY="127.0.0.1")
for name in ["HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]:
    os.environ.pop(name, None)

import filelock  # noqa: E402  both read the environment when they are imported
import huggingface_hub  # noqa: E402


def igpt(cache, **environment):
    return subprocess.Popen(
        [sys.argv[1], "fetch", "imagegpt-small"],
        env={**os.environ, "HF_HUB_CACHE": str(cache), **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def layout(cache):
    """Every file with its bytes, every link with its target; not the marks that only one client makes."""
    found = {}
    for path in sorted(pathlib.Path(cache).rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(cache))] = os.readlink(path)
        elif path.is_file() and path.name not in ("CACHEDIR.TAG", ".gitignore"):
            found[str(path.relative_to(cache))] = path.read_bytes()
    return found


with tempfile.TemporaryDirectory() as folder:
    ours, theirs = pathlib.Path(folder, "ours"), pathlib.Path(folder, "theirs")
    assert igpt(ours).wait() == 0
    for name, body in FILES.items():
        found = huggingface_hub.hf_hub_download(REPOSITORY, name, cache_dir=ours, local_files_only=True)
        assert pathlib.Path(found).read_bytes() == body, name
    scanned = huggingface_hub.scan_cache_dir(ours)
    assert not scanned.warnings and len(scanned.repos) == 1, scanned
    print(f"huggingface_hub {huggingface_hub.__version__} finds all files that igpt fetched")

    huggingface_hub.snapshot_download(REPOSITORY, cache_dir=theirs)
    Hub.log.clear()
    assert igpt(theirs, HF_HUB_OFFLINE="1").wait() == 0
    assert not Hub.log, Hub.log
    assert igpt(theirs).wait() == 0
    assert not any(line.startswith("GET") and "/resolve/" in line for line in Hub.log), Hub.log
    print("igpt finds all files that huggingface_hub fetched")

    a, b = layout(ours), layout(theirs)
    assert a == b, set(a.items()) ^ set(b.items())
    print(f"both wrote the same {len(a)} files and links: {', '.join(a)}")

    waiting = pathlib.Path(folder, "waiting")
    digest = hashlib.sha256(FILES["pytorch_model.bin"]).hexdigest()
    lock = waiting / ".locks" / "models--openai--imagegpt-small" / f"{digest}.lock"
    lock.parent.mkdir(parents=True)
    with filelock.FileLock(lock):
        child = igpt(waiting)
        time.sleep(2)
        assert child.poll() is None, "igpt does not wait for the lock"
    out, _ = child.communicate(timeout=30)
    assert child.returncode == 0 and "another process downloads it; waiting" in out, out
    print("igpt waits for a lock of huggingface_hub's")
