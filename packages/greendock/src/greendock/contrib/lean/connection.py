"""One client connection: its socket, the bytes not served yet, and the requests found in them."""

from __future__ import annotations

import contextlib
import select
import socket
from time import monotonic
from typing import Any

from gunicorn.http.body import Body, LengthReader
from gunicorn.http.errors import LimitRequestHeaders
from gunicorn.http.message import Request
from gunicorn.http.unreader import Unreader

from greendock.contrib.lean import environ
from greendock.contrib.lean.errors import PeerGoneError, PeerSilentError
from greendock.contrib.lean.request import Limits, Peer, check_partial, parse_plain

#: Bytes asked of the kernel for a request head and what follows it.
_READ_SIZE = 65536

#: Bytes of a body asked of the kernel at least, at most, and from where on none are read ahead.
_SMALL_READ, _LARGEST_READ, _LARGE_READ = 8192, 1024 * 1024, 16384

#: An unread body is discarded to keep the connection, up to this many bytes and seconds; beyond, closing is cheaper.
_DRAIN_BYTES = 65536
_DRAIN_SECONDS = 5.0


def ready(sock: socket.socket, event: int, seconds: float | None) -> bool:
    """Wait for a poll event; False when it has not come after ``seconds`` (None: wait for ever)."""
    poll = select.poll()
    poll.register(sock, event)
    return bool(poll.poll(None if seconds is None else seconds * 1000))


class SocketSource(Unreader):  # type: ignore[misc]
    """Request bytes for Gunicorn's body readers: what was read with the head, then the socket, only as asked for."""

    deadline: float | None = None

    def __init__(self, sock: socket.socket, silence: float, buffered: bytes) -> None:
        super().__init__()
        self.sock = sock
        self.silence = silence
        self.unread(buffered)

    def chunk(self, size_hint: int | None = None) -> bytes:
        """The next bytes of the connection, b"" at its end.

        Raises PeerSilentError when nothing comes for ``silence`` seconds (0: for ever) or until the deadline,
        PeerGoneError when the connection breaks.
        """
        return self._receive(max(size_hint or 0, _SMALL_READ))

    def read(self, size: int | None = None, read_ahead: int | None = None) -> bytes:
        """As Gunicorn's: ``size`` bytes, fewer at the end, or what comes next when it is None.

        Gunicorn reads ahead as far as the body goes and copies what is left over with every read. Here large reads get
        exactly what they ask for, straight from the socket.
        """
        if size is None or size < _LARGE_READ:
            return bytes(super().read(size, min(read_ahead or 0, _LARGE_READ)))
        data = self.take_buffered()
        if len(data) > size:
            self.unread(data[size:])
            return bytes(data[:size])
        parts = [data]
        missing = size - len(data)
        while missing and (data := self._receive(missing)):
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    def _receive(self, size: int) -> bytes:
        if self.deadline is not None and monotonic() >= self.deadline:
            raise PeerSilentError("the peer is too slow sending a body nobody reads")
        try:
            while True:
                with contextlib.suppress(BlockingIOError):
                    return self.sock.recv(min(size, _LARGEST_READ), socket.MSG_DONTWAIT)
                seconds = self.silence or None if self.deadline is None else max(self.deadline - monotonic(), 0)
                if not ready(self.sock, select.POLLIN, seconds):
                    raise PeerSilentError("the peer stopped sending the request body")
        except PeerSilentError:
            raise
        except OSError as error:
            raise PeerGoneError(f"while sending the request body: {error}") from error


class KnownLengthBody(Body):  # type: ignore[misc]
    """Gunicorn's body of a known length, whose ``read`` copies nothing that it need not."""

    def read(self, size: int | None = None) -> bytes:
        """As Gunicorn's: ``size`` bytes of the body, fewer at its end."""
        wanted = min(self.getsize(size), self.reader.length)
        if self.buf.tell() or wanted > _LARGEST_READ:
            return bytes(super().read(size))
        return bytes(self._read_reader(wanted)) if wanted else b""


class Connection:
    """A connection is owned by one thread at a time; between requests nobody owns it and the epoll watches it."""

    def __init__(self, sock: socket.socket, client: Any, server: Any, cfg: Any, limits: Limits) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.client = client
        self.server = server
        self.cfg = cfg
        self.peer = Peer(cfg, limits, client)
        self.environ = environ.of_connection(sock, client, server)
        self.buf: bytes | bytearray = b""
        #: How much of an unfinished head was looked at, and where its fields start (0: not known yet).
        self.scanned = 0
        self.line_end = 0
        self.source: SocketSource | None = None
        self.requests = 0
        #: When to give up waiting, on the monotonic clock; meaningful while nobody owns the connection.
        self.deadline = 0.0
        self.watched = False
        self.lingering = False
        # Applications that take the socket over (for a WebSocket) expect a blocking one, whatever its default timeout.
        sock.settimeout(None)

    def receive(self) -> bool | None:
        """Read what has arrived, without waiting: True when there was something, None when not, False at the end.

        Raises PeerGoneError when the connection is broken.
        """
        if self.sock.timeout is not None:
            self.sock.settimeout(None)  # the application of the last request has changed it
        try:
            data = self.sock.recv(_READ_SIZE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            raise PeerGoneError(f"while waiting for a request: {error}") from error
        if not data:
            return False
        if not self.buf:
            self.buf = data
        else:
            if isinstance(self.buf, bytes):
                self.buf = bytearray(self.buf)
            self.buf += data
        return True

    def next_request(self) -> Request | None:
        """The next request whose head has fully arrived, or None.

        Raises what Gunicorn's parser raises when it is refused.
        """
        end = self.buf.find(b"\r\n\r\n", max(self.scanned - 3, 0))
        if end < 0:
            if self.buf:
                self.line_end = check_partial(self.buf, self.scanned, self.line_end, self.peer)
            self.scanned = len(self.buf)
            return None
        if self.line_end and end + 4 - self.line_end > self.peer.limits.max_buffer_headers:
            raise LimitRequestHeaders("max buffer headers")
        buf = bytes(self.buf)
        self.buf, self.scanned, self.line_end = b"", 0, 0
        self.requests += 1
        req = parse_plain(buf[: end + 4], self.peer, self.requests)
        if req is None:
            self.source = SocketSource(self.sock, self.cfg.timeout, buf)
            return Request(self.cfg, self.source, self.client, self.requests)
        req.open_source = self.open_source
        self.source = None
        self.buf = buf[end + 4 :]
        if req.content_length:
            req.body = KnownLengthBody(LengthReader(self.open_source(), req.content_length))
        return req

    def open_source(self) -> SocketSource:
        """Where the bytes come from that follow the head of the request that is served."""
        if self.source is None:
            self.source = SocketSource(self.sock, self.cfg.timeout, bytes(self.buf))
            self.buf = b""
        return self.source

    def finish(self, req: Request) -> bool:
        """Discard what the application left of the body; False when the connection cannot serve another request."""
        source = self.source
        if source is None:
            return True
        if req.body.failed:
            return False  # where the next request starts is unknown
        source.deadline = monotonic() + _DRAIN_SECONDS
        left = _DRAIN_BYTES
        try:
            while data := req.body.read(8192):
                left -= len(data)
                if left < 0:
                    return False
        except Exception:  # whatever is wrong with a body nobody wanted, its end will not be found
            return False
        self.buf = source.take_buffered()
        self.source = None
        return True

    def has_input(self) -> bool:
        """Whether something (a request, an end) has arrived that was not read yet."""
        try:
            self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def half_close(self) -> None:
        """Tell the peer that nothing more will come (RFC 9112 section 9.6)."""
        self.lingering = True
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def discard(self) -> bool:
        """Throw away input that came after the half-close; False at its end."""
        for _ in range(16):
            try:
                if not self.sock.recv(_READ_SIZE, socket.MSG_DONTWAIT):
                    return False
            except BlockingIOError:
                return True
            except OSError:
                return False
        return False

    def close(self) -> None:
        """Close the socket."""
        with contextlib.suppress(OSError):
            self.sock.close()
