"""One request and its response: the application's ``receive`` and ``send``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from greendock.contrib.asgi.response import Framing, check_lines, finished, frame
from greendock.contrib.asgi.told import Told

if TYPE_CHECKING:
    from greendock.contrib.asgi.connection import Connection

#: Bytes of a body held for the application before the connection is read no further.
HIGH_WATER = 65536

#: Seconds an application may go on sending when its stream was ended for it, before ``send`` raises.
_ENDED_PATIENCE = 1.0


class GoneError(OSError):
    """The client is gone, or the worker has ended the response: what the application sends goes nowhere."""


class Exchange:
    """One request, from its head to the end of the application's call. Made by ``Connection``."""

    __slots__ = (
        "_body",
        "_changed",
        "_framing",
        "_headers",
        "_refuse_after",
        "_sent",
        "_started",
        "_status",
        "_told",
        "_whole_event",
        "complete",
        "connection",
        "disconnected",
        "expects",
        "head_sent",
        "keep_alive",
        "more_body",
        "scope",
        "starving",
    )

    def __init__(self, connection: Connection, scope: dict[str, Any], keep_alive: bool, more_body: bool) -> None:
        self.connection = connection
        self.scope = scope
        self.keep_alive = keep_alive
        self.more_body = more_body  #: whether some of the request's body has not arrived yet
        self.expects = False  #: whether the client waits for "100 Continue"
        self.complete = False  #: whether the whole response was handed to the transport
        self.disconnected = False
        self.head_sent = False
        self.starving = False  #: whether the application waits for the body
        self._body: bytes | bytearray | None = b""  # None when its last part was handed over
        self._changed: asyncio.Event | None = None
        self._started = False
        self._framing: Framing | None = None
        self._whole_event = True
        self._status = self._sent = 0
        self._headers: Iterable[tuple[bytes, bytes]] = ()
        self._refuse_after = 0.0
        self._told: Told | None = None

    async def run(self) -> None:
        """Call the application; whatever it raises ends this request only."""
        worker = self.connection.worker
        try:
            if worker.tells:
                self._told = Told(self.scope, self.connection.peer.peer_addr, worker)
                self._told.begin()
            await worker.asgi(self.scope, self.receive, self.send)
        except BaseException as error:
            if worker.aborting:
                raise
            self._failed(error)
        else:
            if not self.complete and not self.disconnected:
                self._failed(RuntimeError("the application returned without completing its response"))
        finally:
            self._tell()

    def feed(self, data: bytes, last: bool) -> None:
        """Take a part of the request's body."""
        self.expects = False
        self.more_body = not last
        if self._body is not None and not self.complete:
            if not self._body:
                self._body = data
            else:
                self._body = bytearray(self._body) if isinstance(self._body, bytes) else self._body
                self._body += data
            if len(self._body) > HIGH_WATER and not last:
                self.connection.pause_reading()
        self._wake()

    def disconnect(self, patience: float) -> None:
        """The client is gone: ``receive`` says so now, ``send`` raises ``patience`` seconds later."""
        if not self.disconnected:
            self.disconnected = True
            self._refuse_after = self.connection.worker.loop.time() + patience
            self._wake()

    def end_stream(self) -> None:
        """End an event stream that has begun, at once or when the event being sent is whole."""
        framing = self._framing
        if self.head_sent and not self.complete and framing is not None and framing.event_stream and self._whole_event:
            if framing.chunked:
                self.connection.write(b"0\r\n\r\n")
            self.keep_alive = False
            self.disconnect(_ENDED_PATIENCE)
            self._finish()

    async def receive(self) -> dict[str, Any]:
        """ASGI's ``receive``."""
        while True:
            if self.complete or self.disconnected:
                return {"type": "http.disconnect"}
            if self._body is not None and (self._body or not self.more_body):
                body, self._body = bytes(self._body), b"" if self.more_body else None
                self.connection.body_taken()
                return {"type": "http.request", "body": body, "more_body": self.more_body}
            if self._body is not None:
                self._ask_for_body()
            if self._changed is None:
                self._changed = asyncio.Event()
            self._changed.clear()
            await self._changed.wait()
            self.starving = False

    def _ask_for_body(self) -> None:
        if self.expects:
            self.expects = False
            if not self.head_sent:
                self.connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.starving = True
        self.connection.await_body()

    async def send(self, message: dict[str, Any]) -> None:
        """ASGI's ``send``."""
        connection = self.connection
        if connection.write_paused and not self.disconnected:
            await connection.drained()
        if self.disconnected:
            if connection.worker.loop.time() > self._refuse_after:
                raise GoneError("the client is gone")
            return
        kind = message["type"]
        if kind == "http.response.body":
            if not self._started or self.complete:
                raise RuntimeError(f"unexpected {kind}: the response has {'ended' if self.complete else 'not started'}")
            self._send_body(message.get("body", b""), message.get("more_body", False))
        elif kind == "http.response.start":
            if self._started:
                raise RuntimeError(f"unexpected {kind}: the response has started")
            self._started = True
            self._status, self._headers = message["status"], message.get("headers") or ()
        elif kind == "http.response.early_hint" and not self._started:
            if self.scope["http_version"] != "1.0":
                links = b"".join(b"link: %s\r\n" % link for link in message["links"])
                check_lines(links, len(message["links"]))
                connection.write(b"HTTP/1.1 103 Early Hints\r\n%s\r\n" % links)
        else:
            raise RuntimeError(f"unexpected {kind}")

    def _send_body(self, body: bytes, more: bool) -> None:
        # The head waits for the first part of the body: until then an error can still become a proper 500.
        size, head, framing = len(body), b"", self._framing
        if framing is None:
            head, framing = self._head(size, more)
        if framing.omitted:
            size, body = 0, b""
        elif framing.chunked:
            body = b"%x\r\n%b\r\n" % (size, body) if size else b""
            if not more:
                body += b"0\r\n\r\n"
        elif framing.length >= 0 and (
            self._sent + size > framing.length or (not more and self._sent + size < framing.length)
        ):
            raise RuntimeError(f"the response is not as long as its Content-Length: {framing.length}")
        self.head_sent = True
        self._sent += size
        if head or body:
            self.connection.write(head + body)
        if not more:
            self._finish()
        elif framing.event_stream:
            if size:
                self._whole_event = body.removesuffix(b"\r\n" if framing.chunked else b"").endswith(
                    (b"\n\n", b"\n\r\n")
                )
            if not self.connection.worker.alive:
                self.end_stream()

    def _head(self, size: int, more: bool) -> tuple[bytes, Framing]:
        scope, worker = self.scope, self.connection.worker
        if not worker.alive or self.expects:  # a client that waits for "100 Continue" may send its body or not
            self.keep_alive = False
        framing = frame(self._status, self._headers, scope["method"], worker.date)
        head = finished(framing, size, more=more, version=scope["http_version"], keep_alive=self.keep_alive)
        self.keep_alive = not framing.closes
        self._framing = framing
        return head, framing

    def _finish(self) -> None:
        self.complete = True
        self._body = None
        self._wake()
        self._tell()
        self.connection.answered(self)

    def _failed(self, error: BaseException) -> None:
        worker = self.connection.worker
        if self.complete or self.disconnected:
            if isinstance(error, GoneError | asyncio.CancelledError):
                worker.log.debug("The request had ended: %r", error)
            elif self.complete:
                worker.log.error("Error after the response to %s", self._what(), exc_info=error)
            else:  # often an error of a framework's own, which says just that
                worker.log.info("The client of %s was gone: %r", self._what(), error)
            return
        if isinstance(error, asyncio.CancelledError):
            worker.log.error("Not answered within graceful_timeout: %s", self._what())
        else:
            worker.log.error("Error handling request %s", self._what(), exc_info=error)
        self._status, self._headers = 500, ()
        self.connection.cut(self)

    def _what(self) -> str:
        return f"{self.scope['method']} {self.scope['path']}"

    def _tell(self) -> None:
        told, self._told = self._told, None
        if told is not None:
            told.end(self._status, self._headers, self._sent)

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()
