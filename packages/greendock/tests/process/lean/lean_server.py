"""A real Gunicorn with the lean worker, and a client that speaks to it byte by byte."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

HERE = Path(__file__).parent


def until(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """Wait for ``condition`` to be true, and return what it was; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still not true after {seconds} s"
        time.sleep(0.01)
    return value


class Server:
    """A Gunicorn master with lean workers."""

    def __init__(
        self,
        folder: Path,
        *args: str,
        app: str = "lean_app:app",
        conf: str = "",
        bind: str = "",
        launcher: tuple[str, ...] = (),
        pass_fds: tuple[int, ...] = (),
        env: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        (folder / "gunicorn.conf.py").write_text(conf)
        self.log_path = folder / "log"
        self.bind = bind
        with self.log_path.open("w") as log:
            self.process = subprocess.Popen(
                [
                    *launcher,
                    *(sys.executable, "-m", "gunicorn", "-k", "greendock.contrib.lean.LeanWorker"),
                    *("-c", str(folder / "gunicorn.conf.py"), "-b", bind or "127.0.0.1:0"),
                    *("--no-control-socket", "--log-level", "debug", "--worker-tmp-dir", str(folder), *args, app),
                ],
                cwd=HERE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=pass_fds,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def wait_until_ready(self) -> Server:
        until(lambda: "Booting worker" in self.log or self.process.poll() is not None)
        assert self.process.poll() is None, self.log
        until(lambda: re.search(r"Listening at: (\S+)", self.log))
        if not self.bind:
            self.port = int(re.search(r"Listening at: http://127.0.0.1:(\d+)", self.log)[1])
            until(lambda: self.get("/pid").status)
        return self

    def pids(self) -> set[int]:
        """The workers that are alive."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return {int(pid) for pid in path.read_text().split()}

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def connect(self, data: bytes = b"", timeout: float = 20) -> Client:
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        client = Client(sock)
        if data:
            client.send(data)
        return client

    def get(self, target: str, method: str = "GET", body: Any = None, headers: Any = None) -> Reply:
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            conn.request(method, target, body=body, headers=headers or {})
            return Reply(conn.getresponse())
        finally:
            conn.close()

    def wait(self) -> int:
        """The exit status, once it has ended."""
        return self.process.wait(timeout=20)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            try:
                self.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                for pid in (*self.pids(), self.process.pid):  # a hung worker does not notice that its parent is gone
                    os.kill(pid, signal.SIGKILL)
                self.process.wait()


class Reply:
    """A response, read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()
        self.text = self.body.decode("latin-1")


class Client:
    """A raw connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def reply(self, method: str = "GET") -> Reply:
        """The next response. Reads no byte beyond it."""
        response = http.client.HTTPResponse(self.sock, method=method)
        response.fp = self.sock.makefile("rb", buffering=0)
        response.begin()
        return Reply(response)

    def rest(self) -> bytes:
        """Everything until the server closes."""
        data = b""
        try:
            while more := self.sock.recv(65536):
                data += more
        except ConnectionResetError:
            data += b"<reset>"
        return data

    def close(self) -> None:
        self.sock.close()
