"""The body of a request in chunks (RFC 9112 section 7.1), decoded as its bytes arrive, as strictly as Gunicorn does."""

from __future__ import annotations

from typing import Any

from gunicorn.http.body import CHUNK_EXT_RE
from gunicorn.http.errors import (
    ChunkMissingTerminator,
    InvalidChunkExtension,
    InvalidChunkSize,
    InvalidHeader,
    LimitRequestHeaders,
)

_HEX = frozenset(b"0123456789abcdefABCDEF")


class Chunks:
    """One body. ``req`` is Gunicorn's request: it has the limits, and the rules for trailers."""

    def __init__(self, req: Any) -> None:
        self.complete = False
        self.rest = b""  #: what follows the body, once that is complete
        self._req = req
        self._pending = b""  # of a line, a chunk's end, or trailers
        self._left = -1  # of a chunk, its line end included; -1: a size comes; -2: trailers come

    def feed(self, data: bytes) -> bytes:
        """Take what has arrived; return the part of the body in it. Raises what Gunicorn's parser raises."""
        data, self._pending = self._pending + data if self._pending else data, b""
        parts = []
        at = 0
        while not self.complete:
            if self._left == -2:
                self._trailers(data[at:])
                break
            if self._left == -1:
                end = data.find(b"\r\n", at)
                if end < 0:
                    if len(data) - at > self._req.limit_request_field_size:
                        raise InvalidChunkSize(b"line over %d bytes" % self._req.limit_request_field_size)
                    self._pending = data[at:]
                    break
                size = _size(data[at:end])
                at = end + 2
                self._left = size + 2 if size else -2
                continue
            if self._left > 2:
                part = data[at : at + self._left - 2]
                parts.append(part)
                at += len(part)
                self._left -= len(part)
            if self._left > 2 or len(data) - at < 2:
                self._pending = data[at:]
                break
            if data[at : at + 2] != b"\r\n":
                raise ChunkMissingTerminator(data[at : at + 2])
            at += 2
            self._left = -1
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _trailers(self, data: bytes) -> None:
        if data.startswith(b"\r\n"):
            self.complete, self.rest = True, data[2:]
            return
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if len(data) > self._req.max_buffer_headers:
                raise LimitRequestHeaders("limit request trailer section size")
            if data.count(b"\n") != data.count(b"\r\n"):
                raise InvalidHeader("bare LF as line terminator")
            self._pending = data
            return
        self.complete, self.rest = True, data[end + 4 :]
        self._req.parse_headers(data[:end], from_trailer=True)  # ASGI has no place for them


def _size(line: bytes) -> int:
    digits, semicolon, extension = line.partition(b";")
    if semicolon:
        if b"\r" in extension:
            raise InvalidChunkExtension("bare CR not allowed")
        digits = digits.rstrip(b" \t")
    if not digits or not _HEX.issuperset(digits):
        raise InvalidChunkSize(digits)
    if semicolon and not CHUNK_EXT_RE.fullmatch(b";" + extension):
        raise InvalidChunkExtension("invalid chunk extension")
    return int(digits, 16)
