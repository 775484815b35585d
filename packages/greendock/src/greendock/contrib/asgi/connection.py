"""One client connection: bytes to requests, one after the other, and when to give up waiting."""

from __future__ import annotations

import asyncio
import select
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING, Any

from gunicorn import util
from gunicorn.http.errors import LimitRequestHeaders
from gunicorn.http.message import _ip_in_allow_list
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER

from greendock.contrib.asgi.chunks import Chunks
from greendock.contrib.asgi.exchange import HIGH_WATER, Exchange
from greendock.contrib.asgi.head import Head, Peer, parse
from greendock.contrib.asgi.websocket import WebSocket, wants_websocket
from greendock.contrib.lean.request import check_partial
from greendock.contrib.lean.worker import FIRST_BYTE_SECONDS, HEAD_SECONDS, LINGER_SECONDS

if TYPE_CHECKING:
    from greendock.contrib.asgi.worker import AsgiWorker

#: An unread body is discarded to keep the connection, up to this many bytes and seconds; beyond, closing is cheaper.
_DISCARD_BYTES = 65536
_DISCARD_SECONDS = 5.0


class Connection(asyncio.Protocol):
    """HTTP/1.0 and 1.1 on one connection.

    ``deadline`` is when to give up waiting, on the loop's clock; the worker looks about once a second.
    """

    def __init__(self, worker: AsgiWorker) -> None:
        self.worker = worker
        self.transport: Any = None
        self.exchange: Exchange | None = None  #: until its response is sent and its body has arrived
        self.deadline = inf
        self.write_paused = False
        self._read_paused = False
        self._closing = self._lingering = False
        self._writable: asyncio.Event | None = None
        self._unsent = 0
        self._buf = b""
        self._scanned = self._line_end = 0  # of an unfinished head
        self._left = 0  # of the body
        self._chunks: Chunks | None = None
        self._discard = 0
        self._requests = 0

    # asyncio's side.

    def connection_made(self, transport: Any) -> None:
        """The client has connected."""
        worker = self.worker
        self.transport = transport
        peer = transport.get_extra_info("peername")
        server = transport.get_extra_info("sockname")
        self.client = tuple(peer[:2]) if isinstance(peer, tuple) else None
        self.server = tuple(server[:2]) if isinstance(server, tuple) else (server, None)
        self.peer = Peer(worker.cfg, worker.limits, peer if isinstance(peer, tuple) else "")
        self.trusted = self.peer._peer_is_trusted_proxy()
        worker.connections.add(self)
        self.deadline = worker.loop.time() + (
            worker.cfg.keepalive + FIRST_BYTE_SECONDS if worker.alive else STOP_KEEPALIVE_LINGER
        )

    def connection_lost(self, _error: Exception | None) -> None:
        """The connection has ended, whoever ended it."""
        self.worker.lost(self)
        self._closing = True
        if self._writable is not None:
            self._writable.set()
        if self.exchange is not None:
            self.exchange.disconnect(self.worker.cfg.asgi_disconnect_grace_period)

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived: of a body, or of the next request."""
        if self._closing:
            return
        exchange = self.exchange
        if exchange is None:
            self._buf = self._buf + data if self._buf else data
            self._serve_buffered()
        elif exchange.more_body:
            self._take_body(exchange, data)
        else:  # the next request, before this one is answered
            self._buf += data
            if len(self._buf) > HIGH_WATER:
                self.pause_reading()

    def pause_writing(self) -> None:
        """The client reads more slowly than the application writes."""
        self.write_paused = True
        self._writable = asyncio.Event()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.write_paused = False
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    # From bytes to requests.

    def _serve_buffered(self) -> None:
        if self._closing:
            return
        try:
            head = self._next_head()
            if head is not None:
                self._begin(head)
        except Exception as error:
            self.refuse(error)

    def _next_head(self) -> Head | None:
        buf, peer = self._buf, self.peer
        end = buf.find(b"\r\n\r\n", max(self._scanned - 3, 0))
        if end < 0:
            if not self._scanned:
                self.deadline = self.worker.loop.time() + HEAD_SECONDS
            self._line_end = check_partial(buf, self._scanned, self._line_end, peer)
            self._scanned = len(buf)
            return None
        if self._line_end and end + 4 - self._line_end > peer.limits.max_buffer_headers:
            raise LimitRequestHeaders("max buffer headers")
        self._scanned = self._line_end = 0
        self._requests += 1
        head = parse(buf[: end + 4], peer, self._requests)
        self._buf = buf[end + 4 :]
        return head

    def _begin(self, head: Head) -> None:
        worker = self.worker
        fields = head.fields
        headers = head.headers
        client = self.client
        root_path = worker.cfg.root_path
        if self.trusted:
            if b"x-forwarded-for" in fields:
                client = self._forwarded_client(head) or client
            if b"script_name" in fields:  # Gunicorn's parser takes it out unless it may be there
                root_path = fields[b"script_name"].decode("latin-1")
        worker.count_request()
        if b"upgrade" in fields and wants_websocket(head):
            self._become_websocket(head, client, root_path)
            return
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": head.version,
            "method": head.method,
            "scheme": head.scheme,
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query,
            "root_path": root_path,
            "headers": headers,
            "server": self.server,
            "client": client,
            "state": worker.state.copy(),
            "extensions": {"http.response.early_hint": {}},
        }
        keep_alive = not head.closes and worker.keeps_connections()
        exchange = Exchange(self, scope, keep_alive, head.length != 0)
        self.exchange = exchange
        self.deadline = inf
        if head.length:
            exchange.expects = head.expects
            self._chunks, self._left = head.chunks, head.length
            data, self._buf = self._buf, b""
            if data:
                self._take_body(exchange, data)
        worker.start(exchange.run())

    def _take_body(self, exchange: Exchange, data: bytes) -> None:
        if exchange.complete:
            self._discard -= len(data)
            if self._discard <= 0:
                self._hang_up(linger=True)
                return
        if self._chunks is None:
            size = len(data)
            if size <= self._left:
                self._left -= size
                exchange.feed(data, last=self._left == 0)
            else:
                exchange.feed(data[: self._left], last=True)
                self._buf, self._left = data[self._left :], 0
        else:
            try:
                part = self._chunks.feed(data)
            except Exception as error:
                self._refuse_body(exchange, error)
                return
            if self._chunks.complete:
                self._buf, self._chunks = self._chunks.rest, None
                exchange.feed(part, last=True)
            elif part:
                exchange.feed(part, last=False)
        if self.deadline < inf and not exchange.complete:
            self.await_body()
        if exchange.complete and not exchange.more_body:
            self._next()

    def _refuse_body(self, exchange: Exchange, error: Exception) -> None:
        if exchange.head_sent:
            self.worker.log.info("Closing a connection: invalid request body: %s", error)
            self._hang_up(linger=True)
        else:
            self.refuse(error)
        exchange.disconnect(self.worker.cfg.asgi_disconnect_grace_period)

    def _become_websocket(self, head: Head, client: Any, root_path: str) -> None:
        worker = self.worker
        worker.connections.discard(self)
        socket = WebSocket(worker, self.peer.peer_addr)
        socket.connection_made(self.transport)
        self.transport.set_protocol(socket)
        socket.begin(head, client, self.server, root_path)

    def _forwarded_client(self, head: Head) -> tuple[str, int] | None:
        """Return the last address in X-Forwarded-For that is no trusted proxy's."""
        values = [value for name, value in head.headers if name == b"x-forwarded-for"]
        return forwarded_client(b",".join(values), self.worker.cfg)

    # The exchange's side.

    def write(self, data: bytes) -> None:
        """Send; nothing happens on a connection that is closing."""
        if not self._closing:
            self.transport.write(data)

    async def drained(self) -> None:
        """Wait until the client has taken enough of what was sent."""
        if self._writable is not None:
            self._unsent = self.transport.get_write_buffer_size()
            self.deadline = self._patience()
            await self._writable.wait()
            self.deadline = inf

    def await_body(self) -> None:
        """The application waits for the body: not for ever."""
        self.deadline = self._patience()
        self.resume_reading()

    def body_taken(self) -> None:
        """The application has the part of the body it waited for."""
        self.deadline = inf
        self.resume_reading()

    def pause_reading(self) -> None:
        """Let the kernel hold what the client sends."""
        if not self._read_paused and not self._closing:
            self._read_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Take what the client sends."""
        if self._read_paused and not self._closing:
            self._read_paused = False
            self.transport.resume_reading()

    def answered(self, exchange: Exchange) -> None:
        """The whole response was handed to the transport."""
        if not exchange.keep_alive:
            self._hang_up(linger=exchange.more_body or bool(self._buf))
        elif exchange.more_body:
            self._discard = _DISCARD_BYTES
            self.resume_reading()
            self.deadline = self.worker.loop.time() + _DISCARD_SECONDS
        else:
            self._next()

    def cut(self, exchange: Exchange) -> None:
        """The application has failed: answer 500 while that is possible, and close."""
        if not exchange.head_sent:
            util.write_error(_Writer(self), 500, "Internal Server Error", "")
        exchange.disconnect(0)
        self._hang_up(linger=exchange.more_body and not exchange.head_sent)

    def _next(self) -> None:
        self.exchange = None
        worker = self.worker
        self.deadline = worker.loop.time() + (worker.cfg.keepalive if worker.alive else STOP_KEEPALIVE_LINGER)
        self.resume_reading()
        if self._buf:
            # Not at once: a hundred requests that came in one piece would be a hundred calls deep.
            worker.loop.call_soon(self._serve_buffered)

    # Ending.

    def shutdown(self) -> None:
        """The worker stops: what is on its way is answered, with Connection: close; an event stream ends."""
        if self.exchange is not None:
            self.exchange.keep_alive = False
            self.exchange.end_stream()
        elif not self._buf:
            # Long enough for a request that is already on its way.
            self.deadline = min(self.deadline, self.worker.loop.time() + STOP_KEEPALIVE_LINGER)

    def overdue(self) -> None:
        """The deadline has passed."""
        exchange = self.exchange
        unsent = self.transport.get_write_buffer_size()
        if self._closing or (exchange is None and unsent) or (exchange is not None and self.write_paused):
            if 0 < unsent < (self._unsent or inf):  # slow, and alive
                self._unsent = unsent
                self.deadline = self._patience()
                return
            if not self._closing:
                self.worker.log.info("Closing a connection: the peer stopped taking the response.")
            self.abort()
        elif exchange is None:
            if _has_input(self.transport):
                self.deadline = self.worker.loop.time() + 1
                return
            if self._buf:
                self.worker.log.info("Closing a connection whose request head did not arrive in time.")
                util.write_error(_Writer(self), 408, "Request Timeout", "")
            self._hang_up(linger=False)
        elif exchange.complete:
            self._hang_up(linger=True)
        else:
            self.worker.log.info("Closing a connection: the peer stopped sending the request body.")
            if not exchange.head_sent:
                util.write_error(_Writer(self), 408, "Request Timeout", "")
            exchange.disconnect(self.worker.cfg.asgi_disconnect_grace_period)
            self._hang_up(linger=False)

    def refuse(self, error: Exception) -> None:
        """Answer a request that cannot be served, as Gunicorn does, and close."""
        self.worker.handle_error(None, _Writer(self), self.client, error)
        self._hang_up(linger=True)

    def abort(self) -> None:
        """Close at once, whatever is unsent."""
        self._closing = True
        self.transport.abort()

    def _hang_up(self, *, linger: bool) -> None:
        """Close when all is sent; ``linger`` where the client may still be sending (RFC 9112 section 9.6)."""
        if self._closing:
            return
        self.resume_reading()
        self._closing = True
        self._unsent = 0
        if linger:
            self._lingering = True
            self.transport.write_eof()
            self.deadline = self.worker.loop.time() + LINGER_SECONDS
        else:
            self.deadline = self._patience()
            self.transport.close()

    def _patience(self) -> float:
        timeout = self.worker.cfg.timeout
        return self.worker.loop.time() + timeout if timeout else inf


class _Writer:
    """As much of a socket as Gunicorn needs to send an error."""

    def __init__(self, connection: Connection) -> None:
        self.sendall = connection.write

    def gettimeout(self) -> float:
        return 0.0


def _has_input(transport: Any) -> bool:
    """Whether something has arrived that the loop has not read yet."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))


@lru_cache(maxsize=512)  # of values that clients choose, as long as limit_request_field_size allows
def forwarded_client(value: bytes, cfg: Any) -> tuple[str, int] | None:
    """Return the client that trusted proxies name in X-Forwarded-For: the last address that is no proxy's."""
    host, port = "", 0
    for item in reversed(value.decode("latin-1").split(",")):
        text = item.strip()
        if not text:
            continue
        host, port = _address(text)
        if not _ip_in_allow_list(host, cfg.forwarded_allow_ips, cfg.forwarded_allow_networks()):
            break
    return (host, port) if host else None


def _address(text: str) -> tuple[str, int]:
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        return text, 0
    return host, int(port) if port.isascii() and port.isdigit() else 0
