"""``greendock top`` beside a real server: as JSON, as text, and on a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress

import pytest

from greendock.testing.load import load
from tests.support import Server, free_port, wait_for

Serve = Callable[..., Server]


def top(server: Server, *arguments: str) -> str:
    """Run it with this server's settings; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "greendock", "top", *arguments],
        env=server.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("unix", [False, True])
def test_requests_and_workers_are_shown(serve: Serve, unix: bool) -> None:
    bind = "unix:metrics.sock" if unix else f"127.0.0.1:{free_port()}"
    bind = bind.replace("metrics.sock", os.path.join(os.environ.get("TMPDIR", "/tmp"), f"top-{os.getpid()}.sock"))  # noqa: PTH118, S108
    server = serve(GREENDOCK_PLUGINS="metrics", GREENDOCK_METRICS_BIND=bind)
    wait_for(lambda: json.loads(top(server, "--json", "--interval", "0.1"))["replicas"][0]["threads"], "metrics")
    with load(f"http://127.0.0.1:{server.port}/", rate=50):
        (replica,) = json.loads(top(server, "--json", "--interval", "1"))["replicas"]
    assert replica["readiness"] == "ready: 2/2 workers"
    assert replica["requests_per_second"] > 0
    assert replica["percentiles"]["p50"] is not None
    assert {worker["pid"] for worker in replica["workers"]} <= set(server.workers())
    assert len(replica["workers"]) == 2
    assert sum(worker["requests_per_second"] for worker in replica["workers"]) > 0
    assert all(worker["memory"] > 1e6 for worker in replica["workers"])


def test_once_fits_a_narrow_terminal_and_needs_no_plugin(serve: Serve) -> None:
    text = top(serve(), "--once", "--interval", "0.1")
    assert "GREENDOCK_PLUGINS=metrics shows requests too" in text
    assert "PID" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_on_a_terminal_keys_sort_and_end_it(serve: Serve) -> None:
    server = serve()
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "greendock", "top", "--interval", "0.1"],
        env=server.environment | {"COLUMNS": "80", "LINES": "24"},
        stdin=end,
        stdout=end,
    )
    os.close(end)
    shown = ""

    def shows(text: str) -> bool:
        nonlocal shown
        with suppress(OSError):  # the other end is closed
            shown += os.read(terminal, 65536).decode()
        return text in shown

    try:
        wait_for(lambda: shows("sorted by requests") and shows("PID"), "the first view")
        os.write(terminal, b"s")
        wait_for(lambda: shows("sorted by cpu"), "another order")
        os.write(terminal, b"q")
        wait_for(lambda: shows("\x1b[?1049l"), "the terminal is given back")
        assert process.wait(20) == 0
    finally:
        process.kill()
        os.close(terminal)
