"""Requests lost when Gunicorn restarts under load, gthread beside `drain`: `python -m bench.restarts [--restarts N]`.

Clients send POSTs, each on a new connection, while the server is stopped (SIGTERM) and started again on the same port.
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
REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody"


def post(port: int) -> str:
    """Send one POST; return what became of it."""
    try:
        client = socket.create_connection(("127.0.0.1", port), timeout=30)
    except ConnectionRefusedError:
        return "refused"
    except OSError:
        return "lost"
    try:
        with client:
            client.sendall(REQUEST)
            answer = b""
            while received := client.recv(4096):
                answer += received
    except OSError:
        return "lost"
    return "answered" if answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"ok") else "lost"


class Load:
    """Clients that never stop."""

    def __init__(self, port: int, clients: int) -> None:
        self.seen: Counter[str] = Counter()
        self._port = port
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._client) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _client(self) -> None:
        while not self._stop.is_set():
            result = post(self._port)
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


def start(folder: Path, port: int, worker_class: str) -> subprocess.Popen[bytes]:
    """Start a server and wait until it answers."""
    (folder / "wsgi.py").write_text(APPLICATION)
    (folder / "gunicorn.conf.py").write_text((ROOT / "gunicorn.conf.py").read_text())
    ours = ("GUNICORN_", "GREENDOCK_", "NGINX_", "WEB_CONCURRENCY", "PORT", "APP_MODULE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {
        "GUNICORN_BIND": f"127.0.0.1:{port}",
        "GUNICORN_WORKER_CLASS": worker_class,
        "GREENDOCK_READINESS_FILE": str(folder / "run" / "ready"),
        "GREENDOCK_DRAIN_SECONDS": "0",
        "WEB_CONCURRENCY": "2",
        "APP_MODULE": "wsgi:app",
    }
    with (folder / "log").open("ab") as log:
        command = [str(Path(sys.executable).with_name("gunicorn"))]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    deadline = time.monotonic() + 30
    while post(port) != "answered":
        if time.monotonic() > deadline or process.poll() is not None:
            raise SystemExit(f"bench.restarts: the server did not start:\n{(folder / 'log').read_text()}")
        time.sleep(0.02)
    return process


def measure(worker_class: str, restarts: int, clients: int) -> Counter[str]:
    """Restart a server under load; return what became of the requests."""
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process = start(folder, port, worker_class)
        load = Load(port, clients)
        for _ in range(restarts):
            time.sleep(1)
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            process = start(folder, port, worker_class)
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
    options = parser.parse_args()
    print(f"| {options.restarts} restarts, {options.clients} clients | answered | refused | lost |\n|---|---|---|---|")
    for worker_class in ("gthread", "drain", "lean"):
        seen = measure(worker_class, options.restarts, options.clients)
        print(f"| {worker_class} | {seen['answered']} | {seen['refused']} | {seen['lost']} |", flush=True)


if __name__ == "__main__":
    main()
