"""Requests lost when Gunicorn restarts under load: `python -m bench.restarts [--restarts N] [CLASS ...]`.

Clients send POSTs, each on a new connection or (`--kept`) on connections they keep, while the server is stopped
(SIGTERM) and started again on its port, reloads (`--by hup`), or replaces workers every 200 requests (`--by requests`).
*Lost* means: connected, and no whole response. *Refused* is no loss: a proxy tries elsewhere or again, with a POST too.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from bench.hooks import ROOT, free_port

APPLICATION = """
import time
def app(environ, start_response):
    environ["wsgi.input"].read()
    time.sleep(0.05)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
ASGI_APPLICATION = """
import asyncio
async def app(scope, receive, send):
    while (await receive())["more_body"]:
        pass
    await asyncio.sleep(0.05)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""
ASGI = ("asgi", "gunicorn-asgi", "uvicorn")
CLASSES = ("gthread", "drain", "lean", *ASGI)
HEAD, BODY = b"POST / HTTP/1.1\r\nHost: x\r\n", b"Content-Length: 4\r\n\r\nbody"


class Client:
    """Sends POSTs, on one connection for as long as the server keeps it if ``kept``."""

    def __init__(self, port: int, kept: bool = False) -> None:
        self._port = port
        self._request = HEAD + (b"" if kept else b"Connection: close\r\n") + BODY
        self._socket: socket.socket | None = None

    def post(self) -> str:
        """Send one POST; return what became of it."""
        try:
            connection = self._socket or socket.create_connection(("127.0.0.1", self._port), timeout=30)
        except ConnectionRefusedError:
            return "refused"
        except OSError:
            return "lost"
        self._socket = None
        answer = b""
        try:
            connection.sendall(self._request)
            while not answer.endswith(b"\r\n\r\nok") and (received := connection.recv(4096)):
                answer += received
        except OSError:
            pass
        if b"onnection: close" in answer or not answer.endswith(b"ok"):
            connection.close()
        else:
            self._socket = connection
        return "answered" if answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"ok") else "lost"


class Load:
    """Clients that never stop."""

    def __init__(self, port: int, clients: int, kept: bool) -> None:
        self.seen: Counter[str] = Counter()
        self._port = port
        self._kept = kept
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._client) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _client(self) -> None:
        client = Client(self._port, self._kept)
        while not self._stop.is_set():
            result = client.post()
            with self._lock:
                self.seen[result] += 1
            if result == "refused":
                time.sleep(0.01)

    def end(self) -> Counter[str]:
        """Stop the clients."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return self.seen


def start(folder: Path, port: int, worker_class: str, max_requests: int) -> subprocess.Popen[bytes]:
    """Start a server and wait until it answers."""
    (folder / "wsgi.py").write_text(ASGI_APPLICATION if worker_class in ASGI else APPLICATION)
    (folder / "gunicorn.conf.py").write_text((ROOT / "gunicorn.conf.py").read_text())
    ours = ("GUNICORN_", "GREENDOCK_", "NGINX_", "WEB_CONCURRENCY", "PORT", "APP_MODULE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {
        "GUNICORN_BIND": f"127.0.0.1:{port}",
        "GUNICORN_WORKER_CLASS": worker_class,
        "GREENDOCK_READINESS_FILE": str(folder / "run" / "ready"),
        "GREENDOCK_DRAIN_SECONDS": "0",
        "GUNICORN_MAX_REQUESTS": str(max_requests),
        "WEB_CONCURRENCY": "2",
        "APP_MODULE": "wsgi:app",
    }
    with (folder / "log").open("ab") as log:
        command = [str(Path(sys.executable).with_name("gunicorn"))]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    deadline = time.monotonic() + 30
    while Client(port).post() != "answered":
        if time.monotonic() > deadline or process.poll() is not None:
            raise SystemExit(f"bench.restarts: the server did not start:\n{(folder / 'log').read_text()}")
        time.sleep(0.02)
    return process


def measure(worker_class: str, restarts: int, clients: int, by: str, kept: bool) -> Counter[str]:
    """Restart a server under load; return what became of the requests."""
    port = free_port()
    max_requests = 200 if by == "requests" else 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process = start(folder, port, worker_class, max_requests)
        load = Load(port, clients, kept)
        for number in range(1, restarts + 1):
            time.sleep(1)
            if by == "term":
                process.send_signal(signal.SIGTERM)
                process.wait(60)
                process = start(folder, port, worker_class, max_requests)
            elif by == "hup":
                process.send_signal(signal.SIGHUP)
            while by != "term" and (folder / "log").read_text().count("Booting worker") < 2 + 2 * number:
                time.sleep(0.05)
        time.sleep(1)
        seen = load.end()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        return seen


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restarts", type=int, default=4)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--by", choices=("term", "hup", "requests"), default="term")
    parser.add_argument("--kept", action="store_true", help="clients keep their connections")
    parser.add_argument("classes", nargs="*", default=CLASSES, help="worker classes (default: all)")
    options = parser.parse_args()
    print(f"| {options.restarts} restarts, {options.clients} clients | answered | refused | lost |\n|---|---|---|---|")
    for worker_class in options.classes:
        seen = measure(worker_class, options.restarts, options.clients, options.by, options.kept)
        print(f"| {worker_class} | {seen['answered']} | {seen['refused']} | {seen['lost']} |", flush=True)


if __name__ == "__main__":
    main()
