"""Tests of the wrapper by itself: no server needed."""

from __future__ import annotations

import re
from typing import Any

from greendock_server_timing import ServerTimingWorker, timed
from gunicorn.workers.base import Worker


def test_the_header_is_added_to_the_applications_own() -> None:
    seen: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]

    body = timed(app)({}, lambda *arguments: seen.append(arguments))
    assert body == [b"ok"]
    ((status, headers, _),) = seen
    assert status == "200 OK"
    assert headers[0] == ("Content-Type", "text/plain")
    assert re.fullmatch(r"app;dur=\d+\.\d", dict(headers)["Server-Timing"])


def test_it_is_a_worker_class() -> None:
    assert issubclass(ServerTimingWorker, Worker)
