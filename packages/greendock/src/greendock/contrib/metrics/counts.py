"""What is counted, and how. Imported in the master once ``PROMETHEUS_MULTIPROC_DIR`` is set: the library looks then."""

from __future__ import annotations

import asyncio
import platform
import threading
import time
from collections.abc import Iterable
from functools import cache
from typing import Any

from gunicorn import __version__ as gunicorn_version
from gunicorn.workers.sync import SyncWorker
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary

from greendock import __version__

# A client can send any method: each would be a series for ever.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})
EXIT_REASONS = ("timeout", "max_requests", "stopped", "crash")
RELOAD_OUTCOMES = ("success", "failure")
_START = "greendock_metrics_start"
# Longer than this nothing waits: the header is not Nginx's, or a clock is wrong.
_LONGEST_QUEUE = 3600.0
_LAG_PERIOD = 0.5
_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Counts:
    """The metrics of one server. Every process that has a copy counts in files of its own.

    ``slow``: a request that took longer than this, in seconds, counts as slow.
    """

    def __init__(self, slow: float = 0.5) -> None:
        registry = CollectorRegistry()
        self._slow_seconds = slow
        self._requests = Counter(
            "gunicorn_requests", "Requests by method and status", ["method", "status"], registry=registry
        )
        self._duration = Histogram(
            "gunicorn_request_duration_seconds",
            "From its headers to the end of its response",
            registry=registry,
        )
        self._slow = Counter(
            "gunicorn_requests_slow", "Requests that took longer than GREENDOCK_SLO_LATENCY", registry=registry
        )
        self._queue = Histogram(
            "gunicorn_request_queue_seconds",
            "From the proxy (X-Request-Start) to the worker",
            buckets=_SHORT,
            registry=registry,
        )
        self._busy = Gauge(
            "gunicorn_threads_busy",
            "Requests being handled: busy threads (ASGI: tasks)",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._threads = Gauge(
            "gunicorn_threads",
            "Requests that can be handled at a time: threads (ASGI: connections)",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._websockets = Gauge(
            "gunicorn_websockets_open",
            "WebSockets that are open (ASGI)",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._lag = Histogram(
            "gunicorn_worker_lag_seconds",
            "How late a sleeping thread (ASGI: the event loop) goes on: for want of the GIL, the loop or a CPU",
            buckets=_SHORT,
            registry=registry,
        )
        self._exits = Counter("gunicorn_worker_exits", "Workers that ended, by reason", ["reason"], registry=registry)
        self._hooks = Summary(
            "gunicorn_hook_duration_seconds",
            "Time in each hook that is not part of a request",
            ["event", "hook"],
            registry=registry,
        )
        self._failures = Counter("gunicorn_hook_failures", "Hooks that raised, by event", ["event"], registry=registry)
        self._reloads = Counter("gunicorn_reloads", "Reloads, by outcome", ["outcome"], registry=registry)
        # Of the workers, which have a copy, each says 0: the largest is the master's.
        self._reloaded = Gauge(
            "gunicorn_last_reload_successful",
            "0 when the last reload failed and the old workers go on",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._build = Gauge(
            "greendock_build_info",
            "Versions, as labels; always 1",
            ["version", "gunicorn", "python"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._labelled = cache(self._requests.labels)
        # There from the start, so that a rate is right from the first one on.
        for reason in EXIT_REASONS:
            self._exits.labels(reason)
        for outcome in RELOAD_OUTCOMES:
            self._reloads.labels(outcome)
        self._reloaded.set(1)
        self._build.labels(__version__, gunicorn_version, platform.python_version()).set(1)

    def worker_booted(self, worker: Any) -> None:
        """``post_worker_init``: say what it can do, and watch how it does it."""
        if hasattr(worker, "asgi"):
            self._threads.set(worker.cfg.worker_connections)
            worker.asgi = self.counted(worker.asgi)
        elif isinstance(worker, SyncWorker):
            self._threads.set(1)
        else:
            self._threads.set(worker.cfg.threads)
            threading.Thread(target=self._watch_lag, name="metrics-lag", daemon=True).start()

    def _watch_lag(self) -> None:
        while True:
            started = time.monotonic()
            time.sleep(_LAG_PERIOD)
            self._lag.observe(max(0.0, time.monotonic() - started - _LAG_PERIOD))

    def _watch_loop(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        now = loop.time()
        self._lag.observe(max(0.0, now - due))
        loop.call_later(_LAG_PERIOD, self._watch_loop, loop, now + _LAG_PERIOD)

    def begin(self, request: Any) -> None:
        """``pre_request`` of a WSGI worker."""
        setattr(request, _START, time.monotonic())
        self._busy.inc()
        self._queued(value for name, value in request.headers if name == "X-REQUEST-START")

    def end(self, request: Any, status: str) -> None:
        """``post_request`` of a WSGI worker. It also follows a ``pre_request`` chain that broke before ``begin``."""
        started = getattr(request, _START, None)
        if started is not None:
            self._busy.dec()
            self._count(request.method, status, time.monotonic() - started)

    def _count(self, method: str, status: str, seconds: float) -> None:
        self._labelled(method if method in _METHODS else "other", status).inc()
        self._duration.observe(seconds)
        if seconds > self._slow_seconds:
            self._slow.inc()

    def _queued(self, starts: Iterable[str]) -> None:
        """Take the header that Nginx sets: ``t=`` and the seconds since 1970."""
        for text in starts:
            try:
                seconds = time.time() - float(text.removeprefix("t="))
            except ValueError:
                return
            if seconds < _LONGEST_QUEUE:
                self._queue.observe(max(0.0, seconds))  # two machines' clocks differ by a little
            return

    def counted(self, app: Any) -> Any:
        """Wrap an ASGI application: Gunicorn's own worker tells ``post_request`` nothing about a response."""

        watched = False

        async def counted(scope: dict[str, Any], receive: Any, send: Any) -> None:
            nonlocal watched
            if not watched:
                watched = True
                loop = asyncio.get_running_loop()
                loop.call_later(_LAG_PERIOD, self._watch_loop, loop, loop.time() + _LAG_PERIOD)
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
            self._queued(value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-start")
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

    def hook_took(self, event: str, hook: str, seconds: float) -> None:
        """A hook of ``event`` has run."""
        self._hooks.labels(event, hook).observe(seconds)

    def reloaded(self, succeeded: bool) -> None:
        """A reload has ended."""
        self._reloads.labels(RELOAD_OUTCOMES[0] if succeeded else RELOAD_OUTCOMES[1]).inc()
        self._reloaded.set(int(succeeded))
