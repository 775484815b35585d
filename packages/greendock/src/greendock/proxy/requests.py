"""What Nginx does not count: its requests by status, time, cache, limits and TLS version, for ``/metrics``.

Nginx sends one datagram for each request (``access_log syslog:…``, loopback only), and never waits for it. A small
process beside it adds them up and writes the page that ``/metrics`` shows once a second. It also tells how many the
kernel had no room for.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import subprocess
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

#: What each datagram holds, after syslog's own words; see ``Counts.add``.
LOG_FORMAT = (
    "$status|$request_time|$upstream_response_time|$upstream_cache_status|$limit_req_status|$limit_conn_status|"
    "$ssl_protocol|$request_length|$bytes_sent"
)
#: The page without these figures, a part of this package; and the page with them, in the run directory.
STUB = "metrics/nginx.prom"
PAGE = "metrics.prom"
_LOOPBACK = "127.0.0.1"
_LONGEST = 512
_BUFFER = 4 * 1024 * 1024
# Waking for each datagram would take a CPU from Nginx as often.
_GATHER_SECONDS = 0.01
_WRITE_SECONDS = 1.0
_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Histogram:
    """Seconds by upper bound."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(_BOUNDS, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str, summary: str) -> Iterator[str]:
        """Yield it as Prometheus reads it."""
        yield f"# HELP {name} {summary}\n# TYPE {name} histogram"
        total = 0
        for bound, count in zip([*_BOUNDS, "+Inf"], self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self._sum:.3f}\n{name}_count {total}"


class Counts:
    """Sums over all requests since the start."""

    def __init__(self) -> None:
        self._statuses: Counter[str] = Counter()
        self._cache: Counter[str] = Counter()
        self._limited: Counter[str] = Counter()
        self._tls: Counter[str] = Counter()
        self._duration, self._upstream = Histogram(), Histogram()
        self._received = self._sent = 0

    def add(self, datagram: bytes) -> None:
        """Count one request, ``<190>Jan  1 00:00:00 requests: `` and ``LOG_FORMAT``; anything else is left alone."""
        fields = datagram.decode("ascii", "replace").partition(": ")[2].split("|")
        try:
            status, seconds, upstream, cache, rate, connections, tls, received, sent = fields
            self._duration.add(float(seconds))
            self._received += int(received)
            self._sent += int(sent)
            self._statuses[status] += 1
            # Several tries, or an internal redirect: "0.001, 0.020 : 0.003".
            times = [float(text) for text in upstream.replace(",", " ").split() if text not in ("-", ":")]
            if times:
                self._upstream.add(sum(times))
        except ValueError:
            return
        for counter, value in ((self._cache, cache), (self._tls, tls)):
            if value not in ("-", ""):
                counter[value.lower()] += 1
        for kind, value in (("rate", rate), ("connections", connections)):
            if value in ("REJECTED", "DELAYED"):
                self._limited[f'{kind}",outcome="{value.lower()}'] += 1

    def page(self, lost: int, expiry: float | None) -> str:
        """Return it as Prometheus reads it; ``expiry`` is the certificate's, in seconds since 1970."""
        lines = [
            (Path(__file__).parent / STUB).read_text(encoding="utf-8").rstrip(),
            *_series("nginx_http_responses_total", "Requests by status", "status", self._statuses),
            *self._duration.lines("nginx_http_request_duration_seconds", "From first byte to last, slow clients too"),
            *self._upstream.lines("nginx_upstream_response_duration_seconds", "Until the application had answered"),
            *_series("nginx_cache_requests_total", "Requests by what the cache had", "result", self._cache),
            *_series("nginx_limited_requests_total", "Requests that a limit stopped", "limit", self._limited),
            *_series("nginx_tls_requests_total", "Requests by TLS version", "version", self._tls),
            *_single("nginx_http_request_bytes_total", "Bytes of requests", "counter", self._received),
            *_single("nginx_http_response_bytes_total", "Bytes of responses", "counter", self._sent),
            *_single("nginx_requests_uncounted_total", "Requests lost to these metrics", "counter", lost),
            *_single("nginx_requests_counted_timestamp_seconds", "When these were written", "gauge", time.time()),
        ]
        if expiry is not None:
            lines += _single(
                "nginx_certificate_expiry_timestamp_seconds", "When the certificate expires", "gauge", expiry
            )
        return "\n".join(lines) + "\n"


def _series(name: str, summary: str, label: str, counter: Counter[str]) -> Iterator[str]:
    yield f"# HELP {name} {summary}\n# TYPE {name} counter"
    for value, count in sorted(counter.items()):
        yield f'{name}{{{label}="{value}"}} {count}'


def _single(name: str, summary: str, kind: str, value: float) -> Iterator[str]:
    yield f"# HELP {name} {summary}\n# TYPE {name} {kind}\n{name} {value}"


def listen(port: int) -> socket.socket:
    """Return a socket that takes Nginx's datagrams. Raises ``OSError``."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)  # the kernel gives what net.core.rmem_max allows
    receiver.setblocking(False)
    receiver.bind((_LOOPBACK, port))
    return receiver


def serve(receiver: socket.socket, write: Callable[[str], object], certificate: Callable[[], Path | None]) -> None:
    """Count what comes, and write the page once a second while the parent process lives."""
    counts, parent, lost = Counts(), os.getppid(), Lost(receiver.getsockname()[1])
    expiry = Expiry(certificate)
    written = 0.0
    while os.getppid() == parent:
        if select.select([receiver], [], [], _WRITE_SECONDS)[0]:
            time.sleep(_GATHER_SECONDS)
            for datagram in _waiting(receiver):
                counts.add(datagram)
        if time.monotonic() - written >= _WRITE_SECONDS:
            written = time.monotonic()
            write(counts.page(lost.read(), expiry.read()))


def _waiting(receiver: socket.socket, most: int = 2000) -> Iterator[bytes]:
    try:
        for _ in range(most):
            yield receiver.recv(_LONGEST)
    except OSError:
        return


class Lost:
    """How many datagrams found no room."""

    def __init__(self, port: int) -> None:
        self._address = f"0100007F:{port:04X}"

    def read(self) -> int:
        """Return their number since the start: https://docs.kernel.org/networking/proc_net_tcp.html"""
        try:
            lines: Iterable[str] = Path("/proc/net/udp").read_text(encoding="ascii").splitlines()
        except OSError:
            return 0
        return sum(int(line.split()[-1]) for line in lines if line.split()[1] == self._address)


class Expiry:
    """When the certificate expires; read again when its file changes."""

    def __init__(self, certificate: Callable[[], Path | None]) -> None:
        self._certificate = certificate
        self._known: tuple[Path, int] | None = None
        self._expiry: float | None = None

    def read(self) -> float | None:
        """Return it in seconds since 1970; ``None``: there is none, or it cannot be read."""
        try:
            file = self._certificate()
            now = None if file is None else (file, file.stat().st_mtime_ns)
        except OSError:
            now = None
        if now != self._known:
            self._known, self._expiry = now, None if now is None else _not_after(now[0])
        return self._expiry


def _not_after(certificate: Path) -> float | None:
    command = ["openssl", "x509", "-noout", "-enddate", "-in", str(certificate)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return float(ssl.cert_time_to_seconds(done.stdout.strip().partition("=")[2]))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
