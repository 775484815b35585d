"""Under steady load through Nginx, nothing that an operator does to Gunicorn loses a request.

GET and POST, kept-alive clients, 200 requests a second in all for as long as each test takes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.load import Result, load
from tests.process.edge.support import Edge
from tests.support import ROOT, Server, wait_for

Serve = Callable[..., Server]
RATE = 100  # for each of GET and POST

WORKS = """
import os, time, pathlib
def app(environ, start_response):
    size = len(environ["wsgi.input"].read())
    if environ["PATH_INFO"] == "/wait":
        while not pathlib.Path("go").exists():
            time.sleep(0.02)
    time.sleep(0.002)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d %d" % (os.getpid(), size)]
"""


@pytest.fixture(scope="module")
def nginx() -> str:
    """The path of an Nginx new enough."""
    found = subprocess.run([ROOT / "scripts" / "local-nginx"], check=True, stdout=subprocess.PIPE, text=True)
    return found.stdout.strip()


class Loaded:
    """Load on its way; ``results`` after the block."""

    def __init__(self) -> None:
        self.results: dict[str, Result] = {}

    def table(self) -> str:
        """Return a line for each client: what it sent, and what became of it."""
        lines = [f"{name:5} {result.total:6} {dict(result.outcomes)}" for name, result in self.results.items()]
        return "\n".join(["", *lines])

    @property
    def failed(self) -> int:
        return sum(result.failed for result in self.results.values())


@pytest.fixture
def loaded(nginx: str, tmp_path: Path) -> Callable[..., object]:
    @contextmanager
    def start(*servers: Server) -> Iterator[Loaded]:
        upstream = " ".join(f"127.0.0.1:{server.port}" for server in servers)
        edge = Edge(tmp_path / "edge", nginx, UPSTREAM=upstream)
        counts = Loaded()
        try:
            edge.start()
            url = edge.url("/")
            with load(url, rate=RATE) as gets, load(url, rate=RATE, post=True) as posts:
                began = time.monotonic()
                yield counts
                wait_for(lambda: time.monotonic() - began > 2, "two seconds of load at least")
            counts.results = {"GET": gets.result, "POST": posts.result}
            print(counts.table())
        finally:
            edge.close()

    return start


def replaced(server: Server, before: set[int]) -> bool:
    now = set(server.workers())
    return len(now) == len(before) and not before & now


@pytest.mark.parametrize("worker_class", ["gthread", "drain"])
def test_ten_reloads(serve: Serve, loaded: Callable[..., Loaded], worker_class: str) -> None:
    server = serve(WORKS, GUNICORN_WORKER_CLASS=worker_class)
    with loaded(server) as counts:
        for _ in range(10):
            before = set(server.workers())
            server.signal(signal.SIGHUP)
            wait_for(lambda seen=before: replaced(server, seen), "new workers")
    assert counts.failed == 0, counts.table()
