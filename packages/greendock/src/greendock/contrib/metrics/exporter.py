"""The process that answers Prometheus.

``python -m greendock.contrib.metrics.exporter ADDRESS FOLDER READINESS_FILE [PAUSE]``, started by the master through
``greendock.contrib.metrics.supervisor``. It ends when its parent does.
"""

from __future__ import annotations

import os
import signal
import socket
import socketserver
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from gunicorn.util import parse_address
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import MetricsHandler
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from greendock.contrib.metrics.files import locked
from greendock.runtime import healthcheck

_RETRY_SECONDS = 0.5


class Counted:
    """What the processes have counted in their files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._collector = MultiProcessCollector(None, str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        """Add all files up, while nobody moves numbers between them."""
        with locked(self._folder, wait=True):
            return list(self._collector.collect())  # type: ignore[no-untyped-call]


class Observed:
    """What the readiness file says about the master and its workers."""

    def __init__(self, readiness_file: str) -> None:
        self._file = readiness_file

    def collect(self) -> Iterable[Metric]:
        """Read the file; the healthcheck's own probe is left out, so that a scrape never waits for a worker."""
        state = healthcheck.load(self._file) or {
            "pid": "0",
            "started": "0",
            "workers": "0",
            "minimum": "1",
            "state": "",
        }
        master = int(state["pid"])
        booted = len(healthcheck.booted(self._file, master))
        serving = state["state"] == "serving" and healthcheck.alive(master, int(state["started"]))
        ready = serving and booted >= int(state["minimum"])
        yield GaugeMetricFamily("gunicorn_workers_booted", "Living workers that have booted", booted)
        yield GaugeMetricFamily("gunicorn_workers_target", "Workers there should be", int(state["workers"]))
        yield GaugeMetricFamily("gunicorn_ready", "1 when this server is ready to take requests", int(ready))


class Server(ThreadingHTTPServer):
    """Serves scrapes until the parent process is gone."""

    daemon_threads = True
    parent = os.getppid()

    def service_actions(self) -> None:
        """Called by ``serve_forever`` twice a second."""
        if os.getppid() != self.parent:
            os._exit(0)

    def server_bind(self) -> None:
        """Bind without asking for this host's name, which can take long."""
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is nobody's fault."""


class SocketServer(Server):
    """The same on a Unix socket, which only this user and its group may open."""

    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        """Take the place of a socket that nobody serves any more."""
        path = Path(str(self.server_address))
        if path.is_socket():
            path.unlink()
        mask = os.umask(0o007)
        super().server_bind()
        os.umask(mask)


def listen(address: str, registry: CollectorRegistry) -> Server:
    """Return a bound server. An address that is taken (by the older master in a USR2 upgrade) is tried again."""
    handler = MetricsHandler.factory(registry)
    handler.timeout = 10  # type: ignore[attr-defined]
    where = parse_address(address)
    told = False
    while True:
        try:
            if isinstance(where, str):
                return SocketServer(where, handler)  # type: ignore[arg-type]
            Server.address_family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
            return Server(where, handler)
        except OSError as error:
            if not told:
                print(f"greendock metrics: cannot listen on {address} yet: {error.strerror}", file=sys.stderr)
            told = True
            time.sleep(_RETRY_SECONDS)
            if os.getppid() != Server.parent:
                sys.exit(0)


def main(address: str, folder: str, readiness_file: str, pause: str = "0") -> None:
    """Serve until ended; begin after ``pause`` seconds."""
    time.sleep(float(pause))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to everybody in the terminal; the master decides
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Counted(Path(folder)))
    registry.register(Observed(readiness_file))
    with suppress(KeyboardInterrupt):
        listen(address, registry).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
