"""WebSockets: uvicorn's protocol, closed with code 1012 (service restart) when the worker stops.

What is used of uvicorn beyond its documentation is named in ``SEAMS``; a test holds the installed uvicorn to it.
"""

from __future__ import annotations

import asyncio
import logging
from math import inf
from typing import TYPE_CHECKING, Any

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from greendock.contrib.asgi.told import Told

if TYPE_CHECKING:
    from greendock.contrib.asgi.head import Head
    from greendock.contrib.asgi.worker import AsgiWorker

SEAMS = (
    *("connection_made", "data_received", "connection_lost", "handle_connect", "run_asgi", "send"),
    *("send_500_response", "shutdown", "stop_keepalive", "resume_writing", "handle_cont", "receive"),
)
_SERVICE_RESTART = 1012
_CLOSE_SECONDS = 2.0

#: Bytes parsed at a time: some thousand of the smallest frames. Other connections have their turn after them.
_SLICE = 16384


def config(worker: AsgiWorker) -> Config:
    """Return uvicorn's configuration for its WebSocket protocol, and let its logger write where Gunicorn's does."""
    log = logging.getLogger("uvicorn.error")
    log.handlers = worker.log.error_log.handlers
    log.setLevel(max(worker.log.error_log.level, logging.WARNING))
    log.propagate = False
    made = Config(
        None,  # type: ignore[arg-type]
        http="h11",
        ws="websockets-sansio",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        proxy_headers=False,
        ws_max_size=worker.cfg.websocket_max_message_size,
    )
    made.loaded = True
    made.loaded_app = worker.asgi
    return made


def wants_websocket(head: Head) -> bool:
    """Whether a request asks for a WebSocket (RFC 6455 section 4.1)."""
    fields = head.fields
    return (
        head.method == "GET"
        and head.version == "1.1"
        and not head.length
        and fields[b"upgrade"].lower() == b"websocket"
        and b"upgrade" in [option.strip() for option in fields.get(b"connection", b"").lower().split(b",")]
    )


class State:
    """What uvicorn's protocols share."""

    def __init__(self, worker: AsgiWorker) -> None:
        self.connections = worker.connections
        self.tasks = worker.tasks
        self.default_headers: list[tuple[bytes, bytes]] = []
        self.total_requests = 0


class WebSocket(WebSocketsSansIOProtocol):
    """One WebSocket, from its handshake on."""

    deadline = inf

    def __init__(self, worker: AsgiWorker, peer: Any) -> None:
        super().__init__(worker.websocket_config, worker.websocket_state, worker.state)  # type: ignore[arg-type]
        self.worker = worker
        self._peer = peer
        self._accepted = False
        self._unparsed = b""
        self._going_on = False

    def begin(self, head: Head, client: Any, server: Any, root_path: str) -> None:
        """Start with the request that a ``Connection`` has read."""
        self.client, self.server, self.root_path = client, server, ""
        self.scheme = "wss" if head.scheme == "https" else "ws"
        self._root_path = root_path
        lines = [b"GET ", head.target.encode("latin-1"), b" HTTP/1.1\r\n"]
        for name, value in head.headers:
            lines += (name, b": ", value, b"\r\n")
        self.data_received(b"".join([*lines, b"\r\n"]))

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived. A flood of small frames, each of them answered, holds up no other connection."""
        if len(data) <= _SLICE and not self._unparsed:
            super().data_received(data)
            if self.writable.is_set():
                return
        else:
            self._unparsed += data
        if not self.transport.is_closing():
            self.transport.pause_reading()
            self._go_on()

    def _go_on(self) -> None:
        if not self._going_on:
            self._going_on = True
            self.loop.call_soon(self._parse_more)

    def _parse_more(self) -> None:
        self._going_on = False
        if self.read_paused or not self.writable.is_set() or self.transport.is_closing():
            return  # receive and resume_writing go on
        if not self._unparsed:
            self.transport.resume_reading()
            return
        data, self._unparsed = self._unparsed[:_SLICE], self._unparsed[_SLICE:]
        super().data_received(data)
        self._go_on()

    async def receive(self) -> Any:
        """ASGI's ``receive``."""
        message = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            if self._unparsed or not self.writable.is_set():
                self._go_on()
            else:
                self.transport.resume_reading()
        return message

    def resume_writing(self) -> None:
        """The client has caught up with what it was sent."""
        super().resume_writing()
        self._go_on()

    def handle_cont(self, event: Any) -> None:
        """Add a fragment to its message: to its bytes, because a list of small fragments is many times as large."""
        if not isinstance(self.frames[0], bytearray):
            self.frames = [bytearray(self.frames[0])]  # type: ignore[list-item]
        self.frames[0] += event.data
        if event.fin:
            self.frames = [bytes(self.frames[0])]
            self.send_receive_event_to_app()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        super().connection_lost(exc)
        self.worker.lost(self)

    async def run_asgi(self) -> None:
        """Call the application; the hooks run and the access log is written when it has ended."""
        told: Told | None = None
        self.scope["root_path"] = self._root_path
        if self.worker.tells:
            told = Told(self.scope, self._peer, self.worker)  # type: ignore[arg-type]
            try:
                told.begin()
            except Exception:
                self.worker.log.exception("Error handling request %s", told.uri)
                self.send_500_response()
                self.transport.close()
                told.end(500, (), 0)
                return
        try:
            await super().run_asgi()
        finally:
            if told is not None:
                told.end(101 if self._accepted else 403, (), 0)

    async def send(self, message: Any) -> None:
        """ASGI's ``send``."""
        await super().send(message)
        if message["type"] == "websocket.accept":
            self._accepted = True
            if not self.worker.alive:
                self.shutdown()

    def shutdown(self) -> None:
        """The worker stops: close with 1012 and wait for the client's answer a moment, so that it gets the code."""
        if not self.handshake_complete or self.close_sent:
            return
        self.stop_keepalive()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": _SERVICE_RESTART, "reason": ""})
        self.conn.send_close(_SERVICE_RESTART)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = self.disconnected = True  # what the application sends from now on raises
        self.read_paused = False
        self._go_on()
        self.close_timer = asyncio.get_running_loop().call_later(_CLOSE_SECONDS, self.transport.close)

    def overdue(self) -> None:
        """There is no deadline to pass."""

    def abort(self) -> None:
        """Close at once."""
        self.transport.abort()
