"""The same bytes through Gunicorn's parser (as gthread uses it) and through lean's, written down to be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from gunicorn.config import Config
from gunicorn.http import wsgi
from gunicorn.http.body import Body
from gunicorn.http.errors import (
    ConfigurationProblem,
    ExpectationFailed,
    LimitRequestHeaders,
    LimitRequestLine,
    NoMoreData,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.http.parser import RequestParser

from greendock.contrib.lean import environ as lean_environ
from greendock.contrib.lean.connection import Connection
from greendock.contrib.lean.request import Limits
from greendock.contrib.lean.response import LeanResponse

TRUSTED = ("127.0.0.1", 40000)
STRANGER = ("203.0.113.9", 40000)
UNIX = ""
SERVER = ("127.0.0.1", 8000)


class ScriptedSocket:
    """A socket whose peer sends ``pieces``, one per read, and then closes."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.pieces = [piece for piece in pieces if piece]
        self.pieces.reverse()
        self.sent = b""

    def recv(self, size: int, _flags: int = 0) -> bytes:
        if not self.pieces:
            return b""
        piece = self.pieces.pop()
        if len(piece) > size:
            self.pieces.append(piece[size:])
        return piece[:size]

    def send(self, data: bytes, _flags: int = 0) -> int:
        self.sent += data
        return len(data)

    sendall = send

    def fileno(self) -> int:
        return -1

    timeout = None

    def settimeout(self, _: float | None) -> None:
        pass


@dataclass
class Outcome:
    """The requests accepted, in order, and how it ended: ``end``, ``incomplete``, ``close`` or an HTTP status."""

    requests: list[dict[str, Any]] = field(default_factory=list)
    end: str = "end"


def make_config(**settings: Any) -> Config:
    cfg = Config()
    for name, value in settings.items():
        cfg.set(name, value)
    return cfg


def status_of(error: BaseException) -> str:
    """The status Worker.handle_error answers with."""
    for kind, status in (
        (LimitRequestLine, "414"),
        (LimitRequestHeaders, "431"),
        (ExpectationFailed, "417"),
        (UnsupportedTransferCoding, "501"),
        (ConfigurationProblem, "500"),
        (NoMoreData, "incomplete"),
        (ParseException, "400"),
    ):
        if isinstance(error, kind):
            return status
    return f"500 {error!r}"


def record(req: Any, environ: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Everything an application, a hook or a logger could see."""
    seen = {
        key: value
        for key, value in environ.items()
        if key not in ("gunicorn.socket", "wsgi.errors", "wsgi.input", "wsgi.early_hints", "wsgi.multithread")
    }
    assert callable(environ["wsgi.early_hints"])
    assert environ["wsgi.input"] is req.body
    assert isinstance(environ["wsgi.input"], Body)
    assert isinstance(environ["wsgi.errors"], wsgi.WSGIErrorsWrapper)
    names = "method uri path query fragment version scheme headers trailers peer_addr remote_addr req_number"
    seen |= {f"req.{name}": getattr(req, name) for name in names.split()}
    seen |= {"body": body, "closes": req.should_close()}
    return seen


def through_gunicorn(pieces: Iterable[bytes], cfg: Config, peer: Any = TRUSTED, server: Any = SERVER) -> Outcome:
    sock = ScriptedSocket(pieces)
    parser = RequestParser(cfg, sock, peer)
    outcome = Outcome()
    try:
        while True:
            req = next(parser)
            _, environ = wsgi.create(req, sock, peer, server, cfg)
            outcome.requests.append(record(req, environ, req.body.read()))
    except StopIteration:
        if outcome.requests and outcome.requests[-1]["closes"]:
            outcome.end = "close"
    except Exception as error:
        outcome.end = status_of(error)
    return outcome


def through_lean(
    pieces: Iterable[bytes],
    cfg: Config,
    peer: Any = TRUSTED,
    server: Any = SERVER,
    seen: Callable[[Any], object] = id,
) -> Outcome:
    sock: Any = ScriptedSocket(pieces)
    conn = Connection(sock, peer, server, cfg, Limits(cfg))
    base = lean_environ.shared(cfg)
    outcome = Outcome()
    try:
        while conn.receive():
            while (req := conn.next_request()) is not None:
                seen(req)
                resp = LeanResponse(req, sock, cfg)
                environ = lean_environ.build(req, resp, base, conn.environ)
                if environ is None:
                    _, environ = wsgi.create(req, sock, peer, server, cfg, response_class=LeanResponse)
                outcome.requests.append(record(req, environ, req.body.read()))
                if not conn.finish(req) or req.should_close():
                    outcome.end = "close"
                    return outcome
        if conn.buf:
            outcome.end = "incomplete"
    except Exception as error:
        outcome.end = status_of(error)
    return outcome


def feeds(data: bytes) -> dict[str, list[bytes]]:
    """The ways a message arrives: in one piece, byte by byte, and cut in the places parsers get wrong."""
    cut = data.find(b"\r\n\r\n") + 4
    return {
        "whole": [data],
        "bytes": [data[i : i + 1] for i in range(len(data))],
        "threes": [data[i : i + 3] for i in range(0, len(data), 3)],
        "head, body": [data[:cut], data[cut:]],
    }


WAYS = ("whole", "bytes", "threes", "head, body")


def assert_same(
    data: bytes, cfg: Config, peer: Any = TRUSTED, server: Any = SERVER, ways: Iterable[str] = WAYS
) -> Outcome:
    """Feed ``data`` to both parsers in every way, hold lean to Gunicorn's outcome, and return the one fed whole.

    Gunicorn itself measures a few limits (a chunk-size line without its end) by what one read returns, so each way is
    compared with the same way.
    """
    cuts = feeds(data)
    for way in ways:
        pieces = cuts[way]
        expected = through_gunicorn(pieces, cfg, peer, server)
        got = through_lean(pieces, cfg, peer, server)
        assert got == expected, f"fed as {way}: {data[:500]!r}"
    return through_gunicorn([data], cfg, peer, server)


__all__ = ["SERVER", "STRANGER", "TRUSTED", "UNIX", "Outcome", "assert_same", "make_config"]
