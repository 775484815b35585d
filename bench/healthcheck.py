"""CPU time of one healthcheck beside what people write instead: `python -m bench.healthcheck`.

Runs are interleaved; figures are milliseconds of CPU (user and system) for one run, and the ratio to ours.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

ROUNDS, RUNS = 5, 10
HEALTHCHECK = Path(__file__).resolve().parent.parent / "greendock" / "healthcheck.py"
URLLIB = "import urllib.request, sys; sys.exit(urllib.request.urlopen(sys.argv[1]).status != 200)"


class _Ok(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def _lines(state: dict[str, object]) -> str:
    return "".join(f"{name}={value}\n" for name, value in state.items())


def _cpu(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(RUNS):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / RUNS * 1000


def main() -> None:
    """Print the table."""
    sys.path.insert(0, str(HEALTHCHECK.parent.parent))
    from greendock.runtime.healthcheck import start_time  # noqa: PLC0415 - after the path is set

    server = HTTPServer(("127.0.0.1", 0), _Ok)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    with tempfile.TemporaryDirectory() as folder:
        ready, pid = Path(folder, "ready"), os.getpid()
        state = {"pid": pid, "started": start_time(pid), "state": "serving", "workers": 1, "minimum": 1, "since": 0}
        ready.write_text(_lines(state))
        Path(folder, "ready.workers").mkdir()
        Path(folder, "ready.workers", f"{pid}.{pid}.{start_time(pid)}").touch()
        probe = _lines(state | {"health_path": "/", "address": f"127.0.0.1:{server.server_port}"})
        Path(folder, "probe").write_text(probe)
        Path(folder, "probe.workers").symlink_to(Path(folder, "ready.workers"))
        commands = {
            "greendock healthcheck": [sys.executable, "-I", "-S", str(HEALTHCHECK), str(ready)],
            "the same with GREENDOCK_HEALTH_PATH": [
                sys.executable,
                "-I",
                "-S",
                str(HEALTHCHECK),
                str(Path(folder, "probe")),
            ],
            "python -c with urllib": [sys.executable, "-c", URLLIB, url],
            "curl": ["curl", "-fsS", "-o", os.devnull, url],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                times[name].append(_cpu(command))
    ours = statistics.median(times["greendock healthcheck"])
    print(f"{'':38} {'CPU ms':>7} {'spread':>12} {'ratio':>6}")
    for name, values in times.items():
        middle = statistics.median(values)
        spread = f"{min(values):.1f}–{max(values):.1f}"
        print(f"{name:38} {middle:7.1f} {spread:>12} {middle / ours:6.2f}")


if __name__ == "__main__":
    main()
