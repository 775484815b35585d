"""Real Nginx, real Gunicorn."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.process.proxy.support import Proxy, Record
from tests.support import Server, local_nginx

APPLICATION = Path(__file__).with_name("application.py").read_text()


@pytest.fixture(scope="session")
def nginx() -> str:
    """The path of an Nginx new enough."""
    return local_nginx()


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder with a short path, so that unix sockets fit."""
    with tempfile.TemporaryDirectory(prefix="proxy-", dir=os.environ.get("TMPDIR")) as path:
        yield Path(path)


def gunicorn(folder: Path, record: Path, source: str = APPLICATION, **environment: str) -> Server:
    """Start Gunicorn with an application; it is not waited for."""
    settings = {
        "EDGE_TEST_FOLDER": str(record),
        "WEB_CONCURRENCY": "1",
        "GUNICORN_THREADS": "16",
        "GUNICORN_KEEPALIVE": "75",
    }
    server = Server(folder, **settings | environment)
    server.write_app(source)
    return server.start()


@pytest.fixture(scope="session")
def record(folder: Path) -> Record:
    path = folder / "record"
    path.mkdir()
    return Record(path)


@pytest.fixture(scope="session")
def app(folder: Path, record: Record) -> Iterator[Server]:
    """One Gunicorn for all tests that only need an application."""
    server = gunicorn(folder / "app", record.folder)
    try:
        server.wait_ready()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def proxy(folder: Path, nginx: str, app: Server) -> Iterator[Proxy]:
    """Nginx with its defaults, in front of that application."""
    server = Proxy(folder / "proxy", nginx, UPSTREAM=f"127.0.0.1:{app.port}")
    try:
        yield server.start()
    finally:
        server.close()


Launch = Callable[..., Proxy]


@contextmanager
def _launcher(folder: Path, nginx: str, app: Server) -> Iterator[Launch]:
    with ExitStack() as stack:

        def start(*, wait: bool = True, **environment: str) -> Proxy:
            own = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
            server = Proxy(own, nginx, **{"UPSTREAM": f"127.0.0.1:{app.port}"} | environment)
            stack.callback(server.close)
            return server.start() if wait else server

        yield start


@pytest.fixture
def launch(folder: Path, nginx: str, app: Server) -> Iterator[Launch]:
    """Start further Nginxes that end with the test: ``launch(TLS="on")``. They proxy to ``app`` by default."""
    with _launcher(folder, nginx, app) as start:
        yield start


@pytest.fixture(scope="module")
def launch_module(folder: Path, nginx: str, app: Server) -> Iterator[Launch]:
    """The same, ending with the module."""
    with _launcher(folder, nginx, app) as start:
        yield start


@pytest.fixture
def replicas(folder: Path) -> Iterator[Callable[..., tuple[Record, list[Server]]]]:
    """Start applications that end with the test, each with a name of its own."""
    with ExitStack() as stack:

        def start(*names: str, **environment: str) -> tuple[Record, list[Server]]:
            own = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
            servers = [gunicorn(own / name, own, EDGE_TEST_NAME=name, **environment) for name in names]
            for server in servers:
                stack.callback(server.close)
            for server in servers:
                server.wait_ready()
            return Record(own), servers

        yield start
