"""What is counted, and how. Imported in the master once ``PROMETHEUS_MULTIPROC_DIR`` is set: the library looks then."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# A client can send any method: each would be a series for ever.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})
EXIT_REASONS = ("timeout", "max_requests", "stopped", "crash")
_START = "greendock_metrics_start"


class Counts:
    """The metrics of one server. Every process that has a copy counts in files of its own."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._requests = Counter(
            "gunicorn_requests", "Requests by method and status", ["method", "status"], registry=registry
        )
        self._duration = Histogram(
            "gunicorn_request_duration_seconds",
            "From its headers to the end of its response",
            registry=registry,
        )
        self._busy = Gauge(
            "gunicorn_threads_busy",
            "Requests being handled: busy threads (ASGI: tasks)",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._websockets = Gauge(
            "gunicorn_websockets_open",
            "WebSockets that are open (ASGI)",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._exits = Counter("gunicorn_worker_exits", "Workers that ended, by reason", ["reason"], registry=registry)
        self._failures = Counter("gunicorn_hook_failures", "Hooks that raised, by event", ["event"], registry=registry)
        self._labelled = cache(self._requests.labels)
        for reason in EXIT_REASONS:
            self._exits.labels(reason)  # there from the start, so that a rate is right from the first one on

    def begin(self, request: Any) -> None:
        """``pre_request`` of a WSGI worker."""
        setattr(request, _START, time.monotonic())
        self._busy.inc()

    def end(self, request: Any, status: str) -> None:
        """``post_request`` of a WSGI worker. It also follows a ``pre_request`` chain that broke before ``begin``."""
        started = getattr(request, _START, None)
        if started is not None:
            self._busy.dec()
            self._count(request.method, status, time.monotonic() - started)

    def _count(self, method: str, status: str, seconds: float) -> None:
        self._labelled(method if method in _METHODS else "other", status).inc()
        self._duration.observe(seconds)

    def counted(self, app: Any) -> Any:
        """Wrap an ASGI application: Gunicorn's own worker tells ``post_request`` nothing about a response."""

        async def counted(scope: dict[str, Any], receive: Any, send: Any) -> None:
            if scope["type"] == "websocket":
                with self._websockets.track_inprogress():
                    await app(scope, receive, send)
                return
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            status = "500"

            async def watch(message: dict[str, Any]) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = str(message["status"])
                await send(message)

            started = time.monotonic()
            self._busy.inc()
            try:
                await app(scope, receive, watch)
            finally:
                self._busy.dec()
                self._count(scope["method"], status, time.monotonic() - started)

        return counted

    def worker_ended(self, reason: str) -> None:
        """``child_exit``: ``reason`` is one of ``EXIT_REASONS``."""
        self._exits.labels(reason).inc()

    def hook_failed(self, event: str) -> None:
        """A hook of ``event`` has raised."""
        self._failures.labels(event).inc()
