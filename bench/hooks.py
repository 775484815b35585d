"""What hooks and shipped plugins cost for each request, beside stock Gunicorn: `python -m bench.hooks [--rounds N]`.

Every variant runs one gthread worker with the same trivial application; only one is under load at a time, in turn, so
that whatever else the machine does meets all of them. Measured is the worker's CPU time (user and system) for each
request, which a busy machine disturbs less than requests a second. Shown: the median over the rounds, and the median
of each round's ratio to stock. What calling the hooks costs drowns in that, so it is also measured alone, without a
server: the shortest of many runs. Needs `wrk` (`scripts/test-deps wrk`).
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import timeit
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import SimpleNamespace

from gunicorn.config import Config

from greendock.hooks import chain
from greendock.hooks.events import EVENTS

ROOT = Path(__file__).resolve().parent.parent
APPLICATION = """
BODY = b"hello"
HEADERS = [("Content-Type", "text/plain"), ("Content-Length", "5")]
def app(environ, start_response):
    start_response("200 OK", HEADERS)
    return [BODY]
def before(worker, req): pass
def after(worker, req, environ, resp): pass
"""
COMMON = {"GUNICORN_WORKER_CLASS": "gthread", "GUNICORN_THREADS": "4", "GREENDOCK_DRAIN_SECONDS": "0"}


def hooked(count: int) -> dict[str, str]:
    """Hook ``count`` functions that do nothing to each of the two events."""
    return {
        "GUNICORN_PRE_REQUEST": ",".join(["wsgi:before"] * count),
        "GUNICORN_POST_REQUEST": ",".join(["wsgi:after"] * count),
    }


VARIANTS: dict[str, dict[str, str] | None] = {
    "stock Gunicorn": None,
    "Greendock, 0 hooks": {},
    "1 pre_request and 1 post_request hook": hooked(1),
    "3 pre_request and 3 post_request hooks": hooked(3),
    "plugin drain": {"GUNICORN_WORKER_CLASS": "drain"},
    "plugin lean": {"GUNICORN_WORKER_CLASS": "lean"},
    "plugin request-id, on lean": {"GUNICORN_WORKER_CLASS": "request-id"},
    "plugin metrics": {"GREENDOCK_PLUGINS": "metrics"},
}

HOOK_COUNTS = dict(zip(VARIANTS, (None, 0, 1, 3), strict=False))


@dataclass
class Server:
    """One variant, running."""

    port: int
    worker: int

    def cpu(self) -> float:
        """Return the seconds of CPU time the worker has used."""
        fields = Path(f"/proc/{self.worker}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def load(self, seconds: int) -> float:
        """Load the server; return its microseconds of CPU time for each request."""
        before = self.cpu()
        command = ["wrk", "-t1", "-c8", f"-d{seconds}s", f"http://127.0.0.1:{self.port}/"]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = re.search(r"(\d+) requests in", output)
        assert found is not None
        assert "Non-2xx" not in output
        return (self.cpu() - before) / int(found[1]) * 1e6


def calls_alone(count: int | None) -> float:
    """Return the microseconds that calling both events' hooks takes: ``count`` that do nothing, or Gunicorn's own."""
    config, log = Config(), logging.getLogger("bench")
    worker, request = SimpleNamespace(log=log, age=1), SimpleNamespace(method="GET", path="/")
    before, after = config.pre_request, config.post_request
    if count:
        steps = [chain.Hook("nothing", lambda *_: None)] * count
        before, after = (
            chain.chain(EVENTS[name], steps, chain.Options(slow=1)) for name in ("pre_request", "post_request")
        )

    def both() -> None:
        before(worker, request)
        after(worker, request, {}, None)

    return min(timeit.repeat(both, number=2000, repeat=50)) / 2000 * 1e6


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(folder: Path, extra: dict[str, str] | None, stack: ExitStack) -> Server:
    """Start a variant with one worker; it ends with ``stack``."""
    folder.mkdir()
    (folder / "wsgi.py").write_text(APPLICATION)
    port = free_port()
    ours = ("GUNICORN_", "GREENDOCK_", "NGINX_", "WEB_CONCURRENCY", "PORT", "APP_MODULE", "LOG_LEVEL")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    command = [str(Path(sys.executable).with_name("gunicorn"))]
    if extra is None:
        command += ["-k", "gthread", "--threads", "4", "--keep-alive", "75", "--no-control-socket"]
        command += ["-w", "1", "-b", f"127.0.0.1:{port}", "wsgi:app"]
    else:
        (folder / "gunicorn.conf.py").write_text((ROOT / "gunicorn.conf.py").read_text())
        environment |= COMMON | {
            "GUNICORN_BIND": f"127.0.0.1:{port}",
            "GREENDOCK_READINESS_FILE": str(folder / "run" / "ready"),
            "GREENDOCK_METRICS_BIND": f"127.0.0.1:{free_port()}",
            "WEB_CONCURRENCY": "1",
            "APP_MODULE": "wsgi:app",
        }
        if "metrics" not in extra.get("GREENDOCK_PLUGINS", ""):
            del environment["GREENDOCK_METRICS_BIND"]
        environment |= extra
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    stack.callback(stop, process)
    return Server(port, worker_of(process, port, folder))


def worker_of(process: subprocess.Popen[bytes], port: int, folder: Path) -> int:
    """Wait until the server answers; return its worker's pid."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            for child in map(int, children):
                if b"exporter" not in Path(f"/proc/{child}/cmdline").read_bytes():
                    return child
        time.sleep(0.05)
    raise SystemExit(f"bench.hooks: a server did not start:\n{(folder / 'log').read_text()}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=1, help="of load for each variant and round")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("bench.hooks: needs wrk; as root on Debian: scripts/test-deps wrk")
    costs: dict[str, list[float]] = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        servers = {
            name: start(Path(folder) / str(number), extra, stack)
            for number, (name, extra) in enumerate(VARIANTS.items())
        }
        for server in servers.values():
            server.load(1)
        for turn in range(options.rounds):
            # Each round in another order: who comes after whom must not matter.
            for name in sorted(VARIANTS, key=lambda name: hash((turn, name))):
                costs[name].append(servers[name].load(options.seconds))
    stock = costs["stock Gunicorn"]
    print("| one gthread worker | CPU for each request | beside stock | calling the hooks alone |\n|---|---|---|---|")
    for name, measured in costs.items():
        ratio = median(mine / theirs for mine, theirs in zip(measured, stock, strict=True))
        alone = f"{calls_alone(HOOK_COUNTS[name]):.1f} µs" if name in HOOK_COUNTS else ""
        print(f"| {name} | {median(measured):.0f} µs | {ratio:.2f}× | {alone} |")


if __name__ == "__main__":
    main()
