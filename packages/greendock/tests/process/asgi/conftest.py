"""A server with the ``asgi`` worker and the application of ``application.py``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import Server

SOURCE = Path(__file__).with_name("application.py").read_text()


@pytest.fixture
def start(serve: Callable[..., Server]) -> Callable[..., Server]:
    """Start a server; one worker unless told otherwise."""

    def start(*, wait: bool = True, **environment: str) -> Server:
        settings = {"GUNICORN_WORKER_CLASS": "asgi", "WEB_CONCURRENCY": "1", "PYTHONUNBUFFERED": "1"}
        return serve(SOURCE, wait=wait, **(settings | environment))

    return start
