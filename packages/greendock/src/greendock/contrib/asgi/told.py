"""What hooks and loggers are told of a request: the attributes they know from Gunicorn's WSGI workers."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from greendock.contrib.asgi.response import phrase


class Told:
    """A request as ``pre_request`` and ``post_request`` get it. ``scope`` is the application's own."""

    def __init__(self, scope: dict[str, Any], peer: Any, worker: Any) -> None:
        self.scope = scope
        self.remote_addr = self.peer_addr = peer
        self.method: str = scope.get("method", "GET")
        self.path: str = scope["path"]
        self.query: str = scope["query_string"].decode("latin-1")
        raw = scope["raw_path"].decode("latin-1")
        self.uri = f"{raw}?{self.query}" if self.query else raw
        self.scheme: str = scope["scheme"]
        major, _, minor = scope["http_version"].partition(".")
        self.version = (int(major), int(minor or 0))
        self._worker = worker
        self._began = time.monotonic()

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The header fields as they are now, names in upper case."""
        return [(name.decode("latin-1").upper(), value.decode("latin-1")) for name, value in self.scope["headers"]]

    def begin(self) -> None:
        """Run the ``pre_request`` hooks."""
        self._worker.cfg.pre_request(self._worker, self)

    def end(self, status: int, headers: Iterable[tuple[bytes, bytes]], sent: int) -> None:
        """Write the access log and run the ``post_request`` hooks. ``status`` 0: nothing was answered."""
        worker, environ = self._worker, self.environ()
        answer = Answer(status, headers, sent)
        try:
            worker.log.access(answer, self, environ, timedelta(seconds=time.monotonic() - self._began))
            worker.cfg.post_request(worker, self, environ, answer)
        except Exception:
            worker.log.exception("Exception in post_request hook")

    def environ(self) -> dict[str, Any]:
        """Return what a WSGI environ says of the request."""
        client = self.scope["client"]
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.method,
            "RAW_URI": self.uri,
            "PATH_INFO": self.path,
            "QUERY_STRING": self.query,
            "SCRIPT_NAME": self.scope["root_path"],
            "SERVER_PROTOCOL": f"HTTP/{self.version[0]}.{self.version[1]}",
            "REMOTE_ADDR": client[0] if client else "",
            "wsgi.url_scheme": self.scheme,
        }
        for name, value in self.headers:
            key = f"HTTP_{name.replace('-', '_')}"
            if key in ("HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"):
                key = key.removeprefix("HTTP_")
            environ[key] = f"{environ[key]},{value}" if key in environ else value
        return environ


class Answer:
    """A response as ``post_request`` and loggers get it; ``status`` is ``None`` when there was none."""

    def __init__(self, status: int, headers: Iterable[tuple[bytes, bytes]], sent: int) -> None:
        self.status_code = status
        self.status = f"{status} {phrase(status)}" if status else None
        self.sent = self.response_length = sent
        self.headers_sent = bool(status)
        self.headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
