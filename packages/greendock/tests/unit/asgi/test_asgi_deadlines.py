"""How long the asgi worker waits for what a client does not send."""

from __future__ import annotations

import asyncio
import socket

from asgi_scripted import PEER, ScriptedWorker, Transport
from gunicorn.config import Config

from greendock.contrib.asgi.connection import Connection
from greendock.contrib.lean.worker import HEAD_SECONDS


async def _trickled_head() -> bytes:
    mine, theirs = socket.socketpair()
    with mine, theirs:
        cfg = Config()
        cfg.set("keepalive", 75)
        worker, transport = ScriptedWorker(cfg), Transport(PEER, mine)
        connection = Connection(worker)  # type: ignore[arg-type]
        connection.connection_made(transport)
        connection.data_received(b"GET / HTTP/1.1\r\nHost")
        deadline = connection.deadline
        assert deadline <= worker.loop.time() + HEAD_SECONDS
        connection.data_received(b": x\r\n")
        assert connection.deadline == deadline, "more of it buys no time"
        connection.overdue()
        assert transport.ended
        return transport.sent


def test_a_head_that_is_not_complete_in_time_is_answered_408() -> None:
    assert asyncio.run(_trickled_head()).startswith(b"HTTP/1.1 408 ")
