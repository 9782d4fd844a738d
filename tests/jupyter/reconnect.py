"""A network pause between the notebook's page and Jupyter's server: nothing that a cell prints meanwhile is lost.

    .venv/bin/python tests/jupyter/reconnect.py

A real server (jupyter_server) and the websocket that JupyterLab and VS Code speak to it. A cell prints a number every
0.2 s; the websocket is cut in the middle, without a goodbye, and opened again 2 s later under the same session, as those
clients do. Exits 1 if a number is missing, comes twice or in another order, or if the kernel does not work afterwards."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid

import websocket

from lab_page import free_port

COUNT = 40
COUNTING = f"for number in 0..{COUNT} {{ println!(\"number {{number}}\"); std::thread::sleep(std::time::Duration::from_millis(200)); }}"


class Server:
    def __init__(self, folder):
        self.port, self.token = free_port(), uuid.uuid4().hex
        self.process = subprocess.Popen(
            [pathlib.Path(sys.executable).parent / "jupyter-server", "--no-browser", f"--port={self.port}", "--ServerApp.port_retries=0",
             f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={folder}", *(["--allow-root"] if os.geteuid() == 0 else [])],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.ask("GET", "/api/status", tries=100)

    def ask(self, method, path, body=None, tries=1):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method, data=body and json.dumps(body).encode(),
                                         headers={"Authorization": f"token {self.token}", "Content-Type": "application/json"})
        for left in reversed(range(tries)):
            try:
                with urllib.request.urlopen(request) as answer:
                    return json.loads(answer.read() or b"null")
            except OSError:
                if not left:
                    raise
                time.sleep(0.2)

    def connect(self, kernel, session):
        address = f"ws://127.0.0.1:{self.port}/api/kernels/{kernel}/channels?session_id={session}"
        return websocket.create_connection(address, header=[f"Authorization: token {self.token}"], timeout=60)


def send(socket, session, code):
    header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "session": session, "username": "", "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False, "stop_on_error": True}
    socket.send(json.dumps({"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}))
    return header["msg_id"]


def hear(socket, request, heard, until):
    """Adds what is printed to `heard` until the cell has ended (and its reply come) or `until` is in it."""
    ended = set()
    while ended != {"reply", "idle"}:
        message = json.loads(socket.recv())
        if message["parent_header"].get("msg_id") != request:
            continue
        content = message["content"]
        if message["msg_type"] == "stream":
            heard.append(content["text"])
        elif message["msg_type"] == "execute_reply":
            ended.add("reply")
            assert content["status"] == "ok", content
        elif message["msg_type"] == "status" and content["execution_state"] == "idle":
            ended.add("idle")
        if until and until in "".join(heard):
            return


def main():
    session = uuid.uuid4().hex
    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder)
        try:
            kernel = server.ask("POST", "/api/kernels", {"name": "igpt"})["id"]
            socket = server.connect(kernel, session)
            hear(socket, send(socket, session, "let kept = 7;"), [], None)
            heard, request = [], send(socket, session, COUNTING)
            hear(socket, request, heard, "number 5\n")
            # Not `close`, which says goodbye.
            socket.sock.shutdown(2)
            before = "".join(heard).count("\n")
            time.sleep(2)
            socket = server.connect(kernel, session)
            hear(socket, request, heard, None)
            seen = "".join(heard).split("\n")[:-1]
            assert seen == [f"number {number}" for number in range(COUNT)], seen
            after = []
            hear(socket, send(socket, session, 'println!("{}", kept + 1);'), after, None)
            assert "".join(after) == "8\n", after
            print(f"the connection was cut after {before} of {COUNT} lines, and came back 2 s later: all lines came, once and in order")
        finally:
            for running in server.ask("GET", "/api/kernels"):
                server.ask("DELETE", f"/api/kernels/{running['id']}")
            server.process.terminate()
            server.process.wait()


main()
