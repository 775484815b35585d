"""Under steady load through Nginx, nothing that an operator does to Gunicorn loses a request.

GET and POST, kept-alive clients, 200 requests a second in all for as long as each test takes.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from greendock.testing.load import Result, load
from tests.process.proxy.support import Proxy
from tests.support import Server, local_nginx, wait_for

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

ASGI = """
import asyncio, os
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message["more_body"]
    await asyncio.sleep(0.002)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"%d %d" % (os.getpid(), size)})
"""
SOURCES = {"asgi": ASGI, "request-id-asgi": ASGI}


def works(worker_class: str) -> str:
    return SOURCES.get(worker_class, WORKS)


@pytest.fixture(scope="module")
def nginx() -> str:
    """The path of an Nginx new enough."""
    return local_nginx()


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
        proxy = Proxy(tmp_path / "proxy", nginx, UPSTREAM=upstream)
        counts = Loaded()
        try:
            proxy.start()
            url = proxy.url + "/"
            with load(url, rate=RATE) as gets, load(url, rate=RATE, post=True) as posts:
                began = time.monotonic()
                yield counts
                wait_for(lambda: time.monotonic() - began > 2, "two seconds of load at least")
            counts.results = {"GET": gets.result, "POST": posts.result}
            print(counts.table())
        finally:
            proxy.close()

    return start


def replaced(server: Server, before: set[int]) -> bool:
    now = set(server.workers())
    return len(now) == len(before) and not before & now


@pytest.mark.parametrize("worker_class", ["gthread", "drain", "lean", "asgi"])
def test_ten_reloads(serve: Serve, loaded: Callable[..., Loaded], worker_class: str) -> None:
    server = serve(works(worker_class), GUNICORN_WORKER_CLASS=worker_class)
    with loaded(server) as counts:
        for _ in range(10):
            before = set(server.workers())
            server.signal(signal.SIGHUP)
            wait_for(lambda seen=before: replaced(server, seen), "new workers")
    assert counts.failed == 0, counts.table()


@pytest.mark.parametrize("worker_class", ["lean", "asgi"])
def test_workers_recycled_by_max_requests(serve: Serve, loaded: Callable[..., Loaded], worker_class: str) -> None:
    limits = {"GUNICORN_MAX_REQUESTS": "60", "GUNICORN_MAX_REQUESTS_JITTER": "20"}
    server = serve(works(worker_class), GUNICORN_WORKER_CLASS=worker_class, **limits)
    before = set(server.workers())
    with loaded(server) as counts:
        wait_for(lambda: server.log.count("Booting worker") >= 8, "workers recycled")
    assert not before & set(server.workers())
    assert counts.failed == 0, counts.table()


@pytest.mark.parametrize("worker_class", ["lean", "asgi"])
def test_workers_added_and_taken(serve: Serve, loaded: Callable[..., Loaded], worker_class: str) -> None:
    server = serve(works(worker_class), GUNICORN_WORKER_CLASS=worker_class)
    with loaded(server) as counts:
        for number, wanted in [(signal.SIGTTIN, 3), (signal.SIGTTIN, 4), (signal.SIGTTOU, 3), (signal.SIGTTOU, 2)]:
            server.signal(number)
            server.wait_ready(f"{wanted}/{wanted}")
    assert counts.failed == 0, counts.table()


@pytest.mark.parametrize("worker_class", ["drain", "lean", "asgi"])
def test_one_of_two_replicas_stopped_and_started(
    serve: Serve, loaded: Callable[..., Loaded], worker_class: str
) -> None:
    stays = serve(works(worker_class), GUNICORN_WORKER_CLASS=worker_class)
    goes = serve(works(worker_class), GUNICORN_WORKER_CLASS=worker_class, GREENDOCK_DRAIN_SECONDS="1")
    with loaded(stays, goes) as counts:
        for _ in range(3):
            goes.signal(signal.SIGTERM)
            assert goes.wait_exit() == 0
            goes.start()
            goes.wait_ready("2/2")
    assert counts.failed == 0, counts.table()


@pytest.mark.parametrize("worker_class", ["lean", "asgi"])
def test_an_idle_worker_killed(serve: Serve, loaded: Callable[..., Loaded], worker_class: str) -> None:
    server = serve(works(worker_class), GUNICORN_WORKER_CLASS=worker_class)
    with loaded(server) as counts:
        idle = stopped_before_its_first_connection(server)
        workers = len(server.workers())
        os.kill(idle, signal.SIGKILL)
        server.wait_log("Perhaps out of memory?")
        server.wait_ready(f"{workers}/{workers}")
    assert counts.failed == 0, counts.table()


def stopped_before_its_first_connection(server: Server) -> int:
    """Add workers until one is stopped that has booted and holds no connection; it can then take none.

    Nginx keeps its connections to the first workers, but may open another at any time.
    """
    for count in range(3, 8):
        before = set(server.workers())
        server.signal(signal.SIGTTIN)
        server.wait_ready(f"{count}/{count}")
        (worker,) = set(server.workers()) - before
        os.kill(worker, signal.SIGSTOP)
        if not connections(worker):
            return worker
        os.kill(worker, signal.SIGCONT)
    raise AssertionError("every new worker had a connection at once")


def connections(pid: int) -> set[str]:
    """Return the inodes of a process's established TCP connections."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    established = {f"socket:[{row[9]}]" for row in rows if row[3] == "01"}
    return established & {str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()}


@pytest.mark.parametrize(
    ("worker_class", "settings", "held"),
    [("lean", {"GUNICORN_THREADS": "4"}, 4), ("asgi", {}, 10)],  # each of hey's ten clients has one POST under way
)
def test_a_busy_worker_killed_loses_no_more_than_it_held(
    serve: Serve, loaded: Callable[..., Loaded], worker_class: str, settings: dict[str, str], held: int
) -> None:
    server = serve(works(worker_class), GUNICORN_WORKER_CLASS=worker_class, **settings)
    with loaded(server) as counts:
        before = set(server.workers())
        os.kill(min(before), signal.SIGKILL)
        wait_for(lambda: len(server.workers()) == 2 and set(server.workers()) != before, "a replacement")
    assert counts.failed <= held, counts.table()
