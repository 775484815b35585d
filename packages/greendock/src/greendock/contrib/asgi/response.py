"""The head of a response, and how its body is framed (RFC 9112 section 6)."""

from __future__ import annotations

import http
import re
from collections.abc import Iterable
from dataclasses import dataclass

_BODYLESS = frozenset({204, 304})
_PLAIN, _LENGTH, _CODING, _CONNECTION, _DATE, _SERVER, _TYPE = range(7)
_KINDS = {
    b"content-length": _LENGTH,
    b"transfer-encoding": _CODING,
    b"connection": _CONNECTION,
    b"keep-alive": _CONNECTION,
    b"date": _DATE,
    b"server": _SERVER,
    b"content-type": _TYPE,
}
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_MAX_KNOWN = 1024
_known_names: dict[bytes, int] = {}


def phrase(status: int) -> str:
    """Return the reason phrase of a status."""
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


_STATUS_LINES = {status: f"HTTP/1.1 {status} {phrase(status)}\r\n".encode() for status in range(200, 600)}


@dataclass(slots=True)
class Framing:
    """``head`` is complete but for ``Connection`` and its empty line; ``lines`` counts its lines.

    ``length`` is the body's, -1 where nobody knows; ``omitted`` says that the body is not to be sent.
    """

    head: list[bytes]
    lines: int
    length: int = -1
    omitted: bool = False
    chunked: bool = False
    closes: bool = False
    event_stream: bool = False


def frame(status: int, headers: Iterable[tuple[bytes, bytes]], method: str, date: bytes) -> Framing:
    """Build the head from what the application gave. ``Connection`` and ``Transfer-Encoding`` are the server's own.

    Raises RuntimeError for what HTTP does not allow.
    """
    line = _STATUS_LINES.get(status)
    if line is None:
        raise RuntimeError(f"{status} is no status of a response")
    head = [line]
    framing = Framing(head, 1, omitted=method == "HEAD" or status in _BODYLESS)
    dated = served = False
    for name, value in headers:
        kind = _known_names.get(name)
        if kind is None:
            kind = _kind(name)
        if kind:
            if kind in (_LENGTH, _CODING, _CONNECTION):
                if not _frames(framing, kind, value) or (status == 204):
                    continue
            elif kind == _TYPE:
                framing.event_stream = value.startswith(b"text/event-stream")
            else:
                dated, served = dated or kind == _DATE, served or kind == _SERVER
        head += (name, b": ", value, b"\r\n")
        framing.lines += 1
    if not dated:
        head.append(date)
        framing.lines += 1
    if not served:
        head.append(b"server: gunicorn\r\n")
        framing.lines += 1
    return framing


def _frames(framing: Framing, kind: int, value: bytes) -> bool:
    """Take in what a header says about framing; return whether it is sent as it is."""
    if kind == _LENGTH:
        if not value.isdigit() or framing.length >= 0:
            raise RuntimeError("the Content-Length of the response is no single number")
        framing.length = int(value)
        return True
    if kind == _CONNECTION and b"close" in value.lower():
        framing.closes = True
    return False


def finished(framing: Framing, size: int, *, more: bool, version: str, keep_alive: bool) -> bytes:
    """Return the bytes of the head, when the first ``size`` bytes of the body are there. Sets the rest of ``framing``.

    Raises RuntimeError for a header's value with a line end or NUL in it.
    """
    head = framing.head
    if framing.length < 0 and not framing.omitted:
        if not more:
            framing.length = size
            head.append(b"content-length: %d\r\n" % size)
        elif version != "1.0":
            framing.chunked = True
            head.append(b"transfer-encoding: chunked\r\n")
        else:  # only the end of the connection can end the body
            framing.closes = True
            framing.lines -= 1
        framing.lines += 1
    if framing.closes or not keep_alive:
        framing.closes = True
        head.append(b"connection: close\r\n")
        framing.lines += 1
    elif version == "1.0":
        head.append(b"connection: keep-alive\r\n")
        framing.lines += 1
    text = b"".join(head)
    check_lines(text, framing.lines)
    return text + b"\r\n"


def _kind(name: bytes) -> int:
    """Say which of the fields that the server minds a header is. Raises RuntimeError for what is no field name."""
    if _TOKEN.fullmatch(name) is None:
        raise RuntimeError(f"invalid response header name {name!r}")
    kind = _KINDS.get(name.lower(), _PLAIN)
    if len(_known_names) < _MAX_KNOWN:
        _known_names[bytes(name)] = kind
    return kind


def check_lines(text: bytes, count: int) -> None:
    """Raise RuntimeError when ``text`` has line ends beside those of its ``count`` lines, or NUL."""
    if not text.count(b"\r") == text.count(b"\n") == text.count(b"\r\n") == count or b"\0" in text:
        raise RuntimeError("invalid character in a response header")
