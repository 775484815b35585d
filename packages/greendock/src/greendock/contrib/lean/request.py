"""From the bytes of a request head to a request, never laxer than Gunicorn's own parser.

A head in the plain form that browsers and proxies send is recognised by one regular expression and then only has to be
split. Everything else, valid or not, goes to Gunicorn's own parser, which accepts or refuses it by its own rules. The
plain form is a strict subset of what Gunicorn accepts.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any

from gunicorn.http.body import Body, LengthReader
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, NoMoreData
from gunicorn.http.message import HeaderPolicy, Request
from gunicorn.http.unreader import Unreader

from greendock.contrib.lean.seams import is_tested

#: Bound on a request line when ``limit_request_line`` is 0 (unlimited), in bytes.
UNLIMITED_REQUEST_LINE = 1024 * 1024

# RFC 9112 section 3: method SP request-target SP HTTP-version CRLF, here with an upper-case method, origin-form
# (3.2.1) of printable ASCII (RFC 3986 section 2) without a fragment, and HTTP/1.0 or 1.1.
# RFC 9112 section 5: field-name ":" OWS field-value OWS CRLF with no space before the colon (5.1), no line folding
# (5.2), token names (RFC 9110 5.6.2) without "_", which header_map decides about, and values of HTAB / SP / VCHAR /
# obs-text (RFC 9110 5.5): no NUL, CR or LF.
_PLAIN_HEAD = re.compile(
    (r"" if is_tested() else r"(?!)")  # no head at all where Gunicorn's rules may be others
    + r"([A-Z]{3,20}) (/[!\"$-~]*) HTTP/1\.([01])"
    r"((?:\r\n[!#$%&'*+\-.^`|~0-9A-Za-z]++:[\t\x20-\x7e\x80-\xff]*+)*+)\r\n\r\n"
)
_BARE_LF = re.compile(rb"(?<!\r)\n")

_MAX_KNOWN_NAMES = 1024
_known_names: dict[str, str] = {}


def _field_name(raw: str) -> str:
    """Upper-case a field name, and remember what became of it."""
    name = raw.upper()
    if len(_known_names) < _MAX_KNOWN_NAMES and len(raw) <= 64:
        _known_names[raw] = name
    return name


class Limits(Request):  # type: ignore[misc]
    """``limit_request_*`` as Gunicorn reads them (what 0, negative and huge values mean), in bytes and fields."""

    limit_request_line: int
    limit_request_fields: int
    limit_request_field_size: int
    max_buffer_headers: int

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg, Unreader(), None)
        self.limit_request_line = self.limit_request_line or UNLIMITED_REQUEST_LINE

    def parse(self, _: Unreader) -> bytes:
        """Parse nothing: only the limits are wanted."""
        return b""

    def set_body_reader(self) -> None:
        """Set nothing: there is no request."""


class Peer(HeaderPolicy):  # type: ignore[misc]
    """Who is at the other end of a connection, and whether Gunicorn's rules let it say what the URL scheme is."""

    def __init__(self, cfg: Any, limits: Limits, peer_addr: Any) -> None:
        self.cfg = cfg
        self.limits = limits
        self.peer_addr = peer_addr
        self.secure_scheme_headers: dict[str, str] = self._peer_trusted_for_forwarded()[0]


#: Attributes that every request of a configuration has in common.
_PARSERS = frozenset(
    "limit_request_line limit_request_fields limit_request_field_size max_buffer_headers "  # noqa: SIM905
    "_use_fast _fast_limit_request_line".split()
)


class PlainRequest(Request):  # type: ignore[misc]
    """A Gunicorn request built from a plain head; hooks, loggers and applications see the usual attributes."""

    fragment = ""
    proxy_protocol_info = None
    must_close = False
    _expected_100_continue = False
    #: Set by the connection.
    open_source: Callable[[], Unreader] = Unreader

    def __init__(self, peer: Peer, req_number: int) -> None:
        # Gunicorn's own __init__ parses; here parsing is done.
        self.cfg = peer.cfg
        self.peer_addr = self.remote_addr = peer.peer_addr
        self.req_number = req_number
        self.trailers: list[tuple[str, str]] = []
        self.body = Body(LengthReader(None, 0))
        self.content_length = 0
        self.peer_closes = False
        self.peer = peer

    def __getattr__(self, name: str) -> Any:
        """What Gunicorn's parser leaves behind and nobody here needs: its source, limits and flags."""
        if name == "unreader":
            return self.open_source()
        if name in _PARSERS:
            return getattr(self.peer.limits, name)
        raise AttributeError(name)

    def should_close(self) -> bool:
        """Whether the connection ends after this request (RFC 9112 section 9.3)."""
        return self.must_close or self.peer_closes


def parse_plain(head: bytes, peer: Peer, req_number: int) -> PlainRequest | None:
    """The request with this head, or None when the head is not plain and Gunicorn must decide.

    Its body is left to the caller; ``content_length`` says how long it is, in bytes.
    """
    limits = peer.limits
    match = _PLAIN_HEAD.fullmatch(head.decode("latin-1"))
    if match is None or len(head) > limits.limit_request_field_size or match.end(3) > limits.limit_request_line:
        return None
    method, target, minor, section = match.groups()
    fields = {}
    lines = section.split("\r\n")
    for line in lines[1:]:
        name, _, value = line.partition(":")
        fields[_known_names.get(name) or _field_name(name)] = value.strip(" \t")
    length = fields.get("CONTENT-LENGTH", "0")
    scheme = _scheme(fields, peer.secure_scheme_headers)
    if (
        len(fields) != len(lines) - 1  # a repeated field: list, conflict or singleton (RFC 9110 section 5.3)
        or len(fields) > limits.limit_request_fields
        or "TRANSFER-ENCODING" in fields
        or "EXPECT" in fields
        or not (length.isascii() and length.isdigit() and len(length) <= 18)  # RFC 9112 section 6.3 item 5
        or scheme is None
    ):
        return None
    req = PlainRequest(peer, req_number)
    req.headers = list(fields.items())
    req.content_length = int(length)
    req.scheme = scheme
    req.method = method
    req.uri = target
    req.path, _, req.query = target.partition("?")
    req.version = (1, 1) if minor == "1" else (1, 0)
    req.peer_closes = method == "CONNECT" or _peer_closes(fields.get("CONNECTION"), req.version)
    return req


def _scheme(fields: dict[str, str], secure_scheme_headers: dict[str, str]) -> str | None:
    """The URL scheme a trusted proxy announces, or None when its headers contradict each other."""
    scheme = ""
    for name, secure in secure_scheme_headers.items():
        if name in fields:
            said = "https" if fields[name] == secure else "http"
            if scheme and said != scheme:
                return None
            scheme = said
    return scheme or "http"


def _peer_closes(connection: str | None, version: tuple[int, int]) -> bool:
    if connection is not None:
        option = connection.lower()
        if option == "close":
            return True
        if option == "keep-alive":
            return False
    return version == (1, 0)


class _Nothing(Unreader):  # type: ignore[misc]
    """A source with nothing beyond what was put back into it."""

    def chunk(self, _: int | None = None) -> bytes:
        return b""


def check_partial(buf: bytes | bytearray, scanned: int, line_end: int, peer: Peer) -> int:
    """Refuse an unfinished head as early as Gunicorn would: a bad request line, a bare LF, anything too long.

    Of ``buf``, ``scanned`` bytes were looked at before (a head sent byte by byte costs linear time), and ``line_end``
    is where its fields start, 0 while that is not known. Returns it as it is known now.

    Raises what Gunicorn's parser raises.
    """
    limits = peer.limits
    if line_end and len(buf) - line_end > limits.max_buffer_headers:
        raise LimitRequestHeaders("max buffer headers")
    long_line = ends_now = False
    if not line_end:
        start = 2 if buf.startswith(b"\r\n") else 0  # one empty line before the request line: RFC 9112 section 2.2
        line_break = buf.find(b"\r\n", max(scanned - 1, start))
        ends_now = line_break >= 0
        line_end = line_break + 2 if ends_now else 0
        long_line = not ends_now and len(buf) - start - 2 > limits.limit_request_line
    if ends_now or long_line or _BARE_LF.search(buf, max(scanned - 1, 0)):
        source = _Nothing()
        source.unread(bytes(buf))
        with contextlib.suppress(NoMoreData):
            Request(peer.cfg, source, peer.peer_addr)
    if long_line:  # with limit_request_line 0, Gunicorn would read on for ever
        raise LimitRequestLine(len(buf), limits.limit_request_line)
    return line_end
