"""``greendock top``: what this server and its workers do, as it goes on; ``--all``: every replica of the project.

Two looks at the readiness file, /proc and the metrics plugin, some seconds apart, make one sample. Without the plugin
there are no requests in it. On the host each container is asked for a sample of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from greendock.host import procfs
from greendock.runtime import healthcheck

_METRICS = "127.0.0.1:9180"
_TIMEOUT = 5.0
_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ERROR = re.compile(r'\[(ERROR|CRITICAL)\]|"log\.level": ?"(error|critical)"', re.IGNORECASE)
_MOST_ERRORS = 3
SORTS = ("requests", "cpu", "memory", "age", "pid")
_PERCENTILES = (0.5, 0.95, 0.99)
_CLEAR, _HOME, _END_OF_LINE = "\x1b[J", "\x1b[H", "\x1b[K"
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"

#: Samples of one page of metrics: by name, then label text and value.
Page = dict[str, list[tuple[dict[str, str], float]]]


@dataclass
class Worker:
    """One worker: age in seconds, memory in bytes, CPU in CPUs; ``None``: not known without the metrics plugin."""

    pid: int
    age: float
    cpu: float
    memory: int
    requests_per_second: float | None = None
    in_flight: int | None = None


@dataclass
class Replica:
    """One server. Times in seconds; ``None``: not known without the metrics plugin, or nothing was asked.

    ``errors`` are the last lines of its log that say so; only the host can read them.
    """

    name: str
    readiness: str
    workers: list[Worker] = field(default_factory=list)
    requests_per_second: float | None = None
    errors_per_second: float | None = None
    in_flight: int | None = None
    threads: int | None = None
    backlog: int | None = None
    percentiles: dict[str, float | None] = field(default_factory=dict)
    queued: dict[str, float | None] = field(default_factory=dict)
    exits: dict[str, int] = field(default_factory=dict)
    memory: int | None = None
    memory_limit: int | None = None
    errors: list[str] = field(default_factory=list)


@dataclass
class Proxy:
    """Nginx: connections now, and requests a second by class of status (empty without ``NGINX_METRICS``)."""

    name: str
    connections: int
    idle: int
    statuses: dict[str, float]


def main(arguments: Sequence[str]) -> int:
    """Show samples until told to stop; return the exit status: 1 when there is nothing to show."""
    parser = argparse.ArgumentParser(prog="greendock top", description=__doc__.partition("\n")[0])
    parser.add_argument("--once", action="store_true", help="one sample, and exit")
    parser.add_argument("--json", action="store_true", help="one sample as JSON, and exit")
    parser.add_argument("--all", action="store_true", help="on the host: every replica of this folder's project")
    parser.add_argument("--interval", type=_seconds, default=2.0, help="seconds of a sample (2)")
    parser.add_argument("--sort", choices=SORTS, default="requests", help="order of the workers (requests)")
    options = parser.parse_args(arguments)
    take = take_all if options.all else take_here
    try:
        if options.json or options.once or not (sys.stdin.isatty() and sys.stdout.isatty()):
            replicas, proxies = take(options.interval)
            if options.json:
                shown = {"replicas": [asdict(each) for each in replicas], "proxies": [asdict(each) for each in proxies]}
                print(json.dumps(shown))
            else:
                print("\n".join(lines(replicas, proxies, options.sort, shutil.get_terminal_size((80, 24)).columns)))
            return 0 if replicas else 1
        _watch(lambda: take(options.interval), options.sort)
    except KeyboardInterrupt:
        pass
    except OSError as error:
        print(f"greendock top: {error.filename or ''}: {error.strerror}".replace(" : ", " "), file=sys.stderr)
        return 1
    return 0


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 60:
        raise ValueError(text)
    return value


# --- samples ---------------------------------------------------------------------------------------------------------


def take_here(seconds: float) -> tuple[list[Replica], list[Proxy]]:
    """Look twice, ``seconds`` apart, at the server whose readiness file the environment names."""
    path = os.environ.get("GREENDOCK_READINESS_FILE") or healthcheck.DEFAULT_FILE
    address = os.environ.get("GREENDOCK_METRICS_BIND") or _METRICS
    state = healthcheck.load(path)
    if state is None:
        print(f"greendock top: {healthcheck.check(path)['reason']}", file=sys.stderr)
        return [], []
    master = int(state["pid"])

    def look() -> tuple[float, Page, dict[int, procfs.Usage]]:
        usages = {pid: procfs.usage(pid) for pid in healthcheck.booted(path, master)}
        return time.monotonic(), scrape(address), {pid: usage for pid, usage in usages.items() if usage}

    before = look()
    time.sleep(seconds)
    after = look()
    readiness = str(healthcheck.check(path)["reason"])
    return [sample(socket.gethostname(), readiness, before, after)], []


def sample(
    name: str,
    readiness: str,
    before: tuple[float, Page, Mapping[int, procfs.Usage]],
    after: tuple[float, Page, Mapping[int, procfs.Usage]],
) -> Replica:
    """Return what happened between two looks. A worker that is new counts from nothing."""
    seconds = max(after[0] - before[0], 1e-3)
    old, new = before[1], after[1]
    replica = Replica(name, readiness)
    served, served_before = (
        _by(new, "gunicorn_worker_requests_total", "pid"),
        _by(old, "gunicorn_worker_requests_total", "pid"),
    )
    busy = _by(new, "gunicorn_worker_threads_busy", "pid")
    for pid, usage in after[2].items():
        known = before[2].get(pid)
        worker = Worker(
            pid,
            time.time() - usage.started,
            (usage.cpu_seconds - (known.cpu_seconds if known else 0)) / seconds,
            usage.memory,
        )
        if new:
            worker.requests_per_second = (served.get(str(pid), 0) - served_before.get(str(pid), 0)) / seconds
            worker.in_flight = int(busy.get(str(pid), 0))
        replica.workers.append(worker)
    if not new:
        return replica
    replica.requests_per_second = _grown(old, new, "gunicorn_requests_total") / seconds
    replica.errors_per_second = (
        _grown(old, new, "gunicorn_requests_total", lambda labels: labels["status"].startswith("5")) / seconds
    )
    replica.in_flight = _number(new, "gunicorn_threads_busy")
    replica.threads = _number(new, "gunicorn_threads")
    replica.backlog = _number(new, "gunicorn_backlog") if "gunicorn_backlog" in new else None
    replica.percentiles = percentiles(old, new, "gunicorn_request_duration_seconds")
    replica.queued = percentiles(old, new, "gunicorn_request_queue_seconds")
    replica.exits = {reason: int(count) for reason, count in _by(new, "gunicorn_worker_exits_total", "reason").items()}
    replica.memory = _number(new, "gunicorn_memory_used_bytes") if "gunicorn_memory_used_bytes" in new else None
    replica.memory_limit = _number(new, "gunicorn_memory_limit_bytes")
    return replica


def scrape(address: str) -> Page:
    """Return what the metrics plugin answers; nothing where it is not in use."""
    host, _, port = address.rpartition(":")
    where: Any = address.removeprefix("unix:")
    if not address.startswith("unix:"):
        where = ({"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]")), int(port))  # noqa: S104
    try:
        if isinstance(where, str):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(where)
        else:
            connection = socket.create_connection(where, _TIMEOUT)
        with connection:
            connection.settimeout(_TIMEOUT)
            connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            received = b"".join(iter(lambda: connection.recv(65536), b""))
    except OSError:
        return {}
    return parse(received.partition(b"\r\n\r\n")[2].decode("utf-8", "replace"))


def parse(text: str) -> Page:
    """Return the samples of a page in Prometheus's text format, by name."""
    page: Page = {}
    for name, labels, value in _SAMPLE.findall(text):
        page.setdefault(name, []).append((dict(_LABEL.findall(labels)), float(value)))
    return page


def percentiles(old: Page, new: Page, name: str) -> dict[str, float | None]:
    """Return the upper bounds below which these shares of what a histogram has counted between the looks lie."""
    counts = {float(bound): count for bound, count in _by(new, f"{name}_bucket", "le").items()}
    for bound, count in _by(old, f"{name}_bucket", "le").items():
        counts[float(bound)] = counts.get(float(bound), 0) - count
    total = max(counts.values(), default=0)
    bounds_of: dict[str, float | None] = {}
    for share in _PERCENTILES:
        bounds = [bound for bound, count in sorted(counts.items()) if count >= share * total]
        bounds_of[f"p{share * 100:g}"] = bounds[0] if total > 0 and bounds[0] != float("inf") else None
    return bounds_of


def _by(page: Page, name: str, label: str) -> dict[str, float]:
    return {labels[label]: value for labels, value in page.get(name, ()) if label in labels}


def _number(page: Page, name: str) -> int:
    return int(sum(value for _, value in page.get(name, ())))


def _grown(old: Page, new: Page, name: str, counts: Callable[[dict[str, str]], bool] = lambda _: True) -> float:
    totals = [sum(value for labels, value in page.get(name, ()) if counts(labels)) for page in (old, new)]
    return max(0.0, totals[1] - totals[0])


# --- the whole project, from the host --------------------------------------------------------------------------------


def take_all(seconds: float) -> tuple[list[Replica], list[Proxy]]:
    """Ask each container of this folder's Compose project for a sample, all at once."""
    applications, proxies = _containers("app"), _containers("nginx")
    with ThreadPoolExecutor(len(applications) + len(proxies) + 1) as pool:
        asked = pool.map(lambda container: _ask_replica(container, seconds), applications)
        nginx = pool.map(lambda container: _ask_proxy(container, seconds), proxies)
        return [each for each in asked if each], [each for each in nginx if each]


def _ask_replica(container: str, seconds: float) -> Replica | None:
    name = _output("docker", "inspect", "--format", "{{.Name}}", container).strip().lstrip("/")
    text = _output("docker", "exec", container, "greendock", "top", "--json", "--interval", str(seconds))
    if not text:
        return Replica(name, "does not answer")
    answer = json.loads(text)["replicas"][0]
    workers = [Worker(**worker) for worker in answer.pop("workers")]
    return Replica(**(answer | {"name": name, "workers": workers, "errors": _errors(container)}))


def _errors(container: str) -> list[str]:
    done = subprocess.run(
        ["docker", "logs", "--since", "10m", "--tail", "1000", container],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    return [line for line in done.stdout.splitlines() if _ERROR.search(line)][-_MOST_ERRORS:]


def _ask_proxy(container: str, seconds: float) -> Proxy | None:
    def look() -> Page:
        page = 'exec curl -fsS -m 5 "http://127.0.0.1:${NGINX_STATUS_PORT:-8081}/metrics"'
        return parse(_output("docker", "exec", container, "sh", "-c", page))

    started, old = time.monotonic(), look()
    time.sleep(seconds)
    new, passed = look(), time.monotonic() - started
    if not new:
        return None
    classes = sorted({labels["status"][0] for labels, _ in new.get("nginx_http_responses_total", ())})

    def rate(first: str) -> float:
        grown = _grown(old, new, "nginx_http_responses_total", lambda labels: labels["status"][0] == first)
        return grown / passed

    statuses = {f"{each}xx": rate(each) for each in classes}
    name = _output("docker", "inspect", "--format", "{{.Name}}", container).strip().lstrip("/")
    return Proxy(name, _number(new, "nginx_connections_active"), _number(new, "nginx_connections_waiting"), statuses)


def _containers(service: str) -> list[str]:
    return _output("docker", "compose", "ps", "--quiet", service).split()


def _output(*command: str) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    return done.stdout


# --- the view --------------------------------------------------------------------------------------------------------


def lines(replicas: Iterable[Replica], proxies: Iterable[Proxy], sort: str, width: int) -> list[str]:
    """Return the view as text, no line wider than ``width``."""
    shown = [line for proxy in proxies for line in _proxy_lines(proxy)]
    for replica in replicas:
        shown += ["", *_replica_lines(replica, sort)] if shown else _replica_lines(replica, sort)
    # What a log holds must not steer the terminal.
    return ["".join(each if each.isprintable() else "?" for each in line[:width]) for line in shown]


def _proxy_lines(proxy: Proxy) -> Iterator[str]:
    rates = "  ".join(f"{name} {rate:.1f}/s" for name, rate in proxy.statuses.items())
    yield f"{proxy.name}: {proxy.connections} connections, {proxy.idle} idle  {rates}".rstrip()


def _replica_lines(replica: Replica, sort: str) -> Iterator[str]:
    yield f"{replica.name}: {replica.readiness}"
    if replica.requests_per_second is None:
        yield "  GREENDOCK_PLUGINS=metrics shows requests too"
    else:
        backlog = "" if replica.backlog is None else f"  backlog {replica.backlog}"
        yield (
            f"  {replica.requests_per_second:.1f} requests/s  {replica.errors_per_second or 0:.1f} 5xx/s"
            f"  in flight {replica.in_flight}/{replica.threads}{backlog}"
        )
        exits = "  ".join(f"{name} {count}" for name, count in replica.exits.items() if count)
        memory = f"  memory {_bytes(replica.memory)} of {_bytes(replica.memory_limit)}" if replica.memory else ""
        yield (
            f"  time {_times(replica.percentiles)}  queued {_times(replica.queued)}{memory}"
            + (f"  ended: {exits}" if exits else "")
        )
    yield f"  {'PID':>8} {'AGE':>8} {'REQ/S':>8} {'IN FLIGHT':>9} {'CPU %':>6} {'MEMORY':>8}"
    keys: dict[str, Callable[[Worker], float]] = {
        "requests": lambda worker: -(worker.requests_per_second or 0),
        "cpu": lambda worker: -worker.cpu,
        "memory": lambda worker: -worker.memory,
        "age": lambda worker: -worker.age,
        "pid": lambda worker: worker.pid,
    }
    for worker in sorted(replica.workers, key=keys[sort]):
        rate = "-" if worker.requests_per_second is None else f"{worker.requests_per_second:.1f}"
        busy = "-" if worker.in_flight is None else str(worker.in_flight)
        yield (
            f"  {worker.pid:>8} {_age(worker.age):>8} {rate:>8} {busy:>9} {worker.cpu * 100:>6.1f} "
            f"{_bytes(worker.memory):>8}"
        )

    yield from (f"  {line}" for line in replica.errors)


def _times(times: Mapping[str, float | None]) -> str:
    return " ".join(f"{name} {'-' if value is None else f'{value * 1000:g}ms'}" for name, value in times.items())


def _bytes(count: int | None) -> str:
    return "-" if count is None else f"{count / 2**20:.0f}M" if count < 10 * 2**30 else f"{count / 2**30:.0f}G"


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def _watch(take: Callable[[], tuple[list[Replica], list[Proxy]]], sort: str) -> None:
    """Draw sample after sample until ``q``; ``s`` takes the next order."""
    with _screen(), ThreadPoolExecutor(1) as pool:
        pending, latest = pool.submit(take), None
        while True:
            if pending.done():
                latest, pending = pending.result(), pool.submit(take)
            if latest is not None:
                size = shutil.get_terminal_size((80, 24))
                head = f"greendock top   {time.strftime('%H:%M:%S')}   sorted by {sort}   s: sort   q: quit"
                text = [head[: size.columns], "", *lines(*latest, sort, size.columns)][: size.lines - 1]
                print(_HOME + "".join(f"{line}{_END_OF_LINE}\r\n" for line in text) + _CLEAR, end="", flush=True)
            if select.select([sys.stdin], [], [], 0.2)[0]:
                key = os.read(sys.stdin.fileno(), 1)
                if key in (b"q", b"\x03", b""):
                    return
                if key == b"s":
                    sort = SORTS[(SORTS.index(sort) + 1) % len(SORTS)]


@contextmanager
def _screen() -> Iterator[None]:
    """Have the whole terminal, key by key, and give it back as it was."""
    before = termios.tcgetattr(sys.stdin)
    print(_ENTER, end="", flush=True)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        with suppress(termios.error):
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        print(_LEAVE, end="", flush=True)
