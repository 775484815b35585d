"""The server plugin: which hook counts what."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greendock.contrib.metrics.files import Folder
from greendock.contrib.metrics.supervisor import Supervisor
from greendock.env import types
from greendock.env.variable import Variable
from greendock.hooks import chain
from greendock.hooks.plugins import ServerPlugin
from greendock.runtime import lifecycle
from greendock.server.variables import APP, HOOKS

if TYPE_CHECKING:
    from greendock.contrib.metrics.counts import Counts

_LIBRARY = "prometheus_client"
_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"


def _address(text: str) -> str:
    match = re.fullmatch(r"unix:/\S+|(?:\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):([0-9]{1,5})", text)
    if match is None or (match[1] and not 0 < int(match[1]) < 65536):
        raise ValueError(text)
    return text


class MetricsPlugin(ServerPlugin):
    """Requests, their durations, busy threads, workers, how workers ended, hooks, reloads, readiness."""

    variables = (
        Variable(
            "GREENDOCK_METRICS_BIND",
            types.Type("host:port, [address]:port or unix:/path", _address),
            "127.0.0.1:9180",
            "Where the `metrics` plugin answers Prometheus. Never a public address.",
            HOOKS,
        ),
        Variable(
            "GREENDOCK_METRICS_DIR",
            types.PATH,
            "",
            "Where the `metrics` plugin keeps its memory-mapped files: a tmpfs with room for about 32 KiB a worker. "
            "Unset: beside the readiness file.",
            HOOKS,
        ),
        Variable(
            "GREENDOCK_SLO_AVAILABILITY",
            types.number(50, 99.999),
            "99.9",
            "Service level objective: percent of the requests that are answered below 500. The alerts of "
            "deploy/monitoring are about it.",
            HOOKS,
        ),
        Variable(
            "GREENDOCK_SLO_LATENCY",
            types.number(0.001, 3_600),
            "0.5",
            "Service level objective: seconds within which 99 % of the requests are answered.",
            HOOKS,
        ),
        APP["GREENDOCK_READINESS_FILE"],
    )

    def __init__(self) -> None:
        self._bind = self._readiness_file = ""
        self._availability, self._latency = 0.0, 0.0
        self._folder: Folder | None = None
        self._counts: Counts | None = None
        self._supervisor: Supervisor | None = None

    def configure(self, options: Mapping[str, Any]) -> Iterable[str]:
        """Say where files go, before anything imports ``prometheus_client``. A reload changes nothing any more."""
        if self._folder is not None:
            return
        if find_spec(_LIBRARY) is None:
            yield "prometheus-client is not installed: `uv sync --extra metrics`"
            return
        if _LIBRARY in sys.modules and _DIRECTORY not in os.environ:
            yield f"{_LIBRARY} was imported before the plugin could choose its multi-process mode; import it later"
            return
        self._bind, self._readiness_file = options["GREENDOCK_METRICS_BIND"], options["GREENDOCK_READINESS_FILE"]
        self._availability = options["GREENDOCK_SLO_AVAILABILITY"] / 100
        self._latency = options["GREENDOCK_SLO_LATENCY"]
        base = options["GREENDOCK_METRICS_DIR"] or f"{self._readiness_file}.metrics"
        self._folder = Folder(Path(base), os.getpid())
        os.environ[_DIRECTORY] = str(self._folder.path)

    def nworkers_changed(self, _server: Any, _new_value: int, old_value: int | None) -> None:
        """The first of all hooks, before a preloaded application is imported: make the files."""
        if old_value is not None or self._folder is None:
            return
        self._folder.create()
        from greendock.contrib.metrics.counts import Counts  # noqa: PLC0415

        self._counts = Counts(self._latency)
        chain.on_failure.append(self._counts.hook_failed)
        chain.on_duration.append(self._counts.hook_took)
        lifecycle.on_reload_end.append(self._counts.reloaded)

    def when_ready(self, server: Any) -> None:
        """Start the exporter."""
        if self._folder is not None and self._counts is not None:
            objectives = f"{self._availability:g}:{self._latency:g}"
            self._supervisor = Supervisor([self._bind, str(self._folder.path), self._readiness_file, objectives])
            self._supervisor.watch(server)
            server.log.info("Metrics at %s (GET /metrics)", self._bind)

    def post_worker_init(self, worker: Any) -> None:
        """A worker is about to serve."""
        if self._counts is not None:
            self._counts.worker_booted(worker)

    def pre_request(self, worker: Any, request: Any) -> None:
        """A request begins."""
        if self._counts is not None and not hasattr(worker, "asgi"):
            self._counts.begin(request)

    def post_request(self, worker: Any, request: Any, _environ: Any, response: Any) -> None:
        """A request has ended. An exception passing through means that Gunicorn answers 500, whatever was meant."""
        if self._counts is not None and not hasattr(worker, "asgi"):
            failed = response is None or response.status is None or (sys.exception() and not response.headers_sent)
            self._counts.end(request, "500" if failed else response.status[:3])

    def worker_exit(self, _server: Any, worker: Any) -> None:
        """Leave word for the master: a worker that ends without has crashed."""
        error = sys.exception()
        if self._folder is not None and isinstance(error, SystemExit) and error.code in (0, None):
            reason = "max_requests" if worker.nr >= worker.max_requests else "stopped"
            with suppress(OSError):
                (self._folder.path / f"{worker.pid}.{reason}").touch()

    def child_exit(self, _server: Any, worker: Any) -> None:
        """Count how the worker ended, and clean up after it."""
        if self._folder is None or self._counts is None:
            return
        reason = "crash"
        for word in self._folder.path.glob(f"{worker.pid}.*"):
            reason = word.suffix[1:]
            word.unlink()
        self._counts.worker_ended("timeout" if worker.aborted else reason)
        self._folder.bury(worker.pid)

    def on_exit(self, _server: Any) -> None:
        """Stop the exporter and remove the files."""
        if self._supervisor is not None:
            self._supervisor.stop()
        if self._folder is not None:
            self._folder.remove()
