"""Fixtures that start a real Gunicorn with the lean worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lean_server import Server


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a Gunicorn with these arguments; it is ended with the test."""
    servers: list[Server] = []

    def _start(*args: str, ready: bool = True, **options: Any) -> Server:
        folder = tmp_path / str(len(servers))
        folder.mkdir()
        servers.append(Server(folder, *args, **options))
        return servers[-1].wait_until_ready() if ready else servers[-1]

    yield _start
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One worker with four threads that every test of a module shares."""
    server = Server(tmp_path_factory.mktemp("shared"), "--threads", "4", "--keep-alive", "20", "--timeout", "20")
    yield server.wait_until_ready()
    server.close()
