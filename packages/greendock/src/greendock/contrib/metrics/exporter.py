"""The process that answers Prometheus.

``python -m greendock.contrib.metrics.exporter ADDRESS FOLDER READINESS_FILE OBJECTIVES [PAUSE]``, started by the master
through ``greendock.contrib.metrics.supervisor``. ``OBJECTIVES``: the share of requests that shall succeed, a colon, and
the seconds they may take. It ends when its parent does.
"""

from __future__ import annotations

import os
import signal
import socket
import socketserver
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from gunicorn.util import parse_address
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import MetricsHandler
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from greendock.contrib.metrics.files import locked, sum_of
from greendock.host import procfs
from greendock.host.cgroups import memory_used, read_limits
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
    """What the readiness file and the kernel say about the master and its workers."""

    def __init__(self, folder: Path, readiness_file: str, availability: float, latency: float) -> None:
        self._folder = folder
        self._file = readiness_file
        self._availability = availability
        self._latency = latency

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
        booted = healthcheck.booted(self._file, master)
        lives = healthcheck.alive(master, int(state["started"]))
        ready = lives and state["state"] == "serving" and len(booted) >= int(state["minimum"])
        yield GaugeMetricFamily("gunicorn_workers_booted", "Living workers that have booted", len(booted))
        yield GaugeMetricFamily("gunicorn_workers_target", "Workers there should be", int(state["workers"]))
        yield GaugeMetricFamily("gunicorn_ready", "1 when this server is ready to take requests", int(ready))
        draining = lives and state["state"] == "draining"
        yield GaugeMetricFamily("gunicorn_draining", "1 when this server is stopping", int(draining))
        backlog = procfs.backlog(master)
        if backlog is not None:
            yield GaugeMetricFamily("gunicorn_backlog", "Connections that wait to be accepted", backlog)
        yield from self._workers(booted)
        yield from _limits()
        yield GaugeMetricFamily(
            "greendock_slo_availability_ratio", "Objective: requests answered below 500", self._availability
        )
        yield GaugeMetricFamily(
            "greendock_slo_latency_seconds", "Objective: 99 % of the requests are answered within", self._latency
        )

    def _workers(self, pids: Sequence[int]) -> Iterable[Metric]:
        cpu = CounterMetricFamily("gunicorn_worker_cpu_seconds", "CPU time of each worker", labels=["pid"])
        memory = GaugeMetricFamily("gunicorn_worker_memory_bytes", "Resident memory of each worker", labels=["pid"])
        started = GaugeMetricFamily(
            "gunicorn_worker_start_time_seconds", "When each worker was started, since 1970", labels=["pid"]
        )
        requests = CounterMetricFamily("gunicorn_worker_requests", "Requests of each worker", labels=["pid"])
        busy = GaugeMetricFamily("gunicorn_worker_threads_busy", "Busy threads of each worker", labels=["pid"])
        for pid in pids:
            usage = procfs.usage(pid)
            if usage is None:
                continue
            label = [str(pid)]
            cpu.add_metric(label, usage.cpu_seconds)
            memory.add_metric(label, usage.memory)
            started.add_metric(label, usage.started)
            requests.add_metric(label, sum_of(self._folder / f"counter_{pid}.db", "gunicorn_requests_total"))
            busy.add_metric(label, sum_of(self._folder / f"gauge_livesum_{pid}.db", "gunicorn_threads_busy"))
        return cpu, memory, started, requests, busy


def _limits() -> Iterable[Metric]:
    limits, used = read_limits(), memory_used()
    yield GaugeMetricFamily("gunicorn_cpus", "CPUs that this server may use", limits.cpus)
    if used is not None:
        yield GaugeMetricFamily("gunicorn_memory_used_bytes", "Memory of the whole container in use", used)
    most = limits.memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield GaugeMetricFamily("gunicorn_memory_limit_bytes", "Memory that the container may use", most)


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


def main(address: str, folder: str, readiness_file: str, objectives: str, pause: str = "0") -> None:
    """Serve until ended; begin after ``pause`` seconds."""
    time.sleep(float(pause))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to everybody in the terminal; the master decides
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Counted(Path(folder)))
    availability, _, latency = objectives.partition(":")
    registry.register(Observed(Path(folder), readiness_file, float(availability), float(latency)))
    with suppress(KeyboardInterrupt):
        listen(address, registry).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
