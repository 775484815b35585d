"""From the bytes of a request's head to what an ASGI scope says of it, by the rules of ``lean`` and Gunicorn.

A head in the plain form that browsers and proxies send is recognised by one regular expression. Everything else, valid
or not, goes to Gunicorn's own parser, which accepts or refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from gunicorn.http.body import ChunkedReader
from gunicorn.http.message import Request
from gunicorn.http.unreader import Unreader

from greendock.contrib.asgi.chunks import Chunks
from greendock.contrib.lean.request import Limits, Peer

__all__ = ["Head", "Limits", "Peer", "parse"]

# The grammar of greendock.contrib.lean.request, on bytes: ASGI wants these.
_PLAIN_HEAD = re.compile(
    rb"([A-Z]{3,20}) (/[!\"$-~]*) HTTP/1\.([01])"
    rb"((?:\r\n[!#$%&'*+\-.^`|~0-9A-Za-z]++:[\t\x20-\x7e\x80-\xff]*+)*+)\r\n\r\n"
)
_MAX_KNOWN = 1024
_known_names: dict[bytes, bytes] = {}
_known_methods: dict[bytes, str] = {}


@dataclass(slots=True)
class Head:
    """A request's head. ``length`` is the body's in bytes, -1 with ``chunks``; ``fields`` has no repeats."""

    method: str
    target: str
    path: str
    raw_path: bytes
    query: bytes
    version: str
    headers: list[tuple[bytes, bytes]]
    fields: dict[bytes, bytes]
    scheme: str
    length: int
    closes: bool
    expects: bool
    chunks: Chunks | None = None


def parse(head: bytes, peer: Peer, number: int) -> Head:
    """Return the head, whose last bytes are its empty line; ``number`` counts the requests of its connection.

    Raises what Gunicorn's parser raises when it refuses.
    """
    return _plain(head, peer) or _by_gunicorn(head, peer, number)


def _plain(head: bytes, peer: Peer) -> Head | None:
    limits = peer.limits
    match = _PLAIN_HEAD.fullmatch(head)
    if match is None or len(head) > limits.limit_request_field_size or match.end(3) > limits.limit_request_line:
        return None
    method, target, minor, section = match.groups()
    headers = []
    for line in section.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        headers.append((_known_names.get(name) or _field_name(name), value.strip(b" \t")))
    fields = dict(headers)
    length = fields.get(b"content-length", b"0")
    scheme = _scheme(fields, peer.secure_scheme_headers) if peer.secure_scheme_headers else "http"
    if (
        len(fields) != len(headers)  # a repeated field: list, conflict or singleton (RFC 9110 section 5.3)
        or len(headers) > limits.limit_request_fields
        or b"transfer-encoding" in fields
        or b"expect" in fields
        or not (length.isdigit() and len(length) <= 18)  # RFC 9112 section 6.3 item 5
        or scheme is None
    ):
        return None
    path, _, query = target.partition(b"?")
    version = "1.1" if minor == b"1" else "1.0"
    return Head(
        _known_methods.get(method) or _method(method),
        target.decode("ascii"),
        _decoded(path),
        path,
        query,
        version,
        headers,
        fields,
        scheme,
        int(length),
        _peer_closes(fields.get(b"connection"), version),
        expects=False,
    )


def _field_name(raw: bytes) -> bytes:
    name = raw.lower()
    if len(_known_names) < _MAX_KNOWN and len(raw) <= 64:
        _known_names[raw] = name
    return name


def _method(raw: bytes) -> str:
    method = raw.decode("ascii")
    if len(_known_methods) < _MAX_KNOWN:
        _known_methods[raw] = method
    return method


def _decoded(path: bytes) -> str:
    """Percent-decoded UTF-8, as ASGI has it; bytes that are none become U+FFFD."""
    return unquote_to_bytes(path).decode(errors="replace") if b"%" in path else path.decode("latin-1")


def _scheme(fields: Mapping[bytes, bytes], secure: Mapping[str, str]) -> str | None:
    """Return the URL scheme a trusted proxy announces, or ``None`` when its headers contradict each other."""
    scheme = ""
    for name, value in secure.items():
        header = fields.get(name.lower().encode("latin-1"))
        if header is not None:
            said = "https" if header == value.encode("latin-1") else "http"
            if scheme and said != scheme:
                return None
            scheme = said
    return scheme or "http"


def _peer_closes(connection: bytes | None, version: str) -> bool:
    if connection is not None:
        option = connection.lower()
        if option == b"close":
            return True
        if option == b"keep-alive":
            return False
    return version == "1.0"


class _Whole(Unreader):  # type: ignore[misc]
    """A source that holds a head and nothing behind it."""

    def chunk(self, _: int | None = None) -> bytes:
        return b""


def _by_gunicorn(head: bytes, peer: Peer, number: int) -> Head:
    source = _Whole()
    source.unread(head)
    req = Request(peer.cfg, source, peer.peer_addr, number)
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in req.headers]
    reader: Any = req.body.reader
    chunks = Chunks(req) if isinstance(reader, ChunkedReader) else None
    path = (req.path or "").encode("latin-1")
    return Head(
        req.method,
        req.uri,
        _decoded(path),
        path,
        (req.query or "").encode("latin-1"),
        f"{req.version[0]}.{req.version[1]}",
        headers,
        dict(headers),
        req.scheme,
        -1 if chunks else reader.length,
        req.should_close() or req.method == "CONNECT",
        bool(req._expected_100_continue),
        chunks,
    )
