"""The healthcheck by itself: healing, cost of imports, and the seams the lifecycle relies on."""

from __future__ import annotations

import ast
import inspect
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from gunicorn.arbiter import Arbiter

from greendock.runtime import healthcheck
from greendock.runtime.lifecycle import SEAMS
from tests.support import HEALTHCHECK, wait_for


def test_gunicorn_still_has_every_seam_the_lifecycle_uses() -> None:
    source = inspect.getsource(Arbiter)
    for name in SEAMS:
        assert hasattr(Arbiter, name) or f"self.{name} = " in source, f"{name} has moved: see greendock/lifecycle.py"
    # Handlers are looked up on the instance, by name, each time; and reload() calls the instance's manage_workers.
    assert 'getattr(self, "handle_%s" % signame, None)' in source
    assert "self.manage_workers()" in inspect.getsource(Arbiter.reload)
    assert "self.reload()" in inspect.getsource(Arbiter.handle_hup)


def test_the_healthcheck_imports_nothing_but_the_standard_library() -> None:
    imported = {
        alias.name.partition(".")[0]
        for node in ast.walk(ast.parse(HEALTHCHECK.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imported <= {"json", "os", "socket", "sys", "time"}


@pytest.fixture
def stuck(tmp_path: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """A process that plays a master which has no workers and ignores SIGTERM; and its readiness file."""
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    state = {
        "pid": process.pid,
        "started": healthcheck.start_time(process.pid),
        "state": "serving",
        "workers": 2,
        "minimum": 1,
        "since": "0",
        "restart_after": 1,
        "stop_grace": 1,
    }
    (tmp_path / "ready").write_text("".join(f"{name}={value}\n" for name, value in state.items()))
    return process, tmp_path / "ready"


def heal(path: Path) -> str:
    command = [sys.executable, "-I", "-S", str(HEALTHCHECK), "--heal", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_a_server_not_ready_for_too_long_gets_term_and_then_kill(stuck: tuple[subprocess.Popen[bytes], Path]) -> None:
    process, path = stuck
    try:
        assert heal(path) == "starting: 0/2 workers booted\n"
        wait_for(lambda: f"sent SIGTERM to process {process.pid}" in heal(path), "SIGTERM")
        assert process.poll() is None
        wait_for(lambda: f"sent SIGKILL to process {process.pid}" in heal(path), "SIGKILL")
        assert process.wait(10) == -signal.SIGKILL
    finally:
        process.kill()


def test_a_server_that_becomes_ready_in_time_is_left_alone(stuck: tuple[subprocess.Popen[bytes], Path]) -> None:
    process, path = stuck
    try:
        heal(path)
        workers = path.with_name("ready.workers")
        workers.mkdir()
        (workers / f"{process.pid}.{os.getpid()}.{healthcheck.start_time(os.getpid())}").touch()
        assert heal(path) == "ready: 1/2 workers\n"
        assert not path.with_name("ready.unready").exists()
    finally:
        process.kill()


def test_a_zombie_is_not_alive() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    started = wait_for(lambda: healthcheck.start_time(child) == 0, "a zombie")
    assert started
    os.waitpid(child, 0)
