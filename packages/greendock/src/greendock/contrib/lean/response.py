"""The response: Gunicorn's rules for the head, written together with the first block of the body in one send."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import termios
from collections.abc import Iterable
from time import time
from typing import Any

from gunicorn import util
from gunicorn.http.wsgi import BLKSIZE, Response

from greendock.contrib.lean.children import end_child
from greendock.contrib.lean.connection import ready
from greendock.contrib.lean.errors import PeerGoneError, PeerSilentError

#: Above this many bytes a copy costs more than a second system call.
_JOIN_LIMIT = 65536

#: Bytes read at once of a file that the kernel does not send.
_READ_SIZE = 262144

# Field names that need no check: tokens (RFC 9110 5.6.2), not hop-by-hop (7.6.1), of no meaning to the framing.
_PLAIN_NAMES = frozenset(
    "Content-Type Cache-Control Content-Encoding Content-Language Content-Disposition ETag Expires Last-Modified "  # noqa: SIM905
    "Location Vary Set-Cookie Link Accept-Ranges Allow Retry-After WWW-Authenticate X-Request-ID X-Frame-Options "
    "X-Content-Type-Options Referrer-Policy Content-Security-Policy Strict-Transport-Security".split()
)

#: Status lines that were accepted before and allow a body, with their codes.
_usual_statuses: dict[str, int] = {}
_MAX_STATUSES = 256

_date: tuple[int, str] = (0, "")


def http_date() -> str:
    """The current date in the IMF-fixdate form (RFC 9110 section 5.6.7), made once a second."""
    global _date  # noqa: PLW0603 - one tuple, replaced as a whole: every thread sees an old or a new one
    now = int(time())
    second, text = _date
    if second != now:
        text = util.http_date(now)
        _date = (now, text)
    return text


def _unacknowledged(sock: socket.socket) -> int:
    """Bytes that were sent and that the peer has not acknowledged (SIOCOUTQ, tcp(7) and unix(7))."""
    return int(struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0\0\0\0"))[0])


class LeanResponse(Response):  # type: ignore[misc]
    """Gunicorn's response with fewer system calls. Raises PeerSilentError and PeerGoneError."""

    headers: list[tuple[str, str]]
    headers_sent: bool
    status: str | None
    status_code: int
    response_length: int | None
    chunked_ended = False

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """PEP 3333's ``start_response``; a second call with ``exc_info`` replaces headers that were not sent."""
        if exc_info and not self.headers_sent:
            self.headers, self.response_length, self.upgrade = [], None, False
        code = _usual_statuses.get(status) if type(status) is str else None
        if code is None or self.status is not None or exc_info or self.req.method == "HEAD":
            super().start_response(status, headers, exc_info)
            if not self._omits_body and len(_usual_statuses) < _MAX_STATUSES:
                _usual_statuses[status] = self.status_code
        else:
            self.status, self.status_code = status, code
            self.process_headers(headers)
            self.chunked = self.is_chunked()
        return self.write

    def process_headers(self, headers: Iterable[tuple[str, str]]) -> None:
        """Check and keep ``headers``. Raises what Gunicorn's method raises."""
        for name, value in headers:
            if type(value) is not str or not (value.isascii() and value.isprintable()):
                super().process_headers(((name, value),))
            elif name in _PLAIN_NAMES:
                self.headers.append((name, value.strip(" ")))
            elif name == "Content-Length" and value.isdigit():
                self.response_length = int(value)
                self.headers.append((name, value))
            else:
                super().process_headers(((name, value),))

    def is_chunked(self) -> bool:
        """Whether the body is sent in chunks: its length is unknown, and HTTP/1.1 spoken (RFC 9112 section 6.1)."""
        return self.response_length is None and not self._omits_body and self.req.version > (1, 0)

    def head(self) -> bytes:
        """The status line and header section (RFC 9112 sections 4 and 5)."""
        if self.status is None:
            raise AssertionError("the application did not call start_response")
        connection = "upgrade" if self.upgrade else "close" if self.should_close() else "keep-alive"
        major, minor = self.req.version
        if self.chunked:
            connection += "\r\nTransfer-Encoding: chunked"
        fields = "".join([f"{name}: {value}\r\n" for name, value in self.headers])
        return (
            f"HTTP/{major}.{minor} {self.status}\r\nServer: {self.version}\r\nDate: {http_date()}\r\n"
            f"Connection: {connection}\r\n{fields}\r\n"
        ).encode("latin-1")

    def send_headers(self) -> None:
        """Send the head, unless it was sent."""
        if not self.headers_sent:
            self._send(b"")

    def write(self, data: bytes) -> None:
        """Send a block of the body, at once (PEP 3333: no block is delayed), in one piece with an unsent head."""
        self._write(data, last=False)

    def write_last(self, data: bytes) -> None:
        """Send the whole rest of the body and its end."""
        self._write(data, last=True)

    def _write(self, data: bytes, last: bool) -> None:
        if not isinstance(data, bytes):
            raise TypeError(f"{data!r} is not a byte")
        if self._omits_body:
            super().write(data)  # sends the head, warns
            return
        if self.response_length is not None:
            data = data[: max(self.response_length - self.sent, 0)]  # never more than Content-Length announced
        self.sent += len(data)
        if self.chunked:  # RFC 9112 section 7.1; an empty chunk would be the last
            if data:
                data = b"%X\r\n%b\r\n" % (len(data), data)
            if last:
                data += b"0\r\n\r\n"
                self.chunked_ended = True
        if data or not self.headers_sent:
            self._send(data)

    def close(self) -> None:
        """End the response; a body shorter than its Content-Length ends the connection too (RFC 9112 section 8)."""
        self.send_headers()
        if self.chunked and not self.chunked_ended:
            self._send(b"0\r\n\r\n")
        if self.response_length is not None and self.sent < self.response_length and not self._omits_body:
            self.force_close()

    def _send(self, data: bytes) -> None:
        end_child()
        try:
            if not self.headers_sent:
                head = self.head()
                self.headers_sent = True
                if len(data) <= _JOIN_LIMIT:
                    data = head + data
                else:
                    self._send_all(head, socket.MSG_MORE)
            self._send_all(data)
        except PeerSilentError:
            raise
        except OSError as error:
            raise PeerGoneError(f"while sending the response: {error}") from error

    def _send_all(self, data: bytes, flags: int = 0) -> None:
        sent = self._send_some(data, flags)
        if sent < len(data):
            rest = memoryview(data)[sent:]
            while rest:
                self._wait_for_room()
                rest = rest[self._send_some(rest, flags) :]

    def _send_some(self, data: bytes | memoryview, flags: int = 0) -> int:
        with contextlib.suppress(BlockingIOError):
            return int(self.sock.send(data, flags | socket.MSG_DONTWAIT))
        return 0

    def _wait_for_room(self) -> None:
        """Wait until the socket takes more. Raises PeerSilentError when the peer takes nothing for ``timeout`` seconds.

        The kernel reports room when a third of its buffer is free. A slow peer may take longer for that: what counts is
        whether the peer has acknowledged something.
        """
        unsent = _unacknowledged(self.sock)
        while not ready(self.sock, select.POLLOUT, self.cfg.timeout or None):
            before, unsent = unsent, _unacknowledged(self.sock)
            if unsent >= before:
                raise PeerSilentError("the peer stopped reading the response")

    def sendfile(self, respiter: Any) -> bool:
        """Send a ``wsgi.file_wrapper`` without reading it; False when it is not a file, then it must be read."""
        if self._omits_body:
            return bool(super().sendfile(respiter))
        if not self.can_sendfile() or not util.has_fileno(respiter.filelike):
            return False
        fileno = respiter.filelike.fileno()
        try:
            offset = os.lseek(fileno, 0, os.SEEK_CUR)
            length = os.fstat(fileno).st_size - offset
        except OSError:
            return False
        if self.response_length is not None:
            length = min(length, self.response_length - self.sent)
        if length <= 0:
            return False
        self.send_headers()
        if self.chunked:  # one chunk for the whole file: RFC 9112 section 7.1
            self._send(b"%X\r\n" % length)
        self.sock.setblocking(False)
        try:
            self._send_range(fileno, offset, offset + length)
        finally:
            self.sock.setblocking(True)
        if self.chunked:
            self._send(b"\r\n")
        return True

    def _send_range(self, fileno: int, offset: int, end: int) -> None:
        """Send a part of a file; read it where the kernel cannot send it."""
        can_send = True
        while offset < end:
            try:
                if can_send:
                    sent = os.sendfile(self.sock.fileno(), fileno, offset, min(end - offset, BLKSIZE))
                else:
                    data = os.pread(fileno, min(end - offset, _READ_SIZE), offset)
                    self._send(data)
                    sent = len(data)
            except BlockingIOError:
                self._wait_for_room()
                continue
            except PeerGoneError:
                raise
            except OSError:
                if not can_send:
                    raise
                can_send = False  # reading tells whether the file is the cause, or the peer
                continue
            if not sent:
                raise OSError("the file became shorter while it was sent")
            offset += sent
            self.sent += sent
