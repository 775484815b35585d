"""The asgi worker's connection, fed by hand: what an application sees of the bytes, and what is answered."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from gunicorn.workers.base import Worker

from greendock.contrib.asgi.connection import Connection
from greendock.contrib.asgi.head import Limits

PEER = ("127.0.0.1", 40000)


class Transport:
    """What the peer gets is in ``sent``."""

    def __init__(self, peer: Any = PEER, sock: Any = None) -> None:
        self.sent = b""
        self.ended = self.paused = False
        self._info = {"peername": peer, "sockname": ("127.0.0.1", 8000), "socket": sock}

    def get_extra_info(self, name: str) -> Any:
        return self._info[name]

    def write(self, data: bytes) -> None:
        assert not self.ended
        self.sent += data

    def close(self) -> None:
        self.ended = True

    write_eof = abort = close

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_write_buffer_size(self) -> int:
        return 0


class ScriptedWorker:
    """As much of an AsgiWorker as a connection needs; ``seen`` holds each request: scope, body, was it whole."""

    alive = True
    aborting = tells = False
    date = b"date: now\r\n"
    handle_error = Worker.handle_error

    def __init__(self, cfg: Any) -> None:
        self.cfg, self.limits = cfg, Limits(cfg)
        self.loop = asyncio.get_running_loop()
        self.connections: set[Any] = set()
        self.state: dict[str, Any] = {}
        self.tasks: set[Any] = set()
        self.seen: list[tuple[dict[str, Any], bytes, bool]] = []
        quiet = logging.getLogger("scripted")
        quiet.disabled = True
        self.log: Any = SimpleNamespace(
            access=lambda *_: None,
            **{name: getattr(quiet, name) for name in ("info", "warning", "error", "exception", "debug")},
        )

    def start(self, call: Any) -> None:
        task = self.loop.create_task(call)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def count_request(self) -> None:
        pass

    def keeps_connections(self) -> bool:
        return True

    def lost(self, _: Any) -> None:
        pass

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        body, whole = b"", False
        while not whole and (message := await receive())["type"] == "http.request":
            body += message["body"]
            whole = not message["more_body"]
        self.seen.append((scope, body, whole))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


async def _through(pieces: Iterable[bytes], cfg: Any, peer: Any) -> tuple[ScriptedWorker, Transport, Connection]:
    worker, transport = ScriptedWorker(cfg), Transport(peer)
    connection = Connection(worker)  # type: ignore[arg-type]
    connection.connection_made(transport)
    for piece in pieces:
        if transport.ended:
            break
        connection.data_received(piece)
        for _ in range(5):
            await asyncio.sleep(0)
    for _ in range(60):
        await asyncio.sleep(0)
    if not transport.ended:
        connection.connection_lost(None)
        await asyncio.sleep(0)
    for task in list(worker.tasks):
        await task
    return worker, transport, connection


def through_asgi(pieces: Iterable[bytes], cfg: Any, peer: Any = PEER) -> tuple[list[Any], list[str], bool]:
    """Feed ``pieces`` to a connection: the requests seen, the statuses answered, whether it was closed."""
    worker, transport, _ = asyncio.run(_through(pieces, cfg, peer))
    statuses = re.findall(r"HTTP/1\.1 (\d{3}) ", transport.sent.decode("latin-1"))
    return worker.seen, statuses, transport.ended
