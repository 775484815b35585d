"""``request-id`` for workers with threads: lean, gthread and what is built on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from greendock.contrib import request_id
from greendock.contrib.lean import LeanWorker

HEADER = "X-REQUEST-ID"


class RequestIdThreads:
    """A mixin for ``lean``, ``drain``, gthread and their subclasses: ``class Mine(RequestIdThreads, Other)``."""

    wsgi: Callable[..., Iterable[bytes]]

    def load_wsgi(self) -> None:
        """Load the application, and let its responses carry the id."""
        request_id.mark_log_records()
        super().load_wsgi()  # type: ignore[misc]
        self.wsgi = _answering(self.wsgi)

    def handle(self, conn: Any) -> Any:
        """Forget the id when the connection is let go: what Gunicorn logs about a failed request still carries it."""
        try:
            return super().handle(conn)  # type: ignore[misc]
        finally:
            request_id.variable.set(None)

    def handle_request(self, req: Any, conn: Any) -> Any:
        """HTTP/1."""
        _adopt(req)
        return super().handle_request(req, conn)  # type: ignore[misc]

    def handle_http2_request(self, req: Any, conn: Any, h2_conn: Any) -> Any:
        """One stream of HTTP/2."""
        _adopt(req)
        return super().handle_http2_request(req, conn, h2_conn)  # type: ignore[misc]


class RequestIdWorker(RequestIdThreads, LeanWorker):
    """What ``lean`` does, and the request's id."""


def _adopt(req: Any) -> None:
    chosen = request_id.choose([value for name, value in req.headers if name == HEADER])
    # Gunicorn makes the environ from these, so the application sees the one id and nothing a client sent beside it.
    req.headers = [header for header in req.headers if header[0] != HEADER] + [(HEADER, chosen)]
    request_id.variable.set(chosen)


def _answering(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            others = [header for header in headers if header[0].upper() != HEADER]
            return start_response(status, [*others, ("X-Request-ID", environ["HTTP_X_REQUEST_ID"])], exc_info)

        return app(environ, start)

    return answer
